/*
 * scheduler: which tokens are computed in the next step, and where their keys and values go.
 *
 * Continuous batching. A step takes one token of every sequence that decodes, then chunks of
 * prompts within the rest of a budget. Results do not depend on the batch, so nothing below can be
 * seen in them.
 *
 * Admission. Waiting sequences are admitted in the order of engine/fair_queue.h, when their text
 * fits beside what the running ones still need. For that, running sequences of a lower rank are
 * preempted. A sequence takes its longest cached prefix along, up to its last token but one.
 *
 * Room for prompts. What decodes leave of the budget, and while prompts of no lower rank wait at
 * least two tokens for each that decodes (bounded: see least_for_prompts). A higher rank takes
 * first, but leaves a sixteenth to lower ones that have something to compute. Within a rank half of
 * the room is the oldest one's, so that everybody comes through; the rest goes to the prompt that
 * waited longest for what it asks: tokens computed since it arrived, by tokens that it still needs
 * times the prompts of its tenant. So short ones are not stuck behind long ones, nor a tenant's one
 * behind another's many; and equals are done one after the other, instead of all late.
 *
 * Blocks. A block can be found in the prefix cache as soon as it is full, by other sequences that
 * run already, too: they look at the start of each chunk, and leave out a step in which another one
 * computes what they need. When a decoding sequence finds no block, the last of the running ones
 * (the lowest rank, then the youngest) is preempted: what it computed stays in the cache while
 * there is room, the rest is computed again. The first of the running ones always advances.
 *
 * Drafts. A decoding sequence may have its next token computed together with guesses of what comes
 * after it, each with a row of logits. Guesses never preempt anybody. What of them turns out right
 * (n_accepted) becomes text in scheduler_commit; the rest was never there: nobody finds it in the
 * cache, and its keys and values are written over.
 *
 * The sequences of a job: the first computes the prompt, the others are held until then. They find
 * the full blocks in the cache and copy the beginning of the part block at the prompt's end.
 *
 * The disk (engine/disk_tier.h), if there is one. A prompt that is not found further in memory, but
 * there, is read instead of computed: until its blocks are in it takes no part in steps, and those
 * with the same text wait with it. It can be preempted or removed meanwhile as any other. When the
 * disk does not answer for seconds it is computed after all.
 *
 * Knows nothing of models, logits, threads or clocks. Allocates only in init. One thread.
 */
#ifndef HEARTH_ENGINE_SCHEDULER_H
#define HEARTH_ENGINE_SCHEDULER_H

#include "engine/fair_queue.h"
#include "engine/prefix_cache.h"
#include "engine/sequence.h"

struct scheduler_limits {
    int n_seq_max;   /* sequences in one step */
    int n_batch_max; /* tokens in one step; > n_seq_max */
    int n_out_max;   /* rows of logits in one step; > n_seq_max */
};

/*
 * How much a step may compute. The unit is a token of a prompt at position 0; a token at position p
 * counts 1 + p * per_position. A step is never empty while there is something to do.
 *
 * with_decode holds when sequences decode, whose readers wait for the step, and one prompt is
 * computed beside them. The more wait for their first token, compared with those who decode, the
 * more of the way to `alone` a step goes: else a crowd would wait minutes so that few read a little
 * faster.
 */
struct step_budget {
    double with_decode;
    double alone; /* when no sequence decodes */
    double per_position;
    int n_prefill_max; /* tokens of prompts, in any case */
    /*
     * NULL, or drafts for the decoding sequences of the step: writes guesses behind
     * seq->token[n_token) and their number into seq->n_draft, at most n_max in all. has_prefill:
     * others compute prompts in this step.
     */
    void (*draft)(void *ctx, struct sequence *const *seq, int n_seq, int n_max, bool has_prefill);
    void *draft_ctx;
};

enum plan_row_kind {
    ROW_SCORE, /* the next token is known */
    ROW_NEXT,  /* after the last token of the text */
    ROW_DRAFT, /* after a guess; comes right behind its sequence's ROW_NEXT */
};

/* What a row of logits is for. */
struct plan_row {
    struct sequence *seq;
    int position; /* of the token whose successor the row predicts */
    enum plan_row_kind kind;
};

struct plan_copy {
    uint32_t to, from;          /* blocks; both stay what they are until scheduler_commit */
    const struct sequence *seq; /* whose block `to` is */
};

struct plan {
    struct batch batch;          /* points into the arrays below */
    struct sequence **seq;       /* [batch.n_seq]: whose part is batch.seq[i] */
    struct plan_row *row;        /* [batch.n_out] */
    struct batch_seq *batch_seq; /* [n_seq_max] */
    int32_t *token;              /* [n_batch_max] */
    int32_t *out_row;            /* [n_out_max] */
    struct plan_copy *copy;      /* [n_copy] to be done in this order before the batch */
    int n_copy;
    int n_decode;      /* tokens of sequences that decode; the rest is prefill */
    int n_draft;       /* guesses among them */
    double n_attended; /* positions that the tokens see, summed */
};

struct scheduler_stats {
    uint64_t n_preempted;
    uint64_t n_lookups, n_hits; /* prompts that were looked up at their start, that found a block */
    uint64_t n_cached_tokens;   /* of prompts, not computed but found */
    uint64_t n_disk_hits;       /* times that blocks were read from the disk */
    uint64_t n_disk_tokens;     /* that were read so */
};

struct scheduler {
    struct scheduler_limits limits;
    struct prefix_cache cache;
    struct fair_queue waiting;
    struct sequence **running; /* [n_seq_max], by rank, then oldest first */
    struct sequence **prefill; /* [n_seq_max], within scheduler_plan: who gets a chunk */
    int n_running, n_held;
    uint64_t n_arrived, n_computed; /* jobs, tokens: the scheduler's clock */
    struct plan plan;
    struct scheduler_stats stats;
};

uint64_t scheduler_bytes(const struct scheduler_limits *limits, uint32_t n_blocks);
int scheduler_init(struct scheduler *s, const struct scheduler_limits *limits, uint32_t n_blocks,
                   struct err *err) __attribute__((warn_unused_result));
void scheduler_release(struct scheduler *s);

/*
 * Every sequence must fit alone: n_token_max <= n_blocks * KV_BLOCK_LEN (CHECK). A sequence may
 * begin with more than the prompt: tokens it had in another life.
 */
void scheduler_add(struct scheduler *s, struct job *job);
/* Takes a sequence out, whatever its state; what it computed stays in the cache. */
void scheduler_remove(struct scheduler *s, struct sequence *seq);
/*
 * The next step. Empty (n_tokens 0) only when nothing runs or waits, or when all that could go on
 * waits for the disk (scheduler_is_loading). Valid until the next call of a scheduler function but
 * scheduler_commit; its copies and its batch must be computed.
 */
const struct plan *scheduler_plan(struct scheduler *s, const struct step_budget *budget);
/* The disk has something to say before the next step can be larger than the last one. */
bool scheduler_is_loading(const struct scheduler *s);
/* The planned tokens have been computed. Call with seq->n_accepted set, and before new tokens are
 * appended to sequences. */
void scheduler_commit(struct scheduler *s);

#endif
