#!/usr/bin/env python3
"""Writes src/text/unicode_data.c: the character tables of the tokenizers.

Categories are those of Unicode 16.0, which is what the reference implementation's regular
expressions use. The BERT columns, the lower-case table and the list of characters that its
normalizer does not know are measured on the reference itself, one code point at a time, because
it mixes several older versions of Unicode.

Needs: tokenizers==0.23.3 unicodedata2==16.0.0
Use:   scripts/make_unicode.py > src/text/unicode_data.c
"""
import sys

import unicodedata2 as ud
from tokenizers import normalizers, pre_tokenizers

L, N, P, S, M, WS, UP, LOW = 1, 2, 4, 8, 16, 32, 64, 128
B_DROP, B_SPACE, B_PUNCT, B_MARK, UNKNOWN = 256, 512, 1024, 2048, 4096
POINTS = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]
SPACES = {9, 10, 11, 12, 13, 0x20, 0x85, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029,
          0x202F, 0x205F, 0x3000}


def category_flags(c):
    cat = ud.category(chr(c))
    f = {"L": L, "N": N, "P": P, "S": S, "M": M}.get(cat[0], 0)
    if cat in ("Lu", "Lt", "Lm", "Lo") or cat[0] == "M":
        f |= UP
    if cat in ("Ll", "Lm", "Lo") or cat[0] == "M":
        f |= LOW
    if c in SPACES:
        f |= WS
    return f


def bert_flags():
    clean = normalizers.BertNormalizer(True, False, False, False)
    strip = normalizers.BertNormalizer(False, False, True, False)
    split = pre_tokenizers.BertPreTokenizer()
    flags = {}
    for c in POINTS:
        f = 0
        s = clean.normalize_str(chr(c))
        if s == "":
            f |= B_DROP
        elif s == " ":
            f |= B_SPACE
        if strip.normalize_str(chr(c)) == "":
            f |= B_MARK
        if len(split.pre_tokenize_str("a" + chr(c) + "b")) == 3:
            f |= B_PUNCT
        flags[c] = f
    return flags


def unknown_to_normalizer():
    """Characters that have a combining class or a decomposition, but not in the reference."""
    nfd, out = normalizers.NFD(), set()
    for c in POINTS:
        if ud.combining(chr(c)):
            known = any(nfd.normalize_str(t) != t for t in
                        ("a\u0345" + chr(c), "a" + chr(c) + "\u0334", "a\U0001D165" + chr(c)))
            if not known:
                out.add(c)
        if ud.normalize("NFD", chr(c)) != nfd.normalize_str(chr(c)):
            out.add(c)
    return out


def lower_ranges():
    low = normalizers.Lowercase()
    out = []
    for c in POINTS:
        t = low.normalize_str(chr(c))
        if len(t) != 1 or t == chr(c):
            continue  # U+0130 alone gives two: unicode.c knows it
        d = ord(t) - c
        if out and out[-1][3] == d and c - out[-1][1] in (1, 2):
            step = c - out[-1][1]
            if out[-1][2] in (0, step):
                out[-1][1], out[-1][2] = c, step
                continue
        out.append([c, c, 0, d])
    return [(a, b, s or 1, d) for a, b, s, d in out]


def rows(items, per_line):
    for i in range(0, len(items), per_line):
        print("    " + " ".join(items[i:i + per_line]))


def main():
    bert, unknown = bert_flags(), unknown_to_normalizer()
    ranges, last = [], None
    for c in range(0x110000):
        f = 0
        if not 0xD800 <= c < 0xE000:
            f = category_flags(c) | bert[c] | (UNKNOWN if c in unknown else 0)
        if f != last:
            ranges.append((c, f))
            last = f
    lower = lower_ranges()
    print(f"""/*
 * unicode_data: character tables, written by scripts/make_unicode.py; do not edit.
 * Categories of Unicode {ud.unidata_version}; see the script for the other columns.
 */
#include "text/unicode_tables.h"

/* clang-format off */
const size_t unicode_n_ranges = {len(ranges)};
const struct unicode_range unicode_ranges[] = {{""")
    rows([f"{{0x{c:X},0x{f:X}}}," for c, f in ranges], 6)
    print(f"}};\n\nconst size_t unicode_n_lowers = {len(lower)};\n"
          "const struct unicode_lower unicode_lowers[] = {")
    rows([f"{{0x{a:X},0x{b:X},{s},{d}}}," for a, b, s, d in lower], 4)
    print("};\n/* clang-format on */")
    print(len(ranges), "ranges", len(lower), "lower rows", len(unknown), "unknown", file=sys.stderr)


if __name__ == "__main__":
    main()
