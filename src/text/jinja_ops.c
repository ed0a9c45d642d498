/*
 * jinja_ops: arithmetic as Python does it, in 64-bit integers: what Python would carry on with in
 * more bits is an error here.
 */
#include "base/mem.h"
#include "text/jinja_eval.h"

#include <math.h>
#include <string.h>

static bool overflow(struct jrun *r)
{
    return jfail(r, "the result is an integer of more than 64 bits, which is not supported");
}

static bool type_error(struct jrun *r, int op, struct jval a, struct jval b)
{
    if (a.kind == J_UNDEFINED || b.kind == J_UNDEFINED)
        return jfail_undefined(r, a.kind == J_UNDEFINED ? a : b);
    if (op == T_ADD && a.kind == J_STR)
        return jfail(r, "can only concatenate str (not \"%s\") to str", jtype_name(b));
    return jfail(r, "unsupported operand types for %s: '%s' and '%s'",
                 jtok_name((enum jtok_kind)op), jtype_name(a), jtype_name(b));
}

bool jescape(struct jrun *r, struct jval v, struct jval *ret)
{
    struct jval s;
    if (v.kind == J_STR && v.markup) {
        *ret = v;
        return true;
    }
    if (!jto_str(r, v, &s))
        return false;
    struct jsink sink = {0};
    struct str text = jv_text(s);
    size_t from = 0;
    for (size_t i = 0; i < text.len; i++) {
        const char *entity = NULL;
        switch (text.ptr[i]) {
        case '&':
            entity = "&amp;";
            break;
        case '<':
            entity = "&lt;";
            break;
        case '>':
            entity = "&gt;";
            break;
        case '\'':
            entity = "&#39;";
            break;
        case '"':
            entity = "&#34;";
            break;
        default:
            continue;
        }
        if (!jsink_add(r, &sink, str_sub(text, from, i - from)) || !jsink_z(r, &sink, entity))
            return false;
        from = i + 1;
    }
    if (!jsink_add(r, &sink, str_from(text, from)) || !jsink_string(r, &sink, ret))
        return false;
    ret->markup = 1;
    return true;
}

static bool add_strings(struct jrun *r, struct jval a, struct jval b, struct jval *ret)
{
    bool markup = a.markup || b.markup;
    if (markup && (!jescape(r, a, &a) || !jescape(r, b, &b)))
        return false;
    if (!jstr_concat(r, a, b, ret))
        return false;
    ret->markup = markup;
    return true;
}

static bool add_lists(struct jrun *r, struct jval a, struct jval b, struct jval *ret)
{
    struct jlist *l = jlist_new(r, a.l->n + b.l->n);
    if (!l || !jstep(r, a.l->n + b.l->n))
        return false;
    if (a.l->n)
        memcpy(l->item, a.l->item, a.l->n * sizeof(*l->item));
    if (b.l->n)
        memcpy(l->item + a.l->n, b.l->item, b.l->n * sizeof(*l->item));
    l->n = a.l->n + b.l->n;
    *ret = (struct jval){.kind = a.kind, .l = l};
    return true;
}

static bool repeat(struct jrun *r, struct jval v, int64_t times, struct jval *ret)
{
    size_t n = times < 0 ? 0 : (size_t)times;
    if (v.kind == J_STR) {
        struct jsink sink = {0};
        for (size_t i = 0; i < n && v.s->len; i++)
            if (!jstep(r, 1) || !jsink_add(r, &sink, jv_text(v)))
                return false;
        if (!jsink_string(r, &sink, ret))
            return false;
        ret->markup = v.markup;
        return true;
    }
    struct jlist *l = jlist_new(r, 0);
    for (size_t k = 0; l && v.l->n && k < n; k++)
        for (size_t i = 0; i < v.l->n; i++)
            if (!jlist_push(r, l, v.l->item[i]))
                return false;
    *ret = (struct jval){.kind = v.kind, .l = l};
    return l != NULL;
}

/* Python's float %: the result has the sign of the divisor. */
static double float_mod(double x, double y)
{
    double m = fmod(x, y);
    if (m < 0 || m > 0)
        return (y < 0) != (m < 0) ? m + y : m;
    return copysign(0.0, y);
}

static double float_floordiv(double x, double y)
{
    double m = fmod(x, y), div = (x - m) / y;
    if ((m < 0 || m > 0) && (y < 0) != (m < 0))
        div -= 1.0;
    if (!(div < 0 || div > 0))
        return copysign(0.0, x / y);
    double floor_div = floor(div);
    return div - floor_div > 0.5 ? floor_div + 1.0 : floor_div;
}

static bool int_pow(struct jrun *r, int64_t base, int64_t exp, struct jval *ret)
{
    int64_t acc = 1;
    while (exp > 0) {
        if ((exp & 1) && __builtin_mul_overflow(acc, base, &acc))
            return overflow(r);
        exp >>= 1;
        if (exp && __builtin_mul_overflow(base, base, &base))
            return overflow(r);
    }
    *ret = jv_int(acc);
    return true;
}

static bool power(struct jrun *r, struct jval a, struct jval b, struct jval *ret)
{
    if (jv_is_integral(a) && jv_is_integral(b) && jv_i64(b) >= 0)
        return int_pow(r, jv_i64(a), jv_i64(b), ret);
    double x = jv_f64(a), y = jv_f64(b);
    if (!(x < 0 || x > 0) && y < 0 && x == x)
        return jfail(r, "0.0 cannot be raised to a negative power");
    if (x < 0 && isfinite(x) && isfinite(y) && y != floor(y))
        return jfail(r, "a negative number to a fractional power is a complex number");
    double p = pow(x, y);
    if (isinf(p) && isfinite(x) && isfinite(y))
        return jfail(r, "the result of ** is too large");
    *ret = jv_float(p);
    return true;
}

/* Sum, difference, product; true division never comes here. */
static bool int_op(struct jrun *r, int op, int64_t x, int64_t y, struct jval *ret)
{
    int64_t v = 0;
    bool over = false;
    switch (op) {
    case T_ADD:
        over = __builtin_add_overflow(x, y, &v);
        break;
    case T_SUB:
        over = __builtin_sub_overflow(x, y, &v);
        break;
    case T_MUL:
        over = __builtin_mul_overflow(x, y, &v);
        break;
    default: /* floor division and modulo */
        if (y == -1) {
            over = op == T_FLOORDIV && __builtin_sub_overflow((int64_t)0, x, &v);
            break;
        }
        v = op == T_FLOORDIV ? x / y : x % y;
        if (op == T_FLOORDIV)
            v -= x % y != 0 && (x < 0) != (y < 0);
        else if (v != 0 && (v < 0) != (y < 0))
            v += y;
    }
    if (over)
        return overflow(r);
    *ret = jv_int(v);
    return true;
}

static bool true_division(struct jval a, struct jval b, struct jval *ret)
{
    if (jv_is_integral(a) && jv_is_integral(b))
        *ret = jv_float((double)((long double)jv_i64(a) / (long double)jv_i64(b)));
    else
        *ret = jv_float(jv_f64(a) / jv_f64(b));
    return true;
}

static bool arithmetic(struct jrun *r, int op, struct jval a, struct jval b, struct jval *ret)
{
    bool ints = jv_is_integral(a) && jv_is_integral(b);
    double x = jv_f64(a), y = jv_f64(b);
    if (op == T_POW)
        return power(r, a, b, ret);
    bool divides = op == T_DIV || op == T_FLOORDIV || op == T_MOD;
    if (divides && (ints ? jv_i64(b) == 0 : !(y < 0 || y > 0 || y != y)))
        return jfail(r, "division by zero");
    if (op == T_DIV)
        return true_division(a, b, ret);
    if (ints)
        return int_op(r, op, jv_i64(a), jv_i64(b), ret);
    switch (op) {
    case T_ADD:
        *ret = jv_float(x + y);
        return true;
    case T_SUB:
        *ret = jv_float(x - y);
        return true;
    case T_MUL:
        *ret = jv_float(x * y);
        return true;
    case T_FLOORDIV:
        *ret = jv_float(float_floordiv(x, y));
        return true;
    default:
        *ret = jv_float(float_mod(x, y));
        return true;
    }
}

static bool repeatable(struct jval v)
{
    return v.kind == J_STR || v.kind == J_LIST || v.kind == J_TUPLE;
}

bool jbinary(struct jrun *r, int op, struct jval a, struct jval b, struct jval *ret)
{
    if (jv_is_number(a) && jv_is_number(b))
        return arithmetic(r, op, a, b, ret);
    if (op == T_MOD && a.kind == J_STR)
        return jformat_percent(r, a, b, ret);
    if (op == T_ADD && a.kind == J_STR && b.kind == J_STR)
        return add_strings(r, a, b, ret);
    if (op == T_ADD && a.kind == b.kind && (a.kind == J_LIST || a.kind == J_TUPLE))
        return add_lists(r, a, b, ret);
    if (op == T_MUL && repeatable(a) && jv_is_integral(b))
        return repeat(r, a, jv_i64(b), ret);
    if (op == T_MUL && jv_is_integral(a) && repeatable(b))
        return repeat(r, b, jv_i64(a), ret);
    return type_error(r, op, a, b);
}

bool jnegate(struct jrun *r, struct jval v, bool negative, struct jval *ret)
{
    int64_t i;
    if (v.kind == J_FLOAT) {
        *ret = jv_float(negative ? -v.f : v.f);
        return true;
    }
    if (!jv_is_integral(v)) {
        if (v.kind == J_UNDEFINED)
            return jfail_undefined(r, v);
        return jfail(r, "bad operand type for unary %c: '%s'", negative ? '-' : '+', jtype_name(v));
    }
    if (__builtin_sub_overflow((int64_t)0, jv_i64(v), &i))
        return overflow(r);
    *ret = jv_int(negative ? i : jv_i64(v));
    return true;
}
