/*
 * fair_queue: see the header. Owns the order of those who wait, and nothing of blocks or steps.
 */
#include "engine/fair_queue.h"
#include "base/check.h"
#include "base/mem.h"

#include <stdlib.h>

uint64_t fair_queue_bytes(void)
{
    return (uint64_t)JOB_CLASSES * FAIR_TENANTS * sizeof(struct fair_account);
}

int fair_queue_init(struct fair_queue *q, struct err *err)
{
    *q = (struct fair_queue){0};
    q->account = mem_try_array((size_t)JOB_CLASSES * FAIR_TENANTS, sizeof(*q->account));
    return q->account ? 0 : err_set(err, ERR_NOMEM, "no memory for the queue");
}

void fair_queue_release(struct fair_queue *q)
{
    free(q->account);
    *q = (struct fair_queue){0};
}

static struct fair_account *account_of(const struct fair_queue *q, const struct sequence *seq)
{
    return &q->account[seq->job->priority * FAIR_TENANTS + seq->job->tenant % FAIR_TENANTS];
}

bool sequence_is_older(const struct sequence *a, const struct sequence *b)
{
    if (a->job->arrival != b->job->arrival)
        return a->job->arrival < b->job->arrival;
    return a->index < b->index;
}

void fair_queue_enter(struct fair_queue *q, const struct sequence *seq)
{
    CHECK(seq->job->priority >= 0 && seq->job->priority < JOB_CLASSES);
    struct fair_account *a = account_of(q, seq);
    uint64_t level = q->level[seq->job->priority];
    if (a->n_alive++ == 0 && a->served < level)
        a->served = level;
}

void fair_queue_leave(struct fair_queue *q, const struct sequence *seq)
{
    account_of(q, seq)->n_alive--;
}

void fair_queue_insert(struct fair_queue *q, struct sequence *seq)
{
    struct sequence *before = q->tail;
    while (before && sequence_is_older(seq, before))
        before = before->prev;
    seq->prev = before;
    seq->next = before ? before->next : q->head;
    *(seq->prev ? &seq->prev->next : &q->head) = seq;
    *(seq->next ? &seq->next->prev : &q->tail) = seq;
    q->n++;
    q->n_class[seq->job->priority]++;
}

void fair_queue_remove(struct fair_queue *q, struct sequence *seq)
{
    *(seq->prev ? &seq->prev->next : &q->head) = seq->next;
    *(seq->next ? &seq->next->prev : &q->tail) = seq->prev;
    seq->prev = seq->next = NULL;
    q->n--;
    int class = seq->job->priority;
    if (--q->n_class[class] == 0)
        q->n_passed[class] = 0;
}

/* Both of one class; a is the older one. */
static bool goes_before(const struct fair_queue *q, const struct sequence *b,
                        const struct sequence *a)
{
    if (a->was_preempted || b->was_preempted)
        return !a->was_preempted;
    return account_of(q, b)->served < account_of(q, a)->served;
}

int fair_queue_choose(const struct fair_queue *q, struct fair_choice ret[2])
{
    struct sequence *best[JOB_CLASSES] = {NULL};
    for (struct sequence *seq = q->head; seq; seq = seq->next) {
        struct sequence **at = &best[seq->job->priority];
        if (!*at || goes_before(q, seq, *at))
            *at = seq;
    }
    int n = 0, highest = 0, aged = 0;
    while (highest < JOB_CLASSES && !best[highest])
        highest++;
    if (highest == JOB_CLASSES)
        return 0;
    for (int i = 1; i < JOB_CLASSES; i++)
        if (q->n_passed[i] > q->n_passed[aged])
            aged = i;
    int n_passed = q->n_passed[aged];
    if (n_passed >= FAIR_PASSES)
        ret[n++] = (struct fair_choice){best[aged], 0, n_passed >= FAIR_PASSES_MAX};
    if (n == 0 || aged != highest)
        ret[n++] = (struct fair_choice){best[highest], highest, false};
    return n;
}

void fair_queue_admit(struct fair_queue *q, struct sequence *seq)
{
    int class = seq->job->priority;
    struct fair_account *a = account_of(q, seq);
    fair_queue_remove(q, seq);
    q->n_passed[class] = 0;
    for (int lower = class + 1; lower < JOB_CLASSES; lower++)
        q->n_passed[lower] += q->n_class[lower] > 0;
    if (a->served > q->level[class])
        q->level[class] = a->served;
    a->served += (uint64_t)(seq->n_token - seq->n_computed) + FAIR_ADVANCE;
    seq->n_paid = seq->n_token + FAIR_ADVANCE;
}

void fair_queue_charge(struct fair_queue *q, struct sequence *seq)
{
    if (seq->n_computed <= seq->n_paid)
        return;
    account_of(q, seq)->served += (uint64_t)(seq->n_computed - seq->n_paid);
    seq->n_paid = seq->n_computed;
}
