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

/* path: [n_path] the model's parts, in order; copied. all: with arrays and tensors. */
struct inspection *inspection_start(struct server *s, char *const *path, int n_path, bool all,
                                    inspection_fn fn, void *ctx);
/* fn will not be called any more. */
void inspection_cancel(struct inspection *i);

#endif
