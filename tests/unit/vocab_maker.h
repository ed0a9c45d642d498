/*
 * vocab_maker: small vocabularies as GGUF bytes, for tests of the tokenizers. Header only.
 */
#ifndef HEARTH_TESTS_VOCAB_MAKER_H
#define HEARTH_TESTS_VOCAB_MAKER_H

#include "gguf_maker.h"
#include "text/tokenizer.h"
#include "text/tokenizer_impl.h"
#include "text/unicode.h"

#include <stdio.h>

enum { VOCAB_TOKENS_MAX = 600 };

struct vocab_token {
    char text[320];
    int type;
    float score;
};

struct vocab_maker {
    const char *model, *pre, *name; /* name: general.name, or NULL */
    struct vocab_token token[VOCAB_TOKENS_MAX];
    const char *merge[32];
    int n_tokens, n_merges;
    int bos, eos, unk; /* -1: no key */
    bool no_types, no_scores, no_merges, no_tokens;
    uint8_t chars[8192];   /* precompiled_charsmap, */
    int n_chars;           /* bytes of it */
    int n_types, n_scores; /* as many are written; 0: as many as tokens */
};

static inline int vocab_add(struct vocab_maker *v, const char *text, int type, float score)
{
    struct vocab_token *t = &v->token[v->n_tokens];
    snprintf(t->text, sizeof(t->text), "%s", text);
    t->type = type;
    t->score = score;
    return v->n_tokens++;
}

/* 0..255 are the bytes, 256 on: a few merged ones, then special tokens. */
static inline void vocab_bpe(struct vocab_maker *v, const char *pre)
{
    static const char *const merges[] = {"h e", "l l", "he ll", "hell o",    "Ġ w",
                                         "Ġ Ġ", "a a", "aa aa", "aaaa aaaa", "Ã ©"};
    *v = (struct vocab_maker){.model = "gpt2", .pre = pre, .bos = -1, .eos = -1, .unk = -1};
    for (int b = 0; b < 256; b++) {
        char text[8] = {0};
        unicode_encode(byte_to_char((uint8_t)b), (uint8_t *)text);
        vocab_add(v, text, TYPE_NORMAL, 0);
    }
    for (size_t i = 0; i < sizeof(merges) / sizeof(merges[0]); i++) {
        char text[64];
        const char *cut = strchr(merges[i], ' ');
        snprintf(text, sizeof(text), "%.*s%s", (int)(cut - merges[i]), merges[i], cut + 1);
        vocab_add(v, text, TYPE_NORMAL, 0);
        v->merge[v->n_merges++] = merges[i];
    }
    v->bos = vocab_add(v, "<s>", TYPE_CONTROL, 0);
    v->eos = vocab_add(v, "</s>", TYPE_CONTROL, 0);
    vocab_add(v, "<s><s>", TYPE_CONTROL, 0);
    vocab_add(v, "<tool>", TYPE_USER, 0);
    vocab_add(v, "<|im_end|>", TYPE_NORMAL, 0); /* mistyped, as files in the wild have it */
}

static inline void vocab_spm(struct vocab_maker *v)
{
    static const char *const pieces[] = {
        "▁",  "h",   "e",     "l",      "o",  "w",    "a",  "é", "he", "ll", "hell", "hello", "▁h",
        "▁w", "▁he", "▁hell", "▁hello", "aa", "aaaa", "▁▁", "<", "s",  ">",  "<s",   "/"};
    *v = (struct vocab_maker){.model = "llama", .pre = "default", .bos = 1, .eos = 2, .unk = 0};
    vocab_add(v, "<unk>", TYPE_UNKNOWN, 0);
    vocab_add(v, "<s>", TYPE_CONTROL, 0);
    vocab_add(v, "</s>", TYPE_CONTROL, 0);
    for (int b = 0; b < 256; b++) {
        char text[8];
        snprintf(text, sizeof(text), "<0x%02X>", (unsigned)b);
        vocab_add(v, text, TYPE_BYTE, 0);
    }
    for (size_t i = 0; i < sizeof(pieces) / sizeof(pieces[0]); i++)
        vocab_add(v, pieces[i], TYPE_NORMAL, -(float)i - 1);
    vocab_add(v, "<tool>", TYPE_USER, -1000);
}

static inline void vocab_bert(struct vocab_maker *v)
{
    static const char *const pieces[] = {"▁hello", "▁wor", "ld", "▁a", "a", "▁,", "▁中", "▁e"};
    *v = (struct vocab_maker){.model = "bert", .pre = "bert", .bos = -1, .eos = -1, .unk = 1};
    vocab_add(v, "[PAD]", TYPE_CONTROL, 0);
    vocab_add(v, "[UNK]", TYPE_CONTROL, 0);
    for (size_t i = 0; i < sizeof(pieces) / sizeof(pieces[0]); i++)
        vocab_add(v, pieces[i], TYPE_NORMAL, 0);
}

/* Two rules in a double array of 512 units: "A" becomes "a", and a tab a space. */
static inline void vocab_charsmap(struct vocab_maker *v)
{
    static const char texts[] = "a\0 ";
    uint32_t unit[512] = {[0] = 256u << 10};
    const uint8_t from[] = {'A', '\t'};
    for (uint32_t i = 0; i < 2; i++) {
        uint32_t at = 256u ^ from[i];
        unit[at] = from[i] | 0x100u | 2u << 10;
        unit[at ^ 2u] = 0x80000000u | 2 * i;
    }
    const uint32_t n = sizeof(unit);
    memcpy(v->chars, &n, sizeof(n));
    memcpy(v->chars + 4, unit, n);
    memcpy(v->chars + 4 + n, texts, sizeof(texts));
    v->n_chars = (int)(4 + n + sizeof(texts));
}

static inline void vocab_unigram(struct vocab_maker *v)
{
    static const char *const pieces[] = {"▁", "h",  "e",     "l",     "o",
                                         "a", "he", "hello", "▁hell", "aa"};
    *v = (struct vocab_maker){.model = "t5", .pre = "default", .bos = 0, .eos = 1, .unk = 2};
    vocab_add(v, "<s>", TYPE_CONTROL, 0);
    vocab_add(v, "</s>", TYPE_CONTROL, 0);
    vocab_add(v, "<unk>", TYPE_UNKNOWN, 0);
    for (size_t i = 0; i < sizeof(pieces) / sizeof(pieces[0]); i++)
        vocab_add(v, pieces[i], TYPE_NORMAL, -(float)(i % 3) - 1);
    vocab_add(v, "<tool>", TYPE_USER, 0);
    vocab_charsmap(v);
}

static inline void vocab_write_arrays(const struct vocab_maker *v, struct maker *m)
{
    int n_types = v->n_types ? v->n_types : v->n_tokens;
    int n_scores = v->n_scores ? v->n_scores : v->n_tokens;
    if (!v->no_tokens) {
        maker_array(m, "tokenizer.ggml.tokens", GGUF_STR, (uint64_t)v->n_tokens);
        for (int i = 0; i < v->n_tokens; i++)
            put_str(&m->kvs, v->token[i].text);
    }
    if (!v->no_types) {
        maker_array(m, "tokenizer.ggml.token_type", GGUF_I32, (uint64_t)n_types);
        for (int i = 0; i < n_types; i++)
            put_u32(&m->kvs, (uint32_t)v->token[i].type);
    }
    if (!v->no_scores && (strcmp(v->model, "llama") == 0 || strcmp(v->model, "t5") == 0)) {
        maker_array(m, "tokenizer.ggml.scores", GGUF_F32, (uint64_t)n_scores);
        for (int i = 0; i < n_scores; i++)
            buf_add(&m->kvs, &v->token[i].score, sizeof(float));
    }
    if (v->n_chars > 0) {
        maker_array(m, "tokenizer.ggml.precompiled_charsmap", GGUF_U8, (uint64_t)v->n_chars);
        buf_add(&m->kvs, v->chars, (size_t)v->n_chars);
    }
    if (!v->no_merges && strcmp(v->model, "gpt2") == 0) {
        maker_array(m, "tokenizer.ggml.merges", GGUF_STR, (uint64_t)v->n_merges);
        for (int i = 0; i < v->n_merges; i++)
            put_str(&m->kvs, v->merge[i]);
    }
}

static inline uint8_t *vocab_finish(const struct vocab_maker *v, size_t *ret_len)
{
    struct maker m;
    maker_init(&m);
    if (v->name)
        maker_str(&m, "general.name", v->name);
    if (v->model)
        maker_str(&m, "tokenizer.ggml.model", v->model);
    if (v->pre)
        maker_str(&m, "tokenizer.ggml.pre", v->pre);
    if (v->model)
        vocab_write_arrays(v, &m);
    if (v->bos >= 0)
        maker_u32(&m, "tokenizer.ggml.bos_token_id", (uint32_t)v->bos);
    if (v->eos >= 0)
        maker_u32(&m, "tokenizer.ggml.eos_token_id", (uint32_t)v->eos);
    if (v->unk >= 0)
        maker_u32(&m, "tokenizer.ggml.unknown_token_id", (uint32_t)v->unk);
    return maker_finish(&m, ret_len);
}

/* The file is opened, read and freed: the tokenizer must not borrow from it. */
static inline int vocab_load_tokenizer(const struct vocab_maker *v, struct tokenizer **ret,
                                       struct err *err)
{
    size_t len;
    uint8_t *bytes = vocab_finish(v, &len);
    struct gguf *g = NULL;
    int rc = gguf_open_memory(bytes, len, &g, err);
    if (rc == 0)
        rc = tokenizer_new(g, ret, err);
    gguf_free(g);
    free(bytes);
    return rc;
}

#endif
