/*
 * schema_tools: memory, places, numbered locations and comparisons of a plan.
 */
#include "base/mem.h"
#include "grammar/schema_plan.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PLACE_MAX     2048
#define LOCATIONS_MAX (1 << 20)

void *plan_alloc(struct plan *p, size_t n, size_t each)
{
    void *m = arena_array(&p->arena, n ? n : 1, each);
    if (!m)
        err_set_param(p->err, ERR_LIMIT, p->param, "the schema is too large");
    return m;
}

int plan_step(struct plan *p)
{
    if (++p->n_steps <= SCHEMA_STEPS_MAX)
        return 0;
    return err_set_param(p->err, ERR_LIMIT, p->param,
                         "the schema takes too long to be understood: it is too large, or its "
                         "parts can be combined in too many ways");
}

int plan_charge(struct plan *p, const struct lang *made)
{
    p->n_steps += 500 + (made ? (uint64_t)made->n_state + (uint64_t)made->first[made->n_state] : 0);
    return plan_step(p);
}

struct lang_work plan_work(struct plan *p)
{
    return (struct lang_work){&p->arena, &p->n_steps, SCHEMA_STEPS_MAX};
}

int plan_fail(struct plan *p, int code, const char *place, const char *fmt, ...)
{
    char text[480];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    size_t len = strlen(place);
    const char *dots = len > 120 ? "..." : "";
    return err_set_param(p->err, code, p->param, "%s%s: %s", dots,
                         len > 120 ? place + len - 120 : place, text);
}

static const char *place_buf(struct plan *p, struct buf *buf)
{
    char *text = buf->overflow ? NULL : arena_dup(&p->arena, buf_str(buf));
    buf_release(buf);
    return text ? text : "#/...";
}

const char *plan_place(struct plan *p, const char *place, const char *keyword, const char *key)
{
    struct buf buf;
    buf_init(&buf, PLACE_MAX);
    buf_printf(&buf, "%s/%s", place, keyword);
    for (const char *c = key; c && *c; c++) {
        if (c == key)
            buf_add_char(&buf, '/');
        if (*c == '~' || *c == '/')
            buf_add_z(&buf, *c == '~' ? "~0" : "~1");
        else
            buf_add_char(&buf, *c);
    }
    return place_buf(p, &buf);
}

const char *plan_place_i(struct plan *p, const char *place, const char *keyword, int i)
{
    struct buf buf;
    buf_init(&buf, PLACE_MAX);
    buf_printf(&buf, "%s/%s/%d", place, keyword, i);
    return place_buf(p, &buf);
}

/* ---- locations ---- */

static size_t slot_of(const struct plan *p, const json_t *json)
{
    size_t mask = p->n_location_table - 1;
    size_t at = ((uintptr_t)json >> 4) * 0x9e3779b97f4a7c15u >> 20 & mask;
    while (p->location_table[at] && p->location[p->location_table[at] - 1].json != json)
        at = (at + 1) & mask;
    return at;
}

static bool grow_locations(struct plan *p)
{
    size_t n = p->n_location_table ? p->n_location_table * 2 : 256;
    int *table = mem_try_array(n, sizeof(int));
    if (!table)
        return false;
    free(p->location_table);
    p->location_table = table;
    p->n_location_table = n;
    for (int i = 0; i < p->n_location; i++)
        table[slot_of(p, p->location[i].json)] = i + 1;
    return true;
}

int plan_locate(struct plan *p, const json_t *json, const char *place, bool made)
{
    if (p->n_location_table < ((size_t)p->n_location + 1) * 2 && !grow_locations(p))
        return err_set_param(p->err, ERR_LIMIT, p->param, "the schema is too large");
    size_t at = slot_of(p, json);
    /* true and false are one object each, wherever they stand */
    if (p->location_table[at])
        return p->location_table[at] - 1;
    if (!mem_grow((void **)&p->location, &p->cap_location, (size_t)p->n_location + 1, LOCATIONS_MAX,
                  sizeof(*p->location)))
        return err_set_param(p->err, ERR_LIMIT, p->param, "the schema is too large");
    p->location[p->n_location] = (struct location){json, place, made};
    p->location_table[at] = ++p->n_location;
    return p->n_location - 1;
}

bool ids_have(const struct ids *ids, int id)
{
    for (int i = 0; i < ids->n; i++)
        if (ids->id[i] == id)
            return true;
    return false;
}

int ids_add(struct plan *p, struct ids *ids, int id)
{
    if (id < 0 || ids_have(ids, id))
        return id < 0 ? id : 0;
    if (ids->n == ids->cap) {
        int cap = ids->cap ? ids->cap * 2 : 4;
        int *more = plan_alloc(p, (size_t)cap, sizeof(int));
        if (!more)
            return ERR_LIMIT;
        if (ids->n > 0)
            memcpy(more, ids->id, (size_t)ids->n * sizeof(int));
        ids->id = more;
        ids->cap = cap;
    }
    ids->id[ids->n++] = id;
    return 0;
}

/* ---- values ---- */

int plan_number(struct plan *p, const json_t *schema, const char *place, const char *key,
                int64_t *ret, bool *ret_found)
{
    const json_t *v = json_object_get(schema, key);
    *ret_found = v != NULL;
    if (!v)
        return 0;
    double d = json_number_value(v);
    if (!json_is_number(v) || d < 0 || d != __builtin_floor(d))
        return plan_fail(p, ERR_INVALID, place, "%s must be an integer, 0 or more", key);
    *ret = d > 1e15 ? (int64_t)1e15 : (int64_t)d;
    return 0;
}

unsigned plan_type_of(const json_t *value)
{
    double d;
    switch (json_typeof(value)) {
    case JSON_NULL:
        return TYPE_NULL;
    case JSON_TRUE:
    case JSON_FALSE:
        return TYPE_BOOL;
    case JSON_INTEGER:
        return TYPE_INTEGER;
    case JSON_REAL:
        d = json_real_value(value);
        return __builtin_floor(d) == d ? TYPE_INTEGER : TYPE_FRACTION;
    case JSON_STRING:
        return TYPE_STRING;
    case JSON_ARRAY:
        return TYPE_ARRAY;
    default:
        return TYPE_OBJECT;
    }
}

int plan_compare(const json_t *a, const json_t *b)
{
    if (json_is_integer(a) && json_is_integer(b)) {
        json_int_t x = json_integer_value(a), y = json_integer_value(b);
        return x < y ? -1 : x > y;
    }
    /* a long double holds every integer of 64 bits and every double */
    long double x = json_is_integer(a) ? (long double)json_integer_value(a) : json_real_value(a);
    long double y = json_is_integer(b) ? (long double)json_integer_value(b) : json_real_value(b);
    return x < y ? -1 : x > y;
}

bool plan_equal(const json_t *a, const json_t *b)
{
    const char *key;
    json_t *x;
    if (json_is_number(a) && json_is_number(b))
        return plan_compare(a, b) == 0;
    if (json_typeof(a) != json_typeof(b))
        return false;
    if (json_is_array(a)) {
        if (json_array_size(a) != json_array_size(b))
            return false;
        for (size_t i = 0; i < json_array_size(a); i++)
            if (!plan_equal(json_array_get(a, i), json_array_get(b, i)))
                return false;
        return true;
    }
    if (!json_is_object(a))
        return json_equal(a, b) == 1;
    if (json_object_size(a) != json_object_size(b))
        return false;
    json_object_foreach((json_t *)(uintptr_t)a, key, x)
    {
        const json_t *y = json_object_get(b, key);
        if (!y || !plan_equal(x, y))
            return false;
    }
    return true;
}
