/*
 * cost_curve: what computing n tokens at once takes, by n, learned from what it took.
 *
 * A curve is ms[COST_TOKENS_MAX + 1]; ms[n] is 0 until n tokens were computed. No allocation, no
 * clock.
 */
#ifndef HEARTH_ENGINE_COST_CURVE_H
#define HEARTH_ENGINE_COST_CURVE_H

#define COST_TOKENS_MAX 64

/* n in [1, COST_TOKENS_MAX]; 0 before anything was learned. Between measured ones along a line;
 * beyond them as steeply as up to there, so what was never tried looks good until it was. */
double cost_curve_at(const double *ms, int n);
/* n tokens took `took` ms, disturbed perhaps. */
void cost_curve_learn(double *ms, int n, double took);
/* How many tokens take about `budget` ms, at least `least`; `least` too if nothing is known. */
int cost_curve_tokens(const double *ms, double budget, int least);

#endif
