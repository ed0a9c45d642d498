/*
 * dequantize_k: owns the dequantization of the K types and of the ternary types: 256 elements per
 * block. Groups and bit places are described in tensor/blocks.h.
 */
#include "tensor/blocks.h"
#include "tensor/dequantize.h"
#include "tensor/dtype.h"

void dequantize_q2_k(const void *src, float *dst)
{
    const struct block_q2_k *b = src;
    float d = f16_to_f32(b->d), dmin = f16_to_f32(b->dmin);
    for (int e = 0; e < 256; e++) {
        int q = b->qs[e / 128 * 32 + e % 32] >> (e % 128 / 32 * 2) & 3;
        float scale = d * (float)(b->scales[e / 16] & 15);
        float min = dmin * (float)(b->scales[e / 16] >> 4);
        dst[e] = scale * (float)q - min;
    }
}

void dequantize_q3_k(const void *src, float *dst)
{
    const struct block_q3_k *b = src;
    float d = f16_to_f32(b->d);
    for (int e = 0; e < 256; e++) {
        int q = b->qs[e / 128 * 32 + e % 32] >> (e % 128 / 32 * 2) & 3;
        int offset = (b->hmask[e % 32] >> (e / 32) & 1) != 0 ? 0 : 4;
        float scale = d * (float)block_scale_q3_k(b->scales, e / 16);
        dst[e] = scale * (float)(q - offset);
    }
}

void dequantize_q4_k(const void *src, float *dst)
{
    const struct block_q4_k *b = src;
    float d = f16_to_f32(b->d), dmin = f16_to_f32(b->dmin);
    for (int g = 0; g < 8; g++) {
        uint8_t scale, min;
        block_scale_min_k(b->scales, g, &scale, &min);
        float dg = d * (float)scale, mg = dmin * (float)min;
        const uint8_t *qs = b->qs + g / 2 * 32;
        for (int i = 0; i < 32; i++)
            dst[g * 32 + i] = dg * (float)(qs[i] >> (g % 2 * 4) & 15) - mg;
    }
}

void dequantize_q5_k(const void *src, float *dst)
{
    const struct block_q5_k *b = src;
    float d = f16_to_f32(b->d), dmin = f16_to_f32(b->dmin);
    for (int g = 0; g < 8; g++) {
        uint8_t scale, min;
        block_scale_min_k(b->scales, g, &scale, &min);
        float dg = d * (float)scale, mg = dmin * (float)min;
        const uint8_t *qs = b->qs + g / 2 * 32;
        for (int i = 0; i < 32; i++) {
            int q = (qs[i] >> (g % 2 * 4) & 15) | (b->qh[i] >> g & 1) << 4;
            dst[g * 32 + i] = dg * (float)q - mg;
        }
    }
}

void dequantize_q6_k(const void *src, float *dst)
{
    const struct block_q6_k *b = src;
    float d = f16_to_f32(b->d);
    for (int e = 0; e < 256; e++) {
        int low = b->ql[e / 128 * 64 + e % 64] >> (e % 128 / 64 * 4) & 15;
        int high = b->qh[e / 128 * 32 + e % 32] >> (e % 128 / 32 * 2) & 3;
        float scale = d * (float)b->scales[e / 16];
        dst[e] = scale * (float)((low | high << 4) - 32);
    }
}

/* Digit n of a byte that holds base-3 digits as a fraction of 256, less one: -1, 0, 1. */
static float trit(uint8_t byte, int n)
{
    static const uint8_t power[5] = {1, 3, 9, 27, 81};
    uint8_t rest = (uint8_t)(byte * power[n]);
    return (float)((rest * 3 >> 8) - 1);
}

void dequantize_tq1_0(const void *src, float *dst)
{
    const struct block_tq1_0 *b = src;
    float d = f16_to_f32(b->d);
    for (int i = 0; i < 160; i++)
        dst[i] = d * trit(b->qs[i % 32], i / 32);
    for (int i = 0; i < 80; i++)
        dst[160 + i] = d * trit(b->qs[32 + i % 16], i / 16);
    for (int i = 0; i < 16; i++)
        dst[240 + i] = d * trit(b->qh[i % 4], i / 4);
}

void dequantize_tq2_0(const void *src, float *dst)
{
    const struct block_tq2_0 *b = src;
    float d = f16_to_f32(b->d);
    for (int e = 0; e < 256; e++) {
        int q = b->qs[e / 128 * 32 + e % 32] >> (e % 128 / 32 * 2) & 3;
        dst[e] = d * (float)(q - 1);
    }
}
