/*
 * packed_x86: one group of 32 elements of packed rows (kernels/pack.h) as bytes and scales in
 * registers, for every packed type. Private to mul_packed_x86.c.
 *
 * A weight comes as an unsigned byte u, one of four consecutive k per dword, one row per dword:
 *   quant = u - packed_offset(type)
 * so that u8 x s8 products serve all types; the offset is taken back exactly by the caller. Where
 * quant * (scale of 16) fits into a byte, too (q2_k 0..45, q3_k -124..128), sheets hold that, with
 * sheet_offset(type).
 * `h` is the first of the LANES rows (0, or 8 in the upper half of a panel).
 */
#ifndef HEARTH_KERNELS_PACKED_X86_H
#define HEARTH_KERNELS_PACKED_X86_H

#include "kernels/pack.h"
#include "kernels/x86/lanes.h"
#include "tensor/blocks.h"

/* A type whose group is already bytes: struct sheet below. */
#define SHEET DTYPE_END

/* What a group's products are multiplied with, beside the activations' scale. */
enum packed_kind {
    KIND_PLAIN = 0, /* d */
    KIND_MIN32 = 1, /* d, and a minimum */
    KIND_MIN16 = 2, /* d, and a minimum for each half */
    KIND_S32 = 4,   /* f[0] * d: f a whole number */
    KIND_S16 = 8,   /* f[half] * d */
};

/* The greatest u, for the headroom of 16-bit sums: 15, 31, 63 or 255. */
enum packed_wide { WIDE4, WIDE5, WIDE6, WIDE8 };

#define SHEET_BLOCKS 16

/* Groups of one panel, unpacked. */
struct sheet {
    _Alignas(64) uint8_t q[SHEET_BLOCKS][8][PACK_ROWS][4];
    float d[SHEET_BLOCKS][PACK_ROWS];
    float m[SHEET_BLOCKS][2][PACK_ROWS];
    float f[SHEET_BLOCKS][2][PACK_ROWS];
};

/* Scales and minima of one unit of 256 as bytes, where they are stored in pieces. */
struct unit_scales {
    _Alignas(64) uint8_t scale[16][PACK_ROWS]; /* by sub; signed for q3_k and iq4_xs */
    uint8_t min[8][PACK_ROWS];
};

/* What the groups of a unit of 256 share. */
struct unit_floats {
    vf d, minus; /* -dmin */
};

struct rows {
    vf d, m[2], f[2];
    vi k[2], o[2]; /* what sheet_quad multiplies a quant of each half with, and adds */
};

/* ---- layout ---- */

ALWAYS int unit_groups(int t)
{
    switch (t) {
    case DTYPE_Q4_0:
    case DTYPE_Q4_1:
    case DTYPE_Q5_0:
    case DTYPE_Q5_1:
    case DTYPE_Q8_0:
    case DTYPE_IQ4_NL:
    case DTYPE_MXFP4:
        return 1;
    default:
        return 8;
    }
}

/* Bytes of a group's quants. */
ALWAYS size_t group_bytes(int t)
{
    switch (t) {
    case DTYPE_Q5_0:
    case DTYPE_Q5_1:
    case DTYPE_Q5_K:
        return 320;
    case DTYPE_Q6_K:
        return 384;
    case DTYPE_Q8_0:
    case SHEET:
        return 512;
    case DTYPE_Q2_K:
    case DTYPE_TQ2_0:
        return 128;
    case DTYPE_Q3_K:
        return 192;
    default:
        return 256;
    }
}

/* Where a unit's first group begins. */
ALWAYS size_t group_first(int t)
{
    switch (t) {
    case DTYPE_Q4_K:
    case DTYPE_Q5_K:
        return 256;
    case DTYPE_Q6_K:
        return 288;
    case DTYPE_Q2_K:
        return 320;
    case DTYPE_Q3_K:
        return 224;
    case DTYPE_IQ4_XS:
        return 128;
    case DTYPE_TQ2_0:
        return 32;
    default:
        return 0;
    }
}

ALWAYS size_t unit_bytes(int t)
{
    switch (t) {
    case DTYPE_MXFP4:
        return 272;
    case DTYPE_Q4_1:
    case DTYPE_Q5_1:
        return group_bytes(t) + 64;
    default:
        return unit_groups(t) == 1 ? group_bytes(t) + 32 : group_first(t) + 8 * group_bytes(t);
    }
}

ALWAYS int packed_offset(int t)
{
    switch (t) {
    case DTYPE_Q4_0:
        return 8;
    case DTYPE_Q5_0:
        return 16;
    case DTYPE_Q6_K:
        return 32;
    case DTYPE_Q8_0:
        return 128;
    case DTYPE_IQ4_NL:
    case DTYPE_IQ4_XS:
        return 127;
    case DTYPE_MXFP4:
        return 12;
    case DTYPE_Q3_K:
        return 4;
    case DTYPE_TQ2_0:
        return 1;
    default:
        return 0;
    }
}

ALWAYS int sheet_offset(int t)
{
    return t == DTYPE_Q3_K ? 124 : packed_offset(t);
}

/* ---- quants ---- */

/* The bits of each byte at `from` moved to `to`; what leaves its byte is for the caller to mask. */
ALWAYS vi moved(vi v, int from, int to)
{
    return from > to ? v_shr16(v, from - to) : from < to ? v_shl16(v, to - from) : v;
}

ALWAYS vi nib(const uint8_t *g, int t)
{
    return moved(v_load_once(g + 64 * (t % 4)), t / 4 * 4, 0);
}

ALWAYS vi two(const uint8_t *g, int t, int to)
{
    return moved(v_load_once(g + 64 * (t % 2)), t / 2 * 2, to);
}

ALWAYS vi one(const uint8_t *g, int t, int to)
{
    return moved(v_load_once(g), t, to);
}

/* Sixteen values, the offset added, for v_bytes. */
ALWAYS vi table(const int8_t value[16], int offset)
{
    return v_add8(v_each128(value), v_set8(offset));
}

/* Quad t of a group. */
ALWAYS vi quad(int type, const uint8_t *g, int t)
{
    const vi low4 = v_set8(15);
    switch (type) {
    case DTYPE_Q5_0:
    case DTYPE_Q5_1:
    case DTYPE_Q5_K:
        return v_and(v_select(low4, nib(g, t), one(g + 256, t, 4)), v_set8(31));
    case DTYPE_Q6_K:
        return v_and(v_select(low4, nib(g, t), two(g + 256, t, 4)), v_set8(63));
    case DTYPE_Q8_0:
        return v_xor(v_load(g + 64 * t), v_set8(0x80));
    case DTYPE_IQ4_NL:
    case DTYPE_IQ4_XS:
        return v_bytes(table(iq4_value, 127), v_and(nib(g, t), low4));
    case DTYPE_MXFP4:
        return v_bytes(table(mxfp4_value, 12), v_and(nib(g, t), low4));
    case DTYPE_Q3_K:
        return v_and(v_select(v_set8(3), two(g, t, 0), one(g + 128, t, 2)), v_set8(7));
    case DTYPE_Q2_K:
    case DTYPE_TQ2_0:
        return v_and(two(g, t, 0), v_set8(3));
    case SHEET:
        return v_load(g + 64 * t);
    default:
        return v_and(nib(g, t), low4);
    }
}

/* The same as a sheet holds it. No byte's product or sum leaves it: 16 bits hold two. */
ALWAYS vi sheet_quad(int type, const uint8_t *g, const struct rows *s, int t)
{
    const vi q = quad(type, g, t);
    if (type == DTYPE_Q2_K)
        return v_mul16(q, s->k[t / 4]);
    if (type == DTYPE_Q3_K)
        return v_add16(v_mul16(q, s->k[t / 4]), s->o[t / 4]);
    return q;
}

#endif
