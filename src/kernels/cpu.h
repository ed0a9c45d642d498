/*
 * cpu: what this processor and this container offer. CPUID and XGETBV; hwloc; cgroup quota.
 *
 * Nothing is cached; call at start, on any thread. The topology and the quota are read from /proc
 * and /sys: call before a sandbox closes them.
 */
#ifndef HEARTH_KERNELS_CPU_H
#define HEARTH_KERNELS_CPU_H

#include "base/err.h"

enum cpu_level { CPU_GENERIC, CPU_AVX2 }; /* later: AVXVNNI, AVX512, NEON */

/* The best level that this processor, operating system and build support. */
enum cpu_level cpu_level_detect(void);
/* HEARTH_CPU=generic|avx2 forces a level; ERR_INVALID when unknown, ERR_UNSUPPORTED when the
 * machine lacks it. Unset: the best. */
int cpu_level_choose(enum cpu_level *ret, struct err *err);
const char *cpu_level_name(enum cpu_level level);
/* Physical cores in this process's affinity mask, at most ceil(cgroup quota); at least 1. */
int cpu_threads_default(void);
/* The cpus to run threads on: one per physical core in the affinity mask. Returns how many were
 * written (<= max). */
int cpu_physical(int *ret_cpu, int max);
/*
 * ceil(cpus) that the control groups grant, or 0 when they set no limit: the smallest quota on the
 * way from this process's group to the root, in version 2 or version 1 of the interface.
 * proc_cgroup: "/proc/self/cgroup"; sys_cgroup: "/sys/fs/cgroup" (others for tests).
 */
int cpu_quota(const char *proc_cgroup, const char *sys_cgroup);

#endif
