/*
 * check_attend: attention of random rows over random blocks against generic (two passes in double).
 *
 * Tolerance: 1e-5 of the greatest value, for the float sums, the exponential and the weights; 5e-5
 * where queries are rounded to 15 bits (KV_Q8_0_QUADS). A row's bits are the same alone, with other
 * rows, in any order, and whatever lies outside its range (NaN there).
 */
#include "check.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define ROWS_MAX   140
#define LEN_MAX    1100
#define BLOCKS_MAX (LEN_MAX / KV_BLOCK_LEN + 1)
#define DIM_MAX    260
#define PIECES_MAX (LEN_MAX / ATTEND_SPLIT + 1)

struct scene {
    enum kv_type type;
    int n_blocks, dim, dim_v, len;
    struct check_buf kv; /* n_blocks blocks, shuffled, each with other things around this head's */
    size_t block_bytes, kv_at;
    uint32_t block[BLOCKS_MAX];
    struct check_buf q;
    struct check_buf scratch;
    float scale, cap;
};

/* Positions [from, to) get a random key and value plus `add`, which may be NaN. */
static void fill(struct scene *s, float add, int from, int to)
{
    float k[DIM_MAX], v[DIM_MAX];
    for (int pos = from; pos < to; pos++) {
        uint8_t *kv = (uint8_t *)s->kv.ptr + s->block[pos / KV_BLOCK_LEN] * s->block_bytes;
        for (int i = 0; i < s->dim; i++)
            k[i] = check_gauss() + add;
        for (int i = 0; i < s->dim_v; i++)
            v[i] = check_gauss() + add;
        kv_store(s->type, kv + s->kv_at, pos % KV_BLOCK_LEN, k, s->dim, v, s->dim_v);
    }
}

static void scene_init(struct scene *s, enum kv_type type, int dim, int dim_v, int len, float cap)
{
    *s = (struct scene){.type = type, .dim = dim, .dim_v = dim_v, .len = len, .cap = cap};
    s->n_blocks = (len + KV_BLOCK_LEN - 1) / KV_BLOCK_LEN;
    s->scale = 1 / sqrtf((float)dim);
    s->kv_at = 128;
    s->block_bytes = s->kv_at + kv_key_bytes(type, dim) + kv_value_bytes(type, dim_v);
    s->kv = check_buf_new(s->block_bytes * (size_t)s->n_blocks);
    s->q = check_buf_new((size_t)ROWS_MAX * (size_t)dim * 4);
    s->scratch = check_buf_new((attend_scratch_bytes(dim, dim_v) + 63) / 64 * 64);
    memset(s->kv.ptr, 0xff, s->kv.size); /* NaN in f16 */
    memset(s->scratch.ptr, 0xff, s->scratch.size);
    for (int i = 0; i < ROWS_MAX * dim; i++)
        ((float *)s->q.ptr)[i] = 3 * check_gauss();
    for (int i = 0; i < s->n_blocks; i++)
        s->block[i] =
            (uint32_t)(s->n_blocks % 7 == 0 ? s->n_blocks - 1 - i : (i * 7 + 3) % s->n_blocks);
    fill(s, 0, 0, len);
}

static void scene_release(struct scene *s)
{
    check_buf_free(&s->kv);
    check_buf_free(&s->q);
    check_buf_free(&s->scratch);
}

/* Where partial results go: one for each row, carried from call to call, or one for each piece. */
struct onward {
    float *to;
    bool *carried; /* NULL: one for each piece */
    int piece0;
};

/* Rows index[0..n) with their ranges; out[i] for row index[i]. on: NULL, or instead of out. */
static void attend(const struct kernels *k, struct scene *s, const int *index, const int *from,
                   const int *to, int n, float *out, const struct onward *on)
{
    const bool carries = on != NULL && on->carried != NULL;
    size_t q_at[ROWS_MAX], out_at[ROWS_MAX], part_at[ROWS_MAX];
    int row_from[ROWS_MAX], row_to[ROWS_MAX];
    for (int i = 0; i < n; i++) {
        q_at[i] = (size_t)index[i] * (size_t)s->dim;
        out_at[i] = (size_t)index[i] * (size_t)s->dim_v;
        part_at[i] = (size_t)index[i] * (carries ? 1 : PIECES_MAX);
        row_from[i] = from[index[i]];
        row_to[i] = to[index[i]];
    }
    k->attend(&(struct attend_args){.type = s->type,
                                    .kv = (uint8_t *)s->kv.ptr + s->kv_at,
                                    .block_bytes = s->block_bytes,
                                    .block = s->block,
                                    .out = out,
                                    .out_at = out_at,
                                    .q = s->q.ptr,
                                    .q_at = q_at,
                                    .from = row_from,
                                    .to = row_to,
                                    .n_q = n,
                                    .head_dim = s->dim,
                                    .head_dim_v = s->dim_v,
                                    .scale = s->scale,
                                    .cap = s->cap,
                                    .part = on != NULL && !carries ? on->to : NULL,
                                    .part_at = part_at,
                                    .piece0 = on != NULL ? on->piece0 : 0,
                                    .carry = carries ? on->to : NULL,
                                    .carried = carries ? on->carried : NULL,
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
    const float tolerance = s->type == KV_Q8_0_QUADS ? 2e-4f : 4e-5f;
    for (int i = 0; i < n; i++)
        index[i] = i;
    for (int i = 0; i < n * s->dim_v; i++)
        out[i] = want[i] = NAN;
    attend(k, s, index, from, to, n, out, NULL);
    attend(kernels_get(CPU_GENERIC), s, index, from, to, n, want, NULL);
    check_n_done++;
    for (int i = 0; i < n * s->dim_v; i++) {
        if (fabsf(out[i] - want[i]) <= tolerance)
            continue;
        check_fail("%s attend %s dim %d/%d row %d of %d [%d,%d) cap %g: %.9g, not %.9g",
                   cpu_level_name(k->level), kv_type_name(s->type), s->dim, s->dim_v, i / s->dim_v,
                   n, from[i / s->dim_v], to[i / s->dim_v], (double)s->cap, (double)out[i],
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
        attend(k, s, index, from, to, m, out, NULL);
        check_n_done++;
        for (int i = 0; i < m; i++) {
            size_t at = (size_t)index[i] * (size_t)s->dim_v;
            if (memcmp(out + at, all + at, (size_t)s->dim_v * 4) != 0) {
                check_fail("%s attend %s dim %d: row %d of %d differs among %d",
                           cpu_level_name(k->level), kv_type_name(s->type), s->dim, index[i], n, m);
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
    fill(s, NAN, 0, from[0]);
    fill(s, NAN, to[0], s->len);
    attend(k, s, &index, from, to, 1, out, NULL);
    check_n_done++;
    if (memcmp(out, all, (size_t)s->dim_v * 4) != 0)
        check_fail("%s attend %s dim %d: what lies outside [%d,%d) changes a row",
                   cpu_level_name(k->level), kv_type_name(s->type), s->dim, from[0], to[0]);
}

/* Pieces computed by several calls and joined afterwards: the same bits. */
static void check_parts(const struct kernels *k, struct scene *s, int n, const int *from,
                        const int *to, const float *all)
{
    static float part[ROWS_MAX * PIECES_MAX * (DIM_MAX + 32)];
    float out[DIM_MAX];
    int index[ROWS_MAX], cut_from[ROWS_MAX], cut_to[ROWS_MAX];
    const size_t len = attend_part_len(s->dim_v);
    for (int piece = 0, end; piece * ATTEND_SPLIT < s->len; piece = end) {
        end = piece + check_int(1, 2);
        for (int i = 0; i < n; i++) {
            index[i] = i;
            cut_from[i] = from[i] > piece * ATTEND_SPLIT ? from[i] : piece * ATTEND_SPLIT;
            cut_to[i] = to[i] < end * ATTEND_SPLIT ? to[i] : end * ATTEND_SPLIT;
        }
        /* Slots are counted from piece 0, and given from `piece` on. */
        attend(k, s, index, cut_from, cut_to, n, NULL,
               &(struct onward){.to = part + (size_t)piece * len, .piece0 = piece});
    }
    check_n_done++;
    for (int i = 0; i < n; i++) {
        const int first = from[i] / ATTEND_SPLIT, last = (to[i] - 1) / ATTEND_SPLIT;
        k->attend_join(out, part + ((size_t)i * PIECES_MAX + (size_t)first) * len, last - first + 1,
                       s->dim_v);
        if (memcmp(out, all + (size_t)i * (size_t)s->dim_v, (size_t)s->dim_v * 4) == 0)
            continue;
        check_fail("%s attend %s dim %d: row %d of %d [%d,%d) differs when its pieces are joined",
                   cpu_level_name(k->level), kv_type_name(s->type), s->dim, i, n, from[i], to[i]);
        return;
    }
}

/* The rows' pieces over several calls that carry them on, some of the rows at a time: the same
 * bits. */
static void check_carry(const struct kernels *k, struct scene *s, int n, const int *from,
                        const int *to, const float *all)
{
    static float carry[ROWS_MAX * (DIM_MAX + 32)];
    bool carried[ROWS_MAX] = {false};
    float out[DIM_MAX];
    int index[ROWS_MAX], cut_from[ROWS_MAX], cut_to[ROWS_MAX];
    for (int piece = 0, end; piece * ATTEND_SPLIT < s->len; piece = end) {
        end = piece + check_int(1, 2);
        for (int i = 0; i < n; i++) {
            index[i] = i;
            cut_from[i] = from[i] > piece * ATTEND_SPLIT ? from[i] : piece * ATTEND_SPLIT;
            cut_to[i] = to[i] < end * ATTEND_SPLIT ? to[i] : end * ATTEND_SPLIT;
        }
        const int m = check_int(0, n);
        attend(k, s, index, cut_from, cut_to, m, NULL,
               &(struct onward){.to = carry, .carried = carried});
        attend(k, s, index + m, cut_from, cut_to, n - m, NULL,
               &(struct onward){.to = carry, .carried = carried});
    }
    check_n_done++;
    for (int i = 0; i < n; i++) {
        k->attend_join(out, carry + (size_t)i * attend_part_len(s->dim_v), 1, s->dim_v);
        if (carried[i] &&
            memcmp(out, all + (size_t)i * (size_t)s->dim_v, (size_t)s->dim_v * 4) == 0)
            continue;
        check_fail("%s attend %s dim %d: row %d of %d [%d,%d) differs when it is carried on",
                   cpu_level_name(k->level), kv_type_name(s->type), s->dim, i, n, from[i], to[i]);
        return;
    }
}

/* Half a step of q8_0, a step of q4_0; f16 to its rounding. A value that is not finite stays
 * visible. */
static void check_store(enum kv_type type)
{
    float k[40], v[40] = {0};
    struct check_buf b = check_buf_new(kv_key_bytes(type, 40) + kv_value_bytes(type, 40));
    size_t q_at = 0, out_at = 0;
    int from = 0, to = 1;
    uint32_t block = 0;
    static float scratch[1 << 17], out[40];
    for (int i = 0; i < 40; i++)
        k[i] = v[i] = (float)(i - 20) * 0.37f;
    v[33] = INFINITY;
    kv_store(type, b.ptr, 0, k, 40, v, 40);
    kernels_get(CPU_GENERIC)
        ->attend(&(struct attend_args){.type = type,
                                       .kv = b.ptr,
                                       .block = &block,
                                       .out = out,
                                       .out_at = &out_at,
                                       .q = k,
                                       .q_at = &q_at,
                                       .from = &from,
                                       .to = &to,
                                       .n_q = 1,
                                       .head_dim = 40,
                                       .head_dim_v = 40,
                                       .scratch = scratch});
    /* Half a step; of 4 bits a whole one, for what is cut to 7 of 8. */
    const float step = type == KV_F16    ? 7.4f / 2048
                       : type == KV_Q4_0 ? 7.4f / 8 * 1.01f
                                         : 7.4f / 127 / 2 * 1.01f;
    check_n_done++;
    for (int i = 0; i < 32; i++)
        if (!(fabsf(out[i] - v[i]) <= step))
            check_fail("kv_store %s: %g comes back as %g", kv_type_name(type), (double)v[i],
                       (double)out[i]);
    if (isfinite(out[33]))
        check_fail("kv_store %s: infinity comes back as %g", kv_type_name(type), (double)out[33]);
    check_buf_free(&b);
}

/* Its own inverse, keeps products, and spreads a dim that stands out over its block. */
static void check_rotate(int dim, int block)
{
    float x[DIM_MAX], y[DIM_MAX], a[DIM_MAX], b[DIM_MAX], e[DIM_MAX] = {0};
    double before = 0, after = 0;
    for (int i = 0; i < dim; i++) {
        a[i] = x[i] = check_gauss();
        b[i] = y[i] = check_gauss();
        before += (double)x[i] * (double)y[i];
    }
    kv_rotate(a, dim);
    kv_rotate(b, dim);
    for (int i = 0; i < dim; i++)
        after += (double)a[i] * (double)b[i];
    kv_rotate(a, dim);
    e[dim - 1] = 1;
    kv_rotate(e, dim);
    check_n_done++;
    bool ok = fabs(before - after) < 1e-5 * dim;
    for (int i = 0; i < dim; i++) {
        const float want = i < dim - block ? 0 : 1 / sqrtf((float)block);
        ok = ok && fabsf(a[i] - x[i]) < 1e-5f && fabsf(fabsf(e[i]) - want) < 1e-6f;
    }
    if (!ok)
        check_fail("kv_rotate of %d dims is not the transform of blocks of %d", dim, block);
}

/* The type that level k has for one that can be asked for. */
static enum kv_type stored(const struct kernels *k, size_t type)
{
    return type == KV_Q8_0 ? k->kv_q8_0 : (enum kv_type)type;
}

void check_attend(const struct kernels *k)
{
    static const struct {
        int dim, dim_v, len, n;
        float cap;
    } c[] = {
        {64, 64, 1, 1, 0},      {64, 64, 70, 3, 0},      {64, 64, 300, 9, 0},
        {128, 128, 333, 4, 0},  {256, 256, 260, 8, 50},  {80, 80, 100, 5, 0},
        {100, 100, 95, 7, 0},   {96, 64, 64, 2, 30},     {20, 12, 40, 6, 0},
        {64, 64, 512, 140, 0},  {256, 256, 600, 4, 0},   {3, 5, 33, 3, 0},
        {128, 128, 1100, 1, 0}, {128, 128, 1024, 65, 0}, {48, 48, 257, 13, 0},
    };
    static float all[ROWS_MAX * DIM_MAX];
    const size_t n_scene = sizeof c / sizeof c[0];
    for (size_t i = 0; i < n_scene * 3 * KV_TYPES; i++) {
        struct scene s;
        const size_t j = i / (3 * KV_TYPES);
        int from[ROWS_MAX], to[ROWS_MAX], n = c[j].n;
        scene_init(&s, stored(k, i / 3 % KV_TYPES), c[j].dim, c[j].dim_v, c[j].len, c[j].cap);
        ranges(&s, (int)(i % 3), n, from, to);
        check_against_generic(k, &s, n, from, to, all);
        check_alone(k, &s, n, from, to, all);
        check_parts(k, &s, n, from, to, all);
        check_carry(k, &s, n, from, to, all);
        check_outside(k, &s, from, to, all);
        scene_release(&s);
    }
    for (int t = 0; t <= KV_Q8_0_QUADS; t++)
        check_store((enum kv_type)t);
    check_rotate(64, 32);
    check_rotate(256, 32);
    check_rotate(80, 16);
    check_rotate(96, 32);
    check_rotate(100, 4);
    check_rotate(5, 1);
}
