/*
 * ask: one small question to a worker, answered to one exchange. See server.h.
 *
 * It is a job like any other: it waits until the model is loaded, counts as using the model, and
 * counts as a request of its key. What it takes is bounded by the key's limits, and for all keys
 * together by the bytes that a model's jobs may hold.
 */
#include "gateway/server.h"

#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>

int ask_begin(struct server *s, struct exchange *x, struct err *err)
{
    struct visit *v = routes_visit(x);
    int retry_s = 1;
    char text[16];
    int code = v->asks != NULL ? 0 : callers_begin(&s->callers, &v->caller, &retry_s, err);
    if (code == 0) {
        v->asks = &s->callers;
    } else {
        snprintf(text, sizeof text, "%d", retry_s);
        exchange_add_header(x, "Retry-After", text);
    }
    return code;
}

void ask_over(struct exchange *x)
{
    struct visit *v = routes_visit(x);
    if (v == NULL || v->asks == NULL)
        return;
    callers_end(v->asks, &v->caller, 0, 0, 0);
    v->asks = NULL;
}

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
    ask_over(a->x); /* before its client can know, and ask again */
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
    struct err err = {0};
    uint64_t id = models_next_id(&s->models);
    if (frame == NULL || json_object_set_new(frame, "id", json_integer((json_int_t)id)) != 0) {
        err_set(&err, ERR_NOMEM, "out of memory for the question");
    } else if (slot_holds_too_much(slot)) {
        exchange_add_header(x, "Retry-After", "1");
        err_set(&err, ERR_BUSY,
                "what waits for the model '%s' takes all the memory there is for it", slot->name);
    }
    if (err.code != 0) {
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
