/*
 * batch_finish: batch_store_finish, see batch_store.h: a batch's results into its two files.
 *
 * The files are made in tmp/ and lost with a crash; they are moved to files/ whole and synced, and
 * one transaction then gives them rows, forgets the lines and says that the batch is over. Files
 * that were moved and got no row are removed at the next start (state.c).
 */
#include "gateway/batch_store.h"

#include "api/anthropic_batch.h"
#include "api/openai_batch.h"
#include "base/clock.h"
#include "base/fs.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define STEP_LINES 1000
#define STEP_BYTES (4u << 20)

enum { OUTPUT, ERRORS };

static char *tmp_path(struct state *state, const struct file_row *f)
{
    return fs_join(state_tmp_dir(state), f->id);
}

void batch_finish_drop(struct state *state, struct batch_finish *f)
{
    if (!f->open)
        return;
    for (int i = 0; i < 2; i++) {
        char *path = tmp_path(state, &f->file[i]);
        if (f->fd[i] >= 0)
            close(f->fd[i]);
        unlink(path);
        free(path);
    }
    *f = (struct batch_finish){0};
}

static int fail_write(struct err *err)
{
    if (errno == ENOSPC || errno == EDQUOT)
        return err_set(err, ERR_UNAVAILABLE, "the output cannot be written: the disk is full");
    return err_set_errno(err, errno, "the output cannot be written");
}

static int begin(struct state *state, const struct batch_head *h, struct batch_finish *f,
                 struct err *err)
{
    int code = 0;
    *f = (struct batch_finish){.open = true, .fd = {-1, -1}};
    for (int i = 0; i < 2 && code == 0; i++) {
        struct file_row *row = &f->file[i];
        inquiry_new_id("file-", row->id);
        strcpy(row->owner, h->owner);
        strcpy(row->purpose, "batch_output");
        snprintf(row->filename, sizeof row->filename, "%s_%s.jsonl", h->id,
                 i == OUTPUT ? "output" : "error");
        char *path = tmp_path(state, row);
        f->fd[i] = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        code = f->fd[i] < 0 ? fail_write(err) : 0;
        free(path);
    }
    return code;
}

static int write_all(int fd, struct str rest, struct err *err)
{
    while (rest.len > 0) {
        ssize_t n = write(fd, rest.ptr, rest.len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return fail_write(err);
        rest = str_from(rest, (size_t)n);
    }
    return 0;
}

/* Anthropic's: one file has all, in the order of the requests. */
static bool is_messages(const struct batch_head *h)
{
    return strcmp(h->endpoint, BATCH_MESSAGES_PATH) == 0;
}

/* A line that never ran: the batch was cancelled, or its time was over. */
static bool write_lost(const struct batch_head *h, struct str custom_id, const char *ending,
                       struct buf *out)
{
    char id[ID_MAX];
    bool cancelled = strcmp(ending, "cancelled") == 0;
    if (is_messages(h))
        return anthropic_batch_lost_write(custom_id, cancelled ? "canceled" : "expired", out);
    inquiry_new_id("batch_req_", id);
    if (cancelled)
        return openai_batch_lost_write(id, custom_id, "batch_cancelled",
                                       "This request was not executed: the batch was cancelled.",
                                       out);
    return openai_batch_lost_write(
        id, custom_id, "batch_expired",
        "This request could not be executed before the completion window expired.", out);
}

/* Lines after f->line into `part`; *ret_more: there may be further ones. */
static int gather(sqlite3 *db, const struct batch_head *h, struct batch_finish *f,
                  const char *ending, struct buf part[2], bool *ret_more, struct err *err)
{
    struct err why = {0};
    int n = 0, code = 1;
    sqlite3_stmt *q = db_query(db, &why,
                               "SELECT line, state, custom_id, result FROM lines WHERE batch = ?"
                               " AND line > ? ORDER BY line LIMIT ?",
                               "iii", h->seq, f->line, (int64_t)STEP_LINES);
    if (q == NULL)
        code = why.code;
    while (code > 0 && part[0].len + part[1].len < STEP_BYTES && (code = db_next(q, &why)) > 0) {
        int64_t state = sqlite3_column_int64(q, 1);
        struct buf *out = &part[state == 1 || is_messages(h) ? OUTPUT : ERRORS];
        bool ok =
            state == 0 ? write_lost(h, db_str(q, 2), ending, out) : buf_add_str(out, db_str(q, 3));
        f->line = sqlite3_column_int64(q, 0);
        n++;
        if (!ok || !buf_add_char(out, '\n'))
            code = err_set(&why, ERR_NOMEM, "out of memory for the output");
    }
    sqlite3_finalize(q);
    *ret_more = n > 0;
    if (code < 0 && err != NULL)
        *err = why;
    return code < 0 ? code : 0;
}

static int sync_dir(const char *path, struct err *err)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int code = fd < 0 || fsync(fd) != 0 ? fail_write(err) : 0;
    if (fd >= 0)
        close(fd);
    return code;
}

/* Files that have something in them get their names. */
static int give_names(struct state *state, struct batch_finish *f, struct err *err)
{
    int code = 0;
    for (int i = 0; i < 2 && code == 0; i++) {
        char *from = tmp_path(state, &f->file[i]), *to = files_path(state, f->file[i].id);
        if (f->file[i].bytes > 0 && (fsync(f->fd[i]) != 0 || rename(from, to) != 0))
            code = fail_write(err);
        free(from);
        free(to);
    }
    return code == 0 ? sync_dir(state_files_dir(state), err) : code;
}

static void take_names(struct state *state, const struct batch_finish *f)
{
    for (int i = 0; i < 2; i++) {
        char *path = files_path(state, f->file[i].id);
        unlink(path);
        free(path);
    }
}

static int write_rows(sqlite3 *db, struct batch_head *h, struct batch_finish *f, const char *ending,
                      int64_t keep_s, struct err *err)
{
    char sql[200];
    int64_t now_s = clock_wall_ms() / 1000, ttl_s = 0;
    int code = db_begin(db, err);
    if (code == 0)
        code = db_number(db, err, &ttl_s,
                         "SELECT coalesce(output_ttl_s, ?) FROM batches WHERE seq = ?", "ii",
                         keep_s, h->seq);
    for (int i = 0; i < 2 && code == 0; i++) {
        f->file[i].created_s = now_s;
        f->file[i].expires_s = ttl_s > 0 ? now_s + ttl_s : 0;
        if (f->file[i].bytes > 0)
            code = files_insert(db, &f->file[i], err);
    }
    if (code == 0)
        code = db_run(db, err, "DELETE FROM lines WHERE batch = ?", "i", h->seq);
    snprintf(sql, sizeof sql,
             "UPDATE batches SET status = ending, %s_s = ?, output_file = ?, error_file = ?"
             " WHERE seq = ?",
             ending);
    if (code == 0)
        code = db_run(db, err, sql, "issi", now_s,
                      f->file[OUTPUT].bytes > 0 ? f->file[OUTPUT].id : NULL,
                      f->file[ERRORS].bytes > 0 ? f->file[ERRORS].id : NULL, h->seq);
    return db_end(db, code, err);
}

static int step(struct state *state, struct batch_head *h, struct batch_finish *f,
                const char *ending, int64_t keep_s, struct err *err)
{
    struct buf part[2];
    bool more = true;
    buf_init(&part[0], (size_t)1 << 30);
    buf_init(&part[1], (size_t)1 << 30);
    int code = f->open ? 0 : begin(state, h, f, err);
    if (code == 0)
        code = gather(state_db(state), h, f, ending, part, &more, err);
    for (int i = 0; i < 2 && code == 0; i++) {
        code = write_all(f->fd[i], buf_str(&part[i]), err);
        f->file[i].bytes += (int64_t)part[i].len;
    }
    buf_release(&part[0]);
    buf_release(&part[1]);
    if (code == 0 && !more) {
        code = give_names(state, f, err);
        if (code == 0)
            code = write_rows(state_db(state), h, f, ending, keep_s, err);
        if (code == 0)
            h->status = BATCH_OVER;
        else
            take_names(state, f);
    }
    return code;
}

int batch_store_finish(struct state *state, struct batch_head *h, struct batch_finish *f,
                       int64_t keep_s, struct err *err)
{
    char ending[16] = "";
    struct err why = {0};
    sqlite3_stmt *q =
        db_query(state_db(state), &why, "SELECT ending FROM batches WHERE seq = ?", "i", h->seq);
    int code = q == NULL ? why.code : db_next(q, &why);
    if (code > 0)
        snprintf(ending, sizeof ending, "%s", db_text(q, 0));
    sqlite3_finalize(q);
    code = code < 0 ? code : 0;
    if (code == 0 && strcmp(ending, "completed") != 0 && strcmp(ending, "expired") != 0 &&
        strcmp(ending, "cancelled") != 0)
        code = err_set(&why, ERR_INTERNAL, "a batch without an ending");
    if (code == 0)
        code = step(state, h, f, ending, keep_s, &why);
    if (code != 0 || h->status == BATCH_OVER)
        batch_finish_drop(state, f);
    if (code != 0 && err != NULL)
        *err = why;
    return code;
}
