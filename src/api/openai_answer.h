/*
 * openai_answer: a worker's events into OpenAI's answers, streamed or whole.
 *
 * One struct per API call; choices are numbered prompt * n + index. Streamed, each call appends
 * ready server-sent events to `sse`; whole, text is gathered and openai_answer_whole writes the
 * object. Tokens' bytes may be half a character: `token` shows U+FFFD there and `bytes` is exact.
 */
#ifndef HEARTH_API_OPENAI_ANSWER_H
#define HEARTH_API_OPENAI_ANSWER_H

#include "api/errors.h"
#include "api/openai.h"
#include "api/openai_calls.h"

#define OPENAI_ANSWER_BYTES_MAX (256u << 20) /* of one choice gathered whole */

struct openai_choice {
    struct buf text;      /* whole: the answer so far */
    struct buf reasoning; /* the same of reasoning_content */
    struct openai_calls calls;
    struct buf part[4]; /* log probabilities, as the insides of JSON arrays (see .c) */
    int64_t n_chars;    /* of text, for text_offset */
    char finish[24];    /* "" until the choice is complete */
};

struct openai_answer {
    struct api_answer base;
    bool include_usage, logprobs, has_prediction;
    int64_t top_logprobs;
    int n_choice;
    struct openai_choice *choice; /* [n_choice]; owned */
    json_t *own;                  /* api_request.own: a reference, or NULL */
    bool has_tools;
    struct buf scratch; /* a delta's member */
    struct buf head;    /* the members every chunk begins with, without the brace */
};

static inline struct openai_answer *openai_answer(struct api_answer *base)
{
    return (struct openai_answer *)base; /* its first member */
}

/* Appends a token's log probability as chat's "content" has it; after a comma, if out holds any. */
void openai_token_write(const struct gen_token *t, struct buf *out);

/* struct api_endpoint says what each does. */
struct api_answer *openai_answer_new(const struct api_request *r);
void openai_answer_free(struct api_answer *base);
bool openai_answer_begin(struct api_answer *base, struct buf *sse);
bool openai_answer_delta(struct api_answer *base, int i_prompt, const struct gen_delta *d,
                         struct buf *sse);
bool openai_answer_end(struct api_answer *base, int i_prompt, const struct gen_end *e,
                       struct buf *sse);
bool openai_answer_finish(struct api_answer *base, struct buf *sse);
bool openai_answer_fail(struct api_answer *base, const struct err *err, struct buf *sse);
bool openai_answer_whole(struct api_answer *base, struct buf *out);

#endif
