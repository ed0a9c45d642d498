/*
 * schema_syntax: inside of schema.c. Texts, names and words in the syntaxes of schema.h; and
 * members in a frame. Expressions: negative with plan->err set on failure.
 */
#ifndef HEARTH_GRAMMAR_SCHEMA_SYNTAX_H
#define HEARTH_GRAMMAR_SCHEMA_SYNTAX_H

#include "grammar/schema_plan.h"

/* schema_syntax.c: with the quotation marks that they have. */
gexpr syntax_any_string(struct plan *p);
gexpr syntax_any_key(struct plan *p);
gexpr syntax_any_name(struct plan *p);                               /* as Python has them */
gexpr syntax_word(struct plan *p, const json_t *value);              /* true, false, null */
gexpr syntax_strings(struct plan *p, const struct str *text, int n); /* n > 0 */
gexpr syntax_string(struct plan *p, const struct shape *s);
gexpr syntax_key(struct plan *p, struct str key);
gexpr syntax_key_lang(struct plan *p, const struct lang *keys);
bool syntax_is_name(struct str key);                             /* as Python has them */
gexpr syntax_name_lang(struct plan *p, const struct lang *keys); /* GEXPR_NONE: none is one */

/* Texts without quotation marks. */
gexpr raw_any(struct plan *p);
gexpr raw_string(struct plan *p, const struct shape *s);
gexpr raw_strings(struct plan *p, const struct str *text, int n);

/* schema_frame.c; of the object at the outside. GEXPR_NONE: it cannot be written so. */
gexpr frame_member(struct plan *p, struct str key, int node);
gexpr frame_other(struct plan *p, const struct lang *keys, int node);
gexpr frame_any(struct plan *p);
gexpr frame_root(struct plan *p, const struct node *n);

#endif
