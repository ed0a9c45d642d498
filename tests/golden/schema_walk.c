/*
 * schema_walk: random answers to schemas, for test_schema_samples.py. Reads one JSON object a line:
 *   {"schema": ..., "strict": bool, "compact": bool, "samples": n, "seed": n, "tokens": n,
 *    "texts": ["...", ...]}
 * and writes one:
 *   {"error": {"code": "...", "text": "..."}}, or
 *   {"samples": [{"text": "...", "ended": bool}, ...], "accepted": [bool, ...]}
 *
 * A sample is made as a model would: any token of the mask, of a vocabulary of single bytes and of
 * longer pieces that cross the borders of JSON. After `tokens` of them it goes where the text ends
 * soonest; `ended` is false when that was not reached. `accepted` says of each text whether the
 * grammar takes it whole.
 */
#include "base/check.h"
#include "base/mem.h"
#include "base/rng.h"
#include "grammar/matcher.h"
#include "grammar/schema.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const pieces[] = {
    "{\"",
    "\":",
    "\": ",
    "\",",
    "\", \"",
    "\"}",
    "\"],",
    "},",
    "}}",
    "]}",
    "[[",
    "[]",
    "{}",
    "[\"",
    "true",
    "false",
    "null",
    "1",
    "12",
    "2024",
    "-0",
    "0.",
    ".5",
    "e+",
    "00",
    "a",
    "ab",
    "abc",
    "the",
    " the",
    "\n  ",
    "\n    ",
    "  ",
    ", ",
    ",\n",
    "\xc3\xa9",
    "\xf0\x9f\x98\x80",
    "\\n",
    "\\u00",
    "\\\"",
    "x_",
    "-01-",
    "T12:",
    ":00",
    "://",
    ".com",
    "@",
    "::",
    "ffff",
    "name",
};
#define N_PIECE ((int)ARRAY_LEN(pieces))
#define N_TOKEN (256 + N_PIECE + 1)
#define END     (N_TOKEN - 1)
#define FACTOR  20 /* how much longer it may take to end */

static struct vocabulary_token token[N_TOKEN];

static bool has(const uint32_t *mask, int i)
{
    return mask[i / 32] >> i % 32 & 1;
}

static int any_token(const uint32_t *mask, uint64_t *draw, uint64_t seed)
{
    int allowed[N_TOKEN], n = 0;
    for (int i = 0; i < N_TOKEN; i++)
        if (has(mask, i))
            allowed[n++] = i;
    CHECK(n > 0);
    uint32_t word[4];
    rng_philox(seed, 0, (*draw)++, word);
    uint32_t r = word[0];
    /* brackets and quotes are few among many: they come up more often than by chance */
    for (int i = 0; i < n && r % 3 == 0; i++)
        if (allowed[i] == '"' || allowed[i] == '}' || allowed[i] == ']' || allowed[i] == END)
            return allowed[i];
    return allowed[word[1] % (uint32_t)n];
}

static int closing_token(const uint32_t *mask, uint64_t *draw, uint64_t seed)
{
    static const char first[] = "\"}]ntf0:1,";
    if (has(mask, END))
        return END;
    for (const char *c = first; *c; c++)
        if (has(mask, *c))
            return *c;
    return any_token(mask, draw, seed);
}

static json_t *sample(struct grammar *g, const struct vocabulary *v, uint64_t seed, int n_token)
{
    struct matcher *m = NULL;
    struct err err = {0};
    struct buf text;
    uint32_t mask[(N_TOKEN + 31) / 32];
    uint64_t draw = 0;
    bool ended = false;
    buf_init(&text, 1 << 20);
    CHECK(matcher_new(g, v, &m, &err) == 0);
    for (int i = 0; i < n_token * FACTOR && !ended; i++) {
        if (matcher_mask(m, mask, &err) != 0) {
            fprintf(stderr, "schema_walk: %s\n", err.text);
            break;
        }
        int t = i < n_token ? any_token(mask, &draw, seed) : closing_token(mask, &draw, seed);
        CHECK(has(mask, END) == matcher_may_end(m));
        ended = t == END;
        if (!ended) {
            CHECK(matcher_accept(m, t));
            CHECK(buf_add_str(&text, token[t].bytes));
        }
    }
    matcher_free(m);
    json_t *whole = ended ? json_stringn(text.ptr ? text.ptr : "", text.len) : NULL;
    CHECK(!ended || whole); /* NULL: not UTF-8 */
    buf_release(&text);
    return json_pack("{s:o*, s:b}", "text", whole, "ended", ended);
}

static bool accepts(struct grammar *g, const struct vocabulary *v, struct str text)
{
    struct matcher *m = NULL;
    struct err err = {0};
    bool ok = true;
    CHECK(matcher_new(g, v, &m, &err) == 0);
    for (size_t i = 0; ok && i < text.len; i++)
        ok = matcher_accept(m, (unsigned char)text.ptr[i]);
    ok = ok && matcher_may_end(m);
    matcher_free(m);
    return ok;
}

static json_t *refusal(const struct err *err)
{
    return json_pack("{s:{s:s, s:s}}", "error", "code", err_word(err->code), "text", err->text);
}

static json_t *answer(const json_t *job, const struct vocabulary *v)
{
    const struct schema_options o = {.strict = json_is_true(json_object_get(job, "strict")),
                                     .compact = json_is_true(json_object_get(job, "compact"))};
    struct grammar_builder *b = grammar_builder_new();
    struct grammar *g = NULL;
    struct err err = {0};
    gexpr e = schema_expr(b, json_object_get(job, "schema"), &o, "schema", &err);
    int rc = grammar_finish(b, e, &g, e < 0 ? NULL : &err);
    grammar_builder_free(b);
    if (rc != 0)
        return refusal(&err);
    json_t *samples = json_array(), *accepted = json_array(), *text;
    uint64_t seed = (uint64_t)json_integer_value(json_object_get(job, "seed"));
    int n = (int)json_integer_value(json_object_get(job, "samples"));
    int n_token = (int)json_integer_value(json_object_get(job, "tokens"));
    size_t i;
    for (int k = 0; k < n; k++)
        json_array_append_new(samples, sample(g, v, seed + (uint64_t)k, n_token));
    json_array_foreach(json_object_get(job, "texts"), i, text)
        json_array_append_new(accepted, json_boolean(accepts(g, v, json_str(text))));
    json_t *ret = json_pack("{s:o, s:o, s:I}", "samples", samples, "accepted", accepted, "bytes",
                            (json_int_t)grammar_bytes(g));
    grammar_unref(g);
    return ret;
}

int main(void)
{
    static char byte[256];
    struct vocabulary *v = NULL;
    struct err err = {0};
    char *line = NULL;
    size_t cap = 0;
    ssize_t len;
    for (int i = 0; i < 256; i++) {
        byte[i] = (char)i;
        token[i].bytes = (struct str){&byte[i], 1};
    }
    for (int i = 0; i < N_PIECE; i++)
        token[256 + i].bytes = str_z(pieces[i]);
    token[END].is_end = true;
    CHECK(vocabulary_new(token, N_TOKEN, &v, &err) == 0);
    while ((len = getline(&line, &cap, stdin)) > 0) {
        json_t *job = json_parse((struct str){line, (size_t)len}, JSON_DEPTH_MAX, &err);
        json_t *out = job ? answer(job, v) : refusal(&err);
        CHECK(out && json_dumpf(out, stdout, JSON_COMPACT) == 0);
        putchar('\n');
        fflush(stdout);
        json_decref(out);
        json_decref(job);
    }
    free(line);
    vocabulary_free(v);
    return 0;
}
