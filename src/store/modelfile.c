/*
 * modelfile: see the header.
 */
#include "store/modelfile.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

struct parser {
    struct str rest;
    int line;
    struct modelfile m;
    struct err *err;
};

static int fail(const struct parser *p, int code, const char *what, struct str detail)
{
    return err_set(p->err, code, "(line %d) %s%.*s", p->line, what,
                   (int)(detail.len < 80 ? detail.len : 80), detail.ptr);
}

static void list_free(char **list, int n)
{
    for (int i = 0; i < n; i++)
        free(list[i]);
    free(list);
}

void modelfile_release(struct modelfile *m)
{
    list_free(m->from, m->n_from);
    list_free(m->license, m->n_license);
    free(m->template_text);
    free(m->system_text);
    json_decref(m->parameters);
    json_decref(m->messages);
    *m = (struct modelfile){0};
}

/* ---- pieces ---- */

static void skip_blanks(struct parser *p)
{
    while (p->rest.len > 0 && (p->rest.ptr[0] == ' ' || p->rest.ptr[0] == '\t'))
        p->rest = str_from(p->rest, 1);
}

static struct str take_line(struct parser *p)
{
    ptrdiff_t end = str_chr(p->rest, '\n');
    size_t n = end < 0 ? p->rest.len : (size_t)end;
    struct str ret = str_sub(p->rest, 0, n);
    p->rest = str_from(p->rest, end < 0 ? n : n + 1);
    p->line++;
    return ret;
}

/* Up to the next blank or the end of the line. */
static struct str take_word(struct parser *p)
{
    size_t n = 0;
    skip_blanks(p);
    while (n < p->rest.len && strchr(" \t\r\n", p->rest.ptr[n]) == NULL)
        n++;
    struct str ret = str_sub(p->rest, 0, n);
    p->rest = str_from(p->rest, n);
    return ret;
}

/*
 * Quotes are closed by the last ones of the first line that has any, so that a text may end with
 * quotes of its own. -1: nothing closes them; -2: something follows them on their line.
 */
static ptrdiff_t find_closing(struct str rest, struct str quote)
{
    ptrdiff_t first = str_find(rest, quote);
    if (first < 0)
        return -1;
    ptrdiff_t newline = str_chr(str_from(rest, (size_t)first), '\n');
    size_t end = newline < 0 ? rest.len : (size_t)(first + newline);
    while (rest.ptr[end - 1] == ' ' || rest.ptr[end - 1] == '\t' || rest.ptr[end - 1] == '\r')
        end--; /* quotes are before it */
    return str_ends(str_sub(rest, 0, end), quote) ? (ptrdiff_t)(end - quote.len) : -2;
}

static int take_quoted(struct parser *p, struct str quote, struct str *ret)
{
    p->rest = str_from(p->rest, quote.len);
    ptrdiff_t end = find_closing(p->rest, quote);
    if (end == -1)
        return fail(p, ERR_SYNTAX, "quotes are opened and never closed", STR(""));
    if (end < 0)
        return fail(p, ERR_SYNTAX, "something follows the closing quotes", STR(""));
    *ret = str_sub(p->rest, 0, (size_t)end);
    p->rest = str_from(p->rest, (size_t)end + quote.len);
    for (size_t i = 0; i < ret->len; i++)
        p->line += ret->ptr[i] == '\n';
    return 0;
}

/* What stands in quotes, or the rest of the line; nothing but blanks may follow quotes. */
static int take_value(struct parser *p, struct str *ret)
{
    int rc = 0;
    skip_blanks(p);
    struct str quote = str_starts(p->rest, STR("\"\"\"")) ? STR("\"\"\"") : STR("\"");
    bool quoted = str_starts(p->rest, quote);
    if (quoted)
        rc = take_quoted(p, quote, ret);
    if (rc != 0)
        return rc;
    struct str line = str_trim(take_line(p));
    p->line--; /* for messages: still in it */
    if (!quoted)
        *ret = line;
    if (memchr(ret->ptr ? ret->ptr : "", '\0', ret->len) != NULL)
        return fail(p, ERR_SYNTAX, "there is a NUL character", STR(""));
    if (!quoted && ret->len == 0)
        return fail(p, ERR_SYNTAX, "a value is missing", STR(""));
    return 0;
}

/* What becomes JSON somewhere. */
static int check_utf8(struct parser *p, const char *what, struct str text)
{
    json_t *value = json_stringn(text.ptr ? text.ptr : "", text.len);
    bool ok = value != NULL;
    json_decref(value);
    return ok ? 0 : fail(p, ERR_SYNTAX, what, STR(" is not UTF-8"));
}

static int add_to_list(struct parser *p, char ***list, int *n, struct str text)
{
    if (*n >= MODELFILE_LIST_MAX)
        return fail(p, ERR_LIMIT, "there are too many of these", STR(""));
    if (*list == NULL)
        *list = mem_zero(MODELFILE_LIST_MAX, sizeof(char *));
    (*list)[(*n)++] = str_dup(text);
    return 0;
}

/* ---- commands ---- */

static json_t *typed(struct str text)
{
    int64_t integer;
    double number;
    if (str_to_i64(text, &integer))
        return json_integer(integer);
    if (str_to_f64(text, &number))
        return json_real(number);
    if (str_eq_z(text, "true") || str_eq_z(text, "false"))
        return json_boolean(text.ptr[0] == 't');
    return json_stringn(text.ptr ? text.ptr : "", text.len);
}

static int take_parameter(struct parser *p)
{
    struct str name = take_word(p), text;
    if (name.len == 0 || name.len > 64)
        return fail(p, ERR_SYNTAX, "PARAMETER takes a name and a value", STR(""));
    if (memchr(name.ptr, '\0', name.len) != NULL)
        return fail(p, ERR_SYNTAX, "there is a NUL character", STR(""));
    int rc = check_utf8(p, "the name of the parameter", name);
    rc = rc != 0 ? rc : take_value(p, &text);
    if (rc != 0)
        return rc;
    char *key = str_dup(name);
    json_t *value =
        str_eq_z(name, "stop") ? json_stringn(text.ptr ? text.ptr : "", text.len) : typed(text);
    json_t *stops = json_object_get(p->m.parameters, "stop");
    if (value == NULL)
        rc = fail(p, ERR_SYNTAX, "the value is not UTF-8", STR(""));
    else if (!str_eq_z(name, "stop"))
        json_object_set(p->m.parameters, key, value);
    else if (stops != NULL)
        json_array_append(stops, value);
    else
        json_object_set_new(p->m.parameters, key, json_pack("[O]", value));
    json_decref(value);
    free(key);
    return rc;
}

static int take_message(struct parser *p)
{
    static const char *const roles[] = {"system", "user", "assistant"};
    struct str role = take_word(p), text;
    const char *known = NULL;
    for (size_t i = 0; i < ARRAY_LEN(roles); i++)
        if (str_eq_nocase(role, str_z(roles[i])))
            known = roles[i];
    if (known == NULL)
        return fail(p, ERR_SYNTAX, "MESSAGE takes system, user or assistant, and a text, not ",
                    role);
    int rc = take_value(p, &text);
    if (rc != 0)
        return rc;
    json_t *message =
        json_pack("{s:s, s:s%}", "role", known, "content", text.ptr ? text.ptr : "", text.len);
    if (message == NULL || json_array_append_new(p->m.messages, message) != 0)
        return fail(p, ERR_SYNTAX, "the text is not UTF-8", STR(""));
    return 0;
}

static int take_text(struct parser *p, char **ret)
{
    struct str text;
    int rc = take_value(p, &text);
    rc = rc != 0 ? rc : check_utf8(p, "the text", text);
    if (rc != 0)
        return rc;
    free(*ret);
    *ret = str_dup(text);
    return 0;
}

static int take_command(struct parser *p, struct str word)
{
    static const char *const refused[] = {"ADAPTER", "DRAFT", "RENDERER", "PARSER"};
    struct str text;
    if (str_eq_nocase(word, STR("PARAMETER")))
        return take_parameter(p);
    if (str_eq_nocase(word, STR("MESSAGE")))
        return take_message(p);
    if (str_eq_nocase(word, STR("SYSTEM")))
        return take_text(p, &p->m.system_text);
    if (str_eq_nocase(word, STR("TEMPLATE")))
        return take_text(p, &p->m.template_text);
    for (size_t i = 0; i < ARRAY_LEN(refused); i++)
        if (str_eq_nocase(word, str_z(refused[i])))
            return fail(p, ERR_UNSUPPORTED, "this is not supported: ", word);
    bool from = str_eq_nocase(word, STR("FROM")), license = str_eq_nocase(word, STR("LICENSE"));
    if (!from && !license && !str_eq_nocase(word, STR("REQUIRES")))
        return fail(p, ERR_SYNTAX, "there is no command ", word);
    int rc = take_value(p, &text);
    if (rc == 0 && from)
        rc = add_to_list(p, &p->m.from, &p->m.n_from, text);
    if (rc == 0 && license)
        rc = check_utf8(p, "the text", text);
    if (rc == 0 && license)
        rc = add_to_list(p, &p->m.license, &p->m.n_license, text);
    return rc;
}

int modelfile_parse(struct str text, struct modelfile *ret, struct err *err)
{
    struct parser p = {.rest = text, .line = 1, .err = err};
    int rc = 0;
    if (str_starts(p.rest, STR("\xEF\xBB\xBF")))
        p.rest = str_from(p.rest, 3);
    p.m.parameters = json_object();
    p.m.messages = json_array();
    while (rc == 0 && p.rest.len > 0) {
        skip_blanks(&p);
        if (p.rest.len == 0)
            break;
        if (strchr("#\r\n", p.rest.ptr[0]) != NULL) {
            take_line(&p);
            continue;
        }
        rc = take_command(&p, take_word(&p));
        p.line++;
    }
    if (rc == 0 && p.m.n_from == 0)
        rc = err_set(err, ERR_SYNTAX,
                     "there is no FROM: a model is made of another one, or of "
                     "files");
    if (rc != 0)
        modelfile_release(&p.m);
    else
        *ret = p.m;
    return rc;
}
