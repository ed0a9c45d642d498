/*
 * stream: stop strings against a plain search in the whole text, with every way to cut texts into
 * tokens; held text comes out in the end; characters are never cut.
 */
#include "base/mem.h"
#include "base/rng.h"
#include "vocab_maker.h"
#include "worker/stream.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static struct tokenizer *tokenizer;

static int set_up(void **state)
{
    (void)state;
    struct vocab_maker *v = mem_zero(1, sizeof(*v));
    vocab_bpe(v, "gpt-2");
    int rc = vocab_load_tokenizer(v, &tokenizer, NULL);
    free(v);
    return rc;
}

static int tear_down(void **state)
{
    (void)state;
    tokenizer_free(tokenizer);
    return 0;
}

struct run {
    struct buf text;
    size_t n_tokens; /* handed out */
    int i_stop;
    size_t n_deltas;
};

static bool is_utf8(struct str s)
{
    json_t *v = json_stringn(s.ptr, s.len);
    json_decref(v);
    return v != NULL;
}

static void collect(struct stream *s, bool all, struct run *run)
{
    struct gen_delta d = {0};
    if (!stream_take(s, all, &d))
        return;
    assert_true(is_utf8((struct str){d.text, d.text_len}));
    buf_add(&run->text, d.text, d.text_len);
    run->n_tokens += d.n_tokens;
    run->n_deltas++;
    gen_delta_release(&d);
}

/* The bytes of text one by one, as tokens (ids 0..255 are the bytes). */
static struct run stream_bytes(const char *text, char **stop, int n_stop)
{
    struct run run = {.i_stop = -1};
    buf_init(&run.text, 1 << 20);
    struct stream s;
    stream_init(&s, tokenizer, stop, n_stop, false);
    bool stopped = false;
    for (const char *c = text; *c && !stopped; c++) {
        struct gen_token t = {.id = (uint8_t)*c, .logprob = NAN};
        assert_int_equal(stream_push(&s, &t, &stopped, NULL), 0);
        collect(&s, false, &run);
    }
    if (!stopped) {
        assert_int_equal(stream_finish(&s, false, NULL), 0);
        collect(&s, true, &run);
    }
    assert_int_equal(s.n_held, 0);
    run.i_stop = s.i_stop;
    stream_release(&s);
    return run;
}

static void test_stops_like_a_search(void **state)
{
    (void)state;
    static char a[] = "aab", b[] = "ba", c[] = "ccc", e[] = "abcabc";
    char *stop[] = {a, b, c, e};
    for (uint64_t seed = 0; seed < 3000; seed++) {
        char text[64] = {0};
        size_t n = (size_t)(rng_uniform(seed, 1, 0) * 40);
        for (size_t i = 0; i < n; i++)
            text[i] = (char)('a' + (int)(rng_uniform(seed, 2, i) * 3.3));
        int n_stop = 1 + (int)(seed % 4);
        /* the one that is complete first; at the same end the earliest beginning */
        size_t cut = n, end = n + 1;
        for (int i = 0; i < n_stop; i++) {
            ptrdiff_t at = str_find(str_z(text), str_z(stop[i]));
            size_t len = strlen(stop[i]);
            bool is_first = at >= 0 && ((size_t)at + len < end ||
                                        ((size_t)at + len == end && (size_t)at < cut));
            if (is_first) {
                cut = (size_t)at;
                end = cut + len;
            }
        }
        struct run run = stream_bytes(text, stop, n_stop);
        text[cut] = 0;
        assert_string_equal(run.text.ptr ? run.text.ptr : "", text);
        assert_int_equal(run.n_tokens, cut);
        assert_int_equal(run.i_stop >= 0, end <= n);
        buf_release(&run.text);
    }
}

static void test_characters_are_whole(void **state)
{
    (void)state;
    static const char text[] = "a\xf0\x9f\xa6\x8a\xe6\xbc\xa2\xc3\xa9z";
    struct run run = stream_bytes(text, NULL, 0);
    assert_string_equal(run.text.ptr, text);
    assert_int_equal(run.n_tokens, strlen(text));
    assert_int_equal(run.n_deltas, 5); /* one per character */
    buf_release(&run.text);
}

static void test_broken_bytes_become_replacements(void **state)
{
    (void)state;
    struct run run = stream_bytes("a\xf0\x9f", NULL, 0); /* ends in half a character */
    assert_true(str_starts(buf_str(&run.text), str_z("a\xef\xbf\xbd")));
    assert_int_equal(run.n_tokens, 3);
    buf_release(&run.text);
}

/* A stop inside a character's neighbours, and one that is never complete. */
static void test_stop_edges(void **state)
{
    (void)state;
    static char fox[] = "\xf0\x9f\xa6\x8a!", never[] = "zzzzzzzz";
    char *stop[] = {fox, never};
    struct run run = stream_bytes("a\xf0\x9f\xa6\x8a!b", stop, 2);
    assert_string_equal(run.text.ptr, "a");
    assert_int_equal(run.i_stop, 0);
    buf_release(&run.text);
    run = stream_bytes("zzzzzzz", stop, 2);
    assert_string_equal(run.text.ptr, "zzzzzzz");
    assert_int_equal(run.n_deltas, 1);
    assert_int_equal(run.i_stop, -1);
    buf_release(&run.text);
    run = stream_bytes("zzzzzzzz", stop, 2); /* nothing but the stop */
    assert_int_equal(run.text.len, 0);
    assert_int_equal(run.n_tokens, 0);
    assert_int_equal(run.i_stop, 1);
    buf_release(&run.text);
}

/* Tokens of several bytes: the one that a stop cuts is not handed out. */
static void test_stop_within_a_token(void **state)
{
    (void)state;
    static char lo[] = "lo";
    char *stop[] = {lo};
    struct stream s;
    stream_init(&s, tokenizer, stop, 1, false);
    struct tokens ids;
    tokens_init(&ids, 10);
    assert_int_equal(tokenizer_encode(tokenizer, str_z("ahello"), 0, &ids, NULL), 0);
    assert_int_equal(ids.len, 2);
    struct run run = {0};
    buf_init(&run.text, 100);
    bool stopped = false;
    for (size_t i = 0; i < ids.len; i++) {
        struct gen_token t = {.id = ids.id[i], .bytes = strdup("x"), .n_bytes = 1};
        assert_int_equal(stream_push(&s, &t, &stopped, NULL), 0);
        assert_int_equal(stopped, i == 1);
        collect(&s, stopped, &run);
    }
    assert_string_equal(run.text.ptr, "ahel");
    assert_int_equal(run.n_tokens, 1);
    stream_release(&s);
    tokens_release(&ids);
    buf_release(&run.text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stops_like_a_search),
        cmocka_unit_test(test_characters_are_whole),
        cmocka_unit_test(test_broken_bytes_become_replacements),
        cmocka_unit_test(test_stop_edges),
        cmocka_unit_test(test_stop_within_a_token),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
