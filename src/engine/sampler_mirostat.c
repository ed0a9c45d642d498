/*
 * sampler_mirostat: Basu et al., "Mirostat: a neural text decoding algorithm that directly controls
 * perplexity" (ICLR 2021), algorithm 1, and its second version. mu is what the next token may
 * surprise by, in bits.
 */
#include "engine/sampler_math.h"
#include "engine/sampler_stage.h"

#define ZIPF_TOKENS 100 /* the likeliest, from which the exponent is estimated */
#define LN2         0.6931471805599453

/* The logits of the likeliest candidates, descending; returns how many. */
static int best_logits(struct sampler_set *set, float ret[ZIPF_TOKENS])
{
    int n = 0;
    for (int i = 0; i < set->n; i++) {
        float x = set->s->cand[i].logit;
        if (n == ZIPF_TOKENS && x <= ret[n - 1])
            continue;
        int at = n < ZIPF_TOKENS ? n++ : n - 1;
        for (; at > 0 && ret[at - 1] < x; at--)
            ret[at] = ret[at - 1];
        ret[at] = x;
    }
    return n;
}

/* Least squares for s in p(i) ~ i^-s over neighbours (the paper's equation 11). */
static double zipf_exponent(const float *logit, int n)
{
    double tb = 0, tt = 0;
    for (int i = 0; i + 1 < n; i++) {
        double t = sampler_log((i + 2.0) / (i + 1.0));
        double b = (double)logit[i] - (double)logit[i + 1]; /* log p(i) / p(i + 1) */
        tb += t * b;
        tt += t * t;
    }
    return tb / tt;
}

/* How many of n_vocab tokens make the cross entropy mu (equation 10). */
static double top_k_of(double s, double mu, int n_vocab)
{
    double e = s - 1, log_n = sampler_log(n_vocab), most = n_vocab;
    double head = fabs(e) < 1e-9 ? 1 / log_n : e / (1 - sampler_exp(-e * log_n));
    double log_k = (sampler_log(head) + mu * LN2) / (s > 1e-9 ? s : 1e-9);
    double k = sampler_exp(log_k);
    return k < most ? k : most; /* NaN: all */
}

static void cut_first(struct sampler_set *set, double mu)
{
    float logit[ZIPF_TOKENS];
    int n = best_logits(set, logit);
    if (n < 2)
        return;
    double k = top_k_of(zipf_exponent(logit, n), mu, set->s->n_vocab);
    set_weigh(set);
    for (int i = 0; i < set->n; i++)
        set->s->cand[i].weight = 1;
    set_keep_best(set, k < 1 ? 1 : (double)(int64_t)k, 1);
}

/* The second version: what surprises by more than mu goes, but never all. */
static void cut_second(struct sampler_set *set, double mu)
{
    double sum = set_weigh(set), least = sum * sampler_exp(-mu * LN2);
    struct sampler_candidate *cand = set->s->cand;
    int kept = 0;
    for (int i = 0; i < set->n; i++)
        kept += (double)cand[i].weight >= least;
    if (kept == 0) {
        set_keep_best(set, 0, 1);
        return;
    }
    kept = 0;
    for (int i = 0; i < set->n; i++)
        if ((double)cand[i].weight >= least)
            cand[kept++] = cand[i];
    set->n = kept;
}

void stage_mirostat(struct sampler_set *set, const struct sampling *p, double mu)
{
    set_gather(set, -INFINITY);
    if (p->mirostat == 1)
        cut_first(set, mu);
    else
        cut_second(set, mu);
}

double mirostat_learn(const struct sampling *p, double mu, double probability)
{
    double surprise = -sampler_log(probability) / LN2;
    return mu - p->mirostat_eta * (surprise - p->mirostat_tau);
}
