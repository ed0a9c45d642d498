/*
 * attention: see the header.
 *
 * Owns: where keys and values lie in a block, and which rows are attended together. It must not
 * know what comes before or after attention in a layer.
 */
#include "model/attention.h"

#include "base/check.h"

static int min_int(int a, int b)
{
    return a < b ? a : b;
}

/* The keys of a layer in a block: [KV_BLOCK_LEN][n_head_kv * head_dim]; then the values. */
static uint16_t *keys_of(const struct attention *a, int i_layer, uint32_t i_block)
{
    CHECK(i_block < a->kv->n_blocks);
    return (uint16_t *)(a->kv->base + i_block * a->m->info.kv_block_bytes +
                        (size_t)i_layer * a->m->layer_bytes);
}

void attention_store(const struct attention *a, int i_layer, int t, const float *k, const float *v)
{
    const struct model *m = a->m;
    int n_kv = m->h.n_head_kv * m->h.head_dim;
    int position = m->s.position[t];
    const struct batch_seq *seq = &a->b->seq[m->s.i_seq[t]];
    uint16_t *keys = keys_of(a, i_layer, seq->block[position / KV_BLOCK_LEN]);
    uint16_t *values = keys + (size_t)KV_BLOCK_LEN * n_kv;
    size_t at = (size_t)(position % KV_BLOCK_LEN) * n_kv;
    m->opts.kernels->f32_to_f16(keys + at, k, n_kv);
    m->opts.kernels->f32_to_f16(values + at, v, n_kv);
}

/* Some positions of a sequence, the heads that share one key head (or a part of them). */
void attention_item(void *ctx, int i_item, int i_thread)
{
    const struct attention *a = ctx;
    const struct model *m = a->m;
    const struct hparams *h = &m->h;
    struct thread_scratch *ts = &m->s.thread[i_thread];
    int group = h->n_head / h->n_head_kv;
    int n_per_tile = h->n_head_kv * a->n_part;
    /* Long tiles first: late positions see the most. */
    const struct query_tile *tile = &m->s.tile[a->n_tile - 1 - i_item / n_per_tile];
    int i_kv = i_item % n_per_tile / a->n_part;
    int part = i_item % a->n_part;
    int head0 = i_kv * group + group * part / a->n_part;
    int head1 = i_kv * group + group * (part + 1) / a->n_part;
    const struct batch_seq *seq = &a->b->seq[tile->i_seq];
    bool local = h->local[a->i_layer];
    int first = m->s.position[tile->t0];
    int end = m->s.position[tile->t0 + tile->n - 1] + 1;
    int block0 = local && first >= h->window ? (first - h->window + 1) / KV_BLOCK_LEN : 0;
    int n_row = 0;
    for (int t = tile->t0; t < tile->t0 + tile->n; t++)
        for (int head = head0; head < head1; head++) {
            int position = m->s.position[t];
            int from = local && position >= h->window ? position - h->window + 1 : 0;
            ts->q_at[n_row] = ((size_t)t * h->n_head + head) * h->head_dim;
            ts->from[n_row] = from - block0 * KV_BLOCK_LEN;
            ts->to[n_row] = position + 1 - block0 * KV_BLOCK_LEN;
            n_row++;
        }
    int n_kv = h->n_head_kv * h->head_dim;
    for (int i = block0; i * KV_BLOCK_LEN < end; i++) {
        const uint16_t *keys = keys_of(a, a->i_layer, seq->block[i]) + (size_t)i_kv * h->head_dim;
        ts->k_block[i - block0] = keys;
        ts->v_block[i - block0] = keys + (size_t)KV_BLOCK_LEN * n_kv;
    }
    m->opts.kernels->attend(&(struct attend_args){
        .out = m->s.att,
        .out_at = ts->q_at,
        .q = m->s.q,
        .q_at = ts->q_at,
        .from = ts->from,
        .to = ts->to,
        .n_q = n_row,
        .head_dim = h->head_dim,
        .head_dim_v = h->head_dim,
        .k_block = ts->k_block,
        .v_block = ts->v_block,
        .stride = (size_t)n_kv,
        .block_len = KV_BLOCK_LEN,
        .scale = h->attn_scale,
        .cap = h->attn_cap,
        .scratch = ts->attend,
    });
}

/* The tiles of rows that are attended together. */
void attention_plan(struct attention *a, struct model *m, const struct kv_slab *kv,
                    const struct batch *b)
{
    int group = m->h.n_head / m->h.n_head_kv;
    int n_tile_max = m->query_rows / group; /* >= 1 */
    *a = (struct attention){.m = m, .kv = kv, .b = b};
    for (int i = 0; i < b->n_seq; i++) {
        const struct batch_seq *seq = &b->seq[i];
        for (int j = 0; j < seq->n_tokens; j += n_tile_max)
            m->s.tile[a->n_tile++] =
                (struct query_tile){i, seq->i_token + j, min_int(n_tile_max, seq->n_tokens - j)};
    }
    int n_item = a->n_tile * m->h.n_head_kv;
    int n_threads = pool_n_threads(m->opts.pool);
    a->n_part = n_item >= n_threads ? 1 : min_int(group, (n_threads + n_item - 1) / n_item);
    a->n_items = n_item * a->n_part;
}
