/*
 * step_cost: see the header. Features are scaled so that each is about 1 in a usual step.
 */
#include "engine/step_cost.h"

#include <math.h>

#define TOKENS_UNIT   32.0
#define ATTENDED_UNIT 65536.0
#define REMEMBER      0.98 /* weight of a step against that of the next alike */
#define CHUNK_FIRST   32   /* tokens, before anything is known */

void step_cost_init(struct step_cost *c)
{
    *c = (struct step_cost){.n_prefill = CHUNK_FIRST / 2};
    /* Nearly nothing is known; first steps are explained by their tokens until they differ. */
    c->p[0][0] = 1e6;
    c->p[1][1] = 1e8;
    c->p[2][2] = 1e6;
}

static double dot(const double a[3], const double b[3])
{
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
}

/*
 * The most likely weights when those in `set` (bits) are zero: the mean of the others, given that.
 * False when that cannot be told. *ret_cost: how unlikely it is, in the recursion's own measure.
 */
static bool with_zeros(const struct step_cost *c, unsigned set, double ret[3], double *ret_cost)
{
    int zero[2], n = 0;
    double k[2];
    for (int i = 0; i < 3; i++) {
        ret[i] = c->free[i];
        if (set >> i & 1 && n < 2)
            zero[n++] = i;
    }
    *ret_cost = 0;
    if (n == 0)
        return true;
    const double *p0 = c->p[zero[0]], *p1 = c->p[zero[n - 1]];
    double w0 = c->free[zero[0]], w1 = c->free[zero[n - 1]];
    double det = n == 1 ? p0[zero[0]] : p0[zero[0]] * p1[zero[1]] - p0[zero[1]] * p1[zero[0]];
    if (!(det > 0))
        return false;
    k[0] = n == 1 ? w0 / det : (p1[zero[1]] * w0 - p0[zero[1]] * w1) / det;
    k[1] = n == 1 ? 0 : (p0[zero[0]] * w1 - p1[zero[0]] * w0) / det;
    for (int j = 0; j < n; j++) {
        for (int i = 0; i < 3; i++)
            ret[i] -= c->p[i][zero[j]] * k[j];
        *ret_cost += c->free[zero[j]] * k[j];
    }
    for (int j = 0; j < n; j++)
        ret[zero[j]] = 0;
    return true;
}

/* Of all weights >= 0 the most likely ones; there are only seven sets that can be zero. */
static void settle(struct step_cost *c)
{
    double best = INFINITY;
    for (unsigned set = 0; set < 7; set++) {
        double w[3], cost;
        if (!with_zeros(c, set, w, &cost) || !(cost < best) || w[0] < 0 || w[1] < 0 || w[2] < 0)
            continue;
        best = cost;
        for (int i = 0; i < 3; i++)
            c->weight[i] = w[i];
    }
}

double step_cost_of(const struct step_cost *c, int n_tokens, double n_attended)
{
    return c->weight[0] + c->weight[1] * n_tokens / TOKENS_UNIT +
           c->weight[2] * n_attended / ATTENDED_UNIT;
}

void step_cost_learn(struct step_cost *c, const struct plan *p, double ms)
{
    int n = p->batch.n_tokens;
    if (n <= 0 || !(ms > 0))
        return;
    double x[3] = {1 / ms, n / TOKENS_UNIT / ms, p->n_attended / ATTENDED_UNIT / ms};
    double error = 1 - dot(c->free, x), px[3];
    for (int i = 0; i < 3; i++)
        px[i] = dot(c->p[i], x);
    double r = dot(x, px);
    if (r > 0) {
        double gain = REMEMBER - (1 - REMEMBER) / r;
        for (int i = 0; i < 3; i++) {
            c->free[i] += px[i] / (1 + r) * error;
            for (int j = 0; j < 3; j++)
                c->p[i][j] -= px[i] * px[j] * gain / (1 + gain * r);
        }
    }
    settle(c);
    if (n - p->n_decode > c->n_prefill)
        c->n_prefill = n - p->n_decode;
    c->is_measured = true;
}

struct step_budget step_cost_budget(const struct step_cost *c, double step_ms, double alone_ms)
{
    if (!c->is_measured)
        return (struct step_budget){CHUNK_FIRST, CHUNK_FIRST, 0, CHUNK_FIRST};
    double each = c->weight[1] / TOKENS_UNIT;
    each = each > 1e-6 ? each : 1e-6;
    return (struct step_budget){
        .with_decode = (step_ms - c->weight[0]) / each,
        .alone = (alone_ms - c->weight[0]) / each,
        .per_position = c->weight[2] / ATTENDED_UNIT / each,
        .n_prefill_max = c->n_prefill < 1 << 20 ? 2 * c->n_prefill : 1 << 21,
    };
}
