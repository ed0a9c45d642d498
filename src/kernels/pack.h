/*
 * pack: weights in the order in which the kernels read them ("P16"), one layout for every
 * instruction set.
 *
 * A panel is 16 rows of a matrix; the panels of a matrix stand one after the other, each
 * pack_panel_bytes long, a multiple of 64. Rows past the last of the matrix are zero. Packing
 * loses nothing and adds nothing but alignment: a packed row dequantizes to the same floats.
 *
 * Within a panel come units of 32 elements (types whose block is 32) or of 256 (the others), in
 * ascending k. A unit of 256 has its scales, then eight groups of quants of 32 elements; a unit of
 * 32 has its quants, then its scales. Quants of a group of 32 elements, where byte [r][i] of 64
 * stands at 4 * r + i (row r, i-th of four consecutive k), "quad t" are the elements 4t..4t+3, t =
 * 0..7, and element k of a group is in quad k / 4:
 *
 *   nib   256 B  vector j = 0..3 of 64 B: low nibble = quad j, high nibble = quad j + 4
 *   two   128 B  vector v = 0..1 of 64 B: bits 2p, 2p + 1 = quad v + 2p, p = 0..3
 *   one    64 B  bit t of a byte = quad t
 *   byte  512 B  vector t = 0..7 of 64 B: quad t, signed
 *
 * Types, "x[16]" being one value for each row; a "sub" is the type's own smallest scaled run:
 *
 *   Q4_0, IQ4_NL  unit 32:  nib, f16 d[16]                            288 B
 *   MXFP4         unit 32:  nib, u8 e[16]                             272 B
 *   Q4_1          unit 32:  nib, f16 d[16], f16 m[16]                 320 B
 *   Q5_0          unit 32:  nib, one, f16 d[16]                       352 B
 *   Q5_1          unit 32:  nib, one, f16 d[16], f16 m[16]            384 B
 *   Q8_0          unit 32:  byte, f16 d[16]                           544 B
 *   Q4_K          unit 256: f16 d[16], f16 dmin[16], k_scales, 8 x nib            2304 B
 *   Q5_K          unit 256: the same, then 8 x (nib, one)                         2816 B
 *   Q6_K          unit 256: f16 d[16], i8 scale[16 subs][16 rows], 8 x (nib, two) 3360 B
 *   Q2_K          unit 256: f16 d[16], f16 dmin[16], u8 scale_min[16 subs][16 rows] as in the
 *                           file (low nibble scale, high nibble minimum), 8 x two 1344 B
 *   Q3_K          unit 256: f16 d[16], low[8][16 rows] (byte i: low four bits of sub 2i, of sub
 *                           2i + 1 above), high[4][16 rows] (byte i: upper two bits of subs 4i..
 *                           4i + 3), 8 x (two, one); scale = 6 bits - 32; quant = two + 4 * one - 4
 *                                                                                 1760 B
 *   IQ4_XS        unit 256: f16 d[16], low[4][16 rows] (subs 2i and 2i + 1), high[2][16 rows] (subs
 *                           4i..4i + 3), 8 x nib; scale = 6 bits - 32             2176 B
 *   TQ2_0         unit 256: f16 d[16], 8 x two; quant = two - 1                   1056 B
 *
 *   k_scales, 192 B: low[8 subs][16 rows], low nibble = low four bits of the scale, high nibble =
 *   those of the minimum; then high[4][16 rows]: byte i has sub 2i in its low nibble and sub 2i + 1
 *   above, each as (upper two bits of the scale) | (upper two bits of the minimum) << 2.
 *
 * The quants of Q4_0 and Q5_0 are kept unsigned (offset 8, 16), Q6_K's too (offset 32); IQ4_NL,
 * IQ4_XS and MXFP4 keep indices into their tables. A unit is not padded, so only the panel's start
 * is aligned to 64; units of 288, 272, 320, 352, 384, 544, 3360, 1056... start at multiples of 16.
 *
 * All functions are pure and safe on any thread.
 */
#ifndef HEARTH_KERNELS_PACK_H
#define HEARTH_KERNELS_PACK_H

#include "tensor/dtype.h"

/* Raise it when the layout of any type changes: files of packed weights carry it. */
#define PACK_VERSION 1
#define PACK_ROWS    16

/* X(name, dtype): the types that have a packed layout. */
#define PACK_TYPES(X)                                                                              \
    X(q4_0, DTYPE_Q4_0)                                                                            \
    X(q4_1, DTYPE_Q4_1)                                                                            \
    X(q5_0, DTYPE_Q5_0)                                                                            \
    X(q5_1, DTYPE_Q5_1)                                                                            \
    X(q8_0, DTYPE_Q8_0)                                                                            \
    X(q2_k, DTYPE_Q2_K)                                                                            \
    X(q3_k, DTYPE_Q3_K)                                                                            \
    X(q4_k, DTYPE_Q4_K)                                                                            \
    X(q5_k, DTYPE_Q5_K)                                                                            \
    X(q6_k, DTYPE_Q6_K)                                                                            \
    X(iq4_nl, DTYPE_IQ4_NL)                                                                        \
    X(iq4_xs, DTYPE_IQ4_XS)                                                                        \
    X(tq2_0, DTYPE_TQ2_0)                                                                          \
    X(mxfp4, DTYPE_MXFP4)

/* Whether the type has a packed layout; the others (floats, grids) are multiplied as in the file.
 */
bool pack_has(enum dtype t);

/* Bytes of one unit and elements of one row in it (32 or 256); t: pack_has. */
size_t pack_unit_bytes(enum dtype t);
int pack_unit_elems(enum dtype t);

/* Bytes of one panel of n_k elements a row: n_k a multiple of the type's block; rounded up to 64.
 */
size_t pack_panel_bytes(enum dtype t, int n_k);

/* Bytes of a matrix of n_rows rows. */
size_t pack_bytes(enum dtype t, int n_rows, int n_k);

/*
 * Packs up to 16 rows of w (the file's layout, w_stride bytes apart, not aligned) into one panel.
 * ret: pack_panel_bytes, 64-byte aligned, wholly written. n_rows in [1, 16].
 */
void pack_panel(enum dtype t, void *ret, const void *w, size_t w_stride, int n_rows, int n_k);

/* Row r of a unit as the block it was: the inverse of packing. ret: the type's block_bytes. */
void pack_unpack_block(enum dtype t, void *ret, const void *unit, int r);

/* Row r of a panel back in the file's layout. */
void pack_unpack_row(enum dtype t, void *ret, const void *panel, int r, int n_k);

#endif
