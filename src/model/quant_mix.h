/*
 * quant_mix: what people call the type of a model file ("Q4_K_M"), and the type that each tensor
 * has in such a file: llama.cpp's assignment, so that sizes and speeds compare.
 *
 * Files that llama.cpp quantizes only with an importance matrix (IQ1, IQ2, IQ3_XXS) are taken as
 * made with one, all others as made without.
 *
 * Source: llama.cpp v0.5.0, tools/quantize and llama-quant.cpp (the rules, in our own words).
 */
#ifndef HEARTH_MODEL_QUANT_MIX_H
#define HEARTH_MODEL_QUANT_MIX_H

#include "tensor/dtype.h"

struct quant_mix {
    const char *name;  /* "Q4_K_M" */
    int file_type;     /* general.file_type; -1: none (tensor types without a file type) */
    enum dtype base;   /* of matrices that no rule singles out */
    const char *alias; /* another name for it ("Q4_K"), or NULL */
};

/* What the rules look at. */
struct quant_model {
    int n_layer;
    int n_head, n_head_kv;
    int n_expert; /* 0: dense */
    bool tied;    /* no output.weight: the embeddings are the output matrix too */
    bool is_70b;  /* of Llama 2 70B's build: 80 layers, grouped queries */
};

struct quant_tensor {
    const char *name; /* "blk.3.attn_v.weight" */
    int layer;        /* -1: outside the layers */
    int n_dims;
    uint64_t n_in; /* dim[0] */
};

int quant_mix_count(void);
const struct quant_mix *quant_mix_at(int i);
/* By name or alias, in any case; NULL when there is none. */
const struct quant_mix *quant_mix_find(const char *name);
/*
 * The tensor's type. pure: the base type for every matrix. Vectors, norms and the routers of
 * experts are F32. Rows that the chosen type's blocks do not divide get the type that llama.cpp
 * falls back to.
 */
enum dtype quant_mix_type(const struct quant_mix *mix, bool pure, const struct quant_model *m,
                          const struct quant_tensor *t);

#endif
