/*
 * jinja_access: obj.name, obj[key], obj[a:b:c], and binding arguments to parameters.
 *
 * The rules are those of Jinja's immutable sandbox: obj.name is an attribute first and an item
 * second, obj["name"] the other way round; names with a leading underscore and methods that change
 * a list or dict are out of reach (they give an undefined value that says so when it is used).
 */
#include "base/mem.h"
#include "text/jinja_eval.h"
#include "text/jinja_utf8.h"

#include <string.h>

bool jbind(struct jrun *r, const struct jfunc *fn, struct jval self, struct jval *ret)
{
    struct jfunc *f = jalloc(r, sizeof(*f));
    if (!f)
        return false;
    *f = *fn;
    f->self = self;
    *ret = (struct jval){.kind = J_FUNC, .fn = f};
    return true;
}

/* --- attributes of the interpreter's own objects --- */

static bool loop_cycle(struct jrun *r, struct jval self, const struct jargs *args, struct jval *ret)
{
    if (args->n_pos == 0 || args->n_kw)
        return jfail(r, "loop.cycle needs items");
    *ret = args->pos[self.loop->index0 % args->n_pos];
    return true;
}

static bool loop_changed(struct jrun *r, struct jval self, const struct jargs *args,
                         struct jval *ret)
{
    struct jloop *loop = self.loop;
    struct jlist *l = jlist_new(r, args->n_pos);
    bool same = false;
    if (!l)
        return false;
    for (size_t i = 0; i < args->n_pos; i++)
        if (!jlist_push(r, l, args->pos[i]))
            return false;
    struct jval now = {.kind = J_TUPLE, .l = l};
    if (loop->last_changed.kind == J_TUPLE && !jequal(r, loop->last_changed, now, &same))
        return false;
    loop->last_changed = now;
    *ret = jv_bool(!same);
    return true;
}

static bool loop_attr(struct jrun *r, struct jval v, struct str name, struct jval *ret)
{
    static const struct jfunc CYCLE = {"cycle", loop_cycle, {.kind = J_MISSING}};
    static const struct jfunc CHANGED = {"changed", loop_changed, {.kind = J_MISSING}};
    const struct jloop *loop = v.loop;
    int64_t at = (int64_t)loop->index0, n = (int64_t)loop->items->n;
    const struct {
        const char *name;
        int64_t value;
    } numbers[] = {{"index", at + 1},         {"index0", at}, {"revindex", n - at},
                   {"revindex0", n - at - 1}, {"length", n},  {"depth", loop->depth0 + 1},
                   {"depth0", loop->depth0}};
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
        if (str_eq_z(name, numbers[i].name)) {
            *ret = jv_int(numbers[i].value);
            return true;
        }
    }
    if (str_eq_z(name, "first") || str_eq_z(name, "last")) {
        *ret = jv_bool(name.ptr[0] == 'f' ? at == 0 : at == n - 1);
        return true;
    }
    if (str_eq_z(name, "previtem")) {
        if (at == 0)
            return jundefined_text(r, "there is no previous item", ret);
        *ret = loop->items->item[at - 1];
        return true;
    }
    if (str_eq_z(name, "nextitem")) {
        if (at == n - 1)
            return jundefined_text(r, "there is no next item", ret);
        *ret = loop->items->item[at + 1];
        return true;
    }
    if (str_eq_z(name, "cycle"))
        return jbind(r, &CYCLE, v, ret);
    if (str_eq_z(name, "changed"))
        return jbind(r, &CHANGED, v, ret);
    return true;
}

static bool cycler_next(struct jrun *r, struct jval self, const struct jargs *args,
                        struct jval *ret)
{
    struct jcycler *c = self.cycler;
    if (args->n_pos || args->n_kw)
        return jfail(r, "cycler.next takes no arguments");
    *ret = c->items->item[c->pos];
    c->pos = (c->pos + 1) % c->items->n;
    return true;
}

static bool cycler_reset(struct jrun *r, struct jval self, const struct jargs *args,
                         struct jval *ret)
{
    if (args->n_pos || args->n_kw)
        return jfail(r, "cycler.reset takes no arguments");
    self.cycler->pos = 0;
    *ret = jv_none();
    return true;
}

static bool cycler_attr(struct jrun *r, struct jval v, struct str name, struct jval *ret)
{
    static const struct jfunc NEXT = {"next", cycler_next, {.kind = J_MISSING}};
    static const struct jfunc RESET = {"reset", cycler_reset, {.kind = J_MISSING}};
    if (str_eq_z(name, "current"))
        *ret = v.cycler->items->item[v.cycler->pos];
    else if (str_eq_z(name, "next"))
        return jbind(r, &NEXT, v, ret);
    else if (str_eq_z(name, "reset"))
        return jbind(r, &RESET, v, ret);
    return true;
}

static bool macro_attr(struct jrun *r, struct jval v, struct str name, struct jval *ret)
{
    const struct jnode *n = v.macro->node;
    if (str_eq_z(name, "name")) {
        if (!n->name)
            *ret = jv_none();
        else
            *ret = n->name->value;
    } else if (str_eq_z(name, "arguments")) {
        struct jlist *l = jlist_new(r, n->n);
        for (const struct jnode *p = n->a; l && p; p = p->next)
            if (!jlist_push(r, l, p->name->value))
                return false;
        *ret = (struct jval){.kind = J_TUPLE, .l = l};
        return l != NULL;
    } else if (str_eq_z(name, "caller")) {
        *ret = jv_bool((n->flag & MACRO_CALLER) != 0);
    } else if (str_eq_z(name, "catch_kwargs")) {
        *ret = jv_bool((n->flag & MACRO_KWARGS) != 0);
    } else if (str_eq_z(name, "catch_varargs")) {
        *ret = jv_bool((n->flag & MACRO_VARARGS) != 0);
    }
    return true;
}

static bool number_attr(struct jval v, struct str name, struct jval *ret)
{
    if (str_eq_z(name, "real"))
        *ret = v.kind == J_BOOL ? jv_int(v.b) : v;
    else if (str_eq_z(name, "imag"))
        *ret = v.kind == J_FLOAT ? jv_float(0) : jv_int(0);
    else if (str_eq_z(name, "numerator") && jv_is_integral(v))
        *ret = jv_int(jv_i64(v));
    else if (str_eq_z(name, "denominator") && jv_is_integral(v))
        *ret = jv_int(1);
    return true;
}

/* An attribute in Python's sense; J_MISSING in *ret when there is none. */
static bool own_attr(struct jrun *r, struct jval obj, struct str name, struct jval *ret)
{
    *ret = (struct jval){.kind = J_MISSING};
    switch (obj.kind) {
    case J_STR:
    case J_LIST:
    case J_DICT:
        return jmethod_find(r, obj, name, ret);
    case J_TUPLE:
        if (obj.l->view == TUPLE_GROUP && (str_eq_z(name, "grouper") || str_eq_z(name, "list"))) {
            *ret = obj.l->item[name.ptr[0] == 'l'];
            return true;
        }
        return jmethod_find(r, obj, name, ret);
    case J_NAMESPACE: {
        struct jval *v = jdict_get_str(r, obj.d, name);
        if (v)
            *ret = *v;
        return !r->fail_code;
    }
    case J_LOOP:
        return loop_attr(r, obj, name, ret);
    case J_CYCLER:
        return cycler_attr(r, obj, name, ret);
    case J_MACRO:
        return macro_attr(r, obj, name, ret);
    case J_BOOL:
    case J_INT:
    case J_FLOAT:
        return number_attr(obj, name, ret);
    case J_RANGE:
        if (str_eq_z(name, "start"))
            *ret = jv_int(obj.range->start);
        else if (str_eq_z(name, "stop"))
            *ret = jv_int(obj.range->stop);
        else if (str_eq_z(name, "step"))
            *ret = jv_int(obj.range->step);
        else
            return jmethod_find(r, obj, name, ret);
        return true;
    default:
        return true;
    }
}

static bool own_attr_safe(struct jrun *r, struct jval obj, struct str name, struct jval *ret)
{
    if (!own_attr(r, obj, name, ret))
        return false;
    if (ret->kind != J_MISSING && name.len && name.ptr[0] == '_')
        return jundefined_text(r, "access to an attribute that starts with '_' is not allowed",
                               ret);
    return true;
}

bool jgetattr(struct jrun *r, struct jval obj, struct str name, struct jval *ret)
{
    if (obj.kind == J_UNDEFINED)
        return jfail_undefined(r, obj);
    if (!own_attr_safe(r, obj, name, ret))
        return false;
    if (ret->kind != J_MISSING)
        return true;
    if (obj.kind == J_DICT) {
        struct jval *v = jdict_get_str(r, obj.d, name);
        if (r->fail_code)
            return false;
        if (v) {
            *ret = *v;
            return true;
        }
    }
    return jundefined(r, jtype_name(obj), name, ret);
}

bool jattr_only(struct jrun *r, struct jval obj, struct str name, struct jval *ret)
{
    if (obj.kind == J_UNDEFINED)
        return jfail_undefined(r, obj);
    return own_attr_safe(r, obj, name, ret) &&
           (ret->kind != J_MISSING || jundefined(r, jtype_name(obj), name, ret));
}

/* --- items --- */

static bool hashable(struct jval v)
{
    if (v.kind == J_TUPLE) {
        for (size_t i = 0; i < v.l->n; i++) /* a tuple in a tuple: hashing it says the rest */
            if (v.l->item[i].kind != J_TUPLE && !hashable(v.l->item[i]))
                return false;
        return true;
    }
    return v.kind != J_LIST && v.kind != J_DICT && v.kind != J_VIEW;
}

/* Item number i (from the end when negative); J_MISSING in *ret when out of range. */
static bool item_at(struct jrun *r, struct jval obj, int64_t i, struct jval *ret)
{
    size_t len;
    if (!jlength(r, obj, &len))
        return false;
    if (i < 0)
        i += (int64_t)len;
    if (i < 0 || i >= (int64_t)len)
        return true;
    switch (obj.kind) {
    case J_STR: {
        uint8_t markup = obj.markup;
        if (!jstr_char_at(r, obj, (size_t)i, ret))
            return false;
        ret->markup = markup;
        return true;
    }
    case J_RANGE:
        *ret = jrange_at(obj.range, (size_t)i);
        return true;
    default:
        *ret = obj.l->item[i];
        return true;
    }
}

bool jgetitem(struct jrun *r, struct jval obj, struct jval key, struct jval *ret)
{
    struct jpair *p = NULL;
    *ret = (struct jval){.kind = J_MISSING};
    switch (obj.kind) {
    case J_UNDEFINED:
        return jfail_undefined(r, obj);
    case J_DICT:
        if (hashable(key) && !jdict_find(r, obj.d, key, &p))
            return false;
        if (p)
            *ret = p->value;
        break;
    case J_STR:
    case J_LIST:
    case J_TUPLE:
    case J_RANGE:
        if (jv_is_integral(key) && !item_at(r, obj, jv_i64(key), ret))
            return false;
        break;
    default:
        break;
    }
    if (ret->kind == J_MISSING && key.kind == J_STR && !own_attr_safe(r, obj, jv_text(key), ret))
        return false;
    if (ret->kind != J_MISSING)
        return true;
    return jundefined(r, jtype_name(obj), key.kind == J_STR ? jv_text(key) : STR("[...]"), ret);
}

/* --- slices --- */

static bool slice_bound(struct jrun *r, struct jval v, bool *given, int64_t *ret)
{
    *given = v.kind != J_NONE && v.kind != J_MISSING;
    if (!*given)
        return true;
    if (!jv_is_integral(v))
        return jfail(r, "slice indices must be integers or none, not %s", jtype_name(v));
    *ret = jv_i64(v);
    return true;
}

struct slice {
    int64_t start, stop, step;
    size_t count;
};

/* As Python's slice.indices. */
static bool slice_indices(struct jrun *r, const struct jval bound[3], int64_t len, struct slice *s)
{
    bool given;
    s->step = 1;
    if (!slice_bound(r, bound[2], &given, &s->step))
        return false;
    if (s->step == 0)
        return jfail(r, "slice step cannot be zero");
    if (s->step == INT64_MIN)
        s->step = -INT64_MAX;
    int64_t low = s->step < 0 ? -1 : 0, high = s->step < 0 ? len - 1 : len;
    for (int i = 0; i < 2; i++) {
        int64_t v = 0;
        if (!slice_bound(r, bound[i], &given, &v))
            return false;
        if (!given)
            v = (i == 0) == (s->step > 0) ? low : high;
        else if (v < 0)
            v = v + len < low ? low : v + len;
        else
            v = v > high ? high : v;
        *(i == 0 ? &s->start : &s->stop) = v;
    }
    if (s->step > 0)
        s->count = s->stop > s->start ? (size_t)((s->stop - s->start - 1) / s->step + 1) : 0;
    else
        s->count = s->start > s->stop ? (size_t)((s->start - s->stop - 1) / -s->step + 1) : 0;
    return true;
}

static bool slice_string(struct jrun *r, struct jval v, const struct slice *s, struct jval *ret)
{
    struct str text = jv_text(v);
    bool ascii = v.s->n_chars == text.len;
    if (s->count == 0)
        return jstr_slice(r, v, 0, 0, ret);
    if (!ascii && !jstep(r, text.len / 64))
        return false;
    size_t at = jstr_offset(v.s, (size_t)s->start);
    if (s->step == 1) {
        const struct jstr rest = {text.ptr + at, text.len - at, CHARS_UNKNOWN, NULL};
        return jstr_slice(r, v, at, ascii ? s->count : jstr_offset(&rest, s->count), ret);
    }
    struct jsink sink = {0};
    for (size_t i = 0; i < s->count; i++) {
        size_t n = u8_len((unsigned char)text.ptr[at]);
        if (!jstep(r, 1) || !jsink_add(r, &sink, str_sub(text, at, n)))
            return false;
        for (int64_t k = 0; i + 1 < s->count && k < (s->step < 0 ? -s->step : s->step); k++)
            at = s->step < 0 ? u8_prev(text, at) : at + u8_len((unsigned char)text.ptr[at]);
    }
    if (!jsink_string(r, &sink, ret))
        return false;
    ret->markup = v.markup;
    return true;
}

static bool slice_range(struct jrun *r, const struct jrange *g, const struct slice *s,
                        struct jval *ret)
{
    struct jrange *part = jalloc(r, sizeof(*part));
    if (!part)
        return false;
    *part = (struct jrange){g->start + s->start * g->step, g->start + s->stop * g->step,
                            g->step * s->step, s->count};
    *ret = (struct jval){.kind = J_RANGE, .range = part};
    return true;
}

bool jslice(struct jrun *r, struct jval obj, const struct jval bound[3], struct jval *ret)
{
    size_t len;
    struct slice s;
    if (obj.kind == J_UNDEFINED)
        return jfail_undefined(r, obj);
    if (obj.kind != J_STR && obj.kind != J_LIST && obj.kind != J_TUPLE && obj.kind != J_RANGE)
        return jfail(r, "'%s' object cannot be sliced", jtype_name(obj));
    if (!jlength(r, obj, &len) || !slice_indices(r, bound, (int64_t)len, &s))
        return false;
    if (obj.kind == J_STR)
        return slice_string(r, obj, &s, ret);
    if (obj.kind == J_RANGE)
        return slice_range(r, obj.range, &s, ret);
    struct jlist *l = jlist_new(r, s.count);
    for (size_t i = 0; l && i < s.count; i++)
        if (!jlist_push(r, l, obj.l->item[s.start + (int64_t)i * s.step]))
            return false;
    *ret = (struct jval){.kind = obj.kind, .l = l};
    return l != NULL;
}

/* --- arguments --- */

bool jargs_bind(struct jrun *r, const char *fn, const struct jargs *args, const char *params,
                size_t n_required, struct jval *out)
{
    struct str rest = str_z(params), name;
    size_t n = 0, used = 0;
    while (str_split(&rest, ' ', &name) && name.len) {
        struct jval v = {.kind = J_MISSING};
        for (size_t i = 0; i < args->n_kw; i++) {
            if (str_eq(args->kw[i].name, name)) {
                v = args->kw[i].value;
                used++;
                if (n < args->n_pos)
                    return jfail(r, "%s() got the argument '%.*s' twice", fn, STR_ARG(name));
            }
        }
        if (n < args->n_pos)
            v = args->pos[n];
        if (v.kind == J_MISSING && n < n_required)
            return jfail(r, "%s() needs the argument '%.*s'", fn, STR_ARG(name));
        out[n++] = v;
    }
    if (args->n_pos > n)
        return jfail(r, "%s() takes %zu arguments, %zu are given", fn, n, args->n_pos);
    if (used < args->n_kw)
        return jfail(r, "%s() got an unknown argument", fn);
    return true;
}

bool jarg_int(struct jrun *r, struct jval v, int64_t missing, int64_t *ret)
{
    *ret = missing;
    if (v.kind == J_MISSING)
        return true;
    if (v.kind == J_UNDEFINED)
        return jfail_undefined(r, v);
    if (!jv_is_integral(v))
        return jfail(r, "'%s' object cannot be used as an integer", jtype_name(v));
    *ret = jv_i64(v);
    return true;
}

bool jarg_str(struct jrun *r, struct jval v, struct str missing, struct str *ret)
{
    *ret = missing;
    if (v.kind == J_MISSING)
        return true;
    if (v.kind != J_STR)
        return jfail(r, "a string is needed, not %s", jtype_name(v));
    *ret = jv_text(v);
    return true;
}
