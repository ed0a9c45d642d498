/*
 * ops_generic: norms, activations, rotation and quantization of activations in plain C.
 *
 * Owns their meaning (kernels.h states it); uses the C library's exp and tanh, so that it is an
 * independent judge of the polynomials of other levels.
 */
#include "kernels/act.h"
#include "kernels/generic/generic.h"

#include <math.h>
#include <string.h>

/* One plane of 32 elements: the scale; sum: of the first and second 16 quants. */
static float quantize32(const float *x, float max, int8_t *q, int16_t *sum)
{
    /* A block that is all but zero would have an infinite inverse: it is zero. */
    const float inverse = max > 1e-36f ? 127.0f / max : 0;
    sum[0] = sum[1] = 0;
    for (int i = 0; i < 32; i++) {
        q[i] = (int8_t)rintf(x[i] * inverse);
        sum[i / 16] = (int16_t)(sum[i / 16] + q[i]);
    }
    return inverse > 0 ? max / 127.0f : 0;
}

/* NaN when a value is not finite. */
static float max32(const float *x)
{
    float max = 0;
    bool finite = true;
    for (int i = 0; i < 32; i++) {
        finite = finite && isfinite(x[i]);
        max = fmaxf(max, fabsf(x[i]));
    }
    return finite ? max : NAN;
}

/* The arrays of an act, to be written. */
struct act_out {
    int8_t *q, *r;
    float *d, *e, *s, *s16;
    int16_t *h, *g;
    uint32_t *has;
};

static void quantize_residual(const float *x, const struct act_out *a, int b)
{
    float rest[32];
    for (int i = 0; i < 32; i++)
        rest[i] = fmaf(-a->d[b], a->q[32 * b + i], x[i]);
    a->e[b] = quantize32(rest, max32(rest), a->r + 32 * b, a->g + 2 * b);
    if (a->e[b] > 0)
        a->has[b / 32] |= UINT32_C(1) << b % 32;
}

static void sum_block(const struct act_out *a, int b)
{
    const int16_t *h = a->h + 2 * b, *g = a->g + 2 * b;
    const float d = a->d[b], e = a->e[b];
    a->s[b] = fmaf(e, (float)(g[0] + g[1]), d * (float)(h[0] + h[1]));
    for (int i = 0; i < 2; i++)
        a->s16[2 * b + i] = fmaf(e, (float)g[i], d * (float)h[i]);
}

void k_quantize_a8_generic(const float *x, void *q, int n, float residual_above)
{
    const struct act to = act_at(q, n);
    const struct act_out a = {(int8_t *)to.q,  (int8_t *)to.r,  (float *)to.d,
                              (float *)to.e,   (float *)to.s,   (float *)to.s16,
                              (int16_t *)to.h, (int16_t *)to.g, (uint32_t *)to.has};
    const int n_block = n / 32;
    double sum2 = 0, n_finite = 0;
    memset(q, 0, act_bytes(n));
    for (int b = 0; b < n_block; b++) {
        const float max = max32(x + 32 * b);
        a.d[b] = max; /* for now */
        if (isnan(max))
            continue;
        sum2 += (double)max * (double)max;
        n_finite++;
    }
    const double above2 = (double)residual_above * (double)residual_above * sum2;
    for (int b = 0; b < n_block; b++) {
        const float max = a.d[b];
        if (!isnan(max))
            a.d[b] = quantize32(x + 32 * b, max, a.q + 32 * b, a.h + 2 * b);
        if ((double)max * (double)max * n_finite > above2)
            quantize_residual(x + 32 * b, &a, b);
        sum_block(&a, b);
    }
}

void k_rms_norm_generic(float *y, const float *x, const float *w, int n, float eps)
{
    double sum = 0;
    for (int i = 0; i < n; i++)
        sum += (double)x[i] * (double)x[i];
    float inv_rms = (float)(1.0 / sqrt(sum / n + (double)eps));
    for (int i = 0; i < n; i++)
        y[i] = x[i] * inv_rms * w[i];
}

void k_layer_norm_generic(float *y, const float *x, const float *w, const float *b, int n,
                          float eps)
{
    double sum = 0, sum2 = 0;
    for (int i = 0; i < n; i++)
        sum += (double)x[i];
    double mean = sum / n;
    for (int i = 0; i < n; i++)
        sum2 += ((double)x[i] - mean) * ((double)x[i] - mean);
    float inv = (float)(1.0 / sqrt(sum2 / n + (double)eps));
    for (int i = 0; i < n; i++)
        y[i] = (x[i] - (float)mean) * inv * w[i] + (b ? b[i] : 0);
}

void k_add_generic(float *y, const float *x, int n)
{
    for (int i = 0; i < n; i++)
        y[i] += x[i];
}

void k_scale_generic(float *y, float s, int n)
{
    for (int i = 0; i < n; i++)
        y[i] *= s;
}

void k_silu_mul_generic(float *y, const float *gate, const float *up, int n)
{
    for (int i = 0; i < n; i++)
        y[i] = gate[i] / (1.0f + expf(-gate[i])) * up[i];
}

void k_gelu_mul_generic(float *y, const float *gate, const float *up, int n)
{
    const float root_2_over_pi = 0.79788456080286535588f;
    for (int i = 0; i < n; i++) {
        float g = gate[i];
        float inner = root_2_over_pi * (g + 0.044715f * g * g * g);
        y[i] = 0.5f * g * (1.0f + tanhf(inner)) * up[i];
    }
}

void k_gelu_erf_generic(float *y, int n)
{
    for (int i = 0; i < n; i++) /* 1 + erf(x) as erfc(-x): exact where it is small */
        y[i] = 0.5f * y[i] * erfcf(-0.70710678118654752440f * y[i]);
}

void k_softcap_generic(float *y, float cap, int n)
{
    for (int i = 0; i < n; i++)
        y[i] = cap * tanhf(y[i] / cap);
}

void k_rope_generic(float *x, const float *cos_sin, int n_head, int head_dim, int n_rot, bool neox)
{
    int half = n_rot / 2;
    for (int h = 0; h < n_head; h++, x += head_dim) {
        for (int i = 0; i < half; i++) {
            int a = neox ? i : 2 * i;
            int b = neox ? i + half : 2 * i + 1;
            float c = cos_sin[2 * i], s = cos_sin[2 * i + 1];
            float xa = x[a], xb = x[b];
            x[a] = xa * c - xb * s;
            x[b] = xa * s + xb * c;
        }
    }
}

void k_f32_to_f16_generic(uint16_t *y, const float *x, int n)
{
    for (int i = 0; i < n; i++)
        y[i] = f32_to_f16(x[i]);
}
