/*
 * inspect: what is inside a model's files, for /api/show and for models that are made: a worker
 * that loads nothing, says one frame and ends.
 *
 * The bytes are nobody's to trust, so they are parsed behind the same locks as when they are loaded
 * (sandbox_enter_load), and the gateway takes what comes out as it takes every frame.
 */
#ifndef HEARTH_WORKER_INSPECT_H
#define HEARTH_WORKER_INSPECT_H

#include "base/err.h"
#include "base/json.h"
#include "format/gguf.h"

enum inspect_depth {
    INSPECT_NONE,  /* not asked for */
    INSPECT_SHORT, /* arrays are null, no tensors */
    INSPECT_ALL,
};

/* The `inspected` frame (ipc/message.h): a new reference. fd: [n_fds] parts, in order. */
int inspect_files(const int *fd, int n_fds, enum inspect_depth depth, json_t **ret, struct err *err)
    __attribute__((warn_unused_result));
/* Does a template that is to be this model's work? ERR_SYNTAX, ERR_INVALID, ERR_LIMIT: not, and
 * where. */
int inspect_template(const struct gguf *g, struct str template, struct err *err)
    __attribute__((warn_unused_result));

#endif
