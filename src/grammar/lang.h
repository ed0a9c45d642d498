/*
 * lang: a set of strings as a deterministic automaton over code points, for what expressions of a
 * grammar cannot say: both of two patterns, a pattern and a length, any name but these. Automata
 * live in the caller's arena; they have no dead ends (every state reaches an accepting one).
 *
 * A function that makes one returns 0, ERR_LIMIT (too many states, or the arena is full), or what
 * it says; *ret is NULL when the set is empty.
 */
#ifndef HEARTH_GRAMMAR_LANG_H
#define HEARTH_GRAMMAR_LANG_H

#include "base/arena.h"
#include "grammar/grammar.h"

#define LANG_STATES_MAX 16384
#define LANG_EDGES_MAX  131072
#define LANG_CHAR_MAX   0x10FFFF

struct lang_edge {
    uint32_t from, to; /* inclusive; edges of a state are sorted and do not overlap */
    int32_t next;
};

struct lang { /* state 0 is the start */
    int n_state;
    bool *accept;
    int *first; /* [n_state + 1] into edge */
    struct lang_edge *edge;
};

int lang_length(struct arena *a, int64_t min, int64_t max, const struct lang **ret); /* max < 0 */
/* Exactly these; of none: NULL. Words are UTF-8. */
int lang_words(struct arena *a, const struct str *word, size_t n, const struct lang **ret);
/* What products may cost: their states and edges are counted as they are made, those that come to
 * nothing with them. ERR_LIMIT when *n passes max. */
struct lang_work {
    struct arena *arena; /* of the result */
    uint64_t *n, max;
};
int lang_and(struct lang_work w, const struct lang *x, const struct lang *y,
             const struct lang **ret);
int lang_or(struct lang_work w, const struct lang *x, const struct lang *y,
            const struct lang **ret);
int lang_minus(struct lang_work w, const struct lang *x, const struct lang *y,
               const struct lang **ret);
/* Characters of the shortest and of the longest word; *ret_longest -1: there is none. ERR_NOMEM. */
int lang_lengths(const struct lang *l, int64_t *ret_shortest, int64_t *ret_longest);
/* As regex_expr with search. ERR_INVALID and ERR_UNSUPPORTED with *err. *ret_looks: the work. */
int lang_regex(struct arena *a, struct str pattern, const struct lang **ret, uint64_t *ret_looks,
               struct err *err);
bool lang_accepts(const struct lang *l, struct str text);

/* For those who make automata: states in order, each before its edges, which ascend. */
struct lang_maker {
    bool *accept;
    int *first;
    struct lang_edge *edge;
    size_t n_state, cap_accept, cap_first, n_edge, cap_edge;
};
bool lang_add_state(struct lang_maker *m, bool accept);
bool lang_add_edge(struct lang_maker *m, uint32_t from, uint32_t to, int next);
/* Releases the maker; ERR_LIMIT when not ok. */
int lang_finish(struct arena *a, struct lang_maker *m, bool ok, const struct lang **ret);

/* Reads one code point at *i; -1 on what is no UTF-8. */
int32_t lang_next_char(struct str s, size_t *i);

#endif
