/*
 * weights: a model's tensors, found by name and checked for type and shape.
 *
 * Owns: the map from GGUF names to the matrices and vectors of each layer. Matrices stay in the
 * mapped file until model/packed.h packs them; vectors (norms, biases, rotary factors) are copied
 * out as float, for they may lie unaligned or in another type. Tensors that fuse several matrices
 * (attn_qkv; gate and up in ffn_up) become views of their rows, so that the forward pass knows one
 * form only.
 */
#ifndef HEARTH_MODEL_WEIGHTS_H
#define HEARTH_MODEL_WEIGHTS_H

#include "kernels/kernels.h"
#include "model/arch.h"

struct matrix {
    const uint8_t *data; /* n_out rows of `stride` bytes, in the file */
    size_t stride;
    const uint8_t
        *panels; /* the same packed (kernels/pack.h), or NULL: its type has no such form */
    size_t panel_bytes;
    enum dtype type;
    int n_in, n_out;
    const float *bias; /* [n_out], or NULL */
};

/* Layer norm with a bias. */
struct norm {
    const float *w, *b; /* [n_embd] */
};

struct layer {
    const float *attn_norm;        /* [n_embd]; decoders */
    struct matrix q, k, v;         /* n_embd to n_head * head_dim, n_head_kv * head_dim twice */
    const float *q_norm, *k_norm;  /* [head_dim], or NULL */
    struct matrix attn_output;     /* n_head * head_dim to n_embd */
    const float *attn_post_norm;   /* [n_embd], or NULL */
    const float *ffn_norm;         /* [n_embd]; decoders */
    struct matrix gate, up;        /* n_embd to n_ff; encoders: gate may be empty (data NULL) */
    struct matrix down;            /* n_ff to n_embd */
    const float *ffn_post_norm;    /* [n_embd], or NULL */
    struct norm attn_out, ffn_out; /* encoders: of the stream and a branch's output */
};

/* What scores a pair of texts: tanh of a layer, then another; either may be absent. */
struct rank_head {
    const float *dense, *dense_bias;   /* [n_embd][n_embd], [n_embd]; or NULL */
    const float *output, *output_bias; /* [n_label][n_embd], [n_label] or NULL */
};

struct weights {
    struct matrix embd;       /* [n_vocab] rows of n_embd */
    struct matrix output;     /* n_embd to n_vocab; the embedding table where the file has none */
    const float *output_norm; /* [n_embd] */
    const float *rope_factor; /* [n_rot / 2], or NULL */
    /* Encoders; they have no output. */
    const float *position; /* [n_ctx_train][n_embd], or NULL */
    const float *type;     /* [n_type][n_embd], or NULL */
    struct norm embd_norm;
    struct rank_head head; /* POOLING_RANK */
    struct layer *layer;   /* [n_layer] */
    float **vector;        /* every float copy, for weights_release */
    size_t n_vector, cap_vector;
};

/* n_ctx: the longest sequence; past the original context longrope's other factors hold.
 * ERR_CORRUPT, ERR_UNSUPPORTED name the tensor. On failure nothing is left to release. */
int weights_load(const struct gguf *g, const struct hparams *h, const struct kernels *kernels,
                 int n_ctx, struct weights *ret, struct err *err)
    __attribute__((warn_unused_result));
void weights_release(struct weights *w);

#endif
