/*
 * step_cost: how long a step will take, learned from those that were.
 *
 *   time = a + b * tokens + c * positions that the tokens see, summed
 *
 * Recursive least squares with directional forgetting (R. Kulhavy, Automatica 23(5), 1987): a step
 * makes old ones fade only in what it says something about, so hours of nothing but decodes do
 * not blur what a prompt costs. Over the relative error: a step that was disturbed and took ten
 * times as long weighs a hundredth. No allocation, no clock.
 *
 * What is used is >= 0: of all such weights those that the steps speak for most. The recursion
 * itself is left free: cut off at zero it would run away from noisy steps.
 */
#ifndef HEARTH_ENGINE_STEP_COST_H
#define HEARTH_ENGINE_STEP_COST_H

#include "engine/scheduler.h"

struct step_cost {
    double weight[3]; /* ms; of 1, tokens and positions in the units of the .c; >= 0 */
    double free[3];   /* the same, of any sign */
    double p[3][3];   /* covariance of free */
    int n_prefill;    /* the most tokens beside decodes that a step had */
    bool is_measured;
};

void step_cost_init(struct step_cost *c);
/* The planned step took so long. */
void step_cost_learn(struct step_cost *c, const struct plan *p, double ms);
/* ms; 0 before anything was learned. */
double step_cost_of(const struct step_cost *c, int n_tokens, double n_attended);
/*
 * What a step may compute to last step_ms when sequences decode in it, and alone_ms when none does.
 * Chunks at most double from one step to the next, so a wrong estimate costs little.
 */
struct step_budget step_cost_budget(const struct step_cost *c, double step_ms, double alone_ms);

#endif
