/*
 * gguf_file: private to the format room: the structs behind struct gguf, and the parser of one
 * part.
 */
#ifndef HEARTH_FORMAT_GGUF_FILE_H
#define HEARTH_FORMAT_GGUF_FILE_H

#include "format/gguf.h"

/* The metadata of one part. by_key[i] are indices into kv, ordered by key; no key appears twice. */
struct gguf_kv_list {
    struct gguf_kv *kv;
    size_t n;
    size_t cap;
    uint32_t *by_key;
};

struct gguf_part {
    const uint8_t *base;
    size_t len;
    bool is_mapped; /* by us */
    uint32_t version;
    struct gguf_kv_list kvs;
};

struct gguf {
    struct gguf_part *part;
    int n_parts;
    struct gguf_tensor *tensor;
    size_t n_tensors;
    size_t tensor_cap;
    uint32_t *by_name; /* indices into tensor, ordered by name; no name appears twice */
};

/* A key or tensor name fit for a message: at most 80 bytes, unprintable ones replaced by '?'. */
struct gguf_label {
    char z[88];
};
struct gguf_label gguf_label(struct str s);

/* As gguf_open_memory, for the parts of a split model in order. Fuzzing and tests. */
int gguf_open_parts(const struct str *bytes, int n_parts, struct gguf **ret, struct err *err)
    __attribute__((warn_unused_result));

/* Parses g->part[i_part] (base and len are set) and appends its tensors to g->tensor. */
int gguf_parse_part(struct gguf *g, int i_part, struct err *err)
    __attribute__((warn_unused_result));

/* NULL if absent. */
const struct gguf_kv *gguf_kv_list_find(const struct gguf_kv_list *list, struct str key);
/* Sorts; *ret_twice is the index of an element whose key was there before, or SIZE_MAX. */
int gguf_kv_list_index(struct gguf_kv_list *list, size_t *ret_twice, struct err *err)
    __attribute__((warn_unused_result));
void gguf_kv_list_release(struct gguf_kv_list *list);

/* An integer value in [min, max]; ERR_CORRUPT names the key. */
int gguf_kv_u64(const struct gguf_kv *kv, uint64_t min, uint64_t max, uint64_t *ret,
                struct err *err) __attribute__((warn_unused_result));

#endif
