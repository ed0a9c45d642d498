/*
 * quantize: how much is lost, which no type may lose more of than llama.cpp's own quantizer does,
 * and floats of every kind that a file may hold.
 */
#include "base/mem.h"
#include "tensor/quantize.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define N (256 * 64)

/* loss: of normally distributed values of deviation 1, as llama.cpp v0.5.0 measures with the same
 * values (ggml_quantize_chunk): root of the mean square. */
static const struct {
    enum dtype type;
    float loss;
} types[] = {
    {DTYPE_Q8_0, 0.00536f}, {DTYPE_Q4_0, 0.0861f}, {DTYPE_Q4_1, 0.0782f}, {DTYPE_Q5_0, 0.0427f},
    {DTYPE_Q5_1, 0.0378f},  {DTYPE_Q4_K, 0.0714f}, {DTYPE_Q5_K, 0.0361f}, {DTYPE_Q6_K, 0.01776f},
};

/* Of three sums of twelve: near enough to normal, and the same everywhere. */
static float next_normal(uint64_t *state)
{
    float sum = 0;
    for (int i = 0; i < 12; i++) {
        *state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        sum += (float)(*state >> 40) * 0x1p-24f;
    }
    return sum - 6.0f;
}

static float loss_of(enum dtype t, const float *x, size_t n, float *ret_worst)
{
    uint8_t *blocks = calloc(n, 4);
    float *back = calloc(n, sizeof(float));
    double sum = 0;
    float worst = 0;
    assert_true(quantize_row(t, x, blocks, n));
    assert_true(dequantize_row(t, blocks, back, n));
    for (size_t i = 0; i < n; i++) {
        float off = fabsf(back[i] - x[i]);
        assert_true(isfinite(back[i]));
        sum += (double)off * (double)off;
        worst = off > worst ? off : worst;
    }
    free(blocks);
    free(back);
    if (ret_worst != NULL)
        *ret_worst = worst;
    return (float)sqrt(sum / (double)n);
}

static void test_loss(void **state)
{
    (void)state;
    static float x[N], y[N];
    uint64_t seed = 7;
    for (int i = 0; i < N; i++)
        x[i] = next_normal(&seed);
    for (size_t k = 0; k < ARRAY_LEN(types); k++) {
        float loss = loss_of(types[k].type, x, N, NULL);
        if (!(loss <= types[k].loss))
            fail_msg("%s loses %g", dtype_name(types[k].type), (double)loss);
        assert_true(loss > 0.5f * types[k].loss); /* it is that type, and not a finer one */
        /* The scale of a model's weights changes nothing but the last bits. */
        for (int i = 0; i < N; i++)
            y[i] = x[i] * 0.015625f;
        assert_true(fabsf(loss_of(types[k].type, y, N, NULL) * 64.0f - loss) < 0.01f * loss);
    }
    assert_true(loss_of(DTYPE_F32, x, N, NULL) == 0.0f);
    assert_true(loss_of(DTYPE_F16, x, N, NULL) < 4e-4f);
    assert_true(loss_of(DTYPE_BF16, x, N, NULL) < 3e-3f);
}

static void fill(float *x, int kind)
{
    for (int i = 0; i < 512; i++)
        switch (kind) {
        case 0:
            x[i] = 0.0f;
            break;
        case 1:
            x[i] = -3.5f;
            break;
        case 2:
            x[i] = 7.25f;
            break;
        case 3:
            x[i] = 1e-30f * (float)(i - 256);
            break;
        case 4:
            x[i] = i == 300 ? QUANTIZE_ABS_MAX : 0.0f;
            break;
        case 5:
            x[i] = i % 2 == 0 ? -QUANTIZE_ABS_MAX : QUANTIZE_ABS_MAX;
            break;
        case 6:
            x[i] = 1e-45f;
            break;
        case 7:
            x[i] = (float)i;
            break;
        default:
            x[i] = i < 256 ? -0.0f : 1e-5f * (float)(i % 7);
            break;
        }
}

/* A constant group is exact to the last bits of a half; others are within a step of their block. */
static void test_odd_values(void **state)
{
    (void)state;
    static float x[512];
    for (int kind = 0; kind <= 8; kind++) {
        fill(x, kind);
        float peak = 0;
        for (int i = 0; i < 512; i++)
            peak = fabsf(x[i]) > peak ? fabsf(x[i]) : peak;
        for (size_t k = 0; k < ARRAY_LEN(types); k++) {
            float worst;
            loss_of(types[k].type, x, 512, &worst);
            float step = kind == 1 || kind == 2 ? peak / 60 : peak / 6 + 1e-5f;
            if (!(worst <= step))
                fail_msg("%s, values %d: off by %g", dtype_name(types[k].type), kind,
                         (double)worst);
        }
    }
}

static void test_refuses(void **state)
{
    (void)state;
    static const float bad[] = {NAN, -NAN, INFINITY, -INFINITY, 65505.0f, -1e30f};
    float x[256] = {1, 2, 3};
    uint8_t blocks[1024];
    for (size_t k = 0; k < ARRAY_LEN(types); k++)
        for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
            x[77] = bad[i];
            assert_false(quantize_row(types[k].type, x, blocks, 256));
        }
    x[77] = 0;
    assert_false(quantize_row(DTYPE_Q4_K, x, blocks, 128)); /* half a block */
    assert_false(quantize_row(DTYPE_Q3_K, x, blocks, 256)); /* not made here */
    assert_false(quantize_can(DTYPE_I32));
    assert_false(quantize_can((enum dtype)4711));
    assert_true(quantize_row(DTYPE_Q4_K, x, blocks, 256));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_loss),
        cmocka_unit_test(test_odd_values),
        cmocka_unit_test(test_refuses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
