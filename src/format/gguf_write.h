/*
 * gguf_write: writes GGUF v3 files: keys and tensors are described first, laid out once, and the
 * tensors' bytes then written in any order by any number of threads.
 *
 *     struct gguf_writer *w = gguf_writer_new();
 *     gguf_put_str(w, "general.architecture", STR("llama"));
 *     gguf_put_tensor(w, "token_embd.weight", DTYPE_Q6_K, 2, (uint64_t[]){2048, 128256});
 *     ...
 *     rc = gguf_writer_layout(w, err);              the first fault of all the puts
 *     rc = gguf_out_open(w, "model.gguf", &out, err);
 *     rc = gguf_out_write(out, i_tensor, at, bytes, n_bytes, err);   from several threads
 *     rc = gguf_out_commit(out, err);               or gguf_out_abort(out)
 *     gguf_writer_free(w);
 *
 * A put that fails (no memory, a name twice, a shape that cannot be) makes the layout fail; puts
 * themselves return nothing, so that a description reads like the file. Names and values are
 * copied. What is written passes our own reader's checks (format/gguf.h).
 *
 * Source: the GGUF specification (ggml docs/gguf.md). Thread: a writer and the opening, committing
 * and aborting of a file belong to one thread; gguf_out_write is safe on all.
 */
#ifndef HEARTH_FORMAT_GGUF_WRITE_H
#define HEARTH_FORMAT_GGUF_WRITE_H

#include "format/gguf.h"

#define GGUF_WRITE_ALIGNMENT 32 /* the format's default; every reader knows it */

struct gguf_writer;
struct gguf_writer *gguf_writer_new(void);
void gguf_writer_free(struct gguf_writer *w); /* takes NULL */

/* Keys, in file order. general.architecture comes first by custom. */
void gguf_put_u32(struct gguf_writer *w, const char *key, uint32_t v);
void gguf_put_u64(struct gguf_writer *w, const char *key, uint64_t v);
void gguf_put_f32(struct gguf_writer *w, const char *key, float v);
void gguf_put_bool(struct gguf_writer *w, const char *key, bool v);
void gguf_put_str(struct gguf_writer *w, const char *key, struct str v);
/* n numbers of type elem, as they lie in memory (little-endian machines). Not strings or arrays. */
void gguf_put_array(struct gguf_writer *w, const char *key, enum gguf_type elem, const void *data,
                    uint64_t n);
void gguf_put_strings(struct gguf_writer *w, const char *key, const struct str *v, uint64_t n);
/* Key and value as another file has them. */
void gguf_put_kv(struct gguf_writer *w, const struct gguf_kv *kv);

/* dim[0] is the contiguous one. Tensors are numbered 0, 1, ... in the order of these calls. */
void gguf_put_tensor(struct gguf_writer *w, const char *name, enum dtype type, int n_dims,
                     const uint64_t *dim);

/* After this, no more puts. ERR_INVALID, ERR_NOMEM, ERR_LIMIT. */
int gguf_writer_layout(struct gguf_writer *w, struct err *err) __attribute__((warn_unused_result));
/* Valid after the layout. */
size_t gguf_writer_n_tensors(const struct gguf_writer *w);
uint64_t gguf_writer_tensor_bytes(const struct gguf_writer *w, size_t i_tensor);
uint64_t gguf_writer_file_bytes(const struct gguf_writer *w);

struct gguf_out;
/*
 * Makes path.<random> beside path, reserves the whole file's room there and writes everything but
 * the tensors' bytes (which are zero until written). ERR_LIMIT: the disk has not the room (the text
 * says how much is needed and how much is free); ERR_IO. w must outlive the file.
 */
int gguf_out_open(const struct gguf_writer *w, const char *path, struct gguf_out **ret,
                  struct err *err) __attribute__((warn_unused_result));
/*
 * The same into a file that is somebody else's: empty, open for writing, of at most bytes_max bytes
 * (ERR_LIMIT). It is borrowed, and not committed: after all writes, gguf_out_abort lets go of it.
 */
int gguf_out_open_fd(const struct gguf_writer *w, int fd, uint64_t bytes_max, struct gguf_out **ret,
                     struct err *err) __attribute__((warn_unused_result));
/* len bytes at offset `at` of a tensor's data; both within it. Any thread. */
int gguf_out_write(struct gguf_out *out, size_t i_tensor, uint64_t at, const void *data, size_t len,
                   struct err *err) __attribute__((warn_unused_result));
/* Waits until the disk has all that was written. The commit does it too; alone, it leaves the
 * choice to give up after the wait. */
int gguf_out_sync(struct gguf_out *out, struct err *err) __attribute__((warn_unused_result));
/*
 * Makes the file durable and gives it its name, replacing what stood there; frees out. replace
 * false: ERR_EXISTS when something stands there by now. On any error nothing is left behind.
 */
int gguf_out_commit(struct gguf_out *out, bool replace, struct err *err)
    __attribute__((warn_unused_result));
void gguf_out_abort(struct gguf_out *out); /* removes the file; frees out; takes NULL */

#endif
