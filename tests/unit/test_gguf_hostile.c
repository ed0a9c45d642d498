/*
 * gguf: damaged and hostile files are refused with a message that names the key or tensor and the
 * reason, read no byte outside, and allocate no memory for what they only claim.
 */
#include "base/mem.h"
#include "gguf_maker.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define HAS_SANITIZER 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define HAS_SANITIZER 1
#endif
#endif
#ifndef HAS_SANITIZER
#define HAS_SANITIZER 0
#endif

#define DIMS(...)                                                                                  \
    (const uint64_t[])                                                                             \
    {                                                                                              \
        __VA_ARGS__                                                                                \
    }

/* One of everything, small. */
static uint8_t *make_sound(size_t *ret_len)
{
    struct maker m;
    maker_init(&m);
    maker_str(&m, "general.architecture", "llama");
    maker_u32(&m, "general.alignment", 32);
    maker_key(&m, "flag", GGUF_BOOL);
    buf_add_char(&m.kvs, 1);
    maker_array(&m, "words", GGUF_STR, 2);
    put_str(&m.kvs, "one");
    put_str(&m.kvs, "two");
    maker_array(&m, "numbers", GGUF_I16, 2);
    put_u32(&m.kvs, 7);
    maker_array(&m, "nested", GGUF_ARR, 1);
    put_u32(&m.kvs, GGUF_BOOL);
    put_u64(&m.kvs, 2);
    buf_add(&m.kvs, "\1", 2);
    maker_tensor(&m, "a", DTYPE_Q4_0, 32, 1);
    maker_tensor(&m, "b", DTYPE_F32, 3, 2);
    return maker_finish(&m, ret_len);
}

/* Opens a copy of exactly len bytes; what opens is used. */
static int open_copy(const uint8_t *bytes, size_t len, struct err *err)
{
    struct gguf *g;
    uint8_t *copy = malloc(len != 0 ? len : 1);
    assert_non_null(copy);
    memcpy(copy, bytes, len);
    *err = (struct err){0};
    int rc = gguf_open_memory(copy, len, &g, err);
    uint64_t sum = 0;
    for (size_t i = 0; rc == 0 && i < gguf_n_kv(g); i++) {
        const struct gguf_kv *kv = gguf_kv_at(g, i);
        for (uint64_t j = 0; j < kv->n_bytes; j++)
            sum += kv->data[j];
        for (uint64_t j = 0; j < kv->n; j++)
            sum += (uint64_t)gguf_arr_i64(kv, j) + (kv->strings != NULL ? kv->strings[j].len : 0);
    }
    for (size_t i = 0; rc == 0 && i < gguf_n_tensors(g); i++) {
        const struct gguf_tensor *t = gguf_tensor_at(g, i);
        for (uint64_t j = 0; j < t->n_bytes; j++)
            sum += t->data[j];
    }
    assert_true(sum != 1); /* keeps the reads */
    if (rc == 0)
        gguf_free(g);
    free(copy);
    return rc;
}

static void truncated_at_every_byte(void **state)
{
    (void)state;
    size_t len;
    struct err err;
    uint8_t *bytes = make_sound(&len);
    assert_int_equal(open_copy(bytes, len, &err), 0);
    for (size_t n = 0; n < len; n++) {
        int rc = open_copy(bytes, n, &err);
        if (rc != ERR_CORRUPT || err.code != rc || err.text[0] == 0)
            fail_msg("cut at %zu of %zu: %d, '%s'", n, len, rc, err.text);
    }
    free(bytes);
}

static void every_byte_changed(void **state)
{
    (void)state;
    static const uint8_t change[] = {0x01, 0x80, 0xff, 0x10};
    size_t len;
    struct err err;
    uint8_t *bytes = make_sound(&len);
    for (size_t i = 0; i < len; i++) {
        for (size_t j = 0; j < ARRAY_LEN(change); j++) {
            bytes[i] ^= change[j];
            int rc = open_copy(bytes, len, &err);
            assert_true(rc == 0 || (err.code == rc && err.text[0] != 0));
            bytes[i] ^= change[j];
        }
    }
    free(bytes);
}

/* ---- one lie at a time ---- */

static void refuse_bytes(const void *bytes, size_t len, int code, const char *param,
                         const char *text)
{
    struct err err;
    int rc = open_copy(bytes, len, &err);
    if (rc != code || strcmp(err.param, param) != 0 || strstr(err.text, text) == NULL)
        fail_msg("wanted %d '%s' '...%s...', got %d '%s' '%s'", code, param, text, rc, err.param,
                 err.text);
}

static void refuse(struct maker *m, int code, const char *param, const char *text)
{
    size_t len;
    uint8_t *bytes = maker_finish(m, &len);
    refuse_bytes(bytes, len, code, param, text);
    free(bytes);
    maker_init(m);
}

static void wrong_beginnings(void **state)
{
    (void)state;
    struct maker m;
#define REFUSE(lit, code, text) refuse_bytes(lit, sizeof(lit) - 1, code, "", text)
    REFUSE("", ERR_CORRUPT, "the file is empty");
    REFUSE("GGU", ERR_CORRUPT, "not a GGUF file");
    REFUSE("ZZZZ\3\0\0\0", ERR_CORRUPT, "does not begin with 'GGUF'");
    REFUSE("version https://git-lfs.github.com/spec/v1\n", ERR_CORRUPT, "Git LFS pointer");
    REFUSE("<!DOCTYPE html>", ERR_CORRUPT, "web page");
    REFUSE("PK\3\4", ERR_CORRUPT, "PyTorch");
    REFUSE("\10\0\0\0\0\0\0\0{\"a\":1}", ERR_CORRUPT, "safetensors");
    REFUSE("tjgg\3\0\0\0", ERR_CORRUPT, "old GGJT format");
    REFUSE("GGUF\0\0\0\3", ERR_UNSUPPORTED, "big-endian file (version 3)");
    REFUSE("GGUF\1\0\0\0", ERR_UNSUPPORTED, "GGUF version 1");
    REFUSE("GGUF\4\0\0\0", ERR_UNSUPPORTED, "GGUF version 4");
    REFUSE("GGUF\0\0\0\0", ERR_UNSUPPORTED, "GGUF version 0");
#undef REFUSE
    maker_init(&m);
    m.n_kv = UINT64_MAX;
    refuse(&m, ERR_CORRUPT, "", "header: claims 18446744073709551615 keys");
    m.n_tensors = UINT64_MAX;
    refuse(&m, ERR_CORRUPT, "", "header: claims 18446744073709551615 tensors");
    m.n_kv = 1;
    refuse(&m, ERR_CORRUPT, "", "header: claims 1 keys; a file of 24 bytes can have 0");
    buf_release(&m.kvs);
}

static void bad_keys(void **state)
{
    (void)state;
    struct maker m;
    maker_init(&m);
    maker_u32(&m, "", 1);
    refuse(&m, ERR_CORRUPT, "", "key 1 of 1: its name is empty");
    maker_u32(&m, "a\nb", 1);
    refuse(&m, ERR_CORRUPT, "", "its name 'a?b' has a byte that is not allowed (0x0a)");
    maker_u32(&m, "a\xc3\xa9", 1);
    refuse(&m, ERR_CORRUPT, "", "not allowed (0xc3)");
    char *name = mem_alloc(65537);
    memset(name, 'k', 65536);
    name[65536] = 0;
    maker_u32(&m, name, 1);
    refuse(&m, ERR_CORRUPT, "", "its name has 65536 bytes; at most 65535 are allowed");
    free(name);
    maker_u32(&m, "twice", 1);
    maker_u32(&m, "once", 1);
    maker_str(&m, "twice", "x");
    refuse(&m, ERR_CORRUPT, "twice", "key 'twice': appears twice");
    maker_key(&m, "k", 13);
    put_u64(&m.kvs, 0);
    refuse(&m, ERR_CORRUPT, "k", "key 'k': has the unknown value type 13");
    put_u64(&m.kvs, UINT64_MAX); /* the length of a key */
    m.n_kv = 1;
    put_u64(&m.kvs, 0);
    refuse(&m, ERR_CORRUPT, "", "key 1 of 1: truncated or damaged: 18446744073709551615 bytes");
    buf_release(&m.kvs);
}

static void bad_values(void **state)
{
    (void)state;
    struct maker m;
    maker_init(&m);
    maker_key(&m, "s", GGUF_STR);
    put_u64(&m.kvs, 1000);
    refuse(&m, ERR_CORRUPT, "s", "key 's': truncated or damaged: 1000 bytes are needed");
    maker_key(&m, "b", GGUF_BOOL);
    buf_add_char(&m.kvs, 2);
    refuse(&m, ERR_CORRUPT, "b", "key 'b': a bool must be 0 or 1, not 2");
    maker_array(&m, "bs", GGUF_BOOL, 2);
    buf_add(&m.kvs, "\1\3", 2);
    refuse(&m, ERR_CORRUPT, "bs", "a bool must be 0 or 1, not 3");
    maker_array(&m, "a", 99, 0);
    refuse(&m, ERR_CORRUPT, "a", "key 'a': has array elements of unknown type 99");
    maker_array(&m, "a", GGUF_F64, UINT64_MAX / 8 + 2); /* would wrap around to 8 bytes */
    put_u64(&m.kvs, 0);
    refuse(&m, ERR_CORRUPT, "a", "claims an array of 2305843009213693953 elements, but only 8");
    maker_array(&m, "a", GGUF_STR, 3);
    put_u64(&m.kvs, 0);
    put_u64(&m.kvs, UINT64_MAX - 7); /* would wrap around to before itself */
    put_u64(&m.kvs, 0);
    refuse(&m, ERR_CORRUPT, "a", "key 'a': truncated or damaged");
    maker_array(&m, "deep", GGUF_ARR, 1);
    for (int i = 0; i < 8; i++) {
        put_u32(&m.kvs, GGUF_ARR);
        put_u64(&m.kvs, 1);
    }
    refuse(&m, ERR_CORRUPT, "deep", "key 'deep': has arrays nested deeper than 4");
    maker_key(&m, "general.alignment", GGUF_STR);
    put_str(&m.kvs, "32");
    refuse(&m, ERR_CORRUPT, "general.alignment", "must be a power of two from 8 to");
    static const uint32_t wrong[] = {0, 1, 24, 33, 1u << 21, UINT32_MAX};
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        maker_u32(&m, "general.alignment", wrong[i]);
        refuse(&m, ERR_CORRUPT, "general.alignment", "key 'general.alignment': must be a power");
    }
    buf_release(&m.kvs);
}

/* A tensor description of 1 dimension, with 64 bytes of data in the file. */
static void info(struct maker *m, const char *name, uint64_t dim, uint32_t type, uint64_t offset)
{
    maker_info(m, name, 1, DIMS(dim), type, offset);
    while (m->data.len < 64)
        buf_add_char(&m->data, 1);
}

static void bad_tensor_names_and_types(void **state)
{
    (void)state;
    struct maker m;
    maker_init(&m);
    info(&m, "", 1, DTYPE_F32, 0);
    refuse(&m, ERR_CORRUPT, "", "tensor 1 of 1: its name is empty");
    info(&m, "12345678901234567890123456789012345678901234567890123456789012345", 1, 0, 0);
    refuse(&m, ERR_CORRUPT, "", "its name has 65 bytes; at most 64 are allowed");
    info(&m, "t\x7f", 1, DTYPE_F32, 0);
    refuse(&m, ERR_CORRUPT, "", "not allowed (0x7f)");
    info(&m, "same", 1, DTYPE_F32, 0);
    info(&m, "same", 1, DTYPE_F32, 32);
    refuse(&m, ERR_CORRUPT, "same", "tensor 'same' appears twice");
    info(&m, "t", 32, 4, 0);
    refuse(&m, ERR_UNSUPPORTED, "t", "tensor 't': its type 4 is not supported (Q4_2, removed");
    info(&m, "t", 32, 33, 0);
    refuse(&m, ERR_UNSUPPORTED, "t", "use the plain Q4_0 file");
    info(&m, "t", 64, 40, 0);
    refuse(&m, ERR_UNSUPPORTED, "t", "its type 40 is not supported (NVFP4)");
    info(&m, "t", 32, UINT32_MAX, 0);
    refuse(&m, ERR_UNSUPPORTED, "t", "its type 4294967295 is not supported (unknown)");
    buf_release(&m.kvs);
}

static void bad_shapes(void **state)
{
    (void)state;
    struct maker m;
    maker_init(&m);
    maker_info(&m, "t", 0, NULL, DTYPE_F32, 0);
    put_u64(&m.infos, 0);
    refuse(&m, ERR_CORRUPT, "t", "tensor 't': has 0 dimensions; 1 to 4 are allowed");
    maker_info(&m, "t", 5, DIMS(1, 1, 1, 1, 1), DTYPE_F32, 0);
    refuse(&m, ERR_CORRUPT, "t", "tensor 't': has 5 dimensions");
    maker_info(&m, "t", 2, DIMS(4, 0), DTYPE_F32, 0);
    refuse(&m, ERR_CORRUPT, "t", "tensor 't': dimension 1 is zero");
    info(&m, "t", 0, DTYPE_F32, 0);
    refuse(&m, ERR_CORRUPT, "t", "tensor 't': dimension 0 is zero");
    info(&m, "t", 33, DTYPE_Q4_0, 0);
    refuse(&m, ERR_CORRUPT, "t", "its rows have 33 elements, not a multiple of 32 as Q4_0 needs");
    info(&m, "t", 32, DTYPE_Q6_K, 0);
    refuse(&m, ERR_CORRUPT, "t", "not a multiple of 256 as Q6_K needs");
    maker_info(&m, "t", 2, DIMS(16, 2), DTYPE_Q4_0, 0); /* 32 elements, but not in a row */
    refuse(&m, ERR_CORRUPT, "t", "its rows have 16 elements");
    maker_info(&m, "t", 2, DIMS(UINT64_C(1) << 32, UINT64_C(1) << 32), DTYPE_I8, 0);
    refuse(&m, ERR_CORRUPT, "t", "more elements than can be counted");
    maker_info(&m, "t", 4, DIMS(UINT64_C(1) << 31, 2, 2, UINT64_C(1) << 30), DTYPE_I8, 0);
    refuse(&m, ERR_CORRUPT, "t", "more elements than can be counted");
    info(&m, "t", UINT64_C(1) << 62, DTYPE_F32, 0);
    refuse(&m, ERR_CORRUPT, "t", "its size in bytes overflows");
    buf_release(&m.kvs);
}

static void bad_places(void **state)
{
    (void)state;
    struct maker m;
    maker_init(&m);
    info(&m, "t", 1, DTYPE_F32, 16);
    refuse(&m, ERR_CORRUPT, "t", "tensor 't': its offset 16 is not a multiple of the alignment 32");
    info(&m, "t", 17, DTYPE_F32, 0);
    refuse(&m, ERR_CORRUPT, "t", "its data (68 bytes at offset 64) runs past the end of the file");
    info(&m, "t", 1, DTYPE_F32, 64);
    refuse(&m, ERR_CORRUPT, "t", "runs past the end of the file");
    info(&m, "t", 1, DTYPE_F32, UINT64_MAX - 31);
    refuse(&m, ERR_CORRUPT, "t", "tensor 't': its offset overflows");
    info(&m, "t", (UINT64_C(1) << 61) - 1, DTYPE_F32, UINT64_C(1) << 63);
    refuse(&m, ERR_CORRUPT, "t", "tensor 't': ");
    info(&m, "a", 16, DTYPE_F32, 0);
    info(&m, "b", 1, DTYPE_F32, 32);
    refuse(&m, ERR_CORRUPT, "b", "tensor 'b': its data at offset 128 overlaps that of tensor 'a'");
    info(&m, "a", 1, DTYPE_F32, 32);
    info(&m, "b", 1, DTYPE_F32, 32);
    refuse(&m, ERR_CORRUPT, "b", "overlaps that of tensor 'a'");
    info(&m, "b", 1, DTYPE_F32, 32); /* by offset, not by order */
    info(&m, "a", 9, DTYPE_F32, 0);
    refuse(&m, ERR_CORRUPT, "b", "overlaps that of tensor 'a'");
    buf_release(&m.kvs);
}

/* ---- memory ---- */

/* Claims that would take hundreds of megabytes, in files of a few hundred kilobytes. */
static void claim(int i_case, struct maker *m)
{
    const uint64_t left = 400000; /* bytes of padding after the claim */
    switch (i_case) {
    case 0:
        m->n_kv = GGUF_N_KV_MAX;
        break;
    case 1:
        m->n_tensors = left / 64;
        break;
    case 2:
        maker_array(m, "a", GGUF_STR, left / 8);
        break;
    case 3:
        maker_array(m, "a", GGUF_STR, UINT64_C(1) << 40);
        break;
    case 4:
        maker_array(m, "a", GGUF_F64, UINT64_C(1) << 40);
        break;
    case 5:
        maker_array(m, "a", GGUF_ARR, left / 12);
        break;
    default:
        m->n_kv = m->n_tensors = UINT64_C(1) << 60;
        break;
    }
    for (uint64_t i = 0; i < left; i++)
        buf_add_char(&m->kvs, (char)0xff);
}

static void no_memory_for_claims(void **state)
{
    (void)state;
    if (HAS_SANITIZER)
        skip(); /* its shadow needs the address space; the fuzz target limits malloc instead */
    for (int i = 0; i < 7; i++) {
        struct maker m;
        size_t len;
        maker_init(&m);
        claim(i, &m);
        uint8_t *bytes = maker_finish(&m, &len);
        pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
            /* Nothing new from the system: what malloc holds already must do. */
            struct rlimit limit = {0, 0};
            struct gguf *g;
            struct err err;
            void *spare = malloc(100000);
            free(spare);
            setrlimit(RLIMIT_AS, &limit);
            setrlimit(RLIMIT_DATA, &limit);
            _exit(gguf_open_memory(bytes, len, &g, &err) == ERR_CORRUPT ? 0 : 1);
        }
        int status;
        assert_int_equal(waitpid(pid, &status, 0), pid);
        if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
            fail_msg("case %d: status %d", i, status);
        free(bytes);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(truncated_at_every_byte),
        cmocka_unit_test(every_byte_changed),
        cmocka_unit_test(wrong_beginnings),
        cmocka_unit_test(bad_keys),
        cmocka_unit_test(bad_values),
        cmocka_unit_test(bad_tensor_names_and_types),
        cmocka_unit_test(bad_shapes),
        cmocka_unit_test(bad_places),
        cmocka_unit_test(no_memory_for_claims),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
