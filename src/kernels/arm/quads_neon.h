/*
 * quads: weights of a group of 32 elements of 16 rows as signed bytes, exactly the q of unpack.h
 * (arm64).
 *
 * A quad is 4 consecutive elements of 4 rows: one vector, as a product by lane wants it. Quads j
 * (of the first 16 elements) and j + 4 (of the second) come together: what a byte of the panel
 * holds.
 */
#ifndef HEARTH_KERNELS_QUADS_NEON_H
#define HEARTH_KERNELS_QUADS_NEON_H

#include <arm_neon.h>
#include <stdint.h>

#define ALWAYS static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 16")
#define ROLL   _Pragma("GCC unroll 1")

/* How the quants of a group lie; all but SPLIT as in pack.h. */
enum quants {
    NIB,       /* 0..15 */
    NIB_8,     /* less 8 */
    NIB_IQ4,   /* an index into iq4_value */
    NIB_MXFP4, /* into mxfp4_value */
    NIB_ONE,   /* 0..31 */
    NIB_ONE_16,
    NIB_TWO_32,
    TWO,
    TWO_1,
    TWO_ONE_4,
    BYTES,
    SPLIT, /* bytes, see SPLIT_AT */
};

/*
 * Where quad t of rows 4 i .. 4 i + 3 stands in an unpacked group, and what is from a row to the
 * next. With products of matrices: elements 8 e .. 8 e + 7 of two rows in a vector, else a quad.
 */
#ifdef __ARM_FEATURE_MATMUL_INT8
#define SPLIT_AT(t, i) ((t) / 2 * 128 + (i)*32 + (t) % 2 * 4)
#define SPLIT_ROW      8
#else
#define SPLIT_AT(t, i) ((t) % 4 * 128 + (i)*32 + (t) / 4 * 16)
#define SPLIT_ROW      4
#endif

extern const int8_t iq4_value[16];
extern const int8_t mxfp4_value[16];

ALWAYS int8x16x2_t both(uint8x16_t low, uint8x16_t high)
{
    return (int8x16x2_t){{vreinterpretq_s8_u8(low), vreinterpretq_s8_u8(high)}};
}

ALWAYS int8x16x2_t less(int8x16x2_t v, int offset)
{
    const int8x16_t o = vdupq_n_s8((int8_t)offset);
    return (int8x16x2_t){{vsubq_s8(v.val[0], o), vsubq_s8(v.val[1], o)}};
}

/* Up by n bits, or down by -n. (Operators: intrinsics need a literal where nothing is inlined.) */
ALWAYS uint8x16_t moved(uint8x16_t v, int n)
{
    return n < 0 ? v >> -n : v << n;
}

/* Bits j and j + 4 of each byte, moved to bit `to`. */
ALWAYS int8x16x2_t one_bits(const uint8_t *p, int j, int to)
{
    const uint8x16_t v = vld1q_u8(p), bit = vdupq_n_u8((uint8_t)(1 << to));
    return both(vandq_u8(moved(v, to - j), bit), vandq_u8(moved(v, to - j - 4), bit));
}

/* Quads j and j + 4 of `two`. */
ALWAYS int8x16x2_t two_bits(const uint8_t *p, int j)
{
    const uint8x16_t v = vld1q_u8(p + 64 * (j % 2)), three = vdupq_n_u8(3);
    const uint8x16_t low = j / 2 ? vshrq_n_u8(v, 2) : v;
    const uint8x16_t high = j / 2 ? vshrq_n_u8(v, 6) : vshrq_n_u8(v, 4);
    return both(vandq_u8(low, three), j / 2 ? high : vandq_u8(high, three));
}

ALWAYS int8x16x2_t nibbles(const uint8_t *p, int j)
{
    const uint8x16_t v = vld1q_u8(p + 64 * j);
    return both(vandq_u8(v, vdupq_n_u8(15)), vshrq_n_u8(v, 4));
}

ALWAYS int8x16x2_t either(int8x16x2_t a, int8x16x2_t b)
{
    return (int8x16x2_t){{vorrq_s8(a.val[0], b.val[0]), vorrq_s8(a.val[1], b.val[1])}};
}

ALWAYS int8x16x2_t looked_up(const int8_t table[16], int8x16x2_t i)
{
    const int8x16_t t = vld1q_s8(table);
    return (int8x16x2_t){{vqtbl1q_s8(t, vreinterpretq_u8_s8(i.val[0])),
                          vqtbl1q_s8(t, vreinterpretq_u8_s8(i.val[1]))}};
}

ALWAYS int8x16x2_t times16(int8x16x2_t v)
{
    return (int8x16x2_t){{vshlq_n_s8(v.val[0], 4), vshlq_n_s8(v.val[1], 4)}};
}

/* Quads j and j + 4 of rows 4 i .. 4 i + 3. */
ALWAYS int8x16x2_t quads(enum quants kind, const uint8_t *group, int j, int i)
{
    const uint8_t *p = group + 16 * i;
    switch (kind) {
    case NIB:
        return nibbles(p, j);
    case NIB_8:
        return less(nibbles(p, j), 8);
    case NIB_IQ4:
        return looked_up(iq4_value, nibbles(p, j));
    case NIB_MXFP4:
        return looked_up(mxfp4_value, nibbles(p, j));
    case NIB_ONE:
        return either(nibbles(p, j), one_bits(p + 256, j, 4));
    case NIB_ONE_16:
        return less(either(nibbles(p, j), one_bits(p + 256, j, 4)), 16);
    case NIB_TWO_32:
        return less(either(nibbles(p, j), times16(two_bits(p + 256, j))), 32);
    case TWO:
        return two_bits(p, j);
    case TWO_1:
        return less(two_bits(p, j), 1);
    case TWO_ONE_4:
        return less(either(two_bits(p, j), one_bits(p + 128, j, 2)), 4);
    case BYTES:
        return both(vld1q_u8(p + 64 * j), vld1q_u8(p + 64 * (j + 4)));
    case SPLIT:
        break;
    }
    return both(vld1q_u8(group + SPLIT_AT(j, i)), vld1q_u8(group + SPLIT_AT(j + 4, i)));
}

#endif
