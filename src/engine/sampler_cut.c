/*
 * sampler_cut: the stages that leave fewer candidates. Cuts are found by radix over the bits of a
 * key, never by a sort.
 */
#include "base/rng.h"
#include "engine/sampler_math.h"
#include "engine/sampler_stage.h"

#include <float.h>

#define XTC_STREAM  0x787463636f696eull /* "xtccoin": apart from other uses of the same seed */
#define GROUP       64                  /* logits whose greatest stands for them, to find a floor */
#define MIN_P_SLACK 0.01f /* more than min-p's own rounding, in logits: it has the last word */

/* ---- the best, by weight ---- */

struct cut {
    uint32_t key; /* candidates with a greater key stay */
    double sum;   /* their weight; those with the same key stay until it reaches the target */
};

/* Radix search, 11 + 11 + 10 bits, for the key at which the weights, best first, reach target. */
static bool find_cut(struct sampler_scratch *s, int n, double target, struct cut *ret)
{
    static const int shift[] = {21, 10, 0}, bits[] = {11, 11, 10};
    uint32_t prefix = 0;
    double sum = 0;
    for (int pass = 0; pass < 3; pass++) {
        uint32_t mask = (1u << bits[pass]) - 1;
        memset(s->bin, 0, SAMPLER_BINS * sizeof(*s->bin));
        for (int i = 0; i < n; i++) {
            const struct sampler_candidate *c = &s->cand[i];
            if (pass == 0 || c->key >> (shift[pass] + bits[pass]) == prefix)
                s->bin[(c->key >> shift[pass]) & mask] += (double)c->weight;
        }
        uint32_t b = mask;
        while (b > 0 && sum + s->bin[b] < target)
            sum += s->bin[b--];
        if (pass == 0 && sum + s->bin[b] < target)
            return false; /* all of them together do not reach it */
        prefix = prefix << bits[pass] | b;
    }
    *ret = (struct cut){prefix, sum};
    return true;
}

/* Those that stay move to the front; with `dry_run` they are only counted. */
static int split(struct sampler_scratch *s, int n, struct cut cut, double target, bool dry_run)
{
    int kept = 0;
    for (int i = 0; i < n; i++) {
        struct sampler_candidate c = s->cand[i];
        bool on_edge = c.key == cut.key && cut.sum < target;
        if (on_edge)
            cut.sum += (double)c.weight;
        if (c.key <= cut.key && !on_edge)
            continue;
        if (!dry_run)
            s->cand[kept] = c;
        kept++;
    }
    return kept;
}

void set_keep_best(struct sampler_set *set, double target, int64_t min_keep)
{
    struct sampler_scratch *s = set->s;
    struct cut cut;
    target = target > DBL_MIN ? target : DBL_MIN;
    if (min_keep >= set->n || !find_cut(s, set->n, target, &cut))
        return;
    if (min_keep > 1 && split(s, set->n, cut, target, true) < min_keep) {
        for (int i = 0; i < set->n; i++)
            s->cand[i].weight = 1;
        target = (double)min_keep;
        if (!find_cut(s, set->n, target, &cut))
            return;
    }
    set->n = split(s, set->n, cut, target, false);
}

/* ---- from the row to candidates ---- */

void set_gather(struct sampler_set *set, float least)
{
    struct sampler_scratch *s = set->s;
    const float *row = set->row;
    if (set->n >= 0)
        return;
    set->n = 0;
    for (int from = 0; from < s->n_vocab; from += GROUP) {
        int to = from + GROUP < s->n_vocab ? from + GROUP : s->n_vocab;
        if (!(row_greatest(row + from, to - from) >= least)) /* whole groups are passed */
            continue;
        for (int i = from; i < to; i++)
            if (row[i] >= least && row[i] > -INFINITY)
                s->cand[set->n++] = (struct sampler_candidate){i, row[i], 1.0f, key_of(row[i])};
    }
}

static float greatest_of(const struct sampler_set *set)
{
    float max = -INFINITY;
    if (set->n < 0)
        return row_greatest(set->row, set->s->n_vocab);
    for (int i = 0; i < set->n; i++)
        max = set->s->cand[i].logit > max ? set->s->cand[i].logit : max;
    return max;
}

double set_weigh(struct sampler_set *set)
{
    float max = greatest_of(set);
    double sum = 0;
    for (int i = 0; i < set->n; i++) {
        struct sampler_candidate *c = &set->s->cand[i];
        c->weight = exp_neg(c->logit - max);
        c->key = key_of(c->logit);
        sum += (double)c->weight;
    }
    return sum;
}

double set_entropy(struct sampler_set *set, double *ret_sum)
{
    double sum = set_weigh(set), entropy = 0;
    for (int i = 0; i < set->n; i++) {
        double q = (double)set->s->cand[i].weight / sum;
        entropy -= q > 0 ? q * sampler_log(q) : 0;
    }
    *ret_sum = sum;
    return entropy;
}

/* ---- top-k ---- */

/*
 * A logit that at least k reach, so that the k best are all at or above it: the k-th greatest of
 * the greatest of each group, to the precision of a bin. -INFINITY when there are fewer groups than
 * k.
 */
static float floor_of(struct sampler_scratch *s, const float *row, int64_t k)
{
    int n_group = s->n_vocab / GROUP;
    if (k > n_group)
        return -INFINITY;
    memset(s->bin, 0, SAMPLER_BINS * sizeof(*s->bin));
    for (int g = 0; g < n_group; g++)
        s->bin[key_of(row_greatest(row + (size_t)g * GROUP, GROUP)) >> 21] += 1;
    uint32_t b = SAMPLER_BINS - 1;
    for (double n = 0; b > 0; b--) {
        n += s->bin[b];
        if (n >= (double)k)
            break;
    }
    uint32_t key = b << 21, bits = key & 0x80000000u ? key & 0x7fffffffu : ~key;
    float least;
    memcpy(&least, &bits, sizeof(least));
    return least == least ? least : -INFINITY;
}

void stage_top_k(struct sampler_set *set, const struct sampling *p)
{
    int64_t k = p->top_k > p->min_keep ? p->top_k : p->min_keep;
    if (p->top_k <= 0 || k >= (set->n < 0 ? set->s->n_vocab : set->n))
        return;
    if (set->n < 0)
        set_gather(set, floor_of(set->s, set->row, k));
    for (int i = 0; i < set->n; i++) {
        set->s->cand[i].weight = 1;
        set->s->cand[i].key = key_of(set->s->cand[i].logit);
    }
    set_keep_best(set, (double)k, 1);
}

/* ---- by mass ---- */

/* Locally typical sampling (Meister et al., 2022): nearest to the entropy first. */
void stage_typical(struct sampler_set *set, const struct sampling *p)
{
    if (p->typical_p >= 1)
        return;
    set_gather(set, -INFINITY);
    double sum, entropy = set_entropy(set, &sum);
    for (int i = 0; i < set->n; i++) {
        double q = (double)set->s->cand[i].weight / sum;
        double away = q > 0 ? fabs(-sampler_log(q) - entropy) : HUGE_VAL;
        set->s->cand[i].key = key_of((float)-away);
    }
    set_keep_best(set, p->typical_p * sum, p->min_keep);
}

/* Nucleus sampling (Holtzman et al., 2019). */
void stage_top_p(struct sampler_set *set, const struct sampling *p)
{
    if (p->top_p >= 1)
        return;
    set_gather(set, -INFINITY);
    set_keep_best(set, p->top_p * set_weigh(set), p->min_keep);
}

/* ---- by a threshold ---- */

static void keep_at_least(struct sampler_set *set, float least, int64_t min_keep)
{
    struct sampler_candidate *cand = set->s->cand;
    int kept = 0;
    for (int i = 0; i < set->n; i++)
        kept += cand[i].logit >= least;
    if (kept < min_keep) {
        set_weigh(set); /* for the keys */
        for (int i = 0; i < set->n; i++)
            cand[i].weight = 1;
        set_keep_best(set, (double)min_keep, 1);
        return;
    }
    kept = 0;
    for (int i = 0; i < set->n; i++)
        if (cand[i].logit >= least)
            cand[kept++] = cand[i];
    set->n = kept;
}

/* Nguyen et al., "Turning up the heat" (2024). */
void stage_min_p(struct sampler_set *set, const struct sampling *p)
{
    if (p->min_p <= 0)
        return;
    float less = (float)sampler_log(p->min_p), max = greatest_of(set);
    /* What it would drop need not be gathered. */
    set_gather(set, p->min_keep > 1 ? -INFINITY : max + less - MIN_P_SLACK);
    keep_at_least(set, max + less, p->min_keep);
}

/* Mean and variance of n finite logits minus max, in lanes. */
static float sigma_of(const struct sampler_set *set, float max)
{
    const struct sampler_candidate *cand = set->s->cand;
    double lane[SAMPLER_LANES] = {0}, mean = 0, square = 0;
    for (int i = 0; i < set->n; i++)
        lane[i % SAMPLER_LANES] += (double)cand[i].logit - (double)max;
    for (int k = 0; k < SAMPLER_LANES; k++)
        mean += lane[k];
    mean = mean / set->n + (double)max;
    memset(lane, 0, sizeof(lane));
    for (int i = 0; i < set->n; i++) {
        double x = (double)cand[i].logit - mean;
        lane[i % SAMPLER_LANES] += x * x;
    }
    for (int k = 0; k < SAMPLER_LANES; k++)
        square += lane[k];
    return (float)sqrt(square / set->n);
}

/* Tang et al., "Top-n-sigma: not all logits are you need" (2024). */
void stage_top_n_sigma(struct sampler_set *set, const struct sampling *p)
{
    if (p->top_n_sigma <= 0)
        return;
    set_gather(set, -INFINITY);
    if (set->n <= 1)
        return;
    float max = greatest_of(set);
    keep_at_least(set, max - (float)p->top_n_sigma * sigma_of(set, max), p->min_keep);
}

/* "Exclude top choices": P. E. Weidmann, text-generation-webui pull request 6335 (2024). */
void stage_xtc(struct sampler_set *set, const struct sampling *p, int position)
{
    if (p->xtc_probability <= 0 || p->xtc_threshold > 0.5 ||
        rng_uniform(p->seed, XTC_STREAM, (uint64_t)position) >= p->xtc_probability)
        return;
    set_gather(set, -INFINITY);
    double least = p->xtc_threshold * set_weigh(set);
    struct sampler_candidate *cand = set->s->cand;
    int n_above = 0, last = -1, kept = 0;
    for (int i = 0; i < set->n; i++) {
        if ((double)cand[i].weight < least)
            continue;
        n_above++;
        if (last < 0 || cand[i].logit <= cand[last].logit)
            last = i; /* the least likely of them stays; the highest id among equals */
    }
    if (n_above < 2 || set->n - n_above + 1 < p->min_keep)
        return;
    for (int i = 0; i < set->n; i++)
        if ((double)cand[i].weight < least || i == last)
            cand[kept++] = cand[i];
    set->n = kept;
}
