/*
 * job_sampling: how a request's tokens are chosen, as the engine wants it: texts become tokens
 * here, against this model's vocabulary.
 *
 * The texts of all tokens, sorted, are made once, when the first request needs them (banned
 * strings, DRY's breakers): some hundred ms for a large vocabulary, on the thread that admits the
 * request.
 */
#ifndef HEARTH_WORKER_JOB_SAMPLING_H
#define HEARTH_WORKER_JOB_SAMPLING_H

#include "engine/sampler.h"
#include "ipc/gen_sampling.h"
#include "text/tokenizer.h"

struct texts; /* of the tokens, once somebody asks; any thread */

/* tokenizer: borrowed; n_vocab: tokens that have logits. */
int texts_new(const struct tokenizer *tokenizer, int n_vocab, struct texts **ret, struct err *err)
    __attribute__((warn_unused_result));
void texts_free(struct texts *t); /* NULL is fine */

/* What a struct sampling borrows. */
struct job_sampling {
    struct sampling_bias *bias;
    struct banned *banned;
    struct str *breaker;
};

/* g, whose texts *ret borrows, stays alive. ERR_INVALID with the parameter's name. */
int job_sampling_init(struct job_sampling *own, struct texts *texts, const struct gen_sampling *g,
                      struct sampling *ret, struct err *err) __attribute__((warn_unused_result));
void job_sampling_release(struct job_sampling *own);

#endif
