/*
 * attend_vec: attention in terms of vectors of 16 floats, compiled once for every level.
 *
 * V16_HEADER names the header with the level's v16 and its operations, K_ATTEND and K_ATTEND_JOIN
 * what the level calls the two functions (kernels.h has their contracts). A level with products of
 * bytes also names K_QUANTIZE, its quantize_a8, and V16_HEADER brings quad_rows. Levels that define
 * the operations with the same roundings give the same bits.
 *
 * Both products have the form c[row][lane] += sum over i of a[row][i] * b[i][lane], one chain of
 * fused multiply-adds per element, i ascending: scores have lanes = positions, i = dims; outputs
 * have lanes = dims, i = positions. So an element does not depend on the rows beside it nor on the
 * shape of a tile. Stored numbers become floats in registers, once for the rows of a tile. Scales
 * of q8_0: a score is the sum over groups of 32 dims, each times its position's scale; in outputs
 * the weight of a position is multiplied by its scale first.
 *
 * A piece of ATTEND_SPLIT positions: scores of all rows, softmax of each row, weighted values. No
 * work is masked but in the vectors at the ends of a row's range; positions that only some rows of
 * a tile see are added row by row.
 */
#include "kernels/attend_quads.h"
#include "kernels/kernels.h"
#include V16_HEADER

#include <math.h>
#include <string.h>

#define UNROLL     _Pragma("GCC unroll 12")
#define S_STRIDE   (ATTEND_SPLIT + 16) /* not a multiple of a page: rows fall into several sets */
#define N_BLOCK_OF (ATTEND_SPLIT / KV_BLOCK_LEN)
#define Q_STRIDE   ATTEND_Q_STRIDE

/* Up to ATTEND_ROWS rows and what is carried for them. */
struct pass {
    const struct attend_args *a;
    int row0, n; /* rows [row0, row0 + n) of the call */
    int piece;
    int last;     /* no row sees more positions */
    float *q;     /* [head_dim][Q_STRIDE], the rows side by side */
    float *s;     /* [n][S_STRIDE] scores, then weights of the piece */
    float *mine;  /* [n][len] partial results of the piece */
    float *whole; /* [n][len] of the pieces so far */
    float *w;     /* q8_0: [groups of dims][tile rows][KV_BLOCK_LEN] weights times scales */
    struct attend_quads quads; /* q quantized, where the level has products of bytes */
    size_t len;
    int dim_v;           /* head_dim_v, padded to 16 */
    int j0[ATTEND_ROWS]; /* what a row sees of the piece: [j0, j1), counted from its start */
    int j1[ATTEND_ROWS];
    bool seen[ATTEND_ROWS]; /* whether `whole` holds something */
};

/* c[r][l] for nr rows and lanes [lane0, lane1), multiples of 16; i in [i0, i1). */
struct tile {
    float *c;
    const float *a;
    const void *b;         /* f16, int8 or halves of bytes (attend.h) [i][b_stride] */
    const uint16_t *scale; /* [lanes] of a scaled product: c += scale * sum; else c += sum */
    size_t c_stride, b_stride;
    size_t a_group; /* from the a of 32 lanes to those of the next 32; 0: the same for all */
    int lane0, lane1, i0, i1;
    const uint8_t *ahead; /* what is read later: fetched into the second-level cache meanwhile, */
    size_t ahead_step;    /* so many bytes for every i of every vector of lanes */
};

/* The product at hand; constants wherever it is asked for. */
enum form { SCORES_F16, SCORES_Q8_0, SCORES_Q4_0, VALUES_F16, VALUES_Q8_0, VALUES_Q4_0 };

/* Where a[r][i] stands: rows lie at constant distances, so that their addresses take no registers.
 */
ALWAYS size_t a_at(enum form form, int r, int i)
{
    if (form == VALUES_F16)
        return (size_t)r * S_STRIDE + (size_t)i;
    if (form == VALUES_Q8_0 || form == VALUES_Q4_0)
        return (size_t)r * KV_BLOCK_LEN + (size_t)i;
    return (size_t)i * Q_STRIDE + (size_t)r;
}

ALWAYS v16 load_b(enum form form, const struct tile *t, int i, int lane)
{
    const size_t at = (size_t)i * t->b_stride + (size_t)lane;
    if (form == SCORES_F16 || form == VALUES_F16)
        return v16_load_f16((const uint16_t *)t->b + at);
    if (form == SCORES_Q4_0)
        return v16_load_u4((const uint8_t *)t->b + (size_t)(i / 2) * t->b_stride + lane, i % 2);
    if (form == VALUES_Q4_0)
        return v16_load_u4x2((const uint8_t *)t->b + at / 2);
    return v16_load_i8((const int8_t *)t->b + at);
}

/* nr rows, nv vectors of lanes from `lane` on. */
ALWAYS void do_tile(enum form form, int nr, int nv, const struct tile *t, int lane,
                    const uint8_t *ahead)
{
    const bool scaled = form == SCORES_Q8_0 || form == SCORES_Q4_0;
    const bool adds = form == VALUES_F16 || form == VALUES_Q8_0 || form == VALUES_Q4_0;
    v16 acc[ATTEND_TILE_ROWS][2];
    float *c = t->c + lane;
    const size_t c_stride = t->c_stride; /* stores of vectors might change *t, for all GCC knows */
    const float *a = t->a + (size_t)(lane / 32) * t->a_group + a_at(form, 0, t->i0);
    UNROLL for (int r = 0; r < nr; r++) UNROLL for (int v = 0; v < nv; v++) acc[r][v] =
        adds ? v16_load(c + (size_t)r * c_stride + 16 * v) : v16_zero();
    const size_t step = t->ahead_step * (size_t)nv;
    for (int i = t->i0; i < t->i1; i++, ahead += step, a += a_at(form, 0, 1)) {
        v16 b[2];
        __builtin_prefetch(ahead, 0, 2);
        UNROLL for (int v = 0; v < nv; v++) b[v] = load_b(form, t, i, lane + 16 * v);
        UNROLL for (int r = 0; r < nr; r++)
        {
            const v16 x = v16_set1(a[a_at(form, r, 0)]);
            UNROLL for (int v = 0; v < nv; v++) acc[r][v] = v16_fma(x, b[v], acc[r][v]);
        }
    }
    UNROLL for (int v = 0; v < nv; v++)
    {
        const v16 d = scaled ? v16_load_f16(t->scale + lane + 16 * v) : v16_zero();
        UNROLL for (int r = 0; r < nr; r++)
        {
            float *to = c + (size_t)r * c_stride + 16 * v;
            v16_store(to, scaled ? v16_fma(acc[r][v], d, v16_load(to)) : acc[r][v]);
        }
    }
}

ALWAYS void do_lanes(enum form form, int nr, const struct tile *t)
{
    int lane = t->lane0;
    const uint8_t *ahead = t->ahead;
    const size_t n = (size_t)(t->i1 - t->i0);
    if (nr <= WIDE_ROWS) {
        /* In pairs that begin at multiples of 32: one scale group. */
        if (lane % 32 != 0 && lane < t->lane1) {
            do_tile(form, nr, 1, t, lane, ahead);
            lane += 16;
        }
        for (; lane + 32 <= t->lane1; lane += 32, ahead += n * 2 * t->ahead_step) {
            do_tile(form, nr, 2, t, lane, ahead);
        }
    }
    for (; lane < t->lane1; lane += 16, ahead += n * t->ahead_step) {
        do_tile(form, nr, 1, t, lane, ahead);
    }
}

#define ROWS_CASE(n)                                                                               \
    case n:                                                                                        \
        do_lanes(form, n, t);                                                                      \
        break

/* Each number of rows has code of its own. */
ALWAYS void do_rows(enum form form, int nr, const struct tile *t)
{
    switch (nr) {
        ROWS_CASE(1);
        ROWS_CASE(2);
        ROWS_CASE(3);
        ROWS_CASE(4);
        ROWS_CASE(5);
        ROWS_CASE(6);
#if TILE_ROWS > 6
        ROWS_CASE(7);
        ROWS_CASE(8);
        ROWS_CASE(9);
        ROWS_CASE(10);
        ROWS_CASE(11);
        ROWS_CASE(12);
#endif
    default:
        __builtin_unreachable();
    }
}

#define ROWS_FORM(name, form)                                                                      \
    static __attribute__((noinline)) void name(int nr, const struct tile *t)                       \
    {                                                                                              \
        do_rows(form, nr, t);                                                                      \
    }

ROWS_FORM(scores_f16, SCORES_F16)
ROWS_FORM(scores_q8_0, SCORES_Q8_0)
ROWS_FORM(scores_q4_0, SCORES_Q4_0)
ROWS_FORM(values_f16, VALUES_F16)
ROWS_FORM(values_q8_0, VALUES_Q8_0)
ROWS_FORM(values_q4_0, VALUES_Q4_0)

ALWAYS int min_i(int a, int b)
{
    return a < b ? a : b;
}

ALWAYS int max_i(int a, int b)
{
    return a > b ? a : b;
}

/* Block i of a piece. */
static const uint8_t *keys_at(const struct pass *p, int piece, int i)
{
    return p->a->kv + p->a->block[piece * N_BLOCK_OF + i] * p->a->block_bytes;
}

static size_t head_bytes(const struct attend_args *a)
{
    return kv_key_bytes(a->type, a->head_dim) + kv_value_bytes(a->type, a->head_dim_v);
}

/*
 * Blocks lie far apart in memory, where the processor does not foresee them. While the values of a
 * piece are added so many bytes of each block of the next piece are fetched, the keys first; the
 * rest during its scores. The shares are about those of the time: quads make scores fast.
 */
static size_t fetched_before(const struct attend_args *a)
{
    const size_t keys = kv_key_bytes(a->type, a->head_dim);
    return a->type == KV_Q8_0_QUADS ? keys + kv_value_bytes(a->type, a->head_dim_v) / 512 * 320
                                    : keys;
}

/* The positions of block i that row r sees, counted from the block's start: [*from, *to). */
ALWAYS void seen_of(const struct pass *p, int r, int i, int *from, int *to)
{
    *from = max_i(p->j0[r] - i * KV_BLOCK_LEN, 0);
    *to = min_i(p->j1[r] - i * KV_BLOCK_LEN, KV_BLOCK_LEN);
}

/* Of a block of q8_0 or q4_0. */
static const uint16_t *key_scales(const struct pass *p, const uint8_t *k)
{
    const size_t quads = ((size_t)p->a->head_dim + 3) / 4;
    const size_t quad_bytes = p->a->type == KV_Q4_0 ? 2 : 4;
    return (const uint16_t *)(const void *)(k + quads * quad_bytes * KV_BLOCK_LEN);
}

#ifdef K_QUANTIZE
static void score_quads(const struct pass *p, int i, int r0, int nr)
{
    const uint8_t *k = keys_at(p, p->piece, i);
    struct quad_tile t = {
        .c = p->s + (size_t)r0 * S_STRIDE + i * KV_BLOCK_LEN,
        .c_stride = S_STRIDE,
        .q = attend_quads_row(&p->quads, r0),
        .n_dim = p->a->head_dim,
        .k = k,
        .scale = key_scales(p, k),
        .ahead = k + fetched_before(p->a),
    };
    if (r0 == 0)
        t.ahead_step = (head_bytes(p->a) - fetched_before(p->a)) * 4 / (size_t)t.n_dim;
    for (int n; nr > 0; nr -= n) {
        const int n_call = (nr + QUAD_ROWS - 1) / QUAD_ROWS; /* as equal as can be */
        n = (nr + n_call - 1) / n_call;
        quad_rows(&t, n);
        t.c += (size_t)n * S_STRIDE;
        t.q = attend_quads_row(&t.q, n);
        t.ahead_step = 0;
    }
}
#endif

/* The scores of rows [r0, r0 + nr) with block i of the piece. */
static void score_block(const struct pass *p, int i, int r0, int nr)
{
    const int dim = p->a->head_dim;
    int least = KV_BLOCK_LEN, most = 0;
    for (int r = r0; r < r0 + nr; r++) {
        int from, to;
        seen_of(p, r, i, &from, &to);
        if (from >= to)
            continue;
        least = min_i(least, from);
        most = max_i(most, to);
    }
    if (least >= most)
        return;
#ifdef K_QUANTIZE
    if (p->a->type == KV_Q8_0_QUADS) {
        score_quads(p, i, r0, nr);
        return;
    }
#endif
    const uint8_t *k = keys_at(p, p->piece, i);
    struct tile t = {
        .c = p->s + (size_t)r0 * S_STRIDE + i * KV_BLOCK_LEN,
        .a = p->q + r0,
        .b = k,
        .c_stride = S_STRIDE,
        .b_stride = KV_BLOCK_LEN,
        .lane0 = least / 16 * 16,
        .lane1 = (most + 15) / 16 * 16,
        .i1 = dim,
    };
    const size_t n_ahead = r0 == 0 ? head_bytes(p->a) - fetched_before(p->a) : 0;
    t.ahead = k + fetched_before(p->a);
    if (p->a->type == KV_F16) {
        t.ahead_step = n_ahead / 2 / (size_t)dim;
        scores_f16(nr, &t);
        return;
    }
    for (int r = 0; r < nr; r++)
        for (int lane = t.lane0; lane < t.lane1; lane += 16)
            v16_store(t.c + (size_t)r * S_STRIDE + lane, v16_zero());
    t.ahead_step = n_ahead / 2 / (size_t)dim;
    t.scale = key_scales(p, k);
    for (t.i0 = 0; t.i0 < dim; t.i0 += 32, t.scale += KV_BLOCK_LEN) {
        t.i1 = min_i(t.i0 + 32, dim);
        if (p->a->type == KV_Q4_0)
            scores_q4_0(nr, &t);
        else
            scores_q8_0(nr, &t);
        t.ahead += 2 * 32 * t.ahead_step;
    }
}

/* Scaled and capped; -infinity outside [j0, j1). */
ALWAYS v16 scaled_score(const struct attend_args *a, const float *s, int j0, int j1)
{
    v16 v = v16_mul(v16_load(s), v16_set1(a->scale));
    if (a->cap > 0)
        v = v16_mul(v16_set1(a->cap), v16_tanh(v16_div(v, v16_set1(a->cap))));
    return j0 > 0 || j1 < 16 ? v16_lanes(v, j0, j1) : v;
}

/* Scores of row r to weights; what lies outside of its range, in its vectors, gets 0. */
static void soften(const struct pass *p, int r)
{
    float *s = p->s + (size_t)r * S_STRIDE, *end = p->mine + (size_t)r * p->len + p->dim_v;
    const int from = p->j0[r] / 16 * 16, to = p->j1[r];
    v16 most = v16_set1(-INFINITY), sum = v16_zero();
    for (int j = from; j < to; j += 16) {
        const v16 v = scaled_score(p->a, s + j, p->j0[r] - j, to - j);
        v16_store(s + j, v);
        most = v16_max(most, v);
    }
    const float max = v16_max_of(most);
    for (int j = from; j < to; j += 16) {
        const v16 v = v16_exp(v16_sub(v16_load(s + j), v16_set1(max)));
        v16_store(s + j, v);
        sum = v16_add(sum, v);
    }
    end[0] = max;
    end[1] = v16_sum_of(sum);
}

/* Weights of rows [r0, r0 + nr) times the scales of the values of block i. */
static void weigh(const struct pass *p, int i, int r0, int nr, const uint16_t *scale)
{
    const int n_group = (p->a->head_dim_v + 31) / 32;
    for (int g = 0; g < n_group; g++)
        for (int j = 0; j < KV_BLOCK_LEN; j += 16) {
            const v16 d = v16_load_f16(scale + g * KV_BLOCK_LEN + j);
            for (int r = 0; r < nr; r++) {
                const float *s = p->s + (size_t)(r0 + r) * S_STRIDE + i * KV_BLOCK_LEN + j;
                v16_store(p->w + (size_t)(g * ATTEND_TILE_ROWS + r) * KV_BLOCK_LEN + j,
                          v16_mul(v16_load(s), d));
            }
        }
}

/* The values of positions [from, to) of a block into rows [r, r + nr) of the tile t. */
static __attribute__((noinline)) void add_rows(enum kv_type type, const struct tile *t, int r,
                                               int nr, int from, int to)
{
    struct tile mine = *t;
    mine.c += (size_t)r * t->c_stride;
    mine.a += a_at(type == KV_F16 ? VALUES_F16 : VALUES_Q8_0, r, 0);
    mine.i0 = from;
    mine.i1 = to;
    if (type == KV_F16)
        values_f16(nr, &mine);
    else if (type == KV_Q4_0)
        values_q4_0(nr, &mine);
    else
        values_q8_0(nr, &mine);
}

/* The values of block i into rows [r0, r0 + nr). */
static void add_block(const struct pass *p, int i, int r0, int nr)
{
    int from[ATTEND_TILE_ROWS], to[ATTEND_TILE_ROWS];
    int common = 0, end = KV_BLOCK_LEN;
    bool any = false;
    for (int r = 0; r < nr; r++) {
        seen_of(p, r0 + r, i, &from[r], &to[r]);
        common = max_i(common, from[r]);
        end = min_i(end, to[r]);
        any = any || from[r] < to[r];
    }
    if (!any)
        return;
    const uint8_t *v = keys_at(p, p->piece, i) + kv_key_bytes(p->a->type, p->a->head_dim);
    struct tile t = {
        .c = p->mine + (size_t)r0 * p->len,
        .a = p->s + (size_t)r0 * S_STRIDE + i * KV_BLOCK_LEN,
        .b = v,
        .c_stride = p->len,
        .b_stride = (size_t)p->dim_v,
        .lane1 = p->dim_v,
    };
    if (p->a->type != KV_F16) {
        const size_t row = p->a->type == KV_Q4_0 ? (size_t)p->dim_v / 2 : (size_t)p->dim_v;
        weigh(p, i, r0, nr, (const uint16_t *)(const void *)(v + row * KV_BLOCK_LEN));
        t.a = p->w;
        t.a_group = (size_t)ATTEND_TILE_ROWS * KV_BLOCK_LEN;
    }
    if (common >= end)
        common = end = KV_BLOCK_LEN; /* every row alone */
    for (int r = 0; r < nr; r++)
        if (from[r] < min_i(to[r], common))
            add_rows(p->a->type, &t, r, 1, from[r], min_i(to[r], common));
    if (r0 == 0 && (p->piece + 1) * ATTEND_SPLIT + i * KV_BLOCK_LEN < p->last) {
        t.ahead = keys_at(p, p->piece + 1, i);
        t.ahead_step = fetched_before(p->a) / (size_t)p->dim_v * 16 / 32;
    }
    if (common < end)
        add_rows(p->a->type, &t, 0, nr, common, end);
    t.ahead_step = 0;
    for (int r = 0; r < nr; r++)
        if (max_i(from[r], end) < to[r])
            add_rows(p->a->type, &t, r, 1, max_i(from[r], end), to[r]);
}

/* One more partial result into the whole so far. n: values, padded to 16. */
static void join(float *whole, const float *part, int n)
{
    const float max = whole[n] > part[n] ? whole[n] : part[n];
    const v16 f = v16_exp(v16_set1(whole[n] - max)), g = v16_exp(v16_set1(part[n] - max));
    for (int i = 0; i < n; i += 16)
        v16_store(whole + i, v16_fma(v16_load(part + i), g, v16_mul(v16_load(whole + i), f)));
    v16_store(whole + n, v16_fma(v16_load(part + n), g, v16_mul(v16_load(whole + n), f)));
    whole[n] = max;
}

static void finish(float *out, const float *whole, int head_dim_v)
{
    const int n = (head_dim_v + 15) / 16 * 16;
    const v16 inverse = v16_set1(1.0f / whole[n + 1]);
    for (int i = 0; i < head_dim_v; i += 16) {
        float x[16];
        v16_store(x, v16_mul(v16_load(whole + i), inverse));
        memcpy(out + i, x, (size_t)min_i(16, head_dim_v - i) * sizeof(float));
    }
}

/* The partial result of row r goes where it belongs. */
static void keep(struct pass *p, int r)
{
    const struct attend_args *a = p->a;
    const float *mine = p->mine + (size_t)r * p->len;
    float *whole = p->whole + (size_t)r * p->len;
    bool *seen = &p->seen[r];
    if (a->part != NULL) {
        const size_t at = a->part_at[p->row0 + r] + (size_t)(p->piece - a->piece0);
        memcpy(a->part + at * p->len, mine, p->len * sizeof(float));
        return;
    }
    if (a->carry != NULL) {
        whole = a->carry + a->part_at[p->row0 + r] * p->len;
        seen = &a->carried[a->part_at[p->row0 + r]];
    }
    if (*seen)
        join(whole, mine, p->dim_v);
    else
        memcpy(whole, mine, p->len * sizeof(float));
    *seen = true;
}

static void do_piece(struct pass *p)
{
    const struct attend_args *a = p->a;
    const int pos0 = p->piece * ATTEND_SPLIT;
    int least = ATTEND_SPLIT, most = 0;
    for (int r = 0; r < p->n; r++) {
        p->j0[r] = max_i(a->from[p->row0 + r] - pos0, 0);
        p->j1[r] = min_i(a->to[p->row0 + r] - pos0, ATTEND_SPLIT);
        if (p->j0[r] >= p->j1[r]) {
            p->j0[r] = p->j1[r] = 0;
            continue;
        }
        least = min_i(least, p->j0[r]);
        most = max_i(most, p->j1[r]);
        memset(p->mine + (size_t)r * p->len, 0, (size_t)p->dim_v * sizeof(float));
    }
    const int n_tile = (p->n + TILE_ROWS - 1) / TILE_ROWS;
    const int block0 = least / KV_BLOCK_LEN, block1 = (most + KV_BLOCK_LEN - 1) / KV_BLOCK_LEN;
    for (int i = block0; i < block1; i++)
        for (int t = 0; t < n_tile; t++) {
            const int r0 = p->n * t / n_tile;
            score_block(p, i, r0, p->n * (t + 1) / n_tile - r0);
        }
    for (int r = 0; r < p->n; r++)
        if (p->j0[r] < p->j1[r])
            soften(p, r);
    for (int i = block0; i < block1; i++)
        for (int t = 0; t < n_tile; t++) {
            const int r0 = p->n * t / n_tile;
            add_block(p, i, r0, p->n * (t + 1) / n_tile - r0);
        }
    for (int r = 0; r < p->n; r++)
        if (p->j0[r] < p->j1[r])
            keep(p, r);
}

static void do_pass(struct pass *p)
{
    const struct attend_args *a = p->a;
    int first = INT32_MAX;
    p->last = 0;
    for (int r = 0; r < p->n; r++) {
        const int row = p->row0 + r;
        const float *q = a->q + a->q_at[row];
        for (int i = 0; i < a->head_dim; i++)
            p->q[(size_t)i * Q_STRIDE + (size_t)r] = q[i];
#ifdef K_QUANTIZE
        if (a->type == KV_Q8_0_QUADS)
            attend_quads_set(&p->quads, r, q, a->head_dim, K_QUANTIZE);
#endif
        p->seen[r] = false;
        if (a->from[row] >= a->to[row])
            continue;
        first = min_i(first, a->from[row]);
        p->last = max_i(p->last, a->to[row]);
    }
    for (p->piece = first / ATTEND_SPLIT; p->piece * ATTEND_SPLIT < p->last; p->piece++)
        do_piece(p);
    for (int r = 0; r < p->n && a->part == NULL && a->carry == NULL; r++)
        finish(a->out + a->out_at[p->row0 + r], p->whole + (size_t)r * p->len, a->head_dim_v);
}

void K_ATTEND(const struct attend_args *a)
{
    struct pass p = {.a = a,
                     .len = ((size_t)a->head_dim_v + 15) / 16 * 16 + 16,
                     .dim_v = (a->head_dim_v + 15) / 16 * 16};
    p.q = a->scratch;
    p.s = p.q + (size_t)a->head_dim * Q_STRIDE;
    p.mine = p.s + ATTEND_ROWS * S_STRIDE;
    p.whole = p.mine + ATTEND_ROWS * p.len;
    p.w = p.whole + ATTEND_ROWS * p.len;
    attend_quads_init(&p.quads, p.w + attend_weights_len(a->head_dim_v), a->head_dim);
    for (; p.row0 < a->n_q; p.row0 += ATTEND_ROWS) {
        p.n = min_i(a->n_q - p.row0, ATTEND_ROWS);
        do_pass(&p);
    }
}

void K_ATTEND_JOIN(float *out, float *part, int n_part, int head_dim_v)
{
    const int n = (head_dim_v + 15) / 16 * 16;
    for (int i = 1; i < n_part; i++)
        join(part, part + (size_t)i * (size_t)(n + 16), n);
    finish(out, part, head_dim_v);
}
