/*
 * attend_generic: attention in plain C, two passes per query row and piece, sums in double.
 *
 * Owns the meaning of attend (attend.h states it). The first pass finds the greatest score, the
 * second forms the scores again, so no memory grows with the context.
 */
#include "kernels/generic/generic.h"

#include <math.h>
#include <string.h>

static size_t pad16(int n)
{
    return ((size_t)n + 15) / 16 * 16;
}

static const uint8_t *block_of(const struct attend_args *a, int pos)
{
    return a->kv + a->block[pos / KV_BLOCK_LEN] * a->block_bytes;
}

/* Four bits in two's complement. */
static int half_of(uint8_t byte, bool high)
{
    const int q = high ? byte >> 4 : byte & 15;
    return q < 8 ? q : q - 16;
}

static double key(const struct attend_args *a, int pos, int i)
{
    const uint8_t *k = block_of(a, pos);
    const size_t j = (size_t)(pos % KV_BLOCK_LEN), at = (size_t)i * KV_BLOCK_LEN + j;
    if (a->type == KV_F16)
        return (double)f16_to_f32(((const uint16_t *)k)[at]);
    const size_t quants = ((size_t)a->head_dim + 3) / 4 * 4 * KV_BLOCK_LEN;
    if (a->type == KV_Q4_0) {
        const uint16_t *scale = (const uint16_t *)(k + quants / 2);
        return (double)f16_to_f32(scale[(size_t)(i / 32) * KV_BLOCK_LEN + j]) *
               half_of(k[(size_t)(i / 2) * KV_BLOCK_LEN + j], i % 2 != 0);
    }
    const uint16_t *scale = (const uint16_t *)(k + quants);
    const size_t quad_at = ((size_t)(i / 4) * KV_BLOCK_LEN + j) * 4 + (size_t)(i % 4);
    return (double)f16_to_f32(scale[(size_t)(i / 32) * KV_BLOCK_LEN + j]) *
           ((const int8_t *)k)[a->type == KV_Q8_0 ? at : quad_at];
}

static double value(const struct attend_args *a, int pos, int i)
{
    const uint8_t *v = block_of(a, pos) + kv_key_bytes(a->type, a->head_dim);
    const size_t j = (size_t)(pos % KV_BLOCK_LEN), row = pad16(a->head_dim_v);
    const size_t at = j * row + (size_t)i;
    if (a->type == KV_F16)
        return (double)f16_to_f32(((const uint16_t *)v)[at]);
    if (a->type == KV_Q4_0) {
        const uint16_t *scale = (const uint16_t *)(v + row / 2 * KV_BLOCK_LEN);
        return (double)f16_to_f32(scale[(size_t)(i / 32) * KV_BLOCK_LEN + j]) *
               half_of(v[j * row / 2 + (size_t)(i / 16 * 8 + i % 8)], i % 16 >= 8);
    }
    const uint16_t *scale = (const uint16_t *)(v + row * KV_BLOCK_LEN);
    return (double)f16_to_f32(scale[(size_t)(i / 32) * KV_BLOCK_LEN + j]) * ((const int8_t *)v)[at];
}

static float score(const struct attend_args *a, const float *q, int pos)
{
    double sum = 0;
    for (int i = 0; i < a->head_dim; i++)
        sum += (double)q[i] * key(a, pos, i);
    float s = (float)sum * a->scale;
    return a->cap > 0 ? a->cap * tanhf(s / a->cap) : s;
}

/* The partial result of positions [from, to). acc: double[head_dim_v]. */
static void attend_piece(const struct attend_args *a, int i_row, int from, int to, double *acc,
                         float *part)
{
    const float *q = a->q + a->q_at[i_row];
    float max = -INFINITY;
    double sum = 0;
    for (int pos = from; pos < to; pos++)
        max = fmaxf(max, score(a, q, pos));
    for (int i = 0; i < a->head_dim_v; i++)
        acc[i] = 0;
    for (int pos = from; pos < to; pos++) {
        double p = exp((double)score(a, q, pos) - (double)max);
        sum += p;
        for (int i = 0; i < a->head_dim_v; i++)
            acc[i] += p * value(a, pos, i);
    }
    for (int i = 0; i < a->head_dim_v; i++)
        part[i] = (float)acc[i];
    part[pad16(a->head_dim_v)] = max;
    part[pad16(a->head_dim_v) + 1] = (float)sum;
}

/* One more piece into the whole so far. */
static void join(float *whole, const float *part, int head_dim_v)
{
    const size_t n = pad16(head_dim_v);
    const float max = fmaxf(whole[n], part[n]);
    const float f = expf(whole[n] - max), g = expf(part[n] - max);
    for (int i = 0; i < head_dim_v; i++)
        whole[i] = fmaf(part[i], g, whole[i] * f);
    whole[n] = max;
    whole[n + 1] = fmaf(part[n + 1], g, whole[n + 1] * f);
}

static void finish(float *out, const float *whole, int head_dim_v)
{
    for (int i = 0; i < head_dim_v; i++)
        out[i] = whole[i] / whole[pad16(head_dim_v) + 1];
}

void k_attend_join_generic(float *out, float *part, int n_part, int head_dim_v)
{
    for (int i = 1; i < n_part; i++)
        join(part, part + (size_t)i * attend_part_len(head_dim_v), head_dim_v);
    finish(out, part, head_dim_v);
}

static void attend_row(const struct attend_args *a, int i_row)
{
    const size_t len = attend_part_len(a->head_dim_v);
    double *acc = (double *)(void *)a->scratch;
    float *mine = a->scratch + 2 * pad16(a->head_dim_v), *whole = mine + len;
    bool any = false, *seen = &any; /* whether `whole` holds something */
    if (a->carry != NULL) {
        whole = a->carry + a->part_at[i_row] * len;
        seen = &a->carried[a->part_at[i_row]];
    }
    for (int from = a->from[i_row], to; from < a->to[i_row]; from = to) {
        const int piece = from / ATTEND_SPLIT;
        to = (piece + 1) * ATTEND_SPLIT;
        to = to < a->to[i_row] ? to : a->to[i_row];
        if (a->part != NULL) {
            const size_t at = a->part_at[i_row] + (size_t)(piece - a->piece0);
            attend_piece(a, i_row, from, to, acc, a->part + at * len);
            continue;
        }
        attend_piece(a, i_row, from, to, acc, *seen ? mine : whole);
        if (*seen)
            join(whole, mine, a->head_dim_v);
        *seen = true;
    }
    if (a->part == NULL && a->carry == NULL)
        finish(a->out + a->out_at[i_row], whole, a->head_dim_v);
}

void k_attend_generic(const struct attend_args *a)
{
    for (int i = 0; i < a->n_q; i++)
        attend_row(a, i);
}
