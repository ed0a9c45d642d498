/*
 * blocks: the layout of one block of every quantized tensor type, as it lies in a GGUF file.
 *
 * All structs are packed (alignment 1), so a pointer into a mapped file may be cast to them.
 * Fields d and dmin are IEEE half floats kept as bits. "x" is the value of an element, "q" its
 * stored integer. 256-element types are cut into groups of 32 (or 16) elements with a scale each.
 * Sources: the block layouts of the GGUF tensor types (ggml) and of the OCP Microscaling formats.
 */
#ifndef HEARTH_TENSOR_BLOCKS_H
#define HEARTH_TENSOR_BLOCKS_H

#include <stdint.h>

#define PACKED __attribute__((packed))

/*
 * 32 elements. 4-bit quants: byte i holds element i in the low nibble, element i + 16 in the high
 * one. The fifth bit of element i is bit i of qh.
 */
struct PACKED block_q4_0 { /* x = d * (q - 8) */
    uint16_t d;
    uint8_t qs[16];
};

struct PACKED block_q4_1 { /* x = d * q + m */
    uint16_t d;
    uint16_t m;
    uint8_t qs[16];
};

struct PACKED block_q5_0 { /* x = d * (q - 16) */
    uint16_t d;
    uint32_t qh;
    uint8_t qs[16];
};

struct PACKED block_q5_1 { /* x = d * q + m */
    uint16_t d;
    uint16_t m;
    uint32_t qh;
    uint8_t qs[16];
};

struct PACKED block_q8_0 { /* x = d * q */
    uint16_t d;
    int8_t qs[32];
};

struct PACKED block_iq4_nl { /* x = d * iq4_value[q] */
    uint16_t d;
    uint8_t qs[16];
};

struct PACKED block_mxfp4 { /* x = 2^(e - 127) / 2 * mxfp4_value[q] */
    uint8_t e;
    uint8_t qs[16];
};

/* 256 elements in 16 groups of 16. Byte 32 * c + i holds elements 128 * c + 32 * j + i, j < 4, at
 * bits 2 * j. */
struct PACKED block_q2_k { /* x = d * (scale & 15) * q - dmin * (scale >> 4) */
    uint8_t scales[16];
    uint8_t qs[64];
    uint16_t d;
    uint16_t dmin;
};

/* qs as in q2_k; bit g of hmask[i] is the third bit of element 32 * g + i, inverted: clear means
 * "subtract 4". scales: 16 of 6 bits, offset 32; see block_scale_q3_k. */
struct PACKED block_q3_k { /* x = d * (scale - 32) * (q - 4) */
    uint8_t hmask[32];
    uint8_t qs[64];
    uint8_t scales[12];
    uint16_t d;
};

/* 256 elements in 8 groups of 32. Byte 32 * c + i holds element 64 * c + i in the low nibble and
 * element 64 * c + 32 + i in the high one. scales: 8 scales and 8 minima of 6 bits; see
 * block_scale_min_k. */
struct PACKED block_q4_k { /* x = d * scale * q - dmin * min */
    uint16_t d;
    uint16_t dmin;
    uint8_t scales[12];
    uint8_t qs[128];
};

/* As q4_k; bit g of qh[i] is the fifth bit of element 32 * g + i. */
struct PACKED block_q5_k {
    uint16_t d;
    uint16_t dmin;
    uint8_t scales[12];
    uint8_t qh[32];
    uint8_t qs[128];
};

/* 16 groups of 16. Byte 64 * c + i (i < 64) of ql holds the low nibbles of elements 128 * c + i and
 * 128 * c + 64 + i; byte 32 * c + i (i < 32) of qh holds the upper two bits of elements
 * 128 * c + 32 * j + i at bits 2 * j. */
struct PACKED block_q6_k { /* x = d * scale * (q - 32) */
    uint8_t ql[128];
    uint8_t qh[64];
    int8_t scales[16];
    uint16_t d;
};

/*
 * Codebook types. An index picks 8 (iq1, iq2) or 4 (iq3) values of a grid (tensor/iq_grid.h).
 * "signs": bit i set negates element i. A 7-bit sign field stands for 8 signs of even parity.
 */
struct PACKED block_iq2_xxs { /* x = d * (0.5 + scale) / 4 * sign * grid */
    uint16_t d;
    struct PACKED {
        uint8_t i_grid[4];    /* one per 8 elements */
        uint32_t signs_scale; /* 4 x 7 bits of signs, then the 4-bit scale */
    } group[8];
};

struct PACKED block_iq2_xs { /* x = d * (0.5 + scale) / 4 * sign * grid */
    uint16_t d;
    uint16_t qs[32];   /* 9 bits of grid index, 7 of signs */
    uint8_t scales[8]; /* a nibble per 16 elements */
};

struct PACKED block_iq2_s { /* as iq2_xs */
    uint16_t d;
    uint8_t qs[32];    /* low 8 bits of the grid index */
    uint8_t signs[32]; /* a byte per 8 elements */
    uint8_t qh[8];     /* upper 2 bits of four indices */
    uint8_t scales[8];
};

struct PACKED block_iq3_xxs { /* x = d * (0.5 + scale) / 2 * sign * grid */
    uint16_t d;
    uint8_t qs[64];          /* one index per 4 elements */
    uint32_t signs_scale[8]; /* as in iq2_xxs */
};

struct PACKED block_iq3_s { /* x = d * (1 + 2 * scale) * sign * grid */
    uint16_t d;
    uint8_t qs[64];    /* low 8 bits of the grid index */
    uint8_t qh[8];     /* the ninth bit of eight indices */
    uint8_t signs[32]; /* a byte per 8 elements */
    uint8_t scales[4]; /* a nibble per 32 elements */
};

struct PACKED block_iq1_s { /* x = d * (2 * scale + 1) * (grid +- 0.125) */
    uint16_t d;
    uint8_t qs[32];
    uint16_t qh[8]; /* 4 x upper 3 bits of the index, 3 of scale, the sign of the shift */
};

struct PACKED block_iq1_m { /* as iq1_s */
    uint8_t qs[32];
    uint8_t qh[16];     /* a nibble per 8 elements: upper 3 bits of the index, sign of the shift */
    uint16_t scales[4]; /* 4 x 3 bits per 64 elements; the top nibbles together are d */
};

struct PACKED block_iq4_xs { /* x = d * (scale - 32) * iq4_value[q] */
    uint16_t d;
    uint16_t scales_h; /* upper 2 bits of eight scales */
    uint8_t scales_l[4];
    uint8_t qs[128]; /* 16 bytes per 32 elements, nibbles as in q4_0 */
};

/*
 * Ternary types. In tq1_0 a byte holds 5 digits of base 3 as a fraction of 256: digit n is
 * ((byte * 3^n mod 256) * 3) >> 8. Elements: qs[0..31] 5 x 32, qs[32..47] 5 x 16, qh 4 x 4.
 */
struct PACKED block_tq1_0 { /* x = d * (q - 1) */
    uint8_t qs[48];
    uint8_t qh[4];
    uint16_t d;
};

struct PACKED block_tq2_0 { /* x = d * (q - 1); qs as in q2_k */
    uint8_t qs[64];
    uint16_t d;
};

/* Values of the 4-bit codes of iq4_nl and iq4_xs, and of mxfp4 (doubled, hence its "/ 2"). */
extern const int8_t iq4_value[16];
extern const int8_t mxfp4_value[16];

/* Scale and minimum of group g (0..7) of q4_k and q5_k, 0..63 each. */
static inline void block_scale_min_k(const uint8_t scales[12], int g, uint8_t *scale, uint8_t *min)
{
    if (g < 4) {
        *scale = scales[g] & 63;
        *min = scales[g + 4] & 63;
    } else {
        *scale = (uint8_t)((scales[g + 4] & 15) | (scales[g - 4] >> 6 << 4));
        *min = (uint8_t)((scales[g + 4] >> 4) | (scales[g] >> 6 << 4));
    }
}

/* Scale of group g (0..15) of q3_k, -32..31. */
static inline int block_scale_q3_k(const uint8_t scales[12], int g)
{
    int low = scales[g & 7] >> (g < 8 ? 0 : 4) & 15;
    int high = scales[8 + (g & 3)] >> (g >> 2 << 1) & 3;
    return (low | high << 4) - 32;
}

/* The scale of an mxfp4 block: half of 2^(e - 127), exact, also where it is subnormal. */
static inline float block_scale_mxfp4(uint8_t e)
{
    union {
        uint32_t bits;
        float value;
    } u = {.bits = e < 2 ? UINT32_C(0x00200000) << e : (uint32_t)(e - 1) << 23};
    return u.value;
}

/* The 8 signs (bit i set: element i negative) that 7 stored bits stand for. */
static inline uint8_t block_signs(uint32_t bits7)
{
    bits7 &= 127;
    return (uint8_t)(bits7 | (uint32_t)__builtin_parity(bits7) << 7);
}

#endif
