/*
 * cgroup: the memory that control groups grant, in made-up trees: nested groups, no limits,
 * version 1, what is used and what of that could be dropped. (Quotas of cpus: test_pool.)
 */
#include "base/cgroup.h"
#include "base/fs.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static char root[] = "/tmp/test_cgroup.XXXXXX";

static void put(const char *name, const char *text)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s", root, name);
    char *slash = strrchr(path, '/');
    *slash = '\0';
    assert_int_equal(fs_mkdirs(path, 0700, NULL), 0);
    *slash = '/';
    assert_int_equal(fs_write_atomic(path, str_z(text), 0600, NULL), 0);
}

static void check(uint64_t max, uint64_t left)
{
    char proc[512], sys[512];
    snprintf(proc, sizeof proc, "%s/cgroup", root);
    snprintf(sys, sizeof sys, "%s/sys", root);
    struct cgroup_memory m = cgroup_memory(proc, sys);
    assert_int_equal(m.max, max);
    assert_int_equal(m.left, left);
}

static void clean(void)
{
    char command[600];
    snprintf(command, sizeof command, "rm -rf %s/cgroup %s/sys", root, root);
    assert_int_equal(system(command), 0);
}

static void test_no_limit(void **state)
{
    (void)state;
    check(UINT64_MAX, UINT64_MAX); /* no such files */
    put("cgroup", "0::/\n");
    check(UINT64_MAX, UINT64_MAX);
    put("sys/memory.max", "max\n");
    put("sys/memory.current", "5000\n");
    check(UINT64_MAX, UINT64_MAX);
    put("sys/memory.max", "garbage\n");
    check(UINT64_MAX, UINT64_MAX);
    put("cgroup", "nonsense\n0:\n::\n");
    check(UINT64_MAX, UINT64_MAX);
    clean();
}

/* A service's limit stands in its own group, not in the root; a slice above may be narrower. */
static void test_nested(void **state)
{
    (void)state;
    put("cgroup", "0::/a.slice/b.service\n");
    put("sys/memory.max", "900000\n");
    put("sys/a.slice/b.service/memory.max", "300000\n");
    put("sys/a.slice/b.service/memory.current", "100000\n");
    check(300000, 200000);
    put("sys/a.slice/memory.max", "400000\n");
    put("sys/a.slice/memory.current", "350000\n"); /* others in the slice use it */
    check(300000, 50000);
    put("sys/a.slice/memory.current", "450000\n");
    check(300000, 0);
    put("sys/a.slice/memory.max", "max\n");
    put("sys/a.slice/memory.high", "250000\n");
    put("sys/a.slice/memory.current", "150000\n");
    check(250000, 100000);
    clean();
    put("cgroup", "0::/docker/0123\n"); /* a container that sees its own group as the root */
    put("sys/memory.max", "1000\n");
    check(1000, 1000);
    clean();
}

/* Pages of files that were read once are dropped when room is needed; mapped ones are in use. */
static void test_read_files_are_no_use(void **state)
{
    (void)state;
    put("cgroup", "0::/\n");
    put("sys/memory.max", "1000000\n");
    put("sys/memory.current", "990000\n");
    check(1000000, 10000);
    put("sys/memory.stat", "anon 90000\nfile 900000\nfile_mapped 200000\ninactive_anon 1\n"
                           "inactive_file 600000\nactive_file 300000\n");
    check(1000000, 710000);
    put("sys/memory.stat", "file_mapped 950000\ninactive_file 600000\nactive_file 300000\n");
    check(1000000, 10000);
    put("sys/memory.stat", "inactive_file 5000000\n"); /* counted at another moment */
    check(1000000, 1000000);
    clean();
}

static void test_version_1(void **state)
{
    (void)state;
    put("cgroup", "11:cpuset:/x\n9:memory:/d\n4:cpu,cpuacct:/y\n0::/nowhere\n");
    put("sys/memory/memory.limit_in_bytes", "9223372036854771712\n");
    put("sys/memory/d/memory.limit_in_bytes", "500000\n");
    put("sys/memory/d/memory.usage_in_bytes", "400000\n");
    check(500000, 100000);
    put("sys/memory/d/memory.stat",
        "cache 1\ninactive_file 1\ntotal_inactive_file 200000\ntotal_active_file 100000\n"
        "total_mapped_file 50000\n");
    check(500000, 350000);
    put("sys/memory.max", "7\n"); /* of version 2, where this process is not */
    put("cgroup", "9:memory:/d\n");
    check(500000, 350000);
    clean();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_limit),
        cmocka_unit_test(test_nested),
        cmocka_unit_test(test_read_files_are_no_use),
        cmocka_unit_test(test_version_1),
    };
    if (mkdtemp(root) == NULL)
        return 1;
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    rmdir(root);
    return failed;
}
