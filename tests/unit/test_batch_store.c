/*
 * batch_store, retention: each step of a batch with a restart after it; a result counts once; the
 * files at the end hold every line once, in the order of the input, also when making them was
 * broken off. What is over is forgotten when its time has come, in steps, and what is needed stays.
 */
#include "base/clock.h"
#include "base/fs.h"
#include "base/mem.h"
#include "gateway/batch_store.h"
#include "gateway/retention.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define N_LINES   2600 /* more than a step of any kind */
#define LINE_MAX_ (1 << 16)
#define LINE                                                                                       \
    "{\"custom_id\":\"id-%d\",\"method\":\"POST\",\"url\":\"/v1/completions\","                    \
    "\"body\":{\"prompt\":\"%01000d\",\"model\":\"m\"}}\n"

static char root[] = "/tmp/test_batch_store.XXXXXX";

struct fixture {
    uv_loop_t loop;
    struct state *state;
    struct batch_head head;
};

static void open_state(struct fixture *f)
{
    struct err err = {0};
    assert_int_equal(uv_loop_init(&f->loop), 0);
    if (state_open(root, &f->loop, &f->state, &err) != 0)
        fail_msg("%s", err.text);
}

static void close_state(struct fixture *f)
{
    state_close(f->state);
    uv_run(&f->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&f->loop), 0);
}

/* As a kill and a new start: nothing is known but what is in the folder. */
static void restart(struct fixture *f)
{
    int64_t seq = f->head.seq;
    close_state(f);
    open_state(f);
    assert_int_equal(batch_store_head(state_db(f->state), seq, &f->head, NULL), 0);
}

static void put_file(struct fixture *f, const char *id, struct str bytes)
{
    struct file_row row = {.bytes = (int64_t)bytes.len, .created_s = 1};
    char *path = files_path(f->state, id);
    strcpy(row.id, id);
    strcpy(row.owner, "ann");
    strcpy(row.filename, "in");
    strcpy(row.purpose, "batch");
    assert_int_equal(fs_write_atomic(path, bytes, 0600, NULL), 0);
    assert_int_equal(files_insert(state_db(f->state), &row, NULL), 0);
    free(path);
}

static void create_of(struct fixture *f, struct str file, const char *owner, int want)
{
    static int n;
    struct inquiry q = {.fd = -1};
    buf_init(&q.out, 1 << 16);
    buf_init(&q.text, 1 << 16);
    snprintf(q.id, sizeof q.id, "batch_%d", ++n);
    strcpy(q.owner, owner);
    q.body = json_pack("{s:s%, s:s, s:s}", "input_file_id", file.ptr, file.len, "endpoint",
                       "/v1/completions", "completion_window", "24h");
    batch_store_create(f->state, &q);
    assert_int_equal(q.err.code, want);
    if (want == 0)
        assert_int_equal(batch_store_head(state_db(f->state), q.seq, &f->head, NULL), 0);
    json_decref(q.body);
    buf_release(&q.out);
    buf_release(&q.text);
}

static void create(struct fixture *f, const char *file, const char *owner, int want)
{
    create_of(f, str_z(file), owner, want);
}

static void scan_all(struct fixture *f)
{
    struct err err = {0};
    int n = 0;
    while (f->head.status == BATCH_VALIDATING) {
        if (batch_store_scan(f->state, &f->head, LINE_MAX_, &err) != 0)
            fail_msg("%s", err.text);
        restart(f);
        n++;
    }
    assert_true(n > 2);
}

static void save(struct fixture *f, int64_t line, bool failed, const char *text)
{
    struct batch_result r = {.seq = f->head.seq,
                             .line = line,
                             .failed = failed,
                             .owner = "ann",
                             .model = failed ? NULL : (char[]){"m"},
                             .use = {.requests = 1, .prompt_tokens = 2, .completion_tokens = 3}};
    buf_init(&r.text, 1000);
    buf_add_z(&r.text, text);
    assert_int_equal(batch_store_save(state_db(f->state), &r, NULL), 0);
    buf_release(&r.text);
}

/* Every line but each 100th, which fails; each seventh result comes twice. */
static int run_all(struct fixture *f)
{
    struct batch_item item[BATCH_FETCH_MAX];
    struct err err = {0};
    int64_t line = 0;
    int n, total = 0;
    char text[64], want[2000];
    do {
        if (batch_store_fetch(f->state, &f->head, line, item, &n, &err) != 0)
            fail_msg("%s", err.text);
        for (int i = 0; i < n; i++) {
            line = item[i].line;
            total++;
            assert_int_equal(line, total);
            int len = snprintf(want, sizeof want, LINE, total, total);
            assert_int_equal(item[i].n_text, len - 1);
            assert_memory_equal(item[i].text, want, len - 1);
            free(item[i].text);
            snprintf(text, sizeof text, "{\"r\":%d}", total);
            save(f, line, total % 100 == 0, text);
            if (total % 7 == 0)
                save(f, line, total % 100 != 0, "{\"second\":1}");
        }
        if (total == 1600)
            restart(f);
    } while (n > 0);
    return total;
}

static int64_t number(struct fixture *f, const char *sql)
{
    int64_t n = -1;
    assert_int_equal(db_number(state_db(f->state), NULL, &n, sql, ""), 0);
    return n;
}

/* The numbers of a result file's lines, checked to rise; their count. */
static int read_results(struct fixture *f, const char *column, bool failed)
{
    struct buf text;
    struct str rest, line;
    char sql[100];
    int n = 0, last = 0;
    struct err err = {0};
    snprintf(sql, sizeof sql, "SELECT %s FROM batches WHERE seq = ?", column);
    sqlite3_stmt *q = db_query(state_db(f->state), &err, sql, "i", f->head.seq);
    assert_int_equal(db_next(q, &err), 1);
    char *path = files_path(f->state, db_text(q, 0));
    sqlite3_finalize(q);
    buf_init(&text, 1 << 22);
    assert_int_equal(fs_read(path, &text, NULL), 0);
    rest = buf_str(&text);
    while (str_split(&rest, '\n', &line) && line.len > 0) {
        int at = 0;
        assert_int_equal(sscanf(line.ptr, "{\"r\":%d}", &at), 1);
        assert_true(at > last);
        assert_int_equal(at % 100 == 0, failed);
        last = at;
        n++;
    }
    buf_release(&text);
    free(path);
    return n;
}

static void test_a_life_with_restarts(void **state)
{
    (void)state;
    struct fixture f = {0};
    struct buf input;
    struct batch_finish finish = {0};
    struct err err = {0};
    open_state(&f);
    buf_init(&input, 1 << 24);
    for (int i = 1; i <= N_LINES; i++)
        buf_printf(&input, LINE, i, i);
    put_file(&f, "file-in", buf_str(&input));
    buf_release(&input);
    create(&f, "file-in", "bob", ERR_NOT_FOUND); /* another's */
    create_of(&f, (struct str){"file-in\0/x", 10}, "ann", ERR_NOT_FOUND);
    create(&f, "file-in", "ann", 0);
    scan_all(&f);
    assert_int_equal(f.head.status, BATCH_IN_PROGRESS);
    assert_int_equal(number(&f, "SELECT count(DISTINCT custom_id) FROM lines"), N_LINES);
    assert_int_equal(run_all(&f), N_LINES);
    assert_int_equal(number(&f, "SELECT completed FROM batches"), N_LINES - N_LINES / 100);
    assert_int_equal(number(&f, "SELECT failed FROM batches"), N_LINES / 100);
    assert_int_equal(number(&f, "SELECT prompt FROM batches"), 2 * N_LINES);
    /* the ledger, in the same transactions: restarts and second results changed nothing */
    assert_int_equal(number(&f, "SELECT requests FROM usage WHERE key = 'ann' AND model = 'm'"),
                     N_LINES - N_LINES / 100);
    assert_int_equal(number(&f, "SELECT sum(completion) FROM usage WHERE class = 'batch'"),
                     3 * (N_LINES - N_LINES / 100));
    assert_int_equal(batch_store_close(state_db(f.state), &f.head, false, NULL), 0);
    assert_int_equal(f.head.status, BATCH_FINALIZING);
    assert_int_equal(batch_store_finish(f.state, &f.head, &finish, 0, NULL), 0);
    assert_int_equal(f.head.status, BATCH_FINALIZING); /* in the middle */
    close(finish.fd[0]), close(finish.fd[1]);          /* as a kill does */
    finish = (struct batch_finish){0};
    restart(&f);
    assert_int_equal(number(&f, "SELECT count(*) FROM files"), 1);
    while (f.head.status != BATCH_OVER)
        if (batch_store_finish(f.state, &f.head, &finish, 60, &err) != 0)
            fail_msg("%s", err.text);
    restart(&f);
    assert_int_equal(f.head.status, BATCH_OVER);
    assert_int_equal(read_results(&f, "output_file", false), N_LINES - N_LINES / 100);
    assert_int_equal(read_results(&f, "error_file", true), N_LINES / 100);
    assert_int_equal(number(&f, "SELECT count(*) FROM lines"), 0);
    assert_int_equal(number(&f, "SELECT completed_s >= finalizing_s FROM batches"), 1);
    assert_int_equal(number(&f, "SELECT count(*) FROM files WHERE purpose = 'batch_output' AND"
                                " expires_s = created_s + 60"),
                     2);
    close_state(&f);
}

static void refuse_input(struct fixture *f, const char *id, struct str text, const char *code)
{
    struct err err = {0};
    char want[64];
    put_file(f, id, text);
    create(f, id, "ann", 0);
    while (f->head.status == BATCH_VALIDATING)
        if (batch_store_scan(f->state, &f->head, LINE_MAX_, &err) != 0)
            fail_msg("%s", err.text);
    sqlite3_stmt *q =
        db_query(state_db(f->state), NULL, "SELECT status, errors FROM batches WHERE seq = ?", "i",
                 f->head.seq);
    assert_int_equal(db_next(q, NULL), 1);
    assert_string_equal(db_text(q, 0), "failed");
    snprintf(want, sizeof want, "{\"code\":\"%s\",\"line\":", code);
    if (strstr(db_text(q, 1), want) == NULL)
        fail_msg("no %s in %s", want, db_text(q, 1));
    sqlite3_finalize(q);
    assert_int_equal(number(f, "SELECT count(*) FROM lines"), 0);
}

static void test_bad_inputs(void **state)
{
    (void)state;
    struct fixture f = {0};
    struct buf text;
    open_state(&f);
    buf_init(&text, 1 << 24);
    for (int i = 0; i < LINE_MAX_ + 10; i++)
        buf_add_char(&text, 'x');
    refuse_input(&f, "file-a", buf_str(&text), "line_too_long");
    buf_clear(&text);
    for (int i = 0; i <= BATCH_LINES_MAX; i++)
        buf_printf(&text,
                   "{\"custom_id\":\"%d\",\"method\":\"POST\",\"url\":\"/v1/completions\","
                   "\"body\":{\"prompt\":\"\"}}\n",
                   i);
    refuse_input(&f, "file-b", buf_str(&text), "too_many_tasks");
    buf_clear(&text);
    for (int i = 0; i < 1000; i++)
        buf_add_z(&text, "?\n");
    refuse_input(&f, "file-c", buf_str(&text), "invalid_json_line");
    assert_true(number(&f, "SELECT max(length(errors)) FROM batches") < BATCH_ERRORS_MAX * 400);
    buf_release(&text);
    close_state(&f);
}

static void run_sql(struct fixture *f, const char *sql)
{
    if (sqlite3_exec(state_db(f->state), sql, NULL, NULL, NULL) != SQLITE_OK)
        fail_msg("%s: %s", sqlite3_errmsg(state_db(f->state)), sql);
}

#define MANY(n) "WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < " #n ") "

/* All steps that are to be done at this time; how many those were. */
static int forget(struct fixture *f, struct retention *r, int64_t keep_s, int64_t now_s)
{
    int n = 0;
    do {
        *r = (struct retention){.keep_s = keep_s, .now_s = now_s};
        retention_step(f->state, r);
        n++;
    } while (r->more);
    assert_int_equal(r->n_files, number(f, "SELECT count(*) FROM files"));
    assert_int_equal(r->file_bytes, number(f, "SELECT coalesce(sum(bytes), 0) FROM files"));
    return n;
}

static void test_files_are_forgotten_in_their_time(void **state)
{
    (void)state;
    struct fixture f = {0};
    struct retention r = {.keep_s = 1000, .now_s = clock_wall_ms() / 1000};
    int64_t now_s = r.now_s;
    char sql[200];
    open_state(&f);
    run_sql(&f, "DELETE FROM files; DELETE FROM batches");
    put_file(&f, "file-used", STR("x"));
    put_file(&f, "file-free", STR("yy"));
    create(&f, "file-used", "ann", 0);
    run_sql(&f, MANY(450) "INSERT INTO files (id, owner, filename, purpose, bytes, created_s)"
                          " SELECT 'f' || i, 'ann', 'f', 'batch', 3, 1 FROM c");
    forget(&f, &r, 0, now_s); /* kept until they are deleted */
    assert_int_equal(r.n_files, 452);
    assert_true(forget(&f, &r, 1000, now_s) >= 3);
    assert_int_equal(r.n_files, 452);
    snprintf(sql, sizeof sql, "SELECT count(*) FROM files WHERE expires_s = %lld",
             (long long)now_s + 1000);
    assert_int_equal(number(&f, sql), 452);
    forget(&f, &r, 500, now_s + 999); /* what was promised stands */
    assert_int_equal(r.n_files, 452);
    r = (struct retention){.keep_s = 1000, .now_s = now_s + 1000};
    retention_step(f.state, &r);
    assert_int_equal(r.n_files, 452 - RETENTION_STEP_FILES);
    assert_true(r.more);
    forget(&f, &r, 1000, now_s + 1000);
    assert_int_equal(r.n_files, 1);
    char *used = files_path(f.state, "file-used"), *gone = files_path(f.state, "file-free");
    assert_true(fs_exists(used));
    assert_false(fs_exists(gone));
    run_sql(&f, "UPDATE batches SET status = 'completed', completed_s = 1");
    forget(&f, &r, 1000, now_s + 1000);
    assert_int_equal(r.n_files, 0);
    assert_false(fs_exists(used));
    assert_int_equal(r.n_over, 0); /* with its last file */
    free(used);
    free(gone);
    close_state(&f);
}

#define ADD_BATCHES                                                                                \
    "INSERT INTO batches (id, owner, endpoint, window, input_file, status, created_s, expires_s, "

static void test_batches_are_forgotten_in_their_time(void **state)
{
    (void)state;
    struct fixture f = {0};
    struct retention r;
    open_state(&f);
    run_sql(&f, "DELETE FROM files; DELETE FROM batches");
    run_sql(&f, ADD_BATCHES "output_file) VALUES ('going', 'ann', 'e', 'w', 'i', 'in_progress', 1,"
                            " 2, NULL), ('failed', 'ann', 'e', 'w', 'i', 'failed', 1, 2, NULL)");
    run_sql(&f, ADD_BATCHES "expired_s, output_file) VALUES ('with-file', 'ann', 'e', 'w', 'i',"
                            " 'expired', 1, 2, 500, 'file-out')");
    run_sql(&f, MANY(450) ADD_BATCHES "cancelled_s) SELECT 'b' || i, 'ann', 'e', 'w', 'i',"
                                      " 'cancelled', 1, 2, 500 FROM c");
    put_file(&f, "file-out", STR("x"));
    forget(&f, &r, 0, 100000);
    assert_int_equal(r.n_over, 452);
    forget(&f, &r, 1000, 1499);
    assert_int_equal(r.n_over, 451); /* the failed one, that says no end, goes by its begin */
    run_sql(&f, "UPDATE files SET expires_s = 9000");
    assert_true(forget(&f, &r, 1000, 1500) >= 3);
    assert_int_equal(r.n_over, 1); /* its file is still there */
    forget(&f, &r, 1000, 9000);
    assert_int_equal(r.n_over, 0);
    assert_int_equal(number(&f, "SELECT count(*) FROM batches"), 1); /* is not over */
    run_sql(&f, MANY(2300) ADD_BATCHES "completed_s) SELECT 'c' || i, CASE WHEN i <= 3 THEN 'bob'"
                                       " ELSE 'ann' END, 'e', 'w', 'i', 'completed', 1, 2, i"
                                       " FROM c");
    forget(&f, &r, 0, 9000); /* at any time: so many of one key */
    assert_int_equal(r.n_over, 3 + BATCHES_KEPT_MAX);
    assert_int_equal(number(&f, "SELECT min(completed_s) FROM batches WHERE owner = 'ann'"),
                     2300 - BATCHES_KEPT_MAX + 1);
    close_state(&f);
}

static void touch(const char *folder, const char *name)
{
    char path[200];
    snprintf(path, sizeof path, "%s/%s", root, folder);
    assert_int_equal(fs_mkdirs(path, 0700, NULL), 0);
    snprintf(path, sizeof path, "%s/%s/%s", root, folder, name);
    assert_int_equal(fs_write_atomic(path, STR("mine"), 0600, NULL), 0);
}

static bool is_there(const char *folder, const char *name)
{
    char path[200];
    snprintf(path, sizeof path, "%s/%s/%s", root, folder, name);
    return fs_exists(path);
}

/* What a killed server left goes; what somebody keeps in folders of these names stays. */
static void test_only_our_own_rests_are_removed(void **state)
{
    (void)state;
    struct fixture f = {0};
    const char *const rest = "file-0123456789abcdef01234567";
    touch("tmp", rest);
    touch("tmp", "thesis.tex");
    touch("files", rest);
    touch("files", "file-of-tax-returns");
    touch("files", "holiday.jpg");
    open_state(&f);
    close_state(&f);
    assert_false(is_there("tmp", rest));
    assert_false(is_there("files", rest));
    assert_true(is_there("tmp", "thesis.tex"));
    assert_true(is_there("files", "file-of-tax-returns"));
    assert_true(is_there("files", "holiday.jpg"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_life_with_restarts),
        cmocka_unit_test(test_bad_inputs),
        cmocka_unit_test(test_files_are_forgotten_in_their_time),
        cmocka_unit_test(test_batches_are_forgotten_in_their_time),
        cmocka_unit_test(test_only_our_own_rests_are_removed),
    };
    char command[100];
    if (mkdtemp(root) == NULL)
        return 1;
    int rc = cmocka_run_group_tests(tests, NULL, NULL);
    snprintf(command, sizeof command, "rm -rf '%s'", root);
    return system(command) == 0 ? rc : 1;
}
