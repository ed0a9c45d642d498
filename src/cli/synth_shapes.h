/*
 * synth_shapes: the shapes that `hearth synth` knows: published models' hyperparameters, so that
 * speed can be measured where the weights cannot be had.
 *
 * Sources: each model's config.json as its maker published it; key and tensor names as llama.cpp
 * v0.5.0's converter writes them. The makers' exact parameter counts stand in
 * tests/e2e/test_synth.py, which compares them with the sums over our tensors.
 */
#ifndef HEARTH_CLI_SYNTH_SHAPES_H
#define HEARTH_CLI_SYNTH_SHAPES_H

#include <stdbool.h>
#include <stdint.h>

struct synth_shape {
    const char *name;  /* as the command line has it: "llama-3.1-8b" */
    const char *title; /* "Llama 3.1 8B" */
    const char *arch;  /* general.architecture */
    int n_layer, n_embd, n_head, n_head_kv, head_dim, n_ff, n_vocab, n_ctx;
    double rope_base;
    double norm_eps;
    bool tied;     /* no output matrix: the embeddings serve */
    bool qkv_bias; /* Qwen 2 */
    bool is_70b;   /* model/quant_mix.h */
    /* Rotary scaling; at most one of them. */
    double llama3_factor; /* Llama 3.1 and 3.2: the tensor rope_freqs; 0: none */
    double linear_factor; /* Gemma 3 from 4B up; 0: none */
    double yarn_factor;   /* DeepSeek 2; 0: none */
    int window;           /* of Gemma 3's local layers */
    /* Experts; 0: dense. */
    int n_expert, n_expert_used, n_expert_shared, n_ff_expert;
    int n_layer_dense; /* leading layers without experts */
    /* Multi-head latent attention (DeepSeek 2); 0: none. */
    int n_lora_kv, n_rot, head_dim_nope, head_dim_v;
};

int synth_shape_count(void);
const struct synth_shape *synth_shape_at(int i);
const struct synth_shape *synth_shape_find(const char *name); /* any case; NULL: none */

#endif
