/*
 * table_avx2: the kernels of the AVX2 level.
 */
#include "kernels/generic/generic.h"
#include "kernels/x86/avx2.h"

const struct kernels kernels_avx2 = {
    .level = CPU_AVX2,
    .mul =
        {
            [DTYPE_F32] = k_mul_f32_avx2,         [DTYPE_F16] = k_mul_f16_avx2,
            [DTYPE_BF16] = k_mul_bf16_avx2,       [DTYPE_Q4_0] = k_mul_q4_0_avx2,
            [DTYPE_Q4_1] = k_mul_q4_1_avx2,       [DTYPE_Q5_0] = k_mul_q5_0_avx2,
            [DTYPE_Q5_1] = k_mul_q5_1_avx2,       [DTYPE_Q8_0] = k_mul_q8_0_avx2,
            [DTYPE_Q2_K] = k_mul_q2_k_avx2,       [DTYPE_Q3_K] = k_mul_q3_k_avx2,
            [DTYPE_Q4_K] = k_mul_q4_k_avx2,       [DTYPE_Q5_K] = k_mul_q5_k_avx2,
            [DTYPE_Q6_K] = k_mul_q6_k_avx2,       [DTYPE_IQ2_XXS] = k_mul_iq2_xxs_avx2,
            [DTYPE_IQ2_XS] = k_mul_iq2_xs_avx2,   [DTYPE_IQ2_S] = k_mul_iq2_s_avx2,
            [DTYPE_IQ3_XXS] = k_mul_iq3_xxs_avx2, [DTYPE_IQ3_S] = k_mul_iq3_s_avx2,
            [DTYPE_IQ1_S] = k_mul_iq1_s_avx2,     [DTYPE_IQ1_M] = k_mul_iq1_m_avx2,
            [DTYPE_IQ4_NL] = k_mul_iq4_nl_avx2,   [DTYPE_IQ4_XS] = k_mul_iq4_xs_avx2,
            [DTYPE_TQ1_0] = k_mul_tq1_0_avx2,     [DTYPE_TQ2_0] = k_mul_tq2_0_avx2,
            [DTYPE_MXFP4] = k_mul_mxfp4_avx2,
        },
    .mul_takes_a8 =
        {
            [DTYPE_Q4_0] = true,   [DTYPE_Q4_1] = true,    [DTYPE_Q5_0] = true,
            [DTYPE_Q5_1] = true,   [DTYPE_Q8_0] = true,    [DTYPE_Q2_K] = true,
            [DTYPE_Q3_K] = true,   [DTYPE_Q4_K] = true,    [DTYPE_Q5_K] = true,
            [DTYPE_Q6_K] = true,   [DTYPE_IQ2_XXS] = true, [DTYPE_IQ2_XS] = true,
            [DTYPE_IQ2_S] = true,  [DTYPE_IQ3_XXS] = true, [DTYPE_IQ3_S] = true,
            [DTYPE_IQ1_S] = true,  [DTYPE_IQ1_M] = true,   [DTYPE_IQ4_NL] = true,
            [DTYPE_IQ4_XS] = true, [DTYPE_TQ1_0] = true,   [DTYPE_TQ2_0] = true,
            [DTYPE_MXFP4] = true,
        },
    .quantize_a8 = k_quantize_a8_avx2,
    .rms_norm = k_rms_norm_avx2,
    .layer_norm = k_layer_norm_generic,
    .add = k_add_avx2,
    .scale = k_scale_avx2,
    .silu_mul = k_silu_mul_avx2,
    .gelu_mul = k_gelu_mul_avx2,
    .softcap = k_softcap_avx2,
    .rope = k_rope_avx2,
    .f32_to_f16 = k_f32_to_f16_avx2,
    .attend = k_attend_avx2,
};
