/*
 * evex_table: AVX-VNNI's packed products, compiled with the encodings of AVX-512 VL and VNNI.
 */
#include "check.h"

#include "kernels/generic/generic.h"

#define X(name, dtype) void k_mul_packed_##name##_evex(K_MUL_PACKED_ARGS);
PACK_TYPES(X)
#undef X

#define X(name, dtype) [dtype] = k_mul_packed_##name##_evex,
const struct kernels kernels_evex = {
    .level = CPU_AVXVNNI,
    .mul_packed = {PACK_TYPES(X)},
    .quantize_a8 = k_quantize_a8_generic,
};
#undef X
