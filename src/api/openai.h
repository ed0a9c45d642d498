/*
 * openai: requests of /v1/chat/completions and /v1/completions into neutral ones.
 *
 * Source: OpenAI's API reference (chat, legacy completions), plus the sampling parameters that
 * local servers share (top_k, min_p, typical_p, repeat_penalty, repeat_last_n, ignore_eos,
 * keep_alive), which the official clients send through extra_body. The tables in openai_request.c
 * are the contract.
 */
#ifndef HEARTH_API_OPENAI_H
#define HEARTH_API_OPENAI_H

#include "api/request.h"

extern const struct api_endpoint openai_chat, openai_completion;

/* Checks a conversation and returns it as templates take it: a new reference. openai_messages.c */
json_t *openai_messages_read(const json_t *messages, struct err *err)
    __attribute__((warn_unused_result));

/* `chat_template_kwargs`: more variables for the model's chat template, as vLLM and llama-server
 * name them. */
int openai_take_template_vars(const char *name, const json_t *value, void *into, struct err *err);
/* Once all is read: switches among them that say the same as `think`, where nothing else says it.
 */
void openai_think_as_template(struct api_request *r);

/* The body through the endpoint's table, over the model's own parameters and the server's default
 * for a request that says nothing of sampling. */
int openai_fields_read(const json_t *body, const json_t *defaults, struct api_request *r,
                       struct err *err) __attribute__((warn_unused_result));

#endif
