/*
 * bench_kernels: multiply-adds and weight bytes per cycle of every mul kernel, of the file's layout
 * and of panels, multiply-adds of attention, and elements per cycle of the others, on one thread.
 *
 * Cycles come from the processor's counter where the system allows it, else from the time and the
 * clock rate that a chain of additions shows. Best of many short runs: neighbours on a shared
 * machine only ever add time.
 */
#include "check.h"

#include "base/clock.h"
#include "kernels/pack.h"

#include <linux/perf_event.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

static int cycle_fd = -2;
static double cycles_per_tick = 1;

/* Cycles, or nanoseconds without a counter. */
static uint64_t ticks(void)
{
    uint64_t v;
    if (cycle_fd >= 0 && read(cycle_fd, &v, sizeof v) == (ssize_t)sizeof v)
        return v;
    return (uint64_t)clock_ns();
}

/* Additions that wait for one another, one a cycle: how many a nanosecond. */
static double clock_ghz(void)
{
    enum { N = 2000 };
    int64_t best = INT64_MAX;
    uint64_t x = 1, y = 1;
    for (int run = 0; run < 200; run++) {
        int64_t t = clock_ns();
        for (int i = 0; i < N; i++) {
#define ADD                                                                                        \
    x += y;                                                                                        \
    __asm__ volatile("" : "+r"(x), "+r"(y));
            ADD ADD ADD ADD ADD ADD ADD ADD ADD ADD
#undef ADD
        }
        t = clock_ns() - t;
        best = t < best ? t : best;
    }
    return 10.0 * N / (double)best;
}

static void ticks_init(void)
{
    struct perf_event_attr attr = {.type = PERF_TYPE_HARDWARE,
                                   .size = sizeof attr,
                                   .config = PERF_COUNT_HW_CPU_CYCLES,
                                   .exclude_kernel = 1,
                                   .exclude_hv = 1};
    if (cycle_fd != -2)
        return;
    cycle_fd = (int)syscall(SYS_perf_event_open, &attr, 0, -1, -1, 0);
    if (cycle_fd >= 0)
        return;
    cycles_per_tick = clock_ghz();
    printf("no cycle counter: a chain of additions runs at %.2f GHz\n", cycles_per_tick);
}

#define BENCH_ROWS 192
#define BENCH_COLS 256
#define BENCH_K    2048

struct mul_bench {
    const struct kernels *k;
    enum dtype t;
    bool packed;
    size_t w_stride, x_stride;
    struct check_buf w, panels, x, y;
};

static double time_mul(const struct mul_bench *b, int n_cols)
{
    uint64_t best = UINT64_MAX;
    int64_t end = clock_ns() + 60000000;
    int runs = 0;
    while (runs++ < 3 || (clock_ns() < end && runs < 2000)) {
        uint64_t t0 = ticks();
        if (b->packed)
            b->k->mul_packed[b->t](b->y.ptr, BENCH_ROWS, b->panels.ptr, BENCH_ROWS, b->x.ptr,
                                   b->x_stride, n_cols, BENCH_K);
        else
            b->k->mul[b->t](b->y.ptr, BENCH_ROWS, b->w.ptr, b->w_stride, BENCH_ROWS, b->x.ptr,
                            b->x_stride, n_cols, BENCH_K);
        uint64_t t = ticks() - t0;
        best = t < best ? t : best;
    }
    return (double)best * cycles_per_tick;
}

/*
 * What others reach with 256-bit vectors and no dot product instructions, in multiply-adds a cycle
 * on a Zen 3: llama.cpp's kernels for one column and for many, and the best tile of many columns
 * that an analysis before this program was written came to. 0: not known.
 */
static const struct {
    enum dtype t;
    double one, many, tile;
} figures[] = {
    {DTYPE_Q4_0, 8.7, 13.2, 34.3}, {DTYPE_Q4_K, 10.2, 15.0, 34.3}, {DTYPE_Q5_K, 6.3, 6.3, 32.2},
    {DTYPE_Q6_K, 7.7, 7.7, 27.4},  {DTYPE_Q8_0, 7.4, 7.4, 20.3},   {DTYPE_Q2_K, 10.3, 10.3, 0},
    {DTYPE_Q3_K, 7.3, 7.3, 0},     {DTYPE_IQ4_XS, 6.7, 6.7, 20.3}, {DTYPE_IQ4_NL, 0, 13.2, 20.3},
};

static void print_figures(enum dtype t)
{
    for (size_t i = 0; i < sizeof figures / sizeof figures[0]; i++)
        if (figures[i].t == t)
            printf("  [llama.cpp 1: %.1f, many: %.1f; expected of many: %.1f]", figures[i].one,
                   figures[i].many, figures[i].tile);
}

static void bench_layout(struct mul_bench *b, bool packed)
{
    static const int cols[] = {1, 2, 3, 4, 5, 8, 16, 64, 256};
    b->packed = packed;
    printf("%-10s %-8s %-6s", cpu_level_name(b->k->level), dtype_name(b->t),
           packed ? "packed" : "file");
    for (size_t i = 0; i < sizeof cols / sizeof cols[0]; i++) {
        if (b->k->level == CPU_GENERIC && cols[i] > 4)
            break;
        double best = time_mul(b, cols[i]);
        printf("  %d: %.1f", cols[i], (double)cols[i] * BENCH_K * BENCH_ROWS / best);
        if (cols[i] == 1)
            printf(" (%.1f B)", (double)(b->w_stride * BENCH_ROWS) / best);
    }
    if (packed && b->k->level == CPU_AVX2)
        print_figures(b->t);
    printf("\n");
    fflush(stdout);
}

static void bench_columns(const struct mul_bench *b)
{
    static float x[BENCH_K];
    for (int c = 0; c < BENCH_COLS; c++) {
        void *to = (char *)b->x.ptr + (size_t)c * b->x_stride;
        fill_floats(x, BENCH_K, FILL_SANE);
        if (b->k->mul_takes_a8[b->t])
            b->k->quantize_a8(x, to, BENCH_K, 2.0f);
        else
            memcpy(to, x, sizeof x);
    }
}

static void bench_mul(const struct kernels *k, enum dtype t, bool only_packed)
{
    const struct dtype_info *info = dtype_info(t);
    const size_t n_blocks = (size_t)(BENCH_K / info->block_elems);
    struct mul_bench b = {.k = k, .t = t, .w_stride = n_blocks * (size_t)info->block_bytes};
    b.x_stride = k->mul_takes_a8[t] ? act_bytes(BENCH_K) : (size_t)BENCH_K * 4;
    b.w = check_buf_new(b.w_stride * BENCH_ROWS);
    b.x = check_buf_new((b.x_stride * BENCH_COLS + 63) / 64 * 64);
    b.y = check_buf_new(BENCH_ROWS * BENCH_COLS * 4);
    fill_blocks(t, b.w.ptr, n_blocks * BENCH_ROWS, FILL_SANE);
    bench_columns(&b);
    if (!only_packed)
        bench_layout(&b, false);
    if (pack_has(t) && k->mul_packed[t]) {
        const size_t panel = pack_panel_bytes(t, BENCH_K);
        b.panels = check_buf_new(pack_bytes(t, BENCH_ROWS, BENCH_K));
        for (size_t i = 0; i < BENCH_ROWS / PACK_ROWS; i++)
            pack_panel(t, (char *)b.panels.ptr + i * panel,
                       (char *)b.w.ptr + i * PACK_ROWS * b.w_stride, b.w_stride, PACK_ROWS,
                       BENCH_K);
        bench_layout(&b, true);
        check_buf_free(&b.panels);
    }
    check_buf_free(&b.w);
    check_buf_free(&b.x);
    check_buf_free(&b.y);
}

/* The best of many calls of `call`, in ticks. */
#define BEST(ret, call)                                                                            \
    do {                                                                                           \
        uint64_t best_ = UINT64_MAX;                                                               \
        int64_t end_ = clock_ns() + 30000000;                                                      \
        do {                                                                                       \
            uint64_t t_ = ticks();                                                                 \
            call;                                                                                  \
            t_ = ticks() - t_;                                                                     \
            best_ = t_ < best_ ? t_ : best_;                                                       \
        } while (clock_ns() < end_);                                                               \
        (ret) = (double)best_ * cycles_per_tick;                                                   \
    } while (0)

static void bench_ops(const struct kernels *k)
{
    enum { N = 4096, DIM = 128 };
    static _Alignas(64) float x[N], y[N], w[N], cs[2 * DIM];
    static uint16_t h[N];
    static _Alignas(64) uint8_t q[4 * N];
    double t;
    fill_floats(x, N, FILL_SANE);
    fill_floats(w, N, FILL_SANE);
    fill_floats(cs, DIM, FILL_SANE);
    printf("%-10s elements per cycle:", cpu_level_name(k->level));
    BEST(t, k->quantize_a8(x, q, N, 2.0f));
    printf(" quantize_a8 %.1f", N / t);
    BEST(t, k->rms_norm(y, x, w, N, 1e-5f));
    printf(" rms_norm %.1f", N / t);
    BEST(t, k->silu_mul(y, x, w, N));
    printf(" silu_mul %.1f", N / t);
    BEST(t, k->gelu_mul(y, x, w, N));
    printf(" gelu_mul %.1f", N / t);
    BEST(t, k->softcap(y, 30, N));
    printf(" softcap %.1f", N / t);
    memcpy(y, x, sizeof y);
    BEST(t, k->rope(y, cs, N / DIM, DIM, DIM, true));
    printf(" rope %.1f", N / t);
    BEST(t, k->f32_to_f16(h, x, N));
    printf(" f32_to_f16 %.1f\n", N / t);
}

/* Attention of n rows over `len` positions of each of n_head heads, one after the other. */
struct attend_bench {
    const struct kernels *k;
    enum kv_type type;
    int dim, len, n_head;
    struct check_buf kv, scratch;
    uint32_t block[1 << 10];
};

static void attend_heads(struct attend_bench *b, int n)
{
    enum { ROWS = 64, DIM_MAX = 128 };
    static _Alignas(64) float q[ROWS * DIM_MAX], out[ROWS * DIM_MAX];
    size_t at[ROWS];
    int from[ROWS] = {0}, to[ROWS];
    size_t head = kv_key_bytes(b->type, b->dim) + kv_value_bytes(b->type, b->dim);
    for (int i = 0; i < n; i++) {
        at[i] = (size_t)(i * b->dim);
        to[i] = b->len;
        q[i * b->dim] = 1;
    }
    for (int h = 0; h < b->n_head; h++)
        b->k->attend(&(struct attend_args){.type = b->type,
                                           .kv = (uint8_t *)b->kv.ptr + (size_t)h * head,
                                           .block_bytes = (size_t)b->n_head * head,
                                           .block = b->block,
                                           .out = out,
                                           .out_at = at,
                                           .q = q,
                                           .q_at = at,
                                           .from = from,
                                           .to = to,
                                           .n_q = n,
                                           .head_dim = b->dim,
                                           .head_dim_v = b->dim,
                                           .scale = 0.1f,
                                           .scratch = b->scratch.ptr});
}

/* Multiply-adds of both products; bytes of keys and values. */
static void bench_attend_kind(const struct kernels *k, enum kv_type type, int dim, int len,
                              int n_head)
{
    struct attend_bench b = {.k = k, .type = type, .dim = dim, .len = len, .n_head = n_head};
    size_t block = (kv_key_bytes(type, dim) + kv_value_bytes(type, dim)) * (size_t)n_head;
    size_t n_block = (size_t)len / KV_BLOCK_LEN;
    b.kv = check_buf_new(block * n_block);
    madvise(b.kv.map, b.kv.map_size, MADV_HUGEPAGE); /* as the worker does */
    b.scratch = check_buf_new((attend_scratch_bytes(dim, dim) + 63) / 64 * 64);
    memset(b.kv.ptr, 0, b.kv.size);
    for (size_t i = 0; i < n_block; i++)
        b.block[i] = (uint32_t)(i * 7 % n_block);
    printf("%-10s attend %-4s head_dim %3d, %5d positions, %d heads:", cpu_level_name(k->level),
           kv_type_name(type), dim, len, n_head);
    for (int n = 1; n <= 64; n *= n == 8 ? 8 : 2) {
        double t;
        BEST(t, attend_heads(&b, n));
        printf("  %d: %.1f", n, 2.0 * n_head * len * dim * n / t);
        if (n <= 8)
            printf(" (%.1f B)", (double)b.kv.size / t);
        fflush(stdout);
    }
    printf("\n");
    check_buf_free(&b.kv);
    check_buf_free(&b.scratch);
}

static void bench_attend(const struct kernels *k)
{
    printf("attention: multiply-adds per cycle by rows (bytes of keys and values)\n");
    for (int i = 0; i < KV_TYPES; i++) {
        const enum kv_type type = i == KV_Q8_0 ? k->kv_q8_0 : (enum kv_type)i;
        bench_attend_kind(k, type, 64, 512, 1);
        bench_attend_kind(k, type, 128, 512, 1);
        bench_attend_kind(k, type, 128, 1 << 14, 8);
    }
}

void bench_all(const struct kernels *k, const char *filter)
{
    const bool packed = filter && strcasecmp(filter, "packed") == 0;
    ticks_init();
    printf("multiply-adds per cycle with 1, 2, ... columns (weight bytes per cycle with 1)\n");
    for (int t = 0; t < DTYPE_END; t++)
        if (dtype_info((uint32_t)t) && k->mul[t] && (!packed || pack_has((enum dtype)t)) &&
            (!filter || packed || strcasecmp(filter, dtype_name((enum dtype)t)) == 0))
            bench_mul(k, (enum dtype)t, packed);
    if (!filter || strcasecmp(filter, "ops") == 0)
        bench_ops(k);
    if (!filter || strcasecmp(filter, "attend") == 0)
        bench_attend(k);
}
