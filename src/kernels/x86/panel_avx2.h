/*
 * panel: weights of 16 rows, unpacked and interleaved, and the tiles that multiply them.
 *
 * A panel holds up to PANEL_K elements of 16 rows: four consecutive elements of each row in turn,
 * so that one 256-bit register has 8 rows and the dot product needs no sum across lanes: lane =
 * row. It is filled once and multiplied with every column.
 *
 * The int16 headroom of maddubs decides how products are gathered: with activations in [-127, 127]
 * a pair of products is at most 2 * wmax * 127, so 8 pairs of 4-bit weights (30480), 4 of 5-bit
 * (31496) and 2 of 6-bit ones (32004) fit into int16. 8-bit weights are signed: their signs move to
 * the activations and each pair is widened at once (2 * 128 * 127 = 32512).
 *
 * Every tile follows the order of operations of unpack.h, so its bits are generic's.
 */
#ifndef HEARTH_KERNELS_PANEL_AVX2_H
#define HEARTH_KERNELS_PANEL_AVX2_H

#include "kernels/unpack.h"

#define PANEL_ROWS   16
#define PANEL_K      512
#define PANEL_BLOCKS (PANEL_K / 32)
#define PANEL_COLS   3 /* columns of the widest tile */

enum panel_kind {
    PANEL_U4,  /* 0..15, no group scales */
    PANEL_U5,  /* 0..31, no group scales */
    PANEL_U6,  /* 0..63, a scale per 16 */
    PANEL_S8,  /* signed, no group scales */
    PANEL_S8S, /* signed, a scale per 16 */
};

struct panel {
    _Alignas(64) uint8_t q[PANEL_K / 4][PANEL_ROWS][4];
    float d[PANEL_BLOCKS][PANEL_ROWS];
    float m[PANEL_BLOCKS][2][PANEL_ROWS];          /* [1] only with MIN_16 */
    int16_t scale[PANEL_BLOCKS][2][PANEL_ROWS][2]; /* each twice: both pairs of a lane */
    int16_t offset[PANEL_BLOCKS][PANEL_ROWS][2];   /* U6: -32 * scale of each 16 */
    size_t ahead; /* bytes from a row to the one that the next panel has in its place */
};

/*
 * Fills blocks [0, n_blocks) of the panel from block b0 (of 32) of each row. Sixteen rows at once
 * are more streams than the processor follows by itself, so meanwhile as many bytes as are used are
 * prefetched, in the order of addresses, from `ahead` on: the next sixteen rows (they need not be
 * mapped).
 */
typedef void (*panel_fill_fn)(struct panel *p, const uint8_t *const row[PANEL_ROWS], int b0,
                              int n_blocks, uintptr_t ahead);

struct panel_type {
    panel_fill_fn fill;
    enum panel_kind kind;
    enum min_kind min;
    int offset; /* U4, U5: subtracted from each weight */
};

/* Adds to y[c][0..15] the panel's products with blocks b0.. of n_cols columns of activations;
 * begins at 0 when `first`. */
void panel_mul(const struct panel_type *t, const struct panel *p, int n_blocks, int b0, bool first,
               float *y, size_t y_stride, const void *x, size_t x_stride, int n_cols, int n_k);

#endif
