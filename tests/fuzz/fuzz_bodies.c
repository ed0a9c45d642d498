/*
 * fuzz_bodies: a body for any endpoint of any dialect, from its bytes to the frame of the worker,
 * which must read it back; then an answer of made-up news, streamed or whole, all of it JSON.
 *
 * The first byte says which endpoint, the second and third what the news are.
 */
#include "api/anthropic.h"
#include "api/embeddings.h"
#include "api/llama.h"
#include "api/ollama.h"
#include "api/ollama_library.h"
#include "api/ollama_request.h"
#include "api/openai.h"
#include "api/responses.h"
#include "base/check.h"
#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct api_endpoint *const endpoints[] = {
    &openai_chat,     &openai_completion, &openai_responses,      &anthropic_messages,
    &anthropic_count, &ollama_generate,   &ollama_chat,           &llama_completion,
    &llama_infill,    &openai_embeddings, &ollama_embed,          &ollama_embeddings,
    &llama_embedding, &rerank_documents,  &openai_responses_line,
};
#define N_ENDPOINTS ARRAY_LEN(endpoints)

static void check_json(struct str text)
{
    struct err err = {0};
    json_t *value = json_parse(text, JSON_DEPTH_MAX, &err);
    if (value == NULL)
        fprintf(stderr, "no JSON (%s): %.*s\n", err.text, STR_ARG(text));
    CHECK(value != NULL);
    json_decref(value);
}

/* Lines of JSON, or of events; comments and names of events aside. */
static void check_stream(struct str text)
{
    struct str line;
    while (str_split(&text, '\n', &line)) {
        bool data = str_starts(line, STR("data: "));
        if (line.len == 0 || line.ptr[0] == ':' || str_starts(line, STR("event: ")))
            continue;
        struct str value = data ? str_from(line, 6) : line;
        if (!str_eq_z(value, "[DONE]"))
            check_json(value);
    }
}

static void check_error(const struct api_endpoint *e, const struct err *err)
{
    struct buf out;
    CHECK(err->code != 0 && err->text[0] != '\0');
    CHECK(api_status(err->code) >= 400 && api_status(err->code) < 500);
    buf_init(&out, 1 << 16);
    CHECK(api_error_write(e->dialect, err, NULL, &out));
    check_json(buf_str(&out));
    buf_release(&out);
}

/* ---- what the worker would say ---- */

struct news {
    struct api_answer *a;
    const struct api_request *r;
    struct buf *out; /* NULL: the answer is whole */
    unsigned bits;
};

static unsigned take(struct news *n, unsigned below)
{
    unsigned ret = n->bits % below;
    n->bits = n->bits * 1103515245u + 12345u;
    return ret;
}

static bool delta(struct news *n, int i_prompt, int64_t index, int64_t channel, const char *name,
                  int64_t call, const char *text)
{
    char bytes[] = "\xc3\xa9\x80\"\\\n";
    struct gen_top top = {.id = 1, .logprob = -1, .bytes = bytes, .n_bytes = sizeof bytes - 1};
    struct gen_token token = {.id = 2, .logprob = -2, .has_mu = false};
    if (n->r->gen.logprobs) {
        token.bytes = bytes;
        token.n_bytes = take(n, 6);
        token.top = n->r->gen.top_logprobs > 0 ? &top : NULL;
        token.n_top = n->r->gen.top_logprobs > 0;
    }
    const struct gen_delta d = {.index = index,
                                .channel = channel,
                                .call = call,
                                .name = (char *)name,
                                .text = (char *)text,
                                .text_len = strlen(text),
                                .tokens = &token,
                                .n_tokens = take(n, 2)};
    return n->a->endpoint->delta(n->a, i_prompt, &d, n->out);
}

static bool choice(struct news *n, int i_prompt, int64_t index)
{
    static const char *const texts[] = {"", "a", "\xc3\xa9 \"\\\n\x01", "</s> data: \n\n",
                                        "{\"x\":[1]}"};
    struct gen_end end = {.index = index, .reason = take(n, GEN_N_REASONS), .n_completion = 3};
    int64_t call = 0;
    bool ok = true;
    for (unsigned i = take(n, 6); ok && i > 0; i--) {
        unsigned kind = take(n, 4);
        if (kind < 2) {
            ok = delta(n, i_prompt, index, kind, NULL, 0, texts[take(n, ARRAY_LEN(texts))]);
        } else if (n->r->endpoint->is_chat) {
            ok = delta(n, i_prompt, index, GEN_TOOL_CALL, "get", call, "{\"a\"") &&
                 delta(n, i_prompt, index, GEN_TOOL_CALL, NULL, call, ":\"\xc3\xa9\"}");
            call++;
        }
    }
    if (take(n, 2) == 0 && end.reason == GEN_STOP)
        end.stop = (char *)"\"stop\"";
    return ok && n->a->endpoint->end(n->a, i_prompt, &end, n->out);
}

static void answer(const struct api_request *r, unsigned bits)
{
    struct buf out;
    const struct gen_done done = {.n_prompt = 4, .n_cached = 1, .n_completion = 3};
    const struct api_endpoint *e = r->endpoint;
    struct news n = {.r = r, .bits = bits, .out = r->stream ? &out : NULL};
    buf_init(&out, 64 << 20);
    n.a = api_answer_new(r, "id-123456789012345678901234", 1000, "model");
    CHECK(n.a != NULL);
    api_answer_fingerprint(n.a, "fp");
    n.a->n_prompt_taken = 4 * r->n_prompt;
    bool ok = !r->stream || e->begin(n.a, &out);
    if (r->stream && e->started != NULL)
        ok = ok && e->started(n.a, &out);
    for (int i = 0; ok && i < r->n_prompt; i++) {
        for (int64_t k = 0; ok && k < r->gen.n; k++)
            ok = choice(&n, i, k);
        api_answer_done(n.a, &done);
    }
    CHECK(ok);
    CHECK(r->stream ? e->finish(n.a, &out) : e->whole(n.a, &out));
    if (r->stream)
        check_stream(buf_str(&out));
    else
        check_json(buf_str(&out));
    buf_release(&out);
    api_answer_free(n.a);
}

/* ---- requests ---- */

static void frames(struct api_request *r)
{
    for (int i = 0; i < r->n_prompt; i++) {
        struct err err = {0};
        struct gen_request back;
        json_t *frame = api_request_frame(r, i, 7);
        CHECK(frame != NULL);
        if (gen_request_from_json(frame, &back, &err) != 0) {
            fprintf(stderr, "the worker would refuse: %s\n", err.text);
            CHECK(!"what the gateway takes, the worker takes");
        }
        gen_request_release(&back);
        json_decref(frame);
    }
}

static void generation(const struct api_endpoint *e, const json_t *body, unsigned bits)
{
    struct api_request r;
    struct err err = {0};
    if (e->parse(body, NULL, &r, &err) != 0) {
        check_error(e, &err);
        return;
    }
    if (r.messages != NULL) {
        CHECK(api_volatile_remove(r.messages, &r.removed, &err) == 0);
        CHECK(api_request_default_system(&r, "be brief"));
    }
    frames(&r);
    if (r.gen.inputs == NULL && e != &anthropic_count && r.gen.n * r.n_prompt < 100)
        answer(&r, bits);
    api_request_release(&r);
}

/* What is asked of the library, and small questions. */
static void others(const json_t *body)
{
    struct err err = {0};
    struct llama_tokenize t;
    struct llama_detokenize d;
    struct ollama_load load;
    (void)!llama_tokenize_parse(body, &t, &err);
    (void)!llama_detokenize_parse(body, &d, &err);
    if (!json_is_object(body))
        return;
    if (ollama_is_load(&ollama_generate, body))
        (void)!ollama_load_parse(&ollama_generate, body, &load, &err);
    if (ollama_is_load(&ollama_chat, body))
        (void)!ollama_load_parse(&ollama_chat, body, &load, &err);
    for (int call = OLLAMA_SHOW; call <= OLLAMA_PUSH; call++) {
        struct ollama_library_request l;
        err_clear(&err);
        if (ollama_library_read(call, body, &l, &err) == 0)
            ollama_library_release(&l);
        else
            check_error(&ollama_chat, &err);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 3)
        return 0;
    struct str text = {(const char *)data + 3, size - 3};
    json_t *body = json_parse(text, JSON_DEPTH_MAX, NULL);
    if (body == NULL)
        return 0;
    unsigned which = data[0] % (N_ENDPOINTS + 1);
    if (which < N_ENDPOINTS)
        generation(endpoints[which], body, data[1] | (unsigned)data[2] << 8);
    else
        others(body);
    json_decref(body);
    return 0;
}
