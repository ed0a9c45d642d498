/*
 * lookup: see the header. Invariant: a slot is 0 or a position in [LOOKUP_SHORT, n].
 */
#include "engine/lookup.h"
#include "base/mem.h"

#include <stdlib.h>

#define SLOTS_MIN  64u
#define SLOTS_EACH 4 /* for a token: about 12 % of its groups are pushed out by others */

static uint32_t slots_for(int n_max)
{
    uint32_t n = SLOTS_MIN;
    while (n < LOOKUP_SLOTS_MAX && n < SLOTS_EACH * (uint64_t)n_max)
        n *= 2;
    return n;
}

uint64_t lookup_bytes(int n_max)
{
    return 2 * (uint64_t)slots_for(n_max) * sizeof(int32_t);
}

int lookup_init(struct lookup *l, int n_max, struct err *err)
{
    uint32_t n = slots_for(n_max);
    *l = (struct lookup){
        .after_long = mem_try_array(n, sizeof(int32_t)),
        .after_short = mem_try_array(n, sizeof(int32_t)),
        .n_slot = n,
    };
    if (!l->after_long || !l->after_short) {
        lookup_release(l);
        return err_set(err, ERR_NOMEM, "no memory for an index of %d tokens", n_max);
    }
    return 0;
}

void lookup_release(struct lookup *l)
{
    free(l->after_long);
    free(l->after_short);
    *l = (struct lookup){0};
}

/* The slot of the n tokens before `end`. */
static uint32_t slot_of(const struct lookup *l, const int32_t *end, int n)
{
    uint64_t h = 0;
    for (int i = -n; i < 0; i++)
        h = (h ^ (uint32_t)end[i]) * 0x9e3779b97f4a7c15ull;
    return (uint32_t)(h >> 32) & (l->n_slot - 1);
}

void lookup_add(struct lookup *l, const int32_t *text, int n)
{
    for (; l->n < n; l->n++) {
        const int32_t *end = text + l->n + 1;
        if (l->n + 1 >= LOOKUP_SHORT)
            l->after_short[slot_of(l, end, LOOKUP_SHORT)] = l->n + 1;
        if (l->n + 1 >= LOOKUP_LONG)
            l->after_long[slot_of(l, end, LOOKUP_LONG)] = l->n + 1;
    }
}

int lookup_match(const int32_t *a, int i, const int32_t *b, int k)
{
    int n = 0;
    while (n < LOOKUP_MATCH_MAX && n < i && n < k && a[i - n - 1] == b[k - n - 1])
        n++;
    return n;
}

int lookup_find(const struct lookup *l, const int32_t *text, const int32_t *tail, int n,
                int *ret_match)
{
    const int order[] = {LOOKUP_LONG, LOOKUP_SHORT};
    const int32_t *after[] = {l->after_long, l->after_short};
    for (int i = 0; i < 2; i++) {
        if (n < order[i])
            continue;
        int at = after[i][slot_of(l, tail + n, order[i])];
        int match = lookup_match(text, at, tail, n);
        if (match >= order[i]) {
            *ret_match = match;
            return at;
        }
    }
    return 0;
}
