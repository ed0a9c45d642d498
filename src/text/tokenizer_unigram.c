/*
 * tokenizer_unigram: SentencePiece's unigram model (T5, XLM-RoBERTa). Text is normalized by the
 * rules of the file, white space becomes U+2581, and of all ways to cut it into pieces the one with
 * the greatest sum of scores is taken. A character without a piece is unknown, and unknown ones
 * that follow each other are one token.
 *
 * Equals the reference (SentencePiece 0.2), its roundings too: sums are kept in float, compared in
 * double, and of equal sums the one whose last piece is longer wins.
 * Time is the text's length times the longest piece's.
 */
#include "text/tokenizer_impl.h"
#include "text/unicode.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

#define UNKNOWN_PENALTY 10.0f

static const struct str mark = {"\xE2\x96\x81", 3}; /* U+2581 */

/* ---- normalization ---- */

/* What the text's beginning becomes; returns its bytes. */
static size_t normal_prefix(const struct tokenizer *t, struct str text, struct str *ret)
{
    size_t n = charsmap_find(&t->charsmap, text, ret);
    if (n > 0)
        return n;
    uint32_t cp;
    n = unicode_decode((const uint8_t *)text.ptr, text.len, &cp);
    *ret = cp == UNICODE_BAD ? STR("\xEF\xBF\xBD") : str_sub(text, 0, n);
    return n;
}

static bool add_marked(struct buf *out, struct str s)
{
    bool ok = true;
    for (size_t i = 0; i < s.len && ok; i++)
        ok = s.ptr[i] == ' ' ? buf_add_str(out, mark) : buf_add_char(out, s.ptr[i]);
    return ok;
}

static void strip_end(struct buf *b)
{
    while (b->len >= mark.len && memcmp(b->ptr + b->len - mark.len, mark.ptr, mark.len) == 0)
        buf_truncate(b, b->len - mark.len);
}

/* What rules may make of so many bytes: Unicode's own make less than half of it. */
static size_t normal_max(size_t len)
{
    return 32 * len + 1024;
}

static int normalize(struct encoder *e, struct str text, struct buf *out)
{
    const struct tokenizer *t = e->t;
    bool strip = t->remove_spaces, after_space = strip, ok = true, begun = false;
    size_t max = normal_max(text.len), n_made = 0; /* with what is stripped: it takes time, too */
    buf_clear(out);
    while (text.len > 0 && ok) {
        struct str s;
        size_t n = normal_prefix(t, text, &s);
        text = str_from(text, n);
        n_made += s.len;
        if (n_made > max || out->len > max)
            return err_set(e->err, ERR_LIMIT, "the text is too long once normalized");
        bool only_space = str_eq(s, STR(" "));
        if (strip && !begun && only_space)
            continue;
        if (!begun && t->add_space_prefix)
            ok = buf_add_str(out, mark);
        begun = true;
        while (after_space && s.len > 0 && s.ptr[0] == ' ')
            s = str_from(s, 1);
        ok = ok && add_marked(out, s);
        if (s.len > 0)
            after_space = strip && s.ptr[s.len - 1] == ' ';
    }
    if (strip)
        strip_end(out);
    return ok ? 0 : encoder_nomem(e);
}

/* ---- the best way ---- */

/* How the text up to some byte is cut best: its last piece. */
struct best {
    uint32_t from; /* UINT32_MAX: not reached */
    token_id id;
    float score; /* of all of it */
};

static size_t char_len(uint8_t byte, size_t left)
{
    size_t n = byte < 0xC0 ? 1 : byte < 0xE0 ? 2 : byte < 0xF0 ? 3 : 4;
    return n < left ? n : left;
}

static void offer(struct best *to, size_t from, token_id id, double score)
{
    if (to->from == UINT32_MAX || score > (double)to->score)
        *to = (struct best){(uint32_t)from, id, (float)score};
}

/* All pieces that begin at i. */
static void spread(const struct tokenizer *t, struct str text, struct best *best, size_t i)
{
    size_t n_char = char_len((uint8_t)text.ptr[i], text.len - i);
    double so_far = (double)best[i].score;
    bool known = false;
    uint32_t node = 0;
    for (size_t k = i; k < text.len; k++) {
        node = trie_step(&t->words, node, (uint8_t)text.ptr[k]);
        if (node == 0)
            break;
        token_id id = t->words.node[node].any;
        if (id == TOKEN_NONE)
            continue;
        size_t len = k + 1 - i;
        double score = t->token[id].type == TYPE_USER
                           ? (double)((float)len * t->score_max) - 0.1 /* always the best */
                           : (double)t->score[id];
        offer(&best[k + 1], i, id, score + so_far);
        known = known || len == n_char;
    }
    if (!known) {
        float sum = t->score_min - UNKNOWN_PENALTY + best[i].score;
        offer(&best[i + n_char], i, TOKEN_NONE, (double)sum);
    }
}

static int push_unknown(struct encoder *e, struct str text, bool again)
{
    const struct tokenizer *t = e->t;
    if (t->byte_id[0] == TOKEN_NONE)
        return again || t->unk == TOKEN_NONE ? 0 : encoder_push(e, t->unk);
    int rc = 0;
    for (size_t i = text.len; i > 0 && rc == 0; i--) {
        token_id id = t->byte_id[(uint8_t)text.ptr[i - 1]];
        rc = id == TOKEN_NONE ? 0 : encoder_push(e, id);
    }
    return rc;
}

/* From the end to the beginning, and then turned round. */
static int push_best(struct encoder *e, struct str text, const struct best *best)
{
    size_t before = e->out->len;
    bool unknown = false;
    int rc = 0;
    for (size_t at = text.len; at > 0 && rc == 0; at = best[at].from) {
        const struct best *b = &best[at];
        rc = b->id != TOKEN_NONE ? encoder_push(e, b->id)
                                 : push_unknown(e, str_sub(text, b->from, at - b->from), unknown);
        unknown = b->id == TOKEN_NONE;
    }
    for (size_t i = before, k = e->out->len; i + 1 < k; i++) {
        token_id id = e->out->id[i];
        e->out->id[i] = e->out->id[--k];
        e->out->id[k] = id;
    }
    return rc;
}

int encode_unigram(struct encoder *e, struct str raw)
{
    int rc = normalize(e, raw, &e->text);
    if (rc != 0)
        return rc;
    struct str text = buf_str(&e->text);
    if (text.len == 0)
        return 0;
    if (text.len >= UINT32_MAX)
        return err_set(e->err, ERR_LIMIT, "a text of %zu bytes is too long", text.len);
    struct best *best = mem_try_array(text.len + 1, sizeof(*best));
    if (!best)
        return encoder_nomem(e);
    for (size_t i = 1; i <= text.len; i++)
        best[i].from = UINT32_MAX;
    for (size_t i = 0; i < text.len; i += char_len((uint8_t)text.ptr[i], text.len - i))
        spread(e->t, text, best, i);
    rc = push_best(e, text, best);
    free(best);
    return rc;
}
