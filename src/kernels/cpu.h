/*
 * cpu: what this processor and this container offer. CPUID and XGETBV; hwloc; cgroup quota.
 */
#ifndef HEARTH_KERNELS_CPU_H
#define HEARTH_KERNELS_CPU_H

#include "base/err.h"

enum cpu_level { CPU_GENERIC, CPU_AVX2 }; /* later: AVXVNNI, AVX512, NEON */

/* The best level this processor and operating system support. */
enum cpu_level cpu_level_detect(void);
/* HEARTH_CPU=generic|avx2 forces a level; ERR_INVALID when unknown, ERR_UNSUPPORTED when the
 * machine lacks it. Unset: the best. */
int cpu_level_choose(enum cpu_level *ret, struct err *err);
const char *cpu_level_name(enum cpu_level level);
/* Physical cores in this process's affinity mask, at most ceil(cgroup quota); at least 1. */
int cpu_threads_default(void);
/* The cpus to pin threads to: one per physical core in the affinity mask. Returns how many were
 * written (<= max). */
int cpu_physical(int *ret_cpu, int max);

#endif
