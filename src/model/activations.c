/*
 * activations: how finely the inputs of products are rounded: the words, and what `auto` means.
 */
#include "model/model_state.h"

/* Below so many multiplied weights a model is fast anyway, and small models show every rounding
 * (docs/numerics.md). */
#define FULL_BELOW 700000000
/* A block gets a residual when its greatest value is so many times what is usual in its column:
 * about 3 % of the blocks of real models, with most of the rounding error. */
#define OUTLIER_BLOCK 2.5f

static const char *const word_of[] = {
    [ACTIVATIONS_AUTO] = "auto", [ACTIVATIONS_FULL] = "full", [ACTIVATIONS_FAST] = "fast"};

const char *activations_name(enum activations a)
{
    return word_of[a];
}

/* Weights that a token is multiplied with; in double: nothing overflows. */
static double n_multiplied(const struct hparams *h)
{
    double n_embd = h->n_embd, head_dim = h->head_dim;
    double attention = n_embd * head_dim * (2.0 * h->n_head + 2.0 * h->n_head_kv);
    return h->n_layer * (attention + 3.0 * n_embd * h->n_ff) + n_embd * h->n_vocab;
}

void activations_choose(struct model *m)
{
    enum activations a = m->opts.activations;
    if (a == ACTIVATIONS_AUTO)
        a = n_multiplied(&m->h) < FULL_BELOW ? ACTIVATIONS_FULL : ACTIVATIONS_FAST;
    m->info.activations = a;
    m->residual_above = a == ACTIVATIONS_FULL ? 0.0f : OUTLIER_BLOCK;
}
