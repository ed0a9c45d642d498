/*
 * client: see client.h. HTTP and the event stream; the private server is in client_server.c.
 */
#include "cli/client.h"

#include "base/json.h"
#include "base/mem.h"

#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ANSWER_MAX (16 * 1024 * 1024)
#define EVENT_MAX  (4 * 1024 * 1024)
#define CONNECT_MS 5000L
#define ALIVE_MS   2000L
#define URL_MAX    512

struct call {
    const struct client_stream *stream; /* or NULL */
    struct buf text;                    /* the answer, or the stream's unread rest */
    CURL *easy;
    bool too_large;
};

void client_init(struct client *c)
{
    *c = (struct client){.host = "127.0.0.1", .port = 11434};
}

static void write_url(const struct client *c, const char *path, char ret[URL_MAX])
{
    const char *host = c->host;
    if (strcmp(host, "0.0.0.0") == 0) /* where a server listens is not where one calls */
        host = "127.0.0.1";
    else if (strcmp(host, "::") == 0)
        host = "::1";
    bool v6 = strchr(host, ':') != NULL;
    snprintf(ret, URL_MAX, "http://%s%.256s%s:%d%s", v6 ? "[" : "", host, v6 ? "]" : "", c->port,
             path);
}

/* ---- the event stream ---- */

static void take_line(struct call *call, struct str line)
{
    if (!str_starts(line, STR("data:")))
        return;
    line = str_trim(str_from(line, 5));
    if (str_eq_z(line, "[DONE]"))
        return;
    json_t *value = json_parse(line, JSON_DEPTH_MAX, NULL);
    if (value != NULL)
        call->stream->event(call->stream->arg, value);
    json_decref(value);
}

static void take_lines(struct call *call)
{
    struct str rest = buf_str(&call->text);
    size_t used = 0;
    for (ptrdiff_t at; (at = str_chr(rest, '\n')) >= 0;) {
        take_line(call, str_sub(rest, 0, (size_t)at));
        rest = str_from(rest, (size_t)at + 1);
        used += (size_t)at + 1;
    }
    buf_consume(&call->text, used);
}

static size_t on_body(char *data, size_t size, size_t n, void *user)
{
    struct call *call = user;
    long status = 0;
    curl_easy_getinfo(call->easy, CURLINFO_RESPONSE_CODE, &status);
    if (!buf_add(&call->text, data, size * n)) {
        call->too_large = true;
        return 0;
    }
    if (call->stream != NULL && status == 200)
        take_lines(call);
    return size * n;
}

/* ---- one call ---- */

/* {"error": {"message": text}} or {"error": text} */
static int server_error(long status, struct str body, struct err *err)
{
    json_t *top = json_parse(body, JSON_DEPTH_MAX, NULL);
    const json_t *error = json_object_get(top, "error");
    struct str text = json_str(error);
    if (json_is_object(error))
        text = json_str(json_object_get(error, "message"));
    int code = status == 404   ? ERR_NOT_FOUND
               : status == 401 ? ERR_AUTH
               : status == 403 ? ERR_DENIED
               : status == 400 ? ERR_INVALID
                               : ERR_UNAVAILABLE;
    if (text.len > 0)
        err_set(err, code, "%.*s", STR_ARG(str_sub(text, 0, 600)));
    else
        err_set(err, code, "the server answers with HTTP %ld", status);
    json_decref(top);
    return code;
}

/* Runs the transfer until it ends or *stop is set. */
static CURLcode transfer(CURL *easy, const volatile sig_atomic_t *stop)
{
    CURLM *multi = curl_multi_init();
    if (multi == NULL)
        return CURLE_OUT_OF_MEMORY;
    CURLcode ret = CURLE_ABORTED_BY_CALLBACK;
    int running = 1, left;
    curl_multi_add_handle(multi, easy);
    while (running > 0 && (stop == NULL || *stop == 0)) {
        if (curl_multi_perform(multi, &running) != CURLM_OK)
            break;
        if (running > 0)
            curl_multi_poll(multi, NULL, 0, 50, NULL);
    }
    for (CURLMsg *m; (m = curl_multi_info_read(multi, &left)) != NULL;)
        if (m->msg == CURLMSG_DONE)
            ret = m->data.result;
    curl_multi_remove_handle(multi, easy);
    curl_multi_cleanup(multi);
    return ret;
}

static struct curl_slist *make_headers(const struct client *c, bool body)
{
    struct curl_slist *headers = NULL;
    if (body)
        headers = curl_slist_append(headers, "Content-Type: application/json");
    headers = curl_slist_append(headers, "Expect:");
    if (c->api_key != NULL) {
        struct buf line;
        buf_init(&line, 8192);
        if (buf_printf(&line, "Authorization: Bearer %s", c->api_key))
            headers = curl_slist_append(headers, line.ptr);
        buf_release(&line);
    }
    return headers;
}

static int perform(const struct client *c, const char *path, const json_t *body, struct call *call,
                   long timeout_ms, struct err *err)
{
    char url[URL_MAX], *text = NULL;
    write_url(c, path, url);
    if (body != NULL)
        text = json_dumps(body, JSON_COMPACT);
    call->easy = curl_easy_init();
    if (call->easy == NULL || (body != NULL && text == NULL)) {
        free(text);
        return err_set(err, ERR_INVALID, "the request cannot be written: is it UTF-8 text?");
    }
    struct curl_slist *headers = make_headers(c, body != NULL);
    curl_easy_setopt(call->easy, CURLOPT_URL, url);
    curl_easy_setopt(call->easy, CURLOPT_PROTOCOLS_STR, "http");
    curl_easy_setopt(call->easy, CURLOPT_NOPROXY, "*");
    curl_easy_setopt(call->easy, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(call->easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(call->easy, CURLOPT_CONNECTTIMEOUT_MS, CONNECT_MS);
    curl_easy_setopt(call->easy, CURLOPT_TIMEOUT_MS, timeout_ms);
    curl_easy_setopt(call->easy, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(call->easy, CURLOPT_WRITEDATA, call);
    if (text != NULL) {
        curl_easy_setopt(call->easy, CURLOPT_POST, 1L);
        curl_easy_setopt(call->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)strlen(text));
        curl_easy_setopt(call->easy, CURLOPT_POSTFIELDS, text);
    }
    const volatile sig_atomic_t *stop = call->stream == NULL ? NULL : call->stream->stop;
    CURLcode code = transfer(call->easy, stop);
    long status = 0;
    curl_easy_getinfo(call->easy, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_cleanup(call->easy);
    curl_slist_free_all(headers);
    free(text);
    if (stop != NULL && *stop != 0)
        return err_set(err, ERR_CANCELLED, "interrupted");
    if (call->too_large)
        return err_set(err, ERR_TOO_LARGE, "the server's answer is too large");
    if (code == CURLE_COULDNT_CONNECT || code == CURLE_COULDNT_RESOLVE_HOST)
        return err_set(err, ERR_UNAVAILABLE,
                       "no server answers at %.256s:%d; start one with 'hearth serve'", c->host,
                       c->port);
    if (code != CURLE_OK)
        return err_set(err, ERR_UNAVAILABLE, "the connection to the server broke off: %s",
                       curl_easy_strerror(code));
    return status == 200 ? 0 : server_error(status, buf_str(&call->text), err);
}

bool client_alive(const struct client *c)
{
    struct call call = {0};
    struct err err = {0};
    buf_init(&call.text, ANSWER_MAX);
    int rc = perform(c, "/api/version", NULL, &call, ALIVE_MS, &err);
    buf_release(&call.text);
    return rc == 0;
}

int client_json(const struct client *c, const char *path, const json_t *body, json_t **ret,
                struct err *err)
{
    struct call call = {0};
    buf_init(&call.text, ANSWER_MAX);
    int rc = perform(c, path, body, &call, 0, err);
    json_t *top = NULL;
    if (rc == 0 && call.text.len > 0 &&
        (top = json_parse(buf_str(&call.text), JSON_DEPTH_MAX, NULL)) == NULL)
        rc = err_set(err, ERR_UNAVAILABLE, "what answers at %.256s:%d is no such server", c->host,
                     c->port);
    if (rc == 0)
        *ret = top;
    buf_release(&call.text);
    return rc;
}

int client_stream(const struct client *c, const char *path, const json_t *body,
                  const struct client_stream *s, struct err *err)
{
    struct call call = {.stream = s};
    buf_init(&call.text, EVENT_MAX);
    int rc = perform(c, path, body, &call, 0, err);
    buf_release(&call.text);
    return rc;
}
