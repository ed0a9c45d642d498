/*
 * gguf_parse: owns the reading of one GGUF file: header, metadata, tensor descriptions. Must not
 * know files, splits or what the keys mean (but for general.alignment).
 *
 * Every byte is untrusted. All reading goes through take(), which refuses to pass the end. Nothing
 * is allocated for a count before the file has shown that it can hold that many: arrays of keys and
 * tensors grow as they are read, strings are walked before their views are allocated. Time is
 * linear in the bytes of the header, sorting apart.
 */
#include "format/gguf_file.h"

#include "base/mem.h"

#include <endian.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KEY_BYTES_MAX         65535 /* by the specification */
#define TENSOR_NAME_BYTES_MAX 64    /* by the specification */
#define ALIGNMENT_DEFAULT     32
#define ALIGNMENT_MAX         (1 << 20)
#define ARRAY_DEPTH_MAX       4               /* arrays in arrays; nobody is known to write them */
#define KV_BYTES_MIN          (8 + 1 + 4 + 1) /* length, name, type, value */
#define TENSOR_BYTES_MIN      (8 + 1 + 4 + 8 + 4 + 8) /* length, name, n_dims, dim, type, offset */

_Static_assert(sizeof(size_t) == 8, "file sizes are size_t here");

/* Where we are. `what` is the thing being read, for messages: "key 'a.b'", "tensor 3 of 7". */
struct parse {
    struct gguf *g;
    struct gguf_part *part;
    int i_part;
    size_t pos;
    uint64_t n_kv;      /* claimed */
    uint64_t n_tensors; /* claimed */
    uint64_t n_strings; /* in arrays, so far */
    uint64_t alignment;
    char what[112];
    struct gguf_label name; /* of the key or tensor; "" in the header */
    struct err *err;
};

static void failv(struct parse *p, int code, const char *fmt, va_list ap)
    __attribute__((format(printf, 3, 0)));
static int fail(struct parse *p, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static int fail_unsupported(struct parse *p, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

static void failv(struct parse *p, int code, const char *fmt, va_list ap)
{
    char text[400];
    vsnprintf(text, sizeof(text), fmt, ap);
    err_set_param(p->err, code, p->name.z, "%s%s%s", p->what, p->what[0] != 0 ? ": " : "", text);
    if (p->g->n_parts > 1)
        err_wrap(p->err, "part %d of %d", p->i_part + 1, p->g->n_parts);
}

static int fail(struct parse *p, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    failv(p, ERR_CORRUPT, fmt, ap);
    va_end(ap);
    return ERR_CORRUPT;
}

static int fail_unsupported(struct parse *p, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    failv(p, ERR_UNSUPPORTED, fmt, ap);
    va_end(ap);
    return ERR_UNSUPPORTED;
}

static int fail_nomem(struct parse *p)
{
    return err_set_param(p->err, ERR_NOMEM, p->name.z, "%s: out of memory", p->what);
}

/* Says what is being read from now on. */
static void enter(struct parse *p, const char *kind, struct str name)
{
    p->name = gguf_label(name);
    snprintf(p->what, sizeof(p->what), "%s '%s'", kind, p->name.z);
}

static void enter_nth(struct parse *p, const char *kind, uint64_t i, uint64_t n)
{
    p->name.z[0] = 0;
    snprintf(p->what, sizeof(p->what), "%s %" PRIu64 " of %" PRIu64, kind, i + 1, n);
}

static size_t bytes_left(const struct parse *p)
{
    return p->part->len - p->pos;
}

/* The next n bytes, borrowed; NULL (and ERR_CORRUPT is set) when the file has no more so many. */
static const uint8_t *take(struct parse *p, uint64_t n)
{
    if (n > bytes_left(p)) {
        fail(p,
             "truncated or damaged: %" PRIu64 " bytes are needed at offset %zu, but the file ends "
             "at %zu",
             n, p->pos, p->part->len);
        return NULL;
    }
    const uint8_t *bytes = p->part->base + p->pos;
    p->pos += n;
    return bytes;
}

static int take_u32(struct parse *p, uint32_t *ret)
{
    const uint8_t *b = take(p, sizeof(*ret));
    if (b == NULL)
        return ERR_CORRUPT;
    memcpy(ret, b, sizeof(*ret));
    *ret = le32toh(*ret);
    return 0;
}

static int take_u64(struct parse *p, uint64_t *ret)
{
    const uint8_t *b = take(p, sizeof(*ret));
    if (b == NULL)
        return ERR_CORRUPT;
    memcpy(ret, b, sizeof(*ret));
    *ret = le64toh(*ret);
    return 0;
}

static int take_str(struct parse *p, struct str *ret)
{
    uint64_t len;
    int rc = take_u64(p, &len);
    if (rc != 0)
        return rc;
    const uint8_t *b = take(p, len);
    if (b == NULL)
        return ERR_CORRUPT;
    *ret = (struct str){(const char *)b, len};
    return 0;
}

/* Names must be fit for messages, C strings and lists on a terminal. */
static int take_name(struct parse *p, size_t bytes_max, bool ascii_only, struct str *ret)
{
    int rc = take_str(p, ret);
    if (rc != 0)
        return rc;
    if (ret->len == 0)
        return fail(p, "its name is empty");
    if (ret->len > bytes_max)
        return fail(p, "its name has %zu bytes; at most %zu are allowed", ret->len, bytes_max);
    for (size_t i = 0; i < ret->len; i++) {
        unsigned char c = (unsigned char)ret->ptr[i];
        if (c < 0x20 || c == 0x7f || (ascii_only && c > 0x7f))
            return fail(p, "its name '%s' has a byte that is not allowed (0x%02x)",
                        gguf_label(*ret).z, c);
    }
    return 0;
}

/* Bytes of a value of fixed size; 0 for strings, arrays and unknown types. */
static unsigned fixed_bytes(uint32_t type)
{
    static const uint8_t bytes[] = {
        [GGUF_U8] = 1,  [GGUF_I8] = 1,  [GGUF_U16] = 2, [GGUF_I16] = 2,
        [GGUF_U32] = 4, [GGUF_I32] = 4, [GGUF_F32] = 4, [GGUF_BOOL] = 1,
        [GGUF_U64] = 8, [GGUF_I64] = 8, [GGUF_F64] = 8,
    };
    return type < ARRAY_LEN(bytes) ? bytes[type] : 0;
}

static int take_fixed(struct parse *p, uint32_t type, uint64_t n)
{
    uint64_t bytes;
    if (__builtin_mul_overflow(n, (uint64_t)fixed_bytes(type), &bytes))
        return fail(p, "its %" PRIu64 " elements cannot fit in any file", n);
    const uint8_t *b = take(p, bytes);
    if (b == NULL)
        return ERR_CORRUPT;
    for (uint64_t i = 0; type == GGUF_BOOL && i < n; i++)
        if (b[i] > 1)
            return fail(p, "a bool must be 0 or 1, not %u", b[i]);
    return 0;
}

static int take_array_head(struct parse *p, uint32_t *ret_type, uint64_t *ret_n)
{
    int rc = take_u32(p, ret_type);
    if (rc == 0)
        rc = take_u64(p, ret_n);
    if (rc != 0)
        return rc;
    if (*ret_type > GGUF_F64)
        return fail(p, "has array elements of unknown type %" PRIu32, *ret_type);
    unsigned bytes = fixed_bytes(*ret_type);
    unsigned bytes_min = bytes != 0 ? bytes : 8; /* a string's length; more for an array */
    if (*ret_n > bytes_left(p) / bytes_min)
        return fail(p,
                    "claims an array of %" PRIu64 " elements, but only %zu bytes are left in the "
                    "file",
                    *ret_n, bytes_left(p));
    return 0;
}

/* Walks over n elements. */
static int walk_elems(struct parse *p, uint32_t type, uint64_t n, int depth)
{
    if (fixed_bytes(type) != 0)
        return take_fixed(p, type, n);
    int rc = 0;
    if (type == GGUF_STR) {
        struct str s;
        for (uint64_t i = 0; rc == 0 && i < n; i++)
            rc = take_str(p, &s);
        return rc;
    }
    if (depth == ARRAY_DEPTH_MAX)
        return fail(p, "has arrays nested deeper than %d", ARRAY_DEPTH_MAX);
    for (uint64_t i = 0; rc == 0 && i < n; i++) {
        uint32_t inner_type;
        uint64_t inner_n;
        rc = take_array_head(p, &inner_type, &inner_n);
        if (rc == 0)
            rc = walk_elems(p, inner_type, inner_n, depth + 1);
    }
    return rc;
}

/* Views of the n strings at data, which were walked before. Checked again all the same: the file
 * may be written to by somebody else while it is mapped. */
static int view_strings(struct parse *p, struct gguf_kv *kv)
{
    p->n_strings += kv->n;
    if (p->n_strings > GGUF_N_STRINGS_MAX)
        return fail(p, "the file has more than %d strings", GGUF_N_STRINGS_MAX);
    kv->strings = mem_try_array(kv->n, sizeof(*kv->strings));
    if (kv->strings == NULL)
        return fail_nomem(p);
    const uint8_t *b = kv->data, *end = p->part->base + p->pos;
    for (uint64_t i = 0; i < kv->n; i++) {
        uint64_t len, left = (uint64_t)(end - b);
        if (left < sizeof(len))
            return fail(p, "the file changed while it was read");
        memcpy(&len, b, sizeof(len));
        len = le64toh(len);
        if (len > left - sizeof(len))
            return fail(p, "the file changed while it was read");
        kv->strings[i] = (struct str){(const char *)b + sizeof(len), len};
        b += sizeof(len) + len;
    }
    return 0;
}

static int parse_value(struct parse *p, struct gguf_kv *kv)
{
    uint32_t type, elem_type;
    int rc = take_u32(p, &type);
    if (rc != 0)
        return rc;
    if (type > GGUF_F64)
        return fail(p, "has the unknown value type %" PRIu32, type);
    kv->type = (enum gguf_type)type;
    elem_type = type;
    kv->n = 1;
    if (type == GGUF_ARR && (rc = take_array_head(p, &elem_type, &kv->n)) != 0)
        return rc;
    kv->elem_type = (enum gguf_type)elem_type;
    kv->data = p->part->base + p->pos;
    rc = walk_elems(p, elem_type, kv->n, 1);
    if (rc != 0)
        return rc;
    kv->n_bytes = (uint64_t)(p->part->base + p->pos - kv->data);
    return elem_type == GGUF_STR && kv->n > 0 ? view_strings(p, kv) : 0;
}

static int parse_kvs(struct parse *p)
{
    struct gguf_kv_list *list = &p->part->kvs;
    for (uint64_t i = 0; i < p->n_kv; i++) {
        enter_nth(p, "key", i, p->n_kv);
        if (!mem_grow((void **)&list->kv, &list->cap, list->n + 1, GGUF_N_KV_MAX,
                      sizeof(*list->kv)))
            return fail_nomem(p);
        struct gguf_kv *kv = &list->kv[list->n];
        memset(kv, 0, sizeof(*kv));
        int rc = take_name(p, KEY_BYTES_MAX, true, &kv->key);
        if (rc != 0)
            return rc;
        enter(p, "key", kv->key);
        list->n++; /* from here on the list frees kv->strings */
        rc = parse_value(p, kv);
        if (rc != 0)
            return rc;
    }
    size_t twice;
    p->what[0] = p->name.z[0] = 0;
    int rc = gguf_kv_list_index(list, &twice, p->err);
    if (rc == 0 && twice != SIZE_MAX) {
        enter(p, "key", list->kv[twice].key);
        rc = fail(p, "appears twice");
    }
    return rc;
}

/* Words for type numbers that exist elsewhere but not here. */
static const char *foreign_type_name(uint32_t type)
{
    switch (type) {
    case 4:
        return "Q4_2, removed from the format";
    case 5:
        return "Q4_3, removed from the format";
    case 9:
        return "Q8_1, not a type for files";
    case 15:
        return "Q8_K, not a type for files";
    case 31:
    case 32:
    case 33:
        return "an interleaved Q4_0, removed from the format: use the plain Q4_0 file";
    case 36:
    case 37:
    case 38:
        return "an interleaved IQ4_NL, removed from the format: use the plain IQ4_NL file";
    case 40:
        return "NVFP4";
    case 41:
        return "Q1_0";
    default:
        return "unknown";
    }
}

/* Fills in n_elems and n_bytes from the shape and the type. */
static int measure_tensor(struct parse *p, struct gguf_tensor *t, uint32_t type)
{
    const struct dtype_info *info = dtype_info(type);
    if (info == NULL)
        return fail_unsupported(p, "its type %" PRIu32 " is not supported (%s)", type,
                                foreign_type_name(type));
    t->type = (enum dtype)type;
    if (t->dim[0] % (uint64_t)info->block_elems != 0)
        return fail(p, "its rows have %" PRIu64 " elements, not a multiple of %d as %s needs",
                    t->dim[0], info->block_elems, info->name);
    t->n_elems = 1;
    for (int i = 0; i < GGUF_N_DIMS_MAX; i++)
        if (__builtin_mul_overflow(t->n_elems, t->dim[i], &t->n_elems) || t->n_elems > INT64_MAX)
            return fail(p, "its shape has more elements than can be counted");
    if (!dtype_row_bytes(t->type, t->n_elems, &t->n_bytes))
        return fail(p, "its size in bytes overflows");
    return 0;
}

static int parse_tensor(struct parse *p, struct gguf_tensor *t)
{
    int rc = take_name(p, TENSOR_NAME_BYTES_MAX, false, &t->name);
    if (rc != 0)
        return rc;
    enter(p, "tensor", t->name);
    uint32_t n_dims, type;
    rc = take_u32(p, &n_dims);
    if (rc != 0)
        return rc;
    if (n_dims < 1 || n_dims > GGUF_N_DIMS_MAX)
        return fail(p, "has %" PRIu32 " dimensions; 1 to %d are allowed", n_dims, GGUF_N_DIMS_MAX);
    t->n_dims = (int)n_dims;
    for (int i = 0; i < GGUF_N_DIMS_MAX; i++) {
        t->dim[i] = 1;
        if (i >= t->n_dims)
            continue;
        rc = take_u64(p, &t->dim[i]);
        if (rc != 0)
            return rc;
        if (t->dim[i] == 0)
            return fail(p, "dimension %d is zero", i);
    }
    rc = take_u32(p, &type);
    if (rc == 0)
        rc = take_u64(p, &t->offset);
    if (rc == 0)
        rc = measure_tensor(p, t, type);
    if (rc == 0 && t->offset % p->alignment != 0)
        rc = fail(p, "its offset %" PRIu64 " is not a multiple of the alignment %" PRIu64,
                  t->offset, p->alignment);
    return rc;
}

static int parse_alignment(struct parse *p)
{
    const struct gguf_kv *kv = gguf_kv_list_find(&p->part->kvs, STR("general.alignment"));
    p->alignment = ALIGNMENT_DEFAULT;
    if (kv == NULL)
        return 0;
    enter(p, "key", kv->key);
    struct err why;
    if (gguf_kv_u64(kv, 8, ALIGNMENT_MAX, &p->alignment, &why) != 0 ||
        (p->alignment & (p->alignment - 1)) != 0)
        return fail(p, "must be a power of two from 8 to %d", ALIGNMENT_MAX);
    return 0;
}

static int by_offset(const void *a, const void *b)
{
    const struct gguf_tensor *const *x = a, *const *y = b;
    return ((*x)->offset > (*y)->offset) - ((*x)->offset < (*y)->offset);
}

static int check_overlap(struct parse *p, size_t i_first)
{
    size_t n = p->g->n_tensors - i_first;
    const struct gguf_tensor **order = mem_try_array(n, sizeof(const struct gguf_tensor *));
    if (order == NULL)
        return fail_nomem(p);
    for (size_t i = 0; i < n; i++)
        order[i] = &p->g->tensor[i_first + i];
    qsort(order, n, sizeof(const struct gguf_tensor *), by_offset);
    int rc = 0;
    for (size_t i = 1; i < n && rc == 0; i++) {
        const struct gguf_tensor *a = order[i - 1], *b = order[i];
        if (a->offset + a->n_bytes <= b->offset)
            continue;
        enter(p, "tensor", b->name);
        rc = fail(p, "its data at offset %" PRIu64 " overlaps that of tensor '%s'", b->offset,
                  gguf_label(a->name).z);
    }
    free(order);
    return rc;
}

/* Turns offsets into places in the file; p->pos stands after the last description. */
static int place_tensors(struct parse *p, size_t i_first)
{
    uint64_t start = (p->pos + p->alignment - 1) & ~(p->alignment - 1);
    for (size_t i = i_first; i < p->g->n_tensors; i++) {
        struct gguf_tensor *t = &p->g->tensor[i];
        uint64_t end;
        enter(p, "tensor", t->name);
        if (__builtin_add_overflow(t->offset, start, &t->offset) ||
            __builtin_add_overflow(t->offset, t->n_bytes, &end))
            return fail(p, "its offset overflows");
        if (end > p->part->len)
            return fail(p,
                        "its data (%" PRIu64 " bytes at offset %" PRIu64 ") runs past the end of "
                        "the file at %zu: truncated or damaged",
                        t->n_bytes, t->offset, p->part->len);
        t->data = p->part->base + t->offset;
    }
    return p->g->n_tensors > i_first ? check_overlap(p, i_first) : 0;
}

static int parse_tensors(struct parse *p)
{
    struct gguf *g = p->g;
    size_t i_first = g->n_tensors;
    for (uint64_t i = 0; i < p->n_tensors; i++) {
        enter_nth(p, "tensor", i, p->n_tensors);
        if (g->n_tensors >= GGUF_N_TENSORS_MAX)
            return fail(p, "more than %d tensors", GGUF_N_TENSORS_MAX);
        if (!mem_grow((void **)&g->tensor, &g->tensor_cap, g->n_tensors + 1, GGUF_N_TENSORS_MAX,
                      sizeof(*g->tensor)))
            return fail_nomem(p);
        struct gguf_tensor *t = &g->tensor[g->n_tensors];
        memset(t, 0, sizeof(*t));
        t->i_split = p->i_part;
        int rc = parse_tensor(p, t);
        if (rc != 0)
            return rc;
        g->n_tensors++;
    }
    return place_tensors(p, i_first);
}

/* What people give instead of a GGUF file, and what to do. */
static int fail_not_gguf(struct parse *p)
{
    static const struct {
        const char *begin;
        size_t at;
        const char *text;
    } known[] = {
        {"version https://git-lfs", 0,
         "is a Git LFS pointer, not the model: download the file "
         "that it points to"},
        {"<", 0, "is a web page, not a model: the download went wrong"},
        {"PK\x03\x04", 0, "is a zip or PyTorch file: convert the model to GGUF"},
        {"{", 8, "is a safetensors file: convert the model to GGUF"},
        {"lmgg", 0, "is in the old GGML format: convert the model to GGUF"},
        {"fmgg", 0, "is in the old GGMF format: convert the model to GGUF"},
        {"tjgg", 0, "is in the old GGJT format: convert the model to GGUF"},
        {"FUGG", 0, "is a byte-swapped GGUF file, which is not supported"},
    };
    const struct gguf_part *part = p->part;
    if (part->len == 0)
        return fail(p, "the file is empty");
    for (size_t i = 0; i < ARRAY_LEN(known); i++) {
        size_t n = strlen(known[i].begin);
        if (part->len >= known[i].at + n &&
            memcmp(part->base + known[i].at, known[i].begin, n) == 0)
            return fail(p, "the file %s", known[i].text);
    }
    return fail(p, "not a GGUF file: it does not begin with 'GGUF'");
}

static int parse_header(struct parse *p)
{
    struct gguf_part *part = p->part;
    if (part->len < 4 || memcmp(part->base, "GGUF", 4) != 0)
        return fail_not_gguf(p);
    p->pos = 4;
    snprintf(p->what, sizeof(p->what), "header");
    int rc = take_u32(p, &part->version);
    if (rc != 0)
        return rc;
    if (part->version != 0 && (part->version & 0xffff) == 0)
        return fail_unsupported(p,
                                "a big-endian file (version %" PRIu32 "); only little-endian "
                                "ones are supported: convert it again",
                                __builtin_bswap32(part->version));
    if (part->version != 2 && part->version != 3)
        return fail_unsupported(p, "GGUF version %" PRIu32 "; versions 2 and 3 are supported%s",
                                part->version, part->version == 1 ? ": convert it again" : "");
    rc = take_u64(p, &p->n_tensors);
    if (rc == 0)
        rc = take_u64(p, &p->n_kv);
    if (rc != 0)
        return rc;
    if (p->n_kv > GGUF_N_KV_MAX || p->n_kv > bytes_left(p) / KV_BYTES_MIN)
        return fail(p, "claims %" PRIu64 " keys; a file of %zu bytes can have %zu, any file %d",
                    p->n_kv, part->len, bytes_left(p) / KV_BYTES_MIN, GGUF_N_KV_MAX);
    if (p->n_tensors > GGUF_N_TENSORS_MAX || p->n_tensors > bytes_left(p) / TENSOR_BYTES_MIN)
        return fail(p, "claims %" PRIu64 " tensors; a file of %zu bytes can have %zu, any file %d",
                    p->n_tensors, part->len, bytes_left(p) / TENSOR_BYTES_MIN, GGUF_N_TENSORS_MAX);
    return 0;
}

int gguf_parse_part(struct gguf *g, int i_part, struct err *err)
{
    struct parse p = {.g = g, .part = &g->part[i_part], .i_part = i_part, .err = err};
    int rc = parse_header(&p);
    if (rc == 0)
        rc = parse_kvs(&p);
    if (rc == 0)
        rc = parse_alignment(&p);
    if (rc == 0)
        rc = parse_tensors(&p);
    return rc;
}
