/*
 * trie_walk: which tokens of a vocabulary can be read from where a text stands.
 *
 * Positions repeat along a trie of tokens (after any letter of a string it stands where it stood),
 * so a walk over a large part of it numbers the positions that it meets and keeps what each byte
 * leads to: a node that comes to a known position costs a look into a table. That is a
 * deterministic automaton, made as far as the tokens need it, and forgotten with the walk.
 */
#ifndef HEARTH_GRAMMAR_TRIE_WALK_H
#define HEARTH_GRAMMAR_TRIE_WALK_H

#include "grammar/stacks.h"
#include "grammar/vocabulary.h"

#define MASK_WORK_MAX (16u << 20) /* looks at a frame for one mask */

/* What is needed beside the stacks, made once. */
struct trie_walk {
    const struct vocabulary *v;
    struct reach *reach; /* [len_max + 1], by depth */
    size_t *mark;        /* frames at that depth */
    uint32_t *pop;       /* [n_pop] nodes after which it may return */
    size_t n_pop, cap_pop;
};
bool trie_walk_init(struct trie_walk *w, const struct vocabulary *v);
void trie_walk_release(struct trie_walk *w);
/* Tokens below node `root` that reach[0] can read, into the mask; up to pops_max places where it
 * returns, then it stops. pops_max 0: they are not wanted. ERR_LIMIT: too much work; ERR_NOMEM. */
int trie_walk_run(struct trie_walk *w, struct stacks *s, uint32_t root, size_t pops_max,
                  uint32_t *mask, struct err *err) __attribute__((warn_unused_result));

#endif
