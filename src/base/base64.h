/*
 * base64: bytes as text (RFC 4648, with padding).
 */
#ifndef HEARTH_BASE_BASE64_H
#define HEARTH_BASE_BASE64_H

#include "base/buf.h"

/* Characters for n bytes. */
size_t base64_len(size_t n);
/* Appends them; false when out is full. */
bool base64_write(const void *bytes, size_t n, struct buf *out);
/* Exactly n bytes from exactly base64_len(n) characters; false: it is something else. */
bool base64_read(struct str text, void *ret, size_t n);

#endif
