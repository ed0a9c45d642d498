/*
 * jinja_filter_num: filters that make or change numbers.
 */
#include "text/jinja_filter.h"
#include "text/jinja_utf8.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

FILTER(f_abs)
{
    if (!jargs_bind(r, "abs", args, "", 0, NULL))
        return false;
    if (self.kind == J_UNDEFINED)
        return jfail_undefined(r, self);
    if (!jv_is_number(self))
        return jfail(r, "bad operand type for abs(): '%s'", jtype_name(self));
    if (self.kind == J_FLOAT) {
        *ret = jv_float(fabs(self.f));
        return true;
    }
    *ret = jv_int(jv_i64(self));
    return self.kind == J_BOOL || self.i >= 0 || jnegate(r, self, true, ret);
}

static struct str trim_unicode(struct str s)
{
    size_t n;
    while (s.len && u_is_space(u8_get(s.ptr, &n)))
        s = str_from(s, n);
    while (s.len) {
        size_t start = u8_prev(s, s.len);
        if (!u_is_space(u8_get(s.ptr + start, &n)))
            break;
        s = str_sub(s, 0, start);
    }
    return s;
}

/* Copies without "_" between digits; false when one stands elsewhere or the text is too long. */
static bool without_underscores(struct str s, char *out, size_t cap)
{
    size_t n = 0;
    for (size_t i = 0; i < s.len; i++) {
        if (s.ptr[i] == '_') {
            if (i == 0 || i + 1 == s.len || !strchr("0123456789abcdefABCDEF", s.ptr[i - 1]) ||
                !strchr("0123456789abcdefABCDEF", s.ptr[i + 1]))
                return false;
            continue;
        }
        if (n + 1 >= cap || s.ptr[i] == 0)
            return false;
        out[n++] = s.ptr[i];
    }
    out[n] = 0;
    return n > 0;
}

/* Python's float(str). */
static bool text_to_float(struct str s, double *ret)
{
    char text[400], *end;
    if (!without_underscores(trim_unicode(s), text, sizeof(text)))
        return false;
    const char *p = text + (*text == '-' || *text == '+');
    if (strncasecmp(p, "inf", 3) != 0 && strncasecmp(p, "nan", 3) != 0) {
        if (p[strspn(p, "0123456789.eE+-")] || !strpbrk(p, "0123456789"))
            return false;
    } else if (strcasecmp(p, "inf") != 0 && strcasecmp(p, "infinity") != 0 &&
               strcasecmp(p, "nan") != 0) {
        return false;
    }
    *ret = strtod(text, &end);
    return *end == 0;
}

/* Python's int(str, base): 1 a number, 0 not a number, -1 too large. */
static int text_to_int(struct str s, int64_t base, int64_t *ret)
{
    char text[400], *end;
    if (!without_underscores(trim_unicode(s), text, sizeof(text)))
        return 0;
    char *p = text;
    bool negative = *p == '-';
    if (*p == '-' || *p == '+')
        p++;
    char mark = p[0] == '0' ? (char)(p[1] | 32) : 0;
    int64_t marked = mark == 'x' ? 16 : mark == 'o' ? 8 : mark == 'b' ? 2 : 0;
    if (marked && (base == marked || base == 0)) {
        base = marked;
        p += 2;
    } else if (base == 0) {
        if (p[0] == '0' && p[strspn(p, "0")])
            return 0;
        base = 10;
    }
    if (!*p || *p == '-' || *p == '+' || *p == ' ')
        return 0;
    if (base == 16 && p[0] == '0' && (p[1] | 32) == 'x')
        return 0;
    errno = 0;
    unsigned long long u = strtoull(p, &end, (int)base);
    if (*end)
        return 0;
    if (errno || u > (unsigned long long)INT64_MAX + negative)
        return -1;
    *ret = negative ? (int64_t)(0 - u) : (int64_t)u;
    return 1;
}

static bool too_large(struct jrun *r)
{
    return jfail(r, "the integer has more than 64 bits, which is not supported");
}

static bool float_to_int(struct jrun *r, double f, struct jval *ret)
{
    if (!(f >= -9223372036854775808.0 && f < 9223372036854775808.0))
        return too_large(r);
    *ret = jv_int((int64_t)f);
    return true;
}

FILTER(f_int)
{
    struct jval v[2];
    int64_t base, i = 0;
    double f;
    if (!jargs_bind(r, "int", args, "default base", 0, v) || !jarg_int(r, v[1], 10, &base))
        return false;
    if (base != 0 && (base < 2 || base > 36))
        base = -1;
    if (self.kind == J_UNDEFINED)
        return jfail_undefined(r, self);
    if (jv_is_integral(self)) {
        *ret = jv_int(jv_i64(self));
        return true;
    }
    if (self.kind == J_FLOAT && isinf(self.f))
        return jfail(r, "cannot convert float infinity to integer");
    if (self.kind == J_FLOAT && !isnan(self.f))
        return float_to_int(r, self.f, ret);
    if (self.kind == J_STR) {
        int is_int = base < 0 ? 0 : text_to_int(jv_text(self), base, &i);
        if (is_int < 0)
            return too_large(r);
        if (is_int) {
            *ret = jv_int(i);
            return true;
        }
        if (text_to_float(jv_text(self), &f) && isfinite(f))
            return float_to_int(r, f, ret);
    }
    *ret = v[0].kind == J_MISSING ? jv_int(0) : v[0];
    return true;
}

FILTER(f_float)
{
    struct jval v;
    double f;
    if (!jargs_bind(r, "float", args, "default", 0, &v))
        return false;
    if (self.kind == J_UNDEFINED)
        return jfail_undefined(r, self);
    if (jv_is_number(self))
        *ret = jv_float(jv_f64(self));
    else if (self.kind == J_STR && text_to_float(jv_text(self), &f))
        *ret = jv_float(f);
    else
        *ret = v.kind == J_MISSING ? jv_float(0) : v;
    return true;
}

/* Python's round(float, n): the decimal nearest to the exact value, ties to even. */
static double round_float(double f, int64_t n)
{
    char text[800];
    if (!isfinite(f) || n > 330)
        return f;
    if (n < -310)
        return copysign(0.0, f);
    if (n >= 0) {
        snprintf(text, sizeof(text), "%.*f", (int)n, f);
        return strtod(text, NULL);
    }
    double unit = pow(10, (double)-n);
    return nearbyint(f / unit) * unit;
}

/* Python's round(int, n) for n < 0: to the nearest multiple of 10 ** -n, ties to even. */
static bool round_int(struct jrun *r, int64_t i, int64_t n, struct jval *ret)
{
    int64_t unit = 1;
    for (; n < 0; n++) {
        if (__builtin_mul_overflow(unit, 10, &unit)) {
            *ret = jv_int(0);
            return true;
        }
    }
    int64_t rest = i % unit, down;
    if (rest < 0)
        rest += unit;
    if (__builtin_sub_overflow(i, rest, &down))
        return too_large(r);
    bool up = rest > unit / 2 || (unit > 1 && rest == unit / 2 && (down / unit) % 2 != 0);
    if (up && __builtin_add_overflow(down, unit, &down))
        return too_large(r);
    *ret = jv_int(down);
    return true;
}

FILTER(f_round)
{
    struct jval v[2];
    struct str method;
    int64_t precision;
    if (!jargs_bind(r, "round", args, "precision method", 0, v) ||
        !jarg_int(r, v[0], 0, &precision) || !jarg_str(r, v[1], STR("common"), &method))
        return false;
    bool ceiling = str_eq_z(method, "ceil");
    if (!ceiling && !str_eq_z(method, "floor") && !str_eq_z(method, "common"))
        return jfail(r, "method must be common, ceil or floor");
    if (self.kind == J_UNDEFINED)
        return jfail_undefined(r, self);
    if (!jv_is_number(self))
        return jfail(r, "type %s doesn't define __round__ method", jtype_name(self));
    if (str_eq_z(method, "common")) {
        if (jv_is_integral(self))
            return round_int(r, jv_i64(self), precision < 0 ? precision : 0, ret);
        *ret = jv_float(round_float(self.f, precision));
        return true;
    }
    double unit = pow(10, (double)precision), f = jv_f64(self) * unit;
    if (!isfinite(f) || !isfinite(unit))
        return jfail(r, "cannot convert a float that is not finite to an integer");
    *ret = jv_float((ceiling ? ceil(f) : floor(f)) / unit);
    return true;
}

FILTER(f_filesizeformat)
{
    static const char *const UNITS[] = {"k", "M", "G", "T", "P", "E", "Z", "Y"};
    struct jval v;
    double bytes;
    char text[400];
    if (!jargs_bind(r, "filesizeformat", args, "binary", 0, &v))
        return false;
    bool binary = jtruth(v);
    if (self.kind == J_STR ? !text_to_float(jv_text(self), &bytes) : !jv_is_number(self))
        return jfail(r, "filesizeformat needs a number");
    if (self.kind != J_STR)
        bytes = jv_f64(self);
    double base = binary ? 1024 : 1000, unit = base;
    if (bytes >= 1 && bytes <= 1)
        return jstr_new(r, STR("1 Byte"), ret);
    if (!isfinite(bytes))
        return jfail(r, "cannot convert a float that is not finite to an integer");
    if (bytes < base) {
        snprintf(text, sizeof(text), "%.0f Bytes", trunc(bytes) + 0.0);
        return jstr_new(r, str_z(text), ret);
    }
    size_t i = 0;
    for (unit = base * base; i < 7 && bytes >= unit; i++)
        unit *= base;
    snprintf(text, sizeof(text), "%.1f %s%sB", base * bytes / unit,
             binary && i == 0 ? "K" : UNITS[i], binary ? "i" : "");
    return jstr_new(r, str_z(text), ret);
}
