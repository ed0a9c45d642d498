/*
 * arch: the table of decoder architectures, and the hyperparameters of one model read through it.
 *
 * Owns: which GGUF keys and tensors an architecture has and what its forward pass does differently;
 * the range checks of every number a file gives. It must not know weights' data or threads.
 * Invariants after hparams_read: every count is positive and below its limit, n_head is a multiple
 * of n_head_kv, head_dim and n_rot are even and n_rot <= head_dim, products of any three fields
 * (and KV_BLOCK_LEN) fit 63 bits.
 *
 * Sources: Llama (Touvron et al. 2023), Qwen2 and Qwen3 technical reports, Gemma 2 and Gemma 3
 * reports, Phi-3 report; keys and names from the GGUF specification.
 */
#ifndef HEARTH_MODEL_ARCH_H
#define HEARTH_MODEL_ARCH_H

#include "format/gguf.h"

#define N_LAYER_MAX    1024
#define N_EMBD_MAX     (1 << 16)
#define N_HEAD_MAX     1024
#define HEAD_DIM_MAX   1024
#define N_FF_MAX       (1 << 20)
#define N_VOCAB_MAX    (1 << 22)
#define N_CTX_MAX      (1 << 24)
#define N_LABEL_MAX    4096
#define N_EMBD_QKV_MAX (1 << 17) /* n_head * head_dim */

/* How the rows of a text's tokens become one vector; numbered as in <arch>.pooling_type. */
enum pooling {
    POOLING_NONE, /* they do not: the model generates */
    POOLING_MEAN,
    POOLING_CLS,  /* the first token's row */
    POOLING_LAST, /* the last token's */
    POOLING_RANK, /* the first token's (a decoder's last), through a head that gives scores */
    POOLING_N,
};
const char *pooling_name(enum pooling p);

enum rope_kind { ROPE_NONE, ROPE_LINEAR, ROPE_YARN, ROPE_LONGROPE };

/* A row of the table: what an architecture does that a plain Llama does not. */
struct arch {
    const char *name;     /* general.architecture, and the prefix of its keys */
    bool rope_neox;       /* rotates pairs (i, i + n_rot/2), else (2i, 2i + 1) */
    bool qkv_bias;        /* biases on q, k, v must be there (elsewhere they may be) */
    bool qk_norm;         /* an RMS norm over each head of q and of k, before rotation */
    bool post_norm;       /* an RMS norm after attention and after feed-forward */
    bool gelu;            /* gate activation: tanh-GELU, else SiLU */
    bool embd_scale;      /* embeddings times sqrt(n_embd) */
    bool rope_local_base; /* local layers rotate with their own, unscaled base */
    /* A token sees all of its text, before and after it; norms have biases and stand behind
     * attention and feed-forward, and behind the embeddings. */
    bool encoder;
    bool ranks;             /* a decoder of which rerankers are made: scored at the last token */
    bool learned_positions; /* a table of positions; else they are rotated in */
    int window_period;      /* every period-th layer is global; 0: none is, 1: all are */
    int window;             /* default of attention.sliding_window; 0: none */
    float attn_cap;         /* defaults of the soft caps; 0: none */
    float final_cap;
    int n_layer_wide_scale; /* the size whose queries scale by n_embd / n_head, not head_dim */
};

struct hparams {
    const struct arch *arch;
    int n_layer, n_embd, n_head, n_head_kv, head_dim, n_rot, n_ff, n_vocab, n_ctx_train;
    enum pooling pooling;
    int n_type;  /* encoders: rows of the table of token types; 0: there is none */
    int n_label; /* POOLING_RANK: scores that the head gives */
    int i_yes;   /* decoders of two: the one that says yes */
    float norm_eps;
    float attn_scale; /* of q.k */
    float attn_cap, final_cap;
    int window;              /* a query sees itself and window - 1 before it; 0: no local layer */
    bool local[N_LAYER_MAX]; /* the layer sees the window only */
    double rope_base, rope_base_local;
    enum rope_kind rope_kind;
    double rope_factor;      /* > 0; 1: none */
    int rope_n_ctx_orig;     /* the context before stretching (yarn, longrope) */
    double rope_attn_factor; /* times cos and sin */
    double yarn_beta_fast, yarn_beta_slow;
};

/*
 * ERR_UNSUPPORTED: an architecture, or a variant of one, that is not in the table (the text lists
 * what is); ERR_CORRUPT: a key is missing, of another type or out of range (the text names it).
 */
int hparams_read(const struct gguf *g, struct hparams *ret, struct err *err)
    __attribute__((warn_unused_result));

#endif
