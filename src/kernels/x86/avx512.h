/*
 * avx512: the levels above AVX2 on x86 (kernels.h has the contracts): AVX-VNNI, AVX-512 without
 * VNNI and AVX-512 with it.
 *
 * Where wider vectors gain nothing their tables hold AVX2's functions, which run on each of these
 * machines. What is declared here with the suffix of a level may be called only where
 * cpu_level_has said so; _avx512 runs at both AVX-512 levels.
 */
#ifndef HEARTH_KERNELS_AVX512_H
#define HEARTH_KERNELS_AVX512_H

#include "kernels/generic/generic.h"

extern const struct kernels kernels_avxvnni;
extern const struct kernels kernels_avx512;
extern const struct kernels kernels_avx512vnni;

void k_rms_norm_avx512(float *y, const float *x, const float *w, int n, float eps);
void k_attend_avx512(const struct attend_args *a);
void k_attend_avx512vnni(const struct attend_args *a);
void k_attend_join_avx512vnni(float *out, float *part, int n_part, int head_dim_v);
void k_attend_join_avx512(float *out, float *part, int n_part, int head_dim_v);

/* k_mul_packed_q4_k_avx512vnni and so on (mul_packed_x86.c). */
#define X(name, dtype)                                                                             \
    void k_mul_packed_##name##_avxvnni(K_MUL_PACKED_ARGS);                                         \
    void k_mul_packed_##name##_avx512(K_MUL_PACKED_ARGS);                                          \
    void k_mul_packed_##name##_avx512vnni(K_MUL_PACKED_ARGS);
PACK_TYPES(X)
#undef X

#endif
