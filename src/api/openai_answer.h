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

#define OPENAI_ANSWER_BYTES_MAX (256u << 20) /* of one choice gathered whole */

struct openai_choice {
    struct buf text;    /* whole: the answer so far */
    struct buf part[4]; /* log probabilities, as the insides of JSON arrays (see .c) */
    int64_t n_chars;    /* of text, for text_offset */
    char finish[24];    /* "" until the choice is complete */
};

struct openai_answer {
    enum openai_kind kind;
    bool stream, include_usage, logprobs;
    int64_t top_logprobs;
    int n_choice, n_per_prompt;
    struct openai_choice *choice; /* [n_choice] */
    struct buf head;              /* the members every chunk begins with, without the brace */
    int64_t n_prompt, n_cached, n_completion; /* summed over prompts */
    bool has_prediction;
    int64_t n_foretold, n_not_met;          /* of its tokens, summed over choices */
    double queue_ms, prefill_ms, decode_ms; /* the largest of them */
};

/* False when memory is short. */
bool openai_answer_init(struct openai_answer *a, const struct openai_request *r, const char *id,
                        int64_t created_s, const char *model);
/* Once, before the first chunk: what computes the answer is known only when its worker is ready. */
bool openai_answer_fingerprint(struct openai_answer *a, const char *fingerprint);
void openai_answer_release(struct openai_answer *a);

/* Each returns false when a maximum or memory was passed: fail the call. */
bool openai_answer_begin(struct openai_answer *a, struct buf *sse); /* chat: the role of each */
bool openai_answer_delta(struct openai_answer *a, int i_prompt, const struct gen_delta *d,
                         struct buf *sse);
bool openai_answer_end(struct openai_answer *a, int i_prompt, int64_t index, const char *reason,
                       struct buf *sse);
void openai_answer_done(struct openai_answer *a, const struct gen_done *d); /* once per prompt */
bool openai_answer_finish(const struct openai_answer *a, struct buf *sse);  /* usage, [DONE] */
bool openai_answer_fail(const struct err *err, struct buf *sse); /* an error in a running stream */
bool openai_answer_whole(const struct openai_answer *a, struct buf *out);

#endif
