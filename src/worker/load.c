/*
 * load: see the header. The order: map and check the file, tokenizer and template, the memory
 * plan, the model, one token to touch every weight (where packing or checking them did not).
 */
#include "worker/load.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "worker/draft_model.h"
#include "worker/load_plan.h"
#include "worker/rank_prompt.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <time.h>

#define LOCK_TRIES   40
#define LOCK_WAIT_NS 50000000

static void progress(const struct load_opts *o, const char *stage, double fraction)
{
    if (o->progress)
        o->progress(o->progress_ctx, stage, fraction);
}

/* ---- text: tokenizer, template, end tokens ---- */

static int collect_eog(struct loaded *l, struct err *err)
{
    size_t n_vocab = tokenizer_n_vocab(l->tokenizer);
    for (int pass = 0; pass < 2; pass++) {
        int n = 0;
        for (size_t i = 0; i < n_vocab; i++) {
            if (!tokenizer_is_eog(l->tokenizer, (token_id)i))
                continue;
            if (pass == 1)
                l->eog[n] = (int32_t)i;
            n++;
        }
        if (pass == 0 && !(l->eog = mem_try_array((size_t)n + 1, sizeof(*l->eog))))
            return err_set(err, ERR_NOMEM, "no memory for the end tokens");
        l->n_eog = n;
    }
    return 0;
}

static struct str text_of(const struct tokenizer *t, token_id id)
{
    return id == TOKEN_NONE ? (struct str){"", 0} : tokenizer_token_text(t, id);
}

static int load_text(const struct load_opts *o, struct loaded *l, struct err *err)
{
    int rc = tokenizer_new(l->gguf, &l->tokenizer, err);
    rc = rc != 0 ? rc : spellings_new(l->tokenizer, &l->spellings, err);
    rc = rc != 0 ? rc : collect_eog(l, err);
    struct str source = {"", 0};
    rc = rc != 0 ? rc : gguf_get_str(l->gguf, "tokenizer.chat_template", &source, err);
    if (rc != 0)
        return rc;
    if (o->template.len > 0)
        source = o->template;
    struct str bos = text_of(l->tokenizer, tokenizer_bos(l->tokenizer));
    struct str eos = text_of(l->tokenizer, tokenizer_eos(l->tokenizer));
    rc = chat_new(source, bos, eos, &l->chat, err);
    return rc != 0 ? err_wrap(err, "the model's chat template") : 0;
}

/* ---- memory ---- */

/* Zero pages that cost nothing until they are used. */
static int map_slab(size_t n, uint32_t n_blocks, struct kv_slab *ret, size_t *ret_mapped,
                    struct err *err)
{
    void *p =
        mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED)
        return err_set(err, ERR_NOMEM, "cannot map %zu bytes for keys and values", n);
    madvise(p, n, MADV_HUGEPAGE);
    *ret = (struct kv_slab){p, n_blocks};
    *ret_mapped = n;
    return 0;
}

static int map_slabs(struct loaded *l, struct err *err)
{
    const struct memory_plan *p = &l->plan;
    int rc = map_slab(p->kv_bytes, p->n_blocks, &l->kv, &l->kv_mapped, err);
    if (rc == 0 && p->draft_kv_bytes > 0)
        rc = map_slab(p->draft_kv_bytes, p->n_blocks, &l->draft_kv, &l->draft_kv_mapped, err);
    return rc;
}

/* ---- model and engine ---- */

static void forward(void *ctx, const struct kv_slab *kv, const struct batch *b, float *logits)
{
    model_forward(ctx, kv, b, logits);
}

/* One token through the whole model, so that the first request does not wait for the disk. */
static int warm(struct loaded *l, struct model *model, const struct kv_slab *kv, struct err *err)
{
    int n_vocab = model_info(model)->n_vocab;
    float *logits = mem_try_array((size_t)n_vocab, sizeof(*logits));
    if (!logits)
        return err_set(err, ERR_NOMEM, "no memory for one row of logits");
    token_id bos = tokenizer_bos(l->tokenizer);
    int32_t token = bos == TOKEN_NONE || bos >= n_vocab ? 0 : bos, row = 0;
    uint32_t block = 0;
    struct batch_seq seq = {.block = &block, .n_tokens = 1};
    struct batch b = {
        .token = &token, .n_tokens = 1, .seq = &seq, .n_seq = 1, .out_row = &row, .n_out = 1};
    model_forward(model, kv, &b, logits);
    int n_bad = 0;
    for (int i = 0; i < n_vocab; i++)
        n_bad += !(logits[i] - logits[i] == 0.0f); /* NaN or infinite */
    free(logits);
    if (n_bad > 0)
        return err_set(err, ERR_CORRUPT,
                       "the model computes %d values that are not finite: its weights are damaged",
                       n_bad);
    return 0;
}

static void describe(const struct load_opts *o, struct loaded *l, const struct model_info *info)
{
    struct worker_ready *r = &l->ready;
    snprintf(r->arch, sizeof(r->arch), "%s", info->arch);
    snprintf(r->name, sizeof(r->name), "%s", info->name);
    snprintf(r->file_type, sizeof(r->file_type), "%s", info->file_type);
    snprintf(r->kernel, sizeof(r->kernel), "%s", cpu_level_name(o->kernels->level));
    snprintf(r->kv_type, sizeof(r->kv_type), "%s", kv_type_name(o->kv_type));
    snprintf(r->fingerprint, sizeof(r->fingerprint), "hearth-%s-%s-%s%s%s", HEARTH_VERSION,
             r->kernel, activations_name(info->activations), o->kv_type == KV_F16 ? "" : "-kv-",
             o->kv_type == KV_F16 ? "" : kv_type_name(o->kv_type));
    r->n_params = (int64_t)info->n_params;
    r->n_ctx_train = info->n_ctx_train;
    r->n_ctx = l->plan.n_ctx;
    r->n_vocab = info->n_vocab;
    r->n_threads = pool_n_threads(o->pool);
    r->weight_bytes = (int64_t)info->weight_bytes;
    r->kv_bytes = (int64_t)(l->plan.kv_bytes + l->plan.draft_kv_bytes);
    r->embeds = info->pooling != POOLING_NONE && info->pooling != POOLING_RANK;
    r->ranks = info->pooling == POOLING_RANK;
    r->n_embd = info->n_embd;
    r->has_template = !chat_template_is_fallback(l->chat);
}

/* Waits a while for a predecessor that is about to end. */
static int disk_lock(int fd, struct err *err)
{
    for (int i = 0; i < LOCK_TRIES; i++) {
        if (flock(fd, LOCK_EX | LOCK_NB) == 0)
            return 0;
        if (errno != EWOULDBLOCK)
            return err_set_errno(err, errno, "cannot lock the file");
        const struct timespec moment = {.tv_nsec = LOCK_WAIT_NS};
        nanosleep(&moment, NULL);
    }
    return err_set(err, ERR_BUSY, "another server uses the file");
}

/* The prefixes that were computed before. Any failure means that there are none on the disk. */
static void open_disk(const struct load_opts *o, struct loaded *l)
{
    char identity[DISK_IDENTITY_LEN];
    struct err err = {0};
    int n = snprintf(identity, sizeof(identity), "%s %s", o->prefix_key, l->ready.fingerprint);
    struct disk_tier_opts d = {
        .fd = o->prefix_fd,
        .file_bytes_max = o->prefix_bytes_max,
        .identity = identity,
        .block_bytes = l->block_bytes,
        .base = l->kv.base,
        .n_blocks = l->kv.n_blocks,
    };
    int rc = n < (int)sizeof(identity) ? disk_lock(o->prefix_fd, &err)
                                       : err_set(&err, ERR_LIMIT, "its name is too long");
    rc = rc != 0 ? rc : disk_tier_new(&d, &l->disk, &err);
    if (rc != 0) {
        log_warn("computed prefixes are not kept on the disk: %s", err.text);
        return;
    }
    struct disk_tier_stats stats;
    disk_tier_get_stats(l->disk, &stats);
    log_info("the prefix cache on the disk has room for %lld tokens and holds %lld",
             (long long)stats.n_slots * KV_BLOCK_LEN, (long long)stats.n_used * KV_BLOCK_LEN);
}

static int load_draft(const struct load_opts *o, struct loaded *l, struct load_plan *p,
                      struct err *err)
{
    int rc = model_new(o->draft, &p->draft_model, &l->draft_model, err);
    if (rc != 0)
        return err_wrap(err, "the draft model");
    gguf_let_go_all(l->draft_gguf);
    rc = warm(l, l->draft_model, &l->draft_kv, err);
    if (rc != 0)
        return err_wrap(err, "the draft model");
    p->drafter.forward = forward;
    p->drafter.forward_ctx = l->draft_model;
    p->drafter.kv = l->draft_kv;
    const struct model_info *info = model_info(l->draft_model);
    l->ready.weight_bytes += (int64_t)info->weight_bytes;
    log_info("the draft model %s (%lld MiB) guesses up to %d tokens",
             info->name[0] != '\0' ? info->name : info->arch, (long long)(info->weight_bytes >> 20),
             p->drafter.depth);
    return drafter_new(&p->drafter, &l->drafter, err);
}

/* A few tokens through the whole model, as a text. */
static int warm_embedder(struct loaded *l, struct err *err)
{
    struct embed_text text = {.token = (int32_t[]){0, 0, 0}, .n_token = 3};
    float *out = mem_try_array((size_t)model_pooled_len(l->model), sizeof(*out));
    struct embed_job job = {.text = &text, .n_text = 1, .out = out};
    if (!out)
        return err_set(err, ERR_NOMEM, "no memory for a vector");
    text.n_token = l->ready.n_ctx < 3 ? (int)l->ready.n_ctx : 3;
    job.n_dim = model_pooled_len(l->model);
    embedder_submit(l->embedder, &job);
    while (!atomic_load(&job.is_over))
        (void)embedder_step(l->embedder);
    int n_bad = 0;
    for (int i = 0; i < job.n_dim; i++)
        n_bad += !(out[i] - out[i] == 0.0f); /* NaN or infinite */
    free(out);
    if (n_bad > 0)
        return err_set(err, ERR_CORRUPT,
                       "the model computes %d values that are not finite: its weights are damaged",
                       n_bad);
    return 0;
}

static void tick(void *ctx)
{
    struct embedder **e = ctx;
    if (*e != NULL)
        embedder_tick(*e);
}

/* A model that gives vectors or scores. */
static int load_embedder(const struct load_opts *o, struct loaded *l, struct load_plan *p,
                         struct err *err)
{
    if (o->draft)
        return err_set_param(err, ERR_INVALID, "draft-model",
                             "a draft model is for models that generate text");
    struct rank_prompt prompt;
    if (p->info.pooling == POOLING_RANK && !p->info.is_encoder &&
        rank_prompt_find(l->gguf, &prompt, err) != 0)
        return err->code;
    p->model.tick = tick;
    p->model.tick_ctx = l->tick_to = mem_zero(1, sizeof(struct embedder *));
    int rc = p->memory.kv_bytes > 0 ? map_slabs(l, err) : 0;
    rc = rc != 0 ? rc : model_new(l->gguf, &p->model, &l->model, err);
    if (rc != 0)
        return rc;
    gguf_let_go_all(l->gguf);
    describe(o, l, model_info(l->model));
    p->embedder.model = l->model;
    p->embedder.kv = l->kv;
    rc = embedder_new(&p->embedder, &l->embedder, err);
    if (rc != 0)
        return rc;
    *l->tick_to = l->embedder;
    progress(o, "warm", 0);
    return warm_embedder(l, err);
}

static int load_weights(const struct load_opts *o, struct loaded *l, struct err *err)
{
    struct load_plan p;
    int rc = load_plan_make(o, l->gguf, l->tokenizer, &p, err);
    if (rc != 0)
        return rc;
    l->plan = p.memory;
    l->ready.n_seq_max = p.engine.limits.n_seq_max;
    l->ready.scratch_bytes = (int64_t)load_plan_scratch_bytes(&p);
    progress(o, "load", 0);
    if (load_plan_embeds(&p))
        return load_embedder(o, l, &p, err);
    rc = map_slabs(l, err);
    rc = rc != 0 ? rc : model_new(l->gguf, &p.model, &l->model, err);
    if (rc != 0)
        return rc;
    gguf_let_go_all(l->gguf); /* packed or copied, all but a table that output does not share */
    /* A packed file is made of a model that was found healthy, and all of it was just read. */
    if (model_pack_report(l->model)->from != PACK_MAPPED) {
        progress(o, "warm", 0);
        rc = warm(l, l->model, &l->kv, err);
        if (rc != 0)
            return rc;
    }
    p.engine.forward = forward;
    p.engine.forward_ctx = l->model;
    p.engine.eog = l->eog;
    p.engine.n_eog = l->n_eog;
    p.engine.force = form_force;
    p.engine.force_ctx = l->tokenizer;
    p.engine.kv = l->kv;
    p.engine.block_bytes = p.info.kv_block_bytes;
    describe(o, l, model_info(l->model));
    l->block_bytes = p.engine.block_bytes;
    if (o->prefix_fd >= 0)
        open_disk(o, l);
    p.engine.disk = l->disk;
    if (o->draft)
        rc = load_draft(o, l, &p, err);
    if (rc != 0)
        return rc;
    p.engine.drafter = l->drafter;
    return engine_new(&p.engine, &l->engine, err);
}

/* The draft model's file, which must speak of the same tokens. */
static int open_draft(struct load_opts *o, struct loaded *l, struct err *err)
{
    if (o->n_draft_fds == 0)
        return 0;
    int rc = gguf_open_fds(o->draft_fd, o->n_draft_fds, &l->draft_gguf, err);
    if (rc != 0)
        return err_wrap(err, "the draft model");
    rc = draft_model_check(l->tokenizer, l->draft_gguf, err);
    gguf_let_go_metadata(l->draft_gguf);
    o->draft = l->draft_gguf;
    return rc;
}

int load_model(const struct load_opts *opts, struct loaded *ret, struct err *err)
{
    struct load_opts o = *opts;
    struct loaded l = {.speculate = opts->speculate};
    int64_t start = clock_ns();
    progress(opts, "map", 0);
    int rc = gguf_open_fds(opts->fd, opts->n_fds, &l.gguf, err);
    progress(opts, "check", 0);
    rc = rc != 0 ? rc : load_text(opts, &l, err);
    if (rc == 0)
        gguf_let_go_metadata(l.gguf); /* tokens by the hundred thousand: read, and copied */
    rc = rc != 0 ? rc : open_draft(&o, &l, err);
    rc = rc != 0 ? rc : load_weights(&o, &l, err);
    if (rc == 0)
        l.forms = forms_new(l.tokenizer, (int)l.ready.n_vocab);
    rc = rc != 0 ? rc : texts_new(l.tokenizer, (int)l.ready.n_vocab, &l.texts, err);
    if (rc != 0) {
        loaded_release(&l);
        return rc;
    }
    l.ready.load_ms = (double)(clock_ns() - start) * 1e-6;
    *ret = l;
    return 0;
}

int loaded_start(struct loaded *l, struct err *err)
{
    return l->embedder ? embedder_start(l->embedder, err) : engine_start(l->engine, err);
}

void loaded_stop(struct loaded *l)
{
    if (l->embedder)
        embedder_stop(l->embedder);
    else
        engine_stop(l->engine);
}

void loaded_release(struct loaded *l)
{
    engine_free(l->engine);
    embedder_free(l->embedder);
    free(l->tick_to);
    drafter_free(l->drafter);
    disk_tier_free(l->disk);
    model_free(l->draft_model);
    model_free(l->model);
    chat_free(l->chat);
    spellings_free(l->spellings);
    texts_free(l->texts);
    forms_free(l->forms);
    tokenizer_free(l->tokenizer);
    gguf_free(l->draft_gguf);
    gguf_free(l->gguf);
    if (l->kv_mapped > 0)
        munmap(l->kv.base, l->kv_mapped);
    if (l->draft_kv_mapped > 0)
        munmap(l->draft_kv.base, l->draft_kv_mapped);
    free(l->eog);
    *l = (struct loaded){0};
}
