/*
 * share: what each key may have of a model's queue, and whose turn it is. See job.h and slot.h.
 *
 * Who may wait. A model has places that compute, and opts.queue_max that wait:
 *   - A request that finds a place to be computed in is taken.
 *   - Else a key that has nothing waiting is taken while there is any free place to wait, and a
 *     key that has something waiting may have at most SHARE_OF_FREE times as many choices waiting
 *     as places stay free.
 * So a key by itself gets two thirds of the queue, n of them 2 / (2 n + 1) each, and there is room
 * for the next one to come; as their requests end they come to have the same, and nothing that
 * was taken on is thrown out. (Choudhury and Hahne, "Dynamic queue length thresholds for
 * shared-memory packet switches", 1998.) The bytes of requests, which are held until their end, are
 * shared by the same rule. Where there is one key only, nobody else can come: it may have all.
 *   - One request may bring as many choices as its key could have waiting if nobody else were
 *     there, and 64 in any case, for that is what `n` of one prompt may be.
 *
 * Who is sent to the worker first, of those that wait here while it loads, is put back, or is full:
 *   1. questions (they take no place), then requests whose client has begun to read;
 *   2. the higher class; who waits gains one in AGE_NS, so that nobody starves;
 *   3. the key that has the least with the worker;
 *   4. the oldest.
 * What the worker has it puts in order by itself (engine/fair_queue.h), from the moment that it has
 * read it; so this is what decides when many come to it at once.
 */
#include "gateway/job.h"

#include "base/clock.h"
#include "base/mem.h"
#include "gateway/models.h"

#include <math.h>
#include <stdlib.h>

#define SHARE_OF_FREE  2
#define HELD_BYTES_MAX ((int64_t)512 << 20) /* of the frames of all jobs, then "busy" */
#define AGE_NS         INT64_C(10000000000)

/* ---- the counts ---- */

void share_join(struct job *j, int64_t tenant)
{
    struct share **at = &j->slot->shares;
    while (*at != NULL && (*at)->tenant != tenant)
        at = &(*at)->next;
    if (*at == NULL) {
        *at = mem_zero(1, sizeof **at);
        (*at)->tenant = tenant;
    }
    j->share = *at;
    j->share->n_jobs++;
}

void share_leave(struct job *j)
{
    struct share **at = &j->slot->shares, *one = j->share;
    j->share = NULL;
    if (one == NULL || --one->n_jobs > 0)
        return;
    while (*at != one)
        at = &(*at)->next;
    *at = one->next;
    free(one);
}

static void count(const struct slot *s)
{
    for (struct share *one = s->shares; one != NULL; one = one->next)
        one->n_queued = one->n_sent = one->bytes = 0;
    for (const struct job *j = s->jobs; j != NULL; j = j->next) {
        struct share *one = j->share;
        if (one == NULL)
            continue;
        one->bytes += (int64_t)j->replay.frame_len;
        one->n_queued += j->state < JOB_IS_STARTED ? j->n_units : 0;
        one->n_sent += j->state == JOB_IS_WAITING ? 0 : j->n_units;
    }
}

/* ---- who may wait ---- */

bool share_allows(int64_t mine, int64_t n, int64_t n_free)
{
    return mine == 0 || mine + n <= SHARE_OF_FREE * (n_free - n);
}

int64_t slot_units_max(const struct slot *s, bool others)
{
    int64_t all = slot_n_places(s) + s->models->opts->queue_max;
    int64_t most = others ? all * SHARE_OF_FREE / (SHARE_OF_FREE + 1) : all;
    return most > GEN_N_MAX ? most : GEN_N_MAX;
}

bool slot_holds_too_much(const struct slot *s)
{
    return s->held_bytes >= HELD_BYTES_MAX;
}

static enum slot_room room_of(const struct slot *s, int64_t tenant, bool others, int64_t n_units)
{
    static const struct share nothing;
    const struct share *mine = s->shares;
    int64_t places = slot_n_places(s);
    int64_t n_free = places + s->models->opts->queue_max - s->n_units;
    int64_t n_bytes_free = HELD_BYTES_MAX - s->held_bytes;
    if (s->n_units == 0)
        return SLOT_ROOM_YES;
    if (n_units > n_free || n_bytes_free <= 0)
        return SLOT_ROOM_FULL;
    if (!others)
        return SLOT_ROOM_YES;
    count(s);
    while (mine != NULL && mine->tenant != tenant)
        mine = mine->next;
    mine = mine == NULL ? &nothing : mine;
    bool computed = s->n_units + n_units <= places;
    if (!computed && !share_allows(mine->n_queued, n_units, n_free))
        return SLOT_ROOM_SHARE;
    return share_allows(mine->bytes, 0, n_bytes_free) ? SLOT_ROOM_YES : SLOT_ROOM_SHARE;
}

enum slot_room slot_has_room(const struct slot *s, int64_t tenant, bool others, int64_t n_units,
                             int *ret_retry_after_s)
{
    enum slot_room room = room_of(s, tenant, others, n_units);
    /* until half of it is done: by then there is room for many, not for the quickest alone */
    if (room != SLOT_ROOM_YES)
        *ret_retry_after_s = (int)fmin(fmax(ceil(wait_all_s(s) / 2), 1), 120);
    return room;
}

/* ---- who is next ---- */

static int64_t class_of(const struct job *j, int64_t now_ns)
{
    int64_t class = j->priority - (now_ns - j->submit_ns) / AGE_NS;
    return class > 0 ? class : 0;
}

/* b is the younger one. */
static bool goes_before(const struct job *b, const struct job *a, int64_t now_ns)
{
    if (a->share == NULL || b->share == NULL)
        return a->share != NULL;
    if (a->told_started || b->told_started)
        return !a->told_started;
    int64_t class_a = class_of(a, now_ns), class_b = class_of(b, now_ns);
    return class_b != class_a ? class_b < class_a : b->share->n_sent < a->share->n_sent;
}

struct job *share_next(const struct slot *s)
{
    struct job *best = NULL;
    int64_t now_ns = clock_ns();
    count(s);
    for (struct job *j = s->jobs; j != NULL; j = j->next)
        if (j->state == JOB_IS_WAITING && (best == NULL || goes_before(j, best, now_ns)))
            best = j;
    return best;
}
