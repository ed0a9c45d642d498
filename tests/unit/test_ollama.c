/*
 * Ollama's dialect: requests into neutral ones, the worker's events into lines and objects.
 */
#include "api/ollama.h"
#include "api/ollama_library.h"
#include "api/ollama_request.h"
#include "base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

static json_t *parsed(struct str text)
{
    struct err err = {0};
    json_t *value = json_parse(text, JSON_DEPTH_MAX, &err);
    if (value == NULL)
        fail_msg("%s: %.*s", err.text, STR_ARG(text));
    return value;
}

static struct api_request request(const char *body, const struct api_endpoint *endpoint,
                                  const char *defaults)
{
    struct api_request r;
    struct err err = {0};
    json_t *json = parsed(str_z(body));
    json_t *params = defaults == NULL ? NULL : parsed(str_z(defaults));
    if (endpoint->parse(json, params, &r, &err) != 0)
        fail_msg("%s: %s", body, err.text);
    r.model = STR("m"); /* the body goes */
    json_decref(params);
    json_decref(json);
    return r;
}

#define CHAT(more) "{\"messages\":[{\"role\":\"USER\",\"content\":\"hi\"}]" more "}"

static void test_defaults(void **state)
{
    (void)state;
    struct api_request r = request(CHAT(""), &ollama_chat, NULL);
    assert_true(r.stream && r.gen.parse && r.gen.truncate);
    assert_true(r.gen.sampling.temperature == 0.8 && r.gen.sampling.top_p == 0.9);
    assert_int_equal(r.gen.sampling.top_k, 40);
    assert_int_equal(r.gen.max_tokens, -1);
    api_request_release(&r);
    /* The client's words over the model's, the model's over Ollama's. */
    r = request(
        CHAT(",\"options\":{\"temperature\":0.1,\"num_predict\":-2,\"seed\":-1}"), &ollama_chat,
        "{\"temperature\":0.5,\"top_k\":7,\"num_predict\":9,\"stop\":[\"a\",\"b\"],\"num_ctx\":1}");
    assert_true(r.gen.sampling.temperature == 0.1 && r.gen.sampling.top_k == 7);
    assert_int_equal(r.gen.max_tokens, -1);
    assert_int_equal(r.gen.n_stop, 2);
    assert_false(r.seed_given);
    api_request_release(&r);
}

static void test_messages(void **state)
{
    (void)state;
    struct api_request r = request(
        "{\"messages\":[{\"role\":\"assistant\",\"thinking\":\"hm\",\"tool_calls\":[{\"function\":"
        "{\"name\":\"f\",\"arguments\":{\"b\":1,\"a\":2}}}]},"
        "{\"role\":\"tool\",\"tool_name\":\"f\",\"content\":\"3\"}],\"think\":\"max\","
        "\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\"}}],"
        "\"format\":{\"type\":\"object\"}}",
        &ollama_chat, NULL);
    const json_t *first = json_array_get(r.messages, 0), *second = json_array_get(r.messages, 1);
    assert_string_equal(json_string_value(json_object_get(first, "reasoning_content")), "hm");
    assert_string_equal(json_string_value(json_object_get(second, "name")), "f");
    assert_int_equal(r.gen.think, GEN_THINK_ON);
    assert_string_equal(json_string_value(json_object_get(r.gen.chat, "reasoning_effort")), "high");
    assert_int_equal(json_array_size(json_object_get(r.gen.chat, "tools")), 1);
    assert_string_equal(json_string_value(json_object_get(r.gen.constraint, "type")), "schema");
    struct buf text;
    buf_init(&text, 4096);
    assert_true(json_write(json_object_get(first, "tool_calls"), &text));
    assert_non_null(strstr(text.ptr, "{\"b\":1,\"a\":2}")); /* an object, in the order it came */
    buf_release(&text);
    api_request_release(&r);
}

static void test_generate_forms(void **state)
{
    (void)state;
    struct api_request r = request("{\"prompt\":\"a\",\"suffix\":\"b\"}", &ollama_generate, NULL);
    assert_ptr_equal(r.endpoint, &ollama_generate_raw);
    json_t *frame = api_request_frame(&r, 0, 1);
    assert_string_equal(json_string_value(json_object_get(frame, "text")), "a");
    assert_string_equal(json_string_value(json_object_get(frame, "suffix")), "b");
    json_decref(frame);
    api_request_release(&r);
    r = request("{\"prompt\":\"a\",\"system\":\"s\",\"format\":\"json\"}", &ollama_generate, NULL);
    assert_int_equal(json_array_size(r.messages), 2);
    assert_true(api_request_default_system(&r, "other"));
    assert_int_equal(json_array_size(r.messages), 2);
    api_request_release(&r);
    json_t *body = parsed(STR("{\"model\":\"m\",\"prompt\":\"\",\"keep_alive\":\"5m\"}"));
    struct ollama_load l;
    assert_true(ollama_is_load(&ollama_generate, body));
    assert_false(ollama_load_parse(&ollama_generate, body, &l, NULL) != 0);
    assert_int_equal(l.keep_alive_ms, 300000);
    json_decref(body);
}

static void test_context(void **state)
{
    (void)state;
    json_t *messages = parsed(STR("[{\"role\":\"user\",\"content\":\"\\u00e9 \\ud83d\\ude00\"},"
                                  "{\"role\":\"assistant\",\"content\":\"\"}]"));
    struct buf text;
    struct err err = {0};
    buf_init(&text, 1 << 16);
    assert_true(ollama_context_write(messages, &text));
    json_t *context = parsed(buf_str(&text));
    for (size_t i = 0; i < json_array_size(context); i++)
        assert_true(json_integer_value(json_array_get(context, i)) < INT64_C(1) << 53);
    json_t *back = ollama_context_read(context, &err);
    assert_true(json_equal(back, messages));
    json_decref(back);
    /* One number changed, or gone, or of another server: refused. */
    json_array_set_new(context, 4, json_integer(7));
    assert_null(ollama_context_read(context, &err));
    assert_string_equal(err.param, "context");
    json_array_remove(context, 4);
    assert_null(ollama_context_read(context, &err));
    json_array_clear(context);
    assert_null(ollama_context_read(context, &err));
    json_decref(context);
    json_decref(messages);
    buf_release(&text);
}

/* ---- answers ---- */

static void say(struct api_answer *a, enum gen_channel channel, const char *name, const char *text,
                struct buf *out)
{
    char *copy = str_dup(str_z(text)), *name_copy = name == NULL ? NULL : str_dup(str_z(name));
    const struct gen_delta d = {
        .channel = channel, .name = name_copy, .text = copy, .text_len = strlen(text)};
    assert_true(a->endpoint->delta(a, 0, &d, out));
    free(copy);
    free(name_copy);
}

static void play(struct api_answer *a, struct buf *out)
{
    const struct gen_done done = {
        .n_prompt = 5, .n_completion = 7, .prefill_ms = 2, .decode_ms = 3};
    say(a, GEN_REASONING, NULL, "let me see", out);
    say(a, GEN_CONTENT, NULL, "I call", out);
    say(a, GEN_TOOL_CALL, "f", "{\"x\":", out);
    say(a, GEN_TOOL_CALL, NULL, " 1}", out);
    say(a, GEN_TOOL_CALL, "g", "{}", out);
    say(a, GEN_TOOL_CALL, "h", "{\"cut", out);
    assert_true(a->endpoint->end(a, 0, &(struct gen_end){.reason = GEN_LENGTH}, out));
    api_answer_done(a, &done);
}

static void check_calls(const json_t *calls)
{
    const json_t *f = json_object_get(json_array_get(calls, 0), "function");
    const json_t *g = json_object_get(json_array_get(calls, 1), "function");
    assert_string_equal(json_string_value(json_object_get(f, "name")), "f");
    assert_int_equal(json_integer_value(json_object_get(json_object_get(f, "arguments"), "x")), 1);
    assert_int_equal(json_integer_value(json_object_get(g, "index")), 1);
    assert_true(json_is_object(json_object_get(g, "arguments")));
}

/* A model may write a key twice, and integers that are longer than ours: calls all the same. One
 * that was cut off before its arguments is none. */
static void test_odd_arguments(void **state)
{
    (void)state;
    struct api_request r = request(CHAT(",\"stream\":false"), &ollama_chat, NULL);
    struct api_answer *a = api_answer_new(&r, "id", 1000, "slot");
    struct buf out;
    buf_init(&out, 1 << 16);
    say(a, GEN_TOOL_CALL, "f", "{\"x\":1,\"x\":2}", NULL);
    say(a, GEN_TOOL_CALL, "g", "{\"x\":22222222222222222222}", NULL);
    say(a, GEN_TOOL_CALL, "k", "", NULL);
    assert_true(a->endpoint->end(a, 0, &(struct gen_end){.reason = GEN_LENGTH}, NULL));
    assert_true(a->endpoint->whole(a, &out));
    assert_non_null(
        strstr(out.ptr, "\"content\":\"{\\\"name\\\":\\\"k\\\", \\\"arguments\\\": \""));
    assert_non_null(strstr(out.ptr, "\"arguments\":{\"x\":1,\"x\":2}}"));
    assert_non_null(strstr(out.ptr, "\"arguments\":{\"x\":22222222222222222222}}"));
    api_answer_free(a);
    api_request_release(&r);
    buf_release(&out);
}

static void test_whole_answer(void **state)
{
    (void)state;
    struct api_request r = request(CHAT(",\"stream\":false"), &ollama_chat, NULL);
    struct api_answer *a = api_answer_new(&r, "id", 1000, "slot");
    struct buf out;
    buf_init(&out, 1 << 16);
    play(a, NULL);
    assert_true(a->endpoint->whole(a, &out));
    json_t *whole = parsed(buf_str(&out)), *message = json_object_get(whole, "message");
    assert_string_equal(json_string_value(json_object_get(whole, "model")), "m");
    assert_string_equal(json_string_value(json_object_get(message, "thinking")), "let me see");
    /* the call that was cut off is not lost, and is no call */
    assert_string_equal(json_string_value(json_object_get(message, "content")),
                        "I call{\"name\":\"h\", \"arguments\": {\"cut");
    assert_int_equal(json_array_size(json_object_get(message, "tool_calls")), 2);
    check_calls(json_object_get(message, "tool_calls"));
    assert_string_equal(json_string_value(json_object_get(whole, "done_reason")), "length");
    assert_int_equal(json_integer_value(json_object_get(whole, "eval_duration")), 3000000);
    assert_int_equal(json_integer_value(json_object_get(whole, "prompt_eval_count")), 5);
    json_decref(whole);
    api_answer_free(a);
    api_request_release(&r);
    buf_release(&out);
}

static void test_streamed_answer(void **state)
{
    (void)state;
    struct api_request r = request(CHAT(""), &ollama_chat, NULL);
    struct api_answer *a = api_answer_new(&r, "id", 1000, "slot");
    struct buf out;
    struct str rest, line;
    json_t *calls = json_array();
    int n = 0, n_done = 0;
    buf_init(&out, 1 << 16);
    play(a, &out);
    assert_true(a->endpoint->finish(a, &out));
    rest = buf_str(&out);
    while (str_split(&rest, '\n', &line) && line.len > 0) {
        json_t *one = parsed(line), *message = json_object_get(one, "message");
        json_array_extend(calls, json_object_get(message, "tool_calls"));
        n_done += json_is_true(json_object_get(one, "done"));
        n++;
        json_decref(one);
    }
    assert_int_equal(n, 6); /* thinking, content, two calls, what was cut, the end */
    assert_int_equal(n_done, 1);
    check_calls(calls);
    buf_clear(&out);
    assert_true((a->endpoint->fail)(a, &(struct err){.code = ERR_INTERNAL, .text = "no\n"}, &out));
    assert_string_equal(out.ptr, "{\"error\":\"no\\n\"}\n");
    json_decref(calls);
    api_answer_free(a);
    api_request_release(&r);
    buf_release(&out);
}

/* A worker that goes on with a call nobody began, or speaks of another choice, fails the call. */
static void test_impossible_news(void **state)
{
    (void)state;
    struct api_request r = request(CHAT(""), &ollama_chat, NULL);
    struct api_answer *a = api_answer_new(&r, "id", 1000, "slot");
    struct buf out;
    char text[] = "x";
    buf_init(&out, 1 << 16);
    struct gen_delta d = {.channel = GEN_TOOL_CALL, .text = text, .text_len = 1};
    assert_false(a->endpoint->delta(a, 0, &d, &out));
    d = (struct gen_delta){.index = 1, .text = text, .text_len = 1};
    assert_false(a->endpoint->delta(a, 0, &d, &out));
    assert_true(a->endpoint->end(a, 0, &(struct gen_end){.reason = GEN_STOP}, &out));
    assert_false(a->endpoint->end(a, 0, &(struct gen_end){.reason = GEN_STOP}, &out));
    api_answer_free(a);
    api_request_release(&r);
    buf_release(&out);
}

static void test_show_and_modelfile(void **state)
{
    (void)state;
    json_t *inspected = parsed(STR("{\"arch\":\"llama\",\"file_type\":7,\"n_params\":8030000000,"
                                   "\"template\":\"T\",\"metadata\":[],\"capabilities\":[\"x\"]}"));
    const struct ollama_shown s = {.name = "a:b",
                                   .system_text = "be \"brief\"",
                                   .params_json = "{\"stop\":[\"x\",\"y\"],\"top_k\":3}",
                                   .messages_json = "[{\"role\":\"user\",\"content\":\"q\"}]",
                                   .inspected = inspected};
    struct buf out;
    buf_init(&out, 1 << 16);
    assert_true(ollama_write_show(&s, &out));
    json_t *shown = parsed(buf_str(&out));
    assert_string_equal(json_string_value(json_object_get(shown, "parameters")),
                        "stop                           \"x\"\n"
                        "stop                           \"y\"\n"
                        "top_k                          3");
    const json_t *details = json_object_get(shown, "details");
    assert_string_equal(json_string_value(json_object_get(details, "parameter_size")), "8.0B");
    assert_string_equal(json_string_value(json_object_get(details, "quantization_level")), "");
    assert_null(json_object_get(shown, "model_info")); /* not of the type it must have */
    assert_non_null(strstr(json_string_value(json_object_get(shown, "modelfile")),
                           "SYSTEM \"\"\"be \"brief\"\"\"\"\nPARAMETER stop \"x\"\n"));
    json_decref(shown);
    json_decref(inspected);
    buf_release(&out);
}

/* What /api/show gives is read again as it was meant; what no Modelfile can say is no command. */
static void test_modelfile_says_what_there_is(void **state)
{
    (void)state;
    const struct ollama_shown s = {
        .name = "a",
        .system_text = "x\"\"\"\nFROM evil",
        .params_json = "{\"stop\":[\"\\n\",\"say \\\"x\\\"\",\"a\\\\b\"],\"seed\":3}",
        .messages_json = "[{\"role\":\"user\",\"content\":\"q\"}]"};
    struct buf out;
    buf_init(&out, 1 << 16);
    assert_true(ollama_write_modelfile(&s, &out));
    assert_string_equal(out.ptr, "# Made by hearth of the model itself\nFROM a\n"
                                 "# SYSTEM is left out: its text has quotes that would end it\n"
                                 "PARAMETER stop \"\n\"\n"
                                 "PARAMETER stop \"\"\"say \"x\"\"\"\"\n"
                                 "PARAMETER stop \"a\\b\"\n"
                                 "PARAMETER seed 3\n"
                                 "MESSAGE user \"\"\"q\"\"\"\n");
    buf_release(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_messages),
        cmocka_unit_test(test_generate_forms),
        cmocka_unit_test(test_context),
        cmocka_unit_test(test_odd_arguments),
        cmocka_unit_test(test_whole_answer),
        cmocka_unit_test(test_streamed_answer),
        cmocka_unit_test(test_impossible_news),
        cmocka_unit_test(test_show_and_modelfile),
        cmocka_unit_test(test_modelfile_says_what_there_is),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
