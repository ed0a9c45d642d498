/*
 * blob_upload: /api/blobs/{digest}: is a blob here, and one that a client sends. Its bytes go to
 * the library piece by piece on libuv's work queue, and while it writes the client is not read
 * from; the blob gets its name only when its digest was compared.
 *
 * An upload is in the hands of two: its exchange (until `over`), and the work under way
 * (`working`). It is freed when neither has it.
 */
#include "gateway/server.h"

#include "base/mem.h"
#include "store/blob.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PIECE_BYTES (1 << 20)
#define UPLOADS_MAX 8
#define PREFIX      "/api/blobs/"

struct blob_upload {
    struct server *server;
    struct exchange *x;       /* NULL: the client left, or it was answered */
    bool over, working, last; /* last: the work under way is the one that ends it */
    bool open, done;
    char digest[DIGEST_TEXT_LEN + 1], key[BLOB_KEY_MAX + 1];
    struct blob_writer writer;
    struct buf piece, writing;
    struct err err;
    uv_work_t work;
};

static void upload_free(struct blob_upload *u)
{
    if (!u->over || u->working)
        return;
    u->server->n_blob_uploads--;
    if (u->open && !u->done)
        blob_writer_discard(&u->writer);
    buf_release(&u->piece);
    buf_release(&u->writing);
    free(u);
}

static void fail(struct blob_upload *u)
{
    struct exchange *x = u->x;
    u->x = NULL;
    if (x != NULL)
        reply_error(x, &u->err, NULL);
}

/* ---- the disk ---- */

static void do_write(uv_work_t *w)
{
    struct blob_upload *u = w->data;
    char got[DIGEST_TEXT_LEN + 1];
    int code = 0;
    if (!u->open) {
        code =
            blob_writer_open(&u->writer, store_blobs_dir(u->server->models.store), u->key, &u->err);
        u->open = code == 0;
    }
    if (code == 0)
        code = blob_writer_add(&u->writer, u->writing.ptr, u->writing.len, &u->err);
    if (code != 0 || !u->last)
        return;
    u->done = true; /* the writer is released, whatever comes */
    code = blob_writer_commit(&u->writer, u->digest, got, &u->err);
    if (code == ERR_CORRUPT)
        err_set_param(&u->err, ERR_INVALID, "digest",
                      "digest mismatch: what was sent is not %s, as the address says", u->digest);
}

static void on_written(uv_work_t *w, int status)
{
    struct blob_upload *u = w->data;
    struct exchange *x = u->x;
    (void)status;
    buf_clear(&u->writing);
    u->working = false;
    if (u->err.code != 0) {
        fail(u);
    } else if (x != NULL && u->last) {
        u->x = NULL;
        exchange_reply(x, 201, NULL, STR(""));
    } else if (x != NULL) {
        exchange_go_on(x);
    }
    upload_free(u);
}

static void start_work(struct blob_upload *u, bool last)
{
    struct buf empty = u->writing;
    u->writing = u->piece;
    u->piece = empty;
    u->working = true;
    u->last = last;
    u->work.data = u;
    uv_queue_work(&u->server->loop, &u->work, do_write, on_written);
}

/* ---- the exchange ---- */

static void on_gone(struct exchange *x, void *ctx)
{
    (void)x;
    struct blob_upload *u = ctx;
    u->x = NULL;
}

static void on_over(void *ctx)
{
    struct blob_upload *u = ctx;
    u->x = NULL;
    u->over = true;
    upload_free(u);
}

static void on_bytes(struct exchange *x, void *ctx, struct str bytes)
{
    struct blob_upload *u = ctx;
    if (u->x == NULL)
        return; /* refused already */
    if (!buf_add_str(&u->piece, bytes)) {
        err_set(&u->err, ERR_NOMEM, "out of memory");
        fail(u);
    } else if (u->piece.len >= PIECE_BYTES) {
        exchange_pause(x);
        start_work(u, false);
    }
}

static int find_digest(struct exchange *x, const char **ret, struct err *err)
{
    const char *digest = exchange_path(x) + strlen(PREFIX);
    if (!digest_valid(str_z(digest)))
        return err_set_param(err, ERR_INVALID, "digest",
                             "invalid digest format: '%.100s' is not sha256: and 64 hexadecimal "
                             "digits",
                             digest);
    *ret = digest;
    return 0;
}

/* 0: it may be sent. */
static int admit(struct server *s, struct exchange *x, const char **ret_digest, struct err *err)
{
    const struct caller *who = &routes_visit(x)->caller;
    if (!who->admin)
        return err_set(err, ERR_DENIED,
                       "the key '%s' may not change the library: that takes a key made with "
                       "'hearth key create NAME --admin'",
                       who->name);
    int code = find_digest(x, ret_digest, err);
    if (code == 0 && s->n_blob_uploads >= UPLOADS_MAX)
        code = err_set(err, ERR_BUSY, "too many blobs are being sent at once; try again");
    return code;
}

void blob_upload_begin(struct server *s, struct exchange *x)
{
    struct err err = {0};
    const char *digest = NULL;
    if (admit(s, x, &digest, &err) != 0) {
        reply_error(x, &err, NULL);
        return;
    }
    if (blob_exists(store_blobs_dir(s->models.store), digest, -1)) {
        exchange_reply(x, 200, NULL, STR(""));
        return;
    }
    struct blob_upload *u = mem_zero(1, sizeof *u);
    s->n_blob_uploads++;
    u->server = s;
    u->x = x;
    snprintf(u->digest, sizeof u->digest, "%s", digest);
    snprintf(u->key, sizeof u->key, "upload-%.60s", exchange_id(x));
    buf_init(&u->piece, 2 * PIECE_BYTES);
    buf_init(&u->writing, 2 * PIECE_BYTES);
    exchange_on_gone(x, on_gone, u);
    exchange_take_body(x, &(struct exchange_sink){.bytes_max = MANIFEST_SIZE_MAX,
                                                  .slow = true,
                                                  .on_bytes = on_bytes,
                                                  .on_over = on_over,
                                                  .ctx = u});
}

/* HEAD, or the end of a POST's body. */
void blob_upload_serve(struct server *s, struct exchange *x)
{
    struct blob_upload *u = exchange_sink_ctx(x);
    struct err err = {0};
    const char *digest = NULL;
    if (exchange_method(x) == HTTP_POST) {
        if (u != NULL && u->x != NULL)
            start_work(u, true);
        return;
    }
    if (find_digest(x, &digest, &err) == 0 &&
        !blob_exists(store_blobs_dir(s->models.store), digest, -1))
        err_set_param(&err, ERR_NOT_FOUND, "digest", "there is no blob %.100s", digest);
    if (err.code != 0)
        reply_error(x, &err, NULL);
    else
        exchange_reply(x, 200, NULL, STR(""));
}
