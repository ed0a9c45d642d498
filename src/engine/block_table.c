/*
 * block_table: see the header. A parent is always a shared block of the same table, and therefore
 * held: what the cache says of it stays true.
 */
#include "engine/block_table.h"

#include <string.h>

static uint32_t parent_of(const struct sequence *seq)
{
    return seq->n_shared > 0 ? seq->block[seq->n_shared - 1] : BLOCK_NONE;
}

void block_table_drop(struct prefix_cache *c, struct sequence *seq)
{
    while (seq->n_block > 0)
        block_pool_unref(&c->pool, seq->block[--seq->n_block]);
    seq->n_shared = 0;
    seq->n_computed = 0;
}

int block_table_extend(struct prefix_cache *c, struct sequence *seq, int n_token)
{
    while (seq->n_block < blocks_for(n_token) && prefix_cache_take(c, &seq->block[seq->n_block]))
        seq->n_block++;
    int n = seq->n_block * KV_BLOCK_LEN;
    return n < n_token ? n : n_token;
}

uint32_t block_table_next(const struct prefix_cache *c, const struct sequence *seq)
{
    int at = seq->n_shared * KV_BLOCK_LEN;
    if (at + KV_BLOCK_LEN > seq->n_token)
        return BLOCK_NONE;
    return prefix_cache_find(c, parent_of(seq), seq->job->salt, &seq->token[at]);
}

void block_table_find(struct prefix_cache *c, struct sequence *seq)
{
    int n_max = (seq->n_token - 1) / KV_BLOCK_LEN;
    while (seq->n_shared < n_max && seq->n_computed == seq->n_shared * KV_BLOCK_LEN) {
        uint32_t block = block_table_next(c, seq);
        if (block == BLOCK_NONE)
            return;
        block_pool_ref(&c->pool, block);
        if (seq->n_shared < seq->n_block)
            block_pool_unref(&c->pool, seq->block[seq->n_shared]); /* taken, but not filled */
        else
            seq->n_block++;
        seq->block[seq->n_shared++] = block;
        seq->n_computed += KV_BLOCK_LEN;
    }
}

void block_table_publish(struct prefix_cache *c, struct sequence *seq)
{
    while ((seq->n_shared + 1) * KV_BLOCK_LEN <= seq->n_computed) {
        uint32_t *own = &seq->block[seq->n_shared];
        uint32_t block = block_table_next(c, seq);
        if (block == BLOCK_NONE) {
            prefix_cache_insert(c, parent_of(seq), seq->job->salt,
                                &seq->token[seq->n_shared * KV_BLOCK_LEN], *own);
        } else {
            block_pool_ref(&c->pool, block);
            block_pool_unref(&c->pool, *own);
            *own = block;
        }
        seq->n_shared++;
    }
}

bool block_table_is_next_of(const struct sequence *seq, const struct sequence *other)
{
    int at = seq->n_shared * KV_BLOCK_LEN;
    return seq->n_computed == at && at + KV_BLOCK_LEN < seq->n_token &&
           other->n_shared == seq->n_shared && parent_of(other) == parent_of(seq) &&
           other->job->salt == seq->job->salt && at + KV_BLOCK_LEN <= other->n_token &&
           memcmp(&other->token[at], &seq->token[at], KV_BLOCK_LEN * sizeof(*seq->token)) == 0;
}

int block_table_match(const struct prefix_cache *c, const struct sequence *seq)
{
    uint32_t parent = BLOCK_NONE;
    int n = 0;
    while (n + KV_BLOCK_LEN <= seq->n_token) {
        parent = prefix_cache_find(c, parent, seq->job->salt, &seq->token[n]);
        if (parent == BLOCK_NONE)
            return n;
        n += KV_BLOCK_LEN;
    }
    return n;
}
