/*
 * upload: POST /v1/files. The form's file goes to <state>/tmp piece by piece, so that its size
 * costs no memory; libuv's work queue writes, and while it does the client is not read from.
 *
 * An upload is in the hands of two: its exchange (until `over`), and the work under way
 * (`working`). It is freed when neither has it.
 */
#include "gateway/files.h"
#include "gateway/multipart.h"

#include "api/openai_batch.h"
#include "base/clock.h"
#include "base/fs.h"
#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define PIECE_BYTES      (1 << 20)
#define FIELD_BYTES_MAX  1024
#define FORM_BYTES_EXTRA (64 << 10) /* around the file: boundaries, heads, fields */

enum field { FIELD_NONE, FIELD_FILE, FIELD_PURPOSE, FIELD_ANCHOR, FIELD_TTL };

struct upload {
    struct server *server;
    struct exchange *x;       /* NULL: the client left, or it was answered */
    bool over, working, last; /* last: the work under way is the one that ends it */
    bool has_file;
    struct multipart form;
    enum field field;
    struct buf value; /* of the field at hand */
    struct buf piece, writing;
    int fd;
    char *tmp_path, *path, *files_dir; /* own copies: work may outlive the state */
    char anchor[32];
    int64_t ttl_s;
    struct file_row row;
    struct err err; /* of the form, or of the work */
    uv_work_t work;
};

static void upload_free(struct upload *u)
{
    if (!u->over || u->working)
        return;
    u->server->n_uploads--;
    if (u->fd >= 0)
        close(u->fd);
    if (u->tmp_path != NULL)
        unlink(u->tmp_path); /* gone already when it was given its name */
    free(u->tmp_path);
    free(u->path);
    free(u->files_dir);
    buf_release(&u->value);
    buf_release(&u->piece);
    buf_release(&u->writing);
    free(u);
}

static void fail(struct upload *u, const struct err *err)
{
    struct exchange *x = u->x;
    u->x = NULL;
    if (x != NULL)
        reply_error(x, err, NULL);
}

/* ---- the disk ---- */

static int write_piece(struct upload *u, struct err *err)
{
    struct str rest = buf_str(&u->writing);
    if (u->fd < 0)
        u->fd = open(u->tmp_path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    while (u->fd >= 0 && rest.len > 0) {
        ssize_t n = write(u->fd, rest.ptr, rest.len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        rest = str_from(rest, (size_t)n);
    }
    if (u->fd >= 0 && rest.len == 0)
        return 0;
    int code = err_set_errno(err, errno, "the file cannot be stored");
    if (errno == ENOSPC || errno == EDQUOT)
        code = err_set(err, ERR_UNAVAILABLE, "the file cannot be stored: the disk is full");
    return code;
}

/* Whole and on the disk before it has a name. */
static int give_name(struct upload *u, struct err *err)
{
    int code = 0;
    if (fsync(u->fd) != 0 || rename(u->tmp_path, u->path) != 0)
        code = err_set_errno(err, errno, "the file cannot be stored");
    int dir = open(u->files_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (code == 0 && (dir < 0 || fsync(dir) != 0))
        code = err_set_errno(err, errno, "the file cannot be stored");
    if (dir >= 0)
        close(dir);
    if (code != 0)
        unlink(u->path); /* no row will name it */
    return code;
}

static void do_write(uv_work_t *w)
{
    struct upload *u = w->data;
    if (write_piece(u, &u->err) == 0 && u->last)
        (void)!give_name(u, &u->err);
}

/* ---- the row ---- */

static int check_quota(sqlite3 *db, const struct upload *u, struct err *err)
{
    const struct gateway_opts *o = &u->server->opts;
    int64_t n = 0, bytes = 0;
    int code =
        db_number(db, err, &n, "SELECT count(*) FROM files WHERE owner = ?", "s", u->row.owner);
    if (code == 0)
        code = db_number(db, err, &bytes, "SELECT sum(bytes) FROM files WHERE owner = ?", "s",
                         u->row.owner);
    if (code == 0 && n >= FILES_COUNT_MAX)
        code = err_set(err, ERR_LIMIT,
                       "there are %" PRId64 " files already, the most this server "
                       "keeps for a key; delete some",
                       n);
    if (code == 0 && bytes + u->row.bytes > o->files_bytes_max)
        code = err_set(err, ERR_LIMIT,
                       "the files of this key hold %" PRId64 " bytes; with this one they would "
                       "pass the limit of %" PRId64 " (--files-total): delete some",
                       bytes, o->files_bytes_max);
    return code;
}

/* All keys together; what batches make is never refused, but counts. The file is on the disk. */
static int check_disk(sqlite3 *db, const struct upload *u, struct err *err)
{
    int64_t bytes = 0, max = u->server->opts.files_disk_max;
    struct statvfs disk;
    int code = db_number(db, err, &bytes, "SELECT sum(bytes) FROM files", "");
    if (code != 0 || (max == 0 && statvfs(u->files_dir, &disk) != 0))
        return code;
    if (max == 0)
        max = (int64_t)(disk.f_bavail * disk.f_frsize);
    if (bytes + u->row.bytes <= max)
        return 0;
    return err_set(err, ERR_UNAVAILABLE,
                   "the files of all keys hold %" PRId64 " bytes; with this one they would pass %s "
                   "%" PRId64 " (--files-disk): try again when some were deleted or have expired",
                   bytes, u->server->opts.files_disk_max > 0 ? "the limit of" : "the free space,",
                   max);
}

static void insert(struct state *state, void *ctx)
{
    struct upload *u = ctx;
    sqlite3 *db = state_db(state);
    int code = db_begin(db, &u->err);
    if (code == 0)
        code = check_quota(db, u, &u->err);
    if (code == 0)
        code = check_disk(db, u, &u->err);
    if (code == 0)
        code = files_insert(db, &u->row, &u->err);
    if (db_end(db, code, &u->err) != 0)
        unlink(u->path);
}

static void on_inserted(void *ctx)
{
    struct upload *u = ctx;
    struct exchange *x = u->x;
    u->working = false;
    if (u->err.code != 0) {
        fail(u, &u->err);
    } else if (x != NULL) {
        struct buf out;
        buf_init(&out, 8192);
        files_write(&u->row, &out);
        u->x = NULL;
        exchange_reply(x, 200, "application/json", buf_str(&out));
        buf_release(&out);
    }
    upload_free(u);
}

static void on_written(uv_work_t *w, int status)
{
    struct upload *u = w->data;
    (void)status;
    buf_clear(&u->writing);
    bool named = u->last && u->err.code == 0;
    if (named && !u->server->stopping) {
        state_post(u->server->state, insert, on_inserted, u);
        return;
    }
    if (named)
        unlink(u->path); /* too late: no row will name it */
    u->working = false;
    if (u->err.code != 0)
        fail(u, &u->err);
    else if (u->x != NULL && !u->last)
        exchange_go_on(u->x);
    upload_free(u);
}

static void start_work(struct upload *u, bool last)
{
    struct buf empty = u->writing;
    u->writing = u->piece;
    u->piece = empty;
    u->working = true;
    u->last = last;
    u->work.data = u;
    uv_queue_work(&u->server->loop, &u->work, do_write, on_written);
}

/* ---- the form ---- */

static int on_part(void *ctx, struct str name, struct str filename, struct err *err)
{
    static const struct {
        const char *name;
        enum field field;
    } fields[] = {{"file", FIELD_FILE},
                  {"purpose", FIELD_PURPOSE},
                  {"expires_after[anchor]", FIELD_ANCHOR},
                  {"expires_after[seconds]", FIELD_TTL}};
    struct upload *u = ctx;
    u->field = FIELD_NONE;
    for (size_t i = 0; i < ARRAY_LEN(fields); i++)
        if (str_eq_z(name, fields[i].name))
            u->field = fields[i].field;
    buf_clear(&u->value);
    if (u->field == FIELD_NONE)
        return err_set_param(err, ERR_INVALID, "form", "the form has an unknown field '%.*s'",
                             STR_ARG(str_sub(name, 0, 80)));
    if (u->field != FIELD_FILE)
        return 0;
    if (u->has_file)
        return err_set_param(err, ERR_INVALID, "file", "the form has more than one 'file'");
    u->has_file = true;
    if (filename.len > FILENAME_MAX_ ||
        memchr(filename.ptr ? filename.ptr : "", '\0', filename.len))
        return err_set_param(err, ERR_INVALID, "file", "the file's name is too long");
    if (filename.len > 0)
        snprintf(u->row.filename, sizeof u->row.filename, "%.*s", STR_ARG(filename));
    else
        strcpy(u->row.filename, "file");
    return 0;
}

static int on_part_bytes(void *ctx, struct str bytes, struct err *err)
{
    struct upload *u = ctx;
    if (u->field != FIELD_FILE)
        return buf_add_str(&u->value, bytes)
                   ? 0
                   : err_set(err, ERR_INVALID, "a field of the form is too long");
    u->row.bytes += (int64_t)bytes.len;
    if (u->row.bytes > u->server->opts.file_bytes_max)
        return err_set_param(err, ERR_TOO_LARGE, "file",
                             "the file is larger than the limit of %" PRId64 " bytes (--file-max)",
                             u->server->opts.file_bytes_max);
    return buf_add_str(&u->piece, bytes) ? 0 : err_set(err, ERR_NOMEM, "out of memory");
}

static int on_part_end(void *ctx, struct err *err)
{
    struct upload *u = ctx;
    struct str value = buf_str(&u->value);
    if (u->field == FIELD_PURPOSE) {
        if (!str_eq_z(value, "batch"))
            return err_set_param(err, ERR_UNSUPPORTED, "purpose",
                                 "'purpose' must be batch: files serve nothing else here");
        strcpy(u->row.purpose, "batch");
    } else if (u->field == FIELD_ANCHOR) {
        snprintf(u->anchor, sizeof u->anchor, "%.*s", STR_ARG(str_sub(value, 0, 31)));
    } else if (u->field == FIELD_TTL) {
        if (!str_to_i64(value, &u->ttl_s) || u->ttl_s < OPENAI_TTL_MIN_S ||
            u->ttl_s > OPENAI_TTL_MAX_S)
            return err_set_param(err, ERR_INVALID, "expires_after",
                                 "'expires_after[seconds]' must be from %d to %d", OPENAI_TTL_MIN_S,
                                 OPENAI_TTL_MAX_S);
    }
    return 0;
}

static int check_form(struct upload *u, struct err *err)
{
    int code = multipart_end(&u->form, err);
    if (code != 0)
        return code;
    if (!u->has_file)
        return err_set_param(err, ERR_INVALID, "file", "'file' is missing in the form");
    if (u->row.purpose[0] == '\0')
        return err_set_param(err, ERR_INVALID, "purpose", "'purpose' is missing in the form");
    if (u->row.bytes == 0)
        return err_set_param(err, ERR_INVALID, "file", "the file is empty");
    if ((u->ttl_s > 0) != (u->anchor[0] != '\0') ||
        (u->ttl_s > 0 && strcmp(u->anchor, "created_at") != 0))
        return err_set_param(err, ERR_INVALID, "expires_after",
                             "'expires_after' needs the anchor created_at and seconds");
    return 0;
}

/* ---- the exchange ---- */

static void on_gone(struct exchange *x, void *ctx)
{
    (void)x;
    struct upload *u = ctx;
    u->x = NULL;
}

static void on_over(void *ctx)
{
    struct upload *u = ctx;
    u->x = NULL;
    u->over = true;
    upload_free(u);
}

static void on_bytes(struct exchange *x, void *ctx, struct str bytes)
{
    struct upload *u = ctx;
    if (u->x == NULL)
        return; /* refused already */
    if (multipart_feed(&u->form, bytes, &u->err) != 0) {
        fail(u, &u->err);
    } else if (u->piece.len >= PIECE_BYTES) {
        exchange_pause(x);
        start_work(u, false);
    }
}

void upload_begin(struct server *s, struct exchange *x)
{
    struct err err = {0};
    struct str type = str_z(exchange_header(x, "Content-Type"));
    if (!inquiry_has_state(s, x))
        return;
    struct upload *u = mem_zero(1, sizeof *u);
    const struct multipart_handler handler = {on_part, on_part_bytes, on_part_end, u};
    int code = multipart_init(&u->form, type, &handler, &err);
    if (code == 0 && s->n_uploads >= FILES_UPLOADS_MAX)
        code = err_set(&err, ERR_BUSY, "too many files are being sent at once; try again");
    if (code != 0) {
        free(u);
        reply_error(x, &err, NULL);
        return;
    }
    s->n_uploads++;
    u->server = s;
    u->x = x;
    u->fd = -1;
    buf_init(&u->value, FIELD_BYTES_MAX);
    buf_init(&u->piece, 2 * PIECE_BYTES);
    buf_init(&u->writing, 2 * PIECE_BYTES);
    inquiry_new_id("file-", u->row.id);
    snprintf(u->row.owner, sizeof u->row.owner, "%s", exchange_owner(x));
    u->path = files_path(s->state, u->row.id);
    u->files_dir = str_dup(str_z(state_files_dir(s->state)));
    u->tmp_path = fs_join(state_tmp_dir(s->state), u->row.id);
    exchange_on_gone(x, on_gone, u);
    exchange_take_body(
        x, &(struct exchange_sink){.bytes_max = s->opts.file_bytes_max + FORM_BYTES_EXTRA,
                                   .on_bytes = on_bytes,
                                   .on_over = on_over,
                                   .ctx = u});
}

void upload_finish(struct server *s, struct exchange *x)
{
    struct upload *u = exchange_sink_ctx(x);
    struct err err = {0};
    (void)s;
    if (check_form(u, &err) != 0) {
        fail(u, &err);
        return;
    }
    u->row.created_s = clock_wall_ms() / 1000;
    int64_t keep_s = u->ttl_s > 0 ? u->ttl_s : u->server->opts.files_keep_s;
    u->row.expires_s = keep_s > 0 ? u->row.created_s + keep_s : 0;
    start_work(u, true);
}
