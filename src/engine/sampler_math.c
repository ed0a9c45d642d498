/*
 * sampler_math: see the header. Series are summed to the last bit that a double has; loops over
 * rows go in fixed lanes, so that vectors and scalars add in the same order.
 */
#include "engine/sampler_math.h"

#define LN2_HIGH 0x1.62e42fefa38p-1 /* ln 2, its last 11 bits zero: products with it are exact */
#define LN2_LOW  0x1.ef35793c7673p-45

double sampler_log(double x)
{
    uint64_t bits;
    if (!(x > 0))
        return -HUGE_VAL;
    if (!(x < HUGE_VAL))
        return HUGE_VAL;
    int e = 0;
    if (x < 0x1p-1022) {
        x *= 0x1p54;
        e = -54;
    }
    memcpy(&bits, &x, sizeof(bits));
    e += (int)(bits >> 52) - 1023;
    bits = (bits & 0xfffffffffffffu) | 0x3ff0000000000000u;
    double m;
    memcpy(&m, &bits, sizeof(m)); /* [1, 2) */
    if (m > 1.4142135623730951) {
        m *= 0.5;
        e++;
    }
    /* log m = 2 atanh(s), |s| < 0.172 */
    double s = (m - 1) / (m + 1), s2 = s * s, sum = 0;
    for (int k = 23; k >= 1; k -= 2)
        sum = sum * s2 + 1.0 / k;
    return e * LN2_HIGH + (2 * s * sum + e * LN2_LOW);
}

double sampler_exp(double x)
{
    if (x != x || x > 709)
        return x != x ? x : HUGE_VAL;
    if (x < -708)
        return 0;
    double t = x * 1.4426950408889634;
    int whole = (int)(t < 0 ? t - 0.5 : t + 0.5);
    double f = x - whole * LN2_HIGH - whole * LN2_LOW, y = 1;
    for (int k = 14; k >= 1; k--)
        y = 1 + y * f / k;
    uint64_t bits = (uint64_t)(whole + 1023) << 52;
    double scale;
    memcpy(&scale, &bits, sizeof(scale));
    return y * scale;
}

double sampler_pow(double base, double e)
{
    return e == 0 ? 1 : sampler_exp(e * sampler_log(base));
}

float row_greatest(const float *row, int n)
{
    float lane[SAMPLER_LANES], max = -INFINITY;
    int i = 0;
    for (int k = 0; k < SAMPLER_LANES; k++)
        lane[k] = -INFINITY;
    for (; i + SAMPLER_LANES <= n; i += SAMPLER_LANES)
        for (int k = 0; k < SAMPLER_LANES; k++)
            lane[k] = row[i + k] > lane[k] ? row[i + k] : lane[k];
    for (; i < n; i++)
        max = row[i] > max ? row[i] : max;
    for (int k = 0; k < SAMPLER_LANES; k++)
        max = lane[k] > max ? lane[k] : max;
    return max;
}

int32_t row_argmax(const float *row, int n)
{
    int32_t best = 0;
    float max = -INFINITY;
    for (int i = 0; i < n; i++) {
        if (row[i] > max) {
            max = row[i];
            best = i;
        }
    }
    return best;
}

double row_log_sum(const float *row, int n, float max)
{
    double lane[SAMPLER_LANES] = {0};
    int i = 0;
    for (; i + SAMPLER_LANES <= n; i += SAMPLER_LANES) {
        for (int k = 0; k < SAMPLER_LANES; k++) {
            float x = row[i + k] - max;
            lane[k] += (double)(x == x ? exp_neg(x) : 0.0f);
        }
    }
    for (; i < n; i++) {
        float x = row[i] - max;
        lane[0] += (double)(x == x ? exp_neg(x) : 0.0f);
    }
    double sum = 0;
    for (int k = 0; k < SAMPLER_LANES; k++)
        sum += lane[k];
    return (double)max + sampler_log(sum);
}
