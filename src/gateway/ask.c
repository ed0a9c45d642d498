/*
 * ask: one small question to a worker, answered to one exchange. See server.h.
 *
 * It is a job like any other: it waits until the model is loaded, and counts as using the model.
 */
#include "gateway/server.h"

#include "base/mem.h"

#include <stdlib.h>

struct asking {
    struct server *server;
    struct exchange *x;
    struct job *job;
    ask_fn fn; /* one of the two */
    ask_frame_fn frame_fn;
    void *ctx;
    void (*free_ctx)(void *ctx);
};

static void asking_free(struct asking *a)
{
    if (a->free_ctx != NULL)
        a->free_ctx(a->ctx);
    free(a);
}

static void on_gone(struct exchange *x, void *ctx)
{
    (void)x;
    struct asking *a = ctx;
    job_cancel(a->job, false);
    asking_free(a);
}

static void tell(const struct asking *a, struct str text, const json_t *frame,
                 const struct err *err)
{
    if (a->fn != NULL)
        a->fn(a->server, a->x, a->ctx, text, err);
    else
        a->frame_fn(a->server, a->x, a->ctx, frame, err);
}

static void on_news(void *ctx, int tag, const struct job_news *news)
{
    static const struct err none;
    struct asking *a = ctx;
    (void)tag;
    if (news->event == JOB_TEXT)
        tell(a, news->text, news->frame, &none);
    else if (news->event == JOB_ERROR)
        tell(a, STR(""), NULL, &news->error->err);
    else
        return; /* what generations report, and a question never does */
    asking_free(a);
}

/* Takes a, which is filled but for its job. */
static void ask(struct asking *a, struct slot *slot, json_t *frame)
{
    struct server *s = a->server;
    struct exchange *x = a->x;
    uint64_t id = models_next_id(&s->models);
    if (frame == NULL || json_object_set_new(frame, "id", json_integer((json_int_t)id)) != 0) {
        struct err err = {0};
        err_set(&err, ERR_NOMEM, "out of memory for the question");
        json_decref(frame);
        tell(a, STR(""), NULL, &err);
        asking_free(a);
        return;
    }
    exchange_on_gone(x, on_gone, a);
    a->job = slot_submit(slot, id, frame, 0, 0, on_news, a);
}

void ask_worker(struct server *s, struct exchange *x, struct slot *slot, json_t *frame, ask_fn fn,
                void *ctx, void (*free_ctx)(void *ctx))
{
    struct asking *a = mem_zero(1, sizeof *a);
    *a = (struct asking){.server = s, .x = x, .fn = fn, .ctx = ctx, .free_ctx = free_ctx};
    ask(a, slot, frame);
}

void ask_worker_frame(struct server *s, struct exchange *x, struct slot *slot, json_t *frame,
                      ask_frame_fn fn, void *ctx, void (*free_ctx)(void *ctx))
{
    struct asking *a = mem_zero(1, sizeof *a);
    *a = (struct asking){.server = s, .x = x, .frame_fn = fn, .ctx = ctx, .free_ctx = free_ctx};
    ask(a, slot, frame);
}
