/*
 * schema_shape: what schemas that hold together say of one value: its types, values and bounds,
 * and whether that leaves any value at all.
 */
#include "grammar/schema_plan.h"

#include <string.h>

#define PROBE_DEPTH_MAX       8
#define MULTIPLE_MAX          1000000000
#define MULTIPLE_DECIMALS_MAX 9

/* ---- types ---- */

static int type_named(struct plan *p, const struct location *at, struct str name, unsigned *ret)
{
    static const struct {
        const char *name;
        unsigned type;
    } types[] = {{"null", TYPE_NULL},     {"boolean", TYPE_BOOL},  {"integer", TYPE_INTEGER},
                 {"number", TYPE_NUMBER}, {"string", TYPE_STRING}, {"array", TYPE_ARRAY},
                 {"object", TYPE_OBJECT}};
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
        if (str_eq_z(name, types[i].name)) {
            *ret |= types[i].type;
            return 0;
        }
    return plan_fail(p, ERR_INVALID, at->place, "there is no type \"%.*s\"",
                     (int)(name.len > 40 ? 40 : name.len), name.ptr ? name.ptr : "");
}

static int type_keyword(struct plan *p, const struct location *at, unsigned *types)
{
    const json_t *type = json_object_get(at->json, "type"), *one;
    unsigned named = 0;
    int rc = 0;
    size_t i;
    if (!type)
        return 0;
    if (at->made && json_is_integer(type))
        named = (unsigned)json_integer_value(type);
    else if (json_is_string(type))
        rc = type_named(p, at, json_str(type), &named);
    else if (!json_is_array(type) || json_array_size(type) == 0)
        return plan_fail(p, ERR_INVALID, at->place, "type must be a name or a list of names");
    json_array_foreach(type, i, one)
    {
        if (!json_is_string(one))
            return plan_fail(p, ERR_INVALID, at->place, "type must be a name or a list of names");
        rc = rc != 0 ? rc : type_named(p, at, json_str(one), &named);
    }
    *types &= named;
    return rc;
}

static int value_keyword(struct plan *p, const struct location *at, unsigned *types)
{
    const json_t *list = json_object_get(at->json, "enum"), *only, *one;
    unsigned named = 0;
    size_t i;
    if (list && (!json_is_array(list) || json_array_size(list) == 0))
        return plan_fail(p, ERR_INVALID, at->place,
                         json_is_array(list) ? "enum is empty: nothing can satisfy it"
                                             : "enum must be a list of values");
    json_array_foreach(list, i, one) named |= plan_type_of(one);
    if (list)
        *types &= named;
    only = json_object_get(at->json, "const");
    if (only)
        *types &= plan_type_of(only);
    return 0;
}

int plan_types(struct plan *p, const struct ids *conj, unsigned *ret)
{
    int rc = 0;
    *ret = TYPE_ANY;
    for (int i = 0; rc == 0 && i < conj->n; i++) {
        const struct location at = p->location[conj->id[i]];
        if (!json_is_object(at.json))
            continue;
        rc = type_keyword(p, &at, ret);
        if (rc == 0)
            rc = value_keyword(p, &at, ret);
        if (rc == 0 && *ret == 0)
            p->why = (struct why){at.place, "no type is left by what stands here together", false};
    }
    return rc;
}

/* ---- keywords that are not read anywhere else ---- */

enum role { ROLE_DONE, ROLE_NOTE, ROLE_REFUSED };

static const struct keyword {
    const char *name;
    enum role role;
} keywords[] = {
    {"type", ROLE_DONE},
    {"enum", ROLE_DONE},
    {"const", ROLE_DONE},
    {"properties", ROLE_DONE},
    {"required", ROLE_DONE},
    {"additionalProperties", ROLE_DONE},
    {"patternProperties", ROLE_DONE},
    {"propertyNames", ROLE_DONE},
    {"minProperties", ROLE_DONE},
    {"maxProperties", ROLE_DONE},
    {"items", ROLE_DONE},
    {"prefixItems", ROLE_DONE},
    {"additionalItems", ROLE_DONE},
    {"minItems", ROLE_DONE},
    {"maxItems", ROLE_DONE},
    {"uniqueItems", ROLE_DONE},
    {"minLength", ROLE_DONE},
    {"maxLength", ROLE_DONE},
    {"pattern", ROLE_DONE},
    {"format", ROLE_DONE},
    {"minimum", ROLE_DONE},
    {"maximum", ROLE_DONE},
    {"exclusiveMinimum", ROLE_DONE},
    {"exclusiveMaximum", ROLE_DONE},
    {"multipleOf", ROLE_DONE},
    {"anyOf", ROLE_DONE},
    {"oneOf", ROLE_DONE},
    {"allOf", ROLE_DONE},
    {"not", ROLE_DONE},
    {"if", ROLE_DONE},
    {"then", ROLE_DONE},
    {"else", ROLE_DONE},
    {"dependentRequired", ROLE_DONE},
    {"dependentSchemas", ROLE_DONE},
    {"dependencies", ROLE_DONE},
    {"unevaluatedProperties", ROLE_DONE},
    {"unevaluatedItems", ROLE_DONE},
    {"$ref", ROLE_DONE},
    {"$defs", ROLE_NOTE},
    {"definitions", ROLE_NOTE},
    {"$schema", ROLE_NOTE},
    {"$id", ROLE_NOTE},
    {"$anchor", ROLE_NOTE},
    {"$comment", ROLE_NOTE},
    {"title", ROLE_NOTE},
    {"description", ROLE_NOTE},
    {"default", ROLE_NOTE},
    {"example", ROLE_NOTE},
    {"examples", ROLE_NOTE},
    {"deprecated", ROLE_NOTE},
    {"readOnly", ROLE_NOTE},
    {"writeOnly", ROLE_NOTE},
    {"contentEncoding", ROLE_NOTE},
    {"contentMediaType", ROLE_NOTE},
    {"contentSchema", ROLE_NOTE},
    {"contains", ROLE_DONE},
    {"minContains", ROLE_DONE},
    {"maxContains", ROLE_DONE},
    {"$dynamicRef", ROLE_REFUSED},
    {"$recursiveRef", ROLE_REFUSED},
};

/* unevaluated* means additional* where nothing else in the schema looks at members or items. */
static int check_unevaluated(struct plan *p, const struct location *at, const char *key,
                             const json_t *value)
{
    static const char *const others[] = {"$ref",         "allOf", "anyOf",
                                         "oneOf",        "if",    "dependentSchemas",
                                         "dependencies", "not",   "contains"};
    if (strncmp(key, "unevaluated", 11) != 0 || json_is_true(value))
        return 0;
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
        if (json_object_get(at->json, others[i]))
            return plan_fail(p, ERR_UNSUPPORTED, at->place, "\"%s\" beside \"%s\" is not enforced",
                             key, others[i]);
    return 0;
}

static int check_keywords(struct plan *p, const struct location *at)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)at->json, key, value)
    {
        size_t i = 0, n = sizeof(keywords) / sizeof(keywords[0]);
        while (i < n && strcmp(keywords[i].name, key) != 0)
            i++;
        if (i == n && p->o->strict && !at->made)
            return plan_fail(p, ERR_UNSUPPORTED, at->place,
                             "unknown keyword \"%.60s\"; strict takes only keywords it enforces",
                             key);
        if (i < n && keywords[i].role == ROLE_REFUSED)
            return plan_fail(p, ERR_UNSUPPORTED, at->place,
                             "\"%s\" cannot be enforced while an answer is written", key);
        int rc = check_unevaluated(p, at, key, value);
        if (rc != 0)
            return rc;
    }
    return 0;
}

/* ---- numbers ---- */

static int bound_keyword(struct plan *p, const struct location *at, const char *key, bool is_low,
                         bool is_open, struct number_bounds *n)
{
    const json_t *v = json_object_get(at->json, key);
    const json_t **side = is_low ? &n->low : &n->high;
    bool *open = is_low ? &n->low_open : &n->high_open;
    if (!v)
        return 0;
    if (!json_is_number(v))
        return plan_fail(p, ERR_INVALID, at->place, "%s must be a number", key);
    int order = *side ? plan_compare(v, *side) * (is_low ? 1 : -1) : 1;
    if (order > 0)
        *open = is_open;
    else if (order == 0)
        *open = *open || is_open;
    if (order > 0)
        *side = v;
    return 0;
}

static int64_t gcd(int64_t a, int64_t b)
{
    while (b != 0) {
        int64_t t = a % b;
        a = b;
        b = t;
    }
    return a;
}

/* |v| in units of the last of n decimals; false: too large. */
static bool in_units(int64_t digits, int n_decimal, int n, int64_t *ret)
{
    for (; n_decimal < n; n_decimal++)
        if (__builtin_mul_overflow(digits, 10, &digits))
            return false;
    *ret = digits;
    return digits <= MULTIPLE_MAX;
}

/* The least that is a multiple of both. */
static bool both_multiples(struct number_bounds *n, int64_t digits, int n_decimal)
{
    int64_t old = n->multiple ? n->multiple : digits;
    int old_decimal = n->multiple ? n->n_decimal : n_decimal;
    int most = n_decimal > old_decimal ? n_decimal : old_decimal;
    if (!in_units(digits, n_decimal, most, &digits) || !in_units(old, old_decimal, most, &old))
        return false;
    n->multiple = old / gcd(old, digits) * digits; /* below MULTIPLE_MAX squared */
    for (; most > 0 && n->multiple % 10 == 0; most--)
        n->multiple /= 10;
    n->n_decimal = most;
    return n->multiple <= MULTIPLE_MAX;
}

static int multiple_keyword(struct plan *p, const struct location *at, struct number_bounds *n)
{
    const json_t *v = json_object_get(at->json, "multipleOf");
    int64_t digits;
    int n_decimal;
    if (!v)
        return 0;
    if (!json_is_number(v) || json_number_value(v) <= 0)
        return plan_fail(p, ERR_INVALID, at->place, "multipleOf must be a number above 0");
    if (!schema_number_decimal(v, &digits, &n_decimal) || n_decimal > MULTIPLE_DECIMALS_MAX ||
        digits > MULTIPLE_MAX)
        return plan_fail(p, ERR_UNSUPPORTED, at->place,
                         "multipleOf is enforced up to 1e9 and with up to %d decimals, not for %g",
                         MULTIPLE_DECIMALS_MAX, json_number_value(v));
    if (!both_multiples(n, digits, n_decimal))
        return plan_fail(p, ERR_UNSUPPORTED, at->place, "multipleOf is too large together");
    return 0;
}

static int number_part(struct plan *p, const struct ids *conj, struct shape *s)
{
    const char *place = "#";
    int rc = 0;
    for (int i = 0; rc == 0 && i < conj->n; i++) {
        const struct location at = p->location[conj->id[i]];
        struct number_bounds old = s->number;
        rc = bound_keyword(p, &at, "minimum", true, false, &s->number);
        if (rc == 0)
            rc = bound_keyword(p, &at, "exclusiveMinimum", true, true, &s->number);
        if (rc == 0)
            rc = bound_keyword(p, &at, "maximum", false, false, &s->number);
        if (rc == 0)
            rc = bound_keyword(p, &at, "exclusiveMaximum", false, true, &s->number);
        if (rc == 0)
            rc = multiple_keyword(p, &at, &s->number);
        if (memcmp(&old, &s->number, sizeof(old)) != 0)
            place = at.place;
    }
    if (rc != 0 || !(s->types & TYPE_NUMBER))
        return rc;
    if (s->number.multiple && s->number.n_decimal == 0)
        s->types &= ~(unsigned)TYPE_FRACTION;
    if (!schema_number_ok(&s->number))
        return plan_fail(p, ERR_UNSUPPORTED, place,
                         "bounds of numbers are enforced up to 15 digits and 17 decimals, and "
                         "multipleOf up to 128 times a power of ten");
    for (unsigned t = TYPE_INTEGER; t <= TYPE_FRACTION; t *= 2)
        if ((s->types & t) && schema_number_expr(NULL, &s->number, t) == GEXPR_NONE) {
            s->types &= ~t;
            p->why = (struct why){place, "no number is within the bounds", false};
        }
    return 0;
}

/* ---- values ---- */

static int add_value(struct plan *p, const json_t ***list, int *n, size_t max, const json_t *v)
{
    if (!*list)
        *list = plan_alloc(p, max, sizeof(**list));
    if (!*list)
        return ERR_LIMIT;
    (*list)[(*n)++] = v;
    return 0;
}

/* All of a list, without doubles. */
static int first_values(struct plan *p, struct shape *s, const json_t *list)
{
    struct value_set seen = {0};
    size_t i;
    const json_t *v;
    int rc = 0;
    s->is_fixed = true;
    json_array_foreach(list, i, v)
    {
        if (rc == 0)
            rc = value_set_add(p, &seen, v);
        if (rc == 1)
            rc = add_value(p, &s->value, &s->n_value, json_array_size(list), v);
        if (rc == 0 && i % 64 == 0)
            rc = plan_step(p);
    }
    value_set_release(&seen);
    return rc;
}

/* Keeps those that are in `other`. */
static int intersect_values(struct plan *p, struct shape *s, const json_t *other)
{
    struct value_set set = {0};
    const json_t *v;
    size_t i;
    int kept = 0, rc = 0;
    if (!s->is_fixed)
        return first_values(p, s, other);
    json_array_foreach(other, i, v)
    {
        if (rc >= 0)
            rc = value_set_add(p, &set, v);
    }
    for (int k = 0; rc >= 0 && k < s->n_value; k++) {
        rc = value_set_has(p, &set, s->value[k]);
        if (rc == 1)
            s->value[kept++] = s->value[k];
    }
    s->n_value = kept;
    value_set_release(&set);
    return rc < 0 ? rc : plan_step(p);
}

static int value_part(struct plan *p, const struct ids *conj, struct shape *s, const char **place)
{
    int rc = 0;
    size_t n_forbid = 0, i;
    json_t *v;
    for (int k = 0; k < conj->n; k++)
        n_forbid += json_array_size(json_object_get(p->location[conj->id[k]].json, SCHEMA_FORBID));
    for (int k = 0; rc == 0 && k < conj->n; k++) {
        const struct location at = p->location[conj->id[k]];
        const json_t *list = json_object_get(at.json, "enum");
        json_t *only = json_object_get(at.json, "const");
        if (list || only || (at.made && json_object_get(at.json, SCHEMA_FORBID)))
            *place = at.place;
        if (list)
            rc = intersect_values(p, s, list);
        if (rc == 0 && only) {
            json_t *alone = json_pack("[O]", only);
            if (!alone || json_array_append_new(p->made, alone) != 0)
                return ERR_LIMIT;
            rc = intersect_values(p, s, alone);
        }
        if (!at.made)
            continue;
        json_array_foreach(json_object_get(at.json, SCHEMA_FORBID), i, v)
        {
            if (rc == 0)
                rc = add_value(p, &s->forbid, &s->n_forbid, n_forbid, v);
        }
    }
    return rc;
}

/* Of fixed values those stay that the rest allows. */
static int filter_values(struct plan *p, struct shape *s)
{
    int kept = 0;
    for (int i = 0; i < s->n_value; i++) {
        int rc = plan_rest_accepts(p, s, s->value[i]);
        if (rc < 0)
            return rc;
        if (rc == 1)
            s->value[kept++] = s->value[i];
    }
    s->n_value = kept;
    return 0;
}

/* Types of which a value or two are forbidden; strings are thinned out elsewhere, and numbers
 * are ranges by now. */
static int forbid_part(struct plan *p, struct shape *s, const char *place)
{
    bool no_true = false, no_false = false;
    for (int i = 0; i < s->n_forbid && !s->is_fixed; i++) {
        const json_t *v = s->forbid[i];
        unsigned type = plan_type_of(v);
        no_true = no_true || json_is_true(v);
        no_false = no_false || json_is_false(v);
        if (type == TYPE_NULL)
            s->types &= ~(unsigned)TYPE_NULL;
        else if ((type & (TYPE_ARRAY | TYPE_OBJECT)) & s->types)
            return plan_fail(p, ERR_UNSUPPORTED, place,
                             "\"not\" of one list or object is enforced only among the values of "
                             "an enum");
    }
    if (no_true && no_false)
        s->types &= ~(unsigned)TYPE_BOOL;
    return 0;
}

static int type_parts(struct plan *p, const struct ids *conj, struct shape *s)
{
    int rc = number_part(p, conj, s);
    if (rc == 0 && (s->types & TYPE_STRING)) {
        rc = plan_string(p, conj, s);
        if (rc == 1)
            s->types &= ~(unsigned)TYPE_STRING;
    }
    if (rc >= 0 && (s->types & TYPE_OBJECT)) {
        rc = plan_object(p, conj, &s->object);
        if (rc == 1)
            s->types &= ~(unsigned)TYPE_OBJECT;
    }
    if (rc >= 0 && (s->types & TYPE_ARRAY)) {
        rc = plan_array(p, conj, &s->array);
        if (rc == 1)
            s->types &= ~(unsigned)TYPE_ARRAY;
    }
    return rc < 0 ? rc : 0;
}

int plan_shape(struct plan *p, const struct ids *conj, struct shape *ret)
{
    struct shape s = {0};
    const char *place = "#";
    int rc = plan_types(p, conj, &s.types);
    for (int i = 0; rc == 0 && i < conj->n; i++) {
        const struct location at = p->location[conj->id[i]];
        rc = check_keywords(p, &at);
    }
    if (rc == 0 && s.types == 0)
        return 1;
    if (rc == 0)
        rc = value_part(p, conj, &s, &place);
    if (rc == 0 && s.is_fixed && s.n_value == 0) {
        p->why = (struct why){place, "enum and const leave no value", false};
        return 1;
    }
    if (rc == 0)
        rc = forbid_part(p, &s, place);
    if (rc == 0)
        rc = type_parts(p, conj, &s);
    if (rc == 0 && s.is_fixed) {
        rc = filter_values(p, &s);
        if (rc == 0 && s.n_value == 0) {
            p->why = (struct why){place, "no value of enum or const fits the rest", false};
            return 1;
        }
    }
    if (rc == 0)
        *ret = s;
    return rc != 0 ? rc : s.types == 0;
}

/* ---- questions ---- */

struct question {
    int depth;
};

static int found_value(struct plan *p, const struct ids *conj, void *context)
{
    struct question *q = context;
    int rc = plan_conj_empty(p, conj, q->depth);
    return rc < 0 ? rc : rc == 0;
}

int plan_goal_empty(struct plan *p, const struct ids *base, const struct ids *goal, int depth)
{
    struct question q = {depth};
    if (depth > PROBE_DEPTH_MAX)
        return 0;
    int rc = plan_expand(p, base, goal, found_value, &q);
    return rc < 0 ? rc : rc == 0;
}

int plan_conj_empty(struct plan *p, const struct ids *conj, int depth)
{
    struct shape s;
    int rc = plan_shape(p, conj, &s);
    if (rc != 0 || s.is_fixed || (s.types & ~(unsigned)(TYPE_OBJECT | TYPE_ARRAY)) != 0)
        return rc;
    if (s.types & TYPE_ARRAY) {
        for (int i = 0; i < s.array.n_item && i < s.array.min && rc == 0; i++)
            rc = plan_goal_empty(p, NULL, &s.array.item[i], depth + 1);
        if (rc <= 0)
            return rc;
    }
    rc = 0;
    if (!(s.types & TYPE_OBJECT))
        return 1;
    for (int i = 0; i < s.object.n_member && rc == 0; i++)
        if (s.object.member[i].is_required)
            rc = plan_goal_empty(p, NULL, &s.object.member[i].goal, depth + 1);
    return rc;
}
