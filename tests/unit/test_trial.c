/*
 * trial: a simulated worker that some jobs kill. Whatever the order: only jobs that kill it fail,
 * every other one gets to its end, and it takes few deaths.
 */
#include "base/mem.h"
#include "base/rng.h"
#include "gateway/job.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#define JOBS 12

struct world {
    struct slot slot;
    struct job job[JOBS];
    int64_t kills_at[JOBS]; /* tokens; -1: never */
    bool failed[JOBS];
    int n_deaths;
};

static int index_of(const struct world *w, const struct job *j)
{
    return (int)(j - w->job);
}

static void remove_job(struct world *w, struct job *j)
{
    struct job **at = &w->slot.jobs;
    while (*at != j)
        at = &(*at)->next;
    *at = j->next;
    if (w->slot.trial == j)
        w->slot.trial = NULL;
    j->slot = NULL;
}

static void die(struct world *w)
{
    w->n_deaths++;
    w->slot.n_deaths++;
    struct job *guilty = trial_death(&w->slot, false);
    if (guilty == NULL) {
        assert_true(w->slot.n_deaths < SLOT_DEATHS_MAX); /* or the model would be given up */
        return;
    }
    assert_true(w->kills_at[index_of(w, guilty)] >= 0); /* never an innocent one */
    trial_over(&w->slot);
    assert_int_equal(w->slot.n_deaths, 0);
    w->failed[index_of(w, guilty)] = true;
    remove_job(w, guilty);
}

/* One step of the worker: each job it has gets a token. False: it died. */
static bool step(struct world *w, int64_t length, uint64_t seed, uint64_t at)
{
    for (struct job *j = w->slot.jobs, *next; j != NULL; j = next) {
        next = j->next;
        if (j->state == JOB_IS_WAITING)
            continue;
        /* some words are lost: the job began, and nobody heard of it */
        if (j->state == JOB_IS_SENT && rng_uniform(seed, 5, at * JOBS) < 0.5)
            j->state = JOB_IS_STARTED;
        if (w->kills_at[index_of(w, j)] == j->n_tokens) {
            die(w);
            return false;
        }
        j->n_tokens++;
        j->n_new++;
        trial_progress(j);
        if (j->n_tokens == length)
            remove_job(w, j);
    }
    return true;
}

static void run(uint64_t seed, int n_guilty, int64_t late)
{
    struct world *w = mem_zero(1, sizeof *w);
    for (int i = JOBS; i-- > 0;) {
        w->job[i] = (struct job){.slot = &w->slot, .n_units = 1, .next = w->slot.jobs};
        w->slot.jobs = &w->job[i];
        w->kills_at[i] = -1;
    }
    for (int i = 0; i < n_guilty; i++) {
        int who = (int)(rng_uniform(seed, 1, (uint64_t)i) * JOBS);
        w->kills_at[who] = (int64_t)(rng_uniform(seed, 2, (uint64_t)i) * (double)late);
    }
    for (uint64_t at = 0; w->slot.jobs != NULL; at++) {
        assert_true(at < 100000); /* it converges */
        struct job *j;
        while ((j = trial_next(&w->slot)) != NULL) {
            assert_int_equal(j->state, JOB_IS_WAITING);
            j->state = JOB_IS_SENT;
        }
        step(w, 60, seed, at);
    }
    int n_failed = 0;
    for (int i = 0; i < JOBS; i++) {
        assert_int_equal(w->failed[i], w->kills_at[i] >= 0);
        n_failed += w->failed[i];
    }
    assert_true(w->n_deaths <= (n_guilty == 1 ? 4 : SLOT_DEATHS_MAX) * n_failed);
    free(w);
}

static void test_only_the_guilty_fail(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 500; seed++) {
        run(seed, 1, 50);
        run(seed, 1, 1);
        run(seed, 3, 50);
    }
    run(0, 0, 1);
}

/* Alone it is beyond doubt at the second death; a death of our own making blames nobody. */
static void test_a_single_job(void **state)
{
    (void)state;
    struct slot slot = {0};
    struct job j = {.slot = &slot, .n_units = 1, .state = JOB_IS_SENT};
    slot.jobs = &j;
    assert_null(trial_death(&slot, true));
    assert_int_equal(j.n_deaths, 0);
    j.state = JOB_IS_DECODING;
    assert_null(trial_death(&slot, false));
    assert_ptr_equal(trial_next(&slot), &j);
    j.state = JOB_IS_SENT;
    assert_ptr_equal(trial_death(&slot, false), &j);
    assert_int_equal(j.state, JOB_IS_WAITING);
}

/* While a suspect is tried nobody else is sent; what has never been sent is no suspect. */
static void test_suspects_run_alone(void **state)
{
    (void)state;
    struct slot slot = {0};
    struct job fresh = {.slot = &slot, .n_units = 1};
    struct job b = {.slot = &slot, .n_units = 1, .next = &fresh};
    struct job a = {.slot = &slot, .n_units = 1, .next = &b};
    slot.jobs = &a;
    for (int i = 0; i < 2; i++) {
        a.state = JOB_IS_SENT;
        b.state = JOB_IS_STARTED;
        assert_null(trial_death(&slot, false));
    }
    assert_ptr_equal(trial_next(&slot), &b); /* it was computing */
    b.state = JOB_IS_SENT;
    assert_null(trial_next(&slot));
    b.n_new = 15;
    assert_false(trial_progress(&b));
    b.n_new = 16;
    assert_true(trial_progress(&b));
    assert_ptr_equal(trial_next(&slot), &a);
    a.state = JOB_IS_SENT;
    assert_null(trial_next(&slot));
    a.n_new = 16;
    assert_true(trial_progress(&a));
    assert_ptr_equal(trial_next(&slot), &fresh);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_only_the_guilty_fail),
        cmocka_unit_test(test_a_single_job),
        cmocka_unit_test(test_suspects_run_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
