/*
 * gateway: see gateway.h. Owns the loop: start, the first model, signals, the orderly end.
 *
 * First signal: no new connections; what was asked is answered, waiting or running, whatever its
 * worker does meanwhile. After drain_timeout_ms what is left is told that the server stops, and
 * has CUT_MS to take that. Second signal: everything stops at once.
 */
#include "gateway/batches.h"
#include "gateway/errand.h"
#include "gateway/ledger.h"
#include "gateway/response_runs.h"
#include "gateway/retention.h"
#include "gateway/server.h"
#include "gateway/state.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define TICK_MS 50
#define CUT_MS  1000

void gateway_opts_init(struct gateway_opts *o)
{
    *o = (struct gateway_opts){
        .host = "127.0.0.1",
        .port = 11434,
        .pack_cache = true,
        .prefix_disk = true,
        .parallel = 8,
        .step_ms = 100,
        .keep_alive_ms = -1,
        .load_wait_ms = 120000,
        .file_bytes_max = (int64_t)200 << 20,
        .files_bytes_max = (int64_t)10 << 30,
        .files_keep_s = RETENTION_DEFAULT_S,
        .responses_keep_s = RETENTION_DEFAULT_S,
        .queue_max = 256,
        .connections_max = 1024,
        .header_timeout_ms = 10000,
        .body_timeout_ms = 60000,
        .write_timeout_ms = 60000,
        .idle_timeout_ms = 75000,
        .drain_timeout_ms = 30000,
        .stall_timeout_ms = 120000,
        .body_bytes_max = (int64_t)16 << 20,
        .client_buffer_bytes_max = (int64_t)1 << 20,
        .request_log_bytes_max = (int64_t)64 << 20,
    };
}

/* ---- the end ---- */

static void close_handle(uv_handle_t *handle, void *ctx)
{
    (void)ctx;
    if (!uv_is_closing(handle))
        uv_close(handle, NULL);
}

static void on_models_stopped(void *ctx)
{
    struct server *s = ctx;
    s->models_stopped = true;
    if (s->stopping)
        uv_stop(&s->loop);
}

/* Requests get their one clear error; workers end. */
static void stop_models(struct server *s)
{
    if (!s->models.stopping)
        models_stop(&s->models, on_models_stopped, s);
}

/* Everything stops: clients are cut off, workers end. */
static void stop_now(struct server *s)
{
    if (s->stopping)
        return;
    s->stopping = true;
    uv_timer_stop(&s->timer);
    http_free(s->http);
    s->http = NULL;
    stop_models(s);
    if (s->models_stopped)
        uv_stop(&s->loop);
}

static void fail(struct server *s, const struct err *err)
{
    s->fatal = *err;
    stop_now(s);
}

static void on_tick(uv_timer_t *t);

static void on_signal(uv_signal_t *handle, int signal_number)
{
    struct server *s = handle->data;
    if (s->stopping)
        return;
    if (s->draining) {
        stop_now(s);
        return;
    }
    s->draining = true;
    uv_timer_start(&s->timer, on_tick, TICK_MS, TICK_MS);
    s->drain_end_ms = clock_ms() + s->opts.drain_timeout_ms;
    int n = http_n_exchanges(s->http);
    if (n > 0)
        log_info("%s: finishing %d requests; once more stops at once", strsignal(signal_number), n);
    http_close_listener(s->http);
}

/* ---- the first model, and time passing ---- */

static void announce(struct server *s, const struct slot *slot)
{
    s->announced = true;
    banner_ready(s, slot);
}

static void watch_startup(struct server *s)
{
    const struct slot *slot = s->models.slots;
    while (slot != NULL && strcmp(slot->name, s->startup_name) != 0)
        slot = slot->next;
    /*
     * None: somebody unloaded it already. One that was ready has started, whatever a request did to
     * it since the last tick.
     */
    if (slot == NULL || slot->state == SLOT_READY || slot->ready.n_ctx > 0) {
        announce(s, slot);
    } else if (slot->state == SLOT_FAILED) {
        struct err err = slot->reason;
        err_wrap(&err, "the model %s cannot be loaded", slot->name);
        fail(s, &err);
    } else {
        banner_progress(s, slot);
    }
}

static void drain(struct server *s)
{
    int64_t late_ms = clock_ms() - s->drain_end_ms;
    if (http_n_exchanges(s->http) == 0 || late_ms > CUT_MS)
        stop_now(s);
    else if (late_ms > 0)
        stop_models(s);
}

static void on_tick(uv_timer_t *t)
{
    struct server *s = t->data;
    if (s->announced && !s->draining)
        uv_timer_stop(t); /* nothing to watch for until a signal comes */
    else if (s->draining)
        drain(s);
    else if (!s->announced)
        watch_startup(s);
}

/* ---- the start ---- */

static int check_opts(const struct server *s, struct err *err)
{
    if (!s->loopback && callers_n(&s->callers) == 0)
        return err_set(err, ERR_DENIED,
                       "%s can be reached from other machines, so an API key is needed: make one "
                       "with 'hearth key create NAME', or set --api-key (or HEARTH_API_KEY), or "
                       "listen on 127.0.0.1",
                       s->opts.host);
    return 0;
}

/* Descriptors for the connections asked for, if the system allows. */
static void raise_file_limit(int connections_max)
{
    struct rlimit limit;
    rlim_t want = (rlim_t)connections_max + 256;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= want)
        return;
    limit.rlim_cur = want < limit.rlim_max ? want : limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
        log_warn("the limit of open files stays at %ld", (long)limit.rlim_cur);
}

static int open_http(struct server *s, struct err *err)
{
    const struct gateway_opts *o = &s->opts;
    int fd;
    int code = listen_open(o->host, o->port, &fd, &s->port, &s->loopback, err);
    if (code != 0)
        return code;
    code = check_opts(s, err);
    if (code != 0) {
        close(fd);
        return code;
    }
    const struct http_opts h = {.loop = &s->loop,
                                .listen_fd = fd,
                                .connections_max = o->connections_max,
                                .head_timeout_ms = o->header_timeout_ms,
                                .body_timeout_ms = o->body_timeout_ms,
                                .write_timeout_ms = o->write_timeout_ms,
                                .idle_timeout_ms = o->idle_timeout_ms,
                                .body_bytes_max = o->body_bytes_max,
                                .client_buffer_bytes_max = o->client_buffer_bytes_max,
                                .ctx = s,
                                .on_head = routes_on_head,
                                .on_request = routes_on_request,
                                .on_over = routes_on_over,
                                .write_error = routes_write_error};
    return http_new(&h, &s->http, err);
}

static void start_handles(struct server *s)
{
    static const int signals[] = {SIGINT, SIGTERM};
    for (size_t i = 0; i < ARRAY_LEN(signals); i++) {
        uv_signal_init(&s->loop, &s->signals[i]);
        s->signals[i].data = s;
        uv_signal_start(&s->signals[i], on_signal, signals[i]);
    }
    uv_timer_init(&s->loop, &s->timer);
    s->timer.data = s;
    uv_timer_start(&s->timer, on_tick, TICK_MS, TICK_MS);
}

static int load_startup(struct server *s, struct err *err)
{
    if (s->opts.model == NULL)
        return 0;
    struct slot *slot;
    struct store_model draft = {0};
    int code = 0;
    if (s->opts.draft_model != NULL)
        code = store_find(s->models.store, s->opts.draft_model, &draft, err);
    store_model_release(&draft);
    if (code != 0)
        return err_wrap(err, "the draft model");
    code = models_find(&s->models, s->opts.model, true, &slot, err);
    if (code == 0)
        snprintf(s->startup_name, sizeof s->startup_name, "%s", slot->name);
    return code;
}

/* Without it everything else is served all the same, unless it was asked for. */
static int open_state(struct server *s, struct err *err)
{
    struct err why = {0};
    if (s->opts.state != GATEWAY_STATE_OFF &&
        state_open(s->opts.state_dir, &s->loop, &s->state, &why) != 0) {
        if (s->opts.state == GATEWAY_STATE_NEEDED) {
            *err = why;
            return err->code;
        }
        log_warn("no ledger, no files, no batches: %s", why.text);
        s->state_err = why;
    }
    s->ledger = ledger_new(s->state, &s->loop);
    if (s->state != NULL)
        s->batches = batches_new(s);
    if (s->state != NULL)
        s->runs = response_runs_new(s);
    return 0;
}

/* After the last request: what is summed up or was posted is written. */
static void close_state(struct server *s)
{
    batches_stop(s->batches);
    response_runs_stop(s->runs);
    ledger_free(s->ledger);
    state_close(s->state);
    batches_free(s->batches);
    response_runs_free(s->runs);
}

static int start(struct server *s, struct err *err)
{
    raise_file_limit(s->opts.connections_max);
    metrics_init(&s->metrics);
    int code = models_init(&s->models, &s->loop, &s->opts, &s->metrics, err);
    if (code == 0)
        code = callers_init(&s->callers, s->opts.keys_path, s->opts.api_key, err);
    s->traces.keep_prompts = s->opts.keep_prompts;
    if (code == 0 && s->opts.request_log != NULL)
        code = request_log_new(&s->loop, s->opts.request_log, s->opts.request_log_bytes_max,
                               &s->request_log, err);
    if (code == 0)
        code = open_http(s, err);
    if (code == 0)
        code = load_startup(s, err);
    if (code == 0)
        code = open_state(s, err);
    return code;
}

int gateway_run(const struct gateway_opts *opts, struct err *err)
{
    struct server *s = mem_zero(1, sizeof *s);
    struct err failure = {0};
    s->opts = *opts;
    s->start_ms = clock_ms();
    signal(SIGPIPE, SIG_IGN);
    CHECK(uv_loop_init(&s->loop) == 0);
    start_handles(s);
    if (start(s, &failure) != 0)
        fail(s, &failure);
    else if (opts->model == NULL)
        announce(s, NULL);
    uv_run(&s->loop, UV_RUN_DEFAULT);
    errands_end(s);
    close_state(s);
    uv_walk(&s->loop, close_handle, NULL);
    /* A second signal must not cut off what is left: it is short, and writes the request log's end.
     */
    signal(SIGINT, SIG_IGN);
    signal(SIGTERM, SIG_IGN);
    uv_run(&s->loop, UV_RUN_DEFAULT);
    uv_loop_close(&s->loop);
    models_release(&s->models);
    request_log_free(s->request_log);
    traces_release(&s->traces);
    callers_release(&s->callers);
    int code = s->fatal.code;
    if (code != 0 && err != NULL)
        *err = s->fatal;
    free(s);
    return code;
}
