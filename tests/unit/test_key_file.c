/*
 * key_file: what a file may hold, and whose key a text is. The command and the server are in
 * tests/e2e/test_keys.py.
 */
#include "base/fs.h"
#include "base/mem.h"
#include "store/key_file.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char root[] = "/tmp/test_key_file.XXXXXX";

static char *path_of(const char *name)
{
    return fs_join(root, name);
}

static void make(const char *path, const char *name, char ret_text[KEY_TEXT_LEN + 1])
{
    struct err err = {0};
    struct key wish = {
        .admin = name[0] == 'b', .priority = KEY_AGENT, .requests_max = 2, .tokens_per_minute = 5};
    strcpy(wish.name, name);
    if (key_file_create(path, &wish, ret_text, &err) != 0)
        fail_msg("%s", err.text);
}

static void test_a_key_finds_its_own_row(void **state)
{
    (void)state;
    char *path = path_of("folder/keys.json"), text[3][KEY_TEXT_LEN + 1];
    struct key_file f;
    make(path, "a", text[0]);
    make(path, "b", text[1]);
    make(path, "c", text[2]);
    assert_int_equal(key_file_read(path, &f, NULL), 0);
    for (int i = 0; i < 3; i++) {
        const struct key *k = key_file_find(&f, str_z(text[i]));
        assert_non_null(k);
        assert_int_equal(k->name[0], 'a' + i);
        assert_int_equal(k->tenant, 1 + i);
        assert_int_equal(k->admin, i == 1);
        assert_int_equal(k->priority, KEY_AGENT);
        assert_int_equal(k->requests_max, 2);
        assert_int_equal(k->tokens_per_minute, 5);
        text[i][KEY_TEXT_LEN - 1] ^= 1;
        assert_null(key_file_find(&f, str_z(text[i])));
    }
    assert_null(key_file_find(&f, STR("")));
    assert_null(key_file_find(&f, (struct str){0}));
    key_file_release(&f);
    assert_int_equal(key_file_revoke(path, "b", NULL), 0);
    assert_int_equal(key_file_revoke(path, "b", NULL), ERR_NOT_FOUND);
    assert_int_equal(key_file_read(path, &f, NULL), 0);
    assert_int_equal(f.n_key, 2);
    text[1][KEY_TEXT_LEN - 1] ^= 1;
    assert_null(key_file_find(&f, str_z(text[1])));
    assert_int_equal(f.last_tenant, 3);
    key_file_release(&f);
    free(path);
}

static void test_bad_files_are_refused(void **state)
{
    (void)state;
#define HASH "sha256:0000000000000000000000000000000000000000000000000000000000000000"
#define ROW  "{\"name\":\"a\",\"hash\":\"" HASH "\",\"tenant\":1}"
    static const char *const bad[] = {
        "",
        "[]",
        "{",
        "{}",
        "{\"keys\":1}",
        "{\"keys\":[1]}",
        "{\"keys\":[{}]}",
        "{\"keys\":[" ROW "," ROW "]}",
        "{\"keys\":[" ROW ",{\"name\":\"b\",\"hash\":\"" HASH "\",\"tenant\":1}]}",
        "{\"last_tenant\":-1,\"keys\":[]}",
        "{\"keys\":[{\"name\":\"a\",\"hash\":\"" HASH "\",\"tenant\":0}]}",
        "{\"keys\":[{\"name\":\"a\",\"hash\":\"" HASH "\",\"tenant\":4294967296}]}",
        "{\"keys\":[{\"name\":\"a b\",\"hash\":\"" HASH "\",\"tenant\":1}]}",
        "{\"keys\":[{\"name\":\"a\",\"hash\":\"sha256:12\",\"tenant\":1}]}",
        "{\"keys\":[{\"name\":\"a\",\"hash\":\"" HASH "\",\"tenant\":1,\"priority\":\"now\"}]}",
        "{\"keys\":[{\"name\":\"a\",\"hash\":\"" HASH "\",\"tenant\":1,\"requests_max\":-1}]}",
        "{\"keys\":[{\"name\":\"a\",\"hash\":\"" HASH "\",\"tenant\":1,\"admin\":1}]}",
    };
    char *path = path_of("bad.json");
    struct key_file f;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct err err = {0};
        assert_int_equal(fs_write_atomic(path, str_z(bad[i]), 0600, NULL), 0);
        if (key_file_read(path, &f, &err) == 0 || strstr(err.text, "bad.json") == NULL)
            fail_msg("%s was taken, or its error is '%s'", bad[i], err.text);
    }
    assert_int_equal(fs_write_atomic(path, STR("{\"keys\":[" ROW "]}"), 0600, NULL), 0);
    assert_int_equal(key_file_read(path, &f, NULL), 0);
    assert_int_equal(f.last_tenant, 1); /* at least that of any key */
    key_file_release(&f);
    assert_int_equal(chmod(path, 0620), 0);
    assert_int_equal(key_file_read(path, &f, NULL), ERR_DENIED);
    free(path);
}

int main(void)
{
    if (mkdtemp(root) == NULL)
        return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_key_finds_its_own_row),
        cmocka_unit_test(test_bad_files_are_refused),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    char command[64];
    snprintf(command, sizeof command, "rm -rf %s", root);
    return system(command) == 0 ? failed : 1;
}
