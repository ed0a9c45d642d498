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

#include "ipc/message.h"

enum openai_kind {
    OPENAI_CHAT,
    OPENAI_COMPLETION,
};

#define OPENAI_PROMPTS_MAX  256
#define OPENAI_MESSAGES_MAX 16384

struct openai_request {
    enum openai_kind kind;
    struct str model; /* empty: the client named none; borrows from the body */
    bool stream, include_usage;
    bool seed_given;
    struct gen_request gen; /* what all prompts share; gen.chat is set for chat */
    json_t *prompts;        /* completions: array of strings or of arrays of ids; owned */
    int n_prompt;           /* 1 for chat */
    /* as given, -1 when not: they only make sense together, once all are read */
    int64_t max_tokens, max_completion_tokens, best_of, n_logprobs;
    bool stream_options_given;
    bool keep_alive_given;
    int64_t keep_alive_ms; /* or KEEP_ALIVE_FOREVER */
    json_t *template_vars; /* borrowed; chat_template_kwargs */
    json_t *messages;      /* owned: checked, as templates take them */
};

/* body stays alive as long as *ret. *ret is valid only on 0; release it then. */
int openai_request_parse(enum openai_kind kind, const json_t *body, struct openai_request *ret,
                         struct err *err) __attribute__((warn_unused_result));
void openai_request_release(struct openai_request *r);
/* Puts a system message first when the conversation has none (a model's own system text). */
bool openai_request_default_system(struct openai_request *r, const char *text);
/* The `generate` frame of one prompt: a new reference, NULL when memory is short. */
json_t *openai_request_frame(struct openai_request *r, int i_prompt, uint64_t id);

/* Checks a conversation and returns it as templates take it: a new reference. openai_messages.c */
json_t *openai_messages_read(const json_t *messages, struct err *err)
    __attribute__((warn_unused_result));

#endif
