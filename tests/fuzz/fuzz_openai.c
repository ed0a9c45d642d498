/*
 * fuzz_openai: a client's body through the whole of src/api: parameters, messages, the frame that
 * goes to the worker, which reads it back. What parses must come back from its own frame.
 */
#include "api/openai.h"
#include "api/openai_answer.h"
#include "base/check.h"

#include <stdio.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Events of one answer, made of the input's own bytes. */
static void answer(const struct api_request *r, const uint8_t *data, size_t size)
{
    struct api_answer *a;
    struct buf out;
    char bytes[8] = {0};
    for (size_t i = 0; i < sizeof bytes && i < size; i++)
        bytes[i] = (char)data[size - 1 - i];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = bytes[i] == 0 ? 'x' : bytes[i]; /* jansson reads no NUL in a key; others do */
    struct gen_top top = {.id = 1, .logprob = -1, .bytes = bytes, .n_bytes = sizeof bytes};
    struct gen_token token = {
        .id = 2, .logprob = -2, .bytes = bytes, .n_bytes = 3, .top = &top, .n_top = 1};
    struct gen_delta d = {.text = bytes, .text_len = 5, .tokens = &token, .n_tokens = 1};
    struct gen_done done = {.n_prompt = 1, .n_completion = 1};
    buf_init(&out, 1 << 20);
    a = api_answer_new(r, "id", 1000, "model");
    CHECK(a != NULL);
    api_answer_fingerprint(a, "fp");
    (void)!openai_answer_begin(a, &out);
    (void)!openai_answer_delta(a, 0, &d, &out);
    (void)!openai_answer_end(a, 0, &(struct gen_end){.index = 0, .reason = GEN_LENGTH}, &out);
    api_answer_done(a, &done);
    (void)!openai_answer_finish(a, &out);
    buf_clear(&out);
    if (!r->stream && openai_answer_whole(a, &out)) {
        json_t *whole = json_parse(buf_str(&out), JSON_DEPTH_MAX, NULL);
        CHECK(json_is_object(whole));
        json_decref(whole);
    }
    buf_release(&out);
    api_answer_free(a);
}

static void one(const struct api_endpoint *endpoint, const json_t *body, const uint8_t *data,
                size_t size)
{
    struct api_request r;
    struct err err = {0};
    struct buf out;
    if (endpoint->parse(body, NULL, &r, &err) != 0) {
        CHECK(err.code != 0 && err.text[0] != '\0');
        buf_init(&out, 1 << 16);
        CHECK(api_error_write(API_OPENAI, &err, NULL, &out));
        json_t *written = json_parse(buf_str(&out), 8, NULL);
        CHECK(written != NULL);
        json_decref(written);
        buf_release(&out);
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
    answer(&r, data, size);
    api_request_release(&r);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    json_t *body = json_parse((struct str){(const char *)data, size}, JSON_DEPTH_MAX, NULL);
    if (body == NULL)
        return 0;
    one(&openai_chat, body, data, size);
    one(&openai_completion, body, data, size);
    json_decref(body);
    return 0;
}
