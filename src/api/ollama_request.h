/*
 * ollama_request: /api/generate and /api/chat into neutral requests, and answers back.
 *
 * Source: ollama/ollama api/types.go and docs/api.md as of August 2026. The tables in
 * ollama_generate.c, ollama_chat.c and ollama_options.c are the contract. What both endpoints read
 * goes into a struct ollama_reading, whose first member is the request, so that what other dialects
 * read with (sampling.h) works here, too.
 */
#ifndef HEARTH_API_OLLAMA_REQUEST_H
#define HEARTH_API_OLLAMA_REQUEST_H

#include "api/fields.h"
#include "api/request.h"
#include "api/think.h"

/* A templated prompt, and one that is continued as it stands (`raw`, `suffix`): parse of the first
 * chooses. */
extern const struct api_endpoint ollama_generate, ollama_generate_raw, ollama_chat;

/* {"model", "keep_alive"} without a prompt or messages: 0 unloads, all else loads. */
bool ollama_is_load(const struct api_endpoint *endpoint, const json_t *body);
/* The answer to `_debug_render_only`; text: the prompt. */
bool ollama_write_rendered(const struct api_request *r, struct str text, struct buf *out);

struct ollama_reading {
    struct api_request r; /* first */
    struct str prompt, suffix, system;
    bool raw, render_only;
    json_t *history; /* of `context`: messages; owned */
};

/* Rows that both tables have. */
#define OLLAMA_N_OPTIONS 58
#define OLLAMA_N_MESSAGE 8
extern const struct api_field ollama_option_fields[OLLAMA_N_OPTIONS];
extern const struct api_field ollama_message_fields[OLLAMA_N_MESSAGE];
int ollama_take_options(const char *name, const json_t *v, void *into, struct err *err);
int ollama_take_format(const char *name, const json_t *v, void *into, struct err *err);
int ollama_take_template(const char *name, const json_t *v, void *into, struct err *err);
int ollama_no_images(const char *name, const json_t *v, void *into, struct err *err);
/* What both endpoints begin with: Ollama's own defaults, then the model's. */
int ollama_reading_init(struct ollama_reading *g, const struct api_endpoint *endpoint,
                        const json_t *defaults, struct err *err)
    __attribute__((warn_unused_result));
/* The end of a parse: *ret on code 0, which is returned. */
int ollama_reading_end(struct ollama_reading *g, int code, struct api_request *ret);
/* Once all is read: what holds between fields of both, and api_request_finish. */
int ollama_reading_finish(struct ollama_reading *g, struct err *err)
    __attribute__((warn_unused_result));

#define OLLAMA_AT(member) .offset = offsetof(struct ollama_reading, member)
/* clang-format off: rows of a table */
#define OLLAMA_SHARED_FIELDS                                                                       \
    {"model", API_STR, API_HONOURED, OLLAMA_AT(r.model)},                                          \
        {"stream", API_BOOL, API_HONOURED, OLLAMA_AT(r.stream)},                                   \
        {"format", API_ANY, API_HONOURED, .take = ollama_take_format},                             \
        {"options",                                                                                \
         API_ANY,                                                                                  \
         API_HONOURED,                                                                             \
         .take = ollama_take_options,                                                              \
         .sub = ollama_option_fields,                                                              \
         .n_sub = OLLAMA_N_OPTIONS},                                                               \
        {"think", API_ANY, API_HONOURED, .take = api_take_think},                                  \
        {"keep_alive", API_ANY, API_HONOURED, .take = api_take_keep_alive},                        \
        {"logprobs", API_BOOL, API_HONOURED, OLLAMA_AT(r.gen.logprobs)},                           \
        {"top_logprobs", API_INT, API_HONOURED, 0, GEN_TOP_LOGPROBS_MAX, OLLAMA_AT(r.n_logprobs)}, \
        {"truncate", API_BOOL, API_HONOURED, OLLAMA_AT(r.gen.truncate)},                           \
        {"shift", API_BOOL, API_NO_EFFECT,                                                         \
         .note = "an answer ends where the context is full, with done_reason length"},             \
    {                                                                                              \
        "_debug_render_only", API_BOOL, API_HONOURED, OLLAMA_AT(render_only)                       \
    }
/* clang-format on */

/* ---- ollama_messages.c ---- */

/* A conversation as Ollama writes it, as templates take it: a new reference. `where`: "messages".
 */
json_t *ollama_messages_read(const char *where, const json_t *messages, struct err *err)
    __attribute__((warn_unused_result));
/* Adds each to the request's tools (tools.h). */
int ollama_take_tools(const char *name, const json_t *v, void *into, struct err *err);

/*
 * `context` of /api/generate: "an encoding of the conversation": the messages so far, as JSON, six
 * bytes to a number, with a length and a checksum in front, so that what another server made is
 * refused and not misread. Ollama packs tokens; clients hand it back as they got it, unread.
 */
bool ollama_context_write(const json_t *messages, struct buf *out); /* a JSON array */
json_t *ollama_context_read(const json_t *context, struct err *err)
    __attribute__((warn_unused_result));

/* ---- ollama_answer.c: struct api_endpoint says what each does ---- */

struct api_answer *ollama_answer_new(const struct api_request *r);
void ollama_answer_free(struct api_answer *a);
bool ollama_answer_begin(struct api_answer *a, struct buf *out);
bool ollama_answer_delta(struct api_answer *a, int i_prompt, const struct gen_delta *d,
                         struct buf *out);
bool ollama_answer_end(struct api_answer *a, int i_prompt, const struct gen_end *e,
                       struct buf *out);
bool ollama_answer_finish(struct api_answer *a, struct buf *out);
bool ollama_answer_fail(struct api_answer *a, const struct err *err, struct buf *out);
bool ollama_answer_whole(struct api_answer *a, struct buf *out);

#define OLLAMA_ANSWERS                                                                             \
    .dialect = API_OLLAMA, .stream_type = "application/x-ndjson", .id_prefix = "ollama-",          \
    .answer_new = ollama_answer_new, .answer_free = ollama_answer_free,                            \
    .begin = ollama_answer_begin, .delta = ollama_answer_delta, .end = ollama_answer_end,          \
    .finish = ollama_answer_finish, .fail = ollama_answer_fail, .whole = ollama_answer_whole

#endif
