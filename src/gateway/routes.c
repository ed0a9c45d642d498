/*
 * routes: from a request's head to the function that answers it, or to the reason why not.
 *
 * The table is the list of everything served. A route's name is its label in the metrics.
 */
#include "gateway/conversations.h"
#include "gateway/files.h"
#include "gateway/page.h"
#include "gateway/responses.h"
#include "gateway/server.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct route {
    const char *name; /* the path; with a final slash: everything below it */
    unsigned methods; /* bits of enum http_method; GET brings HEAD */
    bool open;        /* answered without a key */
    bool generates;   /* has a trace */
    enum api_dialect dialect;
    void (*serve)(struct server *s, struct exchange *x);
};

#define GET    (1u << HTTP_GET | 1u << HTTP_HEAD)
#define HEAD   (1u << HTTP_HEAD)
#define POST   (1u << HTTP_POST)
#define DELETE (1u << HTTP_DELETE)

static void serve_page(struct server *s, struct exchange *x);
static void serve_moderations(struct server *s, struct exchange *x);

static const struct route table[] = {
    {"/", GET, true, false, API_OPENAI, serve_page},
    {"/assets/", GET, true, false, API_OPENAI, serve_page},
    {"/health", GET, true, false, API_OPENAI, inventory_health},
    {"/openapi.json", GET, true, false, API_OPENAI, inventory_openapi},
    {"/metrics", GET, false, false, API_OPENAI, inventory_metrics},
    {"/v1/chat/completions", POST, false, true, API_OPENAI, completions_chat},
    {"/v1/completions", POST, false, true, API_OPENAI, completions_text},
    {"/chat/completions", POST, false, true, API_OPENAI, completions_chat},
    {"/v1/chat/completions/input_tokens", POST, false, false, API_OPENAI, llama_serve_count},
    {"/chat/completions/input_tokens", POST, false, false, API_OPENAI, llama_serve_count},
    {"/completion", POST, false, true, API_OPENAI, llama_serve_completion},
    {"/completions", POST, false, true, API_OPENAI, llama_serve_completion},
    {"/infill", POST, false, true, API_OPENAI, llama_serve_infill},
    {"/tokenize", POST, false, false, API_OPENAI, llama_serve_tokenize},
    {"/detokenize", POST, false, false, API_OPENAI, llama_serve_detokenize},
    {"/apply-template", POST, false, false, API_OPENAI, llama_serve_template},
    {"/props", GET, false, false, API_OPENAI, llama_serve_props},
    {"/slots", GET, false, false, API_OPENAI, llama_serve_slots},
    {"/models", GET, false, false, API_OPENAI, inventory_models},
    {"/v1/health", GET, true, false, API_OPENAI, inventory_health},
    {"/v1/responses", POST, false, true, API_OPENAI, responses_create},
    {"/v1/responses/input_tokens", POST, false, false, API_OPENAI, responses_count},
    {"/v1/responses/", GET | POST | DELETE, false, false, API_OPENAI, responses_one},
    {"/v1/conversations", POST, false, false, API_OPENAI, conversations_create},
    {"/v1/conversations/", GET | POST | DELETE, false, false, API_OPENAI, conversations_one},
    {"/v1/moderations", POST, false, false, API_OPENAI, serve_moderations},
    {"/v1/embeddings", POST, false, true, API_OPENAI, embeddings_openai},
    {"/embeddings", POST, false, true, API_OPENAI, embeddings_openai},
    {"/embedding", POST, false, true, API_OPENAI, embeddings_llama},
    {"/v1/rerank", POST, false, true, API_OPENAI, embeddings_rerank},
    {"/v1/reranking", POST, false, true, API_OPENAI, embeddings_rerank},
    {"/rerank", POST, false, true, API_OPENAI, embeddings_rerank},
    {"/reranking", POST, false, true, API_OPENAI, embeddings_rerank},
    {"/v1/files", GET | POST, false, false, API_OPENAI, files_collection},
    {"/v1/files/", GET | DELETE, false, false, API_OPENAI, files_one},
    {"/v1/batches", GET | POST, false, false, API_OPENAI, batches_collection},
    {"/v1/batches/", GET | POST, false, false, API_OPENAI, batches_one},
    {"/v1/messages", POST, false, true, API_ANTHROPIC, anthropic_serve_messages},
    {"/v1/messages/count_tokens", POST, false, false, API_ANTHROPIC, anthropic_serve_count},
    {"/v1/messages/batches", GET | POST, false, false, API_ANTHROPIC, message_batches_collection},
    {"/v1/messages/batches/", GET | POST | DELETE, false, false, API_ANTHROPIC,
     message_batches_one},
    {"/v1/models", GET, false, false, API_OPENAI, inventory_models},
    {"/v1/models/", GET | DELETE, false, false, API_OPENAI, inventory_model},
    {"/v1/requests", GET, false, false, API_OPENAI, requests_list},
    {"/v1/requests/", GET, false, false, API_OPENAI, requests_one},
    {"/api/embed", POST, false, true, API_OLLAMA, embeddings_ollama},
    {"/api/embeddings", POST, false, true, API_OLLAMA, embeddings_ollama_one},
    {"/api/version", GET, true, false, API_OLLAMA, inventory_version},
    {"/api/tags", GET, false, false, API_OLLAMA, inventory_tags},
    {"/api/ps", GET, false, false, API_OLLAMA, inventory_ps},
    {"/api/generate", POST, false, false, API_OLLAMA, ollama_serve_generate},
    {"/api/chat", POST, false, false, API_OLLAMA, ollama_serve_chat},
    {"/api/show", POST, false, false, API_OLLAMA, library_show},
    {"/api/create", POST, false, false, API_OLLAMA, library_create},
    {"/api/blobs/", HEAD | POST, false, false, API_OLLAMA, blob_upload_serve},
    {"/api/copy", POST, false, false, API_OLLAMA, library_copy},
    {"/api/delete", DELETE, false, false, API_OLLAMA, library_delete},
    {"/api/pull", POST, false, false, API_OLLAMA, library_pull},
    {"/api/push", POST, false, false, API_OLLAMA, library_push},
    {"/api/me", POST, false, false, API_OLLAMA, library_account},
    {"/api/signout", POST, false, false, API_OLLAMA, library_account},
    {"/api/user/keys/", DELETE, false, false, API_OLLAMA, library_account},
    {"/api/experimental/", GET | POST, false, false, API_OLLAMA, library_account},
};

static const struct route no_route = {"other", 0, false, false, API_OPENAI, NULL};

static const struct route *find_route(const char *path)
{
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        size_t n = strlen(table[i].name);
        bool below = n > 1 && table[i].name[n - 1] == '/';
        if (strcmp(path, table[i].name) == 0 ||
            (below && strncmp(path, table[i].name, n) == 0 && path[n] != '\0'))
            return &table[i];
    }
    return &no_route;
}

/* ---- answers that say no ---- */

struct visit *routes_visit(const struct exchange *x)
{
    return exchange_tag(x);
}

enum api_dialect routes_dialect(const struct exchange *x)
{
    const struct visit *v = routes_visit(x);
    if (v == NULL)
        return API_OPENAI;
    bool shared = v->route->serve == inventory_models || v->route->serve == inventory_model;
    if (shared && exchange_header(x, "anthropic-version") != NULL)
        return API_ANTHROPIC; /* both dialects have /v1/models */
    return v->route->dialect;
}

static void reply_status(struct exchange *x, int status, const struct err *err,
                         const struct api_counts *counts)
{
    struct buf body;
    struct api_counts more = counts == NULL ? (struct api_counts){0} : *counts;
    struct visit *v = routes_visit(x);
    if (v != NULL && v->trace != NULL)
        trace_failed(v->trace, err);
    more.request_id = exchange_id(x);
    ask_over(x);
    buf_init(&body, 16384);
    api_error_write(routes_dialect(x), err, &more, &body);
    exchange_reply(x, status, "application/json", buf_str(&body));
    buf_release(&body);
}

void reply_error(struct exchange *x, const struct err *err, const struct api_counts *counts)
{
    reply_status(x, api_status_in(routes_dialect(x), err->code), err, counts);
}

void routes_write_error(struct exchange *x, int err_code, const char *text, struct buf *out)
{
    struct err err = {0};
    struct api_counts more = {.request_id = exchange_id(x)};
    err_set(&err, err_code, "%s", text);
    api_error_write(routes_dialect(x), &err, &more, out);
}

static void refuse_method(struct exchange *x, const struct route *route)
{
    struct err err = {0};
    err_set(&err, ERR_UNSUPPORTED, "%s does not take this method", route->name);
    char allow[64];
    snprintf(allow, sizeof allow, "%s%s%sOPTIONS", route->methods & GET ? "GET, HEAD, " : "",
             route->methods & POST ? "POST, " : "", route->methods & DELETE ? "DELETE, " : "");
    exchange_add_header(x, "Allow", allow);
    if (exchange_method(x) == HTTP_OPTIONS)
        exchange_reply(x, 204, NULL, STR(""));
    else
        reply_status(x, 405, &err, NULL);
}

/* The caller is nobody's tenant until the key was found good. */
static int check_access(struct server *s, struct exchange *x, struct visit *v, struct err *err)
{
    const char *host = exchange_header(x, "Host");
    int code = access_check_host(s, host, err);
    if (code == 0)
        code = access_check_origin(exchange_header(x, "Origin"), host, err);
    if (code == 0 && !v->route->open)
        code = access_identify(s, x, &v->caller, err);
    return code;
}

void routes_on_head(struct exchange *x, void *ctx)
{
    struct server *s = ctx;
    struct err err = {0};
    const struct route *route = find_route(exchange_path(x));
    const char *encoding = exchange_header(x, "Content-Encoding");
    struct visit *v = mem_zero(1, sizeof *v);
    v->route = route;
    v->caller.tenant = UINT32_MAX;
    exchange_set_tag(x, v);
    if (routes_dialect(x) == API_ANTHROPIC)
        exchange_add_header(x, "request-id", exchange_id(x)); /* as its clients know an answer */
    int code = check_access(s, x, v, &err);
    if (route->generates && exchange_method(x) == HTTP_POST)
        v->trace =
            traces_open(&s->traces, exchange_id(x), &v->caller, route->name, exchange_start_ns(x));
    if (code == 0 && s->draining)
        code = err_set(&err, ERR_UNAVAILABLE, "the server is shutting down");
    if (code == 0 && route == &no_route)
        code = err_set(&err, ERR_NOT_FOUND, "there is nothing at %.200s", exchange_path(x));
    if (code == ERR_AUTH)
        exchange_add_header(x, "WWW-Authenticate", "Bearer");
    if (code == ERR_UNAVAILABLE)
        exchange_add_header(x, "Retry-After", "5");
    if (code != 0) {
        reply_error(x, &err, NULL);
    } else if (!(route->methods & 1u << exchange_method(x))) {
        refuse_method(x, route);
    } else if (encoding != NULL && strcmp(encoding, "identity") != 0) {
        err_set(&err, ERR_UNSUPPORTED, "bodies with Content-Encoding are not taken; send it plain");
        reply_status(x, 415, &err, NULL);
    } else if (route->serve == files_collection && exchange_method(x) == HTTP_POST) {
        upload_begin(s, x);
    } else if (route->serve == blob_upload_serve && exchange_method(x) == HTTP_POST) {
        blob_upload_begin(s, x);
    }
}

void routes_on_request(struct exchange *x, void *ctx)
{
    routes_visit(x)->route->serve(ctx, x);
}

static void close_trace(struct server *s, struct trace *r, int status)
{
    struct buf line;
    traces_close(&s->traces, r, status);
    if (s->request_log == NULL)
        return;
    buf_init(&line, 4096);
    trace_write_line(r, &line);
    request_log_add(s->request_log, buf_str(&line));
    buf_release(&line);
}

void routes_on_over(struct exchange *x, void *ctx)
{
    struct server *s = ctx;
    struct visit *v = routes_visit(x);
    const char *name = v == NULL ? "none" : v->route->name;
    double seconds = (double)(clock_ns() - exchange_start_ns(x)) * 1e-9;
    metrics_request(&s->metrics, name, exchange_status(x), seconds);
    log_debug("%s %s %d %.3fs", exchange_id(x), name, exchange_status(x), seconds);
    if (v != NULL && v->trace != NULL)
        close_trace(s, v->trace, exchange_status(x));
    ask_over(x);
    exchange_set_tag(x, NULL);
    free(v);
}

/* A client that asks must not take silence for consent. */
static void serve_moderations(struct server *s, struct exchange *x)
{
    (void)s;
    struct err err = {0};
    err_set(&err, ERR_UNSUPPORTED,
            "moderations are not supported: this server has no model that judges texts; ask a "
            "model for its judgement through /v1/chat/completions");
    reply_error(x, &err, NULL);
}

/* ---- the page ---- */

/* Programs that look for an Ollama ask at the root for this text; browsers say that they take HTML.
 */
static bool wants_page(const struct exchange *x)
{
    const char *accept = exchange_header(x, "Accept");
    return accept != NULL && strcasestr(accept, "text/html") != NULL;
}

static void serve_page(struct server *s, struct exchange *x)
{
    (void)s;
    struct err err = {0};
    const char *path = exchange_path(x);
    if (strcmp(path, "/") == 0 && !wants_page(x)) {
        exchange_add_header(x, "Vary", "Accept");
        exchange_reply(x, 200, "text/plain; charset=utf-8", STR("Ollama is running"));
        return;
    }
    size_t i = 0;
    while (i < page_n_assets && strcmp(page_assets[i].path, path) != 0)
        i++;
    if (i == page_n_assets) {
        err_set(&err, ERR_NOT_FOUND, "there is nothing at %.200s", path);
        reply_error(x, &err, NULL);
        return;
    }
    const struct page_asset *a = &page_assets[i];
    const char *have = exchange_header(x, "If-None-Match");
    exchange_add_header(x, "ETag", a->etag);
    exchange_add_header(x, "Cache-Control", "no-cache");
    exchange_add_header(x, "Content-Security-Policy", PAGE_CSP);
    exchange_add_header(x, "Referrer-Policy", "no-referrer");
    if (have != NULL && strcmp(have, a->etag) == 0)
        exchange_reply(x, 304, NULL, STR(""));
    else
        exchange_reply_static(x, 200, a->type, a->data, a->len);
}
