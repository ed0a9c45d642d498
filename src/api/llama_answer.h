/*
 * llama_answer: a worker's events into llama-server's native answers, streamed or whole. A stream's
 * last event is the whole answer without its text; there is no [DONE].
 */
#ifndef HEARTH_API_LLAMA_ANSWER_H
#define HEARTH_API_LLAMA_ANSWER_H

#include "api/llama.h"

/* struct api_endpoint says what each does. */
struct api_answer *llama_answer_new(const struct api_request *r);
void llama_answer_free(struct api_answer *base);
bool llama_answer_begin(struct api_answer *base, struct buf *sse);
bool llama_answer_delta(struct api_answer *base, int i_prompt, const struct gen_delta *d,
                        struct buf *sse);
bool llama_answer_end(struct api_answer *base, int i_prompt, const struct gen_end *e,
                      struct buf *sse);
bool llama_answer_finish(struct api_answer *base, struct buf *sse);
bool llama_answer_fail(struct api_answer *base, const struct err *err, struct buf *sse);
bool llama_answer_whole(struct api_answer *base, struct buf *out);

#endif
