/*
 * prompt: from a request to the tokens the model will read.
 */
#ifndef HEARTH_WORKER_PROMPT_H
#define HEARTH_WORKER_PROMPT_H

#include "worker/load.h"

/* The rendered prompt of a chat, as text for people (the `render` frame). Appends. r: how it is to
 * think, or NULL. */
int prompt_render(const struct loaded *l, json_t *chat, const struct gen_request *r,
                  struct buf *out, struct err *err) __attribute__((warn_unused_result));
/* How a chat's prompt ends, for who reads what follows. Zero it before use. */
struct prompt_end {
    bool has_bos;     /* BOS was added here, so it is not part of what the client wrote */
    bool in_thought;  /* it has opened the thoughts */
    struct buf begun; /* what the answer begins with that the prompt ends with ... */
    bool in_call;     /* ... a demanded call */
    bool in_final;    /* ... the channel that answers (harmony) */
};
void prompt_end_release(struct prompt_end *e);
/*
 * Appends the prompt's tokens. BOS comes first where the file says so, once. ERR_INVALID when the
 * prompt is empty or a token does not exist.
 */
int prompt_tokens(const struct loaded *l, const struct gen_request *r, struct tokens *out,
                  struct prompt_end *ret, struct err *err) __attribute__((warn_unused_result));
/* The tools of a chat that may be called; borrowed; NULL: none. */
const json_t *prompt_tools(const struct gen_request *r);

/*
 * Leaves out the oldest messages of r->chat, as few as will do, so that prompt_tokens gives fewer
 * than n_max; system messages and the last message stay, and a result of a tool stays or goes with
 * its call. *out is what it gives then, empty before and after if nothing can be done.
 */
int prompt_truncate(const struct loaded *l, const struct gen_request *r, size_t n_max,
                    struct tokens *out, struct prompt_end *ret, int64_t *ret_dropped,
                    struct err *err) __attribute__((warn_unused_result));

#endif
