/*
 * fuzz_tokenizer: a vocabulary and a text, both from the input.
 *
 * The first byte chooses: with bit 7 the rest is a GGUF file, then the marker, then a text; without
 * it the rest is a text for one of three small vocabularies that are always sound. What loads must
 * encode any text, stay in range, decode to valid UTF-8, and give byte-level text back unchanged.
 */
#include "../unit/vocab_maker.h"

#define N_BUILT  4
#define TEXT_MAX 4096

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static struct tokenizer *built(unsigned i)
{
    static struct tokenizer *kinds[N_BUILT];
    static struct vocab_maker v;
    if (kinds[i])
        return kinds[i];
    switch (i) {
    case 0:
        vocab_bpe(&v, "gpt-2");
        break;
    case 1:
        vocab_bpe(&v, "deepseek-v3");
        break;
    case 2:
        vocab_spm(&v);
        break;
    default:
        vocab_bert(&v);
        break;
    }
    if (vocab_load_tokenizer(&v, &kinds[i], NULL) != 0)
        abort();
    return kinds[i];
}

static void check_utf8(struct str s)
{
    for (size_t i = 0; i < s.len;) {
        int n = unicode_prefix((const uint8_t *)s.ptr + i, s.len - i);
        if (n <= 0)
            abort();
        i += (size_t)n;
    }
}

static void use(const struct tokenizer *t, struct str text, unsigned flags, bool lossless)
{
    struct tokens ids;
    struct buf out, raw;
    struct detokenizer d;
    struct err err = {0};
    tokens_init(&ids, 8 * TEXT_MAX);
    buf_init(&out, (size_t)1 << 30);
    buf_init(&raw, (size_t)1 << 30);
    if (tokenizer_encode(t, text, flags, &ids, &err) != 0 && err.text[0] == 0)
        abort();
    detokenizer_init(&d, t, true);
    d.special = flags & TOKENIZE_SPECIAL;
    for (size_t i = 0; i < ids.len; i++) {
        if (ids.id[i] < 0 || (size_t)ids.id[i] >= tokenizer_n_vocab(t))
            abort();
        if (!tokenizer_piece(t, ids.id[i], true, &raw) || !detokenizer_push(&d, ids.id[i], &out))
            abort();
    }
    if (!detokenizer_flush(&d, &out))
        abort();
    check_utf8(buf_str(&out));
    if (lossless && !str_eq(buf_str(&raw), text))
        abort();
    buf_release(&out);
    buf_release(&raw);
    tokens_release(&ids);
}

static void use_file(struct str file, struct str text, unsigned flags)
{
    struct gguf *g;
    struct tokenizer *t;
    struct err err = {0};
    if (gguf_open_memory(file.ptr, file.len, &g, &err) != 0)
        return;
    if (tokenizer_new(g, &t, &err) == 0) {
        use(t, text, flags, false);
        for (size_t i = 0; i < tokenizer_n_vocab(t) && i < 64; i++) {
            tokenizer_is_eog(t, (token_id)i);
            tokenizer_find(t, tokenizer_token_text(t, (token_id)i));
        }
        tokenizer_free(t);
    } else if (err.code == 0 || err.text[0] == 0) {
        abort(); /* a refusal says why */
    }
    gguf_free(g);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    if (len == 0)
        return 0;
    unsigned choice = data[0], flags = choice & 3;
    struct str rest = {(const char *)data + 1, len - 1};
    if (!(choice & 0x80)) {
        unsigned i = (choice >> 2) % N_BUILT;
        use(built(i), str_sub(rest, 0, TEXT_MAX), flags, i < 2);
        return 0;
    }
    struct str marker = STR("\n=TEXT=\n");
    ptrdiff_t at = str_find(rest, marker);
    struct str file = at < 0 ? rest : str_sub(rest, 0, (size_t)at);
    struct str text = at < 0 ? STR("hello <s> 12") : str_from(rest, (size_t)at + marker.len);
    char *copy = malloc(file.len ? file.len : 1); /* of exactly its size */
    if (!copy)
        abort();
    memcpy(copy, file.ptr, file.len);
    use_file((struct str){copy, file.len}, str_sub(text, 0, TEXT_MAX), flags);
    free(copy);
    return 0;
}
