/*
 * anthropic_request: the table of parameters of /v1/messages and what they become. Pure; knows no
 * sockets and no workers.
 */
#include "api/anthropic.h"
#include "api/anthropic_answer.h"
#include "api/anthropic_batch.h"
#include "api/fields.h"
#include "api/response_format.h"
#include "api/sampling.h"
#include "api/think.h"
#include "api/tools.h"
#include "base/mem.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

#define EVERY_PREFIX "every prefix is kept as long as memory and disk allow"

/* ---- the conversation ---- */

/* Both halves of it are read by parse, together: results are given the names of their calls. */
static int take_later(const char *name, const json_t *value, void *into, struct err *err)
{
    (void)name, (void)value, (void)into, (void)err;
    return 0;
}

static int own(struct api_request *r, const char *key, struct err *err)
{
    if (r->own == NULL)
        r->own = json_object();
    return json_object_set_new(r->own, key, json_true()) == 0
               ? 0
               : err_set(err, ERR_NOMEM, "out of memory for the request");
}

static int take_stop_sequences(const char *name, const json_t *value, void *into, struct err *err)
{
    if (!json_is_array(value))
        return api_wrong_type(name, "an array of strings", value, err);
    int code = api_take_stop(name, value, into, err);
    return code == 0 && json_array_size(value) > 0 ? own(into, "tells_stop", err) : code;
}

/* ---- thinking ---- */

struct thinking {
    struct str type, display;
    int64_t budget;
};

static const struct api_field thinking_fields[] = {
    {"type", API_STR, API_HONOURED, .offset = offsetof(struct thinking, type)},
    {"budget_tokens", API_INT, API_HONOURED, 1, API_TOKEN_MAX,
     .offset = offsetof(struct thinking, budget)},
    {"display", API_STR, API_HONOURED, .offset = offsetof(struct thinking, display)},
};

/*
 * {"type": "enabled", "budget_tokens": N} | {"type": "adaptive"} | {"type": "disabled"}. Nothing
 * said is disabled, as at Anthropic: an answer holds blocks of thinking for who asked for them.
 */
static int take_thinking(const char *name, const json_t *value, void *into, struct err *err)
{
    struct api_request *r = into;
    struct thinking t = {.budget = -1};
    if (!json_is_object(value))
        return api_wrong_type(name, "an object", value, err);
    int code =
        api_fields_read(thinking_fields, ARRAY_LEN(thinking_fields), value, "thinking.", &t, err);
    if (code != 0)
        return code;
    bool enabled = str_eq_z(t.type, "enabled");
    if (!enabled && !str_eq_z(t.type, "adaptive") && !str_eq_z(t.type, "disabled"))
        return err_set_param(err, ERR_INVALID, "thinking.type",
                             "'thinking.type' must be enabled, adaptive or disabled");
    if (enabled && t.budget < 0)
        return err_set_param(err, ERR_INVALID, "thinking.budget_tokens",
                             "'thinking.budget_tokens' is missing");
    if (!enabled && t.budget >= 0)
        return err_set_param(err, ERR_INVALID, "thinking.budget_tokens",
                             "'thinking.budget_tokens' belongs to the type enabled");
    if (t.display.len > 0 && !str_eq_z(t.display, "summarized") && !str_eq_z(t.display, "omitted"))
        return err_set_param(err, ERR_INVALID, "thinking.display",
                             "'thinking.display' must be summarized or omitted");
    r->gen.think = str_eq_z(t.type, "disabled") ? GEN_THINK_OFF : GEN_THINK_ON;
    r->gen.think_max = t.budget;
    return str_eq_z(t.display, "omitted") ? own(r, "hide_thinking", err) : 0;
}

/* ---- the form of the answer ---- */

struct format {
    struct str type;
};

static const struct api_field format_fields[] = {
    {"type", API_STR, API_HONOURED, .offset = offsetof(struct format, type)},
    {"schema", API_ANY, API_HONOURED, .take = take_later},
};

static int take_format(const char *name, const json_t *value, void *into, struct err *err)
{
    struct format f = {0};
    char where[128];
    if (!json_is_object(value))
        return api_wrong_type(name, "an object", value, err);
    snprintf(where, sizeof where, "%s.", name);
    int code = api_fields_read(format_fields, ARRAY_LEN(format_fields), value, where, &f, err);
    if (code != 0)
        return code;
    const json_t *schema = json_object_get(value, "schema");
    snprintf(where, sizeof where, "%s.type", name);
    if (!str_eq_z(f.type, "json_schema"))
        return err_set_param(err, ERR_INVALID, where, "'%s' must be json_schema", where);
    snprintf(where, sizeof where, "%s.schema", name);
    if (schema == NULL)
        return err_set_param(err, ERR_INVALID, where, "'%s' is missing", where);
    return api_form_schema(into, where, schema, true, err);
}

/* How much of an answer it is; whether there is thinking says `thinking`. */
static int take_effort(const char *name, const json_t *value, void *into, struct err *err)
{
    struct gen_request *g = &((struct api_request *)into)->gen;
    int64_t think = g->think;
    int code = api_take_effort(name, value, into, err);
    g->think = think;
    return code;
}

static const struct api_field output_fields[] = {
    {"effort", API_ANY, API_HONOURED, .take = take_effort},
    {"format", API_ANY, API_HONOURED, .take = take_format, .sub = format_fields,
     .n_sub = ARRAY_LEN(format_fields)},
};

static int take_output_config(const char *name, const json_t *value, void *into, struct err *err)
{
    if (!json_is_object(value))
        return api_wrong_type(name, "an object", value, err);
    return api_fields_read(output_fields, ARRAY_LEN(output_fields), value, "output_config.", into,
                           err);
}

/* ---- tools ---- */

struct tool {
    struct str type;
    struct api_tool tool;
};

static int take_schema(const char *name, const json_t *value, void *into, struct err *err)
{
    if (!json_is_object(value))
        return api_wrong_type(name, "an object: a JSON schema", value, err);
    ((struct tool *)into)->tool.parameters = value;
    return 0;
}

static const struct api_field tool_fields[] = {
    {"name", API_STR, API_HONOURED, .offset = offsetof(struct tool, tool.name)},
    {"description", API_STR, API_HONOURED, .offset = offsetof(struct tool, tool.description)},
    {"input_schema", API_ANY, API_HONOURED, .take = take_schema},
    {"type", API_STR, API_HONOURED, .offset = offsetof(struct tool, type)},
    {"strict", API_BOOL, API_HONOURED, .offset = offsetof(struct tool, tool.strict)},
    {"cache_control", API_ANY, API_NO_EFFECT, .take = take_later, .note = EVERY_PREFIX},
    {"input_examples", API_ANY, API_NO_EFFECT, .take = take_later,
     .note = "templates have no place for them"},
    {"defer_loading", API_BOOL, API_NO_EFFECT, .note = "every tool is shown at once"},
    {"eager_input_streaming", API_BOOL, API_NO_EFFECT,
     .note = "arguments are always sent as they come"},
    {"allowed_callers", API_ANY, API_NO_EFFECT, .take = take_later, .note = "only the model calls"},
};

static int read_tool(struct api_request *r, const char *where, const json_t *tool, struct err *err)
{
    struct tool t = {0};
    char name[64];
    if (!json_is_object(tool))
        return api_wrong_type(where, "an object", tool, err);
    t.type = json_str(json_object_get(tool, "type"));
    snprintf(name, sizeof name, "%s.type", where);
    if (t.type.len > 0 && !str_eq_z(t.type, "custom"))
        return err_set_param(err, ERR_UNSUPPORTED, name,
                             "'%s' is '%.60s': only tools of the client's own (custom) are "
                             "supported",
                             name, t.type.ptr);
    snprintf(name, sizeof name, "%s.", where);
    int code = api_fields_read(tool_fields, ARRAY_LEN(tool_fields), tool, name, &t, err);
    snprintf(name, sizeof name, "%s.input_schema", where);
    if (code == 0 && t.tool.parameters == NULL)
        code = err_set_param(err, ERR_INVALID, name, "'%s' is missing", name);
    return code != 0 ? code : api_tool_add(r, where, &t.tool, err);
}

static int take_tools(const char *name, const json_t *value, void *into, struct err *err)
{
    int code = 0;
    if (!json_is_array(value))
        return api_wrong_type(name, "an array", value, err);
    for (size_t i = 0; i < json_array_size(value) && code == 0; i++) {
        char where[40];
        snprintf(where, sizeof where, "tools[%zu]", i);
        code = read_tool(into, where, json_array_get(value, i), err);
    }
    return code;
}

struct choice {
    struct str type, name;
    bool one;
};

static const struct api_field choice_fields[] = {
    {"type", API_STR, API_HONOURED, .offset = offsetof(struct choice, type)},
    {"name", API_STR, API_HONOURED, .offset = offsetof(struct choice, name)},
    {"disable_parallel_tool_use", API_BOOL, API_HONOURED, .offset = offsetof(struct choice, one)},
};

static int take_tool_choice(const char *name, const json_t *value, void *into, struct err *err)
{
    static const struct {
        const char *type;
        enum gen_tool_choice choice;
    } types[] = {{"auto", GEN_TOOLS_AUTO},
                 {"any", GEN_TOOLS_REQUIRED},
                 {"tool", GEN_TOOLS_REQUIRED},
                 {"none", GEN_TOOLS_NONE}};
    struct api_request *r = into;
    struct choice c = {0};
    if (!json_is_object(value))
        return api_wrong_type(name, "an object", value, err);
    int code =
        api_fields_read(choice_fields, ARRAY_LEN(choice_fields), value, "tool_choice.", &c, err);
    if (code != 0)
        return code;
    bool named = str_eq_z(c.type, "tool");
    if (named != (c.name.len > 0))
        return err_set_param(err, ERR_INVALID, "tool_choice.name",
                             named ? "'tool_choice.name' is missing"
                                   : "'tool_choice.name' belongs to the type 'tool'");
    r->gen.one_tool_call = c.one;
    for (size_t i = 0; i < ARRAY_LEN(types); i++)
        if (str_eq_z(c.type, types[i].type))
            return api_tools_choose(r, named ? "tool_choice.name" : "tool_choice", types[i].choice,
                                    c.name, err);
    return err_set_param(err, ERR_INVALID, "tool_choice.type",
                         "'tool_choice.type' must be auto, any, tool or none");
}

/* ---- what has no effect, or is refused ---- */

static int any_object(const char *name, const json_t *v, void *into, struct err *err)
{
    (void)into;
    return json_is_object(v) ? 0 : api_wrong_type(name, "an object", v, err);
}

static int only_tier(const char *name, const json_t *v, void *into, struct err *err)
{
    (void)into;
    if (str_eq_z(json_str(v), "auto") || str_eq_z(json_str(v), "standard_only"))
        return 0;
    return err_set_param(err, ERR_INVALID, name, "'%s' must be auto or standard_only", name);
}

static int only_empty_list(const char *name, const json_t *v, void *into, struct err *err)
{
    (void)name, (void)into, (void)err;
    return json_is_array(v) && json_array_size(v) == 0 ? 0 : ERR_UNSUPPORTED;
}

#define AT(member) .offset = offsetof(struct api_request, member)

/* clang-format off: rows of a table */
static const struct api_field message_fields[] = {
    {"model", API_STR, API_HONOURED, AT(model)},
    {"messages", API_ANY, API_HONOURED, .take = take_later},
    {"system", API_ANY, API_HONOURED, .take = take_later},
    {"max_tokens", API_INT, API_HONOURED, 1, API_TOKEN_MAX, AT(max_tokens)},
    {"stream", API_BOOL, API_HONOURED, AT(stream)},
    {"stop_sequences", API_ANY, API_HONOURED, .take = take_stop_sequences},
    {"temperature", API_NUM, API_HONOURED, 0, 2, AT(gen.sampling.temperature)},
    {"top_p", API_NUM, API_HONOURED, 0, 1, AT(gen.sampling.top_p)},
    {"tools", API_ANY, API_HONOURED, .take = take_tools, .sub = tool_fields,
     .n_sub = ARRAY_LEN(tool_fields)},
    {"tool_choice", API_ANY, API_HONOURED, .take = take_tool_choice, .sub = choice_fields,
     .n_sub = ARRAY_LEN(choice_fields)},
    {"thinking", API_ANY, API_HONOURED, .take = take_thinking, .sub = thinking_fields,
     .n_sub = ARRAY_LEN(thinking_fields)},
    {"output_config", API_ANY, API_HONOURED, .take = take_output_config, .sub = output_fields,
     .n_sub = ARRAY_LEN(output_fields)},
    {"output_format", API_ANY, API_HONOURED, .take = take_format, .sub = format_fields,
     .n_sub = ARRAY_LEN(format_fields)},
    /* beyond Anthropic's own, as the other dialects have them */
    API_SAMPLING_FIELDS,
    {"keep_alive", API_ANY, API_HONOURED, .take = api_take_keep_alive},
    /* labels and hints */
    {"metadata", API_ANY, API_NO_EFFECT, .take = any_object, .note = "a label for the client"},
    {"cache_control", API_ANY, API_NO_EFFECT, .take = any_object, .note = EVERY_PREFIX},
    {"service_tier", API_ANY, API_NO_EFFECT, .take = only_tier, .note = "there is one tier"},
    {"inference_geo", API_STR, API_NO_EFFECT, .note = "it is computed here"},
    {"speed", API_STR, API_NO_EFFECT, .note = "there is one speed"},
    {"diagnostics", API_ANY, API_NO_EFFECT, .take = any_object,
     .note = "GET /v1/requests/{id} says where a prompt left what was cached"},
    {"context_management", API_ANY, API_NO_EFFECT, .take = any_object,
     .note = "the conversation is taken as it is sent"},
    {"user_profile_id", API_STR, API_NO_EFFECT, .note = "keys say who asks"},
    {"workspace_id", API_STR, API_NO_EFFECT, .note = "keys say who asks"},
    {"container", API_ANY, API_REFUSED, .note = "no code is run here"},
    {"mcp_servers", API_ANY, API_REFUSED, .take = only_empty_list,
     .note = "the server calls no tools; connect them in the client"},
};
/* clang-format on */

/* ---- parse ---- */

static int read_conversation(const json_t *body, struct api_request *r, struct err *err)
{
    const json_t *messages = json_object_get(body, "messages");
    if (messages == NULL || json_is_null(messages))
        return err_set_param(err, ERR_INVALID, "messages", "'messages' is missing");
    r->messages = anthropic_messages_read(messages, json_object_get(body, "system"), err);
    if (r->messages == NULL)
        return err != NULL && err->code != 0 ? err->code : ERR_INVALID;
    r->continue_final = anthropic_is_prefill(r->messages);
    return 0;
}

static int read_body(const json_t *body, const json_t *defaults, struct api_request *r,
                     struct err *err)
{
    if (!json_is_object(body))
        return err_set(err, ERR_INVALID, "the body must be a JSON object");
    r->gen.parse = true;
    r->gen.think = GEN_THINK_OFF;
    int code = api_sampling_begin(body, defaults, r, err);
    if (code == 0)
        code = api_fields_read(message_fields, ARRAY_LEN(message_fields), body, "", r, err);
    if (code == 0)
        code = read_conversation(body, r, err);
    if (code == 0)
        code = api_request_finish(r, err);
    if (code == 0 && r->max_tokens < 0 && r->endpoint != &anthropic_count)
        code = err_set_param(err, ERR_INVALID, "max_tokens", "'max_tokens' is missing");
    r->gen.max_tokens = r->max_tokens;
    return code;
}

static int parse(const struct api_endpoint *endpoint, const json_t *body, const json_t *defaults,
                 struct api_request *ret, struct err *err)
{
    struct api_request r;
    api_request_init(&r, endpoint);
    int code = read_body(body, defaults, &r, err);
    if (code == 0)
        *ret = r;
    else
        api_request_release(&r);
    return code;
}

static int parse_messages(const json_t *body, const json_t *defaults, struct api_request *ret,
                          struct err *err)
{
    return parse(&anthropic_messages, body, defaults, ret, err);
}

static int parse_line(const json_t *body, const json_t *defaults, struct api_request *ret,
                      struct err *err)
{
    int code = parse(&anthropic_messages_line, body, defaults, ret, err);
    if (code != 0 || !ret->stream)
        return code;
    api_request_release(ret);
    return err_set_param(err, ERR_UNSUPPORTED, "stream",
                         "'stream' cannot be had in a batch: its answers are whole");
}

static int parse_count(const json_t *body, const json_t *defaults, struct api_request *ret,
                       struct err *err)
{
    return parse(&anthropic_count, body, defaults, ret, err);
}

/* ---- the endpoints ---- */

#define ANTHROPIC_SHARED                                                                           \
    .dialect = API_ANTHROPIC, .is_chat = true, .id_prefix = "msg_",                                \
    .stream_type = "text/event-stream", .ping = ANTHROPIC_PING, .fields = message_fields,          \
    .n_fields = ARRAY_LEN(message_fields), .answer_new = anthropic_answer_new,                     \
    .answer_free = anthropic_answer_free, .begin = anthropic_answer_begin,                         \
    .started = anthropic_answer_started, .delta = anthropic_answer_delta,                          \
    .end = anthropic_answer_end, .finish = anthropic_answer_finish, .fail = anthropic_answer_fail, \
    .whole = anthropic_answer_whole

const struct api_endpoint anthropic_messages = {
    .path = "/v1/messages",
    .parse = parse_messages,
    ANTHROPIC_SHARED,
};

const struct api_endpoint anthropic_count = {
    .path = "/v1/messages/count_tokens",
    .parse = parse_count,
    ANTHROPIC_SHARED,
};

const struct api_endpoint anthropic_messages_line = {
    .path = "/v1/messages",
    .parse = parse_line,
    ANTHROPIC_SHARED,
};
