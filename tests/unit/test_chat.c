/* From messages to the prompt: what chat finds out about a template, and what it makes of requests.
 */
#include "base/json.h"
#include "text/chat.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct err err;

static struct chat *chat(const char *source)
{
    struct chat *c = NULL;
    if (chat_new(str_z(source), STR("<s>"), STR("</s>"), &c, &err) != 0)
        fail_msg("%s", err.text);
    return c;
}

static void renders(const struct chat *c, const char *request, const char *want)
{
    struct buf out;
    buf_init(&out, 1 << 20);
    json_t *r = json_parse(str_z(request), 32, &err), *before = json_deep_copy(r);
    if (chat_render(c, r, &out, &err) != 0)
        fail_msg("%s", err.text);
    assert_string_equal(out.ptr, want);
    assert_true(json_equal(r, before)); /* the request is the caller's */
    json_decref(r);
    json_decref(before);
    buf_release(&out);
}

static void refuses(const struct chat *c, const char *request, int code, const char *param)
{
    struct buf out;
    buf_init(&out, 1 << 20);
    memset(&err, 0, sizeof(err));
    json_t *r = json_parse(str_z(request), 32, &err);
    assert_int_equal(chat_render(c, r, &out, &err), code);
    assert_string_equal(err.param, param);
    assert_int_equal(out.len, 0);
    json_decref(r);
    buf_release(&out);
}

static void broken(const char *source, const char *text)
{
    struct chat *c = NULL;
    assert_int_not_equal(chat_new(str_z(source), STR(""), STR(""), &c, &err), 0);
    assert_null(c);
    assert_non_null(strstr(err.text, text));
}

#define PLAIN                                                                                      \
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"                             \
    "{% if add_generation_prompt %}<a>{% endif %}"

/* A template that knows no tools: they are described, calls and results are text. */
static void tools_in_words(const struct chat *c)
{
    struct buf out;
    json_t *request = json_loads(
        "{\"messages\": [{\"role\": \"user\", \"content\": \"hi\"}, {\"role\": \"assistant\", "
        "\"content\": null, \"tool_calls\": [{\"type\": \"function\", \"function\": {\"name\": "
        "\"f\", \"arguments\": \"{\\\"a\\\": 1}\"}}]}, {\"role\": \"tool\", \"content\": \"r1\"}, "
        "{\"role\": \"tool\", \"content\": \"r2\"}], \"tools\": [{\"type\": \"function\", "
        "\"function\": {\"name\": \"f\", \"strict\": true}}]}",
        0, NULL);
    assert_non_null(request);
    buf_init(&out, 1 << 16);
    assert_int_equal(chat_render(c, request, &out, &err), 0);
    assert_non_null(strstr(out.ptr, "<system>"));
    assert_non_null(strstr(out.ptr, "<tools>\n{\"name\":\"f\"}\n</tools>"));
    assert_non_null(strstr(out.ptr, "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": 1}}"));
    assert_non_null(
        strstr(out.ptr, "<user><tool_response>\nr1\n</tool_response>\n<tool_response>\nr2"));
    assert_string_equal(chat_dialect(c)->name, "hermes (added)");
    buf_release(&out);
    json_decref(request);
}

static void test_plain(void **state)
{
    (void)state;
    struct chat *c = chat(PLAIN);
    assert_true(chat_supports_system(c));
    assert_false(chat_supports_tools(c));
    assert_false(chat_template_is_fallback(c));
    renders(c, "{\"messages\": [{\"role\": \"user\", \"content\": \"hi\"}]}", "<user>hi");
    renders(c,
            "{\"messages\": [{\"role\": \"user\", \"content\": [{\"type\": \"text\", \"text\": "
            "\"a\"}, {\"type\": \"text\", \"text\": \"b\"}]}], \"add_generation_prompt\": true}",
            "<user>ab<a>");
    refuses(c, "{\"messages\": []}", ERR_INVALID, "messages");
    refuses(c, "{\"messages\": [{\"content\": \"x\"}]}", ERR_INVALID, "messages");
    refuses(c, "{\"messages\": [{\"role\": \"user\", \"content\": 5}], \"tools\": [{}]}",
            ERR_INVALID, "messages");
    tools_in_words(c);
    refuses(c, "{\"messages\": [{\"role\": \"user\", \"content\": [{\"type\": \"image_url\"}]}]}",
            ERR_UNSUPPORTED, "messages");
    chat_free(c);
}

static void test_system_is_folded(void **state)
{
    (void)state;
    struct chat *c = chat("{% for m in messages %}{% if m.role == 'system' %}"
                          "{{ raise_exception('no system') }}{% endif %}"
                          "<{{ m.role }}>{{ m.content }}{% endfor %}");
    assert_false(chat_supports_system(c));
    renders(c,
            "{\"messages\": [{\"role\": \"system\", \"content\": \"S\"}, {\"role\": \"user\", "
            "\"content\": \"U\"}]}",
            "<user>S\n\nU");
    renders(c, "{\"messages\": [{\"role\": \"system\", \"content\": \"S\"}]}", "<user>S");
    chat_free(c);
}

static void test_parts_only(void **state)
{
    (void)state;
    struct chat *c = chat("{% for m in messages %}{% for p in m.content %}{% if p.type == 'text' %}"
                          "[{{ p.text }}]{% endif %}{% endfor %}{% endfor %}");
    renders(c, "{\"messages\": [{\"role\": \"user\", \"content\": \"hi\"}]}", "[hi]");
    chat_free(c);
}

#define CALL(arguments)                                                                            \
    "{\"messages\": [{\"role\": \"user\", \"content\": \"u\"}, {\"role\": \"assistant\", "         \
    "\"content\": null, \"tool_calls\": [{\"id\": \"1\", \"type\": \"function\", \"function\": "   \
    "{\"name\": \"f\", \"arguments\": " arguments "}}]}]}"

static void test_arguments_as_object(void **state)
{
    (void)state;
    struct chat *c = chat("{% for m in messages %}{{ m.content + '' }}{% for t in m.tool_calls or "
                          "[] %}{{ t.function.arguments | tojson }}{% endfor %}{% endfor %}"
                          "{{ tools[0].function.name if tools }}");
    assert_true(chat_supports_tools(c));
    renders(c, CALL("\"{\\\"a\\\": 1}\""), "u{\"a\": 1}"); /* content null became "" too */
    renders(c, CALL("{\"a\": 1}"), "u{\"a\": 1}");
    refuses(c, CALL("\"{broken\""), ERR_INVALID, "messages");
    /* cut off by a length limit, and sent back */
    renders(c, CALL("\"{\\\"a\\\":\\\"b c\""), "u{\"a\": \"b c\"}");
    renders(c, CALL("\"{\\\"a\\\":[{\\\"b\\\":1\""), "u{\"a\": [{\"b\": 1}]}");
    chat_free(c);
}

static void test_arguments_as_text(void **state)
{
    (void)state;
    struct chat *c = chat("{% for m in messages %}{{ m.content or '' }}{% for t in m.tool_calls or "
                          "[] %}{{ '#' + t.function.arguments }}{% endfor %}{% endfor %}");
    renders(c, CALL("\"{\\\"a\\\": 1}\""), "u#{\"a\": 1}");
    renders(c, CALL("{\"a\": 1}"), "u#{\"a\":1}");
    chat_free(c);
}

static void test_refusing_is_not_broken(void **state)
{
    (void)state;
    struct chat *c = chat("{% if messages | length > 1 %}{{ raise_exception('one at a time') }}"
                          "{% endif %}{{ messages[0].content }}");
    refuses(c,
            "{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}, {\"role\": \"user\", "
            "\"content\": \"b\"}]}",
            ERR_INVALID, "");
    assert_non_null(strstr(err.text, "one at a time"));
    chat_free(c);
}

static void test_broken_is_found_at_load(void **state)
{
    (void)state;
    broken("\n{% if x %}", "line 2");
    broken("{{ messages | nope }}", "no filter named 'nope'");
    broken("{{ nope.nope }}", "'nope' is undefined");
    broken("hello", "leaves out");
    broken("{{ raise_exception('never') }}", "never");
}

static void test_fallbacks(void **state)
{
    (void)state;
    static const char REQUEST[] =
        "{\"messages\": [{\"role\": \"system\", \"content\": \"S\"}, {\"role\": \"user\", "
        "\"content\": \"U\"}], \"add_generation_prompt\": true}";
    struct chat *c = chat("");
    assert_true(chat_template_is_fallback(c));
    renders(c, REQUEST, "<s>S\n\nUser: U\nAssistant:");
    chat_free(c);
    assert_int_equal(chat_new(STR(" \n"), STR(""), STR("<|im_end|>"), &c, &err), 0);
    renders(c, REQUEST,
            "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nU<|im_end|>\n"
            "<|im_start|>assistant\n");
    chat_free(c);
}

#define CONTINUED(content)                                                                         \
    "{\"messages\": [{\"role\": \"user\", \"content\": \"hi\"}, {\"role\": \"assistant\", "        \
    "\"content\": " content                                                                        \
    "}], \"continue_final_message\": true, \"add_generation_prompt\": true}"

static void test_a_message_that_goes_on(void **state)
{
    (void)state;
    struct chat *c =
        chat("{% for m in messages %}<{{ m.role }}>{{ m.content | trim }}<end>{% endfor %}"
             "{% if add_generation_prompt %}<a>{% endif %}"
             "{{ continue_final_message }}");
    renders(c, CONTINUED("\"It is (\""), "<user>hi<end><assistant>It is (");
    renders(c, CONTINUED("\"\""), "<user>hi<end><assistant>");
    renders(c, CONTINUED("[{\"type\": \"text\", \"text\": \"a \"}]"), "<user>hi<end><assistant>a ");
    /* the mark itself, as a client may know it */
    renders(c, CONTINUED("\"~hearth~end~of~the~final~message~ and\""),
            "<user>hi<end><assistant>~hearth~end~of~the~final~message~ and");
    refuses(c,
            "{\"messages\": [{\"role\": \"user\", \"content\": \"hi\"}], "
            "\"continue_final_message\": true}",
            ERR_INVALID, "messages");
    chat_free(c);
    c = chat(
        "{% for m in messages %}{% if m.role == 'user' %}{{ m.content }}{% endif %}{% endfor %}");
    refuses(c, CONTINUED("\"x\""), ERR_UNSUPPORTED, "messages");
    chat_free(c);
    c = chat(
        "{% for m in messages %}[{% for p in m.content %}{{ p.text }}|{% endfor %}]{% endfor %}");
    renders(c, CONTINUED("\"x\""), "[hi|][x");
    chat_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plain),
        cmocka_unit_test(test_system_is_folded),
        cmocka_unit_test(test_parts_only),
        cmocka_unit_test(test_arguments_as_object),
        cmocka_unit_test(test_arguments_as_text),
        cmocka_unit_test(test_refusing_is_not_broken),
        cmocka_unit_test(test_broken_is_found_at_load),
        cmocka_unit_test(test_fallbacks),
        cmocka_unit_test(test_a_message_that_goes_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
