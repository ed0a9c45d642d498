/*
 * synth_plan: the keys and tensors of a synthetic model: what stands in its file, before any
 * weight is drawn.
 */
#ifndef HEARTH_CLI_SYNTH_PLAN_H
#define HEARTH_CLI_SYNTH_PLAN_H

#include "cli/synth_shapes.h"
#include "format/gguf_write.h"
#include "model/quant_mix.h"

enum synth_fill {
    SYNTH_RANDOM, /* of mean 0 and the given deviation */
    SYNTH_ONES,   /* weights of norms: 1 and a little around it */
    SYNTH_ROPE,   /* Llama 3's frequency factors */
};

struct synth_tensor {
    char name[64];
    enum synth_fill fill;
    enum dtype type;
    int n_dims;
    uint64_t dim[3]; /* [0] is n_in */
    double deviation;
};

/* The i-th tensor is the writer's i-th. */
struct synth_plan {
    struct synth_shape shape; /* its n_layer and n_vocab as asked for */
    const struct quant_mix *mix;
    bool pure;
    uint64_t seed;
    struct synth_tensor *tensor;
    size_t n_tensor, cap;
};

/* shape: with the number of layers and tokens that are wanted. */
void synth_plan_init(struct synth_plan *ret, const struct synth_shape *shape,
                     const struct quant_mix *mix, bool pure, uint64_t seed);
void synth_plan_release(struct synth_plan *p);
int64_t synth_plan_params(const struct synth_plan *p);
int64_t synth_plan_bytes(const struct synth_plan *p); /* of the tensors' data */

/* The keys, except the tokenizer's, and all tensors. */
void synth_plan_describe(const struct synth_plan *p, struct gguf_writer *w);
/* The frequency factors of Llama 3's long contexts: n = head_dim / 2 of them. */
void synth_rope_factors(const struct synth_shape *s, float *ret);

#endif
