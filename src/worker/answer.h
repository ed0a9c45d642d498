/*
 * answer: one request from its admission to its last frame.
 *
 * Turns engine events into frames: text and log probabilities per choice, stop strings, ends. The
 * loop calls it on its own thread; the engine works on answer's job meanwhile. A request that goes
 * on after the death of another worker is made again from its beginning, with the tokens its
 * client has as if they had just been drawn; what the client has is then dropped (answer_resume).
 */
#ifndef HEARTH_WORKER_ANSWER_H
#define HEARTH_WORKER_ANSWER_H

#include "worker/beam.h"
#include "worker/embedding.h"
#include "worker/job_sampling.h"
#include "worker/load.h"
#include "worker/outbox.h"
#include "worker/stream.h"
#include "worker/tool_form.h"

struct choice {
    struct stream stream;
    int64_t n_completion;
    int64_t n_foretold; /* tokens of the prediction that it had */
    bool has_ended;     /* its `end` was sent */
    /* Of a request that goes on: what the client has, and is not sent again. */
    size_t skip_tokens;
    int64_t skip_bytes, skip_calls;
    int64_t n_reasoning; /* of one that has ended before */
    bool runs;           /* the engine has something left to compute of it */
};

struct answer {
    struct answer *next; /* the loop's list */
    const struct loaded *model;
    struct gen_request request;   /* owned */
    struct embedding *embedding;  /* owned; embed and rerank: it takes the place of the job */
    struct job *job;              /* owned; NULL when nothing is to be computed */
    struct job_sampling sampling; /* what the job borrows */
    struct beams *beams;   /* owned; then job is that of the present step; NULL: no beam search */
    int n_cached;          /* beams: of the first step */
    uint64_t bytes;        /* what the job takes, for admission */
    struct choice *choice; /* [request.n] */
    struct stream echo;    /* the prompt with log probabilities */
    int n_echoed;          /* tokens of the prompt given to echo */
    int n_prompt;
    int64_t n_dropped;       /* messages that were left out of it */
    uint64_t prompt_hash;    /* of its tokens */
    bool has_bos;            /* the prompt's first token was added here */
    struct form_place place; /* where the answer begins */
    int n_engine_ended;
    bool is_cancelled; /* by the gateway */
    bool has_failed;   /* its `error` was sent */
    int64_t submit_ns, start_ns, first_ns, last_ns;
};

/*
 * Tokenizes and checks; takes *r's contents on success. On failure *ret_error is the frame to
 * send. Does not submit.
 */
bool answer_new(const struct loaded *model, struct gen_request *r, struct answer **ret,
                struct gen_error *ret_error) __attribute__((warn_unused_result));
void answer_free(struct answer *a);
/* Sends `accepted` and what can be said at once; submits the job if there is one. */
void answer_begin(struct answer *a, struct outbox *out);
void answer_event(struct answer *a, const struct engine_event *e, struct outbox *out);
/* Of an embedding: sends what is new. False: the outbox is full, and there is more. */
bool answer_look(struct answer *a, struct outbox *out);
void answer_cancel(struct answer *a);
/* All was computed: sends `done` or `error`. The answer may be freed then. */
bool answer_is_over(const struct answer *a);
void answer_finish(struct answer *a, struct outbox *out);

#endif
