/*
 * ops_neon: norms, activations, rotation and quantization of activations on arm64.
 *
 * quantize_a8, rope and f32_to_f16 give generic's bits; the others stay within the ulp that
 * tests/kernel states. Every element's result is the same wherever it stands in the row: ends of
 * rows go through the same vectors, padded. (add, scale and layer_norm are generic's: the compiler
 * makes vectors of them.)
 */
#include "kernels/act.h"
#include "kernels/arm/math_neon.h"
#include "kernels/arm/neon.h"
#include "kernels/generic/generic.h"

#include <float.h>
#include <math.h>
#include <string.h>

#define ALWAYS static inline __attribute__((always_inline))

/* 32 elements; NaN when one of them is not finite. */
ALWAYS float max32(const float *x)
{
    float32x4_t max = vdupq_n_f32(0);
    uint32x4_t finite = vdupq_n_u32(~0u);
    for (int i = 0; i < 32; i += 4) {
        const float32x4_t abs = vabsq_f32(vld1q_f32(x + i));
        finite = vandq_u32(finite, vcleq_f32(abs, vdupq_n_f32(FLT_MAX)));
        max = vmaxq_f32(max, abs);
    }
    return vminvq_u32(finite) ? vmaxvq_f32(max) : NAN;
}

/* 16 elements; returns the sum of their quants. */
ALWAYS int16_t quantize16(const float *x, float inverse, int8_t *q)
{
    int16x4_t v[4];
    for (int i = 0; i < 4; i++)
        v[i] = vqmovn_s32(vcvtnq_s32_f32(vmulq_n_f32(vld1q_f32(x + 4 * i), inverse)));
    const int16x8_t a = vcombine_s16(v[0], v[1]), b = vcombine_s16(v[2], v[3]);
    vst1q_s8(q, vcombine_s8(vqmovn_s16(a), vqmovn_s16(b)));
    return vaddvq_s16(vaddq_s16(a, b));
}

/* One plane of 32 elements: the scale; sum: of the first and second 16 quants. */
ALWAYS float quantize32(const float *x, float max, int8_t *q, int16_t *sum)
{
    /* A block that is all but zero would have an infinite inverse: it is zero. */
    const float inverse = max > 1e-36f ? 127.0f / max : 0;
    sum[0] = quantize16(x, inverse, q);
    sum[1] = quantize16(x + 16, inverse, q + 16);
    return inverse > 0 ? max / 127.0f : 0;
}

/* What the first plane of a block left, as a second one; its scale, 0 when nothing is left. */
static float quantize_residual(const float *x, const int8_t *q, float d, int8_t *r, int16_t *sum)
{
    float rest[32];
    for (int i = 0; i < 32; i++)
        rest[i] = fmaf(-d, q[i], x[i]);
    return quantize32(rest, max32(rest), r, sum);
}

void k_quantize_a8_neon(const float *x, void *q, int n, float residual_above)
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
        if (!isnan(max))
            d[b] = quantize32(at, max, (int8_t *)a.q + 32 * b, h);
        if ((double)max * (double)max * n_finite > above2) {
            e[b] = quantize_residual(at, a.q + 32 * b, d[b], (int8_t *)a.r + 32 * b, g);
            ((uint32_t *)a.has)[b / 32] |= (uint32_t)(e[b] > 0) << b % 32;
        }
        s[b] = fmaf(e[b], (float)(g[0] + g[1]), d[b] * (float)(h[0] + h[1]));
        s16[2 * b] = fmaf(e[b], (float)g[0], d[b] * (float)h[0]);
        s16[2 * b + 1] = fmaf(e[b], (float)g[1], d[b] * (float)h[1]);
    }
}

void k_rms_norm_neon(float *y, const float *x, const float *w, int n, float eps)
{
    float64x2_t sum[4] = {0};
    double total = 0;
    int i = 0;
    for (; i + 8 <= n; i += 8) {
        const float32x4_t a = vld1q_f32(x + i), b = vld1q_f32(x + i + 4);
        const float64x2_t v[4] = {vcvt_f64_f32(vget_low_f32(a)), vcvt_high_f64_f32(a),
                                  vcvt_f64_f32(vget_low_f32(b)), vcvt_high_f64_f32(b)};
        for (int j = 0; j < 4; j++)
            sum[j] = vfmaq_f64(sum[j], v[j], v[j]);
    }
    for (int j = i; j < n; j++)
        total += (double)x[j] * (double)x[j];
    total += vaddvq_f64(vaddq_f64(vaddq_f64(sum[0], sum[2]), vaddq_f64(sum[1], sum[3])));
    const float inv_rms = (float)(1.0 / sqrt(total / n + (double)eps));
    for (i = 0; i < n; i++)
        y[i] = x[i] * inv_rms * w[i];
}

ALWAYS float32x4_t over_1_plus_exp(float32x4_t x, float32x4_t exponent)
{
    return vdivq_f32(x, vaddq_f32(vdupq_n_f32(1.0f), exp_neon(exponent)));
}

ALWAYS float32x4_t silu4(float32x4_t x)
{
    return over_1_plus_exp(x, vnegq_f32(x));
}

/* x / 2 * (1 + tanh(u)) = x / (1 + e^-2u) */
ALWAYS float32x4_t gelu4(float32x4_t x)
{
    const float32x4_t one = vdupq_n_f32(1.0f), x2 = vmulq_f32(x, x);
    const float32x4_t cubic = vmulq_f32(x, vfmaq_n_f32(one, x2, 0.044715f));
    return over_1_plus_exp(x, vmulq_n_f32(cubic, -2 * 0.79788456080286535588f));
}

#define GATED(name, fn)                                                                            \
    void k_##name##_neon(float *y, const float *gate, const float *up, int n)                      \
    {                                                                                              \
        int i = 0;                                                                                 \
        for (; i + 4 <= n; i += 4)                                                                 \
            vst1q_f32(y + i, vmulq_f32(fn(vld1q_f32(gate + i)), vld1q_f32(up + i)));               \
        if (i == n)                                                                                \
            return;                                                                                \
        float g[4] = {0}, u[4] = {0};                                                              \
        memcpy(g, gate + i, (size_t)(n - i) * 4);                                                  \
        memcpy(u, up + i, (size_t)(n - i) * 4);                                                    \
        vst1q_f32(g, vmulq_f32(fn(vld1q_f32(g)), vld1q_f32(u)));                                   \
        memcpy(y + i, g, (size_t)(n - i) * 4);                                                     \
    }
GATED(silu_mul, silu4)
GATED(gelu_mul, gelu4)

void k_softcap_neon(float *y, float cap, int n)
{
    const float32x4_t c = vdupq_n_f32(cap);
    for (int i = 0; i < n; i += 4) {
        const size_t bytes = (size_t)(n - i < 4 ? n - i : 4) * 4;
        float v[4] = {0};
        memcpy(v, y + i, bytes);
        vst1q_f32(v, vmulq_f32(c, tanh_neon(vdivq_f32(vld1q_f32(v), c))));
        memcpy(y + i, v, bytes);
    }
}

/* Pairs (i, i + half), half a multiple of 4. */
static void rope_neox(float *x, const float *cos_sin, int half)
{
    for (int i = 0; i < half; i += 4) {
        const float32x4x2_t cs = vld2q_f32(cos_sin + 2 * i);
        const float32x4_t a = vld1q_f32(x + i), b = vld1q_f32(x + i + half);
        vst1q_f32(x + i, vsubq_f32(vmulq_f32(a, cs.val[0]), vmulq_f32(b, cs.val[1])));
        vst1q_f32(x + i + half, vaddq_f32(vmulq_f32(a, cs.val[1]), vmulq_f32(b, cs.val[0])));
    }
}

/* Pairs (2i, 2i + 1), half a multiple of 4. */
static void rope_pairs(float *x, const float *cos_sin, int half)
{
    for (int i = 0; i < half; i += 4) {
        const float32x4x2_t cs = vld2q_f32(cos_sin + 2 * i), v = vld2q_f32(x + 2 * i);
        float32x4x2_t to;
        to.val[0] = vsubq_f32(vmulq_f32(v.val[0], cs.val[0]), vmulq_f32(v.val[1], cs.val[1]));
        to.val[1] = vaddq_f32(vmulq_f32(v.val[0], cs.val[1]), vmulq_f32(v.val[1], cs.val[0]));
        vst2q_f32(x + 2 * i, to);
    }
}

/* Odd sizes go to generic whole. */
void k_rope_neon(float *x, const float *cos_sin, int n_head, int head_dim, int n_rot, bool neox)
{
    const int half = n_rot / 2;
    if (half % 4 != 0) {
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

void k_f32_to_f16_neon(uint16_t *y, const float *x, int n)
{
    int i = 0;
    for (; i + 4 <= n; i += 4)
        vst1_u16(y + i, vreinterpret_u16_f16(vcvt_f16_f32(vld1q_f32(x + i))));
    for (; i < n; i++)
        y[i] = f32_to_f16(x[i]);
}
