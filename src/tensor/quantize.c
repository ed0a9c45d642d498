/*
 * quantize: see the header. Owns the search within a group and the types of 1 and of 32 elements
 * per block; those of 256 are in quantize_k.c. Sums run in lanes, so that a compiler may use
 * vectors without changing a bit.
 */
#include "tensor/quantize.h"

#include "tensor/blocks.h"
#include "tensor/quantize_fit.h"

#include <math.h>
#include <string.h>

#define N_STEPS    21     /* scales that are tried, a tenth of a code apart around the full range */
#define N_REFINE   4      /* rounds of codes and least squares after that; most groups need one */
#define RANGE_MIN  1e-12f /* a smaller range is zero in every type */
#define STEP_CODES 0.1f

uint16_t fit_half(float x)
{
    if (x > QUANTIZE_ABS_MAX)
        return f32_to_f16(QUANTIZE_ABS_MAX);
    return f32_to_f16(x < -QUANTIZE_ABS_MAX ? -QUANTIZE_ABS_MAX : x);
}

static float sum_lanes(const float lane[FIT_LANES])
{
    float a = (lane[0] + lane[4]) + (lane[2] + lane[6]);
    float b = (lane[1] + lane[5]) + (lane[3] + lane[7]);
    return a + b;
}

/* Large values matter more to a product, but not as their squares: the others are many. */
void fit_weights(const float *x, float *w, int n)
{
    float lane[FIT_LANES] = {0};
    for (int i = 0; i < n; i += FIT_LANES)
        for (int l = 0; l < FIT_LANES; l++)
            lane[l] += x[i + l] * x[i + l];
    float rms = sqrtf(sum_lanes(lane) / (float)n);
    for (int i = 0; i < n; i++)
        w[i] = rms + fabsf(x[i]);
}

static inline float within(float q, struct fit_codes c)
{
    q = q < c.low ? c.low : q;
    return q > c.high ? c.high : q;
}

float fit_codes_of(const float *x, const float *w, int n, float scale, float min,
                   struct fit_codes c, float *q)
{
    float lane[FIT_LANES] = {0};
    float inverse = scale != 0.0f ? 1.0f / scale : 0.0f;
    for (int i = 0; i < n; i += FIT_LANES)
        for (int l = 0; l < FIT_LANES; l++) {
            float code = fit_nearest(within((x[i + l] - min) * inverse, c));
            float off = (scale * code + min) - x[i + l];
            q[i + l] = code;
            lane[l] += w[i + l] * off * off;
        }
    return sum_lanes(lane);
}

/* ---- scale and minimum ---- */

/* Sums over a group that do not depend on the codes. */
struct sums {
    float w, wx;
};

static struct sums sums_of(const float *x, const float *w, int n)
{
    float lane_w[FIT_LANES] = {0}, lane_wx[FIT_LANES] = {0};
    for (int i = 0; i < n; i += FIT_LANES)
        for (int l = 0; l < FIT_LANES; l++) {
            lane_w[l] += w[i + l];
            lane_wx[l] += w[i + l] * x[i + l];
        }
    return (struct sums){sum_lanes(lane_w), sum_lanes(lane_wx)};
}

static float error_of(const float *x, const float *w, int n, float scale, float min, const float *q)
{
    float lane[FIT_LANES] = {0};
    for (int i = 0; i < n; i += FIT_LANES)
        for (int l = 0; l < FIT_LANES; l++) {
            float off = (scale * q[i + l] + min) - x[i + l];
            lane[l] += w[i + l] * off * off;
        }
    return sum_lanes(lane);
}

/* Codes for inverse and min, then the scale and minimum that fit these codes best. */
static struct fit try_affine(const float *x, const float *w, int n, struct fit_codes c,
                             struct sums s, float inverse, float min, bool min_free)
{
    float q[FIT_MAX];
    float lane_q[FIT_LANES] = {0}, lane_qq[FIT_LANES] = {0}, lane_qx[FIT_LANES] = {0};
    for (int i = 0; i < n; i += FIT_LANES)
        for (int l = 0; l < FIT_LANES; l++) {
            float code = fit_nearest(within((x[i + l] - min) * inverse, c));
            float wq = w[i + l] * code;
            q[i + l] = code;
            lane_q[l] += wq;
            lane_qq[l] += wq * code;
            lane_qx[l] += wq * x[i + l];
        }
    float wq = sum_lanes(lane_q), wqq = sum_lanes(lane_qq), wqx = sum_lanes(lane_qx);
    struct fit f = {.error = INFINITY};
    float det = s.w * wqq - wq * wq;
    if (!(wqq > 0.0f))
        return f;
    f.scale = det > 0.0f ? (s.w * wqx - s.wx * wq) / det : 0.0f;
    f.min = det > 0.0f ? (wqq * s.wx - wq * wqx) / det : 0.0f;
    if (!(det > 0.0f) || (!min_free && f.min > 0.0f)) {
        f.min = 0.0f;
        f.scale = wqx / wqq;
    }
    if (f.scale > 0.0f)
        f.error = error_of(x, w, n, f.scale, f.min, q);
    return f;
}

void fit_affine(const float *x, const float *w, int n, struct fit_codes c, bool min_free,
                struct fit *ret)
{
    float low = x[0], high = x[0], q[FIT_MAX];
    for (int i = 1; i < n; i++) {
        low = x[i] < low ? x[i] : low;
        high = x[i] > high ? x[i] : high;
    }
    if (!min_free && low > 0.0f)
        low = 0.0f;
    *ret = (struct fit){.min = low};
    if (!(high - low > RANGE_MIN)) {
        ret->error = fit_codes_of(x, w, n, 0.0f, low, c, q);
        return;
    }
    struct sums s = sums_of(x, w, n);
    ret->scale = (high - low) / c.high;
    ret->error = fit_codes_of(x, w, n, ret->scale, low, c, q);
    for (int k = 0; k < N_STEPS; k++) {
        float full = c.high + STEP_CODES * (float)(k - N_STEPS / 2);
        struct fit f = try_affine(x, w, n, c, s, full / (high - low), low, min_free);
        if (f.error < ret->error)
            *ret = f;
    }
    for (int k = 0; k < N_REFINE; k++) {
        struct fit f = try_affine(x, w, n, c, s, 1.0f / ret->scale, ret->min, min_free);
        if (!(f.error < ret->error))
            break;
        *ret = f;
    }
}

/* ---- a scale alone ---- */

static struct fit try_symmetric(const float *x, const float *w, int n, struct fit_codes c,
                                float inverse)
{
    float q[FIT_MAX];
    float lane_qq[FIT_LANES] = {0}, lane_qx[FIT_LANES] = {0};
    for (int i = 0; i < n; i += FIT_LANES)
        for (int l = 0; l < FIT_LANES; l++) {
            float code = fit_nearest(within(x[i + l] * inverse, c));
            float wq = w[i + l] * code;
            q[i + l] = code;
            lane_qq[l] += wq * code;
            lane_qx[l] += wq * x[i + l];
        }
    float wqq = sum_lanes(lane_qq);
    struct fit f = {.error = INFINITY};
    if (!(wqq > 0.0f))
        return f;
    f.scale = sum_lanes(lane_qx) / wqq;
    if (f.scale != 0.0f)
        f.error = error_of(x, w, n, f.scale, 0.0f, q);
    return f;
}

/* The largest value has the code furthest from zero, whatever its sign. */
void fit_symmetric(const float *x, const float *w, int n, struct fit_codes c, struct fit *ret)
{
    float peak = 0.0f, q[FIT_MAX];
    for (int i = 0; i < n; i++)
        peak = fabsf(x[i]) > fabsf(peak) ? x[i] : peak;
    *ret = (struct fit){0};
    if (!(fabsf(peak) > RANGE_MIN)) {
        ret->error = fit_codes_of(x, w, n, 0.0f, 0.0f, c, q);
        return;
    }
    ret->scale = peak / c.low;
    ret->error = fit_codes_of(x, w, n, ret->scale, 0.0f, c, q);
    for (int k = 0; k < N_STEPS; k++) {
        float full = c.low + STEP_CODES * (float)(k - N_STEPS / 2);
        struct fit f = try_symmetric(x, w, n, c, full / peak);
        if (f.error < ret->error)
            *ret = f;
    }
    for (int k = 0; k < N_REFINE; k++) {
        struct fit f = try_symmetric(x, w, n, c, 1.0f / ret->scale);
        if (!(f.error < ret->error))
            break;
        *ret = f;
    }
}

/* ---- blocks of 32 ---- */

#define BLOCK 32

static uint32_t put_nibbles(const float *q, float offset, uint8_t qs[BLOCK / 2])
{
    uint32_t fifth = 0;
    for (int i = 0; i < BLOCK / 2; i++) {
        unsigned a = (unsigned)(int)(q[i] + offset);
        unsigned b = (unsigned)(int)(q[i + BLOCK / 2] + offset);
        qs[i] = (uint8_t)((a & 15) | (b & 15) << 4);
        fifth |= (uint32_t)(a >> 4 & 1) << i | (uint32_t)(b >> 4 & 1) << (i + BLOCK / 2);
    }
    return fifth;
}

static uint16_t symmetric_codes(const float *x, float half, float *q)
{
    const struct fit_codes c = {-half, half - 1};
    float w[BLOCK];
    struct fit f;
    fit_weights(x, w, BLOCK);
    fit_symmetric(x, w, BLOCK, c, &f);
    uint16_t d = fit_half(f.scale);
    fit_codes_of(x, w, BLOCK, f16_to_f32(d), 0.0f, c, q);
    return d;
}

static uint16_t affine_codes(const float *x, float high, float *q, uint16_t *ret_m)
{
    const struct fit_codes c = {0.0f, high};
    float w[BLOCK];
    struct fit f;
    fit_weights(x, w, BLOCK);
    fit_affine(x, w, BLOCK, c, true, &f);
    uint16_t d = fit_half(f.scale);
    *ret_m = fit_half(f.min);
    fit_codes_of(x, w, BLOCK, f16_to_f32(d), f16_to_f32(*ret_m), c, q);
    return d;
}

static void quantize_q4_0(const float *src, void *dst)
{
    struct block_q4_0 *b = dst;
    float q[BLOCK];
    b->d = symmetric_codes(src, 8.0f, q);
    put_nibbles(q, 8.0f, b->qs);
}

static void quantize_q5_0(const float *src, void *dst)
{
    struct block_q5_0 *b = dst;
    float q[BLOCK];
    b->d = symmetric_codes(src, 16.0f, q);
    b->qh = put_nibbles(q, 16.0f, b->qs);
}

static void quantize_q4_1(const float *src, void *dst)
{
    struct block_q4_1 *b = dst;
    float q[BLOCK];
    uint16_t m;
    b->d = affine_codes(src, 15.0f, q, &m);
    b->m = m;
    put_nibbles(q, 0.0f, b->qs);
}

static void quantize_q5_1(const float *src, void *dst)
{
    struct block_q5_1 *b = dst;
    float q[BLOCK];
    uint16_t m;
    b->d = affine_codes(src, 31.0f, q, &m);
    b->m = m;
    b->qh = put_nibbles(q, 0.0f, b->qs);
}

/* So fine that a search gains nothing. */
static void quantize_q8_0(const float *src, void *dst)
{
    static const struct fit_codes c = {-127.0f, 127.0f};
    static const float uncounted[BLOCK] = {0};
    struct block_q8_0 *b = dst;
    float q[BLOCK], peak = 0.0f;
    for (int i = 0; i < BLOCK; i++)
        peak = fabsf(src[i]) > peak ? fabsf(src[i]) : peak;
    b->d = fit_half(peak / 127.0f);
    fit_codes_of(src, uncounted, BLOCK, f16_to_f32(b->d), 0.0f, c, q);
    for (int i = 0; i < BLOCK; i++)
        b->qs[i] = (int8_t)q[i];
}

static void quantize_f16(const float *src, void *dst)
{
    uint16_t h = f32_to_f16(*src);
    memcpy(dst, &h, sizeof(h));
}

static void quantize_bf16(const float *src, void *dst)
{
    uint16_t h = f32_to_bf16(*src);
    memcpy(dst, &h, sizeof(h));
}

/* ---- rows ---- */

typedef void (*quantize_block_fn)(const float *src, void *dst);

static const quantize_block_fn block_fns[DTYPE_END] = {
    [DTYPE_F16] = quantize_f16,   [DTYPE_BF16] = quantize_bf16, [DTYPE_Q4_0] = quantize_q4_0,
    [DTYPE_Q4_1] = quantize_q4_1, [DTYPE_Q5_0] = quantize_q5_0, [DTYPE_Q5_1] = quantize_q5_1,
    [DTYPE_Q8_0] = quantize_q8_0, [DTYPE_Q4_K] = quantize_q4_k, [DTYPE_Q5_K] = quantize_q5_k,
    [DTYPE_Q6_K] = quantize_q6_k,
};

bool quantize_can(enum dtype t)
{
    return t == DTYPE_F32 || ((unsigned)t < DTYPE_END && block_fns[t] != NULL);
}

bool quantize_row(enum dtype t, const float *src, void *dst, size_t n)
{
    const struct dtype_info *info = dtype_info((uint32_t)t);
    if (!quantize_can(t) || n % (size_t)info->block_elems != 0)
        return false;
    if (t == DTYPE_F32) {
        if (n > 0)
            memcpy(dst, src, n * sizeof(float));
        return true;
    }
    for (size_t i = 0; i < n; i++)
        if (!(fabsf(src[i]) <= QUANTIZE_ABS_MAX)) /* NaN, too */
            return false;
    uint8_t *block = dst;
    for (size_t i = 0; i < n; i += (size_t)info->block_elems, block += info->block_bytes)
        block_fns[t](src + i, block);
    return true;
}
