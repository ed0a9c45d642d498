/*
 * inspection: see the header. An inspection that waits stands in the list without a process.
 */
#include "gateway/inspection.h"

#include "base/mem.h"
#include "gateway/process.h"

#include <stdlib.h>
#include <string.h>

#define TIMEOUT_MS 30000 /* a file that takes longer to parse is no model */

struct inspection {
    struct server *server;
    struct inspection *next;
    char **path;
    int n_path;
    bool all;
    inspection_fn fn; /* NULL: nobody listens any more */
    void *ctx;
    struct process *process; /* NULL: it waits */
    bool told, dead;
    uv_timer_t timer;
};

static void start_next(struct server *s);

static void on_timer_closed(uv_handle_t *handle)
{
    struct inspection *i = handle->data;
    for (int k = 0; k < i->n_path; k++)
        free(i->path[k]);
    free(i->path);
    free(i);
}

static void leave(struct inspection *i)
{
    struct server *s = i->server;
    struct inspection **at = &s->inspections;
    while (*at != i)
        at = &(*at)->next;
    *at = i->next;
    uv_close((uv_handle_t *)&i->timer, on_timer_closed);
    start_next(s);
}

static void tell(struct inspection *i, const json_t *frame, const struct err *err)
{
    inspection_fn fn = i->fn;
    i->fn = NULL;
    i->told = true;
    if (fn != NULL)
        fn(i->ctx, frame, err);
}

static void on_frame(void *ctx, const json_t *frame)
{
    struct inspection *i = ctx;
    struct err err = {0};
    if (i->told)
        return;
    if (str_eq_z(json_str(json_object_get(frame, "t")), "inspected")) {
        tell(i, frame, &err);
        return;
    }
    struct str code = json_str(json_object_get(frame, "code"));
    struct str text = json_str(json_object_get(frame, "message"));
    bool word = code.len > 0 && code.len < 64;
    err_set(&err, word ? err_code_of_word(code.ptr) : ERR_CORRUPT, "%.*s", STR_ARG(text));
    if (text.len == 0)
        err_set(&err, ERR_CORRUPT, "the model's file could not be read");
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
        .inspect = i->all ? 2 : 1,
        .ctx_ptr = i,
        .on_frame = on_frame,
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

struct inspection *inspection_start(struct server *s, char *const *path, int n_path, bool all,
                                    inspection_fn fn, void *ctx)
{
    struct inspection *i = mem_zero(1, sizeof *i);
    *i = (struct inspection){.server = s, .all = all, .fn = fn, .ctx = ctx, .n_path = n_path};
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
    i->fn = NULL;
    if (i->process != NULL)
        process_kill(i->process, "was not needed any more");
    else
        leave(i);
}
