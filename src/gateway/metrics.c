/*
 * metrics: see metrics.h. Fixed arrays; nothing grows with what clients send.
 */
#include "gateway/metrics.h"

#include "base/mem.h"

#include <inttypes.h>
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
    histogram_init(&m->ttft, long_bounds, ARRAY_LEN(long_bounds));
    histogram_init(&m->queue, long_bounds, ARRAY_LEN(long_bounds));
    histogram_init(&m->itl, short_bounds, ARRAY_LEN(short_bounds));
    histogram_init(&m->cancel, short_bounds, ARRAY_LEN(short_bounds));
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

static void write_histogram(struct buf *out, const char *name, const struct histogram *h,
                            const char *help)
{
    uint64_t below = 0;
    metrics_head(out, name, "histogram", help);
    for (int i = 0; i < h->n_bound; i++) {
        below += h->bucket[i];
        buf_printf(out, "%s_bucket{le=\"%g\"} %" PRIu64 "\n", name, h->bound[i], below);
    }
    buf_printf(out, "%s_bucket{le=\"+Inf\"} %" PRIu64 "\n%s_sum %.9g\n%s_count %" PRIu64 "\n", name,
               h->count, name, h->sum, name, h->count);
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
    write_counter(out, "hearth_requests_refused_total", m->refused_full,
                  "Generations refused because the queue was full.");
    write_counter(out, "hearth_prompt_tokens_total", m->prompt_tokens,
                  "Prompt tokens of finished generations.");
    write_counter(out, "hearth_cached_tokens_total", m->cached_tokens,
                  "Prompt tokens that were already computed.");
    write_counter(out, "hearth_completion_tokens_total", m->completion_tokens,
                  "Tokens of finished generations' answers.");
    write_counter(out, "hearth_worker_starts_total", m->worker_starts, "Worker processes started.");
    write_counter(out, "hearth_worker_restarts_total", m->worker_restarts,
                  "Worker processes started again after a death.");
    write_counter(out, "hearth_worker_deaths_total", m->worker_deaths,
                  "Worker processes that ended unasked.");
    write_counter(out, "hearth_worker_stalls_total", m->worker_stalls,
                  "Worker processes killed because they made no progress.");
    write_counter(out, "hearth_requests_resumed_total", m->resumed,
                  "Generations that went on in another worker process after a death.");
    write_counter(out, "hearth_model_evictions_total", m->evictions,
                  "Idle models unloaded to make room.");
    write_histogram(out, "hearth_request_duration_seconds", &m->duration,
                    "From a request's first byte to its answer's end.");
    write_histogram(out, "hearth_time_to_first_token_seconds", &m->ttft,
                    "From a request's arrival to the first piece of text.");
    write_histogram(out, "hearth_inter_token_seconds", &m->itl,
                    "Between two pieces of one choice's text.");
    write_histogram(out, "hearth_queue_seconds", &m->queue,
                    "From a request's arrival to the start of its prompt.");
    write_histogram(out, "hearth_cancel_seconds", &m->cancel,
                    "From a client's leaving until the worker confirmed that its work stopped.");
}
