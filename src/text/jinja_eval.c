/*
 * jinja_eval: expressions and calls, by walking the tree.
 *
 * Invariant: every jeval enters one level (struct jinja_limits.depth_max) and costs one step, so
 * neither the C stack nor time is in the template's hands.
 */
#include "text/jinja_eval.h"

#include "base/mem.h"

#include <string.h>

/* --- names --- */

static bool eval_name(struct jrun *r, const struct jnode *n, struct jval *ret)
{
    for (const struct jscope *s = r->scope; s; s = s->parent) {
        if (!jstep(r, 1 + s->n / 8))
            return false;
        for (uint32_t i = 0; i < s->n; i++) {
            if (s->var[i].name == n->name) {
                *ret = s->var[i].value;
                return ret->kind != J_MISSING || jundefined(r, NULL, n->name->text, ret);
            }
        }
    }
    struct jval *v = jdict_get_str(r, r->vars, n->name->text);
    if (r->fail_code)
        return false;
    if (v) {
        *ret = *v;
        return true;
    }
    if (n->name->global)
        return jbind(r, n->name->global, (struct jval){.kind = J_MISSING}, ret);
    return jundefined(r, NULL, n->name->text, ret);
}

/* --- containers --- */

static bool eval_items(struct jrun *r, const struct jnode *n, uint8_t kind, struct jval *ret)
{
    struct jlist *l = jlist_new(r, n->n);
    struct jval v;
    if (!l)
        return false;
    for (const struct jnode *i = n->a; i; i = i->next)
        if (!jeval(r, i, &v) || !jlist_push(r, l, v))
            return false;
    *ret = (struct jval){.kind = kind, .l = l};
    return true;
}

static bool eval_dict(struct jrun *r, const struct jnode *n, struct jval *ret)
{
    struct jdict *d = jdict_new(r, n->n / 2);
    struct jval key, value;
    if (!d)
        return false;
    for (const struct jnode *i = n->a; i; i = i->next->next)
        if (!jeval(r, i, &key) || !jeval(r, i->next, &value) || !jdict_set(r, d, key, value))
            return false;
    *ret = (struct jval){.kind = J_DICT, .d = d};
    return true;
}

static bool eval_concat(struct jrun *r, const struct jnode *n, struct jval *ret)
{
    struct jval acc, next;
    if (!jeval(r, n->a, &acc) || !jto_str(r, acc, &acc))
        return false;
    for (const struct jnode *i = n->a->next; i; i = i->next)
        if (!jeval(r, i, &next) || !jto_str(r, next, &next) || !jstr_concat(r, acc, next, &acc))
            return false;
    *ret = acc;
    return true;
}

/* --- operators --- */

static bool compare_one(struct jrun *r, int op, struct jval a, struct jval b, bool *ret)
{
    static const char *const SIGNS[] = {[T_LT] = "<", [T_LE] = "<=", [T_GT] = ">", [T_GE] = ">="};
    int c;
    switch (op) {
    case OPERAND_IN:
    case OPERAND_NOT_IN:
        if (!jcontains(r, b, a, ret))
            return false;
        *ret = *ret == (op == OPERAND_IN);
        return true;
    case T_EQ:
    case T_NE:
        if (!jequal(r, a, b, ret))
            return false;
        *ret = *ret == (op == T_EQ);
        return true;
    default:
        if (!jcompare(r, a, b, SIGNS[op], &c))
            return false;
        *ret = c != 2 && (op == T_LT ? c < 0 : op == T_LE ? c <= 0 : op == T_GT ? c > 0 : c >= 0);
        return true;
    }
}

static bool eval_compare(struct jrun *r, const struct jnode *n, struct jval *ret)
{
    struct jval left, right;
    bool yes = true;
    if (!jeval(r, n->a, &left))
        return false;
    for (const struct jnode *o = n->b; o && yes; o = o->next) {
        if (!jeval(r, o->a, &right))
            return false;
        r->line = n->line;
        if (!compare_one(r, o->op, left, right, &yes))
            return false;
        left = right;
    }
    *ret = jv_bool(yes);
    return true;
}

static bool eval_logic(struct jrun *r, const struct jnode *n, struct jval *ret)
{
    if (!jeval(r, n->a, ret))
        return false;
    if (jtruth(*ret) == (n->kind == N_OR))
        return true;
    return jeval(r, n->b, ret);
}

static bool eval_binary(struct jrun *r, const struct jnode *n, struct jval *ret)
{
    struct jval a, b;
    if (!jeval(r, n->a, &a) || !jeval(r, n->b, &b))
        return false;
    r->line = n->line;
    return jbinary(r, n->op, a, b, ret);
}

static bool eval_cond(struct jrun *r, const struct jnode *n, struct jval *ret)
{
    struct jval test;
    if (!jeval(r, n->a, &test))
        return false;
    if (jtruth(test))
        return jeval(r, n->b, ret);
    if (n->c)
        return jeval(r, n->c, ret);
    return jundefined_text(
        r, "the inline if-expression evaluated to false and no else section was defined", ret);
}

static bool eval_attr(struct jrun *r, const struct jnode *n, struct jval *ret)
{
    struct jval obj;
    if (!jeval(r, n->a, &obj))
        return false;
    r->line = n->line;
    return jgetattr(r, obj, n->name->text, ret);
}

static bool eval_item(struct jrun *r, const struct jnode *n, struct jval *ret)
{
    struct jval obj, key, bound[3];
    if (!jeval(r, n->a, &obj))
        return false;
    if (n->b->kind != N_SLICE) {
        if (!jeval(r, n->b, &key))
            return false;
        r->line = n->line;
        return jgetitem(r, obj, key, ret);
    }
    const struct jnode *part[3] = {n->b->a, n->b->b, n->b->c};
    for (int i = 0; i < 3; i++) {
        bound[i] = jv_none();
        if (part[i] && !jeval(r, part[i], &bound[i]))
            return false;
    }
    r->line = n->line;
    return jslice(r, obj, bound, ret);
}

/* --- calls --- */

static bool add_kwarg(struct jrun *r, struct jargs *args, size_t *cap, struct str name,
                      struct jval value)
{
    for (size_t i = 0; i < args->n_kw; i++)
        if (str_eq(args->kw[i].name, name))
            return jfail(r, "the argument '%.*s' is given twice", STR_ARG(str_sub(name, 0, 60)));
    if (args->n_kw == *cap) {
        size_t more = *cap ? *cap * 2 : 4;
        struct jkwarg *fresh = jalloc_array(r, more, sizeof(*fresh));
        if (!fresh)
            return false;
        if (args->n_kw)
            memcpy(fresh, args->kw, args->n_kw * sizeof(*fresh));
        args->kw = fresh;
        *cap = more;
    }
    args->kw[args->n_kw++] = (struct jkwarg){name, value};
    return jstep(r, 1 + args->n_kw / 8);
}

static bool add_star_star(struct jrun *r, struct jargs *args, size_t *cap, struct jval v)
{
    if (v.kind != J_DICT)
        return jfail(r, "argument after ** must be a mapping, not %s", jtype_name(v));
    for (size_t i = 0; i < v.d->n; i++) {
        if (v.d->pair[i].key.kind != J_STR)
            return jfail(r, "keywords must be strings");
        if (!add_kwarg(r, args, cap, jv_text(v.d->pair[i].key), v.d->pair[i].value))
            return false;
    }
    return true;
}

static bool eval_args(struct jrun *r, const struct jnode *first, const struct jkwarg *extra,
                      struct jargs *ret)
{
    struct jlist pos = {0};
    struct jlist *star;
    size_t kw_cap = 0;
    struct jval v;
    *ret = (struct jargs){0};
    for (const struct jnode *a = first; a; a = a->next) {
        if (!jeval(r, a->a, &v))
            return false;
        bool ok = true;
        switch (a->op) {
        case ARG_POS:
            ok = jlist_push(r, &pos, v);
            break;
        case ARG_KW:
            ok = add_kwarg(r, ret, &kw_cap, a->name->text, v);
            break;
        case ARG_STAR:
            ok = jitems(r, v, &star);
            for (size_t i = 0; ok && i < star->n; i++)
                ok = jlist_push(r, &pos, star->item[i]);
            break;
        default:
            ok = add_star_star(r, ret, &kw_cap, v);
        }
        if (!ok)
            return false;
    }
    if (extra && !add_kwarg(r, ret, &kw_cap, extra->name, extra->value))
        return false;
    ret->pos = pos.item;
    ret->n_pos = pos.n;
    return true;
}

bool jcall(struct jrun *r, struct jval callee, const struct jargs *args, struct jval *ret)
{
    switch (callee.kind) {
    case J_FUNC:
        return callee.fn->call(r, callee.fn->self, args, ret);
    case J_MACRO:
        return jmacro_call(r, callee.macro, args, ret);
    case J_LOOP:
        return jloop_call(r, callee.loop, args, ret);
    case J_JOINER:
        if (args->n_pos || args->n_kw)
            return jfail(r, "a joiner takes no arguments");
        *ret = callee.cycler->sep;
        if (callee.cycler->pos++ == 0)
            return jstr_view(r, STR(""), ret);
        return true;
    case J_UNDEFINED:
        return jfail_undefined(r, callee);
    default:
        return jfail(r, "'%s' object is not callable", jtype_name(callee));
    }
}

bool jeval_call(struct jrun *r, const struct jnode *n, const struct jkwarg *extra, struct jval *ret)
{
    struct jval callee;
    struct jargs args;
    if (!jeval(r, n->a, &callee) || !eval_args(r, n->b, extra, &args))
        return false;
    r->line = n->line;
    return jcall(r, callee, &args, ret);
}

static bool eval_builtin(struct jrun *r, const struct jnode *n, struct jval *ret)
{
    struct jval input = r->filter_input;
    struct jargs args;
    if (n->a && !jeval(r, n->a, &input))
        return false;
    if (!eval_args(r, n->b, NULL, &args))
        return false;
    r->line = n->line;
    if (!n->fn)
        return jfail(r, "there is no %s named '%.*s'", n->kind == N_FILTER ? "filter" : "test",
                     STR_ARG(str_sub(n->name->text, 0, 60)));
    return n->fn(r, input, &args, ret);
}

static bool eval_unary(struct jrun *r, const struct jnode *n, struct jval *ret)
{
    struct jval v;
    if (!jeval(r, n->a, &v))
        return false;
    if (n->kind == N_NOT) {
        *ret = jv_bool(!jtruth(v));
        return true;
    }
    r->line = n->line;
    return jnegate(r, v, n->kind == N_NEG, ret);
}

static bool eval_kind(struct jrun *r, const struct jnode *n, struct jval *ret)
{
    switch (n->kind) {
    case N_CONST:
        *ret = n->val;
        return true;
    case N_NAME:
        return eval_name(r, n, ret);
    case N_LIST:
        return eval_items(r, n, J_LIST, ret);
    case N_TUPLE:
        return eval_items(r, n, J_TUPLE, ret);
    case N_CONCAT:
        return eval_concat(r, n, ret);
    case N_DICT:
        return eval_dict(r, n, ret);
    case N_NOT:
    case N_NEG:
    case N_POS:
        return eval_unary(r, n, ret);
    case N_AND:
    case N_OR:
        return eval_logic(r, n, ret);
    case N_BINARY:
        return eval_binary(r, n, ret);
    case N_COMPARE:
        return eval_compare(r, n, ret);
    case N_COND:
        return eval_cond(r, n, ret);
    case N_ATTR:
        return eval_attr(r, n, ret);
    case N_ITEM:
        return eval_item(r, n, ret);
    case N_CALL:
        return jeval_call(r, n, NULL, ret);
    case N_FILTER:
    case N_TEST:
        return eval_builtin(r, n, ret);
    default: /* N_SLICE inside a tuple: x[1:2, 3] */
        return jfail(r, "a slice cannot stand here");
    }
}

bool jeval(struct jrun *r, const struct jnode *n, struct jval *ret)
{
    if (!jenter(r))
        return false;
    r->line = n->line;
    bool ok = jstep(r, 1) && eval_kind(r, n, ret);
    r->depth--;
    return ok;
}
