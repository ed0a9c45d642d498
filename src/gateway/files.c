/*
 * files: see files.h. Owns the routes that read, list and delete, and the rows.
 */
#include "gateway/files.h"

#include "api/openai_batch.h"
#include "base/clock.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define COLUMNS "id, owner, filename, purpose, bytes, created_s, expires_s"

/* ---- rows ---- */

char *files_path(const struct state *state, const char *id)
{
    return fs_join(state_files_dir(state), id);
}

static void read_row(sqlite3_stmt *q, struct file_row *f)
{
    *f = (struct file_row){.bytes = sqlite3_column_int64(q, 4),
                           .created_s = sqlite3_column_int64(q, 5),
                           .expires_s = sqlite3_column_int64(q, 6)};
    snprintf(f->id, sizeof f->id, "%s", db_text(q, 0));
    snprintf(f->owner, sizeof f->owner, "%s", db_text(q, 1));
    snprintf(f->filename, sizeof f->filename, "%s", db_text(q, 2));
    snprintf(f->purpose, sizeof f->purpose, "%s", db_text(q, 3));
}

int files_find(sqlite3 *db, const char *owner, const char *id, struct file_row *ret,
               struct err *err)
{
    struct err why = {0};
    sqlite3_stmt *q = db_query(db, &why, "SELECT " COLUMNS " FROM files WHERE id = ? AND owner = ?",
                               "ss", id, owner);
    int code = q == NULL ? why.code : db_next(q, &why);
    if (code > 0)
        read_row(q, ret);
    sqlite3_finalize(q);
    if (code == 0)
        return err_set(err, ERR_NOT_FOUND, "there is no file '%.64s'", id);
    if (code < 0 && err != NULL)
        *err = why;
    return code > 0 ? 0 : code;
}

int files_insert(sqlite3 *db, const struct file_row *f, struct err *err)
{
    return db_run(
        db, err, "INSERT INTO files (" COLUMNS ") VALUES (?, ?, ?, ?, ?, ?, nullif(?, 0))",
        "ssssiii", f->id, f->owner, f->filename, f->purpose, f->bytes, f->created_s, f->expires_s);
}

bool files_write(const struct file_row *f, struct buf *out)
{
    return openai_file_write(&(struct openai_file){.id = f->id,
                                                   .filename = f->filename,
                                                   .purpose = f->purpose,
                                                   .bytes = f->bytes,
                                                   .created_s = f->created_s,
                                                   .expires_s = f->expires_s},
                             out);
}

#define UNUSED_SQL                                                                                 \
    "NOT EXISTS (SELECT 1 FROM batches WHERE input_file = files.id"                                \
    " AND status IN ('validating', 'in_progress', 'finalizing', 'cancelling'))"

static void remove_bytes(struct state *state, const char *id)
{
    char *path = files_path(state, id);
    if (unlink(path) != 0 && errno != ENOENT)
        log_warn("files: %s cannot be removed: %s", path, strerror(errno));
    free(path);
}

bool files_expire_one(struct state *state, int64_t now_s)
{
    sqlite3 *db = state_db(state);
    struct err err = {0};
    char id[ID_MAX];
    sqlite3_stmt *q =
        db_query(db, &err, "SELECT id FROM files WHERE expires_s <= ? AND " UNUSED_SQL " LIMIT 1",
                 "i", now_s);
    bool found = q != NULL && db_next(q, &err) > 0;
    snprintf(id, sizeof id, "%s", found ? db_text(q, 0) : "");
    sqlite3_finalize(q);
    if (found)
        (void)!db_run(db, &err, "DELETE FROM files WHERE id = ?", "s", id);
    if (err.code != 0)
        log_warn("files: those whose time has come stay: %s", err.text);
    if (!found || err.code != 0)
        return false;
    remove_bytes(state, id);
    return true;
}

/* ---- GET /v1/files ---- */

/* The place of `after` in the order of creation. */
static int find_after(sqlite3 *db, struct inquiry *q, int64_t *ret_seq)
{
    *ret_seq = q->ascending ? 0 : INT64_MAX;
    if (q->after[0] == '\0')
        return 0;
    int64_t seq = -1;
    int code = db_number(db, &q->err, &seq, "SELECT seq FROM files WHERE id = ? AND owner = ?",
                         "ss", q->after, q->owner);
    if (code == 0 && seq < 0)
        code = err_set_param(&q->err, ERR_NOT_FOUND, "after", "there is no file '%s'", q->after);
    if (code == 0)
        *ret_seq = seq;
    return code;
}

static void list_work(struct state *state, struct inquiry *q)
{
    sqlite3 *db = state_db(state);
    int64_t after, n = 0;
    struct file_row f, first = {0}, last = {0};
    if (find_after(db, q, &after) != 0)
        return;
    const char *sql = q->ascending
                          ? "SELECT " COLUMNS " FROM files WHERE owner = ?1 AND seq > ?2 AND"
                            " (?3 = '' OR purpose = ?3) ORDER BY seq LIMIT ?4"
                          : "SELECT " COLUMNS " FROM files WHERE owner = ?1 AND seq < ?2 AND"
                            " (?3 = '' OR purpose = ?3) ORDER BY seq DESC LIMIT ?4";
    sqlite3_stmt *rows =
        db_query(db, &q->err, sql, "sisi", q->owner, after, q->purpose, q->limit + 1);
    openai_list_begin(&q->out);
    while (rows != NULL && db_next(rows, &q->err) > 0) {
        read_row(rows, &f);
        if (n++ == q->limit)
            break;
        first = n == 1 ? f : first;
        last = f;
        if (n > 1)
            buf_add_char(&q->out, ',');
        files_write(&f, &q->out);
    }
    openai_list_end(first.id, last.id, n > q->limit, &q->out);
    sqlite3_finalize(rows);
}

static void list(struct server *s, struct exchange *x)
{
    struct inquiry *q = inquiry_new(s, x, list_work);
    if (q == NULL || !inquiry_read_page(q, FILES_COUNT_MAX, FILES_COUNT_MAX))
        return;
    const char *purpose = exchange_query(x, "purpose");
    if (purpose != NULL)
        snprintf(q->purpose, sizeof q->purpose, "%s", purpose);
    inquiry_start(q);
}

void files_collection(struct server *s, struct exchange *x)
{
    if (exchange_method(x) == HTTP_POST)
        upload_finish(s, x);
    else
        list(s, x);
}

/* ---- /v1/files/{id} ---- */

static void get_work(struct state *state, struct inquiry *q)
{
    struct file_row f;
    if (files_find(state_db(state), q->owner, q->id, &f, &q->err) == 0)
        files_write(&f, &q->out);
}

static void delete_work(struct state *state, struct inquiry *q)
{
    sqlite3 *db = state_db(state);
    struct file_row f;
    int code = db_begin(db, &q->err);
    if (code == 0)
        code = files_find(db, q->owner, q->id, &f, &q->err);
    if (code == 0)
        code = db_run(db, &q->err, "DELETE FROM files WHERE id = ? AND " UNUSED_SQL, "s", f.id);
    if (code == 0 && sqlite3_changes(db) == 0)
        code = err_set(&q->err, ERR_EXISTS,
                       "the file '%s' is the input of a batch that is not over; cancel that first",
                       f.id);
    if (db_end(db, code, &q->err) != 0)
        return;
    remove_bytes(state, f.id);
    openai_deleted_write(f.id, &q->out);
}

static void content_work(struct state *state, struct inquiry *q)
{
    struct file_row f;
    struct stat st;
    if (files_find(state_db(state), q->owner, q->id, &f, &q->err) != 0)
        return;
    char *path = files_path(state, f.id);
    q->fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (q->fd < 0 || fstat(q->fd, &st) != 0 || !S_ISREG(st.st_mode))
        err_set_errno(&q->err, errno, "the bytes of file '%s' cannot be read", f.id);
    else
        q->bytes = st.st_size;
    free(path);
}

static void content_then(struct inquiry *q)
{
    if (q->x == NULL || q->err.code != 0)
        return;
    exchange_reply_file(q->x, 200, "application/octet-stream", q->fd, q->bytes);
    q->fd = -1;
    q->x = NULL;
}

void files_one(struct server *s, struct exchange *x)
{
    char id[ID_MAX];
    const char *what;
    struct err err = {0};
    bool ok = inquiry_path_id(exchange_path(x), "/v1/files/", id, &what);
    bool content = ok && strcmp(what, "content") == 0;
    bool removal = exchange_method(x) == HTTP_DELETE;
    if (!ok || (what[0] != '\0' && (!content || removal))) {
        err_set(&err, ERR_NOT_FOUND, "there is nothing at %.200s", exchange_path(x));
        reply_error(x, &err, NULL);
        return;
    }
    struct inquiry *q = inquiry_new(s, x,
                                    removal   ? delete_work
                                    : content ? content_work
                                              : get_work);
    if (q == NULL)
        return;
    strcpy(q->id, id);
    q->then = content ? content_then : NULL;
    inquiry_start(q);
}
