/*
 * ollama: the shapes of Ollama's /api/version, /api/tags, /api/ps, and the unload form of
 * /api/generate. The rest of that dialect is not served yet.
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
    int64_t resident_bytes, n_ctx; /* loaded models only */
    const char *state;             /* "ready", "loading", ...; loaded models only */
    int64_t n_requests;
};

bool ollama_write_tags(const struct ollama_model *model, int n, struct buf *out);
bool ollama_write_ps(const struct ollama_model *model, int n, struct buf *out);

/* {"model", "keep_alive": 0}: *ret_model borrows from body. Everything else is refused. */
int ollama_unload_parse(const json_t *body, struct str *ret_model, struct err *err)
    __attribute__((warn_unused_result));
bool ollama_write_unloaded(struct str model, struct buf *out);

#endif
