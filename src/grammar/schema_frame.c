/*
 * schema_frame: the members of the outermost object in the markers that a dialect of tool calls
 * has for them. What cannot be written so is left out where it may be missing.
 */
#include "base/mem.h"
#include "grammar/schema_syntax.h"

#include <string.h>

static gexpr framed(struct plan *p, gexpr key, gexpr value)
{
    const struct schema_frame *f = p->frame;
    return grammar_seq(p->b, (gexpr[]){f->before_key, key, f->after_key, value, f->after_value}, 5);
}

/* ---- values without quotation marks ---- */

/* Strings as they are, and null. */
static gexpr raw_values(struct plan *p, const json_t *const *value, int n)
{
    struct str *text = plan_alloc(p, (size_t)n, sizeof(*text));
    gexpr e[2];
    size_t n_e = 0;
    int n_text = 0;
    bool has_null = false;
    for (int i = 0; text && i < n; i++) {
        has_null = has_null || json_is_null(value[i]);
        if (json_is_string(value[i]))
            text[n_text++] = json_str(value[i]);
    }
    if (!text || n_text + has_null == 0)
        return -1;
    if (n_text > 0)
        e[n_e++] = raw_strings(p, text, n_text);
    if (has_null)
        e[n_e++] = grammar_literal(p->b, STR("null"));
    return grammar_alt(p->b, e, n_e);
}

static gexpr raw_node(struct plan *p, const struct node *n)
{
    gexpr *e = plan_alloc(p, (size_t)n->n_shapes * 2 + 1, sizeof(*e));
    size_t n_e = 0;
    if (!e || n->goal.n == 0)
        return e ? raw_any(p) : -1;
    for (const struct shape *s = n->shapes; s; s = s->next) {
        if (s->is_fixed)
            e[n_e++] = raw_values(p, s->value, s->n_value);
        if (!s->is_fixed && (s->types & TYPE_STRING))
            e[n_e++] = raw_string(p, s);
        if (!s->is_fixed && (s->types & TYPE_NULL))
            e[n_e++] = grammar_literal(p->b, STR("null"));
    }
    return grammar_alt(p->b, e, n_e);
}

static gexpr value_of(struct plan *p, struct str key, int node)
{
    const struct schema_frame *f = p->frame;
    return f->is_raw && f->is_raw(f->ctx, key) ? raw_node(p, p->node[node]) : emit_node(p, node);
}

/* ---- members ---- */

static bool may_be_key(const struct schema_frame *f, struct str key)
{
    for (size_t i = 0; i < key.len; i++)
        if (str_chr(f->key_stop, key.ptr[i]) >= 0)
            return false;
    return key.len > 0;
}

static gexpr key_of(struct plan *p, struct str key)
{
    if (p->frame->key_stop.len == 0)
        return syntax_is_name(key) ? grammar_literal(p->b, key) : syntax_strings(p, &key, 1);
    return may_be_key(p->frame, key) ? grammar_literal(p->b, key) : GEXPR_NONE;
}

gexpr frame_member(struct plan *p, struct str key, int node)
{
    gexpr e = key_of(p, key);
    return e == GEXPR_NONE ? e : framed(p, e, value_of(p, key, node));
}

gexpr frame_other(struct plan *p, const struct lang *keys, int node)
{
    const struct lang *may, *both = NULL;
    gexpr key;
    if (p->frame->key_stop.len == 0) {
        key = syntax_name_lang(p, keys);
        key = key != GEXPR_NONE ? key : syntax_key_lang(p, keys);
    } else {
        int rc = plan_pattern_lang(p, STR("^[^<>\\n\\r]+$"), "#", &may);
        rc = rc != 0 ? rc : lang_and(plan_work(p), keys, may, &both);
        if (rc == 0 && !both)
            return GEXPR_NONE;
        key = rc == 0 ? schema_lang_expr(p->b, both, CHARS_RAW) : -1;
    }
    return framed(p, key, value_of(p, STR(""), node));
}

/* ---- the whole ---- */

/* Any members at all. */
gexpr frame_any(struct plan *p)
{
    static const struct grammar_range stops[] = {
        {'\n', '\n'}, {'\r', '\r'}, {'<', '<'}, {'>', '>'}};
    bool raw = p->frame->raw_end[0] != NULL;
    gexpr key =
        raw ? grammar_repeat(p->b, grammar_chars(p->b, stops, 4, true), 1, GRAMMAR_UNBOUNDED)
            : syntax_any_name(p);
    gexpr one = framed(p, key, raw ? raw_any(p) : p->any);
    gexpr more = emit_seq2(p, p->frame->between, one);
    return emit_opt(p, emit_seq2(p, one, grammar_repeat(p->b, more, 0, GRAMMAR_UNBOUNDED)));
}

/* An object that is given. */
static gexpr fixed(struct plan *p, const json_t *object)
{
    const struct schema_frame *f = p->frame;
    gexpr all = grammar_empty(p->b);
    const char *name;
    json_t *v;
    size_t len, n = 0;
    json_object_keylen_foreach((json_t *)(uintptr_t)object, name, len, v)
    {
        struct str key = {name, len};
        bool raw = f->is_raw && f->is_raw(f->ctx, key);
        const json_t *const one[] = {v};
        gexpr k = key_of(p, key);
        if (k == GEXPR_NONE)
            return plan_fail(p, ERR_UNSUPPORTED, "#", "a name cannot be written by this model");
        gexpr member = framed(p, k, raw ? raw_values(p, one, 1) : emit_value(p, v));
        all = grammar_seq(p->b, (gexpr[]){all, n++ > 0 ? f->between : grammar_empty(p->b), member},
                          3);
    }
    return all;
}

gexpr frame_root(struct plan *p, const struct node *n)
{
    size_t max = 1, k = 0;
    if (n->goal.n == 0)
        return frame_any(p);
    for (const struct shape *s = n->shapes; s; s = s->next)
        max += s->is_fixed ? (size_t)s->n_value : 1;
    gexpr *e = plan_alloc(p, max, sizeof(*e));
    if (!e)
        return -1;
    for (const struct shape *s = n->shapes; s; s = s->next) {
        for (int i = 0; s->is_fixed && i < s->n_value; i++)
            if (json_is_object(s->value[i]))
                e[k++] = fixed(p, s->value[i]);
        if (!s->is_fixed && (s->types & TYPE_OBJECT) && object_productive(p, &s->object))
            e[k++] = emit_framed(p, &s->object);
    }
    if (k > 0)
        return grammar_alt(p->b, e, k);
    return plan_fail(p, ERR_INVALID, "#", "the parameters of a tool are an object");
}
