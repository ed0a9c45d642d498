/*
 * errors: what an ERR_* is in HTTP and in each dialect. One table, for every answer that says no.
 *
 * OpenAI:  {"error": {"message", "type", "param", "code"}}
 * Ollama:  {"error": "text"}
 * Anthropic: {"type": "error", "error": {"type", "message"}, "request_id"}
 * Pure: bytes out, no sockets. Texts come from struct err and are written for people.
 */
#ifndef HEARTH_API_ERRORS_H
#define HEARTH_API_ERRORS_H

#include "base/buf.h"
#include "base/err.h"

enum api_dialect {
    API_OPENAI,
    API_OLLAMA,
    API_ANTHROPIC,
};

#define API_STATUS_CLIENT_LEFT 499 /* nobody is there to read it: for logs and metrics */

/* A key's own limit: 429, where an overloaded server is 503. Only the gateway makes it, so it is
 * none of base/err.h's codes. */
#define API_ERR_RATE (-100)
/* The response to go on from is not there: 400, where one that is asked for is 404. */
#define API_ERR_NO_PREVIOUS (-101)
/* Another response runs in the conversation: 400, as OpenAI has it. */
#define API_ERR_LOCKED (-102)

/* What goes beside struct err in an answer. Zero is "not known". */
struct api_counts {
    int64_t n_prompt, n_ctx; /* with ERR_CONTEXT_LENGTH */
    const char *request_id;  /* borrowed */
};

int api_status(int err_code); /* 400..599 */
/* As the dialect's clients know it: Anthropic's 529 where others have 503. */
int api_status_in(enum api_dialect dialect, int err_code);
const char *api_error_word(int err_code); /* err_word, and "rate_limited" */
/* Appends the error object; false past out->max. counts may be NULL. */
bool api_error_write(enum api_dialect dialect, const struct err *err,
                     const struct api_counts *counts, struct buf *out);

#endif
