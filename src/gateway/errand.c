/*
 * errand: see the header. The thread writes lines into `lines` under a lock and wakes the loop,
 * which alone touches the exchange. A client that reads slowly costs no memory: progress of the
 * same thing is told ten times a second at most, and lines beyond a bound are left out.
 */
#include "gateway/errand.h"

#include "base/clock.h"
#include "base/mem.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LINES_BYTES_MAX (1u << 20)
#define TELL_MS         100

struct errand {
    struct server *server;
    struct errand *next;
    struct exchange *x; /* NULL: the client left */
    struct errand_job job;
    char answer[1024]; /* the copy that job.answer points to */
    bool begun;
    uv_thread_t thread;
    uv_async_t async;
    volatile sig_atomic_t stop;
    /* the thread's own */
    char status[128];
    int64_t told_ms;
    /* of both */
    pthread_mutex_t lock;
    struct buf lines;
    bool over;
    struct err err; /* how it ended */
};

const volatile sig_atomic_t *errand_stop(const struct errand *e)
{
    return &e->stop;
}

void errand_tell(struct errand *e, const char *status, const char *digest, int64_t total,
                 int64_t completed)
{
    int64_t now_ms = clock_ms();
    bool same = strncmp(e->status, status, sizeof e->status - 1) == 0;
    if (same && (completed < total || total == 0) && now_ms - e->told_ms < TELL_MS)
        return;
    e->told_ms = now_ms;
    snprintf(e->status, sizeof e->status, "%s", status);
    pthread_mutex_lock(&e->lock);
    size_t before = e->lines.len;
    buf_add_z(&e->lines, "{\"status\":");
    json_write_string(str_z(status), &e->lines);
    if (digest != NULL) {
        buf_add_z(&e->lines, ",\"digest\":");
        json_write_string(str_z(digest), &e->lines);
    }
    if (total > 0)
        buf_printf(&e->lines, ",\"total\":%" PRId64 ",\"completed\":%" PRId64, total, completed);
    buf_add_z(&e->lines, "}\n");
    if (e->lines.overflow) {
        buf_truncate(&e->lines, before);
        e->lines.overflow = false;
    }
    pthread_mutex_unlock(&e->lock);
    uv_async_send(&e->async);
}

static void run(void *arg)
{
    struct errand *e = arg;
    struct err err = {0};
    int code = e->job.run(e, e->job.ctx, &err);
    pthread_mutex_lock(&e->lock);
    e->over = true;
    e->err = err;
    e->err.code = code;
    pthread_mutex_unlock(&e->lock);
    uv_async_send(&e->async);
}

/* ---- the loop's side ---- */

static void on_gone(struct exchange *x, void *ctx)
{
    struct errand *e = ctx;
    (void)x;
    e->x = NULL;
    e->stop = 1;
}

static void say(struct errand *e, struct str lines)
{
    if (e->x == NULL || lines.len == 0)
        return;
    if (!e->begun) {
        exchange_add_header(e->x, "Cache-Control", "no-cache");
        exchange_begin(e->x, 200, "application/x-ndjson");
    }
    e->begun = true;
    if (!exchange_write(e->x, lines)) {
        e->x = NULL;
        e->stop = 1;
    }
}

static void say_end(struct errand *e)
{
    struct buf out;
    buf_init(&out, 8192);
    if (e->x != NULL && e->err.code != 0 && !e->begun) {
        struct exchange *x = e->x;
        e->x = NULL;
        reply_error(x, &e->err, NULL);
    } else if (e->err.code != 0) {
        api_error_write(API_OLLAMA, &e->err, NULL, &out);
        buf_add_char(&out, '\n');
    } else if (e->job.stream) {
        buf_add_z(&out, "{\"status\":\"success\"}\n");
    } else if (e->x != NULL) {
        struct exchange *x = e->x;
        e->x = NULL;
        exchange_reply(x, 200, e->answer[0] == '\0' ? NULL : "application/json", str_z(e->answer));
    }
    say(e, buf_str(&out));
    if (e->x != NULL)
        exchange_end(e->x);
    buf_release(&out);
}

static void on_closed(uv_handle_t *handle)
{
    struct errand *e = handle->data;
    pthread_mutex_destroy(&e->lock);
    buf_release(&e->lines);
    free(e);
}

static void finish(struct errand *e)
{
    struct errand **at = &e->server->errands;
    uv_thread_join(&e->thread);
    while (*at != e)
        at = &(*at)->next;
    *at = e->next;
    e->server->n_errands--;
    if (e->job.then != NULL)
        e->job.then(e->server, e->job.ctx, e->err.code);
    if (e->job.free_ctx != NULL)
        e->job.free_ctx(e->job.ctx);
    uv_close((uv_handle_t *)&e->async, on_closed);
}

static void on_async(uv_async_t *async)
{
    struct errand *e = async->data;
    struct buf lines;
    buf_init(&lines, LINES_BYTES_MAX);
    pthread_mutex_lock(&e->lock);
    struct buf taken = e->lines;
    e->lines = lines;
    bool over = e->over;
    pthread_mutex_unlock(&e->lock);
    if (e->job.stream)
        say(e, buf_str(&taken));
    buf_release(&taken);
    if (!over)
        return;
    /* What changes with it is changed before the client hears that it is done. */
    struct errand_job job = e->job;
    e->job.then = NULL;
    if (job.then != NULL)
        job.then(e->server, job.ctx, e->err.code);
    say_end(e);
    finish(e);
}

void errand_start(struct server *s, struct exchange *x, const struct errand_job *job)
{
    struct err err = {0};
    struct errand *e = mem_zero(1, sizeof *e);
    *e = (struct errand){.server = s, .x = x, .job = *job, .next = s->errands};
    snprintf(e->answer, sizeof e->answer, "%s",
             job->answer == NULL ? "{\"status\":\"success\"}" : job->answer);
    e->job.answer = e->answer;
    buf_init(&e->lines, LINES_BYTES_MAX);
    if (s->n_errands >= ERRANDS_MAX) {
        err_set(&err, ERR_BUSY,
                "%d changes of the library are under way, the most at once; try "
                "again when one is done",
                s->n_errands);
    } else {
        pthread_mutex_init(&e->lock, NULL);
        uv_async_init(&s->loop, &e->async, on_async);
        e->async.data = e;
        exchange_drop_body(x);
        exchange_on_gone(x, on_gone, e);
        s->errands = e;
        s->n_errands++;
        if (uv_thread_create(&e->thread, run, e) == 0)
            return;
        err_set(&err, ERR_NOMEM, "a thread for this cannot be started; try again");
        s->errands = e->next;
        s->n_errands--;
    }
    reply_error(x, &err, NULL);
    if (job->free_ctx != NULL)
        job->free_ctx(job->ctx);
    if (e->async.data != NULL)
        uv_close((uv_handle_t *)&e->async, on_closed);
    else
        free(e);
}

void errands_end(struct server *s)
{
    for (struct errand *e = s->errands; e != NULL; e = e->next)
        e->stop = 1;
    while (s->errands != NULL) {
        s->errands->x = NULL;
        s->errands->job.then = NULL;
        finish(s->errands);
    }
}
