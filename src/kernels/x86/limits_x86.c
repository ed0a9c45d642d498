/*
 * limits_x86: register-only loops of x86's dot instructions.
 *
 * Owns: the loops alone; who may run which is the caller's to know. Each keeps twelve independent
 * sums in registers, more than latency times throughput of any such instruction. The functions
 * carry their instruction sets as attributes: nothing here is inlined into code for other
 * processors.
 *
 * AVX2 has no one instruction for it: products of two bytes each are added in 16 bits
 * (vpmaddubsw), and the sums of 4-bit weights may stay there for eight rounds, so a pair of
 * vpmaddubsw and vpaddw is what a kernel can hope for. AVX-512 without VNNI likewise.
 */
#include "kernels/limits_loops.h"

#include <immintrin.h>
#include <stddef.h>

/* Keeps a value in a register, and the compiler from knowing it: equal sums would be merged. */
#define OPAQUE(x)   __asm__ volatile("" : "+x"(x))
#define OPAQUE_Z(x) __asm__ volatile("" : "+v"(x))

#define EACH_12(DO) DO(0) DO(1) DO(2) DO(3) DO(4) DO(5) DO(6) DO(7) DO(8) DO(9) DO(10) DO(11)

__attribute__((target("avx2"), noinline)) static int64_t loop_avx2(int64_t n)
{
    __m256i u = _mm256_set1_epi8(3), s = _mm256_set1_epi8(-5);
#define DO(i)                                                                                      \
    __m256i a##i = _mm256_setzero_si256();                                                         \
    OPAQUE(a##i);
    EACH_12(DO)
#undef DO
    for (int64_t k = 0; k < n; k++) {
#define DO(i)                                                                                      \
    OPAQUE(u);                                                                                     \
    a##i = _mm256_add_epi16(a##i, _mm256_maddubs_epi16(u, s));
        EACH_12(DO)
#undef DO
    }
#define DO(i) OPAQUE(a##i);
    EACH_12(DO)
#undef DO
    return n * 12 * 32;
}

__attribute__((target("avx512f,avx512bw"), noinline)) static int64_t loop_avx512(int64_t n)
{
    __m512i u = _mm512_set1_epi8(3), s = _mm512_set1_epi8(-5);
#define DO(i)                                                                                      \
    __m512i a##i = _mm512_setzero_si512();                                                         \
    OPAQUE_Z(a##i);
    EACH_12(DO)
#undef DO
    for (int64_t k = 0; k < n; k++) {
#define DO(i)                                                                                      \
    OPAQUE_Z(u);                                                                                   \
    a##i = _mm512_add_epi16(a##i, _mm512_maddubs_epi16(u, s));
        EACH_12(DO)
#undef DO
    }
#define DO(i) OPAQUE_Z(a##i);
    EACH_12(DO)
#undef DO
    return n * 12 * 64;
}

__attribute__((target("avx512f,avx512vnni"), noinline)) static int64_t loop_avx512vnni(int64_t n)
{
    __m512i u = _mm512_set1_epi8(3), s = _mm512_set1_epi8(-5);
#define DO(i)                                                                                      \
    __m512i a##i = _mm512_setzero_si512();                                                         \
    OPAQUE_Z(a##i);
    EACH_12(DO)
#undef DO
    for (int64_t k = 0; k < n; k++) {
#define DO(i) a##i = _mm512_dpbusd_epi32(a##i, u, s);
        EACH_12(DO)
#undef DO
        OPAQUE_Z(u);
    }
#define DO(i) OPAQUE_Z(a##i);
    EACH_12(DO)
#undef DO
    return n * 12 * 64;
}

__attribute__((target("avx2,avxvnni"), noinline)) static int64_t loop_avxvnni(int64_t n)
{
    __m256i u = _mm256_set1_epi8(3), s = _mm256_set1_epi8(-5);
#define DO(i)                                                                                      \
    __m256i a##i = _mm256_setzero_si256();                                                         \
    OPAQUE(a##i);
    EACH_12(DO)
#undef DO
    for (int64_t k = 0; k < n; k++) {
#define DO(i) a##i = _mm256_dpbusd_avx_epi32(a##i, u, s);
        EACH_12(DO)
#undef DO
        OPAQUE(u);
    }
#define DO(i) OPAQUE(a##i);
    EACH_12(DO)
#undef DO
    return n * 12 * 32;
}

const struct limits_loop limits_loops_native[] = {
    {"avx2", "vpmaddubsw + vpaddw, 256 bits", loop_avx2},
    {"avxvnni", "vpdpbusd, 256 bits", loop_avxvnni},
    {"avx512", "vpmaddubsw + vpaddw, 512 bits", loop_avx512},
    {"avx512vnni", "vpdpbusd, 512 bits", loop_avx512vnni},
    {NULL, NULL, NULL},
};
