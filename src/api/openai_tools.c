/*
 * openai_tools: see the header. Knows the wire's shapes; what tools share is in tools.h.
 */
#include "api/openai_tools.h"

#include "api/fields.h"
#include "api/tools.h"
#include "base/mem.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

static int no_memory(struct err *err)
{
    return err_set(err, ERR_NOMEM, "out of memory for the tools");
}

/* r->own[key], made where it is missing; borrowed. */
static json_t *own_object(struct api_request *r, const char *key)
{
    if (r->own == NULL)
        r->own = json_object();
    if (json_object_get(r->own, key) == NULL)
        (void)json_object_set_new(r->own, key, json_object());
    return json_object_get(r->own, key);
}

/* ---- tools ---- */

/* {"type": "text"} or {"type": "grammar", "grammar": {"syntax": "regex", "definition"}} */
static int read_format(const char *where, const json_t *format, json_t *input, struct err *err)
{
    struct str type = json_str(json_object_get(format, "type"));
    const json_t *grammar = json_object_get(format, "grammar");
    if (format == NULL || json_is_null(format) || str_eq_z(type, "text"))
        return 0;
    if (!str_eq_z(type, "grammar"))
        return err_set_param(err, ERR_INVALID, where, "'%s.type' must be text or grammar", where);
    if (!json_is_object(grammar))
        grammar = format; /* the Responses API has it flat */
    struct str syntax = json_str(json_object_get(grammar, "syntax"));
    const json_t *definition = json_object_get(grammar, "definition");
    if (!str_eq_z(syntax, "regex"))
        return err_set_param(err, ERR_UNSUPPORTED, where,
                             "'%s': of grammars of tools only the syntax 'regex' is supported",
                             where);
    if (!json_is_string(definition))
        return err_set_param(err, ERR_INVALID, where, "'%s': 'definition' must be a string", where);
    json_t *pattern = json_sprintf("^(?:%s)$", json_string_value(definition));
    return json_object_set_new(input, "pattern", pattern) == 0 ? 0 : no_memory(err);
}

int openai_custom_take(struct api_request *r, const char *where, const json_t *custom,
                       struct err *err)
{
    static const struct api_field table[] = {
        {"type", API_STR, API_NO_EFFECT}, /* in the Responses API it is all of the tool */
        {"name", API_STR, API_HONOURED, .offset = offsetof(struct api_tool, name)},
        {"description", API_STR, API_HONOURED, .offset = offsetof(struct api_tool, description)},
        {"format", API_ANY, API_NO_EFFECT},
    };
    struct api_tool t = {0};
    char name[192];
    if (!json_is_object(custom))
        return err_set_param(err, ERR_INVALID, where, "'%s' must be an object", where);
    snprintf(name, sizeof name, "%s.", where);
    int code = api_fields_read(table, ARRAY_LEN(table), custom, name, &t, err);
    json_t *input = json_pack("{s:s}", "type", "string");
    snprintf(name, sizeof name, "%s.format", where);
    if (code == 0)
        code = read_format(name, json_object_get(custom, "format"), input, err);
    json_t *schema = json_pack("{s:s, s:{s:O}, s:[s], s:b}", "type", "object", "properties",
                               "input", input, "required", "input", "additionalProperties", false);
    if (code == 0 && schema == NULL)
        code = no_memory(err);
    t.parameters = schema;
    if (code == 0)
        code = api_tool_add(r, where, &t, err);
    if (code == 0 &&
        json_object_setn_new(own_object(r, "custom"), t.name.ptr, t.name.len, json_true()) != 0)
        code = no_memory(err);
    json_decref(schema);
    json_decref(input);
    return code;
}

static int take_tool(struct api_request *r, const char *where, const json_t *tool, struct err *err)
{
    static const struct api_field table[] = {
        {"type", API_STR, API_NO_EFFECT},
        {"function", API_ANY, API_NO_EFFECT},
        {"custom", API_ANY, API_NO_EFFECT},
        {"cache_control", API_ANY, API_NO_EFFECT},
    };
    char name[192];
    if (!json_is_object(tool))
        return api_wrong_type(where, "an object", tool, err);
    snprintf(name, sizeof name, "%s.", where);
    int code = api_fields_read(table, ARRAY_LEN(table), tool, name, NULL, err);
    struct str type = json_str(json_object_get(tool, "type"));
    if (code != 0)
        return code;
    if (str_eq_z(type, "function") || (type.len == 0 && json_object_get(tool, "function") != NULL))
        return api_tool_take(r, where, tool, err);
    snprintf(name, sizeof name, "%s.custom", where);
    if (str_eq_z(type, "custom"))
        return openai_custom_take(r, name, json_object_get(tool, "custom"), err);
    snprintf(name, sizeof name, "%s.type", where);
    return err_set_param(err, ERR_UNSUPPORTED, name,
                         "'%s' must be function or custom: no tools run on the server", name);
}

int openai_take_tools(const char *name, const json_t *value, void *into, struct err *err)
{
    int code = 0;
    if (!json_is_array(value))
        return api_wrong_type(name, "an array", value, err);
    for (size_t i = 0; i < json_array_size(value) && code == 0; i++) {
        char where[64];
        snprintf(where, sizeof where, "%s[%zu]", name, i);
        code = take_tool(into, where, json_array_get(value, i), err);
    }
    return code;
}

int openai_take_parallel(const char *name, const json_t *value, void *into, struct err *err)
{
    if (!json_is_boolean(value))
        return api_wrong_type(name, "a boolean", value, err);
    ((struct api_request *)into)->gen.one_tool_call = json_is_false(value);
    return 0;
}

int openai_take_functions(const char *name, const json_t *value, void *into, struct err *err)
{
    struct api_request *r = into;
    int code = 0;
    if (!json_is_array(value))
        return api_wrong_type(name, "an array", value, err);
    for (size_t i = 0; i < json_array_size(value) && code == 0; i++) {
        char where[96];
        json_t *tool = json_pack("{s:O}", "function", json_array_get(value, i));
        snprintf(where, sizeof where, "%s[%zu]", name, i);
        code = tool == NULL ? no_memory(err) : api_tool_take(r, where, tool, err);
        json_decref(tool);
    }
    if (code == 0 && json_array_size(value) > 0 && own_object(r, "functions") == NULL)
        code = no_memory(err);
    r->gen.one_tool_call = r->gen.one_tool_call || json_array_size(value) > 0;
    return code;
}

/* ---- which are called ---- */

static const char *const choice_words[] = {
    [GEN_TOOLS_AUTO] = "auto", [GEN_TOOLS_NONE] = "none", [GEN_TOOLS_REQUIRED] = "required"};

static int choose_word(const char *name, struct str word, struct api_request *r, struct err *err)
{
    if (str_eq_z(word, "any"))
        word = STR("required"); /* Mistral's word for it */
    for (int i = 0; i < GEN_TOOLS_N_CHOICES; i++)
        if (str_eq_z(word, choice_words[i]))
            return api_tools_choose(r, name, (enum gen_tool_choice)i, STR(""), err);
    return err_set_param(err, ERR_INVALID, name,
                         "'%s' must be none, auto, required or an object, not '%.*s'", name,
                         (int)(word.len > 40 ? 40 : word.len), word.ptr);
}

/* The name in {"type": "function", "function": {"name"}}, or custom's; "" when there is none. */
static struct str named(const json_t *one)
{
    struct str type = json_str(json_object_get(one, "type"));
    const char *key = str_eq_z(type, "custom") ? "custom" : "function";
    return json_str(json_object_get(json_object_get(one, key), "name"));
}

static int take_allowed(const char *name, const json_t *value, struct api_request *r,
                        struct err *err)
{
    const json_t *allowed = json_object_get(value, "allowed_tools");
    if (!json_is_object(allowed))
        allowed = value; /* the Responses API has it flat */
    struct str mode = json_str(json_object_get(allowed, "mode"));
    const json_t *tools = json_object_get(allowed, "tools");
    if (!str_eq_z(mode, "auto") && !str_eq_z(mode, "required"))
        return err_set_param(err, ERR_INVALID, name, "'%s': 'mode' must be auto or required", name);
    if (json_array_size(tools) == 0)
        return err_set_param(err, ERR_INVALID, name, "'%s': 'tools' must be an array, not empty",
                             name);
    int code = choose_word(name, mode, r, err);
    for (size_t i = 0; i < json_array_size(tools) && code == 0; i++)
        code = api_tools_allow(r, name, named(json_array_get(tools, i)), err);
    return code;
}

int openai_take_tool_choice(const char *name, const json_t *value, void *into, struct err *err)
{
    if (json_is_string(value))
        return choose_word(name, json_str(value), into, err);
    if (!json_is_object(value))
        return api_wrong_type(name, "a string or an object", value, err);
    struct str type = json_str(json_object_get(value, "type"));
    if (str_eq_z(type, "allowed_tools"))
        return take_allowed(name, value, into, err);
    if (named(value).len == 0)
        return err_set_param(err, ERR_INVALID, name,
                             "'%s' must be {\"type\": \"function\", \"function\": {\"name\": ...}}",
                             name);
    return api_tools_choose(into, name, GEN_TOOLS_REQUIRED, named(value), err);
}

int openai_take_function_call(const char *name, const json_t *value, void *into, struct err *err)
{
    if (json_is_string(value))
        return choose_word(name, json_str(value), into, err);
    struct str called = json_str(json_object_get(value, "name"));
    if (called.len == 0)
        return err_set_param(err, ERR_INVALID, name, "'%s' must be none, auto or {\"name\": ...}",
                             name);
    return api_tools_choose(into, name, GEN_TOOLS_REQUIRED, called, err);
}

/* ---- calls in a conversation ---- */

static int read_function(const char *where, const json_t *function, struct err *err)
{
    static const struct api_field table[] = {
        {"name", API_STR, API_NO_EFFECT},
        {"arguments", API_STR, API_NO_EFFECT},
    };
    char name[256];
    if (!json_is_object(function) || !json_is_string(json_object_get(function, "name")) ||
        !json_is_string(json_object_get(function, "arguments")))
        return err_set_param(err, ERR_INVALID, where,
                             "'%s' must be an object with the strings 'name' and 'arguments'",
                             where);
    snprintf(name, sizeof name, "%s.", where);
    return api_fields_read(table, ARRAY_LEN(table), function, name, NULL, err);
}

/* {"id", "type": "custom", "custom": {"name", "input"}} as a call with the argument `input`. */
static json_t *read_custom(const char *where, const json_t *call, struct err *err)
{
    const json_t *custom = json_object_get(call, "custom");
    const json_t *name = json_object_get(custom, "name"), *input = json_object_get(custom, "input");
    json_t *id = json_object_get(call, "id");
    if (!json_is_string(name) || !json_is_string(input)) {
        err_set_param(err, ERR_INVALID, where,
                      "'%s.custom' must be an object with the strings 'name' and 'input'", where);
        return NULL;
    }
    json_t *arguments = json_pack("{s:O}", "input", input);
    char *text = json_dumps(arguments, JSON_COMPACT);
    json_t *made = json_pack("{s:O*, s:s, s:{s:O, s:s*}}", "id", id, "type", "function", "function",
                             "name", name, "arguments", text);
    json_decref(arguments);
    free(text);
    if (made == NULL)
        (void)no_memory(err);
    return made;
}

static json_t *read_call(const char *where, const json_t *call, struct err *err)
{
    static const struct api_field table[] = {
        {"id", API_STR, API_NO_EFFECT},
        {"type", API_STR, API_NO_EFFECT},
        {"index", API_INT, API_NO_EFFECT, 0, 1e6},
        {"function", API_ANY, API_NO_EFFECT},
        {"custom", API_ANY, API_NO_EFFECT},
    };
    char name[192];
    if (!json_is_object(call)) {
        (void)api_wrong_type(where, "an object", call, err);
        return NULL;
    }
    snprintf(name, sizeof name, "%s.", where);
    if (api_fields_read(table, ARRAY_LEN(table), call, name, NULL, err) != 0)
        return NULL;
    if (str_eq_z(json_str(json_object_get(call, "type")), "custom"))
        return read_custom(where, call, err);
    snprintf(name, sizeof name, "%s.function", where);
    if (read_function(name, json_object_get(call, "function"), err) != 0)
        return NULL;
    json_t *made = json_copy((json_t *)call);
    bool ok = made != NULL && json_object_set_new(made, "type", json_string("function")) == 0;
    json_object_del(made, "index");
    json_object_del(made, "custom");
    if (ok)
        return made;
    json_decref(made);
    (void)no_memory(err);
    return NULL;
}

json_t *openai_calls_read(const char *where, const json_t *calls, struct err *err)
{
    if (!json_is_array(calls)) {
        (void)api_wrong_type(where, "an array", calls, err);
        return NULL;
    }
    json_t *list = json_array();
    for (size_t i = 0; i < json_array_size(calls); i++) {
        char name[64];
        snprintf(name, sizeof name, "%s[%zu]", where, i);
        json_t *call = read_call(name, json_array_get(calls, i), err);
        if (call == NULL || json_array_append_new(list, call) != 0) {
            json_decref(list);
            return NULL;
        }
    }
    return list;
}

json_t *openai_function_call_read(const char *where, const json_t *call, struct err *err)
{
    if (read_function(where, call, err) != 0)
        return NULL;
    json_t *list = json_pack("[{s:s, s:O}]", "type", "function", "function", call);
    if (list == NULL)
        (void)no_memory(err);
    return list;
}
