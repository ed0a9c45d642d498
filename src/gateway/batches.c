/*
 * batches: see batches.h. Owns the list of batches that are not over and the lines at hand.
 *
 * One step of a batch is with the state thread at a time (`busy`), results aside. Whoever changes
 * something calls advance(), which does what can be done next; a timer does it for what nobody
 * tells of: places that fall free, time that passes, waits that end.
 */
#include "gateway/batches.h"

#include "gateway/batch_call.h"
#include "gateway/batch_store.h"
#include "gateway/retention.h"

#include "api/anthropic_batch.h"
#include "api/openai_answer.h"
#include "api/openai_batch.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TICK_MS        100
#define EXPIRE_MS      60000 /* between two looks for what is to be forgotten, or less: */
#define EXPIRE_SHARE   10    /* a tenth of how long things are kept */
#define WAIT_FIRST_MS  500
#define WAIT_MAX_MS    60000
#define PAUSE_TEXT_MAX 700
#define AT_WORK_MAX    1024

struct batch;

struct line {
    struct batch *batch;
    struct line *next; /* in batch->waiting */
    int64_t number;
    char *text; /* NULL once its result is there */
    size_t n_text;
    int strikes;
    struct batch_need need;  /* while it waits */
    struct batch_call *call; /* while it runs */
    struct batch_result result;
    bool unsaved; /* its result came back from the state thread */
    bool trouble; /* so it did before, or now */
    struct err err;
};

struct batch {
    struct batches *all;
    struct batch *next; /* younger */
    struct batch_head head;
    const struct api_endpoint *endpoint;
    bool busy;
    bool fetched;      /* there are no more lines to fetch */
    int64_t last_line; /* that was fetched */
    int64_t n_done;    /* lines whose result is saved */
    struct line *waiting;
    struct line *at_work[AT_WORK_MAX]; /* [n_at_work]: running, or their result is being saved */
    int n_at_work;
    int64_t wait_ms, wait_until_ms;
    char paused[PAUSE_TEXT_MAX];
    struct batch_finish finish;
    bool cancelled;
    /* of the step that is with the state thread */
    struct batch_head step;
    struct batch_item item[BATCH_FETCH_MAX];
    int n_item;
    bool expired;
    struct err err;
};

struct batches {
    struct server *server;
    struct batch *first;
    uv_timer_t *timer;
    int64_t expire_at_ms;
    int n_running; /* calls */
    bool expiring, stopped;
    struct retention retention;     /* with the state thread while `expiring` */
    struct retention seen;          /* as it came back from there */
    uint64_t n_completed, n_failed; /* lines, since the start */
    int n_posts;
    struct batch_head *heads; /* while loading */
    size_t n_heads;
    struct err err;
};

static void advance(struct batch *b);

/* ---- waits ---- */

static void pause_batch(struct batch *b, const struct err *err)
{
    if (strcmp(b->paused, err->text) != 0)
        log_warn("batch %s waits: %s", b->head.id, err->text);
    snprintf(b->paused, sizeof b->paused, "%s", err->text);
    b->wait_ms = b->wait_ms == 0 ? WAIT_FIRST_MS : b->wait_ms * 2;
    if (b->wait_ms > WAIT_MAX_MS)
        b->wait_ms = WAIT_MAX_MS;
    b->wait_until_ms = clock_ms() + b->wait_ms;
}

static void go_on(struct batch *b)
{
    if (b->paused[0] != '\0')
        log_info("batch %s goes on", b->head.id);
    b->paused[0] = '\0';
    b->wait_ms = b->wait_until_ms = 0;
}

/* ---- lines ---- */

static void line_free(struct line *l)
{
    free(l->text);
    free(l->result.model);
    buf_release(&l->result.text);
    free(l);
}

static void put_back(struct batch *b, struct line *l)
{
    l->next = b->waiting;
    b->waiting = l;
}

static void leave_work(struct line *l)
{
    struct batch *b = l->batch;
    int i = 0;
    while (b->at_work[i] != l)
        i++;
    b->at_work[i] = b->at_work[--b->n_at_work];
}

static void save_work(struct state *state, void *ctx)
{
    struct line *l = ctx;
    err_clear(&l->err);
    (void)!batch_store_save(state_db(state), &l->result, &l->err);
}

static void on_saved(void *ctx)
{
    struct line *l = ctx;
    struct batch *b = l->batch;
    b->all->n_posts--;
    l->unsaved = l->trouble = l->err.code != 0;
    if (l->unsaved) {
        pause_batch(b, &l->err);
    } else {
        b->n_done++;
        b->all->n_completed += !l->result.failed;
        b->all->n_failed += l->result.failed;
        leave_work(l);
        line_free(l);
        go_on(b);
    }
    advance(b);
}

static void save(struct line *l)
{
    struct batches *all = l->batch->all;
    l->unsaved = false;
    all->n_posts++;
    state_post(all->server->state, save_work, on_saved, l);
}

/* Its line of the output, in the words of whose batch it is. */
static bool write_result(const struct line *l, struct str custom_id, int status, struct str body,
                         struct buf *out)
{
    char id[ID_MAX];
    if (l->batch->endpoint->dialect == API_ANTHROPIC)
        return anthropic_batch_answer_write(custom_id, status == 200, body, out);
    inquiry_new_id("batch_req_", id);
    return openai_batch_answer_write(id, custom_id, status, body, out);
}

/* The line has its answer, good or bad. */
static void settle(struct line *l, int status, struct str body)
{
    struct batch_result *r = &l->result;
    struct err err = {0};
    *r = (struct batch_result){.seq = l->batch->head.seq,
                               .line = l->number,
                               .failed = status != 200,
                               .owner = l->batch->head.owner,
                               .model = r->model,
                               .use = r->use};
    buf_init(&r->text, body.len + 8192);
    json_t *top = json_parse((struct str){l->text, l->n_text}, JSON_DEPTH_MAX, &err);
    struct str custom_id = json_str(json_object_get(top, "custom_id"));
    if (!write_result(l, custom_id, status, body, &r->text)) {
        struct buf why;
        buf_clear(&r->text);
        buf_init(&why, 4096);
        err_set(&err, ERR_INTERNAL, "The answer did not fit in memory.");
        api_error_write(l->batch->endpoint->dialect, &err, NULL, &why);
        r->failed = true;
        (void)!write_result(l, custom_id, 500, buf_str(&why), &r->text);
        buf_release(&why);
    }
    json_decref(top);
    free(l->text);
    l->text = NULL;
    save(l);
}

static void settle_error(struct line *l, const struct err *err)
{
    struct buf body;
    buf_init(&body, 16384);
    api_error_write(l->batch->endpoint->dialect, err, NULL, &body);
    settle(l, api_status(err->code), buf_str(&body));
    buf_release(&body);
}

static void count(struct line *l, const struct batch_outcome *o)
{
    const struct api_answer *a = o->answer;
    if (a == NULL)
        return;
    l->result.model = str_dup(str_z(o->model));
    l->result.use = (struct ledger_use){.requests = 1,
                                        .prompt_tokens = a->n_prompt,
                                        .cached_tokens = a->n_cached,
                                        .completion_tokens = a->n_completion,
                                        .engine_s = (a->prefill_ms + a->decode_ms) / 1000};
}

static void on_outcome(void *ctx, const struct batch_outcome *o)
{
    struct line *l = ctx;
    struct batch *b = l->batch;
    struct server *s = b->all->server;
    l->call = NULL;
    b->all->n_running--;
    l->strikes += o->again && o->accepted;
    bool over = b->head.status != BATCH_IN_PROGRESS || b->all->stopped || s->stopping;
    if (o->again && (over || s->draining || l->strikes < LINE_STRIKES_MAX)) {
        leave_work(l);
        if (over) {
            line_free(l);
        } else {
            put_back(b, l);
            pause_batch(b, &o->err);
        }
    } else {
        count(l, o);
        settle(l, o->status, buf_str(o->body));
    }
    advance(b);
}

/* ---- running ---- */

static int places(const struct batches *all)
{
    const struct gateway_opts *o = &all->server->opts;
    int n = o->batch_parallel > 0 ? o->batch_parallel : (o->parallel + 1) / 2;
    return n < AT_WORK_MAX ? n : AT_WORK_MAX;
}

/* A line that was with a worker when it died runs alone, so that no other is blamed for it. */
static bool may_start(const struct batches *all, const struct line *l)
{
    if (all->n_running >= places(all) || l->batch->n_at_work >= places(all))
        return false;
    if (l->strikes > 0)
        return all->n_running == 0;
    for (const struct batch *b = all->first; b != NULL; b = b->next)
        for (int i = 0; i < b->n_at_work; i++)
            if (b->at_work[i]->call != NULL && b->at_work[i]->strikes > 0)
                return false;
    return true;
}

/* False: nothing more can be started now. */
static bool start_one(struct batch *b)
{
    struct line *l = b->waiting;
    struct err err = {0};
    if (!may_start(b->all, l))
        return false;
    int code =
        batch_call_start(b->all->server, b->head.owner, b->endpoint,
                         (struct str){l->text, l->n_text}, &l->need, on_outcome, l, &l->call, &err);
    if (code == ERR_BUSY)
        return false;
    if (code == ERR_UNAVAILABLE || code == ERR_NOMEM) {
        pause_batch(b, &err);
        return false;
    }
    b->waiting = l->next;
    b->at_work[b->n_at_work++] = l;
    if (code == 0)
        b->all->n_running++;
    else
        settle_error(l, &err);
    return true;
}

static bool resave(struct batch *b)
{
    bool any = false;
    for (int i = 0; i < b->n_at_work; i++)
        if (b->at_work[i]->unsaved) {
            save(b->at_work[i]);
            any = true;
        }
    return any;
}

static bool is_disk_trouble(const struct batches *all)
{
    for (const struct batch *b = all->first; b != NULL; b = b->next)
        for (int i = 0; i < b->n_at_work; i++)
            if (b->at_work[i]->trouble)
                return true;
    return false;
}

/* ---- steps of the database ---- */

static void post(struct batch *b, void (*work)(struct state *state, void *ctx),
                 void (*done)(void *ctx))
{
    b->busy = true;
    b->all->n_posts++;
    b->step = b->head;
    err_clear(&b->err);
    state_post(b->all->server->state, work, done, b);
}

static void batch_free(struct batch *b)
{
    while (b->waiting != NULL) {
        struct line *l = b->waiting;
        b->waiting = l->next;
        line_free(l);
    }
    for (int i = 0; i < b->n_at_work; i++) {
        if (b->at_work[i]->call != NULL)
            batch_call_cancel(b->at_work[i]->call);
        line_free(b->at_work[i]);
    }
    free(b);
}

static void batch_over(struct batch *b)
{
    struct batch **at = &b->all->first;
    while (*at != b)
        at = &(*at)->next;
    *at = b->next;
    b->all->seen.n_over++; /* until it is counted again */
    log_info("batch %s is over", b->head.id);
    batch_free(b);
}

static void on_step(void *ctx)
{
    struct batch *b = ctx;
    b->all->n_posts--;
    b->busy = false;
    b->head = b->step;
    if (b->cancelled && b->head.status < BATCH_FINALIZING)
        b->head.status = BATCH_CANCELLING; /* while the step was under way */
    if (b->err.code != 0)
        pause_batch(b, &b->err);
    else
        go_on(b);
    if (b->head.status == BATCH_OVER && b->n_at_work == 0)
        batch_over(b);
    else
        advance(b);
}

static void scan_work(struct state *state, void *ctx)
{
    struct batch *b = ctx;
    (void)!batch_store_scan(state, &b->step, b->all->server->opts.body_bytes_max, &b->err);
}

static void fetch_work(struct state *state, void *ctx)
{
    struct batch *b = ctx;
    b->n_item = 0;
    (void)!batch_store_fetch(state, &b->step, b->last_line, b->item, &b->n_item, &b->err);
}

static void on_fetched(void *ctx)
{
    struct batch *b = ctx;
    struct line **end = &b->waiting;
    while (*end != NULL)
        end = &(*end)->next;
    for (int i = 0; i < b->n_item; i++) {
        struct line *l = mem_zero(1, sizeof *l);
        *l = (struct line){.batch = b,
                           .number = b->item[i].line,
                           .text = b->item[i].text,
                           .n_text = b->item[i].n_text};
        *end = l;
        end = &l->next;
        b->last_line = l->number;
    }
    b->fetched = b->err.code == 0 && b->n_item == 0;
    on_step(b);
}

static void close_work(struct state *state, void *ctx)
{
    struct batch *b = ctx;
    (void)!batch_store_close(state_db(state), &b->step, b->expired, &b->err);
}

static void finish_work(struct state *state, void *ctx)
{
    struct batch *b = ctx;
    (void)!batch_store_finish(state, &b->step, &b->finish, b->all->server->opts.files_keep_s,
                              &b->err);
}

/* ---- what is next ---- */

/* It is not to run any more: what runs is stopped, results under way are waited for. */
static void stop_lines(struct batch *b)
{
    for (int i = b->n_at_work - 1; i >= 0; i--) {
        struct line *l = b->at_work[i];
        if (l->call == NULL)
            continue;
        batch_call_cancel(l->call);
        b->all->n_running--;
        leave_work(l);
        line_free(l);
    }
    while (b->waiting != NULL) {
        struct line *l = b->waiting;
        b->waiting = l->next;
        line_free(l);
    }
    b->last_line = INT64_MAX;
    b->fetched = true;
}

static void run_lines(struct batch *b)
{
    if (b->all->server->draining || is_disk_trouble(b->all))
        return;
    while (b->waiting != NULL && start_one(b))
        ;
    if (b->waiting == NULL && !b->fetched)
        post(b, fetch_work, on_fetched);
    else if (b->waiting == NULL && b->n_at_work == 0)
        post(b, close_work, on_step);
}

static void advance(struct batch *b)
{
    struct batches *all = b->all;
    int64_t now_s = clock_wall_ms() / 1000;
    if (all->stopped || all->server->stopping || b->busy)
        return;
    bool open = b->head.status == BATCH_VALIDATING || b->head.status == BATCH_IN_PROGRESS;
    if (!open)
        stop_lines(b);
    if (clock_ms() < b->wait_until_ms || resave(b))
        return;
    b->expired = open && now_s >= b->head.expires_s;
    if (b->expired)
        post(b, close_work, on_step);
    else if (b->head.status == BATCH_VALIDATING)
        post(b, scan_work, on_step);
    else if (b->head.status == BATCH_IN_PROGRESS)
        run_lines(b);
    else if (b->n_at_work == 0 && b->head.status == BATCH_OVER)
        batch_over(b);
    else if (b->n_at_work == 0)
        post(b, finish_work, on_step);
}

static void expire_work(struct state *state, void *ctx)
{
    struct batches *all = ctx;
    retention_step(state, &all->retention);
}

static void on_expired(void *ctx);

static void expire(struct batches *all)
{
    all->expiring = true;
    all->n_posts++;
    all->retention = (struct retention){.keep_s = all->server->opts.files_keep_s,
                                        .responses_keep_s = all->server->opts.responses_keep_s,
                                        .now_s = clock_wall_ms() / 1000};
    state_post(all->server->state, expire_work, on_expired, all);
}

/* A step after the other, each behind what others asked for meanwhile. */
static void on_expired(void *ctx)
{
    struct batches *all = ctx;
    all->expiring = false;
    all->n_posts--;
    all->seen = all->retention;
    if (all->retention.more && !all->stopped)
        expire(all);
}

static int64_t expire_each_ms(const struct batches *all)
{
    const struct gateway_opts *o = &all->server->opts;
    int64_t keep_s = o->files_keep_s;
    if (keep_s == 0 || (o->responses_keep_s > 0 && o->responses_keep_s < keep_s))
        keep_s = o->responses_keep_s;
    bool short_time = keep_s > 0 && keep_s < EXPIRE_MS * EXPIRE_SHARE / 1000;
    return short_time ? keep_s * 1000 / EXPIRE_SHARE : EXPIRE_MS;
}

static void on_tick(uv_timer_t *t)
{
    struct batches *all = t->data;
    struct batch *next;
    for (struct batch *b = all->first; b != NULL; b = next) {
        next = b->next;
        advance(b);
    }
    if (clock_ms() >= all->expire_at_ms && !all->expiring) {
        all->expire_at_ms = clock_ms() + expire_each_ms(all);
        expire(all);
    }
    /* Fast while there is something to run. */
    int64_t wait_ms = all->first != NULL ? TICK_MS : expire_each_ms(all);
    uv_timer_start(t, on_tick, (uint64_t)wait_ms, 0);
}

void batches_add(struct batches *all, const struct batch_head *head)
{
    struct batch **at = &all->first;
    struct batch *b = mem_zero(1, sizeof *b);
    b->all = all;
    b->head = *head;
    b->n_done = head->n_done;
    b->endpoint = batch_endpoint(head->endpoint);
    while (*at != NULL)
        at = &(*at)->next;
    *at = b;
    uv_timer_start(all->timer, on_tick, 0, 0);
}

/* ---- life ---- */

static void load_work(struct state *state, void *ctx)
{
    struct batches *all = ctx;
    (void)!batch_store_load(state, &all->heads, &all->n_heads, &all->err);
}

static void on_loaded(void *ctx)
{
    struct batches *all = ctx;
    all->n_posts--;
    if (all->err.code != 0)
        log_error("batches: what an earlier server left cannot be read: %s", all->err.text);
    if (all->n_heads > 0)
        log_info("batches: %zu go on", all->n_heads);
    for (size_t i = 0; i < all->n_heads && !all->stopped; i++)
        batches_add(all, &all->heads[i]);
    free(all->heads);
    all->heads = NULL;
}

struct batches *batches_new(struct server *s)
{
    struct batches *all = mem_zero(1, sizeof *all);
    all->server = s;
    all->timer = mem_zero(1, sizeof *all->timer);
    all->timer->data = all;
    uv_timer_init(&s->loop, all->timer);
    uv_timer_start(all->timer, on_tick, 0, 0);
    all->n_posts++;
    state_post(s->state, load_work, on_loaded, all);
    return all;
}

static void on_timer_closed(uv_handle_t *handle)
{
    free(handle);
}

void batches_stop(struct batches *b)
{
    if (b == NULL || b->stopped)
        return;
    b->stopped = true;
    uv_timer_stop(b->timer);
    uv_close((uv_handle_t *)b->timer, on_timer_closed);
}

void batches_free(struct batches *all)
{
    if (all == NULL)
        return;
    while (all->first != NULL) {
        struct batch *b = all->first;
        all->first = b->next;
        batch_free(b);
    }
    free(all->heads);
    free(all);
}

/* ---- numbers ---- */

static void write_gauge(struct buf *out, const char *name, double value, const char *help)
{
    metrics_head(out, name, "gauge", help);
    buf_printf(out, "%s %.15g\n", name, value);
}

static void write_lines(const struct batches *all, struct buf *out)
{
    int64_t n_waiting = 0;
    for (const struct batch *b = all->first; b != NULL; b = b->next)
        if (b->head.status == BATCH_VALIDATING || b->head.status == BATCH_IN_PROGRESS)
            n_waiting += b->head.total - b->n_done - b->n_at_work;
    metrics_head(out, "hearth_batch_lines", "gauge",
                 "Lines of batches without a result, by what they do.");
    buf_printf(out, "hearth_batch_lines{state=\"waiting\"} %" PRId64 "\n",
               n_waiting > 0 ? n_waiting : 0);
    buf_printf(out, "hearth_batch_lines{state=\"running\"} %d\n", all->n_running);
    metrics_head(out, "hearth_batch_lines_total", "counter",
                 "Lines of batches that got their result.");
    buf_printf(out, "hearth_batch_lines_total{outcome=\"completed\"} %" PRIu64 "\n",
               all->n_completed);
    buf_printf(out, "hearth_batch_lines_total{outcome=\"failed\"} %" PRIu64 "\n", all->n_failed);
}

void batches_write_metrics(const struct batches *all, struct buf *out)
{
    static const char *const word[] = {"validating", "in_progress", "finalizing", "cancelling"};
    int64_t n[ARRAY_LEN(word)] = {0};
    if (all == NULL)
        return;
    for (const struct batch *b = all->first; b != NULL; b = b->next)
        if (b->head.status < BATCH_OVER)
            n[b->head.status]++;
    metrics_head(out, "hearth_batches", "gauge", "Batches that are not over, by status.");
    for (size_t i = 0; i < ARRAY_LEN(word); i++)
        buf_printf(out, "hearth_batches{status=\"%s\"} %" PRId64 "\n", word[i], n[i]);
    write_gauge(out, "hearth_batches_over", (double)all->seen.n_over,
                "Batches that are over and not yet forgotten.");
    write_lines(all, out);
    write_gauge(out, "hearth_files", (double)all->seen.n_files,
                "Files that clients sent and batches made, a minute ago at most.");
    write_gauge(out, "hearth_files_bytes", (double)all->seen.file_bytes,
                "What they hold, a minute ago at most.");
}

/* ---- routes ---- */

static struct batch *find(struct batches *all, int64_t seq)
{
    struct batch *b = all->first;
    while (b != NULL && b->head.seq != seq)
        b = b->next;
    return b;
}

static void after_create(struct inquiry *q)
{
    struct batches *all = q->server->batches;
    if (q->err.code != 0 || q->seq == 0 || q->server->stopping)
        return;
    struct batch_head head = {.seq = q->seq, .status = BATCH_VALIDATING};
    struct openai_batch_create c;
    if (openai_batch_create_parse(q->body, &c, NULL) != 0)
        return;
    head.expires_s = clock_wall_ms() / 1000 + c.window_s;
    strcpy(head.id, q->id);
    strcpy(head.owner, q->owner);
    snprintf(head.endpoint, sizeof head.endpoint, "%.*s", STR_ARG(c.endpoint));
    snprintf(head.input_file, sizeof head.input_file, "%.*s", STR_ARG(c.input_file));
    batches_add(all, &head);
}

static void create(struct server *s, struct exchange *x)
{
    struct inquiry *q = inquiry_new(s, x, batch_store_create);
    if (q == NULL)
        return;
    q->body = json_parse(exchange_body(x), JSON_DEPTH_MAX, &q->err);
    exchange_drop_body(x);
    if (q->body == NULL) {
        reply_error(x, &q->err, NULL);
        inquiry_free(q);
        return;
    }
    inquiry_new_id("batch_", q->id);
    q->then = after_create;
    inquiry_start(q);
}

void batches_collection(struct server *s, struct exchange *x)
{
    if (exchange_method(x) == HTTP_POST) {
        create(s, x);
        return;
    }
    struct inquiry *q = inquiry_new(s, x, batch_store_list);
    if (q != NULL && inquiry_read_page(q, 20, 100))
        inquiry_start(q);
}

void batches_cancelled(struct batches *all, int64_t seq)
{
    struct batch *b = find(all, seq);
    if (b == NULL)
        return;
    b->cancelled = true;
    if (!b->busy)
        b->head.status = BATCH_CANCELLING;
    go_on(b);
    advance(b);
}

static void after_cancel(struct inquiry *q)
{
    if (q->seq != 0 && q->err.code == 0)
        batches_cancelled(q->server->batches, q->seq);
}

/* Why a batch waits is known here only. */
static void tell_pause(struct inquiry *q)
{
    for (struct batch *b = q->server->batches->first; b != NULL; b = b->next)
        if (strcmp(b->head.id, q->id) == 0 && b->paused[0] != '\0')
            buf_add_z(&q->text, b->paused);
}

void batches_one(struct server *s, struct exchange *x)
{
    char id[ID_MAX];
    const char *what;
    struct err err = {0};
    bool post = exchange_method(x) == HTTP_POST;
    if (!inquiry_path_id(exchange_path(x), "/v1/batches/", id, &what) ||
        strcmp(what, post ? "cancel" : "") != 0) {
        err_set(&err, ERR_NOT_FOUND, "there is nothing at %.200s", exchange_path(x));
        reply_error(x, &err, NULL);
        return;
    }
    struct inquiry *q = inquiry_new(s, x, post ? batch_store_cancel : batch_store_get);
    if (q == NULL)
        return;
    strcpy(q->id, id);
    q->then = post ? after_cancel : NULL;
    tell_pause(q);
    inquiry_start(q);
}
