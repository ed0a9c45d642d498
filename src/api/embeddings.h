/*
 * embeddings: vectors of texts and scores of documents, in the shapes of OpenAI, Ollama,
 * llama-server and Jina. Pure, as all dialects (request.h); answers are never streamed.
 *
 * Sources: OpenAI's API reference (embeddings); ollama/ollama api/types.go (EmbedRequest,
 * EmbeddingRequest); llama-server's README (embedding, reranking); Jina's and Cohere's references
 * (rerank); `truncate` and `raw_scores` are Text Embeddings Inference's.
 */
#ifndef HEARTH_API_EMBEDDINGS_H
#define HEARTH_API_EMBEDDINGS_H

#include "api/request.h"

extern const struct api_endpoint openai_embeddings; /* /v1/embeddings */
extern const struct api_endpoint ollama_embed;      /* /api/embed */
extern const struct api_endpoint ollama_embeddings; /* /api/embeddings: one text */
extern const struct api_endpoint llama_embedding;   /* /embedding */
extern const struct api_endpoint rerank_documents;  /* /v1/rerank */

/* ---- between embeddings.c and rerank.c ---- */

/* Puts a value into r->own, the dialect's notes for its answer. Takes it. */
int embed_note(struct api_request *r, const char *key, json_t *value, struct err *err);

struct embed_answer {
    struct api_answer base;
    json_t *own;      /* the request's notes; owned; or NULL */
    size_t n_input;   /* lines that are to come */
    struct buf lines; /* what came */
};
static inline struct embed_answer *embed_answer(struct api_answer *base)
{
    return (struct embed_answer *)base; /* its first member */
}
struct api_answer *embed_answer_new(const struct api_request *r);
void embed_answer_free(struct api_answer *base);
bool embed_answer_begin(struct api_answer *base, struct buf *out);
bool embed_answer_delta(struct api_answer *base, int i_prompt, const struct gen_delta *d,
                        struct buf *out);
bool embed_answer_end(struct api_answer *base, int i_prompt, const struct gen_end *e,
                      struct buf *out);
bool embed_answer_finish(struct api_answer *base, struct buf *out);
bool embed_answer_fail(struct api_answer *base, const struct err *err, struct buf *out);
/* Line i is text [ret, ret + n) in base64; false: the worker sent something else. */
bool embed_answer_next(struct str *rest, struct str *ret_line);

#define EMBED_ANSWERS                                                                              \
    .answer_new = embed_answer_new, .answer_free = embed_answer_free, .begin = embed_answer_begin, \
    .delta = embed_answer_delta, .end = embed_answer_end, .finish = embed_answer_finish,           \
    .fail = embed_answer_fail, .stream_type = "application/json"

#endif
