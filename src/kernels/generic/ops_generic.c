/*
 * ops_generic: norms, activations, rotation and quantization of activations in plain C.
 *
 * Owns their meaning (kernels.h states it); uses the C library's exp and tanh, so that it is an
 * independent judge of the polynomials of other levels.
 */
#include "kernels/act.h"
#include "kernels/generic/generic.h"

#include <math.h>

void k_quantize_a8_generic(const float *x, void *q, int n)
{
    struct act a = act_at(q, n);
    int8_t *qs = (int8_t *)a.q;
    float *d = (float *)a.d, *s = (float *)a.s;
    int16_t *h = (int16_t *)a.h;
    for (int b = 0; b < n / 32; b++, x += 32, qs += 32) {
        float max = 0;
        bool finite = true;
        for (int i = 0; i < 32; i++) {
            finite = finite && isfinite(x[i]);
            max = fmaxf(max, fabsf(x[i]));
        }
        /* A block that is all but zero would have an infinite inverse: it is zero. */
        float inverse = max > 1e-36f ? 127.0f / max : 0;
        if (!finite)
            inverse = 0;
        int sum[2] = {0, 0};
        for (int i = 0; i < 32; i++) {
            qs[i] = finite ? (int8_t)rintf(x[i] * inverse) : 0;
            sum[i / 16] += qs[i];
        }
        d[b] = finite ? (inverse > 0 ? max / 127.0f : 0) : NAN;
        s[b] = d[b] * (float)(sum[0] + sum[1]);
        h[2 * b] = (int16_t)sum[0];
        h[2 * b + 1] = (int16_t)sum[1];
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
