/*
 * chat_tools: tools and their results in a conversation: names and ids as templates want them, and
 * tools in words for templates that know none. The words are Hermes' (dialect_fallback).
 */
#include "base/json.h"
#include "base/mem.h"
#include "text/chat_impl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TEXT_MAX (64u << 20)

static int no_memory(struct err *err)
{
    return err_set(err, ERR_NOMEM, "out of memory while the prompt is prepared");
}

static bool has_role(const json_t *message, const char *role)
{
    return str_eq_z(json_str(json_object_get(message, "role")), role);
}

/* ---- ids and names ---- */

static bool is_short_id(struct str id)
{
    for (size_t i = 0; i < id.len; i++)
        if (!((id.ptr[i] >= '0' && id.ptr[i] <= '9') ||
              ((id.ptr[i] | 32) >= 'a' && (id.ptr[i] | 32) <= 'z')))
            return false;
    return id.len == 9;
}

/* Nine letters and digits from any id, the same for the same. */
static json_t *short_id(struct str id)
{
    static const char digits[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
    uint64_t hash = 0xcbf29ce484222325u;
    char text[10] = "";
    for (size_t i = 0; i < id.len; i++)
        hash = (hash ^ (unsigned char)id.ptr[i]) * 0x100000001b3u;
    for (int i = 0; i < 9; i++, hash /= 62)
        text[i] = digits[hash % 62];
    return json_string(text);
}

static int fix_id(const struct chat *c, json_t *holder, const char *key, size_t n, struct err *err)
{
    json_t *id = json_object_get(holder, key);
    char made[32];
    snprintf(made, sizeof made, "call%05zu", n % 100000);
    bool wants_short = strncmp(c->dialect.name, "mistral", 7) == 0;
    if (!json_is_string(id) || json_string_length(id) == 0)
        return json_object_set_new(holder, key, json_string(made)) == 0 ? 0 : no_memory(err);
    if (!wants_short || is_short_id(json_str(id)))
        return 0;
    return json_object_set_new(holder, key, short_id(json_str(id))) == 0 ? 0 : no_memory(err);
}

/* Calls that wait for their results, in their order. */
struct waiting {
    json_t *calls; /* array */
    size_t next;   /* the one whose result comes next where ids say nothing */
    size_t n;      /* calls before, for ids */
};

static int name_calls(const struct chat *c, json_t *message, struct waiting *w, struct err *err)
{
    json_t *calls = json_object_get(message, "tool_calls"), *call;
    size_t i;
    if (json_array_size(calls) == 0)
        return 0;
    w->calls = calls;
    w->next = 0;
    json_array_foreach(calls, i, call)
    {
        int rc = json_is_object(call) ? fix_id(c, call, "id", w->n++, err) : 0;
        if (rc != 0)
            return rc;
    }
    return 0;
}

static int name_result(const struct chat *c, json_t *message, struct waiting *w, struct err *err)
{
    json_t *call = NULL;
    struct str id = json_str(json_object_get(message, "tool_call_id"));
    if (id.len == 0) {
        json_t *next = json_object_get(json_array_get(w->calls, w->next), "id");
        if (next != NULL && json_object_set(message, "tool_call_id", next) != 0)
            return no_memory(err);
    }
    int rc = fix_id(c, message, "tool_call_id", w->n, err);
    id = json_str(json_object_get(message, "tool_call_id"));
    for (size_t i = 0; i < json_array_size(w->calls) && call == NULL; i++)
        if (str_eq(json_str(json_object_get(json_array_get(w->calls, i), "id")), id))
            call = json_array_get(w->calls, i);
    w->next++;
    json_t *name = json_object_get(json_object_get(call, "function"), "name");
    if (rc == 0 && name != NULL && !json_is_string(json_object_get(message, "name")) &&
        json_object_set(message, "name", name) != 0)
        return no_memory(err);
    return rc;
}

int chat_name_calls(const struct chat *c, json_t *messages, struct err *err)
{
    struct waiting w = {0};
    size_t i;
    json_t *m;
    int rc = 0;
    json_array_foreach(messages, i, m)
    {
        if (rc == 0 && json_is_object(m) && has_role(m, "assistant"))
            rc = name_calls(c, m, &w, err);
        else if (rc == 0 && json_is_object(m) && has_role(m, "tool"))
            rc = name_result(c, m, &w, err);
    }
    return rc;
}

/* ---- tools in words ---- */

static const char intro[] = "You can call functions. Their signatures, as JSON:\n<tools>\n";
static const char outro[] =
    "</tools>\nTo call a function, write its name and arguments as a JSON object between tags, and "
    "nothing after it:\n<tool_call>\n{\"name\": \"...\", \"arguments\": {...}}\n</tool_call>\n"
    "The results come in <tool_response> tags. Answer in words when no function is needed.";

static bool write_tools(const json_t *tools, struct buf *out)
{
    buf_add_z(out, intro);
    for (size_t i = 0; i < json_array_size(tools); i++) {
        json_write(json_object_get(json_array_get(tools, i), "function"), out);
        buf_add_char(out, '\n');
    }
    return buf_add_z(out, outro) && !out->overflow;
}

/* The text of a message's content, parts joined; others than texts are refused later. */
static void add_content(const json_t *content, struct buf *out)
{
    size_t i;
    const json_t *part;
    if (json_is_string(content))
        buf_add_str(out, json_str(content));
    json_array_foreach(content, i, part)
    {
        buf_add_str(out, json_is_string(part) ? json_str(part)
                                              : json_str(json_object_get(part, "text")));
    }
}

static bool set_text(json_t *message, const struct buf *text)
{
    return !text->overflow &&
           json_object_set_new(message, "content",
                               json_stringn(text->ptr ? text->ptr : "", text->len)) == 0;
}

static void write_call(const json_t *call, struct buf *out)
{
    const json_t *function = json_object_get(call, "function");
    const json_t *arguments = json_object_get(function, "arguments");
    if (out->len > 0)
        buf_add_char(out, '\n');
    buf_add_z(out, "<tool_call>\n{\"name\": ");
    json_write_string(json_str(json_object_get(function, "name")), out);
    buf_add_z(out, ", \"arguments\": ");
    if (json_is_string(arguments))
        buf_add_str(out, str_trim(json_str(arguments)).len > 0 ? json_str(arguments) : STR("{}"));
    else
        json_write(arguments, out);
    buf_add_z(out, "}\n</tool_call>");
}

static bool fold_message(json_t *m, struct buf *text)
{
    const json_t *calls = json_object_get(m, "tool_calls");
    add_content(json_object_get(m, "content"), text);
    for (size_t i = 0; i < json_array_size(calls); i++)
        write_call(json_array_get(calls, i), text);
    json_object_del(m, "tool_calls");
    return set_text(m, text);
}

static bool fold_result(json_t *m, struct buf *text)
{
    buf_add_z(text, "<tool_response>\n");
    add_content(json_object_get(m, "content"), text);
    buf_add_z(text, "\n</tool_response>");
    return set_text(m, text) && json_object_set_new(m, "role", json_string("user")) == 0;
}

/* Results of several calls are one turn of the user. */
static bool join_results(json_t *messages, size_t i, struct buf *text)
{
    json_t *m = json_array_get(messages, i);
    buf_clear(text);
    if (!fold_result(m, text))
        return false;
    while (has_role(json_array_get(messages, i + 1), "tool")) {
        json_t *next = json_array_get(messages, i + 1);
        struct buf more;
        buf_init(&more, TEXT_MAX);
        bool ok = fold_result(next, &more);
        buf_add_char(text, '\n');
        buf_add_str(text, buf_str(&more));
        buf_release(&more);
        if (!ok || json_array_remove(messages, i + 1) != 0)
            return false;
    }
    return set_text(m, text);
}

static bool fold_system(json_t *messages, const json_t *tools, struct buf *text)
{
    json_t *first = json_array_get(messages, 0);
    buf_clear(text);
    if (!has_role(first, "system")) {
        json_t *made = write_tools(tools, text)
                           ? json_pack("{s:s, s:s}", "role", "system", "content", text->ptr)
                           : NULL;
        return made != NULL && json_array_insert_new(messages, 0, made) == 0;
    }
    add_content(json_object_get(first, "content"), text);
    buf_add_z(text, "\n\n");
    return write_tools(tools, text) && set_text(first, text);
}

int chat_fold_tools(json_t *vars, struct err *err)
{
    json_t *messages = json_object_get(vars, "messages");
    const json_t *tools = json_object_get(vars, "tools");
    struct buf text;
    bool ok = true;
    buf_init(&text, TEXT_MAX);
    for (size_t i = 0; i < json_array_size(messages) && ok; i++) {
        json_t *m = json_array_get(messages, i);
        buf_clear(&text);
        if (has_role(m, "tool"))
            ok = join_results(messages, i, &text);
        else if (json_array_size(json_object_get(m, "tool_calls")) > 0)
            ok = fold_message(m, &text);
    }
    if (ok && json_array_size(tools) > 0)
        ok = json_is_array(messages) && fold_system(messages, tools, &text);
    json_object_del(vars, "tools");
    buf_release(&text);
    return ok ? 0 : no_memory(err);
}

/* ---- thinking ---- */

bool chat_think_begin(const struct chat *c, enum chat_think think, json_t *request)
{
    static const char *const switches[] = {"enable_thinking", "thinking"};
    bool ok = true;
    (void)c;
    for (size_t i = 0; i < ARRAY_LEN(switches) && think != CHAT_THINK_DEFAULT; i++)
        if (json_object_get(request, switches[i]) == NULL)
            ok = json_object_set_new(request, switches[i], json_boolean(think == CHAT_THINK_ON)) ==
                     0 &&
                 ok;
    return ok;
}

bool chat_think_end(const struct chat *c, enum chat_think think, const json_t *request,
                    struct buf *prompt)
{
    const struct dialect *d = &c->dialect;
    if (think != CHAT_THINK_OFF || json_is_false(json_object_get(request, "add_generation_prompt")))
        return true;
    if (d->body == DIALECT_HARMONY) /* where it may call it needs to choose its channel itself */
        return json_array_size(json_object_get(request, "tools")) > 0 ||
               buf_add_z(prompt, "<|channel|>final<|message|>");
    if (d->think_open == NULL)
        return true;
    bool opened = str_ends(str_trim(buf_str(prompt)), str_z(d->think_open));
    if (c->caps.think_switch && !opened)
        return true;
    if (!opened)
        buf_add_z(prompt, d->think_open);
    buf_add_z(prompt, "\n\n");
    buf_add_z(prompt, d->think_close);
    return buf_add_z(prompt, "\n\n");
}
