/*
 * question: what the gateway asks beside generations: `tokenize`, `detokenize`, `render` and
 * `describe` frames (ipc/message.h) to their answers. Pure but for the model that is read; any
 * thread.
 */
#ifndef HEARTH_WORKER_QUESTION_H
#define HEARTH_WORKER_QUESTION_H

#include "worker/load.h"

/* Is a frame of this kind one? */
bool question_is(const json_t *frame);
/* The answer's frame: a new reference; NULL with *err. */
json_t *question_answer(const struct loaded *l, const json_t *frame, uint64_t id, struct err *err)
    __attribute__((warn_unused_result));

#endif
