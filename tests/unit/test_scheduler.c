/*
 * scheduler: its rules one by one. That nothing breaks when all of them meet is shown by
 * test_scheduler_sim.
 */
#include "base/mem.h"
#include "base/rng.h"
#include "engine/scheduler.h"
#include "engine/step_cost.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define JOBS_MAX 400

struct bench {
    struct scheduler s;
    struct step_budget budget;
    struct job *job[JOBS_MAX];
    int n_job;
};

static void bench_init(struct bench *b, uint32_t n_blocks, int n_seq, int n_batch)
{
    struct err err;
    struct scheduler_limits limits = {n_seq, n_batch, n_seq + 4};
    *b = (struct bench){.budget = {n_batch, n_batch, 0, n_batch}};
    assert_int_equal(scheduler_init(&b->s, &limits, n_blocks, &err), 0);
}

static void bench_release(struct bench *b)
{
    for (int i = 0; i < b->n_job; i++)
        job_free(b->job[i]);
    scheduler_release(&b->s);
}

/* Prompts of one text are beginnings of each other. */
static struct job *make(struct bench *b, int text, int n_prompt, int n_new)
{
    int32_t prompt[2000];
    for (int i = 0; i < n_prompt; i++)
        prompt[i] = text * 1000 + i;
    struct err err;
    assert_true(b->n_job < JOBS_MAX);
    assert_int_equal(job_new(prompt, n_prompt, n_prompt + n_new, 1, &b->job[b->n_job], &err), 0);
    return b->job[b->n_job++];
}

static struct sequence *add(struct bench *b, int text, int n_prompt, int n_new, int priority)
{
    struct job *job = make(b, text, n_prompt, n_new);
    job->priority = priority;
    scheduler_add(&b->s, job);
    return &job->seq[0];
}

/* A step; sequences end at their length. */
static const struct plan *step(struct bench *b)
{
    const struct plan *p = scheduler_plan(&b->s, &b->budget);
    scheduler_commit(&b->s);
    for (int i = 0; i < p->batch.n_out; i++) {
        struct sequence *seq = p->row[i].seq;
        int next = p->row[i].position + 1;
        if (next < seq->n_token) {
            seq->n_scored = next + 1;
            continue;
        }
        seq->token[seq->n_token++] = next % 7;
        if (seq->n_token == seq->job->n_token_max)
            scheduler_remove(&b->s, seq);
    }
    return p;
}

static void finish(struct bench *b)
{
    for (int i = 0; step(b)->batch.n_tokens > 0; i++)
        assert_true(i < 100000);
}

/* How many tokens of it the last plan has. */
static int planned(const struct bench *b, const struct sequence *seq)
{
    for (int i = 0; i < b->s.plan.batch.n_seq; i++)
        if (b->s.plan.seq[i] == seq)
            return b->s.plan.batch.seq[i].n_tokens;
    return 0;
}

/* ---- prefix cache ---- */

static void test_second_prompt_is_found(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b, 64, 4, 512);
    add(&b, 1, 300, 2, 0);
    finish(&b);
    struct sequence *again = add(&b, 1, 300, 2, 0), *longer = add(&b, 1, 400, 2, 0);
    struct sequence *salted = &make(&b, 1, 300, 2)->seq[0], *other = add(&b, 2, 300, 2, 0);
    salted->job->salt = 5;
    scheduler_add(&b.s, salted->job);
    step(&b);
    assert_int_equal(again->n_cached, 288);
    assert_int_equal(again->n_match, 288);
    assert_int_equal(longer->n_cached, 288);
    assert_int_equal(salted->n_cached, 0);
    assert_int_equal(salted->n_match, 0);
    assert_int_equal(other->n_cached, 0);
    assert_int_equal(b.s.stats.n_lookups, 5);
    assert_int_equal(b.s.stats.n_hits, 2);
    assert_int_equal(b.s.stats.n_cached_tokens, 576);
    bench_release(&b);
}

/* Of a prompt that ends with a block all but the last token is used, by a copy of that block. */
static void test_whole_prompt_is_found(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b, 64, 4, 512);
    add(&b, 1, 2 * KV_BLOCK_LEN, 2, 0);
    finish(&b);
    struct sequence *again = add(&b, 1, 2 * KV_BLOCK_LEN, 2, 0);
    const struct plan *p = scheduler_plan(&b.s, &b.budget);
    assert_int_equal(again->n_cached, 2 * KV_BLOCK_LEN - 1);
    assert_int_equal(again->n_match, 2 * KV_BLOCK_LEN);
    assert_int_equal(p->batch.n_tokens, 1);
    assert_int_equal(p->n_copy, 1);
    uint32_t from = p->copy[0].from;
    assert_int_equal(b.s.cache.pool.refs[from], 1); /* nobody takes it before it was copied */
    scheduler_remove(&b.s, again);
    assert_int_equal(p->n_copy, 0);
    assert_int_equal(b.s.cache.pool.refs[from], 0);
    bench_release(&b);
}

/* Its log probabilities need every token of the prompt. */
static void test_scores_do_not_use_the_cache(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b, 64, 4, 512);
    add(&b, 1, 100, 2, 0);
    finish(&b);
    struct job *job = make(&b, 1, 100, 2);
    job->score_prompt = true;
    scheduler_add(&b.s, job);
    finish(&b);
    assert_int_equal(job->seq[0].n_scored, 100);
    assert_int_equal(job->seq[0].n_cached, 0);
    assert_int_equal(job->seq[0].n_match, 96);
    assert_int_equal(b.s.stats.n_lookups, 1);
    bench_release(&b);
}

static void test_what_was_cancelled_is_found(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b, 64, 4, 128);
    struct sequence *seq = add(&b, 1, 1000, 2, 0);
    step(&b);
    step(&b);
    scheduler_remove(&b.s, seq);
    seq = add(&b, 1, 1000, 2, 0);
    step(&b);
    assert_int_equal(seq->n_cached, 256);
    bench_release(&b);
}

/* Sequences that begin alike at the same time compute the beginning once. */
static void test_running_ones_share(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b, 256, 8, 128);
    for (int i = 0; i < 6; i++)
        add(&b, 1, 1000 + i, 2, 0);
    int n = 0, n_step = 0;
    for (const struct plan *p = step(&b); p->batch.n_tokens > 0; p = step(&b), n_step++)
        n += p->batch.n_tokens - p->n_decode;
    assert_in_range(n, 1000, 1000 + 6 * KV_BLOCK_LEN);
    assert_in_range(n_step, 8, 12); /* and nobody's share of a step is lost */
    bench_release(&b);
}

/* The ends of texts are forgotten first, those of the longest idle text before others. */
static void test_ends_are_forgotten_first(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b, 40, 4, 2000);
    add(&b, 1, 16 * KV_BLOCK_LEN, 2, 0);
    finish(&b);
    add(&b, 2, 16 * KV_BLOCK_LEN, 2, 0);
    finish(&b);
    add(&b, 3, 14 * KV_BLOCK_LEN, 2, 0); /* 8 blocks are free: it takes 7 */
    finish(&b);
    struct sequence *first = add(&b, 1, 16 * KV_BLOCK_LEN, 2, 0);
    struct sequence *second = add(&b, 2, 16 * KV_BLOCK_LEN, 2, 0);
    step(&b);
    assert_int_equal(first->n_match, 9 * KV_BLOCK_LEN);
    assert_int_equal(second->n_match, 16 * KV_BLOCK_LEN);
    bench_release(&b);
}

/* Keys may collide: the cache compares what they stand for. */
static void test_cache_compares_tokens(void **state)
{
    (void)state;
    struct prefix_cache c;
    struct err err;
    assert_int_equal(prefix_cache_init(&c, 8, &err), 0);
    int32_t token[KV_BLOCK_LEN] = {1}, other[KV_BLOCK_LEN] = {2};
    uint32_t block;
    assert_true(prefix_cache_take(&c, &block));
    prefix_cache_insert(&c, BLOCK_NONE, 3, token, block);
    assert_int_equal(prefix_cache_find(&c, BLOCK_NONE, 3, token), block);
    assert_int_equal(prefix_cache_find(&c, BLOCK_NONE, 4, token), BLOCK_NONE);
    assert_int_equal(prefix_cache_find(&c, block, 3, token), BLOCK_NONE);
    assert_int_equal(prefix_cache_find(&c, BLOCK_NONE, 3, other), BLOCK_NONE);
    /* as if another salt, or another text, had this key */
    c.entry[block].salt++;
    assert_int_equal(prefix_cache_find(&c, BLOCK_NONE, 3, token), BLOCK_NONE);
    c.entry[block].salt--;
    c.entry[block].token[KV_BLOCK_LEN - 1]++;
    assert_int_equal(prefix_cache_find(&c, BLOCK_NONE, 3, token), BLOCK_NONE);
    prefix_cache_release(&c);
}

/* ---- classes and tenants ---- */

static void test_interactive_takes_the_place_of_batch(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b, 64, 2, 128);
    struct sequence *batch[2];
    for (int i = 0; i < 2; i++)
        batch[i] = add(&b, 10 + i, 50, 40, JOB_BATCH);
    for (int i = 0; i < 10; i++)
        step(&b);
    struct sequence *chat = add(&b, 1, 50, 5, JOB_INTERACTIVE);
    step(&b);
    assert_int_equal(chat->n_token, 51);
    assert_int_equal(batch[0]->state, SEQUENCE_RUNNING);
    assert_int_equal(batch[1]->state, SEQUENCE_WAITING); /* the youngest of the lowest */
    finish(&b);
    assert_int_equal(batch[1]->n_token, 90);
    assert_int_equal(b.s.stats.n_preempted, 1);
    bench_release(&b);
}

/* One of the same class does not. */
static void test_equals_wait(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b, 64, 1, 128);
    struct sequence *first = add(&b, 1, 50, 20, JOB_BATCH);
    step(&b);
    struct sequence *second = add(&b, 2, 50, 20, JOB_BATCH);
    step(&b);
    assert_int_equal(first->state, SEQUENCE_RUNNING);
    assert_int_equal(second->state, SEQUENCE_WAITING);
    bench_release(&b);
}

/* When blocks run out the interactive one goes on and the batch one waits, though it is older. */
static void test_blocks_go_to_the_higher_class(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b, 10, 4, 256);
    struct sequence *batch = add(&b, 1, 120, 190, JOB_BATCH);
    struct sequence *chat = add(&b, 2, 120, 190, JOB_INTERACTIVE);
    for (int i = 0; chat->state != SEQUENCE_ENDED; i++) {
        step(&b);
        assert_true(i < 2 || chat->state != SEQUENCE_WAITING);
    }
    assert_true(b.s.stats.n_preempted > 0);
    finish(&b);
    assert_int_equal(batch->n_token, 310);
    bench_release(&b);
}

/* A flood of interactive requests delays a batch job, but does not stop it. */
static void test_batch_does_not_starve(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b, 64, 2, 64);
    struct sequence *batch = add(&b, 0, 60, 20, JOB_BATCH);
    int n = 0;
    while (batch->state != SEQUENCE_ENDED) {
        while (b.s.waiting.n < 4)
            add(&b, 1 + n % 400, 8, 3, JOB_INTERACTIVE), n++;
        step(&b);
    }
    assert_in_range(n, FAIR_PASSES, 4 * FAIR_PASSES);
    finish(&b);
    bench_release(&b);
}

/* One tenant with many requests and one with few: the few do not wait for the many. */
static void test_tenants_share(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b, 256, 2, 64);
    for (int i = 0; i < 40; i++)
        add(&b, 10 + i, 30, 10, 0);
    for (int i = 0; i < 20; i++)
        step(&b);
    struct sequence *few[3];
    for (int i = 0; i < 3; i++) {
        few[i] = &make(&b, 60 + i, 30, 10)->seq[0];
        few[i]->job->tenant = 1;
        scheduler_add(&b.s, few[i]->job);
    }
    for (int i = 0; few[2]->state != SEQUENCE_ENDED; i++)
        step(&b);
    int n_ended = 0;
    for (int i = 0; i < 40; i++)
        n_ended += b.job[i]->seq[0].state == SEQUENCE_ENDED;
    assert_in_range(n_ended, 1, 12);
    bench_release(&b);
}

/* A batch prompt gets what interactive ones leave, and a little when they leave nothing. */
static void test_room_goes_by_rank(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b, 256, 8, 160);
    struct sequence *batch = add(&b, 1, 1500, 5, JOB_BATCH);
    struct sequence *chat = add(&b, 2, 1500, 5, JOB_INTERACTIVE);
    step(&b);
    assert_in_range(planned(&b, batch), 8, 16);
    assert_in_range(planned(&b, chat), 144, 152);
    struct sequence *mine = &make(&b, 3, 1500, 5)->seq[0];
    mine->job->tenant = 9;
    scheduler_add(&b.s, mine->job);
    struct sequence *third = add(&b, 4, 1500, 5, JOB_INTERACTIVE);
    step(&b);
    assert_in_range(planned(&b, chat), 70, 150); /* the oldest */
    assert_in_range(planned(&b, mine), 0, 80);
    assert_in_range(planned(&b, third), 0, 8); /* its tenant has one that is older */
    struct sequence *quick = add(&b, 5, 20, 5, JOB_INTERACTIVE);
    quick->job->tenant = 7;
    step(&b);
    assert_int_equal(planned(&b, quick), 20);
    bench_release(&b);
}

/* ---- the length of steps ---- */

/* A chunk shrinks as what it sees grows, so that the step's cost stays. */
static void test_chunk_shrinks_with_depth(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b, 256, 8, 512);
    b.budget = (struct step_budget){100, 400, 0.01, 512};
    struct sequence *seq = add(&b, 1, 1900, 5, 0);
    step(&b);
    int first = planned(&b, seq);
    assert_in_range(first, 180, 210); /* n + 0.01 * n^2 / 2 <= 400 */
    while (seq->n_computed < 1500)
        step(&b);
    step(&b);
    assert_in_range(planned(&b, seq), 16, 24); /* each costs 16 and more */
    bench_release(&b);
}

/* One prompt beside a reader keeps to the budget; when many wait for a first token, steps grow. */
static void test_crowd_gets_longer_steps(void **state)
{
    (void)state;
    struct bench b;
    bench_init(&b, 512, 32, 512);
    b.budget = (struct step_budget){60, 240, 0, 512};
    add(&b, 0, 4, 400, 0);
    step(&b);
    add(&b, 1, 1900, 5, 0);
    assert_in_range(step(&b)->batch.n_tokens, 50, 60);
    add(&b, 2, 1900, 5, 0);
    add(&b, 3, 1900, 5, 0);
    assert_in_range(step(&b)->batch.n_tokens, 110, 120); /* 60 + (3 - 1) / (3 * 2) * 180 */
    for (int i = 4; i < 12; i++)
        add(&b, i, 500, 5, 0);
    assert_in_range(step(&b)->batch.n_tokens, 230, 240);
    bench_release(&b);
}

static double true_ms(const struct plan *p)
{
    return 20 + 0.8 * p->batch.n_tokens + p->n_attended / 2000;
}

static void test_cost_is_learned(void **state)
{
    (void)state;
    struct step_cost c;
    step_cost_init(&c);
    struct plan p = {0};
    assert_true(step_cost_budget(&c, 60, 240).with_decode <= 32); /* nothing is known: small */
    double position = 0;
    for (int i = 0; i < 200; i++) {
        struct step_budget may = step_cost_budget(&c, 60, 240);
        double n = i % 10 == 9 ? 1 : may.with_decode; /* one decodes alone */
        n = n > may.n_prefill_max ? may.n_prefill_max : n < 8 ? 8 : n;
        p.batch.n_tokens = (int)n;
        p.n_attended = n * position;
        position = position > 3000 ? 0 : position + n;
        double ms = true_ms(&p) * (i % 37 == 36 ? 8 : 1 + 0.04 * ((i * 7) % 11 - 5) / 5);
        step_cost_learn(&c, &p, ms);
    }
    assert_true(step_cost_of(&c, 32, 0) > 0.9 * (20 + 0.8 * 32));
    assert_true(step_cost_of(&c, 32, 0) < 1.1 * (20 + 0.8 * 32));
    assert_true(step_cost_of(&c, 64, 64 * 2000.0) > 0.9 * (20 + 0.8 * 64 + 64));
    assert_true(step_cost_of(&c, 64, 64 * 2000.0) < 1.1 * (20 + 0.8 * 64 + 64));
    /* hours of decodes of one kind do not change what a prompt costs */
    p.batch.n_tokens = p.n_decode = 4;
    p.n_attended = 4 * 100;
    for (int i = 0; i < 100000; i++)
        step_cost_learn(&c, &p, true_ms(&p) * (1 + 0.04 * ((i * 7) % 11 - 5) / 5));
    assert_true(step_cost_of(&c, 128, 0) > 0.7 * (20 + 0.8 * 128));
    assert_true(step_cost_of(&c, 128, 0) < 1.4 * (20 + 0.8 * 128));
}

/* A long prompt in small chunks beside one stream, on a machine that others use too: what is
 * learned stays near what is true. (Cut off at zero, the recursion ran away from a third of these.)
 */
static void test_noise_does_not_run_away(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 40; seed++) {
        struct step_cost c;
        step_cost_init(&c);
        double depth = 0;
        for (int i = 0; i < 3000; i++) {
            struct plan p = {.n_decode = 1};
            int n = i < 64 ? 0 : 8;
            p.batch.n_tokens = 1 + n;
            p.n_attended = 32 + i + (depth + 0.5 * n) * n;
            depth += n;
            double ms = 15 + 1.9 * p.batch.n_tokens + 0.23e-3 * p.n_attended;
            step_cost_learn(&c, &p,
                            ms * (1 + 0.5 * rng_uniform(seed, 1, (uint64_t)i) +
                                  (rng_uniform(seed, 2, (uint64_t)i) < 0.02)));
            if (i < 500)
                continue;
            double told = step_cost_of(&c, p.batch.n_tokens, p.n_attended);
            assert_true(told > 0.8 * ms && told < 2 * ms);
            for (int k = 0; k < 3; k++)
                assert_true(c.weight[k] >= 0);
        }
        assert_true(step_cost_budget(&c, 100, 400).with_decode > 16);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_second_prompt_is_found),
        cmocka_unit_test(test_whole_prompt_is_found),
        cmocka_unit_test(test_scores_do_not_use_the_cache),
        cmocka_unit_test(test_what_was_cancelled_is_found),
        cmocka_unit_test(test_running_ones_share),
        cmocka_unit_test(test_ends_are_forgotten_first),
        cmocka_unit_test(test_cache_compares_tokens),
        cmocka_unit_test(test_interactive_takes_the_place_of_batch),
        cmocka_unit_test(test_equals_wait),
        cmocka_unit_test(test_blocks_go_to_the_higher_class),
        cmocka_unit_test(test_batch_does_not_starve),
        cmocka_unit_test(test_tenants_share),
        cmocka_unit_test(test_room_goes_by_rank),
        cmocka_unit_test(test_chunk_shrinks_with_depth),
        cmocka_unit_test(test_crowd_gets_longer_steps),
        cmocka_unit_test(test_cost_is_learned),
        cmocka_unit_test(test_noise_does_not_run_away),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
