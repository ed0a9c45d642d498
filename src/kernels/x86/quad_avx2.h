/*
 * quad: four consecutive elements of eight rows as the bytes of a register, from a panel of bytes
 * or from packed quants (kernels/pack.h has the layouts); and their products with activations.
 *
 * Everything is expanded where source and quad are constants.
 *
 * The multiply-adds are written as assembly so that the compiler neither reorders the sums nor
 * spills them: GCC 12 turns the same loops in intrinsics into trees of which most goes to the
 * stack (20 instead of 36 multiply-adds a cycle on Zen 4).
 */
#ifndef HEARTH_KERNELS_QUAD_AVX2_H
#define HEARTH_KERNELS_QUAD_AVX2_H

#include "tensor/blocks.h"

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#define ALWAYS static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 8")

/* A value is formed as written and stays in a register. */
#define KEEP(v) __asm__ volatile("" : "+x"(v))

/* Sixteen int16 of 1. */
static const _Alignas(32) int16_t k_ones[16] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};

/* Where a block of 32 elements comes from, and its layout (kernels/pack.h). */
enum source {
    SOURCE_BYTES, /* of a panel */
    SOURCE_NIB,
    SOURCE_NIB_ONE,
    SOURCE_NIB_TWO,
    SOURCE_TWO,
    SOURCE_TWO_ONE,
    SOURCE_BYTE,
    SOURCE_IQ4,   /* nib, through iq4_value */
    SOURCE_MXFP4, /* nib, through mxfp4_value, plus 12 */
};

ALWAYS __m256i load256(const void *p)
{
    return _mm256_loadu_si256((const __m256i *)p);
}

/* Bits `from` and on of every byte, moved to bit `to`. */
ALWAYS __m256i move_bits(__m256i v, int from, int to, int mask)
{
    if (to > from)
        v = _mm256_slli_epi16(v, to - from);
    else if (to < from)
        v = _mm256_srli_epi16(v, from - to);
    return _mm256_and_si256(v, _mm256_set1_epi8((char)mask));
}

ALWAYS __m256i table16(const int8_t *values, int plus, __m256i i)
{
    const __m128i v =
        _mm_add_epi8(_mm_loadu_si128((const __m128i *)values), _mm_set1_epi8((char)plus));
    return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(v), i);
}

/* The bytes whose low nibbles are quad t < 4 and whose high ones are quad t + 4. */
struct raw {
    __m256i half[2];
};

/*
 * Rows 8h..8h + 7 of quad t of the block whose quants are at p. raw: NULL, or where quad t leaves
 * its bytes for quad t + 4, which then comes before any other (two registers for a load).
 */
ALWAYS __m256i quad_of(enum source source, const uint8_t *p, int t, int h, struct raw *raw)
{
    p += 32 * h;
    if (source == SOURCE_BYTES)
        return _mm256_load_si256((const __m256i *)(p + 64 * t));
    if (source == SOURCE_BYTE)
        return load256(p + 64 * t);
    if (source == SOURCE_TWO || source == SOURCE_TWO_ONE) {
        const __m256i two = move_bits(load256(p + 64 * (t % 2)), t / 2 * 2, 0, 3);
        if (source == SOURCE_TWO)
            return two;
        return _mm256_or_si256(two, move_bits(load256(p + 128), t, 2, 4));
    }
    __m256i nib = raw != NULL && t >= 4 ? raw->half[h] : load256(p + 64 * (t % 4));
    if (raw != NULL && t < 4) {
        KEEP(nib);
        raw->half[h] = nib;
    }
    nib = move_bits(nib, t / 4 * 4, 0, 15);
    if (source == SOURCE_NIB_ONE)
        return _mm256_or_si256(nib, move_bits(load256(p + 256), t, 4, 16));
    if (source == SOURCE_NIB_TWO)
        return _mm256_or_si256(nib, move_bits(load256(p + 256 + 64 * (t % 2)), t / 2 * 2, 4, 48));
    if (source == SOURCE_IQ4)
        return table16(iq4_value, 0, nib);
    if (source == SOURCE_MXFP4)
        return table16(mxfp4_value, 12, nib);
    return nib;
}

/* ---- signed weights as magnitudes and masks (panel_avx2.h) ---- */

/* Stores 8 rows of a quad; sum: gets their negative weights times the scale. */
ALWAYS void split_quad(__m256i *sum, uint8_t *q, uint8_t *mask, __m256i w, const int16_t *scale)
{
    const __m256i abs = _mm256_abs_epi8(w), minus = _mm256_cmpgt_epi8(_mm256_setzero_si256(), w);
    _mm256_store_si256((__m256i *)q, abs);
    _mm256_store_si256((__m256i *)mask, minus);
    const __m256i pairs = _mm256_maddubs_epi16(_mm256_and_si256(abs, minus), _mm256_set1_epi8(1));
    const __m256i by = _mm256_load_si256((const __m256i *)scale);
    *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(pairs, by));
}

/* ---- products, in int16 ---- */

struct four { /* elements */
    char at[4];
};
#define FOUR(p) (*(const struct four *)(p))

/* sum = w * a, of two halves; a: four activations in every lane. */
ALWAYS void first_quad(__m256i sum[2], __m256i w0, __m256i w1, const int8_t *a)
{
    __asm__ volatile("vpbroadcastd %4, %1\n\t"
                     "vpmaddubsw %1, %2, %0\n\t"
                     "vpmaddubsw %1, %3, %1"
                     : "=&x"(sum[0]), "=&x"(sum[1])
                     : "x"(w0), "x"(w1), "m"(FOUR(a)));
}

ALWAYS void next_quad(__m256i sum[2], __m256i w0, __m256i w1, const int8_t *a)
{
    __m256i t0, t1;
    __asm__ volatile("vpbroadcastd %6, %3\n\t"
                     "vpmaddubsw %3, %4, %2\n\t"
                     "vpmaddubsw %3, %5, %3\n\t"
                     "vpaddw %2, %0, %0\n\t"
                     "vpaddw %3, %1, %1"
                     : "+x"(sum[0]), "+x"(sum[1]), "=&x"(t0), "=&x"(t1)
                     : "x"(w0), "x"(w1), "m"(FOUR(a)));
}

/* |w| * (a ^ mask) */
ALWAYS void masked_quad(__m256i sum[2], __m256i abs0, __m256i abs1, __m256i mask0, __m256i mask1,
                        const int8_t *a)
{
    __asm__ volatile("vpbroadcastd %6, %1\n\t"
                     "vpxor %4, %1, %0\n\t"
                     "vpxor %5, %1, %1\n\t"
                     "vpmaddubsw %0, %2, %0\n\t"
                     "vpmaddubsw %1, %3, %1"
                     : "=&x"(sum[0]), "=&x"(sum[1])
                     : "x"(abs0), "x"(abs1), "x"(mask0), "x"(mask1), "m"(FOUR(a)));
}

/* |w| * (a with the sign of w) */
ALWAYS void signed_quad(__m256i sum[2], __m256i w0, __m256i w1, __m256i abs0, __m256i abs1,
                        const int8_t *a)
{
    __asm__ volatile("vpbroadcastd %6, %1\n\t"
                     "vpsignb %2, %1, %0\n\t"
                     "vpsignb %3, %1, %1\n\t"
                     "vpmaddubsw %0, %4, %0\n\t"
                     "vpmaddubsw %1, %5, %1"
                     : "=&x"(sum[0]), "=&x"(sum[1])
                     : "x"(w0), "x"(w1), "x"(abs0), "x"(abs1), "m"(FOUR(a)));
}

#endif
