/*
 * neon: what the arm64 levels offer to the table (kernels.h has the contracts).
 *
 * neon: dot products (ARMv8.2). neoni8mm: products of 8-bit matrices (ARMv8.6) for several columns;
 * everything else is neon's. mul_neon.c is compiled once for each, named by K_ISA. Everything
 * declared here may be called only after cpu_level_has said so.
 */
#ifndef HEARTH_KERNELS_NEON_H
#define HEARTH_KERNELS_NEON_H

#include "kernels/kernels.h"
#include "kernels/pack.h"

extern const struct kernels kernels_neon;
extern const struct kernels kernels_neoni8mm;

#define K_MUL_ARGS                                                                                 \
    float *y, size_t y_stride, const void *w, size_t w_stride, int n_rows, const void *x,          \
        size_t x_stride, int n_cols, int n_k
#define K_MUL_PACKED_ARGS_NEON                                                                     \
    float *y, size_t y_stride, const void *w, int n_rows, const void *x, size_t x_stride,          \
        int n_cols, int n_k

/* X(name, dtype): types whose activations are A8. */
#define A8_TYPES(X)                                                                                \
    PACK_TYPES(X)                                                                                  \
    X(iq2_xxs, DTYPE_IQ2_XXS)                                                                      \
    X(iq2_xs, DTYPE_IQ2_XS)                                                                        \
    X(iq2_s, DTYPE_IQ2_S)                                                                          \
    X(iq3_xxs, DTYPE_IQ3_XXS)                                                                      \
    X(iq3_s, DTYPE_IQ3_S)                                                                          \
    X(iq1_s, DTYPE_IQ1_S)                                                                          \
    X(iq1_m, DTYPE_IQ1_M)                                                                          \
    X(tq1_0, DTYPE_TQ1_0)

#define X(name, dtype)                                                                             \
    void k_mul_##name##_neon(K_MUL_ARGS);                                                          \
    void k_mul_##name##_neoni8mm(K_MUL_ARGS);
A8_TYPES(X)
#undef X

#define X(name, dtype)                                                                             \
    void k_mul_packed_##name##_neon(K_MUL_PACKED_ARGS_NEON);                                       \
    void k_mul_packed_##name##_neoni8mm(K_MUL_PACKED_ARGS_NEON);
PACK_TYPES(X)
#undef X

void k_mul_f32_neon(K_MUL_ARGS);
void k_mul_f16_neon(K_MUL_ARGS);
void k_mul_bf16_neon(K_MUL_ARGS);

void k_quantize_a8_neon(const float *x, void *q, int n, float residual_above);
void k_rms_norm_neon(float *y, const float *x, const float *w, int n, float eps);
void k_silu_mul_neon(float *y, const float *gate, const float *up, int n);
void k_gelu_mul_neon(float *y, const float *gate, const float *up, int n);
void k_softcap_neon(float *y, float cap, int n);
void k_rope_neon(float *x, const float *cos_sin, int n_head, int head_dim, int n_rot, bool neox);
void k_f32_to_f16_neon(uint16_t *y, const float *x, int n);
void k_attend_neon(const struct attend_args *a);
void k_attend_join_neon(float *out, float *part, int n_part, int head_dim_v);

#endif
