/*
 * fuzz_gguf: opens bytes as a GGUF file and uses everything that opening promises: every key by
 * every getter, every string to its last byte, the first and last block of every tensor. The marker
 * below in the input separates the parts of a split model.
 */
#include "base/mem.h"
#include "format/gguf_file.h"
#include "tensor/dtype.h"

#include <stdlib.h>
#include <string.h>

#define PARTS_MAX 4
#define KEYS_MAX  256 /* all are walked; the getters take the first ones */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static volatile uint64_t sink; /* keeps reads alive */

static void read_bytes(const void *p, uint64_t n)
{
    const uint8_t *b = p;
    uint64_t sum = 0;
    for (uint64_t i = 0; i < n; i++)
        sum += b[i];
    sink += sum;
}

static void use_getters(const struct gguf *g, const struct gguf_kv *kv)
{
    char *key = str_dup(kv->key);
    uint64_t u = 5;
    double f = 0;
    bool b = false;
    struct str s = STR("");
    struct err err;
    if (gguf_find(g, key) != kv)
        abort();
    if (gguf_get_u64(g, key, 1, UINT64_MAX, &u, &err) == 0 && u == 0)
        abort();
    sink += (uint64_t)(gguf_get_f64(g, key, &f, &err) + gguf_get_bool(g, key, &b, &err) +
                       gguf_get_str(g, key, &s, &err));
    sink += (uint64_t)(f > 1.0) + b;
    read_bytes(s.ptr, s.len);
    free(key);
}

static void use_kv(const struct gguf_kv *kv)
{
    read_bytes(kv->data, kv->n_bytes);
    for (uint64_t i = 0; kv->strings != NULL && i < kv->n; i++)
        read_bytes(kv->strings[i].ptr, kv->strings[i].len);
    for (uint64_t i = 0; i < kv->n; i++)
        sink += (uint64_t)gguf_arr_i64(kv, i) + (gguf_arr_f64(kv, i) > 1.0);
}

static void use_tensor(const struct gguf *g, const struct gguf_tensor *t)
{
    float x[256];
    const struct dtype_info *info = dtype_info((uint32_t)t->type);
    char *name = str_dup(t->name);
    if (gguf_find_tensor(g, name) != t)
        abort();
    free(name);
    read_bytes(t->data, t->n_bytes);
    const uint8_t *last = t->data + t->n_bytes - (size_t)info->block_bytes;
    if (dequantize_row(t->type, t->data, x, (size_t)info->block_elems) &&
        dequantize_row(t->type, last, x, (size_t)info->block_elems))
        read_bytes(x, sizeof(float) * (size_t)info->block_elems);
}

static int split_input(struct str input, struct str part[PARTS_MAX])
{
    const struct str marker = STR("\n=PART=\n");
    int n = 0;
    ptrdiff_t at;
    while (n < PARTS_MAX - 1 && (at = str_find(input, marker)) >= 0) {
        part[n++] = str_sub(input, 0, (size_t)at);
        input = str_from(input, (size_t)at + marker.len);
    }
    part[n++] = input;
    return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct str part[PARTS_MAX];
    struct gguf *g;
    struct err err = {0};
    int n_parts = split_input((struct str){(const char *)data, len}, part);
    if (gguf_open_parts(part, n_parts, &g, &err) != 0) {
        if (err.code == 0 || err.text[0] == 0)
            abort(); /* a refusal says why */
        return 0;
    }
    for (size_t i = 0; i < gguf_n_kv(g); i++) {
        use_kv(gguf_kv_at(g, i));
        if (i < KEYS_MAX)
            use_getters(g, gguf_kv_at(g, i));
    }
    for (size_t i = 0; i < gguf_n_tensors(g); i++)
        use_tensor(g, gguf_tensor_at(g, i));
    gguf_free(g);
    return 0;
}
