/*
 * detok: from ids back to bytes, whole or one token at a time.
 *
 * Invariant of the streaming side: what was appended to out is valid UTF-8 after every push, and
 * all of it equals the bytes of the tokens in order with each maximal invalid part replaced by
 * U+FFFD.
 */
#include "text/tokenizer_impl.h"
#include "text/unicode.h"

#include <string.h>

static const char space_mark[] = "\xE2\x96\x81"; /* U+2581 */

static bool add_unescaped(struct str text, struct buf *out)
{
    bool ok = true;
    while (ok && text.len > 0) {
        ptrdiff_t at = str_find(text, STR("\xE2\x96\x81"));
        size_t n = at < 0 ? text.len : (size_t)at;
        ok = buf_add(out, text.ptr, n);
        if (at >= 0) {
            ok = ok && buf_add_char(out, ' ');
            n += sizeof(space_mark) - 1;
        }
        text = str_from(text, n);
    }
    return ok;
}

/* GPT-2's characters back to bytes; another character stands for itself. */
static bool add_byte_chars(struct str text, struct buf *out)
{
    const uint8_t *s = (const uint8_t *)text.ptr;
    for (size_t i = 0, n; i < text.len; i += n) {
        uint32_t cp;
        n = unicode_decode(s + i, text.len - i, &cp);
        int b = char_to_byte(cp);
        if (b >= 0 ? !buf_add_char(out, (char)b) : !buf_add(out, s + i, n))
            return false;
    }
    return true;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* "<0x0A>" is one byte; a byte token with another text gives its text. */
static bool add_byte_token(struct str text, struct buf *out)
{
    if (text.len == 6 && str_starts(text, STR("<0x")) && text.ptr[5] == '>') {
        int high = hex_digit(text.ptr[3]), low = hex_digit(text.ptr[4]);
        if (high >= 0 && low >= 0)
            return buf_add_char(out, (char)(high << 4 | low));
    }
    return buf_add_str(out, text);
}

bool tokenizer_piece(const struct tokenizer *t, token_id id, bool special, struct buf *out)
{
    if (id < 0 || (size_t)id >= t->n_vocab)
        return true;
    struct str text = vocab_text(t, id);
    switch (t->token[id].type) {
    case TYPE_CONTROL:
    case TYPE_UNKNOWN:
        return !special || buf_add_str(out, text);
    case TYPE_USER:
        return buf_add_str(out, text);
    case TYPE_BYTE:
        return add_byte_token(text, out);
    case TYPE_NORMAL:
        return t->byte_level ? add_byte_chars(text, out) : add_unescaped(text, out);
    default:
        return true; /* unused, undefined: fillers */
    }
}

void detokenizer_init(struct detokenizer *d, const struct tokenizer *t, bool at_start)
{
    *d = (struct detokenizer){.tokenizer = t, .at_start = at_start};
}

/* Takes what is decided off the front of pending: a character, or bytes that never become one. */
static bool settle(struct detokenizer *d, struct buf *out)
{
    while (d->n_pending > 0) {
        int n = unicode_prefix(d->pending, d->n_pending);
        if (n == 0)
            return true;
        bool ok = n > 0 ? buf_add(out, d->pending, (size_t)n) : buf_add(out, "\xEF\xBF\xBD", 3);
        if (!ok)
            return false;
        uint8_t used = (uint8_t)(n > 0 ? n : -n);
        d->n_pending = (uint8_t)(d->n_pending - used);
        memmove(d->pending, d->pending + used, d->n_pending);
    }
    return true;
}

bool detokenizer_push(struct detokenizer *d, token_id id, struct buf *out)
{
    const struct tokenizer *t = d->tokenizer;
    struct buf piece;
    buf_init(&piece, TOKEN_BYTES_MAX + 1);
    bool ok = tokenizer_piece(t, id, d->special, &piece);
    size_t i = 0;
    if (d->at_start && piece.len > 0) {
        d->at_start = false;
        bool pieces = t->kind == KIND_SPM || t->kind == KIND_UNIGRAM;
        bool drops = (pieces && t->add_space_prefix) || t->kind == KIND_WORDPIECE;
        i = drops && piece.ptr[0] == ' ' && !tokenizer_is_control(t, id);
    }
    for (; ok && i < piece.len; i++) {
        d->pending[d->n_pending++] = (uint8_t)piece.ptr[i]; /* at most 3 are kept: room for it */
        ok = settle(d, out);
    }
    buf_release(&piece);
    return ok;
}

bool detokenizer_flush(struct detokenizer *d, struct buf *out)
{
    bool ok = d->n_pending == 0 || buf_add(out, "\xEF\xBF\xBD", 3);
    d->n_pending = 0;
    return ok;
}
