/*
 * schema_array: the items of a list: the first ones each with its own schema, the rest, how many,
 * and whether all differ.
 */
#include "grammar/schema_plan.h"

#define UNIQUE_VALUES_MAX 64

/* The schemas of the first items and of those after them (NULL: anything). */
static int items_of(struct plan *p, const struct location *at, const json_t **prefix,
                    const char **prefix_key, const json_t **rest, const char **rest_key)
{
    *prefix = json_object_get(at->json, "prefixItems");
    *prefix_key = "prefixItems";
    *rest = json_object_get(at->json, "items");
    *rest_key = "items";
    if (*prefix && !json_is_array(*prefix))
        return plan_fail(p, ERR_INVALID, at->place, "prefixItems must be a list of schemas");
    if (json_is_array(*rest)) { /* as draft 7 has it */
        *prefix = *rest;
        *prefix_key = "items";
        *rest_key = "additionalItems";
        *rest = json_object_get(at->json, "additionalItems");
    }
    if (!*rest) {
        *rest = json_object_get(at->json, "unevaluatedItems");
        *rest_key = "unevaluatedItems";
    }
    if (json_array_size(*prefix) > SCHEMA_ITEMS_MAX)
        return plan_fail(p, ERR_LIMIT, at->place, "more than %d schemas for single items",
                         SCHEMA_ITEMS_MAX);
    return 0;
}

static int add_items(struct plan *p, const struct location *at, struct array_bounds *a)
{
    const json_t *prefix, *rest;
    const char *prefix_key, *rest_key;
    int rc = items_of(p, at, &prefix, &prefix_key, &rest, &rest_key);
    if (rc != 0)
        return rc;
    int n = (int)json_array_size(prefix);
    int rest_id =
        rest ? plan_locate(p, rest, plan_place(p, at->place, rest_key, NULL), at->made) : 0;
    if (rest_id < 0)
        return rest_id;
    for (int i = 0; i < a->n_item; i++) {
        const json_t *one = i < n ? json_array_get(prefix, (size_t)i) : NULL;
        if (one)
            rc = ids_add(p, &a->item[i],
                         plan_locate(p, one, plan_place_i(p, at->place, prefix_key, i), at->made));
        else if (rest)
            rc = ids_add(p, &a->item[i], rest_id);
        if (rc != 0)
            return rc;
    }
    return rest ? ids_add(p, &a->rest, rest_id) : plan_step(p);
}

static bool has_false(const struct plan *p, const struct ids *goal)
{
    for (int i = 0; i < goal->n; i++)
        if (json_is_false(p->location[goal->id[i]].json))
            return true;
    return false;
}

static int read_unique(struct plan *p, const struct location *at, struct array_bounds *a)
{
    const json_t *v = json_object_get(at->json, "uniqueItems");
    if (v && !json_is_boolean(v))
        return plan_fail(p, ERR_INVALID, at->place, "uniqueItems must be true or false");
    if (json_is_true(v))
        a->is_unique = true;
    return 0;
}

/* Lists whose items are all different can be written where an item has few values. */
static int unique_part(struct plan *p, const char *place, struct array_bounds *a)
{
    int rc = 0;
    if (!a->is_unique || (a->max >= 0 && a->max <= 1))
        return 0;
    if (a->n_item == 0)
        rc = plan_values(p, &a->rest, UNIQUE_VALUES_MAX, &a->value, &a->n_value);
    if (rc < 0)
        return rc;
    if (rc == 1) {
        if (a->max < 0 || a->max > a->n_value)
            a->max = a->n_value;
        return 0;
    }
    a->value = NULL;
    if (p->o->strict)
        return plan_fail(p, ERR_UNSUPPORTED, place,
                         "uniqueItems is enforced only where items have up to %d values (enum)",
                         UNIQUE_VALUES_MAX);
    return 0;
}

/* minItems, maxItems, uniqueItems of one schema. */
static int read_sizes(struct plan *p, const struct location *at, struct array_bounds *a,
                      const char **place)
{
    int64_t n = 0;
    bool found;
    int rc = plan_number(p, at->json, at->place, "minItems", &n, &found);
    if (rc == 0 && n > a->min) {
        a->min = n;
        *place = at->place;
    }
    if (rc == 0)
        rc = plan_number(p, at->json, at->place, "maxItems", &n, &found);
    if (rc == 0 && found && (a->max < 0 || n < a->max)) {
        a->max = n;
        *place = at->place;
    }
    return rc != 0 ? rc : read_unique(p, at, a);
}

static int count_items(struct plan *p, const struct ids *conj, struct array_bounds *a)
{
    for (int i = 0; i < conj->n; i++) {
        const struct location at = p->location[conj->id[i]];
        const json_t *prefix, *rest;
        const char *key;
        int rc = items_of(p, &at, &prefix, &key, &rest, &key);
        if (rc != 0)
            return rc;
        int n = (int)json_array_size(prefix);
        a->n_item = n > a->n_item ? n : a->n_item;
    }
    a->item = plan_alloc(p, (size_t)a->n_item, sizeof(*a->item));
    return a->item ? 0 : ERR_LIMIT;
}

int plan_array(struct plan *p, const struct ids *conj, struct array_bounds *ret)
{
    const char *place = "#", *unique_place = "#";
    *ret = (struct array_bounds){.max = -1, .contains = -1};
    int rc = count_items(p, conj, ret);
    for (int i = 0; rc == 0 && i < conj->n; i++) {
        const struct location at = p->location[conj->id[i]];
        bool was_unique = ret->is_unique;
        rc = add_items(p, &at, ret);
        if (rc == 0)
            rc = read_sizes(p, &at, ret, &place);
        if (rc == 0)
            rc = plan_contains(p, &at, ret);
        if (ret->is_unique && !was_unique)
            unique_place = at.place;
    }
    for (int i = ret->n_item; rc == 0 && i >= 0; i--)
        if (has_false(p, i < ret->n_item ? &ret->item[i] : &ret->rest) &&
            (ret->max < 0 || ret->max > i))
            ret->max = i;
    if (rc == 0 && ret->min - ret->n_item > GRAMMAR_REPEAT_MAX)
        return plan_fail(p, ERR_LIMIT, place, "minItems is enforced up to %d", GRAMMAR_REPEAT_MAX);
    if (rc == 0)
        rc = plan_contains_end(p, ret);
    if (rc == 0)
        rc = unique_part(p, unique_place, ret);
    if (rc != 0 || ret->max < 0 || ret->min <= ret->max)
        return rc;
    p->why = (struct why){place, "minItems is more than there can be", false};
    return 1;
}
