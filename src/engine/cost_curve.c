/*
 * cost_curve: see the header.
 */
#include "engine/cost_curve.h"

#define FIRST_SLOPE 0.1  /* of a cost for each token more, before any was measured */
#define LEARN_DOWN  0.25 /* weight of the newest measurement; what disturbs a step makes it ... */
#define LEARN_UP    0.05 /* ... longer, never shorter */

double cost_curve_at(const double *ms, int n)
{
    int first = 0, below = 0, above = n;
    for (int i = n; i >= 1; i--) {
        first = ms[i] > 0 ? i : first;
        below = ms[i] > 0 && below == 0 ? i : below;
    }
    while (above <= COST_TOKENS_MAX && !(ms[above] > 0))
        above++;
    if (below == n)
        return ms[n];
    if (above <= COST_TOKENS_MAX) {
        if (below == 0)
            return ms[above];
        double slope = (ms[above] - ms[below]) / (above - below);
        return ms[below] + slope * (n - below);
    }
    if (below == 0)
        return 0;
    double slope =
        below > first ? (ms[below] - ms[first]) / (below - first) : FIRST_SLOPE * ms[below];
    return ms[below] + (slope > 0 ? slope : 0) * (n - below);
}

void cost_curve_learn(double *ms, int n, double took)
{
    double *known = &ms[n];
    if (*known > 0 && took > 2 * *known)
        took = 2 * *known; /* disturbed */
    if (*known > 0)
        *known += (took - *known) * (took < *known ? LEARN_DOWN : LEARN_UP);
    else
        *known = took;
}

int cost_curve_tokens(const double *ms, double budget, int least)
{
    double most = cost_curve_at(ms, COST_TOKENS_MAX), n;
    int low = least;
    if (!(most > 0))
        return least;
    if (budget >= most) {
        n = budget / most * COST_TOKENS_MAX;
        return n < 1 << 20 ? (int)n : 1 << 20;
    }
    while (low < COST_TOKENS_MAX && cost_curve_at(ms, low + 1) <= budget)
        low++;
    return low;
}
