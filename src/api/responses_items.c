/*
 * responses_items: input items of the Responses API as messages of a chat template.
 *
 * An item is a message, a call of a tool, its result, or reasoning. Neighbouring items of the
 * assistant (reasoning, text, calls) are one turn, so they become one message. System messages at
 * the beginning, `instructions` first, become one, for many templates take no second one.
 */
#include "api/responses.h"

#include "api/fields.h"
#include "base/mem.h"

#include <stdio.h>
#include <string.h>

#define PARTS_MAX 4096

/* The conversation that is being made. */
struct making {
    json_t *messages; /* owned by who asked for them */
    json_t *turn;     /* the assistant's last message, when nothing came after it; borrowed */
    json_t *names;    /* of calls: {call_id: name}; owned */
    bool goes_on;     /* earlier turns are not here: a result may be of their calls */
    bool refers;      /* an item names one that is not here yet */
    const char *list; /* what the client calls the array: "input" */
    const char *where;
    struct err *err;
};

static int no_memory(struct err *err)
{
    return err_set(err, ERR_NOMEM, "out of memory for the input");
}

/* ---- fields ---- */

static int wrong(const struct making *m, const char *key, const char *must_be)
{
    char name[96];
    snprintf(name, sizeof name, "%s.%s", m->where, key);
    return err_set_param(m->err, ERR_INVALID, name, "'%s' must be %s", name, must_be);
}

static int need_text(const struct making *m, const json_t *item, const char *key, json_t **ret)
{
    *ret = json_object_get(item, key);
    return json_is_string(*ret) ? 0 : wrong(m, key, "a string");
}

#define ITEM_FIELDS                                                                                \
    {"type", API_STR, API_NO_EFFECT}, {"id", API_STR, API_NO_EFFECT},                              \
    {                                                                                              \
        "status", API_STR, API_NO_EFFECT                                                           \
    }

/* Every field is known, or refused by its path. What a client's library writes as null, of items
 * that have more fields than ours, is not given. */
static int check_object(const struct making *m, const char *prefix, const struct api_field *field,
                        size_t n, const json_t *object)
{
    json_t *given = json_object();
    const char *key;
    json_t *value;
    int code = given == NULL ? no_memory(m->err) : 0;
    json_object_foreach((json_t *)object, key, value)
    {
        if (code == 0 && !json_is_null(value) && json_object_set(given, key, value) != 0)
            code = no_memory(m->err);
    }
    if (code == 0)
        code = api_fields_read(field, n, given, prefix, NULL, m->err);
    json_decref(given);
    return code;
}

static int check_fields(const struct making *m, const struct api_field *field, size_t n,
                        const json_t *item)
{
    char prefix[80];
    snprintf(prefix, sizeof prefix, "%s.", m->where);
    return check_object(m, prefix, field, n, item);
}

/* ---- the conversation ---- */

/* A new message at the end; takes it. */
static int add_message(struct making *m, json_t *message)
{
    m->turn = NULL;
    return message != NULL && json_array_append_new(m->messages, message) == 0 ? 0
                                                                               : no_memory(m->err);
}

/* The assistant's message that goes on, or a new one. */
static int open_turn(struct making *m)
{
    if (m->turn != NULL)
        return 0;
    int code = add_message(m, json_pack("{s:s}", "role", "assistant"));
    if (code == 0)
        m->turn = json_array_get(m->messages, json_array_size(m->messages) - 1);
    return code;
}

/* Appends to a text member of the turn. */
static int add_text(struct making *m, const char *key, struct str text, const char *between)
{
    struct buf joined;
    struct str had = json_str(json_object_get(m->turn, key));
    buf_init(&joined, SIZE_MAX / 2);
    if (had.len > 0) {
        buf_add_str(&joined, had);
        buf_add_z(&joined, between);
    }
    buf_add_str(&joined, text);
    json_t *value = json_stringn(joined.len > 0 ? joined.ptr : "", joined.len);
    bool ok = !joined.overflow && value != NULL && json_object_set_new(m->turn, key, value) == 0;
    buf_release(&joined);
    return ok ? 0 : no_memory(m->err);
}

static int add_call(struct making *m, const json_t *call_id, const json_t *name, json_t *arguments)
{
    int code = open_turn(m);
    json_t *calls = json_object_get(m->turn, "tool_calls");
    if (code == 0 && calls == NULL) {
        calls = json_array();
        if (calls == NULL || json_object_set_new(m->turn, "tool_calls", calls) != 0)
            code = no_memory(m->err);
    }
    if (code != 0) {
        json_decref(arguments);
        return code;
    }
    json_t *call = json_pack("{s:O, s:s, s:{s:O, s:o}}", "id", call_id, "type", "function",
                             "function", "name", name, "arguments", arguments);
    if (call == NULL || json_array_append_new(calls, call) != 0 ||
        json_object_set(m->names, json_string_value(call_id), (json_t *)name) != 0)
        return no_memory(m->err);
    return 0;
}

/* ---- content ---- */

/* The texts of parts whose types are among `types`, as parts of a template: a new array. */
static int read_parts(const struct making *m, const char *key, const json_t *parts,
                      const char *const *types, json_t **ret)
{
    static const struct api_field fields[] = {
        {"type", API_STR, API_NO_EFFECT},     {"text", API_STR, API_NO_EFFECT},
        {"refusal", API_STR, API_NO_EFFECT},  {"annotations", API_ANY, API_NO_EFFECT},
        {"logprobs", API_ANY, API_NO_EFFECT}, {"prompt_cache_breakpoint", API_ANY, API_NO_EFFECT},
        {"parsed", API_ANY, API_NO_EFFECT}, /* OpenAI's library adds it to what we said */
    };
    size_t n = json_array_size(parts);
    char where[96], name[112];
    if (n > PARTS_MAX)
        return wrong(m, key, "an array of fewer parts");
    json_t *texts = json_array();
    int code = texts == NULL ? no_memory(m->err) : 0;
    for (size_t i = 0; i < n && code == 0; i++) {
        const json_t *part = json_array_get(parts, i);
        struct str type = json_str(json_object_get(part, "type"));
        int k = 0;
        snprintf(where, sizeof where, "%s.%s[%zu]", m->where, key, i);
        snprintf(name, sizeof name, "%s.", where);
        while (types[k] != NULL && !str_eq_z(type, types[k]))
            k++;
        if (!json_is_object(part)) {
            code = api_wrong_type(where, "an object", part, m->err);
        } else if (types[k] == NULL) {
            snprintf(name, sizeof name, "%s.type", where);
            code = err_set_param(m->err, ERR_UNSUPPORTED, name,
                                 "'%s' is '%.40s': only text is taken here (no images, audio or "
                                 "files), as '%s'",
                                 name, type.len == 0 ? "missing" : type.ptr, types[0]);
        } else {
            const char *text_key = str_eq_z(type, "refusal") ? "refusal" : "text";
            json_t *text = json_object_get(part, text_key);
            code = check_object(m, name, fields, ARRAY_LEN(fields), part);
            if (code == 0 && !json_is_string(text)) {
                snprintf(name, sizeof name, "%s.%s", where, text_key);
                code = err_set_param(m->err, ERR_INVALID, name, "'%s' must be a string", name);
            }
            if (code == 0 && json_array_append_new(
                                 texts, json_pack("{s:s, s:O}", "type", "text", "text", text)) != 0)
                code = no_memory(m->err);
        }
    }
    if (code == 0)
        *ret = texts;
    else
        json_decref(texts);
    return code;
}

/* One text, joined. */
static int join_parts(const struct making *m, const json_t *texts, struct buf *out)
{
    buf_init(out, SIZE_MAX / 2);
    for (size_t i = 0; i < json_array_size(texts); i++)
        buf_add_str(out, json_str(json_object_get(json_array_get(texts, i), "text")));
    return out->overflow ? no_memory(m->err) : 0;
}

/* Content as a template takes it: a string, or parts when there are several. */
static int read_content(const struct making *m, const char *key, const json_t *content,
                        const char *const *types, json_t **ret)
{
    if (json_is_string(content)) {
        *ret = json_incref((json_t *)content);
        return 0;
    }
    if (!json_is_array(content))
        return wrong(m, key, "a string or an array of parts");
    json_t *texts = NULL;
    int code = read_parts(m, key, content, types, &texts);
    if (code != 0)
        return code;
    if (json_array_size(texts) > 1) {
        *ret = texts;
        return 0;
    }
    json_t *only = json_object_get(json_array_get(texts, 0), "text");
    *ret = only != NULL ? json_incref(only) : json_string("");
    json_decref(texts);
    return *ret == NULL ? no_memory(m->err) : 0;
}

/* ---- each type of item ---- */

static const char *const input_types[] = {"input_text", "text", NULL};
static const char *const output_types[] = {"output_text", "refusal", "input_text", "text", NULL};

static int take_assistant(struct making *m, const json_t *content)
{
    json_t *texts = NULL;
    struct buf joined = {0};
    int code = 0;
    if (json_is_array(content))
        code = read_parts(m, "content", content, output_types, &texts);
    else if (!json_is_string(content))
        code = wrong(m, "content", "a string or an array of parts");
    if (code == 0 && texts != NULL)
        code = join_parts(m, texts, &joined);
    /* A second text of one turn, or text after its calls, is a message of its own. */
    if (code == 0 && m->turn != NULL &&
        (json_object_get(m->turn, "content") != NULL ||
         json_object_get(m->turn, "tool_calls") != NULL))
        m->turn = NULL;
    if (code == 0)
        code = open_turn(m);
    if (code == 0)
        code = add_text(m, "content", texts != NULL ? buf_str(&joined) : json_str(content), "");
    json_decref(texts);
    buf_release(&joined);
    return code;
}

/* System messages that stand together at the beginning are one. */
static int take_system(struct making *m, json_t *content)
{
    json_t *first = json_array_get(m->messages, 0);
    bool joins = json_array_size(m->messages) == 1 &&
                 str_eq_z(json_str(json_object_get(first, "role")), "system") &&
                 json_is_string(json_object_get(first, "content")) && json_is_string(content);
    if (!joins)
        return add_message(m, json_pack("{s:s, s:O}", "role", "system", "content", content));
    m->turn = first;
    int code = add_text(m, "content", json_str(content), "\n\n");
    m->turn = NULL;
    return code;
}

static int take_message(struct making *m, const json_t *item)
{
    static const struct api_field fields[] = {
        ITEM_FIELDS,
        {"role", API_STR, API_NO_EFFECT},
        {"content", API_ANY, API_NO_EFFECT},
        {"phase", API_STR, API_NO_EFFECT},
    };
    json_t *role, *content = NULL;
    int code = check_fields(m, fields, ARRAY_LEN(fields), item);
    if (code == 0)
        code = need_text(m, item, "role", &role);
    if (code != 0)
        return code;
    struct str word = json_str(role);
    const json_t *given = json_object_get(item, "content");
    if (str_eq_z(word, "assistant"))
        return take_assistant(m, given);
    bool system = str_eq_z(word, "system") || str_eq_z(word, "developer");
    if (!system && !str_eq_z(word, "user"))
        return wrong(m, "role", "user, assistant, system or developer");
    code = read_content(m, "content", given, input_types, &content);
    if (code != 0)
        return code;
    code = system ? take_system(m, content)
                  : add_message(m, json_pack("{s:s, s:O}", "role", "user", "content", content));
    json_decref(content);
    return code;
}

/* A custom tool's input is free text: to the model a function with the one argument `input`. */
static json_t *custom_arguments(struct str input)
{
    struct buf text;
    buf_init(&text, SIZE_MAX / 2);
    buf_add_z(&text, "{\"input\":");
    json_write_string(input, &text);
    buf_add_char(&text, '}');
    json_t *arguments = text.overflow ? NULL : json_stringn(text.ptr, text.len);
    buf_release(&text);
    return arguments;
}

static int take_call(struct making *m, const json_t *item)
{
    static const struct api_field function_fields[] = {
        ITEM_FIELDS,
        {"call_id", API_STR, API_NO_EFFECT},
        {"name", API_STR, API_NO_EFFECT},
        {"arguments", API_STR, API_NO_EFFECT},
        {"parsed_arguments", API_ANY, API_NO_EFFECT},
    };
    static const struct api_field custom_fields[] = {
        ITEM_FIELDS,
        {"call_id", API_STR, API_NO_EFFECT},
        {"name", API_STR, API_NO_EFFECT},
        {"input", API_STR, API_NO_EFFECT},
    };
    bool custom = str_eq_z(json_str(json_object_get(item, "type")), "custom_tool_call");
    json_t *call_id, *name, *given;
    int code = custom ? check_fields(m, custom_fields, ARRAY_LEN(custom_fields), item)
                      : check_fields(m, function_fields, ARRAY_LEN(function_fields), item);
    if (code == 0)
        code = need_text(m, item, "call_id", &call_id);
    if (code == 0)
        code = need_text(m, item, "name", &name);
    if (code == 0)
        code = need_text(m, item, custom ? "input" : "arguments", &given);
    if (code != 0)
        return code;
    json_t *arguments = custom ? custom_arguments(json_str(given)) : json_incref(given);
    return arguments == NULL ? no_memory(m->err) : add_call(m, call_id, name, arguments);
}

static int no_call(const char *where, const json_t *call_id, struct err *err)
{
    char param[96];
    snprintf(param, sizeof param, "%s.call_id", where);
    return err_set_param(err, ERR_INVALID, param,
                         "'%s': no tool call found for the result with call_id '%.64s'", param,
                         json_string_value(call_id));
}

static int take_output(struct making *m, const json_t *item)
{
    static const struct api_field fields[] = {
        ITEM_FIELDS,
        {"call_id", API_STR, API_NO_EFFECT},
        {"name", API_STR, API_NO_EFFECT},
        {"output", API_ANY, API_NO_EFFECT},
    };
    json_t *call_id, *content = NULL;
    int code = check_fields(m, fields, ARRAY_LEN(fields), item);
    if (code == 0)
        code = need_text(m, item, "call_id", &call_id);
    if (code != 0)
        return code;
    json_t *name = json_object_get(m->names, json_string_value(call_id));
    if (name == NULL && !m->goes_on)
        return no_call(m->where, call_id, m->err);
    code = read_content(m, "output", json_object_get(item, "output"), input_types, &content);
    if (code == 0)
        code = add_message(m, json_pack("{s:s, s:O, s:O*, s:O}", "role", "tool", "tool_call_id",
                                        call_id, "name", name, "content", content));
    json_decref(content);
    return code;
}

/* Its own text, else what we gave for it, else its summary. Another service's encrypted text cannot
 * be read: its summary stands for it. */
static int take_reasoning(struct making *m, const json_t *item)
{
    static const char *const content_types[] = {"reasoning_text", NULL};
    static const char *const summary_types[] = {"summary_text", NULL};
    static const struct api_field fields[] = {
        ITEM_FIELDS,
        {"summary", API_ANY, API_NO_EFFECT},
        {"content", API_ANY, API_NO_EFFECT},
        {"encrypted_content", API_STR, API_NO_EFFECT},
    };
    const json_t *content = json_object_get(item, "content");
    const json_t *summary = json_object_get(item, "summary");
    struct str kept = json_str(json_object_get(item, "encrypted_content"));
    struct str prefix = STR(RESPONSES_REASONING_PREFIX);
    json_t *texts = NULL;
    struct buf joined = {0};
    int code = check_fields(m, fields, ARRAY_LEN(fields), item);
    if (code == 0 && json_array_size(content) > 0) {
        code = read_parts(m, "content", content, content_types, &texts);
    } else if (code == 0 && !str_starts(kept, prefix) && json_array_size(summary) > 0) {
        code = read_parts(m, "summary", summary, summary_types, &texts);
    }
    if (code == 0 && texts != NULL)
        code = join_parts(m, texts, &joined);
    struct str text = texts != NULL              ? buf_str(&joined)
                      : str_starts(kept, prefix) ? str_from(kept, prefix.len)
                                                 : STR("");
    if (code == 0 && text.len > 0) {
        /* Reasoning begins a turn: what stands there already was the turn before. */
        if (m->turn != NULL && (json_object_get(m->turn, "content") != NULL ||
                                json_object_get(m->turn, "tool_calls") != NULL))
            m->turn = NULL;
        code = open_turn(m);
        if (code == 0)
            code = add_text(m, "reasoning_content", text, "\n");
    }
    json_decref(texts);
    buf_release(&joined);
    return code;
}

/* The gateway puts what it names into its place. */
static int take_reference(struct making *m, const json_t *item)
{
    static const struct api_field fields[] = {
        {"type", API_STR, API_NO_EFFECT},
        {"id", API_STR, API_NO_EFFECT},
    };
    json_t *id;
    int code = check_fields(m, fields, ARRAY_LEN(fields), item);
    m->refers = true;
    return code == 0 ? need_text(m, item, "id", &id) : code;
}

/* ---- all ---- */

static const struct {
    const char *type, *id_prefix;
    int (*take)(struct making *m, const json_t *item);
} types[] = {
    {"message", "msg_", take_message},
    {"function_call", "fc_", take_call},
    {"function_call_output", "fco_", take_output},
    {"custom_tool_call", "ctc_", take_call},
    {"custom_tool_call_output", "cto_", take_output},
    {"reasoning", "rs_", take_reasoning},
    {"item_reference", NULL, take_reference},
};

/* -1: none of ours. A message may leave its type out, and so may a reference. */
static int type_of(const json_t *item)
{
    struct str type = json_str(json_object_get(item, "type"));
    if (type.len == 0 && json_object_get(item, "role") != NULL)
        type = STR("message");
    else if (type.len == 0 && json_object_size(item) == 1)
        type = STR("item_reference");
    for (size_t i = 0; i < ARRAY_LEN(types); i++)
        if (str_eq_z(type, types[i].type))
            return (int)i;
    return -1;
}

static int take_item(struct making *m, const json_t *item)
{
    char name[96];
    if (!json_is_object(item))
        return api_wrong_type(m->where, "an object", item, m->err);
    int type = type_of(item);
    if (type >= 0)
        return types[type].take(m, item);
    json_t *word = json_object_get(item, "type");
    snprintf(name, sizeof name, "%s.type", m->where);
    return err_set_param(m->err, ERR_UNSUPPORTED, name,
                         "'%s' is '%.40s': the items taken are message, function_call, "
                         "function_call_output, custom_tool_call, custom_tool_call_output, "
                         "reasoning and item_reference",
                         name, json_is_string(word) ? json_string_value(word) : "missing");
}

static int take_input(struct making *m, const json_t *input)
{
    char where[32];
    int code = 0;
    if (json_is_string(input))
        return add_message(m, json_pack("{s:s, s:O}", "role", "user", "content", input));
    if (!json_is_array(input))
        return err_set_param(m->err, ERR_INVALID, "input",
                             "'input' must be a string or an array of items");
    if (json_array_size(input) > RESPONSES_ITEMS_MAX)
        return err_set_param(m->err, ERR_INVALID, "input",
                             "'input' and the turns before it have %zu items, more than %d",
                             json_array_size(input), RESPONSES_ITEMS_MAX);
    for (size_t i = 0; i < json_array_size(input) && code == 0; i++) {
        snprintf(where, sizeof where, "%s[%zu]", m->list, i);
        m->where = where;
        code = take_item(m, json_array_get(input, i));
    }
    return code;
}

/* A template writes calls and content: a turn that has neither gets empty content. */
static int complete_turns(struct making *m)
{
    size_t i;
    json_t *message;
    json_array_foreach(m->messages, i, message)
    {
        if (json_object_get(message, "content") == NULL &&
            json_object_set_new(message, "content", json_string("")) != 0)
            return no_memory(m->err);
    }
    return 0;
}

json_t *responses_items_messages(const json_t *instructions, const json_t *input, bool goes_on,
                                 struct err *err)
{
    struct err unused = {0};
    struct making m = {.messages = json_array(),
                       .names = json_object(),
                       .goes_on = goes_on,
                       .list = "input",
                       .err = err == NULL ? &unused : err};
    int code = m.messages == NULL || m.names == NULL ? no_memory(m.err) : 0;
    if (code == 0 && json_is_string(instructions) && json_string_length(instructions) > 0)
        code = add_message(&m, json_pack("{s:s, s:O}", "role", "system", "content", instructions));
    if (code == 0)
        code = take_input(&m, input);
    if (code == 0 && json_array_size(m.messages) == 0 && !m.refers && !goes_on)
        code = err_set_param(m.err, ERR_INVALID, "input", "'input' is empty");
    if (code == 0)
        code = complete_turns(&m);
    json_decref(m.names);
    if (code == 0)
        return m.messages;
    json_decref(m.messages);
    return NULL;
}

int responses_items_check(const json_t *items, const char *list, struct err *err)
{
    struct err unused = {0};
    struct making m = {.messages = json_array(),
                       .names = json_object(),
                       .goes_on = true,
                       .list = list,
                       .err = err == NULL ? &unused : err};
    int code = m.messages == NULL || m.names == NULL ? no_memory(m.err) : take_input(&m, items);
    json_decref(m.names);
    json_decref(m.messages);
    return code;
}

int responses_items_check_calls(const json_t *items, size_t n_before, struct err *err)
{
    json_t *calls = json_object();
    size_t i;
    json_t *item;
    int code = calls == NULL ? no_memory(err) : 0;
    json_array_foreach(items, i, item)
    {
        const json_t *call_id = json_object_get(item, "call_id");
        int type = type_of(item);
        char where[32];
        if (code != 0 || type < 0 || !json_is_string(call_id))
            continue;
        snprintf(where, sizeof where, "input[%zu]", i - n_before);
        if (types[type].take != take_output)
            code = json_object_set_new(calls, json_string_value(call_id), json_true()) == 0
                       ? 0
                       : no_memory(err);
        else if (i >= n_before && json_object_get(calls, json_string_value(call_id)) == NULL)
            code = no_call(where, call_id, err);
    }
    json_decref(calls);
    return code;
}

/* ---- as they are stored ---- */

static json_t *make_id(const char *prefix, const char *response_id, size_t i)
{
    char id[96];
    const char *digits = strchr(response_id, '_');
    snprintf(id, sizeof id, "%s%.48si%03zx", prefix, digits == NULL ? response_id : digits + 1, i);
    return json_string(id);
}

bool responses_id_of_item(struct str item_id, char *ret, size_t size)
{
    ptrdiff_t at = str_chr(item_id, '_');
    struct str digits = str_sub(item_id, (size_t)(at + 1), RESPONSES_ID_DIGITS);
    if (at < 0 || digits.len < RESPONSES_ID_DIGITS)
        return false;
    for (size_t i = 0; i < digits.len; i++)
        if (strchr("0123456789abcdef", digits.ptr[i]) == NULL || digits.ptr[i] == '\0')
            return false;
    return snprintf(ret, size, "resp_%.*s", STR_ARG(digits)) < (int)size;
}

bool responses_item_is_reference(const json_t *item, struct str *ret_id)
{
    int type = json_is_object(item) ? type_of(item) : -1;
    *ret_id = json_str(json_object_get(item, "id"));
    return type >= 0 && types[type].take == take_reference;
}

static bool set_default(json_t *item, const char *key, json_t *value)
{
    json_t *had = json_object_get(item, key);
    if (had == NULL || json_is_null(had))
        return value != NULL && json_object_set_new(item, key, value) == 0;
    json_decref(value);
    return true;
}

/* Content that is a string as the part that it stands for. */
static bool normal_content(json_t *item)
{
    json_t *content = json_object_get(item, "content"), *parts;
    if (!json_is_string(content))
        return true;
    if (str_eq_z(json_str(json_object_get(item, "role")), "assistant"))
        parts =
            json_pack("[{s:s, s:O, s:[]}]", "type", "output_text", "text", content, "annotations");
    else
        parts = json_pack("[{s:s, s:O}]", "type", "input_text", "text", content);
    return parts != NULL && json_object_set_new(item, "content", parts) == 0;
}

static json_t *normal_item(const json_t *item, const char *response_id, size_t i)
{
    int type = type_of(item);
    json_t *ret = json_copy((json_t *)item);
    if (ret == NULL || !json_is_object(item) || type < 0)
        return ret; /* parse says what is wrong with it */
    bool ok = set_default(ret, "type", json_string(types[type].type));
    if (ok && types[type].id_prefix != NULL)
        ok = set_default(ret, "id", make_id(types[type].id_prefix, response_id, i)) &&
             set_default(ret, "status", json_string("completed"));
    if (ok && type == 0)
        ok = normal_content(ret);
    if (ok)
        return ret;
    json_decref(ret);
    return NULL;
}

json_t *responses_items_normal(const json_t *input, const char *response_id, struct err *err)
{
    json_t *list = json_array();
    bool ok = list != NULL;
    if (json_is_string(input)) {
        json_t *message = json_pack("{s:s, s:O}", "role", "user", "content", input);
        json_t *item = message == NULL ? NULL : normal_item(message, response_id, 0);
        ok = ok && item != NULL && json_array_append_new(list, item) == 0;
        json_decref(message);
    }
    for (size_t i = 0; ok && i < json_array_size(input); i++) {
        json_t *item = normal_item(json_array_get(input, i), response_id, i);
        ok = item != NULL && json_array_append_new(list, item) == 0;
    }
    if (ok)
        return list;
    json_decref(list);
    (void)no_memory(err);
    return NULL;
}
