/*
 * rank_prompt: see the header. The words are replaced once, so that a query which spells
 * "{document}" is only a query.
 */
#include "worker/rank_prompt.h"

#define K_RERANK "tokenizer.chat_template.rerank"

static const struct str query_word = {"{query}", 7}, document_word = {"{document}", 10};

/* Where a word stands in a text first, or -1. */
static ptrdiff_t find(struct str text, struct str word)
{
    for (size_t i = 0; i + word.len <= text.len; i++)
        if (str_eq(str_sub(text, i, word.len), word))
            return (ptrdiff_t)i;
    return -1;
}

/* Where it stands if it stands there once, or -1. */
static ptrdiff_t find_once(struct str text, struct str word)
{
    ptrdiff_t at = find(text, word);
    return at >= 0 && find(str_from(text, (size_t)at + word.len), word) >= 0 ? -1 : at;
}

int rank_prompt_find(const struct gguf *g, struct rank_prompt *ret, struct err *err)
{
    struct str text = {"", 0};
    int rc = gguf_get_str(g, K_RERANK, &text, err);
    if (rc != 0)
        return rc;
    ptrdiff_t at = find_once(text, document_word);
    if (at < 0 || find_once(text, query_word) < 0)
        return err_set_param(err, ERR_CORRUPT, K_RERANK,
                             "key " K_RERANK " is missing, or {query} and {document} do not "
                             "stand in it once each: a reranker made of a decoder needs it");
    *ret = (struct rank_prompt){str_sub(text, 0, (size_t)at),
                                str_from(text, (size_t)at + document_word.len)};
    return 0;
}

bool rank_prompt_part(struct str part, struct str query, struct buf *out)
{
    ptrdiff_t at = find(part, query_word);
    if (at < 0)
        return buf_add_str(out, part);
    return buf_add_str(out, str_sub(part, 0, (size_t)at)) && buf_add_str(out, query) &&
           buf_add_str(out, str_from(part, (size_t)at + query_word.len));
}
