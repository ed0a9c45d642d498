/*
 * bench_plan: which measurements there are, and what each of them costs by the model's shape.
 *
 * Owns: the arithmetic of bytes and multiply-adds. It must not know how anything is measured.
 *
 * Weights count once per forward call, keys and values once per forward call and sequence: what a
 * perfect implementation must read from memory (those that all sequences share: once). Attention's
 * multiply-adds are counted beside those of the weights, though kernels do them on floats at a
 * lower rate.
 */
#include "base/mem.h"
#include "cli/bench.h"
#include "model/arch.h"

#include <stdio.h>
#include <stdlib.h>

#define STEPS_MOST 64 /* of a decode, when it is not said */

int bench_work_of(const struct gguf *g, const struct model_info *info, struct bench_work *ret,
                  struct err *err)
{
    struct hparams *h = mem_zero(1, sizeof(*h));
    int rc = hparams_read(g, h, err);
    if (rc != 0) {
        free(h);
        return rc;
    }
    struct bench_work w = {.window = h->window};
    for (size_t i = 0; i < gguf_n_tensors(g); i++) {
        const struct gguf_tensor *t = gguf_tensor_at(g, i);
        if (t->n_dims < 2 || str_eq_z(t->name, "token_embd.weight") ||
            str_eq_z(t->name, "output.weight"))
            continue;
        w.weight_bytes += (double)t->n_bytes;
        w.weight_macs += (double)t->n_elems;
    }
    const struct gguf_tensor *out = gguf_find_tensor(g, "output.weight");
    out = out != NULL ? out : gguf_find_tensor(g, "token_embd.weight");
    w.output_bytes = out != NULL ? (double)out->n_bytes : 0;
    w.output_macs = out != NULL ? (double)out->n_elems : 0;
    double layer = (double)info->kv_block_bytes / KV_BLOCK_LEN / h->n_layer;
    for (int i = 0; i < h->n_layer; i++) {
        w.kv_bytes[h->local[i]] += layer;
        w.attn_macs[h->local[i]] += 2.0 * h->n_head * h->head_dim;
    }
    free(h);
    *ret = w;
    return 0;
}

/* Positions that are seen from a query with `len` before it and itself, times what each costs. */
static double seen(const struct bench_work *w, const double cost[2], int len)
{
    int local = w->window > 0 && len > w->window ? w->window : len;
    return cost[0] * len + cost[1] * local;
}

/* Of what a query with `len` positions sees: keys and values that other sequences see, too. */
static double shared_bytes(const struct bench *b, const struct bench_cell *c, int len)
{
    const struct bench_work *w = &b->work;
    int shared = (int)bench_shared_blocks(b, c) * KV_BLOCK_LEN;
    int from = w->window > 0 && len > w->window ? len - w->window : 0;
    return w->kv_bytes[0] * shared + w->kv_bytes[1] * (shared > from ? shared - from : 0);
}

void bench_cell_work(const struct bench *b, struct bench_cell *c)
{
    const struct bench_work *w = &b->work;
    double bytes = 0, macs = 0;
    if (c->kind == BENCH_PREFILL) {
        for (int at = 0; at < c->n_prompt; at += b->o.n_chunk) {
            int end = at + b->o.n_chunk < c->n_prompt ? at + b->o.n_chunk : c->n_prompt;
            bytes += w->weight_bytes + seen(w, w->kv_bytes, c->depth + end);
        }
        for (int i = 0; i < c->n_prompt; i++)
            macs += w->weight_macs + seen(w, w->attn_macs, c->depth + i + 1);
        bytes += w->output_bytes; /* the last token's logits */
        macs += w->output_macs;
        c->n_tokens = c->n_prompt;
    } else {
        for (int i = 0; i < c->n_steps; i++) {
            bytes += w->weight_bytes + w->output_bytes +
                     c->batch * seen(w, w->kv_bytes, c->depth + i + 1) -
                     (c->batch - 1) * shared_bytes(b, c, c->depth + i + 1);
            macs += c->batch *
                    (w->weight_macs + w->output_macs + seen(w, w->attn_macs, c->depth + i + 1));
        }
        c->n_tokens = (double)c->batch * c->n_steps;
    }
    c->n_tokens *= c->n_repeat;
    c->n_bytes = bytes * c->n_repeat;
    c->n_macs = macs * c->n_repeat;
}

int bench_cell_len(const struct bench_cell *c)
{
    return c->depth + (c->kind == BENCH_PREFILL ? c->n_prompt : c->n_steps);
}

uint64_t bench_seq_blocks(const struct bench_cell *c)
{
    return ((uint64_t)bench_cell_len(c) + KV_BLOCK_LEN - 1) / KV_BLOCK_LEN;
}

uint64_t bench_shared_blocks(const struct bench *b, const struct bench_cell *c)
{
    int shared = b->o.n_shared < c->depth ? b->o.n_shared : c->depth;
    return (uint64_t)shared / KV_BLOCK_LEN;
}

uint64_t bench_cell_blocks(const struct bench *b, const struct bench_cell *c)
{
    uint64_t shared = bench_shared_blocks(b, c);
    return shared + (bench_seq_blocks(c) - shared) * (uint64_t)c->batch;
}

void bench_cell_name(const struct bench *b, const struct bench_cell *c, char *ret, size_t size)
{
    char what[64], depth[64] = "", threads[32] = "";
    if (c->kind == BENCH_PREFILL)
        snprintf(what, sizeof(what), "prefill %d", c->n_prompt);
    else
        snprintf(what, sizeof(what), "decode x%d", c->batch);
    int shared = c->batch > 1 ? (int)bench_shared_blocks(b, c) * KV_BLOCK_LEN : 0;
    if (shared > 0)
        snprintf(depth, sizeof(depth), " at depth %d, %d shared", c->depth, shared);
    else if (c->depth > 0)
        snprintf(depth, sizeof(depth), " at depth %d", c->depth);
    if (b->o.threads.n > 1)
        snprintf(threads, sizeof(threads), ", %d thread%s", b->o.threads.v[c->i_threads],
                 b->o.threads.v[c->i_threads] > 1 ? "s" : "");
    snprintf(ret, size, "%s%s%s", what, depth, threads);
}

static void skip_what_does_not_fit(const struct bench *b, struct bench_cell *c, uint64_t memory)
{
    uint64_t n_block = bench_cell_blocks(b, c), bytes;
    if (bench_cell_len(c) > b->info.n_ctx_train)
        snprintf(c->skipped, sizeof(c->skipped), "%d tokens, but the model's context is %d",
                 bench_cell_len(c), b->info.n_ctx_train);
    else if (__builtin_mul_overflow(n_block, b->info.kv_block_bytes, &bytes) || bytes > memory ||
             n_block > UINT32_MAX)
        snprintf(c->skipped, sizeof(c->skipped),
                 "keys and values of %d x %d tokens take %.1f GB, but %.1f GB of memory are left",
                 c->batch, bench_cell_len(c),
                 (double)n_block * (double)b->info.kv_block_bytes / 1e9, (double)memory / 1e9);
}

static struct bench_cell *add(struct bench *b, struct bench_cell cell, uint64_t memory)
{
    struct bench_cell *c = &b->cell[b->n_cell++];
    *c = cell;
    c->n_repeat = 1;
    c->n_steps = b->o.n_steps > 0 ? b->o.n_steps : STEPS_MOST;
    skip_what_does_not_fit(b, c, memory);
    bench_cell_work(b, c);
    return c;
}

int bench_plan(struct bench *b, uint64_t memory, struct err *err)
{
    const struct bench_opts *o = &b->o;
    int n = (o->prompt.n + o->batch.n) * o->depth.n * o->threads.n;
    b->cell = mem_zero((size_t)n, sizeof(*b->cell));
    int n_measured = 0;
    for (int t = 0; t < o->threads.n; t++)
        for (int d = 0; d < o->depth.n; d++)
            for (int i = 0; i < o->prompt.n + o->batch.n; i++) {
                struct bench_cell c = {.depth = o->depth.v[d], .i_threads = t, .batch = 1};
                c.kind = i < o->prompt.n ? BENCH_PREFILL : BENCH_DECODE;
                if (c.kind == BENCH_PREFILL)
                    c.n_prompt = o->prompt.v[i];
                else
                    c.batch = o->batch.v[i - o->prompt.n];
                n_measured += add(b, c, memory)->skipped[0] == '\0';
            }
    if (n_measured > 0)
        return 0;
    char name[128];
    bench_cell_name(b, b->cell, name, sizeof(name));
    return err_set(err, ERR_LIMIT, "nothing can be measured: %s: %s", name, b->cell->skipped);
}
