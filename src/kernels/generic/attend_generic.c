/*
 * attend_generic: attention in plain C, two passes per query row, sums in double.
 *
 * Owns the meaning of attend (kernels.h states it). The first pass finds the greatest score, the
 * second forms the scores again, so no memory grows with the context.
 */
#include "kernels/generic/generic.h"

#include <math.h>

size_t attend_scratch_bytes(int head_dim, int head_dim_v)
{
    /* Keys and values of a tile of 32 positions as f32, each row padded to whole vectors. */
    size_t floats = 32 * (((size_t)head_dim + 15) / 16 * 16 + ((size_t)head_dim_v + 15) / 16 * 16);
    return floats * sizeof(float);
}

static float score(const struct attend_args *a, const float *q, int pos)
{
    const uint16_t *k = a->k_block[pos / a->block_len] + (size_t)(pos % a->block_len) * a->stride;
    double sum = 0;
    for (int i = 0; i < a->head_dim; i++)
        sum += (double)q[i] * (double)f16_to_f32(k[i]);
    float s = (float)sum * a->scale;
    return a->cap > 0 ? a->cap * tanhf(s / a->cap) : s;
}

static void attend_row(const struct attend_args *a, int i_row)
{
    const float *q = a->q + a->q_at[i_row];
    float *out = a->out + a->out_at[i_row];
    double *acc = (double *)(void *)a->scratch;
    float max = -INFINITY;
    double sum = 0;
    for (int pos = a->from[i_row]; pos < a->to[i_row]; pos++)
        max = fmaxf(max, score(a, q, pos));
    for (int i = 0; i < a->head_dim_v; i++)
        acc[i] = 0;
    for (int pos = a->from[i_row]; pos < a->to[i_row]; pos++) {
        const uint16_t *v =
            a->v_block[pos / a->block_len] + (size_t)(pos % a->block_len) * a->stride;
        double p = exp((double)score(a, q, pos) - (double)max);
        sum += p;
        for (int i = 0; i < a->head_dim_v; i++)
            acc[i] += p * (double)f16_to_f32(v[i]);
    }
    for (int i = 0; i < a->head_dim_v; i++)
        out[i] = (float)(acc[i] / sum);
}

void k_attend_generic(const struct attend_args *a)
{
    for (int i = 0; i < a->n_q; i++)
        attend_row(a, i);
}
