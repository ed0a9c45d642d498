/*
 * schema_text: characters of JSON strings, each as itself or as the escapes that writers use, and
 * texts given as a whole.
 */
#include "base/mem.h"
#include "grammar/schema_plan.h"

#include <stdlib.h>
#include <string.h>

#define ALTS_MAX 64

struct alts {
    struct grammar_builder *b;
    gexpr e[ALTS_MAX];
    size_t n;
};

static void add(struct alts *a, gexpr e)
{
    if (a->n == ALTS_MAX) {
        a->e[0] = grammar_alt(a->b, a->e, a->n);
        a->n = 1;
    }
    a->e[a->n++] = e;
}

static gexpr hex_digit(struct grammar_builder *b, uint32_t from, uint32_t to)
{
    struct grammar_range r[3];
    size_t n = 0;
    if (from <= 9)
        r[n++] = (struct grammar_range){'0' + from, '0' + (to < 9 ? to : 9)};
    if (to >= 10) {
        uint32_t low = (from > 10 ? from : 10) - 10, high = to - 10;
        r[n++] = (struct grammar_range){'a' + low, 'a' + high};
        r[n++] = (struct grammar_range){'A' + low, 'A' + high};
    }
    return grammar_chars(b, r, n, false);
}

/* n hex digits, from `from` to `to`. */
static gexpr hex(struct grammar_builder *b, uint32_t from, uint32_t to, int n)
{
    if (n == 0)
        return grammar_empty(b);
    uint32_t unit = 1u << 4 * (n - 1), first = from / unit, last = to / unit;
    if (from % unit == 0 && to % unit == unit - 1)
        return grammar_seq(b,
                           (gexpr[]){hex_digit(b, first, last),
                                     grammar_repeat(b, hex_digit(b, 0, 15), n - 1, n - 1)},
                           2);
    if (first == last)
        return grammar_seq(
            b, (gexpr[]){hex_digit(b, first, first), hex(b, from % unit, to % unit, n - 1)}, 2);
    gexpr e[3];
    size_t k = 0;
    e[k++] = grammar_seq(
        b, (gexpr[]){hex_digit(b, first, first), hex(b, from % unit, unit - 1, n - 1)}, 2);
    if (first + 1 < last)
        e[k++] = grammar_seq(
            b, (gexpr[]){hex_digit(b, first + 1, last - 1), hex(b, 0, unit - 1, n - 1)}, 2);
    e[k++] = grammar_seq(b, (gexpr[]){hex_digit(b, last, last), hex(b, 0, to % unit, n - 1)}, 2);
    return grammar_alt(b, e, k);
}

static gexpr unit16(struct grammar_builder *b, uint32_t from, uint32_t to)
{
    return grammar_seq(b, (gexpr[]){grammar_literal(b, STR("\\u")), hex(b, from, to, 4)}, 2);
}

/* Two units for a character above U+FFFF. */
static void add_pairs(struct alts *a, uint32_t from, uint32_t to)
{
    from -= 0x10000;
    to -= 0x10000;
    while (from <= to) {
        uint32_t high = from >> 10, last_high = to >> 10, last = to;
        if (high != last_high)
            last = from % 1024 == 0 ? (last_high << 10) - 1 : (high << 10) + 1023;
        if (from % 1024 == 0 && to % 1024 == 1023)
            last = to;
        add(a, grammar_seq(a->b,
                           (gexpr[]){unit16(a->b, 0xD800 + high, 0xD800 + (last >> 10)),
                                     unit16(a->b, 0xDC00 + from % 1024, 0xDC00 + last % 1024)},
                           2));
        from = last + 1;
    }
}

static void add_clipped(struct alts *a, struct grammar_range r, uint32_t from, uint32_t to,
                        void (*use)(struct alts *, uint32_t, uint32_t))
{
    r.from = r.from > from ? r.from : from;
    r.to = r.to < to ? r.to : to;
    if (r.from <= r.to)
        use(a, r.from, r.to);
}

static void add_raw(struct alts *a, uint32_t from, uint32_t to)
{
    struct grammar_range r = {from, to};
    add(a, grammar_chars(a->b, &r, 1, false));
}

static void add_unit(struct alts *a, uint32_t from, uint32_t to)
{
    add(a, unit16(a->b, from, to));
}

/* What stands for itself, by enum schema_chars; the second quotation mark, ", within single ones
 * too. */
static const struct grammar_range plain[][6] = {
    [CHARS_JSON] = {{0x20, 0x21}, {0x23, 0x5B}, {0x5D, 0xD7FF}, {0xE000, LANG_CHAR_MAX}},
    [CHARS_NO_LESS] =
        {{0x20, 0x21}, {0x23, 0x3B}, {0x3D, 0x5B}, {0x5D, 0xD7FF}, {0xE000, LANG_CHAR_MAX}},
    [CHARS_SINGLE] = {{0x20, 0x26}, {0x28, 0x5B}, {0x5D, 0xD7FF}, {0xE000, LANG_CHAR_MAX}},
    [CHARS_RAW] =
        {{'\t', '\n'}, {'\r', '\r'}, {0x20, 0x7E}, {0x80, 0xD7FF}, {0xE000, LANG_CHAR_MAX}},
};

static void add_escapes(struct alts *a, enum schema_chars how, struct grammar_range r)
{
    static const struct {
        uint32_t c;
        const char *text;
    } shorts[] = {{'\\', "\\\\"}, {'/', "\\/"},  {'\b', "\\b"}, {'\f', "\\f"},
                  {'\n', "\\n"},  {'\r', "\\r"}, {'\t', "\\t"}};
    static const struct {
        uint32_t from, to;
        void (*use)(struct alts *, uint32_t, uint32_t);
    } parts[] = {{0, 0x1F, add_unit},
                 {0x7F, 0xD7FF, add_unit},
                 {0xE000, 0xFFFF, add_unit},
                 {0x10000, LANG_CHAR_MAX, add_pairs}};
    uint32_t mark = how == CHARS_SINGLE ? '\'' : '"';
    for (size_t k = 0; k < sizeof(parts) / sizeof(parts[0]); k++)
        add_clipped(a, r, parts[k].from, parts[k].to, parts[k].use);
    for (size_t k = 0; k < sizeof(shorts) / sizeof(shorts[0]); k++)
        if (r.from <= shorts[k].c && shorts[k].c <= r.to)
            add(a, grammar_literal(a->b, str_z(shorts[k].text)));
    if (r.from <= mark && mark <= r.to)
        add(a, grammar_literal(a->b, how == CHARS_SINGLE ? STR("\\'") : STR("\\\"")));
    if (how == CHARS_NO_LESS)
        add_clipped(a, r, '<', '<', add_unit);
}

gexpr schema_chars(struct grammar_builder *b, enum schema_chars how, const struct grammar_range *r,
                   size_t n)
{
    struct alts a = {.b = b};
    for (size_t i = 0; i < n; i++) {
        for (size_t k = 0; k < ARRAY_LEN(plain[how]) && plain[how][k].to > 0; k++)
            add_clipped(&a, r[i], plain[how][k].from, plain[how][k].to, add_raw);
        if (how != CHARS_RAW)
            add_escapes(&a, how, r[i]);
    }
    return grammar_alt(b, a.e, a.n);
}

gexpr schema_json_string(struct grammar_builder *b, gexpr inside)
{
    gexpr quote = grammar_literal(b, STR("\""));
    return grammar_seq(b, (gexpr[]){quote, inside, quote}, 3);
}

/* ---- texts ---- */

static int cmp_str(const void *x, const void *y)
{
    return str_cmp(*(const struct str *)x, *(const struct str *)y);
}

static size_t common(struct str a, struct str b, size_t from)
{
    while (from < a.len && from < b.len && a.ptr[from] == b.ptr[from])
        from++;
    while (from > 0 && from < a.len && ((unsigned char)a.ptr[from] & 0xC0) == 0x80)
        from--; /* not within a character */
    return from;
}

/* Texts [0, n) from byte `at` on, sorted: what they share is written once. */
static gexpr trie(struct plan *p, const struct str *text, size_t n, size_t at, int depth)
{
    if (n == 1 || depth > SCHEMA_DEPTH_MAX) {
        gexpr e = grammar_literal(p->b, str_from(text[0], at));
        for (size_t i = 1; i < n; i++) /* deep ones are simply listed */
            e = grammar_alt(p->b, (gexpr[]){e, grammar_literal(p->b, str_from(text[i], at))}, 2);
        return e;
    }
    size_t shared = common(text[0], text[n - 1], at), n_group = 0;
    gexpr *e = plan_alloc(p, n, sizeof(*e));
    if (!e)
        return -1;
    for (size_t i = 0; i < n;) {
        size_t from = i, k = shared;
        if (text[i].len == shared) {
            e[n_group++] = grammar_empty(p->b);
            while (i < n && text[i].len == shared)
                i++;
            continue;
        }
        int32_t c = lang_next_char(text[i], &k);
        while (i < n && (k = shared, text[i].len > shared) && lang_next_char(text[i], &k) == c)
            i++;
        e[n_group++] = c < 0 ? -1 : trie(p, text + from, i - from, shared, depth + 1);
    }
    gexpr tail = n_group == 1 && shared > at ? e[0] : grammar_alt(p->b, e, n_group);
    return grammar_seq(
        p->b, (gexpr[]){grammar_literal(p->b, str_sub(text[0], at, shared - at)), tail}, 2);
}

gexpr schema_literals(struct plan *p, const struct str *text, size_t n)
{
    struct str *sorted = plan_alloc(p, n, sizeof(*sorted));
    if (!sorted || n == 0)
        return -1;
    memcpy(sorted, text, n * sizeof(*sorted));
    qsort(sorted, n, sizeof(*sorted), cmp_str);
    size_t kept = 1;
    for (size_t i = 1; i < n; i++)
        if (!str_eq(sorted[i], sorted[kept - 1]))
            sorted[kept++] = sorted[i];
    return trie(p, sorted, kept, 0, 0);
}

/* ---- automata ---- */

struct lang_writer {
    struct grammar_builder *b;
    const struct lang *l;
    gexpr *rule;
    struct grammar_range *r;
    gexpr *e;
    size_t cap_r, cap_e;
    enum schema_chars how;
};

/* The characters that lead from s to `next`. */
static gexpr chars_to(struct lang_writer *w, int s, int next)
{
    size_t n = 0;
    for (int i = w->l->first[s]; i < w->l->first[s + 1]; i++)
        if (w->l->edge[i].next == next)
            w->r[n++] = (struct grammar_range){w->l->edge[i].from, w->l->edge[i].to};
    return n == 0 ? GEXPR_NONE : schema_chars(w->b, w->how, w->r, n);
}

/* Loops first, then where else the characters lead. */
static bool write_state(struct lang_writer *w, int s)
{
    const struct lang *l = w->l;
    int first = l->first[s], end = l->first[s + 1];
    size_t n = 0, want = (size_t)(end - first) + 1;
    if (!mem_grow((void **)&w->r, &w->cap_r, want, LANG_EDGES_MAX + 1, sizeof(*w->r)) ||
        !mem_grow((void **)&w->e, &w->cap_e, want, LANG_EDGES_MAX + 1, sizeof(*w->e)))
        return false;
    for (int i = first; i < end; i++) {
        bool is_seen = l->edge[i].next == s;
        for (int k = first; k < i && !is_seen; k++)
            is_seen = l->edge[k].next == l->edge[i].next;
        if (!is_seen)
            w->e[n++] = grammar_seq(
                w->b, (gexpr[]){chars_to(w, s, l->edge[i].next), w->rule[l->edge[i].next]}, 2);
    }
    if (l->accept[s])
        w->e[n++] = grammar_empty(w->b);
    gexpr loop = chars_to(w, s, s), rest = grammar_alt(w->b, w->e, n);
    if (loop != GEXPR_NONE)
        rest =
            grammar_seq(w->b, (gexpr[]){grammar_repeat(w->b, loop, 0, GRAMMAR_UNBOUNDED), rest}, 2);
    grammar_define(w->b, w->rule[s], rest);
    return true;
}

gexpr schema_lang_expr(struct grammar_builder *b, const struct lang *l, enum schema_chars how)
{
    struct lang_writer w = {.b = b, .l = l, .how = how};
    w.rule = mem_try_array((size_t)l->n_state, sizeof(*w.rule));
    bool ok = w.rule != NULL;
    for (int s = 0; ok && s < l->n_state; s++)
        w.rule[s] = grammar_rule(b);
    for (int s = 0; ok && s < l->n_state; s++)
        ok = write_state(&w, s);
    gexpr start = ok ? w.rule[0] : -1;
    free(w.rule);
    free(w.r);
    free(w.e);
    return start;
}
