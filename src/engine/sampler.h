/*
 * sampler: from one row of logits to one token, and to log probabilities.
 *
 * Order: penalties, logit bias, top-k, typical, top-p, min-p, temperature, draw. Temperature 0 is
 * greedy (the lowest id among equals) and ignores truncation. The draw is a Philox number of
 * (seed, position), so a token depends only on the logits, the settings, the tokens before it and
 * its position. Log probabilities are those of the raw distribution, before anything changes it.
 *
 * Time is linear in the vocabulary whatever the logits are: no sort; cuts are found by radix over
 * the bits of the float. exp is our own, so results do not depend on the C library.
 *
 * Memory: a scratch per thread, made once; no function here allocates but sampler_scratch_init.
 */
#ifndef HEARTH_ENGINE_SAMPLER_H
#define HEARTH_ENGINE_SAMPLER_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SAMPLER_TOP_MAX 20

struct sampling_bias {
    int32_t token;
    float bias; /* added to the logit; <= -100 forbids; >= 100 forbids all tokens not so marked */
};

struct sampling {
    double temperature; /* >= 0 */
    double top_p;       /* (0, 1]; 1 = off */
    int64_t top_k;      /* 0 = off */
    double min_p;       /* [0, 1]; 0 = off */
    double typical_p;   /* (0, 1]; 1 = off */
    double repeat_penalty;
    int64_t repeat_last_n; /* 0 = off, -1 = all tokens so far */
    double presence_penalty, frequency_penalty;
    uint64_t seed;
    const struct sampling_bias *bias; /* borrowed */
    size_t n_bias;
};

struct sampler_top {
    int32_t id;
    float logprob;
};

struct sampler_result {
    int32_t id;
    float logprob; /* NaN when not asked for */
    int n_top;
    struct sampler_top top[SAMPLER_TOP_MAX]; /* descending; lowest id first among equals */
};

struct sampler_history {
    const int32_t *token; /* the sequence so far */
    int n_token;          /* also the position of the token to be drawn */
    int n_prompt;         /* presence and frequency count what follows */
};

struct sampler_ban {
    const int32_t *token; /* never drawn: the end tokens under ignore_eos */
    int n;
};

struct sampler_candidate {
    int32_t id;
    float logit;
    float weight;
    uint32_t key;
};

struct sampler_scratch {
    int n_vocab;
    struct sampler_candidate *cand; /* [n_vocab] */
    uint32_t *count;                /* [n_vocab], all 0 between calls */
    float *raw;                     /* [n_vocab], the row before it was changed */
    double *bin;                    /* [SAMPLER_BINS] */
};
#define SAMPLER_BINS 2048

uint64_t sampler_scratch_bytes(int n_vocab);
int sampler_scratch_init(struct sampler_scratch *s, int n_vocab, struct err *err)
    __attribute__((warn_unused_result));
void sampler_scratch_release(struct sampler_scratch *s);

/* row: float[n_vocab], changed. Token ids outside [0, n_vocab) are not allowed in history (CHECK)
 * and ignored in bias and ban. n_top: how many best tokens to report; -1: no log probabilities. */
void sampler_pick(struct sampler_scratch *s, float *row, const struct sampling *p,
                  const struct sampler_history *h, const struct sampler_ban *ban, int n_top,
                  struct sampler_result *ret);
/* Log probability of id and of the n_top best tokens. row is unchanged. */
void sampler_score(const float *row, int n_vocab, int32_t id, int n_top,
                   struct sampler_result *ret);

#endif
