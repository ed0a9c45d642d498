/*
 * pack: weights from the file's layout into panels, and back.
 *
 * Owns the P16 layout (pack.h). Must not know files, threads or products. Everything is a
 * re-ordering of bits, block by block: what one row's block holds stands in one unit of the panel.
 *
 * The way: the same field of 16 rows is turned, so that word w of all rows stands side by side as
 * 16 dwords; what the layout then asks for is the same few shifts and masks in every byte of every
 * row, loops without a branch that the compiler makes vectors of.
 */
#include "kernels/pack.h"

#include "base/check.h"
#include "tensor/blocks.h"

#include <string.h>

#define ROWS      PACK_ROWS
#define BLOCK_MAX 256 /* bytes of no type's block are more */

#define FIELD(type, field) offsetof(struct block_##type, field)

/* The same block of 16 rows. */
struct rows {
    const uint8_t *p[ROWS];
};

/* A dword of each row. */
struct quad {
    uint32_t row[ROWS];
};

/* Dwords [at, at + 4 n) of each row. */
static inline void turn(struct quad *ret, const struct rows *b, size_t at, int n)
{
    for (int r = 0; r < ROWS; r++)
        for (int w = 0; w < n; w++)
            memcpy(&ret[w].row[r], b->p[r] + at + 4 * (size_t)w, 4);
}

static void put(uint8_t *ret, const struct quad *q)
{
    memcpy(ret, q, sizeof *q);
}

/* ---- parts of a unit, packed ---- */

static void pack_halves(uint8_t *ret, const struct rows *b, size_t at)
{
    for (int r = 0; r < ROWS; r++)
        memcpy(ret + 2 * r, b->p[r] + at, 2);
}

/* n dwords a row as they are: byte quants, and nibbles of element i below those of i + 16. */
static void pack_dwords(uint8_t *ret, const struct rows *b, size_t at, int n)
{
    for (int r = 0; r < ROWS; r++)
        for (int w = 0; w < n; w++)
            memcpy(ret + 64 * w + 4 * r, b->p[r] + at + 4 * (size_t)w, 4);
}

static void pack_bytes_of(uint8_t *ret, const struct rows *b, size_t at, int n)
{
    for (int r = 0; r < ROWS; r++)
        for (int i = 0; i < n; i++)
            ret[ROWS * i + r] = b->p[r][at + (size_t)i];
}

/* 32 bytes a row, low nibbles one group of 32 elements, high nibbles another: two times nib. */
static void pack_nibbles(uint8_t *ret_low, uint8_t *ret_high, const struct rows *b, size_t at)
{
    struct quad q[8], low, high;
    turn(q, b, at, 8);
    for (int j = 0; j < 4; j++) {
        for (int r = 0; r < ROWS; r++) {
            const uint32_t first = q[j].row[r], second = q[j + 4].row[r];
            low.row[r] = (first & 0x0f0f0f0f) | (second & 0x0f0f0f0f) << 4;
            high.row[r] = (first >> 4 & 0x0f0f0f0f) | (second & 0xf0f0f0f0);
        }
        put(ret_low + 64 * j, &low);
        put(ret_high + 64 * j, &high);
    }
}

/* Bits 2 p, 2 p + 1 of 32 bytes a row (as turned), group p: `two`. */
static void pack_two(uint8_t *ret, const struct quad q[8], int p)
{
    struct quad out;
    for (int v = 0; v < 2; v++) {
        for (int r = 0; r < ROWS; r++)
            out.row[r] = (q[v].row[r] >> 2 * p & 0x03030303) |
                         (q[v + 2].row[r] >> 2 * p & 0x03030303) << 2 |
                         (q[v + 4].row[r] >> 2 * p & 0x03030303) << 4 |
                         (q[v + 6].row[r] >> 2 * p & 0x03030303) << 6;
        put(ret + 64 * v, &out);
    }
}

/* Bits of 64 bytes a row as in q2_k: eight times `two`, `stride` apart. */
static void pack_pairs(uint8_t *ret, size_t stride, const struct rows *b, size_t at)
{
    struct quad q[8];
    for (size_t c = 0; c < 2; c++) {
        turn(q, b, at + 32 * c, 8);
        for (int p = 0; p < 4; p++)
            pack_two(ret + (4 * c + (size_t)p) * stride, q, p);
    }
}

/* Bit g of 32 bytes a row, group g: eight times `one`, `stride` apart. */
static void pack_ones(uint8_t *ret, size_t stride, const struct rows *b, size_t at)
{
    struct quad q[8], out;
    turn(q, b, at, 8);
    for (int g = 0; g < 8; g++) {
        memset(&out, 0, sizeof out);
        for (int t = 0; t < 8; t++)
            for (int r = 0; r < ROWS; r++)
                out.row[r] |= (q[t].row[r] >> g & 0x01010101) << t;
        put(ret + (size_t)g * stride, &out);
    }
}

/* A word a row, bit k for element k: `one`. */
static void pack_fifth(uint8_t *ret, const struct rows *b, size_t at)
{
    struct quad q, out = {{0}};
    turn(&q, b, at, 1);
    for (int t = 0; t < 8; t++) {
        for (int r = 0; r < ROWS; r++) {
            uint32_t x = q.row[r] >> 4 * t & 15; /* bit i to the lowest of byte i */
            x |= x << 7;
            x |= x << 14;
            out.row[r] |= (x & 0x01010101) << t;
        }
    }
    put(ret, &out);
}

/* 12 bytes of 6-bit scales and minima a row: k_scales. */
static void pack_k_scales(uint8_t *ret, const struct rows *b, size_t at)
{
    for (int r = 0; r < ROWS; r++) {
        uint8_t *low = ret + r, *high = ret + 8 * ROWS + r;
        uint8_t scale[8], min[8];
        for (int g = 0; g < 8; g++) {
            block_scale_min_k(b->p[r] + at, g, &scale[g], &min[g]);
            low[ROWS * g] = (uint8_t)((scale[g] & 15) | (min[g] & 15) << 4);
        }
        for (int i = 0; i < 4; i++) {
            const int even = scale[2 * i] >> 4 | min[2 * i] >> 4 << 2;
            const int odd = scale[2 * i + 1] >> 4 | min[2 * i + 1] >> 4 << 2;
            high[ROWS * i] = (uint8_t)(even | odd << 4);
        }
    }
}

/* n six-bit scales (value + 32) a row: low[n / 2], high[n / 4]. */
static void put_scales6(uint8_t *ret, int r, const uint8_t *scale, int n)
{
    uint8_t *high = ret + n / 2 * ROWS;
    for (int i = 0; i < n / 2; i++)
        ret[ROWS * i + r] = (uint8_t)((scale[2 * i] & 15) | (scale[2 * i + 1] & 15) << 4);
    for (int i = 0; i < n / 4; i++) {
        const uint8_t *s = scale + 4 * i;
        high[ROWS * i + r] =
            (uint8_t)(s[0] >> 4 | s[1] >> 4 << 2 | s[2] >> 4 << 4 | s[3] >> 4 << 6);
    }
}

/* ---- a unit of each type ---- */

static void pack_q4(uint8_t *ret, const struct rows *b)
{
    pack_dwords(ret, b, FIELD(q4_0, qs), 4);
    pack_halves(ret + 256, b, FIELD(q4_0, d));
}

static void pack_q4_1(uint8_t *ret, const struct rows *b)
{
    pack_dwords(ret, b, FIELD(q4_1, qs), 4);
    pack_halves(ret + 256, b, FIELD(q4_1, d));
    pack_halves(ret + 288, b, FIELD(q4_1, m));
}

static void pack_q5_0(uint8_t *ret, const struct rows *b)
{
    pack_dwords(ret, b, FIELD(q5_0, qs), 4);
    pack_fifth(ret + 256, b, FIELD(q5_0, qh));
    pack_halves(ret + 320, b, FIELD(q5_0, d));
}

static void pack_q5_1(uint8_t *ret, const struct rows *b)
{
    pack_dwords(ret, b, FIELD(q5_1, qs), 4);
    pack_fifth(ret + 256, b, FIELD(q5_1, qh));
    pack_halves(ret + 320, b, FIELD(q5_1, d));
    pack_halves(ret + 352, b, FIELD(q5_1, m));
}

static void pack_q8_0(uint8_t *ret, const struct rows *b)
{
    pack_dwords(ret, b, FIELD(q8_0, qs), 8);
    pack_halves(ret + 512, b, FIELD(q8_0, d));
}

static void pack_mxfp4(uint8_t *ret, const struct rows *b)
{
    pack_dwords(ret, b, FIELD(mxfp4, qs), 4);
    pack_bytes_of(ret + 256, b, FIELD(mxfp4, e), 1);
}

static void pack_q4_k(uint8_t *ret, const struct rows *b)
{
    pack_halves(ret, b, FIELD(q4_k, d));
    pack_halves(ret + 32, b, FIELD(q4_k, dmin));
    pack_k_scales(ret + 64, b, FIELD(q4_k, scales));
    ret += 256;
    for (size_t c = 0; c < 4; c++)
        pack_nibbles(ret + 512 * c, ret + 512 * c + 256, b, FIELD(q4_k, qs) + 32 * c);
}

static void pack_q5_k(uint8_t *ret, const struct rows *b)
{
    pack_halves(ret, b, FIELD(q5_k, d));
    pack_halves(ret + 32, b, FIELD(q5_k, dmin));
    pack_k_scales(ret + 64, b, FIELD(q5_k, scales));
    ret += 256;
    for (size_t c = 0; c < 4; c++)
        pack_nibbles(ret + 640 * c, ret + 640 * c + 320, b, FIELD(q5_k, qs) + 32 * c);
    pack_ones(ret + 256, 320, b, FIELD(q5_k, qh));
}

static void pack_q6_k(uint8_t *ret, const struct rows *b)
{
    pack_halves(ret, b, FIELD(q6_k, d));
    pack_bytes_of(ret + 32, b, FIELD(q6_k, scales), 16);
    ret += 288;
    for (size_t i = 0; i < 4; i++) { /* low nibbles: groups 0, 1, 4, 5; high ones: two further */
        const size_t g = 4 * (i / 2) + i % 2;
        pack_nibbles(ret + 384 * g, ret + 384 * (g + 2), b, FIELD(q6_k, ql) + 32 * i);
    }
    pack_pairs(ret + 256, 384, b, FIELD(q6_k, qh));
}

static void pack_q2_k(uint8_t *ret, const struct rows *b)
{
    pack_halves(ret, b, FIELD(q2_k, d));
    pack_halves(ret + 32, b, FIELD(q2_k, dmin));
    pack_bytes_of(ret + 64, b, FIELD(q2_k, scales), 16);
    pack_pairs(ret + 320, 128, b, FIELD(q2_k, qs));
}

static void pack_q3_k(uint8_t *ret, const struct rows *b)
{
    pack_halves(ret, b, FIELD(q3_k, d));
    for (int r = 0; r < ROWS; r++) {
        uint8_t scale[16];
        for (int s = 0; s < 16; s++)
            scale[s] = (uint8_t)(block_scale_q3_k(b->p[r] + FIELD(q3_k, scales), s) + 32);
        put_scales6(ret + 32, r, scale, 16);
    }
    pack_pairs(ret + 224, 192, b, FIELD(q3_k, qs));
    pack_ones(ret + 224 + 128, 192, b, FIELD(q3_k, hmask));
}

static void pack_iq4_xs(uint8_t *ret, const struct rows *b)
{
    pack_halves(ret, b, FIELD(iq4_xs, d));
    for (int r = 0; r < ROWS; r++) {
        const struct block_iq4_xs *x = (const struct block_iq4_xs *)b->p[r];
        uint8_t scale[8];
        for (int g = 0; g < 8; g++)
            scale[g] =
                (uint8_t)((x->scales_l[g / 2] >> g % 2 * 4 & 15) | (x->scales_h >> 2 * g & 3) << 4);
        put_scales6(ret + 32, r, scale, 8);
    }
    for (size_t g = 0; g < 8; g++)
        pack_dwords(ret + 128 + 256 * g, b, FIELD(iq4_xs, qs) + 16 * g, 4);
}

static void pack_tq2_0(uint8_t *ret, const struct rows *b)
{
    pack_halves(ret, b, FIELD(tq2_0, d));
    pack_pairs(ret + 32, 128, b, FIELD(tq2_0, qs));
}

/* ---- row r of a unit, back ---- */

/* Element k of row r in each kind of group. */
static int nib_at(const uint8_t *p, int r, int k)
{
    return p[64 * (k / 4 % 4) + 4 * r + k % 4] >> k / 16 * 4 & 15;
}

static int two_at(const uint8_t *p, int r, int k)
{
    return p[64 * (k / 4 % 2) + 4 * r + k % 4] >> k / 8 * 2 & 3;
}

static int one_at(const uint8_t *p, int r, int k)
{
    return p[4 * r + k % 4] >> k / 4 & 1;
}

static void unpack_half(void *ret, const uint8_t *p, int r)
{
    memcpy(ret, p + 2 * r, 2);
}

static void unpack_nibbles(uint8_t ret[16], const uint8_t *p, int r)
{
    for (int w = 0; w < 4; w++)
        memcpy(ret + 4 * w, p + 64 * w + 4 * r, 4);
}

static void unpack_fifth(void *ret, const uint8_t *p, int r)
{
    uint32_t bits = 0;
    for (int k = 0; k < 32; k++)
        bits |= (uint32_t)one_at(p, r, k) << k;
    memcpy(ret, &bits, 4);
}

/* ret[32] |= bit g of each byte, from eight groups `stride` apart. */
static void unpack_ones(uint8_t ret[32], const uint8_t *p, int stride, int r)
{
    for (int e = 0; e < 256; e++)
        ret[e % 32] = (uint8_t)(ret[e % 32] | one_at(p + e / 32 * stride, r, e % 32) << e / 32);
}

static void unpack_pairs(uint8_t ret[64], const uint8_t *p, int stride, int r)
{
    for (int e = 0; e < 256; e++) {
        uint8_t *to = ret + e / 128 * 32 + e % 32;
        *to = (uint8_t)(*to | two_at(p + e / 32 * stride, r, e % 32) << e % 128 / 32 * 2);
    }
}

static void unpack_k_scales(uint8_t ret[12], const uint8_t *p, int r)
{
    for (int g = 0; g < 8; g++) {
        const int low = p[ROWS * g + r], high = p[ROWS * (8 + g / 2) + r] >> g % 2 * 4 & 15;
        const int scale = (low & 15) | (high & 3) << 4, min = low >> 4 | high >> 2 << 4;
        if (g < 4) {
            ret[g] = (uint8_t)scale;
            ret[g + 4] = (uint8_t)min;
        } else {
            ret[g + 4] = (uint8_t)((scale & 15) | (min & 15) << 4);
            ret[g - 4] = (uint8_t)(ret[g - 4] | scale >> 4 << 6);
            ret[g] = (uint8_t)(ret[g] | min >> 4 << 6);
        }
    }
}

/* Scale s of n that put_scales6 wrote. */
static int scale6_at(const uint8_t *p, int r, int s, int n)
{
    const int low = p[ROWS * (s / 2) + r] >> s % 2 * 4 & 15;
    return low | (p[ROWS * (n / 2 + s / 4) + r] >> s % 4 * 2 & 3) << 4;
}

/* Nibbles of 256 elements, groups `stride` apart, as in q4_k. */
static void unpack_k_nibbles(uint8_t ret[128], const uint8_t *p, int stride, int r)
{
    for (int e = 0; e < 256; e++) {
        uint8_t *to = ret + e / 64 * 32 + e % 32;
        *to = (uint8_t)(*to | nib_at(p + e / 32 * stride, r, e % 32) << e % 64 / 32 * 4);
    }
}

static void unpack_q4(void *ret, const uint8_t *p, int r)
{
    struct block_q4_0 *b = ret;
    unpack_nibbles(b->qs, p, r);
    unpack_half(&b->d, p + 256, r);
}

static void unpack_q4_1(void *ret, const uint8_t *p, int r)
{
    struct block_q4_1 *b = ret;
    unpack_nibbles(b->qs, p, r);
    unpack_half(&b->d, p + 256, r);
    unpack_half(&b->m, p + 288, r);
}

static void unpack_q5_0(void *ret, const uint8_t *p, int r)
{
    struct block_q5_0 *b = ret;
    unpack_nibbles(b->qs, p, r);
    unpack_fifth(&b->qh, p + 256, r);
    unpack_half(&b->d, p + 320, r);
}

static void unpack_q5_1(void *ret, const uint8_t *p, int r)
{
    struct block_q5_1 *b = ret;
    unpack_nibbles(b->qs, p, r);
    unpack_fifth(&b->qh, p + 256, r);
    unpack_half(&b->d, p + 320, r);
    unpack_half(&b->m, p + 352, r);
}

static void unpack_q8_0(void *ret, const uint8_t *p, int r)
{
    struct block_q8_0 *b = ret;
    for (int t = 0; t < 8; t++)
        memcpy(b->qs + 4 * t, p + 64 * t + 4 * r, 4);
    unpack_half(&b->d, p + 512, r);
}

static void unpack_mxfp4(void *ret, const uint8_t *p, int r)
{
    struct block_mxfp4 *b = ret;
    unpack_nibbles(b->qs, p, r);
    b->e = p[256 + r];
}

static void unpack_q4_k(void *ret, const uint8_t *p, int r)
{
    struct block_q4_k *b = ret;
    unpack_half(&b->d, p, r);
    unpack_half(&b->dmin, p + 32, r);
    unpack_k_scales(b->scales, p + 64, r);
    unpack_k_nibbles(b->qs, p + 256, 256, r);
}

static void unpack_q5_k(void *ret, const uint8_t *p, int r)
{
    struct block_q5_k *b = ret;
    unpack_half(&b->d, p, r);
    unpack_half(&b->dmin, p + 32, r);
    unpack_k_scales(b->scales, p + 64, r);
    unpack_k_nibbles(b->qs, p + 256, 320, r);
    unpack_ones(b->qh, p + 256 + 256, 320, r);
}

static void unpack_q6_k(void *ret, const uint8_t *p, int r)
{
    struct block_q6_k *b = ret;
    unpack_half(&b->d, p, r);
    for (int s = 0; s < 16; s++)
        b->scales[s] = (int8_t)p[32 + ROWS * s + r];
    for (int e = 0; e < 256; e++) {
        uint8_t *to = b->ql + e / 128 * 64 + e % 64;
        *to = (uint8_t)(*to | nib_at(p + 288 + e / 32 * 384, r, e % 32) << e % 128 / 64 * 4);
    }
    unpack_pairs(b->qh, p + 288 + 256, 384, r);
}

static void unpack_q2_k(void *ret, const uint8_t *p, int r)
{
    struct block_q2_k *b = ret;
    unpack_half(&b->d, p, r);
    unpack_half(&b->dmin, p + 32, r);
    for (int s = 0; s < 16; s++)
        b->scales[s] = p[64 + ROWS * s + r];
    unpack_pairs(b->qs, p + 320, 128, r);
}

static void unpack_q3_k(void *ret, const uint8_t *p, int r)
{
    struct block_q3_k *b = ret;
    unpack_half(&b->d, p, r);
    for (int s = 0; s < 16; s++) {
        const int scale = scale6_at(p + 32, r, s, 16);
        uint8_t *low = b->scales + s % 8, *high = b->scales + 8 + s % 4;
        *low = (uint8_t)(*low | (scale & 15) << s / 8 * 4);
        *high = (uint8_t)(*high | scale >> 4 << s / 4 * 2);
    }
    unpack_pairs(b->qs, p + 224, 192, r);
    unpack_ones(b->hmask, p + 224 + 128, 192, r);
}

static void unpack_iq4_xs(void *ret, const uint8_t *p, int r)
{
    struct block_iq4_xs *b = ret;
    unpack_half(&b->d, p, r);
    for (int g = 0; g < 8; g++) {
        const int scale = scale6_at(p + 32, r, g, 8);
        b->scales_l[g / 2] = (uint8_t)(b->scales_l[g / 2] | (scale & 15) << g % 2 * 4);
        b->scales_h = (uint16_t)(b->scales_h | scale >> 4 << 2 * g);
        unpack_nibbles(b->qs + 16 * g, p + 128 + 256 * g, r);
    }
}

static void unpack_tq2_0(void *ret, const uint8_t *p, int r)
{
    struct block_tq2_0 *b = ret;
    unpack_half(&b->d, p, r);
    unpack_pairs(b->qs, p + 32, 128, r);
}

/* ---- the table ---- */

static const struct layout {
    int unit_bytes;
    void (*pack)(uint8_t *ret, const struct rows *b);
    void (*unpack)(void *ret, const uint8_t *unit, int r); /* ret: zeroed */
} layouts[DTYPE_END] = {
    [DTYPE_Q4_0] = {288, pack_q4, unpack_q4},
    [DTYPE_IQ4_NL] = {288, pack_q4, unpack_q4},
    [DTYPE_MXFP4] = {272, pack_mxfp4, unpack_mxfp4},
    [DTYPE_Q4_1] = {320, pack_q4_1, unpack_q4_1},
    [DTYPE_Q5_0] = {352, pack_q5_0, unpack_q5_0},
    [DTYPE_Q5_1] = {384, pack_q5_1, unpack_q5_1},
    [DTYPE_Q8_0] = {544, pack_q8_0, unpack_q8_0},
    [DTYPE_Q4_K] = {2304, pack_q4_k, unpack_q4_k},
    [DTYPE_Q5_K] = {2816, pack_q5_k, unpack_q5_k},
    [DTYPE_Q6_K] = {3360, pack_q6_k, unpack_q6_k},
    [DTYPE_Q2_K] = {1344, pack_q2_k, unpack_q2_k},
    [DTYPE_Q3_K] = {1760, pack_q3_k, unpack_q3_k},
    [DTYPE_IQ4_XS] = {2176, pack_iq4_xs, unpack_iq4_xs},
    [DTYPE_TQ2_0] = {1056, pack_tq2_0, unpack_tq2_0},
};

bool pack_has(enum dtype t)
{
    return (unsigned)t < DTYPE_END && layouts[t].pack;
}

size_t pack_unit_bytes(enum dtype t)
{
    return (size_t)layouts[t].unit_bytes;
}

int pack_unit_elems(enum dtype t)
{
    return dtype_info((uint32_t)t)->block_elems;
}

size_t pack_panel_bytes(enum dtype t, int n_k)
{
    const size_t n_units = (size_t)(n_k / pack_unit_elems(t));
    return (n_units * pack_unit_bytes(t) + 63) / 64 * 64;
}

size_t pack_bytes(enum dtype t, int n_rows, int n_k)
{
    return ((size_t)n_rows + ROWS - 1) / ROWS * pack_panel_bytes(t, n_k);
}

void pack_panel(enum dtype t, void *ret, const void *w, size_t w_stride, int n_rows, int n_k)
{
    static const uint8_t zeros[BLOCK_MAX];
    const struct layout *l = &layouts[t];
    const struct dtype_info *info = dtype_info((uint32_t)t);
    const int n_units = n_k / info->block_elems;
    uint8_t *unit = ret;
    struct rows b;
    CHECK(pack_has(t) && n_rows >= 1 && n_rows <= ROWS && n_k % info->block_elems == 0);
    for (int i = 0; i < n_units; i++, unit += l->unit_bytes) {
        const size_t at = (size_t)i * (size_t)info->block_bytes;
        for (int r = 0; r < ROWS; r++)
            b.p[r] = r < n_rows ? (const uint8_t *)w + (size_t)r * w_stride + at : zeros;
        l->pack(unit, &b);
    }
    memset(unit, 0, pack_panel_bytes(t, n_k) - (size_t)(unit - (uint8_t *)ret));
}

void pack_unpack_block(enum dtype t, void *ret, const void *unit, int r)
{
    memset(ret, 0, (size_t)dtype_info((uint32_t)t)->block_bytes);
    layouts[t].unpack(ret, unit, r);
}

void pack_unpack_row(enum dtype t, void *ret, const void *panel, int r, int n_k)
{
    const struct dtype_info *info = dtype_info((uint32_t)t);
    for (int i = 0; i < n_k / info->block_elems; i++)
        pack_unpack_block(t, (uint8_t *)ret + (size_t)i * (size_t)info->block_bytes,
                          (const uint8_t *)panel + (size_t)i * pack_unit_bytes(t), r);
}
