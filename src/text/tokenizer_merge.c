/*
 * tokenizer_merge: BPE and SentencePiece. Both join the best neighbouring pair, again and again;
 * they differ in what makes a pair good: its place in the list of merges, or the score of the
 * token that it becomes.
 *
 * Invariant: time is O(n log n) in the length of a word. Pairs wait in a heap whose key is the
 * rank and, among equals, the place (leftmost first); an entry whose pair has changed since is
 * skipped when it comes up. Nothing recurses.
 */
#include "text/tokenizer_impl.h"
#include "text/unicode.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

#define RANK_NONE   UINT32_MAX
#define NOWHERE     UINT32_MAX
#define SYMBOLS_MAX ((size_t)1 << 31)

struct symbol {
    uint32_t from, len;  /* its bytes in the word */
    uint32_t prev, next; /* its neighbours, or NOWHERE */
    token_id id;         /* TOKEN_NONE: no token has this text */
    uint32_t rank;       /* of the pair with the next; RANK_NONE when it does not merge */
    token_id merged;     /* what that pair becomes */
};

struct merger {
    struct symbol *sym;
    size_t n, cap;
    uint64_t *heap; /* rank << 32 | index of the left symbol */
    size_t n_heap, cap_heap;
    const uint8_t *text; /* what from and len refer to */
};

void merger_free(struct merger *m)
{
    if (!m)
        return;
    free(m->sym);
    free(m->heap);
    free(m);
}

static bool add_symbol(struct merger *m, size_t from, size_t len, token_id id)
{
    void *p = m->sym;
    if (!mem_grow(&p, &m->cap, m->n + 1, SYMBOLS_MAX, sizeof(*m->sym)))
        return false;
    m->sym = p;
    m->sym[m->n++] =
        (struct symbol){(uint32_t)from, (uint32_t)len, NOWHERE, NOWHERE, id, RANK_NONE, TOKEN_NONE};
    return true;
}

/* Four children to a node: half the depth, and the four lie in one cache line. */
static void sift_down(uint64_t *h, size_t n, size_t i)
{
    uint64_t key = h[i];
    for (size_t first = 4 * i + 1; first < n; first = 4 * i + 1) {
        size_t end = first + 4 < n ? first + 4 : n, least = first;
        __builtin_prefetch(&h[4 * first + 1]); /* a big heap is not in the cache: ask early */
        __builtin_prefetch(&h[4 * first + 9]);
        for (size_t c = first + 1; c < end; c++)
            least = h[c] < h[least] ? c : least;
        if (key <= h[least])
            break;
        h[i] = h[least];
        i = least;
    }
    h[i] = key;
}

static bool heap_append(struct merger *m, uint64_t key)
{
    void *p = m->heap;
    if (!mem_grow(&p, &m->cap_heap, m->n_heap + 1, SIZE_MAX / 16, sizeof(*m->heap)))
        return false;
    m->heap = p;
    m->heap[m->n_heap++] = key;
    return true;
}

static bool heap_push(struct merger *m, uint64_t key)
{
    if (!heap_append(m, key))
        return false;
    size_t i = m->n_heap - 1;
    for (; i > 0 && m->heap[(i - 1) / 4] > key; i = (i - 1) / 4)
        m->heap[i] = m->heap[(i - 1) / 4];
    m->heap[i] = key;
    return true;
}

static uint64_t heap_pop(struct merger *m)
{
    uint64_t top = m->heap[0];
    m->heap[0] = m->heap[--m->n_heap];
    if (m->n_heap > 0)
        sift_down(m->heap, m->n_heap, 0);
    return top;
}

/* A better score is a lower rank. Scores are finite, so RANK_NONE never comes out. */
static uint32_t score_rank(float score)
{
    uint32_t bits;
    memcpy(&bits, &score, sizeof(bits));
    uint32_t ascending = bits & 0x80000000u ? ~bits : bits | 0x80000000u;
    return ~ascending;
}

/* Sets rank and merged of symbol i from its text and its neighbour's. */
static void rank_pair(const struct tokenizer *t, struct merger *m, uint32_t i)
{
    struct symbol *l = &m->sym[i];
    l->rank = RANK_NONE;
    if (l->next == NOWHERE)
        return;
    const struct symbol *r = &m->sym[l->next];
    if (t->kind == KIND_SPM) {
        struct str text = {(const char *)m->text + l->from, (size_t)l->len + r->len};
        l->merged = vocab_find_plain(t, text);
        if (l->merged != TOKEN_NONE)
            l->rank = score_rank(t->score[l->merged]);
    } else if (l->id != TOKEN_NONE && r->id != TOKEN_NONE) {
        const struct pair_slot *s =
            pairmap_find(&t->merges, (uint64_t)(uint32_t)l->id << 32 | (uint32_t)r->id);
        if (s) {
            l->rank = s->a;
            l->merged = (token_id)s->b;
        }
    }
}

static bool rank_again(const struct tokenizer *t, struct merger *m, uint32_t i)
{
    if (i == NOWHERE)
        return true;
    rank_pair(t, m, i);
    return m->sym[i].rank == RANK_NONE || heap_push(m, (uint64_t)m->sym[i].rank << 32 | i);
}

/* Links the symbols, ranks every pair and makes the heap. */
static bool start(const struct tokenizer *t, struct merger *m)
{
    m->n_heap = 0;
    for (size_t i = 0; i < m->n; i++) {
        m->sym[i].prev = i ? (uint32_t)(i - 1) : NOWHERE;
        m->sym[i].next = i + 1 < m->n ? (uint32_t)(i + 1) : NOWHERE;
    }
    for (size_t i = 0; i + 1 < m->n; i++) {
        rank_pair(t, m, (uint32_t)i);
        uint64_t key = (uint64_t)m->sym[i].rank << 32 | i;
        if (m->sym[i].rank != RANK_NONE && !heap_append(m, key))
            return false;
    }
    for (size_t i = m->n_heap > 1 ? (m->n_heap - 2) / 4 + 1 : 0; i > 0; i--)
        sift_down(m->heap, m->n_heap, i - 1);
    return true;
}

static bool merge_all(const struct tokenizer *t, struct merger *m)
{
    if (!start(t, m))
        return false;
    while (m->n_heap > 0) {
        uint64_t top = heap_pop(m);
        uint32_t i = (uint32_t)top;
        if (m->n_heap > 0)
            __builtin_prefetch(&m->sym[(uint32_t)m->heap[0]]);
        struct symbol *l = &m->sym[i];
        if (l->rank != (uint32_t)(top >> 32) || l->rank == RANK_NONE)
            continue; /* the pair has changed */
        struct symbol *r = &m->sym[l->next];
        l->id = l->merged;
        l->len += r->len;
        l->next = r->next;
        if (r->next != NOWHERE)
            m->sym[r->next].prev = i;
        r->rank = RANK_NONE;
        if (!rank_again(t, m, l->prev) || !rank_again(t, m, i))
            return false;
    }
    return true;
}

/* Bytes that no token has as text: byte tokens, or one unknown token for all of them. */
static int push_bytes(struct encoder *e, const struct symbol *s, bool *after_unknown)
{
    const struct tokenizer *t = e->t;
    bool all = !t->byte_level;
    for (uint32_t k = 0; k < s->len && all; k++)
        all = t->byte_id[e->m->text[s->from + k]] != TOKEN_NONE;
    int rc = 0;
    if (all) {
        for (uint32_t k = 0; k < s->len && rc == 0; k++)
            rc = encoder_push(e, t->byte_id[e->m->text[s->from + k]]);
        *after_unknown = false;
    } else if (t->unk != TOKEN_NONE && !t->byte_level) {
        if (!*after_unknown)
            rc = encoder_push(e, t->unk);
        *after_unknown = true;
    }
    return rc;
}

static int merge_and_push(struct encoder *e)
{
    struct merger *m = e->m;
    if (!merge_all(e->t, m))
        return encoder_nomem(e);
    bool after_unknown = false;
    int rc = 0;
    for (uint32_t i = m->n ? 0 : NOWHERE; i != NOWHERE && rc == 0; i = m->sym[i].next) {
        if (m->sym[i].id == TOKEN_NONE) {
            rc = push_bytes(e, &m->sym[i], &after_unknown);
        } else {
            rc = encoder_push(e, m->sym[i].id);
            after_unknown = false;
        }
    }
    return rc;
}

static bool begin(struct encoder *e, const uint8_t *text)
{
    if (!e->m)
        e->m = mem_try_array(1, sizeof(*e->m));
    if (!e->m)
        return false;
    e->m->n = 0;
    e->m->text = text;
    return true;
}

/* One symbol for each character; an invalid byte is one by itself. */
static bool add_chars(struct encoder *e, const uint8_t *s, size_t len)
{
    for (size_t i = 0, n; i < len; i += n) {
        uint32_t cp;
        n = unicode_decode(s + i, len - i, &cp);
        token_id id = vocab_find_plain(e->t, (struct str){(const char *)s + i, n});
        if (!add_symbol(e->m, i, n, id))
            return false;
    }
    return true;
}

/* The word as one token, if it is one. */
static token_id whole_word(const struct tokenizer *t, const uint8_t *s, size_t len)
{
    char text[2048]; /* GPT-2's characters are at most two bytes long */
    if (len * 2 > sizeof(text))
        return TOKEN_NONE;
    size_t n = 0;
    for (size_t i = 0; i < len; i++)
        n += unicode_encode(byte_to_char(s[i]), (uint8_t *)text + n);
    return vocab_find_plain(t, (struct str){text, n});
}

static int bytes_word(void *ctx, const uint8_t *s, size_t len)
{
    struct encoder *e = ctx;
    const struct tokenizer *t = e->t;
    if (len == 1) {
        token_id id = t->byte_id[s[0]];
        return id == TOKEN_NONE ? 0 : encoder_push(e, id);
    }
    if (pretok_flags(t->pretok) & PRETOK_IGNORE_MERGES) {
        token_id id = whole_word(t, s, len);
        if (id != TOKEN_NONE)
            return encoder_push(e, id);
    }
    if (!begin(e, s))
        return encoder_nomem(e);
    for (size_t i = 0; i < len; i++) {
        token_id id = t->byte_id[s[i]];
        /* A byte without a token leaves no trace, not even between its neighbours. */
        if (id != TOKEN_NONE && !add_symbol(e->m, i, 1, id))
            return encoder_nomem(e);
    }
    return merge_and_push(e);
}

static int raw_word(void *ctx, const uint8_t *s, size_t len)
{
    struct encoder *e = ctx;
    if (s[0] == '\n') { /* a run of newlines is one token where there is one */
        token_id id = vocab_find_plain(e->t, (struct str){(const char *)s, len});
        if (id != TOKEN_NONE)
            return encoder_push(e, id);
    }
    if (!begin(e, s) || !add_chars(e, s, len))
        return encoder_nomem(e);
    return merge_and_push(e);
}

/* Spaces to U+2581 in e->text. */
static bool escape_spaces(struct encoder *e, struct str text, bool prefix)
{
    bool ok = !prefix || buf_add(&e->text, "\xE2\x96\x81", 3);
    while (ok && text.len > 0) {
        ptrdiff_t at = str_chr(text, ' ');
        size_t n = at < 0 ? text.len : (size_t)at;
        ok = buf_add(&e->text, text.ptr, n);
        if (at >= 0) {
            ok = ok && buf_add(&e->text, "\xE2\x96\x81", 3);
            n++;
        }
        text = str_from(text, n);
    }
    return ok;
}

int encode_bpe(struct encoder *e, struct str text)
{
    unsigned flags = pretok_flags(e->t->pretok);
    buf_clear(&e->text);
    if (flags & PRETOK_RAW) {
        if (!escape_spaces(e, text, false))
            return encoder_nomem(e);
        return pretok_split(e->t->pretok, buf_str(&e->text), raw_word, e, e->err);
    }
    if (flags & PRETOK_NFC) {
        if (!unicode_nfc(text, &e->text))
            return encoder_nomem(e);
        text = buf_str(&e->text);
    }
    return pretok_split(e->t->pretok, text, bytes_word, e, e->err);
}

int encode_spm(struct encoder *e, struct str text)
{
    buf_clear(&e->text);
    if (!escape_spaces(e, text, e->t->add_space_prefix))
        return encoder_nomem(e);
    const uint8_t *s = (const uint8_t *)e->text.ptr;
    if (!begin(e, s) || !add_chars(e, s, e->text.len))
        return encoder_nomem(e);
    return merge_and_push(e);
}
