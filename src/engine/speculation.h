/*
 * speculation: how many guessed tokens a step computes beside those that it must.
 *
 * A guess that holds saves its sequence a step; one that does not has made this step longer. What a
 * step of so many tokens takes is measured all the time, and how likely a guess is its draft says:
 * so many are taken, the likeliest first, that the step gives the most tokens for its time. Where
 * arithmetic already costs more than reading the weights, that is none. Beside prompts of others,
 * guesses take a small part of the step's time from them and make it no longer.
 *
 * Where texts give no guess that is as likely as the draft model's, that one is asked
 * (engine/drafter.h), if there is one: for so many sequences and so many guesses that its own time
 * pays, too, by how often it was right for each. What it has not seen of a text is computed in
 * chunks that make a step a part longer, and only when the answer is long enough for it to pay.
 * Beside prompts of others it does nothing.
 *
 * Changes no result, only when it comes. No allocation. One thread.
 */
#ifndef HEARTH_ENGINE_SPECULATION_H
#define HEARTH_ENGINE_SPECULATION_H

#include "engine/drafter.h"
#include "engine/step_cost.h"

enum speculate {
    SPECULATE_AUTO,
    SPECULATE_OFF,
    SPECULATE_ALWAYS, /* each guess there is, whatever it costs: for tests */
};
#define SPECULATE_WORDS "auto|off"

#define SPECULATION_TOKENS_MAX COST_TOKENS_MAX /* more in a step: no guesses */
#define SPECULATION_SEQS_MAX   DRAFTER_SEQS_MAX

struct speculation {
    enum speculate mode;
    const struct step_cost *cost; /* borrowed */
    struct drafter *drafter;      /* borrowed; NULL: no draft model */
    double step_ms;               /* that a step with prompts may take; 0: no limit */
    const int32_t *eog;           /* [n_eog] never guessed: nothing follows; borrowed */
    int n_eog;
    double ms[COST_TOKENS_MAX + 1]; /* steps of n decoded tokens without their attention */
    uint32_t n_declined; /* steps since likely guesses were tried against the measured cost */
    uint64_t n_drafted, n_accepted, n_model_drafted, n_model_accepted;
};

/* step_budget.draft; ctx is the speculation. */
void speculation_draft(void *ctx, struct sequence *const *seq, int n_seq, int n_max,
                       bool has_prefill);
/* The planned step took so long; its sequences' n_accepted is set. */
void speculation_learn(struct speculation *s, const struct plan *p, double ms);

#endif
