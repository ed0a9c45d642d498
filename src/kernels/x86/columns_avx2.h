/*
 * columns: where the tiles of a product read a few columns of activations (kernels/act.h).
 */
#ifndef HEARTH_KERNELS_COLUMNS_AVX2_H
#define HEARTH_KERNELS_COLUMNS_AVX2_H

#include "kernels/act.h"

/* Blocks of 32 of some columns (act.h). Column c at + c * stride; the arrays of the second plane
 * (r; e and g) at + r_at and + e_at bytes. */
struct columns {
    const int8_t *q;
    const float *d;
    const int16_t *h;
    const float *s, *s16;
    size_t stride;
    ptrdiff_t r_at, e_at;
    uint32_t has; /* blocks in which one of the columns has a second plane */
};

/* Blocks b0 (a multiple of 8) and on of nc columns. */
static inline struct columns columns_at(const void *x, size_t stride, int nc, int n_k, int b0)
{
    const struct act a = act_at(x, n_k);
    struct columns cols = {
        .q = a.q + 32 * b0,
        .d = a.d + b0,
        .h = a.h + 2 * b0,
        .s = a.s + b0,
        .s16 = a.s16 + 2 * b0,
        .stride = stride,
        .r_at = n_k,
        .e_at = n_k / 8,
    };
    for (int c = 0; c < nc; c++)
        cols.has |= act_at((const uint8_t *)x + (size_t)c * stride, n_k).has[b0 / 32] >> b0 % 32;
    return cols;
}

/* How a sweep over n columns is cut: groups of at most `most`, and none of one where it can be
 * helped (5 = 3 + 2, not 4 + 1). */
static inline int tile_cols(int n, int most)
{
    const int n_group = (n + most - 1) / most;
    return (n + n_group - 1) / n_group;
}

#endif
