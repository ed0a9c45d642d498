/*
 * gguf_write: see gguf_write.h. Owns the layout of a file that is written; must not know what the
 * keys and tensors mean. Invariant after the layout: names are unique, offsets are aligned and do
 * not overlap, every size was formed with checks.
 */
#include "format/gguf_write.h"

#include "base/buf.h"
#include "base/check.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/rng.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define HEAD_BYTES_MAX  ((size_t)4 << 30) /* keys and descriptions; vocabularies take megabytes */
#define NAME_BYTES_MAX  63                /* ggml's tensors carry names of at most 63 bytes */
#define KEY_BYTES_MAX   65535
#define GGUF_VERSION    3
#define IO_BYTES_MAX    ((size_t)1 << 30)   /* of one pwrite; the system itself stops at 2 GiB */
#define FREE_BYTES_KEEP ((int64_t)64 << 20) /* a disk is not filled to its last byte */

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "numbers are written as they lie");

struct placed_tensor {
    char name[NAME_BYTES_MAX + 1];
    enum dtype type;
    int n_dims;
    uint64_t dim[GGUF_N_DIMS_MAX];
    uint64_t n_bytes;
    uint64_t offset; /* from the first tensor's place, later from the start of the file */
};

struct key_name { /* a view into kvs by position: the buffer moves while it grows */
    size_t at, len;
};

struct gguf_writer {
    struct buf kvs;  /* the keys as they will stand in the file */
    struct buf head; /* after the layout: everything up to the first tensor's data */
    struct key_name *key;
    size_t n_key, cap_key;
    struct placed_tensor *tensor;
    size_t n_tensor, cap_tensor;
    uint64_t n_bytes; /* of the file */
    bool laid_out;
    struct err fault; /* the first one */
};

struct gguf_writer *gguf_writer_new(void)
{
    struct gguf_writer *w = mem_zero(1, sizeof(*w));
    buf_init(&w->kvs, HEAD_BYTES_MAX);
    buf_init(&w->head, HEAD_BYTES_MAX);
    return w;
}

void gguf_writer_free(struct gguf_writer *w)
{
    if (w == NULL)
        return;
    buf_release(&w->kvs);
    buf_release(&w->head);
    free(w->key);
    free(w->tensor);
    free(w);
}

__attribute__((format(printf, 3, 4))) static void fault(struct gguf_writer *w, int code,
                                                        const char *fmt, ...)
{
    if (w->fault.code != 0)
        return;
    char text[400];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    err_set(&w->fault, code, "%s", text);
}

/* ---- keys ---- */

static void add(struct buf *b, const void *data, size_t len)
{
    (void)buf_add(b, data, len); /* b->overflow stays set; the layout looks at it */
}

static void add_u32(struct buf *b, uint32_t v)
{
    add(b, &v, sizeof(v));
}

static void add_u64(struct buf *b, uint64_t v)
{
    add(b, &v, sizeof(v));
}

static void add_str(struct buf *b, struct str s)
{
    add_u64(b, s.len);
    add(b, s.ptr, s.len);
}

static void begin(struct gguf_writer *w, struct str key, enum gguf_type type)
{
    CHECK(!w->laid_out);
    if (key.len == 0 || key.len > KEY_BYTES_MAX)
        fault(w, ERR_INVALID, "a key of %zu bytes; a GGUF file takes 1 to %d", key.len,
              KEY_BYTES_MAX);
    if (!mem_grow((void **)&w->key, &w->cap_key, w->n_key + 1, GGUF_N_KV_MAX, sizeof(*w->key))) {
        fault(w, ERR_LIMIT, "more than %d keys for one GGUF file", GGUF_N_KV_MAX);
        return;
    }
    w->key[w->n_key++] = (struct key_name){w->kvs.len + sizeof(uint64_t), key.len};
    add_str(&w->kvs, key);
    add_u32(&w->kvs, (uint32_t)type);
}

void gguf_put_u32(struct gguf_writer *w, const char *key, uint32_t v)
{
    begin(w, str_z(key), GGUF_U32);
    add_u32(&w->kvs, v);
}

void gguf_put_u64(struct gguf_writer *w, const char *key, uint64_t v)
{
    begin(w, str_z(key), GGUF_U64);
    add_u64(&w->kvs, v);
}

void gguf_put_f32(struct gguf_writer *w, const char *key, float v)
{
    begin(w, str_z(key), GGUF_F32);
    add(&w->kvs, &v, sizeof(v));
}

void gguf_put_bool(struct gguf_writer *w, const char *key, bool v)
{
    begin(w, str_z(key), GGUF_BOOL);
    add(&w->kvs, &(uint8_t){v}, 1);
}

void gguf_put_str(struct gguf_writer *w, const char *key, struct str v)
{
    begin(w, str_z(key), GGUF_STR);
    add_str(&w->kvs, v);
}

static size_t number_bytes(enum gguf_type t)
{
    switch (t) {
    case GGUF_U8:
    case GGUF_I8:
    case GGUF_BOOL:
        return 1;
    case GGUF_U16:
    case GGUF_I16:
        return 2;
    case GGUF_U32:
    case GGUF_I32:
    case GGUF_F32:
        return 4;
    case GGUF_U64:
    case GGUF_I64:
    case GGUF_F64:
        return 8;
    default:
        return 0;
    }
}

static void begin_array(struct gguf_writer *w, struct str key, enum gguf_type elem, uint64_t n)
{
    begin(w, key, GGUF_ARR);
    add_u32(&w->kvs, (uint32_t)elem);
    add_u64(&w->kvs, n);
}

void gguf_put_array(struct gguf_writer *w, const char *key, enum gguf_type elem, const void *data,
                    uint64_t n)
{
    size_t bytes;
    CHECK(number_bytes(elem) != 0);
    if (!size_mul(n, number_bytes(elem), &bytes)) {
        fault(w, ERR_LIMIT, "key %s: too many elements", key);
        return;
    }
    begin_array(w, str_z(key), elem, n);
    add(&w->kvs, data, bytes);
}

void gguf_put_strings(struct gguf_writer *w, const char *key, const struct str *v, uint64_t n)
{
    begin_array(w, str_z(key), GGUF_STR, n);
    for (uint64_t i = 0; i < n; i++)
        add_str(&w->kvs, v[i]);
}

void gguf_put_kv(struct gguf_writer *w, const struct gguf_kv *kv)
{
    if (kv->type == GGUF_ARR)
        begin_array(w, kv->key, kv->elem_type, kv->n);
    else
        begin(w, kv->key, kv->type);
    add(&w->kvs, kv->data, (size_t)kv->n_bytes);
}

/* ---- tensors ---- */

void gguf_put_tensor(struct gguf_writer *w, const char *name, enum dtype type, int n_dims,
                     const uint64_t *dim)
{
    CHECK(!w->laid_out && n_dims >= 1 && n_dims <= GGUF_N_DIMS_MAX);
    if (!mem_grow((void **)&w->tensor, &w->cap_tensor, w->n_tensor + 1, GGUF_N_TENSORS_MAX,
                  sizeof(*w->tensor))) {
        fault(w, ERR_LIMIT, "more than %d tensors for one GGUF file", GGUF_N_TENSORS_MAX);
        return;
    }
    struct placed_tensor *t = &w->tensor[w->n_tensor++];
    *t = (struct placed_tensor){.type = type, .n_dims = n_dims};
    size_t len = strlen(name);
    if (len == 0 || len > NAME_BYTES_MAX)
        fault(w, ERR_INVALID, "tensor name '%.80s' has %zu bytes; a GGUF file takes 1 to %d", name,
              len, NAME_BYTES_MAX);
    memcpy(t->name, name, len > NAME_BYTES_MAX ? NAME_BYTES_MAX : len);
    uint64_t n_rows = 1, row_bytes;
    for (int i = 0; i < n_dims; i++) {
        t->dim[i] = dim[i];
        if (dim[i] == 0 || (i > 0 && __builtin_mul_overflow(n_rows, dim[i], &n_rows)))
            fault(w, ERR_INVALID, "tensor %s: a dimension is 0, or there are too many elements",
                  t->name);
    }
    if (!dtype_row_bytes(type, dim[0], &row_bytes) ||
        __builtin_mul_overflow(n_rows, row_bytes, &t->n_bytes))
        fault(w, ERR_INVALID, "tensor %s: rows of %llu elements cannot be stored as %s", t->name,
              (unsigned long long)dim[0], dtype_name(type));
}

/* ---- layout ---- */

static uint64_t aligned(uint64_t n) /* n < 2^63 */
{
    return (n + GGUF_WRITE_ALIGNMENT - 1) & ~(uint64_t)(GGUF_WRITE_ALIGNMENT - 1);
}

static int by_text(const void *a, const void *b)
{
    return str_cmp(*(const struct str *)a, *(const struct str *)b);
}

/* what: "key" or "tensor". Takes the array. */
static void check_unique(struct gguf_writer *w, const char *what, struct str *name, size_t n)
{
    if (name == NULL && n > 0) {
        fault(w, ERR_NOMEM, "no memory to lay out a GGUF file");
        return;
    }
    if (n > 0)
        qsort(name, n, sizeof(*name), by_text);
    for (size_t i = 1; i < n; i++)
        if (str_eq(name[i - 1], name[i]))
            fault(w, ERR_INVALID, "%s %.*s twice in one GGUF file", what, STR_ARG(name[i]));
    free(name);
}

static void check_names(struct gguf_writer *w)
{
    struct str *key = mem_try_array(w->n_key, sizeof(*key));
    for (size_t i = 0; key != NULL && i < w->n_key; i++)
        key[i] = (struct str){w->kvs.ptr + w->key[i].at, w->key[i].len};
    check_unique(w, "key", key, w->n_key);
    struct str *name = mem_try_array(w->n_tensor, sizeof(*name));
    for (size_t i = 0; name != NULL && i < w->n_tensor; i++)
        name[i] = str_z(w->tensor[i].name);
    check_unique(w, "tensor", name, w->n_tensor);
}

static void place(struct gguf_writer *w)
{
    uint64_t at = 0;
    for (size_t i = 0; i < w->n_tensor; i++) {
        struct placed_tensor *t = &w->tensor[i];
        t->offset = at;
        if (t->n_bytes > INT64_MAX / 2 - at) {
            fault(w, ERR_LIMIT, "tensor %s: the file would be too large to address", t->name);
            return;
        }
        at = aligned(at + t->n_bytes); /* the last one is padded too, as ggml does */
    }
    w->n_bytes = at;
}

static void write_head(struct gguf_writer *w)
{
    struct buf *b = &w->head;
    add(b, "GGUF", 4);
    add_u32(b, GGUF_VERSION);
    add_u64(b, w->n_tensor);
    add_u64(b, w->n_key);
    add(b, w->kvs.ptr, w->kvs.len);
    for (size_t i = 0; i < w->n_tensor; i++) {
        const struct placed_tensor *t = &w->tensor[i];
        add_str(b, str_z(t->name));
        add_u32(b, (uint32_t)t->n_dims);
        for (int k = 0; k < t->n_dims; k++)
            add_u64(b, t->dim[k]);
        add_u32(b, (uint32_t)t->type);
        add_u64(b, t->offset);
    }
    static const char zeros[GGUF_WRITE_ALIGNMENT];
    add(b, zeros, (size_t)(aligned(b->len) - b->len));
}

int gguf_writer_layout(struct gguf_writer *w, struct err *err)
{
    CHECK(!w->laid_out);
    if (w->fault.code == 0 && w->kvs.overflow)
        fault(w, ERR_NOMEM, "no memory for the keys of a GGUF file");
    if (w->fault.code == 0)
        check_names(w);
    if (w->fault.code == 0)
        place(w);
    if (w->fault.code == 0) {
        write_head(w);
        if (w->head.overflow)
            fault(w, ERR_NOMEM, "no memory for the head of a GGUF file");
    }
    if (w->fault.code != 0) {
        if (err != NULL)
            *err = w->fault;
        return w->fault.code;
    }
    for (size_t i = 0; i < w->n_tensor; i++)
        w->tensor[i].offset += w->head.len;
    w->n_bytes += w->head.len;
    buf_release(&w->kvs);
    w->laid_out = true;
    return 0;
}

size_t gguf_writer_n_tensors(const struct gguf_writer *w)
{
    return w->n_tensor;
}

uint64_t gguf_writer_tensor_bytes(const struct gguf_writer *w, size_t i_tensor)
{
    CHECK(w->laid_out && i_tensor < w->n_tensor);
    return w->tensor[i_tensor].n_bytes;
}

uint64_t gguf_writer_file_bytes(const struct gguf_writer *w)
{
    CHECK(w->laid_out);
    return w->n_bytes;
}

/* ---- the file ---- */

struct gguf_out {
    const struct gguf_writer *w;
    char *path, *temp;
    int fd;
    bool is_nameless; /* fd is somebody else's, who names the file, or does away with it */
};

static int write_at(struct gguf_out *out, uint64_t at, const void *data, size_t len,
                    struct err *err)
{
    const char *p = data;
    while (len > 0) {
        ssize_t n = pwrite(out->fd, p, len < IO_BYTES_MAX ? len : IO_BYTES_MAX, (off_t)at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return err_set_errno(err, n < 0 ? errno : EIO, "cannot write %s", out->temp);
        p += n;
        at += (uint64_t)n;
        len -= (size_t)n;
    }
    return 0;
}

static int no_room(const char *path, uint64_t need, int64_t free_bytes, struct err *err)
{
    return err_set(err, ERR_LIMIT,
                   "%s needs %.1f GB, and its disk has %.1f GB left: free some, or choose another "
                   "place",
                   path, (double)need * 1e-9, (double)free_bytes * 1e-9);
}

/* The blocks are taken now, so that a full disk shows before the work, not after. */
static int reserve(struct gguf_out *out, struct err *err)
{
    uint64_t need = out->w->n_bytes;
    int rc;
    do
        rc = fallocate(out->fd, 0, 0, (off_t)need);
    while (rc != 0 && errno == EINTR);
    if (rc == 0)
        return 0;
    if ((errno == ENOSPC || errno == EDQUOT) && !out->is_nameless)
        return no_room(out->path, need, fs_free_bytes(out->path), err);
    if (errno == ENOSPC || errno == EDQUOT)
        return err_set(err, ERR_LIMIT, "the disk has not the %.1f GB that the file needs",
                       (double)need * 1e-9);
    if (ftruncate(out->fd, (off_t)need) != 0) /* a file system that cannot reserve */
        return err_set_errno(err, errno, "cannot write %s", out->temp);
    return 0;
}

/* Takes out, whatever happens. */
static int begin_file(struct gguf_out *out, struct gguf_out **ret, struct err *err)
{
    int rc = reserve(out, err);
    if (rc == 0)
        rc = write_at(out, 0, out->w->head.ptr, out->w->head.len, err);
    if (rc == 0)
        *ret = out;
    else
        gguf_out_abort(out);
    return rc;
}

int gguf_out_open(const struct gguf_writer *w, const char *path, struct gguf_out **ret,
                  struct err *err)
{
    CHECK(w->laid_out);
    int64_t free_bytes = fs_free_bytes(path);
    if (free_bytes >= 0 && w->n_bytes > (uint64_t)INT64_MAX - (uint64_t)FREE_BYTES_KEEP)
        return no_room(path, w->n_bytes, free_bytes, err);
    if (free_bytes >= 0 && free_bytes < (int64_t)w->n_bytes + FREE_BYTES_KEEP)
        return no_room(path, w->n_bytes, free_bytes, err);
    uint64_t nonce;
    rng_system(&nonce, sizeof(nonce));
    struct gguf_out *out = mem_zero(1, sizeof(*out));
    out->w = w;
    out->path = str_dup(str_z(path));
    size_t len = strlen(path) + 18;
    out->temp = mem_alloc(len);
    snprintf(out->temp, len, "%s.%016llx", path, (unsigned long long)nonce);
    out->fd = open(out->temp, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (out->fd < 0) {
        int rc = err_set_errno(err, errno, "cannot create %s", out->temp);
        gguf_out_abort(out);
        return rc;
    }
    return begin_file(out, ret, err);
}

int gguf_out_open_fd(const struct gguf_writer *w, int fd, uint64_t bytes_max, struct gguf_out **ret,
                     struct err *err)
{
    CHECK(w->laid_out);
    if (w->n_bytes > bytes_max)
        return err_set(err, ERR_LIMIT,
                       "the file would have %.1f GB, and there is room for %.1f GB: free some",
                       (double)w->n_bytes * 1e-9, (double)bytes_max * 1e-9);
    struct gguf_out *out = mem_zero(1, sizeof(*out));
    *out = (struct gguf_out){.w = w, .fd = fd, .is_nameless = true};
    out->path = str_dup(STR("the new file"));
    out->temp = str_dup(STR("the new file"));
    return begin_file(out, ret, err);
}

int gguf_out_write(struct gguf_out *out, size_t i_tensor, uint64_t at, const void *data, size_t len,
                   struct err *err)
{
    CHECK(i_tensor < out->w->n_tensor);
    const struct placed_tensor *t = &out->w->tensor[i_tensor];
    CHECK(at <= t->n_bytes && len <= t->n_bytes - at);
    return write_at(out, t->offset + at, data, len, err);
}

static void out_free(struct gguf_out *out)
{
    if (out->fd >= 0 && !out->is_nameless)
        close(out->fd);
    free(out->path);
    free(out->temp);
    free(out);
}

int gguf_out_sync(struct gguf_out *out, struct err *err)
{
    return fsync(out->fd) == 0 ? 0 : err_set_errno(err, errno, "cannot write %s", out->path);
}

int gguf_out_commit(struct gguf_out *out, bool replace, struct err *err)
{
    int rc = gguf_out_sync(out, err);
    if (rc == 0 && !replace && access(out->path, F_OK) == 0)
        rc = err_set(err, ERR_EXISTS, "%s is there already", out->path);
    if (rc == 0 && rename(out->temp, out->path) != 0)
        rc = err_set_errno(err, errno, "cannot write %s", out->path);
    if (rc != 0) {
        gguf_out_abort(out);
        return rc;
    }
    out_free(out);
    return 0;
}

void gguf_out_abort(struct gguf_out *out)
{
    if (out == NULL)
        return;
    if (out->fd >= 0 && !out->is_nameless)
        unlink(out->temp);
    out_free(out);
}
