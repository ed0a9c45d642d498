/*
 * tokenizer: what the golden tests against real vocabularies do not show: bytes that are no UTF-8,
 * special tokens, limits, streaming, and time on texts made to be slow.
 */
#include "base/mem.h"
#include "base/rng.h"
#include "vocab_maker.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define MEGABYTE ((size_t)1 << 20)

static struct tokenizer *make(void (*fill)(struct vocab_maker *))
{
    struct vocab_maker *v = mem_zero(1, sizeof(*v));
    struct tokenizer *t = NULL;
    struct err err = {0};
    fill(v);
    int rc = vocab_load_tokenizer(v, &t, &err);
    if (rc != 0)
        print_message("%s\n", err.text);
    assert_int_equal(rc, 0);
    free(v);
    return t;
}

static void fill_gpt2(struct vocab_maker *v)
{
    vocab_bpe(v, "gpt-2");
}

static void fill_llama3(struct vocab_maker *v)
{
    vocab_bpe(v, "llama-bpe");
}

static void fill_qwen2(struct vocab_maker *v)
{
    vocab_bpe(v, "qwen2");
}

static void assert_ids(const struct tokenizer *t, const char *text, unsigned flags,
                       const char *want)
{
    struct tokens ids;
    struct buf got;
    tokens_init(&ids, 1000);
    buf_init(&got, 10000);
    assert_int_equal(tokenizer_encode(t, str_z(text), flags, &ids, NULL), 0);
    for (size_t i = 0; i < ids.len; i++) {
        struct str s = tokenizer_token_text(t, ids.id[i]);
        buf_printf(&got, "%s%.*s", i ? "|" : "", STR_ARG(s));
    }
    assert_string_equal(got.ptr ? got.ptr : "", want);
    buf_release(&got);
    tokens_release(&ids);
}

static void bpe_words(void **state)
{
    (void)state;
    struct tokenizer *t = make(fill_gpt2);
    assert_ids(t, "", 0, "");
    assert_ids(t, "hello", 0, "hello");
    assert_ids(t, "hell o", 0, "hell|Ġ|o");
    assert_ids(t, "aaaaaaaaaaaaa", 0, "aaaaaaaa|aaaa|a");
    assert_ids(t, "\xC3\xA9", 0, "Ã©");
    assert_ids(t, "hello", TOKENIZE_BOS_EOS, "hello"); /* gpt-2 adds no BOS by itself */
    tokenizer_free(t);
    t = make(fill_llama3);
    assert_ids(t, "hello", TOKENIZE_BOS_EOS, "<s>|hello");
    tokenizer_free(t);
    t = make(fill_qwen2);
    assert_ids(t, "e\xCC\x81", 0, "Ã©"); /* normalized to NFC first */
    tokenizer_free(t);
}

static void special_tokens(void **state)
{
    (void)state;
    struct tokenizer *t = make(fill_gpt2);
    assert_ids(t, "<s>", 0, "<|s|>");
    assert_ids(t, "a<s>", TOKENIZE_SPECIAL, "a|<s>");
    assert_ids(t, "<s><s><s>", TOKENIZE_SPECIAL, "<s><s>|<s>"); /* the longest first */
    assert_ids(t, "<s<s>", TOKENIZE_SPECIAL, "<|s|<s>");
    assert_ids(t, "a<tool>a", 0, "a|<tool>|a"); /* user-defined: always */
    /* A token that ends a turn is a control token whatever its type in the file says. */
    token_id end = tokenizer_find(t, STR("<|im_end|>"));
    assert_true(tokenizer_is_control(t, end));
    assert_true(tokenizer_is_eog(t, end));
    assert_ids(t, "<|im_end|>", TOKENIZE_SPECIAL, "<|im_end|>");
    assert_ids(t, "<|im_end|>", 0, "<|||i|m|_|e|n|d|||>");
    assert_true(tokenizer_is_eog(t, tokenizer_eos(t)));
    assert_false(tokenizer_is_eog(t, tokenizer_bos(t)));
    assert_false(tokenizer_is_eog(t, -1));
    assert_false(tokenizer_is_eog(t, 1 << 30));
    assert_int_equal(tokenizer_token_text(t, 1 << 30).len, 0);
    tokenizer_free(t);
}

static void fill_gap_tokens(struct vocab_maker *v)
{
    vocab_bpe(v, "gpt-2");
    vocab_add(v, "<|fim_prefix|>", TYPE_CONTROL, 0);
    vocab_add(v, "<|fim_suffix|>", TYPE_CONTROL, 0);
    vocab_add(v, "<|fim_middle|>", TYPE_CONTROL, 0);
}

static void gap_tokens(void **state)
{
    (void)state;
    struct fim_tokens fim;
    struct tokenizer *t = make(fill_gap_tokens);
    assert_true(tokenizer_fim(t, &fim));
    assert_int_equal(fim.prefix, tokenizer_find(t, STR("<|fim_prefix|>")));
    assert_int_equal(fim.suffix, tokenizer_find(t, STR("<|fim_suffix|>")));
    assert_int_equal(fim.middle, tokenizer_find(t, STR("<|fim_middle|>")));
    tokenizer_free(t);
    t = make(fill_gpt2);
    assert_false(tokenizer_fim(t, &fim));
    tokenizer_free(t);
}

static void spm_words(void **state)
{
    (void)state;
    struct tokenizer *t = make(vocab_spm);
    assert_ids(t, "", TOKENIZE_BOS_EOS, "<s>");
    assert_ids(t, "hello", TOKENIZE_BOS_EOS, "<s>|▁hello");
    assert_ids(t, "hello hello", 0, "▁hello|▁hello");
    assert_ids(t, "\xC3\xA9x", 0, "▁|é|<0x78>");
    assert_ids(t, "\xFF", 0, "▁|<0xFF>");
    assert_ids(t, "<s>", 0, "▁|<s|>"); /* text never merges into a control token */
    assert_ids(t, "<s>a", TOKENIZE_SPECIAL, "<s>|▁|a");
    assert_ids(t, "a<tool>a", 0, "▁|a|<tool>|▁|a");
    tokenizer_free(t);
}

static void fill_phi3(struct vocab_maker *v)
{
    vocab_spm(v);
    v->name = "Phi-3 Mini";
}

/* Phi-3's special tokens take the white space after them, but for <s> and <unk>. */
static void phi3_special_tokens(void **state)
{
    (void)state;
    struct tokenizer *t = make(fill_phi3);
    assert_ids(t, "<tool> \n a", 0, "<tool>|▁|a");
    assert_ids(t, "</s>\n", TOKENIZE_SPECIAL, "</s>");
    assert_ids(t, "<s> a", TOKENIZE_SPECIAL, "<s>|▁▁|a");
    tokenizer_free(t);
    t = make(vocab_spm);
    assert_ids(t, "</s> a", TOKENIZE_SPECIAL, "</s>|▁▁|a");
    tokenizer_free(t);
}

static void bert_words(void **state)
{
    (void)state;
    struct tokenizer *t = make(vocab_bert);
    char word[120] = {0};
    memset(word, 'a', 100);
    assert_ids(t, "Hello, WORLD", 0, "▁hello|▁,|▁wor|ld");
    assert_ids(t, "h\xC3\xA9llo", 0, "▁hello");
    assert_ids(t,
               "a\xE4\xB8\xAD"
               "a",
               0, "▁a|▁中|▁a");
    assert_ids(t, "worx a", 0, "[UNK]|▁a");
    assert_ids(t, "a\xE2\x96\x81hello", 0, "[UNK]"); /* U+2581 in a word begins no word */
    struct tokens ids;
    tokens_init(&ids, 1000);
    assert_int_equal(tokenizer_encode(t, str_z(word), 0, &ids, NULL), 0);
    assert_int_equal(ids.len, 100);
    word[100] = 'a'; /* one character too many */
    ids.len = 0;
    assert_int_equal(tokenizer_encode(t, str_z(word), 0, &ids, NULL), 0);
    assert_int_equal(ids.len, 1);
    tokens_release(&ids);
    tokenizer_free(t);
}

static void unigram_words(void **state)
{
    (void)state;
    struct tokenizer *t = make(vocab_unigram);
    assert_ids(t, "hello", 0, "▁|hello");
    assert_ids(t, "  hello\t\t hell ", 0, "▁|hello|▁hell");
    assert_ids(t, "AaA", 0, "▁|a|aa"); /* of equals the longer end */
    assert_ids(t, "xyz a", 0, "▁|<unk>|▁|a");
    assert_ids(t, " \t", TOKENIZE_BOS_EOS, "</s>"); /* no BOS unless the file says so */
    assert_ids(t, "a<tool>a", 0, "▁|a|<tool>|▁|a");
    assert_int_equal(tokenizer_pair_sep(t), TOKEN_NONE);
    tokenizer_free(t);
}

/* A rule that makes 4000 bytes of one; the text that is cut took 12 times as much again. */
static void fill_unigram_long_rule(struct vocab_maker *v)
{
    enum { AT = 4 + 4 * 512, N = 4000 };
    vocab_unigram(v);
    memset(v->chars + AT, 'a', N);
    v->chars[AT + N] = '\0';
    v->n_chars = AT + N + 1;
}

static void unigram_rule_that_makes_much(void **state)
{
    (void)state;
    struct tokenizer *t = make(fill_unigram_long_rule);
    struct tokens ids;
    struct err err = {0};
    tokens_init(&ids, 1u << 20);
    assert_int_equal(tokenizer_encode(t, STR("AAAA"), 0, &ids, &err), ERR_LIMIT);
    assert_non_null(strstr(err.text, "too long once normalized"));
    assert_int_equal(ids.len, 0);
    assert_int_equal(tokenizer_encode(t, STR("hello"), 0, &ids, &err), 0);
    assert_int_equal(ids.len, 2);
    tokens_release(&ids);
    tokenizer_free(t);
}

/* A piece of 65535 bytes made as many steps at each place of a text. */
static void unigram_long_pieces(void **state)
{
    (void)state;
    struct vocab_maker *v = mem_zero(1, sizeof(*v));
    struct tokenizer *t = NULL;
    struct err err = {0};
    char piece[300];
    vocab_unigram(v);
    for (int len = 256; len <= 257; len++) {
        snprintf(piece, sizeof(piece), "%0*d", len, len);
        vocab_add(v, piece, TYPE_NORMAL, -1);
        int rc = vocab_load_tokenizer(v, &t, &err);
        assert_int_equal(rc, len == 256 ? 0 : ERR_UNSUPPORTED);
        if (rc == 0)
            tokenizer_free(t);
    }
    assert_non_null(strstr(err.text, "has 257 bytes"));
    free(v);
}

static void limit_leaves_output_as_it_was(void **state)
{
    (void)state;
    struct tokenizer *t = make(fill_llama3);
    struct tokens ids;
    struct err err = {0};
    tokens_init(&ids, 4);
    assert_true(tokens_push(&ids, 7));
    assert_int_equal(tokenizer_encode(t, STR("1 2 3 4 5"), TOKENIZE_BOS_EOS, &ids, &err),
                     ERR_LIMIT);
    assert_int_equal(ids.len, 1);
    assert_int_equal(ids.id[0], 7);
    assert_non_null(strstr(err.text, "more than 4 tokens"));
    tokens_release(&ids);
    tokenizer_free(t);
}

/* Any bytes survive byte-level BPE and SentencePiece with byte tokens. */
static void bytes_round_trip(void **state)
{
    (void)state;
    struct tokenizer *kinds[] = {make(fill_gpt2), make(fill_llama3), make(vocab_spm)};
    for (size_t k = 0; k < ARRAY_LEN(kinds); k++) {
        for (uint64_t round = 0; round < 300; round++) {
            uint8_t s[64];
            size_t len = (size_t)(rng_uniform(1, k, round) * 64);
            for (size_t i = 0; i < len; i++) {
                double x = rng_uniform(2, round, i);
                s[i] = x < 0.5 ? (uint8_t) "hel ao\xC3\xA9\xE2\x96\x82\n1"[(int)(x * 26)]
                               : (uint8_t)(x * 512);
                if (k == 2 && s[i] == 0x81)
                    s[i] = 'a'; /* U+2581 becomes a space there */
            }
            struct tokens ids;
            struct buf out;
            tokens_init(&ids, 1000);
            buf_init(&out, 1000);
            struct str text = {(const char *)s, len};
            assert_int_equal(tokenizer_encode(kinds[k], text, 0, &ids, NULL), 0);
            for (size_t i = 0; i < ids.len; i++)
                assert_true(tokenizer_piece(kinds[k], ids.id[i], false, &out));
            struct str got = buf_str(&out);
            if (k == 2 && len > 0)
                got = str_from(got, 1); /* the space before the first word */
            assert_true(str_eq(got, text));
            buf_release(&out);
            tokens_release(&ids);
        }
        tokenizer_free(kinds[k]);
    }
}

static bool is_utf8(struct str s)
{
    for (size_t i = 0; i < s.len;) {
        int n = unicode_prefix((const uint8_t *)s.ptr + i, s.len - i);
        if (n <= 0)
            return false;
        i += (size_t)n;
    }
    return true;
}

/* Bytes to UTF-8, each maximal invalid part as U+FFFD, the other way than detok.c does it. */
static void replace_invalid(struct str s, struct buf *out)
{
    for (size_t i = 0; i < s.len;) {
        int n = unicode_prefix((const uint8_t *)s.ptr + i, s.len - i);
        if (n > 0) {
            buf_add(out, s.ptr + i, (size_t)n);
            i += (size_t)n;
        } else {
            buf_add_z(out, "\xEF\xBF\xBD");
            i = n == 0 ? s.len : i + (size_t)-n;
        }
    }
}

/* Any tokens in any order: valid UTF-8 after each push, and together the whole decoding. */
static void streaming_is_whole_characters(void **state)
{
    (void)state;
    struct tokenizer *kinds[] = {make(fill_gpt2), make(vocab_spm), make(vocab_bert)};
    for (size_t k = 0; k < ARRAY_LEN(kinds); k++) {
        size_t n_vocab = tokenizer_n_vocab(kinds[k]);
        for (uint64_t round = 0; round < 500; round++) {
            struct detokenizer d;
            struct buf out, raw, want;
            buf_init(&out, 100000);
            buf_init(&raw, 100000);
            buf_init(&want, 100000);
            detokenizer_init(&d, kinds[k], round % 2 == 0);
            for (uint64_t i = 0; i < 60; i++) {
                double x = rng_uniform(3, round, i);
                token_id id = (token_id)(x * (double)n_vocab);
                if (round % 3 == 0 && k < 2) /* mostly the bytes of UTF-8 sequences */
                    id = (token_id)((k ? 3 : 0) + 0x80 + (int)(x * 0x78));
                assert_true(detokenizer_push(&d, id, &out));
                assert_true(is_utf8(buf_str(&out)));
                assert_true(tokenizer_piece(kinds[k], id, false, &raw));
            }
            assert_true(detokenizer_flush(&d, &out));
            assert_int_equal(d.n_pending, 0);
            struct str bytes = buf_str(&raw);
            if (round % 2 == 0 && k > 0 && str_starts(bytes, STR(" ")))
                bytes = str_from(bytes, 1);
            replace_invalid(bytes, &want);
            assert_true(str_eq(buf_str(&out), buf_str(&want)));
            buf_release(&out);
            buf_release(&raw);
            buf_release(&want);
        }
        tokenizer_free(kinds[k]);
    }
}

static void detokenizer_special_and_start(void **state)
{
    (void)state;
    struct tokenizer *t = make(vocab_spm);
    struct detokenizer d;
    struct buf out;
    buf_init(&out, 1000);
    token_id hello = tokenizer_find(t, STR("▁hello"));
    detokenizer_init(&d, t, true);
    assert_true(detokenizer_push(&d, tokenizer_bos(t), &out));
    assert_true(detokenizer_push(&d, hello, &out));
    assert_true(detokenizer_push(&d, hello, &out));
    assert_string_equal(out.ptr, "hello hello");
    buf_clear(&out);
    detokenizer_init(&d, t, false);
    d.special = true;
    assert_true(detokenizer_push(&d, hello, &out));
    assert_true(detokenizer_push(&d, tokenizer_eos(t), &out));
    assert_string_equal(out.ptr, " hello</s>");
    buf_release(&out);
    tokenizer_free(t);
}

/* A quadratic step anywhere would make these take hours; the program's timeout sees that. */
static void a_megabyte_of_anything(void **state)
{
    (void)state;
    static const char *const units[] = {"a",
                                        " ",
                                        "\n",
                                        "<",
                                        "<s",
                                        "7",
                                        "\xCC\x81\xCC\x96",
                                        "'",
                                        "\xF0\x9F\x98\x80",
                                        "\xE4\xB8\xAD",
                                        "Aa",
                                        "hello",
                                        "\xFF",
                                        " \n",
                                        "\xE2\x96\x81",
                                        "he ll",
                                        "\xE3\x80\x80"};
    void (*const fills[])(struct vocab_maker *) = {fill_gpt2, fill_llama3, fill_qwen2,
                                                   vocab_spm, vocab_bert,  vocab_unigram};
    char *text = mem_try_array(MEGABYTE + 8, 1);
    assert_non_null(text);
    for (size_t k = 0; k < ARRAY_LEN(fills); k++) {
        struct tokenizer *t = make(fills[k]);
        for (size_t u = 0; u < ARRAY_LEN(units); u++) {
            size_t n = strlen(units[u]), len = 0;
            for (; len + n <= MEGABYTE; len += n)
                memcpy(text + len, units[u], n);
            struct tokens ids;
            tokens_init(&ids, 8 * MEGABYTE);
            assert_int_equal(tokenizer_encode(t, (struct str){text, len}, 0, &ids, NULL), 0);
            tokens_release(&ids);
        }
        tokenizer_free(t);
    }
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bpe_words),
        cmocka_unit_test(special_tokens),
        cmocka_unit_test(gap_tokens),
        cmocka_unit_test(spm_words),
        cmocka_unit_test(phi3_special_tokens),
        cmocka_unit_test(bert_words),
        cmocka_unit_test(unigram_words),
        cmocka_unit_test(unigram_rule_that_makes_much),
        cmocka_unit_test(unigram_long_pieces),
        cmocka_unit_test(limit_leaves_output_as_it_was),
        cmocka_unit_test(bytes_round_trip),
        cmocka_unit_test(streaming_is_whole_characters),
        cmocka_unit_test(detokenizer_special_and_start),
        cmocka_unit_test(a_megabyte_of_anything),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
