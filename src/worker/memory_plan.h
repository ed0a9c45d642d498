/*
 * memory_plan: one plan of bytes before loading, or a refusal with the arithmetic shown.
 *
 * total = weights + keys and values (blocks) + scratch + reserve <= budget. Arithmetic only: the
 * caller measures and allocates. A draft model has weights, and as many blocks as the model: a text
 * that fits in the one's fits in the other's.
 *
 * How much keys and values get where their size is not given. With a context that was asked for,
 * n_seq of it, or what fits: who names both numbers wants both. Without, the context is the trained
 * one, which few requests come near: one of them and 8192 tokens for each other sequence, at most
 * half of what is left, but never less than one whole context. All sequences share the blocks, and
 * when they run out the youngest waits; so a machine's memory is not promised to contexts that
 * nobody uses. Pages are touched as blocks are used.
 */
#ifndef HEARTH_WORKER_MEMORY_PLAN_H
#define HEARTH_WORKER_MEMORY_PLAN_H

#include "base/err.h"

#include <stdint.h>

/* Tokens; a shorter context serves nobody: better to refuse. */
#define MEMORY_CTX_LEAST 256

struct memory_wish {
    uint64_t budget_bytes;
    uint64_t weight_bytes;
    uint64_t scratch_bytes; /* of model and engine, for the longest context */
    uint64_t block_bytes;   /* keys and values of block_len tokens */
    uint64_t draft_weight_bytes, draft_block_bytes; /* of a draft model; 0: there is none */
    int block_len;
    int64_t n_ctx_train;
    int64_t n_ctx;     /* asked for; 0: as much as fits, at most n_ctx_train */
    int64_t n_seq;     /* sequences at once */
    uint64_t kv_bytes; /* asked for, of both; 0: computed */
};

struct memory_plan {
    int64_t n_ctx;
    uint32_t n_blocks;
    uint64_t kv_bytes, draft_kv_bytes, reserve_bytes, total_bytes;
};

/* ERR_INVALID: a context longer than the model's; ERR_NOMEM: it does not fit. */
int memory_plan(const struct memory_wish *w, struct memory_plan *ret, struct err *err)
    __attribute__((warn_unused_result));

/* The same with a number of blocks, perhaps none, that is not to be chosen; n_ctx is given. */
int memory_plan_fixed(const struct memory_wish *w, uint32_t n_blocks, struct memory_plan *ret,
                      struct err *err) __attribute__((warn_unused_result));

/* What this process may use: memory that is available, or less where a control group says so. */
uint64_t memory_available(void);

#endif
