/*
 * read_back: renders a call of a tool with a chat template and reads it again as if the model had
 * written it. Prints {"dialect", "calls": [[name, arguments]], "rest"}. For test_dialects.py.
 */
#include "base/json.h"
#include "text/answer_parser.h"
#include "text/chat.h"

#include <stdio.h>

#define TOOLS                                                                                      \
    "\"tools\": [{\"type\": \"function\", \"function\": {\"name\": \"get_weather\", "              \
    "\"description\": \"d\", \"parameters\": {\"type\": \"object\", \"properties\": {\"city\": "   \
    "{\"type\": \"string\", \"description\": \"d\"}, \"days\": {\"type\": \"integer\", "           \
    "\"description\": \"d\"}}, \"required\": [\"city\"]}}}]"
#define USER "{\"role\": \"user\", \"content\": \"hi\"}"
#define CALL                                                                                       \
    "{\"role\": \"assistant\", \"content\": \"\", \"tool_calls\": [{\"id\": \"call12345\", "       \
    "\"type\": \"function\", \"function\": {\"name\": \"get_weather\", \"arguments\": "            \
    "\"{\\\"city\\\": \\\"K\xc3\xb6ln \\\\\\\"x\\\\\\\"\\\", \\\"days\\\": 3}\"}}]}"

struct read {
    json_t *calls;
    struct buf args, rest;
};

static void end_call(struct read *r)
{
    json_t *last = json_array_get(r->calls, json_array_size(r->calls) - 1);
    if (last != NULL && json_array_size(last) == 1)
        json_array_append_new(last, json_parse(buf_str(&r->args), 32, NULL));
    buf_clear(&r->args);
}

static void on_text(void *ctx, enum answer_channel channel, struct str text)
{
    struct read *r = ctx;
    buf_add_str(channel == ANSWER_CALL ? &r->args : &r->rest, text);
}

static void on_call(void *ctx, struct str name)
{
    struct read *r = ctx;
    end_call(r);
    json_array_append_new(r->calls, json_pack("[s%]", name.ptr, name.len));
}

static int render(const struct chat *c, const char *messages, bool prompt, struct buf *out,
                  struct err *err)
{
    json_t *request = json_sprintf("{\"messages\": [%s], " TOOLS ", \"add_generation_prompt\": %s}",
                                   messages, prompt ? "true" : "false");
    json_t *parsed = json_parse(json_str(request), 32, err);
    int rc = parsed ? chat_render(c, parsed, out, err) : ERR_INVALID;
    json_decref(parsed);
    json_decref(request);
    return rc;
}

static int read_back(const struct chat *c, struct err *err)
{
    struct buf before, after, out;
    struct read r = {.calls = json_array()};
    buf_init(&before, 1 << 20);
    buf_init(&after, 1 << 20);
    buf_init(&out, 1 << 20);
    buf_init(&r.args, 1 << 20);
    buf_init(&r.rest, 1 << 20);
    int rc = render(c, USER, true, &before, err);
    rc = rc != 0 ? rc : render(c, USER ", " CALL, false, &after, err);
    size_t n = 0;
    while (n < before.len && n < after.len && before.ptr[n] == after.ptr[n])
        n++;
    for (size_t back = 1; back <= 3 && back <= n; back++) /* two markers may begin alike */
        if (after.ptr[n - back] == '<' || after.ptr[n - back] == '[') {
            n -= back;
            break;
        }
    json_t *tools = json_parse(STR("{" TOOLS "}"), 32, err);
    const struct answer_options o = {
        .dialect = chat_dialect(c),
        .tools = json_object_get(tools, "tools"),
        .in_thought = answer_prompt_thinks(chat_dialect(c), str_sub(buf_str(&after), 0, n))};
    struct answer_parser *p = answer_parser_new(&o, &(struct answer_sink){&r, on_text, on_call});
    answer_parser_push(p, str_from(buf_str(&after), n));
    answer_parser_finish(p, false);
    answer_parser_free(p);
    end_call(&r);
    json_t *all = json_pack("{s:s, s:O, s:s}", "dialect", chat_dialect(c)->name, "calls", r.calls,
                            "rest", r.rest.ptr ? r.rest.ptr : "");
    json_write(all, &out);
    printf("%s\n", out.ptr ? out.ptr : "{}");
    json_decref(all);
    json_decref(tools);
    json_decref(r.calls);
    buf_release(&before);
    buf_release(&after);
    buf_release(&out);
    buf_release(&r.args);
    buf_release(&r.rest);
    return rc;
}

int main(int argc, char **argv)
{
    struct buf source;
    struct chat *c = NULL;
    struct err err = {0};
    FILE *f = argc == 2 ? fopen(argv[1], "rb") : NULL;
    int ch, rc = f ? 0 : 1;
    buf_init(&source, 1 << 20);
    while (f && (ch = fgetc(f)) != EOF)
        buf_add_char(&source, (char)ch);
    if (f)
        fclose(f);
    rc = rc != 0 ? rc : chat_new(buf_str(&source), STR("<s>"), STR("</s>"), &c, &err);
    rc = rc != 0 ? rc : read_back(c, &err);
    if (rc != 0)
        fprintf(stderr, "%s\n", err.text);
    chat_free(c);
    buf_release(&source);
    return rc != 0;
}
