/*
 * limits: what this machine allows, measured: bytes read from memory a second, and 8-bit
 * multiply-adds a second with the dot instruction of a level.
 *
 * Figures are of the moment: other tenants of a machine move them, so measure next to what is
 * compared with them. Functions use the pool that is given, whose caller's thread takes part.
 */
#ifndef HEARTH_KERNELS_LIMITS_H
#define HEARTH_KERNELS_LIMITS_H

#include "kernels/cpu.h"
#include "kernels/pool.h"

#include <stddef.h>
#include <stdint.h>

/* A buffer far larger than the last-level cache, written once. Free with limits_buffer_free. */
struct limits_buffer {
    void *base;
    size_t bytes;
};

/* bytes 0: what this machine's caches call for (four times the last level, at least 256 MiB).
 * ERR_NOMEM. */
int limits_buffer_new(struct pool *p, size_t bytes, struct limits_buffer *ret, struct err *err)
    __attribute__((warn_unused_result));
void limits_buffer_free(struct limits_buffer *b);

/* Bytes a second that the pool's threads read together from the buffer; takes about for_ns, and
 * one pass at least. */
double limits_read(struct pool *p, const struct limits_buffer *b, int64_t for_ns);

/* Multiply-adds of 8 bits a second, from registers only, by the pool's threads together; p NULL:
 * by the calling thread alone. A level without a loop of its own here counts as generic. */
double limits_multiply(struct pool *p, enum cpu_level level, int64_t for_ns);

/* The instruction that limits_multiply counts: "vpdpbusd zmm"; "C" for generic. */
const char *limits_instruction(enum cpu_level level);

#endif
