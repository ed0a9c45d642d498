/*
 * keep_alive: see keep_alive.h.
 */
#include "api/keep_alive.h"

#include "api/fields.h"
#include "base/mem.h"

#include <math.h>

#define MS_MAX 1e15 /* 30000 years; it still fits an int64_t with the clock added */

static bool from_ms(double ms, int64_t *ret_ms)
{
    if (!isfinite(ms))
        return false;
    int64_t whole = ms < 0 ? KEEP_ALIVE_FOREVER : (int64_t)(ms < MS_MAX ? ms : MS_MAX);
    *ret_ms = whole == 0 && ms > 0 ? 1 : whole; /* next to nothing is not "at once" */
    return true;
}

static size_t number_len(struct str s)
{
    size_t n = 0;
    while (n < s.len && ((s.ptr[n] >= '0' && s.ptr[n] <= '9') || s.ptr[n] == '.'))
        n++;
    return n;
}

static double unit_ms(struct str unit)
{
    static const struct {
        const char *name;
        double ms;
    } units[] = {{"ns", 1e-6}, {"us", 1e-3}, {"µs", 1e-3}, {"ms", 1},
                 {"s", 1e3},   {"m", 60e3},  {"h", 3600e3}};
    for (size_t i = 0; i < ARRAY_LEN(units); i++)
        if (str_eq_z(unit, units[i].name))
            return units[i].ms;
    return -1;
}

bool keep_alive_text(struct str text, int64_t *ret_ms)
{
    double total = 0, x;
    if (str_to_f64(text, &x))
        return from_ms(x * 1e3, ret_ms);
    bool negative = text.len > 0 && text.ptr[0] == '-';
    struct str rest = str_from(text, text.len > 0 && (negative || text.ptr[0] == '+'));
    if (rest.len == 0)
        return false;
    while (rest.len > 0) {
        size_t n = number_len(rest), m = n;
        while (m < rest.len && rest.ptr[m] != '.' && !(rest.ptr[m] >= '0' && rest.ptr[m] <= '9'))
            m++;
        double ms = unit_ms(str_sub(rest, n, m - n));
        if (n == 0 || ms < 0 || !str_to_f64(str_sub(rest, 0, n), &x))
            return false;
        total += x * ms;
        rest = str_from(rest, m);
    }
    return from_ms(negative ? -total : total, ret_ms);
}

int keep_alive_json(const char *name, const json_t *value, int64_t *ret_ms, struct err *err)
{
    if (json_is_number(value) && from_ms(json_number_value(value) * 1e3, ret_ms))
        return 0;
    if (json_is_string(value) && keep_alive_text(json_str(value), ret_ms))
        return 0;
    if (!json_is_number(value) && !json_is_string(value))
        return api_wrong_type(name, "a number of seconds or a duration such as \"5m\"", value, err);
    return err_set_param(err, ERR_INVALID, name,
                         "'%s' must be a number of seconds or a duration such as \"5m\" or "
                         "\"1h30m\"; 0 unloads, a negative one keeps",
                         name);
}
