/*
 * fetch: see fetch.h. Owns retries, ranges and what libcurl's errors mean to a person. Knows no
 * registry and no manifest.
 */
#include "store/fetch.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/fs.h"
#include "base/json.h"
#include "base/mem.h"

#include <curl/curl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#define TRIES_MAX       5 /* in a row without a new byte */
#define BACKOFF_MS      500
#define BACKOFF_MS_MAX  8000
#define RETRY_AFTER_MAX 30
#define REDIRECTS_MAX   10L
#define CONNECT_MS      15000L
#define VALIDATOR_MAX   512
#define DISK_RESERVE    (INT64_C(16) << 20)

/* One request and its answer. */
struct attempt {
    struct fetch *f;
    CURL *easy;
    struct curl_slist *headers;
    char curl_error[CURL_ERROR_SIZE];
    struct fetch_reply *reply; /* of a text, or NULL */
    struct blob_writer *w;     /* of a blob, or NULL */
    int64_t want;              /* the blob's size, or -1 */
    int64_t offset;            /* where this attempt goes on */
    bool fixed;                /* the bytes behind the URL can never change */
    bool begun;                /* the first body byte of a success was seen */
    long status;
    int64_t range_from, range_total, length; /* -1: not said */
    int retry_after_s;
    char validator[VALIDATOR_MAX]; /* a strong ETag, or Last-Modified */
    bool validator_is_etag;
    char authenticate[1024], location[2048];
    const struct fetch_send *send; /* or NULL */
    int64_t n_sent;
    int code; /* ERR_* from a callback, its text in err */
    struct err *err;
};

static void global_init(void)
{
    CHECK(curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK);
}

int fetch_init(struct fetch *f, struct err *err)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, global_init);
    f->multi = curl_multi_init();
    if (f->multi == NULL)
        return err_set(err, ERR_NOMEM, "no memory for a download");
    return 0;
}

void fetch_release(struct fetch *f)
{
    if (f->multi != NULL)
        curl_multi_cleanup(f->multi);
    f->multi = NULL;
}

/* ---- what a URL and a status mean ---- */

static struct str url_host(const char *url)
{
    struct str s = str_z(url);
    ptrdiff_t at = str_find(s, STR("://"));
    s = str_from(s, at < 0 ? 0 : (size_t)at + 3);
    size_t end = 0;
    while (end < s.len && strchr("/?#", s.ptr[end]) == NULL)
        end++;
    s = str_sub(s, 0, end);
    ptrdiff_t user = str_rchr(s, '@');
    return str_from(s, (size_t)(user + 1));
}

static bool is_loopback(struct str host)
{
    ptrdiff_t colon = str_rchr(host, ':');
    if (colon >= 0 && (host.ptr[0] != '[' || host.ptr[colon - 1] == ']'))
        host = str_sub(host, 0, (size_t)colon);
    return str_eq_nocase(host, STR("localhost")) || str_eq_z(host, "[::1]") ||
           str_eq_z(host, "127.0.0.1");
}

bool fetch_url_allowed(const char *url, bool insecure, struct err *err)
{
    struct str s = str_z(url), host = url_host(url);
    bool https = str_starts(s, STR("https://"));
    bool http = str_starts(s, STR("http://"));
    if (host.len > 0 && (https || (http && (insecure || is_loopback(host)))))
        return true;
    if (http && host.len > 0)
        err_set(err, ERR_DENIED, "%.200s is not encrypted; --insecure fetches it all the same",
                url);
    else
        err_set(err, ERR_INVALID, "'%.200s' is not an http or https address", url);
    return false;
}

int fetch_status_error(long status, const char *url, struct err *err)
{
    struct str host = url_host(url);
    if (status == 404 || status == 410)
        return err_set(err, ERR_NOT_FOUND, "%.300s is not there (HTTP %ld)", url, status);
    if (status == 401 || status == 403)
        return err_set(err, ERR_DENIED,
                       "%.*s refuses access (HTTP %ld): the model may be private, gated, or not "
                       "exist",
                       STR_ARG(host), status);
    if (status == 429)
        return err_set(err, ERR_BUSY, "%.*s asks to come back later (HTTP 429)", STR_ARG(host));
    return err_set(err, ERR_UNAVAILABLE, "%.*s answers with HTTP %ld; try again later",
                   STR_ARG(host), status);
}

static int curl_failure(const struct attempt *a, CURLcode code, const char *url, struct err *err)
{
    struct str host = url_host(url);
    const char *why = a->curl_error[0] != '\0' ? a->curl_error : curl_easy_strerror(code);
    switch (code) {
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY:
        return err_set(err, ERR_UNAVAILABLE, "%.*s is not found: no network, or a wrong name?",
                       STR_ARG(host));
    case CURLE_COULDNT_CONNECT:
        return err_set(err, ERR_UNAVAILABLE, "%.*s cannot be reached: no network? (%s)",
                       STR_ARG(host), why);
    case CURLE_OPERATION_TIMEDOUT:
        return err_set(err, ERR_TIMEOUT, "%.*s does not send any more (%s); run it again to go on",
                       STR_ARG(host), why);
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
        return err_set(err, ERR_DENIED, "the certificate of %.*s is not accepted: %s",
                       STR_ARG(host), why);
    case CURLE_UNSUPPORTED_PROTOCOL:
        return err_set(err, ERR_DENIED, "%.*s leads to an address that is not encrypted",
                       STR_ARG(host));
    case CURLE_TOO_MANY_REDIRECTS:
        return err_set(err, ERR_UNAVAILABLE, "%.*s redirects in circles", STR_ARG(host));
    default:
        return err_set(err, ERR_IO, "%.*s: %s; run it again to go on", STR_ARG(host), why);
    }
}

static bool curl_may_retry(CURLcode code, bool reached)
{
    switch (code) {
    case CURLE_PARTIAL_FILE:
    case CURLE_RECV_ERROR:
    case CURLE_SEND_ERROR:
    case CURLE_GOT_NOTHING:
    case CURLE_HTTP2:
    case CURLE_HTTP2_STREAM:
        return true;
    case CURLE_OPERATION_TIMEDOUT:
    case CURLE_COULDNT_CONNECT:
    case CURLE_COULDNT_RESOLVE_HOST:
        return reached;
    default:
        return false;
    }
}

static bool status_may_retry(long status)
{
    return status == 408 || status == 429 || status >= 500;
}

/* ---- callbacks ---- */

static bool header_is(struct str line, const char *name, struct str *ret_value)
{
    struct str n = str_z(name);
    if (line.len <= n.len || line.ptr[n.len] != ':' || !str_eq_nocase(str_sub(line, 0, n.len), n))
        return false;
    *ret_value = str_trim(str_from(line, n.len + 1));
    return true;
}

static void forget_headers(struct attempt *a)
{
    a->range_from = a->range_total = a->length = -1;
    a->retry_after_s = -1;
    a->validator[0] = a->authenticate[0] = a->location[0] = '\0';
    a->validator_is_etag = false;
}

static void copy_header(struct str value, char *ret, size_t size)
{
    if (value.len >= size || memchr(value.ptr, '\0', value.len) != NULL)
        return;
    memcpy(ret, value.ptr, value.len);
    ret[value.len] = '\0';
}

/* "bytes 100-199/200" */
static void parse_range(struct attempt *a, struct str v)
{
    ptrdiff_t dash = str_chr(v, '-'), slash = str_chr(v, '/');
    int64_t from, total;
    if (!str_starts(v, STR("bytes ")) || dash < 6 || slash < dash)
        return;
    if (str_to_i64(str_sub(v, 6, (size_t)dash - 6), &from) && from >= 0)
        a->range_from = from;
    if (str_to_i64(str_from(v, (size_t)slash + 1), &total) && total >= 0)
        a->range_total = total;
}

static size_t on_header(char *data, size_t size, size_t n, void *user)
{
    struct attempt *a = user;
    struct str line = {data, size * n}, v;
    int64_t number;
    if (str_starts(line, STR("HTTP/"))) {
        forget_headers(a); /* of a redirect, or of 100 Continue */
        a->f->reached = true;
    } else if (header_is(line, "content-range", &v)) {
        parse_range(a, v);
    } else if (header_is(line, "content-length", &v)) {
        if (str_to_i64(v, &number) && number >= 0)
            a->length = number;
    } else if (header_is(line, "retry-after", &v)) {
        if (str_to_i64(v, &number) && number >= 0)
            a->retry_after_s = number > RETRY_AFTER_MAX ? RETRY_AFTER_MAX : (int)number;
    } else if (header_is(line, "etag", &v)) {
        if (v.len > 2 && v.ptr[0] == '"') {
            copy_header(v, a->validator, sizeof(a->validator));
            a->validator_is_etag = true;
        }
    } else if (header_is(line, "last-modified", &v)) {
        if (!a->validator_is_etag)
            copy_header(v, a->validator, sizeof(a->validator));
    } else if (header_is(line, "www-authenticate", &v)) {
        copy_header(v, a->authenticate, sizeof(a->authenticate));
    } else if (header_is(line, "docker-upload-location", &v) ||
               (a->location[0] == '\0' && header_is(line, "location", &v))) {
        copy_header(v, a->location, sizeof(a->location));
    }
    return size * n;
}

/* Beside a partial file whose bytes could change at the server: what proves that they did not. */
static char *meta_path(const struct blob_writer *w)
{
    size_t len = strlen(w->partial);
    char *ret = mem_alloc(len + 6);
    snprintf(ret, len + 6, "%s.meta", w->partial);
    return ret;
}

static bool read_meta(const struct blob_writer *w, char ret[VALIDATOR_MAX])
{
    char *path = meta_path(w);
    struct buf text;
    buf_init(&text, VALIDATOR_MAX - 1);
    bool ok = fs_read(path, &text, NULL) == 0 && text.len > 0 &&
              memchr(text.ptr, '\0', text.len) == NULL && memchr(text.ptr, '\n', text.len) == NULL;
    if (ok) {
        memcpy(ret, text.ptr, text.len);
        ret[text.len] = '\0';
    }
    buf_release(&text);
    free(path);
    return ok;
}

static void write_meta(const struct blob_writer *w, const char *validator)
{
    char *path = meta_path(w);
    if (validator[0] == '\0' || fs_write_atomic(path, str_z(validator), 0644, NULL) != 0)
        unlink(path); /* then the next run begins anew */
    free(path);
}

/* The first byte of a 200 or 206: does it fit to what the writer holds, and is there room? */
static int begin_blob(struct attempt *a)
{
    struct blob_writer *w = a->w;
    int rc = 0;
    a->begun = true;
    if (a->status == 206 && a->range_from != w->bytes)
        return err_set(a->err, ERR_CORRUPT, "the server sends another part than was asked for");
    if (a->status == 200 && w->bytes > 0)
        rc = blob_writer_restart(w, a->err); /* it knows no ranges, or the file has changed */
    if (rc == 0 && !a->fixed)
        write_meta(w, a->validator);
    int64_t total = a->status == 206 ? a->range_total : a->length;
    if (rc == 0 && a->want >= 0 && total >= 0 && total != a->want)
        return err_set(a->err, ERR_CORRUPT, "the server has %lld bytes where %lld were announced",
                       (long long)total, (long long)a->want);
    if (a->want < 0)
        a->want = total;
    int64_t room = fs_free_bytes(w->dir);
    if (rc == 0 && room >= 0 && a->want >= 0 && a->want - w->bytes > room - DISK_RESERVE)
        return err_set(a->err, ERR_IO, "no room at %s: %lld MiB more are needed, %lld are free",
                       w->dir, (long long)((a->want - w->bytes) >> 20), (long long)(room >> 20));
    return rc;
}

static size_t on_body(char *data, size_t size, size_t n, void *user)
{
    struct attempt *a = user;
    size_t len = size * n;
    curl_easy_getinfo(a->easy, CURLINFO_RESPONSE_CODE, &a->status);
    if (a->reply != NULL) {
        if (buf_add(&a->reply->text, data, len))
            return len;
        a->code = err_set(a->err, ERR_TOO_LARGE, "the answer is larger than %zu KiB",
                          a->reply->text.max >> 10);
        return 0;
    }
    if (a->status != 200 && a->status != 206)
        return len; /* the page of an error: not for the file */
    if (!a->begun && (a->code = begin_blob(a)) != 0)
        return 0;
    if (a->want >= 0 && (int64_t)len > a->want - a->w->bytes) {
        a->code = err_set(a->err, ERR_CORRUPT, "the server sends more than it announced");
        return 0;
    }
    a->code = blob_writer_add(a->w, data, len, a->err);
    if (a->code != 0)
        return 0;
    if (a->f->progress != NULL)
        a->f->progress(a->f->progress_arg, a->w->bytes);
    return len;
}

/* ---- one attempt ---- */

static bool stopped(const struct fetch *f)
{
    return f->stop != NULL && *f->stop != 0;
}

static int cancelled(struct err *err)
{
    return err_set(err, ERR_CANCELLED, "interrupted; run it again to go on");
}

static void add_header(struct attempt *a, const char *name, const char *value)
{
    struct buf line;
    buf_init(&line, 16384);
    CHECK(buf_printf(&line, "%s: %s", name, value));
    struct curl_slist *more = curl_slist_append(a->headers, line.ptr);
    CHECK(more != NULL);
    a->headers = more;
    buf_release(&line);
}

/* curl wants more of what is sent. */
static size_t on_wanted(char *to, size_t size, size_t n, void *user)
{
    struct attempt *a = user;
    const struct fetch_send *s = a->send;
    int64_t left = s->bytes - a->n_sent;
    size_t take = size * n;
    if (left < (int64_t)take)
        take = left > 0 ? (size_t)left : 0;
    if (!s->from_file) {
        memcpy(to, s->text.ptr + a->n_sent, take);
    } else if (take > 0) {
        ssize_t got = pread(s->fd, to, take, (off_t)(s->offset + a->n_sent));
        if (got <= 0) {
            a->code = err_set(a->err, ERR_IO, "the file that is sent cannot be read");
            return CURL_READFUNC_ABORT;
        }
        take = (size_t)got;
    }
    a->n_sent += (int64_t)take;
    if (s->progress != NULL)
        s->progress(s->progress_arg, a->n_sent);
    return take;
}

static void set_up_send(struct attempt *a)
{
    const struct fetch_send *s = a->send;
    bool head = strcmp(s->method, "HEAD") == 0;
    curl_easy_setopt(a->easy, CURLOPT_FOLLOWLOCATION, head ? 1L : 0L);
    if (head) {
        curl_easy_setopt(a->easy, CURLOPT_NOBODY, 1L);
        return;
    }
    if (s->bytes > 0) {
        curl_easy_setopt(a->easy, CURLOPT_UPLOAD, 1L);
        curl_easy_setopt(a->easy, CURLOPT_INFILESIZE_LARGE, (curl_off_t)s->bytes);
        curl_easy_setopt(a->easy, CURLOPT_READFUNCTION, on_wanted);
        curl_easy_setopt(a->easy, CURLOPT_READDATA, a);
    } else {
        curl_easy_setopt(a->easy, CURLOPT_POSTFIELDS, "");
        curl_easy_setopt(a->easy, CURLOPT_POSTFIELDSIZE, 0L);
    }
    curl_easy_setopt(a->easy, CURLOPT_CUSTOMREQUEST, s->method);
    if (s->range != NULL)
        add_header(a, "Content-Range", s->range);
    add_header(a, "Content-Type", s->type != NULL ? s->type : "application/octet-stream");
    add_header(a, "Expect", ""); /* no waiting for 100 Continue */
}

static int set_up(struct attempt *a, const struct fetch_request *rq, const char *if_range,
                  struct err *err)
{
    a->easy = curl_easy_init();
    if (a->easy == NULL)
        return err_set(err, ERR_NOMEM, "no memory for a download");
    bool http = str_starts(str_z(rq->url), STR("http://"));
    const char *protocols = http || a->f->insecure ? "http,https" : "https";
    if (rq->accept != NULL)
        add_header(a, "Accept", rq->accept);
    if (rq->bearer != NULL) {
        curl_easy_setopt(a->easy, CURLOPT_HTTPAUTH, (long)CURLAUTH_BEARER);
        curl_easy_setopt(a->easy, CURLOPT_XOAUTH2_BEARER, rq->bearer);
    }
    if (a->offset > 0) {
        char range[32];
        snprintf(range, sizeof(range), "%lld-", (long long)a->offset);
        curl_easy_setopt(a->easy, CURLOPT_RANGE, range);
        if (if_range != NULL)
            add_header(a, "If-Range", if_range);
    }
    if (a->send != NULL)
        set_up_send(a);
    long stall_s = (a->f->stall_ms + 999) / 1000;
    curl_easy_setopt(a->easy, CURLOPT_URL, rq->url);
    curl_easy_setopt(a->easy, CURLOPT_HTTPHEADER, a->headers);
    curl_easy_setopt(a->easy, CURLOPT_USERAGENT, "hearth/" HEARTH_VERSION);
    curl_easy_setopt(a->easy, CURLOPT_PROTOCOLS_STR, protocols);
    curl_easy_setopt(a->easy, CURLOPT_REDIR_PROTOCOLS_STR, protocols);
    if (a->send == NULL)
        curl_easy_setopt(a->easy, CURLOPT_FOLLOWLOCATION, 1L);
    curl_easy_setopt(a->easy, CURLOPT_MAXREDIRS, REDIRECTS_MAX);
    curl_easy_setopt(a->easy, CURLOPT_CONNECTTIMEOUT_MS, CONNECT_MS);
    curl_easy_setopt(a->easy, CURLOPT_LOW_SPEED_LIMIT, 1L);
    curl_easy_setopt(a->easy, CURLOPT_LOW_SPEED_TIME, stall_s > 0 ? stall_s : 30L);
    curl_easy_setopt(a->easy, CURLOPT_BUFFERSIZE, 256L * 1024);
    curl_easy_setopt(a->easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(a->easy, CURLOPT_ERRORBUFFER, a->curl_error);
    curl_easy_setopt(a->easy, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(a->easy, CURLOPT_HEADERDATA, a);
    curl_easy_setopt(a->easy, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(a->easy, CURLOPT_WRITEDATA, a);
    return 0;
}

static void tear_down(struct attempt *a)
{
    if (a->easy != NULL)
        curl_easy_cleanup(a->easy);
    curl_slist_free_all(a->headers);
    a->easy = NULL;
    a->headers = NULL;
}

/* Runs the request. *ret_curl says how it ended where no callback refused it. */
static int perform(struct attempt *a, const struct fetch_request *rq, const char *if_range,
                   CURLcode *ret_curl, struct err *err)
{
    forget_headers(a);
    a->err = err;
    int rc = set_up(a, rq, if_range, err);
    if (rc != 0) {
        tear_down(a);
        return rc;
    }
    curl_multi_add_handle(a->f->multi, a->easy);
    int running = 1;
    while (running > 0 && !stopped(a->f)) {
        if (curl_multi_perform(a->f->multi, &running) != CURLM_OK)
            break;
        if (running > 0)
            curl_multi_poll(a->f->multi, NULL, 0, 100, NULL);
    }
    *ret_curl = CURLE_ABORTED_BY_CALLBACK;
    int left;
    for (CURLMsg *m; (m = curl_multi_info_read(a->f->multi, &left)) != NULL;)
        if (m->msg == CURLMSG_DONE && m->easy_handle == a->easy)
            *ret_curl = m->data.result;
    curl_easy_getinfo(a->easy, CURLINFO_RESPONSE_CODE, &a->status);
    curl_multi_remove_handle(a->f->multi, a->easy);
    tear_down(a);
    if (running > 0 && stopped(a->f))
        return cancelled(err);
    return a->code;
}

/* Waits before try number i; false when asked to stop. */
static bool back_off(const struct fetch *f, int i, int retry_after_s)
{
    int64_t ms = (int64_t)BACKOFF_MS << i;
    if (ms > BACKOFF_MS_MAX)
        ms = BACKOFF_MS_MAX;
    if (retry_after_s >= 0)
        ms = (int64_t)retry_after_s * 1000;
    for (int64_t end = clock_ms() + ms; clock_ms() < end;) {
        if (stopped(f))
            return false;
        usleep(50 * 1000);
    }
    return true;
}

/* ---- text ---- */

int fetch_text(struct fetch *f, const struct fetch_request *rq, struct fetch_reply *ret,
               struct err *err)
{
    if (!fetch_url_allowed(rq->url, f->insecure, err))
        return ERR_INVALID;
    for (int i = 0;; i++) {
        struct attempt a = {.f = f, .reply = ret, .want = -1, .send = rq->send};
        CURLcode curl;
        buf_clear(&ret->text);
        int rc = perform(&a, rq, NULL, &curl, err);
        if (rc != 0)
            return rc;
        if (curl == CURLE_OK && (!status_may_retry(a.status) || i + 1 >= TRIES_MAX)) {
            ret->status = a.status;
            memcpy(ret->authenticate, a.authenticate, sizeof(a.authenticate));
            memcpy(ret->location, a.location, sizeof(a.location));
            return 0;
        }
        if (curl != CURLE_OK && (!curl_may_retry(curl, f->reached) || i + 1 >= TRIES_MAX))
            return curl_failure(&a, curl, rq->url, err);
        if (!back_off(f, i, curl == CURLE_OK ? a.retry_after_s : -1))
            return cancelled(err);
    }
}

/* ---- blob ---- */

/* True when the blob is complete; else *err holds why, and *ret_fatal whether to give up. */
static bool judge(struct attempt *a, CURLcode curl, const char *url, bool *ret_fatal,
                  struct err *err)
{
    *ret_fatal = false;
    if (curl != CURLE_OK) {
        *ret_fatal = !curl_may_retry(curl, a->f->reached);
        curl_failure(a, curl, url, err);
        return false;
    }
    if (a->status == 416) { /* nothing after the bytes that are there: right, or another file */
        if (a->want >= 0 && a->w->bytes == a->want)
            return true;
        *ret_fatal = blob_writer_restart(a->w, err) != 0;
        if (!*ret_fatal)
            fetch_status_error(416, url, err);
        return false;
    }
    if (a->status != 200 && a->status != 206) {
        *ret_fatal = !status_may_retry(a->status);
        fetch_status_error(a->status, url, err);
        return false;
    }
    if (!a->begun && a->want < 0)
        a->want = a->length; /* an empty body */
    if (a->want >= 0 && a->w->bytes < a->want) {
        err_set(err, ERR_IO, "the server stops after %lld of %lld bytes; run it again to go on",
                (long long)a->w->bytes, (long long)a->want);
        return false;
    }
    return true;
}

/* Bytes of an earlier run that cannot be proved to belong to this blob go. */
static int take_or_drop(struct blob_writer *w, int64_t bytes, bool fixed,
                        char validator[VALIDATOR_MAX], struct err *err)
{
    validator[0] = '\0';
    bool good = fixed || read_meta(w, validator);
    if (w->bytes == 0 || (good && (bytes < 0 || w->bytes <= bytes)))
        return 0;
    return blob_writer_restart(w, err);
}

int fetch_blob(struct fetch *f, const struct fetch_request *rq, int64_t bytes, bool fixed,
               struct blob_writer *w, struct err *err)
{
    char validator[VALIDATOR_MAX];
    if (!fetch_url_allowed(rq->url, f->insecure, err))
        return ERR_INVALID;
    int begun = take_or_drop(w, bytes, fixed, validator, err);
    if (begun != 0)
        return begun;
    for (int tries = 0;;) {
        if (bytes >= 0 && w->bytes == bytes)
            return 0;
        struct attempt a = {.f = f, .w = w, .want = bytes, .offset = w->bytes, .fixed = fixed};
        CURLcode curl;
        int rc = perform(&a, rq, validator[0] != '\0' ? validator : NULL, &curl, err);
        if (!fixed && a.begun)
            memcpy(validator, a.validator, sizeof(validator));
        if (rc != 0)
            return rc;
        bool fatal;
        if (judge(&a, curl, rq->url, &fatal, err)) {
            if (!fixed)
                write_meta(w, "");
            return 0;
        }
        if (!fixed && validator[0] == '\0' && blob_writer_restart(w, err) != 0)
            return ERR_IO;
        tries = w->bytes > a.offset ? 1 : tries + 1;
        if (fatal || tries >= TRIES_MAX)
            return err->code;
        if (!back_off(f, tries - 1, a.retry_after_s))
            return cancelled(err);
        err_clear(err);
    }
}
