/*
 * scheduler_sim: millions of seeded requests through scheduler, block pool and prefix cache.
 *
 * The fake model writes a running hash of a sequence's tokens into its blocks and reads the last
 * one back, so a block that is lost, shared wrongly, given away too early or copied too late
 * changes the hash; every row is compared with the hash of the text alone. Prompts share beginnings
 * and continue earlier texts; requests have 1 to 3 choices, classes, tenants, salts; they are
 * cancelled; and the worker "crashes": scheduler and slab are lost, and what was not finished
 * begins again with the tokens that it had. In half of the worlds decoding sequences get guesses of
 * what comes next, right and wrong ones. Most worlds have a disk tier, whose file outlives
 * crashes, is damaged in them sometimes, and whose reads and writes end some steps later, or fail.
 * In some it has its own thread, and mostly a gate before each read and write, which opens at any
 * moment of a step, or not for a long time: then blocks are in the middle of a read while sequences
 * are preempted, cancelled and admitted again, and the disk counts as stuck. Time is the
 * simulator's. The invariants of scheduler_check.h hold after each step.
 *
 *   test_scheduler_sim [JOBS [SEED]]     without arguments a few seconds' worth
 */
#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "scheduler_check.h"

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define N_VOCAB      50
#define CLIENTS_MAX  64
#define CHOICES_MAX  3
#define TEXT_MAX     288 /* tokens of a sequence */
#define TEXTS_KEPT   16  /* finished texts that later prompts continue */
#define JOBS_WORLD   1000
#define JOBS_DEFAULT 40000
/* From arrival to end at most so many others are admitted: all of those that may wait with it, and
 * as many of other classes as may pass it each time. */
#define LIFE_MAX (CLIENTS_MAX * CHOICES_MAX * (FAIR_PASSES_MAX + JOB_CLASSES))

struct choice {
    uint64_t hash; /* of all its tokens */
    bool has_ended;
};

struct client {
    struct job *job; /* NULL: no client */
    struct choice choice[CHOICES_MAX];
    uint64_t score_hash; /* of the first n_scored tokens */
    uint64_t born;       /* admissions so far */
    uint64_t cancel_at;
    bool end_at_length; /* never draws an end token */
};

struct text {
    int n;
    int32_t token[TEXT_MAX];
};

struct world {
    struct scheduler s;
    struct scheduler_check check;
    struct scheduler_limits limits;
    struct step_budget budget;
    uint32_t n_blocks;
    int n_ctx;
    uint64_t (*slab)[KV_BLOCK_LEN];
    struct client client[CLIENTS_MAX];
    struct text text[TEXTS_KEPT];
    uint64_t rng, step;
    uint64_t n_admitted; /* about: ends and preemptions */
    uint64_t crash_pace; /* ends; 0: never */
    bool crashes_now;
    struct disk_tier *disk; /* or NULL */
    int disk_fd, disk_slots;
    bool disk_has_thread, disk_has_gate;
    sem_t news;                /* of that thread */
    uint64_t disk_hangs_until; /* a step */
    bool budget_varies;
};

struct totals {
    uint64_t n_empty, n_orphans, n_stuck;
    uint64_t n_disk_hits, n_disk_tokens, n_disk_written, n_disk_bad;
    uint64_t n_jobs, n_steps, n_tokens, n_crashes, n_cancelled, n_copies, n_resumed;
    uint64_t n_preempted, n_forgotten, n_cached_tokens, n_prompt_tokens, n_drafted, n_accepted;
    uint64_t life_max[JOB_CLASSES];
};

static struct totals total;
static atomic_uint_fast64_t total_read_errors;

static uint64_t mix(uint64_t h, uint64_t x)
{
    h ^= x + 0x9e3779b97f4a7c15ull + (h << 6) + (h >> 2);
    h *= 0xff51afd7ed558ccdull;
    return h ^ (h >> 32);
}

static uint64_t draw(struct world *w, uint64_t n)
{
    w->rng += 0x9e3779b97f4a7c15ull;
    return mix(mix(w->rng, 1), 2) % n;
}

/* ---- the disk and the time (the linker puts these before the real ones) ---- */

bool __real_disk_read_at(int fd, void *data, size_t n, off_t at);
bool __real_disk_write_at(int fd, const void *data, size_t n, off_t at);
bool __wrap_disk_read_at(int fd, void *data, size_t n, off_t at);
bool __wrap_disk_write_at(int fd, const void *data, size_t n, off_t at);
int64_t __wrap_clock_ns(void);

static atomic_int_fast64_t now_ns = 1;
static atomic_uint_fast64_t n_transfers; /* draws for those of the tier's thread */
static atomic_uint_fast64_t error_pace;  /* one of so many transfers fails; 0: none */

static struct {
    pthread_mutex_t lock;
    pthread_cond_t change;
    bool is_shut;
    uint64_t n_pass; /* transfers that may go on all the same */
} gate = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, false, 0};

int64_t __wrap_clock_ns(void)
{
    return atomic_load(&now_ns);
}

static void set_gate(bool is_shut, uint64_t n_pass)
{
    pthread_mutex_lock(&gate.lock);
    gate.is_shut = is_shut;
    gate.n_pass = n_pass;
    pthread_cond_broadcast(&gate.change);
    pthread_mutex_unlock(&gate.lock);
}

/* False: this one fails. */
static bool transfer(void)
{
    pthread_mutex_lock(&gate.lock);
    while (gate.is_shut && gate.n_pass == 0)
        pthread_cond_wait(&gate.change, &gate.lock);
    gate.n_pass -= gate.n_pass > 0;
    pthread_mutex_unlock(&gate.lock);
    uint64_t n = atomic_fetch_add(&n_transfers, 1), pace = atomic_load(&error_pace);
    atomic_fetch_add(&now_ns, (int64_t)(mix(n, 3) % 2000000));
    errno = EIO;
    return pace == 0 || mix(n, 4) % pace != 0;
}

/* One that fails has come half way. */
bool __wrap_disk_read_at(int fd, void *data, size_t n, off_t at)
{
    bool ok = transfer();
    total_read_errors += !ok;
    return __real_disk_read_at(fd, data, ok ? n : n / 2, at) && ok;
}

bool __wrap_disk_write_at(int fd, const void *data, size_t n, off_t at)
{
    bool ok = transfer();
    return __real_disk_write_at(fd, data, ok ? n : n / 2, at) && ok;
}

/* Of the disk's thread; it may have nothing to say, so not for long. */
static void wait_for_news(struct world *w, long ns)
{
    struct timespec end;
    clock_gettime(CLOCK_MONOTONIC, &end);
    end.tv_nsec += ns;
    end.tv_sec += end.tv_nsec / 1000000000;
    end.tv_nsec %= 1000000000;
    sem_clockwait(&w->news, CLOCK_MONOTONIC, &end);
}

/* What a thread of the disk may do at any moment. */
static void disk_moment(struct world *w)
{
    if (!w->disk)
        return;
    if (!w->disk_has_thread) {
        if (draw(w, 3) == 0)
            disk_tier_work(w->disk);
        return;
    }
    if (w->disk_has_gate && w->step >= w->disk_hangs_until && draw(w, 3) == 0)
        set_gate(true, draw(w, 6));
    if (draw(w, 32) == 0)
        wait_for_news(w, 100000);
}

/* Time goes on; sometimes the disk hangs for longer than the tier's patience. */
static void disk_time(struct world *w)
{
    bool hangs = w->step < w->disk_hangs_until;
    atomic_fetch_add(&now_ns, (int64_t)draw(w, hangs ? 200000000 : 20000000));
    if (!w->disk)
        return;
    if (w->disk_has_gate && !hangs && draw(w, 100) == 0) {
        w->disk_hangs_until = w->step + draw(w, 100);
        set_gate(true, 0);
    }
    if (draw(w, 50) == 0)
        disk_tier_set_price(w->disk, (double)draw(w, 4));
    total.n_stuck += disk_tier_is_stuck(w->disk);
    total.n_orphans += (uint64_t)disk_tier_n_orphans(w->disk);
}

/* ---- the model ---- */

static uint64_t *cell(struct world *w, const struct batch_seq *s, int position)
{
    return &w->slab[s->block[position / KV_BLOCK_LEN]][position % KV_BLOCK_LEN];
}

static void forward(struct world *w, const struct plan *p, uint64_t *row)
{
    for (int i = 0; i < p->n_copy; i++)
        memmove(w->slab[p->copy[i].to], w->slab[p->copy[i].from], sizeof(w->slab[0]));
    int at = 0, out = 0;
    for (int i = 0; i < p->batch.n_seq; i++) {
        const struct batch_seq *s = &p->batch.seq[i];
        CHECK(s->i_token == at);
        for (int k = 0; k < s->n_tokens; k++, at++) {
            int position = s->pos0 + k;
            uint64_t before = position > 0 ? *cell(w, s, position - 1) : 1;
            uint64_t hash = mix(before, (uint64_t)p->batch.token[at]);
            *cell(w, s, position) = hash;
            if (out < p->batch.n_out && p->batch.out_row[out] == at)
                row[out++] = hash;
        }
    }
    CHECK(at == p->batch.n_tokens && out == p->batch.n_out);
}

/* ---- requests ---- */

static int32_t family_token(uint64_t family, int i)
{
    return (int32_t)(mix(mix(family, 77), (uint64_t)i) % N_VOCAB);
}

/* The beginning of one of a few texts, or all of an earlier answer, then tokens of its own. */
static int make_prompt(struct world *w, int32_t *ret)
{
    int max = w->n_ctx - 1, n = 0;
    const struct text *earlier = &w->text[draw(w, TEXTS_KEPT)];
    uint64_t family = draw(w, 5);
    if (draw(w, 3) == 0)
        for (; n < earlier->n && n < max; n++)
            ret[n] = earlier->token[n];
    else
        for (int shared = (int)draw(w, 200); n < shared && n < max; n++)
            ret[n] = family_token(family, n);
    for (int own = (int)draw(w, 40); own > 0 && n < max; own--)
        ret[n++] = (int32_t)draw(w, N_VOCAB);
    if (n == 0)
        ret[n++] = 1;
    return n;
}

static struct job *new_job(const int32_t *prompt, int n_prompt, int n_max, int n_seq)
{
    struct job *job;
    struct err err;
    CHECK(job_new(prompt, n_prompt, n_max, n_seq, &job, &err) == 0);
    return job;
}

static void arrive(struct world *w, struct client *c)
{
    int32_t prompt[TEXT_MAX];
    int n = make_prompt(w, prompt);
    int n_max = n + 1 + (int)draw(w, draw(w, 8) == 0 ? 80 : 20);
    struct job *job = new_job(prompt, n, n_max < w->n_ctx ? n_max : w->n_ctx,
                              draw(w, 4) == 0 ? 1 + (int)draw(w, CHOICES_MAX) : 1);
    job->priority = (int)draw(w, JOB_CLASSES);
    job->tenant = (uint32_t)draw(w, 4);
    job->salt = draw(w, 5) == 0;
    job->score_prompt = draw(w, 12) == 0;
    job->sampling.seed = draw(w, 1000);
    job->owner = c;
    *c = (struct client){.job = job, .born = w->n_admitted};
    c->cancel_at = draw(w, 10) == 0 ? w->step + draw(w, 60) : UINT64_MAX;
    c->end_at_length = draw(w, 3) == 0;
    uint64_t hash = 1;
    for (int i = 0; i < n; i++)
        hash = mix(hash, (uint64_t)prompt[i]);
    for (int i = 0; i < job->n_seq; i++)
        c->choice[i].hash = hash;
    c->score_hash = mix(1, (uint64_t)prompt[0]);
    scheduler_add(&w->s, job);
    total.n_jobs++;
}

static void end_choice(struct world *w, struct sequence *seq)
{
    struct client *c = seq->job->owner;
    struct choice *choice = &c->choice[seq->index];
    CHECK(!choice->has_ended);
    choice->has_ended = true;
    w->n_admitted++;
    w->crashes_now |= w->crash_pace > 0 && draw(w, w->crash_pace) == 0;
    scheduler_remove(&w->s, seq);
    struct text *text = &w->text[draw(w, TEXTS_KEPT)];
    text->n = seq->n_token;
    memcpy(text->token, seq->token, (size_t)seq->n_token * sizeof(*seq->token));
    for (int i = 0; i < c->job->n_seq; i++)
        if (!c->choice[i].has_ended)
            return;
    uint64_t life = w->n_admitted - c->born, *longest = &total.life_max[c->job->priority];
    CHECK(life < LIFE_MAX);
    *longest = life > *longest ? life : *longest;
    job_free(c->job);
    c->job = NULL;
}

static void cancel(struct world *w, struct client *c)
{
    bool all = draw(w, 2) == 0;
    int n_seq = c->job->n_seq; /* the last one takes the job with it */
    total.n_cancelled++;
    c->cancel_at = UINT64_MAX;
    for (int i = 0; i < n_seq && c->job; i++)
        if (!c->choice[i].has_ended && (all || draw(w, 2) == 0))
            end_choice(w, &c->job->seq[i]);
}

/* ---- a step ---- */

/* What is sampled from a row; -1: the text ends. */
static int32_t sample(const struct sequence *seq, uint64_t hash)
{
    const struct client *c = seq->job->owner;
    uint64_t value = mix(hash, seq->job->sampling.seed + (uint64_t)seq->index);
    return !c->end_at_length && value % 24 == 0 ? -1 : (int32_t)(value / 24 % N_VOCAB);
}

/* Guesses for the sequences, all right up to a random place. */
static void guess(void *ctx, struct sequence *const *seq, int n_seq, int n_max, bool has_prefill)
{
    struct world *w = ctx;
    (void)has_prefill;
    for (int i = 0; i < n_seq; i++) {
        const struct client *c = seq[i]->job->owner;
        uint64_t hash = c->choice[seq[i]->index].hash, n_right = draw(w, 6);
        int max = seq[i]->job->n_token_max - seq[i]->n_token - 1;
        for (uint64_t k = draw(w, 6); k > 0 && seq[i]->n_draft < max && n_max > 0; k--, n_max--) {
            int32_t token = sample(seq[i], hash);
            if (token < 0 || n_right-- == 0)
                token = (int32_t)draw(w, N_VOCAB);
            seq[i]->token[seq[i]->n_token + seq[i]->n_draft++] = token;
            hash = mix(hash, (uint64_t)token);
        }
    }
}

static void accept(const struct plan *p, const uint64_t *row)
{
    for (int i = 0; i < p->batch.n_out; i++) {
        struct sequence *seq = p->row[i].seq;
        if (p->row[i].kind != ROW_NEXT)
            continue;
        for (int k = 0; k < seq->n_draft; k++)
            CHECK(p->row[i + k + 1].kind == ROW_DRAFT && p->row[i + k + 1].seq == seq);
        while (seq->n_accepted < seq->n_draft &&
               sample(seq, row[i + seq->n_accepted]) == seq->token[seq->n_token + seq->n_accepted])
            seq->n_accepted++;
        total.n_drafted += (uint64_t)seq->n_draft;
        total.n_accepted += (uint64_t)seq->n_accepted;
    }
}

static void deliver_score(const struct plan_row *row, uint64_t hash)
{
    struct sequence *seq = row->seq;
    struct client *c = seq->job->owner;
    int next = row->position + 1;
    CHECK(seq->job->score_prompt && seq->index == 0 && next == seq->n_scored);
    CHECK(hash == c->score_hash);
    c->score_hash = mix(c->score_hash, (uint64_t)seq->token[next]);
    seq->n_scored = next + 1;
}

/* The rows are what the text alone would give. row: the first, then those of accepted guesses. */
static void deliver(struct world *w, struct sequence *seq, int position, const uint64_t *row)
{
    struct client *c = seq->job->owner;
    struct choice *choice = &c->choice[seq->index];
    int n = seq->n_accepted;
    CHECK(!seq->job->score_prompt || seq->index > 0 || seq->n_scored >= seq->job->n_prompt - 1);
    CHECK(!choice->has_ended && position + 1 + n == seq->n_token);
    CHECK(seq->n_computed == seq->n_token && seq->n_token < seq->job->n_token_max);
    for (int k = 0; k <= n; k++) {
        CHECK(row[k] == choice->hash);
        int32_t token = sample(seq, row[k]);
        total.n_tokens++;
        if (token < 0) {
            CHECK(k == n);
            end_choice(w, seq);
            return;
        }
        CHECK(k == n || seq->token[position + 1 + k] == token);
        choice->hash = mix(choice->hash, (uint64_t)token);
        if (k == n)
            seq->token[seq->n_token++] = token;
    }
    if (seq->n_token == seq->job->n_token_max)
        end_choice(w, seq);
}

static void check(struct world *w)
{
    CHECK(w->s.plan.n_copy == 0);
    scheduler_check_begin(&w->check, &w->s);
    for (int i = 0; i < CLIENTS_MAX; i++)
        if (w->client[i].job)
            scheduler_check_job(&w->check, &w->s, w->client[i].job);
    scheduler_check_end(&w->check, &w->s);
}

/* Some reads and writes end. */
static void run_disk(struct world *w, bool is_idle)
{
    if (!w->disk)
        return;
    disk_tier_pump(w->disk, &w->s.cache);
    if (w->disk_has_thread && is_idle && scheduler_is_loading(&w->s))
        wait_for_news(w, 1000000);
    for (uint64_t n = draw(w, 4); n > 0 && !w->disk_has_thread; n--)
        disk_tier_work(w->disk);
}

/* Nothing is planned only when there is nothing, or when all wait for the disk: for what it reads,
 * or for the block of a read that nobody wants any more, where one alone needs all there are. */
static void check_empty(const struct world *w)
{
    int n_loading = 0;
    for (int i = 0; i < w->s.n_running; i++)
        n_loading += w->s.running[i]->n_loading > 0;
    bool is_over = w->s.waiting.n + w->s.n_running + w->s.n_held == 0;
    bool is_short = w->s.n_running <= 1 && w->disk && disk_tier_n_orphans(w->disk) > 0;
    CHECK(is_over || n_loading > 0 || is_short);
    CHECK(is_over || scheduler_is_loading(&w->s));
    total.n_empty += !is_over;
}

/* As engine_step: copies, batch, commit, and what was drawn; nothing of it for an empty plan. */
static void compute(struct world *w, const struct plan *p)
{
    uint64_t row[128];
    CHECK(p->batch.n_out <= w->limits.n_out_max && p->batch.n_out <= 128);
    forward(w, p, row);
    disk_moment(w);
    accept(p, row);
    scheduler_commit(&w->s);
    disk_moment(w);
    for (int i = 0; i < p->batch.n_out; i++) {
        if (p->row[i].kind == ROW_SCORE)
            deliver_score(&p->row[i], row[i]);
        if (p->row[i].kind == ROW_NEXT)
            deliver(w, p->row[i].seq, p->row[i].position, &row[i]);
    }
}

static struct step_budget budget_of(struct world *w)
{
    struct step_budget b = w->budget;
    if (w->budget_varies) { /* as measured times do; even below nothing */
        b.with_decode = (double)draw(w, 200) - 40;
        b.alone = b.with_decode * (1 + (double)draw(w, 4));
    }
    return b;
}

static void run_step(struct world *w)
{
    uint64_t before = w->s.stats.n_preempted;
    disk_time(w);
    disk_moment(w);
    struct step_budget budget = budget_of(w);
    const struct plan *p = scheduler_plan(&w->s, &budget);
    w->n_admitted += w->s.stats.n_preempted - before;
    CHECK(p->batch.n_tokens <= w->limits.n_batch_max && p->batch.n_seq <= w->limits.n_seq_max);
    total.n_copies += (uint64_t)p->n_copy;
    total.n_prompt_tokens += (uint64_t)(p->batch.n_tokens - p->n_decode);
    disk_moment(w); /* between plan and copies */
    if (p->batch.n_tokens > 0)
        compute(w, p);
    else
        check_empty(w);
    run_disk(w, p->batch.n_tokens == 0);
    w->step++;
    total.n_steps++;
    check(w);
}

/* ---- crashes ---- */

static void count_stats(const struct world *w)
{
    total.n_preempted += w->s.stats.n_preempted;
    total.n_cached_tokens += w->s.stats.n_cached_tokens;
    total.n_forgotten += w->s.cache.n_forgotten;
    total.n_disk_hits += w->s.stats.n_disk_hits;
    total.n_disk_tokens += w->s.stats.n_disk_tokens;
    if (w->disk) {
        struct disk_tier_stats disk;
        disk_tier_get_stats(w->disk, &disk);
        total.n_disk_written += disk.n_written;
        total.n_disk_bad += disk.n_bad;
    }
}

static void resume(struct world *w, struct client *c)
{
    struct job *old = c->job;
    struct job *job = new_job(old->seq[0].token, old->n_prompt, old->n_token_max, old->n_seq);
    job->priority = old->priority;
    job->tenant = old->tenant;
    job->salt = old->salt;
    job->score_prompt = old->score_prompt;
    job->sampling = old->sampling;
    job->owner = c;
    c->job = job;
    for (int i = 0; i < job->n_seq; i++) {
        struct sequence *seq = &job->seq[i];
        seq->n_token = old->seq[i].n_token;
        memcpy(seq->token, old->seq[i].token, (size_t)seq->n_token * sizeof(*seq->token));
        seq->n_scored = old->seq[i].n_scored;
        total.n_resumed += seq->n_token > job->n_prompt;
    }
    job_free(old);
    scheduler_add(&w->s, job);
    for (int i = 0; i < job->n_seq; i++)
        if (c->choice[i].has_ended)
            scheduler_remove(&w->s, &job->seq[i]);
}

static void on_news(void *ctx)
{
    struct world *w = ctx;
    sem_post(&w->news);
}

static void start_worker(struct world *w)
{
    struct err err;
    CHECK(scheduler_init(&w->s, &w->limits, w->n_blocks, &err) == 0);
    memset(w->slab, 0xee, w->n_blocks * sizeof(w->slab[0]));
    if (w->disk_slots == 0)
        return;
    const struct disk_tier_opts o = {
        .fd = w->disk_fd,
        .file_bytes_max = (uint64_t)DISK_DATA_AT + (uint64_t)w->disk_slots * 4096,
        .identity = "the hash of the text",
        .block_bytes = sizeof(w->slab[0]),
        .base = (uint8_t *)w->slab,
        .n_blocks = w->n_blocks,
    };
    CHECK(disk_tier_new(&o, &w->disk, &err) == 0);
    w->s.cache.disk = w->disk;
    atomic_store(&error_pace, draw(w, 3) == 0 ? 2 + draw(w, 40) : 0);
    set_gate(w->disk_has_gate, 0);
    if (w->disk_has_thread)
        CHECK(disk_tier_start(w->disk, on_news, w, &err) == 0);
}

static void stop_worker(struct world *w, bool killed)
{
    count_stats(w);
    set_gate(false, 0);
    if (w->disk && (w->disk_has_thread || !killed))
        disk_tier_stop(w->disk, &w->s.cache, killed ? 0 : 10000);
    disk_tier_free(w->disk);
    w->disk = NULL;
    scheduler_release(&w->s);
}

/* Some bytes of the file change: table and data of a slot or two. */
static void damage_file(struct world *w)
{
    uint32_t slot = (uint32_t)draw(w, (uint64_t)w->disk_slots);
    off_t at = draw(w, 2) == 0 ? disk_meta_at(slot) + (off_t)draw(w, 256)
                               : DISK_DATA_AT + (off_t)slot * 4096 + (off_t)draw(w, 256);
    uint64_t bytes = draw(w, UINT64_MAX);
    CHECK(pwrite(w->disk_fd, &bytes, sizeof(bytes), at) == sizeof(bytes));
}

static void crash(struct world *w)
{
    total.n_crashes++;
    w->crashes_now = false;
    stop_worker(w, draw(w, 2) == 0);
    for (uint64_t n = draw(w, 20); n > 0 && w->disk_slots > 0; n--)
        damage_file(w);
    start_worker(w);
    for (int i = 0; i < CLIENTS_MAX; i++)
        if (w->client[i].job)
            resume(w, &w->client[i]);
    check(w);
}

/* ---- worlds ---- */

static void world_init(struct world *w, uint64_t seed)
{
    memset(w, 0, sizeof(*w));
    CHECK(sem_init(&w->news, 0, 0) == 0);
    w->rng = mix(seed, 42);
    w->n_ctx = 64 + (int)draw(w, TEXT_MAX - 64);
    w->n_blocks = (uint32_t)(w->n_ctx + KV_BLOCK_LEN - 1) / KV_BLOCK_LEN +
                  (uint32_t)draw(w, draw(w, 4) == 0 ? 2 : 40);
    int n_seq = 1 + (int)draw(w, 12);
    w->limits = (struct scheduler_limits){n_seq, n_seq + 1 + (int)draw(w, 120), n_seq + 5};
    double budget = 1 + (double)draw(w, 150);
    w->budget =
        (struct step_budget){budget, budget * 2, (double)draw(w, 3) / 200, 1 + (int)draw(w, 120)};
    if (draw(w, 2) == 0) {
        w->budget.draft = guess;
        w->budget.draft_ctx = w;
    }
    w->slab = calloc(w->n_blocks, sizeof(w->slab[0]));
    CHECK(w->slab);
    w->disk_slots = draw(w, 4) > 0 ? 1 + (int)draw(w, 120) : 0;
    w->disk_has_thread = w->disk_slots > 0 && draw(w, 3) == 0;
    w->disk_has_gate = w->disk_has_thread && draw(w, 4) > 0;
    w->budget_varies = draw(w, 2) == 0;
    w->disk_fd = memfd_create("prefix", 0);
    CHECK(w->disk_fd >= 0);
    scheduler_check_init(&w->check, w->n_blocks);
    start_worker(w);
}

static bool is_over(const struct world *w)
{
    return w->s.waiting.n + w->s.n_running + w->s.n_held == 0;
}

static void run_world(uint64_t seed, int n_jobs)
{
    struct world *w = malloc(sizeof(*w));
    CHECK(w);
    world_init(w, seed);
    uint64_t pace = 1 + draw(w, 12);
    w->crash_pace = draw(w, 3) * 100;
    while (n_jobs > 0 || !is_over(w)) {
        for (int i = 0; i < CLIENTS_MAX; i++)
            if (w->client[i].job && w->client[i].cancel_at <= w->step)
                cancel(w, &w->client[i]);
        if (n_jobs > 0 && draw(w, pace) == 0) {
            struct client *c = &w->client[draw(w, CLIENTS_MAX)];
            if (!c->job) {
                arrive(w, c);
                n_jobs--;
            }
        }
        run_step(w);
        if (w->crashes_now)
            crash(w);
    }
    for (int i = 0; i < CLIENTS_MAX; i++)
        CHECK(!w->client[i].job); /* each ended, once */
    struct block_pool *pool = &w->s.cache.pool;
    set_gate(false, 0);
    while (w->disk && disk_tier_n_orphans(w->disk) > 0)
        disk_tier_reap(w->disk, pool);
    CHECK(pool->n_free + pool->n_idle == pool->n_blocks);
    scheduler_check_release(&w->check);
    stop_worker(w, false);
    close(w->disk_fd);
    free(w->slab);
    free(w);
}

static void report(void)
{
    const struct totals *t = &total;
    printf("%llu jobs, %llu steps, %llu tokens; %llu crashes (%llu texts resumed), %llu cancels\n",
           (unsigned long long)t->n_jobs, (unsigned long long)t->n_steps,
           (unsigned long long)t->n_tokens, (unsigned long long)t->n_crashes,
           (unsigned long long)t->n_resumed, (unsigned long long)t->n_cancelled);
    printf("%llu preemptions, %llu blocks forgotten, %llu copied; prompt tokens: %llu computed, "
           "%llu found\n",
           (unsigned long long)t->n_preempted, (unsigned long long)t->n_forgotten,
           (unsigned long long)t->n_copies, (unsigned long long)t->n_prompt_tokens,
           (unsigned long long)t->n_cached_tokens);
    printf("%llu tokens guessed, %llu of them right\n", (unsigned long long)t->n_drafted,
           (unsigned long long)t->n_accepted);
    printf("the disk: %llu blocks written, %llu damaged, %llu tokens read in %llu goes\n",
           (unsigned long long)t->n_disk_written, (unsigned long long)t->n_disk_bad,
           (unsigned long long)t->n_disk_tokens, (unsigned long long)t->n_disk_hits);
    printf("%llu empty plans, %llu steps beside blocks that are being read for nobody, %llu with a "
           "stuck disk, %llu reads failed\n",
           (unsigned long long)t->n_empty, (unsigned long long)t->n_orphans,
           (unsigned long long)t->n_stuck, (unsigned long long)total_read_errors);
    printf("longest life in admissions of others, by class: %llu %llu %llu %llu\n",
           (unsigned long long)t->life_max[0], (unsigned long long)t->life_max[1],
           (unsigned long long)t->life_max[2], (unsigned long long)t->life_max[3]);
}

int main(int argc, char **argv)
{
    uint64_t n_jobs = argc > 1 ? strtoull(argv[1], NULL, 10) : JOBS_DEFAULT;
    uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
    if (n_jobs == 0) {
        fprintf(stderr, "usage: %s [JOBS [SEED]]\n", argv[0]);
        return 2;
    }
    log_set_level(LOG_ERROR); /* not that the disk fails */
    while (total.n_jobs < n_jobs)
        run_world(seed++, JOBS_WORLD);
    report();
    /* else the run shows nothing about them */
    CHECK(total.n_preempted > 100 && total.n_forgotten > 100 && total.n_copies > 100);
    CHECK(total.n_crashes > 10 && total.n_resumed > 10 && total.n_cancelled > 100);
    CHECK(total.n_cached_tokens > total.n_jobs);
    CHECK(total.n_accepted > 1000 && total.n_drafted > total.n_accepted + 1000);
    CHECK(total.n_disk_tokens > total.n_jobs / 10 && total.n_disk_bad > 0);
    CHECK(total.n_empty > 0 && total.n_orphans > 0 && total.n_stuck > 0); /* as threads run */
    return 0;
}
