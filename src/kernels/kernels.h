/*
 * kernels: the table of compute kernels, one filled table per instruction-set level.
 *
 * `generic` is the oracle: plain C, written for clarity. Every other level is checked against it by
 * tests/kernel. Within one level a result depends only on the inputs of that output element: mul
 * gives the same bits for a column whether it is computed alone or among others, and whatever the
 * rows around; attend gives the same bits for a query row whatever rows stand beside it. For mul
 * the bits are the same at every level, too.
 *
 * Activations for quantized weights are "A8", opaque to callers: per block of 32 elements 32 int8
 * with one f32 scale, in some blocks a second such plane of what the first left, and sums of the
 * quants. The layout is the same at every level (kernels/act.h).
 *
 * How a product of quantized weights is formed, per row and column, over the blocks of 32 in
 * ascending order (act.h has the names): acc = fma(float(exact integer dot of w and q), dw * d,
 * acc); where the block has a residual, acc = fma(float(exact integer dot of w and r), dw * e,
 * acc); for weights with a minimum m, acc = fma(m, s, acc). How a product of float weights is
 * formed: eight partial sums (k mod 8) by fma in ascending k, added as ((0+4)+(2+6))+((1+5)+(3+7)).
 *
 * All functions are pure, allocate nothing and are safe on any thread; the largest use about 48 KiB
 * of stack. The floating-point environment is left alone (flush to zero is not set).
 */
#ifndef HEARTH_KERNELS_KERNELS_H
#define HEARTH_KERNELS_KERNELS_H

#include "kernels/attend.h"
#include "kernels/cpu.h"
#include "tensor/dtype.h"

/* Row ranges given to mul are fastest when they hold a multiple of this many rows. */
#define KERNEL_ROWS 16

/* Bytes of one quantized column of n elements (a multiple of 32); the natural x_stride. */
size_t act_bytes(int n);

/*
 * y[c * y_stride + r] = sum_k w[r][k] * x[c][k] for r in [0, n_rows), c in [0, n_cols).
 * w: n_rows rows of w_stride bytes, in the GGUF layout, not aligned.
 * x: n_cols columns, x_stride bytes apart: from quantize_a8 when mul_takes_a8, else float[n_k].
 * n_cols: any number >= 1; give all columns in one call, since a weight block is unpacked once per
 * call. n_k: a multiple of the block of the weights' type. y is float, [n_cols][y_stride].
 * x should be 64-byte aligned at column 0 (for speed only).
 */
typedef void (*k_mul_fn)(float *y, size_t y_stride, const void *w, size_t w_stride, int n_rows,
                         const void *x, size_t x_stride, int n_cols, int n_k);

/*
 * The same product from panels (kernels/pack.h), and the same bits.
 * w: ceil(n_rows / 16) panels, one after the other, 64-byte aligned; n_rows may end within the last
 * one, and only y[c * y_stride + r] with r < n_rows are written. x: from quantize_a8, always.
 */
typedef void (*k_mul_packed_fn)(float *y, size_t y_stride, const void *w, int n_rows, const void *x,
                                size_t x_stride, int n_cols, int n_k);

struct kernels {
    enum cpu_level level;
    k_mul_fn mul[DTYPE_END];      /* NULL when the type cannot be multiplied (I8...) */
    bool mul_takes_a8[DTYPE_END]; /* else the activations are float (F32, F16, BF16 weights) */
    k_mul_packed_fn mul_packed[DTYPE_END]; /* not NULL exactly for the types with pack_has */

    /*
     * n is a multiple of 32; q: act_bytes(n), 4-byte aligned. Per block m = max|x|, d = m / 127, q
     * = round-to-nearest-even of x * (127 / m); all zero -> d = 0. A block with a value that is not
     * finite gets d = NaN so that it stays visible in the result.
     * A block has a residual when m > residual_above * sqrt(mean over the column's finite blocks of
     * m^2) (in double, sums ascending; the comparison on squares); then the same is done with
     * fma(-d, q, x). 0: all blocks that are not zero (about 15 bits, and twice the products), 2.5:
     * the few blocks that carry most of the error, INFINITY: none.
     */
    void (*quantize_a8)(const float *x, void *q, int n, float residual_above);
    /* y[i] = x[i] * inv_rms * w[i]; inv_rms = 1 / sqrt(mean(x^2) + eps). y may be x. */
    void (*rms_norm)(float *y, const float *x, const float *w, int n, float eps);
    /* y[i] = (x[i] - mean) / sqrt(variance + eps) * w[i] + b[i]; b may be NULL. y may be x. */
    void (*layer_norm)(float *y, const float *x, const float *w, const float *b, int n, float eps);
    void (*add)(float *y, const float *x, int n);                          /* y += x */
    void (*scale)(float *y, float s, int n);                               /* y *= s */
    void (*silu_mul)(float *y, const float *gate, const float *up, int n); /* y = silu(gate) * up */
    void (*gelu_mul)(float *y, const float *gate, const float *up, int n); /* tanh approximation */
    void (*gelu_erf)(float *y, int n); /* y = y / 2 * (1 + erf(y / sqrt(2))): the exact GELU */
    void (*softcap)(float *y, float cap, int n); /* y = cap * tanh(y / cap) */
    /* Rotates n_head heads of head_dim, the first n_rot dims. cos_sin: [n_rot/2][2]. neox: pairs
     * (i, i + n_rot/2), else (2i, 2i+1). In place. */
    void (*rope)(float *x, const float *cos_sin, int n_head, int head_dim, int n_rot, bool neox);
    void (*f32_to_f16)(uint16_t *y, const float *x, int n); /* round to nearest even */
    /* How this level stores q8_0, KV_Q8_0 or KV_Q8_0_QUADS: attend takes that, KV_F16 and KV_Q4_0.
     * With quads queries are rounded to about 15 bits. */
    enum kv_type kv_q8_0;
    void (*attend)(const struct attend_args *a);
    /* part: n_part partial results of one row, one after the other, ascending; the first is
     * overwritten. out: [head_dim_v]. */
    void (*attend_join)(float *out, float *part, int n_part, int head_dim_v);
};

/* The table of a level that this machine has (cpu_level_choose). */
const struct kernels *kernels_get(enum cpu_level level);

#endif
