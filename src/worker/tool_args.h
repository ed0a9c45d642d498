/*
 * tool_args: the arguments of a call, as a model's dialect writes them and as the tool's schema has
 * them.
 */
#ifndef HEARTH_WORKER_TOOL_ARGS_H
#define HEARTH_WORKER_TOOL_ARGS_H

#include "base/json.h"
#include "grammar/grammar.h"
#include "text/dialect.h"

/* A text of a dialect, whose markers may be control tokens. */
gexpr tool_spelled(struct grammar_builder *b, const char *z);
/* Of a function (OpenAI's shape); steps: schema_options.steps of all functions. Negative with *err:
 * as schema_expr, of the parameter "tools". */
gexpr tool_args_expr(struct grammar_builder *b, const struct dialect *d, const json_t *function,
                     uint64_t *steps, struct err *err);
/* Any arguments at all. */
gexpr tool_args_any(struct grammar_builder *b, const struct dialect *d);

#endif
