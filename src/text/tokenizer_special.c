/*
 * tokenizer_special: special ids, tokens that end generation, and finding special tokens in text.
 *
 * A special token in text is the leftmost one, and the longest at its place. Types in GGUF files
 * are not always right: a few texts are known to end a turn in every model that has them, and
 * such a token is made a control token, so that ordinary text cannot spell it.
 */
#include "text/tokenizer_impl.h"
#include "text/unicode.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

#define NODES_MAX ((size_t)1 << 26)

void trie_release(struct trie *t)
{
    pairmap_release(&t->edges);
    free(t->node);
    t->node = NULL;
}

static bool trie_node(struct trie *t, uint32_t *ret)
{
    void *p = t->node;
    if (!mem_grow(&p, &t->cap, t->n_nodes + 1, NODES_MAX, sizeof(*t->node)))
        return false;
    t->node = p;
    t->node[t->n_nodes] = (struct trie_node){TOKEN_NONE, TOKEN_NONE};
    *ret = (uint32_t)t->n_nodes++;
    return true;
}

uint32_t trie_step(const struct trie *t, uint32_t node, uint8_t b)
{
    const struct pair_slot *s = pairmap_find(&t->edges, (uint64_t)node << 8 | b);
    return s ? s->a : 0;
}

bool trie_add(struct trie *t, struct str text, token_id id, bool user)
{
    uint32_t node = 0, next;
    if (t->n_nodes == 0 && !trie_node(t, &node))
        return false;
    t->first[(uint8_t)text.ptr[0]] = true;
    for (size_t i = 0; i < text.len; i++, node = next) {
        uint8_t b = (uint8_t)text.ptr[i];
        next = trie_step(t, node, b);
        if (next == 0 &&
            (!trie_node(t, &next) || !pairmap_add(&t->edges, (uint64_t)node << 8 | b, next, 0)))
            return false;
    }
    t->node[node].any = id;
    if (user)
        t->node[node].user = id;
    return true;
}

/* An id under key; absent, or the "none" that converters write, leaves *ret as it is or none. */
static int get_id(const struct tokenizer *t, const struct gguf *g, const char *key, token_id *ret,
                  struct err *err)
{
    uint64_t id = UINT64_MAX;
    int rc = gguf_get_u64(g, key, 0, UINT32_MAX, &id, err);
    if (rc != 0 || id == UINT64_MAX)
        return rc;
    if (id == UINT32_MAX) {
        *ret = TOKEN_NONE;
        return 0;
    }
    if (id >= t->n_vocab)
        return err_set(err, ERR_CORRUPT, "%s: id %llu, but there are %zu tokens", key,
                       (unsigned long long)id, t->n_vocab);
    *ret = (token_id)id;
    return 0;
}

static token_id default_id(const struct tokenizer *t, token_id id)
{
    return (size_t)id < t->n_vocab ? id : TOKEN_NONE;
}

static int load_ids(struct tokenizer *t, const struct gguf *g, struct err *err)
{
    token_id cls = TOKEN_NONE;
    t->bos = t->eos = t->unk = t->sep = TOKEN_NONE;
    if (t->kind == KIND_SPM) {
        t->bos = default_id(t, 1);
        t->eos = default_id(t, 2);
        t->unk = default_id(t, 0);
    } else if (t->kind == KIND_WORDPIECE) {
        t->unk = default_id(t, 100);
        cls = default_id(t, 101);
        t->sep = default_id(t, 102);
    } else if (t->kind == KIND_UNIGRAM) {
        t->eos = default_id(t, 1);
        t->unk = default_id(t, 2);
    }
    struct {
        const char *key;
        token_id *id;
    } ids[] = {
        {"tokenizer.ggml.bos_token_id", &t->bos},
        {"tokenizer.ggml.eos_token_id", &t->eos},
        {"tokenizer.ggml.unknown_token_id", &t->unk},
        {"tokenizer.ggml.seperator_token_id", &t->sep}, /* the specification's spelling */
        {"tokenizer.ggml.cls_token_id", &cls},
    };
    for (size_t i = 0; i < ARRAY_LEN(ids); i++) {
        int rc = get_id(t, g, ids[i].key, ids[i].id, err);
        if (rc != 0)
            return rc;
    }
    bool bert = t->kind == KIND_WORDPIECE;
    bool framed = bert || t->kind == KIND_UNIGRAM;
    t->front = t->bos != TOKEN_NONE || !framed ? t->bos : cls;
    t->back = bert && t->sep != TOKEN_NONE ? t->sep : t->eos;
    return 0;
}

static int load_switches(struct tokenizer *t, const struct gguf *g, struct err *err)
{
    struct {
        const char *key;
        bool *value;
    } keys[] = {
        {"tokenizer.ggml.add_bos_token", &t->add_bos},
        {"tokenizer.ggml.add_eos_token", &t->add_eos},
        {"tokenizer.ggml.add_space_prefix", &t->add_space_prefix},
        {"tokenizer.ggml.remove_extra_whitespaces", &t->remove_spaces},
        {"tokenizer.ggml.add_sep_token", &t->add_sep},
        {"tokenizer.ggml.normalizer.lowercase", &t->lowercase},
        {"tokenizer.ggml.normalizer.strip_accents", &t->strip_accents},
    };
    bool wordpiece = t->kind == KIND_WORDPIECE, space = t->add_space_prefix;
    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        if (keys[i].value == &t->strip_accents)
            t->strip_accents = t->lowercase; /* unless the file says otherwise */
        bool before = *keys[i].value;
        int rc = gguf_get_bool(g, keys[i].key, keys[i].value, err);
        if (rc != 0)
            return rc;
        if (wordpiece && i < 2)
            *keys[i].value = before; /* CLS and SEP always stand around a text */
    }
    if (t->kind != KIND_SPM && t->kind != KIND_UNIGRAM)
        t->add_space_prefix = space;
    if (t->pretok && (pretok_flags(t->pretok) & PRETOK_RAW))
        t->add_bos = true; /* early files of this kind say false and mean true */
    t->add_bos = t->add_bos && t->front != TOKEN_NONE;
    t->add_eos = t->add_eos && t->back != TOKEN_NONE;
    return 0;
}

/* Texts that end a turn or an answer in every model that has them as a token. */
static const char *const eog_texts[] = {
    "<|eot_id|>",
    "<|eom_id|>",
    "<|im_end|>",
    "<|end|>",
    "<|return|>",
    "<|call|>",
    "<|flush|>",
    "<|calls|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "<|end_of_text|>",
    "<EOT>",
    "_<EOT>",
    "[EOT]",
    "[EOS]",
    "<end_of_utterance>",
    "<eos>",
    "<turn|>",
    "<|tool_response>",
    "<\xEF\xBD\x9C"
    "end\xE2\x96\x81of\xE2\x96\x81sentence\xEF\xBD\x9C>", /* DeepSeek */
    "[e~[",
    /* a model that goes on to the next file of a repository has answered */
    "<|fim_pad|>",
    "<|repo_name|>",
    "<|file_sep|>",
};

static token_id find_z(const struct tokenizer *t, const char *text)
{
    return vocab_find(t, str_z(text));
}

static int load_eog(struct tokenizer *t, const struct gguf *g, struct err *err)
{
    static const char *const keys[] = {"tokenizer.ggml.eot_token_id",
                                       "tokenizer.ggml.eom_token_id"};
    for (size_t i = 0; i < ARRAY_LEN(eog_texts); i++) {
        token_id id = find_z(t, eog_texts[i]);
        if (id == TOKEN_NONE)
            continue;
        t->token[id].type = TYPE_CONTROL;
        t->token[id].flags |= TOKEN_EOG;
    }
    /* In the harmony format <|end|> ends a message and not the answer. */
    token_id end = find_z(t, "<|end|>");
    bool call = find_z(t, "<|call|>") != TOKEN_NONE || find_z(t, "<|calls|>") != TOKEN_NONE;
    bool ret = find_z(t, "<|return|>") != TOKEN_NONE || find_z(t, "<|flush|>") != TOKEN_NONE;
    if (end != TOKEN_NONE && call && ret)
        t->token[end].flags &= (uint8_t)~TOKEN_EOG;
    if (t->eos != TOKEN_NONE)
        t->token[t->eos].flags |= TOKEN_EOG;
    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        token_id id = TOKEN_NONE;
        int rc = get_id(t, g, keys[i], &id, err);
        if (rc != 0)
            return rc;
        if (id != TOKEN_NONE)
            t->token[id].flags |= TOKEN_EOG;
    }
    return 0;
}

/* The file's keys, old names of them, else the texts that code models are trained with. */
static int load_fim(struct tokenizer *t, const struct gguf *g, struct err *err)
{
    static const struct {
        const char *prefix, *suffix, *middle;
    } texts[] = {
        {"<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"},
        {"<fim_prefix>", "<fim_suffix>", "<fim_middle>"},
        {"<fim-prefix>", "<fim-suffix>", "<fim-middle>"},
        {"<|code_prefix|>", "<|code_suffix|>", "<|code_middle|>"},
        {"\xE2\x96\x81<PRE>", "\xE2\x96\x81<SUF>", "\xE2\x96\x81<MID>"},
        {"<PRE>", "<SUF>", "<MID>"},
        {"<\xEF\xBD\x9C"
         "fim\xE2\x96\x81"
         "begin\xEF\xBD\x9C>",
         "<\xEF\xBD\x9C"
         "fim\xE2\x96\x81"
         "hole\xEF\xBD\x9C>",
         "<\xEF\xBD\x9C"
         "fim\xE2\x96\x81"
         "end\xEF\xBD\x9C>"}, /* DeepSeek */
    };
    struct {
        const char *key;
        token_id *id;
    } keys[] = {
        {"tokenizer.ggml.prefix_token_id", &t->fim_prefix},
        {"tokenizer.ggml.suffix_token_id", &t->fim_suffix},
        {"tokenizer.ggml.middle_token_id", &t->fim_middle},
        {"tokenizer.ggml.fim_pre_token_id", &t->fim_prefix},
        {"tokenizer.ggml.fim_suf_token_id", &t->fim_suffix},
        {"tokenizer.ggml.fim_mid_token_id", &t->fim_middle},
    };
    t->fim_prefix = t->fim_suffix = t->fim_middle = TOKEN_NONE;
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        token_id prefix = find_z(t, texts[i].prefix), suffix = find_z(t, texts[i].suffix),
                 middle = find_z(t, texts[i].middle);
        if (prefix == TOKEN_NONE || suffix == TOKEN_NONE || middle == TOKEN_NONE)
            continue;
        t->fim_prefix = prefix;
        t->fim_suffix = suffix;
        t->fim_middle = middle;
        break;
    }
    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        int rc = get_id(t, g, keys[i].key, keys[i].id, err);
        if (rc != 0)
            return rc;
    }
    return 0;
}

/* Phi-3's special tokens take the white space after them; GGUF has no key for it but the name. */
static int load_rstrip(struct tokenizer *t, const struct gguf *g, struct err *err)
{
    static const char *const keep[] = {"<unk>", "<s>", "<|endoftext|>"};
    struct str name = STR("");
    int rc = gguf_get_str(g, "general.name", &name, err);
    if (rc != 0)
        return rc;
    bool phi3 = false;
    for (size_t i = 0; i < name.len && !phi3; i++)
        phi3 = str_eq_nocase(str_sub(name, i, 5), STR("phi-3")) ||
               str_eq_nocase(str_sub(name, i, 4), STR("phi3"));
    if (!phi3)
        return 0;
    for (size_t i = 0; i < t->n_vocab; i++) {
        uint8_t type = t->token[i].type;
        if (type == TYPE_CONTROL || type == TYPE_USER || type == TYPE_UNKNOWN)
            t->token[i].flags |= TOKEN_RSTRIP;
    }
    for (size_t i = 0; i < ARRAY_LEN(keep); i++) {
        token_id id = find_z(t, keep[i]);
        if (id != TOKEN_NONE)
            t->token[id].flags &= (uint8_t)~TOKEN_RSTRIP;
    }
    return 0;
}

static int load_trie(struct tokenizer *t, struct err *err)
{
    for (size_t i = 0; i < t->n_vocab; i++) {
        uint8_t type = t->token[i].type;
        if (type != TYPE_CONTROL && type != TYPE_USER && type != TYPE_UNKNOWN)
            continue;
        struct str text = vocab_text(t, (token_id)i);
        if (text.len > SPECIAL_BYTES_MAX)
            return err_set(err, ERR_CORRUPT,
                           "tokenizer.ggml.tokens: special token %zu has %zu bytes; at most %u "
                           "are possible",
                           i, text.len, SPECIAL_BYTES_MAX);
        if (!trie_add(&t->special, text, (token_id)i, type == TYPE_USER))
            return err_set(err, ERR_NOMEM, "out of memory for the special tokens");
    }
    return 0;
}

int special_load(struct tokenizer *t, const struct gguf *g, struct err *err)
{
    int rc = load_ids(t, g, err);
    if (rc == 0)
        rc = load_switches(t, g, err);
    if (rc == 0)
        rc = load_eog(t, g, err);
    if (rc == 0)
        rc = load_fim(t, g, err);
    if (rc == 0)
        rc = load_rstrip(t, g, err);
    if (rc == 0)
        rc = load_trie(t, err);
    return rc;
}

/* White space from pos on. */
static size_t skip_space(struct str text, size_t pos)
{
    while (pos < text.len) {
        uint32_t cp;
        size_t n = unicode_decode((const uint8_t *)text.ptr + pos, text.len - pos, &cp);
        if (!(unicode_flags(cp) & UC_SPACE))
            break;
        pos += n;
    }
    return pos;
}

bool special_next(const struct tokenizer *t, struct str text, size_t pos, bool control,
                  size_t *ret_from, size_t *ret_to, token_id *ret_id)
{
    const uint8_t *s = (const uint8_t *)text.ptr;
    for (; t->special.n_nodes && pos < text.len; pos++) {
        if (!t->special.first[s[pos]])
            continue;
        uint32_t node = 0;
        token_id best = TOKEN_NONE;
        for (size_t i = pos; i < text.len; i++) {
            node = trie_step(&t->special, node, s[i]);
            if (node == 0)
                break;
            const struct trie_node *k = &t->special.node[node];
            token_id id = control ? k->any : k->user;
            if (id != TOKEN_NONE) {
                best = id;
                *ret_to = i + 1;
            }
        }
        if (best == TOKEN_NONE)
            continue;
        if (t->token[best].flags & TOKEN_RSTRIP)
            *ret_to = skip_space(text, *ret_to);
        *ret_from = pos;
        *ret_id = best;
        return true;
    }
    return false;
}
