/*
 * rank_prompt: what a decoder that ranks is asked about one query and one document: the file's text
 * tokenizer.chat_template.rerank, in which {query} and {document} stand for them.
 */
#ifndef HEARTH_WORKER_RANK_PROMPT_H
#define HEARTH_WORKER_RANK_PROMPT_H

#include "base/buf.h"
#include "format/gguf.h"

struct rank_prompt {
    struct str front; /* before {document}; all borrowed from the file */
    struct str back;  /* behind it: what a document that is cut keeps */
};

/* ERR_CORRUPT: the file has no such text, or one of the two words is not in it just once. */
int rank_prompt_find(const struct gguf *g, struct rank_prompt *ret, struct err *err)
    __attribute__((warn_unused_result));
/* Appends a part with the query in place of its word. False if out is full. */
bool rank_prompt_part(struct str part, struct str query, struct buf *out);

#endif
