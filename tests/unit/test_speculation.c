/*
 * speculation: how many guesses are taken, from what steps cost and how likely guesses are.
 */
#include "engine/speculation.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define N_PROMPT 400

/* Sequences whose text repeats itself, and a cost of base + each * tokens. */
struct bench {
    struct step_cost cost;
    struct speculation s;
    struct job *job[SPECULATION_SEQS_MAX + 1];
    struct sequence *seq[SPECULATION_SEQS_MAX + 1];
    int n_seq;
};

static void bench_init(struct bench *b, int n_seq, double base, double each)
{
    memset(b, 0, sizeof(*b));
    step_cost_init(&b->cost);
    b->s.cost = &b->cost;
    b->s.step_ms = 60;
    for (int n = 1; n <= SPECULATION_TOKENS_MAX; n++)
        b->s.ms[n] = base + each * n;
    int32_t prompt[N_PROMPT];
    for (int i = 0; i < N_PROMPT; i++)
        prompt[i] = i % 50;
    b->n_seq = n_seq;
    for (int i = 0; i < n_seq; i++) {
        struct err err;
        assert_int_equal(job_new(prompt, N_PROMPT - 40, N_PROMPT + 20, 1, &b->job[i], &err), 0);
        assert_int_equal(job_draft(b->job[i], NULL, 0, &err), 0);
        b->seq[i] = &b->job[i]->seq[0];
        /* 40 tokens of an answer: guesses held */
        memcpy(b->seq[i]->token, prompt, sizeof(prompt));
        b->seq[i]->n_token = N_PROMPT;
    }
}

static void bench_release(struct bench *b)
{
    for (int i = 0; i < b->n_seq; i++)
        job_free(b->job[i]);
}

/* Guesses that are taken in all. */
static int draft(struct bench *b, int n_max, bool has_prefill)
{
    int n = 0;
    for (int i = 0; i < b->n_seq; i++)
        b->seq[i]->n_draft = 0;
    speculation_draft(&b->s, b->seq, b->n_seq, n_max, has_prefill);
    for (int i = 0; i < b->n_seq; i++)
        n += b->seq[i]->n_draft;
    return n;
}

static void test_cheap_tokens_are_taken(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b, 1, 10, 0.3);
    assert_int_equal(draft(&b, 100, false), DRAFT_MAX);
    for (int i = 0; i < DRAFT_MAX; i++)
        assert_int_equal(b.seq[0]->token[N_PROMPT + i], i);
    assert_int_equal(draft(&b, 3, false), 3);
    assert_int_equal(draft(&b, 0, false), 0);
    b.s.mode = SPECULATE_OFF;
    assert_int_equal(draft(&b, 100, false), 0);
    bench_release(&b);
}

/* Past the crossover a token more costs what it brings; now and then that is looked at again. */
static void test_dear_tokens_are_not(void **state)
{
    (void)state;
    struct bench b;
    int n_tried = 0;
    bench_init(&b, 1, 0.1, 10);
    for (int i = 0; i < 2560; i++)
        n_tried += draft(&b, 100, false) > 0;
    assert_int_equal(n_tried, 10);
    bench_release(&b);
}

/* Between the two: the likelier the guesses, the more. */
static void test_unlikely_guesses_are_not_taken(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b, 1, 10, 3);
    int likely = draft(&b, 100, false);
    assert_true(likely > 2);
    struct draft *d = b.seq[0]->draft;
    for (int i = 0; i < DRAFT_BUCKETS; i++)
        d->rate[DRAFT_OWN][i].p = 0.6f;
    int half = draft(&b, 100, false);
    assert_true(half > 0 && half < likely);
    for (int i = 0; i < DRAFT_BUCKETS; i++)
        d->rate[DRAFT_OWN][i].p = 0.2f;
    assert_int_equal(draft(&b, 100, false), 0);
    bench_release(&b);
}

/* Never seen: as dear as what was seen suggests; nothing known at all: nothing is tried. */
static void test_costs_not_measured_yet(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b, 1, 10, 0.3);
    memset(b.s.ms, 0, sizeof(b.s.ms));
    assert_int_equal(draft(&b, 100, false), 0);
    b.s.ms[1] = 10;
    assert_true(draft(&b, 100, false) > 0);
    b.s.ms[4] = 60; /* nearly six times the cost */
    assert_int_equal(draft(&b, 100, false), 0);
    b.s.ms[4] = 11;
    assert_int_equal(draft(&b, 100, false), DRAFT_MAX);
    bench_release(&b);
}

static void test_beside_others(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b, 4, 10, 0.5);
    int n = draft(&b, 100, false);
    assert_true(n > 0 && n <= 12); /* the step gets at most half longer */
    bench_release(&b);
    bench_init(&b, SPECULATION_SEQS_MAX + 1, 10, 0.01);
    assert_int_equal(draft(&b, 100, false), 0);
    bench_release(&b);
}

/* Beside prompts: a tenth of the step's time at most. */
static void test_beside_prompts(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b, 4, 10, 0.5);
    b.cost.weight[0] = 10;
    b.cost.weight[1] = 32; /* 1 ms a token */
    int n = draft(&b, 100, true);
    assert_in_range(n, 1, 6);
    b.cost.weight[1] = 32 * 7;
    assert_int_equal(draft(&b, 100, true), 0);
    bench_release(&b);
}

static void test_no_guess_goes_too_far(void **state)
{
    (void)state;
    struct bench b;
    int32_t eog[] = {3};
    bench_init(&b, 1, 10, 0.1);
    b.s.eog = eog;
    b.s.n_eog = 1;
    assert_int_equal(draft(&b, 100, false), 3); /* 0, 1, 2 and then the end */
    b.s.n_eog = 0;
    b.job[0]->n_token_max = N_PROMPT + 3; /* two guesses, and the token after them */
    assert_int_equal(draft(&b, 100, false), 2);
    b.job[0]->n_token_max = N_PROMPT + 1;
    assert_int_equal(draft(&b, 100, false), 0);
    bench_release(&b);
}

/* Steps of decoded tokens alone are measured, less what their attention took. */
static void test_costs_are_learned(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b, 1, 0, 0);
    memset(b.s.ms, 0, sizeof(b.s.ms));
    b.cost.weight[2] = 65536;
    struct sequence *seq[] = {b.seq[0]};
    struct plan p = {.seq = seq, .n_decode = 5, .n_draft = 4, .n_attended = 2};
    p.batch.n_tokens = 5;
    p.batch.n_seq = 1;
    b.seq[0]->n_accepted = 3;
    for (int i = 0; i < 100; i++)
        speculation_learn(&b.s, &p, i % 10 == 5 ? 500 : 22); /* some are disturbed */
    assert_true(b.s.ms[5] > 19.9 && b.s.ms[5] < 30);
    assert_int_equal(b.s.n_drafted, 400);
    assert_int_equal(b.s.n_accepted, 300);
    p.n_decode = 4; /* a prompt's token beside them */
    double before = b.s.ms[5];
    speculation_learn(&b.s, &p, 60);
    assert_true(b.s.ms[5] == before);
    bench_release(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cheap_tokens_are_taken),
        cmocka_unit_test(test_dear_tokens_are_not),
        cmocka_unit_test(test_unlikely_guesses_are_not_taken),
        cmocka_unit_test(test_costs_not_measured_yet),
        cmocka_unit_test(test_beside_others),
        cmocka_unit_test(test_beside_prompts),
        cmocka_unit_test(test_no_guess_goes_too_far),
        cmocka_unit_test(test_costs_are_learned),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
