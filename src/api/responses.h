/*
 * responses: OpenAI's Responses API: requests of /v1/responses into neutral ones, and answers.
 *
 * Source: OpenAI's API reference (responses) and the types of its Python client. A request is
 * items; they become messages as chat templates take them (responses_items.c). An answer is items,
 * too: reasoning, message, function_call, custom_tool_call (responses_answer.c). Pure: what is
 * stored, and who may read it, is the gateway's (gateway/responses.h); it puts the items of earlier
 * turns into `input` before it parses.
 */
#ifndef HEARTH_API_RESPONSES_H
#define HEARTH_API_RESPONSES_H

#include "api/request.h"

#define RESPONSES_ITEMS_MAX 16384 /* of an input, earlier turns included */

extern const struct api_endpoint openai_responses;
/* The same as a line of a batch: alone, so without what needs a store. */
extern const struct api_endpoint openai_responses_line;

/* ---- items ---- */

/*
 * `input` (a string or items) as items with ids, types and states, as they are stored and listed: a
 * new reference. What is wrong inside of an item parse finds. Their ids, and those of the items of
 * an answer, are made of the response's, so that it can be found by them:
 */
json_t *responses_items_normal(const json_t *input, const char *response_id, struct err *err)
    __attribute__((warn_unused_result));
#define RESPONSES_ID_DIGITS 24
/* "resp_..." of "msg_...003"; false: it is none of ours. */
bool responses_id_of_item(struct str item_id, char *ret, size_t size);
/* True of an item that stands for another one; *ret_id borrows. */
bool responses_item_is_reference(const json_t *item, struct str *ret_id);
/* The messages of instructions (may be NULL) and input: a new reference. goes_on: results of calls
 * may be of earlier turns, which are not here. */
json_t *responses_items_messages(const json_t *instructions, const json_t *input, bool goes_on,
                                 struct err *err) __attribute__((warn_unused_result));
/* Would they be taken? `list`: what the client calls the array. */
int responses_items_check(const json_t *items, const char *list, struct err *err)
    __attribute__((warn_unused_result));
/* Every result after the first n_before items is of a call before it. Places count from there. */
int responses_items_check_calls(const json_t *items, size_t n_before, struct err *err)
    __attribute__((warn_unused_result));

/* Text that stands for reasoning where a client asked for `encrypted_content`: it is not encrypted,
 * for whose model it is may read it. */
#define RESPONSES_REASONING_PREFIX "hearth:"

/* ---- what a parsed request asks of the gateway ---- */

bool responses_wants_store(const struct api_request *r);
bool responses_wants_background(const struct api_request *r);

/* ---- answers, besides what struct api_endpoint does ---- */

/* Of an answer that waits: `response.created` and `response.queued`; another instance with the same
 * id goes on after them with begin. Its object says "queued" from then on. */
bool responses_answer_queue(struct api_answer *a, struct buf *sse);
/* It ends here: "cancelled" with err NULL, else "failed". What is there of it stays. */
void responses_answer_stop(struct api_answer *a, const struct err *err);
/* `response.cancelled` or `response.failed` of an answer that was stopped. */
bool responses_answer_stop_event(struct api_answer *a, struct buf *sse);
/* Whether the object says that it is stored; at first as the request asked. */
void responses_answer_set_stored(struct api_answer *a, bool stored);
/* "completed", "in_progress", ... */
const char *responses_answer_status(const struct api_answer *a);
bool responses_answer_begun(const struct api_answer *a); /* its client knows its id */

#endif
