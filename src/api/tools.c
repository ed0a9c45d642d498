/*
 * tools: see tools.h. Knows OpenAI's shape of a tool, because templates do; no endpoint.
 */
#include "api/tools.h"

#include "api/fields.h"
#include "base/mem.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

static int no_memory(struct err *err)
{
    return err_set(err, ERR_NOMEM, "out of memory for the tools");
}

/* ---- the list ---- */

static struct str name_of(const json_t *tool)
{
    return json_str(json_object_get(json_object_get(tool, "function"), "name"));
}

static const json_t *find(const json_t *tools, struct str name)
{
    for (size_t i = 0; i < json_array_size(tools); i++)
        if (str_eq(name_of(json_array_get(tools, i)), name))
            return json_array_get(tools, i);
    return NULL;
}

const json_t *api_tool_find(const struct api_request *r, struct str name)
{
    return find(r->tools, name);
}

/* What models write around names must not be in them. */
static bool is_name(struct str name)
{
    if (name.len == 0 || name.len > API_TOOL_NAME_MAX)
        return false;
    for (size_t i = 0; i < name.len; i++)
        if ((unsigned char)name.ptr[i] <= ' ' || name.ptr[i] == 0x7f ||
            strchr("\"'`\\<>(){}[],;", name.ptr[i]) != NULL)
            return false;
    return true;
}

static int check(const struct api_request *r, const char *where, const struct api_tool *t,
                 struct err *err)
{
    char name[128];
    snprintf(name, sizeof name, "%s.name", where);
    if (!is_name(t->name))
        return err_set_param(err, ERR_INVALID, name,
                             "'%s' must be a tool's name: 1 to %d bytes without white space, "
                             "quotes and brackets",
                             name, API_TOOL_NAME_MAX);
    if (api_tool_find(r, t->name) != NULL)
        return err_set_param(err, ERR_INVALID, name, "'%s': there are two tools named '%.*s'", name,
                             STR_ARG(t->name));
    snprintf(name, sizeof name, "%s.parameters", where);
    const json_t *type = json_object_get(t->parameters, "type");
    if (t->parameters != NULL && !json_is_object(t->parameters))
        return api_wrong_type(name, "an object: a JSON schema", t->parameters, err);
    if (json_is_string(type) && !str_eq_z(json_str(type), "object"))
        return err_set_param(err, ERR_INVALID, name,
                             "'%s' must be a schema of the type 'object', not '%.40s'", name,
                             json_string_value(type));
    if (json_array_size(r->tools) >= API_TOOLS_MAX)
        return err_set_param(err, ERR_INVALID, "tools", "there may be at most %d tools",
                             API_TOOLS_MAX);
    return 0;
}

static bool put(json_t *obj, const char *key, json_t *value)
{
    return json_object_set_new(obj, key, value) == 0;
}

static json_t *string_of(struct str s)
{
    return json_stringn(s.ptr != NULL ? s.ptr : "", s.len);
}

int api_tool_add(struct api_request *r, const char *where, const struct api_tool *t,
                 struct err *err)
{
    int code = check(r, where, t, err);
    if (code != 0)
        return code;
    if (r->tools == NULL)
        r->tools = json_array();
    json_t *function = json_object(), *tool = json_object();
    bool ok = put(function, "name", string_of(t->name));
    if (t->description.len > 0)
        ok = ok && put(function, "description", string_of(t->description));
    if (json_object_size(t->parameters) > 0)
        ok = ok && json_object_set(function, "parameters", (json_t *)t->parameters) == 0;
    else
        ok = ok &&
             put(function, "parameters", json_pack("{s:s, s:{}}", "type", "object", "properties"));
    if (t->strict)
        ok = ok && put(function, "strict", json_true());
    ok = ok && put(tool, "type", json_string("function")) &&
         json_object_set(tool, "function", function) == 0 && json_array_append(r->tools, tool) == 0;
    json_decref(function);
    json_decref(tool);
    return ok ? 0 : no_memory(err);
}

/* ---- OpenAI's shape ---- */

struct taken {
    struct str name, description;
    bool strict;
};

int api_tool_take(struct api_request *r, const char *where, const json_t *tool, struct err *err)
{
    static const struct api_field fields[] = {
        {"name", API_STR, API_HONOURED, .offset = offsetof(struct taken, name)},
        {"description", API_STR, API_HONOURED, .offset = offsetof(struct taken, description)},
        {"parameters", API_ANY, API_NO_EFFECT},
        {"strict", API_BOOL, API_HONOURED, .offset = offsetof(struct taken, strict)},
    };
    struct taken read = {0};
    char name[128];
    const json_t *function = json_object_get(tool, "function");
    snprintf(name, sizeof name, "%s.function", where);
    if (!json_is_object(function))
        return err_set_param(err, ERR_INVALID, name, "'%s' must be an object", name);
    snprintf(name, sizeof name, "%s.function.", where);
    int code = api_fields_read(fields, ARRAY_LEN(fields), function, name, &read, err);
    if (code != 0)
        return code;
    const json_t *parameters = json_object_get(function, "parameters");
    snprintf(name, sizeof name, "%s.function", where);
    return api_tool_add(
        r, name,
        &(struct api_tool){.name = read.name,
                           .description = read.description,
                           .parameters = json_is_null(parameters) ? NULL : parameters,
                           .strict = read.strict},
        err);
}

/* ---- the choice ---- */

int api_tools_choose(struct api_request *r, const char *param, enum gen_tool_choice choice,
                     struct str name, struct err *err)
{
    r->gen.tool_choice = choice;
    snprintf(r->tools_param, sizeof r->tools_param, "%s", param);
    if (name.len == 0)
        return 0;
    if (!is_name(name))
        return err_set_param(err, ERR_INVALID, param, "'%s' does not name a tool", param);
    r->gen.tool_name = str_dup(name);
    return r->gen.tool_name != NULL ? 0 : no_memory(err);
}

int api_tools_allow(struct api_request *r, const char *param, struct str name, struct err *err)
{
    if (r->tools_allowed == NULL)
        r->tools_allowed = json_array();
    snprintf(r->tools_param, sizeof r->tools_param, "%s", param);
    if (json_array_size(r->tools_allowed) >= API_TOOLS_MAX)
        return err_set_param(err, ERR_INVALID, param, "'%s': at most %d tools", param,
                             API_TOOLS_MAX);
    return json_array_append_new(r->tools_allowed, string_of(name)) == 0 ? 0 : no_memory(err);
}

static int unknown(const struct api_request *r, struct str name, struct err *err)
{
    return err_set_param(err, ERR_INVALID, r->tools_param, "'%s' names '%.*s', which is no tool",
                         r->tools_param, STR_ARG(name));
}

/* Leaves the allowed ones, in their order. */
static int keep_allowed(struct api_request *r, struct err *err)
{
    json_t *kept = json_array(), *tool;
    const json_t *name;
    size_t i, k;
    json_array_foreach(r->tools_allowed, i, name)
    {
        if (api_tool_find(r, json_str(name)) == NULL) {
            json_decref(kept);
            return unknown(r, json_str(name), err);
        }
    }
    json_array_foreach(r->tools, i, tool)
    {
        bool allowed = false;
        json_array_foreach(r->tools_allowed, k, name)
        {
            allowed = allowed || str_eq(json_str(name), name_of(tool));
        }
        if (allowed && json_array_append(kept, tool) != 0) {
            json_decref(kept);
            return no_memory(err);
        }
    }
    json_decref(r->tools);
    r->tools = kept;
    return 0;
}

int api_tools_finish(struct api_request *r, struct err *err)
{
    struct str name = str_z(r->gen.tool_name);
    int code = r->tools_allowed != NULL ? keep_allowed(r, err) : 0;
    if (code != 0)
        return code;
    if (name.len > 0 && api_tool_find(r, name) == NULL)
        return unknown(r, name, err);
    if (name.len > 0)
        r->gen.one_tool_call = true; /* who names a tool wants it called, and that is all */
    if (r->gen.tool_choice == GEN_TOOLS_REQUIRED && json_array_size(r->tools) == 0)
        return err_set_param(err, ERR_INVALID, r->tools_param,
                             "'%s' demands a call, but there are no tools", r->tools_param);
    if (r->gen.tool_choice == GEN_TOOLS_NONE || json_array_size(r->tools) == 0)
        return 0;
    return json_object_set(r->gen.chat, "tools", r->tools) == 0 ? 0 : no_memory(err);
}

/* ---- calls ---- */

json_t *api_call_arguments(struct str text)
{
    const size_t flags = JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL;
    json_t *value = json_loadb(text.ptr != NULL ? text.ptr : "", text.len, flags, NULL);
    if (json_is_object(value))
        return value;
    json_decref(value);
    return NULL;
}

/* ---- ids ---- */

/* Two rounds of splitmix64's finalizer over FNV-1a: ids are told apart, not kept secret. */
static uint64_t mix(uint64_t x)
{
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

void api_call_id(const struct api_answer *a, const char *prefix, int i_choice, int64_t call,
                 char ret[API_CALL_ID_MAX])
{
    static const char digits[] = "abcdefghijklmnopqrstuvwxyz0123456789";
    uint64_t hash = 0xcbf29ce484222325u;
    for (const char *p = a->id; *p != '\0'; p++)
        hash = (hash ^ (unsigned char)*p) * 0x100000001b3u;
    hash ^= (uint64_t)a->created_ms << 20;
    hash = mix(hash + (uint64_t)i_choice * 0x9e3779b97f4a7c15u);
    int n = snprintf(ret, API_CALL_ID_MAX - 24, "%s", prefix);
    for (int i = 0; i < 24; i++) {
        if (i % 12 == 0)
            hash = mix(hash + ((uint64_t)call + 1) * 0xd1342543de82ef95u + (uint64_t)i);
        ret[n++] = digits[(hash >> (5 * (i % 12))) % 36];
    }
    ret[n] = '\0';
}
