/*
 * safetensors: reads files of that format by mapping them. Untrusted bytes.
 *
 * A file is a length (8 bytes, little-endian), so many bytes of JSON that name each tensor's type,
 * shape and place, and the tensors' bytes. Everything is checked at open: after it every pointer
 * handed out lies inside the mapping.
 *
 * Source: the format's description (huggingface/safetensors README). Read-only after open.
 */
#ifndef HEARTH_FORMAT_SAFETENSORS_H
#define HEARTH_FORMAT_SAFETENSORS_H

#include "base/err.h"
#include "base/str.h"
#include "tensor/dtype.h"

#define SAFETENSORS_DIMS_MAX 4

struct safetensor {
    const char *name;
    bool is_real;    /* `type` is set; integers and other kinds are not for models' weights */
    enum dtype type; /* DTYPE_F32, DTYPE_F16, DTYPE_BF16 */
    int n_dims;      /* 0: one number */
    uint64_t dim[SAFETENSORS_DIMS_MAX]; /* the first is the outermost, as in the file */
    uint64_t n_elems, n_bytes;
    const uint8_t *data; /* not aligned to anything */
};

struct safetensors;
/* ERR_NOT_FOUND, ERR_IO, ERR_CORRUPT (the text names the tensor). */
int safetensors_open(const char *path, struct safetensors **ret, struct err *err)
    __attribute__((warn_unused_result));
/* Same from memory that outlives it. */
int safetensors_open_memory(const void *data, size_t len, struct safetensors **ret, struct err *err)
    __attribute__((warn_unused_result));
void safetensors_free(struct safetensors *s); /* takes NULL */
size_t safetensors_n(const struct safetensors *s);
const struct safetensor *safetensors_at(const struct safetensors *s, size_t i);
const struct safetensor *safetensors_find(const struct safetensors *s, const char *name);

#endif
