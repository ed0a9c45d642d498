/*
 * block_pool: a free stack and reference counts. Knows nothing of sequences or of what a block
 * holds.
 */
#include "engine/block_pool.h"
#include "base/check.h"
#include "base/mem.h"

#include <stdlib.h>

int block_pool_init(struct block_pool *p, uint32_t n_blocks, struct err *err)
{
    *p = (struct block_pool){.n_blocks = n_blocks, .n_free = n_blocks};
    p->free_stack = mem_try_array(n_blocks, sizeof(*p->free_stack));
    p->refs = mem_try_array(n_blocks, sizeof(*p->refs));
    if (!p->free_stack || !p->refs) {
        block_pool_release(p);
        return err_set(err, ERR_NOMEM, "no memory to manage %u blocks", n_blocks);
    }
    /* Low numbers are taken first: a lightly used server touches little of the slab. */
    for (uint32_t i = 0; i < n_blocks; i++)
        p->free_stack[i] = n_blocks - 1 - i;
    return 0;
}

void block_pool_release(struct block_pool *p)
{
    free(p->free_stack);
    free(p->refs);
    *p = (struct block_pool){0};
}

bool block_pool_take(struct block_pool *p, uint32_t *ret)
{
    if (p->n_free == 0)
        return false;
    uint32_t block = p->free_stack[--p->n_free];
    CHECK(p->refs[block] == 0);
    p->refs[block] = 1;
    *ret = block;
    return true;
}

void block_pool_ref(struct block_pool *p, uint32_t block)
{
    CHECK(block < p->n_blocks && p->refs[block] > 0);
    p->refs[block]++;
}

void block_pool_unref(struct block_pool *p, uint32_t block)
{
    CHECK(block < p->n_blocks && p->refs[block] > 0);
    if (--p->refs[block] == 0)
        p->free_stack[p->n_free++] = block;
}
