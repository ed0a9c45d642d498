/*
 * sandbox: Landlock and seccomp. Landlock may be missing from the kernel: seccomp alone then
 * forbids opening anything, so the lock holds; the second belt is reported in the log.
 */
#include "worker/sandbox.h"
#include "base/log.h"
#include "base/mem.h"

#include <errno.h>
#include <linux/landlock.h>
#include <seccomp.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANDBOX_POSSIBLE 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANDBOX_POSSIBLE 0
#endif
#endif
#ifndef SANDBOX_POSSIBLE
#define SANDBOX_POSSIBLE 1
#endif

bool sandbox_is_possible(void)
{
    return SANDBOX_POSSIBLE;
}

/* ---- Landlock ---- */

/* All file rights of the kernel's version; those of later versions are unknown to it. */
static uint64_t file_rights(int version)
{
    uint64_t all = (LANDLOCK_ACCESS_FS_MAKE_SYM << 1) - 1; /* version 1: the first 13 bits */
    if (version >= 2)
        all |= 1ull << 13; /* refer */
    if (version >= 3)
        all |= 1ull << 14; /* truncate */
    if (version >= 5)
        all |= 1ull << 15; /* ioctl on devices */
    return all;
}

static bool landlock_everything(void)
{
    long version = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
    if (version < 1)
        return false;
    struct landlock_ruleset_attr attr = {.handled_access_fs = file_rights((int)version)};
    long fd = syscall(SYS_landlock_create_ruleset, &attr, sizeof(attr.handled_access_fs), 0);
    if (fd < 0)
        return false;
    long rc = syscall(SYS_landlock_restrict_self, (int)fd, 0);
    close((int)fd);
    return rc == 0;
}

/* ---- seccomp ---- */

/* Needed for as long as the worker lives. */
static const int run_calls[] = {
    SCMP_SYS(read),
    SCMP_SYS(write),
    SCMP_SYS(writev),
    SCMP_SYS(poll),
    SCMP_SYS(ppoll),
    SCMP_SYS(futex),
    SCMP_SYS(munmap),
    SCMP_SYS(mremap),
    SCMP_SYS(madvise),
    SCMP_SYS(brk),
    SCMP_SYS(close),
    SCMP_SYS(exit),
    SCMP_SYS(exit_group),
    SCMP_SYS(clock_gettime),
    SCMP_SYS(clock_nanosleep),
    SCMP_SYS(nanosleep),
    SCMP_SYS(gettimeofday),
    SCMP_SYS(time),
    SCMP_SYS(sched_yield),
    SCMP_SYS(restart_syscall),
    SCMP_SYS(rt_sigreturn),
    SCMP_SYS(rt_sigprocmask),
    SCMP_SYS(getrandom),
    SCMP_SYS(getpid),
    SCMP_SYS(gettid),
    SCMP_SYS(membarrier),
    SCMP_SYS(set_robust_list), /* a thread that was started before the lock begins after it */
    SCMP_SYS(rseq),
    SCMP_SYS(sysinfo),
    SCMP_SYS(sched_getaffinity),
};

/* Needed to map and load the model and to start threads. */
static const int load_calls[] = {
    SCMP_SYS(fstat),           SCMP_SYS(lseek),        SCMP_SYS(pread64),
    SCMP_SYS(mprotect),        SCMP_SYS(clone),        SCMP_SYS(clone3),
    SCMP_SYS(set_robust_list), SCMP_SYS(rseq),         SCMP_SYS(sched_setaffinity),
    SCMP_SYS(sigaltstack),     SCMP_SYS(rt_sigaction), SCMP_SYS(eventfd2),
    SCMP_SYS(fcntl),           SCMP_SYS(prctl),        SCMP_SYS(seccomp),
    SCMP_SYS(prlimit64),       SCMP_SYS(setrlimit),    SCMP_SYS(getrlimit),
    SCMP_SYS(pwrite64),        SCMP_SYS(fallocate), /* the file of packed weights, if one is given
                                                     */
    SCMP_SYS(flock),           SCMP_SYS(ftruncate), /* the file of prefixes */
};

static int allow(scmp_filter_ctx filter, const int *call, size_t n)
{
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < n; i++)
        rc = seccomp_rule_add(filter, SCMP_ACT_ALLOW, call[i], 0);
    return rc;
}

/* mmap without PROT_EXEC; without a file, too, once the model is mapped. */
static int allow_maps(scmp_filter_ctx filter, bool loading)
{
    if (loading)
        return seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(mmap), 1,
                                SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
    int rc = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(mmap), 2,
                              SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0),
                              SCMP_A3(SCMP_CMP_MASKED_EQ, MAP_ANONYMOUS, MAP_ANONYMOUS));
    /* glibc's heaps of threads grow by mprotect */
    return rc != 0 ? rc
                   : seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(mprotect), 1,
                                      SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
}

/* abort() raises its signal with tgkill: only towards this process. */
static int allow_abort(scmp_filter_ctx filter)
{
    return seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(tgkill), 1,
                            SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)getpid()));
}

/* A thread gives itself a name as it begins. */
static int allow_thread_name(scmp_filter_ctx filter)
{
    return seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(prctl), 1,
                            SCMP_A0(SCMP_CMP_EQ, PR_SET_NAME));
}

/* fstat of an open descriptor, as glibc asks: newfstatat(fd, "", ..., AT_EMPTY_PATH). */
static int allow_fstat(scmp_filter_ctx filter)
{
    return seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(newfstatat), 1,
                            SCMP_A3(SCMP_CMP_EQ, 0x1000));
}

/* pread and pwrite of this descriptor. */
static int allow_file(scmp_filter_ctx filter, int fd)
{
    int rc = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(pread64), 1,
                              SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)fd));
    return rc != 0 ? rc
                   : seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(pwrite64), 1,
                                      SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)fd));
}

static int load_filter(bool loading, int file_fd, struct err *err)
{
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_KILL_PROCESS);
    if (!filter)
        return err_set(err, ERR_NOMEM, "no memory for a system call filter");
    int rc = seccomp_attr_set(filter, SCMP_FLTATR_CTL_TSYNC, 1);
    rc = rc != 0 ? rc : allow(filter, run_calls, ARRAY_LEN(run_calls));
    rc = rc != 0 ? rc : allow_maps(filter, loading);
    rc = rc != 0 ? rc : allow_abort(filter);
    rc = rc != 0 ? rc : allow_thread_name(filter);
    if (loading) {
        rc = rc != 0 ? rc : allow(filter, load_calls, ARRAY_LEN(load_calls));
        rc = rc != 0 ? rc : allow_fstat(filter);
    } else if (file_fd >= 0) {
        rc = rc != 0 ? rc : allow_file(filter, file_fd);
    }
    rc = rc != 0 ? rc : seccomp_load(filter);
    seccomp_release(filter);
    if (rc != 0)
        return err_set_errno(err, -rc, "cannot install the system call filter");
    return 0;
}

/* ---- the two steps ---- */

static int limit(int what, rlim_t value, struct err *err)
{
    struct rlimit r;
    if (getrlimit((__rlimit_resource_t)what, &r) == 0 && r.rlim_max < value)
        value = r.rlim_max; /* somebody wants it lower still */
    r = (struct rlimit){value, value};
    if (setrlimit((__rlimit_resource_t)what, &r) != 0)
        return err_set_errno(err, errno, "cannot set a resource limit");
    return 0;
}

int sandbox_enter_load(int fd_end, uint64_t file_bytes_max, struct err *err)
{
    if (syscall(SYS_close_range, (unsigned)fd_end, ~0u, 0) != 0 && errno != ENOSYS)
        return err_set_errno(err, errno, "cannot close inherited descriptors");
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        return err_set_errno(err, errno, "cannot give up new privileges");
    int rc = limit(RLIMIT_CORE, 0, err);
    rc = rc != 0 ? rc : limit(RLIMIT_FSIZE, (rlim_t)file_bytes_max, err);
    if (rc != 0)
        return rc;
    if (!landlock_everything())
        log_info("this kernel has no Landlock; the system call filter alone forbids files");
    return load_filter(true, -1, err);
}

int sandbox_enter_run(int file_fd, uint64_t file_bytes_max, struct err *err)
{
    /* Descriptors that are open stay; poll() refuses more entries than the limit. */
    int rc = limit(RLIMIT_NOFILE, 4, err);
    rc = rc != 0 ? rc : limit(RLIMIT_NPROC, 0, err);
    rc = rc != 0 ? rc : limit(RLIMIT_FSIZE, file_fd >= 0 ? (rlim_t)file_bytes_max : 0, err);
    return rc != 0 ? rc : load_filter(false, file_fd, err);
}
