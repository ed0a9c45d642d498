/*
 * buf: a growable byte buffer, born with a maximum.
 *
 * Invariants: ptr is NUL-terminated at ptr[len] once anything was appended (ptr may be NULL
 * before); len <= max. When an append would pass `max` or memory is short, nothing is appended,
 * false is returned and `overflow` stays set, so a chain of appends may be checked once at its end.
 */
#ifndef HEARTH_BASE_BUF_H
#define HEARTH_BASE_BUF_H

#include "base/str.h"

#include <stdarg.h>

struct buf {
    char *ptr;
    size_t len;
    size_t cap;
    size_t max;
    bool overflow;
};

void buf_init(struct buf *b, size_t max);
void buf_release(struct buf *b);
void buf_clear(struct buf *b);                 /* keeps the memory, clears overflow */
bool buf_reserve(struct buf *b, size_t extra); /* room for `extra` more bytes */
bool buf_add(struct buf *b, const void *data, size_t len);
bool buf_add_str(struct buf *b, struct str s);
bool buf_add_z(struct buf *b, const char *z);
bool buf_add_char(struct buf *b, char c);
bool buf_printf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
bool buf_vprintf(struct buf *b, const char *fmt, va_list ap) __attribute__((format(printf, 2, 0)));
void buf_consume(struct buf *b, size_t len); /* drops bytes from the front; len <= b->len */
void buf_truncate(struct buf *b, size_t len);
struct str buf_str(const struct buf *b); /* borrowed; valid until the next change */
char *buf_steal(struct buf *b);          /* the heap string ("" if empty); b is empty after */

#endif
