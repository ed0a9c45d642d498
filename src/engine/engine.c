/*
 * engine: the step loop and the two queues around it. See the header.
 *
 * Invariant: once the END event of a sequence is in the ring, the engine does not touch that
 * sequence again, nor its job if it was the last.
 */
#include "engine/engine.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/mem.h"
#include "engine/alloc_guard.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#define EVENTS_MAX    1024 /* the ring; some seconds of one stream */
#define DISK_FLUSH_MS 1500 /* at the end, for blocks that are not on the disk yet */

struct engine {
    struct engine_config config;
    struct scheduler scheduler;
    float *logits;                   /* [n_out_max, n_vocab] */
    struct sampler_result *result;   /* [n_out_max] */
    struct sampler_scratch *scratch; /* [n_scratch], one per thread of the pool */
    int n_scratch;
    struct step_cost cost;
    struct speculation speculation;
    struct guides *guides;

    pthread_t thread;
    bool is_started;
    int event_fd;
    atomic_bool cancel_pending;
    atomic_bool disk_news; /* something was read or written */

    pthread_mutex_t lock; /* all below */
    pthread_cond_t work;  /* a job, a cancel or the stop */
    pthread_cond_t room;  /* in the ring */
    bool stop;
    struct job *inbox, **inbox_end;
    struct engine_event *event; /* [EVENTS_MAX] ring */
    uint32_t event_head, event_tail;
    struct engine_stats stats;
};

/* ---- birth and death ---- */

static int n_scratch_of(const struct engine_config *c)
{
    return c->pool ? pool_n_threads(c->pool) : 1;
}

uint64_t engine_bytes(const struct engine_config *c)
{
    uint64_t row = (uint64_t)c->n_vocab * sizeof(float) + sizeof(struct sampler_result);
    return (uint64_t)c->limits.n_out_max * row +
           (uint64_t)n_scratch_of(c) * sampler_scratch_bytes(c->n_vocab) +
           guides_bytes(c->n_vocab, c->limits.n_out_max) +
           EVENTS_MAX * sizeof(struct engine_event) + scheduler_bytes(&c->limits, c->kv.n_blocks);
}

static int engine_init(struct engine *e, struct err *err)
{
    const struct engine_config *c = &e->config;
    CHECK(c->block_bytes > 0);
    step_cost_init(&e->cost);
    e->speculation = (struct speculation){.mode = c->speculate,
                                          .cost = &e->cost,
                                          .step_ms = c->step_ms,
                                          .drafter = c->drafter,
                                          .eog = c->eog,
                                          .n_eog = c->n_eog};
    int rc = scheduler_init(&e->scheduler, &c->limits, c->kv.n_blocks, err);
    if (rc != 0)
        return rc;
    e->scheduler.cache.disk = c->disk;
    e->n_scratch = n_scratch_of(c);
    e->logits = mem_try_array((size_t)c->limits.n_out_max, (size_t)c->n_vocab * sizeof(float));
    e->result = mem_try_array((size_t)c->limits.n_out_max, sizeof(*e->result));
    e->scratch = mem_try_array((size_t)e->n_scratch, sizeof(*e->scratch));
    e->event = mem_try_array(EVENTS_MAX, sizeof(*e->event));
    if (!e->logits || !e->result || !e->scratch || !e->event)
        return err_set(err, ERR_NOMEM, "no memory for the engine");
    rc = guides_new(c->n_vocab, c->limits.n_out_max, c->force, c->force_ctx, &e->guides, err);
    for (int i = 0; i < e->n_scratch && rc == 0; i++) {
        rc = sampler_scratch_init(&e->scratch[i], c->n_vocab, err);
    }
    if (rc != 0)
        return rc;
    e->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return e->event_fd < 0 ? err_set(err, ERR_IO, "cannot create an event descriptor") : 0;
}

int engine_new(const struct engine_config *c, struct engine **ret, struct err *err)
{
    struct engine *e = mem_zero(1, sizeof(*e));
    e->config = *c;
    e->event_fd = -1;
    e->inbox_end = &e->inbox;
    pthread_mutex_init(&e->lock, NULL);
    pthread_cond_init(&e->work, NULL);
    pthread_cond_init(&e->room, NULL);
    int rc = engine_init(e, err);
    if (rc != 0) {
        engine_free(e);
        return rc;
    }
    e->stats.n_blocks = c->kv.n_blocks;
    *ret = e;
    return 0;
}

void engine_free(struct engine *e)
{
    if (!e)
        return;
    CHECK(!e->is_started);
    for (int i = 0; e->scratch && i < e->n_scratch; i++)
        sampler_scratch_release(&e->scratch[i]);
    scheduler_release(&e->scheduler);
    guides_free(e->guides);
    free(e->logits);
    free(e->result);
    free(e->scratch);
    free(e->event);
    if (e->event_fd >= 0)
        close(e->event_fd);
    pthread_cond_destroy(&e->room);
    pthread_cond_destroy(&e->work);
    pthread_mutex_destroy(&e->lock);
    free(e);
}

/* ---- commands in ---- */

void engine_submit(struct engine *e, struct job *job)
{
    pthread_mutex_lock(&e->lock);
    job->next_new = NULL;
    *e->inbox_end = job;
    e->inbox_end = &job->next_new;
    pthread_cond_signal(&e->work);
    pthread_mutex_unlock(&e->lock);
}

void engine_cancel(struct engine *e, struct sequence *seq)
{
    atomic_store(&seq->cancel, true);
    atomic_store(&e->cancel_pending, true);
    pthread_mutex_lock(&e->lock);
    pthread_cond_signal(&e->work);
    pthread_mutex_unlock(&e->lock);
}

/* ---- events out ---- */

static void emit(struct engine *e, const struct engine_event *event)
{
    pthread_mutex_lock(&e->lock);
    while (e->event_tail - e->event_head == EVENTS_MAX && !e->stop)
        pthread_cond_wait(&e->room, &e->lock);
    bool was_empty = e->event_tail == e->event_head;
    if (e->event_tail - e->event_head < EVENTS_MAX)
        e->event[e->event_tail++ % EVENTS_MAX] = *event;
    pthread_mutex_unlock(&e->lock);
    if (was_empty) {
        uint64_t one = 1;
        ssize_t n = write(e->event_fd, &one, sizeof(one));
        (void)n; /* full means readable, which is what we want */
    }
}

int engine_event_fd(const struct engine *e)
{
    return e->event_fd;
}

int engine_take(struct engine *e, struct engine_event *ret, int max)
{
    uint64_t count;
    ssize_t rc = read(e->event_fd, &count, sizeof(count));
    (void)rc; /* nothing to read is fine */
    int n = 0;
    pthread_mutex_lock(&e->lock);
    while (n < max && e->event_head != e->event_tail)
        ret[n++] = e->event[e->event_head++ % EVENTS_MAX];
    bool more = e->event_head != e->event_tail;
    pthread_cond_signal(&e->room);
    pthread_mutex_unlock(&e->lock);
    if (more) {
        count = 1;
        rc = write(e->event_fd, &count, sizeof(count));
    }
    return n;
}

void engine_get_stats(struct engine *e, struct engine_stats *ret)
{
    pthread_mutex_lock(&e->lock);
    *ret = e->stats;
    pthread_mutex_unlock(&e->lock);
}

const struct scheduler *engine_scheduler(const struct engine *e)
{
    return &e->scheduler;
}

/* ---- the step ---- */

/* The counts that change when sequences come and go; caller holds the lock. */
static void count_now(struct engine *e)
{
    const struct scheduler *s = &e->scheduler;
    e->stats.n_running = s->n_running;
    const struct block_pool *pool = &s->cache.pool;
    e->stats.n_waiting = s->waiting.n + s->n_held;
    e->stats.n_blocks_used = pool->n_blocks - pool->n_free - pool->n_idle;
    e->stats.n_cache_blocks = s->cache.n_entry;
    e->stats.n_preempted = s->stats.n_preempted;
    e->stats.n_cache_lookups = s->stats.n_lookups;
    e->stats.n_cache_hits = s->stats.n_hits;
    e->stats.n_cached_tokens = s->stats.n_cached_tokens;
    e->stats.n_disk_hits = s->stats.n_disk_hits;
    e->stats.n_disk_tokens = s->stats.n_disk_tokens;
    if (e->config.disk)
        disk_tier_get_stats(e->config.disk, &e->stats.disk);
}

/* The statistics are right before anybody hears of the end. */
static void end_sequence(struct engine *e, struct sequence *seq, enum engine_end end)
{
    scheduler_remove(&e->scheduler, seq);
    if (e->config.drafter)
        drafter_drop(e->config.drafter, seq);
    pthread_mutex_lock(&e->lock);
    count_now(e);
    pthread_mutex_unlock(&e->lock);
    struct engine_event event = {.kind = ENGINE_END, .end = end, .seq = seq, .time_ns = clock_ns()};
    emit(e, &event);
}

/* The cancelled ones among those that wait for this one to compute the prompt. */
static void end_held(struct engine *e, struct sequence *seq)
{
    for (int i = 1; seq->index == 0 && i < seq->job->n_seq; i++) {
        struct sequence *held = &seq->job->seq[i];
        if (held->state == SEQUENCE_HELD && atomic_load(&held->cancel))
            end_sequence(e, held, ENGINE_END_CANCELLED);
    }
}

/* One look at everybody. Who is let go by an end that it meets was not cancelled when it looked. */
static void end_cancelled(struct engine *e)
{
    struct scheduler *s = &e->scheduler;
    for (int i = 0; i < s->n_running;) {
        struct sequence *seq = s->running[i];
        end_held(e, seq);
        if (atomic_load(&seq->cancel))
            end_sequence(e, seq, ENGINE_END_CANCELLED);
        else
            i++;
    }
    for (struct sequence *seq = s->waiting.head, *next; seq; seq = next) {
        end_held(e, seq);
        next = seq->next;
        if (atomic_load(&seq->cancel))
            end_sequence(e, seq, ENGINE_END_CANCELLED);
    }
}

/* Who is cancelled after the first line is found by the next step; who was before it, was submitted
 * before it, too. */
static void drain(struct engine *e)
{
    bool any_cancelled = atomic_exchange(&e->cancel_pending, false);
    pthread_mutex_lock(&e->lock);
    struct job *job = e->inbox;
    e->inbox = NULL;
    e->inbox_end = &e->inbox;
    pthread_mutex_unlock(&e->lock);
    while (job) {
        struct job *next = job->next_new;
        scheduler_add(&e->scheduler, job);
        job = next;
    }
    if (any_cancelled)
        end_cancelled(e);
}

/* Changes no result. */
static struct step_budget budget(struct engine *e)
{
    int max = e->config.limits.n_batch_max, ms = e->config.step_ms;
    struct step_budget b = {max, max, 0, max, NULL, NULL};
    if (ms > 0)
        b = step_cost_budget(&e->cost, ms, (double)ms * ENGINE_ALONE);
    b.draft = speculation_draft;
    b.draft_ctx = &e->speculation;
    return b;
}

/* Choices that share a part block get a copy of it each. */
static void copy_blocks(struct engine *e, const struct plan *p)
{
    uint8_t *base = e->config.kv.base;
    size_t n = e->config.block_bytes;
    for (int i = 0; i < p->n_copy; i++)
        if (p->copy[i].to != p->copy[i].from)
            memcpy(base + p->copy[i].to * n, base + p->copy[i].from * n, n);
}

static void announce(struct engine *e, const struct plan *p)
{
    for (int i = 0; i < p->batch.n_seq; i++) {
        struct job *job = p->seq[i]->job;
        if (job->started)
            continue;
        job->started = true;
        struct engine_event event = {
            .kind = ENGINE_STARTED,
            .seq = p->seq[i],
            .time_ns = clock_ns(),
            .n_cached = p->seq[i]->n_cached,
            .n_match = p->seq[i]->n_match,
        };
        emit(e, &event);
    }
}

static void pick_row(struct engine *e, int i, double mu, int i_thread)
{
    const struct plan_row *row = &e->scheduler.plan.row[i];
    const struct sequence *seq = row->seq;
    const struct job *job = seq->job;
    int next = row->position + 1;
    float *logits = e->logits + (size_t)i * (size_t)e->config.n_vocab;
    struct sampling sampling = job->sampling;
    sampling.seed += (uint64_t)seq->index;
    struct sampler_history history = {seq->token, next, job->n_prompt, mu};
    bool goes_on = job->ignore_eos || next - job->n_prompt < job->min_tokens;
    const uint32_t *ends_thoughts =
        job->thinks ? think_budget_mask(job->thinks, seq->token, job->n_prompt, next) : NULL;
    struct sampler_ban ban = {.token = e->config.eog,
                              .n = goes_on ? e->config.n_eog : 0,
                              .mask =
                                  ends_thoughts ? ends_thoughts : guides_row(e->guides, i).mask};
    sampler_pick(&e->scratch[i_thread], logits, &sampling, &history, &ban, job->n_top,
                 &e->result[i]);
}

/* What mirostat draws depends on what it drew before: rows after guesses are sampled behind their
 * ROW_NEXT, by the same thread, as long as the guesses hold. */
static void pick_chain(struct engine *e, int i, int i_thread)
{
    const struct sequence *seq = e->scheduler.plan.row[i].seq;
    double mu = seq->has_mu ? seq->mu : sampler_mu_init(&seq->job->sampling);
    pick_row(e, i, mu, i_thread);
    for (int k = 0; k < seq->n_draft; k++) {
        if (e->result[i + k].id != seq->token[seq->n_token + k])
            return;
        pick_row(e, i + k + 1, e->result[i + k].mu, i_thread);
    }
}

/* Row i of the logits becomes result i; rows are independent. One after a guess is sampled as if
 * the guess was right: if not, it is dropped. */
static void sample_row(void *ctx, int i, int i_thread)
{
    struct engine *e = ctx;
    const struct plan_row *row = &e->scheduler.plan.row[i];
    const struct sequence *seq = row->seq;
    int n_vocab = e->config.n_vocab;
    if (row->kind == ROW_SCORE)
        sampler_score(e->logits + (size_t)i * (size_t)n_vocab, n_vocab,
                      seq->token[row->position + 1], seq->job->n_top, &e->result[i]);
    else if (!seq->job->sampling.mirostat)
        pick_row(e, i, 0, i_thread);
    else if (row->kind == ROW_NEXT)
        pick_chain(e, i, i_thread);
}

static void sample(struct engine *e, const struct plan *p)
{
    if (e->config.pool && p->batch.n_out > 1) {
        pool_run(e->config.pool, sample_row, e, p->batch.n_out);
        return;
    }
    for (int i = 0; i < p->batch.n_out; i++)
        sample_row(e, i, 0);
}

static bool is_eog(const struct engine *e, int32_t id)
{
    for (int i = 0; i < e->config.n_eog; i++)
        if (e->config.eog[i] == id)
            return true;
    return false;
}

/* Guesses are right as long as they are what was drawn. */
static void accept(struct engine *e, const struct plan *p)
{
    for (int i = 0; i < p->batch.n_out; i++) {
        struct sequence *seq = p->row[i].seq;
        if (p->row[i].kind != ROW_NEXT)
            continue;
        while (seq->n_accepted < seq->n_draft &&
               e->result[i + seq->n_accepted].id == seq->token[seq->n_token + seq->n_accepted])
            seq->n_accepted++;
    }
}

static void deliver_token(struct engine *e, struct sequence *seq, int n_token,
                          struct engine_event *event)
{
    if (seq->draft) {
        draft_see(seq->draft, seq->token, n_token);
        event->n_foretold = seq->draft->n_foretold;
    }
    emit(e, event);
}

/* All was forbidden: nothing can follow. */
static enum engine_end end_of(struct guide_row row)
{
    return row.ends ? ENGINE_END_EOG : row.is_broken ? ENGINE_END_STUCK : ENGINE_END_LENGTH;
}

/* What was accepted, which is text already, and the token after it, which becomes text. */
static void deliver_next(struct engine *e, struct sequence *seq, int i_row, int64_t now)
{
    int n = seq->n_accepted, n_before = seq->n_token - n;
    struct engine_event event = {.kind = ENGINE_TOKEN, .seq = seq, .time_ns = now};
    for (int k = 0; k < n; k++) {
        event.result = e->result[i_row + k];
        deliver_token(e, seq, n_before + k + 1, &event);
    }
    event.result = e->result[i_row + n];
    if (event.result.id == SAMPLER_NONE) {
        end_sequence(e, seq, end_of(guides_row(e->guides, i_row + n)));
        return;
    }
    if (is_eog(e, event.result.id) && !seq->job->peek) {
        end_sequence(e, seq, ENGINE_END_EOG);
        return;
    }
    seq->has_mu = true;
    seq->mu = event.result.mu;
    seq->token[seq->n_token++] = event.result.id;
    deliver_token(e, seq, seq->n_token, &event);
    if (seq->n_token == seq->job->n_token_max)
        end_sequence(e, seq, ENGINE_END_LENGTH);
}

/* Appends what was drawn and tells the other side. Rows after guesses go with their ROW_NEXT; the
 * sequence may be gone when they are met. */
static void deliver(struct engine *e, const struct plan *p, int64_t now)
{
    for (int i = 0; i < p->batch.n_out; i++) {
        const struct plan_row *row = &p->row[i];
        if (row->kind == ROW_NEXT)
            deliver_next(e, row->seq, i, now);
        if (row->kind != ROW_SCORE)
            continue;
        struct engine_event event = {
            .kind = ENGINE_SCORE, .seq = row->seq, .time_ns = now, .result = e->result[i]};
        row->seq->n_scored = row->position + 2;
        emit(e, &event);
    }
}

static void measure(struct engine *e, const struct plan *p, double ns, int n_output, int n_guided)
{
    int n = p->batch.n_tokens, n_prefill = n - p->n_decode;
    if (p->n_draft == 0 || n_prefill > 0) /* guesses have rows of logits, tokens of prompts not */
        step_cost_learn(&e->cost, p, ns * 1e-6);
    speculation_learn(&e->speculation, p, ns * 1e-6);
    pthread_mutex_lock(&e->lock);
    struct engine_stats *t = &e->stats;
    if (n > 0) {
        t->n_steps++;
        t->n_prompt_tokens += (uint64_t)n_prefill;
        t->n_output_tokens += (uint64_t)n_output;
        t->prefill_s += ns * 1e-9 * n_prefill / n;
        t->decode_s += ns * 1e-9 * p->n_decode / n;
    }
    t->n_guided += (uint64_t)n_guided;
    t->mask_wait_s = (double)guides_waited_ns(e->guides) * 1e-9;
    t->n_drafted = e->speculation.n_drafted;
    t->n_accepted = e->speculation.n_accepted;
    t->n_model_drafted = e->speculation.n_model_drafted;
    t->n_model_accepted = e->speculation.n_model_accepted;
    if (e->config.drafter) {
        double draft_s = (double)e->config.drafter->spent_ns * 1e-9;
        t->decode_s += draft_s - t->draft_s;
        t->draft_s = draft_s;
    }
    count_now(e);
    pthread_mutex_unlock(&e->lock);
}

static int count_output(const struct plan *p, int *ret_guided)
{
    int n = 0;
    *ret_guided = 0;
    for (int i = 0; i < p->batch.n_out; i++) {
        const struct sequence *seq = p->row[i].seq;
        if (p->row[i].kind != ROW_NEXT)
            continue;
        n += 1 + seq->n_accepted;
        *ret_guided += seq->guide ? 1 + seq->n_accepted : 0;
    }
    return n;
}

/* What a block of a prompt costs, at least: one that takes longer to read is computed. */
static void set_disk_price(struct engine *e)
{
    if (e->cost.is_measured)
        disk_tier_set_price(e->config.disk,
                            step_cost_of(&e->cost, KV_BLOCK_LEN, 0) - step_cost_of(&e->cost, 0, 0));
}

bool engine_step(struct engine *e)
{
    drain(e);
    alloc_guard_enter();
    if (e->config.disk)
        set_disk_price(e);
    if (e->config.speculate != SPECULATE_OFF)
        guides_force(e->guides, e->scheduler.running, e->scheduler.n_running);
    struct step_budget may = budget(e);
    const struct plan *p = scheduler_plan(&e->scheduler, &may);
    if (e->config.drafter)
        drafter_sweep(e->config.drafter);
    if (p->batch.n_tokens > 0) {
        announce(e, p);
        int64_t start = clock_ns();
        guides_begin(e->guides, p);
        copy_blocks(e, p);
        e->config.forward(e->config.forward_ctx, &e->config.kv, &p->batch, e->logits);
        guides_wait(e->guides);
        sample(e, p);
        accept(e, p);
        scheduler_commit(&e->scheduler);
        int64_t now = clock_ns();
        int n_guided, n_output = count_output(p, &n_guided);
        measure(e, p, (double)(now - start), n_output, n_guided);
        deliver(e, p, now);
    } else {
        measure(e, p, 0, 0, 0);
    }
    if (e->config.disk)
        disk_tier_pump(e->config.disk, &e->scheduler.cache);
    alloc_guard_leave();
    return p->batch.n_tokens > 0;
}

/* ---- the thread ---- */

/* Under the lock. False: the disk was waited for long enough to look whether it answers. */
static bool wait_for_work(struct engine *e)
{
    if (!scheduler_is_loading(&e->scheduler)) {
        pthread_cond_wait(&e->work, &e->lock);
        return true;
    }
    struct timespec end;
    clock_gettime(CLOCK_MONOTONIC, &end);
    end.tv_sec++;
    return pthread_cond_clockwait(&e->work, &e->lock, CLOCK_MONOTONIC, &end) != ETIMEDOUT;
}

static void *engine_run(void *arg)
{
    struct engine *e = arg;
    for (;;) {
        atomic_store(&e->disk_news, false);
        bool worked = engine_step(e);
        pthread_mutex_lock(&e->lock);
        while (!worked && !e->stop && !e->inbox && !atomic_load(&e->cancel_pending) &&
               !atomic_load(&e->disk_news) && wait_for_work(e))
            ;
        bool stop = e->stop;
        pthread_mutex_unlock(&e->lock);
        if (stop)
            return NULL;
    }
}

static void on_disk_news(void *ctx)
{
    struct engine *e = ctx;
    atomic_store(&e->disk_news, true);
    pthread_mutex_lock(&e->lock);
    pthread_cond_signal(&e->work);
    pthread_mutex_unlock(&e->lock);
}

int engine_start(struct engine *e, struct err *err)
{
    int rc = guides_start(e->guides, err);
    if (rc == 0 && e->config.disk)
        rc = disk_tier_start(e->config.disk, on_disk_news, e, err);
    if (rc != 0) {
        guides_stop(e->guides);
        return rc;
    }
    rc = pthread_create(&e->thread, NULL, engine_run, e);
    if (rc != 0) {
        guides_stop(e->guides);
        if (e->config.disk)
            disk_tier_stop(e->config.disk, &e->scheduler.cache, 0);
        return err_set_errno(err, rc, "cannot start the engine thread");
    }
    e->is_started = true;
    return 0;
}

void engine_stop(struct engine *e)
{
    if (!e->is_started)
        return;
    pthread_mutex_lock(&e->lock);
    e->stop = true;
    pthread_cond_signal(&e->work);
    pthread_cond_signal(&e->room);
    pthread_mutex_unlock(&e->lock);
    pthread_join(e->thread, NULL);
    guides_stop(e->guides);
    if (e->config.disk)
        disk_tier_stop(e->config.disk, &e->scheduler.cache, DISK_FLUSH_MS);
    e->is_started = false;
}
