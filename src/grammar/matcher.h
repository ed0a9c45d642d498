/*
 * matcher: where one answer stands in its grammar, and which tokens may come next.
 *
 * A vocabulary is the bytes of every token as a trie, made once when a model loads. A matcher is
 * one position in a grammar; it takes tokens, gives the mask of those that may follow, says whether
 * the text may end here, and what text must come next whatever the model says (so that it need not
 * be computed one token at a time). Masks are cached in the grammar by state, under a bound.
 *
 * Threads: a vocabulary and a grammar are shared; a matcher belongs to one thread at a time.
 * matcher_mask may allocate (the cache); it is called beside the forward pass, never in it.
 */
#ifndef HEARTH_GRAMMAR_MATCHER_H
#define HEARTH_GRAMMAR_MATCHER_H

#include "grammar/grammar.h"

struct vocabulary;

struct vocabulary_token {
    struct str bytes; /* what it adds to the text; empty: it can never be part of it */
    bool is_control;  /* bytes are its name, which only grammar_special matches */
    bool is_end;      /* ends the answer */
};
/* Copies the bytes. ERR_NOMEM. */
int vocabulary_new(const struct vocabulary_token *token, size_t n, struct vocabulary **ret,
                   struct err *err) __attribute__((warn_unused_result));
void vocabulary_free(struct vocabulary *v);
uint64_t vocabulary_bytes(const struct vocabulary *v);

struct matcher;
int matcher_new(struct grammar *g, const struct vocabulary *v, struct matcher **ret,
                struct err *err) __attribute__((warn_unused_result)); /* takes a reference to g */
int matcher_copy(const struct matcher *m, struct matcher **ret, struct err *err)
    __attribute__((warn_unused_result));
void matcher_free(struct matcher *m);

/* False, and nothing changes: the token may not come here. */
bool matcher_accept(struct matcher *m, int32_t token);
/* Bit i of word i / 32: token i may come. [words of n_vocab]; end tokens where the text may end.
 * Never empty unless the answer is over: then only end tokens. ERR_LIMIT: the grammar is too
 * ambiguous here to be followed. */
int matcher_mask(struct matcher *m, uint32_t *mask, struct err *err)
    __attribute__((warn_unused_result));
bool matcher_may_end(const struct matcher *m);
bool matcher_must_end(const struct matcher *m); /* nothing more can follow */
/* Bytes that must come next, up to max of them; they end at a character's end. */
size_t matcher_forced(const struct matcher *m, char *ret, size_t max);
/* Takes back the last n accepted tokens (of a guess that did not hold); n up to MATCHER_UNDO. */
#define MATCHER_UNDO 64
void matcher_rollback(struct matcher *m, int n);
/* Steps of the automaton that the last accept or mask took: tests bound it, not time. */
uint64_t matcher_work(const struct matcher *m);
uint64_t matcher_bytes(const struct vocabulary *v); /* what one takes, roughly */

#endif
