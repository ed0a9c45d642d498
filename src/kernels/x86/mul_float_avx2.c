/*
 * mul_float_avx2: products of F32, F16 and BF16 weights with float activations.
 *
 * Lane = k mod 8, four rows x three columns at once; the order of operations is that of kernels.h,
 * so the bits are generic's.
 */
#include "kernels/x86/avx2.h"

#include <immintrin.h>
#include <string.h>

#define ALWAYS static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 8")

#define TILE_ROWS 4
#define TILE_COLS 3

ALWAYS __m256 load_f32(const uint8_t *w, size_t k)
{
    return _mm256_loadu_ps((const float *)(const void *)(w + 4 * k));
}

ALWAYS __m256 load_f16(const uint8_t *w, size_t k)
{
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(w + 2 * k)));
}

ALWAYS __m256 load_bf16(const uint8_t *w, size_t k)
{
    const __m256i v = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)(w + 2 * k)));
    return _mm256_castsi256_ps(_mm256_slli_epi32(v, 16));
}

/* The last n_k mod 8 elements, zeros after them: fma with zeros changes no sum. */
ALWAYS __m256 load_tail(__m256 (*load)(const uint8_t *w, size_t k), const uint8_t *w, size_t k,
                        int n, size_t elem_bytes)
{
    uint8_t tmp[32] = {0};
    memcpy(tmp, w + k * elem_bytes, (size_t)n * elem_bytes);
    return load(tmp, 0);
}

/* ((0+4)+(2+6))+((1+5)+(3+7)) */
ALWAYS float sum8(__m256 v)
{
    __m128 a = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    a = _mm_add_ps(a, _mm_movehl_ps(a, a));
    return _mm_cvtss_f32(_mm_add_ss(a, _mm_movehdup_ps(a)));
}

ALWAYS void tile(__m256 (*load)(const uint8_t *w, size_t k), size_t elem_bytes, int nr, int nc,
                 float *y, size_t y_stride, const uint8_t *w, size_t w_stride, const uint8_t *x,
                 size_t x_stride, int n_k)
{
    __m256 acc[TILE_ROWS][TILE_COLS];
    UNROLL for (int r = 0; r < nr; r++) UNROLL for (int c = 0; c < nc; c++) acc[r][c] =
        _mm256_setzero_ps();
    size_t k = 0;
    for (; k + 8 <= (size_t)n_k; k += 8) {
        __m256 a[TILE_COLS];
        UNROLL for (int c = 0; c < nc; c++) a[c] = load_f32(x + (size_t)c * x_stride, k);
        UNROLL for (int r = 0; r < nr; r++)
        {
            const __m256 v = load(w + (size_t)r * w_stride, k);
            UNROLL for (int c = 0; c < nc; c++) acc[r][c] = _mm256_fmadd_ps(v, a[c], acc[r][c]);
        }
    }
    const int left = n_k - (int)k;
    if (left > 0) {
        for (int r = 0; r < nr; r++) {
            const __m256 v = load_tail(load, w + (size_t)r * w_stride, k, left, elem_bytes);
            for (int c = 0; c < nc; c++) {
                const __m256 a = load_tail(load_f32, x + (size_t)c * x_stride, k, left, 4);
                acc[r][c] = _mm256_fmadd_ps(v, a, acc[r][c]);
            }
        }
    }
    UNROLL for (int r = 0; r < nr; r++) UNROLL for (int c = 0; c < nc; c++)
        y[(size_t)c * y_stride + (size_t)r] = sum8(acc[r][c]);
}

ALWAYS void mul_rows(__m256 (*load)(const uint8_t *w, size_t k), size_t elem_bytes, int nr,
                     float *y, size_t y_stride, const uint8_t *w, size_t w_stride, const uint8_t *x,
                     size_t x_stride, int n_cols, int n_k)
{
    int c = 0;
    for (; c + 3 <= n_cols; c += 3)
        tile(load, elem_bytes, nr, 3, y + (size_t)c * y_stride, y_stride, w, w_stride,
             x + (size_t)c * x_stride, x_stride, n_k);
    for (; c < n_cols; c++)
        tile(load, elem_bytes, nr, 1, y + (size_t)c * y_stride, y_stride, w, w_stride,
             x + (size_t)c * x_stride, x_stride, n_k);
}

#define MUL(name, elem_bytes)                                                                      \
    void k_mul_##name##_avx2(K_MUL_ARGS)                                                           \
    {                                                                                              \
        const uint8_t *row = w;                                                                    \
        int r = 0;                                                                                 \
        for (; r + TILE_ROWS <= n_rows; r += TILE_ROWS)                                            \
            mul_rows(load_##name, elem_bytes, TILE_ROWS, y + r, y_stride,                          \
                     row + (size_t)r * w_stride, w_stride, x, x_stride, n_cols, n_k);              \
        for (; r < n_rows; r++)                                                                    \
            mul_rows(load_##name, elem_bytes, 1, y + r, y_stride, row + (size_t)r * w_stride,      \
                     w_stride, x, x_stride, n_cols, n_k);                                          \
    }
MUL(f32, 4)
MUL(f16, 2)
MUL(bf16, 2)
