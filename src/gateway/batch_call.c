/*
 * batch_call: see batch_call.h. Owns the jobs of one line until the last of them is over.
 */
#include "gateway/batch_call.h"

#include "api/openai_answer.h"
#include "api/openai_batch.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/rng.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ANSWER_BYTES_MAX (256u << 20)

struct batch_call {
    struct server *server;
    const struct slot *slot; /* stays while jobs of it run */
    json_t *top, *body;      /* top owned, until it was submitted */
    struct openai_request request;
    struct openai_answer answer;
    bool answer_ready, accepted;
    struct job **job; /* [n_job]; NULL when over */
    int n_job, n_done;
    batch_call_fn fn;
    void *ctx;
};

static void call_free(struct batch_call *c)
{
    for (int i = 0; i < c->n_job; i++)
        if (c->job[i] != NULL)
            job_cancel(c->job[i], false);
    if (c->answer_ready)
        openai_answer_release(&c->answer);
    openai_request_release(&c->request);
    json_decref(c->top);
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
    api_error_write(API_OPENAI, err, counts, &body);
    tell(c, &o);
    buf_release(&body);
}

static void fail_full(struct batch_call *c)
{
    struct err err = {0};
    err_set(&err, ERR_LIMIT, "the answer grew beyond what the server holds for one request");
    fail(c, &err, NULL);
}

static void finish(struct batch_call *c)
{
    struct buf body;
    struct model_metrics *m = metrics_model(&c->server->metrics, c->slot->name);
    struct batch_outcome o = {
        .status = 200, .body = &body, .model = c->slot->name, .answer = &c->answer};
    m->outcome[OUTCOME_DONE]++;
    m->prompt_tokens += (uint64_t)c->answer.n_prompt;
    m->cached_tokens += (uint64_t)c->answer.n_cached;
    m->completion_tokens += (uint64_t)c->answer.n_completion;
    buf_init(&body, ANSWER_BYTES_MAX);
    if (openai_answer_whole(&c->answer, &body))
        tell(c, &o);
    else
        fail_full(c);
    buf_release(&body);
}

/* ---- news from the jobs ---- */

static void on_error(struct batch_call *c, int tag, const struct gen_error *e)
{
    const struct api_counts counts = {e->n_prompt, e->n_ctx};
    struct err err = e->err;
    c->job[tag] = NULL;
    if (err.code == ERR_CONTEXT_LENGTH && err.param[0] == '\0')
        strcpy(err.param, c->request.kind == OPENAI_CHAT ? "messages" : "prompt");
    fail(c, &err, &counts);
}

static void on_news(void *ctx, int tag, const struct job_news *news)
{
    static const char *const reason[] = {[GEN_STOP] = "stop", [GEN_LENGTH] = "length"};
    struct batch_call *c = ctx;
    bool ok = true;
    switch (news->event) {
    case JOB_ACCEPTED:
        ok = c->accepted || openai_answer_fingerprint(&c->answer, c->slot->ready.fingerprint);
        c->accepted = true;
        break;
    case JOB_DELTA:
        ok = openai_answer_delta(&c->answer, tag, news->delta, NULL);
        break;
    case JOB_END:
        ok = openai_answer_end(&c->answer, tag, news->end->index, reason[news->end->reason], NULL);
        break;
    case JOB_DONE:
        c->job[tag] = NULL;
        openai_answer_done(&c->answer, news->done);
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
    if (!ok)
        fail_full(c);
}

/* ---- the start ---- */

/* A place that nobody else waits for; a line of many choices runs when the model is idle. */
static int check_place(const struct batch_call *c, const struct slot *slot, struct err *err)
{
    int64_t places = slot->ready.n_seq_max > 0 ? slot->ready.n_seq_max : c->server->opts.parallel;
    int64_t n = c->request.gen.n * c->request.n_prompt;
    if (slot->n_units == 0 || slot->n_units + n <= places)
        return 0;
    return err_set(err, ERR_BUSY, "the model '%s' is busy with other requests", slot->name);
}

static int find_slot(struct batch_call *c, struct slot **ret, struct err *err)
{
    char name[512];
    struct str model = c->request.model;
    if (model.len == 0)
        model = str_z(c->server->startup_name);
    if (model.len == 0)
        return err_set_param(err, ERR_INVALID, "model", "'model' is missing");
    if (model.len >= sizeof name || memchr(model.ptr, '\0', model.len) != NULL)
        return err_set_param(err, ERR_NOT_FOUND, "model", "there is no model of such a name");
    memcpy(name, model.ptr, model.len);
    name[model.len] = '\0';
    return models_find(&c->server->models, name, false, ret, err);
}

static int prepare(struct batch_call *c, struct slot *slot, struct err *err)
{
    char id[48];
    uint64_t word[2];
    int code = completions_add_defaults(c->body, &c->request, slot, err);
    if (code != 0)
        return code;
    if (!openai_request_default_system(&c->request, slot->system_text))
        return err_set(err, ERR_NOMEM, "out of memory for the request");
    rng_system(word, sizeof word);
    snprintf(id, sizeof id, "%s-%016" PRIx64 "%08" PRIx32,
             c->request.kind == OPENAI_CHAT ? "chatcmpl" : "cmpl", word[0], (uint32_t)word[1]);
    c->answer_ready = true;
    if (!openai_answer_init(&c->answer, &c->request, id, clock_wall_ms() / 1000, slot->name))
        return err_set(err, ERR_NOMEM, "out of memory for the answer");
    c->job = mem_zero((size_t)c->request.n_prompt, sizeof *c->job);
    return 0;
}

static int submit(struct batch_call *c, struct slot *slot, struct err *err)
{
    c->slot = slot;
    for (int i = 0; i < c->request.n_prompt; i++) {
        uint64_t id = models_next_id(&c->server->models);
        json_t *frame = openai_request_frame(&c->request, i, id);
        if (frame == NULL)
            return err_set(err, ERR_NOMEM, "out of memory for the request");
        c->job[i] = slot_submit(slot, id, frame, c->request.gen.n, i, on_news, c);
        c->n_job++;
    }
    enum openai_kind kind = c->request.kind;
    openai_request_release(&c->request);
    c->request = (struct openai_request){.kind = kind};
    json_decref(c->top);
    c->top = c->body = NULL;
    return 0;
}

static int parse(struct batch_call *c, enum openai_kind kind, struct str line, struct err *err)
{
    c->top = json_parse(line, JSON_DEPTH_MAX, err);
    if (c->top == NULL)
        return err->code;
    c->body = json_object_get(c->top, "body");
    return openai_request_parse(kind, c->body, &c->request, err);
}

/* Lines go last, and share what is cached with their key's requests alone. */
static int find_owner(struct batch_call *c, const char *owner, struct err *err)
{
    struct caller who;
    struct gen_request *gen = &c->request.gen;
    if (!callers_find(&c->server->callers, owner, &who))
        return err_set(err, ERR_AUTH, "the API key that made this batch was revoked");
    gen->priority = GEN_BATCH;
    gen->tenant = who.tenant;
    gen->salt = who.salt;
    return 0;
}

int batch_call_start(struct server *s, const char *owner, enum openai_kind kind, struct str line,
                     batch_call_fn fn, void *ctx, struct batch_call **ret, struct err *err)
{
    struct slot *slot;
    struct batch_call *c = mem_zero(1, sizeof *c);
    *c = (struct batch_call){.server = s, .fn = fn, .ctx = ctx};
    int code = parse(c, kind, line, err);
    if (code == 0)
        code = find_slot(c, &slot, err);
    if (code == 0)
        code = check_place(c, slot, err);
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
