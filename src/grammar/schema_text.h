/*
 * schema_text: inside of schema.c. Texts in a grammar: what a format allows, and characters,
 * strings and literals as JSON and the syntaxes of models write them.
 */
#ifndef HEARTH_GRAMMAR_SCHEMA_TEXT_H
#define HEARTH_GRAMMAR_SCHEMA_TEXT_H

#include "grammar/grammar.h"
#include "grammar/lang.h"

struct plan;

/* schema_format.c */
#define SCHEMA_NARROW_MAX 2
struct schema_format {
    const char *name, *regex;
    const char *narrow[SCHEMA_NARROW_MAX]; /* parts of it, shorter and shorter, or NULL */
    const char *given; /* for values that are given, of any length; NULL: regex */
};
const struct schema_format *schema_format_find(struct str name);

/* schema_text.c: characters, strings and literals as JSON and others write them. */
enum schema_chars { CHARS_JSON, CHARS_NO_LESS /* no "<" */, CHARS_SINGLE /* in '' */, CHARS_RAW };
gexpr schema_chars(struct grammar_builder *b, enum schema_chars how, const struct grammar_range *r,
                   size_t n);
gexpr schema_json_string(struct grammar_builder *b, gexpr inside);
gexpr schema_literals(struct plan *p, const struct str *text, size_t n); /* sorted here */
gexpr schema_lang_expr(struct grammar_builder *b, const struct lang *l, enum schema_chars how);

#endif
