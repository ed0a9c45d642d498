/*
 * slot: see slot.h. Owns the state machine of one model's worker.
 *
 *   LOADING -ready-> READY -death-> WAITING -timer-> LOADING
 *   LOADING -failed-> FAILED (or WAITING, when unloading another model may help)
 *   any -slot_stop-> STOPPING -process gone-> forgotten
 *   READY -slot_evict-> LEAVING -process gone-> WAITING (for room), or forgotten without jobs
 *
 * A cancelled job stays in the list, without an owner, until the worker says that it is over: its
 * place is taken until then, and the time that takes is measured.
 *
 * What a worker says of a job is written into the job's replay before its owner hears of it, so
 * the two always agree, and a job can be sent again at any moment.
 */
#include "gateway/slot.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "gateway/job.h"
#include "gateway/models.h"
#include "gateway/packing.h"
#include "gateway/process.h"
#include "ipc/frame.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DELAY_FIRST_MS 50
#define DELAY_MAX_MS   5000
#define ROOM_POLL_MS   50
#define BUSY_POLL_MS   20   /* the worker has yet to read what was sent */
#define WATCH_MAX_MS   5000 /* between two looks at a worker that computes */
#define LOAD_PATIENCE  10   /* times the stall timeout, without a sign */

static void on_timer(uv_timer_t *t);
static void watch(struct slot *s);

/* ---- jobs ---- */

/* Sends what may be sent, once whoever calls is done with it. */
static void wake(struct slot *s)
{
    if (s->state == SLOT_READY)
        uv_timer_start(&s->timer, on_timer, 0, 0);
}

static struct job *job_find(struct slot *s, uint64_t id)
{
    struct job *j = s->jobs;
    while (j != NULL && j->id != id)
        j = j->next;
    return j;
}

static void job_remove(struct job *j)
{
    struct slot *s = j->slot;
    struct job **at = &s->jobs;
    while (*at != j)
        at = &(*at)->next;
    *at = j->next;
    s->n_jobs--;
    s->n_units -= j->n_units;
    s->held_bytes -= (int64_t)j->replay.frame_len;
    s->used_ms = clock_ms();
    if (j->client_left)
        histogram_add(&s->models->metrics->cancel, (double)(clock_ns() - j->cancel_ns) * 1e-9);
    if (s->trial == j || s->worker_full || s->n_sent >= WORKER_REQUESTS_MAX)
        wake(s);
    if (s->trial == j)
        s->trial = NULL;
    s->n_sent -= j->state != JOB_IS_WAITING;
    s->worker_full = false;
    share_leave(j);
    replay_release(&j->replay);
    free(j);
    models_on_job_over(s->models, s);
}

/* Removed first, told then: the owner may cancel other jobs of this slot. */
static void job_fail(struct job *j, const struct gen_error *error)
{
    job_fn fn = j->fn;
    void *ctx = j->ctx;
    int tag = j->tag;
    if (fn != NULL)
        j->slot->models->metrics->failed++;
    job_remove(j);
    if (fn != NULL)
        fn(ctx, tag, &(struct job_news){.event = JOB_ERROR, .error = error});
}

static void tell(struct job *j, const struct job_news *news)
{
    if (j->fn != NULL)
        j->fn(j->ctx, j->tag, news);
}

static void fail_jobs(struct slot *s, const struct err *err)
{
    struct gen_error error = {.err = *err};
    while (s->jobs != NULL) {
        error.id = s->jobs->id;
        job_fail(s->jobs, &error);
    }
}

/* A job that another worker began must not go on in another model, or in another's arithmetic. */
static bool is_same_model(const struct job *j)
{
    const struct slot *s = j->slot;
    return !j->replay.accepted ||
           (j->model_epoch == s->model_epoch && strcmp(j->fingerprint, s->ready.fingerprint) == 0);
}

static int refuse_other_model(const struct job *j, struct err *err)
{
    return err_set(err, ERR_UNAVAILABLE,
                   "the worker process of model '%s' died while this request was running, and the "
                   "model or its arithmetic is not the same any more: send the request again",
                   j->slot->name);
}

static int write_and_send(struct job *j, struct err *err)
{
    struct buf text;
    buf_init(&text, FRAME_BYTES_MAX);
    int code =
        replay_write(&j->replay, &text)
            ? process_send_text(j->slot->process, buf_str(&text), err)
            : err_set(err, ERR_TOO_LARGE, "the request is too large: more than %u MiB as JSON",
                      FRAME_BYTES_MAX >> 20);
    buf_release(&text);
    return code;
}

/* False: nothing can be sent now; the worker must read first, or it is on its way out. */
static bool send_job(struct job *j)
{
    struct slot *s = j->slot;
    struct gen_error error = {.id = j->id};
    bool same = is_same_model(j), busy = s->n_sent > 0;
    int code = same ? write_and_send(j, &error.err) : refuse_other_model(j, &error.err);
    if ((code == ERR_BUSY && busy) || (code == ERR_UNAVAILABLE && same)) {
        if (code == ERR_BUSY)
            uv_timer_start(&s->timer, on_timer, BUSY_POLL_MS, 0);
        if (s->trial == j) {
            s->trial = NULL;
            j->n_trials--;
        }
        return false;
    }
    if (code != 0) {
        job_fail(j, &error);
        return true;
    }
    if (s->n_sent++ == 0)
        watch(s);
    j->state = JOB_IS_SENT;
    if (j->n_lives++ > 0) {
        s->models->metrics->resumed++;
        tell(j, &(struct job_news){.event = JOB_RESUMED});
    }
    return true;
}

static void send_waiting(struct slot *s)
{
    struct job *j;
    while (s->state == SLOT_READY && !s->yielding && !s->worker_full &&
           s->n_sent < WORKER_REQUESTS_MAX && (j = trial_next(s)) != NULL)
        if (!send_job(j))
            return;
}

int64_t slot_n_places(const struct slot *s)
{
    int64_t n = s->ready.n_seq_max > 0 ? s->ready.n_seq_max : s->models->opts->parallel;
    return n > 0 ? n : 1;
}

struct job *slot_submit(struct slot *s, uint64_t id, json_t *frame, int64_t n_units, int tag,
                        job_fn fn, void *ctx)
{
    struct job *j = mem_zero(1, sizeof *j);
    struct job **at = &s->jobs;
    *j = (struct job){
        .slot = s,
        .id = id,
        .n_units = n_units,
        .max_tokens = json_integer_value(json_object_get(frame, "max_tokens")),
        .priority = json_integer_value(json_object_get(frame, "priority")),
        .tag = tag,
        .fn = fn,
        .ctx = ctx,
        .submit_ns = clock_ns(),
    };
    if (n_units > 0)
        share_join(j, json_integer_value(json_object_get(frame, "tenant")));
    replay_init(&j->replay, frame, n_units);
    json_decref(frame);
    while (*at != NULL)
        at = &(*at)->next;
    *at = j;
    s->n_jobs++;
    s->n_units += n_units;
    s->held_bytes += (int64_t)j->replay.frame_len;
    s->used_ms = clock_ms();
    wake(s); /* once the caller has its handle */
    return j;
}

bool slot_runs(const struct slot *s)
{
    const struct job *j = s->jobs;
    while (j != NULL && j->state == JOB_IS_WAITING)
        j = j->next;
    return j != NULL;
}

void slot_poke(struct slot *s)
{
    if (s->state == SLOT_WAITING || s->state == SLOT_READY)
        uv_timer_start(&s->timer, on_timer, 0, 0);
}

int64_t slot_position(const struct slot *s, uint64_t job_id)
{
    const struct job *j = s->jobs;
    struct slot_wait wait;
    while (j != NULL && j->id != job_id)
        j = j->next;
    if (j == NULL || j->state >= JOB_IS_STARTED)
        return -1;
    return job_wait(j, &wait) ? wait.position : 0;
}

void job_cancel(struct job *j, bool client_left)
{
    static const enum cancel_stage stage[] = {CANCEL_QUEUE, CANCEL_QUEUE, CANCEL_PREFILL,
                                              CANCEL_DECODE};
    struct slot *s = j->slot;
    j->fn = NULL;
    j->client_left = client_left;
    j->cancel_ns = clock_ns();
    if (client_left)
        s->models->metrics->cancelled[stage[j->state]]++;
    if (j->state != JOB_IS_WAITING && s->process != NULL) {
        json_t *frame = json_pack("{s:s, s:I}", "t", "cancel", "id", (json_int_t)j->id);
        int code = frame == NULL ? ERR_NOMEM : process_send(s->process, frame, NULL);
        json_decref(frame);
        if (code == 0 || code == ERR_BUSY)
            return; /* removed when the worker confirms, has done it, or dies */
    }
    job_remove(j);
    if (s->retiring && s->n_jobs == 0)
        uv_timer_start(&s->timer, on_timer, 0, 0);
}

/* ---- frames from the worker ---- */

/* A process loads once: later it neither becomes ready nor fails to load. */
static int check_loading(const struct slot *s, struct err *err)
{
    return s->state == SLOT_LOADING ? 0 : err_set(err, ERR_INVALID, "news of a load that is over");
}

/* What the worker has to say of untrusted files goes to a terminal perhaps. */
static void make_printable(char *text)
{
    for (; *text != '\0'; text++)
        if ((unsigned char)*text < ' ' || *text == 0x7f)
            *text = '?';
}

static int on_progress(struct slot *s, const json_t *frame, struct err *err)
{
    struct str stage = STR("");
    int code = json_get_f64(frame, "fraction", 0, 1, &s->fraction, err);
    s->progress_ms = clock_ms();
    if (code == 0)
        code = json_get_str(frame, "stage", &stage, err);
    if (code == 0)
        snprintf(s->stage, sizeof s->stage, "%.*s", STR_ARG(str_sub(stage, 0, 15)));
    make_printable(s->stage);
    return code;
}

static int on_ready(struct slot *s, const json_t *frame, struct err *err)
{
    struct worker_ready ready = {0};
    int code = check_loading(s, err);
    if (code == 0)
        code = worker_ready_from_json(frame, &ready, err);
    if (code != 0)
        return code;
    make_printable(ready.arch);
    make_printable(ready.file_type);
    make_printable(ready.kv_type);
    s->ready = ready;
    s->state = SLOT_READY;
    s->pace.last = (struct worker_stats){0};
    s->progress_ms = clock_ms();
    err_clear(&s->reason);
    models_on_ready(s->models, s);
    log_info("model %s is ready: %s, %s, context %" PRId64 ", %" PRId64
             " at once, loaded in %.0f ms",
             s->name, ready.arch, ready.file_type, ready.n_ctx, ready.n_seq_max, ready.load_ms);
    send_waiting(s);
    return 0;
}

static int on_packed(struct slot *s, const json_t *frame, struct err *err)
{
    return packing_on_frame(s->packing, s->name, frame, err);
}

static int on_failed(struct slot *s, const json_t *frame, struct err *err)
{
    struct str code = STR(""), message = STR("");
    char word[32];
    int rc = check_loading(s, err);
    if (rc == 0)
        rc = json_get_str(frame, "code", &code, err);
    if (rc == 0)
        rc = json_get_str(frame, "message", &message, err);
    if (rc != 0)
        return rc;
    snprintf(word, sizeof word, "%.*s", STR_ARG(str_sub(code, 0, 31)));
    err_set(&s->reason, err_code_of_word(word), "%.*s", STR_ARG(message));
    make_printable(s->reason.text);
    s->load_failed = true;
    return 0;
}

static int on_stats(struct slot *s, const json_t *frame, struct err *err)
{
    struct worker_stats stats = {0};
    int code = worker_stats_from_json(frame, &stats, err);
    if (code != 0)
        return code;
    if (stats.steps != s->stats.steps)
        s->progress_ms = clock_ms();
    s->stats = stats;
    wait_measure(s, &stats);
    rate_add(&s->prompt_rate, clock_ms(), stats.prompt_tokens);
    rate_add(&s->output_rate, clock_ms(), stats.output_tokens);
    return 0;
}

/* The first worker's word goes to the owner; what a later one says twice, does not. */
static int on_accepted(struct job *j, const json_t *frame, struct err *err)
{
    struct gen_accepted accepted = {0};
    struct slot *s = j->slot;
    int code = gen_accepted_from_json(frame, &accepted, err);
    if (code != 0 || j->replay.accepted)
        return code;
    replay_accepted(&j->replay, &accepted, s->ready.n_ctx);
    j->model_epoch = s->model_epoch;
    memcpy(j->fingerprint, s->ready.fingerprint, sizeof j->fingerprint);
    s->ctx_kept = (int)s->ready.n_ctx;
    tell(j, &(struct job_news){.event = JOB_ACCEPTED,
                               .n_prompt = accepted.n_prompt,
                               .n_dropped = accepted.n_dropped});
    return 0;
}

static int on_started(struct job *j, const json_t *frame, struct err *err)
{
    bool first = !j->told_started;
    int64_t n_cached = 0;
    int code = json_get_i64(frame, "n_cached", 0, INT32_MAX, &n_cached, err);
    if (code != 0)
        return code;
    if (j->state < JOB_IS_STARTED)
        j->state = JOB_IS_STARTED;
    if (!first)
        return 0;
    j->told_started = true;
    j->n_cached = n_cached;
    tell(j, &(struct job_news){.event = JOB_STARTED, .n_cached = n_cached});
    return 0;
}

static int on_delta(struct job *j, const json_t *frame, struct err *err)
{
    struct gen_delta delta = {0};
    j->state = JOB_IS_DECODING;
    int code = gen_delta_from_json(frame, &delta, err);
    if (code == 0)
        code = replay_delta(&j->replay, &delta, err);
    if (code == 0) {
        j->n_tokens += (int64_t)delta.n_tokens;
        j->n_new += (int64_t)delta.n_tokens;
        if (trial_progress(j))
            wake(j->slot);
        tell(j, &(struct job_news){.event = JOB_DELTA, .delta = &delta});
    }
    gen_delta_release(&delta);
    return code;
}

static int on_end(struct job *j, const json_t *frame, struct err *err)
{
    struct gen_end end = {0};
    int code = gen_end_from_json(frame, &end, err);
    if (code == 0)
        code = replay_end(&j->replay, &end, err);
    if (code == 0)
        tell(j, &(struct job_news){.event = JOB_END, .end = &end});
    gen_end_release(&end);
    return code;
}

static int on_done(struct job *j, const json_t *frame, struct err *err)
{
    struct gen_done done = {0};
    struct slot *s = j->slot;
    int code = gen_done_from_json(frame, &done, err);
    if (code == 0 && !replay_is_over(&j->replay))
        code = err_set(err, ERR_INVALID, "a request is done before its choices have ended");
    if (code != 0)
        return code;
    wait_learn(s, j, &done);
    if (j->n_lives > 1)
        done.n_cached = j->n_cached;
    job_fn fn = j->fn;
    void *ctx = j->ctx;
    int tag = j->tag;
    job_remove(j);
    if (fn != NULL)
        fn(ctx, tag, &(struct job_news){.event = JOB_DONE, .done = &done});
    return 0;
}

/* The worker has its hands full with others: the job waits here until one of them is over. */
static void put_back(struct job *j)
{
    struct slot *s = j->slot;
    j->state = JOB_IS_WAITING;
    j->n_lives--;
    s->n_sent--;
    s->worker_full = true;
    if (s->trial == j) {
        s->trial = NULL;
        j->n_trials--;
    }
}

static int on_error(struct job *j, const json_t *frame, struct err *err)
{
    struct gen_error error = {0};
    int code = gen_error_from_json(frame, &error, err);
    bool full = error.err.code == ERR_BUSY && j->state == JOB_IS_SENT && j->slot->n_sent > 1;
    if (code == 0 && full && j->fn != NULL)
        put_back(j);
    else if (code == 0)
        job_fail(j, &error);
    return code;
}

/* The answer to a question that is no generation. */
static int on_text(struct job *j, const json_t *frame, struct err *err)
{
    struct str text = STR("");
    int code = json_get_str(frame, "text", &text, err);
    if (code != 0)
        return code;
    job_fn fn = j->fn;
    void *ctx = j->ctx;
    int tag = j->tag;
    job_remove(j);
    if (fn != NULL)
        fn(ctx, tag, &(struct job_news){.event = JOB_TEXT, .text = text, .frame = frame});
    return 0;
}

static int on_job_frame(struct slot *s, const char *type, const json_t *frame, struct err *err)
{
    uint64_t id;
    int code = message_id(frame, &id, err);
    if (code != 0)
        return code;
    struct job *j = job_find(s, id);
    if (j == NULL || j->state == JOB_IS_WAITING)
        return err_set(err, ERR_INVALID, "a frame '%s' of a request it does not have", type);
    s->progress_ms = clock_ms();
    static const struct {
        const char *type;
        bool asked, generates; /* of which jobs it may speak */
        int (*take)(struct job *j, const json_t *frame, struct err *err);
    } news[] = {{"delta", false, true, on_delta},     {"accepted", false, true, on_accepted},
                {"started", false, true, on_started}, {"end", false, true, on_end},
                {"done", false, true, on_done},       {"error", true, true, on_error},
                {"text", true, false, on_text},       {"tokens", true, false, on_text},
                {"described", true, false, on_text}};
    for (size_t i = 0; i < ARRAY_LEN(news); i++) {
        if (strcmp(type, news[i].type) != 0)
            continue;
        if (j->n_units > 0 ? !news[i].generates : !news[i].asked)
            return err_set(err, ERR_INVALID, "a frame '%s' of a request of another kind", type);
        return news[i].take(j, frame, err);
    }
    return err_set(err, ERR_INVALID, "a frame of the unknown type '%.40s'", type);
}

static void on_frame(void *ctx, const json_t *frame)
{
    static const struct {
        const char *type;
        int (*take)(struct slot *s, const json_t *frame, struct err *err);
    } own[] = {{"progress", on_progress},
               {"packed", on_packed},
               {"ready", on_ready},
               {"failed", on_failed},
               {"stats", on_stats}};
    struct slot *s = ctx;
    struct err err = {0};
    const char *type = json_string_value(json_object_get(frame, "t"));
    size_t i = 0;
    while (i < ARRAY_LEN(own) && strcmp(own[i].type, type == NULL ? "" : type) != 0)
        i++;
    int code = i < ARRAY_LEN(own) ? own[i].take(s, frame, &err)
                                  : on_job_frame(s, type == NULL ? "" : type, frame, &err);
    if (code != 0 && s->process != NULL) {
        log_error("the worker of %s sent what it must not: %s", s->name, err.text);
        process_kill(s->process, "broke the frame protocol and was stopped");
    } else if (s->retiring && s->n_jobs == 0 && s->state == SLOT_READY) {
        slot_stop(s);
    }
}

/* ---- the watchdog ---- */

/*
 * A look takes place before what the worker sent meanwhile is read, should this process have
 * slept; so it takes two of them.
 */
static void on_watch(uv_timer_t *t)
{
    struct slot *s = t->data;
    char why[96];
    int64_t patience_ms = s->models->opts->stall_timeout_ms;
    if (s->process == NULL || (s->state == SLOT_READY && s->n_sent == 0)) {
        uv_timer_stop(t);
        return;
    }
    patience_ms *= s->state == SLOT_LOADING ? LOAD_PATIENCE : 1;
    int64_t now_ms = clock_ms(), waited_ms = starved_waited_ms(process_pid(s->process));
    now_ms -= starved_forgive(&s->starved, now_ms, s->progress_ms, waited_ms);
    if (now_ms - s->progress_ms < patience_ms)
        s->n_still = 0;
    else if (s->n_still++ > 0) {
        snprintf(why, sizeof why, "made no progress for %" PRId64 " ms and was killed",
                 patience_ms);
        s->models->metrics->worker_stalls++;
        process_kill(s->process, why);
    }
}

/* There is something to wait for from now on. */
static void watch(struct slot *s)
{
    int64_t each_ms = s->models->opts->stall_timeout_ms / 4;
    if (each_ms == 0)
        return; /* not wanted */
    s->progress_ms = clock_ms();
    s->n_still = 0;
    each_ms = each_ms < WATCH_MAX_MS ? each_ms : WATCH_MAX_MS;
    uv_timer_start(&s->watch, on_watch, (uint64_t)each_ms, (uint64_t)each_ms);
}

/* ---- the worker's life ---- */

static void wait_for(struct slot *s, int delay_ms)
{
    s->state = SLOT_WAITING;
    uv_timer_start(&s->timer, on_timer, (uint64_t)delay_ms, 0);
}

static void give_up(struct slot *s)
{
    struct err err = s->reason;
    s->state = SLOT_FAILED;
    s->failed_ms = clock_ms();
    log_error("model %s: %s", s->name, err.text);
    err.code = ERR_UNAVAILABLE;
    err.param[0] = '\0';
    err_wrap(&err, "the model '%s' cannot be served", s->name);
    fail_jobs(s, &err);
}

/* The deaths of the last minute, this one included. */
static int count_death(struct slot *s)
{
    int64_t now_ms = clock_ms();
    int recent = 0;
    s->death_ms[s->n_deaths++ % SLOT_DEATHS_MAX] = now_ms;
    for (uint64_t i = 0; i < SLOT_DEATHS_MAX && i < s->n_deaths; i++)
        recent += now_ms - s->death_ms[i] < SLOT_DEATHS_WINDOW_MS;
    s->models->metrics->worker_deaths++;
    return recent;
}

/* Those whose client left while the worker had them: it has stopped them for good. */
static void drop_cancelled(struct slot *s)
{
    struct job *j = s->jobs;
    while (j != NULL) {
        struct job *next = j->next;
        if (j->fn == NULL)
            job_remove(j);
        j = next;
    }
}

/* A job that kills the worker fails alone. */
static void fail_guilty(struct slot *s, struct job *guilty, const char *how)
{
    struct gen_error error = {.id = guilty->id};
    err_set(&error.err, ERR_INTERNAL,
            "this request was running at %d deaths of the worker process of model '%s', at the "
            "last one alone (it %s); it is not tried again",
            guilty->n_deaths, s->name, how);
    log_error("model %s: %s", s->name, error.err.text);
    trial_over(s);
    job_fail(guilty, &error);
}

static void on_death(struct slot *s, const char *how)
{
    int recent = count_death(s);
    int n_sent = s->n_sent;
    struct job *guilty = trial_death(s, s->blameless);
    s->n_sent = 0;
    s->worker_full = false;
    err_set(&s->reason, ERR_UNAVAILABLE, "the worker process %s", how);
    if (guilty != NULL && guilty->fn != NULL) {
        fail_guilty(s, guilty, how);
        recent = 1;
    }
    drop_cancelled(s);
    if (recent >= SLOT_DEATHS_MAX) {
        err_set(&s->reason, ERR_UNAVAILABLE,
                "its worker process died %d times within a minute (the last one %s); look at the "
                "log, then stop the model or wait a minute, and ask again",
                recent, how);
        s->looped = true;
        give_up(s);
        return;
    }
    int delay_ms = DELAY_FIRST_MS << (recent - 1);
    log_warn("the worker of %s %s; starting it again in %d ms, to go on with %d requests", s->name,
             how, delay_ms, n_sent);
    wait_for(s, delay_ms < DELAY_MAX_MS ? delay_ms : DELAY_MAX_MS);
}

/*
 * The system may be out of processes or descriptors for a moment, and has started this model
 * before: as after a death that no job explains.
 */
static void on_no_start(struct slot *s)
{
    char how[sizeof s->reason.text];
    snprintf(how, sizeof how, "could not be started (%.500s)", s->reason.text);
    s->blameless = true;
    on_death(s, how);
}

static void on_over(void *ctx, const char *how)
{
    struct slot *s = ctx;
    s->process = NULL;
    s->stats = (struct worker_stats){0};
    uv_timer_stop(&s->watch);
    bool suspect = s->state == SLOT_LOADING && !s->load_failed;
    packing_free(s->packing, suspect);
    prefix_lease_free(s->prefix, suspect);
    s->packing = NULL;
    s->prefix = NULL;
    s->prompt_rate = s->output_rate = (struct rate){0};
    if (s->state == SLOT_STOPPING || (s->state == SLOT_LEAVING && s->n_jobs == 0)) {
        models_forget(s->models, s);
    } else if (s->state == SLOT_LEAVING) {
        s->n_starts = 0; /* the next is no restart after a death */
        wait_for(s, 0);
    } else if (s->load_failed && s->reason.code == ERR_NOMEM && models_needs_more(s->models, s)) {
        log_info("model %s: %s; it waits for other models to make room", s->name, s->reason.text);
        wait_for(s, ROOM_POLL_MS);
    } else if (s->load_failed && s->reason.code == ERR_NOMEM && s->ctx_kept > 0) {
        s->ctx_kept = 0; /* there is less memory than before: those that still fit go on */
        wait_for(s, ROOM_POLL_MS);
    } else if (s->load_failed) {
        give_up(s);
    } else {
        on_death(s, how);
    }
}

/* A worker that goes on computing with weights that the disk lost would answer nonsense. */
static void on_pack_lost(void *ctx)
{
    struct slot *s = ctx;
    s->pack_lost = true;
    s->blameless = true;
    if (s->process != NULL)
        process_kill(s->process, "had its packed weights on a disk that failed");
}

/* Whether the files are those that the last process had. */
static void look_at_files(struct slot *s)
{
    char key[PACK_CACHE_KEY_LEN + 1] = "";
    if (pack_cache_key(s->path, s->n_path, key, NULL) != 0)
        key[0] = '\0';
    s->model_epoch += strcmp(key, s->model_key) != 0;
    strcpy(s->model_key, key);
}

/* A descriptor for the prefixes that this model computes; without one it goes on as well. */
static void take_prefixes(struct slot *s, struct process_opts *p)
{
    const struct gateway_opts *o = s->models->opts;
    char key[PACK_CACHE_KEY_LEN + 1];
    struct err err = {0};
    p->prefix_fd = -1;
    if (s->models->prefixes == NULL)
        return;
    int code = pack_cache_key(s->path, s->n_path, key, &err);
    if (code == 0)
        code = prefix_lease_take(s->models->prefixes, key, o->kv_type, o->activations, &s->prefix,
                                 &err);
    if (code != 0) {
        log_warn("model %s: computed prefixes are not kept on the disk: %s", s->name, err.text);
        return;
    }
    p->prefix_fd = s->prefix->fd;
    p->prefix_key = s->prefix->identity;
    p->prefix_bytes_max = s->prefix->bytes_max;
}

/* The server's own model, however it was called. */
static bool is_first_model(const struct slot *s)
{
    const char *first = s->models->opts->model;
    struct store_model found = {0};
    if (first == NULL)
        return false;
    bool same = strcmp(first, s->name) == 0;
    if (!same && store_find(s->models->store, first, &found, NULL) == 0)
        same = strcmp(found.name, s->name) == 0;
    store_model_release(&found);
    return same;
}

/* The draft model of the server's own model; others have none. */
static int find_draft(struct slot *s)
{
    const struct gateway_opts *o = s->models->opts;
    store_model_release(&s->draft);
    s->draft = (struct store_model){0};
    if (o->draft_model == NULL || !is_first_model(s))
        return 0;
    int code = store_find(s->models->store, o->draft_model, &s->draft, &s->reason);
    return code != 0 ? err_wrap(&s->reason, "the draft model") : 0;
}

static int start_process(struct slot *s, int64_t bytes_max)
{
    const struct gateway_opts *o = s->models->opts;
    if (s->n_jobs == 0)
        s->ctx_kept = 0; /* nobody's answer depends on it */
    look_at_files(s);
    struct process_opts p = {.exe = o->exe,
                             .exe_self = o->exe_self,
                             .path = s->path,
                             .n_path = s->n_path,
                             .draft_path = s->draft.path,
                             .n_draft_path = s->draft.n_path,
                             .template_text = s->template_text,
                             .draft_max = o->draft_max,
                             .ctx = s->ctx_kept > 0 ? s->ctx_kept : o->ctx,
                             .parallel = o->parallel,
                             .threads = o->threads,
                             .threads_decode = o->threads_decode,
                             .activations = o->activations,
                             .kv_type = o->kv_type,
                             .speculate = o->speculate,
                             .step_ms = o->step_ms,
                             .memory_max_bytes = bytes_max,
                             .ctx_ptr = s,
                             .on_frame = on_frame,
                             .on_over = on_over};
    s->packing = packing_new(&(struct packing_opts){
        .loop = s->models->loop,
        .cache = s->pack_lost ? NULL : s->models->pack_cache,
        .name = s->name,
        .path = s->path,
        .n_path = s->n_path,
        .bytes = s->bytes,
        .ctx = s,
        .on_lost = on_pack_lost,
    });
    packing_fill(s->packing, &p);
    take_prefixes(s, &p);
    int code = process_start(s->models->loop, &p, &s->process, &s->reason);
    if (code != 0) {
        packing_free(s->packing, false);
        prefix_lease_free(s->prefix, false);
        s->packing = NULL;
        s->prefix = NULL;
    }
    return code;
}

void slot_start(struct slot *s)
{
    int64_t bytes_max = 0;
    err_clear(&s->reason);
    s->load_failed = false;
    if (find_draft(s) != 0) {
        give_up(s);
        return;
    }
    enum models_room room = models_make_room(s->models, s, &bytes_max, &s->reason);
    if (room == MODELS_ROOM_SOON) {
        wait_for(s, ROOM_POLL_MS);
        return;
    }
    int code = room == MODELS_ROOM_NONE ? ERR_NOMEM : start_process(s, bytes_max);
    if (code == ERR_IO && s->ready.n_ctx > 0) {
        on_no_start(s);
        return;
    }
    if (code != 0) {
        give_up(s);
        return;
    }
    s->state = SLOT_LOADING;
    s->start_ms = clock_ms();
    s->yielding = false;
    s->fraction = 0;
    s->blameless = false;
    strcpy(s->stage, "start");
    watch(s);
    s->models->metrics->worker_starts++;
    s->models->metrics->worker_restarts += s->n_starts++ > 0;
    log_debug("model %s: worker %d started", s->name, process_pid(s->process));
}

static void on_timer(uv_timer_t *t)
{
    struct slot *s = t->data;
    if (s->state == SLOT_WAITING && s->ticket != 0 && s->n_jobs == 0)
        slot_stop(s); /* all who wanted it have left the line */
    else if (s->state == SLOT_WAITING)
        slot_start(s);
    else if (s->state == SLOT_READY)
        send_waiting(s);
    if (s->retiring && s->n_jobs == 0 && s->state != SLOT_STOPPING)
        slot_stop(s);
}

void slot_stop(struct slot *s)
{
    if (s->state == SLOT_STOPPING)
        return;
    struct err err = {0};
    err_set(&err, ERR_UNAVAILABLE, "%s",
            s->models->stopping ? "the server is shutting down and could not finish this request"
                                : "the model was stopped while this request was waiting");
    s->state = SLOT_STOPPING;
    uv_timer_stop(&s->timer);
    fail_jobs(s, &err);
    if (s->process != NULL)
        process_stop(s->process, SLOT_STOP_GRACE_MS);
    else
        models_forget(s->models, s);
}

void slot_evict(struct slot *s)
{
    s->state = SLOT_LEAVING;
    uv_timer_stop(&s->timer);
    process_stop(s->process, SLOT_STOP_GRACE_MS);
}

void slot_retire(struct slot *s)
{
    s->retiring = true;
    if (s->n_jobs == 0)
        slot_stop(s);
}

int slot_revive(struct slot *s, struct err *err)
{
    int64_t cool_ms = s->looped ? SLOT_COOL_MS : SLOT_COOL_LOAD_MS;
    if (clock_ms() - s->failed_ms >= cool_ms) {
        s->looped = false;
        s->n_deaths = 0;
        slot_start(s);
        if (s->state != SLOT_FAILED)
            return 0;
    }
    return err_set(err, ERR_UNAVAILABLE, "the model '%s' cannot be served: %s", s->name,
                   s->reason.text);
}

struct slot *slot_new(struct models *m, struct store_model *found)
{
    struct slot *s = mem_zero(1, sizeof *s);
    s->models = m;
    s->name = str_dup(str_z(found->name));
    s->digest = str_dup(str_z(found->digest));
    s->bytes = found->bytes;
    s->modified_ms = found->modified_ms;
    s->system_text = found->system_text;
    s->params_json = found->params_json;
    s->path = found->path;
    s->n_path = found->n_path;
    s->messages_json = found->messages_json;
    s->template_text = found->template_text;
    found->system_text = found->params_json = found->messages_json = found->template_text = NULL;
    found->path = NULL;
    found->n_path = 0;
    s->used_ms = clock_ms();
    models_recall(m, s);
    s->timer.data = s->watch.data = s;
    uv_timer_init(m->loop, &s->timer);
    uv_timer_init(m->loop, &s->watch);
    s->n_handles = 2;
    return s;
}

static void on_timer_closed(uv_handle_t *handle)
{
    struct slot *s = handle->data;
    if (--s->n_handles > 0)
        return;
    for (int i = 0; i < s->n_path; i++)
        free(s->path[i]);
    free(s->path);
    store_model_release(&s->draft);
    free(s->name);
    free(s->digest);
    free(s->system_text);
    free(s->params_json);
    free(s->messages_json);
    free(s->template_text);
    free(s);
}

void slot_free(struct slot *s)
{
    uv_close((uv_handle_t *)&s->timer, on_timer_closed);
    uv_close((uv_handle_t *)&s->watch, on_timer_closed);
}

const char *slot_state_word(const struct slot *s)
{
    static const char *const words[] = {"loading", "ready",    "restarting",
                                        "failed",  "stopping", "leaving"};
    return s->ticket != 0 ? "waiting" : words[s->state];
}

int64_t slot_file_bytes(const struct slot *s)
{
    return s->bytes + s->draft.bytes;
}

int64_t slot_plan_bytes(const struct slot *s)
{
    const struct worker_ready *r = &s->ready;
    if (s->process == NULL)
        return 0;
    return s->state == SLOT_LOADING || r->weight_bytes == 0
               ? slot_file_bytes(s)
               : r->weight_bytes + r->kv_bytes + r->scratch_bytes;
}
