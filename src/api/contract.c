/*
 * contract: the list of operations. A route of the gateway that is not here fails
 * tests/e2e/test_contract.py.
 */
#include "api/contract.h"

#include "api/anthropic.h"
#include "api/anthropic_batch.h"
#include "api/conversation.h"
#include "api/embeddings.h"
#include "api/llama.h"
#include "api/ollama_library.h"
#include "api/ollama_request.h"
#include "api/openai_batch.h"
#include "api/responses.h"
#include "base/mem.h"

#define OPENAI    "OpenAI"
#define OLLAMA    "Ollama"
#define ANTHROPIC "Anthropic"
#define LLAMA     "llama-server"
#define OURS      "Hearth"
#define NDJSON    "application/x-ndjson"

/* clang-format off: rows of a table */
static const struct api_operation operations[] = {
    {"post", "/v1/chat/completions", OPENAI,
     "The next message of a conversation, whole or streamed", &openai_chat},
    {"post", "/v1/completions", OPENAI, "A text goes on", &openai_completion},
    {"post", "/v1/responses", OPENAI,
     "The next turn of a conversation that the server keeps, whole, streamed or in the background",
     &openai_responses},
    {"get", "/v1/responses/{id}", OPENAI, "A stored response, or its stream from an event on"},
    {"delete", "/v1/responses/{id}", OPENAI, "Forgets it"},
    {"post", "/v1/responses/{id}/cancel", OPENAI, "Stops one that runs in the background"},
    {"post", "/v1/responses/input_tokens", OPENAI,
     "How many tokens the prompt of such a request has", &openai_responses},
    {"get", "/v1/responses/{id}/input_items", OPENAI, "What it was computed from"},
    {"post", "/v1/conversations", OPENAI, "A conversation that responses can run in",
     .form = &conversation_forms[CONVERSATION_CREATE]},
    {"get", "/v1/conversations/{id}", OPENAI, "One of this key"},
    {"post", "/v1/conversations/{id}", OPENAI, "Other metadata for it",
     .form = &conversation_forms[CONVERSATION_UPDATE]},
    {"delete", "/v1/conversations/{id}", OPENAI, "Forgets it with its items"},
    {"get", "/v1/conversations/{id}/items", OPENAI, "Its items, a page at a time"},
    {"post", "/v1/conversations/{id}/items", OPENAI, "More items at its end",
     .form = &conversation_forms[CONVERSATION_ADD]},
    {"get", "/v1/conversations/{id}/items/{item_id}", OPENAI, "One of them"},
    {"delete", "/v1/conversations/{id}/items/{item_id}", OPENAI, "Takes it out"},
    {"post", "/v1/embeddings", OPENAI, "Vectors of texts", &openai_embeddings},
    {"post", "/embeddings", OPENAI, "The same", &openai_embeddings},
    {"get", "/v1/models", OPENAI, "The models that can be asked for"},
    {"get", "/v1/models/{id}", OPENAI, "One of them"},
    {"delete", "/v1/models/{id}", OPENAI,
     "Removes it from the library; its key must be an admin's"},
    {"post", "/v1/files", OPENAI, "Upload of a file", .body = "multipart/form-data"},
    {"post", "/v1/moderations", OPENAI, "Not supported: answered with an error that says so"},
    {"get", "/v1/files", OPENAI, "The files of this key"},
    {"get", "/v1/files/{id}", OPENAI, "One of them"},
    {"get", "/v1/files/{id}/content", OPENAI, "Its bytes", .answer = "application/octet-stream"},
    {"delete", "/v1/files/{id}", OPENAI, "Deletes it"},
    {"post", "/v1/batches", OPENAI, "Requests of a file, done when there is time",
     .form = &openai_batch_form},
    {"get", "/v1/batches", OPENAI, "The batches of this key"},
    {"get", "/v1/batches/{id}", OPENAI, "One of them"},
    {"post", "/v1/batches/{id}/cancel", OPENAI, "Stops it"},
    {"post", "/api/generate", OLLAMA,
     "What follows a prompt, whole or streamed; without one, loads or unloads a model",
     &ollama_generate, .answer = NDJSON},
    {"post", "/api/chat", OLLAMA, "The next message of a conversation, whole or streamed",
     &ollama_chat, .answer = NDJSON},
    {"post", "/api/show", OLLAMA, "What is inside a model", .form = &ollama_forms[OLLAMA_SHOW]},
    {"post", "/api/create", OLLAMA, "A model made of another one or of blobs",
     .form = &ollama_forms[OLLAMA_CREATE], .answer = NDJSON},
    {"post", "/api/blobs/{digest}", OLLAMA, "A file of a model to be made",
     .body = "application/octet-stream"},
    {"head", "/api/blobs/{digest}", OLLAMA, "Is it here?"},
    {"post", "/api/copy", OLLAMA, "A second name", .form = &ollama_forms[OLLAMA_COPY]},
    {"delete", "/api/delete", OLLAMA, "Removes a model from the library",
     .form = &ollama_forms[OLLAMA_DELETE]},
    {"post", "/api/pull", OLLAMA, "Fetches a model from a registry",
     .form = &ollama_forms[OLLAMA_PULL], .answer = NDJSON},
    {"post", "/api/push", OLLAMA, "Sends a model to a registry", .form = &ollama_forms[OLLAMA_PUSH],
     .answer = NDJSON},
    {"post", "/api/me", OLLAMA, "An account of ollama.com: answered with 404"},
    {"post", "/api/signout", OLLAMA, "The same"},
    {"delete", "/api/user/keys/{key}", OLLAMA, "The same"},
    {"post", "/api/experimental/{what}", OLLAMA, "Services of ollama.com: answered with 404"},
    {"get", "/api/experimental/{what}", OLLAMA, "The same"},
    {"post", "/api/embed", OLLAMA, "Vectors of texts", &ollama_embed},
    {"post", "/api/embeddings", OLLAMA, "The vector of one text", &ollama_embeddings},
    {"get", "/api/tags", OLLAMA, "The models of the library"},
    {"get", "/api/ps", OLLAMA, "The models in memory"},
    {"get", "/api/version", OLLAMA, "The server's version", .open = true},
    {"post", "/v1/messages", ANTHROPIC, "The next message of a conversation, whole or streamed",
     &anthropic_messages},
    {"post", "/v1/messages/count_tokens", ANTHROPIC, "How many tokens the prompt of one has",
     &anthropic_count},
    {"post", "/v1/messages/batches", ANTHROPIC, "Such requests, done when there is time",
     .form = &anthropic_batch_form},
    {"get", "/v1/messages/batches", ANTHROPIC, "The batches of this key, a page at a time"},
    {"get", "/v1/messages/batches/{id}", ANTHROPIC, "One of them"},
    {"delete", "/v1/messages/batches/{id}", ANTHROPIC,
     "Forgets one that has ended, and its results"},
    {"post", "/v1/messages/batches/{id}/cancel", ANTHROPIC, "Stops it"},
    {"get", "/v1/messages/batches/{id}/results", ANTHROPIC,
     "The result of each request, once it has ended", .answer = "application/x-jsonl"},
    {"post", "/completion", LLAMA, "A text goes on", &llama_completion},
    {"post", "/completions", LLAMA, "The same", &llama_completion},
    {"post", "/infill", LLAMA, "A gap in a text is filled in", &llama_infill},
    {"post", "/tokenize", LLAMA, "A text as tokens", .form = &llama_tokenize_form},
    {"post", "/detokenize", LLAMA, "Tokens as a text", .form = &llama_detokenize_form},
    {"post", "/apply-template", LLAMA, "The prompt of a conversation, as text", &openai_chat},
    {"get", "/props", LLAMA, "The model's own settings and its chat template"},
    {"get", "/slots", LLAMA, "The places for sequences, and which are taken"},
    {"post", "/v1/chat/completions/input_tokens", LLAMA,
     "How many tokens the prompt of a conversation has", &openai_chat},
    {"post", "/chat/completions", LLAMA, "As /v1/chat/completions", &openai_chat},
    {"post", "/chat/completions/input_tokens", LLAMA, "As the one under /v1", &openai_chat},
    {"get", "/models", LLAMA, "As /v1/models"},
    {"get", "/v1/health", LLAMA, "As /health", .open = true},
    {"post", "/embedding", LLAMA, "Vectors of texts", &llama_embedding},
    {"post", "/v1/rerank", LLAMA, "How well documents answer a question", &rerank_documents},
    {"post", "/v1/reranking", LLAMA, "The same", &rerank_documents},
    {"post", "/rerank", LLAMA, "The same", &rerank_documents},
    {"post", "/reranking", LLAMA, "The same", &rerank_documents},
    {"get", "/v1/requests", OURS, "Requests in progress and the last ones"},
    {"get", "/v1/requests/{id}", OURS, "One of them: times, counts, its prompt on demand"},
    {"get", "/health", OURS, "Is the server there?", .open = true},
    {"get", "/metrics", OURS, "Prometheus metrics", .answer = "text/plain"},
    {"get", "/openapi.json", OURS, "This document", .open = true},
};
/* clang-format on */

const struct api_operation *api_operations(int *ret_n)
{
    *ret_n = ARRAY_LEN(operations);
    return operations;
}
