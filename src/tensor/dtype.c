/*
 * dtype: owns the table of tensor types and the sizes of rows. Must not know files or kernels.
 */
#include "tensor/dtype.h"

#include "tensor/blocks.h"

static const struct dtype_info table[DTYPE_END] = {
#define X(id, gguf, name, elems, bytes) [id] = {name, elems, bytes},
    DTYPES(X)
#undef X
};

/* The table says what the structs take. */

#define SAME_SIZE(id, block)                                                                       \
    _Static_assert(sizeof(struct block) == id##_BYTES, #block " differs from the table")
enum {
#define X(id, gguf, name, elems, bytes) id##_BYTES = bytes,
    DTYPES(X)
#undef X
};
SAME_SIZE(DTYPE_Q4_0, block_q4_0);
SAME_SIZE(DTYPE_Q4_1, block_q4_1);
SAME_SIZE(DTYPE_Q5_0, block_q5_0);
SAME_SIZE(DTYPE_Q5_1, block_q5_1);
SAME_SIZE(DTYPE_Q8_0, block_q8_0);
SAME_SIZE(DTYPE_Q2_K, block_q2_k);
SAME_SIZE(DTYPE_Q3_K, block_q3_k);
SAME_SIZE(DTYPE_Q4_K, block_q4_k);
SAME_SIZE(DTYPE_Q5_K, block_q5_k);
SAME_SIZE(DTYPE_Q6_K, block_q6_k);
SAME_SIZE(DTYPE_IQ2_XXS, block_iq2_xxs);
SAME_SIZE(DTYPE_IQ2_XS, block_iq2_xs);
SAME_SIZE(DTYPE_IQ3_XXS, block_iq3_xxs);
SAME_SIZE(DTYPE_IQ1_S, block_iq1_s);
SAME_SIZE(DTYPE_IQ4_NL, block_iq4_nl);
SAME_SIZE(DTYPE_IQ3_S, block_iq3_s);
SAME_SIZE(DTYPE_IQ2_S, block_iq2_s);
SAME_SIZE(DTYPE_IQ4_XS, block_iq4_xs);
SAME_SIZE(DTYPE_IQ1_M, block_iq1_m);
SAME_SIZE(DTYPE_TQ1_0, block_tq1_0);
SAME_SIZE(DTYPE_TQ2_0, block_tq2_0);
SAME_SIZE(DTYPE_MXFP4, block_mxfp4);

const struct dtype_info *dtype_info(uint32_t id)
{
    if (id >= DTYPE_END || table[id].name == NULL)
        return NULL;
    return &table[id];
}

const char *dtype_name(enum dtype t)
{
    const struct dtype_info *info = dtype_info((uint32_t)t);
    return info != NULL ? info->name : "?";
}

bool dtype_row_bytes(enum dtype t, uint64_t n, uint64_t *ret_bytes)
{
    const struct dtype_info *info = dtype_info((uint32_t)t);
    if (info == NULL || n % (uint64_t)info->block_elems != 0)
        return false;
    uint64_t bytes;
    if (__builtin_mul_overflow(n / (uint64_t)info->block_elems, (uint64_t)info->block_bytes,
                               &bytes))
        return false;
    *ret_bytes = bytes;
    return true;
}
