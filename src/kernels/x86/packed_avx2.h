/*
 * packed: how the AVX2 level reads panels of packed weights (kernels/pack.h).
 *
 * For few columns the quants become bytes in registers (`tile`), for more they are unpacked once
 * into a panel of bytes (panel_avx2.h). Scales are always unpacked first, a few
 * blocks at a time.
 */
#ifndef HEARTH_KERNELS_PACKED_AVX2_H
#define HEARTH_KERNELS_PACKED_AVX2_H

#include "kernels/x86/panel_avx2.h"
#include "kernels/x86/tile_avx2.h"

/* Scales of n_blocks blocks from the beginning of a unit; n_blocks: up to PANEL_BLOCKS, whole
 * units. */
typedef void (*packed_scales_fn)(struct panel_scales *s, const uint8_t *unit, int n_blocks);

/* The quants of the same blocks as bytes; the same bytes `ahead` further on are prefetched. */
typedef void (*packed_bytes_fn)(struct panel *p, const uint8_t *unit, int n_blocks, size_t ahead);

/* y[c][0..15] += the products of the same blocks; n_blocks: those of a unit of 256, or up to
 * PANEL_BLOCKS of units of 32. */
typedef void (*packed_tile_fn)(const uint8_t *unit, const struct panel_scales *s, int n_blocks,
                               const struct columns *x, bool first, float *y, size_t y_stride);

/* y[0..15] = the products of a whole panel with one column. */
typedef void (*packed_one_fn)(const uint8_t *panel, const void *x, int n_k, float *y);

/* The most that fused_cols may be. */
#define PACKED_FUSED 8

struct packed_type {
    struct panel_type panel;
    size_t unit_bytes;
    int unit_blocks; /* 1 or 8 */
    int fused_cols;  /* the most columns that are multiplied without a panel of bytes */
    packed_scales_fn scales;
    packed_bytes_fn bytes;
    packed_tile_fn tile[TILE_COLS + 1]; /* [number of columns] */
};

/* X(name, source, kind, min, offset, bytes before a unit's quants, bytes of a unit or of a group of
 * quants, blocks of a unit) */
#define PACKED_TYPES(X)                                                                            \
    X(q4_0, SOURCE_NIB, PANEL_U4, MIN_NONE, 8, 0, 288, 1)                                          \
    X(q4_1, SOURCE_NIB, PANEL_U4, MIN_32, 0, 0, 320, 1)                                            \
    X(q5_0, SOURCE_NIB_ONE, PANEL_U5, MIN_NONE, 16, 0, 352, 1)                                     \
    X(q5_1, SOURCE_NIB_ONE, PANEL_U5, MIN_32, 0, 0, 384, 1)                                        \
    X(q8_0, SOURCE_BYTE, PANEL_S8, MIN_NONE, 0, 0, 544, 1)                                         \
    X(iq4_nl, SOURCE_IQ4, PANEL_S8, MIN_NONE, 0, 0, 288, 1)                                        \
    X(mxfp4, SOURCE_MXFP4, PANEL_U5, MIN_NONE, 12, 0, 272, 1)                                      \
    X(q4_k, SOURCE_NIB, PANEL_U4, MIN_32, 0, 256, 256, 8)                                          \
    X(q5_k, SOURCE_NIB_ONE, PANEL_U5, MIN_32, 0, 256, 320, 8)                                      \
    X(q6_k, SOURCE_NIB_TWO, PANEL_U6S, MIN_NONE, 32, 288, 384, 8)                                  \
    X(q2_k, SOURCE_TWO, PANEL_U5S, MIN_16, 0, 320, 128, 8)                                         \
    X(q3_k, SOURCE_TWO_ONE, PANEL_U5S, MIN_NONE, 4, 224, 192, 8)                                   \
    X(iq4_xs, SOURCE_IQ4, PANEL_S8S, MIN_NONE, 0, 128, 256, 8)                                     \
    X(tq2_0, SOURCE_TWO, PANEL_U4, MIN_NONE, 1, 32, 128, 8)

#define X(name, ...)                                                                               \
    void packed_scales_##name(struct panel_scales *s, const uint8_t *unit, int n_blocks);
PACKED_TYPES(X)
#undef X

void packed_one_q4_k(const uint8_t *panel, const void *x, int n_k, float *y);
void packed_one_q5_k(const uint8_t *panel, const void *x, int n_k, float *y);

#define X(name, ...) extern const struct packed_type packed_##name;
PACKED_TYPES(X)
#undef X

#endif
