/*
 * v16: sixteen floats as one 512-bit vector, for attend_vec.c (v16_avx2.h says what it needs).
 * Every operation rounds as AVX2's does, so both levels give the same bits.
 */
#ifndef HEARTH_KERNELS_V16_AVX512_H
#define HEARTH_KERNELS_V16_AVX512_H

#include "kernels/x86/avx2.h"
#include "kernels/x86/avx512.h"
#ifdef K_QUANTIZE
#include "kernels/x86/quad_score_avx512.h"
#endif

#include <immintrin.h>
#include <math.h>

#define ALWAYS    static inline __attribute__((always_inline))
#define TILE_ROWS 12
#define WIDE_ROWS 12

typedef __m512 v16;

ALWAYS v16 v16_zero(void)
{
    return _mm512_setzero_ps();
}

ALWAYS v16 v16_set1(float x)
{
    return _mm512_set1_ps(x);
}

ALWAYS v16 v16_load(const float *p)
{
    return _mm512_loadu_ps(p);
}

ALWAYS void v16_store(float *p, v16 v)
{
    _mm512_storeu_ps(p, v);
}

ALWAYS v16 v16_load_f16(const uint16_t *p)
{
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)p));
}

ALWAYS v16 v16_load_i8(const int8_t *p)
{
    const __m128i x = _mm_loadu_si128((const __m128i *)(const void *)p);
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(x));
}

ALWAYS v16 v16_load_u4(const uint8_t *p, int high)
{
    const __m512i x = _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)(const void *)p));
    const __m512i up = _mm512_sll_epi32(x, _mm_cvtsi32_si128(28 - 4 * high));
    return _mm512_cvtepi32_ps(_mm512_srai_epi32(up, 28));
}

ALWAYS v16 v16_load_u4x2(const uint8_t *p)
{
    const __m128i x = _mm_loadl_epi64((const __m128i *)(const void *)p);
    const __m512i twice = _mm512_cvtepu8_epi32(_mm_unpacklo_epi64(x, x));
    const __m512i up = _mm512_sllv_epi32(
        twice, _mm512_setr_epi32(28, 28, 28, 28, 28, 28, 28, 28, 24, 24, 24, 24, 24, 24, 24, 24));
    return _mm512_cvtepi32_ps(_mm512_srai_epi32(up, 28));
}

ALWAYS v16 v16_fma(v16 x, v16 y, v16 z)
{
    return _mm512_fmadd_ps(x, y, z);
}

ALWAYS v16 v16_mul(v16 x, v16 y)
{
    return _mm512_mul_ps(x, y);
}

ALWAYS v16 v16_add(v16 x, v16 y)
{
    return _mm512_add_ps(x, y);
}

ALWAYS v16 v16_sub(v16 x, v16 y)
{
    return _mm512_sub_ps(x, y);
}

ALWAYS v16 v16_div(v16 x, v16 y)
{
    return _mm512_div_ps(x, y);
}

ALWAYS v16 v16_max(v16 x, v16 y)
{
    return _mm512_max_ps(x, y);
}

/* e^r - 1 and 2^n, as exp_parts_avx2. */
ALWAYS v16 exp_parts(v16 x, v16 *ret_power)
{
    const v16 n = _mm512_roundscale_ps(_mm512_mul_ps(x, _mm512_set1_ps(1.44269504088896341f)),
                                       _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    v16 r = _mm512_fnmadd_ps(n, _mm512_set1_ps(0.693359375f), x);
    r = _mm512_fnmadd_ps(n, _mm512_set1_ps(-2.12194440e-4f), r);
    v16 p = _mm512_set1_ps(1.0f / 5040);
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f / 720));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f / 120));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f / 24));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f / 6));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0.5f));
    p = _mm512_fmadd_ps(p, _mm512_mul_ps(r, r), r);
    const __m512i bits =
        _mm512_slli_epi32(_mm512_add_epi32(_mm512_cvtps_epi32(n), _mm512_set1_epi32(127)), 23);
    *ret_power = _mm512_castsi512_ps(bits);
    return p;
}

ALWAYS v16 v16_exp(v16 x)
{
    const v16 low = _mm512_set1_ps(-87.33f);
    const __mmask16 tiny = _mm512_cmp_ps_mask(x, low, _CMP_LT_OQ);
    /* min and max return their second operand when one is NaN. */
    const v16 in = _mm512_max_ps(low, _mm512_min_ps(_mm512_set1_ps(88.37f), x));
    v16 power;
    const v16 p = exp_parts(in, &power);
    return _mm512_maskz_fmadd_ps((__mmask16)~tiny, power, p, power);
}

/* (e^2x - 1) / (e^2x + 1), as tanh_avx2 */
ALWAYS v16 v16_tanh(v16 x)
{
    const v16 in = _mm512_max_ps(_mm512_set1_ps(-20.0f),
                                 _mm512_min_ps(_mm512_set1_ps(20.0f), _mm512_add_ps(x, x)));
    v16 power;
    const v16 p = exp_parts(in, &power);
    const v16 e1 = _mm512_fmadd_ps(power, p, _mm512_sub_ps(power, _mm512_set1_ps(1.0f)));
    return _mm512_div_ps(e1, _mm512_add_ps(e1, _mm512_set1_ps(2.0f)));
}

ALWAYS float v16_sum_of(v16 v)
{
    const __m256 x = _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
    __m128 y = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    y = _mm_add_ps(y, _mm_movehl_ps(y, y));
    return _mm_cvtss_f32(_mm_add_ss(y, _mm_movehdup_ps(y)));
}

ALWAYS float v16_max_of(v16 v)
{
    const __m256 x = _mm256_max_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
    __m128 y = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    y = _mm_max_ps(y, _mm_movehl_ps(y, y));
    return _mm_cvtss_f32(_mm_max_ss(y, _mm_movehdup_ps(y)));
}

/* Bit i set for i in [0, n). */
ALWAYS uint32_t below(int n)
{
    return n <= 0 ? 0 : n >= 16 ? 0xffff : (1u << n) - 1;
}

ALWAYS v16 v16_lanes(v16 v, int j0, int j1)
{
    const __mmask16 outside = (__mmask16)(below(j0) | ~below(j1));
    return _mm512_mask_mov_ps(v, outside, _mm512_set1_ps(-INFINITY));
}

#endif
