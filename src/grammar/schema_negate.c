/*
 * schema_negate: "not" is pushed inwards until it says something that can be written: other types,
 * other values, other bounds, a member that is missing or is itself something else.
 */
#include "grammar/schema_plan.h"

#include <stdlib.h>
#include <string.h>

int plan_made(struct plan *p, json_t *owned, const char *place)
{
    if (!owned || json_array_append_new(p->made, owned) != 0)
        return err_set_param(p->err, ERR_LIMIT, p->param, "the schema is too large");
    return plan_locate(p, owned, place, true);
}

int plan_opposite(struct plan *p, int id)
{
    if (p->location[id].opposite == 0) {
        int made =
            plan_made(p, json_pack("{s:O}", "not", p->location[id].json), p->location[id].place);
        if (made < 0)
            return made;
        p->location[id].opposite = made + 1;
    }
    return p->location[id].opposite - 1;
}

static int add_made(struct plan *p, int id, json_t *owned, struct ids *ret)
{
    return ids_add(p, ret, plan_made(p, owned, p->location[id].place));
}

/* {"type": types, key: value}; steals value. */
static int add_bound(struct plan *p, int id, unsigned types, const char *key, json_t *value,
                     struct ids *ret)
{
    return add_made(p, id, json_pack("{s:i, s:o}", "type", (int)types, key, value), ret);
}

static int negate_size(struct plan *p, int id, const char *key, unsigned types, const char *other,
                       int by, struct ids *ret)
{
    int64_t n = 0;
    bool found;
    int rc = plan_number(p, p->location[id].json, p->location[id].place, key, &n, &found);
    if (rc != 0 || n + by < 0)
        return rc;
    return add_bound(p, id, types, other, json_integer(n + by), ret);
}

static int negate_required(struct plan *p, int id, const json_t *list, struct ids *ret)
{
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < json_array_size(list); i++) {
        struct str key = json_str(json_array_get(list, i));
        json_t *absent = json_object();
        if (!absent || json_object_setn_new(absent, key.ptr, key.len, json_false()) != 0)
            return plan_fail(p, ERR_INVALID, p->location[id].place, "required must be strings");
        rc = add_bound(p, id, TYPE_OBJECT, "properties", absent, ret);
    }
    return rc;
}

static int negate_properties(struct plan *p, int id, json_t *properties, struct ids *ret)
{
    const char *key;
    json_t *value;
    int rc = 0;
    json_object_foreach(properties, key, value)
    {
        const char *place = plan_place(p, p->location[id].place, "properties", key);
        int inner = plan_locate(p, value, place, p->location[id].made);
        int other = inner < 0 ? inner : plan_opposite(p, inner);
        if (other < 0)
            return other;
        rc = rc != 0 ? rc
                     : add_made(p, id,
                                json_pack("{s:i, s:[s], s:{s:O}}", "type", TYPE_OBJECT, "required",
                                          key, "properties", key, p->location[other].json),
                                ret);
    }
    return rc;
}

static int negate_list(struct plan *p, int id, const char *key, bool together, struct ids *ret)
{
    const struct location at = p->location[id];
    const json_t *list = json_object_get(at.json, key);
    json_t *all = json_array();
    int rc = all ? 0 : ERR_LIMIT;
    for (size_t i = 0; rc == 0 && i < json_array_size(list); i++) {
        int inner =
            plan_locate(p, json_array_get(list, i), plan_place_i(p, at.place, key, (int)i), false);
        int other = inner < 0 ? inner : plan_opposite(p, inner);
        if (other < 0)
            rc = other;
        else if (together)
            rc = json_array_append(all, (json_t *)(uintptr_t)p->location[other].json);
        else
            rc = ids_add(p, ret, other);
    }
    if (rc == 0 && together)
        return add_made(p, id, json_pack("{s:o}", "allOf", all), ret);
    json_decref(all);
    return rc;
}

static int negate_types(struct plan *p, int id, struct ids *ret)
{
    unsigned types = TYPE_ANY;
    const json_t *only = json_object_get(p->location[id].json, "type");
    json_t *alone = json_pack("{s:O}", "type", only);
    int made = plan_made(p, alone, p->location[id].place);
    struct ids one = {.id = &made, .n = 1};
    if (made < 0)
        return made;
    p->location[made].made = p->location[id].made;
    int rc = plan_types(p, &one, &types);
    if (rc != 0 || types == TYPE_ANY)
        return rc;
    return add_made(p, id, json_pack("{s:i}", "type", (int)(TYPE_ANY & ~types)), ret);
}

static int negate_ref(struct plan *p, int id, const json_t *ref, struct ids *ret)
{
    int target = plan_resolve(p, json_str(ref), p->location[id].place);
    return target < 0 ? target : ids_add(p, ret, plan_opposite(p, target));
}

static int negate_not(struct plan *p, int id, const json_t *inner, struct ids *ret)
{
    const struct location at = p->location[id];
    return ids_add(p, ret, plan_locate(p, inner, plan_place(p, at.place, "not", NULL), at.made));
}

static int cmp_number(const void *x, const void *y)
{
    return plan_compare(*(json_t *const *)x, *(json_t *const *)y);
}

/* Numbers between, below and above the n given ones. */
static int negate_numbers(struct plan *p, int id, json_t **number, size_t n, struct ids *ret)
{
    int rc = 0;
    qsort(number, n, sizeof(*number), cmp_number);
    for (size_t i = 0; rc == 0 && i <= n; i++) {
        json_t *gap = json_pack("{s:i}", "type", TYPE_NUMBER);
        if (gap && i > 0)
            json_object_set(gap, "exclusiveMinimum", number[i - 1]);
        if (gap && i < n)
            json_object_set(gap, "exclusiveMaximum", number[i]);
        if (i > 0 && i < n && plan_compare(number[i - 1], number[i]) == 0)
            json_decref(gap);
        else
            rc = add_made(p, id, gap, ret);
    }
    return rc;
}

/* Of const and enum: other values, and numbers apart from the given ones. */
static int negate_values(struct plan *p, int id, const char *key, json_t *value, struct ids *ret)
{
    bool is_list = strcmp(key, "enum") == 0 && json_is_array(value);
    size_t n = is_list ? json_array_size(value) : 1, n_number = 0;
    json_t **number = plan_alloc(p, n, sizeof(*number)), *rest = json_array();
    for (size_t i = 0; number && rest && i < n; i++) {
        json_t *v = is_list ? json_array_get(value, i) : value;
        if (json_is_number(v))
            number[n_number++] = v;
        else
            json_array_append(rest, v);
    }
    unsigned types = n_number > 0 ? TYPE_ANY & ~TYPE_NUMBER : TYPE_ANY;
    int rc = number ? add_bound(p, id, types, SCHEMA_FORBID, rest, ret) : ERR_LIMIT;
    if (rc == 0 && n_number > 0)
        rc = negate_numbers(p, id, number, n_number, ret);
    return rc;
}

static int negate_value(struct plan *p, int id, const char *key, json_t *value, struct ids *ret)
{
    if (strcmp(key, "minimum") == 0)
        return add_bound(p, id, TYPE_NUMBER, "exclusiveMaximum", json_incref(value), ret);
    if (strcmp(key, "maximum") == 0)
        return add_bound(p, id, TYPE_NUMBER, "exclusiveMinimum", json_incref(value), ret);
    if (strcmp(key, "exclusiveMinimum") == 0)
        return add_bound(p, id, TYPE_NUMBER, "maximum", json_incref(value), ret);
    if (strcmp(key, "exclusiveMaximum") == 0)
        return add_bound(p, id, TYPE_NUMBER, "minimum", json_incref(value), ret);
    if (strcmp(key, "pattern") == 0)
        return add_bound(p, id, TYPE_STRING, SCHEMA_NOT_PATTERN, json_incref(value), ret);
    return negate_values(p, id, key, value, ret);
}

static const struct size_keyword {
    const char *key, *other;
    unsigned types;
    int by;
} size_keywords[] = {
    {"minLength", "maxLength", TYPE_STRING, -1},
    {"maxLength", "minLength", TYPE_STRING, 1},
    {"minItems", "maxItems", TYPE_ARRAY, -1},
    {"maxItems", "minItems", TYPE_ARRAY, 1},
    {"minProperties", "maxProperties", TYPE_OBJECT, -1},
    {"maxProperties", "minProperties", TYPE_OBJECT, 1},
};

/* Those that assert something and cannot be turned around. */
static bool is_stubborn(const char *key, const json_t *value)
{
    static const char *const keys[] = {"format",
                                       "multipleOf",
                                       "items",
                                       "prefixItems",
                                       "additionalItems",
                                       "additionalProperties",
                                       "patternProperties",
                                       "propertyNames",
                                       "uniqueItems",
                                       "contains",
                                       "minContains",
                                       "maxContains",
                                       "oneOf",
                                       "if",
                                       "dependentRequired",
                                       "dependentSchemas",
                                       "dependencies",
                                       "unevaluatedItems",
                                       "unevaluatedProperties",
                                       "$dynamicRef",
                                       "$recursiveRef",
                                       SCHEMA_FORBID,
                                       SCHEMA_NOT_PATTERN};
    if ((strcmp(key, "uniqueItems") == 0 && json_is_false(value)) ||
        (strncmp(key, "additional", 10) == 0 && json_is_true(value)))
        return false;
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
        if (strcmp(key, keys[i]) == 0)
            return true;
    return false;
}

static int negate_keyword(struct plan *p, int id, const char *key, json_t *value, struct ids *ret)
{
    static const char *const values[] = {
        "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "pattern", "const", "enum"};
    for (size_t i = 0; i < sizeof(size_keywords) / sizeof(size_keywords[0]); i++) {
        const struct size_keyword *k = &size_keywords[i];
        if (strcmp(key, k->key) == 0)
            return negate_size(p, id, key, k->types, k->other, k->by, ret);
    }
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++)
        if (strcmp(key, values[i]) == 0)
            return negate_value(p, id, key, value, ret);
    if (strcmp(key, "type") == 0)
        return negate_types(p, id, ret);
    if (strcmp(key, "required") == 0)
        return negate_required(p, id, value, ret);
    if (strcmp(key, "properties") == 0)
        return negate_properties(p, id, value, ret);
    if (strcmp(key, "allOf") == 0 || strcmp(key, "anyOf") == 0)
        return negate_list(p, id, key, key[1] == 'n', ret);
    if (strcmp(key, "$ref") == 0)
        return negate_ref(p, id, value, ret);
    if (strcmp(key, "not") == 0)
        return negate_not(p, id, value, ret);
    if (is_stubborn(key, value))
        return plan_fail(p, ERR_UNSUPPORTED, p->location[id].place,
                         "the opposite of \"%s\" cannot be enforced",
                         (unsigned char)key[0] < ' ' ? "not" : key);
    return 0; /* says nothing of a value */
}

int plan_negate(struct plan *p, int id, struct ids *ret)
{
    const char *key;
    json_t *value;
    int rc = 0;
    if (p->location[id].negated) {
        *ret = *p->location[id].negated;
        return 0;
    }
    const json_t *json = p->location[id].json;
    *ret = (struct ids){0};
    if (json_is_false(json))
        return ids_add(p, ret, plan_made(p, json_object(), p->location[id].place));
    if (!json_is_object(json) && !json_is_true(json))
        return plan_fail(p, ERR_INVALID, p->location[id].place,
                         "a schema must be an object or a boolean");
    json_object_foreach((json_t *)(uintptr_t)json, key, value)
    {
        rc = rc != 0 ? rc : negate_keyword(p, id, key, value, ret);
    }
    if (rc != 0)
        return rc;
    p->location[id].negated = plan_alloc(p, 1, sizeof(struct ids));
    if (!p->location[id].negated)
        return ERR_LIMIT;
    *p->location[id].negated = *ret;
    return 0;
}
