/*
 * http: see http.h. Owns connections and exchanges, and their deadlines.
 *
 * Invariants:
 * - a connection is in libmicrohttpd's hands or suspended, and exchange.suspended says which;
 * - an exchange is settled once its answer is complete or its owner heard that the client left;
 * - a connection is ended by shutting its socket down: libmicrohttpd sees the end and closes it.
 */
#include "gateway/http.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/rng.h"

#include <errno.h>
#include <inttypes.h>
#include <microhttpd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define PIECE_BYTES_MAX (64u << 20) /* of one write beyond what a client may be behind */
#define SWEEP_MS        100
#define HEAD_BYTES_MAX                                                                             \
    (32u << 10) /* per connection, libmicrohttpd's pool: head and write buffer                     \
                 */
#define STREAM_BLOCK     (8u << 10)
#define BODIES_BYTES_MAX (512 << 20) /* of all requests that are being taken, together */
#define DISCARD_FACTOR   4 /* a body this many times too large is read to its end, to be told so */
#define HEADERS_MAX      8

enum stage {
    STAGE_HEAD, /* the request line is here, the head perhaps not */
    STAGE_BODY,
    STAGE_WAIT, /* on_request was called; the answer is not there yet */
    STAGE_SEND, /* the answer is libmicrohttpd's */
};

struct peer {
    struct http *http;
    struct exchange *x; /* the request in progress, or NULL between two */
    uv_poll_t *watch;
    bool watching;
    int fd;
    int64_t since_ms; /* of the state it is in: connected, or the last answer's end */
    bool served;      /* at least one exchange is over */
    bool ended;       /* shut down by us */
    struct peer *prev, *next;
};

struct exchange {
    struct http *http;
    struct peer *peer;
    struct MHD_Connection *conn;
    enum stage stage;
    enum http_method method;
    char *path;
    char id[40];
    struct buf body;
    int64_t body_max;
    struct exchange_sink sink;             /* on_bytes NULL: the body is held */
    bool paused;                           /* by the sink */
    int64_t body_read, start_ns, since_ms; /* since_ms: of the stage, or of the last progress */
    bool discard;                          /* the answer is known; the rest of the body is not */
    bool suspended, settled, dropped;
    int status;
    struct MHD_Response *response;
    char *header[HEADERS_MAX][2];
    int n_header;
    bool streaming, stream_ended;
    struct buf out;   /* written by the owner, not yet taken */
    size_t out_taken; /* bytes at the front of out that were */
    void *tag;
    void (*on_gone)(struct exchange *x, void *ctx);
    void *gone_ctx;
};

struct http {
    struct http_opts o;
    struct MHD_Daemon *daemon;
    uv_poll_t poll;
    uv_timer_t pump_timer, sweep_timer;
    struct peer *peers;
    int n_peers, n_exchanges;
    int64_t body_bytes; /* held in exchanges' bodies */
    int n_handles;      /* still to be closed by the loop, in http_free */
    bool closing, closed_one;
    struct http_counts counts;
};

/* ---- libmicrohttpd in the loop ---- */

static void pump(struct http *h);

static void on_pump_timer(uv_timer_t *t)
{
    pump(t->data);
}

static void on_daemon_ready(uv_poll_t *p, int status, int events)
{
    (void)status, (void)events;
    pump(p->data);
}

static void pump(struct http *h)
{
    MHD_UNSIGNED_LONG_LONG wait_ms = 0;
    for (int i = 0; i < 8; i++) {
        if (MHD_run(h->daemon) != MHD_YES)
            log_error("http: the server cannot run: %s", strerror(errno));
        bool timed = MHD_get_timeout(h->daemon, &wait_ms) == MHD_YES;
        if (h->closed_one) { /* only the run after this one would accept again at the limit */
            h->closed_one = false;
            wait_ms = 0;
        } else if (!timed) {
            uv_timer_stop(&h->pump_timer);
            return;
        } else if (wait_ms > 0) {
            break;
        }
    }
    uv_timer_start(&h->pump_timer, on_pump_timer, wait_ms, 0);
}

static void resume(struct exchange *x)
{
    if (!x->suspended)
        return;
    x->suspended = false;
    x->since_ms = clock_ms(); /* progress is asked for from now on, not while we had nothing */
    MHD_resume_connection(x->conn);
    /* Without a thread of its own libmicrohttpd does not wake its epoll descriptor for this. */
    uv_timer_start(&x->http->pump_timer, on_pump_timer, 0, 0);
}

static void suspend(struct exchange *x)
{
    x->suspended = true;
    MHD_suspend_connection(x->conn);
}

/* ---- a client that leaves ---- */

/* Ends the connection; the owner hears of it unless the exchange is settled. */
static void drop(struct exchange *x, bool tell)
{
    if (x->dropped)
        return;
    x->dropped = true;
    x->peer->ended = true;
    shutdown(x->peer->fd, SHUT_RDWR);
    resume(x);
    if (x->settled)
        return;
    x->settled = true;
    if (x->status == 0)
        x->status = 499;
    if (tell && x->on_gone != NULL)
        x->on_gone(x, x->gone_ctx);
}

static void watch_stop(struct peer *p)
{
    if (p->watching)
        uv_poll_stop(p->watch);
    p->watching = false;
}

static void on_hangup(uv_poll_t *w, int status, int events)
{
    struct peer *p = w->data;
    if (status == 0 && !(events & UV_DISCONNECT))
        return;
    watch_stop(p);
    if (p->x == NULL || p->x->settled)
        return;
    p->http->counts.left++;
    drop(p->x, true);
}

static void watch_start(struct peer *p)
{
    if (!p->watching && uv_poll_start(p->watch, UV_DISCONNECT, on_hangup) == 0)
        p->watching = true;
}

/* ---- connections ---- */

static void on_sweep(uv_timer_t *t);

static void on_watch_closed(uv_handle_t *handle)
{
    free(handle);
}

static void peer_open(struct http *h, struct MHD_Connection *conn, void **socket_ctx)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(conn, MHD_CONNECTION_INFO_CONNECTION_FD);
    struct peer *p = mem_zero(1, sizeof *p);
    p->http = h;
    p->fd = info == NULL ? -1 : info->connect_fd;
    p->since_ms = clock_ms();
    p->watch = mem_zero(1, sizeof *p->watch);
    if (uv_poll_init(h->o.loop, p->watch, p->fd) != 0) {
        free(p->watch);
        free(p);
        return; /* no context: requests on it are refused in on_uri */
    }
    p->watch->data = p;
    p->next = h->peers;
    if (h->peers != NULL)
        h->peers->prev = p;
    h->peers = p;
    if (h->n_peers++ == 0)
        uv_timer_start(&h->sweep_timer, on_sweep, SWEEP_MS, SWEEP_MS);
    h->counts.connections++;
    *socket_ctx = p;
}

static void peer_close(struct peer *p)
{
    watch_stop(p);
    uv_close((uv_handle_t *)p->watch, on_watch_closed);
    if (p->prev != NULL)
        p->prev->next = p->next;
    else
        p->http->peers = p->next;
    if (p->next != NULL)
        p->next->prev = p->prev;
    p->http->n_peers--;
    p->http->closed_one = true;
    free(p);
}

static void on_connection(void *cls, struct MHD_Connection *conn, void **socket_ctx,
                          enum MHD_ConnectionNotificationCode code)
{
    if (code == MHD_CONNECTION_NOTIFY_STARTED)
        peer_open(cls, conn, socket_ctx);
    else if (*socket_ctx != NULL)
        peer_close(*socket_ctx);
}

/* ---- the head ---- */

static void *on_uri(void *cls, const char *uri, struct MHD_Connection *conn)
{
    struct http *h = cls;
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(conn, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    struct peer *p = info == NULL ? NULL : info->socket_context;
    if (p == NULL || p->ended)
        return NULL;
    struct exchange *x = mem_zero(1, sizeof *x);
    uint64_t id[2];
    rng_system(id, sizeof id);
    snprintf(x->id, sizeof x->id, "req_%016" PRIx64 "%08" PRIx32, id[0], (uint32_t)id[1]);
    /* A NUL would hide the rest of a path from us: such a path is taken as it came, undecoded. */
    x->path = strstr(uri, "%00") == NULL ? NULL : str_dup(str_z(uri));
    x->http = h;
    x->peer = p;
    x->conn = conn;
    x->start_ns = clock_ns();
    /* The head's deadline counts from the connection's first moment, or from this line. */
    x->since_ms = p->served ? clock_ms() : p->since_ms;
    x->body_max = h->o.body_bytes_max;
    buf_init(&x->body, (size_t)h->o.body_bytes_max + 1);
    buf_init(&x->out, (size_t)h->o.client_buffer_bytes_max + PIECE_BYTES_MAX);
    p->x = x;
    h->n_exchanges++;
    return x;
}

static enum http_method method_of(const char *name)
{
    static const char *const names[] = {
        [HTTP_GET] = "GET",     [HTTP_HEAD] = "HEAD",     [HTTP_POST] = "POST",
        [HTTP_PUT] = "PUT",     [HTTP_DELETE] = "DELETE", [HTTP_OPTIONS] = "OPTIONS",
        [HTTP_PATCH] = "PATCH",
    };
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (strcmp(names[i], name) == 0)
            return (enum http_method)i;
    return HTTP_OTHER;
}

static void refuse(struct exchange *x, int status, int err_code, const char *text)
{
    struct buf body;
    buf_init(&body, 4096);
    x->http->o.write_error(x, err_code, text, &body);
    exchange_reply(x, status, "application/json", buf_str(&body));
    buf_release(&body);
}

static void refuse_large(struct exchange *x)
{
    char text[160];
    snprintf(text, sizeof text, "the request's body is larger than the limit of %" PRId64 " bytes",
             x->body_max);
    refuse(x, 413, ERR_TOO_LARGE, text);
}

/* Hands the prepared answer to libmicrohttpd. */
static enum MHD_Result send_answer(struct exchange *x)
{
    x->stage = STAGE_SEND;
    x->since_ms = clock_ms();
    enum MHD_Result result = MHD_queue_response(x->conn, (unsigned)x->status, x->response);
    MHD_destroy_response(x->response); /* our reference */
    x->response = NULL;
    return result;
}

static enum MHD_Result take_head(struct exchange *x, const char *url, const char *method)
{
    struct http *h = x->http;
    const char *length = exchange_header(x, "Content-Length");
    const char *expect = exchange_header(x, "Expect");
    bool chunked = exchange_header(x, "Transfer-Encoding") != NULL;
    uint64_t n = 0;
    x->method = method_of(method);
    if (x->path == NULL)
        x->path = str_dup(str_z(url));
    x->stage = STAGE_BODY;
    x->since_ms = clock_ms();
    watch_stop(x->peer);
    h->o.on_head(x, h->o.ctx);
    if (length != NULL && !str_to_u64(str_z(length), &n))
        n = UINT64_MAX; /* libmicrohttpd refused what is no number; this is one too large */
    if (x->response == NULL && n > (uint64_t)x->body_max)
        refuse_large(x);
    if (x->response == NULL)
        return MHD_YES;
    /* Refused. A body that is on its way is read first: closing on it would reset the connection
     * and the client would never see why. */
    if ((n == 0 && !chunked) || expect != NULL ||
        n > DISCARD_FACTOR * (uint64_t)h->o.body_bytes_max)
        return send_answer(x);
    x->discard = true;
    return MHD_YES;
}

/* ---- the body, and the turn to the owner ---- */

static void end_raw(struct exchange *x, int status, const char *reason, int err_code,
                    const char *text);

static void pour(struct exchange *x, struct str bytes)
{
    if (x->body_read > x->body_max)
        refuse_large(x);
    else
        x->sink.on_bytes(x, x->sink.ctx, bytes);
    x->discard = x->response != NULL;
    if (x->paused && !x->dropped)
        suspend(x);
}

static enum MHD_Result take_body(struct exchange *x, const char *bytes, size_t *n)
{
    int64_t max = x->body_max;
    x->body_read += (int64_t)*n;
    x->discard = x->discard || x->response != NULL; /* answered while it was paused */
    if (!x->discard && x->sink.on_bytes != NULL) {
        if (x->sink.slow)
            x->since_ms = clock_ms();
        pour(x, (struct str){bytes, *n});
    } else if (!x->discard && x->http->body_bytes + (int64_t)*n > BODIES_BYTES_MAX) {
        refuse(x, 503, ERR_BUSY, "too many large requests at once; try again");
        x->discard = true;
    } else if (!x->discard && (x->body_read > max || !buf_add(&x->body, bytes, *n))) {
        refuse_large(x);
        x->discard = true;
    } else if (!x->discard) {
        x->http->body_bytes += (int64_t)*n;
    }
    if (x->discard)
        exchange_drop_body(x);
    if (x->body_read > DISCARD_FACTOR * max)
        end_raw(x, 413, "Content Too Large", ERR_TOO_LARGE, "the request's body is far too large");
    *n = 0;
    return MHD_YES;
}

static enum MHD_Result on_access(void *cls, struct MHD_Connection *conn, const char *url,
                                 const char *method, const char *version, const char *data,
                                 size_t *data_len, void **con_cls)
{
    (void)cls, (void)conn, (void)version;
    struct exchange *x = *con_cls;
    if (x == NULL || x->dropped)
        return MHD_NO;
    if (x->stage == STAGE_HEAD)
        return take_head(x, url, method);
    if (*data_len > 0)
        return take_body(x, data, data_len);
    if (x->stage == STAGE_BODY) {
        x->stage = STAGE_WAIT;
        if (x->response == NULL) {
            watch_start(x->peer);
            x->http->o.on_request(x, x->http->o.ctx);
        }
    }
    if (x->dropped)
        return MHD_NO;
    if (x->response != NULL)
        return send_answer(x);
    suspend(x);
    return MHD_YES;
}

static void on_completed(void *cls, struct MHD_Connection *conn, void **con_cls,
                         enum MHD_RequestTerminationCode why)
{
    (void)conn;
    struct http *h = cls;
    struct exchange *x = *con_cls;
    if (x == NULL)
        return;
    *con_cls = NULL;
    if (!x->settled) { /* libmicrohttpd found out first */
        x->settled = true;
        h->counts.left += x->stage != STAGE_HEAD;
        if (x->status == 0)
            x->status = x->stage == STAGE_HEAD ? 400 : 499; /* 400: libmicrohttpd refused it */
        if (x->on_gone != NULL)
            x->on_gone(x, x->gone_ctx);
    }
    watch_stop(x->peer);
    h->o.on_over(x, h->o.ctx);
    x->peer->x = NULL;
    x->peer->served = true;
    x->peer->since_ms = clock_ms();
    if (h->closing && why == MHD_REQUEST_TERMINATED_COMPLETED_OK)
        x->peer->since_ms = 0; /* the sweep closes it */
    if (x->response != NULL)
        MHD_destroy_response(x->response);
    for (int i = 0; i < x->n_header; i++) {
        free(x->header[i][0]);
        free(x->header[i][1]);
    }
    if (x->sink.on_over != NULL)
        x->sink.on_over(x->sink.ctx);
    exchange_drop_body(x);
    buf_release(&x->out);
    free(x->path);
    free(x);
    h->n_exchanges--;
}

/* ---- deadlines ---- */

/* An answer where libmicrohttpd takes none (in the middle of a head or body): nothing was sent on
 * this connection since the last answer's end, so writing to the socket is in order. */
static void end_raw(struct exchange *x, int status, const char *reason, int err_code,
                    const char *text)
{
    struct buf body, all;
    buf_init(&body, 4096);
    buf_init(&all, 8192);
    x->http->o.write_error(x, err_code, text, &body);
    buf_printf(&all,
               "HTTP/1.1 %d %s\r\nConnection: close\r\nContent-Type: application/json\r\n"
               "x-request-id: %s\r\nContent-Length: %zu\r\n\r\n",
               status, reason, x->id, body.len);
    buf_add_str(&all, buf_str(&body));
    if (send(x->peer->fd, all.ptr, all.len, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
        log_debug("http: a refused client could not be told: %s", strerror(errno));
    buf_release(&body);
    buf_release(&all);
    x->status = status;
    x->settled = true;
    drop(x, false);
}

/*
 * The end of a client that left in the middle of its body may have arrived together with bytes:
 * libmicrohttpd read those, and its edge-triggered epoll tells of nothing more.
 */
static bool left_in_body(const struct exchange *x)
{
    char byte;
    return x->stage == STAGE_BODY && !x->suspended &&
           recv(x->peer->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0;
}

static void sweep_exchange(struct http *h, struct exchange *x, int64_t now_ms)
{
    int64_t age_ms = now_ms - x->since_ms;
    if (x->dropped)
        return;
    if (x->stage == STAGE_HEAD && age_ms > h->o.head_timeout_ms) {
        h->counts.deadline_head++;
        end_raw(x, 408, "Request Timeout", ERR_TIMEOUT, "the request's head took too long");
    } else if (x->stage == STAGE_BODY && !x->suspended && age_ms > h->o.body_timeout_ms) {
        h->counts.deadline_body++;
        end_raw(x, 408, "Request Timeout", ERR_TIMEOUT, "the request's body took too long");
    } else if (left_in_body(x)) {
        h->counts.left++;
        drop(x, true);
    } else if (x->stage == STAGE_SEND && !x->suspended && age_ms > h->o.write_timeout_ms) {
        h->counts.stalled++;
        drop(x, true);
    }
}

static void sweep_idle(struct http *h, struct peer *p, int64_t now_ms)
{
    static const char late[] = "HTTP/1.1 408 Request Timeout\r\nConnection: close\r\n"
                               "Content-Length: 0\r\n\r\n";
    int64_t max_ms = p->served ? h->o.idle_timeout_ms : h->o.head_timeout_ms;
    if (p->ended || now_ms - p->since_ms <= (h->closing ? 0 : max_ms))
        return;
    if (!p->served && !h->closing) {
        h->counts.deadline_head++;
        (void)!send(p->fd, late, sizeof late - 1, MSG_NOSIGNAL | MSG_DONTWAIT);
    }
    p->ended = true;
    shutdown(p->fd, SHUT_RDWR);
}

static void on_sweep(uv_timer_t *t)
{
    struct http *h = t->data;
    int64_t now_ms = clock_ms();
    struct peer *next;
    if (h->peers == NULL)
        uv_timer_stop(t);
    for (struct peer *p = h->peers; p != NULL; p = next) {
        next = p->next;
        if (p->x != NULL)
            sweep_exchange(h, p->x, now_ms);
        else
            sweep_idle(h, p, now_ms);
    }
}

/* ---- life ---- */

static void on_panic(void *cls, const char *file, unsigned line, const char *reason)
{
    (void)cls;
    log_error("http: libmicrohttpd gives up at %s:%u: %s", file, line, reason);
    abort();
}

static void on_library_log(void *cls, const char *fmt, va_list ap)
    __attribute__((format(printf, 2, 0)));
static void on_library_log(void *cls, const char *fmt, va_list ap)
{
    (void)cls;
    char text[256];
    vsnprintf(text, sizeof text, fmt, ap);
    text[strcspn(text, "\r\n")] = '\0';
    log_debug("http: %s", text);
}

int http_new(const struct http_opts *opts, struct http **ret, struct err *err)
{
    struct http *h = mem_zero(1, sizeof *h);
    h->o = *opts;
    MHD_set_panic_func(on_panic, NULL);
    h->daemon = MHD_start_daemon(
        MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG, 0, NULL, NULL, on_access, h,
        MHD_OPTION_EXTERNAL_LOGGER, on_library_log, h, MHD_OPTION_LISTEN_SOCKET, opts->listen_fd,
        MHD_OPTION_CONNECTION_LIMIT, (unsigned)opts->connections_max,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)HEAD_BYTES_MAX, MHD_OPTION_CONNECTION_TIMEOUT,
        0u, MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_SIGPIPE_HANDLED_BY_APP, 1,
        MHD_OPTION_NOTIFY_CONNECTION, on_connection, h, MHD_OPTION_NOTIFY_COMPLETED, on_completed,
        h, MHD_OPTION_URI_LOG_CALLBACK, on_uri, h, MHD_OPTION_END);
    const union MHD_DaemonInfo *info =
        h->daemon == NULL ? NULL : MHD_get_daemon_info(h->daemon, MHD_DAEMON_INFO_EPOLL_FD);
    if (info == NULL || uv_poll_init(opts->loop, &h->poll, info->epoll_fd) != 0) {
        int errnum = errno;
        if (h->daemon != NULL)
            MHD_stop_daemon(h->daemon);
        free(h);
        return err_set_errno(err, errnum, "the HTTP server cannot start");
    }
    h->poll.data = h;
    h->pump_timer.data = h;
    h->sweep_timer.data = h;
    uv_timer_init(opts->loop, &h->pump_timer);
    uv_timer_init(opts->loop, &h->sweep_timer);
    uv_poll_start(&h->poll, UV_READABLE, on_daemon_ready);
    pump(h);
    *ret = h;
    return 0;
}

void http_close_listener(struct http *h)
{
    if (h->closing)
        return;
    h->closing = true;
    MHD_socket fd = MHD_quiesce_daemon(h->daemon);
    if (fd != MHD_INVALID_SOCKET)
        close(fd);
}

static void on_handle_closed(uv_handle_t *handle)
{
    struct http *h = handle->data;
    if (--h->n_handles == 0)
        free(h);
}

void http_free(struct http *h)
{
    if (h == NULL)
        return;
    http_close_listener(h);
    for (struct peer *p = h->peers; p != NULL; p = p->next) {
        if (p->x != NULL)
            drop(p->x, true);
        p->ended = true;
    }
    for (int i = 0; i < 4; i++) /* resumed connections come back to life, then close */
        MHD_run(h->daemon);
    uv_poll_stop(&h->poll);
    MHD_stop_daemon(h->daemon);
    h->n_handles = 3;
    uv_close((uv_handle_t *)&h->poll, on_handle_closed);
    uv_close((uv_handle_t *)&h->pump_timer, on_handle_closed);
    uv_close((uv_handle_t *)&h->sweep_timer, on_handle_closed);
}

int http_n_exchanges(const struct http *h)
{
    return h->n_exchanges;
}

int http_n_connections(const struct http *h)
{
    return h->n_peers;
}

const struct http_counts *http_counts(const struct http *h)
{
    return &h->counts;
}

/* ---- the request, for its owner ---- */

enum http_method exchange_method(const struct exchange *x)
{
    return x->method;
}

const char *exchange_path(const struct exchange *x)
{
    return x->path;
}

const char *exchange_header(const struct exchange *x, const char *name)
{
    return MHD_lookup_connection_value(x->conn, MHD_HEADER_KIND, name);
}

const char *exchange_query(const struct exchange *x, const char *name)
{
    return MHD_lookup_connection_value(x->conn, MHD_GET_ARGUMENT_KIND, name);
}

void exchange_take_body(struct exchange *x, const struct exchange_sink *sink)
{
    x->sink = *sink;
    x->body_max = sink->bytes_max;
}

void *exchange_sink_ctx(const struct exchange *x)
{
    return x->sink.ctx;
}

void exchange_pause(struct exchange *x)
{
    x->paused = true;
}

void exchange_go_on(struct exchange *x)
{
    x->paused = false;
    resume(x);
}

struct str exchange_body(const struct exchange *x)
{
    return buf_str(&x->body);
}

void exchange_drop_body(struct exchange *x)
{
    x->http->body_bytes -= (int64_t)x->body.len;
    buf_release(&x->body);
    buf_init(&x->body, (size_t)x->http->o.body_bytes_max + 1);
}

const char *exchange_id(const struct exchange *x)
{
    return x->id;
}

int exchange_status(const struct exchange *x)
{
    return x->status;
}

int64_t exchange_start_ns(const struct exchange *x)
{
    return x->start_ns;
}

void *exchange_tag(const struct exchange *x)
{
    return x->tag;
}

void exchange_set_tag(struct exchange *x, void *tag)
{
    x->tag = tag;
}

void exchange_on_gone(struct exchange *x, void (*on_gone)(struct exchange *x, void *ctx), void *ctx)
{
    x->on_gone = on_gone;
    x->gone_ctx = ctx;
}

/* ---- the answer ---- */

void exchange_add_header(struct exchange *x, const char *name, const char *value)
{
    CHECK(x->n_header < HEADERS_MAX);
    x->header[x->n_header][0] = str_dup(str_z(name));
    x->header[x->n_header++][1] = str_dup(str_z(value));
}

/* Takes r; NULL (no memory for it) costs the client its connection, not the server its life. */
static void set_answer(struct exchange *x, int status, const char *type, struct MHD_Response *r)
{
    CHECK(x->response == NULL && !x->settled);
    if (r == NULL) {
        x->status = 503;
        drop(x, false);
        return;
    }
    if (type != NULL)
        MHD_add_response_header(r, "Content-Type", type);
    MHD_add_response_header(r, "x-request-id", x->id);
    MHD_add_response_header(r, "X-Content-Type-Options", "nosniff");
    if (x->http->closing)
        MHD_add_response_header(r, "Connection", "close");
    for (int i = 0; i < x->n_header; i++)
        MHD_add_response_header(r, x->header[i][0], x->header[i][1]);
    x->status = status;
    x->response = r;
}

void exchange_reply(struct exchange *x, int status, const char *type, struct str body)
{
    struct MHD_Response *r = MHD_create_response_from_buffer(
        body.len, (void *)(body.ptr ? body.ptr : ""), MHD_RESPMEM_MUST_COPY);
    set_answer(x, status, type, r);
    x->settled = true;
    resume(x);
}

void exchange_reply_static(struct exchange *x, int status, const char *type, const void *data,
                           size_t len)
{
    struct MHD_Response *r =
        MHD_create_response_from_buffer(len, (void *)data, MHD_RESPMEM_PERSISTENT);
    set_answer(x, status, type, r);
    x->settled = true;
    resume(x);
}

void exchange_reply_file(struct exchange *x, int status, const char *type, int fd, int64_t bytes)
{
    struct MHD_Response *r = MHD_create_response_from_fd64((uint64_t)bytes, fd);
    if (r == NULL)
        close(fd);
    set_answer(x, status, type, r);
    x->settled = true;
    resume(x);
}

/* libmicrohttpd wants more of a stream. */
static ssize_t on_stream_read(void *cls, uint64_t pos, char *to, size_t max)
{
    (void)pos;
    struct exchange *x = cls;
    size_t left = x->out.len - x->out_taken;
    if (x->dropped)
        return MHD_CONTENT_READER_END_WITH_ERROR;
    x->since_ms = clock_ms();
    if (left == 0 && x->stream_ended)
        return MHD_CONTENT_READER_END_OF_STREAM;
    if (left == 0) {
        suspend(x);
        return 0;
    }
    size_t n = left < max ? left : max;
    memcpy(to, x->out.ptr + x->out_taken, n);
    x->out_taken += n;
    if (x->out_taken == x->out.len) {
        buf_clear(&x->out);
        x->out_taken = 0;
    }
    return (ssize_t)n;
}

void exchange_begin(struct exchange *x, int status, const char *type)
{
    struct MHD_Response *r =
        MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, STREAM_BLOCK, on_stream_read, x, NULL);
    set_answer(x, status, type, r);
    x->streaming = true;
    resume(x);
}

bool exchange_write(struct exchange *x, struct str bytes)
{
    CHECK(x->streaming && !x->stream_ended);
    if (x->dropped)
        return false;
    if (x->out_taken > 0 && x->out_taken >= x->out.len / 2) {
        buf_consume(&x->out, x->out_taken);
        x->out_taken = 0;
    }
    /* One event may be larger than the limit: who had taken half of it was not slow. */
    size_t max = (size_t)x->http->o.client_buffer_bytes_max;
    size_t behind = x->out.len - x->out_taken;
    if ((behind > max / 2 && behind + bytes.len > max) || !buf_add_str(&x->out, bytes)) {
        x->http->counts.overflowed++;
        drop(x, false);
        return false;
    }
    resume(x);
    return true;
}

size_t exchange_behind(const struct exchange *x)
{
    return x->out.len - x->out_taken;
}

int64_t exchange_idle_ms(const struct exchange *x)
{
    return clock_ms() - x->since_ms;
}

void exchange_end(struct exchange *x)
{
    x->stream_ended = true;
    x->settled = true;
    resume(x);
}
