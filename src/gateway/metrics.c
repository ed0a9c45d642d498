/*
 * metrics: see metrics.h. Fixed arrays; nothing grows with what clients send.
 */
#include "gateway/metrics.h"

#include "base/mem.h"

#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

static const double long_bounds[] = {0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1,
                                     2.5,   5,    10,    30,   60,  120,  300, 600};
static const double short_bounds[] = {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1,
                                      0.15,  0.2,    0.3,   0.5,  1,     2.5,  5};

static void histogram_init(struct histogram *h, const double *bound, size_t n)
{
    h->bound = bound;
    h->n_bound = (int)n;
}

void metrics_init(struct metrics *m)
{
    *m = (struct metrics){0};
    histogram_init(&m->duration, long_bounds, ARRAY_LEN(long_bounds));
    histogram_init(&m->cancel, short_bounds, ARRAY_LEN(short_bounds));
}

static void model_init(struct model_metrics *one, const char *name)
{
    snprintf(one->name, sizeof one->name, "%s", name);
    histogram_init(&one->ttft, long_bounds, ARRAY_LEN(long_bounds));
    histogram_init(&one->queue, long_bounds, ARRAY_LEN(long_bounds));
    histogram_init(&one->itl, short_bounds, ARRAY_LEN(short_bounds));
}

struct model_metrics *metrics_model(struct metrics *m, const char *name)
{
    int i = 0;
    while (i < m->n_model && strcmp(m->model[i].name, name) != 0)
        i++;
    if (i == m->n_model && m->n_model <= METRICS_MODELS_MAX)
        model_init(&m->model[m->n_model++], i == METRICS_MODELS_MAX ? "+other" : name);
    return &m->model[i < m->n_model ? i : METRICS_MODELS_MAX];
}

void histogram_add(struct histogram *h, double seconds)
{
    int i = 0;
    while (i < h->n_bound && seconds > h->bound[i])
        i++;
    h->bucket[i]++;
    h->count++;
    h->sum += seconds;
}

void metrics_request(struct metrics *m, const char *route, int status, double seconds)
{
    int r = 0, s = 0;
    while (r < m->n_route && strcmp(m->route[r], route) != 0)
        r++;
    while (s < m->n_status && m->status[s] != status)
        s++;
    if (r == METRICS_ROUTES_MAX || s == METRICS_STATUSES_MAX)
        return; /* both sets are fixed in our own code; this is no input's doing */
    m->route[r] = route;
    m->status[s] = status;
    m->n_route += r == m->n_route;
    m->n_status += s == m->n_status;
    m->requests[r][s]++;
    histogram_add(&m->duration, seconds);
}

void metrics_head(struct buf *out, const char *name, const char *type, const char *help)
{
    buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

void metrics_label(struct buf *out, const char *value)
{
    for (; *value != '\0'; value++) {
        if (*value == '\n')
            buf_add_z(out, "\\n");
        else if (*value == '"' || *value == '\\')
            buf_printf(out, "\\%c", *value);
        else
            buf_add_char(out, *value);
    }
}

static void write_counter(struct buf *out, const char *name, uint64_t value, const char *help)
{
    metrics_head(out, name, "counter", help);
    buf_printf(out, "%s %" PRIu64 "\n", name, value);
}

/* model: a label's value, or NULL for a series without labels. The head is written before. */
static void write_histogram(struct buf *out, const char *name, const struct histogram *h,
                            const char *model)
{
    uint64_t below = 0;
    struct buf label;
    buf_init(&label, 4096);
    if (model != NULL) {
        buf_add_z(&label, "model=\"");
        metrics_label(&label, model);
        buf_add_char(&label, '"');
    }
    struct str l = label.len == 0 ? STR("") : buf_str(&label);
    const char *comma = l.len == 0 ? "" : ",";
    for (int i = 0; i <= h->n_bound; i++) {
        below += h->bucket[i];
        buf_printf(out, "%s_bucket{%.*s%sle=\"", name, STR_ARG(l), comma);
        if (i < h->n_bound)
            buf_printf(out, "%g\"} %" PRIu64 "\n", h->bound[i], below);
        else
            buf_printf(out, "+Inf\"} %" PRIu64 "\n", h->count);
    }
    const char *open = l.len == 0 ? "" : "{", *close = l.len == 0 ? "" : "}";
    buf_printf(out, "%s_sum%s%.*s%s %.9g\n", name, open, STR_ARG(l), close, h->sum);
    buf_printf(out, "%s_count%s%.*s%s %" PRIu64 "\n", name, open, STR_ARG(l), close, h->count);
    buf_release(&label);
}

/* ---- per model ---- */

struct model_series {
    const char *name, *help;
    size_t offset; /* of a uint64_t */
};

#define AT(member) offsetof(struct model_metrics, member)

/* clang-format off: rows of a table */
static const struct model_series model_counters[] = {
    {"hearth_prompt_tokens_total", "Prompt tokens of generations that are over.",
     AT(prompt_tokens)},
    {"hearth_cached_tokens_total", "Prompt tokens that were already computed.", AT(cached_tokens)},
    {"hearth_completion_tokens_total", "Tokens of answers that are over.", AT(completion_tokens)},
    {"hearth_model_loads_total", "Times that the model became ready.", AT(loads)},
    {"hearth_model_evictions_total", "Times that the model was unloaded to make room.",
     AT(evictions)},
};
static const struct model_series model_histograms[] = {
    {"hearth_time_to_first_token_seconds", "From a request's arrival to the first piece of text.",
     AT(ttft)},
    {"hearth_inter_token_seconds", "Between two pieces of one choice's text.", AT(itl)},
    {"hearth_queue_seconds", "From a request's arrival to the start of its prompt.", AT(queue)},
};
/* clang-format on */

static void write_model_name(struct buf *out, const char *series, const char *model)
{
    buf_printf(out, "%s{model=\"", series);
    metrics_label(out, model);
    buf_add_char(out, '"');
}

static void write_outcomes(const struct metrics *m, struct buf *out)
{
    static const char *const word[OUTCOME_N] = {"done", "failed", "cancelled"};
    metrics_head(out, "hearth_generations_total", "counter",
                 "Generations that are over, by how they ended.");
    for (int i = 0; i < m->n_model; i++)
        for (int o = 0; o < OUTCOME_N; o++) {
            write_model_name(out, "hearth_generations_total", m->model[i].name);
            buf_printf(out, ",outcome=\"%s\"} %" PRIu64 "\n", word[o], m->model[i].outcome[o]);
        }
}

static void write_models(const struct metrics *m, struct buf *out)
{
    write_outcomes(m, out);
    for (size_t i = 0; i < ARRAY_LEN(model_counters); i++) {
        const struct model_series *x = &model_counters[i];
        metrics_head(out, x->name, "counter", x->help);
        for (int j = 0; j < m->n_model; j++) {
            write_model_name(out, x->name, m->model[j].name);
            buf_printf(out, "} %" PRIu64 "\n",
                       *(const uint64_t *)((const char *)&m->model[j] + x->offset));
        }
    }
    metrics_head(out, "hearth_model_load_seconds_total", "counter",
                 "Time from a worker's start until it was ready, of all loads.");
    for (int j = 0; j < m->n_model; j++) {
        write_model_name(out, "hearth_model_load_seconds_total", m->model[j].name);
        buf_printf(out, "} %.9g\n", m->model[j].load_s);
    }
    for (size_t i = 0; i < ARRAY_LEN(model_histograms); i++) {
        const struct model_series *x = &model_histograms[i];
        metrics_head(out, x->name, "histogram", x->help);
        for (int j = 0; j < m->n_model; j++)
            write_histogram(
                out, x->name,
                (const struct histogram *)(const void *)((const char *)&m->model[j] + x->offset),
                m->model[j].name);
    }
}

static void write_requests(const struct metrics *m, struct buf *out)
{
    metrics_head(out, "hearth_http_requests_total", "counter",
                 "HTTP requests that are over, by route and status (499: the client left).");
    for (int r = 0; r < m->n_route; r++)
        for (int s = 0; s < m->n_status; s++)
            if (m->requests[r][s] > 0)
                buf_printf(out,
                           "hearth_http_requests_total{route=\"%s\",status=\"%d\"} %" PRIu64 "\n",
                           m->route[r], m->status[s], m->requests[r][s]);
}

static void write_cancelled(const struct metrics *m, struct buf *out)
{
    static const char *const stage[CANCEL_N_STAGES] = {"queue", "prefill", "decode"};
    metrics_head(out, "hearth_requests_cancelled_total", "counter",
                 "Generations stopped because the client left, by how far they had come.");
    for (int i = 0; i < CANCEL_N_STAGES; i++)
        buf_printf(out, "hearth_requests_cancelled_total{stage=\"%s\"} %" PRIu64 "\n", stage[i],
                   m->cancelled[i]);
}

void metrics_write(const struct metrics *m, struct buf *out)
{
    write_requests(m, out);
    write_cancelled(m, out);
    write_counter(out, "hearth_requests_failed_total", m->failed,
                  "Generations that ended with an error.");
    metrics_head(out, "hearth_requests_refused_total", "counter",
                 "Generations refused because the queue was full, or the key's share of it.");
    buf_printf(out, "hearth_requests_refused_total{reason=\"full\"} %" PRIu64 "\n",
               m->refused_full);
    buf_printf(out, "hearth_requests_refused_total{reason=\"share\"} %" PRIu64 "\n",
               m->refused_share);
    metrics_head(out, "hearth_volatile_removed_total", "counter",
                 "Billing headers and token counts of coding agents taken out of prompts.");
    buf_printf(out, "hearth_volatile_removed_total{kind=\"billing_header\"} %" PRIu64 "\n",
               m->volatile_billing);
    buf_printf(out, "hearth_volatile_removed_total{kind=\"token_budget\"} %" PRIu64 "\n",
               m->volatile_budget);
    write_counter(out, "hearth_worker_starts_total", m->worker_starts, "Worker processes started.");
    write_counter(out, "hearth_worker_restarts_total", m->worker_restarts,
                  "Worker processes started again after a death.");
    write_counter(out, "hearth_worker_deaths_total", m->worker_deaths,
                  "Worker processes that ended unasked.");
    write_counter(out, "hearth_worker_stalls_total", m->worker_stalls,
                  "Worker processes killed because they made no progress.");
    write_counter(out, "hearth_requests_resumed_total", m->resumed,
                  "Generations that went on in another worker process after a death.");
    metrics_head(out, "hearth_request_duration_seconds", "histogram",
                 "From a request's first byte to its answer's end.");
    write_histogram(out, "hearth_request_duration_seconds", &m->duration, NULL);
    metrics_head(out, "hearth_cancel_seconds", "histogram",
                 "From a client's leaving until the worker confirmed that its work stopped.");
    write_histogram(out, "hearth_cancel_seconds", &m->cancel, NULL);
    write_models(m, out);
}
