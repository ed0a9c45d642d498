/*
 * call_reader: see the header.
 */
#include "text/call_reader.h"

#include "base/mem.h"

#include <string.h>

#define NAME_MAX_BYTES 4096
#define ARGS_MAX       (16u << 20)

enum { ROLE_OTHER, ROLE_NAME, ROLE_ARGS, ROLE_ARGS_TEXT, ROLE_FUNCTION };

void call_reader_init(struct call_reader *r, const struct call_sink *sink)
{
    *r = (struct call_reader){.sink = *sink};
    buf_init(&r->text, NAME_MAX_BYTES);
    buf_init(&r->early, ARGS_MAX);
    buf_init(&r->inner_text, ARGS_MAX);
    json_mend_init(&r->inner);
}

void call_reader_release(struct call_reader *r)
{
    buf_release(&r->text);
    buf_release(&r->early);
    buf_release(&r->inner_text);
    json_mend_release(&r->inner);
}

void call_reader_clear(struct call_reader *r)
{
    struct call_sink sink = r->sink;
    call_reader_release(r);
    call_reader_init(r, &sink);
}

static bool is_one_of(struct str key, const char *const *word, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (str_eq_z(key, word[i]))
            return true;
    return false;
}

/* Of the name, of the arguments, and what else stands before them. */
static const char *const first_names[] = {
    "name", "tool_name",  "function_name", "tool", "arguments", "parameters",
    "args", "tool_input", "function",      "type", "id"};

static int role_of(struct str key)
{
    if (is_one_of(key, first_names, 4))
        return ROLE_NAME;
    if (is_one_of(key, first_names + 4, 4))
        return ROLE_ARGS;
    return str_eq_z(key, "function") ? ROLE_FUNCTION : ROLE_OTHER;
}

static bool may_be_first(struct str key)
{
    return is_one_of(key, first_names, ARRAY_LEN(first_names));
}

json_t *call_reader_first_names(void)
{
    json_t *names = json_array();
    for (size_t i = 0; names && i < ARRAY_LEN(first_names); i++)
        if (json_array_append_new(names, json_string(first_names[i])) != 0) {
            json_decref(names);
            names = NULL;
        }
    return names;
}

/* ---- what is handed on ---- */

static void give_args(struct call_reader *r, struct str text)
{
    r->has_args = true;
    if (r->began)
        r->sink.args(r->sink.ctx, text);
    else
        buf_add_str(&r->early, text);
}

static void take_name(struct call_reader *r)
{
    json_t *name = NULL;
    struct buf quoted;
    if (r->began)
        return; /* the first one holds */
    buf_init(&quoted, NAME_MAX_BYTES + 2);
    buf_printf(&quoted, "[\"%s\"]", r->text.ptr ? r->text.ptr : "");
    name = json_parse(buf_str(&quoted), 2, NULL);
    struct str text = json_str(json_array_get(name, 0));
    r->began = !r->text.overflow && text.len > 0 && r->sink.begin(r->sink.ctx, text);
    r->failed = !r->began;
    if (r->began && r->early.len > 0)
        r->sink.args(r->sink.ctx, buf_str(&r->early));
    buf_clear(&r->early);
    json_decref(name);
    buf_release(&quoted);
}

/* The object of a call is closed. */
static void end_call(struct call_reader *r)
{
    if (!r->began) {
        r->failed = true;
        return;
    }
    if (!r->has_args)
        r->sink.args(r->sink.ctx, STR("{}"));
    r->began = r->has_args = false;
    r->n_calls++;
    buf_clear(&r->early);
}

/* ---- arguments inside a string ---- */

static void push_inner(struct call_reader *r, char c)
{
    buf_clear(&r->inner_text);
    json_mend_push(&r->inner, c, &r->inner_text);
    if (r->inner_text.len > 0)
        give_args(r, buf_str(&r->inner_text));
}

/* Bytes of the escape that `unit` begins; of a pair of surrogates both. */
static int unit_len(const struct call_reader *r)
{
    if (r->n_unit < 2 || r->unit[1] != 'u')
        return 2;
    bool is_high = r->n_unit >= 4 && (r->unit[2] | 32) == 'd' && strchr("89abAB", r->unit[3]);
    return is_high ? 12 : 6;
}

/* A whole escape of the outer string, decoded. */
static void push_unit(struct call_reader *r)
{
    char quoted[40];
    size_t n = (size_t)r->n_unit;
    memcpy(quoted, "[\"", 2);
    memcpy(quoted + 2, r->unit, n);
    memcpy(quoted + 2 + n, "\"]", 3);
    json_t *one = json_parse(str_z(quoted), 2, NULL);
    struct str text = json_str(json_array_get(one, 0));
    for (size_t i = 0; i < text.len; i++)
        push_inner(r, text.ptr[i]);
    json_decref(one);
    r->n_unit = 0;
}

static void push_args_text(struct call_reader *r, char c)
{
    if (r->n_unit == 0 && c != '\\') {
        push_inner(r, c);
        return;
    }
    r->unit[r->n_unit++] = c;
    if (r->n_unit == unit_len(r))
        push_unit(r);
}

static void end_args_text(struct call_reader *r)
{
    buf_clear(&r->inner_text);
    json_mend_finish(&r->inner, &r->inner_text);
    give_args(r, buf_str(&r->inner_text));
}

/* ---- bytes ---- */

static void end_string(struct call_reader *r)
{
    bool is_key = r->is_key;
    r->in_string = r->is_key = false;
    if (is_key) {
        r->role = role_of(buf_str(&r->text));
        r->failed = r->failed || (r->first_decides && !may_be_first(buf_str(&r->text)));
        r->first_decides = false;
        if (r->role == ROLE_ARGS && r->has_args)
            r->role = ROLE_OTHER; /* a second time: the first holds */
    } else if (r->role == ROLE_ARGS_TEXT && r->depth == r->level) {
        end_args_text(r);
    } else if ((r->role == ROLE_NAME || r->role == ROLE_FUNCTION) && r->depth == r->level) {
        take_name(r);
    }
}

static void push_in_string(struct call_reader *r, char c)
{
    bool ends = !r->is_escaped && c == '"';
    r->is_escaped = !r->is_escaped && c == '\\';
    if (ends)
        end_string(r);
    else if (!r->is_key && r->role == ROLE_ARGS_TEXT)
        push_args_text(r, c);
    else if (r->has_text)
        buf_add_char(&r->text, c);
}

static void begin_string(struct call_reader *r)
{
    bool at_level = r->level > 0 && r->depth == r->level;
    r->in_string = true;
    r->is_escaped = false;
    r->is_key = at_level && !r->in_value;
    r->has_text = at_level && (r->is_key || r->role == ROLE_NAME || r->role == ROLE_FUNCTION);
    buf_clear(&r->text);
    if (at_level && r->in_value && r->role == ROLE_ARGS && !r->has_args) {
        r->role = ROLE_ARGS_TEXT;
        json_mend_clear(&r->inner);
        r->n_unit = 0;
    }
}

static void open_bracket(struct call_reader *r, char c)
{
    r->depth++;
    if (c != '{')
        return;
    if (r->level == 0 && r->depth <= 2) {
        r->level = r->depth;
        r->wraps = 0;
    } else if (r->level > 0 && r->depth == r->level + 1 && r->role == ROLE_FUNCTION) {
        r->level++;
        r->wraps++;
    } else {
        return;
    }
    r->in_value = false;
    r->role = ROLE_OTHER;
}

static void close_bracket(struct call_reader *r, char c)
{
    r->depth--;
    if (c != '}' || r->level == 0 || r->depth != r->level - 1)
        return;
    if (r->wraps > 0) {
        r->wraps--;
        r->level--;
        r->role = ROLE_OTHER;
        r->in_value = true;
        return;
    }
    r->level = 0;
    end_call(r);
}

static void push_outside(struct call_reader *r, char c)
{
    bool at_level = r->level > 0 && r->depth == r->level;
    if (c == '"') {
        begin_string(r);
    } else if (c == '{' || c == '[') {
        open_bracket(r, c);
    } else if (c == '}' || c == ']') {
        close_bracket(r, c);
    } else if (c == ':' && at_level) {
        r->in_value = true;
    } else if (c == ',' && at_level) {
        r->in_value = false;
        r->role = ROLE_OTHER;
    }
}

/* One byte of the arguments, which are no string: they end where their member does. */
static bool is_args_byte(const struct call_reader *r, char c)
{
    if (r->role != ROLE_ARGS || !r->in_value || r->level == 0)
        return false;
    if (r->depth > r->level || r->in_string)
        return true;
    return c != ',' && c != '}' && c != '"';
}

static void push(struct call_reader *r, char c)
{
    bool first_null = !r->has_args && r->depth == r->level && c == 'n';
    if (r->role == ROLE_ARGS && r->in_value && first_null)
        r->role = ROLE_OTHER; /* null: none */
    if (!r->is_key && is_args_byte(r, c) && !(c == ':' && r->depth == r->level))
        give_args(r, (struct str){&c, 1});
    if (r->in_string)
        push_in_string(r, c);
    else
        push_outside(r, c);
}

void call_reader_push(struct call_reader *r, struct str text)
{
    for (size_t i = 0; i < text.len && !r->failed; i++)
        push(r, text.ptr[i]);
}
