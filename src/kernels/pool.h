/*
 * pool: threads that run one parallel loop at a time. The caller is thread 0 and works too.
 *
 * Items are taken dynamically (cores are unequal under load); results must not depend on which
 * thread takes an item. Between loops threads spin briefly, then sleep. No allocation after
 * pool_new.
 */
#ifndef HEARTH_KERNELS_POOL_H
#define HEARTH_KERNELS_POOL_H

#include "base/err.h"

struct pool;
/* i_item in [0, n_items); i_thread in [0, pool_n_threads). */
typedef void (*pool_fn)(void *ctx, int i_item, int i_thread);

int pool_new(int n_threads, struct pool **ret, struct err *err) __attribute__((warn_unused_result));
void pool_free(struct pool *p);
int pool_n_threads(const struct pool *p);
void pool_run(struct pool *p, pool_fn fn, void *ctx, int n_items); /* returns when all are done */

#endif
