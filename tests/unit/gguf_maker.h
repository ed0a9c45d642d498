/*
 * gguf_maker: writes GGUF bytes for tests, sound or wrong on purpose. Header only.
 *
 * Metadata and tensor descriptions are added in order; maker_finish puts them together. Any field
 * may be set to a lie before that.
 */
#ifndef HEARTH_TESTS_GGUF_MAKER_H
#define HEARTH_TESTS_GGUF_MAKER_H

#include "base/buf.h"
#include "format/gguf.h"

#include <stdlib.h>
#include <string.h>

struct maker {
    struct buf kvs, infos, data;
    uint32_t version;
    uint64_t n_kv, n_tensors;
    size_t alignment;
};

static inline void maker_init(struct maker *m)
{
    const size_t max = (size_t)1 << 30;
    buf_init(&m->kvs, max);
    buf_init(&m->infos, max);
    buf_init(&m->data, max);
    m->version = 3;
    m->n_kv = m->n_tensors = 0;
    m->alignment = 32;
}

static inline void put_u32(struct buf *b, uint32_t v)
{
    buf_add(b, &v, sizeof(v));
}

static inline void put_u64(struct buf *b, uint64_t v)
{
    buf_add(b, &v, sizeof(v));
}

static inline void put_str(struct buf *b, const char *z)
{
    put_u64(b, strlen(z));
    buf_add_z(b, z);
}

/* The value follows: put_* on m->kvs. */
static inline void maker_key(struct maker *m, const char *key, uint32_t type)
{
    put_str(&m->kvs, key);
    put_u32(&m->kvs, type);
    m->n_kv++;
}

static inline void maker_u32(struct maker *m, const char *key, uint32_t v)
{
    maker_key(m, key, GGUF_U32);
    put_u32(&m->kvs, v);
}

static inline void maker_str(struct maker *m, const char *key, const char *v)
{
    maker_key(m, key, GGUF_STR);
    put_str(&m->kvs, v);
}

/* The elements follow. */
static inline void maker_array(struct maker *m, const char *key, uint32_t elem_type, uint64_t n)
{
    maker_key(m, key, GGUF_ARR);
    put_u32(&m->kvs, elem_type);
    put_u64(&m->kvs, n);
}

/* A description alone. */
static inline void maker_info(struct maker *m, const char *name, uint32_t n_dims,
                              const uint64_t *dim, uint32_t type, uint64_t offset)
{
    put_str(&m->infos, name);
    put_u32(&m->infos, n_dims);
    for (uint32_t i = 0; i < n_dims; i++)
        put_u64(&m->infos, dim[i]);
    put_u32(&m->infos, type);
    put_u64(&m->infos, offset);
    m->n_tensors++;
}

static inline void maker_pad(struct buf *b, size_t alignment)
{
    while (b->len % alignment != 0)
        buf_add_char(b, 0);
}

/* A tensor [n_rows][n_cols] with counting bytes as data. */
static inline void maker_tensor(struct maker *m, const char *name, enum dtype type, uint64_t n_cols,
                                uint64_t n_rows)
{
    uint64_t bytes = 0;
    if (!dtype_row_bytes(type, n_cols * n_rows, &bytes))
        abort();
    maker_pad(&m->data, m->alignment);
    maker_info(m, name, 2, (const uint64_t[]){n_cols, n_rows}, (uint32_t)type, m->data.len);
    for (uint64_t i = 0; i < bytes; i++)
        buf_add_char(&m->data, (char)(i * 7));
}

/* The file, in a heap block of exactly its size; the maker is released. */
static inline uint8_t *maker_finish(struct maker *m, size_t *ret_len)
{
    struct buf f;
    buf_init(&f, (size_t)1 << 31);
    buf_add(&f, "GGUF", 4);
    put_u32(&f, m->version);
    put_u64(&f, m->n_tensors);
    put_u64(&f, m->n_kv);
    buf_add_str(&f, buf_str(&m->kvs));
    buf_add_str(&f, buf_str(&m->infos));
    if (m->data.len > 0)
        maker_pad(&f, m->alignment);
    buf_add_str(&f, buf_str(&m->data));
    uint8_t *bytes = malloc(f.len);
    if (bytes == NULL || f.overflow || m->kvs.overflow || m->infos.overflow || m->data.overflow)
        abort();
    memcpy(bytes, f.ptr, f.len);
    *ret_len = f.len;
    buf_release(&f);
    buf_release(&m->kvs);
    buf_release(&m->infos);
    buf_release(&m->data);
    return bytes;
}

#endif
