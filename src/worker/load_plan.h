/*
 * load_plan: what a worker will hold of a model, to the byte, before anything is loaded.
 *
 * load.c opens a model by it and `hearth plan` prints it, so both say the same. Reads metadata and
 * tensor descriptions only; allocates nothing that stays.
 */
#ifndef HEARTH_WORKER_LOAD_PLAN_H
#define HEARTH_WORKER_LOAD_PLAN_H

#include "worker/load.h"

struct load_plan {
    struct model_info info;
    struct model_opts model;         /* how the model is to be opened */
    struct engine_config engine;     /* its sizes; neither forward nor end tokens nor the slab */
    struct embedder_config embedder; /* instead of it, for a model that embeds; its sizes */
    uint64_t model_bytes;            /* scratch of the model */
    uint64_t engine_bytes;           /* logits, sampler, events */
    uint64_t text_bytes;             /* the tokenizer's tables */
    struct model_info draft_info;    /* of the draft model; n_layer 0: there is none */
    struct model_opts draft_model;
    struct drafter_config drafter; /* its sizes */
    uint64_t draft_bytes;          /* its scratch, and rows of logits */
    struct memory_plan memory;
};

/* opts: n_ctx, n_seq, kv_bytes, kv_type, threads, budget and what is passed on to the model; its
 * descriptors are not used. Errors of memory_plan and of the model's metadata. */
int load_plan_make(const struct load_opts *opts, const struct gguf *g, const struct tokenizer *t,
                   struct load_plan *ret, struct err *err) __attribute__((warn_unused_result));
/* The model gives vectors or scores; it has an embedder instead of an engine. */
bool load_plan_embeds(const struct load_plan *p);
/* All beside weights and keys and values: worker_ready.scratch_bytes. */
uint64_t load_plan_scratch_bytes(const struct load_plan *p);
/* The longest context that n_seq sequences can have at once, all of it; 0: none of use. */
int64_t load_plan_room(const struct load_opts *opts, const struct gguf *g,
                       const struct tokenizer *t, int64_t n_seq);

#endif
