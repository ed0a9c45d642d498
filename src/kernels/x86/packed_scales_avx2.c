/*
 * packed_scales_avx2: the scales and minima of packed units, for sixteen rows at a time.
 *
 * Owns the reading of everything in a unit that is not a quant (kernels/pack.h has the layouts).
 * Each product that a float is formed by is the one that generic/unpack.c forms.
 */
#include "kernels/pack.h"
#include "kernels/x86/packed_avx2.h"

#define ROWS PANEL_ROWS

ALWAYS __m128i load128(const void *p)
{
    return _mm_loadu_si128((const __m128i *)p);
}

/* Sixteen half floats as floats. */
ALWAYS void halves(const uint8_t *p, __m256 ret[2])
{
    ret[0] = _mm256_cvtph_ps(load128(p));
    ret[1] = _mm256_cvtph_ps(load128(p + 16));
}

ALWAYS void negate(__m256 v[2])
{
    v[0] = _mm256_xor_ps(v[0], _mm256_set1_ps(-0.0f));
    v[1] = _mm256_xor_ps(v[1], _mm256_set1_ps(-0.0f));
}

ALWAYS void store16(float *to, const __m256 v[2])
{
    _mm256_store_ps(to, v[0]);
    _mm256_store_ps(to + 8, v[1]);
}

/* to = d * bytes */
ALWAYS void store_products(float *to, const __m256 d[2], __m128i bytes)
{
    const __m256i low = _mm256_cvtepu8_epi32(bytes);
    const __m256i high = _mm256_cvtepu8_epi32(_mm_srli_si128(bytes, 8));
    _mm256_store_ps(to, _mm256_mul_ps(d[0], _mm256_cvtepi32_ps(low)));
    _mm256_store_ps(to + 8, _mm256_mul_ps(d[1], _mm256_cvtepi32_ps(high)));
}

/* Signed bytes a[r], b[r] in pairs of int16. */
ALWAYS void store_pairs(int16_t (*to)[2], __m128i a, __m128i b, int factor)
{
    const __m256i f = _mm256_set1_epi16((int16_t)factor);
    const __m256i low = _mm256_cvtepi8_epi16(_mm_unpacklo_epi8(a, b));
    const __m256i high = _mm256_cvtepi8_epi16(_mm_unpackhi_epi8(a, b));
    _mm256_store_si256((__m256i *)to[0], factor == 1 ? low : _mm256_mullo_epi16(low, f));
    _mm256_store_si256((__m256i *)to[8], factor == 1 ? high : _mm256_mullo_epi16(high, f));
}

/* The scales of the two 16s of a block, and what the quants' offset makes of them. */
ALWAYS void store_scales(struct panel_scales *s, int b, __m128i first, __m128i second, int offset)
{
    store_pairs(s[b].scale[0], first, first, 1);
    store_pairs(s[b].scale[1], second, second, 1);
    if (offset != 0)
        store_pairs(s[b].offset, first, second, -offset);
}

ALWAYS __m128i and8(__m128i v, int mask)
{
    return _mm_and_si128(v, _mm_set1_epi8((char)mask));
}

/* ---- units of 32 ---- */

#define SCALES_32(name, bytes, d_at, has_min)                                                      \
    void packed_scales_##name(struct panel_scales *s, const uint8_t *unit, int n_blocks)           \
    {                                                                                              \
        for (int b = 0; b < n_blocks; b++, unit += (bytes)) {                                      \
            __m256 v[2];                                                                           \
            halves(unit + (d_at), v);                                                              \
            store16(s[b].d, v);                                                                    \
            if (has_min) {                                                                         \
                halves(unit + (d_at) + 32, v);                                                     \
                store16(s[b].m[0], v);                                                             \
            }                                                                                      \
        }                                                                                          \
    }
SCALES_32(q4_0, 288, 256, false)
SCALES_32(q4_1, 320, 256, true)
SCALES_32(q5_0, 352, 320, false)
SCALES_32(q5_1, 384, 320, true)
SCALES_32(q8_0, 544, 512, false)
SCALES_32(iq4_nl, 288, 256, false)

/* 2^(e - 128); subnormal for e < 2 */
ALWAYS __m256 exponents(__m128i e8)
{
    const __m256i e = _mm256_cvtepu8_epi32(e8);
    const __m256i normal = _mm256_slli_epi32(_mm256_sub_epi32(e, _mm256_set1_epi32(1)), 23);
    const __m256i small = _mm256_sllv_epi32(_mm256_set1_epi32(0x00200000), e);
    const __m256i is_small = _mm256_cmpgt_epi32(_mm256_set1_epi32(2), e);
    return _mm256_castsi256_ps(_mm256_blendv_epi8(normal, small, is_small));
}

void packed_scales_mxfp4(struct panel_scales *s, const uint8_t *unit, int n_blocks)
{
    for (int b = 0; b < n_blocks; b++, unit += 272) {
        const __m128i e = load128(unit + 256);
        store16(s[b].d, (__m256[2]){exponents(e), exponents(_mm_srli_si128(e, 8))});
    }
}

/* ---- units of 256: the blocks b0.. of s ---- */

/* The 6-bit scales and minima of q4_k and q5_k: two blocks of 32 at a time, one in each lane. */
ALWAYS void scales_k(struct panel_scales *s, int b0, const uint8_t *unit)
{
    const uint8_t *low = unit + 64, *high = unit + 192;
    const __m256i four = _mm256_set1_epi8(15), upper = _mm256_set1_epi8(0x30);
    const __m256i second = _mm256_setr_epi32(0, 0, 0, 0, 4, 4, 4, 4);
    __m256 d[2], m[2];
    halves(unit, d);
    halves(unit + 32, m);
    negate(m);
    for (int b = 0; b < 8; b += 2) {
        const __m256i l = load256(low + ROWS * b);
        const __m256i both = _mm256_broadcastsi128_si256(load128(high + ROWS / 2 * b));
        const __m256i h = _mm256_srlv_epi32(both, second);
        const __m256i scale = _mm256_or_si256(_mm256_and_si256(l, four),
                                              _mm256_and_si256(_mm256_slli_epi16(h, 4), upper));
        const __m256i min = _mm256_or_si256(_mm256_and_si256(_mm256_srli_epi16(l, 4), four),
                                            _mm256_and_si256(_mm256_slli_epi16(h, 2), upper));
        store_products(s[b0 + b].d, d, _mm256_castsi256_si128(scale));
        store_products(s[b0 + b + 1].d, d, _mm256_extracti128_si256(scale, 1));
        store_products(s[b0 + b].m[0], m, _mm256_castsi256_si128(min));
        store_products(s[b0 + b + 1].m[0], m, _mm256_extracti128_si256(min, 1));
    }
}

ALWAYS void scales_q6_k(struct panel_scales *s, int b0, const uint8_t *unit)
{
    __m256 d[2];
    halves(unit, d);
    for (int b = 0; b < 8; b++) {
        const uint8_t *scale = unit + 32 + 2 * ROWS * b;
        store16(s[b0 + b].d, d);
        store_scales(s, b0 + b, load128(scale), load128(scale + ROWS), 32);
    }
}

ALWAYS void scales_q2_k(struct panel_scales *s, int b0, const uint8_t *unit)
{
    __m256 d[2], m[2];
    halves(unit, d);
    halves(unit + 32, m);
    negate(m);
    for (int b = 0; b < 8; b++) {
        const __m128i first = load128(unit + 64 + 2 * ROWS * b);
        const __m128i second = load128(unit + 64 + 2 * ROWS * b + ROWS);
        store16(s[b0 + b].d, d);
        store_scales(s, b0 + b, and8(first, 15), and8(second, 15), 0);
        store_products(s[b0 + b].m[0], m, and8(_mm_srli_epi16(first, 4), 15));
        store_products(s[b0 + b].m[1], m, and8(_mm_srli_epi16(second, 4), 15));
    }
}

/* Four low bits and two high ones, less 32. */
ALWAYS __m128i six_bits(__m128i low, __m128i high)
{
    const __m128i v = _mm_or_si128(and8(low, 15), _mm_slli_epi16(and8(high, 3), 4));
    return _mm_sub_epi8(v, _mm_set1_epi8(32));
}

ALWAYS void scales_q3_k(struct panel_scales *s, int b0, const uint8_t *unit)
{
    __m256 d[2];
    halves(unit, d);
    for (int b = 0; b < 8; b++) {
        const __m128i low = load128(unit + 32 + ROWS * b);
        const __m128i high = _mm_srli_epi16(load128(unit + 160 + b / 2 * ROWS), b % 2 * 4);
        store16(s[b0 + b].d, d);
        store_scales(s, b0 + b, six_bits(low, high),
                     six_bits(_mm_srli_epi16(low, 4), _mm_srli_epi16(high, 2)), 4);
    }
}

ALWAYS void scales_iq4_xs(struct panel_scales *s, int b0, const uint8_t *unit)
{
    __m256 d[2];
    halves(unit, d);
    for (int b = 0; b < 8; b++) {
        const __m128i low = _mm_srli_epi16(load128(unit + 32 + b / 2 * ROWS), b % 2 * 4);
        const __m128i high = _mm_srli_epi16(load128(unit + 96 + b / 4 * ROWS), b % 4 * 2);
        const __m128i scale = six_bits(low, high);
        store16(s[b0 + b].d, d);
        store_scales(s, b0 + b, scale, scale, 0);
    }
}

ALWAYS void scales_tq2_0(struct panel_scales *s, int b0, const uint8_t *unit)
{
    __m256 d[2];
    halves(unit, d);
    for (int b = 0; b < 8; b++)
        store16(s[b0 + b].d, d);
}

#define SCALES_256(name, fn, bytes)                                                                \
    void packed_scales_##name(struct panel_scales *s, const uint8_t *unit, int n_blocks)           \
    {                                                                                              \
        for (int b0 = 0; b0 < n_blocks; b0 += 8, unit += (bytes))                                  \
            fn(s, b0, unit);                                                                       \
    }
SCALES_256(q4_k, scales_k, 2304)
SCALES_256(q5_k, scales_k, 2816)
SCALES_256(q6_k, scales_q6_k, 3360)
SCALES_256(q2_k, scales_q2_k, 1344)
SCALES_256(q3_k, scales_q3_k, 1760)
SCALES_256(iq4_xs, scales_iq4_xs, 2176)
SCALES_256(tq2_0, scales_tq2_0, 1056)
