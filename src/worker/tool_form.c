/*
 * tool_form: see the header.
 */
#include "worker/tool_form.h"

#include "base/mem.h"
#include "grammar/schema.h"
#include "worker/prompt.h"

#include <stdlib.h>
#include <string.h>

/* ---- what dialects spell ---- */

/* Length of the marker that text begins with ("<tool_call>", "[ARGS]"); 0: none. */
static size_t marker_len(struct str text)
{
    char close = text.ptr[0] == '<' ? '>' : text.ptr[0] == '[' ? ']' : '\0';
    ptrdiff_t end = close ? str_chr(text, close) : -1;
    for (ptrdiff_t i = 1; i < end; i++)
        if (strchr(" \n\"{", text.ptr[i]) != NULL)
            return 0;
    return end > 1 ? (size_t)end + 1 : 0;
}

/* A text whose markers may be control tokens. */
static gexpr spelled(struct grammar_builder *b, const char *z)
{
    struct str text = str_z(z);
    gexpr part[16];
    size_t n = 0;
    while (text.len > 0 && n < ARRAY_LEN(part) - 1) {
        size_t len = marker_len(text);
        bool is_marker = len > 0;
        while (!is_marker && len < text.len && (len == 0 || marker_len(str_from(text, len)) == 0))
            len++;
        part[n++] = is_marker ? grammar_special(b, str_sub(text, 0, len))
                              : grammar_literal(b, str_sub(text, 0, len));
        text = str_from(text, len);
    }
    if (text.len > 0)
        part[n++] = grammar_literal(b, text);
    return grammar_seq(b, part, n);
}

/* ---- thoughts ---- */

static gexpr spaces(struct grammar_builder *b)
{
    static const struct grammar_range space[] = {{' ', ' '}, {'\n', '\n'}};
    return grammar_repeat(b, grammar_chars(b, space, ARRAY_LEN(space), false), 0, 4);
}

static gexpr until_marker(struct grammar_builder *b, const char *marker)
{
    const struct str needle[] = {str_z(marker)};
    const gexpr part[] = {grammar_without(b, needle, 1), grammar_special(b, str_z(marker))};
    return grammar_seq(b, part, 2);
}

gexpr tool_form_thoughts(struct grammar_builder *b, const struct gen_request *r,
                         const struct form_place *p, gexpr answer)
{
    const struct dialect *d = p->dialect;
    if (!d || !d->think_open || p->in_call)
        return answer;
    const gexpr rest[] = {until_marker(b, d->think_close), spaces(b), answer};
    gexpr thinking = grammar_seq(b, rest, ARRAY_LEN(rest));
    if (p->in_thought || r->think == GEN_THINK_OFF)
        return p->in_thought ? thinking : answer;
    const gexpr opened[] = {spaces(b), grammar_special(b, str_z(d->think_open)), thinking};
    const gexpr either[] = {answer, grammar_seq(b, opened, ARRAY_LEN(opened))};
    return grammar_alt(b, either, 2);
}

/* ---- calls ---- */

bool tool_form_is_wanted(const struct gen_request *r, const struct form_place *p)
{
    const struct dialect *d = p->dialect;
    return d && prompt_tools(r) && d->before_name && d->after_args && d->body != DIALECT_HARMONY &&
           (!d->bare || p->in_call);
}

/* NAME, what follows it, the arguments and what closes them. */
static gexpr named_call(struct grammar_builder *b, const struct dialect *d, const json_t *tool,
                        bool with_name, struct err *err)
{
    const json_t *f = json_object_get(tool, "function");
    const struct schema_options o = {.strict = json_is_true(json_object_get(f, "strict"))};
    gexpr args = schema_expr(b, json_object_get(f, "parameters"), &o, "tools", err);
    if (args < 0)
        return args;
    const gexpr part[] = {
        with_name ? grammar_literal(b, json_str(json_object_get(f, "name"))) : grammar_empty(b),
        with_name ? spelled(b, d->after_name) : grammar_empty(b), args, spelled(b, d->after_args)};
    return grammar_seq(b, part, ARRAY_LEN(part));
}

static bool may_call(const struct gen_request *r, const json_t *tool)
{
    struct str name = json_str(json_object_get(json_object_get(tool, "function"), "name"));
    return r->tool_name == NULL || str_eq_z(name, r->tool_name);
}

/* Any of the tools; with_name: its name is still to come. */
static gexpr any_call(struct grammar_builder *b, const struct gen_request *r,
                      const struct dialect *d, bool with_name, struct err *err)
{
    const json_t *tools = prompt_tools(r);
    size_t n = json_array_size(tools), k = 0;
    gexpr *e = mem_try_array(n, sizeof(*e));
    if (!e)
        return err_set(err, ERR_NOMEM, "no memory for the tools' grammar");
    for (size_t i = 0; i < n; i++) {
        const json_t *tool = json_array_get(tools, i);
        if (!may_call(r, tool))
            continue;
        e[k] = named_call(b, d, tool, with_name, err);
        if (e[k++] < 0) {
            free(e);
            return -1;
        }
    }
    gexpr all = grammar_alt(b, e, k);
    free(e);
    return all;
}

/* The calls after `first`, and the end. */
static gexpr more_calls(struct grammar_builder *b, const struct gen_request *r,
                        const struct dialect *d, gexpr first, struct err *err)
{
    gexpr more = grammar_empty(b);
    if (!r->one_tool_call && d->between) {
        gexpr call = any_call(b, r, d, true, err);
        if (call < 0)
            return call;
        const gexpr next[] = {spelled(b, d->between), spelled(b, d->before_name), call};
        more = grammar_repeat(b, grammar_seq(b, next, ARRAY_LEN(next)), 0, GRAMMAR_UNBOUNDED);
    }
    const gexpr all[] = {first, more, spelled(b, d->end)};
    return grammar_seq(b, all, ARRAY_LEN(all));
}

/* What the prompt has begun goes on. */
static gexpr begun_calls(struct grammar_builder *b, const struct gen_request *r,
                         const struct dialect *d, struct err *err)
{
    bool has_name = r->tool_name != NULL || json_array_size(prompt_tools(r)) == 1;
    gexpr first = any_call(b, r, d, !has_name, err);
    return first < 0 ? first : more_calls(b, r, d, first, err);
}

/* Text up to what begins a call. */
static gexpr free_text(struct grammar_builder *b, const struct dialect *d)
{
    struct str needle[DIALECT_MARKERS];
    gexpr drop[DIALECT_MARKERS];
    size_t n = 0, n_drop = 0;
    for (int i = 0; i < DIALECT_MARKERS; i++) {
        if (d->open[i] != NULL)
            needle[n++] = str_z(d->open[i]);
        if (d->drop[i] != NULL)
            drop[n_drop++] = grammar_special(b, str_z(d->drop[i]));
    }
    gexpr text = grammar_without(b, needle, n);
    if (n_drop == 0)
        return text;
    gexpr mark = grammar_repeat(b, grammar_alt(b, drop, n_drop), 0, 1);
    const gexpr part[] = {mark, text, mark};
    return grammar_seq(b, part, ARRAY_LEN(part));
}

gexpr tool_form_expr(struct grammar_builder *b, const struct gen_request *r,
                     const struct form_place *p, gexpr plain, struct err *err)
{
    const struct dialect *d = p->dialect;
    if (p->in_call)
        return begun_calls(b, r, d, err);
    gexpr call = any_call(b, r, d, true, err);
    if (call < 0)
        return call;
    const gexpr first[] = {spelled(b, d->begin), spelled(b, d->before_name), call};
    gexpr calls = more_calls(b, r, d, grammar_seq(b, first, ARRAY_LEN(first)), err);
    if (calls < 0 || r->tool_choice == GEN_TOOLS_REQUIRED)
        return calls;
    if (plain >= 0) {
        const gexpr either[] = {plain, calls};
        return grammar_alt(b, either, 2);
    }
    const gexpr text[] = {free_text(b, d), grammar_repeat(b, calls, 0, 1)};
    return grammar_seq(b, text, ARRAY_LEN(text));
}
