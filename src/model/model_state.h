/*
 * model_state: what a loaded model holds (private to src/model).
 *
 * Owns: the layout of the scratch memory, one slab carved at load. n stands for n_batch_max.
 */
#ifndef HEARTH_MODEL_MODEL_STATE_H
#define HEARTH_MODEL_MODEL_STATE_H

#include "model/model.h"
#include "model/packed.h"
#include "model/rope.h"
#include "model/weights.h"

/* Query rows (positions times the heads that share a key head) of one attention item. */
#define QUERY_ROWS 64

struct thread_scratch {
    void *attend;           /* attend_scratch_bytes */
    size_t *q_at, *part_at; /* [query_rows] */
    int *from, *to;         /* [query_rows] */
    float *carry;           /* [query_rows, attend_part_len(head_dim)] */
    bool *carried;          /* [query_rows] */
};

/* How the positions that a tile sees are shared by items. */
struct tile_cut {
    int piece0, n_piece; /* what it sees, in pieces of ATTEND_SPLIT positions */
    int n_stretch;       /* 1: attended in one go */
    size_t slot;         /* else: partial results [tile rows][n_head][n_piece] from here on */
};

/* Consecutive positions of one sequence: rows [t0, t0 + n) of the batch. */
struct query_span {
    int i_seq, t0, n;
    int i_row;  /* its first row's index in its tile */
    int shared; /* [0, shared) are the same blocks as those of the span before it in its tile */
};

/* What is attended together: a span, or several that share their first blocks. */
struct query_tile {
    int i_span, n_span;
    int n;                  /* rows of all its spans */
    struct tile_cut cut[2]; /* in global and in local layers */
};

/* Positions [from, to) for the rows of a tile. */
struct stretch {
    int i_tile, from, to;
};

struct scratch {
    float *x;                /* [n, n_embd] the residual stream */
    float *xn;               /* [n, n_embd] input of the next product */
    uint8_t *act;            /* [n, act_bytes(n_in)] the same, quantized */
    float *q;                /* [n, n_head * head_dim] */
    float *k, *v;            /* [n, n_head_kv * head_dim] */
    float *att;              /* [n, n_head * head_dim] */
    float *y;                /* [n, n_embd] a branch's output, before it joins the stream: xn */
    float *ff;               /* [n, n_ff] act(gate) * up; where q, k, v and att were */
    float *angle[2];         /* [n, n_rot / 2][2] cosine and sine; of global and of local layers */
    int *position;           /* [n] */
    int *i_seq;              /* [n] */
    int *seq_order;          /* [n] sequences, those with the same first blocks side by side */
    struct query_span *span; /* [n] */
    struct query_tile *tile; /* [n] */
    int *i_tile, *i_row;     /* [n] a row's tile, and its index in it */
    struct stretch *stretch[2];    /* [n_stretch_max] of global and of local layers */
    float *part;                   /* [n_slot, attend_part_len(head_dim)] */
    uint8_t *pass_kv;              /* encoders: keys and values of one layer and pass */
    uint32_t *pass_block;          /* 0, 1, 2...: its blocks */
    float *head;                   /* [n_embd] rank_head's dense layer */
    float *product_tile;           /* [n_threads, PRODUCT_TILE] */
    struct thread_scratch *thread; /* [n_threads] */
};

struct model {
    struct hparams h;
    struct weights w;
    struct packed packed;
    struct rope rope[2]; /* of global and of local layers */
    struct model_info info;
    struct model_opts opts;
    float residual_above; /* for quantize_a8 */
    enum kv_type kv_type; /* as the kernels store it */
    int query_rows;       /* rows of one attention item, at most */
    int n_stretch_max;    /* in a step */
    size_t n_slot;        /* partial results of a layer's attention, at most */
    size_t layer_bytes;   /* of one layer in a block of keys and values: K, then V */
    uint8_t *slab;        /* the scratch memory */
    struct scratch s;
};

/* Sets residual_above and info.activations from the options and the model's size. */
void activations_choose(struct model *m);

/* encoder.c: the rows of all tokens. */
const float *encoder_forward(struct model *m, const struct batch *b);

#endif
