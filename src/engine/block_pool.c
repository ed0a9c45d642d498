/*
 * block_pool: a free stack, reference counts and the list of idle blocks. Knows nothing of
 * sequences or of what a block holds.
 */
#include "engine/block_pool.h"
#include "base/check.h"
#include "base/mem.h"

#include <stdlib.h>

int block_pool_init(struct block_pool *p, uint32_t n_blocks, struct err *err)
{
    *p = (struct block_pool){.n_blocks = n_blocks,
                             .n_free = n_blocks,
                             .idle_first = BLOCK_NONE,
                             .idle_last = BLOCK_NONE};
    p->free_stack = mem_try_array(n_blocks, sizeof(*p->free_stack));
    p->refs = mem_try_array(n_blocks, sizeof(*p->refs));
    p->idle_prev = mem_try_array(n_blocks, sizeof(*p->idle_prev));
    p->idle_next = mem_try_array(n_blocks, sizeof(*p->idle_next));
    p->is_kept = mem_try_array(n_blocks, sizeof(*p->is_kept));
    if (!p->free_stack || !p->refs || !p->idle_prev || !p->idle_next || !p->is_kept) {
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
    free(p->idle_prev);
    free(p->idle_next);
    free(p->is_kept);
    *p = (struct block_pool){0};
}

bool block_pool_take(struct block_pool *p, uint32_t *ret)
{
    if (p->n_free == 0)
        return false;
    uint32_t block = p->free_stack[--p->n_free];
    CHECK(p->refs[block] == 0 && !p->is_kept[block]);
    p->refs[block] = 1;
    *ret = block;
    return true;
}

static void idle_remove(struct block_pool *p, uint32_t block)
{
    uint32_t prev = p->idle_prev[block], next = p->idle_next[block];
    *(prev != BLOCK_NONE ? &p->idle_next[prev] : &p->idle_first) = next;
    *(next != BLOCK_NONE ? &p->idle_prev[next] : &p->idle_last) = prev;
    p->n_idle--;
}

static void idle_append(struct block_pool *p, uint32_t block)
{
    p->idle_prev[block] = p->idle_last;
    p->idle_next[block] = BLOCK_NONE;
    *(p->idle_last != BLOCK_NONE ? &p->idle_next[p->idle_last] : &p->idle_first) = block;
    p->idle_last = block;
    p->n_idle++;
}

void block_pool_ref(struct block_pool *p, uint32_t block)
{
    CHECK(block < p->n_blocks && (p->refs[block] > 0 || p->is_kept[block]));
    if (p->refs[block]++ == 0)
        idle_remove(p, block);
}

void block_pool_unref(struct block_pool *p, uint32_t block)
{
    CHECK(block < p->n_blocks && p->refs[block] > 0);
    if (--p->refs[block] > 0)
        return;
    if (p->is_kept[block])
        idle_append(p, block);
    else
        p->free_stack[p->n_free++] = block;
}

void block_pool_keep(struct block_pool *p, uint32_t block)
{
    CHECK(block < p->n_blocks && p->refs[block] > 0);
    p->is_kept[block] = true;
}

void block_pool_forget(struct block_pool *p, uint32_t block)
{
    CHECK(block < p->n_blocks && p->refs[block] == 0 && p->is_kept[block]);
    p->is_kept[block] = false;
    idle_remove(p, block);
    p->free_stack[p->n_free++] = block;
}
