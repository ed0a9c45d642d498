/*
 * schema_contains: lists of which some items must be, or must not be, what `contains` says.
 *
 * A list is written item by item; how many were written and how many of them were counted is where
 * it stands. An item that need not be counted may be anything that stands there: if it happens to
 * be what is looked for, that does no harm as long as nothing bounds them above. With maxContains
 * it must be anything else, so the opposite must be something that can be said.
 */
#include "base/mem.h"
#include "grammar/schema_plan.h"

#include <stdlib.h>

/* ---- what the schemas say ---- */

int plan_contains(struct plan *p, const struct location *at, struct array_bounds *a)
{
    const json_t *what = json_object_get(at->json, "contains");
    int64_t min = 1, max = -1, n = 0;
    bool has_min, has_max;
    int rc = plan_number(p, at->json, at->place, "minContains", &n, &has_min);
    min = has_min ? n : min;
    if (rc == 0)
        rc = plan_number(p, at->json, at->place, "maxContains", &n, &has_max);
    if (rc != 0 || !what)
        return rc;
    max = has_max ? n : max;
    int id = plan_locate(p, what, plan_place(p, at->place, "contains", NULL), at->made);
    if (id < 0 || (min == 0 && max < 0))
        return id < 0 ? id : 0;
    if (a->contains >= 0 && a->contains != id)
        return plan_fail(p, ERR_UNSUPPORTED, at->place,
                         "two different \"contains\" for one list are not enforced");
    bool is_first = a->contains < 0;
    a->contains = id;
    a->contains_place = at->place;
    a->contains_min = is_first || min > a->contains_min ? min : a->contains_min;
    if (is_first || a->contains_max < 0 || (max >= 0 && max < a->contains_max))
        a->contains_max = max;
    return 0;
}

/* How many that are counted make a difference. */
static int64_t counts_of(const struct array_bounds *a)
{
    return a->contains_max >= 0 ? a->contains_max : a->contains_min;
}

int plan_contains_end(struct plan *p, struct array_bounds *a)
{
    if (a->contains < 0)
        return 0;
    if ((a->contains_max >= 0 && a->contains_min > a->contains_max) ||
        (a->max >= 0 && a->contains_min > a->max)) {
        p->why = (struct why){a->contains_place, "minContains is more than there can be", false};
        return 1;
    }
    if (a->is_unique && p->o->strict)
        return plan_fail(p, ERR_UNSUPPORTED, a->contains_place,
                         "\"contains\" beside \"uniqueItems\" is not enforced");
    a->is_unique = false;
    if (a->max >= 0 && a->contains_max >= a->max)
        a->contains_max = -1;
    int64_t counts = counts_of(a);
    a->min = a->min > a->contains_min ? a->min : a->contains_min;
    int64_t most = counts < CONTAINS_PLACES_MAX ? CONTAINS_PLACES_MAX / (counts + 1) - 1 : -1;
    if (most < 0 || a->min > most || a->n_item > most)
        return plan_fail(p, ERR_LIMIT, a->contains_place,
                         "\"contains\" is enforced where items times those that are counted are "
                         "up to %d",
                         CONTAINS_PLACES_MAX);
    if (a->max > most)
        a->max = most;
    return 0;
}

int plan_contains_nodes(struct plan *p, struct array_bounds *a)
{
    if (a->contains < 0)
        return 0;
    size_t n = (size_t)a->n_item + 1;
    a->with_node = plan_alloc(p, n, sizeof(int));
    a->without_node = plan_alloc(p, n, sizeof(int));
    int no = a->contains_max >= 0 ? plan_opposite(p, a->contains) : 0;
    if (!a->with_node || !a->without_node || no < 0)
        return no < 0 ? no : ERR_LIMIT;
    for (int i = 0; i <= a->n_item; i++) {
        const struct ids *goal = i < a->n_item ? &a->item[i] : &a->rest;
        struct ids with = {0}, without = {0};
        int rc = 0;
        for (int k = 0; rc == 0 && k < goal->n; k++) {
            rc = ids_add(p, &with, goal->id[k]);
            rc = rc != 0 ? rc : ids_add(p, &without, goal->id[k]);
        }
        rc = rc != 0 ? rc : ids_add(p, &with, a->contains);
        if (rc == 0 && a->contains_max >= 0)
            rc = ids_add(p, &without, no);
        if (rc != 0)
            return rc;
        a->with_node[i] = plan_node(p, &with);
        a->without_node[i] = a->with_node[i] < 0 ? a->with_node[i] : plan_node(p, &without);
        if (a->without_node[i] < 0)
            return a->without_node[i];
    }
    return 0;
}

int plan_contains_accepts(struct plan *p, const struct array_bounds *a, const json_t *value)
{
    int id = a->contains;
    const struct ids goal = {.id = &id, .n = 1};
    int64_t n = 0;
    for (size_t i = 0; id >= 0 && i < json_array_size(value); i++) {
        int rc = plan_accepts(p, &goal, json_array_get(value, i));
        if (rc < 0)
            return rc;
        n += rc;
    }
    return id < 0 || (n >= a->contains_min && (a->contains_max < 0 || n <= a->contains_max));
}

/* ---- lists ---- */

/* `emits` false: only whether there are such lists; expressions are 0 then. */
struct list {
    struct plan *p;
    const struct array_bounds *a;
    bool emits;
    int64_t places; /* after so many items all are alike, or the list is over */
    int64_t counts;
    gexpr comma;
};

static gexpr seq2(const struct list *l, gexpr a, gexpr b)
{
    if (a == GEXPR_NONE || b == GEXPR_NONE)
        return GEXPR_NONE;
    return l->emits ? emit_seq2(l->p, a, b) : 0;
}

static gexpr alt2(const struct list *l, gexpr a, gexpr b)
{
    if (a == GEXPR_NONE || b == GEXPR_NONE)
        return a == GEXPR_NONE ? b : a;
    return l->emits ? grammar_alt(l->p->b, (gexpr[]){a, b}, 2) : 0;
}

/* One item in place i, with the comma before it. */
static gexpr item(const struct list *l, int64_t i, bool is_counted)
{
    const int *node = is_counted ? l->a->with_node : l->a->without_node;
    int index = node[i < l->a->n_item ? i : l->a->n_item];
    if (!l->p->node[index]->is_productive)
        return GEXPR_NONE;
    gexpr e = l->emits ? emit_node(l->p, index) : 0;
    return i > 0 ? seq2(l, l->comma, e) : e;
}

/* In place i with c of them counted, when next[] is what can follow in the next place. */
static gexpr from_place(const struct list *l, int64_t i, int64_t c, const gexpr *next)
{
    gexpr e = GEXPR_NONE;
    if (c < l->counts)
        e = seq2(l, item(l, i, true), next[c + 1]);
    return alt2(l, e, seq2(l, item(l, i, false), next[c]));
}

/* All places behind the last that differs, after c that were counted; next: after c + 1. */
static gexpr from_last(const struct list *l, int64_t c, gexpr next)
{
    gexpr other = item(l, l->places, false), empty = l->emits ? grammar_empty(l->p->b) : 0;
    gexpr end = c >= l->a->contains_min ? empty : GEXPR_NONE;
    if (c < l->counts)
        end = alt2(l, end, seq2(l, item(l, l->places, true), next));
    if (other == GEXPR_NONE || end == GEXPR_NONE || !l->emits)
        return end;
    return emit_seq2(l->p, grammar_repeat(l->p->b, other, 0, GRAMMAR_UNBOUNDED), end);
}

/* Lists of at least one item; *row: [2][counts + 2]. */
static gexpr all_lists(const struct list *l, gexpr *row)
{
    gexpr *at = row, *next = row + l->counts + 2, empty = l->emits ? grammar_empty(l->p->b) : 0;
    for (int64_t c = l->counts; c >= 0; c--)
        next[c] = l->a->max < 0 ? from_last(l, c, c < l->counts ? next[c + 1] : GEXPR_NONE)
                  : c >= l->a->contains_min ? empty
                                            : GEXPR_NONE;
    for (int64_t i = l->places - 1; i >= 0; i--) {
        for (int64_t c = l->counts; c >= 0; c--) {
            bool may_end = i > 0 && i >= l->a->min && c >= l->a->contains_min;
            at[c] = from_place(l, i, c, next);
            at[c] = may_end ? alt2(l, at[c], empty) : at[c];
        }
        gexpr *swap = at;
        at = next;
        next = swap;
    }
    return next[0];
}

static gexpr lists(struct plan *p, const struct array_bounds *a, bool emits)
{
    struct list l = {.p = p, .a = a, .emits = emits, .places = a->max, .counts = counts_of(a)};
    if (a->max < 0) {
        l.places = a->min > a->n_item ? a->min : a->n_item;
        l.places = l.places > 1 ? l.places : 1;
    }
    if (!emits) /* asked again and again */
        p->n_steps += 1 + (uint64_t)(l.places + 1) * (uint64_t)(l.counts + 1) / 16;
    gexpr *row = mem_try_array(2 * (size_t)(l.counts + 2), sizeof(*row));
    if (!row)
        return -1;
    l.comma = emits ? emit_comma(p) : 0;
    gexpr e = all_lists(&l, row);
    free(row);
    return e;
}

bool contains_productive(const struct plan *p, const struct array_bounds *a)
{
    /* it only asks, and counts its steps */
    return lists((struct plan *)(uintptr_t)p, a, false) != GEXPR_NONE;
}

gexpr emit_contains(struct plan *p, const struct array_bounds *a)
{
    gexpr e = lists(p, a, true);
    if (e == GEXPR_NONE) /* there is the empty one */
        e = grammar_empty(p->b);
    return emit_brackets(p, "[", "]", e, a->min == 0);
}
