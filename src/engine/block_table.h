/*
 * block_table: a sequence's blocks, and how they meet those of others in the prefix cache.
 *
 * The first seq->n_shared blocks of a table stand in the cache: they are full, never written again,
 * and perhaps in other tables, too. The blocks after them are the sequence's own; the first
 * n_loading of them are being read from the disk. Takes and gives blocks and moves n_block,
 * n_shared, n_loading and n_computed; knows no order among sequences.
 */
#ifndef HEARTH_ENGINE_BLOCK_TABLE_H
#define HEARTH_ENGINE_BLOCK_TABLE_H

#include "engine/prefix_cache.h"
#include "engine/sequence.h"

static inline int blocks_for(int n_token)
{
    return (n_token + KV_BLOCK_LEN - 1) / KV_BLOCK_LEN;
}

/* Gives all blocks back, the last one first: beginnings are kept longest. */
void block_table_drop(struct prefix_cache *c, struct sequence *seq);
/* Blocks for positions [0, n_token), as far as there are any; how many positions are covered. */
int block_table_extend(struct prefix_cache *c, struct sequence *seq, int n_token);
/* Takes what the cache has from n_computed on, and leaves at least one token to be computed. */
void block_table_find(struct prefix_cache *c, struct sequence *seq);
/* Begins to read the blocks that follow the shared ones and are on the disk, as far as blocks can
 * be had for them. False: none. Nothing of the sequence may be computed while n_loading > 0. */
bool block_table_load(struct prefix_cache *c, struct sequence *seq);
/* Does not wait for what is being read; it is computed instead. */
void block_table_give_up(struct prefix_cache *c, struct sequence *seq);
/* Takes what has been read by now, in order. Where a block was lost the rest is not waited for. How
 * many blocks are new. */
int block_table_take_loaded(struct prefix_cache *c, struct sequence *seq);
/* Lets others find the blocks that are full by now. Where another sequence was faster with the same
 * text its block is taken and the own one given back. */
void block_table_publish(struct prefix_cache *c, struct sequence *seq);
/* The cached block with the tokens after the shared ones; BLOCK_NONE if there is none. */
uint32_t block_table_next(const struct prefix_cache *c, const struct sequence *seq);
/* Does `other` compute, or have, the block that comes after the shared ones of seq? */
bool block_table_is_next_of(const struct sequence *seq, const struct sequence *other);
/* Tokens of the longest prefix that the cache has. */
int block_table_match(const struct prefix_cache *c, const struct sequence *seq);

#endif
