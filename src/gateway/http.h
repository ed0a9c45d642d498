/*
 * http: HTTP/1.1 on the loop: connections, deadlines, bodies, whole and streamed answers. Knows no
 * routes and no dialect.
 *
 * libmicrohttpd parses and writes, driven by its epoll descriptor inside the libuv loop. What it
 * does not do is done here: noticing that a client left while its request waits (EPOLLRDHUP on the
 * socket), deadlines for the whole head and the whole body, and dropping readers that stall.
 *
 * An exchange is one request and its answer. on_request runs when the request has arrived
 * entirely; the owner answers then or later, once: exchange_reply, or exchange_begin, any number
 * of exchange_write and exchange_end. If the client leaves before, on_gone runs, once, and the
 * owner must not touch the exchange again. Everything is on the loop's thread.
 *
 * A client that shuts down its sending side has left: a half-closed connection gets no answer.
 */
#ifndef HEARTH_GATEWAY_HTTP_H
#define HEARTH_GATEWAY_HTTP_H

#include "base/buf.h"
#include "base/err.h"

#include <uv.h>

struct http;
struct exchange;

enum http_method {
    HTTP_GET,
    HTTP_HEAD,
    HTTP_POST,
    HTTP_PUT,
    HTTP_DELETE,
    HTTP_OPTIONS,
    HTTP_PATCH,
    HTTP_OTHER,
};

struct http_opts {
    uv_loop_t *loop;
    int listen_fd; /* listening and non-blocking; owned by http from http_new on */
    int connections_max;
    int head_timeout_ms, body_timeout_ms, write_timeout_ms, idle_timeout_ms;
    int64_t body_bytes_max, client_buffer_bytes_max;
    void *ctx;
    /* The head is here: may refuse with exchange_reply before a body is taken. */
    void (*on_head)(struct exchange *x, void *ctx);
    void (*on_request)(struct exchange *x, void *ctx);
    /* The exchange is over: status and times are final; freed afterwards. */
    void (*on_over)(struct exchange *x, void *ctx);
    /* The body of an answer that http itself makes: 408, 413. */
    void (*write_error)(struct exchange *x, int err_code, const char *text, struct buf *out);
};

int http_new(const struct http_opts *opts, struct http **ret, struct err *err)
    __attribute__((warn_unused_result));
void http_close_listener(struct http *h); /* stop accepting; finish what is there */
int http_n_exchanges(const struct http *h);
int http_n_connections(const struct http *h);
/* Ends every connection at once (owners hear on_gone) and frees the server. */
void http_free(struct http *h);

struct http_counts {
    uint64_t connections, left, stalled, overflowed, deadline_head, deadline_body;
};
const struct http_counts *http_counts(const struct http *h);

/* ---- the request ---- */
enum http_method exchange_method(const struct exchange *x);
const char *exchange_path(const struct exchange *x); /* decoded, without the query */
const char *exchange_header(const struct exchange *x, const char *name); /* NULL when absent */
const char *exchange_query(const struct exchange *x, const char *name);  /* likewise; decoded */
struct str exchange_body(const struct exchange *x); /* until the answer, or exchange_drop_body */
void exchange_drop_body(struct exchange *x);
const char *exchange_id(const struct exchange *x); /* x-request-id: "req_..." */
int exchange_status(const struct exchange *x);     /* of the answer; 0 before there is one */
int64_t exchange_start_ns(const struct exchange *x);
void *exchange_tag(const struct exchange *x); /* the owner's own, e.g. the route */
void exchange_set_tag(struct exchange *x, void *tag);

/*
 * A body that is not held in memory: asked for from on_head, its pieces go to on_bytes as they
 * come, bytes_max of them at most. on_bytes may answer (the rest is read and dropped) or pause:
 * then nothing is read until exchange_go_on. on_over runs once, when the exchange is over in
 * whatever way; the exchange must not be touched after it.
 */
struct exchange_sink {
    int64_t bytes_max;
    bool slow; /* the body's deadline counts from the last bytes, not from the first: it is huge */
    void (*on_bytes)(struct exchange *x, void *ctx, struct str bytes);
    void (*on_over)(void *ctx);
    void *ctx;
};
void exchange_take_body(struct exchange *x, const struct exchange_sink *sink);
void *exchange_sink_ctx(const struct exchange *x); /* NULL: there is none */
void exchange_pause(struct exchange *x);
void exchange_go_on(struct exchange *x);

/* ---- the answer ---- */
/* For the next reply or begin; name and value are copied. */
void exchange_add_header(struct exchange *x, const char *name, const char *value);
void exchange_reply(struct exchange *x, int status, const char *type, struct str body);
void exchange_reply_static(struct exchange *x, int status, const char *type, const void *data,
                           size_t len); /* data outlives the server */
void exchange_reply_file(struct exchange *x, int status, const char *type, int fd,
                         int64_t bytes); /* takes fd: a plain file, sent from its start */
void exchange_on_gone(struct exchange *x, void (*on_gone)(struct exchange *x, void *ctx),
                      void *ctx);
void exchange_begin(struct exchange *x, int status, const char *type);
/* False: the client's buffer is full; it was dropped, do not touch x again (no on_gone). */
bool exchange_write(struct exchange *x, struct str bytes) __attribute__((warn_unused_result));
size_t exchange_behind(const struct exchange *x);   /* bytes written and not yet taken */
int64_t exchange_idle_ms(const struct exchange *x); /* since the last byte was written or taken */
void exchange_end(struct exchange *x);

#endif
