/*
 * sequence: the tokens of one choice, the blocks that hold their keys and values, and where it
 * stands; and the job: one request, n sequences with the same prompt.
 *
 * A job is allocated whole, for its longest possible text, by the thread that admits it, so that
 * the engine thread never allocates. That thread frees it after the last of its sequences ended
 * (the END events); until then all but the marked fields belong to the engine thread.
 */
#ifndef HEARTH_ENGINE_SEQUENCE_H
#define HEARTH_ENGINE_SEQUENCE_H

#include "engine/drafter.h"
#include "engine/guide.h"
#include "engine/sampler.h"
#include "engine/think_budget.h"
#include "model/model.h"

#include <stdatomic.h>

enum sequence_state {
    SEQUENCE_NEW,     /* not known to the scheduler */
    SEQUENCE_HELD,    /* waits for the first sequence of its job to compute the prompt; no blocks */
    SEQUENCE_WAITING, /* in the queue; no blocks */
    SEQUENCE_RUNNING, /* takes part in steps */
    SEQUENCE_ENDED,
};

struct job;

struct sequence {
    struct job *job;
    int index; /* choice; draws with seed + index */
    enum sequence_state state;
    atomic_bool cancel; /* set by engine_cancel: end it before the next step */

    int32_t *token; /* [n_token_max]; the first job->n_prompt are the prompt */
    int n_token;
    struct draft *draft;  /* guesses what comes next; NULL: nobody asked for it */
    struct shadow shadow; /* the draft model's */
    struct guide *guide;  /* the grammar that it keeps to; owned; NULL: none */
    int n_draft;          /* within a step: guesses behind token[n_token), to be computed with it */
    int n_accepted;       /* the first so many of them are what was sampled */
    bool is_draft_model;  /* they are the draft model's */
    int n_computed;       /* tokens whose keys and values are in blocks; < n_token while alive */
    bool has_mu; /* mirostat's state after the last token of the text, else its first one */
    double mu;
    int n_scored;    /* prompt tokens whose log probability was reported; the first has none */
    uint32_t *block; /* [n_block_max] block table */
    int n_block;
    int n_shared;  /* the first so many blocks stand in the prefix cache */
    int n_loading; /* the so many after them are being read from the disk */

    int n_reached; /* the most tokens that were ever computed or found */
    int n_cached;  /* tokens of the prompt that were found and never computed for this sequence */
    int n_match;   /* tokens of the longest cached prefix when it started, used or not */

    uint64_t since;     /* scheduler.n_computed when it arrived */
    double urgency;     /* within scheduler_plan */
    int rank;           /* while running: its class, or 0 if it aged; the lowest is preempted */
    int n_paid;         /* tokens that its tenant was charged for */
    bool was_preempted; /* and not admitted again yet */

    struct sequence *prev, *next; /* the waiting queue */
};

/* What a job may wait for others (engine/fair_queue.h). */
enum job_class { JOB_INTERACTIVE, JOB_AGENT, JOB_BACKGROUND, JOB_BATCH, JOB_CLASSES };

struct job {
    void *owner;      /* of the admitting thread; the engine does not look */
    uint64_t arrival; /* set by the scheduler: 1, 2, 3, ... */
    int n_prompt;
    int n_token_max; /* prompt and answer */
    int n_seq;
    struct sampling sampling; /* borrows from the owner */
    int n_top;                /* -1: no log probabilities */
    bool score_prompt;        /* report log probabilities of the prompt's tokens (choice 0) */
    bool ignore_eos;
    int min_tokens;  /* no end token before the answer has so many */
    bool peek;       /* an end token is reported, too, and then the sequence ends (beam search) */
    int priority;    /* enum job_class */
    uint32_t tenant; /* who asks, for fair share */
    uint64_t salt;   /* jobs share cached prefixes only with equal ones */
    bool started;    /* its first token is or was being computed */
    struct prediction *prediction; /* of the answer; owned; NULL: none */
    struct think_budget *thinks;   /* after so many thoughts they are ended; owned; NULL: never */
    struct job *next_new;          /* the engine's inbox */
    struct sequence seq[];
};

/*
 * prompt: 1 <= n_prompt < n_token_max tokens. Every sequence starts with a copy of it. ERR_NOMEM.
 */
int job_new(const int32_t *prompt, int n_prompt, int n_token_max, int n_seq, struct job **ret,
            struct err *err) __attribute__((warn_unused_result));
/*
 * Before the job is submitted: sequence i_seq goes on after n more tokens, as if it had drawn them
 * itself. n_prompt + n < n_token_max (CHECK): one more must have room.
 */
void job_force(struct job *job, int i_seq, const int32_t *token, int n);
void job_free(struct job *job);
/*
 * Before it is submitted, once: its sequences may be drafted. prediction: n_prediction >= 0 tokens
 * that the answer may resemble. ERR_NOMEM.
 */
int job_draft(struct job *job, const int32_t *prediction, int n_prediction, struct err *err)
    __attribute__((warn_unused_result));
/* Likewise: the draft model may guess for them, too (engine/drafter.h). ERR_NOMEM. */
int job_draft_model(struct job *job, struct err *err) __attribute__((warn_unused_result));
/* Likewise: its sequences keep to a grammar over the vocabulary, which outlives it. ERR_NOMEM. */
int job_guide(struct job *job, struct grammar *grammar, const struct vocabulary *v, struct err *err)
    __attribute__((warn_unused_result));
/* What job_new, job_draft and job_draft_model would allocate, roughly: for admission. */
uint64_t job_bytes(int n_token_max, int n_seq);
uint64_t job_draft_bytes(int n_token_max, int n_seq, int n_prediction);
uint64_t job_draft_model_bytes(int n_token_max, int n_seq);

#endif
