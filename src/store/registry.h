/*
 * registry: Docker's distribution API, version 2, as Ollama and Hugging Face speak it: where a
 * name's registry is, and the tokens it wants. Not for other rooms.
 */
#ifndef HEARTH_STORE_REGISTRY_H
#define HEARTH_STORE_REGISTRY_H

#include "store/fetch.h"
#include "store/model_name.h"

#define REGISTRY_URL_MAX 4096

struct registry {
    struct fetch *fetch;
    const struct model_name *name; /* as the registry knows it */
    const char *mirror;            /* stands in for the default registry; or NULL */
    bool insecure;
    char base[512];    /* "https://host"; set by registry_open */
    char *token;       /* what the registry's token service gave, or NULL; owned */
    const char *given; /* a token of the user's own for this host, or NULL */
};

/* Zero it and set the first four. */
int registry_open(struct registry *r, struct err *err) __attribute__((warn_unused_result));
void registry_release(struct registry *r);
/* After a 401: a token for the challenge of its WWW-Authenticate header. */
int registry_authorize(struct registry *r, const char *challenge, struct err *err)
    __attribute__((warn_unused_result));
const char *registry_bearer(const struct registry *r); /* or NULL */
/* Appends text as a part of a URL's query. */
void registry_escape(struct buf *url, const char *text);

#endif
