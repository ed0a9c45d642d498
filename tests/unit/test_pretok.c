/*
 * pretok: every hand-written scanner cuts random text exactly as its regular expression does.
 *
 * The oracle is PCRE2 with the pattern that each stage carries. Its version of Unicode differs
 * from ours, so that the random text is made of characters whose classes are the same in both.
 */
#include "text/pretok.h"

#include "base/buf.h"
#include "base/mem.h"
#include "base/rng.h"
#include "text/unicode.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#define N_TEXTS   1000
#define N_STAGES  8
#define POOL_SIZE 4096

static uint32_t pool[POOL_SIZE];

static pcre2_code *compile(const char *pattern)
{
    int code;
    PCRE2_SIZE offset;
    pcre2_code *re = pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED,
                                   PCRE2_UTF | PCRE2_UCP, &code, &offset, NULL);
    if (!re)
        print_message("%s: error %d at %zu\n", pattern, code, (size_t)offset);
    assert_non_null(re);
    return re;
}

static bool matches(const pcre2_code *re, pcre2_match_data *m, uint32_t cp)
{
    uint8_t s[4];
    return pcre2_match(re, s, unicode_encode(cp, s), 0, PCRE2_ANCHORED, m, NULL) > 0;
}

static int fill_pool(void **state)
{
    (void)state;
    static const struct {
        const char *pattern;
        unsigned flag;
    } classes[] = {
        {"\\p{L}", UC_LETTER},
        {"\\p{N}", UC_NUMBER},
        {"\\p{P}", UC_PUNCT},
        {"\\p{S}", UC_SYMBOL},
        {"\\p{M}", UC_MARK},
        {"\\s", UC_SPACE},
        {"[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]", UC_UPPER},
        {"[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]", UC_LOWER},
    };
    pcre2_code *re[ARRAY_LEN(classes)];
    pcre2_match_data *m = pcre2_match_data_create(1, NULL);
    unicode_init();
    for (size_t i = 0; i < ARRAY_LEN(classes); i++)
        re[i] = compile(classes[i].pattern);
    size_t n = 0, n_tried = 0;
    for (uint64_t k = 0; n < POOL_SIZE; k++) {
        double x = rng_uniform(11, 0, k);
        uint32_t cp = k < 0x250 ? (uint32_t)k + 1 : (uint32_t)(x * 0x110000);
        if (k >= 0x250 && k % 3 == 0)
            cp = (uint32_t)(x * 0x3400); /* the plane where most alphabets are */
        if (cp >= 0xD800 && cp < 0xE000)
            continue;
        bool same = true;
        for (size_t i = 0; i < ARRAY_LEN(classes); i++)
            same = same && matches(re[i], m, cp) == ((unicode_flags(cp) & classes[i].flag) != 0);
        n_tried++;
        if (same)
            pool[n++] = cp;
    }
    for (size_t i = 0; i < ARRAY_LEN(classes); i++)
        pcre2_code_free(re[i]);
    pcre2_match_data_free(m);
    assert_true(n_tried < POOL_SIZE + POOL_SIZE / 20); /* the two agree on nearly all */
    return 0;
}

static const char *const snippets[] = {
    "'s",
    "'T",
    "'ll",
    "'VE",
    "'re",
    "'\xC5\xBF",
    "  ",
    "\n",
    "\r\n",
    " \n ",
    "\t",
    "123",
    "1234",
    "12345678",
    "...",
    "/",
    "//\n",
    "Ab",
    "aB",
    "ABc",
    "'",
    "_",
    "a1",
    "1a",
    "\xC2\xBD",
    "\xE3\x80\x80",
    "\xE3\x80\x81",
    "!a",
    "(Word",
    "\xE4\xB8\xAD\xE6\x96\x87",
    "\xED\x95\x9C",
    "e\xCC\x81",
    "\xCC\x81",
    " \xCC\x81",
    "\xC2\xAA"
    "A",
    "A\xC2\xAA",
    "<sentinel:12>",
    "IMGIMGAZ",
    "\xC2\x85",
    "\xE2\x80\xA8",
    "$+<=>^~|`",
    "\xD9\xA1\xD9\xA2\xD9\xA3\xD9\xA4",
};

static void random_text(uint64_t seed, struct buf *out)
{
    int n = (int)(rng_uniform(12, seed, 0) * 24) + 1;
    for (int i = 1; i <= n; i++) {
        double x = rng_uniform(13, seed, (uint64_t)i), y = rng_uniform(14, seed, (uint64_t)i);
        uint8_t s[4];
        if (x < 0.45) {
            const char *z = snippets[(size_t)(y * (double)ARRAY_LEN(snippets))];
            buf_add_z(out, z);
        } else if (x < 0.6) {
            buf_add_char(out, (char)(' ' + (int)(y * 95)));
        } else if (x < 0.65) {
            for (int k = 0; k < (int)(y * 30); k++)
                buf_add_char(out, " \n1aA-"[seed % 6]);
        } else {
            buf_add(out, s, unicode_encode(pool[(size_t)(y * POOL_SIZE)], s));
        }
    }
}

/* Pieces as text with a bar between them (the texts have none of U+E000). */
static int add_piece(void *ctx, const uint8_t *s, size_t len)
{
    return buf_add(ctx, s, len) && buf_add_z(ctx, "\xEE\x80\x80") ? 0 : ERR_NOMEM;
}

static void oracle(pcre2_code **re, size_t n_stages, size_t i, const uint8_t *s, size_t len,
                   struct buf *out)
{
    if (i == n_stages) {
        add_piece(out, s, len);
        return;
    }
    pcre2_match_data *m = pcre2_match_data_create(1, NULL);
    size_t done = 0;
    while (done < len && pcre2_match(re[i], s, len, done, 0, m, NULL) > 0) {
        const PCRE2_SIZE *o = pcre2_get_ovector_pointer(m);
        if (o[0] > done)
            oracle(re, n_stages, i + 1, s + done, o[0] - done, out);
        oracle(re, n_stages, i + 1, s + o[0], o[1] - o[0], out);
        done = o[1];
    }
    if (done < len)
        oracle(re, n_stages, i + 1, s + done, len - done, out);
    pcre2_match_data_free(m);
}

static void check_name(struct str name)
{
    struct pretok *p = NULL;
    pcre2_code *re[N_STAGES];
    size_t n_stages = 0;
    assert_int_equal(pretok_new(name, &p, NULL), 0);
    for (const char *z; (z = pretok_pattern(p, n_stages)); n_stages++)
        re[n_stages] = compile(z);
    for (uint64_t seed = 0; seed < N_TEXTS; seed++) {
        struct buf text, got, want;
        buf_init(&text, 1 << 16);
        buf_init(&got, 1 << 18);
        buf_init(&want, 1 << 18);
        random_text(seed, &text);
        assert_int_equal(pretok_split(p, buf_str(&text), add_piece, &got, NULL), 0);
        oracle(re, n_stages, 0, (const uint8_t *)text.ptr, text.len, &want);
        if (!str_eq(buf_str(&got), buf_str(&want)))
            print_message("%.*s, text %llu\ngot  %s\nwant %s\n", STR_ARG(name),
                          (unsigned long long)seed, got.ptr, want.ptr);
        assert_true(str_eq(buf_str(&got), buf_str(&want)));
        buf_release(&text);
        buf_release(&got);
        buf_release(&want);
    }
    for (size_t i = 0; i < n_stages; i++)
        pcre2_code_free(re[i]);
    pretok_free(p);
}

static void scanners_equal_their_patterns(void **state)
{
    (void)state;
    for (size_t i = 0; pretok_name_at(i); i++) {
        struct str rest = str_z(pretok_name_at(i)), name;
        assert_true(str_split(&rest, ' ', &name));
        check_name(name);
    }
}

static void every_name_is_found(void **state)
{
    (void)state;
    for (size_t i = 0; pretok_name_at(i); i++) {
        struct str rest = str_z(pretok_name_at(i)), name;
        while (str_split(&rest, ' ', &name)) {
            struct pretok *p = NULL;
            assert_int_equal(pretok_new(name, &p, NULL), 0);
            pretok_free(p);
        }
    }
}

static int drop_piece(void *ctx, const uint8_t *s, size_t len)
{
    (void)s;
    *(size_t *)ctx += len;
    return 0;
}

/* Quadratic scanners or patterns would run past the program's timeout; the text comes out whole. */
static void a_long_run_of_anything(void **state)
{
    (void)state;
    static const char *const units[] = {"a",
                                        " ",
                                        "7",
                                        "'",
                                        "\n",
                                        "A",
                                        "Aa",
                                        " \n",
                                        "-",
                                        "a ",
                                        "\xCC\x81",
                                        "\xC2\xAA"
                                        "A",
                                        "\xFF",
                                        "\xE4\xB8\xAD",
                                        "I"};
    const size_t len_max = (size_t)1 << 18;
    char *text = mem_try_array(len_max + 1, 1);
    for (size_t i = 0; pretok_name_at(i); i++) {
        struct str rest = str_z(pretok_name_at(i)), name;
        struct pretok *p = NULL;
        assert_true(str_split(&rest, ' ', &name));
        assert_int_equal(pretok_new(name, &p, NULL), 0);
        for (size_t u = 0; u < ARRAY_LEN(units); u++) {
            size_t n = strlen(units[u]), len = 0, seen = 0;
            for (; len + n < len_max; len += n)
                memcpy(text + len, units[u], n);
            text[len++] = 'x';
            struct err err = {0};
            int rc = pretok_split(p, (struct str){text, len}, drop_piece, &seen, &err);
            if (rc != 0)
                print_message("%.*s '%s': %s\n", STR_ARG(name), units[u], err.text);
            assert_true(rc == 0 ? seen == len : rc == ERR_LIMIT);
        }
        pretok_free(p);
    }
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scanners_equal_their_patterns),
        cmocka_unit_test(every_name_is_found),
        cmocka_unit_test(a_long_run_of_anything),
    };
    return cmocka_run_group_tests(tests, fill_pool, NULL);
}
