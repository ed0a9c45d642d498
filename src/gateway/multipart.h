/*
 * multipart: multipart/form-data (RFC 7578, RFC 2046), piece by piece as it arrives.
 *
 *     struct multipart m;
 *     code = multipart_init(&m, content_type, &handler, err);
 *     code = multipart_feed(&m, bytes, err);   any number of times
 *     code = multipart_end(&m, err);           the closing boundary was there
 *
 * Strict: the body begins with the boundary, each part has a Content-Disposition of form-data with
 * a name, after the closing boundary there is nothing but a line end. Memory is fixed, whatever is
 * sent; a part's bytes are handed on as views into what was fed, at most a boundary's length late.
 * Knows nothing of HTTP or files.
 */
#ifndef HEARTH_GATEWAY_MULTIPART_H
#define HEARTH_GATEWAY_MULTIPART_H

#include "base/err.h"
#include "base/str.h"

#define MULTIPART_BOUNDARY_MAX 70 /* RFC 2046, 5.1.1 */
#define MULTIPART_HEAD_MAX     4096
#define MULTIPART_PARTS_MAX    64

struct multipart_handler {
    /* filename.ptr is NULL when the part has none. Views are valid during the call. */
    int (*on_part)(void *ctx, struct str name, struct str filename, struct err *err);
    int (*on_bytes)(void *ctx, struct str bytes, struct err *err);
    int (*on_part_end)(void *ctx, struct err *err);
    void *ctx;
};

struct multipart {
    struct multipart_handler handler;
    char delimiter[MULTIPART_BOUNDARY_MAX + 8]; /* CR LF - - boundary */
    size_t n_delimiter;
    size_t n_matched; /* of the delimiter, at the end of what was fed */
    int state;
    int n_parts;
    char head[MULTIPART_HEAD_MAX]; /* of the part that begins */
    size_t n_head;
    size_t n_tail; /* bytes after the closing boundary */
};

int multipart_init(struct multipart *m, struct str content_type,
                   const struct multipart_handler *handler, struct err *err)
    __attribute__((warn_unused_result));
/* ERR_INVALID, or what the handler returned; nothing may be fed after that. */
int multipart_feed(struct multipart *m, struct str bytes, struct err *err)
    __attribute__((warn_unused_result));
int multipart_end(struct multipart *m, struct err *err) __attribute__((warn_unused_result));

#endif
