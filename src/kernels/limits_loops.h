/*
 * limits_loops: register-only loops of the dot instructions (private to kernels/limits).
 *
 * A loop runs n rounds and returns the multiply-adds it did. Call one only where the processor has
 * its instructions.
 */
#ifndef HEARTH_KERNELS_LIMITS_LOOPS_H
#define HEARTH_KERNELS_LIMITS_LOOPS_H

#include <stdint.h>

typedef int64_t (*limits_loop_fn)(int64_t n);

struct limits_loop {
    const char *level; /* as cpu_level_name says */
    const char *instruction;
    limits_loop_fn fn;
};

/* The loops of this build's architecture, ended by a row without a level. */
extern const struct limits_loop limits_loops_native[];

#endif
