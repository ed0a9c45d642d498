/*
 * jinja_compare: truth, equality, order, membership and sorting, as Python defines them.
 */
#include "base/mem.h"
#include "text/jinja_value.h"

#include <string.h>

bool jtruth(struct jval v)
{
    switch (v.kind) {
    case J_MISSING:
    case J_UNDEFINED:
    case J_NONE:
        return false;
    case J_BOOL:
        return v.b;
    case J_INT:
        return v.i != 0;
    case J_FLOAT:
        return v.f < 0 || v.f > 0 || v.f != v.f;
    case J_STR:
        return v.s->len != 0;
    case J_LIST:
    case J_TUPLE:
    case J_VIEW:
        return v.l->n != 0;
    case J_DICT:
        return v.d->n != 0;
    case J_RANGE:
        return v.range->n != 0;
    default:
        return true;
    }
}

static int sign_of(int64_t a, int64_t b)
{
    return (a > b) - (a < b);
}

/* -1, 0, 1; 2 when not ordered (a NaN). long double holds every int64 exactly. */
static int compare_numbers(struct jval a, struct jval b)
{
    if (jv_is_integral(a) && jv_is_integral(b))
        return sign_of(jv_i64(a), jv_i64(b));
    long double x = a.kind == J_FLOAT ? (long double)a.f : (long double)jv_i64(a);
    long double y = b.kind == J_FLOAT ? (long double)b.f : (long double)jv_i64(b);
    return x < y ? -1 : x > y ? 1 : x == y ? 0 : 2;
}

static bool equal_lists(struct jrun *r, const struct jlist *a, const struct jlist *b, bool *ret)
{
    *ret = false;
    if (a->n != b->n)
        return true;
    if (!jenter(r))
        return false;
    bool same = true;
    for (size_t i = 0; i < a->n && same; i++)
        if (!jstep(r, 1) || !jequal(r, a->item[i], b->item[i], &same))
            return false;
    r->depth--;
    *ret = same;
    return true;
}

static bool equal_dicts(struct jrun *r, struct jdict *a, struct jdict *b, bool *ret)
{
    *ret = false;
    if (a->n != b->n)
        return true;
    if (!jenter(r))
        return false;
    bool same = true;
    for (size_t i = 0; i < a->n && same; i++) {
        struct jpair *p;
        if (!jdict_find(r, b, a->pair[i].key, &p) ||
            (p && !jequal(r, a->pair[i].value, p->value, &same)))
            return false;
        same = same && p;
    }
    r->depth--;
    *ret = same;
    return true;
}

bool jequal(struct jrun *r, struct jval a, struct jval b, bool *ret)
{
    *ret = false;
    if (jv_is_number(a) && jv_is_number(b)) {
        *ret = compare_numbers(a, b) == 0;
        return true;
    }
    if (a.kind != b.kind)
        return true;
    switch (a.kind) {
    case J_UNDEFINED:
    case J_NONE:
        *ret = true;
        return true;
    case J_STR:
        *ret = str_eq(jv_text(a), jv_text(b));
        return jstep(r, a.s->len / 256);
    case J_LIST:
    case J_TUPLE:
        return equal_lists(r, a.l, b.l, ret);
    case J_DICT:
        return equal_dicts(r, a.d, b.d, ret);
    case J_RANGE:
        *ret = a.range->n == b.range->n &&
               (a.range->n == 0 || (a.range->start == b.range->start &&
                                    (a.range->n == 1 || a.range->step == b.range->step)));
        return true;
    case J_VIEW:
        if (a.l->view == VIEW_KEYS && b.l->view == VIEW_KEYS) { /* as sets */
            bool in = a.l->n == b.l->n;
            for (size_t i = 0; i < a.l->n && in; i++)
                if (!jcontains(r, b, a.l->item[i], &in))
                    return false;
            *ret = in;
            return true;
        }
        *ret = a.l == b.l;
        return true;
    case J_FUNC:
        *ret = a.fn == b.fn || (a.fn->call == b.fn->call && a.fn->self.kind == J_MISSING &&
                                b.fn->self.kind == J_MISSING);
        return true;
    default:
        *ret = a.s == b.s; /* identity */
        return true;
    }
}

static bool compare_lists(struct jrun *r, const struct jlist *a, const struct jlist *b,
                          const char *op, int *ret)
{
    size_t n = a->n < b->n ? a->n : b->n;
    if (!jenter(r))
        return false;
    for (size_t i = 0; i < n; i++) {
        bool same;
        if (!jstep(r, 1) || !jequal(r, a->item[i], b->item[i], &same))
            return false;
        if (!same) {
            bool ok = jcompare(r, a->item[i], b->item[i], op, ret);
            r->depth--;
            return ok;
        }
    }
    r->depth--;
    *ret = (a->n > b->n) - (a->n < b->n);
    return true;
}

bool jcompare(struct jrun *r, struct jval a, struct jval b, const char *op, int *ret)
{
    if (a.kind == J_UNDEFINED || b.kind == J_UNDEFINED)
        return jfail_undefined(r, a.kind == J_UNDEFINED ? a : b);
    if (jv_is_number(a) && jv_is_number(b)) {
        *ret = compare_numbers(a, b);
        return true;
    }
    if (a.kind == J_STR && b.kind == J_STR) {
        int c = str_cmp(jv_text(a), jv_text(b)); /* order of bytes is order of code points */
        *ret = (c > 0) - (c < 0);
        return jstep(r, (a.s->len < b.s->len ? a.s->len : b.s->len) / 256);
    }
    if (a.kind == b.kind && (a.kind == J_LIST || a.kind == J_TUPLE))
        return compare_lists(r, a.l, b.l, op, ret);
    return jfail(r, "'%s' not supported between instances of '%s' and '%s'", op, jtype_name(a),
                 jtype_name(b));
}

bool jless(struct jrun *r, struct jval a, struct jval b, bool *ret)
{
    int c;
    if (!jcompare(r, a, b, "<", &c))
        return false;
    *ret = c < 0;
    return true;
}

static bool list_contains(struct jrun *r, const struct jlist *l, struct jval item, bool *ret)
{
    *ret = false;
    for (size_t i = 0; i < l->n && !*ret; i++)
        if (!jstep(r, 1) || !jequal(r, l->item[i], item, ret))
            return false;
    return true;
}

bool jcontains(struct jrun *r, struct jval container, struct jval item, bool *ret)
{
    struct jpair *p;
    struct jlist *items;
    switch (container.kind) {
    case J_STR:
        if (item.kind != J_STR)
            return jfail(r, "'in <string>' requires string as left operand, not %s",
                         jtype_name(item));
        *ret = str_find(jv_text(container), jv_text(item)) >= 0;
        return jstep(r, container.s->len / 64);
    case J_DICT:
        if (!jdict_find(r, container.d, item, &p))
            return false;
        *ret = p != NULL;
        return true;
    case J_RANGE:
        *ret = false;
        for (size_t i = 0; i < container.range->n && !*ret; i++)
            if (!jstep(r, 1) || !jequal(r, jrange_at(container.range, i), item, ret))
                return false;
        return true;
    default:
        if (!jiterable(container))
            return jfail(r, "argument of type '%s' is not iterable", jtype_name(container));
        return jitems(r, container, &items) && list_contains(r, items, item, ret);
    }
}

/* Merges the sorted halves [lo, mid) and [mid, hi) of `from` into `to`; equal ones keep order. */
static bool merge(struct jrun *r, struct jval *const from[2], struct jval *const to[2], size_t lo,
                  size_t mid, size_t hi, bool reverse)
{
    size_t i = lo, j = mid;
    for (size_t k = lo; k < hi; k++) {
        bool right = i == mid;
        if (!right && j < hi) {
            const struct jval *x = &from[1][reverse ? i : j], *y = &from[1][reverse ? j : i];
            if (!jstep(r, 1) || !jless(r, *x, *y, &right))
                return false;
        }
        size_t take = right ? j++ : i++;
        to[0][k] = from[0][take];
        to[1][k] = from[1][take];
    }
    return true;
}

bool jsort(struct jrun *r, struct jval *items, struct jval *keys, size_t n, bool reverse)
{
    struct jval *from[2] = {items, keys}, *to[2];
    if (n < 2)
        return true;
    for (int k = 0; k < 2; k++)
        if (!(to[k] = jalloc_array(r, n, sizeof(**to))))
            return false;
    for (size_t width = 1; width < n; width *= 2) {
        for (size_t lo = 0; lo < n; lo += 2 * width) {
            size_t mid = lo + width < n ? lo + width : n;
            size_t hi = lo + 2 * width < n ? lo + 2 * width : n;
            if (!merge(r, from, to, lo, mid, hi, reverse))
                return false;
        }
        for (int k = 0; k < 2; k++) {
            struct jval *swap = from[k];
            from[k] = to[k];
            to[k] = swap;
        }
    }
    if (from[0] != items)
        memcpy(items, from[0], n * sizeof(*items));
    return true;
}
