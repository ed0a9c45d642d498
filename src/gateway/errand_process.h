/*
 * errand_process: a worker process that an errand waits for, on the errand's thread and a loop of
 * that thread's own: what it says is read there, however much it is, and the server's loop goes on.
 */
#ifndef HEARTH_GATEWAY_ERRAND_PROCESS_H
#define HEARTH_GATEWAY_ERRAND_PROCESS_H

#include "gateway/errand.h"
#include "gateway/process.h"

struct errand_process {
    struct process_opts opts; /* its ctx_ptr, on_frame and on_over are not looked at */
    const char *last;         /* the type of the frame that says that all went well */
    int64_t silence_ms;       /* without a frame so long, it is stopped */
    const volatile sig_atomic_t *stop;
    void (*on_frame)(void *ctx, const json_t *frame); /* each frame but `failed`; borrowed */
    void *ctx;
};

/* From its start to its end. 0: the last frame came. What it `failed` with, ERR_CANCELLED when
 * *stop was set, ERR_CORRUPT when it died. */
int errand_process_run(const struct errand_process *p, struct err *err)
    __attribute__((warn_unused_result));

#endif
