/*
 * test_responses: items into messages, and a worker's news into events, where a well-behaved worker
 * or client does not lead: channels that alternate, halves of characters, news after the end, an
 * answer that is stopped, ids that must be the same when it is computed again.
 */
#include "api/openai.h"
#include "api/responses.h"
#include "base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#define ID "resp_0123456789abcdef01234567"

static json_t *json_of(const char *text)
{
    struct err err = {0};
    json_t *value = json_parse(str_z(text), JSON_DEPTH_MAX, &err);
    if (value == NULL)
        fail_msg("%s: %s", err.text, text);
    return value;
}

static char *text_of(const json_t *value)
{
    char *text = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
    assert_non_null(text);
    return text;
}

/* ---- items ---- */

static void check_messages(const char *instructions, const char *input, const char *expected)
{
    struct err err = {0};
    json_t *before = instructions == NULL ? NULL : json_string(instructions);
    json_t *items = json_of(input), *want = json_of(expected);
    json_t *got = responses_items_messages(before, items, false, &err);
    if (got == NULL)
        fail_msg("%s: %s", err.text, input);
    if (!json_equal(got, want)) {
        char *text = text_of(got);
        fail_msg("%s, not %s", text, expected);
    }
    json_decref(before);
    json_decref(items);
    json_decref(want);
    json_decref(got);
}

static void test_messages(void **state)
{
    (void)state;
    check_messages(NULL, "\"hi\"", "[{\"role\":\"user\",\"content\":\"hi\"}]");
    /* System messages at the beginning are one; a later one stays where it is. */
    check_messages("a",
                   "[{\"role\":\"developer\",\"content\":\"b\"},{\"role\":\"user\",\"content\":[]},"
                   "{\"role\":\"system\",\"content\":\"c\"}]",
                   "[{\"role\":\"system\",\"content\":\"a\\n\\nb\"},{\"role\":\"user\",\"content\":"
                   "\"\"},{\"role\":\"system\",\"content\":\"c\"}]");
    /* One turn of the assistant is one message; what comes after its calls is another. */
    check_messages(
        NULL,
        "[{\"role\":\"user\",\"content\":\"q\"},"
        "{\"type\":\"reasoning\",\"summary\":[],\"encrypted_content\":\"hearth:why\"},"
        "{\"role\":\"assistant\",\"content\":[{\"type\":\"output_text\",\"text\":\"x\"},"
        "{\"type\":\"output_text\",\"text\":\"y\"}]},"
        "{\"type\":\"function_call\",\"call_id\":\"1\",\"name\":\"f\",\"arguments\":\"{}\"},"
        "{\"type\":\"custom_tool_call\",\"call_id\":\"2\",\"name\":\"g\",\"input\":\"\\\"\"},"
        "{\"role\":\"assistant\",\"content\":\"z\"},"
        "{\"type\":\"custom_tool_call_output\",\"call_id\":\"2\",\"output\":\"o\"}]",
        "[{\"role\":\"user\",\"content\":\"q\"},"
        "{\"role\":\"assistant\",\"reasoning_content\":\"why\",\"content\":\"xy\",\"tool_calls\":["
        "{\"id\":\"1\",\"type\":\"function\",\"function\":{\"name\":\"f\",\"arguments\":\"{}\"}},"
        "{\"id\":\"2\",\"type\":\"function\",\"function\":{\"name\":\"g\",\"arguments\":"
        "\"{\\\"input\\\":\\\"\\\\\\\"\\\"}\"}}]},"
        "{\"role\":\"assistant\",\"content\":\"z\"},"
        "{\"role\":\"tool\",\"tool_call_id\":\"2\",\"name\":\"g\",\"content\":\"o\"}]");
    /* Another service's reasoning cannot be read; its summary stands for it. */
    check_messages(
        NULL,
        "[{\"role\":\"user\",\"content\":\"q\"},{\"type\":\"reasoning\",\"summary\":[{"
        "\"type\":\"summary_text\",\"text\":\"s\"}],\"encrypted_content\":\"gAAA\"}]",
        "[{\"role\":\"user\",\"content\":\"q\"},{\"role\":\"assistant\",\"content\":\"\","
        "\"reasoning_content\":\"s\"}]");
}

static void test_normal_items(void **state)
{
    (void)state;
    struct err err = {0};
    char id[64];
    json_t *items = json_of("[{\"role\":\"user\",\"content\":\"x\"},{\"type\":\"function_call\","
                            "\"id\":\"mine\",\"call_id\":\"1\"},{\"id\":\"msg_1\"},7]");
    json_t *got = responses_items_normal(items, ID, &err);
    assert_int_equal(json_array_size(got), 4);
    const json_t *first = json_array_get(got, 0);
    assert_string_equal(json_string_value(json_object_get(first, "type")), "message");
    assert_string_equal(json_string_value(json_object_get(first, "id")),
                        "msg_0123456789abcdef01234567i000");
    assert_true(responses_id_of_item(json_str(json_object_get(first, "id")), id, sizeof id));
    assert_string_equal(id, ID);
    assert_string_equal(json_string_value(json_object_get(json_array_get(got, 1), "id")), "mine");
    struct str ref;
    assert_true(responses_item_is_reference(json_array_get(got, 2), &ref));
    assert_true(str_eq_z(ref, "msg_1"));
    assert_true(json_is_integer(json_array_get(got, 3)));
    assert_false(responses_id_of_item(STR("msg_0123"), id, sizeof id));
    assert_false(responses_id_of_item(STR("0123456789abcdef01234567"), id, sizeof id));
    assert_false(responses_id_of_item(STR("msg_0123456789abcdef0123456G"), id, sizeof id));
    json_decref(items);
    json_decref(got);
}

static void test_results_of_earlier_calls(void **state)
{
    (void)state;
    struct err err = {0};
    json_t *items = json_of("[{\"type\":\"function_call\",\"call_id\":\"1\"},"
                            "{\"type\":\"function_call_output\",\"call_id\":\"1\"},"
                            "{\"type\":\"function_call_output\",\"call_id\":\"2\"}]");
    assert_int_equal(responses_items_check_calls(items, 1, &err), ERR_INVALID);
    assert_string_equal(err.param, "input[1].call_id");
    json_array_remove(items, 2);
    assert_int_equal(responses_items_check_calls(items, 1, &err), 0);
    json_decref(items);
}

/* ---- answers ---- */

static struct api_answer *answer_of(const char *body)
{
    struct api_request r;
    struct err err = {0};
    json_t *json = json_of(body);
    if (openai_responses.parse(json, NULL, &r, &err) != 0)
        fail_msg("%s", err.text);
    struct api_answer *a = api_answer_new(&r, ID, 1700000000000, "m");
    assert_non_null(a);
    api_request_release(&r);
    json_decref(json);
    return a;
}

static bool say(struct api_answer *a, int channel, int64_t call, const char *name, const char *text,
                struct buf *out)
{
    struct gen_delta d = {.channel = channel, .call = call, .name = (char *)name};
    d.text = (char *)text;
    d.text_len = strlen(text);
    return a->endpoint->delta(a, 0, &d, out);
}

static void finish(struct api_answer *a, enum gen_reason reason, struct buf *out)
{
    struct gen_end end = {.reason = reason};
    struct gen_done done = {.n_prompt = 3, .n_completion = 4, .n_reasoning = 1};
    assert_true(a->endpoint->end(a, 0, &end, out));
    api_answer_done(a, &done);
}

/* Names and numbers of the events: numbers have no gap. */
static json_t *events_of(struct buf *sse)
{
    json_t *list = json_array();
    struct str rest = buf_str(sse), event;
    for (int64_t n = 0; rest.len > 0; n++) {
        ptrdiff_t end = str_find(rest, STR("\n\n")), data = str_find(rest, STR("\ndata: "));
        assert_true(end > 0 && data > 0 && data < end);
        event = str_sub(rest, (size_t)data + 7, (size_t)(end - data) - 7);
        json_t *one = json_parse(event, JSON_DEPTH_MAX, NULL);
        assert_int_equal(json_integer_value(json_object_get(one, "sequence_number")), n);
        assert_true(str_eq_z(str_sub(rest, 7, (size_t)data - 7),
                             json_string_value(json_object_get(one, "type"))));
        json_array_append_new(list, one);
        rest = str_from(rest, (size_t)end + 2);
    }
    return list;
}

static json_t *whole_of(struct api_answer *a)
{
    struct buf out;
    buf_init(&out, 1 << 20);
    assert_true(a->endpoint->whole(a, &out));
    json_t *ret = json_parse(buf_str(&out), JSON_DEPTH_MAX, NULL);
    assert_non_null(ret);
    buf_release(&out);
    return ret;
}

#define TOOLS                                                                                      \
    "{\"input\":\"x\",\"tools\":[{\"type\":\"function\",\"name\":\"f\"},{\"type\":\"custom\","     \
    "\"name\":\"c\"}]}"

static void run_script(struct api_answer *a, struct buf *out)
{
    assert_true(say(a, GEN_CONTENT, 0, NULL, "a", out));
    assert_true(say(a, GEN_CONTENT, 0, NULL, "", out)); /* half a character */
    assert_true(say(a, GEN_REASONING, 0, NULL, "r", out));
    assert_true(say(a, GEN_CONTENT, 0, NULL, "b", out));
    assert_true(say(a, GEN_TOOL_CALL, 0, "f", "", out));
    assert_true(say(a, GEN_TOOL_CALL, 0, NULL, "{}", out));
    assert_true(say(a, GEN_TOOL_CALL, 1, "f", "{}", out)); /* the same tool again */
    assert_true(say(a, GEN_TOOL_CALL, 2, "c", "{\"input\":", out));
    assert_true(say(a, GEN_TOOL_CALL, 2, NULL, "\"free\"}", out));
    finish(a, GEN_TOOL_CALLS, out);
}

static void test_alternating_channels(void **state)
{
    (void)state;
    static const char *const types[] = {"message",       "reasoning",     "message",
                                        "function_call", "function_call", "custom_tool_call"};
    struct api_answer *a = answer_of(TOOLS), *again = answer_of(TOOLS);
    struct buf out;
    buf_init(&out, 1 << 20);
    assert_true(a->endpoint->begin(a, &out));
    run_script(a, &out);
    assert_true(a->endpoint->finish(a, &out));
    json_t *events = events_of(&out), *object = whole_of(a);
    const json_t *items = json_object_get(object, "output");
    assert_int_equal(json_array_size(items), ARRAY_LEN(types));
    size_t n_added = 0, n_done = 0, i;
    json_t *event;
    json_array_foreach(events, i, event)
    {
        const char *type = json_string_value(json_object_get(event, "type"));
        if (strcmp(type, "response.output_item.added") == 0)
            assert_int_equal(n_added++, n_done); /* one is open at a time */
        if (strcmp(type, "response.output_item.done") == 0)
            assert_true(
                json_equal(json_object_get(event, "item"), json_array_get(items, n_done++)));
    }
    assert_int_equal(n_done, ARRAY_LEN(types));
    for (i = 0; i < ARRAY_LEN(types); i++)
        assert_string_equal(json_string_value(json_object_get(json_array_get(items, i), "type")),
                            types[i]);
    assert_string_equal(json_string_value(json_object_get(json_array_get(items, 5), "input")),
                        "free");
    assert_true(json_equal(
        json_object_get(json_array_get(events, json_array_size(events) - 1), "response"), object));
    /* Whole, and computed again: the same items with the same ids. */
    run_script(again, NULL);
    json_t *other = whole_of(again);
    assert_true(json_equal(json_object_get(other, "output"), items));
    json_decref(other);
    json_decref(events);
    json_decref(object);
    buf_release(&out);
    api_answer_free(a);
    api_answer_free(again);
}

static void test_what_a_worker_may_not_say(void **state)
{
    (void)state;
    struct api_answer *a = answer_of("{\"input\":\"x\"}");
    struct gen_delta d = {.index = 1, .text = (char *)"x", .text_len = 1};
    struct gen_end end = {.index = 1};
    assert_false(a->endpoint->delta(a, 0, &d, NULL));
    assert_false(a->endpoint->end(a, 0, &end, NULL));
    finish(a, GEN_STOP, NULL);
    assert_false(say(a, GEN_CONTENT, 0, NULL, "late", NULL));
    assert_false(a->endpoint->end(a, 0, &(struct gen_end){0}, NULL));
    json_t *object = whole_of(a); /* an empty answer is an empty message */
    assert_int_equal(json_array_size(json_object_get(object, "output")), 1);
    json_decref(object);
    api_answer_free(a);
}

static void test_stopped(void **state)
{
    (void)state;
    struct api_answer *waiting = answer_of("{\"input\":\"x\",\"background\":true}");
    struct api_answer *a = answer_of("{\"input\":\"x\",\"background\":true}");
    struct err err = {.code = ERR_UNAVAILABLE, .text = "why"};
    struct buf out;
    buf_init(&out, 1 << 20);
    assert_true(responses_answer_queue(waiting, &out));
    assert_string_equal(responses_answer_status(waiting), "queued");
    assert_true(a->endpoint->begin(a, &out));
    assert_true(a->endpoint->begin(a, &out)); /* its worker was started again */
    assert_true(say(a, GEN_CONTENT, 0, NULL, "part", &out));
    responses_answer_stop(a, &err);
    assert_true(responses_answer_stop_event(a, &out));
    json_t *events = events_of(&out), *object = whole_of(a);
    const char *const seen[] = {"response.created",
                                "response.queued",
                                "response.in_progress",
                                "response.output_item.added",
                                "response.content_part.added",
                                "response.output_text.delta",
                                "response.failed"};
    assert_int_equal(json_array_size(events), ARRAY_LEN(seen));
    for (size_t i = 0; i < ARRAY_LEN(seen); i++)
        assert_string_equal(json_string_value(json_object_get(json_array_get(events, i), "type")),
                            seen[i]);
    assert_string_equal(json_string_value(json_object_get(object, "status")), "failed");
    assert_string_equal(
        json_string_value(json_object_get(json_object_get(object, "error"), "code")),
        "server_error");
    const json_t *item = json_array_get(json_object_get(object, "output"), 0);
    assert_string_equal(json_string_value(json_object_get(item, "status")), "incomplete");
    assert_true(json_is_null(json_object_get(object, "usage")));
    responses_answer_stop(waiting, NULL);
    assert_string_equal(responses_answer_status(waiting), "cancelled");
    json_decref(events);
    json_decref(object);
    buf_release(&out);
    api_answer_free(waiting);
    api_answer_free(a);
}

static void test_full(void **state)
{
    (void)state;
    struct api_answer *a = answer_of("{\"input\":\"x\"}");
    struct buf out;
    buf_init(&out, 64);
    assert_false(a->endpoint->begin(a, &out));
    assert_false(say(a, GEN_CONTENT, 0, NULL, "a", &out));
    buf_release(&out);
    api_answer_free(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_messages),
        cmocka_unit_test(test_normal_items),
        cmocka_unit_test(test_results_of_earlier_calls),
        cmocka_unit_test(test_alternating_channels),
        cmocka_unit_test(test_what_a_worker_may_not_say),
        cmocka_unit_test(test_stopped),
        cmocka_unit_test(test_full),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
