/*
 * gbnf and regex: which texts their grammars take, and that errors name the place.
 */
#include "base/mem.h"
#include "grammar/gbnf.h"
#include "grammar/matcher.h"
#include "grammar/regex.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct vocabulary *vocab; /* the bytes */

static int setup(void **state)
{
    (void)state;
    static char byte[256];
    struct vocabulary_token t[256] = {0};
    struct err err;
    for (int i = 0; i < 256; i++) {
        byte[i] = (char)i;
        t[i].bytes = (struct str){&byte[i], 1};
    }
    return vocabulary_new(t, 256, &vocab, &err);
}

static int teardown(void **state)
{
    (void)state;
    vocabulary_free(vocab);
    return 0;
}

static bool matches(struct grammar *g, const char *text)
{
    struct matcher *m;
    struct err err;
    assert_int_equal(matcher_new(g, vocab, &m, &err), 0);
    bool ok = true;
    for (; ok && *text; text++)
        ok = matcher_accept(m, (uint8_t)*text);
    ok = ok && matcher_may_end(m);
    matcher_free(m);
    return ok;
}

static struct grammar *compile_gbnf(const char *text, struct err *err)
{
    struct grammar_builder *b = grammar_builder_new();
    struct grammar *g = NULL;
    err_clear(err);
    gexpr e = gbnf_expr(b, str_z(text), "grammar", err);
    if (e >= 0 && grammar_finish(b, e, &g, err) != 0)
        g = NULL;
    grammar_builder_free(b);
    return g;
}

static struct grammar *compile_regex(const char *text, bool search, bool json, struct err *err)
{
    struct grammar_builder *b = grammar_builder_new();
    struct regex_options o = {search, json};
    struct grammar *g = NULL;
    err_clear(err);
    gexpr e = regex_expr(b, str_z(text), &o, "pattern", err);
    if (e >= 0 && grammar_finish(b, e, &g, err) != 0)
        g = NULL;
    grammar_builder_free(b);
    return g;
}

static void check(struct grammar *g, const struct err *err, const char *what, const char *text,
                  bool yes)
{
    if (!g)
        fail_msg("%s: %s", what, err->text);
    if (matches(g, text) != yes)
        fail_msg("%s: '%s' should %s", what, text, yes ? "match" : "not match");
    grammar_unref(g);
}

static void gbnf(const char *grammar, const char *text, bool yes)
{
    struct err err;
    check(compile_gbnf(grammar, &err), &err, grammar, text, yes);
}

static void regex(const char *pattern, const char *text, bool yes)
{
    struct err err;
    check(compile_regex(pattern, false, false, &err), &err, pattern, text, yes);
}

static void search(const char *pattern, const char *text, bool yes)
{
    struct err err;
    check(compile_regex(pattern, true, false, &err), &err, pattern, text, yes);
}

static void test_gbnf(void **state)
{
    (void)state;
    gbnf("root ::= \"a\" | \"b\" \"c\"", "bc", true);
    gbnf("root ::= \"a\" | \"b\" \"c\"", "ac", false);
    gbnf("root::=[a-c\\x31\\u00e4-\\U000000e6]+\n", "ab1\xc3\xa5", true);
    gbnf("root ::= [^a-c\\]-]*", "xyz[", true);
    gbnf("root ::= [^a-c\\]-]*", "x-", false);
    gbnf("root ::= [a-]+", "a-a", true);
    gbnf("root ::= .{2}", "\xc3\xa4\n", true);
    gbnf("root ::= .{2}", "abc", false);
    gbnf("root ::= \"x\"{2,} \"y\"{0,1} \"z\"{ 1 , 2 }", "xxxyzz", true);
    gbnf("root ::= \"x\"{2,} \"y\"{0,1}", "xy", false);
    gbnf("# comment\nroot ::= ( # another\n  \"a\" |\n  \"b\"\n)+ item # end\n\nitem ::= "
         "\"\\n\\\"\"\n",
         "abba\n\"", true);
    gbnf("root ::= \"a\"\n  | \"b\"\nx ::= \"c\"", "b", true);
    gbnf("root ::= \"(\" root \")\" | \"\"", "((()))", true);
    gbnf("root ::= \"(\" root \")\" | \"\"", "((())", false);
    gbnf("root ::= \"ab\"*", "abab", true);
    gbnf("root ::= (\"a\"?)* \"b\"+?", "aab", true);
    gbnf("root ::= item_2 \"\\x41\"\r\nitem_2 ::= \"-\"", "-A", true);
    gbnf("root ::= <think> \"x\"", "<think>x", true); /* no such token: its text */
}

/* llama.cpp's own example of a move in chess and of a list, in its form. */
static void test_gbnf_examples(void **state)
{
    (void)state;
    static const char chess[] =
        "root ::= (\n"
        "    # it must start with the characters \"1. \" followed by a sequence\n"
        "    \"1. \" move \" \" move \"\\n\"\n"
        "    ([1-9] [0-9]? \". \" move \" \" move \"\\n\")+\n"
        ")\n"
        "move ::= (pawn | nonpawn | castle) [+#]?\n"
        "pawn ::= ([a-h] \"x\")? [a-h] [1-8] (\"=\" [NBKQR])?\n"
        "nonpawn ::= [NBKQR] [a-h]? [1-8]? \"x\"? [a-h] [1-8]\n"
        "castle ::= \"O-O\" \"-O\"?\n";
    gbnf(chess, "1. e4 e5\n2. Nf3 Nc6\n3. O-O a6\n", true);
    gbnf(chess, "1. e4 e9\n", false);
    static const char arithmetic[] = "root  ::= (expr \"=\" term \"\\n\")+\n"
                                     "expr  ::= term ([-+*/] term)*\n"
                                     "term  ::= num | \"(\" expr \")\"\n"
                                     "num   ::= [0-9]+\n";
    gbnf(arithmetic, "(1+2)*3=9\n4=4\n", true);
    gbnf(arithmetic, "(1+2*3=9\n", false);
}

static void gbnf_fails(const char *grammar, int code, const char *part)
{
    struct err err;
    struct grammar *g = compile_gbnf(grammar, &err);
    grammar_unref(g);
    if (g || err.code != code || !strstr(err.text, part))
        fail_msg("%s: %d %s", grammar, err.code, err.text);
}

static void test_gbnf_errors(void **state)
{
    (void)state;
    gbnf_fails("", ERR_INVALID, "'root'");
    gbnf_fails("a ::= \"x\"", ERR_INVALID, "'root'");
    gbnf_fails("root ::= \"a\nroot", ERR_INVALID, "line 2, column 5");
    gbnf_fails("root ::= \"a\"\n  foo ::= \"b\" )", ERR_INVALID, "line 2, column 15");
    gbnf_fails("root ::= x \"\xc3\xa4\" (", ERR_INVALID, "line 1, column 17");
    gbnf_fails("root ::= missing", ERR_INVALID, "defined nowhere");
    gbnf_fails("root ::= [b-a]", ERR_INVALID, "range");
    gbnf_fails("root ::= \"a\"{3,2}", ERR_INVALID, "repetition");
    gbnf_fails("root ::= \"a\"{99999999999}", ERR_LIMIT, "65536");
    gbnf_fails("root ::= \"\\q\"", ERR_INVALID, "escape");
    gbnf_fails("root ::= \"\\uD800\"", ERR_INVALID, "no character");
    gbnf_fails("root = \"a\"", ERR_INVALID, "'::='");
    gbnf_fails("root ::= root \"a\" | \"b\"", ERR_INVALID, "left recursion");
    gbnf_fails("root ::= a\na ::= \"x\"? b\nb ::= a | \"y\"", ERR_INVALID, "left recursion");
    gbnf_fails("root ::= \"a\" root", ERR_INVALID, "no text");
    gbnf_fails("root ::= <[12]>", ERR_UNSUPPORTED, "number");
    gbnf_fails("root ::= \"a\"\nroot ::= \"b\"", ERR_INVALID, "already");
    char deep[1024] = "root ::= ";
    memset(deep + 9, '(', 600);
    gbnf_fails(deep, ERR_LIMIT, "deeply");
}

static void test_regex(void **state)
{
    (void)state;
    regex("abc|d", "d", true);
    regex("abc|d", "abd", false);
    regex("[a-c]{2}\\d+", "ab12", true);
    regex("(?:a|b(c))*?x", "abcbcx", true);
    regex("^a$", "a", true);
    regex("\\Aa\\Z", "a", true);
    regex("[^\\d\\s]+", "ab", true);
    regex("[^\\d\\s]+", "a b", false);
    regex("\\w+@\\w+\\.com", "me@x_1.com", true);
    regex("a.c", "a\nc", false);
    regex("a.c",
          "a\xe2\x82\xac"
          "c",
          true);
    regex("a{,2}", "a{,2}", true);
    regex("a{2,}", "aaaa", true);
    regex("\\u00e4\\x41\\u{1f600}\\cJ\\/",
          "\xc3\xa4"
          "A\xf0\x9f\x98\x80\n/",
          true);
    regex("\\ud83d\\ude00", "\xf0\x9f\x98\x80", true);
    regex("[\\w-]+", "a-b", true);
    regex("[-a]+", "a-", true);
    regex("", "", true);
    regex("a||b", "", true);
    regex("(?<year>\\d{4})-(?P<month>\\d\\d)", "2024-05", true);
}

static void test_regex_search(void **state)
{
    (void)state;
    search("b+", "abbc", true);
    search("b+", "ac", false);
    search("^b", "bc", true);
    search("^b", "ab", false);
    search("b$", "ab", true);
    search("b$", "ba", false);
    search("^a|b$", "xb", true);
    search("^a|b$", "ax", true);
    search("^a|b$", "xax", false);
    search("(^|x)a", "xxa", true);
    search("(^|x)a", "ya", false);
    search("", "anything\n", true);
    search("^$", "", true);
    search("^$", "a", false);
    search("^[a-z]{3,5}$", "abcd", true);
    search("^[a-z]{3,5}$", "abcdef", false);
}

static void test_regex_in_json(void **state)
{
    (void)state;
    static const struct {
        const char *pattern, *text;
        bool yes;
    } cases[] = {
        {"^a\"b$", "a\\\"b", true}, {"^a\"b$", "a\"b", false},   {"^\\n$", "\\n", true},
        {"^\\n$", "\n", false},     {"^\\\\d$", "\\\\d", true},  {"^.$", "\\\\", true},
        {"^.$", "\\", false},       {"^[^a]$", "\\u0001", true}, {"^\\s$", "\\t", true},
        {"b", "\\\"b\\\\", true},   {"b", "\"b", false},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct err err;
        check(compile_regex(cases[i].pattern, true, true, &err), &err, cases[i].pattern,
              cases[i].text, cases[i].yes);
    }
}

static void regex_fails(const char *pattern, int code, const char *part)
{
    struct err err;
    struct grammar *g = compile_regex(pattern, false, false, &err);
    grammar_unref(g);
    if (g || err.code != code || !strstr(err.text, part))
        fail_msg("%s: %d %s", pattern, err.code, err.text);
}

static void test_regex_errors(void **state)
{
    (void)state;
    regex_fails("a(", ERR_INVALID, "parenthesis");
    regex_fails("ab)", ERR_INVALID, "character 3");
    regex_fails("\xc3\xa4[a", ERR_INVALID, "character 3");
    regex_fails("*a", ERR_INVALID, "nothing to repeat");
    regex_fails("a**", ERR_INVALID, "nothing to repeat");
    regex_fails("(a)\\1", ERR_UNSUPPORTED, "character 4");
    regex_fails("(?=a)", ERR_UNSUPPORTED, "looking ahead");
    regex_fails("(?i)a", ERR_UNSUPPORTED, "group");
    regex_fails("a\\bc", ERR_UNSUPPORTED, "\\b");
    regex_fails("a^b", ERR_UNSUPPORTED, "anchor");
    regex_fails("(^a)*", ERR_UNSUPPORTED, "anchor");
    regex_fails("a{3,1}", ERR_INVALID, "repetition");
    regex_fails("a{70000}", ERR_LIMIT, "65536");
    regex_fails("[z-a]", ERR_INVALID, "range");
    regex_fails("\\", ERR_INVALID, "ends here");
    regex_fails("[]", ERR_INVALID, "no text");
    char deep[800];
    memset(deep, '(', sizeof(deep) - 1);
    deep[sizeof(deep) - 1] = '\0';
    regex_fails(deep, ERR_LIMIT, "deeply");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gbnf),         cmocka_unit_test(test_gbnf_examples),
        cmocka_unit_test(test_gbnf_errors),  cmocka_unit_test(test_regex),
        cmocka_unit_test(test_regex_search), cmocka_unit_test(test_regex_in_json),
        cmocka_unit_test(test_regex_errors),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
