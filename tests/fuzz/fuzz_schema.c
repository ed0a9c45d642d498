/*
 * fuzz_schema: a schema's text to a grammar, and a walk through it: bytes of the mask, chosen by
 * the input. What is refused says why; what is taken never stands where nothing may follow.
 */
#include "base/check.h"
#include "base/mem.h"
#include "grammar/matcher.h"
#include "grammar/schema.h"

#define N_TOKEN 257
#define STEPS   96

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct vocabulary *bytes_and_end(void)
{
    static struct vocabulary *v;
    static char byte[256];
    struct vocabulary_token token[N_TOKEN] = {0};
    struct err err = {0};
    for (int i = 0; v == NULL && i < 256; i++) {
        byte[i] = (char)i;
        token[i].bytes = (struct str){&byte[i], 1};
    }
    token[N_TOKEN - 1].is_end = true;
    if (v == NULL)
        CHECK(vocabulary_new(token, N_TOKEN, &v, &err) == 0);
    return v;
}

/* The n-th token of the mask, counted around. */
static int nth_allowed(const uint32_t *mask, unsigned n)
{
    int allowed[N_TOKEN], n_allowed = 0;
    for (int i = 0; i < N_TOKEN; i++)
        if (mask[i / 32] >> i % 32 & 1)
            allowed[n_allowed++] = i;
    CHECK(n_allowed > 0);
    return allowed[n % (unsigned)n_allowed];
}

static void walk(struct grammar *g, const uint8_t *data, size_t size)
{
    struct matcher *m;
    struct err err = {0};
    uint32_t mask[(N_TOKEN + 31) / 32];
    CHECK(matcher_new(g, bytes_and_end(), &m, &err) == 0);
    for (size_t i = 0; i < STEPS; i++) {
        if (matcher_mask(m, mask, &err) != 0) {
            CHECK(err.code == ERR_LIMIT);
            break;
        }
        int t = nth_allowed(mask, (unsigned)data[i * 7 % size] + (unsigned)i);
        CHECK((mask[(N_TOKEN - 1) / 32] >> (N_TOKEN - 1) % 32 & 1) == matcher_may_end(m));
        if (t == N_TOKEN - 1)
            break;
        CHECK(matcher_accept(m, t));
    }
    matcher_free(m);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct err err = {0};
    struct grammar *g = NULL;
    if (size < 2)
        return 0;
    const struct schema_options o = {.strict = data[0] & 1, .compact = data[0] & 2};
    json_t *schema =
        json_parse((struct str){(const char *)data + 1, size - 1}, JSON_DEPTH_MAX, &err);
    if (schema == NULL)
        return 0;
    err_clear(&err);
    struct grammar_builder *b = grammar_builder_new();
    gexpr e = schema_expr(b, schema, &o, "schema", &err);
    CHECK(e >= 0 || (err.code != 0 && err.text[0] != '\0'));
    if (grammar_finish(b, e, &g, &err) == 0) {
        walk(g, data, size);
        grammar_unref(g);
    }
    grammar_builder_free(b);
    json_decref(schema);
    return 0;
}
