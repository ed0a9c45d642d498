/*
 * pack: weights into panels and back. Guards against bits lost, mixed up between rows, or written
 * past the panel; what a panel means is held by tests/kernel (products of panels).
 */
#include "kernels/pack.h"

#include "base/rng.h"
#include "tensor/blocks.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MARK 0xa5

static const enum dtype types[] = {
#define X(name, dtype) dtype,
    PACK_TYPES(X)
#undef X
};

#define N_TYPES (sizeof types / sizeof types[0])

static const struct {
    enum dtype t;
    int elems;
    size_t bytes;
} header_table[] = {
    {DTYPE_Q4_0, 32, 288},    {DTYPE_IQ4_NL, 32, 288},   {DTYPE_MXFP4, 32, 272},
    {DTYPE_Q4_1, 32, 320},    {DTYPE_Q5_0, 32, 352},     {DTYPE_Q5_1, 32, 384},
    {DTYPE_Q8_0, 32, 544},    {DTYPE_Q4_K, 256, 2304},   {DTYPE_Q5_K, 256, 2816},
    {DTYPE_Q6_K, 256, 3360},  {DTYPE_Q2_K, 256, 1344},   {DTYPE_Q3_K, 256, 1760},
    {DTYPE_TQ2_0, 256, 1056}, {DTYPE_IQ4_XS, 256, 2176},
};

static uint32_t random32(void)
{
    static uint64_t counter;
    uint32_t w[4];
    rng_philox(3, 16, counter++, w);
    return w[0];
}

static void sizes(void **state)
{
    (void)state;
    size_t n_has = 0;
    for (int t = -1; t < DTYPE_END + 2; t++)
        n_has += pack_has((enum dtype)t);
    assert_int_equal(n_has, sizeof header_table / sizeof header_table[0]);
    assert_int_equal(n_has, N_TYPES);
    for (size_t i = 0; i < n_has; i++) {
        const enum dtype t = header_table[i].t;
        const int elems = header_table[i].elems;
        assert_true(pack_has(t));
        assert_int_equal(pack_unit_bytes(t), header_table[i].bytes);
        assert_int_equal(pack_unit_elems(t), elems);
        /* Lossless and no larger than the file. */
        assert_int_equal(pack_unit_bytes(t), 16 * dtype_info((uint32_t)t)->block_bytes);
        for (int n = 1; n < 9; n++) {
            const size_t bytes = pack_panel_bytes(t, n * elems);
            assert_int_equal(bytes % 64, 0);
            assert_in_range(bytes, (size_t)n * header_table[i].bytes,
                            (size_t)n * header_table[i].bytes + 63);
            assert_int_equal(pack_bytes(t, 1, n * elems), bytes);
            assert_int_equal(pack_bytes(t, 16, n * elems), bytes);
            assert_int_equal(pack_bytes(t, 17, n * elems), 2 * bytes);
        }
    }
    /* More than 4 GiB: Llama's largest tensors times a few. */
    assert_int_equal(pack_bytes(DTYPE_Q8_0, 262144, 65536), UINT64_C(262144) / 32 * 65536 * 34);
}

enum fill { RANDOM, ONES, ONE_ROW, FILLS };

static void fill(uint8_t *w, size_t stride, int n_rows, enum fill f)
{
    for (int r = 0; r < n_rows; r++)
        for (size_t i = 0; i < stride; i++) {
            w[(size_t)r * stride + i] = f == ONES ? 0xff : (uint8_t)random32();
            if (f == ONE_ROW && r != n_rows / 2)
                w[(size_t)r * stride + i] = 0;
        }
}

/* n_rows rows of n_units blocks, `gap` bytes between rows, at an odd address. */
static void there_and_back(enum dtype t, int n_units, int n_rows, size_t gap, enum fill f)
{
    const int n_k = n_units * pack_unit_elems(t);
    const size_t row = (size_t)n_units * (size_t)dtype_info((uint32_t)t)->block_bytes;
    const size_t stride = row + gap, panel_bytes = pack_panel_bytes(t, n_k);
    uint8_t *base = malloc(stride * 16 + 1), *w = base + 1;
    uint8_t *panel = aligned_alloc(64, panel_bytes + 64), *back = malloc(row + 1);
    assert_true(base && panel && back);
    fill(w, stride, n_rows, f);
    memset(panel, MARK, panel_bytes + 64);
    pack_panel(t, panel, w, stride, n_rows, n_k);
    for (size_t i = 0; i < 64; i++)
        assert_int_equal(panel[panel_bytes + i], MARK);
    for (size_t i = (size_t)n_units * pack_unit_bytes(t); i < panel_bytes; i++)
        assert_int_equal(panel[i], 0);
    for (int r = 0; r < 16; r++) {
        back[row] = MARK;
        pack_unpack_row(t, back, panel, r, n_k);
        assert_int_equal(back[row], MARK);
        if (r < n_rows) {
            assert_memory_equal(back, w + (size_t)r * stride, row);
            continue;
        }
        for (size_t i = 0; i < row; i++)
            assert_int_equal(back[i], 0);
    }
    free(base);
    free(panel);
    free(back);
}

static void every_bit_comes_back(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_TYPES; i++)
        for (int n_rows = 1; n_rows <= 16; n_rows++)
            for (int f = 0; f < FILLS; f++)
                for (int n_units = 1; n_units < 6; n_units++)
                    there_and_back(types[i], n_units, n_rows, random32() % 3, (enum fill)f);
}

/* Zero rows are zero bytes wherever the layout puts them: packing nothing but zeros gives none. */
static void padding_is_zero(void **state)
{
    (void)state;
    uint8_t zeros[256] = {0};
    _Alignas(64) uint8_t panel[3392];
    for (size_t i = 0; i < N_TYPES; i++) {
        const int n_k = pack_unit_elems(types[i]);
        memset(panel, MARK, sizeof panel);
        pack_panel(types[i], panel, zeros, 0, 5, n_k);
        for (size_t b = 0; b < pack_panel_bytes(types[i], n_k); b++)
            assert_int_equal(panel[b], 0);
    }
}

/* Places that the header names, so that a layout that is only consistent with itself fails. */
static void places(void **state)
{
    (void)state;
    struct block_q4_k w[16];
    _Alignas(64) uint8_t p[2304];
    memset(w, 0, sizeof w);
    /* Row 5, element 32 * 3 + 4 * 6 + 1: group 3, quad 6 = vector 2's high nibble, byte 4 * 5 + 1.
     */
    w[5].qs[32 + 25] = 0x90;
    w[7].d = 0x1234;
    w[7].dmin = 0x5678;
    /* Row 2, group 6: scale 0x2b, minimum 0x1c. */
    w[2].scales[10] = 0xcb;
    w[2].scales[2] = 0x80;
    w[2].scales[6] = 0x40;
    pack_panel(DTYPE_Q4_K, p, w, sizeof w[0], 16, 256);
    uint8_t want[2304] = {0};
    want[2 * 7] = 0x34;
    want[2 * 7 + 1] = 0x12;
    want[32 + 2 * 7] = 0x78;
    want[32 + 2 * 7 + 1] = 0x56;
    want[64 + 16 * 6 + 2] = 0xcb;
    want[64 + 128 + 16 * 3 + 2] = 2 | 1 << 2;
    want[256 + 3 * 256 + 2 * 64 + 4 * 5 + 1] = 0x90;
    assert_memory_equal(p, want, sizeof want);

    struct block_q6_k v[16];
    _Alignas(64) uint8_t s[3392];
    memset(v, 0, sizeof v);
    /* Row 15, element 128 + 64 + 7: group 6, quad 1, byte 3: low 4 bits 5, high bits 3. */
    v[15].ql[64 + 7] = 0x50;
    v[15].qh[32 + 7] = 0x30;
    v[15].scales[12] = -3;
    pack_panel(DTYPE_Q6_K, s, v, sizeof v[0], 16, 256);
    uint8_t want6[3392] = {0};
    want6[32 + 16 * 12 + 15] = 0xfd;
    want6[288 + 6 * 384 + 64 + 63] = 0x05;
    want6[288 + 6 * 384 + 256 + 64 + 63] = 3;
    assert_memory_equal(s, want6, sizeof want6);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes),
        cmocka_unit_test(every_bit_comes_back),
        cmocka_unit_test(padding_is_zero),
        cmocka_unit_test(places),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
