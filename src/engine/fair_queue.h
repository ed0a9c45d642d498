/*
 * fair_queue: the waiting sequences, and who of them is next.
 *
 * The rule:
 *  1. A higher class goes first (job->priority, 0 the highest).
 *  2. Ageing, so that nothing starves: each admission of a class passes over every lower class that
 *     waits. A class that was passed over FAIR_PASSES times comes next, and what it sends runs with
 *     the rank of the highest class. If that does not fit, others may still be admitted, until it
 *     was passed over FAIR_PASSES_MAX times: then nobody is before it fits. So of any
 *     FAIR_PASSES_MAX + 3 admissions at least one is of each class that waits.
 *  3. Within a class those go first that ran already and were preempted: somebody reads their text.
 *  4. Then the tenant that was served least. Served is counted in tokens computed: at admission
 *     what is to be computed and FAIR_ADVANCE tokens more, then the tokens beyond that. A tenant
 *     that comes back begins where the others are: idle time is not saved up.
 *  5. Within a tenant the oldest.
 *
 * Tenants share a count when their ids are equal modulo FAIR_TENANTS. Choosing looks at every
 * waiting sequence; all else is O(1), insertion at the end included. Allocates only in init.
 */
#ifndef HEARTH_ENGINE_FAIR_QUEUE_H
#define HEARTH_ENGINE_FAIR_QUEUE_H

#include "engine/sequence.h"

#define FAIR_TENANTS    1024
#define FAIR_PASSES     16
#define FAIR_PASSES_MAX (4 * FAIR_PASSES)
#define FAIR_ADVANCE    64

struct fair_account {
    uint64_t served; /* tokens */
    int n_alive;     /* sequences waiting or running */
};

struct fair_queue {
    struct sequence *head, *tail; /* oldest first */
    int n;
    int n_class[JOB_CLASSES];     /* waiting */
    int n_passed[JOB_CLASSES];    /* how often it was passed over since its last admission */
    uint64_t level[JOB_CLASSES];  /* what the tenant that was admitted last had been served */
    struct fair_account *account; /* [JOB_CLASSES][FAIR_TENANTS] */
};

/* Who may be admitted, best first. */
struct fair_choice {
    struct sequence *seq;
    int rank;          /* with which it would run */
    bool is_last_call; /* nobody else may go before it */
};

uint64_t fair_queue_bytes(void);
int fair_queue_init(struct fair_queue *q, struct err *err) __attribute__((warn_unused_result));
void fair_queue_release(struct fair_queue *q);

/* (job->arrival, index) */
bool sequence_is_older(const struct sequence *a, const struct sequence *b);

/* A new sequence, or one that was preempted. */
void fair_queue_insert(struct fair_queue *q, struct sequence *seq);
void fair_queue_remove(struct fair_queue *q, struct sequence *seq);
/* Its tenant has one more, or one less, that is alive. Enter before insert. */
void fair_queue_enter(struct fair_queue *q, const struct sequence *seq);
void fair_queue_leave(struct fair_queue *q, const struct sequence *seq);
/* How many choices there are: at most 2. */
int fair_queue_choose(const struct fair_queue *q, struct fair_choice ret[2]);
/* It was chosen: out of the queue, and counted. n_computed says what it need not compute. */
void fair_queue_admit(struct fair_queue *q, struct sequence *seq);
/* It was computed up to n_computed. */
void fair_queue_charge(struct fair_queue *q, struct sequence *seq);

#endif
