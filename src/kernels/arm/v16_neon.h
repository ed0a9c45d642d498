/*
 * v16: sixteen floats as four 128-bit vectors, for attend_vec.c (x86/v16_avx2.h lists what such a
 * header offers).
 *
 * Six rows of one v16 fill 24 of the 32 registers; one or two rows take two v16.
 */
#ifndef HEARTH_KERNELS_V16_NEON_H
#define HEARTH_KERNELS_V16_NEON_H

#include "kernels/arm/math_neon.h"
#include "kernels/arm/neon.h"

#include <math.h>

#define ALWAYS    static inline __attribute__((always_inline))
#define TILE_ROWS 6
#define WIDE_ROWS 2

typedef float32x4x4_t v16;

/* A v16 of `expression`, in which i is 0 to 3. */
#define AT(n, expression)                                                                          \
    (__extension__({                                                                               \
        enum { i = n };                                                                            \
        expression;                                                                                \
    }))
#define EACH(e) ((v16){{AT(0, e), AT(1, e), AT(2, e), AT(3, e)}})

ALWAYS v16 v16_set1(float x)
{
    const float32x4_t v = vdupq_n_f32(x);
    return (v16){{v, v, v, v}};
}

ALWAYS v16 v16_zero(void)
{
    return v16_set1(0);
}

ALWAYS v16 v16_load(const float *p)
{
    return EACH(vld1q_f32(p + 4 * i));
}

ALWAYS void v16_store(float *p, v16 v)
{
    vst1q_f32(p, v.val[0]);
    vst1q_f32(p + 4, v.val[1]);
    vst1q_f32(p + 8, v.val[2]);
    vst1q_f32(p + 12, v.val[3]);
}

ALWAYS v16 v16_load_f16(const uint16_t *p)
{
    return EACH(vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p + 4 * i))));
}

ALWAYS v16 v16_of_s8(int8x16_t v)
{
    const int16x8_t low = vmovl_s8(vget_low_s8(v)), high = vmovl_s8(vget_high_s8(v));
    return (v16){{vcvtq_f32_s32(vmovl_s16(vget_low_s16(low))),
                  vcvtq_f32_s32(vmovl_s16(vget_high_s16(low))),
                  vcvtq_f32_s32(vmovl_s16(vget_low_s16(high))),
                  vcvtq_f32_s32(vmovl_s16(vget_high_s16(high)))}};
}

ALWAYS v16 v16_load_i8(const int8_t *p)
{
    return v16_of_s8(vld1q_s8(p));
}

ALWAYS v16 v16_load_u4(const uint8_t *p, int high)
{
    const int8x16_t up = vshlq_s8(vreinterpretq_s8_u8(vld1q_u8(p)), vdupq_n_s8(high ? 0 : 4));
    return v16_of_s8(vshrq_n_s8(up, 4));
}

ALWAYS v16 v16_load_u4x2(const uint8_t *p)
{
    const int8x8_t x = vreinterpret_s8_u8(vld1_u8(p));
    return v16_of_s8(vcombine_s8(vshr_n_s8(vshl_n_s8(x, 4), 4), vshr_n_s8(x, 4)));
}

ALWAYS v16 v16_fma(v16 x, v16 y, v16 z)
{
    return EACH(vfmaq_f32(z.val[i], x.val[i], y.val[i]));
}

ALWAYS v16 v16_mul(v16 x, v16 y)
{
    return EACH(vmulq_f32(x.val[i], y.val[i]));
}

ALWAYS v16 v16_add(v16 x, v16 y)
{
    return EACH(vaddq_f32(x.val[i], y.val[i]));
}

ALWAYS v16 v16_sub(v16 x, v16 y)
{
    return EACH(vsubq_f32(x.val[i], y.val[i]));
}

ALWAYS v16 v16_div(v16 x, v16 y)
{
    return EACH(vdivq_f32(x.val[i], y.val[i]));
}

ALWAYS v16 v16_max(v16 x, v16 y)
{
    return EACH(vmaxq_f32(x.val[i], y.val[i]));
}

ALWAYS v16 v16_exp(v16 x)
{
    return EACH(exp_neon(x.val[i]));
}

ALWAYS v16 v16_tanh(v16 x)
{
    return EACH(tanh_neon(x.val[i]));
}

/* Lane i with lane i + 8, of those i with i + 4, and so on. */
ALWAYS float v16_sum_of(v16 v)
{
    const float32x4_t x = vaddq_f32(vaddq_f32(v.val[0], v.val[2]), vaddq_f32(v.val[1], v.val[3]));
    const float32x2_t y = vadd_f32(vget_low_f32(x), vget_high_f32(x));
    return vget_lane_f32(y, 0) + vget_lane_f32(y, 1);
}

ALWAYS float v16_max_of(v16 v)
{
    const float32x4_t x = vmaxq_f32(vmaxq_f32(v.val[0], v.val[2]), vmaxq_f32(v.val[1], v.val[3]));
    const float32x2_t y = vmax_f32(vget_low_f32(x), vget_high_f32(x));
    return vget_lane_f32(vpmax_f32(y, y), 0);
}

/* Lanes first..first + 3 that lie in [j0, j1); -infinity elsewhere. */
ALWAYS float32x4_t lanes4(float32x4_t v, int first, int j0, int j1)
{
    static const int32_t order[4] = {0, 1, 2, 3};
    const int32x4_t j = vaddq_s32(vld1q_s32(order), vdupq_n_s32(first));
    const uint32x4_t inside =
        vandq_u32(vcgeq_s32(j, vdupq_n_s32(j0)), vcltq_s32(j, vdupq_n_s32(j1)));
    return vbslq_f32(inside, v, vdupq_n_f32(-INFINITY));
}

ALWAYS v16 v16_lanes(v16 v, int j0, int j1)
{
    return EACH(lanes4(v.val[i], 4 * i, j0, j1));
}

#endif
