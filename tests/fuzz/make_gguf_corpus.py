#!/usr/bin/env python3
"""Writes the seed files of the GGUF fuzz target: make_gguf_corpus.py FOLDER

Tiny valid files of every kind: versions, every metadata type, every tensor type, alignments, split
models (parts joined by a marker). Bytes are written by hand, so no package is needed and the same
files come out every time.
"""
import pathlib
import struct
import sys

U8, I8, U16, I16, U32, I32, F32, BOOL, STR, ARR, U64, I64, F64 = range(13)
FORMATS = {U8: "B", I8: "b", U16: "H", I16: "h", U32: "I", I32: "i", F32: "f", BOOL: "?",
           U64: "Q", I64: "q", F64: "d"}
# id: (elements per block, bytes per block)
TYPES = {0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34),
         10: (256, 84), 11: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210),
         16: (256, 66), 17: (256, 74), 18: (256, 98), 19: (256, 50), 20: (32, 18), 21: (256, 110),
         22: (256, 82), 23: (256, 136), 24: (1, 1), 25: (1, 2), 26: (1, 4), 27: (1, 8), 28: (1, 8),
         29: (256, 56), 30: (1, 2), 34: (256, 54), 35: (256, 66), 39: (32, 17)}
MARKER = b"\n=PART=\n"


def string(s):
    b = s.encode()
    return struct.pack("<Q", len(b)) + b


def value(kind, v):
    if kind == STR:
        return string(v)
    if kind == ARR:
        elem, items = v
        return struct.pack("<IQ", elem, len(items)) + b"".join(value(elem, i) for i in items)
    return struct.pack("<" + FORMATS[kind], v)


def gguf(kvs=(), tensors=(), version=3, alignment=32):
    """kvs: (key, type, value); tensors: (name, type id, dims). Data are counting bytes."""
    head = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(kvs))
    for key, kind, v in kvs:
        head += string(key) + struct.pack("<I", kind) + value(kind, v)
    data = b""
    for name, kind, dims in tensors:
        n = 1
        for d in dims:
            n *= d
        elems, size = TYPES[kind]
        data += b"\0" * (-len(data) % alignment)
        head += string(name) + struct.pack("<I", len(dims)) + struct.pack(f"<{len(dims)}Q", *dims)
        head += struct.pack("<IQ", kind, len(data))
        data += bytes((7 * i + kind) % 256 for i in range(n // elems * size))
    if tensors:
        head += b"\0" * (-len(head) % alignment)
    return head + data


def seeds():
    yield "empty", gguf()
    yield "v2", gguf([("a", U32, 1)], [("t", 0, [2])], version=2)
    scalars = [(f"s.{k}", k, 1) for k in FORMATS]
    yield "scalars", gguf(scalars + [("s.str", STR, "text")])
    yield "arrays", gguf([(f"a.{k}", ARR, (k, [0, 1, 1])) for k in FORMATS])
    yield "strings", gguf([("t", ARR, (STR, ["", "a", "bc"])), ("e", ARR, (STR, []))])
    yield "nested", gguf([("n", ARR, (ARR, [(U8, [1, 2]), (STR, ["x"]), (ARR, [(I16, [3])])]))])
    for kind in TYPES:
        elems = TYPES[kind][0]
        yield f"type{kind}", gguf([], [("t", kind, [elems, 2])])
    yield "dims", gguf([], [("a", 0, [2]), ("b", 1, [2, 3]), ("c", 24, [1, 2, 3]),
                            ("d", 2, [32, 1, 1, 2])])
    yield "alignment", gguf([("general.alignment", U32, 64)], [("a", 24, [3]), ("b", 24, [5])],
                            alignment=64)
    keys = [("general.architecture", STR, "llama")]

    def split(no):
        return [("split.no", U16, no), ("split.count", U16, 2), ("split.tensors.count", I32, 3)]

    yield "split", (gguf(keys + split(0), [("a", 0, [2])]) + MARKER +
                    gguf(split(1), [("b", 24, [4]), ("c", 24, [1])]))


def main():
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in seeds():
        (folder / f"seed-{name}").write_bytes(data)


if __name__ == "__main__":
    main()
