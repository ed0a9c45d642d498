/*
 * jinja_exec: statements, scopes, loops and macros.
 *
 * A scope holds what `set` made in one block; `if` makes no scope, everything else with a body
 * does. A loop's scope is new in every turn.
 */
#include "text/jinja_eval.h"

#include "base/mem.h"

#include <string.h>

enum flow { FLOW_NEXT, FLOW_BREAK, FLOW_CONTINUE, FLOW_FAIL };

static enum flow exec_body(struct jrun *r, const struct jnode *first);

/* --- scopes --- */

static bool scope_set(struct jrun *r, struct jscope *s, const struct jname *name, struct jval v)
{
    for (uint32_t i = 0; i < s->n; i++) {
        if (s->var[i].name == name) {
            s->var[i].value = v;
            return jstep(r, 1 + s->n / 8);
        }
    }
    if (s->n == s->cap) {
        uint32_t cap = s->cap ? s->cap * 2 : 4;
        struct jvar *fresh = jalloc_array(r, cap, sizeof(*fresh));
        if (!fresh)
            return false;
        if (s->n)
            memcpy(fresh, s->var, s->n * sizeof(*fresh));
        s->var = fresh;
        s->cap = cap;
    }
    s->var[s->n++] = (struct jvar){name, v};
    return jstep(r, 1 + s->n / 8);
}

static struct jscope *scope_push(struct jrun *r, struct jscope *parent)
{
    struct jscope *s = jalloc(r, sizeof(*s));
    if (s) {
        s->parent = parent;
        r->scope = s;
    }
    return s;
}

static void scope_capture(struct jscope *s)
{
    for (; s && !s->captured; s = s->parent)
        s->captured = true;
}

/* --- assignment --- */

static bool assign(struct jrun *r, const struct jnode *target, struct jval v);

static bool assign_tuple(struct jrun *r, const struct jnode *target, struct jval v)
{
    struct jlist *items;
    if (v.kind == J_UNDEFINED) /* iterates as empty */
        return target->n == 0 ? true
                              : jfail(r, "not enough values to unpack (the value is "
                                         "undefined)");
    if (!jitems(r, v, &items))
        return false;
    if (items->n != target->n)
        return jfail(r, "cannot unpack %zu values into %u names", items->n, target->n);
    const struct jnode *t = target->a;
    for (size_t i = 0; i < items->n; i++, t = t->next)
        if (!assign(r, t, items->item[i]))
            return false;
    return true;
}

static bool assign(struct jrun *r, const struct jnode *target, struct jval v)
{
    struct jval ns;
    switch (target->kind) {
    case N_NAME:
        return scope_set(r, r->scope, target->name, v);
    case N_NSREF: {
        struct jnode name = {.kind = N_NAME, .line = target->line, .name = target->name};
        if (!jeval(r, &name, &ns))
            return false;
        if (ns.kind != J_NAMESPACE)
            return jfail(r, "cannot assign an attribute of '%.*s': it is no namespace object",
                         STR_ARG(str_sub(target->name->text, 0, 60)));
        return jdict_set(r, ns.d, target->attr->value, v);
    }
    default:
        return assign_tuple(r, target, v);
    }
}

/* --- capturing output --- */

/* Runs a body in a new scope and gives what it wrote. The scope stays current: *outer is the one
 * to go back to. */
static enum flow capture(struct jrun *r, const struct jnode *body, struct jscope **outer,
                         struct jval *ret)
{
    struct jsink sink = {0}, *out = r->out;
    *outer = r->scope;
    if (!scope_push(r, r->scope))
        return FLOW_FAIL;
    r->out = &sink;
    enum flow flow = exec_body(r, body);
    r->out = out;
    if (flow == FLOW_NEXT && !jsink_string(r, &sink, ret))
        flow = FLOW_FAIL;
    return flow;
}

static bool apply_filters(struct jrun *r, const struct jnode *chain, struct jval *v)
{
    struct jval saved = r->filter_input;
    r->filter_input = *v;
    bool ok = !chain || jeval(r, chain, v);
    r->filter_input = saved;
    return ok;
}

static enum flow exec_set_block(struct jrun *r, const struct jnode *n)
{
    struct jscope *outer;
    struct jval v;
    enum flow flow = capture(r, n->d, &outer, &v);
    bool ok = flow != FLOW_NEXT || apply_filters(r, n->b, &v);
    r->scope = outer;
    if (flow != FLOW_NEXT)
        return flow;
    return ok && assign(r, n->a, v) ? FLOW_NEXT : FLOW_FAIL;
}

static enum flow exec_filter_block(struct jrun *r, const struct jnode *n)
{
    struct jscope *outer;
    struct jval v;
    enum flow flow = capture(r, n->d, &outer, &v);
    bool ok = flow != FLOW_NEXT || apply_filters(r, n->b, &v);
    r->scope = outer;
    if (flow != FLOW_NEXT)
        return flow;
    if (ok && v.kind != J_STR) /* Python joins strings only */
        ok = jfail(r, "a filter block must give a string, not %s", jtype_name(v));
    return ok && jprint_str(r, r->out, v) ? FLOW_NEXT : FLOW_FAIL;
}

/* --- loops --- */

/* The items that the loop's `if` keeps. */
static bool filter_items(struct jrun *r, const struct jnode *n, struct jlist **items)
{
    struct jlist *kept = jlist_new(r, 0);
    struct jscope *outer = r->scope;
    if (!kept || !scope_push(r, outer))
        return false;
    for (size_t i = 0; i < (*items)->n; i++) {
        struct jval test;
        if (!assign(r, n->a, (*items)->item[i]) || !jeval(r, n->c, &test))
            return false;
        if (jtruth(test) && !jlist_push(r, kept, (*items)->item[i]))
            return false;
    }
    r->scope = outer;
    *items = kept;
    return true;
}

static enum flow run_turns(struct jrun *r, struct jloop *loop, struct jscope *outer)
{
    const struct jnode *n = loop->node;
    struct jscope *s = NULL;
    for (; loop->index0 < loop->items->n; loop->index0++) {
        if (!s || s->captured) {
            if (!(s = scope_push(r, outer)))
                return FLOW_FAIL;
        }
        s->n = 0;
        r->scope = s;
        if (!scope_set(r, s, r->tmpl->loop, (struct jval){.kind = J_LOOP, .loop = loop}) ||
            !assign(r, n->a, loop->items->item[loop->index0]))
            return FLOW_FAIL;
        enum flow flow = exec_body(r, n->d);
        if (flow == FLOW_FAIL)
            return flow;
        if (flow == FLOW_BREAK)
            break;
    }
    return FLOW_NEXT;
}

static enum flow run_loop(struct jrun *r, const struct jnode *n, struct jval over, int64_t depth0)
{
    struct jscope *outer = r->scope;
    struct jlist *items;
    if (!jitems(r, over, &items) || (n->c && !filter_items(r, n, &items)))
        return FLOW_FAIL;
    enum flow flow;
    if (items->n == 0) {
        if (!n->e)
            return FLOW_NEXT;
        flow = scope_push(r, outer) ? exec_body(r, n->e) : FLOW_FAIL;
        r->scope = outer;
        return flow;
    }
    struct jloop *loop = jalloc(r, sizeof(*loop));
    if (!loop)
        return FLOW_FAIL;
    *loop = (struct jloop){.node = n, .closure = outer, .items = items, .depth0 = depth0};
    if (n->flag)
        scope_capture(outer);
    flow = run_turns(r, loop, outer);
    r->scope = outer;
    return flow;
}

static enum flow exec_for(struct jrun *r, const struct jnode *n)
{
    struct jval over;
    if (!jeval(r, n->b, &over))
        return FLOW_FAIL;
    return run_loop(r, n, over, 0);
}

bool jloop_call(struct jrun *r, const struct jloop *loop, const struct jargs *args,
                struct jval *ret)
{
    struct jval over;
    if (!jargs_bind(r, "loop", args, "iterable", 1, &over))
        return false;
    if (!loop->node->flag)
        return jfail(r, "a loop needs the 'recursive' marker to be called");
    if (!jenter(r))
        return false;
    struct jsink sink = {0}, *out = r->out;
    struct jscope *scope = r->scope;
    r->out = &sink;
    r->scope = loop->closure;
    enum flow flow = run_loop(r, loop->node, over, loop->depth0 + 1);
    r->scope = scope;
    r->out = out;
    r->depth--;
    return flow != FLOW_FAIL && jsink_string(r, &sink, ret);
}

/* --- macros --- */

static struct jval macro_make(struct jrun *r, const struct jnode *n)
{
    struct jmacro *m = jalloc(r, sizeof(*m));
    if (!m)
        return (struct jval){.kind = J_MISSING};
    *m = (struct jmacro){.node = n, .closure = r->scope, .is_caller = n->kind == N_CALL_BLOCK};
    scope_capture(r->scope);
    return (struct jval){.kind = J_MACRO, .macro = m};
}

static bool take_kwarg(const struct jargs *args, bool *used, struct str name, struct jval *ret)
{
    for (size_t i = 0; i < args->n_kw; i++) {
        if (!used[i] && str_eq(args->kw[i].name, name)) {
            used[i] = true;
            *ret = args->kw[i].value;
            return true;
        }
    }
    return false;
}

/* caller, kwargs and varargs, for a macro that uses them; else they must not be given. */
static bool bind_special(struct jrun *r, const struct jnode *n, const struct jargs *args,
                         bool *used)
{
    struct jval v;
    if ((n->flag & MACRO_CALLER) && !(n->flag & MACRO_NAMES_CALLER)) {
        if (!take_kwarg(args, used, STR("caller"), &v) &&
            !jundefined_text(r, "no caller defined", &v))
            return false;
        if (!scope_set(r, r->scope, r->tmpl->caller, v))
            return false;
    }
    struct jdict *rest = jdict_new(r, 0);
    for (size_t i = 0; rest && i < args->n_kw; i++) {
        struct jval key;
        if (used[i])
            continue;
        if (!(n->flag & MACRO_KWARGS))
            return jfail(r, "the macro takes no argument '%.*s'",
                         STR_ARG(str_sub(args->kw[i].name, 0, 60)));
        if (!jstr_view(r, args->kw[i].name, &key) || !jdict_set(r, rest, key, args->kw[i].value))
            return false;
    }
    if (!rest || ((n->flag & MACRO_KWARGS) && !scope_set(r, r->scope, r->tmpl->kwargs,
                                                         (struct jval){.kind = J_DICT, .d = rest})))
        return false;
    if (!(n->flag & MACRO_VARARGS))
        return args->n_pos <= n->n || jfail(r, "the macro takes not more than %u arguments", n->n);
    struct jlist *more = jlist_new(r, 0);
    for (size_t i = n->n; more && i < args->n_pos; i++)
        if (!jlist_push(r, more, args->pos[i]))
            return false;
    return more &&
           scope_set(r, r->scope, r->tmpl->varargs, (struct jval){.kind = J_TUPLE, .l = more});
}

static bool bind_params(struct jrun *r, const struct jnode *n, const struct jargs *args, bool *used)
{
    size_t i = 0;
    struct jval v;
    for (const struct jnode *p = n->a; p; p = p->next, i++) {
        v = (struct jval){.kind = J_MISSING};
        if (i < args->n_pos)
            v = args->pos[i];
        else
            take_kwarg(args, used, p->name->text, &v);
        if (!scope_set(r, r->scope, p->name, v))
            return false;
    }
    if (!bind_special(r, n, args, used))
        return false;
    for (const struct jnode *p = n->a; p; p = p->next) { /* defaults see what stands before */
        struct jscope *s = r->scope;
        for (i = 0; s->var[i].name != p->name; i++)
            ;
        if (s->var[i].value.kind != J_MISSING)
            continue;
        if (p->a ? !jeval(r, p->a, &v)
                 : !jundefined_text(r, "a parameter of a macro was not provided", &v))
            return false;
        if (!scope_set(r, s, p->name, v))
            return false;
    }
    return true;
}

bool jmacro_call(struct jrun *r, const struct jmacro *m, const struct jargs *args, struct jval *ret)
{
    struct jsink sink = {0}, *out = r->out;
    struct jscope *scope = r->scope;
    uint32_t line = r->line;
    bool *used = jalloc_array(r, args->n_kw + 1, sizeof(*used));
    if (!used || !jenter(r))
        return false;
    bool ok = scope_push(r, m->closure) && bind_params(r, m->node, args, used);
    r->out = &sink;
    ok = ok && exec_body(r, m->node->d) != FLOW_FAIL;
    r->out = out;
    r->scope = scope;
    r->depth--;
    if (ok)
        r->line = line;
    return ok && jsink_string(r, &sink, ret);
}

static enum flow exec_call_block(struct jrun *r, const struct jnode *n)
{
    struct jval v;
    struct jkwarg caller = {STR("caller"), macro_make(r, n)};
    if (caller.value.kind == J_MISSING || !jeval_call(r, n->b, &caller, &v))
        return FLOW_FAIL;
    return jprint_str(r, r->out, v) ? FLOW_NEXT : FLOW_FAIL;
}

/* --- the rest --- */

static enum flow exec_if(struct jrun *r, const struct jnode *n)
{
    for (; n; n = n->b) {
        struct jval test;
        if (!jeval(r, n->a, &test))
            return FLOW_FAIL;
        if (jtruth(test))
            return exec_body(r, n->d);
        if (!n->b)
            return exec_body(r, n->e);
    }
    return FLOW_NEXT;
}

static enum flow exec_with(struct jrun *r, const struct jnode *n)
{
    struct jscope *outer = r->scope, *inner = scope_push(r, outer);
    const struct jnode *value = n->b;
    if (!inner)
        return FLOW_FAIL;
    for (const struct jnode *t = n->a; t; t = t->next, value = value->next) {
        struct jval v;
        r->scope = outer;
        bool ok = jeval(r, value, &v);
        r->scope = inner;
        if (!ok || !assign(r, t, v))
            return FLOW_FAIL;
    }
    enum flow flow = exec_body(r, n->d);
    r->scope = outer;
    return flow;
}

static enum flow exec_generation(struct jrun *r, const struct jnode *n)
{
    struct jscope *outer = r->scope;
    enum flow flow = scope_push(r, outer) ? exec_body(r, n->d) : FLOW_FAIL;
    r->scope = outer;
    return flow;
}

static bool exec_set(struct jrun *r, const struct jnode *n)
{
    struct jval v;
    return jeval(r, n->b, &v) && assign(r, n->a, v);
}

static bool exec_macro(struct jrun *r, const struct jnode *n)
{
    struct jval v = macro_make(r, n);
    return v.kind != J_MISSING && scope_set(r, r->scope, n->name, v);
}

static bool exec_print(struct jrun *r, const struct jnode *n)
{
    struct jval v;
    return jeval(r, n->a, &v) && jprint_str(r, r->out, v);
}

static enum flow exec_one(struct jrun *r, const struct jnode *n)
{
    bool ok;
    r->line = n->line;
    switch (n->kind) {
    case N_TEXT:
        ok = jsink_add(r, r->out, jv_text(n->val));
        break;
    case N_PRINT:
        ok = exec_print(r, n);
        break;
    case N_SET:
        ok = exec_set(r, n);
        break;
    case N_MACRO:
        ok = exec_macro(r, n);
        break;
    case N_IF:
        return exec_if(r, n);
    case N_FOR:
        return exec_for(r, n);
    case N_SET_BLOCK:
        return exec_set_block(r, n);
    case N_CALL_BLOCK:
        return exec_call_block(r, n);
    case N_FILTER_BLOCK:
        return exec_filter_block(r, n);
    case N_WITH:
        return exec_with(r, n);
    case N_GENERATION:
        return exec_generation(r, n);
    default:
        return n->kind == N_BREAK ? FLOW_BREAK : FLOW_CONTINUE;
    }
    return ok ? FLOW_NEXT : FLOW_FAIL;
}

static enum flow exec_body(struct jrun *r, const struct jnode *first)
{
    enum flow flow = FLOW_NEXT;
    if (!jenter(r))
        return FLOW_FAIL;
    for (const struct jnode *n = first; n && flow == FLOW_NEXT; n = n->next)
        flow = jstep(r, 1) ? exec_one(r, n) : FLOW_FAIL;
    r->depth--;
    return flow;
}

bool jexec_template(struct jrun *r, const struct jnode *body)
{
    return scope_push(r, NULL) && exec_body(r, body) != FLOW_FAIL;
}
