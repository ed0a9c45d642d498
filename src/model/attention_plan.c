/*
 * attention_plan: how the attention of a batch is cut into items.
 *
 * Owns: tiles (what is attended together) and stretches (how the positions they see are shared by
 * threads). It must not know how anything is attended.
 *
 * Sequences whose block tables begin with the same blocks, as those that the prefix cache gave the
 * same beginning, are put side by side: their tables are sorted, by whole pieces (ATTEND_SPLIT
 * positions), so that what two neighbours share is all that either shares with anybody. Rows of
 * neighbours fill a tile together. Where threads would be left idle by that, tiles are smaller.
 */
#include "base/check.h"
#include "model/attention.h"

#include <string.h>

/* A step's attention is cut until each thread has about so many items: the last one to finish is
 * not waited for long. */
#define ITEMS_PER_THREAD 8
/* Tiles of several sequences grow while each thread has so many of them. */
#define SHARED_PER_THREAD 4
/* And to so many query rows: the scores of a piece stay in the first-level cache, and tiles of
 * registers are full. Twice as many were up to a tenth slower (AVX2). */
#define SHARED_ROWS 24
/* Taking rows together costs a call more: not for less than this part of what they see. */
#define SHARED_PART 16

#define PIECE_BLOCKS (ATTEND_SPLIT / KV_BLOCK_LEN)

static int min_int(int a, int b)
{
    return a < b ? a : b;
}

static int max_int(int a, int b)
{
    return a > b ? a : b;
}

static int end_of(const struct batch_seq *seq)
{
    return seq->pos0 + seq->n_tokens;
}

/* ---- tiles ---- */

/* By the blocks of whole pieces, then by their number: an order in which equal beginnings meet. */
static int compare_tables(const struct batch_seq *a, const struct batch_seq *b)
{
    int n_a = end_of(a) / ATTEND_SPLIT, n_b = end_of(b) / ATTEND_SPLIT;
    size_t n = (size_t)min_int(n_a, n_b) * PIECE_BLOCKS;
    int c = memcmp(a->block, b->block, n * sizeof(*a->block));
    return c != 0 ? c : n_a - n_b;
}

/* Positions whose blocks are the same in both, in whole pieces. */
static int shared_by(const struct batch_seq *a, const struct batch_seq *b)
{
    int most = min_int(end_of(a), end_of(b)) / ATTEND_SPLIT, n = 0;
    while (n < most && memcmp(a->block + n * PIECE_BLOCKS, b->block + n * PIECE_BLOCKS,
                              PIECE_BLOCKS * sizeof(*a->block)) == 0)
        n++;
    return n * ATTEND_SPLIT;
}

static void order_sequences(const struct attention *a)
{
    int *order = a->m->s.seq_order;
    for (int i = 0; i < a->b->n_seq; i++) {
        int low = 0, high = i; /* where sequence i belongs among those before it */
        while (low < high) {
            int mid = (low + high) / 2;
            if (compare_tables(&a->b->seq[i], &a->b->seq[order[mid]]) < 0)
                high = mid;
            else
                low = mid + 1;
        }
        memmove(order + low + 1, order + low, (size_t)(i - low) * sizeof(*order));
        order[low] = i;
    }
}

/* Takes up to n rows of a sequence from row t0 of the batch on into the last tile. */
static void add_span(struct attention *a, int i_seq, int t0, int n, int shared)
{
    struct scratch *s = &a->m->s;
    struct query_tile *tile = &s->tile[a->n_tile - 1];
    s->span[a->n_span++] = (struct query_span){i_seq, t0, n, tile->n, shared};
    for (int i = 0; i < n; i++) {
        s->i_tile[t0 + i] = a->n_tile - 1;
        s->i_row[t0 + i] = tile->n + i;
    }
    tile->n_span++;
    tile->n += n;
}

/* shared: positions that the sequence has in common with the one before it; 0 where taking them
 * together would not pay. A tile has up to n_most rows, if of several sequences n_together. */
static void add_sequence(struct attention *a, int i_seq, int shared, int n_most, int n_together)
{
    const struct batch_seq *seq = &a->b->seq[i_seq];
    int end = seq->i_token + seq->n_tokens;
    for (int t = seq->i_token, n; t < end; t += n) {
        struct query_tile *last = a->n_tile > 0 ? &a->m->s.tile[a->n_tile - 1] : NULL;
        bool joins = t == seq->i_token && shared > 0 && last != NULL && last->n < n_together;
        if (!joins) {
            a->m->s.tile[a->n_tile++] = (struct query_tile){.i_span = a->n_span};
            n = min_int(n_most, end - t);
        } else {
            n = min_int(n_together - last->n, end - t);
        }
        add_span(a, i_seq, t, n, joins ? shared : 0);
    }
}

static void make_tiles(struct attention *a)
{
    const struct model *m = a->m;
    const struct batch *b = a->b;
    int group = m->h.n_head / m->h.n_head_kv;
    int n_most = m->query_rows / group; /* >= 1 */
    int n_threads = pool_n_threads(m->opts.pool);
    int64_t together = (int64_t)b->n_tokens * m->h.n_head_kv / (SHARED_PER_THREAD * n_threads);
    int n_together = SHARED_ROWS / group; /* 0: none are taken together */
    if (n_threads > 1 && together < n_together)
        n_together = (int)together;
    order_sequences(a);
    for (int i = 0; i < b->n_seq; i++) {
        const struct batch_seq *seq = &b->seq[m->s.seq_order[i]];
        int shared = i == 0 ? 0 : shared_by(&b->seq[m->s.seq_order[i - 1]], seq);
        if (shared < end_of(seq) / SHARED_PART)
            shared = 0;
        add_sequence(a, m->s.seq_order[i], shared, n_most, n_together);
    }
}

/* ---- stretches ---- */

/* What the rows of a tile see: from the first position that one of them does to the last. Returns
 * multiply-adds for one head, about: rows times what they see. */
static int64_t extent_of(const struct attention *a, const struct query_tile *tile, int kind,
                         int *ret_from, int *ret_to)
{
    int64_t cost = 0;
    int from = INT32_MAX, to = 0;
    for (int i = 0; i < tile->n_span; i++) {
        const struct query_span *span = &a->m->s.span[tile->i_span + i];
        const struct batch_seq *seq = &a->b->seq[span->i_seq];
        int pos0 = seq->pos0 + span->t0 - seq->i_token;
        int first = attention_first(&a->m->h, kind, pos0), end = pos0 + span->n;
        cost += (int64_t)span->n * (end - first);
        from = min_int(from, first);
        to = max_int(to, end);
    }
    *ret_from = from;
    *ret_to = to;
    return cost;
}

/* Into how many stretches a tile goes, and where their partial results lie. left: slots. */
static void cut_tile(const struct attention *a, struct query_tile *tile, int kind, int64_t most,
                     int n_stretch_left, size_t *slot, size_t n_slot)
{
    const struct model *m = a->m;
    struct tile_cut *cut = &tile->cut[kind];
    int from, to;
    int64_t cost = extent_of(a, tile, kind, &from, &to);
    int first = from / ATTEND_SPLIT;
    int n_piece = (to - 1) / ATTEND_SPLIT - first + 1;
    int64_t n = (cost + most - 1) / most;
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
    int n_threads = pool_n_threads(m->opts.pool), from, to;
    int64_t total = 0;
    for (int i = 0; i < a->n_tile; i++)
        total += extent_of(a, &m->s.tile[i], kind, &from, &to);
    int64_t most = total * m->h.n_head_kv / ((int64_t)ITEMS_PER_THREAD * n_threads) + 1;
    size_t slot = 0;
    int n = 0;
    for (int i = a->n_tile - 1; i >= 0; i--) {
        struct query_tile *tile = &m->s.tile[i];
        struct tile_cut *cut = &tile->cut[kind];
        /* Several sequences' items are as many as they need to be (n_together), and large. */
        int64_t most_now = tile->n_span > 1 ? most * (ITEMS_PER_THREAD / SHARED_PER_THREAD) : most;
        cut_tile(a, tile, kind, n_threads > 1 ? most_now : total + 1, m->n_stretch_max - n - i,
                 &slot, m->n_slot);
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
    *a = (struct attention){.m = m, .kv = kv, .b = b};
    for (int i = 0; i < b->n_seq; i++) {
        int n_block = (end_of(&b->seq[i]) + KV_BLOCK_LEN - 1) / KV_BLOCK_LEN;
        for (int j = 0; j < n_block; j++)
            CHECK(b->seq[i].block[j] < kv->n_blocks);
    }
    make_tiles(a);
    cut_tiles(a, 0);
    if (m->h.window > 0)
        cut_tiles(a, 1);
}
