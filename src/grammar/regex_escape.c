/*
 * regex_escape: see the header. Sets are ECMA-262's: \d and \w are ASCII, \s is white space and
 * line ends of Unicode.
 */
#include "grammar/regex_escape.h"
#include "base/mem.h"
#include "grammar/utf8_step.h"

#include <string.h>

static const struct grammar_range digits[] = {{'0', '9'}};
static const struct grammar_range words[] = {{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}};
static const struct grammar_range spaces[] = {
    {0x09, 0x0d},     {0x20, 0x20},     {0xa0, 0xa0},     {0x1680, 0x1680}, {0x2000, 0x200a},
    {0x2028, 0x2029}, {0x202f, 0x202f}, {0x205f, 0x205f}, {0x3000, 0x3000}, {0xfeff, 0xfeff},
};

bool regex_fail(struct regex_text *t, size_t at, int code, const char *what)
{
    size_t n = 1;
    for (size_t i = 0; i < at && i < t->pattern.len; i++)
        n += ((uint8_t)t->pattern.ptr[i] & 0xc0) != 0x80;
    if (t->err->code == 0)
        err_set_param(t->err, code, t->param, "%s: character %zu of the regular expression: %s",
                      t->param, n, what);
    return false;
}

static char peek(const struct regex_text *t)
{
    return t->at < t->pattern.len ? t->pattern.ptr[t->at] : '\0';
}

static bool is_over(const struct regex_text *t)
{
    return t->at >= t->pattern.len;
}

bool regex_read_char(struct regex_text *t, uint32_t *ret)
{
    int n = utf8_get(str_from(t->pattern, t->at), ret);
    if (n == 0)
        return regex_fail(t, t->at, ERR_INVALID, "it is not UTF-8, or ends here");
    t->at += (size_t)n;
    return true;
}

static bool add_set(struct char_set *set, char c)
{
    struct char_set own = {0};
    char lower = (char)(c | 0x20);
    if (lower == 'd')
        char_set_add_all(&own, digits, ARRAY_LEN(digits));
    else if (lower == 'w')
        char_set_add_all(&own, words, ARRAY_LEN(words));
    else
        char_set_add_all(&own, spaces, ARRAY_LEN(spaces));
    if (c != lower)
        char_set_invert(&own);
    char_set_add_all(set, own.r, own.n);
    char_set_release(&own);
    return true;
}

/* n hexadecimal digits. */
static bool read_hex(struct regex_text *t, int n, uint32_t *ret)
{
    static const char digit[] = "0123456789abcdef0123456789ABCDEF";
    *ret = 0;
    for (int i = 0; i < n; i++) {
        const char *at = is_over(t) || peek(t) == '\0' ? NULL : strchr(digit, peek(t));
        if (!at)
            return regex_fail(t, t->at, ERR_INVALID, "a hexadecimal digit is missing");
        *ret = *ret * 16 + (uint32_t)((at - digit) % 16);
        t->at++;
    }
    return true;
}

/* \u{1F600} */
static bool read_braced(struct regex_text *t, uint32_t *ret)
{
    uint32_t digit;
    *ret = 0;
    t->at++;
    while (!is_over(t) && peek(t) != '}') {
        if (!read_hex(t, 1, &digit))
            return false;
        *ret = *ret * 16 + digit;
        if (*ret > CHAR_MAX_CODE)
            break;
    }
    if (peek(t) != '}')
        return regex_fail(t, t->at, ERR_INVALID, "this is no character's number in braces");
    t->at++;
    return true;
}

/* \u1234, or two of them for one character. */
static bool read_unicode(struct regex_text *t, uint32_t *ret)
{
    uint32_t low;
    if (peek(t) == '{')
        return read_braced(t, ret);
    if (!read_hex(t, 4, ret))
        return false;
    bool is_high = *ret >= 0xd800 && *ret < 0xdc00;
    if (!is_high || !str_starts(str_from(t->pattern, t->at), STR("\\u")))
        return true;
    size_t before = t->at;
    t->at += 2;
    if (read_hex(t, 4, &low) && low >= 0xdc00 && low < 0xe000) {
        *ret = 0x10000 + ((*ret - 0xd800) << 10) + (low - 0xdc00);
        return true;
    }
    t->at = before;
    return t->err->code == 0;
}

static bool read_letter(struct regex_text *t, char c, uint32_t *ret)
{
    static const char names[] = "nrtvf0";
    static const char values[] = "\n\r\t\v\f";
    const char *at = strchr(names, c);
    *ret = at ? (uint8_t)values[at - names] : (uint8_t)c;
    if (at && (c != '0' || peek(t) < '0' || peek(t) > '9'))
        return true;
    if (c == 'x')
        return read_hex(t, 2, ret);
    if (c == 'u')
        return read_unicode(t, ret);
    if (c == 'c') {
        char letter = peek(t);
        *ret = (uint32_t)letter & 0x1f;
        t->at++;
        return (letter >= 'a' && letter <= 'z') || (letter >= 'A' && letter <= 'Z') ||
               regex_fail(t, t->at - 1, ERR_INVALID, "\\c needs a letter");
    }
    if (c >= '0' && c <= '9')
        return regex_fail(t, t->at - 2, ERR_UNSUPPORTED, "references back are not supported");
    if (c == 'p' || c == 'P' || c == 'k' || c == 'b' || c == 'B')
        return regex_fail(t, t->at - 2, ERR_UNSUPPORTED,
                          "this escape (\\p, \\k, \\b) is not supported");
    return regex_fail(t, t->at - 2, ERR_INVALID, "this escape is not known");
}

bool regex_read_escape(struct regex_text *t, bool in_class, struct char_set *set, bool *ret_is_set,
                       uint32_t *ret_code)
{
    char c = peek(t);
    *ret_is_set = c != '\0' && strchr("dDwWsS", c);
    if (*ret_is_set) {
        t->at++;
        return add_set(set, c);
    }
    bool is_letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    if (!is_letter)
        return regex_read_char(t, ret_code);
    t->at++;
    if (in_class && c == 'b') {
        *ret_code = '\b';
        return true;
    }
    return read_letter(t, c, ret_code);
}

static bool read_class_char(struct regex_text *t, struct char_set *set, bool *ret_is_set,
                            uint32_t *ret)
{
    *ret_is_set = false;
    if (peek(t) != '\\')
        return regex_read_char(t, ret);
    t->at++;
    return regex_read_escape(t, true, set, ret_is_set, ret);
}

bool regex_read_class(struct regex_text *t, struct char_set *set)
{
    size_t begin = t->at;
    bool negated = peek(t) == '^';
    t->at += negated;
    while (!is_over(t) && peek(t) != ']') {
        uint32_t from, to;
        bool is_set, ends_in_set;
        size_t at = t->at;
        if (!read_class_char(t, set, &is_set, &from))
            return false;
        if (is_set)
            continue;
        to = from;
        if (peek(t) == '-' && t->at + 1 < t->pattern.len && t->pattern.ptr[t->at + 1] != ']') {
            t->at++;
            if (!read_class_char(t, set, &ends_in_set, &to))
                return false;
            if (ends_in_set || to < from)
                return regex_fail(t, at, ERR_INVALID, "this range of characters is none");
        }
        char_set_add(set, from, to);
    }
    if (is_over(t))
        return regex_fail(t, begin, ERR_INVALID, "a class of characters has no closing bracket");
    t->at++;
    if (negated)
        char_set_invert(set);
    return !set->overflow || regex_fail(t, begin, ERR_LIMIT, "a class of too many ranges");
}
