/*
 * jinja_method: the methods of str, list, tuple and dict that chat templates may call.
 *
 * Left out: what changes a list or dict (the sandbox forbids it), encode, translate, maketrans.
 */
#include "base/mem.h"
#include "text/jinja_str.h"
#include "text/jinja_utf8.h"

#include <string.h>

#define METHOD(name)                                                                               \
    static bool name(struct jrun *r, struct jval self, const struct jargs *args, struct jval *ret)

/* Arguments that Python takes by position only. */
static bool positional(struct jrun *r, const char *fn, const struct jargs *args, size_t least,
                       size_t most, struct jval *out)
{
    if (args->n_kw)
        return jfail(r, "%s() takes no keyword arguments", fn);
    if (args->n_pos < least || args->n_pos > most)
        return jfail(r, "%s() takes %zu to %zu arguments, %zu are given", fn, least, most,
                     args->n_pos);
    for (size_t i = 0; i < most; i++)
        out[i] = i < args->n_pos ? args->pos[i] : (struct jval){.kind = J_MISSING};
    return true;
}

static bool no_args(struct jrun *r, const struct jargs *args)
{
    if (args->n_pos || args->n_kw)
        return jfail(r, "this method takes no arguments");
    return true;
}

/* --- case --- */

static bool case_method(struct jrun *r, struct jval self, const struct jargs *args, enum jcase how,
                        struct jval *ret)
{
    struct jsink sink = {0};
    if (!no_args(r, args) || !jstr_case(r, jv_text(self), how, &sink) ||
        !jsink_string(r, &sink, ret))
        return false;
    ret->markup = self.markup;
    return true;
}

METHOD(m_lower)
{
    return case_method(r, self, args, CASE_LOWER, ret);
}
METHOD(m_upper)
{
    return case_method(r, self, args, CASE_UPPER, ret);
}
METHOD(m_title)
{
    return case_method(r, self, args, CASE_TITLE, ret);
}
METHOD(m_capitalize)
{
    return case_method(r, self, args, CASE_CAPITALIZE, ret);
}
METHOD(m_swapcase)
{
    return case_method(r, self, args, CASE_SWAP, ret);
}
METHOD(m_casefold)
{
    return case_method(r, self, args, CASE_FOLD, ret);
}

/* --- stripping and cutting --- */

METHOD(m_strip)
{
    struct jval chars;
    return positional(r, "strip", args, 0, 1, &chars) &&
           jstr_strip(r, self, chars, STRIP_BOTH, ret);
}
METHOD(m_lstrip)
{
    struct jval chars;
    return positional(r, "lstrip", args, 0, 1, &chars) &&
           jstr_strip(r, self, chars, STRIP_LEFT, ret);
}
METHOD(m_rstrip)
{
    struct jval chars;
    return positional(r, "rstrip", args, 0, 1, &chars) &&
           jstr_strip(r, self, chars, STRIP_RIGHT, ret);
}

METHOD(m_removeprefix)
{
    struct jval v;
    struct str cut;
    if (!positional(r, "removeprefix", args, 1, 1, &v) || !jarg_str(r, v, STR(""), &cut))
        return false;
    size_t n = str_starts(jv_text(self), cut) ? cut.len : 0;
    return jstr_slice(r, self, n, self.s->len - n, ret);
}
METHOD(m_removesuffix)
{
    struct jval v;
    struct str cut;
    if (!positional(r, "removesuffix", args, 1, 1, &v) || !jarg_str(r, v, STR(""), &cut))
        return false;
    size_t n = str_ends(jv_text(self), cut) ? cut.len : 0;
    return jstr_slice(r, self, 0, self.s->len - n, ret);
}

METHOD(m_replace)
{
    struct jval v[3];
    struct str from, to;
    int64_t count;
    if (!positional(r, "replace", args, 2, 3, v) || !jarg_str(r, v[0], STR(""), &from) ||
        !jarg_str(r, v[1], STR(""), &to) || !jarg_int(r, v[2], -1, &count) ||
        !jstr_replace(r, self, from, to, count, ret))
        return false;
    ret->markup = self.markup;
    return true;
}

METHOD(m_splitlines)
{
    struct jval keep;
    struct jlist *l;
    if (!jargs_bind(r, "splitlines", args, "keepends", 0, &keep) ||
        !jstr_splitlines(r, self, jtruth(keep), &l))
        return false;
    *ret = jv_list(l);
    return true;
}

static bool push_slice(struct jrun *r, struct jlist *l, struct jval s, size_t from, size_t to)
{
    struct jval part;
    return jstr_slice(r, s, from, to - from, &part) && jlist_push(r, l, part);
}

static void reverse_items(struct jlist *l)
{
    for (size_t i = 0; i + 1 < l->n - i; i++) {
        struct jval swap = l->item[i];
        l->item[i] = l->item[l->n - 1 - i];
        l->item[l->n - 1 - i] = swap;
    }
}

static size_t space_run(struct str s, size_t at, bool spaces)
{
    size_t n;
    while (at < s.len && u_is_space(u8_get(s.ptr + at, &n)) == spaces)
        at += n;
    return at;
}

static size_t space_run_back(struct str s, size_t at, bool spaces)
{
    size_t n;
    while (at > 0) {
        size_t start = u8_prev(s, at);
        if (u_is_space(u8_get(s.ptr + start, &n)) != spaces)
            break;
        at = start;
    }
    return at;
}

static bool split_space(struct jrun *r, struct jval s, int64_t max, bool right, struct jlist *l)
{
    struct str t = jv_text(s);
    if (!right) {
        size_t at = space_run(t, 0, true);
        for (; at < t.len && max != 0; max -= max > 0) {
            size_t end = space_run(t, at, false);
            if (!push_slice(r, l, s, at, end))
                return false;
            at = space_run(t, end, true);
        }
        return at >= t.len || push_slice(r, l, s, at, t.len);
    }
    size_t at = space_run_back(t, t.len, true);
    for (; at > 0 && max != 0; max -= max > 0) {
        size_t start = space_run_back(t, at, false);
        if (!push_slice(r, l, s, start, at))
            return false;
        at = space_run_back(t, start, true);
    }
    if (at > 0 && !push_slice(r, l, s, 0, at))
        return false;
    if (l->n)
        reverse_items(l);
    return true;
}

/* The last place of `needle` in s, or -1. Compares place by place, so that it is charged for. */
static ptrdiff_t find_last(struct jrun *r, struct str s, struct str needle)
{
    if (needle.len > s.len || !jstep(r, s.len / 64))
        return -1;
    if (needle.len == 0)
        return (ptrdiff_t)s.len;
    for (size_t at = s.len - needle.len + 1; at-- > 0;) {
        const char *p = memrchr(s.ptr, needle.ptr[0], at + 1);
        if (!p || !jstep(r, 1 + needle.len / 64))
            return -1;
        at = (size_t)(p - s.ptr);
        if (memcmp(p, needle.ptr, needle.len) == 0)
            return (ptrdiff_t)at;
    }
    return -1;
}

static bool split_sep(struct jrun *r, struct jval s, struct str sep, int64_t max, bool right,
                      struct jlist *l)
{
    struct str t = jv_text(s);
    size_t from = 0, to = t.len;
    if (sep.len == 0)
        return jfail(r, "empty separator");
    for (; max != 0; max -= max > 0) {
        struct str rest = str_sub(t, from, to - from);
        ptrdiff_t i = right ? find_last(r, rest, sep) : str_find(rest, sep);
        if (i < 0)
            break;
        size_t cut = from + (size_t)i;
        if (right ? !push_slice(r, l, s, cut + sep.len, to) : !push_slice(r, l, s, from, cut))
            return false;
        *(right ? &to : &from) = right ? cut : cut + sep.len;
    }
    if (r->fail_code || !push_slice(r, l, s, from, to))
        return false;
    if (right)
        reverse_items(l);
    return true;
}

static bool split_any(struct jrun *r, struct jval self, const struct jargs *args, bool right,
                      struct jval *ret)
{
    struct jval v[2];
    int64_t max;
    struct str sep;
    struct jlist *l = jlist_new(r, 0);
    if (!l || !jargs_bind(r, "split", args, "sep maxsplit", 0, v) || !jarg_int(r, v[1], -1, &max) ||
        !jstep(r, self.s->len / 64))
        return false;
    *ret = jv_list(l);
    if (v[0].kind == J_MISSING || v[0].kind == J_NONE)
        return split_space(r, self, max, right, l);
    return jarg_str(r, v[0], STR(""), &sep) && split_sep(r, self, sep, max, right, l);
}

METHOD(m_split)
{
    return split_any(r, self, args, false, ret);
}
METHOD(m_rsplit)
{
    return split_any(r, self, args, true, ret);
}

static bool partition_at(struct jrun *r, struct jval s, ptrdiff_t i, struct jval sep, bool right,
                         struct jval *ret)
{
    struct jlist *l = jlist_new(r, 3);
    struct jval empty, a, b;
    if (!l || !jstr_view(r, STR(""), &empty))
        return false;
    if (i < 0) {
        a = right ? empty : s;
        b = right ? s : empty;
        sep = empty;
    } else if (!jstr_slice(r, s, 0, (size_t)i, &a) ||
               !jstr_slice(r, s, (size_t)i + sep.s->len, s.s->len, &b)) {
        return false;
    }
    *ret = (struct jval){.kind = J_TUPLE, .l = l};
    return jlist_push(r, l, a) && jlist_push(r, l, sep) && jlist_push(r, l, b);
}

static bool partition_any(struct jrun *r, struct jval self, const struct jargs *args, bool right,
                          struct jval *ret)
{
    struct jval sep;
    struct str text;
    if (!positional(r, "partition", args, 1, 1, &sep) || !jarg_str(r, sep, STR(""), &text) ||
        !jstep(r, self.s->len / 64))
        return false;
    if (text.len == 0)
        return jfail(r, "empty separator");
    ptrdiff_t i = right ? find_last(r, jv_text(self), text) : str_find(jv_text(self), text);
    return !r->fail_code && partition_at(r, self, i, sep, right, ret);
}

METHOD(m_partition)
{
    return partition_any(r, self, args, false, ret);
}
METHOD(m_rpartition)
{
    return partition_any(r, self, args, true, ret);
}

/* --- finding --- */

/* The part [start, end) in code points, as bytes; false in *ret_ok when start lies behind. */
static bool window(struct jrun *r, struct jval s, const struct jval bound[2], struct str *ret,
                   size_t *ret_from, bool *ret_ok)
{
    int64_t len = (int64_t)jstr_chars(r, s.s), at[2];
    for (int i = 0; i < 2; i++) {
        struct jval v = bound[i].kind == J_NONE ? (struct jval){.kind = J_MISSING} : bound[i];
        if (!jarg_int(r, v, i ? len : 0, &at[i]))
            return false;
        if (at[i] < 0)
            at[i] = at[i] + len < 0 ? 0 : at[i] + len;
    }
    if (at[1] > len)
        at[1] = len;
    *ret_ok = at[0] <= at[1];
    if (!*ret_ok)
        return true;
    size_t from = jstr_offset(s.s, (size_t)at[0]), to = jstr_offset(s.s, (size_t)at[1]);
    *ret = str_sub(jv_text(s), from, to - from);
    *ret_from = (size_t)at[0];
    return jstep(r, s.s->len / 64);
}

static bool find_any(struct jrun *r, struct jval self, const struct jargs *args, bool right,
                     bool must, struct jval *ret)
{
    struct jval v[3];
    struct str needle, part = {0};
    size_t first = 0;
    bool ok;
    if (!positional(r, "find", args, 1, 3, v) || !jarg_str(r, v[0], STR(""), &needle) ||
        !window(r, self, v + 1, &part, &first, &ok))
        return false;
    ptrdiff_t i = !ok ? -1 : right ? find_last(r, part, needle) : str_find(part, needle);
    if (r->fail_code)
        return false;
    if (i < 0 && must)
        return jfail(r, "substring not found");
    *ret = jv_int(i < 0 ? -1 : (int64_t)(first + u8_count(str_sub(part, 0, (size_t)i))));
    return true;
}

METHOD(m_find)
{
    return find_any(r, self, args, false, false, ret);
}
METHOD(m_rfind)
{
    return find_any(r, self, args, true, false, ret);
}
METHOD(m_index)
{
    return find_any(r, self, args, false, true, ret);
}
METHOD(m_rindex)
{
    return find_any(r, self, args, true, true, ret);
}

METHOD(m_count)
{
    struct jval v[3];
    struct str needle, part = {0};
    size_t first;
    bool ok;
    if (!positional(r, "count", args, 1, 3, v) || !jarg_str(r, v[0], STR(""), &needle) ||
        !window(r, self, v + 1, &part, &first, &ok))
        return false;
    int64_t n = 0;
    ptrdiff_t i;
    if (ok && needle.len == 0)
        n = (int64_t)u8_count(part) + 1;
    while (ok && needle.len && (i = str_find(part, needle)) >= 0) {
        part = str_from(part, (size_t)i + needle.len);
        n++;
    }
    *ret = jv_int(n);
    return true;
}

static bool affix(struct jrun *r, struct jval self, const struct jargs *args, bool end,
                  struct jval *ret)
{
    struct jval v[3];
    struct str part = {0};
    size_t first;
    bool ok, hit = false;
    if (!positional(r, end ? "endswith" : "startswith", args, 1, 3, v) ||
        !window(r, self, v + 1, &part, &first, &ok))
        return false;
    const struct jval *option = v[0].kind == J_TUPLE ? v[0].l->item : v;
    size_t n = v[0].kind == J_TUPLE ? v[0].l->n : 1;
    for (size_t i = 0; i < n && !hit; i++) {
        struct str s;
        if (!jarg_str(r, option[i], STR(""), &s) || !jstep(r, 1))
            return false;
        hit = ok && (end ? str_ends(part, s) : str_starts(part, s));
    }
    *ret = jv_bool(hit);
    return true;
}

METHOD(m_startswith)
{
    return affix(r, self, args, false, ret);
}
METHOD(m_endswith)
{
    return affix(r, self, args, true, ret);
}

/* --- padding and joining --- */

static bool pad_any(struct jrun *r, struct jval self, const struct jargs *args, enum jpad where,
                    struct jval *ret)
{
    struct jval v[2];
    int64_t width;
    struct str fill;
    return positional(r, "pad", args, 1, 2, v) && jarg_int(r, v[0], 0, &width) &&
           jarg_str(r, v[1], STR(" "), &fill) && jstr_pad(r, self, width, fill, where, ret);
}

METHOD(m_center)
{
    return pad_any(r, self, args, PAD_CENTER, ret);
}
METHOD(m_ljust)
{
    return pad_any(r, self, args, PAD_RIGHT, ret);
}
METHOD(m_rjust)
{
    return pad_any(r, self, args, PAD_LEFT, ret);
}

METHOD(m_zfill)
{
    struct jval v, rest, padded;
    int64_t width;
    if (!positional(r, "zfill", args, 1, 1, &v) || !jarg_int(r, v, 0, &width))
        return false;
    bool sign = self.s->len && (self.s->ptr[0] == '-' || self.s->ptr[0] == '+');
    if (!sign)
        return jstr_pad(r, self, width, STR("0"), PAD_LEFT, ret);
    return jstr_slice(r, self, 1, self.s->len - 1, &rest) &&
           jstr_pad(r, rest, width - 1, STR("0"), PAD_LEFT, &padded) &&
           jstr_slice(r, self, 0, 1, &v) && jstr_concat(r, v, padded, ret);
}

METHOD(m_expandtabs)
{
    struct jval v;
    int64_t tab, column = 0;
    struct jsink sink = {0};
    struct str t = jv_text(self);
    size_t n;
    if (!jargs_bind(r, "expandtabs", args, "tabsize", 0, &v) || !jarg_int(r, v, 8, &tab))
        return false;
    for (size_t at = 0; at < t.len; at += n) {
        n = u8_len((unsigned char)t.ptr[at]);
        if (t.ptr[at] == '\t') {
            for (int64_t k = tab > 0 ? tab - column % tab : 0; k > 0; k--, column++)
                if (!jstep(r, 1) || !jsink_char(r, &sink, ' '))
                    return false;
            continue;
        }
        column = t.ptr[at] == '\n' || t.ptr[at] == '\r' ? 0 : column + 1;
        if (!jstep(r, 1) || !jsink_add(r, &sink, str_sub(t, at, n)))
            return false;
    }
    return jsink_string(r, &sink, ret);
}

METHOD(m_join)
{
    struct jval v;
    struct jlist *items;
    struct jsink sink = {0};
    if (!positional(r, "join", args, 1, 1, &v) || !jitems(r, v, &items))
        return false;
    for (size_t i = 0; i < items->n; i++) {
        if (items->item[i].kind != J_STR)
            return jfail(r, "sequence item %zu: expected str instance, %s found", i,
                         jtype_name(items->item[i]));
        if (!jstep(r, 1) || (i && !jsink_add(r, &sink, jv_text(self))) ||
            !jsink_add(r, &sink, jv_text(items->item[i])))
            return false;
    }
    return jsink_string(r, &sink, ret);
}

METHOD(m_format)
{
    return jformat_braces(r, self, args, ret);
}

METHOD(m_format_map)
{
    struct jval v = {0};
    if (!positional(r, "format_map", args, 1, 1, &v))
        return false;
    if (v.kind != J_DICT)
        return jfail(r, "format_map() needs a mapping");
    struct jargs named = {.n_kw = 0};
    if (!(named.kw = jalloc_array(r, v.d->n + 1, sizeof(*named.kw))))
        return false;
    for (size_t i = 0; i < v.d->n; i++)
        if (v.d->pair[i].key.kind == J_STR)
            named.kw[named.n_kw++] = (struct jkwarg){jv_text(v.d->pair[i].key), v.d->pair[i].value};
    return jformat_braces(r, self, &named, ret);
}

/* --- questions --- */

static bool is_ascii(uint32_t cp)
{
    return cp < 0x80;
}

static bool ask(struct jrun *r, struct jval self, const struct jargs *args, jcp_test test,
                bool empty, struct jval *ret)
{
    *ret = jv_bool(jstr_all(jv_text(self), test) || (empty && self.s->len == 0));
    return no_args(r, args) && jstep(r, self.s->len / 8);
}

METHOD(m_isalnum)
{
    return ask(r, self, args, u_is_alnum, false, ret);
}
METHOD(m_isalpha)
{
    return ask(r, self, args, u_is_alpha, false, ret);
}
METHOD(m_isascii)
{
    return ask(r, self, args, is_ascii, true, ret);
}
METHOD(m_isdecimal)
{
    return ask(r, self, args, u_is_decimal, false, ret);
}
METHOD(m_isdigit)
{
    return ask(r, self, args, u_is_digit, false, ret);
}
METHOD(m_isnumeric)
{
    return ask(r, self, args, u_is_numeric, false, ret);
}
METHOD(m_isspace)
{
    return ask(r, self, args, u_is_space, false, ret);
}
METHOD(m_isprintable)
{
    return ask(r, self, args, u_is_printable, true, ret);
}

METHOD(m_isidentifier)
{
    size_t n;
    bool ok = jstr_all(jv_text(self), u_is_id_continue) && u_is_id_start(u8_get(self.s->ptr, &n));
    *ret = jv_bool(ok);
    return no_args(r, args) && jstep(r, self.s->len / 8);
}

METHOD(m_isupper)
{
    *ret = jv_bool(jstr_is_case(jv_text(self), true));
    return no_args(r, args) && jstep(r, self.s->len / 8);
}
METHOD(m_islower)
{
    *ret = jv_bool(jstr_is_case(jv_text(self), false));
    return no_args(r, args) && jstep(r, self.s->len / 8);
}

METHOD(m_istitle)
{
    bool any = false, cased = false, ok = true;
    size_t n;
    for (size_t at = 0; ok && at < self.s->len; at += n) {
        uint32_t cp = u8_get(self.s->ptr + at, &n);
        if (u_is_upper(cp) || u_is_title(cp)) {
            ok = !cased;
            cased = any = true;
        } else if (u_is_lower(cp)) {
            ok = cased;
            cased = any = true;
        } else {
            cased = false;
        }
    }
    *ret = jv_bool(ok && any);
    return no_args(r, args) && jstep(r, self.s->len / 8);
}

/* --- list, tuple --- */

METHOD(l_count)
{
    struct jval v;
    int64_t n = 0;
    if (!positional(r, "count", args, 1, 1, &v))
        return false;
    for (size_t i = 0; i < self.l->n; i++) {
        bool same;
        if (!jstep(r, 1) || !jequal(r, self.l->item[i], v, &same))
            return false;
        n += same;
    }
    *ret = jv_int(n);
    return true;
}

METHOD(l_index)
{
    struct jval v[3];
    int64_t at[2], len = (int64_t)self.l->n;
    if (!positional(r, "index", args, 1, 3, v))
        return false;
    for (int k = 0; k < 2; k++) {
        if (!jarg_int(r, v[k + 1], k ? len : 0, &at[k]))
            return false;
        if (at[k] < 0)
            at[k] = at[k] + len < 0 ? 0 : at[k] + len;
    }
    for (int64_t i = at[0]; i < len && i < at[1]; i++) {
        bool same;
        if (!jstep(r, 1) || !jequal(r, self.l->item[i], v[0], &same))
            return false;
        if (same) {
            *ret = jv_int(i);
            return true;
        }
    }
    return jfail(r, "the value is not in the list");
}

METHOD(l_copy)
{
    *ret = self; /* nothing can change either of them */
    return no_args(r, args);
}

METHOD(r_count)
{
    struct jlist *l;
    return jitems(r, self, &l) && l_count(r, jv_list(l), args, ret);
}

METHOD(r_index)
{
    struct jlist *l;
    struct jval v;
    return positional(r, "index", args, 1, 1, &v) && jitems(r, self, &l) &&
           l_index(r, jv_list(l), args, ret);
}

/* --- dict --- */

static bool dict_view(struct jrun *r, struct jval self, const struct jargs *args, enum jview view,
                      struct jval *ret)
{
    struct jlist *l = jlist_new(r, self.d->n);
    if (!l || !no_args(r, args))
        return false;
    l->view = view;
    for (size_t i = 0; i < self.d->n; i++) {
        struct jpair *p = &self.d->pair[i];
        struct jval item = view == VIEW_KEYS ? p->key : p->value;
        if ((view == VIEW_ITEMS && !jtuple2(r, p->key, p->value, &item)) || !jlist_push(r, l, item))
            return false;
    }
    *ret = (struct jval){.kind = J_VIEW, .l = l};
    return true;
}

METHOD(d_keys)
{
    return dict_view(r, self, args, VIEW_KEYS, ret);
}
METHOD(d_values)
{
    return dict_view(r, self, args, VIEW_VALUES, ret);
}
METHOD(d_items)
{
    return dict_view(r, self, args, VIEW_ITEMS, ret);
}

METHOD(d_get)
{
    struct jval v[2];
    struct jpair *p;
    if (!positional(r, "get", args, 1, 2, v) || !jdict_find(r, self.d, v[0], &p))
        return false;
    *ret = p ? p->value : v[1].kind == J_MISSING ? jv_none() : v[1];
    return true;
}

#undef METHOD

#define ENTRY(prefix, name)                                                                        \
    {                                                                                              \
#name, prefix##name,                                                                       \
        {                                                                                          \
            .kind = J_MISSING                                                                      \
        }                                                                                          \
    }

static const struct jfunc STR_METHODS[] = {
    ENTRY(m_, capitalize),   ENTRY(m_, casefold),     ENTRY(m_, center),
    ENTRY(m_, count),        ENTRY(m_, endswith),     ENTRY(m_, expandtabs),
    ENTRY(m_, find),         ENTRY(m_, format),       ENTRY(m_, format_map),
    ENTRY(m_, index),        ENTRY(m_, isalnum),      ENTRY(m_, isalpha),
    ENTRY(m_, isascii),      ENTRY(m_, isdecimal),    ENTRY(m_, isdigit),
    ENTRY(m_, isidentifier), ENTRY(m_, islower),      ENTRY(m_, isnumeric),
    ENTRY(m_, isprintable),  ENTRY(m_, isspace),      ENTRY(m_, istitle),
    ENTRY(m_, isupper),      ENTRY(m_, join),         ENTRY(m_, ljust),
    ENTRY(m_, lower),        ENTRY(m_, lstrip),       ENTRY(m_, partition),
    ENTRY(m_, removeprefix), ENTRY(m_, removesuffix), ENTRY(m_, replace),
    ENTRY(m_, rfind),        ENTRY(m_, rindex),       ENTRY(m_, rjust),
    ENTRY(m_, rpartition),   ENTRY(m_, rsplit),       ENTRY(m_, rstrip),
    ENTRY(m_, split),        ENTRY(m_, splitlines),   ENTRY(m_, startswith),
    ENTRY(m_, strip),        ENTRY(m_, swapcase),     ENTRY(m_, title),
    ENTRY(m_, upper),        ENTRY(m_, zfill),        {NULL},
};

static const struct jfunc LIST_METHODS[] = {
    ENTRY(l_, count), ENTRY(l_, index), ENTRY(l_, copy), {NULL}};
static const struct jfunc TUPLE_METHODS[] = {ENTRY(l_, count), ENTRY(l_, index), {NULL}};
static const struct jfunc RANGE_METHODS[] = {ENTRY(r_, count), ENTRY(r_, index), {NULL}};
static const struct jfunc DICT_METHODS[] = {ENTRY(d_, keys), ENTRY(d_, values), ENTRY(d_, items),
                                            ENTRY(d_, get),  ENTRY(l_, copy),   {NULL}};

static bool is_forbidden(struct jval obj, struct str name)
{
    static const char *const LIST[] = {"append",  "clear",  "extend", "insert", "pop",
                                       "reverse", "remove", "sort",   NULL};
    static const char *const DICT[] = {"clear", "pop", "popitem", "setdefault", "update", NULL};
    if (obj.kind != J_LIST && obj.kind != J_DICT)
        return false;
    for (const char *const *w = obj.kind == J_LIST ? LIST : DICT; *w; w++)
        if (str_eq_z(name, *w))
            return true;
    return false;
}

bool jmethod_find(struct jrun *r, struct jval obj, struct str name, struct jval *ret)
{
    const struct jfunc *f = obj.kind == J_STR     ? STR_METHODS
                            : obj.kind == J_LIST  ? LIST_METHODS
                            : obj.kind == J_DICT  ? DICT_METHODS
                            : obj.kind == J_RANGE ? RANGE_METHODS
                                                  : TUPLE_METHODS;
    if (is_forbidden(obj, name))
        return jundefined_text(r, "a template may not change a list or a dict", ret);
    for (; f->name; f++)
        if (str_eq_z(name, f->name))
            return jbind(r, f, obj, ret);
    return true;
}
