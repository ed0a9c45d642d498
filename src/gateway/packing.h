/*
 * packing: the file of packed weights of one worker process, from before its start to after its
 * end. The gateway opens and names the file, the worker fills it; what is in it neither side of
 * this header knows. Loop thread only; the disk is waited for elsewhere.
 */
#ifndef HEARTH_GATEWAY_PACKING_H
#define HEARTH_GATEWAY_PACKING_H

#include "base/json.h"
#include "gateway/process.h"
#include "store/pack_cache.h"

struct packing;

struct packing_opts {
    uv_loop_t *loop;
    const struct pack_cache *cache; /* NULL: none is wanted */
    const char *name;               /* of the model, for the log */
    char *const *path;              /* [n_path] its files */
    int n_path;
    int64_t bytes; /* of its files */
    void *ctx;
    /* What was written is not on the disk, and may not even be in memory any more. */
    void (*on_lost)(void *ctx);
};

/* NULL when there is nothing to hand over; why is in the log. */
struct packing *packing_new(const struct packing_opts *opts);
/* The descriptors and the key. p: may be NULL. */
void packing_fill(const struct packing *p, struct process_opts *ret);
/* The worker's frame `packed`. ERR_INVALID. p: may be NULL. */
int packing_on_frame(struct packing *p, const char *name, const json_t *frame, struct err *err)
    __attribute__((warn_unused_result));
/* The process is gone, or never was. suspect: it died while it loaded, perhaps of the file that it
 * was given: that one is not given again. What is on its way to the disk goes on. Takes NULL. */
void packing_free(struct packing *p, bool suspect);

#endif
