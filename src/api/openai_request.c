/*
 * openai_request: the tables of parameters of the two completion endpoints, and what they become.
 * Pure; knows no sockets and no workers. The ranges are the API reference's.
 */
#include "api/fields.h"
#include "api/openai_answer.h"
#include "api/openai_tools.h"
#include "api/response_format.h"
#include "api/sampling.h"
#include "api/think.h"
#include "base/mem.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#define PREDICTION_BYTES_MAX (64u << 20)

/* ---- values that need more than a type and a range ---- */

static const struct api_field stream_options_fields[] = {
    {"include_usage", API_BOOL, API_HONOURED,
     .offset = offsetof(struct api_request, include_usage)},
    {"include_obfuscation", API_BOOL, API_NO_EFFECT,
     .note = "it pads events against listeners that the transport keeps out"},
};

static int take_stream_options(const char *name, const json_t *value, void *into, struct err *err)
{
    if (!json_is_object(value))
        return api_wrong_type(name, "an object", value, err);
    ((struct api_request *)into)->stream_options_given = true;
    return api_fields_read(stream_options_fields, ARRAY_LEN(stream_options_fields), value,
                           "stream_options.", into, err);
}

/* {"type": "content", "content": string | [{"type": "text", "text": string}]}; parts are joined. */
static int take_prediction_content(const char *name, const json_t *value, void *into,
                                   struct err *err)
{
    struct gen_request *g = &((struct api_request *)into)->gen;
    const char *shape = "a string or an array of parts of type 'text'";
    struct buf text;
    if (!json_is_string(value) && !json_is_array(value))
        return api_wrong_type(name, shape, value, err);
    buf_init(&text, PREDICTION_BYTES_MAX);
    size_t n = json_is_string(value) ? 1 : json_array_size(value);
    int code = 0;
    for (size_t i = 0; i < n && code == 0; i++) {
        const json_t *part = json_is_string(value) ? value : json_array_get(value, i);
        const json_t *words = json_is_string(part) ? part : json_object_get(part, "text");
        if (json_is_array(value) && !str_eq_z(json_str(json_object_get(part, "type")), "text"))
            code = err_set_param(err, ERR_INVALID, name,
                                 "'%s' must be %s: part %zu is of another type", name, shape, i);
        else if (!json_is_string(words))
            code = err_set_param(err, ERR_INVALID, name, "'%s': part %zu has no string 'text'",
                                 name, i);
        else
            buf_add_str(&text, json_str(words));
    }
    if (code == 0 && text.overflow)
        code = err_set_param(err, ERR_TOO_LARGE, name, "'%s' is too large", name);
    if (code == 0) {
        g->prediction_len = text.len;
        g->prediction = text.len > 0 ? buf_steal(&text) : str_dup(STR(""));
    }
    buf_release(&text);
    return code;
}

static int take_prediction_type(const char *name, const json_t *value, void *into, struct err *err)
{
    (void)into;
    if (!str_eq_z(json_str(value), "content"))
        return err_set_param(err, ERR_INVALID, name, "'%s' must be 'content'", name);
    return 0;
}

static int take_prediction(const char *name, const json_t *value, void *into, struct err *err)
{
    static const struct api_field table[] = {
        {"type", API_ANY, API_HONOURED, .take = take_prediction_type},
        {"content", API_ANY, API_HONOURED, .take = take_prediction_content},
    };
    if (!json_is_object(value))
        return api_wrong_type(name, "an object", value, err);
    int code = api_fields_read(table, ARRAY_LEN(table), value, "prediction.", into, err);
    for (size_t i = 0; i < ARRAY_LEN(table) && code == 0; i++) {
        const json_t *member = json_object_get(value, table[i].name);
        if (member == NULL || json_is_null(member))
            code = err_set_param(err, ERR_INVALID, name, "'%s' needs '%s'", name, table[i].name);
    }
    return code;
}

static int take_messages(const char *name, const json_t *value, void *into, struct err *err)
{
    (void)name;
    struct api_request *r = into;
    r->messages = openai_messages_read(value, err);
    return r->messages == NULL ? (err ? err->code : ERR_INVALID) : 0;
}

int openai_take_template_vars(const char *name, const json_t *value, void *into, struct err *err)
{
    static const char *const ours[] = {"messages", "tools", "add_generation_prompt",
                                       "continue_final_message"};
    if (!json_is_object(value))
        return api_wrong_type(name, "an object", value, err);
    for (size_t i = 0; i < ARRAY_LEN(ours); i++)
        if (json_object_get(value, ours[i]) != NULL)
            return err_set_param(err, ERR_INVALID, name, "'%s' may not set '%s'", name, ours[i]);
    ((struct api_request *)into)->template_vars = (json_t *)value;
    return 0;
}

void openai_think_as_template(struct api_request *r)
{
    static const char *const names[] = {"enable_thinking", "thinking"};
    for (size_t i = 0; i < ARRAY_LEN(names) && r->gen.think == GEN_THINK_DEFAULT; i++) {
        const json_t *v = json_object_get(r->template_vars, names[i]);
        if (json_is_boolean(v))
            r->gen.think = json_is_true(v) ? GEN_THINK_ON : GEN_THINK_OFF;
    }
}

/* What llama-server calls it: "none" leaves thinking in the text, as the model wrote it. */
static int take_reasoning_format(const char *name, const json_t *value, void *into, struct err *err)
{
    struct str word = json_str(value);
    if (str_eq_z(word, "none"))
        ((struct api_request *)into)->gen.parse = false;
    else if (!str_eq_z(word, "auto") && !str_eq_z(word, "deepseek"))
        return err_set_param(err, ERR_INVALID, name, "'%s' must be auto, deepseek or none", name);
    return 0;
}

static int take_generation_prompt(const char *name, const json_t *value, void *into,
                                  struct err *err)
{
    struct api_request *r = into;
    if (!json_is_boolean(value))
        return api_wrong_type(name, "a boolean", value, err);
    r->generation_prompt_given = true;
    r->generation_prompt = json_is_true(value);
    return 0;
}

/* What follows the answer: a model with tokens for that fills the gap. Empty: nothing. */
static int take_suffix(const char *name, const json_t *value, void *into, struct err *err)
{
    struct gen_request *g = &((struct api_request *)into)->gen;
    if (!json_is_string(value))
        return api_wrong_type(name, "a string", value, err);
    if (json_string_length(value) == 0)
        return 0;
    g->suffix = str_dup(json_str(value));
    g->suffix_len = json_string_length(value);
    return g->suffix != NULL ? 0 : err_set(err, ERR_NOMEM, "out of memory");
}

/* string | [string] | [int] | [[int]]: all become an array of prompts. */
static int take_prompt(const char *name, const json_t *value, void *into, struct err *err)
{
    struct api_request *r = into;
    const char *shape = "a string, an array of strings, of token ids, or of arrays of token ids";
    if (!json_is_string(value) && !json_is_array(value))
        return api_wrong_type(name, shape, value, err);
    const json_t *first = json_is_array(value) ? json_array_get(value, 0) : NULL;
    if (json_is_array(value) && first == NULL)
        return err_set_param(err, ERR_INVALID, name, "'%s' is an empty array", name);
    bool whole = json_is_string(value) || json_is_integer(first);
    size_t n = whole ? 1 : json_array_size(value);
    if (n > API_PROMPTS_MAX)
        return err_set_param(err, ERR_INVALID, name, "'%s' may hold at most %d prompts, not %zu",
                             name, API_PROMPTS_MAX, n);
    r->prompts = json_array();
    for (size_t i = 0; i < n; i++) {
        json_t *item = whole ? (json_t *)value : json_array_get(value, i);
        if (!json_is_string(item) && !json_is_array(item))
            return api_wrong_type(name, shape, item, err);
        if (!whole && json_typeof(item) != json_typeof(first))
            return err_set_param(err, ERR_INVALID, name, "'%s' may not mix strings and token ids",
                                 name);
        int code = json_is_array(item) ? api_check_token_ids(name, item, err) : 0;
        if (code != 0)
            return code;
        if (json_array_append(r->prompts, item) != 0)
            return err_set(err, ERR_NOMEM, "out of memory");
    }
    r->n_prompt = (int)n;
    return 0;
}

/* ---- what a refused parameter may say without asking for anything ---- */

static int neutral(bool ok)
{
    return ok ? 0 : ERR_UNSUPPORTED;
}

static int only_false(const char *name, const json_t *v, void *into, struct err *err)
{
    (void)name, (void)into, (void)err;
    return neutral(json_is_false(v));
}

static int only_text_modality(const char *name, const json_t *v, void *into, struct err *err)
{
    (void)name, (void)into, (void)err;
    return neutral(json_array_size(v) == 1 && str_eq_z(json_str(json_array_get(v, 0)), "text"));
}

static int only_default_tier(const char *name, const json_t *v, void *into, struct err *err)
{
    (void)name, (void)into, (void)err;
    return neutral(str_eq_z(json_str(v), "auto") || str_eq_z(json_str(v), "default"));
}

static int any_object(const char *name, const json_t *v, void *into, struct err *err)
{
    (void)into;
    return json_is_object(v) ? 0 : api_wrong_type(name, "an object", v, err);
}

/* ---- the tables ---- */

#define AT(member) .offset = offsetof(struct api_request, member)
#define REFUSED(name, why)                                                                         \
    {                                                                                              \
        name, API_ANY, API_REFUSED, .note = why                                                    \
    }
#define REFUSED_BUT(name, check, why)                                                              \
    {                                                                                              \
        name, API_ANY, API_REFUSED, .take = check, .note = why                                     \
    }

/* clang-format off: rows of a table */
#define SHARED_FIELDS                                                                              \
    {"model", API_STR, API_HONOURED, AT(model)}, {"stream", API_BOOL, API_HONOURED, AT(stream)},   \
        {"stream_options",                                                                         \
         API_ANY,                                                                                  \
         API_HONOURED,                                                                             \
         .take = take_stream_options,                                                              \
         .sub = stream_options_fields,                                                             \
         .n_sub = ARRAY_LEN(stream_options_fields)},                                               \
        {"temperature", API_NUM, API_HONOURED, 0, 2, AT(gen.sampling.temperature)},                \
        {"top_p", API_NUM, API_HONOURED, 0, 1, AT(gen.sampling.top_p)}, API_SAMPLING_FIELDS,       \
        {"stop", API_ANY, API_HONOURED, .take = api_take_stop},                                    \
        {"n", API_INT, API_HONOURED, 1, GEN_N_MAX, AT(gen.n)},                                     \
        {"keep_alive", API_ANY, API_HONOURED, .take = api_take_keep_alive},                        \
        {"grammar", API_ANY, API_HONOURED, .take = api_take_gbnf},                                 \
        {"json_schema", API_ANY, API_HONOURED, .take = api_take_schema},                           \
        {"structured_outputs", API_ANY, API_HONOURED, .take = api_take_structured},                \
        {"guided_json", API_ANY, API_HONOURED, .take = api_take_schema},                           \
        {"guided_regex", API_ANY, API_HONOURED, .take = api_take_regex},                           \
        {"guided_choice", API_ANY, API_HONOURED, .take = api_take_choice},                         \
        {"guided_grammar", API_ANY, API_HONOURED, .take = api_take_gbnf},                          \
    {                                                                                              \
        "user", API_STR, API_NO_EFFECT, .note = "a label; keys say who asks"                       \
    }

static const struct api_field chat_fields[] = {
    SHARED_FIELDS,
    {"messages", API_ANY, API_HONOURED, .take = take_messages},
    {"max_tokens", API_INT, API_HONOURED, 1, API_TOKEN_MAX, AT(max_tokens)},
    {"max_completion_tokens", API_INT, API_HONOURED, 1, API_TOKEN_MAX, AT(max_completion_tokens)},
    {"logprobs", API_BOOL, API_HONOURED, AT(gen.logprobs)},
    {"top_logprobs", API_INT, API_HONOURED, 0, GEN_TOP_LOGPROBS_MAX, AT(n_logprobs)},
    {"continue_final_message", API_BOOL, API_HONOURED, AT(continue_final)},
    {"add_generation_prompt", API_ANY, API_HONOURED, .take = take_generation_prompt,
     .shape = "{\"type\":\"boolean\"}"},
    {"chat_template_kwargs", API_ANY, API_HONOURED, .take = openai_take_template_vars},
    {"metadata", API_ANY, API_NO_EFFECT, .take = any_object, .note = "a label for the client"},
    {"safety_identifier", API_STR, API_NO_EFFECT, .note = "a label for the provider's own use"},
    {"prompt_cache_key", API_STR, API_NO_EFFECT, .note = "what is cached is found by its text"},
    {"prompt_cache_retention", API_STR, API_NO_EFFECT,
     .note = "what is cached stays while there is room"},
    {"prediction", API_ANY, API_HONOURED, .take = take_prediction},
    {"tools", API_ANY, API_HONOURED, .take = openai_take_tools},
    {"tool_choice", API_ANY, API_HONOURED, .take = openai_take_tool_choice},
    {"parallel_tool_calls", API_ANY, API_HONOURED, .take = openai_take_parallel},
    {"functions", API_ANY, API_HONOURED, .take = openai_take_functions},
    {"function_call", API_ANY, API_HONOURED, .take = openai_take_function_call},
    {"reasoning_effort", API_ANY, API_HONOURED, .take = api_take_effort},
    {"reasoning", API_ANY, API_HONOURED, .take = api_take_reasoning},
    {"thinking", API_ANY, API_HONOURED, .take = api_take_thinking},
    {"think", API_ANY, API_HONOURED, .take = api_take_think},
    {"enable_thinking", API_ANY, API_HONOURED, .take = api_take_think},
    {"thinking_budget", API_ANY, API_HONOURED, .take = api_take_think_max},
    {"thinking_token_budget", API_ANY, API_HONOURED, .take = api_take_think_max},
    {"reasoning_budget", API_ANY, API_HONOURED, .take = api_take_think_max},
    {"reasoning_format", API_ANY, API_HONOURED, .take = take_reasoning_format},
    {"response_format", API_ANY, API_HONOURED, .take = api_take_response_format},
    REFUSED_BUT("modalities", only_text_modality, "only [\"text\"] is served"),
    REFUSED_BUT("store", only_false, "answers are not stored; leave it out"),
    REFUSED_BUT("service_tier", only_default_tier, "there is one tier; leave it out"),
    REFUSED("audio", "there is no speech output"),
    REFUSED("web_search_options", "there is no web search"),
    REFUSED("verbosity", "no local model takes it; ask for it in the prompt"),
    REFUSED("moderation", "there is no moderation"),
};

static const struct api_field completion_fields[] = {
    SHARED_FIELDS,
    {"prompt", API_ANY, API_HONOURED, .take = take_prompt},
    {"max_tokens", API_INT, API_HONOURED, 0, API_TOKEN_MAX, AT(max_tokens)},
    {"logprobs", API_INT, API_HONOURED, 0, GEN_TOP_LOGPROBS_MAX, AT(n_logprobs)},
    {"echo", API_BOOL, API_HONOURED, AT(gen.echo)},
    {"best_of", API_INT, API_HONOURED, 1, GEN_N_MAX, AT(best_of),
     .note = "of the value of n; another one is refused"},
    {"suffix", API_ANY, API_HONOURED, .take = take_suffix, .shape = "{\"type\":\"string\"}"},
};
/* clang-format on */

/* ---- what holds between parameters ---- */

static int check_limits(struct api_request *r, struct err *err)
{
    bool chat = r->endpoint->is_chat;
    if (r->max_tokens >= 0 && r->max_completion_tokens >= 0 &&
        r->max_tokens != r->max_completion_tokens)
        return err_set_param(err, ERR_INVALID, "max_tokens",
                             "'max_tokens' (%lld) and 'max_completion_tokens' (%lld) disagree; "
                             "give one of them",
                             (long long)r->max_tokens, (long long)r->max_completion_tokens);
    if (r->max_completion_tokens >= 0)
        r->max_tokens = r->max_completion_tokens;
    if (!chat && r->max_tokens < 0)
        r->max_tokens = 16; /* the API reference's default */
    r->gen.max_tokens = r->max_tokens;
    if (r->gen.max_tokens == 0 && !r->gen.echo)
        return err_set_param(err, ERR_INVALID, "max_tokens",
                             "'max_tokens' may be 0 only together with 'echo'");
    if (r->best_of > 0 && r->best_of != r->gen.n)
        return err_set_param(err, ERR_UNSUPPORTED, "best_of",
                             "'best_of' other than 'n' is not supported: every choice is returned");
    if (r->gen.suffix != NULL && (r->gen.echo || !json_is_string(json_array_get(r->prompts, 0))))
        return err_set_param(err, ERR_UNSUPPORTED, "suffix",
                             "'suffix' needs a prompt that is text, and goes without 'echo'");
    if (r->stream_options_given && !r->stream)
        return err_set_param(err, ERR_INVALID, "stream_options",
                             "'stream_options' needs 'stream': true");
    return 0;
}

static int check_logprobs(struct api_request *r, struct err *err)
{
    if (!r->endpoint->is_chat)
        r->gen.logprobs = r->n_logprobs >= 0;
    else if (r->n_logprobs >= 0 && !r->gen.logprobs)
        return err_set_param(err, ERR_INVALID, "top_logprobs",
                             "'top_logprobs' needs 'logprobs': true");
    r->gen.top_logprobs = r->n_logprobs > 0 ? r->n_logprobs : 0;
    return 0;
}

static int finish(struct api_request *r, struct err *err)
{
    openai_think_as_template(r);
    if (r->endpoint->is_chat && !r->gen.parse && json_array_size(r->tools) > 0)
        return err_set_param(err, ERR_INVALID, "reasoning_format",
                             "'reasoning_format': 'none' leaves the answer as it is, tool calls "
                             "too; leave it out where there are tools");
    int code = api_request_finish(r, err);
    if (code == 0)
        code = check_limits(r, err);
    return code == 0 ? check_logprobs(r, err) : code;
}

int openai_fields_read(const json_t *body, const json_t *defaults, struct api_request *r,
                       struct err *err)
{
    if (!json_is_object(body))
        return err_set(err, ERR_INVALID, "the body must be a JSON object");
    r->gen.parse = r->endpoint->is_chat;
    int code = api_sampling_begin(body, defaults, r, err);
    if (code != 0)
        return code;
    return api_fields_read(r->endpoint->fields, (size_t)r->endpoint->n_fields, body, "", r, err);
}

static int parse(const struct api_endpoint *endpoint, const json_t *body, const json_t *defaults,
                 struct api_request *ret, struct err *err)
{
    struct api_request r;
    api_request_init(&r, endpoint);
    int code = openai_fields_read(body, defaults, &r, err);
    if (code == 0)
        code = finish(&r, err);
    if (code == 0)
        *ret = r;
    else
        api_request_release(&r);
    return code;
}

static int parse_chat(const json_t *body, const json_t *defaults, struct api_request *ret,
                      struct err *err)
{
    return parse(&openai_chat, body, defaults, ret, err);
}

static int parse_completion(const json_t *body, const json_t *defaults, struct api_request *ret,
                            struct err *err)
{
    return parse(&openai_completion, body, defaults, ret, err);
}

/* ---- the endpoints ---- */

#define OPENAI_ANSWERS                                                                             \
    .dialect = API_OPENAI, .stream_type = "text/event-stream", .ping = ": still working\n\n",      \
    .has_comments = true, .answer_new = openai_answer_new, .answer_free = openai_answer_free,      \
    .begin = openai_answer_begin, .delta = openai_answer_delta, .end = openai_answer_end,          \
    .finish = openai_answer_finish, .fail = openai_answer_fail, .whole = openai_answer_whole

const struct api_endpoint openai_chat = {
    .path = "/v1/chat/completions",
    .is_chat = true,
    .id_prefix = "chatcmpl-",
    .fields = chat_fields,
    .n_fields = ARRAY_LEN(chat_fields),
    .parse = parse_chat,
    OPENAI_ANSWERS,
};

const struct api_endpoint openai_completion = {
    .path = "/v1/completions",
    .id_prefix = "cmpl-",
    .fields = completion_fields,
    .n_fields = ARRAY_LEN(completion_fields),
    .parse = parse_completion,
    OPENAI_ANSWERS,
};
