/*
 * lanes: vectors of 512 or of 256 bits under the same names, for mul_packed_x86.c.
 *
 * LANES_512: AVX-512 F, BW, VL, DQ, one vector = a 32-bit lane for each of a panel's 16 rows. Else
 * AVX2, one vector = 8 rows. LANES_VNNI: dot4 is one instruction. Without it there is no dot4: the
 * products are gathered in 16 bits (madd8, widen16), where the caller minds the headroom.
 */
#ifndef HEARTH_KERNELS_LANES_H
#define HEARTH_KERNELS_LANES_H

#include <immintrin.h>
#include <stdint.h>
#include <string.h>

#define ALWAYS static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 16")

ALWAYS int32_t dword(const void *p)
{
    int32_t v;
    memcpy(&v, p, 4);
    return v;
}

#ifdef LANES_512

#define LANES 16
typedef __m512i vi;
typedef __m512 vf;

#define v_zero()          _mm512_setzero_si512()
#define v_set8(x)         _mm512_set1_epi8((char)(x))
#define v_set16(x)        _mm512_set1_epi16((short)(x))
#define v_set32(x)        _mm512_set1_epi32(x)
#define v_load(p)         _mm512_loadu_si512(p)
#define v_store(p, v)     _mm512_storeu_si512(p, v)
#define v_and(a, b)       _mm512_and_si512(a, b)
#define v_or(a, b)        _mm512_or_si512(a, b)
#define v_xor(a, b)       _mm512_xor_si512(a, b)
#define v_select(m, a, b) _mm512_ternarylogic_epi32(m, a, b, 0xca) /* bits of a where m, else b */
#define v_shr16(v, n)     _mm512_srli_epi16(v, n)
#define v_shl16(v, n)     _mm512_slli_epi16(v, n)
#define v_shl32(v, n)     _mm512_slli_epi32(v, n)
#define v_shlv32(v, n)    _mm512_sllv_epi32(v, n)
#define v_shrv64(v, n)    _mm512_srlv_epi64(v, n)
#define v_add8(a, b)      _mm512_add_epi8(a, b)
#define v_add16(a, b)     _mm512_add_epi16(a, b)
#define v_add32(a, b)     _mm512_add_epi32(a, b)
#define v_sub32(a, b)     _mm512_sub_epi32(a, b)
#define v_mul16(a, b)     _mm512_mullo_epi16(a, b)
#define v_madd8(u, s)     _mm512_maddubs_epi16(u, s)
#define v_madd16(a, b)    _mm512_madd_epi16(a, b)
#define v_bytes(v, i)     _mm512_shuffle_epi8(v, i) /* within 16 bytes */
#define v_each128(p)      _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)(const void *)(p)))
#define v_u8(p)           _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)(const void *)(p)))
#define v_s8(p)           _mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)(const void *)(p)))
#define v_float(v)        _mm512_cvtepi32_ps(v)
#define v_asfloat(v)      _mm512_castsi512_ps(v)
#define f_half(p)         _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)(p)))
#define f_zero()          _mm512_setzero_ps()
#define f_set(x)          _mm512_set1_ps(x)
#define f_load(p)         _mm512_loadu_ps(p)
#define f_store(p, v)     _mm512_storeu_ps(p, v)
#define f_mul(a, b)       _mm512_mul_ps(a, b)
#define f_fma(a, b, c)    _mm512_fmadd_ps(a, b, c)
#define f_neg(v)          _mm512_xor_ps(v, _mm512_set1_ps(-0.0f))

/* LANES / 8 rows of 16 bytes, each twice. */
ALWAYS vi v_twice128(const uint8_t *p)
{
    const __m256i v = _mm256_loadu_si256((const __m256i *)(const void *)p);
    return _mm512_permutexvar_epi64(_mm512_setr_epi64(0, 1, 0, 1, 2, 3, 2, 3),
                                    _mm512_castsi256_si512(v));
}

/* Each 16 bytes' own shift: a, b, c, d. */
#define v_shifts128(a, b, c, d) _mm512_setr_epi64(a, a, b, b, c, c, d, d)

/* acc where bit is 0, v where it is 1. */
ALWAYS vf f_where(uint32_t bit, vf v, vf acc)
{
    return _mm512_mask_mov_ps(acc, (__mmask16)(0u - bit), v);
}

#ifdef LANES_VNNI
/* acc + products of u and the four bytes at p, in one instruction: gcc 12 makes two of it. */
ALWAYS vi v_dot4(vi acc, vi u, const uint8_t *p)
{
    __asm__("vpdpbusd %2%{1to16%}, %1, %0"
            : "+v"(acc)
            : "v"(u), "m"(*(const struct four { uint8_t b[4]; } *)(const void *)p));
    return acc;
}
#endif

#else /* 256 bits */

#define LANES 8
typedef __m256i vi;
typedef __m256 vf;

#define v_zero()          _mm256_setzero_si256()
#define v_set8(x)         _mm256_set1_epi8((char)(x))
#define v_set16(x)        _mm256_set1_epi16((short)(x))
#define v_set32(x)        _mm256_set1_epi32(x)
#define v_load(p)         _mm256_loadu_si256((const __m256i *)(const void *)(p))
#define v_store(p, v)     _mm256_storeu_si256((__m256i *)(void *)(p), v)
#define v_and(a, b)       _mm256_and_si256(a, b)
#define v_or(a, b)        _mm256_or_si256(a, b)
#define v_xor(a, b)       _mm256_xor_si256(a, b)
#define v_select(m, a, b) _mm256_or_si256(_mm256_and_si256(m, a), _mm256_andnot_si256(m, b))
#define v_shr16(v, n)     _mm256_srli_epi16(v, n)
#define v_shl16(v, n)     _mm256_slli_epi16(v, n)
#define v_shl32(v, n)     _mm256_slli_epi32(v, n)
#define v_shlv32(v, n)    _mm256_sllv_epi32(v, n)
#define v_shrv64(v, n)    _mm256_srlv_epi64(v, n)
#define v_add8(a, b)      _mm256_add_epi8(a, b)
#define v_add16(a, b)     _mm256_add_epi16(a, b)
#define v_add32(a, b)     _mm256_add_epi32(a, b)
#define v_sub32(a, b)     _mm256_sub_epi32(a, b)
#define v_mul16(a, b)     _mm256_mullo_epi16(a, b)
#define v_madd8(u, s)     _mm256_maddubs_epi16(u, s)
#define v_madd16(a, b)    _mm256_madd_epi16(a, b)
#define v_bytes(v, i)     _mm256_shuffle_epi8(v, i)
#define v_each128(p)                                                                               \
    _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)(const void *)(p)))
#define v_u8(p)        _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)(p)))
#define v_s8(p)        _mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)(p)))
#define v_float(v)     _mm256_cvtepi32_ps(v)
#define v_asfloat(v)   _mm256_castsi256_ps(v)
#define f_half(p)      _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)(p)))
#define f_zero()       _mm256_setzero_ps()
#define f_set(x)       _mm256_set1_ps(x)
#define f_load(p)      _mm256_loadu_ps(p)
#define f_store(p, v)  _mm256_storeu_ps(p, v)
#define f_mul(a, b)    _mm256_mul_ps(a, b)
#define f_fma(a, b, c) _mm256_fmadd_ps(a, b, c)
#define f_neg(v)       _mm256_xor_ps(v, _mm256_set1_ps(-0.0f))

ALWAYS vi v_twice128(const uint8_t *p)
{
    return v_each128(p);
}

#define v_shifts128(a, b, c, d) _mm256_setr_epi64x(a, a, b, b)

ALWAYS vf f_where(uint32_t bit, vf v, vf acc)
{
    return _mm256_blendv_ps(acc, v, _mm256_castsi256_ps(_mm256_set1_epi32((int)(0u - bit))));
}

#ifdef LANES_VNNI
#ifdef __AVXVNNI__
#define v_dot4(acc, u, p) _mm256_dpbusd_avx_epi32(acc, u, v_set32(dword(p)))
#else
#define v_dot4(acc, u, p) _mm256_dpbusd_epi32(acc, u, v_set32(dword(p)))
#endif
#endif

#endif

/* One load for all uses: the compiler would rather load again than keep it in a register. */
ALWAYS vi v_load_once(const uint8_t *p)
{
    vi v = v_load(p);
    __asm__("" : "+v"(v));
    return v;
}

/* The low 16 bits of each dword in both halves; its low 8 in all four bytes. */
#define v_rep16(v) v_bytes(v, v_dwords(0x01000100))
#define v_rep8(v)  v_bytes(v, v_dwords(0x00000000))

/* Byte shuffles of each dword: pattern + 4 * (dword of the 16 bytes). */
ALWAYS vi v_dwords(int pattern)
{
    const int32_t at[4] = {pattern, pattern + 0x04040404, pattern + 0x08080808,
                           pattern + 0x0c0c0c0c};
    return v_each128(at);
}

#endif
