/*
 * scheduler: which tokens are computed in the next step, and where their keys and values go.
 *
 * Continuous batching. A step takes one token of every sequence that decodes, then chunks of
 * prompts within the rest of a token budget, shared so that a short prompt is not stuck behind a
 * long one. Waiting sequences are admitted oldest first, when their text fits beside what the
 * running ones still need. When a decoding sequence finds no block, the youngest running sequence
 * is preempted: its blocks are freed and it is computed again later. Results do not depend on the
 * batch, so nobody can see it. The oldest sequence always advances.
 *
 * The sequences of a job share the full blocks of the prompt: the first computes it, the others
 * are held until then. Blocks of the prompt's end are computed by each.
 *
 * Knows nothing of models, logits, threads or clocks. Allocates only in init. One thread.
 */
#ifndef HEARTH_ENGINE_SCHEDULER_H
#define HEARTH_ENGINE_SCHEDULER_H

#include "engine/block_pool.h"
#include "engine/sequence.h"

struct scheduler_limits {
    int n_seq_max;   /* sequences in one step */
    int n_batch_max; /* tokens in one step; > n_seq_max */
    int n_out_max;   /* rows of logits in one step; > n_seq_max */
};

/* What a row of logits is for. */
struct plan_row {
    struct sequence *seq;
    int position; /* of the token whose successor the row predicts */
};

struct plan {
    struct batch batch;          /* points into the arrays below */
    struct sequence **seq;       /* [batch.n_seq]: whose part is batch.seq[i] */
    struct plan_row *row;        /* [batch.n_out] */
    struct batch_seq *batch_seq; /* [n_seq_max] */
    int32_t *token;              /* [n_batch_max] */
    int32_t *out_row;            /* [n_out_max] */
    int n_decode;                /* tokens of sequences that decode; the rest is prefill */
};

struct scheduler {
    struct scheduler_limits limits;
    struct block_pool pool;
    struct sequence **running; /* [n_seq_max], oldest first */
    int n_running;
    struct sequence *waiting_head, *waiting_tail; /* oldest first */
    int n_waiting, n_held;
    uint64_t n_arrived;
    int turn; /* whose chunk is first */
    struct plan plan;
    uint64_t n_preempted;
};

int scheduler_init(struct scheduler *s, const struct scheduler_limits *limits, uint32_t n_blocks,
                   struct err *err) __attribute__((warn_unused_result));
void scheduler_release(struct scheduler *s);

/* Every sequence must fit alone: n_token_max <= n_blocks * KV_BLOCK_LEN (CHECK). */
void scheduler_add(struct scheduler *s, struct job *job);
/* Takes a sequence out, whatever its state; frees its blocks. */
void scheduler_remove(struct scheduler *s, struct sequence *seq);
/*
 * The next step with at most `budget` tokens (at least one per decoding sequence). Empty (n_tokens
 * 0) only when nothing runs or waits. Valid until the next call of a scheduler function but
 * scheduler_commit.
 */
const struct plan *scheduler_plan(struct scheduler *s, int budget);
/* The planned tokens have been computed. Call before new tokens are appended to sequences. */
void scheduler_commit(struct scheduler *s);

#endif
