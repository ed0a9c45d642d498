/*
 * expr: the expressions of a builder: a pool in which equal ones are the same number, so that what
 * is built twice is compiled once. Children have lower numbers than their parents, but for the
 * bodies of rules.
 */
#ifndef HEARTH_GRAMMAR_EXPR_H
#define HEARTH_GRAMMAR_EXPR_H

#include "grammar/grammar.h"

#define EXPRS_MAX      (1u << 20)
#define EXPR_BYTES_MAX (8u << 20)
#define EXPR_LIST_MAX  (4u << 20)

enum expr_kind {
    EXPR_EMPTY,
    EXPR_NEVER,
    EXPR_LITERAL, /* bytes [at, at + n) */
    EXPR_CHARS,   /* ranges [at, at + n): ascending, apart, without surrogates */
    EXPR_SEQ,     /* list [at, at + n) */
    EXPR_ALT,
    EXPR_REPEAT, /* list[at], min to max times */
    EXPR_UNTIL,  /* list of literals */
    EXPR_WITHOUT,
    EXPR_SPECIAL, /* list[at] is its text as a literal */
    EXPR_RULE,    /* min: its body, -1: none yet */
};

struct expr {
    uint8_t kind;
    uint32_t at, n;
    int32_t min, max;
};

struct grammar_builder {
    struct expr *expr;
    uint8_t *byte;
    struct grammar_range *range;
    gexpr *list;
    size_t n_expr, cap_expr, n_byte, cap_byte, n_range, cap_range, n_list, cap_list;
    uint32_t *slot; /* [n_slot] expr + 1, by hash */
    size_t n_slot;
    struct err failed; /* code 0: all is well */
};

/* How many children an expression has in list[at...]; a rule's body is none. */
uint32_t expr_n_children(const struct expr *e);

#endif
