/*
 * ollama_messages: conversations and tools as Ollama writes them, as templates take them; and the
 * `context` of /api/generate.
 *
 * Templates know messages as OpenAI has them: thinking becomes reasoning_content, tool_name the
 * name, roles are lower case. Arguments of calls stay objects: the worker gives templates the form
 * they want.
 */
#include "api/ollama_request.h"
#include "api/tools.h"
#include "base/mem.h"

#include <stdio.h>
#include <string.h>

struct reading {
    json_t *out;
    struct str role;
};

static int keep(struct reading *m, const char *key, json_t *value, struct err *err)
{
    return json_object_set_new(m->out, key, value) == 0
               ? 0
               : err_set(err, ERR_NOMEM, "out of memory for the messages");
}

static int take_role(const char *name, const json_t *v, void *into, struct err *err)
{
    static const char *const roles[] = {"system", "user", "assistant", "tool"};
    struct reading *m = into;
    if (!json_is_string(v))
        return api_wrong_type(name, "a string", v, err);
    for (size_t i = 0; i < ARRAY_LEN(roles); i++) {
        if (!str_eq_nocase(json_str(v), str_z(roles[i])))
            continue;
        m->role = str_z(roles[i]);
        return keep(m, "role", json_string(roles[i]), err);
    }
    return err_set_param(err, ERR_INVALID, name,
                         "'%s' must be system, user, assistant or tool, not '%.40s'", name,
                         json_string_value(v));
}

static int take_text(const char *name, const json_t *v, void *into, struct err *err)
{
    const char *dot = strrchr(name, '.');
    const char *key = dot == NULL ? name : dot + 1;
    if (!json_is_string(v))
        return api_wrong_type(name, "a string", v, err);
    if (strcmp(key, "thinking") == 0)
        key = "reasoning_content";
    else if (strcmp(key, "tool_name") == 0)
        key = "name";
    if (json_str(v).len == 0 && strcmp(key, "content") != 0)
        return 0;
    return keep(into, key, json_incref((json_t *)v), err);
}

/* ---- calls of an assistant's turn ---- */

static int take_arguments(const char *name, const json_t *v, void *into, struct err *err)
{
    if (!json_is_object(v))
        return api_wrong_type(name, "an object", v, err);
    return keep(into, "arguments", json_incref((json_t *)v), err);
}

static int read_function(const char *where, const json_t *v, json_t *ret, struct err *err)
{
    static const struct api_field fields[] = {
        {"name", API_ANY, API_HONOURED, .take = take_text},
        {"arguments", API_ANY, API_HONOURED, .take = take_arguments},
        {"index", API_INT, API_NO_EFFECT, 0, 1e6},
        {"description", API_STR, API_NO_EFFECT},
    };
    struct reading f = {.out = ret};
    char prefix[128];
    snprintf(prefix, sizeof prefix, "%s.", where);
    if (!json_is_object(v))
        return api_wrong_type(where, "an object", v, err);
    int code = api_fields_read(fields, ARRAY_LEN(fields), v, prefix, &f, err);
    if (code == 0 && json_object_get(ret, "name") == NULL)
        code = err_set_param(err, ERR_INVALID, where, "'%s' needs a name", where);
    if (code == 0 && json_object_get(ret, "arguments") == NULL)
        code = keep(&f, "arguments", json_object(), err);
    return code;
}

static int read_call(const char *where, const json_t *call, json_t *calls, struct err *err)
{
    static const struct api_field fields[] = {
        {"id", API_STR, API_NO_EFFECT},
        {"type", API_STR, API_NO_EFFECT},
        {"function", API_ANY, API_NO_EFFECT},
    };
    char name[96];
    if (!json_is_object(call))
        return api_wrong_type(where, "an object", call, err);
    snprintf(name, sizeof name, "%s.", where);
    int code = api_fields_read(fields, ARRAY_LEN(fields), call, name, NULL, err);
    json_t *function = json_object();
    snprintf(name, sizeof name, "%s.function", where);
    const json_t *given = json_object_get(call, "function");
    if (code == 0 && given == NULL)
        code = err_set_param(err, ERR_INVALID, name, "'%s' is missing", name);
    if (code == 0)
        code = read_function(name, given, function, err);
    json_t *one = json_pack("{s:s, s:O}", "type", "function", "function", function);
    json_t *id = json_object_get(call, "id");
    bool ok = one != NULL && (!json_is_string(id) || json_object_set(one, "id", id) == 0);
    if (code == 0 && (!ok || json_array_append(calls, one) != 0))
        code = err_set(err, ERR_NOMEM, "out of memory for the messages");
    json_decref(one);
    json_decref(function);
    return code;
}

static int take_calls(const char *name, const json_t *v, void *into, struct err *err)
{
    struct reading *m = into;
    if (!json_is_array(v))
        return api_wrong_type(name, "an array", v, err);
    if (json_array_size(v) == 0)
        return 0;
    if (!str_eq_z(m->role, "assistant"))
        return err_set_param(err, ERR_INVALID, name, "'%s' belongs to the role assistant", name);
    json_t *calls = json_array();
    int code = 0;
    for (size_t i = 0; i < json_array_size(v) && code == 0; i++) {
        char where[64];
        snprintf(where, sizeof where, "%s[%zu]", name, i);
        code = read_call(where, json_array_get(v, i), calls, err);
    }
    if (code == 0)
        return keep(m, "tool_calls", calls, err);
    json_decref(calls);
    return code;
}

/* ---- messages ---- */

const struct api_field ollama_message_fields[OLLAMA_N_MESSAGE] = {
    {"role", API_ANY, API_HONOURED, .take = take_role},
    {"content", API_ANY, API_HONOURED, .take = take_text},
    {"thinking", API_ANY, API_HONOURED, .take = take_text},
    {"tool_calls", API_ANY, API_HONOURED, .take = take_calls},
    {"tool_name", API_ANY, API_HONOURED, .take = take_text},
    {"name", API_ANY, API_HONOURED, .take = take_text},
    {"tool_call_id", API_ANY, API_HONOURED, .take = take_text},
    {"images", API_ANY, API_REFUSED, .take = ollama_no_images, .note = "models here see no images"},
};

static int read_message(const char *where, const json_t *message, json_t *list, struct err *err)
{
    char name[80];
    if (!json_is_object(message))
        return api_wrong_type(where, "an object", message, err);
    struct reading m = {.out = json_object()};
    const json_t *role = json_object_get(message, "role");
    snprintf(name, sizeof name, "%s.role", where);
    /* The role first: what the others may be hangs on it. */
    int code = m.out == NULL ? err_set(err, ERR_NOMEM, "out of memory")
               : role == NULL || json_is_null(role)
                   ? err_set_param(err, ERR_INVALID, name, "'%s' is missing", name)
                   : take_role(name, role, &m, err);
    snprintf(name, sizeof name, "%s.", where);
    if (code == 0)
        code = api_fields_read(ollama_message_fields, OLLAMA_N_MESSAGE, message, name, &m, err);
    if (code == 0 && json_object_get(m.out, "content") == NULL)
        code = keep(&m, "content", json_string(""), err);
    if (code == 0 && json_array_append(list, m.out) != 0)
        code = err_set(err, ERR_NOMEM, "out of memory for the messages");
    json_decref(m.out);
    return code;
}

json_t *ollama_messages_read(const char *where, const json_t *messages, struct err *err)
{
    size_t n = json_array_size(messages);
    if (!json_is_array(messages)) {
        (void)api_wrong_type(where, "an array", messages, err);
        return NULL;
    }
    if (n > API_MESSAGES_MAX) {
        err_set_param(err, ERR_INVALID, where, "'%s' must hold at most %d messages, not %zu", where,
                      API_MESSAGES_MAX, n);
        return NULL;
    }
    json_t *list = json_array();
    if (list == NULL)
        err_set(err, ERR_NOMEM, "out of memory for the messages");
    for (size_t i = 0; list != NULL && i < n; i++) {
        char at[64];
        snprintf(at, sizeof at, "%s[%zu]", where, i);
        if (read_message(at, json_array_get(messages, i), list, err) != 0) {
            json_decref(list);
            list = NULL;
        }
    }
    return list;
}

/* ---- context ---- */

#define CONTEXT_MAGIC     4851 /* in front: what another server made does not begin so */
#define CONTEXT_HEAD      3    /* numbers: the magic, the bytes, their checksum */
#define CONTEXT_WORD      6    /* bytes to a number: below 2^53, exact in every client */
#define CONTEXT_BYTES_MAX (16u << 20)

static uint64_t checksum(struct str s)
{
    uint64_t hash = 0xcbf29ce484222325u; /* FNV-1a */
    for (size_t i = 0; i < s.len; i++)
        hash = (hash ^ (unsigned char)s.ptr[i]) * 0x100000001b3u;
    return hash >> 16;
}

bool ollama_context_write(const json_t *messages, struct buf *out)
{
    struct buf text;
    buf_init(&text, CONTEXT_BYTES_MAX);
    bool ok = json_write(messages, &text);
    if (ok)
        buf_printf(out, "[%d,%zu,%llu", CONTEXT_MAGIC, text.len,
                   (unsigned long long)checksum(buf_str(&text)));
    for (size_t i = 0; ok && i < text.len; i += CONTEXT_WORD) {
        uint64_t word = 0;
        for (size_t k = 0; k < CONTEXT_WORD && i + k < text.len; k++)
            word |= (uint64_t)(unsigned char)text.ptr[i + k] << (8 * k);
        buf_printf(out, ",%llu", (unsigned long long)word);
    }
    if (ok)
        buf_add_char(out, ']');
    buf_release(&text);
    return ok && !out->overflow;
}

static bool unpack(const json_t *context, struct buf *out)
{
    size_t n = json_array_size(context);
    int64_t len = json_integer_value(json_array_get(context, 1));
    if (n < CONTEXT_HEAD || json_integer_value(json_array_get(context, 0)) != CONTEXT_MAGIC ||
        len < 0 || len > (int64_t)CONTEXT_BYTES_MAX ||
        (n - CONTEXT_HEAD) != ((size_t)len + CONTEXT_WORD - 1) / CONTEXT_WORD)
        return false;
    for (size_t i = CONTEXT_HEAD; i < n; i++) {
        const json_t *one = json_array_get(context, i);
        uint64_t word = (uint64_t)json_integer_value(one);
        if (!json_is_integer(one))
            return false;
        for (size_t k = 0; k < CONTEXT_WORD && out->len < (size_t)len; k++)
            buf_add_char(out, (char)(word >> (8 * k) & 0xff));
    }
    return !out->overflow &&
           checksum(buf_str(out)) == (uint64_t)json_integer_value(json_array_get(context, 2));
}

json_t *ollama_context_read(const json_t *context, struct err *err)
{
    struct buf text;
    buf_init(&text, CONTEXT_BYTES_MAX);
    json_t *raw = unpack(context, &text) ? json_parse(buf_str(&text), JSON_DEPTH_MAX, NULL) : NULL;
    json_t *messages = raw == NULL ? NULL : ollama_messages_read("context", raw, NULL);
    buf_release(&text);
    json_decref(raw);
    if (messages == NULL)
        err_set_param(err, ERR_INVALID, "context",
                      "'context' is not what this server gave with an earlier answer; use "
                      "/api/chat with the messages instead");
    return messages;
}

/* ---- tools ---- */

int ollama_take_tools(const char *name, const json_t *v, void *into, struct err *err)
{
    static const struct api_field fields[] = {
        {"type", API_STR, API_NO_EFFECT},
        {"items", API_ANY, API_NO_EFFECT},
        {"function", API_ANY, API_NO_EFFECT},
    };
    struct ollama_reading *g = into;
    size_t n = json_array_size(v);
    int code = 0;
    if (!json_is_array(v))
        return api_wrong_type(name, "an array", v, err);
    for (size_t i = 0; i < n && code == 0; i++) {
        const json_t *tool = json_array_get(v, i);
        struct str type = json_str(json_object_get(tool, "type"));
        char where[32], prefix[40];
        snprintf(where, sizeof where, "tools[%zu]", i);
        snprintf(prefix, sizeof prefix, "%s.", where);
        if (!json_is_object(tool))
            return api_wrong_type(where, "an object", tool, err);
        if (type.len > 0 && !str_eq_z(type, "function"))
            return err_set_param(err, ERR_UNSUPPORTED, where, "'%s' must be of type function",
                                 where);
        code = api_fields_read(fields, ARRAY_LEN(fields), tool, prefix, NULL, err);
        if (code == 0)
            code = api_tool_take(&g->r, where, tool, err);
    }
    return code;
}
