/*
 * iq_grid: the codebooks of the IQ types, expanded.
 *
 * A codebook is an ascending list of points whose coordinates take a few levels. Row i holds the
 * values that index i stands for, element 0 first; a row of 8 may be read as one uint64_t, a row
 * of 4 as one uint32_t (rows are aligned to their size). Built on the first call, then constant;
 * any thread.
 */
#ifndef HEARTH_TENSOR_IQ_GRID_H
#define HEARTH_TENSOR_IQ_GRID_H

#include <stdint.h>

struct iq_grids {
    _Alignas(64) uint8_t iq2_xxs[256][8]; /* levels 8, 25, 43 */
    uint8_t iq2_xs[512][8];
    uint8_t iq2_s[1024][8];
    int8_t iq1[2048][8];     /* iq1_s and iq1_m: -1, 0, 1 */
    uint8_t iq3_xxs[256][4]; /* 4, 12, ... 52, 62 */
    uint8_t iq3_s[512][4];   /* 1, 3, ... 15 */
};

const struct iq_grids *iq_grids(void);

#endif
