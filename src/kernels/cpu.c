/*
 * cpu: finds physical cores and cpu quotas. Instruction sets are in cpu_level.c.
 */
#include "kernels/cpu.h"

#include "base/fs.h"
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

static bool read_small(const char *dir, struct str group, const char *name, struct buf *out)
{
    char path[4096];
    int n = snprintf(path, sizeof path, "%s%.*s/%s", dir, STR_ARG(group), name);
    buf_clear(out);
    return n > 0 && (size_t)n < sizeof path && fs_read(path, out, NULL) == 0;
}

static int group_quota(const char *dir, struct str group, bool v2, struct buf *tmp)
{
    if (v2) {
        if (!read_small(dir, group, "cpu.max", tmp))
            return 0;
        struct str rest = str_trim(buf_str(tmp)), quota;
        if (!str_split(&rest, ' ', &quota))
            return 0;
        return quota_cpus(quota, rest);
    }
    if (!read_small(dir, group, "cpu.cfs_quota_us", tmp))
        return 0;
    char quota[32];
    snprintf(quota, sizeof quota, "%.*s", STR_ARG(str_trim(buf_str(tmp))));
    if (!read_small(dir, group, "cpu.cfs_period_us", tmp))
        return 0;
    return quota_cpus(str_z(quota), buf_str(tmp));
}

/* The smallest quota from `group` up to the root of the hierarchy mounted at dir. */
static int path_quota(const char *dir, struct str group, bool v2)
{
    struct buf tmp;
    buf_init(&tmp, 4096);
    int best = 0;
    for (;;) {
        if (str_eq_z(group, "/"))
            group.len = 0;
        int cpus = group_quota(dir, group, v2, &tmp);
        if (cpus > 0 && (best == 0 || cpus < best))
            best = cpus;
        if (group.len == 0)
            break;
        ptrdiff_t slash = str_rchr(group, '/');
        group.len = slash > 0 ? (size_t)slash : 0;
    }
    buf_release(&tmp);
    return best;
}

/* True when "cpu" is one of the controllers of a version 1 line. */
static bool names_cpu(struct str controllers)
{
    struct str one;
    while (str_split(&controllers, ',', &one))
        if (str_eq_z(one, "cpu"))
            return true;
    return false;
}

int cpu_quota(const char *proc_cgroup, const char *sys_cgroup)
{
    struct buf text;
    buf_init(&text, 65536);
    int best = 0;
    struct str rest, line;
    if (fs_read(proc_cgroup, &text, NULL) == 0) {
        rest = buf_str(&text);
        while (str_split(&rest, '\n', &line)) {
            struct str id, controllers;
            if (!str_split(&line, ':', &id) || !str_split(&line, ':', &controllers) || !line.ptr)
                continue;
            bool v2 = str_eq_z(id, "0") && controllers.len == 0;
            if (!v2 && !names_cpu(controllers))
                continue;
            char dir[4096];
            int n = snprintf(dir, sizeof dir, "%s%s", sys_cgroup, v2 ? "" : "/cpu");
            if (n < 0 || (size_t)n >= sizeof dir)
                continue;
            int cpus = path_quota(dir, line, v2);
            if (cpus > 0 && (best == 0 || cpus < best))
                best = cpus;
        }
    }
    buf_release(&text);
    return best;
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
    int quota = cpu_quota("/proc/self/cgroup", "/sys/fs/cgroup");
    if (quota > 0 && quota < n)
        n = quota;
    return n > 0 ? n : 1;
}
