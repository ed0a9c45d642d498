/*
 * jinja_parse_expr: expressions, with Jinja's precedence (loosest first): inline if, or, and, not,
 * comparisons, + -, ~, * / // %, **, unary, postfix, filters and tests.
 *
 * Recursion is bounded by JINJA_PARSE_DEPTH_MAX.
 */
#include "base/mem.h"
#include "text/jinja_parse.h"
#include "text/jinja_utf8.h"

#include <string.h>

static struct jnode *parse_unary(struct parse *p, bool with_filters);

static struct jnode *binary(struct parse *p, enum jnode_kind kind, uint8_t op, uint32_t line,
                            struct jnode *a, struct jnode *b)
{
    struct jnode *n = node_new(p, kind, line);
    if (!n || !b)
        return NULL;
    n->op = op;
    n->a = a;
    n->b = b;
    return n;
}

static struct jnode *parse_pow(struct parse *p)
{
    struct jnode *left = parse_unary(p, true);
    while (left && p->tok->kind == T_POW) {
        uint32_t line = p->tok++->line;
        left = binary(p, N_BINARY, T_POW, line, left, parse_unary(p, true));
    }
    return left;
}

static struct jnode *parse_math2(struct parse *p)
{
    struct jnode *left = parse_pow(p);
    while (left && (p->tok->kind == T_MUL || p->tok->kind == T_DIV || p->tok->kind == T_FLOORDIV ||
                    p->tok->kind == T_MOD)) {
        const struct jtok *op = p->tok++;
        left = binary(p, N_BINARY, op->kind, op->line, left, parse_pow(p));
    }
    return left;
}

/* Adds `item` to the list that starts in list->a and ends at *tail. */
static void append(struct jnode *list, struct jnode **tail, struct jnode *item)
{
    if (*tail)
        (*tail)->next = item;
    else
        list->a = item;
    *tail = item;
    list->n++;
}

static struct jnode *parse_concat(struct parse *p)
{
    struct jnode *first = parse_math2(p);
    if (!first || p->tok->kind != T_TILDE)
        return first;
    struct jnode *n = node_new(p, N_CONCAT, p->tok->line), *tail = NULL;
    if (!n)
        return NULL;
    append(n, &tail, first);
    while (parse_skip(p, T_TILDE)) {
        struct jnode *item = parse_math2(p);
        if (!item)
            return NULL;
        append(n, &tail, item);
    }
    return n;
}

static struct jnode *parse_math1(struct parse *p)
{
    struct jnode *left = parse_concat(p);
    while (left && (p->tok->kind == T_ADD || p->tok->kind == T_SUB)) {
        const struct jtok *op = p->tok++;
        left = binary(p, N_BINARY, op->kind, op->line, left, parse_concat(p));
    }
    return left;
}

/* Takes a comparison operator; 0 if none is next. */
static uint8_t take_comparison(struct parse *p)
{
    uint8_t kind = p->tok->kind;
    if (kind >= T_EQ && kind <= T_GE) {
        p->tok++;
        return kind;
    }
    if (parse_skip_word(p, "in"))
        return OPERAND_IN;
    if (at_word(p->tok, "not") && at_word(p->tok + 1, "in")) {
        p->tok += 2;
        return OPERAND_NOT_IN;
    }
    return 0;
}

static struct jnode *parse_compare(struct parse *p)
{
    uint32_t line = p->tok->line;
    struct jnode *first = parse_math1(p), *n = NULL, *tail = NULL;
    uint8_t op;
    while (first && (op = take_comparison(p)) != 0) {
        struct jnode *operand = node_new(p, N_OPERAND, line);
        if (!n && (n = node_new(p, N_COMPARE, line)))
            n->a = first;
        if (!operand || !n || !(operand->a = parse_math1(p)))
            return NULL;
        operand->op = op;
        if (tail)
            tail->next = operand;
        else
            n->b = operand;
        tail = operand;
    }
    return n ? n : first;
}

static struct jnode *parse_not(struct parse *p)
{
    if (!at_word(p->tok, "not"))
        return parse_compare(p);
    uint32_t line = p->tok++->line;
    if (++p->depth > JINJA_PARSE_DEPTH_MAX)
        return parse_fail(p, "the expression is nested too deep");
    struct jnode *n = node_new(p, N_NOT, line);
    if (!n || !(n->a = parse_not(p)))
        return NULL;
    p->depth--;
    return n;
}

static struct jnode *parse_and(struct parse *p)
{
    struct jnode *left = parse_not(p);
    while (left && at_word(p->tok, "and")) {
        uint32_t line = p->tok++->line;
        left = binary(p, N_AND, 0, line, left, parse_not(p));
    }
    return left;
}

static struct jnode *parse_or(struct parse *p)
{
    struct jnode *left = parse_and(p);
    while (left && at_word(p->tok, "or")) {
        uint32_t line = p->tok++->line;
        left = binary(p, N_OR, 0, line, left, parse_and(p));
    }
    return left;
}

static struct jnode *parse_cond(struct parse *p)
{
    size_t unknown = p->n_unknown;
    uint32_t line = p->tok->line;
    struct jnode *then = parse_or(p);
    while (then && parse_skip_word(p, "if")) {
        struct jnode *n = node_new(p, N_COND, line);
        if (!n || !(n->a = parse_or(p)))
            return NULL;
        n->b = then;
        if (parse_skip_word(p, "else") && !(n->c = parse_expression(p, true)))
            return NULL;
        p->n_unknown = unknown;
        then = n;
    }
    return then;
}

struct jnode *parse_expression(struct parse *p, bool with_cond)
{
    if (++p->depth > JINJA_PARSE_DEPTH_MAX)
        return parse_fail(p, "the expression is nested too deep");
    struct jnode *n = with_cond ? parse_cond(p) : parse_or(p);
    p->depth--;
    return n;
}

static bool at_tuple_end(const struct parse *p, const char *end_word)
{
    uint8_t k = p->tok->kind;
    return k == T_VAR_END || k == T_BLOCK_END || k == T_RPAREN ||
           (end_word && at_word(p->tok, end_word));
}

struct jnode *parse_tuple(struct parse *p, unsigned flags, const char *end_word)
{
    struct jnode *tuple = NULL, *tail = NULL;
    uint32_t line = p->tok->line;
    while (!at_tuple_end(p, end_word)) {
        struct jnode *item = flags & TUPLE_PRIMARY ? parse_primary(p, flags & TUPLE_NAMESPACE)
                                                   : parse_expression(p, !(flags & TUPLE_NO_COND));
        if (!item)
            return NULL;
        bool comma = parse_skip(p, T_COMMA);
        if (!tuple && !comma)
            return item;
        if (!tuple && !(tuple = node_new(p, N_TUPLE, line)))
            return NULL;
        append(tuple, &tail, item);
        if (!comma)
            return tuple;
    }
    if (!tuple && !(flags & TUPLE_PARENS))
        return parse_expected(p, "an expression");
    return tuple ? tuple : node_new(p, N_TUPLE, line);
}

static struct jnode *parse_list(struct parse *p)
{
    struct jnode *n = node_new(p, N_LIST, p->tok++->line), *tail = NULL;
    while (n && p->tok->kind != T_RBRACKET) {
        if (tail && !parse_expect(p, T_COMMA))
            return NULL;
        if (p->tok->kind == T_RBRACKET)
            break;
        struct jnode *item = parse_expression(p, true);
        if (!item)
            return NULL;
        append(n, &tail, item);
    }
    return n && parse_expect(p, T_RBRACKET) ? n : NULL;
}

static struct jnode *parse_dict(struct parse *p)
{
    struct jnode *n = node_new(p, N_DICT, p->tok++->line), *tail = NULL;
    while (n && p->tok->kind != T_RBRACE) {
        if (tail && !parse_expect(p, T_COMMA))
            return NULL;
        if (p->tok->kind == T_RBRACE)
            break;
        struct jnode *key = parse_expression(p, true);
        if (!key || !parse_expect(p, T_COLON))
            return NULL;
        append(n, &tail, key);
        struct jnode *value = parse_expression(p, true);
        if (!value)
            return NULL;
        append(n, &tail, value);
    }
    return n && parse_expect(p, T_RBRACE) ? n : NULL;
}

static bool const_string(struct parse *p, struct str text, struct jval *ret)
{
    struct jstr *s = arena_alloc(p->arena, sizeof(*s));
    if (!s) {
        parse_fail(p, "the template needs too much memory to compile");
        return false;
    }
    *s = (struct jstr){text.ptr, text.len, u8_count(text), NULL};
    *ret = (struct jval){.kind = J_STR, .s = s};
    return true;
}

/* One string, or several side by side, which are joined. */
static struct jnode *parse_string(struct parse *p)
{
    const struct jtok *first = p->tok;
    size_t len = 0;
    for (; p->tok->kind == T_STRING; p->tok++)
        len += p->tok->text.len;
    struct str text = first->text;
    if (p->tok - first > 1) {
        char *joined = arena_alloc(p->arena, len + 1);
        size_t at = 0;
        if (!joined)
            return parse_fail(p, "the template needs too much memory to compile");
        for (const struct jtok *t = first; t < p->tok; t++) {
            if (t->text.len)
                memcpy(joined + at, t->text.ptr, t->text.len);
            at += t->text.len;
        }
        text = (struct str){joined, len};
    }
    struct jnode *n = node_new(p, N_CONST, first->line);
    return n && const_string(p, text, &n->val) ? n : NULL;
}

static void note_special_name(struct parse *p, struct str name)
{
    uint8_t flag = str_eq_z(name, "caller")    ? MACRO_CALLER
                   : str_eq_z(name, "kwargs")  ? MACRO_KWARGS
                   : str_eq_z(name, "varargs") ? MACRO_VARARGS
                                               : 0;
    for (struct macro_frame *m = flag ? p->macro : NULL; m; m = m->outer)
        m->flags |= flag;
}

static struct jnode *parse_name(struct parse *p, bool with_namespace)
{
    const struct jtok *t = p->tok++;
    struct jnode *n;
    bool is_true = at_word(t, "true") || at_word(t, "True");
    bool is_false = at_word(t, "false") || at_word(t, "False");
    if (is_true || is_false || at_word(t, "none") || at_word(t, "None")) {
        n = node_new(p, N_CONST, t->line);
        if (n)
            n->val = is_true || is_false ? jv_bool(is_true) : jv_none();
        return n;
    }
    n = node_new(p, N_NAME, t->line);
    if (!n || !(n->name = parse_intern(p, t->text)))
        return NULL;
    if (with_namespace && parse_skip(p, T_DOT)) {
        n->kind = N_NSREF;
        if (p->tok->kind != T_NAME)
            return parse_expected(p, "a name");
        n->attr = parse_intern(p, p->tok++->text);
        return n->attr ? n : NULL;
    }
    note_special_name(p, t->text);
    return n;
}

struct jnode *parse_primary(struct parse *p, bool with_namespace)
{
    struct jnode *n;
    switch (p->tok->kind) {
    case T_NAME:
        return parse_name(p, with_namespace);
    case T_STRING:
        return parse_string(p);
    case T_INTEGER:
    case T_FLOAT:
        n = node_new(p, N_CONST, p->tok->line);
        if (n)
            n->val = p->tok->kind == T_FLOAT ? jv_float(p->tok->f) : jv_int(p->tok->i);
        p->tok++;
        return n;
    case T_LPAREN:
        p->tok++;
        if (++p->depth > JINJA_PARSE_DEPTH_MAX)
            return parse_fail(p, "the expression is nested too deep");
        n = parse_tuple(p, TUPLE_PARENS, NULL);
        p->depth--;
        return n && parse_expect(p, T_RPAREN) ? n : NULL;
    case T_LBRACKET:
        return parse_list(p);
    case T_LBRACE:
        return parse_dict(p);
    default:
        return parse_expected(p, "an expression");
    }
}

/* Which kind of argument stands here, checked against what came before. */
static bool next_arg_kind(struct parse *p, unsigned *seen, struct jnode *arg)
{
    bool ok;
    if (parse_skip(p, T_MUL)) {
        arg->op = ARG_STAR;
        ok = !(*seen & (1u << ARG_STAR | 1u << ARG_STAR_STAR));
    } else if (parse_skip(p, T_POW)) {
        arg->op = ARG_STAR_STAR;
        ok = !(*seen & 1u << ARG_STAR_STAR);
    } else if (p->tok->kind == T_NAME && p->tok[1].kind == T_ASSIGN) {
        arg->op = ARG_KW;
        ok = !(*seen & 1u << ARG_STAR_STAR);
        if (!(arg->name = parse_intern(p, p->tok->text)))
            return false;
        p->tok += 2;
    } else {
        arg->op = ARG_POS;
        ok = !(*seen & ~(1u << ARG_POS));
    }
    *seen |= 1u << arg->op;
    if (!ok)
        parse_fail(p, "the arguments of a call are out of order");
    return ok;
}

/* "(" arguments ")", into n->b and n->n. */
static bool parse_args(struct parse *p, struct jnode *n)
{
    struct jnode *tail = NULL;
    unsigned seen = 0;
    if (!parse_expect(p, T_LPAREN))
        return false;
    while (p->tok->kind != T_RPAREN) {
        if (tail && !parse_expect(p, T_COMMA))
            return false;
        if (p->tok->kind == T_RPAREN)
            break;
        struct jnode *arg = node_new(p, N_ARG, p->tok->line);
        if (!arg || !next_arg_kind(p, &seen, arg) || !(arg->a = parse_expression(p, true)))
            return false;
        if (arg->op == ARG_KW)
            for (const struct jnode *o = n->b; o; o = o->next)
                if (o->op == ARG_KW && o->name == arg->name)
                    return parse_fail(p, "the argument '%.*s' is given twice",
                                      STR_ARG(arg->name->text)) != NULL;
        if (tail)
            tail->next = arg;
        else
            n->b = arg;
        tail = arg;
        n->n++;
    }
    return parse_expect(p, T_RPAREN);
}

static struct jnode *parse_subscribed(struct parse *p)
{
    uint32_t line = p->tok->line;
    struct jnode *first = NULL;
    if (p->tok->kind != T_COLON) {
        first = parse_expression(p, true);
        if (!first || p->tok->kind != T_COLON)
            return first;
    }
    p->tok++;
    struct jnode *n = node_new(p, N_SLICE, line);
    if (!n)
        return NULL;
    n->a = first;
    uint8_t k = p->tok->kind;
    if (k != T_COLON && k != T_RBRACKET && k != T_COMMA && !(n->b = parse_expression(p, true)))
        return NULL;
    if (!parse_skip(p, T_COLON))
        return n;
    k = p->tok->kind;
    if (k != T_RBRACKET && k != T_COMMA && !(n->c = parse_expression(p, true)))
        return NULL;
    return n;
}

static struct jnode *parse_subscript(struct parse *p, struct jnode *left)
{
    const struct jtok *t = p->tok++;
    struct jnode *n = node_new(p, N_ITEM, t->line), *tuple, *tail = NULL;
    if (!n)
        return NULL;
    n->a = left;
    if (t->kind == T_DOT) {
        const struct jtok *what = p->tok++;
        if (what->kind == T_NAME) {
            n->kind = N_ATTR;
            return (n->name = parse_intern(p, what->text)) ? n : NULL;
        }
        if (what->kind != T_INTEGER) {
            p->tok--;
            return parse_expected(p, "a name or a number");
        }
        if (!(n->b = node_new(p, N_CONST, t->line)))
            return NULL;
        n->b->val = jv_int(what->i);
        return n;
    }
    if (!(tuple = node_new(p, N_TUPLE, t->line)))
        return NULL;
    while (p->tok->kind != T_RBRACKET) {
        if (tail && !parse_expect(p, T_COMMA))
            return NULL;
        struct jnode *item = parse_subscribed(p);
        if (!item)
            return NULL;
        append(tuple, &tail, item);
    }
    p->tok++;
    n->b = tuple->n == 1 ? tuple->a : tuple;
    return n;
}

static struct jnode *parse_call(struct parse *p, struct jnode *callee)
{
    struct jnode *n = node_new(p, N_CALL, p->tok->line);
    if (!n)
        return NULL;
    n->a = callee;
    return parse_args(p, n) ? n : NULL;
}

static struct jnode *parse_postfix(struct parse *p, struct jnode *n)
{
    while (n) {
        if (p->tok->kind == T_DOT || p->tok->kind == T_LBRACKET)
            n = parse_subscript(p, n);
        else if (p->tok->kind == T_LPAREN)
            n = parse_call(p, n);
        else
            break;
    }
    return n;
}

/* A filter's or test's name, which may have dots. */
static bool parse_builtin_name(struct parse *p, struct jnode *n)
{
    if (p->tok->kind != T_NAME)
        return parse_expected(p, "a name") != NULL;
    struct str text = p->tok++->text;
    while (parse_skip(p, T_DOT)) {
        if (p->tok->kind != T_NAME)
            return parse_expected(p, "a name") != NULL;
        const struct jtok *t = p->tok++;
        text.len = (size_t)(t->text.ptr + t->text.len - text.ptr);
    }
    n->name = parse_intern(p, text);
    n->fn = n->kind == N_FILTER ? jfilter_find(text) : jtest_find(text);
    if (n->fn || !n->name)
        return n->name != NULL;
    if (p->n_unknown == p->unknown_cap) {
        size_t cap = p->unknown_cap ? p->unknown_cap * 2 : 16;
        struct jnode **fresh = arena_array(p->arena, cap, sizeof(*fresh));
        if (!fresh)
            return parse_fail(p, "the template needs too much memory to compile") != NULL;
        if (p->n_unknown)
            memcpy(fresh, p->unknown, p->n_unknown * sizeof(*fresh));
        p->unknown = fresh;
        p->unknown_cap = cap;
    }
    p->unknown[p->n_unknown++] = n;
    return true;
}

bool parse_filters(struct parse *p, struct jnode *input, bool inline_start, struct jnode **ret)
{
    struct jnode *left = input;
    while (inline_start || parse_skip(p, T_PIPE)) {
        inline_start = false;
        struct jnode *n = node_new(p, N_FILTER, p->tok->line);
        if (!n || !parse_builtin_name(p, n))
            return false;
        n->a = left;
        if (p->tok->kind == T_LPAREN && !parse_args(p, n))
            return false;
        left = n;
    }
    *ret = left;
    return true;
}

/* Can this token start the one argument of a test that has no brackets ("is divisibleby 3")? */
static bool starts_test_arg(const struct jtok *t)
{
    switch (t->kind) {
    case T_NAME:
        return !at_word(t, "else") && !at_word(t, "or") && !at_word(t, "and");
    case T_STRING:
    case T_INTEGER:
    case T_FLOAT:
    case T_LBRACKET:
    case T_LBRACE:
        return true;
    default:
        return false;
    }
}

static struct jnode *parse_test(struct parse *p, struct jnode *left)
{
    uint32_t line = p->tok++->line;
    bool negated = parse_skip_word(p, "not");
    struct jnode *n = node_new(p, N_TEST, line);
    if (!n || !parse_builtin_name(p, n))
        return NULL;
    n->a = left;
    if (p->tok->kind == T_LPAREN) {
        if (!parse_args(p, n))
            return NULL;
    } else if (starts_test_arg(p->tok)) {
        if (at_word(p->tok, "is"))
            return parse_fail(p, "tests cannot be chained with 'is'");
        struct jnode *arg = node_new(p, N_ARG, p->tok->line);
        if (!arg || !(arg->a = parse_postfix(p, parse_primary(p, false))))
            return NULL;
        n->b = arg;
        n->n = 1;
    }
    if (!negated)
        return n;
    struct jnode *not_node = node_new(p, N_NOT, line);
    if (not_node)
        not_node->a = n;
    return not_node;
}

static struct jnode *parse_unary(struct parse *p, bool with_filters)
{
    struct jnode *n;
    if (p->tok->kind == T_SUB || p->tok->kind == T_ADD) {
        const struct jtok *t = p->tok++;
        if (++p->depth > JINJA_PARSE_DEPTH_MAX)
            return parse_fail(p, "the expression is nested too deep");
        n = node_new(p, t->kind == T_SUB ? N_NEG : N_POS, t->line);
        if (!n || !(n->a = parse_unary(p, false)))
            return NULL;
        p->depth--;
    } else {
        n = parse_primary(p, false);
    }
    n = parse_postfix(p, n);
    while (n && with_filters) {
        if (p->tok->kind == T_PIPE) {
            if (!parse_filters(p, n, false, &n))
                return NULL;
        } else if (at_word(p->tok, "is")) {
            n = parse_test(p, n);
        } else if (p->tok->kind == T_LPAREN) {
            n = parse_call(p, n);
        } else {
            break;
        }
    }
    return n;
}
