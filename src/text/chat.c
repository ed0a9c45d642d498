/*
 * chat: see chat.h. Owns how a request is put before the template; what the template can do is
 * found once, by chat_probe.
 */
#include "text/chat_impl.h"

#include "base/json.h"
#include "base/mem.h"
#include "text/chat_builtin.h"
#include "text/json_mend.h"

#include <stdlib.h>
#include <string.h>

#define ARGUMENTS_DEPTH_MAX 32
/* Where a message that goes on ends in the rendered text: behind its content a template puts what
 * ends a turn. Plain letters, for templates that quote what is in them. */
#define END_MARK "~hearth~end~of~the~final~message~"

bool chat_template_is_fallback(const struct chat *c)
{
    return c->fallback;
}

bool chat_supports_system(const struct chat *c)
{
    return c->caps.system;
}

bool chat_supports_tools(const struct chat *c)
{
    return c->caps.tools;
}

const struct dialect *chat_dialect(const struct chat *c)
{
    return &c->dialect;
}

void chat_free(struct chat *c)
{
    if (!c)
        return;
    jinja_free(c->tmpl);
    free(c->bos);
    free(c->eos);
    free(c->markers[0]);
    free(c->markers[1]);
    free(c);
}

int chat_new(struct str source, struct str bos_token, struct str eos_token, struct chat **ret,
             struct err *err)
{
    struct chat *c = mem_zero(1, sizeof(*c));
    c->fallback = str_trim(source).len == 0;
    if (c->fallback)
        source = str_eq_z(eos_token, "<|im_end|>") ? STR(CHAT_TEMPLATE_CHATML)
                                                   : STR(CHAT_TEMPLATE_PLAIN);
    c->bos = str_dup(bos_token);
    c->eos = str_dup(eos_token);
    int rc = jinja_compile(source, &c->tmpl, err);
    if (rc == 0)
        rc = chat_probe(c, err);
    if (rc == 0)
        chat_find_dialect(c, source);
    if (rc != 0) {
        chat_free(c);
        return rc;
    }
    *ret = c;
    return 0;
}

/* --- content --- */

static int no_memory(struct err *err)
{
    return err_set(err, ERR_NOMEM, "out of memory while the prompt is prepared");
}

/* The text of a content that may be a string, a list of parts, null or missing. */
static int content_text(const json_t *content, struct buf *text, struct err *err)
{
    size_t i;
    json_t *part;
    if (!content || json_is_null(content))
        return 0;
    if (json_is_string(content))
        return buf_add_str(text, json_str(content)) ? 0 : no_memory(err);
    if (!json_is_array(content))
        return err_set_param(err, ERR_INVALID, "messages",
                             "a message's content must be a string or a list of parts");
    json_array_foreach(content, i, part)
    {
        const json_t *piece = json_object_get(part, "text");
        const char *type = json_string_value(json_object_get(part, "type"));
        if (json_is_string(part))
            piece = part;
        else if (type && strcmp(type, "text") != 0)
            return err_set_param(err, ERR_UNSUPPORTED, "messages",
                                 "content parts of type '%.40s' are not supported by this model",
                                 type);
        if (!json_is_string(piece))
            return err_set_param(err, ERR_INVALID, "messages",
                                 "a content part must have a text: {\"type\": \"text\", "
                                 "\"text\": \"...\"}");
        if (!buf_add_str(text, json_str(piece)))
            return no_memory(err);
    }
    return 0;
}

static json_t *json_of(struct str text)
{
    return json_stringn(text.ptr ? text.ptr : "", text.len);
}

/* A text as the template wants content: itself, or one part. */
static json_t *content_of(const struct chat *c, struct str text)
{
    json_t *s = json_of(text);
    if (!s || !c->caps.parts_only)
        return s;
    return json_pack("[{s:s, s:o}]", "type", "text", "text", s);
}

static int set_content(const struct chat *c, json_t *message, struct err *err)
{
    json_t *content = json_object_get(message, "content");
    bool absent = !content || json_is_null(content);
    struct buf text;
    if (absent && !(c->caps.null_content_fails || c->caps.parts_only))
        return 0;
    if (json_is_string(content) && !c->caps.parts_only)
        return 0;
    buf_init(&text, SIZE_MAX / 4);
    int rc = content_text(content, &text, err);
    if (rc == 0 && absent && !c->caps.null_content_fails)
        goto done; /* parts only, and absent is understood */
    if (rc == 0 && json_object_set_new(message, "content", content_of(c, buf_str(&text))) != 0)
        rc = no_memory(err);
done:
    buf_release(&text);
    return rc;
}

/* --- tool calls --- */

/* Arguments that were cut off, as a client has them from an answer that a length limit ended. */
static json_t *mended(struct str text)
{
    struct json_mend mend;
    struct buf whole;
    bool more = true;
    json_mend_init(&mend);
    buf_init(&whole, SIZE_MAX / 4);
    for (size_t i = 0; i < text.len && more; i++)
        more = json_mend_push(&mend, text.ptr[i], &whole);
    json_mend_finish(&mend, &whole);
    json_t *value = more && !whole.overflow && str_starts(buf_str(&whole), text)
                        ? json_parse(buf_str(&whole), ARGUMENTS_DEPTH_MAX, NULL)
                        : NULL;
    json_mend_release(&mend);
    buf_release(&whole);
    return value;
}

static int set_arguments(const struct chat *c, json_t *function, struct err *err)
{
    json_t *arguments = json_object_get(function, "arguments"), *fresh = NULL;
    if (json_is_string(arguments) && !c->caps.arguments_as_text) {
        struct str text = json_str(arguments);
        if (str_trim(text).len == 0)
            text = STR("{}");
        fresh = json_parse(text, ARGUMENTS_DEPTH_MAX, err);
        if (!fresh)
            fresh = mended(str_trim(text));
        if (!fresh)
            return err_set_param(err, ERR_INVALID, "messages",
                                 "the arguments of a tool call are not valid JSON");
    } else if (json_is_object(arguments) && c->caps.arguments_as_text) {
        struct buf text;
        buf_init(&text, SIZE_MAX / 4);
        if (json_write(arguments, &text))
            fresh = json_of(buf_str(&text));
        buf_release(&text);
        if (!fresh)
            return no_memory(err);
    }
    if (fresh && json_object_set_new(function, "arguments", fresh) != 0)
        return no_memory(err);
    return 0;
}

static int set_tool_calls(const struct chat *c, json_t *message, struct err *err)
{
    json_t *calls = json_object_get(message, "tool_calls"), *call;
    size_t i;
    json_array_foreach(calls, i, call)
    {
        json_t *function = json_object_get(call, "function");
        if (!json_is_object(function))
            continue;
        int rc = set_arguments(c, function, err);
        if (rc != 0)
            return rc;
    }
    return 0;
}

/* --- system messages for templates without --- */

static bool has_role(const json_t *message, const char *role)
{
    const char *r = json_string_value(json_object_get(message, "role"));
    return r && strcmp(r, role) == 0;
}

/* Puts `text` before the content of the first user message. */
static int prepend_system(const struct chat *c, json_t *messages, struct buf *text, struct err *err)
{
    size_t i;
    json_t *m;
    json_array_foreach(messages, i, m)
    {
        if (!has_role(m, "user"))
            continue;
        int rc = content_text(json_object_get(m, "content"), text, err);
        if (rc == 0 && json_object_set_new(m, "content", content_of(c, buf_str(text))) != 0)
            rc = no_memory(err);
        return rc;
    }
    json_t *alone =
        json_pack("{s:s, s:o}", "role", "user", "content", content_of(c, str_trim(buf_str(text))));
    return alone && json_array_insert_new(messages, 0, alone) == 0 ? 0 : no_memory(err);
}

static int fold_system(const struct chat *c, json_t *messages, struct err *err)
{
    struct buf text;
    int rc = 0;
    buf_init(&text, SIZE_MAX / 4);
    for (size_t i = 0; i < json_array_size(messages) && rc == 0;) {
        const json_t *m = json_array_get(messages, i);
        if (!has_role(m, "system")) {
            i++;
            continue;
        }
        rc = content_text(json_object_get(m, "content"), &text, err);
        if (rc == 0 && !buf_add_z(&text, "\n\n"))
            rc = no_memory(err);
        json_array_remove(messages, i);
    }
    if (rc == 0 && text.len)
        rc = prepend_system(c, messages, &text, err);
    buf_release(&text);
    return rc;
}

/* --- rendering --- */

int chat_render_raw(const struct chat *c, json_t *vars, struct buf *out, struct err *err)
{
    struct jinja_limits limits = jinja_limits_default();
    int bad = 0;
    if (!json_object_get(vars, "bos_token"))
        bad |= json_object_set_new(vars, "bos_token", json_string(c->bos));
    if (!json_object_get(vars, "eos_token"))
        bad |= json_object_set_new(vars, "eos_token", json_string(c->eos));
    if (!json_object_get(vars, "tools"))
        bad |= json_object_set_new(vars, "tools",
                                   c->caps.tools_must_be_list ? json_array() : json_null());
    if (!json_object_get(vars, "documents"))
        bad |= json_object_set_new(vars, "documents", json_null());
    if (bad)
        return no_memory(err);
    return jinja_render(c->tmpl, vars, &limits, out, err);
}

static int prepare(const struct chat *c, json_t *vars, struct err *err)
{
    json_t *messages = json_object_get(vars, "messages"), *m;
    size_t i;
    int rc = 0;
    if (!json_is_array(messages) || json_array_size(messages) == 0)
        return err_set_param(err, ERR_INVALID, "messages", "messages must be a list, not empty");
    json_array_foreach(messages, i, m)
    {
        if (!json_is_object(m) || !json_is_string(json_object_get(m, "role")))
            return err_set_param(err, ERR_INVALID, "messages",
                                 "messages[%zu] must be an object with a role", i);
        rc = set_content(c, m, err);
        if (rc == 0)
            rc = set_tool_calls(c, m, err);
        if (rc != 0)
            return rc;
    }
    return rc;
}

/* `strict` is between client and server; models were not taught it. */
static void drop_strict(json_t *tools)
{
    size_t i;
    json_t *tool;
    json_array_foreach(tools, i, tool)
    {
        json_object_del(json_object_get(tool, "function"), "strict");
    }
}

/* The whole of it: what is folded becomes content of the form that the template takes. */
static int prepare_all(const struct chat *c, json_t *vars, struct err *err)
{
    json_t *messages = json_object_get(vars, "messages");
    drop_strict(json_object_get(vars, "tools"));
    int rc = json_is_array(messages) ? chat_name_calls(c, messages, err) : 0;
    bool has_tools = json_array_size(json_object_get(vars, "tools")) > 0;
    if (rc == 0 && !c->caps.tools && (has_tools || !c->caps.calls))
        rc = chat_fold_tools(vars, err);
    if (rc == 0)
        rc = prepare(c, vars, err);
    return rc != 0 || c->caps.system ? rc : fold_system(c, messages, err);
}

/* --- a last message that goes on --- */

static int mark_content(json_t *content, const char *key, json_t *owner, struct err *err)
{
    struct buf text;
    buf_init(&text, SIZE_MAX / 4);
    bool ok = buf_add_str(&text, json_str(content)) && buf_add_z(&text, END_MARK) &&
              json_object_set_new(owner, key, json_of(buf_str(&text))) == 0;
    buf_release(&text);
    return ok ? 0 : no_memory(err);
}

/* After prepare: content is a string, or a list whose parts are text, or absent. */
static int mark_end(json_t *vars, struct err *err)
{
    json_t *messages = json_object_get(vars, "messages");
    json_t *last = json_array_get(messages, json_array_size(messages) - 1);
    json_t *content = json_object_get(last, "content");
    json_t *part = json_array_get(content, json_array_size(content) - 1);
    if (!has_role(last, "assistant") || json_object_get(last, "tool_calls"))
        return err_set_param(err, ERR_INVALID, "messages",
                             "to be continued, the last message must be the assistant's and call "
                             "no tools");
    json_object_del(vars, "continue_final_message");
    if (json_object_set_new(vars, "add_generation_prompt", json_false()) != 0)
        return no_memory(err);
    if (part)
        return mark_content(json_object_get(part, "text"), "text", part, err);
    return mark_content(content, "content", last, err);
}

/* The last mark: what a client wrote before it may look the same. */
static ptrdiff_t find_mark(struct str text)
{
    ptrdiff_t at = -1, next = 0;
    size_t from = 0;
    while ((next = str_find(str_from(text, from), STR(END_MARK))) >= 0) {
        at = (ptrdiff_t)from + next;
        from = (size_t)at + sizeof(END_MARK) - 1;
    }
    return at;
}

static int render_open(const struct chat *c, json_t *vars, struct buf *out, struct err *err)
{
    struct buf text;
    buf_init(&text, out->max);
    int rc = mark_end(vars, err);
    if (rc == 0)
        rc = chat_render_raw(c, vars, &text, err);
    if (rc == 0) {
        ptrdiff_t end = find_mark(buf_str(&text));
        if (end < 0)
            rc = err_set_param(err, ERR_UNSUPPORTED, "messages",
                               "it does not write the last message, so that cannot be continued");
        else if (!buf_add(out, text.ptr, (size_t)end))
            rc = err_set(err, ERR_LIMIT, "the prompt is too long");
    }
    buf_release(&text);
    return rc;
}

int chat_render(const struct chat *c, const json_t *request, struct buf *out, struct err *err)
{
    if (!json_is_object(request))
        return err_set(err, ERR_INVALID, "the request must be a JSON object");
    json_t *vars = json_deep_copy(request);
    if (!vars)
        return no_memory(err);
    if (json_array_size(json_object_get(vars, "tools")) == 0)
        json_object_del(vars, "tools");
    int rc = prepare_all(c, vars, err);
    if (rc == 0) {
        rc = json_is_true(json_object_get(vars, "continue_final_message"))
                 ? render_open(c, vars, out, err)
                 : chat_render_raw(c, vars, out, err);
        if (rc != 0)
            err_wrap(err, "the model's chat template refuses these messages");
    }
    json_decref(vars);
    return rc;
}
