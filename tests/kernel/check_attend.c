/*
 * check_attend: attention of random rows over random blocks against generic (two passes in double).
 *
 * Tolerance: 1e-5 of the greatest value, for the float sums, the exponential and the weights. A
 * row's bits are the same alone, with other rows, in any order, and whatever lies outside its range
 * (NaN there).
 */
#include "check.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define ROWS_MAX 140
#define LEN_MAX  700
#define DIM_MAX  260

struct scene {
    int block_len, n_blocks, dim, dim_v, len;
    size_t stride;
    struct check_buf k, v; /* f16 [n_blocks * block_len][stride], the blocks shuffled */
    const uint16_t *k_block[LEN_MAX], *v_block[LEN_MAX];
    struct check_buf q;
    struct check_buf scratch;
    float scale, cap;
};

static void fill_half(uint16_t *to, size_t n)
{
    for (size_t i = 0; i < n; i++)
        to[i] = f32_to_f16(check_gauss());
}

static void scene_init(struct scene *s, int dim, int dim_v, int block_len, int len, float cap)
{
    *s = (struct scene){.dim = dim, .dim_v = dim_v, .block_len = block_len, .len = len};
    s->n_blocks = (len + block_len - 1) / block_len;
    s->stride = (size_t)(dim > dim_v ? dim : dim_v) + 24;
    s->scale = 1 / sqrtf((float)dim);
    s->cap = cap;
    size_t n = (size_t)(s->n_blocks * block_len) * s->stride;
    s->k = check_buf_new(n * 2);
    s->v = check_buf_new(n * 2);
    s->q = check_buf_new((size_t)ROWS_MAX * (size_t)dim * 4);
    s->scratch = check_buf_new((attend_scratch_bytes(dim, dim_v) + 63) / 64 * 64);
    fill_half(s->k.ptr, n);
    fill_half(s->v.ptr, n);
    for (int i = 0; i < ROWS_MAX * dim; i++)
        ((float *)s->q.ptr)[i] = 3 * check_gauss();
    for (int i = 0; i < s->n_blocks; i++) {
        size_t at = (size_t)((i * 7 + 3) % s->n_blocks) * (size_t)block_len * s->stride;
        if (s->n_blocks % 7 == 0)
            at = (size_t)(s->n_blocks - 1 - i) * (size_t)block_len * s->stride;
        s->k_block[i] = (uint16_t *)s->k.ptr + at;
        s->v_block[i] = (uint16_t *)s->v.ptr + at;
    }
}

static void scene_release(struct scene *s)
{
    check_buf_free(&s->k);
    check_buf_free(&s->v);
    check_buf_free(&s->q);
    check_buf_free(&s->scratch);
}

/* Rows index[0..n) with their ranges; out[i] for row index[i]. */
static void attend(const struct kernels *k, struct scene *s, const int *index, const int *from,
                   const int *to, int n, float *out)
{
    size_t q_at[ROWS_MAX], out_at[ROWS_MAX];
    int row_from[ROWS_MAX], row_to[ROWS_MAX];
    for (int i = 0; i < n; i++) {
        q_at[i] = (size_t)index[i] * (size_t)s->dim;
        out_at[i] = (size_t)index[i] * (size_t)s->dim_v;
        row_from[i] = from[index[i]];
        row_to[i] = to[index[i]];
    }
    k->attend(&(struct attend_args){.out = out,
                                    .out_at = out_at,
                                    .q = s->q.ptr,
                                    .q_at = q_at,
                                    .from = row_from,
                                    .to = row_to,
                                    .n_q = n,
                                    .head_dim = s->dim,
                                    .head_dim_v = s->dim_v,
                                    .k_block = s->k_block,
                                    .v_block = s->v_block,
                                    .stride = s->stride,
                                    .block_len = s->block_len,
                                    .scale = s->scale,
                                    .cap = s->cap,
                                    .scratch = s->scratch.ptr});
}

/* Ranges as a model has them: causal, with a window, or anything. */
static void ranges(const struct scene *s, int kind, int n, int *from, int *to)
{
    for (int i = 0; i < n; i++) {
        to[i] = s->len - n + i + 1;
        if (to[i] < 1 || kind == 2)
            to[i] = check_int(1, s->len);
        from[i] = kind == 0   ? 0
                  : kind == 1 ? (to[i] > 40 ? to[i] - 40 : 0)
                              : check_int(0, to[i] - 1);
    }
}

static void check_against_generic(const struct kernels *k, struct scene *s, int n, const int *from,
                                  const int *to, float *out)
{
    static float want[ROWS_MAX * DIM_MAX];
    int index[ROWS_MAX];
    for (int i = 0; i < n; i++)
        index[i] = i;
    for (int i = 0; i < n * s->dim_v; i++)
        out[i] = want[i] = NAN;
    attend(k, s, index, from, to, n, out);
    attend(kernels_get(CPU_GENERIC), s, index, from, to, n, want);
    check_n_done++;
    for (int i = 0; i < n * s->dim_v; i++) {
        if (fabsf(out[i] - want[i]) <= 1e-5f * 4)
            continue;
        check_fail("%s attend dim %d/%d block %d row %d of %d [%d,%d) cap %g: %.9g, not %.9g",
                   cpu_level_name(k->level), s->dim, s->dim_v, s->block_len, i / s->dim_v, n,
                   from[i / s->dim_v], to[i / s->dim_v], (double)s->cap, (double)out[i],
                   (double)want[i]);
        return;
    }
}

static void check_alone(const struct kernels *k, struct scene *s, int n, const int *from,
                        const int *to, const float *all)
{
    static float out[ROWS_MAX * DIM_MAX];
    int index[ROWS_MAX];
    for (int round = 0; round < 4; round++) {
        int m = 0;
        for (int i = 0; i < n; i++)
            if (round == 0 ? i == n / 2 : check_u64() & 1)
                index[m++] = n - 1 - i;
        if (m == 0)
            continue;
        attend(k, s, index, from, to, m, out);
        check_n_done++;
        for (int i = 0; i < m; i++) {
            size_t at = (size_t)index[i] * (size_t)s->dim_v;
            if (memcmp(out + at, all + at, (size_t)s->dim_v * 4) != 0) {
                check_fail("%s attend dim %d: row %d of %d differs among %d",
                           cpu_level_name(k->level), s->dim, index[i], n, m);
                return;
            }
        }
    }
}

/* Nothing outside the range of a row reaches it, not even NaN. */
static void check_outside(const struct kernels *k, struct scene *s, const int *from, const int *to,
                          const float *all)
{
    static float out[ROWS_MAX * DIM_MAX];
    int index = 0;
    for (int pos = 0; pos < s->n_blocks * s->block_len; pos++) {
        if (pos >= from[0] && pos < to[0])
            continue;
        size_t at = (size_t)(pos % s->block_len) * s->stride;
        for (int i = 0; i < s->dim; i++)
            ((uint16_t *)s->k_block[pos / s->block_len])[at + (size_t)i] = 0x7e00;
        for (int i = 0; i < s->dim_v; i++)
            ((uint16_t *)s->v_block[pos / s->block_len])[at + (size_t)i] = 0x7e00;
    }
    attend(k, s, &index, from, to, 1, out);
    check_n_done++;
    if (memcmp(out, all, (size_t)s->dim_v * 4) != 0)
        check_fail("%s attend dim %d: what lies outside [%d,%d) changes a row",
                   cpu_level_name(k->level), s->dim, from[0], to[0]);
}

void check_attend(const struct kernels *k)
{
    static const struct {
        int dim, dim_v, block_len, len, n;
        float cap;
    } c[] = {
        {64, 64, 32, 1, 1, 0},     {64, 64, 32, 70, 3, 0},     {64, 64, 16, 300, 9, 0},
        {128, 128, 64, 333, 4, 0}, {256, 256, 32, 200, 8, 50}, {80, 80, 32, 100, 5, 0},
        {100, 100, 32, 95, 7, 0},  {96, 64, 8, 64, 2, 30},     {20, 12, 1, 40, 6, 0},
        {64, 64, 32, 512, 140, 0}, {256, 256, 128, 600, 4, 0}, {3, 5, 4, 33, 3, 0},
        {128, 128, 32, 700, 1, 0},
    };
    static float all[ROWS_MAX * DIM_MAX];
    for (size_t i = 0; i < sizeof c / sizeof c[0] * 3; i++) {
        struct scene s;
        int from[ROWS_MAX], to[ROWS_MAX], n = c[i / 3].n;
        scene_init(&s, c[i / 3].dim, c[i / 3].dim_v, c[i / 3].block_len, c[i / 3].len,
                   c[i / 3].cap);
        ranges(&s, (int)(i % 3), n, from, to);
        check_against_generic(k, &s, n, from, to, all);
        check_alone(k, &s, n, from, to, all);
        check_outside(k, &s, from, to, all);
        scene_release(&s);
    }
}
