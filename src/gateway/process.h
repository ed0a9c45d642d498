/*
 * process: one worker process and the socket to it. Knows frames, not what they mean.
 *
 * The owner hears of frames in order, and of the end exactly once: after every frame the process
 * wrote was delivered, when the process is gone and its socket closed. Loop thread only.
 */
#ifndef HEARTH_GATEWAY_PROCESS_H
#define HEARTH_GATEWAY_PROCESS_H

#include "base/err.h"
#include "base/json.h"

#include <uv.h>

struct process;

struct process_opts {
    const char *exe;   /* started as: exe worker --fds N ... */
    bool exe_self;     /* exe is the name of this program */
    char *const *path; /* [n_path] the model's parts; opened here, passed as 4, 5, ... */
    int n_path;
    char *const *draft_path; /* [n_draft_path] of a draft model: passed after them; 0: none */
    int n_draft_path, draft_max;
    const char *template_text; /* a Jinja template in place of the file's own; or NULL */
    int ctx, parallel, threads, threads_decode, activations, kv_type, speculate, step_ms;
    int64_t memory_max_bytes;
    /* Packed weights: a file to read, a file to fill, -1: none; passed after the parts, borrowed.
     */
    int pack_in, pack_out;
    const char *pack_key;   /* with any of the two */
    int64_t pack_bytes_max; /* of pack_out */
    /* NULL, or the type to make of the model: into pack_out, of pack_bytes_max bytes at most. */
    const char *quantize;
    int inspect;   /* 0, or how much is asked: the process says `inspected` and ends (inspect.h) */
    int prefix_fd; /* the file of computed prefixes, or -1; passed last, borrowed */
    const char *prefix_key; /* with it: what they are prefixes of */
    int64_t prefix_bytes_max;
    void *ctx_ptr;
    void (*on_frame)(void *ctx, const json_t *frame); /* borrowed; may call process_stop */
    void (*on_text)(void *ctx, struct str frame);     /* in its place, as it came; or NULL */
    void (*on_over)(void *ctx, const char *how); /* "was killed by signal 9"; the handle is gone */
};

int process_start(uv_loop_t *loop, const struct process_opts *opts, struct process **ret,
                  struct err *err) __attribute__((warn_unused_result));
/* Queues a frame. ERR_TOO_LARGE: it does not fit a frame. ERR_BUSY: too much is queued already. */
int process_send(struct process *p, const json_t *frame, struct err *err)
    __attribute__((warn_unused_result));
/* The same of a frame that is text already. */
int process_send_text(struct process *p, struct str json, struct err *err)
    __attribute__((warn_unused_result));
/* Closes the socket, on which the worker exits; kills it when it has not after grace_ms. on_over
 * still comes, frames do not. */
void process_stop(struct process *p, int grace_ms);
/* A worker that breaks the protocol: killed, with the reason kept for on_over. */
void process_kill(struct process *p, const char *why);
int process_pid(const struct process *p);

#endif
