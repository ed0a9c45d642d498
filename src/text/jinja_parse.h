/*
 * jinja_parse: what the two halves of the parser (statements, expressions) share.
 */
#ifndef HEARTH_TEXT_JINJA_PARSE_H
#define HEARTH_TEXT_JINJA_PARSE_H

#include "text/jinja_ast.h"

/* The macro (or call block) whose body is being read: which special names does it use? */
struct macro_frame {
    struct macro_frame *outer;
    uint8_t flags;
};

struct parse {
    struct arena *arena;
    const struct jtok *tok; /* the current token */
    const struct jtok *end; /* T_EOF */
    struct err *err;
    int depth;
    int loop_depth; /* loops that a break would leave */
    struct macro_frame *macro;
    struct jname **name; /* interned, open addressing */
    size_t n_name, name_cap;
    /*
     * Filters and tests of unknown name. Jinja refuses them when it compiles, but for those that
     * stand under an `if` (or an inline one), which fail only when they are reached.
     */
    struct jnode **unknown;
    size_t n_unknown, unknown_cap;
};

/* All give NULL / false with the error set. */
struct jnode *parse_fail(struct parse *p, const char *fmt, ...)
    __attribute__((format(printf, 2, 3), cold));
struct jnode *parse_expected(struct parse *p, const char *what); /* "expected X, got Y" */
struct jnode *node_new(struct parse *p, enum jnode_kind kind, uint32_t line);
const struct jname *parse_intern(struct parse *p, struct str text);
bool parse_skip(struct parse *p, enum jtok_kind kind); /* takes the token if it is next */
bool parse_expect(struct parse *p, enum jtok_kind kind);
bool at_word(const struct jtok *t, const char *word); /* is t the name `word`? */
bool parse_skip_word(struct parse *p, const char *word);
/* Refuses what was unknown since n_unknown was `from`. */
bool parse_check_unknown(struct parse *p, size_t from);

struct jnode *parse_expression(struct parse *p, bool with_cond);
struct jnode *parse_primary(struct parse *p, bool with_namespace);
enum tuple_flags { TUPLE_NO_COND = 1, TUPLE_PRIMARY = 2, TUPLE_NAMESPACE = 4, TUPLE_PARENS = 8 };
/* end_word: a name that ends the tuple, or NULL. */
struct jnode *parse_tuple(struct parse *p, unsigned flags, const char *end_word);
/* input may be NULL; `inline_start`: the first filter has no "|" before it. */
bool parse_filters(struct parse *p, struct jnode *input, bool inline_start, struct jnode **ret);

#endif
