/*
 * step_cost: see the header. Features are scaled so that each is about 1 in a usual step.
 */
#include "engine/step_cost.h"

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
    double error = 1 - dot(c->weight, x), px[3];
    for (int i = 0; i < 3; i++)
        px[i] = dot(c->p[i], x);
    double r = dot(x, px);
    if (r > 0) {
        double gain = REMEMBER - (1 - REMEMBER) / r;
        for (int i = 0; i < 3; i++) {
            c->weight[i] += px[i] / (1 + r) * error;
            c->weight[i] = c->weight[i] > 0 ? c->weight[i] : 0;
            for (int j = 0; j < 3; j++)
                c->p[i][j] -= px[i] * px[j] * gain / (1 + gain * r);
        }
    }
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
