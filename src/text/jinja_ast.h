/*
 * jinja_ast: a compiled template. Tokens and nodes live in the template's arena; after
 * jinja_compile nothing in here is written again.
 */
#ifndef HEARTH_TEXT_JINJA_AST_H
#define HEARTH_TEXT_JINJA_AST_H

#include "text/jinja_value.h"

enum jtok_kind {
    T_EOF,
    T_DATA,
    T_BLOCK_BEGIN,
    T_BLOCK_END,
    T_VAR_BEGIN,
    T_VAR_END,
    T_NAME,
    T_STRING,
    T_INTEGER,
    T_FLOAT,
    T_ADD,
    T_SUB,
    T_MUL,
    T_DIV,
    T_FLOORDIV,
    T_MOD,
    T_POW,
    T_TILDE,
    T_EQ,
    T_NE,
    T_LT,
    T_LE,
    T_GT,
    T_GE,
    T_ASSIGN,
    T_DOT,
    T_COLON,
    T_PIPE,
    T_COMMA,
    T_SEMICOLON,
    T_LPAREN,
    T_RPAREN,
    T_LBRACKET,
    T_RBRACKET,
    T_LBRACE,
    T_RBRACE,
};

struct jtok {
    uint8_t kind;
    uint32_t line;
    struct str text; /* data, name, or the decoded string */
    union {
        int64_t i;
        double f;
    };
};

struct jtokens {
    struct jtok *tok; /* in the arena; ends with T_EOF */
    size_t n, cap;
};

/* Source has "\n" line ends only. Errors have their line. */
int jinja_lex(struct arena *arena, struct str source, struct jtokens *ret, struct err *err)
    __attribute__((warn_unused_result));
const char *jtok_name(enum jtok_kind kind);

/* A variable, attribute or argument name; equal names are one object within a template. */
struct jname {
    struct str text;
    struct jval value; /* the name as a string */
    const struct jfunc *global;
};

/*
 * What each kind uses (a list is its first node, linked by `next`):
 *   N_CONST val            N_NAME name          N_LIST, N_TUPLE, N_CONCAT a: items
 *   N_DICT a: key, value, key, value ...        N_NOT, N_NEG, N_POS a
 *   N_AND, N_OR, N_BINARY a b (op: token)       N_COMPARE a, b: list of N_OPERAND (op, flag, a)
 *   N_COND a test, b then, c else or NULL       N_ATTR a, name      N_ITEM a, b
 *   N_SLICE a b c (each may be NULL)            N_CALL a, b: list of N_ARG
 *   N_FILTER, N_TEST a, b: args, name, fn (NULL: unknown, fails when reached)
 *   N_ARG op: enum jarg, name, a                N_NSREF name, attr
 *   N_TEXT val   N_PRINT a   N_IF a test, d body, b next elif, e else
 *   N_FOR a target, b iterable, c filter, d body, e else, flag: recursive
 *   N_SET a target, b value    N_SET_BLOCK a target, b filter chain, d body
 *   N_MACRO, N_CALL_BLOCK name, a: params (N_PARAM name, a: default), d body, flag: macro_flags;
 *   b of N_CALL_BLOCK: the call    N_FILTER_BLOCK b: chain, d body
 *   N_WITH a: targets, b: values, d body    N_GENERATION d    N_BREAK  N_CONTINUE
 */
enum jnode_kind {
    N_CONST,
    N_NAME,
    N_LIST,
    N_TUPLE,
    N_CONCAT,
    N_DICT,
    N_NOT,
    N_NEG,
    N_POS,
    N_AND,
    N_OR,
    N_BINARY,
    N_COMPARE,
    N_OPERAND,
    N_COND,
    N_ATTR,
    N_ITEM,
    N_SLICE,
    N_CALL,
    N_FILTER,
    N_TEST,
    N_ARG,
    N_NSREF,
    N_TEXT,
    N_PRINT,
    N_IF,
    N_FOR,
    N_SET,
    N_SET_BLOCK,
    N_MACRO,
    N_PARAM,
    N_CALL_BLOCK,
    N_FILTER_BLOCK,
    N_WITH,
    N_GENERATION,
    N_BREAK,
    N_CONTINUE,
};

enum jarg { ARG_POS, ARG_KW, ARG_STAR, ARG_STAR_STAR };
enum joperand { OPERAND_IN = 100, OPERAND_NOT_IN };
enum jmacro_flags { MACRO_CALLER = 1, MACRO_KWARGS = 2, MACRO_VARARGS = 4, MACRO_NAMES_CALLER = 8 };

struct jnode {
    uint8_t kind, op, flag;
    uint32_t line;
    uint32_t n; /* length of the list in a (of b for N_CALL, N_FILTER, N_TEST) */
    struct jnode *next;
    struct jnode *a, *b, *c, *d, *e;
    const struct jname *name, *attr;
    jbuiltin fn;
    struct jval val;
};

struct jinja {
    struct arena arena;
    struct jnode *body;
    const struct jname *loop, *caller, *kwargs, *varargs; /* names that statements bind */
};

#define JINJA_SOURCE_MAX      ((size_t)512 << 10)
#define JINJA_COMPILE_MAX     ((size_t)192 << 20)
#define JINJA_PARSE_DEPTH_MAX 150

/* Builtins by name; NULL when unknown. */
jbuiltin jfilter_find(struct str name);
jbuiltin jtest_find(struct str name);
const struct jfunc *jglobal_find(struct str name);

/* Fills all of t but its arena, which it uses. */
int jinja_parse(struct jinja *t, const struct jtokens *tokens, struct err *err)
    __attribute__((warn_unused_result));

#endif
