#!/usr/bin/env python3
"""Writes src/text/jinja_case.h: what utf8proc does not know of Python's str.

Run as: python3 scripts/gen-jinja-case.py > src/text/jinja_case.h
(the tables follow the Unicode version of the Python that runs it).
"""
import sys
import unicodedata as ud

ALL = [chr(c) for c in range(0x110000) if not 0xD800 <= c <= 0xDFFF]


def ranges(name, pred, what):
    out, start, prev = [], None, None
    for ch in ALL:
        c = ord(ch)
        if pred(ch):
            if start is None:
                start = c
            elif prev != c - 1:
                out.append((start, prev))
                start = c
            prev = c
    if start is not None:
        out.append((start, prev))
    print(f"/* {what} */\nstatic const struct u_range {name}[] = {{")
    line = "   "
    for a, b in out:
        item = f" {{0x{a:x}, 0x{b:x}}},"
        if len(line) + len(item) > 98:
            print(line)
            line = "   "
        line += item
    print(line + "\n};\n")


def special(name, fn, what):
    print(f"/* {what} */\nstatic const struct u_special {name}[] = {{")
    line = "   "
    for ch in ALL:
        t = fn(ch)
        if len(t) > 1:
            item = f" {{0x{ord(ch):x}, {{{', '.join(hex(ord(x)) for x in t)}}}}},"
            if len(line) + len(item) > 98:
                print(line)
                line = "   "
            line += item
    print(line + "\n};\n")


cat = ud.category
print(f"""/*
 * jinja_case: tables of Unicode {ud.unidata_version}, made by scripts/gen-jinja-case.py. Do not edit.
 */
#ifndef HEARTH_TEXT_JINJA_CASE_H
#define HEARTH_TEXT_JINJA_CASE_H

#include <stdint.h>

/* clang-format off */
struct u_range {{
    uint32_t first, last;
}};
struct u_special {{
    uint32_t cp, to[3]; /* ends with 0 when shorter */
}};
""")
ranges("OTHER_UPPER", lambda c: c.isupper() and cat(c) != "Lu", "upper case beside category Lu")
ranges("OTHER_LOWER", lambda c: c.islower() and cat(c) != "Ll", "lower case beside category Ll")
ranges("OTHER_DIGIT", lambda c: c.isdigit() and cat(c) != "Nd", "digits beside category Nd")
ranges("OTHER_NUMERIC", lambda c: c.isnumeric() and cat(c) not in ("Nd", "Nl", "No"),
       "numeric beside categories Nd, Nl, No")
special("SPECIAL_UPPER", str.upper, "upper case of more than one code point")
special("SPECIAL_TITLE", str.title, "title case of more than one code point")
special("SPECIAL_LOWER", str.lower, "lower case of more than one code point")
print("/* clang-format on */\n\n#endif")
