/*
 * unicode: code points, their classes, lower case, canonical decomposition and composition, as the
 * tokenizers need them. Knows nothing of tokens.
 *
 * Classes come from our own generated table (Unicode 16.0) and not from a library, because ids
 * must not change with the library's version of Unicode. Decomposition and composition use
 * utf8proc, limited to the characters that the reference tokenizer's normalizer knows.
 *
 * Thread: call unicode_init() once before the rest (any thread, any number of times).
 */
#ifndef HEARTH_TEXT_UNICODE_H
#define HEARTH_TEXT_UNICODE_H

#include "base/buf.h"

enum unicode_flag {
    UC_LETTER = 1,          /* \p{L} */
    UC_NUMBER = 2,          /* \p{N} */
    UC_PUNCT = 4,           /* \p{P} */
    UC_SYMBOL = 8,          /* \p{S} */
    UC_MARK = 16,           /* \p{M} */
    UC_SPACE = 32,          /* \s: White_Space */
    UC_UPPER = 64,          /* Lu Lt Lm Lo M: what may stand in the upper-case part of a word */
    UC_LOWER = 128,         /* Ll Lm Lo M: what may stand in the lower-case part */
    UC_B_DROP = 256,        /* the columns of BERT's normalizer: removed, */
    UC_B_SPACE = 512,       /* made a space, */
    UC_B_PUNCT = 1024,      /* a word of its own, */
    UC_B_MARK = 2048,       /* removed as an accent */
    UC_NORM_UNKNOWN = 4096, /* the reference normalizer treats it as an inert character */
};

/* What an invalid byte decodes to; a symbol like U+FFFD, but not it. */
#define UNICODE_BAD         0x110000u
#define UNICODE_REPLACEMENT 0xFFFDu

void unicode_init(void);
unsigned unicode_flags(uint32_t cp);
uint32_t unicode_lower(uint32_t cp); /* one code point; U+0130 is the caller's */
bool unicode_is_cjk(uint32_t cp);    /* an ideograph, as BERT defines it */

/* Decodes the character at s; len >= 1. Returns its bytes, 1 to 4; an invalid byte is one byte
 * long and gives UNICODE_BAD. Overlong forms and surrogates are invalid. */
size_t unicode_decode(const uint8_t *s, size_t len, uint32_t *ret_cp);
size_t unicode_encode(uint32_t cp, uint8_t ret[4]); /* bytes written; cp is valid */
/* Is s[0..len) (1 <= len <= 4) a character (its length), the beginning of one (0), or neither
 * (-k: its first k bytes can never become a character)? */
int unicode_prefix(const uint8_t *s, size_t len);

/* Growable array of code points. Zero it before use. */
struct codepoints {
    uint32_t *cp;
    size_t len, cap;
};
void codepoints_release(struct codepoints *a);
bool codepoints_push(struct codepoints *a, uint32_t cp); /* false: out of memory */

/* Canonical decomposition in canonical order, in place. False: out of memory. */
bool unicode_nfd(struct codepoints *a);
/* Appends text in normalization form C; invalid bytes pass through as they are. False when out is
 * full or memory is short. Linear in the length of the text, whatever it is. */
bool unicode_nfc(struct str text, struct buf *out);

#endif
