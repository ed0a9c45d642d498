/*
 * load_plan: see the header. Owns the sizes of a step: how many tokens, rows of logits, and how
 * long it is to last.
 */
#include "worker/load_plan.h"

#define BATCH_MAX   256 /* tokens in one step: enough for the kernels to be at full speed */
#define SCORE_ROWS  16  /* rows of logits beside one per sequence, for prompts with echo */
#define STEP_MS     100 /* a step with prefill lasts about so long: others wait no longer */
#define SEQ_DEFAULT 4
#define ROOM_STEP   KV_BLOCK_LEN
#define EMBED_BATCH 512  /* tokens in one step of a model that embeds */
#define EMBED_CTX   8192 /* of a decoder that embeds, if none is asked for: few texts are longer */

static bool has_draft(const struct load_plan *p)
{
    return p->draft_info.n_layer > 0;
}

/* What the engine needs for the planned blocks beside them. */
static uint64_t note_bytes(const struct load_plan *p)
{
    struct engine_config c = p->engine;
    struct drafter_config d = p->drafter;
    c.kv.n_blocks = d.kv.n_blocks = p->memory.n_blocks;
    return engine_bytes(&c) - engine_bytes(&p->engine) +
           (has_draft(p) ? drafter_bytes(&d) - drafter_bytes(&p->drafter) : 0);
}

static int min_int(int a, int b)
{
    return a < b ? a : b;
}

/* The draft model never sees more than the model does. */
static int plan_draft(const struct load_opts *o, struct load_plan *p, struct err *err)
{
    uint64_t scratch;
    p->draft_model.n_ctx_max = min_int(p->model.n_ctx_max, p->draft_info.n_ctx_train);
    int rc = model_scratch_bytes(o->draft, &p->draft_model, &scratch, err);
    if (rc != 0)
        return err_wrap(err, "the draft model");
    p->draft_bytes = scratch + drafter_bytes(&p->drafter);
    return 0;
}

static int plan_memory(const struct load_opts *o, const struct gguf *g, struct load_plan *p,
                       struct err *err)
{
    const struct model_info *info = &p->info;
    bool shorter = o->n_ctx > 0 && o->n_ctx < info->n_ctx_train;
    p->model.n_ctx_max = shorter ? (int)o->n_ctx : info->n_ctx_train;
    int rc = model_scratch_bytes(g, &p->model, &p->model_bytes, err);
    if (rc == 0 && has_draft(p))
        rc = plan_draft(o, p, err);
    if (rc != 0)
        return rc;
    if (o->prefix_fd >= 0)
        p->engine_bytes += disk_tier_bytes(o->prefix_bytes_max, info->kv_block_bytes, 0);
    struct memory_wish w = {
        .budget_bytes = o->budget_bytes,
        .weight_bytes = info->weight_bytes,
        .scratch_bytes = p->model_bytes + p->engine_bytes + p->text_bytes + p->draft_bytes,
        .block_bytes = info->kv_block_bytes,
        .draft_weight_bytes = p->draft_info.weight_bytes,
        .draft_block_bytes = p->draft_info.kv_block_bytes,
        .block_len = KV_BLOCK_LEN,
        .n_ctx_train = info->n_ctx_train,
        .n_ctx = o->n_ctx,
        .n_seq = p->engine.limits.n_seq_max,
        .kv_bytes = (uint64_t)o->kv_bytes,
    };
    rc = memory_plan(&w, &p->memory, err);
    if (rc != 0)
        return rc;
    /* The engine notes some hundred bytes of each block beside the block itself: planned again with
     * those of the blocks that fit without, and those that stay are counted. */
    uint64_t notes = note_bytes(p);
    w.scratch_bytes += notes;
    rc = memory_plan(&w, &p->memory, err);
    if (rc != 0)
        return rc;
    p->memory.total_bytes -= notes - note_bytes(p);
    p->engine_bytes += note_bytes(p);
    p->engine.kv.n_blocks = p->memory.n_blocks;
    p->drafter.kv.n_blocks = p->memory.n_blocks;
    p->model.n_ctx_max = (int)p->memory.n_ctx;
    p->draft_model.n_ctx_max = min_int(p->model.n_ctx_max, p->draft_info.n_ctx_train);
    p->drafter.n_ctx = p->draft_model.n_ctx_max;
    return 0;
}

/* How the draft model is to be opened. It is as exact as is fast: its guesses are looked at. */
static int describe_draft(const struct load_opts *o, const struct tokenizer *t, struct load_plan *p,
                          struct err *err)
{
    int rc = model_describe(o->draft, o->kv_type, &p->draft_info, err);
    rc = rc != 0 ? rc : model_check_generates(&p->draft_info, err);
    if (rc != 0)
        return err_wrap(err, "the draft model");
    int n_seq = p->engine.limits.n_seq_max;
    p->draft_model = p->model;
    p->draft_model.pack = NULL;
    p->draft_model.activations = ACTIVATIONS_FAST;
    p->draft_model.n_out_max = min_int(n_seq, DRAFTER_SEQS_MAX);
    p->drafter = (struct drafter_config){
        .pool = o->pool,
        .n_vocab = p->draft_info.n_vocab,
        .n_token =
            min_int(min_int(p->draft_info.n_vocab, p->info.n_vocab), (int)tokenizer_n_vocab(t)),
        .n_batch_max = p->draft_model.n_batch_max,
        .n_seq_max = n_seq,
        .depth = o->n_draft_max > 0 ? min_int((int)o->n_draft_max, DRAFT_MAX) : DRAFTER_DEPTH_FIRST,
    };
    return 0;
}

bool load_plan_embeds(const struct load_plan *p)
{
    return p->info.pooling != POOLING_NONE;
}

/*
 * A model that embeds. Its tokens see each other, or those before them: then there are keys and
 * values for one long text and for the short ones of a step, and no more, since none is kept.
 */
static int plan_embedder(const struct load_opts *o, const struct gguf *g, struct load_plan *p,
                         struct err *err)
{
    const struct model_info *info = &p->info;
    int n_most = info->is_encoder ? info->n_ctx_train : min_int(info->n_ctx_train, EMBED_CTX);
    int64_t n_ctx = o->n_ctx > 0 ? o->n_ctx : n_most;
    if (n_ctx >
        info->n_ctx_train) /* one --ctx is for all models of a server, and these are short */
        n_ctx = info->n_ctx_train;
    int64_t n_batch = info->is_encoder && n_ctx > EMBED_BATCH ? n_ctx : EMBED_BATCH;
    p->model.n_batch_max = p->model.n_out_max = (int)n_batch;
    p->model.n_ctx_max = (int)n_ctx;
    p->embedder = (struct embedder_config){.n_batch_max = (int)n_batch, .n_ctx = (int)n_ctx};
    uint32_t n_blocks = info->is_encoder ? 0 : embedder_blocks((int)n_batch, (int)n_ctx);
    p->embedder.kv.n_blocks = n_blocks;
    p->engine_bytes = embedder_bytes(&p->embedder, info->n_embd);
    int rc = model_scratch_bytes(g, &p->model, &p->model_bytes, err);
    if (rc != 0)
        return rc;
    struct memory_wish w = {
        .budget_bytes = o->budget_bytes,
        .weight_bytes = info->weight_bytes,
        .scratch_bytes = p->model_bytes + p->engine_bytes + p->text_bytes,
        .block_bytes = info->kv_block_bytes,
        .block_len = KV_BLOCK_LEN,
        .n_ctx_train = info->n_ctx_train,
        .n_ctx = n_ctx,
        .n_seq = 1,
    };
    return memory_plan_fixed(&w, n_blocks, &p->memory, err);
}

int load_plan_make(const struct load_opts *o, const struct gguf *g, const struct tokenizer *t,
                   struct load_plan *ret, struct err *err)
{
    struct load_plan p = {.text_bytes = tokenizer_bytes(t)};
    int rc = model_describe(g, o->kv_type, &p.info, err);
    if (rc != 0)
        return rc;
    if (tokenizer_n_vocab(t) > (size_t)p.info.n_vocab)
        return err_set(err, ERR_CORRUPT, "the tokenizer has %zu tokens, the model knows %d",
                       tokenizer_n_vocab(t), p.info.n_vocab);
    int n_seq = o->n_seq > 0 ? (int)o->n_seq : SEQ_DEFAULT;
    p.model = (struct model_opts){
        .kernels = o->kernels,
        .pool = o->pool,
        .kv_type = o->kv_type,
        .pack = o->pack,
        .progress = o->progress,
        .progress_ctx = o->progress_ctx,
        .n_batch_max = n_seq < BATCH_MAX ? BATCH_MAX : n_seq + 1,
        .n_out_max = n_seq + SCORE_ROWS,
        .n_threads_decode = (int)o->n_threads_decode,
        .activations = o->activations,
    };
    p.engine = (struct engine_config){
        .pool = o->pool,
        .n_vocab = p.info.n_vocab,
        .limits = {n_seq, p.model.n_batch_max, p.model.n_out_max},
        .step_ms = o->step_ms > 0 ? (int)o->step_ms : STEP_MS,
        .speculate = o->speculate,
    };
    if (load_plan_embeds(&p)) {
        rc = plan_embedder(o, g, &p, err);
        if (rc == 0)
            *ret = p;
        return rc;
    }
    p.engine_bytes = engine_bytes(&p.engine);
    if (o->draft)
        rc = describe_draft(o, t, &p, err);
    rc = rc != 0 ? rc : plan_memory(o, g, &p, err);
    if (rc == 0)
        *ret = p;
    return rc;
}

uint64_t load_plan_scratch_bytes(const struct load_plan *p)
{
    return p->model_bytes + p->engine_bytes + p->text_bytes + p->draft_bytes +
           p->memory.reserve_bytes;
}

/* Whether n_seq whole contexts of n_ctx fit. */
static bool has_room(const struct load_opts *opts, const struct gguf *g, const struct tokenizer *t,
                     int64_t n_seq, int64_t n_ctx)
{
    struct load_opts o = *opts;
    struct load_plan p;
    o.n_ctx = n_ctx;
    o.n_seq = n_seq;
    if (load_plan_make(&o, g, t, &p, NULL) != 0)
        return false;
    int64_t one = (n_ctx + KV_BLOCK_LEN - 1) / KV_BLOCK_LEN;
    return (int64_t)p.memory.n_blocks >= one * n_seq;
}

int64_t load_plan_room(const struct load_opts *opts, const struct gguf *g,
                       const struct tokenizer *t, int64_t n_seq)
{
    struct model_info info;
    if (model_describe(g, opts->kv_type, &info, NULL) != 0)
        return 0;
    if (has_room(opts, g, t, n_seq, info.n_ctx_train))
        return info.n_ctx_train;
    /* What fits with a context fits with a shorter one. */
    int64_t low = 0, high = info.n_ctx_train / ROOM_STEP + 1;
    while (high - low > 1) {
        int64_t mid = low + (high - low) / 2;
        if (has_room(opts, g, t, n_seq, mid * ROOM_STEP))
            low = mid;
        else
            high = mid;
    }
    return low * ROOM_STEP;
}
