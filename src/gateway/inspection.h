/*
 * inspection: what is inside a model's files, asked of a short-lived worker. The gateway reads no
 * model's bytes: a process that is locked in parses them, says one frame and ends
 * (worker/inspect.h). It loads nothing: some ten milliseconds and little memory, whatever the
 * model's size. Loop thread only.
 */
#ifndef HEARTH_GATEWAY_INSPECTION_H
#define HEARTH_GATEWAY_INSPECTION_H

#include "gateway/server.h"

#define INSPECTIONS_MAX 4 /* processes at once; more wait */

struct inspection;

/* Once: the `inspected` frame (borrowed), or NULL and why. The inspection is over then. */
typedef void (*inspection_fn)(void *ctx, const json_t *frame, const struct err *err);

struct inspection_job {
    bool all;         /* with arrays and tensors */
    inspection_fn fn; /* on the loop; or, in its place, the next three: */
    /* On a thread of libuv's work queue, where the frame is parsed, too: it may be large. */
    void (*write)(void *ctx, const json_t *frame, struct buf *out);
    size_t answer_max; /* of out */
    /* Once, on the loop: what was written, or why not (err->code is not 0). */
    void (*answered)(void *ctx, struct buf *answer, const struct err *err);
    void (*free_ctx)(void *ctx); /* when the inspection is over, cancelled or not; or NULL */
    void *ctx;
};

/* path: [n_path] the model's parts, in order; copied, as is the job. */
struct inspection *inspection_start(struct server *s, char *const *path, int n_path,
                                    const struct inspection_job *job);
/* fn or answered will not be called any more; ctx is not the caller's where there is a free_ctx. */
void inspection_cancel(struct inspection *i);

#endif
