/*
 * packed_one_avx2: a panel of Q4_K or Q5_K with one column, in one sweep.
 *
 * One sequence decodes as fast as its weights come from memory, if the work on them hides behind
 * that. So nothing is laid down here and read again as for more columns (packed_avx2.h): a unit's
 * scales stay bytes until their block, and the sums stay in registers over the whole panel. The
 * operations on floats and their order are those of the tiles, and so are the bits.
 */
#include "kernels/pack.h"
#include "kernels/x86/packed_avx2.h"

/* How far ahead a panel is prefetched: the memory's own looking ahead is the best. */
#define AHEAD_ONE 128

/* Scales and minima of a unit as bytes, [block][row]. */
struct bytes_k {
    _Alignas(32) uint8_t scale[8][PANEL_ROWS];
    _Alignas(32) uint8_t min[8][PANEL_ROWS];
};

/* Two blocks of 32 at a time, one in each lane. */
ALWAYS void read_bytes_k(struct bytes_k *ret, const uint8_t *unit)
{
    const __m256i four = _mm256_set1_epi8(15), upper = _mm256_set1_epi8(0x30);
    const __m256i second = _mm256_setr_epi32(0, 0, 0, 0, 4, 4, 4, 4);
    UNROLL for (int b = 0; b < 8; b += 2)
    {
        const __m256i l = load256(unit + 64 + PANEL_ROWS * b);
        const __m128i packed = _mm_loadu_si128((const __m128i *)(unit + 192 + PANEL_ROWS / 2 * b));
        const __m256i h = _mm256_srlv_epi32(_mm256_broadcastsi128_si256(packed), second);
        const __m256i scale = _mm256_or_si256(_mm256_and_si256(l, four),
                                              _mm256_and_si256(_mm256_slli_epi16(h, 4), upper));
        const __m256i min = _mm256_or_si256(_mm256_and_si256(_mm256_srli_epi16(l, 4), four),
                                            _mm256_and_si256(_mm256_slli_epi16(h, 2), upper));
        _mm256_store_si256((__m256i *)ret->scale[b], scale);
        _mm256_store_si256((__m256i *)ret->min[b], min);
    }
}

/* Eight bytes as floats. */
ALWAYS __m256 floats_of(const uint8_t *p)
{
    return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)p)));
}

ALWAYS __m256 halves_of(const uint8_t *p)
{
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p));
}

/* acc += the products of a block with one plane: elements q, their scale times the rows' v. */
ALWAYS void add_block(__m256 acc[2], struct shape sh, const uint8_t *w, const __m256 v[2],
                      const int8_t *q, const float *d)
{
    const __m256 dx = _mm256_broadcast_ss(d);
    __m256i dot[2];
    dot_gathered(dot, sh, sh.kind == PANEL_U4 ? 8 : 4, w, NULL, &q, 1);
    acc[0] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(dot[0]), _mm256_mul_ps(v[0], dx), acc[0]);
    acc[1] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(dot[1]), _mm256_mul_ps(v[1], dx), acc[1]);
}

ALWAYS void one_k(struct shape sh, const uint8_t *unit, const struct act *a, int n_units, float *y)
{
    __m256 acc[2] = {_mm256_setzero_ps(), _mm256_setzero_ps()};
    const __m256 minus = _mm256_set1_ps(-0.0f);
    for (int u = 0, b = 0; u < n_units; u++, unit += 256 + 8 * (size_t)sh.step) {
        const __m256 d[2] = {halves_of(unit), halves_of(unit + 16)};
        const __m256 m[2] = {_mm256_xor_ps(halves_of(unit + 32), minus),
                             _mm256_xor_ps(halves_of(unit + 48), minus)};
        const uint8_t *w = unit + 256;
        struct bytes_k k;
        read_bytes_k(&k, unit);
        for (int i = 0; i < 8; i++, b++, w += sh.step) {
            const __m256 v[2] = {_mm256_mul_ps(d[0], floats_of(k.scale[i])),
                                 _mm256_mul_ps(d[1], floats_of(k.scale[i] + 8))};
            const __m256 s = _mm256_broadcast_ss(a->s + b);
            add_block(acc, sh, w, v, a->q + 32 * (size_t)b, a->d + b);
            if (__builtin_expect(act_has(a, b), 0))
                add_block(acc, sh, w, v, a->r + 32 * (size_t)b, a->e + b);
            for (int ahead = 0; ahead < sh.step; ahead += 64)
                _mm_prefetch((const char *)w + AHEAD_ONE + ahead, _MM_HINT_T0);
            acc[0] = _mm256_fmadd_ps(_mm256_mul_ps(m[0], floats_of(k.min[i])), s, acc[0]);
            acc[1] = _mm256_fmadd_ps(_mm256_mul_ps(m[1], floats_of(k.min[i] + 8)), s, acc[1]);
        }
    }
    _mm256_storeu_ps(y, acc[0]);
    _mm256_storeu_ps(y + 8, acc[1]);
}

#define ONE(name, source, kind, step)                                                              \
    void packed_one_##name(const uint8_t *panel, const void *x, int n_k, float *y)                 \
    {                                                                                              \
        const struct shape sh = {source, kind, MIN_32, 0, step, 0};                                \
        const struct act a = act_at(x, n_k);                                                       \
        one_k(sh, panel, &a, n_k / 256, y);                                                        \
    }
ONE(q4_k, SOURCE_NIB, PANEL_U4, 256)
ONE(q5_k, SOURCE_NIB_ONE, PANEL_U5, 320)
