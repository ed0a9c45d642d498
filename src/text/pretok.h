/*
 * pretok: cuts text into the words that byte-level BPE merges within.
 *
 * A pre-tokenizer is a short list of stages; each cuts the pieces that the stage before made. The
 * common stages are hand-written scanners; the rare ones are PCRE2 patterns with limits. Which
 * stages a model needs is told by the name in tokenizer.ggml.pre.
 *
 * Thread: read-only after pretok_new.
 */
#ifndef HEARTH_TEXT_PRETOK_H
#define HEARTH_TEXT_PRETOK_H

#include "base/err.h"
#include "base/str.h"

struct pretok;

/* What else the name says about a model. */
enum pretok_flag {
    PRETOK_IGNORE_MERGES = 1, /* a word that is a token is that token, whatever the merges say */
    PRETOK_ADD_BOS = 2,       /* a BOS unless the file says otherwise */
    PRETOK_NFC = 4,           /* the model's tokenizer normalizes text to NFC first */
    PRETOK_ADD_SEP = 8,       /* BOS and SEP around a text, as BERT does */
    PRETOK_RAW = 16,          /* merges are over UTF-8 with U+2581 for space, not over bytes */
};

/* ERR_UNSUPPORTED naming an unknown name. */
int pretok_new(struct str name, struct pretok **ret, struct err *err)
    __attribute__((warn_unused_result));
void pretok_free(struct pretok *p);
unsigned pretok_flags(const struct pretok *p);

/* Calls word(ctx, ...) for each piece in order; together they are the text. A negative code of
 * word stops and is returned. ERR_LIMIT: a pattern ran past its limits. */
typedef int (*pretok_word_fn)(void *ctx, const uint8_t *word, size_t len);
int pretok_split(const struct pretok *p, struct str text, pretok_word_fn word, void *ctx,
                 struct err *err) __attribute__((warn_unused_result));

/* For the tests: the names in the table, and the patterns of each stage of a name as PCRE2 reads
 * them (NULL after the last). */
const char *pretok_name_at(size_t i); /* NULL past the end */
const char *pretok_pattern(const struct pretok *p, size_t i_stage);

#endif
