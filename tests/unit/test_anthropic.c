/*
 * test_anthropic: conversations into turns, and events into answers as no well-behaved worker makes
 * them.
 */
#include "api/anthropic.h"
#include "base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>
#include <string.h>

static json_t *parsed(const char *text)
{
    struct err err = {0};
    json_t *value = json_parse(str_z(text), JSON_DEPTH_MAX, &err);
    if (value == NULL)
        fail_msg("%s: %s", err.text, text);
    return value;
}

/* `messages` as templates take them. */
static void becomes(const char *messages, const char *want)
{
    struct err err = {0};
    json_t *in = parsed(messages), *before = json_deep_copy(in), *w = parsed(want);
    json_t *out = anthropic_messages_read(in, NULL, &err);
    if (out == NULL)
        fail_msg("%s", err.text);
    if (!json_equal(out, w))
        fail_msg("%s", json_dumps(out, 0));
    assert_true(json_equal(in, before));
    json_decref(in);
    json_decref(before);
    json_decref(w);
    json_decref(out);
}

static void refuses(const char *messages, const char *param)
{
    struct err err = {0};
    json_t *in = parsed(messages);
    assert_null(anthropic_messages_read(in, NULL, &err));
    assert_string_equal(err.param, param);
    assert_true(err.code == ERR_INVALID || err.code == ERR_UNSUPPORTED);
    json_decref(in);
}

#define TEXT(text) "{\"type\":\"text\",\"text\":\"" text "\"}"

static void test_turns(void **state)
{
    (void)state;
    becomes(
        "[{\"role\":\"user\",\"content\":\"a\"},{\"role\":\"user\",\"content\":[" TEXT(
            "b") "]},"
                 "{\"role\":\"assistant\",\"content\":[]},{\"role\":\"user\",\"content\":\"\"}]",
        "[{\"role\":\"user\",\"content\":\"a\\nb\"},{\"role\":\"assistant\",\"content\":\"\"},"
        "{\"role\":\"user\",\"content\":\"\"}]");
    becomes("[{\"role\":\"assistant\",\"content\":[{\"type\":\"thinking\",\"thinking\":\"hm\","
            "\"signature\":\"s\"},{\"type\":\"redacted_thinking\",\"data\":\"x\"}," TEXT(
                "A") ","
                     "{\"type\":\"tool_use\",\"id\":\"t1\",\"name\":\"f\",\"input\":{\"x\":1}},"
                     "{\"type\":\"tool_use\",\"id\":\"t2\",\"name\":\"g\",\"input\":{}}]},"
                     "{\"role\":\"user\",\"content\":["
                     "{\"type\":\"tool_result\",\"tool_use_id\":\"t2\",\"content\":\"r2\"},"
                     "{\"type\":\"tool_result\",\"tool_use_id\":\"t1\",\"is_error\":true},"
                     "{\"type\":\"tool_result\",\"tool_use_id\":\"zz\",\"is_error\":true,"
                     "\"content\":[" TEXT("error 5") "]}," TEXT("go") "]}]",
            "[{\"role\":\"assistant\",\"reasoning_content\":\"hm\",\"content\":\"A\","
            "\"tool_calls\":[{\"id\":\"t1\",\"type\":\"function\",\"function\":{\"name\":\"f\","
            "\"arguments\":{\"x\":1}}},{\"id\":\"t2\",\"type\":\"function\",\"function\":"
            "{\"name\":\"g\",\"arguments\":{}}}]},"
            "{\"role\":\"tool\",\"tool_call_id\":\"t2\",\"name\":\"g\",\"content\":\"r2\"},"
            "{\"role\":\"tool\",\"tool_call_id\":\"t1\",\"name\":\"f\",\"content\":\"Error: \"},"
            "{\"role\":\"tool\",\"tool_call_id\":\"zz\",\"content\":\"error 5\"},"
            "{\"role\":\"user\",\"content\":\"go\"}]");
    becomes("[{\"role\":\"user\",\"content\":[{\"type\":\"search_result\",\"title\":\"T\","
            "\"source\":\"S\",\"content\":[" TEXT(
                "x") "]},{\"type\":\"document\",\"context\":\"C\","
                     "\"source\":{\"type\":\"content\",\"content\":\"y\"}}]}]",
            "[{\"role\":\"user\",\"content\":\"<search_result>\\n<title>T</title>\\n"
            "<source>S</source>\\nx\\n</search_result>\\n<document>\\n<context>C</context>\\ny\\n"
            "</document>\\n\"}]");
}

static void test_refusals(void **state)
{
    (void)state;
#define USER(blocks) "[{\"role\":\"user\",\"content\":[" blocks "]}]"
    refuses("[]", "messages");
    refuses("{}", "messages");
    refuses("[5]", "messages[0]");
    refuses("[{\"role\":\"user\",\"content\":5}]", "messages[0].content");
    refuses("[{\"role\":\"user\",\"content\":null}]", "messages[0].content");
    refuses("[{\"role\":\"tool\",\"content\":\"x\"}]", "messages[0].role");
    refuses("[{\"role\":\"user\",\"content\":\"x\",\"name\":\"y\"}]", "messages[0].name");
    refuses(USER("5"), "messages[0].content[0]");
    refuses(USER("{}"), "messages[0].content[0].type");
    refuses(USER("{\"type\":\"text\"}"), "messages[0].content[0].text");
    refuses(USER("{\"type\":\"text\",\"text\":\"x\",\"foo\":1}"), "messages[0].content[0].foo");
    refuses(USER("{\"type\":\"image\",\"source\":{}}"), "messages[0].content[0]");
    refuses(USER("{\"type\":\"tool_use\",\"id\":\"a\",\"name\":\"b\",\"input\":{}}"),
            "messages[0].content[0].type");
    refuses(USER("{\"type\":\"tool_result\"}"), "messages[0].content[0].tool_use_id");
    refuses(USER("{\"type\":\"document\",\"source\":{\"type\":\"url\",\"url\":\"x\"}}"),
            "messages[0].content[0].source");
    refuses(USER("{\"type\":\"document\",\"source\":{\"type\":\"text\",\"data\":\"x\"},"
                 "\"citations\":{\"enabled\":true}}"),
            "messages[0].content[0].citations");
    refuses("[{\"role\":\"assistant\",\"content\":[{\"type\":\"tool_use\",\"id\":\"a\","
            "\"name\":\"b\",\"input\":\"x\"}]}]",
            "messages[0].content[0].input");
    refuses("[{\"role\":\"assistant\",\"content\":[{\"type\":\"server_tool_use\"}]}]",
            "messages[0].content[0].type");
}

/* ---- answers ---- */

static struct api_request request(const char *more)
{
    struct api_request r;
    struct err err = {0};
    struct buf text;
    buf_init(&text, 1 << 16);
    buf_printf(&text, "{\"max_tokens\":9,\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]%s}",
               more);
    json_t *body = parsed(text.ptr);
    if (anthropic_messages.parse(body, NULL, &r, &err) != 0)
        fail_msg("%s", err.text);
    json_decref(body);
    buf_release(&text);
    return r;
}

static struct api_answer *answer(struct api_request *r)
{
    struct api_answer *a = api_answer_new(r, "msg_1", 1000, "a \"model\"");
    assert_non_null(a);
    return a;
}

static void test_hostile_deltas(void **state)
{
    (void)state;
    struct api_request r = request(",\"stream\":true");
    struct api_answer *a = answer(&r);
    struct buf out;
    char text[] = "x", name[] = "f";
    struct gen_delta plain = {.text = text, .text_len = 1};
    struct gen_delta unbegun = {.channel = GEN_TOOL_CALL, .text = text, .text_len = 1};
    struct gen_delta misnamed = {.name = name, .text = text, .text_len = 1};
    struct gen_delta other = {.index = 1, .text = text, .text_len = 1};
    buf_init(&out, 1 << 16);
    assert_false(a->endpoint->delta(a, 0, &unbegun, &out)); /* a call that never began */
    assert_false(a->endpoint->delta(a, 0, &misnamed, &out));
    assert_false(a->endpoint->delta(a, 0, &other, &out));
    assert_true(a->endpoint->delta(a, 0, &plain, &out));
    assert_true(a->endpoint->end(a, 0, &(struct gen_end){.reason = GEN_STOP}, &out));
    assert_false(a->endpoint->end(a, 0, &(struct gen_end){.reason = GEN_STOP}, &out));
    assert_false(a->endpoint->delta(a, 0, &plain, &out)); /* after its end */
    api_answer_free(a);
    buf_release(&out);
    api_request_release(&r);
}

static json_t *whole_of(struct api_request *r, const struct gen_delta *d, int n,
                        const struct gen_end *e)
{
    struct api_answer *a = answer(r);
    struct buf out;
    buf_init(&out, 1 << 16);
    for (int i = 0; i < n; i++)
        assert_true(a->endpoint->delta(a, 0, &d[i], NULL));
    assert_true(a->endpoint->end(a, 0, e, NULL));
    assert_true(a->endpoint->whole(a, &out));
    json_t *value = parsed(out.ptr);
    api_answer_free(a);
    buf_release(&out);
    return value;
}

static const char *reason_of(const json_t *value)
{
    return json_string_value(json_object_get(value, "stop_reason"));
}

static void test_why_it_stopped(void **state)
{
    (void)state;
    char stop[] = "END";
    static const struct {
        struct gen_end e;
        const char *more, *reason;
    } cases[] = {
        {{.reason = GEN_STOP}, "", "end_turn"},
        {{.reason = GEN_LENGTH, .n_completion = 9}, "", "max_tokens"},
        {{.reason = GEN_LENGTH, .n_completion = 8}, "", "model_context_window_exceeded"},
        {{.reason = GEN_TOOL_CALLS}, "", "tool_use"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct api_request r = request(cases[i].more);
        json_t *value = whole_of(&r, NULL, 0, &cases[i].e);
        assert_string_equal(reason_of(value), cases[i].reason);
        assert_int_equal(json_array_size(json_object_get(value, "content")), 0);
        json_decref(value);
        api_request_release(&r);
    }
    struct gen_end met = {.reason = GEN_STOP, .stop = stop};
    struct api_request r = request(",\"stop_sequences\":[\"END\"]");
    json_t *value = whole_of(&r, NULL, 0, &met);
    assert_string_equal(reason_of(value), "stop_sequence");
    assert_string_equal(json_string_value(json_object_get(value, "stop_sequence")), "END");
    json_decref(value);
    api_request_release(&r);
    r = request(""); /* a stop of the model's own parameters is no sequence of the client's */
    value = whole_of(&r, NULL, 0, &met);
    assert_string_equal(reason_of(value), "end_turn");
    assert_true(json_is_null(json_object_get(value, "stop_sequence")));
    json_decref(value);
    api_request_release(&r);
}

static void test_blocks_in_order(void **state)
{
    (void)state;
    char a[] = "a", b[] = "b", f[] = "f", args[] = " {\"x\": 1} ", none[] = "{}", empty[] = "";
    struct gen_delta d[] = {
        {.text = a, .text_len = 1},
        {.channel = GEN_REASONING, .text = b, .text_len = 1},
        {.channel = GEN_CONTENT, .text = empty}, /* half a character: no block of its own */
        {.channel = GEN_REASONING, .text = b, .text_len = 1},
        {.channel = GEN_TOOL_CALL, .name = f, .text = empty},
        {.channel = GEN_TOOL_CALL, .text = args, .text_len = sizeof args - 1},
        {.channel = GEN_TOOL_CALL, .call = 1, .name = f, .text = none, .text_len = 2},
        {.text = a, .text_len = 1},
    };
    struct api_request r = request("");
    json_t *value = whole_of(&r, d, ARRAY_LEN(d), &(struct gen_end){.reason = GEN_TOOL_CALLS});
    json_t *content = json_object_get(value, "content");
    static const char *const types[] = {"text", "thinking", "tool_use", "tool_use", "text"};
    assert_int_equal(json_array_size(content), ARRAY_LEN(types));
    for (size_t i = 0; i < ARRAY_LEN(types); i++)
        assert_string_equal(json_string_value(json_object_get(json_array_get(content, i), "type")),
                            types[i]);
    const json_t *thinking = json_array_get(content, 1);
    assert_string_equal(json_string_value(json_object_get(thinking, "thinking")), "bb");
    const json_t *input = json_object_get(json_array_get(content, 2), "input");
    assert_int_equal(json_integer_value(json_object_get(input, "x")), 1);
    assert_int_equal(json_object_size(json_object_get(json_array_get(content, 3), "input")), 0);
    json_decref(value);
    api_request_release(&r);
}

/* A stream hands these on as they are: the whole answer must not say that they are no JSON. */
static void test_odd_arguments(void **state)
{
    (void)state;
    char f[] = "f", twice[] = "{\"x\":1,\"x\":2}", longer[] = "{\"x\":22222222222222222222}";
    struct gen_delta d[] = {
        {.channel = GEN_TOOL_CALL, .name = f, .text = twice, .text_len = sizeof twice - 1},
        {.channel = GEN_TOOL_CALL,
         .call = 1,
         .name = f,
         .text = longer,
         .text_len = sizeof longer - 1},
    };
    struct gen_end e = {.reason = GEN_TOOL_CALLS};
    struct api_request r = request("");
    struct api_answer *a = answer(&r);
    struct buf out;
    buf_init(&out, 1 << 16);
    for (size_t i = 0; i < ARRAY_LEN(d); i++)
        assert_true(anthropic_messages.delta(a, 0, &d[i], NULL));
    assert_true(anthropic_messages.end(a, 0, &e, NULL));
    assert_true(anthropic_messages.whole(a, &out));
    assert_non_null(strstr(out.ptr, "\"input\":{\"x\":1,\"x\":2}}"));
    assert_non_null(strstr(out.ptr, "\"input\":{\"x\":22222222222222222222}}"));
    api_answer_free(a);
    api_request_release(&r);
    buf_release(&out);
}

static void test_what_is_asked_for(void **state)
{
    (void)state;
    struct api_request r = request("");
    assert_int_equal(r.gen.think, GEN_THINK_OFF);
    assert_true(r.gen.parse && !r.continue_final);
    api_request_release(&r);
    r = request(",\"thinking\":{\"type\":\"enabled\",\"budget_tokens\":7},\"output_config\":"
                "{\"effort\":\"max\",\"format\":{\"type\":\"json_schema\",\"schema\":{}}}");
    assert_int_equal(r.gen.think, GEN_THINK_ON);
    assert_int_equal(r.gen.think_max, 7);
    assert_string_equal(json_string_value(json_object_get(r.gen.chat, "reasoning_effort")), "high");
    assert_string_equal(json_string_value(json_object_get(r.gen.constraint, "type")), "schema");
    api_request_release(&r);
    r = request(
        ",\"thinking\":{\"type\":\"adaptive\"},\"tools\":[{\"name\":\"f\",\"type\":\"custom\","
        "\"input_schema\":{\"type\":\"object\"},\"strict\":true}],\"tool_choice\":"
        "{\"type\":\"tool\",\"name\":\"f\",\"disable_parallel_tool_use\":true}");
    assert_int_equal(r.gen.think, GEN_THINK_ON);
    assert_int_equal(r.gen.think_max, -1);
    assert_int_equal(r.gen.tool_choice, GEN_TOOLS_REQUIRED);
    assert_string_equal(r.gen.tool_name, "f");
    assert_true(r.gen.one_tool_call);
    assert_int_equal(json_array_size(json_object_get(r.gen.chat, "tools")), 1);
    api_request_release(&r);
}

static void test_error_shape(void **state)
{
    (void)state;
    static const struct {
        int code, status;
        const char *type;
    } cases[] = {
        {ERR_INVALID, 400, "invalid_request_error"},
        {ERR_AUTH, 401, "authentication_error"},
        {ERR_DENIED, 403, "permission_error"},
        {ERR_NOT_FOUND, 404, "not_found_error"},
        {ERR_TOO_LARGE, 413, "request_too_large"},
        {API_ERR_RATE, 429, "rate_limit_error"},
        {ERR_INTERNAL, 500, "api_error"},
        {ERR_BUSY, 529, "overloaded_error"},
        {ERR_UNAVAILABLE, 529, "overloaded_error"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct err err = {.code = cases[i].code, .text = "why \"so\""};
        struct api_counts counts = {.request_id = "req_1"};
        struct buf out;
        buf_init(&out, 4096);
        assert_int_equal(api_status_in(API_ANTHROPIC, err.code), cases[i].status);
        assert_true(api_error_write(API_ANTHROPIC, &err, &counts, &out));
        json_t *value = parsed(out.ptr);
        json_t *error = json_object_get(value, "error");
        assert_string_equal(json_string_value(json_object_get(value, "type")), "error");
        assert_string_equal(json_string_value(json_object_get(value, "request_id")), "req_1");
        assert_string_equal(json_string_value(json_object_get(error, "type")), cases[i].type);
        assert_string_equal(json_string_value(json_object_get(error, "message")), err.text);
        json_decref(value);
        buf_release(&out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_turns),           cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_hostile_deltas),  cmocka_unit_test(test_why_it_stopped),
        cmocka_unit_test(test_blocks_in_order), cmocka_unit_test(test_what_is_asked_for),
        cmocka_unit_test(test_error_shape),     cmocka_unit_test(test_odd_arguments),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
