/*
 * attention: the keys and values of a step's tokens, and what its queries see of them (private to
 * src/model).
 *
 * attention_plan cuts a batch into items; for each layer attention_store is called for every token
 * (scratch.position is set by then), then attention_item for every item, on any threads: it reads
 * scratch.q and writes scratch.att. The result of a row depends on its own sequence only.
 */
#ifndef HEARTH_MODEL_ATTENTION_H
#define HEARTH_MODEL_ATTENTION_H

#include "model/model_state.h"

struct attention {
    struct model *m;
    const struct kv_slab *kv;
    const struct batch *b;
    int i_layer; /* set by the caller before the items of a layer run */
    int n_tile;  /* of scratch.tile */
    int n_part;  /* parts that the heads of a key head are cut into */
    int n_items;
};

void attention_plan(struct attention *a, struct model *m, const struct kv_slab *kv,
                    const struct batch *b);
/* Key and value of row t of the batch: [n_head_kv * head_dim] each. */
void attention_store(const struct attention *a, int i_layer, int t, const float *k, const float *v);
/* ctx: struct attention. i_item in [0, n_items). */
void attention_item(void *ctx, int i_item, int i_thread);

#endif
