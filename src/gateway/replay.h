/*
 * replay: one request as it is sent to a worker, and what its client has of the answer, so that
 * another worker can go on where the first one died.
 *
 * Kept: the `generate` frame as text, and of each choice the tokens that came and how many bytes
 * of text. Memory is bounded: a choice has at most as many tokens as the context, and a worker that
 * sends more than REPLAY_TOKENS_MAX breaks the protocol.
 */
#ifndef HEARTH_GATEWAY_REPLAY_H
#define HEARTH_GATEWAY_REPLAY_H

#include "base/buf.h"
#include "ipc/message.h"

#define REPLAY_TOKENS_MAX (4u << 20)

struct replay_choice {
    int32_t *token; /* [n_token]; owned; nothing once it has ended */
    size_t n_token, cap_token;
    int64_t text_len;
    int64_t n_calls;
    bool ended;
    int64_t n_completion, n_reasoning, n_foretold; /* of its end */
    bool has_mu;                                   /* mirostat's state after the last token */
    double mu;
};

struct replay {
    char *frame; /* owned; compact JSON; NULL: could not be had */
    size_t frame_len;
    struct replay_choice *choice; /* [n_choice]; owned */
    int64_t n_choice;
    bool accepted; /* the rest is set */
    int64_t n_prompt, n_ctx;
    uint64_t prompt_hash;
};

/* Reads frame, which stays the caller's. Too large, or no memory: replay_write says false then. */
void replay_init(struct replay *r, const json_t *frame, int64_t n_choice);
void replay_release(struct replay *r);

/* What a worker says. ERR_INVALID: what it must not; it is as before. */
void replay_accepted(struct replay *r, const struct gen_accepted *a, int64_t n_ctx);
int replay_delta(struct replay *r, const struct gen_delta *d, struct err *err)
    __attribute__((warn_unused_result));
int replay_end(struct replay *r, const struct gen_end *e, struct err *err)
    __attribute__((warn_unused_result));

bool replay_is_over(const struct replay *r); /* has every choice ended? */

/* The frame to send: as it was, or with `resume` once it was accepted. False: it does not fit. */
bool replay_write(const struct replay *r, struct buf *out) __attribute__((warn_unused_result));

#endif
