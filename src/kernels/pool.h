/*
 * pool: threads that run one parallel loop at a time. The caller is thread 0 and works too.
 *
 * Items are taken dynamically (cores are unequal under load); results must not depend on which
 * thread takes an item. A loop ends when its items are done: a thread that is late (asleep, or
 * preempted) is not waited for. Between loops threads spin briefly, then sleep. No allocation after
 * pool_new. With one thread, pool_run is a plain loop.
 *
 * One thread at a time calls pool_run, and not from within an item.
 */
#ifndef HEARTH_KERNELS_POOL_H
#define HEARTH_KERNELS_POOL_H

#include "base/err.h"

#define POOL_THREADS_MAX 512

struct pool;
/* i_item in [0, n_items); i_thread in [0, pool_n_threads). */
typedef void (*pool_fn)(void *ctx, int i_item, int i_thread);

/* n_threads: 1 to POOL_THREADS_MAX, the caller's included. */
int pool_new(int n_threads, struct pool **ret, struct err *err) __attribute__((warn_unused_result));
void pool_free(struct pool *p);
int pool_n_threads(const struct pool *p);
/* At most n_threads (1 to pool_n_threads) take part in the loops that follow; the others sleep.
 * Between loops, by the thread that runs them. Cheap when nothing changes. */
void pool_limit(struct pool *p, int n_threads);
/* Returns when all items are done; what they wrote is then visible to the caller. */
void pool_run(struct pool *p, pool_fn fn, void *ctx, int n_items);

#endif
