/*
 * dequantize: sizes of types, half floats, and every block type against values made with the Python
 * package gguf (tests/golden/test_dequantize.py compares far more of them).
 */
#include "base/mem.h"
#include "tensor/blocks.h"
#include "tensor/dtype.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define N_BLOCKS 64

static uint32_t bits_of(float f)
{
    uint32_t u;
    memcpy(&u, &f, sizeof(u));
    return u;
}

/* SplitMix64 (Steele, Lea, Flood 2014). */
static void random_bytes(uint64_t seed, uint8_t *dst, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (i % 8 == 0)
            seed += UINT64_C(0x9E3779B97F4A7C15);
        uint64_t z = (seed ^ seed >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
        z = (z ^ z >> 27) * UINT64_C(0x94D049BB133111EB);
        dst[i] = (uint8_t)((z ^ z >> 31) >> (i % 8 * 8));
    }
}

static uint64_t hash_floats(const float *x, size_t n)
{
    uint64_t h = UINT64_C(0xCBF29CE484222325);
    for (size_t i = 0; i < n; i++)
        h = (h ^ (isnan(x[i]) ? 0x7FC00000 : bits_of(x[i]))) * UINT64_C(0x100000001B3);
    return h;
}

static void every_type_as_the_reference(void **state)
{
    (void)state;
    static const struct {
        enum dtype type;
        uint64_t hash;
    } golden[] = {
#include "dequantize_golden.h"
    };
    for (size_t i = 0; i < ARRAY_LEN(golden); i++) {
        const struct dtype_info *info = dtype_info((uint32_t)golden[i].type);
        size_t n = N_BLOCKS * (size_t)info->block_elems;
        size_t n_bytes = N_BLOCKS * (size_t)info->block_bytes;
        uint8_t *src = malloc(n_bytes + 1); /* exact, so that reading past the end is seen */
        float *dst = malloc(n * sizeof(float));
        assert_true(src != NULL && dst != NULL);
        random_bytes((uint64_t)golden[i].type, src + 1, n_bytes); /* not aligned */
        assert_true(dequantize_row(golden[i].type, src + 1, dst, n));
        if (hash_floats(dst, n) != golden[i].hash)
            fail_msg("%s differs from the reference", info->name);
        free(src);
        free(dst);
    }
}

static void readable_values(void **state)
{
    (void)state;
    struct block_q4_0 q4 = {.d = 0x3800}; /* 0.5 */
    float x[256];
    q4.qs[0] = 0xf0;
    assert_true(dequantize_row(DTYPE_Q4_0, &q4, x, 32));
    assert_true(x[0] == -4.0f && x[16] == 3.5f && x[1] == -4.0f);

    struct block_mxfp4 mx = {.e = 127, .qs = {0x72}};
    assert_true(dequantize_row(DTYPE_MXFP4, &mx, x, 32));
    assert_true(x[0] == 1.0f && x[16] == 6.0f); /* codes of 1.0 and 6.0 */

    struct block_q4_k k = {.d = 0x3c00, .dmin = 0x3c00};
    memset(k.scales, 0xff, sizeof(k.scales));
    assert_true(dequantize_row(DTYPE_Q4_K, &k, x, 256));
    assert_true(x[0] == -63.0f && x[255] == -63.0f);

    double d[2] = {1.5, -1e300};
    assert_true(dequantize_row(DTYPE_F64, d, x, 2));
    assert_true(x[0] == 1.5f && x[1] == -INFINITY);
}

static void refused(void **state)
{
    (void)state;
    float x[256];
    uint8_t src[256] = {0};
    uint64_t bytes = 7;
    assert_false(dequantize_row(DTYPE_I8, src, x, 4));
    assert_false(dequantize_row(DTYPE_I64, src, x, 4));
    assert_false(dequantize_row((enum dtype)4, src, x, 4));
    assert_false(dequantize_row((enum dtype)DTYPE_END, src, x, 4));
    assert_false(dequantize_row(DTYPE_Q4_0, src, x, 33));
    assert_true(dequantize_row(DTYPE_Q4_0, src, x, 0));
    assert_null(dtype_info(5));
    assert_null(dtype_info(UINT32_MAX));
    assert_string_equal(dtype_name((enum dtype)5), "?");
    assert_string_equal(dtype_name(DTYPE_IQ2_XXS), "IQ2_XXS");
    assert_false(dtype_row_bytes(DTYPE_Q4_K, 255, &bytes));
    assert_false(dtype_row_bytes(DTYPE_F32, UINT64_MAX / 2, &bytes));
    assert_int_equal(bytes, 7);
    assert_true(dtype_row_bytes(DTYPE_Q4_K, 512, &bytes) && bytes == 288);
}

static void half_floats(void **state)
{
    (void)state;
    for (uint32_t h = 0; h < 65536; h++) {
        float f = f16_to_f32((uint16_t)h), b = bf16_to_f32((uint16_t)h);
        if (isnan(f))
            assert_true(isnan(f16_to_f32(f32_to_f16(f))));
        else
            assert_int_equal(f32_to_f16(f), h);
        if (isnan(b))
            assert_true(isnan(bf16_to_f32(f32_to_bf16(b))));
        else
            assert_int_equal(f32_to_bf16(b), h);
    }
    assert_true(f16_to_f32(1) == 0x1p-24f && f16_to_f32(0x7bff) == 65504.0f);
    assert_int_equal(f32_to_f16(65519.0f), 0x7bff);
    assert_int_equal(f32_to_f16(65520.0f), 0x7c00);
    assert_int_equal(f32_to_f16(-INFINITY), 0xfc00);
    assert_int_equal(f32_to_f16(0x1p-25f), 0);   /* a tie: to even */
    assert_int_equal(f32_to_f16(0x1.8p-24f), 2); /* a tie: to even */
    assert_int_equal(f32_to_f16(0x1.000002p-25f), 1);
    assert_int_equal(f32_to_f16(1.0f + 0x1p-11f), 0x3c00);
    assert_int_equal(f32_to_f16(1.0f + 0x3p-11f), 0x3c02);
    assert_int_equal(f32_to_bf16(3.4e38f), 0x7f80); /* rounds up to infinity */
    assert_int_equal(f32_to_bf16(1.0f + 0x1p-8f), 0x3f80);
}

/* The helpers that kernels use say the same as the layouts they unpack. */
static void block_helpers(void **state)
{
    (void)state;
    uint8_t scales[12] = {0}, scale, min;
    for (int g = 0; g < 8; g++) { /* scale 40 + g, minimum 20 + g, packed by hand */
        int s = 40 + g, m = 20 + g;
        if (g < 4) {
            scales[g] |= (uint8_t)s;
            scales[g + 4] |= (uint8_t)m;
        } else {
            scales[g + 4] = (uint8_t)((s & 15) | (m & 15) << 4);
            scales[g - 4] |= (uint8_t)(s >> 4 << 6);
            scales[g] |= (uint8_t)(m >> 4 << 6);
        }
    }
    for (int g = 0; g < 8; g++) {
        block_scale_min_k(scales, g, &scale, &min);
        assert_true(scale == 40 + g && min == 20 + g);
    }
    assert_int_equal(block_signs(0), 0);
    assert_int_equal(block_signs(1), 0x81);
    assert_int_equal(block_signs(3), 3);
    assert_int_equal(block_signs(0xffffff7f), 0xff);
    assert_true(block_scale_mxfp4(127) == 0.5f && block_scale_mxfp4(0) == 0x1p-128f &&
                block_scale_mxfp4(1) == 0x1p-127f && block_scale_mxfp4(255) == 0x1p127f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_type_as_the_reference),
        cmocka_unit_test(readable_values),
        cmocka_unit_test(refused),
        cmocka_unit_test(half_floats),
        cmocka_unit_test(block_helpers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
