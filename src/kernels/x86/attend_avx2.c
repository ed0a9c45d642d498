/*
 * attend_avx2: attention with an online softmax over tiles of 32 positions.
 *
 * Keys and values of a tile are converted to f32 once and used by all query rows, three rows at a
 * time where all three see the whole tile. A row's result depends only on its own range: tiles
 * begin at multiples of 32; within a tile scores are sums of 8 lanes, positions are taken in
 * ascending order, and a tile that a row sees in part is done for that row alone over exactly its
 * positions, with the same operations. Rows and what stands beside them never mix.
 */
#include "kernels/x86/avx2.h"
#include "kernels/x86/math_avx2.h"

#include <math.h>
#include <string.h>

#define ALWAYS static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 8")

#define TILE 32  /* positions */
#define ROWS 128 /* query rows that share a pass over the keys */
#define WIDE 3   /* query rows in registers */

/* What is carried per query row from tile to tile; the weighted sum of values is in `out`. */
struct row {
    float max;
    float sum[8];
};

struct pass {
    const struct attend_args *a;
    float *k, *v; /* f32 [TILE][pad8(head_dim)], [TILE][pad8(head_dim_v)] */
    int k_stride, v_stride;
    struct row *row; /* [ROWS] */
    int i_row0;      /* the query row of row[0] */
};

static int pad8(int n)
{
    return (n + 7) / 8 * 8;
}

/* f16 [n] to f32 [pad8(n)], zeros after the end. */
static void convert(float *to, const uint16_t *from, int n)
{
    int i = 0;
    for (; i + 8 <= n; i += 8)
        _mm256_store_ps(to + i, _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(from + i))));
    if (i < n) {
        uint16_t tmp[8] = {0};
        memcpy(tmp, from + i, (size_t)(n - i) * 2);
        _mm256_store_ps(to + i, _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)tmp)));
    }
}

static void load_tile(const struct pass *p, int p0, int from, int to)
{
    const struct attend_args *a = p->a;
    for (int pos = from; pos < to; pos++) {
        const size_t at = (size_t)(pos % a->block_len) * a->stride;
        convert(p->k + (pos - p0) * p->k_stride, a->k_block[pos / a->block_len] + at, a->head_dim);
        convert(p->v + (pos - p0) * p->v_stride, a->v_block[pos / a->block_len] + at,
                a->head_dim_v);
    }
}

ALWAYS __m256i tail_mask(int n)
{
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

/* Sums of the lanes of four vectors. */
ALWAYS __m128 sum4(const __m256 v[4])
{
    const __m256 t = _mm256_hadd_ps(_mm256_hadd_ps(v[0], v[1]), _mm256_hadd_ps(v[2], v[3]));
    return _mm_add_ps(_mm256_castps256_ps128(t), _mm256_extractf128_ps(t, 1));
}

/* Products of nr query rows with keys [j0, j1) of the tile, in fours, into s[nr][TILE]. */
ALWAYS void scores(const struct pass *p, const float *const *q, int nr, int j0, int j1,
                   float (*s)[TILE])
{
    const int n = p->a->head_dim, whole = n / 8 * 8;
    const __m256i mask = tail_mask(n - whole);
    for (int j = j0; j < j1; j += 4) {
        const float *k = p->k + j * p->k_stride;
        __m256 acc[WIDE][4];
        UNROLL for (int r = 0; r < nr; r++) UNROLL for (int i = 0; i < 4; i++) acc[r][i] =
            _mm256_setzero_ps();
        for (int d = 0; d < whole; d += 8) {
            __m256 kv[4];
            UNROLL for (int i = 0; i < 4; i++) kv[i] = _mm256_load_ps(k + i * p->k_stride + d);
            UNROLL for (int r = 0; r < nr; r++)
            {
                const __m256 qv = _mm256_loadu_ps(q[r] + d);
                UNROLL for (int i = 0; i < 4; i++) acc[r][i] =
                    _mm256_fmadd_ps(qv, kv[i], acc[r][i]);
            }
        }
        if (whole < n) {
            UNROLL for (int r = 0; r < nr; r++)
            {
                const __m256 qv = _mm256_maskload_ps(q[r] + whole, mask);
                UNROLL for (int i = 0; i < 4; i++) acc[r][i] =
                    _mm256_fmadd_ps(qv, _mm256_load_ps(k + i * p->k_stride + whole), acc[r][i]);
            }
        }
        UNROLL for (int r = 0; r < nr; r++) _mm_store_ps(s[r] + j, sum4(acc[r]));
    }
}

ALWAYS float max8(__m256 v)
{
    __m128 a = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    a = _mm_max_ps(a, _mm_movehl_ps(a, a));
    return _mm_cvtss_f32(_mm_max_ss(a, _mm_movehdup_ps(a)));
}

/* Scores to weights of positions [j0, j1), zero elsewhere; updates the row and returns the factor
 * for what it has summed so far. */
static float soften(const struct attend_args *a, struct row *row, float s[TILE], int j0, int j1)
{
    const __m256 minus_inf = _mm256_set1_ps(-INFINITY);
    const __m256 scale = _mm256_set1_ps(a->scale);
    __m256 v[TILE / 8], inside[TILE / 8], most = _mm256_set1_ps(row->max);
    for (int i = 0; i < TILE / 8; i++) {
        const __m256i j =
            _mm256_add_epi32(_mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7), _mm256_set1_epi32(8 * i));
        const __m256i below = _mm256_cmpgt_epi32(_mm256_set1_epi32(j0), j);
        const __m256i before_end = _mm256_cmpgt_epi32(_mm256_set1_epi32(j1), j);
        inside[i] = _mm256_castsi256_ps(_mm256_andnot_si256(below, before_end));
        v[i] = _mm256_mul_ps(_mm256_load_ps(s + 8 * i), scale);
        if (a->cap > 0) {
            const __m256 cap = _mm256_set1_ps(a->cap);
            v[i] = _mm256_mul_ps(cap, tanh_avx2(_mm256_div_ps(v[i], cap)));
        }
        v[i] = _mm256_blendv_ps(minus_inf, v[i], inside[i]);
        most = _mm256_max_ps(most, v[i]);
    }
    const float max = max8(most);
    const __m256 factor = exp_avx2(_mm256_set1_ps(row->max - max));
    __m256 sum = _mm256_mul_ps(_mm256_loadu_ps(row->sum), factor);
    for (int i = 0; i < TILE / 8; i++) {
        v[i] = exp_avx2(_mm256_sub_ps(v[i], _mm256_set1_ps(max)));
        v[i] = _mm256_and_ps(v[i], inside[i]);
        _mm256_store_ps(s + 8 * i, v[i]);
        sum = _mm256_add_ps(sum, v[i]);
    }
    _mm256_storeu_ps(row->sum, sum);
    row->max = max;
    return _mm256_cvtss_f32(factor);
}

/* out = out * factor + weights x values of positions [j0, j1): nv vectors of 8, of values d on. */
ALWAYS void add_values(const struct pass *p, float *const *out, const float *factor, int nr, int nv,
                       int d, int j0, int j1, const float (*s)[TILE])
{
    __m256 acc[WIDE][4];
    UNROLL for (int r = 0; r < nr; r++) UNROLL for (int i = 0; i < nv; i++) acc[r][i] =
        _mm256_mul_ps(_mm256_loadu_ps(out[r] + 8 * i), _mm256_set1_ps(factor[r]));
    for (int j = j0; j < j1; j++) {
        const float *v = p->v + j * p->v_stride + d;
        __m256 vv[4];
        UNROLL for (int i = 0; i < nv; i++) vv[i] = _mm256_load_ps(v + 8 * i);
        UNROLL for (int r = 0; r < nr; r++)
        {
            const __m256 w = _mm256_set1_ps(s[r][j]);
            UNROLL for (int i = 0; i < nv; i++) acc[r][i] = _mm256_fmadd_ps(w, vv[i], acc[r][i]);
        }
    }
    UNROLL for (int r = 0; r < nr; r++) UNROLL for (int i = 0; i < nv; i++)
        _mm256_storeu_ps(out[r] + 8 * i, acc[r][i]);
}

/* The last head_dim_v mod 8 values of one row, through a whole vector. */
static void add_values_tail(const struct pass *p, float *out, float factor, int d, int j0, int j1,
                            const float *s)
{
    const size_t bytes = (size_t)(p->a->head_dim_v - d) * 4;
    float whole[8] = {0}, *to = whole;
    memcpy(whole, out, bytes);
    add_values(p, &to, &factor, 1, 1, d, j0, j1, (const float(*)[TILE])s);
    memcpy(out, whole, bytes);
}

/* One tile for nr rows that all see positions [j0, j1) of it. */
ALWAYS void do_rows(const struct pass *p, const int *index, int nr, int j0, int j1)
{
    const struct attend_args *a = p->a;
    _Alignas(32) float s[WIDE][TILE];
    const float *q[WIDE];
    float *out[WIDE], factor[WIDE];
    for (int r = 0; r < nr; r++) {
        q[r] = a->q + a->q_at[p->i_row0 + index[r]];
        out[r] = a->out + a->out_at[p->i_row0 + index[r]];
    }
    scores(p, q, nr, j0 & ~3, j1, s);
    for (int r = 0; r < nr; r++)
        factor[r] = soften(a, &p->row[index[r]], s[r], j0, j1);
    int d = 0;
    for (; d + 32 <= a->head_dim_v; d += 32) {
        add_values(p, out, factor, nr, 4, d, j0, j1, (const float(*)[TILE])s);
        for (int r = 0; r < nr; r++)
            out[r] += 32;
    }
    for (; d + 8 <= a->head_dim_v; d += 8) {
        add_values(p, out, factor, nr, 1, d, j0, j1, (const float(*)[TILE])s);
        for (int r = 0; r < nr; r++)
            out[r] += 8;
    }
    if (d < a->head_dim_v)
        for (int r = 0; r < nr; r++)
            add_values_tail(p, out[r], factor[r], d, j0, j1, s[r]);
}

static __attribute__((noinline)) void do_one(const struct pass *p, int index, int j0, int j1)
{
    do_rows(p, &index, 1, j0, j1);
}

static __attribute__((noinline)) void do_wide(const struct pass *p, const int *index)
{
    do_rows(p, index, WIDE, 0, TILE);
}

static void do_tile(const struct pass *p, int p0, int n_rows)
{
    const int *from = p->a->from + p->i_row0, *to = p->a->to + p->i_row0;
    int whole[WIDE], n_whole = 0;
    for (int i = 0; i < n_rows; i++) {
        const int j0 = from[i] > p0 ? from[i] - p0 : 0;
        const int j1 = to[i] < p0 + TILE ? to[i] - p0 : TILE;
        if (j0 >= j1)
            continue;
        if (j0 > 0 || j1 < TILE) {
            do_one(p, i, j0, j1);
            continue;
        }
        whole[n_whole++] = i;
        if (n_whole == WIDE) {
            do_wide(p, whole);
            n_whole = 0;
        }
    }
    for (int i = 0; i < n_whole; i++)
        do_one(p, whole[i], 0, TILE);
}

/* The positions of tile p0 that at least one row sees: [*ret_from, *ret_to). */
static bool tile_range(const struct pass *p, int p0, int n_rows, int *ret_from, int *ret_to)
{
    int from = p0 + TILE, to = p0;
    for (int i = 0; i < n_rows; i++) {
        const int f = p->a->from[p->i_row0 + i], t = p->a->to[p->i_row0 + i];
        if (f >= p0 + TILE || t <= p0)
            continue;
        from = f < from ? f : from;
        to = t > to ? t : to;
    }
    *ret_from = from > p0 ? from : p0;
    *ret_to = to < p0 + TILE ? to : p0 + TILE;
    return *ret_from < *ret_to;
}

static void run_pass(const struct pass *p, int n_rows)
{
    const struct attend_args *a = p->a;
    int first = a->from[p->i_row0], last = a->to[p->i_row0];
    for (int i = 0; i < n_rows; i++) {
        const int row = p->i_row0 + i;
        first = a->from[row] < first ? a->from[row] : first;
        last = a->to[row] > last ? a->to[row] : last;
        p->row[i] = (struct row){.max = -INFINITY};
        memset(a->out + a->out_at[row], 0, (size_t)a->head_dim_v * 4);
    }
    for (int p0 = first / TILE * TILE; p0 < last; p0 += TILE) {
        int from, to;
        if (!tile_range(p, p0, n_rows, &from, &to))
            continue;
        load_tile(p, p0, from, to);
        do_tile(p, p0, n_rows);
    }
    for (int i = 0; i < n_rows; i++) {
        float *out = a->out + a->out_at[p->i_row0 + i];
        const float *s = p->row[i].sum;
        const float inverse =
            1.0f / (((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7])));
        for (int d = 0; d < a->head_dim_v; d++)
            out[d] *= inverse;
    }
}

void k_attend_avx2(const struct attend_args *a)
{
    struct row row[ROWS];
    struct pass p = {.a = a, .row = row};
    p.k_stride = pad8(a->head_dim);
    p.v_stride = pad8(a->head_dim_v);
    p.k = a->scratch;
    p.v = a->scratch + TILE * p.k_stride;
    for (; p.i_row0 < a->n_q; p.i_row0 += ROWS)
        run_pass(&p, a->n_q - p.i_row0 < ROWS ? a->n_q - p.i_row0 : ROWS);
}
