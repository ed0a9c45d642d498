/*
 * table_avx2: the kernels of the AVX2 level.
 */
#include "kernels/generic/generic.h"
#include "kernels/x86/avx2.h"

const struct kernels kernels_avx2 = {
    .level = CPU_AVX2,
    .mul = {K_MUL_AVX2},
    .mul_takes_a8 = {K_TAKES_A8},
    .mul_packed = {K_MUL_PACKED_AVX2},
    .quantize_a8 = k_quantize_a8_avx2,
    .rms_norm = k_rms_norm_avx2,
    .layer_norm = k_layer_norm_generic,
    .add = k_add_avx2,
    .scale = k_scale_avx2,
    .silu_mul = k_silu_mul_avx2,
    .gelu_mul = k_gelu_mul_avx2,
    .gelu_erf = k_gelu_erf_avx2,
    .softcap = k_softcap_avx2,
    .rope = k_rope_avx2,
    .f32_to_f16 = k_f32_to_f16_avx2,
    .kv_q8_0 = KV_Q8_0,
    .attend = k_attend_avx2,
    .attend_join = k_attend_join_avx2,
};
