/*
 * schema_syntax: see the header. What stands for a text depends on what is around it: JSON's
 * escapes between JSON's quotation marks, those and single ones for Python, and nothing but the
 * text itself where a marker ends it, which the text must not hold then.
 */
#include "grammar/schema_syntax.h"

#include "base/mem.h"

#include <string.h>

#define RAW_COUNTED 256 /* longer texts of a bounded length are counted without an automaton */
#define NAME_REGEX  "^[A-Za-z_][A-Za-z_0-9]*$"
#define RAW_REGEX   "^[\\t\\n\\r -~\\u{80}-\\u{10ffff}]*$"

static const struct grammar_range all_chars = {0, LANG_CHAR_MAX};

static enum schema_chars json_chars(const struct plan *p)
{
    return p->o->after_less.len > 0 ? CHARS_NO_LESS : CHARS_JSON;
}

static gexpr between_quotes(struct plan *p, gexpr inside)
{
    gexpr quote = grammar_special(p->b, p->o->quote);
    return grammar_seq(p->b, (gexpr[]){quote, inside, quote}, 3);
}

static gexpr between_single(struct plan *p, gexpr inside)
{
    gexpr quote = grammar_literal(p->b, STR("'"));
    return grammar_seq(p->b, (gexpr[]){quote, inside, quote}, 3);
}

/* ---- any text ---- */

/* After "<" not the characters of after_less, but as escapes. */
static gexpr after_less(struct plan *p)
{
    struct str not = p->o->after_less;
    struct grammar_range r[9];
    uint32_t from = 0;
    size_t n = 0;
    for (size_t i = 0; i < not .len && n + 1 < ARRAY_LEN(r); i++) {
        r[n++] = (struct grammar_range){from, (uint32_t) not .ptr[i] - 1};
        from = (uint32_t) not .ptr[i] + 1;
    }
    r[n++] = (struct grammar_range){from, LANG_CHAR_MAX};
    gexpr slash = grammar_literal(p->b, STR("\\/"));
    return grammar_alt(p->b, (gexpr[]){schema_chars(p->b, CHARS_NO_LESS, r, n), slash}, 2);
}

static gexpr any_inside(struct plan *p, enum schema_chars how)
{
    gexpr c = schema_chars(p->b, how, &all_chars, 1);
    if (how != CHARS_NO_LESS)
        return grammar_repeat(p->b, c, 0, GRAMMAR_UNBOUNDED);
    gexpr less = grammar_literal(p->b, STR("<"));
    gexpr some = grammar_repeat(p->b, less, 1, GRAMMAR_UNBOUNDED);
    const gexpr behind[] = {some, after_less(p)};
    const gexpr part[] = {c, grammar_seq(p->b, behind, 2)};
    gexpr body = grammar_repeat(p->b, grammar_alt(p->b, part, 2), 0, GRAMMAR_UNBOUNDED);
    return grammar_seq(p->b, (gexpr[]){body, grammar_repeat(p->b, less, 0, GRAMMAR_UNBOUNDED)}, 2);
}

gexpr syntax_any_string(struct plan *p)
{
    if (p->o->syntax == SCHEMA_QUOTED)
        return between_quotes(p, raw_any(p));
    gexpr e = schema_json_string(p->b, any_inside(p, json_chars(p)));
    if (p->o->syntax != SCHEMA_PYTHON)
        return e;
    return grammar_alt(p->b, (gexpr[]){e, between_single(p, any_inside(p, CHARS_SINGLE))}, 2);
}

/* ---- texts that a lang describes ---- */

static gexpr quoted_lang(struct plan *p, const struct lang *l)
{
    gexpr e = schema_json_string(p->b, schema_lang_expr(p->b, l, json_chars(p)));
    if (p->o->syntax != SCHEMA_PYTHON)
        return e;
    gexpr single = between_single(p, schema_lang_expr(p->b, l, CHARS_SINGLE));
    return grammar_alt(p->b, (gexpr[]){e, single}, 2);
}

/* As a regular expression: each character in brackets. */
static struct str needle_regex(struct plan *p, struct str needle)
{
    char *text = plan_alloc(p, needle.len * 3 + 1, 1);
    for (size_t i = 0; text && i < needle.len; i++)
        memcpy(text + i * 3, (char[]){'[', needle.ptr[i], ']'}, 3);
    return (struct str){text, text ? needle.len * 3 : 0};
}

static int forbid_needle(struct plan *p, struct str needle, const struct lang **raw)
{
    const struct lang *with;
    struct str regex = needle_regex(p, needle);
    int rc = regex.ptr ? plan_pattern_lang(p, regex, "#", &with) : ERR_LIMIT;
    return rc != 0 ? rc : lang_minus(plan_work(p), *raw, with, raw);
}

/* All texts that may stand without quotation marks. */
static const struct lang *raw_lang(struct plan *p)
{
    const struct lang *raw = p->raw;
    if (raw)
        return raw;
    int rc = plan_pattern_lang(p, STR(RAW_REGEX), "#", &raw);
    if (rc == 0 && p->o->syntax == SCHEMA_QUOTED)
        rc = forbid_needle(p, p->o->quote, &raw);
    for (size_t i = 0; rc == 0 && p->frame && i < ARRAY_LEN(p->frame->raw_end); i++)
        if (p->frame->raw_end[i])
            rc = forbid_needle(p, str_z(p->frame->raw_end[i]), &raw);
    if (rc != 0 && p->err->code == 0)
        plan_fail(p, rc, "#", "the schema is too large");
    p->raw = rc == 0 ? raw : NULL;
    return p->raw;
}

/* Those of l that may stand without quotation marks. */
static gexpr raw_of_lang(struct plan *p, const struct lang *l)
{
    const struct lang *raw = raw_lang(p), *both;
    int rc = raw ? lang_and(plan_work(p), l, raw, &both) : ERR_LIMIT;
    rc = rc == 0 && both ? plan_charge(p, NULL) : rc;
    if (rc == 0 && both)
        return schema_lang_expr(p->b, both, CHARS_RAW);
    if (p->err->code == 0 && rc == 0)
        plan_fail(p, ERR_UNSUPPORTED, "#", "a text cannot be written as this model writes texts");
    else if (p->err->code == 0)
        plan_fail(p, rc, "#", "the bounds of a string are too large together");
    return -1;
}

static bool has_rules(const struct shape *s)
{
    return s->lang || s->string.n_pattern > 0 || s->string.n_format > 0;
}

/* The texts of a shape, within single or double quotation marks. */
static gexpr inside(struct plan *p, const struct shape *s, enum schema_chars how)
{
    const struct string_bounds *b = &s->string;
    const struct lang *l = s->lang;
    if (!has_rules(s) && b->min == 0 && b->max < 0)
        return any_inside(p, how);
    if (!has_rules(s))
        return grammar_repeat(p->b, schema_chars(p->b, how, &all_chars, 1), b->min,
                              b->max > GRAMMAR_REPEAT_MAX ? GRAMMAR_REPEAT_MAX : b->max);
    if (!l && (plan_string_lang(p, s, &l) != 0 || !l))
        return -1;
    return schema_lang_expr(p->b, l, how);
}

gexpr syntax_string(struct plan *p, const struct shape *s)
{
    bool is_any = !has_rules(s) && s->string.min == 0 && s->string.max < 0;
    if (is_any)
        return p->string;
    if (p->o->syntax == SCHEMA_QUOTED)
        return between_quotes(p, raw_string(p, s));
    gexpr e = schema_json_string(p->b, inside(p, s, json_chars(p)));
    if (p->o->syntax != SCHEMA_PYTHON)
        return e;
    return grammar_alt(p->b, (gexpr[]){e, between_single(p, inside(p, s, CHARS_SINGLE))}, 2);
}

/* ---- given texts ---- */

static bool is_plain(struct str text)
{
    for (size_t i = 0; i < text.len; i++)
        if ((unsigned char)text.ptr[i] < 0x20 || text.ptr[i] == '\'' || text.ptr[i] == '\\')
            return false;
    return true;
}

static bool write_json(const struct plan *p, struct str text, struct buf *out)
{
    size_t from = out->len;
    bool ok = json_write_string(text, out);
    if (p->o->after_less.len == 0 || str_chr(text, '<') < 0)
        return ok;
    struct buf escaped;
    buf_init(&escaped, EMIT_TEXT_MAX);
    for (size_t i = from; i < out->len; i++)
        if (out->ptr[i] == '<')
            buf_add_z(&escaped, "\\u003c");
        else
            buf_add_char(&escaped, out->ptr[i]);
    buf_truncate(out, from);
    ok = !escaped.overflow && buf_add_str(out, buf_str(&escaped)) && ok;
    buf_release(&escaped);
    return ok;
}

/* Each text as it may be written: ret[], up to two for each, in `all`. */
static int write_texts(struct plan *p, const struct str *text, int n, struct str *ret,
                       struct buf *all)
{
    int k = 0;
    for (int i = 0; i < n; i++) {
        size_t from = all->len;
        write_json(p, text[i], all);
        ret[k++].len = all->len - from;
        if (p->o->syntax != SCHEMA_PYTHON || !is_plain(text[i]))
            continue;
        buf_add_char(all, '\'');
        buf_add_str(all, text[i]);
        buf_add_char(all, '\'');
        ret[k++].len = text[i].len + 2;
    }
    size_t at = 0;
    for (int i = 0; i < k && !all->overflow; at += ret[i++].len)
        ret[i].ptr = all->ptr + at;
    return all->overflow ? plan_fail(p, ERR_LIMIT, "#", "the values of an enum are too long") : k;
}

gexpr syntax_strings(struct plan *p, const struct str *text, int n)
{
    struct str *written = plan_alloc(p, (size_t)n * 2, sizeof(*written));
    struct buf all;
    if (!written)
        return -1;
    if (p->o->syntax == SCHEMA_QUOTED)
        return between_quotes(p, raw_strings(p, text, n));
    buf_init(&all, EMIT_TEXT_MAX);
    int k = write_texts(p, text, n, written, &all);
    gexpr e = k < 0 ? -1 : schema_literals(p, written, (size_t)k);
    buf_release(&all);
    return e;
}

gexpr syntax_word(struct plan *p, const json_t *value)
{
    bool python = p->o->syntax == SCHEMA_PYTHON;
    if (json_is_true(value))
        return grammar_literal(p->b, python ? STR("True") : STR("true"));
    if (json_is_false(value))
        return grammar_literal(p->b, python ? STR("False") : STR("false"));
    gexpr null = grammar_literal(p->b, STR("null")), none = grammar_literal(p->b, STR("None"));
    if (p->o->syntax == SCHEMA_QUOTED) /* Jinja's word for it, which its templates write */
        return grammar_alt(p->b, (gexpr[]){null, none}, 2);
    return python ? none : null;
}

/* ---- without quotation marks ---- */

gexpr raw_any(struct plan *p)
{
    struct str needle[8] = {STR("\x01")}; /* json_mend's own quotation mark */
    size_t n = 1;
    if (p->o->syntax == SCHEMA_QUOTED)
        needle[n++] = p->o->quote;
    for (size_t i = 0; p->frame && i < ARRAY_LEN(p->frame->raw_end); i++)
        if (p->frame->raw_end[i])
            needle[n++] = str_z(p->frame->raw_end[i]);
    return grammar_without(p->b, needle, n);
}

gexpr raw_string(struct plan *p, const struct shape *s)
{
    static const struct grammar_range no_less[] = {{0, '<' - 1}, {'<' + 1, LANG_CHAR_MAX}};
    const struct string_bounds *b = &s->string;
    const struct lang *l = s->lang;
    if (!has_rules(s) && b->min == 0 && b->max < 0)
        return raw_any(p);
    if (!has_rules(s) && (b->max > RAW_COUNTED || b->min > RAW_COUNTED))
        return grammar_repeat(p->b, schema_chars(p->b, CHARS_RAW, no_less, 2), b->min,
                              b->max > GRAMMAR_REPEAT_MAX ? GRAMMAR_REPEAT_MAX : b->max);
    if (!l && (plan_string_lang(p, s, &l) != 0 || !l))
        return -1;
    return raw_of_lang(p, l);
}

gexpr raw_strings(struct plan *p, const struct str *text, int n)
{
    const struct lang *raw = raw_lang(p);
    struct str *kept = plan_alloc(p, (size_t)n, sizeof(*kept));
    size_t k = 0;
    if (!raw || !kept)
        return -1;
    for (int i = 0; i < n; i++)
        if (lang_accepts(raw, text[i]))
            kept[k++] = text[i];
    if (k > 0)
        return schema_literals(p, kept, k);
    plan_fail(p, ERR_UNSUPPORTED, "#", "a text cannot be written as this model writes texts");
    return -1;
}

/* ---- names of members ---- */

bool syntax_is_name(struct str key)
{
    for (size_t i = 0; i < key.len; i++) {
        char c = key.ptr[i];
        bool letter = ((c | 32) >= 'a' && (c | 32) <= 'z') || c == '_';
        if (!letter && !(i > 0 && c >= '0' && c <= '9'))
            return false;
    }
    return key.len > 0;
}

gexpr syntax_key(struct plan *p, struct str key)
{
    if (p->o->syntax == SCHEMA_QUOTED && syntax_is_name(key))
        return grammar_literal(p->b, key);
    return syntax_strings(p, &key, 1);
}

gexpr syntax_any_name(struct plan *p)
{
    static const struct grammar_range first[] = {{'A', 'Z'}, {'_', '_'}, {'a', 'z'}};
    static const struct grammar_range more[] = {{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}};
    gexpr rest = grammar_repeat(p->b, grammar_chars(p->b, more, 4, false), 0, GRAMMAR_UNBOUNDED);
    return grammar_seq(p->b, (gexpr[]){grammar_chars(p->b, first, 3, false), rest}, 2);
}

gexpr syntax_any_key(struct plan *p)
{
    if (p->o->syntax != SCHEMA_QUOTED)
        return p->string;
    return grammar_alt(p->b, (gexpr[]){syntax_any_name(p), p->string}, 2);
}

gexpr syntax_name_lang(struct plan *p, const struct lang *keys)
{
    const struct lang *names, *both = NULL;
    int rc = plan_pattern_lang(p, STR(NAME_REGEX), "#", &names);
    rc = rc != 0 ? rc : lang_and(plan_work(p), keys, names, &both);
    if (rc != 0)
        return -1;
    return both ? schema_lang_expr(p->b, both, CHARS_RAW) : GEXPR_NONE;
}

/* Python's names alone where names have no quotation marks and there are any; else as texts. */
gexpr syntax_key_lang(struct plan *p, const struct lang *keys)
{
    if (p->o->syntax != SCHEMA_QUOTED)
        return quoted_lang(p, keys);
    gexpr name = syntax_name_lang(p, keys);
    return name != GEXPR_NONE ? name : between_quotes(p, raw_of_lang(p, keys));
}
