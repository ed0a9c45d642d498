/*
 * automaton: a compiled grammar: states over bytes that call each other. See grammar.h.
 *
 * A state has edges over bytes, calls of other automata (each with the state to return to), and may
 * accept: it returns to its caller. In a deterministic state the edges are apart and ascending; an
 * automaton that would have too many such states keeps the states it was built of, with edges that
 * overlap and moves without a byte. A counted state is a whole automaton: it calls its body again
 * and again and its frame on the stack has the number.
 *
 * Nothing here returns without having read a byte, no call leads to itself before a byte was read,
 * and from every state a text can come to its end (determinize.c makes it so).
 */
#ifndef HEARTH_GRAMMAR_AUTOMATON_H
#define HEARTH_GRAMMAR_AUTOMATON_H

#include "grammar/nfa.h"

#include <stdatomic.h>

#define STATE_NONE UINT32_MAX

enum state_flags {
    STATE_ACCEPTS = 1,
    STATE_OVERLAPS = 2, /* edges are not apart */
    STATE_IS_PLAIN = 4, /* edges over bytes are all it has */
    STATE_IS_END = 8,   /* it accepts, and that is all */
    STATE_COUNTS = 16,  /* min, max; its only call is the body */
    STATE_JUMPS = 32,   /* its calls are moves without a byte (to ret) or real ones */
};

struct byte_edge {
    uint8_t from, to;
    uint32_t target;
};

struct call_edge {
    uint32_t start; /* of the called automaton; STATE_NONE: none, a move without a byte */
    uint32_t ret;
    uint32_t special; /* a control token that stands for the call, or STATE_NONE */
};

struct state {
    uint32_t edge, call; /* where its edges and calls begin */
    uint32_t row;        /* of the table of all bytes, or STATE_NONE */
    uint16_t n_edge;
    uint8_t flags;
    uint32_t n_call;
    int32_t min, max; /* STATE_COUNTS */
};

struct mask_cache;

struct grammar {
    atomic_int refs;
    uint64_t bytes; /* that it counts in grammars_bytes */
    struct state *state;
    struct byte_edge *edge;
    struct call_edge *call;
    uint32_t (*row)[256]; /* [n_row] targets */
    size_t n_state, cap_state, n_edge, cap_edge, n_call, cap_call, n_row, cap_row;
    uint32_t start; /* of the whole; it may accept at once */
    char **special; /* [n_special] NUL-terminated names of control tokens */
    size_t n_special;
    struct mask_cache *cache; /* a list: one for each vocabulary; mask_cache.c has its lock */
};

/* Fills states, edges, calls, start. ERR_INVALID: nothing matches, or left recursion; ERR_LIMIT. */
int automaton_make(const struct nfa *n, struct grammar *g, struct err *err)
    __attribute__((warn_unused_result));

#endif
