/*
 * thread_plan: how many threads a server gives its models: measured at the first start, remembered.
 *
 * The measurement (kernels/calibrate.h) is kept in the cache folder ($XDG_CACHE_HOME/hearth or
 * ~/.cache/hearth, unless a server was given another), one small file per level and number of cpus.
 * It counts only on the same processor with the same version; anything else there is ignored and
 * replaced. Nothing here can fail: without a folder, or on a busy machine, the physical cores are
 * used and the next start measures again.
 */
#ifndef HEARTH_CLI_THREAD_PLAN_H
#define HEARTH_CLI_THREAD_PLAN_H

#include <stdbool.h>

struct thread_plan {
    int n_prefill, n_decode;
};

/* cache_dir: NULL for the user's. measure: false takes what is remembered, else the physical cores.
 */
void thread_plan_choose(const char *cache_dir, bool measure, struct thread_plan *ret);

#endif
