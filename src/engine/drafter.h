/*
 * drafter: a second, small model of the same vocabulary, that guesses what comes next.
 *
 * It has keys and values of its own: a slab of blocks, of which a sequence holds as many as its
 * text needs while it is drafted for (struct shadow). They follow the text: what came since is
 * computed in chunks, as many tokens at once as the caller says, and what was guessed wrong is
 * written over. When blocks run out, a sequence is not drafted for; when it ends or is preempted,
 * its blocks are given back.
 *
 * A guess is the likeliest next token. How often guesses hold is known for each sequence, by how
 * much likelier the guess was than the next best; a new sequence begins with what holds for all.
 *
 * Guesses change no result, whatever they are: who asks computes them with the large model. A pass
 * is timed, so the clock is read. Allocates only in drafter_new. One thread (the engine's).
 */
#ifndef HEARTH_ENGINE_DRAFTER_H
#define HEARTH_ENGINE_DRAFTER_H

#include "engine/block_pool.h"
#include "engine/cost_curve.h"
#include "engine/draft.h"
#include "kernels/pool.h"
#include "model/model.h"

#define DRAFTER_SEQS_MAX    32 /* in one pass */
#define DRAFTER_MARGINS     6
#define DRAFTER_DEPTH_FIRST 4 /* guesses at once, where nobody says how many */

/* model_forward's shape; a test puts a fake model here. Must not allocate. */
typedef void (*engine_forward_fn)(void *ctx, const struct kv_slab *kv, const struct batch *b,
                                  float *logits);

struct sequence;

/* What the draft model has of a sequence. */
struct shadow {
    uint32_t *block; /* [n_block_max] block table; NULL: not to be drafted for */
    int n_block;
    int n_computed; /* tokens whose keys and values are in the blocks, of text and guesses */
    int n_text;     /* tokens of text when it guessed */
    int n_guess;    /* what it guessed behind them */
    int32_t guess[DRAFT_MAX];
    float chance[DRAFT_MAX]; /* that the first i + 1 of them all hold */
    uint8_t margin[DRAFT_MAX];
    bool has_rates;
    struct draft_rate mean, rate[DRAFTER_MARGINS];
    int n_declined; /* steps since it was last drafted for */
    int n_tries;    /* after it had lost */
};

struct drafter_config {
    engine_forward_fn forward;
    void *forward_ctx;
    struct pool *pool; /* borrowed; or NULL */
    struct kv_slab kv; /* borrowed */
    int n_vocab;       /* of a row of logits */
    int n_token;       /* tokens that both models know: the first so many */
    int n_ctx;         /* the longest text */
    int n_batch_max;   /* tokens in a pass */
    int n_seq_max;     /* sequences that run at once */
    int depth;         /* guesses at once, in [1, DRAFT_MAX] */
};

struct drafter {
    struct drafter_config config;
    struct block_pool blocks;
    struct sequence **holder; /* [n_holder] who has blocks, of n_seq_max */
    int n_holder;
    float *logits; /* [n_row_max, n_vocab] */
    int32_t *token;
    struct batch_seq *batch_seq;                   /* [n_row_max] */
    int32_t *out_row;                              /* [n_row_max] */
    struct sequence **row;                         /* [n_row_max] */
    double ms[COST_TOKENS_MAX + 1];                /* a pass of n tokens */
    struct draft_rate mean, rate[DRAFTER_MARGINS]; /* of all sequences */
    int64_t spent_ns;                              /* in passes */
};

/* Of all it allocates; the slab is the caller's. */
uint64_t drafter_bytes(const struct drafter_config *c);
int drafter_new(const struct drafter_config *c, struct drafter **ret, struct err *err)
    __attribute__((warn_unused_result));
void drafter_free(struct drafter *d);

/* Can it guess behind the sequence's text: is that short enough, and are there blocks for it? */
bool drafter_can(const struct drafter *d, const struct sequence *seq);
/* Looks what came of the last guesses, and forgets them. */
void drafter_see(struct drafter *d, struct sequence *seq);
/* Tokens to be computed before it can guess; at least 1. */
int drafter_lag(const struct sequence *seq);
/* Takes the blocks that drafter_can counted. False: others took them. */
bool drafter_reserve(struct drafter *d, struct sequence *seq) __attribute__((warn_unused_result));
/*
 * Computes what n <= DRAFTER_SEQS_MAX reserved sequences need for one guess more, in their order,
 * and guesses; but n_token_max <= n_batch_max tokens at most: who gets less than it needs goes on
 * in a later pass. How many tokens were computed.
 */
int drafter_pass(struct drafter *d, struct sequence *const *seq, int n, int n_token_max);
/* What a pass of n <= COST_TOKENS_MAX tokens takes; 0 if nothing is known. */
double drafter_ms(const struct drafter *d, int n);
/* It has ended: gives its blocks back. */
void drafter_drop(struct drafter *d, struct sequence *seq);
/* Drops all that do not run. Before blocks are reserved in a step, and after it was planned. */
void drafter_sweep(struct drafter *d);

#endif
