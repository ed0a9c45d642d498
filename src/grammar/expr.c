/*
 * expr: the builder. See grammar.h and the header.
 */
#include "grammar/expr.h"
#include "base/mem.h"
#include "grammar/utf8_step.h"

#include <stdlib.h>
#include <string.h>

#define CODE_MAX        0x10ffffu
#define SURROGATE_FIRST 0xd800u
#define SURROGATE_LAST  0xdfffu

struct grammar_builder *grammar_builder_new(void)
{
    return mem_zero(1, sizeof(struct grammar_builder));
}

void grammar_builder_free(struct grammar_builder *b)
{
    if (!b)
        return;
    free(b->expr);
    free(b->byte);
    free(b->range);
    free(b->list);
    free(b->slot);
    free(b);
}

gexpr grammar_fail(struct grammar_builder *b, const struct err *why)
{
    if (b->failed.code == 0)
        b->failed = *why;
    return -1;
}

static gexpr fail(struct grammar_builder *b, int code, const char *text)
{
    struct err err = {0};
    err_set(&err, code, "%s", text);
    return grammar_fail(b, &err);
}

static gexpr too_large(struct grammar_builder *b)
{
    return fail(b, ERR_LIMIT, "the grammar is too large");
}

uint32_t expr_n_children(const struct expr *e)
{
    switch (e->kind) {
    case EXPR_SEQ:
    case EXPR_ALT:
    case EXPR_UNTIL:
    case EXPR_WITHOUT:
        return e->n;
    case EXPR_REPEAT:
    case EXPR_SPECIAL:
        return 1;
    default:
        return 0;
    }
}

/* ---- the pool ---- */

struct payload {
    const void *ptr;
    size_t bytes;
};

static struct payload payload_of(const struct grammar_builder *b, const struct expr *e)
{
    switch (e->kind) {
    case EXPR_LITERAL:
        return (struct payload){b->byte + e->at, e->n};
    case EXPR_CHARS:
        return (struct payload){b->range + e->at, e->n * sizeof(*b->range)};
    default:
        if (expr_n_children(e) == 0)
            return (struct payload){NULL, 0};
        return (struct payload){b->list + e->at, expr_n_children(e) * sizeof(*b->list)};
    }
}

static uint64_t hash_of(const struct expr *e, struct payload p)
{
    uint64_t h = 0xcbf29ce484222325u ^ e->kind;
    h = (h ^ (uint32_t)e->min) * 0x9e3779b97f4a7c15u;
    h = (h ^ (uint32_t)e->max) * 0x9e3779b97f4a7c15u;
    const uint8_t *byte = p.ptr;
    for (size_t i = 0; i < p.bytes; i++)
        h = (h ^ byte[i]) * 0x100000001b3u;
    return h ^ h >> 29;
}

static bool is_same(const struct grammar_builder *b, const struct expr *x, const struct expr *y)
{
    if (x->kind != y->kind || x->min != y->min || x->max != y->max || x->n != y->n)
        return false;
    struct payload p = payload_of(b, x), q = payload_of(b, y);
    return p.bytes == q.bytes && (p.bytes == 0 || memcmp(p.ptr, q.ptr, p.bytes) == 0);
}

static bool grow_slots(struct grammar_builder *b)
{
    size_t n = b->n_slot ? b->n_slot * 2 : 256;
    uint32_t *slot = mem_try_array(n, sizeof(*slot));
    if (!slot)
        return false;
    for (size_t i = 0; i < b->n_expr; i++) {
        if (b->expr[i].kind == EXPR_RULE)
            continue;
        size_t at = hash_of(&b->expr[i], payload_of(b, &b->expr[i])) & (n - 1);
        while (slot[at])
            at = (at + 1) & (n - 1);
        slot[at] = (uint32_t)i + 1;
    }
    free(b->slot);
    b->slot = slot;
    b->n_slot = n;
    return true;
}

static gexpr append(struct grammar_builder *b, const struct expr *e)
{
    if (!mem_grow((void **)&b->expr, &b->cap_expr, b->n_expr + 1, EXPRS_MAX, sizeof(*b->expr)))
        return too_large(b);
    b->expr[b->n_expr] = *e;
    return (gexpr)b->n_expr++;
}

/* The expression e, whose payload was just put at the end of its pool: an old equal one or new. */
static gexpr intern(struct grammar_builder *b, const struct expr *e)
{
    if (b->n_slot < (b->n_expr + 1) * 2 && !grow_slots(b))
        return too_large(b);
    size_t at = hash_of(e, payload_of(b, e)) & (b->n_slot - 1);
    for (; b->slot[at]; at = (at + 1) & (b->n_slot - 1)) {
        if (!is_same(b, &b->expr[b->slot[at] - 1], e))
            continue;
        if (e->kind == EXPR_LITERAL)
            b->n_byte = e->at;
        else if (e->kind == EXPR_CHARS)
            b->n_range = e->at;
        else
            b->n_list = e->at;
        return (gexpr)b->slot[at] - 1;
    }
    gexpr id = append(b, e);
    if (id >= 0)
        b->slot[at] = (uint32_t)id + 1;
    return id;
}

static bool is_known(struct grammar_builder *b, gexpr e)
{
    if (e >= 0 && (size_t)e < b->n_expr)
        return b->failed.code == 0;
    fail(b, ERR_INTERNAL, "an expression of a grammar that does not exist");
    return false;
}

static bool add_list(struct grammar_builder *b, gexpr e)
{
    if (!mem_grow((void **)&b->list, &b->cap_list, b->n_list + 1, EXPR_LIST_MAX,
                  sizeof(*b->list))) {
        too_large(b);
        return false;
    }
    b->list[b->n_list++] = e;
    return true;
}

/* ---- the expressions ---- */

static gexpr simple(struct grammar_builder *b, enum expr_kind kind)
{
    struct expr e = {.kind = (uint8_t)kind, .at = (uint32_t)b->n_list};
    return b->failed.code != 0 ? -1 : intern(b, &e);
}

gexpr grammar_empty(struct grammar_builder *b)
{
    return simple(b, EXPR_EMPTY);
}

gexpr grammar_literal(struct grammar_builder *b, struct str text)
{
    if (b->failed.code != 0)
        return -1;
    if (text.len == 0)
        return grammar_empty(b);
    if (!utf8_is_whole(text))
        return fail(b, ERR_INVALID, "the text of a grammar is not UTF-8");
    size_t need;
    if (!size_add(b->n_byte, text.len, &need) ||
        !mem_grow((void **)&b->byte, &b->cap_byte, need, EXPR_BYTES_MAX, 1))
        return too_large(b);
    struct expr e = {.kind = EXPR_LITERAL, .at = (uint32_t)b->n_byte, .n = (uint32_t)text.len};
    memcpy(b->byte + b->n_byte, text.ptr, text.len);
    b->n_byte = need;
    return intern(b, &e);
}

static int cmp_range(const void *x, const void *y)
{
    const struct grammar_range *a = x, *b = y;
    return a->from < b->from ? -1 : a->from > b->from;
}

/* Ascending and apart; returns how many. */
static size_t merge_ranges(struct grammar_range *r, size_t n)
{
    qsort(r, n, sizeof(*r), cmp_range);
    size_t kept = 0;
    for (size_t i = 0; i < n; i++) {
        if (kept > 0 && r[i].from <= r[kept - 1].to + 1)
            r[kept - 1].to = r[i].to > r[kept - 1].to ? r[i].to : r[kept - 1].to;
        else
            r[kept++] = r[i];
    }
    return kept;
}

/* What lies between them, in place: there is room for one more. */
static size_t invert_ranges(struct grammar_range *r, size_t n)
{
    uint32_t next = 0;
    size_t kept = 0;
    for (size_t i = 0; i < n; i++) {
        struct grammar_range gap = {next, r[i].from - 1};
        bool is_gap = r[i].from > next;
        next = r[i].to + 1;
        if (is_gap)
            r[kept++] = gap;
    }
    if (next <= CODE_MAX)
        r[kept++] = (struct grammar_range){next, CODE_MAX};
    return kept;
}

/* Takes surrogates out: r has room for one more. */
static size_t drop_surrogates(struct grammar_range *r, size_t n)
{
    size_t kept = 0;
    struct grammar_range after = {1, 0};
    for (size_t i = 0; i < n; i++) {
        struct grammar_range x = r[i];
        if (x.to >= SURROGATE_FIRST && x.from <= SURROGATE_LAST) {
            if (x.to > SURROGATE_LAST)
                after = (struct grammar_range){SURROGATE_LAST + 1, x.to};
            if (x.from >= SURROGATE_FIRST)
                continue;
            x.to = SURROGATE_FIRST - 1;
        }
        r[kept++] = x;
    }
    if (after.from <= after.to)
        r[kept++] = after;
    return merge_ranges(r, kept);
}

gexpr grammar_chars(struct grammar_builder *b, const struct grammar_range *r, size_t n,
                    bool negated)
{
    if (b->failed.code != 0)
        return -1;
    for (size_t i = 0; i < n; i++)
        if (r[i].from > r[i].to || r[i].to > CODE_MAX)
            return fail(b, ERR_INVALID, "a range of characters that is none");
    if (n > EXPR_LIST_MAX || !mem_grow((void **)&b->range, &b->cap_range, b->n_range + n + 2,
                                       EXPR_LIST_MAX, sizeof(*b->range)))
        return too_large(b);
    struct grammar_range *to = b->range + b->n_range;
    memset(to, 0, (n + 2) * sizeof(*to));
    if (n > 0)
        memcpy(to, r, n * sizeof(*r));
    size_t kept = merge_ranges(to, n);
    kept = negated ? invert_ranges(to, kept) : kept;
    kept = drop_surrogates(to, kept);
    if (kept == 0)
        return simple(b, EXPR_NEVER);
    struct expr e = {.kind = EXPR_CHARS, .at = (uint32_t)b->n_range, .n = (uint32_t)kept};
    b->n_range += kept;
    return intern(b, &e);
}

static gexpr combine(struct grammar_builder *b, enum expr_kind kind, const gexpr *e, size_t n)
{
    enum expr_kind drop = kind == EXPR_SEQ ? EXPR_EMPTY : EXPR_NEVER;
    struct expr made = {.kind = (uint8_t)kind, .at = (uint32_t)b->n_list};
    for (size_t i = 0; i < n; i++) {
        if (!is_known(b, e[i]))
            return -1;
        if (b->expr[e[i]].kind == EXPR_NEVER && kind == EXPR_SEQ) {
            b->n_list = made.at;
            return simple(b, EXPR_NEVER);
        }
        if (b->expr[e[i]].kind != drop && !add_list(b, e[i]))
            return -1;
    }
    made.n = (uint32_t)(b->n_list - made.at);
    if (made.n > 1)
        return intern(b, &made);
    b->n_list = made.at;
    return made.n == 1 ? b->list[made.at] : simple(b, drop);
}

gexpr grammar_seq(struct grammar_builder *b, const gexpr *e, size_t n)
{
    return b->failed.code != 0 ? -1 : combine(b, EXPR_SEQ, e, n);
}

gexpr grammar_alt(struct grammar_builder *b, const gexpr *e, size_t n)
{
    return b->failed.code != 0 ? -1 : combine(b, EXPR_ALT, e, n);
}

gexpr grammar_repeat(struct grammar_builder *b, gexpr e, int64_t min, int64_t max)
{
    if (b->failed.code != 0 || !is_known(b, e))
        return -1;
    if (min < 0 || (max != GRAMMAR_UNBOUNDED && max < min))
        return fail(b, ERR_INVALID, "a repetition whose least number is greater than its most");
    if (min > GRAMMAR_REPEAT_MAX || max > GRAMMAR_REPEAT_MAX)
        return fail(b, ERR_LIMIT, "a repetition of more than 65536 times");
    enum expr_kind kind = b->expr[e].kind;
    if (max == 0 || kind == EXPR_EMPTY || (kind == EXPR_NEVER && min == 0))
        return grammar_empty(b);
    if ((min == 1 && max == 1) || kind == EXPR_NEVER)
        return e;
    struct expr made = {.kind = EXPR_REPEAT,
                        .at = (uint32_t)b->n_list,
                        .n = 1,
                        .min = (int32_t)min,
                        .max = (int32_t)max};
    return add_list(b, e) ? intern(b, &made) : -1;
}

static gexpr needles(struct grammar_builder *b, enum expr_kind kind, const struct str *needle,
                     size_t n)
{
    struct expr made = {.kind = (uint8_t)kind, .at = (uint32_t)b->n_list, .n = (uint32_t)n};
    for (size_t i = 0; i < n; i++) {
        if (needle[i].len == 0)
            return fail(b, ERR_INVALID, "a text to look for is empty");
        gexpr e = grammar_literal(b, needle[i]);
        if (e < 0 || !add_list(b, e))
            return -1;
    }
    return intern(b, &made);
}

gexpr grammar_until(struct grammar_builder *b, const struct str *needle, size_t n)
{
    if (b->failed.code != 0)
        return -1;
    return n == 0 ? simple(b, EXPR_NEVER) : needles(b, EXPR_UNTIL, needle, n);
}

gexpr grammar_without(struct grammar_builder *b, const struct str *needle, size_t n)
{
    return b->failed.code != 0 ? -1 : needles(b, EXPR_WITHOUT, needle, n);
}

gexpr grammar_special(struct grammar_builder *b, struct str text)
{
    gexpr literal = grammar_literal(b, text);
    if (literal < 0 || text.len == 0)
        return literal;
    struct expr made = {.kind = EXPR_SPECIAL, .at = (uint32_t)b->n_list, .n = 1};
    return add_list(b, literal) ? intern(b, &made) : -1;
}

gexpr grammar_rule(struct grammar_builder *b)
{
    struct expr e = {.kind = EXPR_RULE, .at = (uint32_t)b->n_list, .min = -1};
    return b->failed.code != 0 ? -1 : append(b, &e);
}

void grammar_define(struct grammar_builder *b, gexpr rule, gexpr body)
{
    if (b->failed.code != 0 || !is_known(b, rule) || !is_known(b, body))
        return;
    if (b->expr[rule].kind != EXPR_RULE || b->expr[rule].min >= 0)
        fail(b, ERR_INTERNAL, "a rule of a grammar that is defined twice");
    else
        b->expr[rule].min = body;
}
