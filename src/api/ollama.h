/*
 * ollama: the shapes of Ollama's /api/tags, /api/ps, and the loading and unloading form of
 * /api/generate and /api/chat. ollama_request.h has their generating form.
 */
#ifndef HEARTH_API_OLLAMA_H
#define HEARTH_API_OLLAMA_H

#include "api/request.h"
#include "base/buf.h"

/* What /api/version says: clients compare it with the version that had what they need. */
#define OLLAMA_API_VERSION "0.32.0"

/* One model, on disk or in memory; empty strings and zeros where nothing is known. */
struct ollama_model {
    const char *name, *digest; /* digest may begin with "sha256:" */
    const char *arch, *file_type;
    const char *size_word; /* "8.0B", where n_params is 0; or NULL */
    int64_t bytes, modified_ms, n_params;
    /* loaded models only: */
    int64_t plan_bytes, resident_bytes, n_ctx, n_parallel; /* plan: 0 while it is not known */
    const char *state;                                     /* "ready", "loading", ... */
    int64_t n_requests, n_running, n_waiting;              /* in all; being computed; not yet */
    double prefill_rate, decode_rate; /* tokens a second, of the last ten seconds */
    int64_t expires_ms;               /* since 1970; -1: not by time */
    int line_position;                /* for memory, from 1; 0: it does not wait */
};

/* RFC 3339, in quotes. */
/* "134.52M", "8.0B", in quotes. */
void ollama_write_params(int64_t n, struct buf *out);
void ollama_write_time(int64_t wall_ms, struct buf *out);
bool ollama_write_tags(const struct ollama_model *model, int n, struct buf *out);
bool ollama_write_ps(const struct ollama_model *model, int n, struct buf *out);

/* {"model", "keep_alive"} without a prompt: 0 unloads, all else loads. The other fields of the
 * endpoint are checked, and have no effect. */
struct ollama_load {
    struct str model; /* borrows from body; NUL-terminated */
    bool keep_alive_given;
    int64_t keep_alive_ms; /* or KEEP_ALIVE_FOREVER */
};
int ollama_load_parse(const struct api_endpoint *endpoint, const json_t *body,
                      struct ollama_load *ret, struct err *err) __attribute__((warn_unused_result));
/* reason: "load", "unload". */
bool ollama_write_loaded(const struct api_endpoint *endpoint, struct str model, const char *reason,
                         struct buf *out);

#endif
