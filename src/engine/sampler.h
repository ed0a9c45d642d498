/*
 * sampler: from one row of logits to one token, and to log probabilities.
 *
 * First what may not be drawn: logit bias, banned strings, banned tokens, the mask. Then the stages
 * of `order` (SAMPLER_ORDER is the usual one), then the draw; docs/sampling.md has every formula.
 * Temperature 0 is greedy (the lowest id among equals): penalties and DRY hold, truncation and
 * XTC do not. Mirostat stands in the place of all truncation and XTC.
 *
 * The draw is a Philox number of (seed, position), as is XTC's coin, so a token depends only on the
 * logits, the settings, the tokens before it, its position and, with mirostat, on mu, which is the
 * sequence's. Log probabilities are those of the raw distribution, before anything changes it, or,
 * with post_probs, of the one that is drawn from.
 *
 * Time is linear in the vocabulary whatever the logits are: no sort; cuts are found by radix over
 * the bits of the float. exp and log are our own, so results do not depend on the C library.
 *
 * Memory: a scratch per thread, made once; no function here allocates but sampler_scratch_init.
 */
#ifndef HEARTH_ENGINE_SAMPLER_H
#define HEARTH_ENGINE_SAMPLER_H

#include "base/err.h"
#include "engine/token_text.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SAMPLER_TOP_MAX 20
#define SAMPLER_NONE    ((int32_t)-1)

struct sampling_bias {
    int32_t token;
    float bias; /* added to the logit; <= -100 forbids; >= 100 forbids all tokens not so marked */
};

/* Stages by llama-server's letters: penalties (e), DRY (d), top-n-sigma (s), top-k, typical (y),
 * top-p, min-p, XTC, temperature. */
#define SAMPLER_ORDER "edskypmxt"

struct sampling {
    char order[sizeof(SAMPLER_ORDER)]; /* letters; empty: SAMPLER_ORDER; others are passed over */
    double temperature;                /* >= 0 */
    double dynatemp_range;             /* 0 = off */
    double dynatemp_exponent;
    double top_p;           /* (0, 1]; 1 = off */
    int64_t top_k;          /* 0 = off */
    double min_p;           /* [0, 1]; 0 = off */
    double typical_p;       /* (0, 1]; 1 = off */
    double top_n_sigma;     /* 0 = off */
    double xtc_probability; /* [0, 1]; 0 = off */
    double xtc_threshold;
    int64_t min_keep; /* candidates that a stage leaves at least */
    double repeat_penalty;
    int64_t repeat_last_n; /* 0 = off, -1 = all tokens so far */
    double presence_penalty, frequency_penalty;
    int64_t count_last_n;  /* window of these two: 0 = what was generated, -1 = all tokens so far */
    double dry_multiplier; /* 0 = off */
    double dry_base;       /* >= 1 */
    int64_t dry_allowed_length;    /* >= 1 */
    int64_t dry_last_n;            /* as repeat_last_n */
    const struct str *dry_breaker; /* [n_dry_breaker] borrowed; need `text` */
    int n_dry_breaker;
    int mirostat; /* 0 = off, 1, 2 */
    double mirostat_tau, mirostat_eta;
    bool post_probs;
    uint64_t seed;
    const struct sampling_bias *bias; /* borrowed */
    size_t n_bias;
    const struct token_text *text; /* borrowed; NULL: no DRY breakers */
    const struct banned *banned;   /* borrowed; NULL: none */
};

struct sampler_top {
    int32_t id;
    float logprob;
};

struct sampler_result {
    int32_t id;    /* SAMPLER_NONE: everything was forbidden */
    float logprob; /* NaN when not asked for */
    double mu;     /* mirostat's, after this token */
    int n_top;
    struct sampler_top top[SAMPLER_TOP_MAX]; /* descending; lowest id first among equals */
};

struct sampler_history {
    const int32_t *token; /* the sequence so far */
    int n_token;          /* also the position of the token to be drawn */
    int n_prompt;         /* presence and frequency count what follows */
    double mu;            /* mirostat's: of the last result, sampler_mu_init at first */
};

/* What may not be drawn, whatever the settings say. */
struct sampler_ban {
    const int32_t *token; /* [n] the end tokens under ignore_eos */
    int n;
    const uint32_t *mask; /* bit i of word i / 32: token i may be drawn; NULL: all */
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

static inline double sampler_mu_init(const struct sampling *p)
{
    return 2 * p->mirostat_tau;
}

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
