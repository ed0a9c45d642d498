/*
 * schema_set: sets of JSON values, equal as plan_equal has it: a list of many thousands is read
 * in the time that its length takes. What has an equal hash and is not equal counts as a step.
 */
#include "base/mem.h"
#include "grammar/schema_plan.h"

#include <stdlib.h>
#include <string.h>

struct value_slot {
    const json_t *value;
    uint64_t hash;
};

static uint64_t mix(uint64_t h)
{
    h = (h ^ h >> 29) * 0x9e3779b97f4a7c15u;
    return h ^ h >> 32;
}

static uint64_t hash_bytes(const char *at, size_t n)
{
    uint64_t h = 0xcbf29ce484222325u;
    for (size_t i = 0; i < n; i++)
        h = (h ^ (uint8_t)at[i]) * 0x100000001b3u;
    return mix(h);
}

/* 1 is 1.0, and 0 is -0. */
static uint64_t hash_number(const json_t *v)
{
    double d = json_number_value(v) + 0.0;
    uint64_t bits;
    memcpy(&bits, &d, sizeof(bits));
    return mix(bits + 1);
}

/* Members of an object in any order. */
static uint64_t hash_value(const json_t *v)
{
    uint64_t h = (uint64_t)json_typeof(v);
    const char *key;
    json_t *x;
    if (json_is_number(v))
        return hash_number(v);
    if (json_is_string(v))
        return hash_bytes(json_string_value(v), json_string_length(v));
    for (size_t i = 0; i < json_array_size(v); i++)
        h = mix(h + hash_value(json_array_get(v, i)));
    json_object_foreach((json_t *)(uintptr_t)v, key, x)
    {
        h += mix(hash_bytes(key, strlen(key)) ^ hash_value(x) << 1);
    }
    return mix(h);
}

static bool grow(struct value_set *s)
{
    size_t n = s->n_slot ? s->n_slot * 2 : 64;
    struct value_slot *slot = mem_try_array(n, sizeof(*slot));
    if (!slot)
        return false;
    for (size_t i = 0; i < s->n_slot; i++) {
        size_t at = s->slot[i].hash & (n - 1);
        while (slot[at].value)
            at = (at + 1) & (n - 1);
        if (s->slot[i].value)
            slot[at] = s->slot[i];
    }
    free(s->slot);
    s->slot = slot;
    s->n_slot = n;
    return true;
}

/* The slot of an equal value, or a free one. */
static int find(struct plan *p, const struct value_set *s, const json_t *v, uint64_t hash,
                size_t *ret)
{
    size_t at = hash & (s->n_slot - 1);
    for (; s->slot[at].value; at = (at + 1) & (s->n_slot - 1)) {
        if (s->slot[at].hash != hash)
            continue;
        if (s->slot[at].value == v || plan_equal(s->slot[at].value, v))
            break;
        if (plan_step(p) != 0)
            return ERR_LIMIT;
    }
    *ret = at;
    return 0;
}

int value_set_add(struct plan *p, struct value_set *s, const json_t *v)
{
    uint64_t hash = hash_value(v);
    size_t at;
    if (s->n_slot < (s->n + 1) * 2 && !grow(s))
        return err_set_param(p->err, ERR_NOMEM, p->param, "no memory for a schema");
    int rc = find(p, s, v, hash, &at);
    if (rc != 0 || s->slot[at].value)
        return rc;
    s->slot[at] = (struct value_slot){v, hash};
    s->n++;
    return 1;
}

int value_set_has(struct plan *p, const struct value_set *s, const json_t *v)
{
    size_t at;
    if (s->n == 0)
        return 0;
    int rc = find(p, s, v, hash_value(v), &at);
    return rc != 0 ? rc : s->slot[at].value != NULL;
}

void value_set_release(struct value_set *s)
{
    free(s->slot);
    *s = (struct value_set){0};
}
