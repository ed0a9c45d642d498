/*
 * random_blocks: every type has the mean and the deviation that were asked for, its bytes depend
 * on the numbers given and on nothing else, and no block holds what no quantizer writes.
 */
#include "base/mem.h"
#include "tensor/blocks.h"
#include "tensor/random_blocks.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define N_ELEMS (1 << 18)

static const enum dtype weights[] = {
    DTYPE_F32,     DTYPE_F16,    DTYPE_BF16,  DTYPE_Q4_0,    DTYPE_Q4_1,
    DTYPE_Q5_0,    DTYPE_Q5_1,   DTYPE_Q8_0,  DTYPE_Q2_K,    DTYPE_Q3_K,
    DTYPE_Q4_K,    DTYPE_Q5_K,   DTYPE_Q6_K,  DTYPE_IQ1_S,   DTYPE_IQ1_M,
    DTYPE_IQ2_XS,  DTYPE_IQ2_S,  DTYPE_IQ3_S, DTYPE_IQ2_XXS, DTYPE_IQ4_NL,
    DTYPE_IQ3_XXS, DTYPE_IQ4_XS, DTYPE_TQ1_0, DTYPE_TQ2_0,   DTYPE_MXFP4,
};

static void check_type(enum dtype type, double deviation, float *x, uint8_t *bytes)
{
    struct random_blocks *r = mem_zero(1, sizeof(*r));
    size_t n_blocks = N_ELEMS / (size_t)dtype_info((uint32_t)type)->block_elems;
    assert_true(random_blocks_init(r, type, deviation));
    random_blocks_fill(r, 1, 2, 3, bytes, n_blocks);
    assert_true(dequantize_row(type, bytes, x, N_ELEMS));
    double sum = 0, square = 0;
    for (int i = 0; i < N_ELEMS; i++) {
        assert_true(isfinite(x[i]));
        sum += (double)x[i];
        square += (double)x[i] * (double)x[i];
    }
    double mean = sum / N_ELEMS, found = sqrt(square / N_ELEMS);
    if (fabs(mean) > 0.02 * deviation || fabs(found - deviation) > 0.03 * deviation)
        fail_msg("%s: mean %g, deviation %g where %g was asked for", dtype_name(type), mean, found,
                 deviation);
    free(r);
}

static void test_deviation(void **state)
{
    (void)state;
    float *x = mem_zero(N_ELEMS, sizeof(*x));
    uint8_t *bytes = mem_zero(N_ELEMS, sizeof(float));
    for (size_t i = 0; i < ARRAY_LEN(weights); i++) {
        check_type(weights[i], 1.0 / sqrt(640.0), x, bytes);
        check_type(weights[i], 1.0 / sqrt(29568.0), x, bytes); /* the widest known matrix */
    }
    free(x);
    free(bytes);
}

static void test_all_types_with_weights(void **state)
{
    (void)state;
    struct random_blocks *r = mem_zero(1, sizeof(*r));
    float x[256];
    uint8_t bytes[2048] = {0};
    for (uint32_t t = 0; t < DTYPE_END; t++) {
        bool known = false;
        for (size_t i = 0; i < ARRAY_LEN(weights); i++)
            known = known || weights[i] == t;
        assert_int_equal(random_blocks_init(r, (enum dtype)t, 1.0), known);
        if (dtype_info(t) != NULL && t != DTYPE_F64)
            assert_int_equal(dequantize_row((enum dtype)t, bytes, x, 256), known);
    }
    free(r);
}

static void test_bytes_depend_on_the_numbers_alone(void **state)
{
    (void)state;
    static uint8_t a[64 * 144], b[64 * 144];
    static const uint64_t number[][3] = {{1, 2, 3}, {4, 2, 3}, {1, 4, 3}, {1, 2, 4}};
    struct random_blocks *r = mem_zero(1, sizeof(*r));
    assert_true(random_blocks_init(r, DTYPE_Q4_K, 0.02));
    random_blocks_fill(r, 1, 2, 3, a, 64);
    for (size_t i = 0; i < ARRAY_LEN(number); i++) {
        random_blocks_fill(r, number[i][0], number[i][1], number[i][2], b, 64);
        assert_int_equal(memcmp(a, b, sizeof(a)) == 0, i == 0);
    }
    random_blocks_fill(r, 1, 2, 3, b, 10); /* fewer blocks: the same ones */
    assert_memory_equal(a, b, 9 * 144);
    free(r);
}

static void test_no_code_that_no_quantizer_writes(void **state)
{
    (void)state;
    struct random_blocks *r = mem_zero(1, sizeof(*r));
    struct block_q8_0 *q = mem_zero(4096, sizeof(*q));
    struct block_tq2_0 *t2 = mem_zero(1024, sizeof(*t2));
    struct block_tq1_0 *t1 = mem_zero(1024, sizeof(*t1));
    float x[256];
    assert_true(random_blocks_init(r, DTYPE_Q8_0, 1.0));
    random_blocks_fill(r, 1, 1, 1, q, 4096);
    for (int i = 0; i < 4096; i++)
        for (int k = 0; k < 32; k++)
            assert_int_not_equal(q[i].qs[k], INT8_MIN);
    assert_true(random_blocks_init(r, DTYPE_TQ2_0, 1.0));
    random_blocks_fill(r, 1, 1, 1, t2, 1024);
    assert_true(random_blocks_init(r, DTYPE_TQ1_0, 1.0));
    random_blocks_fill(r, 1, 1, 1, t1, 1024);
    for (int i = 0; i < 1024; i++) {
        for (int k = 0; k < 64; k++)
            assert_int_equal(t2[i].qs[k] & t2[i].qs[k] >> 1 & 0x55, 0);
        assert_true(dequantize_row(DTYPE_TQ1_0, &t1[i], x, 256));
        for (int k = 0; k < 256; k++)
            assert_true(x[k] == 0.0f || fabsf(x[k]) == f16_to_f32(t1[i].d));
    }
    free(r);
    free(q);
    free(t1);
    free(t2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_deviation),
        cmocka_unit_test(test_all_types_with_weights),
        cmocka_unit_test(test_bytes_depend_on_the_numbers_alone),
        cmocka_unit_test(test_no_code_that_no_quantizer_writes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
