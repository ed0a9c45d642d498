/*
 * avx2: what the AVX2 + FMA + F16C level offers to the table (kernels.h has the contracts).
 *
 * Everything declared here is compiled with that level's flags and may be called only after
 * cpu_level_detect said so.
 */
#ifndef HEARTH_KERNELS_AVX2_H
#define HEARTH_KERNELS_AVX2_H

#include "kernels/kernels.h"
#include "kernels/pack.h"

extern const struct kernels kernels_avx2;

#define K_MUL_ARGS                                                                                 \
    float *y, size_t y_stride, const void *w, size_t w_stride, int n_rows, const void *x,          \
        size_t x_stride, int n_cols, int n_k

void k_mul_q4_0_avx2(K_MUL_ARGS);
void k_mul_q4_1_avx2(K_MUL_ARGS);
void k_mul_q5_0_avx2(K_MUL_ARGS);
void k_mul_q5_1_avx2(K_MUL_ARGS);
void k_mul_q8_0_avx2(K_MUL_ARGS);
void k_mul_q2_k_avx2(K_MUL_ARGS);
void k_mul_q3_k_avx2(K_MUL_ARGS);
void k_mul_q4_k_avx2(K_MUL_ARGS);
void k_mul_q5_k_avx2(K_MUL_ARGS);
void k_mul_q6_k_avx2(K_MUL_ARGS);
void k_mul_iq2_xxs_avx2(K_MUL_ARGS);
void k_mul_iq2_xs_avx2(K_MUL_ARGS);
void k_mul_iq2_s_avx2(K_MUL_ARGS);
void k_mul_iq3_xxs_avx2(K_MUL_ARGS);
void k_mul_iq3_s_avx2(K_MUL_ARGS);
void k_mul_iq1_s_avx2(K_MUL_ARGS);
void k_mul_iq1_m_avx2(K_MUL_ARGS);
void k_mul_iq4_nl_avx2(K_MUL_ARGS);
void k_mul_iq4_xs_avx2(K_MUL_ARGS);
void k_mul_tq1_0_avx2(K_MUL_ARGS);
void k_mul_tq2_0_avx2(K_MUL_ARGS);
void k_mul_mxfp4_avx2(K_MUL_ARGS);
void k_mul_f32_avx2(K_MUL_ARGS);
void k_mul_f16_avx2(K_MUL_ARGS);
void k_mul_bf16_avx2(K_MUL_ARGS);

/* k_mul_packed_q4_k_avx2 and so on, and an initializer of .mul_packed. */
#define X(name, dtype)                                                                             \
    void k_mul_packed_##name##_avx2(float *y, size_t y_stride, const void *w, int n_rows,          \
                                    const void *x, size_t x_stride, int n_cols, int n_k);
PACK_TYPES(X)
#undef X
#define K_MUL_PACKED_AVX2               PACK_TYPES(K_MUL_PACKED_AVX2_)
#define K_MUL_PACKED_AVX2_(name, dtype) [dtype] = k_mul_packed_##name##_avx2,

/* Initializers of .mul and .mul_takes_a8, shared with the levels above: files' layouts need no
 * wider vectors. */
#define K_MUL_AVX2                                                                                 \
    [DTYPE_F32] = k_mul_f32_avx2, [DTYPE_F16] = k_mul_f16_avx2, [DTYPE_BF16] = k_mul_bf16_avx2,    \
    [DTYPE_Q4_0] = k_mul_q4_0_avx2, [DTYPE_Q4_1] = k_mul_q4_1_avx2,                                \
    [DTYPE_Q5_0] = k_mul_q5_0_avx2, [DTYPE_Q5_1] = k_mul_q5_1_avx2,                                \
    [DTYPE_Q8_0] = k_mul_q8_0_avx2, [DTYPE_Q2_K] = k_mul_q2_k_avx2,                                \
    [DTYPE_Q3_K] = k_mul_q3_k_avx2, [DTYPE_Q4_K] = k_mul_q4_k_avx2,                                \
    [DTYPE_Q5_K] = k_mul_q5_k_avx2, [DTYPE_Q6_K] = k_mul_q6_k_avx2,                                \
    [DTYPE_IQ2_XXS] = k_mul_iq2_xxs_avx2, [DTYPE_IQ2_XS] = k_mul_iq2_xs_avx2,                      \
    [DTYPE_IQ2_S] = k_mul_iq2_s_avx2, [DTYPE_IQ3_XXS] = k_mul_iq3_xxs_avx2,                        \
    [DTYPE_IQ3_S] = k_mul_iq3_s_avx2, [DTYPE_IQ1_S] = k_mul_iq1_s_avx2,                            \
    [DTYPE_IQ1_M] = k_mul_iq1_m_avx2, [DTYPE_IQ4_NL] = k_mul_iq4_nl_avx2,                          \
    [DTYPE_IQ4_XS] = k_mul_iq4_xs_avx2, [DTYPE_TQ1_0] = k_mul_tq1_0_avx2,                          \
    [DTYPE_TQ2_0] = k_mul_tq2_0_avx2, [DTYPE_MXFP4] = k_mul_mxfp4_avx2

#define K_TAKES_A8                                                                                 \
    [DTYPE_Q4_0] = true, [DTYPE_Q4_1] = true, [DTYPE_Q5_0] = true, [DTYPE_Q5_1] = true,            \
    [DTYPE_Q8_0] = true, [DTYPE_Q2_K] = true, [DTYPE_Q3_K] = true, [DTYPE_Q4_K] = true,            \
    [DTYPE_Q5_K] = true, [DTYPE_Q6_K] = true, [DTYPE_IQ2_XXS] = true, [DTYPE_IQ2_XS] = true,       \
    [DTYPE_IQ2_S] = true, [DTYPE_IQ3_XXS] = true, [DTYPE_IQ3_S] = true, [DTYPE_IQ1_S] = true,      \
    [DTYPE_IQ1_M] = true, [DTYPE_IQ4_NL] = true, [DTYPE_IQ4_XS] = true, [DTYPE_TQ1_0] = true,      \
    [DTYPE_TQ2_0] = true, [DTYPE_MXFP4] = true

void k_quantize_a8_avx2(const float *x, void *q, int n, float residual_above);
void k_rms_norm_avx2(float *y, const float *x, const float *w, int n, float eps);
void k_add_avx2(float *y, const float *x, int n);
void k_scale_avx2(float *y, float s, int n);
void k_silu_mul_avx2(float *y, const float *gate, const float *up, int n);
void k_gelu_mul_avx2(float *y, const float *gate, const float *up, int n);
void k_gelu_erf_avx2(float *y, int n);
void k_softcap_avx2(float *y, float cap, int n);
void k_rope_avx2(float *x, const float *cos_sin, int n_head, int head_dim, int n_rot, bool neox);
void k_f32_to_f16_avx2(uint16_t *y, const float *x, int n);
void k_attend_avx2(const struct attend_args *a);
void k_attend_join_avx2(float *out, float *part, int n_part, int head_dim_v);

#endif
