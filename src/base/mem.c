/*
 * mem: see mem.h.
 */
#include "base/mem.h"

#include "base/check.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define MEM_ALIGN 64                /* a cache line */
#define MEM_PAGE  ((size_t)2 << 20) /* a huge page, on most machines */

void *mem_alloc(size_t bytes)
{
    void *p = malloc(bytes ? bytes : 1);
    CHECK(p != NULL);
    return p;
}

void *mem_zero(size_t n, size_t bytes_each)
{
    void *p = mem_try_array(n, bytes_each);
    CHECK(p != NULL);
    return p;
}

void *mem_try_array(size_t n, size_t bytes_each)
{
    if (n == 0 || bytes_each == 0)
        return calloc(1, 1);
    return calloc(n, bytes_each); /* calloc checks the product */
}

void *mem_try_aligned(size_t bytes)
{
    size_t size;
    if (!size_add(bytes ? bytes : 1, MEM_ALIGN - 1, &size))
        return NULL;
    size &= ~(size_t)(MEM_ALIGN - 1);
    const bool huge = size >= 2 * MEM_PAGE;
    void *p; /* not aligned_alloc: that wants whole huge pages */
    if (posix_memalign(&p, huge ? MEM_PAGE : MEM_ALIGN, size) != 0)
        return NULL;
    if (huge) /* a hint; only whole pages, so that no more memory is used */
        madvise(p, size & ~(MEM_PAGE - 1), MADV_HUGEPAGE);
    memset(p, 0, size);
    return p;
}

void mem_free_aligned(void *p)
{
    free(p);
}

bool mem_grow(void **array, size_t *cap, size_t need, size_t max, size_t bytes_each)
{
    if (need <= *cap)
        return true;
    if (need > max)
        return false;
    size_t n = *cap ? *cap : 16;
    while (n < need)
        n = n > SIZE_MAX / 2 ? need : n * 2;
    if (n > max)
        n = max;
    size_t bytes;
    if (!size_mul(n, bytes_each, &bytes))
        return false;
    void *p = realloc(*array, bytes);
    if (!p)
        return false;
    *array = p;
    *cap = n;
    return true;
}
