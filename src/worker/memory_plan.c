/*
 * memory_plan: see the header.
 */
#include "worker/memory_plan.h"
#include "base/buf.h"
#include "base/cgroup.h"
#include "base/fs.h"

#include <stdio.h>
#include <string.h>

#define RESERVE_BYTES (64ull << 20) /* tokenizer, requests, output not sent yet */
#define CTX_OTHERS    8192          /* of users beside one with a full context */
#define BLOCKS_MAX    (1u << 30)

static void describe(uint64_t bytes, char *ret, size_t size)
{
    if (bytes >= 1ull << 30)
        snprintf(ret, size, "%.2f GiB", (double)bytes / (double)(1ull << 30));
    else
        snprintf(ret, size, "%.1f MiB", (double)bytes / (double)(1ull << 20));
}

static uint64_t blocks_for(const struct memory_wish *w, int64_t n_ctx)
{
    return ((uint64_t)n_ctx + (uint64_t)w->block_len - 1) / (uint64_t)w->block_len;
}

/* Sizes come from a file: their sum stays at the greatest number instead of wrapping around. */
static uint64_t sum(uint64_t a, uint64_t b)
{
    uint64_t s;
    return __builtin_add_overflow(a, b, &s) ? UINT64_MAX : s;
}

static uint64_t product(uint64_t a, uint64_t b)
{
    uint64_t p;
    return __builtin_mul_overflow(a, b, &p) ? UINT64_MAX : p;
}

static int64_t min_i64(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* Of the model and its draft model. */
static uint64_t weight_bytes_of(const struct memory_wish *w)
{
    return sum(w->weight_bytes, w->draft_weight_bytes);
}

static uint64_t block_bytes_of(const struct memory_wish *w)
{
    return sum(w->block_bytes, w->draft_block_bytes);
}

static int refuse(const struct memory_wish *w, int64_t n_ctx, uint64_t kv_bytes, struct err *err)
{
    char total[32], weights[32], draft[32], kv[32], rest[32], budget[32];
    uint64_t others = sum(w->scratch_bytes, RESERVE_BYTES);
    describe(sum(sum(weight_bytes_of(w), kv_bytes), others), total, sizeof(total));
    describe(w->weight_bytes, weights, sizeof(weights));
    describe(w->draft_weight_bytes, draft, sizeof(draft));
    describe(kv_bytes, kv, sizeof(kv));
    describe(others, rest, sizeof(rest));
    describe(w->budget_bytes, budget, sizeof(budget));
    if (w->draft_block_bytes > 0)
        return err_set(
            err, ERR_NOMEM,
            "the model and its draft model need %s = weights %s + the draft model's %s + "
            "keys and values of both for a context of %lld tokens %s + working memory "
            "%s, but %s are available: free memory, leave the draft model out, or choose "
            "a smaller model or context",
            total, weights, draft, (long long)n_ctx, kv, rest, budget);
    return err_set(err, ERR_NOMEM,
                   "the model needs %s = weights %s + keys and values for a context of %lld "
                   "tokens %s + working memory %s, but %s are available: free memory, or choose a "
                   "smaller model or context",
                   total, weights, (long long)n_ctx, kv, rest, budget);
}

/* Blocks of keys and values when their size is left to us; n_fit hold at least one context. */
static uint64_t blocks_computed(const struct memory_wish *w, int64_t n_ctx, uint64_t n_fit)
{
    uint64_t one = blocks_for(w, n_ctx), others = (uint64_t)w->n_seq - 1;
    if (w->n_ctx > 0) {
        uint64_t all = one * (others + 1);
        return all < n_fit ? all : n_fit;
    }
    uint64_t n = one + others * blocks_for(w, min_i64(n_ctx, CTX_OTHERS));
    uint64_t most = n_fit / 2 > one ? n_fit / 2 : one;
    return n < most ? n : most;
}

int memory_plan(const struct memory_wish *w, struct memory_plan *ret, struct err *err)
{
    if (w->n_ctx > w->n_ctx_train)
        return err_set_param(err, ERR_INVALID, "ctx",
                             "a context of %lld tokens was asked for, but the model is trained "
                             "for %lld: ask for at most that",
                             (long long)w->n_ctx, (long long)w->n_ctx_train);
    int64_t least = w->n_ctx > 0 ? w->n_ctx : min_i64(w->n_ctx_train, MEMORY_CTX_LEAST);
    uint64_t block_bytes = block_bytes_of(w);
    uint64_t fixed = sum(sum(weight_bytes_of(w), w->scratch_bytes), RESERVE_BYTES);
    uint64_t left = w->budget_bytes > fixed ? w->budget_bytes - fixed : 0;
    if (w->kv_bytes > 0 && w->kv_bytes < left)
        left = w->kv_bytes;
    uint64_t n_fit = left / block_bytes;
    n_fit = n_fit < BLOCKS_MAX ? n_fit : BLOCKS_MAX;
    if (n_fit < blocks_for(w, least) || w->kv_bytes > left)
        return refuse(w, least,
                      w->kv_bytes > left ? w->kv_bytes : product(blocks_for(w, least), block_bytes),
                      err);
    int64_t n_ctx = w->n_ctx > 0 ? w->n_ctx : w->n_ctx_train;
    n_ctx = min_i64(n_ctx, (int64_t)n_fit * w->block_len);
    uint64_t n = w->kv_bytes > 0 ? n_fit : blocks_computed(w, n_ctx, n_fit);
    *ret = (struct memory_plan){
        .n_ctx = n_ctx,
        .n_blocks = (uint32_t)n,
        .kv_bytes = n * w->block_bytes,
        .draft_kv_bytes = n * w->draft_block_bytes,
        .reserve_bytes = RESERVE_BYTES,
        .total_bytes = fixed + n * block_bytes,
    };
    return 0;
}

int memory_plan_fixed(const struct memory_wish *w, uint32_t n_blocks, struct memory_plan *ret,
                      struct err *err)
{
    uint64_t kv_bytes = product(n_blocks, w->block_bytes);
    uint64_t fixed = sum(sum(w->weight_bytes, w->scratch_bytes), RESERVE_BYTES);
    if (sum(fixed, kv_bytes) > w->budget_bytes)
        return refuse(w, w->n_ctx, kv_bytes, err);
    *ret = (struct memory_plan){
        .n_ctx = w->n_ctx,
        .n_blocks = n_blocks,
        .kv_bytes = kv_bytes,
        .reserve_bytes = RESERVE_BYTES,
        .total_bytes = fixed + kv_bytes,
    };
    return 0;
}

/* ---- what the machine has ---- */

/* The number in kibibytes after `name` in /proc/meminfo; 0 if absent. */
static uint64_t meminfo(struct str text, const char *name)
{
    ptrdiff_t at = str_find(text, str_z(name));
    if (at < 0)
        return 0;
    struct str line = str_from(text, (size_t)at + strlen(name));
    ptrdiff_t end = str_find(line, STR("kB"));
    uint64_t kib = 0;
    if (end < 0 || !str_to_u64(str_trim(str_sub(line, 0, (size_t)end)), &kib))
        return 0;
    return kib << 10;
}

uint64_t memory_available(void)
{
    struct buf b;
    buf_init(&b, 1 << 20);
    uint64_t available = 0;
    if (fs_read("/proc/meminfo", &b, NULL) == 0)
        available = meminfo(buf_str(&b), "MemAvailable:");
    buf_release(&b);
    if (available == 0)
        available = 1ull << 30;
    uint64_t group = cgroup_memory(CGROUP_PROC, CGROUP_SYS).left;
    available = group < available ? group : available;
    return available / 10 * 9; /* the rest of the machine lives too */
}
