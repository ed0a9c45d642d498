/*
 * cpu: finds physical cores and cpu quotas. Instruction sets are in cpu_level.c.
 */
#include "kernels/cpu.h"

#include "base/cgroup.h"
#include "base/mem.h"

#include <hwloc.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- control groups ---- */

/* Cpus, rounded up, of "quota period" in microseconds; 0 for "max", -1 or nonsense. */
static int quota_cpus(struct str quota, struct str period)
{
    int64_t q, p;
    if (!str_to_i64(str_trim(quota), &q) || !str_to_i64(str_trim(period), &p) || q <= 0 || p <= 0)
        return 0;
    int64_t cpus = q / p + (q % p != 0);
    return cpus > INT32_MAX ? INT32_MAX : (int)cpus;
}

struct quota {
    int best; /* the smallest so far; 0: none */
    struct buf text;
};

static int group_quota(struct quota *q, const char *dir, bool v2)
{
    if (v2) {
        if (!cgroup_read(dir, "cpu.max", &q->text))
            return 0;
        struct str rest = str_trim(buf_str(&q->text)), quota;
        if (!str_split(&rest, ' ', &quota))
            return 0;
        return quota_cpus(quota, rest);
    }
    if (!cgroup_read(dir, "cpu.cfs_quota_us", &q->text))
        return 0;
    char quota[32];
    snprintf(quota, sizeof quota, "%.*s", STR_ARG(str_trim(buf_str(&q->text))));
    if (!cgroup_read(dir, "cpu.cfs_period_us", &q->text))
        return 0;
    return quota_cpus(str_z(quota), buf_str(&q->text));
}

static void look_at(void *ctx, const char *dir, bool v2)
{
    struct quota *q = ctx;
    int cpus = group_quota(q, dir, v2);
    if (cpus > 0 && (q->best == 0 || cpus < q->best))
        q->best = cpus;
}

int cpu_quota(const char *proc_cgroup, const char *sys_cgroup)
{
    struct quota q = {.best = 0};
    buf_init(&q.text, 4096);
    cgroup_each(proc_cgroup, sys_cgroup, "cpu", look_at, &q);
    buf_release(&q.text);
    return q.best;
}

/* ---- physical cores ---- */

/* Without hwloc: every cpu of the affinity mask counts as a core. */
static int affinity_cpus(int *ret_cpu, int max)
{
    int n = 0;
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0)
        for (int cpu = 0; cpu < CPU_SETSIZE && n < max; cpu++)
            if (CPU_ISSET(cpu, &set))
                ret_cpu[n++] = cpu;
    return n;
}

static int topology_cpus(hwloc_topology_t topology, hwloc_bitmap_t bound, int *ret_cpu, int max)
{
    hwloc_bitmap_t mine = hwloc_bitmap_alloc();
    int n = 0;
    hwloc_obj_t core = NULL;
    while (mine && n < max &&
           (core = hwloc_get_next_obj_by_type(topology, HWLOC_OBJ_CORE, core)) != NULL) {
        hwloc_bitmap_and(mine, core->cpuset, bound);
        if (!hwloc_bitmap_iszero(mine))
            ret_cpu[n++] = hwloc_bitmap_first(mine);
    }
    hwloc_bitmap_free(mine);
    return n;
}

int cpu_physical(int *ret_cpu, int max)
{
    hwloc_topology_t topology;
    int n = 0;
    if (hwloc_topology_init(&topology) == 0) {
        hwloc_bitmap_t bound = hwloc_bitmap_alloc();
        hwloc_topology_set_all_types_filter(topology, HWLOC_TYPE_FILTER_KEEP_NONE);
        hwloc_topology_set_type_filter(topology, HWLOC_OBJ_CORE, HWLOC_TYPE_FILTER_KEEP_ALL);
        if (bound && hwloc_topology_load(topology) == 0 &&
            hwloc_get_cpubind(topology, bound, HWLOC_CPUBIND_PROCESS) == 0)
            n = topology_cpus(topology, bound, ret_cpu, max);
        hwloc_bitmap_free(bound);
        hwloc_topology_destroy(topology);
    }
    return n > 0 ? n : affinity_cpus(ret_cpu, max);
}

int cpu_threads_default(void)
{
    int cpu[CPU_SETSIZE];
    int n = cpu_physical(cpu, CPU_SETSIZE);
    int quota = cpu_quota(CGROUP_PROC, CGROUP_SYS);
    if (quota > 0 && quota < n)
        n = quota;
    return n > 0 ? n : 1;
}
