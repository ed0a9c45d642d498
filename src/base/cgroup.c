/*
 * cgroup: see cgroup.h.
 *
 * What a group uses (memory.current) has the pages of files in it that were only read: the kernel
 * drops them when it needs the room, so they count as left. Those that are mapped do not: weights
 * that another model works with are among them.
 */
#include "base/cgroup.h"

#include "base/fs.h"

#include <stdio.h>
#include <string.h>

#define PATH_MAX_  4096
#define STAT_MAX   (64 << 10)
#define GROUPS_MAX (64 << 10)

bool cgroup_read(const char *dir, const char *name, struct buf *out)
{
    char path[PATH_MAX_];
    int n = snprintf(path, sizeof path, "%s/%s", dir, name);
    buf_clear(out);
    return n > 0 && (size_t)n < sizeof path && fs_read(path, out, NULL) == 0;
}

/* From `group` up to the root of the hierarchy that is mounted at dir. */
static void each_above(const char *dir, struct str group, bool v2, cgroup_fn fn, void *ctx)
{
    char path[PATH_MAX_];
    for (;;) {
        if (str_eq_z(group, "/"))
            group.len = 0;
        int n = snprintf(path, sizeof path, "%s%.*s", dir, STR_ARG(group));
        if (n > 0 && (size_t)n < sizeof path)
            fn(ctx, path, v2);
        if (group.len == 0)
            return;
        ptrdiff_t slash = str_rchr(group, '/');
        group.len = slash > 0 ? (size_t)slash : 0;
    }
}

/* Is it one of the controllers of a version 1 line? */
static bool names(struct str controllers, const char *controller)
{
    struct str one;
    while (str_split(&controllers, ',', &one))
        if (str_eq_z(one, controller))
            return true;
    return false;
}

void cgroup_each(const char *proc, const char *sys, const char *controller, cgroup_fn fn, void *ctx)
{
    struct buf text;
    buf_init(&text, GROUPS_MAX);
    struct str rest = STR(""), line, id, controllers;
    if (fs_read(proc, &text, NULL) == 0)
        rest = buf_str(&text);
    while (str_split(&rest, '\n', &line)) { /* id:controllers:/path */
        if (!str_split(&line, ':', &id) || !str_split(&line, ':', &controllers) || !line.ptr)
            continue;
        bool v2 = str_eq_z(id, "0") && controllers.len == 0;
        char dir[PATH_MAX_];
        int n = snprintf(dir, sizeof dir, "%s%s%s", sys, v2 ? "" : "/", v2 ? "" : controller);
        if ((v2 || names(controllers, controller)) && n > 0 && (size_t)n < sizeof dir)
            each_above(dir, line, v2, fn, ctx);
    }
    buf_release(&text);
}

/* ---- memory ---- */

struct look {
    struct cgroup_memory found;
    struct buf text;
};

static uint64_t number(struct look *l, const char *dir, const char *name, uint64_t otherwise)
{
    uint64_t n;
    /* "max", and in version 1 a number beyond any machine's memory, is no limit */
    if (!cgroup_read(dir, name, &l->text) || !str_to_u64(str_trim(buf_str(&l->text)), &n))
        return otherwise;
    return n;
}

/* The number after a key of the memory.stat in l->text; 0 if absent. */
static uint64_t stat_of(const struct look *l, const char *key)
{
    struct str rest = buf_str(&l->text), line, word;
    uint64_t n = 0;
    while (str_split(&rest, '\n', &line))
        if (str_split(&line, ' ', &word) && str_eq_z(word, key))
            return str_to_u64(str_trim(line), &n) ? n : 0;
    return 0;
}

static uint64_t droppable(struct look *l, const char *dir, bool v2)
{
    if (!cgroup_read(dir, "memory.stat", &l->text))
        return 0;
    uint64_t read = v2 ? stat_of(l, "inactive_file") + stat_of(l, "active_file")
                       : stat_of(l, "total_inactive_file") + stat_of(l, "total_active_file");
    uint64_t mapped = stat_of(l, v2 ? "file_mapped" : "total_mapped_file");
    return read > mapped ? read - mapped : 0;
}

static void look_at(void *ctx, const char *dir, bool v2)
{
    struct look *l = ctx;
    uint64_t max = number(l, dir, v2 ? "memory.max" : "memory.limit_in_bytes", UINT64_MAX);
    uint64_t high = v2 ? number(l, dir, "memory.high", UINT64_MAX) : UINT64_MAX;
    max = high < max ? high : max; /* past `high` the kernel slows the group down to a crawl */
    if (max == UINT64_MAX)
        return;
    uint64_t used = number(l, dir, v2 ? "memory.current" : "memory.usage_in_bytes", 0);
    uint64_t drop = droppable(l, dir, v2);
    used = used > drop ? used - drop : 0;
    uint64_t left = max > used ? max - used : 0;
    l->found.max = max < l->found.max ? max : l->found.max;
    l->found.left = left < l->found.left ? left : l->found.left;
}

struct cgroup_memory cgroup_memory(const char *proc, const char *sys)
{
    struct look l = {.found = {UINT64_MAX, UINT64_MAX}};
    buf_init(&l.text, STAT_MAX);
    cgroup_each(proc, sys, "memory", look_at, &l);
    buf_release(&l.text);
    return l.found;
}
