/*
 * jinja_filter: the table of filters, and those over text.
 */
#include "text/jinja_filter.h"

#include "base/mem.h"
#include "text/jinja_utf8.h"

#include <string.h>

/* The input as a string; one that is marked safe stays so. */
static bool soft_str(struct jrun *r, struct jval *v)
{
    return v->kind == J_STR || jto_str(r, *v, v);
}

static bool no_args(struct jrun *r, const char *fn, const struct jargs *args)
{
    return jargs_bind(r, fn, args, "", 0, NULL);
}

static bool case_filter(struct jrun *r, struct jval self, const struct jargs *args, enum jcase how,
                        struct jval *ret)
{
    struct jsink sink = {0};
    if (!no_args(r, "case", args) || !soft_str(r, &self) ||
        !jstr_case(r, jv_text(self), how, &sink) || !jsink_string(r, &sink, ret))
        return false;
    ret->markup = self.markup;
    return true;
}

static FILTER(f_upper)
{
    return case_filter(r, self, args, CASE_UPPER, ret);
}
static FILTER(f_lower)
{
    return case_filter(r, self, args, CASE_LOWER, ret);
}
static FILTER(f_capitalize)
{
    return case_filter(r, self, args, CASE_CAPITALIZE, ret);
}

static bool starts_word(uint32_t cp)
{
    return cp == '-' || cp == '(' || cp == '{' || cp == '[' || cp == '<' || u_is_space(cp);
}

/* Words start after white space, "-" and opening brackets: other rules than str.title. */
static FILTER(f_title)
{
    struct jsink sink = {0};
    if (!no_args(r, "title", args) || !soft_str(r, &self))
        return false;
    struct str s = jv_text(self);
    size_t n, at = 0;
    while (at < s.len) {
        size_t from = at;
        uint32_t cp = u8_get(s.ptr + at, &n);
        if (starts_word(cp)) {
            at += n;
            if (!jstep(r, 1) || !jsink_add(r, &sink, str_sub(s, from, n)))
                return false;
            continue;
        }
        while (at < s.len && !starts_word(u8_get(s.ptr + at, &n)))
            at += n;
        size_t first = u8_len((unsigned char)s.ptr[from]);
        if (!jstr_case(r, str_sub(s, from, first), CASE_UPPER, &sink) ||
            !jstr_case(r, str_sub(s, from + first, at - from - first), CASE_LOWER, &sink))
            return false;
    }
    return jsink_string(r, &sink, ret);
}

static FILTER(f_trim)
{
    struct jval chars;
    return jargs_bind(r, "trim", args, "chars", 0, &chars) && soft_str(r, &self) &&
           jstr_strip(r, self, chars, STRIP_BOTH, ret);
}

static FILTER(f_string)
{
    *ret = self;
    return no_args(r, "string", args) && soft_str(r, ret);
}

static FILTER(f_length)
{
    size_t n;
    if (!no_args(r, "length", args) || !jlength(r, self, &n))
        return false;
    *ret = jv_int((int64_t)n);
    return true;
}

static FILTER(f_default)
{
    struct jval v[2];
    if (!jargs_bind(r, "default", args, "default_value boolean", 0, v))
        return false;
    *ret = self;
    if (self.kind != J_UNDEFINED && !(jtruth(v[1]) && !jtruth(self)))
        return true;
    *ret = v[0];
    return v[0].kind != J_MISSING || jstr_view(r, STR(""), ret);
}

static FILTER(f_replace)
{
    struct jval v[3];
    int64_t count;
    if (!jargs_bind(r, "replace", args, "old new count", 2, v) || !jto_str(r, self, &self) ||
        !jto_str(r, v[0], &v[0]) || !jto_str(r, v[1], &v[1]))
        return false;
    if (v[2].kind == J_NONE)
        v[2].kind = J_MISSING;
    return jarg_int(r, v[2], -1, &count) &&
           jstr_replace(r, self, jv_text(v[0]), jv_text(v[1]), count, ret);
}

static FILTER(f_center)
{
    struct jval v;
    int64_t width;
    return jargs_bind(r, "center", args, "width", 0, &v) && jarg_int(r, v, 80, &width) &&
           soft_str(r, &self) && jstr_pad(r, self, width, STR(" "), PAD_CENTER, ret);
}

static FILTER(f_indent)
{
    struct jval v[3], s, newline, space;
    struct jsink sink = {0};
    struct jlist *lines;
    int64_t width;
    if (!jargs_bind(r, "indent", args, "width first blank", 0, v))
        return false;
    if (self.kind != J_STR)
        return self.kind == J_UNDEFINED ? jfail_undefined(r, self)
                                        : jfail(r, "indent needs a string");
    if (v[0].kind == J_STR) {
        space = v[0];
    } else if (!jarg_int(r, v[0], 4, &width) || !jstr_view(r, STR(""), &s) ||
               !jstr_pad(r, s, width, STR(" "), PAD_LEFT, &space)) {
        return false;
    }
    if (!jstr_view(r, STR("\n"), &newline) || !jstr_concat(r, self, newline, &s) ||
        !jstr_splitlines(r, s, false, &lines))
        return false;
    for (size_t i = 0; i < lines->n; i++) {
        bool pad = i == 0 ? jtruth(v[1]) : lines->item[i].s->len || jtruth(v[2]);
        if ((i && !jsink_char(r, &sink, '\n')) || (pad && !jsink_add(r, &sink, jv_text(space))) ||
            !jsink_add(r, &sink, jv_text(lines->item[i])))
            return false;
    }
    if (!jsink_string(r, &sink, ret))
        return false;
    ret->markup = self.markup;
    return true;
}

static FILTER(f_truncate)
{
    struct jval v[4], head, bound[3] = {jv_none(), jv_none(), jv_none()};
    int64_t length, leeway;
    struct str end;
    if (!jargs_bind(r, "truncate", args, "length killwords end leeway", 0, v) ||
        !jarg_int(r, v[0], 255, &length) || !jarg_str(r, v[2], STR("..."), &end))
        return false;
    if (v[3].kind == J_NONE)
        v[3].kind = J_MISSING;
    if (!jarg_int(r, v[3], 5, &leeway))
        return false;
    if (self.kind != J_STR)
        return self.kind == J_UNDEFINED ? jfail_undefined(r, self)
                                        : jfail(r, "truncate needs a string");
    int64_t n_end = (int64_t)u8_count(end);
    if (length < n_end || leeway < 0)
        return jfail(r, "truncate: the length is too small or the leeway is negative");
    *ret = self;
    if (leeway > INT64_MAX - length || (int64_t)jstr_chars(r, self.s) <= length + leeway)
        return true;
    bound[1] = jv_int(length - n_end);
    if (!jslice(r, self, bound, &head))
        return false;
    ptrdiff_t cut = jtruth(v[1]) ? -1 : str_rchr(jv_text(head), ' ');
    if (cut >= 0 && !jstr_slice(r, head, 0, (size_t)cut, &head))
        return false;
    struct jval tail;
    return jstr_view(r, end, &tail) && jstr_concat(r, head, tail, ret);
}

static FILTER(f_wordcount)
{
    int64_t words = 0;
    bool in = false;
    size_t n;
    if (!no_args(r, "wordcount", args) || !soft_str(r, &self) || !jstep(r, self.s->len / 8))
        return false;
    for (size_t at = 0; at < self.s->len; at += n) {
        bool word = u_is_word(u8_get(self.s->ptr + at, &n));
        words += word && !in;
        in = word;
    }
    *ret = jv_int(words);
    return true;
}

static FILTER(f_format)
{
    struct jval values = {.kind = J_TUPLE};
    if (args->n_pos && args->n_kw)
        return jfail(r, "can't handle positional and keyword arguments at the same time");
    if (!soft_str(r, &self))
        return false;
    if (args->n_kw) {
        struct jdict *d = jdict_new(r, args->n_kw);
        for (size_t i = 0; d && i < args->n_kw; i++) {
            struct jval key;
            if (!jstr_view(r, args->kw[i].name, &key) || !jdict_set(r, d, key, args->kw[i].value))
                return false;
        }
        values = (struct jval){.kind = J_DICT, .d = d};
    } else {
        values.l = jlist_new(r, args->n_pos);
        for (size_t i = 0; values.l && i < args->n_pos; i++)
            if (!jlist_push(r, values.l, args->pos[i]))
                return false;
    }
    return values.l && jformat_percent(r, self, values, ret);
}

static FILTER(f_safe)
{
    if (!no_args(r, "safe", args) || !jto_str(r, self, ret))
        return false;
    ret->markup = 1;
    return true;
}

static FILTER(f_escape)
{
    return no_args(r, "escape", args) && jescape(r, self, ret);
}

static FILTER(f_forceescape)
{
    self.markup = 0;
    return no_args(r, "forceescape", args) && jescape(r, self, ret);
}

/* --- JSON --- */

static bool json_indent(struct jrun *r, struct jval v, struct jjson_style *style)
{
    struct jval empty, pad;
    if (v.kind == J_MISSING || v.kind == J_NONE)
        return true;
    style->has_indent = true;
    style->item_sep = STR(",");
    if (v.kind == J_STR) {
        style->indent = jv_text(v);
        return true;
    }
    int64_t width;
    if (!jarg_int(r, v, 0, &width) || !jstr_view(r, STR(""), &empty) ||
        !jstr_pad(r, empty, width, STR(" "), PAD_LEFT, &pad))
        return false;
    style->indent = jv_text(pad);
    return true;
}

static FILTER(f_tojson)
{
    struct jval v[4];
    struct jsink sink = {0};
    if (!jargs_bind(r, "tojson", args, "ensure_ascii indent separators sort_keys", 0, v))
        return false;
    struct jjson_style style = {.ensure_ascii = jtruth(v[0]),
                                .sort_keys = jtruth(v[3]),
                                .item_sep = STR(", "),
                                .key_sep = STR(": ")};
    if (!json_indent(r, v[1], &style))
        return false;
    if (v[2].kind != J_MISSING && v[2].kind != J_NONE) {
        if ((v[2].kind != J_LIST && v[2].kind != J_TUPLE) || v[2].l->n != 2 ||
            v[2].l->item[0].kind != J_STR || v[2].l->item[1].kind != J_STR)
            return jfail(r, "tojson: separators must be two strings");
        style.item_sep = jv_text(v[2].l->item[0]);
        style.key_sep = jv_text(v[2].l->item[1]);
    }
    return jprint_json(r, &sink, self, &style) && jsink_string(r, &sink, ret);
}

/* --- URLs and markup --- */

static bool url_quote(struct jrun *r, struct jsink *sink, struct jval v, bool query)
{
    static const char HEX[] = "0123456789ABCDEF";
    if (!jto_str(r, v, &v))
        return false;
    for (size_t i = 0; i < v.s->len; i++) {
        unsigned char c = (unsigned char)v.s->ptr[i];
        char text[3] = {(char)c};
        size_t n = 1;
        bool plain = (c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'z') ||
                     (c && strchr("_.-~", c)) || (c == '/' && !query);
        if (query && c == ' ') {
            text[0] = '+';
        } else if (!plain) {
            text[0] = '%';
            text[1] = HEX[c >> 4];
            text[2] = HEX[c & 15];
            n = 3;
        }
        if (!jstep(r, 1) || !jsink_add(r, sink, (struct str){text, n}))
            return false;
    }
    return true;
}

static bool url_pair(struct jrun *r, struct jsink *sink, bool first, struct jval key,
                     struct jval value)
{
    return (first || jsink_char(r, sink, '&')) && url_quote(r, sink, key, true) &&
           jsink_char(r, sink, '=') && url_quote(r, sink, value, true);
}

static FILTER(f_urlencode)
{
    struct jsink sink = {0};
    struct jlist *items, *pair;
    bool ok = no_args(r, "urlencode", args);
    if (ok && (self.kind == J_STR || !jiterable(self)))
        return url_quote(r, &sink, self, false) && jsink_string(r, &sink, ret);
    if (self.kind == J_DICT) {
        for (size_t i = 0; ok && i < self.d->n; i++)
            ok = url_pair(r, &sink, i == 0, self.d->pair[i].key, self.d->pair[i].value);
    } else {
        ok = ok && jitems(r, self, &items);
        for (size_t i = 0; ok && i < items->n; i++) {
            ok = jitems(r, items->item[i], &pair);
            if (ok && pair->n != 2)
                return jfail(r, "urlencode needs pairs");
            ok = ok && url_pair(r, &sink, i == 0, pair->item[0], pair->item[1]);
        }
    }
    return ok && jsink_string(r, &sink, ret);
}

static FILTER(f_xmlattr)
{
    struct jval v, key, value;
    struct jsink sink = {0};
    bool any = false;
    if (!jargs_bind(r, "xmlattr", args, "autospace", 0, &v))
        return false;
    if (self.kind != J_DICT)
        return jfail(r, "xmlattr needs a mapping");
    for (size_t i = 0; i < self.d->n; i++) {
        const struct jpair *p = &self.d->pair[i];
        if (p->value.kind == J_NONE || p->value.kind == J_UNDEFINED)
            continue;
        if (p->key.kind != J_STR)
            return jfail(r, "xmlattr needs string keys");
        for (size_t k = 0; k < p->key.s->len; k++)
            if (memchr(" \t\n\r\f\v/>=", p->key.s->ptr[k], 9))
                return jfail(r, "invalid character in attribute name");
        bool space = any || v.kind == J_MISSING || jtruth(v);
        if (!jescape(r, p->key, &key) || !jescape(r, p->value, &value) ||
            (space && !jsink_char(r, &sink, ' ')) || !jsink_add(r, &sink, jv_text(key)) ||
            !jsink_z(r, &sink, "=\"") || !jsink_add(r, &sink, jv_text(value)) ||
            !jsink_char(r, &sink, '"'))
            return false;
        any = true;
    }
    return jsink_string(r, &sink, ret);
}

static FILTER(f_attr)
{
    struct jval name;
    struct str text;
    return jargs_bind(r, "attr", args, "name", 1, &name) && jarg_str(r, name, STR(""), &text) &&
           jattr_only(r, self, text, ret);
}

static FILTER(f_refused)
{
    (void)self;
    (void)args;
    (void)ret;
    return jfail(r, "this filter (pprint, random, striptags, urlize or wordwrap) is not supported "
                    "in chat templates");
}

static const struct {
    const char *name;
    jbuiltin fn;
} FILTERS[] = {
#define X(name, fn) {name, fn},
    SEQ_FILTERS(X) NUM_FILTERS(X)
#undef X
        {"attr", f_attr},
    {"capitalize", f_capitalize},
    {"center", f_center},
    {"count", f_length},
    {"d", f_default},
    {"default", f_default},
    {"e", f_escape},
    {"escape", f_escape},
    {"forceescape", f_forceescape},
    {"format", f_format},
    {"indent", f_indent},
    {"length", f_length},
    {"lower", f_lower},
    {"pprint", f_refused},
    {"random", f_refused},
    {"replace", f_replace},
    {"safe", f_safe},
    {"string", f_string},
    {"striptags", f_refused},
    {"title", f_title},
    {"tojson", f_tojson},
    {"trim", f_trim},
    {"truncate", f_truncate},
    {"upper", f_upper},
    {"urlencode", f_urlencode},
    {"urlize", f_refused},
    {"wordcount", f_wordcount},
    {"wordwrap", f_refused},
    {"xmlattr", f_xmlattr},
};

jbuiltin jfilter_find(struct str name)
{
    for (size_t i = 0; i < ARRAY_LEN(FILTERS); i++)
        if (str_eq_z(name, FILTERS[i].name))
            return FILTERS[i].fn;
    return NULL;
}
