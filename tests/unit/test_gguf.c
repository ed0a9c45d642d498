/*
 * gguf: sound files of every kind are read right. Damaged and hostile ones: test_gguf_hostile.c.
 */
#include "base/fs.h"
#include "base/mem.h"
#include "gguf_maker.h"

#include <fcntl.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

struct opened {
    struct gguf *g;
    uint8_t *bytes;
};

static struct opened open_made(struct maker *m)
{
    struct opened o;
    struct err err = {0};
    size_t len;
    o.bytes = maker_finish(m, &len);
    if (gguf_open_memory(o.bytes, len, &o.g, &err) != 0)
        fail_msg("%s", err.text);
    assert_int_equal(gguf_file_bytes(o.g), len);
    return o;
}

static void close_made(struct opened o)
{
    gguf_free(o.g);
    free(o.bytes);
}

static void add_every_scalar(struct maker *m)
{
    maker_key(m, "u8", GGUF_U8);
    buf_add_char(&m->kvs, (char)200);
    maker_key(m, "i8", GGUF_I8);
    buf_add_char(&m->kvs, -5);
    maker_key(m, "u16", GGUF_U16);
    buf_add(&m->kvs, &(uint16_t){65535}, 2);
    maker_key(m, "i16", GGUF_I16);
    buf_add(&m->kvs, &(int16_t){-300}, 2);
    maker_u32(m, "u32", 4000000000);
    maker_key(m, "i32", GGUF_I32);
    buf_add(&m->kvs, &(int32_t){-70000}, 4);
    maker_key(m, "f32", GGUF_F32);
    buf_add(&m->kvs, &(float){0.25f}, 4);
    maker_key(m, "bool", GGUF_BOOL);
    buf_add_char(&m->kvs, 1);
    maker_str(m, "str", "h\xc3\xa9llo");
    maker_key(m, "u64", GGUF_U64);
    put_u64(&m->kvs, UINT64_MAX);
    maker_key(m, "i64", GGUF_I64);
    put_u64(&m->kvs, (uint64_t)INT64_MIN);
    maker_key(m, "f64", GGUF_F64);
    buf_add(&m->kvs, &(double){-1e300}, 8);
}

static void scalars(void **state)
{
    (void)state;
    static const char *const names[] = {"u8",  "i8",   "u16", "i16", "u32", "i32",
                                        "f32", "bool", "str", "u64", "i64", "f64"};
    static const double values[] = {200,  -5, 65535, -300,   4e9,     -70000,
                                    0.25, 1,  0,     0x1p64, -0x1p63, -1e300};
    struct maker m;
    maker_init(&m);
    add_every_scalar(&m);
    struct opened o = open_made(&m);
    assert_int_equal(gguf_n_kv(o.g), ARRAY_LEN(names));
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        const struct gguf_kv *kv = gguf_find(o.g, names[i]);
        assert_ptr_equal(kv, gguf_kv_at(o.g, i));
        assert_string_equal(gguf_type_name(kv->type), names[i]);
        assert_true(kv->n == 1 && kv->elem_type == kv->type);
        assert_true(gguf_arr_f64(kv, 0) == values[i]);
        assert_true((kv->strings != NULL) == (kv->type == GGUF_STR));
    }
    assert_true(gguf_arr_i64(gguf_find(o.g, "i8"), 0) == -5);
    assert_true(gguf_arr_i64(gguf_find(o.g, "u64"), 0) == INT64_MAX); /* clamped */
    assert_true(gguf_arr_i64(gguf_find(o.g, "i64"), 0) == INT64_MIN);
    assert_true(gguf_arr_i64(gguf_find(o.g, "f64"), 0) == INT64_MIN);
    assert_null(gguf_find(o.g, "nope"));
    assert_null(gguf_find(o.g, ""));
    close_made(o);
}

static void getters(void **state)
{
    (void)state;
    struct maker m;
    struct err err;
    uint64_t u = 7;
    double f = 7;
    bool b = false;
    struct str s = STR("unset");
    maker_init(&m);
    add_every_scalar(&m);
    maker_key(&m, "nan", GGUF_F32);
    buf_add(&m.kvs, &(float){NAN}, 4);
    maker_array(&m, "arr", GGUF_F32, 1);
    buf_add(&m.kvs, &(float){1}, 4);
    struct opened o = open_made(&m);
    struct gguf *g = o.g;

    assert_true(gguf_get_u64(g, "absent", 1, 2, &u, &err) == 0 && u == 7);
    assert_true(gguf_get_f64(g, "absent", &f, &err) == 0 && f == 7);
    assert_true(gguf_get_bool(g, "absent", &b, &err) == 0 && !b);
    assert_true(gguf_get_str(g, "absent", &s, &err) == 0 && str_eq_z(s, "unset"));

    assert_true(gguf_get_u64(g, "u64", 0, UINT64_MAX, &u, &err) == 0 && u == UINT64_MAX);
    assert_true(gguf_get_u64(g, "u8", 200, 200, &u, &err) == 0 && u == 200);
    assert_true(gguf_get_f64(g, "f32", &f, &err) == 0 && f == 0.25);
    assert_true(gguf_get_f64(g, "f64", &f, &err) == 0 && f == -1e300);
    assert_true(gguf_get_bool(g, "bool", &b, &err) == 0 && b);
    assert_true(gguf_get_str(g, "str", &s, &err) == 0 && str_eq_z(s, "h\xc3\xa9llo"));

    u = 7;
    assert_int_equal(gguf_get_u64(g, "u8", 0, 199, &u, &err), ERR_CORRUPT);
    assert_string_equal(err.text, "key 'u8' is 200; it must be from 0 to 199");
    assert_string_equal(err.param, "u8");
    assert_int_equal(gguf_get_u64(g, "i8", 0, 199, &u, &err), ERR_CORRUPT);
    assert_string_equal(err.text, "key 'i8' is -5; it must be from 0 to 199");
    assert_int_equal(gguf_get_u64(g, "f32", 0, 9, &u, &err), ERR_CORRUPT);
    assert_string_equal(err.text, "key 'f32' is of type f32, not an integer");
    assert_int_equal(gguf_get_u64(g, "arr", 0, 9, &u, NULL), ERR_CORRUPT);
    assert_int_equal(u, 7);
    assert_int_equal(gguf_get_f64(g, "arr", &f, &err), ERR_CORRUPT);
    assert_string_equal(err.text, "key 'arr' is of type array of f32, not a float");
    assert_int_equal(gguf_get_f64(g, "nan", &f, &err), ERR_CORRUPT);
    assert_string_equal(err.text, "key 'nan' is not a finite number");
    assert_int_equal(gguf_get_bool(g, "u8", &b, &err), ERR_CORRUPT);
    assert_int_equal(gguf_get_str(g, "u8", &s, &err), ERR_CORRUPT);
    close_made(o);
}

static void arrays(void **state)
{
    (void)state;
    struct maker m;
    maker_init(&m);
    maker_array(&m, "i16", GGUF_I16, 3);
    buf_add(&m.kvs, (int16_t[]){-1, 0, 32767}, 6);
    maker_array(&m, "bool", GGUF_BOOL, 2);
    buf_add(&m.kvs, "\x01", 2);
    maker_array(&m, "none", GGUF_F64, 0);
    maker_array(&m, "strs", GGUF_STR, 3);
    put_str(&m.kvs, "a");
    put_str(&m.kvs, "");
    put_str(&m.kvs, "\xff\xfe");
    maker_array(&m, "no strs", GGUF_STR, 0);
    maker_array(&m, "nested", GGUF_ARR, 2);
    put_u32(&m.kvs, GGUF_STR);
    put_u64(&m.kvs, 1);
    put_str(&m.kvs, "x");
    put_u32(&m.kvs, GGUF_ARR);
    put_u64(&m.kvs, 0);
    maker_u32(&m, "after", 9);
    struct opened o = open_made(&m);

    const struct gguf_kv *kv = gguf_find(o.g, "i16");
    assert_true(kv->type == GGUF_ARR && kv->elem_type == GGUF_I16 && kv->n == 3);
    assert_true(gguf_arr_i64(kv, 0) == -1 && gguf_arr_i64(kv, 2) == 32767);
    assert_int_equal(kv->n_bytes, 6);
    kv = gguf_find(o.g, "bool");
    assert_true(gguf_arr_i64(kv, 0) == 1 && gguf_arr_i64(kv, 1) == 0);
    assert_true(gguf_find(o.g, "none")->n == 0 && gguf_find(o.g, "no strs")->n == 0);
    kv = gguf_find(o.g, "strs");
    assert_true(str_eq_z(kv->strings[0], "a") && kv->strings[1].len == 0);
    assert_true(str_eq_z(kv->strings[2], "\xff\xfe")); /* bytes are the reader's business */
    assert_true(gguf_arr_i64(kv, 0) == 0 && gguf_arr_f64(kv, 0) == 0);
    kv = gguf_find(o.g, "nested");
    assert_true(kv->elem_type == GGUF_ARR && kv->n == 2 && kv->strings == NULL);
    assert_int_equal(kv->n_bytes, 12 + 9 + 12);
    assert_true(gguf_arr_i64(gguf_find(o.g, "after"), 0) == 9);
    close_made(o);
}

static void tensors_of_every_type(void **state)
{
    (void)state;
    static const enum dtype types[] = {
#define X(id, gguf, name, elems, bytes) id,
        DTYPES(X)
#undef X
    };
    for (uint32_t version = 2; version <= 3; version++) {
        struct maker m;
        maker_init(&m);
        m.version = version;
        for (size_t i = 0; i < ARRAY_LEN(types); i++)
            maker_tensor(&m, dtype_name(types[i]), types[i],
                         3 * (uint64_t)dtype_info(types[i])->block_elems, 2);
        struct opened o = open_made(&m);
        assert_int_equal(gguf_version(o.g), version);
        assert_int_equal(gguf_n_tensors(o.g), ARRAY_LEN(types));
        for (size_t i = 0; i < ARRAY_LEN(types); i++) {
            const struct dtype_info *info = dtype_info(types[i]);
            const struct gguf_tensor *t = gguf_find_tensor(o.g, info->name);
            assert_ptr_equal(t, gguf_tensor_at(o.g, i));
            assert_true(t->type == types[i] && t->n_dims == 2 && t->i_split == 0);
            assert_true(t->dim[0] == 3 * (uint64_t)info->block_elems && t->dim[1] == 2 &&
                        t->dim[2] == 1 && t->dim[3] == 1);
            assert_int_equal(t->n_elems, 6 * info->block_elems);
            assert_int_equal(t->n_bytes, 6 * info->block_bytes);
            assert_ptr_equal(t->data, o.bytes + t->offset);
            assert_true(t->offset % 32 == 0 && t->data[1] == 7 % 256);
        }
        assert_null(gguf_find_tensor(o.g, "absent"));
        close_made(o);
    }
}

static void alignment(void **state)
{
    (void)state;
    struct maker m;
    maker_init(&m);
    m.alignment = 4096;
    maker_u32(&m, "general.alignment", 4096);
    maker_tensor(&m, "a", DTYPE_I8, 1, 1);
    maker_tensor(&m, "b", DTYPE_I8, 5, 1);
    struct opened o = open_made(&m);
    assert_int_equal(gguf_find_tensor(o.g, "a")->offset, 4096);
    assert_int_equal(gguf_find_tensor(o.g, "b")->offset, 8192);
    close_made(o);
}

static void tensors_in_any_order(void **state)
{
    (void)state;
    struct maker m;
    maker_init(&m);
    maker_info(&m, "last", 1, (const uint64_t[]){8}, DTYPE_F32, 64);
    maker_info(&m, "first", 1, (const uint64_t[]){16}, DTYPE_F32, 0);
    for (int i = 0; i < 96; i++)
        buf_add_char(&m.data, (char)i);
    struct opened o = open_made(&m);
    assert_int_equal(gguf_find_tensor(o.g, "last")->data[0], 64);
    close_made(o);
}

/* Quadratic work would run into the time limit of the test. */
static void very_many_keys_and_tensors(void **state)
{
    (void)state;
    struct maker m;
    char name[64];
    maker_init(&m);
    for (uint32_t i = 0; i < GGUF_N_KV_MAX; i++) {
        snprintf(name, sizeof(name), "a.key.that.all.begin.with.%u", i * 2654435761u);
        maker_u32(&m, name, i);
    }
    for (uint32_t i = 0; i < 300000; i++) {
        snprintf(name, sizeof(name), "blk.%u.ffn_gate.%u.weight", i % 61, i);
        maker_info(&m, name, 1, (const uint64_t[]){8}, DTYPE_F32, (uint64_t)(299999 - i) * 32);
    }
    if (!buf_reserve(&m.data, 300000 * 32))
        abort();
    for (uint32_t i = 0; i < 300000; i++)
        buf_add(&m.data, "0123456789abcdef0123456789abcdef", 32);
    struct opened o = open_made(&m);
    assert_true(gguf_arr_i64(gguf_find(o.g, "a.key.that.all.begin.with.2654435761"), 0) == 1);
    assert_non_null(gguf_find_tensor(o.g, "blk.60.ffn_gate.60.weight"));
    close_made(o);
}

/* ---- files and split models ---- */

static char *folder;

static int make_folder(void **state)
{
    (void)state;
    char template[] = "/tmp/hearth-test-gguf-XXXXXX";
    folder = mkdtemp(template) != NULL ? str_dup(str_z(template)) : NULL;
    return folder == NULL;
}

static int remove_folder(void **state)
{
    (void)state;
    char command[128];
    snprintf(command, sizeof(command), "rm -rf '%s'", folder);
    int rc = system(command);
    free(folder);
    return rc;
}

static char *write_file(const char *name, const void *bytes, size_t len)
{
    struct err err;
    char *path = fs_join(folder, name);
    if (fs_write_atomic(path, (struct str){bytes, len}, 0600, &err) != 0)
        fail_msg("%s", err.text);
    return path;
}

/* Part `no` of `count`: one tensor each, named by the part. */
static uint8_t *make_part(uint32_t no, uint32_t count, uint32_t n_tensors, size_t *ret_len)
{
    struct maker m;
    char name[16];
    maker_init(&m);
    maker_key(&m, "split.no", GGUF_U16);
    buf_add(&m.kvs, &(uint16_t){(uint16_t)no}, 2);
    maker_key(&m, "split.count", GGUF_U16);
    buf_add(&m.kvs, &(uint16_t){(uint16_t)count}, 2);
    maker_key(&m, "split.tensors.count", GGUF_I32);
    put_u32(&m.kvs, n_tensors);
    if (no == 0)
        maker_str(&m, "general.architecture", "llama");
    snprintf(name, sizeof(name), "t%u", no);
    maker_tensor(&m, name, DTYPE_Q4_0, 32, no + 1);
    return maker_finish(&m, ret_len);
}

static void write_part(const char *name, uint32_t no, uint32_t count, uint32_t n_tensors)
{
    size_t len;
    uint8_t *bytes = make_part(no, count, n_tensors, &len);
    free(write_file(name, bytes, len));
    free(bytes);
}

static int open_named(const char *name, struct gguf **ret, struct err *err)
{
    char *path = fs_join(folder, name);
    int rc = gguf_open(path, ret, err);
    free(path);
    return rc;
}

static void split_model(void **state)
{
    (void)state;
    struct gguf *g;
    struct err err;
    write_part("m-00001-of-00003.gguf", 0, 3, 3);
    write_part("m-00002-of-00003.gguf", 1, 3, 3);
    write_part("m-00003-of-00003.gguf", 2, 3, 3);
    if (open_named("m-00001-of-00003.gguf", &g, &err) != 0)
        fail_msg("%s", err.text);
    assert_int_equal(gguf_n_parts(g), 3);
    assert_int_equal(gguf_n_tensors(g), 3);
    for (int i = 0; i < 3; i++) {
        char name[16];
        snprintf(name, sizeof(name), "t%d", i);
        const struct gguf_tensor *t = gguf_find_tensor(g, name);
        assert_true(t != NULL && t->i_split == i && t->n_bytes == (uint64_t)(i + 1) * 18);
        assert_int_equal(t->data[17], 17 * 7);
    }
    assert_non_null(gguf_find(g, "general.architecture"));
    gguf_free(g);
}

static void split_model_by_descriptors(void **state)
{
    (void)state;
    struct gguf *g;
    struct err err;
    int fd[2];
    write_part("d1", 0, 2, 2);
    write_part("d2", 1, 2, 2);
    for (int i = 0; i < 2; i++) {
        char *path = fs_join(folder, i == 0 ? "d1" : "d2");
        fd[i] = open(path, O_RDONLY);
        assert_true(fd[i] >= 0);
        free(path);
    }
    assert_int_equal(gguf_open_fds(fd, 2, &g, &err), 0);
    assert_int_equal(close(fd[0]) + close(fd[1]), 0); /* the mappings stay */
    assert_int_equal(gguf_find_tensor(g, "t1")->data[2], 14);
    gguf_free(g);
    assert_int_equal(gguf_open_fds(fd, 0, &g, &err), ERR_INVALID);
}

static void split_refusals(void **state)
{
    (void)state;
    struct gguf *g;
    struct err err;
    write_part("x-00001-of-00002.gguf", 0, 2, 2);
    assert_int_equal(open_named("x-00001-of-00002.gguf", &g, &err), ERR_NOT_FOUND);
    assert_non_null(strstr(err.text, "part 2 of 2 of the model is missing: "));
    assert_non_null(strstr(err.text, "x-00002-of-00002.gguf"));

    write_part("x-00002-of-00002.gguf", 1, 2, 2);
    assert_int_equal(open_named("x-00002-of-00002.gguf", &g, &err), ERR_INVALID);
    assert_non_null(strstr(err.text, "give its first part"));

    write_part("x-00002-of-00002.gguf", 0, 2, 2);
    assert_int_equal(open_named("x-00001-of-00002.gguf", &g, &err), ERR_CORRUPT);
    assert_non_null(strstr(err.text, "part 2 of 2: key 'split.no' is 0, not 1"));

    write_part("x-00002-of-00002.gguf", 1, 3, 2);
    assert_int_equal(open_named("x-00001-of-00002.gguf", &g, &err), ERR_CORRUPT);
    assert_non_null(strstr(err.text, "part 2 of 2: key 'split.count' is 3"));

    write_part("x-00001-of-00002.gguf", 0, 2, 5);
    write_part("x-00002-of-00002.gguf", 1, 2, 5);
    assert_int_equal(open_named("x-00001-of-00002.gguf", &g, &err), ERR_CORRUPT);
    assert_non_null(strstr(err.text, "key 'split.tensors.count' is 5, but the 2 parts have 2"));

    write_part("x-00002-of-00002.gguf", 1, 2, 2);
    free(write_file("x-00002-of-00002.gguf", "GGUF\3\0\0\0", 8));
    assert_int_equal(open_named("x-00001-of-00002.gguf", &g, &err), ERR_CORRUPT);
    assert_non_null(strstr(err.text, "part 2 of 2: header: truncated"));

    write_part("alone.gguf", 1, 4, 2);
    assert_int_equal(open_named("alone.gguf", &g, &err), ERR_CORRUPT);
    assert_non_null(strstr(err.text, "part 2 of 4 of a split model"));
    assert_string_equal(err.param, "split.count");
}

static void split_same_tensor_twice(void **state)
{
    (void)state;
    struct gguf *g;
    struct err err;
    for (uint16_t no = 0; no < 2; no++) {
        struct maker m;
        size_t len;
        maker_init(&m);
        maker_key(&m, "split.no", GGUF_U16);
        buf_add(&m.kvs, &no, 2);
        maker_u32(&m, "split.count", 2);
        maker_u32(&m, "split.tensors.count", 2);
        maker_tensor(&m, "same", DTYPE_F32, 8, 1);
        uint8_t *bytes = maker_finish(&m, &len);
        free(write_file(no == 0 ? "y-00001-of-00002.gguf" : "y-00002-of-00002.gguf", bytes, len));
        free(bytes);
    }
    assert_int_equal(open_named("y-00001-of-00002.gguf", &g, &err), ERR_CORRUPT);
    assert_non_null(strstr(err.text, "tensor 'same' appears twice"));
}

static void split_names(void **state)
{
    (void)state;
    static const char *const plain[] = {
        "-00001-of-00002.gguf",  "a-00000-of-00002.gguf", "a-00003-of-00002.gguf",
        "a-0001-of-00002.gguf",  "a-00001-of-00002.bin",  "a-00001-of-0000x.gguf",
        "a-00001_of-00002.gguf", "a-00001-of-00000.gguf", "a-00001-of-09999.gguf",
    };
    struct err err;
    char **paths;
    int n;
    for (size_t i = 0; i < ARRAY_LEN(plain);
         i++) { /* models in one file, whatever they look like */
        char *path = write_file(plain[i], "x", 1);
        /* the first is a stem of nothing but the folder: still a part's name there */
        int rc = gguf_split_paths(path, &paths, &n, &err);
        if (i == 0) {
            assert_int_equal(rc, ERR_NOT_FOUND);
        } else {
            assert_int_equal(rc, 0);
            assert_true(n == 1 && strcmp(paths[0], path) == 0 && paths[1] == NULL);
            gguf_split_paths_free(paths);
        }
        free(path);
    }
    gguf_split_paths_free(NULL);
}

static void not_models(void **state)
{
    (void)state;
    struct gguf *g;
    struct err err;
    assert_int_equal(open_named("absent.gguf", &g, &err), ERR_NOT_FOUND);
    assert_non_null(strstr(err.text, "absent.gguf: no such file"));
    assert_int_equal(gguf_open(folder, &g, &err), ERR_INVALID);
    assert_non_null(strstr(err.text, "not a model file but a folder"));
    assert_int_equal(gguf_open("/dev/null", &g, &err), ERR_INVALID);
    free(write_file("empty.gguf", "", 0));
    assert_int_equal(open_named("empty.gguf", &g, &err), ERR_CORRUPT);
    assert_non_null(strstr(err.text, "empty.gguf: the file is empty"));
    if (geteuid() != 0) {
        char *path = write_file("closed.gguf", "GGUF", 4);
        assert_int_equal(chmod(path, 0), 0);
        assert_int_equal(gguf_open(path, &g, &err), ERR_IO);
        free(path);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scalars),
        cmocka_unit_test(getters),
        cmocka_unit_test(arrays),
        cmocka_unit_test(tensors_of_every_type),
        cmocka_unit_test(alignment),
        cmocka_unit_test(tensors_in_any_order),
        cmocka_unit_test(very_many_keys_and_tensors),
        cmocka_unit_test(split_model),
        cmocka_unit_test(split_model_by_descriptors),
        cmocka_unit_test(split_refusals),
        cmocka_unit_test(split_same_tensor_twice),
        cmocka_unit_test(split_names),
        cmocka_unit_test(not_models),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
