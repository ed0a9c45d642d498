/*
 * cgroup: what the control groups of this process grant it. A limit holds for a group and all below
 * it, so each group counts, from the process's own up to the root; in version 2 or version 1 of the
 * interface. Nothing is cached; the files are read from /proc and /sys: call before a sandbox
 * closes them.
 */
#ifndef HEARTH_BASE_CGROUP_H
#define HEARTH_BASE_CGROUP_H

#include "base/buf.h"

#include <stdbool.h>
#include <stdint.h>

#define CGROUP_PROC "/proc/self/cgroup"
#define CGROUP_SYS  "/sys/fs/cgroup"

/* dir: the group's folder, which may be missing (a container sees less than its path says). */
typedef void (*cgroup_fn)(void *ctx, const char *dir, bool v2);

/* fn for each group that controls "cpu" or "memory". The paths: as above, others for tests. */
void cgroup_each(const char *proc, const char *sys, const char *controller, cgroup_fn fn,
                 void *ctx);
/* A small file of a group; false: it is not there. Replaces what out holds. */
bool cgroup_read(const char *dir, const char *name, struct buf *out);

/* UINT64_MAX: no group sets a limit. */
struct cgroup_memory {
    uint64_t max;  /* bytes, of all processes of the narrowest group */
    uint64_t left; /* of that limit or a wider one, before something has to go */
};
struct cgroup_memory cgroup_memory(const char *proc, const char *sys);

#endif
