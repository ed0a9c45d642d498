/*
 * schema_value: whether a given value satisfies a goal, and all values of a goal that has few.
 */
#include "grammar/schema_plan.h"

#include <string.h>

static int string_accepts(struct plan *p, const struct shape *s, const json_t *value)
{
    struct str text = json_str(value);
    int64_t n = 0;
    for (size_t i = 0; i < text.len; n++)
        if (lang_next_char(text, &i) < 0)
            return 0;
    if (n < s->string.min || (s->string.max >= 0 && n > s->string.max))
        return 0;
    if (s->lang)
        return lang_accepts(s->lang, text);
    for (int i = 0; i < s->string.n_pattern + s->string.n_format; i++) {
        const struct lang *l;
        bool is_pattern = i < s->string.n_pattern;
        const struct pattern *x = is_pattern ? &s->string.pattern[i] : NULL;
        const struct schema_format *f =
            is_pattern ? NULL : s->string.format[i - s->string.n_pattern];
        int rc = is_pattern ? plan_pattern_lang(p, x->text, x->place, &l)
                            : plan_pattern_lang(p, str_z(f->given ? f->given : f->regex), "#", &l);
        if (rc != 0)
            return rc;
        if (lang_accepts(l, text) == (is_pattern && x->is_not))
            return 0;
    }
    return 1;
}

static int number_accepts(const struct number_bounds *n, const json_t *value)
{
    int low = n->low ? plan_compare(value, n->low) : 1;
    int high = n->high ? plan_compare(value, n->high) : -1;
    if (low < 0 || (low == 0 && n->low_open) || high > 0 || (high == 0 && n->high_open))
        return 0;
    if (n->multiple == 0)
        return 1;
    if (n->n_decimal > 0)
        return schema_number_is_multiple(value, n);
    if (json_is_integer(value))
        return json_integer_value(value) % n->multiple == 0;
    double d = json_real_value(value);
    return __builtin_fabs(d) < 9e15 && d == (double)(int64_t)d && (int64_t)d % n->multiple == 0;
}

static int object_accepts(struct plan *p, const struct object_bounds *o, const json_t *value)
{
    int64_t size = (int64_t)json_object_size(value), n_known = 0;
    if (size < o->min || (o->max >= 0 && size > o->max))
        return 0;
    for (int i = 0; i < o->n_member; i++) {
        const struct member *m = &o->member[i];
        const json_t *v = json_object_getn(value, m->key.ptr, m->key.len);
        if (!v && m->is_required)
            return 0;
        if (!v)
            continue;
        n_known++;
        int rc = m->is_banned ? 0 : plan_accepts(p, &m->goal, v);
        if (rc != 1)
            return rc;
    }
    if (n_known == size)
        return 1;
    const char *key;
    size_t len;
    json_t *v;
    json_object_keylen_foreach((json_t *)(uintptr_t)value, key, len, v)
    {
        bool is_named = false;
        int found = -1;
        for (int i = 0; i < o->n_member && !is_named; i++)
            is_named = str_eq(o->member[i].key, (struct str){key, len});
        for (int i = 0; i < o->n_other && !is_named && found < 0; i++)
            if (lang_accepts(o->other[i].keys, (struct str){key, len}))
                found = i;
        int rc = is_named ? 1 : found < 0 ? 0 : plan_accepts(p, &o->other[found].goal, v);
        if (rc != 1)
            return rc;
    }
    return 1;
}

static int array_accepts(struct plan *p, const struct array_bounds *a, const json_t *value)
{
    size_t n = json_array_size(value);
    if ((int64_t)n < a->min || (a->max >= 0 && (int64_t)n > a->max))
        return 0;
    for (size_t i = 0; i < n; i++) {
        const json_t *v = json_array_get(value, i);
        const struct ids *goal = (int64_t)i < a->n_item ? &a->item[i] : &a->rest;
        int rc = plan_accepts(p, goal, v);
        if (rc != 1)
            return rc;
        for (size_t k = 0; a->is_unique && k < i; k++) {
            if (plan_step(p) != 0)
                return ERR_LIMIT;
            if (plan_equal(v, json_array_get(value, k)))
                return 0;
        }
    }
    return plan_contains_accepts(p, a, value);
}

int plan_rest_accepts(struct plan *p, const struct shape *s, const json_t *value)
{
    unsigned type = plan_type_of(value);
    if (!(s->types & type))
        return 0;
    for (int i = 0; i < s->n_forbid; i++) {
        if (plan_step(p) != 0)
            return ERR_LIMIT;
        if (plan_equal(s->forbid[i], value))
            return 0;
    }
    if (type & TYPE_NUMBER)
        return number_accepts(&s->number, value);
    if (type == TYPE_STRING)
        return string_accepts(p, s, value);
    if (type == TYPE_ARRAY)
        return array_accepts(p, &s->array, value);
    return type == TYPE_OBJECT ? object_accepts(p, &s->object, value) : 1;
}

int plan_shape_accepts(struct plan *p, const struct shape *s, const json_t *value)
{
    bool found = !s->is_fixed;
    for (int i = 0; i < s->n_value && !found; i++)
        found = plan_equal(s->value[i], value);
    return found ? plan_rest_accepts(p, s, value) : 0;
}

struct asked {
    const json_t *value;
    bool found;
};

static int conj_accepts(struct plan *p, const struct ids *conj, void *context)
{
    struct asked *q = context;
    struct shape s;
    int rc = plan_shape(p, conj, &s);
    if (rc != 0)
        return rc < 0 ? rc : 0;
    rc = plan_shape_accepts(p, &s, q->value);
    q->found = rc == 1;
    return rc;
}

int plan_accepts(struct plan *p, const struct ids *goal, const json_t *value)
{
    struct asked q = {value, goal->n == 0};
    if (q.found)
        return 1;
    if (++p->depth > SCHEMA_DEPTH_MAX) {
        p->depth--;
        return err_set_param(p->err, ERR_LIMIT, p->param, "the schema is nested too deeply");
    }
    int rc = plan_expand(p, NULL, goal, conj_accepts, &q);
    p->depth--;
    return rc < 0 ? rc : q.found;
}

/* ---- all values ---- */

struct listing {
    const json_t **value;
    int n, max;
    bool is_open; /* there are more, or they cannot be listed */
};

static int list_value(struct plan *p, const struct shape *s, struct listing *l, const json_t *v)
{
    int rc = plan_shape_accepts(p, s, v);
    if (rc != 1)
        return rc;
    for (int i = 0; i < l->n; i++)
        if (plan_equal(l->value[i], v))
            return 0;
    if (l->n == l->max) {
        l->is_open = true;
        return 1;
    }
    l->value[l->n++] = v;
    return 0;
}

static int list_conj(struct plan *p, const struct ids *conj, void *context)
{
    struct listing *l = context;
    struct shape s;
    int rc = plan_shape(p, conj, &s);
    if (rc != 0)
        return rc < 0 ? rc : 0;
    if (!s.is_fixed && (s.types & ~(unsigned)(TYPE_NULL | TYPE_BOOL)) != 0) {
        l->is_open = true;
        return 1;
    }
    for (int i = 0; rc == 0 && i < s.n_value; i++)
        rc = list_value(p, &s, l, s.value[i]);
    if (s.is_fixed || rc != 0)
        return rc;
    const json_t *simple[] = {json_null(), json_false(), json_true()};
    for (int i = 0; rc == 0 && i < 3; i++)
        rc = list_value(p, &s, l, simple[i]);
    return rc;
}

int plan_values(struct plan *p, const struct ids *goal, int max, const json_t ***ret, int *ret_n)
{
    struct listing l = {.max = max};
    if (goal->n == 0)
        return 0;
    l.value = plan_alloc(p, (size_t)max, sizeof(*l.value));
    if (!l.value)
        return ERR_LIMIT;
    int rc = plan_expand(p, NULL, goal, list_conj, &l);
    if (rc < 0 || l.is_open)
        return rc < 0 ? rc : 0;
    *ret = l.value;
    *ret_n = l.n;
    return 1;
}
