/*
 * tool_walk: random answers that call tools, for test_tool_samples.py. Reads one JSON object a
 * line:
 *   {"template": "...", "tools": [...], "choice": "auto" | "required", "name": "...", "one": bool,
 *    "think": "default" | "off", "loose": bool, "control": ["<tool_call>", ...], "pieces": [...],
 *    "samples": n, "seed": n, "tokens": n, "texts": ["...", ...], "cut": bool}
 * and writes one:
 *   {"error": {"code": "...", "text": "..."}}, or
 *   {"dialect": "...", "samples": [{"text", "ended", "content", "thoughts",
 *    "calls": [[name, arguments], ...]}, ...], "accepted": [bool, ...]}
 *
 * The grammar is the worker's own; a sample is made as a model would, any token of the mask, of a
 * vocabulary of single bytes, longer pieces and control tokens, and read by the dialect's parser.
 * After `tokens` of them it goes where the text ends soonest. `loose`: as where the schemas are too
 * large. `cut`: what is read ends in the middle.
 */
#include "base/check.h"
#include "base/mem.h"
#include "base/rng.h"
#include "grammar/matcher.h"
#include "text/answer_parser.h"
#include "text/chat.h"
#include "worker/form.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define N_TOKEN_MAX 1024
#define FACTOR      30 /* how much longer it may take to end */

struct tokens_of_test {
    char byte[256];
    struct vocabulary_token token[N_TOKEN_MAX];
    int n, n_piece, end; /* pieces from 256 on */
};

static bool has(const uint32_t *mask, int i)
{
    return mask[i / 32] >> i % 32 & 1;
}

static void add_tokens(struct tokens_of_test *t, const json_t *texts, bool is_control)
{
    const json_t *text;
    size_t i;
    json_array_foreach(texts, i, text)
    {
        CHECK(t->n < N_TOKEN_MAX - 1);
        t->token[t->n++] =
            (struct vocabulary_token){.bytes = json_str(text), .is_control = is_control};
    }
}

static void make_tokens(struct tokens_of_test *t, const json_t *job)
{
    *t = (struct tokens_of_test){.n = 256};
    for (int i = 0; i < 256; i++) {
        t->byte[i] = (char)i;
        t->token[i].bytes = (struct str){&t->byte[i], 1};
    }
    add_tokens(t, json_object_get(job, "control"), true);
    add_tokens(t, json_object_get(job, "pieces"), false);
    t->end = t->n++;
    t->token[t->end].is_end = true;
}

/* ---- drawing ---- */

static uint32_t draw_word(uint64_t *draw, uint64_t seed)
{
    uint32_t word[4];
    rng_philox(seed, 0, (*draw)++, word);
    return word[0];
}

/* Pieces and control tokens come up more often than single bytes. */
static int any_token(const struct tokens_of_test *t, const uint32_t *mask, uint64_t *draw,
                     uint64_t seed)
{
    int allowed[N_TOKEN_MAX], n = 0, from = 0;
    for (int i = 0; i < t->n; i++) {
        from = i == 256 ? n : from;
        if (has(mask, i))
            allowed[n++] = i;
    }
    CHECK(n > 0);
    uint32_t r = draw_word(draw, seed);
    if (r % 2 == 0 && from < n)
        return allowed[from + (int)(draw_word(draw, seed) % (uint32_t)(n - from))];
    return allowed[draw_word(draw, seed) % (uint32_t)n];
}

static int closing_token(const struct tokens_of_test *t, const uint32_t *mask, uint64_t *draw,
                         uint64_t seed)
{
    static const char first[] = "\"'}])\nntfNTF0:=1,";
    if (has(mask, t->end))
        return t->end;
    uint32_t r = draw_word(draw, seed);
    for (const char *c = first; *c && r % 4 == 1; c++)
        if (has(mask, *c))
            return *c;
    for (int i = 0, n = t->end - 256; i < n && r % 4 != 0; i++) {
        int k = 256 + (int)((r / 4 + (uint32_t)i) % (uint32_t)n);
        if (has(mask, k))
            return k;
    }
    for (const char *c = first; *c; c++)
        if (has(mask, *c))
            return *c;
    return any_token(t, mask, draw, seed);
}

static bool sample(struct grammar *g, const struct vocabulary *v, const struct tokens_of_test *t,
                   uint64_t seed, int n_token, struct buf *text)
{
    struct matcher *m = NULL;
    struct err err = {0};
    uint32_t mask[(N_TOKEN_MAX + 31) / 32] = {0};
    uint64_t draw = 0;
    bool ended = false;
    CHECK(matcher_new(g, v, &m, &err) == 0);
    for (int i = 0; i < n_token * FACTOR && !ended; i++) {
        if (matcher_mask(m, mask, &err) != 0) {
            fprintf(stderr, "tool_walk: %s\n", err.text);
            break;
        }
        int k = i < n_token ? any_token(t, mask, &draw, seed) : closing_token(t, mask, &draw, seed);
        ended = k == t->end;
        CHECK(ended ? matcher_may_end(m) : matcher_accept(m, k));
        CHECK(ended || buf_add_str(text, t->token[k].bytes));
    }
    matcher_free(m);
    return ended;
}

/* A text as bytes, with control tokens where their names stand. */
static bool accepts(struct grammar *g, const struct vocabulary *v, const struct tokens_of_test *t,
                    struct str text)
{
    struct matcher *m = NULL;
    struct err err = {0};
    bool ok = true;
    CHECK(matcher_new(g, v, &m, &err) == 0);
    while (ok && text.len > 0) {
        int k = 256;
        while (k < t->n && !(t->token[k].is_control && str_starts(text, t->token[k].bytes)))
            k++;
        k = k < t->n ? k : (unsigned char)text.ptr[0];
        ok = matcher_accept(m, k);
        text = str_from(text, t->token[k].bytes.len);
    }
    ok = ok && matcher_may_end(m);
    matcher_free(m);
    return ok;
}

/* ---- reading ---- */

struct reading {
    json_t *calls;
    struct buf args, content, thoughts;
};

static json_t *text_of(const struct buf *b)
{
    json_t *text = json_stringn(b->ptr ? b->ptr : "", b->len);
    return text ? text : json_null();
}

static void end_call(struct reading *r)
{
    json_t *last = json_array_get(r->calls, json_array_size(r->calls) - 1);
    if (last)
        json_array_append_new(last, text_of(&r->args));
    buf_clear(&r->args);
}

static void on_text(void *ctx, enum answer_channel channel, struct str text)
{
    struct reading *r = ctx;
    buf_add_str(channel == ANSWER_CALL      ? &r->args
                : channel == ANSWER_THOUGHT ? &r->thoughts
                                            : &r->content,
                text);
}

static void on_call(void *ctx, struct str name)
{
    struct reading *r = ctx;
    end_call(r);
    json_array_append_new(r->calls, json_pack("[s%]", name.ptr, name.len));
}

static json_t *read_answer(const struct answer_options *o, struct str text, bool is_cut)
{
    struct reading r = {.calls = json_array()};
    buf_init(&r.args, 1 << 24);
    buf_init(&r.content, 1 << 24);
    buf_init(&r.thoughts, 1 << 24);
    struct answer_parser *p = answer_parser_new(o, &(struct answer_sink){&r, on_text, on_call});
    answer_parser_push(p, text);
    answer_parser_finish(p, is_cut);
    answer_parser_free(p);
    end_call(&r);
    json_t *ret = json_pack("{s:o, s:o, s:o}", "calls", r.calls, "content", text_of(&r.content),
                            "thoughts", text_of(&r.thoughts));
    buf_release(&r.args);
    buf_release(&r.content);
    buf_release(&r.thoughts);
    return ret;
}

/* ---- one job ---- */

static bool is_true(const json_t *job, const char *key)
{
    return json_is_true(json_object_get(job, key));
}

static int i64(const json_t *job, const char *key)
{
    return (int)json_integer_value(json_object_get(job, key));
}

static json_t *samples_of(const json_t *job, struct grammar *g, const struct vocabulary *v,
                          const struct tokens_of_test *t, const struct answer_options *o)
{
    json_t *samples = json_array();
    for (int k = 0; k < i64(job, "samples"); k++) {
        struct buf text;
        buf_init(&text, 1 << 24);
        uint64_t seed = (uint64_t)i64(job, "seed") + (uint64_t)k;
        bool ended = sample(g, v, t, seed, i64(job, "tokens"), &text), cut = is_true(job, "cut");
        size_t len = cut && seed % 4 != 0 ? seed * 7919 % (text.len + 1) : text.len;
        while (len > 0 && len < text.len && (text.ptr[len] & 0xC0) == 0x80)
            len--; /* not within a character */
        json_t *one = read_answer(o, str_sub(buf_str(&text), 0, len), cut);
        buf_truncate(&text, len);
        json_object_set_new(one, "text", text_of(&text));
        json_object_set_new(one, "ended", json_boolean(ended));
        json_array_append_new(samples, one);
        buf_release(&text);
    }
    return samples;
}

static int make_grammar(struct gen_request *r, const struct form_place *place, struct grammar **ret,
                        struct err *err)
{
    struct grammar_builder *b = grammar_builder_new();
    gexpr e = form_is_wanted(r, place) ? form_expr(b, r, place, err) : -1;
    int rc = grammar_finish(b, e, ret, e < 0 && err->code != 0 ? NULL : err);
    grammar_builder_free(b);
    return rc;
}

static json_t *answer(json_t *job)
{
    struct gen_request r;
    struct chat *c = NULL;
    struct grammar *g = NULL;
    struct vocabulary *v = NULL;
    struct err err = {0};
    struct tokens_of_test *t = mem_zero(1, sizeof(*t));
    json_t *ret = NULL, *accepted = json_array(), *text;
    size_t i;
    gen_request_init(&r);
    r.chat = json_pack("{s:O}", "tools", json_object_get(job, "tools"));
    bool required = str_eq_z(json_str(json_object_get(job, "choice")), "required");
    r.tool_choice = required ? GEN_TOOLS_REQUIRED : GEN_TOOLS_AUTO;
    r.think = str_eq_z(json_str(json_object_get(job, "think")), "off") ? GEN_THINK_OFF
                                                                       : GEN_THINK_DEFAULT;
    r.one_tool_call = is_true(job, "one");
    const char *name = json_string_value(json_object_get(job, "name"));
    r.tool_name = name ? str_dup(str_z(name)) : NULL;
    make_tokens(t, job);
    int rc =
        chat_new(json_str(json_object_get(job, "template")), STR("<s>"), STR("</s>"), &c, &err);
    if (rc == 0) {
        const struct form_place place = {.dialect = chat_dialect(c),
                                         .any_args = is_true(job, "loose")};
        rc = make_grammar(&r, &place, &g, &err);
    }
    rc = rc != 0 ? rc : vocabulary_new(t->token, (size_t)t->n, &v, &err);
    if (rc == 0) {
        const struct answer_options o = {.dialect = chat_dialect(c),
                                         .tools = json_object_get(job, "tools"),
                                         .must_call = required};
        json_array_foreach(json_object_get(job, "texts"), i, text)
            json_array_append_new(accepted, json_boolean(accepts(g, v, t, json_str(text))));
        ret = json_pack("{s:s, s:o, s:O}", "dialect", chat_dialect(c)->name, "samples",
                        samples_of(job, g, v, t, &o), "accepted", accepted);
    } else {
        ret = json_pack("{s:{s:s, s:s}}", "error", "code", err_word(err.code), "text", err.text);
    }
    json_decref(accepted);
    gen_request_release(&r);
    grammar_unref(g);
    vocabulary_free(v);
    chat_free(c);
    free(t);
    return ret;
}

int main(void)
{
    struct err err = {0};
    char *line = NULL;
    size_t cap = 0;
    ssize_t len;
    while ((len = getline(&line, &cap, stdin)) > 0) {
        json_t *job = json_parse((struct str){line, (size_t)len}, JSON_DEPTH_MAX, &err);
        json_t *out = job ? answer(job) : json_pack("{s:s}", "error", err.text);
        CHECK(out && json_dumpf(out, stdout, JSON_COMPACT) == 0);
        putchar('\n');
        fflush(stdout);
        json_decref(out);
        json_decref(job);
    }
    free(line);
    return 0;
}
