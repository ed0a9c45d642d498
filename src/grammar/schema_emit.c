/*
 * schema_emit: from nodes to expressions. A node with lists or objects becomes a rule, so that
 * schemas may contain themselves; all else stands where it is used.
 */
#include "base/mem.h"
#include "grammar/regex.h"
#include "grammar/schema_syntax.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define INDENT_MAX 64 /* spaces or tabs after a line's end */

gexpr emit_opt(struct plan *p, gexpr e)
{
    return grammar_repeat(p->b, e, 0, 1);
}

gexpr emit_seq2(struct plan *p, gexpr a, gexpr b)
{
    return grammar_seq(p->b, (gexpr[]){a, b}, 2);
}

static gexpr literal(struct plan *p, const char *z)
{
    return grammar_literal(p->b, str_z(z));
}

gexpr emit_pair(struct plan *p, gexpr key, gexpr value)
{
    gexpr gap = p->o->compact ? grammar_empty(p->b) : emit_opt(p, literal(p, " "));
    return grammar_seq(p->b, (gexpr[]){key, literal(p, ":"), gap, value}, 4);
}

gexpr emit_comma(struct plan *p)
{
    return emit_seq2(p, literal(p, ","), p->space);
}

/* Brackets around parts that may be missing. */
gexpr emit_brackets(struct plan *p, const char *open, const char *close, gexpr inside,
                    bool may_be_empty)
{
    gexpr full = emit_seq2(p, inside, p->space);
    return grammar_seq(p->b,
                       (gexpr[]){literal(p, open), p->space,
                                 may_be_empty ? emit_opt(p, full) : full, literal(p, close)},
                       4);
}

void plan_emit_common(struct plan *p)
{
    static const struct grammar_range blank[] = {{' ', ' '}, {'\t', '\t'}};
    static const struct grammar_range all = {0, LANG_CHAR_MAX};
    const struct number_bounds none = {0};
    gexpr indent = grammar_repeat(p->b, grammar_chars(p->b, blank, 2, false), 0, INDENT_MAX);
    p->space = p->o->compact ? grammar_empty(p->b)
                             : grammar_alt(p->b,
                                           (gexpr[]){grammar_empty(p->b), literal(p, " "),
                                                     emit_seq2(p, literal(p, "\n"), indent)},
                                           3);
    p->string_char = schema_chars(p->b, CHARS_JSON, &all, 1);
    p->string = syntax_any_string(p);
    p->any_key = syntax_any_key(p);
    gexpr number = schema_number_expr(p->b, &none, TYPE_NUMBER);
    p->any = grammar_rule(p->b);
    gexpr pair = emit_pair(p, p->any_key, p->any), comma = emit_comma(p);
    gexpr pairs =
        emit_seq2(p, pair, grammar_repeat(p->b, emit_seq2(p, comma, pair), 0, GRAMMAR_UNBOUNDED));
    gexpr items = emit_seq2(
        p, p->any, grammar_repeat(p->b, emit_seq2(p, comma, p->any), 0, GRAMMAR_UNBOUNDED));
    p->any_object = emit_brackets(p, "{", "}", pairs, true);
    p->any_array = emit_brackets(p, "[", "]", items, true);
    gexpr all_of[] = {p->any_object,
                      p->any_array,
                      p->string,
                      number,
                      syntax_word(p, json_true()),
                      syntax_word(p, json_false()),
                      syntax_word(p, json_null())};
    grammar_define(p->b, p->any, grammar_alt(p->b, all_of, 7));
}

/* ---- given values ---- */

/* Reals in the fewest digits that mean them; 2.0 may be written 2, too. */
static gexpr emit_real(struct plan *p, double d)
{
    char text[48], with_point[52];
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(text, sizeof(text), "%.*g", digits, d);
        if (strtod(text, NULL) == d)
            break;
    }
    if (strpbrk(text, ".e"))
        return literal(p, text);
    snprintf(with_point, sizeof(with_point), "%s.0", text);
    return grammar_alt(p->b, (gexpr[]){literal(p, text), literal(p, with_point)}, 2);
}

static gexpr emit_scalar(struct plan *p, const json_t *value)
{
    struct str string = json_str(value);
    struct buf text;
    if (json_is_string(value))
        return syntax_strings(p, &string, 1);
    if (!json_is_number(value))
        return syntax_word(p, value);
    buf_init(&text, EMIT_TEXT_MAX);
    bool ok = json_write(value, &text);
    gexpr e = ok ? grammar_literal(p->b, buf_str(&text)) : -1;
    buf_release(&text);
    if (!ok)
        plan_fail(p, ERR_LIMIT, "#", "a value of enum or const is too long");
    return e;
}

gexpr emit_member(struct plan *p, struct str key, gexpr value)
{
    return emit_pair(p, syntax_key(p, key), value);
}

gexpr emit_value(struct plan *p, const json_t *value)
{
    gexpr inside = grammar_empty(p->b), comma = emit_comma(p);
    const char *key;
    json_t *v;
    size_t i, n = 0, len;
    if (json_is_real(value))
        return emit_real(p, json_real_value(value));
    if (json_is_array(value)) {
        json_array_foreach(value, i, v)
        {
            gexpr item = emit_value(p, v);
            inside = grammar_seq(p->b,
                                 (gexpr[]){inside, n++ > 0 ? comma : grammar_empty(p->b), item}, 3);
        }
        return emit_brackets(p, "[", "]", inside, false);
    }
    if (!json_is_object(value))
        return emit_scalar(p, value);
    json_object_keylen_foreach((json_t *)(uintptr_t)value, key, len, v)
    {
        gexpr item = emit_member(p, (struct str){key, len}, emit_value(p, v));
        inside =
            grammar_seq(p->b, (gexpr[]){inside, n++ > 0 ? comma : grammar_empty(p->b), item}, 3);
    }
    return emit_brackets(p, "{", "}", inside, false);
}

/* Strings as one tree of texts; the rest one by one. */
static gexpr emit_values(struct plan *p, const json_t *const *value, int n)
{
    struct str *text = plan_alloc(p, (size_t)n, sizeof(*text));
    gexpr *e = plan_alloc(p, (size_t)n + 1, sizeof(*e));
    size_t n_e = 0;
    int n_text = 0;
    if (!text || !e)
        return -1;
    for (int i = 0; i < n; i++)
        if (json_is_string(value[i]))
            text[n_text++] = json_str(value[i]);
        else
            e[n_e++] = emit_value(p, value[i]);
    if (n_text > 0)
        e[n_e++] = syntax_strings(p, text, n_text);
    return grammar_alt(p->b, e, n_e);
}

/* ---- shapes ---- */

static gexpr emit_regex(struct plan *p, struct str pattern, const char *place)
{
    const struct regex_options o = {.search = true, .json_string = true};
    struct err err = {0};
    gexpr e = regex_expr(p->b, pattern, &o, p->param, &err);
    if (e < 0)
        plan_fail(p, err.code ? err.code : ERR_INVALID, place, "pattern \"%.*s\": %s",
                  (int)(pattern.len > 80 ? 80 : pattern.len), pattern.ptr, err.text);
    return e;
}

static gexpr emit_string(struct plan *p, const struct shape *s)
{
    const struct string_bounds *b = &s->string;
    gexpr inside;
    if (p->o->syntax != SCHEMA_JSON || p->o->after_less.len > 0)
        return syntax_string(p, s);
    if (s->lang)
        inside = schema_lang_expr(p->b, s->lang, CHARS_JSON);
    else if (b->n_pattern > 0)
        inside = emit_regex(p, b->pattern[0].text, b->pattern[0].place);
    else if (b->n_format > 0)
        inside = emit_regex(p, str_z(b->format[0]->regex), "#");
    else if (b->min == 0 && b->max < 0)
        return p->string;
    else
        inside = grammar_repeat(p->b, p->string_char, b->min,
                                b->max > GRAMMAR_REPEAT_MAX ? GRAMMAR_REPEAT_MAX : b->max);
    return schema_json_string(p->b, inside);
}

static bool is_forbidden(const struct shape *s, const json_t *value)
{
    for (int i = 0; i < s->n_forbid; i++)
        if (plan_equal(s->forbid[i], value))
            return true;
    return false;
}

static gexpr emit_shape(struct plan *p, const struct shape *s)
{
    gexpr e[8];
    size_t n = 0;
    if (s->is_fixed)
        return emit_values(p, s->value, s->n_value);
    if ((s->types & TYPE_OBJECT) && object_productive(p, &s->object))
        e[n++] = emit_object(p, &s->object);
    if ((s->types & TYPE_ARRAY) && array_productive(p, &s->array))
        e[n++] = emit_array(p, &s->array);
    if (s->types & TYPE_STRING)
        e[n++] = emit_string(p, s);
    if (s->types & TYPE_NUMBER)
        e[n++] = schema_number_expr(p->b, &s->number, s->types);
    if ((s->types & TYPE_BOOL) && !is_forbidden(s, json_true()))
        e[n++] = syntax_word(p, json_true());
    if ((s->types & TYPE_BOOL) && !is_forbidden(s, json_false()))
        e[n++] = syntax_word(p, json_false());
    if (s->types & TYPE_NULL)
        e[n++] = syntax_word(p, json_null());
    return grammar_alt(p->b, e, n);
}

/* ---- nodes ---- */

static bool is_leaf(const struct node *n)
{
    for (const struct shape *s = n->shapes; s; s = s->next)
        if (!s->is_fixed && (s->types & (TYPE_OBJECT | TYPE_ARRAY)))
            return false;
    return true;
}

static gexpr emit_body(struct plan *p, const struct node *n)
{
    gexpr *e = plan_alloc(p, (size_t)n->n_shapes, sizeof(*e));
    size_t k = 0;
    if (!e)
        return -1;
    for (const struct shape *s = n->shapes; s; s = s->next)
        e[k++] = emit_shape(p, s);
    return grammar_alt(p->b, e, k);
}

gexpr emit_node(struct plan *p, int index)
{
    struct node *n = p->node[index];
    if (n->goal.n == 0)
        return p->any;
    if (n->rule == GEXPR_NONE && is_leaf(n)) {
        n->rule = emit_body(p, n);
    } else if (n->rule == GEXPR_NONE) {
        n->rule = grammar_rule(p->b);
        n->next_todo = p->todo;
        p->todo = n;
    }
    return n->rule;
}

int plan_emit(struct plan *p, int root, gexpr *ret)
{
    plan_emit_common(p);
    *ret = p->frame ? frame_root(p, p->node[root]) : emit_node(p, root);
    while (p->todo && p->err->code == 0) {
        const struct node *n = p->todo;
        p->todo = n->next_todo;
        grammar_define(p->b, n->rule, emit_body(p, n));
    }
    return p->err->code;
}
