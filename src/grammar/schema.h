/*
 * schema: from a JSON schema to a grammar of the JSON texts that it allows.
 *
 * All that OpenAI's strict subset has, and the common rest of drafts 7 and 2020-12. What cannot be
 * enforced while writing is refused with the place in it ("#/properties/a/not"), or, unless strict,
 * left out where leaving it out still gives valid JSON of the right shape; it never makes output
 * that the schema forbids look enforced. Members come in the order of `properties`.
 * White space is bounded, so that a model cannot fill its answer with it.
 */
#ifndef HEARTH_GRAMMAR_SCHEMA_H
#define HEARTH_GRAMMAR_SCHEMA_H

#include "base/json.h"
#include "grammar/grammar.h"

struct schema_options {
    bool strict;  /* refuse every keyword that is not enforced */
    bool compact; /* no white space but what is in strings */
};

/* Of the value that schema describes. ERR_INVALID, ERR_UNSUPPORTED (with the place; param is
 * `param`, the name of the client's parameter), ERR_LIMIT: negative, and *err is set. */
gexpr schema_expr(struct grammar_builder *b, const json_t *schema, const struct schema_options *o,
                  const char *param, struct err *err);
/* Any JSON value; any JSON object. */
gexpr schema_any_value(struct grammar_builder *b, const struct schema_options *o);
gexpr schema_any_object(struct grammar_builder *b, const struct schema_options *o);

#endif
