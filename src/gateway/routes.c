/*
 * routes: from a request's head to the function that answers it, or to the reason why not.
 *
 * The table is the list of everything served. A route's name is its label in the metrics.
 */
#include "gateway/files.h"
#include "gateway/page.h"
#include "gateway/server.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"

#include <stdio.h>
#include <string.h>

struct route {
    const char *name; /* the path; with a final slash: everything below it */
    unsigned methods; /* bits of enum http_method; GET brings HEAD */
    bool open;        /* answered without a key */
    enum api_dialect dialect;
    void (*serve)(struct server *s, struct exchange *x);
};

#define GET    (1u << HTTP_GET | 1u << HTTP_HEAD)
#define POST   (1u << HTTP_POST)
#define DELETE (1u << HTTP_DELETE)

static void serve_page(struct server *s, struct exchange *x);

static const struct route table[] = {
    {"/", GET, true, API_OPENAI, serve_page},
    {"/assets/", GET, true, API_OPENAI, serve_page},
    {"/health", GET, true, API_OPENAI, inventory_health},
    {"/metrics", GET, false, API_OPENAI, inventory_metrics},
    {"/v1/chat/completions", POST, false, API_OPENAI, completions_chat},
    {"/v1/completions", POST, false, API_OPENAI, completions_text},
    {"/v1/files", GET | POST, false, API_OPENAI, files_collection},
    {"/v1/files/", GET | DELETE, false, API_OPENAI, files_one},
    {"/v1/batches", GET | POST, false, API_OPENAI, batches_collection},
    {"/v1/batches/", GET | POST, false, API_OPENAI, batches_one},
    {"/v1/models", GET, false, API_OPENAI, inventory_models},
    {"/v1/models/", GET, false, API_OPENAI, inventory_model},
    {"/api/version", GET, true, API_OLLAMA, inventory_version},
    {"/api/tags", GET, false, API_OLLAMA, inventory_tags},
    {"/api/ps", GET, false, API_OLLAMA, inventory_ps},
    {"/api/generate", POST, false, API_OLLAMA, inventory_unload},
};

static const struct route no_route = {"other", 0, false, API_OPENAI, NULL};

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

enum api_dialect routes_dialect(const struct exchange *x)
{
    const struct route *route = exchange_tag(x);
    return route == NULL ? API_OPENAI : route->dialect;
}

static void reply_status(struct exchange *x, int status, const struct err *err,
                         const struct api_counts *counts)
{
    struct buf body;
    buf_init(&body, 16384);
    api_error_write(routes_dialect(x), err, counts, &body);
    exchange_reply(x, status, "application/json", buf_str(&body));
    buf_release(&body);
}

void reply_error(struct exchange *x, const struct err *err, const struct api_counts *counts)
{
    reply_status(x, api_status(err->code), err, counts);
}

void routes_write_error(struct exchange *x, int err_code, const char *text, struct buf *out)
{
    struct err err = {0};
    err_set(&err, err_code, "%s", text);
    api_error_write(routes_dialect(x), &err, NULL, out);
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

static int check_access(struct server *s, struct exchange *x, const struct route *route,
                        struct err *err)
{
    const char *host = exchange_header(x, "Host");
    int code = access_check_host(s, host, err);
    if (code == 0)
        code = access_check_origin(exchange_header(x, "Origin"), host, err);
    if (code == 0 && !route->open)
        code = access_check_key(s, exchange_header(x, "Authorization"), err);
    return code;
}

void routes_on_head(struct exchange *x, void *ctx)
{
    struct server *s = ctx;
    struct err err = {0};
    const struct route *route = find_route(exchange_path(x));
    const char *encoding = exchange_header(x, "Content-Encoding");
    exchange_set_tag(x, (void *)route);
    int code = check_access(s, x, route, &err);
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
    }
}

void routes_on_request(struct exchange *x, void *ctx)
{
    const struct route *route = exchange_tag(x);
    route->serve(ctx, x);
}

void routes_on_over(struct exchange *x, void *ctx)
{
    struct server *s = ctx;
    const struct route *route = exchange_tag(x);
    const char *name = route == NULL ? "none" : route->name;
    double seconds = (double)(clock_ns() - exchange_start_ns(x)) * 1e-9;
    metrics_request(&s->metrics, name, exchange_status(x), seconds);
    log_debug("%s %s %d %.3fs", exchange_id(x), name, exchange_status(x), seconds);
}

/* ---- the page ---- */

static void serve_page(struct server *s, struct exchange *x)
{
    (void)s;
    struct err err = {0};
    const char *path = exchange_path(x);
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
