/*
 * guide: holds sequences to a grammar (grammar/matcher.h): which tokens each row of a step may
 * draw.
 *
 * A thread of its own finds the masks while the step's forward pass runs, so the engine thread
 * neither allocates nor waits for more than what is left of that. Where only one text can follow,
 * the next token is the first that the tokenizer makes of that text, if it makes more than one (the
 * last may grow together with what comes after it); that is part of what an answer is, however many
 * such tokens a step takes: speculation takes them as guesses that are sure to hold.
 *
 * Depends on the sequence's tokens alone. Whoever gives a sequence its tokens need not know of
 * this: a guide reads what it has not seen when it is asked.
 */
#ifndef HEARTH_ENGINE_GUIDE_H
#define HEARTH_ENGINE_GUIDE_H

#include "engine/draft.h"
#include "grammar/matcher.h"

struct plan;
struct sequence;

#define GUIDE_TEXT_MAX 128 /* bytes of what must follow that are looked at */

struct guide {
    struct matcher *matcher; /* owned */
    int n_matched;           /* tokens of the sequence that it has taken, or that are the prompt */
    bool is_broken;          /* it cannot go on */
    int32_t forced[DRAFT_MAX];
    int n_forced; /* tokens that must come next, as far as guides_force has found them */
};

/* The first token of a text that must follow; -1: there is none that is sure. */
typedef int32_t (*guide_force_fn)(void *ctx, struct str text);

struct guide_row {
    const uint32_t *mask; /* NULL: all */
    bool ends;            /* nothing may follow but the end */
    bool is_broken;       /* nothing may follow, and it may not end */
};

struct guides;

uint64_t guides_bytes(int n_vocab, int n_rows);
/* For steps of at most n_rows rows of logits. force: NULL: tokens are never forced. */
int guides_new(int n_vocab, int n_rows, guide_force_fn force, void *force_ctx, struct guides **ret,
               struct err *err) __attribute__((warn_unused_result));
void guides_free(struct guides *g); /* NULL is fine */
/* Not started, all is done on the calling thread. */
int guides_start(struct guides *g, struct err *err) __attribute__((warn_unused_result));
void guides_stop(struct guides *g);

/* Finds what must come next for the n sequences, those that have guides. Waits for it. */
void guides_force(struct guides *g, struct sequence *const *seq, int n);
/* Begins to find the masks of the plan's rows, which stay as they are until guides_wait. */
void guides_begin(struct guides *g, const struct plan *p);
void guides_wait(struct guides *g);
/* How long guides_force and guides_wait have kept their caller, in all. */
int64_t guides_waited_ns(const struct guides *g);
/* After guides_wait, until the next guides_begin. */
struct guide_row guides_row(const struct guides *g, int i_row);

/* A position at the beginning of an answer. ERR_NOMEM. */
int guide_new(struct grammar *grammar, const struct vocabulary *v, int n_prompt, struct guide **ret,
              struct err *err) __attribute__((warn_unused_result));
void guide_free(struct guide *g); /* NULL is fine */

#endif
