/*
 * tool_param: how dialects with a tag for each parameter write its value: texts as they are, all
 * else as JSON. Who writes the grammar and who reads the answer must agree on that: here.
 */
#ifndef HEARTH_TEXT_TOOL_PARAM_H
#define HEARTH_TEXT_TOOL_PARAM_H

#include "base/json.h"

enum tool_param {
    TOOL_PARAM_JSON,
    TOOL_PARAM_TEXT,         /* nothing but strings */
    TOOL_PARAM_TEXT_OR_NULL, /* the word null is none; no text that is given is that word */
};

/* Of a member of the object that the schema `parameters` describes; an empty key: of one that it
 * does not name. */
enum tool_param tool_param_kind(const json_t *parameters, struct str key);
/* The word for null, with white space around it or without. */
bool tool_param_is_null(struct str text);

#endif
