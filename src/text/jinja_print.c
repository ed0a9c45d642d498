/*
 * jinja_print: values as text, as Python's str(), repr() and json.dumps() write them.
 */
#include "text/jinja_utf8.h"
#include "text/jinja_value.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The shortest digits that read back as f, laid out as Python does. */
size_t jformat_float(double f, char out[32])
{
    if (isnan(f))
        return (size_t)sprintf(out, "nan");
    if (isinf(f))
        return (size_t)sprintf(out, f < 0 ? "-inf" : "inf");
    char sci[32];
    for (int precision = 0; precision <= 17; precision++) {
        snprintf(sci, sizeof(sci), "%.*e", precision, f);
        if (strtod(sci, NULL) == f)
            break;
    }
    char digits[24] = {0};
    size_t n = 0, o = 0;
    const char *p = sci;
    if (*p == '-')
        out[o++] = *p++;
    for (; *p && *p != 'e'; p++)
        if (*p != '.')
            digits[n++] = *p;
    int exp = atoi(p + 1);
    if (exp < -4 || exp >= 16) {
        out[o++] = digits[0];
        if (n > 1)
            out[o++] = '.';
        memcpy(out + o, digits + 1, n - 1);
        o += n - 1;
        return o + (size_t)sprintf(out + o, "e%c%02d", exp < 0 ? '-' : '+', abs(exp));
    }
    if (exp < 0) {
        o += (size_t)sprintf(out + o, "0.");
        for (int i = -1; i > exp; i--)
            out[o++] = '0';
        memcpy(out + o, digits, n);
        return o + n;
    }
    for (int i = 0; i <= exp || (size_t)i < n; i++) {
        if (i == exp + 1)
            out[o++] = '.';
        out[o++] = (size_t)i < n ? digits[i] : '0';
    }
    if (n <= (size_t)exp + 1) {
        out[o++] = '.';
        out[o++] = '0';
    }
    return o;
}

static bool print_float(struct jrun *r, struct jsink *sink, double f)
{
    char text[40];
    return jsink_add(r, sink, (struct str){text, jformat_float(f, text)});
}

static bool print_int(struct jrun *r, struct jsink *sink, int64_t i)
{
    char text[24];
    return jsink_add(r, sink, (struct str){text, (size_t)sprintf(text, "%" PRId64, i)});
}

static bool repr_str(struct jrun *r, struct jsink *sink, struct str s)
{
    char quote = s.len && memchr(s.ptr, '\'', s.len) && !memchr(s.ptr, '"', s.len) ? '"' : '\'';
    if (!jsink_char(r, sink, quote))
        return false;
    for (size_t at = 0, n, from = 0;; at += n) {
        char text[16];
        size_t len = 0;
        uint32_t cp = 0;
        n = 0;
        if (at < s.len) {
            cp = u8_get(s.ptr + at, &n);
            if (cp == (uint32_t)quote || cp == '\\')
                len = (size_t)sprintf(text, "\\%c", (char)cp);
            else if (cp == '\n' || cp == '\r' || cp == '\t')
                len = (size_t)sprintf(text, "\\%c", cp == '\n' ? 'n' : cp == '\r' ? 'r' : 't');
            else if (!u_is_printable(cp))
                len = (size_t)sprintf(text,
                                      cp < 0x100     ? "\\x%02x"
                                      : cp < 0x10000 ? "\\u%04x"
                                                     : "\\U%08x",
                                      cp);
            if (!len)
                continue;
        }
        if (!jsink_add(r, sink, str_sub(s, from, at - from)) ||
            !jsink_add(r, sink, (struct str){text, len}))
            return false;
        from = at + n;
        if (at >= s.len)
            return jsink_char(r, sink, quote);
    }
}

static bool repr_items(struct jrun *r, struct jsink *sink, const struct jlist *l, const char *open,
                       const char *close)
{
    if (!jsink_z(r, sink, open))
        return false;
    for (size_t i = 0; i < l->n; i++)
        if ((i && !jsink_z(r, sink, ", ")) || !jprint_repr(r, sink, l->item[i]))
            return false;
    return jsink_z(r, sink, close);
}

static bool repr_dict(struct jrun *r, struct jsink *sink, const struct jdict *d)
{
    if (!jsink_char(r, sink, '{'))
        return false;
    for (size_t i = 0; i < d->n; i++)
        if ((i && !jsink_z(r, sink, ", ")) || !jprint_repr(r, sink, d->pair[i].key) ||
            !jsink_z(r, sink, ": ") || !jprint_repr(r, sink, d->pair[i].value))
            return false;
    return jsink_char(r, sink, '}');
}

static bool repr_range(struct jrun *r, struct jsink *sink, const struct jrange *g)
{
    char text[100];
    if (g->step == 1)
        snprintf(text, sizeof(text), "range(%" PRId64 ", %" PRId64 ")", g->start, g->stop);
    else
        snprintf(text, sizeof(text), "range(%" PRId64 ", %" PRId64 ", %" PRId64 ")", g->start,
                 g->stop, g->step);
    return jsink_z(r, sink, text);
}

static bool repr_container(struct jrun *r, struct jsink *sink, struct jval v)
{
    switch (v.kind) {
    case J_LIST:
        return repr_items(r, sink, v.l, "[", "]");
    case J_TUPLE:
        return repr_items(r, sink, v.l, "(", v.l->n == 1 ? ",)" : ")");
    case J_VIEW:
        return repr_items(r, sink, v.l,
                          v.l->view == VIEW_KEYS     ? "dict_keys(["
                          : v.l->view == VIEW_VALUES ? "dict_values(["
                                                     : "dict_items([",
                          "])");
    case J_DICT:
        return repr_dict(r, sink, v.d);
    default: /* J_NAMESPACE */
        return jsink_z(r, sink, "<Namespace ") && repr_dict(r, sink, v.d) &&
               jsink_char(r, sink, '>');
    }
}

bool jprint_repr(struct jrun *r, struct jsink *sink, struct jval v)
{
    bool ok;
    if (!jstep(r, 1))
        return false;
    switch (v.kind) {
    case J_STR:
        if (!v.markup)
            return repr_str(r, sink, jv_text(v));
        return jsink_z(r, sink, "Markup(") && repr_str(r, sink, jv_text(v)) &&
               jsink_char(r, sink, ')');
    case J_UNDEFINED:
        return jsink_z(r, sink, "Undefined");
    case J_LIST:
    case J_TUPLE:
    case J_VIEW:
    case J_DICT:
    case J_NAMESPACE:
        if (!jenter(r))
            return false;
        ok = repr_container(r, sink, v);
        r->depth--;
        return ok;
    default:
        return jprint_str(r, sink, v);
    }
}

bool jprint_str(struct jrun *r, struct jsink *sink, struct jval v)
{
    char text[200];
    switch (v.kind) {
    case J_STR:
        return jsink_add(r, sink, jv_text(v));
    case J_UNDEFINED:
        return true;
    case J_NONE:
        return jsink_z(r, sink, "None");
    case J_BOOL:
        return jsink_z(r, sink, v.b ? "True" : "False");
    case J_INT:
        return print_int(r, sink, v.i);
    case J_FLOAT:
        return print_float(r, sink, v.f);
    case J_RANGE:
        return repr_range(r, sink, v.range);
    case J_LOOP:
        snprintf(text, sizeof(text), "<LoopContext %zu/%zu>", v.loop->index0 + 1, v.loop->items->n);
        return jsink_z(r, sink, text);
    case J_LIST:
    case J_TUPLE:
    case J_VIEW:
    case J_DICT:
    case J_NAMESPACE:
        return jprint_repr(r, sink, v);
    default: /* what Python prints has an address in it: nothing a prompt may depend on */
        snprintf(text, sizeof(text), "<%s>", jtype_name(v));
        return jsink_z(r, sink, text);
    }
}

bool jto_str(struct jrun *r, struct jval v, struct jval *ret)
{
    if (v.kind == J_STR) {
        *ret = v;
        ret->markup = 0;
        return true;
    }
    struct jsink sink = {0};
    return jprint_str(r, &sink, v) && jsink_string(r, &sink, ret);
}

/* --- JSON --- */

static bool print_json_string(struct jrun *r, struct jsink *sink, struct str s, bool ascii)
{
    if (!jsink_char(r, sink, '"'))
        return false;
    size_t from = 0, n;
    for (size_t at = 0; at < s.len; at += n) {
        static const char FROM[] = "\"\\\n\r\t\f\b", TO[] = "\"\\nrtfb";
        char text[16];
        uint32_t cp = u8_get(s.ptr + at, &n);
        const char *hit = cp && cp < 0x80 ? strchr(FROM, (int)cp) : NULL;
        if (hit)
            sprintf(text, "\\%c", TO[hit - FROM]);
        else if (cp < 0x20 || (ascii && cp >= 0x7f && cp < 0x10000))
            sprintf(text, "\\u%04x", cp);
        else if (ascii && cp >= 0x10000)
            sprintf(text, "\\u%04x\\u%04x", 0xd800 + ((cp - 0x10000) >> 10),
                    0xdc00 + ((cp - 0x10000) & 0x3ff));
        else
            continue;
        if (!jsink_add(r, sink, str_sub(s, from, at - from)) || !jsink_z(r, sink, text))
            return false;
        from = at + n;
    }
    return jsink_add(r, sink, str_from(s, from)) && jsink_char(r, sink, '"');
}

static bool print_json_newline(struct jrun *r, struct jsink *sink, const struct jjson_style *style,
                               int level)
{
    if (!style->has_indent)
        return true;
    if (!jsink_char(r, sink, '\n'))
        return false;
    for (int i = 0; i < level; i++)
        if (!jsink_add(r, sink, style->indent))
            return false;
    return true;
}

static bool print_json_value(struct jrun *r, struct jsink *sink, struct jval v,
                             const struct jjson_style *style, int level);

static bool print_json_list(struct jrun *r, struct jsink *sink, const struct jlist *l,
                            const struct jjson_style *style, int level)
{
    if (l->n == 0)
        return jsink_z(r, sink, "[]");
    if (!jsink_char(r, sink, '['))
        return false;
    for (size_t i = 0; i < l->n; i++)
        if ((i && !jsink_add(r, sink, style->item_sep)) ||
            !print_json_newline(r, sink, style, level + 1) ||
            !print_json_value(r, sink, l->item[i], style, level + 1))
            return false;
    return print_json_newline(r, sink, style, level) && jsink_char(r, sink, ']');
}

/* A key as text: strings as they are; numbers, booleans and none as their JSON form. */
static bool print_json_key(struct jrun *r, struct jsink *sink, struct jval key,
                           const struct jjson_style *style)
{
    if (key.kind == J_STR)
        return print_json_string(r, sink, jv_text(key), style->ensure_ascii);
    if (key.kind != J_NONE && !jv_is_number(key))
        return jfail(r, "keys must be str, int, float, bool or None, not %s", jtype_name(key));
    return jsink_char(r, sink, '"') && print_json_value(r, sink, key, style, 0) &&
           jsink_char(r, sink, '"');
}

static bool print_json_dict(struct jrun *r, struct jsink *sink, const struct jdict *d,
                            const struct jjson_style *style, int level)
{
    if (d->n == 0)
        return jsink_z(r, sink, "{}");
    struct jval *at = jalloc_array(r, d->n, sizeof(*at)),
                *keys = jalloc_array(r, d->n, sizeof(*at));
    if (!at || !keys || !jsink_char(r, sink, '{'))
        return false;
    for (size_t i = 0; i < d->n; i++) {
        at[i] = jv_int((int64_t)i);
        keys[i] = d->pair[i].key;
    }
    if (style->sort_keys && !jsort(r, at, keys, d->n, false))
        return false;
    for (size_t i = 0; i < d->n; i++) {
        const struct jpair *p = &d->pair[at[i].i];
        if ((i && !jsink_add(r, sink, style->item_sep)) ||
            !print_json_newline(r, sink, style, level + 1) ||
            !print_json_key(r, sink, p->key, style) || !jsink_add(r, sink, style->key_sep) ||
            !print_json_value(r, sink, p->value, style, level + 1))
            return false;
    }
    return print_json_newline(r, sink, style, level) && jsink_char(r, sink, '}');
}

static bool print_json_value(struct jrun *r, struct jsink *sink, struct jval v,
                             const struct jjson_style *style, int level)
{
    bool ok;
    if (!jstep(r, 1))
        return false;
    switch (v.kind) {
    case J_STR:
        return print_json_string(r, sink, jv_text(v), style->ensure_ascii);
    case J_NONE:
        return jsink_z(r, sink, "null");
    case J_BOOL:
        return jsink_z(r, sink, v.b ? "true" : "false");
    case J_INT:
        return print_int(r, sink, v.i);
    case J_FLOAT:
        if (isnan(v.f) || isinf(v.f))
            return jsink_z(r, sink, isnan(v.f) ? "NaN" : v.f < 0 ? "-Infinity" : "Infinity");
        return print_float(r, sink, v.f);
    case J_LIST:
    case J_TUPLE:
    case J_DICT:
        if (!jenter(r))
            return false;
        ok = v.kind == J_DICT ? print_json_dict(r, sink, v.d, style, level)
                              : print_json_list(r, sink, v.l, style, level);
        r->depth--;
        return ok;
    default:
        return jfail(r, "Object of type %s is not JSON serializable", jtype_name(v));
    }
}

bool jprint_json(struct jrun *r, struct jsink *sink, struct jval v, const struct jjson_style *style)
{
    return print_json_value(r, sink, v, style, 0);
}
