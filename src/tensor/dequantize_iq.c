/*
 * dequantize_iq: owns the dequantization of the codebook types (IQ1, IQ2, IQ3): 256 elements per
 * block. Layouts are in tensor/blocks.h, codebooks in tensor/iq_grid.h.
 */
#include "tensor/blocks.h"
#include "tensor/dequantize.h"
#include "tensor/dtype.h"
#include "tensor/iq_grid.h"

/* n grid values times d, element i negated where bit i of signs is set. */
static void signed_row(float d, const uint8_t *row, unsigned signs, int n, float *dst)
{
    for (int i = 0; i < n; i++) {
        float x = d * (float)row[i];
        dst[i] = (signs >> i & 1) != 0 ? -x : x;
    }
}

/* Nibble i of an array of them, low one first. */
static int nibble(const uint8_t *p, int i)
{
    return p[i / 2] >> (i % 2 * 4) & 15;
}

void dequantize_iq2_xxs(const void *src, float *dst)
{
    const struct block_iq2_xxs *b = src;
    const struct iq_grids *grids = iq_grids();
    float d = f16_to_f32(b->d);
    for (int g = 0; g < 8; g++) {
        uint32_t bits = b->group[g].signs_scale;
        float dg = d * (0.5f + (float)(bits >> 28)) * 0.25f;
        for (int i = 0; i < 4; i++)
            signed_row(dg, grids->iq2_xxs[b->group[g].i_grid[i]], block_signs(bits >> (7 * i)), 8,
                       dst + g * 32 + i * 8);
    }
}

void dequantize_iq2_xs(const void *src, float *dst)
{
    const struct block_iq2_xs *b = src;
    const struct iq_grids *grids = iq_grids();
    float d = f16_to_f32(b->d);
    for (int i = 0; i < 32; i++) {
        unsigned q = b->qs[i];
        float dg = d * (0.5f + (float)nibble(b->scales, i / 2)) * 0.25f;
        signed_row(dg, grids->iq2_xs[q & 511], block_signs(q >> 9), 8, dst + i * 8);
    }
}

void dequantize_iq2_s(const void *src, float *dst)
{
    const struct block_iq2_s *b = src;
    const struct iq_grids *grids = iq_grids();
    float d = f16_to_f32(b->d);
    for (int i = 0; i < 32; i++) {
        unsigned q = b->qs[i] | (unsigned)(b->qh[i / 4] >> (i % 4 * 2) & 3) << 8;
        float dg = d * (0.5f + (float)nibble(b->scales, i / 2)) * 0.25f;
        signed_row(dg, grids->iq2_s[q], b->signs[i], 8, dst + i * 8);
    }
}

void dequantize_iq3_xxs(const void *src, float *dst)
{
    const struct block_iq3_xxs *b = src;
    const struct iq_grids *grids = iq_grids();
    float d = f16_to_f32(b->d);
    for (int g = 0; g < 8; g++) {
        uint32_t bits = b->signs_scale[g];
        float dg = d * (0.5f + (float)(bits >> 28)) * 0.5f;
        for (int i = 0; i < 8; i++) {
            unsigned signs = block_signs(bits >> (7 * (i / 2))) >> (i % 2 * 4);
            signed_row(dg, grids->iq3_xxs[b->qs[g * 8 + i]], signs, 4, dst + g * 32 + i * 4);
        }
    }
}

void dequantize_iq3_s(const void *src, float *dst)
{
    const struct block_iq3_s *b = src;
    const struct iq_grids *grids = iq_grids();
    float d = f16_to_f32(b->d);
    for (int i = 0; i < 64; i++) {
        unsigned q = b->qs[i] | (unsigned)(b->qh[i / 8] >> (i % 8) & 1) << 8;
        float dg = d * (float)(1 + 2 * nibble(b->scales, i / 8));
        signed_row(dg, grids->iq3_s[q], (unsigned)b->signs[i / 2] >> (i % 2 * 4), 4, dst + i * 4);
    }
}

/* 8 grid values, each shifted by an eighth up or down, times d. */
static void shifted_row(float d, const int8_t *row, bool down, float *dst)
{
    float shift = down ? -0.125f : 0.125f;
    for (int i = 0; i < 8; i++)
        dst[i] = d * ((float)row[i] + shift);
}

void dequantize_iq1_s(const void *src, float *dst)
{
    const struct block_iq1_s *b = src;
    const struct iq_grids *grids = iq_grids();
    float d = f16_to_f32(b->d);
    for (int i = 0; i < 32; i++) {
        unsigned qh = b->qh[i / 4];
        unsigned q = b->qs[i] | (qh >> (i % 4 * 3) & 7) << 8;
        float dg = d * (float)(2 * (qh >> 12 & 7) + 1);
        shifted_row(dg, grids->iq1[q], (qh >> 15) != 0, dst + i * 8);
    }
}

void dequantize_iq1_m(const void *src, float *dst)
{
    const struct block_iq1_m *b = src;
    const struct iq_grids *grids = iq_grids();
    unsigned half = (unsigned)b->scales[0] >> 12 | (unsigned)(b->scales[1] >> 12) << 4 |
                    (unsigned)(b->scales[2] >> 12) << 8 | (unsigned)(b->scales[3] >> 12) << 12;
    float d = f16_to_f32((uint16_t)half);
    for (int i = 0; i < 32; i++) {
        int high = nibble(b->qh, i);
        unsigned q = b->qs[i] | (unsigned)(high & 7) << 8;
        unsigned scale = (unsigned)b->scales[i / 8] >> (i % 8 / 2 * 3) & 7;
        shifted_row(d * (float)(2 * scale + 1), grids->iq1[q], (high & 8) != 0, dst + i * 8);
    }
}
