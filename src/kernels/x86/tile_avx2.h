/*
 * tile: 16 rows x 1 to 4 columns of a product, expanded where every choice is a constant.
 *
 * A tile reads its weights from one of several sources: bytes of a panel, or packed quants
 * (kernels/pack.h) that become bytes in registers and are never stored. Its sums stay in registers.
 */
#ifndef HEARTH_KERNELS_TILE_AVX2_H
#define HEARTH_KERNELS_TILE_AVX2_H

#include "kernels/x86/columns_avx2.h"
#include "kernels/x86/panel_avx2.h"
#include "kernels/x86/quad_avx2.h"

#define TILE_COLS 4

/* The two halves (rows 0..7, 8..15) of a tile of nc columns. */
#define EACH(i) UNROLL for (int i = 0; i < 2 * nc; i++)

/* What is read through the pointer is read where it is written to be, not kept for later. */
#define FORGET(p) __asm__ volatile("" : "+r"(p))

/* Constant in every tile. */
struct shape {
    enum source source;
    enum panel_kind kind;
    enum min_kind min;
    int offset; /* as in panel_type */
    int step;   /* bytes from a block's quants to the next block's */
    int ahead;  /* bytes from a block's quants to what is prefetched meanwhile; 0: nothing */
};

/* ---- dot products of a block ---- */

ALWAYS bool is_scaled(enum panel_kind kind)
{
    return kind == PANEL_U5S || kind == PANEL_U6S || kind == PANEL_S8S;
}

/* The i-th quad to be read: both nibbles of a byte in turn, but in order where several quads of the
 * same 16 are gathered for their scale. */
ALWAYS int quad_order(enum panel_kind kind, int i)
{
    return kind == PANEL_U5S || kind == PANEL_U6S ? i : i % 2 * 4 + i / 2;
}

/* Widens int16 sums and adds them to the exact ones; t: the quad that they begin with. */
ALWAYS void widen(__m256i dot[2], __m256i sum[2], enum panel_kind kind,
                  const struct panel_scales *s, int t, bool first)
{
    UNROLL for (int h = 0; h < 2; h++)
    {
        const int16_t *by = is_scaled(kind) ? s->scale[t / 4][8 * h] : k_ones;
        __asm__ volatile("vpmaddwd %1, %0, %0" : "+x"(sum[h]) : "m"(*(const __m256i *)by));
        dot[h] = first ? sum[h] : _mm256_add_epi32(dot[h], sum[h]);
        KEEP(dot[h]);
    }
}

/* Quads gathered in int16, `depth` at a time. q: the columns' elements. */
ALWAYS void dot_gathered(__m256i *dot, struct shape sh, int depth, const uint8_t *w,
                         const struct panel_scales *s, const int8_t *const *q, int nc)
{
    struct raw raw, *share = depth == 4 && is_scaled(sh.kind) ? NULL : nc <= 2 ? &raw : NULL;
    UNROLL for (int i0 = 0; i0 < 8; i0 += depth)
    {
        __m256i sum[2 * TILE_COLS];
        UNROLL for (int i = i0; i < i0 + depth; i++)
        {
            const int t = quad_order(sh.kind, i);
            const __m256i w0 = quad_of(sh.source, w, t, 0, share);
            const __m256i w1 = quad_of(sh.source, w, t, 1, share);
            UNROLL for (int c = 0; c < nc; c++)
            {
                if (i == i0)
                    first_quad(&sum[2 * c], w0, w1, q[c] + 4 * t);
                else
                    next_quad(&sum[2 * c], w0, w1, q[c] + 4 * t);
            }
        }
        UNROLL for (int c = 0; c < nc; c++)
            widen(&dot[2 * c], &sum[2 * c], sh.kind, s, i0, i0 == 0);
    }
}

/* Pairs of quads, one column after the other: few sums are live at a time. */
ALWAYS void dot_pairs(__m256i *dot, struct shape sh, const uint8_t *w, const struct panel_scales *s,
                      const int8_t *const *q, int nc)
{
    UNROLL for (int t = 0; t < 8; t += 2)
    {
        const __m256i w0 = quad_of(sh.source, w, t, 0, NULL);
        const __m256i w1 = quad_of(sh.source, w, t, 1, NULL);
        const __m256i v0 = quad_of(sh.source, w, t + 1, 0, NULL);
        const __m256i v1 = quad_of(sh.source, w, t + 1, 1, NULL);
        UNROLL for (int c = 0; c < nc; c++)
        {
            __m256i sum[2];
            first_quad(sum, w0, w1, q[c] + 4 * t);
            next_quad(sum, v0, v1, q[c] + 4 * t + 4);
            widen(&dot[2 * c], sum, sh.kind, s, t, t == 0);
        }
    }
}

/* Each quad is widened at once. */
ALWAYS void dot_signed(__m256i *dot, struct shape sh, const uint8_t *w,
                       const struct panel_scales *s, const int8_t *const *q, int nc)
{
    const uint8_t *mask = w + offsetof(struct panel, sign); /* of bytes */
    __m256i by[2] = {_mm256_set1_epi16(1), _mm256_set1_epi16(1)};
    UNROLL for (int t = 0; t < 8; t++)
    {
        const __m256i w0 = quad_of(sh.source, w, t, 0, NULL);
        const __m256i w1 = quad_of(sh.source, w, t, 1, NULL);
        const bool split = sh.source == SOURCE_BYTES;
        const __m256i v0 = split ? load256(mask + 64 * t) : _mm256_abs_epi8(w0);
        const __m256i v1 = split ? load256(mask + 64 * t + 32) : _mm256_abs_epi8(w1);
        if (is_scaled(sh.kind) && t % 4 == 0) {
            by[0] = load256(s->scale[t / 4][0]);
            by[1] = load256(s->scale[t / 4][8]);
        }
        UNROLL for (int c = 0; c < nc; c++)
        {
            __m256i sum[2];
            if (split)
                masked_quad(sum, w0, w1, v0, v1, q[c] + 4 * t);
            else
                signed_quad(sum, w0, w1, v0, v1, q[c] + 4 * t);
            UNROLL for (int h = 0; h < 2; h++)
            {
                sum[h] = _mm256_madd_epi16(sum[h], by[h]);
                dot[2 * c + h] = t == 0 ? sum[h] : _mm256_add_epi32(dot[2 * c + h], sum[h]);
                KEEP(dot[2 * c + h]);
            }
        }
    }
    if (sh.source == SOURCE_BYTES)
        EACH(i)
    dot[i] = _mm256_add_epi32(dot[i], _mm256_load_si256((const __m256i *)&s->correct[i % 2 * 8]));
}

/* Takes the offset of unsigned weights off the exact sums. h: the sums of the two 16 quants. */
ALWAYS void subtract_offset(__m256i *dot, struct shape sh, const struct panel_scales *s,
                            const uint8_t *h, size_t stride, int nc)
{
    if (sh.offset == 0)
        return;
    UNROLL for (int c = 0; c < nc; c++)
    {
        const __m256i sums = _mm256_set1_epi32(*(const int32_t *)(h + (size_t)c * stride));
        if (is_scaled(sh.kind)) {
            UNROLL for (int i = 0; i < 2; i++)
            {
                const __m256i o = _mm256_load_si256((const __m256i *)s->offset[8 * i]);
                dot[2 * c + i] = _mm256_add_epi32(dot[2 * c + i], _mm256_madd_epi16(sums, o));
            }
        } else {
            const __m256i o = _mm256_madd_epi16(sums, _mm256_set1_epi16((int16_t)-sh.offset));
            dot[2 * c] = _mm256_add_epi32(dot[2 * c], o);
            dot[2 * c + 1] = _mm256_add_epi32(dot[2 * c + 1], o);
        }
    }
}

/* ---- a tile ---- */

ALWAYS __m256 bcast(const uint8_t *p, size_t stride, int c)
{
    return _mm256_broadcast_ss((const float *)(p + (size_t)c * stride));
}

/* The products of a block with one plane of the columns: elements q, scales d, sums h. */
ALWAYS void add_plane(__m256 *acc, struct shape sh, const uint8_t *w, const struct panel_scales *s,
                      const int8_t *const *q, const uint8_t *d, const uint8_t *h, size_t stride,
                      int nc)
{
    __m256i dot[2 * TILE_COLS];
    if (sh.kind == PANEL_U4)
        dot_gathered(dot, sh, 8, w, s, q, nc);
    else if (sh.kind == PANEL_U5 || sh.kind == PANEL_U5S)
        dot_gathered(dot, sh, 4, w, s, q, nc);
    else if (sh.kind == PANEL_U6S)
        dot_pairs(dot, sh, w, s, q, nc);
    else
        dot_signed(dot, sh, w, s, q, nc);
    subtract_offset(dot, sh, s, h, stride, nc);
    const __m256 d0 = _mm256_load_ps(s->d), d1 = _mm256_load_ps(s->d + 8);
    UNROLL for (int c = 0; c < nc; c++)
    {
        const __m256 dx = bcast(d, stride, c);
        acc[2 * c] =
            _mm256_fmadd_ps(_mm256_cvtepi32_ps(dot[2 * c]), _mm256_mul_ps(d0, dx), acc[2 * c]);
        acc[2 * c + 1] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(dot[2 * c + 1]), _mm256_mul_ps(d1, dx),
                                         acc[2 * c + 1]);
    }
}

/* m: 16 minima; x: what they are multiplied with. */
ALWAYS void add_minimum(__m256 *acc, const float *m, const uint8_t *x, size_t stride, int nc)
{
    const __m256 m0 = _mm256_load_ps(m), m1 = _mm256_load_ps(m + 8);
    UNROLL for (int c = 0; c < nc; c++)
    {
        const __m256 v = bcast(x, stride, c);
        acc[2 * c] = _mm256_fmadd_ps(m0, v, acc[2 * c]);
        acc[2 * c + 1] = _mm256_fmadd_ps(m1, v, acc[2 * c + 1]);
    }
}

/* The columns that a sweep over a panel comes to next: their elements are fetched block by block,
 * what else is read of them at once. */
ALWAYS void fetch_next(const uint8_t *d, const uint8_t *sums, const float *y, size_t stride,
                       size_t y_stride, int nc)
{
    UNROLL for (int c = nc; c < 2 * nc; c++)
    {
        _mm_prefetch((const char *)d + (size_t)c * stride, _MM_HINT_T0);
        _mm_prefetch((const char *)d + (size_t)c * stride + 60, _MM_HINT_T0);
        _mm_prefetch((const char *)sums + (size_t)c * stride, _MM_HINT_T0);
        _mm_prefetch((const char *)sums + (size_t)c * stride + 60, _MM_HINT_T0);
        _mm_prefetch((const char *)(y + (size_t)c * y_stride), _MM_HINT_T0);
    }
}

/*
 * y[c][0..15] += blocks [0, n_blocks), whose quants are at w, with nc columns. n_blocks >= 1.
 *
 * A block in which one of the columns has a second plane is passed a second time, with all pointers
 * moved to that plane: a loop of its own would cost registers in every block.
 */
ALWAYS void tile(struct shape sh, int nc, const uint8_t *w, const struct panel_scales *s,
                 int n_blocks, const struct columns *x, bool first, float *y, size_t y_stride)
{
    __m256 acc[2 * TILE_COLS];
    const int8_t *q[TILE_COLS];
    const size_t stride = x->stride, step = sh.min == MIN_16 ? 8 : 4;
    const uint8_t *d = (const uint8_t *)x->d, *h = (const uint8_t *)x->h;
    const uint8_t *sums = (const uint8_t *)(sh.min == MIN_16 ? x->s16 : x->s);
    const struct panel_scales *end = s + n_blocks;
    uint32_t has = x->has;
    bool second = false;
    UNROLL for (int c = 0; c < nc; c++)
    {
        const float *from = y + (size_t)c * y_stride;
        acc[2 * c] = first ? _mm256_setzero_ps() : _mm256_loadu_ps(from);
        acc[2 * c + 1] = first ? _mm256_setzero_ps() : _mm256_loadu_ps(from + 8);
        q[c] = x->q + (size_t)c * stride;
    }
    if (sh.source == SOURCE_BYTES)
        fetch_next(d, sums, y, stride, y_stride, nc);
    for (;;) {
        FORGET(w);
        FORGET(s);
        UNROLL for (int c = 0; c < nc; c++) FORGET(q[c]);
        add_plane(acc, sh, w, s, q, d, h, stride, nc);
        if (__builtin_expect(has & 1, 0)) {
            const ptrdiff_t r_at = second ? -x->r_at : x->r_at, e_at = second ? -x->e_at : x->e_at;
            UNROLL for (int c = 0; c < nc; c++) q[c] += r_at;
            d += e_at;
            h += e_at;
            second = !second;
            if (second)
                continue;
        }
        if (sh.min != MIN_NONE)
            add_minimum(acc, s->m[0], sums, stride, nc);
        if (sh.min == MIN_16)
            add_minimum(acc, s->m[1], sums + 4, stride, nc);
        for (int i = 0; i < sh.ahead && i < sh.step; i += 64)
            _mm_prefetch((const char *)w + sh.ahead + i, _MM_HINT_T0);
        if (sh.source == SOURCE_BYTES)
            UNROLL for (int c = 0; c < nc; c++)
                _mm_prefetch((const char *)q[c] + (size_t)nc * stride, _MM_HINT_T0);
        if (++s == end)
            break;
        w += sh.step;
        d += 4;
        h += 4;
        sums += step;
        has >>= 1;
        UNROLL for (int c = 0; c < nc; c++) q[c] += 32;
    }
    UNROLL for (int c = 0; c < nc; c++)
    {
        _mm256_storeu_ps(y + (size_t)c * y_stride, acc[2 * c]);
        _mm256_storeu_ps(y + (size_t)c * y_stride + 8, acc[2 * c + 1]);
    }
}

#endif
