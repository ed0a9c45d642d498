/*
 * gguf: reads GGUF v2 and v3 files, also split ones, by mapping them. Untrusted bytes.
 *
 * Everything is checked at open: counts, sizes, alignment, overlap, types, shapes. After a
 * successful open every pointer handed out lies inside the mapping, so readers need no further
 * checks on size. (The file may still be truncated by somebody else while mapped: SIGBUS is the
 * worker's problem.) Strings are borrowed views into the mapping.
 *
 * Source: the GGUF specification (ggml docs/gguf.md). Thread: read-only after open, any thread.
 */
#ifndef HEARTH_FORMAT_GGUF_H
#define HEARTH_FORMAT_GGUF_H

#include "base/err.h"
#include "base/str.h"
#include "tensor/dtype.h"

enum gguf_type {
    GGUF_U8,
    GGUF_I8,
    GGUF_U16,
    GGUF_I16,
    GGUF_U32,
    GGUF_I32,
    GGUF_F32,
    GGUF_BOOL,
    GGUF_STR,
    GGUF_ARR,
    GGUF_U64,
    GGUF_I64,
    GGUF_F64,
};

#define GGUF_N_DIMS_MAX    4
#define GGUF_N_PARTS_MAX   1024      /* files of a split model */
#define GGUF_N_KV_MAX      (1 << 16) /* real models have under a hundred */
#define GGUF_N_TENSORS_MAX (1 << 20) /* real models have under a hundred thousand, per model */
#define GGUF_N_STRINGS_MAX                                                                         \
    (1 << 24) /* in all arrays of a file; vocabularies stay under a million */

struct gguf_kv {
    struct str key;
    enum gguf_type type;      /* GGUF_ARR for arrays */
    enum gguf_type elem_type; /* of arrays; for scalars the same as type */
    uint64_t n;               /* array length; 1 for scalars */
    const uint8_t *data;      /* the bytes of the value, of an array its elements; unaligned, LE */
    uint64_t n_bytes;         /* of data */
    struct str *strings;      /* [n] for GGUF_STR scalars and arrays of strings; else NULL */
};

struct gguf_tensor {
    struct str name;
    enum dtype type;
    int n_dims;
    uint64_t dim[GGUF_N_DIMS_MAX]; /* dim[0] is the contiguous one (columns); unused ones are 1 */
    uint64_t n_elems;
    uint64_t n_bytes;
    const uint8_t *data; /* n_bytes inside the mapping; not aligned to anything */
    int i_split;         /* which of the split files */
    uint64_t offset;     /* of the data, from the start of that file */
};

struct gguf;

/*
 * Opens by path; for "name-00001-of-00003.gguf" the other parts beside it too.
 * ERR_NOT_FOUND, ERR_IO, ERR_CORRUPT (the text names the key or tensor), ERR_UNSUPPORTED.
 */
int gguf_open(const char *path, struct gguf **ret, struct err *err)
    __attribute__((warn_unused_result));
/* Same from given paths in split order, whatever their names (a library calls its files by digest).
 */
int gguf_open_paths(const char *const *path, int n_paths, struct gguf **ret, struct err *err)
    __attribute__((warn_unused_result));
/* Same from descriptors in split order (the worker's way; it has no file system). They are not
 * closed and may be closed after. */
int gguf_open_fds(const int *fd, int n_fds, struct gguf **ret, struct err *err)
    __attribute__((warn_unused_result));
/* Same from memory that outlives the gguf (fuzzing, tests). One file only. */
int gguf_open_memory(const void *data, size_t len, struct gguf **ret, struct err *err)
    __attribute__((warn_unused_result));
void gguf_free(struct gguf *g);
/*
 * These bytes of tensors' data are not needed for now: their pages leave this process's memory and,
 * with `wholly`, the system's cache if nobody else has them mapped; they come back when they are
 * read. Any thread. Nothing happens to a gguf that was opened from memory.
 */
void gguf_let_go(const struct gguf *g, const uint8_t *data, size_t len, bool wholly);
/* These will be needed soon: a disk may begin to read them. Any thread. */
void gguf_fetch(const struct gguf *g, const uint8_t *data, size_t len);
void gguf_let_go_metadata(const struct gguf *g); /* the same, for keys and descriptions */
void gguf_let_go_all(const struct gguf *g);      /* for everything; not `wholly` */

/*
 * For the library and for split files: the paths a model consists of, given its first file. Goes by
 * the name alone ("-00001-of-00003.gguf"; any other name is a model in one file) and opens
 * nothing. Heap array of heap strings, NULL-terminated; n >= 1. ERR_NOT_FOUND names the missing
 * part, ERR_INVALID says which part to give instead of a later one.
 */
int gguf_split_paths(const char *path, char ***ret_paths, int *ret_n, struct err *err)
    __attribute__((warn_unused_result));
void gguf_split_paths_free(char **paths); /* takes NULL */

uint32_t gguf_version(const struct gguf *g);
uint64_t gguf_file_bytes(const struct gguf *g); /* all parts */
int gguf_n_parts(const struct gguf *g);
/* Metadata: of the first part. In file order. */
size_t gguf_n_kv(const struct gguf *g);
const struct gguf_kv *gguf_kv_at(const struct gguf *g, size_t i);
const struct gguf_kv *gguf_find(const struct gguf *g, const char *key); /* NULL if absent */
/* Tensors: of all parts, in file order. */
size_t gguf_n_tensors(const struct gguf *g);
const struct gguf_tensor *gguf_tensor_at(const struct gguf *g, size_t i);
const struct gguf_tensor *gguf_find_tensor(const struct gguf *g, const char *name);

/*
 * Typed getters. Absent: *ret unchanged, returns 0. Present with another type or out of range:
 * ERR_CORRUPT naming the key. Any integer type is accepted where an integer is asked for.
 */
int gguf_get_u64(const struct gguf *g, const char *key, uint64_t min, uint64_t max, uint64_t *ret,
                 struct err *err);
int gguf_get_f64(const struct gguf *g, const char *key, double *ret, struct err *err); /* finite */
int gguf_get_bool(const struct gguf *g, const char *key, bool *ret, struct err *err);
int gguf_get_str(const struct gguf *g, const char *key, struct str *ret, struct err *err);
/*
 * Element i of an array, converted; the caller has checked i < kv->n. A scalar is an array of one.
 * Numbers and bools only: 0 for strings and nested arrays. A value that does not fit is clamped
 * (NaN gives 0).
 */
int64_t gguf_arr_i64(const struct gguf_kv *kv, uint64_t i);
double gguf_arr_f64(const struct gguf_kv *kv, uint64_t i);
bool gguf_type_is_int(enum gguf_type t);
const char *gguf_type_name(enum gguf_type t); /* "u32", "str" ... */

#endif
