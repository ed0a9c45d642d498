/*
 * quad_score: scores of keys of 8 bits in fours (KV_Q8_0_QUADS), with AVX-512 VNNI, for
 * attend_vec.c.
 *
 * A query is quantized to two planes of 8 bits in groups of 32 dims (act.h), about 15 bits. Per
 * group, plane and position an exact integer dot product; then, groups ascending, c = fma(fma(dot
 * of r, e, dot of q * d), scale of the key, c). Keys are made unsigned by adding 128; the sums
 * begin at -128 times the sum of the query's quants.
 */
#ifndef HEARTH_KERNELS_QUAD_SCORE_AVX512_H
#define HEARTH_KERNELS_QUAD_SCORE_AVX512_H

#include "kernels/attend_quads.h"

#include <immintrin.h>

#define QUAD_ROWS 4 /* times two planes and two vectors: 16 sums in registers */

/* c[r][position] of a block, for the rows of a call. */
struct quad_tile {
    float *c;
    size_t c_stride;
    struct attend_quads q; /* from the first of the rows on */
    int n_dim;
    const uint8_t *k;      /* [quads of n_dim][KV_BLOCK_LEN][4] */
    const uint16_t *scale; /* [groups of 32 dims][KV_BLOCK_LEN] */
    const uint8_t *ahead;  /* fetched meanwhile, ahead_step bytes for every quad */
    size_t ahead_step;
};

/* sum += products of the bytes of k (unsigned) and x. As assembly, so that GCC neither unrolls the
 * loop around it nor keeps the sums on the stack. */
static inline __attribute__((always_inline)) void quad_add(__m512i *sum, __m512i k, __m512i x)
{
    __asm__ volatile("vpdpbusd %2, %1, %0" : "+v"(*sum) : "v"(k), "v"(x));
}

/* One group: its dot products to c. */
static inline __attribute__((always_inline)) void quad_group(const struct quad_tile *t, int nr,
                                                             int g, int n_quad)
{
    const size_t ahead_step = t->ahead_step;
    const __m512i high = _mm512_set1_epi8((char)0x80);
    const uint8_t *k = t->k + (size_t)g * 8 * KV_BLOCK_LEN * 4;
    const uint8_t *ahead = t->ahead + (size_t)g * 8 * ahead_step;
    const int32_t(*x)[2] = t->q.quad[8 * g];
    __m512i q[QUAD_ROWS][2], r[QUAD_ROWS][2];
    _Pragma("GCC unroll 4") for (int i = 0; i < nr; i++)
    {
        q[i][0] = q[i][1] = _mm512_set1_epi32(t->q.sum[g][i][0]);
        r[i][0] = r[i][1] = _mm512_set1_epi32(t->q.sum[g][i][1]);
    }
    _Pragma("GCC unroll 1") for (int j = 0; j < n_quad; j++)
    {
        const __m512i k0 = _mm512_xor_si512(_mm512_loadu_si512(k), high);
        const __m512i k1 = _mm512_xor_si512(_mm512_loadu_si512(k + 64), high);
        __builtin_prefetch(ahead, 0, 2);
        _Pragma("GCC unroll 4") for (int i = 0; i < nr; i++)
        {
            const __m512i xq = _mm512_set1_epi32(x[i][0]), xr = _mm512_set1_epi32(x[i][1]);
            quad_add(&q[i][0], k0, xq);
            quad_add(&q[i][1], k1, xq);
            quad_add(&r[i][0], k0, xr);
            quad_add(&r[i][1], k1, xr);
        }
        k += KV_BLOCK_LEN * 4;
        x += ATTEND_Q_STRIDE;
        ahead += ahead_step;
    }
    const float(*scale)[2] = t->q.scale[g];
    const uint16_t *key_scale = t->scale + g * KV_BLOCK_LEN;
    float *c0 = t->c;
    const size_t c_stride = t->c_stride;
    _Pragma("GCC unroll 2") for (int v = 0; v < 2; v++)
    {
        const __m512 d = _mm512_cvtph_ps(
            _mm256_loadu_si256((const __m256i *)(const void *)(key_scale + 16 * v)));
        _Pragma("GCC unroll 4") for (int i = 0; i < nr; i++)
        {
            float *c = c0 + (size_t)i * c_stride + 16 * v;
            __m512 s = _mm512_mul_ps(_mm512_cvtepi32_ps(q[i][v]), _mm512_set1_ps(scale[i][0]));
            s = _mm512_fmadd_ps(_mm512_cvtepi32_ps(r[i][v]), _mm512_set1_ps(scale[i][1]), s);
            _mm512_storeu_ps(c, _mm512_fmadd_ps(s, d, _mm512_loadu_ps(c)));
        }
    }
}

static inline __attribute__((always_inline)) void quad_groups(const struct quad_tile *t, int nr)
{
    const int n_quad = (t->n_dim + 3) / 4;
    for (int i = 0; i < nr; i++)
        for (int v = 0; v < 2; v++)
            _mm512_storeu_ps(t->c + (size_t)i * t->c_stride + 16 * v, _mm512_setzero_ps());
    for (int g = 0; 8 * g < n_quad; g++)
        quad_group(t, nr, g, n_quad - 8 * g < 8 ? n_quad - 8 * g : 8);
}

static __attribute__((noinline)) void quad_rows(const struct quad_tile *t, int nr)
{
    switch (nr) {
    case 1:
        quad_groups(t, 1);
        break;
    case 2:
        quad_groups(t, 2);
        break;
    case 3:
        quad_groups(t, 3);
        break;
    default:
        quad_groups(t, QUAD_ROWS);
        break;
    }
}

#endif
