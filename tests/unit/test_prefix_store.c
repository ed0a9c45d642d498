/*
 * prefix_store: the folder of computed prefixes. Files are the user's alone, bounded all together,
 * and go by age, but never what is in use.
 */
#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"
#include "store/prefix_store.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define MB (1024 * 1024)

static char root[] = "/tmp/test_prefix_store.XXXXXX";

static struct prefix_store *open_store(const char *name, int64_t bytes_max, const char *exe)
{
    struct prefix_store *s;
    char *dir = fs_join(root, name);
    assert_int_equal(prefix_store_open(dir, bytes_max, 1, exe, &s, NULL), 0);
    free(dir);
    return s;
}

static const char *key(char digit)
{
    static char text[4][PACK_CACHE_KEY_LEN + 1];
    static int at;
    char *ret = text[at++ % 4];
    memset(ret, digit, PACK_CACHE_KEY_LEN);
    return ret;
}

static struct prefix_lease *take(struct prefix_store *s, char digit)
{
    struct prefix_lease *l;
    struct err err = {0};
    if (prefix_lease_take(s, key(digit), 0, 1, &l, &err) != 0)
        fail_msg("%s", err.text);
    return l;
}

/* A file that was used so many seconds ago. */
static void make(struct prefix_store *s, char digit, size_t n, int age_s)
{
    struct prefix_lease *l = take(s, digit);
    char *bytes = mem_zero(n, 1);
    memset(bytes, 'p', n);
    assert_int_equal(pwrite(l->fd, bytes, n, 0), (ssize_t)n);
    free(bytes);
    struct timespec t[2];
    clock_gettime(CLOCK_REALTIME, &t[0]);
    t[0].tv_sec -= age_s;
    t[1] = t[0];
    assert_int_equal(futimens(l->fd, t), 0);
    prefix_lease_free(l, false);
}

static char *listed(const struct prefix_store *s)
{
    static char text[64];
    struct prefix_file *all;
    int n;
    assert_int_equal(prefix_store_list(s, &all, &n, NULL), 0);
    for (int i = 0; i < n; i++)
        text[i] = all[i].key[0];
    text[n] = '\0';
    free(all);
    return text;
}

static void test_a_file_for_each_way_of_computing(void **state)
{
    (void)state;
    struct prefix_store *s = open_store("ways", 200 * MB, NULL);
    struct prefix_lease *a = take(s, 'a'), *b;
    struct stat st, folder;
    assert_int_equal(prefix_lease_take(s, key('a'), 1, 1, &b, NULL), 0);
    assert_int_equal(fstat(a->fd, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(stat(s->dir, &folder), 0);
    assert_int_equal(folder.st_mode & 0777, 0700);
    assert_string_not_equal(a->path, b->path);
    assert_int_equal(a->bytes_max, 100 * MB);
    assert_int_equal(b->bytes_max, 50 * MB);
    prefix_lease_free(a, false);
    prefix_lease_free(b, false);
    assert_string_equal(listed(s), "aa");
    a = take(s, 'a');
    assert_int_equal(a->bytes_max, 100 * MB);
    prefix_lease_free(a, true); /* suspect: gone */
    assert_string_equal(listed(s), "a");
    assert_true(prefix_store_remove(s, key('b')) == 0);
    prefix_store_remove(s, key('a'));
    assert_string_equal(listed(s), "");
    prefix_store_close(s);
}

static void test_room_is_made_by_age(void **state)
{
    (void)state;
    struct prefix_store *s = open_store("room", 100 * MB, NULL);
    make(s, 'a', 20 * MB, 300);
    make(s, 'b', 20 * MB, 200);
    make(s, 'c', 15 * MB, 100);
    assert_string_equal(listed(s), "cba");
    struct prefix_lease *l = take(s, 'd'); /* 55 MiB of others: the oldest goes */
    assert_string_equal(listed(s), "dcb");
    assert_in_range(l->bytes_max, 32 * MB, 33 * MB);
    prefix_lease_free(l, false);
    /* what is in use stays, whatever its age; and one's own */
    make(s, 'e', 30 * MB, 50);
    char *path = NULL;
    l = take(s, 'b');
    path = str_dup(str_z(l->path));
    prefix_lease_free(l, false);
    int other = open(path, O_RDONLY);
    assert_true(other >= 0 && flock(other, LOCK_EX) == 0);
    free(path);
    l = take(s, 'e');
    assert_non_null(strchr(listed(s), 'b'));
    assert_non_null(strchr(listed(s), 'e'));
    prefix_store_remove(s, NULL);
    assert_string_equal(listed(s), "b");
    prefix_lease_free(l, false);
    close(other);
    prefix_store_remove(s, NULL);
    assert_string_equal(listed(s), "");
    prefix_store_close(s);
}

/* A model's file for other types of keys and values is nobody's while only the first is held. */
static void test_a_lease_holds_its_own_file_alone(void **state)
{
    (void)state;
    struct prefix_store *s = open_store("own", 100 * MB, NULL);
    struct prefix_lease *a = take(s, 'a'), *other, *b;
    char *bytes = mem_zero(20 * MB, 1);
    memset(bytes, 'p', 20 * MB);
    assert_int_equal(prefix_lease_take(s, key('a'), 1, 1, &other, NULL), 0);
    assert_int_equal(pwrite(other->fd, bytes, 20 * MB, 0), 20 * MB);
    free(bytes);
    prefix_lease_free(other, false);
    assert_string_equal(listed(s), "aa");
    b = take(s, 'b'); /* 50 MiB are granted to the one, 20 lie in the other: that goes */
    assert_int_equal(b->bytes_max, 25 * MB);
    struct prefix_file *all;
    int n, n_a = 0;
    assert_int_equal(prefix_store_list(s, &all, &n, NULL), 0);
    for (int i = 0; i < n; i++)
        if (all[i].key[0] == 'a') {
            assert_int_equal(all[i].kv_type, 0);
            n_a++;
        }
    assert_int_equal(n_a, 1);
    free(all);
    prefix_lease_free(a, false);
    prefix_lease_free(b, false);
    prefix_store_close(s);
}

static void test_refusals(void **state)
{
    (void)state;
    struct prefix_lease *l;
    struct err err = {0};
    struct prefix_store *s = open_store("small", 30 * MB, NULL);
    assert_int_equal(prefix_lease_take(s, key('a'), 0, 0, &l, &err), ERR_LIMIT);
    assert_non_null(strstr(err.text, "--prefix-disk-max"));
    prefix_store_close(s);
    s = open_store("modes", 100 * MB, NULL);
    l = take(s, 'a');
    assert_int_equal(fchmod(l->fd, 0644), 0); /* others could have read it */
    prefix_lease_free(l, false);
    assert_int_equal(prefix_lease_take(s, key('a'), 0, 1, &l, &err), ERR_DENIED);
    char *path = fs_join(s->dir, "link");
    assert_int_equal(prefix_store_remove(s, key('a')) >= 0, 1);
    l = take(s, 'a');
    assert_int_equal(rename(l->path, path), 0);
    assert_int_equal(symlink(path, l->path), 0);
    prefix_lease_free(l, false);
    assert_int_equal(prefix_lease_take(s, key('a'), 0, 1, &l, &err), ERR_IO);
    free(path);
    prefix_store_close(s);
    path = fs_join(root, "file");
    int fd = open(path, O_WRONLY | O_CREAT, 0600);
    s = open_store("file", 100 * MB, NULL); /* where a folder should be */
    assert_int_not_equal(prefix_lease_take(s, key('a'), 0, 1, &l, &err), 0);
    close(fd);
    free(path);
    prefix_store_close(s);
}

/* Bytes that another program made are not taken. */
static void test_identity(void **state)
{
    (void)state;
    char *exe = fs_join(root, "exe");
    char was[PACK_CACHE_KEY_LEN + 1];
    for (int i = 0; i < 3; i++) {
        int fd = open(exe, O_WRONLY | O_CREAT, 0700);
        assert_true(fd >= 0 && (i != 1 || pwrite(fd, "x", 1, 77) == 1));
        close(fd);
        struct prefix_store *s = open_store("identity", 100 * MB, exe);
        struct prefix_lease *l = take(s, 'a');
        if (i == 1)
            assert_string_not_equal(l->identity, was);
        if (i == 2)
            assert_string_equal(l->identity, was);
        memcpy(was, l->identity, sizeof(was));
        prefix_lease_free(l, false);
        l = take(s, 'b');
        assert_string_not_equal(l->identity, was);
        prefix_lease_free(l, false);
        prefix_store_close(s);
    }
    free(exe);
}

static int make_root(void **state)
{
    (void)state;
    return mkdtemp(root) ? 0 : -1;
}

static int remove_root(void **state)
{
    (void)state;
    char command[128];
    snprintf(command, sizeof(command), "rm -rf %s", root);
    return system(command);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_file_for_each_way_of_computing),
        cmocka_unit_test(test_room_is_made_by_age),
        cmocka_unit_test(test_a_lease_holds_its_own_file_alone),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_identity),
    };
    return cmocka_run_group_tests(tests, make_root, remove_root);
}
