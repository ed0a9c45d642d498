/*
 * test_openai: answers and errors as bytes: what e2e tests cannot reach with a well-behaved worker.
 */
#include "api/openai.h"
#include "api/openai_answer.h"
#include "base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <string.h>

static json_t *parsed(const struct buf *text)
{
    struct err err = {0};
    json_t *value = json_parse(buf_str(text), JSON_DEPTH_MAX, &err);
    if (value == NULL)
        fail_msg("%s: %s", err.text, text->ptr);
    return value;
}

static struct api_request request(const char *body, const struct api_endpoint *endpoint)
{
    struct api_request r;
    struct err err = {0};
    json_t *json = json_parse(str_z(body), JSON_DEPTH_MAX, &err);
    assert_non_null(json);
    assert_int_equal(endpoint->parse(json, NULL, &r, &err), 0);
    json_decref(json);
    return r;
}

static void test_every_error_has_a_status(void **state)
{
    (void)state;
#define X(name, value, word) name,
    static const int codes[] = {ERR_CODES(X)};
#undef X
    for (size_t i = 0; i < ARRAY_LEN(codes); i++) {
        struct err err = {.code = codes[i], .text = "a \"text\" \xff with a stray byte"};
        struct buf out;
        int status = api_status(codes[i]);
        assert_true(status >= 400 && status < 600);
        assert_true(codes[i] == ERR_INTERNAL || codes[i] == ERR_CORRUPT || codes[i] == ERR_IO ||
                    status != 500); /* 500 is for what is our fault or our disk's */
        buf_init(&out, 4096);
        assert_true(api_error_write(API_OPENAI, &err, NULL, &out));
        json_t *value = parsed(&out);
        json_t *error = json_object_get(value, "error");
        assert_true(json_is_string(json_object_get(error, "message")));
        assert_true(json_is_null(json_object_get(error, "param")));
        json_decref(value);
        buf_release(&out);
    }
    assert_int_equal(api_status(-999), 500);
}

static void test_odd_log_probabilities(void **state)
{
    (void)state;
    struct api_request r = request(
        "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"logprobs\":true}", &openai_chat);
    struct api_answer *a;
    struct buf out;
    char half[] = "\xe2\x82", quote[] = "\"\\\n";
    struct gen_token tokens[] = {
        {.id = 1, .logprob = -INFINITY, .bytes = half, .n_bytes = 2},
        {.id = 2, .logprob = NAN, .bytes = quote, .n_bytes = 3},
    };
    struct gen_delta d = {.text = quote, .text_len = 3, .tokens = tokens, .n_tokens = 2};
    buf_init(&out, 1 << 16);
    a = api_answer_new(&r, "id", 1000, "a \"model\"");
    assert_non_null(a);
    api_answer_fingerprint(a, "fp");
    assert_true(openai_answer_delta(a, 0, &d, &out));
    assert_true(openai_answer_end(a, 0, &(struct gen_end){.index = 0, .reason = GEN_STOP}, &out));
    assert_true(openai_answer_whole(a, &out));
    json_t *whole = parsed(&out);
    json_t *choice = json_array_get(json_object_get(whole, "choices"), 0);
    json_t *content = json_object_get(json_object_get(choice, "logprobs"), "content");
    assert_int_equal(json_array_size(content), 2);
    json_t *first = json_array_get(content, 0);
    assert_true(json_real_value(json_object_get(first, "logprob")) <= -9999 ||
                json_integer_value(json_object_get(first, "logprob")) == -9999);
    assert_int_equal(json_integer_value(json_array_get(json_object_get(first, "bytes"), 0)), 0xe2);
    json_decref(whole);
    api_answer_free(a);
    api_request_release(&r);
    buf_release(&out);
}

#define CHAT_WITH(more) "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]," more "}"

static void test_prediction(void **state)
{
    (void)state;
    struct api_request r = request(
        CHAT_WITH("\"prediction\":{\"type\":\"content\",\"content\":[{\"type\":\"text\",\"text\":"
                  "\"one \"},{\"type\":\"text\",\"text\":\"two\"}]}"),
        &openai_chat);
    assert_string_equal(r.gen.prediction, "one two");
    assert_int_equal(r.gen.prediction_len, 7);
    json_t *frame = api_request_frame(&r, 0, 5);
    assert_true(str_eq_z(json_str(json_object_get(frame, "prediction")), "one two"));
    json_decref(frame);
    struct api_answer *a;
    struct buf out;
    struct gen_done done = {.n_completion = 9, .n_foretold = 3, .n_not_met = 2};
    buf_init(&out, 1 << 16);
    a = api_answer_new(&r, "id", 1000, "m");
    assert_non_null(a);
    api_answer_fingerprint(a, "fp");
    api_answer_done(a, &done);
    assert_true(openai_answer_whole(a, &out));
    json_t *whole = parsed(&out), *usage = json_object_get(whole, "usage");
    const json_t *details = json_object_get(usage, "completion_tokens_details");
    assert_int_equal(json_integer_value(json_object_get(details, "accepted_prediction_tokens")), 3);
    assert_int_equal(json_integer_value(json_object_get(details, "rejected_prediction_tokens")), 2);
    json_decref(whole);
    api_answer_free(a);
    api_request_release(&r);
    buf_release(&out);
}

static void test_bad_predictions(void **state)
{
    (void)state;
    static const struct {
        const char *body, *param;
    } bad[] = {
        {CHAT_WITH("\"prediction\":\"text\""), "prediction"},
        {CHAT_WITH("\"prediction\":{}"), "prediction"},
        {CHAT_WITH("\"prediction\":{\"type\":\"content\"}"), "prediction"},
        {CHAT_WITH("\"prediction\":{\"type\":\"content\",\"content\":null}"), "prediction"},
        {CHAT_WITH("\"prediction\":{\"content\":\"a\"}"), "prediction"},
        {CHAT_WITH("\"prediction\":{\"type\":\"x\",\"content\":\"a\"}"), "prediction.type"},
        {CHAT_WITH("\"prediction\":{\"type\":\"content\",\"content\":5}"), "prediction.content"},
        {CHAT_WITH("\"prediction\":{\"type\":\"content\",\"content\":[{\"type\":\"image_url\"}]}"),
         "prediction.content"},
        {CHAT_WITH("\"prediction\":{\"type\":\"content\",\"content\":[{\"type\":\"text\"}]}"),
         "prediction.content"},
        {CHAT_WITH("\"prediction\":{\"type\":\"content\",\"content\":[5]}"), "prediction.content"},
        {CHAT_WITH("\"prediction\":{\"type\":\"content\",\"content\":\"a\",\"b\":1}"),
         "prediction.b"},
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct api_request r;
        struct err err = {0};
        json_t *json = json_parse(str_z(bad[i].body), JSON_DEPTH_MAX, &err);
        assert_non_null(json);
        assert_int_equal(openai_chat.parse(json, NULL, &r, &err), ERR_INVALID);
        assert_string_equal(err.param, bad[i].param);
        json_decref(json);
    }
}

/* A worker that names a choice nobody asked for, or ends one twice, fails the call; no more. */
static void test_impossible_news(void **state)
{
    (void)state;
    struct api_request r = request("{\"prompt\":[\"a\",\"b\"],\"n\":2}", &openai_completion);
    struct api_answer *a;
    struct buf out;
    struct gen_delta d = {.index = 2};
    buf_init(&out, 1 << 16);
    a = api_answer_new(&r, "id", 1000, "m");
    assert_non_null(a);
    api_answer_fingerprint(a, "fp");
    assert_false(openai_answer_delta(a, 0, &d, &out));
    d.index = -1;
    assert_false(openai_answer_delta(a, 1, &d, &out));
    assert_false(openai_answer_end(a, 1, &(struct gen_end){.index = 2, .reason = GEN_STOP}, &out));
    assert_true(openai_answer_end(a, 1, &(struct gen_end){.index = 1, .reason = GEN_LENGTH}, &out));
    assert_false(openai_answer_end(a, 1, &(struct gen_end){.index = 1, .reason = GEN_STOP}, &out));
    api_answer_free(a);
    api_request_release(&r);
    buf_release(&out);
}

static void test_a_stream_that_outgrows_its_buffer(void **state)
{
    (void)state;
    struct api_request r = request("{\"prompt\":\"a\",\"stream\":true}", &openai_completion);
    struct api_answer *a;
    struct buf out;
    char text[2000];
    memset(text, 'x', sizeof text);
    struct gen_delta d = {.text = text, .text_len = sizeof text};
    buf_init(&out, 1024);
    a = api_answer_new(&r, "id", 1000, "m");
    assert_non_null(a);
    api_answer_fingerprint(a, "fp");
    assert_false(openai_answer_delta(a, 0, &d, &out));
    assert_true(out.len <= 1024);
    api_answer_free(a);
    api_request_release(&r);
    buf_release(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_error_has_a_status),
        cmocka_unit_test(test_odd_log_probabilities),
        cmocka_unit_test(test_prediction),
        cmocka_unit_test(test_bad_predictions),
        cmocka_unit_test(test_impossible_news),
        cmocka_unit_test(test_a_stream_that_outgrows_its_buffer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
