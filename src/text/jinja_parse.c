/*
 * jinja_parse: statements, and the parser's helpers. Expressions: jinja_parse_expr.c.
 */
#include "text/jinja_parse.h"

#include "base/mem.h"
#include "text/jinja_utf8.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct jnode *parse_fail(struct parse *p, const char *fmt, ...)
{
    char text[400];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    err_set(p->err, ERR_SYNTAX, "line %u: %s", p->tok->line, text);
    return NULL;
}

struct jnode *parse_expected(struct parse *p, const char *what)
{
    const struct jtok *t = p->tok;
    if (t->kind == T_NAME)
        return parse_fail(p, "expected %s, got '%.*s'", what, STR_ARG(str_sub(t->text, 0, 60)));
    return parse_fail(p, "expected %s, got %s", what, jtok_name(t->kind));
}

struct jnode *node_new(struct parse *p, enum jnode_kind kind, uint32_t line)
{
    struct jnode *n = arena_alloc(p->arena, sizeof(*n));
    if (!n)
        return parse_fail(p, "the template needs too much memory to compile");
    n->kind = (uint8_t)kind;
    n->line = line;
    return n;
}

static uint64_t name_hash(struct str s)
{
    uint64_t h = 14695981039346656037u;
    for (size_t i = 0; i < s.len; i++)
        h = (h ^ (unsigned char)s.ptr[i]) * 1099511628211u;
    return h;
}

static struct jname **name_slot(struct jname **table, size_t cap, struct str text)
{
    size_t i = name_hash(text) & (cap - 1);
    while (table[i] && !str_eq(table[i]->text, text))
        i = (i + 1) & (cap - 1);
    return &table[i];
}

static bool names_grow(struct parse *p)
{
    size_t cap = p->name_cap ? p->name_cap * 2 : 256;
    struct jname **fresh = arena_array(p->arena, cap, sizeof(struct jname *));
    if (!fresh)
        return false;
    for (size_t i = 0; i < p->name_cap; i++)
        if (p->name[i])
            *name_slot(fresh, cap, p->name[i]->text) = p->name[i];
    p->name = fresh;
    p->name_cap = cap;
    return true;
}

const struct jname *parse_intern(struct parse *p, struct str text)
{
    if (p->n_name * 2 >= p->name_cap && !names_grow(p)) {
        parse_fail(p, "the template needs too much memory to compile");
        return NULL;
    }
    struct jname **slot = name_slot(p->name, p->name_cap, text);
    if (*slot)
        return *slot;
    struct jname *n = arena_alloc(p->arena, sizeof(*n));
    struct jstr *s = arena_alloc(p->arena, sizeof(*s));
    if (!n || !s) {
        parse_fail(p, "the template needs too much memory to compile");
        return NULL;
    }
    *s = (struct jstr){text.ptr, text.len, u8_count(text), NULL};
    *n = (struct jname){text, {.kind = J_STR, .s = s}, jglobal_find(text)};
    *slot = n;
    p->n_name++;
    return n;
}

bool parse_skip(struct parse *p, enum jtok_kind kind)
{
    if (p->tok->kind != kind)
        return false;
    if (p->tok != p->end)
        p->tok++;
    return true;
}

bool parse_expect(struct parse *p, enum jtok_kind kind)
{
    if (parse_skip(p, kind))
        return true;
    parse_expected(p, jtok_name(kind));
    return false;
}

bool at_word(const struct jtok *t, const char *word)
{
    return t->kind == T_NAME && str_eq_z(t->text, word);
}

bool parse_skip_word(struct parse *p, const char *word)
{
    if (!at_word(p->tok, word))
        return false;
    p->tok++;
    return true;
}

bool parse_check_unknown(struct parse *p, size_t from)
{
    if (p->n_unknown <= from)
        return true;
    const struct jnode *n = p->unknown[from];
    err_set(p->err, ERR_SYNTAX, "line %u: there is no %s named '%.*s'", n->line,
            n->kind == N_FILTER ? "filter" : "test", STR_ARG(str_sub(n->name->text, 0, 60)));
    return false;
}

/* --- statements --- */

struct list_tail {
    struct jnode *first, *last;
};

static void tail_add(struct list_tail *t, struct jnode *n)
{
    if (t->last)
        t->last->next = n;
    else
        t->first = n;
    t->last = n;
}

static bool parse_statement(struct parse *p, struct list_tail *out);

static bool at_end_word(const struct parse *p, const char *const *ends)
{
    for (; ends && *ends; ends++)
        if (at_word(p->tok, *ends))
            return true;
    return false;
}

static bool parse_data(struct parse *p, struct list_tail *out)
{
    struct jnode *n = node_new(p, N_TEXT, p->tok->line);
    struct jstr *s = n ? arena_alloc(p->arena, sizeof(*s)) : NULL;
    if (!s)
        return parse_fail(p, "the template needs too much memory to compile") != NULL;
    *s = (struct jstr){p->tok->text.ptr, p->tok->text.len, CHARS_UNKNOWN, NULL};
    n->val = (struct jval){.kind = J_STR, .s = s};
    p->tok++;
    tail_add(out, n);
    return true;
}

/*
 * Reads text, {{ }} and statements up to a block whose first word is in `ends` (NULL: the
 * template's end). The current token is that word then.
 */
static bool parse_body(struct parse *p, const char *const *ends, struct jnode **ret)
{
    struct list_tail out = {0};
    for (;;) {
        switch (p->tok->kind) {
        case T_DATA:
            if (!parse_data(p, &out))
                return false;
            break;
        case T_VAR_BEGIN: {
            struct jnode *n = node_new(p, N_PRINT, p->tok++->line);
            if (!n || !(n->a = parse_tuple(p, 0, NULL)) || !parse_expect(p, T_VAR_END))
                return false;
            tail_add(&out, n);
            break;
        }
        case T_BLOCK_BEGIN:
            p->tok++;
            if (at_end_word(p, ends)) {
                *ret = out.first;
                return true;
            }
            if (!parse_statement(p, &out) || !parse_expect(p, T_BLOCK_END))
                return false;
            break;
        default: /* T_EOF: the lexer gives nothing else here */
            if (ends)
                return parse_fail(p, "the template ends before '%s'", ends[0]) != NULL;
            *ret = out.first;
            return true;
        }
    }
}

/* The end of an opening tag, then a body up to one of `ends`. */
static bool parse_block(struct parse *p, const char *const *ends, struct jnode **ret)
{
    parse_skip(p, T_COLON);
    return parse_expect(p, T_BLOCK_END) && parse_body(p, ends, ret);
}

/* As parse_block, and takes the one end word. */
static bool parse_whole_block(struct parse *p, const char *end, struct jnode **ret)
{
    const char *ends[] = {end, NULL};
    if (!parse_block(p, ends, ret))
        return false;
    p->tok++;
    return true;
}

static bool check_target(struct parse *p, const struct jnode *n)
{
    if (n->kind == N_NAME || n->kind == N_NSREF)
        return true;
    if (n->kind != N_TUPLE)
        return parse_fail(p, "this cannot be assigned to") != NULL;
    if (++p->depth > JINJA_PARSE_DEPTH_MAX)
        return parse_fail(p, "the expression is nested too deep") != NULL;
    for (const struct jnode *i = n->a; i; i = i->next)
        if (!check_target(p, i))
            return false;
    p->depth--;
    return true;
}

static struct jnode *parse_target(struct parse *p, unsigned flags, const char *end_word)
{
    struct macro_frame *macro = p->macro; /* targets are no uses of caller, kwargs, varargs */
    p->macro = NULL;
    struct jnode *n = parse_tuple(p, TUPLE_PRIMARY | flags, end_word);
    p->macro = macro;
    return n && check_target(p, n) ? n : NULL;
}

static const struct jname *parse_param_name(struct parse *p)
{
    if (p->tok->kind != T_NAME)
        return (void)parse_expected(p, "a name"), NULL;
    static const char *const CONSTANTS[] = {"true", "false", "none", "True", "False", "None", NULL};
    if (at_end_word(p, CONSTANTS))
        return (void)parse_fail(p, "a constant cannot be assigned to"), NULL;
    return parse_intern(p, p->tok++->text);
}

static struct jnode *parse_set(struct parse *p, struct jnode *n)
{
    n->kind = N_SET;
    if (!(n->a = parse_target(p, TUPLE_NAMESPACE, NULL)))
        return NULL;
    if (parse_skip(p, T_ASSIGN))
        return (n->b = parse_tuple(p, 0, NULL)) ? n : NULL;
    n->kind = N_SET_BLOCK;
    size_t unknown = p->n_unknown;
    if (!parse_filters(p, NULL, false, &n->b) || !parse_whole_block(p, "endset", &n->d))
        return NULL;
    return parse_check_unknown(p, unknown) ? n : NULL;
}

static struct jnode *parse_for(struct parse *p, struct jnode *n)
{
    static const char *const ENDS[] = {"endfor", "else", NULL};
    size_t unknown = p->n_unknown;
    n->kind = N_FOR;
    if (!(n->a = parse_target(p, 0, "in")))
        return NULL;
    if (!parse_skip_word(p, "in"))
        return parse_expected(p, "'in'");
    if (!(n->b = parse_tuple(p, TUPLE_NO_COND, "recursive")))
        return NULL;
    if (parse_skip_word(p, "if") && !(n->c = parse_expression(p, true)))
        return NULL;
    n->flag = parse_skip_word(p, "recursive");
    p->loop_depth++;
    bool ok = parse_block(p, ENDS, &n->d);
    p->loop_depth--;
    if (!ok)
        return NULL;
    if (at_word(p->tok++, "else") && !parse_whole_block(p, "endfor", &n->e))
        return NULL;
    return parse_check_unknown(p, unknown) ? n : NULL;
}

static struct jnode *parse_if(struct parse *p, struct jnode *n)
{
    static const char *const ENDS[] = {"elif", "else", "endif", NULL};
    size_t unknown = p->n_unknown;
    struct jnode *branch = n;
    for (;;) {
        branch->kind = N_IF;
        if (!(branch->a = parse_tuple(p, TUPLE_NO_COND, NULL)) || !parse_block(p, ENDS, &branch->d))
            return NULL;
        const struct jtok *word = p->tok++;
        if (at_word(word, "else") && !parse_whole_block(p, "endif", &branch->e))
            return NULL;
        if (!at_word(word, "elif"))
            break;
        if (!(branch->b = node_new(p, N_IF, word->line)))
            return NULL;
        branch = branch->b;
    }
    p->n_unknown = unknown; /* those fail when they are reached */
    return n;
}

/* "(" name [= default], ... ")" into n->a. */
static bool parse_signature(struct parse *p, struct jnode *n)
{
    struct list_tail out = {0};
    bool defaults = false;
    if (!parse_expect(p, T_LPAREN))
        return false;
    while (p->tok->kind != T_RPAREN) {
        if (out.first && !parse_expect(p, T_COMMA))
            return false;
        struct jnode *param = node_new(p, N_PARAM, p->tok->line);
        if (!param || !(param->name = parse_param_name(p)))
            return false;
        for (const struct jnode *o = out.first; o; o = o->next)
            if (o->name == param->name)
                return parse_fail(p, "a parameter's name is used twice") != NULL;
        if (parse_skip(p, T_ASSIGN)) {
            defaults = true;
            if (!(param->a = parse_expression(p, true)))
                return false;
        } else if (defaults) {
            return parse_fail(p, "a parameter without default follows one with default") != NULL;
        }
        if (str_eq_z(param->name->text, "caller")) {
            if (!param->a)
                return parse_fail(p, "the parameter 'caller' needs a default") != NULL;
            n->flag |= MACRO_NAMES_CALLER;
        }
        tail_add(&out, param);
        n->n++;
    }
    n->a = out.first;
    return parse_expect(p, T_RPAREN);
}

/* The body of a macro or call block, with the flags that its special names ask for. */
static bool parse_macro_body(struct parse *p, struct jnode *n, const char *end)
{
    struct macro_frame frame = {.outer = p->macro};
    int loop_depth = p->loop_depth;
    size_t unknown = p->n_unknown;
    p->macro = &frame;
    p->loop_depth = 0;
    bool ok = parse_whole_block(p, end, &n->d) && parse_check_unknown(p, unknown);
    p->macro = frame.outer;
    p->loop_depth = loop_depth;
    n->flag |= frame.flags;
    for (const struct jnode *param = n->a; param; param = param->next) {
        if (str_eq_z(param->name->text, "kwargs"))
            n->flag &= (uint8_t)~MACRO_KWARGS;
        if (str_eq_z(param->name->text, "varargs"))
            n->flag &= (uint8_t)~MACRO_VARARGS;
    }
    return ok;
}

static struct jnode *parse_macro(struct parse *p, struct jnode *n)
{
    n->kind = N_MACRO;
    if (!(n->name = parse_param_name(p)) || !parse_signature(p, n))
        return NULL;
    return parse_macro_body(p, n, "endmacro") ? n : NULL;
}

static struct jnode *parse_call_block(struct parse *p, struct jnode *n)
{
    n->kind = N_CALL_BLOCK;
    if (p->tok->kind == T_LPAREN && !parse_signature(p, n))
        return NULL;
    if (!(n->b = parse_expression(p, true)))
        return NULL;
    if (n->b->kind != N_CALL)
        return parse_fail(p, "a call block needs a call");
    return parse_macro_body(p, n, "endcall") ? n : NULL;
}

static struct jnode *parse_filter_block(struct parse *p, struct jnode *n)
{
    size_t unknown = p->n_unknown;
    n->kind = N_FILTER_BLOCK;
    if (!parse_filters(p, NULL, true, &n->b) || !parse_whole_block(p, "endfilter", &n->d))
        return NULL;
    return parse_check_unknown(p, unknown) ? n : NULL;
}

static struct jnode *parse_with(struct parse *p, struct jnode *n)
{
    struct list_tail targets = {0}, values = {0};
    size_t unknown = p->n_unknown;
    n->kind = N_WITH;
    while (p->tok->kind != T_BLOCK_END) {
        if (targets.first && !parse_expect(p, T_COMMA))
            return NULL;
        struct jnode *target = parse_target(p, 0, NULL), *value;
        if (!target || !parse_expect(p, T_ASSIGN) || !(value = parse_expression(p, true)))
            return NULL;
        tail_add(&targets, target);
        tail_add(&values, value);
    }
    n->a = targets.first;
    n->b = values.first;
    if (!parse_whole_block(p, "endwith", &n->d))
        return NULL;
    return parse_check_unknown(p, unknown) ? n : NULL;
}

static struct jnode *parse_generation(struct parse *p, struct jnode *n)
{
    n->kind = N_GENERATION;
    return parse_macro_body(p, n, "endgeneration") ? n : NULL;
}

static struct jnode *parse_loop_control(struct parse *p, struct jnode *n)
{
    if (p->loop_depth == 0)
        return parse_fail(p, "'break' or 'continue' outside of a loop");
    return n;
}

static struct jnode *parse_break(struct parse *p, struct jnode *n)
{
    n->kind = N_BREAK;
    return parse_loop_control(p, n);
}

static struct jnode *parse_continue(struct parse *p, struct jnode *n)
{
    n->kind = N_CONTINUE;
    return parse_loop_control(p, n);
}

static const struct {
    const char *word;
    struct jnode *(*parse)(struct parse *p, struct jnode *n); /* NULL: known, but refused */
} STATEMENTS[] = {
    {"if", parse_if},
    {"for", parse_for},
    {"set", parse_set},
    {"macro", parse_macro},
    {"call", parse_call_block},
    {"filter", parse_filter_block},
    {"with", parse_with},
    {"generation", parse_generation},
    {"break", parse_break},
    {"continue", parse_continue},
    {"include", NULL},
    {"import", NULL},
    {"from", NULL},
    {"extends", NULL},
    {"block", NULL},
    {"autoescape", NULL},
};

/* {% print a, b %} */
static bool parse_print(struct parse *p, struct list_tail *out)
{
    bool first = true;
    while (p->tok->kind != T_BLOCK_END) {
        if (!first && !parse_expect(p, T_COMMA))
            return false;
        struct jnode *n = node_new(p, N_PRINT, p->tok->line);
        if (!n || !(n->a = parse_expression(p, true)))
            return false;
        tail_add(out, n);
        first = false;
    }
    return true;
}

static bool parse_statement(struct parse *p, struct list_tail *out)
{
    if (p->tok->kind != T_NAME)
        return parse_expected(p, "a statement") != NULL;
    const struct jtok *word = p->tok++;
    if (at_word(word, "print"))
        return parse_print(p, out);
    for (size_t i = 0; i < ARRAY_LEN(STATEMENTS); i++) {
        if (!at_word(word, STATEMENTS[i].word))
            continue;
        if (!STATEMENTS[i].parse)
            return parse_fail(p, "'%s' is not supported in chat templates", STATEMENTS[i].word) !=
                   NULL;
        if (++p->depth > JINJA_PARSE_DEPTH_MAX)
            return parse_fail(p, "statements are nested too deep") != NULL;
        struct jnode *n = node_new(p, N_IF, word->line);
        if (!n || !STATEMENTS[i].parse(p, n))
            return false;
        p->depth--;
        tail_add(out, n);
        return true;
    }
    p->tok = word;
    return parse_fail(p, "unknown statement '%.*s'", STR_ARG(str_sub(word->text, 0, 60))) != NULL;
}

int jinja_parse(struct jinja *t, const struct jtokens *tokens, struct err *err)
{
    struct parse p = {
        .arena = &t->arena, .tok = tokens->tok, .end = tokens->tok + tokens->n - 1, .err = err};
    if (!(t->loop = parse_intern(&p, STR("loop"))) ||
        !(t->caller = parse_intern(&p, STR("caller"))) ||
        !(t->kwargs = parse_intern(&p, STR("kwargs"))) ||
        !(t->varargs = parse_intern(&p, STR("varargs"))))
        return ERR_SYNTAX;
    if (!parse_body(&p, NULL, &t->body) || !parse_check_unknown(&p, 0))
        return ERR_SYNTAX;
    return 0;
}
