/*
 * dequantize: private to the tensor room: one function per block type, block -> elements.
 *
 * The order of every float operation is part of the format here (bit for bit as the Python package
 * gguf): products are formed left to right as written, nothing is fused.
 */
#ifndef HEARTH_TENSOR_DEQUANTIZE_H
#define HEARTH_TENSOR_DEQUANTIZE_H

/* src: one block, not aligned. dst: block_elems floats. */
typedef void (*dequantize_block_fn)(const void *src, float *dst);

void dequantize_q4_0(const void *src, float *dst);
void dequantize_q4_1(const void *src, float *dst);
void dequantize_q5_0(const void *src, float *dst);
void dequantize_q5_1(const void *src, float *dst);
void dequantize_q8_0(const void *src, float *dst);
void dequantize_mxfp4(const void *src, float *dst);
void dequantize_iq4_nl(const void *src, float *dst);

void dequantize_q2_k(const void *src, float *dst);
void dequantize_q3_k(const void *src, float *dst);
void dequantize_q4_k(const void *src, float *dst);
void dequantize_q5_k(const void *src, float *dst);
void dequantize_q6_k(const void *src, float *dst);
void dequantize_iq4_xs(const void *src, float *dst);
void dequantize_tq1_0(const void *src, float *dst);
void dequantize_tq2_0(const void *src, float *dst);

void dequantize_iq1_s(const void *src, float *dst);
void dequantize_iq1_m(const void *src, float *dst);
void dequantize_iq2_xxs(const void *src, float *dst);
void dequantize_iq2_xs(const void *src, float *dst);
void dequantize_iq2_s(const void *src, float *dst);
void dequantize_iq3_xxs(const void *src, float *dst);
void dequantize_iq3_s(const void *src, float *dst);

#endif
