#!/usr/bin/env python3
"""Prints tests/unit/dequantize_golden.h: a hash of what the Python package gguf makes of 64 blocks
of random bytes of each type. tests/unit/test_dequantize.c makes the same bytes and the same hash.
"""
import gguf
import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType as T

from test_dequantize import TYPES

N_BLOCKS = 64
MASK = 2**64 - 1


def random_bytes(seed, n):
    """SplitMix64 (Steele, Lea, Flood 2014), eight bytes a step, little endian."""
    out, x = bytearray(), seed
    while len(out) < n:
        x = (x + 0x9E3779B97F4A7C15) & MASK
        z = ((x ^ x >> 30) * 0xBF58476D1CE4E5B9) & MASK
        z = ((z ^ z >> 27) * 0x94D049BB133111EB) & MASK
        out += (z ^ z >> 31).to_bytes(8, "little")
    return np.frombuffer(bytes(out[:n]), np.uint8)


def hash_floats(x):
    """FNV-1a over 32-bit words; every NaN counts as 0x7fc00000."""
    words = np.where(np.isnan(x), np.uint32(0x7FC00000), x.view(np.uint32))
    h = 0xCBF29CE484222325
    for w in words.tolist():
        h = ((h ^ w) * 0x100000001B3) & MASK
    return h


def main():
    print("/*\n * dequantize_golden: written by tests/golden/make_dequantize_golden.py with gguf "
          f"{GGUF_VERSION}.\n */\n/* clang-format off */")
    for kind in TYPES:
        raw = random_bytes(int(kind), N_BLOCKS * GGML_QUANT_SIZES[kind][1]).reshape(N_BLOCKS, -1)
        with np.errstate(all="ignore"):
            x = np.ascontiguousarray(gguf.dequantize(raw, kind)).reshape(-1)
        print(f"{{DTYPE_{kind.name}, UINT64_C(0x{hash_floats(x):016x})}},")


if __name__ == "__main__":
    from importlib.metadata import version
    GGUF_VERSION = version("gguf")
    main()
