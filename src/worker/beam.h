/*
 * beam: beam search over the engine. Each step is one job whose sequences are the beams so far, of
 * one more token each, with the candidates for it; the prefix cache has what they had in common
 * with those before. So a step computes, beside the new tokens, what of each beam stands in a block
 * that is not full. Deterministic: equal scores go to the earlier beam and the likelier token.
 *
 * A hypothesis scores sum of log probabilities / length ^ length_penalty, its end token counted
 * (Wu et al., "Google's neural machine translation system" (2016) had the idea; the formula is that
 * of Hugging Face's transformers). Of the 2 * width best continuations, end tokens
 * among the first width end theirs; the first width others go on. It is over when width have ended
 * and none of those that go on scores better now than the worst of these, or at the length limit.
 */
#ifndef HEARTH_WORKER_BEAM_H
#define HEARTH_WORKER_BEAM_H

#include "engine/sequence.h"

struct beams;

struct beam_limits {
    int width;
    double length_penalty;
    int n_prompt, n_token_max; /* prompt and answer */
    const int32_t *eog;        /* [n_eog] borrowed */
    int n_eog;
};

/* first: the job of the first step, one sequence and one new token; settings of the others are
 * its. It gets what beam search needs: `peek`, `n_top`, a plain sampling. ERR_NOMEM. */
int beams_new(const struct beam_limits *limits, struct job *first, struct beams **ret,
              struct err *err) __attribute__((warn_unused_result));
void beams_free(struct beams *b); /* NULL is fine */

/* What the engine reports of one sequence of the present step. */
void beams_take(struct beams *b, int i_seq, const struct sampler_result *r);
/*
 * All sequences of `last`, the step's job, have ended: chooses. *ret_next: the job of the next
 * step, or NULL when it is over.
 */
int beams_step(struct beams *b, const struct job *last, struct job **ret_next, struct err *err)
    __attribute__((warn_unused_result));
/* When it is over: the i-th best. *ret_token is [returned], owned by the caller, NULL when memory
 * is short; without the end token, which *ret_ended says. 0 with NULL: there are not so many. */
int beams_result(const struct beams *b, int i, int32_t **ret_token, bool *ret_ended);

#endif
