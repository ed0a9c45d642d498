/*
 * sampler_stage: the stages of the sampler, for its files only.
 *
 * Invariant: candidates stay in ascending order of id through every cut, which makes each stage,
 * and the draw, independent of how it was found.
 */
#ifndef HEARTH_ENGINE_SAMPLER_STAGE_H
#define HEARTH_ENGINE_SAMPLER_STAGE_H

#include "engine/sampler.h"

/* What is left: the whole row until a stage needs candidates, these from then on. */
struct sampler_set {
    struct sampler_scratch *s;
    float *row;   /* [n_vocab] */
    int n;        /* s->cand[0..n); -1: the row */
    double shift; /* to be added to a candidate's logit: temperature moved them */
};

/* ---- sampler_penalty.c: few tokens, changed in place ---- */

void stage_bias(struct sampler_set *set, const struct sampling *p);
void stage_ban(struct sampler_set *set, const struct sampling *p, const struct sampler_history *h,
               const struct sampler_ban *ban);
void stage_penalties(struct sampler_set *set, const struct sampling *p,
                     const struct sampler_history *h);
void stage_dry(struct sampler_set *set, const struct sampling *p, const struct sampler_history *h);
/* Takes from the logit of id what it is to be lowered by. */
void set_lower(struct sampler_set *set, int32_t id, double by);

/* ---- sampler_cut.c: fewer candidates ---- */

/* Makes candidates of what the row has at or above least. */
void set_gather(struct sampler_set *set, float least);
/* Weights proportional to the probabilities of what is left, and keys by logit; their sum. */
double set_weigh(struct sampler_set *set);
/* Keeps the candidates of the greatest keys until their weights reach target, and min_keep. */
void set_keep_best(struct sampler_set *set, double target, int64_t min_keep);

void stage_top_n_sigma(struct sampler_set *set, const struct sampling *p);
void stage_top_k(struct sampler_set *set, const struct sampling *p);
void stage_typical(struct sampler_set *set, const struct sampling *p);
void stage_top_p(struct sampler_set *set, const struct sampling *p);
void stage_min_p(struct sampler_set *set, const struct sampling *p);
void stage_xtc(struct sampler_set *set, const struct sampling *p, int position);
/* Shannon entropy of what is left, in nats; as set_weigh. */
double set_entropy(struct sampler_set *set, double *ret_sum);

/* ---- sampler_mirostat.c ---- */

void stage_mirostat(struct sampler_set *set, const struct sampling *p, double mu);
double mirostat_learn(const struct sampling *p, double mu, double probability);

#endif
