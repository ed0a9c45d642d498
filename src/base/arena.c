/*
 * arena: see arena.h. A list of chunks; big requests get a chunk of their own.
 */
#include "base/arena.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

#define ARENA_CHUNK_BYTES ((size_t)16 << 10) /* most requests fit in one */
#define ARENA_ALIGN       16

struct arena_chunk {
    struct arena_chunk *next;
    size_t used, cap;
    _Alignas(ARENA_ALIGN) unsigned char data[];
};

void arena_init(struct arena *a, size_t bytes_max)
{
    *a = (struct arena){.max = bytes_max};
}

void arena_clear(struct arena *a)
{
    struct arena_chunk *c = a->head;
    while (c) {
        struct arena_chunk *next = c->next;
        free(c);
        c = next;
    }
    a->head = NULL;
    a->used = 0;
}

void arena_release(struct arena *a)
{
    arena_clear(a);
}

void *arena_alloc(struct arena *a, size_t bytes)
{
    size_t size, total, want;
    if (!size_add(bytes, ARENA_ALIGN - 1, &size))
        return NULL;
    size &= ~(size_t)(ARENA_ALIGN - 1);
    if (!size_add(a->used, size, &total) || total > a->max)
        return NULL;
    struct arena_chunk *c = a->head;
    if (!c || c->cap - c->used < size) {
        size_t cap = size > ARENA_CHUNK_BYTES ? size : ARENA_CHUNK_BYTES;
        if (!size_add(cap, sizeof(*c), &want))
            return NULL;
        struct arena_chunk *fresh = calloc(1, want);
        if (!fresh)
            return NULL;
        fresh->cap = cap;
        if (c && cap == size) { /* keep filling the current chunk */
            fresh->next = c->next;
            c->next = fresh;
        } else {
            fresh->next = c;
            a->head = fresh;
        }
        c = fresh;
    }
    void *p = c->data + c->used;
    c->used += size;
    a->used = total;
    return p;
}

void *arena_array(struct arena *a, size_t n, size_t bytes_each)
{
    size_t bytes;
    return size_mul(n, bytes_each, &bytes) ? arena_alloc(a, bytes) : NULL;
}

char *arena_dup(struct arena *a, struct str s)
{
    if (s.len == SIZE_MAX)
        return NULL;
    char *z = arena_alloc(a, s.len + 1);
    if (z && s.len)
        memcpy(z, s.ptr, s.len);
    return z;
}
