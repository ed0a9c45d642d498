/*
 * responses_request: the table of parameters of /v1/responses, and what they become. Pure.
 *
 * What the answer repeats of the request is gathered in own.echo while it is read; own's other
 * members are what answers and the gateway need to know:
 *   store, background, encrypted   booleans
 *   custom                         {name: true}: tools whose calls are custom_tool_call items
 */
#include "api/conversation.h"
#include "api/openai.h"
#include "api/openai_batch.h"
#include "api/openai_tools.h"
#include "api/response_format.h"
#include "api/responses.h"
#include "api/responses_answer.h"
#include "api/sampling.h"
#include "api/think.h"
#include "api/tools.h"
#include "base/mem.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

static int no_memory(struct err *err)
{
    return err_set(err, ERR_NOMEM, "out of memory for the request");
}

/* Into own; takes value. */
static int keep(struct api_request *r, const char *key, json_t *value, struct err *err)
{
    return value != NULL && json_object_set_new(r->own, key, value) == 0 ? 0 : no_memory(err);
}

static int echo(struct api_request *r, const char *key, json_t *value, struct err *err)
{
    json_t *all = json_object_get(r->own, "echo");
    return value != NULL && json_object_set_new(all, key, value) == 0 ? 0 : no_memory(err);
}

static int echo_same(struct api_request *r, const char *key, const json_t *value, struct err *err)
{
    return echo(r, key, json_incref((json_t *)value), err);
}

static bool own_is(const struct api_request *r, const char *key)
{
    return json_is_true(json_object_get(r->own, key));
}

/* ---- plain values that are repeated ---- */

static int take_echo_text(const char *name, const json_t *v, void *into, struct err *err)
{
    return json_is_string(v) ? echo_same(into, name, v, err)
                             : api_wrong_type(name, "a string", v, err);
}

static int take_flag(const char *name, const json_t *v, void *into, struct err *err)
{
    return json_is_boolean(v) ? keep(into, name, json_incref((json_t *)v), err)
                              : api_wrong_type(name, "a boolean", v, err);
}

static int take_input(const char *name, const json_t *v, void *into, struct err *err)
{
    (void)into;
    return json_is_string(v) || json_is_array(v)
               ? 0
               : api_wrong_type(name, "a string or an array of items", v, err);
}

static int take_metadata(const char *name, const json_t *v, void *into, struct err *err)
{
    int code = openai_metadata_check(name, v, err);
    return code == 0 ? echo_same(into, name, v, err) : code;
}

/* As the answer repeats it, an object; whether there is such a one the gateway says. */
static int take_conversation(const char *name, const json_t *v, void *into, struct err *err)
{
    static const struct api_field table[] = {{"id", API_STR, API_NO_EFFECT}};
    struct str id = conversation_id_of(v);
    if (json_is_object(v)) {
        int code = api_fields_read(table, ARRAY_LEN(table), v, "conversation.", NULL, err);
        if (code != 0)
            return code;
    }
    if (id.len == 0)
        return err_set_param(err, ERR_INVALID, name,
                             "'%s' must be the id of a conversation, or an object with its 'id'",
                             name);
    return echo(into, name, json_pack("{s:s%}", "id", id.ptr, id.len), err);
}

static int take_stream_options(const char *name, const json_t *v, void *into, struct err *err)
{
    static const struct api_field table[] = {
        {"include_obfuscation", API_BOOL, API_NO_EFFECT},
    };
    if (!json_is_object(v))
        return api_wrong_type(name, "an object", v, err);
    ((struct api_request *)into)->stream_options_given = true;
    return api_fields_read(table, ARRAY_LEN(table), v, "stream_options.", into, err);
}

/* What belongs to hosted tools, images and files is there without being asked: there are none. */
static int take_include(const char *name, const json_t *v, void *into, struct err *err)
{
    static const char *const nothing[] = {
        "file_search_call.results",       "web_search_call.results",
        "web_search_call.action.sources", "message.input_image.image_url",
        "code_interpreter_call.outputs",  "computer_call_output.output.image_url",
    };
    struct api_request *r = into;
    int code = 0;
    if (!json_is_array(v))
        return api_wrong_type(name, "an array of strings", v, err);
    for (size_t i = 0; i < json_array_size(v) && code == 0; i++) {
        struct str word = json_str(json_array_get(v, i));
        bool known = false;
        for (size_t k = 0; k < ARRAY_LEN(nothing); k++)
            known = known || str_eq_z(word, nothing[k]);
        if (str_eq_z(word, "message.output_text.logprobs"))
            r->gen.logprobs = true;
        else if (str_eq_z(word, "reasoning.encrypted_content"))
            code = keep(r, "encrypted", json_true(), err);
        else if (!known)
            code =
                err_set_param(err, ERR_INVALID, name, "'%s': there is nothing '%.64s' to include",
                              name, word.len == 0 ? "of such a kind" : word.ptr);
    }
    return code;
}

/* ---- text ---- */

static int take_schema(const json_t *v, struct api_request *r, struct err *err)
{
    static const struct api_field table[] = {
        {"type", API_STR, API_NO_EFFECT},        {"name", API_STR, API_NO_EFFECT},
        {"description", API_STR, API_NO_EFFECT}, {"schema", API_ANY, API_NO_EFFECT},
        {"strict", API_BOOL, API_NO_EFFECT},
    };
    const json_t *schema = json_object_get(v, "schema");
    int code = api_fields_read(table, ARRAY_LEN(table), v, "text.format.", r, err);
    if (code == 0 && json_str(json_object_get(v, "name")).len == 0)
        code = err_set_param(err, ERR_INVALID, "text.format.name", "'text.format.name' is missing");
    if (code == 0 && schema == NULL)
        code = err_set_param(err, ERR_INVALID, "text.format.schema",
                             "'text.format.schema' is missing");
    return code != 0 ? code
                     : api_form_schema(r, "text.format.schema", schema,
                                       json_is_true(json_object_get(v, "strict")), err);
}

static int take_format(const char *name, const json_t *v, void *into, struct err *err)
{
    static const struct api_field only_type[] = {{"type", API_STR, API_NO_EFFECT}};
    if (!json_is_object(v))
        return api_wrong_type(name, "an object", v, err);
    struct str type = json_str(json_object_get(v, "type"));
    if (str_eq_z(type, "json_schema"))
        return take_schema(v, into, err);
    if (!str_eq_z(type, "text") && !str_eq_z(type, "json_object"))
        return err_set_param(err, ERR_INVALID, "text.format.type",
                             "'text.format.type' must be text, json_schema or json_object");
    int code = api_fields_read(only_type, ARRAY_LEN(only_type), v, "text.format.", into, err);
    return code != 0 || str_eq_z(type, "text") ? code : api_form_json(into, "text.format", err);
}

static int one_of(const char *name, const json_t *v, const char *const *words, const char *list,
                  struct err *err)
{
    struct str word = json_str(v);
    for (int i = 0; words[i] != NULL; i++)
        if (str_eq_z(word, words[i]))
            return 0;
    return err_set_param(err, ERR_INVALID, name, "'%s' must be %s", name, list);
}

static int take_verbosity(const char *name, const json_t *v, void *into, struct err *err)
{
    static const char *const words[] = {"low", "medium", "high", NULL};
    (void)into;
    return one_of(name, v, words, "low, medium or high", err);
}

static int take_text(const char *name, const json_t *v, void *into, struct err *err)
{
    static const struct api_field table[] = {
        {"format", API_ANY, API_HONOURED, .take = take_format},
        {"verbosity", API_ANY, API_NO_EFFECT, .take = take_verbosity},
    };
    if (!json_is_object(v))
        return api_wrong_type(name, "an object", v, err);
    int code = api_fields_read(table, ARRAY_LEN(table), v, "text.", into, err);
    return code == 0 ? echo_same(into, name, v, err) : code;
}

/* ---- tools ---- */

static int take_function(struct api_request *r, const char *where, const json_t *tool,
                         struct err *err)
{
    static const struct api_field table[] = {
        {"type", API_STR, API_NO_EFFECT},
        {"name", API_STR, API_HONOURED, .offset = offsetof(struct api_tool, name)},
        {"description", API_STR, API_HONOURED, .offset = offsetof(struct api_tool, description)},
        {"parameters", API_ANY, API_NO_EFFECT},
        {"strict", API_BOOL, API_HONOURED, .offset = offsetof(struct api_tool, strict)},
    };
    struct api_tool t = {0};
    char name[64];
    snprintf(name, sizeof name, "%s.", where);
    int code = api_fields_read(table, ARRAY_LEN(table), tool, name, &t, err);
    t.parameters = json_object_get(tool, "parameters");
    if (json_is_null(t.parameters))
        t.parameters = NULL;
    return code == 0 ? api_tool_add(r, where, &t, err) : code;
}

static int take_tools(const char *name, const json_t *v, void *into, struct err *err)
{
    int code = 0;
    char where[32], param[48];
    if (!json_is_array(v))
        return api_wrong_type(name, "an array", v, err);
    for (size_t i = 0; i < json_array_size(v) && code == 0; i++) {
        const json_t *tool = json_array_get(v, i);
        struct str type = json_str(json_object_get(tool, "type"));
        snprintf(where, sizeof where, "%s[%zu]", name, i);
        snprintf(param, sizeof param, "%s.type", where);
        if (str_eq_z(type, "function"))
            code = take_function(into, where, tool, err);
        else if (str_eq_z(type, "custom"))
            code = openai_custom_take(into, where, tool, err);
        else if (!json_is_object(tool))
            code = api_wrong_type(where, "an object", tool, err);
        else
            code = err_set_param(err, ERR_UNSUPPORTED, param,
                                 "'%s' is '%.40s': it must be function or custom, for no tools run "
                                 "on the server",
                                 param, type.len == 0 ? "missing" : type.ptr);
    }
    return code == 0 ? echo_same(into, name, v, err) : code;
}

static int take_allowed(const char *name, const json_t *v, struct api_request *r, struct err *err)
{
    const json_t *tools = json_object_get(v, "tools"), *mode = json_object_get(v, "mode");
    if (!str_eq_z(json_str(mode), "auto") && !str_eq_z(json_str(mode), "required"))
        return err_set_param(err, ERR_INVALID, name, "'%s': 'mode' must be auto or required", name);
    if (json_array_size(tools) == 0)
        return err_set_param(err, ERR_INVALID, name, "'%s': 'tools' must be an array, not empty",
                             name);
    int code = openai_take_tool_choice(name, mode, r, err);
    for (size_t i = 0; i < json_array_size(tools) && code == 0; i++)
        code = api_tools_allow(r, name, json_str(json_object_get(json_array_get(tools, i), "name")),
                               err);
    return code;
}

static int take_tool_choice(const char *name, const json_t *v, void *into, struct err *err)
{
    struct str type = json_str(json_object_get(v, "type"));
    struct str called = json_str(json_object_get(v, "name"));
    int code;
    if (!json_is_object(v))
        code = openai_take_tool_choice(name, v, into, err);
    else if (str_eq_z(type, "allowed_tools"))
        code = take_allowed(name, v, into, err);
    else if ((str_eq_z(type, "function") || str_eq_z(type, "custom")) && called.len > 0)
        code = api_tools_choose(into, name, GEN_TOOLS_REQUIRED, called, err);
    else
        code = err_set_param(err, ERR_INVALID, name,
                             "'%s' must be none, auto, required, {\"type\": \"function\" or "
                             "\"custom\", \"name\": ...} or allowed_tools",
                             name);
    return code == 0 ? echo_same(into, name, v, err) : code;
}

static int take_parallel(const char *name, const json_t *v, void *into, struct err *err)
{
    int code = openai_take_parallel(name, v, into, err);
    return code == 0 ? echo_same(into, name, v, err) : code;
}

/* ---- reasoning ---- */

/* Reasoning is given whole, so there is no summary of it to be had, in whatever length. */
static int take_summary(const char *name, const json_t *v, void *into, struct err *err)
{
    static const char *const words[] = {"auto", "concise", "detailed", NULL};
    (void)into;
    return one_of(name, v, words, "auto, concise or detailed", err);
}

static int take_reasoning(const char *name, const json_t *v, void *into, struct err *err)
{
    static const struct api_field table[] = {
        {"effort", API_ANY, API_HONOURED, .take = api_take_effort},
        {"summary", API_ANY, API_NO_EFFECT, .take = take_summary},
        {"generate_summary", API_ANY, API_NO_EFFECT, .take = take_summary},
    };
    if (!json_is_object(v))
        return api_wrong_type(name, "an object", v, err);
    int code = api_fields_read(table, ARRAY_LEN(table), v, "reasoning.", into, err);
    return code == 0 ? echo_same(into, name, v, err) : code;
}

/* ---- what a refused parameter may say without asking for anything ---- */

static int neutral(bool ok)
{
    return ok ? 0 : ERR_UNSUPPORTED;
}

static int only_default_tier(const char *name, const json_t *v, void *into, struct err *err)
{
    (void)name, (void)into, (void)err;
    return neutral(str_eq_z(json_str(v), "auto") || str_eq_z(json_str(v), "default"));
}

static int only_empty(const char *name, const json_t *v, void *into, struct err *err)
{
    (void)name, (void)into, (void)err;
    return neutral(json_is_array(v) && json_array_size(v) == 0);
}

static int any_object(const char *name, const json_t *v, void *into, struct err *err)
{
    (void)into;
    return json_is_object(v) ? 0 : api_wrong_type(name, "an object", v, err);
}

static int take_truncation(const char *name, const json_t *v, void *into, struct err *err)
{
    static const char *const words[] = {"auto", "disabled", NULL};
    int code = one_of(name, v, words, "auto or disabled", err);
    ((struct api_request *)into)->gen.truncate = str_eq_z(json_str(v), "auto");
    return code == 0 ? echo_same(into, name, v, err) : code;
}

/* ---- the table ---- */

#define AT(member) .offset = offsetof(struct api_request, member)

/* clang-format off: rows of a table */
static const struct api_field fields[] = {
    {"model", API_STR, API_HONOURED, AT(model)},
    {"input", API_ANY, API_HONOURED, .take = take_input},
    {"instructions", API_ANY, API_HONOURED, .take = take_echo_text},
    {"previous_response_id", API_ANY, API_HONOURED, .take = take_echo_text},
    {"conversation", API_ANY, API_HONOURED, .take = take_conversation,
     .note = "an id or {\"id\"}; its items come first, and those of this turn are added to it; not "
             "with previous_response_id"},
    {"store", API_ANY, API_HONOURED, .take = take_flag},
    {"background", API_ANY, API_HONOURED, .take = take_flag},
    {"stream", API_BOOL, API_HONOURED, AT(stream)},
    {"stream_options", API_ANY, API_HONOURED, .take = take_stream_options},
    {"include", API_ANY, API_HONOURED, .take = take_include},
    {"max_output_tokens", API_INT, API_HONOURED, 1, API_TOKEN_MAX, AT(max_tokens)},
    {"temperature", API_NUM, API_HONOURED, 0, 2, AT(gen.sampling.temperature)},
    {"top_p", API_NUM, API_HONOURED, 0, 1, AT(gen.sampling.top_p)},
    {"top_logprobs", API_INT, API_HONOURED, 0, GEN_TOP_LOGPROBS_MAX, AT(n_logprobs)},
    {"text", API_ANY, API_HONOURED, .take = take_text},
    {"reasoning", API_ANY, API_HONOURED, .take = take_reasoning},
    {"tools", API_ANY, API_HONOURED, .take = take_tools},
    {"tool_choice", API_ANY, API_HONOURED, .take = take_tool_choice},
    {"parallel_tool_calls", API_ANY, API_HONOURED, .take = take_parallel},
    {"metadata", API_ANY, API_HONOURED, .take = take_metadata},
    {"truncation", API_ANY, API_HONOURED, .take = take_truncation,
     .note = "auto or disabled; with auto the oldest items of a conversation that does not fit are "
             "left out: `hearth.dropped_messages` of the answer says how many",
     .shape = "{\"enum\":[\"auto\",\"disabled\"]}"},
    {"chat_template_kwargs", API_ANY, API_HONOURED, .take = openai_take_template_vars},
    API_SAMPLING_FIELDS,
    {"stop", API_ANY, API_HONOURED, .take = api_take_stop},
    {"keep_alive", API_ANY, API_HONOURED, .take = api_take_keep_alive},
    {"user", API_ANY, API_NO_EFFECT, .take = take_echo_text,
     .note = "a label for the provider's own use"},
    {"safety_identifier", API_ANY, API_NO_EFFECT, .take = take_echo_text,
     .note = "a label for the provider's own use"},
    {"prompt_cache_key", API_ANY, API_NO_EFFECT, .take = take_echo_text,
     .note = "what is cached is found by its text"},
    {"prompt_cache_retention", API_ANY, API_NO_EFFECT, .take = take_echo_text,
     .note = "what is cached stays while there is room"},
    {"prompt_cache_options", API_ANY, API_NO_EFFECT, .take = any_object,
     .note = "what is cached is found by its text and stays while there is room"},
    {"max_tool_calls", API_INT, API_NO_EFFECT, 1, API_TOKEN_MAX,
     .note = "it bounds hosted tools, and there are none"},
    {"service_tier", API_ANY, API_REFUSED, .take = only_default_tier,
     .note = "there is one tier; leave it out"},
    {"context_management", API_ANY, API_REFUSED, .take = only_empty,
     .note = "conversations are not compacted"},
    {"prompt", API_ANY, API_REFUSED,
     .note = "there are no stored prompts; send instructions and input"},
    {"moderation", API_ANY, API_REFUSED, .note = "there is no moderation"},
};
/* clang-format on */

/* ---- what holds between parameters ---- */

static int check_between(struct api_request *r, struct err *err)
{
    openai_think_as_template(r);
    r->gen.max_tokens = r->max_tokens;
    r->gen.top_logprobs = r->n_logprobs > 0 ? r->n_logprobs : 0;
    if (r->n_logprobs > 0)
        r->gen.logprobs = true;
    if (r->stream_options_given && !r->stream)
        return err_set_param(err, ERR_INVALID, "stream_options",
                             "'stream_options' needs 'stream': true");
    if (own_is(r, "background") && json_is_false(json_object_get(r->own, "store")))
        return err_set_param(err, ERR_INVALID, "background",
                             "'background' needs 'store': true, for its answer is fetched later");
    return 0;
}

/* What the answer repeats although nothing was said of it. */
static int echo_rest(struct api_request *r, struct err *err)
{
    const struct gen_sampling *s = &r->gen.sampling;
    int code = echo(r, "temperature", json_real(s->temperature), err);
    if (code == 0)
        code = echo(r, "top_p", json_real(s->top_p), err);
    if (code == 0)
        code = echo(r, "top_logprobs", json_integer(r->gen.top_logprobs), err);
    if (code == 0 && r->max_tokens >= 0)
        code = echo(r, "max_output_tokens", json_integer(r->max_tokens), err);
    return code;
}

static int read_all(const json_t *body, const json_t *defaults, struct api_request *r,
                    struct err *err)
{
    r->own = json_pack("{s:{}}", "echo");
    if (r->own == NULL)
        return no_memory(err);
    int code = openai_fields_read(body, defaults, r, err);
    if (code != 0)
        return code;
    const json_t *input = json_object_get(body, "input");
    if (input == NULL || json_is_null(input))
        return err_set_param(err, ERR_INVALID, "input", "'input' is missing");
    bool follows = json_is_string(json_object_get(body, "previous_response_id"));
    bool converses = conversation_id_of(json_object_get(body, "conversation")).len > 0;
    bool goes_on = follows || converses;
    if (follows && converses)
        return err_set_param(err, ERR_INVALID, "conversation",
                             "'conversation' and 'previous_response_id' cannot both be given: each "
                             "says what came before");
    r->messages =
        responses_items_messages(json_object_get(body, "instructions"), input, goes_on, err);
    if (r->messages == NULL)
        return err != NULL ? err->code : ERR_INVALID;
    code = api_request_finish(r, err);
    if (code == 0)
        code = check_between(r, err);
    return code == 0 ? echo_rest(r, err) : code;
}

static int parse_as(const struct api_endpoint *endpoint, const json_t *body, const json_t *defaults,
                    struct api_request *ret, struct err *err)
{
    struct api_request r;
    struct err unused = {0};
    api_request_init(&r, endpoint);
    int code = read_all(body, defaults, &r, err == NULL ? &unused : err);
    if (code == 0)
        *ret = r;
    else
        api_request_release(&r);
    return code;
}

static int parse(const json_t *body, const json_t *defaults, struct api_request *ret,
                 struct err *err)
{
    return parse_as(&openai_responses, body, defaults, ret, err);
}

/* A line of a batch stands alone. */
static int check_line(const json_t *body, struct err *err)
{
    static const char *const needs[] = {"previous_response_id", "conversation", "background",
                                        "store"};
    size_t i;
    json_t *item;
    for (i = 0; i < ARRAY_LEN(needs); i++) {
        const json_t *v = json_object_get(body, needs[i]);
        if (v != NULL && !json_is_null(v) && !json_is_false(v))
            return err_set_param(err, ERR_UNSUPPORTED, needs[i],
                                 "'%s' is not supported in a batch: its answers are in the output "
                                 "file and are not stored as responses",
                                 needs[i]);
    }
    json_array_foreach(json_object_get(body, "input"), i, item)
    {
        if (str_eq_z(json_str(json_object_get(item, "type")), "item_reference"))
            return err_set_param(err, ERR_UNSUPPORTED, "input",
                                 "an item_reference is not supported in a batch");
    }
    return 0;
}

static int parse_line(const json_t *body, const json_t *defaults, struct api_request *ret,
                      struct err *err)
{
    int code = json_is_object(body) ? check_line(body, err) : 0;
    if (code == 0)
        code = parse_as(&openai_responses_line, body, defaults, ret, err);
    if (code == 0 && json_object_set_new(ret->own, "store", json_false()) != 0) {
        api_request_release(ret);
        return no_memory(err);
    }
    return code;
}

bool responses_wants_store(const struct api_request *r)
{
    return !json_is_false(json_object_get(r->own, "store"));
}

bool responses_wants_background(const struct api_request *r)
{
    return own_is(r, "background");
}

/* ---- the endpoints ---- */

#define RESPONSES                                                                                  \
    .path = "/v1/responses", .dialect = API_OPENAI, .is_chat = true, .id_prefix = "resp_",         \
    .stream_type = "text/event-stream", .ping = ": still working\n\n", .has_comments = true,       \
    .fields = fields, .n_fields = ARRAY_LEN(fields), .answer_new = responses_answer_new,           \
    .answer_free = responses_answer_free, .begin = responses_answer_begin,                         \
    .delta = responses_answer_delta, .end = responses_answer_end,                                  \
    .finish = responses_answer_finish, .fail = responses_answer_fail,                              \
    .whole = responses_answer_whole

const struct api_endpoint openai_responses = {.parse = parse, RESPONSES};
const struct api_endpoint openai_responses_line = {.parse = parse_line, RESPONSES};
