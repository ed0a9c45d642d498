/*
 * batch_call: see batch_call.h. Owns the jobs of one line until the last of them is over.
 */
#include "gateway/batch_call.h"

#include "api/openai_batch.h"
#include "base/mem.h"
#include "gateway/generation.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ANSWER_BYTES_MAX (256u << 20)

struct batch_call {
    struct server *server;
    const struct slot *slot; /* stays while jobs of it run */
    json_t *top, *body;      /* top owned, until it was submitted */
    struct api_request request;
    struct api_answer *answer; /* owned; NULL until the line was found good */
    bool accepted;
    struct job **job; /* [n_job]; NULL when over */
    int n_job, n_done;
    struct batch_call_live live; /* text NULL: nobody listens */
    struct buf out;              /* of its stream, what was not handed on */
    batch_call_fn fn;
    void *ctx;
};

static void call_free(struct batch_call *c)
{
    for (int i = 0; i < c->n_job; i++)
        if (c->job[i] != NULL)
            job_cancel(c->job[i], false);
    api_answer_free(c->answer);
    api_request_release(&c->request);
    json_decref(c->top);
    buf_release(&c->out);
    free(c->job);
    free(c);
}

void batch_call_cancel(struct batch_call *c)
{
    call_free(c);
}

/* ---- the end ---- */

static void tell(struct batch_call *c, struct batch_outcome *o)
{
    o->accepted = c->accepted;
    c->fn(c->ctx, o);
    call_free(c);
}

static void fail(struct batch_call *c, const struct err *err, const struct api_counts *counts)
{
    struct buf body;
    struct batch_outcome o = {.status = api_status(err->code), .body = &body, .err = *err};
    buf_init(&body, 16384);
    /* Nothing of what the line says: the worker, the server or its memory. */
    o.again = err->code == ERR_UNAVAILABLE || err->code == ERR_BUSY || err->code == ERR_CANCELLED ||
              err->code == ERR_NOMEM;
    api_error_write(c->request.endpoint->dialect, err, counts, &body);
    buf_clear(&c->out); /* it may hold half an event */
    tell(c, &o);
    buf_release(&body);
}

static void fail_full(struct batch_call *c)
{
    struct err err = generation_error_full();
    fail(c, &err, NULL);
}

static void finish(struct batch_call *c)
{
    struct buf body;
    struct model_metrics *m = metrics_model(&c->server->metrics, c->slot->name);
    struct batch_outcome o = {
        .status = 200, .body = &body, .model = c->slot->name, .answer = c->answer};
    m->outcome[OUTCOME_DONE]++;
    m->prompt_tokens += (uint64_t)c->answer->n_prompt;
    m->cached_tokens += (uint64_t)c->answer->n_cached;
    m->completion_tokens += (uint64_t)c->answer->n_completion;
    buf_init(&body, ANSWER_BYTES_MAX);
    bool ok = c->live.text == NULL || c->answer->endpoint->finish(c->answer, &c->out);
    o.last = buf_str(&c->out);
    if (ok && c->answer->endpoint->whole(c->answer, &body))
        tell(c, &o);
    else
        fail_full(c);
    buf_release(&body);
}

/* ---- news from the jobs ---- */

static void on_error(struct batch_call *c, int tag, const struct gen_error *e)
{
    struct api_counts counts;
    struct err err = generation_error(e, c->request.endpoint, &counts);
    c->job[tag] = NULL;
    fail(c, &err, &counts);
}

static void on_news(void *ctx, int tag, const struct job_news *news)
{
    struct batch_call *c = ctx;
    struct buf *out = c->live.text == NULL ? NULL : &c->out;
    bool ok = true;
    switch (news->event) {
    case JOB_ACCEPTED:
        if (!c->accepted)
            api_answer_fingerprint(c->answer, c->slot->ready.fingerprint);
        c->accepted = true;
        c->answer->n_dropped += news->n_dropped;
        break;
    case JOB_STARTED:
        if (out != NULL)
            ok = c->answer->endpoint->begin(c->answer, out);
        break;
    case JOB_DELTA:
        ok = c->answer->endpoint->delta(c->answer, tag, news->delta, out);
        break;
    case JOB_END:
        ok = c->answer->endpoint->end(c->answer, tag, news->end, out);
        break;
    case JOB_DONE:
        c->job[tag] = NULL;
        api_answer_done(c->answer, news->done);
        if (++c->n_done == c->n_job) {
            finish(c);
            return;
        }
        break;
    case JOB_ERROR:
        on_error(c, tag, news->error);
        return;
    default:
        break;
    }
    if (!ok) {
        fail_full(c);
    } else if (c->out.len > 0) {
        c->live.text(c->ctx, buf_str(&c->out));
        buf_clear(&c->out);
    }
}

/* ---- the start ---- */

/* A place that nobody else waits for; a line of many choices runs when the model is idle. */
static int check_place(const struct server *s, const struct slot *slot, int64_t n, struct err *err)
{
    int64_t places = slot->ready.n_seq_max > 0 ? slot->ready.n_seq_max : s->opts.parallel;
    if (slot->n_units == 0 || slot->n_units + n <= places)
        return 0;
    return err_set(err, ERR_BUSY, "the model '%s' is busy with other requests", slot->name);
}

/* Of a line that found no place before: is there one? Without reading it again. */
static int check_need(const struct server *s, const struct batch_need *need, struct err *err)
{
    for (const struct slot *slot = s->models.slots; slot != NULL && need->n > 0; slot = slot->next)
        if (!slot->retiring && slot->state != SLOT_FAILED && slot->state != SLOT_STOPPING &&
            strcmp(slot->name, need->model) == 0)
            return check_place(s, slot, need->n, err);
    return 0;
}

static int check_line(const struct batch_call *c, const struct slot *slot, struct batch_need *need,
                      struct err *err)
{
    int64_t n = c->request.gen.n * c->request.n_prompt;
    bool others = callers_n(&c->server->callers) > 1;
    int code = generation_check_units(&c->request, slot, others, err);
    if (code == 0)
        code = check_place(c->server, slot, n, err);
    if (code == ERR_BUSY) {
        snprintf(need->model, sizeof need->model, "%s", slot->name);
        need->n = n;
    }
    return code;
}

static int find_slot(struct batch_call *c, struct slot **ret, struct err *err)
{
    char name[GENERATION_MODEL_MAX];
    int code = generation_model(c->server, &c->request, name, err);
    return code == 0 ? models_find(&c->server->models, name, false, ret, err) : code;
}

static int prepare(struct batch_call *c, struct slot *slot, struct err *err)
{
    int code = generation_prepare(c->body, &c->request, slot, &c->answer, err);
    if (code == 0)
        c->job = mem_zero((size_t)c->request.n_prompt, sizeof *c->job);
    return code;
}

static int submit(struct batch_call *c, struct slot *slot, struct err *err)
{
    c->slot = slot;
    for (int i = 0; i < c->request.n_prompt; i++) {
        uint64_t id = models_next_id(&c->server->models);
        json_t *frame = api_request_frame(&c->request, i, id);
        if (frame == NULL)
            return err_set(err, ERR_NOMEM, "out of memory for the request");
        c->job[i] = slot_submit(slot, id, frame, c->request.gen.n, i, on_news, c);
        c->n_job++;
    }
    const struct api_endpoint *endpoint = c->request.endpoint;
    api_request_release(&c->request);
    api_request_init(&c->request, endpoint);
    json_decref(c->top);
    c->top = c->body = NULL;
    return 0;
}

static int parse(struct batch_call *c, const struct api_endpoint *endpoint, struct str line,
                 struct err *err)
{
    c->top = json_parse(line, JSON_DEPTH_MAX, err);
    if (c->top == NULL)
        return err->code;
    c->body = json_object_get(c->top, "body");
    return endpoint->parse(c->body, NULL, &c->request, err);
}

static void set_owner(struct batch_call *c, const struct caller *who, int64_t priority)
{
    struct gen_request *gen = &c->request.gen;
    gen->priority = priority;
    gen->tenant = who->tenant;
    gen->salt = who->salt;
}

/* Lines go last, and share what is cached with their key's requests alone. */
static int find_owner(struct batch_call *c, const char *owner, struct err *err)
{
    struct caller who;
    if (!callers_find(&c->server->callers, owner, &who))
        return err_set(err, ERR_AUTH, "the API key that made this batch was revoked");
    set_owner(c, &who, GEN_BATCH);
    return 0;
}

int batch_call_start(struct server *s, const char *owner, const struct api_endpoint *endpoint,
                     struct str line, struct batch_need *need, batch_call_fn fn, void *ctx,
                     struct batch_call **ret, struct err *err)
{
    struct slot *slot;
    int code = check_need(s, need, err);
    if (code != 0)
        return code;
    struct batch_call *c = mem_zero(1, sizeof *c);
    *c = (struct batch_call){.server = s, .fn = fn, .ctx = ctx};
    code = parse(c, endpoint, line, err);
    if (code == 0)
        code = find_slot(c, &slot, err);
    if (code == 0)
        code = check_line(c, slot, need, err);
    if (code == 0)
        code = prepare(c, slot, err);
    if (code == 0)
        code = find_owner(c, owner, err);
    if (code == 0)
        code = submit(c, slot, err);
    if (code != 0)
        call_free(c);
    else
        *ret = c;
    return code;
}

/* ---- calls that are heard ---- */

static int check_room(const struct batch_call *c, const struct slot *slot, const struct caller *who,
                      struct err *err)
{
    int retry_s;
    bool others = callers_n(&c->server->callers) > 1;
    int code = generation_check_units(&c->request, slot, others, err);
    if (code != 0)
        return code;
    enum slot_room room =
        slot_has_room(slot, who->tenant, others, c->request.gen.n * c->request.n_prompt, &retry_s);
    return room == SLOT_ROOM_YES
               ? 0
               : err_set(err, ERR_BUSY, "the queue of the model '%s' is full", slot->name);
}

int batch_call_start_live(struct server *s, const struct caller *who,
                          const struct api_endpoint *endpoint, const json_t *body,
                          const struct batch_call_live *live, batch_call_fn fn, void *ctx,
                          struct batch_call **ret, struct err *err)
{
    struct slot *slot;
    struct batch_call *c = mem_zero(1, sizeof *c);
    *c = (struct batch_call){.server = s, .fn = fn, .ctx = ctx, .live = *live};
    buf_init(&c->out, ANSWER_BYTES_MAX);
    c->body = (json_t *)body;
    int code = endpoint->parse(body, NULL, &c->request, err);
    if (code == 0)
        code = find_slot(c, &slot, err);
    if (code == 0)
        code = check_room(c, slot, who, err);
    if (code == 0)
        code = prepare(c, slot, err);
    if (code == 0) {
        set_owner(c, who, live->priority);
        snprintf(c->answer->id, sizeof c->answer->id, "%s", live->id);
        c->answer->created_ms = live->created_ms;
        code = submit(c, slot, err);
    }
    if (code != 0)
        call_free(c);
    else
        *ret = c;
    return code;
}

struct api_answer *batch_call_answer(const struct batch_call *c)
{
    return c->answer;
}

const char *batch_call_model(const struct batch_call *c)
{
    return c->slot->name;
}
