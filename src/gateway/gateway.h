/*
 * gateway: the process that listens. Owns sockets, requests, workers' lives; never parses a model's
 * bytes.
 */
#ifndef HEARTH_GATEWAY_GATEWAY_H
#define HEARTH_GATEWAY_GATEWAY_H

#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

/* What outlives the server: ledger, files, batches. */
enum gateway_state {
    GATEWAY_STATE_AUTO,   /* kept where that can be; else said, and the server serves without */
    GATEWAY_STATE_NEEDED, /* no start without */
    GATEWAY_STATE_OFF,
};
#define GATEWAY_STATE_WORDS "auto|needed|off"

struct gateway_opts {
    const char *host;             /* "127.0.0.1" */
    int port;                     /* 11434; 0 = any free one */
    const char *models_dir;       /* the library */
    const char *cache_dir;        /* NULL: the user's (store/pack_cache.h) */
    bool pack_cache;              /* packed weights are kept there */
    int64_t pack_cache_bytes_max; /* 0 = half of what the disk has left */
    int pack_layout;              /* version of packed weights that the worker makes */
    bool prefix_disk;             /* computed prefixes are kept there, too */
    int64_t prefix_disk_max;      /* 0 = store/prefix_store.h */
    int prefix_layout;            /* version of what the worker writes there */
    const char *model;       /* loaded at start and used when a request names none; NULL = none */
    const char *exe;         /* started as `exe worker ...` for each model */
    bool exe_self;           /* it is this program: the very file that runs, however it is called */
    int ctx;                 /* 0 = as the model and memory allow */
    int parallel;            /* sequences at once per worker */
    int threads;             /* 0 = physical cores */
    int threads_decode;      /* of steps without prompts; 0 = threads */
    int activations;         /* enum activations, model/model.h */
    int kv_type;             /* enum kv_type, kernels/attend.h */
    int speculate;           /* enum speculate, engine/speculation.h */
    int step_ms;             /* that a step with prompts may take; the time between tokens */
    const char *draft_model; /* guesses for `model`: a name or a path; NULL = none */
    int draft_max;           /* tokens that it guesses at once; 0 = as is best */
    int64_t memory_max_bytes; /* 0 = what the machine has */
    int64_t keep_alive_ms;    /* after a model's last request; -1: until its memory is needed */
    int load_wait_ms;         /* for memory that busy models hold; then the load is refused */
    enum gateway_state state;
    const char *state_dir;   /* NULL: the user's (gateway/state.h) */
    int64_t file_bytes_max;  /* of one uploaded file */
    int64_t files_bytes_max; /* of all files of a key */
    int64_t files_disk_max;  /* of all files of all keys; 0: as much as they leave free */
    int64_t files_keep_s;    /* and batches that are over (gateway/retention.h); 0: until deleted */
    int64_t responses_keep_s; /* stored responses; 0: until deleted */
    int batch_parallel;       /* lines of batches at once; 0 = half of `parallel` */
    int queue_max;            /* choices waiting per model; more get 503 with Retry-After */
    int connections_max;
    int header_timeout_ms, body_timeout_ms; /* for the whole head, the whole body */
    int write_timeout_ms;                   /* a client that takes nothing for so long is dropped */
    int idle_timeout_ms;                    /* between two requests of a connection */
    int drain_timeout_ms;                   /* at the end, for answers that are running */
    int stall_timeout_ms;                   /* of a worker without progress; 0: for ever */
    int64_t body_bytes_max;
    int64_t client_buffer_bytes_max; /* of a stream that is not read; beyond it: dropped */
    const char *api_key;             /* NULL = none; a key is needed when host is not loopback */
    const char *keys_path;           /* of the file of keys; NULL: the user's own */
    const char *request_log;         /* a file; NULL: none */
    int64_t request_log_bytes_max;   /* of each of its files */
    bool keep_prompts;               /* for /v1/requests/{id}?prompt=1 */
    bool keep_volatile;              /* prompts of coding agents stay as they are: api/volatile.h */
    bool quiet;                      /* no banner */
};

void gateway_opts_init(struct gateway_opts *o);
/* Runs until SIGINT or SIGTERM (drains, second one stops at once). 0 or ERR_* with the text. */
int gateway_run(const struct gateway_opts *opts, struct err *err)
    __attribute__((warn_unused_result));

#endif
