/*
 * dtype: the table of tensor types, numbered as in the GGUF specification (ggml types).
 *
 * A row of n elements takes n / block_elems * block_bytes bytes; n must be a multiple of
 * block_elems. Nothing else in the tree knows block sizes.
 */
#ifndef HEARTH_TENSOR_DTYPE_H
#define HEARTH_TENSOR_DTYPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* X(enum, GGUF id, name, elements per block, bytes per block) */
#define DTYPES(X)                                                                                  \
    X(DTYPE_F32, 0, "F32", 1, 4)                                                                   \
    X(DTYPE_F16, 1, "F16", 1, 2)                                                                   \
    X(DTYPE_Q4_0, 2, "Q4_0", 32, 18)                                                               \
    X(DTYPE_Q4_1, 3, "Q4_1", 32, 20)                                                               \
    X(DTYPE_Q5_0, 6, "Q5_0", 32, 22)                                                               \
    X(DTYPE_Q5_1, 7, "Q5_1", 32, 24)                                                               \
    X(DTYPE_Q8_0, 8, "Q8_0", 32, 34)                                                               \
    X(DTYPE_Q2_K, 10, "Q2_K", 256, 84)                                                             \
    X(DTYPE_Q3_K, 11, "Q3_K", 256, 110)                                                            \
    X(DTYPE_Q4_K, 12, "Q4_K", 256, 144)                                                            \
    X(DTYPE_Q5_K, 13, "Q5_K", 256, 176)                                                            \
    X(DTYPE_Q6_K, 14, "Q6_K", 256, 210)                                                            \
    X(DTYPE_IQ2_XXS, 16, "IQ2_XXS", 256, 66)                                                       \
    X(DTYPE_IQ2_XS, 17, "IQ2_XS", 256, 74)                                                         \
    X(DTYPE_IQ3_XXS, 18, "IQ3_XXS", 256, 98)                                                       \
    X(DTYPE_IQ1_S, 19, "IQ1_S", 256, 50)                                                           \
    X(DTYPE_IQ4_NL, 20, "IQ4_NL", 32, 18)                                                          \
    X(DTYPE_IQ3_S, 21, "IQ3_S", 256, 110)                                                          \
    X(DTYPE_IQ2_S, 22, "IQ2_S", 256, 82)                                                           \
    X(DTYPE_IQ4_XS, 23, "IQ4_XS", 256, 136)                                                        \
    X(DTYPE_I8, 24, "I8", 1, 1)                                                                    \
    X(DTYPE_I16, 25, "I16", 1, 2)                                                                  \
    X(DTYPE_I32, 26, "I32", 1, 4)                                                                  \
    X(DTYPE_I64, 27, "I64", 1, 8)                                                                  \
    X(DTYPE_F64, 28, "F64", 1, 8)                                                                  \
    X(DTYPE_IQ1_M, 29, "IQ1_M", 256, 56)                                                           \
    X(DTYPE_BF16, 30, "BF16", 1, 2)                                                                \
    X(DTYPE_TQ1_0, 34, "TQ1_0", 256, 54)                                                           \
    X(DTYPE_TQ2_0, 35, "TQ2_0", 256, 66)                                                           \
    X(DTYPE_MXFP4, 39, "MXFP4", 32, 17)

enum dtype {
#define X(id, gguf, name, elems, bytes) id = gguf,
    DTYPES(X)
#undef X
};
#define DTYPE_END 40 /* one past the largest id: size of tables indexed by dtype */

struct dtype_info {
    const char *name; /* NULL for ids that are not in the table */
    int block_elems;
    int block_bytes;
};

/* NULL when the id is unknown. */
const struct dtype_info *dtype_info(uint32_t id);
const char *dtype_name(enum dtype t);
/* Bytes of a row of n elements; false when n is not a multiple of the block or on overflow. */
bool dtype_row_bytes(enum dtype t, uint64_t n, uint64_t *ret_bytes);

/*
 * Reference dequantization of n elements (a multiple of block_elems): equals the Python package
 * `gguf` bit for bit. src need not be aligned. False when the type has no float meaning (I8...).
 */
bool dequantize_row(enum dtype t, const void *src, float *dst, size_t n);

float f16_to_f32(uint16_t h); /* exact */
uint16_t f32_to_f16(float f); /* round to nearest even */
float bf16_to_f32(uint16_t h);
uint16_t f32_to_bf16(float f); /* round to nearest even */

#endif
