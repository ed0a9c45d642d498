/*
 * embedder: one thread that turns texts into vectors or scores. It stands where the engine stands
 * for models that generate (engine.h), and as that does, it knows no socket and no text.
 *
 * A job is some texts that are already tokens. A step takes texts of any jobs together, up to
 * n_batch_max tokens; a decoder's text that is longer goes in chunks of that, a step each, beside
 * which others have steps of their own. (An encoder's is one step, however long: its tokens see
 * each other.) Jobs take turns by the tokens they had, weighted by their class, and a tenant's by
 * how many jobs it has at once: a thousand texts do not stall one. No vector depends on whose turn
 * it was, nor on what else was in a step: bits depend on the text's tokens alone.
 *
 * The other side (one thread) submits, cancels, and looks at jobs when embedder_event_fd is
 * readable. A job is the caller's; the embedder uses it until `is_over`, the last thing it sets.
 * A step allocates nothing.
 */
#ifndef HEARTH_ENGINE_EMBEDDER_H
#define HEARTH_ENGINE_EMBEDDER_H

#include "model/model.h"

#include <stdatomic.h>

#define EMBED_CLASSES 4

struct embed_text {
    const int32_t *token;
    int n_token; /* 1 to the context */
    int second;  /* of a pair: where the second text begins; 0: no pair */
};

struct embed_job {
    void *owner;
    const struct embed_text *text; /* [n_text]; borrowed */
    int n_text;
    int n_dim;      /* floats of a result; at most model_pooled_len */
    bool normalize; /* to length 1, after it was cut to n_dim */
    float *out;     /* [n_text, n_dim]; borrowed */
    int i_class;    /* 0 goes first; below EMBED_CLASSES */
    uint32_t tenant;
    /* Set before the submit to what is known already; texts before it are not computed. */
    atomic_int n_done;
    atomic_bool is_over;      /* all done, or cancelled */
    atomic_bool cancel;       /* by embedder_cancel */
    int64_t start_ns, end_ns; /* of the first and the last step; to be read after is_over, or once
                                 n_done has grown */
    /* The embedder's own. */
    struct embed_job *next;
    int i_next; /* the first text that was not taken */
    double turn;
};

struct embedder_config {
    struct model
        *model; /* borrowed; n_out_max as n_batch_max. Its thread is the only one to use it */
    struct kv_slab kv; /* decoders: embedder_blocks of them */
    int n_batch_max;   /* tokens in one step */
    int n_ctx;         /* the longest text */
};

struct embedder_stats {
    int n_running, n_waiting;   /* jobs with a text that was begun; others */
    uint64_t n_steps, n_tokens; /* a step of an encoder counts once a layer */
    double step_s;
};

struct embedder;

/* Blocks of keys and values that a decoder needs; an encoder needs none. */
uint32_t embedder_blocks(int n_batch_max, int n_ctx);
/* Memory beside model and slab. */
uint64_t embedder_bytes(const struct embedder_config *c, int n_embd);
int embedder_new(const struct embedder_config *c, struct embedder **ret, struct err *err)
    __attribute__((warn_unused_result));
void embedder_free(struct embedder *e); /* stopped, or never started */
int embedder_start(struct embedder *e, struct err *err) __attribute__((warn_unused_result));
void embedder_stop(struct embedder *e); /* after the current step; jobs stay the caller's */
/* One step, on the calling thread, for one that was not started. False: nothing to do. */
bool embedder_step(struct embedder *e);
/* For the model's options: a sign of life within a step. ctx: the embedder. */
void embedder_tick(void *ctx);

void embedder_submit(struct embedder *e, struct embed_job *job);
void embedder_cancel(struct embedder *e, struct embed_job *job); /* is_over follows */
/* Readable when a job has got further; embedder_heard clears it, before jobs are looked at. */
int embedder_event_fd(const struct embedder *e);
void embedder_heard(struct embedder *e);
void embedder_remind(struct embedder *e); /* makes it readable: there is more to look at */
void embedder_get_stats(struct embedder *e, struct embedder_stats *ret);

#endif
