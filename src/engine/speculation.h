/*
 * speculation: how many guessed tokens a step computes beside those that it must.
 *
 * A guess that holds saves its sequence a step; one that does not has made this step longer. What a
 * step of so many tokens takes is measured all the time, and how likely a guess is its draft says:
 * so many are taken, the likeliest first, that the step gives the most tokens for its time. Where
 * arithmetic already costs more than reading the weights, that is none. Beside prompts of others,
 * guesses take a small part of the step's time from them and make it no longer.
 *
 * Changes no result, only when it comes. No allocation, no clock. One thread.
 */
#ifndef HEARTH_ENGINE_SPECULATION_H
#define HEARTH_ENGINE_SPECULATION_H

#include "engine/step_cost.h"

enum speculate {
    SPECULATE_AUTO,
    SPECULATE_OFF,
    SPECULATE_ALWAYS, /* each guess there is, whatever it costs: for tests */
};
#define SPECULATE_WORDS "auto|off"

#define SPECULATION_TOKENS_MAX 64 /* more in a step: no guesses */
#define SPECULATION_SEQS_MAX   32

struct speculation {
    enum speculate mode;
    const struct step_cost *cost; /* borrowed */
    double step_ms;               /* that a step with prompts may take; 0: no limit */
    const int32_t *eog;           /* [n_eog] never guessed: nothing follows; borrowed */
    int n_eog;
    double ms[SPECULATION_TOKENS_MAX + 1]; /* [n] a step of n decoded tokens without its attention;
                                              0: not seen yet */
    uint32_t n_declined;                   /* steps in which likely guesses were too dear */
    uint64_t n_drafted, n_accepted;
};

/* step_budget.draft; ctx is the speculation. */
void speculation_draft(void *ctx, struct sequence *const *seq, int n_seq, int n_max,
                       bool has_prefill);
/* The planned step took so long; its sequences' n_accepted is set. */
void speculation_learn(struct speculation *s, const struct plan *p, double ms);

#endif
