/*
 * message_batch_store: see message_batch_store.h.
 */
#include "gateway/message_batch_store.h"

#include "api/anthropic_batch.h"
#include "base/clock.h"
#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LINE_BYTES_MAX (1u << 30)
#define OURS_SQL       "endpoint = '" BATCH_MESSAGES_PATH "'"

/* ---- objects ---- */

#define ENDED_SQL "coalesce(completed_s, expired_s, cancelled_s, failed_s)"
#define COLUMNS                                                                                    \
    "id, status, created_s, expires_s, cancelling_s, " ENDED_SQL ", total, completed, failed,"     \
    " EXISTS (SELECT 1 FROM files WHERE files.id = batches.output_file)"

static void write_object(sqlite3_stmt *row, struct inquiry *q)
{
    anthropic_batch_write(
        &(struct anthropic_batch){.id = db_text(row, 0),
                                  .status = db_text(row, 1),
                                  .base_url = q->text.len > 0 ? q->text.ptr : "",
                                  .created_s = sqlite3_column_int64(row, 2),
                                  .expires_s = sqlite3_column_int64(row, 3),
                                  .cancelling_s = sqlite3_column_int64(row, 4),
                                  .ended_s = sqlite3_column_int64(row, 5),
                                  .total = sqlite3_column_int64(row, 6),
                                  .completed = sqlite3_column_int64(row, 7),
                                  .failed = sqlite3_column_int64(row, 8),
                                  .has_results = sqlite3_column_int64(row, 9) > 0},
        &q->out);
}

static int not_found(struct inquiry *q)
{
    return err_set(&q->err, ERR_NOT_FOUND, "there is no message batch '%s'", q->id);
}

static int write_one(sqlite3 *db, struct inquiry *q)
{
    sqlite3_stmt *row = db_query(
        db, &q->err, "SELECT " COLUMNS " FROM batches WHERE id = ? AND owner = ? AND " OURS_SQL,
        "ss", q->id, q->owner);
    int code = row == NULL ? q->err.code : db_next(row, &q->err);
    if (code > 0)
        write_object(row, q);
    else if (code == 0)
        code = not_found(q);
    sqlite3_finalize(row);
    return code > 0 ? 0 : code;
}

void message_batch_get(struct state *state, struct inquiry *q)
{
    (void)!write_one(state_db(state), q);
}

/* ---- create ---- */

static int insert_lines(sqlite3 *db, int64_t seq, const json_t *requests, struct err *err)
{
    int code = 0;
    struct buf text;
    size_t i;
    json_t *request;
    buf_init(&text, LINE_BYTES_MAX);
    json_array_foreach(requests, i, request)
    {
        buf_clear(&text);
        if (!anthropic_batch_line_write(request, &text))
            code = err_set(err, ERR_LIMIT, "a request is too large for a batch");
        if (code == 0)
            code = db_run(db, err,
                          "INSERT INTO lines (batch, line, custom_id, offset, bytes, body)"
                          " VALUES (?, ?, ?, 0, ?, ?)",
                          "iibib", seq, (int64_t)i + 1,
                          json_str(json_object_get(request, "custom_id")), (int64_t)text.len,
                          buf_str(&text));
        if (code != 0)
            break;
    }
    buf_release(&text);
    return code;
}

void message_batch_create(struct state *state, struct inquiry *q)
{
    sqlite3 *db = state_db(state);
    const json_t *requests;
    int64_t now_s = clock_wall_ms() / 1000;
    if (anthropic_batch_parse(q->body, &requests, &q->err) != 0)
        return;
    int64_t n = (int64_t)json_array_size(requests);
    int code = db_begin(db, &q->err);
    if (code == 0)
        code = batch_store_check_active(db, q->owner, &q->err);
    if (code == 0)
        code = db_run(db, &q->err,
                      "INSERT INTO batches (id, owner, endpoint, window, input_file, status,"
                      " created_s, in_progress_s, expires_s, total)"
                      " VALUES (?, ?, ?, '24h', '', 'in_progress', ?, ?, ?, ?)",
                      "sssiiii", q->id, q->owner, BATCH_MESSAGES_PATH, now_s, now_s,
                      now_s + ANTHROPIC_BATCH_WINDOW_S, n);
    q->seq = sqlite3_last_insert_rowid(db);
    q->bytes = n;
    if (code == 0)
        code = insert_lines(db, q->seq, requests, &q->err);
    if (code == 0)
        code = write_one(db, q);
    if (db_end(db, code, &q->err) != 0)
        q->seq = 0;
}

/* ---- lists ---- */

/* The place of q->after, or that of a page which begins at an end. */
static int find_after(sqlite3 *db, struct inquiry *q, int64_t *ret)
{
    int64_t seq = 0;
    *ret = INT64_MAX;
    if (q->after[0] == '\0')
        return 0;
    int code = db_number(db, &q->err, &seq,
                         "SELECT seq FROM batches WHERE id = ? AND owner = ? AND " OURS_SQL, "ss",
                         q->after, q->owner);
    if (code == 0 && seq == 0)
        code = err_set_param(&q->err, ERR_INVALID, q->ascending ? "before_id" : "after_id",
                             "there is no message batch '%s'", q->after);
    *ret = seq;
    return code;
}

void message_batch_list(struct state *state, struct inquiry *q)
{
    sqlite3 *db = state_db(state);
    int64_t after, n = 0;
    char first[ID_MAX] = "", last[ID_MAX] = "";
    if (find_after(db, q, &after) != 0)
        return;
    const char *from = q->ascending ? "FROM batches WHERE owner = ? AND " OURS_SQL
                                      " AND seq > ? ORDER BY seq LIMIT ?"
                                    : "FROM batches WHERE owner = ? AND " OURS_SQL
                                      " AND seq < ? ORDER BY seq DESC LIMIT ?";
    char sql[1024];
    snprintf(sql, sizeof sql, "SELECT count(*) FROM (SELECT 1 %s)", from);
    if (db_number(db, &q->err, &n, sql, "sii", q->owner, after, q->limit + 1) != 0)
        return;
    snprintf(sql, sizeof sql,
             "SELECT " COLUMNS " FROM batches WHERE seq IN (SELECT seq %s) ORDER BY seq DESC",
             from);
    sqlite3_stmt *rows = db_query(db, &q->err, sql, "sii", q->owner, after, q->limit);
    anthropic_list_begin(&q->out);
    while (rows != NULL && db_next(rows, &q->err) > 0) {
        snprintf(last, sizeof last, "%s", db_text(rows, 0));
        if (first[0] == '\0')
            strcpy(first, last);
        else
            buf_add_char(&q->out, ',');
        write_object(rows, q);
    }
    sqlite3_finalize(rows);
    anthropic_list_end(first, last, n > q->limit, &q->out);
}

/* ---- cancel, delete, results ---- */

/* The batch's row in short: is it over, and its file. */
struct found {
    int64_t seq;
    bool over;
    char file[ID_MAX];
};

static int find(sqlite3 *db, struct inquiry *q, struct found *ret)
{
    sqlite3_stmt *row =
        db_query(db, &q->err,
                 "SELECT seq, " ENDED_SQL " IS NOT NULL, output_file FROM batches WHERE id = ? AND"
                 " owner = ? AND " OURS_SQL,
                 "ss", q->id, q->owner);
    int code = row == NULL ? q->err.code : db_next(row, &q->err);
    if (code > 0) {
        ret->seq = sqlite3_column_int64(row, 0);
        ret->over = sqlite3_column_int64(row, 1) != 0;
        snprintf(ret->file, sizeof ret->file, "%s", db_text(row, 2));
    } else if (code == 0) {
        code = not_found(q);
    }
    sqlite3_finalize(row);
    return code > 0 ? 0 : code;
}

void message_batch_cancel(struct state *state, struct inquiry *q)
{
    sqlite3 *db = state_db(state);
    struct found f = {0};
    int code = db_begin(db, &q->err);
    if (code == 0)
        code = find(db, q, &f);
    if (code == 0 && f.over)
        code =
            err_set(&q->err, ERR_INVALID, "the batch '%s' has ended: it cannot be canceled", q->id);
    if (code == 0)
        code = db_run(db, &q->err,
                      "UPDATE batches SET status = 'cancelling', ending = 'cancelled',"
                      " cancelling_s = ? WHERE seq = ? AND status = 'in_progress'",
                      "ii", clock_wall_ms() / 1000, f.seq);
    bool stops = code == 0 && sqlite3_changes(db) == 1;
    if (code == 0)
        code = write_one(db, q);
    if (db_end(db, code, &q->err) == 0 && stops)
        q->seq = f.seq;
}

void message_batch_delete(struct state *state, struct inquiry *q)
{
    sqlite3 *db = state_db(state);
    struct found f = {0};
    int code = db_begin(db, &q->err);
    if (code == 0)
        code = find(db, q, &f);
    if (code == 0 && !f.over)
        code = err_set(&q->err, ERR_INVALID,
                       "the batch '%s' has not ended: cancel it before it is deleted", q->id);
    if (code == 0)
        code = db_run(db, &q->err, "DELETE FROM files WHERE id = ? AND owner = ?", "ss", f.file,
                      q->owner);
    if (code == 0)
        code = db_run(db, &q->err, "DELETE FROM batches WHERE seq = ?", "i", f.seq);
    if (db_end(db, code, &q->err) != 0)
        return;
    if (f.file[0] != '\0') {
        char *path = files_path(state, f.file);
        unlink(path);
        free(path);
    }
    anthropic_batch_deleted_write(q->id, &q->out);
}

void message_batch_results(struct state *state, struct inquiry *q)
{
    struct found f = {0};
    struct file_row file;
    struct stat st;
    int code = find(state_db(state), q, &f);
    if (code == 0 && !f.over)
        code = err_set(&q->err, ERR_INVALID,
                       "the batch '%s' has not ended: there are no results yet", q->id);
    if (code == 0 && f.file[0] == '\0')
        code = err_set(&q->err, ERR_NOT_FOUND, "the batch '%s' has no results", q->id);
    if (code == 0)
        code = files_find(state_db(state), q->owner, f.file, &file, &q->err);
    if (code != 0)
        return;
    char *path = files_path(state, f.file);
    q->fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (q->fd < 0 || fstat(q->fd, &st) != 0 || !S_ISREG(st.st_mode))
        err_set_errno(&q->err, errno, "the results of the batch '%s' cannot be read", q->id);
    else
        q->bytes = st.st_size;
    free(path);
}
