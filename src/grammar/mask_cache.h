/*
 * mask_cache: of a state of a grammar, which tokens of a vocabulary may come there whatever the
 * state's callers are, and where in the vocabulary's trie it returns to them: from there only the
 * callers can say. So one entry serves all places that call an automaton, at any depth. Where it
 * could return almost anywhere (a repeated character) the callers are part of the key, up to
 * MASK_FRAMES_MAX frames in all, and the return is from the last of them.
 *
 * A counted state has one entry for all counts from which no token reaches a bound.
 *
 * Thread-safe. Bounded in bytes, for one grammar and for all: when a new entry has no room, those
 * that were wanted longest ago go.
 */
#ifndef HEARTH_GRAMMAR_MASK_CACHE_H
#define HEARTH_GRAMMAR_MASK_CACHE_H

#include "grammar/trie_walk.h"

#define MASK_CACHE_BYTES_MAX (32u << 20) /* of one grammar */
#define MASKS_BYTES_MAX      (96u << 20) /* of all in this process */

#define MASK_FRAMES_MAX 4
#define MASK_POPS_MAX   512 /* more, and the callers are part of the key */

struct mask_key {
    uint32_t n;   /* frames, the top one first */
    bool is_last; /* below them is nothing */
    struct {
        uint32_t state;
        int32_t count; /* or a class of counts, negative */
    } frame[MASK_FRAMES_MAX];
};

struct mask_entry {
    struct mask_entry *next;          /* of its slot */
    struct mask_entry *newer, *older; /* of all, by use */
    struct mask_cache *cache;         /* that it is in */
    uint64_t bytes;
    struct mask_key key;
    int pins;          /* who uses it */
    bool is_undecided; /* it says nothing: it would return at too many places */
    uint32_t *mask;    /* [words of the vocabulary]; NULL: token has the few that there are */
    int32_t *token;    /* [n_token] */
    uint32_t *pop;     /* [n_pop] nodes of the trie after which it may return */
    uint32_t n_token, n_pop;
    uint32_t depth;    /* how many frames above its own a token may need */
    bool pops_at_once; /* before a byte */
};

/* The entry of the frame, to be given back by mask_cache_unpin, and the frame that it returns to,
 * or FRAME_NONE. May be one that is not in the cache. ERR_NOMEM, ERR_LIMIT. */
int mask_cache_pin(struct grammar *g, struct trie_walk *w, struct stacks *s, uint32_t frame,
                   struct mask_entry **ret, uint32_t *ret_parent, struct err *err)
    __attribute__((warn_unused_result));
void mask_cache_unpin(struct mask_entry *e);
void mask_cache_free(struct mask_cache *c);
uint64_t mask_cache_bytes(const struct grammar *g);
void masks_set_max(uint64_t bytes_max); /* instead of MASKS_BYTES_MAX, for tests */

#endif
