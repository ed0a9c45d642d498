/*
 * jinja_str: what Python's str does, on UTF-8: case, stripping, replacing, lines, padding.
 * The methods themselves: jinja_method.c.
 */
#include "text/jinja_str.h"

#include "base/mem.h"
#include "text/jinja_utf8.h"

#include <string.h>
#include <utf8proc.h>

/* --- case --- */

/* Is the capital sigma at `at` the last letter of a word? (Unicode's Final_Sigma) */
static bool final_sigma(struct str s, size_t at)
{
    size_t i = at, n;
    bool before = false;
    while (i > 0) {
        i = u8_prev(s, i);
        uint32_t cp = u8_get(s.ptr + i, &n);
        if (u_is_case_ignorable(cp))
            continue;
        before = u_is_cased(cp);
        break;
    }
    if (!before)
        return false;
    for (i = at + 2; i < s.len; i += n) {
        uint32_t cp = u8_get(s.ptr + i, &n);
        if (!u_is_case_ignorable(cp))
            return !u_is_cased(cp);
    }
    return true;
}

static size_t lower_at(struct str s, size_t at, uint32_t cp, uint32_t out[4])
{
    if (cp == 0x3a3) {
        out[0] = final_sigma(s, at) ? 0x3c2 : 0x3c3;
        return 1;
    }
    return u_to_lower(cp, out);
}

static size_t fold(uint32_t cp, uint32_t out[4])
{
    utf8proc_int32_t folded[4];
    int boundary = 0;
    utf8proc_ssize_t n =
        utf8proc_decompose_char((utf8proc_int32_t)cp, folded, 4, UTF8PROC_CASEFOLD, &boundary);
    if (n < 1 || n > 4) {
        out[0] = cp;
        return 1;
    }
    for (utf8proc_ssize_t i = 0; i < n; i++)
        out[i] = (uint32_t)folded[i];
    return (size_t)n;
}

static size_t map_case(struct str s, size_t at, uint32_t cp, enum jcase how, bool cased_before,
                       uint32_t out[4])
{
    switch (how) {
    case CASE_UPPER:
        return u_to_upper(cp, out);
    case CASE_LOWER:
        return lower_at(s, at, cp, out);
    case CASE_TITLE:
        return cased_before ? lower_at(s, at, cp, out) : u_to_title(cp, out);
    case CASE_CAPITALIZE:
        return at > 0 ? lower_at(s, at, cp, out) : u_to_title(cp, out);
    case CASE_SWAP:
        if (u_is_upper(cp))
            return lower_at(s, at, cp, out);
        if (u_is_lower(cp))
            return u_to_upper(cp, out);
        out[0] = cp;
        return 1;
    default:
        return fold(cp, out);
    }
}

bool jstr_case(struct jrun *r, struct str text, enum jcase how, struct jsink *sink)
{
    bool cased = false;
    char chunk[256];
    size_t used = 0, n;
    for (size_t at = 0; at < text.len; at += n) {
        uint32_t out[4], cp = u8_get(text.ptr + at, &n);
        size_t n_out = map_case(text, at, cp, how, cased, out);
        cased = how == CASE_TITLE && u_is_cased(cp);
        for (size_t i = 0; i < n_out; i++)
            used += u8_put(out[i], chunk + used);
        if (used > sizeof(chunk) - 32) {
            if (!jstep(r, 8) || !jsink_add(r, sink, (struct str){chunk, used}))
                return false;
            used = 0;
        }
    }
    return jsink_add(r, sink, (struct str){chunk, used});
}

/* --- stripping --- */

static bool strips(struct jrun *r, const char *p, size_t n, struct jval chars)
{
    size_t len;
    if (chars.kind != J_STR)
        return u_is_space(u8_get(p, &len));
    r->steps += 1 + chars.s->len / 64;
    return str_find(jv_text(chars), (struct str){p, n}) >= 0;
}

bool jstr_strip(struct jrun *r, struct jval s, struct jval chars, enum jstrip sides,
                struct jval *ret)
{
    struct str text = jv_text(s);
    size_t from = 0, to = text.len;
    if (chars.kind == J_UNDEFINED)
        return jfail_undefined(r, chars);
    if (chars.kind != J_STR && chars.kind != J_NONE && chars.kind != J_MISSING)
        return jfail(r, "strip arg must be None or str");
    while ((sides & STRIP_LEFT) && from < to) {
        size_t n = u8_len((unsigned char)text.ptr[from]);
        if (!strips(r, text.ptr + from, n, chars))
            break;
        from += n;
    }
    while ((sides & STRIP_RIGHT) && to > from) {
        size_t start = u8_prev(text, to);
        if (!strips(r, text.ptr + start, to - start, chars))
            break;
        to = start;
    }
    return jstep(r, (text.len - (to - from)) / 8) && jstr_slice(r, s, from, to - from, ret);
}

/* --- replacing --- */

/* `to` before every character and at the end, as Python does for an empty `from`. */
static bool replace_empty(struct jrun *r, struct str text, struct str to, int64_t count,
                          struct jsink *sink)
{
    size_t n = 0;
    for (size_t at = 0; at <= text.len; at += n) {
        if (count == 0)
            return jsink_add(r, sink, str_from(text, at));
        count -= count > 0;
        n = at < text.len ? u8_len((unsigned char)text.ptr[at]) : 1;
        if (!jstep(r, 1) || !jsink_add(r, sink, to) || !jsink_add(r, sink, str_sub(text, at, n)))
            return false;
    }
    return true;
}

bool jstr_replace(struct jrun *r, struct jval s, struct str from, struct str to, int64_t count,
                  struct jval *ret)
{
    struct str text = jv_text(s);
    struct jsink sink = {0};
    ptrdiff_t hit;
    if (!jstep(r, text.len / 64))
        return false;
    if (from.len == 0) {
        if (!replace_empty(r, text, to, count, &sink))
            return false;
        return jsink_string(r, &sink, ret);
    }
    if (count == 0 || (hit = str_find(text, from)) < 0) {
        *ret = s;
        return true;
    }
    while (count != 0 && (hit = str_find(text, from)) >= 0) {
        count -= count > 0;
        if (!jstep(r, 1) || !jsink_add(r, &sink, str_sub(text, 0, (size_t)hit)) ||
            !jsink_add(r, &sink, to))
            return false;
        text = str_from(text, (size_t)hit + from.len);
    }
    return jsink_add(r, &sink, text) && jsink_string(r, &sink, ret);
}

/* --- lines --- */

bool jstr_splitlines(struct jrun *r, struct jval s, bool keep_ends, struct jlist **ret)
{
    struct str text = jv_text(s);
    struct jlist *l = jlist_new(r, 0);
    size_t from = 0, n;
    struct jval line;
    for (size_t at = 0; l && at < text.len;) {
        uint32_t cp = u8_get(text.ptr + at, &n);
        size_t next = at + n;
        if (!u_is_line_end(cp)) {
            at = next;
            continue;
        }
        if (cp == '\r' && next < text.len && text.ptr[next] == '\n')
            next++;
        if (!jstr_slice(r, s, from, (keep_ends ? next : at) - from, &line) ||
            !jlist_push(r, l, line))
            return false;
        from = at = next;
    }
    if (l && from < text.len &&
        (!jstr_slice(r, s, from, text.len - from, &line) || !jlist_push(r, l, line)))
        return false;
    *ret = l;
    return l && jstep(r, text.len / 8);
}

/* --- padding --- */

bool jstr_pad(struct jrun *r, struct jval s, int64_t width, struct str fill, enum jpad where,
              struct jval *ret)
{
    int64_t len = (int64_t)jstr_chars(r, s.s);
    struct jsink sink = {0};
    if (u8_count(fill) != 1)
        return jfail(r, "the fill character must be exactly one character long");
    if (width <= len) {
        *ret = s;
        return true;
    }
    int64_t pad = width - len;
    int64_t left = where == PAD_LEFT ? pad : where == PAD_RIGHT ? 0 : pad / 2 + (pad & width & 1);
    for (int64_t i = 0; i < left; i++)
        if (!jstep(r, 1) || !jsink_add(r, &sink, fill))
            return false;
    if (!jsink_add(r, &sink, jv_text(s)))
        return false;
    for (int64_t i = left; i < pad; i++)
        if (!jstep(r, 1) || !jsink_add(r, &sink, fill))
            return false;
    if (!jsink_string(r, &sink, ret))
        return false;
    ret->markup = s.markup;
    return true;
}

/* --- questions --- */

bool jstr_all(struct str s, jcp_test test)
{
    size_t n;
    for (size_t at = 0; at < s.len; at += n)
        if (!test(u8_get(s.ptr + at, &n)))
            return false;
    return s.len > 0;
}

bool jstr_is_case(struct str s, bool upper)
{
    bool any = false;
    size_t n;
    for (size_t at = 0; at < s.len; at += n) {
        uint32_t cp = u8_get(s.ptr + at, &n);
        if (u_is_title(cp) || (upper ? u_is_lower(cp) : u_is_upper(cp)))
            return false;
        any = any || (upper ? u_is_upper(cp) : u_is_lower(cp));
    }
    return any;
}
