/*
 * jinja_filter_seq: filters over lists, dicts and other things that can be walked.
 *
 * What is a generator in Python is computed at once here; it still can be walked only once.
 */
#include "base/mem.h"
#include "text/jinja_filter.h"

#include <string.h>

static struct jval iterator(struct jlist *l)
{
    return (struct jval){.kind = J_ITER, .l = l};
}

static bool copy_items(struct jrun *r, struct jval v, struct jlist **ret)
{
    struct jlist *items, *copy;
    if (!jitems(r, v, &items) || !(copy = jlist_new(r, items->n)) || !jstep(r, items->n))
        return false;
    if (items->n)
        memcpy(copy->item, items->item, items->n * sizeof(*copy->item));
    copy->n = items->n;
    *ret = copy;
    return true;
}

/* --- attributes of items: "a.b.0" --- */

static bool is_digits(struct str s)
{
    for (size_t i = 0; i < s.len; i++)
        if (s.ptr[i] < '0' || s.ptr[i] > '9')
            return false;
    return s.len > 0;
}

/* fallback: J_MISSING for none. */
static bool path_get(struct jrun *r, struct jval item, struct str path, struct jval fallback,
                     struct jval *ret)
{
    struct str part;
    while (str_split(&path, '.', &part)) {
        struct jval key;
        int64_t i;
        if (is_digits(part) && str_to_i64(part, &i))
            key = jv_int(i);
        else if (!jstr_view(r, part, &key))
            return false;
        if (!jstep(r, 1) || !jgetitem(r, item, key, &item))
            return false;
        if (item.kind == J_UNDEFINED && fallback.kind != J_MISSING && fallback.kind != J_NONE)
            item = fallback;
    }
    *ret = item;
    return true;
}

/* attribute: none, a number, or a path. */
static bool attr_get(struct jrun *r, struct jval item, struct jval attribute, struct jval fallback,
                     struct jval *ret)
{
    if (attribute.kind == J_MISSING || attribute.kind == J_NONE) {
        *ret = item;
        return true;
    }
    if (attribute.kind == J_STR)
        return path_get(r, item, jv_text(attribute), fallback, ret);
    if (!jgetitem(r, item, attribute, ret))
        return false;
    if (ret->kind == J_UNDEFINED && fallback.kind != J_MISSING && fallback.kind != J_NONE)
        *ret = fallback;
    return true;
}

static bool ignore_case(struct jrun *r, struct jval *v)
{
    struct jsink sink = {0};
    if (v->kind != J_STR)
        return true;
    return jstr_case(r, jv_text(*v), CASE_LOWER, &sink) && jsink_string(r, &sink, v);
}

static bool sort_key(struct jrun *r, struct jval item, struct jval attribute, struct jval fallback,
                     bool case_sensitive, struct jval *ret)
{
    return attr_get(r, item, attribute, fallback, ret) && (case_sensitive || ignore_case(r, ret));
}

/* --- taking apart --- */

FILTER(f_list)
{
    struct jlist *l;
    if (!jargs_bind(r, "list", args, "", 0, NULL) || !copy_items(r, self, &l))
        return false;
    *ret = jv_list(l);
    return true;
}

FILTER(f_first)
{
    struct jlist *items;
    if (!jargs_bind(r, "first", args, "", 0, NULL))
        return false;
    if (self.kind == J_STR && self.s->len)
        return jstr_char_at(r, self, 0, ret);
    if (self.kind == J_ITER && self.l->pos < self.l->n) {
        *ret = self.l->item[self.l->pos++];
        return true;
    }
    if (!jitems(r, self, &items))
        return false;
    if (items->n == 0)
        return jundefined_text(r, "no first item, sequence was empty", ret);
    *ret = items->item[0];
    return true;
}

FILTER(f_last)
{
    struct jlist *items;
    if (!jargs_bind(r, "last", args, "", 0, NULL))
        return false;
    if (self.kind == J_ITER)
        return jfail(r, "'generator' object is not reversible");
    if (self.kind == J_STR && self.s->len)
        return jstr_char_at(r, self, jstr_chars(r, self.s) - 1, ret);
    if (!jitems(r, self, &items))
        return false;
    if (items->n == 0)
        return jundefined_text(r, "no last item, sequence was empty", ret);
    *ret = items->item[items->n - 1];
    return true;
}

FILTER(f_reverse)
{
    struct jlist *l;
    struct jval bound[3] = {jv_none(), jv_none(), jv_int(-1)};
    if (!jargs_bind(r, "reverse", args, "", 0, NULL))
        return false;
    if (self.kind == J_STR)
        return jslice(r, self, bound, ret);
    if (!copy_items(r, self, &l))
        return false;
    for (size_t i = 0; l->n && i < l->n / 2; i++) {
        struct jval swap = l->item[i];
        l->item[i] = l->item[l->n - 1 - i];
        l->item[l->n - 1 - i] = swap;
    }
    *ret = self.kind == J_ITER ? jv_list(l) : iterator(l);
    return true;
}

FILTER(f_items)
{
    struct jlist *l = jlist_new(r, self.kind == J_DICT ? self.d->n : 0);
    if (!l || !jargs_bind(r, "items", args, "", 0, NULL))
        return false;
    if (self.kind != J_DICT && self.kind != J_UNDEFINED)
        return jfail(r, "can only get item pairs from a mapping");
    for (size_t i = 0; self.kind == J_DICT && i < self.d->n; i++) {
        struct jval pair;
        if (!jtuple2(r, self.d->pair[i].key, self.d->pair[i].value, &pair) ||
            !jlist_push(r, l, pair))
            return false;
    }
    *ret = iterator(l);
    return true;
}

FILTER(f_batch)
{
    struct jval v[2];
    int64_t size;
    struct jlist *items, *out = jlist_new(r, 0), *part = jlist_new(r, 0);
    if (!out || !part || !jargs_bind(r, "batch", args, "linecount fill_with", 1, v) ||
        !jarg_int(r, v[0], 0, &size) || !jitems(r, self, &items))
        return false;
    for (size_t i = 0; i < items->n; i++) {
        if ((int64_t)part->n == size) {
            if (!jlist_push(r, out, jv_list(part)) || !(part = jlist_new(r, 0)))
                return false;
        }
        if (!jlist_push(r, part, items->item[i]))
            return false;
    }
    bool fill = v[1].kind != J_MISSING && v[1].kind != J_NONE;
    while (part->n && fill && (int64_t)part->n < size)
        if (!jlist_push(r, part, v[1]))
            return false;
    if (part->n && !jlist_push(r, out, jv_list(part)))
        return false;
    *ret = iterator(out);
    return true;
}

FILTER(f_slice)
{
    struct jval v[2];
    int64_t slices;
    struct jlist *items, *out = jlist_new(r, 0);
    if (!out || !jargs_bind(r, "slice", args, "slices fill_with", 1, v) ||
        !jarg_int(r, v[0], 0, &slices) || !jitems(r, self, &items))
        return false;
    if (slices == 0)
        return jfail(r, "division by zero");
    int64_t each = slices > 0 ? (int64_t)items->n / slices : 0;
    int64_t extra = slices > 0 ? (int64_t)items->n % slices : 0;
    bool fill = v[1].kind != J_MISSING && v[1].kind != J_NONE;
    size_t at = 0;
    for (int64_t k = 0; k < slices; k++) {
        struct jlist *part = jlist_new(r, 0);
        int64_t n = each + (k < extra);
        for (int64_t i = 0; part && i < n; i++)
            if (!jlist_push(r, part, items->item[at++]))
                return false;
        if (!part || (fill && k >= extra && !jlist_push(r, part, v[1])) ||
            !jlist_push(r, out, jv_list(part)))
            return false;
    }
    *ret = iterator(out);
    return true;
}

/* --- putting together --- */

FILTER(f_join)
{
    struct jval v[2], sep, item;
    struct jlist *items;
    struct jsink sink = {0};
    if (!jargs_bind(r, "join", args, "d attribute", 0, v))
        return false;
    if (v[0].kind == J_MISSING ? !jstr_view(r, STR(""), &sep) : !jto_str(r, v[0], &sep))
        return false;
    if (!jitems(r, self, &items))
        return false;
    for (size_t i = 0; i < items->n; i++)
        if (!jstep(r, 1) ||
            !attr_get(r, items->item[i], v[1], (struct jval){.kind = J_MISSING}, &item) ||
            (i && !jsink_add(r, &sink, jv_text(sep))) || !jprint_str(r, &sink, item))
            return false;
    return jsink_string(r, &sink, ret);
}

FILTER(f_sum)
{
    struct jval v[2], item, acc;
    struct jlist *items;
    if (!jargs_bind(r, "sum", args, "attribute start", 0, v) || !jitems(r, self, &items))
        return false;
    acc = v[1].kind == J_MISSING ? jv_int(0) : v[1];
    if (acc.kind == J_STR)
        return jfail(r, "sum() can't sum strings");
    for (size_t i = 0; i < items->n; i++)
        if (!jstep(r, 1) ||
            !attr_get(r, items->item[i], v[0], (struct jval){.kind = J_MISSING}, &item) ||
            !jbinary(r, T_ADD, acc, item, &acc))
            return false;
    *ret = acc;
    return true;
}

/* --- order --- */

/* Key of one item for `sort`: a list, since the attribute may be several ("a,b"). */
static bool multi_key(struct jrun *r, struct jval item, struct jval attribute, bool case_sensitive,
                      struct jval *ret)
{
    struct jlist *key = jlist_new(r, 1);
    struct jval v, missing = {.kind = J_MISSING};
    struct str rest = attribute.kind == J_STR ? jv_text(attribute) : STR(""), path;
    if (!key)
        return false;
    *ret = jv_list(key);
    if (attribute.kind != J_STR)
        return sort_key(r, item, attribute, missing, case_sensitive, &v) && jlist_push(r, key, v);
    while (str_split(&rest, ',', &path))
        if (!path_get(r, item, path, missing, &v) || (!case_sensitive && !ignore_case(r, &v)) ||
            !jlist_push(r, key, v))
            return false;
    return true;
}

FILTER(f_sort)
{
    struct jval v[3];
    struct jlist *l;
    if (!jargs_bind(r, "sort", args, "reverse case_sensitive attribute", 0, v) ||
        !copy_items(r, self, &l))
        return false;
    struct jval *keys = jalloc_array(r, l->n + 1, sizeof(*keys));
    for (size_t i = 0; keys && i < l->n; i++)
        if (!multi_key(r, l->item[i], v[2], jtruth(v[1]), &keys[i]))
            return false;
    *ret = jv_list(l);
    return keys && jsort(r, l->item, keys, l->n, jtruth(v[0]));
}

FILTER(f_dictsort)
{
    struct jval v[3];
    struct str by;
    if (!jargs_bind(r, "dictsort", args, "case_sensitive by reverse", 0, v) ||
        !jarg_str(r, v[1], STR("key"), &by))
        return false;
    if (!str_eq_z(by, "key") && !str_eq_z(by, "value"))
        return jfail(r, "you can only sort by either \"key\" or \"value\"");
    if (self.kind != J_DICT)
        return self.kind == J_UNDEFINED ? jfail_undefined(r, self)
                                        : jfail(r, "dictsort needs a mapping");
    struct jlist *l = jlist_new(r, self.d->n);
    struct jval *keys = jalloc_array(r, self.d->n + 1, sizeof(*keys)), pair;
    if (!l || !keys)
        return false;
    for (size_t i = 0; i < self.d->n; i++) {
        struct jpair *p = &self.d->pair[i];
        keys[i] = str_eq_z(by, "key") ? p->key : p->value;
        if (!jtuple2(r, p->key, p->value, &pair) || !jlist_push(r, l, pair) ||
            (!jtruth(v[0]) && !ignore_case(r, &keys[i])))
            return false;
    }
    *ret = jv_list(l);
    return jsort(r, l->item, keys, l->n, jtruth(v[2]));
}

static bool extreme(struct jrun *r, struct jval self, const struct jargs *args, bool max,
                    struct jval *ret)
{
    struct jval v[2], best = {.kind = J_MISSING}, missing = {.kind = J_MISSING};
    struct jlist *items;
    if (!jargs_bind(r, max ? "max" : "min", args, "case_sensitive attribute", 0, v) ||
        !jitems(r, self, &items))
        return false;
    if (items->n == 0)
        return jundefined_text(r, "no aggregated item, sequence was empty", ret);
    for (size_t i = 0; i < items->n; i++) {
        struct jval key;
        bool better = i == 0;
        if (!jstep(r, 1) || !sort_key(r, items->item[i], v[1], missing, jtruth(v[0]), &key) ||
            (i && !(max ? jless(r, best, key, &better) : jless(r, key, best, &better))))
            return false;
        if (better) {
            best = key;
            *ret = items->item[i];
        }
    }
    return true;
}

FILTER(f_max)
{
    return extreme(r, self, args, true, ret);
}
FILTER(f_min)
{
    return extreme(r, self, args, false, ret);
}

FILTER(f_unique)
{
    struct jval v[2], key, missing = {.kind = J_MISSING};
    struct jlist *items, *out = jlist_new(r, 0);
    struct jdict *seen = jdict_new(r, 0);
    if (!out || !seen || !jargs_bind(r, "unique", args, "case_sensitive attribute", 0, v) ||
        !jitems(r, self, &items))
        return false;
    for (size_t i = 0; i < items->n; i++) {
        struct jpair *p;
        if (!sort_key(r, items->item[i], v[1], missing, jtruth(v[0]), &key) ||
            !jdict_find(r, seen, key, &p))
            return false;
        if (!p && (!jdict_set(r, seen, key, jv_none()) || !jlist_push(r, out, items->item[i])))
            return false;
    }
    *ret = iterator(out);
    return true;
}

/* The (key, items) pair of one group; the key as the first item has it, not lowered. */
static bool push_group(struct jrun *r, struct jlist *out, struct jlist *group, const struct jval *v,
                       struct jval key)
{
    struct jval pair;
    if (!jtruth(v[2]) && !attr_get(r, group->item[0], v[0], v[1], &key))
        return false;
    if (!jtuple2(r, key, jv_list(group), &pair))
        return false;
    pair.l->view = TUPLE_GROUP;
    return jlist_push(r, out, pair);
}

FILTER(f_groupby)
{
    struct jval v[3];
    struct jlist *l, *out = jlist_new(r, 0), *group = NULL;
    if (!out || !jargs_bind(r, "groupby", args, "attribute default case_sensitive", 1, v) ||
        !copy_items(r, self, &l))
        return false;
    struct jval *keys = jalloc_array(r, l->n + 1, sizeof(*keys)), last = {0};
    for (size_t i = 0; keys && i < l->n; i++)
        if (!sort_key(r, l->item[i], v[0], v[1], jtruth(v[2]), &keys[i]))
            return false;
    if (!keys || !jsort(r, l->item, keys, l->n, false))
        return false;
    for (size_t i = 0; i < l->n; i++) {
        struct jval key;
        bool same = false;
        if (!sort_key(r, l->item[i], v[0], v[1], jtruth(v[2]), &key) ||
            (group && !jequal(r, last, key, &same)))
            return false;
        if (group && !same && !push_group(r, out, group, v, last))
            return false;
        if (!same && !(group = jlist_new(r, 0)))
            return false;
        last = key;
        if (!jlist_push(r, group, l->item[i]))
            return false;
    }
    *ret = jv_list(out);
    return !group || push_group(r, out, group, v, last);
}

/* --- map, select, reject --- */

static const struct jval *kwarg(const struct jargs *args, const char *name)
{
    for (size_t i = 0; i < args->n_kw; i++)
        if (str_eq_z(args->kw[i].name, name))
            return &args->kw[i].value;
    return NULL;
}

static struct jargs args_from(const struct jargs *args, size_t skip)
{
    struct jargs rest = *args;
    if (skip) { /* never an offset to a null pointer */
        rest.pos += skip;
        rest.n_pos -= skip;
    }
    return rest;
}

static bool map_attribute(struct jrun *r, const struct jlist *items, const struct jargs *args,
                          struct jlist *out)
{
    const struct jval *attribute = kwarg(args, "attribute"), *fallback = kwarg(args, "default");
    struct jval missing = {.kind = J_MISSING}, v;
    if (args->n_kw > (fallback ? 2u : 1u))
        return jfail(r, "map() got an unknown argument");
    for (size_t i = 0; i < items->n; i++)
        if (!attr_get(r, items->item[i], *attribute, fallback ? *fallback : missing, &v) ||
            !jlist_push(r, out, v))
            return false;
    return true;
}

FILTER(f_map)
{
    struct jlist *items, *out = jlist_new(r, 0);
    struct jval v;
    if (!out)
        return false;
    *ret = iterator(out);
    if (!jtruth(self))
        return true;
    if (!jitems(r, self, &items))
        return false;
    if (args->n_pos == 0 && kwarg(args, "attribute"))
        return map_attribute(r, items, args, out);
    if (args->n_pos == 0)
        return jfail(r, "map requires a filter argument");
    if (args->pos[0].kind != J_STR)
        return jfail(r, "map requires the name of a filter");
    jbuiltin fn = jfilter_find(jv_text(args->pos[0]));
    if (!fn)
        return jfail(r, "there is no filter named '%.*s'",
                     STR_ARG(str_sub(jv_text(args->pos[0]), 0, 60)));
    struct jargs rest = args_from(args, 1);
    if (!jenter(r)) /* map('map', 'map', ...) */
        return false;
    for (size_t i = 0; i < items->n; i++)
        if (!fn(r, items->item[i], &rest, &v) || !jlist_push(r, out, v))
            return false;
    r->depth--;
    return true;
}

static bool choose(struct jrun *r, struct jval self, const struct jargs *args, bool keep,
                   bool by_attr, struct jval *ret)
{
    struct jlist *items, *out = jlist_new(r, 0);
    struct jval missing = {.kind = J_MISSING}, v, hit;
    size_t off = by_attr;
    jbuiltin fn = NULL;
    if (!out)
        return false;
    *ret = iterator(out);
    if (!jtruth(self))
        return true;
    if (args->n_pos < off)
        return jfail(r, "the name of the attribute is missing");
    if (!jitems(r, self, &items))
        return false;
    if (args->n_pos > off) {
        struct jval name = args->pos[off];
        if (name.kind != J_STR || !(fn = jtest_find(jv_text(name))))
            return jfail(r, "there is no such test");
    }
    size_t skip = off + (fn != NULL);
    struct jargs rest = args_from(args, skip);
    for (size_t i = 0; i < items->n; i++) {
        v = items->item[i];
        if ((by_attr && !attr_get(r, v, args->pos[0], missing, &v)) ||
            (fn && !fn(r, v, &rest, &hit)))
            return false;
        if (jtruth(fn ? hit : v) == keep && !jlist_push(r, out, items->item[i]))
            return false;
        if (!jstep(r, 1))
            return false;
    }
    return true;
}

FILTER(f_select)
{
    return choose(r, self, args, true, false, ret);
}
FILTER(f_reject)
{
    return choose(r, self, args, false, false, ret);
}
FILTER(f_selectattr)
{
    return choose(r, self, args, true, true, ret);
}
FILTER(f_rejectattr)
{
    return choose(r, self, args, false, true, ret);
}
