/*
 * panel_avx2: the tiles: 16 rows x 1 to 3 columns over a panel (panel_avx2.h).
 *
 * The tile functions are expanded for each kind and number of columns with every choice constant;
 * sums stay in registers over all blocks of the panel.
 */
#include "kernels/x86/panel_avx2.h"

#include "kernels/act.h"

#include <immintrin.h>
#include <string.h>

#define ALWAYS static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 8")

/* The two halves (rows 0..7, 8..15) of a tile of nc columns. */
#define EACH(i) UNROLL for (int i = 0; i < 2 * nc; i++)

/* One plane of activations (act.h): q, d, h or r, e, g. Column c at + c * stride. */
struct plane {
    const int8_t *q;
    const float *d;
    const int16_t *h;
    size_t stride;
};

struct columns {
    struct plane first, second;
    const float *s, *s16;
    uint32_t has; /* blocks in which one of the columns has a second plane */
};

ALWAYS const void *column(const void *p, size_t stride, int c)
{
    return (const uint8_t *)p + (size_t)c * stride;
}

/* Four activations of column c in every lane. */
ALWAYS __m256i quad(const struct plane *x, int c, size_t at)
{
    int32_t v;
    memcpy(&v, (const int8_t *)column(x->q, x->stride, c) + at, 4);
    return _mm256_set1_epi32(v);
}

/* The sums of the two 16s of a block of column c in every lane. */
ALWAYS __m256i sums16(const struct plane *x, int c, int b)
{
    int32_t v;
    memcpy(&v, (const int16_t *)column(x->h, x->stride, c) + 2 * b, 4);
    return _mm256_set1_epi32(v);
}

ALWAYS __m256 bcast(const float *p, size_t stride, int c, int at)
{
    return _mm256_set1_ps(((const float *)column(p, stride, c))[at]);
}

/* int16 sums of `depth` quads from quad t0 on; depth * 4 products per lane pair must fit. */
ALWAYS void gather16(__m256i *sum, const uint8_t (*w)[PANEL_ROWS][4], const struct plane *x,
                     size_t k, int t0, int depth, int nc)
{
    UNROLL for (int t = t0; t < t0 + depth; t++)
    {
        const __m256i w0 = _mm256_load_si256((const __m256i *)w[t][0]);
        const __m256i w1 = _mm256_load_si256((const __m256i *)w[t][8]);
        UNROLL for (int c = 0; c < nc; c++)
        {
            const __m256i a = quad(x, c, k + 4 * (size_t)t);
            const __m256i p0 = _mm256_maddubs_epi16(w0, a), p1 = _mm256_maddubs_epi16(w1, a);
            sum[2 * c] = t == t0 ? p0 : _mm256_add_epi16(sum[2 * c], p0);
            sum[2 * c + 1] = t == t0 ? p1 : _mm256_add_epi16(sum[2 * c + 1], p1);
        }
    }
}

ALWAYS void dot_u4(__m256i *dot, const uint8_t (*w)[PANEL_ROWS][4], const struct plane *x, size_t k,
                   int nc)
{
    const __m256i ones = _mm256_set1_epi16(1);
    gather16(dot, w, x, k, 0, 8, nc);
    EACH(i) dot[i] = _mm256_madd_epi16(dot[i], ones);
}

ALWAYS void dot_u5(__m256i *dot, const uint8_t (*w)[PANEL_ROWS][4], const struct plane *x, size_t k,
                   int nc)
{
    const __m256i ones = _mm256_set1_epi16(1);
    __m256i half[2 * PANEL_COLS];
    gather16(dot, w, x, k, 0, 4, nc);
    EACH(i) dot[i] = _mm256_madd_epi16(dot[i], ones);
    gather16(half, w, x, k, 4, 4, nc);
    EACH(i) dot[i] = _mm256_add_epi32(dot[i], _mm256_madd_epi16(half[i], ones));
}

ALWAYS void dot_u6(__m256i *dot, const uint8_t (*w)[PANEL_ROWS][4],
                   const int16_t (*scale)[PANEL_ROWS][2], const struct plane *x, size_t k, int nc)
{
    UNROLL for (int t = 0; t < 8; t += 2)
    {
        __m256i pair[2 * PANEL_COLS];
        gather16(pair, w, x, k, t, 2, nc);
        EACH(i)
        {
            const __m256i s = _mm256_load_si256((const __m256i *)scale[t / 4][i % 2 * 8]);
            pair[i] = _mm256_madd_epi16(pair[i], s);
            dot[i] = t == 0 ? pair[i] : _mm256_add_epi32(dot[i], pair[i]);
        }
    }
}

ALWAYS void dot_s8(__m256i *dot, const uint8_t (*w)[PANEL_ROWS][4],
                   const int16_t (*scale)[PANEL_ROWS][2], const struct plane *x, size_t k, int nc)
{
    const __m256i ones = _mm256_set1_epi16(1);
    UNROLL for (int t = 0; t < 8; t++)
    {
        UNROLL for (int h = 0; h < 2; h++)
        {
            const __m256i v = _mm256_load_si256((const __m256i *)w[t][8 * h]);
            const __m256i abs = _mm256_abs_epi8(v);
            const __m256i s =
                scale ? _mm256_load_si256((const __m256i *)scale[t / 4][8 * h]) : ones;
            UNROLL for (int c = 0; c < nc; c++)
            {
                const __m256i a = _mm256_sign_epi8(quad(x, c, k + 4 * (size_t)t), v);
                const __m256i p = _mm256_madd_epi16(_mm256_maddubs_epi16(abs, a), s);
                dot[2 * c + h] = t == 0 ? p : _mm256_add_epi32(dot[2 * c + h], p);
            }
        }
    }
}

/* Takes the offset of unsigned weights off the exact sums. */
ALWAYS void subtract_offset(__m256i *dot, enum panel_kind kind, const int16_t (*offset)[2],
                            int fixed, const struct plane *x, int b, int nc)
{
    if (kind != PANEL_U6 && fixed == 0)
        return;
    UNROLL for (int c = 0; c < nc; c++)
    {
        const __m256i h = sums16(x, c, b);
        if (kind == PANEL_U6) {
            const __m256i o0 = _mm256_load_si256((const __m256i *)offset[0]);
            const __m256i o1 = _mm256_load_si256((const __m256i *)offset[8]);
            dot[2 * c] = _mm256_add_epi32(dot[2 * c], _mm256_madd_epi16(h, o0));
            dot[2 * c + 1] = _mm256_add_epi32(dot[2 * c + 1], _mm256_madd_epi16(h, o1));
        } else {
            const __m256i o = _mm256_madd_epi16(h, _mm256_set1_epi16((int16_t)-fixed));
            dot[2 * c] = _mm256_add_epi32(dot[2 * c], o);
            dot[2 * c + 1] = _mm256_add_epi32(dot[2 * c + 1], o);
        }
    }
}

/* The minima of 16 or 32 elements (half h). */
ALWAYS void add_minimum(__m256 *acc, enum min_kind min, int h, const float *m,
                        const struct columns *x, int b, int nc)
{
    const __m256 m0 = _mm256_load_ps(m), m1 = _mm256_load_ps(m + 8);
    const size_t stride = x->first.stride;
    UNROLL for (int c = 0; c < nc; c++)
    {
        const __m256 s =
            min == MIN_16 ? bcast(x->s16, stride, c, 2 * b + h) : bcast(x->s, stride, c, b);
        acc[2 * c] = _mm256_fmadd_ps(m0, s, acc[2 * c]);
        acc[2 * c + 1] = _mm256_fmadd_ps(m1, s, acc[2 * c + 1]);
    }
}

/* The products of block b of the panel with one plane of the columns. */
ALWAYS void add_plane(__m256 *acc, enum panel_kind kind, int fixed, const struct panel *p,
                      const struct plane *x, int b, int nc)
{
    __m256i dot[2 * PANEL_COLS];
    const uint8_t(*w)[PANEL_ROWS][4] = &p->q[8 * b];
    const size_t k = 32 * (size_t)b;
    if (kind == PANEL_U4)
        dot_u4(dot, w, x, k, nc);
    else if (kind == PANEL_U5)
        dot_u5(dot, w, x, k, nc);
    else if (kind == PANEL_U6)
        dot_u6(dot, w, p->scale[b], x, k, nc);
    else
        dot_s8(dot, w, kind == PANEL_S8S ? p->scale[b] : NULL, x, k, nc);
    subtract_offset(dot, kind, p->offset[b], fixed, x, b, nc);
    const __m256 d0 = _mm256_load_ps(p->d[b]), d1 = _mm256_load_ps(p->d[b] + 8);
    UNROLL for (int c = 0; c < nc; c++)
    {
        const __m256 d = bcast(x->d, x->stride, c, b);
        acc[2 * c] =
            _mm256_fmadd_ps(_mm256_cvtepi32_ps(dot[2 * c]), _mm256_mul_ps(d0, d), acc[2 * c]);
        acc[2 * c + 1] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(dot[2 * c + 1]), _mm256_mul_ps(d1, d),
                                         acc[2 * c + 1]);
    }
}

ALWAYS void tile(enum panel_kind kind, enum min_kind min, int fixed, int nc, const struct panel *p,
                 int n_blocks, const struct columns *x, bool first, float *y, size_t y_stride)
{
    __m256 acc[2 * PANEL_COLS];
    UNROLL for (int c = 0; c < nc; c++)
    {
        const float *from = y + (size_t)c * y_stride;
        acc[2 * c] = first ? _mm256_setzero_ps() : _mm256_loadu_ps(from);
        acc[2 * c + 1] = first ? _mm256_setzero_ps() : _mm256_loadu_ps(from + 8);
    }
    for (int b = 0; b < n_blocks; b++) {
        add_plane(acc, kind, fixed, p, &x->first, b, nc);
        if (x->has >> b & 1)
            add_plane(acc, kind, fixed, p, &x->second, b, nc);
        if (min != MIN_NONE)
            add_minimum(acc, min, 0, p->m[b][0], x, b, nc);
        if (min == MIN_16)
            add_minimum(acc, min, 1, p->m[b][1], x, b, nc);
    }
    UNROLL for (int c = 0; c < nc; c++)
    {
        _mm256_storeu_ps(y + (size_t)c * y_stride, acc[2 * c]);
        _mm256_storeu_ps(y + (size_t)c * y_stride + 8, acc[2 * c + 1]);
    }
}

typedef void (*tile_fn)(const struct panel *p, int n_blocks, const struct columns *x, bool first,
                        float *y, size_t y_stride);

/* X(name, kind, min, offset) */
#define TILES(X)                                                                                   \
    X(u4_min, PANEL_U4, MIN_32, 0)                                                                 \
    X(u4_off8, PANEL_U4, MIN_NONE, 8)                                                              \
    X(u5_min, PANEL_U5, MIN_32, 0)                                                                 \
    X(u5_off16, PANEL_U5, MIN_NONE, 16)                                                            \
    X(u6, PANEL_U6, MIN_NONE, 0)                                                                   \
    X(s8, PANEL_S8, MIN_NONE, 0)                                                                   \
    X(s8s, PANEL_S8S, MIN_NONE, 0)                                                                 \
    X(s8s_min16, PANEL_S8S, MIN_16, 0)

#define TILE(name, kind, min, offset, nc)                                                          \
    static __attribute__((noinline)) void tile_##name##_##nc(const struct panel *p, int n_blocks,  \
                                                             const struct columns *x, bool first,  \
                                                             float *y, size_t y_stride)            \
    {                                                                                              \
        const struct columns local = *x;                                                           \
        tile(kind, min, offset, nc, p, n_blocks, &local, first, y, y_stride);                      \
    }
#define X(name, kind, min, offset)                                                                 \
    TILE(name, kind, min, offset, 1)                                                               \
    TILE(name, kind, min, offset, 2)                                                               \
    TILE(name, kind, min, offset, 3)
TILES(X)
#undef X

static const struct {
    enum panel_kind kind;
    enum min_kind min;
    int offset;
    tile_fn fn[PANEL_COLS + 1];
} tiles[] = {
#define X(name, kind, min, offset)                                                                 \
    {kind, min, offset, {NULL, tile_##name##_1, tile_##name##_2, tile_##name##_3}},
    TILES(X)
#undef X
};

/* Blocks b0 (a multiple of PANEL_BLOCKS) and on of nc columns. */
static struct columns columns_at(const uint8_t *x, size_t x_stride, int nc, int n_k, int b0)
{
    const struct act a = act_at(x, n_k);
    struct columns cols = {
        .first = {a.q + 32 * b0, a.d + b0, a.h + 2 * b0, x_stride},
        .second = {a.r + 32 * b0, a.e + b0, a.g + 2 * b0, x_stride},
        .s = a.s + b0,
        .s16 = a.s16 + 2 * b0,
    };
    for (int c = 0; c < nc; c++)
        cols.has |= act_at(x + (size_t)c * x_stride, n_k).has[b0 / 32] >> b0 % 32;
    return cols;
}

void panel_mul(const struct panel_type *t, const struct panel *p, int n_blocks, int b0, bool first,
               float *y, size_t y_stride, const void *x, size_t x_stride, int n_cols, int n_k)
{
    size_t i = 0;
    while (tiles[i].kind != t->kind || tiles[i].min != t->min || tiles[i].offset != t->offset)
        i++;
    for (int c = 0; c < n_cols;) {
        int left = n_cols - c;
        int nc = left == 4 ? 2 : left < PANEL_COLS ? left : PANEL_COLS; /* 4 = 2 + 2, not 3 + 1 */
        const struct columns cols =
            columns_at((const uint8_t *)x + (size_t)c * x_stride, x_stride, nc, n_k, b0);
        tiles[i].fn[nc](p, n_blocks, &cols, first, y + (size_t)c * y_stride, y_stride);
        c += nc;
    }
}
