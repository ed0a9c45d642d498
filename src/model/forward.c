/*
 * forward: one step of the decoder over a batch of tokens from any number of sequences.
 *
 * Owns: the order of operations; model_forward reads like the papers. It must not know what a
 * request is, nor how blocks of keys and values are handed out.
 *
 * Invariants. No allocation. Every phase writes rows (tokens) or tiles that no other item of the
 * phase touches, and every element is formed by one call of a kernel whose result depends only on
 * that element's inputs: so bits depend neither on threads nor on the batch.
 *
 * Activations are quantized once per row and input, with a residual plane in the blocks that
 * residual_above asks for (docs/numerics.md).
 *
 * Shapes: n tokens in the batch; n_embd, n_ff, n_head, n_head_kv, head_dim as in the
 * hyperparameters.
 */
#include "base/check.h"
#include "kernels/pack.h"
#include "model/attention.h"
#include "model/model_state.h"
#include "model/product.h"

#include <math.h>
#include <string.h>

/* About where arithmetic takes longer than reading the weights. */
#define FEW_TOKENS 4
/* A few microseconds of work; a thread is awake sooner than that only while it spins. */
#define SERIAL_ELEMS 16384

/* What the phases of one step share. */
struct step {
    struct model *m;
    const struct kernels *k;
    const struct hparams *h;
    struct scratch *s;
    const struct kv_slab *kv;
    const struct batch *b;
    int i_layer;
    const struct layer *l;
    struct attention attention;
    struct product_phase product;
    int n; /* rows at hand: all tokens, then those whose logits are wanted */
};

/* Calls fn for each row. n_elems: floats of a row that it goes through; small steps are not worth
 * waking threads for. */
static void each_row(struct step *s, pool_fn fn, int n_elems)
{
    if ((int64_t)s->n * n_elems <= SERIAL_ELEMS)
        for (int t = 0; t < s->n; t++)
            fn(s, t, 0);
    else
        pool_run(s->m->opts.pool, fn, s, s->n);
}

/* The input of the next products, quantized; some of them may take floats. */
static void set_input(struct step *s, const float *x, int n, int t)
{
    if (n % 32 == 0)
        s->k->quantize_a8(x, s->s->act + (size_t)t * act_bytes(n), n, s->m->residual_above);
}

/* All products take the same input: x, and the same quantized in s->act. */
static void multiply(struct step *s, const float *x, int n_product, const struct product *product)
{
    product_run(&s->product, s->m->opts.pool, (struct product_input){x, s->s->act, s->n}, product,
                n_product);
}

/* x = embedding of the token; the angles of its position. */
static void embed(void *ctx, int t, int i_thread)
{
    struct step *s = ctx;
    const struct matrix *e = &s->m->w.embd;
    const struct batch_seq *seq = &s->b->seq[s->s->i_seq[t]];
    int n = s->h->n_embd;
    float *x = s->s->x + (size_t)t * n;
    (void)i_thread;
    size_t token = (size_t)s->b->token[t];
    const uint8_t *row = e->data + token * e->stride;
    if (e->panels != NULL) { /* the rows of output are in memory already: the file's are not read */
        uint8_t *block = (uint8_t *)(s->s->xn + (size_t)t * n); /* free until the first norm */
        pack_unpack_row(e->type, block, e->panels + token / PACK_ROWS * e->panel_bytes,
                        (int)(token % PACK_ROWS), n);
        row = block;
    }
    CHECK(dequantize_row(e->type, row, x, (size_t)n));
    if (s->h->arch->embd_scale)
        s->k->scale(x, sqrtf((float)n), n);
    int position = seq->pos0 + t - seq->i_token;
    s->s->position[t] = position;
    for (int local = 0; local < 2; local++)
        rope_angles(&s->m->rope[local], position, s->s->angle[local] + (size_t)t * s->h->n_rot);
}

/* x += y, normalized first where the architecture does so. */
static void join_stream(struct step *s, int t, const float *post_norm)
{
    int n = s->h->n_embd;
    float *y = s->s->y + (size_t)t * n;
    if (post_norm != NULL)
        s->k->rms_norm(y, y, post_norm, n, s->h->norm_eps);
    s->k->add(s->s->x + (size_t)t * n, y, n);
}

/* xn = norm(x), as input of the next products */
static void normalize(struct step *s, int t, const float *norm)
{
    int n = s->h->n_embd;
    float *xn = s->s->xn + (size_t)t * n;
    s->k->rms_norm(xn, s->s->x + (size_t)t * n, norm, n, s->h->norm_eps);
    set_input(s, xn, n, t);
}

static void attn_in(void *ctx, int t, int i_thread)
{
    struct step *s = ctx;
    (void)i_thread;
    if (s->i_layer > 0)
        join_stream(s, t, s->l[-1].ffn_post_norm);
    normalize(s, t, s->l->attn_norm);
}

static void norm_heads(struct step *s, float *x, int n_head, const float *norm)
{
    for (int i = 0; norm != NULL && i < n_head; i++) {
        float *head = x + (size_t)i * s->h->head_dim;
        s->k->rms_norm(head, head, norm, s->h->head_dim, s->h->norm_eps);
    }
}

/* Normalizes and rotates the heads, stores the token's key and value. */
static void qkv_out(void *ctx, int t, int i_thread)
{
    struct step *s = ctx;
    const struct hparams *h = s->h;
    int n_kv = h->n_head_kv * h->head_dim;
    float *q = s->s->q + (size_t)t * h->n_head * h->head_dim;
    float *k = s->s->k + (size_t)t * n_kv;
    const float *angle = s->s->angle[h->local[s->i_layer]] + (size_t)t * h->n_rot;
    (void)i_thread;
    norm_heads(s, q, h->n_head, s->l->q_norm);
    norm_heads(s, k, h->n_head_kv, s->l->k_norm);
    s->k->rope(q, angle, h->n_head, h->head_dim, h->n_rot, h->arch->rope_neox);
    s->k->rope(k, angle, h->n_head_kv, h->head_dim, h->n_rot, h->arch->rope_neox);
    attention_store(&s->attention, t, k, s->s->v + (size_t)t * n_kv);
}

static void attn_out(void *ctx, int t, int i_thread)
{
    struct step *s = ctx;
    (void)i_thread;
    int n = s->h->n_head * s->h->head_dim;
    bool last = s->i_layer == s->h->n_layer - 1; /* its rows are those of keep_out_rows */
    attention_join(&s->attention, last ? s->b->out_row[t] : t, s->s->att + (size_t)t * n);
    set_input(s, s->s->att + (size_t)t * n, n, t);
}

static void ffn_in(void *ctx, int t, int i_thread)
{
    struct step *s = ctx;
    (void)i_thread;
    join_stream(s, t, s->l->attn_post_norm);
    normalize(s, t, s->l->ffn_norm);
}

static void ffn_out(void *ctx, int t, int i_thread)
{
    struct step *s = ctx;
    (void)i_thread;
    int n = s->h->n_ff;
    set_input(s, s->s->ff + (size_t)t * n, n, t);
}

static void output_in(void *ctx, int t, int i_thread)
{
    struct step *s = ctx;
    (void)i_thread;
    join_stream(s, t, s->l->ffn_post_norm);
    normalize(s, t, s->m->w.output_norm);
}

/* Past the last layer's attention only the rows whose logits are wanted matter. */
static void keep_out_rows(struct step *s)
{
    size_t n_embd = (size_t)s->h->n_embd;
    size_t n_q = (size_t)s->h->n_head * s->h->head_dim;
    for (int i = 0; i < s->b->n_out; i++) {
        size_t row = (size_t)s->b->out_row[i]; /* >= i: ascending */
        memmove(s->s->x + i * n_embd, s->s->x + row * n_embd, n_embd * sizeof(float));
        memmove(s->s->att + i * n_q, s->s->att + row * n_q, n_q * sizeof(float));
    }
    s->n = s->b->n_out;
}

static void check_batch(const struct step *s)
{
    const struct batch *b = s->b;
    const struct model_opts *o = &s->m->opts;
    CHECK(b->n_tokens >= 1 && b->n_tokens <= o->n_batch_max);
    CHECK(b->n_out >= 0 && b->n_out <= o->n_out_max && b->n_seq >= 1);
    for (int i = 0; i < b->n_tokens; i++)
        CHECK(b->token[i] >= 0 && b->token[i] < s->h->n_vocab);
    for (int i = 0; i < b->n_out; i++)
        CHECK(b->out_row[i] >= (i > 0 ? b->out_row[i - 1] + 1 : 0) && b->out_row[i] < b->n_tokens);
}

/* Which sequence a row belongs to. */
static void lay_out(struct step *s)
{
    const struct batch *b = s->b;
    int t = 0;
    for (int i = 0; i < b->n_seq; i++) {
        const struct batch_seq *seq = &b->seq[i];
        CHECK(seq->i_token == t && seq->n_tokens >= 1 && seq->n_tokens <= b->n_tokens - t);
        CHECK(seq->pos0 >= 0 && seq->pos0 <= s->m->opts.n_ctx_max - seq->n_tokens);
        for (int j = 0; j < seq->n_tokens; j++)
            s->s->i_seq[t + j] = i;
        t += seq->n_tokens;
    }
    CHECK(t == b->n_tokens);
    attention_plan(&s->attention, s->m, s->kv, b);
}

/* Few rows are bound by memory, which fewer threads may saturate. */
static void limit_threads(const struct step *s)
{
    const struct model_opts *o = &s->m->opts;
    int all = pool_n_threads(o->pool);
    bool few = s->b->n_tokens <= FEW_TOKENS && o->n_threads_decode > 0;
    pool_limit(o->pool, few && o->n_threads_decode < all ? o->n_threads_decode : all);
}

/* All but the output; where logits are wanted of no row, nothing is left to be done. */
static void run(struct step *s, struct model *m, const struct kv_slab *kv, const struct batch *b)
{
    struct scratch *sc = &m->s;
    const struct weights *w = &m->w;
    *s = (struct step){
        .m = m, .k = m->opts.kernels, .h = &m->h, .s = sc, .kv = kv, .b = b, .n = b->n_tokens};
    int n_embd = m->h.n_embd, n_q = m->h.n_head * m->h.head_dim;
    check_batch(s);
    limit_threads(s);
    lay_out(s);
    s->product = (struct product_phase){s->k, m->h.arch->gelu, sc->product_tile};
    each_row(s, embed, n_embd); /* x: [n, n_embd] */
    for (s->i_layer = 0; s->i_layer < m->h.n_layer; s->i_layer++) {
        const struct layer *l = s->l = &w->layer[s->i_layer];

        /* attention: q [n, n_head, head_dim]; k, v [n, n_head_kv, head_dim] */
        each_row(s, attn_in, n_embd);
        multiply(s, sc->xn, 3,
                 (struct product[]){
                     {.w = &l->q, .y = sc->q}, {.w = &l->k, .y = sc->k}, {.w = &l->v, .y = sc->v}});
        attention_begin(&s->attention, s->i_layer);
        each_row(s, qkv_out, n_q);
        pool_run(m->opts.pool, attention_item, &s->attention, s->attention.n_items);
        if (s->i_layer == m->h.n_layer - 1)
            keep_out_rows(s);
        each_row(s, attn_out, n_q);
        multiply(s, sc->att, 1, &(struct product){.w = &l->attn_output, .y = sc->y});

        /* feed-forward: xn = act(gate) * up, [n, n_ff] */
        each_row(s, ffn_in, n_embd);
        multiply(s, sc->xn, 1, &(struct product){.w = &l->up, .gate = &l->gate, .y = sc->ff});
        each_row(s, ffn_out, m->h.n_ff);
        multiply(s, sc->ff, 1, &(struct product){.w = &l->down, .y = sc->y});
    }
    each_row(s, output_in, n_embd); /* xn: [n_out, n_embd] */
}

void model_forward(struct model *m, const struct kv_slab *kv, const struct batch *b, float *logits)
{
    struct step step;
    CHECK(!m->h.arch->encoder);
    run(&step, m, kv, b);
    multiply(&step, m->s.xn, 1,
             &(struct product){.w = &m->w.output, .y = logits, .cap = m->h.final_cap});
}

const float *model_hidden(struct model *m, const struct kv_slab *kv, const struct batch *b)
{
    struct step step;
    if (m->h.arch->encoder)
        return encoder_forward(m, b);
    run(&step, m, kv, b);
    return m->s.xn;
}
