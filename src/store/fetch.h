/*
 * fetch: HTTP(S) downloads by libcurl's multi interface, for pulling models.
 *
 * A text comes whole into memory under a limit. A blob goes to a blob_writer and is gone on with
 * after truncation, stall and 5xx (waiting longer each time), also from bytes of an earlier run.
 * Redirects are followed, but never from https to http; credentials stay with the first host.
 * Plain http is refused except for loopback or where `insecure` says so.
 * One struct fetch per thread. Here err must not be NULL.
 */
#ifndef HEARTH_STORE_FETCH_H
#define HEARTH_STORE_FETCH_H

#include "base/buf.h"
#include "base/err.h"
#include "store/blob.h"

#include <signal.h>

struct fetch {
    void *multi;                         /* CURLM */
    bool insecure;                       /* plain http to any host */
    int stall_ms;                        /* give up on a connection that brings nothing so long */
    const volatile sig_atomic_t *stop;   /* non-zero: ERR_CANCELLED soon; may be NULL */
    void (*progress)(void *, int64_t n); /* bytes of this blob so far; may be NULL */
    void *progress_arg;
    bool reached; /* some server has answered: later silence is worth another try */
};

/* Zero it and set the options first. */
int fetch_init(struct fetch *f, struct err *err) __attribute__((warn_unused_result));
void fetch_release(struct fetch *f);

struct fetch_reply {
    long status;
    struct buf text;
    char authenticate[1024]; /* the WWW-Authenticate header, or "" */
    char location[2048];     /* where an upload goes on, or "" */
};

struct fetch_request {
    const char *url;
    const char *accept;            /* or NULL */
    const char *bearer;            /* token, or NULL */
    const struct fetch_send *send; /* NULL: a plain GET */
};

/* What a request sends: text, or `bytes` of a file from an offset. */
struct fetch_send {
    const char *method; /* "HEAD", "POST", "PATCH", "PUT"; redirects are not followed */
    const char *type;   /* Content-Type, or NULL */
    const char *range;  /* Content-Range, or NULL */
    struct str text;
    int fd; /* borrowed; used when `from_file` */
    bool from_file;
    int64_t offset, bytes;
    void (*progress)(void *arg, int64_t n); /* of these bytes so far; or NULL */
    void *progress_arg;
};

/*
 * Any final status is a success here, the caller looks at ret->status. ret->text must be
 * initialised (its maximum is the limit) and is released by the caller.
 */
int fetch_text(struct fetch *f, const struct fetch_request *rq, struct fetch_reply *ret,
               struct err *err) __attribute__((warn_unused_result));
/*
 * Appends to w until `bytes` are there (-1: as the server says). w may hold earlier bytes:
 * `fixed` says that the URL's bytes can never change (they are named by digest), else they are
 * used only if the server proves by ETag or date that the file is the same.
 */
int fetch_blob(struct fetch *f, const struct fetch_request *rq, int64_t bytes, bool fixed,
               struct blob_writer *w, struct err *err) __attribute__((warn_unused_result));

/* ERR_* and one line for a status that is no success. */
int fetch_status_error(long status, const char *url, struct err *err);
/* http, or https; false otherwise. */
bool fetch_url_allowed(const char *url, bool insecure, struct err *err);

#endif
