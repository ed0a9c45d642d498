/*
 * inventory: what there is and how it fares: models on disk, models loaded, health, metrics, and
 * unloading. Short answers from what is at hand; nothing here waits.
 */
#include "gateway/batches.h"
#include "gateway/response_runs.h"
#include "gateway/server.h"

#include "api/contract.h"
#include "api/ollama.h"
#include "base/clock.h"
#include "base/mem.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define BODY_MAX (16u << 20)

void reply_json(struct exchange *x, int status, struct buf *body)
{
    struct err err = {0};
    if (!body->overflow) {
        exchange_reply(x, status, "application/json", buf_str(body));
    } else {
        err_set(&err, ERR_INTERNAL, "the answer is too long");
        reply_error(x, &err, NULL);
    }
    buf_release(body);
}

/* ---- OpenAI's list ---- */

static const struct slot *slot_of(const struct server *s, const char *name)
{
    const struct slot *slot = s->models.slots;
    while (slot != NULL && (slot->retiring || strcmp(slot->name, name) != 0))
        slot = slot->next;
    return slot;
}

/* What a model can do is known once it was loaded. */
static void write_openai_model(const struct server *s, const char *name, int64_t modified_ms,
                               struct buf *out)
{
    const struct slot *slot = slot_of(s, name);
    buf_add_z(out, "{\"id\":");
    json_write_string(str_z(name), out);
    buf_printf(out, ",\"object\":\"model\",\"created\":%" PRId64 ",\"owned_by\":\"library\"",
               modified_ms / 1000);
    if (slot != NULL && slot->ready.arch[0] != '\0')
        buf_printf(out, ",\"capabilities\":[\"%s\"]",
                   slot->ready.embeds  ? "embedding"
                   : slot->ready.ranks ? "rerank"
                                       : "completion");
    buf_add_char(out, '}');
}

/* A file that is served under its path is not in the library: it is listed all the same. */
const struct slot *inventory_path_slot(const struct server *s)
{
    const struct slot *slot = s->models.slots;
    while (slot != NULL && slot->digest[0] != '\0')
        slot = slot->next;
    return slot;
}

void inventory_models(struct server *s, struct exchange *x)
{
    struct err err = {0};
    if (routes_dialect(x) == API_ANTHROPIC) {
        anthropic_list_models(s, x);
        return;
    }
    struct store_model *list = NULL;
    struct buf out;
    int n = 0;
    if (store_list(s->models.store, &list, &n, &err) != 0) {
        reply_error(x, &err, NULL);
        return;
    }
    buf_init(&out, BODY_MAX);
    buf_add_z(&out, "{\"object\":\"list\",\"data\":[");
    const struct slot *extra = inventory_path_slot(s);
    if (extra != NULL)
        write_openai_model(s, extra->name, extra->modified_ms, &out);
    for (int i = 0; i < n; i++) {
        if (i > 0 || extra != NULL)
            buf_add_char(&out, ',');
        write_openai_model(s, list[i].name, list[i].modified_ms, &out);
    }
    buf_add_z(&out, "]}");
    store_list_free(list, n);
    reply_json(x, 200, &out);
}

void inventory_model(struct server *s, struct exchange *x)
{
    struct err err = {0};
    if (routes_dialect(x) == API_ANTHROPIC) {
        anthropic_show_model(s, x);
        return;
    }
    struct store_model found = {0};
    struct buf out;
    const char *name = exchange_path(x) + strlen("/v1/models/");
    if (exchange_method(x) == HTTP_DELETE) {
        library_delete_named(s, x, name);
        return;
    }
    const struct slot *extra = inventory_path_slot(s);
    buf_init(&out, BODY_MAX);
    if (extra != NULL && strcmp(extra->name, name) == 0) {
        write_openai_model(s, extra->name, extra->modified_ms, &out);
    } else if (model_source_of(name) == SOURCE_NAME &&
               store_find(s->models.store, name, &found, &err) == 0) {
        write_openai_model(s, found.name, found.modified_ms, &out);
    } else {
        if (err.code == 0 || err.code == ERR_INVALID)
            err_set(&err, ERR_NOT_FOUND, "there is no model '%.200s'", name);
        strcpy(err.param, "model");
        reply_error(x, &err, NULL);
        buf_release(&out);
        return;
    }
    store_model_release(&found);
    reply_json(x, 200, &out);
}

/* ---- Ollama's lists ---- */

static void describe(struct ollama_model *m, const struct slot *slot)
{
    if (slot == NULL) {
        m->arch = m->file_type = "";
        return;
    }
    m->name = slot->name;
    m->digest = slot->digest;
    m->bytes = slot->bytes;
    m->modified_ms = slot->modified_ms;
    m->arch = slot->ready.arch;
    m->file_type = slot->ready.file_type;
    m->n_params = slot->ready.n_params;
    m->n_ctx = slot->ready.n_ctx;
    m->plan_bytes = slot_plan_bytes(slot);
    m->resident_bytes = models_resident_bytes(slot);
    m->n_parallel = slot->ready.n_seq_max;
    m->state = slot_state_word(slot);
    m->n_requests = slot->n_jobs;
    m->n_running = slot->stats.running < slot->n_jobs ? slot->stats.running : slot->n_jobs;
    m->n_waiting = slot->n_jobs - m->n_running;
    m->prefill_rate = rate_now(&slot->prompt_rate, clock_ms());
    m->decode_rate = rate_now(&slot->output_rate, clock_ms());
    m->expires_ms = models_expires_ms(slot);
    m->line_position = models_line_position(slot->models, slot);
}

void inventory_tags(struct server *s, struct exchange *x)
{
    struct err err = {0};
    struct store_model *list = NULL;
    struct buf out;
    int n = 0, n_model = 0;
    if (store_list(s->models.store, &list, &n, &err) != 0) {
        reply_error(x, &err, NULL);
        return;
    }
    struct ollama_model *model = mem_zero((size_t)n + 1, sizeof *model);
    if (inventory_path_slot(s) != NULL)
        describe(&model[n_model++], inventory_path_slot(s));
    for (int i = 0; i < n; i++, n_model++) {
        struct ollama_model *m = &model[n_model];
        describe(m, slot_of(s, list[i].name));
        m->name = list[i].name;
        m->digest = list[i].digest;
        m->bytes = list[i].bytes;
        m->modified_ms = list[i].modified_ms;
        m->size_word = list[i].size_word;
        if (m->arch[0] == '\0') { /* not loaded: what the library says */
            m->arch = list[i].family;
            m->file_type = list[i].file_type;
        }
    }
    buf_init(&out, BODY_MAX);
    ollama_write_tags(model, n_model, &out);
    free(model);
    store_list_free(list, n);
    reply_json(x, 200, &out);
}

void inventory_ps(struct server *s, struct exchange *x)
{
    struct buf out;
    int n = 0, n_model = 0;
    for (const struct slot *slot = s->models.slots; slot != NULL; slot = slot->next)
        n++;
    struct ollama_model *model = mem_zero((size_t)n + 1, sizeof *model);
    for (const struct slot *slot = s->models.slots; slot != NULL; slot = slot->next)
        describe(&model[n_model++], slot);
    buf_init(&out, BODY_MAX);
    ollama_write_ps(model, n_model, &out);
    free(model);
    reply_json(x, 200, &out);
}

void inventory_version(struct server *s, struct exchange *x)
{
    (void)s;
    exchange_reply(
        x, 200, "application/json",
        STR("{\"version\":\"" OLLAMA_API_VERSION "\",\"hearth\":\"" HEARTH_VERSION "\"}"));
}

void inventory_openapi(struct server *s, struct exchange *x)
{
    (void)s;
    struct buf body;
    struct err err = {0};
    buf_init(&body, 4u << 20);
    if (api_openapi_write(HEARTH_VERSION, &body)) {
        exchange_reply(x, 200, "application/json", buf_str(&body));
    } else {
        err_set(&err, ERR_NOMEM, "out of memory for the document");
        reply_error(x, &err, NULL);
    }
    buf_release(&body);
}

/* ---- health and metrics ---- */

static void write_health_model(const struct slot *slot, struct buf *out)
{
    buf_add_z(out, "{\"name\":");
    json_write_string(str_z(slot->name), out);
    buf_printf(out, ",\"state\":\"%s\",\"requests\":%" PRId64 ",\"restarts\":%" PRIu64,
               slot_state_word(slot), slot->n_jobs, slot->n_starts > 0 ? slot->n_starts - 1 : 0);
    if (slot->state == SLOT_LOADING)
        buf_printf(out, ",\"stage\":\"%s\",\"progress\":%.3f", slot->stage, slot->fraction);
    if (slot->reason.code != 0) {
        buf_add_z(out, ",\"reason\":");
        json_write_string(str_z(slot->reason.text), out);
    }
    buf_add_char(out, '}');
}

/* 200 when the model named at start can answer (or none was named), else 503. */
void inventory_health(struct server *s, struct exchange *x)
{
    const struct slot *main_slot = slot_of(s, s->startup_name);
    const char *word = "ok";
    struct buf out;
    if (main_slot != NULL && main_slot->state == SLOT_FAILED)
        word = "failed";
    else if (main_slot != NULL && main_slot->state != SLOT_READY)
        word = slot_state_word(main_slot);
    buf_init(&out, BODY_MAX);
    buf_printf(&out, "{\"status\":\"%s\"", word);
    /* To whom has no key, no names and no reasons. */
    if (access_identify(s, x, NULL, NULL) == 0) {
        buf_printf(&out, ",\"version\":\"%s\",\"uptime_s\":%.1f,\"models\":[", HEARTH_VERSION,
                   (double)(clock_ms() - s->start_ms) / 1000);
        for (const struct slot *slot = s->models.slots; slot != NULL; slot = slot->next) {
            if (slot != s->models.slots)
                buf_add_char(&out, ',');
            write_health_model(slot, &out);
        }
        buf_add_char(&out, ']');
    }
    buf_add_char(&out, '}');
    reply_json(x, strcmp(word, "ok") == 0 ? 200 : 503, &out);
}

static void write_number(struct buf *out, const char *name, const char *type, double value,
                         const char *help)
{
    metrics_head(out, name, type, help);
    buf_printf(out, "%s %.15g\n", name, value);
}

/* Of this process; names as Prometheus's own client libraries have them. */
static void write_process(struct buf *out)
{
    struct rlimit limit = {0};
    struct rusage use = {0};
    int64_t n_fds = 0;
    DIR *dir = opendir("/proc/self/fd");
    while (dir != NULL && readdir(dir) != NULL)
        n_fds++;
    if (dir != NULL)
        closedir(dir);
    getrlimit(RLIMIT_NOFILE, &limit);
    getrusage(RUSAGE_SELF, &use);
    write_number(out, "process_resident_memory_bytes", "gauge",
                 (double)models_process_bytes((int)getpid()),
                 "Resident memory of the gateway; workers have their own.");
    write_number(out, "process_open_fds", "gauge", n_fds > 3 ? (double)(n_fds - 3) : 0,
                 "Open descriptors of the gateway."); /* without ".", ".." and the folder's own */
    write_number(out, "process_max_fds", "gauge", (double)limit.rlim_cur,
                 "Descriptors that the gateway may open.");
    write_number(out, "process_cpu_seconds_total", "counter",
                 (double)(use.ru_utime.tv_sec + use.ru_stime.tv_sec) +
                     (double)(use.ru_utime.tv_usec + use.ru_stime.tv_usec) * 1e-6,
                 "Processor time of the gateway.");
}

void inventory_metrics(struct server *s, struct exchange *x)
{
    const struct http_counts *h = http_counts(s->http);
    struct buf out;
    buf_init(&out, BODY_MAX);
    metrics_head(&out, "hearth_info", "gauge", "The version that runs.");
    buf_printf(&out, "hearth_info{version=\"%s\"} 1\n", HEARTH_VERSION);
    write_number(&out, "hearth_uptime_seconds", "gauge", (double)(clock_ms() - s->start_ms) / 1000,
                 "Since the server started.");
    write_number(&out, "hearth_http_in_flight", "gauge", http_n_exchanges(s->http),
                 "HTTP requests in progress.");
    write_number(&out, "hearth_http_connections", "gauge", http_n_connections(s->http),
                 "Open connections.");
    write_number(&out, "hearth_http_connections_total", "counter", (double)h->connections,
                 "Connections taken.");
    write_number(&out, "hearth_http_clients_left_total", "counter", (double)h->left,
                 "Clients that left before their answer.");
    write_number(&out, "hearth_http_slow_readers_dropped_total", "counter",
                 (double)(h->stalled + h->overflowed),
                 "Clients dropped because they did not read their answer.");
    write_number(&out, "hearth_http_head_timeouts_total", "counter", (double)h->deadline_head,
                 "Requests whose head took too long.");
    write_number(&out, "hearth_http_body_timeouts_total", "counter", (double)h->deadline_body,
                 "Requests whose body took too long.");
    write_number(&out, "hearth_request_log_dropped_total", "counter",
                 (double)request_log_dropped(s->request_log),
                 "Lines that the request log could not take.");
    write_number(&out, "hearth_memory_budget_bytes", "gauge",
                 (double)models_budget_bytes(&s->models), "What all models together may use.");
    write_process(&out);
    metrics_write(&s->metrics, &out);
    models_write_metrics(&s->models, &out);
    batches_write_metrics(s->batches, &out);
    response_runs_write_metrics(s->runs, &out);
    callers_write_metrics(&s->callers, &routes_visit(x)->caller, &out);
    exchange_reply(x, 200, "text/plain; version=0.0.4; charset=utf-8", buf_str(&out));
    buf_release(&out);
}
