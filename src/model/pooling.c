/*
 * pooling: from the rows of a text's tokens to its vector, or to its scores. In double, in the
 * order of the tokens and dimensions: the bits depend on nothing else.
 */
#include "base/check.h"
#include "model/model_state.h"

#include <math.h>
#include <string.h>

/* y[i] = w[i] . x + b[i] */
static void layer_of(const float *w, const float *b, const float *x, int n_in, int n_out, float *y)
{
    for (int i = 0; i < n_out; i++) {
        double sum = b != NULL ? (double)b[i] : 0;
        for (int j = 0; j < n_in; j++)
            sum += (double)w[(size_t)i * n_in + j] * (double)x[j];
        y[i] = (float)sum;
    }
}

/* A decoder's answer is yes or no: how much more it is the former, whose sigmoid is the part that
 * yes has in the softmax of both. */
static void judge(const struct model *m, const float *row, float *out)
{
    const struct rank_head *head = &m->w.head;
    float y[2] = {0};
    layer_of(head->output, head->output_bias, row, m->h.n_embd, m->h.n_label, y);
    out[0] = m->h.n_label == 2 ? y[m->h.i_yes] - y[1 - m->h.i_yes] : y[0];
}

static void score(const struct model *m, const float *row, float *out)
{
    const struct rank_head *head = &m->w.head;
    int n = m->h.n_embd;
    float *dense = m->s.head;
    if (head->dense != NULL) {
        layer_of(head->dense, head->dense_bias, row, n, n, dense);
        for (int i = 0; i < n; i++)
            dense[i] = tanhf(dense[i]);
        row = dense;
    }
    layer_of(head->output, head->output_bias, row, n, m->h.n_label, out);
}

int model_pooled_len(const struct model *m)
{
    if (m->h.pooling != POOLING_RANK)
        return m->h.n_embd;
    return m->h.arch->encoder ? m->h.n_label : 1;
}

void model_pool_begin(const struct model *m, double *sum)
{
    memset(sum, 0, (size_t)m->h.n_embd * sizeof(*sum));
}

void model_pool_add(const struct model *m, const float *row, int n_row, double *sum)
{
    for (int t = 0; t < n_row; t++)
        for (int i = 0; i < m->h.n_embd; i++)
            sum[i] += (double)row[(size_t)t * m->h.n_embd + i];
}

void model_pool_mean(const struct model *m, const double *sum, int n_token, float *out)
{
    for (int i = 0; i < m->h.n_embd; i++)
        out[i] = (float)(sum[i] / n_token);
}

void model_pool_row(const struct model *m, const float *row, float *out)
{
    if (m->h.pooling == POOLING_RANK && m->h.arch->encoder)
        score(m, row, out);
    else if (m->h.pooling == POOLING_RANK)
        judge(m, row, out);
    else
        memcpy(out, row, (size_t)m->h.n_embd * sizeof(*out));
}
