/*
 * openai_messages: checks a conversation and hands it on as chat templates take it.
 *
 * Every field of a message is known here or refused by its path ("messages[2].name"). What comes
 * out has no nulls; the role developer became system (no open template knows it); reasoning became
 * reasoning_content. Content given as parts stays parts: the template decides what it takes.
 */
#include "api/fields.h"
#include "api/openai.h"
#include "api/openai_tools.h"
#include "base/mem.h"

#include <stdio.h>
#include <string.h>

#define PARTS_MAX 4096

/* One message being read; `out` is what the template gets. */
struct reading {
    json_t *out;
    const char *where; /* "messages[2]" */
    struct str role;
    bool has_content, has_calls;
};

static int keep(struct reading *m, const char *key, json_t *value, struct err *err)
{
    return json_object_set_new(m->out, key, value) == 0
               ? 0
               : err_set(err, ERR_NOMEM, "out of memory for the messages");
}

/* The key's own name, without "messages[2]." before it. */
static const char *last_part(const char *name)
{
    const char *dot = strrchr(name, '.');
    return dot == NULL ? name : dot + 1;
}

static int take_text_field(const char *name, const json_t *v, void *into, struct err *err)
{
    if (!json_is_string(v))
        return api_wrong_type(name, "a string", v, err);
    return keep(into, last_part(name), json_incref((json_t *)v), err);
}

static int take_role(const char *name, const json_t *v, void *into, struct err *err)
{
    static const char *const roles[] = {"system", "user", "assistant", "tool"};
    struct reading *m = into;
    if (!json_is_string(v))
        return api_wrong_type(name, "a string", v, err);
    m->role = json_str(v);
    if (str_eq_z(m->role, "developer"))
        m->role = STR("system");
    if (str_eq_z(m->role, "function"))
        m->role = STR("tool"); /* of before there were tools */
    for (size_t i = 0; i < ARRAY_LEN(roles); i++)
        if (str_eq_z(m->role, roles[i]))
            return keep(m, "role", json_string(roles[i]), err);
    return err_set_param(err, ERR_INVALID, name,
                         "'%s' must be system, developer, user, assistant or tool, not '%.40s'",
                         name, json_string_value(v));
}

static int take_reasoning(const char *name, const json_t *v, void *into, struct err *err)
{
    if (!json_is_string(v))
        return api_wrong_type(name, "a string", v, err);
    return keep(into, "reasoning_content", json_incref((json_t *)v), err);
}

/* ---- content ---- */

static int read_part(struct reading *m, const char *where, const json_t *part, json_t *out,
                     struct err *err)
{
    static const struct api_field text_fields[] = {
        {"type", API_STR, API_NO_EFFECT},
        {"text", API_STR, API_NO_EFFECT},
        {"cache_control", API_ANY, API_NO_EFFECT},
        {"prompt_cache_breakpoint", API_ANY, API_NO_EFFECT},
    };
    char name[96];
    if (!json_is_object(part))
        return api_wrong_type(where, "an object", part, err);
    struct str type = json_str(json_object_get(part, "type"));
    const char *key = "text";
    if (str_eq_z(type, "refusal") && str_eq_z(m->role, "assistant")) {
        key = "refusal";
    } else if (!str_eq_z(type, "text")) {
        snprintf(name, sizeof name, "%s.type", where);
        return err_set_param(err, ERR_UNSUPPORTED, name,
                             "'%s' is '%.40s': only parts of type 'text' are supported (no images, "
                             "audio or files yet)",
                             name, type.len == 0 ? "missing" : type.ptr);
    } else {
        snprintf(name, sizeof name, "%s.", where);
        int code = api_fields_read(text_fields, ARRAY_LEN(text_fields), part, name, NULL, err);
        if (code != 0)
            return code;
    }
    json_t *text = json_object_get(part, key);
    snprintf(name, sizeof name, "%s.%s", where, key);
    if (!json_is_string(text))
        return err_set_param(err, ERR_INVALID, name, "'%s' must be a string", name);
    json_t *made = json_pack("{s:s, s:O}", "type", "text", "text", text);
    if (made == NULL || json_array_append_new(out, made) != 0)
        return err_set(err, ERR_NOMEM, "out of memory for the messages");
    return 0;
}

static int take_content(const char *name, const json_t *v, void *into, struct err *err)
{
    struct reading *m = into;
    m->has_content = true;
    if (json_is_string(v))
        return keep(m, "content", json_incref((json_t *)v), err);
    if (!json_is_array(v))
        return api_wrong_type(name, "a string or an array of parts", v, err);
    size_t n = json_array_size(v);
    if (n == 0 || n > PARTS_MAX)
        return err_set_param(err, ERR_INVALID, name, "'%s' must hold 1 to %d parts, not %zu", name,
                             PARTS_MAX, n);
    json_t *parts = json_array();
    int code = parts == NULL ? err_set(err, ERR_NOMEM, "out of memory") : 0;
    for (size_t i = 0; i < n && code == 0; i++) {
        char where[64];
        snprintf(where, sizeof where, "%s[%zu]", name, i);
        code = read_part(m, where, json_array_get(v, i), parts, err);
    }
    if (code == 0)
        return keep(m, "content", parts, err);
    json_decref(parts);
    return code;
}

/* ---- tool calls of an assistant's turn ---- */

static int take_calls(const char *name, const json_t *v, void *into, struct err *err)
{
    struct reading *m = into;
    json_t *calls = openai_calls_read(name, v, err);
    if (calls == NULL)
        return err != NULL ? err->code : ERR_INVALID;
    if (json_array_size(calls) == 0) {
        json_decref(calls);
        return 0;
    }
    m->has_calls = true;
    return keep(m, "tool_calls", calls, err);
}

static int take_function_call(const char *name, const json_t *v, void *into, struct err *err)
{
    struct reading *m = into;
    json_t *calls = openai_function_call_read(name, v, err);
    if (calls == NULL)
        return err != NULL ? err->code : ERR_INVALID;
    m->has_calls = true;
    return keep(m, "tool_calls", calls, err);
}

static int only_empty_list(const char *name, const json_t *v, void *into, struct err *err)
{
    (void)name, (void)into, (void)err;
    return json_is_array(v) && json_array_size(v) == 0 ? 0 : ERR_UNSUPPORTED;
}

/* clang-format off: rows of a table */
static const struct api_field message_fields[] = {
    {"role", API_ANY, API_HONOURED, .take = take_role},
    {"content", API_ANY, API_HONOURED, .take = take_content},
    {"name", API_ANY, API_HONOURED, .take = take_text_field},
    {"tool_call_id", API_ANY, API_HONOURED, .take = take_text_field},
    {"tool_calls", API_ANY, API_HONOURED, .take = take_calls},
    {"reasoning_content", API_ANY, API_HONOURED, .take = take_reasoning},
    {"reasoning", API_ANY, API_HONOURED, .take = take_reasoning},
    {"refusal", API_ANY, API_HONOURED, .take = take_text_field},
    {"annotations", API_ANY, API_REFUSED, .take = only_empty_list, .note = "only text is taken"},
    {"audio", API_ANY, API_REFUSED, .note = "only text is taken"},
    {"images", API_ANY, API_REFUSED, .take = only_empty_list, .note = "only text is taken"},
    {"function_call", API_ANY, API_HONOURED, .take = take_function_call},
};
/* clang-format on */

/* How clients send back an answer that was empty, or thoughts alone, and a tool's empty result. */
static bool is_said_empty(const struct reading *m, const json_t *message)
{
    const json_t *content = json_object_get(message, "content");
    return (str_eq_z(m->role, "assistant") || str_eq_z(m->role, "tool")) && !m->has_content &&
           !m->has_calls && json_is_null(content);
}

static int keep_empty(struct reading *m, struct err *err)
{
    m->has_content = true;
    return keep(m, "content", json_string(""), err);
}

/* An assistant's turn may have calls or a refusal instead of content; the others need content. */
static int check_message(struct reading *m, struct err *err)
{
    char name[96];
    bool assistant = str_eq_z(m->role, "assistant");
    if (m->role.len == 0) {
        snprintf(name, sizeof name, "%s.role", m->where);
        return err_set_param(err, ERR_INVALID, name, "'%s' is missing", name);
    }
    if (m->has_calls && !assistant) {
        snprintf(name, sizeof name, "%s.tool_calls", m->where);
        return err_set_param(err, ERR_INVALID, name, "'%s' belongs to the role assistant", name);
    }
    json_t *refusal = json_object_get(m->out, "refusal");
    if (refusal != NULL && !m->has_content) {
        m->has_content = true;
        if (json_object_set(m->out, "content", refusal) != 0)
            return err_set(err, ERR_NOMEM, "out of memory for the messages");
    }
    json_object_del(m->out, "refusal");
    if (m->has_content || (assistant && m->has_calls))
        return 0;
    snprintf(name, sizeof name, "%s.content", m->where);
    return err_set_param(err, ERR_INVALID, name, "'%s' is missing", name);
}

static int read_message(const char *where, const json_t *message, json_t *list, struct err *err)
{
    if (!json_is_object(message))
        return api_wrong_type(where, "an object", message, err);
    struct reading m = {.out = json_object(), .where = where};
    char prefix[64];
    snprintf(prefix, sizeof prefix, "%s.", where);
    int code = m.out == NULL ? err_set(err, ERR_NOMEM, "out of memory") : 0;
    /* The role first: what the others may be hangs on it. */
    const json_t *role = json_object_get(message, "role");
    if (code == 0 && role != NULL && !json_is_null(role)) {
        char name[80];
        snprintf(name, sizeof name, "%srole", prefix);
        code = take_role(name, role, &m, err);
    }
    if (code == 0)
        code = api_fields_read(message_fields, ARRAY_LEN(message_fields), message, prefix, &m, err);
    if (code == 0 && is_said_empty(&m, message) && json_object_get(m.out, "refusal") == NULL)
        code = keep_empty(&m, err);
    if (code == 0)
        code = check_message(&m, err);
    if (code == 0 && json_array_append(list, m.out) != 0)
        code = err_set(err, ERR_NOMEM, "out of memory for the messages");
    json_decref(m.out);
    return code;
}

json_t *openai_messages_read(const json_t *messages, struct err *err)
{
    size_t n = json_array_size(messages);
    if (!json_is_array(messages)) {
        (void)api_wrong_type("messages", "an array", messages, err);
        return NULL;
    }
    if (n == 0 || n > API_MESSAGES_MAX) {
        err_set_param(err, ERR_INVALID, "messages",
                      "'messages' must hold 1 to %d messages, not %zu", API_MESSAGES_MAX, n);
        return NULL;
    }
    json_t *list = json_array();
    if (list == NULL)
        err_set(err, ERR_NOMEM, "out of memory for the messages");
    for (size_t i = 0; list != NULL && i < n; i++) {
        char where[32];
        snprintf(where, sizeof where, "messages[%zu]", i);
        if (read_message(where, json_array_get(messages, i), list, err) != 0) {
            json_decref(list);
            list = NULL;
        }
    }
    return list;
}
