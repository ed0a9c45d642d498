/*
 * grammar: what an answer may look like, as one automaton over bytes. Front ends (gbnf.h, regex.h,
 * schema.h, a dialect of tool calls) build expressions; grammar_finish compiles them once; any
 * number of matchers (matcher.h) then walk the same grammar.
 *
 * Expressions are numbers of the builder. A negative one is a failure that came before; every
 * function passes it on, and grammar_finish reports it, so that only the end needs a check.
 * Text is UTF-8: characters are code points, and the automaton never allows half a character at
 * the end. Every size is bounded (GRAMMAR_*): what a client sends can neither hang nor fill memory.
 */
#ifndef HEARTH_GRAMMAR_GRAMMAR_H
#define HEARTH_GRAMMAR_GRAMMAR_H

#include "base/err.h"
#include "base/str.h"

#include <stdbool.h>
#include <stdint.h>

#define GRAMMAR_REPEAT_MAX 65536 /* of a bounded repetition */
#define GRAMMAR_UNBOUNDED  (-1)

typedef int32_t gexpr;
struct grammar_builder;
struct grammar; /* immutable, any thread */

struct grammar_range {
    uint32_t from, to; /* code points, inclusive */
};

struct grammar_builder *grammar_builder_new(void);
void grammar_builder_free(struct grammar_builder *b); /* NULL is fine */

/* Says why all has failed, for front ends; the first reason stays. Returns a negative gexpr. */
gexpr grammar_fail(struct grammar_builder *b, const struct err *why);

gexpr grammar_empty(struct grammar_builder *b);
gexpr grammar_literal(struct grammar_builder *b, struct str text);
/* One character: of the ranges, or of none of them. */
gexpr grammar_chars(struct grammar_builder *b, const struct grammar_range *r, size_t n,
                    bool negated);
gexpr grammar_seq(struct grammar_builder *b, const gexpr *e, size_t n);
gexpr grammar_alt(struct grammar_builder *b, const gexpr *e, size_t n); /* n = 0: nothing matches */
/* min to max times; max may be GRAMMAR_UNBOUNDED. Costs log(max), not max, where e is regular. */
gexpr grammar_repeat(struct grammar_builder *b, gexpr e, int64_t min, int64_t max);
/* Shortest text that ends in one of the needles; no text holds one but at its end. */
gexpr grammar_until(struct grammar_builder *b, const struct str *needle, size_t n);
/* Any text that holds none of the needles. */
gexpr grammar_without(struct grammar_builder *b, const struct str *needle, size_t n);
/* The control token of this text ("<tool_call>"), where the vocabulary has one; else the text. */
gexpr grammar_special(struct grammar_builder *b, struct str text);
/* A reference that may be used before grammar_define gives it its body; recursion is fine, but not
 * left recursion without a character between (grammar_finish says ERR_INVALID). */
gexpr grammar_rule(struct grammar_builder *b);
void grammar_define(struct grammar_builder *b, gexpr rule, gexpr body);

/* Compiles; the builder is empty afterwards, also on failure. ERR_INVALID, ERR_LIMIT. */
int grammar_finish(struct grammar_builder *b, gexpr root, struct grammar **ret, struct err *err)
    __attribute__((warn_unused_result));
struct grammar *grammar_ref(struct grammar *g);
void grammar_unref(struct grammar *g);           /* NULL is fine; counted atomically */
uint64_t grammar_bytes(const struct grammar *g); /* with the masks that were found */
uint64_t grammars_bytes(void); /* of all that there are in this process, without masks */
uint64_t masks_bytes(void);    /* of the masks that are kept for all of them */

#endif
