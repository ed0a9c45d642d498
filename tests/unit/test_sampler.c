/*
 * sampler: every stage against a plain sort-based reference, on random rows with many ties; greedy
 * ties; forced and forbidden tokens; hostile rows; the draw follows the distribution.
 */
#include "base/mem.h"
#include "base/rng.h"
#include "engine/sampler.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define N 500

static struct sampling plain(void)
{
    return (struct sampling){
        .temperature = 1, .top_p = 1, .typical_p = 1, .repeat_penalty = 1, .seed = 1};
}

static void fill_row(float *row, int n, uint64_t seed, bool ties)
{
    for (int i = 0; i < n; i++) {
        double x = rng_uniform(seed, 9, (uint64_t)i) * 16 - 8;
        row[i] = (float)(ties ? floor(x) : x);
    }
}

static int32_t pick_one(const float *row, int n, const struct sampling *p, int position)
{
    static struct sampler_scratch s;
    struct err err;
    if (s.n_vocab != n) {
        sampler_scratch_release(&s);
        assert_int_equal(sampler_scratch_init(&s, n, &err), 0);
    }
    float copy[N];
    memcpy(copy, row, (size_t)n * sizeof(*row));
    struct sampler_history h = {.n_token = position, .n_prompt = position};
    int32_t none[1] = {0};
    struct sampling q = *p;
    q.repeat_last_n = 0;
    h.token = none;
    struct sampler_result r;
    struct sampler_ban ban = {0};
    sampler_pick(&s, copy, &q, &h, &ban, -1, &r);
    return r.id;
}

/* ---- the reference: sort, then cut ---- */

struct item {
    int32_t id;
    double logit, p, key;
};

static int by_key(const void *a, const void *b)
{
    const struct item *x = a, *y = b;
    if (x->key != y->key)
        return x->key > y->key ? -1 : 1;
    return x->id < y->id ? -1 : 1;
}

static void norm(struct item *it, int n)
{
    double max = -INFINITY, sum = 0;
    for (int i = 0; i < n; i++)
        max = fmax(max, it[i].logit);
    for (int i = 0; i < n; i++)
        sum += it[i].p = exp(it[i].logit - max);
    for (int i = 0; i < n; i++)
        it[i].p /= sum;
}

static int cut_mass(struct item *it, int n, double target)
{
    qsort(it, (size_t)n, sizeof(*it), by_key);
    double sum = 0;
    for (int i = 0; i < n; i++) {
        sum += it[i].p;
        if (sum >= target)
            return i + 1;
    }
    return n;
}

static int reference_set(const float *row, int n, const struct sampling *p, bool *ret_in)
{
    struct item it[N];
    for (int i = 0; i < n; i++)
        it[i] = (struct item){i, (double)row[i], 1, (double)row[i]};
    if (p->top_k > 0)
        n = cut_mass(it, n, (double)p->top_k);
    if (p->typical_p < 1) {
        double entropy = 0;
        norm(it, n);
        for (int i = 0; i < n; i++)
            entropy -= it[i].p * log(it[i].p);
        for (int i = 0; i < n; i++)
            it[i].key = (double)(float)-fabs(-log(it[i].p) - entropy);
        n = cut_mass(it, n, p->typical_p);
    }
    norm(it, n);
    for (int i = 0; i < n; i++)
        it[i].key = it[i].logit;
    if (p->top_p < 1)
        n = cut_mass(it, n, p->top_p);
    double max = -INFINITY;
    for (int i = 0; i < n; i++)
        max = fmax(max, it[i].logit);
    int kept = 0;
    for (int i = 0; i < n; i++) {
        bool in = p->min_p <= 0 || it[i].logit >= max + log(p->min_p);
        ret_in[it[i].id] = in;
        kept += in;
    }
    return kept;
}

/* Draws at a flat temperature meet every token of the reference's set, and none outside. */
static void check_set(const struct sampling *p, bool ties)
{
    for (uint64_t seed = 1; seed <= 20; seed++) {
        float row[N];
        bool in[N] = {false}, seen[N] = {false};
        fill_row(row, N, seed, ties);
        int n = reference_set(row, N, p, in), n_seen = 0;
        struct sampling q = *p;
        q.temperature = 1e4;
        for (int k = 0; k < n * 20; k++) {
            q.seed = seed * 100000 + (uint64_t)k;
            int32_t id = pick_one(row, N, &q, 3);
            if (!in[id])
                fail_msg("token %d is outside the set of %d", id, n);
            n_seen += !seen[id];
            seen[id] = true;
        }
        assert_int_equal(n_seen, n);
    }
}

static void test_top_k(void **state)
{
    (void)state;
    static const int64_t k[] = {1, 2, 5, 7, 40, 499};
    for (size_t i = 0; i < ARRAY_LEN(k); i++) {
        struct sampling p = plain();
        p.top_k = k[i];
        check_set(&p, true);
        check_set(&p, false);
    }
}

static void test_top_p_and_others(void **state)
{
    (void)state;
    struct sampling p = plain();
    p.top_p = 0.37;
    check_set(&p, false);
    p.top_p = 1e-9;
    check_set(&p, true);
    p = plain();
    p.min_p = 0.1;
    check_set(&p, false);
    p.min_p = 0.9;
    check_set(&p, true);
    p.min_p = 1e-3;
    check_set(&p, true);
    p = plain();
    p.typical_p = 0.4;
    check_set(&p, false);
    p = plain();
    p.top_k = 60;
    p.typical_p = 0.9;
    p.top_p = 0.8;
    p.min_p = 0.02;
    check_set(&p, false);
}

static void test_greedy(void **state)
{
    (void)state;
    struct sampling p = plain();
    p.temperature = 0;
    float row[N] = {0};
    assert_int_equal(pick_one(row, N, &p, 1), 0);
    row[400] = row[33] = row[34] = 2;
    assert_int_equal(pick_one(row, N, &p, 1), 33);
    p.temperature = 1e-300; /* as good as greedy, and finite */
    row[33] = 2.5f;
    assert_int_equal(pick_one(row, N, &p, 1), 33);
}

static void test_hostile_rows(void **state)
{
    (void)state;
    float row[N];
    struct sampling p = plain();
    p.top_p = 0.9;
    p.typical_p = 0.9;
    for (int i = 0; i < N; i++)
        row[i] = NAN;
    assert_int_equal(pick_one(row, N, &p, 1), SAMPLER_NONE);
    row[7] = INFINITY;
    assert_int_equal(pick_one(row, N, &p, 1), 7);
    row[9] = INFINITY;
    int32_t id = pick_one(row, N, &p, 1);
    assert_true(id == 7 || id == 9);
    for (int i = 0; i < N; i++)
        row[i] = -INFINITY;
    assert_int_equal(pick_one(row, N, &p, 1), SAMPLER_NONE);
    p.temperature = 0;
    assert_int_equal(pick_one(row, N, &p, 1), SAMPLER_NONE);
    p.temperature = 1;
    struct sampler_result r;
    sampler_score(row, N, 3, 5, &r);
    for (int i = 0; i < N; i++)
        row[i] = i % 2 ? 3e38f : -3e38f;
    assert_int_equal(pick_one(row, N, &p, 1) % 2, 1);
    p = plain();
    p.min_p = 1;
    assert_int_equal(pick_one(row, N, &p, 1) % 2, 1);
}

static void test_draw_follows_distribution(void **state)
{
    (void)state;
    float row[4] = {0, 1, 2, -1};
    int count[4] = {0};
    struct sampling p = plain();
    p.temperature = 0.7;
    for (int i = 0; i < 40000; i++)
        count[pick_one(row, 4, &p, i)]++;
    double sum = 0;
    for (int i = 0; i < 4; i++)
        sum += exp((double)row[i] / 0.7);
    for (int i = 0; i < 4; i++) {
        double want = 40000 * exp((double)row[i] / 0.7) / sum;
        assert_true(fabs(count[i] - want) < 5 * sqrt(want) + 1);
    }
    assert_int_equal(pick_one(row, 4, &p, 5), pick_one(row, 4, &p, 5));
}

static void test_penalties_and_bias(void **state)
{
    (void)state;
    struct sampler_scratch s;
    struct err err;
    assert_int_equal(sampler_scratch_init(&s, 6, &err), 0);
    static const int32_t history[] = {0, 1, 1, 2, 2, 2}; /* the first three are the prompt */
    struct sampler_history h = {history, 6, 3};
    struct sampler_ban none = {0};
    struct sampler_result r;
    struct sampling p = plain();
    p.temperature = 0;
    p.repeat_last_n = 5;
    p.repeat_penalty = 2;
    p.presence_penalty = 0.5;
    p.frequency_penalty = 0.25;
    float row[6] = {4, 4, 4, -4, 0, 0};
    sampler_pick(&s, row, &p, &h, &none, 6, &r);
    /* 0 is outside the window of five; 1 is in the prompt only; 2 was written three times */
    static const float want[6] = {4, 2, 2 - 0.5f - 0.75f, -4, 0, 0};
    assert_memory_equal(row, want, sizeof(want));
    assert_int_equal(r.id, 0);
    assert_int_equal(r.n_top, 6);
    for (int i = 0; i < 3; i++) /* log probabilities are of the row before the penalties */
        assert_true(r.top[i].id == i && r.top[i].logprob == r.logprob);
    double norm = log(3 * exp(4) + exp(-4) + 2);
    assert_true(fabs((double)r.logprob - (4 - norm)) < 1e-6);

    struct sampling_bias forbid[] = {{0, -100}, {1, 1.5f}, {77, 5}};
    p = plain();
    p.temperature = 0;
    p.bias = forbid;
    p.n_bias = 3;
    float row2[6] = {9, 4, 5, 0, 0, 0};
    sampler_pick(&s, row2, &p, &h, &none, -1, &r);
    assert_int_equal(r.id, 1);
    assert_true(isnan(r.logprob));
    struct sampling_bias force[] = {{3, 100}, {4, 100}};
    p.bias = force;
    p.n_bias = 2;
    p.temperature = 1;
    for (int i = 0; i < 50; i++) {
        float row3[6] = {900, 4, 5, 0, 0, 0};
        p.seed = (uint64_t)i;
        sampler_pick(&s, row3, &p, &h, &none, -1, &r);
        assert_true(r.id == 3 || r.id == 4);
    }
    static const int32_t end[] = {0};
    struct sampler_ban ban = {end, 1};
    p = plain();
    p.temperature = 0;
    float row4[6] = {9, 4, 5, 0, 0, 0};
    sampler_pick(&s, row4, &p, &h, &ban, -1, &r);
    assert_int_equal(r.id, 2);
    sampler_scratch_release(&s);
}

static void test_score(void **state)
{
    (void)state;
    static float row[100003];
    for (int i = 0; i < 100003; i++)
        row[i] = (float)(rng_uniform(5, 5, (uint64_t)i) * 20 - 10);
    double sum = 0;
    for (int i = 0; i < 100003; i++)
        sum += exp((double)row[i]);
    struct sampler_result r;
    sampler_score(row, 100003, 17, 20, &r);
    assert_true(fabs((double)r.logprob - ((double)row[17] - log(sum))) < 2e-6);
    assert_int_equal(r.n_top, 20);
    for (int i = 0; i < 20; i++) {
        int above = 0;
        for (int k = 0; k < 100003; k++)
            above += row[k] > row[r.top[i].id];
        assert_int_equal(above, i);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_top_k),
        cmocka_unit_test(test_top_p_and_others),
        cmocka_unit_test(test_greedy),
        cmocka_unit_test(test_hostile_rows),
        cmocka_unit_test(test_draw_follows_distribution),
        cmocka_unit_test(test_penalties_and_bias),
        cmocka_unit_test(test_score),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
