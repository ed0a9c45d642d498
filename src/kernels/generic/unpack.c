/*
 * unpack: 32 weights of each quantized type as small integers, scales and minima (unpack.h).
 *
 * Owns the reading of block layouts for the kernels; tensor/blocks.h has the layouts. Integers are
 * chosen so that they are exact: eighths become whole numbers by moving a power of two into d.
 * Where a type stores an offset, q is signed after it. Compiled once per level that uses it, with
 * that level's flags; K_UNPACKERS names the table (unpack.h). Nothing here rounds but one product.
 */
#include "kernels/unpack.h"

#include "tensor/blocks.h"
#include "tensor/iq_grid.h"

#include <string.h>

#ifndef K_UNPACKERS
#define K_UNPACKERS k_unpackers
#endif

static void unit_scale(struct unpacked *u, float d)
{
    u->d = d;
    u->m[0] = u->m[1] = 0;
    u->scale[0] = u->scale[1] = 1;
}

static void nibbles(const uint8_t *qs, int offset, int8_t *q)
{
    for (int i = 0; i < 16; i++) {
        q[i] = (int8_t)((qs[i] & 15) - offset);
        q[i + 16] = (int8_t)((qs[i] >> 4) - offset);
    }
}

static void fifth_bits(uint32_t qh, int8_t *q)
{
    for (int i = 0; i < 32; i++)
        q[i] = (int8_t)(q[i] + ((qh >> i & 1) << 4));
}

static void unpack_q4_0(const void *block, int i_group, struct unpacked *u)
{
    const struct block_q4_0 *b = block;
    (void)i_group;
    unit_scale(u, f16_to_f32(b->d));
    nibbles(b->qs, 8, u->q);
}

static void unpack_q4_1(const void *block, int i_group, struct unpacked *u)
{
    const struct block_q4_1 *b = block;
    (void)i_group;
    unit_scale(u, f16_to_f32(b->d));
    u->m[0] = u->m[1] = f16_to_f32(b->m);
    nibbles(b->qs, 0, u->q);
}

static void unpack_q5_0(const void *block, int i_group, struct unpacked *u)
{
    const struct block_q5_0 *b = block;
    (void)i_group;
    unit_scale(u, f16_to_f32(b->d));
    nibbles(b->qs, 16, u->q);
    fifth_bits(b->qh, u->q);
}

static void unpack_q5_1(const void *block, int i_group, struct unpacked *u)
{
    const struct block_q5_1 *b = block;
    (void)i_group;
    unit_scale(u, f16_to_f32(b->d));
    u->m[0] = u->m[1] = f16_to_f32(b->m);
    nibbles(b->qs, 0, u->q);
    fifth_bits(b->qh, u->q);
}

static void unpack_q8_0(const void *block, int i_group, struct unpacked *u)
{
    const struct block_q8_0 *b = block;
    (void)i_group;
    unit_scale(u, f16_to_f32(b->d));
    memcpy(u->q, b->qs, 32);
}

/* Two bits each: qs as in q2_k. */
static void pairs(const uint8_t *qs, int i_group, int offset, int8_t *q)
{
    const uint8_t *p = qs + i_group / 4 * 32;
    int shift = i_group % 4 * 2;
    for (int i = 0; i < 32; i++)
        q[i] = (int8_t)((p[i] >> shift & 3) - offset);
}

static void unpack_q2_k(const void *block, int i_group, struct unpacked *u)
{
    const struct block_q2_k *b = block;
    const uint8_t *sc = b->scales + 2 * i_group;
    float dmin = f16_to_f32(b->dmin);
    u->d = f16_to_f32(b->d);
    for (int h = 0; h < 2; h++) {
        u->scale[h] = sc[h] & 15;
        u->m[h] = -(dmin * (float)(sc[h] >> 4));
    }
    pairs(b->qs, i_group, 0, u->q);
}

static void unpack_q3_k(const void *block, int i_group, struct unpacked *u)
{
    const struct block_q3_k *b = block;
    unit_scale(u, f16_to_f32(b->d));
    for (int h = 0; h < 2; h++)
        u->scale[h] = block_scale_q3_k(b->scales, 2 * i_group + h);
    pairs(b->qs, i_group, 4, u->q);
    for (int i = 0; i < 32; i++)
        u->q[i] = (int8_t)(u->q[i] + ((b->hmask[i] >> i_group & 1) << 2));
}

static void scale_min(const uint8_t *scales, int i_group, uint16_t d, uint16_t dmin,
                      struct unpacked *u)
{
    uint8_t scale, min;
    block_scale_min_k(scales, i_group, &scale, &min);
    unit_scale(u, f16_to_f32(d) * (float)scale);
    u->m[0] = u->m[1] = -(f16_to_f32(dmin) * (float)min);
}

static void unpack_q4_k(const void *block, int i_group, struct unpacked *u)
{
    const struct block_q4_k *b = block;
    const uint8_t *p = b->qs + i_group / 2 * 32;
    int shift = i_group % 2 * 4;
    scale_min(b->scales, i_group, b->d, b->dmin, u);
    for (int i = 0; i < 32; i++)
        u->q[i] = (int8_t)(p[i] >> shift & 15);
}

static void unpack_q5_k(const void *block, int i_group, struct unpacked *u)
{
    const struct block_q5_k *b = block;
    const uint8_t *p = b->qs + i_group / 2 * 32;
    int shift = i_group % 2 * 4;
    scale_min(b->scales, i_group, b->d, b->dmin, u);
    for (int i = 0; i < 32; i++)
        u->q[i] = (int8_t)((p[i] >> shift & 15) | (b->qh[i] >> i_group & 1) << 4);
}

static void unpack_q6_k(const void *block, int i_group, struct unpacked *u)
{
    const struct block_q6_k *b = block;
    const uint8_t *low = b->ql + i_group / 4 * 64 + i_group % 2 * 32;
    const uint8_t *high = b->qh + i_group / 4 * 32;
    int low_shift = i_group % 4 / 2 * 4, high_shift = i_group % 4 * 2;
    unit_scale(u, f16_to_f32(b->d));
    for (int h = 0; h < 2; h++)
        u->scale[h] = b->scales[2 * i_group + h];
    for (int i = 0; i < 32; i++)
        u->q[i] = (int8_t)(((low[i] >> low_shift & 15) | (high[i] >> high_shift & 3) << 4) - 32);
}

/* Bit i of signs as byte i, 0 or 1. */
static uint64_t sign_bytes(uint8_t signs)
{
    uint64_t x = signs * UINT64_C(0x0101010101010101) & UINT64_C(0x8040201008040201);
    return (x + UINT64_C(0x7f7f7f7f7f7f7f7f)) >> 7 & UINT64_C(0x0101010101010101);
}

/* Eight codebook values with their signs. Values are 1 to 127, so that ~v + 1 stays in its byte;
 * random signs would make a branch per value a misprediction every other time. */
static void grid_signed(uint64_t values, uint8_t signs, int8_t *q)
{
    uint64_t minus = sign_bytes(signs);
    values = (values ^ minus * 255) + minus;
    memcpy(q, &values, 8);
}

static uint64_t grid8(const uint8_t values[8])
{
    uint64_t v;
    memcpy(&v, values, 8);
    return v;
}

static uint64_t grid4(const uint8_t first[4], const uint8_t second[4])
{
    uint32_t v[2];
    memcpy(&v[0], first, 4);
    memcpy(&v[1], second, 4);
    uint64_t both;
    memcpy(&both, v, 8);
    return both;
}

static void unpack_iq2_xxs(const void *block, int i_group, struct unpacked *u)
{
    const struct block_iq2_xxs *b = block;
    const struct iq_grids *g = iq_grids();
    uint32_t bits = b->group[i_group].signs_scale;
    unit_scale(u, f16_to_f32(b->d) * 0.125f); /* (0.5 + s) / 4 = (2 s + 1) / 8 */
    u->scale[0] = u->scale[1] = (int)(2 * (bits >> 28) + 1);
    for (int j = 0; j < 4; j++)
        grid_signed(grid8(g->iq2_xxs[b->group[i_group].i_grid[j]]), block_signs(bits >> 7 * j),
                    u->q + 8 * j);
}

static void unpack_iq2_xs(const void *block, int i_group, struct unpacked *u)
{
    const struct block_iq2_xs *b = block;
    const struct iq_grids *g = iq_grids();
    unit_scale(u, f16_to_f32(b->d) * 0.125f);
    u->scale[0] = 2 * (b->scales[i_group] & 15) + 1;
    u->scale[1] = 2 * (b->scales[i_group] >> 4) + 1;
    for (int j = 0; j < 4; j++) {
        uint16_t bits = b->qs[4 * i_group + j];
        grid_signed(grid8(g->iq2_xs[bits & 511]), block_signs(bits >> 9), u->q + 8 * j);
    }
}

static void unpack_iq2_s(const void *block, int i_group, struct unpacked *u)
{
    const struct block_iq2_s *b = block;
    const struct iq_grids *g = iq_grids();
    unit_scale(u, f16_to_f32(b->d) * 0.125f);
    u->scale[0] = 2 * (b->scales[i_group] & 15) + 1;
    u->scale[1] = 2 * (b->scales[i_group] >> 4) + 1;
    for (int j = 0; j < 4; j++) {
        int i = b->qs[4 * i_group + j] | (b->qh[i_group] >> 2 * j & 3) << 8;
        grid_signed(grid8(g->iq2_s[i]), b->signs[4 * i_group + j], u->q + 8 * j);
    }
}

static void unpack_iq3_xxs(const void *block, int i_group, struct unpacked *u)
{
    const struct block_iq3_xxs *b = block;
    const struct iq_grids *g = iq_grids();
    uint32_t bits = b->signs_scale[i_group];
    unit_scale(u, f16_to_f32(b->d) * 0.25f); /* (0.5 + s) / 2 = (2 s + 1) / 4 */
    u->scale[0] = u->scale[1] = (int)(2 * (bits >> 28) + 1);
    for (int j = 0; j < 4; j++) {
        const uint8_t *i_grid = b->qs + 8 * i_group + 2 * j;
        grid_signed(grid4(g->iq3_xxs[i_grid[0]], g->iq3_xxs[i_grid[1]]), block_signs(bits >> 7 * j),
                    u->q + 8 * j);
    }
}

static void unpack_iq3_s(const void *block, int i_group, struct unpacked *u)
{
    const struct block_iq3_s *b = block;
    const struct iq_grids *g = iq_grids();
    unit_scale(u, f16_to_f32(b->d));
    u->scale[0] = u->scale[1] = 2 * (b->scales[i_group / 2] >> i_group % 2 * 4 & 15) + 1;
    for (int j = 0; j < 4; j++) {
        const uint8_t *low = b->qs + 8 * i_group + 2 * j;
        int high = b->qh[i_group] >> 2 * j;
        grid_signed(grid4(g->iq3_s[low[0] | (high & 1) << 8], g->iq3_s[low[1] | (high & 2) << 7]),
                    b->signs[4 * i_group + j], u->q + 8 * j);
    }
}

/* Eight times a value -1, 0, 1 plus a shift of an eighth up or down. */
static void grid_shifted(const int8_t *grid, bool down, int8_t *q)
{
    for (int i = 0; i < 8; i++)
        q[i] = (int8_t)(8 * grid[i] + (down ? -1 : 1));
}

static void unpack_iq1_s(const void *block, int i_group, struct unpacked *u)
{
    const struct block_iq1_s *b = block;
    const struct iq_grids *g = iq_grids();
    uint16_t high = b->qh[i_group];
    unit_scale(u, f16_to_f32(b->d) * 0.125f);
    u->scale[0] = u->scale[1] = 2 * (high >> 12 & 7) + 1;
    for (int j = 0; j < 4; j++) {
        int i = b->qs[4 * i_group + j] | (high >> 3 * j & 7) << 8;
        grid_shifted(g->iq1[i], high >> 15, u->q + 8 * j);
    }
}

static void unpack_iq1_m(const void *block, int i_group, struct unpacked *u)
{
    const struct block_iq1_m *b = block;
    const struct iq_grids *g = iq_grids();
    const uint16_t s[4] = {b->scales[0], b->scales[1], b->scales[2], b->scales[3]};
    uint16_t d =
        (uint16_t)(s[0] >> 12 | (s[1] >> 12) << 4 | (s[2] >> 12) << 8 | (s[3] >> 12) << 12);
    unit_scale(u, f16_to_f32(d) * 0.125f);
    for (int h = 0; h < 2; h++) {
        int i = 2 * i_group + h; /* of 16 */
        u->scale[h] = 2 * (s[i / 4] >> i % 4 * 3 & 7) + 1;
    }
    for (int j = 0; j < 4; j++) {
        uint8_t high = (uint8_t)(b->qh[2 * i_group + j / 2] >> j % 2 * 4);
        int i = b->qs[4 * i_group + j] | (high & 7) << 8;
        grid_shifted(g->iq1[i], high >> 3 & 1, u->q + 8 * j);
    }
}

static void table_nibbles(const uint8_t *qs, const int8_t value[16], int8_t *q)
{
    for (int i = 0; i < 16; i++) {
        q[i] = value[qs[i] & 15];
        q[i + 16] = value[qs[i] >> 4];
    }
}

static void unpack_iq4_nl(const void *block, int i_group, struct unpacked *u)
{
    const struct block_iq4_nl *b = block;
    (void)i_group;
    unit_scale(u, f16_to_f32(b->d));
    table_nibbles(b->qs, iq4_value, u->q);
}

static void unpack_iq4_xs(const void *block, int i_group, struct unpacked *u)
{
    const struct block_iq4_xs *b = block;
    int low = b->scales_l[i_group / 2] >> i_group % 2 * 4 & 15;
    int high = b->scales_h >> 2 * i_group & 3;
    unit_scale(u, f16_to_f32(b->d));
    u->scale[0] = u->scale[1] = (low | high << 4) - 32;
    table_nibbles(b->qs + 16 * i_group, iq4_value, u->q);
}

static void unpack_mxfp4(const void *block, int i_group, struct unpacked *u)
{
    const struct block_mxfp4 *b = block;
    (void)i_group;
    unit_scale(u, block_scale_mxfp4(b->e));
    table_nibbles(b->qs, mxfp4_value, u->q);
}

/* Digit n of base 3 in a byte that holds five of them as a fraction of 256. */
static int8_t digit3(uint8_t byte, int n)
{
    static const uint8_t power[5] = {1, 3, 9, 27, 81};
    return (int8_t)((uint8_t)(byte * power[n]) * 3 >> 8);
}

/* Digit n of n_bytes bytes. */
static void digits3(const uint8_t *bytes, int n_bytes, int n, int8_t *q)
{
    for (int i = 0; i < n_bytes; i++)
        q[i] = (int8_t)(digit3(bytes[i], n) - 1);
}

static void unpack_tq1_0(const void *block, int i_group, struct unpacked *u)
{
    const struct block_tq1_0 *b = block;
    unit_scale(u, f16_to_f32(b->d));
    if (i_group < 5) {
        digits3(b->qs, 32, i_group, u->q);
        return;
    }
    digits3(b->qs + 32, 16, 2 * (i_group - 5), u->q);
    if (i_group < 7) {
        digits3(b->qs + 32, 16, 2 * (i_group - 5) + 1, u->q + 16);
        return;
    }
    for (int n = 0; n < 4; n++)
        digits3(b->qh, 4, n, u->q + 16 + 4 * n);
}

static void unpack_tq2_0(const void *block, int i_group, struct unpacked *u)
{
    const struct block_tq2_0 *b = block;
    unit_scale(u, f16_to_f32(b->d));
    pairs(b->qs, i_group, 1, u->q);
}

const struct unpacker K_UNPACKERS[DTYPE_END] = {
    [DTYPE_Q4_0] = {unpack_q4_0, MIN_NONE},       [DTYPE_Q4_1] = {unpack_q4_1, MIN_32},
    [DTYPE_Q5_0] = {unpack_q5_0, MIN_NONE},       [DTYPE_Q5_1] = {unpack_q5_1, MIN_32},
    [DTYPE_Q8_0] = {unpack_q8_0, MIN_NONE},       [DTYPE_Q2_K] = {unpack_q2_k, MIN_16},
    [DTYPE_Q3_K] = {unpack_q3_k, MIN_NONE},       [DTYPE_Q4_K] = {unpack_q4_k, MIN_32},
    [DTYPE_Q5_K] = {unpack_q5_k, MIN_32},         [DTYPE_Q6_K] = {unpack_q6_k, MIN_NONE},
    [DTYPE_IQ2_XXS] = {unpack_iq2_xxs, MIN_NONE}, [DTYPE_IQ2_XS] = {unpack_iq2_xs, MIN_NONE},
    [DTYPE_IQ2_S] = {unpack_iq2_s, MIN_NONE},     [DTYPE_IQ3_XXS] = {unpack_iq3_xxs, MIN_NONE},
    [DTYPE_IQ3_S] = {unpack_iq3_s, MIN_NONE},     [DTYPE_IQ1_S] = {unpack_iq1_s, MIN_NONE},
    [DTYPE_IQ1_M] = {unpack_iq1_m, MIN_NONE},     [DTYPE_IQ4_NL] = {unpack_iq4_nl, MIN_NONE},
    [DTYPE_IQ4_XS] = {unpack_iq4_xs, MIN_NONE},   [DTYPE_TQ1_0] = {unpack_tq1_0, MIN_NONE},
    [DTYPE_TQ2_0] = {unpack_tq2_0, MIN_NONE},     [DTYPE_MXFP4] = {unpack_mxfp4, MIN_NONE},
};
