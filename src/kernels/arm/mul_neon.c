/*
 * mul_neon: products of quantized weights and activations on arm64, of panels and of the file's
 * layout; generic's bits.
 *
 * Compiled twice: with dot products, and with products of matrices as well. One or two columns take
 * a panel's quants apart in registers, once, and store nothing. More columns: K in chunks, then the
 * panels of the call, then the columns in tiles of 3 or 4, so that a chunk of the activations stays
 * near while all panels pass over it; a panel's chunk is unpacked to bytes once per call. Rows of
 * the file's layout are unpacked into the same form, 16 at a time (unpack.h), then go the same way.
 */
#include "kernels/arm/neon.h"
#include "kernels/arm/tile_neon.h"
#include "tensor/blocks.h"

#include <string.h>

#ifdef __ARM_FEATURE_MATMUL_INT8
#define K_ISA(name) name##_neoni8mm
#else
#define K_ISA(name) name##_neon
#endif

/* How the scales of a unit lie (pack.h). */
enum scales { HALF, HALF_MIN, E8, SCALES_K, SCALES_I8, SCALES_Q2, SCALES_6 };

struct form {
    enum quants quants;
    enum scales scales;
    enum min_kind min;
    bool scaled; /* integer scales of 16 elements */
    int unit_elems, unit_bytes;
    int at_scales, at_quants, group_bytes;
    int n_scales; /* SCALES_6: of a unit */
};

/* ---- scales of a unit: its groups are groups i0... of the chunk ---- */

ALWAYS void halves(float *ret, const uint8_t *p)
{
    UNROLL for (int r = 0; r < 16; r += 4)
    {
        uint16x4_t bits;
        memcpy(&bits, p + 2 * r, 8);
        vst1q_f32(ret + r, vcvt_f32_f16(vreinterpret_f16_u16(bits)));
    }
}

static void scales_e8(float *ret, const uint8_t *e)
{
    for (int r = 0; r < 16; r++)
        ret[r] = block_scale_mxfp4(e[r]);
}

/* d, dmin: [16]; p: k_scales. */
static void scales_k(struct chunk *ret, int i0, const uint8_t *p)
{
    float d[16], dmin[16];
    halves(d, p);
    halves(dmin, p + 32);
    for (int g = 0; g < 8; g++) {
        const uint8_t *low = p + 64 + 16 * g, *high = p + 64 + 128 + 16 * (g / 2);
        const int shift = g % 2 * 4;
        for (int r = 0; r < 16; r++) {
            const int upper = high[r] >> shift;
            ret->d[i0 + g][r] = d[r] * (float)((low[r] & 15) | (upper & 3) << 4);
            ret->m[i0 + g][0][r] = -(dmin[r] * (float)(low[r] >> 4 | (upper & 12) << 2));
        }
    }
}

static void scales_i8(struct chunk *ret, int i0, const uint8_t *p)
{
    const int8_t *scale = (const int8_t *)p + 32;
    for (int g = 0; g < 8; g++) {
        halves(ret->d[i0 + g], p);
        for (int h = 0; h < 2; h++)
            for (int r = 0; r < 16; r++)
                ret->s[i0 + g][h][r] = scale[16 * (2 * g + h) + r];
    }
}

static void scales_q2(struct chunk *ret, int i0, const uint8_t *p)
{
    float dmin[16];
    halves(dmin, p + 32);
    for (int g = 0; g < 8; g++) {
        halves(ret->d[i0 + g], p);
        for (int h = 0; h < 2; h++) {
            const uint8_t *both_of = p + 64 + 16 * (2 * g + h);
            for (int r = 0; r < 16; r++) {
                ret->s[i0 + g][h][r] = both_of[r] & 15;
                ret->m[i0 + g][h][r] = -(dmin[r] * (float)(both_of[r] >> 4));
            }
        }
    }
}

/* n scales of six bits, 8 or 16 a unit. */
ALWAYS void scales_6(struct chunk *ret, int i0, const uint8_t *p, int n)
{
    for (int g = 0; g < 8; g++) {
        halves(ret->d[i0 + g], p);
        for (int h = 0; h < 2; h++) {
            const int s = n == 16 ? 2 * g + h : g;
            const uint8_t *low = p + 32 + 16 * (s / 2), *high = p + 32 + 8 * n + 16 * (s / 4);
            const int shift_low = s % 2 * 4, shift_high = s % 4 * 2;
            for (int r = 0; r < 16; r++)
                ret->s[i0 + g][h][r] =
                    ((low[r] >> shift_low & 15) | (high[r] >> shift_high & 3) << 4) - 32;
        }
    }
}

ALWAYS void unit_scales(const struct form *f, struct chunk *ret, int i0, const uint8_t *unit)
{
    const uint8_t *p = unit + f->at_scales;
    switch (f->scales) {
    case HALF:
        for (int g = 0; g < f->unit_elems / 32; g++)
            halves(ret->d[i0 + g], p);
        break;
    case HALF_MIN:
        halves(ret->d[i0], p);
        halves(ret->m[i0][0], p + 32);
        break;
    case E8:
        scales_e8(ret->d[i0], p);
        break;
    case SCALES_K:
        scales_k(ret, i0, p);
        break;
    case SCALES_I8:
        scales_i8(ret, i0, p);
        break;
    case SCALES_Q2:
        scales_q2(ret, i0, p);
        break;
    case SCALES_6:
        scales_6(ret, i0, p, f->n_scales);
        break;
    }
}

/* ---- columns ---- */

/* Up to TILE_COLS columns. */
struct tile {
    struct act a[TILE_COLS];
    _Alignas(64) float acc[TILE_COLS][16];
};

static void tile_init(struct tile *t, const void *x, size_t x_stride, int c0, int n_cols, int n_k)
{
    for (int c = 0; c < n_cols; c++)
        t->a[c] = act_at((const uint8_t *)x + (size_t)(c0 + c) * x_stride, n_k);
}

/* Rows [row, row + n) of the tile's columns, n <= 16; what lies past n is left out. */
static void tile_load(struct tile *t, const float *y, size_t y_stride, int n, int n_cols)
{
    memset(t->acc, 0, sizeof t->acc);
    for (int c = 0; c < n_cols; c++)
        memcpy(t->acc[c], y + (size_t)c * y_stride, (size_t)n * sizeof(float));
}

static void tile_store(const struct tile *t, float *y, size_t y_stride, int n, int n_cols)
{
    for (int c = 0; c < n_cols; c++)
        memcpy(y + (size_t)c * y_stride, t->acc[c], (size_t)n * sizeof(float));
}

ALWAYS void add_chunk(bool scaled, int n_cols, const struct chunk *k, int n_groups,
                      enum min_kind min, struct tile *t, int b)
{
    for (int g = 0; g < n_groups; g++)
        add_group(SPLIT, scaled, min, (const uint8_t *)k->q[g], k, g, n_cols, t->a, b + g, t->acc);
}

#define ADD_CHUNK(n)                                                                               \
    static __attribute__((noinline)) void add_chunk_##n(bool scaled, const struct chunk *k,        \
                                                        int n_groups, enum min_kind min,           \
                                                        struct tile *t, int b)                     \
    {                                                                                              \
        if (scaled)                                                                                \
            add_chunk(true, n, k, n_groups, min, t, b);                                            \
        else                                                                                       \
            add_chunk(false, n, k, n_groups, min, t, b);                                           \
    }
ADD_CHUNK(1)
ADD_CHUNK(2)
ADD_CHUNK(3)
ADD_CHUNK(4)

typedef void (*add_chunk_fn)(bool scaled, const struct chunk *k, int n_groups, enum min_kind min,
                             struct tile *t, int b);

/* ---- many columns ---- */

/* Where weights come from: unpacks groups of 16 rows (panel) from element k0 on. */
struct source {
    void (*unpack)(const struct source *s, int panel, int k0, int n_groups, struct chunk *ret);
    const void *w;
    size_t stride; /* of a panel, or of a row */
    enum dtype t;
    int n_rows;
    enum min_kind min;
    bool scaled;
};

static void mul_wide(const struct source *s, float *y, size_t y_stride, const void *x,
                     size_t x_stride, int n_cols, int n_k)
{
    static const add_chunk_fn add[TILE_COLS + 1] = {NULL, add_chunk_1, add_chunk_2, add_chunk_3,
                                                    add_chunk_4};
    const int n_tile = (n_cols + TILE_COLS - 1) / TILE_COLS;
    struct chunk k;
    struct tile t;
    for (int k0 = 0; k0 < n_k; k0 += CHUNK) {
        const int n_groups = (n_k - k0 < CHUNK ? n_k - k0 : CHUNK) / 32;
        for (int row = 0; row < s->n_rows; row += 16) {
            const int n = s->n_rows - row < 16 ? s->n_rows - row : 16;
            s->unpack(s, row / 16, k0, n_groups, &k);
            for (int i = 0; i < n_tile; i++) {
                const int c0 = n_cols * i / n_tile, m = n_cols * (i + 1) / n_tile - c0;
                float *to = y + (size_t)c0 * y_stride + row;
                tile_init(&t, x, x_stride, c0, m, n_k);
                tile_load(&t, to, y_stride, k0 ? n : 0, m);
                add[m](s->scaled, &k, n_groups, s->min, &t, k0 / 32);
                tile_store(&t, to, y_stride, n, m);
            }
        }
    }
}

/* ---- panels ---- */

/* Quads 2 e and 2 e + 1 of two rows stand together for products of matrices (SPLIT_AT). */
ALWAYS void unpack_quads(enum quants kind, const uint8_t *group, int8_t *ret)
{
#ifdef __ARM_FEATURE_MATMUL_INT8
    UNROLL for (int j = 0; j < 4; j += 2) UNROLL for (int i = 0; i < 4; i++)
    {
        const int8x16x2_t a = quads(kind, group, j, i), b = quads(kind, group, j + 1, i);
        UNROLL for (int h = 0; h < 2; h++)
        {
            const int32x4_t even = vreinterpretq_s32_s8(a.val[h]);
            const int32x4_t odd = vreinterpretq_s32_s8(b.val[h]);
            int8_t *to = ret + SPLIT_AT(j + 4 * h, i);
            vst1q_s8(to, vreinterpretq_s8_s32(vzip1q_s32(even, odd)));
            vst1q_s8(to + 16, vreinterpretq_s8_s32(vzip2q_s32(even, odd)));
        }
    }
#else
    UNROLL for (int j = 0; j < 4; j++) UNROLL for (int i = 0; i < 4; i++)
    {
        const int8x16x2_t v = quads(kind, group, j, i);
        vst1q_s8(ret + SPLIT_AT(j, i), v.val[0]);
        vst1q_s8(ret + SPLIT_AT(j + 4, i), v.val[1]);
    }
#endif
}

ALWAYS void unpack_panel(const struct form *f, const struct source *s, int panel, int k0,
                         int n_groups, struct chunk *ret)
{
    const int n_group = f->unit_elems / 32;
    const uint8_t *unit = (const uint8_t *)s->w + (size_t)panel * s->stride +
                          (size_t)(k0 / f->unit_elems) * (size_t)f->unit_bytes;
    for (int i0 = 0; i0 < n_groups; i0 += n_group, unit += f->unit_bytes) {
        unit_scales(f, ret, i0, unit);
        for (int g = 0; g < n_group; g++)
            unpack_quads(f->quants, unit + f->at_quants + g * f->group_bytes, ret->q[i0 + g]);
    }
}

/* One or two columns. */
ALWAYS void mul_narrow(const struct form *f, int n_cols, float *y, size_t y_stride, const void *w,
                       size_t panel_bytes, int n_rows, const void *x, size_t x_stride, int n_k)
{
    const int n_group = f->unit_elems / 32;
    struct chunk k;
    struct tile t;
    tile_init(&t, x, x_stride, 0, n_cols, n_k);
    for (int row = 0; row < n_rows; row += 16) {
        const uint8_t *unit = (const uint8_t *)w + (size_t)(row / 16) * panel_bytes;
        tile_load(&t, NULL, 0, 0, 0);
        for (int b = 0; b < n_k / 32; b += n_group, unit += f->unit_bytes) {
            unit_scales(f, &k, 0, unit);
            ROLL for (int g = 0; g < n_group; g++)
                add_group(f->quants, f->scaled, f->min, unit + f->at_quants + g * f->group_bytes,
                          &k, g, n_cols, t.a, b + g, t.acc);
        }
        tile_store(&t, y + row, y_stride, n_rows - row < 16 ? n_rows - row : 16, n_cols);
    }
}

#define FORM(name, ...) static const struct form form_##name = {__VA_ARGS__};
FORM(q4_0, NIB_8, HALF, MIN_NONE, false, 32, 288, 256, 0, 0, 0)
FORM(iq4_nl, NIB_IQ4, HALF, MIN_NONE, false, 32, 288, 256, 0, 0, 0)
FORM(mxfp4, NIB_MXFP4, E8, MIN_NONE, false, 32, 272, 256, 0, 0, 0)
FORM(q4_1, NIB, HALF_MIN, MIN_32, false, 32, 320, 256, 0, 0, 0)
FORM(q5_0, NIB_ONE_16, HALF, MIN_NONE, false, 32, 352, 320, 0, 0, 0)
FORM(q5_1, NIB_ONE, HALF_MIN, MIN_32, false, 32, 384, 320, 0, 0, 0)
FORM(q8_0, BYTES, HALF, MIN_NONE, false, 32, 544, 512, 0, 0, 0)
FORM(q4_k, NIB, SCALES_K, MIN_32, false, 256, 2304, 0, 256, 256, 0)
FORM(q5_k, NIB_ONE, SCALES_K, MIN_32, false, 256, 2816, 0, 256, 320, 0)
FORM(q6_k, NIB_TWO_32, SCALES_I8, MIN_NONE, true, 256, 3360, 0, 288, 384, 0)
FORM(q2_k, TWO, SCALES_Q2, MIN_16, true, 256, 1344, 0, 320, 128, 0)
FORM(q3_k, TWO_ONE_4, SCALES_6, MIN_NONE, true, 256, 1760, 0, 224, 192, 16)
FORM(iq4_xs, NIB_IQ4, SCALES_6, MIN_NONE, true, 256, 2176, 0, 128, 256, 8)
FORM(tq2_0, TWO_1, HALF, MIN_NONE, false, 256, 1056, 0, 32, 128, 0)

#define X(name, dtype)                                                                             \
    static void unpack_##name(const struct source *s, int panel, int k0, int n_groups,             \
                              struct chunk *ret)                                                   \
    {                                                                                              \
        unpack_panel(&form_##name, s, panel, k0, n_groups, ret);                                   \
    }                                                                                              \
    void K_ISA(k_mul_packed_##name)(K_MUL_PACKED_ARGS_NEON)                                        \
    {                                                                                              \
        const size_t stride = pack_panel_bytes(dtype, n_k);                                        \
        if (n_cols == 1) {                                                                         \
            mul_narrow(&form_##name, 1, y, y_stride, w, stride, n_rows, x, x_stride, n_k);         \
        } else if (n_cols == 2) {                                                                  \
            mul_narrow(&form_##name, 2, y, y_stride, w, stride, n_rows, x, x_stride, n_k);         \
        } else {                                                                                   \
            const struct source s = {unpack_##name,     w, stride, dtype, n_rows, form_##name.min, \
                                     form_##name.scaled};                                          \
            mul_wide(&s, y, y_stride, x, x_stride, n_cols, n_k);                                   \
        }                                                                                          \
    }
PACK_TYPES(X)
#undef X

/* ---- the file's layout ---- */

static void put_row(struct chunk *ret, int g, int r, const struct unpacked *u)
{
    for (int t = 0; t < 8; t++)
        memcpy(ret->q[g] + SPLIT_AT(t, r / 4) + r % 4 * SPLIT_ROW, u->q + 4 * t, 4);
    ret->d[g][r] = u->d;
    for (int h = 0; h < 2; h++) {
        ret->m[g][h][r] = u->m[h];
        ret->s[g][h][r] = u->scale[h];
    }
}

static void unpack_rows(const struct source *s, int panel, int k0, int n_groups, struct chunk *ret)
{
    const struct dtype_info *info = dtype_info((uint32_t)s->t);
    const k_unpack_fn unpack = k_unpackers[s->t].fn;
    const int n_group = info->block_elems / 32;
    for (int r = 0; r < 16; r++) {
        const bool inside = 16 * panel + r < s->n_rows;
        const size_t row = inside ? (size_t)(16 * panel + r) : 0;
        const uint8_t *block = (const uint8_t *)s->w + row * s->stride +
                               (size_t)(k0 / info->block_elems) * (size_t)info->block_bytes;
        for (int g = 0; g < n_groups; g++) {
            struct unpacked u = {0};
            if (inside)
                unpack(block + (size_t)(g / n_group) * (size_t)info->block_bytes, g % n_group, &u);
            put_row(ret, g, r, &u);
        }
    }
}

#define X(name, dtype)                                                                             \
    void K_ISA(k_mul_##name)(K_MUL_ARGS)                                                           \
    {                                                                                              \
        const struct source s = {unpack_rows, w, w_stride, dtype, n_rows, k_unpackers[dtype].min,  \
                                 true};                                                            \
        mul_wide(&s, y, y_stride, x, x_stride, n_cols, n_k);                                       \
    }
A8_TYPES(X)
#undef X
