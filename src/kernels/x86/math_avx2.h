/*
 * math: exp and tanh of 8 floats.
 *
 * exp(x) = 2^n * e^r with n = round(x / ln 2), |r| <= ln(2)/2, e^r by its Taylor series to the
 * seventh power (truncation below 6e-9). Measured against double precision over every 211th float
 * in range: exp within 1.02 ulp, tanh within 2.5 ulp. Inputs above 88.37 count as 88.37 (2.4e38),
 * below -87.33 the result is 0: no subnormal numbers arise. NaN stays NaN.
 */
#ifndef HEARTH_KERNELS_MATH_AVX2_H
#define HEARTH_KERNELS_MATH_AVX2_H

#include <immintrin.h>

/* e^r - 1 without cancellation and 2^n, for x in [-87.33, 88.37]. */
static inline __m256 exp_parts_avx2(__m256 x, __m256 *ret_power)
{
    const __m256 n = _mm256_round_ps(_mm256_mul_ps(x, _mm256_set1_ps(1.44269504088896341f)),
                                     _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    __m256 r = _mm256_fnmadd_ps(n, _mm256_set1_ps(0.693359375f), x); /* ln 2 in two parts */
    r = _mm256_fnmadd_ps(n, _mm256_set1_ps(-2.12194440e-4f), r);
    __m256 p = _mm256_set1_ps(1.0f / 5040);
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f / 720));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f / 120));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f / 24));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f / 6));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(0.5f));
    p = _mm256_fmadd_ps(p, _mm256_mul_ps(r, r), r);
    const __m256i bits =
        _mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23);
    *ret_power = _mm256_castsi256_ps(bits);
    return p;
}

static inline __m256 exp_avx2(__m256 x)
{
    const __m256 low = _mm256_set1_ps(-87.33f);
    const __m256 tiny = _mm256_cmp_ps(x, low, _CMP_LT_OQ);
    /* min and max return their second operand when one is NaN. */
    const __m256 in = _mm256_max_ps(low, _mm256_min_ps(_mm256_set1_ps(88.37f), x));
    __m256 power;
    const __m256 p = exp_parts_avx2(in, &power);
    return _mm256_andnot_ps(tiny, _mm256_fmadd_ps(power, p, power));
}

/* (e^2x - 1) / (e^2x + 1), with e^2x - 1 formed without cancellation. */
static inline __m256 tanh_avx2(__m256 x)
{
    const __m256 most = _mm256_set1_ps(20.0f); /* tanh is 1 in float from 9.02 on */
    const __m256 least = _mm256_set1_ps(-20.0f);
    const __m256 in = _mm256_max_ps(least, _mm256_min_ps(most, _mm256_add_ps(x, x)));
    __m256 power;
    const __m256 p = exp_parts_avx2(in, &power);
    const __m256 e1 = _mm256_fmadd_ps(power, p, _mm256_sub_ps(power, _mm256_set1_ps(1.0f)));
    return _mm256_div_ps(e1, _mm256_add_ps(e1, _mm256_set1_ps(2.0f)));
}

#endif
