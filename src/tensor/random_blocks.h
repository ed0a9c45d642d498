/*
 * random_blocks: random, valid blocks of every float and quantized tensor type, with a mean of 0
 * and a given standard deviation once dequantized. For models without weights: no quantizer runs,
 * the quants themselves are drawn and the scales set to fit.
 *
 * Blocks look like a quantizer's: every code that one writes may come, no other (no -128 in Q8_0,
 * no fourth state in TQ2_0); scales spread over a factor of 1.7 between blocks, group scales over
 * the upper half of their range, minima near the middle of the quants.
 *
 * The bytes depend on (seed, stream, chunk) alone. Thread: read-only after random_blocks_init.
 */
#ifndef HEARTH_TENSOR_RANDOM_BLOCKS_H
#define HEARTH_TENSOR_RANDOM_BLOCKS_H

#include "tensor/dtype.h"

#define RANDOM_TABLE_LEN 4096

/* Scales (or elements, of float types) to draw from. */
struct random_blocks {
    enum dtype type;
    int block_bytes;
    union {
        struct {
            uint16_t d[256];
            uint16_t min[256]; /* what goes with d[i] in types that have a minimum */
        } scale;
        uint8_t exponent[256]; /* MXFP4 */
        uint16_t half[RANDOM_TABLE_LEN];
        float single[RANDOM_TABLE_LEN];
    } u;
};

/* False for types that hold no weights (I8 ... I64, F64). deviation > 0. */
bool random_blocks_init(struct random_blocks *ret, enum dtype type, double deviation);
/* n_blocks blocks (of float types: elements) to dst, which need not be aligned. */
void random_blocks_fill(const struct random_blocks *r, uint64_t seed, uint64_t stream,
                        uint64_t chunk, void *dst, size_t n_blocks);

#endif
