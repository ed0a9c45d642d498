/*
 * kernels: the table of compute kernels, one filled table per instruction-set level.
 *
 * `generic` is the oracle: plain C, written for clarity. Every other level is checked against it by
 * tests/kernel. Within one level a result depends only on the inputs of that output element: mul
 * gives the same bits for a column whether it is computed alone or among others, and whatever the
 * rows around.
 *
 * Activations for quantized weights are "A8": per block of 32 elements one f32 scale, the int32 sum
 * of the quants (for weight types with a minimum) and 32 int8 in [-127, 127].
 */
#ifndef HEARTH_KERNELS_KERNELS_H
#define HEARTH_KERNELS_KERNELS_H

#include "kernels/cpu.h"
#include "tensor/dtype.h"

struct act_block {
    float d;     /* x = d * q */
    int32_t sum; /* sum of q[0..31] */
    int8_t q[32];
};

#define KERNEL_COLS_MAX 8 /* the most columns one mul call takes at once; callers loop over more   \
                           */

/*
 * y[c * y_stride + r] = sum_k w[r][k] * x[c][k] for r in [0, n_rows), c in [0, n_cols).
 * w: n_rows rows of w_stride bytes, in the GGUF layout, not aligned.
 * x: n_cols columns, x_stride bytes apart: struct act_block[n_k/32] when mul_takes_a8, else
 * float[n_k]. n_cols: any number >= 1. y is float, column-major in this sense: [n_cols][y_stride].
 */
typedef void (*k_mul_fn)(float *y, size_t y_stride, const void *w, size_t w_stride, int n_rows,
                         const void *x, size_t x_stride, int n_cols, int n_k);

struct kernels {
    enum cpu_level level;
    k_mul_fn mul[DTYPE_END];      /* NULL when the type cannot be multiplied (I8...) */
    bool mul_takes_a8[DTYPE_END]; /* else the activations are float (F32, F16, BF16 weights) */

    /* n is a multiple of 32. q = round-to-nearest-even(x / d), d = max|x| / 127; d = 0 -> q = 0.
     * Non-finite x gives d = NaN so that it stays visible in the result. */
    void (*quantize_a8)(const float *x, struct act_block *q, int n);
    /* y[i] = x[i] * inv_rms * w[i]; inv_rms = 1 / sqrt(mean(x^2) + eps), summed in double or
     * pairwise. */
    void (*rms_norm)(float *y, const float *x, const float *w, int n, float eps);
    void (*layer_norm)(float *y, const float *x, const float *w, const float *b, int n, float eps);
    void (*add)(float *y, const float *x, int n);                          /* y += x */
    void (*scale)(float *y, float s, int n);                               /* y *= s */
    void (*silu_mul)(float *y, const float *gate, const float *up, int n); /* y = silu(gate) * up */
    void (*gelu_mul)(float *y, const float *gate, const float *up, int n); /* tanh approximation */
    void (*softcap)(float *y, float cap, int n); /* y = cap * tanh(y / cap) */
    /* Rotates n_head heads of head_dim, the first n_rot dims. cos_sin: [n_rot/2][2]. neox: pairs
     * (i, i + n_rot/2), else (2i, 2i+1). In place. */
    void (*rope)(float *x, const float *cos_sin, int n_head, int head_dim, int n_rot, bool neox);
    void (*f32_to_f16)(uint16_t *y, const float *x, int n);
    /*
     * Attention of one query head over keys and values in blocks.
     * q: float[head_dim]; k_block[i], v_block[i]: f16 [block_len][stride], one per block, pointing
     * at this head's columns; positions [from, to) counted from the start of block 0. Scores are
     * scaled by `scale`, then soft-capped if cap > 0. out: float[head_dim_v]. Reduced in a fixed
     * order that depends only on (from, to). scratch: float[to - from] or more.
     */
    void (*attend)(float *out, const float *q, const uint16_t *const *k_block,
                   const uint16_t *const *v_block, size_t stride, int block_len, int from, int to,
                   int head_dim, int head_dim_v, float scale, float cap, float *scratch);
};

/* The table of a level that this machine has (cpu_level_choose). */
const struct kernels *kernels_get(enum cpu_level level);

#endif
