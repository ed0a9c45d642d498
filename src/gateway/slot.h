/*
 * slot: one loaded model: its worker process and the generations (jobs) that run on it.
 *
 * When the worker dies, jobs that were sent to it fail, those still waiting stay, and it is
 * started again after a growing delay. SLOT_DEATHS_MAX deaths within SLOT_DEATHS_WINDOW_MS stop
 * that: the reason is kept, told to who asks, and the next request after SLOT_COOL_MS tries again.
 * Loop thread only.
 */
#ifndef HEARTH_GATEWAY_SLOT_H
#define HEARTH_GATEWAY_SLOT_H

#include "base/buf.h"
#include "ipc/message.h"

#include <uv.h>

#define SLOT_DEATHS_MAX       5
#define SLOT_DEATHS_WINDOW_MS 60000
#define SLOT_COOL_MS          60000 /* after a crash loop */
#define SLOT_COOL_LOAD_MS     3000  /* after a load that failed with a reason */
#define SLOT_STOP_GRACE_MS    3000

struct job;
struct models;
struct store_model;

enum slot_state {
    SLOT_LOADING, /* the process runs, not ready yet */
    SLOT_READY,
    SLOT_WAITING, /* for the next start: after a death, or for memory */
    SLOT_FAILED,  /* `reason` says why; no process */
    SLOT_STOPPING,
};

struct slot {
    struct models *models;
    struct slot *next;
    char *name, *digest;             /* as the library writes them */
    char *system_text, *params_json; /* the model's own defaults, or NULL */
    char **path;                     /* [n_path] */
    int n_path;
    int64_t bytes, modified_ms;
    enum slot_state state;
    struct process *process;
    struct worker_ready ready; /* of the present or the last process; zero before the first */
    struct worker_stats stats;
    bool retiring;               /* takes nothing new, stops when idle */
    char stage[16];              /* while loading: what it is at, */
    double fraction;             /* and how far */
    struct err reason;           /* why it failed, or died the last time */
    bool load_failed;            /* `reason` is from a `failed` frame of the present process */
    bool looped;                 /* failed for dying too often */
    struct packing *packing;     /* the present process's packed weights, or NULL */
    struct prefix_lease *prefix; /* the present process's file of prefixes, or NULL */
    bool pack_lost;              /* the disk lost them: without a file from now on */
    int64_t failed_ms, used_ms;
    struct job *jobs;                  /* oldest first */
    int64_t n_jobs, n_units;           /* jobs, and the choices they ask for */
    int64_t death_ms[SLOT_DEATHS_MAX]; /* the latest, as a ring */
    uint64_t n_deaths, n_starts;
    double job_seconds; /* a running mean, for Retry-After */
    uv_timer_t timer;
};

enum job_event {
    JOB_ACCEPTED, /* the prompt is known to fit */
    JOB_STARTED,  /* its first token is being computed */
    JOB_DELTA,
    JOB_END,
    JOB_DONE,  /* last */
    JOB_ERROR, /* last */
};

struct job_news { /* one pointer is set, by event; none for the first two */
    enum job_event event;
    const struct gen_delta *delta;
    const struct gen_end *end;
    const struct gen_done *done;
    const struct gen_error *error;
};

/* The job is freed after JOB_DONE and JOB_ERROR. May cancel this and other jobs. */
typedef void (*job_fn)(void *ctx, int tag, const struct job_news *news);

struct slot *slot_new(struct models *m, struct store_model *found); /* takes what it needs */
void slot_start(struct slot *s);
void slot_stop(struct slot *s);
void slot_retire(struct slot *s); /* slot_stop when idle */
/* A failed slot: starts again when it has cooled; else err says why it failed. */
int slot_revive(struct slot *s, struct err *err) __attribute__((warn_unused_result));
void slot_free(struct slot *s); /* by models_forget */
const char *slot_state_word(const struct slot *s);
int64_t slot_plan_bytes(const struct slot *s); /* what its process holds or will hold */

/* True when n more choices may wait; else after how many seconds to try again. */
bool slot_has_room(const struct slot *s, int64_t n_units, int *ret_retry_after_s);
/* frame: a new reference, taken over. The job waits until the worker is ready. */
struct job *slot_submit(struct slot *s, uint64_t id, json_t *frame, int64_t n_units, int tag,
                        job_fn fn, void *ctx);
/* No news comes any more. client_left: counted as such, by how far it had come. */
void job_cancel(struct job *j, bool client_left);

#endif
