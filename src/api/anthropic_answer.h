/*
 * anthropic_answer: a worker's events into Anthropic's answers, streamed or whole.
 *
 * A stream is message_start, then of each block content_block_start, content_block_delta and
 * content_block_stop, then message_delta and message_stop; `ping` may stand anywhere. Each channel
 * of the worker's deltas is a block: thinking, text, tool_use. message_start waits until the prompt
 * is being computed, so that its usage is true; pings keep the stream open until then.
 */
#ifndef HEARTH_API_ANTHROPIC_ANSWER_H
#define HEARTH_API_ANTHROPIC_ANSWER_H

#include "api/anthropic.h"

#define ANTHROPIC_ANSWER_BYTES_MAX (256u << 20) /* of one block gathered whole */
#define ANTHROPIC_BLOCKS_MAX       4096
#define ANTHROPIC_PING             "event: ping\ndata: {\"type\":\"ping\"}\n\n"

struct anthropic_block {
    enum gen_channel channel;
    struct buf text; /* or the arguments */
    char *name;      /* of a tool; owned */
    int64_t call;
};

struct anthropic_answer {
    struct api_answer base;
    bool hide_thinking; /* its blocks are there, empty */
    bool tells_stop;    /* the client named stop sequences */
    bool said_start;    /* of a stream: message_start */
    bool open;          /* of a stream: the last block */
    int64_t max_tokens;
    const char *stop_reason;       /* NULL until the end */
    char *stop;                    /* the sequence that was met, or NULL; owned */
    int64_t n_out, n_think;        /* of the end */
    struct anthropic_block *block; /* [n_block]; of a stream without their text; owned */
    size_t n_block, cap_block;
};

/* struct api_endpoint says what each does. */
struct api_answer *anthropic_answer_new(const struct api_request *r);
void anthropic_answer_free(struct api_answer *base);
bool anthropic_answer_begin(struct api_answer *base, struct buf *sse);
bool anthropic_answer_started(struct api_answer *base, struct buf *sse);
bool anthropic_answer_delta(struct api_answer *base, int i_prompt, const struct gen_delta *d,
                            struct buf *sse);
bool anthropic_answer_end(struct api_answer *base, int i_prompt, const struct gen_end *e,
                          struct buf *sse);
bool anthropic_answer_finish(struct api_answer *base, struct buf *sse);
bool anthropic_answer_fail(struct api_answer *base, const struct err *err, struct buf *sse);
bool anthropic_answer_whole(struct api_answer *base, struct buf *out);

#endif
