/*
 * prefix_cache: a hash table over the blocks of the pool. See the header.
 *
 * Invariants: an entry is valid if and only if its block is kept; it is in the bucket of its key
 * exactly once; the parent of a kept block is kept.
 */
#include "engine/prefix_cache.h"
#include "base/check.h"
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

static uint32_t bucket_count(uint32_t n_blocks)
{
    uint32_t n = 16;
    while (n < n_blocks && n < 1u << 31)
        n *= 2;
    return n;
}

uint64_t prefix_cache_bytes(uint32_t n_blocks)
{
    return n_blocks * (uint64_t)(BLOCK_POOL_BYTES + sizeof(struct prefix_entry)) +
           bucket_count(n_blocks) * (uint64_t)sizeof(uint32_t);
}

int prefix_cache_init(struct prefix_cache *c, uint32_t n_blocks, struct err *err)
{
    *c = (struct prefix_cache){.n_bucket = bucket_count(n_blocks)};
    int rc = block_pool_init(&c->pool, n_blocks, err);
    if (rc != 0)
        return rc;
    c->entry = mem_try_array(n_blocks, sizeof(*c->entry));
    c->bucket = mem_try_array(c->n_bucket, sizeof(*c->bucket));
    if (!c->entry || !c->bucket) {
        prefix_cache_release(c);
        return err_set(err, ERR_NOMEM, "no memory for a prefix cache of %u blocks", n_blocks);
    }
    memset(c->bucket, 0xff, c->n_bucket * sizeof(*c->bucket)); /* BLOCK_NONE */
    return 0;
}

void prefix_cache_release(struct prefix_cache *c)
{
    block_pool_release(&c->pool);
    free(c->entry);
    free(c->bucket);
    *c = (struct prefix_cache){0};
}

static uint64_t key_of(const struct prefix_cache *c, uint32_t parent, uint64_t salt,
                       const int32_t *token)
{
    uint64_t text[2 + KV_BLOCK_LEN * sizeof(*token) / sizeof(uint64_t)];
    text[0] = parent == BLOCK_NONE ? 0 : c->entry[parent].key;
    text[1] = salt;
    memcpy(&text[2], token, KV_BLOCK_LEN * sizeof(*token));
    return XXH3_64bits(text, sizeof(text));
}

static uint32_t *bucket_of(const struct prefix_cache *c, uint64_t key)
{
    return &c->bucket[key & (c->n_bucket - 1)];
}

uint32_t prefix_cache_find(const struct prefix_cache *c, uint32_t parent, uint64_t salt,
                           const int32_t *token)
{
    uint64_t key = key_of(c, parent, salt, token);
    for (uint32_t b = *bucket_of(c, key); b != BLOCK_NONE; b = c->entry[b].next) {
        const struct prefix_entry *e = &c->entry[b];
        if (e->key == key && e->parent == parent && e->salt == salt &&
            memcmp(e->token, token, sizeof(e->token)) == 0)
            return b;
    }
    return BLOCK_NONE;
}

void prefix_cache_insert(struct prefix_cache *c, uint32_t parent, uint64_t salt,
                         const int32_t *token, uint32_t block)
{
    CHECK(parent == BLOCK_NONE || c->pool.is_kept[parent]);
    CHECK(!c->pool.is_kept[block]);
    struct prefix_entry *e = &c->entry[block];
    *e = (struct prefix_entry){
        .key = key_of(c, parent, salt, token), .salt = salt, .parent = parent};
    memcpy(e->token, token, sizeof(e->token));
    uint32_t *bucket = bucket_of(c, e->key);
    e->next = *bucket;
    *bucket = block;
    c->n_entry++;
    block_pool_keep(&c->pool, block);
    if (c->disk)
        disk_tier_note(c->disk, parent, salt, token, block);
}

static void forget(struct prefix_cache *c, uint32_t block)
{
    uint32_t *at = bucket_of(c, c->entry[block].key);
    while (*at != block)
        at = &c->entry[*at].next;
    *at = c->entry[block].next;
    c->n_entry--;
    c->n_forgotten++;
    block_pool_forget(&c->pool, block);
}

bool prefix_cache_take(struct prefix_cache *c, uint32_t *ret)
{
    if (c->pool.n_free == 0 && c->pool.n_idle > 0)
        forget(c, c->pool.idle_first);
    return block_pool_take(&c->pool, ret);
}
