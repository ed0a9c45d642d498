/*
 * synth_plan: see synth_plan.h. Owns which tensors a shape has and their names; must not know
 * files or random numbers.
 *
 * Deviations: a matrix of n_in columns has 1 / sqrt(n_in), so that vectors of unit size stay that
 * (embeddings too: their rows meet unit vectors when they are the output matrix).
 */
#include "cli/synth_plan.h"

#include "base/check.h"
#include "base/mem.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BIAS_DEVIATION 0.1
#define N_TENSOR_MAX   (1 << 14)
#define SEED_KEY       "synth.seed" /* not a key that any reader looks for: a note of origin */

/* ---- tensors ---- */

struct builder {
    struct synth_plan *p;
    struct quant_model model;
    int layer; /* -1: outside the layers */
};

__attribute__((format(printf, 6, 7))) static void add(struct builder *b, enum synth_fill fill,
                                                      int64_t n_in, int64_t n_out, int64_t n_mat,
                                                      const char *fmt, ...)
{
    struct synth_plan *p = b->p;
    CHECK(
        mem_grow((void **)&p->tensor, &p->cap, p->n_tensor + 1, N_TENSOR_MAX, sizeof(*p->tensor)));
    struct synth_tensor *t = &p->tensor[p->n_tensor++];
    *t = (struct synth_tensor){.fill = fill};
    size_t at = 0;
    if (b->layer >= 0)
        at = (size_t)snprintf(t->name, sizeof(t->name), "blk.%d.", b->layer);
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(t->name + at, sizeof(t->name) - at, fmt, ap);
    va_end(ap);
    t->dim[0] = (uint64_t)n_in;
    t->dim[1] = (uint64_t)(n_out > 0 ? n_out : 1);
    t->dim[2] = (uint64_t)(n_mat > 0 ? n_mat : 1);
    t->n_dims = n_mat > 0 ? 3 : n_out > 0 ? 2 : 1;
    t->deviation = n_out > 0 ? 1.0 / sqrt((double)n_in) : BIAS_DEVIATION;
    struct quant_tensor q = {
        .name = t->name, .layer = b->layer, .n_dims = t->n_dims, .n_in = t->dim[0]};
    t->type = quant_mix_type(p->mix, p->pure, &b->model, &q);
}

static void norm(struct builder *b, int64_t n, const char *name)
{
    add(b, SYNTH_ONES, n, 0, 0, "%s.weight", name);
}

static void matrix(struct builder *b, int64_t n_in, int64_t n_out, const char *name)
{
    add(b, SYNTH_RANDOM, n_in, n_out, 0, "%s.weight", name);
}

static void matrices(struct builder *b, int64_t n_in, int64_t n_out, int64_t n, const char *name)
{
    add(b, SYNTH_RANDOM, n_in, n_out, n, "%s.weight", name);
}

static void add_qkv(struct builder *b)
{
    const struct synth_shape *s = &b->p->shape;
    int64_t n_q = (int64_t)s->n_head * s->head_dim, n_kv = (int64_t)s->n_head_kv * s->head_dim;
    bool qk_norm = strcmp(s->arch, "gemma3") == 0;
    matrix(b, s->n_embd, n_q, "attn_q");
    matrix(b, s->n_embd, n_kv, "attn_k");
    matrix(b, s->n_embd, n_kv, "attn_v");
    if (s->qkv_bias) {
        add(b, SYNTH_RANDOM, n_q, 0, 0, "attn_q.bias");
        add(b, SYNTH_RANDOM, n_kv, 0, 0, "attn_k.bias");
        add(b, SYNTH_RANDOM, n_kv, 0, 0, "attn_v.bias");
    }
    if (qk_norm) {
        norm(b, s->head_dim, "attn_q_norm");
        norm(b, s->head_dim, "attn_k_norm");
    }
    matrix(b, n_q, s->n_embd, "attn_output");
}

/* Multi-head latent attention, its key and value matrices split per head. */
static void add_mla(struct builder *b)
{
    const struct synth_shape *s = &b->p->shape;
    int64_t head = s->head_dim_nope + s->n_rot;
    matrix(b, s->n_embd, s->n_head * head, "attn_q");
    matrix(b, s->n_embd, s->n_lora_kv + s->n_rot, "attn_kv_a_mqa");
    norm(b, s->n_lora_kv, "attn_kv_a_norm");
    matrices(b, s->head_dim_nope, s->n_lora_kv, s->n_head, "attn_k_b");
    matrices(b, s->n_lora_kv, s->head_dim_v, s->n_head, "attn_v_b");
    matrix(b, (int64_t)s->n_head * s->head_dim_v, s->n_embd, "attn_output");
}

static void add_ffn(struct builder *b)
{
    const struct synth_shape *s = &b->p->shape;
    if (s->n_expert == 0 || b->layer < s->n_layer_dense) {
        matrix(b, s->n_embd, s->n_ff, "ffn_gate");
        matrix(b, s->n_embd, s->n_ff, "ffn_up");
        matrix(b, s->n_ff, s->n_embd, "ffn_down");
        return;
    }
    matrix(b, s->n_embd, s->n_expert, "ffn_gate_inp");
    matrices(b, s->n_embd, s->n_ff_expert, s->n_expert, "ffn_gate_exps");
    matrices(b, s->n_embd, s->n_ff_expert, s->n_expert, "ffn_up_exps");
    matrices(b, s->n_ff_expert, s->n_embd, s->n_expert, "ffn_down_exps");
    int64_t n_shared = (int64_t)s->n_expert_shared * s->n_ff_expert;
    if (n_shared > 0) {
        matrix(b, s->n_embd, n_shared, "ffn_gate_shexp");
        matrix(b, s->n_embd, n_shared, "ffn_up_shexp");
        matrix(b, n_shared, s->n_embd, "ffn_down_shexp");
    }
}

static void add_layer(struct builder *b)
{
    const struct synth_shape *s = &b->p->shape;
    bool post_norm = strcmp(s->arch, "gemma3") == 0;
    norm(b, s->n_embd, "attn_norm");
    if (s->n_lora_kv > 0)
        add_mla(b);
    else
        add_qkv(b);
    if (post_norm)
        norm(b, s->n_embd, "post_attention_norm");
    norm(b, s->n_embd, "ffn_norm");
    add_ffn(b);
    if (post_norm)
        norm(b, s->n_embd, "post_ffw_norm");
}

void synth_plan_init(struct synth_plan *ret, const struct synth_shape *shape,
                     const struct quant_mix *mix, bool pure, uint64_t seed)
{
    *ret = (struct synth_plan){.shape = *shape, .mix = mix, .pure = pure, .seed = seed};
    const struct synth_shape *s = &ret->shape;
    struct builder b = {
        .p = ret,
        .model = {.n_layer = s->n_layer,
                  .n_head = s->n_head,
                  .n_head_kv = s->n_head_kv,
                  .n_expert = s->n_expert,
                  .tied = s->tied,
                  .is_70b = s->is_70b},
        .layer = -1,
    };
    matrix(&b, s->n_embd, s->n_vocab, "token_embd");
    norm(&b, s->n_embd, "output_norm");
    if (!s->tied)
        matrix(&b, s->n_embd, s->n_vocab, "output");
    if (s->llama3_factor > 0.0)
        add(&b, SYNTH_ROPE, s->head_dim / 2, 0, 0, "rope_freqs.weight");
    for (b.layer = 0; b.layer < s->n_layer; b.layer++)
        add_layer(&b);
}

void synth_plan_release(struct synth_plan *p)
{
    free(p->tensor);
    *p = (struct synth_plan){.tensor = NULL};
}

/* Products are far below 2^63: shapes come from our own table, tokens and layers are bounded. */
int64_t synth_plan_params(const struct synth_plan *p)
{
    int64_t n = 0;
    for (size_t i = 0; i < p->n_tensor; i++) {
        const uint64_t *d = p->tensor[i].dim;
        if (p->tensor[i].fill != SYNTH_ROPE)
            n += (int64_t)(d[0] * d[1] * d[2]);
    }
    return n;
}

int64_t synth_plan_bytes(const struct synth_plan *p)
{
    int64_t n = 0;
    for (size_t i = 0; i < p->n_tensor; i++) {
        const struct synth_tensor *t = &p->tensor[i];
        uint64_t row = 0;
        CHECK(dtype_row_bytes(t->type, t->dim[0], &row));
        n += (int64_t)(row * t->dim[1] * t->dim[2]);
    }
    return n;
}

/* ---- keys ---- */

struct keys {
    struct gguf_writer *w;
    const char *arch;
    char name[96];
};

static const char *key(struct keys *k, const char *suffix)
{
    snprintf(k->name, sizeof(k->name), "%s.%s", k->arch, suffix);
    return k->name;
}

static void put_int(struct keys *k, const char *suffix, int v)
{
    gguf_put_u32(k->w, key(k, suffix), (uint32_t)v);
}

static void put_real(struct keys *k, const char *suffix, double v)
{
    gguf_put_f32(k->w, key(k, suffix), (float)v);
}

static void put_general(const struct synth_plan *p, struct gguf_writer *w)
{
    const struct synth_shape *s = &p->shape;
    char name[96];
    snprintf(name, sizeof(name), "Synthetic %s", s->title);
    gguf_put_str(w, "general.architecture", str_z(s->arch));
    gguf_put_str(w, "general.type", STR("model"));
    gguf_put_str(w, "general.name", str_z(name));
    gguf_put_str(w, "general.description",
                 STR("Random weights in the shape of a known model, to measure speed with"));
    if (p->mix->file_type >= 0 && !p->pure)
        gguf_put_u32(w, "general.file_type", (uint32_t)p->mix->file_type);
    gguf_put_u32(w, "general.quantization_version", 2);
    gguf_put_u64(w, SEED_KEY, p->seed);
}

static void put_attention(const struct synth_shape *s, struct keys *k)
{
    put_int(k, "attention.head_count", s->n_head);
    put_int(k, "attention.head_count_kv", s->n_head_kv);
    put_real(k, "attention.layer_norm_rms_epsilon", s->norm_eps);
    put_int(k, "attention.key_length", s->head_dim);
    put_int(k, "attention.value_length", s->n_lora_kv > 0 ? s->n_lora_kv : s->head_dim);
    if (s->n_lora_kv > 0) {
        put_int(k, "attention.kv_lora_rank", s->n_lora_kv);
        put_int(k, "attention.key_length_mla", s->head_dim_nope + s->n_rot);
        put_int(k, "attention.value_length_mla", s->head_dim_v);
    }
    if (s->window > 0)
        put_int(k, "attention.sliding_window", s->window);
}

static void put_rope(const struct synth_shape *s, struct keys *k)
{
    put_int(k, "rope.dimension_count", s->n_rot > 0 ? s->n_rot : s->head_dim);
    put_real(k, "rope.freq_base", s->rope_base);
    if (s->linear_factor > 0.0) {
        gguf_put_str(k->w, key(k, "rope.scaling.type"), STR("linear"));
        put_real(k, "rope.scaling.factor", s->linear_factor);
    }
    if (s->yarn_factor > 0.0) {
        gguf_put_str(k->w, key(k, "rope.scaling.type"), STR("yarn"));
        put_real(k, "rope.scaling.factor", s->yarn_factor);
        put_int(k, "rope.scaling.original_context_length", (int)(s->n_ctx / s->yarn_factor));
        put_real(k, "rope.scaling.yarn_log_multiplier", 0.1 * 0.707); /* 0.1 * mscale_all_dim */
    }
}

static void put_experts(const struct synth_shape *s, struct keys *k)
{
    if (s->n_expert == 0)
        return;
    put_int(k, "expert_count", s->n_expert);
    put_int(k, "expert_used_count", s->n_expert_used);
    if (s->n_expert_shared == 0)
        return;
    put_int(k, "expert_shared_count", s->n_expert_shared);
    put_int(k, "expert_feed_forward_length", s->n_ff_expert);
    put_int(k, "leading_dense_block_count", s->n_layer_dense);
    put_real(k, "expert_weights_scale", 1.0);
    gguf_put_bool(k->w, key(k, "expert_weights_norm"), false);
    put_int(k, "expert_gating_func", 1); /* softmax */
}

void synth_plan_describe(const struct synth_plan *p, struct gguf_writer *w)
{
    const struct synth_shape *s = &p->shape;
    struct keys k = {.w = w, .arch = s->arch};
    put_general(p, w);
    put_int(&k, "block_count", s->n_layer);
    put_int(&k, "context_length", s->n_ctx);
    put_int(&k, "embedding_length", s->n_embd);
    put_int(&k, "feed_forward_length", s->n_ff);
    put_int(&k, "vocab_size", s->n_vocab);
    put_attention(s, &k);
    put_rope(s, &k);
    put_experts(s, &k);
    for (size_t i = 0; i < p->n_tensor; i++) {
        const struct synth_tensor *t = &p->tensor[i];
        gguf_put_tensor(w, t->name, t->type, t->n_dims, t->dim);
    }
}

/*
 * Llama 3.1's stretching to long contexts: pairs that turn slowly are divided by the factor, fast
 * ones kept, those between joined smoothly. Source: Llama 3.1's published configuration
 * (low_freq_factor 1, high_freq_factor 4, original_max_position_embeddings 8192) and model code.
 */
void synth_rope_factors(const struct synth_shape *s, float *ret)
{
    const double pi = 3.14159265358979323846, n_ctx_old = 8192.0, low = 1.0, high = 4.0;
    for (int i = 0; i < s->head_dim / 2; i++) {
        double turns = n_ctx_old * pow(s->rope_base, -2.0 * i / s->head_dim) / (2.0 * pi);
        double smooth = fmin(1.0, fmax(0.0, (turns - low) / (high - low)));
        ret[i] = (float)(1.0 / ((1.0 - smooth) / s->llama3_factor + smooth));
    }
}
