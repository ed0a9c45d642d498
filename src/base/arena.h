/*
 * arena: many small allocations with one lifetime (a request, a parsed template).
 *
 * Born with a maximum in bytes; an allocation past it, or a failed malloc, returns NULL. Memory is
 * zeroed. Not thread-safe: one owner at a time.
 */
#ifndef HEARTH_BASE_ARENA_H
#define HEARTH_BASE_ARENA_H

#include "base/str.h"

struct arena_chunk;

struct arena {
    struct arena_chunk *head;
    size_t used; /* bytes handed out */
    size_t max;
};

void arena_init(struct arena *a, size_t bytes_max);
void arena_release(struct arena *a);
void arena_clear(struct arena *a); /* frees all chunks, keeps the maximum */
void *arena_alloc(struct arena *a, size_t bytes) __attribute__((warn_unused_result));
void *arena_array(struct arena *a, size_t n, size_t bytes_each)
    __attribute__((warn_unused_result)); /* checked multiply */
char *arena_dup(struct arena *a, struct str s) __attribute__((warn_unused_result)); /* NUL-term. */

#endif
