/*
 * response_store: conversations along their links, what is forgotten and what stays, and a database
 * of the version before, which is brought to this one.
 */
#include "base/fs.h"
#include "base/mem.h"
#include "gateway/conversation_store.h"
#include "gateway/response_store.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static char root[] = "/tmp/test_response_store.XXXXXX";

struct fixture {
    uv_loop_t loop;
    struct state *state;
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

static void make_id(char ret[ID_MAX], int n)
{
    snprintf(ret, ID_MAX, "resp_%024d", n);
}

/* Turn n of owner, after turn n_previous (0: the first), made at created_s. */
static void insert(sqlite3 *db, const char *owner, int n, int n_previous, int64_t created_s,
                   const char *status, bool open)
{
    struct response_row r;
    struct err err = {0};
    response_row_init(&r);
    make_id(r.id, n);
    if (n_previous != 0)
        make_id(r.previous, n_previous);
    strcpy(r.owner, owner);
    strcpy(r.status, status);
    r.created_s = created_s;
    r.background = open;
    buf_printf(&r.input, "[{\"type\":\"message\",\"id\":\"msg_%024di000\",\"role\":\"user\"}]", n);
    buf_printf(&r.object, "{\"output\":[{\"type\":\"message\",\"id\":\"msg_%024d000\"}]}", n);
    if (open)
        buf_add_z(&r.body, "{\"input\":\"x\"}");
    if (response_store_insert(db, &r, &err) != 0)
        fail_msg("%s", err.text);
    response_row_release(&r);
}

/* How many items the conversation after turn n has; an error's code when it has none. */
static int64_t history(struct fixture *f, const char *owner, int n, const char *reference,
                       struct err *ret_err)
{
    struct inquiry q = {.fd = -1};
    strcpy(q.owner, owner);
    if (n != 0)
        make_id(q.id, n);
    q.body = reference == NULL
                 ? json_pack("{s:[]}", "new")
                 : json_pack("{s:[{s:s, s:s}]}", "new", "type", "item_reference", "id", reference);
    response_store_history(f->state, &q);
    *ret_err = q.err;
    int64_t ret =
        q.err.code != 0 ? q.err.code : (int64_t)json_array_size(json_object_get(q.body, "all"));
    json_decref(q.body);
    return ret;
}

static int64_t count(sqlite3 *db)
{
    int64_t n = -1;
    assert_int_equal(db_number(db, NULL, &n, "SELECT count(*) FROM responses", ""), 0);
    return n;
}

static void test_conversations(void **state)
{
    struct fixture *f = *state;
    struct err err;
    sqlite3 *db = state_db(f->state);
    insert(db, "ann", 1, 0, 100, "completed", false);
    insert(db, "ann", 2, 1, 100, "incomplete", false);
    insert(db, "ann", 3, 2, 100, "completed", false);
    insert(db, "bob", 4, 3, 100, "completed", false); /* cannot be, and gives nothing away */
    insert(db, "ann", 5, 3, 100, "queued", true);
    assert_int_equal(history(f, "ann", 3, NULL, &err), 6);
    assert_int_equal(history(f, "ann", 1, "msg_000000000000000000000002000", &err), 3);
    assert_int_equal(history(f, "ann", 0, "msg_000000000000000000000002i000", &err), 1);
    assert_int_equal(history(f, "bob", 0, "msg_000000000000000000000002i000", &err), ERR_NOT_FOUND);
    assert_string_equal(err.param, "input[0].id");
    assert_int_equal(history(f, "bob", 3, NULL, &err), -101); /* API_ERR_NO_PREVIOUS */
    assert_non_null(strstr(err.text, "not found"));
    assert_int_equal(history(f, "bob", 4, NULL, &err), -101);
    assert_non_null(strstr(err.text, "lost its turn"));
    assert_int_equal(history(f, "ann", 5, NULL, &err), ERR_INVALID);
    assert_non_null(strstr(err.text, "queued"));
    assert_int_equal(db_run(db, NULL, "DELETE FROM responses", ""), 0);
}

static void test_forgetting(void **state)
{
    struct fixture *f = *state;
    struct err err;
    sqlite3 *db = state_db(f->state);
    insert(db, "ann", 1, 0, 100, "completed", false);
    insert(db, "ann", 2, 1, 5000, "completed", false); /* goes on from an old one */
    insert(db, "ann", 3, 0, 100, "completed", false);
    insert(db, "ann", 4, 0, 100, "in_progress", true); /* not over */
    assert_false(response_store_expire(db, 1e6, 0));   /* 0: nothing is forgotten by time */
    assert_true(response_store_expire(db, 2000, 1000));
    assert_false(response_store_expire(db, 2000, 1000));
    assert_int_equal(count(db), 3);
    assert_int_equal(history(f, "ann", 2, NULL, &err), 4);
    while (response_store_expire(db, 7000, 1000)) /* the youngest first, then what it needed */
        ;
    assert_int_equal(count(db), 1);
    assert_int_equal(db_run(db, NULL, "DELETE FROM responses", ""), 0);
    assert_int_equal(db_begin(db, NULL), 0);
    for (int i = 1; i <= RESPONSES_KEPT_MAX + 150; i++)
        insert(db, i <= RESPONSES_KEPT_MAX + 130 ? "ann" : "bob", i, 0, 100, "completed", false);
    assert_int_equal(db_end(db, 0, NULL), 0);
    while (response_store_expire(db, 200, 1000))
        ;
    assert_int_equal(count(db), RESPONSES_KEPT_MAX + 20);
    assert_int_equal(history(f, "ann", 130, NULL, &err), -101); /* the oldest of ann's went */
    assert_int_equal(history(f, "ann", 131, NULL, &err), 2);
    assert_int_equal(db_run(db, NULL, "DELETE FROM responses", ""), 0);
}

static void test_what_a_server_left(void **state)
{
    struct fixture *f = *state;
    struct response_row r;
    struct err err = {0};
    int64_t seq = 0, n_starts = -1;
    char id[ID_MAX];
    sqlite3 *db = state_db(f->state);
    insert(db, "ann", 1, 0, 100, "completed", false);
    insert(db, "ann", 2, 0, 100, "queued", true);
    insert(db, "bob", 3, 0, 100, "queued", true);
    make_id(id, 3);
    assert_int_equal(response_store_begin(db, id, &err), 0);
    close_state(f);
    open_state(f);
    db = state_db(f->state);
    for (int n = 2; n <= 3; n++) {
        response_row_init(&r);
        assert_int_equal(response_store_next(db, &seq, &r, &n_starts, &err), 1);
        make_id(id, n);
        assert_string_equal(r.id, id);
        assert_int_equal(n_starts, n - 2);
        assert_true(str_eq_z(buf_str(&r.body), "{\"input\":\"x\"}"));
        strcpy(r.status, "completed");
        buf_add_z(&r.events, "event: x\n\n");
        if (n == 3)
            assert_int_equal(response_store_finish(db, &r, &err), 0);
        response_row_release(&r);
    }
    response_row_init(&r);
    assert_int_equal(response_store_next(db, &seq, &r, &n_starts, &err), 0);
    response_row_release(&r);
    int64_t n_open = 0;
    assert_int_equal(
        db_number(db, NULL, &n_open, "SELECT count(*) FROM responses WHERE body IS NOT NULL", ""),
        0);
    assert_int_equal(n_open, 1);
    assert_int_equal(db_run(db, NULL, "DELETE FROM responses", ""), 0);
}

static int64_t count_items(sqlite3 *db, const char *id)
{
    int64_t n = 0, n_told = -1, bytes = 0, told = -1;
    (void)!db_number(db, NULL, &n_told, "SELECT n_items FROM conversations WHERE id = ?", "s", id);
    (void)!db_number(db, NULL, &told, "SELECT bytes FROM conversations WHERE id = ?", "s", id);
    (void)!db_number(db, NULL, &n,
                     "SELECT count(*) FROM conversation_items WHERE conversation ="
                     " (SELECT seq FROM conversations WHERE id = ?)",
                     "s", id);
    (void)!db_number(db, NULL, &bytes,
                     "SELECT coalesce(sum(length(item)), 0) FROM conversation_items WHERE"
                     " conversation = (SELECT seq FROM conversations WHERE id = ?)",
                     "s", id);
    assert_int_equal(n, n_told);
    assert_int_equal(bytes, told);
    return n;
}

static int save_in(sqlite3 *db, int n, const char *status, bool row)
{
    struct response_row r;
    struct err err = {0};
    response_row_init(&r);
    make_id(r.id, n);
    strcpy(r.owner, "ann");
    strcpy(r.conversation, "conv_1");
    strcpy(r.status, status);
    buf_printf(&r.input, "[{\"type\":\"message\",\"id\":\"in%d\",\"role\":\"user\"}]", n);
    buf_printf(&r.object, "{\"output\":[{\"type\":\"message\",\"id\":\"out%d\"}]}", n);
    int code = response_store_save(db, &r, row, &err);
    response_row_release(&r);
    return code;
}

/* A turn and its items come together or not at all. */
static void test_turns_in_a_conversation(void **state)
{
    struct fixture *f = *state;
    sqlite3 *db = state_db(f->state);
    int64_t n_before = count(db);
    struct inquiry q = {.fd = -1, .id = "conv_1", .owner = "ann"};
    buf_init(&q.out, 1 << 20);
    q.body = json_object();
    conversation_store_create(f->state, &q);
    json_decref(q.body);
    buf_release(&q.out);
    assert_int_equal(q.err.code, 0);
    assert_int_equal(save_in(db, 901, "completed", true), 0);
    assert_int_equal(count_items(db, "conv_1"), 2);
    assert_int_equal(save_in(db, 902, "failed", true), 0);
    assert_int_equal(save_in(db, 903, "cancelled", true), 0);
    assert_int_equal(count_items(db, "conv_1"), 2);
    assert_int_equal(save_in(db, 904, "incomplete", false), 0);
    assert_int_equal(count_items(db, "conv_1"), 4);
    assert_int_equal(count(db) - n_before, 3);
    /* the same items again: neither they nor the row */
    assert_int_equal(db_run(db, NULL, "DELETE FROM responses WHERE owner = 'ann'", ""), 0);
    n_before = count(db);
    assert_int_equal(save_in(db, 901, "completed", true), ERR_INVALID);
    assert_int_equal(count_items(db, "conv_1"), 4);
    assert_int_equal(count(db), n_before);
    /* what was not used for long is forgotten; then a turn of it is still kept */
    while (conversation_store_expire(db, INT64_MAX / 2, 10))
        ;
    assert_int_equal(save_in(db, 905, "completed", true), 0);
    assert_int_equal(count(db), n_before + 1);
    assert_int_equal(db_run(db, NULL, "DELETE FROM responses", ""), 0);
}

static void test_the_version_before(void **state)
{
    struct fixture *f = *state;
    int64_t n = 0;
    sqlite3 *db = state_db(f->state), *reader;
    struct err err = {0};
    assert_int_equal(sqlite3_exec(db,
                                  "DROP TABLE responses; DROP TABLE conversations; DROP TABLE"
                                  " conversation_items; ALTER TABLE lines DROP COLUMN body;"
                                  " PRAGMA user_version = 1",
                                  NULL, NULL, NULL),
                     SQLITE_OK);
    assert_int_equal(db_open_reader(root, &reader, &err), 0); /* it has what readers look at */
    db_close(reader);
    close_state(f);
    open_state(f);
    assert_int_equal(count(state_db(f->state)), 0);
    assert_int_equal(db_number(state_db(f->state), NULL, &n, "PRAGMA user_version", ""), 0);
    assert_int_equal(n, DB_VERSION);
    assert_int_equal(db_run(state_db(f->state), NULL, "PRAGMA user_version = 99", ""), 0);
    struct sqlite3 *newer;
    assert_int_equal(db_open(root, &newer, &err), ERR_UNSUPPORTED);
}

static int set_up(void **state)
{
    static struct fixture f;
    if (mkdtemp(root) == NULL)
        return -1;
    open_state(&f);
    *state = &f;
    return 0;
}

static int tear_down(void **state)
{
    char command[128];
    close_state(*state);
    snprintf(command, sizeof command, "rm -rf '%s'", root);
    return system(command);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_conversations),      cmocka_unit_test(test_forgetting),
        cmocka_unit_test(test_what_a_server_left), cmocka_unit_test(test_turns_in_a_conversation),
        cmocka_unit_test(test_the_version_before),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
