/*
 * convert: see the header. Owns the names of BERT's tensors on both sides.
 */
#include "format/convert.h"

#include "base/fs.h"
#include "base/json.h"
#include "base/mem.h"
#include "format/gguf_write.h"
#include "format/safetensors.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CONFIG_BYTES_MAX (1u << 20)
#define VOCAB_BYTES_MAX  (64u << 20)
#define VOCAB_MAX        (1u << 22)
#define LAYERS_MAX       1024
#define NAME_MAX_BYTES   96
#define CHUNK_ELEMS      (1u << 16)
#define PHANTOM          "\xe2\x96\x81" /* U+2581 before pieces that begin a word */

enum { TOKEN_NORMAL = 1, TOKEN_CONTROL = 3, TOKEN_UNUSED = 5 };

/* What becomes of one tensor. */
struct source {
    const struct safetensor *tensor;
    enum dtype type;
};

struct conversion {
    const char *folder;
    enum dtype type;
    const char *prefix; /* of the tensors' names: "", "bert." */
    int64_t n_embd, n_layer, n_head, n_ff, n_ctx, n_type, n_vocab;
    double eps;
    int pooling;
    bool lowercase, has_head;
    struct safetensors *st;
    struct buf vocab; /* the bytes of vocab.txt */
    struct str *token;
    int32_t *token_type;
    size_t n_token, cap_token, cap_type;
    struct source *source;
    size_t n_source, cap_source;
    struct gguf_writer *w;
};

/* ---- configuration ---- */

static int read_json(const struct conversion *c, const char *name, bool needed, json_t **ret,
                     struct err *err)
{
    char *path = fs_join(c->folder, name);
    struct buf text;
    buf_init(&text, CONFIG_BYTES_MAX);
    *ret = NULL;
    int rc = 0;
    if (needed || fs_exists(path))
        rc = fs_read(path, &text, err);
    if (rc == 0 && text.len > 0) {
        *ret = json_parse(buf_str(&text), JSON_DEPTH_MAX, err);
        rc = *ret == NULL ? ERR_CORRUPT : 0;
    }
    if (rc != 0)
        rc = err_wrap(err, "%s", path);
    else if (needed && !json_is_object(*ret))
        rc = err_set(err, ERR_CORRUPT, "%s is no JSON object", path);
    buf_release(&text);
    free(path);
    return rc;
}

static int check_kind(const json_t *config, struct err *err)
{
    struct str kind = json_str(json_object_get(config, "model_type"));
    struct str act = json_str(json_object_get(config, "hidden_act"));
    struct str position = json_str(json_object_get(config, "position_embedding_type"));
    if (!str_eq_z(kind, "bert"))
        return err_set(err, ERR_UNSUPPORTED,
                       "config.json: models of the type '%.*s' cannot be converted; 'bert' can",
                       STR_ARG(str_sub(kind, 0, 64)));
    if (act.len > 0 && !str_eq_z(act, "gelu"))
        return err_set(err, ERR_UNSUPPORTED, "config.json: the activation '%.*s' is not supported",
                       STR_ARG(str_sub(act, 0, 64)));
    if (position.len > 0 && !str_eq_z(position, "absolute"))
        return err_set(err, ERR_UNSUPPORTED,
                       "config.json: positions of the type '%.*s' are not "
                       "supported",
                       STR_ARG(str_sub(position, 0, 64)));
    return 0;
}

static int read_sizes(struct conversion *c, const json_t *config, struct err *err)
{
    struct {
        const char *key;
        int64_t max, *ret;
    } sizes[] = {
        {"hidden_size", 1 << 16, &c->n_embd},
        {"num_hidden_layers", LAYERS_MAX, &c->n_layer},
        {"num_attention_heads", 1024, &c->n_head},
        {"intermediate_size", 1 << 20, &c->n_ff},
        {"max_position_embeddings", 1 << 24, &c->n_ctx},
        {"type_vocab_size", 1 << 10, &c->n_type},
        {"vocab_size", VOCAB_MAX, &c->n_vocab},
    };
    int rc = 0;
    for (size_t i = 0; i < ARRAY_LEN(sizes) && rc == 0; i++) {
        rc = json_get_i64(config, sizes[i].key, 1, sizes[i].max, sizes[i].ret, err);
        if (rc == 0 && *sizes[i].ret == 0)
            rc = err_set(err, ERR_CORRUPT, "'%s' is missing", sizes[i].key);
    }
    c->eps = 1e-12;
    return rc != 0 ? rc : json_get_f64(config, "layer_norm_eps", 0, 1, &c->eps, err);
}

static int read_pooling(struct conversion *c, struct err *err)
{
    static const struct {
        const char *key;
        int pooling;
    } modes[] = {{"pooling_mode_mean_tokens", 1},
                 {"pooling_mode_cls_token", 2},
                 {"pooling_mode_lasttoken", 3},
                 {"pooling_mode_max_tokens", 0},
                 {"pooling_mode_mean_sqrt_len_tokens", 0},
                 {"pooling_mode_weightedmean_tokens", 0}};
    json_t *pooling;
    int rc = read_json(c, "1_Pooling/config.json", false, &pooling, err);
    c->pooling = 1;
    for (size_t i = 0; i < ARRAY_LEN(modes) && rc == 0 && pooling != NULL; i++) {
        if (!json_is_true(json_object_get(pooling, modes[i].key)))
            continue;
        c->pooling = modes[i].pooling;
        if (c->pooling == 0)
            rc = err_set(err, ERR_UNSUPPORTED, "1_Pooling/config.json: %s is not supported",
                         modes[i].key);
    }
    json_decref(pooling);
    return rc;
}

static int read_config(struct conversion *c, struct err *err)
{
    json_t *config, *tokenizer = NULL;
    int rc = read_json(c, "config.json", true, &config, err);
    rc = rc != 0 ? rc : check_kind(config, err);
    if (rc == 0 && (rc = read_sizes(c, config, err)) != 0)
        rc = err_wrap(err, "config.json");
    json_decref(config);
    rc = rc != 0 ? rc : read_pooling(c, err);
    rc = rc != 0 ? rc : read_json(c, "tokenizer_config.json", false, &tokenizer, err);
    c->lowercase = true;
    if (rc == 0)
        rc = json_get_bool(tokenizer, "do_lower_case", &c->lowercase, err);
    json_decref(tokenizer);
    return rc;
}

/* ---- vocabulary ---- */

static bool is_bracketed(struct str s)
{
    return s.len > 2 && s.ptr[0] == '[' && s.ptr[s.len - 1] == ']';
}

static int token_type_of(struct str s)
{
    static const char *const control[] = {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"};
    for (size_t i = 0; i < ARRAY_LEN(control); i++)
        if (str_eq_z(s, control[i]))
            return TOKEN_CONTROL;
    return str_starts(s, STR("[unused")) ? TOKEN_UNUSED : TOKEN_NORMAL;
}

static bool push_token(struct conversion *c, struct str s)
{
    size_t n = c->n_token + 1;
    if (!mem_grow((void **)&c->token, &c->cap_token, n, VOCAB_MAX, sizeof(*c->token)) ||
        !mem_grow((void **)&c->token_type, &c->cap_type, n, VOCAB_MAX, sizeof(*c->token_type)))
        return false;
    c->token[c->n_token] = s;
    c->token_type[c->n_token++] = token_type_of(s);
    return true;
}

/* One a line, in order. */
static int read_vocab(struct conversion *c, struct err *err)
{
    char *path = fs_join(c->folder, "vocab.txt");
    int rc = fs_read(path, &c->vocab, err);
    free(path);
    if (rc != 0)
        return rc;
    struct str rest = buf_str(&c->vocab), line;
    while (rc == 0 && str_split(&rest, '\n', &line)) {
        if (rest.ptr == NULL && line.len == 0)
            break; /* behind the last line */
        if (line.len > 0 && line.ptr[line.len - 1] == '\r')
            line.len--;
        if (!push_token(c, line))
            rc = err_set(err, ERR_LIMIT, "vocab.txt has more than %u tokens", VOCAB_MAX);
    }
    if (rc == 0 && c->n_token > (size_t)c->n_vocab)
        rc = err_set(err, ERR_CORRUPT, "vocab.txt has %zu tokens, config.json says %lld",
                     c->n_token, (long long)c->n_vocab);
    return rc;
}

/* As GGUF has WordPiece: beginnings are marked instead of continuations. */
static int put_tokens(struct conversion *c, struct err *err)
{
    char **made = mem_zero(c->n_token + 1, sizeof(*made));
    struct str *token = mem_zero(c->n_token + 1, sizeof(*token));
    for (size_t i = 0; i < c->n_token; i++) {
        struct str s = c->token[i];
        if (is_bracketed(s)) {
            token[i] = s;
        } else if (str_starts(s, STR("##"))) {
            token[i] = str_from(s, 2);
        } else {
            made[i] = mem_alloc(s.len + sizeof(PHANTOM));
            memcpy(made[i], PHANTOM, sizeof(PHANTOM) - 1);
            memcpy(made[i] + sizeof(PHANTOM) - 1, s.ptr, s.len);
            token[i] = (struct str){made[i], s.len + sizeof(PHANTOM) - 1};
        }
    }
    gguf_put_strings(c->w, "tokenizer.ggml.tokens", token, c->n_token);
    gguf_put_array(c->w, "tokenizer.ggml.token_type", GGUF_I32, c->token_type, c->n_token);
    for (size_t i = 0; i < c->n_token; i++)
        free(made[i]);
    free(made);
    free(token);
    return c->n_token > 0 ? 0 : err_set(err, ERR_CORRUPT, "vocab.txt is empty");
}

static void put_special(struct conversion *c, const char *text, const char *key)
{
    for (size_t i = 0; i < c->n_token; i++)
        if (str_eq_z(c->token[i], text)) {
            gguf_put_u32(c->w, key, (uint32_t)i);
            return;
        }
}

static void put_keys(struct conversion *c, const char *name)
{
    struct gguf_writer *w = c->w;
    gguf_put_str(w, "general.architecture", STR("bert"));
    gguf_put_str(w, "general.name", str_z(name));
    gguf_put_u32(w, "general.file_type", c->type == DTYPE_F16 ? 1 : 0);
    gguf_put_u32(w, "bert.block_count", (uint32_t)c->n_layer);
    gguf_put_u32(w, "bert.context_length", (uint32_t)c->n_ctx);
    gguf_put_u32(w, "bert.embedding_length", (uint32_t)c->n_embd);
    gguf_put_u32(w, "bert.feed_forward_length", (uint32_t)c->n_ff);
    gguf_put_u32(w, "bert.attention.head_count", (uint32_t)c->n_head);
    gguf_put_f32(w, "bert.attention.layer_norm_epsilon", (float)c->eps);
    gguf_put_bool(w, "bert.attention.causal", false);
    gguf_put_u32(w, "bert.pooling_type", c->has_head ? 4 : (uint32_t)c->pooling);
    gguf_put_str(w, "tokenizer.ggml.model", STR("bert"));
    gguf_put_u32(w, "tokenizer.ggml.token_type_count", (uint32_t)c->n_type);
    gguf_put_bool(w, "tokenizer.ggml.normalizer.lowercase", c->lowercase);
    gguf_put_bool(w, "tokenizer.ggml.normalizer.strip_accents", c->lowercase);
    put_special(c, "[UNK]", "tokenizer.ggml.unknown_token_id");
    put_special(c, "[PAD]", "tokenizer.ggml.padding_token_id");
    put_special(c, "[MASK]", "tokenizer.ggml.mask_token_id");
    put_special(c, "[CLS]", "tokenizer.ggml.cls_token_id");
    put_special(c, "[SEP]", "tokenizer.ggml.seperator_token_id");
}

/* ---- tensors ---- */

/* n_out 0: a vector. Without a prefix where the head's tensors have none. */
static int add_tensor(struct conversion *c, const char *prefix, const char *from, const char *to,
                      uint64_t n_in, uint64_t n_out, bool matrix, struct err *err)
{
    char name[2 * NAME_MAX_BYTES];
    snprintf(name, sizeof(name), "%s%s", prefix, from);
    const struct safetensor *t = safetensors_find(c->st, name);
    if (t == NULL)
        return err_set(err, ERR_CORRUPT, "tensor %s is missing", name);
    int n_dims = n_out > 0 ? 2 : 1;
    bool fits = t->is_real && t->n_dims == n_dims && t->dim[n_dims - 1] == n_in &&
                (n_out == 0 || t->dim[0] == n_out);
    if (!fits)
        return err_set(err, ERR_CORRUPT,
                       "tensor %s is of another type or shape than config.json asks for "
                       "(%llu x %llu)",
                       name, (unsigned long long)n_in, (unsigned long long)n_out);
    if (!mem_grow((void **)&c->source, &c->cap_source, c->n_source + 1, 32 * (LAYERS_MAX + 1),
                  sizeof(*c->source)))
        return err_set(err, ERR_NOMEM, "out of memory");
    struct source s = {t, matrix ? c->type : DTYPE_F32};
    gguf_put_tensor(c->w, to, s.type, n_dims, (uint64_t[]){n_in, n_out});
    c->source[c->n_source++] = s;
    return 0;
}

/* from.weight and from.bias; n_out 0: a norm, whose two are vectors of n_in. */
static int add_pair(struct conversion *c, const char *prefix, const char *from, const char *to,
                    int64_t n_in, int64_t n_out, struct err *err)
{
    char a[NAME_MAX_BYTES], b[NAME_MAX_BYTES];
    snprintf(a, sizeof(a), "%s.weight", from);
    snprintf(b, sizeof(b), "%s.weight", to);
    int rc = add_tensor(c, prefix, a, b, (uint64_t)n_in, (uint64_t)n_out, n_out > 0, err);
    snprintf(a, sizeof(a), "%s.bias", from);
    snprintf(b, sizeof(b), "%s.bias", to);
    return rc != 0
               ? rc
               : add_tensor(c, prefix, a, b, (uint64_t)(n_out > 0 ? n_out : n_in), 0, false, err);
}

static int add_layer(struct conversion *c, int i, struct err *err)
{
    int64_t n = c->n_embd;
    const struct {
        const char *from, *to;
        int64_t n_in, n_out;
    } all[] = {
        {"attention.self.query", "attn_q", n, n},
        {"attention.self.key", "attn_k", n, n},
        {"attention.self.value", "attn_v", n, n},
        {"attention.output.dense", "attn_output", n, n},
        {"attention.output.LayerNorm", "attn_output_norm", n, 0},
        {"intermediate.dense", "ffn_up", n, c->n_ff},
        {"output.dense", "ffn_down", c->n_ff, n},
        {"output.LayerNorm", "layer_output_norm", n, 0},
    };
    int rc = 0;
    for (size_t k = 0; k < ARRAY_LEN(all) && rc == 0; k++) {
        char from[64], to[64];
        snprintf(from, sizeof(from), "encoder.layer.%d.%s", i, all[k].from);
        snprintf(to, sizeof(to), "blk.%d.%s", i, all[k].to);
        rc = add_pair(c, c->prefix, from, to, all[k].n_in, all[k].n_out, err);
    }
    return rc;
}

/* A cross-encoder's: a layer with tanh over the first token's row, then the scores. */
static int add_head(struct conversion *c, struct err *err)
{
    const struct safetensor *t = safetensors_find(c->st, "classifier.weight");
    int64_t n_label = t->n_dims == 2 ? (int64_t)t->dim[0] : 0;
    char pooler[64];
    snprintf(pooler, sizeof(pooler), "%spooler.dense.weight", c->prefix);
    int rc = 0;
    if (n_label < 1)
        return err_set(err, ERR_CORRUPT, "tensor classifier.weight is no matrix");
    if (safetensors_find(c->st, pooler) != NULL)
        rc = add_pair(c, c->prefix, "pooler.dense", "cls", c->n_embd, c->n_embd, err);
    return rc != 0 ? rc : add_pair(c, "", "classifier", "cls.output", c->n_embd, n_label, err);
}

static int add_tensors(struct conversion *c, struct err *err)
{
    uint64_t n = (uint64_t)c->n_embd;
    int rc;
    if ((rc = add_tensor(c, c->prefix, "embeddings.word_embeddings.weight", "token_embd.weight", n,
                         (uint64_t)c->n_vocab, true, err)) != 0 ||
        (rc = add_tensor(c, c->prefix, "embeddings.position_embeddings.weight",
                         "position_embd.weight", n, (uint64_t)c->n_ctx, false, err)) != 0 ||
        (rc = add_tensor(c, c->prefix, "embeddings.token_type_embeddings.weight",
                         "token_types.weight", n, (uint64_t)c->n_type, false, err)) != 0 ||
        (rc = add_pair(c, c->prefix, "embeddings.LayerNorm", "token_embd_norm", c->n_embd, 0,
                       err)) != 0)
        return rc;
    for (int i = 0; i < (int)c->n_layer && rc == 0; i++)
        rc = add_layer(c, i, err);
    return rc == 0 && c->has_head ? add_head(c, err) : rc;
}

static int write_tensor(const struct source *s, size_t i, struct gguf_out *out, float *real,
                        uint16_t *half, struct err *err)
{
    const struct safetensor *t = s->tensor;
    size_t each_in = t->type == DTYPE_F32 ? 4 : 2, each_out = s->type == DTYPE_F32 ? 4 : 2;
    int rc = 0;
    for (uint64_t at = 0; at < t->n_elems && rc == 0; at += CHUNK_ELEMS) {
        size_t n = t->n_elems - at < CHUNK_ELEMS ? (size_t)(t->n_elems - at) : CHUNK_ELEMS;
        if (!dequantize_row(t->type, t->data + at * each_in, real, n))
            return err_set(err, ERR_UNSUPPORTED, "tensor %s cannot be read", t->name);
        for (size_t k = 0; k < n && s->type == DTYPE_F16; k++)
            half[k] = f32_to_f16(real[k]);
        rc = gguf_out_write(out, i, at * each_out, s->type == DTYPE_F16 ? (void *)half : real,
                            n * each_out, err);
    }
    return rc;
}

static int write_file(struct conversion *c, const char *path, bool replace, struct err *err)
{
    struct gguf_out *out;
    int rc = gguf_writer_layout(c->w, err);
    rc = rc != 0 ? rc : gguf_out_open(c->w, path, &out, err);
    if (rc != 0)
        return rc;
    float *real = mem_alloc(CHUNK_ELEMS * sizeof(*real));
    uint16_t *half = mem_alloc(CHUNK_ELEMS * sizeof(*half));
    for (size_t i = 0; i < c->n_source && rc == 0; i++)
        rc = write_tensor(&c->source[i], i, out, real, half, err);
    free(real);
    free(half);
    if (rc == 0)
        return gguf_out_commit(out, replace, err);
    gguf_out_abort(out);
    return rc;
}

/* ---- all of it ---- */

static int open_tensors(struct conversion *c, struct err *err)
{
    char *path = fs_join(c->folder, "model.safetensors");
    int rc = safetensors_open(path, &c->st, err);
    free(path);
    if (rc != 0)
        return rc;
    bool bare = safetensors_find(c->st, "embeddings.word_embeddings.weight") != NULL;
    c->prefix = bare ? "" : "bert.";
    c->has_head = safetensors_find(c->st, "classifier.weight") != NULL;
    return 0;
}

static int convert(struct conversion *c, const char *name, const char *out_path, bool replace,
                   struct err *err)
{
    int rc = read_config(c, err);
    rc = rc != 0 ? rc : read_vocab(c, err);
    rc = rc != 0 ? rc : open_tensors(c, err);
    if (rc != 0)
        return rc;
    c->w = gguf_writer_new();
    if (c->w == NULL)
        return err_set(err, ERR_NOMEM, "out of memory");
    put_keys(c, name);
    rc = put_tokens(c, err);
    rc = rc != 0 ? rc : add_tensors(c, err);
    return rc != 0 ? rc : write_file(c, out_path, replace, err);
}

int convert_folder(const char *folder, const char *name, enum dtype type, const char *out_path,
                   bool replace, struct err *err)
{
    struct conversion c = {.folder = folder, .type = type};
    buf_init(&c.vocab, VOCAB_BYTES_MAX);
    int rc = convert(&c, name, out_path, replace, err);
    gguf_writer_free(c.w);
    safetensors_free(c.st);
    buf_release(&c.vocab);
    free(c.token);
    free(c.token_type);
    free(c.source);
    return rc;
}
