/*
 * sandbox: each forbidden thing is tried in a child process, which must die of it; each thing that
 * a running worker needs must still work.
 */
#include "base/log.h"
#include "base/mem.h"
#include "worker/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static void *idle_thread(void *arg)
{
    void (*act)(void) = *(void (**)(void))arg;
    usleep(50000);
    if (act)
        act();
    return NULL;
}

/* In a child: both locks, then act; on another, older thread if so asked. The wait status. */
static int locked(void (*act)(void), bool on_thread, bool only_load)
{
    fflush(NULL);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        log_set_level(LOG_ERROR);
        pthread_t thread;
        void (*none)(void) = NULL;
        struct err err = {0};
        if (pthread_create(&thread, NULL, idle_thread, on_thread ? &act : &none) != 0 ||
            sandbox_enter_load(3, 0, &err) != 0 ||
            (!only_load && sandbox_enter_run(-1, 0, &err) != 0))
            _exit(99);
        if (!on_thread)
            act();
        pthread_join(thread, NULL);
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

static void open_file(void)
{
    _exit(open("/etc/passwd", O_RDONLY) >= 0 ? 50 : 51);
}

static void open_old(void)
{
    _exit(syscall(SYS_openat2, AT_FDCWD, "/etc/passwd", NULL, 0) >= 0 ? 50 : 51);
}

static void make_socket(void)
{
    _exit(socket(AF_INET, SOCK_STREAM, 0) >= 0 ? 50 : 51);
}

static void run_program(void)
{
    char *const argv[] = {(char[]){"true"}, NULL};
    execv("/bin/true", argv);
    _exit(50);
}

static void make_process(void)
{
    _exit(fork() >= 0 ? 50 : 51);
}

static void *nothing(void *arg)
{
    return arg;
}

static void make_thread(void)
{
    pthread_t thread;
    _exit(pthread_create(&thread, NULL, nothing, NULL) == 0 ? 50 : 51);
}

static void make_code(void)
{
    void *p =
        mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    _exit(p != MAP_FAILED ? 50 : 51);
}

static void turn_into_code(void)
{
    void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    _exit(mprotect(p, 4096, PROT_READ | PROT_EXEC) == 0 ? 50 : 51);
}

static void map_file(void)
{
    _exit(mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, 2, 0) != MAP_FAILED ? 50 : 51);
}

static void kill_parent(void)
{
    _exit(kill(getppid(), 0) == 0 ? 50 : 51);
}

static void trace(void)
{
    _exit(ptrace(PTRACE_TRACEME, 0, NULL, NULL) == 0 ? 50 : 51);
}

static void remove_file(void)
{
    _exit(unlink("/tmp/no-such-file") == 0 ? 50 : 51);
}

static void raise_limits(void)
{
    _exit((int)syscall(SYS_prlimit64, 0, 7, NULL, NULL) == 0 ? 50 : 51);
}

static const struct {
    const char *name;
    void (*act)(void);
    bool in_load; /* forbidden while loading too */
} forbidden[] = {
    {"open", open_file, true},        {"openat2", open_old, true},
    {"socket", make_socket, true},    {"exec", run_program, true},
    {"fork", make_process, false},    {"thread", make_thread, false},
    {"code", make_code, true},        {"mprotect", turn_into_code, false},
    {"map a file", map_file, false},  {"kill", kill_parent, true},
    {"ptrace", trace, true},          {"unlink", remove_file, true},
    {"prlimit", raise_limits, false},
};

static void test_forbidden(void **state)
{
    (void)state;
    if (!sandbox_is_possible())
        skip();
    for (size_t i = 0; i < ARRAY_LEN(forbidden); i++) {
        for (int way = 0; way < 3; way++) {
            if (way == 2 && !forbidden[i].in_load)
                continue;
            int status = locked(forbidden[i].act, way == 1, way == 2);
            if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGSYS)
                fail_msg("%s (way %d) is not stopped: status %#x", forbidden[i].name, way, status);
        }
    }
}

/* What the loop, the engine and the allocator do. */
static void work(void)
{
    static const size_t sizes[] = {16, 5000, 300000, 40 << 20};
    for (int round = 0; round < 3; round++) {
        void *p[ARRAY_LEN(sizes)];
        for (size_t i = 0; i < ARRAY_LEN(sizes); i++)
            p[i] = calloc(1, sizes[i]);
        for (size_t i = 0; i < ARRAY_LEN(sizes); i++)
            free(realloc(p[i], sizes[i] * 2));
    }
    struct pollfd fd = {.fd = 2, .events = POLLOUT};
    log_debug("quiet");
    if (poll(&fd, 1, 0) < 0 || poll(NULL, 0, 1) != 0)
        _exit(60);
    usleep(1000);
    sched_yield();
}

static void work_and_leave(void)
{
    work();
    _exit(0);
}

static void abort_loudly(void)
{
    abort();
}

static void test_allowed(void **state)
{
    (void)state;
    if (!sandbox_is_possible())
        skip();
    assert_int_equal(locked(work, false, false), 0);
    assert_int_equal(locked(work, true, false), 0);
    assert_int_equal(locked(work_and_leave, false, false), 0);
    int status = locked(abort_loudly, false, false); /* a CHECK still says SIGABRT */
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

/* Descriptors from fd_end up are closed. */
static void test_descriptors(void **state)
{
    (void)state;
    if (!sandbox_is_possible())
        skip();
    int fd[2];
    assert_int_equal(pipe(fd), 0);
    pid_t pid = fork();
    if (pid == 0) {
        struct err err;
        int high = fcntl(fd[1], F_DUPFD, 40);
        if (sandbox_enter_load(40, 0, &err) != 0)
            _exit(99);
        _exit(write(fd[1], "x", 1) == 1 && write(high, "x", 1) < 0 && errno == EBADF ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    close(fd[0]);
    close(fd[1]);
}

/* Once it runs, one descriptor may be read and written at given places, up to its size. */
static int with_file(int fd_used, off_t at, bool reads)
{
    FILE *f = tmpfile(), *g = tmpfile();
    assert_true(f && g);
    pid_t pid = fork();
    if (pid == 0) {
        struct err err;
        char bytes[16] = "0123456789abcde";
        int fd = fileno(f), used = fd_used == 0 ? fd : fileno(g);
        log_set_level(LOG_ERROR);
        signal(SIGXFSZ, SIG_IGN);
        if (sandbox_enter_load(50, 100000, &err) != 0 || sandbox_enter_run(fd, 4096, &err) != 0)
            _exit(99);
        ssize_t n =
            reads ? pread(used, bytes, sizeof(bytes), at) : pwrite(used, bytes, sizeof(bytes), at);
        _exit(n >= 0 ? (int)n : 40);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    fclose(f);
    fclose(g);
    return status;
}

static void test_one_file(void **state)
{
    (void)state;
    if (!sandbox_is_possible())
        skip();
    assert_int_equal(WEXITSTATUS(with_file(0, 0, false)), 16);
    assert_int_equal(WEXITSTATUS(with_file(0, 0, true)), 0); /* it is empty */
    assert_int_equal(WEXITSTATUS(with_file(0, 4090, false)), 6);
    assert_int_equal(WEXITSTATUS(with_file(0, 4096, false)), 40);
    for (int reads = 0; reads < 2; reads++) {
        int status = with_file(1, 0, reads);
        assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_forbidden),
        cmocka_unit_test(test_allowed),
        cmocka_unit_test(test_descriptors),
        cmocka_unit_test(test_one_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
