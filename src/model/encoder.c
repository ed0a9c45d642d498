/*
 * encoder: one pass of an encoder over whole texts, each of whose tokens sees all of its text.
 *
 * Owns: the order of operations of BERT and its kin (norms behind the branches, with biases). Keys
 * and values live for one layer: the scratch memory has a small slab for them, whose blocks each
 * text of the pass takes from a block's beginning. So attention is the decoder's (kernels/attend.h)
 * with every query from the first to the last position.
 *
 * The invariants of forward.c hold: no allocation; no bit depends on threads or on the batch.
 *
 * Sources: BERT (Devlin et al. 2018), Nomic Embed (Nussbaum et al. 2024).
 */
#include "base/check.h"
#include "base/mem.h"
#include "model/model_state.h"
#include "model/product.h"

#include <string.h>

struct pass {
    struct model *m;
    const struct kernels *k;
    const struct hparams *h;
    struct scratch *s;
    const struct batch *b;
    const struct layer *l;
    struct product_phase product;
    size_t head_bytes, block_bytes; /* of the slab */
    int n, n_tile;
    bool quantize; /* some product takes quantized columns */
};

static void set_input(struct pass *p, const float *x, int n, int t)
{
    if (p->quantize && n % 32 == 0)
        p->k->quantize_a8(x, p->s->act + (size_t)t * act_bytes(n), n, p->m->residual_above);
}

static void multiply(struct pass *p, const float *x, int n_product, const struct product *product)
{
    product_run(&p->product, p->m->opts.pool, (struct product_input){x, p->s->act, p->n}, product,
                n_product);
}

static void normalize(struct pass *p, float *x, const struct norm *norm)
{
    p->k->layer_norm(x, x, norm->w, norm->b, p->h->n_embd, p->h->norm_eps);
}

/* x = norm(token + position + type) */
static void embed(void *ctx, int t, int i_thread)
{
    struct pass *p = ctx;
    const struct weights *w = &p->m->w;
    const struct batch_seq *seq = &p->b->seq[p->s->i_seq[t]];
    int n = p->h->n_embd, position = t - seq->i_token;
    float *x = p->s->x + (size_t)t * n;
    (void)i_thread;
    const uint8_t *row = w->embd.data + (size_t)p->b->token[t] * w->embd.stride;
    CHECK(dequantize_row(w->embd.type, row, x, (size_t)n));
    bool second = seq->second > 0 && position >= seq->second && p->h->n_type > 1;
    if (w->type != NULL)
        p->k->add(x, w->type + (second ? n : 0), n);
    if (w->position != NULL)
        p->k->add(x, w->position + (size_t)position * n, n);
    else
        rope_angles(&p->m->rope[0], position, p->s->angle[0] + (size_t)t * p->h->n_rot);
    p->s->position[t] = position;
    normalize(p, x, &w->embd_norm);
    set_input(p, x, n, t);
}

static uint8_t *head_at(const struct pass *p, uint32_t i_block, int head)
{
    return p->s->pass_kv + i_block * p->block_bytes + (size_t)head * p->head_bytes;
}

/* Where the blocks of a text begin in the list of all. */
static const uint32_t *blocks_of(const struct pass *p, int i_seq)
{
    return p->s->pass_block + p->s->seq_order[i_seq];
}

static void qkv_out(void *ctx, int t, int i_thread)
{
    struct pass *p = ctx;
    const struct hparams *h = p->h;
    int dim = h->head_dim, position = p->s->position[t];
    float *q = p->s->q + (size_t)t * h->n_head * dim;
    float *k = p->s->k + (size_t)t * h->n_head_kv * dim;
    float *v = p->s->v + (size_t)t * h->n_head_kv * dim;
    (void)i_thread;
    if (p->m->w.position == NULL) {
        const float *angle = p->s->angle[0] + (size_t)t * h->n_rot;
        p->k->rope(q, angle, h->n_head, dim, h->n_rot, h->arch->rope_neox);
        p->k->rope(k, angle, h->n_head_kv, dim, h->n_rot, h->arch->rope_neox);
    }
    uint32_t i_block = blocks_of(p, p->s->i_seq[t])[position / KV_BLOCK_LEN];
    for (int i = 0; i < h->n_head_kv; i++)
        kv_store(KV_F16, head_at(p, i_block, i), position % KV_BLOCK_LEN, k + (size_t)i * dim, dim,
                 v + (size_t)i * dim, dim);
}

/* One head of the rows of a tile. */
static void attend(void *ctx, int i_item, int i_thread)
{
    struct pass *p = ctx;
    const struct hparams *h = p->h;
    const struct query_span *span = &p->s->span[i_item / h->n_head];
    const struct batch_seq *seq = &p->b->seq[span->i_seq];
    struct thread_scratch *ts = &p->s->thread[i_thread];
    int head = i_item % h->n_head;
    for (int i = 0; i < span->n; i++) {
        ts->q_at[i] = ((size_t)(span->t0 + i) * h->n_head + head) * h->head_dim;
        ts->from[i] = 0;
        ts->to[i] = seq->n_tokens;
    }
    p->k->attend(&(struct attend_args){
        .type = KV_F16,
        .kv = head_at(p, 0, head / (h->n_head / h->n_head_kv)),
        .block_bytes = p->block_bytes,
        .block = blocks_of(p, span->i_seq),
        .out = p->s->att,
        .out_at = ts->q_at,
        .q = p->s->q,
        .q_at = ts->q_at,
        .from = ts->from,
        .to = ts->to,
        .n_q = span->n,
        .head_dim = h->head_dim,
        .head_dim_v = h->head_dim,
        .scale = h->attn_scale,
        .scratch = ts->attend,
    });
}

static void attn_out(void *ctx, int t, int i_thread)
{
    struct pass *p = ctx;
    int n = p->h->n_head * p->h->head_dim;
    (void)i_thread;
    set_input(p, p->s->att + (size_t)t * n, n, t);
}

/* x = norm(x + y), and the input of what comes next */
static void join(struct pass *p, int t, const struct norm *norm)
{
    int n = p->h->n_embd;
    float *x = p->s->x + (size_t)t * n;
    p->k->add(x, p->s->y + (size_t)t * n, n);
    normalize(p, x, norm);
    set_input(p, x, n, t);
}

static void join_attn(void *ctx, int t, int i_thread)
{
    struct pass *p = ctx;
    (void)i_thread;
    join(p, t, &p->l->attn_out);
}

static void ffn_out(void *ctx, int t, int i_thread)
{
    struct pass *p = ctx;
    (void)i_thread;
    set_input(p, p->s->ff + (size_t)t * p->h->n_ff, p->h->n_ff, t);
}

static void join_ffn(void *ctx, int t, int i_thread)
{
    struct pass *p = ctx;
    (void)i_thread;
    join(p, t, &p->l->ffn_out);
}

/* Each row's text, each text's blocks, and the tiles of rows that are attended together. */
static void lay_out(struct pass *p)
{
    const struct batch *b = p->b;
    int t = 0, n_block = 0;
    CHECK(b->n_tokens >= 1 && b->n_tokens <= p->m->opts.n_batch_max);
    CHECK(b->n_seq >= 1 && b->n_seq <= ENCODER_TEXTS_MAX);
    for (int i = 0; i < b->n_tokens; i++)
        CHECK(b->token[i] >= 0 && b->token[i] < p->h->n_vocab);
    for (int i = 0; i < b->n_seq; i++) {
        const struct batch_seq *seq = &b->seq[i];
        CHECK(seq->i_token == t && seq->pos0 == 0 && seq->n_tokens >= 1);
        CHECK(seq->n_tokens <= b->n_tokens - t && seq->n_tokens <= p->m->opts.n_ctx_max);
        for (int j = 0; j < seq->n_tokens; j++)
            p->s->i_seq[t + j] = i;
        for (int j = 0; j < seq->n_tokens; j += QUERY_ROWS)
            p->s->span[p->n_tile++] = (struct query_span){
                i, t + j, seq->n_tokens - j < QUERY_ROWS ? seq->n_tokens - j : QUERY_ROWS, 0, 0};
        p->s->seq_order[i] = n_block;
        n_block += (seq->n_tokens + KV_BLOCK_LEN - 1) / KV_BLOCK_LEN;
        t += seq->n_tokens;
    }
    CHECK(t == b->n_tokens);
    for (int i = 0; i < n_block; i++)
        p->s->pass_block[i] = (uint32_t)i;
}

static void run_layer(struct pass *p)
{
    const struct layer *l = p->l;
    struct scratch *s = p->s;
    struct pool *pool = p->m->opts.pool;
    bool gated = l->gate.data != NULL;

    /* attention: q, k, v [n, n_head, head_dim] */
    multiply(p, s->x, 3,
             (struct product[]){
                 {.w = &l->q, .y = s->q}, {.w = &l->k, .y = s->k}, {.w = &l->v, .y = s->v}});
    pool_run(pool, qkv_out, p, p->n);
    pool_run(pool, attend, p, p->n_tile * p->h->n_head);
    pool_run(pool, attn_out, p, p->n);
    multiply(p, s->att, 1, &(struct product){.w = &l->attn_output, .y = s->y});
    pool_run(pool, join_attn, p, p->n);

    /* feed-forward: ff [n, n_ff] */
    multiply(p, s->x, 1,
             &(struct product){
                 .w = &l->up, .gate = gated ? &l->gate : NULL, .gelu = !gated, .y = s->ff});
    pool_run(pool, ffn_out, p, p->n);
    multiply(p, s->ff, 1, &(struct product){.w = &l->down, .y = s->y});
    pool_run(pool, join_ffn, p, p->n);
}

/* Models with F16 or F32 weights alone need no quantized columns. */
static bool takes_a8(const struct pass *p)
{
    for (int i = 0; i < p->h->n_layer; i++) {
        const struct layer *l = &p->m->w.layer[i];
        const struct matrix *all[] = {&l->q,    &l->k,  &l->v,   &l->attn_output,
                                      &l->gate, &l->up, &l->down};
        for (size_t k = 0; k < ARRAY_LEN(all); k++)
            if (all[k]->data != NULL && p->k->mul_takes_a8[all[k]->type])
                return true;
    }
    return false;
}

const float *encoder_forward(struct model *m, const struct batch *b)
{
    struct scratch *sc = &m->s;
    const struct hparams *h = &m->h;
    struct pass pass = {.m = m, .k = m->opts.kernels, .h = h, .s = sc, .b = b, .n = b->n_tokens};
    struct pass *p = &pass;
    p->head_bytes = kv_key_bytes(KV_F16, h->head_dim) + kv_value_bytes(KV_F16, h->head_dim);
    p->block_bytes = p->head_bytes * (size_t)h->n_head_kv;
    p->product = (struct product_phase){p->k, h->arch->gelu, sc->product_tile};
    p->quantize = takes_a8(p);
    pool_limit(m->opts.pool, pool_n_threads(m->opts.pool));
    lay_out(p);
    pool_run(m->opts.pool, embed, p, p->n); /* x: [n, n_embd] */
    for (int i = 0; i < h->n_layer; i++) {
        p->l = &m->w.layer[i];
        run_layer(p);
        if (m->opts.tick != NULL)
            m->opts.tick(m->opts.tick_ctx);
    }
    return sc->x;
}
