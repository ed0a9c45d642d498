/*
 * test_answer_parser: what models of each dialect write, split into content, thoughts and calls,
 * the same however the text is cut. Formats are those of the models' own documentation.
 */
#include "base/mem.h"
#include "text/answer_parser.h"
#include "text/json_mend.h"
#include "text/tool_param.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#define TOOLS                                                                                      \
    "[{\"type\":\"function\",\"function\":{\"name\":\"get\",\"parameters\":{\"type\":\"object\","  \
    "\"properties\":{\"city\":{\"type\":\"string\"},\"n\":{\"type\":\"integer\"}}}}},"             \
    "{\"type\":\"function\",\"function\":{\"name\":\"put.it\",\"parameters\":{\"type\":"           \
    "\"object\","                                                                                  \
    "\"properties\":{}}}}]"

struct said {
    struct buf out; /* "c:text", "r:text", "t:name(" and arguments: one kind after the other */
    char kind;
};

static void on_text(void *ctx, enum answer_channel channel, struct str text)
{
    static const char kinds[] = {'c', 'r', 't'};
    struct said *s = ctx;
    if (s->kind != kinds[channel]) {
        if (channel == ANSWER_CALL) /* one begins first */
            buf_add_z(&s->out, "|STRAY");
        buf_printf(&s->out, "|%c:", kinds[channel]);
    }
    s->kind = kinds[channel];
    buf_add_str(&s->out, text);
}

static void on_call(void *ctx, struct str name)
{
    struct said *s = ctx;
    s->kind = 't';
    buf_printf(&s->out, "|t:%.*s ", STR_ARG(name));
}

static bool must_call, is_cut; /* of the next parser */

static char *parse(const struct dialect *d, const json_t *tools, bool in_thought, struct str text,
                   size_t cut, bool bytes)
{
    struct said said = {0};
    const struct answer_options o = {
        .dialect = d, .tools = tools, .in_thought = in_thought, .must_call = must_call};
    buf_init(&said.out, 1 << 20);
    struct answer_parser *p = answer_parser_new(&o, &(struct answer_sink){&said, on_text, on_call});
    if (bytes) {
        for (size_t i = 0; i < text.len; i++)
            answer_parser_push(p, str_sub(text, i, 1));
    } else {
        answer_parser_push(p, str_sub(text, 0, cut));
        answer_parser_push(p, str_from(text, cut));
    }
    assert_true(answer_parser_held(p) <= text.len);
    answer_parser_finish(p, is_cut);
    assert_int_equal(answer_parser_held(p), 0);
    answer_parser_free(p);
    return buf_steal(&said.out);
}

/* The same at once, byte by byte, and in two pieces cut anywhere. */
static void check_with(const json_t *tools, const char *source, bool in_thought, const char *text,
                       const char *want)
{
    struct dialect d;
    if (!dialect_of_template(str_z(source), &d))
        dialect_fallback(&d);
    for (size_t cut = 0; cut <= strlen(text) + 1; cut++) {
        char *got = parse(&d, tools, in_thought, str_z(text), cut, cut > strlen(text));
        if (strcmp(got, want) != 0)
            fail_msg("%s, cut at %zu:\n  %s\ngives\n  %s\nnot\n  %s", d.name, cut, text, got, want);
        free(got);
    }
}

static void check(const char *source, bool in_thought, const char *text, const char *want)
{
    json_t *tools = json_parse(STR(TOOLS), 16, NULL);
    check_with(tools, source, in_thought, text, want);
    json_decref(tools);
}

#define HERMES  "<tool_call></think>"
#define DSV3_1  "<｜tool▁call▁begin｜></think>"
#define DSR1    DSV3_1 "```json"
#define MISTRAL "[TOOL_CALLS][ARGS][/THINK]"
#define NEMO    "[TOOL_CALLS]"
#define LLAMA   "<|python_tag|>"
#define HARMONY "<|channel|><|message|>"
#define COMMAND "<|START_ACTION|><|START_THINKING|>"
#define GRANITE "<|tool_call|></think>"
#define CODER   "<tool_call><function=<parameter="
#define GLM     "<tool_call><arg_key><arg_value></think>"
#define ARGS    "{\"city\":\"Bonn\",\"n\":2}"

static void test_hermes(void **state)
{
    (void)state;
    check(HERMES, false, "Hello <b>there</b>\n", "|c:Hello <b>there</b>\n");
    check(HERMES, false,
          "<tool_call>\n{\"name\": \"get\", \"arguments\": {\"city\": \"Bonn\", \"n\": "
          "2}}\n</tool_call>",
          "|t:get " ARGS);
    check(HERMES, false,
          "<think>\nHm, {\"a\"}.\n</think>\n\nI look.\n<tool_call>\n{\"arguments\": {\"city\": "
          "\"Bonn\", "
          "\"n\": 2}, \"name\": "
          "\"get\"}\n</tool_call>\n<tool_call>\n{\"name\":\"put.it\"}</tool_call>\n",
          "|r:Hm, {\"a\"}.|c:I look.|t:get " ARGS "|t:put.it {}");
    check(HERMES, true, "so\n</think>\n\nyes", "|r:so|c:yes");
    check(HERMES, true, "never ends", "|r:never ends");
    check(HERMES, false, "<think></think>yes", "|c:yes");
    check(HERMES, false, "a <think> in the middle", "|c:a <think> in the middle");
    check(HERMES, false, "<tool_call>\nnothing\n</tool_call> more",
          "|c:<tool_call>\nnothing\n</tool_call> more");
    check(HERMES, false, "<tool_call>{\"city\": \"Bonn\"}</tool_call>",
          "|c:<tool_call>{\"city\": \"Bonn\"}</tool_call>");
    check(HERMES, false, "<tool_call", "|c:<tool_call");
    check(HERMES, false, "<tool_call>{\"name\": \"get\"}</tool_call>\n<tool_", "|t:get {}");
    check(HERMES, false, "<tool_call>{\"name\": \"get\"}</tool_call>\n<tool_call>", "|t:get {}");
    check(HERMES, false, "<tool_call>{\"name\": \"get\"}</tool_call>\n<tool_call>\n{\"na",
          "|t:get {}");
    check(HERMES, false, "<tool_call>{\"name\": \"get\"}</tool_call>\n<tool_call>\nno",
          "|t:get {}");
    check(HERMES, false, "x < y <to", "|c:x < y <to");
    /* mended: Python's quotes and words, a trailing comma, an end that comes too early */
    check(HERMES, false, "<tool_call>{'name': 'get', 'arguments': {'city': 'Bonn', 'n': True,}}",
          "|t:get {\"city\":\"Bonn\",\"n\":true}");
    check(HERMES, false, "<tool_call>{\"name\": \"get\", \"arguments\": {\"city\": \"Bo",
          "|t:get {\"city\":\"Bo\"}");
    check(HERMES, false,
          "<tool_call>{\"name\": \"get\", \"arguments\": \"{\\\"city\\\": \\\"\\u00fc\\\"}\"}",
          "|t:get {\"city\":\"\xc3\xbc\"}");
    check(HERMES, false,
          "<tool_call>{\"name\": \"get\", \"arguments\": "
          "\"{\\\"city\\\": \\\"\\ud83d\\ude00\\\"}\"}",
          "|t:get {\"city\":\"\xf0\x9f\x98\x80\"}");
    check(HERMES, false,
          "<tool_call>{\"type\": \"function\", \"function\": {\"name\": \"get\", "
          "\"arguments\": {\"n\": 1}}}</tool_call>",
          "|t:get {\"n\":1}");
    check(HERMES, false,
          "<tool_call>[{\"name\": \"get\", \"arguments\": {}}, {\"name\": \"put.it\", "
          "\"arguments\": null}]</tool_call>",
          "|t:get {}|t:put.it {}");
}

static void test_mistral(void **state)
{
    (void)state;
    check(MISTRAL, false,
          "[TOOL_CALLS]get[ARGS]{\"city\": \"Bonn\", \"n\": 2}[TOOL_CALLS]put.it[ARGS]{}",
          "|t:get " ARGS "|t:put.it {}");
    check(MISTRAL, false, "[TOOL_CALLS]get[CALL_ID]abcdefghi[ARGS]{\"n\": 2}", "|t:get {\"n\":2}");
    check(MISTRAL, false, "[THINK]well[/THINK]Bonn it is", "|r:well|c:Bonn it is");
    check(MISTRAL, false, "[TOOL_CALLS][{\"name\": \"get\", \"arguments\": {\"n\": 2}}]",
          "|t:get {\"n\":2}");
    check(NEMO, false,
          "[TOOL_CALLS][{\"name\": \"get\", \"arguments\": {\"city\": \"Bonn\", \"n\": 2}, "
          "\"id\": \"abcdefghi\"}, {\"name\": \"put.it\", \"arguments\": {}}]",
          "|t:get " ARGS "|t:put.it {}");
    check(NEMO, false, "[TOOL_CALLS]get{\"n\": 2}", "|t:get {\"n\":2}");
    check(NEMO, false, "a list: [TOOL", "|c:a list: [TOOL");
    check(MISTRAL, false, "[TOOL_CALLS]get[ARGS]{\"n\": 2}[TOOL_CALLS]pu", "|t:get {\"n\":2}");
}

static void test_deepseek(void **state)
{
    (void)state;
    check(
        DSR1, true,
        "I "
        "see.\n</"
        "think>\n\n<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>get\n```json\n"
        "{\"city\": \"Bonn\", \"n\": "
        "2}\n```<｜tool▁call▁end｜>\n<｜tool▁call▁begin｜>function<｜tool▁sep｜>put.it\n"
        "```json\n{}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
        "|r:I see.|t:get " ARGS "|t:put.it {}");
    check(DSV3_1, false,
          "Let me see.<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>get<｜tool▁sep｜>{\"city\": "
          "\"Bonn\", "
          "\"n\": "
          "2}<｜tool▁call▁end｜><｜tool▁call▁begin｜>put.it<｜tool▁sep｜>{}<｜tool▁call▁end｜><"
          "｜tool▁calls▁end｜>",
          "|c:Let me see.|t:get " ARGS "|t:put.it {}");
}

static void test_llama(void **state)
{
    (void)state;
    check(LLAMA, false, "{\"name\": \"get\", \"parameters\": {\"city\": \"Bonn\", \"n\": 2}}",
          "|t:get " ARGS);
    check(LLAMA, false,
          "<|python_tag|>{\"type\": \"function\", \"name\": \"get\", \"parameters\": {\"n\": 2}}",
          "|t:get {\"n\":2}");
    check(LLAMA, false,
          "{\"name\": \"get\", \"parameters\": {}}; {\"name\": \"put.it\", \"parameters\": {\"a\": "
          "[1, 2]}}",
          "|t:get {}|t:put.it {\"a\":[1,2]}");
    check(LLAMA, false, "<|python_tag|>get.call(city=\"Bonn\", n=2)", "|t:get " ARGS);
    /* JSON that is an answer */
    check(LLAMA, false, "{\"name\": \"Ann\", \"age\": 3}", "|c:{\"name\": \"Ann\", \"age\": 3}");
    check(LLAMA, false, "{\"a\": 1}", "|c:{\"a\": 1}");
    check(LLAMA, false, "Look: {\"name\": \"get\", \"parameters\": {}}",
          "|c:Look: {\"name\": \"get\", \"parameters\": {}}");
}

static void test_harmony(void **state)
{
    (void)state;
    check(HARMONY, false,
          "<|channel|>analysis<|message|>They want "
          "Bonn.<|end|><|start|>assistant<|channel|>final<|message|>Sunny.",
          "|r:They want Bonn.|c:Sunny.");
    check(HARMONY, false,
          "<|channel|>analysis<|message|>Call.<|end|><|start|>assistant<|channel|>commentary "
          "to=functions.get "
          "<|constrain|>json<|message|>{\"city\": \"Bonn\", \"n\": 2}<|call|>",
          "|r:Call.|t:get " ARGS);
    check(HARMONY, false,
          "<|start|>assistant to=functions.put.it<|channel|>commentary json<|message|>{}",
          "|t:put.it {}");
    check(HARMONY, false,
          "<|channel|>commentary<|message|>I will "
          "look.<|end|><|start|>assistant<|channel|>commentary "
          "to=functions.get<|message|>{\"n\": 2",
          "|c:I will look.|t:get {\"n\":2}");
    check(HARMONY, false, "Just text < here", "|c:Just text < here");
}

static void test_command_r_and_granite(void **state)
{
    (void)state;
    check(COMMAND, false,
          "<|START_THINKING|>I will look.<|END_THINKING|><|START_ACTION|>[\n    {\"tool_call_id\": "
          "\"0\", "
          "\"tool_name\": \"get\", \"parameters\": {\"city\": \"Bonn\", \"n\": 2}},\n    "
          "{\"tool_call_id\": \"1\", "
          "\"tool_name\": \"put.it\", \"parameters\": {}}\n]<|END_ACTION|>",
          "|r:I will look.|t:get " ARGS "|t:put.it {}");
    check(COMMAND, false, "<|START_RESPONSE|>Sunny.<|END_RESPONSE|>", "|c:Sunny.");
    check(GRANITE, false,
          "<|tool_call|>[{\"name\": \"get\", \"arguments\": {\"city\": \"Bonn\", \"n\": 2}}]",
          "|t:get " ARGS);
    check(GRANITE, false, "<think>Hm.</think><response>Sunny.</response>", "|r:Hm.|c:Sunny.");
}

static void test_tags(void **state)
{
    (void)state;
    check(CODER, false,
          "I "
          "look.\n<tool_call>\n<function=get>\n<parameter=city>\nBonn\n</"
          "parameter>\n<parameter=n>\n2\n"
          "</parameter>\n</function>\n</tool_call>\n<tool_call>\n<function=put.it>\n</function>\n</"
          "tool_call>",
          "|c:I look.|t:get " ARGS "|t:put.it {}");
    check(CODER, false, "<function=get>\n<parameter=city>\na\n<b>\n</parameter>\n</function>",
          "|t:get {\"city\":\"a\\n<b>\"}");
    check(CODER, false, "<tool_call>\n<fun", "|c:<tool_call>\n<fun");
    check(CODER, false, "<tool_call>\n<function=get>\n<parameter=city>\n12",
          "|t:get {\"city\":\"12\"}");
    check(CODER, false,
          "<tool_call>\n<function=get>\n</function>\n</tool_call>\n<tool_call>\n<function=pu",
          "|t:get {}");
    check(CODER, false, "<tool_call>\n{\"name\": \"get\", \"arguments\": {\"n\": 2}}\n</tool_call>",
          "|t:get {\"n\":2}");
    check(
        GLM, false,
        "<think>Hm</think>\n<tool_call>get\n<arg_key>city</arg_key>\n<arg_value>Bonn</arg_value>\n"
        "<arg_key>n</arg_key>\n<arg_value>2</arg_value>\n</tool_call>\n<tool_call>put.it\n</"
        "tool_call>",
        "|r:Hm|t:get " ARGS "|t:put.it {}");
}

static void test_others(void **state)
{
    (void)state;
    check("<|tool_list_start|>", false,
          "<|tool_call_start|>[get(city='Bonn', n=2), put.it()]<|tool_call_end|>Looking.",
          "|t:get " ARGS "|t:put.it {}|c:Looking.");
    check("<|tool_list_start|>", false, "<|tool_call_start|>[get(n=2), pu", "|t:get {\"n\":2}");
    check("tool_code", false, "```tool_code\nprint(get(city=\"Bonn\", n=2))\n```", "|t:get " ARGS);
    check("tool_code", false, "```tool_code\nx = 1\n```", "|c:```tool_code\nx = 1\n```");
    check("<start_function_call>", false,
          "<start_function_call>call:get{city:<escape>Bonn<escape>,n:2}<end_function_call>",
          "|t:get " ARGS);
    check("<|tool_call>call:<|channel>thought", false,
          "<|channel>thought\nHm<channel|><|tool_call>call:get{city:<|\"|>a "
          "\"b\"<|\"|>,n:2}<tool_call|>",
          "|r:Hm|t:get {\"city\":\"a \\\"b\\\"\",\"n\":2}");
    check("<|tool_call_begin|><|tool_call_argument_begin|>", false,
          "<|tool_calls_section_begin|><|tool_call_begin|>functions.get:0<|tool_call_argument_"
          "begin|>{\"n\": 2}"
          "<|tool_call_end|><|tool_calls_section_end|>",
          "|t:get {\"n\":2}");
    check("<TOOLCALL>", false,
          "<TOOLCALL>[{\"name\": \"get\", \"arguments\": {\"n\": 2}}]</TOOLCALL>",
          "|t:get {\"n\":2}");
    check("<function=</function>", false,
          "<function=get>{\"n\": 2}</function><function=put.it>{}</function>",
          "|t:get {\"n\":2}|t:put.it {}");
    check(">>>all", false, "all\nI look.>>>get\n{\"n\": 2}", "|c:I look.|t:get {\"n\":2}");
}

static void check_named(const char *name, const char *source, const char *text, const char *want)
{
    json_t *tools = json_pack("[{s:s, s:{s:s}}]", "type", "function", "function", "name", name);
    assert_non_null(tools);
    check_with(tools, source, false, text, want);
    json_decref(tools);
}

/* Names that look like what models write around them. */
static void test_odd_names(void **state)
{
    static const char kimi[] = "<|tool_call_begin|><|tool_call_argument_begin|>";
    static const char function_gemma[] = "<start_function_call>";
    (void)state;
    check_named("print", "tool_code", "```tool_code\nprint(x=1)\n```", "|t:print {\"x\":1}");
    check_named("default_api.x", "tool_code", "```tool_code\ndefault_api.x(n=1)\n```",
                "|t:default_api.x {\"n\":1}");
    check_named("default_api.x", "tool_code", "```tool_code\ndefault_api.default_api.x()\n```",
                "|t:default_api.x {}");
    check_named("x", "tool_code", "```tool_code\nprint(default_api.x())\n```", "|t:x {}");
    check_named("x.call", "<|tool_list_start|>", "<|tool_call_start|>[x.call()]<|tool_call_end|>",
                "|t:x.call {}");
    check_named("x.call", LLAMA, "<|python_tag|>x.call.call(n=1)", "|t:x.call {\"n\":1}");
    check_named("srv:2", MISTRAL, "[TOOL_CALLS]srv:2[ARGS]{}", "|t:srv:2 {}");
    check_named("functions.x", MISTRAL, "[TOOL_CALLS]functions.x[CALL_ID]abcdefghi[ARGS]{}",
                "|t:functions.x {}");
    check_named("functions.x", DSV3_1, "<｜tool▁call▁begin｜>functions.x<｜tool▁sep｜>{}",
                "|t:functions.x {}");
    check_named("call:x", DSR1,
                "<｜tool▁call▁begin｜>function<｜tool▁sep｜>call:x\n```json\n{}\n```",
                "|t:call:x {}");
    check_named("srv:2", kimi, "<|tool_call_begin|>functions.srv:2:0<|tool_call_argument_begin|>{}",
                "|t:srv:2 {}");
    check_named("srv:2", kimi,
                "<|tool_call_begin|>functions.srv:2:11<|tool_call_argument_begin|>{}",
                "|t:srv:2 {}");
    check_named("srv", kimi, "<|tool_call_begin|>functions.srv:2<|tool_call_argument_begin|>{}",
                "|t:srv {}");
    check_named("functions.x", kimi,
                "<|tool_call_begin|>functions.functions.x:0<|tool_call_argument_begin|>{}",
                "|t:functions.x {}");
    check_named("call:x", function_gemma, "<start_function_call>call:call:x{}<end_function_call>",
                "|t:call:x {}");
    check_named("x", function_gemma, "<start_function_call>call:x{}<end_function_call>", "|t:x {}");
    check_named("srv:2", "<function=</function>", "<function=srv:2>{}</function>", "|t:srv:2 {}");
}

/* The marker of a call behind a text that ends as it begins. */
static void test_lines(void **state)
{
    (void)state;
    check(">>>all", false, "all\na>>>>get\n{\"n\": 2}", "|c:a>|t:get {\"n\":2}");
    check(">>>all", false, "all\na \n>>>>get\n{}", "|c:a \n>|t:get {}");
    check(">>>all", false, "all\n>>>>>get\n{}", "|c:>>|t:get {}");
    check(">>>all", false, "all\na >>>>nope\n", "|c:a >>>>nope\n");
    check(">>>all", false, "all\na >>>>", "|c:a >>>>");
    check(">>>all", false, "all\na>>>all\nb", "|c:ab");
    check(">>>all", false, ">get\n{}", "|c:>get\n{}");
}

/* A call that is demanded, and cut off before it has a name, was no content; text still is. */
static void test_a_demanded_call_that_is_cut(void **state)
{
    (void)state;
    must_call = true;
    check(HERMES, false, "<tool_call>\n{\"name\": \"g", "");
    check(HERMES, false, "<tool_call>\n", "");
    check(HERMES, false, "<tool", "");
    check(HERMES, false, "<tool_call>\n{\"name\": \"get\", \"arg", "|t:get {}");
    check(HERMES, false, "I look. <tool", "|c:I look.");
    check(MISTRAL, false, "[TOOL_CALLS]ge", "");
    check(CODER, false, "<tool_call>\n<function=ge", "");
    check(CODER, false, "<tool_call>\n<fun", "");
    check(GLM, false, "<tool_call>ge", "");
    check("<|tool_list_start|>", false, "<|tool_call_start|>[ge", "");
    check(">>>all", false, "ge", "");
    check(HARMONY, false, "<|channel|>commentary to=functions.ge", "");
    must_call = false;
}

/* Arguments that a length limit cut off stay as they are: no JSON that somebody takes for all. */
static void test_arguments_that_are_cut(void **state)
{
    (void)state;
    is_cut = must_call = true;
    check(HERMES, false, "<tool_call>\n{\"name\": \"get\", \"arguments\": {\"city\": \"Bo",
          "|t:get {\"city\":\"Bo");
    check(HERMES, false, "<tool_call>\n{\"name\": \"get\", \"arguments\": {\"n\": 12",
          "|t:get {\"n\":");
    check(HERMES, false, "<tool_call>\n{\"name\": \"get\", \"arg", "|t:get ");
    check(HERMES, false, "<tool_call>\n{\"name\": \"get\", \"arguments\": {\"n\": 2}",
          "|t:get {\"n\":2}");
    check(MISTRAL, false, "[TOOL_CALLS]get[ARGS]{\"n\": 2}[TOOL_CALLS]get[ARGS]{\"n\"",
          "|t:get {\"n\":2}|t:get {\"n\"");
    check(CODER, false, "<tool_call>\n<function=get>\n<parameter=city>\nBo", "|t:get ");
    check(CODER, false, "<tool_call>\n<function=get>\n<parameter=city>\nBonn\n</parameter>\n<param",
          "|t:get {\"city\":\"Bonn\"");
    check(GLM, false, "<tool_call>get\n<arg_key>n</arg_key>\n<arg_value>1", "|t:get ");
    check("<|tool_list_start|>", false, "<|tool_call_start|>[get(city='Bo",
          "|t:get {\"city\":\"Bo");
    check("<start_function_call>", false, "<start_function_call>call:get", "");
    check("<start_function_call>", false, "<start_function_call>call:get{city:<escape>Bo",
          "|t:get {\"city\":\"Bo");
    check(">>>all", false, "get\n{\"n\": ", "|t:get {\"n\":");
    check(HARMONY, false, "<|channel|>commentary to=functions.get<|message|>{\"city\": \"B",
          "|t:get {\"city\":\"B");
    is_cut = must_call = false;
}

/* Values in tags: texts as they are, the rest as JSON, as the schema says. */
static void test_kinds_of_parameters(void **state)
{
    static const struct {
        const char *parameters;
        enum tool_param kind;
    } cases[] = {
        {"{\"properties\":{\"a\":{\"type\":\"string\"}}}", TOOL_PARAM_TEXT},
        {"{\"properties\":{\"a\":{\"type\":[\"string\",\"null\"]}}}", TOOL_PARAM_TEXT_OR_NULL},
        {"{\"properties\":{\"a\":{\"enum\":[\"x\",\"y\"]}}}", TOOL_PARAM_TEXT},
        {"{\"properties\":{\"a\":{\"enum\":[\"x\",1]}}}", TOOL_PARAM_JSON},
        {"{\"properties\":{\"a\":{\"const\":null}}}", TOOL_PARAM_JSON},
        /* a text that is given and reads as null */
        {"{\"properties\":{\"a\":{\"enum\":[\"None\",\"low\",null]}}}", TOOL_PARAM_JSON},
        {"{\"properties\":{\"a\":{\"enum\":[\" null\\n\",null]}}}", TOOL_PARAM_JSON},
        {"{\"properties\":{\"a\":{\"enum\":[\"low\",null]}}}", TOOL_PARAM_TEXT_OR_NULL},
        {"{\"properties\":{\"a\":{\"type\":[\"string\",\"null\"],\"enum\":[\"None\",\"low\"]}}}",
         TOOL_PARAM_TEXT},
        {"{\"properties\":{\"a\":{\"type\":[\"string\",\"null\"],\"const\":\"null\"}}}",
         TOOL_PARAM_TEXT},
        {"{\"properties\":{\"a\":{\"type\":\"string\",\"enum\":[\"None\",\"low\",null]}}}",
         TOOL_PARAM_TEXT},
        {"{\"properties\":{\"a\":{\"anyOf\":[{\"enum\":[\"None\"]},{\"type\":\"null\"}]}}}",
         TOOL_PARAM_JSON},
        {"{\"properties\":{\"a\":{\"type\":[\"string\",\"null\"],\"not\":{\"const\":null}}}}",
         TOOL_PARAM_JSON},
        {"{\"properties\":{\"a\":{\"anyOf\":[{\"type\":\"string\"},{\"type\":\"null\"}]}}}",
         TOOL_PARAM_TEXT_OR_NULL},
        {"{\"properties\":{\"a\":{\"anyOf\":[{\"type\":\"string\"},{\"type\":\"integer\"}]}}}",
         TOOL_PARAM_JSON},
        {"{\"properties\":{\"a\":{\"$ref\":\"#/$defs/"
         "t\"}},\"$defs\":{\"t\":{\"type\":\"string\"}}}",
         TOOL_PARAM_TEXT},
        {"{\"properties\":{\"a\":{\"$ref\":\"#/$defs/t\"}},\"$defs\":{\"t\":{\"$ref\":"
         "\"#/$defs/t\"}}}",
         TOOL_PARAM_JSON},
        {"{\"additionalProperties\":{\"type\":\"string\"}}", TOOL_PARAM_TEXT},
        {"{\"additionalProperties\":true}", TOOL_PARAM_JSON},
        {"{}", TOOL_PARAM_JSON},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        json_t *parameters = json_parse(str_z(cases[i].parameters), 16, NULL);
        assert_non_null(parameters);
        if (tool_param_kind(parameters, STR("a")) != cases[i].kind)
            fail_msg("%s", cases[i].parameters);
        json_decref(parameters);
    }
    /* a number of any size is one; a text that looks like one stays a text */
    check(CODER, false,
          "<tool_call>\n<function=get>\n<parameter=n>\n123456789012345678901234567890\n"
          "</parameter>\n<parameter=city>\n12\n</parameter>\n<parameter=x>\n{\"a\" : [1e999]}\n"
          "</parameter>\n</function>\n</tool_call>",
          "|t:get {\"n\":123456789012345678901234567890,\"city\":\"12\",\"x\":{\"a\":[1e999]}}");
}

/* An answer in JSON is no call because somewhere in it is a tool's name. */
static void test_json_that_is_no_call(void **state)
{
    (void)state;
    check(LLAMA, false, "{\"city\": \"Bonn\", \"name\": \"get\"}",
          "|c:{\"city\": \"Bonn\", \"name\": \"get\"}");
    check(LLAMA, false, "{\"type\": \"function\", \"name\": \"get\", \"parameters\": {\"n\": 1}}",
          "|t:get {\"n\":1}");
    /* what the grammar lets pass as text, as nobody checks its arguments */
    static const char *const odd[] = {"{'name': 'get', 'parameters': {\"n\": \"x\"}}",
                                      "{name: \"get\", \"parameters\": {}}",
                                      "{{\"name\": \"get\", \"parameters\": {}}}",
                                      "{ \n[\"name\": \"get\"}",
                                      "{,\"name\": \"get\"}",
                                      "{;:\"name\": \"get\"}",
                                      "{\v\"name\": \"get\"}",
                                      "{]\"name\": \"get\"}"};
    for (size_t i = 0; i < ARRAY_LEN(odd); i++) {
        char want[80] = "|c:";
        check(LLAMA, false, odd[i], strcat(want, odd[i]));
    }
    check(LLAMA, false, " {\t\r\n \"name\": \"get\", 'parameters': {'n': 1}}", "|t:get {\"n\":1}");
    check(LLAMA, false, "<|python_tag|>{'name': 'get', 'parameters': {'n': 1}}",
          "|t:get {\"n\":1}");
}

/* It would be cut to the name of a tool that was not called. */
static void test_a_name_with_a_nul(void **state)
{
    (void)state;
    static const char text[] = "<tool_call>\n{\"name\": \"get\\u0000x\", \"arguments\": {}}\n"
                               "</tool_call>";
    char want[sizeof(text) + 3] = "|c:";
    check(HERMES, false, text, strcat(want, text));
}

/* Without tools the markers of calls are text; thoughts are still thoughts. */
static void test_without_tools(void **state)
{
    (void)state;
    struct dialect d;
    assert_true(dialect_of_template(STR(HERMES), &d));
    char *got = parse(&d, NULL, false, STR("<think>x</think><tool_call>{}</tool_call>"), 7, false);
    assert_string_equal(got, "|r:x|c:<tool_call>{}</tool_call>");
    free(got);
}

static void test_a_dialect_from_a_rendering(void **state)
{
    (void)state;
    struct dialect d = {0};
    char *store[2] = {NULL, NULL};
    assert_true(dialect_of_rendering(
        STR("<call>{\"name\": \"q7\", \"arguments\": {\"a7\": 1}}</call><|im_end|>"), STR("q7"),
        STR("a7"), &d, store));
    assert_string_equal(d.open[0], "<call>");
    assert_int_equal(d.body, DIALECT_JSON);
    free(store[0]);
    free(store[1]);
    d = (struct dialect){0};
    assert_true(
        dialect_of_rendering(STR("@call q7 {\"a7\": 1}@end"), STR("q7"), STR("a7"), &d, store));
    assert_string_equal(d.open[0], "@call");
    assert_string_equal(d.close, "@end");
    assert_int_equal(d.body, DIALECT_NAMED);
    free(store[0]);
    free(store[1]);
    assert_false(dialect_of_rendering(STR("nothing"), STR("q7"), STR("a7"), &d, store));
}

static char *mend(const char *text)
{
    struct json_mend m;
    struct buf out;
    json_mend_init(&m);
    buf_init(&out, 1 << 20);
    for (const char *p = text; *p && json_mend_push(&m, *p, &out); p++)
        ;
    json_mend_finish(&m, &out);
    json_mend_release(&m);
    return buf_steal(&out);
}

static void test_mending(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"", "{}"},
        {"{\"a\": [1, 2.5, -3e2], \"b\": {\"c\": null}}",
         "{\"a\":[1,2.5,-3e2],\"b\":{\"c\":null}}"},
        {"{a: 1, 'b': \"x\", c = [True, False, None,],}",
         "{\"a\":1,\"b\":\"x\",\"c\":[true,false,null]}"},
        {"{\"a\": 'it\\'s', \"b\": 'say \"x\"'}", "{\"a\":\"it's\",\"b\":\"say \\\"x\\\"\"}"},
        {"{\"a\": \"l1\nl2\t\", \"b\" 2 \"c\": 3}",
         "{\"a\":\"l1\\nl2\\t\",\"b\":\"2 \\\"c\\\": 3\"}"},
        {"{\"a\": +1, \"b\": .5, \"c\": 5., \"d\": 007, \"e\": 1x}",
         "{\"a\":1,\"b\":0.5,\"c\":5.0,\"d\":7,\"e\":\"1x\"}"},
        {"{\"a\": [1, {\"b\": 2]}", "{\"a\":[1,{\"b\":2}]}"},
        {"{\"a\": \"\\q \\u00e9 \\x41 \\ud83d\\ude00 \\ud83d\"}",
         "{\"a\":\"\\\\q \\u00e9 \\u0041 \\ud83d\\ude00 \\ufffd\"}"},
        {"{\"a\": ", "{\"a\":null}"},
        {"{\"a", "{\"a\":null}"},
        {"{\"a\": \"x\\", "{\"a\":\"x\"}"},
        {"{\"a\": tru", "{\"a\":\"tru\"}"},
        {"{\"a\": 1} tail", "{\"a\":1}"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char *got = mend(cases[i][0]);
        assert_string_equal(got, cases[i][1]);
        free(got);
    }
}

/* Whatever comes in is JSON afterwards. */
static void test_mending_anything(void **state)
{
    (void)state;
    static const char alphabet[] = "{}[]\"'\\,:=u0dae1.-+tn \n\x01\xc3";
    uint32_t seed = 7;
    for (int round = 0; round < 20000; round++) {
        char text[64];
        size_t n = 0;
        do {
            seed = seed * 1664525u + 1013904223u;
            text[n] = alphabet[(seed >> 16) % (sizeof alphabet - 2)]; /* but the half character */
        } while (++n < 12 + (size_t)round % 40);
        text[n] = '\0';
        char *got = mend(text);
        json_error_t e;
        json_t *value = json_loads(got, JSON_DECODE_ANY | JSON_ALLOW_NUL, &e);
        if (value == NULL)
            fail_msg("%s\ngives\n%s\n%s", text, got, e.text);
        json_decref(value);
        free(got);
    }
}

/* Pieces of all markers in random order: the same bytes however cut, and nothing stays behind. */
static void test_any_text_at_any_cut(void **state)
{
    (void)state;
    static const char *const sources[] = {HERMES,      DSR1,     MISTRAL,
                                          LLAMA,       HARMONY,  COMMAND,
                                          CODER,       GLM,      "<|tool_list_start|>",
                                          "tool_code", ">>>all", "<start_function_call>"};
    static const char *const parts[] = {"<tool_call>",
                                        "</tool_call>",
                                        "{\"name\": \"get\", ",
                                        "\"arguments\": {",
                                        "}",
                                        "}}",
                                        "get",
                                        "(",
                                        ")",
                                        "<think>",
                                        "</think>",
                                        "[TOOL_CALLS]",
                                        "[ARGS]",
                                        "<|channel|>",
                                        "<|message|>",
                                        "<|end|>",
                                        "\n",
                                        " ",
                                        "<function=",
                                        "get>",
                                        "<parameter=",
                                        "city>",
                                        "</parameter>",
                                        "</function>",
                                        "<arg_key>",
                                        "</arg_key>",
                                        "<arg_value>",
                                        "</arg_value>",
                                        "text",
                                        "\"",
                                        "[",
                                        "]",
                                        "```",
                                        "```tool_code",
                                        ">>>",
                                        "all\n",
                                        "to=functions.get",
                                        "<start_function_call>",
                                        "call:get{",
                                        "<escape>",
                                        "<|tool_call_start|>",
                                        "<|python_tag|>",
                                        "<",
                                        "|"};
    json_t *tools = json_parse(STR(TOOLS), 16, NULL);
    uint32_t seed = 1;
    for (int round = 0; round < 3000; round++) {
        struct dialect d;
        struct buf text;
        buf_init(&text, 1 << 16);
        (void)dialect_of_template(str_z(sources[round % (int)ARRAY_LEN(sources)]), &d);
        for (int i = 0; i < 1 + round % 23; i++) {
            seed = seed * 1664525u + 1013904223u;
            buf_add_z(&text, parts[(seed >> 16) % ARRAY_LEN(parts)]);
        }
        char *once = parse(&d, tools, false, buf_str(&text), text.len, false);
        char *bytes = parse(&d, tools, false, buf_str(&text), 0, true);
        char *half = parse(&d, tools, false, buf_str(&text), text.len / 2, false);
        if (strstr(once, "STRAY") || strcmp(once, bytes) != 0 || strcmp(once, half) != 0)
            fail_msg("%s:\n%s\n%s\n%s\n%s", d.name, text.ptr, once, bytes, half);
        free(once);
        free(bytes);
        free(half);
        buf_release(&text);
    }
    json_decref(tools);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mending),
        cmocka_unit_test(test_mending_anything),
        cmocka_unit_test(test_hermes),
        cmocka_unit_test(test_mistral),
        cmocka_unit_test(test_deepseek),
        cmocka_unit_test(test_llama),
        cmocka_unit_test(test_harmony),
        cmocka_unit_test(test_command_r_and_granite),
        cmocka_unit_test(test_tags),
        cmocka_unit_test(test_others),
        cmocka_unit_test(test_odd_names),
        cmocka_unit_test(test_lines),
        cmocka_unit_test(test_a_demanded_call_that_is_cut),
        cmocka_unit_test(test_arguments_that_are_cut),
        cmocka_unit_test(test_kinds_of_parameters),
        cmocka_unit_test(test_json_that_is_no_call),
        cmocka_unit_test(test_a_name_with_a_nul),
        cmocka_unit_test(test_without_tools),
        cmocka_unit_test(test_a_dialect_from_a_rendering),
        cmocka_unit_test(test_any_text_at_any_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
