/*
 * bench_run: opens the models of `hearth bench` and takes samples.
 *
 * Owns: the slab of keys and values, filled to the greatest depth before anything is measured. It
 * must not know how samples are ordered or shown.
 *
 * Sequence i of a cell uses blocks [i * blocks of a sequence, ...) of the slab, or the first one's
 * as far as they share (--shared) and then its own. Every block holds
 * keys and values of real tokens at all times, so a cell may decode from any depth at once. What a
 * cell writes past its depth, others overwrite or read as just another past.
 */
#include "base/clock.h"
#include "base/mem.h"
#include "base/rng.h"
#include "cli/bench.h"
#include "kernels/pack.h"
#include "worker/memory_plan.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define FILL_LEN      256 /* tokens of the prefill that depths are copied from */
#define LIMIT_READ_NS 40000000
#define LIMIT_MULT_NS 15000000
#define SAMPLE_S      1.0  /* of a decode, when the number of steps is open */
#define SAMPLE_LEAST  0.05 /* below it a sample is repeated: clocks and wake-ups would show */
#define REPEAT_MOST   1000
#define STEPS_LEAST   4

static int max_int(int a, int b)
{
    return a > b ? a : b;
}

static bool stopped(const struct bench *b)
{
    return b->stop != NULL && *b->stop != 0;
}

/* ---- opening ---- */

static struct model_opts opts_of(const struct bench *b, int i_threads, int n_ctx, int batch)
{
    return (struct model_opts){
        .kernels = kernels_get(b->level),
        .pool = b->pool[i_threads],
        .kv_type = b->o.kv_type,
        .activations = b->o.activations,
        .n_batch_max = max_int(b->o.n_chunk, batch),
        .n_out_max = max_int(batch, 1),
        .n_ctx_max = n_ctx,
    };
}

static int greatest(const struct numbers *l)
{
    int most = 0;
    for (int i = 0; i < l->n; i++)
        most = max_int(most, l->v[i]);
    return most;
}

/* What is left for keys and values beside weights, scratch and the buffer for reading. */
static int memory_left(const struct bench *b, uint64_t *ret, struct err *err)
{
    uint64_t used = b->info.weight_bytes + b->buffer.bytes;
    for (int i = 0; i < b->o.threads.n; i++) {
        uint64_t scratch;
        struct model_opts o = opts_of(b, i, b->info.n_ctx_train, greatest(&b->o.batch));
        int rc = model_scratch_bytes(b->gguf, &o, &scratch, err);
        if (rc != 0)
            return rc;
        used += scratch;
    }
    uint64_t have = memory_available();
    *ret = have > used ? have - used : 0;
    return 0;
}

static int open_slab(struct bench *b, uint64_t n_block, uint64_t n_table, struct err *err)
{
    size_t bytes;
    if (!size_mul(n_block, b->info.kv_block_bytes, &bytes))
        return err_set(err, ERR_LIMIT, "keys and values do not fit");
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
                   -1, 0);
    if (p == MAP_FAILED)
        return err_set(err, ERR_NOMEM, "cannot map %zu bytes for keys and values", bytes);
    madvise(p, bytes, MADV_HUGEPAGE);
    b->kv = (struct kv_slab){p, (uint32_t)n_block};
    b->kv_mapped = bytes;
    b->block = mem_try_array(n_table, sizeof(*b->block));
    if (b->block == NULL)
        return err_set(err, ERR_NOMEM, "no memory for tables of %llu blocks",
                       (unsigned long long)n_table);
    for (uint32_t i = 0; i < n_table; i++)
        b->block[i] = i;
    return 0;
}

static int open_batch(struct bench *b, int batch, struct err *err)
{
    int n_token = max_int(b->o.n_chunk, batch);
    b->token = mem_try_array((size_t)n_token, sizeof(*b->token));
    b->out_row = mem_try_array((size_t)batch, sizeof(*b->out_row));
    b->seq = mem_try_array((size_t)batch, sizeof(*b->seq));
    b->logits = mem_try_array((size_t)batch * (size_t)b->info.n_vocab, sizeof(*b->logits));
    if (b->token == NULL || b->out_row == NULL || b->seq == NULL || b->logits == NULL)
        return err_set(err, ERR_NOMEM, "no memory for %d rows of logits", batch);
    for (int i = 0; i < n_token; i++)
        b->token[i] = (int32_t)(rng_uniform(1, 0, (uint64_t)i) * (double)b->info.n_vocab);
    return 0;
}

static void prefill(struct bench *b, struct model *m, int depth, int n)
{
    for (int at = 0; at < n && !stopped(b); at += b->o.n_chunk) {
        int n_now = n - at < b->o.n_chunk ? n - at : b->o.n_chunk;
        struct batch_seq seq = {b->block, depth + at, n_now, 0};
        int32_t last = n_now - 1;
        struct batch batch = {b->token, n_now, &seq, 1, &last, at + n_now == n};
        model_forward(m, &b->kv, &batch, b->logits);
    }
}

static void fill_depths(struct bench *b, int n_ctx)
{
    size_t bytes = b->info.kv_block_bytes;
    int n = n_ctx < FILL_LEN ? n_ctx : FILL_LEN;
    uint32_t n_first = (uint32_t)(n + KV_BLOCK_LEN - 1) / KV_BLOCK_LEN;
    prefill(b, b->model[0], 0, n);
    for (uint32_t i = n_first; i < b->kv.n_blocks && !stopped(b); i++)
        memcpy(b->kv.base + i * bytes, b->kv.base + i % n_first * bytes, bytes);
}

/* Packed weights as a server would use them; where there is no place for a file, in memory. */
static int open_model(struct bench *b, const char *key, struct model_opts *o, struct model **ret,
                      struct err *err)
{
    if (b->cache == NULL)
        return model_new(b->gguf, o, ret, err);
    struct pack_lease *l = &b->lease[b->n_lease++];
    int64_t file = (int64_t)gguf_file_bytes(b->gguf);
    pack_lease_take(b->cache, key, file + file / 8 + (16 << 20), l, NULL);
    struct pack_files pack = {.fd_in = l->fd_in, .fd_out = l->fd_out};
    memcpy(pack.key, key, sizeof(pack.key));
    o->pack = &pack;
    int rc = model_new(b->gguf, o, ret, err);
    if (rc == 0 && model_pack_report(*ret)->from == PACK_WRITTEN)
        rc = pack_lease_commit(l, err);
    return rc;
}

static int open_models(struct bench *b, char *const *path, int n_path, int n_ctx, int batch,
                       struct err *err)
{
    char key[PACK_CACHE_KEY_LEN + 1];
    if (pack_cache_open(NULL, 0, PACK_VERSION, &b->cache, NULL) != 0 ||
        pack_cache_key(path, n_path, key, NULL) != 0) {
        pack_cache_close(b->cache);
        b->cache = NULL;
    }
    for (int i = 0; i < b->o.threads.n; i++) {
        struct model_opts o = opts_of(b, i, n_ctx, batch);
        int rc = open_model(b, key, &o, &b->model[i], err);
        if (rc != 0)
            return rc;
    }
    return 0;
}

static int open_planned(struct bench *b, char *const *path, int n_path, struct err *err)
{
    uint64_t memory, n_block = 1, n_table = 1;
    int n_ctx = 1, batch = 1;
    int rc = memory_left(b, &memory, err);
    if (rc != 0 || (rc = bench_plan(b, memory, err)) != 0)
        return rc;
    for (int i = 0; i < b->n_cell; i++) {
        const struct bench_cell *c = &b->cell[i];
        if (c->skipped[0] != '\0')
            continue;
        n_ctx = max_int(n_ctx, bench_cell_len(c));
        batch = max_int(batch, c->batch);
        uint64_t blocks = bench_cell_blocks(b, c), table = bench_seq_blocks(c) * (uint64_t)c->batch;
        n_block = blocks > n_block ? blocks : n_block;
        n_table = table > n_table ? table : n_table;
    }
    if ((rc = open_slab(b, n_block, n_table, err)) != 0 || (rc = open_batch(b, batch, err)) != 0 ||
        (rc = open_models(b, path, n_path, n_ctx, batch, err)) != 0)
        return rc;
    b->info = *model_info(b->model[0]);
    fill_depths(b, n_ctx);
    return stopped(b) ? err_set(err, ERR_CANCELLED, "interrupted before anything was measured") : 0;
}

int bench_open(struct bench *b, struct gguf *g, char *const *path, int n_path,
               const struct bench_opts *o, const volatile sig_atomic_t *stop, struct err *err)
{
    *b = (struct bench){.o = *o, .gguf = g, .stop = stop};
    int rc = cpu_level_choose(&b->level, err);
    if (rc != 0 || (rc = model_describe(g, o->kv_type, &b->info, err)) != 0 ||
        (rc = model_check_generates(&b->info, err)) != 0 ||
        (rc = bench_work_of(g, &b->info, &b->work, err)) != 0)
        return rc;
    for (int i = 0; i < o->threads.n; i++)
        if ((rc = pool_new(o->threads.v[i], &b->pool[i], err)) != 0)
            return rc;
    if ((rc = limits_buffer_new(b->pool[0], 0, &b->buffer, err)) != 0)
        return rc;
    if ((rc = open_planned(b, path, n_path, err)) != 0)
        return rc;
    for (int i = 0; i < b->n_cell; i++)
        b->cell[i].sample = mem_zero((size_t)o->n_reps, sizeof(struct bench_sample));
    return 0;
}

void bench_close(struct bench *b)
{
    for (int i = 0; i < NUMBERS_MAX; i++) {
        model_free(b->model[i]);
        pool_free(b->pool[i]);
    }
    for (int i = 0; i < b->n_lease; i++)
        pack_lease_release(&b->lease[i]);
    pack_cache_close(b->cache);
    for (int i = 0; i < b->n_cell; i++)
        free(b->cell[i].sample);
    if (b->kv_mapped > 0)
        munmap(b->kv.base, b->kv_mapped);
    limits_buffer_free(&b->buffer);
    gguf_free(b->gguf);
    free(b->cell);
    free(b->token);
    free(b->block);
    free(b->out_row);
    free(b->seq);
    free(b->logits);
    *b = (struct bench){0};
}

/* ---- samples ---- */

static void decode(struct bench *b, struct model *m, const struct bench_cell *c, int n_steps)
{
    size_t per_seq = (size_t)bench_seq_blocks(c);
    for (int i = 0; i < n_steps && !stopped(b); i++) {
        for (int s = 0; s < c->batch; s++) {
            b->seq[s] = (struct batch_seq){b->block + (size_t)s * per_seq, c->depth + i, 1, s};
            b->out_row[s] = s;
        }
        struct batch batch = {b->token, c->batch, b->seq, c->batch, b->out_row, c->batch};
        model_forward(m, &b->kv, &batch, b->logits);
    }
}

/* The tables of a cell's sequences. */
static void lay_out(struct bench *b, const struct bench_cell *c)
{
    uint32_t per_seq = (uint32_t)bench_seq_blocks(c), shared = (uint32_t)bench_shared_blocks(b, c);
    uint32_t *at = b->block, next = 0;
    for (int s = 0; s < c->batch; s++)
        for (uint32_t i = 0; i < per_seq; i++)
            *at++ = s > 0 && i < shared ? i : next++;
}

static double once(struct bench *b, const struct bench_cell *c, int n_steps)
{
    struct model *m = b->model[c->i_threads];
    lay_out(b, c);
    int64_t start = clock_ns();
    if (c->kind == BENCH_PREFILL)
        prefill(b, m, c->depth, n_steps);
    else
        decode(b, m, c, n_steps);
    return (double)(clock_ns() - start) * 1e-9;
}

void bench_warm(struct bench *b, struct bench_cell *c)
{
    int whole = c->kind == BENCH_PREFILL ? c->n_prompt : c->n_steps;
    int some = c->kind == BENCH_PREFILL ? 64 : 2;
    some = some < whole ? some : whole;
    double step = once(b, c, some) / some;
    if (c->kind == BENCH_DECODE && b->o.n_steps == 0) {
        int n = step > 0 && SAMPLE_S / step < c->n_steps ? (int)(SAMPLE_S / step) : c->n_steps;
        c->n_steps = whole = max_int(n, STEPS_LEAST);
    }
    double all = step * whole;
    if (all < SAMPLE_LEAST)
        c->n_repeat =
            all * REPEAT_MOST > SAMPLE_LEAST ? (int)(SAMPLE_LEAST / all) + 1 : REPEAT_MOST;
    c->estimate_s = all * c->n_repeat + 1e-9 * (LIMIT_READ_NS + LIMIT_MULT_NS);
    bench_cell_work(b, c);
}

bool bench_measure(struct bench *b, const struct bench_cell *c, struct bench_sample *ret)
{
    struct pool *p = b->pool[c->i_threads];
    struct bench_sample s = {0};
    int n = c->kind == BENCH_PREFILL ? c->n_prompt : c->n_steps;
    for (int i = 0; i < c->n_repeat; i++)
        s.seconds += once(b, c, n);
    s.read_bytes_per_s = limits_read(p, &b->buffer, LIMIT_READ_NS);
    s.macs_per_s = limits_multiply(p, b->level, LIMIT_MULT_NS);
    if (stopped(b))
        return false;
    *ret = s;
    return true;
}
