/*
 * mul_packed_avx2: products of packed weights: the order in which panels, elements and columns are
 * visited (packed_avx2.h has what is done with them).
 *
 * Few columns: a panel is read from its first byte to its last and multiplied as it
 * comes. More: elements in chunks outermost, then the panels of a group, then the columns, so that
 * the columns' chunk stays in the caches while every panel's chunk, unpacked in the first level,
 * sweeps over it; weights are read once.
 */
#include "kernels/generic/generic.h"
#include "kernels/x86/avx2.h"
#include "kernels/x86/packed_avx2.h"

#include <string.h>

#define GROUP_PANELS 8  /* 128 rows: their results stay in the second level */
#define TAIL_COLS    24 /* columns at a time of rows that end within a panel */

/* The columns `blocks` < 32 further on. */
static void move_on(struct columns *x, int blocks)
{
    x->q += 32 * blocks;
    x->d += blocks;
    x->h += 2 * blocks;
    x->s += blocks;
    x->s16 += 2 * blocks;
    x->has >>= blocks;
}

/* One panel, n_cols <= fused_cols: groups of columns take turns at a few blocks. */
static void mul_fused(const struct packed_type *t, float *y, size_t y_stride, const uint8_t *w,
                      const uint8_t *x, size_t x_stride, int n_cols, int n_k)
{
    const int n_b = n_k / 32, step = t->unit_blocks == 8 ? 8 : PANEL_BLOCKS;
    struct panel_scales s[PANEL_BLOCKS];
    struct columns cols[PACKED_FUSED / TILE_COLS + 1];
    for (int b0 = 0; b0 < n_b; b0 += step) {
        const int n = n_b - b0 < step ? n_b - b0 : step;
        t->scales(s, w, n);
        for (int c = 0, g = 0, nc; c < n_cols; c += nc, g++) {
            const uint8_t *from = x + (size_t)c * x_stride;
            nc = tile_cols(n_cols - c, TILE_COLS);
            if (b0 % 32 == 0)
                cols[g] = columns_at(from, x_stride, nc, n_k, b0);
            t->tile[nc](w, s, n, &cols[g], b0 == 0, y + (size_t)c * y_stride, y_stride);
            move_on(&cols[g], step);
        }
        w += (size_t)(n / t->unit_blocks) * t->unit_bytes;
    }
}

/* Blocks b0.. of one panel; w: its first unit of them. */
static void mul_chunk(const struct packed_type *t, struct panel *p, float *y, size_t y_stride,
                      const uint8_t *w, size_t panel_bytes, int b0, const void *x, size_t x_stride,
                      int n_cols, int n_k)
{
    const int left = n_k / 32 - b0, n = left < PANEL_BLOCKS ? left : PANEL_BLOCKS;
    t->scales(p->s, w, n);
    t->bytes(p, w, n, panel_bytes);
    panel_mul(&t->panel, p, n, b0, b0 == 0, y, y_stride, x, x_stride, n_cols, n_k);
}

static void mul_panels(const struct packed_type *t, size_t panel_bytes, float *y, size_t y_stride,
                       const uint8_t *w, int n_panels, const void *x, size_t x_stride, int n_cols,
                       int n_k)
{
    const packed_one_fn one = t == &packed_q4_k   ? packed_one_q4_k
                              : t == &packed_q5_k ? packed_one_q5_k
                                                  : NULL;
    if (n_cols == 1 && one != NULL) {
        for (int i = 0; i < n_panels; i++)
            one(w + (size_t)i * panel_bytes, x, n_k, y + PANEL_ROWS * i);
        return;
    }
    if (n_cols <= t->fused_cols) {
        for (int i = 0; i < n_panels; i++)
            mul_fused(t, y + PANEL_ROWS * i, y_stride, w + (size_t)i * panel_bytes, x, x_stride,
                      n_cols, n_k);
        return;
    }
    struct panel p;
    for (int g = 0; g < n_panels; g += GROUP_PANELS) {
        const int end = n_panels - g < GROUP_PANELS ? n_panels : g + GROUP_PANELS;
        for (int b0 = 0; b0 < n_k / 32; b0 += PANEL_BLOCKS) {
            const size_t at = (size_t)(b0 / t->unit_blocks) * t->unit_bytes;
            for (int i = g; i < end; i++)
                mul_chunk(t, &p, y + PANEL_ROWS * i, y_stride, w + (size_t)i * panel_bytes + at,
                          panel_bytes, b0, x, x_stride, n_cols, n_k);
        }
    }
}

static void mul_packed(const struct packed_type *t, enum dtype type, K_MUL_PACKED_ARGS)
{
    const size_t panel_bytes = pack_panel_bytes(type, n_k);
    const int n_whole = n_rows / PANEL_ROWS, n_left = n_rows % PANEL_ROWS;
    mul_panels(t, panel_bytes, y, y_stride, w, n_whole, x, x_stride, n_cols, n_k);
    for (int c = 0; n_left > 0 && c < n_cols;) { /* whole tiles, of which some rows are kept */
        float tmp[TAIL_COLS][PANEL_ROWS];
        const int nc = n_cols - c < TAIL_COLS ? n_cols - c : TAIL_COLS;
        mul_panels(t, panel_bytes, tmp[0], PANEL_ROWS,
                   (const uint8_t *)w + (size_t)n_whole * panel_bytes, 1,
                   (const uint8_t *)x + (size_t)c * x_stride, x_stride, nc, n_k);
        for (int i = 0; i < nc; i++)
            memcpy(y + (size_t)(c + i) * y_stride + PANEL_ROWS * n_whole, tmp[i],
                   (size_t)n_left * sizeof(float));
        c += nc;
    }
}

#define X(name, dtype)                                                                             \
    void k_mul_packed_##name##_avx2(K_MUL_PACKED_ARGS)                                             \
    {                                                                                              \
        mul_packed(&packed_##name, dtype, y, y_stride, w, n_rows, x, x_stride, n_cols, n_k);       \
    }
PACK_TYPES(X)
#undef X
