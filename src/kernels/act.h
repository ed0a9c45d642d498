/*
 * act: the layout of one column of quantized activations ("A8"), the same at every level.
 *
 * An element is x = d * q + e * r: q is the first 8-bit plane; r, the residual plane, holds what q
 * left, in those blocks of 32 that carry much of the rounding error (quantize_a8 says which). In
 * the other blocks r, e and g are 0 and their bit of `has` is clear, so a kernel may skip the
 * plane or use it: the bits of the result are the same.
 *
 * For n elements (a multiple of 32), n_b = n / 32 blocks, one array after the other:
 *   int8   q[n]          in [-127, 127]
 *   int8   r[n]          in [-127, 127]
 *   f32    d[n_b]        the scale of q
 *   f32    e[n_b]        the scale of r
 *   f32    s[n_b]        fma(e, sum of r, d * sum of q) of the block
 *   f32    s16[n_b][2]   the same of the block's first and second 16
 *   int16  h[n_b][2]     the sums of the first and second 16 q
 *   int16  g[n_b][2]     the sums of the first and second 16 r
 *   uint32 has[(n_b + 31) / 32]   bit b % 32 of word b / 32: block b has a residual
 * act_bytes adds padding so that columns one after the other do not start at the same place of a
 * cache line: column strides that are multiples of 64 make broadcasts of neighbouring columns
 * collide in the banks of the first-level cache.
 *
 * A block with a value that is not finite has d = s = s16 = NaN, q = h = 0 and no residual.
 */
#ifndef HEARTH_KERNELS_ACT_H
#define HEARTH_KERNELS_ACT_H

#include <stddef.h>
#include <stdint.h>

struct act {
    const int8_t *q, *r;
    const float *d, *e;
    const float *s;
    const float *s16; /* [2 b], [2 b + 1] */
    const int16_t *h, *g;
    const uint32_t *has;
};

static inline struct act act_at(const void *column, int n)
{
    const uint8_t *p = column;
    const size_t k = (size_t)n, b = k / 32;
    const uint8_t *f = p + 2 * k;
    return (struct act){
        .q = (const int8_t *)p,
        .r = (const int8_t *)(p + k),
        .d = (const float *)f,
        .e = (const float *)(f + 4 * b),
        .s = (const float *)(f + 8 * b),
        .s16 = (const float *)(f + 12 * b),
        .h = (const int16_t *)(f + 20 * b),
        .g = (const int16_t *)(f + 24 * b),
        .has = (const uint32_t *)(f + 28 * b),
    };
}

static inline int act_has(const struct act *a, int b)
{
    return (int)(a->has[b / 32] >> (b % 32) & 1);
}

#endif
