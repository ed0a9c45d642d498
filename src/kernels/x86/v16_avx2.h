/*
 * v16: sixteen floats as a pair of 256-bit vectors, for attend_vec.c.
 *
 * Six rows of one pair fill twelve of the sixteen registers; up to two rows take two pairs, so
 * that enough sums run side by side.
 *
 * What every level's header offers, all static, on v16: v16_zero(), v16_set1(x), v16_load(p),
 * v16_store(p, v), v16_load_f16(const uint16_t *), v16_load_i8(const int8_t *),
 * v16_load_u4(const uint8_t *, high): numbers of 4 bits in the low (0) or high (1) halves of 16
 * bytes, v16_load_u4x2(const uint8_t *): in the low halves of 8 bytes, then in their high halves,
 * both in two's complement; v16_fma(a, b, c) = a * b + c, v16_mul, v16_add, v16_sub, v16_div,
 * v16_max, v16_exp (0 below -87.33), v16_tanh, v16_lanes(v, j0, j1): -infinity in lanes outside
 * [j0, j1); v16_sum_of, v16_max_of: of all lanes, in the order of a tree; no pointer need be
 * aligned. TILE_ROWS (at most ATTEND_TILE_ROWS) rows share registers; up to WIDE_ROWS take two v16
 * each.
 */
#ifndef HEARTH_KERNELS_V16_AVX2_H
#define HEARTH_KERNELS_V16_AVX2_H

#include "kernels/x86/avx2.h"
#include "kernels/x86/math_avx2.h"

#include <math.h>

#define ALWAYS    static inline __attribute__((always_inline))
#define TILE_ROWS 6
#define WIDE_ROWS 2

typedef struct {
    __m256 a, b;
} v16;

ALWAYS v16 v16_zero(void)
{
    return (v16){_mm256_setzero_ps(), _mm256_setzero_ps()};
}

ALWAYS v16 v16_set1(float x)
{
    return (v16){_mm256_set1_ps(x), _mm256_set1_ps(x)};
}

ALWAYS v16 v16_load(const float *p)
{
    return (v16){_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)};
}

ALWAYS void v16_store(float *p, v16 v)
{
    _mm256_storeu_ps(p, v.a);
    _mm256_storeu_ps(p + 8, v.b);
}

ALWAYS v16 v16_load_f16(const uint16_t *p)
{
    return (v16){_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)p)),
                 _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)(p + 8)))};
}

ALWAYS __m256 load_i8(const int8_t *p)
{
    const __m128i x = _mm_loadl_epi64((const __m128i *)(const void *)p);
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(x));
}

ALWAYS v16 v16_load_i8(const int8_t *p)
{
    return (v16){load_i8(p), load_i8(p + 8)};
}

/* Eight bytes: their numbers of 4 bits, when shifted up by 28 (the low ones) or 24. */
ALWAYS __m256 halves(__m256i bytes, int shift)
{
    const __m256i up = _mm256_sll_epi32(bytes, _mm_cvtsi32_si128(shift));
    return _mm256_cvtepi32_ps(_mm256_srai_epi32(up, 28));
}

ALWAYS __m256i load_u8(const uint8_t *p)
{
    return _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)p));
}

ALWAYS v16 v16_load_u4(const uint8_t *p, int high)
{
    const int shift = 28 - 4 * high;
    return (v16){halves(load_u8(p), shift), halves(load_u8(p + 8), shift)};
}

ALWAYS v16 v16_load_u4x2(const uint8_t *p)
{
    const __m256i x = load_u8(p);
    return (v16){_mm256_cvtepi32_ps(_mm256_srai_epi32(_mm256_slli_epi32(x, 28), 28)),
                 _mm256_cvtepi32_ps(_mm256_srai_epi32(_mm256_slli_epi32(x, 24), 28))};
}

ALWAYS v16 v16_fma(v16 x, v16 y, v16 z)
{
    return (v16){_mm256_fmadd_ps(x.a, y.a, z.a), _mm256_fmadd_ps(x.b, y.b, z.b)};
}

ALWAYS v16 v16_mul(v16 x, v16 y)
{
    return (v16){_mm256_mul_ps(x.a, y.a), _mm256_mul_ps(x.b, y.b)};
}

ALWAYS v16 v16_add(v16 x, v16 y)
{
    return (v16){_mm256_add_ps(x.a, y.a), _mm256_add_ps(x.b, y.b)};
}

ALWAYS v16 v16_sub(v16 x, v16 y)
{
    return (v16){_mm256_sub_ps(x.a, y.a), _mm256_sub_ps(x.b, y.b)};
}

ALWAYS v16 v16_div(v16 x, v16 y)
{
    return (v16){_mm256_div_ps(x.a, y.a), _mm256_div_ps(x.b, y.b)};
}

ALWAYS v16 v16_max(v16 x, v16 y)
{
    return (v16){_mm256_max_ps(x.a, y.a), _mm256_max_ps(x.b, y.b)};
}

ALWAYS v16 v16_exp(v16 x)
{
    return (v16){exp_avx2(x.a), exp_avx2(x.b)};
}

ALWAYS v16 v16_tanh(v16 x)
{
    return (v16){tanh_avx2(x.a), tanh_avx2(x.b)};
}

/* Lane i with lane i + 8, of those i with i + 4, and so on. */
ALWAYS float v16_sum_of(v16 v)
{
    const __m256 x = _mm256_add_ps(v.a, v.b);
    __m128 y = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    y = _mm_add_ps(y, _mm_movehl_ps(y, y));
    return _mm_cvtss_f32(_mm_add_ss(y, _mm_movehdup_ps(y)));
}

ALWAYS float v16_max_of(v16 v)
{
    const __m256 x = _mm256_max_ps(v.a, v.b);
    __m128 y = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    y = _mm_max_ps(y, _mm_movehl_ps(y, y));
    return _mm_cvtss_f32(_mm_max_ss(y, _mm_movehdup_ps(y)));
}

/* Lanes first..first + 7 that lie in [j0, j1); -infinity elsewhere. */
ALWAYS __m256 lanes8(__m256 v, int first, int j0, int j1)
{
    const __m256i j =
        _mm256_add_epi32(_mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7), _mm256_set1_epi32(first));
    const __m256i below = _mm256_cmpgt_epi32(_mm256_set1_epi32(j0), j);
    const __m256i before_end = _mm256_cmpgt_epi32(_mm256_set1_epi32(j1), j);
    const __m256i inside = _mm256_andnot_si256(below, before_end);
    return _mm256_blendv_ps(_mm256_set1_ps(-INFINITY), v, _mm256_castsi256_ps(inside));
}

ALWAYS v16 v16_lanes(v16 v, int j0, int j1)
{
    return (v16){lanes8(v.a, 0, j0, j1), lanes8(v.b, 8, j0, j1)};
}

#endif
