#!/usr/bin/env python3
"""Seconds that `hearth tokenize` takes for a megabyte of each text that makes tokenizers slow.

Use: bench/tokenizer_speed.py FILE.gguf...     (the time to load the vocabulary is taken off)
"""
import os
import random
import subprocess
import sys
import time

N = 1_000_000
HEARTH = os.environ.get("HEARTH_BIN", "build/hearth")


def any_unicode(rng):
    out, n = [], 0
    while n < N:
        c = rng.randrange(1, 0x110000)
        if not 0xD800 <= c < 0xE000:
            out.append(chr(c))
            n += len(out[-1].encode())
    return "".join(out)


def texts():
    rng = random.Random(1)
    letters = "abcdefghijklmnopqrstuvwxyz"
    return {
        "any unicode": any_unicode(rng),
        "one letter": "a" * N,
        "spaces": " " * N,
        "spaces, x": " " * (N - 1) + "x",
        "newlines": "\n" * N,
        "digits": "7" * N,
        "dashes": "-" * N,
        "emoji": "\U0001f600" * (N // 4),
        "CJK": "".join(chr(rng.randrange(0x4E00, 0x9FA5)) for _ in range(N // 3)),
        "one word": "".join(rng.choice(letters) for _ in range(N)),
        "marks": "a" + "\u0301\u0316" * (N // 4),
        "code": "def foo_bar(x):\n    return {'a': 12, \"b\": x}\n" * (N // 45),
        "prose": "Hello world, don't you think that it's 12 o'clock?\n" * (N // 51),
        "half a special token": "<|im_" * (N // 5),
    }


def seconds(path, data):
    t = time.monotonic()
    subprocess.run([HEARTH, "tokenize", path], input=data, stdout=subprocess.DEVNULL, check=True)
    return time.monotonic() - t


def main():
    many = {name: text.encode() for name, text in texts().items()}
    for path in sys.argv[1:]:
        load = min(seconds(path, b"x") for _ in range(3))
        print(f"{os.path.basename(path)}: load {load:.2f} s")
        for name, data in many.items():
            print(f"  {name:22} {seconds(path, data) - load:6.2f} s")


if __name__ == "__main__":
    main()
