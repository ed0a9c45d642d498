/*
 * request_log: see request_log.h. Two buffers: lines go to one while the other is being written by
 * a thread of libuv's pool, which alone touches the file then.
 */
#include "gateway/request_log.h"

#include "base/buf.h"
#include "base/log.h"
#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PENDING_BYTES_MAX (4 << 20)

struct request_log {
    uv_loop_t *loop;
    char *path;
    int64_t bytes_max, bytes;    /* of the file */
    int fd;                      /* -1: it could not be opened again */
    struct buf pending, writing; /* writing: the thread's, while `busy` */
    uv_work_t work;
    bool busy, failed;
    int errnum; /* of the last write; told once */
    uint64_t dropped;
};

static int open_file(struct request_log *log)
{
    struct stat st;
    log->fd = open(log->path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (log->fd < 0)
        return errno;
    log->bytes = fstat(log->fd, &st) == 0 ? st.st_size : 0;
    return 0;
}

/* A name that is not there is no fault: the first rotations have fewer files. */
static void rotate(struct request_log *log)
{
    size_t len = strlen(log->path);
    char *from = mem_alloc(len + 8), *to = mem_alloc(len + 8);
    close(log->fd);
    for (int i = REQUEST_LOG_OLD_MAX; i >= 1; i--) {
        snprintf(to, len + 8, "%s.%d", log->path, i);
        if (i == 1)
            memcpy(from, log->path, len + 1);
        else
            snprintf(from, len + 8, "%s.%d", log->path, i - 1);
        (void)!rename(from, to);
    }
    free(from);
    free(to);
    log->errnum = open_file(log);
}

/* On a thread of the pool; or on the loop's, once it has ended. */
static void write_out(struct request_log *log)
{
    const char *at = log->writing.ptr;
    size_t left = log->writing.len;
    log->errnum = 0;
    if (log->fd >= 0 && log->bytes > 0 && log->bytes + (int64_t)left > log->bytes_max)
        rotate(log);
    if (log->fd < 0)
        log->errnum = open_file(log);
    while (left > 0 && log->fd >= 0) {
        ssize_t n = write(log->fd, at, left);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            log->errnum = errno;
            break;
        }
        at += n;
        left -= (size_t)n;
        log->bytes += n;
    }
}

static void on_work(uv_work_t *work)
{
    write_out(work->data);
}

static void flush(struct request_log *log);

static void after_write(struct request_log *log)
{
    if (log->errnum != 0 && !log->failed)
        log_error("the request log %s cannot be written: %s", log->path, strerror(log->errnum));
    log->failed = log->errnum != 0;
    for (size_t i = 0; log->failed && i < log->writing.len; i++)
        log->dropped += log->writing.ptr[i] == '\n';
    buf_clear(&log->writing);
}

static void on_written(uv_work_t *work, int status)
{
    (void)status;
    struct request_log *log = work->data;
    log->busy = false;
    after_write(log);
    flush(log);
}

static void swap(struct request_log *log)
{
    struct buf full = log->pending;
    log->pending = log->writing;
    log->writing = full;
}

static void flush(struct request_log *log)
{
    if (log->busy || log->pending.len == 0)
        return;
    swap(log);
    log->busy = uv_queue_work(log->loop, &log->work, on_work, on_written) == 0;
    if (!log->busy) {
        log->errnum = EAGAIN;
        after_write(log);
    }
}

int request_log_new(uv_loop_t *loop, const char *path, int64_t bytes_max, struct request_log **ret,
                    struct err *err)
{
    struct request_log *log = mem_zero(1, sizeof *log);
    log->loop = loop;
    log->path = str_dup(str_z(path));
    log->bytes_max = bytes_max;
    log->work.data = log;
    buf_init(&log->pending, PENDING_BYTES_MAX);
    buf_init(&log->writing, PENDING_BYTES_MAX);
    int errnum = open_file(log);
    if (errnum != 0) {
        free(log->path);
        free(log);
        return err_set_errno(err, errnum, "cannot open the request log %s", path);
    }
    *ret = log;
    return 0;
}

void request_log_add(struct request_log *log, struct str line)
{
    if (log == NULL)
        return;
    size_t before = log->pending.len;
    if (!buf_add_str(&log->pending, line) || !buf_add_char(&log->pending, '\n')) {
        buf_truncate(&log->pending, before);
        log->pending.overflow = false;
        log->dropped++;
    }
    flush(log);
}

uint64_t request_log_dropped(const struct request_log *log)
{
    return log == NULL ? 0 : log->dropped;
}

void request_log_free(struct request_log *log)
{
    if (log == NULL)
        return;
    if (log->pending.len > 0 && !log->busy) {
        swap(log);
        write_out(log);
    }
    if (log->fd >= 0)
        close(log->fd);
    buf_release(&log->pending);
    buf_release(&log->writing);
    free(log->path);
    free(log);
}
