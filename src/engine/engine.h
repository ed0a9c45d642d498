/*
 * engine: one thread that turns jobs into tokens. A step: drain commands, plan, copy, forward,
 * sample, commit, emit.
 *
 * The other side (one thread: the worker's loop) submits jobs, cancels sequences and takes events.
 * Events stand in a bounded ring: when nobody takes them, the engine waits, so a slow reader
 * costs no memory. The engine knows no socket, no text and no clock but the monotonic one; what it
 * computes does not depend on time.
 *
 * Ownership: job_new's caller owns the job; the engine uses it from engine_submit until the END
 * event of its last sequence has been taken. Every sequence ends exactly once.
 */
#ifndef HEARTH_ENGINE_ENGINE_H
#define HEARTH_ENGINE_ENGINE_H

#include "engine/speculation.h"

struct engine_config {
    engine_forward_fn forward;
    void *forward_ctx;
    struct pool *pool;  /* borrowed; samples rows in parallel; NULL: one after the other */
    struct kv_slab kv;  /* borrowed */
    size_t block_bytes; /* of a block in it */
    int n_vocab;
    const int32_t *eog; /* [n_eog] tokens that end a text; borrowed */
    int n_eog;
    struct scheduler_limits limits;
    struct disk_tier *disk; /* borrowed, not started; or NULL */
    /* Aim for the length of a step in which sequences decode while prompts are computed; without
     * decodes it is ENGINE_ALONE times that. 0: always n_batch_max tokens. */
    int step_ms;
    enum speculate speculate; /* for jobs with drafts (job_draft) */
    struct drafter *drafter;  /* borrowed; for jobs with job_draft_model; or NULL */
    guide_force_fn force;     /* for jobs with job_guide (engine/guide.h); or NULL */
    void *force_ctx;
};
#define ENGINE_ALONE 4

enum engine_event_kind {
    ENGINE_STARTED, /* the first token of the job is being computed (choice 0) */
    ENGINE_SCORE,   /* log probabilities of one token of the prompt, in order (choice 0) */
    ENGINE_TOKEN,   /* a new token */
    ENGINE_END,     /* the last event of this sequence */
};

enum engine_end {
    ENGINE_END_EOG,
    ENGINE_END_LENGTH,
    ENGINE_END_CANCELLED,
    ENGINE_END_STUCK, /* no token can go on as the grammar wants it */
};

struct engine_event {
    enum engine_event_kind kind;
    enum engine_end end;
    struct sequence *seq;
    int64_t time_ns;
    struct sampler_result result; /* SCORE, TOKEN; an end token is not reported */
    int n_cached; /* STARTED: where the prompt left the cached prefix: tokens that are not computed
                   */
    int n_match;  /* STARTED: how much of it was in the cache, perhaps of no use: scores are wanted,
                     or it is the whole prompt */
    int n_foretold; /* TOKEN: up to it, tokens of the answer that job.prediction had */
};

struct engine_stats {
    int n_running, n_waiting;
    uint32_t n_blocks_used, n_blocks; /* used: by sequences that run */
    uint32_t n_cache_blocks; /* that can be found in the prefix cache, used ones with them */
    uint64_t n_steps, n_prompt_tokens, n_output_tokens; /* prompt: computed ones */
    uint64_t n_preempted;
    uint64_t n_cache_lookups, n_cache_hits;     /* prompts, and those that found something */
    uint64_t n_cached_tokens;                   /* of prompts, found instead of computed */
    uint64_t n_drafted, n_accepted;             /* guessed tokens that were computed, that held */
    uint64_t n_model_drafted, n_model_accepted; /* those of the draft model among them */
    double prefill_s, decode_s;                 /* the latter with draft_s */
    double draft_s;                             /* of the draft model */
    uint64_t n_guided;                          /* tokens of answers that are held to a form */
    double mask_wait_s; /* that steps waited for what such a token may be, of decode_s but for the
                           search of what is forced */
    uint64_t n_disk_hits, n_disk_tokens; /* times that blocks were read from the disk; their tokens
                                          */
    struct disk_tier_stats disk;         /* zero without one */
};

struct engine;

/* Bytes of memory beside the slab and the jobs. */
uint64_t engine_bytes(const struct engine_config *c);
int engine_new(const struct engine_config *c, struct engine **ret, struct err *err)
    __attribute__((warn_unused_result));
/* After engine_stop, or if never started. Jobs that have not ended stay the caller's. */
void engine_free(struct engine *e);

int engine_start(struct engine *e, struct err *err) __attribute__((warn_unused_result));
void engine_stop(struct engine *e); /* after the current step; joins the thread */
/* One step, on the calling thread, for an engine that was not started (tests). False: idle. */
bool engine_step(struct engine *e);

void engine_submit(struct engine *e, struct job *job);
void engine_cancel(struct engine *e, struct sequence *seq); /* harmless when it ended already */
/* Readable when events may be there. engine_take clears it first, so nothing is missed. */
int engine_event_fd(const struct engine *e);
int engine_take(struct engine *e, struct engine_event *ret, int max); /* how many */
void engine_get_stats(struct engine *e, struct engine_stats *ret);
/* For tests, between steps. */
const struct scheduler *engine_scheduler(const struct engine *e);

#endif
