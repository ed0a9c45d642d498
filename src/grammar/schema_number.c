/*
 * schema_number: numbers within bounds, digit by digit. A number is written as its integer part
 * and decimals; as long as what was written equals the beginning of a bound, the next digit is
 * held against it ("tight"), after that all digits are free.
 *
 * Digits are bounded, so that a number ends: 18 before the point where nothing else bounds them,
 * 17 after it. Between bounds there are 15 altogether: as many as a double tells apart, so that
 * what is above a bound in decimal is above it in binary, too.
 */
#include "base/mem.h"
#include "grammar/schema_plan.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DIGITS_MAX   19
#define DECIMALS_MAX 17
#define EXACT_DIGITS 15
#define FACTOR_MAX   128
#define EXACT_MAX    999999999999999
#define INTEGER_MAX  8999999999999999999 /* where nothing bounds them: 64 bits hold it */

struct decimal {                     /* not negative */
    char digits[DIGITS_MAX + 1];     /* before the point, no zeros in front but "0" */
    char fraction[DECIMALS_MAX + 1]; /* no zeros at the end */
};

struct range { /* of numbers that are not negative */
    struct decimal low, high;
    bool low_open, high_open;
};

struct maker {
    struct grammar_builder *b; /* NULL: only whether there is one */
    const struct range *r;
    int n_decimal; /* most decimals; 0: integers */
    bool must_be_fraction;
    int n_digit;    /* of the integer part at hand */
    int64_t factor; /* of integers */
    int n_point;    /* the last so many digits of an integer are behind a point; 0: there is none */
    bool last_nonzero; /* the last of them is not 0 */
    gexpr *memo;       /* [n_digit][factor] free digits, with remainders */
};

/* ---- expressions that may be none ---- */

static gexpr seq2(struct maker *m, gexpr a, gexpr b)
{
    if (a == GEXPR_NONE || b == GEXPR_NONE)
        return GEXPR_NONE;
    return m->b ? grammar_seq(m->b, (gexpr[]){a, b}, 2) : 0;
}

static gexpr alt2(struct maker *m, gexpr a, gexpr b)
{
    if (a == GEXPR_NONE || b == GEXPR_NONE)
        return a == GEXPR_NONE ? b : a;
    return m->b ? grammar_alt(m->b, (gexpr[]){a, b}, 2) : 0;
}

static gexpr digit(struct maker *m, int from, int to)
{
    if (from > to)
        return GEXPR_NONE;
    struct grammar_range r = {'0' + (uint32_t)from, '0' + (uint32_t)to};
    return m->b ? grammar_chars(m->b, &r, 1, false) : 0;
}

static gexpr text(struct maker *m, const char *z)
{
    return m->b ? grammar_literal(m->b, str_z(z)) : 0;
}

static gexpr digits(struct maker *m, int min, int max)
{
    return m->b ? grammar_repeat(m->b, digit(m, 0, 9), min, max) : 0;
}

static gexpr none_or(struct maker *m, gexpr e)
{
    return alt2(m, m->b ? grammar_empty(m->b) : 0, e);
}

/* ---- decimals of bounds ---- */

/* Digits of |v| without sign and exponent; false when they are too many. */
static bool decimal_of(const json_t *v, struct decimal *ret)
{
    char short_form[40], mantissa[40];
    int n = 0, exponent = 0, point = -1;
    if (json_is_integer(v)) {
        snprintf(short_form, sizeof(short_form), "%lld", (long long)json_integer_value(v));
    } else {
        for (int p = 15; p <= 17; p++) {
            snprintf(short_form, sizeof(short_form), "%.*e", p - 1, json_real_value(v));
            if (strtod(short_form, NULL) == json_real_value(v))
                break;
        }
    }
    for (const char *c = short_form; *c; c++) {
        if (*c == 'e') {
            exponent = atoi(c + 1);
            break;
        }
        if (*c == '.')
            point = n;
        else if (*c != '-')
            mantissa[n++] = *c;
    }
    point = (point < 0 ? n : point) + exponent;
    while (n > 0 && mantissa[n - 1] == '0' && n > point)
        n--;
    int skip = 0;
    while (skip < n && mantissa[skip] == '0' && skip + 1 < point)
        skip++;
    int n_digit = point > skip ? point - skip : 1, n_fraction = n > point ? n - point : 0;
    if (n_digit > DIGITS_MAX || n_fraction > DECIMALS_MAX)
        return false;
    *ret = (struct decimal){"0", ""};
    for (int i = 0; i < n_digit && point > skip; i++)
        ret->digits[i] = skip + i < n ? mantissa[skip + i] : '0';
    for (int i = 0; i < n_fraction; i++)
        ret->fraction[i] = point + i >= 0 ? mantissa[point + i] : '0';
    return true;
}

static int compare(const struct decimal *a, const struct decimal *b)
{
    size_t x = strlen(a->digits), y = strlen(b->digits);
    if (x != y)
        return x < y ? -1 : 1;
    int order = strcmp(a->digits, b->digits);
    return order != 0 ? order : strcmp(a->fraction, b->fraction);
}

static char digit_at(const char *digits, int i, int n)
{
    return i < n ? digits[i] : '0';
}

/* ---- decimals of the number ---- */

static bool rest_is_zero(const char *fraction, int from)
{
    return from >= (int)strlen(fraction);
}

/* May the number end, with i decimals written, `nonzero` of them not 0? */
static bool may_end(const struct maker *m, int i, bool low, bool high, bool nonzero)
{
    const struct range *r = m->r;
    if (m->must_be_fraction && !nonzero)
        return false;
    if (low && (!rest_is_zero(r->low.fraction, i) || r->low_open))
        return false;
    return !high || !rest_is_zero(r->high.fraction, i) || !r->high_open;
}

/* Up to n, not all of them 0, and not more zeros in front than half of them. */
static gexpr nonzero_decimals(struct maker *m, int n)
{
    gexpr zeros = m->b ? grammar_repeat(m->b, digit(m, 0, 0), 0, n / 2) : 0;
    return seq2(m, zeros, seq2(m, digit(m, 1, 9), digits(m, 0, n - n / 2 - 1)));
}

/* After i decimals, as many as are left. */
static gexpr free_decimals(struct maker *m, int i, bool nonzero)
{
    int left = m->n_decimal - i;
    if (!m->must_be_fraction || nonzero)
        return digits(m, 0, left);
    return left < 1 ? GEXPR_NONE : nonzero_decimals(m, left);
}

static gexpr more_decimals(struct maker *m, int i, bool low, bool high, bool nonzero)
{
    gexpr e = GEXPR_NONE;
    if (!low && !high)
        return free_decimals(m, i, nonzero);
    if (i > 0 && may_end(m, i, low, high, nonzero))
        e = m->b ? grammar_empty(m->b) : 0;
    if (i >= m->n_decimal)
        return e;
    int from = low ? digit_at(m->r->low.fraction, i, (int)strlen(m->r->low.fraction)) - '0' : 0;
    int to = high ? digit_at(m->r->high.fraction, i, (int)strlen(m->r->high.fraction)) - '0' : 9;
    for (int d = from; d <= to; d++) {
        bool l = low && d == from, h = high && d == to;
        int last = d;
        while (!l && !h && d > 0 && last < to && !(high && last + 1 == to))
            last++;
        gexpr rest = more_decimals(m, i + 1, l, h, nonzero || d > 0);
        e = alt2(m, e, seq2(m, digit(m, d, last), rest));
        d = last;
    }
    return e;
}

static gexpr decimals(struct maker *m, bool low, bool high)
{
    gexpr e = GEXPR_NONE;
    if (may_end(m, 0, low, high, false))
        e = m->b ? grammar_empty(m->b) : 0;
    if (m->n_decimal == 0)
        return e;
    gexpr more = more_decimals(m, 0, low, high, false);
    if (!low && !high && !m->must_be_fraction && m->b) /* free: at least one */
        more = digits(m, 1, m->n_decimal);
    return alt2(m, e, seq2(m, text(m, "."), more));
}

/* ---- the integer part ---- */

/* What stands from digit i on, with the point where it is before that digit. */
static gexpr pointed(struct maker *m, int i, gexpr e)
{
    return m->n_point > 0 && i == m->n_digit - m->n_point ? seq2(m, text(m, "."), e) : e;
}

/* n digits that end the number. */
static gexpr last_digits(struct maker *m, int n)
{
    if (n == 0 || !m->last_nonzero)
        return digits(m, n, n);
    return seq2(m, digits(m, n - 1, n - 1), digit(m, 1, 9));
}

/* From digit i on any, with the point among them. */
static gexpr free_pointed(struct maker *m, int i)
{
    int before = m->n_digit - m->n_point - i;
    if (before < 0)
        return last_digits(m, m->n_digit - i);
    gexpr e = seq2(m, text(m, "."), last_digits(m, m->n_point));
    return seq2(m, digits(m, before, before), e);
}

/* Free digits from i on, when what stands before leaves this remainder. */
static gexpr free_digits(struct maker *m, int i, int64_t remainder)
{
    if (m->factor == 1 && m->n_point > 0)
        return free_pointed(m, i);
    if (m->factor == 1)
        return seq2(m, digits(m, m->n_digit - i, m->n_digit - i), decimals(m, false, false));
    if (i == m->n_digit)
        return remainder == 0 ? text(m, "") : GEXPR_NONE;
    gexpr *memo = &m->memo[i * FACTOR_MAX + remainder];
    if (*memo != 0)
        return *memo - (*memo > 0 ? 1 : 0);
    gexpr e = GEXPR_NONE;
    for (int d = m->last_nonzero && i + 1 == m->n_digit; d <= 9; d++)
        e = alt2(m, e,
                 seq2(m, digit(m, d, d), free_digits(m, i + 1, (remainder * 10 + d) % m->factor)));
    e = pointed(m, i, e);
    *memo = e >= 0 ? e + 1 : e;
    return e;
}

static gexpr tight_digits(struct maker *m, int i, bool low, bool high, int64_t remainder)
{
    gexpr e = GEXPR_NONE;
    if (!low && !high)
        return free_digits(m, i, remainder);
    if (i == m->n_digit) {
        if (m->factor > 1 && remainder != 0)
            return GEXPR_NONE;
        return decimals(m, low, high);
    }
    int least = i == 0 && m->n_digit > 1 ? 1 : 0;
    int lowest = low ? m->r->low.digits[i] - '0' : least;
    int to = high ? m->r->high.digits[i] - '0' : 9;
    int from = lowest == 0 && m->last_nonzero && i + 1 == m->n_digit ? 1 : lowest;
    for (int d = from; d <= to; d++) {
        bool l = low && d == lowest, h = high && d == to;
        int last = d;
        while (m->factor == 1 && !l && !h && last < to && !(high && last + 1 == to))
            last++;
        gexpr rest = tight_digits(m, i + 1, l, h, (remainder * 10 + d) % m->factor);
        e = alt2(m, e, seq2(m, digit(m, d, last), rest));
        d = last;
    }
    return pointed(m, i, e);
}

/* Neither bound has this many digits. */
static gexpr loose_digits(struct maker *m)
{
    gexpr e = GEXPR_NONE;
    int least = m->n_digit > 1 ? 1 : 0;
    if (m->factor == 1)
        return seq2(m, digit(m, least, 9), free_digits(m, 1, 0));
    for (int d = least; d <= 9; d++)
        e = alt2(m, e, seq2(m, digit(m, d, d), free_digits(m, 1, d % m->factor)));
    return e;
}

/* All of the range. */
static gexpr within_with(struct maker m, const struct range *r, bool is_fraction)
{
    m.r = r;
    int least = (int)strlen(r->low.digits), most = (int)strlen(r->high.digits);
    int own = (int)(strlen(r->low.fraction) > strlen(r->high.fraction) ? strlen(r->low.fraction)
                                                                       : strlen(r->high.fraction));
    gexpr e = GEXPR_NONE;
    if (compare(&r->low, &r->high) > 0)
        return GEXPR_NONE;
    if (m.factor > 1)
        m.memo = mem_try_array((DIGITS_MAX + 1) * FACTOR_MAX, sizeof(gexpr));
    if (m.factor > 1 && !m.memo)
        return -1;
    for (m.n_digit = least; m.n_digit <= most; m.n_digit++) {
        if (m.memo)
            memset(m.memo, 0, (DIGITS_MAX + 1) * FACTOR_MAX * sizeof(gexpr));
        if (is_fraction) {
            m.n_decimal = EXACT_DIGITS > m.n_digit ? EXACT_DIGITS - m.n_digit : 0;
            if (own > m.n_decimal && !r->low_open && !r->high_open)
                m.n_decimal = own;
        }
        bool low = m.n_digit == least, high = m.n_digit == most;
        if (!is_fraction && m.factor == 1 && m.n_point == 0 && !low &&
            !high) { /* all lengths between at once */
            e = alt2(&m, e, seq2(&m, digit(&m, 1, 9), digits(&m, least, most - 2)));
            m.n_digit = most - 1;
            continue;
        }
        e = alt2(&m, e, low || high ? tight_digits(&m, 0, low, high, 0) : loose_digits(&m));
    }
    free(m.memo);
    return e;
}

static gexpr within(struct grammar_builder *b, const struct range *r, bool is_fraction,
                    bool is_integer, int64_t factor)
{
    const struct maker m = {.b = b, .factor = factor, .must_be_fraction = !is_integer};
    return within_with(m, r, is_fraction);
}

/* ---- integers ---- */

/* ceil or floor of |bound| / unit, for integers; false when out of the range of 64 bits. */
static bool integer_bound(const json_t *v, bool is_low, bool is_open, int64_t *ret)
{
    if (json_is_integer(v)) {
        *ret = json_integer_value(v);
        return !is_open || !__builtin_add_overflow(*ret, is_low ? 1 : -1, ret);
    }
    double d = json_real_value(v), whole = is_low ? __builtin_ceil(d) : __builtin_floor(d);
    if (whole >= 9.2e18 || whole <= -9.2e18) {
        bool outside = is_low ? whole > 0 : whole < 0; /* nothing is beyond */
        *ret = whole > 0 ? INT64_MAX : -INT64_MAX;
        return !outside;
    }
    *ret = (int64_t)whole;
    if (is_open && whole == d)
        *ret += is_low ? 1 : -1;
    return true;
}

static int64_t ceil_div(int64_t a, int64_t b)
{
    return a / b + (a % b != 0 && a > 0);
}

static int64_t floor_div(int64_t a, int64_t b)
{
    return a / b - (a % b != 0 && a < 0);
}

/* At least so many digits, of n that is not negative. */
static void write_padded(char ret[DIGITS_MAX + 1], int64_t n, int n_digit)
{
    char text[32];
    int skip = 0;
    snprintf(text, sizeof(text), "%019lld", (long long)n);
    while (text[skip] == '0' && DIGITS_MAX - skip > n_digit)
        skip++;
    memcpy(ret, text + skip, (size_t)(DIGITS_MAX - skip) + 1);
}

static gexpr integers_between(struct grammar_builder *b, int64_t low, int64_t high, int64_t factor)
{
    struct range r = {0};
    write_padded(r.low.digits, low, 1);
    write_padded(r.high.digits, high, 1);
    return within(b, &r, false, true, factor);
}

/* Multiples are those of a small factor with zeros behind. */
static gexpr integers(struct grammar_builder *b, const struct number_bounds *n)
{
    struct maker m = {.b = b};
    int64_t low = -INTEGER_MAX, high = INTEGER_MAX, unit = 1,
            factor = n->multiple ? n->multiple : 1;
    char zeros[24] = "";
    if ((n->low && !integer_bound(n->low, true, n->low_open, &low)) ||
        (n->high && !integer_bound(n->high, false, n->high_open, &high)))
        return GEXPR_NONE;
    if (high < -INT64_MAX) /* the one below is not written: it has no opposite in 64 bits */
        return GEXPR_NONE;
    for (; factor % 10 == 0; factor /= 10, unit *= 10)
        strcat(zeros, "0");
    low = ceil_div(low < -INT64_MAX ? -INT64_MAX : low, unit);
    high = floor_div(high, unit);
    if (factor > 1 && (!n->low || !n->high)) { /* each digit is dear here: fewer of them */
        low = n->low || low > -1000000000000 ? low : -1000000000000;
        high = n->high || high < 1000000000000 ? high : 1000000000000;
    }
    gexpr e = low <= 0 && high >= 0 ? text(&m, "0") : GEXPR_NONE;
    if (high >= 1)
        e = alt2(&m, e,
                 seq2(&m, integers_between(b, low > 1 ? low : 1, high, factor), text(&m, zeros)));
    if (low <= -1) {
        gexpr below = integers_between(b, high < -1 ? -high : 1, -low, factor);
        e = alt2(&m, e, seq2(&m, text(&m, "-"), seq2(&m, below, text(&m, zeros))));
    }
    return e;
}

/* ---- multiples of a fraction ---- */

static int64_t gcd(int64_t a, int64_t b)
{
    while (b != 0) {
        int64_t t = a % b;
        a = b;
        b = t;
    }
    return a;
}

static int64_t power_of_ten(int n)
{
    int64_t p = 1;
    while (n-- > 0)
        p *= 10;
    return p;
}

/* ceil or floor of bound * 10^n; false when it has too many digits. */
static bool scaled_bound(const json_t *v, int n, bool is_low, bool is_open, int64_t *ret)
{
    struct decimal d;
    if (!decimal_of(v, &d))
        return false;
    int n_digit = (int)strlen(d.digits), n_fraction = (int)strlen(d.fraction);
    int64_t x = 0;
    for (int i = 0; i < n_digit + n; i++) {
        char c = i < n_digit ? d.digits[i] : digit_at(d.fraction, i - n_digit, n_fraction);
        x = x * 10 + (c - '0');
        if (x > EXACT_MAX)
            return false;
    }
    bool is_below = json_number_value(v)<0, has_more = n_fraction> n;
    x = is_below ? -x : x;
    if (has_more) /* cut off towards 0 */
        x += is_low && !is_below ? 1 : !is_low && is_below ? -1 : 0;
    else if (is_open)
        x += is_low ? 1 : -1;
    *ret = x;
    return true;
}

/* From low to high, in units of the last of m.n_point decimals. */
static gexpr pointed_between(struct maker m, int64_t low, int64_t high)
{
    struct range r = {0};
    if (low > high)
        return GEXPR_NONE;
    write_padded(r.low.digits, low, m.n_point + 1);
    write_padded(r.high.digits, high, m.n_point + 1);
    return within_with(m, &r, false);
}

/* With n decimals; what is in units of those is a multiple of a part of the factor. */
static gexpr with_decimals(struct grammar_builder *b, const struct number_bounds *n, int n_point,
                           bool must_be_fraction)
{
    struct maker m = {.b = b, .n_point = n_point, .last_nonzero = must_be_fraction};
    m.factor = n->multiple / gcd(n->multiple, power_of_ten(n->n_decimal - n_point));
    int64_t most = m.factor > 1 ? 999999999999 : EXACT_MAX; /* each digit is dear with a factor */
    int64_t low = -most, high = most;
    if ((n->low && !scaled_bound(n->low, n_point, true, n->low_open, &low)) ||
        (n->high && !scaled_bound(n->high, n_point, false, n->high_open, &high)))
        return GEXPR_NONE;
    gexpr plus = pointed_between(m, low > 0 ? low : 0, high);
    gexpr minus = pointed_between(m, high < -1 ? -high : 1, -low);
    return alt2(&m, plus, seq2(&m, text(&m, "-"), minus));
}

static gexpr fraction_multiples(struct grammar_builder *b, const struct number_bounds *n,
                                unsigned types)
{
    struct maker m = {.b = b};
    gexpr e = GEXPR_NONE;
    if (!(types & TYPE_FRACTION)) {
        struct number_bounds whole = *n;
        whole.n_decimal = 0;
        whole.multiple = n->multiple / gcd(n->multiple, power_of_ten(n->n_decimal));
        return integers(b, &whole);
    }
    for (int i = types & TYPE_INTEGER ? 0 : 1; i <= n->n_decimal; i++)
        e = alt2(&m, e, with_decimals(b, n, i, !(types & TYPE_INTEGER)));
    return e;
}

bool schema_number_decimal(const json_t *v, int64_t *ret_digits, int *ret_n)
{
    struct decimal d;
    int64_t x = 0;
    if (!decimal_of(v, &d) || strlen(d.digits) + strlen(d.fraction) > EXACT_DIGITS)
        return false;
    for (const char *c = d.digits; *c; c++)
        x = x * 10 + (*c - '0');
    for (const char *c = d.fraction; *c; c++)
        x = x * 10 + (*c - '0');
    *ret_digits = x;
    *ret_n = (int)strlen(d.fraction);
    return true;
}

bool schema_number_is_multiple(const json_t *v, const struct number_bounds *n)
{
    struct decimal d;
    int64_t rest = 0;
    if (!decimal_of(v, &d) || (int)strlen(d.fraction) > n->n_decimal)
        return false;
    for (const char *c = d.digits; *c; c++)
        rest = (rest * 10 + (*c - '0')) % n->multiple;
    for (int i = 0; i < n->n_decimal; i++)
        rest = (rest * 10 + (digit_at(d.fraction, i, (int)strlen(d.fraction)) - '0')) % n->multiple;
    return rest == 0;
}

/* ---- all numbers ---- */

/* [1-9](.d+)?e[+-]?ddd: never 0, never beyond what a double holds. */
static gexpr with_exponent(struct maker *m)
{
    gexpr fraction = none_or(m, seq2(m, text(m, "."), digits(m, 1, DECIMALS_MAX)));
    gexpr letter = alt2(m, text(m, "e"), text(m, "E"));
    gexpr sign = none_or(m, alt2(m, text(m, "+"), text(m, "-")));
    gexpr hundreds = seq2(m, digit(m, 1, 2), digits(m, 2, 2));
    gexpr power =
        alt2(m, alt2(m, digits(m, 1, 2), hundreds), seq2(m, text(m, "30"), digit(m, 0, 6)));
    return seq2(m, digit(m, 1, 9), seq2(m, fraction, seq2(m, letter, seq2(m, sign, power))));
}

/* Without a sign; zero only if asked for. */
static gexpr unbounded(struct maker *m, bool with_zero, bool must_be_fraction)
{
    struct range r = {.low = {"0", ""}, .low_open = true};
    memset(r.high.digits, '9', EXACT_DIGITS);
    if (must_be_fraction)
        return within(m->b, &r, true, false, 1);
    gexpr point = text(m, ".");
    gexpr whole = seq2(m, digit(m, 1, 9), digits(m, 0, 17));
    gexpr tail = none_or(m, seq2(m, point, digits(m, 1, DECIMALS_MAX)));
    gexpr small = seq2(m, text(m, "0"), seq2(m, point, nonzero_decimals(m, DECIMALS_MAX)));
    gexpr e = with_zero ? seq2(m, alt2(m, text(m, "0"), whole), tail)
                        : alt2(m, seq2(m, whole, tail), small);
    return alt2(m, e, with_exponent(m));
}

struct edge { /* of a range; value NULL: 0 below, as far as digits go above */
    const json_t *value;
    bool is_open;
};

static gexpr half(struct maker *m, struct edge low, struct edge high, bool must_be_fraction)
{
    struct range r = {.low = {"0", ""}, .low_open = low.is_open, .high_open = high.is_open};
    if (low.value && !decimal_of(low.value, &r.low))
        return GEXPR_NONE;
    if (!high.value)
        memset(r.high.digits, '9', EXACT_DIGITS);
    else if (!decimal_of(high.value, &r.high))
        return GEXPR_NONE;
    return within(m->b, &r, true, !must_be_fraction, 1);
}

/* From 0 up. `far` bounds the side away from 0, `near` the other one where it is on this side; a
 * side without bounds may have an exponent. */
static gexpr side(struct maker *m, struct edge near, struct edge far, bool with_zero,
                  bool must_be_fraction)
{
    if (!near.value && !far.value)
        return unbounded(m, with_zero, must_be_fraction);
    if (!near.value)
        near.is_open = !with_zero;
    return half(m, near, far, must_be_fraction);
}

static gexpr numbers(struct grammar_builder *b, const struct number_bounds *n, bool fraction)
{
    struct maker m = {.b = b};
    struct edge low = {n->low, n->low && n->low_open}, high = {n->high, n->high && n->high_open};
    double from = n->low ? json_number_value(n->low) : -1;
    double to = n->high ? json_number_value(n->high) : 1;
    const struct edge none = {NULL, false};
    bool zero = from <= 0 && to >= 0 && !(from == 0 && low.is_open) && !(to == 0 && high.is_open);
    gexpr plus = GEXPR_NONE, minus = GEXPR_NONE;
    if (to >= 0)
        plus = side(&m, from > 0 ? low : none, high, zero, fraction);
    if (from < 0)
        minus = side(&m, to < 0 ? high : none, low, zero && !n->low && !n->high, fraction);
    return alt2(&m, plus, seq2(&m, text(&m, "-"), minus));
}

gexpr schema_number_expr(struct grammar_builder *b, const struct number_bounds *n, unsigned types)
{
    if (n->n_decimal > 0)
        return fraction_multiples(b, n, types);
    if (!(types & TYPE_FRACTION))
        return integers(b, n);
    return numbers(b, n, !(types & TYPE_INTEGER));
}

bool schema_number_ok(const struct number_bounds *n)
{
    struct decimal d;
    int64_t factor = n->multiple;
    int64_t x;
    while (factor > 0 && factor % 10 == 0)
        factor /= 10;
    if (n->n_decimal > 0 && ((n->low && !scaled_bound(n->low, n->n_decimal, true, false, &x)) ||
                             (n->high && !scaled_bound(n->high, n->n_decimal, false, false, &x))))
        return false;
    return factor <= FACTOR_MAX && (!n->low || decimal_of(n->low, &d)) &&
           (!n->high || decimal_of(n->high, &d));
}
