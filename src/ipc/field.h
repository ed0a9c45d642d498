/*
 * field: tables that map flat structs to JSON objects and back, for ipc/message.
 *
 * Reading checks type and range of every field and refuses names that are not in the table.
 */
#ifndef HEARTH_IPC_FIELD_H
#define HEARTH_IPC_FIELD_H

#include "base/err.h"
#include "base/json.h"

enum field_kind {
    FIELD_I64,
    FIELD_BITS, /* uint64_t, carried as the signed integer with the same bits */
    FIELD_F64,  /* NaN and infinities travel as null */
    FIELD_BOOL,
    FIELD_CHARS, /* char[size], NUL-terminated */
    FIELD_OTHER, /* the name is known; somebody else reads and writes it */
};

struct field {
    const char *name;
    enum field_kind kind;
    size_t offset, size;
    double min, max; /* of numbers; integers beyond 2^53 are not bounded exactly */
};

#define FIELD_INT_MAX 9.0e15 /* counts and byte sizes; exact in a double */

#define FIELD(st, member, kind_, min_, max_)                                                       \
    {                                                                                              \
#member, kind_, offsetof(struct st, member), sizeof(((struct st *)0)->member), min_, max_  \
    }
#define FIELD_COUNT(st, member) FIELD(st, member, FIELD_I64, 0, FIELD_INT_MAX)
#define FIELD_ID(st)            FIELD(st, id, FIELD_BITS, 0, 0)
#define FIELD_SKIP(name_)                                                                          \
    {                                                                                              \
        name_, FIELD_OTHER, 0, 0, 0, 0                                                             \
    }

/* A new object with the fields (NULL out of memory or when chars are not UTF-8). */
json_t *fields_write(const struct field *f, size_t n, const void *from)
    __attribute__((warn_unused_result));
/* Writes what obj has into *into; the rest of *into stays. ERR_INVALID with param. "t" is known. */
int fields_read(const struct field *f, size_t n, const json_t *obj, void *into, struct err *err)
    __attribute__((warn_unused_result));

#endif
