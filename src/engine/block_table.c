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

/* Gives back all but the first n_keep blocks; from first_loading on n_loading are being read. */
static void give_back(struct prefix_cache *c, struct sequence *seq, int n_keep, int first_loading)
{
    int end_loading = first_loading + seq->n_loading;
    while (seq->n_block > n_keep) {
        int at = --seq->n_block;
        bool is_loading = at >= first_loading && at < end_loading;
        if (!is_loading || disk_tier_cancel(c->disk, seq->block[at]))
            block_pool_unref(&c->pool, seq->block[at]);
    }
    seq->n_loading = 0;
}

void block_table_drop(struct prefix_cache *c, struct sequence *seq)
{
    if (c->disk && seq->n_shared > 0)
        disk_tier_touch(c->disk, parent_of(seq));
    give_back(c, seq, 0, seq->n_shared);
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

bool block_table_load(struct prefix_cache *c, struct sequence *seq)
{
    int at = seq->n_shared * KV_BLOCK_LEN, n_max = (seq->n_token - 1 - at) / KV_BLOCK_LEN;
    if (!c->disk || n_max < 1 || seq->n_computed != at)
        return false;
    uint32_t parent = parent_of(seq);
    uint64_t salt = seq->job->salt;
    int n = disk_tier_look(c->disk, parent, salt, &seq->token[at], n_max);
    if (n == 0)
        return false;
    n = block_table_extend(c, seq, at + n * KV_BLOCK_LEN) / KV_BLOCK_LEN - seq->n_shared;
    disk_tier_read(c->disk, parent, salt, &seq->token[at], &seq->block[seq->n_shared], n);
    seq->n_loading = n;
    return n > 0;
}

void block_table_give_up(struct prefix_cache *c, struct sequence *seq)
{
    if (seq->n_loading > 0)
        give_back(c, seq, seq->n_shared, seq->n_shared);
}

int block_table_take_loaded(struct prefix_cache *c, struct sequence *seq)
{
    int n = 0;
    while (seq->n_loading > 0) {
        enum disk_result result = disk_tier_result(c->disk, seq->block[seq->n_shared]);
        if (result == DISK_PENDING)
            break;
        seq->n_loading--;
        if (result == DISK_LOST) {
            give_back(c, seq, seq->n_shared + 1, seq->n_shared + 1);
            break;
        }
        seq->n_computed += KV_BLOCK_LEN;
        block_table_publish(c, seq);
        n++;
    }
    return n;
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
