/*
 * synth_write: draws the weights of a synthetic model and writes them, on several threads.
 */
#ifndef HEARTH_CLI_SYNTH_WRITE_H
#define HEARTH_CLI_SYNTH_WRITE_H

#include "cli/progress.h"
#include "cli/synth_plan.h"

#include <signal.h>

/*
 * All tensors of the plan, whose description the file was opened with. The bytes depend on the
 * plan alone, not on the threads. Returns early with ERR_CANCELLED once *stop is not 0.
 */
int synth_write(const struct synth_plan *p, struct gguf_out *out, int n_threads,
                const volatile sig_atomic_t *stop, struct progress *progress, struct err *err)
    __attribute__((warn_unused_result));

#endif
