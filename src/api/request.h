/*
 * request: what every dialect makes of a body that asks for text, and what it makes of the news.
 *
 * An endpoint is one way of asking: `/v1/chat/completions`, `/api/chat`, `/v1/messages`. It parses
 * a body into a struct api_request, whose `gen` goes to the worker, once for each prompt; and it
 * writes the answer, streamed or whole, from what the worker says. The gateway (generation.h) does
 * all between the two and knows no dialect. Pure: no sockets, no files, no worker.
 *
 * A new dialect is two tables of fields (fields.h) and one struct api_endpoint.
 */
#ifndef HEARTH_API_REQUEST_H
#define HEARTH_API_REQUEST_H

#include "api/errors.h"
#include "api/volatile.h"
#include "ipc/message.h"

struct api_answer;
struct api_field;
struct api_request;

struct api_endpoint {
    const char *path; /* as the client knows it, for messages */
    enum api_dialect dialect;
    bool is_chat;            /* the prompt is in `messages`, else in `prompt` */
    const char *id_prefix;   /* of the answer's id: "chatcmpl-" */
    const char *stream_type; /* Content-Type of a stream */
    /* What may stand between events to keep a silent stream open, and whether a line of comment
     * (": queued, position 3") may. NULL: nothing can. */
    const char *ping;
    bool has_comments;
    const struct api_field *fields; /* [n_fields]: what parse reads, for docs/api.md */
    int n_fields;
    /*
     * body stays alive as long as *ret; *ret is valid only on 0, and released by
     * api_request_release then. defaults: the model's own parameters, an object of Ollama's names
     * (temperature, top_k, stop, ...), or NULL; they hold where body says nothing.
     */
    int (*parse)(const json_t *body, const json_t *defaults, struct api_request *ret,
                 struct err *err);
    /* An empty answer, to be freed by answer_free; NULL when memory is short. */
    struct api_answer *(*answer_new)(const struct api_request *r);
    void (*answer_free)(struct api_answer *a);
    /* Of a stream each appends what is to be sent; `out` is NULL when the answer is whole. False:
     * memory, or out's maximum, was passed, or the worker speaks of what does not exist. */
    bool (*begin)(struct api_answer *a, struct buf *out); /* of a stream: all was accepted */
    /* A prompt is being computed: a->n_prompt_taken and n_cached_taken hold it. NULL: of no
     * interest. Not of a request that goes on. */
    bool (*started)(struct api_answer *a, struct buf *out);
    bool (*delta)(struct api_answer *a, int i_prompt, const struct gen_delta *d, struct buf *out);
    bool (*end)(struct api_answer *a, int i_prompt, const struct gen_end *e, struct buf *out);
    bool (*finish)(struct api_answer *a,
                   struct buf *out); /* of a stream: usage and the last event */
    bool (*fail)(struct api_answer *a, const struct err *err, struct buf *out); /* in a stream */
    bool (*whole)(struct api_answer *a, struct buf *out);
};

#define API_PROMPTS_MAX  256
#define API_MESSAGES_MAX 16384

struct api_request {
    const struct api_endpoint *endpoint;
    struct str model; /* empty: the client named none; borrows from the body */
    bool stream, include_usage;
    bool seed_given;
    bool continue_final;    /* the answer goes on with the last message, the assistant's */
    bool use_beam_search;   /* with gen.sampling.beam_width, or n, beams */
    struct gen_request gen; /* what all prompts share; gen.chat is set for chat */
    json_t *prompts;        /* not for chat: array of strings or of arrays of ids; owned */
    int n_prompt;           /* 1 for chat */
    json_t *messages;       /* owned: checked, as templates take them */
    json_t *template_vars;  /* borrowed; more variables of the template, or NULL */
    /* By tools.h: */
    json_t *tools;         /* owned: checked, in OpenAI's shape; or NULL */
    json_t *tools_allowed; /* owned: names; NULL: all */
    char tools_param[64];  /* what the client calls the choice among them */
    char *effort;          /* owned: the template's variable reasoning_effort; or NULL */
    json_t *own;           /* owned; what the dialect's answer needs to know of it; or NULL */
    bool keep_alive_given;
    int64_t keep_alive_ms; /* or KEEP_ALIVE_FOREVER */
    /* as given, -1 when not: they only make sense together, once all are read */
    int64_t max_tokens, max_completion_tokens, best_of, n_logprobs;
    bool stream_options_given;
    bool generation_prompt_given, generation_prompt; /* chat: as a template's variable */
    struct api_volatile removed; /* of what clients put into prompts: volatile.h */
};

/* All as the dialects have it when nothing is given. */
void api_request_init(struct api_request *r, const struct api_endpoint *endpoint);
void api_request_release(struct api_request *r);
/* Once all fields are read: gen.chat from messages, bounds that the engine wants, a seed.
 * ERR_INVALID when there is no prompt. */
int api_request_finish(struct api_request *r, struct err *err) __attribute__((warn_unused_result));
/* Puts a system message first when the conversation has none (a model's own system text). */
bool api_request_default_system(struct api_request *r, const char *text);
/* Puts messages before the conversation, but for a system message when that has its own. */
bool api_request_prepend(struct api_request *r, const json_t *messages);
/* The `generate` frame of one prompt: a new reference, NULL when memory is short. */
json_t *api_request_frame(struct api_request *r, int i_prompt, uint64_t id);

/* What all answers have; a dialect's own begins with it. answer_new leaves it to api_answer_init.
 */
struct api_answer {
    const struct api_endpoint *endpoint;
    bool stream;
    int n_choice, n_per_prompt; /* choices are numbered prompt * n_per_prompt + index */
    char id[64];
    int64_t created_ms; /* since 1970 */
    char *model;        /* owned */
    char fingerprint[64];
    int64_t n_prompt, n_cached, n_completion, n_reasoning; /* summed over prompts */
    int64_t n_foretold, n_not_met;                         /* of a prediction's tokens */
    double load_ms;                                        /* the model was not there at first */
    double queue_ms, prefill_ms, decode_ms;                /* the largest of them */
    /* of prompts that were accepted, and that were started, so far */
    int64_t n_prompt_taken, n_cached_taken;
    int64_t n_dropped; /* messages that were left out, for the rest to fit */
};

/* Makes the answer of a request: endpoint->answer_new and what all have. NULL: memory. */
struct api_answer *api_answer_new(const struct api_request *r, const char *id, int64_t created_ms,
                                  const char *model);
void api_answer_free(struct api_answer *a); /* NULL is fine */
/* Before the first delta: what computes the answer is known only when its worker is ready. */
void api_answer_fingerprint(struct api_answer *a, const char *fingerprint);
void api_answer_done(struct api_answer *a, const struct gen_done *d); /* once per prompt */
/* What an answer's object has more than its dialect knows, if there is anything to say: a member
 * "hearth", a comma before it. */
void api_answer_more(const struct api_answer *a, struct buf *out);
/* Which choice the worker speaks of; -1: one that does not exist. */
int api_answer_choice(const struct api_answer *a, int i_prompt, int64_t index);

#endif
