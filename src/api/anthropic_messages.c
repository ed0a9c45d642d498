/*
 * anthropic_messages: content blocks into the turns that chat templates take.
 *
 * Every field of a block is known here or refused by its path ("messages[2].content[0].source").
 * A turn of the user may hold results of tools and text: each becomes a message, in the order they
 * stand. Turns of one role that follow each other are one turn, as Anthropic says they are.
 */
#include "api/anthropic.h"
#include "api/fields.h"
#include "base/mem.h"

#include <stdio.h>
#include <string.h>

#define BLOCKS_MAX     16384 /* of one message */
#define TEXT_BYTES_MAX (64u << 20)
#define PATH_MAX_LEN   112

enum side { OF_USER, OF_ASSISTANT, OF_SYSTEM, N_SIDES };

/* The conversation being read. */
struct reading {
    json_t *out;   /* messages */
    json_t *names; /* of tools, by the id of their call */
    /* of the turn at hand: */
    enum side side;
    struct buf text, thinking;
    json_t *calls; /* or NULL */
    bool any;      /* something was there, perhaps an empty text */
};

static int no_memory(struct err *err)
{
    return err_set(err, ERR_NOMEM, "out of memory for the messages");
}

/* ---- text ---- */

/* Blocks are paragraphs: what one ends with does not run into the next. */
static bool add_paragraph(struct buf *text, struct str more)
{
    if (text->len > 0 && more.len > 0 && text->ptr[text->len - 1] != '\n')
        buf_add_char(text, '\n');
    return buf_add_str(text, more);
}

static int take_any(const char *name, const json_t *value, void *into, struct err *err)
{
    (void)name, (void)value, (void)into, (void)err;
    return 0;
}

static int only_no_citations(const char *name, const json_t *v, void *into, struct err *err)
{
    (void)name, (void)into, (void)err;
    bool on = json_is_true(json_object_get(v, "enabled"));
    return json_is_object(v) && !on ? 0 : ERR_UNSUPPORTED;
}

#define CACHE_CONTROL                                                                              \
    {                                                                                              \
        "cache_control", API_ANY, API_NO_EFFECT, .take = take_any                                  \
    }
#define TYPE                                                                                       \
    {                                                                                              \
        "type", API_STR, API_NO_EFFECT                                                             \
    }
#define NO_CITATIONS                                                                               \
    {                                                                                              \
        "citations", API_ANY, API_REFUSED, .take = only_no_citations,                              \
                                           .note = "answers cite nothing"                          \
    }

struct document {
    struct str title, context, source, text;
    const json_t *content; /* string or blocks of text */
};

static int text_of(const char *where, const json_t *content, struct buf *text, struct err *err);

static int read_text_block(const char *where, const json_t *block, struct buf *text,
                           struct err *err)
{
    static const struct api_field fields[] = {
        TYPE,
        {"text", API_STR, API_HONOURED, .offset = offsetof(struct document, text)},
        CACHE_CONTROL,
        /* of an answer that is sent back */
        {"citations", API_ANY, API_NO_EFFECT, .take = take_any},
    };
    struct document d = {0};
    char name[PATH_MAX_LEN + 8];
    snprintf(name, sizeof name, "%s.", where);
    int code = api_fields_read(fields, ARRAY_LEN(fields), block, name, &d, err);
    if (code != 0)
        return code;
    snprintf(name, sizeof name, "%s.text", where);
    if (!json_is_string(json_object_get(block, "text")))
        return err_set_param(err, ERR_INVALID, name, "'%s' must be a string", name);
    return add_paragraph(text, d.text) ? 0 : no_memory(err);
}

/* {"type": "text", "media_type": "text/plain", "data"} | {"type": "content", "content"} */
static int read_source(const char *where, const json_t *source, struct buf *text, struct err *err)
{
    static const struct api_field fields[] = {
        TYPE,
        {"media_type", API_STR, API_NO_EFFECT},
        {"data", API_STR, API_HONOURED, .offset = offsetof(struct document, text)},
        {"content", API_ANY, API_NO_EFFECT, .take = take_any},
    };
    struct document d = {0};
    char name[PATH_MAX_LEN + 24];
    struct str type = json_str(json_object_get(source, "type"));
    bool is_text = str_eq_z(type, "text");
    snprintf(name, sizeof name, "%s.source", where);
    if (!is_text && !str_eq_z(type, "content"))
        return err_set_param(err, ERR_UNSUPPORTED, name,
                             "'%s': only documents of plain text are read (type 'text' or "
                             "'content'), no files, addresses and PDF",
                             name);
    snprintf(name, sizeof name, "%s.source.", where);
    int code = api_fields_read(fields, ARRAY_LEN(fields), source, name, &d, err);
    if (code != 0)
        return code;
    snprintf(name, sizeof name, "%s.source.%s", where, is_text ? "data" : "content");
    if (!is_text)
        return text_of(name, json_object_get(source, "content"), text, err);
    if (!json_is_string(json_object_get(source, "data")))
        return err_set_param(err, ERR_INVALID, name, "'%s' must be a string", name);
    return add_paragraph(text, d.text) ? 0 : no_memory(err);
}

static void add_element(struct buf *text, const char *name, struct str value)
{
    if (value.len > 0)
        buf_printf(text, "<%s>%.*s</%s>\n", name, STR_ARG(value), name);
}

/* A document or a search result, as text in a frame. */
static int read_document(const char *where, const json_t *block, bool found, struct buf *text,
                         struct err *err)
{
    static const struct api_field fields[] = {
        TYPE,
        {"title", API_STR, API_HONOURED, .offset = offsetof(struct document, title)},
        {"context", API_STR, API_HONOURED, .offset = offsetof(struct document, context)},
        {"source", API_ANY, API_NO_EFFECT, .take = take_any},
        {"content", API_ANY, API_NO_EFFECT, .take = take_any},
        NO_CITATIONS,
        CACHE_CONTROL,
    };
    struct document d = {0};
    char name[PATH_MAX_LEN + 16];
    snprintf(name, sizeof name, "%s.", where);
    int code = api_fields_read(fields, ARRAY_LEN(fields), block, name, &d, err);
    if (code != 0)
        return code;
    const json_t *source = json_object_get(block, "source");
    add_paragraph(text, found ? STR("<search_result>\n") : STR("<document>\n"));
    add_element(text, "title", d.title);
    add_element(text, "source", found ? json_str(source) : STR(""));
    add_element(text, "context", d.context);
    snprintf(name, sizeof name, "%s.content", where);
    code = found ? text_of(name, json_object_get(block, "content"), text, err)
                 : read_source(where, source, text, err);
    add_paragraph(text, found ? STR("</search_result>\n") : STR("</document>\n"));
    return code == 0 && text->overflow ? no_memory(err) : code;
}

/* What the side may hold and this server cannot take, by name. */
static int refuse_block(const char *where, struct str type, struct err *err)
{
    char name[PATH_MAX_LEN + 8];
    snprintf(name, sizeof name, "%s.type", where);
    if (type.len == 0)
        return err_set_param(err, ERR_INVALID, name, "'%s' is missing", name);
    if (str_eq_z(type, "image"))
        return err_set_param(err, ERR_UNSUPPORTED, where, "'%s': images are not supported", where);
    return err_set_param(err, ERR_UNSUPPORTED, name, "'%s' is '%.*s', which is not supported here",
                         name, type.len > 40 ? 40 : (int)type.len, type.ptr);
}

/* A block that is text, or can become one. *ret_known: it was. */
static int read_textual(const char *where, const json_t *block, struct buf *text, bool *ret_known,
                        struct err *err)
{
    struct str type = json_str(json_object_get(block, "type"));
    bool found = str_eq_z(type, "search_result");
    *ret_known = true;
    if (!json_is_object(block))
        return api_wrong_type(where, "an object", block, err);
    if (str_eq_z(type, "text"))
        return read_text_block(where, block, text, err);
    if (found || str_eq_z(type, "document"))
        return read_document(where, block, found, text, err);
    *ret_known = false;
    return 0;
}

/* A string, or blocks that are text. */
static int text_of(const char *where, const json_t *content, struct buf *text, struct err *err)
{
    int code = 0;
    if (content == NULL || json_is_null(content))
        return 0;
    if (json_is_string(content))
        return add_paragraph(text, json_str(content)) ? 0 : no_memory(err);
    if (!json_is_array(content))
        return api_wrong_type(where, "a string or an array of blocks", content, err);
    for (size_t i = 0; i < json_array_size(content) && code == 0; i++) {
        char path[PATH_MAX_LEN];
        bool known;
        const json_t *block = json_array_get(content, i);
        snprintf(path, sizeof path, "%s[%zu]", where, i);
        code = read_textual(path, block, text, &known, err);
        if (code == 0 && !known)
            code = refuse_block(path, json_str(json_object_get(block, "type")), err);
    }
    return code;
}

/* ---- turns ---- */

static json_t *string_of(const struct buf *text)
{
    return json_stringn(text->ptr != NULL ? text->ptr : "", text->len);
}

static const char *role_of(enum side side)
{
    return side == OF_USER ? "user" : side == OF_ASSISTANT ? "assistant" : "system";
}

static int set_text(json_t *message, const char *key, struct buf *text, struct err *err)
{
    bool ok = !text->overflow && json_object_set_new(message, key, string_of(text)) == 0;
    buf_clear(text);
    return ok ? 0 : no_memory(err);
}

/* What was read of the turn at hand becomes a message. */
static int flush_turn(struct reading *m, struct err *err)
{
    int code = 0;
    if (!m->any)
        return 0;
    json_t *message = json_pack("{s:s}", "role", role_of(m->side));
    if (m->thinking.len > 0)
        code = set_text(message, "reasoning_content", &m->thinking, err);
    if (code == 0)
        code = set_text(message, "content", &m->text, err);
    if (code == 0 && m->calls != NULL && json_object_set(message, "tool_calls", m->calls) != 0)
        code = no_memory(err);
    json_decref(m->calls);
    m->calls = NULL;
    m->any = false;
    if (json_array_append_new(m->out, message) != 0 && code == 0)
        code = no_memory(err);
    return code;
}

struct block {
    struct str id, name, thinking, tool_use_id;
    bool is_error;
};
#define BLOCK(member) .offset = offsetof(struct block, member)

static int need(const char *where, const json_t *block, const char *key, struct err *err)
{
    char name[PATH_MAX_LEN + 24];
    snprintf(name, sizeof name, "%s.%s", where, key);
    if (json_string_length(json_object_get(block, key)) > 0)
        return 0;
    return err_set_param(err, ERR_INVALID, name, "'%s' must be a string, not empty", name);
}

static int read_tool_use(struct reading *m, const char *where, const json_t *block, struct err *err)
{
    static const struct api_field fields[] = {
        TYPE,
        {"id", API_STR, API_HONOURED, BLOCK(id)},
        {"name", API_STR, API_HONOURED, BLOCK(name)},
        {"input", API_ANY, API_NO_EFFECT, .take = take_any},
        {"caller", API_ANY, API_NO_EFFECT, .take = take_any},
        {"toolset_name", API_STR, API_NO_EFFECT},
        CACHE_CONTROL,
    };
    struct block b = {0};
    char name[PATH_MAX_LEN + 8];
    snprintf(name, sizeof name, "%s.", where);
    int code = api_fields_read(fields, ARRAY_LEN(fields), block, name, &b, err);
    code = code != 0 ? code : need(where, block, "id", err);
    code = code != 0 ? code : need(where, block, "name", err);
    if (code != 0)
        return code;
    json_t *input = json_object_get(block, "input");
    snprintf(name, sizeof name, "%s.input", where);
    if (!json_is_object(input))
        return err_set_param(err, ERR_INVALID, name, "'%s' must be an object", name);
    json_t *call = json_pack("{s:O, s:s, s:{s:O, s:O}}", "id", json_object_get(block, "id"), "type",
                             "function", "function", "name", json_object_get(block, "name"),
                             "arguments", input);
    if (m->calls == NULL)
        m->calls = json_array();
    if (json_array_append_new(m->calls, call) != 0 ||
        json_object_set(m->names, b.id.ptr, json_object_get(block, "name")) != 0)
        return no_memory(err);
    return 0;
}

/* A result is the tool's own turn; the role has no place for errors but the text. */
static int add_result(struct reading *m, const struct block *b, struct buf *text, struct err *err)
{
    json_t *name = json_object_get(m->names, b->tool_use_id.ptr);
    struct buf whole;
    buf_init(&whole, TEXT_BYTES_MAX);
    if (b->is_error && !str_eq_nocase(str_sub(buf_str(text), 0, 5), STR("error")))
        buf_add_z(&whole, "Error: ");
    buf_add_str(&whole, buf_str(text));
    json_t *message =
        json_pack("{s:s, s:s%, s:o}", "role", "tool", "tool_call_id", b->tool_use_id.ptr,
                  b->tool_use_id.len, "content", string_of(&whole));
    bool ok = !whole.overflow && message != NULL;
    if (ok && name != NULL)
        ok = json_object_set(message, "name", name) == 0;
    buf_release(&whole);
    return json_array_append_new(m->out, message) == 0 && ok ? 0 : no_memory(err);
}

static int read_tool_result(struct reading *m, const char *where, const json_t *block,
                            struct err *err)
{
    static const struct api_field fields[] = {
        TYPE,
        {"tool_use_id", API_STR, API_HONOURED, BLOCK(tool_use_id)},
        {"content", API_ANY, API_NO_EFFECT, .take = take_any},
        {"is_error", API_BOOL, API_HONOURED, BLOCK(is_error)},
        {"toolset_name", API_STR, API_NO_EFFECT},
        CACHE_CONTROL,
    };
    struct block b = {0};
    struct buf text;
    char name[PATH_MAX_LEN];
    snprintf(name, sizeof name, "%s.", where);
    int code = api_fields_read(fields, ARRAY_LEN(fields), block, name, &b, err);
    code = code != 0 ? code : need(where, block, "tool_use_id", err);
    code = code != 0 ? code : flush_turn(m, err);
    if (code != 0)
        return code;
    buf_init(&text, TEXT_BYTES_MAX);
    snprintf(name, sizeof name, "%s.content", where);
    code = text_of(name, json_object_get(block, "content"), &text, err);
    if (code == 0)
        code = add_result(m, &b, &text, err);
    buf_release(&text);
    return code;
}

static int read_thinking(struct reading *m, const char *where, const json_t *block, struct err *err)
{
    static const struct api_field fields[] = {
        TYPE,
        {"thinking", API_STR, API_HONOURED, BLOCK(thinking)},
        {"signature", API_STR, API_NO_EFFECT},
        CACHE_CONTROL,
    };
    struct block b = {0};
    char name[PATH_MAX_LEN + 8];
    snprintf(name, sizeof name, "%s.", where);
    int code = api_fields_read(fields, ARRAY_LEN(fields), block, name, &b, err);
    if (code == 0 && !add_paragraph(&m->thinking, b.thinking))
        code = no_memory(err);
    return code;
}

static int read_block(struct reading *m, const char *where, const json_t *block, struct err *err)
{
    bool known;
    struct str type = json_str(json_object_get(block, "type"));
    int code = read_textual(where, block, &m->text, &known, err);
    if (code != 0)
        return code;
    if (m->side == OF_USER && str_eq_z(type, "tool_result"))
        return read_tool_result(m, where, block, err);
    m->any = true;
    if (known)
        return 0;
    if (m->side == OF_ASSISTANT && str_eq_z(type, "tool_use"))
        return read_tool_use(m, where, block, err);
    if (m->side == OF_ASSISTANT && str_eq_z(type, "thinking"))
        return read_thinking(m, where, block, err);
    if (m->side == OF_ASSISTANT && str_eq_z(type, "redacted_thinking"))
        return 0; /* sealed: nobody but who made it can read it */
    return refuse_block(where, type, err);
}

static int read_content(struct reading *m, const char *where, const json_t *content,
                        struct err *err)
{
    size_t n = json_array_size(content);
    int code = 0;
    m->any = m->any || json_is_string(content) || n == 0;
    if (json_is_string(content))
        return add_paragraph(&m->text, json_str(content)) ? 0 : no_memory(err);
    if (content == NULL || json_is_null(content))
        return err_set_param(err, ERR_INVALID, where, "'%s' is missing", where);
    if (!json_is_array(content))
        return api_wrong_type(where, "a string or an array of blocks", content, err);
    if (n > BLOCKS_MAX)
        return err_set_param(err, ERR_INVALID, where, "'%s' may hold at most %d blocks, not %zu",
                             where, BLOCKS_MAX, n);
    for (size_t i = 0; i < n && code == 0; i++) {
        char path[64];
        snprintf(path, sizeof path, "%s[%zu]", where, i);
        code = read_block(m, path, json_array_get(content, i), err);
    }
    return code;
}

static int take_role(const char *name, const json_t *v, void *into, struct err *err)
{
    enum side *side = into;
    for (*side = OF_USER; *side < N_SIDES; (*side)++)
        if (str_eq_z(json_str(v), role_of(*side)))
            return 0;
    return err_set_param(err, ERR_INVALID, name, "'%s' must be user, assistant or system", name);
}

static int read_message(struct reading *m, const char *where, const json_t *message,
                        struct err *err)
{
    static const struct api_field fields[] = {
        {"role", API_ANY, API_HONOURED, .take = take_role},
        {"content", API_ANY, API_NO_EFFECT, .take = take_any},
    };
    enum side side = OF_USER;
    char name[48];
    if (!json_is_object(message))
        return api_wrong_type(where, "an object", message, err);
    snprintf(name, sizeof name, "%s.role", where);
    if (!json_is_string(json_object_get(message, "role")))
        return err_set_param(err, ERR_INVALID, name, "'%s' must be user, assistant or system",
                             name);
    snprintf(name, sizeof name, "%s.", where);
    int code = api_fields_read(fields, ARRAY_LEN(fields), message, name, &side, err);
    if (code == 0 && (side != m->side || side == OF_SYSTEM || m->calls != NULL))
        code = flush_turn(m, err);
    if (code != 0)
        return code;
    m->side = side;
    snprintf(name, sizeof name, "%s.content", where);
    return read_content(m, name, json_object_get(message, "content"), err);
}

/* ---- the conversation ---- */

static int read_system(struct reading *m, const json_t *system, struct err *err)
{
    if (system == NULL || json_is_null(system))
        return 0;
    m->side = OF_SYSTEM;
    int code = text_of("system", system, &m->text, err);
    m->any = m->text.len > 0;
    return code != 0 ? code : flush_turn(m, err);
}

static int read_all(struct reading *m, const json_t *messages, const json_t *system,
                    struct err *err)
{
    size_t n = json_array_size(messages);
    if (!json_is_array(messages))
        return api_wrong_type("messages", "an array", messages, err);
    if (n == 0 || n > API_MESSAGES_MAX)
        return err_set_param(err, ERR_INVALID, "messages",
                             "'messages' must hold 1 to %d messages, not %zu", API_MESSAGES_MAX, n);
    int code = read_system(m, system, err);
    for (size_t i = 0; i < n && code == 0; i++) {
        char where[32];
        snprintf(where, sizeof where, "messages[%zu]", i);
        code = read_message(m, where, json_array_get(messages, i), err);
    }
    return code != 0 ? code : flush_turn(m, err);
}

json_t *anthropic_messages_read(const json_t *messages, const json_t *system, struct err *err)
{
    struct reading m = {.out = json_array(), .names = json_object()};
    buf_init(&m.text, TEXT_BYTES_MAX);
    buf_init(&m.thinking, TEXT_BYTES_MAX);
    int code =
        m.out == NULL || m.names == NULL ? no_memory(err) : read_all(&m, messages, system, err);
    buf_release(&m.text);
    buf_release(&m.thinking);
    json_decref(m.calls);
    json_decref(m.names);
    if (code == 0)
        return m.out;
    json_decref(m.out);
    return NULL;
}

bool anthropic_is_prefill(const json_t *messages)
{
    const json_t *last = json_array_get(messages, json_array_size(messages) - 1);
    return str_eq_z(json_str(json_object_get(last, "role")), "assistant") &&
           json_object_get(last, "tool_calls") == NULL;
}
