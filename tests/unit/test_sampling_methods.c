/*
 * Every method of the sampler against its definition, written down here once more with sorts, in
 * doubles and with the C library: what is drawn many times follows the distribution (chi-square),
 * and nothing outside its support is drawn, in the usual order of stages and in others.
 */
#include "base/mem.h"
#include "base/rng.h"
#include "engine/sampler.h"
#include "engine/sampler_math.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define N       40
#define N_DRAWS 6000

static struct sampler_scratch scratch;

static struct sampling plain(void)
{
    return (struct sampling){.temperature = 1,
                             .dynatemp_exponent = 1,
                             .top_p = 1,
                             .typical_p = 1,
                             .xtc_threshold = 0.1,
                             .repeat_penalty = 1,
                             .repeat_last_n = 64,
                             .dry_base = 1.75,
                             .dry_allowed_length = 2,
                             .dry_last_n = -1,
                             .mirostat_tau = 5,
                             .mirostat_eta = 0.1};
}

static void fill_row(float *row, uint64_t seed)
{
    for (int i = 0; i < N; i++) {
        row[i] = (float)(rng_uniform(seed, 9, (uint64_t)i) * 7);
        if (i % 5 == 4 && seed % 2)
            row[i] = row[i - 1]; /* ties */
    }
}

/* ---- the definitions ---- */

struct item {
    int id;
    double logit, p, key;
};

struct list {
    struct item it[N];
    int n;
};

static int by_key(const void *a, const void *b)
{
    const struct item *x = a, *y = b;
    if (x->key != y->key)
        return x->key > y->key ? -1 : 1;
    return x->id - y->id;
}

/* Probabilities, and descending order of logits. */
static void normalize(struct list *l)
{
    double max = -INFINITY, sum = 0;
    for (int i = 0; i < l->n; i++)
        max = fmax(max, l->it[i].logit);
    for (int i = 0; i < l->n; i++)
        sum += l->it[i].p = exp(l->it[i].logit - max);
    for (int i = 0; i < l->n; i++) {
        l->it[i].p /= sum;
        l->it[i].key = l->it[i].logit;
    }
    qsort(l->it, (size_t)l->n, sizeof(l->it[0]), by_key);
}

/* The first of the list whose mass reaches target, and min_keep. */
static void keep_mass(struct list *l, double target, int min_keep)
{
    double sum = 0;
    for (int i = 0; i < l->n; i++) {
        sum += l->it[i].p;
        if (sum >= target && i + 1 >= min_keep) {
            l->n = i + 1;
            return;
        }
    }
}

static double entropy_of(const struct list *l)
{
    double h = 0;
    for (int i = 0; i < l->n; i++)
        h -= l->it[i].p > 0 ? l->it[i].p * log(l->it[i].p) : 0;
    return h;
}

static double *find(struct list *l, int id)
{
    for (int i = 0; i < l->n; i++)
        if (l->it[i].id == id)
            return &l->it[i].logit;
    return NULL;
}

static void def_penalties(struct list *l, const struct sampling *p, const struct sampler_history *h)
{
    int64_t from = p->repeat_last_n < 0 ? 0 : h->n_token - p->repeat_last_n;
    int64_t from2 = p->count_last_n == 0  ? h->n_prompt
                    : p->count_last_n < 0 ? 0
                                          : h->n_token - p->count_last_n;
    for (int id = 0; id < N; id++) {
        double *x = find(l, id);
        int n = 0, n2 = 0;
        for (int i = 0; i < h->n_token; i++) {
            n += h->token[i] == id && i >= from;
            n2 += h->token[i] == id && i >= from2;
        }
        if (x && n > 0)
            *x = *x > 0 ? *x / p->repeat_penalty : *x * p->repeat_penalty;
        if (x && n2 > 0)
            *x -= p->presence_penalty + n2 * p->frequency_penalty;
    }
}

/* By trying every place and every length. breaker: a token that ends repetitions, or -1. */
static void def_dry(struct list *l, const struct sampling *p, const struct sampler_history *h,
                    int breaker)
{
    int from =
        p->dry_last_n < 0 || p->dry_last_n > h->n_token ? 0 : h->n_token - (int)p->dry_last_n;
    int longest[N] = {0};
    for (int at = from + 1; at < h->n_token; at++) { /* token[at] followed token[at - len, at) */
        int len = 0;
        while (at - len - 1 >= from && h->token[at - len - 1] == h->token[h->n_token - len - 1] &&
               h->token[at - len - 1] != breaker)
            len++;
        if (len > longest[h->token[at]])
            longest[h->token[at]] = len;
    }
    for (int id = 0; id < N; id++) {
        double *x = find(l, id);
        if (x && p->dry_multiplier > 0 && longest[id] >= p->dry_allowed_length)
            *x -=
                p->dry_multiplier * pow(p->dry_base, (double)(longest[id] - p->dry_allowed_length));
    }
}

static void def_typical(struct list *l, const struct sampling *p)
{
    if (p->typical_p >= 1)
        return;
    double h = entropy_of(l);
    for (int i = 0; i < l->n; i++)
        l->it[i].key = (double)(float)-fabs(-log(l->it[i].p) - h);
    qsort(l->it, (size_t)l->n, sizeof(l->it[0]), by_key);
    keep_mass(l, p->typical_p, (int)p->min_keep);
}

static void keep_above(struct list *l, double least, int min_keep)
{
    int n = 0;
    while (n < l->n && (l->it[n].logit >= least - 1e-6 || n < min_keep))
        n++;
    l->n = n;
}

static void def_sigma(struct list *l, const struct sampling *p)
{
    double mean = 0, var = 0;
    if (p->top_n_sigma <= 0)
        return;
    for (int i = 0; i < l->n; i++)
        mean += l->it[i].logit / l->n;
    for (int i = 0; i < l->n; i++)
        var += (l->it[i].logit - mean) * (l->it[i].logit - mean) / l->n;
    keep_above(l, l->it[0].logit - p->top_n_sigma * sqrt(var), (int)p->min_keep);
}

static void def_xtc(struct list *l, const struct sampling *p)
{
    int n = 0;
    while (n < l->n && l->it[n].p >= p->xtc_threshold)
        n++;
    if (n < 2 || p->xtc_threshold > 0.5 || l->n - n + 1 < p->min_keep)
        return;
    memmove(l->it, l->it + n - 1, (size_t)(l->n - n + 1) * sizeof(l->it[0]));
    l->n -= n - 1;
}

static void def_temperature(struct list *l, const struct sampling *p)
{
    double t = p->temperature;
    if (p->dynatemp_range > 0 && l->n > 1) {
        double least = fmax(0, t - p->dynatemp_range), most = t + p->dynatemp_range;
        t = least + (most - least) * pow(entropy_of(l) / log(l->n), p->dynatemp_exponent);
    }
    for (int i = 0; i < l->n; i++)
        l->it[i].logit /= t;
}

static void def_mirostat(struct list *l, const struct sampling *p, double mu)
{
    if (p->mirostat == 2) {
        int n = 1;
        while (n < l->n && -log2(l->it[n].p) <= mu)
            n++;
        l->n = n;
        return;
    }
    double tb = 0, tt = 0;
    for (int i = 0; i + 1 < l->n && i < 99; i++) {
        double t = log((i + 2.0) / (i + 1.0));
        tb += t * log(l->it[i].p / l->it[i + 1].p);
        tt += t * t;
    }
    double s = tb / tt, e = s - 1;
    double k = pow(e * pow(2, mu) / (1 - pow(N, -e)), 1 / s);
    l->n = k < 1 ? 1 : k < l->n ? (int)k : l->n;
}

/* One way through the stages: what can be drawn, and with which probability. */
static void define(const float *row, const struct sampling *p, const struct sampler_history *h,
                   int breaker, bool coin, double *ret)
{
    struct list l = {.n = N};
    for (int i = 0; i < N; i++)
        l.it[i] = (struct item){i, (double)row[i], 0, 0};
    for (const char *c = p->order[0] ? p->order : "edskypmxt"; *c; c++) {
        normalize(&l);
        if (*c == 'e')
            def_penalties(&l, p, h);
        else if (*c == 'd')
            def_dry(&l, p, h, breaker);
        else if (*c == 't')
            def_temperature(&l, p);
        else if (p->mirostat)
            continue;
        else if (*c == 's')
            def_sigma(&l, p);
        else if (*c == 'k' && p->top_k > 0)
            l.n = l.n < p->top_k ? l.n : p->top_k > p->min_keep ? (int)p->top_k : (int)p->min_keep;
        else if (*c == 'y')
            def_typical(&l, p);
        else if (*c == 'p' && p->top_p < 1)
            keep_mass(&l, p->top_p, (int)p->min_keep);
        else if (*c == 'm' && p->min_p > 0)
            keep_above(&l, l.it[0].logit + log(p->min_p), (int)p->min_keep);
        else if (*c == 'x' && coin)
            def_xtc(&l, p);
    }
    normalize(&l);
    if (p->mirostat) {
        def_mirostat(&l, p, h->mu);
        normalize(&l);
    }
    memset(ret, 0, N * sizeof(*ret));
    for (int i = 0; i < l.n; i++)
        ret[l.it[i].id] = l.it[i].p;
}

/* ---- the comparison ---- */

static struct sampler_result pick(const float *row, const struct sampling *p,
                                  const struct sampler_history *h, int n_top)
{
    struct sampler_result r;
    struct sampler_ban none = {0};
    float copy[N];
    memcpy(copy, row, sizeof(copy));
    sampler_pick(&scratch, copy, p, h, &none, n_top, &r);
    for (int i = 0; i < N; i++)
        assert_int_equal(scratch.count[i], 0); /* between calls */
    return r;
}

static void check(const char *what, const struct sampling *settings, const int32_t *token,
                  int n_prompt, int n_token, double mu, int breaker)
{
    for (uint64_t seed = 1; seed <= 3; seed++) {
        float row[N];
        double want[N], with[N], chi = 0;
        int count[N] = {0}, df = -1;
        struct sampling p = *settings;
        struct sampler_history h = {token, n_token, n_prompt, mu};
        fill_row(row, seed);
        define(row, &p, &h, breaker, false, want);
        define(row, &p, &h, breaker, true, with);
        for (int i = 0; i < N; i++)
            want[i] += p.xtc_probability * (with[i] - want[i]);
        for (int k = 0; k < N_DRAWS; k++) {
            p.seed = seed << 32 | (uint64_t)k;
            struct sampler_result r = pick(row, &p, &h, -1);
            count[r.id]++;
        }
        for (int i = 0; i < N; i++) {
            double e = want[i] * N_DRAWS;
            if (want[i] == 0 && count[i] > 0)
                fail_msg("%s, row %d: token %d was drawn, but may not be", what, (int)seed, i);
            if (e < 5)
                continue;
            chi += (count[i] - e) * (count[i] - e) / e;
            df++;
        }
        if (df > 0 && chi > df + 4.5 * sqrt(2 * df) + 4)
            fail_msg("%s, row %d: chi-square %g for %d degrees", what, (int)seed, chi, df);
    }
}

static void check_plain(const char *what, const struct sampling *p)
{
    static const int32_t none[1] = {0};
    check(what, p, none, 1, 1, sampler_mu_init(p), -1);
}

static const int32_t repeating[] = {1, 2, 3, 4, 5, 2, 3, 4, 6, 2, 3, 4, 7, 9, 9, 1, 2, 3, 4};
#define N_REPEATING ((int)ARRAY_LEN(repeating))

static void test_truncation(void **state)
{
    (void)state;
    struct sampling p = plain();
    check_plain("nothing", &p);
    p.temperature = 0.6;
    check_plain("temperature", &p);
    p = plain();
    p.top_n_sigma = 1;
    check_plain("top-n-sigma", &p);
    p.temperature = 3;
    check_plain("top-n-sigma, hot", &p);
    p = plain();
    p.top_k = 7;
    check_plain("top-k", &p);
    p = plain();
    p.typical_p = 0.5;
    check_plain("typical", &p);
    p = plain();
    p.top_p = 0.7;
    check_plain("top-p", &p);
    p = plain();
    p.min_p = 0.2;
    check_plain("min-p", &p);
    p.min_keep = 30;
    p.top_p = 0.01;
    p.top_k = 2;
    p.typical_p = 0.1;
    p.top_n_sigma = 0.1;
    check_plain("min_keep", &p);
}

static void test_xtc(void **state)
{
    (void)state;
    struct sampling p = plain();
    p.xtc_probability = 1;
    p.xtc_threshold = 0.05;
    check_plain("always", &p);
    p.xtc_probability = 0.4;
    check_plain("now and then", &p);
    p.temperature = 0.7;
    p.top_p = 0.9;
    check_plain("after top-p", &p);
    p.min_keep = 38;
    check_plain("min_keep", &p);
    p.min_keep = 0;
    p.xtc_threshold = 0.6;
    check_plain("off", &p);
}

static void test_dynamic_temperature(void **state)
{
    (void)state;
    struct sampling p = plain();
    p.dynatemp_range = 0.5;
    check_plain("range", &p);
    p.dynatemp_exponent = 2.5;
    p.temperature = 0.3;
    check_plain("exponent, from 0", &p);
    p.temperature = 0; /* is no greed then */
    p.top_k = 5;
    check_plain("around 0", &p);
}

static void test_penalties(void **state)
{
    (void)state;
    struct sampling p = plain();
    p.repeat_penalty = 1.7;
    p.repeat_last_n = 6;
    check("a window", &p, repeating, 8, N_REPEATING, 0, -1);
    p.repeat_last_n = -1;
    p.presence_penalty = 0.5;
    p.frequency_penalty = 0.4;
    check("the generated", &p, repeating, 8, N_REPEATING, 0, -1);
    p.count_last_n = 7;
    check("a window of counts", &p, repeating, 14, N_REPEATING, 0, -1);
    p.count_last_n = -1;
    check("all", &p, repeating, 14, N_REPEATING, 0, -1);
}

static bool letters(void *ctx, int32_t id, struct buf *out)
{
    (void)ctx;
    return buf_add_char(out, (char)(id + 'A'));
}

static void test_dry(void **state)
{
    (void)state;
    struct err err;
    struct sampling p = plain();
    struct token_text *text;
    const struct str breaker = STR("D"); /* token 3 */
    const struct str longer = STR("CDE");
    p.dry_multiplier = 0.8;
    check("all", &p, repeating, 8, N_REPEATING, 0, -1);
    p.dry_allowed_length = 4;
    check("long ones", &p, repeating, 8, N_REPEATING, 0, -1);
    p.dry_allowed_length = 1;
    p.dry_last_n = 9;
    check("a window", &p, repeating, 8, N_REPEATING, 0, -1);
    p.dry_last_n = -1;
    assert_int_equal(token_text_new(N, letters, NULL, &text, &err), 0);
    p.text = text;
    p.n_dry_breaker = 1;
    p.dry_breaker = &breaker;
    check("a breaker", &p, repeating, 8, N_REPEATING, 0, 3);
    p.dry_breaker = &longer; /* in three tokens, at the end: nothing is a repetition */
    check("a breaker across tokens", &p, repeating, 8, N_REPEATING, 0, 4);
    token_text_free(text);
    /* random texts of few tokens, against every place and length */
    p = plain();
    p.dry_multiplier = 0.1;
    p.dry_base = 1.1;
    for (uint64_t s = 0; s < 60; s++) {
        int32_t token[60];
        float row[N];
        double want[N];
        for (int i = 0; i < 60; i++)
            token[i] = (int32_t)(rng_uniform(s, 1, (uint64_t)i) * 2.5);
        struct sampler_history h = {token, 60, 5, 0};
        p.dry_last_n = s % 3 ? -1 : 20;
        fill_row(row, s);
        define(row, &p, &h, -1, false, want);
        struct sampling q = p;
        q.post_probs = true;
        struct sampler_result r = pick(row, &q, &h, SAMPLER_TOP_MAX);
        for (int i = 0; i < r.n_top; i++)
            assert_true(fabs(exp((double)r.top[i].logprob) - want[r.top[i].id]) < 1e-5);
    }
}

static void test_mirostat(void **state)
{
    (void)state;
    static const double mu[] = {0.5, 2, 3, 4.5, 10};
    static const int32_t none[1] = {0};
    for (int version = 1; version <= 2; version++) {
        for (size_t i = 0; i < ARRAY_LEN(mu); i++) {
            struct sampling p = plain();
            p.mirostat = version;
            p.top_k = 1; /* has no effect */
            check("mirostat", &p, none, 1, 1, mu[i], -1);
            p.temperature = 1.5;
            check("mirostat, hot", &p, none, 1, 1, mu[i], -1);
        }
    }
    /* what it learns, from the probability of the draw; and it brings surprise near tau */
    struct sampling p = plain();
    p.mirostat = 2;
    p.mirostat_tau = 2;
    p.post_probs = true;
    double now = sampler_mu_init(&p), sum = 0;
    for (int i = 0; i < 4000; i++) {
        float row[N];
        fill_row(row, (uint64_t)i);
        struct sampler_history h = {none, i, 0, now};
        int32_t token[1] = {0};
        h.token = token;
        h.n_prompt = i;
        p.repeat_last_n = 0;
        struct sampler_result r = pick(row, &p, &h, 0);
        double surprise = -(double)r.logprob / log(2);
        assert_true(fabs(r.mu - (now - 0.1 * (surprise - 2))) < 1e-5);
        now = r.mu;
        sum += surprise;
    }
    assert_true(fabs(sum / 4000 - 2) < 0.05);
}

static void test_orders(void **state)
{
    (void)state;
    static const char *const orders[] = {"tkypm", "pkt",  "xpt", "tpx", "kpe",       "ted",
                                         "mtk",   "skpt", "yp",  "py",  "txmpyksde", "-"};
    for (size_t i = 0; i < ARRAY_LEN(orders); i++) {
        struct sampling p = plain();
        strcpy(p.order, orders[i]);
        p.temperature = 1.6;
        p.top_k = 25;
        p.typical_p = 0.9;
        p.top_p = 0.85;
        p.min_p = 0.03;
        p.top_n_sigma = 1.8;
        p.xtc_probability = 0.5;
        p.xtc_threshold = 0.07;
        p.repeat_penalty = 1.4;
        p.presence_penalty = 0.3;
        p.dry_multiplier = 0.5;
        bool has_xtc = strchr(orders[i], 'x') != NULL;
        if (!has_xtc)
            p.xtc_probability = 0;
        check(orders[i], &p, repeating, 8, N_REPEATING, 0, -1);
    }
}

/* All equal: what a cut leaves are the lowest ids; one left is drawn; nothing left is said. */
static void test_edges(void **state)
{
    (void)state;
    static const int32_t none[1] = {0};
    struct sampler_history h = {none, 1, 1, 3};
    float row[N];
    for (int i = 0; i < N; i++)
        row[i] = i % 2 ? 1.5f : NAN;
    for (int mirostat = 0; mirostat <= 2; mirostat++) {
        for (int k = 0; k < 300; k++) {
            struct sampling p = plain();
            p.seed = (uint64_t)k;
            p.mirostat = mirostat;
            p.top_k = 3;
            p.top_n_sigma = 1;
            p.dynatemp_range = 0.9;
            p.xtc_probability = 1;
            p.typical_p = 0.999;
            struct sampler_result r = pick(row, &p, &h, -1);
            assert_int_equal(r.id % 2, 1);
            assert_true(isfinite(r.mu));
            assert_true(mirostat || r.id == 5); /* 1, 3, 5: XTC leaves the last */
        }
    }
    for (int i = 0; i < N; i++)
        row[i] = i == 11 ? -4 : -INFINITY;
    for (int mirostat = 0; mirostat <= 2; mirostat++) {
        struct sampling p = plain();
        p.mirostat = mirostat;
        p.dynatemp_range = 2;
        p.xtc_probability = 1;
        p.top_n_sigma = 1;
        p.typical_p = 0.2;
        p.post_probs = true;
        struct sampler_result r = pick(row, &p, &h, 5);
        assert_int_equal(r.id, 11);
        assert_true(r.logprob == 0 && r.n_top == 1 && r.top[0].id == 11);
        row[11] = NAN;
        r = pick(row, &p, &h, 5);
        assert_int_equal(r.id, SAMPLER_NONE);
        assert_true(isnan(r.logprob) && r.n_top == 0);
        row[11] = -4;
    }
}

static void test_mask_and_bans(void **state)
{
    (void)state;
    static const int32_t none[1] = {0}, end[] = {3, 1000, -1};
    struct sampler_history h = {none, 1, 1, 0};
    uint32_t mask[] = {0xf0f0000f, 0x0000000f};
    struct sampling_bias force[] = {{3, 100}, {4, 100}};
    for (int k = 0; k < 200; k++) {
        float row[N];
        struct sampling p = plain();
        struct sampler_ban ban = {end, 3, mask};
        struct sampler_result r;
        fill_row(row, (uint64_t)k);
        p.seed = (uint64_t)k;
        sampler_pick(&scratch, row, &p, &h, &ban, -1, &r);
        assert_true(mask[r.id / 32] >> r.id % 32 & 1 && r.id != 3);
        fill_row(row, (uint64_t)k);
        p.bias = force; /* 3 is banned, 4 is not in the mask */
        p.n_bias = 2;
        sampler_pick(&scratch, row, &p, &h, &ban, -1, &r);
        assert_int_equal(r.id, SAMPLER_NONE);
    }
}

/* ---- banned strings ---- */

static const char *const words[] = {"a", "b", "ab", "aba", "bab", "c", "", "abc", "ca", "bb"};

static bool word(void *ctx, int32_t id, struct buf *out)
{
    (void)ctx;
    return (size_t)id >= ARRAY_LEN(words) || buf_add_z(out, words[id]);
}

/* Texts that are drawn never hold one; nothing else is forbidden. */
static void test_banned_strings(void **state)
{
    (void)state;
    struct err err;
    struct token_text *text;
    struct banned *banned;
    const struct str needle[] = {STR("abab"), STR("cc"), STR("bbb"), STR("aca")};
    assert_int_equal(token_text_new(N, word, NULL, &text, &err), 0);
    assert_int_equal(banned_new(text, needle, ARRAY_LEN(needle), &banned, &err), 0);
    int n_forbidden = 0;
    for (uint64_t seed = 0; seed < 300; seed++) {
        int32_t token[40] = {0, 5}; /* the prompt ends with a c: that is not the answer's */
        char so_far[400] = "";
        for (int n = 2; n < 40; n++) {
            float row[N];
            for (int i = 0; i < N; i++)
                row[i] = (size_t)i < ARRAY_LEN(words) ? 0 : -INFINITY;
            banned_apply(banned, token + 2, n - 2, row);
            for (size_t i = 0; i < ARRAY_LEN(words); i++) {
                char next[420];
                snprintf(next, sizeof(next), "%s%s", so_far, words[i]);
                bool bad = strstr(next, "abab") || strstr(next, "cc") || strstr(next, "bbb") ||
                           strstr(next, "aca");
                assert_int_equal(row[i] == -INFINITY, bad);
                n_forbidden += bad;
            }
            struct sampling p = plain();
            p.seed = seed;
            p.banned = banned;
            for (size_t i = 0; i < ARRAY_LEN(words); i++)
                row[i] = 0;
            struct sampler_history h = {token, n, 2, 0};
            struct sampler_result r = pick(row, &p, &h, -1);
            token[n] = r.id;
            strcat(so_far, words[r.id]);
            assert_null(strstr(so_far, "abab"));
        }
    }
    assert_true(n_forbidden > 5000);
    banned_free(banned);
    token_text_free(text);
}

static void test_functions(void **state)
{
    (void)state;
    for (int i = 0; i < 20000; i++) {
        double x = (rng_uniform(1, 2, (uint64_t)i) - 0.5) * 1400, y = fabs(x) * 1e-3 + 1e-9;
        assert_true(fabs(sampler_exp(x) - exp(x)) <= 4e-15 * exp(x) + 1e-300);
        assert_true(fabs(sampler_log(y) - log(y)) <= 4e-16 * fabs(log(y)) + 3e-16);
        assert_true(fabs(sampler_pow(y, 3.7) - pow(y, 3.7)) <= 1e-13 * pow(y, 3.7));
    }
    assert_true(isinf(sampler_log(0)) && sampler_log(0) < 0 && sampler_exp(-1e9) == 0);
    assert_true(fabs(sampler_log(5e-324) - log(5e-324)) < 1e-12);
}

static int set_up(void **state)
{
    (void)state;
    struct err err;
    return sampler_scratch_init(&scratch, N, &err);
}

static int tear_down(void **state)
{
    (void)state;
    sampler_scratch_release(&scratch);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_functions),
        cmocka_unit_test(test_truncation),
        cmocka_unit_test(test_xtc),
        cmocka_unit_test(test_dynamic_temperature),
        cmocka_unit_test(test_penalties),
        cmocka_unit_test(test_dry),
        cmocka_unit_test(test_mirostat),
        cmocka_unit_test(test_orders),
        cmocka_unit_test(test_edges),
        cmocka_unit_test(test_mask_and_bans),
        cmocka_unit_test(test_banned_strings),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
