/*
 * rope: rotary position angles with every scaling the table's architectures use.
 *
 * Angles are formed in double and rounded once, so a position's cosines do not depend on which
 * positions were formed before it.
 *
 * Sources: RoPE (Su et al. 2021); YaRN (Peng et al. 2023); LongRoPE (Ding et al. 2024); Llama 3.1's
 * scaling comes ready as divisors of the frequencies (tensor rope_freqs).
 */
#ifndef HEARTH_MODEL_ROPE_H
#define HEARTH_MODEL_ROPE_H

#include "model/arch.h"

struct rope {
    int n_pair;                    /* n_rot / 2 */
    double magnitude;              /* of cos and sin: 1 but for yarn and longrope */
    double freq[HEAD_DIM_MAX / 2]; /* [n_pair] radians per position */
};

/* local: for layers that see a window only. factor: [n_rot / 2] divisors of the frequencies, finite
 * and positive, or NULL. */
void rope_init(struct rope *r, const struct hparams *h, bool local, const float *factor);
/* cos_sin: [n_pair][2] */
void rope_angles(const struct rope *r, int position, float *cos_sin);

#endif
