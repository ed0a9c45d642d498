/*
 * scheduler_check: the invariants of scheduler, block pool and prefix cache, seen from outside.
 */
#ifndef HEARTH_TESTS_SCHEDULER_CHECK_H
#define HEARTH_TESTS_SCHEDULER_CHECK_H

#include "base/check.h"
#include "engine/block_table.h"
#include "engine/scheduler.h"

#include <stdlib.h>
#include <string.h>

struct scheduler_check {
    uint32_t *refs;      /* [n_blocks], counted */
    bool *is_listed;     /* [n_blocks], free or idle */
    uint32_t *child_max; /* [n_blocks], place in the idle list of the last idle child */
    int n_running, n_waiting, n_held;
};

static inline void scheduler_check_init(struct scheduler_check *k, uint32_t n_blocks)
{
    *k = (struct scheduler_check){
        .refs = calloc(n_blocks, sizeof(*k->refs)),
        .is_listed = calloc(n_blocks, sizeof(*k->is_listed)),
        .child_max = calloc(n_blocks, sizeof(*k->child_max)),
    };
    CHECK(k->refs && k->is_listed && k->child_max);
}

static inline void scheduler_check_release(struct scheduler_check *k)
{
    free(k->refs);
    free(k->is_listed);
    free(k->child_max);
}

static inline void scheduler_check_begin(struct scheduler_check *k, const struct scheduler *s)
{
    size_t n = s->cache.pool.n_blocks;
    memset(k->refs, 0, n * sizeof(*k->refs));
    memset(k->is_listed, 0, n * sizeof(*k->is_listed));
    memset(k->child_max, 0, n * sizeof(*k->child_max));
    k->n_running = k->n_waiting = k->n_held = 0;
}

/* Its shared blocks are those that the cache has for its text; the others nobody else has. */
static inline void check_table(const struct scheduler *s, const struct sequence *q)
{
    CHECK(q->n_computed < q->n_token && q->n_block * KV_BLOCK_LEN >= q->n_computed);
    CHECK(q->n_shared * KV_BLOCK_LEN <= q->n_computed && q->n_shared <= q->n_block);
    CHECK((q->n_shared + 1) * KV_BLOCK_LEN > q->n_computed); /* full blocks are shared at once */
    for (int b = 0; b < q->n_block; b++) {
        const struct prefix_entry *e = &s->cache.entry[q->block[b]];
        CHECK(s->cache.pool.is_kept[q->block[b]] == (b < q->n_shared));
        if (b >= q->n_shared) {
            CHECK(s->cache.pool.refs[q->block[b]] == 1);
            continue;
        }
        CHECK(e->salt == q->job->salt && e->parent == (b > 0 ? q->block[b - 1] : BLOCK_NONE));
        CHECK(memcmp(e->token, &q->token[b * KV_BLOCK_LEN], sizeof(e->token)) == 0);
    }
}

static inline void scheduler_check_job(struct scheduler_check *k, const struct scheduler *s,
                                       const struct job *job)
{
    for (int i = 0; i < job->n_seq; i++) {
        const struct sequence *q = &job->seq[i];
        k->n_running += q->state == SEQUENCE_RUNNING;
        k->n_waiting += q->state == SEQUENCE_WAITING;
        k->n_held += q->state == SEQUENCE_HELD;
        CHECK(q->n_cached <= job->n_prompt);
        if (q->state == SEQUENCE_RUNNING)
            check_table(s, q);
        else
            CHECK(q->n_block == 0 && q->n_computed == 0 && q->n_shared == 0);
        for (int b = 0; b < q->n_block; b++)
            k->refs[q->block[b]]++;
    }
}

static inline void check_idle_list(struct scheduler_check *k, const struct scheduler *s)
{
    const struct block_pool *p = &s->cache.pool;
    uint32_t n = 0, prev = BLOCK_NONE;
    for (uint32_t b = p->idle_first; b != BLOCK_NONE; prev = b, b = p->idle_next[b]) {
        CHECK(++n <= p->n_idle && p->idle_prev[b] == prev);
        CHECK(p->is_kept[b] && p->refs[b] == 0 && !k->is_listed[b]);
        CHECK(k->child_max[b] == 0 || k->child_max[b] < n); /* children go first */
        uint32_t parent = s->cache.entry[b].parent;
        if (parent != BLOCK_NONE) {
            CHECK(p->is_kept[parent] && !(k->is_listed[parent] && p->refs[parent] == 0));
            k->child_max[parent] = n;
        }
        k->is_listed[b] = true;
    }
    CHECK(n == p->n_idle && p->idle_last == prev);
}

static inline void check_index(const struct scheduler *s)
{
    const struct prefix_cache *c = &s->cache;
    uint32_t n = 0;
    for (uint32_t b = 0; b < c->pool.n_blocks; b++) {
        if (!c->pool.is_kept[b])
            continue;
        const struct prefix_entry *e = &c->entry[b];
        n++;
        CHECK(prefix_cache_find(c, e->parent, e->salt, e->token) == b);
        CHECK(e->parent == BLOCK_NONE ||
              (c->pool.is_kept[e->parent] && c->pool.refs[e->parent] >= (c->pool.refs[b] > 0)));
    }
    CHECK(n == c->n_entry);
}

static inline void check_queue(const struct scheduler *s)
{
    const struct fair_queue *q = &s->waiting;
    int n_class[JOB_CLASSES] = {0};
    for (const struct sequence *w = q->head; w; w = w->next) {
        n_class[w->job->priority]++;
        CHECK(w->next ? w->next->prev == w && sequence_is_older(w, w->next) : q->tail == w);
    }
    for (int i = 0; i < JOB_CLASSES; i++) {
        CHECK(n_class[i] == q->n_class[i]);
        CHECK(q->n_passed[i] <= FAIR_PASSES_MAX + JOB_CLASSES); /* nobody starves */
        CHECK(q->n_passed[i] == 0 || n_class[i] > 0);
    }
}

/* After scheduler_check_job of every job that was added and not freed. */
static inline void scheduler_check_end(struct scheduler_check *k, const struct scheduler *s)
{
    const struct block_pool *p = &s->cache.pool;
    CHECK(k->n_running == s->n_running && k->n_held == s->n_held);
    CHECK(k->n_waiting == s->waiting.n);
    for (uint32_t i = 0; i < p->n_free; i++) {
        uint32_t b = p->free_stack[i];
        CHECK(!k->is_listed[b] && !p->is_kept[b] && p->refs[b] == 0);
        k->is_listed[b] = true;
    }
    check_idle_list(k, s);
    uint32_t n_held = 0, n_orphans = 0; /* blocks in no table: a read that nobody wants goes on */
    for (uint32_t b = 0; b < p->n_blocks; b++) {
        if (k->refs[b] == 0 && p->refs[b] == 1 && !p->is_kept[b])
            n_orphans++;
        else
            CHECK(k->refs[b] == p->refs[b]);
        CHECK(k->is_listed[b] == (p->refs[b] == 0));
        n_held += p->refs[b] > 0;
    }
    CHECK(n_held + p->n_free + p->n_idle == p->n_blocks);
    CHECK(n_orphans == (s->cache.disk ? (uint32_t)disk_tier_n_orphans(s->cache.disk) : 0));
    check_index(s);
    check_queue(s);
    for (int i = 1; i < s->n_running; i++) {
        const struct sequence *a = s->running[i - 1], *b = s->running[i];
        CHECK(a->rank < b->rank || (a->rank == b->rank && sequence_is_older(a, b)));
    }
}

#endif
