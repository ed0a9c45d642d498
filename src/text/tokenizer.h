/*
 * tokenizer: text to token ids and back, from the metadata of a GGUF file.
 *
 * Kinds: byte-level BPE (tokenizer.ggml.model "gpt2") with the pre-tokenizer that
 * tokenizer.ggml.pre names, SentencePiece-style ("llama"), BPE over raw text with byte fallback
 * ("gemma4" and the like, when the file says so), WordPiece ("bert"), SentencePiece's unigram model
 * ("t5": T5, XLM-RoBERTa).
 * Time is O(n log n) in the length of the text whatever the text is; no recursion.
 * Special tokens (control, user defined) in text are matched only when the caller says so;
 * user-defined tokens (type 4) are matched always, as the reference implementations do.
 *
 * Thread: a tokenizer is read-only after it is made; any number of threads may use it.
 */
#ifndef HEARTH_TEXT_TOKENIZER_H
#define HEARTH_TEXT_TOKENIZER_H

#include "base/buf.h"
#include "base/err.h"
#include "format/gguf.h"

typedef int32_t token_id;
#define TOKEN_NONE ((token_id)-1)

struct tokenizer;

/* Growable array of ids, born with a maximum. Zero it (or tokens_init) before use. */
struct tokens {
    token_id *id;
    size_t len, cap, max;
};
void tokens_init(struct tokens *t, size_t max);
void tokens_release(struct tokens *t);
bool tokens_push(struct tokens *t, token_id id); /* false at max or out of memory */

/* ERR_CORRUPT, ERR_UNSUPPORTED (names the tokenizer model or pre-tokenizer). g may be freed after.
 */
int tokenizer_new(const struct gguf *g, struct tokenizer **ret, struct err *err)
    __attribute__((warn_unused_result));
void tokenizer_free(struct tokenizer *t);

enum tokenize_flags {
    TOKENIZE_SPECIAL = 1, /* text may spell control tokens: "<|im_end|>" becomes one id */
    TOKENIZE_BOS_EOS = 2, /* add BOS / EOS (CLS / SEP) where the file says so */
};
/* Appends to out. Invalid UTF-8 is handled as U+FFFD or as bytes, as the kind's reference does.
 * ERR_LIMIT when out->max would be passed. */
int tokenizer_encode(const struct tokenizer *t, struct str text, unsigned flags, struct tokens *out,
                     struct err *err) __attribute__((warn_unused_result));

/* Bytes of its tables. */
uint64_t tokenizer_bytes(const struct tokenizer *t);
size_t tokenizer_n_vocab(const struct tokenizer *t);
token_id tokenizer_bos(const struct tokenizer *t); /* TOKEN_NONE if there is none */
token_id tokenizer_eos(const struct tokenizer *t);
bool tokenizer_adds_bos(const struct tokenizer *t);
/* What stands between the two texts of a pair beside what ends the first, or TOKEN_NONE. */
token_id tokenizer_pair_sep(const struct tokenizer *t);
/* What a gap in a text is asked with: PREFIX text SUFFIX text MIDDLE, then the model fills it in.
 */
struct fim_tokens {
    token_id prefix, suffix, middle;
};
bool tokenizer_fim(const struct tokenizer *t, struct fim_tokens *ret); /* false: it has none */
bool tokenizer_is_eog(const struct tokenizer *t, token_id id); /* ends generation: eos, eot, ... */
bool tokenizer_is_control(const struct tokenizer *t, token_id id);
/* The token's own text as stored for templates ("<|im_start|>"); borrowed; empty if out of range.
 */
struct str tokenizer_token_text(const struct tokenizer *t, token_id id);
/* Id of a token by its stored text, or TOKEN_NONE. */
token_id tokenizer_find(const struct tokenizer *t, struct str text);
/* The bytes that id adds to output (byte-level decoded; SentencePiece space restored; a byte token
 * gives one byte; control tokens give nothing unless `special`). False if out is full. */
bool tokenizer_piece(const struct tokenizer *t, token_id id, bool special, struct buf *out);

/*
 * Streaming detokenizer: never emits half a UTF-8 character, nor the SentencePiece space that
 * stands before the first word of a text. Bytes that can never become a character come out as
 * U+FFFD.
 */
struct detokenizer {
    const struct tokenizer *tokenizer; /* borrowed */
    uint8_t pending[8];
    uint8_t n_pending;
    bool at_start; /* next piece is the first of the text: SentencePiece drops one space */
    bool special;  /* print control tokens */
};
void detokenizer_init(struct detokenizer *d, const struct tokenizer *t, bool at_start);
bool detokenizer_push(struct detokenizer *d, token_id id, struct buf *out);
bool detokenizer_flush(struct detokenizer *d, struct buf *out); /* what is pending, as U+FFFD */

#endif
