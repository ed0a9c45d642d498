/*
 * ops_avx512: norms and gates with 512-bit vectors.
 *
 * Every element's result is the same wherever it stands in the row; ends of rows go through the
 * same vectors, masked.
 */
#include "kernels/x86/avx512.h"

#include <immintrin.h>
#include <math.h>

/* Bit i set for the i-th of the next 16 elements that exists. */
static inline __mmask16 first(int n)
{
    return n >= 16 ? 0xffff : (__mmask16)((1u << n) - 1);
}

void k_rms_norm_avx512(float *y, const float *x, const float *w, int n, float eps)
{
    __m512d sum[2] = {_mm512_setzero_pd(), _mm512_setzero_pd()};
    for (int i = 0; i < n; i += 16) {
        const __m512 v = _mm512_maskz_loadu_ps(first(n - i), x + i);
        const __m512d a = _mm512_cvtps_pd(_mm512_castps512_ps256(v));
        const __m512d b = _mm512_cvtps_pd(_mm512_extractf32x8_ps(v, 1));
        sum[0] = _mm512_fmadd_pd(a, a, sum[0]);
        sum[1] = _mm512_fmadd_pd(b, b, sum[1]);
    }
    const double total = _mm512_reduce_add_pd(_mm512_add_pd(sum[0], sum[1]));
    const __m512 inv_rms = _mm512_set1_ps((float)(1.0 / sqrt(total / n + (double)eps)));
    for (int i = 0; i < n; i += 16) {
        const __mmask16 m = first(n - i);
        const __m512 v = _mm512_mul_ps(_mm512_maskz_loadu_ps(m, x + i), inv_rms);
        _mm512_mask_storeu_ps(y + i, m, _mm512_mul_ps(v, _mm512_maskz_loadu_ps(m, w + i)));
    }
}
