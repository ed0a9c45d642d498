/*
 * batch_call: a generation without an exchange, the way an HTTP request of it would go: the same
 * parsing, the same slot, the same answer. A line of a batch, or a response that runs in the
 * background. Loop thread only.
 */
#ifndef HEARTH_GATEWAY_BATCH_CALL_H
#define HEARTH_GATEWAY_BATCH_CALL_H

#include "gateway/server.h"

struct batch_call;

struct batch_outcome {
    bool again; /* not the line's fault (a worker died, the model is not to be had): run it again */
    bool accepted;                   /* a worker had it */
    int status;                      /* of the answer, as HTTP would have it */
    struct buf *body;                /* the answer or error object; the owner may steal it */
    const char *model;               /* that computed it; NULL with an error */
    const struct api_answer *answer; /* its counts; NULL with an error */
    struct str last;                 /* of a call that is heard: the end of its stream */
    struct err err;
};

typedef void (*batch_call_fn)(void *ctx, const struct batch_outcome *o);

/* What a line waits for that found no place; zero it before the line's first start. */
struct batch_need {
    char model[512];
    int64_t n; /* places; 0: not known */
};

/*
 * Starts the line's body, for the key of that name, when its model has a free place for it. 0: fn
 * will run, once, later, and the call is freed after it. ERR_BUSY: no place now; what it
 * needs is noted, and the next try does not read the line until there is that. ERR_UNAVAILABLE: the
 * model cannot be had now, with the reason. Anything else: what is wrong with the line.
 */
int batch_call_start(struct server *s, const char *owner, const struct api_endpoint *endpoint,
                     struct str line, struct batch_need *need, batch_call_fn fn, void *ctx,
                     struct batch_call **ret, struct err *err) __attribute__((warn_unused_result));

/* A call that is heard while it runs, and is of its key's own class, not a batch's. */
struct batch_call_live {
    const char *id; /* of its answer */
    int64_t created_ms, priority;
    void (*text)(void *ctx, struct str stream); /* pieces of the stream as they come */
};
/* body: borrowed. As batch_call_start; ERR_BUSY: the queue of its model is full. */
int batch_call_start_live(struct server *s, const struct caller *who,
                          const struct api_endpoint *endpoint, const json_t *body,
                          const struct batch_call_live *live, batch_call_fn fn, void *ctx,
                          struct batch_call **ret, struct err *err)
    __attribute__((warn_unused_result));
/* What is there of it; in fn, too. */
struct api_answer *batch_call_answer(const struct batch_call *c);
const char *batch_call_model(const struct batch_call *c);
/* Stops it; fn does not run. */
void batch_call_cancel(struct batch_call *c);

#endif
