/*
 * record: one request as it is sent to a worker, and what its client has of the answer, so that
 * another worker can go on where the first one died.
 *
 * Kept: the `generate` frame as text, and of each choice the tokens that came and how many bytes
 * of text. Memory is bounded: a choice has at most as many tokens as the context, and a worker that
 * sends more than RECORD_TOKENS_MAX breaks the protocol.
 */
#ifndef HEARTH_GATEWAY_RECORD_H
#define HEARTH_GATEWAY_RECORD_H

#include "base/buf.h"
#include "ipc/message.h"

#define RECORD_TOKENS_MAX (4u << 20)

struct record_choice {
    int32_t *token; /* [n_token]; owned; nothing once it has ended */
    size_t n_token, cap_token;
    int64_t text_len;
    bool ended;
    int64_t n_completion; /* of its end */
};

struct record {
    char *frame; /* owned; compact JSON */
    size_t frame_len;
    struct record_choice *choice; /* [n_choice]; owned */
    int64_t n_choice;
    bool accepted; /* the rest is set */
    int64_t n_prompt, n_ctx;
    uint64_t prompt_hash;
};

/* Reads frame, which stays the caller's. ERR_NOMEM, ERR_TOO_LARGE. */
int record_init(struct record *r, const json_t *frame, int64_t n_choice, struct err *err)
    __attribute__((warn_unused_result));
void record_release(struct record *r);

/* What a worker says. ERR_INVALID: what it must not; the record is as before. */
void record_accepted(struct record *r, const struct gen_accepted *a, int64_t n_ctx);
int record_delta(struct record *r, const struct gen_delta *d, struct err *err)
    __attribute__((warn_unused_result));
int record_end(struct record *r, const struct gen_end *e, struct err *err)
    __attribute__((warn_unused_result));

/* The frame to send: as it was, or with `resume` once it was accepted. False: out is full. */
bool record_write(const struct record *r, struct buf *out) __attribute__((warn_unused_result));

#endif
