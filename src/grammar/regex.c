/*
 * regex: see the header. A descent over the pattern.
 *
 * Anchors make four kinds of each part: what a match may begin and end with anywhere, and what
 * must stand at the text's beginning or end. They are kept apart until the whole is put together.
 */
#include "grammar/regex.h"
#include "base/mem.h"
#include "grammar/expr.h"
#include "grammar/regex_escape.h"

#include <stdlib.h>
#include <string.h>

#define PATTERN_MAX 65536
#define NEST_MAX    128
#define KINDS       4 /* bit 0: at the beginning, bit 1: at the end */
#define AT_START    1
#define AT_END      2

struct part {
    gexpr kind[KINDS]; /* -1: there is none */
    bool is_anchor;    /* no text: only where it stands */
};

struct parser {
    struct grammar_builder *b;
    struct regex_text t;
    const struct regex_options *o;
    int depth;
};

static bool fail(struct parser *p, int code, const char *what)
{
    return regex_fail(&p->t, p->t.at, code, what);
}

static char peek(const struct parser *p)
{
    return p->t.at < p->t.pattern.len ? p->t.pattern.ptr[p->t.at] : '\0';
}

static bool is_over(const struct parser *p)
{
    return p->t.at >= p->t.pattern.len;
}

static bool starts(const struct parser *p, struct str s)
{
    return str_starts(str_from(p->t.pattern, p->t.at), s);
}

static struct part nothing(void)
{
    return (struct part){.kind = {-1, -1, -1, -1}};
}

static struct part plain(gexpr e)
{
    struct part part = nothing();
    part.kind[0] = e;
    return part;
}

/* ---- characters in a JSON string ---- */

static bool holds(const struct char_set *s, uint32_t code)
{
    for (size_t i = 0; i < s->n; i++)
        if (s->r[i].from <= code && code <= s->r[i].to)
            return true;
    return false;
}

static void escape_for(uint32_t code, char ret[8], size_t *ret_len)
{
    static const char codes[] = "\"\\\b\f\n\r\t", letters[] = "\"\\bfnrt",
                      hex[] = "0123456789abcdef";
    const char *at = code ? strchr(codes, (int)code) : NULL;
    ret[0] = '\\';
    *ret_len = 2;
    if (at) {
        ret[1] = letters[at - codes];
        return;
    }
    memcpy(ret + 1, "u00", 3);
    ret[4] = hex[code >> 4];
    ret[5] = hex[code & 15];
    *ret_len = 6;
}

/* Some must be escaped; the others stand for themselves. */
static gexpr chars_in_json(struct grammar_builder *b, const struct char_set *set)
{
    static const struct grammar_range escaped[] = {{0, 0x1f}, {'"', '"'}, {'\\', '\\'}};
    gexpr alt[0x20 + 3];
    size_t n = 0;
    struct char_set raw = {0};
    char_set_add_all(&raw, set->r, set->n);
    char_set_invert(&raw); /* without what is escaped: none of the rest and none of these */
    char_set_add_all(&raw, escaped, ARRAY_LEN(escaped));
    alt[n++] = grammar_chars(b, raw.r, raw.n, true);
    char_set_release(&raw);
    for (size_t i = 0; i < ARRAY_LEN(escaped); i++) {
        for (uint32_t c = escaped[i].from; c <= escaped[i].to; c++) {
            char text[8];
            size_t len;
            if (!holds(set, c))
                continue;
            escape_for(c, text, &len);
            alt[n++] = grammar_literal(b, (struct str){text, len});
        }
    }
    return grammar_alt(b, alt, n);
}

static gexpr chars(struct parser *p, const struct char_set *set)
{
    return p->o->json_string ? chars_in_json(p->b, set)
                             : grammar_chars(p->b, set->r, set->n, false);
}

static gexpr one_char(struct parser *p, uint32_t code)
{
    struct grammar_range r = {code, code};
    struct char_set set = {.r = &r, .n = 1};
    return chars(p, &set);
}

/* ---- parts ---- */

static bool read_alternatives(struct parser *p, struct part *ret);

/* Behind "(": "?:" and names are passed over. */
static bool read_group_kind(struct parser *p)
{
    if (peek(p) != '?')
        return true;
    if (starts(p, STR("?:"))) {
        p->t.at += 2;
        return true;
    }
    bool is_python = starts(p, STR("?P<"));
    bool looks = starts(p, STR("?<=")) || starts(p, STR("?<!"));
    if (looks || starts(p, STR("?=")) || starts(p, STR("?!")))
        return fail(p, ERR_UNSUPPORTED, "looking ahead or behind is not supported");
    if (!is_python && !starts(p, STR("?<")))
        return fail(p, ERR_UNSUPPORTED, "this kind of group (flags, conditions) is not supported");
    while (!is_over(p) && peek(p) != '>')
        p->t.at++;
    if (is_over(p))
        return fail(p, ERR_INVALID, "the name of a group has no end");
    p->t.at++;
    return true;
}

static bool read_group(struct parser *p, struct part *ret)
{
    size_t begin = p->t.at++;
    if (++p->depth > NEST_MAX)
        return fail(p, ERR_LIMIT, "groups are nested too deeply");
    if (!read_group_kind(p) || !read_alternatives(p, ret))
        return false;
    if (peek(p) != ')')
        return regex_fail(&p->t, begin, ERR_INVALID, "a group has no closing parenthesis");
    p->t.at++;
    p->depth--;
    return true;
}

static struct part anchor(struct parser *p, int kind)
{
    struct part part = nothing();
    part.kind[kind] = grammar_empty(p->b);
    part.is_anchor = true;
    return part;
}

static bool read_escaped(struct parser *p, struct part *ret)
{
    p->t.at++;
    char c = peek(p);
    if (c == 'A' || c == 'z' || c == 'Z') { /* as Python and others have them */
        p->t.at++;
        *ret = anchor(p, c == 'A' ? AT_START : AT_END);
        return true;
    }
    struct char_set set = {0};
    bool is_set;
    uint32_t code;
    bool ok = regex_read_escape(&p->t, false, &set, &is_set, &code);
    if (ok)
        *ret = plain(is_set ? chars(p, &set) : one_char(p, code));
    char_set_release(&set);
    return ok;
}

static bool read_class(struct parser *p, struct part *ret)
{
    struct char_set set = {0};
    p->t.at++;
    bool ok = regex_read_class(&p->t, &set);
    if (ok)
        *ret = plain(chars(p, &set));
    char_set_release(&set);
    return ok;
}

static struct part any_but_line_ends(struct parser *p)
{
    struct char_set set = {0};
    char_set_add(&set, '\n', '\n');
    char_set_add(&set, '\r', '\r');
    char_set_add(&set, 0x2028, 0x2029);
    char_set_invert(&set);
    struct part part = plain(chars(p, &set));
    char_set_release(&set);
    return part;
}

static bool read_atom(struct parser *p, struct part *ret)
{
    uint32_t code;
    char c = peek(p);
    if (c == '(')
        return read_group(p, ret);
    if (c == '[')
        return read_class(p, ret);
    if (c == '\\')
        return read_escaped(p, ret);
    if (c == '*' || c == '+' || c == '?')
        return fail(p, ERR_INVALID, "there is nothing to repeat");
    if (c != '^' && c != '$' && c != '.') {
        if (!regex_read_char(&p->t, &code))
            return false;
        *ret = plain(one_char(p, code));
        return true;
    }
    p->t.at++;
    *ret = c == '.' ? any_but_line_ends(p) : anchor(p, c == '^' ? AT_START : AT_END);
    return true;
}

/* ---- repetitions ---- */

static bool read_number(struct parser *p, int64_t *ret)
{
    *ret = 0;
    if (peek(p) < '0' || peek(p) > '9')
        return false;
    for (; peek(p) >= '0' && peek(p) <= '9'; p->t.at++)
        if (*ret <= GRAMMAR_REPEAT_MAX)
            *ret = *ret * 10 + peek(p) - '0';
    return true;
}

/* {m}, {m,}, {m,n}; anything else is text. */
static bool read_bounds(struct parser *p, int64_t *min, int64_t *max)
{
    size_t before = p->t.at++;
    bool ok = read_number(p, min);
    *max = *min;
    if (ok && peek(p) == ',') {
        p->t.at++;
        if (!read_number(p, max))
            *max = GRAMMAR_UNBOUNDED;
    }
    ok = ok && peek(p) == '}';
    p->t.at = ok ? p->t.at + 1 : before;
    return ok;
}

/* False: there is none. */
static bool read_quantifier(struct parser *p, int64_t *min, int64_t *max)
{
    char c = peek(p);
    *min = 0;
    *max = GRAMMAR_UNBOUNDED;
    if (c == '{')
        return read_bounds(p, min, max);
    if (c != '*' && c != '+' && c != '?')
        return false;
    *min = c == '+';
    *max = c == '?' ? 1 : GRAMMAR_UNBOUNDED;
    p->t.at++;
    return true;
}

static bool has_anchors(const struct part *part)
{
    return part->kind[1] >= 0 || part->kind[2] >= 0 || part->kind[3] >= 0;
}

static bool read_repeated(struct parser *p, struct part *ret)
{
    int64_t min, max;
    if (!read_atom(p, ret))
        return false;
    size_t at = p->t.at;
    if (!read_quantifier(p, &min, &max))
        return true;
    if (has_anchors(ret))
        return regex_fail(&p->t, at, ERR_UNSUPPORTED, "an anchor cannot be repeated");
    if (min > GRAMMAR_REPEAT_MAX || max > GRAMMAR_REPEAT_MAX)
        return regex_fail(&p->t, at, ERR_LIMIT, "a repetition of more than 65536 times");
    if (max >= 0 && max < min)
        return regex_fail(&p->t, at, ERR_INVALID,
                          "a repetition's greatest number is less than its least");
    if (peek(p) == '?') /* which match is found matters not: all are allowed */
        p->t.at++;
    else if (peek(p) == '+')
        return fail(p, ERR_UNSUPPORTED, "possessive repetitions are not supported");
    else if (peek(p) == '*' || peek(p) == '+')
        return fail(p, ERR_INVALID, "there is nothing to repeat");
    ret->kind[0] = grammar_repeat(p->b, ret->kind[0], min, max);
    return true;
}

/* ---- sequences and alternatives ---- */

/* x, then y; what must be at the beginning cannot stand behind text, nor text behind the end. */
static bool append(struct parser *p, struct part *x, const struct part *y, size_t at)
{
    struct part made = nothing();
    made.is_anchor = x->is_anchor && y->is_anchor;
    for (int i = 0; i < KINDS; i++) {
        for (int k = 0; k < KINDS; k++) {
            if (x->kind[i] < 0 || y->kind[k] < 0)
                continue;
            if ((i & AT_END && !y->is_anchor) || (k & AT_START && !x->is_anchor))
                return regex_fail(&p->t, at, ERR_UNSUPPORTED,
                                  "an anchor in the middle of a text never matches");
            gexpr both[] = {x->kind[i], y->kind[k]};
            gexpr e = grammar_seq(p->b, both, 2);
            gexpr either[] = {made.kind[i | k], e};
            made.kind[i | k] = made.kind[i | k] < 0 ? e : grammar_alt(p->b, either, 2);
        }
    }
    *x = made;
    return true;
}

static void join(struct parser *p, struct part *x, const struct part *y)
{
    x->is_anchor = x->is_anchor && y->is_anchor;
    for (int i = 0; i < KINDS; i++) {
        gexpr both[] = {x->kind[i], y->kind[i]};
        if (x->kind[i] < 0 || y->kind[i] < 0)
            x->kind[i] = x->kind[i] < 0 ? y->kind[i] : x->kind[i];
        else
            x->kind[i] = grammar_alt(p->b, both, 2);
    }
}

static bool read_sequence(struct parser *p, struct part *ret)
{
    *ret = plain(grammar_empty(p->b));
    ret->is_anchor = true; /* no text yet */
    while (!is_over(p) && peek(p) != '|' && peek(p) != ')') {
        struct part next = nothing();
        size_t at = p->t.at;
        if (!read_repeated(p, &next) || !append(p, ret, &next, at))
            return false;
        if (p->b->failed.code != 0)
            return false;
    }
    ret->is_anchor = ret->is_anchor && has_anchors(ret);
    return true;
}

static bool read_alternatives(struct parser *p, struct part *ret)
{
    if (!read_sequence(p, ret))
        return false;
    while (peek(p) == '|') {
        struct part next;
        p->t.at++;
        if (!read_sequence(p, &next))
            return false;
        join(p, ret, &next);
    }
    return true;
}

/* ---- the whole ---- */

static gexpr any_text(struct parser *p)
{
    struct grammar_range all = {0, CHAR_MAX_CODE};
    struct char_set set = {.r = &all, .n = 1};
    return grammar_repeat(p->b, chars(p, &set), 0, GRAMMAR_UNBOUNDED);
}

static gexpr whole(struct parser *p, const struct part *part)
{
    gexpr any = p->o->search ? any_text(p) : grammar_empty(p->b), none = grammar_empty(p->b);
    gexpr alt[KINDS];
    size_t n = 0;
    for (int i = 0; i < KINDS; i++) {
        gexpr e[] = {i & AT_START ? none : any, part->kind[i], i & AT_END ? none : any};
        if (part->kind[i] >= 0)
            alt[n++] = grammar_seq(p->b, e, 3);
    }
    return grammar_alt(p->b, alt, n);
}

gexpr regex_expr(struct grammar_builder *b, struct str pattern, const struct regex_options *o,
                 const char *param, struct err *err)
{
    struct err own;
    struct parser p = {.b = b, .o = o, .t = {.pattern = pattern, .param = param, .err = &own}};
    struct part part;
    gexpr e = -1;
    err_clear(&own);
    if (pattern.len > PATTERN_MAX)
        fail(&p, ERR_LIMIT, "it is longer than 65536 bytes");
    else if (read_alternatives(&p, &part) && is_over(&p))
        e = whole(&p, &part);
    else if (own.code == 0 && b->failed.code == 0)
        fail(&p, ERR_INVALID, "a closing parenthesis without an opening one");
    if (e >= 0)
        return e;
    if (own.code == 0)
        own = b->failed;
    if (err)
        *err = own;
    return grammar_fail(b, &own);
}
