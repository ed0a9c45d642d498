/*
 * eval_model: a model opened in this process by a command-line tool, with keys and values for some
 * sequences. The user's own files only: no sandbox stands between (see DESIGN in ARCHITECTURE.md).
 */
#ifndef HEARTH_CLI_EVAL_MODEL_H
#define HEARTH_CLI_EVAL_MODEL_H

#include "model/model.h"

struct eval_model {
    struct gguf *gguf;
    struct pool *pool;
    struct model *model;
    const struct model_info *info;
    struct kv_slab kv;
    uint32_t *block; /* [n_seq][blocks_per_seq] */
    int blocks_per_seq;
    int n_chunk;   /* tokens of one sequence in one forward call */
    float *logits; /* [n_seq * n_chunk][n_vocab] */
};

struct eval_opts {
    int n_ctx, n_seq, n_chunk;
    int n_threads;   /* 0: one per physical core */
    int activations; /* enum activations */
    int kv_type;     /* enum kv_type */
};

/* name: as for cli_gguf_open. Close it after a failure, too. */
int eval_model_open(struct eval_model *m, const char *name, const struct eval_opts *o,
                    struct err *err) __attribute__((warn_unused_result));
void eval_model_close(struct eval_model *m);
/* The block table of sequence i. */
const uint32_t *eval_blocks(const struct eval_model *m, int i_seq);

#endif
