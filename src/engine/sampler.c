/*
 * sampler: see the header. Invariant: candidates stay in ascending order of id through every
 * cut, which makes each stage, and the draw, independent of how it was found.
 */
#include "engine/sampler.h"
#include "base/check.h"
#include "base/mem.h"
#include "base/rng.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define DRAW_STREAM 0x6472617775ull /* "drawu": apart from other uses of the same seed */
#define LANES       8
#define GROUP       64    /* logits whose greatest stands for them, to find a floor */
#define MIN_P_SLACK 0.01f /* more than min-p's own rounding, in logits: it has the last word */

/*
 * e^x for x <= 0, relative error below 3e-7. 2^t is split into a whole power and 2^f with f in
 * [-0.5, 0.5], a Taylor polynomial of degree 6. Written so that compilers vectorize it.
 */
static inline float exp_neg(float x)
{
    float t = x * 1.44269504f;
    t = t < -126.0f ? -126.0f : t;
    int whole = (int)(t - 0.5f);
    float f = (t - (float)whole) * 0.693147181f;
    float y = 1.0f / 720;
    y = y * f + 1.0f / 120;
    y = y * f + 1.0f / 24;
    y = y * f + 1.0f / 6;
    y = y * f + 0.5f;
    y = y * f + 1.0f;
    y = y * f + 1.0f;
    uint32_t bits = (uint32_t)(whole + 127) << 23;
    float scale;
    memcpy(&scale, &bits, sizeof(scale));
    return x < -87.0f ? 0.0f : y * scale;
}

/* Maps floats to integers of the same order. */
static inline uint32_t key_of(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof(bits));
    return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

/* The greatest of row[0..n), NaN left out; -INFINITY for none. In lanes, for vectors. */
static float greatest(const float *row, int n)
{
    float lane[LANES], max = -INFINITY;
    int i = 0;
    for (int k = 0; k < LANES; k++)
        lane[k] = -INFINITY;
    for (; i + LANES <= n; i += LANES)
        for (int k = 0; k < LANES; k++)
            lane[k] = row[i + k] > lane[k] ? row[i + k] : lane[k];
    for (; i < n; i++)
        max = row[i] > max ? row[i] : max;
    for (int k = 0; k < LANES; k++)
        max = lane[k] > max ? lane[k] : max;
    return max;
}

/* The lowest id of the greatest logit; NaN is never greater. */
static int32_t argmax(const float *row, int n)
{
    int32_t best = 0;
    float max = -INFINITY;
    for (int i = 0; i < n; i++) {
        if (row[i] > max) {
            max = row[i];
            best = i;
        }
    }
    return best;
}

/* log sum exp, summed in LANES fixed lanes; NaN logits count as absent. */
static double log_sum(const float *row, int n, float max)
{
    double lane[LANES] = {0};
    int i = 0;
    for (; i + LANES <= n; i += LANES) {
        for (int k = 0; k < LANES; k++) {
            float x = row[i + k] - max;
            lane[k] += (double)(x == x ? exp_neg(x) : 0.0f);
        }
    }
    for (; i < n; i++) {
        float x = row[i] - max;
        lane[0] += (double)(x == x ? exp_neg(x) : 0.0f);
    }
    double sum = 0;
    for (int k = 0; k < LANES; k++)
        sum += lane[k];
    return (double)max + log(sum);
}

/* ---- log probabilities ---- */

/* Insertion into a short descending list; ascending ids come in, so equals keep their order. */
static void top_insert(struct sampler_result *r, int n_top, int32_t id, float logit)
{
    int at = r->n_top < n_top ? r->n_top++ : n_top - 1;
    for (; at > 0 && r->top[at - 1].logprob < logit; at--)
        r->top[at] = r->top[at - 1];
    r->top[at] = (struct sampler_top){id, logit};
}

static void find_top(const float *row, int n, int n_top, struct sampler_result *r)
{
    r->n_top = 0;
    for (int i = 0; i < n; i++) {
        bool better = r->n_top < n_top || row[i] > r->top[n_top - 1].logprob;
        if (better && row[i] == row[i])
            top_insert(r, n_top, i, row[i]);
    }
}

void sampler_score(const float *row, int n_vocab, int32_t id, int n_top, struct sampler_result *ret)
{
    CHECK(id >= 0 && id < n_vocab && n_top >= 0 && n_top <= SAMPLER_TOP_MAX);
    double norm = log_sum(row, n_vocab, row[argmax(row, n_vocab)]);
    ret->id = id;
    ret->logprob = (float)((double)row[id] - norm);
    ret->n_top = 0;
    if (n_top > 0)
        find_top(row, n_vocab, n_top, ret);
    for (int i = 0; i < ret->n_top; i++)
        ret->top[i].logprob = (float)((double)ret->top[i].logprob - norm);
}

/* A broken model may give NaN or infinity: they must not reach the arithmetic below. */
static void make_finite(float *row, int n)
{
    for (int i = 0; i < n; i++) {
        float x = row[i] > FLT_MAX ? FLT_MAX : row[i];
        row[i] = x == x ? x : -INFINITY;
    }
}

/* ---- penalties and bias: few tokens, changed in place ---- */

static void repeat_penalty(struct sampler_scratch *s, float *row, const struct sampling *p,
                           const struct sampler_history *h)
{
    int64_t window = p->repeat_last_n < 0 ? h->n_token : p->repeat_last_n;
    int from = window < h->n_token ? h->n_token - (int)window : 0;
    float penalty = (float)p->repeat_penalty;
    if (penalty == 1.0f)
        return;
    for (int i = from; i < h->n_token; i++) {
        int32_t id = h->token[i];
        CHECK(id >= 0 && id < s->n_vocab);
        if (s->count[id]++ == 0)
            row[id] = row[id] > 0 ? row[id] / penalty : row[id] * penalty;
    }
    for (int i = from; i < h->n_token; i++)
        s->count[h->token[i]] = 0;
}

static void count_penalties(struct sampler_scratch *s, float *row, const struct sampling *p,
                            const struct sampler_history *h)
{
    float presence = (float)p->presence_penalty, frequency = (float)p->frequency_penalty;
    if (presence == 0 && frequency == 0)
        return;
    for (int i = h->n_prompt; i < h->n_token; i++) {
        CHECK(h->token[i] >= 0 && h->token[i] < s->n_vocab);
        s->count[h->token[i]]++;
    }
    for (int i = h->n_prompt; i < h->n_token; i++) {
        int32_t id = h->token[i];
        if (s->count[id] > 0)
            row[id] -= presence + frequency * (float)s->count[id];
        s->count[id] = 0;
    }
}

static void apply_bias(struct sampler_scratch *s, float *row, const struct sampling *p)
{
    bool forced = false;
    for (size_t i = 0; i < p->n_bias; i++) {
        int32_t id = p->bias[i].token;
        if (id < 0 || id >= s->n_vocab)
            continue;
        row[id] = p->bias[i].bias <= -100.0f ? -INFINITY : row[id] + p->bias[i].bias;
        if (p->bias[i].bias >= 100.0f) {
            s->count[id] = 1;
            forced = true;
        }
    }
    if (!forced)
        return;
    for (int i = 0; i < s->n_vocab; i++) {
        row[i] = s->count[i] ? row[i] : -INFINITY;
        s->count[i] = 0;
    }
}

/* ---- truncation: each stage keeps a part of cand[0..n) and returns how many ---- */

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

static int keep_best(struct sampler_scratch *s, int n, double target)
{
    struct cut cut;
    if (!find_cut(s, n, target > DBL_MIN ? target : DBL_MIN, &cut))
        return n;
    int kept = 0;
    for (int i = 0; i < n; i++) {
        struct sampler_candidate c = s->cand[i];
        bool on_edge = c.key == cut.key && cut.sum < target;
        if (on_edge)
            cut.sum += (double)c.weight;
        if (c.key > cut.key || on_edge)
            s->cand[kept++] = c;
    }
    return kept;
}

/* Weights proportional to the probabilities of what is left; returns their sum. */
static double weigh(struct sampler_scratch *s, int n, float inv_temperature)
{
    float max = -INFINITY;
    for (int i = 0; i < n; i++)
        max = s->cand[i].logit > max ? s->cand[i].logit : max;
    double sum = 0;
    for (int i = 0; i < n; i++) {
        s->cand[i].weight = exp_neg((s->cand[i].logit - max) * inv_temperature);
        s->cand[i].key = key_of(s->cand[i].logit);
        sum += (double)s->cand[i].weight;
    }
    return sum;
}

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
        s->bin[key_of(greatest(row + (size_t)g * GROUP, GROUP)) >> 21] += 1;
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

/* The candidates at or above least, in ascending order of id; whole groups below it are passed. */
static int gather(struct sampler_scratch *s, const float *row, const struct sampling *p)
{
    bool cut = p->top_k > 0 && p->top_k < s->n_vocab;
    float least = cut ? floor_of(s, row, p->top_k) : -INFINITY;
    /* Nothing else comes before min-p: what it would drop need not be gathered. */
    if (!cut && p->top_p >= 1 && p->typical_p >= 1 && p->min_p > 0)
        least = greatest(row, s->n_vocab) + (float)log(p->min_p) - MIN_P_SLACK;
    int n = 0;
    for (int from = 0; from < s->n_vocab; from += GROUP) {
        int to = from + GROUP < s->n_vocab ? from + GROUP : s->n_vocab;
        if (!(greatest(row + from, to - from) >= least))
            continue;
        for (int i = from; i < to; i++)
            if (row[i] >= least && row[i] > -INFINITY)
                s->cand[n++] = (struct sampler_candidate){i, row[i], 1.0f, key_of(row[i])};
    }
    return cut ? keep_best(s, n, (double)p->top_k) : n;
}

/* Locally typical sampling (Meister et al., 2022): nearest to the entropy first. */
static int keep_typical(struct sampler_scratch *s, int n, double p)
{
    double sum = weigh(s, n, 1.0f), entropy = 0;
    for (int i = 0; i < n; i++) {
        double q = (double)s->cand[i].weight / sum;
        entropy -= q > 0 ? q * log(q) : 0;
    }
    for (int i = 0; i < n; i++) {
        double q = (double)s->cand[i].weight / sum;
        s->cand[i].key = key_of(q > 0 ? (float)-fabs(-log(q) - entropy) : -INFINITY);
    }
    return keep_best(s, n, p * sum);
}

static int keep_min_p(struct sampler_scratch *s, int n, double min_p)
{
    float max = -INFINITY;
    for (int i = 0; i < n; i++)
        max = s->cand[i].logit > max ? s->cand[i].logit : max;
    float least = max + (float)log(min_p);
    int kept = 0;
    for (int i = 0; i < n; i++)
        if (s->cand[i].logit >= least)
            s->cand[kept++] = s->cand[i];
    return kept;
}

static int truncate_all(struct sampler_scratch *s, const float *row, const struct sampling *p)
{
    int n = gather(s, row, p);
    if (p->typical_p < 1 && n > 1)
        n = keep_typical(s, n, p->typical_p);
    if (p->top_p < 1 && n > 1) {
        double sum = weigh(s, n, 1.0f);
        n = keep_best(s, n, p->top_p * sum);
    }
    if (p->min_p > 0 && n > 1)
        n = keep_min_p(s, n, p->min_p);
    return n;
}

static int32_t draw(struct sampler_scratch *s, int n, const struct sampling *p, int position)
{
    double cold = p->temperature > 1e-30 ? p->temperature : 1e-30;
    double sum = weigh(s, n, (float)(1.0 / cold));
    double at = sum * rng_uniform(p->seed, DRAW_STREAM, (uint64_t)position);
    int last = 0;
    for (int i = 0; i < n; i++) {
        if (s->cand[i].weight <= 0)
            continue;
        last = i;
        at -= (double)s->cand[i].weight;
        if (at < 0)
            break;
    }
    return s->cand[last].id;
}

void sampler_pick(struct sampler_scratch *s, float *row, const struct sampling *p,
                  const struct sampler_history *h, const struct sampler_ban *ban, int n_top,
                  struct sampler_result *ret)
{
    make_finite(row, s->n_vocab);
    if (n_top >= 0)
        memcpy(s->raw, row, (size_t)s->n_vocab * sizeof(*row));
    repeat_penalty(s, row, p, h);
    count_penalties(s, row, p, h);
    apply_bias(s, row, p);
    for (int i = 0; i < ban->n; i++)
        if (ban->token[i] >= 0 && ban->token[i] < s->n_vocab)
            row[ban->token[i]] = -INFINITY;
    int32_t id = argmax(row, s->n_vocab);
    if (p->temperature > 0) {
        int n = truncate_all(s, row, p);
        id = n > 0 ? draw(s, n, p, h->n_token) : id;
    }
    *ret = (struct sampler_result){.id = id, .logprob = NAN};
    if (n_top >= 0)
        sampler_score(s->raw, s->n_vocab, id, n_top, ret);
}

/* ---- memory ---- */

uint64_t sampler_scratch_bytes(int n_vocab)
{
    return (uint64_t)n_vocab *
               (sizeof(struct sampler_candidate) + sizeof(uint32_t) + sizeof(float)) +
           SAMPLER_BINS * sizeof(double);
}

int sampler_scratch_init(struct sampler_scratch *s, int n_vocab, struct err *err)
{
    *s = (struct sampler_scratch){.n_vocab = n_vocab};
    s->cand = mem_try_array((size_t)n_vocab, sizeof(*s->cand));
    s->count = mem_try_array((size_t)n_vocab, sizeof(*s->count));
    s->raw = mem_try_array((size_t)n_vocab, sizeof(*s->raw));
    s->bin = mem_try_array(SAMPLER_BINS, sizeof(*s->bin));
    if (!s->cand || !s->count || !s->raw || !s->bin) {
        sampler_scratch_release(s);
        return err_set(err, ERR_NOMEM, "no memory for a sampler over %d tokens", n_vocab);
    }
    return 0;
}

void sampler_scratch_release(struct sampler_scratch *s)
{
    free(s->cand);
    free(s->count);
    free(s->raw);
    free(s->bin);
    *s = (struct sampler_scratch){0};
}
