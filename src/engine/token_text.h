/*
 * token_text: the bytes that each token adds to an answer's text, and the tokens that begin with
 * given bytes; and on top of it, strings that may never appear in an answer.
 *
 * A banned string is kept out token by token: a token is forbidden when the text of the answer so
 * far with it would hold the string. That is the case when the token's own bytes hold it
 * (`always`, found once), or when the text ends with its beginning and the token begins with the
 * rest (a range of the sorted vocabulary, found for each position). So it can appear nowhere, not
 * even across tokens, nothing is taken back that a client has seen, and what is forbidden depends
 * on the tokens before alone. The price is that a text that ran into the beginning of a banned
 * string goes on otherwise from there: it is not the distribution of all texts without the string.
 *
 * Threads: both are read-only once made.
 */
#ifndef HEARTH_ENGINE_TOKEN_TEXT_H
#define HEARTH_ENGINE_TOKEN_TEXT_H

#include "base/buf.h"
#include "base/err.h"

#include <stdint.h>

struct token_text {
    int n_vocab;
    size_t *offset;  /* [n_vocab + 1] into bytes */
    char *bytes;     /* owned */
    int32_t *sorted; /* [n_vocab] ids by bytes */
};

/* piece appends the bytes that a token adds (none: it adds nothing that is shown). ERR_NOMEM. */
int token_text_new(int n_vocab, bool (*piece)(void *ctx, int32_t id, struct buf *out), void *ctx,
                   struct token_text **ret, struct err *err) __attribute__((warn_unused_result));
void token_text_free(struct token_text *t); /* NULL is fine */

static inline struct str token_text_of(const struct token_text *t, int32_t id)
{
    return (struct str){t->bytes + t->offset[id], t->offset[id + 1] - t->offset[id]};
}
/* The tokens that begin with prefix are sorted[*ret_from, return). */
int token_text_range(const struct token_text *t, struct str prefix, int *ret_from);

#define BANNED_BYTES_MAX 256

struct banned {
    const struct token_text *text; /* borrowed */
    struct str *needle;            /* [n] owned array, borrowed bytes */
    int n;
    size_t len_max;
    int32_t *always; /* [n_always] tokens that hold one; owned */
    size_t n_always, cap_always;
};

/* needles: of 1 to BANNED_BYTES_MAX bytes, which stay alive. ERR_NOMEM. */
int banned_new(const struct token_text *t, const struct str *needle, int n, struct banned **ret,
               struct err *err) __attribute__((warn_unused_result));
void banned_free(struct banned *b); /* NULL is fine */
/* Sets row[id] to -INFINITY for all that may not follow the n tokens of an answer. */
void banned_apply(const struct banned *b, const int32_t *token, int n, float *row);

#endif
