/*
 * gateway: the process that listens. Owns sockets, requests, workers' lives; never parses a model's
 * bytes.
 */
#ifndef HEARTH_GATEWAY_GATEWAY_H
#define HEARTH_GATEWAY_GATEWAY_H

#include "base/err.h"

#include <stdint.h>

struct gateway_opts {
    const char *host;         /* "127.0.0.1" */
    int port;                 /* 11434; 0 = any free one */
    const char *models_dir;   /* the library */
    const char *model;        /* loaded at start and used when a request names none; NULL = none */
    const char *exe;          /* path of this executable, to start workers */
    int ctx;                  /* 0 = as the model and memory allow */
    int parallel;             /* sequences at once per worker */
    int threads;              /* 0 = physical cores */
    int64_t memory_max_bytes; /* 0 = what the machine has */
    int queue_max;            /* requests waiting per worker; more get 503 with Retry-After */
    int header_timeout_ms, body_timeout_ms, write_timeout_ms;
    int64_t body_bytes_max, client_buffer_bytes_max;
    const char *api_key; /* NULL = none; needed when host is not loopback */
    bool quiet;          /* no banner */
};

void gateway_opts_init(struct gateway_opts *o);
/* Runs until SIGINT or SIGTERM (drains, second one stops at once). 0 or ERR_* with the text. */
int gateway_run(const struct gateway_opts *opts, struct err *err)
    __attribute__((warn_unused_result));

#endif
