/*
 * block_pool: which blocks of the key and value slab are free, and who shares the others.
 *
 * Owns the counts, not the bytes. A block is in one of three states: free (in the free stack), held
 * (references > 0), or idle: kept by somebody who can find it again (engine/prefix_cache.h), with
 * no reference, in a list from the longest to the shortest time without one. All operations are
 * O(1). One thread.
 */
#ifndef HEARTH_ENGINE_BLOCK_POOL_H
#define HEARTH_ENGINE_BLOCK_POOL_H

#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

#define BLOCK_NONE UINT32_MAX

struct block_pool {
    uint32_t n_blocks, n_free, n_idle;
    uint32_t *free_stack;            /* [n_blocks], the first n_free are free */
    uint32_t *refs;                  /* [n_blocks] */
    uint32_t *idle_prev, *idle_next; /* [n_blocks]: the idle list */
    uint32_t idle_first, idle_last;  /* BLOCK_NONE when empty */
    bool *is_kept;                   /* [n_blocks] idle, or to be idle instead of free */
};

/* Bytes for each block. */
#define BLOCK_POOL_BYTES (4 * sizeof(uint32_t) + sizeof(bool))

int block_pool_init(struct block_pool *p, uint32_t n_blocks, struct err *err)
    __attribute__((warn_unused_result));
void block_pool_release(struct block_pool *p);
/* A free block with one reference; false when none is free. */
bool block_pool_take(struct block_pool *p, uint32_t *ret) __attribute__((warn_unused_result));
void block_pool_ref(struct block_pool *p, uint32_t block); /* a held or an idle one */
/* The last reference frees it, or makes it idle if it is kept. */
void block_pool_unref(struct block_pool *p, uint32_t block);
void block_pool_keep(struct block_pool *p, uint32_t block); /* a held one */
/* An idle block that was kept becomes free. */
void block_pool_forget(struct block_pool *p, uint32_t block);

#endif
