/*
 * anthropic: requests of /v1/messages and /v1/messages/count_tokens into neutral ones.
 *
 * Source: Anthropic's Messages API (version 2023-06-01). The tables in anthropic_request.c and
 * anthropic_messages.c are the contract. Beside it stand the sampling parameters that local
 * servers share, which the official clients send through extra_body.
 */
#ifndef HEARTH_API_ANTHROPIC_H
#define HEARTH_API_ANTHROPIC_H

#include "api/request.h"

extern const struct api_endpoint anthropic_messages;
/* Parses only: what is counted is its prompt. */
extern const struct api_endpoint anthropic_count;

/*
 * A conversation as templates take it, from `messages` and `system` (or NULL): a new reference.
 * Blocks of text are joined; results of tools become turns of their own, with the name of the tool
 * that was called; thinking becomes reasoning_content.
 */
json_t *anthropic_messages_read(const json_t *messages, const json_t *system, struct err *err)
    __attribute__((warn_unused_result));
/* Does the last message go on? */
bool anthropic_is_prefill(const json_t *messages);

#endif
