/*
 * share: whatever some keys send, there is a place for one that has none; those that flood come to
 * have the same; a key by itself may have all; the order in which jobs go to the worker, and the
 * places in the line that their owners are told.
 */
#include "base/clock.h"
#include "base/mem.h"
#include "base/rng.h"
#include "gateway/job.h"
#include "gateway/models.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#define PLACES 8
#define QUEUE  256
#define KEYS   40

struct world {
    struct gateway_opts opts;
    struct models models;
    struct slot slot;
};

static struct world *world_new(void)
{
    struct world *w = mem_zero(1, sizeof *w);
    w->opts = (struct gateway_opts){.parallel = PLACES, .queue_max = QUEUE};
    w->models.opts = &w->opts;
    w->slot.models = &w->models;
    return w;
}

static struct job *add(struct world *w, int64_t tenant, int64_t n_units)
{
    struct job *j = mem_zero(1, sizeof *j), **at = &w->slot.jobs;
    *j = (struct job){.slot = &w->slot, .n_units = n_units, .submit_ns = clock_ns()};
    if (n_units > 0)
        share_join(j, tenant);
    while (*at != NULL)
        at = &(*at)->next;
    *at = j;
    w->slot.n_units += n_units;
    return j;
}

static void drop(struct world *w, struct job *j)
{
    struct job **at = &w->slot.jobs;
    while (*at != j)
        at = &(*at)->next;
    *at = j->next;
    w->slot.n_units -= j->n_units;
    w->slot.held_bytes -= (int64_t)j->replay.frame_len;
    share_leave(j);
    free(j);
}

static void world_free(struct world *w)
{
    while (w->slot.jobs != NULL)
        drop(w, w->slot.jobs);
    assert_null(w->slot.shares); /* each goes with its last job */
    free(w);
}

static enum slot_room ask(struct world *w, int64_t tenant, bool others, int64_t n_units)
{
    int retry_s = 0;
    enum slot_room room = slot_has_room(&w->slot, tenant, others, n_units, &retry_s);
    assert_int_equal(room != SLOT_ROOM_YES, retry_s >= 1);
    return room;
}

/* As many as it gets; how many that were. */
static int flood(struct world *w, int64_t tenant, bool others)
{
    int n = 0;
    while (ask(w, tenant, others, 1) == SLOT_ROOM_YES) {
        add(w, tenant, 1);
        n++;
    }
    return n;
}

static void start_first(struct world *w)
{
    int64_t n = 0;
    for (struct job *j = w->slot.jobs; j != NULL && n < PLACES; j = j->next, n++)
        j->state = JOB_IS_STARTED;
}

static void test_a_key_by_itself_has_all(void **state)
{
    (void)state;
    struct world *w = world_new();
    assert_int_equal(flood(w, 1, false), PLACES + QUEUE);
    assert_int_equal(ask(w, 1, false, 1), SLOT_ROOM_FULL);
    world_free(w);
}

static void test_a_flood_leaves_places_for_others(void **state)
{
    (void)state;
    struct world *w = world_new();
    for (int i = 0; i < PLACES; i++) /* no place to compute in stays free for want of a share */
        add(w, 1, 1);
    start_first(w);
    assert_in_range(flood(w, 1, true), QUEUE * 2 / 3 - 1, QUEUE * 2 / 3 + 1);
    assert_int_equal(ask(w, 1, true, 1), SLOT_ROOM_SHARE);
    assert_int_equal(flood(w, 2, true), 57); /* two thirds of what was left */
    assert_int_equal(ask(w, 2, true, 1), SLOT_ROOM_SHARE);
    for (int64_t tenant = 3; tenant < 30; tenant++) { /* and one each for those that ask for one */
        assert_int_equal(ask(w, tenant, true, 1), SLOT_ROOM_YES);
        add(w, tenant, 1);
    }
    assert_int_equal(ask(w, 30, true, 3), SLOT_ROOM_FULL);
    add(w, 30, 2);
    assert_int_equal(ask(w, 31, true, 1), SLOT_ROOM_FULL);
    assert_int_equal(ask(w, 1, true, 1), SLOT_ROOM_FULL);
    world_free(w);
}

static void test_small_queues(void **state)
{
    (void)state;
    struct world *w = world_new();
    w->opts.queue_max = 0; /* all that can be computed at once, and nobody waits */
    assert_int_equal(flood(w, 1, true), PLACES);
    assert_int_equal(ask(w, 2, true, 1), SLOT_ROOM_FULL);
    start_first(w);
    w->opts.queue_max = 2;
    assert_int_equal(flood(w, 1, true), 1);
    assert_int_equal(flood(w, 2, true), 1);
    world_free(w);
    w = world_new();
    assert_int_equal(ask(w, 1, true, 10 * QUEUE), SLOT_ROOM_YES); /* nothing is there */
    add(w, 1, 1);
    assert_int_equal(ask(w, 1, true, PLACES - 1), SLOT_ROOM_YES);
    assert_int_equal(ask(w, 2, true, QUEUE), SLOT_ROOM_YES); /* it has nothing waiting */
    world_free(w);
}

/* One of those that started ends, another one starts. */
static void serve(struct world *w, uint64_t at)
{
    int i = (int)(rng_uniform(1, 2, at) * PLACES);
    struct job *j = w->slot.jobs;
    while (i-- > 0)
        j = j->next;
    drop(w, j);
    start_first(w);
}

/* Keys come one after the other and never let go: each comes to have the same. */
static void test_floods_come_to_have_the_same(void **state)
{
    (void)state;
    struct world *w = world_new();
    for (int n_key = 1; n_key <= KEYS; n_key++) {
        for (uint64_t at = 0; at < 2000; at++) {
            assert_int_not_equal(ask(w, 1000, true, 1), SLOT_ROOM_SHARE);
            flood(w, 1 + (int64_t)(rng_uniform(3, (uint64_t)n_key, at) * n_key), true);
            if (w->slot.n_units > PLACES)
                serve(w, at);
        }
        for (int more = 1; more > 0;)
            for (int key = more = 0; key < n_key; key++)
                more += flood(w, 1 + key, true);
        assert_int_equal(ask(w, 1000, true, 1), SLOT_ROOM_YES); /* a new one */
        int64_t n_free = PLACES + QUEUE - w->slot.n_units, equal = 2 * QUEUE / (2 * n_key + 1);
        assert_true(n_free <= equal / 2 + 3);
        for (const struct share *one = w->slot.shares; one != NULL; one = one->next) {
            assert_true(one->n_queued >= 2 * n_free - 2); /* or it would have got one more */
            assert_true(one->n_queued <= equal + equal / 4 + 5);
        }
    }
    world_free(w);
}

static void add_bytes(struct world *w, int64_t tenant, int64_t bytes)
{
    struct job *j = add(w, tenant, 1);
    j->replay.frame_len = (size_t)bytes;
    w->slot.held_bytes += bytes;
}

static void test_bytes_are_shared_too(void **state)
{
    (void)state;
    struct world *w = world_new();
    int n = 0;
    for (; ask(w, 1, true, 1) == SLOT_ROOM_YES; n++)
        add_bytes(w, 1, 16 << 20);
    assert_int_equal(n, 22); /* two thirds of 512 MiB, and the one that passed them */
    assert_int_equal(ask(w, 2, true, 1), SLOT_ROOM_YES);
    assert_int_equal(ask(w, 1, false, 1), SLOT_ROOM_YES);
    for (; ask(w, 1, false, 1) == SLOT_ROOM_YES; n++)
        add_bytes(w, 1, 16 << 20);
    assert_int_equal(n, 32);
    assert_int_equal(ask(w, 2, true, 1), SLOT_ROOM_FULL);
    world_free(w);
}

static struct job *send_next(struct world *w)
{
    struct job *j = share_next(&w->slot);
    if (j != NULL)
        j->state = JOB_IS_SENT;
    return j;
}

static void test_the_order_of_sending(void **state)
{
    (void)state;
    struct world *w = world_new();
    struct job *flood[6];
    for (int i = 0; i < 6; i++)
        flood[i] = add(w, 1, 1);
    struct job *low = add(w, 2, 1), *wide = add(w, 3, 4), *after = add(w, 3, 1);
    struct job *read = add(w, 1, 1), *question = add(w, 0, 0), *aged = add(w, 4, 1);
    low->priority = 2;
    read->told_started = true;
    aged->priority = 3; /* has waited for long enough to be one of the first class */
    aged->submit_ns -= INT64_C(30000000000);
    assert_ptr_equal(send_next(w), question);
    assert_ptr_equal(send_next(w), read); /* somebody reads its text */
    assert_ptr_equal(send_next(w), wide); /* the oldest of the two that have nothing there */
    assert_ptr_equal(send_next(w), aged);
    for (int i = 0; i < 4; i++) /* one key has 4 with the worker, the other one more each time */
        assert_ptr_equal(send_next(w), flood[i]);
    assert_ptr_equal(send_next(w), after);
    assert_ptr_equal(send_next(w), flood[4]);
    assert_ptr_equal(send_next(w), flood[5]);
    assert_ptr_equal(send_next(w), low);
    assert_null(send_next(w));
    world_free(w);
}

static int64_t position(const struct job *j)
{
    struct slot_wait wait;
    return job_wait(j, &wait) ? wait.position : 0;
}

/* Keys take turns, so who asks for little is told that it does not wait for all of a flood. */
static void test_places_in_the_line(void **state)
{
    (void)state;
    struct world *w = world_new();
    struct job *flood[20], *ben[2], *low;
    for (int i = 0; i < 20; i++)
        flood[i] = add(w, 1, 1);
    low = add(w, 4, 1);
    low->priority = 1;
    for (int i = 0; i < 2; i++)
        ben[i] = add(w, 2, 1);
    start_first(w);
    assert_int_equal(position(flood[7]), 0);
    assert_int_equal(position(flood[8]), 1);
    assert_int_equal(position(ben[0]), 2);
    assert_int_equal(position(flood[9]), 3);
    assert_int_equal(position(ben[1]), 4);
    assert_int_equal(position(flood[10]), 5);
    assert_int_equal(position(flood[19]), 14);
    assert_int_equal(position(low), 15);
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_key_by_itself_has_all),
        cmocka_unit_test(test_a_flood_leaves_places_for_others),
        cmocka_unit_test(test_small_queues),
        cmocka_unit_test(test_floods_come_to_have_the_same),
        cmocka_unit_test(test_bytes_are_shared_too),
        cmocka_unit_test(test_the_order_of_sending),
        cmocka_unit_test(test_places_in_the_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
