/*
 * charsmap: SentencePiece's normalization rules as a model's file has them (precompiled_charsmap):
 * the longest rule that a text begins with, and what it becomes.
 *
 * The bytes, little-endian: u32, the size of a double-array trie; the trie, units of 32 bits; the
 * replacements, each with a NUL behind it. A unit: bits 0-7 its label (with bit 31, which is set in
 * units that hold a value: bits 0-30, where the replacement begins), bit 8: a value follows, bits
 * 10-30 the offset to its children, times 256 if bit 9 is set. Source: SentencePiece's normalizer
 * and Darts-clone, whose form it is.
 *
 * Thread: read-only after it is loaded.
 */
#ifndef HEARTH_TEXT_CHARSMAP_H
#define HEARTH_TEXT_CHARSMAP_H

#include "base/err.h"
#include "base/str.h"

#include <stdint.h>

struct charsmap {
    uint32_t *unit; /* [n_unit] */
    size_t n_unit;
    char *text; /* [n_text], ends with a NUL */
    size_t n_text;
};

/* Copies. ERR_CORRUPT: sizes that cannot be. What the units say is checked when it is followed. */
int charsmap_load(const uint8_t *data, uint64_t n, struct charsmap *ret, struct err *err)
    __attribute__((warn_unused_result));
void charsmap_release(struct charsmap *m);
/* Bytes of the longest rule at the beginning of text, and what they become (borrowed); 0: none. */
size_t charsmap_find(const struct charsmap *m, struct str text, struct str *ret);

#endif
