/*
 * model: loading, description and the memory plan. See model.h; the pass itself is in forward.c.
 */
#include "model/model.h"

#include "base/check.h"
#include "base/mem.h"
#include "kernels/pack.h"
#include "model/model_state.h"
#include "model/product.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define N_BATCH_LIMIT        (1 << 16)
#define STRETCHES_PER_THREAD 16

/* general.file_type, numbered as llama.cpp does. */
static const char *const file_types[] = {
    [0] = "F32",      [1] = "F16",      [2] = "Q4_0",    [3] = "Q4_1",    [7] = "Q8_0",
    [8] = "Q5_0",     [9] = "Q5_1",     [10] = "Q2_K",   [11] = "Q3_K_S", [12] = "Q3_K_M",
    [13] = "Q3_K_L",  [14] = "Q4_K_S",  [15] = "Q4_K_M", [16] = "Q5_K_S", [17] = "Q5_K_M",
    [18] = "Q6_K",    [19] = "IQ2_XXS", [20] = "IQ2_XS", [21] = "Q2_K_S", [22] = "IQ3_XS",
    [23] = "IQ3_XXS", [24] = "IQ1_S",   [25] = "IQ4_NL", [26] = "IQ3_S",  [27] = "IQ3_M",
    [28] = "IQ2_S",   [29] = "IQ2_M",   [30] = "IQ4_XS", [31] = "IQ1_M",  [32] = "BF16",
    [36] = "TQ1_0",   [37] = "TQ2_0",   [38] = "MXFP4",
};

/* In memory: packed where its type can be. Rows of a token table are looked up in the file. */
static uint64_t bytes_in_memory(const struct gguf *g, const struct gguf_tensor *t)
{
    bool table = str_eq_z(t->name, "token_embd.weight") &&
                 (gguf_find_tensor(g, "output.weight") != NULL ||
                  gguf_find_tensor(g, "output_norm.weight") == NULL);
    if (table || !pack_has(t->type) || t->dim[0] > INT32_MAX || t->dim[1] > INT32_MAX ||
        t->n_elems != t->dim[0] * t->dim[1] || t->n_elems == 0)
        return t->n_bytes;
    return pack_bytes(t->type, (int)t->dim[1], (int)t->dim[0]);
}

/* The file's own word, or the type that holds the most weights. */
static int describe_type(const struct gguf *g, struct model_info *info, struct err *err)
{
    uint64_t type = UINT64_MAX;
    int rc = gguf_get_u64(g, "general.file_type", 0, UINT32_MAX, &type, err);
    if (rc != 0)
        return rc;
    const char *name = type < ARRAY_LEN(file_types) ? file_types[type] : NULL;
    uint64_t elems[DTYPE_END] = {0};
    int commonest = -1;
    for (size_t i = 0; i < gguf_n_tensors(g); i++) {
        const struct gguf_tensor *t = gguf_tensor_at(g, i);
        elems[t->type] += t->n_elems;
        info->n_params += t->n_elems;
        info->weight_bytes += bytes_in_memory(g, t);
        if (commonest < 0 || elems[t->type] > elems[commonest])
            commonest = (int)t->type;
    }
    if (name == NULL)
        name = commonest < 0 ? "?" : dtype_name((enum dtype)commonest);
    snprintf(info->file_type, sizeof(info->file_type), "%s", name);
    return 0;
}

/* Bytes of the well-formed UTF-8 character at p, or 0. left >= 1. */
static size_t utf8_len(const uint8_t *p, size_t left)
{
    size_t n = 0;
    if (p[0] < 0x80)
        return 1;
    if (p[0] >= 0xc2 && p[0] < 0xe0)
        n = 2;
    else if (p[0] >= 0xe0 && p[0] < 0xf0)
        n = 3;
    else if (p[0] >= 0xf0 && p[0] < 0xf5)
        n = 4;
    if (n == 0 || n > left)
        return 0;
    for (size_t i = 1; i < n; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    /* Longer than needed, a surrogate, or past U+10FFFF. */
    if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] >= 0xa0) ||
        (p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] >= 0x90))
        return 0;
    return n;
}

/* The name goes into JSON and onto terminals: whole characters only, no control characters. */
static void copy_name(struct str name, char *ret, size_t size)
{
    size_t at = 0;
    for (size_t i = 0; i < name.len;) {
        const uint8_t *p = (const uint8_t *)name.ptr + i;
        size_t n = utf8_len(p, name.len - i);
        bool odd = n == 0 || p[0] < 0x20 || p[0] == 0x7f;
        size_t len = odd ? 1 : n;
        if (at + len >= size)
            break;
        memcpy(ret + at, odd ? "?" : name.ptr + i, len);
        at += len;
        i += len;
    }
    ret[at] = '\0';
}

static int describe(const struct gguf *g, const struct hparams *h, enum kv_type kv_type,
                    struct model_info *ret, struct err *err)
{
    struct model_info info = {
        .n_layer = h->n_layer,
        .n_embd = h->n_embd,
        .n_head = h->n_head,
        .n_head_kv = h->n_head_kv,
        .head_dim = h->head_dim,
        .n_ff = h->n_ff,
        .n_vocab = h->n_vocab,
        .n_ctx_train = h->n_ctx_train,
        .is_encoder = h->arch->encoder,
        .pooling = h->pooling,
        .n_label = h->arch->encoder || h->n_label == 0 ? h->n_label : 1,
    };
    if (!h->arch->encoder)
        info.kv_block_bytes =
            (uint64_t)h->n_layer * (uint64_t)h->n_head_kv *
            (kv_key_bytes(kv_type, h->head_dim) + kv_value_bytes(kv_type, h->head_dim));
    snprintf(info.arch, sizeof(info.arch), "%s", h->arch->name);
    struct str name = {NULL, 0};
    int rc = gguf_get_str(g, "general.name", &name, err);
    if (rc != 0)
        return rc;
    copy_name(name, info.name, sizeof(info.name));
    if ((rc = describe_type(g, &info, err)) != 0)
        return rc;
    *ret = info;
    return 0;
}

int model_describe(const struct gguf *g, enum kv_type kv_type, struct model_info *ret,
                   struct err *err)
{
    struct hparams h;
    int rc = hparams_read(g, &h, err);
    return rc != 0 ? rc : describe(g, &h, kv_type, ret, err);
}

int model_check_generates(const struct model_info *info, struct err *err)
{
    if (info->pooling == POOLING_NONE)
        return 0;
    return err_set_param(err, ERR_UNSUPPORTED, "model",
                         "the model %s gives %s (pooling: %s); it does not generate text",
                         info->name[0] != '\0' ? info->name : info->arch,
                         info->pooling == POOLING_RANK ? "scores for documents" : "embeddings",
                         pooling_name(info->pooling));
}

/* Carves arrays out of one slab. With base NULL it only counts. */
struct carver {
    uint8_t *base;
    size_t at;
    bool overflow;
};

static void *carve(struct carver *c, size_t n, size_t each)
{
    size_t bytes;
    size_t at = c->at;
    if (!size_mul(n, each, &bytes) || !size_add(bytes, 63, &bytes) ||
        !size_add(c->at, bytes & ~(size_t)63, &c->at)) {
        c->overflow = true;
        return NULL;
    }
    return c->base == NULL ? NULL : c->base + at;
}

static int max_int(int a, int b)
{
    return a > b ? a : b;
}

static int query_rows(const struct hparams *h)
{
    return max_int(QUERY_ROWS, h->n_head / h->n_head_kv);
}

/* Of one column of any product's input; padding makes act_bytes grow unevenly. */
static size_t act_bytes_max(const struct hparams *h)
{
    const int n_in[] = {h->n_embd, h->n_ff, h->n_head * h->head_dim};
    size_t max = 0;
    for (size_t i = 0; i < ARRAY_LEN(n_in); i++) {
        size_t bytes = act_bytes((n_in[i] + 31) / 32 * 32);
        max = bytes > max ? bytes : max;
    }
    return max;
}

static void carve_thread(struct carver *c, const struct hparams *h, struct thread_scratch *t)
{
    size_t rows = (size_t)query_rows(h);
    t->attend = carve(c, attend_scratch_bytes(h->head_dim, h->head_dim), 1);
    t->q_at = carve(c, rows, sizeof(*t->q_at));
    t->part_at = carve(c, rows, sizeof(*t->part_at));
    t->from = carve(c, rows, sizeof(*t->from));
    t->to = carve(c, rows, sizeof(*t->to));
    t->carry = carve(c, rows, attend_part_len(h->head_dim) * sizeof(float));
    t->carried = carve(c, rows, sizeof(*t->carried));
}

/* Stretches of attention in a step: a tile each token, and what long ones are cut into. */
static int n_stretch_max(const struct model_opts *o)
{
    return o->n_batch_max + STRETCHES_PER_THREAD * pool_n_threads(o->pool);
}

/* Partial results for two sequences of the greatest length; more of them need no cutting. One
 * thread never cuts. */
static size_t n_slot(const struct hparams *h, const struct model_opts *o)
{
    size_t n_piece = ((size_t)o->n_ctx_max + ATTEND_SPLIT - 1) / ATTEND_SPLIT;
    return pool_n_threads(o->pool) == 1 || n_piece == 1 ? 0 : 2 * (size_t)h->n_head * n_piece;
}

/* An encoder's pass. Every text begins a block. */
static void carve_pass(struct carver *c, const struct hparams *h, size_t n, struct scratch *s)
{
    size_t n_block = n / KV_BLOCK_LEN + ENCODER_TEXTS_MAX + 1;
    s->pass_kv = carve(c, n_block * (size_t)h->n_head_kv,
                       kv_key_bytes(KV_F16, h->head_dim) + kv_value_bytes(KV_F16, h->head_dim));
    s->pass_block = carve(c, n_block, sizeof(*s->pass_block));
    s->head = carve(c, (size_t)h->n_embd, sizeof(float));
}

static void carve_all(struct carver *c, const struct hparams *h, const struct model_opts *o,
                      struct scratch *s)
{
    size_t n = (size_t)o->n_batch_max;
    int n_threads = pool_n_threads(o->pool);
    int n_q = h->n_head * h->head_dim;
    int n_kv = h->n_head_kv * h->head_dim;
    s->x = carve(c, n * (size_t)h->n_embd, sizeof(float));
    s->xn = s->y = carve(c, n * (size_t)h->n_embd, sizeof(float));
    s->act = carve(c, n, act_bytes_max(h));
    size_t shared = c->at;
    s->q = carve(c, n * (size_t)n_q, sizeof(float));
    s->k = carve(c, n * (size_t)n_kv, sizeof(float));
    s->v = carve(c, n * (size_t)n_kv, sizeof(float));
    s->att = carve(c, n * (size_t)n_q, sizeof(float));
    size_t attention_end = c->at;
    c->at = shared;
    s->ff = carve(c, n * (size_t)h->n_ff, sizeof(float));
    c->at = c->at > attention_end ? c->at : attention_end;
    s->angle[0] = carve(c, n * (size_t)h->n_rot, sizeof(float));
    s->angle[1] = carve(c, n * (size_t)h->n_rot, sizeof(float));
    s->position = carve(c, n, sizeof(*s->position));
    s->i_seq = carve(c, n, sizeof(*s->i_seq));
    s->seq_order = carve(c, n, sizeof(*s->seq_order));
    s->span = carve(c, n, sizeof(*s->span));
    s->tile = carve(c, n, sizeof(*s->tile));
    s->i_tile = carve(c, n, sizeof(*s->i_tile));
    s->i_row = carve(c, n, sizeof(*s->i_row));
    for (int kind = 0; kind < 2 && !h->arch->encoder; kind++)
        s->stretch[kind] = carve(c, (size_t)n_stretch_max(o), sizeof(struct stretch));
    s->part = carve(c, n_slot(h, o), attend_part_len(h->head_dim) * sizeof(float));
    if (h->arch->encoder)
        carve_pass(c, h, n, s);
    s->product_tile = carve(c, (size_t)n_threads * PRODUCT_TILE, sizeof(float));
    s->thread = carve(c, (size_t)n_threads, sizeof(*s->thread));
    for (int i = 0; i < n_threads; i++) {
        struct thread_scratch unused;
        carve_thread(c, h, c->base == NULL ? &unused : &s->thread[i]);
    }
}

static int check_opts(const struct model_opts *o, const struct hparams *h, struct err *err)
{
    if (o->n_batch_max < 1 || o->n_batch_max > N_BATCH_LIMIT || o->n_out_max < 1 ||
        o->n_out_max > o->n_batch_max)
        return err_set(err, ERR_INVALID,
                       "a batch holds 1 to %d tokens and at most as many rows of logits, not %d "
                       "and %d",
                       N_BATCH_LIMIT, o->n_batch_max, o->n_out_max);
    if (o->n_ctx_max < 1 || o->n_ctx_max > h->n_ctx_train)
        return err_set(err, ERR_INVALID,
                       "a context of %d tokens was asked for; this model was trained for %d",
                       o->n_ctx_max, h->n_ctx_train);
    return 0;
}

static int plan(const struct hparams *h, const struct model_opts *o, size_t *ret, struct err *err)
{
    int rc = check_opts(o, h, err);
    if (rc != 0)
        return rc;
    struct carver c = {NULL, 0, false};
    struct scratch unused;
    carve_all(&c, h, o, &unused);
    if (c.overflow)
        return err_set(err, ERR_NOMEM, "the model's scratch memory does not fit the address space");
    *ret = c.at;
    return 0;
}

int model_scratch_bytes(const struct gguf *g, const struct model_opts *opts, uint64_t *ret,
                        struct err *err)
{
    struct hparams h;
    size_t bytes = 0;
    int rc;
    if ((rc = hparams_read(g, &h, err)) != 0 || (rc = plan(&h, opts, &bytes, err)) != 0)
        return rc;
    *ret = bytes;
    return 0;
}

static int load(struct model *m, const struct gguf *g, struct err *err)
{
    const struct model_opts *o = &m->opts;
    size_t bytes = 0;
    int rc;
    if ((rc = hparams_read(g, &m->h, err)) != 0 ||
        (rc = describe(g, &m->h, o->kv_type, &m->info, err)) != 0 ||
        (rc = plan(&m->h, o, &bytes, err)) != 0 ||
        (rc = weights_load(g, &m->h, o->kernels, o->n_ctx_max, &m->w, err)) != 0 ||
        (rc = packed_load(g, &m->w, m->h.n_layer, o, &m->packed, err)) != 0)
        return rc;
    if (m->w.output.data != NULL &&
        m->w.embd.data == m->w.output.data) { /* one table: its panels serve look-ups, too */
        m->w.embd.panels = m->w.output.panels;
        m->w.embd.panel_bytes = m->w.output.panel_bytes;
    }
    m->slab = mem_try_aligned(bytes);
    if (m->slab == NULL)
        return err_set(err, ERR_NOMEM,
                       "no memory for %zu bytes of scratch; ask for a shorter context or a smaller "
                       "batch",
                       bytes);
    struct carver c = {m->slab, 0, false};
    carve_all(&c, &m->h, o, &m->s);
    CHECK(!c.overflow && c.at == bytes);
    activations_choose(m);
    m->kv_type = o->kv_type == KV_Q8_0 ? o->kernels->kv_q8_0 : o->kv_type;
    m->query_rows = query_rows(&m->h);
    m->n_stretch_max = n_stretch_max(o);
    m->n_slot = n_slot(&m->h, o);
    m->layer_bytes = (size_t)(m->info.kv_block_bytes / (uint64_t)m->h.n_layer);
    for (int local = 0; local < 2; local++)
        rope_init(&m->rope[local], &m->h, local != 0, m->w.rope_factor);
    return 0;
}

int model_new(const struct gguf *g, const struct model_opts *opts, struct model **ret,
              struct err *err)
{
    CHECK(opts->kernels != NULL && opts->pool != NULL);
    struct model *m = mem_try_array(1, sizeof(*m));
    if (m == NULL)
        return err_set(err, ERR_NOMEM, "out of memory for a model");
    m->opts = *opts;
    int rc = load(m, g, err);
    if (rc != 0) {
        model_free(m);
        return rc;
    }
    *ret = m;
    return 0;
}

void model_free(struct model *m)
{
    if (m == NULL)
        return;
    packed_release(&m->packed);
    weights_release(&m->w);
    mem_free_aligned(m->slab);
    free(m);
}

const struct model_info *model_info(const struct model *m)
{
    return &m->info;
}

const struct pack_report *model_pack_report(const struct model *m)
{
    return &m->packed.report;
}
