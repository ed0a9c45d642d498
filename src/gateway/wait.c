/*
 * wait: how long a job waits, from what was measured: seconds per prompt token and per generated
 * token (of the whole batch, between two statistics of the worker) and how long answers are.
 *
 * It is an estimate for people and for Retry-After. A job starts when as many of those before it
 * have ended as it takes until there are less of them than places; they end one after the other
 * while all of them are computed. Those before it are all of a higher class, and of its own class
 * as many of each key as of its own. Before anything was measured it says 0.
 */
#include "gateway/job.h"

#include "base/mem.h"
#include "gateway/models.h"

#include <math.h>

#define TOKENS_GUESS 128 /* of an answer, before one was seen */
#define SAMPLE_S     0.1 /* engine time that makes a measurement */
#define NEWEST       0.3 /* weight of the newest measurement */

static double mean(double old, double now)
{
    return old == 0 ? now : (1 - NEWEST) * old + NEWEST * now;
}

void wait_measure(struct slot *s, const struct worker_stats *now)
{
    struct slot_pace *p = &s->pace;
    double prefill_s = now->prefill_s - p->last.prefill_s;
    double decode_s = now->decode_s - p->last.decode_s;
    int64_t n_prompt = now->prompt_tokens - p->last.prompt_tokens;
    int64_t n_output = now->output_tokens - p->last.output_tokens;
    if (prefill_s + decode_s < SAMPLE_S && now->steps >= p->last.steps)
        return; /* too little; it counts the next time */
    if (n_prompt > 0 && prefill_s > 0)
        p->prompt_token_s = mean(p->prompt_token_s, prefill_s / (double)n_prompt);
    if (n_output > 0 && decode_s > 0)
        p->output_token_s = mean(p->output_token_s, decode_s / (double)n_output);
    p->last = *now;
}

void wait_learn(struct slot *s, const struct job *j, const struct gen_done *d)
{
    struct slot_pace *p = &s->pace;
    p->prompt_tokens = mean(p->prompt_tokens, fmax(1, (double)d->n_prompt));
    p->output_tokens = mean(p->output_tokens, (double)d->n_completion / (double)j->n_units);
}

/* Engine time that a job still needs. */
static double left_s(const struct slot *s, const struct job *j)
{
    const struct slot_pace *p = &s->pace;
    double n_prompt = j->replay.accepted ? (double)j->replay.n_prompt : p->prompt_tokens;
    double length = p->output_tokens > 0 ? p->output_tokens : TOKENS_GUESS;
    if (j->max_tokens >= 0)
        length = fmin(length, (double)j->max_tokens);
    double left = fmax(length * (double)j->n_units - (double)j->n_tokens, length / 8);
    return (j->state >= JOB_IS_STARTED ? 0 : n_prompt * p->prompt_token_s) +
           left * p->output_token_s;
}

double wait_all_s(const struct slot *s)
{
    double sum = 0;
    for (const struct job *j = s->jobs; j != NULL; j = j->next)
        sum += left_s(s, j);
    return sum;
}

/* Jobs of its key and class before it that wait, too. */
static int64_t rank_of(const struct job *job)
{
    int64_t rank = 0;
    for (const struct job *j = job->slot->jobs; j != job; j = j->next)
        rank += j->state < JOB_IS_STARTED && j->share == job->share && j->priority == job->priority;
    return rank;
}

/* The key's next one, of those of a class that wait, in the order of the list. */
static int64_t next_rank(const struct job *j, int64_t priority)
{
    if (j->share == NULL || j->priority != priority || j->state >= JOB_IS_STARTED)
        return 0;
    return j->share->n_passed++;
}

bool job_wait(const struct job *job, struct slot_wait *ret)
{
    const struct slot *s = job->slot;
    int64_t n_before = 0, n_place = slot_n_places(s), rank = rank_of(job);
    double before_s = 0;
    bool mine = false; /* passed in the list */
    *ret = (struct slot_wait){0};
    if (job->state >= JOB_IS_STARTED)
        return false;
    for (struct share *one = s->shares; one != NULL; one = one->next)
        one->n_passed = 0;
    for (const struct job *j = s->jobs; j != NULL; j = j->next) {
        int64_t other = next_rank(j, job->priority);
        mine = mine || j == job;
        bool goes_first =
            j->priority < job->priority ||
            (j->priority == job->priority && (other < rank || (other == rank && !mine)));
        if (j == job || (j->state < JOB_IS_STARTED && !goes_first))
            continue;
        n_before += j->n_units;
        before_s += left_s(s, j);
    }
    if (n_before < n_place)
        return false; /* at once */
    ret->position = n_before - n_place + 1;
    ret->seconds = before_s * (double)ret->position / (double)n_before;
    return true;
}
