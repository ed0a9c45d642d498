/*
 * quantize: floats into the blocks of a tensor type, for files that are made here.
 *
 *     if (quantize_can(DTYPE_Q4_K)) ok = quantize_row(DTYPE_Q4_K, x, blocks, n);
 *
 * Scales are searched for: of each group many are tried, each followed by the least squares that
 * its codes allow, weighted so that large values count more; then what a block shares is fitted to
 * all its codes. The same floats give the same bytes on every machine. Thread-safe.
 */
#ifndef HEARTH_TENSOR_QUANTIZE_H
#define HEARTH_TENSOR_QUANTIZE_H

#include "tensor/dtype.h"

#define QUANTIZE_ABS_MAX 65504.0f /* of values: what a 16-bit float holds, as scales are */

/* F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q4_K, Q5_K, Q6_K. */
bool quantize_can(enum dtype t);
/*
 * n: a multiple of block_elems. False: not such a type; or (but for F32) a value is no number, or
 * beyond QUANTIZE_ABS_MAX; dst is not to be used then.
 */
bool quantize_row(enum dtype t, const float *src, void *dst, size_t n)
    __attribute__((warn_unused_result));

#endif
