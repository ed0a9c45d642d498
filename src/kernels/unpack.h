/*
 * unpack: 32 consecutive weights of any quantized type in one plain form.
 *
 * This is the one place that says how each type's product with activations is formed:
 *   dot(p) = scale[0] * sum(q[0..15] * p[0..15]) + scale[1] * sum(q[16..31] * p[16..31])  exact
 * int32 acc = fma((float)dot(a.q), d * a.d, acc) where the block has a residual: acc =
 * fma((float)dot(a.r), d * a.e, acc) MIN_32: acc = fma(m[0], a.s, acc) MIN_16: acc = fma(m[0],
 * a.s16[0], acc), then acc = fma(m[1], a.s16[1], acc) so a weight is d * scale * q + m. |scale * q|
 * sums stay below 2^31 for every type.
 */
#ifndef HEARTH_KERNELS_UNPACK_H
#define HEARTH_KERNELS_UNPACK_H

#include "tensor/dtype.h"

enum min_kind { MIN_NONE, MIN_32, MIN_16 };

struct unpacked {
    float d;
    float m[2];
    int scale[2];
    int8_t q[32];
};

/* `block` is a block of the type, i_group selects 32 elements of it. */
typedef void (*k_unpack_fn)(const void *block, int i_group, struct unpacked *ret);

struct unpacker {
    k_unpack_fn fn; /* NULL: the type's activations are float, or it cannot be multiplied */
    enum min_kind min;
};

extern const struct unpacker k_unpackers[DTYPE_END];
extern const struct unpacker k_unpackers_avx2[DTYPE_END];

#endif
