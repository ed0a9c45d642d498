/*
 * gen_sampling: how the tokens of an answer are chosen, as it goes from the gateway to a worker.
 * docs/sampling.md has every parameter's formula, source and order.
 */
#ifndef HEARTH_IPC_GEN_SAMPLING_H
#define HEARTH_IPC_GEN_SAMPLING_H

#include "base/err.h"
#include "base/json.h"

#define GEN_BIAS_MAX          8192
#define GEN_BANNED_MAX        128
#define GEN_BANNED_BYTES_MAX  256
#define GEN_BREAKERS_MAX      32
#define GEN_BREAKER_BYTES_MAX 64
#define GEN_BEAMS_MAX         10 /* twice as many candidates are reported of each beam */

/* The stages of `samplers`, in their default order: penalties (e), DRY (d), top-n-sigma (s), top-k,
 * typical (y), top-p, min-p, XTC, temperature. */
#define GEN_SAMPLERS "edskypmxt"

#define GEN_PENALTY_GENERATED (-2) /* penalty_last_n: what was generated, all of it */

struct gen_sampling {
    double temperature;       /* [0, 100], default 1; 0: greedy */
    double dynatemp_range;    /* [0, 100]; 0 = off */
    double dynatemp_exponent; /* (0, 100], default 1 */
    double top_p;             /* (0, 1], default 1 */
    int64_t top_k;            /* 0 = off */
    double min_p;             /* [0, 1], 0 = off */
    double typical_p;         /* (0, 1], 1 = off */
    double top_n_sigma;       /* [0, 1000], 0 = off */
    double xtc_probability;   /* [0, 1], 0 = off */
    double xtc_threshold;     /* [0, 1], default 0.1; above 0.5 = off */
    int64_t min_keep;         /* candidates that a stage leaves at least; 0 as 1 */
    double repeat_penalty;    /* (0, 100], 1 = off */
    int64_t repeat_last_n;   /* window of repeat_penalty in tokens; 0 = off, -1 = the whole context,
                                default 64 */
    double presence_penalty; /* [-2, 2] */
    double frequency_penalty;            /* [-2, 2] */
    int64_t penalty_last_n;              /* window of these two: as repeat_last_n, or, the default,
                                            GEN_PENALTY_GENERATED (OpenAI) */
    double dry_multiplier;               /* [0, 100], 0 = off */
    double dry_base;                     /* [1, 100], default 1.75 */
    int64_t dry_allowed_length;          /* [1, ...], default 2 */
    int64_t dry_last_n;                  /* 0 = off, -1 (default) = the whole context */
    json_t *dry_breakers;                /* array of strings; owned; NULL: \n : " * */
    int64_t mirostat;                    /* 0 = off, 1, 2: in the place of all truncation */
    double mirostat_tau;                 /* [0, 100], default 5 */
    double mirostat_eta;                 /* [0, 1], default 0.1 */
    char samplers[sizeof(GEN_SAMPLERS)]; /* letters of GEN_SAMPLERS, each at most once */
    json_t *banned;                      /* strings that never appear; owned; NULL: none */
    int64_t min_tokens;                  /* the text does not end before */
    int64_t beam_width;                  /* 0: no beam search; [1, GEN_BEAMS_MAX], >= n */
    double length_penalty;               /* [-100, 100], default 1: score = sum / length^it */
    bool post_probs; /* log probabilities are those of the draw, not of the model */
    uint64_t seed;   /* always set: the gateway draws one when the client gave none */
    struct gen_bias {
        int32_t token;
        float bias; /* added to the logit; <= -100 forbids, >= 100 forces */
    } * bias;
    size_t n_bias;
    json_t *bias_text; /* array of [text of one token, bias]; owned; NULL: none */
};

/* The defaults above. */
void gen_sampling_init(struct gen_sampling *s);
void gen_sampling_release(struct gen_sampling *s);
json_t *gen_sampling_to_json(const struct gen_sampling *s);
/* Into *s, which has been initialized; it is to be released on failure, too. */
int gen_sampling_from_json(const json_t *obj, struct gen_sampling *s, struct err *err)
    __attribute__((warn_unused_result));
/* Are these stages, each at most once? */
bool gen_samplers_valid(struct str letters);

#endif
