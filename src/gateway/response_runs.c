/*
 * response_runs: see response_runs.h. Owns the list of runs that are not over.
 *
 * A run's life: RUN_SAVING -> RUN_WAITING -> RUN_RUNNING -> RUN_ENDING, and gone. `told` is its
 * answer while no call has one.
 */
#include "gateway/response_runs.h"

#include "api/responses.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "gateway/batch_call.h"
#include "gateway/conversations.h"
#include "gateway/generation.h"
#include "gateway/ledger.h"
#include "gateway/response_watch.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TICK_MS        100
#define WAIT_MS        200                           /* for a place in a queue */
#define STRIKES_MAX    5                             /* the model could not be had */
#define STRIKE_MS      2000                          /* times their number */
#define SAVE_MS        2000                          /* until the database is tried again */
#define RUN_EVENTS_MAX (RESPONSE_EVENTS_MAX / 4 * 3) /* the end needs room, too */

enum run_state { RUN_SAVING, RUN_WAITING, RUN_RUNNING, RUN_ENDING };

struct run {
    struct response_runs *all;
    struct run *next; /* younger */
    enum run_state state;
    struct response_row row;
    json_t *body; /* owned */
    size_t body_bytes;
    struct api_answer *told; /* owned */
    int64_t created_ms;
    struct batch_call *call; /* while it runs */
    struct caller who;
    bool counted;
    int strikes;
    int64_t wait_until_ms;
    struct response_watch watch;
    struct exchange *creator; /* to be answered once it is stored; or NULL */
    bool streams;             /* the creator watches */
    bool posted;              /* its end is with the state thread */
    bool full;                /* its stream is: it is to be stopped */
    struct err err;           /* of the last step of the state thread */
};

struct response_runs {
    struct server *server;
    struct run *first;
    uv_timer_t *timer;
    bool stopped;
    bool loading;
    size_t bytes;
    int n_running;
    uint64_t n_over;
};

/* What an earlier server left, one at a time. */
struct loading {
    struct response_runs *all;
    struct response_row row;
    int64_t seq, n_starts;
    int found;
    struct err err;
};

/* ---- life ---- */

static void run_free(struct run *r)
{
    struct response_runs *all = r->all;
    struct run **at = &all->first;
    while (*at != NULL && *at != r)
        at = &(*at)->next;
    if (*at == r)
        *at = r->next;
    all->bytes -= r->body_bytes;
    if (r->call != NULL)
        batch_call_cancel(r->call);
    if (r->creator != NULL)
        exchange_on_gone(r->creator, NULL, NULL);
    conversations_unlock(all->server, r->row.id);
    response_watch_release(&r->watch);
    response_row_release(&r->row);
    api_answer_free(r->told);
    json_decref(r->body);
    free(r);
}

/* Of a row and its request, both taken. NULL: err says what is wrong with it. */
static struct run *run_new(struct response_runs *all, struct response_row *row, json_t *body,
                           struct err *err)
{
    struct api_request request;
    struct run *r = mem_zero(1, sizeof *r);
    *r = (struct run){.all = all, .row = *row, .body = body, .state = RUN_WAITING};
    *row = (struct response_row){0};
    r->body_bytes = r->row.body.len;
    r->created_ms = r->row.created_s * 1000;
    all->bytes += r->body_bytes;
    response_watch_init(&r->watch);
    int code = openai_responses.parse(body, NULL, &request, err);
    if (code == 0) {
        r->told = api_answer_new(&request, r->row.id, r->created_ms, r->row.model);
        api_request_release(&request);
    }
    struct buf events;
    buf_init(&events, RESPONSE_EVENTS_MAX);
    if (code == 0 && (r->told == NULL || !responses_answer_queue(r->told, &events) ||
                      !response_watch_add(&r->watch, buf_str(&events))))
        code = err_set(err, ERR_NOMEM, "out of memory for the response");
    buf_release(&events);
    if (code != 0) {
        run_free(r);
        return NULL;
    }
    response_watch_show(&r->watch, false);
    return r;
}

static void on_tick(uv_timer_t *t);

static void join(struct run *r)
{
    struct run **at = &r->all->first;
    while (*at != NULL)
        at = &(*at)->next;
    *at = r;
    if (!r->all->stopped)
        uv_timer_start(r->all->timer, on_tick, 0, 0);
}

static struct run *find(const struct response_runs *all, const char *owner, const char *id)
{
    struct run *r = all == NULL ? NULL : all->first;
    while (r != NULL && (strcmp(r->row.id, id) != 0 || strcmp(r->row.owner, owner) != 0))
        r = r->next;
    return r;
}

/* ---- the end ---- */

static void finish_work(struct state *state, void *ctx)
{
    struct run *r = ctx;
    err_clear(&r->err);
    (void)!response_store_finish(state_db(state), &r->row, &r->err);
}

/* Watchers hear the end although it could not be written: that is tried again. */
static void on_finished(void *ctx)
{
    struct run *r = ctx;
    r->posted = false;
    response_watch_show(&r->watch, true);
    if (r->err.code != 0) {
        log_warn("response %s is over and not stored yet: %s", r->row.id, r->err.text);
        r->wait_until_ms = clock_ms() + SAVE_MS;
        return;
    }
    r->all->n_over++;
    conversations_unlock(r->all->server, r->row.id);
    if (r->watch.watchers == NULL) /* else the tick frees it when the last one has all */
        run_free(r);
}

static void post_end(struct run *r)
{
    r->posted = true;
    state_post(r->all->server->state, finish_work, on_finished, r);
}

/* The answer is as it will be; `last` are its last events. */
static void end_run(struct run *r, struct api_answer *a, struct str last)
{
    r->state = RUN_ENDING;
    snprintf(r->row.status, sizeof r->row.status, "%s", responses_answer_status(a));
    snprintf(r->row.model, sizeof r->row.model, "%s", a->model);
    buf_clear(&r->row.object);
    if (!a->endpoint->whole(a, &r->row.object) || !response_watch_add(&r->watch, last))
        log_warn("response %s: its end does not fit", r->row.id);
    buf_clear(&r->row.events);
    buf_add_str(&r->row.events, buf_str(&r->watch.text));
    post_end(r);
}

/* What it took is owed. */
static void count(struct run *r)
{
    struct server *s = r->all->server;
    const struct api_answer *a = batch_call_answer(r->call);
    r->all->n_running--;
    if (r->counted)
        callers_end(&s->callers, &r->who, a->n_prompt, a->n_cached, a->n_completion);
    r->counted = false;
    if (a->n_prompt > 0)
        ledger_add(s->ledger, r->row.owner, batch_call_model(r->call),
                   gen_priority_word(r->row.priority),
                   &(struct ledger_use){.requests = 1,
                                        .prompt_tokens = a->n_prompt,
                                        .cached_tokens = a->n_cached,
                                        .completion_tokens = a->n_completion,
                                        .engine_s = (a->prefill_ms + a->decode_ms) / 1000});
}

/* It ends before its end: cancelled (err NULL) or failed. */
static void stop_run(struct run *r, struct api_answer *a, const struct err *err)
{
    struct buf last;
    buf_init(&last, RESPONSE_EVENTS_MAX);
    responses_answer_stop(a, err);
    if (!responses_answer_stop_event(a, &last))
        buf_clear(&last);
    end_run(r, a, buf_str(&last));
    buf_release(&last);
}

static void on_outcome(void *ctx, const struct batch_outcome *o)
{
    struct run *r = ctx;
    struct server *s = r->all->server;
    struct api_answer *a = batch_call_answer(r->call);
    count(r);
    r->call = NULL; /* freed after this */
    if (o->status == 200) {
        end_run(r, a, o->last);
    } else if (o->again && (s->draining || s->stopping || r->all->stopped)) {
        r->state = RUN_WAITING; /* for the next server */
        r->wait_until_ms = INT64_MAX;
    } else if (o->again && !responses_answer_begun(a) && ++r->strikes < STRIKES_MAX) {
        r->state = RUN_WAITING;
        r->wait_until_ms = clock_ms() + STRIKE_MS * r->strikes;
    } else {
        stop_run(r, a, &o->err);
    }
}

/* ---- running ---- */

static void on_text(void *ctx, struct str stream)
{
    struct run *r = ctx;
    r->full = r->full || r->watch.text.len + stream.len > RUN_EVENTS_MAX ||
              !response_watch_add(&r->watch, stream);
    response_watch_show(&r->watch, false);
}

static void begin_work(struct state *state, void *ctx)
{
    struct response_row *row = ctx;
    (void)!response_store_begin(state_db(state), row->id, NULL);
}

static void on_begun(void *ctx)
{
    free(ctx);
}

static void note_start(struct run *r)
{
    struct response_row *copy = mem_zero(1, sizeof *copy);
    strcpy(copy->id, r->row.id);
    state_post(r->all->server->state, begin_work, on_begun, copy);
}

static int try_start(struct run *r, int *ret_retry_ms, struct err *err)
{
    struct server *s = r->all->server;
    int retry_s = 1;
    if (!callers_find(&s->callers, r->row.owner, &r->who))
        return err_set(err, ERR_AUTH, "the API key that made this response was revoked");
    int code = callers_begin(&s->callers, &r->who, &retry_s, err);
    if (code != 0) {
        *ret_retry_ms = retry_s * 1000;
        return code;
    }
    code = batch_call_start_live(s, &r->who, &openai_responses, r->body,
                                 &(struct batch_call_live){.id = r->row.id,
                                                           .created_ms = r->created_ms,
                                                           .priority = r->row.priority,
                                                           .text = on_text},
                                 on_outcome, r, &r->call, err);
    r->counted = code == 0;
    if (code != 0)
        callers_end(&s->callers, &r->who, 0, 0, 0);
    *ret_retry_ms = WAIT_MS;
    return code;
}

static void start_run(struct run *r)
{
    struct err err = {0};
    int retry_ms = 0;
    int code = try_start(r, &retry_ms, &err);
    if (code == 0) {
        r->state = RUN_RUNNING;
        r->all->n_running++;
        note_start(r);
    } else if (code == ERR_BUSY || code == API_ERR_RATE) {
        r->wait_until_ms = clock_ms() + retry_ms;
    } else if ((code == ERR_UNAVAILABLE || code == ERR_NOMEM) && ++r->strikes < STRIKES_MAX) {
        r->wait_until_ms = clock_ms() + STRIKE_MS * r->strikes;
    } else {
        stop_run(r, r->told, &err);
    }
}

static void stop_full(struct run *r)
{
    struct err err = generation_error_full();
    struct batch_call *call = r->call;
    count(r);
    r->call = NULL;
    stop_run(r, batch_call_answer(call), &err);
    batch_call_cancel(call);
}

static void advance(struct run *r)
{
    bool now = clock_ms() >= r->wait_until_ms;
    if (r->state == RUN_WAITING && !r->all->server->draining && now)
        start_run(r);
    else if (r->state == RUN_RUNNING && r->full)
        stop_full(r);
    else if (r->state == RUN_ENDING && !r->posted && r->err.code != 0 && now)
        post_end(r);
    else if (r->state == RUN_ENDING && !r->posted && r->err.code == 0 && r->watch.watchers == NULL)
        run_free(r);
}

static void on_tick(uv_timer_t *t)
{
    struct response_runs *all = t->data;
    struct run *next;
    for (struct run *r = all->first; r != NULL; r = next) {
        next = r->next;
        response_watch_tick(&r->watch);
        advance(r);
    }
    if (all->first != NULL && !all->stopped)
        uv_timer_start(t, on_tick, TICK_MS, 0);
}

/* ---- a new one ---- */

static void on_creator_gone(struct exchange *x, void *ctx)
{
    (void)x;
    ((struct run *)ctx)->creator = NULL;
}

static void insert_work(struct state *state, void *ctx)
{
    struct run *r = ctx;
    (void)!response_store_insert(state_db(state), &r->row, &r->err);
}

static void on_inserted(void *ctx)
{
    struct run *r = ctx;
    struct exchange *x = r->creator;
    if (r->err.code != 0) {
        struct err err = r->err;
        r->creator = NULL;
        run_free(r);
        if (x != NULL)
            reply_error(x, &err, NULL);
        return;
    }
    buf_release(&r->row.body); /* `body` has it */
    buf_init(&r->row.body, 0);
    r->state = RUN_WAITING;
    r->creator = NULL;
    if (x != NULL && r->streams)
        response_watch_join(&r->watch, x, 0);
    else if (x != NULL)
        exchange_reply(x, 200, "application/json", buf_str(&r->row.object));
    if (!r->all->stopped)
        uv_timer_start(r->all->timer, on_tick, 0, 0);
}

static int check_bounds(const struct response_runs *all, const struct response_row *row,
                        struct err *err)
{
    int n = 0;
    for (const struct run *r = all->first; r != NULL; r = r->next)
        n += strcmp(r->row.owner, row->owner) == 0;
    if (n >= RUNS_OF_KEY_MAX)
        return err_set(err, API_ERR_RATE,
                       "%d responses of this key wait or run in the background, the most this "
                       "server takes",
                       n);
    if (all->bytes + row->body.len > RUNS_BYTES_MAX)
        return err_set(err, ERR_BUSY, "too much waits in the background; try again later");
    return 0;
}

/* So that who computes it again computes the same. */
static int set_seed(json_t *body, const struct api_request *request, struct err *err)
{
    json_int_t seed = (json_int_t)(request->gen.sampling.seed >> 1);
    if (request->seed_given)
        return 0;
    return json_object_set_new(body, "seed", json_integer(seed)) == 0
               ? 0
               : err_set(err, ERR_NOMEM, "out of memory for the response");
}

static int complete_row(struct server *s, struct exchange *x, struct response_row *row,
                        json_t *body, bool *ret_streams, struct err *err)
{
    struct api_request request;
    struct slot *slot;
    char name[GENERATION_MODEL_MAX];
    int code = openai_responses.parse(body, NULL, &request, err);
    if (code != 0)
        return code;
    *ret_streams = request.stream;
    code = generation_model(s, &request, name, err);
    if (code == 0)
        code = models_find(&s->models, name, false, &slot, err);
    if (code == 0)
        code = set_seed(body, &request, err);
    api_request_release(&request);
    if (code == 0)
        code = completions_priority(x, &routes_visit(x)->caller, &row->priority, err);
    if (code != 0)
        return code;
    snprintf(row->model, sizeof row->model, "%s", slot->name);
    strcpy(row->status, "queued");
    row->background = true;
    row->created_s = clock_wall_ms() / 1000;
    if (!json_write(body, &row->body))
        return err_set(err, ERR_LIMIT, "the request is too large to be stored");
    return check_bounds(s->runs, row, err);
}

void response_runs_create(struct server *s, struct exchange *x, struct response_row *row,
                          json_t *body)
{
    struct err err = {0};
    bool streams = false;
    struct run *r = NULL;
    if (complete_row(s, x, row, body, &streams, &err) == 0)
        r = run_new(s->runs, row, body, &err);
    else
        json_decref(body);
    if (r != NULL && !r->told->endpoint->whole(r->told, &r->row.object)) {
        err_set(&err, ERR_LIMIT, "the request is too large to be stored");
        run_free(r);
        r = NULL;
    }
    if (r == NULL) {
        response_row_release(row);
        if (err.code == ERR_UNAVAILABLE)
            exchange_add_header(x, "Retry-After", "1");
        reply_error(x, &err, NULL);
        return;
    }
    r->state = RUN_SAVING;
    r->creator = x;
    r->streams = streams;
    exchange_on_gone(x, on_creator_gone, r);
    join(r);
    state_post(s->state, insert_work, on_inserted, r);
}

/* ---- what an earlier server left ---- */

static void load_work(struct state *state, void *ctx)
{
    struct loading *l = ctx;
    response_row_init(&l->row);
    l->found = response_store_next(state_db(state), &l->seq, &l->row, &l->n_starts, &l->err);
}

static void forget_work(struct state *state, void *ctx)
{
    struct response_row *row = ctx;
    (void)!response_store_finish(state_db(state), row, NULL);
}

static void on_forgotten(void *ctx)
{
    response_row_release(ctx);
    free(ctx);
}

/* It cannot even be read: what was told of it, as failed. */
static void give_up(struct response_runs *all, struct response_row *row, const struct err *err)
{
    struct response_row *copy = mem_zero(1, sizeof *copy);
    json_t *object = json_parse(buf_str(&row->object), JSON_DEPTH_MAX + 8, NULL);
    json_t *why = json_pack("{s:s, s:s}", "code", "server_error", "message", err->text);
    *copy = *row;
    strcpy(copy->status, "failed");
    if (object != NULL && why != NULL && json_object_set(object, "error", why) == 0 &&
        json_object_set_new(object, "status", json_string("failed")) == 0) {
        buf_clear(&copy->object);
        json_write(object, &copy->object);
    }
    json_decref(object);
    json_decref(why);
    log_error("response %s cannot go on: %s", copy->id, err->text);
    state_post(all->server->state, forget_work, on_forgotten, copy);
}

static void take_loaded(struct response_runs *all, struct loading *l)
{
    struct err err = {0};
    json_t *body = json_parse(buf_str(&l->row.body), JSON_DEPTH_MAX + 8, &err);
    struct response_row row = l->row;
    struct run *r = NULL;
    if (body != NULL) {
        struct buf object = row.object; /* in case that it is of no use */
        buf_init(&row.object, object.max);
        char id[ID_MAX];
        strcpy(id, row.id);
        r = run_new(all, &row, body, &err);
        if (r != NULL) {
            r->row.object = object;
        } else {
            response_row_init(&row);
            row.object = object;
            strcpy(row.id, id);
        }
    }
    if (r == NULL) {
        give_up(all, &row, &err);
        return;
    }
    buf_release(&r->row.body);
    buf_init(&r->row.body, 0);
    join(r);
    if (r->row.conversation[0] != '\0' &&
        conversations_lock(all->server, r->row.owner, r->row.conversation, r->row.id, NULL) != 0)
        log_warn("response %s goes on in a conversation that another one runs in", r->row.id);
    if (l->n_starts >= RUN_STARTS_MAX) {
        err_set(&err, ERR_INTERNAL, "the server ended %d times while this response was computed",
                RUN_STARTS_MAX);
        stop_run(r, r->told, &err);
    }
}

static void on_loaded(void *ctx)
{
    struct loading *l = ctx;
    struct response_runs *all = l->all;
    if (l->err.code != 0)
        log_error("responses that an earlier server left cannot be read: %s", l->err.text);
    if (l->found <= 0 || all->stopped) {
        all->loading = false;
        response_row_release(&l->row);
        free(l);
        return;
    }
    log_info("response %s goes on in the background", l->row.id);
    take_loaded(all, l);
    state_post(all->server->state, load_work, on_loaded, l);
}

struct response_runs *response_runs_new(struct server *s)
{
    struct response_runs *all = mem_zero(1, sizeof *all);
    struct loading *l = mem_zero(1, sizeof *l);
    all->server = s;
    all->timer = mem_zero(1, sizeof *all->timer);
    all->timer->data = all;
    uv_timer_init(&s->loop, all->timer);
    l->all = all;
    all->loading = true;
    state_post(s->state, load_work, on_loaded, l);
    return all;
}

bool response_runs_loading(const struct response_runs *all)
{
    return all != NULL && all->loading;
}

static void on_timer_closed(uv_handle_t *handle)
{
    free(handle);
}

void response_runs_stop(struct response_runs *all)
{
    if (all == NULL || all->stopped)
        return;
    all->stopped = true;
    uv_timer_stop(all->timer);
    uv_close((uv_handle_t *)all->timer, on_timer_closed);
    for (struct run *r = all->first; r != NULL; r = r->next) {
        if (r->call != NULL)
            batch_call_cancel(r->call);
        r->call = NULL;
    }
}

void response_runs_free(struct response_runs *all)
{
    if (all == NULL)
        return;
    while (all->first != NULL)
        run_free(all->first);
    free(all);
}

/* ---- what clients ask ---- */

bool response_runs_get(struct response_runs *all, struct exchange *x, const char *id)
{
    struct buf out;
    struct run *r = find(all, exchange_owner(x), id);
    if (r == NULL || r->state == RUN_SAVING)
        return false;
    if (r->state == RUN_ENDING && r->posted)
        return false; /* by way of the store, behind its end: its conversation is free by then */
    if (r->state == RUN_ENDING) {
        exchange_reply(x, 200, "application/json", buf_str(&r->row.object));
        return true;
    }
    struct api_answer *a = r->call == NULL ? r->told : batch_call_answer(r->call);
    buf_init(&out, RESPONSE_EVENTS_MAX);
    bool ok = a->endpoint->whole(a, &out);
    if (ok)
        exchange_reply(x, 200, "application/json", buf_str(&out));
    buf_release(&out);
    return ok;
}

bool response_runs_watch(struct response_runs *all, struct exchange *x, const char *id,
                         int64_t from)
{
    struct run *r = find(all, exchange_owner(x), id);
    if (r == NULL || r->state == RUN_SAVING)
        return false;
    response_watch_join(&r->watch, x, from);
    return true;
}

bool response_runs_cancel(struct response_runs *all, const char *owner, const char *id)
{
    struct run *r = find(all, owner, id);
    if (r == NULL || r->state == RUN_SAVING)
        return false;
    if (r->state == RUN_ENDING)
        return true;
    struct batch_call *call = r->call;
    if (call != NULL)
        count(r);
    r->call = NULL;
    stop_run(r, call == NULL ? r->told : batch_call_answer(call), NULL);
    if (call != NULL)
        batch_call_cancel(call);
    return true;
}

void response_runs_write_metrics(const struct response_runs *all, struct buf *out)
{
    int64_t n_waiting = 0;
    if (all == NULL)
        return;
    for (const struct run *r = all->first; r != NULL; r = r->next)
        n_waiting += r->state == RUN_WAITING || r->state == RUN_SAVING;
    metrics_head(out, "hearth_background_responses", "gauge",
                 "Responses that run without a client, by what they do.");
    buf_printf(out, "hearth_background_responses{state=\"waiting\"} %" PRId64 "\n", n_waiting);
    buf_printf(out, "hearth_background_responses{state=\"running\"} %d\n", all->n_running);
    metrics_head(out, "hearth_background_responses_total", "counter",
                 "Responses that ran without a client and are over.");
    buf_printf(out, "hearth_background_responses_total %" PRIu64 "\n", all->n_over);
}
