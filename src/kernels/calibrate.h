/*
 * calibrate: how many threads this machine should use, by measuring.
 *
 * Decoding reads every weight once for a column or two and is bound by memory: often fewer threads
 * than cores saturate it, and more only get in each other's way. Prefill is bound by arithmetic.
 * Both are timed on a small made-up product with several thread counts, interleaved, best of a few
 * rounds. Takes less than a second and up to CALIBRATE_BYTES_MAX of memory for that time.
 */
#ifndef HEARTH_KERNELS_CALIBRATE_H
#define HEARTH_KERNELS_CALIBRATE_H

#include "kernels/kernels.h"

#define CALIBRATE_BYTES_MAX ((size_t)256 << 20)

struct calibration {
    int n_decode, n_prefill; /* threads; n_decode <= n_prefill */
    bool steady;             /* false: the machine was too busy; both are n_max, measure again */
};

/*
 * Times 1 to n_max threads. n_max: those that the machine grants (cpu_threads_default); 1 needs no
 * measuring. The smallest count within a few per cent of the fastest wins. ERR_NOMEM, or that the
 * threads cannot be started. Starts and ends its own pool.
 */
int calibrate_threads(const struct kernels *k, int n_max, struct calibration *ret, struct err *err)
    __attribute__((warn_unused_result));

/* The choice alone, of times [n] measured with count[n] threads; for tests. */
int calibrate_choose(const int *count, const double *time, int n);

#endif
