/*
 * mul_packed_x86: products of packed weights: AVX-512 with and without VNNI, AVX-VNNI.
 *
 * Compiled once per level, which LEVEL, LANES_512 and LANES_VNNI name (lanes.h). Owns the order of
 * work; packed_x86.h knows the types' bits. Every tile follows the order of operations of unpack.h,
 * so its bits are generic's: integers are exact, whatever is gathered first.
 *
 * A tile is LANES rows (16, or half a panel) by up to TILE_COLS columns; lane = row. Weights are
 * unsigned bytes: the sum of an offset's products, -offset * (sum of the activations), is where the
 * integer sum begins. Up to DIRECT_COLS columns a tile unpacks the panel in registers; with more,
 * 512 elements of a panel are unpacked to a sheet in the first-level cache, for all tiles. Blocks
 * with a residual take a second product, only in the columns that have one.
 */
#include "base/mem.h"
#include "kernels/act.h"
#include "kernels/generic/generic.h"
#include "kernels/x86/avx512.h"
#include "kernels/x86/packed_scales_x86.h"

#define PASTE_(a, b) a##_##b
#define PASTE(a, b)  PASTE_(a, b)

#define TILES_4(X, ...)                                                                            \
    X(__VA_ARGS__, 1)                                                                              \
    X(__VA_ARGS__, 2)                                                                              \
    X(__VA_ARGS__, 3)                                                                              \
    X(__VA_ARGS__, 4)
#define TILES_6(X, ...)                                                                            \
    TILES_4(X, __VA_ARGS__)                                                                        \
    X(__VA_ARGS__, 5)                                                                              \
    X(__VA_ARGS__, 6)
#define TILES_8(X, ...)                                                                            \
    TILES_6(X, __VA_ARGS__)                                                                        \
    X(__VA_ARGS__, 7)                                                                              \
    X(__VA_ARGS__, 8)

#ifdef LANES_VNNI
#define HAS_DOT4 1
#else
#define HAS_DOT4 0
#endif

/* Columns of the widest tiles, over sheets and in registers: as many as the registers hold. */
#if defined(LANES_512) && defined(LANES_VNNI)
#define TILE_COLS    8
#define DIRECT_TILE  8
#define TILES_SHEET  TILES_8
#define TILES_DIRECT TILES_8
#elif defined(LANES_512)
#define TILE_COLS    6
#define DIRECT_TILE  6
#define TILES_SHEET  TILES_6
#define TILES_DIRECT TILES_6
#else
#define TILE_COLS    6
#define DIRECT_TILE  4
#define TILES_SHEET  TILES_6
#define TILES_DIRECT TILES_4
#endif

/* Up to so many columns, unpacking again for each tile is cheaper, and panels go one by one; fewer
 * for the types whose sheets save operations. */
#define DIRECT_COLS      64
#define DIRECT_COLS_SLOW 24
#define SPAN             32 /* blocks of 32 whose residuals are looked up at once */
#define CHUNK_MAX        64 /* blocks of 32 of the longest chunk */
/* Blocks between the starts of one column and of the next. */
#define START_STEP(type) ((type) == SHEET ? SHEET_BLOCKS : CHUNK_MAX)
#define STARTS_MAX       4096 /* of one plane */
/*
 * Bytes from what is multiplied to what is fetched. One column goes as fast as the memory, whose
 * own looking ahead is then the best; what more columns take their time over is fetched meanwhile,
 * to the second level: their activations need the first.
 */
#define AHEAD_ONE  128
#define AHEAD_MORE 8192

/* Columns of activations from the chunk's first block on. */
struct strip {
    const uint8_t *x;        /* q of the first column */
    size_t stride;           /* bytes from a column to the next */
    size_t r, d, e, s, has;  /* where the other arrays are, from q */
    int b0;                  /* the chunk's first block */
    const int32_t *start[2]; /* q's and r's: [column][START_STEP][half, for KIND_S16] */
};

typedef void (*tile_fn)(const uint8_t *w, int n_blocks, const struct strip *p, int h, bool first,
                        float *y, size_t y_stride);

ALWAYS float at_float(const uint8_t *p)
{
    float v;
    memcpy(&v, p, 4);
    return v;
}

/* ---- integer products ---- */

/* Adds the products of quads [t0, t0 + n) to sum[column]; at: where the group is in the column. */
#ifdef LANES_VNNI
ALWAYS void dots(int type, int wide, int nc, const uint8_t *g, int t0, int n,
                 const uint8_t *const *x, size_t at, vi *sum)
{
    (void)wide;
    const bool split = nc <= 2; /* two chains a column: one is the latency of n steps */
    vi odd[2] = {v_zero(), v_zero()};
    UNROLL for (int i = 0; i < n; i++)
    {
        const int t = n == 8 ? i / 2 + i % 2 * 4 : t0 + i; /* both nibbles of a vector in turn */
        const vi w = quad(type, g, t);
        UNROLL for (int c = 0; c < nc; c++)
        {
            vi *to = split && i % 2 ? &odd[c] : &sum[c];
            *to = v_dot4(*to, w, x[c] + at + 4 * (size_t)t);
        }
    }
    if (split)
        UNROLL for (int c = 0; c < nc; c++) sum[c] = v_add32(sum[c], odd[c]);
}
#else
/*
 * A pair of products is at most 2 * 127 * u, so 8 pairs of 4-bit weights fit into 16 bits (30480),
 * 4 of 5-bit ones (31496), 2 of 6-bit ones (32004). Bytes go as two 4-bit weights.
 */
ALWAYS void dots(int type, int wide, int nc, const uint8_t *g, int t0, int n,
                 const uint8_t *const *x, size_t at, vi *sum)
{
    const int fit = wide == WIDE5 ? 4 : wide == WIDE6 ? 2 : n;
    vi low[TILE_COLS], high[TILE_COLS];
    UNROLL for (int i = 0; i < n; i++)
    {
        const int t = n == 8 ? i / 2 + i % 2 * 4 : t0 + i;
        const vi all = quad(type, g, t);
        const vi w = wide == WIDE8 ? v_and(all, v_set8(15)) : all;
        const vi upper = v_and(v_shr16(all, 4), v_set8(15));
        UNROLL for (int c = 0; c < nc; c++)
        {
            const vi a = v_set32(dword(x[c] + at + 4 * (size_t)t));
            const vi pairs = v_madd8(w, a);
            low[c] = i % fit == 0 ? pairs : v_add16(low[c], pairs);
            if (wide == WIDE8)
                high[c] = i == 0 ? v_madd8(upper, a) : v_add16(high[c], v_madd8(upper, a));
            if (i % fit == fit - 1)
                sum[c] = v_add32(sum[c], v_madd16(low[c], v_set16(1)));
            if (wide == WIDE8 && i == n - 1)
                sum[c] = v_add32(sum[c], v_madd16(high[c], v_set16(16)));
        }
    }
}
#endif

/*
 * acc[c] = fma(dot, d of the weights * d of the activations, acc[c]) with one plane of activations.
 * offset: whether sums begin at start.
 */
ALWAYS void add_plane(int type, int kind, bool offset, int wide, int nc, const uint8_t *g,
                      const struct rows *s, const uint8_t *const *x, size_t q_at, size_t d_at,
                      const int32_t *start, vf *acc)
{
    vi sum[TILE_COLS];
    vf dot[TILE_COLS];
    const int halves = kind & KIND_S16 ? 2 : 1;
    UNROLL for (int half = 0; half < halves; half++)
    {
        UNROLL for (int c = 0; c < nc; c++) sum[c] =
            offset ? v_set32(start[halves * START_STEP(type) * c + half]) : v_zero();
        dots(type, wide, nc, g, 4 * half, 8 / halves, x, q_at, sum);
        UNROLL for (int c = 0; c < nc; c++)
        {
            const vf v = v_float(sum[c]);
            if (half == 1) /* both products and their sum stay below 2^24 */
                dot[c] = f_fma(v, s->f[1], dot[c]);
            else
                dot[c] = kind & (KIND_S16 | KIND_S32) ? f_mul(v, s->f[0]) : v;
        }
    }
    UNROLL for (int c = 0; c < nc; c++) acc[c] =
        f_fma(dot[c], f_mul(s->d, f_set(at_float(x[c] + d_at))), acc[c]);
}

/* ---- tiles ---- */

/* What the tile's columns have of residuals in a span, bit i = its block i. */
struct residuals {
    uint32_t of[TILE_COLS], any, all;
};

ALWAYS void residuals_of(struct residuals *ret, const struct strip *p, const uint8_t *const *x,
                         int nc, int b)
{
    const int bit = p->b0 % 32 + b;
    ret->any = 0;
    ret->all = UINT32_MAX;
    UNROLL for (int c = 0; c < nc; c++)
    {
        ret->of[c] = (uint32_t)dword(x[c] + p->has + (size_t)(bit / 32) * 4) >> bit % 32;
        ret->any |= ret->of[c];
        ret->all &= ret->of[c];
    }
}

ALWAYS void add_residuals(int type, int kind, bool offset, int wide, int nc, const uint8_t *g,
                          const struct rows *s, const uint8_t *const *x, const struct strip *p,
                          int b, const struct residuals *has, vf *acc)
{
    const size_t r_at = p->r + 32 * (size_t)b, e_at = p->e + 4 * (size_t)b;
    const int halves = kind & KIND_S16 ? 2 : 1;
    const int32_t *start = p->start[1] + halves * b;
    /* So that the quants of the first plane are not kept in registers for this rare case. */
    __asm__("" : "+r"(g));
    if (has->all >> b % SPAN & 1) {
        add_plane(type, kind, offset, wide, nc, g, s, x, r_at, e_at, start, acc);
        return;
    }
    UNROLL for (int c = 0; c < nc; c++)
    {
        if (has->of[c] >> b % SPAN & 1) {
            __asm__("" : "+r"(g));
            add_plane(type, kind, offset, wide, 1, g, s, x + c, r_at, e_at,
                      start + halves * START_STEP(type) * c, acc + c);
        }
    }
}

ALWAYS void add_minimum(int nc, vf m, const uint8_t *const *x, size_t s_at, vf *acc)
{
    UNROLL for (int c = 0; c < nc; c++) acc[c] = f_fma(m, f_set(at_float(x[c] + s_at)), acc[c]);
}

/* With group i of a unit, its part of a unit's bytes. */
ALWAYS void fetch_ahead(int type, int nc, const uint8_t *unit, int i)
{
    const size_t part = unit_bytes(type) / (size_t)unit_groups(type);
    const uint8_t *p = unit + (size_t)i * part;
    UNROLL for (size_t at = 0; at < part; at += 64)
    {
        if (nc == 1)
            __builtin_prefetch(p + AHEAD_ONE + at);
        else
            __builtin_prefetch(p + AHEAD_MORE + at, 0, 2);
    }
}

/* w: a panel's units, or a sheet. */
ALWAYS void tile(int type, int kind, bool offset, int wide, int nc, const uint8_t *w, int n_blocks,
                 const struct strip *p, int h, bool first, float *y, size_t y_stride)
{
    const int groups = type == SHEET ? SHEET_BLOCKS : unit_groups(type);
    const size_t s_step = kind & KIND_MIN16 ? 8 : 4;
    const uint8_t *x[TILE_COLS];
    vf acc[TILE_COLS];
    struct residuals has;
    struct unit_scales u;
    struct unit_floats f = {f_zero(), f_zero()};
    UNROLL for (int c = 0; c < nc; c++)
    {
        x[c] = p->x + (size_t)c * p->stride;
        acc[c] = first ? f_zero() : f_load(y + (size_t)c * y_stride);
    }
    residuals_of(&has, p, x, nc, 0);
    for (int b = 0, i = 0; b < n_blocks; b++, i++) {
        struct rows s;
        if (type != SHEET && b % SPAN == 0)
            residuals_of(&has, p, x, nc, b);
        if (type != SHEET && i == groups) {
            w += unit_bytes(type);
            i = 0;
        }
        if (type != SHEET && groups > 1 && i == 0)
            read_unit(type, &u, &f, w, h);
        const uint8_t *g = w + group_first(type) + (size_t)i * group_bytes(type) + 4 * (size_t)h;
        if (type != SHEET && h == 0)
            fetch_ahead(type, nc, w, i);
        scales(type, &s, w, &u, &f, i, h);
        add_plane(type, kind, offset, wide, nc, g, &s, x, 32 * (size_t)b, p->d + 4 * (size_t)b,
                  p->start[0] + (kind & KIND_S16 ? 2 : 1) * b, acc);
        if (has.any >> b % SPAN & 1)
            add_residuals(type, kind, offset, wide, nc, g, &s, x, p, b, &has, acc);
        if (kind & (KIND_MIN32 | KIND_MIN16))
            add_minimum(nc, s.m[0], x, p->s + s_step * (size_t)b, acc);
        if (kind & KIND_MIN16)
            add_minimum(nc, s.m[1], x, p->s + s_step * (size_t)b + 4, acc);
    }
    UNROLL for (int c = 0; c < nc; c++) f_store(y + (size_t)c * y_stride, acc[c]);
}

#define TILE(name, type, kind, offset, wide, nc)                                                   \
    static __attribute__((noinline)) void tile_##name##_##nc(                                      \
        const uint8_t *w, int n_blocks, const struct strip *p, int h, bool first, float *y,        \
        size_t y_stride)                                                                           \
    {                                                                                              \
        tile(type, kind, offset, wide, nc, w, n_blocks, p, LANES == 16 ? 0 : h, first, y,          \
             y_stride);                                                                            \
    }

/* X(name, kind, offset, wide): the tiles over sheets. With VNNI the headroom is no matter. */
#ifdef LANES_VNNI
#define SHEETS(X)                                                                                  \
    X(plain, KIND_PLAIN, true, WIDE8)                                                              \
    X(min32, KIND_MIN32, false, WIDE8)                                                             \
    X(min16, KIND_MIN16, false, WIDE8)                                                             \
    X(s16, KIND_S16, true, WIDE8)
#define sheet_plain_5 sheet_plain
#define sheet_q3_k    sheet_plain
#define sheet_min32_4 sheet_min32
#define sheet_min32_5 sheet_min32
#else
#define SHEETS(X)                                                                                  \
    X(plain_5, KIND_PLAIN, true, WIDE5)                                                            \
    X(min32_4, KIND_MIN32, false, WIDE4)                                                           \
    X(min32_5, KIND_MIN32, false, WIDE5)                                                           \
    X(min16, KIND_MIN16, false, WIDE6)                                                             \
    X(s16, KIND_S16, true, WIDE6)
#define sheet_q3_k NULL /* quants times scales are bytes, which take twice the products */
#endif

#define SHEET_TILE(name, kind, offset, wide, nc) TILE(sheet_##name, SHEET, kind, offset, wide, nc)
#define NAME_TILE(name, nc)                      tile_##name##_##nc,
#define X(name, kind, offset, wide)                                                                \
    TILES_SHEET(SHEET_TILE, name, kind, offset, wide)                                              \
    static const tile_fn sheet_##name[] = {TILES_SHEET(NAME_TILE, sheet_##name)};
SHEETS(X)
#undef X

/*
 * X(name, dtype, kind and greatest weight in registers; kind, tiles and fill of sheets). No sheet:
 * the bits are so easily read that every tile may read them again.
 */
#define TYPES_DIRECT(X)                                                                            \
    X(q4_0, DTYPE_Q4_0, KIND_PLAIN, WIDE4, KIND_PLAIN, NULL, NULL)                                 \
    X(q4_1, DTYPE_Q4_1, KIND_MIN32, WIDE4, KIND_MIN32, NULL, NULL)                                 \
    X(q8_0, DTYPE_Q8_0, KIND_PLAIN, WIDE8, KIND_PLAIN, NULL, NULL)                                 \
    X(iq4_nl, DTYPE_IQ4_NL, KIND_PLAIN, WIDE8, KIND_PLAIN, NULL, NULL)                             \
    X(iq4_xs, DTYPE_IQ4_XS, KIND_S32, WIDE8, KIND_S32, NULL, NULL)                                 \
    X(tq2_0, DTYPE_TQ2_0, KIND_PLAIN, WIDE4, KIND_PLAIN, NULL, NULL)
#define TYPES_SHEET(X)                                                                             \
    X(q5_0, DTYPE_Q5_0, KIND_PLAIN, WIDE5, KIND_PLAIN, sheet_plain_5, fill_q5_0)                   \
    X(q5_1, DTYPE_Q5_1, KIND_MIN32, WIDE5, KIND_MIN32, sheet_min32_5, fill_q5_1)                   \
    X(q2_k, DTYPE_Q2_K, KIND_S16 | KIND_MIN16, WIDE4, KIND_MIN16, sheet_min16, fill_q2_k)          \
    X(q3_k, DTYPE_Q3_K, KIND_S16, WIDE4, KIND_PLAIN, sheet_q3_k, fill_q3_k)                        \
    X(q4_k, DTYPE_Q4_K, KIND_MIN32, WIDE4, KIND_MIN32, sheet_min32_4, fill_q4_k)                   \
    X(q5_k, DTYPE_Q5_K, KIND_MIN32, WIDE5, KIND_MIN32, sheet_min32_5, fill_q5_k)                   \
    X(q6_k, DTYPE_Q6_K, KIND_S16, WIDE6, KIND_S16, sheet_s16, fill_q6_k)                           \
    X(mxfp4, DTYPE_MXFP4, KIND_PLAIN, WIDE5, KIND_PLAIN, sheet_plain_5, fill_mxfp4)
#define TYPES(X)                                                                                   \
    TYPES_DIRECT(X)                                                                                \
    TYPES_SHEET(X)

#define DIRECT(name, type, kind, wide, nc)                                                         \
    TILE(name, type, kind, packed_offset(type) != 0, wide, nc)
#define X(name, type, kind, wide, sheet_kind, sheets, fills)                                       \
    TILES_DIRECT(DIRECT, name, type, kind, wide)                                                   \
    static const tile_fn direct_##name[] = {TILES_DIRECT(NAME_TILE, name)};
TYPES(X)
#undef X

/* ---- sheets ---- */

typedef void (*fill_fn)(struct sheet *sheet, const uint8_t *unit, int n_blocks);

/* Rows [h, h + LANES). */
ALWAYS void fill(int type, int kind, struct sheet *sheet, const uint8_t *unit, int n_blocks, int h)
{
    const int groups = unit_groups(type);
    struct unit_scales u;
    struct unit_floats f = {f_zero(), f_zero()};
    for (int b = 0, i = 0; b < n_blocks; b++, i++) {
        struct rows s;
        if (i == groups) {
            unit += unit_bytes(type);
            i = 0;
        }
        if (groups > 1 && i == 0)
            read_unit(type, &u, &f, unit, h);
        const uint8_t *g = unit + group_first(type) + (size_t)i * group_bytes(type) + 4 * (size_t)h;
        scales(type, &s, unit, &u, &f, i, h);
        UNROLL for (int t = 0; t < 8; t++) v_store(sheet->q[b][t][h], sheet_quad(type, g, &s, t));
        f_store(sheet->d[b] + h, s.d);
        if (kind & (KIND_MIN32 | KIND_MIN16))
            f_store(sheet->m[b][0] + h, s.m[0]);
        if (kind & KIND_MIN16)
            f_store(sheet->m[b][1] + h, s.m[1]);
        if (kind & (KIND_S32 | KIND_S16))
            f_store(sheet->f[b][0] + h, s.f[0]);
        if (kind & KIND_S16)
            f_store(sheet->f[b][1] + h, s.f[1]);
    }
}

#define X(name, type, kind, wide, sheet_kind, sheets, fills)                                       \
    static __attribute__((noinline)) void fill_##name(struct sheet *sheet, const uint8_t *unit,    \
                                                      int n_blocks)                                \
    {                                                                                              \
        for (int h = 0; h < PACK_ROWS; h += LANES)                                                 \
            fill(type, sheet_kind, sheet, unit, n_blocks, LANES == 16 ? 0 : h);                    \
    }
TYPES_SHEET(X)
#undef X

/* ---- the order of work ---- */

struct packed_type {
    const tile_fn *direct;
    const tile_fn *sheet;
    fill_fn fill;
    enum dtype type;
    int groups;
    size_t unit_bytes;
    int kind[2], offset[2]; /* of sheets, in registers */
};

struct job {
    const struct packed_type *t;
    float *y;
    size_t y_stride;
    const uint8_t *w; /* the first panel's unit at the chunk's first block */
    size_t panel_bytes;
    int n_rows;
    const uint8_t *x;
    size_t x_stride;
    int n_k;
    bool direct; /* no sheets */
    int kind, offset;
    int starts;     /* starts of one block in one column: 0, 1 or 2 */
    int start_step; /* starts from a column to the next */
};

/* -offset * (sum of each block's, or half block's, activations) */
static void fill_start(const struct job *j, int32_t *ret, const int16_t *h, int n_blocks)
{
    int b = 0;
    if (j->starts == 2) {
        for (int i = 0; i < 2 * n_blocks; i++)
            ret[i] = -j->offset * h[i];
        return;
    }
    for (; b + LANES <= n_blocks; b += LANES)
        v_store(ret + b, v_madd16(v_load(h + 2 * b), v_set16(-j->offset)));
    for (; b < n_blocks; b++)
        ret[b] = -j->offset * (h[2 * b] + h[2 * b + 1]);
}

/* Whether any of the blocks has a residual. */
static bool any_residual(const struct act *a, int b0, int n_blocks)
{
    uint32_t any = 0;
    for (int i = b0 / 32; i < (b0 + n_blocks + 31) / 32; i++)
        any |= a->has[i];
    return any != 0;
}

/* Where the integer sums of n_cols columns begin, in both planes. */
static void fill_starts(const struct job *j, int32_t ret[2][STARTS_MAX], int b0, int n_blocks,
                        int c0, int n_cols)
{
    for (int c = 0; c < n_cols; c++) {
        const struct act a = act_at(j->x + (size_t)(c0 + c) * j->x_stride, j->n_k);
        fill_start(j, ret[0] + c * j->start_step, a.h + 2 * b0, n_blocks);
        if (any_residual(&a, b0, n_blocks))
            fill_start(j, ret[1] + c * j->start_step, a.g + 2 * b0, n_blocks);
    }
}

/* Rows [r, r + n) of one panel times n_cols columns. */
static void mul_panel(const struct job *j, const uint8_t *w, int r, struct strip p, int n_blocks,
                      int n_cols, float *y)
{
    const tile_fn *fn = j->direct ? j->t->direct : j->t->sheet;
    const int cols_max = j->direct ? DIRECT_TILE : TILE_COLS;
    const int n_rows = j->n_rows - r < PACK_ROWS ? j->n_rows - r : PACK_ROWS;
    int n_tiles = (n_cols + cols_max - 1) / cols_max;
    for (; n_tiles > 0; n_tiles--) {
        const int nc = (n_cols + n_tiles - 1) / n_tiles;
        float part[TILE_COLS][PACK_ROWS];
        float *to = n_rows == PACK_ROWS ? y : part[0];
        const size_t stride = n_rows == PACK_ROWS ? j->y_stride : PACK_ROWS;
        if (to != y && p.b0 > 0)
            for (int c = 0; c < nc; c++)
                memcpy(part[c], y + (size_t)c * j->y_stride, (size_t)n_rows * 4);
        for (int h = 0; h < PACK_ROWS; h += LANES)
            fn[nc - 1](w, n_blocks, &p, h, p.b0 == 0, to + h, stride);
        if (to != y)
            for (int c = 0; c < nc; c++)
                memcpy(y + (size_t)c * j->y_stride, part[c], (size_t)n_rows * 4);
        y += (size_t)nc * j->y_stride;
        p.x += (size_t)nc * p.stride;
        p.start[0] += nc * j->start_step;
        p.start[1] += nc * j->start_step;
        n_cols -= nc;
    }
}

static void prefetch(const uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i += 64)
        __builtin_prefetch(p + i, 0, 2);
}

/* Blocks [b0, b0 + n_blocks) of all rows and columns [c0, c0 + n_cols). */
static void mul_chunk(const struct job *j, int b0, int n_blocks, int c0, int n_cols)
{
    int32_t start[2][STARTS_MAX];
    struct sheet sheet;
    const uint8_t *x = j->x + (size_t)c0 * j->x_stride;
    const struct act a = act_at(x, j->n_k);
    const uint8_t *q = (const uint8_t *)(a.q + 32 * (size_t)b0);
    const size_t bytes = (size_t)n_blocks / (size_t)j->t->groups * j->t->unit_bytes;
    const float *s = j->kind & KIND_MIN16 ? a.s16 + 2 * (size_t)b0 : a.s + b0;
    const struct strip p = {
        .x = q,
        .stride = j->x_stride,
        .r = (size_t)(a.r - a.q),
        .d = (size_t)((const uint8_t *)(a.d + b0) - q),
        .e = (size_t)((const uint8_t *)(a.e + b0) - q),
        .s = (size_t)((const uint8_t *)s - q),
        .has = (size_t)((const uint8_t *)(a.has + b0 / 32) - q),
        .b0 = b0,
        .start = {start[0], start[1]},
    };
    if (j->starts)
        fill_starts(j, start, b0, n_blocks, c0, n_cols);
    for (int r = 0; r < j->n_rows; r += PACK_ROWS) {
        const uint8_t *w = j->w + (size_t)(r / PACK_ROWS) * j->panel_bytes;
        if (!j->direct) {
            j->t->fill(&sheet, w, n_blocks);
            prefetch(r + PACK_ROWS < j->n_rows ? w + j->panel_bytes : j->w + bytes, bytes);
            w = (const uint8_t *)&sheet;
        }
        mul_panel(j, w, r, p, n_blocks, n_cols, j->y + (size_t)c0 * j->y_stride + (size_t)r);
    }
}

static void mul(const struct packed_type *t, float *y, size_t y_stride, const void *w, int n_rows,
                const void *x, size_t x_stride, int n_cols, int n_k)
{
    struct job j = {.t = t,
                    .y = y,
                    .y_stride = y_stride,
                    .w = w,
                    .n_rows = n_rows,
                    .x = x,
                    .x_stride = x_stride,
                    .n_k = n_k};
    j.panel_bytes = pack_panel_bytes(t->type, n_k);
    const int direct_cols = HAS_DOT4 && t->kind[0] == t->kind[1] ? DIRECT_COLS : DIRECT_COLS_SLOW;
    j.direct = !t->sheet || n_cols <= direct_cols;
    j.kind = t->kind[j.direct];
    j.offset = t->offset[j.direct];
    j.starts = j.offset == 0 ? 0 : j.kind & KIND_S16 ? 2 : 1;
    /* Few columns: panel after panel. Else a panel's part is read by all tiles from a cache. */
    const int whole = j.starts ? CHUNK_MAX : n_k / 32;
    const int chunk = !j.direct ? SHEET_BLOCKS : n_cols <= direct_cols ? whole : SPAN;
    j.start_step = j.starts * START_STEP(j.direct ? t->type : SHEET);
    const int cols_max = j.starts ? STARTS_MAX / j.start_step : n_cols;
    for (int b0 = 0; b0 < n_k / 32; b0 += chunk) {
        const int left = n_k / 32 - b0, n_blocks = left < chunk ? left : chunk;
        int n_parts = (n_cols + cols_max - 1) / cols_max;
        for (int c = 0; n_parts > 0; n_parts--) {
            const int n = (n_cols - c + n_parts - 1) / n_parts;
            mul_chunk(&j, b0, n_blocks, c, n);
            c += n;
        }
        j.w += (size_t)(n_blocks / t->groups) * t->unit_bytes;
    }
}

#define X(name_, type_, kind_, wide_, sheet_kind_, sheets_, fill_)                                 \
    void PASTE(k_mul_packed_##name_, LEVEL)(K_MUL_PACKED_ARGS);                                    \
    void PASTE(k_mul_packed_##name_, LEVEL)(K_MUL_PACKED_ARGS)                                     \
    {                                                                                              \
        const struct packed_type t = {                                                             \
            .direct = direct_##name_,                                                              \
            .sheet = sheets_,                                                                      \
            .fill = fill_,                                                                         \
            .type = type_,                                                                         \
            .groups = unit_groups(type_),                                                          \
            .unit_bytes = unit_bytes(type_),                                                       \
            .kind = {sheet_kind_, kind_},                                                          \
            .offset = {sheet_offset(type_), packed_offset(type_)},                                 \
        };                                                                                         \
        mul(&t, y, y_stride, w, n_rows, x, x_stride, n_cols, n_k);                                 \
    }
TYPES(X)
#undef X
