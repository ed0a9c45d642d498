/*
 * spelling: keeps control tokens that a user spells from becoming control tokens.
 *
 * A template's text may hold control tokens ("<|im_start|>"), a message's content may not: there
 * the same characters are just characters. Templates mix both in one string, so before rendering
 * each control token's spelling in the request's strings is replaced by one character of the last
 * private-use plane (U+100000 + i), and after rendering the parts that hold such characters are
 * turned back and tokenized without special tokens. Templates see such a character as they see any
 * other. Characters of that plane in the request itself are replaced likewise, so none is taken
 * for ours.
 */
#ifndef HEARTH_WORKER_SPELLING_H
#define HEARTH_WORKER_SPELLING_H

#include "base/json.h"
#include "text/tokenizer.h"

struct spellings; /* of all control tokens of a tokenizer; read-only once made */

int spellings_new(const struct tokenizer *t, struct spellings **ret, struct err *err)
    __attribute__((warn_unused_result));
void spellings_free(struct spellings *s);
/* Length of the longest spelling that text begins with; 0 if none. */
size_t spellings_match(const struct spellings *s, struct str text);

/* What was replaced in one request. */
struct disguise {
    struct disguise_entry {
        struct str text; /* owned bytes */
    } * entry;
    size_t n, cap;
};
void disguise_release(struct disguise *d);

/*
 * A new reference to value with every string and key disguised; value itself when there is nothing
 * to do. In messages, tool_calls[].function.arguments given as a string of JSON is parsed first: an
 * escape such as \u003c must not hide a spelling. ERR_LIMIT, ERR_NOMEM.
 */
int disguise_request(struct disguise *d, const struct spellings *s, json_t *request, json_t **ret,
                     struct err *err) __attribute__((warn_unused_result));
/* Turns the disguised characters in text back; appends. */
int disguise_undo(const struct disguise *d, struct str text, struct buf *out, struct err *err)
    __attribute__((warn_unused_result));
/* Tokens of a rendered prompt: control tokens only where the template wrote them. */
int disguise_encode(const struct disguise *d, const struct spellings *s, const struct tokenizer *t,
                    struct str rendered, struct tokens *out, struct err *err)
    __attribute__((warn_unused_result));

#endif
