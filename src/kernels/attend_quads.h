/*
 * attend_quads: queries quantized for products of bytes with keys in fours (KV_Q8_0_QUADS), and the
 * scratch of one attend call (private to attention).
 *
 * The dims of a query go by fours, the rows of a pass side by side, so that a tile of rows reads
 * one stream at constant distances. In groups of 32 dims x = d * q + e * r as in act.h.
 */
#ifndef HEARTH_KERNELS_ATTEND_QUADS_H
#define HEARTH_KERNELS_ATTEND_QUADS_H

#include "kernels/act.h"
#include "kernels/kernels.h"

#include <string.h>

/* Rows of q side by side, and some more: not a power of two, or they would share few cache sets. */
#define ATTEND_Q_STRIDE (ATTEND_ROWS + 16)

struct attend_quads {
    int32_t (*quad)[ATTEND_Q_STRIDE][2]; /* [quads]: four q, four r */
    float (*scale)[ATTEND_Q_STRIDE][2];  /* [groups]: d, e */
    int32_t (*sum)[ATTEND_Q_STRIDE][2];  /* [groups]: -128 times the sums of q and of r */
    void *column;                        /* one row on its way: floats, then act_bytes */
};

/* Floats that attend_quads_init takes. */
static inline size_t attend_quads_len(int head_dim)
{
    const size_t n = ((size_t)head_dim + 31) / 32 * 32;
    return (n / 4 + 2 * (n / 32)) * ATTEND_Q_STRIDE * 2 + n + act_bytes((int)n) / sizeof(float);
}

/* Floats of one tile's weights times the scales of the values: [groups][tile rows][positions]. */
static inline size_t attend_weights_len(int head_dim_v)
{
    return ((size_t)head_dim_v + 31) / 32 * ATTEND_TILE_ROWS * KV_BLOCK_LEN;
}

static inline void attend_quads_init(struct attend_quads *s, float *scratch, int head_dim)
{
    const size_t n = ((size_t)head_dim + 31) / 32 * 32;
    s->quad = (void *)scratch;
    s->scale = (void *)(s->quad + n / 4);
    s->sum = (void *)(s->scale + n / 32);
    s->column = s->sum + n / 32;
}

static inline void attend_quads_set(struct attend_quads *s, int row, const float *q, int head_dim,
                                    void (*quantize)(const float *, void *, int, float))
{
    const int n = (head_dim + 31) / 32 * 32;
    float *x = s->column;
    memcpy(x, q, (size_t)head_dim * sizeof(float));
    memset(x + head_dim, 0, (size_t)(n - head_dim) * sizeof(float));
    quantize(x, x + n, n, 0.0f);
    const struct act a = act_at(x + n, n);
    for (int i = 0; i < n / 4; i++) {
        memcpy(&s->quad[i][row][0], a.q + 4 * i, 4);
        memcpy(&s->quad[i][row][1], a.r + 4 * i, 4);
    }
    for (int g = 0; g < n / 32; g++) {
        s->scale[g][row][0] = a.d[g];
        s->scale[g][row][1] = a.e[g];
        s->sum[g][row][0] = -128 * (a.h[2 * g] + a.h[2 * g + 1]);
        s->sum[g][row][1] = -128 * (a.g[2 * g] + a.g[2 * g + 1]);
    }
}

/* The same seen from `row` on. */
static inline struct attend_quads attend_quads_row(const struct attend_quads *s, int row)
{
    return (struct attend_quads){(void *)s->quad[0][row], (void *)s->scale[0][row],
                                 (void *)s->sum[0][row], NULL};
}

#endif
