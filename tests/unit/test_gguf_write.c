/*
 * gguf_write: what is written is read back by our own reader; faults are found at the layout; a
 * file that is given up leaves nothing.
 */
#include "base/fs.h"
#include "base/mem.h"
#include "format/gguf_write.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static char dir[] = "/tmp/hearth-gguf-write-XXXXXX";

static int make_dir(void **state)
{
    (void)state;
    return mkdtemp(dir) == NULL ? -1 : 0;
}

static int remove_dir(void **state)
{
    (void)state;
    return rmdir(dir);
}

static int n_files(void)
{
    DIR *d = opendir(dir);
    int n = 0;
    for (struct dirent *e; (e = readdir(d)) != NULL;)
        n += e->d_name[0] != '.';
    closedir(d);
    return n;
}

/* Every kind of value, and tensors whose sizes need padding between them. */
static struct gguf_writer *sample(void)
{
    struct gguf_writer *w = gguf_writer_new();
    static const int32_t number[] = {-1, 2, INT32_MAX};
    const struct str word[] = {STR("one"), STR(""), STR("three\n")};
    gguf_put_str(w, "general.architecture", STR("llama"));
    gguf_put_u32(w, "a.u32", 7);
    gguf_put_u64(w, "a.u64", UINT64_MAX);
    gguf_put_f32(w, "a.f32", 1e-5f);
    gguf_put_bool(w, "a.bool", true);
    gguf_put_array(w, "a.numbers", GGUF_I32, number, ARRAY_LEN(number));
    gguf_put_strings(w, "a.words", word, ARRAY_LEN(word));
    gguf_put_array(w, "a.none", GGUF_U8, NULL, 0);
    gguf_put_tensor(w, "q", DTYPE_Q4_0, 2, (uint64_t[]){32, 3}); /* 54 bytes */
    gguf_put_tensor(w, "f", DTYPE_F32, 1, (uint64_t[]){5});
    gguf_put_tensor(w, "e", DTYPE_Q6_K, 3, (uint64_t[]){256, 2, 3});
    return w;
}

static void fill(struct gguf_out *out, const struct gguf_writer *w)
{
    for (size_t i = 0; i < gguf_writer_n_tensors(w); i++) {
        size_t n = (size_t)gguf_writer_tensor_bytes(w, i);
        uint8_t *bytes = mem_alloc(n);
        memset(bytes, 'a' + (int)i, n);
        /* In two parts, the later one first. */
        assert_int_equal(gguf_out_write(out, i, n / 2, bytes, n - n / 2, NULL), 0);
        assert_int_equal(gguf_out_write(out, i, 0, bytes, n / 2, NULL), 0);
        free(bytes);
    }
}

static void check_keys(const struct gguf *g)
{
    struct str s = {0};
    uint64_t v = 0;
    double f = 0;
    bool b = false;
    assert_int_equal(gguf_n_kv(g), 8);
    assert_int_equal(gguf_get_str(g, "general.architecture", &s, NULL), 0);
    assert_true(str_eq_z(s, "llama"));
    assert_int_equal(gguf_get_u64(g, "a.u32", 0, UINT64_MAX, &v, NULL), 0);
    assert_int_equal(v, 7);
    assert_int_equal(gguf_get_u64(g, "a.u64", 0, UINT64_MAX, &v, NULL), 0);
    assert_true(v == UINT64_MAX);
    assert_int_equal(gguf_get_f64(g, "a.f32", &f, NULL), 0);
    assert_true((float)f == 1e-5f);
    assert_int_equal(gguf_get_bool(g, "a.bool", &b, NULL), 0);
    assert_true(b);
    const struct gguf_kv *kv = gguf_find(g, "a.numbers");
    assert_int_equal(kv->n, 3);
    assert_int_equal(gguf_arr_i64(kv, 0), -1);
    assert_int_equal(gguf_arr_i64(kv, 2), INT32_MAX);
    kv = gguf_find(g, "a.words");
    assert_int_equal(kv->n, 3);
    assert_true(str_eq_z(kv->strings[1], "") && str_eq_z(kv->strings[2], "three\n"));
    assert_int_equal(gguf_find(g, "a.none")->n, 0);
}

static void test_round_trip(void **state)
{
    (void)state;
    char *path = fs_join(dir, "m.gguf");
    struct gguf_writer *w = sample();
    struct gguf_out *out;
    struct gguf *g;
    struct err err = {0};
    assert_int_equal(gguf_writer_layout(w, &err), 0);
    assert_int_equal(gguf_out_open(w, path, &out, &err), 0);
    assert_false(fs_exists(path)); /* only whole files have the name */
    fill(out, w);
    assert_int_equal(gguf_out_commit(out, false, &err), 0);
    assert_int_equal(n_files(), 1);
    assert_int_equal(fs_size(path), gguf_writer_file_bytes(w));
    assert_int_equal(fs_size(path) % GGUF_WRITE_ALIGNMENT, 0);
    assert_int_equal(gguf_open(path, &g, &err), 0);
    check_keys(g);
    static const uint64_t size[] = {54, 20, 6 * 210};
    for (size_t i = 0; i < 3; i++) {
        const struct gguf_tensor *t = gguf_tensor_at(g, i);
        assert_int_equal(t->n_bytes, size[i]);
        assert_int_equal(t->offset % GGUF_WRITE_ALIGNMENT, 0);
        for (uint64_t k = 0; k < t->n_bytes; k++)
            assert_int_equal(t->data[k], 'a' + (int)i);
    }
    assert_int_equal(gguf_find_tensor(g, "e")->dim[2], 3);
    /* Values copied from a file are the same in the next. */
    struct gguf_writer *again = gguf_writer_new();
    for (size_t i = 0; i < gguf_n_kv(g); i++)
        gguf_put_kv(again, gguf_kv_at(g, i));
    assert_int_equal(gguf_writer_layout(again, &err), 0);
    gguf_free(g);
    assert_int_equal(gguf_out_open(again, path, &out, &err), 0);
    assert_int_equal(gguf_out_commit(out, false, &err), ERR_EXISTS);
    assert_int_equal(n_files(), 1);
    assert_int_equal(gguf_out_open(again, path, &out, &err), 0);
    assert_int_equal(gguf_out_commit(out, true, &err), 0);
    assert_int_equal(gguf_open(path, &g, &err), 0);
    check_keys(g);
    assert_int_equal(gguf_n_tensors(g), 0);
    gguf_free(g);
    gguf_writer_free(again);
    gguf_writer_free(w);
    assert_int_equal(unlink(path), 0);
    free(path);
}

static void test_abort_leaves_nothing(void **state)
{
    (void)state;
    char *path = fs_join(dir, "gone.gguf");
    struct gguf_writer *w = sample();
    struct gguf_out *out;
    assert_int_equal(gguf_writer_layout(w, NULL), 0);
    assert_int_equal(gguf_out_open(w, path, &out, NULL), 0);
    assert_int_equal(n_files(), 1);
    gguf_out_abort(out);
    gguf_out_abort(NULL);
    assert_int_equal(n_files(), 0);
    gguf_writer_free(w);
    free(path);
}

static void test_no_room(void **state)
{
    (void)state;
    char *path = fs_join(dir, "huge.gguf");
    struct gguf_writer *w = gguf_writer_new();
    struct gguf_out *out;
    struct err err = {0};
    gguf_put_tensor(w, "t", DTYPE_F32, 2, (uint64_t[]){1 << 20, 1 << 30});
    assert_int_equal(gguf_writer_layout(w, &err), 0);
    assert_int_equal(gguf_out_open(w, path, &out, &err), ERR_LIMIT);
    assert_non_null(strstr(err.text, "huge.gguf needs 4503599.6 GB"));
    assert_int_equal(n_files(), 0);
    gguf_writer_free(w);
    free(path);
}

/* The layout of a writer that got one wrong thing fails with a text that has `part` in it. */
static void refused(struct gguf_writer *w, int code, const char *part)
{
    struct err err = {0};
    assert_int_equal(gguf_writer_layout(w, &err), code);
    assert_non_null(strstr(err.text, part));
    gguf_writer_free(w);
}

static void test_faults(void **state)
{
    (void)state;
    const uint64_t one[] = {32, 1}, odd[] = {33}, none[] = {32, 0},
                   vast[] = {UINT64_C(1) << 40, UINT64_C(1) << 40};
    char name[80];
    memset(name, 'n', sizeof(name) - 1);
    name[sizeof(name) - 1] = '\0';
    struct gguf_writer *w = sample();
    gguf_put_u32(w, "a.u32", 8);
    refused(w, ERR_INVALID, "key a.u32 twice");
    w = sample();
    gguf_put_tensor(w, "q", DTYPE_F16, 2, one);
    refused(w, ERR_INVALID, "tensor q twice");
    w = sample();
    gguf_put_tensor(w, "odd", DTYPE_Q8_0, 1, odd);
    refused(w, ERR_INVALID, "rows of 33 elements cannot be stored as Q8_0");
    w = sample();
    gguf_put_tensor(w, "none", DTYPE_Q8_0, 2, none);
    refused(w, ERR_INVALID, "tensor none: a dimension is 0");
    w = sample();
    gguf_put_tensor(w, "vast", DTYPE_F32, 2, vast);
    refused(w, ERR_INVALID, "tensor vast");
    w = sample();
    gguf_put_tensor(w, name, DTYPE_F32, 1, one);
    refused(w, ERR_INVALID, "79 bytes");
    w = sample();
    gguf_put_u32(w, "", 1);
    refused(w, ERR_INVALID, "a key of 0 bytes");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_abort_leaves_nothing),
        cmocka_unit_test(test_no_room),
        cmocka_unit_test(test_faults),
    };
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
