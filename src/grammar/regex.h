/*
 * regex: regular expressions as JSON Schema's `pattern` has them (ECMA-262 without what no
 * automaton can do): classes, escapes \d \w \s \u{...}, groups, alternatives, greedy and lazy
 * quantifiers, anchors at the ends. Back references and look-around are ERR_UNSUPPORTED.
 */
#ifndef HEARTH_GRAMMAR_REGEX_H
#define HEARTH_GRAMMAR_REGEX_H

#include "grammar/grammar.h"

struct regex_options {
    bool search;      /* a match anywhere in the text is enough (JSON Schema), unless anchored */
    bool json_string; /* the text stands inside a JSON string: characters come as JSON escapes them
                       */
};

/* Negative with *err, which names the place in the pattern. */
gexpr regex_expr(struct grammar_builder *b, struct str pattern, const struct regex_options *o,
                 const char *param, struct err *err);

#endif
