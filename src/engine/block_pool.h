/*
 * block_pool: which blocks of the key and value slab are free, and who shares the others.
 *
 * Owns the counts, not the bytes. A block with 0 references is free and stands in the free stack
 * exactly once. One thread.
 */
#ifndef HEARTH_ENGINE_BLOCK_POOL_H
#define HEARTH_ENGINE_BLOCK_POOL_H

#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

struct block_pool {
    uint32_t n_blocks, n_free;
    uint32_t *free_stack; /* [n_blocks], the first n_free are free */
    uint32_t *refs;       /* [n_blocks] */
};

int block_pool_init(struct block_pool *p, uint32_t n_blocks, struct err *err)
    __attribute__((warn_unused_result));
void block_pool_release(struct block_pool *p);
/* A block with one reference; false when none is free. */
bool block_pool_take(struct block_pool *p, uint32_t *ret) __attribute__((warn_unused_result));
void block_pool_ref(struct block_pool *p, uint32_t block);
void block_pool_unref(struct block_pool *p, uint32_t block); /* the last one frees it */

#endif
