/*
 * tool_form: see the header.
 */
#include "worker/tool_form.h"

#include "base/mem.h"
#include "grammar/schema.h"
#include "text/call_reader.h"
#include "worker/prompt.h"
#include "worker/tool_args.h"

#include <stdlib.h>
#include <string.h>

/* ---- parts ---- */

static gexpr literal(struct grammar_builder *b, const char *z)
{
    return grammar_literal(b, str_z(z));
}

static gexpr opt(struct grammar_builder *b, gexpr e)
{
    return grammar_repeat(b, e, 0, 1);
}

static gexpr any_of(struct grammar_builder *b, gexpr x, gexpr y)
{
    return grammar_alt(b, (gexpr[]){x, y}, 2);
}

static gexpr spaces(struct grammar_builder *b)
{
    static const struct grammar_range space[] = {{' ', ' '}, {'\n', '\n'}};
    return grammar_repeat(b, grammar_chars(b, space, ARRAY_LEN(space), false), 0, 4);
}

/* ---- calls ---- */

bool tool_form_is_wanted(const struct gen_request *r, const struct form_place *p)
{
    const struct dialect *d = p->dialect;
    return d && !p->in_final && prompt_tools(r) && d->before_name && d->after_args;
}

static const json_t *function_of(const json_t *tool)
{
    return json_object_get(tool, "function");
}

static bool may_call(const struct gen_request *r, const json_t *tool)
{
    struct str name = json_str(json_object_get(function_of(tool), "name"));
    return r->tool_name == NULL || str_eq_z(name, r->tool_name);
}

bool tool_form_is_strict(const struct gen_request *r)
{
    const json_t *tools = prompt_tools(r);
    for (size_t i = 0; i < json_array_size(tools); i++) {
        const json_t *tool = json_array_get(tools, i);
        if (may_call(r, tool) && json_is_true(json_object_get(function_of(tool), "strict")))
            return true;
    }
    return false;
}

/* White space as those who write JSON put it between its parts. */
static gexpr gap(struct grammar_builder *b)
{
    gexpr indent = grammar_repeat(b, literal(b, " "), 0, 8);
    const gexpr line[] = {literal(b, "\n"), indent};
    return opt(b, any_of(b, literal(b, " "), grammar_seq(b, line, 2)));
}

/* Up to the name. A call that the model begins by itself, without a marker, may have its white
 * space elsewhere, and say what it is. */
static gexpr before_name(struct grammar_builder *b, const struct dialect *d)
{
    if (d->body == DIALECT_TAGS) /* the outer tag is often forgotten */
        return any_of(b, tool_spelled(b, d->before_name), tool_spelled(b, d->open[1]));
    if (!d->bare)
        return tool_spelled(b, d->before_name);
    gexpr g = gap(b);
    const gexpr kind[] = {literal(b, "\"type\":"), g, literal(b, "\"function\","), g};
    const gexpr all[] = {literal(b, "{"),         g, opt(b, grammar_seq(b, kind, 4)),
                         literal(b, "\"name\":"), g, literal(b, "\"")};
    return grammar_seq(b, all, ARRAY_LEN(all));
}

static gexpr after_name(struct grammar_builder *b, const struct dialect *d)
{
    if (!d->bare)
        return tool_spelled(b, d->after_name);
    gexpr g = gap(b);
    const gexpr all[] = {literal(b, "\","), g, literal(b, "\"parameters\":"), g};
    return grammar_seq(b, all, ARRAY_LEN(all));
}

static gexpr after_args(struct grammar_builder *b, const struct dialect *d)
{
    const gexpr bare[] = {gap(b), literal(b, "}")};
    return d->bare ? grammar_seq(b, bare, 2) : tool_spelled(b, d->after_args);
}

/* What stands around a call's name, and behind its arguments. */
struct call_parts {
    gexpr before, after, close;
    bool has_other; /* there is another way to begin it */
    gexpr other_before, other_after;
};

static gexpr one_call(struct grammar_builder *b, const struct call_parts *c, gexpr name, gexpr args)
{
    const gexpr head[] = {c->before, name, c->after};
    const gexpr other[] = {c->other_before, name, c->other_after};
    gexpr begin = grammar_seq(b, head, 3);
    if (c->has_other)
        begin = any_of(b, begin, grammar_seq(b, other, 3));
    const gexpr part[] = {begin, args, c->close};
    return grammar_seq(b, part, ARRAY_LEN(part));
}

/* The arguments of each tool that may be called, compiled once for all places of calls: [tools] or
 * NULL with *err. */
static gexpr *all_args(struct grammar_builder *b, const struct gen_request *r,
                       const struct form_place *p, struct err *err)
{
    const json_t *tools = prompt_tools(r);
    size_t n = json_array_size(tools);
    uint64_t steps = 0;
    gexpr *args = mem_try_array(n, sizeof(*args));
    if (!args)
        err_set(err, ERR_NOMEM, "no memory for the tools' grammar");
    for (size_t i = 0; i < n && args && !p->any_args; i++) {
        const json_t *tool = json_array_get(tools, i);
        if (may_call(r, tool))
            args[i] = tool_args_expr(b, p->dialect, function_of(tool), &steps, err);
        if (args[i] < 0) {
            free(args);
            args = NULL;
        }
    }
    return args;
}

/* Any of the tools, with arguments that are theirs, or any where the schemas are too large. */
static gexpr any_call(struct grammar_builder *b, const struct gen_request *r,
                      const struct form_place *p, const struct call_parts *c, bool has_name,
                      const gexpr *args, struct err *err)
{
    const json_t *tools = prompt_tools(r);
    size_t n = json_array_size(tools), k = 0;
    gexpr *e = mem_try_array(n, sizeof(*e));
    if (!e)
        return err_set(err, ERR_NOMEM, "no memory for the tools' grammar");
    for (size_t i = 0; i < n; i++) {
        const json_t *f = function_of(json_array_get(tools, i));
        if (!may_call(r, json_array_get(tools, i)))
            continue;
        gexpr name =
            has_name ? grammar_empty(b) : grammar_literal(b, json_str(json_object_get(f, "name")));
        e[k++] = p->any_args ? name : one_call(b, c, name, args[i]);
    }
    gexpr all = grammar_alt(b, e, k);
    if (all >= 0 && p->any_args)
        all = one_call(b, c, all, tool_args_any(b, p->dialect));
    free(e);
    return all;
}

/* The calls after `first`, and the end. */
static gexpr more_calls(struct grammar_builder *b, const struct gen_request *r,
                        const struct form_place *p, gexpr first, const gexpr *args, struct err *err)
{
    const struct dialect *d = p->dialect;
    const struct call_parts c = {before_name(b, d), after_name(b, d), after_args(b, d)};
    gexpr more = grammar_empty(b);
    if (!r->one_tool_call && d->between) {
        gexpr call = any_call(b, r, p, &c, false, args, err);
        if (call < 0)
            return call;
        const gexpr next[] = {tool_spelled(b, d->between), call};
        more = grammar_repeat(b, grammar_seq(b, next, ARRAY_LEN(next)), 0, GRAMMAR_UNBOUNDED);
    }
    const gexpr all[] = {first, more, tool_spelled(b, d->end)};
    return grammar_seq(b, all, ARRAY_LEN(all));
}

/* What the prompt has begun goes on. */
static gexpr begun_calls(struct grammar_builder *b, const struct gen_request *r,
                         const struct form_place *p, const gexpr *args, struct err *err)
{
    const struct dialect *d = p->dialect;
    bool has_name = r->tool_name != NULL || json_array_size(prompt_tools(r)) == 1;
    gexpr empty = grammar_empty(b);
    const struct call_parts c = {empty, has_name ? empty : after_name(b, d), after_args(b, d)};
    gexpr first = any_call(b, r, p, &c, has_name, args, err);
    return first < 0 ? first : more_calls(b, r, p, first, args, err);
}

/* All calls from their beginning. */
static gexpr whole_calls(struct grammar_builder *b, const struct gen_request *r,
                         const struct form_place *p, const gexpr *args, struct err *err)
{
    const struct dialect *d = p->dialect;
    const gexpr begin[] = {tool_spelled(b, d->begin), before_name(b, d)};
    const struct call_parts c = {grammar_seq(b, begin, 2), after_name(b, d), after_args(b, d)};
    gexpr first = any_call(b, r, p, &c, false, args, err);
    return first < 0 ? first : more_calls(b, r, p, first, args, err);
}

/* ---- text beside calls ---- */

/* Text up to what begins a call. */
static gexpr without_calls(struct grammar_builder *b, const struct dialect *d)
{
    struct str needle[DIALECT_MARKERS];
    size_t n = 0;
    for (int i = 0; i < DIALECT_MARKERS; i++)
        if (d->open[i] != NULL)
            needle[n++] = str_z(d->open[i]);
    return grammar_without(b, needle, n);
}

static gexpr free_text(struct grammar_builder *b, const struct dialect *d)
{
    gexpr drop[DIALECT_MARKERS], text = without_calls(b, d);
    size_t n_drop = 0;
    for (int i = 0; i < DIALECT_MARKERS; i++)
        if (d->drop[i] != NULL)
            drop[n_drop++] = grammar_special(b, str_z(d->drop[i]));
    if (n_drop == 0)
        return text;
    gexpr mark = opt(b, grammar_alt(b, drop, n_drop));
    const gexpr part[] = {mark, text, mark};
    return grammar_seq(b, part, ARRAY_LEN(part));
}

/* A JSON object's first name that begins no call (call_reader's first_decides). */
static gexpr first_name(struct grammar_builder *b, struct err *err)
{
    json_t *schema =
        json_pack("{s:s, s:{s:o}}", "type", "string", "not", "enum", call_reader_first_names());
    const struct schema_options o = {0};
    gexpr e = schema ? schema_expr(b, schema, &o, "tools", err)
                     : err_set(err, ERR_NOMEM, "no memory for the tools' grammar");
    json_decref(schema);
    return e;
}

/* Text that does not begin as a call without a marker does. */
static gexpr plain_text(struct grammar_builder *b, const struct dialect *d, struct err *err)
{
    static const struct grammar_range space[] = {{'\t', '\n'}, {'\r', '\r'}, {' ', ' '}};
    static const struct grammar_range not_first[] = {
        {'\t', '\n'}, {'\r', '\r'}, {' ', ' '}, {'<', '<'}, {'{', '{'}};
    static const struct grammar_range not_less[] = {{'<', '<'}, {'|', '|'}};
    static const struct grammar_range not_name[] = {
        {'\t', '\n'}, {'\r', '\r'}, {' ', ' '}, {'"', '"'}, {'<', '<'}};
    gexpr any = without_calls(b, d), name = first_name(b, err);
    if (name < 0)
        return name;
    gexpr blank = grammar_repeat(b, grammar_chars(b, space, 3, false), 0, GRAMMAR_UNBOUNDED);
    const gexpr other[] = {grammar_chars(b, not_first, 5, true), any};
    const gexpr less[] = {literal(b, "<"), grammar_chars(b, not_less, 2, true), any};
    const gexpr key = any_of(b, name, grammar_chars(b, not_name, 5, true));
    const gexpr inside[] = {key, any};
    const gexpr brace[] = {literal(b, "{"), blank, opt(b, grammar_seq(b, inside, 2))};
    const gexpr begin[] = {grammar_seq(b, other, 2), grammar_seq(b, less, 3),
                           grammar_seq(b, brace, 3)};
    const gexpr all[] = {blank, opt(b, grammar_alt(b, begin, 3))};
    return grammar_seq(b, all, 2);
}

/* Without a marker at the beginning, or behind one anywhere. */
static gexpr bare_answer(struct grammar_builder *b, const struct dialect *d, gexpr calls,
                         struct err *err)
{
    gexpr text = plain_text(b, d, err);
    if (text < 0)
        return text;
    const gexpr marked[] = {
        text, opt(b, grammar_seq(b, (gexpr[]){tool_spelled(b, d->open[0]), spaces(b), calls}, 3))};
    const gexpr bare[] = {spaces(b), calls};
    return any_of(b, grammar_seq(b, marked, 2), grammar_seq(b, bare, 2));
}

/* ---- harmony ---- */

static gexpr harmony_text(struct grammar_builder *b)
{
    static const char *const ends[] = {"<|end|>", "<|return|>", "<|call|>", "<|start|>",
                                       "<|channel|>"};
    struct str needle[ARRAY_LEN(ends)];
    for (size_t i = 0; i < ARRAY_LEN(ends); i++)
        needle[i] = str_z(ends[i]);
    return grammar_without(b, needle, ARRAY_LEN(ends));
}

/* Messages before the last one, each with the beginning of the next: thoughts, and what is said of
 * the calls to come. */
static gexpr harmony_before(struct grammar_builder *b, const struct gen_request *r)
{
    gexpr text = harmony_text(b);
    gexpr next = tool_spelled(b, "<|end|><|start|>assistant");
    const gexpr said[] = {tool_spelled(b, "<|channel|>commentary<|message|>"), text, next};
    const gexpr thought[] = {tool_spelled(b, "<|channel|>analysis<|message|>"), text, next};
    gexpr one = grammar_seq(b, said, 3);
    if (r->think != GEN_THINK_OFF)
        one = any_of(b, one, grammar_seq(b, thought, 3));
    return grammar_repeat(b, one, 0, GRAMMAR_UNBOUNDED);
}

static gexpr harmony_final(struct grammar_builder *b, gexpr answer)
{
    gexpr json = opt(b, tool_spelled(b, " <|constrain|>json"));
    const gexpr all[] = {tool_spelled(b, "<|channel|>final"), json, tool_spelled(b, "<|message|>"),
                         answer};
    return grammar_seq(b, all, ARRAY_LEN(all));
}

static gexpr harmony_thoughts(struct grammar_builder *b, const struct gen_request *r,
                              const struct form_place *p, gexpr answer)
{
    if (p->in_call || p->in_final)
        return answer;
    if (!tool_form_is_wanted(r, p))
        answer = harmony_final(b, answer);
    const gexpr all[] = {harmony_before(b, r), answer};
    return grammar_seq(b, all, 2);
}

/* A call, whose name comes before the channel or behind it. */
static gexpr harmony_call(struct grammar_builder *b, const struct gen_request *r,
                          const struct form_place *p, const gexpr *args, struct err *err)
{
    gexpr channel = tool_spelled(b, "<|channel|>commentary");
    gexpr kind = any_of(b, literal(b, " json"), tool_spelled(b, "<|constrain|>json"));
    kind = opt(b, any_of(b, kind, tool_spelled(b, " <|constrain|>json")));
    gexpr message = tool_spelled(b, "<|message|>"), to = literal(b, " to=functions.");
    const gexpr before[] = {channel, to}, after[] = {channel, kind, message};
    const gexpr plain_after[] = {kind, message};
    const struct call_parts c = {.before = grammar_seq(b, before, 2),
                                 .after = grammar_seq(b, plain_after, 2),
                                 .close = grammar_empty(b),
                                 .has_other = true,
                                 .other_before = to,
                                 .other_after = grammar_seq(b, after, 3)};
    return any_call(b, r, p, &c, false, args, err);
}

static gexpr harmony_answer(struct grammar_builder *b, const struct gen_request *r,
                            const struct form_place *p, gexpr plain, const gexpr *args,
                            struct err *err)
{
    gexpr calls = harmony_call(b, r, p, args, err);
    if (calls < 0 || r->tool_choice == GEN_TOOLS_REQUIRED)
        return calls;
    return any_of(b, harmony_final(b, plain >= 0 ? plain : harmony_text(b)), calls);
}

/* ---- thoughts ---- */

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
    if (d && d->body == DIALECT_HARMONY)
        return harmony_thoughts(b, r, p, answer);
    if (!d || !d->think_open || p->in_call)
        return answer;
    const gexpr rest[] = {until_marker(b, d->think_close), spaces(b), answer};
    gexpr thinking = grammar_seq(b, rest, ARRAY_LEN(rest));
    if (p->in_thought || r->think == GEN_THINK_OFF)
        return p->in_thought ? thinking : answer;
    const gexpr opened[] = {spaces(b), grammar_special(b, str_z(d->think_open)), thinking};
    return any_of(b, answer, grammar_seq(b, opened, ARRAY_LEN(opened)));
}

/* ---- the whole ---- */

/* Text has a recipient, too. */
static gexpr lines_answer(struct grammar_builder *b, const struct dialect *d, gexpr plain,
                          gexpr calls)
{
    gexpr all = literal(b, "all\n");
    const gexpr held[] = {all, plain};
    const gexpr text[] = {all, without_calls(b, d),
                          opt(b, grammar_seq(b, (gexpr[]){literal(b, d->open[0]), calls}, 2))};
    return any_of(b, plain >= 0 ? grammar_seq(b, held, 2) : grammar_seq(b, text, 3), calls);
}

/* A call must not look like the answer. */
static int check_names(const struct gen_request *r, const struct dialect *d, struct err *err)
{
    const json_t *tools = prompt_tools(r);
    for (size_t i = 0; d->body == DIALECT_LINES && i < json_array_size(tools); i++) {
        const json_t *tool = json_array_get(tools, i);
        if (may_call(r, tool) &&
            str_eq_z(json_str(json_object_get(function_of(tool), "name")), "all"))
            return err_set_param(
                err, ERR_INVALID, "tools",
                "tools: this model calls its answer 'all', no tool can be named so");
    }
    return 0;
}

static gexpr answer_of(struct grammar_builder *b, const struct gen_request *r,
                       const struct form_place *p, gexpr plain, const gexpr *args, struct err *err)
{
    const struct dialect *d = p->dialect;
    if (check_names(r, d, err) != 0)
        return -1;
    if (p->in_call)
        return begun_calls(b, r, p, args, err);
    if (d->body == DIALECT_HARMONY)
        return harmony_answer(b, r, p, plain, args, err);
    gexpr calls = whole_calls(b, r, p, args, err);
    if (calls < 0 || r->tool_choice == GEN_TOOLS_REQUIRED)
        return calls;
    if (d->body == DIALECT_LINES)
        return lines_answer(b, d, plain, calls);
    if (plain >= 0)
        return any_of(b, plain, calls);
    if (d->bare)
        return bare_answer(b, d, calls, err);
    const gexpr text[] = {free_text(b, d), opt(b, calls)};
    return grammar_seq(b, text, ARRAY_LEN(text));
}

gexpr tool_form_expr(struct grammar_builder *b, const struct gen_request *r,
                     const struct form_place *p, gexpr plain, struct err *err)
{
    gexpr *args = all_args(b, r, p, err);
    gexpr e = args ? answer_of(b, r, p, plain, args, err) : -1;
    free(args);
    return e;
}
