/*
 * tile: products of one group of 32 elements of 16 rows with a few columns (arm64).
 *
 * Sums of the group's two halves stay apart until the scales are known. Exact integers, then floats
 * by fused multiply-add in the order that unpack.h states: generic's bits.
 */
#ifndef HEARTH_KERNELS_TILE_NEON_H
#define HEARTH_KERNELS_TILE_NEON_H

#include "kernels/act.h"
#include "kernels/arm/quads_neon.h"
#include "kernels/unpack.h"

#define CHUNK      512 /* elements of a row that are unpacked at a time: 8 KiB for 16 rows */
#define GROUPS     (CHUNK / 32)
#define TILE_COLS  4
#define SPLIT_SIZE 512 /* bytes of an unpacked group */

/* A chunk of 16 rows, unpacked (q only where a kernel needs it), and its scales. */
struct chunk {
    _Alignas(64) int8_t q[GROUPS][SPLIT_SIZE];
    float d[GROUPS][16];
    float m[GROUPS][2][16];
    int32_t s[GROUPS][2][16];
};

/* Nothing is read ahead of here: else the compiler takes apart all quads of a group before their
 * products, or before the loop, and spills them. */
#define READ_HERE __asm__ volatile("" ::: "memory")

/* acc[c][row] += sum of a group * its scales * x's scale, for 4 rows from `row`. */
ALWAYS void add_sums(float *acc, int32x4_t first, int32x4_t second, bool scaled,
                     const struct chunk *k, int i_group, int row, float xd)
{
    int32x4_t sum;
    if (scaled)
        sum = vmlaq_s32(vmulq_s32(first, vld1q_s32(k->s[i_group][0] + row)), second,
                        vld1q_s32(k->s[i_group][1] + row));
    else
        sum = vaddq_s32(first, second);
    const float32x4_t d = vmulq_n_f32(vld1q_f32(k->d[i_group] + row), xd);
    vst1q_f32(acc + row, vfmaq_f32(vld1q_f32(acc + row), vcvtq_f32_s32(sum), d));
}

#define STEP(j)                                                                                    \
    UNROLL for (int i = 0; i < n_quad; i++)                                                        \
    {                                                                                              \
        READ_HERE;                                                                                 \
        const int8x16x2_t w = quads(kind, group, j, row / 4 + i);                                  \
        UNROLL for (int c = 0; c < n_cols; c++)                                                    \
        {                                                                                          \
            first[i][c] = vdotq_laneq_s32(first[i][c], w.val[0], x_first[c], j);                   \
            second[i][c] = vdotq_laneq_s32(second[i][c], w.val[1], x_second[c], j);                \
        }                                                                                          \
    }

/* One plane of a group, all 16 rows: 16 chains of sums at a time. */
ALWAYS void add_plane(enum quants kind, bool scaled, const uint8_t *group, const struct chunk *k,
                      int i_group, int n_cols, const int8_t *const *x, const float *xd,
                      float (*acc)[16])
{
    const int n_quad = n_cols > 2 ? 2 : 4;
    int8x16_t x_first[TILE_COLS], x_second[TILE_COLS];
    UNROLL for (int c = 0; c < n_cols; c++)
    {
        x_first[c] = vld1q_s8(x[c]);
        x_second[c] = vld1q_s8(x[c] + 16);
    }
    ROLL for (int row = 0; row < 16; row += 4 * n_quad)
    {
        int32x4_t first[4][TILE_COLS], second[4][TILE_COLS];
        UNROLL for (int i = 0; i < n_quad; i++) UNROLL for (int c = 0; c < n_cols; c++)
            first[i][c] = second[i][c] = vdupq_n_s32(0);
        STEP(0)
        STEP(1)
        STEP(2)
        STEP(3)
        UNROLL for (int i = 0; i < n_quad; i++) UNROLL for (int c = 0; c < n_cols; c++)
            add_sums(acc[c], first[i][c], second[i][c], scaled, k, i_group, row + 4 * i, xd[c]);
    }
}

#ifdef __ARM_FEATURE_MATMUL_INT8
/* Column c of 4 rows, from two products of 2 rows with 2 columns. */
ALWAYS int32x4_t of_column(int c, int32x4_t rows01, int32x4_t rows23)
{
    return c % 2 ? vuzp2q_s32(rows01, rows23) : vuzp1q_s32(rows01, rows23);
}

/* The same from an unpacked group: two rows times two columns an instruction. */
ALWAYS void add_plane_split(bool scaled, const uint8_t *group, const struct chunk *k, int i_group,
                            int n_cols, const int8_t *const *x, const float *xd, float (*acc)[16])
{
    const int n_pair = (n_cols + 1) / 2;
    int8x16_t b[TILE_COLS / 2][4];
    UNROLL for (int p = 0; p < n_pair; p++)
    {
        const int8_t *x0 = x[2 * p], *x1 = x[2 * p + 1 < n_cols ? 2 * p + 1 : 2 * p];
        UNROLL for (int e = 0; e < 4; e++) b[p][e] =
            vcombine_s8(vld1_s8(x0 + 8 * e), vld1_s8(x1 + 8 * e));
    }
    ROLL for (int row = 0; row < 16; row += 8)
    {
        int32x4_t sum[2][2][2][TILE_COLS / 2] = {0}; /* [half][4 rows][2 rows][pair of columns] */
        UNROLL for (int e = 0; e < 4; e++) UNROLL for (int i = 0; i < 4; i++)
        {
            READ_HERE;
            const uint8_t *at = group + SPLIT_AT(2 * e, row / 4 + i / 2) + 16 * (i % 2);
            const int8x16_t w = vreinterpretq_s8_u8(vld1q_u8(at));
            UNROLL for (int p = 0; p < n_pair; p++)
            {
                int32x4_t *to = &sum[e / 2][i / 2][i % 2][p];
                *to = vmmlaq_s32(*to, w, b[p][e]);
            }
        }
        UNROLL for (int i = 0; i < 2; i++) UNROLL for (int c = 0; c < n_cols; c++)
        {
            add_sums(acc[c], of_column(c, sum[0][i][0][c / 2], sum[0][i][1][c / 2]),
                     of_column(c, sum[1][i][0][c / 2], sum[1][i][1][c / 2]), scaled, k, i_group,
                     row + 4 * i, xd[c]);
        }
    }
}
#else
ALWAYS void add_plane_split(bool scaled, const uint8_t *group, const struct chunk *k, int i_group,
                            int n_cols, const int8_t *const *x, const float *xd, float (*acc)[16])
{
    add_plane(SPLIT, scaled, group, k, i_group, n_cols, x, xd, acc);
}
#endif

ALWAYS void add_plane_any(enum quants kind, bool scaled, const uint8_t *group,
                          const struct chunk *k, int i_group, int n_cols, const int8_t *const *x,
                          const float *xd, float (*acc)[16])
{
    if (kind == SPLIT)
        add_plane_split(scaled, group, k, i_group, n_cols, x, xd, acc);
    else
        add_plane(kind, scaled, group, k, i_group, n_cols, x, xd, acc);
}

ALWAYS void add_min(float *acc, const float *m, float s)
{
    UNROLL for (int row = 0; row < 16; row += 4)
        vst1q_f32(acc + row, vfmaq_n_f32(vld1q_f32(acc + row), vld1q_f32(m + row), s));
}

ALWAYS void add_mins(enum min_kind min, const struct chunk *k, int i_group, int n_cols,
                     const struct act *a, int b, float (*acc)[16])
{
    for (int c = 0; c < n_cols && min != MIN_NONE; c++) {
        if (min == MIN_32) {
            add_min(acc[c], k->m[i_group][0], a[c].s[b]);
            continue;
        }
        add_min(acc[c], k->m[i_group][0], a[c].s16[2 * b]);
        add_min(acc[c], k->m[i_group][1], a[c].s16[2 * b + 1]);
    }
}

/* Which columns have a residual in block b: bit c. */
ALWAYS unsigned residuals(const struct act *a, int n_cols, int b)
{
    unsigned has = 0;
    for (int c = 0; c < n_cols; c++)
        has |= (unsigned)act_has(&a[c], b) << c;
    return has;
}

/* Group i_group of the chunk, which is block b of the columns. */
ALWAYS void add_group(enum quants kind, bool scaled, enum min_kind min, const uint8_t *group,
                      const struct chunk *k, int i_group, int n_cols, const struct act *a, int b,
                      float (*acc)[16])
{
    const unsigned has = residuals(a, n_cols, b);
    const int n_plane = has == (1u << n_cols) - 1 ? 2 : 1;
    ROLL for (int plane = 0; plane < n_plane; plane++)
    {
        const int8_t *x[TILE_COLS];
        float xd[TILE_COLS];
        for (int c = 0; c < n_cols; c++) {
            x[c] = (plane ? a[c].r : a[c].q) + 32 * (size_t)b;
            xd[c] = (plane ? a[c].e : a[c].d)[b];
        }
        add_plane_any(kind, scaled, group, k, i_group, n_cols, x, xd, acc);
    }
    if (n_cols > 1 && n_plane == 1 && has)
        ROLL for (int c = 0; c < n_cols; c++)
        {
            const int8_t *x = a[c].r + 32 * (size_t)b;
            if (has >> c & 1)
                add_plane_any(kind, scaled, group, k, i_group, 1, &x, &a[c].e[b], acc + c);
        }
    add_mins(min, k, i_group, n_cols, a, b, acc);
}

#endif
