/*
 * model: weights and hyperparameters of one decoder or encoder, and its forward pass.
 *
 * An architecture is a row in a table (model/arch.c) that maps GGUF keys and tensor names to flags;
 * one flat forward pass reads the flags. Weights are packed at load (kernels/pack.h), or used from
 * the mapped file where their type has no packed form; the gguf must outlive the model. All scratch
 * memory is allocated at load for at most n_batch_max tokens: model_forward allocates nothing.
 * Determinism: the logits of a token depend only on the token ids before it in its sequence, the
 * kernel level and the weights: not on the batch, the threads or the chunking.
 */
#ifndef HEARTH_MODEL_MODEL_H
#define HEARTH_MODEL_MODEL_H

#include "format/gguf.h"
#include "kernels/kernels.h"
#include "kernels/pool.h"
#include "model/arch.h"

struct model;

/*
 * How finely the inputs of products are rounded (kernels/act.h). full: a residual for every block,
 * about 15 bits. fast: for the few blocks that carry most of the error; about half of the work.
 * auto: full for small models, which are fast anyway and show every rounding, else fast.
 */
enum activations { ACTIVATIONS_AUTO, ACTIVATIONS_FULL, ACTIVATIONS_FAST };
#define ACTIVATIONS_WORDS "auto|full|fast"
const char *activations_name(enum activations a);

struct model_info {
    char arch[32];
    char name[128];
    int n_layer, n_embd, n_head, n_head_kv, head_dim, n_ff;
    int n_vocab;
    int n_ctx_train;
    bool is_encoder;      /* whole texts in one pass, no keys and values between passes */
    enum pooling pooling; /* POOLING_NONE: it generates; else it gives vectors or scores */
    int n_label;          /* POOLING_RANK: scores; a decoder's yes and no make one */
    uint64_t n_params;
    uint64_t
        weight_bytes; /* in memory: packed, or as in the file where a type has no packed form */
    uint64_t kv_block_bytes; /* one block of KV_BLOCK_LEN tokens, all layers, K and V */
    char file_type[32];      /* "Q4_K_M" from general.file_type, or the commonest tensor type */
    enum activations activations; /* of a loaded model: full or fast */
};

/* Where packed weights (kernels/pack.h) come from and go to. */
struct pack_files {
    int fd_in;    /* a file that an earlier start made; -1: none. Borrowed; may be closed after */
    int fd_out;   /* an empty one to be filled if need be; -1: none, it is done in memory */
    char key[64]; /* what they are packed weights of: stands in the file and must be in fd_in's */
};

enum pack_from {
    PACK_NOTHING, /* no type in this model has a packed form */
    PACK_MAPPED,  /* fd_in */
    PACK_WRITTEN, /* fd_out: whole now, but perhaps not on the disk yet */
    PACK_MEMORY,
};

struct pack_report {
    enum pack_from from;
    uint64_t bytes;
    double ms;
    char note[512]; /* why not in a better way; "" */
};

struct model_opts {
    const struct kernels *kernels;
    struct pool *pool;
    const struct pack_files *pack;                                   /* NULL: packed in memory */
    void (*progress)(void *ctx, const char *stage, double fraction); /* NULL, or told of packing */
    void *progress_ctx;
    enum kv_type kv_type; /* how keys and values are stored */
    int n_batch_max;      /* tokens in one forward call */
    int n_out_max;        /* rows of logits in one forward call */
    int n_ctx_max;        /* longest sequence; at most n_ctx_train */
    int n_threads_decode; /* threads for steps of a few tokens; 0: all of the pool */
    enum activations activations;
    void (*tick)(void *ctx); /* NULL, or called after each layer of an encoder's pass */
    void *tick_ctx;
};

/* Reads hyperparameters only; needs no tensors' data and no pool. ERR_CORRUPT, ERR_UNSUPPORTED. */
int model_describe(const struct gguf *g, enum kv_type kv_type, struct model_info *ret,
                   struct err *err) __attribute__((warn_unused_result));
/* ERR_UNSUPPORTED when it gives vectors or scores instead of text. */
int model_check_generates(const struct model_info *info, struct err *err)
    __attribute__((warn_unused_result));
/* Bytes of scratch that model_new would allocate with these options. */
int model_scratch_bytes(const struct gguf *g, const struct model_opts *opts, uint64_t *ret,
                        struct err *err) __attribute__((warn_unused_result));
/* Checks every tensor's presence, type and shape. ERR_CORRUPT names the tensor. */
int model_new(const struct gguf *g, const struct model_opts *opts, struct model **ret,
              struct err *err) __attribute__((warn_unused_result));
void model_free(struct model *m);
const struct model_info *model_info(const struct model *m);
const struct pack_report *model_pack_report(const struct model *m);

/*
 * Keys and values: a slab of blocks of KV_BLOCK_LEN tokens; block i starts at base + i *
 * kv_block_bytes. In a block: [n_layer][n_head_kv], each as kernels/attend.h says.
 */
struct kv_slab {
    uint8_t *base; /* 64-byte aligned */
    uint32_t n_blocks;
};

/* One sequence's part in a forward call: n_tokens consecutive tokens at positions pos0, pos0 + 1,
 * ... */
struct batch_seq {
    const uint32_t *block; /* block table; covers positions [0, pos0 + n_tokens) */
    int pos0;
    int n_tokens;
    int i_token; /* first row of this sequence in batch.token */
    int second;  /* encoders: where the second text of a pair begins; 0: there is none */
};

struct batch {
    const int32_t *token; /* [n_tokens], grouped by sequence */
    int n_tokens;
    const struct batch_seq *seq; /* [n_seq]; a sequence appears once */
    int n_seq;
    const int32_t *out_row; /* [n_out] rows of token[] whose logits are wanted, ascending */
    int n_out;
};

/* logits: float [n_out][n_vocab]. One thread at a time. Token ids must be in [0, n_vocab) (CHECK).
 */
void model_forward(struct model *m, const struct kv_slab *kv, const struct batch *b, float *logits);

/*
 * The rows that logits would be made of: [n_out][n_embd], valid until the next pass. An encoder
 * takes whole texts (pos0 0, blocks and kv unused, at most ENCODER_TEXTS_MAX) and gives the rows
 * of all tokens, whatever out_row says.
 */
#define ENCODER_TEXTS_MAX 128
const float *model_hidden(struct model *m, const struct kv_slab *kv, const struct batch *b);

/*
 * From rows to a text's vector, model_pooled_len floats. POOLING_MEAN: begin, add the rows as they
 * come, mean; sum is [n_embd]. All others: of one row, the first or the last. Not normalized.
 */
int model_pooled_len(const struct model *m);
void model_pool_begin(const struct model *m, double *sum);
void model_pool_add(const struct model *m, const float *row, int n_row, double *sum);
void model_pool_mean(const struct model *m, const double *sum, int n_token, float *out);
void model_pool_row(const struct model *m, const float *row, float *out);

#endif
