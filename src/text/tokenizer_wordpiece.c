/*
 * tokenizer_wordpiece: BERT's tokenizer. Text is cleaned, ideographs are set apart, accents are
 * stripped, letters lowered; words and punctuation marks are then cut into the longest pieces
 * from the left, or are unknown as a whole.
 *
 * Equals the reference (Hugging Face tokenizers: BertNormalizer, BertPreTokenizer, WordPiece)
 * whose character tables are older than ours: unicode.h's UC_B_* columns.
 */
#include "text/tokenizer_impl.h"
#include "text/unicode.h"

#define WORD_CHARS_MAX 100 /* longer words are unknown, as in the reference */

static bool clean(struct str text, struct codepoints *out)
{
    const uint8_t *s = (const uint8_t *)text.ptr;
    bool ok = true;
    for (size_t i = 0, n; i < text.len && ok; i += n) {
        uint32_t cp;
        n = unicode_decode(s + i, text.len - i, &cp);
        unsigned f = unicode_flags(cp);
        if (f & UC_B_DROP)
            continue;
        if (f & UC_B_SPACE)
            ok = codepoints_push(out, ' ');
        else if (unicode_is_cjk(cp))
            ok = codepoints_push(out, ' ') && codepoints_push(out, cp) && codepoints_push(out, ' ');
        else
            ok = codepoints_push(out, cp);
    }
    return ok;
}

static bool strip_and_lower(const struct tokenizer *t, struct codepoints *a)
{
    if (t->strip_accents) {
        if (!unicode_nfd(a))
            return false;
        size_t n = 0;
        for (size_t i = 0; i < a->len; i++) {
            if (!(unicode_flags(a->cp[i]) & UC_B_MARK))
                a->cp[n++] = a->cp[i];
        }
        a->len = n;
    }
    for (size_t i = 0; i < a->len && t->lowercase; i++)
        a->cp[i] = unicode_lower(a->cp[i]);
    return true;
}

/* The longest piece at s[pos..len) from this node of the trie; where it ends, or pos. */
static size_t longest(const struct trie *t, uint32_t node, const uint8_t *s, size_t pos, size_t len,
                      token_id *ret)
{
    size_t end = pos;
    for (size_t i = pos; i < len; i++) {
        node = trie_step(t, node, s[i]);
        if (node == 0)
            break;
        if (t->node[node].any != TOKEN_NONE) {
            end = i + 1;
            *ret = t->node[node].any;
        }
    }
    return end;
}

static int push_word(struct encoder *e, const uint32_t *cp, size_t n)
{
    const struct tokenizer *t = e->t;
    uint8_t s[WORD_CHARS_MAX * 4];
    size_t len = 0, pos = 0, before = e->out->len;
    bool known = n <= WORD_CHARS_MAX && t->words.n_nodes > 0 && t->word_start != 0;
    for (size_t i = 0; i < n && known; i++)
        len += unicode_encode(cp[i], s + len);
    while (known && pos < len) {
        token_id id = TOKEN_NONE;
        /* Inside a word U+2581 is a character, not the mark of a word's beginning. */
        bool mark =
            pos > 0 && len - pos >= 3 && s[pos] == 0xE2 && s[pos + 1] == 0x96 && s[pos + 2] == 0x81;
        size_t end = mark ? pos : longest(&t->words, pos ? 0 : t->word_start, s, pos, len, &id);
        known = end > pos;
        pos = end;
        int rc = known ? encoder_push(e, id) : 0;
        if (rc != 0)
            return rc;
    }
    if (known)
        return 0;
    e->out->len = before;
    return t->unk == TOKEN_NONE ? 0 : encoder_push(e, t->unk);
}

static int push_words(struct encoder *e, const struct codepoints *a)
{
    size_t from = 0;
    int rc = 0;
    for (size_t i = 0; i <= a->len && rc == 0; i++) {
        unsigned f = i < a->len ? unicode_flags(a->cp[i]) : UC_SPACE;
        if (!(f & (UC_SPACE | UC_B_PUNCT)))
            continue;
        if (i > from)
            rc = push_word(e, a->cp + from, i - from);
        if (rc == 0 && !(f & UC_SPACE))
            rc = push_word(e, a->cp + i, 1);
        from = i + 1;
    }
    return rc;
}

/* U+0130 is the one letter whose lower case is two characters. */
static bool expand_dotted_i(const struct tokenizer *t, struct codepoints *a)
{
    size_t i = 0;
    while (i < a->len && a->cp[i] != 0x130)
        i++;
    if (!t->lowercase || i == a->len)
        return true;
    struct codepoints out = {0};
    bool ok = true;
    for (i = 0; i < a->len && ok; i++) {
        if (a->cp[i] == 0x130)
            ok = codepoints_push(&out, 'i') && codepoints_push(&out, 0x307);
        else
            ok = codepoints_push(&out, a->cp[i]);
    }
    codepoints_release(a);
    *a = out;
    return ok;
}

int encode_wordpiece(struct encoder *e, struct str text)
{
    struct codepoints a = {0};
    bool ok = clean(text, &a) && strip_and_lower(e->t, &a) && expand_dotted_i(e->t, &a);
    int rc = ok ? push_words(e, &a) : encoder_nomem(e);
    codepoints_release(&a);
    return rc;
}
