/*
 * engine: a deterministic simulator. A fake model stores a running hash of a sequence's tokens in
 * its blocks and derives the logits from what it reads back, so a block that is lost, shared
 * wrongly, reused too early or recomputed wrongly changes the text. Seeded arrivals, cancels and
 * tiny pools; invariants after each step; every text is compared with one computed alone, without
 * guesses. Half of the models repeat themselves, so that guesses hold.
 */
#include "base/clock.h"
#include "base/mem.h"
#include "base/rng.h"
#include "engine/alloc_guard.h"
#include "engine/engine.h"
#include "scheduler_check.h"

#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define N_VOCAB     61
#define EOG         7
#define BLOCK_BYTES (KV_BLOCK_LEN * sizeof(uint64_t))
#define JOBS_MAX    64

static uint64_t mix(uint64_t h, uint64_t x)
{
    h ^= x + 0x9e3779b97f4a7c15ull + (h << 6) + (h >> 2);
    h *= 0xff51afd7ed558ccdull;
    return h ^ (h >> 32);
}

static uint64_t *cell(const struct kv_slab *kv, const struct batch_seq *s, int pos)
{
    uint64_t *block = (uint64_t *)(kv->base + s->block[pos / KV_BLOCK_LEN] * BLOCK_BYTES);
    return &block[pos % KV_BLOCK_LEN];
}

static void row_of(uint64_t hash, float *row)
{
    for (int v = 0; v < N_VOCAB; v++)
        row[v] = (float)(mix(hash, (uint64_t)v) % 1000) / 100.0f;
    row[EOG] -= 6.0f;
}

/* ctx: NULL, or after how many tokens the text mostly repeats itself. */
static void fake_forward(void *ctx, const struct kv_slab *kv, const struct batch *b, float *logits)
{
    const int *period = ctx;
    uint64_t hash[512];
    int position[512];
    assert_in_range(b->n_tokens, 1, ARRAY_LEN(hash));
    int at = 0;
    for (int i = 0; i < b->n_seq; i++) {
        const struct batch_seq *s = &b->seq[i];
        assert_int_equal(s->i_token, at);
        for (int k = 0; k < s->n_tokens; k++, at++) {
            int pos = s->pos0 + k;
            uint64_t before = pos > 0 ? *cell(kv, s, pos - 1) : 1;
            hash[at] = *cell(kv, s, pos) = mix(before, (uint64_t)b->token[at]);
            position[at] = pos;
        }
    }
    assert_int_equal(at, b->n_tokens);
    for (int i = 0; i < b->n_out; i++) {
        assert_true(i == 0 || b->out_row[i] > b->out_row[i - 1]);
        float *row = logits + (size_t)i * N_VOCAB;
        row_of(hash[b->out_row[i]], row);
        if (period && mix(hash[b->out_row[i]], 99) % 12 != 0)
            row[10 + position[b->out_row[i]] % *period] += 60;
    }
}

/* A draft model: the same, but for some of its guesses, and with blocks of its own. */
struct fake_drafter {
    int n_blocks, n_ctx, depth, one_in; /* one guess in so many is wrong */
    int *period;
    uint8_t *slab;
    struct drafter *drafter;
    int n_most; /* tokens of a pass */
};

static void fake_draft_forward(void *ctx, const struct kv_slab *kv, const struct batch *b,
                               float *logits)
{
    struct fake_drafter *f = ctx;
    fake_forward(f->period, kv, b, logits);
    f->n_most = b->n_tokens > f->n_most ? b->n_tokens : f->n_most;
    for (int i = 0; i < b->n_out; i++) {
        float *row = logits + (size_t)i * N_VOCAB;
        uint64_t h = mix(5, (uint64_t)(row[3] * 1000 + row[5] * 100000));
        if (f->one_in > 0 && h % (uint64_t)f->one_in == 0)
            row[h / 1000 % N_VOCAB] += 200;
    }
}

static void fake_drafter_init(struct fake_drafter *f, int n_seq)
{
    struct err err;
    f->slab = malloc((size_t)f->n_blocks * BLOCK_BYTES);
    memset(f->slab, 0xee, (size_t)f->n_blocks * BLOCK_BYTES);
    struct drafter_config c = {.forward = fake_draft_forward,
                               .forward_ctx = f,
                               .kv = {f->slab, (uint32_t)f->n_blocks},
                               .n_vocab = N_VOCAB,
                               .n_token = N_VOCAB,
                               .n_ctx = f->n_ctx,
                               .n_batch_max = 64,
                               .n_seq_max = n_seq,
                               .depth = f->depth};
    assert_int_equal(drafter_new(&c, &f->drafter, &err), 0);
}

static void fake_drafter_release(struct fake_drafter *f)
{
    drafter_free(f->drafter);
    free(f->slab);
}

/* ---- one simulated client request and what came of it ---- */

struct text {
    int n, end; /* end: -1 while running */
    int32_t token[400];
    float logprob[400];
    double mu[400];
    float score[400];
    int n_score, n_foretold;
};

struct client {
    struct job *job;
    int n_ended, cancel_at; /* cancel when the first choice has so many tokens; -1: never */
    bool started;
    struct text text[3];
};

struct sim {
    struct engine *engine;
    struct client client[JOBS_MAX];
    int n_client;
    uint8_t *slab;
    struct disk_tier *disk;       /* or NULL */
    struct fake_drafter *drafter; /* or NULL */
    struct scheduler_check check;
};

static const int32_t eog[] = {EOG};

struct sim_opts {
    int n_blocks, n_seq, n_batch;
    engine_forward_fn forward;
    int *period;
    enum speculate speculate;
    int step_ms;
    int disk;                     /* a descriptor and one; 0: none */
    struct fake_drafter *drafter; /* or NULL */
};

static void sim_init_with(struct sim *m, const struct sim_opts *o)
{
    struct err err;
    int n_blocks = o->n_blocks, disk_fd = o->disk - 1;
    memset(m, 0, sizeof(*m));
    m->slab = malloc((size_t)n_blocks * BLOCK_BYTES);
    memset(m->slab, 0xee, (size_t)n_blocks * BLOCK_BYTES);
    struct engine_config c = {
        .forward = o->forward ? o->forward : fake_forward,
        .forward_ctx = o->period,
        .kv = {m->slab, (uint32_t)n_blocks},
        .block_bytes = BLOCK_BYTES,
        .n_vocab = N_VOCAB,
        .eog = eog,
        .n_eog = 1,
        .limits = {o->n_seq, o->n_batch, o->n_seq + 5},
        .speculate = o->speculate,
        .step_ms = o->step_ms,
    };
    struct disk_tier_opts disk = {.fd = disk_fd,
                                  .file_bytes_max = (uint64_t)DISK_DATA_AT + (64 << 12),
                                  .identity = "fake",
                                  .block_bytes = BLOCK_BYTES,
                                  .base = m->slab,
                                  .n_blocks = (uint32_t)n_blocks};
    if (disk_fd >= 0)
        assert_int_equal(disk_tier_new(&disk, &m->disk, &err), 0);
    c.disk = m->disk;
    m->drafter = o->drafter;
    if (m->drafter)
        fake_drafter_init(m->drafter, o->n_seq);
    c.drafter = m->drafter ? m->drafter->drafter : NULL;
    assert_int_equal(engine_new(&c, &m->engine, &err), 0);
    scheduler_check_init(&m->check, (uint32_t)n_blocks);
}

static void sim_init(struct sim *m, int n_blocks, int n_seq, int n_batch)
{
    sim_init_with(m, &(struct sim_opts){n_blocks, n_seq, n_batch, .speculate = SPECULATE_OFF});
}

static void sim_release(struct sim *m)
{
    engine_free(m->engine);
    disk_tier_free(m->disk);
    for (int i = 0; i < m->n_client; i++)
        job_free(m->client[i].job);
    scheduler_check_release(&m->check);
    free(m->slab);
    if (m->drafter)
        fake_drafter_release(m->drafter);
}

static uint64_t pick(uint64_t seed, uint64_t i, uint64_t n)
{
    return (uint64_t)(rng_uniform(seed, 2, i) * (double)n);
}

/* Request i of a seed: the same whatever engine it is sent to. */
static struct job *make_job(uint64_t seed, int i, int n_ctx)
{
    uint64_t s = mix(seed, (uint64_t)i);
    int32_t prompt[300];
    int n_prompt = 1 + (int)pick(s, 0, pick(s, 1, 3) == 0 ? 200 : 20);
    n_prompt = n_prompt < n_ctx ? n_prompt : n_ctx - 1;
    int n_max = n_prompt + 1 + (int)pick(s, 2, 90);
    /* half of the prompts of a seed begin alike, up to some token */
    uint64_t shared = pick(s, 9, 2) * (1 + pick(s, 10, 250));
    for (uint64_t k = 0; k < (uint64_t)n_prompt; k++)
        prompt[k] = (int32_t)pick(k < shared ? seed : s, 100 + k, N_VOCAB);
    struct job *job;
    struct err err;
    int rc = job_new(prompt, n_prompt, n_max < n_ctx ? n_max : n_ctx, 1 + (int)pick(s, 3, 3), &job,
                     &err);
    assert_int_equal(rc, 0);
    job->sampling = (struct sampling){.temperature = pick(s, 4, 3) == 0 ? 0 : 0.9,
                                      .top_p = 0.95,
                                      .top_k = (int64_t)pick(s, 5, 2) * 20,
                                      .typical_p = 1,
                                      .repeat_penalty = 1.1,
                                      .repeat_last_n = 64,
                                      .presence_penalty = 0.5,
                                      .seed = s};
    struct sampling *p = &job->sampling;
    p->mirostat = (int)pick(s, 14, 5); /* of a third each, and what depends on the text */
    p->mirostat = p->mirostat > 2 ? 0 : p->mirostat;
    p->mirostat_tau = 2;
    p->mirostat_eta = 0.3;
    p->dynatemp_range = pick(s, 15, 4) == 0 ? 0.4 : 0;
    p->dynatemp_exponent = 1;
    p->dry_multiplier = pick(s, 16, 3) == 0 ? 0.5 : 0;
    p->dry_base = 1.5;
    p->dry_allowed_length = 1;
    p->dry_last_n = -1;
    p->xtc_probability = pick(s, 17, 3) == 0 ? 0.5 : 0;
    p->xtc_threshold = 0.05;
    p->count_last_n = pick(s, 18, 2) == 0 ? 0 : 9;
    p->post_probs = pick(s, 19, 4) == 0;
    job->min_tokens = (int)pick(s, 20, 2) * 12;
    job->ignore_eos = pick(s, 6, 4) == 0;
    job->n_top = (int)pick(s, 7, 3) - 1;
    job->score_prompt = job->n_top >= 0 && pick(s, 8, 2) == 0;
    job->priority = (int)pick(s, 11, JOB_CLASSES);
    job->tenant = (uint32_t)pick(s, 12, 3);
    job->salt = pick(s, 13, 4) == 0;
    return job;
}

static void sim_submit(struct sim *m, struct job *job, int cancel_at)
{
    assert_true(m->n_client < JOBS_MAX);
    struct client *c = &m->client[m->n_client++];
    c->job = job;
    job->owner = c;
    c->cancel_at = cancel_at;
    for (int i = 0; i < job->n_seq; i++)
        c->text[i].end = -1;
    engine_submit(m->engine, job);
}

static void take_event(struct sim *m, const struct engine_event *e)
{
    struct client *c = e->seq->job->owner;
    struct text *t = &c->text[e->seq->index];
    assert_int_equal(t->end, -1); /* nothing after the end */
    switch (e->kind) {
    case ENGINE_STARTED:
        assert_false(c->started);
        c->started = true;
        break;
    case ENGINE_SCORE:
        assert_int_equal(e->seq->index, 0);
        t->score[t->n_score++] = e->result.logprob;
        assert_int_equal(e->result.id, c->job->seq[0].token[t->n_score]);
        break;
    case ENGINE_TOKEN:
        assert_true(c->started);
        t->token[t->n] = e->result.id;
        t->mu[t->n] = e->result.mu;
        t->logprob[t->n++] = e->result.logprob;
        assert_true(e->n_foretold >= t->n_foretold && e->n_foretold <= t->n);
        t->n_foretold = e->n_foretold;
        if (c->cancel_at >= 0 && c->text[0].n >= c->cancel_at)
            for (int i = 0; i < c->job->n_seq; i++)
                engine_cancel(m->engine, &c->job->seq[i]);
        break;
    case ENGINE_END:
        t->end = (int)e->end;
        c->n_ended++;
        break;
    }
}

static void check_invariants(struct sim *m)
{
    const struct scheduler *s = engine_scheduler(m->engine);
    scheduler_check_begin(&m->check, s);
    for (int i = 0; i < m->n_client; i++)
        scheduler_check_job(&m->check, s, m->client[i].job);
    scheduler_check_end(&m->check, s);
}

/* Who has blocks of the draft model runs, has each once, and no others are taken. */
static void check_drafter(const struct drafter *d)
{
    uint32_t n_held = 0;
    for (int i = 0; i < d->n_holder; i++) {
        const struct sequence *seq = d->holder[i];
        const struct shadow *w = &seq->shadow;
        assert_int_equal(seq->state, SEQUENCE_RUNNING);
        assert_true(w->n_block > 0 && w->n_computed <= w->n_block * KV_BLOCK_LEN);
        assert_true(w->n_guess <= d->config.depth && w->n_computed < w->n_text + w->n_guess + 1);
        for (int b = 0; b < w->n_block; b++)
            assert_int_equal(d->blocks.refs[w->block[b]], 1);
        n_held += (uint32_t)w->n_block;
    }
    assert_int_equal(n_held + d->blocks.n_free, d->blocks.n_blocks);
}

static bool sim_step(struct sim *m)
{
    bool worked = engine_step(m->engine);
    check_invariants(m);
    if (m->drafter)
        check_drafter(m->drafter->drafter);
    struct engine_event event[64];
    int n;
    while ((n = engine_take(m->engine, event, 64)) > 0)
        for (int i = 0; i < n; i++)
            take_event(m, &event[i]);
    return worked;
}

static void sim_finish(struct sim *m)
{
    int n = 0;
    while (sim_step(m))
        assert_true(++n < 100000);
    sim_step(m); /* cancels that the last events caused */
    for (int i = 0; i < m->n_client; i++)
        assert_int_equal(m->client[i].n_ended, m->client[i].job->n_seq);
    const struct scheduler *s = engine_scheduler(m->engine);
    const struct block_pool *pool = &s->cache.pool;
    assert_int_equal(pool->n_free + pool->n_idle, pool->n_blocks);
    assert_int_equal(pool->n_idle, s->cache.n_entry);
    assert_int_equal(s->n_running + s->waiting.n + s->n_held, 0);
    if (m->drafter)
        assert_int_equal(m->drafter->drafter->blocks.n_free, m->drafter->n_blocks);
}

/* got is what alone is, or, when cancelled, a beginning of it. */
static void assert_same(const struct client *got, const struct client *alone)
{
    for (int i = 0; i < got->job->n_seq; i++) {
        const struct text *a = &alone->text[i], *g = &got->text[i];
        if (g->end == ENGINE_END_CANCELLED) {
            assert_true(g->n <= a->n && g->n_score <= a->n_score);
        } else {
            assert_int_equal(g->n, a->n);
            assert_int_equal(g->end, a->end);
            assert_int_equal(g->n_score, a->n_score);
        }
        assert_memory_equal(g->token, a->token, (size_t)g->n * sizeof(*g->token));
        assert_memory_equal(g->logprob, a->logprob, (size_t)g->n * sizeof(*g->logprob));
        assert_memory_equal(g->score, a->score, (size_t)g->n_score * sizeof(*g->score));
    }
}

/* What the first choice alone was, with a few tokens changed, left out and put in, as the
 * prediction of all choices; what its draft must say of it in the end is returned. */
static int predict(uint64_t seed, struct job *job, const struct text *alone)
{
    int32_t token[500];
    int n = 0;
    for (int i = 0; i < alone->n; i++) {
        uint64_t what = pick(seed, 500 + (uint64_t)i, 30);
        if (what != 0)
            token[n++] = what == 1 ? EOG : alone->token[i];
        if (what == 2)
            token[n++] = 3;
    }
    struct err err;
    assert_int_equal(job_draft(job, token, n, &err), 0);
    struct draft *d;
    int32_t text[800];
    memcpy(text, job->seq[0].token, (size_t)job->n_prompt * sizeof(*text));
    memcpy(text + job->n_prompt, alone->token, (size_t)alone->n * sizeof(*text));
    assert_int_equal(draft_new(ARRAY_LEN(text), job->n_prompt, job->prediction, &d, &err), 0);
    draft_see(d, text, job->n_prompt + alone->n);
    int n_foretold = d->n_foretold;
    draft_free(d);
    return n_foretold;
}

struct outcome {
    uint64_t n_preempted, n_drafted, n_accepted, n_foretold, n_model_drafted, n_model_accepted;
};

static void simulate(uint64_t seed, struct outcome *total)
{
    int n_ctx = 64 + (int)pick(seed, 0, 200);
    int n_blocks = (n_ctx + KV_BLOCK_LEN - 1) / KV_BLOCK_LEN + (int)pick(seed, 1, 12);
    int n_seq = 1 + (int)pick(seed, 2, 9);
    int n_batch = n_seq + 1 + (int)pick(seed, 3, 100);
    int n_jobs = 1 + (int)pick(seed, 4, 12);
    int period = 1 + (int)pick(seed, 5, 12), n_foretold[JOBS_MAX];
    struct sim busy, alone;
    struct sim_opts o = {n_blocks, n_seq, n_batch};
    o.period = pick(seed, 6, 2) == 0 ? &period : NULL;
    struct sim_opts lone = {40, 4, 200, .period = o.period, .speculate = SPECULATE_OFF};
    o.speculate = pick(seed, 7, 4) == 0 ? SPECULATE_AUTO : SPECULATE_ALWAYS;
    o.step_ms = o.speculate == SPECULATE_AUTO ? 1 : 0;
    struct fake_drafter drafter = {.n_blocks = 1 + (int)pick(seed, 8, (uint64_t)n_blocks),
                                   .n_ctx = n_ctx - (int)pick(seed, 9, 50),
                                   .depth = 1 + (int)pick(seed, 10, DRAFT_MAX),
                                   .one_in = (int)pick(seed, 11, 9),
                                   .period = o.period};
    o.drafter = pick(seed, 12, 3) > 0 ? &drafter : NULL;
    struct client *want = calloc((size_t)n_jobs, sizeof(*want));
    sim_init_with(&busy, &o);
    for (int i = 0; i < n_jobs; i++) {
        sim_init_with(&alone, &lone);
        sim_submit(&alone, make_job(seed, i, n_ctx), -1);
        sim_finish(&alone);
        want[i] = alone.client[0];
        sim_release(&alone);
    }
    for (int i = 0; i < n_jobs; i++) {
        bool cancels = pick(seed, 50 + (uint64_t)i, 4) == 0;
        int cancel_at = (int)pick(seed, 80 + (uint64_t)i, 30);
        struct job *job = make_job(seed, i, n_ctx);
        n_foretold[i] = -1;
        if (pick(seed, 20 + (uint64_t)i, 2) == 0 && want[i].text[0].n > 0)
            n_foretold[i] = predict(mix(seed, (uint64_t)i), job, &want[i].text[0]);
        else if (pick(seed, 35 + (uint64_t)i, 8) > 0)
            assert_int_equal(job_draft(job, NULL, 0, &(struct err){0}), 0);
        if (pick(seed, 65 + (uint64_t)i, 8) > 0)
            assert_int_equal(job_draft_model(job, &(struct err){0}), 0);
        sim_submit(&busy, job, cancels ? cancel_at : -1);
        if (cancels && cancel_at == 0)
            engine_cancel(busy.engine, &busy.client[i].job->seq[0]);
        for (uint64_t k = pick(seed, 110 + (uint64_t)i, 15); k > 0; k--)
            sim_step(&busy);
    }
    sim_finish(&busy);
    for (int i = 0; i < n_jobs; i++) {
        const struct client *c = &busy.client[i];
        assert_same(c, &want[i]);
        if (n_foretold[i] >= 0 && c->text[0].end != ENGINE_END_CANCELLED)
            assert_int_equal(c->text[0].n_foretold, n_foretold[i]);
        total->n_foretold += (uint64_t)c->text[0].n_foretold;
    }
    struct engine_stats stats;
    engine_get_stats(busy.engine, &stats);
    assert_true(stats.n_accepted <= stats.n_drafted && stats.n_accepted <= stats.n_output_tokens);
    total->n_preempted += stats.n_preempted;
    total->n_drafted += stats.n_drafted;
    total->n_accepted += stats.n_accepted;
    assert_true(stats.n_model_accepted <= stats.n_model_drafted &&
                stats.n_model_drafted <= stats.n_drafted);
    total->n_model_drafted += stats.n_model_drafted;
    total->n_model_accepted += stats.n_model_accepted;
    sim_release(&busy);
    free(want);
}

static void test_simulator(void **state)
{
    (void)state;
    struct outcome total = {0};
    for (uint64_t seed = 1; seed <= 400; seed++)
        simulate(seed, &total);
    /* else the test shows nothing about them */
    assert_true(total.n_preempted > 100 && total.n_foretold > 1000);
    assert_true(total.n_accepted > 1000 && total.n_drafted > total.n_accepted + 1000);
    assert_true(total.n_model_accepted > 1000 &&
                total.n_model_drafted > total.n_model_accepted + 1000);
}

static struct job *plain_job(int n_prompt, int n_new, int n_seq);

/* A greedy job that only the draft model guesses for. */
static void submit_greedy(struct sim *m, int n_prompt, int n_new)
{
    struct err err;
    struct job *job = plain_job(n_prompt, n_new, 1);
    job->sampling.temperature = 0;
    assert_int_equal(job_draft_model(job, &err), 0);
    sim_submit(m, job, -1);
}

static struct engine_stats stats_of(struct sim *m)
{
    struct engine_stats stats;
    engine_get_stats(m->engine, &stats);
    return stats;
}

/* The same model as its own draft is always right, and never computes a position twice; the text
 * before the answer comes in chunks. */
static void test_a_perfect_draft_model(void **state)
{
    (void)state;
    struct fake_drafter f = {.n_blocks = 64, .n_ctx = 2000, .depth = 4};
    struct sim m;
    sim_init_with(&m, &(struct sim_opts){64, 2, 128, .speculate = SPECULATE_ALWAYS, .drafter = &f});
    submit_greedy(&m, 600, 300);
    sim_finish(&m);
    struct engine_stats s = stats_of(&m);
    assert_true(s.n_model_drafted > 150 && s.n_model_accepted == s.n_model_drafted);
    assert_true(s.n_steps < 5 + 600 / 32 + 300 / 4); /* five tokens a step, most of the time */
    assert_true(f.n_most <= 32 && s.draft_s > 0 && s.decode_s >= s.draft_s);
    sim_release(&m);
}

/* One guess in five is wrong: what is computed behind it is written over, and later ones hold. */
static void test_rollback(void **state)
{
    (void)state;
    struct fake_drafter f = {.n_blocks = 64, .n_ctx = 2000, .depth = 4, .one_in = 5};
    struct sim m, alone;
    sim_init(&alone, 64, 2, 128);
    submit_greedy(&alone, 20, 370);
    sim_finish(&alone);
    sim_init_with(&m, &(struct sim_opts){64, 2, 128, .speculate = SPECULATE_ALWAYS, .drafter = &f});
    submit_greedy(&m, 20, 370);
    sim_finish(&m);
    assert_same(&m.client[0], &alone.client[0]);
    struct engine_stats s = stats_of(&m);
    double held = (double)s.n_model_accepted / (double)s.n_model_drafted;
    assert_true(held > 0.5 && held < 0.7); /* 0.8, 0.8^2, ... of four */
    sim_release(&alone);
    sim_release(&m);
}

/* Two sequences, blocks for one: the other one goes on without, until the first has ended. */
static void test_draft_blocks_run_out(void **state)
{
    (void)state;
    struct fake_drafter f = {.n_blocks = 10, .n_ctx = 2000, .depth = 4};
    struct sim m;
    sim_init_with(&m, &(struct sim_opts){64, 2, 128, .speculate = SPECULATE_ALWAYS, .drafter = &f});
    submit_greedy(&m, 180, 60);
    submit_greedy(&m, 190, 100);
    for (int i = 0; i < 12; i++)
        sim_step(&m);
    assert_int_equal(f.drafter->n_holder, 1);
    sim_finish(&m);
    struct engine_stats s = stats_of(&m);
    assert_true(s.n_model_accepted == s.n_model_drafted && s.n_model_drafted > 60);
    sim_release(&m);
}

/* A text longer than the draft model takes is not drafted for. */
static void test_draft_context(void **state)
{
    (void)state;
    struct fake_drafter f = {.n_blocks = 64, .n_ctx = 100, .depth = 4};
    struct sim m;
    sim_init_with(&m, &(struct sim_opts){64, 2, 128, .speculate = SPECULATE_ALWAYS, .drafter = &f});
    submit_greedy(&m, 50, 200);
    sim_finish(&m);
    struct engine_stats s = stats_of(&m);
    assert_in_range(s.n_model_drafted, 30, 50);
    assert_int_equal(s.n_output_tokens, 200);
    sim_release(&m);
}

/* A cancelled sequence gives the draft model's blocks back before its end is told. */
static void test_cancel_drops_drafts(void **state)
{
    (void)state;
    struct fake_drafter f = {.n_blocks = 64, .n_ctx = 2000, .depth = 4};
    struct sim m;
    sim_init_with(&m, &(struct sim_opts){64, 2, 128, .speculate = SPECULATE_ALWAYS, .drafter = &f});
    submit_greedy(&m, 100, 200);
    for (int i = 0; i < 8; i++)
        sim_step(&m);
    assert_int_equal(f.drafter->n_holder, 1);
    engine_cancel(m.engine, &m.client[0].job->seq[0]);
    sim_step(&m);
    assert_int_equal(m.client[0].text[0].end, ENGINE_END_CANCELLED);
    assert_int_equal(f.drafter->n_holder, 0);
    assert_int_equal(f.drafter->blocks.n_free, 64);
    sim_release(&m);
}

/*
 * Jobs that go on after tokens which another engine drew: the rest is the same, few blocks, many
 * neighbours and preemption or not.
 */
static void test_forced_tokens(void **state)
{
    (void)state;
    uint64_t n_preempted = 0;
    for (uint64_t seed = 1; seed <= 40; seed++) {
        struct sim whole, rest;
        int n_ctx = 80 + (int)pick(seed, 0, 120), forced[JOBS_MAX][3];
        sim_init(&whole, 60, 4, 100);
        sim_init_with(&rest, &(struct sim_opts){8, 5, 12 + (int)pick(seed, 3, 60),
                                                .speculate = SPECULATE_ALWAYS});
        for (int i = 0; i < 8; i++)
            sim_submit(&whole, make_job(seed, i, n_ctx), -1);
        sim_finish(&whole);
        for (int i = 0; i < 8; i++) {
            struct job *job = make_job(seed, i, n_ctx);
            for (int k = 0; k < job->n_seq; k++) {
                const struct text *t = &whole.client[i].text[k];
                /* a choice that drew all its tokens has nothing left to go on with */
                int most = t->end == ENGINE_END_LENGTH ? t->n - 1 : t->n;
                forced[i][k] = (int)pick(mix(seed, (uint64_t)i), (uint64_t)k, (uint64_t)most + 1);
                job_force(job, k, t->token, forced[i][k]);
                job->seq[k].has_mu = forced[i][k] > 0; /* what mirostat goes on with */
                job->seq[k].mu = forced[i][k] > 0 ? t->mu[forced[i][k] - 1] : 0;
            }
            struct err err;
            if (i % 2 == 0)
                assert_int_equal(job_draft(job, NULL, 0, &err), 0);
            sim_submit(&rest, job, -1);
        }
        sim_finish(&rest);
        for (int i = 0; i < 8; i++) {
            for (int k = 0; k < rest.client[i].job->n_seq; k++) {
                const struct text *w = &whole.client[i].text[k], *r = &rest.client[i].text[k];
                int n = forced[i][k];
                assert_int_equal(r->n, w->n - n);
                assert_int_equal(r->end, w->end);
                assert_memory_equal(r->token, w->token + n, (size_t)r->n * sizeof(*r->token));
                assert_memory_equal(r->logprob, w->logprob + n, (size_t)r->n * sizeof(float));
                assert_int_equal(r->n_score, w->n_score);
                assert_memory_equal(r->score, w->score, (size_t)r->n_score * sizeof(float));
            }
        }
        struct engine_stats stats;
        engine_get_stats(rest.engine, &stats);
        n_preempted += stats.n_preempted;
        sim_release(&whole);
        sim_release(&rest);
    }
    assert_true(n_preempted > 20);
}

static struct job *plain_job(int n_prompt, int n_new, int n_seq)
{
    int32_t prompt[1000];
    for (int i = 0; i < n_prompt; i++)
        prompt[i] = i % N_VOCAB;
    struct job *job;
    struct err err;
    assert_int_equal(job_new(prompt, n_prompt, n_prompt + n_new, n_seq, &job, &err), 0);
    job->sampling =
        (struct sampling){.temperature = 1, .top_p = 1, .typical_p = 1, .repeat_penalty = 1};
    job->ignore_eos = true;
    return job;
}

/* n choices compute the prompt once: only its last part block is computed by each. */
static void test_choices_share_prompt(void **state)
{
    (void)state;
    struct sim m;
    sim_init(&m, 64, 8, 128);
    sim_submit(&m, plain_job(100, 10, 3), -1);
    sim_finish(&m);
    struct engine_stats stats;
    engine_get_stats(m.engine, &stats);
    assert_int_equal(stats.n_prompt_tokens, 100); /* the end of it is copied */
    assert_int_equal(stats.n_output_tokens, 30);
    assert_true(memcmp(m.client[0].text[0].token, m.client[0].text[1].token, 40) != 0);
    sim_release(&m);
}

/* A short prompt gets its first token long before a long prompt that came first is done. */
static void test_short_prompt_is_not_stuck(void **state)
{
    (void)state;
    struct sim m;
    sim_init(&m, 64, 8, 64);
    sim_submit(&m, plain_job(900, 4, 1), -1);
    sim_step(&m);
    sim_submit(&m, plain_job(20, 4, 1), -1);
    sim_step(&m);
    assert_int_equal(m.client[1].text[0].n, 1);
    assert_int_equal(m.client[0].text[0].n, 0);
    sim_finish(&m);
    sim_release(&m);
}

/* Decoding goes on while a long prompt is computed: a token for it in every step. */
static void test_decode_is_not_stuck(void **state)
{
    (void)state;
    struct sim m;
    sim_init(&m, 64, 8, 64);
    sim_submit(&m, plain_job(4, 100, 1), -1);
    sim_step(&m);
    sim_submit(&m, plain_job(900, 4, 1), -1);
    for (int i = 0; i < 10; i++)
        sim_step(&m);
    assert_int_equal(m.client[0].text[0].n, 11);
    assert_int_equal(m.client[1].text[0].n, 0);
    sim_finish(&m);
    sim_release(&m);
}

static void test_cancel_everywhere(void **state)
{
    (void)state;
    struct sim m;
    sim_init(&m, 40, 2, 32);
    for (int i = 0; i < 6; i++)
        sim_submit(&m, plain_job(200, 50, 3), -1);
    sim_step(&m);
    /* a waiting one, a held one, the one in prefill */
    engine_cancel(m.engine, &m.client[4].job->seq[0]);
    engine_cancel(m.engine, &m.client[3].job->seq[2]);
    engine_cancel(m.engine, &m.client[0].job->seq[0]);
    sim_step(&m);
    assert_int_equal(m.client[4].text[0].end, ENGINE_END_CANCELLED);
    assert_int_equal(m.client[3].text[2].end, ENGINE_END_CANCELLED);
    assert_int_equal(m.client[0].text[0].end, ENGINE_END_CANCELLED);
    for (int i = 0; i < 6; i++)
        for (int k = 0; k < 3; k++)
            engine_cancel(m.engine, &m.client[i].job->seq[k]);
    sim_finish(&m);
    sim_release(&m);
}

static void take_ends(struct sim *m, int n_wanted)
{
    for (int i = 0, n_ended = 0; n_ended < n_wanted; i++) {
        assert_true(i < 20000000);
        struct engine_event event[7];
        int n = engine_take(m->engine, event, 7);
        for (int k = 0; k < n; k++) {
            take_event(m, &event[k]);
            n_ended += event[k].kind == ENGINE_END;
        }
        if (n == 0)
            sched_yield();
    }
}

/* The engine on its own thread; a full ring stops it, and it goes on when events are taken. */
static void test_thread_and_slow_reader(void **state)
{
    (void)state;
    struct sim m;
    sim_init(&m, 320, 8, 64);
    struct err err;
    assert_int_equal(engine_start(m.engine, &err), 0);
    for (int i = 0; i < 8; i++)
        sim_submit(&m, plain_job(10, 390, 1), -1);
    take_ends(&m, 8);
    engine_stop(m.engine);
    sim_release(&m);
}

/* Takes events until n sequences have ended, and says how that of the job did. */
static enum engine_end await_ends(struct sim *m, int n_end, const struct job *job)
{
    struct engine_event event[64];
    enum engine_end how = ENGINE_END_EOG;
    for (int64_t end_ms = clock_ms() + 60000;;) {
        int n = engine_take(m->engine, event, 64);
        for (int i = 0; i < n; i++)
            if (event[i].kind == ENGINE_END) {
                n_end--;
                how = event[i].seq == &job->seq[0] ? event[i].end : how;
            }
        if (n_end == 0)
            return how;
        assert_true(clock_ms() < end_ms);
        if (n == 0)
            sched_yield();
    }
}

/*
 * A cancel is obeyed at any moment, also one that meets the step in which its job is taken on: it
 * was lost when it came after the jobs were taken and before the look for cancels. A job of many
 * choices makes that time long.
 */
static void test_cancel_meets_the_arrival(void **state)
{
    (void)state;
    struct sim m;
    struct err err;
    sim_init(&m, 1024, 8, 64);
    assert_int_equal(engine_start(m.engine, &err), 0);
    for (int i = 0; i < 150; i++) {
        struct job *crowd = plain_job(1, 1, 2000), *job = plain_job(1, 20000, 1);
        engine_submit(m.engine, crowd);
        for (int64_t until_ns = clock_ns() + i % 50 * 3000; clock_ns() < until_ns;)
            ;
        engine_submit(m.engine, job);
        engine_cancel(m.engine, &job->seq[0]);
        assert_int_equal(await_ends(&m, 2001, job), ENGINE_END_CANCELLED);
        job_free(crowd);
        job_free(job);
    }
    engine_stop(m.engine);
    sim_release(&m);
}

/* A disk that does not answer delays a prompt by seconds, no more; what comes late harms nobody. */
static void test_a_disk_that_hangs(void **state)
{
    (void)state;
    int fd = memfd_create("prefix", 0);
    struct sim m;
    sim_init_with(&m, &(struct sim_opts){40, 8, 64, .disk = fd + 1});
    sim_submit(&m, plain_job(200, 20, 1), -1);
    sim_finish(&m);
    disk_tier_stop(m.disk, &engine_scheduler(m.engine)->cache, 5000);
    sim_release(&m);
    sim_init_with(&m, &(struct sim_opts){
                          40, 8, 64, .disk = fd + 1}); /* nobody reads: its thread does not run */
    sim_submit(&m, plain_job(200, 20, 1), -1);
    int64_t start = clock_ms();
    while (!engine_step(m.engine))
        usleep(20000);
    assert_true(clock_ms() - start >= 2000);
    sim_finish(&m);
    assert_int_equal(m.client[0].text[0].end, ENGINE_END_LENGTH);
    assert_int_equal(m.client[0].job->seq[0].n_cached, 0);
    sim_release(&m);
    close(fd);
}

/* With a disk, on its threads: the second life computes nothing of the first one's prompts, and an
 * engine that has nothing else to do wakes up when blocks come in. */
static void test_a_disk_outlives_the_engine(void **state)
{
    (void)state;
    int fd = memfd_create("prefix", 0);
    uint64_t hash = 0;
    assert_true(fd >= 0);
    for (int life = 0; life < 3; life++) {
        struct sim m;
        struct err err;
        struct engine_stats stats;
        sim_init_with(&m, &(struct sim_opts){40, 8, 64, .disk = fd + 1});
        assert_int_equal(engine_start(m.engine, &err), 0);
        for (int i = 0; i < 4; i++) {
            struct job *job = plain_job(200, 220, 1);
            job->salt = (uint64_t)(i / 2); /* two by two the same */
            sim_submit(&m, job, -1);
            if (life == 2 && i % 2 > 0)
                engine_cancel(m.engine, &job->seq[0]);
        }
        take_ends(&m, 4);
        engine_stop(m.engine);
        engine_get_stats(m.engine, &stats);
        assert_int_equal(stats.n_disk_tokens, life == 0 ? 0 : 2 * 192);
        assert_int_equal(stats.n_disk_hits, life == 0 ? 0 : 2);
        for (int i = 0; i < 4; i += 2) {
            const struct sequence *seq = &m.client[i].job->seq[0];
            uint64_t is = 1;
            assert_int_equal(m.client[i].text[0].end, ENGINE_END_LENGTH);
            assert_true(life == 0 || seq->n_cached >= 192);
            for (int k = 0; k < seq->n_token; k++)
                is = mix(is, (uint64_t)seq->token[k]);
            assert_true(life + i == 0 || is == hash);
            hash = is;
        }
        sim_release(&m);
    }
    close(fd);
}

static void allocating_forward(void *ctx, const struct kv_slab *kv, const struct batch *b,
                               float *logits)
{
    void *volatile p = malloc((size_t)b->n_tokens);
    free(p);
    fake_forward(ctx, kv, b, logits);
}

/* The guard that all tests here run under works: a step that allocates dies of it. */
static void test_guard(void **state)
{
    (void)state;
    if (!alloc_guard_arm())
        skip();
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        struct sim m;
        signal(SIGABRT, SIG_DFL);
        sim_init_with(&m, &(struct sim_opts){8, 2, 64, allocating_forward});
        sim_submit(&m, plain_job(4, 4, 1), -1);
        engine_step(m.engine);
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

int main(void)
{
    alloc_guard_arm();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_guard),
        cmocka_unit_test(test_simulator),
        cmocka_unit_test(test_a_perfect_draft_model),
        cmocka_unit_test(test_rollback),
        cmocka_unit_test(test_draft_blocks_run_out),
        cmocka_unit_test(test_draft_context),
        cmocka_unit_test(test_cancel_drops_drafts),
        cmocka_unit_test(test_forced_tokens),
        cmocka_unit_test(test_choices_share_prompt),
        cmocka_unit_test(test_short_prompt_is_not_stuck),
        cmocka_unit_test(test_decode_is_not_stuck),
        cmocka_unit_test(test_cancel_everywhere),
        cmocka_unit_test(test_thread_and_slow_reader),
        cmocka_unit_test(test_cancel_meets_the_arrival),
        cmocka_unit_test(test_a_disk_outlives_the_engine),
        cmocka_unit_test(test_a_disk_that_hangs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
