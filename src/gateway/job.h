/*
 * job: one generation on a slot, for slot.c and its helpers: trial.c (who may be sent after
 * deaths), share.c (who is sent first, and who may wait at all) and wait.c (how long one waits).
 * slot.h is what others see. Loop thread only.
 */
#ifndef HEARTH_GATEWAY_JOB_H
#define HEARTH_GATEWAY_JOB_H

#include "gateway/replay.h"
#include "gateway/slot.h"

enum job_state {
    JOB_IS_WAITING, /* not sent, or not again */
    JOB_IS_SENT,
    JOB_IS_STARTED,
    JOB_IS_DECODING,
};

struct job {
    struct slot *slot;
    struct job *next;
    struct share *share; /* of its key; NULL: a question, which takes no place */
    uint64_t id;
    struct replay replay; /* to send it, and to send it again */
    uint64_t model_epoch; /* of the worker that accepted it first */
    char fingerprint[64]; /* of that worker */
    int64_t n_units, max_tokens, priority;
    int tag;
    job_fn fn; /* NULL: nobody is listening any more */
    void *ctx;
    enum job_state state;
    bool told_started;
    int64_t n_cached; /* as its first start said */
    int64_t n_tokens; /* that came, over all choices */
    int n_lives;      /* workers it was sent to */
    int64_t submit_ns, cancel_ns;
    bool client_left;
    /* trial.c */
    int n_deaths, n_trials;
    int64_t n_new;    /* tokens since it was sent the last time */
    bool cleared;     /* got further than it was at its last death */
    bool was_started; /* at that death, */
    bool was_tried;   /* and was the one on trial */
};

/* ---- trial.c ---- */

/* The next job to send, or NULL: none, or a suspect must be alone for now. */
struct job *trial_next(struct slot *s);
/* Tokens came; true: it is cleared, and others may be sent. */
bool trial_progress(struct job *j);
/*
 * The worker died, and perhaps one of its jobs was the reason. Counts it; jobs that were sent wait
 * again. The one that is guilty beyond doubt, or NULL; it is to be failed.
 */
struct job *trial_death(struct slot *s, bool blameless);
/* The guilty one was found: the others are cleared of what it did. */
void trial_over(struct slot *s);

/* ---- share.c ---- */

/* What a key has on a slot; all but n_jobs is counted anew when it is needed. */
struct share {
    struct share *next;
    int64_t tenant;
    int64_t n_jobs;
    int64_t n_queued; /* choices that were not started */
    int64_t n_sent;   /* choices that the worker has */
    int64_t bytes;    /* of frames */
    int64_t n_passed; /* jobs that wait.c came by */
};

/* A place among those that wait, beside `mine` of the same key, when n_free are left. Pure. */
bool share_allows(int64_t mine, int64_t n, int64_t n_free);
/* The job joins its tenant's share, or leaves it. */
void share_join(struct job *j, int64_t tenant);
void share_leave(struct job *j);
/* Of those that were not sent the one whose turn it is, or NULL. */
struct job *share_next(const struct slot *s);

/* ---- wait.c ---- */

/* Statistics of a worker: how long tokens take, measured between two of them. */
void wait_measure(struct slot *s, const struct worker_stats *now);
/* An answer is complete: how long answers are. */
void wait_learn(struct slot *s, const struct job *j, const struct gen_done *d);
/* Seconds until all that is here is done; 0 when nothing was measured yet. */
double wait_all_s(const struct slot *s);

#endif
