/*
 * table_x86: the tables of the levels above AVX2. Only pointers: compiled for any x86-64.
 */
#include "kernels/generic/generic.h"
#include "kernels/x86/avx2.h"
#include "kernels/x86/avx512.h"

#define PACKED_AVXVNNI(name, dtype)    [dtype] = k_mul_packed_##name##_avxvnni,
#define PACKED_AVX512(name, dtype)     [dtype] = k_mul_packed_##name##_avx512,
#define PACKED_AVX512VNNI(name, dtype) [dtype] = k_mul_packed_##name##_avx512vnni,

const struct kernels kernels_avxvnni = {
    .level = CPU_AVXVNNI,
    .mul = {K_MUL_AVX2},
    .mul_takes_a8 = {K_TAKES_A8},
    .mul_packed = {PACK_TYPES(PACKED_AVXVNNI)},
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

#define MEMBERS_AVX512                                                                             \
    .mul = {K_MUL_AVX2}, .mul_takes_a8 = {K_TAKES_A8}, .quantize_a8 = k_quantize_a8_avx2,          \
    .rms_norm = k_rms_norm_avx512, .layer_norm = k_layer_norm_generic, .add = k_add_avx2,          \
    .scale = k_scale_avx2, .silu_mul = k_silu_mul_avx2, .gelu_mul = k_gelu_mul_avx2,               \
    .gelu_erf = k_gelu_erf_avx2, .softcap = k_softcap_avx2, .rope = k_rope_avx2,                   \
    .f32_to_f16 = k_f32_to_f16_avx2

const struct kernels kernels_avx512 = {
    .level = CPU_AVX512,
    .kv_q8_0 = KV_Q8_0,
    .attend = k_attend_avx512,
    .attend_join = k_attend_join_avx512,
    .mul_packed = {PACK_TYPES(PACKED_AVX512)},
    MEMBERS_AVX512,
};

const struct kernels kernels_avx512vnni = {
    .level = CPU_AVX512VNNI,
    .kv_q8_0 = KV_Q8_0_QUADS,
    .attend = k_attend_avx512vnni,
    .attend_join = k_attend_join_avx512vnni,
    .mul_packed = {PACK_TYPES(PACKED_AVX512VNNI)},
    MEMBERS_AVX512,
};
