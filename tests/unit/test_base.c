/*
 * base: strings, buffers, arenas, numbers, random numbers, files, JSON.
 */
#include "base/arena.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/fs.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/rng.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static void str_numbers(void **state)
{
    (void)state;
    int64_t i = 7;
    uint64_t u = 7;
    double f = 7;
    assert_true(str_to_i64(STR("-9223372036854775808"), &i) && i == INT64_MIN);
    assert_true(str_to_i64(STR("9223372036854775807"), &i) && i == INT64_MAX);
    assert_false(str_to_i64(STR("9223372036854775808"), &i));
    assert_false(str_to_i64(STR("-"), &i));
    assert_false(str_to_i64(STR("-+5"), &i));
    assert_false(str_to_i64(STR("5 "), &i));
    assert_true(str_to_u64(STR("18446744073709551615"), &u) && u == UINT64_MAX);
    assert_false(str_to_u64(STR("18446744073709551616"), &u));
    assert_false(str_to_u64(STR(""), &u));
    assert_true(str_to_f64(STR("1e-3"), &f) && fabs(f - 1e-3) < 1e-18);
    assert_false(str_to_f64(STR("inf"), &f));
    assert_false(str_to_f64(STR("nan"), &f));
    assert_false(str_to_f64(STR("1e999"), &f));
    assert_false(str_to_f64(STR("0x10"), &f));
    assert_false(str_to_f64(STR("1x"), &f));
}

static void str_pieces(void **state)
{
    (void)state;
    struct str rest = STR("a,,b"), part;
    const char *want[] = {"a", "", "b"};
    for (int i = 0; i < 3; i++) {
        assert_true(str_split(&rest, ',', &part));
        assert_true(str_eq_z(part, want[i]));
    }
    assert_false(str_split(&rest, ',', &part));
    assert_true(str_eq_z(str_trim(STR(" \t x y\n")), "x y"));
    assert_int_equal(str_find(STR("hello"), STR("llo")), 2);
    assert_int_equal(str_find(STR("hello"), STR("xx")), -1);
    assert_true(str_eq_z(str_sub(STR("abc"), 2, 9), "c"));
    assert_true(str_eq_nocase(STR("HeLLo"), STR("hEllO")));
    assert_true(str_cmp(STR("ab"), STR("abc")) < 0);
}

static void buf_keeps_its_maximum(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 10);
    assert_true(buf_add_z(&b, "12345"));
    assert_false(buf_add_z(&b, "678901"));
    assert_true(b.overflow);
    assert_string_equal(b.ptr, "12345");
    assert_true(buf_add_z(&b, "67890"));
    assert_false(buf_add_char(&b, 'x'));
    assert_false(buf_reserve(&b, SIZE_MAX));
    buf_consume(&b, 3);
    assert_string_equal(b.ptr, "4567890");
    buf_clear(&b);
    assert_false(b.overflow);
    assert_true(buf_printf(&b, "%d-%s", 42, "x"));
    assert_string_equal(b.ptr, "42-x");
    char *z = buf_steal(&b);
    assert_string_equal(z, "42-x");
    assert_int_equal(b.len, 0);
    free(z);
    buf_release(&b);
}

static void arena_limits(void **state)
{
    (void)state;
    struct arena a;
    arena_init(&a, 1 << 20);
    char *s = arena_dup(&a, STR("hello"));
    assert_string_equal(s, "hello");
    assert_non_null(arena_alloc(&a, 100000));
    unsigned char *p = arena_alloc(&a, 24);
    for (int i = 0; i < 24; i++)
        assert_int_equal(p[i], 0);
    assert_int_equal((uintptr_t)p % 16, 0);
    assert_null(arena_alloc(&a, 1 << 20));
    assert_null(arena_alloc(&a, SIZE_MAX));
    assert_null(arena_array(&a, SIZE_MAX / 2, 4));
    arena_release(&a);
}

static void mem_grow_stops(void **state)
{
    (void)state;
    int *v = NULL;
    size_t cap = 0;
    assert_true(mem_grow((void **)&v, &cap, 5, 20, sizeof(int)));
    assert_int_equal(cap, 16);
    assert_true(mem_grow((void **)&v, &cap, 17, 20, sizeof(int)));
    assert_int_equal(cap, 20);
    assert_false(mem_grow((void **)&v, &cap, 21, 20, sizeof(int)));
    free(v);
}

/* Known answers of Philox 4x32-10, published with the algorithm (Random123, kat_vectors). */
static void rng_known_answers(void **state)
{
    (void)state;
    uint32_t w[4];
    rng_philox(0, 0, 0, w);
    assert_int_equal(w[0], 0x6627e8d5);
    assert_int_equal(w[1], 0xe169c58d);
    assert_int_equal(w[2], 0xbc57ac4c);
    assert_int_equal(w[3], 0x9b00dbd8);
    rng_philox(UINT64_MAX, UINT64_MAX, UINT64_MAX, w);
    assert_int_equal(w[0], 0x408f276d);
    assert_int_equal(w[1], 0x41c83b0e);
    assert_int_equal(w[2], 0xa20bc7c6);
    assert_int_equal(w[3], 0x6d5451fd);
    double sum = 0;
    for (uint64_t i = 0; i < 10000; i++) {
        double u = rng_uniform(1, 2, i);
        assert_true(u >= 0 && u < 1);
        sum += u;
    }
    assert_true(fabs(sum / 10000 - 0.5) < 0.02);
}

static void err_texts(void **state)
{
    (void)state;
    struct err e;
    assert_int_equal(err_set_param(&e, ERR_INVALID, "top_p", "bad %d", 3), ERR_INVALID);
    assert_string_equal(e.param, "top_p");
    assert_int_equal(err_wrap(&e, "while %s", "testing"), ERR_INVALID);
    assert_string_equal(e.text, "while testing: bad 3");
    assert_string_equal(err_word(ERR_CONTEXT_LENGTH), "context_length");
    assert_int_equal(err_code_of_word("corrupt"), ERR_CORRUPT);
    assert_int_equal(err_code_of_word("no such word"), ERR_INTERNAL);
    err_set(NULL, ERR_IO, "no place to write to");
}

static void fs_round_trip(void **state)
{
    (void)state;
    char dir[] = "/tmp/hearth-test-XXXXXX";
    struct err e;
    assert_non_null(mkdtemp(dir));
    char *deep = fs_join(dir, "a/b/c");
    assert_int_equal(fs_mkdirs(deep, 0700, &e), 0);
    assert_int_equal(fs_mkdirs(deep, 0700, &e), 0);
    char *file = fs_join(deep, "f");
    assert_int_equal(fs_write_atomic(file, STR("one"), 0600, &e), 0);
    assert_int_equal(fs_write_atomic(file, STR("two!"), 0600, &e), 0);
    struct buf b;
    buf_init(&b, 100);
    assert_int_equal(fs_read(file, &b, &e), 0);
    assert_string_equal(b.ptr, "two!");
    assert_int_equal(fs_size(file), 4);
    buf_release(&b);
    buf_init(&b, 3);
    assert_int_equal(fs_read(file, &b, &e), ERR_TOO_LARGE);
    assert_int_equal(fs_read("/nonexistent/x", &b, &e), ERR_NOT_FOUND);
    assert_non_null(strstr(e.text, "/nonexistent/x"));
    assert_true(fs_free_bytes("/tmp/not/yet/there") > 0);
    assert_int_equal(fs_mkdirs(file, 0700, &e), ERR_IO); /* a file stands there */
    unlink(file);
    for (int i = 0; i < 3; i++) {
        rmdir(deep);
        *strrchr(deep, '/') = 0;
    }
    assert_int_equal(rmdir(dir), 0);
    free(deep);
    free(file);
    buf_release(&b);
}

static void json_limits_and_getters(void **state)
{
    (void)state;
    struct err e;
    assert_null(json_parse(STR("[[[1]]]"), 2, &e));
    assert_int_equal(e.code, ERR_LIMIT);
    assert_null(json_parse(STR("{\"a\":1,\"a\":2}"), 8, &e));
    assert_int_equal(e.code, ERR_SYNTAX);
    assert_null(json_parse(STR(""), 8, &e));
    json_t *v =
        json_parse(STR("{\"s\":\"[[[\\\"[\",\"i\":5,\"f\":1,\"n\":null,\"b\":true}"), 1, &e);
    assert_non_null(v);
    int64_t i = 9;
    double f = 9;
    bool b = false;
    struct str s = STR("unset");
    assert_int_equal(json_get_i64(v, "i", 0, 10, &i, &e), 0);
    assert_int_equal(i, 5);
    assert_int_equal(json_get_i64(v, "i", 6, 10, &i, &e), ERR_INVALID);
    assert_string_equal(e.param, "i");
    assert_int_equal(json_get_i64(v, "s", 0, 10, &i, &e), ERR_INVALID);
    assert_int_equal(json_get_i64(v, "n", 0, 10, &i, &e), 0);
    assert_int_equal(i, 5);
    assert_int_equal(json_get_f64(v, "f", 0, 10, &f, &e), 0);
    assert_true(f > 0.99 && f < 1.01);
    assert_int_equal(json_get_bool(v, "b", &b, &e), 0);
    assert_true(b);
    assert_int_equal(json_get_str(v, "s", &s, &e), 0);
    assert_true(str_eq_z(s, "[[[\"["));
    json_decref(v);
}

static void json_strings_are_valid_utf8(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 1000);
    assert_true(json_write_string(STR("a\"\\\n\x01\xC3\xA9\xFF\xED\xA0\x80z"), &b));
    assert_string_equal(b.ptr, "\"a\\\"\\\\\\n\\u0001\xC3\xA9\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD"
                               "\xEF\xBF\xBDz\"");
    struct err e;
    json_t *v = json_parse(buf_str(&b), 1, &e);
    assert_non_null(v);
    json_decref(v);
    buf_release(&b);
}

/* What a line says cannot begin another one, nor speak to a terminal. */
static void log_lines_stay_lines(void **state)
{
    (void)state;
    int fd[2], before = dup(STDERR_FILENO);
    char line[4096];
    assert_int_equal(pipe(fd), 0);
    dup2(fd[1], STDERR_FILENO);
    log_init("test");
    log_error("%s", "a\nb\r\033[2Jc\x7f d\xc2\x9b"
                    "1m \xc3\xa9");
    dup2(before, STDERR_FILENO);
    ssize_t n = read(fd[0], line, sizeof(line) - 1);
    assert_true(n > 0);
    line[n] = 0;
    const char *text = strstr(line, " error test: ");
    assert_non_null(text);
    assert_string_equal(text, " error test: a?b??[2Jc? d??1m \xc3\xa9\n");
    close(fd[0]);
    close(fd[1]);
    close(before);
}

static void clock_moves(void **state)
{
    (void)state;
    int64_t a = clock_ns();
    usleep(2000);
    assert_true(clock_ns() - a >= 1000000);
    assert_true(clock_wall_ms() > 1700000000000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(str_numbers),
        cmocka_unit_test(str_pieces),
        cmocka_unit_test(buf_keeps_its_maximum),
        cmocka_unit_test(arena_limits),
        cmocka_unit_test(mem_grow_stops),
        cmocka_unit_test(rng_known_answers),
        cmocka_unit_test(err_texts),
        cmocka_unit_test(fs_round_trip),
        cmocka_unit_test(json_limits_and_getters),
        cmocka_unit_test(json_strings_are_valid_utf8),
        cmocka_unit_test(clock_moves),
        cmocka_unit_test(log_lines_stay_lines),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
