/*
 * think_budget: after so many tokens of thoughts, the tokens that end them come next, whatever the
 * model says: they are drawn from a mask that allows nothing else. Depends on the sequence's tokens
 * alone, so that guesses, preemption and another life change nothing.
 *
 * Thoughts are open when the prompt opened them, or when one of the first tokens of the answer is
 * the marker that opens them; they are over when the marker that ends them came. A marker of
 * several tokens is known by all of them but the last, which may have grown together with what
 * follows.
 */
#ifndef HEARTH_ENGINE_THINK_BUDGET_H
#define HEARTH_ENGINE_THINK_BUDGET_H

#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

#define THINK_MARK_MAX 16 /* tokens of a marker, and of what ends thoughts */

struct think_mark {
    int32_t token[THINK_MARK_MAX];
    int n;
};

struct think_budget {
    int n_max;               /* tokens of the answer, of thoughts at first */
    bool is_open;            /* by the prompt */
    struct think_mark open;  /* else by this */
    struct think_mark close; /* ends them */
    struct think_mark force; /* what is written to end them */
    uint32_t *mask;          /* [force.n][n_words]; owned */
    int n_words;
};

/* Copies what; makes the masks. ERR_NOMEM. */
int think_budget_new(const struct think_budget *what, int n_vocab, struct think_budget **ret,
                     struct err *err) __attribute__((warn_unused_result));
void think_budget_free(struct think_budget *b); /* NULL is fine */
uint64_t think_budget_bytes(int n_vocab);
/* The mask of token `next` of an answer that begins at n_prompt; NULL: any token may come. */
const uint32_t *think_budget_mask(const struct think_budget *b, const int32_t *token, int n_prompt,
                                  int next);

#endif
