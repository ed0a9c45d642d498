/*
 * panel: weights of 16 rows as bytes, four consecutive elements of each row in turn, and the tiles
 * that multiply them.
 *
 * One 256-bit register has 8 rows and the dot product needs no sum across lanes: lane = row. A
 * panel holds up to PANEL_K elements of the rows. It is filled once and multiplied with every
 * column.
 *
 * The int16 headroom of maddubs decides how products are gathered: with activations in [-127, 127]
 * a pair of products is at most 2 * wmax * 127, so 8 pairs of 4-bit weights (30480), 4 of 5-bit
 * (31496) and 2 of 6-bit ones (32004) fit into int16; 8-bit ones are widened at once.
 *
 * 8-bit weights w are |w| and a mask that is -1 where w < 0: w * a = |w| * (a ^ mask) + |w| there
 * (-a = (a ^ -1) + 1), and the second part is known when the panel is filled. A pair is at least
 * -2 * 128 * 128 = -32768.
 *
 * Every tile follows the order of operations of unpack.h, so its bits are generic's.
 */
#ifndef HEARTH_KERNELS_PANEL_AVX2_H
#define HEARTH_KERNELS_PANEL_AVX2_H

#include "kernels/unpack.h"

#define PANEL_ROWS   16
#define PANEL_K      512
#define PANEL_BLOCKS (PANEL_K / 32)

enum panel_kind {
    PANEL_U4,  /* 0..15, no group scales */
    PANEL_U5,  /* 0..31, no group scales */
    PANEL_U5S, /* 0..31, a scale per 16 */
    PANEL_U6S, /* 0..63, a scale per 16 */
    PANEL_S8,  /* signed, no group scales */
    PANEL_S8S, /* signed, a scale per 16 */
};

/* What goes with the quants of a block of 32 elements; a type fills what its kind reads. */
struct panel_scales {
    _Alignas(64) float d[PANEL_ROWS];
    float m[2][PANEL_ROWS];          /* [1] only with MIN_16 */
    int16_t scale[2][PANEL_ROWS][2]; /* each twice: both pairs of a lane */
    int16_t offset[PANEL_ROWS][2];   /* minus offset * scale of each 16 */
    int32_t correct[PANEL_ROWS];     /* S8: sum of scale * |w| where w < 0 */
};

struct panel {
    _Alignas(64) uint8_t q[PANEL_K / 4][PANEL_ROWS][4];
    uint8_t sign[PANEL_K / 4][PANEL_ROWS][4]; /* S8: the masks; q is |w| */
    struct panel_scales s[PANEL_BLOCKS];
};

struct panel_type {
    enum panel_kind kind;
    enum min_kind min;
    int offset; /* subtracted from each weight; of kinds with scales only whether it is 0 counts */
};

/* Turns the signed quants of blocks [0, n_blocks) into |w|, masks and corrections. */
void panel_split_signs(struct panel *p, const struct panel_type *t, int n_blocks);

/* Adds to y[c][0..15] the panel's products with blocks b0.. (a multiple of PANEL_BLOCKS) of n_cols
 * columns of activations; begins at 0 when `first`. */
void panel_mul(const struct panel_type *t, const struct panel *p, int n_blocks, int b0, bool first,
               float *y, size_t y_stride, const void *x, size_t x_stride, int n_cols, int n_k);

#endif
