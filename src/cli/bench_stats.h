/*
 * bench_stats: what `hearth bench` needs of numbers: the spread of samples, and lists of numbers as
 * they are given on a command line.
 */
#ifndef HEARTH_CLI_BENCH_STATS_H
#define HEARTH_CLI_BENCH_STATS_H

#include "base/err.h"

#include <stdint.h>

/* Quartiles by linear interpolation between the sorted samples. */
struct spread {
    double min, q1, median, q3, max;
};

/* n 0: all zero. */
struct spread spread_of(const double *x, int n);

#define NUMBERS_MAX 32

struct numbers {
    int v[NUMBERS_MAX];
    int n;
};

/*
 * "512", "0,4096,16384", "4k,16k": whole numbers in [min, max], k = 1024, each once, at most
 * NUMBERS_MAX, in the order given. `name` is the option, for the error. ERR_INVALID.
 */
int numbers_parse(const char *text, const char *name, int min, int max, struct numbers *ret,
                  struct err *err) __attribute__((warn_unused_result));

#endif
