/*
 * mem: heap allocation and checked sizes.
 *
 * mem_alloc, mem_zero and mem_grow are for small sizes that the program chooses: out of memory
 * there is fatal (CHECK). Anything whose size comes from a file or a client goes through
 * mem_try_array, which multiplies with a check and may return NULL.
 */
#ifndef HEARTH_BASE_MEM_H
#define HEARTH_BASE_MEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

void *mem_alloc(size_t bytes) __attribute__((malloc, warn_unused_result));
void *mem_zero(size_t n, size_t bytes_each) __attribute__((malloc, warn_unused_result));
void *mem_try_array(size_t n, size_t bytes_each) __attribute__((warn_unused_result)); /* zeroed */
/* Cache-line aligned, zeroed; NULL when it cannot be had. Free with mem_free_aligned. */
void *mem_try_aligned(size_t bytes) __attribute__((warn_unused_result));
void mem_free_aligned(void *p);
/*
 * Makes room for `need` elements in a heap array, doubling; *cap is in elements. False when need
 * > max or memory is short (the array is unchanged then).
 */
bool mem_grow(void **array, size_t *cap, size_t need, size_t max, size_t bytes_each)
    __attribute__((warn_unused_result));

static inline bool size_mul(size_t a, size_t b, size_t *ret)
{
    return !__builtin_mul_overflow(a, b, ret);
}

static inline bool size_add(size_t a, size_t b, size_t *ret)
{
    return !__builtin_add_overflow(a, b, ret);
}

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

#endif
