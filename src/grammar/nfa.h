/*
 * nfa: from expressions to automata that call each other: one for each expression that is used at
 * several places, that is recursive, or that is counted. What is used once stands in its user.
 *
 * A called automaton stands for the texts of its expression but the empty one; who calls it has a
 * way around it if the expression matches nothing (nfa_facts.h).
 */
#ifndef HEARTH_GRAMMAR_NFA_H
#define HEARTH_GRAMMAR_NFA_H

#include "grammar/expr.h"

#define NFA_NONE       UINT32_MAX
#define NFA_STATES_MAX (1u << 20)
#define NFA_EDGES_MAX  (4u << 20)
#define NFA_PROCS_MAX  (1u << 17)

enum nfa_edge_kind {
    NFA_BYTE, /* from to to */
    NFA_EPSILON,
    NFA_CALL, /* of proc; special: the control token that may stand for it, or NFA_NONE */
};

struct nfa_edge {
    uint32_t next; /* of the same source, or NFA_NONE */
    uint32_t source, target, proc, special;
    uint8_t kind, from, to;
};

struct nfa_proc {
    gexpr expr;
    uint32_t first, n_state; /* its states are [first, first + n_state) */
    uint32_t start, accept;
    /* counted: it is `body`, min to max times (-1: unbounded), and has no states of its own but
     * start and accept */
    bool is_counted, is_nullable;
    int32_t min, max;
    uint32_t body;
};

struct nfa {
    struct nfa_edge *edge;
    uint32_t *first_edge; /* [n_state] */
    struct nfa_proc *proc;
    gexpr *special; /* [n_special] literals */
    size_t n_edge, cap_edge, n_state, cap_state, n_proc, cap_proc, n_special, cap_special;
};

/* Of root, which becomes proc 0. ERR_LIMIT, ERR_INVALID (a rule without a body), ERR_NOMEM. */
int nfa_build(const struct grammar_builder *b, gexpr root, struct nfa *ret, struct err *err)
    __attribute__((warn_unused_result));
void nfa_release(struct nfa *n);

/* False: too many. */
bool nfa_add_state(struct nfa *n, uint32_t *ret);
bool nfa_add_edge(struct nfa *n, const struct nfa_edge *e);
bool nfa_add_bytes(struct nfa *n, uint32_t source, uint8_t from, uint8_t to, uint32_t target);
/* byte_class.c: one character of the ranges; a text that ends in, or holds no, needle. */
bool nfa_add_chars(struct nfa *n, const struct grammar_range *r, size_t n_range, uint32_t source,
                   uint32_t target);
bool nfa_add_search(struct nfa *n, const struct str *needle, size_t n_needle, bool is_until,
                    uint32_t source, uint32_t target);

#endif
