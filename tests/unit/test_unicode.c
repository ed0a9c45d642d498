/*
 * unicode: decoding, classes, normalization on what is easy to get wrong.
 */
#include "text/unicode.h"

#include "base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void every_code_point_round_trips(void **state)
{
    (void)state;
    for (uint32_t c = 0; c < 0x110000; c++) {
        uint8_t s[4];
        uint32_t back;
        size_t n = unicode_encode(c, s);
        bool surrogate = c >= 0xD800 && c < 0xE000;
        assert_int_equal(unicode_decode(s, n, &back), surrogate ? 1 : n);
        assert_int_equal(back, surrogate ? UNICODE_BAD : c);
        for (size_t k = 1; k < n && !surrogate; k++)
            assert_int_equal(unicode_prefix(s, k), 0); /* a beginning */
    }
}

static void invalid_bytes(void **state)
{
    (void)state;
    static const struct {
        const char *s;
        size_t len;
        int want;
    } cases[] = {
        {"\x80", 1, -1},         {"\xC0\x80", 2, -1},         {"\xC1\xBF", 2, -1},
        {"\xE0\x9F\xBF", 3, -1}, {"\xED\xA0\x80", 3, -1},     {"\xF0\x8F\xBF\xBF", 4, -1},
        {"\xF4\x90", 2, -1},     {"\xF5\x80\x80\x80", 4, -1}, {"\xE2\x28\xA1", 3, -1},
        {"\xE2\x82\x28", 3, -2}, {"\xF0\x9F\x98\x41", 4, -3}, {"\xF0\x9F\x98", 3, 0},
        {"\xFF", 1, -1},         {"\xC3\xA9", 2, 2},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        assert_int_equal(unicode_prefix((const uint8_t *)cases[i].s, cases[i].len), cases[i].want);
}

static void classes(void **state)
{
    (void)state;
    unicode_init();
    assert_int_equal(unicode_flags('a') & 0xFF, UC_LETTER | UC_LOWER);
    assert_int_equal(unicode_flags('A') & 0xFF, UC_LETTER | UC_UPPER);
    assert_int_equal(unicode_flags('7') & 0xFF, UC_NUMBER);
    assert_int_equal(unicode_flags(0x85) & 0xFF, UC_SPACE);
    assert_int_equal(unicode_flags(0x301) & 0xFF, UC_MARK | UC_UPPER | UC_LOWER);
    assert_int_equal(unicode_flags(0x20000) & 0xFF, UC_LETTER | UC_UPPER | UC_LOWER);
    assert_int_equal(unicode_flags(0x10FFFF) & 0xFF, 0);
    assert_int_equal(unicode_lower(0xC9), 0xE9);
    assert_int_equal(unicode_lower(0x100), 0x101);
    assert_int_equal(unicode_lower(0x101), 0x101);
    assert_int_equal(unicode_lower(0x10400), 0x10428);
    assert_int_equal(unicode_lower(0x4E00), 0x4E00);
}

static void assert_nfc(const char *text, const char *want)
{
    struct buf out;
    buf_init(&out, 1000);
    assert_true(unicode_nfc(str_z(text), &out));
    assert_string_equal(out.ptr ? out.ptr : "", want);
    buf_release(&out);
}

static void composition(void **state)
{
    (void)state;
    unicode_init();
    assert_nfc("", "");
    assert_nfc("plain", "plain");
    assert_nfc("e\xCC\x81", "\xC3\xA9");
    assert_nfc("abe\xCC\x81"
               "cd",
               "ab\xC3\xA9"
               "cd");
    assert_nfc("a\xCC\x87\xCC\xA3", "\xE1\xBA\xA1\xCC\x87");            /* reordered */
    assert_nfc("\xE1\x84\x80\xE1\x85\xA1\xE1\x86\xA8", "\xEA\xB0\x81"); /* Hangul */
    assert_nfc("\xE2\x84\xAB", "\xC3\x85");                             /* Angstrom */
    assert_nfc("\xEF\xA4\x80", "\xE8\xB1\x88");                         /* U+F900 */
    assert_nfc("e\xFF\xCC\x81", "e\xFF\xCC\x81"); /* invalid bytes stay and separate */
}

/* Half a million marks in the worst order: a sort that compares neighbours would take hours. */
static void long_runs_of_marks(void **state)
{
    (void)state;
    const size_t n = 500000;
    struct codepoints a = {0};
    unicode_init();
    assert_true(codepoints_push(&a, 'a'));
    for (size_t i = 0; i < n; i++)
        assert_true(codepoints_push(&a, i % 2 ? 0x316 : 0x301)); /* classes 220 and 230 */
    assert_true(unicode_nfd(&a));
    assert_int_equal(a.len, n + 1);
    assert_int_equal(a.cp[1], 0x316);
    assert_int_equal(a.cp[n / 2], 0x316);
    assert_int_equal(a.cp[n / 2 + 1], 0x301);
    codepoints_release(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_code_point_round_trips),
        cmocka_unit_test(invalid_bytes),
        cmocka_unit_test(classes),
        cmocka_unit_test(composition),
        cmocka_unit_test(long_runs_of_marks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
