/*
 * quantizing: a model's files made into one of another type: a worker that loads nothing, writes
 * what it was handed a descriptor for, says how far it is, and ends. The bytes are nobody's to
 * trust, so it happens behind the locks of loading (sandbox_enter_load).
 */
#ifndef HEARTH_WORKER_QUANTIZING_H
#define HEARTH_WORKER_QUANTIZING_H

#include "kernels/pool.h"
#include "worker/outbox.h"

struct quantizing {
    const int *fd; /* [n_fds] parts, in order */
    int n_fds;
    const char *type; /* "Q4_K_M" */
    int out_fd;       /* an empty file */
    uint64_t out_bytes_max;
};

/* Before the locks and before threads are started: what serves goes first. */
void quantizing_step_back(void);
/* `quantizing` frames go to out, and `quantized` (ipc/message.h). */
int quantizing_run(const struct quantizing *q, struct pool *pool, struct outbox *out,
                   struct err *err) __attribute__((warn_unused_result));

#endif
