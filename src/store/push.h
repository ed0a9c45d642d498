/*
 * push: a model of the library to the registry that its name says ("host/namespace/model:tag").
 *
 * Blobs first, then the manifest, so that the registry never names what it does not have. A blob
 * that is there already is not sent again; one that fails half-way goes on at its last piece when
 * the connection comes back within a few tries. Blocks; call it on a thread that may. Thread-safe.
 *
 * Registries that want no credentials, or a token from a token service (HF_TOKEN is sent to
 * hf.co). ollama.com wants a key of its own account: it answers with a refusal, which is told.
 */
#ifndef HEARTH_STORE_PUSH_H
#define HEARTH_STORE_PUSH_H

#include "store/store.h"

#include <signal.h>

struct push_event {
    const char *status;  /* "retrieving manifest", "pushing b179c9523d0e", "pushing manifest" */
    const char *digest;  /* of the blob, or NULL */
    int64_t done, total; /* bytes of this blob; total 0: not about bytes */
};

struct push_opts {
    const char *name;
    bool insecure; /* plain http also beyond loopback */
    int stall_ms;  /* give up on a connection that takes nothing; 0: 30 s */
    void (*progress)(void *arg, const struct push_event *e); /* or NULL */
    void *progress_arg;
    const volatile sig_atomic_t *stop; /* non-zero: give up; or NULL */
};

int push_run(struct store *s, const struct push_opts *o, struct err *err)
    __attribute__((warn_unused_result));

#endif
