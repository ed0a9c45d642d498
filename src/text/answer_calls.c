/*
 * answer_calls: the states of answer_parser that read tool calls.
 *
 * Until a call has begun, its text is kept in `raw`: what turns out to be none is given back as it
 * was written. Once one has begun it only can be mended, never taken back.
 */
#include "base/mem.h"
#include "text/answer_parser_impl.h"
#include "text/tool_param.h"

#include <stdlib.h>
#include <string.h>

#define HEAD_MAX  512 /* of a name with its markers */
#define VALUE_MAX (16u << 20)

/* ---- tools ---- */

static const json_t *function_of(const struct answer_parser *p, struct str name)
{
    for (size_t i = 0; i < json_array_size(p->tools); i++) {
        const json_t *f = json_object_get(json_array_get(p->tools, i), "function");
        if (str_eq(json_str(json_object_get(f, "name")), name))
            return f;
    }
    return NULL;
}

bool answer_knows(const struct answer_parser *p, struct str name)
{
    return function_of(p, name) != NULL;
}

/* A NUL would cut the name, to that of another tool perhaps. */
static bool may_be_name(struct str name)
{
    return name.len > 0 && memchr(name.ptr, '\0', name.len) == NULL;
}

bool answer_begin_call(struct answer_parser *p, struct str name)
{
    if (!may_be_name(name))
        return false;
    /* text that came before the call goes out before it */
    if (p->run.len > 0)
        p->sink.text(p->sink.ctx, p->run_channel, buf_str(&p->run));
    buf_clear(&p->run);
    buf_clear(&p->space);
    buf_clear(&p->called);
    buf_add_str(&p->called, name);
    char *z = str_dup(name); /* with a NUL behind it */
    p->sink.call(p->sink.ctx, str_z(z));
    free(z);
    p->call_open = true;
    p->trims = true;
    p->n_calls++;
    return true;
}

/* ---- beginnings ---- */

void answer_open_call(struct answer_parser *p, const char *marker)
{
    buf_clear(&p->raw);
    buf_add_str(&p->raw, buf_str(&p->space));
    buf_clear(&p->space);
    buf_add_z(&p->raw, marker);
    buf_clear(&p->head);
    p->marked = true;
    if (p->d->body == DIALECT_TAGS && strcmp(marker, "<function=") == 0)
        p->state = IN_TAG_NAME;
    else if (p->d->body == DIALECT_TAGS)
        p->state = IN_TAGS;
    else if (p->d->body == DIALECT_LINES)
        p->state = IN_LINE;
    else
        p->state = IN_OPENED;
}

static void begin_json(struct answer_parser *p)
{
    p->state = IN_JSON;
    json_mend_clear(&p->mend);
    call_reader_clear(&p->reader);
    p->reader.first_decides = !p->marked;
}

void answer_plain(struct answer_parser *p, char c)
{
    bool may = p->d->bare && p->tools != NULL && !p->has_content && p->n_calls == 0;
    if (!may || c != '{') {
        answer_content(p, c);
        return;
    }
    buf_clear(&p->raw);
    buf_add_str(&p->raw, buf_str(&p->space));
    buf_clear(&p->space);
    p->marked = false;
    begin_json(p);
    answer_push_call(p, c);
}

/* ---- JSON ---- */

static void after_call(struct answer_parser *p)
{
    p->state = IN_AFTER;
    p->call_open = false;
    p->trims = true;
    buf_clear(&p->hold);
    buf_clear(&p->raw);
}

/* Without a marker only what the grammar holds to the schemas is a call (tool_form.c): json_mend
 * would read more beginnings of a name. */
static bool begins_no_call(const struct answer_parser *p, char c)
{
    bool is_first = p->mend.depth == 1 && !p->mend.has_item[0];
    return !p->marked && p->n_calls == 0 && is_first && !answer_is_space(c) && c != '"' && c != '}';
}

static void push_json(struct answer_parser *p, char c)
{
    if (p->reader.n_calls == 0 && !p->reader.began)
        buf_add_char(&p->raw, c);
    if (begins_no_call(p, c)) {
        answer_give_back(p);
        return;
    }
    buf_clear(&p->json);
    json_mend_push(&p->mend, c, &p->json);
    call_reader_push(&p->reader, buf_str(&p->json));
    bool none = p->reader.n_calls == 0 && !p->reader.began;
    if (p->reader.failed && none)
        answer_give_back(p);
    else if (json_mend_is_over(&p->mend) && none)
        answer_give_back(p);
    else if (json_mend_is_over(&p->mend) || p->reader.failed)
        after_call(p);
}

/* What was cut off before it became a call: content, but not where it can only have begun one:
 * behind calls, and where one must come (the server may have begun it). */
static void finish_begun(struct answer_parser *p)
{
    if (p->n_calls == 0 && !p->must_call)
        answer_give_back(p);
}

static void finish_json(struct answer_parser *p)
{
    buf_clear(&p->json);
    if (!p->is_cut)
        json_mend_finish(&p->mend, &p->json);
    if (p->reader.n_calls > 0 || p->reader.began)
        call_reader_push(&p->reader, buf_str(&p->json));
    else
        finish_begun(p);
    p->call_open = false;
}

/* ---- a name, then JSON ---- */

/* What is between the dialect's own spellings before a name and behind it. */
static struct str within_spelling(const struct answer_parser *p, struct str head)
{
    struct str before = str_z(p->d->before_name), after = str_trim(str_z(p->d->after_name));
    struct str open = str_z(p->d->open[0]);
    before = str_starts(before, open) ? str_from(before, open.len) : STR("");
    if (str_starts(head, before))
        head = str_from(head, before.len);
    if (str_ends(head, after))
        head.len -= after.len;
    return str_trim(head);
}

/* The name between markers: "function<sep>get\n```json\n", "functions.get:0<|...|>", "call:get".
 * What is a tool's name as it stands loses nothing. */
static struct str name_of(const struct answer_parser *p, struct str head)
{
    static const char *const before[] = {"functions.", "call:", "function<"};
    head = str_trim(head);
    struct str spelled = within_spelling(p, head);
    if (answer_knows(p, spelled))
        return spelled;
    if (str_starts(head, str_z(before[2]))) {
        ptrdiff_t end = str_chr(head, '>');
        head = str_trim(str_from(head, (size_t)(end < 0 ? 0 : end + 1)));
    }
    size_t n = 0;
    while (n < head.len && strchr("<[>(\n\r\t `\"", head.ptr[n]) == NULL)
        n++;
    head = str_sub(head, 0, n);
    for (int i = 0; i < 2; i++)
        if (str_starts(head, str_z(before[i])) && !answer_knows(p, head))
            head = str_from(head, strlen(before[i]));
    ptrdiff_t colon = answer_knows(p, head) ? -1 : str_rchr(head, ':');
    if (colon > 0 && strspn(head.ptr + colon + 1, "0123456789") >= head.len - (size_t)colon - 1)
        head = str_sub(head, 0, (size_t)colon);
    return head;
}

static bool accepts(const struct answer_parser *p, struct str name)
{
    return may_be_name(name) && (p->d->body == DIALECT_NAMED || answer_knows(p, name));
}

static void begin_args(struct answer_parser *p, struct str name)
{
    answer_begin_call(p, name);
    buf_clear(&p->raw);
    buf_clear(&p->head);
    buf_clear(&p->hold);
    json_mend_clear(&p->mend);
    p->state = IN_ARGS;
}

static void emit_mended(struct answer_parser *p, char c)
{
    buf_clear(&p->json);
    json_mend_push(&p->mend, c, &p->json);
    answer_emit(p, ANSWER_CALL, buf_str(&p->json));
}

static void end_args(struct answer_parser *p)
{
    buf_clear(&p->json);
    if (!p->is_cut)
        json_mend_finish(&p->mend, &p->json);
    answer_emit(p, ANSWER_CALL, buf_str(&p->json));
    after_call(p);
}

static void push_name(struct answer_parser *p, char c)
{
    buf_add_char(&p->raw, c);
    if (c != '{') {
        buf_add_char(&p->head, c);
        bool closes = p->d->close != NULL && str_ends(buf_str(&p->head), str_z(p->d->close));
        if (closes)
            buf_truncate(&p->head, p->head.len - strlen(p->d->close));
        struct str name = closes ? name_of(p, buf_str(&p->head)) : STR("");
        if (closes && accepts(p, name)) {
            begin_args(p, name);
            end_args(p);
            p->state = IN_CONTENT;
        } else if (closes || p->head.len > HEAD_MAX) {
            answer_give_back(p);
        }
        return;
    }
    struct str name = name_of(p, buf_str(&p->head));
    if (!accepts(p, name)) {
        answer_give_back(p);
        return;
    }
    begin_args(p, name);
    emit_mended(p, c);
}

/* The dialect's own quotation marks become one that json_mend knows. */
static void push_args(struct answer_parser *p, char c)
{
    const char *const marker[] = {p->d->quote};
    bool maybe = false;
    buf_add_char(&p->hold, c);
    while (p->hold.len > 0 && p->state == IN_ARGS) {
        int i = answer_match(p, marker, 1, &maybe);
        if (i < 0 && maybe)
            return;
        char next = i == 0 ? JSON_MEND_QUOTE : p->hold.ptr[0];
        buf_consume(&p->hold, i == 0 ? p->hold.len : 1);
        emit_mended(p, next);
        if (json_mend_is_over(&p->mend))
            after_call(p);
    }
}

static void push_opened(struct answer_parser *p, char c)
{
    if (answer_is_space(c)) {
        buf_add_char(&p->raw, c);
        return;
    }
    if ((p->d->body == DIALECT_PYTHON || p->d->bare) && c != '{')
        p->state = IN_PYTHON;
    else if (c == '{' || c == '[')
        begin_json(p);
    else
        p->state = IN_NAME;
    answer_push_call(p, c);
}

/* ---- Python ---- */

static struct str python_name(const struct answer_parser *p, struct str head)
{
    head = str_trim(head);
    if (str_starts(head, STR("default_api.")) && !answer_knows(p, head))
        head = str_from(head, 12);
    if (str_ends(head, STR(".call")) && !answer_knows(p, head))
        head.len -= 5;
    return head;
}

static void close_python(struct answer_parser *p)
{
    if (p->n_calls > 0 && p->raw.len == 0) {
        p->state = IN_CONTENT;
        p->trims = true;
        buf_clear(&p->head);
    } else {
        answer_give_back(p);
    }
}

static void push_python(struct answer_parser *p, char c)
{
    struct str name;
    buf_add_char(&p->raw, c);
    if (p->head.len == 0 && (answer_is_space(c) || strchr("[],;)", c) != NULL)) {
        if (p->call_open == false && p->n_calls > 0)
            buf_clear(&p->raw); /* between calls */
        return;
    }
    if (p->head.len == 0 && c == '{') { /* JSON after all */
        begin_json(p);
        buf_truncate(&p->raw, p->raw.len - 1);
        if (str_ends(str_trim(buf_str(&p->raw)), STR("["))) {
            buf_clear(&p->json);
            json_mend_push(&p->mend, '[', &p->json);
            call_reader_push(&p->reader, buf_str(&p->json));
        }
        answer_push_call(p, c);
        return;
    }
    if (c != '(') {
        buf_add_char(&p->head, c);
        if (p->d->close != NULL && str_eq_z(buf_str(&p->head), p->d->close) && p->n_calls > 0) {
            buf_clear(&p->raw);
            close_python(p);
        } else if (p->head.len > HEAD_MAX ||
                   (p->d->close != NULL && str_ends(buf_str(&p->head), str_z(p->d->close)))) {
            answer_give_back(p);
        }
        return;
    }
    name = python_name(p, buf_str(&p->head));
    if (answer_knows(p, name)) {
        begin_args(p, name);
        emit_mended(p, '{');
        p->state = IN_PYTHON_ARGS;
    } else if (str_eq_z(name, "print")) {
        buf_clear(&p->head);
    } else {
        answer_give_back(p);
    }
}

static void push_python_args(struct answer_parser *p, char c)
{
    bool ends = c == ')' && p->mend.depth == 1 && !json_mend_in_string(&p->mend);
    emit_mended(p, ends ? '}' : c);
    if (!json_mend_is_over(&p->mend))
        return;
    p->state = IN_PYTHON;
    p->call_open = false;
    buf_clear(&p->head);
    buf_clear(&p->raw);
}

/* ---- tags ---- */

enum { TAG_FUNCTION, TAG_PARAMETER, TAG_END_FUNCTION, TAG_CLOSE, TAG_KEY, TAG_VALUE, N_TAGS };
static const char *const tags[N_TAGS] = {"<function=",   "<parameter=", "</function>",
                                         "</tool_call>", "<arg_key>",   "<arg_value>"};

static void end_tags_call(struct answer_parser *p)
{
    if (p->call_open && !p->is_cut)
        answer_emit(p, ANSWER_CALL, p->has_param ? STR("}") : STR("{}"));
    p->call_open = p->has_param = false;
}

static void take_tag(struct answer_parser *p, int tag)
{
    buf_clear(&p->hold);
    bool of_call = tag == TAG_PARAMETER || tag == TAG_KEY || tag == TAG_VALUE;
    if (of_call && !p->call_open) { /* of no call */
        if (p->n_calls == 0)
            answer_give_back(p);
        return;
    }
    if (tag == TAG_FUNCTION) {
        end_tags_call(p);
        p->state = IN_TAG_NAME;
    } else if (tag == TAG_PARAMETER || tag == TAG_KEY) {
        p->state = IN_TAG_KEY;
    } else if (tag == TAG_VALUE) {
        p->state = IN_TAG_VALUE;
    } else {
        end_tags_call(p);
        buf_clear(&p->raw);
        if (tag == TAG_CLOSE)
            p->state = IN_CONTENT;
        else
            after_call(p);
    }
    if (tag != TAG_VALUE)
        buf_clear(&p->head);
}

/* Between tags nothing is said. */
static void push_tags(struct answer_parser *p, char c)
{
    bool maybe;
    if (p->n_calls == 0)
        buf_add_char(&p->raw, c);
    if (p->hold.len == 0 && p->n_calls == 0 && !answer_is_space(c) && c != '<') {
        begin_json(p); /* perhaps it writes JSON there */
        buf_truncate(&p->raw, p->raw.len - 1);
        answer_push_call(p, c);
        return;
    }
    buf_add_char(&p->hold, c);
    while (p->hold.len > 0) {
        int tag = answer_match(p, tags, N_TAGS, &maybe);
        if (tag >= 0) {
            take_tag(p, tag);
            return;
        }
        if (maybe)
            return;
        buf_consume(&p->hold, 1);
    }
}

static void push_tag_name(struct answer_parser *p, char c)
{
    bool glm = p->d->body == DIALECT_PAIRS;
    buf_add_char(&p->raw, c);
    if (glm ? (c != '\n' && c != '<') : c != '>') {
        buf_add_char(&p->head, c);
        if (p->head.len > HEAD_MAX)
            answer_give_back(p);
        return;
    }
    if (!answer_begin_call(p, str_trim(buf_str(&p->head)))) {
        answer_give_back(p);
        return;
    }
    p->has_param = false;
    buf_clear(&p->raw);
    buf_clear(&p->head);
    buf_clear(&p->hold);
    p->state = IN_TAGS;
    if (glm && c == '<')
        push_tags(p, c);
}

/* The key is written at once; its value follows. */
static void push_tag_key(struct answer_parser *p, char c)
{
    bool glm = p->d->body == DIALECT_PAIRS;
    buf_add_char(&p->head, c);
    struct str end = glm ? STR("</arg_key>") : STR(">");
    if (!str_ends(buf_str(&p->head), end))
        return;
    buf_truncate(&p->head, p->head.len - end.len);
    p->state = glm ? IN_TAGS : IN_TAG_VALUE;
    buf_clear(&p->json); /* keeps the value's text from here */
    buf_clear(&p->hold);
}

/* Numbers of any size and odd names are not ours to judge. */
static bool is_json(struct str text)
{
    const size_t flags = JSON_DECODE_ANY | JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL;
    json_error_t error;
    json_t *value = json_loadb(text.ptr != NULL ? text.ptr : "", text.len, flags, &error);
    bool ok = value != NULL || json_error_code(&error) == json_error_numeric_overflow ||
              json_error_code(&error) == json_error_null_byte_in_key;
    json_decref(value);
    return ok;
}

/* JSON as it is, without white space between its parts. */
static void write_json(struct str text, struct buf *out)
{
    struct json_mend mend;
    bool more = true;
    json_mend_init(&mend);
    for (size_t i = 0; i < text.len && more; i++)
        more = json_mend_push(&mend, text.ptr[i], out);
    json_mend_finish(&mend, out);
    json_mend_release(&mend);
}

static void write_value(struct answer_parser *p, struct str text, struct buf *out)
{
    const json_t *f = function_of(p, buf_str(&p->called));
    enum tool_param kind = tool_param_kind(json_object_get(f, "parameters"), buf_str(&p->head));
    struct str bare = str_trim(text);
    bool may_word = kind == TOOL_PARAM_JSON, may_null = kind != TOOL_PARAM_TEXT;
    if (may_word && is_json(bare))
        write_json(bare, out);
    else if (may_word && (str_eq_z(bare, "True") || str_eq_z(bare, "False")))
        buf_add_z(out, str_eq_z(bare, "True") ? "true" : "false");
    else if (may_null && tool_param_is_null(bare))
        buf_add_z(out, "null");
    else
        json_write_string(text, out);
}

static void end_value(struct answer_parser *p, struct str text)
{
    struct buf out;
    buf_init(&out, VALUE_MAX * 2);
    if (p->d->body == DIALECT_TAGS && str_starts(text, STR("\n")))
        text = str_from(text, 1);
    if (p->d->body == DIALECT_TAGS && str_ends(text, STR("\n")))
        text.len--;
    buf_add_z(&out, p->has_param ? "," : "{");
    json_write_string(buf_str(&p->head), &out);
    buf_add_char(&out, ':');
    write_value(p, text, &out);
    answer_emit(p, ANSWER_CALL, buf_str(&out));
    buf_release(&out);
    p->has_param = true;
    buf_clear(&p->head);
    buf_clear(&p->json);
    buf_clear(&p->hold);
    p->state = IN_TAGS;
}

/* Up to its end tag, or to what can only come after it. */
static void push_tag_value(struct answer_parser *p, char c)
{
    bool glm = p->d->body == DIALECT_PAIRS;
    struct str end = glm ? STR("</arg_value>") : STR("</parameter>");
    buf_add_char(&p->json, c);
    struct str text = buf_str(&p->json);
    if (c != '>' && c != '=')
        return;
    if (str_ends(text, end)) {
        end_value(p, str_sub(text, 0, text.len - end.len));
        return;
    }
    for (int i = 0; i < N_TAGS; i++) {
        struct str tag = str_z(tags[i]);
        if ((i == TAG_PARAMETER || i == TAG_END_FUNCTION || i == TAG_KEY) == false ||
            glm != (i == TAG_KEY) || !str_ends(text, tag))
            continue;
        end_value(p, str_sub(text, 0, text.len - tag.len));
        take_tag(p, i);
        return;
    }
}

/* ---- after a call ---- */

static void push_after(struct answer_parser *p, char c)
{
    const char *const marker[] = {p->d->close};
    bool maybe = false;
    if (p->hold.len == 0 && (answer_is_space(c) || (c == '`' && p->d->body == DIALECT_NAMED)))
        return;
    if (p->hold.len == 0 && p->d->bare && (c == ';' || c == ','))
        return;
    if (p->hold.len == 0 && p->d->bare && c == '{') {
        buf_clear(&p->raw);
        begin_json(p);
        answer_push_call(p, c);
        return;
    }
    buf_add_char(&p->hold, c);
    int i = answer_match(p, marker, 1, &maybe);
    if (i < 0 && maybe)
        return;
    p->state = IN_CONTENT;
    if (i == 0) {
        buf_clear(&p->hold);
        return;
    }
    struct str rest = buf_str(&p->hold);
    char *copy = str_dup(rest);
    size_t n = rest.len;
    buf_clear(&p->hold);
    answer_parser_push(p, (struct str){copy, n});
    free(copy);
}

/* ---- lines ---- */

/* Text that ends in ">" stands before the marker ">>>": the last three of them are the marker. */
static void shift_marker(struct answer_parser *p)
{
    size_t n = strlen(p->d->open[0]);
    for (size_t i = 0; i + n < p->raw.len; i++) /* white space before it */
        answer_content(p, p->raw.ptr[i]);
    answer_content(p, '>');
    buf_clear(&p->raw);
    buf_add_z(&p->raw, p->d->open[0]);
}

static void push_line(struct answer_parser *p, char c)
{
    if (p->marked && p->head.len == 0 && c == '>') {
        shift_marker(p);
        return;
    }
    buf_add_char(&p->raw, c);
    if (c != '\n') {
        buf_add_char(&p->head, c);
        if (p->head.len > HEAD_MAX)
            answer_give_back(p);
        return;
    }
    struct str name = str_trim(buf_str(&p->head));
    if (str_eq_z(name, "all")) {
        buf_clear(&p->raw);
        buf_clear(&p->head);
        p->state = IN_CONTENT;
    } else if (answer_knows(p, name)) {
        begin_args(p, name);
    } else {
        answer_give_back(p);
    }
}

/* ---- all ---- */

void answer_push_call(struct answer_parser *p, char c)
{
    static void (*const push[])(struct answer_parser *, char) = {
        [IN_OPENED] = push_opened,   [IN_JSON] = push_json,
        [IN_NAME] = push_name,       [IN_ARGS] = push_args,
        [IN_PYTHON] = push_python,   [IN_PYTHON_ARGS] = push_python_args,
        [IN_TAGS] = push_tags,       [IN_TAG_NAME] = push_tag_name,
        [IN_TAG_KEY] = push_tag_key, [IN_TAG_VALUE] = push_tag_value,
        [IN_AFTER] = push_after,     [IN_LINE] = push_line,
    };
    /* GLM writes the name at once */
    if (p->state == IN_NAME && p->d->body == DIALECT_PAIRS)
        p->state = IN_TAG_NAME;
    if (p->state == IN_CONTENT)
        answer_plain(p, c);
    else
        push[p->state](p, c);
}

/* Ended behind a name: a call only when it is one of the tools. Cut off there, it may have been
 * the beginning of another name. */
static void finish_name(struct answer_parser *p)
{
    struct str name = name_of(p, buf_str(&p->head));
    if (p->is_cut || p->d->body != DIALECT_NAMED || !answer_knows(p, name)) {
        finish_begun(p);
        return;
    }
    begin_args(p, name);
    end_args(p);
}

/* A closing marker that was cut off, or the next call's name. */
static bool begins_more(const struct answer_parser *p)
{
    struct str head = buf_str(&p->head);
    bool closes = p->d->close != NULL && str_starts(str_z(p->d->close), head);
    for (size_t i = 0; i < head.len && !closes; i++)
        if (answer_is_space(head.ptr[i]))
            return false;
    return true;
}

void answer_finish_call(struct answer_parser *p)
{
    switch (p->state) {
    case IN_JSON:
        finish_json(p);
        break;
    case IN_NAME:
        finish_name(p);
        break;
    case IN_ARGS:
    case IN_PYTHON_ARGS:
        end_args(p);
        break;
    case IN_TAG_VALUE:
        if (!p->is_cut)
            end_value(p, str_trim(buf_str(&p->json)));
        end_tags_call(p);
        break;
    case IN_TAGS:
    case IN_TAG_KEY:
        finish_begun(p);
        end_tags_call(p);
        break;
    case IN_PYTHON:
        if (p->n_calls == 0)
            finish_begun(p);
        else if (p->head.len > 0 && !begins_more(p))
            answer_give_back(p);
        break;
    case IN_AFTER:
        break;
    default:
        finish_begun(p);
    }
}
