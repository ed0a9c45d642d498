/*
 * loop: see the header. One thread; it blocks only in poll.
 *
 * When the outbox is full, neither frames are read nor events taken until the gateway has read:
 * the event ring fills, then the engine waits. Memory stays bounded on every side.
 */
#include "worker/loop.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "grammar/grammar.h"
#include "worker/intake.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ANSWER_BYTES_MAX (1ull << 30) /* what their tokens may take, touched or not */
#define EVENTS_AT_ONCE   64
#define READ_BYTES       (64u << 10)
#define STATS_MS         1000

struct loop {
    struct loaded *model;
    struct outbox *out;
    struct intake *intake; /* requests on their way to answers */
    struct frame_reader in;
    bool has_frames; /* the reader may hold whole frames */
    struct answer *answers;
    int n_answers;
    uint64_t answer_bytes;
    bool is_draining;
    bool is_over;
    int exit_code;
    int64_t n_cancelled;
    struct worker_stats stats_sent;
    int64_t stats_ms; /* when */
};

static void broken(struct loop *l, const char *why)
{
    log_error("the stream from the gateway is broken: %s", why);
    l->is_over = true;
    l->exit_code = 1;
}

static void send_error(struct loop *l, uint64_t id, const struct err *err)
{
    struct gen_error e = {.id = id, .err = *err};
    outbox_put(l->out, gen_error_to_json(&e));
}

/* ---- statistics ---- */

/* Of a model that gives vectors: there are no blocks, caches or answers. */
static void collect_embedder_stats(struct loop *l, struct worker_stats *ret)
{
    struct embedder_stats e;
    embedder_get_stats(l->model->embedder, &e);
    *ret = (struct worker_stats){
        .running = e.n_running,
        .waiting = e.n_waiting,
        .steps = (int64_t)e.n_steps,
        .prompt_tokens = (int64_t)e.n_tokens,
        .cancelled = l->n_cancelled,
        .prefill_s = e.step_s,
    };
}

static void collect_stats(struct loop *l, struct worker_stats *ret)
{
    if (l->model->embedder) {
        collect_embedder_stats(l, ret);
        return;
    }
    struct engine_stats e;
    engine_get_stats(l->model->engine, &e);
    *ret = (struct worker_stats){
        .running = e.n_running,
        .waiting = e.n_waiting,
        .kv_blocks_used = e.n_blocks_used,
        .kv_blocks = e.n_blocks,
        .steps = (int64_t)e.n_steps,
        .prompt_tokens = (int64_t)e.n_prompt_tokens,
        .output_tokens = (int64_t)e.n_output_tokens,
        .preemptions = (int64_t)e.n_preempted,
        .cancelled = l->n_cancelled,
        .drafted_tokens = (int64_t)e.n_drafted,
        .accepted_tokens = (int64_t)e.n_accepted,
        .draft_model_tokens = (int64_t)e.n_model_drafted,
        .draft_model_accepted = (int64_t)e.n_model_accepted,
        .draft_s = e.draft_s,
        .prefill_s = e.prefill_s,
        .decode_s = e.decode_s,
        .guided_tokens = (int64_t)e.n_guided,
        .mask_wait_s = e.mask_wait_s,
        .mask_bytes = (int64_t)masks_bytes(),
        .cached_blocks = e.n_cache_blocks,
        .cache_lookup_tokens = (int64_t)(e.n_prompt_tokens + e.n_cached_tokens),
        .cached_tokens = (int64_t)e.n_cached_tokens,
        .disk_hits = (int64_t)e.n_disk_hits,
        .disk_tokens = (int64_t)e.n_disk_tokens,
        .disk_read_bytes = (int64_t)(e.disk.n_read * l->model->block_bytes),
        .disk_written_bytes = (int64_t)(e.disk.n_written * l->model->block_bytes),
        .disk_blocks = e.disk.n_used,
    };
}

static bool stats_equal(const struct worker_stats *a, const struct worker_stats *b)
{
    return a->running == b->running && a->waiting == b->waiting &&
           a->kv_blocks_used == b->kv_blocks_used && a->kv_blocks == b->kv_blocks &&
           a->steps == b->steps && a->cancelled == b->cancelled &&
           a->disk_written_bytes == b->disk_written_bytes;
}

static void send_stats(struct loop *l)
{
    struct worker_stats s;
    collect_stats(l, &s);
    l->stats_ms = clock_ms();
    if (l->n_answers == 0 && stats_equal(&s, &l->stats_sent))
        return; /* with answers they are a sign of life, and `steps` says whose */
    l->stats_sent = s;
    outbox_put(l->out, worker_stats_to_json(&s));
}

/* ---- answers ---- */

static void drop_answer(struct loop *l, struct answer *a)
{
    struct answer **at = &l->answers;
    while (*at != a)
        at = &(*at)->next;
    *at = a->next;
    l->n_answers--;
    l->answer_bytes -= a->bytes;
    answer_free(a);
}

static void finish_if_over(struct loop *l, struct answer *a)
{
    if (!answer_is_over(a))
        return;
    bool cancelled = a->is_cancelled;
    answer_finish(a, l->out);
    drop_answer(l, a);
    if (cancelled) {
        l->n_cancelled++;
        send_stats(l);
    }
}

/* What has got further since. */
static void look_at_embeddings(struct loop *l)
{
    embedder_heard(l->model->embedder);
    for (struct answer *a = l->answers, *next; a; a = next) {
        next = a->next;
        if (!answer_look(a, l->out)) {
            embedder_remind(l->model->embedder);
            return;
        }
        finish_if_over(l, a);
    }
}

static void take_events(struct loop *l)
{
    if (l->model->embedder) {
        look_at_embeddings(l);
        return;
    }
    struct engine_event event[EVENTS_AT_ONCE];
    int n = engine_take(l->model->engine, event, EVENTS_AT_ONCE);
    for (int i = 0; i < n; i++) {
        struct answer *a = event[i].seq->job->owner;
        answer_event(a, &event[i], l->out);
        if (event[i].kind == ENGINE_END)
            finish_if_over(l, a);
    }
}

static int may_admit(const struct loop *l, struct err *err)
{
    int n = l->n_answers + intake_n(l->intake);
    if (l->is_draining)
        return err_set(err, ERR_UNAVAILABLE, "the model is being unloaded; try again");
    if (n >= WORKER_REQUESTS_MAX || l->answer_bytes >= ANSWER_BYTES_MAX)
        return err_set(err, ERR_BUSY, "%d requests are queued already; try again later", n);
    return 0;
}

/* ---- frames ---- */

static void on_generate(struct loop *l, json_t **frame, uint64_t id)
{
    struct err err = {0};
    if (may_admit(l, &err) != 0)
        send_error(l, id, &err);
    else
        intake_put(l->intake, frame, id, l->in.n_bytes);
}

static void send_reply(struct loop *l, const struct intake_result *r)
{
    struct err err = {0};
    if (outbox_put(l->out, r->reply))
        return;
    err_set(&err, ERR_TOO_LARGE, "the answer is too large to send");
    send_error(l, r->id, &err);
}

/* Those that were tokenized with it may have taken all memory meanwhile. What goes on after the
 * death of a worker had its place before. */
static void begin(struct loop *l, struct intake_result *r)
{
    struct answer *a = r->answer;
    if (r->reply != NULL) {
        send_reply(l, r);
        return;
    }
    if (a && !a->request.resume.prior && l->answer_bytes >= ANSWER_BYTES_MAX) {
        r->error = (struct gen_error){.id = a->request.id};
        err_set(&r->error.err, ERR_UNAVAILABLE,
                "the requests that are queued already take too much memory; try again later");
        answer_free(a);
        a = NULL;
    }
    if (a == NULL) {
        outbox_put(l->out, gen_error_to_json(&r->error));
        if (r->is_cancelled) {
            l->n_cancelled++;
            send_stats(l);
        }
        return;
    }
    a->next = l->answers;
    l->answers = a;
    l->n_answers++;
    l->answer_bytes += a->bytes;
    answer_begin(a, l->out);
    finish_if_over(l, a);
}

static void take_requests(struct loop *l)
{
    struct intake_result r;
    while (!outbox_is_full(l->out) && intake_take(l->intake, &r))
        begin(l, &r);
}

static void on_cancel(struct loop *l, json_t **frame, uint64_t id)
{
    (void)frame;
    if (intake_cancel(l->intake, id))
        return;
    for (struct answer *a = l->answers; a; a = a->next) {
        if (a->request.id == id) {
            answer_cancel(a);
            return;
        }
    }
}

static void on_question(struct loop *l, json_t **frame, uint64_t id)
{
    intake_put(l->intake, frame, id, l->in.n_bytes);
}

/* Releases frame, unless one of the handlers took it and left NULL. */
static void handle(struct loop *l, json_t *frame)
{
    static const struct {
        const char *type;
        void (*run)(struct loop *l, json_t **frame, uint64_t id);
    } handlers[] = {
        {"generate", on_generate},   {"cancel", on_cancel},   {"tokenize", on_question},
        {"detokenize", on_question}, {"render", on_question}, {"describe", on_question},
    };
    struct err err = {0};
    uint64_t id;
    size_t i = 0;
    while (i < ARRAY_LEN(handlers) && !message_is(frame, handlers[i].type))
        i++;
    if (message_is(frame, "drain"))
        l->is_draining = true;
    else if (i == ARRAY_LEN(handlers))
        broken(l, "a frame of unknown type");
    else if (message_id(frame, &id, &err) != 0)
        broken(l, err.text);
    else
        handlers[i].run(l, &frame, id);
    json_decref(frame);
}

static void handle_frames(struct loop *l)
{
    while (l->has_frames && !l->is_over && !outbox_is_full(l->out)) {
        struct err err = {0};
        json_t *frame;
        int rc = frame_reader_next(&l->in, &frame, &err);
        l->has_frames = rc == 1;
        if (rc < 0)
            broken(l, err.text);
        if (rc == 1)
            handle(l, frame);
    }
}

static void read_frames(struct loop *l)
{
    char bytes[READ_BYTES];
    ssize_t n = read(l->out->fd, bytes, sizeof(bytes));
    if (n < 0 && (errno == EINTR || errno == EAGAIN || errno == EWOULDBLOCK))
        return;
    if (n <= 0) {
        log_info("the gateway closed the connection");
        l->is_over = true;
        return;
    }
    l->has_frames = frame_reader_feed(&l->in, bytes, (size_t)n);
    if (!l->has_frames)
        broken(l, "no memory for a frame");
}

/* ---- the loop ---- */

static int wait_ms(struct loop *l)
{
    struct worker_stats now;
    collect_stats(l, &now);
    if (l->n_answers == 0 && stats_equal(&now, &l->stats_sent))
        return -1;
    int64_t left = l->stats_ms + STATS_MS - clock_ms();
    return left < 0 ? 0 : (int)left;
}

/* What poll said of the socket. */
static void hear(struct loop *l, short revents, bool full)
{
    if (!l->has_frames && !full && revents & (POLLIN | POLLHUP | POLLERR))
        read_frames(l);
    else if (full && revents & (POLLHUP | POLLERR))
        l->is_over = true;
}

static void turn(struct loop *l)
{
    outbox_flush(l->out);
    bool full = outbox_is_full(l->out);
    struct pollfd p[3] = {
        {.fd = l->out->fd, .events = outbox_is_empty(l->out) ? 0 : POLLOUT},
        {.fd = l->model->embedder ? embedder_event_fd(l->model->embedder)
                                  : engine_event_fd(l->model->engine),
         .events = full ? 0 : POLLIN},
        {.fd = intake_fd(l->intake), .events = full ? 0 : POLLIN},
    };
    if (!full && !l->has_frames)
        p[0].events |= POLLIN;
    int rc = poll(p, 3, l->has_frames && !full ? 0 : wait_ms(l));
    if (rc < 0 && errno != EINTR) {
        broken(l, strerror(errno));
        return;
    }
    if (rc > 0 && p[1].revents)
        take_events(l);
    if (rc > 0 && p[2].revents)
        take_requests(l);
    if (rc > 0)
        hear(l, p[0].revents, full);
    handle_frames(l);
    l->is_over = l->is_over || (l->is_draining && l->n_answers == 0 && intake_n(l->intake) == 0);
    if (clock_ms() >= l->stats_ms + STATS_MS || l->is_over)
        send_stats(l);
}

int loop_run(struct loaded *model, struct intake *intake, struct outbox *out)
{
    struct loop l = {.model = model, .intake = intake, .out = out, .stats_ms = clock_ms()};
    frame_reader_init(&l.in);
    while (!l.is_over && !out->is_broken)
        turn(&l);
    loaded_stop(model);
    if (l.is_draining)
        outbox_flush_all(out);
    while (l.answers)
        drop_answer(&l, l.answers);
    frame_reader_release(&l.in);
    return l.exit_code;
}
