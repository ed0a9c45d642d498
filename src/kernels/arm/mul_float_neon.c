/*
 * mul_float_neon: products of float weights (F32, F16, BF16) on arm64; generic's bits.
 *
 * Eight partial sums (k mod 8) stand in two vectors. Tiles of up to 2 rows and 4 columns.
 */
#include "kernels/arm/neon.h"

#include <arm_neon.h>
#include <math.h>
#include <string.h>

#define ALWAYS static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 8")

#define TILE_ROWS 2
#define TILE_COLS 4

ALWAYS float32x4x2_t weights8(enum dtype t, const uint8_t *row, int k)
{
    float32x4x2_t ret;
    if (t == DTYPE_F32) {
        memcpy(&ret, row + 4 * (size_t)k, 32);
        return ret;
    }
    uint16x8_t v;
    memcpy(&v, row + 2 * (size_t)k, 16);
    if (t == DTYPE_F16) {
        ret.val[0] = vcvt_f32_f16(vreinterpret_f16_u16(vget_low_u16(v)));
        ret.val[1] = vcvt_f32_f16(vreinterpret_f16_u16(vget_high_u16(v)));
    } else {
        ret.val[0] = vreinterpretq_f32_u32(vshll_n_u16(vget_low_u16(v), 16));
        ret.val[1] = vreinterpretq_f32_u32(vshll_n_u16(vget_high_u16(v), 16));
    }
    return ret;
}

ALWAYS float weight(enum dtype t, const uint8_t *row, int k)
{
    float v;
    uint16_t h;
    if (t == DTYPE_F32) {
        memcpy(&v, row + 4 * (size_t)k, 4);
        return v;
    }
    memcpy(&h, row + 2 * (size_t)k, 2);
    return t == DTYPE_F16 ? f16_to_f32(h) : bf16_to_f32(h);
}

ALWAYS void tile(enum dtype t, int n_rows, int n_cols, float *y, size_t y_stride, const uint8_t *w,
                 size_t w_stride, const uint8_t *x, size_t x_stride, int n_k)
{
    float32x4_t acc[TILE_ROWS][TILE_COLS][2];
    int k = 0;
    UNROLL for (int r = 0; r < n_rows; r++) UNROLL for (int c = 0; c < n_cols; c++) acc[r][c][0] =
        acc[r][c][1] = vdupq_n_f32(0);
    for (; k + 8 <= n_k; k += 8) {
        float32x4x2_t v[TILE_ROWS];
        UNROLL for (int r = 0; r < n_rows; r++) v[r] = weights8(t, w + (size_t)r * w_stride, k);
        UNROLL for (int c = 0; c < n_cols; c++)
        {
            const float *col = (const float *)(x + (size_t)c * x_stride) + k;
            const float32x4_t x0 = vld1q_f32(col), x1 = vld1q_f32(col + 4);
            UNROLL for (int r = 0; r < n_rows; r++)
            {
                acc[r][c][0] = vfmaq_f32(acc[r][c][0], v[r].val[0], x0);
                acc[r][c][1] = vfmaq_f32(acc[r][c][1], v[r].val[1], x1);
            }
        }
    }
    for (int r = 0; r < n_rows; r++) {
        for (int c = 0; c < n_cols; c++) {
            const float *col = (const float *)(x + (size_t)c * x_stride);
            float s[8];
            vst1q_f32(s, acc[r][c][0]);
            vst1q_f32(s + 4, acc[r][c][1]);
            for (int i = k; i < n_k; i++)
                s[i % 8] = fmaf(weight(t, w + (size_t)r * w_stride, i), col[i], s[i % 8]);
            y[(size_t)c * y_stride + (size_t)r] =
                ((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7]));
        }
    }
}

ALWAYS void columns(enum dtype t, int n_rows, float *y, size_t y_stride, const uint8_t *w,
                    size_t w_stride, const uint8_t *x, size_t x_stride, int n_cols, int n_k)
{
    const int n_tile = (n_cols + TILE_COLS - 1) / TILE_COLS;
    for (int i = 0; i < n_tile; i++) {
        const int c0 = n_cols * i / n_tile, n = n_cols * (i + 1) / n_tile - c0;
        float *to = y + (size_t)c0 * y_stride;
        const uint8_t *from = x + (size_t)c0 * x_stride;
        if (n == 4)
            tile(t, n_rows, 4, to, y_stride, w, w_stride, from, x_stride, n_k);
        else if (n == 3)
            tile(t, n_rows, 3, to, y_stride, w, w_stride, from, x_stride, n_k);
        else if (n == 2)
            tile(t, n_rows, 2, to, y_stride, w, w_stride, from, x_stride, n_k);
        else
            tile(t, n_rows, 1, to, y_stride, w, w_stride, from, x_stride, n_k);
    }
}

ALWAYS void mul(enum dtype t, float *y, size_t y_stride, const uint8_t *w, size_t w_stride,
                int n_rows, const uint8_t *x, size_t x_stride, int n_cols, int n_k)
{
    int r = 0;
    for (; r + TILE_ROWS <= n_rows; r += TILE_ROWS)
        columns(t, TILE_ROWS, y + r, y_stride, w + (size_t)r * w_stride, w_stride, x, x_stride,
                n_cols, n_k);
    if (r < n_rows)
        columns(t, 1, y + r, y_stride, w + (size_t)r * w_stride, w_stride, x, x_stride, n_cols,
                n_k);
}

#define X(name, dtype)                                                                             \
    void k_mul_##name##_neon(K_MUL_ARGS)                                                           \
    {                                                                                              \
        mul(dtype, y, y_stride, w, w_stride, n_rows, x, x_stride, n_cols, n_k);                    \
    }
X(f32, DTYPE_F32)
X(f16, DTYPE_F16)
X(bf16, DTYPE_BF16)
#undef X
