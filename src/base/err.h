/*
 * err: error codes, and one error with a text for a person.
 *
 * A function with several ways to fail returns 0 or a negative ERR_* and takes a last
 * `struct err *` when a person needs the text. The text says what, where and what to do. Who
 * returns an error does not log it; it is reported once, at the edge. `err` may be NULL everywhere.
 */
#ifndef HEARTH_BASE_ERR_H
#define HEARTH_BASE_ERR_H

#include <stdarg.h>

/* X(name, value, word): `word` travels in frames and logs. HTTP and dialect words: api/errors. */
#define ERR_CODES(X)                                                                               \
    X(ERR_INVALID, -1, "invalid")                /* the caller's input is wrong */                 \
    X(ERR_NOMEM, -2, "out_of_memory")            /* memory or a memory budget is spent */          \
    X(ERR_IO, -3, "io")                          /* the operating system said no */                \
    X(ERR_NOT_FOUND, -4, "not_found")            /* no such model, file, route */                  \
    X(ERR_EXISTS, -5, "exists")                  /* already there */                               \
    X(ERR_LIMIT, -6, "limit")                    /* a stated limit would be passed */              \
    X(ERR_UNSUPPORTED, -7, "unsupported")        /* understood, but not done here */               \
    X(ERR_CORRUPT, -8, "corrupt")                /* a file is damaged or hostile */                \
    X(ERR_BUSY, -9, "busy")                      /* in use; try later */                           \
    X(ERR_TIMEOUT, -10, "timeout")               /* a deadline passed */                           \
    X(ERR_CANCELLED, -11, "cancelled")           /* the client left or asked to stop */            \
    X(ERR_CONTEXT_LENGTH, -12, "context_length") /* prompt and answer do not fit */                \
    X(ERR_UNAVAILABLE, -13, "unavailable")       /* overloaded, loading, or worker lost */         \
    X(ERR_INTERNAL, -14, "internal")             /* our defect */                                  \
    X(ERR_AUTH, -15, "auth")                     /* no or wrong key */                             \
    X(ERR_DENIED, -16, "denied")                 /* known, but not allowed */                      \
    X(ERR_SYNTAX, -17, "syntax")                 /* text that does not parse: JSON, template */    \
    X(ERR_TOO_LARGE, -18, "too_large")           /* a body over its limit */

enum err_code {
    ERR_OK = 0,
#define X(name, value, word) name = value,
    ERR_CODES(X)
#undef X
};

struct err {
    int code;        /* 0 or ERR_* */
    char param[128]; /* the request field, key or tensor it is about; may be "" */
    char text[640];  /* one sentence or two, no trailing newline */
};

const char *err_word(int code);         /* "invalid"; "ok" for 0; "internal" when unknown */
int err_code_of_word(const char *word); /* ERR_INTERNAL when unknown */

/* Sets *err (if not NULL) and returns `code`, so that `return err_set(...)` reads well. */
int err_set(struct err *err, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
int err_set_param(struct err *err, int code, const char *param, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
/* As err_set, with ": " and strerror(errnum) after the text. */
int err_set_errno(struct err *err, int errnum, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* Puts "context: " before the text that is there; returns err->code (ERR_INTERNAL if NULL). */
int err_wrap(struct err *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void err_clear(struct err *err);

#endif
