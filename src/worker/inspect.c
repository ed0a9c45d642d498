/*
 * inspect: see the header. Text is written straight, and parsed once at the end: what is no UTF-8
 * in a file is U+FFFD then, and what is no JSON is found.
 */
#include "worker/inspect.h"

#include "base/mem.h"
#include "format/gguf.h"
#include "model/model.h"
#include "text/chat.h"
#include "text/tokenizer.h"

#include <endian.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#define TEXT_MAX (48u << 20) /* below what a frame holds */

static void write_number(const struct gguf_kv *kv, uint64_t i, struct buf *out)
{
    double x;
    uint64_t u;
    switch (kv->elem_type) {
    case GGUF_BOOL:
        buf_add_z(out, kv->data[i] != 0 ? "true" : "false");
        break;
    case GGUF_F32:
    case GGUF_F64:
        x = gguf_arr_f64(kv, i);
        if (isfinite(x))
            buf_printf(out, kv->elem_type == GGUF_F32 ? "%.9g" : "%.17g", x);
        else
            buf_add_z(out, "null");
        break;
    case GGUF_U64: /* above INT64_MAX it is a number with a point: readers keep 53 bits anyway */
        memcpy(&u, kv->data + 8 * i, sizeof u);
        u = le64toh(u);
        if (u > INT64_MAX)
            buf_printf(out, "%.17g", (double)u);
        else
            buf_printf(out, "%" PRIu64, u);
        break;
    default:
        buf_printf(out, "%" PRId64, gguf_arr_i64(kv, i));
        break;
    }
}

static void write_one(const struct gguf_kv *kv, uint64_t i, struct buf *out)
{
    if (kv->strings != NULL)
        json_write_string(kv->strings[i], out);
    else
        write_number(kv, i, out);
}

static void write_value(const struct gguf_kv *kv, enum inspect_depth depth, struct buf *out)
{
    if (kv->type != GGUF_ARR) {
        write_one(kv, 0, out);
    } else if (depth != INSPECT_ALL || kv->elem_type == GGUF_ARR) {
        buf_add_z(out, "null");
    } else {
        buf_add_char(out, '[');
        for (uint64_t i = 0; i < kv->n && !out->overflow; i++) {
            if (i > 0)
                buf_add_char(out, ',');
            write_one(kv, i, out);
        }
        buf_add_char(out, ']');
    }
}

static void write_metadata(const struct gguf *g, uint64_t n_params, enum inspect_depth depth,
                           struct buf *out)
{
    buf_printf(out, ",\"metadata\":{\"general.parameter_count\":%" PRIu64, n_params);
    for (size_t i = 0; i < gguf_n_kv(g); i++) {
        const struct gguf_kv *kv = gguf_kv_at(g, i);
        if (str_eq_z(kv->key, "general.parameter_count") ||
            str_eq_z(kv->key, "tokenizer.chat_template"))
            continue;
        buf_add_char(out, ',');
        json_write_string(kv->key, out);
        buf_add_char(out, ':');
        write_value(kv, depth, out);
    }
    buf_add_char(out, '}');
}

static void write_tensors(const struct gguf *g, struct buf *out)
{
    buf_add_z(out, ",\"tensors\":[");
    for (size_t i = 0; i < gguf_n_tensors(g) && !out->overflow; i++) {
        const struct gguf_tensor *t = gguf_tensor_at(g, i);
        buf_add_z(out, i > 0 ? ",{\"name\":" : "{\"name\":");
        json_write_string(t->name, out);
        buf_printf(out, ",\"type\":\"%s\",\"shape\":[", dtype_name(t->type));
        for (int k = 0; k < t->n_dims; k++)
            buf_printf(out, "%s%" PRIu64, k > 0 ? "," : "", t->dim[k]);
        buf_add_z(out, "]}");
    }
    buf_add_char(out, ']');
}

/* ---- what it can do ---- */

static bool names_thinking(struct str template)
{
    static const char *const words[] = {"enable_thinking", "<think>", "reasoning_effort",
                                        "thinking"};
    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        if (str_find(template, str_z(words[i])) >= 0)
            return true;
    return false;
}

/* A model whose file says how its outputs are pooled is there for embeddings. */
static bool pools(const struct gguf *g, struct str arch)
{
    char key[96];
    snprintf(key, sizeof key, "%.*s.pooling_type", (int)(arch.len < 64 ? arch.len : 64), arch.ptr);
    return gguf_find(g, key) != NULL;
}

static void write_capabilities(const struct gguf *g, struct str arch, struct str template,
                               struct buf *out)
{
    struct tokenizer *t = NULL;
    struct chat *chat = NULL;
    struct fim_tokens fim;
    bool embeds = pools(g, arch);
    bool reads = tokenizer_new(g, &t, NULL) == 0;
    buf_printf(out, ",\"capabilities\":[\"%s\"", embeds ? "embedding" : "completion");
    if (reads && template.len > 0 && !embeds &&
        chat_new(template, tokenizer_token_text(t, tokenizer_bos(t)),
                 tokenizer_token_text(t, tokenizer_eos(t)), &chat, NULL) == 0) {
        if (chat_supports_tools(chat))
            buf_add_z(out, ",\"tools\"");
        if (names_thinking(template))
            buf_add_z(out, ",\"thinking\"");
    }
    if (reads && !embeds && tokenizer_fim(t, &fim))
        buf_add_z(out, ",\"insert\"");
    buf_add_char(out, ']');
    chat_free(chat);
    tokenizer_free(t);
}

/* ---- the whole ---- */

/* Of models this program cannot run, too: their files are there all the same. */
static void describe(const struct gguf *g, struct str arch, struct model_info *ret)
{
    if (model_describe(g, KV_F16, ret, NULL) == 0)
        return;
    *ret = (struct model_info){0};
    snprintf(ret->arch, sizeof ret->arch, "%.*s", (int)(arch.len < 31 ? arch.len : 31), arch.ptr);
    strcpy(ret->file_type, "unknown");
    for (size_t i = 0; i < gguf_n_tensors(g); i++)
        ret->n_params += gguf_tensor_at(g, i)->n_elems;
}

static void write_all(const struct gguf *g, enum inspect_depth depth, struct buf *out)
{
    struct str arch = STR(""), template = STR("");
    struct model_info info;
    if (gguf_get_str(g, "general.architecture", &arch, NULL) != 0 ||
        gguf_get_str(g, "tokenizer.chat_template", &template, NULL) != 0)
        arch = template = STR("");
    describe(g, arch, &info);
    buf_add_z(out, "{\"t\":\"inspected\",\"arch\":");
    json_write_string(str_z(info.arch), out);
    buf_add_z(out, ",\"file_type\":");
    json_write_string(str_z(info.file_type), out);
    buf_printf(out,
               ",\"n_params\":%" PRIu64 ",\"n_ctx\":%d,\"n_embd\":%d,\"template\":", info.n_params,
               info.n_ctx_train, info.n_embd);
    json_write_string(template, out);
    write_capabilities(g, arch, template, out);
    write_metadata(g, info.n_params, depth, out);
    if (depth == INSPECT_ALL)
        write_tensors(g, out);
    buf_add_char(out, '}');
}

int inspect_template(const struct gguf *g, struct str template, struct err *err)
{
    struct tokenizer *t = NULL;
    struct chat *chat = NULL;
    bool reads = tokenizer_new(g, &t, NULL) == 0;
    int rc = chat_new(template, reads ? tokenizer_token_text(t, tokenizer_bos(t)) : STR(""),
                      reads ? tokenizer_token_text(t, tokenizer_eos(t)) : STR(""), &chat, err);
    if (rc != 0 && rc != ERR_SYNTAX && rc != ERR_LIMIT && err != NULL)
        rc = err->code = ERR_INVALID;
    chat_free(chat);
    tokenizer_free(t);
    return rc;
}

int inspect_files(const int *fd, int n_fds, enum inspect_depth depth, json_t **ret, struct err *err)
{
    struct gguf *g;
    struct buf out;
    int rc = gguf_open_fds(fd, n_fds, &g, err);
    if (rc != 0)
        return rc;
    buf_init(&out, TEXT_MAX);
    write_all(g, depth, &out);
    gguf_free(g);
    json_t *frame = out.overflow ? NULL : json_parse(buf_str(&out), 8, err);
    if (out.overflow)
        rc = err_set(err, ERR_TOO_LARGE, "what the model file says of itself is too long to show");
    else if (frame == NULL)
        rc = err_wrap(err, "what the model file says of itself cannot be shown");
    buf_release(&out);
    if (rc == 0)
        *ret = frame;
    return rc;
}
