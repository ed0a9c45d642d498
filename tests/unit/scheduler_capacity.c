/*
 * scheduler_capacity: what so many users need. The real scheduler and prefix cache over a model
 * that is nothing but a cost: a + b * tokens + c * positions seen, in ms. docs/capacity.md is made
 * of its output and says what is assumed.
 *
 *   scheduler_capacity                     the tables of docs/capacity.md
 *   scheduler_capacity KEY=NUMBER ...      one row; the keys are those of struct scene
 *
 * Users are a closed loop: each thinks, sends the conversation so far with a new message, reads the
 * answer, thinks again. The simulated clock moves by the cost of each step.
 */
#include "base/check.h"
#include "base/mem.h"
#include "engine/scheduler.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WARM_UP 0.2 /* of the time is not counted */

struct scene {
    double users, think_s;           /* mean of an exponential pause */
    double system, message, answer;  /* tokens; the last two: medians */
    double document_share, document; /* of messages that bring so many tokens */
    double turns;                    /* of a conversation */
    double pool;                     /* tokens of keys and values */
    double slots;                    /* sequences in a step */
    double a, b, c;                  /* ms; of a step, a token, a position seen */
    double step_ms, minutes, seed;
};

/* Quarter octaves from a tenth of a ms on. */
#define BINS 128
struct histogram {
    uint64_t n, bin[BINS];
};

struct user {
    struct job *job;
    uint64_t conversation;
    int n_turn, n_text; /* turns and tokens of the conversation so far */
    double next_ms, asked_ms, last_ms;
};

struct office {
    struct scene scene;
    struct scheduler s;
    struct user *user;
    uint64_t rng, n_conversation;
    double now_ms;
    struct histogram first, between; /* ms */
    uint64_t n_answers, n_tokens, n_computed, n_prompt, n_cached;
    double busy_ms;
};

/* ---- numbers ---- */

static double uniform(struct office *o)
{
    o->rng = o->rng * 6364136223846793005ull + 1442695040888963407ull;
    return ((double)(o->rng >> 12) + 0.5) / (double)(1ull << 52);
}

static double exponential(struct office *o, double mean)
{
    return -mean * log(uniform(o));
}

static int around(struct office *o, double median, double spread, int most)
{
    double normal = sqrt(-2 * log(uniform(o))) * cos(6.283185307179586 * uniform(o));
    double n = median * exp(spread * normal);
    return n < 4 ? 4 : n > most ? most : (int)n;
}

static void histogram_add(struct histogram *h, double ms)
{
    int i = ms > 0.1 ? (int)(4 * log2(ms / 0.1)) : 0;
    h->bin[i < BINS ? i : BINS - 1]++;
    h->n++;
}

static double histogram_at(const struct histogram *h, double part)
{
    uint64_t n = 0;
    for (int i = 0; i < BINS; i++) {
        n += h->bin[i];
        if ((double)n >= part * (double)h->n && n > 0)
            return 0.1 * exp2((i + 0.5) / 4);
    }
    return 0;
}

/* ---- users ---- */

static bool is_counted(const struct office *o)
{
    return o->now_ms >= WARM_UP * o->scene.minutes * 60e3;
}

static int32_t token_at(const struct office *o, const struct user *u, int position)
{
    uint64_t text = position < (int)o->scene.system ? 0 : u->conversation;
    uint64_t h = (text * 0x9e3779b97f4a7c15ull) ^ ((uint64_t)position * 0xd6e8feb86659fd93ull);
    h *= 0xff51afd7ed558ccdull;
    return (int32_t)(h >> 40);
}

static void ask(struct office *o, struct user *u)
{
    const struct scene *s = &o->scene;
    int n_new = around(o, s->message, 1.0, 2000);
    if (uniform(o) < s->document_share)
        n_new += (int)s->document;
    int n_answer = around(o, s->answer, 0.7, 1000);
    int n_max = (int)s->pool / KV_BLOCK_LEN * KV_BLOCK_LEN;
    if (u->n_turn == 0 || u->n_turn >= (int)s->turns || u->n_text + n_new + n_answer > n_max) {
        u->conversation = ++o->n_conversation;
        u->n_turn = 0;
        u->n_text = (int)s->system;
    }
    int n_prompt = u->n_text + n_new;
    int32_t *prompt = mem_zero((size_t)n_prompt, sizeof(*prompt));
    for (int i = 0; i < n_prompt; i++)
        prompt[i] = token_at(o, u, i);
    struct err err;
    CHECK(job_new(prompt, n_prompt, n_prompt + n_answer, 1, &u->job, &err) == 0);
    free(prompt);
    u->job->owner = u;
    u->job->tenant = (uint32_t)(u - o->user);
    u->asked_ms = u->next_ms;
    scheduler_add(&o->s, u->job);
}

static void end(struct office *o, struct user *u)
{
    const struct sequence *seq = &u->job->seq[0];
    scheduler_remove(&o->s, &u->job->seq[0]);
    if (is_counted(o)) {
        o->n_answers++;
        o->n_prompt += (uint64_t)u->job->n_prompt;
        o->n_cached += (uint64_t)seq->n_cached;
    }
    u->n_text = seq->n_token;
    u->n_turn++;
    u->next_ms = o->now_ms + exponential(o, o->scene.think_s * 1e3);
    job_free(u->job);
    u->job = NULL;
}

static void hear(struct office *o, struct sequence *seq)
{
    struct user *u = seq->job->owner;
    bool is_first = seq->n_token == seq->job->n_prompt;
    if (is_counted(o)) {
        histogram_add(is_first ? &o->first : &o->between,
                      o->now_ms - (is_first ? u->asked_ms : u->last_ms));
        o->n_tokens++;
    }
    u->last_ms = o->now_ms;
    seq->token[seq->n_token] = token_at(o, u, seq->n_token);
    if (++seq->n_token == seq->job->n_token_max)
        end(o, u);
}

/* ---- time ---- */

static double wake(struct office *o)
{
    double next = INFINITY;
    for (int i = 0; i < (int)o->scene.users; i++) {
        struct user *u = &o->user[i];
        if (!u->job && u->next_ms <= o->now_ms)
            ask(o, u);
        else if (!u->job && u->next_ms < next)
            next = u->next_ms;
    }
    return next;
}

static void run(struct office *o)
{
    const struct scene *s = &o->scene;
    struct step_budget budget = {(s->step_ms - s->a) / s->b, (4 * s->step_ms - s->a) / s->b,
                                 s->c / s->b, 1 << 20};
    while (o->now_ms < s->minutes * 60e3) {
        double next = wake(o);
        const struct plan *p = scheduler_plan(&o->s, &budget);
        if (p->batch.n_tokens == 0) {
            o->now_ms = next;
            continue;
        }
        double ms = s->a + s->b * p->batch.n_tokens + s->c * p->n_attended;
        o->now_ms += ms;
        if (is_counted(o)) {
            o->busy_ms += ms;
            o->n_computed += (uint64_t)p->batch.n_tokens;
        }
        scheduler_commit(&o->s);
        for (int i = 0; i < p->batch.n_out; i++)
            hear(o, p->row[i].seq);
    }
}

static void office_run(const struct scene *scene)
{
    struct office *o = mem_zero(1, sizeof(*o));
    struct scheduler_limits limits = {(int)scene->slots, (int)scene->slots + 256,
                                      (int)scene->slots + 1};
    struct err err;
    o->scene = *scene;
    o->rng = (uint64_t)scene->seed;
    o->user = mem_zero((size_t)scene->users, sizeof(*o->user));
    uint32_t n_blocks = (uint32_t)(scene->pool / KV_BLOCK_LEN);
    CHECK(scheduler_init(&o->s, &limits, n_blocks, &err) == 0);
    for (int i = 0; i < (int)scene->users; i++)
        o->user[i].next_ms = exponential(o, scene->think_s * 1e3);
    run(o);
    double s = (1 - WARM_UP) * scene->minutes * 60;
    printf(
        "| %.0f | %.0f k | %.2f | %.0f | %.0f %% | %.2f | %.2f | %.0f | %.0f | %.0f %% | %llu |\n",
        scene->users, scene->pool / 1000, (double)o->n_answers / s, (double)o->n_tokens / s,
        100 * (double)o->n_cached / (double)(o->n_prompt + !o->n_prompt),
        histogram_at(&o->first, 0.5) / 1000, histogram_at(&o->first, 0.95) / 1000,
        histogram_at(&o->between, 0.5), histogram_at(&o->between, 0.99),
        100 * o->busy_ms / (s * 1000), (unsigned long long)o->s.stats.n_preempted);
    fflush(stdout);
    for (int i = 0; i < (int)scene->users; i++)
        job_free(o->user[i].job);
    scheduler_release(&o->s);
    free(o->user);
    free(o);
}

/* ---- what is asked ---- */

static const struct scene plain = {
    .users = 10,
    .think_s = 120,
    .system = 300,
    .message = 60,
    .answer = 180,
    .document_share = 0.05,
    .document = 3000,
    .turns = 6,
    .pool = 128e3,
    .slots = 32,
    .a = 22,
    .b = 3.7,
    .c = 0.001,
    .step_ms = 100,
    .minutes = 120,
    .seed = 1,
};

static const struct key {
    const char *name;
    size_t at;
} keys[] = {
#define KEY(k)                                                                                     \
    {                                                                                              \
#k, offsetof(struct scene, k)                                                              \
    }
    KEY(users),    KEY(think_s), KEY(system),  KEY(message), KEY(answer), KEY(document_share),
    KEY(document), KEY(turns),   KEY(pool),    KEY(slots),   KEY(a),      KEY(b),
    KEY(c),        KEY(step_ms), KEY(minutes), KEY(seed),
};

static bool set(struct scene *s, const char *arg)
{
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        size_t n = strlen(keys[i].name);
        char *rest;
        if (strncmp(arg, keys[i].name, n) != 0 || arg[n] != '=')
            continue;
        double value = strtod(arg + n + 1, &rest);
        if (*rest != '\0' || !(value >= 0 && value <= 1e9))
            return false;
        memcpy((char *)s + keys[i].at, &value, sizeof(value));
        return true;
    }
    return false;
}

static bool is_sound(const struct scene *s)
{
    return s->users >= 1 && s->slots >= 1 && s->slots <= 4096 && s->b > 0 && s->a + s->b > 0.01 &&
           s->pool >= s->system + s->document + 3100 && s->think_s > 0 && s->minutes > 0 &&
           s->users <= 1e6;
}

static void head(const char *title)
{
    printf("\n### %s\n\n", title);
    printf(
        "| users | pool, tokens | answers/s | tokens/s | of prompts cached | first token p50, s | "
        "p95, s | between tokens p50, ms | p99, ms | busy | preempted |\n"
        "|---|---|---|---|---|---|---|---|---|---|---|\n");
}

static void tables(void)
{
    static const struct {
        const char *title;
        double a, b, c, slots;
    } machines[] = {
        {"1B, two cores", 22, 3.7, 0.001, 32},
        {"8B, two cores", 115, 28, 0.0037, 32},
        {"1B, sixteen cores", 3.5, 0.46, 0.00017, 128},
        {"8B, sixteen cores", 19, 3.5, 0.0006, 128},
    };
    for (size_t i = 0; i < sizeof(machines) / sizeof(machines[0]); i++) {
        head(machines[i].title);
        for (double users = 10; users <= 1000; users *= 10) {
            for (double pool = 32e3; pool <= 512e3; pool *= 4) {
                struct scene s = plain;
                s.a = machines[i].a;
                s.b = machines[i].b;
                s.c = machines[i].c;
                s.slots = machines[i].slots;
                s.users = users;
                s.pool = pool;
                office_run(&s);
            }
        }
    }
}

int main(int argc, char **argv)
{
    struct scene s = plain;
    if (argc == 1) {
        tables();
        return 0;
    }
    for (int i = 1; i < argc; i++) {
        if (!set(&s, argv[i])) {
            fprintf(stderr, "%s: unknown key or bad number in %s\n", argv[0], argv[i]);
            return 2;
        }
    }
    if (!is_sound(&s)) {
        fprintf(stderr,
                "%s: users, slots, b, think_s and minutes must be positive, pool at least "
                "system + document + 3100\n",
                argv[0]);
        return 2;
    }
    head("one row");
    office_run(&s);
    return 0;
}
