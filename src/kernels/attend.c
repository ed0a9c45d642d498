/*
 * attend: keys and values as they are stored (attend.h has the layout), and the sizes of what
 * attention needs. The same code at every level: scattering a key's column over its block costs
 * more than converting it.
 */
#include "kernels/attend_quads.h"
#include "kernels/kernels.h"
#include "tensor/dtype.h"

#include <math.h>
#include <string.h>

static const char *const names[] = {
    [KV_F16] = "f16", [KV_Q8_0] = "q8_0", [KV_Q4_0] = "q4_0", [KV_Q8_0_QUADS] = "q8_0"};

const char *kv_type_name(enum kv_type t)
{
    return names[t];
}

static size_t pad(size_t n, size_t to)
{
    return (n + to - 1) / to * to;
}

static size_t scale_bytes(int dim)
{
    return pad((size_t)dim, 32) / 32 * KV_BLOCK_LEN * sizeof(uint16_t);
}

size_t attend_part_len(int head_dim_v)
{
    return pad((size_t)head_dim_v, 16) + 16;
}

size_t attend_scratch_bytes(int head_dim, int head_dim_v)
{
    /* Of every row: q, the scores of a piece, two partial results (attend_vec.c). */
    const size_t q = (size_t)head_dim * ATTEND_Q_STRIDE;
    const size_t row = ATTEND_SPLIT + 16 + 2 * attend_part_len(head_dim_v);
    return (q + ATTEND_ROWS * row + attend_weights_len(head_dim_v) + attend_quads_len(head_dim)) *
           sizeof(float);
}

size_t kv_key_bytes(enum kv_type t, int head_dim)
{
    if (t == KV_F16)
        return (size_t)head_dim * KV_BLOCK_LEN * sizeof(uint16_t);
    const size_t n = pad((size_t)head_dim, 4) * KV_BLOCK_LEN;
    return (t == KV_Q4_0 ? n / 2 : n) + scale_bytes(head_dim);
}

size_t kv_value_bytes(enum kv_type t, int head_dim_v)
{
    size_t n = pad((size_t)head_dim_v, 16) * KV_BLOCK_LEN;
    if (t == KV_F16)
        return n * sizeof(uint16_t);
    return (t == KV_Q4_0 ? n / 2 : n) + scale_bytes(head_dim_v);
}

/* n <= 32 numbers to 8 bits, and the scale. */
static uint16_t quantize(int8_t *q, const float *x, int n)
{
    float max = 0, sum = 0;
    for (int i = 0; i < n; i++) {
        const float a = fabsf(x[i]);
        max = a > max ? a : max;
        sum += x[i] - x[i]; /* 0, or NaN */
    }
    const uint16_t half = f32_to_f16(max / 127);
    const float d = f16_to_f32(half);
    if (sum != 0 || d - d != 0) {
        memset(q, 0, (size_t)n);
        return 0x7e00;
    }
    if (d == 0) {
        memset(q, 0, (size_t)n);
        return 0;
    }
    for (int i = 0; i < n; i++) {
        const float v = x[i] / d;
        const float in = v > 127 ? 127 : v < -127 ? -127 : v;
        q[i] = (int8_t)lrintf(in);
    }
    return half;
}

/* n_side: dims of a key that lie side by side. */
static void store_q8_0(uint8_t *kv, int i, int n_side, const float *k, int dim, const float *v,
                       int dim_v)
{
    int8_t *keys = (int8_t *)kv + i * n_side;
    uint16_t *key_scale = (uint16_t *)(kv + pad((size_t)dim, 4) * KV_BLOCK_LEN);
    for (int d = 0; d < dim; d += 32) {
        int8_t q[32];
        const int n = dim - d < 32 ? dim - d : 32;
        key_scale[d + i] = quantize(q, k + d, n);
        for (int j = 0; j < n; j++)
            keys[(d + j) / n_side * KV_BLOCK_LEN * n_side + (d + j) % n_side] = q[j];
    }
    uint8_t *values = kv + kv_key_bytes(KV_Q8_0, dim);
    const size_t row = pad((size_t)dim_v, 16);
    uint16_t *value_scale = (uint16_t *)(values + row * KV_BLOCK_LEN);
    for (int d = 0; d < dim_v; d += 32)
        value_scale[d + i] = quantize((int8_t *)values + (size_t)i * row + d, v + d,
                                      dim_v - d < 32 ? dim_v - d : 32);
}

/* n <= 32 numbers to 4 bits, the rest of q to 0, and the scale. */
static uint16_t quantize_q4(int8_t *q, const float *x, int n)
{
    float m = 0, sum = 0;
    for (int i = 0; i < n; i++) {
        m = fabsf(x[i]) > fabsf(m) ? x[i] : m;
        sum += x[i] - x[i]; /* 0, or NaN */
    }
    const uint16_t half = f32_to_f16(m / -8);
    const float d = f16_to_f32(half);
    memset(q, 0, 32);
    if (sum != 0 || d - d != 0)
        return 0x7e00;
    if (d == 0)
        return 0;
    for (int i = 0; i < n; i++) {
        const float v = x[i] / d;
        const float in = v > 7 ? 7 : v < -8 ? -8 : v;
        q[i] = (int8_t)lrintf(in);
    }
    return half;
}

static void store_q4_0(uint8_t *kv, int i, const float *k, int dim, const float *v, int dim_v)
{
    uint16_t *key_scale = (uint16_t *)(kv + pad((size_t)dim, 4) / 2 * KV_BLOCK_LEN);
    int8_t q[32];
    for (int d = 0; d < dim; d += 32) {
        const int n = dim - d < 32 ? dim - d : 32;
        key_scale[d + i] = quantize_q4(q, k + d, n);
        for (int j = 0; j < n; j += 2)
            kv[(d + j) / 2 * KV_BLOCK_LEN + i] = (uint8_t)((q[j] & 15) | (q[j + 1] & 15) << 4);
    }
    uint8_t *values = kv + kv_key_bytes(KV_Q4_0, dim);
    const size_t row = pad((size_t)dim_v, 16) / 2;
    uint16_t *value_scale = (uint16_t *)(values + row * KV_BLOCK_LEN);
    for (int d = 0; d < dim_v; d += 32) {
        const int n = dim_v - d < 32 ? dim_v - d : 32;
        value_scale[d + i] = quantize_q4(q, v + d, n);
        for (int j = 0; j < n; j += 16)
            for (int l = 0; l < 8; l++)
                values[(size_t)i * row + (size_t)((d + j) / 2 + l)] =
                    (uint8_t)((q[j + l] & 15) | (q[j + l + 8] & 15) << 4);
    }
}

bool kv_is_rotated(enum kv_type t)
{
    return t == KV_Q4_0;
}

void kv_rotate(float *x, int head_dim)
{
    const int power = head_dim & -head_dim, n = power < KV_ROTATE_MAX ? power : KV_ROTATE_MAX;
    const float f = 1 / sqrtf((float)n);
    for (int half = 1; half < n; half *= 2)
        for (int i = 0; i < head_dim; i += 2 * half)
            for (int j = i; j < i + half; j++) {
                const float a = x[j], b = x[j + half];
                x[j] = a + b;
                x[j + half] = a - b;
            }
    for (int i = 0; i < head_dim; i++)
        x[i] *= f;
}

static void store_f16(uint8_t *kv, int i, const float *k, int dim, const float *v, int dim_v)
{
    uint16_t *keys = (uint16_t *)kv;
    uint16_t *values =
        (uint16_t *)(kv + kv_key_bytes(KV_F16, dim)) + (size_t)i * pad((size_t)dim_v, 16);
    for (int d = 0; d < dim; d++)
        keys[(size_t)d * KV_BLOCK_LEN + (size_t)i] = f32_to_f16(k[d]);
    for (int d = 0; d < dim_v; d++)
        values[d] = f32_to_f16(v[d]);
}

void kv_store(enum kv_type t, uint8_t *kv, int i, const float *k, int head_dim, const float *v,
              int head_dim_v)
{
    if (t == KV_F16)
        store_f16(kv, i, k, head_dim, v, head_dim_v);
    else if (t == KV_Q4_0)
        store_q4_0(kv, i, k, head_dim, v, head_dim_v);
    else
        store_q8_0(kv, i, t == KV_Q8_0 ? 1 : 4, k, head_dim, v, head_dim_v);
}
