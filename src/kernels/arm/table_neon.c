/*
 * table_neon: the tables of the arm64 levels. Only pointers: compiled for any arm64.
 */
#include "kernels/arm/neon.h"
#include "kernels/generic/generic.h"

#define A8(name, dtype)         [dtype] = true,
#define FILE_NEON(name, dtype)  [dtype] = k_mul_##name##_neon,
#define FILE_I8MM(name, dtype)  [dtype] = k_mul_##name##_neoni8mm,
#define PANEL_NEON(name, dtype) [dtype] = k_mul_packed_##name##_neon,
#define PANEL_I8MM(name, dtype) [dtype] = k_mul_packed_##name##_neoni8mm,

#define FLOATS                                                                                     \
    [DTYPE_F32] = k_mul_f32_neon, [DTYPE_F16] = k_mul_f16_neon, [DTYPE_BF16] = k_mul_bf16_neon

#define OTHER_MEMBERS                                                                              \
    .mul_takes_a8 = {A8_TYPES(A8)}, .quantize_a8 = k_quantize_a8_neon,                             \
    .rms_norm = k_rms_norm_neon, .layer_norm = k_layer_norm_generic, .add = k_add_generic,         \
    .scale = k_scale_generic, .silu_mul = k_silu_mul_neon, .gelu_mul = k_gelu_mul_neon,            \
    .gelu_erf = k_gelu_erf_generic, .softcap = k_softcap_neon, .rope = k_rope_neon,                \
    .f32_to_f16 = k_f32_to_f16_neon, .kv_q8_0 = KV_Q8_0, .attend = k_attend_neon,                  \
    .attend_join = k_attend_join_neon

const struct kernels kernels_neon = {
    .level = CPU_NEON,
    .mul = {A8_TYPES(FILE_NEON) FLOATS},
    .mul_packed = {PACK_TYPES(PANEL_NEON)},
    OTHER_MEMBERS,
};

const struct kernels kernels_neoni8mm = {
    .level = CPU_NEONI8MM,
    .mul = {A8_TYPES(FILE_I8MM) FLOATS},
    .mul_packed = {PACK_TYPES(PANEL_I8MM)},
    OTHER_MEMBERS,
};
