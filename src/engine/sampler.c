/*
 * sampler: see the header. What may be drawn, the stages in their order, the draw, and the log
 * probabilities; the stages themselves are in sampler_penalty.c, sampler_cut.c and
 * sampler_mirostat.c.
 */
#include "engine/sampler.h"
#include "base/check.h"
#include "base/mem.h"
#include "base/rng.h"
#include "engine/sampler_math.h"
#include "engine/sampler_stage.h"

#include <float.h>
#include <stdlib.h>

#define DRAW_STREAM 0x6472617775ull /* "drawu": apart from other uses of the same seed */
#define COLDEST     1e-30

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
    double norm = row_log_sum(row, n_vocab, row[row_argmax(row, n_vocab)]);
    ret->id = id;
    ret->logprob = (float)((double)row[id] - norm);
    ret->n_top = 0;
    if (n_top > 0)
        find_top(row, n_vocab, n_top, ret);
    for (int i = 0; i < ret->n_top; i++)
        ret->top[i].logprob = (float)((double)ret->top[i].logprob - norm);
}

/* Of the candidates, whose weights are those of the draw. */
static void score_draw(const struct sampler_set *set, double sum, int i_drawn, int n_top,
                       struct sampler_result *ret)
{
    const struct sampler_candidate *cand = set->s->cand;
    ret->logprob = (float)sampler_log((double)cand[i_drawn].weight / sum);
    ret->n_top = 0;
    for (int i = 0; n_top > 0 && i < set->n; i++) {
        float w = cand[i].weight;
        if (w > 0 && (ret->n_top < n_top || w > ret->top[n_top - 1].logprob))
            top_insert(ret, n_top, cand[i].id, w);
    }
    for (int i = 0; i < ret->n_top; i++)
        ret->top[i].logprob = (float)sampler_log((double)ret->top[i].logprob / sum);
}

/* ---- temperature ---- */

/*
 * Zhu et al., "Hot or cold? Adaptive temperature sampling" (2023) had the idea; the formula is
 * llama.cpp's: between T - range and T + range, by the entropy.
 */
static double temperature_of(struct sampler_set *set, const struct sampling *p)
{
    double t = p->temperature, sum;
    if (p->dynatemp_range > 0 && set->n > 1) {
        double least = t > p->dynatemp_range ? t - p->dynatemp_range : 0;
        double part = set_entropy(set, &sum) / sampler_log(set->n);
        part = part > 0 ? part < 1 ? part : 1 : 0;
        part = part > 0 ? sampler_pow(part, p->dynatemp_exponent) : 0;
        t = least + (t + p->dynatemp_range - least) * part;
    }
    return t > COLDEST ? t : COLDEST;
}

static void stage_temperature(struct sampler_set *set, const struct sampling *p)
{
    set_gather(set, -INFINITY);
    struct sampler_candidate *cand = set->s->cand;
    float inverse = (float)(1.0 / temperature_of(set, p)), max = -INFINITY;
    if (inverse == 1.0f)
        return;
    for (int i = 0; i < set->n; i++)
        max = cand[i].logit > max ? cand[i].logit : max;
    for (int i = 0; i < set->n; i++)
        cand[i].logit = (cand[i].logit - max) * inverse;
    if (set->n > 0)
        set->shift = (set->shift + (double)max) * (double)inverse;
}

/* ---- the draw ---- */

/* Which candidate; their weights are set, *ret_sum their sum. */
static int draw(struct sampler_set *set, const struct sampling *p, int position, double *ret_sum)
{
    double sum = set_weigh(set);
    double at = sum * rng_uniform(p->seed, DRAW_STREAM, (uint64_t)position);
    int last = 0;
    for (int i = 0; i < set->n; i++) {
        if (set->s->cand[i].weight <= 0)
            continue;
        last = i;
        at -= (double)set->s->cand[i].weight;
        if (at < 0)
            break;
    }
    *ret_sum = sum;
    return last;
}

static void run_stage(struct sampler_set *set, char letter, const struct sampling *p,
                      const struct sampler_history *h, bool is_greedy)
{
    if (letter == 'e')
        stage_penalties(set, p, h);
    else if (letter == 'd')
        stage_dry(set, p, h);
    if (is_greedy)
        return;
    if (letter == 't')
        stage_temperature(set, p);
    if (p->mirostat)
        return;
    if (letter == 's')
        stage_top_n_sigma(set, p);
    else if (letter == 'k')
        stage_top_k(set, p);
    else if (letter == 'y')
        stage_typical(set, p);
    else if (letter == 'p')
        stage_top_p(set, p);
    else if (letter == 'm')
        stage_min_p(set, p);
    else if (letter == 'x')
        stage_xtc(set, p, h->n_token);
}

/* A broken model may give NaN or infinity: they must not reach the arithmetic below. */
static void make_finite(float *row, int n)
{
    for (int i = 0; i < n; i++) {
        float x = row[i] > FLT_MAX ? FLT_MAX : row[i];
        row[i] = x == x ? x : -INFINITY;
    }
}

static void pick_greedy(struct sampler_set *set, struct sampler_result *ret)
{
    int32_t id = row_argmax(set->row, set->s->n_vocab);
    if (set->row[id] == -INFINITY)
        return;
    ret->id = id;
    ret->logprob = 0;
    ret->top[0] = (struct sampler_top){id, 0};
}

static void pick_drawn(struct sampler_set *set, const struct sampling *p,
                       const struct sampler_history *h, int n_top, struct sampler_result *ret)
{
    double sum;
    if (p->mirostat)
        stage_mirostat(set, p, h->mu);
    set_gather(set, -INFINITY);
    if (set->n == 0)
        return;
    int i = draw(set, p, h->n_token, &sum);
    ret->id = set->s->cand[i].id;
    if (p->mirostat)
        ret->mu = mirostat_learn(p, h->mu, (double)set->s->cand[i].weight / sum);
    if (p->post_probs && n_top >= 0)
        score_draw(set, sum, i, n_top, ret);
}

void sampler_pick(struct sampler_scratch *s, float *row, const struct sampling *p,
                  const struct sampler_history *h, const struct sampler_ban *ban, int n_top,
                  struct sampler_result *ret)
{
    struct sampler_set set = {.s = s, .row = row, .n = -1};
    bool is_greedy = p->temperature <= 0 && p->dynatemp_range <= 0;
    bool is_raw = n_top >= 0 && !p->post_probs;
    *ret = (struct sampler_result){.id = SAMPLER_NONE, .logprob = NAN, .mu = h->mu};
    make_finite(row, s->n_vocab);
    if (is_raw)
        memcpy(s->raw, row, (size_t)s->n_vocab * sizeof(*row));
    stage_bias(&set, p);
    stage_ban(&set, p, h, ban);
    for (const char *stage = p->order[0] ? p->order : SAMPLER_ORDER; *stage; stage++)
        run_stage(&set, *stage, p, h, is_greedy);
    if (is_greedy)
        pick_greedy(&set, ret);
    else
        pick_drawn(&set, p, h, n_top, ret);
    if (is_greedy && p->post_probs)
        ret->n_top = ret->id >= 0 && n_top > 0;
    if (n_top < 0 || ret->id < 0)
        ret->logprob = NAN;
    else if (is_raw)
        sampler_score(s->raw, s->n_vocab, ret->id, n_top, ret);
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
