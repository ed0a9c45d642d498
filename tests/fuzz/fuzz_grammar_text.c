/*
 * fuzz_grammar_text: GBNF, or a regular expression, to a grammar, and a walk through it: tokens of
 * the mask, chosen by the input. What is refused says why; what the mask allows is taken; what
 * must come is allowed.
 */
#include "base/check.h"
#include "grammar/gbnf.h"
#include "grammar/matcher.h"
#include "grammar/regex.h"

#define N_TOKEN 262
#define STEPS   64

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct vocabulary *tokens(void)
{
    static struct vocabulary *v;
    static char byte[256];
    static const struct str more[] = {STR("ab"), STR("aaaa"), STR("\", \""), STR("\xc3"),
                                      STR("\xa4\xc3")};
    struct vocabulary_token token[N_TOKEN] = {0};
    struct err err = {0};
    for (int i = 0; v == NULL && i < 256; i++) {
        byte[i] = (char)i;
        token[i].bytes = (struct str){&byte[i], 1};
    }
    for (int i = 256; v == NULL && i < N_TOKEN - 1; i++)
        token[i].bytes = more[i - 256];
    token[N_TOKEN - 1].is_end = true;
    if (v == NULL)
        CHECK(vocabulary_new(token, N_TOKEN, &v, &err) == 0);
    return v;
}

static bool allows(const uint32_t *mask, int token)
{
    return mask[token / 32] >> token % 32 & 1;
}

/* One step; false: it is over. */
static bool step(struct matcher *m, unsigned choice)
{
    uint32_t mask[(N_TOKEN + 31) / 32];
    struct err err = {0};
    char forced[64];
    if (matcher_mask(m, mask, &err) != 0) {
        CHECK(err.code == ERR_LIMIT && err.text[0]);
        return false;
    }
    size_t n = matcher_forced(m, forced, sizeof(forced));
    CHECK(n == 0 || allows(mask, (uint8_t)forced[0]));
    int token = (int)(choice % N_TOKEN);
    while (!allows(mask, token))
        token = (token + 1) % N_TOKEN;
    CHECK(allows(mask, N_TOKEN - 1) == matcher_may_end(m));
    return token != N_TOKEN - 1 && matcher_accept(m, token);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    struct grammar_builder *b = grammar_builder_new();
    struct str text = {(const char *)data + 1, size - 1};
    struct regex_options o = {.search = data[0] & 2, .json_string = data[0] & 4};
    struct err err = {0};
    struct grammar *g;
    gexpr e = data[0] & 1 ? gbnf_expr(b, text, "grammar", &err)
                          : regex_expr(b, text, &o, "pattern", &err);
    CHECK(e >= 0 || (err.code != 0 && err.text[0]));
    if (grammar_finish(b, e, &g, &err) == 0) {
        struct matcher *m;
        CHECK(matcher_new(g, tokens(), &m, &err) == 0);
        for (size_t i = 0; i < STEPS && step(m, data[i * 7 % size] + (unsigned)i * 31); i++)
            ;
        matcher_free(m);
        grammar_unref(g);
    }
    grammar_builder_free(b);
    return 0;
}
