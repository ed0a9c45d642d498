/*
 * arch: see arch.h.
 */
#include "model/arch.h"

#include "base/buf.h"
#include "base/mem.h"

#include <math.h>
#include <stdio.h>

static const struct arch archs[] = {
    /* Also Mistral and SmolLM; Llama 3.1's rotary scaling comes as the tensor rope_freqs. */
    {.name = "llama", .window_period = 1},
    {.name = "qwen2", .rope_neox = true, .qkv_bias = true, .window_period = 1},
    {.name = "qwen3", .rope_neox = true, .qk_norm = true, .ranks = true, .window_period = 1},
    {.name = "gemma2",
     .rope_neox = true,
     .post_norm = true,
     .gelu = true,
     .embd_scale = true,
     .window_period = 2,
     .window = 4096,
     .attn_cap = 50.0f,
     .final_cap = 30.0f,
     .n_layer_wide_scale = 46},
    {.name = "gemma3",
     .rope_neox = true,
     .qk_norm = true,
     .post_norm = true,
     .gelu = true,
     .embd_scale = true,
     .rope_local_base = true,
     .window_period = 6,
     .n_layer_wide_scale = 62},
    /* Its window holds in every layer, as in the model's own code. */
    {.name = "phi3", .rope_neox = true, .window_period = 0},
    /* Encoders. MiniLM, BGE and their like. */
    {.name = "bert",
     .qkv_bias = true,
     .encoder = true,
     .learned_positions = true,
     .window_period = 1},
    {.name = "nomic-bert", .rope_neox = true, .encoder = true, .window_period = 1},
};

const char *pooling_name(enum pooling p)
{
    static const char *const names[POOLING_N] = {"none", "mean", "cls", "last", "rank"};
    return p < POOLING_N ? names[p] : "?";
}

static const struct arch *arch_find(struct str name)
{
    for (size_t i = 0; i < ARRAY_LEN(archs); i++)
        if (str_eq_z(name, archs[i].name))
            return &archs[i];
    return NULL;
}

static int arch_unknown(struct str name, struct err *err)
{
    char known[256];
    size_t at = 0;
    for (size_t i = 0; i < ARRAY_LEN(archs); i++)
        at +=
            (size_t)snprintf(known + at, sizeof(known) - at, "%s%s", i ? ", " : "", archs[i].name);
    if (name.len > 64)
        name.len = 64;
    return err_set_param(err, ERR_UNSUPPORTED, "general.architecture",
                         "general.architecture '%.*s' is not supported; these are: %s",
                         STR_ARG(name), known);
}

/* The keys of one architecture: "llama" + ".block_count". */
struct keys {
    const struct gguf *g;
    const struct arch *arch;
    struct err *err;
    char name[128];
};

static const char *key(struct keys *k, const char *suffix)
{
    snprintf(k->name, sizeof(k->name), "%s.%s", k->arch->name, suffix);
    return k->name;
}

static int key_missing(struct keys *k)
{
    return err_set_param(k->err, ERR_CORRUPT, k->name, "key %s is missing", k->name);
}

/* min > 0 and *ret == 0 on entry: the key must be there. */
static int read_int(struct keys *k, const char *suffix, int min, int max, int *ret)
{
    uint64_t v = UINT64_MAX;
    int rc = gguf_get_u64(k->g, key(k, suffix), (uint64_t)min, (uint64_t)max, &v, k->err);
    if (rc != 0)
        return rc;
    if (v != UINT64_MAX)
        *ret = (int)v;
    else if (*ret < min)
        return key_missing(k);
    return 0;
}

static int read_f64(struct keys *k, const char *suffix, double min, double max, double *ret)
{
    int rc = gguf_get_f64(k->g, key(k, suffix), ret, k->err);
    if (rc == 0 && !(*ret >= min && *ret <= max))
        return err_set_param(k->err, ERR_CORRUPT, k->name, "key %s is %g; it must be in %g to %g",
                             k->name, *ret, min, max);
    return rc;
}

static int read_f32(struct keys *k, const char *suffix, double min, double max, float *ret)
{
    double v = (double)*ret;
    int rc = read_f64(k, suffix, min, max, &v);
    if (rc == 0)
        *ret = (float)v;
    return rc;
}

static int read_sizes(struct keys *k, struct hparams *h)
{
    int rc;
    if ((rc = read_int(k, "block_count", 1, N_LAYER_MAX, &h->n_layer)) != 0 ||
        (rc = read_int(k, "embedding_length", 1, N_EMBD_MAX, &h->n_embd)) != 0 ||
        (rc = read_int(k, "attention.head_count", 1, N_HEAD_MAX, &h->n_head)) != 0 ||
        (rc = read_int(k, "feed_forward_length", 1, N_FF_MAX, &h->n_ff)) != 0 ||
        (rc = read_int(k, "context_length", 1, N_CTX_MAX, &h->n_ctx_train)) != 0)
        return rc;
    h->n_head_kv = h->n_head;
    if ((rc = read_int(k, "attention.head_count_kv", 1, N_HEAD_MAX, &h->n_head_kv)) != 0)
        return rc;
    if (h->n_head % h->n_head_kv != 0)
        return err_set_param(k->err, ERR_CORRUPT, k->name,
                             "key %s is %d, which does not divide the %d query heads", k->name,
                             h->n_head_kv, h->n_head);
    int n_expert = 0;
    if ((rc = read_int(k, "expert_count", 0, INT32_MAX, &n_expert)) != 0)
        return rc;
    if (n_expert > 0)
        return err_set_param(k->err, ERR_UNSUPPORTED, k->name,
                             "mixture-of-experts models are not supported yet (%s is %d)", k->name,
                             n_expert);
    return 0;
}

static int read_head(struct keys *k, struct hparams *h)
{
    int rc;
    if (gguf_find(k->g, key(k, "attention.key_length")) == NULL) {
        if (h->n_embd % h->n_head != 0)
            return err_set_param(k->err, ERR_CORRUPT, k->name,
                                 "%d embedding columns do not divide among %d heads, and key %s "
                                 "is missing",
                                 h->n_embd, h->n_head, k->name);
        h->head_dim = h->n_embd / h->n_head;
    }
    if ((rc = read_int(k, "attention.key_length", 2, HEAD_DIM_MAX, &h->head_dim)) != 0)
        return rc;
    if (h->head_dim < 2 || h->head_dim > HEAD_DIM_MAX || h->head_dim % 2 != 0 ||
        h->n_head * h->head_dim > N_EMBD_QKV_MAX)
        return err_set_param(k->err, ERR_CORRUPT, k->name,
                             "%d heads of %d dimensions (%s): a head has an even number of them, 2 "
                             "to %d, and all heads together at most %d",
                             h->n_head, h->head_dim, k->name, HEAD_DIM_MAX, N_EMBD_QKV_MAX);
    int value_dim = h->head_dim;
    if ((rc = read_int(k, "attention.value_length", 1, HEAD_DIM_MAX, &value_dim)) != 0)
        return rc;
    if (value_dim != h->head_dim)
        return err_set_param(k->err, ERR_UNSUPPORTED, k->name,
                             "values of %d dimensions beside keys of %d are not supported (%s)",
                             value_dim, h->head_dim, k->name);
    h->n_rot = h->head_dim;
    if ((rc = read_int(k, "rope.dimension_count", 2, HEAD_DIM_MAX, &h->n_rot)) != 0)
        return rc;
    if (h->n_rot % 2 != 0 || h->n_rot > h->head_dim)
        return err_set_param(k->err, ERR_CORRUPT, k->name,
                             "key %s is %d; it must be even and at most a head's %d dimensions",
                             k->name, h->n_rot, h->head_dim);
    return 0;
}

/* attention.sliding_window_pattern: a period, or a flag per layer. */
static int read_pattern(struct keys *k, struct hparams *h)
{
    int period = h->arch->window_period;
    const struct gguf_kv *kv = gguf_find(k->g, key(k, "attention.sliding_window_pattern"));
    if (kv != NULL && kv->type == GGUF_ARR) {
        if (kv->n < (uint64_t)h->n_layer || kv->elem_type == GGUF_STR || kv->elem_type == GGUF_ARR)
            return err_set_param(k->err, ERR_CORRUPT, k->name,
                                 "key %s must hold a flag for each of %d layers", k->name,
                                 h->n_layer);
        for (int i = 0; i < h->n_layer; i++)
            h->local[i] = h->window > 0 && gguf_arr_i64(kv, (uint64_t)i) != 0;
        return 0;
    }
    int rc = read_int(k, "attention.sliding_window_pattern", 0, N_LAYER_MAX, &period);
    if (rc != 0)
        return rc;
    for (int i = 0; i < h->n_layer; i++)
        h->local[i] = h->window > 0 && (period == 0 || i % period < period - 1);
    return 0;
}

static int read_attention(struct keys *k, struct hparams *h)
{
    const struct arch *a = h->arch;
    int rc;
    double eps = -1.0;
    const char *name =
        a->encoder ? "attention.layer_norm_epsilon" : "attention.layer_norm_rms_epsilon";
    if ((rc = read_f64(k, name, -1.0, 1.0, &eps)) != 0)
        return rc;
    if (eps == -1.0)
        return key_missing(k);
    if (eps < 0.0)
        return err_set_param(k->err, ERR_CORRUPT, k->name, "key %s is negative", k->name);
    h->norm_eps = (float)eps;
    h->window = a->window;
    h->attn_cap = a->attn_cap;
    h->final_cap = a->final_cap;
    int per_head = h->n_layer == a->n_layer_wide_scale ? h->n_embd / h->n_head : h->head_dim;
    h->attn_scale = (float)(1.0 / sqrt((double)(per_head > 0 ? per_head : 1)));
    /* Only rows that know of a window read one: Mistral's old files name one that is not used. */
    if (a->window_period != 1 &&
        ((rc = read_int(k, "attention.sliding_window", 0, INT32_MAX, &h->window)) != 0 ||
         (rc = read_pattern(k, h)) != 0))
        return rc;
    if ((rc = read_f32(k, "attn_logit_softcapping", 0.0, 1e6, &h->attn_cap)) != 0)
        return rc;
    return read_f32(k, "final_logit_softcapping", 0.0, 1e6, &h->final_cap);
}

static int read_rope_kind(struct keys *k, struct hparams *h)
{
    static const struct {
        const char *name;
        enum rope_kind kind;
    } kinds[] = {{"none", ROPE_NONE},
                 {"linear", ROPE_LINEAR},
                 {"yarn", ROPE_YARN},
                 {"longrope", ROPE_LONGROPE}};
    struct str name = STR("linear");
    int rc = gguf_get_str(k->g, key(k, "rope.scaling.type"), &name, k->err);
    if (rc != 0)
        return rc;
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
        if (str_eq_z(name, kinds[i].name)) {
            h->rope_kind = kinds[i].kind;
            return 0;
        }
    if (name.len > 64)
        name.len = 64;
    return err_set_param(k->err, ERR_UNSUPPORTED, k->name,
                         "rotary scaling '%.*s' (%s) is not supported; none, linear, yarn and "
                         "longrope are",
                         STR_ARG(name), k->name);
}

static int read_rope(struct keys *k, struct hparams *h)
{
    int rc;
    h->rope_base = 10000.0;
    if ((rc = read_f64(k, "rope.freq_base", 1.0 + 1e-6, 1e15, &h->rope_base)) != 0)
        return rc;
    h->rope_base_local = h->arch->rope_local_base ? 10000.0 : h->rope_base;
    if ((rc = read_f64(k, "rope.freq_base_swa", 1.0 + 1e-6, 1e15, &h->rope_base_local)) != 0 ||
        (rc = read_rope_kind(k, h)) != 0)
        return rc;
    h->rope_factor = 0.0;
    const char *factor = gguf_find(k->g, key(k, "rope.scaling.factor")) != NULL
                             ? "rope.scaling.factor"
                             : "rope.scale_linear"; /* its old name */
    if ((rc = read_f64(k, factor, 0.0, 1e6, &h->rope_factor)) != 0)
        return rc;
    if (h->rope_factor == 0.0 || h->rope_kind == ROPE_NONE || h->rope_kind == ROPE_LONGROPE)
        h->rope_factor = 1.0; /* 0 in a file means none */
    h->rope_n_ctx_orig = h->n_ctx_train;
    h->rope_attn_factor = 1.0;
    h->yarn_beta_fast = 32.0;
    h->yarn_beta_slow = 1.0;
    if ((rc = read_int(k, "rope.scaling.original_context_length", 1, N_CTX_MAX,
                       &h->rope_n_ctx_orig)) != 0 ||
        (rc = read_f64(k, "rope.scaling.attn_factor", 1e-6, 1e6, &h->rope_attn_factor)) != 0 ||
        (rc = read_f64(k, "rope.scaling.yarn_beta_fast", 1e-6, 1e6, &h->yarn_beta_fast)) != 0)
        return rc;
    return read_f64(k, "rope.scaling.yarn_beta_slow", 1e-6, 1e6, &h->yarn_beta_slow);
}

/* The vocabulary is as long as the embedding table; every token's id must have a row in it. */
static int read_vocab(struct keys *k, struct hparams *h)
{
    const struct gguf_tensor *t = gguf_find_tensor(k->g, "token_embd.weight");
    if (t == NULL)
        return err_set_param(k->err, ERR_CORRUPT, "token_embd.weight",
                             "tensor token_embd.weight is missing");
    if (t->n_dims != 2 || t->dim[0] != (uint64_t)h->n_embd || t->dim[1] < 1 ||
        t->dim[1] > N_VOCAB_MAX)
        return err_set_param(k->err, ERR_CORRUPT, "token_embd.weight",
                             "tensor token_embd.weight must be %d columns by 1 to %d tokens",
                             h->n_embd, N_VOCAB_MAX);
    h->n_vocab = (int)t->dim[1];
    const struct gguf_kv *tokens = gguf_find(k->g, "tokenizer.ggml.tokens");
    if (tokens != NULL && tokens->n > t->dim[1])
        return err_set_param(k->err, ERR_CORRUPT, "tokenizer.ggml.tokens",
                             "the vocabulary has %llu tokens, the tensor token_embd.weight only "
                             "%d rows",
                             (unsigned long long)tokens->n, h->n_vocab);
    return 0;
}

/* Rows of a table beside the vocabulary's, or 0 when it is not there. */
static int table_rows(const struct gguf *g, const char *name)
{
    const struct gguf_tensor *t = gguf_find_tensor(g, name);
    return t == NULL || t->dim[1] > N_VOCAB_MAX ? 0 : (int)t->dim[1];
}

/* A decoder's two scores are for "yes" and "no"; which is which its labels say, else it is in this
 * order. */
static int read_yes(struct keys *k, struct hparams *h)
{
    const struct gguf_kv *labels = gguf_find(k->g, key(k, "classifier.output_labels"));
    if (labels == NULL || labels->strings == NULL || labels->n != 2)
        return 0;
    if (str_eq_nocase(labels->strings[1], STR("yes")))
        h->i_yes = 1;
    else if (!str_eq_nocase(labels->strings[0], STR("yes")))
        return err_set_param(k->err, ERR_UNSUPPORTED, k->name,
                             "key %s: neither of the two labels is 'yes'", k->name);
    return 0;
}

static int read_rank_head(struct keys *k, struct hparams *h)
{
    bool decoder = !h->arch->encoder;
    if (decoder && !h->arch->ranks)
        return err_set_param(k->err, ERR_UNSUPPORTED, k->name,
                             "rerankers made of the decoder %s are not supported (key %s is 4)",
                             h->arch->name, k->name);
    const struct gguf_tensor *head = gguf_find_tensor(k->g, "cls.output.weight");
    if (head == NULL)
        head = gguf_find_tensor(k->g, "cls.weight");
    int most = decoder ? 2 : N_LABEL_MAX;
    h->n_label = head != NULL && head->dim[1] <= (uint64_t)most ? (int)head->dim[1] : 0;
    if (h->n_label == 0)
        return err_set_param(k->err, ERR_CORRUPT, "cls.output.weight",
                             "a model with rank pooling needs a head of 1 to %d scores "
                             "(cls.output.weight)",
                             most);
    return decoder ? read_yes(k, h) : 0;
}

/* What becomes of a text's rows. A decoder that says nothing generates. */
static int read_pooling(struct keys *k, struct hparams *h)
{
    bool causal = !h->arch->encoder;
    int pooling = causal ? POOLING_NONE : POOLING_MEAN;
    int rc = gguf_get_bool(k->g, key(k, "attention.causal"), &causal, k->err);
    if (rc == 0 && causal == h->arch->encoder)
        return err_set_param(k->err, ERR_UNSUPPORTED, k->name,
                             "key %s: a model of the architecture %s whose tokens see %s is not "
                             "supported",
                             k->name, h->arch->name,
                             causal ? "only those before them" : "all others");
    if (rc == 0)
        rc = read_int(k, "pooling_type", 0, POOLING_N - 1, &pooling);
    if (rc != 0)
        return rc;
    h->pooling = (enum pooling)pooling;
    if (h->arch->encoder && pooling == POOLING_NONE)
        return err_set_param(k->err, ERR_UNSUPPORTED, k->name,
                             "key %s is 0: a vector for each token instead of one for a text is "
                             "not supported",
                             k->name);
    h->n_type = h->arch->encoder ? table_rows(k->g, "token_types.weight") : 0;
    return pooling == POOLING_RANK ? read_rank_head(k, h) : 0;
}

int hparams_read(const struct gguf *g, struct hparams *ret, struct err *err)
{
    struct str name = {NULL, 0};
    int rc = gguf_get_str(g, "general.architecture", &name, err);
    if (rc != 0)
        return rc;
    if (name.len == 0)
        return err_set_param(err, ERR_CORRUPT, "general.architecture",
                             "key general.architecture is missing");
    struct hparams h = {.arch = arch_find(name)};
    if (h.arch == NULL)
        return arch_unknown(name, err);
    struct keys k = {.g = g, .arch = h.arch, .err = err};
    if ((rc = read_sizes(&k, &h)) != 0 || (rc = read_head(&k, &h)) != 0 ||
        (rc = read_attention(&k, &h)) != 0 || (rc = read_rope(&k, &h)) != 0 ||
        (rc = read_vocab(&k, &h)) != 0 || (rc = read_pooling(&k, &h)) != 0)
        return rc;
    *ret = h;
    return 0;
}
