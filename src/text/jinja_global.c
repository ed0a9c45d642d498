/*
 * jinja_global: functions that every template can call.
 */
#include "base/clock.h"
#include "base/mem.h"
#include "text/jinja_eval.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#define RANGE_MAX 100000 /* as in Jinja's sandbox */

#define GLOBAL(name)                                                                               \
    static bool name(struct jrun *r, struct jval self, const struct jargs *args, struct jval *ret)

GLOBAL(g_range)
{
    int64_t v[3] = {0, 0, 1};
    (void)self;
    if (args->n_kw || args->n_pos < 1 || args->n_pos > 3)
        return jfail(r, "range() takes 1 to 3 arguments");
    for (size_t i = 0; i < args->n_pos; i++)
        if (!jarg_int(r, args->pos[i], 0, &v[args->n_pos == 1 ? 1 : i]))
            return false;
    if (v[2] == 0)
        return jfail(r, "range() arg 3 must not be zero");
    /* in 128 bits nothing here overflows */
    __int128 span = v[2] > 0 ? (__int128)v[1] - v[0] : (__int128)v[0] - v[1];
    __int128 step = v[2] > 0 ? v[2] : -(__int128)v[2];
    __int128 n = span > 0 ? (span - 1) / step + 1 : 0;
    if (n > RANGE_MAX)
        return jfail(r, "range() is too big: at most %d items", RANGE_MAX);
    struct jrange *g = jalloc(r, sizeof(*g));
    if (!g)
        return false;
    *g = (struct jrange){v[0], v[1], v[2], (size_t)n};
    *ret = (struct jval){.kind = J_RANGE, .range = g};
    return true;
}

static bool copy_pairs(struct jrun *r, struct jdict *d, struct jval from)
{
    struct jlist *items, *pair;
    if (from.kind == J_DICT) {
        for (size_t i = 0; i < from.d->n; i++)
            if (!jdict_set(r, d, from.d->pair[i].key, from.d->pair[i].value))
                return false;
        return true;
    }
    if (!jitems(r, from, &items))
        return false;
    for (size_t i = 0; i < items->n; i++) {
        if (!jitems(r, items->item[i], &pair))
            return false;
        if (pair->n != 2)
            return jfail(r, "dictionary update sequence element #%zu has length %zu; 2 is required",
                         i, pair->n);
        if (!jdict_set(r, d, pair->item[0], pair->item[1]))
            return false;
    }
    return true;
}

static struct jdict *make_dict(struct jrun *r, const struct jargs *args)
{
    struct jdict *d = jdict_new(r, args->n_kw);
    struct jval key;
    if (args->n_pos > 1) {
        jfail(r, "dict expected at most 1 argument, got %zu", args->n_pos);
        return NULL;
    }
    if (!d || (args->n_pos && !copy_pairs(r, d, args->pos[0])))
        return NULL;
    for (size_t i = 0; i < args->n_kw; i++)
        if (!jstr_view(r, args->kw[i].name, &key) || !jdict_set(r, d, key, args->kw[i].value))
            return NULL;
    return d;
}

GLOBAL(g_dict)
{
    (void)self;
    *ret = (struct jval){.kind = J_DICT, .d = make_dict(r, args)};
    return ret->d != NULL;
}

GLOBAL(g_namespace)
{
    (void)self;
    *ret = (struct jval){.kind = J_NAMESPACE, .d = make_dict(r, args)};
    return ret->d != NULL;
}

GLOBAL(g_raise_exception)
{
    struct jval v;
    (void)self;
    (void)ret;
    if (!jargs_bind(r, "raise_exception", args, "message", 1, &v) || !jto_str(r, v, &v))
        return false;
    return jfail(r, "%.*s", STR_ARG(str_sub(jv_text(v), 0, 400)));
}

/* One directive ("%-d") of strftime; more flags and widths than these are not passed on. */
static size_t one_directive(struct str fmt, size_t at, char out[8])
{
    size_t n = 0;
    out[n++] = '%';
    at++;
    if (at < fmt.len && fmt.ptr[at] && strchr("-_0^#", fmt.ptr[at]))
        out[n++] = fmt.ptr[at++];
    if (at < fmt.len && fmt.ptr[at] && strchr("EO", fmt.ptr[at]))
        out[n++] = fmt.ptr[at++];
    if (at < fmt.len && fmt.ptr[at] > ' ' && fmt.ptr[at] < 0x7f)
        out[n++] = fmt.ptr[at++];
    out[n] = 0;
    return n;
}

GLOBAL(g_strftime_now)
{
    struct jval v;
    struct jsink sink = {0};
    struct tm tm;
    (void)self;
    if (!jargs_bind(r, "strftime_now", args, "format", 1, &v))
        return false;
    if (v.kind != J_STR)
        return jfail(r, "strftime_now() needs a string");
    int64_t ms = r->limits.now_unix ? r->limits.now_unix * 1000 : clock_wall_ms();
    time_t now = (time_t)(ms / 1000);
    if (!localtime_r(&now, &tm))
        return jfail(r, "the clock has no valid time");
    struct str fmt = jv_text(v);
    for (size_t at = 0; at < fmt.len;) {
        char one[8], text[128];
        size_t n = 1, len;
        if (fmt.ptr[at] != '%') {
            text[0] = fmt.ptr[at];
            len = 1;
        } else {
            n = one_directive(fmt, at, one);
            char last = one[n - 1];
            if (last == 'f') /* microseconds, Python's own */
                len = (size_t)snprintf(text, sizeof(text), "%06d", (int)(ms % 1000) * 1000);
            else if (last == 'z' || last == 'Z')
                len = 0; /* a time without zone */
            else if (n == 1)
                len = (size_t)snprintf(text, sizeof(text), "%%");
            else
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
                len = strftime(text, sizeof(text), one, &tm);
#pragma GCC diagnostic pop
        }
        if (!jstep(r, 1) || !jsink_add(r, &sink, (struct str){text, len}))
            return false;
        at += n;
    }
    return jsink_string(r, &sink, ret);
}

GLOBAL(g_joiner)
{
    struct jval v;
    struct jcycler *c = jalloc(r, sizeof(*c));
    (void)self;
    if (!c || !jargs_bind(r, "joiner", args, "sep", 0, &v))
        return false;
    c->sep = v;
    *ret = (struct jval){.kind = J_JOINER, .cycler = c};
    return v.kind != J_MISSING || jstr_view(r, STR(", "), &c->sep);
}

GLOBAL(g_cycler)
{
    struct jcycler *c = jalloc(r, sizeof(*c));
    (void)self;
    if (!c || !(c->items = jlist_new(r, args->n_pos)))
        return false;
    if (args->n_pos == 0 || args->n_kw)
        return jfail(r, "at least one item has to be provided");
    for (size_t i = 0; i < args->n_pos; i++)
        if (!jlist_push(r, c->items, args->pos[i]))
            return false;
    *ret = (struct jval){.kind = J_CYCLER, .cycler = c};
    return true;
}

GLOBAL(g_lipsum)
{
    (void)self;
    (void)args;
    (void)ret;
    return jfail(r, "lipsum() is not supported in chat templates");
}

static const struct jfunc GLOBALS[] = {
    {"range", g_range, {.kind = J_MISSING}},
    {"dict", g_dict, {.kind = J_MISSING}},
    {"namespace", g_namespace, {.kind = J_MISSING}},
    {"raise_exception", g_raise_exception, {.kind = J_MISSING}},
    {"strftime_now", g_strftime_now, {.kind = J_MISSING}},
    {"joiner", g_joiner, {.kind = J_MISSING}},
    {"cycler", g_cycler, {.kind = J_MISSING}},
    {"lipsum", g_lipsum, {.kind = J_MISSING}},
};

const struct jfunc *jglobal_find(struct str name)
{
    for (size_t i = 0; i < ARRAY_LEN(GLOBALS); i++)
        if (str_eq_z(name, GLOBALS[i].name))
            return &GLOBALS[i];
    return NULL;
}
