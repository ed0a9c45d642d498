/*
 * ollama: the shapes of Ollama's /api/version, /api/tags, /api/ps, and the loading and unloading
 * form of /api/generate. The rest of that dialect is not served yet.
 */
#ifndef HEARTH_API_OLLAMA_H
#define HEARTH_API_OLLAMA_H

#include "base/buf.h"
#include "base/err.h"
#include "base/json.h"

/* One model, on disk or in memory; empty strings and zeros where nothing is known. */
struct ollama_model {
    const char *name, *digest; /* digest may begin with "sha256:" */
    const char *arch, *file_type;
    int64_t bytes, modified_ms, n_params;
    /* loaded models only: */
    int64_t plan_bytes, resident_bytes, n_ctx, n_parallel; /* plan: 0 while it is not known */
    const char *state;                                     /* "ready", "loading", ... */
    int64_t n_requests, n_running, n_waiting;              /* in all; being computed; not yet */
    double prefill_rate, decode_rate; /* tokens a second, of the last ten seconds */
    int64_t expires_ms;               /* since 1970; -1: not by time */
    int line_position;                /* for memory, from 1; 0: it does not wait */
};

bool ollama_write_tags(const struct ollama_model *model, int n, struct buf *out);
bool ollama_write_ps(const struct ollama_model *model, int n, struct buf *out);

/* {"model", "keep_alive"} without a prompt: 0 unloads, all else loads. Everything more is refused.
 */
struct ollama_load {
    struct str model; /* borrows from body; NUL-terminated */
    bool keep_alive_given;
    int64_t keep_alive_ms; /* or KEEP_ALIVE_FOREVER */
};
int ollama_load_parse(const json_t *body, struct ollama_load *ret, struct err *err)
    __attribute__((warn_unused_result));
/* reason: "load", "unload". */
bool ollama_write_loaded(struct str model, const char *reason, struct buf *out);

#endif
