/*
 * embedding_routes: the routes that give vectors and scores. A request for them is served as one
 * for text is (completions.c): the same limits, keys, queue, traces, ledger and new start after a
 * worker's death; the dialects (api/embeddings.h) know what is different.
 */
#include "api/embeddings.h"
#include "gateway/server.h"

void embeddings_openai(struct server *s, struct exchange *x)
{
    completions_serve(s, x, &openai_embeddings);
}

void embeddings_ollama(struct server *s, struct exchange *x)
{
    completions_serve(s, x, &ollama_embed);
}

void embeddings_ollama_one(struct server *s, struct exchange *x)
{
    completions_serve(s, x, &ollama_embeddings);
}

void embeddings_llama(struct server *s, struct exchange *x)
{
    completions_serve(s, x, &llama_embedding);
}

void embeddings_rerank(struct server *s, struct exchange *x)
{
    completions_serve(s, x, &rerank_documents);
}
