/*
 * attention: see the header.
 *
 * Owns: where keys and values lie in a block, and how an item is attended. It must not know what
 * comes before or after attention in a layer; attention_plan.c says which rows make an item.
 *
 * Rows of a tile, and the heads that share a key head, are attended by one item, which goes over
 * all they see. Where that would leave threads idle, as with one long sequence, a tile is cut into
 * stretches of whole pieces (ATTEND_SPLIT positions), an item each; attention_join puts the pieces'
 * results together. A tile of several sequences reads the blocks that they share once for all its
 * rows; then each goes on alone. The kernels form every piece alone and join in ascending order in
 * all these cases, so neither the cut nor the company changes a bit.
 */
#include "model/attention.h"

#include <string.h>

static int min_int(int a, int b)
{
    return a < b ? a : b;
}

static int max_int(int a, int b)
{
    return a > b ? a : b;
}

/* What one key head's keys and values of a layer take in a block: those of head i_kv of block 0. */
static size_t head_bytes(const struct model *m)
{
    return m->layer_bytes / (size_t)m->h.n_head_kv;
}

static uint8_t *head_at(const struct attention *a, uint32_t i_block, int i_kv)
{
    return a->kv->base + i_block * a->m->info.kv_block_bytes +
           (size_t)a->i_layer * a->m->layer_bytes + (size_t)i_kv * head_bytes(a->m);
}

static void rotate(const struct model *m, float *x, int n_head)
{
    for (int i = 0; i < n_head; i++)
        kv_rotate(x + (size_t)i * m->h.head_dim, m->h.head_dim);
}

void attention_store(const struct attention *a, int t, float *k, float *v)
{
    const struct model *m = a->m;
    int dim = m->h.head_dim;
    if (kv_is_rotated(m->kv_type)) {
        rotate(m, m->s.q + (size_t)t * m->h.n_head * dim, m->h.n_head);
        rotate(m, k, m->h.n_head_kv);
        rotate(m, v, m->h.n_head_kv);
    }
    int position = m->s.position[t];
    uint32_t i_block = a->b->seq[m->s.i_seq[t]].block[position / KV_BLOCK_LEN];
    for (int i = 0; i < m->h.n_head_kv; i++)
        kv_store(m->kv_type, head_at(a, i_block, i), position % KV_BLOCK_LEN, k + (size_t)i * dim,
                 dim, v + (size_t)i * dim, dim);
}

/* Where the partial results of a row (its index in the tile) and head begin, where there are any.
 */
static size_t slot_of(const struct attention *a, const struct query_tile *tile, int row, int head)
{
    const struct tile_cut *cut = &tile->cut[a->kind];
    return cut->slot + ((size_t)row * (size_t)a->m->h.n_head + (size_t)head) * (size_t)cut->n_piece;
}

/* A stretch of a tile, with the heads that share one key head (or a part of them). */
struct item {
    const struct attention *a;
    struct thread_scratch *ts;
    const struct query_tile *tile;
    const struct tile_cut *cut;
    int i_kv, head0, head1;
};

/* Positions [from, to) for the rows of spans [i0, i1) of the batch, which have the same blocks
 * there. */
static void attend_range(const struct item *it, int i0, int i1, int from, int to)
{
    const struct attention *a = it->a;
    const struct model *m = a->m;
    const struct hparams *h = &m->h;
    struct thread_scratch *ts = it->ts;
    bool in_parts = it->cut->n_stretch > 1, carries = !in_parts && it->tile->n_span > 1;
    int n_row = 0;
    for (int i = i0; i < i1; i++)
        for (int j = 0; j < m->s.span[i].n; j++) {
            int t = m->s.span[i].t0 + j, row = m->s.span[i].i_row + j;
            int first = max_int(attention_first(h, a->kind, m->s.position[t]), from);
            int end = min_int(m->s.position[t] + 1, to);
            for (int head = it->head0; head < it->head1 && first < end; head++) {
                ts->q_at[n_row] = ((size_t)t * h->n_head + head) * h->head_dim;
                ts->from[n_row] = first;
                ts->to[n_row] = end;
                ts->part_at[n_row] =
                    in_parts ? slot_of(a, it->tile, row, head)
                             : (size_t)(row * (it->head1 - it->head0) + head - it->head0);
                n_row++;
            }
        }
    if (n_row == 0)
        return;
    m->opts.kernels->attend(&(struct attend_args){
        .type = m->kv_type,
        .kv = head_at(a, 0, it->i_kv),
        .block_bytes = m->info.kv_block_bytes,
        .block = a->b->seq[m->s.span[i0].i_seq].block,
        .out = m->s.att,
        .out_at = ts->q_at,
        .q = m->s.q,
        .q_at = ts->q_at,
        .from = ts->from,
        .to = ts->to,
        .n_q = n_row,
        .head_dim = h->head_dim,
        .head_dim_v = h->head_dim,
        .scale = h->attn_scale,
        .cap = h->attn_cap,
        .part = in_parts ? m->s.part : NULL,
        .part_at = ts->part_at,
        .piece0 = it->cut->piece0,
        .carry = carries ? ts->carry : NULL,
        .carried = ts->carried,
        .scratch = ts->attend,
    });
}

/* What is carried of a span's rows is whole: their result. */
static void finish_span(const struct item *it, const struct query_span *span)
{
    const struct model *m = it->a->m;
    size_t len = attend_part_len(m->h.head_dim);
    int n_head = it->head1 - it->head0;
    for (int i = 0; i < span->n * n_head; i++) {
        int t = span->t0 + i / n_head, head = it->head0 + i % n_head;
        float *out = m->s.att + ((size_t)t * m->h.n_head + head) * m->h.head_dim;
        float *carry = it->ts->carry + ((size_t)span->i_row * n_head + i) * len;
        m->opts.kernels->attend_join(out, carry, 1, m->h.head_dim);
    }
}

/* The same for spans that may share a beginning of it, or some of them a longer one: first what all
 * have in common, then what each run of them has. */
static void attend_spans(const struct item *it, int i0, int i1, int from, int to)
{
    const struct query_span *span = it->a->m->s.span;
    while (i0 < i1) {
        int common = to, i = i0 + 1;
        for (int j = i0 + 1; j < i1; j++)
            common = min_int(common, span[j].shared);
        if (common > from) {
            attend_range(it, i0, i1, from, common);
            from = common;
        }
        if (from >= to)
            return;
        while (i < i1 && span[i].shared > from)
            i++;
        attend_spans(it, i0, i, from, to);
        i0 = i;
    }
}

void attention_item(void *ctx, int i_item, int i_thread)
{
    const struct attention *a = ctx;
    const struct model *m = a->m;
    int group = m->h.n_head / m->h.n_head_kv;
    int n_part = a->n_part[a->kind];
    int n_per_stretch = m->h.n_head_kv * n_part;
    const struct stretch *st = &m->s.stretch[a->kind][i_item / n_per_stretch];
    const struct query_tile *tile = &m->s.tile[st->i_tile];
    struct item it = {.a = a,
                      .ts = &m->s.thread[i_thread],
                      .tile = tile,
                      .cut = &tile->cut[a->kind],
                      .i_kv = i_item % n_per_stretch / n_part};
    int part = i_item % n_part;
    it.head0 = it.i_kv * group + group * part / n_part;
    it.head1 = it.i_kv * group + group * (part + 1) / n_part;
    int n_row = tile->n * (it.head1 - it.head0);
    memset(it.ts->carried, 0, (size_t)n_row * sizeof(*it.ts->carried));
    attend_spans(&it, tile->i_span, tile->i_span + tile->n_span, st->from, st->to);
    if (it.cut->n_stretch > 1 || tile->n_span == 1)
        return;
    for (int i = 0; i < tile->n_span; i++)
        finish_span(&it, &m->s.span[tile->i_span + i]);
}

/* The results of the stretches of row t. */
static void join_pieces(const struct attention *a, int t, const struct query_tile *tile, float *att)
{
    const struct model *m = a->m;
    const struct hparams *h = &m->h;
    const struct tile_cut *cut = &tile->cut[a->kind];
    int position = m->s.position[t];
    int first = attention_first(h, a->kind, position) / ATTEND_SPLIT;
    for (int i = 0; i < h->n_head; i++) {
        size_t at = slot_of(a, tile, m->s.i_row[t], i) + (size_t)(first - cut->piece0);
        m->opts.kernels->attend_join(att + (size_t)i * h->head_dim,
                                     m->s.part + at * attend_part_len(h->head_dim),
                                     position / ATTEND_SPLIT - first + 1, h->head_dim);
    }
}

void attention_join(const struct attention *a, int t, float *att)
{
    const struct query_tile *tile = &a->m->s.tile[a->m->s.i_tile[t]];
    if (tile->cut[a->kind].n_stretch > 1)
        join_pieces(a, t, tile, att);
    if (kv_is_rotated(a->m->kv_type))
        rotate(a->m, att, a->m->h.n_head);
}

void attention_begin(struct attention *a, int i_layer)
{
    a->i_layer = i_layer;
    a->kind = a->m->h.local[i_layer] ? 1 : 0;
    a->n_items = a->n_stretch[a->kind] * a->m->h.n_head_kv * a->n_part[a->kind];
}
