/*
 * gbnf: llama.cpp's grammar notation. Rules, literals, classes, groups, * + ? {m,n}, alternatives,
 * comments. Source: llama.cpp grammars/README.md.
 */
#ifndef HEARTH_GRAMMAR_GBNF_H
#define HEARTH_GRAMMAR_GBNF_H

#include "grammar/grammar.h"

/* Of the rule `root`. Negative with *err: ERR_INVALID with line and column, ERR_LIMIT. */
gexpr gbnf_expr(struct grammar_builder *b, struct str text, const char *param, struct err *err);

#endif
