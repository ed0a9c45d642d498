/*
 * test_pool: every item runs exactly once, whatever the threads; cpu counting and quotas.
 */
#include "kernels/calibrate.h"
#include "kernels/cpu.h"
#include "kernels/pool.h"

#include "base/fs.h"
#include "base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define ITEMS_MAX 300

struct loop {
    int count[ITEMS_MAX]; /* plain on purpose: each item is one thread's, and visible after */
    int n_threads;
    _Atomic int bad_thread;
};

static void count_item(void *ctx, int i_item, int i_thread)
{
    struct loop *l = ctx;
    l->count[i_item]++;
    if (i_thread < 0 || i_thread >= l->n_threads)
        l->bad_thread = 1;
}

static void check_loop(struct pool *p, int n_items)
{
    struct loop l = {.n_threads = pool_n_threads(p)};
    pool_run(p, count_item, &l, n_items);
    assert_int_equal(l.bad_thread, 0);
    for (int i = 0; i < ITEMS_MAX; i++)
        assert_int_equal(l.count[i], i < n_items);
}

static void test_each_item_once(void **state)
{
    (void)state;
    static const int threads[] = {1, 2, 3, 8};
    for (size_t t = 0; t < ARRAY_LEN(threads); t++) {
        struct pool *p;
        assert_int_equal(pool_new(threads[t], &p, NULL), 0);
        assert_int_equal(pool_n_threads(p), threads[t]);
        for (int round = 0; round < 400; round++)
            check_loop(p, round % ITEMS_MAX);
        pool_free(p);
    }
}

/* Guards against lost wake-ups: workers fall asleep between loops at every possible moment. */
static void test_sleep_between(void **state)
{
    (void)state;
    struct pool *p;
    assert_int_equal(pool_new(3, &p, NULL), 0);
    for (int round = 0; round < 300; round++) {
        struct timespec t = {0, round * 700};
        nanosleep(&t, NULL);
        check_loop(p, 1 + round % 7);
    }
    pool_free(p);
}

static void sleepy_item(void *ctx, int i_item, int i_thread)
{
    struct timespec t = {0, (i_item % 4) * 60000};
    nanosleep(&t, NULL);
    count_item(ctx, i_item, i_thread);
}

/* Guards against a caller that misses the last worker's leaving while it sleeps. */
static void test_caller_waits(void **state)
{
    (void)state;
    struct pool *p;
    assert_int_equal(pool_new(4, &p, NULL), 0);
    for (int round = 0; round < 200; round++) {
        struct loop l = {.n_threads = 4};
        pool_run(p, sleepy_item, &l, 9);
        for (int i = 0; i < 9; i++)
            assert_int_equal(l.count[i], 1);
    }
    pool_free(p);
}

struct present {
    _Atomic int seen[8];
};

static void note_thread(void *ctx, int i_item, int i_thread)
{
    struct present *present = ctx;
    struct timespec t = {0, 20000};
    (void)i_item;
    nanosleep(&t, NULL);
    present->seen[i_thread] = 1;
}

/* A limit holds once the workers had time to park, loops stay whole, and parked workers return. */
static void test_limit(void **state)
{
    (void)state;
    struct pool *p;
    assert_int_equal(pool_new(4, &p, NULL), 0);
    for (int round = 0; round < 300; round++) {
        pool_limit(p, round % 7); /* 0 counts as 1, 5 and more as 4 */
        check_loop(p, 1 + round % 90);
    }
    pool_limit(p, 2);
    struct timespec t = {0, 20000000};
    nanosleep(&t, NULL);
    struct present few = {0}, all = {0};
    pool_run(p, note_thread, &few, 60);
    assert_int_equal(few.seen[2] + few.seen[3], 0);
    pool_limit(p, 4);
    for (int round = 0; round < 100 && !(all.seen[1] && all.seen[2] && all.seen[3]); round++)
        pool_run(p, note_thread, &all, 60);
    assert_int_equal(all.seen[1] + all.seen[2] + all.seen[3], 3);
    pool_limit(p, 1);
    pool_free(p); /* wakes the parked, too */
}

static void test_calibrate(void **state)
{
    (void)state;
    static const int count[] = {8, 6, 4, 2};
    assert_int_equal(calibrate_choose(count, (double[]){100, 130, 200, 400}, 4), 8);
    assert_int_equal(calibrate_choose(count, (double[]){100, 101, 102, 200}, 4), 4);
    assert_int_equal(calibrate_choose(count, (double[]){120, 110, 100, 109}, 4), 4);
    assert_int_equal(calibrate_choose(count, (double[]){100, 102, 140, 102}, 4), 2);
    assert_int_equal(calibrate_choose(count, (double[]){100}, 1), 8);
    struct calibration c;
    const struct kernels *k = kernels_get(cpu_level_detect());
    assert_int_equal(calibrate_threads(k, 1, &c, NULL), 0);
    assert_true(c.n_decode == 1 && c.n_prefill == 1 && c.steady);
    assert_int_equal(calibrate_threads(k, 2, &c, NULL), 0);
    assert_in_range(c.n_decode, 1, 2);
    assert_in_range(c.n_prefill, 1, 2);
    assert_true(c.steady || (c.n_decode == 2 && c.n_prefill == 2));
}

static void test_new_free(void **state)
{
    (void)state;
    struct err err = {0};
    struct pool *p;
    for (int i = 0; i < 50; i++) {
        assert_int_equal(pool_new(1 + i % 5, &p, &err), 0);
        if (i % 3 == 0)
            check_loop(p, 5);
        pool_free(p);
    }
    pool_free(NULL);
    assert_int_equal(pool_new(0, &p, &err), ERR_INVALID);
    assert_int_equal(pool_new(POOL_THREADS_MAX + 1, &p, &err), ERR_INVALID);
}

static void test_cpu(void **state)
{
    (void)state;
    int cpu[64];
    int n = cpu_physical(cpu, 64);
    assert_in_range(n, 1, 64);
    assert_int_equal(cpu_physical(cpu, 1), 1);
    assert_in_range(cpu_threads_default(), 1, 1 << 20);

    enum cpu_level level;
    struct err err = {0};
    setenv("HEARTH_CPU", "generic", 1);
    assert_int_equal(cpu_level_choose(&level, &err), 0);
    assert_int_equal(level, CPU_GENERIC);
    setenv("HEARTH_CPU", "abacus", 1);
    assert_int_equal(cpu_level_choose(&level, &err), ERR_INVALID);
    assert_non_null(strstr(err.text, "abacus"));
    unsetenv("HEARTH_CPU");
    assert_int_equal(cpu_level_choose(&level, &err), 0);
    assert_int_equal(level, cpu_level_detect());
    assert_true(cpu_level_has(CPU_GENERIC) && cpu_level_has(level));
    for (int l = 0; l < CPU_LEVELS; l++) {
        setenv("HEARTH_CPU", cpu_level_name((enum cpu_level)l), 1);
        int want = cpu_level_has((enum cpu_level)l) ? 0 : ERR_UNSUPPORTED;
        assert_int_equal(cpu_level_choose(&level, &err), want);
        if (want == 0)
            assert_int_equal(level, l);
    }
    unsetenv("HEARTH_CPU");
}

/* ---- quotas, in a made-up control group tree ---- */

static void put(const char *dir, const char *name, const char *text)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    char *slash = strrchr(path, '/');
    *slash = 0;
    assert_int_equal(fs_mkdirs(path, 0700, NULL), 0);
    *slash = '/';
    assert_int_equal(fs_write_atomic(path, str_z(text), 0600, NULL), 0);
}

static int quota(const char *dir)
{
    char proc[512], sys[512];
    snprintf(proc, sizeof proc, "%s/cgroup", dir);
    snprintf(sys, sizeof sys, "%s/sys", dir);
    return cpu_quota(proc, sys);
}

static void test_quota(void **state)
{
    (void)state;
    char dir[] = "/tmp/hearth-quota-XXXXXX";
    assert_non_null(mkdtemp(dir));
    assert_int_equal(quota(dir), 0); /* no such files */
    put(dir, "cgroup", "0::/a/b\n");
    assert_int_equal(quota(dir), 0);
    put(dir, "sys/a/b/cpu.max", "max 100000\n");
    assert_int_equal(quota(dir), 0);
    put(dir, "sys/a/cpu.max", "250000 100000\n");
    assert_int_equal(quota(dir), 3); /* a parent's limit holds; rounded up */
    put(dir, "sys/a/b/cpu.max", "50000 100000\n");
    assert_int_equal(quota(dir), 1);
    put(dir, "cgroup", "0::/\n");
    put(dir, "sys/cpu.max", "400000 100000\n");
    assert_int_equal(quota(dir), 4);
    put(dir, "cgroup", "12:cpuset:/x\n4:cpu,cpuacct:/d\n0::/nowhere\n");
    put(dir, "sys/cpu.max", "max 100000\n");
    put(dir, "sys/cpu/d/cpu.cfs_quota_us", "200000\n");
    put(dir, "sys/cpu/d/cpu.cfs_period_us", "100000\n");
    assert_int_equal(quota(dir), 2);
    put(dir, "sys/cpu/d/cpu.cfs_quota_us", "-1\n");
    assert_int_equal(quota(dir), 0);
    put(dir, "sys/cpu/d/cpu.cfs_quota_us", "garbage");
    assert_int_equal(quota(dir), 0);
    char command[600];
    snprintf(command, sizeof command, "rm -rf %s", dir);
    assert_int_equal(system(command), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_item_once),
        cmocka_unit_test(test_sleep_between),
        cmocka_unit_test(test_caller_waits),
        cmocka_unit_test(test_limit),
        cmocka_unit_test(test_calibrate),
        cmocka_unit_test(test_new_free),
        cmocka_unit_test(test_cpu),
        cmocka_unit_test(test_quota),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
