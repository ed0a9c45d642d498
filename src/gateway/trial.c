/*
 * trial: which request kills the worker, when one does. See job.h.
 *
 * Every job that was sent and not done when a worker died is under suspicion: the worker's last
 * words may be lost, so whether it was really being computed is not known. But when as many as
 * the worker computes at once had started, those that had been accepted and not started were
 * waiting in its queue, and are not.
 *   - After one death all go on together.
 *   - Jobs that were there at two deaths are suspects. They are sent alone, one at a time: first
 *     the one that was on trial when the worker died again, then those that were computing, then
 *     by age. Nothing else is sent meanwhile.
 *   - A suspect that gets TRIAL_TOKENS further than it was (twice as many each time) or ends is
 *     cleared: it goes on, and the next is tried beside it.
 *   - A worker that dies with one job, which has been there at a death before, was killed by it:
 *     that job fails, all others are cleared, and the deaths are forgotten.
 * An innocent job therefore never fails for another's sake, and what a guilty one costs the others
 * is a few restarts. Two bounds: SLOT_DEATHS_MAX ends what does not converge, and a trial is over
 * after a few tokens.
 */
#include "gateway/job.h"

#define TRIAL_TOKENS    16 /* of each choice */
#define TRIAL_DOUBLINGS 6
#define DEATHS_SUSPECT  2

static bool is_suspect(const struct job *j)
{
    return j->n_deaths >= DEATHS_SUSPECT && !j->cleared;
}

static bool tried_before(const struct job *a, const struct job *b)
{
    if (a->was_tried != b->was_tried)
        return a->was_tried;
    return a->was_started && !b->was_started;
}

struct job *trial_next(struct slot *s)
{
    struct job *suspect = NULL;
    for (struct job *j = s->jobs; j != NULL; j = j->next) {
        if (j->state != JOB_IS_WAITING)
            continue;
        if (is_suspect(j) && (suspect == NULL || tried_before(j, suspect)))
            suspect = j;
    }
    if (s->trial != NULL)
        return NULL;
    if (suspect == NULL)
        return share_next(s);
    suspect->n_trials++;
    s->trial = suspect;
    return suspect;
}

bool trial_progress(struct job *j)
{
    struct slot *s = j->slot;
    int doublings = j->n_trials < TRIAL_DOUBLINGS ? j->n_trials : TRIAL_DOUBLINGS;
    if (s->trial != j || j->n_new < j->n_units * ((int64_t)TRIAL_TOKENS << doublings) / 2)
        return false;
    j->cleared = true;
    s->trial = NULL;
    return true;
}

/* Whether the worker had its hands full with others. */
static bool was_queued(const struct slot *s, const struct job *j, int64_t n_started)
{
    return s->ready.n_seq_max > 0 && n_started >= s->ready.n_seq_max && j->state == JOB_IS_SENT &&
           j->replay.accepted;
}

struct job *trial_death(struct slot *s, bool blameless)
{
    struct job *only = NULL;
    int64_t n_started = 0;
    int n_sent = 0;
    for (const struct job *j = s->jobs; j != NULL; j = j->next)
        n_started += j->state == JOB_IS_WAITING || j->state == JOB_IS_SENT ? 0 : j->n_units;
    for (struct job *j = s->jobs; j != NULL; j = j->next) {
        if (j->state == JOB_IS_WAITING)
            continue;
        n_sent++;
        only = j;
        j->n_deaths += !blameless && !was_queued(s, j, n_started);
        j->cleared = false;
        j->was_tried = s->trial == j;
        j->was_started = j->state != JOB_IS_SENT;
        j->state = JOB_IS_WAITING;
        j->n_new = 0;
    }
    s->trial = NULL;
    return !blameless && n_sent == 1 && only->n_deaths >= DEATHS_SUSPECT ? only : NULL;
}

void trial_over(struct slot *s)
{
    for (struct job *j = s->jobs; j != NULL; j = j->next) {
        j->n_deaths = j->n_trials = 0;
        j->was_tried = false;
    }
    s->n_deaths = 0;
}
