/*
 * test_safetensors: what the reader takes of a file, and what it refuses; base64 beside it, since
 * vectors travel so.
 */
#include "base/base64.h"
#include "format/safetensors.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* In memory of exactly its size, so that a sanitizer sees each byte past it. */
static int open_text(const char *head, size_t n_data, struct safetensors **ret, uint8_t **ret_bytes)
{
    uint64_t n_head = strlen(head);
    size_t len = sizeof(n_head) + n_head + n_data;
    uint8_t *bytes = calloc(1, len);
    struct err err = {0};
    memcpy(bytes, &n_head, sizeof(n_head));
    memcpy(bytes + sizeof(n_head), head, n_head);
    *ret_bytes = bytes;
    *ret = NULL;
    return safetensors_open_memory(bytes, len, ret, &err);
}

static void test_reads(void **state)
{
    (void)state;
    struct safetensors *s;
    uint8_t *bytes;
    assert_int_equal(open_text("{\"__metadata__\":{\"format\":\"pt\"},"
                               "\"a\":{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[0,24]},"
                               "\"b\":{\"dtype\":\"I64\",\"shape\":[],\"data_offsets\":[24,32]},"
                               "\"c\":{\"dtype\":\"BF16\",\"shape\":[0],\"data_offsets\":[32,32]}}",
                               32, &s, &bytes),
                     0);
    assert_int_equal(safetensors_n(s), 3);
    const struct safetensor *a = safetensors_find(s, "a"), *b = safetensors_find(s, "b");
    assert_true(a->is_real && a->type == DTYPE_F32 && a->n_dims == 2 && a->dim[0] == 2);
    assert_true(a->n_elems == 6 && a->n_bytes == 24 && !b->is_real && b->n_elems == 1);
    assert_true(b->data == a->data + 24 && safetensors_find(s, "d") == NULL);
    safetensors_free(s);
    free(bytes);
}

static void test_refuses(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "[]",
        "{",
        "{\"a\":1}",
        "{\"a\":{}}",
        "{\"a\":{\"dtype\":\"F99\",\"shape\":[1],\"data_offsets\":[0,4]}}",
        "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,5]}}",
        "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[-4,0]}}",
        "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[8,4]}}",
        "{\"a\":{\"dtype\":\"F32\",\"shape\":[3],\"data_offsets\":[0,12]}}",
        "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0]}}",
        "{\"a\":{\"dtype\":\"F32\",\"shape\":[-1],\"data_offsets\":[0,4]}}",
        "{\"a\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1,1],\"data_offsets\":[0,4]}}",
        "{\"a\":{\"dtype\":\"F32\",\"shape\":[4611686018427387904,4,4],\"data_offsets\":[0,0]}}",
        "{\"a\":{\"dtype\":\"F32\",\"shape\":[4611686018427387904],\"data_offsets\":[0,0]}}",
        "{\"a\":{\"dtype\":\"F32\",\"shape\":1,\"data_offsets\":[0,4]}}",
        "{\"a\":{\"dtype\":\"F32\",\"shape\":[[[[[[1]]]]]],\"data_offsets\":[0,4]}}",
        /* bytes of two tensors */
        "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},"
        "\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}",
        "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]},"
        "\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}",
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct safetensors *s;
        uint8_t *bytes;
        if (open_text(bad[i], 8, &s, &bytes) == 0)
            fail_msg("taken: %s", bad[i]);
        assert_null(s);
        free(bytes);
    }
    for (size_t n = 0; n < 9; n++) { /* too short, or with a length past the end */
        uint8_t *bytes = malloc(n + 1);
        struct safetensors *s;
        struct err err = {0};
        memset(bytes, 0xff, n + 1);
        assert_int_not_equal(safetensors_open_memory(bytes, n, &s, &err), 0);
        free(bytes);
    }
}

static void test_base64(void **state)
{
    (void)state;
    static const struct {
        const char *bytes, *text;
    } pairs[] = {{"", ""}, {"f", "Zg=="}, {"fo", "Zm8="}, {"foo", "Zm9v"}, {"\xff\xfe~", "//5+"}};
    for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
        struct buf out;
        char back[8] = "";
        size_t n = strlen(pairs[i].bytes);
        buf_init(&out, 64);
        assert_true(base64_write(pairs[i].bytes, n, &out));
        assert_true(str_eq_z(buf_str(&out), pairs[i].text));
        assert_int_equal(base64_len(n), out.len);
        assert_true(base64_read(buf_str(&out), back, n) && memcmp(back, pairs[i].bytes, n) == 0);
        buf_release(&out);
    }
    char back[8];
    assert_false(base64_read(STR("Zm9"), back, 3));
    assert_false(base64_read(STR("Zm9v"), back, 2));
    assert_false(base64_read(STR("Zg=a"), back, 1));
    assert_false(base64_read(STR("Z-9v"), back, 3));
    assert_false(base64_read(STR("Zm9vZm9v"), back, 3));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reads),
        cmocka_unit_test(test_refuses),
        cmocka_unit_test(test_base64),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
