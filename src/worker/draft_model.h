/*
 * draft_model: may one model guess for another? Both must name the same tokens by the same numbers.
 */
#ifndef HEARTH_WORKER_DRAFT_MODEL_H
#define HEARTH_WORKER_DRAFT_MODEL_H

#include "text/tokenizer.h"

/*
 * Compares the draft model's tokens with those of the model's tokenizer, text by text. At the end
 * one of the two may have a hundredth more, which makers add to round a table's size; those are
 * never guessed. ERR_INVALID (param "draft-model") says what differs; errors of tokenizer_new.
 */
int draft_model_check(const struct tokenizer *t, const struct gguf *draft, struct err *err)
    __attribute__((warn_unused_result));

#endif
