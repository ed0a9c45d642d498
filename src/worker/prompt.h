/*
 * prompt: from a request to the tokens the model will read.
 */
#ifndef HEARTH_WORKER_PROMPT_H
#define HEARTH_WORKER_PROMPT_H

#include "worker/load.h"

/* The rendered prompt of a chat, as text for people (the `render` frame). Appends. */
int prompt_render(const struct loaded *l, json_t *chat, struct buf *out, struct err *err)
    __attribute__((warn_unused_result));
/*
 * Appends the prompt's tokens. BOS comes first where the file says so, once. *ret_bos: it was added
 * here, so it is not part of what the client wrote. ERR_INVALID when the prompt is empty or a
 * token does not exist.
 */
int prompt_tokens(const struct loaded *l, const struct gen_request *r, struct tokens *out,
                  bool *ret_bos, struct err *err) __attribute__((warn_unused_result));

#endif
