/*
 * batch_store: see batch_store.h. Owns the rows of batches and what clients see of them.
 */
#include "gateway/batch_store.h"

#include "api/anthropic_batch.h"
#include "api/openai_batch.h"
#include "base/clock.h"
#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BATCH_LEDGER_CLASS "batch"
#define OURS_SQL           "endpoint <> '" BATCH_MESSAGES_PATH "'"
#define ACTIVE_SQL         "status IN ('validating', 'in_progress', 'finalizing', 'cancelling')"

static int64_t now_s(void)
{
    return clock_wall_ms() / 1000;
}

/* ---- what clients see ---- */

#define OBJECT_COLUMNS                                                                             \
    "id, endpoint, window, input_file, output_file, error_file, status, model, metadata, errors,"  \
    " created_s, expires_s, in_progress_s, finalizing_s, completed_s, failed_s, expired_s,"        \
    " cancelling_s, cancelled_s, total, completed, failed, prompt, cached, completion"

static void write_object(sqlite3_stmt *q, const char *paused, struct buf *out)
{
    int64_t n[15];
    for (int i = 0; i < 15; i++)
        n[i] = sqlite3_column_int64(q, 10 + i);
    openai_batch_write(&(struct openai_batch){.id = db_text(q, 0),
                                              .endpoint = db_text(q, 1),
                                              .window = db_text(q, 2),
                                              .input_file = db_text(q, 3),
                                              .output_file = db_text(q, 4),
                                              .error_file = db_text(q, 5),
                                              .status = db_text(q, 6),
                                              .model = db_text(q, 7),
                                              .metadata = db_text(q, 8),
                                              .errors = db_text(q, 9),
                                              .paused = paused,
                                              .created_s = n[0],
                                              .expires_s = n[1],
                                              .in_progress_s = n[2],
                                              .finalizing_s = n[3],
                                              .completed_s = n[4],
                                              .failed_s = n[5],
                                              .expired_s = n[6],
                                              .cancelling_s = n[7],
                                              .cancelled_s = n[8],
                                              .total = n[9],
                                              .completed = n[10],
                                              .failed = n[11],
                                              .prompt_tokens = n[12],
                                              .cached_tokens = n[13],
                                              .completion_tokens = n[14]},
                       out);
}

static int write_one(sqlite3 *db, struct inquiry *q)
{
    sqlite3_stmt *row =
        db_query(db, &q->err,
                 "SELECT " OBJECT_COLUMNS " FROM batches WHERE id = ? AND owner = ? AND " OURS_SQL,
                 "ss", q->id, q->owner);
    int code = row == NULL ? q->err.code : db_next(row, &q->err);
    if (code > 0)
        write_object(row, q->text.len > 0 ? q->text.ptr : "", &q->out);
    else if (code == 0)
        code = err_set(&q->err, ERR_NOT_FOUND, "there is no batch '%s'", q->id);
    sqlite3_finalize(row);
    return code > 0 ? 0 : code;
}

void batch_store_get(struct state *state, struct inquiry *q)
{
    (void)!write_one(state_db(state), q);
}

void batch_store_list(struct state *state, struct inquiry *q)
{
    sqlite3 *db = state_db(state);
    int64_t before = INT64_MAX, n = 0;
    char first[ID_MAX] = "", last[ID_MAX] = "";
    if (q->after[0] != '\0') {
        before = -1;
        if (db_number(db, &q->err, &before,
                      "SELECT seq FROM batches WHERE id = ? AND owner = ? AND " OURS_SQL, "ss",
                      q->after, q->owner) != 0)
            return;
        if (before < 0) {
            err_set_param(&q->err, ERR_NOT_FOUND, "after", "there is no batch '%s'", q->after);
            return;
        }
    }
    sqlite3_stmt *rows =
        db_query(db, &q->err,
                 "SELECT " OBJECT_COLUMNS " FROM batches WHERE owner = ? AND " OURS_SQL
                 " AND seq < ? ORDER BY seq DESC LIMIT ?",
                 "sii", q->owner, before, q->limit + 1);
    openai_list_begin(&q->out);
    while (rows != NULL && db_next(rows, &q->err) > 0) {
        if (n++ == q->limit)
            break;
        snprintf(last, sizeof last, "%s", db_text(rows, 0));
        if (n == 1)
            strcpy(first, last);
        else
            buf_add_char(&q->out, ',');
        write_object(rows, "", &q->out);
    }
    openai_list_end(first, last, n > q->limit, &q->out);
    sqlite3_finalize(rows);
}

const struct api_endpoint *batch_endpoint(const char *path)
{
    return strcmp(path, BATCH_MESSAGES_PATH) == 0 ? &anthropic_messages_line
                                                  : openai_batch_endpoint(str_z(path));
}

int batch_store_check_active(sqlite3 *db, const char *owner, struct err *err)
{
    int64_t n = 0;
    int code = db_number(
        db, err, &n, "SELECT count(*) FROM batches WHERE owner = ? AND " ACTIVE_SQL, "s", owner);
    if (code == 0 && n >= BATCH_ACTIVE_MAX)
        code = err_set(err, ERR_LIMIT,
                       "there are %" PRId64 " batches waiting or running, the most this server "
                       "takes of one key",
                       n);
    return code;
}

static int check_input(sqlite3 *db, struct inquiry *q, const struct openai_batch_create *c)
{
    char id[ID_MAX];
    struct file_row f;
    snprintf(id, sizeof id, "%.*s", STR_ARG(str_sub(c->input_file, 0, ID_MAX - 1)));
    int code = files_find(db, q->owner, id, &f, &q->err);
    if (code == 0 && !str_eq_z(c->input_file, id)) /* it goes on after that, or after a NUL */
        code = err_set(&q->err, ERR_NOT_FOUND, "there is no file '%s...'", id);
    if (code == ERR_NOT_FOUND)
        strcpy(q->err.param, "input_file_id");
    if (code == 0 && strcmp(f.purpose, "batch") != 0)
        code = err_set_param(&q->err, ERR_INVALID, "input_file_id",
                             "the file '%s' was not uploaded with the purpose batch", id);
    return code == 0 ? batch_store_check_active(db, q->owner, &q->err) : code;
}

static int insert(sqlite3 *db, struct inquiry *q, const struct openai_batch_create *c)
{
    struct buf metadata;
    int64_t now = now_s();
    buf_init(&metadata, 128u << 10);
    if (c->metadata != NULL && !json_write(c->metadata, &metadata)) {
        buf_release(&metadata);
        return err_set_param(&q->err, ERR_INVALID, "metadata", "'metadata' is too large");
    }
    int code =
        db_run(db, &q->err,
               "INSERT INTO batches (id, owner, endpoint, window, input_file, output_ttl_s,"
               " metadata, status, created_s, expires_s)"
               " VALUES (?, ?, ?, ?, ?, nullif(?, 0), ?, 'validating', ?, ?)",
               "ssbbbisii", q->id, q->owner, c->endpoint, c->window, c->input_file, c->output_ttl_s,
               c->metadata == NULL ? NULL : metadata.ptr, now, now + c->window_s);
    buf_release(&metadata);
    q->seq = sqlite3_last_insert_rowid(db);
    return code;
}

void batch_store_create(struct state *state, struct inquiry *q)
{
    sqlite3 *db = state_db(state);
    struct openai_batch_create c;
    int code = openai_batch_create_parse(q->body, &c, &q->err);
    if (code != 0)
        return;
    code = db_begin(db, &q->err);
    if (code == 0)
        code = check_input(db, q, &c);
    if (code == 0)
        code = insert(db, q, &c);
    if (code == 0)
        code = write_one(db, q);
    if (db_end(db, code, &q->err) != 0)
        q->seq = 0;
}

void batch_store_cancel(struct state *state, struct inquiry *q)
{
    sqlite3 *db = state_db(state);
    int64_t seq = 0, cancelling = 0;
    int code = db_begin(db, &q->err);
    if (code == 0)
        code = db_run(db, &q->err,
                      "UPDATE batches SET status = 'cancelling', ending = 'cancelled',"
                      " cancelling_s = ? WHERE id = ? AND owner = ? AND " OURS_SQL
                      " AND status IN ('validating', 'in_progress')",
                      "iss", now_s(), q->id, q->owner);
    if (code == 0)
        code = write_one(db, q);
    if (code == 0)
        code = db_number(db, &q->err, &seq, "SELECT seq FROM batches WHERE id = ?", "s", q->id);
    if (code == 0)
        code = db_number(db, &q->err, &cancelling,
                         "SELECT status IN ('cancelling', 'cancelled') FROM batches WHERE id = ?",
                         "s", q->id);
    if (code == 0 && !cancelling)
        code = err_set(&q->err, ERR_EXISTS,
                       "the batch '%s' is over or about to be: it cannot be cancelled", q->id);
    if (db_end(db, code, &q->err) == 0)
        q->seq = seq;
}

/* ---- heads ---- */

static enum batch_status status_of(const char *word)
{
    static const char *const words[] = {"validating", "in_progress", "finalizing", "cancelling"};
    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        if (strcmp(words[i], word) == 0)
            return (enum batch_status)i;
    return BATCH_OVER;
}

#define HEAD_COLUMNS                                                                               \
    "seq, expires_s, id, owner, endpoint, input_file, status, total, completed + failed"

static void read_head(sqlite3_stmt *q, struct batch_head *h)
{
    *h = (struct batch_head){.seq = sqlite3_column_int64(q, 0),
                             .expires_s = sqlite3_column_int64(q, 1),
                             .status = status_of(db_text(q, 6)),
                             .total = sqlite3_column_int64(q, 7),
                             .n_done = sqlite3_column_int64(q, 8)};
    snprintf(h->id, sizeof h->id, "%s", db_text(q, 2));
    snprintf(h->owner, sizeof h->owner, "%s", db_text(q, 3));
    snprintf(h->endpoint, sizeof h->endpoint, "%s", db_text(q, 4));
    snprintf(h->input_file, sizeof h->input_file, "%s", db_text(q, 5));
}

int batch_store_head(sqlite3 *db, int64_t seq, struct batch_head *ret, struct err *err)
{
    struct err why = {0};
    sqlite3_stmt *q =
        db_query(db, &why, "SELECT " HEAD_COLUMNS " FROM batches WHERE seq = ?", "i", seq);
    int code = q == NULL ? why.code : db_next(q, &why);
    if (code > 0)
        read_head(q, ret);
    else if (code == 0)
        code = err_set(&why, ERR_NOT_FOUND, "there is no such batch");
    sqlite3_finalize(q);
    if (code < 0 && err != NULL)
        *err = why;
    return code > 0 ? 0 : code;
}

int batch_store_load(struct state *state, struct batch_head **ret, size_t *ret_n, struct err *err)
{
    struct err why = {0};
    struct batch_head *heads = NULL;
    size_t n = 0, cap = 0;
    sqlite3_stmt *q =
        db_query(state_db(state), &why,
                 "SELECT " HEAD_COLUMNS " FROM batches WHERE " ACTIVE_SQL " ORDER BY seq", "");
    int code = q == NULL ? why.code : 1;
    while (code > 0 && (code = db_next(q, &why)) > 0) {
        if (!mem_grow((void **)&heads, &cap, n + 1, 1 << 20, sizeof *heads))
            code = err_set(&why, ERR_NOMEM, "out of memory for the batches");
        else
            read_head(q, &heads[n++]);
    }
    sqlite3_finalize(q);
    if (code < 0) {
        free(heads);
        if (err != NULL)
            *err = why;
        return code;
    }
    *ret = heads;
    *ret_n = n;
    return 0;
}

/* ---- lines ---- */

static int open_input(struct state *state, const struct batch_head *h, struct err *err)
{
    char *path = files_path(state, h->input_file);
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        err_set_errno(err, errno, "the input file %s cannot be read", h->input_file);
    free(path);
    return fd;
}

/* fd -1: its text is in the row. */
static int read_item(int fd, sqlite3_stmt *q, struct batch_item *ret, struct err *err)
{
    struct str body = db_str(q, 3);
    size_t n = fd < 0 ? body.len : (size_t)sqlite3_column_int64(q, 2);
    char *text = mem_try_array(n + 1, 1);
    if (text == NULL)
        return err_set(err, ERR_NOMEM, "out of memory for a line of the input");
    if (fd < 0)
        memcpy(text, body.ptr, n);
    else if (pread(fd, text, n, sqlite3_column_int64(q, 1)) != (ssize_t)n) {
        free(text);
        return err_set(err, ERR_IO, "the input file is shorter than it was");
    }
    *ret = (struct batch_item){sqlite3_column_int64(q, 0), text, n};
    return 0;
}

int batch_store_fetch(struct state *state, const struct batch_head *h, int64_t line,
                      struct batch_item *ret, int *ret_n, struct err *err)
{
    struct err why = {0};
    size_t bytes = 0;
    int n = 0, code = 1;
    bool has_file = h->input_file[0] != '\0';
    int fd = has_file ? open_input(state, h, err) : -1;
    if (has_file && fd < 0)
        return ERR_IO;
    sqlite3_stmt *q = db_query(state_db(state), &why,
                               "SELECT line, offset, bytes, body FROM lines WHERE batch = ? AND"
                               " state = 0 AND line > ? ORDER BY line LIMIT ?",
                               "iii", h->seq, line, (int64_t)BATCH_FETCH_MAX);
    if (q == NULL)
        code = why.code;
    while (code > 0 && bytes < 4u << 20 && (code = db_next(q, &why)) > 0) {
        int rc = read_item(fd, q, &ret[n], &why);
        if (rc != 0)
            code = rc;
        else
            bytes += ret[n++].n_text;
    }
    sqlite3_finalize(q);
    if (has_file)
        close(fd);
    if (code < 0) {
        while (n > 0)
            free(ret[--n].text);
        if (err != NULL)
            *err = why;
        return code;
    }
    *ret_n = n;
    return 0;
}

int batch_store_save(sqlite3 *db, const struct batch_result *r, struct err *err)
{
    int code = db_begin(db, err);
    if (code == 0)
        code = db_run(db, err,
                      "UPDATE lines SET state = ?, result = ? WHERE batch = ? AND line = ? AND"
                      " state = 0",
                      "ibii", (int64_t)(r->failed ? 2 : 1), buf_str(&r->text), r->seq, r->line);
    bool first = code == 0 && sqlite3_changes(db) == 1;
    if (first)
        code = db_run(db, err,
                      "UPDATE batches SET completed = completed + ?, failed = failed + ?,"
                      " prompt = prompt + ?, cached = cached + ?, completion = completion + ?"
                      " WHERE seq = ?",
                      "iiiiii", (int64_t)!r->failed, (int64_t)r->failed, r->use.prompt_tokens,
                      r->use.cached_tokens, r->use.completion_tokens, r->seq);
    if (first && code == 0 && r->model != NULL)
        code =
            ledger_write(db, clock_wall_ms(), r->owner, r->model, BATCH_LEDGER_CLASS, &r->use, err);
    return db_end(db, code, err);
}

int batch_store_close(sqlite3 *db, struct batch_head *h, bool expired, struct err *err)
{
    int code = db_run(db, err,
                      "UPDATE batches SET status = 'finalizing', ending = ?, finalizing_s = ?"
                      " WHERE seq = ? AND status IN ('validating', 'in_progress')",
                      "sii", expired ? "expired" : "completed", now_s(), h->seq);
    return code == 0 ? batch_store_head(db, h->seq, h, err) : code;
}
