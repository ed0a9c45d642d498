/*
 * clock: monotonic time for durations, wall time for stamps.
 */
#ifndef HEARTH_BASE_CLOCK_H
#define HEARTH_BASE_CLOCK_H

#include <stdint.h>

int64_t clock_ns(void);      /* monotonic nanoseconds */
int64_t clock_ms(void);      /* monotonic milliseconds */
int64_t clock_wall_ms(void); /* milliseconds since 1970, UTC */

#endif
