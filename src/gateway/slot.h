/*
 * slot: one loaded model: its worker process and the generations (jobs) that run on it.
 *
 * When the worker dies, or stands still for gateway_opts.stall_timeout_ms and is killed, it is
 * started again after a growing delay and its jobs go on where they were: their owners notice
 * nothing but a pause. A job that kills it is found and failed alone (trial.c). SLOT_DEATHS_MAX
 * deaths within SLOT_DEATHS_WINDOW_MS that no job explains stop that: the reason is kept, told to
 * who asks, and the next request after SLOT_COOL_MS tries again. Loop thread only.
 */
#ifndef HEARTH_GATEWAY_SLOT_H
#define HEARTH_GATEWAY_SLOT_H

#include "base/buf.h"
#include "gateway/rate.h"
#include "gateway/starved.h"
#include "ipc/message.h"
#include "store/store.h"

#include <uv.h>

#define SLOT_DEATHS_MAX       5
#define SLOT_DEATHS_WINDOW_MS 60000
#define SLOT_COOL_MS          60000 /* after a crash loop */
#define SLOT_COOL_LOAD_MS     3000  /* after a load that failed with a reason */
#define SLOT_STOP_GRACE_MS    3000

struct job;
struct models;
struct share;

enum slot_state {
    SLOT_LOADING, /* the process runs, not ready yet */
    SLOT_READY,
    SLOT_WAITING, /* for the next start: after a death, or for memory */
    SLOT_FAILED,  /* `reason` says why; no process */
    SLOT_STOPPING,
    SLOT_LEAVING, /* its process ends to make room; its jobs wait, and with any it comes back */
};

/* What was measured of a model, for wait.c; 0: nothing yet. */
struct slot_pace {
    double prompt_token_s, output_token_s; /* engine time of one */
    double prompt_tokens, output_tokens;   /* of a request, of a choice */
    struct worker_stats last;
};

struct slot {
    struct models *models;
    struct slot *next;
    char *name, *digest; /* as the library writes them */
    /* the model's own: defaults of requests, what precedes conversations; or NULL */
    char *system_text, *params_json, *messages_json, *template_text;
    char **path; /* [n_path] */
    int n_path;
    int64_t bytes, modified_ms;
    struct store_model draft; /* guesses for it; zero: none */
    enum slot_state state;
    struct process *process;
    struct worker_ready ready; /* of the present or the last process; zero before the first */
    struct worker_stats stats;
    bool retiring;         /* takes nothing new, stops when idle */
    bool yielding;         /* sends nothing to its worker: another model waits for the memory */
    uint64_t ticket;       /* its place in the line for memory; 0: not in it */
    int64_t line_ms;       /* since when */
    int64_t need_bytes;    /* what a worker was too small with; 0: its files' size */
    int64_t granted_bytes; /* what the present process may take while it loads */
    int64_t start_ms, ready_ms, load_ms; /* of the present or the last process */
    double keep;                         /* room.h */
    int64_t keep_alive_ms;               /* after the last request; -1: for ever */
    struct rate prompt_rate, output_rate;
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
    struct share *shares;              /* of the keys that have jobs here, see share.c */
    int64_t n_jobs, n_units;           /* jobs, and the choices they ask for */
    int64_t death_ms[SLOT_DEATHS_MAX]; /* the latest, as a ring */
    uint64_t n_deaths, n_starts;
    struct job *trial;      /* runs alone, see trial.c; or NULL */
    int n_sent;             /* jobs that the present process has, WORKER_REQUESTS_MAX at most */
    bool worker_full;       /* it refused one more: none is sent until one is over */
    int64_t held_bytes;     /* of the jobs' frames */
    bool blameless;         /* the present process is ended for a reason of our own */
    uint64_t model_epoch;   /* counts changes of the files between two starts */
    char model_key[80];     /* of the files at the last start */
    int ctx_kept;           /* the context that running jobs were admitted to; 0: none */
    int64_t progress_ms;    /* the worker's last sign of progress */
    struct starved starved; /* what of that is others' doing */
    int n_still;            /* looks since then that found it overdue */
    struct slot_pace pace;
    uv_timer_t timer, watch;
    int n_handles; /* of the two, not yet closed */
};

enum job_event {
    JOB_ACCEPTED, /* the prompt is known to fit */
    JOB_STARTED,  /* its first token is being computed */
    JOB_RESUMED,  /* its worker died; another one goes on with it */
    JOB_DELTA,
    JOB_END,
    JOB_DONE,  /* last */
    JOB_ERROR, /* last */
    JOB_TEXT,  /* last: the answer to `render`, `tokenize`, `detokenize`, `describe` */
};

struct job_news { /* one pointer is set, by event; none for the first two */
    enum job_event event;
    int64_t n_prompt;    /* JOB_ACCEPTED */
    int64_t n_dropped;   /* likewise: messages that were left out */
    int64_t n_cached;    /* JOB_STARTED */
    struct str text;     /* JOB_TEXT; empty for `tokens` */
    const json_t *frame; /* JOB_TEXT: all of it */
    const struct gen_delta *delta;
    const struct gen_end *end;
    const struct gen_done *done;
    const struct gen_error *error;
};

/* The job is freed after JOB_DONE, JOB_ERROR and JOB_TEXT. May cancel this and other jobs. */
typedef void (*job_fn)(void *ctx, int tag, const struct job_news *news);

struct slot *slot_new(struct models *m, struct store_model *found); /* takes what it needs */
void slot_start(struct slot *s);
void slot_stop(struct slot *s);
void slot_evict(struct slot *s);      /* makes room; nothing of it may be running */
void slot_poke(struct slot *s);       /* looks soon whether it can go on */
bool slot_runs(const struct slot *s); /* was any of its jobs sent to the worker? */
void slot_retire(struct slot *s);     /* slot_stop when idle */
/* A failed slot: starts again when it has cooled; else err says why it failed. */
int slot_revive(struct slot *s, struct err *err) __attribute__((warn_unused_result));
void slot_free(struct slot *s); /* by models_forget */
const char *slot_state_word(const struct slot *s);
int64_t slot_plan_bytes(const struct slot *s); /* what its process holds or will hold */
int64_t slot_file_bytes(const struct slot *s); /* of its files, and its draft model's */

/* Where a job stands that was not started yet. */
struct slot_wait {
    int64_t position; /* 1: the next */
    double seconds;   /* about; 0: not known */
};
/* False: it runs, or will at once. */
bool job_wait(const struct job *j, struct slot_wait *ret);
int64_t slot_n_places(const struct slot *s); /* sequences at once */
/*
 * Whether a request may wait, see share.c; if not, *ret_retry_after_s says when to try again.
 * others: there are other keys than the tenant's, which may want to wait, too.
 */
enum slot_room {
    SLOT_ROOM_YES,
    SLOT_ROOM_FULL,  /* for anybody */
    SLOT_ROOM_SHARE, /* for this key: what is free is for others */
};
enum slot_room slot_has_room(const struct slot *s, int64_t tenant, bool others, int64_t n_units,
                             int *ret_retry_after_s);
/* The most choices that one request may ask for, see share.c; others: as above. */
int64_t slot_units_max(const struct slot *s, bool others);
/* The frames of its jobs take all that they may: nothing more is taken on. */
bool slot_holds_too_much(const struct slot *s);
/* frame: a new reference, taken over. The job waits until the worker is ready. */
struct job *slot_submit(struct slot *s, uint64_t id, json_t *frame, int64_t n_units, int tag,
                        job_fn fn, void *ctx);
/* Its slot_wait.position, 0 when it starts at once; -1: it has started, or is gone. */
int64_t slot_position(const struct slot *s, uint64_t job_id);
/* No news comes any more. client_left: counted as such, by how far it had come. */
void job_cancel(struct job *j, bool client_left);

#endif
