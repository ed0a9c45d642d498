/*
 * completions: one API call from body to answer: checks it, puts a job per prompt on the model's
 * slot, and turns their news into the answer.
 *
 * The 200 of a stream is sent once every prompt was accepted, so that what can be refused is
 * refused with a status. After that an error is an event in the stream, and the stream ends
 * without [DONE]. A call ends in exactly one of: finish, fail, on_gone, or an overflowing client.
 */
#include "gateway/server.h"

#include "api/openai.h"
#include "base/clock.h"
#include "base/mem.h"
#include "gateway/generation.h"
#include "gateway/inquiry.h"
#include "gateway/ledger.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PING_MS          15000 /* a comment in a silent stream, so that proxies keep it open */
#define QUEUE_TELL_MS    2000  /* in a stream that waits: its place, when it changed */
#define ANSWER_BYTES_MAX (1u << 30)

struct call {
    struct server *server;
    struct exchange *x;
    const struct slot *slot;             /* stays while jobs of it run */
    const struct caller *caller;         /* the exchange's: both go when it is over */
    struct trace *trace;                 /* likewise */
    struct model_metrics *model_metrics; /* NULL until the model was found */
    bool counted;                        /* callers_begin said yes */
    json_t *body;
    struct api_request request;
    struct api_answer *answer; /* owned; NULL until the request was found good */
    char model[GENERATION_MODEL_MAX];
    struct job **job; /* [request.n_prompt]; NULL when over */
    int n_accepted, n_done;
    bool begun, started;
    bool was_loading; /* the model was not in memory when the call came */
    struct buf out;
    int64_t *last_ns; /* [n_choice] of the latest text, for the metric; 0 before the first */
    int64_t submit_ns;
    int64_t told_position; /* in the queue */
    int64_t priority;      /* enum gen_priority */
    uv_timer_t *ping;
    struct call_keeper keeper; /* or nobody */
    bool kept;
};

static void on_handle_closed(uv_handle_t *handle)
{
    free(handle);
}

/* What it took is known now, in whichever way it ended. */
static void count_call(struct call *c, bool client_left)
{
    const struct trace *r = c->trace;
    struct model_metrics *m = c->model_metrics;
    c->trace->gone = client_left;
    if (c->counted)
        callers_end(&c->server->callers, c->caller, r->n_prompt, r->n_cached, r->n_completion);
    if (m == NULL)
        return;
    if (r->started_ns != 0) /* what was computed is owed, whoever left or failed then */
        ledger_add(c->server->ledger, c->caller->name, r->model, gen_priority_word(c->priority),
                   &(struct ledger_use){
                       .requests = 1,
                       .prompt_tokens = r->n_prompt,
                       .cached_tokens = r->n_cached,
                       .completion_tokens = r->n_completion,
                       .engine_s = (c->answer->prefill_ms + c->answer->decode_ms) / 1000,
                   });
    m->outcome[client_left        ? OUTCOME_CANCELLED
               : r->err_code != 0 ? OUTCOME_FAILED
                                  : OUTCOME_DONE]++;
    m->prompt_tokens += (uint64_t)r->n_prompt;
    m->cached_tokens += (uint64_t)r->n_cached;
    m->completion_tokens += (uint64_t)r->n_completion;
}

/* Frees the call; jobs that still run are cancelled. The exchange is not touched. */
static void call_free(struct call *c, bool client_left)
{
    count_call(c, client_left);
    if (c->keeper.over != NULL)
        c->keeper.over(c->keeper.ctx, c->answer);
    for (int i = 0; c->job != NULL && i < c->request.n_prompt; i++)
        if (c->job[i] != NULL)
            job_cancel(c->job[i], client_left);
    if (c->ping != NULL) {
        uv_timer_stop(c->ping);
        uv_close((uv_handle_t *)c->ping, on_handle_closed);
    }
    api_answer_free(c->answer);
    api_request_release(&c->request);
    buf_release(&c->out);
    json_decref(c->body);
    free(c->job);
    free(c->last_ns);
    free(c);
}

static void on_gone(struct exchange *x, void *ctx)
{
    (void)x;
    call_free(ctx, true);
}

/* Sends what was gathered. False: the client was dropped and the call is freed. */
static bool flush(struct call *c)
{
    if (!c->begun || c->out.len == 0)
        return true;
    if (!exchange_write(c->x, buf_str(&c->out))) {
        call_free(c, true);
        return false;
    }
    buf_clear(&c->out);
    return true;
}

static void fail(struct call *c, const struct err *err, const struct api_counts *counts)
{
    trace_failed(c->trace, err);
    if (c->begun) {
        (void)!c->request.endpoint->fail(c->answer, err, &c->out); /* flushed: there is room */
        if (!flush(c))
            return;
        exchange_end(c->x);
    } else {
        if (err->code == ERR_UNAVAILABLE)
            exchange_add_header(c->x, "Retry-After", "1");
        if (err->code == ERR_INTERNAL) /* what kills a worker once does it again */
            exchange_add_header(c->x, "X-Should-Retry", "false");
        reply_error(c->x, err, counts);
    }
    call_free(c, false);
}

static void fail_full(struct call *c)
{
    struct err err = generation_error_full();
    buf_clear(&c->out); /* it holds half an event */
    fail(c, &err, NULL);
}

/* ---- news from the jobs ---- */

/* The place of the job that waits longest; false when none waits. */
static bool find_wait(const struct call *c, struct slot_wait *ret)
{
    *ret = (struct slot_wait){0};
    for (int i = 0; i < c->request.n_prompt; i++) {
        struct slot_wait wait;
        if (c->job[i] != NULL && job_wait(c->job[i], &wait) && wait.position > ret->position)
            *ret = wait;
    }
    return ret->position > 0;
}

static void tell_wait(struct call *c, const struct slot_wait *wait)
{
    c->told_position = wait->position;
    buf_printf(&c->out, ": queued, position %" PRId64, wait->position);
    if (wait->seconds > 0)
        buf_printf(&c->out, ", about %.0f s", ceil(wait->seconds));
    buf_add_z(&c->out, "\n\n");
}

static void on_ping(uv_timer_t *t)
{
    struct call *c = t->data;
    struct slot_wait wait;
    const struct api_endpoint *endpoint = c->request.endpoint;
    bool silent = exchange_idle_ms(c->x) >= PING_MS;
    if (endpoint->has_comments && find_wait(c, &wait) &&
        (silent || wait.position != c->told_position))
        tell_wait(c, &wait);
    else if (silent && endpoint->ping != NULL)
        buf_add_z(&c->out, endpoint->ping);
    (void)!flush(c);
}

static void begin_stream(struct call *c)
{
    struct buf text = c->out; /* what came before all prompts were accepted */
    buf_init(&c->out, text.max);
    c->begun = true;
    exchange_add_header(c->x, "Cache-Control", "no-cache");
    exchange_add_header(c->x, "X-Accel-Buffering", "no");
    exchange_begin(c->x, 200, c->request.endpoint->stream_type);
    struct slot_wait wait;
    if (c->request.endpoint->has_comments && find_wait(c, &wait))
        tell_wait(c, &wait);
    bool ok =
        c->request.endpoint->begin(c->answer, &c->out) && buf_add_str(&c->out, buf_str(&text));
    buf_release(&text);
    c->ping = mem_zero(1, sizeof *c->ping);
    c->ping->data = c;
    uv_timer_init(&c->server->loop, c->ping);
    uv_timer_start(c->ping, on_ping, QUEUE_TELL_MS, QUEUE_TELL_MS);
    if (!ok)
        fail_full(c);
    else
        (void)!flush(c);
}

static void finish(struct call *c)
{
    c->trace->n_prompt = c->answer->n_prompt; /* the worker's own counts at the end */
    c->trace->n_cached = c->answer->n_cached;
    c->trace->n_completion = c->answer->n_completion;
    if (c->keeper.complete != NULL && !c->kept) {
        c->kept = true;
        if (c->keeper.complete(c->keeper.ctx, c, c->answer))
            return;
    }
    if (c->request.stream) {
        if (!c->request.endpoint->finish(c->answer, &c->out)) {
            fail_full(c);
            return;
        }
        if (!flush(c))
            return;
        exchange_end(c->x);
    } else {
        struct buf whole;
        buf_init(&whole, ANSWER_BYTES_MAX);
        bool ok = c->request.endpoint->whole(c->answer, &whole);
        if (ok)
            exchange_reply(c->x, 200, "application/json", buf_str(&whole));
        buf_release(&whole);
        if (!ok) {
            fail_full(c);
            return;
        }
    }
    call_free(c, false);
}

void completions_go_on(struct call *c)
{
    finish(c);
}

void completions_fail(struct call *c, const struct err *err)
{
    fail(c, err, NULL);
}

static struct buf *stream_out(struct call *c)
{
    return c->request.stream ? &c->out : NULL;
}

static void count_text(struct call *c, int i_prompt, const struct gen_delta *d)
{
    struct model_metrics *m = c->model_metrics;
    trace_text(c->trace, (int64_t)d->n_tokens);
    if (d->index < 0 || d->index >= c->answer->n_per_prompt || d->text_len == 0)
        return;
    int64_t *last_ns = &c->last_ns[i_prompt * c->answer->n_per_prompt + (int)d->index];
    int64_t now_ns = clock_ns();
    if (*last_ns != 0)
        histogram_add(&m->itl, (double)(now_ns - *last_ns) * 1e-9);
    else if (!c->started)
        histogram_add(&m->ttft, (double)(now_ns - exchange_start_ns(c->x)) * 1e-9);
    c->started = true;
    *last_ns = now_ns;
}

static void on_job_error(struct call *c, int tag, const struct gen_error *e)
{
    struct api_counts counts;
    struct err err = generation_error(e, c->request.endpoint, &counts);
    c->job[tag] = NULL;
    fail(c, &err, &counts);
}

static void on_accepted(struct call *c)
{
    struct slot_wait wait;
    char text[24];
    if (c->n_accepted == 0) {
        api_answer_fingerprint(c->answer, c->slot->ready.fingerprint);
        if (c->was_loading)
            c->answer->load_ms = (double)(clock_ns() - c->submit_ns) * 1e-6;
    }
    if (++c->n_accepted < c->request.n_prompt)
        return;
    if (find_wait(c, &wait)) { /* told once the answer begins, of the time it was accepted */
        snprintf(text, sizeof text, "%" PRId64, wait.position);
        exchange_add_header(c->x, "X-Hearth-Queue-Position", text);
    }
    if (c->answer->n_dropped > 0) {
        snprintf(text, sizeof text, "%" PRId64, c->answer->n_dropped);
        exchange_add_header(c->x, "X-Hearth-Dropped-Messages", text);
    }
    if (c->request.stream)
        begin_stream(c);
}

static void on_news(void *ctx, int tag, const struct job_news *news)
{
    struct call *c = ctx;
    bool ok = true;
    switch (news->event) {
    case JOB_ACCEPTED:
        c->answer->n_prompt_taken += news->n_prompt;
        c->answer->n_dropped += news->n_dropped;
        trace_accepted(c->trace, news->n_prompt);
        on_accepted(c);
        return;
    case JOB_STARTED:
        trace_started(c->trace, news->n_cached);
        histogram_add(&c->model_metrics->queue, (double)(clock_ns() - c->submit_ns) * 1e-9);
        c->answer->n_cached_taken += news->n_cached;
        if (c->begun && c->answer->endpoint->started != NULL)
            ok = c->answer->endpoint->started(c->answer, &c->out);
        break;
    case JOB_RESUMED:
        trace_restarted(c->trace);
        return;
    case JOB_DELTA:
        count_text(c, tag, news->delta);
        ok = c->answer->endpoint->delta(c->answer, tag, news->delta, stream_out(c));
        break;
    case JOB_END:
        trace_end(c->trace, gen_reason_word(news->end->reason));
        ok = c->answer->endpoint->end(c->answer, tag, news->end, stream_out(c));
        break;
    case JOB_DONE:
        c->job[tag] = NULL;
        api_answer_done(c->answer, news->done);
        trace_times(c->trace, news->done->queue_ms, news->done->prefill_ms, news->done->decode_ms);
        if (++c->n_done == c->request.n_prompt) {
            finish(c);
            return;
        }
        break;
    case JOB_ERROR:
        on_job_error(c, tag, news->error);
        return;
    case JOB_TEXT:
        return; /* the answer to what was not asked */
    }
    if (!ok)
        fail_full(c);
    else
        (void)!flush(c);
}

/* ---- from the body to jobs ---- */

static int prepare(struct call *c, const struct slot *slot, struct err *err)
{
    int code = generation_prepare(c->body, &c->request, slot, &c->answer, err);
    if (code != 0)
        return code;
    c->trace->n_volatile = c->request.removed.n_billing + c->request.removed.n_budget;
    c->job = mem_zero((size_t)c->request.n_prompt, sizeof *c->job);
    c->last_ns = mem_zero((size_t)c->answer->n_choice, sizeof *c->last_ns);
    if (c->keeper.id != NULL)
        snprintf(c->answer->id, sizeof c->answer->id, "%s", c->keeper.id);
    return 0;
}

/* A full queue is the server's own limit (503), a share of it the key's (429). */
static int check_room(struct call *c, const struct slot *slot, struct err *err)
{
    int retry_s = 1;
    char text[16];
    struct callers *callers = &c->server->callers;
    bool others = callers_n(callers) > 1;
    int code = generation_check_units(&c->request, slot, others, err);
    if (code != 0)
        return code;
    enum slot_room room = slot_has_room(slot, c->caller->tenant, others,
                                        c->request.gen.n * c->request.n_prompt, &retry_s);
    if (room == SLOT_ROOM_YES)
        return 0;
    snprintf(text, sizeof text, "%d", retry_s);
    exchange_add_header(c->x, "Retry-After", text);
    if (room == SLOT_ROOM_SHARE) {
        c->server->metrics.refused_share++;
        callers_refused(callers, c->caller);
        return err_set(err, API_ERR_RATE,
                       "requests of the key '%s' wait for the model '%s', as many as its share of "
                       "the queue: what is free there is for other keys; try again in about %d s",
                       c->caller->name, slot->name, retry_s);
    }
    c->server->metrics.refused_full++;
    return err_set(err, ERR_BUSY,
                   "the model '%s' has %" PRId64 " requests waiting or running, the most this "
                   "server takes; try again in about %d s",
                   slot->name, slot->n_jobs, retry_s);
}

static int submit(struct call *c, struct slot *slot, struct err *err)
{
    c->submit_ns = clock_ns();
    c->was_loading = slot->state != SLOT_READY;
    c->slot = slot;
    for (int i = 0; i < c->request.n_prompt; i++) {
        uint64_t id = models_next_id(&c->server->models);
        json_t *frame = api_request_frame(&c->request, i, id);
        if (frame == NULL)
            return err_set(err, ERR_NOMEM, "out of memory for the request");
        if (i == 0)
            c->trace->job_id = id;
        if (i == 0)
            traces_keep_prompt(&c->server->traces, c->trace, frame);
        c->job[i] = slot_submit(slot, id, frame, c->request.gen.n, i, on_news, c);
    }
    /* The frames have it all; what the client sent is not held while it waits. */
    api_request_release(&c->request);
    json_decref(c->body);
    c->body = NULL;
    return 0;
}

/* Who goes first, and for whom: the key's own class, or the lower one that the header asks for. */
int completions_priority(const struct exchange *x, const struct caller *who, int64_t *ret,
                         struct err *err)
{
    const char *word = exchange_header(x, "X-Hearth-Priority");
    int64_t asked = who->priority;
    if (word != NULL && !gen_priority_of_word(str_trim(str_z(word)), &asked))
        return err_set_param(err, ERR_INVALID, "X-Hearth-Priority",
                             "the header X-Hearth-Priority is '%.64s'; it takes interactive, "
                             "agent, background or batch",
                             word);
    *ret = asked > who->priority ? asked : who->priority;
    return 0;
}

static int set_owner(struct call *c, struct err *err)
{
    struct gen_request *gen = &c->request.gen;
    int code = completions_priority(c->x, c->caller, &gen->priority, err);
    gen->tenant = c->caller->tenant;
    gen->salt = c->caller->salt;
    c->priority = gen->priority;
    return code;
}

/* The key's own limits: 429, where the server's are 503. */
static int check_limits(struct call *c, struct err *err)
{
    int retry_s = 1;
    char text[16];
    int code = callers_begin(&c->server->callers, c->caller, &retry_s, err);
    c->counted = code == 0;
    if (code != 0) {
        snprintf(text, sizeof text, "%d", retry_s);
        exchange_add_header(c->x, "Retry-After", text);
    }
    return code;
}

static int find_slot(struct call *c, struct slot **ret, struct err *err)
{
    int code = models_find(&c->server->models, c->model, false, ret, err);
    if (code != 0)
        return code;
    snprintf(c->trace->model, sizeof c->trace->model, "%s", (*ret)->name);
    c->model_metrics = metrics_model(&c->server->metrics, (*ret)->name);
    if (c->caller->admin) /* another key's wish to unload or to keep is not heard */
        models_keep(&c->server->models, *ret, c->request.keep_alive_given,
                    c->request.keep_alive_ms);
    return 0;
}

static int start(struct call *c, const struct api_endpoint *endpoint, struct err *err)
{
    struct slot *slot;
    if (c->body == NULL) {
        c->body = json_parse(exchange_body(c->x), JSON_DEPTH_MAX, err);
        exchange_drop_body(c->x);
    }
    if (c->body == NULL)
        return err->code;
    int code = endpoint->parse(c->body, NULL, &c->request, err);
    if (code != 0)
        return code;
    code = generation_model(c->server, &c->request, c->model, err);
    if (code == 0)
        code = check_limits(c, err);
    if (code == 0)
        code = find_slot(c, &slot, err);
    if (code == 0)
        code = check_room(c, slot, err);
    if (code == 0)
        code = prepare(c, slot, err);
    if (code == 0)
        code = set_owner(c, err);
    if (code == 0)
        code = submit(c, slot, err);
    return code;
}

void completions_serve_body(struct server *s, struct exchange *x,
                            const struct api_endpoint *endpoint, json_t *body,
                            const struct call_keeper *keeper)
{
    struct err err = {0};
    struct call *c = mem_zero(1, sizeof *c);
    struct visit *v = routes_visit(x);
    if (v->trace == NULL)
        v->trace = traces_open(&s->traces, exchange_id(x), &v->caller, endpoint->path,
                               exchange_start_ns(x));
    c->server = s;
    c->x = x;
    c->body = body;
    if (keeper != NULL)
        c->keeper = *keeper;
    c->caller = &v->caller;
    c->trace = v->trace;
    api_request_init(&c->request, endpoint);
    buf_init(&c->out, 64u << 20);
    exchange_on_gone(x, on_gone, c);
    if (start(c, endpoint, &err) != 0)
        fail(c, &err, NULL);
}

void completions_serve(struct server *s, struct exchange *x, const struct api_endpoint *endpoint)
{
    completions_serve_body(s, x, endpoint, NULL, NULL);
}

void completions_chat(struct server *s, struct exchange *x)
{
    completions_serve(s, x, &openai_chat);
}

void completions_text(struct server *s, struct exchange *x)
{
    completions_serve(s, x, &openai_completion);
}
