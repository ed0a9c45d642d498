/*
 * synth_vocab: a tokenizer for a synthetic model: another file's, or a plain one.
 */
#ifndef HEARTH_CLI_SYNTH_VOCAB_H
#define HEARTH_CLI_SYNTH_VOCAB_H

#include "format/gguf_write.h"

/* Tokens of a file's tokenizer. ERR_NOT_FOUND: it has none; ERR_CORRUPT. name is for the text. */
int synth_vocab_tokens(const struct gguf *from, const char *name, int *ret, struct err *err)
    __attribute__((warn_unused_result));
/*
 * Every tokenizer.* key of `from`, the chat template too; unused tokens after its own up to
 * n_vocab, which is no less than it has. ERR_CORRUPT, ERR_NOMEM.
 */
int synth_vocab_copy(const struct gguf *from, int n_vocab, struct gguf_writer *w, struct err *err)
    __attribute__((warn_unused_result));
/* Byte-level BPE of 256 bytes, a few merges, ChatML's marks and template; unused tokens after.
 * n_vocab: SYNTH_VOCAB_PLAIN or more. */
#define SYNTH_VOCAB_PLAIN 268
int synth_vocab_plain(int n_vocab, struct gguf_writer *w, struct err *err)
    __attribute__((warn_unused_result));
/* The model of the library whose tokenizer has the most tokens, n_vocab at most. NULL: none. */
char *synth_vocab_in_library(int n_vocab);

#endif
