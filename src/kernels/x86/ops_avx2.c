/*
 * ops_avx2: norms, activations, rotation and quantization of activations with AVX2.
 *
 * quantize_a8, add, scale, rope and f32_to_f16 give generic's bits; the others stay within the ulp
 * that tests/kernel states. Every element's result is the same wherever it stands in the row: ends
 * of rows go through the same vectors, padded.
 */
#include "kernels/act.h"
#include "kernels/generic/generic.h"
#include "kernels/x86/avx2.h"
#include "kernels/x86/math_avx2.h"

#include <float.h>
#include <math.h>
#include <string.h>

#define ALWAYS static inline __attribute__((always_inline))

ALWAYS float max8(__m256 v)
{
    __m128 a = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    a = _mm_max_ps(a, _mm_movehl_ps(a, a));
    return _mm_cvtss_f32(_mm_max_ss(a, _mm_movehdup_ps(a)));
}

ALWAYS int sum8(__m256i v)
{
    __m128i a = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
    a = _mm_add_epi32(a, _mm_shuffle_epi32(a, 0x4e));
    return _mm_cvtsi128_si32(_mm_add_epi32(a, _mm_shuffle_epi32(a, 0xb1)));
}

/* 32 elements; NaN when one of them is not finite. */
ALWAYS float max32(const float *x)
{
    const __m256 sign = _mm256_set1_ps(-0.0f), most = _mm256_set1_ps(FLT_MAX);
    __m256 max = _mm256_setzero_ps(), finite = _mm256_castsi256_ps(_mm256_set1_epi32(-1));
    for (int i = 0; i < 4; i++) {
        const __m256 abs = _mm256_andnot_ps(sign, _mm256_loadu_ps(x + 8 * i));
        finite = _mm256_and_ps(finite, _mm256_cmp_ps(abs, most, _CMP_LE_OQ));
        max = _mm256_max_ps(max, abs);
    }
    return _mm256_movemask_ps(finite) == 0xff ? max8(max) : NAN;
}

/* One plane of 32 elements: the scale; sum: of the first and second 16 quants. */
ALWAYS float quantize32(const __m256 v[4], float max, int8_t *q, int16_t *sum)
{
    const float inverse = max > 1e-36f ? 127.0f / max : 0;
    __m256i i32[4];
    for (int i = 0; i < 4; i++)
        i32[i] = _mm256_cvtps_epi32(_mm256_mul_ps(v[i], _mm256_set1_ps(inverse)));
    sum[0] = (int16_t)sum8(_mm256_add_epi32(i32[0], i32[1]));
    sum[1] = (int16_t)sum8(_mm256_add_epi32(i32[2], i32[3]));
    const __m256i packed =
        _mm256_packs_epi16(_mm256_packs_epi32(i32[0], i32[1]), _mm256_packs_epi32(i32[2], i32[3]));
    const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    _mm256_storeu_si256((__m256i *)q, _mm256_permutevar8x32_epi32(packed, order));
    return inverse > 0 ? max / 127.0f : 0;
}

/* What the first plane of a block left, as a second one; its scale, 0 when nothing is left. */
static float quantize_residual(const float *x, const int8_t *q, float d, int8_t *r, int16_t *sum)
{
    const __m256 minus_d = _mm256_set1_ps(-d);
    _Alignas(32) float rest[32];
    __m256 v[4];
    for (int i = 0; i < 4; i++) {
        const __m128i q8 = _mm_loadl_epi64((const __m128i *)(q + 8 * i));
        const __m256 was = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(q8));
        v[i] = _mm256_fmadd_ps(minus_d, was, _mm256_loadu_ps(x + 8 * i));
        _mm256_store_ps(rest + 8 * i, v[i]);
    }
    return quantize32(v, max32(rest), r, sum);
}

void k_quantize_a8_avx2(const float *x, void *q, int n, float residual_above)
{
    const struct act a = act_at(q, n);
    float *d = (float *)a.d, *e = (float *)a.e, *s = (float *)a.s, *s16 = (float *)a.s16;
    const int n_block = n / 32;
    double sum2 = 0, n_finite = 0;
    memset(q, 0, act_bytes(n));
    for (int b = 0; b < n_block; b++) {
        const float max = d[b] = max32(x + 32 * b);
        if (isnan(max))
            continue;
        sum2 += (double)max * (double)max;
        n_finite++;
    }
    const double above2 = (double)residual_above * (double)residual_above * sum2;
    for (int b = 0; b < n_block; b++) {
        const float *at = x + 32 * b;
        const float max = d[b];
        int16_t *h = (int16_t *)a.h + 2 * b, *g = (int16_t *)a.g + 2 * b;
        if (!isnan(max)) {
            const __m256 v[4] = {_mm256_loadu_ps(at), _mm256_loadu_ps(at + 8),
                                 _mm256_loadu_ps(at + 16), _mm256_loadu_ps(at + 24)};
            d[b] = quantize32(v, max, (int8_t *)a.q + 32 * b, h);
        }
        if ((double)max * (double)max * n_finite > above2) {
            e[b] = quantize_residual(at, a.q + 32 * b, d[b], (int8_t *)a.r + 32 * b, g);
            ((uint32_t *)a.has)[b / 32] |= (uint32_t)(e[b] > 0) << b % 32;
        }
        s[b] = fmaf(e[b], (float)(g[0] + g[1]), d[b] * (float)(h[0] + h[1]));
        s16[2 * b] = fmaf(e[b], (float)g[0], d[b] * (float)h[0]);
        s16[2 * b + 1] = fmaf(e[b], (float)g[1], d[b] * (float)h[1]);
    }
}

void k_rms_norm_avx2(float *y, const float *x, const float *w, int n, float eps)
{
    __m256d sum[2] = {_mm256_setzero_pd(), _mm256_setzero_pd()};
    int i = 0;
    for (; i + 8 <= n; i += 8) {
        const __m256d a = _mm256_cvtps_pd(_mm_loadu_ps(x + i));
        const __m256d b = _mm256_cvtps_pd(_mm_loadu_ps(x + i + 4));
        sum[0] = _mm256_fmadd_pd(a, a, sum[0]);
        sum[1] = _mm256_fmadd_pd(b, b, sum[1]);
    }
    double part[4], total = 0;
    _mm256_storeu_pd(part, _mm256_add_pd(sum[0], sum[1]));
    for (int j = i; j < n; j++)
        total += (double)x[j] * (double)x[j];
    total += (part[0] + part[2]) + (part[1] + part[3]);
    const float inv_rms = (float)(1.0 / sqrt(total / n + (double)eps));
    for (i = 0; i < n; i++)
        y[i] = x[i] * inv_rms * w[i];
}

void k_add_avx2(float *y, const float *x, int n)
{
    for (int i = 0; i < n; i++)
        y[i] += x[i];
}

void k_scale_avx2(float *y, float s, int n)
{
    for (int i = 0; i < n; i++)
        y[i] *= s;
}

ALWAYS __m256 silu8(__m256 x)
{
    const __m256 e = exp_avx2(_mm256_xor_ps(x, _mm256_set1_ps(-0.0f)));
    return _mm256_div_ps(x, _mm256_add_ps(_mm256_set1_ps(1.0f), e));
}

/* x / 2 * (1 + tanh(u)) = x / (1 + e^-2u) */
ALWAYS __m256 gelu8(__m256 x)
{
    const __m256 x2 = _mm256_mul_ps(x, x);
    const __m256 cubic =
        _mm256_mul_ps(x, _mm256_fmadd_ps(x2, _mm256_set1_ps(0.044715f), _mm256_set1_ps(1.0f)));
    const __m256 e = exp_avx2(_mm256_mul_ps(cubic, _mm256_set1_ps(-2 * 0.79788456080286535588f)));
    return _mm256_div_ps(x, _mm256_add_ps(_mm256_set1_ps(1.0f), e));
}

#define GATED(name, fn)                                                                            \
    void k_##name##_avx2(float *y, const float *gate, const float *up, int n)                      \
    {                                                                                              \
        int i = 0;                                                                                 \
        for (; i + 8 <= n; i += 8)                                                                 \
            _mm256_storeu_ps(                                                                      \
                y + i, _mm256_mul_ps(fn(_mm256_loadu_ps(gate + i)), _mm256_loadu_ps(up + i)));     \
        if (i == n)                                                                                \
            return;                                                                                \
        float g[8] = {0}, u[8] = {0};                                                              \
        memcpy(g, gate + i, (size_t)(n - i) * 4);                                                  \
        memcpy(u, up + i, (size_t)(n - i) * 4);                                                    \
        _mm256_storeu_ps(g, _mm256_mul_ps(fn(_mm256_loadu_ps(g)), _mm256_loadu_ps(u)));            \
        memcpy(y + i, g, (size_t)(n - i) * 4);                                                     \
    }
GATED(silu_mul, silu8)
GATED(gelu_mul, gelu8)

/*
 * x / 2 * erfc(-x / sqrt(2)), where erfc(z) for z >= 0 is a polynomial in t = 1 / (1 + p z), times
 * e^-z^2, within 1.5e-7: Abramowitz and Stegun 7.1.26. With q = erfc(|x| / sqrt(2)) / 2 it is
 * x q for negative x and x - x q else, so nothing cancels where the result is small.
 */
ALWAYS __m256 gelu_erf8(__m256 x)
{
    const __m256 sign = _mm256_set1_ps(-0.0f), one = _mm256_set1_ps(1.0f);
    const __m256 z = _mm256_mul_ps(_mm256_andnot_ps(sign, x), _mm256_set1_ps(0.70710678118654752f));
    const __m256 t = _mm256_div_ps(one, _mm256_fmadd_ps(z, _mm256_set1_ps(0.3275911f), one));
    __m256 poly = _mm256_set1_ps(0.5f * 1.061405429f);
    poly = _mm256_fmadd_ps(poly, t, _mm256_set1_ps(0.5f * -1.453152027f));
    poly = _mm256_fmadd_ps(poly, t, _mm256_set1_ps(0.5f * 1.421413741f));
    poly = _mm256_fmadd_ps(poly, t, _mm256_set1_ps(0.5f * -0.284496736f));
    poly = _mm256_fmadd_ps(poly, t, _mm256_set1_ps(0.5f * 0.254829592f));
    const __m256 e = exp_avx2(_mm256_xor_ps(_mm256_mul_ps(z, z), sign));
    const __m256 xq = _mm256_mul_ps(x, _mm256_mul_ps(_mm256_mul_ps(poly, t), e));
    return _mm256_blendv_ps(_mm256_sub_ps(x, xq), xq, x);
}

void k_gelu_erf_avx2(float *y, int n)
{
    int i = 0;
    for (; i + 8 <= n; i += 8)
        _mm256_storeu_ps(y + i, gelu_erf8(_mm256_loadu_ps(y + i)));
    if (i == n)
        return;
    float v[8] = {0};
    memcpy(v, y + i, (size_t)(n - i) * 4);
    _mm256_storeu_ps(v, gelu_erf8(_mm256_loadu_ps(v)));
    memcpy(y + i, v, (size_t)(n - i) * 4);
}

void k_softcap_avx2(float *y, float cap, int n)
{
    const __m256 c = _mm256_set1_ps(cap);
    int i = 0;
    for (; i + 8 <= n; i += 8) {
        const __m256 t = tanh_avx2(_mm256_div_ps(_mm256_loadu_ps(y + i), c));
        _mm256_storeu_ps(y + i, _mm256_mul_ps(c, t));
    }
    if (i == n)
        return;
    float v[8] = {0};
    memcpy(v, y + i, (size_t)(n - i) * 4);
    _mm256_storeu_ps(v, _mm256_mul_ps(c, tanh_avx2(_mm256_div_ps(_mm256_loadu_ps(v), c))));
    memcpy(y + i, v, (size_t)(n - i) * 4);
}

/* Pairs (i, i + half), half a multiple of 8. */
static void rope_neox(float *x, const float *cos_sin, int half)
{
    for (int i = 0; i < half; i += 8) {
        const __m256 a = _mm256_loadu_ps(cos_sin + 2 * i);
        const __m256 b = _mm256_loadu_ps(cos_sin + 2 * i + 8);
        const __m256 low = _mm256_permute2f128_ps(a, b, 0x20);
        const __m256 high = _mm256_permute2f128_ps(a, b, 0x31);
        const __m256 c = _mm256_shuffle_ps(low, high, 0x88);
        const __m256 s = _mm256_shuffle_ps(low, high, 0xdd);
        const __m256 xa = _mm256_loadu_ps(x + i), xb = _mm256_loadu_ps(x + i + half);
        _mm256_storeu_ps(x + i, _mm256_sub_ps(_mm256_mul_ps(xa, c), _mm256_mul_ps(xb, s)));
        _mm256_storeu_ps(x + i + half, _mm256_add_ps(_mm256_mul_ps(xa, s), _mm256_mul_ps(xb, c)));
    }
}

/* Pairs (2i, 2i + 1), half a multiple of 4. */
static void rope_pairs(float *x, const float *cos_sin, int half)
{
    for (int i = 0; i < half; i += 4) {
        const __m256 cs = _mm256_loadu_ps(cos_sin + 2 * i), v = _mm256_loadu_ps(x + 2 * i);
        const __m256 swapped = _mm256_permute_ps(v, 0xb1);
        _mm256_storeu_ps(x + 2 * i,
                         _mm256_addsub_ps(_mm256_mul_ps(v, _mm256_moveldup_ps(cs)),
                                          _mm256_mul_ps(swapped, _mm256_movehdup_ps(cs))));
    }
}

/* Odd sizes go to generic whole: gcc 12 turns a scalar rest here into fused multiply-adds even with
 * -ffp-contract=off (its pattern for complex products), which would change bits. */
void k_rope_avx2(float *x, const float *cos_sin, int n_head, int head_dim, int n_rot, bool neox)
{
    const int half = n_rot / 2;
    if (half % (neox ? 8 : 4) != 0) {
        k_rope_generic(x, cos_sin, n_head, head_dim, n_rot, neox);
        return;
    }
    for (int h = 0; h < n_head; h++, x += head_dim) {
        if (neox)
            rope_neox(x, cos_sin, half);
        else
            rope_pairs(x, cos_sin, half);
    }
}

void k_f32_to_f16_avx2(uint16_t *y, const float *x, int n)
{
    int i = 0;
    for (; i + 8 <= n; i += 8)
        _mm_storeu_si128((__m128i *)(y + i),
                         _mm256_cvtps_ph(_mm256_loadu_ps(x + i), _MM_FROUND_TO_NEAREST_INT));
    for (; i < n; i++)
        y[i] = (uint16_t)_cvtss_sh(x[i], _MM_FROUND_TO_NEAREST_INT);
}
