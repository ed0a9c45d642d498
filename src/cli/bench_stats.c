/*
 * bench_stats: see bench_stats.h.
 */
#include "cli/bench_stats.h"

#include "base/mem.h"
#include "base/str.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double at(const double *sorted, int n, double fraction)
{
    double where = fraction * (n - 1);
    int i = (int)where;
    return i + 1 < n ? sorted[i] + (where - i) * (sorted[i + 1] - sorted[i]) : sorted[n - 1];
}

struct spread spread_of(const double *x, int n)
{
    if (n <= 0)
        return (struct spread){0};
    double *s = mem_zero((size_t)n, sizeof(*s));
    memcpy(s, x, (size_t)n * sizeof(*s));
    qsort(s, (size_t)n, sizeof(*s), ascending);
    struct spread r = {s[0], at(s, n, 0.25), at(s, n, 0.5), at(s, n, 0.75), s[n - 1]};
    free(s);
    return r;
}

static bool one_number(struct str text, int64_t *ret)
{
    int64_t unit = 1;
    text = str_trim(text);
    if (text.len > 0 && (text.ptr[text.len - 1] == 'k' || text.ptr[text.len - 1] == 'K')) {
        unit = 1024;
        text.len--;
    }
    return str_to_i64(text, ret) && !__builtin_mul_overflow(*ret, unit, ret);
}

static bool holds(const struct numbers *l, int v)
{
    for (int i = 0; i < l->n; i++)
        if (l->v[i] == v)
            return true;
    return false;
}

int numbers_parse(const char *text, const char *name, int min, int max, struct numbers *ret,
                  struct err *err)
{
    struct numbers l = {.n = 0};
    struct str rest = str_z(text), word;
    while (str_split(&rest, ',', &word)) {
        int64_t v;
        if (!one_number(word, &v))
            return err_set(err, ERR_INVALID,
                           "--%s: '%.*s' is no whole number; give some, as in 0,4096,16k", name,
                           (int)(word.len < 40 ? word.len : 40), word.ptr);
        if (v < min || v > max)
            return err_set(err, ERR_INVALID, "--%s: %lld is not between %d and %d", name,
                           (long long)v, min, max);
        if (holds(&l, (int)v))
            return err_set(err, ERR_INVALID, "--%s: %lld is given twice", name, (long long)v);
        if (l.n == NUMBERS_MAX)
            return err_set(err, ERR_INVALID, "--%s: at most %d numbers", name, NUMBERS_MAX);
        l.v[l.n++] = (int)v;
    }
    if (l.n == 0)
        return err_set(err, ERR_INVALID, "--%s: no number", name);
    *ret = l;
    return 0;
}
