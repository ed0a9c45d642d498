/*
 * attention: the keys and values of a step's tokens, and what its queries see of them (private to
 * src/model).
 *
 * attention_plan cuts a batch into items. For each layer, in this order: attention_begin;
 * attention_store for every token (scratch.position is set by then); attention_item for every item,
 * on any threads; attention_join for every row that is wanted. It reads scratch.q and writes
 * scratch.att. The bits of a row depend on its own sequence only, though sequences whose tables
 * begin with the same blocks are attended together as far as they do.
 */
#ifndef HEARTH_MODEL_ATTENTION_H
#define HEARTH_MODEL_ATTENTION_H

#include "model/model_state.h"

struct attention {
    struct model *m;
    const struct kv_slab *kv;
    const struct batch *b;
    int n_span, n_tile; /* of scratch.span, scratch.tile */
    /* Of global and of local layers: how many of scratch.stretch, and how many parts the heads of
     * a key head are cut into. */
    int n_stretch[2], n_part[2];
    /* The layer at hand. */
    int i_layer, kind;
    int n_items;
};

/* The first position that a query at `position` sees in global (kind 0) or local layers. */
static inline int attention_first(const struct hparams *h, int kind, int position)
{
    return kind == 1 && position >= h->window ? position - h->window + 1 : 0;
}

void attention_plan(struct attention *a, struct model *m, const struct kv_slab *kv,
                    const struct batch *b);
void attention_begin(struct attention *a, int i_layer);
/* Key and value of row t of the batch: [n_head_kv * head_dim] each; they and the row's query are
 * turned where the type asks for it (kernels/attend.h). */
void attention_store(const struct attention *a, int t, float *k, float *v);
/* ctx: struct attention. i_item in [0, n_items). */
void attention_item(void *ctx, int i_item, int i_thread);
/* Finishes row t of the batch: att, [n_head * head_dim], is what its item wrote, or gets the result
 * of its stretches where it was attended in several. */
void attention_join(const struct attention *a, int t, float *att);

#endif
