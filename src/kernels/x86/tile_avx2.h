/*
 * tile: 16 rows x 1 to 4 columns of a product, expanded where every choice is a constant.
 *
 * A tile reads its weights from one of several sources: bytes of a panel, or packed quants
 * (kernels/pack.h) that become bytes in registers and are never stored. Its sums stay in registers.
 */
#ifndef HEARTH_KERNELS_TILE_AVX2_H
#define HEARTH_KERNELS_TILE_AVX2_H

#include "kernels/act.h"
#include "kernels/x86/panel_avx2.h"
#include "kernels/x86/quad_avx2.h"

#define TILE_COLS 4

/* The two halves (rows 0..7, 8..15) of a tile of nc columns. */
#define EACH(i) UNROLL for (int i = 0; i < 2 * nc; i++)

/* An exact sum is formed as written. */
#define KEEP(v) __asm__ volatile("" : "+x"(v))

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

/* Blocks of 32 of some columns (act.h). Column c at + c * stride; the arrays of the second plane
 * (r; e and g) at + r_at and + e_at bytes. */
struct columns {
    const int8_t *q;
    const float *d;
    const int16_t *h;
    const float *s, *s16;
    size_t stride, r_at, e_at;
    uint32_t has; /* blocks in which one of the columns has a second plane */
};

/* Blocks b0 (a multiple of 8) and on of nc columns. */
static inline struct columns columns_at(const void *x, size_t stride, int nc, int n_k, int b0)
{
    const struct act a = act_at(x, n_k);
    struct columns cols = {
        .q = a.q + 32 * b0,
        .d = a.d + b0,
        .h = a.h + 2 * b0,
        .s = a.s + b0,
        .s16 = a.s16 + 2 * b0,
        .stride = stride,
        .r_at = (size_t)n_k,
        .e_at = (size_t)n_k / 8,
    };
    for (int c = 0; c < nc; c++)
        cols.has |= act_at((const uint8_t *)x + (size_t)c * stride, n_k).has[b0 / 32] >> b0 % 32;
    return cols;
}

/* How a sweep over n columns is cut: groups of at most `most`, and none of one where it can be
 * helped (5 = 3 + 2, not 4 + 1). */
static inline int tile_cols(int n, int most)
{
    const int n_group = (n + most - 1) / most;
    return (n + n_group - 1) / n_group;
}

/* ---- dot products of a block ---- */

ALWAYS bool is_scaled(enum panel_kind kind)
{
    return kind == PANEL_U5S || kind == PANEL_U6S || kind == PANEL_S8S;
}

/* The i-th quad to be read: both nibbles of a byte in turn; with scales per 16 in order. */
ALWAYS int quad_order(enum panel_kind kind, int i)
{
    return is_scaled(kind) ? i : i % 2 * 4 + i / 2;
}

/* What the int16 sums are multiplied by on their way to int32: rows 8h.. of quad t. */
ALWAYS __m256i widener(enum panel_kind kind, const struct panel_scales *s, int b, int t, int h)
{
    return is_scaled(kind) ? _mm256_load_si256((const __m256i *)s->scale[b][t / 4][8 * h])
                           : _mm256_set1_epi16(1);
}

/* Widens the sums of a column and adds them to its exact ones. */
ALWAYS void widen(__m256i dot[2], __m256i sum[2], enum panel_kind kind,
                  const struct panel_scales *s, int b, int t, bool first)
{
    UNROLL for (int h = 0; h < 2; h++)
    {
        const __m256i v = _mm256_madd_epi16(sum[h], widener(kind, s, b, t, h));
        dot[h] = first ? v : _mm256_add_epi32(dot[h], v);
        KEEP(dot[h]);
    }
}

/* Quads gathered in int16, `depth` at a time. */
ALWAYS void dot_gathered(__m256i *dot, struct shape sh, int depth, const uint8_t *w,
                         const struct panel_scales *s, int b, const int8_t *const *q, int nc)
{
    UNROLL for (int i0 = 0; i0 < 8; i0 += depth)
    {
        __m256i sum[2 * TILE_COLS];
        UNROLL for (int i = i0; i < i0 + depth; i++)
        {
            const int t = quad_order(sh.kind, i);
            const __m256i w0 = quad_of(sh.source, w, t, 0), w1 = quad_of(sh.source, w, t, 1);
            UNROLL for (int c = 0; c < nc; c++)
            {
                const int8_t *a = q[c] + 4 * t;
                if (i == i0)
                    first_quad(&sum[2 * c], w0, w1, a);
                else
                    next_quad(&sum[2 * c], w0, w1, a);
            }
        }
        UNROLL for (int c = 0; c < nc; c++)
            widen(&dot[2 * c], &sum[2 * c], sh.kind, s, b, i0, i0 == 0);
    }
}

/* Pairs of quads, one column after the other: few sums are live at a time. */
ALWAYS void dot_pairs(__m256i *dot, struct shape sh, const uint8_t *w, const struct panel_scales *s,
                      int b, const int8_t *const *q, int nc)
{
    UNROLL for (int t = 0; t < 8; t += 2)
    {
        const __m256i w0 = quad_of(sh.source, w, t, 0), w1 = quad_of(sh.source, w, t, 1);
        const __m256i v0 = quad_of(sh.source, w, t + 1, 0), v1 = quad_of(sh.source, w, t + 1, 1);
        UNROLL for (int c = 0; c < nc; c++)
        {
            __m256i sum[2];
            const int8_t *a = q[c] + 4 * t;
            first_quad(sum, w0, w1, a);
            next_quad(sum, v0, v1, a + 4);
            widen(&dot[2 * c], sum, sh.kind, s, b, t, t == 0);
        }
    }
}

ALWAYS void dot_signed(__m256i *dot, struct shape sh, const uint8_t *w, const uint8_t *mask,
                       const struct panel_scales *s, int b, const int8_t *const *q, int nc)
{
    UNROLL for (int i = 0; i < 8; i++)
    {
        const int t = quad_order(sh.kind, i);
        const __m256i w0 = quad_of(sh.source, w, t, 0), w1 = quad_of(sh.source, w, t, 1);
        UNROLL for (int c = 0; c < nc; c++)
        {
            __m256i sum[2];
            const int8_t *a = q[c] + 4 * t;
            if (sh.source == SOURCE_BYTES)
                masked_quad(sum, w0, w1, mask + 64 * t, a);
            else
                signed_quad(sum, w0, w1, _mm256_abs_epi8(w0), _mm256_abs_epi8(w1), a);
            widen(&dot[2 * c], sum, sh.kind, s, b, t, i == 0);
        }
    }
    if (sh.source == SOURCE_BYTES)
        EACH(i)
    dot[i] =
        _mm256_add_epi32(dot[i], _mm256_load_si256((const __m256i *)&s->correct[b][i % 2 * 8]));
}

/* Takes the offset of unsigned weights off the exact sums. h: the sums of the two 16 quants. */
ALWAYS void subtract_offset(__m256i *dot, struct shape sh, const struct panel_scales *s, int b,
                            const int16_t *h, size_t stride, int nc)
{
    if (sh.offset == 0)
        return;
    UNROLL for (int c = 0; c < nc; c++)
    {
        const __m256i sums =
            _mm256_set1_epi32(*(const int32_t *)((const uint8_t *)h + (size_t)c * stride));
        if (is_scaled(sh.kind)) {
            UNROLL for (int i = 0; i < 2; i++)
            {
                const __m256i o = _mm256_load_si256((const __m256i *)s->offset[b][8 * i]);
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

ALWAYS __m256 bcast(const float *p, size_t stride, int c)
{
    return _mm256_broadcast_ss((const float *)((const uint8_t *)p + (size_t)c * stride));
}

/* The products of block b with one plane of the columns. */
ALWAYS void add_plane(__m256 *acc, struct shape sh, const uint8_t *w, const uint8_t *mask,
                      const struct panel_scales *s, int b, const int8_t *q, const float *d,
                      const int16_t *h, size_t stride, int nc)
{
    __m256i dot[2 * TILE_COLS];
    const int8_t *a[TILE_COLS];
    FORGET(w);
    FORGET(s);
    UNROLL for (int c = 0; c < nc; c++)
    {
        a[c] = q + (size_t)c * stride;
        FORGET(a[c]);
    }
    if (sh.kind == PANEL_U4)
        dot_gathered(dot, sh, 8, w, s, b, a, nc);
    else if (sh.kind == PANEL_U5 || sh.kind == PANEL_U5S)
        dot_gathered(dot, sh, 4, w, s, b, a, nc);
    else if (sh.kind == PANEL_U6S)
        dot_pairs(dot, sh, w, s, b, a, nc);
    else
        dot_signed(dot, sh, w, mask, s, b, a, nc);
    subtract_offset(dot, sh, s, b, h, stride, nc);
    const __m256 d0 = _mm256_load_ps(s->d[b]), d1 = _mm256_load_ps(s->d[b] + 8);
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
ALWAYS void add_minimum(__m256 *acc, const float *m, const float *x, size_t stride, int nc)
{
    const __m256 m0 = _mm256_load_ps(m), m1 = _mm256_load_ps(m + 8);
    UNROLL for (int c = 0; c < nc; c++)
    {
        const __m256 v = bcast(x, stride, c);
        acc[2 * c] = _mm256_fmadd_ps(m0, v, acc[2 * c]);
        acc[2 * c + 1] = _mm256_fmadd_ps(m1, v, acc[2 * c + 1]);
    }
}

/* y[c][0..15] += blocks [0, n_blocks), whose quants are at w, with nc columns; mask: of S8 bytes.
 */
ALWAYS void tile(struct shape sh, int nc, const uint8_t *w, const uint8_t *mask,
                 const struct panel_scales *s, int n_blocks, const struct columns *cols, bool first,
                 float *y, size_t y_stride)
{
    const struct columns x = *cols;
    __m256 acc[2 * TILE_COLS];
    UNROLL for (int c = 0; c < nc; c++)
    {
        const float *from = y + (size_t)c * y_stride;
        acc[2 * c] = first ? _mm256_setzero_ps() : _mm256_loadu_ps(from);
        acc[2 * c + 1] = first ? _mm256_setzero_ps() : _mm256_loadu_ps(from + 8);
    }
    for (int b = 0; b < n_blocks; b++, w += sh.step, mask += sh.step) {
        const int8_t *q = x.q + 32 * b;
        const float *d = x.d + b;
        const int16_t *h = x.h + 2 * b;
        for (int i = 0; i < sh.ahead && i < sh.step; i += 64)
            _mm_prefetch((const char *)w + sh.ahead + i, _MM_HINT_T0);
        for (uint32_t more = x.has >> b & 1;; more = 0) {
            add_plane(acc, sh, w, mask, s, b, q, d, h, x.stride, nc);
            if (__builtin_expect(!more, 1))
                break;
            q += x.r_at;
            d = (const float *)((const uint8_t *)d + x.e_at);
            h = (const int16_t *)((const uint8_t *)h + x.e_at);
        }
        if (sh.min == MIN_32)
            add_minimum(acc, s->m[b][0], x.s + b, x.stride, nc);
        if (sh.min == MIN_16) {
            add_minimum(acc, s->m[b][0], x.s16 + 2 * b, x.stride, nc);
            add_minimum(acc, s->m[b][1], x.s16 + 2 * b + 1, x.stride, nc);
        }
    }
    UNROLL for (int c = 0; c < nc; c++)
    {
        _mm256_storeu_ps(y + (size_t)c * y_stride, acc[2 * c]);
        _mm256_storeu_ps(y + (size_t)c * y_stride + 8, acc[2 * c + 1]);
    }
}

#endif
