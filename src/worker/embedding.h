/*
 * embedding: one request for vectors or scores, from its texts to its last frame but `done`.
 *
 * Owned by an answer (answer.h), which sends `accepted`, `done` and `error`. Tokenizes on the
 * intake's threads; all else is the loop's. Results go out as they come, in the order of the
 * inputs; one that goes on after the death of a worker begins behind what its client has.
 */
#ifndef HEARTH_WORKER_EMBEDDING_H
#define HEARTH_WORKER_EMBEDDING_H

#include "worker/load.h"
#include "worker/outbox.h"

struct embedding {
    struct embed_job job;
    struct embed_text *text; /* [job.n_text] */
    struct tokens token;     /* of all texts, one after the other */
    float *out;
    uint64_t id;
    int n_sent; /* texts */
    bool told_started, sent_end;
    int64_t submit_ns;
};

/* Checks that the model can, tokenizes. Errors as the client is told them. */
int embedding_new(const struct loaded *model, const struct gen_request *r, struct embedding **ret,
                  struct gen_error *ret_error) __attribute__((warn_unused_result));
void embedding_free(struct embedding *e); /* not while the embedder has it; takes NULL */
int64_t embedding_n_tokens(const struct embedding *e);
uint64_t embedding_bytes(const struct embedding *e);
void embedding_begin(struct embedding *e, struct embedder *to);
/* Sends what is new. False: the outbox is full, and there is more. */
bool embedding_look(struct embedding *e, struct outbox *out, struct err *err, bool *ret_failed);
bool embedding_is_over(const struct embedding *e);
/* All was sent: fills in the times and counts of `done`. False: it was cancelled before. */
bool embedding_finish(const struct embedding *e, struct gen_done *ret);

#endif
