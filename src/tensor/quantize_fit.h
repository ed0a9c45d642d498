/*
 * quantize_fit: private to the tensor room: the search for the scale and the minimum of one group
 * of values, and the types whose blocks are made with it. Groups: a multiple of FIT_LANES values.
 */
#ifndef HEARTH_TENSOR_QUANTIZE_FIT_H
#define HEARTH_TENSOR_QUANTIZE_FIT_H

#include "tensor/dtype.h"

#define FIT_LANES 8
#define FIT_MAX   32 /* values of a group */

/* x = scale * q + min, q a whole number within the codes' bounds. */
struct fit {
    float scale, min;
    float error; /* the weighted sum of squares */
};

struct fit_codes {
    float low, high; /* low <= 0 <= high */
};

/* w: [n] how much each value counts. */
void fit_weights(const float *x, float *w, int n);
/* The nearest codes q: [n] for a given scale and minimum; returns the weighted sum of squares. */
float fit_codes_of(const float *x, const float *w, int n, float scale, float min,
                   struct fit_codes c, float *q);
/* low 0. min_free false: the minimum is at most 0. A scale of 0 or more. */
void fit_affine(const float *x, const float *w, int n, struct fit_codes c, bool min_free,
                struct fit *ret);
/* min 0; the scale may be below 0, for the codes reach one further there. */
void fit_symmetric(const float *x, const float *w, int n, struct fit_codes c, struct fit *ret);
/* To the nearest, of |x| < 2^22; the default way of rounding. */
static inline float fit_nearest(float x)
{
    const float big = 0x1.8p23f;
    return (x + big) - big;
}
/* The nearest 16-bit float that is finite. */
uint16_t fit_half(float x);

void quantize_q4_k(const float *src, void *dst);
void quantize_q5_k(const float *src, void *dst);
void quantize_q6_k(const float *src, void *dst);

#endif
