/*
 * packed_scales_x86: the scales and minima of packed groups, as floats and whole numbers in
 * registers. Private to mul_packed_x86.c; packed_x86.h has the quants and the types.
 */
#ifndef HEARTH_KERNELS_PACKED_SCALES_X86_H
#define HEARTH_KERNELS_PACKED_SCALES_X86_H

#include "kernels/x86/packed_x86.h"

/* k_scales: subs in ascending order, LANES / 4 of 16 rows at a time. */
ALWAYS void unit_scales_k(struct unit_scales *u, const uint8_t *k)
{
    const vi low4 = v_set8(15), two4 = v_set8(0x30);
    for (int sub = 0; sub < 8; sub += LANES / 4) {
        const vi low = v_load(k + 16 * sub);
        const vi high = v_shrv64(v_twice128(k + 128 + 8 * sub), v_shifts128(0, 4, 0, 4));
        const vi scale = v_select(low4, low, v_and(v_shl16(high, 4), two4));
        const vi min = v_select(low4, v_shr16(low, 4), v_and(v_shl16(high, 2), two4));
        v_store(u->scale[sub], scale);
        v_store(u->min[sub], min);
    }
}

/* q3_k, iq4_xs: low nibbles of n subs, two a byte, and their upper two bits, four a byte. */
ALWAYS void unit_scales_six(struct unit_scales *u, const uint8_t *low, const uint8_t *high, int n)
{
    for (int sub = 0; sub < n; sub += LANES / 4) {
        const vi l = v_shrv64(v_twice128(low + 8 * sub), v_shifts128(0, 4, 0, 4));
        const int at = LANES == 16 ? 0 : sub % 4 * 2;
        const vi h = v_shrv64(v_each128(high + sub / 4 * 16), v_shifts128(at, at + 2, 4, 6));
        const vi six = v_select(v_set8(15), l, v_and(v_shl16(h, 4), v_set8(0x30)));
        v_store(u->scale[sub], v_add8(six, v_set8(-32)));
    }
}

ALWAYS void read_unit(int type, struct unit_scales *u, struct unit_floats *f, const uint8_t *unit,
                      int h)
{
    f->d = f_half(unit + 2 * h);
    if (type == DTYPE_Q4_K || type == DTYPE_Q5_K || type == DTYPE_Q2_K)
        f->minus = f_neg(f_half(unit + 32 + 2 * h));
    if (type == DTYPE_Q4_K || type == DTYPE_Q5_K)
        unit_scales_k(u, unit + 64);
    if (type == DTYPE_Q3_K)
        unit_scales_six(u, unit + 32, unit + 160, 16);
    if (type == DTYPE_IQ4_XS)
        unit_scales_six(u, unit + 32, unit + 96, 8);
}

/* Half of 2^(e - 127) (block_scale_mxfp4). */
ALWAYS vf scale_mxfp4(const uint8_t *e)
{
    const vi v = v_u8(e);
    const vi normal = v_shl32(v_sub32(v, v_set32(1)), 23);
    const vi small = v_shlv32(v_set32(0x00200000), v);
#ifdef LANES_512
    return v_asfloat(_mm512_mask_mov_epi32(normal, _mm512_cmplt_epi32_mask(v, v_set32(2)), small));
#else
    return v_asfloat(_mm256_blendv_epi8(normal, small, _mm256_cmpgt_epi32(v_set32(2), v)));
#endif
}

/* Both halves of group i of q2_k. */
ALWAYS void scales_q2_k(struct rows *s, const uint8_t *unit, vf minus, int i, int h)
{
    UNROLL for (int half = 0; half < 2; half++)
    {
        const vi v = v_u8(unit + 64 + 16 * (2 * i + half) + h);
        const vi scale = v_and(v, v_set32(15));
        s->f[half] = v_float(scale);
        s->k[half] = v_rep16(scale);
        s->m[half] = f_mul(minus, v_float(v_shr16(v, 4)));
    }
}

/* The scales of group i; u, f: the unit's, from read_unit (units of 256). */
ALWAYS void scales(int type, struct rows *s, const uint8_t *unit, const struct unit_scales *u,
                   const struct unit_floats *f, int i, int h)
{
    const uint8_t *after = unit + group_bytes(type);
    s->d = f->d;
    switch (type) {
    case DTYPE_Q4_1:
    case DTYPE_Q5_1:
        s->d = f_half(after + 2 * h);
        s->m[0] = f_half(after + 32 + 2 * h);
        return;
    case DTYPE_MXFP4:
        s->d = scale_mxfp4(after + h);
        return;
    case DTYPE_Q4_K:
    case DTYPE_Q5_K:
        s->d = f_mul(f->d, v_float(v_u8(u->scale[i] + h)));
        s->m[0] = f_mul(f->minus, v_float(v_u8(u->min[i] + h)));
        return;
    case DTYPE_Q6_K:
        s->f[0] = v_float(v_s8(unit + 32 + 16 * (2 * i) + h));
        s->f[1] = v_float(v_s8(unit + 32 + 16 * (2 * i + 1) + h));
        return;
    case DTYPE_Q2_K:
        scales_q2_k(s, unit, f->minus, i, h);
        return;
    case DTYPE_Q3_K:
        UNROLL for (int half = 0; half < 2; half++)
        {
            const vi v = v_s8(u->scale[2 * i + half] + h);
            s->f[half] = v_float(v);
            s->k[half] = v_rep16(v);
            s->o[half] = v_rep8(v_sub32(v_set32(124), v_shl32(v, 2)));
        }
        return;
    case DTYPE_IQ4_XS:
        s->f[0] = v_float(v_s8(u->scale[i] + h));
        return;
    case SHEET: {
        const struct sheet *sheet = (const struct sheet *)(const void *)unit;
        s->d = f_load(sheet->d[i] + h);
        UNROLL for (int half = 0; half < 2; half++)
        {
            s->m[half] = f_load(sheet->m[i][half] + h);
            s->f[half] = f_load(sheet->f[i][half] + h);
        }
        return;
    }
    case DTYPE_TQ2_0:
        return;
    default:
        s->d = f_half(after + 2 * h);
        return;
    }
}

#endif
