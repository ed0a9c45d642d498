/*
 * errand_process: see the header.
 */
#include "gateway/errand_process.h"

#include "base/clock.h"
#include "base/str.h"

#include <string.h>

#define LOOK_MS 100 /* between two looks at whether to stop */

struct waiting {
    const struct errand_process *p;
    struct process *process;
    uv_timer_t timer;
    int64_t heard_ms;
    bool came, killed;
    struct err err; /* why it failed, as it says */
    char how[128];
};

static void on_frame(void *ctx, const json_t *frame)
{
    struct waiting *w = ctx;
    struct str type = json_str(json_object_get(frame, "t"));
    w->heard_ms = clock_ms();
    if (w->came || w->err.code != 0)
        return;
    if (!str_eq_z(type, "failed")) {
        w->p->on_frame(w->p->ctx, frame);
        w->came = str_eq_z(type, w->p->last);
        return;
    }
    struct str code = json_str(json_object_get(frame, "code"));
    struct str text = json_str(json_object_get(frame, "message"));
    bool word = code.len > 0 && code.len < 64;
    err_set(&w->err, word ? err_code_of_word(code.ptr) : ERR_CORRUPT, "%.*s", STR_ARG(text));
}

static void on_over(void *ctx, const char *how)
{
    struct waiting *w = ctx;
    snprintf(w->how, sizeof w->how, "%s", how);
    uv_close((uv_handle_t *)&w->timer, NULL);
}

static void on_look(uv_timer_t *t)
{
    struct waiting *w = t->data;
    const char *why = NULL;
    if (*w->p->stop != 0)
        why = "was stopped";
    else if (clock_ms() - w->heard_ms > w->p->silence_ms)
        why = "took too long and was stopped";
    if (why == NULL || w->killed)
        return;
    w->killed = true;
    process_kill(w->process, why);
}

static int outcome(const struct waiting *w, struct err *err)
{
    if (*w->p->stop != 0)
        return err_set(err, ERR_CANCELLED, "stopped");
    if (w->err.code != 0) {
        *err = w->err;
        return err->code;
    }
    if (w->came)
        return 0;
    return err_set(err, ERR_CORRUPT,
                   "the model's file cannot be read: the process that worked on it %s", w->how);
}

int errand_process_run(const struct errand_process *p, struct err *err)
{
    struct waiting w = {.p = p, .heard_ms = clock_ms()};
    struct process_opts o = p->opts;
    uv_loop_t loop;
    if (uv_loop_init(&loop) != 0)
        return err_set(err, ERR_NOMEM, "a process for this cannot be started; try again");
    o.ctx_ptr = &w;
    o.on_frame = on_frame;
    o.on_over = on_over;
    w.timer.data = &w;
    uv_timer_init(&loop, &w.timer);
    int code = process_start(&loop, &o, &w.process, err);
    if (code == 0)
        uv_timer_start(&w.timer, on_look, LOOK_MS, LOOK_MS);
    else
        uv_close((uv_handle_t *)&w.timer, NULL);
    uv_run(&loop, UV_RUN_DEFAULT);
    (void)uv_loop_close(&loop);
    return code != 0 ? code : outcome(&w, err);
}
