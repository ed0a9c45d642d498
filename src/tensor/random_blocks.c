/*
 * random_blocks: see random_blocks.h. Owns what is valid in a block; must not know files or
 * models.
 *
 * A chunk is filled with random bytes first; a pass over its blocks then replaces the fields that
 * may not hold any byte (scales, minima), using the random bytes that lie there. The standard
 * deviation is not derived for each type but measured: blocks with a unit scale are dequantized
 * once, and the scale follows.
 */
#include "tensor/random_blocks.h"

#include "base/check.h"
#include "base/rng.h"
#include "tensor/blocks.h"

#include <math.h>
#include <string.h>

#define PROBE_ELEMS 4096 /* at a time; */
#define N_PROBES    64   /* the deviation of so many is within 1 % */

/* ---- random bytes ---- */

/* xoshiro256++ (Blackman and Vigna, "Scrambled linear pseudorandom number generators", 2021),
 * started by Philox, so that chunks are independent whatever their numbers are. */
struct stream {
    uint64_t s[4];
};

static inline uint64_t rotl(uint64_t x, int k)
{
    return x << k | x >> (64 - k);
}

static inline uint64_t stream_next(struct stream *r)
{
    uint64_t ret = rotl(r->s[0] + r->s[3], 23) + r->s[0], t = r->s[1] << 17;
    r->s[2] ^= r->s[0];
    r->s[3] ^= r->s[1];
    r->s[1] ^= r->s[2];
    r->s[0] ^= r->s[3];
    r->s[2] ^= t;
    r->s[3] = rotl(r->s[3], 45);
    return ret;
}

static void fill_bytes(uint64_t seed, uint64_t stream, uint64_t chunk, uint8_t *dst, size_t n)
{
    struct stream r;
    for (unsigned i = 0; i < 2; i++) {
        uint32_t w[4];
        rng_philox(seed, stream, chunk * 2 + i, w);
        r.s[2 * i] = (uint64_t)w[0] << 32 | w[1];
        r.s[2 * i + 1] = (uint64_t)w[2] << 32 | w[3] | 1; /* never all zero */
    }
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        uint64_t v = stream_next(&r);
        memcpy(dst + i, &v, 8);
    }
    uint64_t v = stream_next(&r);
    memcpy(dst + i, &v, n - i);
}

/* ---- one block of each type: the random bytes in it become valid ---- */

#define BLOCK(type) struct block_##type *b = block

/* d in front, of Q4_0, Q5_0, IQ4 and the codebook types; everything else may hold any byte. */
static void fix_front(const struct random_blocks *r, void *block)
{
    uint16_t d;
    memcpy(&d, block, sizeof(d));
    memcpy(block, &r->u.scale.d[d & 255], sizeof(d));
}

/* d and a minimum in front: Q4_1, Q5_1. */
static void fix_front_min(const struct random_blocks *r, void *block)
{
    uint16_t d[2];
    memcpy(d, block, sizeof(d));
    unsigned i = d[0] & 255;
    d[0] = r->u.scale.d[i];
    d[1] = r->u.scale.min[i];
    memcpy(block, d, sizeof(d));
}

static void fix_q8_0(const struct random_blocks *r, void *block)
{
    BLOCK(q8_0);
    b->d = r->u.scale.d[b->d & 255];
    for (int i = 0; i < 32; i++)
        b->qs[i] = b->qs[i] == INT8_MIN ? -INT8_MAX : b->qs[i];
}

static void fix_mxfp4(const struct random_blocks *r, void *block)
{
    BLOCK(mxfp4);
    b->e = r->u.exponent[b->e];
}

static void fix_q2_k(const struct random_blocks *r, void *block)
{
    BLOCK(q2_k);
    unsigned i = b->d & 255;
    b->d = r->u.scale.d[i];
    b->dmin = r->u.scale.min[i];
    for (int g = 0; g < 16; g++) {
        unsigned x = b->scales[g], s = 8 | (x & 7), min = s + (x >> 3 & 1) - (x >> 4 & 1);
        b->scales[g] = (uint8_t)(s | (min > 15 ? 15 : min) << 4);
    }
}

static void fix_q3_k(const struct random_blocks *r, void *block)
{
    BLOCK(q3_k);
    b->d = r->u.scale.d[b->d & 255];
}

/* Scales of 32..63 and minima at most 3 from them; block_scale_min_k reads them. */
static void fix_scales_k(uint8_t scales[12])
{
    unsigned s[8], m[8];
    for (int g = 0; g < 8; g++) {
        unsigned x = scales[g], off = x >> 5; /* 0..7; 7 counts as 3, no shift */
        s[g] = 32 | (x & 31);
        m[g] = s[g] + (off == 7 ? 3 : off) - 3;
        m[g] = m[g] > 63 ? 63 : m[g];
    }
    for (int g = 0; g < 4; g++) {
        scales[g] = (uint8_t)(s[g] | s[g + 4] >> 4 << 6);
        scales[g + 4] = (uint8_t)(m[g] | m[g + 4] >> 4 << 6);
        scales[g + 8] = (uint8_t)((s[g + 4] & 15) | (m[g + 4] & 15) << 4);
    }
}

/* Q4_K and Q5_K begin alike. */
static void fix_q45_k(const struct random_blocks *r, void *block)
{
    BLOCK(q4_k);
    fix_front_min(r, block);
    fix_scales_k(b->scales);
}

static void fix_q6_k(const struct random_blocks *r, void *block)
{
    BLOCK(q6_k);
    b->d = r->u.scale.d[b->d & 255];
    for (int g = 0; g < 16; g++) {
        int s = 64 | (b->scales[g] & 63);
        b->scales[g] = (int8_t)(b->scales[g] < 0 ? -s : s);
    }
}

static void fix_iq1_m(const struct random_blocks *r, void *block)
{
    BLOCK(iq1_m);
    unsigned d = r->u.scale.d[(b->scales[0] >> 12 | b->scales[1] >> 8) & 255];
    for (int i = 0; i < 4; i++)
        b->scales[i] = (uint16_t)((b->scales[i] & 0x0fff) | (d >> 4 * i & 15) << 12);
}

/* A byte of n digits of base 3 (at the top): the number as a fraction of 243, rounded up. */
static uint8_t ternary(uint8_t random, unsigned n_states, unsigned shift)
{
    unsigned v = random * n_states / 256 * shift;
    return (uint8_t)((v * 256 + 242) / 243);
}

static void fix_tq1_0(const struct random_blocks *r, void *block)
{
    BLOCK(tq1_0);
    b->d = r->u.scale.d[b->d & 255];
    for (int i = 0; i < 48; i++)
        b->qs[i] = ternary(b->qs[i], 243, 1);
    for (int i = 0; i < 4; i++)
        b->qh[i] = ternary(b->qh[i], 81, 3);
}

static void fix_tq2_0(const struct random_blocks *r, void *block)
{
    BLOCK(tq2_0);
    b->d = r->u.scale.d[b->d & 255];
    for (int i = 0; i < 64; i++) { /* 3 becomes 1 */
        unsigned q = b->qs[i], three = q & q >> 1 & 0x55;
        b->qs[i] = (uint8_t)(q & ~(three << 1));
    }
}

static void fix_half(const struct random_blocks *r, void *block)
{
    uint16_t x;
    memcpy(&x, block, sizeof(x));
    memcpy(block, &r->u.half[x % RANDOM_TABLE_LEN], sizeof(x));
}

static void fix_single(const struct random_blocks *r, void *block)
{
    uint32_t x;
    memcpy(&x, block, sizeof(x));
    memcpy(block, &r->u.single[x % RANDOM_TABLE_LEN], sizeof(x));
}

/* middle: of the quants of types with a minimum, what a minimum must be in units of d. */
static const struct kind {
    void (*fix)(const struct random_blocks *r, void *block);
    float middle;
} kinds[DTYPE_END] = {
    [DTYPE_F32] = {fix_single, 0.0f},       [DTYPE_F16] = {fix_half, 0.0f},
    [DTYPE_BF16] = {fix_half, 0.0f},        [DTYPE_Q4_0] = {fix_front, 0.0f},
    [DTYPE_Q4_1] = {fix_front_min, -7.5f},  [DTYPE_Q5_0] = {fix_front, 0.0f},
    [DTYPE_Q5_1] = {fix_front_min, -15.5f}, [DTYPE_Q8_0] = {fix_q8_0, 0.0f},
    [DTYPE_Q2_K] = {fix_q2_k, 1.5f},        [DTYPE_Q3_K] = {fix_q3_k, 0.0f},
    [DTYPE_Q4_K] = {fix_q45_k, 7.5f},       [DTYPE_Q5_K] = {fix_q45_k, 15.5f},
    [DTYPE_Q6_K] = {fix_q6_k, 0.0f},        [DTYPE_IQ1_S] = {fix_front, 0.0f},
    [DTYPE_IQ1_M] = {fix_iq1_m, 0.0f},      [DTYPE_IQ2_XXS] = {fix_front, 0.0f},
    [DTYPE_IQ2_XS] = {fix_front, 0.0f},     [DTYPE_IQ2_S] = {fix_front, 0.0f},
    [DTYPE_IQ3_XXS] = {fix_front, 0.0f},    [DTYPE_IQ3_S] = {fix_front, 0.0f},
    [DTYPE_IQ4_NL] = {fix_front, 0.0f},     [DTYPE_IQ4_XS] = {fix_front, 0.0f},
    [DTYPE_TQ1_0] = {fix_tq1_0, 0.0f},      [DTYPE_TQ2_0] = {fix_tq2_0, 0.0f},
    [DTYPE_MXFP4] = {fix_mxfp4, 0.0f},
};

/* ---- scales ---- */

static bool is_float(enum dtype t)
{
    return t == DTYPE_F32 || t == DTYPE_F16 || t == DTYPE_BF16;
}

/* Evenly spread over +- sqrt(3) deviations, which have that deviation. */
static void set_elements(struct random_blocks *r, double deviation)
{
    for (int i = 0; i < RANDOM_TABLE_LEN; i++) {
        float x = (float)(((2 * i + 1) / (double)RANDOM_TABLE_LEN - 1.0) * sqrt(3.0) * deviation);
        if (r->type == DTYPE_F32)
            r->u.single[i] = x;
        else
            r->u.half[i] = r->type == DTYPE_F16 ? f32_to_f16(x) : f32_to_bf16(x);
    }
}

/* Powers of two around the ratio, mixed so that the mean square is right. */
static void set_exponents(struct random_blocks *r, double ratio)
{
    int low = (int)floor(log2(ratio));
    double square = ratio * ratio / exp2(2.0 * low); /* 1 to 4 */
    int n_high = (int)lrint(256.0 * (square - 1.0) / 3.0);
    for (int i = 0; i < 256; i++) {
        int e = 127 + low + (i < n_high);
        r->u.exponent[i] = (uint8_t)(e < 0 ? 0 : e > 254 ? 254 : e);
    }
}

/* Their codes are lopsided (-8..7), so quantizers give them scales of either sign. */
static bool has_signed_scale(enum dtype t)
{
    return t == DTYPE_Q4_0 || t == DTYPE_Q5_0 || t == DTYPE_IQ4_NL;
}

static void set_scales(struct random_blocks *r, double scale)
{
    for (int i = 0; i < 256; i++) {
        double sign = has_signed_scale(r->type) && i % 2 != 0 ? -1.0 : 1.0;
        uint16_t d = f32_to_f16((float)(sign * scale * (0.75 + i / 510.0)));
        r->u.scale.d[i] = d;
        r->u.scale.min[i] = f32_to_f16(kinds[r->type].middle * f16_to_f32(d));
    }
}

static double probe_deviation(const struct random_blocks *r)
{
    uint8_t bytes[PROBE_ELEMS / 32 * 34]; /* Q8_0 takes the most */
    float x[PROBE_ELEMS];
    size_t n_blocks = PROBE_ELEMS / (size_t)dtype_info((uint32_t)r->type)->block_elems;
    CHECK(n_blocks * (size_t)r->block_bytes <= sizeof(bytes));
    double sum = 0;
    for (uint64_t chunk = 0; chunk < N_PROBES; chunk++) {
        random_blocks_fill(r, 0, 0, chunk, bytes, n_blocks);
        CHECK(dequantize_row(r->type, bytes, x, PROBE_ELEMS));
        for (int i = 0; i < PROBE_ELEMS; i++)
            sum += (double)x[i] * (double)x[i];
    }
    return sqrt(sum / PROBE_ELEMS / N_PROBES);
}

bool random_blocks_init(struct random_blocks *ret, enum dtype type, double deviation)
{
    const struct dtype_info *info = dtype_info((uint32_t)type);
    if (info == NULL || kinds[type].fix == NULL)
        return false;
    ret->type = type;
    ret->block_bytes = info->block_bytes;
    if (is_float(type)) {
        set_elements(ret, deviation);
    } else if (type == DTYPE_MXFP4) {
        set_exponents(ret, 1.0);
        set_exponents(ret, deviation / probe_deviation(ret));
    } else {
        set_scales(ret, 1.0);
        set_scales(ret, deviation / probe_deviation(ret));
    }
    return true;
}

void random_blocks_fill(const struct random_blocks *r, uint64_t seed, uint64_t stream,
                        uint64_t chunk, void *dst, size_t n_blocks)
{
    uint8_t *p = dst;
    fill_bytes(seed, stream, chunk, p, n_blocks * (size_t)r->block_bytes);
    void (*fix)(const struct random_blocks *, void *) = kinds[r->type].fix;
    for (size_t i = 0; i < n_blocks; i++)
        fix(r, p + i * (size_t)r->block_bytes);
}
