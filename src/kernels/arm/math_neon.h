/*
 * math: exp and tanh of 4 floats (arm64).
 *
 * exp(x) = 2^n * e^r with n = round(x / ln 2), |r| <= ln(2)/2, e^r by its Taylor series to the
 * seventh power: the steps of the x86 levels, so their accuracy too: exp within 1.02 ulp, tanh
 * within 2.5 ulp. Inputs above 88.37 count as 88.37 (2.4e38), below -87.33 the result is 0: no
 * subnormal numbers arise. NaN stays NaN.
 */
#ifndef HEARTH_KERNELS_MATH_NEON_H
#define HEARTH_KERNELS_MATH_NEON_H

#include <arm_neon.h>

/* e^r - 1 without cancellation and 2^n, for x in [-87.33, 88.37]. */
static inline float32x4_t exp_parts_neon(float32x4_t x, float32x4_t *ret_power)
{
    const float32x4_t n = vrndnq_f32(vmulq_n_f32(x, 1.44269504088896341f));
    float32x4_t r = vfmsq_f32(x, n, vdupq_n_f32(0.693359375f)); /* ln 2 in two parts */
    r = vfmsq_f32(r, n, vdupq_n_f32(-2.12194440e-4f));
    float32x4_t p = vdupq_n_f32(1.0f / 5040);
    p = vfmaq_f32(vdupq_n_f32(1.0f / 720), p, r);
    p = vfmaq_f32(vdupq_n_f32(1.0f / 120), p, r);
    p = vfmaq_f32(vdupq_n_f32(1.0f / 24), p, r);
    p = vfmaq_f32(vdupq_n_f32(1.0f / 6), p, r);
    p = vfmaq_f32(vdupq_n_f32(0.5f), p, r);
    p = vfmaq_f32(r, p, vmulq_f32(r, r));
    const int32x4_t bits = vshlq_n_s32(vaddq_s32(vcvtnq_s32_f32(n), vdupq_n_s32(127)), 23);
    *ret_power = vreinterpretq_f32_s32(bits);
    return p;
}

static inline float32x4_t exp_neon(float32x4_t x)
{
    const float32x4_t low = vdupq_n_f32(-87.33f);
    const uint32x4_t tiny = vcltq_f32(x, low);
    float32x4_t power;
    const float32x4_t p = exp_parts_neon(vmaxq_f32(low, vminq_f32(vdupq_n_f32(88.37f), x)), &power);
    const float32x4_t y = vfmaq_f32(power, power, p);
    return vreinterpretq_f32_u32(vbicq_u32(vreinterpretq_u32_f32(y), tiny));
}

/* (e^2x - 1) / (e^2x + 1), with e^2x - 1 formed without cancellation. */
static inline float32x4_t tanh_neon(float32x4_t x)
{
    const float32x4_t most = vdupq_n_f32(20.0f); /* tanh is 1 in float from 9.02 on */
    const float32x4_t in = vmaxq_f32(vnegq_f32(most), vminq_f32(most, vaddq_f32(x, x)));
    float32x4_t power;
    const float32x4_t p = exp_parts_neon(in, &power);
    const float32x4_t e1 = vfmaq_f32(vsubq_f32(power, vdupq_n_f32(1.0f)), power, p);
    return vdivq_f32(e1, vaddq_f32(e1, vdupq_n_f32(2.0f)));
}

#endif
