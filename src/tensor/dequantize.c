/*
 * dequantize: owns dequantize_row and the types of 1 and of 32 elements per block. The types of 256
 * are in dequantize_k.c and dequantize_iq.c. Must not know files or kernels; speed is not the
 * point, the kernels room has its own ways.
 */
#include "tensor/dequantize.h"

#include "tensor/blocks.h"
#include "tensor/dtype.h"

#include <string.h>

const int8_t iq4_value[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                              1,    13,   25,  38,  53,  69,  89,  113};
const int8_t mxfp4_value[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

void dequantize_q4_0(const void *src, float *dst)
{
    const struct block_q4_0 *b = src;
    float d = f16_to_f32(b->d);
    for (int i = 0; i < 16; i++) {
        dst[i] = d * (float)((b->qs[i] & 15) - 8);
        dst[i + 16] = d * (float)((b->qs[i] >> 4) - 8);
    }
}

void dequantize_q4_1(const void *src, float *dst)
{
    const struct block_q4_1 *b = src;
    float d = f16_to_f32(b->d), m = f16_to_f32(b->m);
    for (int i = 0; i < 16; i++) {
        dst[i] = d * (float)(b->qs[i] & 15) + m;
        dst[i + 16] = d * (float)(b->qs[i] >> 4) + m;
    }
}

void dequantize_q5_0(const void *src, float *dst)
{
    const struct block_q5_0 *b = src;
    float d = f16_to_f32(b->d);
    for (int i = 0; i < 16; i++) {
        int low = (b->qs[i] & 15) | (int)(b->qh >> i & 1) << 4;
        int high = b->qs[i] >> 4 | (int)(b->qh >> (i + 16) & 1) << 4;
        dst[i] = d * (float)(low - 16);
        dst[i + 16] = d * (float)(high - 16);
    }
}

void dequantize_q5_1(const void *src, float *dst)
{
    const struct block_q5_1 *b = src;
    float d = f16_to_f32(b->d), m = f16_to_f32(b->m);
    for (int i = 0; i < 16; i++) {
        int low = (b->qs[i] & 15) | (int)(b->qh >> i & 1) << 4;
        int high = b->qs[i] >> 4 | (int)(b->qh >> (i + 16) & 1) << 4;
        dst[i] = d * (float)low + m;
        dst[i + 16] = d * (float)high + m;
    }
}

void dequantize_q8_0(const void *src, float *dst)
{
    const struct block_q8_0 *b = src;
    float d = f16_to_f32(b->d);
    for (int i = 0; i < 32; i++)
        dst[i] = d * (float)b->qs[i];
}

/* 16 bytes of 4-bit codes: low nibbles are the first half. */
static void by_code(float d, const uint8_t *qs, const int8_t value[16], float *dst)
{
    for (int i = 0; i < 16; i++) {
        dst[i] = d * (float)value[qs[i] & 15];
        dst[i + 16] = d * (float)value[qs[i] >> 4];
    }
}

void dequantize_mxfp4(const void *src, float *dst)
{
    const struct block_mxfp4 *b = src;
    by_code(block_scale_mxfp4(b->e), b->qs, mxfp4_value, dst);
}

void dequantize_iq4_nl(const void *src, float *dst)
{
    const struct block_iq4_nl *b = src;
    by_code(f16_to_f32(b->d), b->qs, iq4_value, dst);
}

void dequantize_iq4_xs(const void *src, float *dst)
{
    const struct block_iq4_xs *b = src;
    float d = f16_to_f32(b->d);
    for (int g = 0; g < 8; g++) {
        int low = b->scales_l[g / 2] >> (g % 2 * 4) & 15;
        int high = b->scales_h >> (g * 2) & 3;
        by_code(d * (float)((low | high << 4) - 32), b->qs + g * 16, iq4_value, dst + g * 32);
    }
}

static void dequantize_f16(const void *src, float *dst)
{
    uint16_t h;
    memcpy(&h, src, sizeof(h));
    *dst = f16_to_f32(h);
}

static void dequantize_bf16(const void *src, float *dst)
{
    uint16_t h;
    memcpy(&h, src, sizeof(h));
    *dst = bf16_to_f32(h);
}

static void dequantize_f64(const void *src, float *dst)
{
    double x;
    memcpy(&x, src, sizeof(x));
    *dst = (float)x;
}

static const dequantize_block_fn block_fns[DTYPE_END] = {
    [DTYPE_F16] = dequantize_f16,         [DTYPE_BF16] = dequantize_bf16,
    [DTYPE_F64] = dequantize_f64,         [DTYPE_Q4_0] = dequantize_q4_0,
    [DTYPE_Q4_1] = dequantize_q4_1,       [DTYPE_Q5_0] = dequantize_q5_0,
    [DTYPE_Q5_1] = dequantize_q5_1,       [DTYPE_Q8_0] = dequantize_q8_0,
    [DTYPE_Q2_K] = dequantize_q2_k,       [DTYPE_Q3_K] = dequantize_q3_k,
    [DTYPE_Q4_K] = dequantize_q4_k,       [DTYPE_Q5_K] = dequantize_q5_k,
    [DTYPE_Q6_K] = dequantize_q6_k,       [DTYPE_IQ1_S] = dequantize_iq1_s,
    [DTYPE_IQ1_M] = dequantize_iq1_m,     [DTYPE_IQ2_XXS] = dequantize_iq2_xxs,
    [DTYPE_IQ2_XS] = dequantize_iq2_xs,   [DTYPE_IQ2_S] = dequantize_iq2_s,
    [DTYPE_IQ3_XXS] = dequantize_iq3_xxs, [DTYPE_IQ3_S] = dequantize_iq3_s,
    [DTYPE_IQ4_NL] = dequantize_iq4_nl,   [DTYPE_IQ4_XS] = dequantize_iq4_xs,
    [DTYPE_TQ1_0] = dequantize_tq1_0,     [DTYPE_TQ2_0] = dequantize_tq2_0,
    [DTYPE_MXFP4] = dequantize_mxfp4,
};

bool dequantize_row(enum dtype t, const void *src, float *dst, size_t n)
{
    const struct dtype_info *info = dtype_info((uint32_t)t);
    if (info == NULL || n % (size_t)info->block_elems != 0)
        return false;
    if (t == DTYPE_F32) {
        if (n > 0)
            memcpy(dst, src, n * sizeof(float));
        return true;
    }
    dequantize_block_fn fn = block_fns[t];
    if (fn == NULL)
        return false;
    const uint8_t *block = src;
    for (size_t i = 0; i < n; i += (size_t)info->block_elems, block += info->block_bytes)
        fn(block, dst + i);
    return true;
}
