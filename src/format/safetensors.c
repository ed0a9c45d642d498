/*
 * safetensors: see the header.
 */
#include "format/safetensors.h"

#include "base/json.h"
#include "base/mem.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define HEAD_BYTES_MAX (100u << 20) /* the format's own bound */
#define TENSORS_MAX    (1u << 20)
#define DEPTH          4

struct safetensors {
    json_t *head; /* names live in it */
    struct safetensor *tensor;
    size_t n, cap;
    void *mapped;
    size_t mapped_len;
};

static const struct {
    const char *name;
    bool is_real;
    enum dtype type;
    unsigned bytes;
} types[] = {
    {"F32", true, DTYPE_F32, 4}, {"F16", true, DTYPE_F16, 2}, {"BF16", true, DTYPE_BF16, 2},
    {"F64", false, 0, 8},        {"I64", false, 0, 8},        {"I32", false, 0, 4},
    {"I16", false, 0, 2},        {"I8", false, 0, 1},         {"U8", false, 0, 1},
    {"U16", false, 0, 2},        {"U32", false, 0, 4},        {"U64", false, 0, 8},
    {"BOOL", false, 0, 1},       {"F8_E4M3", false, 0, 1},    {"F8_E5M2", false, 0, 1},
};

static int corrupt(const char *name, const char *what, struct err *err)
{
    return err_set(err, ERR_CORRUPT, "safetensors: tensor '%.200s': %s", name, what);
}

static int read_shape(const char *name, const json_t *shape, struct safetensor *t, struct err *err)
{
    size_t n = json_array_size(shape);
    if (!json_is_array(shape) || n > SAFETENSORS_DIMS_MAX)
        return corrupt(name, "its shape is no list of at most 4 numbers", err);
    t->n_dims = (int)n;
    t->n_elems = 1;
    for (size_t i = 0; i < n; i++) {
        const json_t *v = json_array_get(shape, i);
        if (!json_is_integer(v) || json_integer_value(v) < 0)
            return corrupt(name, "its shape holds what is no length", err);
        t->dim[i] = (uint64_t)json_integer_value(v);
        if (__builtin_mul_overflow(t->n_elems, t->dim[i], &t->n_elems))
            return corrupt(name, "it is too large", err);
    }
    return 0;
}

static int read_tensor(const char *name, const json_t *v, const uint8_t *data, uint64_t len,
                       struct safetensor *t, struct err *err)
{
    const json_t *at = json_object_get(v, "data_offsets");
    struct str type = json_str(json_object_get(v, "dtype"));
    size_t i = 0;
    *t = (struct safetensor){.name = name};
    while (i < ARRAY_LEN(types) && !str_eq_z(type, types[i].name))
        i++;
    if (!json_is_object(v) || i == ARRAY_LEN(types))
        return corrupt(name, "its type is not known", err);
    t->is_real = types[i].is_real;
    t->type = types[i].type;
    int rc = read_shape(name, json_object_get(v, "shape"), t, err);
    if (rc != 0)
        return rc;
    json_int_t from = json_integer_value(json_array_get(at, 0));
    json_int_t to = json_integer_value(json_array_get(at, 1));
    if (json_array_size(at) != 2 || from < 0 || to < from || (uint64_t)to > len)
        return corrupt(name, "it does not lie within the file", err);
    uint64_t bytes;
    if (__builtin_mul_overflow(t->n_elems, (uint64_t)types[i].bytes, &bytes) ||
        bytes != (uint64_t)(to - from))
        return corrupt(name, "its length is not that of its shape", err);
    t->n_bytes = bytes;
    t->data = data + from;
    return 0;
}

static int read_head(struct safetensors *s, const uint8_t *bytes, size_t len, struct err *err)
{
    uint64_t n_head = 0;
    if (len >= sizeof(n_head))
        memcpy(&n_head, bytes, sizeof(n_head));
    n_head = le64toh(n_head);
    if (len < sizeof(n_head) || n_head > HEAD_BYTES_MAX || n_head > len - sizeof(n_head))
        return err_set(err, ERR_CORRUPT, "this is no safetensors file, or a part of one");
    s->head =
        json_parse((struct str){(const char *)bytes + sizeof(n_head), (size_t)n_head}, DEPTH, err);
    if (s->head == NULL)
        return err_wrap(err, "safetensors");
    if (!json_is_object(s->head))
        return err_set(err, ERR_CORRUPT, "safetensors: the list of tensors is no object");
    const uint8_t *data = bytes + sizeof(n_head) + n_head;
    const char *name;
    json_t *v;
    int rc = 0;
    json_object_foreach(s->head, name, v)
    {
        if (strcmp(name, "__metadata__") == 0)
            continue;
        if (!mem_grow((void **)&s->tensor, &s->cap, s->n + 1, TENSORS_MAX, sizeof(*s->tensor)))
            return err_set(err, ERR_LIMIT, "safetensors: more than %u tensors", TENSORS_MAX);
        rc = read_tensor(name, v, data, len - sizeof(n_head) - n_head, &s->tensor[s->n++], err);
        if (rc != 0)
            return rc;
    }
    return 0;
}

static int by_place(const void *a, const void *b)
{
    const struct safetensor *x = a, *y = b;
    if (x->data != y->data)
        return x->data < y->data ? -1 : 1;
    return x->n_bytes < y->n_bytes ? -1 : x->n_bytes > y->n_bytes; /* empty ones first */
}

/* Each byte is one tensor's: a small file cannot stand for a large model. */
static int check_overlap(struct safetensors *s, struct err *err)
{
    if (s->n > 0)
        qsort(s->tensor, s->n, sizeof(*s->tensor), by_place);
    for (size_t i = 1; i < s->n; i++) {
        const struct safetensor *before = &s->tensor[i - 1];
        if (before->data + before->n_bytes > s->tensor[i].data)
            return corrupt(s->tensor[i].name, "it shares bytes with another one", err);
    }
    return 0;
}

int safetensors_open_memory(const void *data, size_t len, struct safetensors **ret, struct err *err)
{
    struct safetensors *s = mem_zero(1, sizeof(*s));
    int rc = read_head(s, data, len, err);
    rc = rc != 0 ? rc : check_overlap(s, err);
    if (rc != 0)
        safetensors_free(s);
    else
        *ret = s;
    return rc;
}

int safetensors_open(const char *path, struct safetensors **ret, struct err *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) != 0) {
        int rc = err_set_errno(err, errno, "cannot open %s", path);
        if (fd >= 0)
            close(fd);
        return rc;
    }
    size_t len = S_ISREG(st.st_mode) && st.st_size > 0 ? (size_t)st.st_size : 0;
    void *map = len > 0 ? mmap(NULL, len, PROT_READ, MAP_PRIVATE, fd, 0) : MAP_FAILED;
    close(fd);
    if (map == MAP_FAILED)
        return err_set(err, ERR_CORRUPT, "%s is empty, or cannot be mapped", path);
    int rc = safetensors_open_memory(map, len, ret, err);
    if (rc != 0) {
        munmap(map, len);
        return err_wrap(err, "%s", path);
    }
    (*ret)->mapped = map;
    (*ret)->mapped_len = len;
    return 0;
}

void safetensors_free(struct safetensors *s)
{
    if (s == NULL)
        return;
    if (s->mapped != NULL)
        munmap(s->mapped, s->mapped_len);
    json_decref(s->head);
    free(s->tensor);
    free(s);
}

size_t safetensors_n(const struct safetensors *s)
{
    return s->n;
}

const struct safetensor *safetensors_at(const struct safetensors *s, size_t i)
{
    return &s->tensor[i];
}

const struct safetensor *safetensors_find(const struct safetensors *s, const char *name)
{
    for (size_t i = 0; i < s->n; i++)
        if (strcmp(s->tensor[i].name, name) == 0)
            return &s->tensor[i];
    return NULL;
}
