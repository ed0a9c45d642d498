/*
 * nfa_facts: what is known of the states of an nfa, before they become an automaton.
 */
#ifndef HEARTH_GRAMMAR_NFA_FACTS_H
#define HEARTH_GRAMMAR_NFA_FACTS_H

#include "grammar/nfa.h"

struct nfa_facts {
    bool *can_end;    /* [n_state] the accepting state can be reached */
    bool *can_vanish; /* [n_state] without a byte */
};

/* Linear in the nfa. ERR_NOMEM. */
int nfa_facts_find(const struct nfa *n, struct nfa_facts *ret, struct err *err)
    __attribute__((warn_unused_result));
void nfa_facts_release(struct nfa_facts *f);

#endif
