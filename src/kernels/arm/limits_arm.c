/*
 * limits_arm: register-only loops of Arm's dot instructions. See x86/limits_x86.c.
 */
#include "kernels/limits_loops.h"

#pragma GCC push_options
#pragma GCC target("arch=armv8.2-a+dotprod")
#include <arm_neon.h>
#include <stddef.h>

#define EACH_12(DO) DO(0) DO(1) DO(2) DO(3) DO(4) DO(5) DO(6) DO(7) DO(8) DO(9) DO(10) DO(11)

static int64_t loop_neon(int64_t n)
{
    int8x16_t x = vdupq_n_s8(3), y = vdupq_n_s8(-5);
#define DO(i)                                                                                      \
    int32x4_t a##i = vdupq_n_s32(0);                                                               \
    __asm__ volatile("" : "+w"(a##i)); /* equal sums would be merged */
    EACH_12(DO)
#undef DO
    for (int64_t k = 0; k < n; k++) {
#define DO(i) a##i = vdotq_s32(a##i, x, y);
        EACH_12(DO)
#undef DO
        __asm__ volatile("" : "+w"(x));
    }
#define DO(i) __asm__ volatile("" : "+w"(a##i));
    EACH_12(DO)
#undef DO
    return n * 12 * 16;
}
#pragma GCC pop_options

const struct limits_loop limits_loops_native[] = {
    {"neon", "sdot, 128 bits", loop_neon},
    {NULL, NULL, NULL},
};
