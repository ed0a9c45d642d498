/*
 * lookup: where the last tokens of a text stood before, in it or in another text.
 *
 * An index of a growing text by its groups of LOOKUP_LONG and of LOOKUP_SHORT tokens; of equal
 * groups it knows the latest. What it finds is compared with the text, so collisions of hashes only
 * lose something. LOOKUP_SLOTS_MAX slots of each kind at most: in long texts new groups push out
 * old ones. Adding and finding are O(1). Allocates only in init.
 */
#ifndef HEARTH_ENGINE_LOOKUP_H
#define HEARTH_ENGINE_LOOKUP_H

#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

#define LOOKUP_LONG      4
#define LOOKUP_SHORT     2
#define LOOKUP_MATCH_MAX 16         /* tokens that are compared backwards */
#define LOOKUP_SLOTS_MAX (1u << 14) /* 128 KiB of memory, also while the request waits */

struct lookup {
    int32_t *after_long;  /* [n_slot] position after a group, by its hash; 0: none */
    int32_t *after_short; /* [n_slot] */
    uint32_t n_slot;      /* a power of two */
    int n;                /* tokens in the index */
};

uint64_t lookup_bytes(int n_max);
/* For a text of at most n_max tokens. ERR_NOMEM. */
int lookup_init(struct lookup *l, int n_max, struct err *err) __attribute__((warn_unused_result));
void lookup_release(struct lookup *l);
/* text[0, n) is in the index now; n never shrinks. */
void lookup_add(struct lookup *l, const int32_t *text, int n);
/* Position in text (the indexed one) after the latest place that ends as tail[0, n) does; 0: there
 * is none. *ret_match: how many tokens agree, from LOOKUP_SHORT to LOOKUP_MATCH_MAX. */
int lookup_find(const struct lookup *l, const int32_t *text, const int32_t *tail, int n,
                int *ret_match);
/* How many tokens before a[i] and b[k] agree, LOOKUP_MATCH_MAX at most. */
int lookup_match(const int32_t *a, int i, const int32_t *b, int k);

#endif
