/*
 * generic: what the plain C level offers to the table (kernels.h has the contracts), and its
 * functions that other levels use where they have nothing better.
 */
#ifndef HEARTH_KERNELS_GENERIC_H
#define HEARTH_KERNELS_GENERIC_H

#include "kernels/kernels.h"
#include "kernels/pack.h"

extern const struct kernels kernels_generic;

#define K_MUL_PACKED_ARGS                                                                          \
    float *y, size_t y_stride, const void *w, int n_rows, const void *x, size_t x_stride,          \
        int n_cols, int n_k

/* k_mul_packed_q4_k_generic and so on. */
#define X(name, dtype) void k_mul_packed_##name##_generic(K_MUL_PACKED_ARGS);
PACK_TYPES(X)
#undef X
/* An initializer of .mul_packed, for levels that have nothing better yet. */
#define K_MUL_PACKED_GENERIC               PACK_TYPES(K_MUL_PACKED_GENERIC_)
#define K_MUL_PACKED_GENERIC_(name, dtype) [dtype] = k_mul_packed_##name##_generic,

void k_quantize_a8_generic(const float *x, void *q, int n, float residual_above);
void k_rms_norm_generic(float *y, const float *x, const float *w, int n, float eps);
void k_layer_norm_generic(float *y, const float *x, const float *w, const float *b, int n,
                          float eps);
void k_add_generic(float *y, const float *x, int n);
void k_scale_generic(float *y, float s, int n);
void k_silu_mul_generic(float *y, const float *gate, const float *up, int n);
void k_gelu_mul_generic(float *y, const float *gate, const float *up, int n);
void k_gelu_erf_generic(float *y, int n);
void k_softcap_generic(float *y, float cap, int n);
void k_rope_generic(float *x, const float *cos_sin, int n_head, int head_dim, int n_rot, bool neox);
void k_f32_to_f16_generic(uint16_t *y, const float *x, int n);
void k_attend_generic(const struct attend_args *a);
void k_attend_join_generic(float *out, float *part, int n_part, int head_dim_v);

#endif
