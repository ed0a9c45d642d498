/*
 * keep_alive: durations as Ollama's clients write them, and what is none.
 */
#include "api/keep_alive.h"
#include "base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void test_durations(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t ms;
    } good[] = {{"5m", 300000},
                {"1h30m", 5400000},
                {"300", 300000},
                {"0", 0},
                {"0s", 0},
                {"-1", -1},
                {"-5m", -1},
                {"1.5s", 1500},
                {"250ms", 250},
                {"100us", 1},
                {"1µs", 1},
                {"+2s", 2000},
                {"1h1m1s1ms", 3661001},
                {"1e3", 1000000},
                {"1e300", 1000000000000000}};
    static const char *const bad[] = {"",     "-",   "+",   "m",     "5 m", "5x",
                                      "5m3",  "m5",  "..s", "1..2s", "nan", "inf",
                                      "0x10", "5m ", " 5m", "--5m",  "5M"};
    int64_t ms;
    for (size_t i = 0; i < ARRAY_LEN(good); i++)
        if (!keep_alive_text(str_z(good[i].text), &ms) || ms != good[i].ms)
            fail_msg("%s: %lld", good[i].text, (long long)ms);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        if (keep_alive_text(str_z(bad[i]), &ms))
            fail_msg("'%s' was taken for %lld ms", bad[i], (long long)ms);
}

static void test_json(void **state)
{
    (void)state;
    static const struct {
        const char *json;
        int code;
        int64_t ms;
    } rows[] = {{"[5]", 0, 5000},        {"[0.5]", 0, 500},           {"[-1]", 0, -1},
                {"[\"5m\"]", 0, 300000}, {"[\"x\"]", ERR_INVALID, 0}, {"[true]", ERR_INVALID, 0},
                {"[[]]", ERR_INVALID, 0}};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct err err = {0};
        int64_t ms = 0;
        json_t *all = json_loads(rows[i].json, 0, NULL);
        int code = keep_alive_json("keep_alive", json_array_get(all, 0), &ms, &err);
        assert_int_equal(code, rows[i].code);
        assert_int_equal(ms, rows[i].ms);
        if (code != 0)
            assert_string_equal(err.param, "keep_alive");
        json_decref(all);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_durations),
        cmocka_unit_test(test_json),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
