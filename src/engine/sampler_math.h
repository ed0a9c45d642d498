/*
 * sampler_math: exponentials and logarithms whose bits do not depend on the C library, and the few
 * operations on rows of logits that several stages need. For the sampler's files only.
 */
#ifndef HEARTH_ENGINE_SAMPLER_MATH_H
#define HEARTH_ENGINE_SAMPLER_MATH_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#define SAMPLER_LANES 8

/*
 * e^x for x <= 0, relative error below 3e-7. 2^t is split into a whole power and 2^f with f in
 * [-0.5, 0.5], a Taylor polynomial of degree 6. Written so that compilers vectorize it.
 */
static inline float exp_neg(float x)
{
    float t = x * 1.44269504f;
    t = t < -126.0f ? -126.0f : t;
    int whole = (int)(t - 0.5f);
    float f = (t - (float)whole) * 0.693147181f;
    float y = 1.0f / 720;
    y = y * f + 1.0f / 120;
    y = y * f + 1.0f / 24;
    y = y * f + 1.0f / 6;
    y = y * f + 0.5f;
    y = y * f + 1.0f;
    y = y * f + 1.0f;
    uint32_t bits = (uint32_t)(whole + 127) << 23;
    float scale;
    memcpy(&scale, &bits, sizeof(scale));
    return x < -87.0f ? 0.0f : y * scale;
}

/* Maps floats to integers of the same order. */
static inline uint32_t key_of(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof(bits));
    return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

/* Natural logarithm, relative error some 1e-15; -INFINITY for what is not above 0. */
double sampler_log(double x);
/* e^x, relative error some 1e-15; saturates. */
double sampler_exp(double x);
/* base^e for base > 0. */
double sampler_pow(double base, double e);

/* The greatest of row[0..n), NaN left out; -INFINITY for none. */
float row_greatest(const float *row, int n);
/* The lowest id of the greatest logit; NaN is never greater. */
int32_t row_argmax(const float *row, int n);
/* log sum exp, in fixed lanes; NaN logits count as absent. */
double row_log_sum(const float *row, int n, float max);

#endif
