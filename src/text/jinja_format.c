/*
 * jinja_format: "..." % values and "...".format(values), with Python's format specifications for
 * strings and numbers.
 */
#include "base/mem.h"
#include "text/jinja_str.h"
#include "text/jinja_utf8.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PRECISION_MAX 400
#define WIDTH_MAX     1000000
#define NUMBER_MAX    1200 /* bytes: 309 digits, a sign, a point, PRECISION_MAX decimals */

struct spec {
    struct str fill; /* one code point */
    char align;      /* < > = ^ or 0 */
    char sign;       /* + - space or 0 */
    bool alt, zero;
    char group;               /* , _ or 0 */
    int64_t width, precision; /* precision -1: none */
    char type;                /* 0: none */
};

/* --- laying out --- */

static bool put_fill(struct jrun *r, struct jsink *sink, struct str fill, int64_t n)
{
    for (; n > 0; n--)
        if (!jstep(r, 1) || !jsink_add(r, sink, fill))
            return false;
    return true;
}

static bool put_aligned(struct jrun *r, struct jsink *sink, struct str text, size_t n_chars,
                        const struct spec *s, char align)
{
    int64_t pad = s->width - (int64_t)n_chars;
    int64_t left = pad <= 0 || align == '<' ? 0 : align == '^' ? pad / 2 : pad;
    return put_fill(r, sink, s->fill, left) && jsink_add(r, sink, text) &&
           put_fill(r, sink, s->fill, pad - left);
}

static size_t n_separators(const struct spec *s, size_t n_digits, size_t every)
{
    return s->group && n_digits ? (n_digits - 1) / every : 0;
}

/* Digits of the whole part with n_zero zeros before them and separators between. */
static bool put_grouped(struct jrun *r, struct jsink *sink, const char *digits, size_t n_int,
                        size_t n_zero, size_t every, const struct spec *s)
{
    for (size_t i = 0, total = n_zero + n_int; i < total; i++) {
        if (s->group && i && (total - i) % every == 0 && !jsink_char(r, sink, s->group))
            return false;
        if (!jsink_char(r, sink, i < n_zero ? '0' : digits[i - n_zero]))
            return false;
    }
    return true;
}

/* A number from its parts: prefix is sign and 0x; digits may have a fraction and exponent. */
static bool put_number(struct jrun *r, struct jsink *sink, const char *prefix, const char *digits,
                       const struct spec *s)
{
    struct jsink text = {0};
    struct jval v;
    bool hex = s->type == 'x' || s->type == 'X';
    size_t n_int = strspn(digits, hex ? "0123456789abcdefABCDEF" : "0123456789");
    size_t every = s->type && strchr("xXob", s->type) ? 4 : 3;
    size_t n_fixed = strlen(prefix) + strlen(digits) - n_int, n_zero = 0;
    bool zero_fill = s->align == '=' && str_eq_z(s->fill, "0");
    int64_t missing = s->width - (int64_t)(n_fixed + n_int + n_separators(s, n_int, every));
    /* leading zeros count with their separators */
    while (zero_fill &&
           (int64_t)(n_fixed + n_zero + n_int + n_separators(s, n_zero + n_int, every)) < s->width)
        n_zero++;
    return jstep(r, n_zero) && jsink_z(r, &text, prefix) &&
           (s->align != '=' || zero_fill || put_fill(r, &text, s->fill, missing)) &&
           put_grouped(r, &text, digits, n_int, n_zero, every, s) &&
           jsink_z(r, &text, digits + n_int) && jsink_string(r, &text, &v) &&
           put_aligned(r, sink, jv_text(v), v.s->len, s, s->align ? s->align : '>');
}

static const char *sign_text(const struct spec *s, bool negative)
{
    return negative ? "-" : s->sign == '+' ? "+" : s->sign == ' ' ? " " : "";
}

static bool put_int(struct jrun *r, struct jsink *sink, int64_t v, const struct spec *s)
{
    char digits[PRECISION_MAX + 80], prefix[8], raw[72];
    uint64_t u = v < 0 ? 0 - (uint64_t)v : (uint64_t)v;
    unsigned base = s->type == 'x' || s->type == 'X' ? 16
                    : s->type == 'o'                 ? 8
                    : s->type == 'b'                 ? 2
                                                     : 10;
    size_t n = 0, at = 0;
    do {
        raw[n++] = (s->type == 'X' ? "0123456789ABCDEF" : "0123456789abcdef")[u % base];
        u /= base;
    } while (u);
    for (int64_t k = s->precision; k > (int64_t)n; k--)
        digits[at++] = '0';
    while (n)
        digits[at++] = raw[--n];
    digits[at] = 0;
    snprintf(prefix, sizeof(prefix), "%s%s%c", sign_text(s, v < 0), s->alt && base != 10 ? "0" : "",
             s->alt && base != 10 ? s->type : 0);
    return put_number(r, sink, prefix, digits, s);
}

static bool put_float(struct jrun *r, struct jsink *sink, double f, const struct spec *s)
{
    char digits[NUMBER_MAX], fmt[16], type = s->type;
    bool percent = type == '%';
    double a = fabs(percent ? f * 100 : f);
    if (isnan(a) || isinf(a)) {
        strcpy(digits, isnan(a) ? (type == 'F' || type == 'E' || type == 'G' ? "NAN" : "nan")
                                : (type == 'F' || type == 'E' || type == 'G' ? "INF" : "inf"));
    } else if (type == 0 && s->precision < 0) {
        digits[jformat_float(a, digits)] = 0;
    } else {
        char c = percent ? 'f' : type == 'n' || type == 0 ? 'g' : type;
        snprintf(fmt, sizeof(fmt), s->alt ? "%%#.*%c" : "%%.*%c", c);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
        snprintf(digits, sizeof(digits) - 8, fmt, s->precision < 0 ? 6 : (int)s->precision, a);
#pragma GCC diagnostic pop
        if (type == 0 && !strpbrk(digits, ".e"))
            strcat(digits, ".0");
    }
    if (percent)
        strcat(digits, "%");
    return put_number(r, sink, sign_text(s, signbit(f) && !isnan(f)), digits, s);
}

static bool put_str(struct jrun *r, struct jsink *sink, struct jval v, const struct spec *s)
{
    size_t n = jstr_chars(r, v.s);
    struct str text = jv_text(v);
    if (s->precision >= 0 && (size_t)s->precision < n) {
        n = (size_t)s->precision;
        text = str_sub(text, 0, jstr_offset(v.s, n));
    }
    return put_aligned(r, sink, text, n, s, s->align ? s->align : '<');
}

static bool put_char(struct jrun *r, struct jsink *sink, int64_t cp, const struct spec *s)
{
    char text[4];
    if (cp < 0 || cp > 0x10ffff || (cp >= 0xd800 && cp <= 0xdfff))
        return jfail(r, "%%c needs a code point");
    return put_aligned(r, sink, (struct str){text, u8_put((uint32_t)cp, text)}, 1, s,
                       s->align ? s->align : '>');
}

/* ascii(v): repr with everything beyond ASCII escaped. */
static bool ascii_of(struct jrun *r, struct jval v, struct jval *ret)
{
    struct jsink repr = {0}, sink = {0};
    struct jval text;
    size_t n;
    if (!jprint_repr(r, &repr, v) || !jsink_string(r, &repr, &text))
        return false;
    struct str s = jv_text(text);
    for (size_t at = 0; at < s.len; at += n) {
        char esc[16];
        uint32_t cp = u8_get(s.ptr + at, &n);
        if (cp < 0x80)
            esc[0] = (char)cp, esc[1] = 0;
        else
            snprintf(esc, sizeof(esc),
                     cp < 0x100     ? "\\x%02x"
                     : cp < 0x10000 ? "\\u%04x"
                                    : "\\U%08x",
                     cp);
        if (!jstep(r, 1) || !jsink_add(r, &sink, cp < 0x80 ? str_sub(s, at, 1) : str_z(esc)))
            return false;
    }
    return jsink_string(r, &sink, ret);
}

/* r, s or a: repr, str, ascii. */
static bool convert(struct jrun *r, struct jval v, char how, struct jval *ret)
{
    struct jsink sink = {0};
    if (how == 'a')
        return ascii_of(r, v, ret);
    if (how == 's')
        return jto_str(r, v, ret);
    return jprint_repr(r, &sink, v) && jsink_string(r, &sink, ret);
}

/* --- "..." % values --- */

struct percent {
    struct jrun *r;
    struct str fmt;
    size_t at;
    struct jval values;
    size_t n_used, n_values;
    bool single; /* values is the one value */
    struct jsink sink;
};

static bool next_value(struct percent *p, struct jval *ret)
{
    if (p->n_used >= p->n_values)
        return jfail(p->r, "not enough arguments for format string");
    *ret = p->single ? p->values : p->values.l->item[p->n_used];
    p->n_used++;
    return true;
}

static char peek(const struct percent *p)
{
    return p->at < p->fmt.len ? p->fmt.ptr[p->at] : 0;
}

/* Digits, or "*" for the next value. */
static bool read_count(struct percent *p, int64_t max, int64_t *ret)
{
    struct jval v;
    if (peek(p) == '*') {
        p->at++;
        if (!next_value(p, &v) || !jarg_int(p->r, v, 0, ret))
            return false;
    } else {
        *ret = 0;
        for (; peek(p) >= '0' && peek(p) <= '9' && *ret <= max; p->at++)
            *ret = *ret * 10 + (peek(p) - '0');
    }
    if (*ret > max || *ret < -max)
        return jfail(p->r, "a width or precision in a format string is too large");
    return true;
}

static bool read_flags(struct percent *p, struct spec *s)
{
    for (;; p->at++) {
        switch (peek(p)) {
        case '-':
            s->align = '<';
            break;
        case '+':
            s->sign = '+';
            break;
        case ' ':
            s->sign = s->sign ? s->sign : ' ';
            break;
        case '#':
            s->alt = true;
            break;
        case '0':
            s->zero = true;
            break;
        default:
            return true;
        }
    }
}

/* "(name)": the value from the mapping. */
static bool read_key(struct percent *p, struct jval *ret)
{
    size_t from = ++p->at;
    int depth = 1;
    for (; p->at < p->fmt.len; p->at++) {
        depth += peek(p) == '(';
        if (peek(p) == ')' && --depth == 0)
            break;
    }
    if (depth)
        return jfail(p->r, "incomplete format key");
    struct str key = str_sub(p->fmt, from, p->at - from);
    p->at++;
    if (p->values.kind != J_DICT)
        return jfail(p->r, "format requires a mapping");
    struct jval *v = jdict_get_str(p->r, p->values.d, key);
    if (!v)
        return jfail(p->r, "the format's mapping has no '%.*s'", STR_ARG(str_sub(key, 0, 60)));
    *ret = *v;
    p->n_used = p->n_values;
    return true;
}

static bool percent_int(struct percent *p, struct jval v, struct spec *s)
{
    if (s->type == 'i' || s->type == 'u')
        s->type = 'd';
    if (v.kind == J_FLOAT && s->type == 'd') {
        if (!(fabs(v.f) < 9.2e18))
            return jfail(p->r, "the float is too large for %%d");
        v = jv_int((int64_t)v.f);
    }
    if (!jv_is_integral(v))
        return jfail(p->r, "%%%c format: a number is required, not %s", s->type, jtype_name(v));
    return put_int(p->r, &p->sink, jv_i64(v), s);
}

static bool percent_char(struct percent *p, struct jval v, const struct spec *s)
{
    if (v.kind == J_STR && jstr_chars(p->r, v.s) == 1)
        return put_aligned(p->r, &p->sink, jv_text(v), 1, s, s->align ? s->align : '>');
    if (!jv_is_integral(v))
        return jfail(p->r, "%%c requires int or char");
    return put_char(p->r, &p->sink, jv_i64(v), s);
}

static bool percent_value(struct percent *p, struct jval v, struct spec *s)
{
    struct jval text;
    if (s->type == 0)
        return jfail(p->r, "unsupported format character");
    if (strchr("sra", s->type)) {
        s->align = s->align ? s->align : '>';
        return convert(p->r, v, s->type, &text) && put_str(p->r, &p->sink, text, s);
    }
    if (s->type == 'c')
        return percent_char(p, v, s);
    if (s->zero && !s->align) {
        s->align = '=';
        s->fill = STR("0");
    }
    if (strchr("diuxXo", s->type))
        return percent_int(p, v, s);
    if (!strchr("eEfFgG", s->type))
        return jfail(p->r, "unsupported format character");
    if (!jv_is_number(v))
        return jfail(p->r, "must be real number, not %s", jtype_name(v));
    return put_float(p->r, &p->sink, jv_f64(v), s);
}

static bool percent_one(struct percent *p)
{
    struct spec s = {.fill = STR(" "), .precision = -1};
    struct jval v = {.kind = J_MISSING};
    if (peek(p) == '(' && !read_key(p, &v))
        return false;
    if (!read_flags(p, &s) || !read_count(p, WIDTH_MAX, &s.width))
        return false;
    if (s.width < 0) {
        s.align = '<';
        s.width = -s.width;
    }
    if (peek(p) == '.') {
        p->at++;
        if (!read_count(p, PRECISION_MAX, &s.precision))
            return false;
        s.precision = s.precision < 0 ? 0 : s.precision;
    }
    while (peek(p) == 'l' || peek(p) == 'h' || peek(p) == 'L')
        p->at++;
    if (p->at >= p->fmt.len)
        return jfail(p->r, "incomplete format");
    s.type = peek(p);
    p->at++;
    if (s.type == '%')
        return jsink_char(p->r, &p->sink, '%');
    if (v.kind == J_MISSING && !next_value(p, &v))
        return false;
    return percent_value(p, v, &s);
}

bool jformat_percent(struct jrun *r, struct jval format, struct jval values, struct jval *ret)
{
    struct percent p = {.r = r, .fmt = jv_text(format), .values = values};
    p.single = values.kind != J_TUPLE;
    p.n_values = p.single ? 1 : values.l->n;
    while (p.at < p.fmt.len) {
        const char *hit = memchr(p.fmt.ptr + p.at, '%', p.fmt.len - p.at);
        size_t to = hit ? (size_t)(hit - p.fmt.ptr) : p.fmt.len;
        if (!jstep(r, 1) || !jsink_add(r, &p.sink, str_sub(p.fmt, p.at, to - p.at)))
            return false;
        p.at = to + 1;
        if (hit && !percent_one(&p))
            return false;
    }
    bool mapping = values.kind == J_DICT || values.kind == J_LIST || values.kind == J_RANGE ||
                   values.kind == J_UNDEFINED;
    if (p.n_used < p.n_values && !mapping)
        return jfail(r, "not all arguments converted during string formatting");
    return jsink_string(r, &p.sink, ret);
}

/* --- format specifications --- */

/* Takes the next byte if it is one of `set`; 0 if not. */
static char take_one(struct str *text, const char *set)
{
    char c = text->len ? text->ptr[0] : 0;
    if (!c || !strchr(set, c))
        return 0;
    *text = str_from(*text, 1);
    return c;
}

static bool take_number(struct jrun *r, struct str *text, int64_t max, int64_t *ret)
{
    char c;
    while ((c = take_one(text, "0123456789")) != 0)
        if ((*ret = *ret * 10 + (c - '0')) > max)
            return jfail(r, "a width or precision in a format string is too large");
    return true;
}

static void take_align(struct str *text, struct spec *s)
{
    size_t n = text->len ? u8_len((unsigned char)text->ptr[0]) : 0;
    struct str rest = str_from(*text, n);
    char align = n ? take_one(&rest, "<>=^") : 0;
    if (align) {
        s->fill = str_sub(*text, 0, n);
        s->align = align;
        *text = rest;
    } else {
        s->align = take_one(text, "<>=^");
    }
}

static bool parse_spec(struct jrun *r, struct str text, struct spec *s)
{
    *s = (struct spec){.fill = STR(" "), .precision = -1};
    take_align(&text, s);
    s->sign = take_one(&text, "+- ");
    s->alt = take_one(&text, "#") != 0;
    s->zero = take_one(&text, "0") != 0;
    if (s->zero && !s->align) {
        s->fill = STR("0");
        s->align = '=';
    }
    if (!take_number(r, &text, WIDTH_MAX, &s->width))
        return false;
    s->group = take_one(&text, ",_");
    if (take_one(&text, ".")) {
        size_t before = text.len;
        s->precision = 0;
        if (!take_number(r, &text, PRECISION_MAX, &s->precision))
            return false;
        if (text.len == before)
            return jfail(r, "format specifier missing precision");
    }
    if (text.len) {
        s->type = text.ptr[0];
        text = str_from(text, 1);
    }
    return text.len == 0 || jfail(r, "invalid format specifier");
}

static bool format_number(struct jrun *r, struct jsink *sink, struct jval v, struct spec *s)
{
    if (s->type && strchr("eEfFgG%", s->type))
        return put_float(r, sink, jv_f64(v), s);
    if (v.kind == J_FLOAT) {
        if (s->type && s->type != 'n')
            return jfail(r, "unknown format code '%c' for a float", s->type);
        return put_float(r, sink, v.f, s);
    }
    if (s->precision >= 0)
        return jfail(r, "precision not allowed in integer format specifier");
    if (s->type == 'c')
        return put_char(r, sink, jv_i64(v), s);
    if (s->type && !strchr("dnxXob", s->type))
        return jfail(r, "unknown format code '%c' for an integer", s->type);
    return put_int(r, sink, jv_i64(v), s);
}

static bool format_value(struct jrun *r, struct jsink *sink, struct jval v, struct str text)
{
    struct spec s;
    if (text.len == 0)
        return jprint_str(r, sink, v);
    if (!parse_spec(r, text, &s))
        return false;
    if (jv_is_number(v))
        return format_number(r, sink, v, &s);
    if (v.kind != J_STR)
        return jfail(r, "unsupported format string passed to %s.__format__", jtype_name(v));
    if ((s.type && s.type != 's') || s.sign || s.alt || s.group)
        return jfail(r, "invalid format specifier for a string");
    if (s.align == '=') {
        if (!s.zero)
            return jfail(r, "'=' alignment not allowed in string format specifier");
        s.align = '<';
    }
    return put_str(r, sink, v, &s);
}

/* --- "...".format() --- */

struct braces {
    struct jrun *r;
    const struct jargs *args;
    int64_t next; /* automatic numbering; -1 once a number was written */
};

static bool format_fields(struct braces *b, struct str fmt, int depth, struct jsink *sink);

static bool field_first(struct braces *b, struct str name, struct jval *ret)
{
    uint64_t i;
    if (name.len == 0) {
        if (b->next < 0)
            return jfail(b->r, "cannot switch from manual field specification to automatic field "
                               "numbering");
        i = (uint64_t)b->next++;
    } else if (str_to_u64(name, &i)) {
        if (b->next > 0)
            return jfail(b->r, "cannot switch from automatic field numbering to manual field "
                               "specification");
        b->next = -1;
    } else {
        for (size_t k = 0; k < b->args->n_kw; k++) {
            if (str_eq(b->args->kw[k].name, name)) {
                *ret = b->args->kw[k].value;
                return true;
            }
        }
        return jfail(b->r, "format() has no argument '%.*s'", STR_ARG(str_sub(name, 0, 60)));
    }
    if (i >= b->args->n_pos)
        return jfail(b->r, "replacement index %llu out of range for positional args tuple",
                     (unsigned long long)i);
    *ret = b->args->pos[i];
    return true;
}

/* name(.attr|[item])* */
static bool field_value(struct braces *b, struct str name, struct jval *ret)
{
    size_t at = 0;
    while (at < name.len && name.ptr[at] != '.' && name.ptr[at] != '[')
        at++;
    if (!field_first(b, str_sub(name, 0, at), ret))
        return false;
    while (at < name.len) {
        size_t from = at + 1;
        bool item = name.ptr[at] == '[';
        if (!item && name.ptr[at] != '.')
            return jfail(b->r, "only '.' or '[' may follow ']' in format field specifier");
        for (at = from; at < name.len &&
                        (item ? name.ptr[at] != ']' : name.ptr[at] != '.' && name.ptr[at] != '[');)
            at++;
        struct str part = str_sub(name, from, at - from);
        if (part.len == 0 || (item && at >= name.len))
            return jfail(b->r, "empty attribute in format string");
        at += item;
        struct jval key;
        uint64_t i;
        if (!item) {
            if (!jgetattr(b->r, *ret, part, ret))
                return false;
            continue;
        }
        if (str_to_u64(part, &i) && i <= INT64_MAX)
            key = jv_int((int64_t)i);
        else if (!jstr_view(b->r, part, &key))
            return false;
        if (!jgetitem(b->r, *ret, key, ret))
            return false;
    }
    return true;
}

/* The inside of { }: name, !conversion, :specification (which may hold fields itself). */
static bool format_field(struct braces *b, struct str field, int depth, struct jsink *sink)
{
    size_t end = 0;
    bool bracket = false;
    for (; end < field.len; end++) {
        char c = field.ptr[end];
        if (c == '[')
            bracket = true;
        else if (c == ']')
            bracket = false;
        else if (!bracket && (c == '!' || c == ':'))
            break;
        if (c == '{')
            return jfail(b->r, "unexpected '{' in field name");
    }
    struct jval v, spec;
    if (!field_value(b, str_sub(field, 0, end), &v))
        return false;
    struct str rest = str_from(field, end);
    if (rest.len && rest.ptr[0] == '!') {
        if (rest.len < 2 || !strchr("rsa", rest.ptr[1]) || (rest.len > 2 && rest.ptr[2] != ':'))
            return jfail(b->r, "unknown conversion in format string");
        if (!convert(b->r, v, rest.ptr[1], &v))
            return false;
        rest = str_from(rest, 2);
    }
    rest = str_from(rest, 1);
    struct jsink inner = {0};
    if (!format_fields(b, rest, depth + 1, &inner) || !jsink_string(b->r, &inner, &spec))
        return false;
    return format_value(b->r, sink, v, jv_text(spec));
}

static bool format_fields(struct braces *b, struct str fmt, int depth, struct jsink *sink)
{
    if (depth > 1 && fmt.len && memchr(fmt.ptr, '{', fmt.len))
        return jfail(b->r, "max string recursion exceeded");
    for (size_t at = 0; at < fmt.len; at++) {
        char c = fmt.ptr[at];
        if (!jstep(b->r, 1))
            return false;
        if ((c == '{' || c == '}') && depth == 0 && at + 1 < fmt.len && fmt.ptr[at + 1] == c) {
            at++;
        } else if (c == '}') {
            return jfail(b->r, "single '}' encountered in format string");
        } else if (c == '{') {
            size_t from = ++at, open = 1;
            for (; at < fmt.len && open; at++)
                open += fmt.ptr[at] == '{' ? 1 : fmt.ptr[at] == '}' ? (size_t)-1 : 0;
            if (open)
                return jfail(b->r, "expected '}' before end of string");
            at--;
            if (!format_field(b, str_sub(fmt, from, at - from), depth, sink))
                return false;
            continue;
        }
        if (!jsink_char(b->r, sink, c))
            return false;
    }
    return true;
}

bool jformat_braces(struct jrun *r, struct jval format, const struct jargs *args, struct jval *ret)
{
    struct braces b = {.r = r, .args = args};
    struct jsink sink = {0};
    if (!format_fields(&b, jv_text(format), 0, &sink) || !jsink_string(r, &sink, ret))
        return false;
    ret->markup = format.markup;
    return true;
}
