/*
 * schema_parts: lists of members and of items: any subset of the optional ones, with commas where
 * they belong. The first part that is there has no comma before it; that is told apart by halves,
 * not by subsets, so that n parts cost n log n.
 */
#include "grammar/schema_syntax.h"

#define COUNTED_MAX   65536 /* places times counts */
#define ANY_ORDER_MAX 7     /* of unique values: beyond it they keep the order of enum */
#define PLAIN_MAX     16    /* optional parts that are simply written out */

struct part {
    gexpr e;
    bool is_required;
};

struct parts {
    struct part *part;
    int n;
    gexpr other; /* what may follow, any number of times; GEXPR_NONE */
    gexpr comma;
    int64_t min, max; /* parts altogether; max < 0: any number */
};

static gexpr with_comma(struct plan *p, const struct parts *l, gexpr e)
{
    return emit_seq2(p, l->comma, e);
}

/* Into e: those from `from` on, when something stands before them; how many expressions. */
static size_t add_following(struct plan *p, const struct parts *l, int from, int to, gexpr *e)
{
    size_t n = 0;
    for (int i = from; i < to && i < l->n; i++) {
        gexpr one = with_comma(p, l, l->part[i].e);
        e[n++] = l->part[i].is_required ? one : emit_opt(p, one);
    }
    if (to > l->n && l->other != GEXPR_NONE)
        e[n++] = grammar_repeat(p->b, with_comma(p, l, l->other), 0, GRAMMAR_UNBOUNDED);
    return n;
}

/* `first` and what may follow it. */
static gexpr with_following(struct plan *p, const struct parts *l, gexpr first, int from, int to)
{
    gexpr *e = plan_alloc(p, (size_t)(to - from) + 2, sizeof(*e));
    if (!e)
        return -1;
    e[0] = first;
    return grammar_seq(p->b, e, add_following(p, l, from, to, e + 1) + 1);
}

/* At least one of [from, to), all of them optional; number n is the others. */
static gexpr nonempty(struct plan *p, const struct parts *l, int from, int to)
{
    if (to - from == 1)
        return from < l->n ? l->part[from].e : with_following(p, l, l->other, l->n, l->n + 1);
    int middle = from + (to - from) / 2;
    gexpr first = with_following(p, l, nonempty(p, l, from, middle), middle, to);
    return grammar_alt(p->b, (gexpr[]){first, nonempty(p, l, middle, to)}, 2);
}

/* Where one part must be, those before it have their comma behind them. */
static gexpr around_required(struct plan *p, const struct parts *l, int required)
{
    gexpr *e = plan_alloc(p, (size_t)l->n + 2, sizeof(*e));
    size_t n = 0;
    if (!e)
        return -1;
    for (int i = 0; i < required; i++)
        e[n++] = emit_opt(p, emit_seq2(p, l->part[i].e, l->comma));
    e[n++] = l->part[required].e;
    n += add_following(p, l, required + 1, l->n + 1, e + n);
    return grammar_seq(p->b, e, n);
}

/* ---- many of them ---- */

/* With many optional parts, what may follow each is a part of the rest: as many automata as
 * parts, each as large as the rest, if nothing is shared. So parts stand in a tree of ranges. A
 * range is a rule for one of its parts and all that follows that one; what follows part i is one
 * of the few ranges that make up the rest. Every rule ends in another: none of this nests. */
struct ranges {
    struct plan *p;
    const struct parts *l;
    int n;       /* parts and, if there are any, the others */
    gexpr *tree; /* [2 * size] rules; the leaves begin at size */
    gexpr *rest; /* [n + 1] what follows when part i - 1 was written */
    int size;
};

/* One of the parts in [from, to) and what follows it. */
static size_t cover(const struct ranges *r, int from, int to, gexpr *e)
{
    size_t n = 0;
    for (int a = from + r->size, b = to + r->size; a < b; a /= 2, b /= 2) {
        if (a % 2)
            e[n++] = r->tree[a++];
        if (b % 2)
            e[n++] = r->tree[--b];
    }
    return n;
}

/* Where the choice that begins at part i ends: behind the first part that must be. */
static int choice_end(const struct ranges *r, int i)
{
    while (i < r->n && !(i < r->l->n && r->l->part[i].is_required))
        i++;
    return i < r->n ? i + 1 : r->n;
}

static bool is_optional(const struct ranges *r, int i)
{
    int end = choice_end(r, i);
    return end == r->n && !(end > i && end <= r->l->n && r->l->part[end - 1].is_required);
}

static gexpr one_of(const struct ranges *r, int from, gexpr before)
{
    gexpr e[64];
    struct plan *p = r->p;
    size_t n = cover(r, from, choice_end(r, from), e);
    gexpr one = emit_seq2(p, before, grammar_alt(p->b, e, n));
    return is_optional(r, from) ? emit_opt(p, one) : one;
}

static gexpr by_ranges(struct plan *p, const struct parts *l)
{
    struct ranges r = {.p = p, .l = l, .n = l->n + (l->other != GEXPR_NONE), .size = 1};
    while (r.size < r.n)
        r.size *= 2;
    r.tree = plan_alloc(p, (size_t)r.size * 2, sizeof(*r.tree));
    r.rest = plan_alloc(p, (size_t)r.n + 1, sizeof(*r.rest));
    if (!r.tree || !r.rest)
        return -1;
    for (int i = 0; i <= r.n; i++)
        r.rest[i] = grammar_rule(p->b);
    for (int i = 1; i < r.size + r.n; i++)
        r.tree[i] = grammar_rule(p->b);
    for (int i = 0; i < r.n; i++) {
        gexpr e = i < l->n ? emit_seq2(p, l->part[i].e, r.rest[i + 1])
                           : with_following(p, l, l->other, l->n, l->n + 1);
        grammar_define(p->b, r.tree[r.size + i], e);
    }
    for (int i = r.size - 1; i > 0; i--) {
        bool has_right = i * 2 + 1 < r.size + r.n && r.tree[i * 2 + 1] > 0;
        gexpr e[] = {r.tree[i * 2], has_right ? r.tree[i * 2 + 1] : 0};
        if (r.tree[i * 2] > 0)
            grammar_define(p->b, r.tree[i], grammar_alt(p->b, e, has_right ? 2 : 1));
        else
            r.tree[i] = 0; /* no part is below it */
    }
    grammar_define(p->b, r.rest[r.n], grammar_empty(p->b));
    for (int i = r.n - 1; i >= 0; i--)
        grammar_define(p->b, r.rest[i], i < r.n ? one_of(&r, i, l->comma) : grammar_empty(p->b));
    gexpr first[64];
    return grammar_alt(p->b, first, cover(&r, 0, choice_end(&r, 0), first));
}

/* ---- with a count ---- */

/* The others, when n parts were written. They may have one name twice, so they count as one where
 * there must be many. */
static gexpr counted_others(struct plan *p, const struct parts *l, int64_t n)
{
    int64_t most = l->max < 0 ? GRAMMAR_UNBOUNDED : l->max - n;
    if (l->max >= 0 && most > GRAMMAR_REPEAT_MAX)
        most = GRAMMAR_REPEAT_MAX;
    if (l->other == GEXPR_NONE || most == 0)
        return n >= l->min ? grammar_empty(p->b) : GEXPR_NONE;
    if (n + 1 < l->min)
        return GEXPR_NONE;
    gexpr more = with_comma(p, l, l->other);
    if (n > 0)
        return grammar_repeat(p->b, more, n < l->min, most);
    gexpr e = emit_seq2(p, l->other, grammar_repeat(p->b, more, 0, most < 0 ? most : most - 1));
    return l->min > 0 ? e : emit_opt(p, e);
}

/* at[c]: all from part i on, when c parts were written (or more, where that is the same). */
static gexpr counted(struct plan *p, const struct parts *l)
{
    int64_t top = l->max >= 0 ? l->max : l->min > 1 ? l->min : 1;
    if (top > l->n + 1)
        top = l->n + 1;
    if ((top + 1) * (l->n + 1) > COUNTED_MAX) {
        plan_fail(p, ERR_LIMIT, "#", "minProperties or maxProperties of too many members");
        return -1;
    }
    gexpr *at = plan_alloc(p, (size_t)top + 2, sizeof(*at));
    if (!at)
        return -1;
    at[top + 1] = GEXPR_NONE;
    for (int64_t c = 0; c <= top; c++)
        at[c] = counted_others(p, l, c);
    for (int i = l->n - 1; i >= 0; i--)
        for (int64_t c = 0; c <= top; c++) {
            gexpr next = at[c < top || l->max >= 0 ? c + 1 : top];
            gexpr one = c > 0 ? with_comma(p, l, l->part[i].e) : l->part[i].e;
            gexpr with = next == GEXPR_NONE ? next : emit_seq2(p, one, next);
            if (l->part[i].is_required || at[c] == GEXPR_NONE)
                at[c] = with;
            else if (with != GEXPR_NONE)
                at[c] = grammar_alt(p->b, (gexpr[]){with, at[c]}, 2);
        }
    return at[0];
}

/* GEXPR_NONE: they cannot be as many as they must. *ret_empty: there may be none. */
static gexpr emit_parts(struct plan *p, const struct parts *l, bool *ret_empty)
{
    int first = 0;
    int64_t n_required = 0;
    for (int i = l->n - 1; i >= 0; i--)
        if (l->part[i].is_required) {
            first = i;
            n_required++;
        }
    bool has_other = l->other != GEXPR_NONE;
    bool fits = l->max < 0 || (l->max >= l->n && !has_other);
    *ret_empty = false;
    if (fits && l->n - n_required > PLAIN_MAX && l->min <= (n_required > 0 ? n_required : 1)) {
        *ret_empty = n_required == 0 && l->min == 0;
        return by_ranges(p, l);
    }
    if (fits && n_required > 0 && l->min <= n_required)
        return around_required(p, l, first);
    *ret_empty = n_required == 0 && l->min == 0;
    if (l->n == 0 && !has_other)
        return l->min > 0 ? GEXPR_NONE : grammar_empty(p->b);
    if (fits && n_required == 0 && l->min <= 1)
        return nonempty(p, l, 0, l->n + has_other);
    return counted(p, l);
}

/* ---- objects ---- */

/* One of a class of members. */
static gexpr other_member(struct plan *p, const struct member_class *c, bool is_framed)
{
    bool is_any = c->keys->n_state == 1 && c->keys->accept[0] && c->keys->first[1] == 1 &&
                  c->keys->edge[0].from == 0 && c->keys->edge[0].to == LANG_CHAR_MAX;
    if (is_framed)
        return frame_other(p, c->keys, c->node);
    gexpr key = is_any ? p->any_key : syntax_key_lang(p, c->keys);
    return emit_pair(p, key, emit_node(p, c->node));
}

static gexpr other_members(struct plan *p, const struct object_bounds *o, bool with_implied,
                           bool is_framed)
{
    gexpr *e = plan_alloc(p, (size_t)o->n_other, sizeof(*e));
    size_t n = 0;
    for (int i = 0; e && i < o->n_other; i++) {
        const struct member_class *c = &o->other[i];
        if (!p->node[c->node]->is_productive || (c->is_implied && !with_implied))
            continue;
        e[n] = other_member(p, c, is_framed);
        n += e[n] != GEXPR_NONE;
    }
    return n == 0 ? GEXPR_NONE : grammar_alt(p->b, e, n);
}

static gexpr members(struct plan *p, const struct object_bounds *o, bool is_framed,
                     bool *ret_may_be_empty)
{
    struct parts l = {
        .comma = is_framed ? p->frame->between : emit_comma(p), .min = o->min, .max = o->max};
    l.part = plan_alloc(p, (size_t)o->n_member, sizeof(*l.part));
    if (!l.part)
        return -1;
    for (int i = 0; i < o->n_member; i++) {
        const struct member *m = &o->member[i];
        if (m->is_banned || !p->node[m->node]->is_productive)
            continue;
        gexpr e = is_framed ? frame_member(p, m->key, m->node)
                            : emit_member(p, m->key, emit_node(p, m->node));
        if (e != GEXPR_NONE)
            l.part[l.n++] = (struct part){e, m->is_required};
        else if (m->is_required)
            return plan_fail(p, ERR_UNSUPPORTED, o->place,
                             "the name of a member cannot be written as this model writes names");
    }
    l.other = other_members(p, o, o->min > l.n, is_framed);
    gexpr inside = emit_parts(p, &l, ret_may_be_empty);
    if (inside == GEXPR_NONE) {
        plan_fail(p, ERR_UNSUPPORTED, o->place,
                  "minProperties of %lld cannot be enforced: only %d members have names here",
                  (long long)o->min, l.n);
        return -1;
    }
    return inside;
}

gexpr emit_object(struct plan *p, const struct object_bounds *o)
{
    bool may_be_empty;
    gexpr inside = members(p, o, false, &may_be_empty);
    return emit_brackets(p, "{", "}", inside, may_be_empty);
}

gexpr emit_framed(struct plan *p, const struct object_bounds *o)
{
    bool may_be_empty;
    gexpr inside = members(p, o, true, &may_be_empty);
    return may_be_empty ? emit_opt(p, inside) : inside;
}

/* ---- lists ---- */

/* Every order of different values, by the set of those that were written. */
static gexpr any_order(struct plan *p, const struct array_bounds *a)
{
    gexpr value[ANY_ORDER_MAX], comma = emit_comma(p);
    unsigned n_set = 1u << a->n_value;
    gexpr *after = plan_alloc(p, n_set, sizeof(*after)), e[ANY_ORDER_MAX + 1];
    if (!after)
        return -1;
    for (int i = 0; i < a->n_value; i++)
        value[i] = emit_value(p, a->value[i]);
    for (unsigned set = n_set; set-- > 0;) {
        int64_t count = __builtin_popcount(set);
        size_t n = 0;
        for (int i = 0; count < a->max && i < a->n_value; i++)
            if (!(set & 1u << i))
                e[n++] = grammar_seq(
                    p->b,
                    (gexpr[]){set ? comma : grammar_empty(p->b), value[i], after[set | 1u << i]},
                    3);
        if (set == 0 && n > 0) /* none at all is the brackets' matter */
            return grammar_alt(p->b, e, n);
        if (count >= a->min)
            e[n++] = grammar_empty(p->b);
        after[set] = grammar_alt(p->b, e, n);
    }
    return after[0];
}

static gexpr emit_unique(struct plan *p, const struct array_bounds *a)
{
    if (a->n_value <= ANY_ORDER_MAX)
        return any_order(p, a);
    struct parts l = {.comma = emit_comma(p), .min = a->min, .max = a->max, .other = GEXPR_NONE};
    bool may_be_empty;
    l.part = plan_alloc(p, (size_t)a->n_value, sizeof(*l.part));
    if (!l.part)
        return -1;
    for (int i = 0; i < a->n_value; i++)
        l.part[l.n++].e = emit_value(p, a->value[i]);
    return emit_parts(p, &l, &may_be_empty);
}

static gexpr rest_items(struct plan *p, const struct array_bounds *a, int64_t max)
{
    gexpr item = emit_node(p, a->rest_node), more = emit_seq2(p, emit_comma(p), item);
    int64_t min = a->min > a->n_item ? a->min - a->n_item : 0;
    max = max < 0 ? GRAMMAR_UNBOUNDED : max - a->n_item;
    if (max > GRAMMAR_REPEAT_MAX && min <= GRAMMAR_REPEAT_MAX)
        max = GRAMMAR_REPEAT_MAX;
    if (a->n_item > 0)
        return grammar_repeat(p->b, more, min, max);
    return emit_seq2(p, item,
                     grammar_repeat(p->b, more, min > 0 ? min - 1 : 0, max < 0 ? max : max - 1));
}

gexpr emit_array(struct plan *p, const struct array_bounds *a)
{
    int64_t max = a->max;
    gexpr comma = emit_comma(p), e = grammar_empty(p->b);
    if (max == 0)
        return emit_brackets(p, "[", "]", e, true);
    if (a->value)
        return emit_brackets(p, "[", "]", emit_unique(p, a), a->min == 0);
    if (a->contains >= 0)
        return emit_contains(p, a);
    if (a->rest_node >= 0 && !p->node[a->rest_node]->is_productive)
        max = a->n_item;
    for (int i = a->n_item - 1; i >= 0; i--)
        if (!p->node[a->item_node[i]]->is_productive)
            max = i;
    if (max != 0 && a->rest_node >= 0 && (max < 0 || max > a->n_item))
        e = rest_items(p, a, max);
    for (int i = a->n_item - 1; i >= 0; i--) {
        if (max >= 0 && i >= max)
            continue;
        if (i + 1 >= a->min && i + 1 < a->n_item)
            e = emit_opt(p, e);
        e = emit_seq2(p, emit_node(p, a->item_node[i]), e);
        e = i > 0 ? emit_seq2(p, comma, e) : e;
    }
    return emit_brackets(p, "[", "]", e, a->min == 0);
}
