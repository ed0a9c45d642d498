/*
 * models: the supervisor. Which models are loaded, their workers' lives, and the memory they share.
 *
 * A name is resolved through the library for each request; a model that is not loaded is started,
 * and its jobs wait. When memory would not suffice for another model, the idle one that was used
 * longest ago is unloaded; a busy one never is. Clients name models of the library; a path is
 * taken from the command line only. Loop thread only.
 */
#ifndef HEARTH_GATEWAY_MODELS_H
#define HEARTH_GATEWAY_MODELS_H

#include "gateway/gateway.h"
#include "gateway/metrics.h"
#include "gateway/slot.h"
#include "store/pack_cache.h"
#include "store/prefix_store.h"
#include "store/store.h"

struct models {
    uv_loop_t *loop;
    const struct gateway_opts *opts;
    struct metrics *metrics;
    struct store *store;
    struct pack_cache *pack_cache; /* or NULL */
    struct prefix_store *prefixes; /* or NULL */
    struct slot *slots;            /* newest first */
    uint64_t last_id;
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

/* For slots: is there memory for this one now? Unloads idle models to make it so. */
enum models_room {
    ROOM_YES,
    ROOM_SOON, /* one is on its way out */
    ROOM_NONE, /* err has the arithmetic */
};
enum models_room models_make_room(struct models *m, const struct slot *s, int64_t *ret_bytes_max,
                                  struct err *err);
bool models_evict_one(struct models *m, const struct slot *but); /* the oldest idle; false: none */
void models_forget(struct models *m, struct slot *s);            /* s is gone; frees it */

void models_write_metrics(const struct models *m, struct buf *out);

#endif
