/*
 * show_gguf: owns the printing of GGUF contents. Must not know names or libraries.
 */
#include "cli/show_gguf.h"

#include "base/json.h"
#include "base/mem.h"
#include "model/model.h"

#include <endian.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define VALUE_BYTES_MAX 96 /* of one text value in the list for people */
#define ARRAY_SHOWN     6  /* elements of an array */

/* ---- values ---- */

/* A JSON string. Control characters are escapes there, but for DEL and the C1 controls, which some
 * terminals obey: they become escapes here. */
static void put_quoted(struct str s, FILE *out)
{
    struct buf b;
    buf_init(&b, SIZE_MAX / 2);
    if (json_write_string(s, &b)) {
        for (size_t i = 0; i < b.len; i++) {
            unsigned char c = (unsigned char)b.ptr[i];
            if (c == 0x7f)
                fputs("\\u007f", out);
            else if (c == 0xc2 && (unsigned char)b.ptr[i + 1] < 0xa0) /* b ends in '"' */
                fprintf(out, "\\u00%02x", (unsigned)(unsigned char)b.ptr[++i]);
            else
                fputc(c, out);
        }
    }
    buf_release(&b);
}

/* Bytes of the character at s[i] that may be printed; 0 when it must not. */
static size_t printable(struct str s, size_t i)
{
    unsigned char c = (unsigned char)s.ptr[i];
    if (c < 0x80)
        return c >= 0x20 && c != 0x7f;
    size_t n = c >= 0xf0 && c < 0xf5 ? 4 : c >= 0xe0 ? 3 : 2;
    if (c < 0xc2 || c >= 0xf5 || n > s.len - i)
        return 0;
    for (size_t j = 1; j < n; j++)
        if (((unsigned char)s.ptr[i + j] & 0xc0) != 0x80)
            return 0;
    return c == 0xc2 && (unsigned char)s.ptr[i + 1] < 0xa0 ? 0 : n;
}

void show_text(struct str s, FILE *out)
{
    for (size_t i = 0; i < s.len;) {
        bool is_space = s.ptr[i] == '\n' || s.ptr[i] == '\t';
        size_t n = is_space ? 1 : printable(s, i);
        if (n == 0)
            fputc('?', out);
        else
            fwrite(s.ptr + i, 1, n, out);
        i += n == 0 ? 1 : n;
    }
}

/* The fewest digits that name this value among those of its type. */
static void put_float(double x, bool is_f32, FILE *out)
{
    char text[40];
    if (!isfinite(x)) {
        fputs("null", out);
        return;
    }
    for (int digits = 6; digits <= 17; digits++) {
        snprintf(text, sizeof(text), "%.*g", digits, x);
        if (is_f32 ? (double)strtof(text, NULL) == x : strtod(text, NULL) == x)
            break;
    }
    fputs(text, out);
}

static void put_number(const struct gguf_kv *kv, uint64_t i, FILE *out)
{
    uint64_t u;
    switch (kv->elem_type) {
    case GGUF_BOOL:
        fputs(kv->data[i] != 0 ? "true" : "false", out);
        break;
    case GGUF_F32:
    case GGUF_F64:
        put_float(gguf_arr_f64(kv, i), kv->elem_type == GGUF_F32, out);
        break;
    case GGUF_U64: /* may be above INT64_MAX */
        memcpy(&u, kv->data + 8 * i, sizeof(u));
        fprintf(out, "%" PRIu64, le64toh(u));
        break;
    default:
        fprintf(out, "%" PRId64, gguf_arr_i64(kv, i));
        break;
    }
}

/* bytes_max: where to cut a text; an ellipsis follows then. True when it was cut. */
static bool put_elem(const struct gguf_kv *kv, uint64_t i, size_t bytes_max, FILE *out)
{
    if (kv->strings == NULL) {
        put_number(kv, i, out);
        return false;
    }
    struct str s = kv->strings[i];
    bool cut = s.len > bytes_max;
    if (cut) { /* not inside a character */
        s.len = bytes_max;
        while (s.len > 0 && ((unsigned char)s.ptr[s.len] & 0xc0) == 0x80)
            s.len--;
    }
    put_quoted(s, out);
    return cut;
}

/* The first elements, separated by ", ". */
static void put_elems(const struct gguf_kv *kv, size_t bytes_max, FILE *out)
{
    uint64_t n = kv->elem_type == GGUF_ARR ? 0 : kv->n;
    for (uint64_t i = 0; i < n && i < ARRAY_SHOWN; i++) {
        if (i > 0)
            fputs(", ", out);
        put_elem(kv, i, bytes_max, out);
    }
}

/* ---- lists ---- */

void show_gguf_metadata(const struct gguf *g, FILE *out)
{
    size_t width = 0;
    for (size_t i = 0; i < gguf_n_kv(g); i++) {
        size_t len = gguf_kv_at(g, i)->key.len;
        width = len > width && len <= 60 ? len : width;
    }
    for (size_t i = 0; i < gguf_n_kv(g); i++) {
        const struct gguf_kv *kv = gguf_kv_at(g, i);
        show_text(kv->key, out);
        fprintf(out, "%*s", kv->key.len < width ? (int)(width - kv->key.len) : 0, "");
        if (kv->type == GGUF_ARR) {
            fprintf(out, "  %-5s [", gguf_type_name(kv->elem_type));
            put_elems(kv, 24, out);
            fprintf(out, "%s] (%" PRIu64 ")\n", kv->n > ARRAY_SHOWN ? ", ..." : "", kv->n);
            continue;
        }
        fprintf(out, "  %-5s ", gguf_type_name(kv->type));
        if (put_elem(kv, 0, VALUE_BYTES_MAX, out))
            fprintf(out, "... (%zu bytes)", kv->strings[0].len);
        fputc('\n', out);
    }
}

static void shape_text(const struct gguf_tensor *t, char *ret, size_t size)
{
    size_t n = 0;
    ret[0] = 0;
    for (int i = 0; i < t->n_dims && n < size; i++)
        n += (size_t)snprintf(ret + n, size - n, "%s%" PRIu64, i > 0 ? " x " : "", t->dim[i]);
}

void show_gguf_tensors(const struct gguf *g, FILE *out)
{
    int width = 0;
    for (size_t i = 0; i < gguf_n_tensors(g); i++) /* names have at most 64 bytes */
        if ((int)gguf_tensor_at(g, i)->name.len > width)
            width = (int)gguf_tensor_at(g, i)->name.len;
    for (size_t i = 0; i < gguf_n_tensors(g); i++) {
        const struct gguf_tensor *t = gguf_tensor_at(g, i);
        char shape[96];
        shape_text(t, shape, sizeof(shape));
        show_text(t->name, out);
        fprintf(out, "%*s  %-7s  %-20s  %12" PRIu64 " bytes\n", width - (int)t->name.len, "",
                dtype_name(t->type), shape, t->n_bytes);
    }
}

static void json_kv(const struct gguf_kv *kv, FILE *out)
{
    put_quoted(kv->key, out);
    fputs(": ", out);
    if (kv->type != GGUF_ARR) {
        put_elem(kv, 0, SIZE_MAX, out);
        return;
    }
    fprintf(out, "{\"type\": \"%s\", \"n\": %" PRIu64 ", \"first\": [",
            gguf_type_name(kv->elem_type), kv->n);
    put_elems(kv, SIZE_MAX, out);
    fputs("]}", out);
}

void show_gguf_json(const struct gguf *g, FILE *out)
{
    fprintf(out,
            "{\"version\": %" PRIu32 ", \"parts\": %d, \"bytes\": %" PRIu64 ",\n\"metadata\": {",
            gguf_version(g), gguf_n_parts(g), gguf_file_bytes(g));
    for (size_t i = 0; i < gguf_n_kv(g); i++) {
        fputs(i > 0 ? ",\n " : "\n ", out);
        json_kv(gguf_kv_at(g, i), out);
    }
    fputs("},\n\"tensors\": [", out);
    for (size_t i = 0; i < gguf_n_tensors(g); i++) {
        const struct gguf_tensor *t = gguf_tensor_at(g, i);
        fputs(i > 0 ? ",\n {\"name\": " : "\n {\"name\": ", out);
        put_quoted(t->name, out);
        fprintf(out, ", \"type\": \"%s\", \"shape\": [", dtype_name(t->type));
        for (int j = 0; j < t->n_dims; j++)
            fprintf(out, "%s%" PRIu64, j > 0 ? ", " : "", t->dim[j]);
        fprintf(out, "], \"bytes\": %" PRIu64 ", \"part\": %d, \"offset\": %" PRIu64 "}",
                t->n_bytes, t->i_split, t->offset);
    }
    fputs("]}\n", out);
}

/* ---- the summary ---- */

static void row(FILE *out, const char *name)
{
    fprintf(out, "  %-18s ", name);
}

static void row_text(FILE *out, const char *name, struct str s)
{
    row(out, name);
    show_text(str_sub(s, 0, 200), out);
    fputc('\n', out);
}

static void row_key(const struct gguf *g, FILE *out, const char *name, const char *key)
{
    struct str s = {0};
    if (gguf_get_str(g, key, &s, NULL) == 0 && s.len > 0)
        row_text(out, name, s);
}

/* 134.5 M, 98.4 MB */
static void put_scaled(FILE *out, double x, const char *unit)
{
    static const char prefix[] = {0, 'K', 'M', 'G', 'T'};
    size_t i = 0;
    for (; x >= 1000 && i + 1 < sizeof(prefix); i++)
        x /= 1000;
    char p = unit[0] == 0 && prefix[i] == 'G' ? 'B' : prefix[i]; /* parameters come in billions */
    if (p == 0)
        fprintf(out, "%.0f %s", x, unit);
    else
        fprintf(out, "%.1f %c%s", x, p, unit);
}

static void show_tokenizer(const struct gguf *g, FILE *out)
{
    const struct gguf_kv *tokens = gguf_find(g, "tokenizer.ggml.tokens");
    struct str model = STR("?"), pre = STR(""), chat = STR("");
    if (tokens == NULL)
        return;
    if (gguf_get_str(g, "tokenizer.ggml.model", &model, NULL) != 0 ||
        gguf_get_str(g, "tokenizer.ggml.pre", &pre, NULL) != 0 ||
        gguf_get_str(g, "tokenizer.chat_template", &chat, NULL) != 0)
        return;
    row(out, "tokenizer");
    show_text(str_sub(model, 0, 40), out);
    if (pre.len > 0) {
        fputs(" / ", out);
        show_text(str_sub(pre, 0, 40), out);
    }
    fprintf(out, ", %" PRIu64 " tokens\n", tokens->n);
    row(out, "chat template");
    if (chat.len > 0)
        fprintf(out, "%zu bytes (--template shows it)\n", chat.len);
    else
        fputs("none\n", out);
}

static void show_types(const struct gguf *g, FILE *out)
{
    size_t n[DTYPE_END] = {0};
    uint64_t bytes[DTYPE_END] = {0};
    const char *separator = "";
    for (size_t i = 0; i < gguf_n_tensors(g); i++) {
        const struct gguf_tensor *t = gguf_tensor_at(g, i);
        n[t->type]++;
        bytes[t->type] += t->n_bytes;
    }
    row(out, "tensors");
    fprintf(out, "%zu: ", gguf_n_tensors(g));
    for (int i = 0; i < DTYPE_END; i++) {
        if (n[i] == 0)
            continue;
        fprintf(out, "%s%zu %s (", separator, n[i], dtype_name((enum dtype)i));
        put_scaled(out, (double)bytes[i], "B");
        fputc(')', out);
        separator = ", ";
    }
    fputc('\n', out);
}

static void show_sizes(const struct model_info *info, FILE *out)
{
    row(out, "parameters");
    put_scaled(out, (double)info->n_params, "");
    fputc('\n', out);
    row_text(out, "quantization", str_z(info->file_type));
    row(out, "context length");
    fprintf(out, "%d\n", info->n_ctx_train);
    row(out, "embedding length");
    fprintf(out, "%d\n", info->n_embd);
    row(out, "layers");
    fprintf(out, "%d\n", info->n_layer);
    row(out, "attention heads");
    fprintf(out, "%d of %d, %d for keys and values\n", info->n_head, info->head_dim,
            info->n_head_kv);
}

void show_gguf_summary(const struct gguf *g, FILE *out)
{
    struct model_info info;
    struct err err;
    fputs("Model\n", out);
    row_key(g, out, "name", "general.name");
    row_key(g, out, "architecture", "general.architecture");
    int rc = model_describe(g, KV_F16, &info, &err);
    if (rc == 0)
        show_sizes(&info, out);
    show_tokenizer(g, out);
    row_key(g, out, "license", "general.license");
    if (rc != 0)
        row_text(out, "cannot be run", str_z(err.text));
    fputs("\nFile\n", out);
    row(out, "format");
    fprintf(out, "GGUF %" PRIu32 ", ", gguf_version(g));
    put_scaled(out, (double)gguf_file_bytes(g), "B");
    if (gguf_n_parts(g) > 1)
        fprintf(out, " in %d parts", gguf_n_parts(g));
    fputc('\n', out);
    if (gguf_n_tensors(g) > 0)
        show_types(g, out);
    else
        row_text(out, "tensors", STR("none: metadata only"));
}
