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

/* prompt[i] is i % period */
static void bench_init_with(struct bench *b, int n_seq, double base, double each, int period)
{
    memset(b, 0, sizeof(*b));
    step_cost_init(&b->cost);
    b->s.cost = &b->cost;
    b->s.step_ms = 60;
    for (int n = 1; n <= SPECULATION_TOKENS_MAX; n++)
        b->s.ms[n] = base + each * n;
    int32_t prompt[N_PROMPT];
    for (int i = 0; i < N_PROMPT; i++)
        prompt[i] = i % period;
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

static void bench_init(struct bench *b, int n_seq, double base, double each)
{
    bench_init_with(b, n_seq, base, each, 50);
}

static void bench_release(struct bench *b)
{
    drafter_free(b->s.drafter);
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

/* ---- with a draft model ---- */

#define DRAFT_VOCAB 500

/* What the fake draft model was asked. */
static struct {
    int n_passes, n_tokens, n_most;
} asked;

/* It is sure that 7 follows. */
static void fake_draft(void *ctx, const struct kv_slab *kv, const struct batch *b, float *logits)
{
    (void)ctx;
    (void)kv;
    asked.n_passes++;
    asked.n_tokens += b->n_tokens;
    asked.n_most = b->n_tokens > asked.n_most ? b->n_tokens : asked.n_most;
    memset(logits, 0, (size_t)b->n_out * DRAFT_VOCAB * sizeof(float));
    for (int i = 0; i < b->n_out; i++)
        logits[i * DRAFT_VOCAB + 7] = 20;
}

/* A pass takes base + each * tokens; `seen`: what the draft model has of each text. */
static void set_costs(struct bench *b, double base, double each)
{
    for (int n = 1; n <= COST_TOKENS_MAX; n++)
        b->s.drafter->ms[n] = base + each * n;
}

static void bench_init_drafter(struct bench *b, int n_seq, double base, double each, int seen)
{
    struct err err;
    struct drafter_config c = {.forward = fake_draft,
                               .kv = {NULL, 1000},
                               .n_vocab = DRAFT_VOCAB,
                               .n_token = DRAFT_VOCAB,
                               .n_ctx = 1000,
                               .n_batch_max = 256,
                               .n_seq_max = SPECULATION_SEQS_MAX + 1,
                               .depth = 4};
    memset(&asked, 0, sizeof(asked));
    bench_init_with(b, n_seq, 10, 0.3, N_PROMPT);
    assert_int_equal(drafter_new(&c, &b->s.drafter, &err), 0);
    set_costs(b, base, each);
    for (int i = 0; i < n_seq; i++) {
        assert_int_equal(job_draft_model(b->job[i], &err), 0);
        b->seq[i]->state = SEQUENCE_RUNNING;
        b->seq[i]->shadow.n_text = N_PROMPT;
        assert_true(drafter_reserve(b->s.drafter, b->seq[i]));
        b->seq[i]->shadow.n_computed = seen;
    }
}

static void set_rate(struct bench *b, int i_seq, float rate)
{
    struct shadow *w = &b->seq[i_seq]->shadow;
    drafter_see(b->s.drafter, b->seq[i_seq]);
    w->mean = (struct draft_rate){rate, 12};
    for (int i = 0; i < DRAFTER_MARGINS; i++)
        w->rate[i] = w->mean;
}

static void test_a_cheap_draft_model(void **state)
{
    (void)state;
    struct bench b;
    bench_init_drafter(&b, 1, 1, 0.1, N_PROMPT - 1);
    set_rate(&b, 0, 0.9f);
    assert_int_equal(draft(&b, 100, false), 4);
    assert_int_equal(asked.n_passes, 4);
    assert_int_equal(asked.n_tokens, 4);
    assert_true(b.seq[0]->is_draft_model);
    for (int i = 0; i < 4; i++)
        assert_int_equal(b.seq[0]->token[N_PROMPT + i], 7);
    assert_int_equal(draft(&b, 100, true), 0); /* beside a prompt */
    assert_int_equal(asked.n_passes, 4);
    bench_release(&b);
}

/* As dear as the model itself, or seldom right: it is not asked, but tried a few times. */
static void test_a_draft_model_that_loses(void **state)
{
    (void)state;
    for (int dear = 0; dear < 2; dear++) {
        struct bench b;
        bench_init_drafter(&b, 1, 1, 0.1, N_PROMPT - 1);
        for (int i = 0; i < 2000; i++) {
            set_rate(&b, 0, dear ? 0.9f : 0.05f);
            set_costs(&b, dear ? 10 : 1, 0.1);
            draft(&b, 100, false);
            assert_true(asked.n_passes <= (i >= 63) + (i >= 63 + 128) + (i >= 63 + 128 + 256));
        }
        assert_int_equal(asked.n_passes, 3);
        bench_release(&b);
    }
}

/* Nor is it tried where that alone would cost more than a 32nd of the time. */
static void test_no_dear_trials(void **state)
{
    (void)state;
    for (int dear = 0; dear < 2; dear++) {
        struct bench b;
        bench_init_drafter(&b, 1, 1, 0.1, N_PROMPT - 100);
        for (int i = 0; i < 200; i++) {
            set_rate(&b, 0, 0.05f);
            set_costs(&b, 1, dear ? 0.9 : 0.1);
            draft(&b, 100, false);
        }
        assert_int_equal(asked.n_passes > 0, !dear);
        bench_release(&b);
    }
}

/* Texts that repeat themselves cost nothing, and go first if they are as likely. */
static void test_texts_go_before_the_draft_model(void **state)
{
    (void)state;
    for (int likelier = 0; likelier < 2; likelier++) {
        struct bench b;
        bench_init_drafter(&b, 1, 1, 0.1, N_PROMPT - 1);
        for (int i = 0; i < N_PROMPT; i++)
            b.seq[0]->token[i] = 100 + i % 50;
        draft_free(b.seq[0]->draft);
        b.seq[0]->draft = NULL;
        assert_int_equal(job_draft(b.job[0], NULL, 0, &(struct err){0}), 0);
        set_rate(&b, 0, likelier ? 1 : 0.7f);
        assert_true(draft(&b, 100, false) > 0);
        assert_int_equal(b.seq[0]->is_draft_model, likelier);
        assert_int_equal(b.seq[0]->token[N_PROMPT], likelier ? 7 : 100);
        bench_release(&b);
    }
}

/* Two of three pay; and where a token more costs what a step does, none. */
static void test_who_is_drafted_for(void **state)
{
    (void)state;
    struct bench b;
    bench_init_drafter(&b, 3, 0.2, 0.1, N_PROMPT - 1);
    set_rate(&b, 0, 0.9f);
    set_rate(&b, 1, 0.05f);
    set_rate(&b, 2, 0.8f);
    assert_true(draft(&b, 100, false) > 2);
    assert_true(b.seq[0]->n_draft > 0 && b.seq[1]->n_draft == 0 && b.seq[2]->n_draft > 0);
    int before = asked.n_passes;
    for (int n = 1; n <= SPECULATION_TOKENS_MAX; n++)
        b.s.ms[n] = 5 * n;
    set_rate(&b, 0, 0.6f);
    set_rate(&b, 2, 0.6f);
    assert_int_equal(draft(&b, 100, false), 0);
    assert_int_equal(asked.n_passes, before);
    bench_release(&b);
}

/* A text that it has not seen comes in chunks of half a step, and only if the answer is long. */
static void test_catching_up(void **state)
{
    (void)state;
    struct bench b;
    bench_init_drafter(&b, 1, 1, 0.1, 0);
    set_rate(&b, 0, 0.9f);
    draft(&b, 100, false);
    assert_int_equal(asked.n_passes, 1);
    assert_in_range(asked.n_tokens, 30, 50);
    assert_int_equal(b.seq[0]->n_draft, 0);
    for (int i = 0; i < 20 && b.seq[0]->n_draft == 0; i++) {
        set_costs(&b, 1, 0.1);
        draft(&b, 100, false);
    }
    assert_true(b.seq[0]->n_draft > 0 && asked.n_most <= 50);
    assert_in_range(asked.n_tokens, N_PROMPT, N_PROMPT + 3);
    bench_release(&b);
    bench_init_drafter(&b, 1, 1, 1, 0); /* 400 ms, for 20 tokens that may follow */
    set_rate(&b, 0, 0.9f);
    draft(&b, 100, false);
    assert_int_equal(asked.n_passes, 0);
    bench_release(&b);
}

/* An end that is foreseen is no guess, and nobody asks what follows it. */
static void test_no_draft_behind_the_end(void **state)
{
    (void)state;
    struct bench b;
    const int32_t eog[] = {7};
    bench_init_drafter(&b, 1, 1, 0.1, N_PROMPT - 1);
    set_rate(&b, 0, 0.9f);
    b.s.eog = eog;
    b.s.n_eog = 1;
    assert_int_equal(draft(&b, 100, false), 0);
    assert_int_equal(asked.n_passes, 1);
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
        cmocka_unit_test(test_a_cheap_draft_model),
        cmocka_unit_test(test_a_draft_model_that_loses),
        cmocka_unit_test(test_no_dear_trials),
        cmocka_unit_test(test_texts_go_before_the_draft_model),
        cmocka_unit_test(test_who_is_drafted_for),
        cmocka_unit_test(test_catching_up),
        cmocka_unit_test(test_no_draft_behind_the_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
