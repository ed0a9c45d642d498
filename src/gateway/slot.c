/*
 * slot: see slot.h. Owns the state machine of one model's worker.
 *
 *   LOADING -ready-> READY -death-> WAITING -timer-> LOADING
 *   LOADING -failed-> FAILED (or WAITING, when unloading another model may help)
 *   any -slot_stop-> STOPPING -process gone-> forgotten
 *
 * A cancelled job stays in the list, without an owner, until the worker says that it is over: its
 * place is taken until then, and the time that takes is measured.
 */
#include "gateway/slot.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "gateway/models.h"
#include "gateway/packing.h"
#include "gateway/process.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DELAY_FIRST_MS 50
#define DELAY_MAX_MS   5000
#define ROOM_POLL_MS   50

enum job_state {
    JOB_IS_WAITING, /* not sent */
    JOB_IS_SENT,
    JOB_IS_STARTED,
    JOB_IS_DECODING,
};

struct job {
    struct slot *slot;
    struct job *next;
    uint64_t id;
    json_t *frame; /* until sent */
    int64_t n_units;
    int tag;
    job_fn fn; /* NULL: nobody is listening any more */
    void *ctx;
    enum job_state state;
    int64_t submit_ns, cancel_ns;
    bool client_left;
};

static void on_timer(uv_timer_t *t);

/* ---- jobs ---- */

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
    s->used_ms = clock_ms();
    if (j->client_left)
        histogram_add(&s->models->metrics->cancel, (double)(clock_ns() - j->cancel_ns) * 1e-9);
    json_decref(j->frame);
    free(j);
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

/* Fails the jobs that were sent, or all. */
static void fail_jobs(struct slot *s, bool all, const struct err *err)
{
    struct gen_error error = {.err = *err};
    struct job *j = s->jobs;
    while (j != NULL) {
        if (all || j->state != JOB_IS_WAITING) {
            error.id = j->id;
            job_fail(j, &error);
            j = s->jobs; /* the list may be another one now */
        } else {
            j = j->next;
        }
    }
}

static void send_job(struct job *j)
{
    struct gen_error error = {.id = j->id};
    if (process_send(j->slot->process, j->frame, &error.err) != 0) {
        job_fail(j, &error);
        return;
    }
    json_decref(j->frame);
    j->frame = NULL;
    j->state = JOB_IS_SENT;
}

static void send_waiting(struct slot *s)
{
    struct job *j = s->jobs;
    while (j != NULL && s->state == SLOT_READY) {
        struct job *next = j->next;
        if (j->state == JOB_IS_WAITING) {
            send_job(j);
            next = s->jobs; /* the list may be another one now */
        }
        j = next;
    }
}

bool slot_has_room(const struct slot *s, int64_t n_units, int *ret_retry_after_s)
{
    int64_t parallel = s->ready.n_seq_max > 0 ? s->ready.n_seq_max : s->models->opts->parallel;
    int64_t max = parallel + s->models->opts->queue_max;
    if (s->n_units == 0 || s->n_units + n_units <= max)
        return true;
    double wait_s = s->job_seconds * (double)s->n_jobs / (double)(parallel > 0 ? parallel : 1) / 2;
    *ret_retry_after_s = (int)fmin(fmax(ceil(wait_s), 1), 120);
    return false;
}

struct job *slot_submit(struct slot *s, uint64_t id, json_t *frame, int64_t n_units, int tag,
                        job_fn fn, void *ctx)
{
    struct job *j = mem_zero(1, sizeof *j);
    struct job **at = &s->jobs;
    *j = (struct job){.slot = s,
                      .id = id,
                      .frame = frame,
                      .n_units = n_units,
                      .tag = tag,
                      .fn = fn,
                      .ctx = ctx,
                      .submit_ns = clock_ns()};
    while (*at != NULL)
        at = &(*at)->next;
    *at = j;
    s->n_jobs++;
    s->n_units += n_units;
    s->used_ms = clock_ms();
    if (s->state == SLOT_READY)
        uv_timer_start(&s->timer, on_timer, 0, 0); /* sends, once the caller has its handle */
    return j;
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
        if (code == 0)
            return; /* removed when the worker confirms, or dies */
    }
    job_remove(j);
    if (s->retiring && s->n_jobs == 0)
        uv_timer_start(&s->timer, on_timer, 0, 0);
}

/* ---- frames from the worker ---- */

static int on_progress(struct slot *s, const json_t *frame, struct err *err)
{
    struct str stage = STR("");
    int code = json_get_f64(frame, "fraction", 0, 1, &s->fraction, err);
    if (code == 0)
        code = json_get_str(frame, "stage", &stage, err);
    if (code == 0)
        snprintf(s->stage, sizeof s->stage, "%.*s", STR_ARG(str_sub(stage, 0, 15)));
    return code;
}

static int on_ready(struct slot *s, const json_t *frame, struct err *err)
{
    struct worker_ready ready = {0};
    int code = worker_ready_from_json(frame, &ready, err);
    if (code != 0)
        return code;
    s->ready = ready;
    s->state = SLOT_READY;
    err_clear(&s->reason);
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
    int rc = json_get_str(frame, "code", &code, err);
    if (rc == 0)
        rc = json_get_str(frame, "message", &message, err);
    if (rc != 0)
        return rc;
    snprintf(word, sizeof word, "%.*s", STR_ARG(str_sub(code, 0, 31)));
    err_set(&s->reason, err_code_of_word(word), "%.*s", STR_ARG(message));
    s->load_failed = true;
    return 0;
}

static int on_stats(struct slot *s, const json_t *frame, struct err *err)
{
    struct worker_stats stats = {0};
    int code = worker_stats_from_json(frame, &stats, err);
    if (code == 0)
        s->stats = stats;
    return code;
}

static void tell(struct job *j, const struct job_news *news)
{
    if (j->fn != NULL)
        j->fn(j->ctx, j->tag, news);
}

static int on_delta(struct job *j, const json_t *frame, struct err *err)
{
    struct gen_delta delta = {0};
    j->state = JOB_IS_DECODING;
    if (j->fn == NULL)
        return 0;
    int code = gen_delta_from_json(frame, &delta, err);
    if (code != 0)
        return code;
    tell(j, &(struct job_news){.event = JOB_DELTA, .delta = &delta});
    gen_delta_release(&delta);
    return 0;
}

static int on_end(struct job *j, const json_t *frame, struct err *err)
{
    struct gen_end end = {0};
    int code = gen_end_from_json(frame, &end, err);
    if (code != 0)
        return code;
    tell(j, &(struct job_news){.event = JOB_END, .end = &end});
    gen_end_release(&end);
    return 0;
}

static int on_done(struct job *j, const json_t *frame, struct err *err)
{
    struct gen_done done = {0};
    struct slot *s = j->slot;
    int code = gen_done_from_json(frame, &done, err);
    if (code != 0)
        return code;
    double seconds = (double)(clock_ns() - j->submit_ns) * 1e-9;
    s->job_seconds = s->job_seconds == 0 ? seconds : 0.8 * s->job_seconds + 0.2 * seconds;
    job_fn fn = j->fn;
    void *ctx = j->ctx;
    int tag = j->tag;
    job_remove(j);
    if (fn != NULL)
        fn(ctx, tag, &(struct job_news){.event = JOB_DONE, .done = &done});
    return 0;
}

static int on_error(struct job *j, const json_t *frame, struct err *err)
{
    struct gen_error error = {0};
    int code = gen_error_from_json(frame, &error, err);
    if (code == 0)
        job_fail(j, &error);
    return code;
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
    if (strcmp(type, "delta") == 0)
        return on_delta(j, frame, err);
    if (strcmp(type, "accepted") == 0) {
        tell(j, &(struct job_news){.event = JOB_ACCEPTED});
        return 0;
    }
    if (strcmp(type, "started") == 0) {
        j->state = JOB_IS_STARTED;
        tell(j, &(struct job_news){.event = JOB_STARTED});
        return 0;
    }
    if (strcmp(type, "end") == 0)
        return on_end(j, frame, err);
    if (strcmp(type, "done") == 0)
        return on_done(j, frame, err);
    if (strcmp(type, "error") == 0)
        return on_error(j, frame, err);
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
    fail_jobs(s, true, &err);
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

static void on_death(struct slot *s, const char *how)
{
    struct err err = {0};
    int recent = count_death(s);
    err_set(&s->reason, ERR_UNAVAILABLE, "the worker process %s", how);
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
    log_warn("the worker of %s %s; starting it again in %d ms", s->name, how, delay_ms);
    wait_for(s, delay_ms < DELAY_MAX_MS ? delay_ms : DELAY_MAX_MS);
    err_set(&err, ERR_UNAVAILABLE,
            "the worker process of model '%s' %s while this request was running; it is being "
            "started again: send the request again",
            s->name, how);
    fail_jobs(s, false, &err);
}

static void on_over(void *ctx, const char *how)
{
    struct slot *s = ctx;
    s->process = NULL;
    s->stats = (struct worker_stats){0};
    bool suspect = s->state == SLOT_LOADING && !s->load_failed;
    packing_free(s->packing, suspect);
    prefix_lease_free(s->prefix, suspect);
    s->packing = NULL;
    s->prefix = NULL;
    if (s->state == SLOT_STOPPING) {
        models_forget(s->models, s);
    } else if (s->load_failed && s->reason.code == ERR_NOMEM && models_evict_one(s->models, s)) {
        log_info("model %s: %s; unloading another model for it", s->name, s->reason.text);
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
    if (s->process != NULL)
        process_kill(s->process, "had its packed weights on a disk that failed");
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

static int start_process(struct slot *s, int64_t bytes_max)
{
    const struct gateway_opts *o = s->models->opts;
    struct process_opts p = {.exe = o->exe,
                             .path = s->path,
                             .n_path = s->n_path,
                             .ctx = o->ctx,
                             .parallel = o->parallel,
                             .threads = o->threads,
                             .threads_decode = o->threads_decode,
                             .activations = o->activations,
                             .kv_type = o->kv_type,
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
    enum models_room room = models_make_room(s->models, s, &bytes_max, &s->reason);
    if (room == ROOM_SOON) {
        wait_for(s, ROOM_POLL_MS);
        return;
    }
    if (room == ROOM_NONE || start_process(s, bytes_max) != 0) {
        give_up(s);
        return;
    }
    s->state = SLOT_LOADING;
    s->fraction = 0;
    strcpy(s->stage, "start");
    s->models->metrics->worker_starts++;
    s->models->metrics->worker_restarts += s->n_starts++ > 0;
    log_debug("model %s: worker %d started", s->name, process_pid(s->process));
}

static void on_timer(uv_timer_t *t)
{
    struct slot *s = t->data;
    if (s->state == SLOT_WAITING)
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
    const struct err err = {.code = ERR_UNAVAILABLE,
                            .text = "the model was stopped while this request was waiting"};
    s->state = SLOT_STOPPING;
    uv_timer_stop(&s->timer);
    fail_jobs(s, true, &err);
    if (s->process != NULL)
        process_stop(s->process, SLOT_STOP_GRACE_MS);
    else
        models_forget(s->models, s);
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
    found->system_text = found->params_json = NULL;
    found->path = NULL;
    found->n_path = 0;
    s->used_ms = clock_ms();
    s->timer.data = s;
    uv_timer_init(m->loop, &s->timer);
    return s;
}

static void on_timer_closed(uv_handle_t *handle)
{
    struct slot *s = handle->data;
    for (int i = 0; i < s->n_path; i++)
        free(s->path[i]);
    free(s->path);
    free(s->name);
    free(s->digest);
    free(s->system_text);
    free(s->params_json);
    free(s);
}

void slot_free(struct slot *s)
{
    uv_close((uv_handle_t *)&s->timer, on_timer_closed);
}

const char *slot_state_word(const struct slot *s)
{
    static const char *const words[] = {"loading", "ready", "restarting", "failed", "stopping"};
    return words[s->state];
}

int64_t slot_plan_bytes(const struct slot *s)
{
    const struct worker_ready *r = &s->ready;
    if (s->process == NULL)
        return 0;
    return s->state == SLOT_LOADING || r->weight_bytes == 0
               ? s->bytes
               : r->weight_bytes + r->kv_bytes + r->scratch_bytes;
}
