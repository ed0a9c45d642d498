/*
 * mask_speed MODEL.gguf: what a mask of tokens costs with the model's vocabulary, the first time
 * and cached, along texts that the grammars allow (docs/structured-output.md).
 */
#include "base/mem.h"
#include "format/gguf.h"
#include "worker/form.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define STRING_RULE                                                                                \
    "string ::= \"\\\"\" char* \"\\\"\"\n"                                                         \
    "char ::= [^\"\\\\\\x00-\\x1f] | \"\\\\\" ([\"\\\\/bfnrt] | \"u\" [0-9a-fA-F]{4})\n"
#define NUMBER_RULE                                                                                \
    "number ::= \"-\"? (\"0\" | [1-9] [0-9]*) (\".\" [0-9]+)? ([eE] [-+]? [0-9]+)?\n"

static const char person[] =
    "root ::= \"{\\\"name\\\": \" string \", \\\"age\\\": \" number \", \\\"email\\\": \" mail \", "
    "\\\"tags\\\": [\" (string (\", \" string){0,9})? \"], \\\"address\\\": \" address \", "
    "\\\"status\\\": \" (\"\\\"active\\\"\" | \"\\\"inactive\\\"\" | \"\\\"banned\\\"\") \"}\"\n"
    "address ::= \"{\\\"street\\\": \" short \", \\\"city\\\": \" string \", \\\"zip\\\": \\\"\" "
    "[0-9]{5} \"\\\"}\"\n"
    "short ::= \"\\\"\" char{1,40} \"\\\"\"\n"
    "mail ::= \"\\\"\" [a-z0-9._]+ \"@\" [a-z0-9]+ (\".\" [a-z]{2,6})+ \"\\\"\"\n" STRING_RULE
        NUMBER_RULE;
static const char person_text[] =
    "{\"name\": \"Ada Lovelace\", \"age\": 36, \"email\": \"ada.l@example.com\", \"tags\": "
    "[\"mathematics\", \"the first program\", \"na\xc3\xafve \\\"quotes\\\"\"], \"address\": "
    "{\"street\": \"12 St James's Square\", \"city\": \"London\", \"zip\": \"10117\"}, "
    "\"status\": \"active\"}";

static const char any_json[] =
    "root ::= object\nvalue ::= object | array | string | number | \"true\" | \"false\" | "
    "\"null\"\n"
    "ws ::= [ \\n]{0,2}\n"
    "object ::= \"{\" ws (member (\",\" ws member)*)? \"}\"\n"
    "member ::= string \":\" ws value ws\n"
    "array ::= \"[\" ws (value ws (\",\" ws value ws)*)? \"]\"\n" STRING_RULE NUMBER_RULE;
static const char any_text[] =
    "{\"title\": \"A report\", \"sections\": [{\"name\": \"One\", \"pages\": [1, 2, 30], "
    "\"done\": true}, {\"name\": \"Two: the sea\", \"pages\": [], \"note\": null}], "
    "\"score\": -12.5e3, \"text\": \"Once upon a time there was a fox who lived by a river.\"}";

/* Of this thread: other programs do not count. */
static int64_t cpu_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

struct cost {
    double mask_us, mask_max_us, accept_us;
    int n, n_forced;
};

static struct cost walk(struct grammar *g, const struct vocabulary *v, const struct tokens *text,
                        const struct tokenizer *t, uint32_t *mask)
{
    struct cost c = {0};
    struct matcher *m;
    struct err err;
    if (matcher_new(g, v, &m, &err) != 0)
        return c;
    for (size_t i = 0; i < text->len; i++, c.n++) {
        char forced[128];
        int64_t start = cpu_ns();
        size_t n = matcher_forced(m, forced, sizeof(forced));
        bool is_forced = n > 1 && form_force((void *)(uintptr_t)t, (struct str){forced, n}) >= 0;
        c.n_forced += is_forced;
        if (!is_forced && matcher_mask(m, mask, &err) != 0)
            printf("token %zu: %s\n", i, err.text);
        double us = (double)(cpu_ns() - start) * 1e-3;
        c.mask_us += us;
        c.mask_max_us = us > c.mask_max_us ? us : c.mask_max_us;
        start = cpu_ns();
        if (!matcher_accept(m, text->id[i]))
            printf("token %zu is not allowed\n", i);
        c.accept_us += (double)(cpu_ns() - start) * 1e-3;
    }
    printf("  %3d tokens (%d of them forced): mask %8.1f us on average, %8.1f us at most; "
           "accept %5.2f us\n",
           c.n, c.n_forced, c.mask_us / c.n, c.mask_max_us, c.accept_us / c.n);
    matcher_free(m);
    return c;
}

static int measure(struct forms *f, const struct tokenizer *t, int n_vocab, const char *name,
                   const char *grammar, struct str text, struct err *err)
{
    struct gen_request r;
    gen_request_init(&r);
    r.constraint = json_pack("{s:s, s:s}", "type", "gbnf", "grammar", grammar);
    struct grammar *g;
    const struct vocabulary *v;
    int64_t start = cpu_ns();
    int rc = forms_get(f, &r, &(struct form_place){0}, &g, &v, err);
    gen_request_release(&r);
    if (rc != 0)
        return rc;
    printf("%s: %.1f ms to compile (the first one: with the vocabulary)\n", name,
           (double)(cpu_ns() - start) * 1e-6);
    struct tokens tokens;
    tokens_init(&tokens, 4096);
    uint32_t *mask = mem_zero((size_t)n_vocab / 32 + 1, sizeof(*mask));
    rc = tokenizer_encode(t, text, 0, &tokens, err);
    for (int i = 0; rc == 0 && i < 3; i++)
        walk(g, v, &tokens, t, mask);
    printf("  %.2f MiB with its masks\n", (double)grammar_bytes(g) / (1 << 20));
    free(mask);
    tokens_release(&tokens);
    grammar_unref(g);
    return rc;
}

static int run(const char *path, struct err *err)
{
    struct gguf *g;
    struct tokenizer *t;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    int rc = fd < 0 ? err_set(err, ERR_IO, "cannot open %s", path) : gguf_open_fds(&fd, 1, &g, err);
    if (rc != 0)
        return rc;
    rc = tokenizer_new(g, &t, err);
    if (rc == 0) {
        int n_vocab = (int)tokenizer_n_vocab(t);
        struct forms *f = forms_new(t, n_vocab);
        printf("%d tokens\n", n_vocab);
        rc = measure(f, t, n_vocab, "an object of seven members", person,
                     (struct str){person_text, sizeof(person_text) - 1}, err);
        if (rc == 0)
            rc = measure(f, t, n_vocab, "any JSON object", any_json,
                         (struct str){any_text, sizeof(any_text) - 1}, err);
        forms_free(f);
        tokenizer_free(t);
    }
    gguf_free(g);
    return rc;
}

int main(int argc, char **argv)
{
    struct err err = {0};
    if (argc != 2) {
        fprintf(stderr, "mask_speed MODEL.gguf\n");
        return 2;
    }
    int rc = run(argv[1], &err);
    if (rc != 0)
        fprintf(stderr, "%s\n", err.text);
    return rc != 0;
}
