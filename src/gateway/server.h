/*
 * server: the gateway's parts, for its own files. gateway.h is what others see.
 */
#ifndef HEARTH_GATEWAY_SERVER_H
#define HEARTH_GATEWAY_SERVER_H

#include "api/errors.h"
#include "api/openai.h"
#include "gateway/gateway.h"
#include "gateway/http.h"
#include "gateway/metrics.h"
#include "gateway/models.h"

struct server {
    struct gateway_opts opts;
    uv_loop_t loop;
    struct http *http;
    struct models models;
    struct metrics metrics;
    char startup_name[512]; /* the library's name of the model named at start, or "" */
    bool announced;         /* the banner was printed */
    int port;
    bool loopback; /* bound to a loopback address: Host is checked, a key is not needed */
    bool draining; /* no new requests; the running ones are finished */
    bool stopping;
    bool models_stopped;
    int64_t start_ms;
    uv_signal_t signals[2];
    uv_timer_t timer;
    int64_t drain_end_ms;
    struct err fatal; /* why the loop was ended; code 0: as asked */
    int shown;        /* of the loading progress, in percent */
};

/* routes.c */
struct route;
void routes_on_head(struct exchange *x, void *ctx);
void routes_on_request(struct exchange *x, void *ctx);
void routes_on_over(struct exchange *x, void *ctx);
void routes_write_error(struct exchange *x, int err_code, const char *text, struct buf *out);
enum api_dialect routes_dialect(const struct exchange *x);
/* Answers with the error in the dialect of the route. counts may be NULL. */
void reply_error(struct exchange *x, const struct err *err, const struct api_counts *counts);

/* access.c: who may ask. 0 or ERR_AUTH, ERR_DENIED. */
int access_check_host(const struct server *s, const char *host, struct err *err);
int access_check_origin(const char *origin, const char *host, struct err *err);
int access_check_key(const struct server *s, const char *authorization, struct err *err);

/* completions.c */
void completions_chat(struct server *s, struct exchange *x);
void completions_text(struct server *s, struct exchange *x);

/* inventory.c */
void inventory_models(struct server *s, struct exchange *x);
void inventory_model(struct server *s, struct exchange *x);
void inventory_tags(struct server *s, struct exchange *x);
void inventory_ps(struct server *s, struct exchange *x);
void inventory_unload(struct server *s, struct exchange *x);
void inventory_health(struct server *s, struct exchange *x);
void inventory_metrics(struct server *s, struct exchange *x);
void inventory_version(struct server *s, struct exchange *x);

/* banner.c: what a person at the terminal sees. */
void banner_progress(struct server *s, const struct slot *slot);
void banner_ready(struct server *s, const struct slot *slot);
void banner_url(const struct server *s, char *out, size_t size);

/* listen.c: a listening socket and the port it got; errors say what to do. */
int listen_open(const char *host, int port, int *ret_fd, int *ret_port, bool *ret_loopback,
                struct err *err) __attribute__((warn_unused_result));

#endif
