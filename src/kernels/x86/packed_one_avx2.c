/*
 * packed_one_avx2: a panel of Q4_K with one column, in one sweep.
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

/* What a unit's blocks share: d and -dmin, scales and minima as bytes, [block][row]. */
struct unit_k {
    _Alignas(64) float d[PANEL_ROWS];
    float m[PANEL_ROWS];
    uint8_t scale[8][PANEL_ROWS];
    uint8_t min[8][PANEL_ROWS];
};

/* Two blocks of 32 at a time, one in each lane. */
ALWAYS void read_bytes(struct unit_k *ret, const uint8_t *unit)
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

ALWAYS void read_unit(struct unit_k *ret, const uint8_t *unit)
{
    const __m256 minus = _mm256_set1_ps(-0.0f);
    _mm256_store_ps(ret->d, halves_of(unit));
    _mm256_store_ps(ret->d + 8, halves_of(unit + 16));
    _mm256_store_ps(ret->m, _mm256_xor_ps(halves_of(unit + 32), minus));
    _mm256_store_ps(ret->m + 8, _mm256_xor_ps(halves_of(unit + 48), minus));
    read_bytes(ret, unit);
}

/* acc += the products of block i with one plane: elements q, their scale. */
ALWAYS void add_block(__m256 acc[2], struct shape sh, const uint8_t *w, const struct unit_k *k,
                      int i, const int8_t *q, const float *d)
{
    const __m256 dx = _mm256_broadcast_ss(d);
    __m256i dot[2];
    dot_gathered(dot, sh, 8, w, NULL, &q, 1);
    UNROLL for (int h = 0; h < 2; h++)
    {
        const __m256 v =
            _mm256_mul_ps(floats_of(k->scale[i] + 8 * h), _mm256_load_ps(k->d + 8 * h));
        acc[h] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(dot[h]), _mm256_mul_ps(v, dx), acc[h]);
    }
}

/* k: scratch, through a pointer so that it is read where it is used. */
ALWAYS void one_k(struct shape sh, const uint8_t *unit, const struct act *a, int n_units,
                  struct unit_k *k, float *y)
{
    __m256 acc[2] = {_mm256_setzero_ps(), _mm256_setzero_ps()};
    for (int u = 0, b = 0; u < n_units; u++, unit += 256 + 8 * (size_t)sh.step) {
        const uint8_t *w = unit + 256;
        read_unit(k, unit);
        for (int i = 0; i < 8; i++, b++, w += sh.step) {
            FORGET(k);
            FORGET(w);
            add_block(acc, sh, w, k, i, a->q + 32 * (size_t)b, a->d + b);
            if (__builtin_expect(act_has(a, b), 0)) {
                FORGET(w); /* what the first plane read is not kept for this rare case */
                add_block(acc, sh, w, k, i, a->r + 32 * (size_t)b, a->e + b);
            }
            for (int ahead = 0; ahead < sh.step; ahead += 64)
                _mm_prefetch((const char *)w + AHEAD_ONE + ahead, _MM_HINT_T0);
            const __m256 s = _mm256_broadcast_ss(a->s + b);
            UNROLL for (int h = 0; h < 2; h++)
            {
                const __m256 m =
                    _mm256_mul_ps(floats_of(k->min[i] + 8 * h), _mm256_load_ps(k->m + 8 * h));
                acc[h] = _mm256_fmadd_ps(m, s, acc[h]);
            }
        }
    }
    _mm256_storeu_ps(y, acc[0]);
    _mm256_storeu_ps(y + 8, acc[1]);
}

static __attribute__((noinline)) void one_q4_k(const uint8_t *panel, const struct act *a,
                                               int n_units, struct unit_k *k, float *y)
{
    const struct shape sh = {SOURCE_NIB, PANEL_U4, MIN_32, 0, 256, 0};
    one_k(sh, panel, a, n_units, k, y);
}

void packed_one_q4_k(const uint8_t *panel, const void *x, int n_k, float *y)
{
    const struct act a = act_at(x, n_k);
    struct unit_k k;
    one_q4_k(panel, &a, n_k / 256, &k, y);
}
