/*
 * pack_cache: the folder of packed weights. Keys change with the files; a file appears whole or not
 * at all; two processes do not write the same one; room is made by age and never by what is in use.
 */
#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"
#include "store/pack_cache.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define KB 1024
#define MB (1024 * 1024)

static char root[] = "/tmp/test_pack_cache.XXXXXX";

static struct pack_cache *open_cache(const char *name, int64_t bytes_max)
{
    struct pack_cache *c;
    char *dir = fs_join(root, name);
    assert_int_equal(pack_cache_open(dir, bytes_max, 1, &c, NULL), 0);
    free(dir);
    return c;
}

/* 64 times the same digit. */
static const char *key(char digit)
{
    static char text[4][PACK_CACHE_KEY_LEN + 1];
    static int at;
    char *ret = text[at++ % 4];
    memset(ret, digit, PACK_CACHE_KEY_LEN);
    return ret;
}

static struct pack_lease take(const struct pack_cache *c, char digit, int64_t n_bytes, int want)
{
    struct pack_lease l;
    struct err why = {0};
    pack_lease_take(c, key(digit), n_bytes, &l, &why);
    if (why.code != want)
        fail_msg("code %d, not %d: %s", why.code, want, why.text);
    return l;
}

static void fill(int fd, size_t n)
{
    char *bytes = mem_zero(n, 1);
    memset(bytes, 'w', n);
    assert_int_equal(pwrite(fd, bytes, n, 0), (ssize_t)n);
    free(bytes);
}

/* A file that was used so many seconds ago. */
static void make(const struct pack_cache *c, char digit, size_t n, int age_s)
{
    struct pack_lease l = take(c, digit, (int64_t)n, 0);
    struct err err = {0};
    fill(l.fd_out, n);
    if (pack_lease_commit(&l, &err) != 0)
        fail_msg("%s", err.text);
    struct timespec t[2];
    clock_gettime(CLOCK_REALTIME, &t[0]);
    t[0].tv_sec -= age_s;
    t[1] = t[0];
    assert_int_equal(futimens(l.fd_in, t), 0);
    pack_lease_release(&l);
}

/* The first digits of the keys that are there, latest first; "!" after what is unfinished, which
 * counts only when `want` has some. */
static void there_is(const struct pack_cache *c, const char *want)
{
    struct pack_cache_file *all = NULL;
    char got[64] = "";
    int n = 0;
    size_t at = 0;
    assert_int_equal(pack_cache_list(c, &all, &n, NULL), 0);
    for (int i = 0; i < n && at < sizeof(got) - 3; i++) {
        if (all[i].unfinished && strchr(want, '!') == NULL)
            continue;
        got[at++] = all[i].key[0];
        if (all[i].unfinished)
            got[at++] = '!';
    }
    free(all);
    assert_string_equal(got, want);
}

/* ---- keys ---- */

static void key_of(const char *path, char ret[PACK_CACHE_KEY_LEN + 1])
{
    char *paths[] = {(char *)(uintptr_t)path};
    struct err err = {0};
    if (pack_cache_key(paths, 1, ret, &err) != 0)
        fail_msg("%s", err.text);
}

/* A file that was written into is another one, even when its time was set back. */
static void test_keys(void **state)
{
    char a[PACK_CACHE_KEY_LEN + 1], b[PACK_CACHE_KEY_LEN + 1];
    char *path = fs_join(root, "m.gguf"), *copy = fs_join(root, "copy.gguf");
    struct stat st;
    (void)state;
    assert_int_equal(fs_write_atomic(path, STR("weights"), 0644, NULL), 0);
    assert_int_equal(fs_write_atomic(copy, STR("weights"), 0644, NULL), 0);
    key_of(path, a);
    key_of(path, b);
    assert_string_equal(a, b);
    assert_int_equal(strspn(a, "0123456789abcdef"), PACK_CACHE_KEY_LEN);
    key_of(copy, b);
    assert_string_not_equal(a, b);
    assert_int_equal(stat(path, &st), 0);
    int fd = open(path, O_WRONLY);
    usleep(20000); /* file systems keep time in ticks of a few milliseconds */
    assert_int_equal(pwrite(fd, "W", 1, 0), 1);
    assert_int_equal(futimens(fd, (struct timespec[]){st.st_atim, st.st_mtim}), 0);
    close(fd);
    key_of(path, b);
    assert_string_not_equal(a, b);
    char *missing[] = {path, fs_join(root, "not there")};
    assert_int_equal(pack_cache_key(missing, 2, b, NULL), ERR_IO);
    free(missing[1]);
    free(path);
    free(copy);
}

/* A blob's name is its digest: a copy of the library keeps its packed weights. */
static void test_keys_of_blobs(void **state)
{
    static const char name[] =
        "sha256-0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    char a[PACK_CACHE_KEY_LEN + 1], b[PACK_CACHE_KEY_LEN + 1];
    char *one = fs_join(root, "one"), *two = fs_join(root, "two");
    (void)state;
    assert_true(mkdir(one, 0700) == 0 && mkdir(two, 0700) == 0);
    char *first = fs_join(one, name), *second = fs_join(two, name);
    assert_int_equal(fs_write_atomic(first, STR("weights"), 0644, NULL), 0);
    assert_int_equal(fs_write_atomic(second, STR("weights"), 0644, NULL), 0);
    struct stat st;
    assert_int_equal(stat(first, &st), 0);
    assert_int_equal(utimensat(AT_FDCWD, second, (struct timespec[]){st.st_atim, st.st_mtim}, 0),
                     0);
    key_of(first, a);
    key_of(second, b);
    assert_string_equal(a, b);
    assert_int_equal(truncate(second, 3), 0);
    key_of(second, b);
    assert_string_not_equal(a, b);
    free(first);
    free(second);
    free(one);
    free(two);
}

/* ---- one file's life ---- */

static void test_life(void **state)
{
    struct pack_cache *c = open_cache("life", 0);
    struct stat st;
    char got[4] = "";
    (void)state;
    there_is(c, "");
    struct pack_lease l = take(c, 'a', 10 * KB, 0);
    assert_true(l.fd_in < 0 && l.fd_out >= 0);
    fill(l.fd_out, 10 * KB);
    there_is(c, "a!");
    pack_lease_release(&l); /* the worker failed */
    there_is(c, "");
    l = take(c, 'a', 10 * KB, 0);
    assert_true(fstat(l.fd_out, &st) == 0 && st.st_size == 0 && (st.st_mode & 0777) == 0600);
    fill(l.fd_out, 10 * KB);
    assert_int_equal(pack_lease_commit(&l, NULL), 0);
    assert_int_equal(pack_lease_commit(&l, NULL), ERR_INVALID);
    pack_lease_release(&l);
    there_is(c, "a");
    l = take(c, 'a', 10 * KB, 0);
    assert_true(l.fd_in >= 0 && l.fd_out >= 0); /* the second should the first be damaged */
    assert_int_equal(pread(l.fd_in, got, 3, 0), 3);
    assert_string_equal(got, "www");
    assert_int_equal(write(l.fd_in, "x", 1), -1);
    pack_lease_discard(&l);
    pack_lease_release(&l);
    there_is(c, "");
    pack_lease_release(&l); /* twice is once */
    pack_cache_close(c);
    pack_cache_close(NULL);
}

/* What was removed while it was written does not come back under its name. */
static void test_removed_meanwhile(void **state)
{
    struct pack_cache *c = open_cache("meanwhile", 0);
    (void)state;
    struct pack_lease l = take(c, 'a', KB, 0);
    fill(l.fd_out, KB);
    assert_int_equal(unlink(l.tmp), 0);
    assert_int_equal(pack_lease_commit(&l, NULL), ERR_NOT_FOUND);
    pack_lease_release(&l);
    there_is(c, "");
    pack_cache_close(c);
}

/* ---- two processes ---- */

static void test_two_processes(void **state)
{
    struct pack_cache *c = open_cache("two_processes", 0);
    int ready[2], status;
    char byte;
    (void)state;
    assert_int_equal(pipe(ready), 0);
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        struct pack_lease l = take(c, 'a', MB, 0);
        fill(l.fd_out, MB);
        (void)!write(ready[1], "x", 1);
        pause(); /* until it is killed, half way */
    }
    assert_int_equal(read(ready[0], &byte, 1), 1);
    struct pack_lease l = take(c, 'a', MB, ERR_BUSY);
    assert_true(l.fd_in < 0 && l.fd_out < 0);
    pack_lease_release(&l);
    there_is(c, "a!"); /* the other's, untouched */
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    there_is(c, "a!");
    l = take(c, 'a', MB, 0);
    struct stat st;
    assert_true(fstat(l.fd_out, &st) == 0 && st.st_size == 0);
    fill(l.fd_out, MB);
    assert_int_equal(pack_lease_commit(&l, NULL), 0);
    pack_lease_release(&l);
    there_is(c, "a");
    close(ready[0]);
    close(ready[1]);
    pack_cache_close(c);
}

/* Leftovers of the dead go when the next one makes room, whatever their name. */
static void test_leftovers(void **state)
{
    struct pack_cache *c = open_cache("leftovers", 0);
    (void)state;
    make(c, 'a', KB, 5);
    struct pack_lease l = take(c, 'b', KB, 0);
    int fd = l.fd_out; /* still locked */
    l.fd_out = -1;
    pack_lease_release(&l);
    make(c, 'c', KB, 1);
    there_is(c, "b!ca");
    close(fd);
    make(c, 'd', KB, 0);
    there_is(c, "dca");
    pack_cache_close(c);
}

/* ---- room ---- */

static void test_bound(void **state)
{
    struct pack_cache *c = open_cache("bound", 3 * MB + 64 * KB);
    (void)state;
    make(c, 'a', MB, 30);
    make(c, 'b', MB, 20);
    make(c, 'c', MB, 10);
    there_is(c, "cba");
    make(c, 'd', MB, 5);
    there_is(c, "dcb"); /* a was used longest ago */
    struct pack_lease b = take(c, 'b', MB, 0);
    there_is(c, "bdc");
    assert_true(b.fd_in >= 0);
    make(c, 'e', MB, -2);
    there_is(c, "ebd"); /* b is in use, and used now */
    struct timespec old[2] = {{.tv_sec = 1}, {.tv_sec = 1}};
    assert_int_equal(futimens(b.fd_in, old), 0);
    make(c, 'f', 2 * MB, 0);
    there_is(c, "fb"); /* in use: it stays although it is the oldest */
    pack_lease_release(&b);
    struct pack_lease l = take(c, 'g', 4 * MB, ERR_LIMIT);
    assert_true(l.fd_out < 0);
    pack_lease_release(&l);
    there_is(c, "fb");
    make(c, 'f', 3 * MB, 0); /* in its own place: b only had to go */
    there_is(c, "f");
    pack_cache_close(c);
}

static void test_remove(void **state)
{
    struct pack_cache *c = open_cache("remove", 0);
    (void)state;
    make(c, 'a', MB, 3);
    make(c, 'b', MB, 2);
    make(c, 'c', MB, 1);
    assert_true(pack_cache_remove(c, key('b')) >= MB);
    assert_int_equal(pack_cache_remove(c, key('b')), 0);
    there_is(c, "ca");
    struct pack_lease a = take(c, 'a', MB, 0);
    assert_true(pack_cache_remove(c, NULL) >= MB);
    pack_lease_release(&a);
    there_is(c, "a");
    pack_cache_close(c);
}

/* ---- folders and files that are not as they should be ---- */

static void test_no_folder(void **state)
{
    char *file = fs_join(root, "file");
    struct pack_cache *c = open_cache("file/below", 0);
    (void)state;
    assert_int_equal(fs_write_atomic(file, STR("x"), 0644, NULL), 0);
    struct pack_lease l = take(c, 'a', KB, ERR_IO);
    assert_true(l.fd_in < 0 && l.fd_out < 0);
    pack_lease_release(&l);
    pack_cache_close(c);
    free(file);
}

/* A folder without a right to write in is no hindrance to read. Root has every right. */
static void test_read_only_folder(void **state)
{
    struct pack_cache *c = open_cache("read_only", 0);
    (void)state;
    if (geteuid() == 0) {
        pack_cache_close(c);
        skip();
    }
    make(c, 'a', KB, 1);
    assert_int_equal(chmod(c->dir, 0500), 0);
    struct pack_lease l = take(c, 'a', KB, ERR_IO);
    assert_true(l.fd_in >= 0 && l.fd_out < 0);
    pack_lease_release(&l);
    assert_int_equal(chmod(c->dir, 0700), 0);
    pack_cache_close(c);
}

/* Others' files are not weights of ours; strange names are not touched. */
static void test_strange_files(void **state)
{
    static const char *const names[] = {"README", "..packed", "a.v1.packed", "0.v1.packed.tmp"};
    struct pack_cache *c = open_cache("strange", 1 * MB);
    (void)state;
    make(c, 'a', KB, 1);
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        char *path = fs_join(c->dir, names[i]);
        assert_int_equal(fs_write_atomic(path, STR("mine"), 0644, NULL), 0);
        free(path);
    }
    there_is(c, "a");
    pack_cache_remove(c, NULL);
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        char *path = fs_join(c->dir, names[i]);
        assert_true(fs_exists(path));
        free(path);
    }
    make(c, 'a', KB, 1);
    struct pack_lease l = take(c, 'a', KB, 0);
    assert_int_equal(chmod(l.path, 0666), 0);
    char *path = str_dup(str_z(l.path));
    pack_lease_release(&l);
    l = take(c, 'a', KB, ERR_DENIED);
    assert_true(l.fd_in < 0);
    pack_lease_release(&l);
    char *other = fs_join(root, "other");
    assert_int_equal(fs_write_atomic(other, STR("other"), 0600, NULL), 0);
    assert_true(unlink(path) == 0 && symlink(other, path) == 0);
    l = take(c, 'a', KB, ERR_IO);
    assert_true(l.fd_in < 0);
    pack_lease_release(&l);
    free(other);
    free(path);
    pack_cache_close(c);
}

static void test_default_folder(void **state)
{
    struct pack_cache *c;
    (void)state;
    setenv("XDG_CACHE_HOME", "/x/cache", 1);
    assert_int_equal(pack_cache_open(NULL, 0, 1, &c, NULL), 0);
    assert_string_equal(c->dir, "/x/cache/hearth/packed");
    pack_cache_close(c);
    setenv("XDG_CACHE_HOME", "relative", 1);
    setenv("HOME", "/home/somebody", 1);
    assert_int_equal(pack_cache_open(NULL, 0, 1, &c, NULL), 0);
    assert_string_equal(c->dir, "/home/somebody/.cache/hearth/packed");
    pack_cache_close(c);
}

static int set_up(void **state)
{
    (void)state;
    return mkdtemp(root) == NULL;
}

static int tear_down(void **state)
{
    char command[128];
    (void)state;
    snprintf(command, sizeof(command), "rm -rf %s", root);
    return system(command);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_keys),          cmocka_unit_test(test_keys_of_blobs),
        cmocka_unit_test(test_life),          cmocka_unit_test(test_removed_meanwhile),
        cmocka_unit_test(test_two_processes), cmocka_unit_test(test_leftovers),
        cmocka_unit_test(test_bound),         cmocka_unit_test(test_remove),
        cmocka_unit_test(test_no_folder),     cmocka_unit_test(test_read_only_folder),
        cmocka_unit_test(test_strange_files), cmocka_unit_test(test_default_folder),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
