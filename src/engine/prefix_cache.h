/*
 * prefix_cache: finds blocks of keys and values by the text that they were computed from.
 *
 * Only full blocks of KV_BLOCK_LEN tokens. A block's key is a hash over its parent's key (the block
 * before it in the text), the salt and its tokens: it names a whole prefix and stays the same
 * across restarts. A hit is never trusted to the key alone: parent, salt and token ids are
 * compared.
 *
 * The blocks form a tree: each text stands in it once, and who holds a block holds its parents, too
 * (they must be found or inserted in this order, and given back last block first). So the block
 * that has been idle longest never has children, and texts are forgotten from their ends.
 *
 * Blocks outlive memory in a file, if there is one (`disk`, engine/disk_tier.h): it is told of each
 * block that is inserted; engine/block_table.h reads from it what is not found here.
 *
 * All operations are O(1); all memory is allocated in init. One thread.
 */
#ifndef HEARTH_ENGINE_PREFIX_CACHE_H
#define HEARTH_ENGINE_PREFIX_CACHE_H

#include "engine/block_pool.h"
#include "engine/disk_tier.h"
#include "kernels/attend.h"

struct prefix_entry {
    uint64_t key, salt;
    uint32_t parent; /* BLOCK_NONE: the beginning of a text */
    uint32_t next;   /* in its bucket */
    int32_t token[KV_BLOCK_LEN];
};

struct prefix_cache {
    struct block_pool pool;
    struct prefix_entry *entry; /* [n_blocks], of the blocks that are kept */
    uint32_t *bucket;           /* [n_bucket] first block; a power of two */
    uint32_t n_bucket;
    uint32_t n_entry;
    uint64_t n_forgotten;
    struct disk_tier *disk; /* borrowed, or NULL; set after init */
};

/* Bytes for n_blocks blocks, those of the pool with them. */
uint64_t prefix_cache_bytes(uint32_t n_blocks);
int prefix_cache_init(struct prefix_cache *c, uint32_t n_blocks, struct err *err)
    __attribute__((warn_unused_result));
void prefix_cache_release(struct prefix_cache *c);

/* The block that follows `parent` (BLOCK_NONE: first) with these tokens; BLOCK_NONE if there is
 * none. token: [KV_BLOCK_LEN]. Takes no reference. */
uint32_t prefix_cache_find(const struct prefix_cache *c, uint32_t parent, uint64_t salt,
                           const int32_t *token);
/* The held block was computed from these tokens and can be found from now on. What follows `parent`
 * with these tokens must not be there already; the parent must be. */
void prefix_cache_insert(struct prefix_cache *c, uint32_t parent, uint64_t salt,
                         const int32_t *token, uint32_t block);
/* A block for new contents, with one reference: a free one, or the one that nobody needed for the
 * longest time. False when all are held. */
bool prefix_cache_take(struct prefix_cache *c, uint32_t *ret) __attribute__((warn_unused_result));

#endif
