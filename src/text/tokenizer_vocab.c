/*
 * tokenizer_vocab: the vocabulary of a GGUF file, checked and indexed.
 *
 * Owns texts, types, scores, the map from text to id and the merges. Must not know how text is
 * cut. Invariants after vocab_load: every token has a text that is not empty and no two have the
 * same; every merge names three tokens; every id stored is in range.
 */
#include "text/tokenizer_impl.h"
#include "text/unicode.h"

#include "base/mem.h"
#include "base/rng.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#define K_MODEL  "tokenizer.ggml.model"
#define K_PRE    "tokenizer.ggml.pre"
#define K_TOKENS "tokenizer.ggml.tokens"
#define K_TYPES  "tokenizer.ggml.token_type"
#define K_SCORES "tokenizer.ggml.scores"
#define K_MERGES "tokenizer.ggml.merges"
#define K_CHARS  "tokenizer.ggml.precompiled_charsmap"

#define MERGES_MAX (1u << 26)
#define PAIRS_MAX  ((size_t)1 << 32)

void pairmap_release(struct pairmap *m)
{
    free(m->slot);
    *m = (struct pairmap){0};
}

/* The finalizer of MurmurHash3: every bit of the key moves every bit of the place. */
static size_t pair_place(const struct pairmap *m, uint64_t key)
{
    uint64_t h = key ^ m->seed;
    h = (h ^ (h >> 33)) * 0xFF51AFD7ED558CCDull;
    h = (h ^ (h >> 33)) * 0xC4CEB9FE1A85EC53ull;
    return (size_t)(h ^ (h >> 33)) & (m->n_slots - 1);
}

static void pair_put(struct pairmap *m, uint64_t key, uint32_t a, uint32_t b)
{
    size_t i = pair_place(m, key);
    while (m->slot[i].key != UINT64_MAX) {
        if (m->slot[i].key == key)
            return;
        i = (i + 1) & (m->n_slots - 1);
    }
    m->slot[i] = (struct pair_slot){key, a, b};
    m->n++;
}

static bool pairmap_grow(struct pairmap *m, size_t n_slots)
{
    struct pair_slot *old = m->slot;
    size_t n_old = m->n_slots;
    if (n_slots > PAIRS_MAX)
        return false;
    struct pair_slot *slot = mem_try_array(n_slots, sizeof(*slot));
    if (!slot)
        return false;
    for (size_t i = 0; i < n_slots; i++)
        slot[i].key = UINT64_MAX;
    m->slot = slot;
    m->n_slots = n_slots;
    m->n = 0;
    for (size_t i = 0; i < n_old; i++) {
        if (old[i].key != UINT64_MAX)
            pair_put(m, old[i].key, old[i].a, old[i].b);
    }
    free(old);
    return true;
}

bool pairmap_add(struct pairmap *m, uint64_t key, uint32_t a, uint32_t b)
{
    if (m->n * 2 >= m->n_slots && !pairmap_grow(m, m->n_slots ? m->n_slots * 2 : 64))
        return false;
    pair_put(m, key, a, b);
    return true;
}

const struct pair_slot *pairmap_find(const struct pairmap *m, uint64_t key)
{
    if (m->n_slots == 0)
        return NULL;
    for (size_t i = pair_place(m, key); m->slot[i].key != UINT64_MAX;
         i = (i + 1) & (m->n_slots - 1)) {
        if (m->slot[i].key == key)
            return &m->slot[i];
    }
    return NULL;
}

/* Printable bytes stand for themselves; the others, in order, for U+0100 and on. */
static bool is_own_char(unsigned b)
{
    return (b >= 0x21 && b <= 0x7E) || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE;
}

uint32_t byte_to_char(uint8_t b)
{
    if (is_own_char(b))
        return b;
    if (b <= 0x20)
        return 0x100u + b;
    return b == 0xAD ? 0x143 : 0x100u + 33 + (b - 0x7Fu);
}

int char_to_byte(uint32_t cp)
{
    if (cp < 0x100)
        return is_own_char(cp) ? (int)cp : -1;
    if (cp <= 0x120)
        return (int)(cp - 0x100);
    if (cp <= 0x142)
        return (int)(cp - 0x121 + 0x7F);
    return cp == 0x143 ? 0xAD : -1;
}

struct str vocab_text(const struct tokenizer *t, token_id id)
{
    const struct token *k = &t->token[id];
    return (struct str){t->text + k->offset, k->len};
}

token_id vocab_find(const struct tokenizer *t, struct str text)
{
    if (text.len > t->token_bytes_max)
        return TOKEN_NONE;
    uint64_t h = XXH3_64bits_withSeed(text.ptr, text.len, t->seed);
    uint32_t tag = (uint32_t)(h >> 32);
    for (size_t i = (size_t)h & (t->n_ids - 1); t->ids[i].id1; i = (i + 1) & (t->n_ids - 1)) {
        if (t->ids[i].tag != tag)
            continue;
        const struct token *k = &t->token[t->ids[i].id1 - 1];
        if (k->len == text.len && memcmp(t->text + k->offset, text.ptr, text.len) == 0)
            return (token_id)(t->ids[i].id1 - 1);
    }
    return TOKEN_NONE;
}

token_id vocab_find_plain(const struct tokenizer *t, struct str text)
{
    token_id id = vocab_find(t, text);
    if (id == TOKEN_NONE)
        return id;
    switch (t->token[id].type) {
    case TYPE_CONTROL:
    case TYPE_UNKNOWN:
    case TYPE_BYTE:
        return TOKEN_NONE;
    default:
        return id;
    }
}

/* An array of strings or of numbers under key, of n elements when n is not 0. */
static int get_array(const struct gguf *g, const char *key, bool strings, uint64_t n,
                     const struct gguf_kv **ret, struct err *err)
{
    const struct gguf_kv *kv = gguf_find(g, key);
    *ret = kv;
    if (!kv)
        return 0;
    bool numeric = kv->elem_type != GGUF_STR && kv->elem_type != GGUF_ARR;
    if (kv->type != GGUF_ARR || (strings ? kv->elem_type != GGUF_STR : !numeric))
        return err_set(err, ERR_CORRUPT, "%s: not an array of %s", key,
                       strings ? "strings" : "numbers");
    if (n != 0 && kv->n != n)
        return err_set(err, ERR_CORRUPT, "%s: has %llu elements, %s has %llu", key,
                       (unsigned long long)kv->n, K_TOKENS, (unsigned long long)n);
    return 0;
}

static int load_texts(struct tokenizer *t, const struct gguf_kv *kv, struct err *err)
{
    size_t total = 0;
    if (kv->n == 0 || kv->n > VOCAB_N_MAX)
        return err_set(err, ERR_CORRUPT, "%s: %llu tokens; 1 to %u are possible", K_TOKENS,
                       (unsigned long long)kv->n, VOCAB_N_MAX);
    for (uint64_t i = 0; i < kv->n; i++) {
        size_t len = kv->strings[i].len;
        if (len == 0 || len > TOKEN_BYTES_MAX)
            return err_set(err, ERR_CORRUPT, "%s: token %llu has %zu bytes; 1 to %u are possible",
                           K_TOKENS, (unsigned long long)i, len, TOKEN_BYTES_MAX);
        total += len; /* at most 2^24 * 2^16 */
        if (len > t->token_bytes_max)
            t->token_bytes_max = len;
    }
    if (total > UINT32_MAX)
        return err_set(err, ERR_CORRUPT, "%s: %zu bytes of text; at most 4 GiB are possible",
                       K_TOKENS, total);
    t->n_vocab = (size_t)kv->n;
    t->text = mem_try_array(total, 1);
    t->token = mem_try_array(t->n_vocab, sizeof(*t->token));
    if (!t->text || !t->token)
        return err_set(err, ERR_NOMEM, "out of memory for the vocabulary");
    uint32_t at = 0;
    for (size_t i = 0; i < t->n_vocab; i++) {
        struct str s = kv->strings[i];
        memcpy(t->text + at, s.ptr, s.len);
        t->token[i] = (struct token){at, (uint16_t)s.len, TYPE_NORMAL, 0};
        at += (uint32_t)s.len;
    }
    return 0;
}

static int index_texts(struct tokenizer *t, struct err *err)
{
    t->n_ids = 64;
    while (t->n_ids < t->n_vocab * 2)
        t->n_ids *= 2;
    rng_system(&t->seed, sizeof(t->seed));
    t->merges.seed = t->special.edges.seed = t->words.edges.seed = t->seed;
    t->ids = mem_try_array(t->n_ids, sizeof(*t->ids));
    if (!t->ids)
        return err_set(err, ERR_NOMEM, "out of memory for the vocabulary");
    for (size_t id = 0; id < t->n_vocab; id++) {
        struct str s = vocab_text(t, (token_id)id);
        token_id other = vocab_find(t, s);
        if (other != TOKEN_NONE)
            return err_set(err, ERR_CORRUPT, "%s: tokens %d and %zu are both '%.*s'", K_TOKENS,
                           other, id, STR_ARG(str_sub(s, 0, 64)));
        uint64_t h = XXH3_64bits_withSeed(s.ptr, s.len, t->seed);
        size_t i = (size_t)h & (t->n_ids - 1);
        while (t->ids[i].id1)
            i = (i + 1) & (t->n_ids - 1);
        t->ids[i] = (struct id_slot){(uint32_t)id + 1, (uint32_t)(h >> 32)};
    }
    return 0;
}

static int load_types(struct tokenizer *t, const struct gguf *g, struct err *err)
{
    const struct gguf_kv *kv;
    int rc = get_array(g, K_TYPES, false, t->n_vocab, &kv, err);
    if (rc != 0 || !kv)
        return rc;
    for (size_t i = 0; i < t->n_vocab; i++) {
        int64_t type = gguf_arr_i64(kv, i);
        if (type < TYPE_UNDEFINED || type > TYPE_BYTE)
            return err_set(err, ERR_CORRUPT, "%s: token %zu has type %lld; 0 to 6 are possible",
                           K_TYPES, i, (long long)type);
        t->token[i].type = (uint8_t)type;
    }
    return 0;
}

static int load_scores(struct tokenizer *t, const struct gguf *g, struct err *err)
{
    const struct gguf_kv *kv;
    int rc = get_array(g, K_SCORES, false, t->n_vocab, &kv, err);
    if (rc != 0)
        return rc;
    if (!kv)
        return err_set(err, ERR_CORRUPT, "%s: missing; this kind of tokenizer needs it", K_SCORES);
    t->score = mem_try_array(t->n_vocab, sizeof(*t->score));
    if (!t->score)
        return err_set(err, ERR_NOMEM, "out of memory for the vocabulary");
    for (size_t i = 0; i < t->n_vocab; i++) {
        double score = gguf_arr_f64(kv, i);
        if (!isfinite(score))
            return err_set(err, ERR_CORRUPT, "%s: token %zu has a score that is no number",
                           K_SCORES, i);
        t->score[i] = (float)score + 0.0f; /* so that -0 is 0 */
    }
    return 0;
}

/* "left right": the cut is the first space after the first byte. */
static int add_merge(struct tokenizer *t, struct str text, uint32_t rank, struct buf *joined,
                     struct err *err)
{
    ptrdiff_t cut = str_chr(str_from(text, 1), ' ');
    if (cut < 0)
        return err_set(err, ERR_CORRUPT, "%s: merge %u is '%.*s', not two tokens", K_MERGES, rank,
                       STR_ARG(str_sub(text, 0, 64)));
    struct str left = str_sub(text, 0, (size_t)cut + 1), right = str_from(text, (size_t)cut + 2);
    buf_clear(joined);
    if (!buf_add_str(joined, left) || !buf_add_str(joined, right))
        return err_set(err, ERR_CORRUPT, "%s: merge %u is too long", K_MERGES, rank);
    token_id l = vocab_find(t, left), r = vocab_find(t, right), m = vocab_find(t, buf_str(joined));
    if (l == TOKEN_NONE || r == TOKEN_NONE || m == TOKEN_NONE)
        return err_set(err, ERR_CORRUPT, "%s: merge %u, '%.*s', names a token that is not in %s",
                       K_MERGES, rank, STR_ARG(str_sub(text, 0, 64)), K_TOKENS);
    if (!pairmap_add(&t->merges, (uint64_t)l << 32 | (uint32_t)r, rank, (uint32_t)m))
        return err_set(err, ERR_NOMEM, "out of memory for the merges");
    return 0;
}

static int load_merges(struct tokenizer *t, const struct gguf *g, struct err *err)
{
    const struct gguf_kv *kv;
    int rc = get_array(g, K_MERGES, true, 0, &kv, err);
    if (rc != 0)
        return rc;
    if (!kv)
        return err_set(err, ERR_CORRUPT, "%s: missing; this kind of tokenizer needs it", K_MERGES);
    if (kv->n > MERGES_MAX)
        return err_set(err, ERR_CORRUPT, "%s: %llu merges; at most %u are possible", K_MERGES,
                       (unsigned long long)kv->n, MERGES_MAX);
    size_t n_slots = 64;
    while (n_slots < kv->n * 2)
        n_slots *= 2;
    if (!pairmap_grow(&t->merges, n_slots))
        return err_set(err, ERR_NOMEM, "out of memory for the merges");
    struct buf joined;
    buf_init(&joined, 2 * TOKEN_BYTES_MAX);
    for (uint64_t i = 0; i < kv->n && rc == 0; i++)
        rc = add_merge(t, kv->strings[i], (uint32_t)i, &joined, err);
    buf_release(&joined);
    return rc;
}

/* The tokens that stand for single bytes: "<0x0A>", or GPT-2's character. */
static void load_bytes(struct tokenizer *t)
{
    for (int b = 0; b < 256; b++) {
        char text[8];
        size_t len;
        if (t->kind == KIND_BPE && t->byte_level) {
            len = unicode_encode(byte_to_char((uint8_t)b), (uint8_t *)text);
        } else {
            static const char hex[] = "0123456789ABCDEF";
            memcpy(text, "<0x00>", 6);
            text[3] = hex[b >> 4];
            text[4] = hex[b & 15];
            len = 6;
        }
        t->byte_id[b] =
            t->kind == KIND_WORDPIECE ? TOKEN_NONE : vocab_find(t, (struct str){text, len});
    }
}

/* The pieces of WordPiece and of a unigram model in a trie; what begins a word begins with U+2581.
 */
static int load_words(struct tokenizer *t, struct err *err)
{
    static const uint8_t start[3] = {0xE2, 0x96, 0x81};
    for (size_t i = 0; i < t->n_vocab; i++) {
        uint8_t type = t->token[i].type;
        if (type == TYPE_CONTROL || type == TYPE_UNKNOWN || type == TYPE_BYTE ||
            (type == TYPE_UNUSED && t->kind == KIND_UNIGRAM))
            continue;
        struct str text = vocab_text(t, (token_id)i);
        if (t->kind == KIND_UNIGRAM && text.len > UNIGRAM_BYTES_MAX)
            return err_set(err, ERR_UNSUPPORTED,
                           "%s: token %zu has %zu bytes; at most %u are supported in a piece of a "
                           "unigram model",
                           K_TOKENS, i, text.len, UNIGRAM_BYTES_MAX);
        if (!trie_add(&t->words, text, (token_id)i, false))
            return err_set(err, ERR_NOMEM, "out of memory for the vocabulary");
    }
    uint32_t node = trie_step(&t->words, 0, start[0]);
    node = node ? trie_step(&t->words, node, start[1]) : 0;
    t->word_start = node ? trie_step(&t->words, node, start[2]) : 0;
    return 0;
}

/* The rules of normalization, and the scores between which all lie. */
static int load_unigram(struct tokenizer *t, const struct gguf *g, struct err *err)
{
    const struct gguf_kv *kv = gguf_find(g, K_CHARS);
    t->score_min = t->score_max = 0.0f;
    bool any = false;
    for (size_t i = 0; i < t->n_vocab; i++) {
        if (t->token[i].type != TYPE_NORMAL)
            continue;
        t->score_min = any && t->score_min < t->score[i] ? t->score_min : t->score[i];
        t->score_max = any && t->score_max > t->score[i] ? t->score_max : t->score[i];
        any = true;
    }
    if (!kv)
        return 0;
    if (kv->type != GGUF_ARR || (kv->elem_type != GGUF_U8 && kv->elem_type != GGUF_I8))
        return err_set(err, ERR_CORRUPT, "%s: not an array of bytes", K_CHARS);
    return kv->n == 0 ? 0 : charsmap_load(kv->data, kv->n, &t->charsmap, err);
}

static int load_kind(struct tokenizer *t, const struct gguf *g, struct err *err)
{
    struct str model = {0}, pre = STR("default");
    int rc = gguf_get_str(g, K_MODEL, &model, err);
    if (rc == 0)
        rc = gguf_get_str(g, K_PRE, &pre, err);
    if (rc != 0)
        return rc;
    if (!model.ptr)
        return err_set(err, ERR_CORRUPT, "%s: missing", K_MODEL);
    if (str_eq_z(model, "llama")) {
        t->kind = KIND_SPM;
        t->add_space_prefix = t->add_bos = true;
    } else if (str_eq_z(model, "bert")) {
        t->kind = KIND_WORDPIECE;
        t->add_bos = t->add_eos = t->lowercase = true;
    } else if (str_eq_z(model, "t5")) {
        t->kind = KIND_UNIGRAM;
        t->add_eos = t->add_space_prefix = t->remove_spaces = t->add_sep = true;
    } else if (str_eq_z(model, "gpt2") || str_eq_z(model, "gemma4")) {
        t->kind = KIND_BPE;
        if (str_eq_z(model, "gemma4"))
            pre = STR("gemma4");
        rc = pretok_new(pre, &t->pretok, err);
        if (rc != 0)
            return rc;
        unsigned f = pretok_flags(t->pretok);
        t->byte_level = !(f & PRETOK_RAW);
        t->add_bos = (f & (PRETOK_ADD_BOS | PRETOK_ADD_SEP)) || str_eq_z(model, "gemma4");
        t->add_eos = (f & PRETOK_ADD_SEP) != 0;
    } else {
        return err_set(err, ERR_UNSUPPORTED, "%s: tokenizer '%.*s' is not supported", K_MODEL,
                       STR_ARG(str_sub(model, 0, 64)));
    }
    return 0;
}

int vocab_load(struct tokenizer *t, const struct gguf *g, struct err *err)
{
    const struct gguf_kv *tokens;
    unicode_init();
    int rc = load_kind(t, g, err);
    if (rc == 0)
        rc = get_array(g, K_TOKENS, true, 0, &tokens, err);
    if (rc != 0)
        return rc;
    if (!tokens)
        return err_set(err, ERR_CORRUPT, "%s: missing", K_TOKENS);
    rc = load_texts(t, tokens, err);
    if (rc == 0)
        rc = index_texts(t, err);
    if (rc == 0)
        rc = load_types(t, g, err);
    if (rc == 0 && (t->kind == KIND_SPM || t->kind == KIND_UNIGRAM))
        rc = load_scores(t, g, err);
    if (rc == 0 && t->kind == KIND_UNIGRAM)
        rc = load_unigram(t, g, err);
    if (rc == 0 && t->kind == KIND_BPE)
        rc = load_merges(t, g, err);
    if (rc == 0 && (t->kind == KIND_WORDPIECE || t->kind == KIND_UNIGRAM))
        rc = load_words(t, err);
    if (rc == 0)
        load_bytes(t);
    return rc;
}
