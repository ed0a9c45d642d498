/*
 * metrics: what the gateway counts, and its text for Prometheus (exposition format 0.0.4).
 *
 * Loop thread only. Labels are ours alone (routes, statuses, names of models that were loaded and
 * of keys), and of models and keys the first so many have series of their own, so the number of
 * series is bounded. docs/metrics.md lists them all; a test compares.
 */
#ifndef HEARTH_GATEWAY_METRICS_H
#define HEARTH_GATEWAY_METRICS_H

#include "base/buf.h"

#define METRICS_ROUTES_MAX   64
#define METRICS_STATUSES_MAX 24
#define METRICS_BUCKETS_MAX  20
#define METRICS_MODELS_MAX   32 /* with series of their own; the rest: "+other" */

struct histogram {
    const double *bound; /* [n_bound], ascending; seconds */
    int n_bound;
    uint64_t bucket[METRICS_BUCKETS_MAX]; /* [n_bound + 1], not cumulative */
    uint64_t count;
    double sum;
};

enum cancel_stage { CANCEL_QUEUE, CANCEL_PREFILL, CANCEL_DECODE, CANCEL_N_STAGES };

enum metrics_outcome { OUTCOME_DONE, OUTCOME_FAILED, OUTCOME_CANCELLED, OUTCOME_N };

/* Of one model, loaded or not: counts go on when it is loaded again. */
struct model_metrics {
    char name[512];
    uint64_t outcome[OUTCOME_N]; /* generations that are over */
    uint64_t prompt_tokens, cached_tokens, completion_tokens;
    uint64_t loads, evictions;
    double load_s; /* all loads together */
    struct histogram ttft, itl, queue;
};

struct metrics {
    const char *route[METRICS_ROUTES_MAX]; /* names, as they first appeared */
    int n_route;
    int status[METRICS_STATUSES_MAX];
    int n_status;
    uint64_t requests[METRICS_ROUTES_MAX][METRICS_STATUSES_MAX];
    uint64_t cancelled[CANCEL_N_STAGES];
    uint64_t failed, refused_full, refused_share; /* generations */
    uint64_t worker_starts, worker_restarts, worker_deaths, worker_stalls;
    uint64_t resumed; /* generations sent to another worker after a death */
    uint64_t volatile_billing, volatile_budget; /* api/volatile.h */
    struct histogram duration, cancel;
    struct model_metrics model[METRICS_MODELS_MAX + 1]; /* the last: all others */
    int n_model;
};

void metrics_init(struct metrics *m);
void metrics_request(struct metrics *m, const char *route, int status, double seconds);
/* Of a model's name; never NULL. */
struct model_metrics *metrics_model(struct metrics *m, const char *name);
void histogram_add(struct histogram *h, double seconds);

/* Writers used for /metrics by whoever owns the numbers. */
void metrics_head(struct buf *out, const char *name, const char *type, const char *help);
void metrics_write(const struct metrics *m, struct buf *out);
/* A label's value, with what the format wants escaped. */
void metrics_label(struct buf *out, const char *value);

#endif
