/*
 * act: the layout of one column of quantized activations ("A8"), the same at every level.
 *
 * For n elements (a multiple of 32), four arrays one after the other:
 *   int8  q[n]         x = d * q, q in [-127, 127]
 *   f32   d[n / 32]    the scale of a block of 32
 *   f32   s[n / 32]    d * (sum of the block's q), rounded once
 *   int16 h[n / 32][2] the sums of the block's first and second 16 q
 * act_bytes adds padding so that columns one after the other do not start at the same place of a
 * cache line: column strides that are multiples of 64 make broadcasts of neighbouring columns
 * collide in the banks of the first-level cache.
 *
 * A block with a value that is not finite has d = s = NaN and q = h = 0.
 */
#ifndef HEARTH_KERNELS_ACT_H
#define HEARTH_KERNELS_ACT_H

#include <stddef.h>
#include <stdint.h>

struct act {
    const int8_t *q;
    const float *d;
    const float *s;
    const int16_t *h;
};

static inline struct act act_at(const void *column, int n)
{
    const uint8_t *p = column;
    size_t n_block = (size_t)n / 32;
    return (struct act){(const int8_t *)p, (const float *)(p + n),
                        (const float *)(p + n + n_block * 4),
                        (const int16_t *)(p + n + n_block * 8)};
}

#endif
