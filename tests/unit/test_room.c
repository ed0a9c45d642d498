/*
 * room: who makes room. Single steps, then a simulation: two models that do not fit together, under
 * load, neither starve nor thrash. And rate: ten seconds of a counter.
 */
#include "base/mem.h"
#include "gateway/rate.h"
#include "gateway/room.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>

#define LONG_MS 100000

static struct room_model model(enum room_state state, int64_t bytes)
{
    return (struct room_model){.state = state,
                               .bytes = bytes,
                               .ready_ms = LONG_MS,
                               .idle_ms = state == ROOM_IDLE ? LONG_MS : 0,
                               .load_ms = 1000,
                               .keep = 1};
}

static void plan(const struct room_model *m, int n, int64_t need, int64_t waited_ms,
                 enum room_step want, int want_i)
{
    int i = -1;
    assert_int_equal(room_plan(m, n, 100, need, waited_ms, &i), want);
    assert_int_equal(i, want_i);
}

static void test_what_fits_goes_in(void **state)
{
    (void)state;
    const struct room_model m[] = {model(ROOM_IDLE, 40), model(ROOM_BUSY, 40)};
    plan(m, 2, 20, 0, ROOM_GO, -1);
    plan(m, 0, 100, 0, ROOM_GO, -1);
    plan(m, 2, 101, 0, ROOM_NEVER, -1);
    plan(m, 2, 21, 0, ROOM_EVICT, 0);
}

static void test_a_busy_model_is_not_evicted(void **state)
{
    (void)state;
    struct room_model m[] = {model(ROOM_BUSY, 60), model(ROOM_IDLE, 20)};
    plan(m, 2, 90, 0, ROOM_WAIT, -1); /* and the idle one is not unloaded for nothing */
    plan(m, 2, 90, ROOM_PATIENCE_MS, ROOM_YIELD, 0);
    m[0].yielding = true;
    plan(m, 2, 90, LONG_MS, ROOM_WAIT, -1);
    m[0].state = ROOM_IDLE; /* nothing runs any more */
    m[1].keep = 2;
    plan(m, 2, 90, LONG_MS, ROOM_EVICT, 0);
    m[0].state = ROOM_LEAVING;
    plan(m, 2, 70, LONG_MS, ROOM_WAIT, -1);
    plan(m, 2, 90, LONG_MS, ROOM_EVICT, 1);
}

static void test_what_loads_is_waited_for(void **state)
{
    (void)state;
    const struct room_model m[] = {model(ROOM_LOADING, 90)};
    plan(m, 1, 20, LONG_MS, ROOM_WAIT, -1);
}

static void test_the_cheapest_goes_and_among_equals_the_oldest(void **state)
{
    (void)state;
    struct room_model m[] = {model(ROOM_IDLE, 30), model(ROOM_IDLE, 30), model(ROOM_IDLE, 30)};
    m[0].keep = 4;
    m[1].idle_ms = 2 * LONG_MS;
    plan(m, 3, 30, 0, ROOM_EVICT, 1);
    m[2].keep = 0.5;
    plan(m, 3, 30, 0, ROOM_EVICT, 2);
    m[0].keep = 0.25;
    plan(m, 3, 30, 0, ROOM_EVICT, 0);
}

static void test_a_model_in_use_has_its_turn(void **state)
{
    (void)state;
    struct room_model m[] = {model(ROOM_IDLE, 60)};
    m[0].ready_ms = room_turn_ms(m[0].load_ms) - 1;
    m[0].idle_ms = 10;
    plan(m, 1, 60, LONG_MS, ROOM_WAIT, -1);
    m[0].idle_ms = 1000; /* its client has gone */
    plan(m, 1, 60, 0, ROOM_EVICT, 0);
    m[0].idle_ms = 10;
    m[0].ready_ms = room_turn_ms(m[0].load_ms);
    plan(m, 1, 60, 0, ROOM_EVICT, 0);
    m[0].state = ROOM_BUSY;
    m[0].ready_ms--;
    plan(m, 1, 60, LONG_MS, ROOM_WAIT, -1);
    m[0].ready_ms++;
    plan(m, 1, 60, LONG_MS, ROOM_YIELD, 0);
}

static void test_costs_are_compared_roughly(void **state)
{
    (void)state;
    const int64_t gib = 1 << 30;
    assert_true(room_cost(100, gib) == room_cost(900, gib));   /* both are nothing */
    assert_true(room_cost(4000, gib) == room_cost(4900, gib)); /* noise */
    assert_true(room_cost(16000, gib) > room_cost(4000, gib));
    assert_true(room_cost(4000, gib) > room_cost(4000, 4 * gib)); /* per byte */
    assert_true(isfinite(room_cost(0, 0)));
}

/* Ticks of 10 ms. Model i has always something to do; only one fits; loading takes load_ms. */
static void test_two_busy_models_share_the_time(void **state)
{
    (void)state;
    const int64_t load_ms = 700, tick_ms = 10;
    int64_t served_ms[2] = {0}, waited_ms = 0, longest_ms = 0, loads = 1, loading_ms = 0;
    struct room_model in = model(ROOM_BUSY, 60);
    int who = 0, i;
    in.ready_ms = 0;
    in.load_ms = load_ms;
    for (int64_t t = 0; t < 1000000; t += tick_ms) {
        if (loading_ms > 0) {
            loading_ms -= tick_ms;
            continue;
        }
        served_ms[who] += tick_ms;
        in.ready_ms += tick_ms;
        waited_ms += tick_ms;
        if (in.yielding) /* what ran has ended */
            in.state = ROOM_IDLE;
        enum room_step step = room_plan(&in, 1, 100, 60, waited_ms, &i);
        in.yielding = in.yielding || step == ROOM_YIELD;
        if (step != ROOM_EVICT)
            continue;
        longest_ms = waited_ms > longest_ms ? waited_ms : longest_ms;
        who = 1 - who;
        loads++;
        waited_ms = 0;
        loading_ms = load_ms;
        in = model(ROOM_BUSY, 60);
        in.ready_ms = 0;
        in.load_ms = load_ms;
    }
    assert_true(loads > 300);
    assert_true(longest_ms <= 2000);
    assert_true(served_ms[0] + served_ms[1] > 600000);
    assert_true(llabs(served_ms[0] - served_ms[1]) < 5000);
}

static void test_rate_of_ten_seconds(void **state)
{
    (void)state;
    struct rate r = {0};
    assert_true(rate_now(&r, 5000) == 0);
    for (int64_t ms = 1000; ms <= 60000; ms += 100)
        rate_add(&r, ms, ms / 10); /* 100 a second */
    assert_true(fabs(rate_now(&r, 60000) - 100) < 1);
    assert_true(fabs(rate_now(&r, 65000) - 50) < 1); /* nothing for five seconds */
    assert_true(rate_now(&r, 70001) == 0);
    rate_add(&r, 80000, 6000);
    rate_add(&r, 81000, 7000); /* a thousand in a second, of ten */
    assert_true(fabs(rate_now(&r, 81000) - 100) < 1);
    rate_add(&r, 82000, 3); /* a new worker */
    assert_true(rate_now(&r, 83000) >= 0 && rate_now(&r, 83000) < 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_fits_goes_in),
        cmocka_unit_test(test_a_busy_model_is_not_evicted),
        cmocka_unit_test(test_what_loads_is_waited_for),
        cmocka_unit_test(test_the_cheapest_goes_and_among_equals_the_oldest),
        cmocka_unit_test(test_a_model_in_use_has_its_turn),
        cmocka_unit_test(test_costs_are_compared_roughly),
        cmocka_unit_test(test_two_busy_models_share_the_time),
        cmocka_unit_test(test_rate_of_ten_seconds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
