/*
 * mul_generic: products of weights and activations in plain C: the oracle of every other level.
 *
 * Owns the meaning of a product; kernels.h and unpack.h state it. Written for clarity: one weight
 * block is unpacked, then multiplied with every column.
 */
#include "kernels/act.h"
#include "kernels/generic/generic.h"
#include "kernels/pack.h"
#include "kernels/unpack.h"

#include <math.h>

#define BLOCK_BYTES_MAX 256 /* no type's block is longer */

size_t act_bytes(int n)
{
    const size_t n_block = (size_t)n / 32;
    size_t bytes = 2 * (size_t)n + 28 * n_block + 4 * ((n_block + 31) / 32);
    return (bytes + 63) / 64 * 64 + 16;
}

static int dot16(const int8_t *a, const int8_t *b)
{
    int sum = 0;
    for (int i = 0; i < 16; i++)
        sum += a[i] * b[i];
    return sum;
}

static float dot32(const struct unpacked *u, const int8_t *p)
{
    return (float)(u->scale[0] * dot16(u->q, p) + u->scale[1] * dot16(u->q + 16, p + 16));
}

static float add_block(float acc, const struct unpacked *u, enum min_kind min, const struct act *x,
                       int b)
{
    acc = fmaf(dot32(u, x->q + 32 * b), u->d * x->d[b], acc);
    if (act_has(x, b))
        acc = fmaf(dot32(u, x->r + 32 * b), u->d * x->e[b], acc);
    if (min == MIN_32)
        acc = fmaf(u->m[0], x->s[b], acc);
    if (min == MIN_16) {
        acc = fmaf(u->m[0], x->s16[2 * b], acc);
        acc = fmaf(u->m[1], x->s16[2 * b + 1], acc);
    }
    return acc;
}

static void mul_quantized(enum dtype t, float *y, size_t y_stride, const void *w, size_t w_stride,
                          int n_rows, const void *x, size_t x_stride, int n_cols, int n_k)
{
    const struct unpacker *unpacker = &k_unpackers[t];
    const struct dtype_info *info = dtype_info(t);
    int n_group = info->block_elems / 32;
    for (int r = 0; r < n_rows; r++) {
        const uint8_t *row = (const uint8_t *)w + (size_t)r * w_stride;
        for (int c = 0; c < n_cols; c++)
            y[(size_t)c * y_stride + (size_t)r] = 0;
        for (int b = 0; b < n_k / 32; b++) {
            struct unpacked u;
            unpacker->fn(row + b / n_group * info->block_bytes, b % n_group, &u);
            for (int c = 0; c < n_cols; c++) {
                float *acc = &y[(size_t)c * y_stride + (size_t)r];
                struct act a = act_at((const uint8_t *)x + (size_t)c * x_stride, n_k);
                *acc = add_block(*acc, &u, unpacker->min, &a, b);
            }
        }
    }
}

/* Panels: the block of a row is brought back into the file's layout, then as above. */
static void mul_panels(enum dtype t, float *y, size_t y_stride, const void *w, int n_rows,
                       const void *x, size_t x_stride, int n_cols, int n_k)
{
    const struct dtype_info *info = dtype_info(t);
    for (int r = 0; r < n_rows; r++) {
        const uint8_t *unit =
            (const uint8_t *)w + (size_t)(r / PACK_ROWS) * pack_panel_bytes(t, n_k);
        for (int c = 0; c < n_cols; c++)
            y[(size_t)c * y_stride + (size_t)r] = 0;
        for (int b = 0; b < n_k / 32; unit += pack_unit_bytes(t)) {
            uint8_t block[BLOCK_BYTES_MAX];
            pack_unpack_block(t, block, unit, r % PACK_ROWS);
            for (int g = 0; g < info->block_elems / 32; g++, b++) {
                struct unpacked u;
                k_unpackers[t].fn(block, g, &u);
                for (int c = 0; c < n_cols; c++) {
                    float *acc = &y[(size_t)c * y_stride + (size_t)r];
                    struct act a = act_at((const uint8_t *)x + (size_t)c * x_stride, n_k);
                    *acc = add_block(*acc, &u, k_unpackers[t].min, &a, b);
                }
            }
        }
    }
}

static float weight_f32(const uint8_t *row, int k)
{
    float v;
    __builtin_memcpy(&v, row + 4 * (size_t)k, 4);
    return v;
}

static float weight_f16(const uint8_t *row, int k)
{
    uint16_t v;
    __builtin_memcpy(&v, row + 2 * (size_t)k, 2);
    return f16_to_f32(v);
}

static float weight_bf16(const uint8_t *row, int k)
{
    uint16_t v;
    __builtin_memcpy(&v, row + 2 * (size_t)k, 2);
    return bf16_to_f32(v);
}

static void mul_float(float (*weight)(const uint8_t *row, int k), float *y, size_t y_stride,
                      const void *w, size_t w_stride, int n_rows, const void *x, size_t x_stride,
                      int n_cols, int n_k)
{
    for (int r = 0; r < n_rows; r++) {
        const uint8_t *row = (const uint8_t *)w + (size_t)r * w_stride;
        for (int c = 0; c < n_cols; c++) {
            const float *col = (const float *)((const uint8_t *)x + (size_t)c * x_stride);
            float s[8] = {0};
            for (int k = 0; k < n_k; k++)
                s[k % 8] = fmaf(weight(row, k), col[k], s[k % 8]);
            y[(size_t)c * y_stride + (size_t)r] =
                ((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7]));
        }
    }
}

/* X(name, dtype): the quantized types. */
#define QUANTIZED(X)                                                                               \
    X(q4_0, DTYPE_Q4_0)                                                                            \
    X(q4_1, DTYPE_Q4_1)                                                                            \
    X(q5_0, DTYPE_Q5_0)                                                                            \
    X(q5_1, DTYPE_Q5_1)                                                                            \
    X(q8_0, DTYPE_Q8_0)                                                                            \
    X(q2_k, DTYPE_Q2_K)                                                                            \
    X(q3_k, DTYPE_Q3_K)                                                                            \
    X(q4_k, DTYPE_Q4_K)                                                                            \
    X(q5_k, DTYPE_Q5_K)                                                                            \
    X(q6_k, DTYPE_Q6_K)                                                                            \
    X(iq2_xxs, DTYPE_IQ2_XXS)                                                                      \
    X(iq2_xs, DTYPE_IQ2_XS)                                                                        \
    X(iq2_s, DTYPE_IQ2_S)                                                                          \
    X(iq3_xxs, DTYPE_IQ3_XXS)                                                                      \
    X(iq3_s, DTYPE_IQ3_S)                                                                          \
    X(iq1_s, DTYPE_IQ1_S)                                                                          \
    X(iq1_m, DTYPE_IQ1_M)                                                                          \
    X(iq4_nl, DTYPE_IQ4_NL)                                                                        \
    X(iq4_xs, DTYPE_IQ4_XS)                                                                        \
    X(tq1_0, DTYPE_TQ1_0)                                                                          \
    X(tq2_0, DTYPE_TQ2_0)                                                                          \
    X(mxfp4, DTYPE_MXFP4)

#define X(name, dtype)                                                                             \
    static void k_mul_##name##_generic(float *y, size_t y_stride, const void *w, size_t w_stride,  \
                                       int n_rows, const void *x, size_t x_stride, int n_cols,     \
                                       int n_k)                                                    \
    {                                                                                              \
        mul_quantized(dtype, y, y_stride, w, w_stride, n_rows, x, x_stride, n_cols, n_k);          \
    }
QUANTIZED(X)
#undef X

#define X(name, dtype)                                                                             \
    void k_mul_packed_##name##_generic(K_MUL_PACKED_ARGS)                                          \
    {                                                                                              \
        mul_panels(dtype, y, y_stride, w, n_rows, x, x_stride, n_cols, n_k);                       \
    }
PACK_TYPES(X)
#undef X

#define X(name)                                                                                    \
    static void k_mul_##name##_generic(float *y, size_t y_stride, const void *w, size_t w_stride,  \
                                       int n_rows, const void *x, size_t x_stride, int n_cols,     \
                                       int n_k)                                                    \
    {                                                                                              \
        mul_float(weight_##name, y, y_stride, w, w_stride, n_rows, x, x_stride, n_cols, n_k);      \
    }
X(f32)
X(f16)
X(bf16)
#undef X

const struct kernels kernels_generic = {
    .level = CPU_GENERIC,
    .mul =
        {
#define X(name, dtype) [dtype] = k_mul_##name##_generic,
            QUANTIZED(X)
#undef X
                [DTYPE_F32] = k_mul_f32_generic,
            [DTYPE_F16] = k_mul_f16_generic,
            [DTYPE_BF16] = k_mul_bf16_generic,
        },
    .mul_takes_a8 =
        {
#define X(name, dtype) [dtype] = true,
            QUANTIZED(X)
#undef X
        },
    .mul_packed = {K_MUL_PACKED_GENERIC},
    .quantize_a8 = k_quantize_a8_generic,
    .rms_norm = k_rms_norm_generic,
    .layer_norm = k_layer_norm_generic,
    .add = k_add_generic,
    .scale = k_scale_generic,
    .silu_mul = k_silu_mul_generic,
    .gelu_mul = k_gelu_mul_generic,
    .gelu_erf = k_gelu_erf_generic,
    .softcap = k_softcap_generic,
    .rope = k_rope_generic,
    .f32_to_f16 = k_f32_to_f16_generic,
    .kv_q8_0 = KV_Q8_0,
    .attend = k_attend_generic,
    .attend_join = k_attend_join_generic,
};
