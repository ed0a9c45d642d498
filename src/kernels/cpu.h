/*
 * cpu: what this processor and this container offer. CPUID and XGETBV; hwloc; cgroup quota.
 *
 * Nothing is cached; call at start, on any thread. The topology and the quota are read from /proc
 * and /sys: call before a sandbox closes them.
 */
#ifndef HEARTH_KERNELS_CPU_H
#define HEARTH_KERNELS_CPU_H

#include "base/err.h"

#include <stdbool.h>

/*
 * In ascending preference; a level need not include the one before it. avx2: AVX2, FMA, F16C.
 * avxvnni: those and AVX-VNNI (256 bits). avx512: those of avx2 and AVX-512 F, BW, VL, DQ.
 * avx512vnni: those of avx512 and AVX-512 VNNI. neon: on arm64, dot products
 * (ARMv8.2). neoni8mm: those and products of 8-bit matrices (ARMv8.6).
 */
enum cpu_level {
    CPU_GENERIC,
    CPU_AVX2,
    CPU_AVXVNNI,
    CPU_AVX512,
    CPU_AVX512VNNI,
    CPU_NEON,
    CPU_NEONI8MM,
    CPU_LEVELS, /* how many */
};

/* Whether this processor, operating system and build support the level. */
bool cpu_level_has(enum cpu_level level);

/* The best level that this processor, operating system and build support. */
enum cpu_level cpu_level_detect(void);
/* HEARTH_CPU=NAME (cpu_level_name) forces a level; ERR_INVALID when unknown, ERR_UNSUPPORTED when
 * the machine lacks it. Unset: the best. */
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
