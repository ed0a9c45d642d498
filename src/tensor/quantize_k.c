/*
 * quantize_k: owns the making of the K types: 256 elements per block, in groups whose scales are
 * small numbers that share a 16-bit float. Each group is fitted by itself; its scale becomes a
 * code; then codes and shared floats are fitted to each other.
 */
#include "tensor/blocks.h"
#include "tensor/quantize_fit.h"

#include <math.h>
#include <string.h>

#define BLOCK    256
#define N_ROUNDS 2 /* of neighbouring codes, then least squares of what the block shares */

/* ---- q4_k, q5_k: 8 groups of 32, scales and minima of 6 bits ---- */

#define GROUP    32
#define N_GROUP  (BLOCK / GROUP)
#define CODE_MAX 63

struct affine_block {
    uint16_t d, dmin; /* as stored */
    int scale[N_GROUP], min[N_GROUP];
    float q[BLOCK];
    float error;
};

static int code_of(float x, float unit, int low, int high)
{
    if (!(unit != 0.0f))
        return 0;
    float q = x / unit;
    q = q < (float)low ? (float)low : q;
    return (int)fit_nearest(q > (float)high ? (float)high : q);
}

/* What a block's scales are multiples of. Below the normal halves it is rounded up: codes become
 * smaller then, where rounded down they would pass their bound, or all be zero. */
static uint16_t unit_half(float x)
{
    uint16_t h = fit_half(x);
    return fabsf(x) < 0x1p-14f && fabsf(f16_to_f32(h)) < fabsf(x) ? (uint16_t)(h + 1) : h;
}

/* Codes for what the block says now; returns the error. */
static float take_codes(const float *x, const float *w, struct fit_codes c, struct affine_block *b)
{
    float d = f16_to_f32(b->d), dmin = f16_to_f32(b->dmin);
    b->error = 0.0f;
    for (int g = 0; g < N_GROUP; g++)
        b->error += fit_codes_of(x + g * GROUP, w + g * GROUP, GROUP, d * (float)b->scale[g],
                                 -dmin * (float)b->min[g], c, b->q + g * GROUP);
    return b->error;
}

/* A step up or down of the group's scale or minimum, where it is better. */
static void improve_group(const float *x, const float *w, struct fit_codes c,
                          struct affine_block *b, int g)
{
    static const int step[][2] = {{1, 0}, {-1, 0}, {0, 1}, {0, -1}, {1, 1}, {-1, -1}};
    float d = f16_to_f32(b->d), dmin = f16_to_f32(b->dmin), q[GROUP];
    int scale = b->scale[g], min = b->min[g];
    float best = fit_codes_of(x, w, GROUP, d * (float)scale, -dmin * (float)min, c, q);
    for (size_t k = 0; k < sizeof step / sizeof step[0]; k++) {
        int s = scale + step[k][0], m = min + step[k][1];
        if (s < 0 || s > CODE_MAX || m < 0 || m > CODE_MAX)
            continue;
        float error = fit_codes_of(x, w, GROUP, d * (float)s, -dmin * (float)m, c, q);
        if (error < best) {
            best = error;
            b->scale[g] = s;
            b->min[g] = m;
        }
    }
}

/* d and dmin that fit all codes best: two equations. */
static void refit(const float *x, const float *w, struct affine_block *b)
{
    double aa = 0, ab = 0, bb = 0, ax = 0, bx = 0;
    for (int g = 0; g < N_GROUP; g++) {
        float qq = 0, q1 = 0, one = 0, qx = 0, x1 = 0;
        for (int i = g * GROUP; i < (g + 1) * GROUP; i++) {
            float wq = w[i] * b->q[i];
            qq += wq * b->q[i];
            q1 += wq;
            one += w[i];
            qx += wq * x[i];
            x1 += w[i] * x[i];
        }
        double s = b->scale[g], m = b->min[g];
        aa += s * s * (double)qq;
        ab += s * m * (double)q1;
        bb += m * m * (double)one;
        ax += s * (double)qx;
        bx += m * (double)x1;
    }
    double det = aa * bb - ab * ab;
    if (aa <= 0)
        return;
    double d = ax / aa, dmin = (double)f16_to_f32(b->dmin);
    if (bb > 0 && det > 1e-12 * aa * bb) {
        d = (ax * bb - bx * ab) / det;
        dmin = (ax * ab - bx * aa) / det;
    }
    if (d > 0 && dmin >= 0) {
        b->d = fit_half((float)d);
        b->dmin = fit_half((float)dmin);
    }
}

static void fit_block(const float *x, float code_max, struct affine_block *ret)
{
    const struct fit_codes c = {0.0f, code_max};
    float w[BLOCK], scale[N_GROUP], min[N_GROUP], scale_max = 0.0f, min_max = 0.0f;
    for (int g = 0; g < N_GROUP; g++) {
        struct fit f;
        fit_weights(x + g * GROUP, w + g * GROUP, GROUP);
        fit_affine(x + g * GROUP, w + g * GROUP, GROUP, c, false, &f);
        scale[g] = f.scale;
        min[g] = -f.min;
        scale_max = scale[g] > scale_max ? scale[g] : scale_max;
        min_max = min[g] > min_max ? min[g] : min_max;
    }
    struct affine_block b = {.d = unit_half(scale_max / CODE_MAX),
                             .dmin = unit_half(min_max / CODE_MAX)};
    for (int g = 0; g < N_GROUP; g++) {
        b.scale[g] = code_of(scale[g], f16_to_f32(b.d), 0, CODE_MAX);
        b.min[g] = code_of(min[g], f16_to_f32(b.dmin), 0, CODE_MAX);
    }
    take_codes(x, w, c, &b);
    *ret = b;
    for (int k = 0; k < N_ROUNDS; k++) {
        for (int g = 0; g < N_GROUP; g++)
            improve_group(x + g * GROUP, w + g * GROUP, c, &b, g);
        if (take_codes(x, w, c, &b) < ret->error)
            *ret = b;
        refit(x, w, &b);
        if (!(take_codes(x, w, c, &b) < ret->error))
            break;
        *ret = b;
    }
}

/* The 6-bit codes as block_scale_min_k reads them. */
static void put_scales(const struct affine_block *b, uint8_t out[12])
{
    for (int g = 0; g < 4; g++) {
        int above = g + 4;
        out[g] = (uint8_t)(b->scale[g] | b->scale[above] >> 4 << 6);
        out[g + 4] = (uint8_t)(b->min[g] | b->min[above] >> 4 << 6);
        out[g + 8] = (uint8_t)((b->scale[above] & 15) | (b->min[above] & 15) << 4);
    }
}

static void put_low_bits(const float *q, uint8_t out[BLOCK / 2])
{
    for (int c = 0; c < BLOCK / 64; c++)
        for (int i = 0; i < 32; i++) {
            int a = (int)q[64 * c + i] & 15, b = (int)q[64 * c + 32 + i] & 15;
            out[32 * c + i] = (uint8_t)(a | b << 4);
        }
}

void quantize_q4_k(const float *src, void *dst)
{
    struct block_q4_k *out = dst;
    struct affine_block b;
    fit_block(src, 15.0f, &b);
    out->d = b.d;
    out->dmin = b.dmin;
    put_scales(&b, out->scales);
    put_low_bits(b.q, out->qs);
}

void quantize_q5_k(const float *src, void *dst)
{
    struct block_q5_k *out = dst;
    struct affine_block b;
    fit_block(src, 31.0f, &b);
    out->d = b.d;
    out->dmin = b.dmin;
    put_scales(&b, out->scales);
    put_low_bits(b.q, out->qs);
    memset(out->qh, 0, sizeof(out->qh));
    for (int e = 0; e < BLOCK; e++)
        out->qh[e % 32] |= (uint8_t)(((int)b.q[e] >> 4 & 1) << (e / 32));
}

/* ---- q6_k: 16 groups of 16, scales of 8 bits with a sign ---- */

#define GROUP6   16
#define N_GROUP6 (BLOCK / GROUP6)

struct signed_block {
    uint16_t d;
    int scale[N_GROUP6];
    float q[BLOCK];
    float error;
};

static const struct fit_codes codes6 = {-32.0f, 31.0f};

static float take_codes6(const float *x, const float *w, struct signed_block *b)
{
    float d = f16_to_f32(b->d);
    b->error = 0.0f;
    for (int g = 0; g < N_GROUP6; g++) {
        int at = g * GROUP6;
        b->error +=
            fit_codes_of(x + at, w + at, GROUP6, d * (float)b->scale[g], 0.0f, codes6, b->q + at);
    }
    return b->error;
}

static void improve_group6(const float *x, const float *w, struct signed_block *b, int g)
{
    float d = f16_to_f32(b->d), q[GROUP6];
    int scale = b->scale[g];
    float best = fit_codes_of(x, w, GROUP6, d * (float)scale, 0.0f, codes6, q);
    for (int s = scale - 1; s <= scale + 1; s += 2) {
        float error = s < -128 || s > 127
                          ? INFINITY
                          : fit_codes_of(x, w, GROUP6, d * (float)s, 0.0f, codes6, q);
        if (error < best) {
            best = error;
            b->scale[g] = s;
        }
    }
}

static void refit6(const float *x, const float *w, struct signed_block *b)
{
    double aa = 0, ax = 0;
    for (int g = 0; g < N_GROUP6; g++) {
        float qq = 0, qx = 0;
        for (int i = g * GROUP6; i < (g + 1) * GROUP6; i++) {
            float wq = w[i] * b->q[i];
            qq += wq * b->q[i];
            qx += wq * x[i];
        }
        double s = b->scale[g];
        aa += s * s * (double)qq;
        ax += s * (double)qx;
    }
    if (aa > 0)
        b->d = fit_half((float)(ax / aa));
}

/* The scale furthest from zero becomes -128, whatever its sign. */
static void fit_block6(const float *x, struct signed_block *ret)
{
    float w[BLOCK], scale[N_GROUP6], peak = 0.0f;
    for (int g = 0; g < N_GROUP6; g++) {
        struct fit f;
        fit_weights(x + g * GROUP6, w + g * GROUP6, GROUP6);
        fit_symmetric(x + g * GROUP6, w + g * GROUP6, GROUP6, codes6, &f);
        scale[g] = f.scale;
        peak = fabsf(f.scale) > fabsf(peak) ? f.scale : peak;
    }
    struct signed_block b = {.d = unit_half(peak / -128.0f)};
    for (int g = 0; g < N_GROUP6; g++)
        b.scale[g] = code_of(scale[g], f16_to_f32(b.d), -128, 127);
    take_codes6(x, w, &b);
    *ret = b;
    for (int k = 0; k < N_ROUNDS; k++) {
        for (int g = 0; g < N_GROUP6; g++)
            improve_group6(x + g * GROUP6, w + g * GROUP6, &b, g);
        if (take_codes6(x, w, &b) < ret->error)
            *ret = b;
        refit6(x, w, &b);
        if (!(take_codes6(x, w, &b) < ret->error))
            break;
        *ret = b;
    }
}

void quantize_q6_k(const float *src, void *dst)
{
    struct block_q6_k *out = dst;
    struct signed_block b;
    fit_block6(src, &b);
    out->d = b.d;
    memset(out->ql, 0, sizeof(out->ql));
    memset(out->qh, 0, sizeof(out->qh));
    for (int g = 0; g < N_GROUP6; g++)
        out->scales[g] = (int8_t)b.scale[g];
    for (int e = 0; e < BLOCK; e++) {
        int q = (int)b.q[e] + 32;
        out->ql[e / 128 * 64 + e % 64] |= (uint8_t)((q & 15) << (e % 128 / 64 * 4));
        out->qh[e / 128 * 32 + e % 32] |= (uint8_t)(q >> 4 << (e % 128 / 32 * 2));
    }
}
