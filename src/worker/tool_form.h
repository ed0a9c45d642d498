/*
 * tool_form: the part of an answer's grammar that is the model's dialect: thoughts that come first,
 * and calls of tools with arguments as their schemas have them.
 */
#ifndef HEARTH_WORKER_TOOL_FORM_H
#define HEARTH_WORKER_TOOL_FORM_H

#include "grammar/grammar.h"
#include "ipc/gen_request.h"
#include "text/dialect.h"

/* Where an answer begins. */
struct form_place {
    const struct dialect *dialect; /* NULL: the answer is not split into channels */
    bool in_thought;               /* the prompt has opened the thoughts */
    bool in_call;                  /* the prompt has begun the call that is demanded */
    bool in_final;                 /* the prompt has chosen the channel that answers (harmony) */
    bool any_args; /* the schemas are too much for a grammar: calls keep to their names and frame */
};

/* Whether calls can be held to their form in the dialect, and the request has tools to call. */
bool tool_form_is_wanted(const struct gen_request *r, const struct form_place *p);
/* Whether a tool that may be called is `strict`: held to its schema, or refused. */
bool tool_form_is_strict(const struct gen_request *r);
/*
 * The answer, with calls or without, as tool_choice has it. plain: what an answer without a call is
 * held to; negative: nothing. Negative with *err: a strict schema that cannot be enforced.
 */
gexpr tool_form_expr(struct grammar_builder *b, const struct gen_request *r,
                     const struct form_place *p, gexpr plain, struct err *err);
/* Thoughts, where the model has any, before `answer`. */
gexpr tool_form_thoughts(struct grammar_builder *b, const struct gen_request *r,
                         const struct form_place *p, gexpr answer);

#endif
