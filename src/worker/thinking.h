/*
 * thinking: the budget of thoughts that a request sets (gen_request.think_max), in a model's
 * tokens.
 */
#ifndef HEARTH_WORKER_THINKING_H
#define HEARTH_WORKER_THINKING_H

#include "engine/think_budget.h"
#include "worker/load.h"

/* in_thought: the prompt has opened them. *ret is NULL where there is nothing to bound. */
int thinking_budget(const struct loaded *l, const struct gen_request *r, bool in_thought,
                    struct think_budget **ret, struct err *err) __attribute__((warn_unused_result));

#endif
