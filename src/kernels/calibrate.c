/*
 * calibrate: see the header. Owns the made-up product and the choice; knows nothing of models or of
 * where the result is kept.
 */
#include "kernels/calibrate.h"

#include "base/clock.h"
#include "base/mem.h"
#include "kernels/pack.h"
#include "kernels/pool.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define N_K         4096
#define ITEM_ROWS   64
#define COLS        32 /* of the prefill product: the kernels are near their full speed */
#define ROUNDS      7
#define BUDGET_NS   500000000
#define LOOP_NS     30000000 /* of one thread: long against its wake-up, and time for some rounds */
#define BYTES_MIN   ((size_t)64 << 20)
#define COUNTS_MAX  4
#define GAIN        1.03 /* another thread is worth having for this much */
#define SHARE       0.9  /* with less of the cpus the machine is too busy to be measured */
#define WEIGHT_TYPE DTYPE_Q4_K
/* As a half float 0.0119: no time may be lost with denormals or NaN. */
#define WEIGHT_BYTE 0x22

enum { DECODE, PREFILL, N_KIND };

struct product {
    const struct kernels *k;
    const uint8_t *w; /* [n_items] of ITEM_ROWS packed rows */
    size_t item_bytes;
    const uint8_t *x; /* [COLS] columns of zeros, which take as long as others */
    float *y;         /* [threads][COLS][ITEM_ROWS] */
    int n_cols;
};

static void multiply(void *ctx, int i_item, int i_thread)
{
    const struct product *p = ctx;
    float *y = p->y + (size_t)i_thread * COLS * ITEM_ROWS;
    p->k->mul_packed[WEIGHT_TYPE](y, ITEM_ROWS, p->w + (size_t)i_item * p->item_bytes, ITEM_ROWS,
                                  p->x, act_bytes(N_K), p->n_cols, N_K);
}

int calibrate_choose(const int *count, const double *time, int n)
{
    int best = 0;
    for (int i = 1; i < n; i++)
        if (time[i] < time[best])
            best = i;
    for (int i = 0; i < n; i++)
        if (count[i] < count[best] && time[i] <= time[best] * GAIN)
            best = i;
    return count[best];
}

/* All of the cores, and a part of them, most first; distinct. */
static int thread_counts(int n_max, int count[COUNTS_MAX])
{
    int n = 0;
    for (int quarter = 4; quarter >= 1; quarter--) {
        int c = (n_max * quarter + 3) / 4;
        if (n == 0 || c < count[n - 1])
            count[n++] = c;
    }
    return n;
}

/* Twice the last cache, so that the weights come from memory as a model's do. */
static size_t weight_bytes(void)
{
    long l3 = sysconf(_SC_LEVEL3_CACHE_SIZE);
    size_t bytes = l3 > 0 ? 2 * (size_t)l3 : 0;
    return bytes < BYTES_MIN             ? BYTES_MIN
           : bytes > CALIBRATE_BYTES_MAX ? CALIBRATE_BYTES_MAX
                                         : bytes;
}

static double cpu_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

/* The fastest loop of one kind with one count of threads. */
struct best {
    double ns;
    double share; /* of the time of `count` cpus that it was given */
};

static void time_loop(struct product *p, struct pool *pool, int count, int n_items,
                      struct best *best)
{
    pool_limit(pool, count);
    pool_run(pool, multiply, p, 2 * count); /* wakes them, warms up */
    double cpu = cpu_ns();
    int64_t start = clock_ns();
    pool_run(pool, multiply, p, n_items);
    double ns = (double)(clock_ns() - start);
    if (best->ns == 0 || ns < best->ns)
        *best = (struct best){ns, (cpu_ns() - cpu) / (ns * count)};
}

/* Items for a loop that one thread would end in about LOOP_NS, at least two for each of all. */
static int fitting_items(struct product *p, int n_items, int n_threads, int n_cols)
{
    p->n_cols = n_cols;
    multiply(p, 0, 0);
    int64_t start = clock_ns();
    multiply(p, 0, 0);
    int64_t n = LOOP_NS / (clock_ns() - start + 1);
    int least = 2 * n_threads < n_items ? 2 * n_threads : n_items;
    return n < least ? least : n < n_items ? (int)n : n_items;
}

/* In rounds over all counts and both kinds. */
static void measure(struct product *p, struct pool *pool, const int *count, int n_count,
                    int n_items, struct best best[N_KIND][COUNTS_MAX])
{
    int64_t end = clock_ns() + BUDGET_NS;
    int n_decode = fitting_items(p, n_items, count[0], 1);
    int n_prefill = fitting_items(p, n_items, count[0], COLS);
    for (int round = 0; round < ROUNDS && (round < 2 || clock_ns() < end); round++)
        for (int i = 0; i < n_count; i++) {
            p->n_cols = 1;
            time_loop(p, pool, count[i], n_decode, &best[DECODE][i]);
            p->n_cols = COLS;
            time_loop(p, pool, count[i], n_prefill, &best[PREFILL][i]);
        }
}

static int choose(const struct best *best, const int *count, int n_count, bool *ret_steady)
{
    double time[COUNTS_MAX];
    for (int i = 0; i < n_count; i++) {
        time[i] = best[i].ns;
        if (best[i].share < SHARE)
            *ret_steady = false;
    }
    return calibrate_choose(count, time, n_count);
}

static void run(struct product *p, struct pool *pool, int n_max, int n_items,
                struct calibration *ret)
{
    struct best best[N_KIND][COUNTS_MAX] = {0};
    int count[COUNTS_MAX];
    int n_count = thread_counts(n_max, count);
    measure(p, pool, count, n_count, n_items, best);
    bool steady = true;
    int n_decode = choose(best[DECODE], count, n_count, &steady);
    int n_prefill = choose(best[PREFILL], count, n_count, &steady);
    if (n_prefill < n_decode)
        n_prefill = n_decode;
    *ret = steady ? (struct calibration){n_decode, n_prefill, true}
                  : (struct calibration){n_max, n_max, false};
}

int calibrate_threads(const struct kernels *k, int n_max, struct calibration *ret, struct err *err)
{
    *ret = (struct calibration){n_max, n_max, true};
    if (n_max <= 1)
        return 0;
    size_t item_bytes = pack_bytes(WEIGHT_TYPE, ITEM_ROWS, N_K);
    int n_items = (int)(weight_bytes() / item_bytes);
    size_t n_w = (size_t)n_items * item_bytes, n_x = COLS * act_bytes(N_K);
    size_t n_y = (size_t)n_max * COLS * ITEM_ROWS * sizeof(float);
    uint8_t *w = mem_try_aligned(n_w), *x = mem_try_aligned(n_x);
    float *y = mem_try_aligned(n_y);
    struct pool *pool = NULL;
    int rc = 0;
    if (!w || !x || !y)
        rc = err_set(err, ERR_NOMEM, "no memory to measure the machine");
    rc = rc != 0 ? rc : pool_new(n_max, &pool, err);
    if (rc == 0) {
        memset(w, WEIGHT_BYTE, n_w);
        struct product p = {.k = k, .w = w, .item_bytes = item_bytes, .x = x, .y = y};
        run(&p, pool, n_max, n_items, ret);
    }
    pool_free(pool);
    mem_free_aligned(y);
    mem_free_aligned(x);
    mem_free_aligned(w);
    return rc;
}
