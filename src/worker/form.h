/*
 * form: from what a request says of its answer's form to a grammar, and the grammars that were
 * made: compiled once for all requests that want the same, as long as there is room.
 *
 * Threads: any; intake's threads compile beside each other.
 */
#ifndef HEARTH_WORKER_FORM_H
#define HEARTH_WORKER_FORM_H

#include "grammar/matcher.h"
#include "ipc/gen_request.h"
#include "text/tokenizer.h"
#include "worker/tool_form.h"

struct forms;

/* tokenizer: borrowed; n_vocab: tokens that have logits, not fewer than the tokenizer's. */
struct forms *forms_new(const struct tokenizer *tokenizer, int n_vocab);
void forms_free(struct forms *f); /* NULL is fine; after the last matcher */

/* Does the request say anything of its answer's form? */
bool form_is_wanted(const struct gen_request *r, const struct form_place *p);
/* The whole of an answer to r. ERR_INVALID, ERR_UNSUPPORTED, ERR_LIMIT with the client's
 * parameter: negative. */
gexpr form_expr(struct grammar_builder *b, const struct gen_request *r, const struct form_place *p,
                struct err *err);
/* What a constraint (gen_request.h) allows: a part of form_expr. */
gexpr form_constraint(struct grammar_builder *b, const json_t *constraint, struct err *err);

/* The grammar of form_expr, made or found: a new reference; and the vocabulary to walk it with,
 * which is made with the first one. */
int forms_get(struct forms *f, const struct gen_request *r, const struct form_place *p,
              struct grammar **ret, const struct vocabulary **ret_vocabulary, struct err *err)
    __attribute__((warn_unused_result));

/* A guide_force_fn (engine/guide.h) of a tokenizer. */
int32_t form_force(void *tokenizer, struct str text);

#endif
