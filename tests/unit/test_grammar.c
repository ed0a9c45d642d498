/*
 * grammar: builder, automaton and matcher: what texts a grammar takes, whether masks say of every
 * token what accept says, and that hostile grammars end in an error after bounded work.
 */
#include "base/json.h"
#include "base/mem.h"
#include "base/rng.h"
#include "grammar/mask_cache.h"
#include "grammar/matcher.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define WORK_BOUND (17u << 20)

/* ---- a vocabulary: all bytes, some longer tokens, two control tokens, two ends ---- */

static const char *const more_tokens[] = {
    "ab",        "aa",   "aaaa",        "abc",          "\",",     "\":", "\"}",      "{\"",
    "\": \"",    "}}",   "]]",          "[[",           "12",      "123", "\xc3\xa4", "\xa4\xc3",
    "\xc3\xa4x", "true", "hello world", "lo ",          "<tool>",  " ",   "],[",      "\"a\":",
    "b\"",       "bbb",  "ba",          "abababababab", "a\",\"b",
};
#define N_MORE     (int)ARRAY_LEN(more_tokens)
#define TOOL       (256 + N_MORE)
#define END        (TOOL + 1)
#define N_VOCAB    (END + 3)
#define MASK_WORDS ((N_VOCAB + 31) / 32)

static struct vocabulary *vocab;

static void make_vocabulary(void)
{
    static char byte[256];
    struct vocabulary_token t[N_VOCAB] = {0};
    struct err err;
    for (int i = 0; i < 256; i++) {
        byte[i] = (char)i;
        t[i].bytes = (struct str){&byte[i], 1};
    }
    for (int i = 0; i < N_MORE; i++)
        t[256 + i].bytes = str_z(more_tokens[i]);
    t[TOOL] = (struct vocabulary_token){.bytes = STR("<tool>"), .is_control = true};
    t[END] = (struct vocabulary_token){.bytes = STR("<end>"), .is_control = true, .is_end = true};
    t[END + 1] = (struct vocabulary_token){.bytes = STR("<other>"), .is_control = true};
    /* END + 2 has no bytes */
    assert_int_equal(vocabulary_new(t, N_VOCAB, &vocab, &err), 0);
}

static int setup(void **state)
{
    (void)state;
    make_vocabulary();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    vocabulary_free(vocab);
    return 0;
}

/* ---- helpers ---- */

static struct grammar *finish(struct grammar_builder *b, gexpr root)
{
    struct grammar *g = NULL;
    struct err err = {0};
    if (grammar_finish(b, root, &g, &err) != 0)
        fail_msg("%s", err.text);
    grammar_builder_free(b);
    return g;
}

static struct matcher *start(struct grammar *g)
{
    struct matcher *m;
    struct err err;
    assert_int_equal(matcher_new(g, vocab, &m, &err), 0);
    return m;
}

static bool allows(const uint32_t *mask, int token)
{
    return mask[token / 32] >> (token % 32) & 1;
}

/* The mask must agree with accept on every token. */
static void check_mask(struct matcher *m)
{
    uint32_t mask[MASK_WORDS];
    struct err err;
    if (matcher_mask(m, mask, &err) != 0)
        fail_msg("%s", err.text);
    bool any = false;
    for (int t = 0; t < N_VOCAB; t++) {
        bool takes = matcher_accept(m, t);
        if (takes)
            matcher_rollback(m, 1);
        any = any || takes;
        if (takes != allows(mask, t))
            fail_msg("token %d: mask %d, accept %d", t, allows(mask, t), takes);
    }
    assert_true(any);
}

/* Feeds bytes; how many were taken. */
static size_t feed(struct matcher *m, struct str text, bool checks)
{
    for (size_t i = 0; i < text.len; i++) {
        if (checks)
            check_mask(m);
        if (!matcher_accept(m, (uint8_t)text.ptr[i]))
            return i;
    }
    if (checks)
        check_mask(m);
    return text.len;
}

static bool matches(struct grammar *g, struct str text)
{
    struct matcher *m = start(g);
    bool ok = feed(m, text, false) == text.len && matcher_may_end(m);
    matcher_free(m);
    return ok;
}

static void assert_all(struct grammar *g, const char *const *yes, const char *const *no)
{
    for (; *yes; yes++) {
        if (!matches(g, str_z(*yes)))
            fail_msg("'%s' should match", *yes);
        struct matcher *m = start(g);
        feed(m, str_z(*yes), true);
        matcher_free(m);
    }
    for (; *no; no++)
        if (matches(g, str_z(*no)))
            fail_msg("'%s' should not match", *no);
    grammar_unref(g);
}
#define TEXTS(...) ((const char *const[]){__VA_ARGS__, NULL})

static gexpr lit(struct grammar_builder *b, const char *text)
{
    return grammar_literal(b, str_z(text));
}

#define SEQ(b, ...)                                                                                \
    grammar_seq(b, (gexpr[]){__VA_ARGS__}, sizeof((gexpr[]){__VA_ARGS__}) / sizeof(gexpr))
#define ALT(b, ...)                                                                                \
    grammar_alt(b, (gexpr[]){__VA_ARGS__}, sizeof((gexpr[]){__VA_ARGS__}) / sizeof(gexpr))

static gexpr range(struct grammar_builder *b, uint32_t from, uint32_t to)
{
    return grammar_chars(b, &(struct grammar_range){from, to}, 1, false);
}

/* JSON, without white space. */
static gexpr json_value(struct grammar_builder *b)
{
    gexpr value = grammar_rule(b);
    const struct grammar_range bad[] = {{0, 0x1f}, {'"', '"'}, {'\\', '\\'}};
    const struct grammar_range esc[] = {{'"', '"'}, {'\\', '\\'}, {'n', 'n'}, {'u', 'u'}};
    gexpr plain = grammar_chars(b, bad, 3, true);
    gexpr escape = SEQ(b, lit(b, "\\"), grammar_chars(b, esc, 3, false));
    gexpr string =
        SEQ(b, lit(b, "\""), grammar_repeat(b, ALT(b, plain, escape), 0, -1), lit(b, "\""));
    gexpr digits = grammar_repeat(b, range(b, '0', '9'), 1, -1);
    gexpr more = grammar_repeat(b, range(b, '0', '9'), 0, -1);
    gexpr number = SEQ(b, grammar_repeat(b, lit(b, "-"), 0, 1), range(b, '1', '9'), more,
                       grammar_repeat(b, SEQ(b, lit(b, "."), digits), 0, 1));
    gexpr member = SEQ(b, string, lit(b, ":"), value);
    gexpr members = SEQ(b, member, grammar_repeat(b, SEQ(b, lit(b, ","), member), 0, -1));
    gexpr items = SEQ(b, value, grammar_repeat(b, SEQ(b, lit(b, ","), value), 0, -1));
    gexpr object = SEQ(b, lit(b, "{"), grammar_repeat(b, members, 0, 1), lit(b, "}"));
    gexpr array = SEQ(b, lit(b, "["), grammar_repeat(b, items, 0, 1), lit(b, "]"));
    grammar_define(
        b, value,
        ALT(b, object, array, string, number, lit(b, "true"), lit(b, "false"), lit(b, "null")));
    return value;
}

/* ---- tests ---- */

/* What all grammars take is known, for who bounds it, and is given back with the last reference. */
static void test_memory_is_counted(void **state)
{
    (void)state;
    struct err err = {0};
    struct grammar *g;
    uint64_t before = grammars_bytes();
    struct grammar_builder *b = grammar_builder_new();
    gexpr word = grammar_literal(b, STR("a long enough literal"));
    assert_int_equal(grammar_finish(b, word, &g, &err), 0);
    grammar_builder_free(b);
    assert_true(grammars_bytes() >= before + 20);
    grammar_unref(grammar_ref(g));
    assert_true(grammars_bytes() > before);
    grammar_unref(g);
    assert_true(grammars_bytes() == before);
}

/* Masks of all grammars have one bound: who was wanted longest ago makes room, and is right again
 * when it is found anew. */
static void test_masks_are_bounded(void **state)
{
    enum { N = 8, ROUNDS = 3, MAX = 6000 };
    (void)state;
    struct grammar *g[N];
    uint64_t most = 0, of_one = 0;
    assert_int_equal(masks_bytes(), 0);
    for (int i = 0; i < N; i++) {
        struct grammar_builder *b = grammar_builder_new();
        gexpr item = ALT(b, range(b, 'a', (uint32_t)('c' + i)), lit(b, "\xc3\xa4"));
        g[i] = finish(b, SEQ(b, grammar_repeat(b, item, 0, 30 + i), lit(b, "\",")));
    }
    for (int round = 0; round < ROUNDS; round++) {
        masks_set_max(round == 0 ? MASKS_BYTES_MAX : MAX);
        for (int i = 0; i < N; i++) {
            struct matcher *m = start(g[i]);
            assert_int_equal(feed(m, STR("abcabcabcabcabcabcabcabcab"), true), 26);
            matcher_free(m);
            most = masks_bytes() > most ? masks_bytes() : most;
            of_one = of_one ? of_one : masks_bytes();
            assert_true(round == 0 || masks_bytes() <= MAX);
        }
    }
    assert_true(of_one > 1000 && of_one <= MAX && most > 2 * MAX && masks_bytes() > MAX / 2);
    for (int i = 0; i < N; i++)
        grammar_unref(g[i]);
    assert_int_equal(masks_bytes(), 0);
    masks_set_max(MASKS_BYTES_MAX);
}

static void test_literals(void **state)
{
    (void)state;
    struct grammar_builder *b = grammar_builder_new();
    gexpr root = SEQ(b, ALT(b, lit(b, "ab"), lit(b, "abc"), lit(b, "x")),
                     grammar_repeat(b, lit(b, "c"), 0, 1), lit(b, "\xc3\xa4"));
    assert_all(finish(b, root),
               TEXTS("ab\xc3\xa4", "abc\xc3\xa4", "abcc\xc3\xa4", "x\xc3\xa4", "xc\xc3\xa4"),
               TEXTS("", "ab", "abccc\xc3\xa4", "ab\xc3", "ab\xc3\xa4\xc3\xa4"));
}

static void test_chars(void **state)
{
    (void)state;
    struct grammar_builder *b = grammar_builder_new();
    const struct grammar_range r[] = {{'a', 'c'}, {0x20ac, 0x20ac}, {0x400, 0x10050}};
    gexpr root = SEQ(b, grammar_chars(b, r, 3, false), grammar_chars(b, r, 3, true));
    assert_all(finish(b, root),
               TEXTS("ad", "\xe2\x82\xac\xf0\x90\x81\x91", "\xd0\x80\xcf\xbf", "b\xf4\x8f\xbf\xbf",
                     "\xf0\x90\x80\x80\x7f"),
               TEXTS("ab", "da", "a\xe2\x82\xac", "\xf0\x90\x81\x91z", "a\xed\xa0\x80",
                     "a\xf4\x90\x80\x80", "a\xc0\x80", "a\xe0\x80\x80"));
}

/* Every code point, against a list of ranges. */
static void test_chars_all(void **state)
{
    (void)state;
    const struct grammar_range r[] = {
        {5, 0x7f}, {0x81, 0x7ff}, {0x801, 0xd7fe}, {0xe001, 0x10ffff}};
    struct grammar_builder *b = grammar_builder_new();
    struct grammar *g = finish(b, grammar_chars(b, r, 4, false));
    struct matcher *m = start(g);
    for (uint32_t c = 0; c <= 0x10ffff; c += c < 0x3000 ? 1 : 7) {
        bool in = false;
        for (int i = 0; i < 4; i++)
            in = in || (c >= r[i].from && c <= r[i].to);
        if (c >= 0xd800 && c < 0xe000)
            continue;
        char text[4];
        int n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4, taken = 0;
        static const uint8_t mark[] = {0, 0, 0xc0, 0xe0, 0xf0};
        for (int i = 0; i < n; i++)
            text[i] = (char)((i == 0 ? mark[n] : 0x80) |
                             (c >> (6 * (n - 1 - i)) & (i == 0 ? (n == 1 ? 0x7f : 0x1f) : 0x3f)));
        while (taken < n && matcher_accept(m, (uint8_t)text[taken]))
            taken++;
        if ((taken == n) != in)
            fail_msg("U+%04X: %d", c, taken == n);
        matcher_rollback(m, taken);
    }
    matcher_free(m);
    grammar_unref(g);
}

static void test_repeat(void **state)
{
    (void)state;
    struct grammar_builder *b = grammar_builder_new();
    gexpr pair = SEQ(b, range(b, 'a', 'b'), grammar_repeat(b, lit(b, "c"), 0, 1));
    gexpr root = SEQ(b, grammar_repeat(b, pair, 2, 3), lit(b, "."));
    assert_all(finish(b, root), TEXTS("aa.", "acbc.", "abac.", "bbb."),
               TEXTS("a.", "aaaa.", "ac.", "aac", "."));
}

/* One that is counted, not copied; at both bounds. */
static void test_repeat_counted(void **state)
{
    (void)state;
    static char text[1200];
    memset(text, 'a', sizeof(text));
    struct grammar_builder *b = grammar_builder_new();
    gexpr root = SEQ(b, lit(b, "<"), grammar_repeat(b, range(b, 'a', 'z'), 900, 1000), lit(b, ">"));
    struct grammar *g = finish(b, root);
    static const int lens[] = {0, 899, 900, 950, 1000, 1001};
    for (size_t i = 0; i < ARRAY_LEN(lens); i++) {
        struct matcher *m = start(g);
        bool ok = lens[i] >= 900 && lens[i] <= 1000;
        assert_true(matcher_accept(m, '<'));
        size_t taken = feed(m, (struct str){text, (size_t)lens[i]}, false);
        assert_int_equal(taken, lens[i] > 1000 ? 1000 : lens[i]);
        check_mask(m);
        assert_int_equal(matcher_accept(m, '>'), ok || lens[i] == 1001);
        matcher_free(m);
    }
    grammar_unref(g);
}

/* Masks near the bounds, where a token of several characters may just not fit. */
static void test_repeat_masks(void **state)
{
    (void)state;
    struct grammar_builder *b = grammar_builder_new();
    gexpr item = ALT(b, lit(b, "a"), lit(b, "b"), lit(b, "\xc3\xa4"));
    struct grammar *g = finish(b, SEQ(b, grammar_repeat(b, item, 40, 70), lit(b, "\",")));
    struct matcher *m = start(g);
    for (int i = 0; i < 70; i++) {
        check_mask(m);
        assert_true(matcher_accept(m, i % 3 ? 'a' : 'b'));
    }
    check_mask(m);
    assert_false(matcher_accept(m, 'a'));
    matcher_free(m);
    grammar_unref(g);
}

static void test_repeat_nested(void **state)
{
    (void)state;
    struct grammar_builder *b = grammar_builder_new();
    gexpr word = SEQ(b, grammar_repeat(b, range(b, 'a', 'c'), 1, 65536), lit(b, ","));
    gexpr root = grammar_repeat(b, word, 0, 65536);
    assert_all(finish(b, root), TEXTS("", "a,", "abc,a,bbbbbbb,"), TEXTS(",", "a", "a,,"));
}

/* What may be empty, again and again. */
static void test_repeat_empty(void **state)
{
    (void)state;
    struct grammar_builder *b = grammar_builder_new();
    gexpr maybe = grammar_repeat(b, grammar_repeat(b, lit(b, "ab"), 0, -1), 5, 60000);
    assert_all(finish(b, SEQ(b, maybe, lit(b, "."))), TEXTS(".", "ab.", "abababab."),
               TEXTS("", "a.", "aba."));
}

static void test_json(void **state)
{
    (void)state;
    struct grammar_builder *b = grammar_builder_new();
    assert_all(finish(b, json_value(b)),
               TEXTS("{}", "[]", "{\"a\":[1,2.5,{\"b\":null}],\"c\":\"\\n\xc3\xa4\"}", "true",
                     "[[[[[]]],[]]]", "-12"),
               TEXTS("", "{", "{\"a\"}", "[1,]", "\"\n\"", "tru", "{}}", "\"\\q\""));
}

/* Texts of one grammar that are made at random by its own masks. */
static void test_random_walks(void **state)
{
    (void)state;
    struct grammar_builder *b = grammar_builder_new();
    struct grammar *g = finish(b, json_value(b));
    for (uint64_t seed = 0; seed < 40; seed++) {
        struct matcher *m = start(g);
        struct buf text;
        buf_init(&text, 1 << 16);
        for (uint64_t i = 0; i < 60; i++) {
            uint32_t mask[MASK_WORDS];
            struct err err;
            check_mask(m);
            assert_int_equal(matcher_mask(m, mask, &err), 0);
            int t = (int)(rng_uniform(seed, 1, i) * N_VOCAB);
            while (!allows(mask, t))
                t = (t + 1) % N_VOCAB;
            if (t == END)
                break;
            assert_true(matcher_accept(m, t));
            if (t < 256)
                buf_add_char(&text, (char)t);
            else
                buf_add_z(&text, more_tokens[t - 256]);
        }
        json_t *parsed = NULL;
        struct err err = {0};
        if (matcher_may_end(m)) {
            parsed = json_parse(buf_str(&text), 64, &err);
            if (!parsed && !strstr(err.text, "uplicate"))
                fail_msg("%s: %s", text.ptr, err.text);
        }
        json_decref(parsed);
        buf_release(&text);
        matcher_free(m);
    }
    grammar_unref(g);
}

static void test_until(void **state)
{
    (void)state;
    struct grammar_builder *b = grammar_builder_new();
    const struct str needle[] = {STR("abab"), STR("\xc3\xa4"), STR("bac")};
    assert_all(finish(b, SEQ(b, grammar_until(b, needle, 3), lit(b, "."))),
               TEXTS("abab.", "xabaabab.", "\xc3\xa4.", "x\xc3\xa5\xc3\xa4.", "babac."),
               TEXTS("ab.", "ababab.", "abab", "\xc3\xa4x.", "\xc3.", "bac.bac."));
    b = grammar_builder_new();
    assert_all(finish(b, grammar_without(b, needle, 3)),
               TEXTS("", "aba", "abaabba", "\xc3\xa5", "xxx\xf0\x90\x81\x91"),
               TEXTS("abab", "xabab", "\xc3\xa4", "\xc3", "abac", "\xf0\x90"));
    b = grammar_builder_new();
    assert_all(finish(b, grammar_without(b, needle, 0)), TEXTS("", "abab\xc3\xa4"), TEXTS("\xc3"));
}

static void test_special(void **state)
{
    (void)state;
    struct grammar_builder *b = grammar_builder_new();
    gexpr call =
        SEQ(b, grammar_special(b, STR("<tool>")), lit(b, "{}"), grammar_special(b, STR("</tool>")));
    struct grammar *g =
        finish(b, SEQ(b, grammar_repeat(b, lit(b, "a"), 0, -1), grammar_repeat(b, call, 1, 2)));
    struct matcher *m = start(g);
    check_mask(m);
    assert_true(matcher_accept(m, 'a'));
    assert_false(matcher_accept(m, '<')); /* its spelling is not the token */
    check_mask(m);
    assert_true(matcher_accept(m, TOOL));
    char forced[32];
    assert_int_equal(matcher_forced(m, forced, sizeof(forced)), 9); /* no such token: its text */
    assert_memory_equal(forced, "{}</tool>", 9);
    assert_int_equal(feed(m, STR("{}</tool>"), true), 9);
    assert_true(matcher_may_end(m));
    assert_false(matcher_must_end(m));
    assert_true(matcher_accept(m, TOOL));
    assert_int_equal(feed(m, STR("{}</tool>"), true), 9);
    assert_true(matcher_must_end(m));
    assert_true(matcher_accept(m, END));
    assert_false(matcher_accept(m, 'a'));
    assert_true(matcher_must_end(m));
    uint32_t mask[MASK_WORDS];
    struct err err;
    assert_int_equal(matcher_mask(m, mask, &err), 0);
    for (int t = 0; t < N_VOCAB; t++)
        assert_int_equal(allows(mask, t), t == END);
    matcher_free(m);
    grammar_unref(g);
}

static void test_forced_and_rollback(void **state)
{
    (void)state;
    struct grammar_builder *b = grammar_builder_new();
    gexpr root = SEQ(b, lit(b, "{\"n\xc3\xa4me\":"), ALT(b, lit(b, "\xc3\xa4"), lit(b, "\xc3\xa5")),
                     lit(b, "}"));
    struct grammar *g = finish(b, root);
    struct matcher *m = start(g);
    char text[32];
    assert_int_equal(matcher_forced(m, text, sizeof(text)), 9); /* not half of the next one */
    assert_memory_equal(text, "{\"n\xc3\xa4me\":", 9);
    assert_int_equal(matcher_forced(m, text, 4), 3);
    assert_int_equal(feed(m, (struct str){text, 3}, false), 3);
    struct matcher *copy;
    struct err err;
    assert_int_equal(matcher_copy(m, &copy, &err), 0);
    matcher_rollback(m, 3);
    assert_int_equal(matcher_forced(m, text, sizeof(text)), 9);
    assert_int_equal(matcher_forced(copy, text, sizeof(text)), 6);
    assert_int_equal(feed(copy, STR("\xc3\xa4me\":\xc3"), true), 7);
    assert_int_equal(matcher_forced(copy, text, sizeof(text)), 0);
    matcher_free(m);
    assert_int_equal(feed(copy, STR("\xa5}"), true), 2);
    assert_true(matcher_must_end(copy));
    matcher_free(copy);
    grammar_unref(g);
}

/* Right recursion needs no stack, so a list may be as long as it likes. */
static void test_long_list(void **state)
{
    (void)state;
    struct grammar_builder *b = grammar_builder_new();
    gexpr list = grammar_rule(b), pairs = grammar_rule(b);
    grammar_define(b, pairs, ALT(b, lit(b, "()"), SEQ(b, lit(b, "("), pairs, lit(b, ")"))));
    grammar_define(b, list, ALT(b, lit(b, "."), SEQ(b, pairs, lit(b, ","), list)));
    struct grammar *g = finish(b, list);
    struct matcher *m = start(g);
    for (int i = 0; i < 20000; i++)
        assert_int_equal(feed(m, STR("(()),"), false), 5);
    check_mask(m);
    assert_true(matcher_accept(m, '.'));
    assert_true(matcher_must_end(m));
    matcher_free(m);
    grammar_unref(g);
}

static void test_deep_nesting_is_bounded(void **state)
{
    (void)state;
    struct grammar_builder *b = grammar_builder_new();
    struct grammar *g = finish(b, json_value(b));
    struct matcher *m = start(g);
    int depth = 0;
    while (depth < 100000 && matcher_accept(m, '['))
        depth++;
    assert_in_range(depth, 60, 1000);
    check_mask(m); /* it can still be closed */
    for (int i = 0; i < depth; i++)
        assert_true(matcher_accept(m, ']'));
    assert_true(matcher_must_end(m));
    matcher_free(m);
    grammar_unref(g);
}

static int finish_fails(struct grammar_builder *b, gexpr root)
{
    struct grammar *g = NULL;
    struct err err = {0};
    int rc = grammar_finish(b, root, &g, &err);
    assert_true(rc != 0 && err.text[0]);
    assert_null(g);
    grammar_builder_free(b);
    return rc;
}

static void test_refused(void **state)
{
    (void)state;
    struct grammar_builder *b = grammar_builder_new();
    gexpr r = grammar_rule(b), q = grammar_rule(b);
    grammar_define(b, q, SEQ(b, grammar_repeat(b, lit(b, "x"), 0, -1), r, lit(b, "y")));
    grammar_define(b, r, ALT(b, lit(b, "a"), q));
    assert_int_equal(finish_fails(b, r), ERR_INVALID); /* through what may be empty */

    b = grammar_builder_new();
    r = grammar_rule(b);
    grammar_define(b, r, SEQ(b, lit(b, "a"), r));
    assert_int_equal(finish_fails(b, r), ERR_INVALID); /* never ends */

    b = grammar_builder_new();
    r = grammar_rule(b);
    grammar_define(b, r, r);
    assert_int_equal(finish_fails(b, r), ERR_INVALID);

    b = grammar_builder_new();
    assert_int_equal(finish_fails(b, SEQ(b, lit(b, "a"), grammar_rule(b))), ERR_INVALID);

    b = grammar_builder_new();
    assert_int_equal(finish_fails(b, grammar_repeat(b, lit(b, "a"), 0, 65537)), ERR_LIMIT);

    b = grammar_builder_new();
    assert_int_equal(finish_fails(b, lit(b, "\xc3")), ERR_INVALID);

    b = grammar_builder_new();
    assert_int_equal(finish_fails(b, grammar_alt(b, NULL, 0)), ERR_INVALID);
}

/* A builder is used again after it was finished, also after a failure. */
static void test_builder_again(void **state)
{
    (void)state;
    struct grammar_builder *b = grammar_builder_new();
    struct grammar *g;
    struct err err = {0};
    struct err why = {0};
    err_set(&why, ERR_UNSUPPORTED, "for a reason");
    assert_true(grammar_seq(b, (gexpr[]){grammar_fail(b, &why)}, 1) < 0);
    assert_int_equal(grammar_finish(b, lit(b, "a"), &g, &err), ERR_UNSUPPORTED);
    assert_string_equal(err.text, "for a reason");
    assert_int_equal(grammar_finish(b, lit(b, "a"), &g, &err), 0);
    assert_true(matches(g, STR("a")));
    grammar_unref(g);
    grammar_builder_free(b);
}

/* Walks a hostile grammar and looks at the work of each step. */
static void walk_bounded(struct grammar *g, const char *text, int n)
{
    struct matcher *m = start(g);
    uint32_t mask[MASK_WORDS];
    struct err err;
    size_t len = strlen(text);
    for (int i = 0; i < n; i++) {
        int rc = matcher_mask(m, mask, &err);
        assert_true(matcher_work(m) <= WORK_BOUND);
        assert_true(rc == 0 || rc == ERR_LIMIT);
        if (rc != 0 || !matcher_accept(m, (uint8_t)text[(size_t)i % len]))
            break;
        assert_true(matcher_work(m) <= WORK_BOUND);
    }
    matcher_free(m);
    grammar_unref(g);
}

static void test_hostile(void **state)
{
    (void)state;
    /* too many deterministic states: stays as it is */
    struct grammar_builder *b = grammar_builder_new();
    gexpr ab = range(b, 'a', 'b'), tail[26];
    for (int i = 0; i < 26; i++)
        tail[i] = ab;
    struct grammar *g =
        finish(b, SEQ(b, grammar_repeat(b, ab, 0, -1), lit(b, "a"), grammar_seq(b, tail, 26)));
    assert_true(matches(g, STR("bbabaaabbbbbbbbbbbbbbbbbbbbbbbbbb")));
    assert_false(matches(g, STR("bbabbaabbbbbbbbbbbbbbbbbbbbbbbbbbb")));
    assert_true(grammar_bytes(g) < 1 << 20);
    walk_bounded(g, "ab", 200);

    b = grammar_builder_new();
    gexpr twice = grammar_repeat(b, grammar_repeat(b, lit(b, "a"), 1, 5000), 1, 5000);
    walk_bounded(finish(b, SEQ(b, twice, lit(b, "b"))), "a", 500);

    b = grammar_builder_new();
    gexpr s = grammar_rule(b); /* every way to split */
    grammar_define(b, s, ALT(b, lit(b, "a"), SEQ(b, lit(b, "a"), s, s)));
    walk_bounded(finish(b, SEQ(b, s, lit(b, "."))), "a", 300);

    b = grammar_builder_new();
    gexpr nest = lit(b, "a");
    for (int i = 0; i < 50000; i++)
        nest = i % 2 ? grammar_repeat(b, nest, 0, -1) : SEQ(b, lit(b, "("), nest, lit(b, ")"));
    walk_bounded(finish(b, nest), "(", 2000);

    b = grammar_builder_new();
    gexpr plus = lit(b, "a");
    for (int i = 0; i < 64; i++)
        plus = grammar_repeat(b, plus, i % 3, i % 2 ? 65536 : -1);
    walk_bounded(finish(b, SEQ(b, plus, lit(b, "b"))), "a", 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_memory_is_counted),
        cmocka_unit_test(test_masks_are_bounded),
        cmocka_unit_test(test_literals),
        cmocka_unit_test(test_chars),
        cmocka_unit_test(test_chars_all),
        cmocka_unit_test(test_repeat),
        cmocka_unit_test(test_repeat_counted),
        cmocka_unit_test(test_repeat_masks),
        cmocka_unit_test(test_repeat_nested),
        cmocka_unit_test(test_repeat_empty),
        cmocka_unit_test(test_json),
        cmocka_unit_test(test_random_walks),
        cmocka_unit_test(test_until),
        cmocka_unit_test(test_special),
        cmocka_unit_test(test_forced_and_rollback),
        cmocka_unit_test(test_long_list),
        cmocka_unit_test(test_deep_nesting_is_bounded),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_builder_again),
        cmocka_unit_test(test_hostile),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
