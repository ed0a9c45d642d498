/*
 * openai_tools: OpenAI chat's words for tools, and for calls in a conversation. All `take`
 * functions are api_field.take.
 *
 * Custom tools (free text instead of JSON) become tools with one parameter, `input`; which ones
 * they are is kept in r->own: {"custom": {name: true}, "functions": true when the deprecated
 * `functions` asked}, for the answer to have the client's shape.
 */
#ifndef HEARTH_API_OPENAI_TOOLS_H
#define HEARTH_API_OPENAI_TOOLS_H

#include "api/request.h"

int openai_take_tools(const char *name, const json_t *value, void *into, struct err *err);
int openai_take_tool_choice(const char *name, const json_t *value, void *into, struct err *err);
int openai_take_parallel(const char *name, const json_t *value, void *into, struct err *err);
int openai_take_functions(const char *name, const json_t *value, void *into, struct err *err);
int openai_take_function_call(const char *name, const json_t *value, void *into, struct err *err);

/* A custom tool's object, with its place in the body. */
int openai_custom_take(struct api_request *r, const char *where, const json_t *custom,
                       struct err *err) __attribute__((warn_unused_result));

/* Of messages: checked, in the shape that templates know (function calls with JSON text as
 * arguments); a new reference, or NULL with *err. `where`: "messages[2].tool_calls". */
json_t *openai_calls_read(const char *where, const json_t *calls, struct err *err)
    __attribute__((warn_unused_result));
/* The deprecated {"name", "arguments"} as a list of one call. */
json_t *openai_function_call_read(const char *where, const json_t *call, struct err *err)
    __attribute__((warn_unused_result));

#endif
