/*
 * packed: a model's matrices in the order in which the kernels read them (kernels/pack.h).
 *
 * Owns: the memory they lie in. Made once: packed into a file that is handed in as a descriptor,
 * and mapped, shared, from it from then on; where there is no such file, or it cannot be used, into
 * memory of this process. Never both, and never beside the file's own bytes: pages of the model
 * file are let go as soon as they are packed.
 *
 * A file that is handed in is untrusted: its header must be the expected one byte for byte
 * (model/pack_file.h), its size exact, its panels must have the hashes that it claims, and of each
 * matrix one panel is packed again and compared, so that a file of other weights is not taken for
 * this model's. Private to src/model; model_new calls it, on one thread, with the pool idle.
 */
#ifndef HEARTH_MODEL_PACKED_H
#define HEARTH_MODEL_PACKED_H

#include "model/model.h"
#include "model/weights.h"

struct packed {
    uint8_t *base; /* the mapping: of a file, or anonymous */
    size_t len;
    struct pack_report report;
};

/* Sets `panels` of every matrix of w that has a packed form; those without stay in the file. */
int packed_load(const struct gguf *g, struct weights *w, int n_layer, const struct model_opts *o,
                struct packed *ret, struct err *err) __attribute__((warn_unused_result));
void packed_release(struct packed *p);

#endif
