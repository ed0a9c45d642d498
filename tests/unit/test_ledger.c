/*
 * ledger: sums by day, key, model and class; what was written is added to, what could not be
 * written is not lost and not counted twice; and the folder it lives in.
 */
#include "base/fs.h"
#include "base/mem.h"
#include "gateway/ledger.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#define DAY_MS INT64_C(86400000)
#define T0     INT64_C(1767225600000) /* 2026-01-01, its first millisecond */

static char root[] = "/tmp/test_ledger.XXXXXX";

struct fixture {
    uv_loop_t loop;
    struct state *state;
    struct ledger *ledger;
    char *dir;
};

static void open_all(struct fixture *f, const char *name)
{
    struct err err = {0};
    f->dir = fs_join(root, name);
    assert_int_equal(uv_loop_init(&f->loop), 0);
    if (state_open(f->dir, &f->loop, &f->state, &err) != 0)
        fail_msg("%s", err.text);
    f->ledger = ledger_new(f->state, &f->loop);
}

static void close_all(struct fixture *f)
{
    ledger_free(f->ledger);
    state_close(f->state);
    uv_run(&f->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&f->loop), 0);
    free(f->dir);
}

/* name requests prompt cached completion seconds, a line each */
static void on_row(void *ctx, const struct ledger_row *row)
{
    const struct ledger_use *u = &row->use;
    buf_printf(ctx, "%s %d %d %d %d %.2f\n", row->name, (int)u->requests, (int)u->prompt_tokens,
               (int)u->cached_tokens, (int)u->completion_tokens, u->engine_s);
}

static void expect(const char *dir, enum ledger_by by, const char *since, const char *until,
                   const char *want)
{
    sqlite3 *db;
    struct buf out;
    struct err err = {0};
    buf_init(&out, 1 << 16);
    if (db_open_reader(dir, &db, &err) != 0 ||
        ledger_read(db, by, since, until, on_row, &out, &err) != 0)
        fail_msg("%s", err.text);
    db_close(db);
    assert_string_equal(out.ptr == NULL ? "" : out.ptr, want);
    buf_release(&out);
}

static const struct ledger_use one = {1, 10, 4, 3, 0.5};

static void test_sums(void **state)
{
    (void)state;
    struct fixture f;
    open_all(&f, "sums");
    for (int i = 0; i < 3; i++)
        ledger_add_at(f.ledger, T0 + i, "ann", "m1", "interactive", &one);
    ledger_add_at(f.ledger, T0 + DAY_MS - 1, "ann", "m2", "batch", &one); /* the same day */
    ledger_add_at(f.ledger, T0 + DAY_MS, "", "m1", "interactive", &one);  /* the next */
    char *dir = str_dup(str_z(f.dir));
    close_all(&f);
    expect(dir, LEDGER_DAY, NULL, NULL, "2026-01-01 4 40 16 12 2.00\n2026-01-02 1 10 4 3 0.50\n");
    expect(dir, LEDGER_KEY, NULL, NULL, " 1 10 4 3 0.50\nann 4 40 16 12 2.00\n");
    expect(dir, LEDGER_MODEL, NULL, NULL, "m1 4 40 16 12 2.00\nm2 1 10 4 3 0.50\n");
    expect(dir, LEDGER_MODEL, "2026-01-02", NULL, "m1 1 10 4 3 0.50\n");
    expect(dir, LEDGER_MODEL, NULL, "2026-01-01", "m1 3 30 12 9 1.50\nm2 1 10 4 3 0.50\n");
    expect(dir, LEDGER_DAY, "2026-01-03", NULL, "");
    open_all(&f, "sums"); /* later: added to what is there */
    ledger_add_at(f.ledger, T0, "ann", "m1", "interactive", &one);
    close_all(&f);
    expect(dir, LEDGER_KEY, "2026-01-01", "2026-01-01", "ann 5 50 20 15 2.50\n");
    free(dir);
}

/* Within LEDGER_COMMIT_MS of the first, without an end; readers see it while it runs. */
static void test_commits_by_itself(void **state)
{
    (void)state;
    struct fixture f;
    open_all(&f, "itself");
    ledger_add_at(f.ledger, T0, "k", "m", "interactive", &one);
    expect(f.dir, LEDGER_KEY, NULL, NULL, "");
    uint64_t end = uv_now(&f.loop) + LEDGER_COMMIT_MS + 20;
    while (uv_now(&f.loop) < end) {
        uv_run(&f.loop, UV_RUN_NOWAIT);
        uv_sleep(5);
        uv_update_time(&f.loop);
    }
    uv_sleep(100);
    expect(f.dir, LEDGER_KEY, NULL, NULL, "k 1 10 4 3 0.50\n");
    close_all(&f);
}

static void lock_out(struct state *s, void *ctx)
{
    (void)ctx;
    assert_int_equal(db_run(state_db(s), NULL, "ALTER TABLE usage RENAME TO elsewhere", ""), 0);
}

static void let_in(struct state *s, void *ctx)
{
    (void)ctx;
    assert_int_equal(db_run(state_db(s), NULL, "ALTER TABLE elsewhere RENAME TO usage", ""), 0);
}

static void test_a_failed_commit_comes_back(void **state)
{
    (void)state;
    struct fixture f;
    open_all(&f, "back");
    state_post(f.state, lock_out, NULL, NULL);
    ledger_add_at(f.ledger, T0, "k", "m", "interactive", &one);
    uint64_t end = uv_now(&f.loop) + LEDGER_COMMIT_MS + 300;
    while (uv_now(&f.loop) < end) {
        uv_run(&f.loop, UV_RUN_NOWAIT);
        uv_sleep(5);
        uv_update_time(&f.loop);
    }
    ledger_add_at(f.ledger, T0, "k", "m", "interactive", &one);
    state_post(f.state, let_in, NULL, NULL);
    char *dir = str_dup(str_z(f.dir));
    close_all(&f);
    expect(dir, LEDGER_KEY, NULL, NULL, "k 2 20 8 6 1.00\n");
    free(dir);
}

static void test_without_a_state(void **state)
{
    (void)state;
    uv_loop_t loop;
    assert_int_equal(uv_loop_init(&loop), 0);
    struct ledger *l = ledger_new(NULL, &loop);
    ledger_add_at(l, T0, "k", "m", "interactive", &one);
    ledger_free(l);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0);
}

static void test_days(void **state)
{
    (void)state;
    static const char *const good[] = {"2026-01-31", "2024-02-29", "2000-02-29", "9999-12-31"};
    static const char *const bad[] = {"2026-02-29", "1900-02-29", "2026-13-01", "2026-00-10",
                                      "2026-1-1",   "2026-01-32", "20260101",   "2026-01-01x",
                                      "",           "2026-01-",   "0000-01-01", "-026-01-01"};
    for (size_t i = 0; i < ARRAY_LEN(good); i++)
        assert_true(ledger_is_day(good[i]));
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_false(ledger_is_day(bad[i]));
}

static void test_the_folder(void **state)
{
    (void)state;
    struct fixture f;
    struct state *second;
    struct err err = {0};
    struct stat st;
    open_all(&f, "folder");
    assert_int_equal(state_open(f.dir, &f.loop, &second, &err), ERR_BUSY);
    assert_non_null(strstr(err.text, "another server"));
    assert_int_equal(stat(f.dir, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
    char *stray = fs_join(state_files_dir(f.state), "file-0123456789abcdef01234567");
    char *half = fs_join(state_tmp_dir(f.state), "file-0123456789abcdef01234567");
    assert_int_equal(fs_write_atomic(stray, STR("x"), 0600, NULL), 0);
    assert_int_equal(fs_write_atomic(half, STR("x"), 0600, NULL), 0);
    close_all(&f);
    open_all(&f, "folder"); /* what a killed server left is gone */
    assert_false(fs_exists(stray));
    assert_false(fs_exists(half));
    close_all(&f);
    free(stray);
    free(half);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sums),
        cmocka_unit_test(test_commits_by_itself),
        cmocka_unit_test(test_a_failed_commit_comes_back),
        cmocka_unit_test(test_without_a_state),
        cmocka_unit_test(test_days),
        cmocka_unit_test(test_the_folder),
    };
    char command[100];
    if (mkdtemp(root) == NULL)
        return 1;
    int rc = cmocka_run_group_tests(tests, NULL, NULL);
    snprintf(command, sizeof command, "rm -rf '%s'", root);
    return system(command) == 0 ? rc : 1;
}
