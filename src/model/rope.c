/*
 * rope: see rope.h.
 */
#include "model/rope.h"

#include <math.h>

static const double pi = 3.14159265358979323846;

/* The pair whose angle makes `turns` full turns over the original context. */
static double yarn_pair(const struct hparams *h, double base, double turns)
{
    return h->n_rot * log(h->rope_n_ctx_orig / (2.0 * pi * turns)) / (2.0 * log(base));
}

/*
 * YaRN: pairs that turn fast keep their frequency, pairs that turn slowly are stretched by the
 * factor, and a linear ramp joins them; cos and sin grow with the logarithm of the factor.
 */
static void yarn(struct rope *r, const struct hparams *h, double base)
{
    double low = fmax(0.0, floor(yarn_pair(h, base, h->yarn_beta_fast)));
    double high = fmin(h->n_rot - 1.0, ceil(yarn_pair(h, base, h->yarn_beta_slow)));
    double width = fmax(0.001, high - low); /* never divides by zero */
    for (int i = 0; i < r->n_pair; i++) {
        double ramp = fmin(1.0, fmax(0.0, (i - low) / width));
        r->freq[i] = r->freq[i] / h->rope_factor * ramp + r->freq[i] * (1.0 - ramp);
    }
    r->magnitude *= 1.0 + 0.1 * log(h->rope_factor);
}

void rope_init(struct rope *r, const struct hparams *h, bool local, const float *factor)
{
    /* Where local layers have a base of their own they are not stretched either. */
    bool scaled = !(local && h->arch->rope_local_base);
    double base = local ? h->rope_base_local : h->rope_base;
    r->n_pair = h->n_rot / 2;
    r->magnitude = scaled ? h->rope_attn_factor : 1.0;
    for (int i = 0; i < r->n_pair; i++)
        r->freq[i] = pow(base, -2.0 * i / h->n_rot);
    if (!scaled)
        return;
    for (int i = 0; factor != NULL && i < r->n_pair; i++)
        r->freq[i] /= (double)factor[i];
    if (h->rope_kind == ROPE_YARN && h->rope_factor > 1.0)
        yarn(r, h, base);
    else
        for (int i = 0; i < r->n_pair; i++)
            r->freq[i] /= h->rope_factor;
}

void rope_angles(const struct rope *r, int position, float *cos_sin)
{
    for (int i = 0; i < r->n_pair; i++) {
        double angle = position * r->freq[i];
        cos_sin[2 * i] = (float)(cos(angle) * r->magnitude);
        cos_sin[2 * i + 1] = (float)(sin(angle) * r->magnitude);
    }
}
