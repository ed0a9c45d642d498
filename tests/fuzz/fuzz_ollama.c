/*
 * fuzz_ollama: a client's body through what reads it of Ollama's API: generating, embedding, and
 * the routes about models. What the gateway takes the worker takes; what is refused has a reason.
 */
#include "api/embeddings.h"
#include "api/ollama.h"
#include "api/ollama_library.h"
#include "api/ollama_request.h"
#include "base/check.h"

#include <stdio.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_refusal(const struct err *err)
{
    struct buf out;
    buf_init(&out, 1 << 16);
    CHECK(err->code != 0 && err->text[0] != '\0');
    CHECK(api_error_write(API_OLLAMA, err, NULL, &out));
    json_t *written = json_parse(buf_str(&out), 8, NULL);
    CHECK(written != NULL);
    json_decref(written);
    buf_release(&out);
}

static void check_line(struct buf *out)
{
    if (out->len > 0) {
        json_t *line = json_parse(buf_str(out), JSON_DEPTH_MAX, NULL);
        CHECK(json_is_object(line));
        json_decref(line);
    }
    buf_clear(out);
}

/* An answer of a few bytes of the input's own. */
static void answer(const struct api_request *r, const uint8_t *data, size_t size)
{
    char text[9] = "xxxxxxxx";
    struct buf out;
    for (size_t i = 0; i < 8 && i < size; i++)
        if (data[i] >= ' ' && data[i] < 0x7f)
            text[i] = (char)data[i];
    struct gen_delta d = {.text = text, .text_len = 8};
    struct gen_done done = {.n_prompt = 1, .n_completion = 1};
    struct gen_end end = {.reason = GEN_LENGTH};
    buf_init(&out, 1 << 22);
    struct api_answer *a = r->endpoint->answer_new(r);
    CHECK(a != NULL);
    struct buf *to = r->stream ? &out : NULL;
    (void)!r->endpoint->begin(a, to);
    check_line(&out);
    (void)!r->endpoint->delta(a, 0, &d, to);
    check_line(&out);
    (void)!r->endpoint->end(a, 0, &end, to);
    check_line(&out);
    api_answer_done(a, &done);
    if (r->stream)
        (void)!r->endpoint->finish(a, &out);
    else
        (void)!r->endpoint->whole(a, &out);
    check_line(&out);
    buf_release(&out);
    r->endpoint->answer_free(a);
}

static void one(const struct api_endpoint *endpoint, const json_t *body, bool generates,
                const uint8_t *data, size_t size)
{
    struct api_request r;
    struct err err = {0};
    if (endpoint->parse(body, NULL, &r, &err) != 0) {
        check_refusal(&err);
        return;
    }
    for (int i = 0; i < r.n_prompt; i++) {
        struct gen_request back;
        json_t *frame = api_request_frame(&r, i, 7);
        CHECK(frame != NULL);
        if (gen_request_from_json(frame, &back, &err) != 0) {
            fprintf(stderr, "the worker would refuse: %s\n", err.text);
            CHECK(!"what the gateway takes, the worker takes");
        }
        gen_request_release(&back);
        json_decref(frame);
    }
    if (generates)
        answer(&r, data, size);
    api_request_release(&r);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct ollama_load load;
    json_t *body = json_parse((struct str){(const char *)data, size}, JSON_DEPTH_MAX, NULL);
    if (body == NULL)
        return 0;
    one(&ollama_chat, body, true, data, size);
    one(&ollama_generate, body, true, data, size);
    one(&ollama_embed, body, false, data, size);
    one(&ollama_embeddings, body, false, data, size);
    (void)!ollama_load_parse(&ollama_chat, body, &load, NULL);
    for (enum ollama_call call = OLLAMA_SHOW; call <= OLLAMA_PUSH; call++) {
        struct ollama_library_request r;
        struct err err = {0};
        if (ollama_library_read(call, body, &r, &err) == 0)
            ollama_library_release(&r);
        else
            check_refusal(&err);
    }
    json_decref(body);
    return 0;
}
