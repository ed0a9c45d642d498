/*
 * responses_answer: a worker's events into a response of the Responses API, streamed or whole.
 *
 * The answer's channels become items in the order in which they come: reasoning, a message, calls
 * of tools. Every event of a stream has the next sequence_number; ids of items follow from the
 * response's own, so that an answer that is computed again is the same. struct api_endpoint says
 * what each function does; responses.h has the rest.
 */
#ifndef HEARTH_API_RESPONSES_ANSWER_H
#define HEARTH_API_RESPONSES_ANSWER_H

#include "api/request.h"

#define RESPONSES_OUTPUT_MAX 4096 /* items of one answer */

struct api_answer *responses_answer_new(const struct api_request *r);
void responses_answer_free(struct api_answer *base);
bool responses_answer_begin(struct api_answer *base, struct buf *sse);
bool responses_answer_delta(struct api_answer *base, int i_prompt, const struct gen_delta *d,
                            struct buf *sse);
bool responses_answer_end(struct api_answer *base, int i_prompt, const struct gen_end *e,
                          struct buf *sse);
bool responses_answer_finish(struct api_answer *base, struct buf *sse);
bool responses_answer_fail(struct api_answer *base, const struct err *err, struct buf *sse);
bool responses_answer_whole(struct api_answer *base, struct buf *out);

#endif
