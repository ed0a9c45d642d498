/*
 * starved: how long a process that makes no progress wanted a processor and got none, so that the
 * watchdog tells a worker that stands still from one that others keep from computing.
 *
 * Source: run_delay in /proc/PID/task/TID/schedstat, Linux Documentation/scheduler/sched-stats.rst.
 * Where the kernel keeps no such account nothing is ever forgiven. Loop thread only.
 */
#ifndef HEARTH_GATEWAY_STARVED_H
#define HEARTH_GATEWAY_STARVED_H

#include <stdint.h>
#include <sys/types.h>

struct starved {
    int64_t look_ms;     /* of the last look; 0: none yet */
    int64_t waited_ms;   /* as it was then */
    int64_t progress_ms; /* as it was then: when the process last moved */
    int64_t forgiven_ms; /* of the time since progress_ms */
};

/* Milliseconds that all threads of the process waited for a processor, since each began; 0 where it
 * is not known. */
int64_t starved_waited_ms(pid_t pid);
/*
 * Looks now; how much of the time since progress_ms is not to be held against the process: what its
 * threads waited, and at most three quarters, so that one that hangs is found in four times the
 * time even on a machine that is never idle.
 */
int64_t starved_forgive(struct starved *s, int64_t now_ms, int64_t progress_ms, int64_t waited_ms);

#endif
