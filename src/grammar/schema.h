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

enum schema_syntax { /* how values are written */
                     SCHEMA_JSON,
                     SCHEMA_PYTHON, /* True, False, None; either quotation mark */
                     SCHEMA_QUOTED, /* texts as they are between two of the markers `quote`, names
                                       without any; no white space */
};

struct schema_options {
    bool strict;  /* refuse every keyword that is not enforced */
    bool compact; /* no white space but what is in strings */
    enum schema_syntax syntax;
    struct str quote; /* SCHEMA_QUOTED; it may be a control token */
    /* JSON within markers that begin with "<": characters that its strings do not write after one
     * (JSON's escapes say the same). Empty: there are no such markers. */
    struct str after_less;
    /* Where several schemas are compiled for one request: what they take together, 0 at first. All
     * of them may take SCHEMA_SHARES times what one may; after that, ERR_LIMIT. NULL: each has its
     * own. */
    uint64_t *steps;
};
#define SCHEMA_SHARES 4

/* How the members of the outermost object are written where they are the arguments of a call:
 * before_key KEY after_key VALUE after_value, with between between them. */
struct schema_frame {
    gexpr before_key, after_key, after_value, between;
    struct str key_stop;    /* characters that no key may hold; empty: keys that are no names of
                               Python's are quoted */
    const char *raw_end[4]; /* what no text without quotation marks may hold; NULL: no more */
    /* Whether the value of this key is a text without quotation marks, or null; of an empty key:
     * that of all which the schema does not name. NULL: never. */
    bool (*is_raw)(const void *ctx, struct str key);
    const void *ctx;
};

/* Of the value that schema describes. ERR_INVALID, ERR_UNSUPPORTED (with the place; param is
 * `param`, the name of the client's parameter), ERR_LIMIT: negative, and *err is set. */
gexpr schema_expr(struct grammar_builder *b, const json_t *schema, const struct schema_options *o,
                  const char *param, struct err *err);
/* The members of the object that schema describes, in a frame. As schema_expr. */
gexpr schema_members(struct grammar_builder *b, const json_t *schema,
                     const struct schema_options *o, const struct schema_frame *frame,
                     const char *param, struct err *err);
/* Any members; where the frame has raw_end, any values are texts without quotation marks. */
gexpr schema_any_members(struct grammar_builder *b, const struct schema_options *o,
                         const struct schema_frame *frame);
/* Any JSON value; any JSON object. */
gexpr schema_any_value(struct grammar_builder *b, const struct schema_options *o);
gexpr schema_any_object(struct grammar_builder *b, const struct schema_options *o);

#endif
