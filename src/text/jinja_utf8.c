/*
 * jinja_utf8: see jinja_utf8.h. utf8proc knows categories and simple case mappings; jinja_case.h
 * has the rest of what Python's str does.
 */
#include "text/jinja_utf8.h"

#include "base/mem.h"
#include "text/jinja_case.h"

#include <utf8proc.h>

uint32_t u8_get(const char *p, size_t *ret_bytes)
{
    const unsigned char *u = (const unsigned char *)p;
    size_t n = u8_len(u[0]);
    *ret_bytes = n;
    switch (n) {
    case 1:
        return u[0];
    case 2:
        return (uint32_t)(u[0] & 0x1f) << 6 | (u[1] & 0x3f);
    case 3:
        return (uint32_t)(u[0] & 0x0f) << 12 | (uint32_t)(u[1] & 0x3f) << 6 | (u[2] & 0x3f);
    default:
        return (uint32_t)(u[0] & 0x07) << 18 | (uint32_t)(u[1] & 0x3f) << 12 |
               (uint32_t)(u[2] & 0x3f) << 6 | (u[3] & 0x3f);
    }
}

size_t u8_put(uint32_t cp, char out[4])
{
    if (cp < 0x80) {
        out[0] = (char)cp;
        return 1;
    }
    if (cp < 0x800) {
        out[0] = (char)(0xc0 | cp >> 6);
        out[1] = (char)(0x80 | (cp & 0x3f));
        return 2;
    }
    if (cp < 0x10000) {
        out[0] = (char)(0xe0 | cp >> 12);
        out[1] = (char)(0x80 | (cp >> 6 & 0x3f));
        out[2] = (char)(0x80 | (cp & 0x3f));
        return 3;
    }
    out[0] = (char)(0xf0 | cp >> 18);
    out[1] = (char)(0x80 | (cp >> 12 & 0x3f));
    out[2] = (char)(0x80 | (cp >> 6 & 0x3f));
    out[3] = (char)(0x80 | (cp & 0x3f));
    return 4;
}

bool u8_valid(struct str s)
{
    const unsigned char *p = (const unsigned char *)s.ptr;
    for (size_t i = 0; i < s.len;) {
        if (p[i] < 0x80) {
            i++;
            continue;
        }
        if (p[i] < 0xc2 || p[i] > 0xf4)
            return false;
        size_t n = u8_len(p[i]);
        if (n > s.len - i)
            return false;
        for (size_t k = 1; k < n; k++)
            if ((p[i + k] & 0xc0) != 0x80)
                return false;
        uint32_t cp = u8_get(s.ptr + i, &n);
        if ((n == 3 && cp < 0x800) || (n == 4 && cp < 0x10000) || cp > 0x10ffff ||
            (cp >= 0xd800 && cp <= 0xdfff))
            return false;
        i += n;
    }
    return true;
}

size_t u8_count(struct str s)
{
    size_t n = 0;
    for (size_t i = 0; i < s.len; i++)
        n += ((unsigned char)s.ptr[i] & 0xc0) != 0x80;
    return n;
}

size_t u8_prev(struct str s, size_t at)
{
    do
        at--;
    while (at > 0 && ((unsigned char)s.ptr[at] & 0xc0) == 0x80);
    return at;
}

static bool in_ranges(const struct u_range *r, size_t n, uint32_t cp)
{
    size_t lo = 0, hi = n;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (cp > r[mid].last)
            lo = mid + 1;
        else if (cp < r[mid].first)
            hi = mid;
        else
            return true;
    }
    return false;
}

#define IN(table, cp) in_ranges(table, ARRAY_LEN(table), cp)

static utf8proc_category_t category(uint32_t cp)
{
    return utf8proc_category((utf8proc_int32_t)cp);
}

bool u_is_space(uint32_t cp)
{
    if (cp < 0x80)
        return cp == ' ' || (cp >= 9 && cp <= 13) || (cp >= 0x1c && cp <= 0x1f);
    return cp == 0x85 || cp == 0xa0 || cp == 0x1680 || (cp >= 0x2000 && cp <= 0x200a) ||
           cp == 0x2028 || cp == 0x2029 || cp == 0x202f || cp == 0x205f || cp == 0x3000;
}

bool u_is_line_end(uint32_t cp)
{
    return (cp >= 10 && cp <= 13) || (cp >= 0x1c && cp <= 0x1e) || cp == 0x85 || cp == 0x2028 ||
           cp == 0x2029;
}

bool u_is_alpha(uint32_t cp)
{
    utf8proc_category_t c = category(cp);
    return c >= UTF8PROC_CATEGORY_LU && c <= UTF8PROC_CATEGORY_LO;
}

bool u_is_decimal(uint32_t cp)
{
    return category(cp) == UTF8PROC_CATEGORY_ND;
}

bool u_is_digit(uint32_t cp)
{
    return u_is_decimal(cp) || IN(OTHER_DIGIT, cp);
}

bool u_is_numeric(uint32_t cp)
{
    utf8proc_category_t c = category(cp);
    return (c >= UTF8PROC_CATEGORY_ND && c <= UTF8PROC_CATEGORY_NO) || IN(OTHER_NUMERIC, cp);
}

bool u_is_alnum(uint32_t cp)
{
    return u_is_alpha(cp) || u_is_numeric(cp);
}

bool u_is_word(uint32_t cp)
{
    if (cp < 0x80)
        return cp == '_' || (cp >= '0' && cp <= '9') || ((cp | 32) >= 'a' && (cp | 32) <= 'z');
    return u_is_alnum(cp);
}

bool u_is_upper(uint32_t cp)
{
    return category(cp) == UTF8PROC_CATEGORY_LU || IN(OTHER_UPPER, cp);
}

bool u_is_lower(uint32_t cp)
{
    return category(cp) == UTF8PROC_CATEGORY_LL || IN(OTHER_LOWER, cp);
}

bool u_is_title(uint32_t cp)
{
    return category(cp) == UTF8PROC_CATEGORY_LT;
}

bool u_is_cased(uint32_t cp)
{
    return u_is_upper(cp) || u_is_lower(cp) || u_is_title(cp);
}

bool u_is_printable(uint32_t cp)
{
    if (cp < 0x80)
        return cp >= 0x20 && cp < 0x7f;
    utf8proc_category_t c = category(cp);
    return c != UTF8PROC_CATEGORY_CN && c < UTF8PROC_CATEGORY_ZS;
}

bool u_is_id_start(uint32_t cp)
{
    return cp == '_' || u_is_alpha(cp) || category(cp) == UTF8PROC_CATEGORY_NL;
}

bool u_is_id_continue(uint32_t cp)
{
    utf8proc_category_t c = category(cp);
    return u_is_id_start(cp) || c == UTF8PROC_CATEGORY_ND || c == UTF8PROC_CATEGORY_MN ||
           c == UTF8PROC_CATEGORY_MC || c == UTF8PROC_CATEGORY_PC;
}

bool u_is_case_ignorable(uint32_t cp)
{
    utf8proc_category_t c = category(cp);
    return c == UTF8PROC_CATEGORY_MN || c == UTF8PROC_CATEGORY_ME || c == UTF8PROC_CATEGORY_CF ||
           c == UTF8PROC_CATEGORY_LM || c == UTF8PROC_CATEGORY_SK || cp == '\'' || cp == '.' ||
           cp == ':' || cp == 0xb7 || cp == 0x387 || cp == 0x55f || cp == 0x5f4 || cp == 0x2018 ||
           cp == 0x2019 || cp == 0x2024 || cp == 0x2027 || cp == 0xfe13 || cp == 0xfe52 ||
           cp == 0xfe55 || cp == 0xff07 || cp == 0xff0e || cp == 0xff1a;
}

static size_t special_case(const struct u_special *t, size_t n, uint32_t cp,
                           uint32_t out[U_CASE_MAX])
{
    size_t lo = 0, hi = n;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (cp > t[mid].cp) {
            lo = mid + 1;
        } else if (cp < t[mid].cp) {
            hi = mid;
        } else {
            size_t k = 0;
            while (k < U_CASE_MAX && t[mid].to[k]) {
                out[k] = t[mid].to[k];
                k++;
            }
            return k;
        }
    }
    return 0;
}

size_t u_to_upper(uint32_t cp, uint32_t out[U_CASE_MAX])
{
    size_t n = cp < 0x80 ? 0 : special_case(SPECIAL_UPPER, ARRAY_LEN(SPECIAL_UPPER), cp, out);
    if (n)
        return n;
    out[0] = (uint32_t)utf8proc_toupper((utf8proc_int32_t)cp);
    return 1;
}

size_t u_to_lower(uint32_t cp, uint32_t out[U_CASE_MAX])
{
    size_t n = cp < 0x80 ? 0 : special_case(SPECIAL_LOWER, ARRAY_LEN(SPECIAL_LOWER), cp, out);
    if (n)
        return n;
    out[0] = (uint32_t)utf8proc_tolower((utf8proc_int32_t)cp);
    return 1;
}

size_t u_to_title(uint32_t cp, uint32_t out[U_CASE_MAX])
{
    size_t n = cp < 0x80 ? 0 : special_case(SPECIAL_TITLE, ARRAY_LEN(SPECIAL_TITLE), cp, out);
    if (n)
        return n;
    out[0] = (uint32_t)utf8proc_totitle((utf8proc_int32_t)cp);
    return 1;
}
