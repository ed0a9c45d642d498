/*
 * attention: see the header.
 *
 * Owns: where keys and values lie in a block, which rows are attended together, and how the length
 * of a sequence is shared by threads. It must not know what comes before or after attention in a
 * layer.
 *
 * Rows of a tile (consecutive positions of one sequence, and the heads that share a key head) are
 * attended by one item, which goes over all they see. Where that would leave threads idle, as with
 * one long sequence, a tile is cut into stretches of whole pieces (ATTEND_SPLIT positions), an item
 * each; attention_join puts the pieces' results together. The kernels form every piece alone and
 * join in ascending order in both cases, so the cut changes no bit.
 */
#include "model/attention.h"

#include "base/check.h"

/* A step's attention is cut until each thread has about so many items: the last one to finish is
 * not waited for long. */
#define ITEMS_PER_THREAD 8

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

/* The first position that a query at `position` sees. */
static int first_seen(const struct hparams *h, int kind, int position)
{
    return kind == 1 && position >= h->window ? position - h->window + 1 : 0;
}

/* Where the partial results of a row and head begin, where the tile has any. */
static size_t slot_of(const struct attention *a, const struct query_tile *tile, int t, int head)
{
    const struct tile_cut *cut = &tile->cut[a->kind];
    return cut->slot + ((size_t)(t - tile->t0) * a->m->h.n_head + head) * (size_t)cut->n_piece;
}

/* A stretch of a tile, with the heads that share one key head (or a part of them). */
void attention_item(void *ctx, int i_item, int i_thread)
{
    const struct attention *a = ctx;
    const struct model *m = a->m;
    const struct hparams *h = &m->h;
    struct thread_scratch *ts = &m->s.thread[i_thread];
    int group = h->n_head / h->n_head_kv;
    int n_part = a->n_part[a->kind];
    int n_per_stretch = h->n_head_kv * n_part;
    const struct stretch *st = &m->s.stretch[a->kind][i_item / n_per_stretch];
    const struct query_tile *tile = &m->s.tile[st->i_tile];
    const struct tile_cut *cut = &tile->cut[a->kind];
    int i_kv = i_item % n_per_stretch / n_part;
    int part = i_item % n_part;
    int head0 = i_kv * group + group * part / n_part;
    int head1 = i_kv * group + group * (part + 1) / n_part;
    int n_row = 0;
    for (int t = tile->t0; t < tile->t0 + tile->n; t++)
        for (int head = head0; head < head1; head++) {
            int position = m->s.position[t];
            ts->q_at[n_row] = ((size_t)t * h->n_head + head) * h->head_dim;
            ts->from[n_row] = max_int(first_seen(h, a->kind, position), st->from);
            ts->to[n_row] = min_int(position + 1, st->to);
            ts->part_at[n_row] = slot_of(a, tile, t, head);
            n_row++;
        }
    m->opts.kernels->attend(&(struct attend_args){
        .type = m->kv_type,
        .kv = head_at(a, 0, i_kv),
        .block_bytes = m->info.kv_block_bytes,
        .block = a->b->seq[tile->i_seq].block,
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
        .part = cut->n_stretch > 1 ? m->s.part : NULL,
        .part_at = ts->part_at,
        .piece0 = cut->piece0,
        .scratch = ts->attend,
    });
}

/* The results of the stretches of row t. */
static void join_pieces(const struct attention *a, int t, const struct query_tile *tile, float *att)
{
    const struct model *m = a->m;
    const struct hparams *h = &m->h;
    const struct tile_cut *cut = &tile->cut[a->kind];
    int position = m->s.position[t];
    int first = first_seen(h, a->kind, position) / ATTEND_SPLIT;
    for (int i = 0; i < h->n_head; i++) {
        size_t at = slot_of(a, tile, t, i) + (size_t)(first - cut->piece0);
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

/* ---- how a batch is cut ---- */

/* Multiply-adds of a tile for one head, about: rows times what they see. */
static int64_t cost_of(const struct attention *a, const struct query_tile *tile, int kind)
{
    int pos0 = a->b->seq[tile->i_seq].pos0 + tile->t0 - a->b->seq[tile->i_seq].i_token;
    int end = pos0 + tile->n;
    return (int64_t)tile->n * (end - first_seen(&a->m->h, kind, pos0));
}

/* Into how many stretches a tile goes, and where their partial results lie. left: slots. */
static void cut_tile(const struct attention *a, struct query_tile *tile, int kind, int64_t most,
                     int n_stretch_left, size_t *slot, size_t n_slot)
{
    const struct model *m = a->m;
    const struct batch_seq *seq = &a->b->seq[tile->i_seq];
    int pos0 = seq->pos0 + tile->t0 - seq->i_token;
    int end = pos0 + tile->n;
    struct tile_cut *cut = &tile->cut[kind];
    int first = first_seen(&m->h, kind, pos0) / ATTEND_SPLIT;
    int n_piece = (end - 1) / ATTEND_SPLIT - first + 1;
    int64_t n = (cost_of(a, tile, kind) + most - 1) / most;
    n = n < n_piece ? n : n_piece;
    n = n < n_stretch_left ? n : n_stretch_left;
    size_t need = (size_t)tile->n * (size_t)m->h.n_head * (size_t)n_piece;
    *cut = (struct tile_cut){.piece0 = first, .n_piece = n_piece, .n_stretch = 1, .slot = *slot};
    if (n < 2 || need > n_slot - *slot)
        return;
    cut->n_stretch = (int)n;
    *slot += need;
}

/* The stretches of global (kind 0) or local layers. Late tiles, which see the most, first. */
static void cut_tiles(struct attention *a, int kind)
{
    const struct model *m = a->m;
    int n_threads = pool_n_threads(m->opts.pool);
    int64_t total = 0;
    for (int i = 0; i < a->n_tile; i++)
        total += cost_of(a, &m->s.tile[i], kind);
    int64_t most = total * m->h.n_head_kv / ((int64_t)ITEMS_PER_THREAD * n_threads) + 1;
    size_t slot = 0;
    int n = 0;
    for (int i = a->n_tile - 1; i >= 0; i--) {
        struct query_tile *tile = &m->s.tile[i];
        struct tile_cut *cut = &tile->cut[kind];
        cut_tile(a, tile, kind, n_threads > 1 ? most : INT64_MAX, m->n_stretch_max - n - i, &slot,
                 m->n_slot);
        for (int j = 0; j < cut->n_stretch; j++) {
            int piece = cut->piece0 + cut->n_piece * j / cut->n_stretch;
            int end = cut->piece0 + cut->n_piece * (j + 1) / cut->n_stretch;
            m->s.stretch[kind][n++] = (struct stretch){i, piece * ATTEND_SPLIT, end * ATTEND_SPLIT};
        }
    }
    int n_item = n * m->h.n_head_kv;
    int group = m->h.n_head / m->h.n_head_kv;
    a->n_stretch[kind] = n;
    a->n_part[kind] = n_item >= n_threads ? 1 : min_int(group, (n_threads + n_item - 1) / n_item);
}

void attention_plan(struct attention *a, struct model *m, const struct kv_slab *kv,
                    const struct batch *b)
{
    int group = m->h.n_head / m->h.n_head_kv;
    int n_tile_max = m->query_rows / group; /* >= 1 */
    *a = (struct attention){.m = m, .kv = kv, .b = b};
    for (int i = 0; i < b->n_seq; i++) {
        const struct batch_seq *seq = &b->seq[i];
        int n_block = (seq->pos0 + seq->n_tokens + KV_BLOCK_LEN - 1) / KV_BLOCK_LEN;
        for (int j = 0; j < n_block; j++)
            CHECK(seq->block[j] < kv->n_blocks);
        for (int j = 0; j < seq->n_tokens; j++) {
            if (j % n_tile_max == 0)
                m->s.tile[a->n_tile++] = (struct query_tile){
                    i, seq->i_token + j, min_int(n_tile_max, seq->n_tokens - j), {{0}}};
            m->s.i_tile[seq->i_token + j] = a->n_tile - 1;
        }
    }
    cut_tiles(a, 0);
    if (m->h.window > 0)
        cut_tiles(a, 1);
}

void attention_begin(struct attention *a, int i_layer)
{
    a->i_layer = i_layer;
    a->kind = a->m->h.local[i_layer] ? 1 : 0;
    a->n_items = a->n_stretch[a->kind] * a->m->h.n_head_kv * a->n_part[a->kind];
}
