/*
 * batch_scan: batch_store_scan, see batch_store.h: the check of a batch's input, line by line.
 *
 * Every line is checked before the first one runs. What is wrong is told with the number of its
 * line, BATCH_ERRORS_MAX times at most. A step is one transaction and one piece of the file.
 */
#include "gateway/batch_store.h"

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

#define PIECE_BYTES (1 << 20)

struct scan {
    sqlite3 *db;
    const struct batch_head *head;
    const struct api_endpoint *endpoint;
    int64_t line_bytes_max;
    int64_t offset, line, total, n_errors; /* in the row, between steps */
    char model[256];
    struct buf errors;
    struct buf piece; /* of the file, from offset on */
    bool end;         /* the piece reaches the end of the file, or nothing more is looked at */
};

/* What a client may be told in a batch's error list: OpenAI's words where there are such. */
static const char *code_of(const struct err *err)
{
    switch (err->code) {
    case ERR_SYNTAX:
        return "invalid_json_line";
    case ERR_EXISTS:
        return "duplicate_custom_id";
    case ERR_LIMIT:
        return "limit_exceeded";
    case ERR_UNSUPPORTED:
        return "unsupported_parameter";
    default:
        return err->param[0] != '\0' && strcmp(err->param, "url") == 0 ? "mismatched_endpoint"
                                                                       : "invalid_request";
    }
}

static void add_error(struct scan *s, int64_t line, const char *code, const char *param,
                      const char *text)
{
    if (s->n_errors++ < BATCH_ERRORS_MAX)
        openai_batch_error_write(code, line, param, text, &s->errors);
}

static int load(struct scan *s, struct err *err)
{
    struct err why = {0};
    sqlite3_stmt *q = db_query(s->db, &why,
                               "SELECT scan_offset, scan_line, total, scan_errors, errors, model"
                               " FROM batches WHERE seq = ?",
                               "i", s->head->seq);
    int code = q == NULL ? why.code : db_next(q, &why);
    if (code > 0) {
        s->offset = sqlite3_column_int64(q, 0);
        s->line = sqlite3_column_int64(q, 1);
        s->total = sqlite3_column_int64(q, 2);
        s->n_errors = sqlite3_column_int64(q, 3);
        buf_add_str(&s->errors, db_str(q, 4));
        snprintf(s->model, sizeof s->model, "%s", db_text(q, 5));
    }
    sqlite3_finalize(q);
    if (code < 0 && err != NULL)
        *err = why;
    return code < 0 ? code : 0;
}

/* The next piece of the file, with one whole line at least unless that is too long. */
static int read_piece(struct scan *s, int fd, struct err *err)
{
    size_t max = (size_t)s->line_bytes_max + 2;
    while (!s->end && s->piece.len < max) {
        size_t want = s->piece.len < PIECE_BYTES ? PIECE_BYTES : s->piece.len;
        if (!buf_reserve(&s->piece, want))
            return err_set(err, ERR_NOMEM, "out of memory for the input");
        ssize_t n = pread(fd, s->piece.ptr + s->piece.len, want, s->offset + (int64_t)s->piece.len);
        if (n < 0)
            return err_set_errno(err, errno, "the input file %s cannot be read",
                                 s->head->input_file);
        s->piece.len += (size_t)n;
        s->end = n == 0;
        if (n > 0 && memchr(s->piece.ptr, '\n', s->piece.len) != NULL)
            return 0;
    }
    return 0;
}

static void add_long(struct scan *s, int64_t line)
{
    char say[100];
    snprintf(say, sizeof say, "the line is longer than the limit of %" PRId64 " bytes",
             s->line_bytes_max);
    add_error(s, line, "line_too_long", NULL, say);
}

static int take_line(struct scan *s, struct str text, struct err *err)
{
    struct openai_batch_line l;
    struct err why = {0};
    if (openai_batch_line_parse(text, s->endpoint, &l, &why) != 0) {
        add_error(s, s->line, code_of(&why), why.param, why.text);
        return 0;
    }
    int code = db_run(s->db, &why,
                      "INSERT INTO lines (batch, line, custom_id, offset, bytes)"
                      " VALUES (?, ?, ?, ?, ?)",
                      "iibii", s->head->seq, s->line, l.custom_id, s->offset, (int64_t)text.len);
    if (code == ERR_EXISTS) {
        err_set_param(&why, ERR_EXISTS, "custom_id",
                      "the custom_id '%.*s' is there twice; each line needs its own",
                      STR_ARG(str_sub(l.custom_id, 0, 200)));
        add_error(s, s->line, code_of(&why), why.param, why.text);
        code = 0;
    } else if (code == 0 && s->total++ == 0) {
        struct str model = json_str(json_object_get(l.body, "model"));
        snprintf(s->model, sizeof s->model, "%.*s", STR_ARG(str_sub(model, 0, 255)));
    }
    openai_batch_line_release(&l);
    if (code != 0 && err != NULL)
        *err = why;
    return code;
}

/* Whole lines of the piece; the last one of the file needs no line end. */
static int take_piece(struct scan *s, struct err *err)
{
    struct str rest = buf_str(&s->piece);
    int code = 0;
    while (code == 0 && rest.len > 0) {
        ptrdiff_t at = str_chr(rest, '\n');
        if (at < 0 && !s->end)
            break;
        size_t n = at < 0 ? rest.len : (size_t)at;
        struct str text = str_sub(rest, 0, n);
        s->line++;
        if (text.len > (size_t)s->line_bytes_max)
            add_long(s, s->line);
        else if (str_trim(text).len > 0)
            code = take_line(s, text, err);
        size_t taken = at < 0 ? n : n + 1;
        s->offset += (int64_t)taken;
        rest = str_from(rest, taken);
        if (s->total > BATCH_LINES_MAX) {
            char say[100];
            snprintf(say, sizeof say, "the file has more than %d requests", BATCH_LINES_MAX);
            add_error(s, 0, "too_many_tasks", "input_file_id", say);
            s->end = true;
            return code;
        }
    }
    if (code == 0 && rest.len == s->piece.len && rest.len > 0 && !s->end) {
        add_long(s, s->line + 1);
        s->end = true;
    }
    return code;
}

static int finish(struct scan *s, struct err *err)
{
    int64_t now_s = clock_wall_ms() / 1000;
    bool failed = s->n_errors > 0;
    int code = db_run(s->db, err,
                      failed ? "UPDATE batches SET status = 'failed', failed_s = ?, total = 0"
                               " WHERE seq = ?"
                             : "UPDATE batches SET status = 'in_progress', in_progress_s = ?"
                               " WHERE seq = ?",
                      "ii", now_s, s->head->seq);
    if (code == 0 && failed)
        code = db_run(s->db, err, "DELETE FROM lines WHERE batch = ?", "i", s->head->seq);
    return code;
}

static int step(struct scan *s, int fd, struct err *err)
{
    int code = load(s, err);
    if (code == 0)
        code = read_piece(s, fd, err);
    if (code == 0)
        code = take_piece(s, err);
    bool end = s->end;
    if (code == 0 && end && s->total == 0 && s->n_errors == 0)
        add_error(s, 0, "empty_file", "input_file_id", "the file has no requests");
    if (code == 0)
        code = db_run(s->db, err,
                      "UPDATE batches SET scan_offset = ?, scan_line = ?, total = ?,"
                      " scan_errors = ?, errors = nullif(?, ''), model = nullif(?, '')"
                      " WHERE seq = ?",
                      "iiiibsi", s->offset, s->line, s->total, s->n_errors, buf_str(&s->errors),
                      s->model, s->head->seq);
    return code == 0 && end ? finish(s, err) : code;
}

int batch_store_scan(struct state *state, struct batch_head *h, int64_t line_bytes_max,
                     struct err *err)
{
    struct scan s = {.db = state_db(state), .head = h, .line_bytes_max = line_bytes_max};
    s.endpoint = batch_endpoint(h->endpoint);
    if (s.endpoint == NULL)
        return err_set(err, ERR_INTERNAL, "a batch of an unknown endpoint, %s", h->endpoint);
    char *path = files_path(state, h->input_file);
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    int errnum = errno;
    free(path);
    if (fd < 0)
        return err_set_errno(err, errnum, "the input file %s cannot be read", h->input_file);
    buf_init(&s.errors, 1u << 20);
    buf_init(&s.piece, 2 * (size_t)line_bytes_max + 2 * PIECE_BYTES);
    int code = db_begin(s.db, err);
    if (code == 0)
        code = batch_store_head(s.db, h->seq, h, err);
    if (code == 0 && h->status == BATCH_VALIDATING)
        code = step(&s, fd, err);
    if (code == 0)
        code = batch_store_head(s.db, h->seq, h, err);
    code = db_end(s.db, code, err);
    buf_release(&s.errors);
    buf_release(&s.piece);
    close(fd);
    return code;
}
