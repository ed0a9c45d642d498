#!/usr/bin/env python3
"""Writes a C file that holds the page's files as bytes: bundle.py OUT.c FILE..."""
import hashlib
import pathlib
import sys

TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


def main():
    out, files = sys.argv[1], [pathlib.Path(name) for name in sys.argv[2:]]
    rows, text = [], ['#include "gateway/page.h"\n']
    for i, path in enumerate(files):
        data = path.read_bytes()
        body = ",".join(map(str, data))
        text.append(f"static const unsigned char asset_{i}[] = {{{body}}};\n")
        url = "/" if path.name == "index.html" else "/assets/" + path.name
        etag = hashlib.sha256(data).hexdigest()[:16]
        rows.append(f'    {{"{url}", "{TYPES[path.suffix]}", "\\"{etag}\\"", asset_{i}, {len(data)}}},\n')
    text.append("const struct page_asset page_assets[] = {\n" + "".join(rows) + "};\n")
    text.append(f"const size_t page_n_assets = {len(rows)};\n")
    pathlib.Path(out).write_text("".join(text))


main()
