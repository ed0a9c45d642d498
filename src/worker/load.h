/*
 * load: everything one worker holds of one model, from open descriptors to a warm engine.
 *
 * Runs inside the sandbox: the bytes it parses are not trusted. Needs no file system.
 */
#ifndef HEARTH_WORKER_LOAD_H
#define HEARTH_WORKER_LOAD_H

#include "engine/embedder.h"
#include "engine/engine.h"
#include "ipc/message.h"
#include "text/chat.h"
#include "worker/form.h"
#include "worker/job_sampling.h"
#include "worker/memory_plan.h"
#include "worker/spelling.h"

#define WORKER_SEQ_MAX 256 /* --parallel */

struct load_opts {
    const int *fd; /* [n_fds] parts of the model file */
    int n_fds;
    struct str template; /* in place of the file's own; empty: none */
    const int *draft_fd; /* [n_draft_fds] parts of the draft model's file; 0: there is none */
    int n_draft_fds;
    const struct gguf *draft;       /* the same, opened: for load_plan_make, set by load_model */
    int64_t n_draft_max;            /* guesses of it at once; 0: as is best */
    int64_t n_ctx, n_seq, kv_bytes; /* 0: computed */
    enum kv_type kv_type;           /* how keys and values are stored */
    int64_t n_threads_decode;       /* 0: all of the pool */
    enum activations activations;
    enum speculate speculate;
    int64_t step_ms; /* that a step with prompts may take; 0: as is usual */
    uint64_t budget_bytes;
    const struct pack_files *pack; /* or NULL: packed in memory */
    int prefix_fd;                 /* the file for the prefix cache, or -1 */
    const char *prefix_key;
    uint64_t prefix_bytes_max;
    struct pool *pool; /* borrowed */
    const struct kernels *kernels;
    void (*progress)(void *ctx, const char *stage, double fraction);
    void *progress_ctx;
};

struct loaded {
    struct gguf *gguf;
    struct tokenizer *tokenizer;
    struct chat *chat;
    struct spellings *spellings;
    struct texts *texts; /* of the tokens */
    struct forms *forms; /* grammars of answers */
    struct model *model;
    struct gguf *draft_gguf; /* all of the draft model's: or NULL */
    struct model *draft_model;
    struct drafter *drafter;
    struct engine *engine;     /* not started; or NULL, and instead of it */
    struct embedder *embedder; /* for a model that gives vectors or scores */
    struct disk_tier *disk;    /* or NULL */
    struct embedder **tick_to; /* whom the model tells of its layers */
    size_t block_bytes;
    struct memory_plan plan;
    struct kv_slab kv, draft_kv;
    size_t kv_mapped, draft_kv_mapped;
    int32_t *eog; /* [n_eog] */
    int n_eog;
    enum speculate speculate;
    struct worker_ready ready; /* all but sandboxed */
};

int load_model(const struct load_opts *opts, struct loaded *ret, struct err *err)
    __attribute__((warn_unused_result));
/* Starts and stops the thread that computes. */
int loaded_start(struct loaded *l, struct err *err) __attribute__((warn_unused_result));
void loaded_stop(struct loaded *l);
void loaded_release(struct loaded *l);

#endif
