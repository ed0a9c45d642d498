/*
 * quantize_model: a model's float weights into a file of another type ("Q4_K_M"), tensor by tensor:
 * memory holds a piece per thread, whatever the model's size.
 *
 *     rc = quantize_plan_new(g, mix, &plan, err);        what each tensor becomes
 *     rc = gguf_out_open_fd(quantize_plan_writer(plan), fd, bytes_max, &out, err);
 *     rc = quantize_plan_run(plan, pool, out, progress, ctx, err);
 *     gguf_out_abort(out);                               the bytes are in fd
 *     quantize_plan_free(plan);
 *
 * Which tensor gets which type is quant_mix's to say, but for what no program reads quantized
 * (positions, small convolutions). Keys are those of the source; a split source becomes one file.
 * The bytes do not depend on the threads.
 */
#ifndef HEARTH_MODEL_QUANTIZE_MODEL_H
#define HEARTH_MODEL_QUANTIZE_MODEL_H

#include "format/gguf_write.h"
#include "kernels/pool.h"
#include "model/quant_mix.h"

/* A type that can be made here: by name or alias, in any case. NULL: there is none, or it has
 * tensors of types that tensor/quantize does not make. */
const struct quant_mix *quantize_mix_find(const char *name);

struct quantize_plan;
/* g and mix must outlive it. ERR_UNSUPPORTED: the source is quantized already. */
int quantize_plan_new(const struct gguf *g, const struct quant_mix *mix, struct quantize_plan **ret,
                      struct err *err) __attribute__((warn_unused_result));
void quantize_plan_free(struct quantize_plan *p); /* takes NULL */
const struct gguf_writer *quantize_plan_writer(const struct quantize_plan *p);
/* "F16": of most of the source's elements. */
const char *quantize_plan_source(const struct quantize_plan *p);

/* Source bytes; false: stop, which makes the run fail with ERR_CANCELLED. */
typedef bool (*quantize_fn)(void *ctx, uint64_t done, uint64_t total);
/* ERR_CORRUPT: a weight is no number, or too large; the text names the tensor. */
int quantize_plan_run(const struct quantize_plan *p, struct pool *pool, struct gguf_out *out,
                      quantize_fn fn, void *ctx, struct err *err)
    __attribute__((warn_unused_result));

#endif
