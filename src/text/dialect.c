/*
 * dialect: see the header. The table is in the order in which its needles are looked for: a family
 * whose markers another one has too comes after it.
 */
#include "text/dialect.h"

#include "base/mem.h"

#include <string.h>

#define NEEDLES 3

struct family {
    const char *needle[NEEDLES]; /* all of them are in the template */
    struct dialect d;
};

#define NAME_KEY "{\"name\": \""
#define ARGS_KEY "\", \"arguments\": "

static const struct family families[] = {
    {{"<|channel|>", "<|message|>"},
     {"harmony", DIALECT_HARMONY, .before_name = "<|channel|>commentary to=functions.",
      .after_name = " <|constrain|>json<|message|>", .begin = "", .after_args = "", .between = NULL,
      .end = ""}},
    {{"<|START_ACTION|>"},
     {"command-r",
      DIALECT_JSON,
      {"<|START_ACTION|>"},
      .close = "<|END_ACTION|>",
      .drop = {"<|START_RESPONSE|>", "<|END_RESPONSE|>", "<|START_TEXT|>", "<|END_TEXT|>"},
      .begin = "<|START_ACTION|>[\n",
      .before_name = "    {\"tool_call_id\": \"0\", \"tool_name\": \"",
      .after_name = "\", \"parameters\": ",
      .after_args = "}",
      .between = ",\n",
      .end = "\n]<|END_ACTION|>"}},
    {{"<\xef\xbd\x9ctool\xe2\x96\x81"
      "call\xe2\x96\x81"
      "begin\xef\xbd\x9c>",
      "```json"},
     {"deepseek-r1",
      DIALECT_NAMED,
      {"<\xef\xbd\x9ctool\xe2\x96\x81"
       "call\xe2\x96\x81"
       "begin\xef\xbd\x9c>"},
      .close = "<\xef\xbd\x9ctool\xe2\x96\x81"
               "call\xe2\x96\x81"
               "end\xef\xbd\x9c>",
      .drop = {"<\xef\xbd\x9ctool\xe2\x96\x81"
               "calls\xe2\x96\x81"
               "begin\xef\xbd\x9c>",
               "<\xef\xbd\x9ctool\xe2\x96\x81"
               "calls\xe2\x96\x81"
               "end\xef\xbd\x9c>"},
      .begin = "<\xef\xbd\x9ctool\xe2\x96\x81"
               "calls\xe2\x96\x81"
               "begin\xef\xbd\x9c>",
      .before_name = "<\xef\xbd\x9ctool\xe2\x96\x81"
                     "call\xe2\x96\x81"
                     "begin\xef\xbd\x9c>function"
                     "<\xef\xbd\x9ctool\xe2\x96\x81sep\xef\xbd\x9c>",
      .after_name = "\n```json\n",
      .after_args = "\n```<\xef\xbd\x9ctool\xe2\x96\x81"
                    "call\xe2\x96\x81"
                    "end\xef\xbd\x9c>",
      .between = "\n",
      .end = "<\xef\xbd\x9ctool\xe2\x96\x81"
             "calls\xe2\x96\x81"
             "end\xef\xbd\x9c>"}},
    {{"<\xef\xbd\x9ctool\xe2\x96\x81"
      "call\xe2\x96\x81"
      "begin\xef\xbd\x9c>"},
     {"deepseek-v3.1",
      DIALECT_NAMED,
      {"<\xef\xbd\x9ctool\xe2\x96\x81"
       "call\xe2\x96\x81"
       "begin\xef\xbd\x9c>"},
      .close = "<\xef\xbd\x9ctool\xe2\x96\x81"
               "call\xe2\x96\x81"
               "end\xef\xbd\x9c>",
      .drop = {"<\xef\xbd\x9ctool\xe2\x96\x81"
               "calls\xe2\x96\x81"
               "begin\xef\xbd\x9c>",
               "<\xef\xbd\x9ctool\xe2\x96\x81"
               "calls\xe2\x96\x81"
               "end\xef\xbd\x9c>"},
      .begin = "<\xef\xbd\x9ctool\xe2\x96\x81"
               "calls\xe2\x96\x81"
               "begin\xef\xbd\x9c>",
      .before_name = "<\xef\xbd\x9ctool\xe2\x96\x81"
                     "call\xe2\x96\x81"
                     "begin\xef\xbd\x9c>",
      .after_name = "<\xef\xbd\x9ctool\xe2\x96\x81sep\xef\xbd\x9c>",
      .after_args = "<\xef\xbd\x9ctool\xe2\x96\x81"
                    "call\xe2\x96\x81"
                    "end\xef\xbd\x9c>",
      .between = "",
      .end = "<\xef\xbd\x9ctool\xe2\x96\x81"
             "calls\xe2\x96\x81"
             "end\xef\xbd\x9c>"}},
    {{"<|tool_call_begin|>", "<|tool_call_argument_begin|>"},
     {"kimi",
      DIALECT_NAMED,
      {"<|tool_call_begin|>"},
      .close = "<|tool_call_end|>",
      .drop = {"<|tool_calls_section_begin|>", "<|tool_calls_section_end|>"},
      .begin = "<|tool_calls_section_begin|>",
      .before_name = "<|tool_call_begin|>functions.",
      .after_name = ":0<|tool_call_argument_begin|>",
      .after_args = "<|tool_call_end|>",
      .between = "",
      .end = "<|tool_calls_section_end|>"}},
    {{"<start_function_call>"},
     {"functiongemma",
      DIALECT_NAMED,
      {"<start_function_call>"},
      .close = "<end_function_call>",
      .quote = "<escape>",
      .begin = "",
      .before_name = "<start_function_call>call:",
      .after_name = "",
      .after_args = "<end_function_call>",
      .between = "",
      .end = ""}},
    {{"<|tool_call>call:"},
     {"gemma4",
      DIALECT_NAMED,
      {"<|tool_call>"},
      .close = "<tool_call|>",
      .quote = "<|\"|>",
      .begin = "",
      .before_name = "<|tool_call>call:",
      .after_name = "",
      .after_args = "<tool_call|>",
      .between = "",
      .end = ""}},
    {{"[TOOL_CALLS]", "[ARGS]"},
     {"mistral",
      DIALECT_NAMED,
      {"[TOOL_CALLS]"},
      .begin = "",
      .before_name = "[TOOL_CALLS]",
      .after_name = "[ARGS]",
      .after_args = "",
      .between = "",
      .end = ""}},
    {{"[TOOL_CALLS]"},
     {"mistral-nemo",
      DIALECT_JSON,
      {"[TOOL_CALLS]"},
      .begin = "[TOOL_CALLS][",
      .before_name = NAME_KEY,
      .after_name = ARGS_KEY,
      .after_args = "}",
      .between = ", ",
      .end = "]"}},
    {{"<parameter=", "<function="},
     {"qwen3-coder",
      DIALECT_TAGS,
      {"<tool_call>", "<function="},
      .close = "</tool_call>",
      .begin = "",
      .before_name = "<tool_call>\n<function=",
      .after_name = ">\n",
      .after_args = "</function>\n</tool_call>",
      .between = "\n",
      .end = ""}},
    {{"<arg_key>", "<arg_value>"},
     {"glm",
      DIALECT_PAIRS,
      {"<tool_call>"},
      .close = "</tool_call>",
      .begin = "",
      .before_name = "<tool_call>",
      .after_name = "\n",
      .after_args = "</tool_call>",
      .between = "\n",
      .end = ""}},
    {{"<tool_call>"},
     {"hermes",
      DIALECT_JSON,
      {"<tool_call>"},
      .close = "</tool_call>",
      .begin = "",
      .before_name = "<tool_call>\n" NAME_KEY,
      .after_name = ARGS_KEY,
      .after_args = "}\n</tool_call>",
      .between = "\n",
      .end = ""}},
    {{"<TOOLCALL>"},
     {"nemotron",
      DIALECT_JSON,
      {"<TOOLCALL>"},
      .close = "</TOOLCALL>",
      .begin = "<TOOLCALL>[",
      .before_name = NAME_KEY,
      .after_name = ARGS_KEY,
      .after_args = "}",
      .between = ", ",
      .end = "]</TOOLCALL>"}},
    {{"<|tool_call|>"},
     {"granite",
      DIALECT_JSON,
      {"<|tool_call|>"},
      .close = "<|/tool_call|>",
      .drop = {"<response>", "</response>"},
      .begin = "<|tool_call|>[",
      .before_name = NAME_KEY,
      .after_name = ARGS_KEY,
      .after_args = "}",
      .between = ", ",
      .end = "]"}},
    {{"<|tool_call_start|>"},
     {"lfm2",
      DIALECT_PYTHON,
      {"<|tool_call_start|>"},
      .close = "<|tool_call_end|>",
      .begin = "<|tool_call_start|>[",
      .before_name = "",
      .after_name = "(",
      .after_args = ")",
      .between = ", ",
      .end = "]<|tool_call_end|>"}},
    /* LFM2's template leaves its calls to the model. */
    {{"<|tool_list_start|>"},
     {"lfm2",
      DIALECT_PYTHON,
      {"<|tool_call_start|>"},
      .close = "<|tool_call_end|>",
      .begin = "<|tool_call_start|>[",
      .before_name = "",
      .after_name = "(",
      .after_args = ")",
      .between = ", ",
      .end = "]<|tool_call_end|>"}},
    {{">>>all"},
     {"functionary-v3.2",
      DIALECT_LINES,
      {">>>"},
      .begin = "",
      .before_name = "",
      .after_name = "\n",
      .after_args = "",
      .between = ">>>",
      .end = ""}},
    {{"<function=", "</function>"},
     {"functionary-v3.1",
      DIALECT_NAMED,
      {"<function="},
      .close = "</function>",
      .begin = "",
      .before_name = "<function=",
      .after_name = ">",
      .after_args = "</function>",
      .between = "",
      .end = ""}},
    {{"<function", "start_tag"},
     {"functionary-v3.1",
      DIALECT_NAMED,
      {"<function="},
      .close = "</function>",
      .begin = "",
      .before_name = "<function=",
      .after_name = ">",
      .after_args = "</function>",
      .between = "",
      .end = ""}},
    {{"ipython", "\"parameters\": "},
     {"llama3",
      DIALECT_JSON,
      {"<|python_tag|>"},
      .bare = true,
      .begin = "",
      .before_name = NAME_KEY,
      .after_name = "\", \"parameters\": ",
      .after_args = "}",
      .between = "; ",
      .end = ""}},
    {{"<|python_tag|>"},
     {"llama3",
      DIALECT_JSON,
      {"<|python_tag|>"},
      .bare = true,
      .begin = "",
      .before_name = NAME_KEY,
      .after_name = "\", \"parameters\": ",
      .after_args = "}",
      .between = "; ",
      .end = ""}},
    {{"tool_code"},
     {"gemma3",
      DIALECT_PYTHON,
      {"```tool_code"},
      .close = "```",
      .begin = "```tool_code\n",
      .before_name = "",
      .after_name = "(",
      .after_args = ")",
      .between = "\n",
      .end = "\n```"}},
};

struct thinking {
    const char *needle, *open, *close;
};

static const struct thinking thinkings[] = {
    {"<|START_THINKING|>", "<|START_THINKING|>", "<|END_THINKING|>"},
    {"[/THINK]", "[THINK]", "[/THINK]"},
    {"<seed:think>", "<seed:think>", "</seed:think>"},
    {"<|channel>thought", "<|channel>thought", "<channel|>"},
    {"</think>", "<think>", "</think>"},
    {"<think>", "<think>", "</think>"},
};

static bool holds(struct str text, const char *needle)
{
    return str_find(text, str_z(needle)) >= 0;
}

static void find_thinking(struct str source, struct dialect *ret)
{
    for (size_t i = 0; i < ARRAY_LEN(thinkings) && ret->think_open == NULL; i++) {
        if (holds(source, thinkings[i].needle)) {
            ret->think_open = thinkings[i].open;
            ret->think_close = thinkings[i].close;
        }
    }
}

bool dialect_of_template(struct str source, struct dialect *ret)
{
    bool found = false;
    *ret = (struct dialect){.name = "none"};
    for (size_t i = 0; i < ARRAY_LEN(families) && !found; i++) {
        found = true;
        for (int k = 0; k < NEEDLES && families[i].needle[k] != NULL; k++)
            found = found && holds(source, families[i].needle[k]);
        if (found)
            *ret = families[i].d;
    }
    if (ret->body != DIALECT_HARMONY)
        find_thinking(source, ret);
    return found;
}

void dialect_fallback(struct dialect *ret)
{
    struct dialect hermes;
    (void)dialect_of_template(STR("<tool_call>"), &hermes);
    hermes.think_open = ret->think_open;
    hermes.think_close = ret->think_close;
    hermes.name = "hermes (added)";
    *ret = hermes;
}

/* ---- from a rendering ---- */

/* Where the JSON object that begins at text[at] ends; text.len when it does not. */
static size_t object_end(struct str text, size_t at)
{
    int depth = 0;
    bool in_string = false;
    for (size_t i = at; i < text.len; i++) {
        char c = text.ptr[i];
        if (in_string) {
            i += c == '\\';
            in_string = c != '"';
        } else if (c == '"') {
            in_string = true;
        } else if (c == '{') {
            depth++;
        } else if (c == '}' && --depth == 0) {
            return i + 1;
        }
    }
    return text.len;
}

/* What can open a call: not white space alone. */
static char *marker_of(struct str text)
{
    text = str_trim(text);
    return text.len > 0 && text.len <= 64 ? str_dup(text) : NULL;
}

bool dialect_of_rendering(struct str rendered, struct str name, struct str argument,
                          struct dialect *ret, char *store[2])
{
    ptrdiff_t at_name = str_find(rendered, name), at_arg = str_find(rendered, argument);
    if (at_name < 0 || at_arg < at_name)
        return false;
    ptrdiff_t brace = str_rchr(str_sub(rendered, 0, (size_t)at_name), '{');
    size_t key_end = (size_t)at_name + name.len;
    ptrdiff_t args = str_chr(str_from(rendered, key_end), '{');
    if (args < 0)
        return false;
    size_t at_args = key_end + (size_t)args;
    bool in_object =
        brace >= 0 && (size_t)at_name - (size_t)brace <= 64 &&
        str_find(str_sub(rendered, (size_t)brace, (size_t)(at_name - brace)), STR("name")) >= 0;
    size_t from = in_object ? (size_t)brace : (size_t)at_name;
    struct str head = str_trim(str_sub(rendered, 0, from));
    if (str_ends(head, STR("[")))
        head.len--;
    size_t end = object_end(rendered, in_object ? (size_t)brace : at_args);
    store[0] = marker_of(head);
    store[1] = marker_of(str_from(rendered, end));
    if (!in_object && store[0] == NULL)
        return false;
    ret->name = "generic";
    ret->body = in_object ? DIALECT_JSON : DIALECT_NAMED;
    ret->open[0] = store[0];
    ret->close = store[1];
    ret->bare = store[0] == NULL;
    return true;
}

/* ---- tokens ---- */

static bool meets(const char *marker, struct str token)
{
    return marker != NULL && marker[0] != '\0' && token.len > 0 &&
           (str_find(str_z(marker), token) >= 0 || str_find(token, str_z(marker)) >= 0);
}

bool dialect_shows(const struct dialect *d, struct str token)
{
    static const char *const harmony[] = {"<|start|>",     "<|channel|>", "<|message|>", "<|end|>",
                                          "<|constrain|>", "<|call|>",    "<|return|>"};
    bool shows = meets(d->close, token) || meets(d->quote, token) || meets(d->think_open, token) ||
                 meets(d->think_close, token) || meets(d->before_name, token) ||
                 meets(d->after_name, token) || meets(d->after_args, token);
    for (int i = 0; i < DIALECT_MARKERS; i++)
        shows = shows || meets(d->open[i], token) || meets(d->drop[i], token);
    for (size_t i = 0; d->body == DIALECT_HARMONY && i < ARRAY_LEN(harmony); i++)
        shows = shows || str_eq_z(token, harmony[i]);
    if (d->body == DIALECT_NAMED)
        shows = shows || str_eq_z(token, "[CALL_ID]") || str_eq_z(token, "[ARGS]");
    return shows;
}
