/*
 * fuzz_answer: what a model may write, in each dialect of thinking and calling tools. However the
 * text is cut the same comes out; a call has a name, and its arguments are JSON.
 *
 * The first byte says which dialect, the second what is asked for, the third and fourth how the
 * text is cut.
 */
#include "base/buf.h"
#include "base/check.h"
#include "base/mem.h"
#include "text/answer_parser.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Of templates, enough to know each family by. */
static const char *const sources[] = {
    "</think>",
    "<tool_call></think>",
    "<\xef\xbd\x9ctool\xe2\x96\x81"
    "call\xe2\x96\x81"
    "begin\xef\xbd\x9c></think>",
    "<\xef\xbd\x9ctool\xe2\x96\x81"
    "call\xe2\x96\x81"
    "begin\xef\xbd\x9c></think>```json",
    "[TOOL_CALLS][ARGS][/THINK]",
    "[TOOL_CALLS]",
    "<|python_tag|>",
    "<|channel|><|message|>",
    "<|START_ACTION|><|START_THINKING|>",
    "<|tool_call|></think>",
    "<tool_call><function=<parameter=",
    "<tool_call><arg_key><arg_value></think>",
    "<|tool_call_begin|><|tool_call_argument_begin|>",
    "<start_function_call>",
    "<|tool_call>call:<|channel>thought",
    "<TOOLCALL>",
    "<|tool_call_start|>",
    "<|tool_list_start|>",
    ">>>all",
    "<function=</function>",
    "<function start_tag <seed:think>",
    "ipython \"parameters\": ",
    "tool_code",
};

#define TOOLS                                                                                      \
    "[{\"type\":\"function\",\"function\":{\"name\":\"get\",\"parameters\":{\"type\":\"object\","  \
    "\"properties\":{\"city\":{\"type\":\"string\"},\"n\":{\"type\":\"integer\"},\"x\":{\"type\":" \
    "\"object\"},\"l\":{\"type\":\"array\",\"items\":{\"type\":\"boolean\"}}}}}},"                 \
    "{\"type\":\"function\",\"function\":{\"name\":\"put.it\",\"parameters\":{\"type\":"           \
    "\"object\",\"properties\":{}}}},{\"type\":\"function\",\"function\":{\"name\":\"a-b_c\"}}]"

struct said {
    struct buf out, arguments; /* all of it, in order; of the present call */
    enum answer_channel channel;
    int n_calls;
    bool called; /* a call has begun and was not checked */
};

static void check_call(struct said *s)
{
    if (!s->called)
        return;
    /* a model may write a key twice, and a NUL in it, which jansson does not read */
    json_error_t why;
    json_t *value =
        json_loadb(s->arguments.ptr, s->arguments.len, JSON_DECODE_ANY | JSON_ALLOW_NUL, &why);
    bool nul = value == NULL && json_error_code(&why) == json_error_null_byte_in_key;
    if (value == NULL && !nul)
        fprintf(stderr, "no JSON: %.*s\n", STR_ARG(buf_str(&s->arguments)));
    CHECK(value != NULL || nul);
    json_decref(value);
    buf_clear(&s->arguments);
    s->called = false;
}

static void on_text(void *ctx, enum answer_channel channel, struct str text)
{
    static const char kinds[] = {'c', 'r', 't'};
    struct said *s = ctx;
    CHECK(channel != ANSWER_CALL || s->called);
    if (channel == ANSWER_CALL)
        buf_add_str(&s->arguments, text);
    if (text.len > 0 && s->channel != channel)
        buf_printf(&s->out, "|%c:", kinds[channel]);
    if (text.len > 0)
        s->channel = channel;
    buf_add_str(&s->out, text);
}

static void on_call(void *ctx, struct str name)
{
    struct said *s = ctx;
    CHECK(name.len > 0);
    check_call(s);
    s->called = true;
    s->channel = ANSWER_CALL;
    s->n_calls++;
    buf_printf(&s->out, "|t:%.*s ", STR_ARG(name));
}

/* cut 0: all at once; else pieces of lengths that it says. */
static struct buf read_answer(const struct answer_options *o, struct str text, unsigned cut,
                              bool is_cut)
{
    struct said said = {.channel = ANSWER_CONTENT};
    buf_init(&said.out, 256u << 20);
    buf_init(&said.arguments, 256u << 20);
    struct answer_parser *p = answer_parser_new(o, &(struct answer_sink){&said, on_text, on_call});
    for (size_t i = 0, n; i < text.len; i += n) {
        n = cut == 0 ? text.len : cut % 7 + 1;
        cut = cut == 0 ? 0 : (cut * 1103515245u + 12345u) >> 1 | 1u;
        answer_parser_push(p, str_sub(text, i, n));
        CHECK(answer_parser_held(p) <= text.len);
    }
    answer_parser_finish(p, is_cut);
    CHECK(answer_parser_held(p) == 0);
    CHECK(answer_parser_n_calls(p) == said.n_calls);
    if (!is_cut) /* the last one's arguments may have stayed a part */
        check_call(&said);
    answer_parser_free(p);
    buf_release(&said.arguments);
    return said.out;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static json_t *tools;
    struct dialect d;
    if (tools == NULL)
        tools = json_parse(STR(TOOLS), 16, NULL);
    CHECK(tools != NULL);
    if (size < 4)
        return 0;
    if (!dialect_of_template(str_z(sources[data[0] % ARRAY_LEN(sources)]), &d))
        dialect_fallback(&d);
    const struct answer_options o = {.dialect = &d,
                                     .tools = data[1] & 1 ? NULL : tools,
                                     .in_thought = data[1] & 2,
                                     .must_call = data[1] & 4};
    struct str text = {(const char *)data + 4, size - 4};
    json_t *valid = json_stringn(text.ptr, text.len);
    json_decref(valid);
    if (valid == NULL)
        return 0; /* only whole characters come here: worker/stream.h */
    const bool is_cut = data[1] & 8;
    struct buf whole = read_answer(&o, text, 0, is_cut);
    struct buf cut = read_answer(&o, text, 1u + data[2] + 256u * data[3], is_cut);
    if (!str_eq(buf_str(&whole), buf_str(&cut)))
        fprintf(stderr, "%s, whole:\n%.*s\ncut:\n%.*s\n", d.name, STR_ARG(buf_str(&whole)),
                STR_ARG(buf_str(&cut)));
    CHECK(str_eq(buf_str(&whole), buf_str(&cut)));
    buf_release(&whole);
    buf_release(&cut);
    return 0;
}
