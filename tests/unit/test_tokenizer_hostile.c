/*
 * tokenizer: a vocabulary that is wrong is refused with a text that names the key.
 */
#include "base/mem.h"
#include "vocab_maker.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static struct vocab_maker *maker_of(void (*fill)(struct vocab_maker *))
{
    struct vocab_maker *v = mem_zero(1, sizeof(*v));
    fill(v);
    return v;
}

static void bpe(struct vocab_maker *v)
{
    vocab_bpe(v, "gpt-2");
}

static void assert_refused(struct vocab_maker *v, int code, const char *key, const char *reason)
{
    struct tokenizer *t = NULL;
    struct err err = {0};
    assert_int_equal(vocab_load_tokenizer(v, &t, &err), code);
    assert_int_equal(err.code, code);
    assert_non_null(strstr(err.text, key));
    assert_non_null(strstr(err.text, reason));
    assert_null(t);
    free(v);
}

static void wrong_kinds(void **state)
{
    (void)state;
    struct vocab_maker *v = maker_of(bpe);
    v->model = NULL;
    assert_refused(v, ERR_CORRUPT, "tokenizer.ggml.model", "missing");
    v = maker_of(bpe);
    v->model = "rot13";
    assert_refused(v, ERR_UNSUPPORTED, "tokenizer.ggml.model", "rot13");
    v = maker_of(bpe);
    v->pre = "llama-99";
    assert_refused(v, ERR_UNSUPPORTED, "tokenizer.ggml.pre", "llama-99");
    v = maker_of(bpe);
    v->pre = "gpt-2 phi-2"; /* not a name, though the table holds both in one string */
    assert_refused(v, ERR_UNSUPPORTED, "tokenizer.ggml.pre", "unknown");
}

static void missing_arrays(void **state)
{
    (void)state;
    struct vocab_maker *v = maker_of(bpe);
    v->no_tokens = true;
    assert_refused(v, ERR_CORRUPT, "tokenizer.ggml.tokens", "missing");
    v = maker_of(bpe);
    v->no_merges = true;
    assert_refused(v, ERR_CORRUPT, "tokenizer.ggml.merges", "missing");
    v = maker_of(vocab_spm);
    v->no_scores = true;
    assert_refused(v, ERR_CORRUPT, "tokenizer.ggml.scores", "missing");
    v = maker_of(bpe);
    v->n_tokens = 0;
    assert_refused(v, ERR_CORRUPT, "tokenizer.ggml.tokens", "0 tokens");
}

static void wrong_lengths(void **state)
{
    (void)state;
    struct vocab_maker *v = maker_of(bpe);
    v->n_types = 3;
    assert_refused(v, ERR_CORRUPT, "tokenizer.ggml.token_type", "has 3 elements");
    v = maker_of(vocab_spm);
    v->n_scores = 400;
    assert_refused(v, ERR_CORRUPT, "tokenizer.ggml.scores", "has 400 elements");
}

static void wrong_tokens(void **state)
{
    (void)state;
    struct vocab_maker *v = maker_of(bpe);
    vocab_add(v, "hello", TYPE_NORMAL, 0);
    assert_refused(v, ERR_CORRUPT, "tokenizer.ggml.tokens", "both 'hello'");
    v = maker_of(bpe);
    vocab_add(v, "", TYPE_NORMAL, 0);
    assert_refused(v, ERR_CORRUPT, "tokenizer.ggml.tokens", "0 bytes");
    v = maker_of(bpe);
    vocab_add(v, "x1", 7, 0);
    assert_refused(v, ERR_CORRUPT, "tokenizer.ggml.token_type", "type 7");
    v = maker_of(bpe);
    vocab_add(v, "x1", -1, 0);
    assert_refused(v, ERR_CORRUPT, "tokenizer.ggml.token_type", "type -1");
    v = maker_of(vocab_spm);
    vocab_add(v, "x1", TYPE_NORMAL, INFINITY);
    assert_refused(v, ERR_CORRUPT, "tokenizer.ggml.scores", "no number");
}

static void wrong_merges(void **state)
{
    (void)state;
    static const struct {
        const char *merge, *reason;
    } cases[] = {
        {"h o", "names a token that is not"}, /* both are there, "ho" is not */
        {"zz h", "names a token that is not"},
        {"hell", "not two tokens"},
        {"", "not two tokens"},
        {" ", "not two tokens"},
        {"h ", "names a token that is not"},
        {"h e l", "names a token that is not"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct vocab_maker *v = maker_of(bpe);
        v->merge[v->n_merges++] = cases[i].merge;
        assert_refused(v, ERR_CORRUPT, "tokenizer.ggml.merges", cases[i].reason);
    }
}

static void wrong_ids(void **state)
{
    (void)state;
    struct vocab_maker *v = maker_of(bpe);
    v->bos = 100000;
    assert_refused(v, ERR_CORRUPT, "tokenizer.ggml.bos_token_id", "100000");
    v = maker_of(vocab_bert);
    v->unk = v->n_tokens;
    assert_refused(v, ERR_CORRUPT, "tokenizer.ggml.unknown_token_id", "tokens");
}

/* A vocabulary without what its kind takes for granted still encodes: to less, never to a crash. */
static void poor_vocabularies(void **state)
{
    (void)state;
    struct vocab_maker *v[3];
    for (int k = 0; k < 3; k++) {
        v[k] = mem_zero(1, sizeof(*v[k]));
        *v[k] = (struct vocab_maker){.pre = "gpt-2", .bos = -1, .eos = -1, .unk = -1};
        v[k]->model = k == 0 ? "gpt2" : k == 1 ? "llama" : "bert";
        vocab_add(v[k], "x", TYPE_NORMAL, 0);
        struct tokenizer *t = NULL;
        struct tokens ids;
        tokens_init(&ids, 100);
        assert_int_equal(vocab_load_tokenizer(v[k], &t, NULL), 0);
        assert_int_equal(tokenizer_encode(t, STR("hello x\xFF"),
                                          TOKENIZE_SPECIAL | TOKENIZE_BOS_EOS, &ids, NULL),
                         0);
        tokens_release(&ids);
        tokenizer_free(t);
        free(v[k]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wrong_kinds),       cmocka_unit_test(missing_arrays),
        cmocka_unit_test(wrong_lengths),     cmocka_unit_test(wrong_tokens),
        cmocka_unit_test(wrong_merges),      cmocka_unit_test(wrong_ids),
        cmocka_unit_test(poor_vocabularies),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
