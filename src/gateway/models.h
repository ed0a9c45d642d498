/*
 * models: the supervisor. Which models are loaded, their workers' lives, and the memory they share.
 *
 * A name is resolved through the library for each request; a model that is not loaded is started,
 * and its jobs wait. When memory does not suffice for another model it stands in a line, first
 * come, first served, and room.h says which model goes for the first in it; whose requests run
 * never goes. Who stands there for longer than load_wait_ms is refused, with the arithmetic.
 * Clients name models of the library; a path is taken from the command line only. Loop thread only.
 */
#ifndef HEARTH_GATEWAY_MODELS_H
#define HEARTH_GATEWAY_MODELS_H

#include "gateway/gateway.h"
#include "gateway/metrics.h"
#include "gateway/slot.h"
#include "store/pack_cache.h"
#include "store/prefix_store.h"
#include "store/store.h"

#define MODELS_KNOWN_MAX 64

/* What was learnt of a model, for when it is loaded again. */
struct model_known {
    char *digest_or_name; /* NULL: free */
    int64_t need_bytes, load_ms;
    uint64_t used; /* the highest is the latest */
};

struct models {
    uv_loop_t *loop;
    const struct gateway_opts *opts;
    struct metrics *metrics;
    struct store *store;
    struct pack_cache *pack_cache; /* or NULL */
    struct prefix_store *prefixes; /* or NULL */
    struct slot *slots;            /* newest first */
    uint64_t last_id, last_ticket, last_known;
    double age; /* room.h: the `keep` of the model that went last */
    struct model_known known[MODELS_KNOWN_MAX];
    uv_timer_t expiry; /* until the next model has been idle for its keep_alive */
    bool stopping;
    void (*on_stopped)(void *ctx);
    void *stopped_ctx;
};

int models_init(struct models *m, uv_loop_t *loop, const struct gateway_opts *opts,
                struct metrics *metrics, struct err *err) __attribute__((warn_unused_result));
/* Stops every worker; on_stopped when the last is gone, perhaps at once. */
void models_stop(struct models *m, void (*on_stopped)(void *ctx), void *ctx);
void models_release(struct models *m); /* after that */

/*
 * The slot for a name, started if need be. trusted: the name may be a path. ERR_NOT_FOUND with
 * param "model"; ERR_UNAVAILABLE with the reason why it cannot be had now.
 */
int models_find(struct models *m, const char *name, bool trusted, struct slot **ret,
                struct err *err) __attribute__((warn_unused_result));
/* Stops a model once it is idle. ERR_NOT_FOUND when it is not loaded. */
int models_unload(struct models *m, const char *name, struct err *err)
    __attribute__((warn_unused_result));
uint64_t models_next_id(struct models *m);
/* slot_position, wherever the job is. */
int64_t models_position(const struct models *m, uint64_t job_id);

/* For slots: is there memory for this one now? Unloads idle models to make it so. */
enum models_room {
    MODELS_ROOM_YES,
    MODELS_ROOM_SOON, /* it stands in the line */
    MODELS_ROOM_NONE, /* err has the arithmetic */
};
enum models_room models_make_room(struct models *m, struct slot *s, int64_t *ret_bytes_max,
                                  struct err *err);
/* Its worker did not fit: true when more room may help. */
bool models_needs_more(struct models *m, struct slot *s);
void models_recall(struct models *m, struct slot *s); /* what is known of it from before */
void models_on_ready(struct models *m, struct slot *s);
void models_on_job_over(struct models *m, struct slot *s);
/* The model's time in memory after its last request: as given, else as the server's option says. */
void models_keep(struct models *m, struct slot *s, bool given, int64_t keep_alive_ms);
int64_t models_expires_ms(const struct slot *s); /* since 1970, -1: not by time */
int models_line_position(const struct models *m, const struct slot *s); /* from 1; 0: not in it */
int64_t models_resident_bytes(const struct slot *s);  /* of its process; 0: none */
int64_t models_process_bytes(int pid);                /* resident; 0: not known */
int64_t models_budget_bytes(const struct models *m);  /* of all models together */
void models_forget(struct models *m, struct slot *s); /* s is gone; frees it */

void models_write_metrics(const struct models *m, struct buf *out);

#endif
