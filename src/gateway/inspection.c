/*
 * inspection: see the header. An inspection that waits stands in the list without a process.
 */
#include "gateway/inspection.h"

#include "base/mem.h"
#include "gateway/process.h"
#include "ipc/frame.h"

#include <stdlib.h>
#include <string.h>

#define TIMEOUT_MS 30000 /* a file that takes longer to parse is no model */

struct inspection {
    struct server *server;
    struct inspection *next;
    char **path;
    int n_path;
    struct inspection_job job;
    bool deaf;               /* nobody listens any more */
    struct process *process; /* NULL: it waits */
    bool told, dead;
    bool working, over; /* what is written is not done; the process is gone */
    struct buf text;    /* of the frame, for the work */
    struct buf answer;
    struct err err; /* of the work */
    uv_work_t work;
    uv_timer_t timer;
};

static void start_next(struct server *s);

static void on_timer_closed(uv_handle_t *handle)
{
    struct inspection *i = handle->data;
    for (int k = 0; k < i->n_path; k++)
        free(i->path[k]);
    free(i->path);
    buf_release(&i->text);
    buf_release(&i->answer);
    if (i->job.free_ctx != NULL)
        i->job.free_ctx(i->job.ctx);
    free(i);
}

static void leave(struct inspection *i)
{
    struct server *s = i->server;
    struct inspection **at = &s->inspections;
    while (*at != i)
        at = &(*at)->next;
    *at = i->next;
    if (!uv_is_closing((uv_handle_t *)&i->timer)) /* the server's end closes it, too */
        uv_close((uv_handle_t *)&i->timer, on_timer_closed);
    start_next(s);
}

static void tell(struct inspection *i, const json_t *frame, const struct err *err)
{
    bool deaf = i->deaf;
    i->deaf = true;
    i->told = true;
    if (!deaf && i->job.fn != NULL)
        i->job.fn(i->job.ctx, frame, err);
    else if (!deaf)
        i->job.answered(i->job.ctx, NULL, err);
}

/* Why a worker says that it failed. */
static void read_failure(const json_t *frame, struct err *err)
{
    struct str code = json_str(json_object_get(frame, "code"));
    struct str text = json_str(json_object_get(frame, "message"));
    bool word = code.len > 0 && code.len < 64;
    err_set(err, word ? err_code_of_word(code.ptr) : ERR_CORRUPT, "%.*s", STR_ARG(text));
    if (text.len == 0)
        err_set(err, ERR_CORRUPT, "the model's file could not be read");
}

static bool is_inspected(const json_t *frame)
{
    return str_eq_z(json_str(json_object_get(frame, "t")), "inspected");
}

static void on_frame(void *ctx, const json_t *frame)
{
    struct inspection *i = ctx;
    struct err err = {0};
    if (i->told)
        return;
    if (!is_inspected(frame))
        read_failure(frame, &err);
    tell(i, err.code == 0 ? frame : NULL, &err);
}

/* ---- apart from the loop ---- */

static void do_write(uv_work_t *work)
{
    struct inspection *i = work->data;
    json_t *frame = json_parse(buf_str(&i->text), FRAME_DEPTH_MAX, &i->err);
    buf_release(&i->text);
    if (is_inspected(frame))
        i->job.write(i->job.ctx, frame, &i->answer);
    else
        read_failure(frame, &i->err);
    json_decref(frame);
}

static void on_written(uv_work_t *work, int status)
{
    struct inspection *i = work->data;
    (void)status;
    i->working = false;
    bool deaf = i->deaf;
    i->deaf = true;
    if (!deaf)
        i->job.answered(i->job.ctx, &i->answer, &i->err);
    if (i->over)
        leave(i);
}

static void on_text(void *ctx, struct str text)
{
    struct inspection *i = ctx;
    struct err err = {0};
    if (i->told)
        return;
    i->told = true;
    buf_init(&i->text, FRAME_BYTES_MAX);
    buf_init(&i->answer, i->job.answer_max);
    i->work.data = i;
    i->working = buf_add_str(&i->text, text) &&
                 uv_queue_work(&i->server->loop, &i->work, do_write, on_written) == 0;
    if (i->working)
        return;
    err_set(&err, ERR_NOMEM, "out of memory for what the model file says of itself");
    tell(i, NULL, &err);
}

static void on_over(void *ctx, const char *how)
{
    struct inspection *i = ctx;
    struct err err = {0};
    err_set(&err, ERR_CORRUPT, "the model's file cannot be read: the process that looked at it %s",
            how);
    if (!i->told)
        tell(i, NULL, &err);
    i->over = true;
    uv_timer_stop(&i->timer);
    if (!i->working)
        leave(i);
}

static void on_timeout(uv_timer_t *t)
{
    struct inspection *i = t->data;
    process_kill(i->process, "took too long and was stopped");
}

static void start(struct inspection *i)
{
    const struct gateway_opts *o = &i->server->opts;
    struct err err = {0};
    const struct process_opts p = {
        .exe = o->exe,
        .exe_self = o->exe_self,
        .path = i->path,
        .n_path = i->n_path,
        .pack_in = -1,
        .pack_out = -1,
        .prefix_fd = -1,
        .inspect = i->job.all ? 2 : 1,
        .ctx_ptr = i,
        .on_frame = on_frame,
        .on_text = i->job.write != NULL ? on_text : NULL,
        .on_over = on_over,
    };
    if (process_start(&i->server->loop, &p, &i->process, &err) == 0) {
        uv_timer_start(&i->timer, on_timeout, TIMEOUT_MS, 0);
        return;
    }
    i->process = NULL;
    i->dead = true;
    tell(i, NULL, &err);
    leave(i);
}

static void start_next(struct server *s)
{
    int n = 0;
    struct inspection *oldest = NULL; /* the list's last that waits */
    for (struct inspection *i = s->inspections; i != NULL; i = i->next) {
        n += i->process != NULL;
        if (i->process == NULL && !i->dead)
            oldest = i;
    }
    if (n < INSPECTIONS_MAX && oldest != NULL && !s->stopping)
        start(oldest);
}

static void on_begin(uv_timer_t *t)
{
    struct inspection *i = t->data;
    start_next(i->server);
}

struct inspection *inspection_start(struct server *s, char *const *path, int n_path,
                                    const struct inspection_job *job)
{
    struct inspection *i = mem_zero(1, sizeof *i);
    *i = (struct inspection){.server = s, .job = *job, .n_path = n_path};
    i->path = mem_zero((size_t)n_path + 1, sizeof(char *));
    for (int k = 0; k < n_path; k++)
        i->path[k] = str_dup(str_z(path[k]));
    i->next = s->inspections;
    s->inspections = i;
    uv_timer_init(&s->loop, &i->timer);
    i->timer.data = i;
    uv_timer_start(&i->timer, on_begin, 0, 0); /* never calls back before it has returned */
    return i;
}

void inspection_cancel(struct inspection *i)
{
    i->deaf = true;
    if (i->working && i->over)
        return; /* it leaves when the work is done */
    if (i->process != NULL)
        process_kill(i->process, "was not needed any more");
    else
        leave(i);
}
