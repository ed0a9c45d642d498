#!/usr/bin/env python3
"""Writes the seed files of the tokenizer fuzz target: make_tokenizer_corpus.py FOLDER

Tiny sound vocabularies of every kind with a text, and texts for the built-in ones.
"""
import pathlib
import sys

from make_gguf_corpus import ARR, BOOL, F32, I32, STR, U8, U32, gguf

T = "tokenizer.ggml."
TEXTS = ["", "hello world", " a  b\n\nc\t'll 123 4567", "<s>hello<tool></s>", "h\u00e9e\u0301\u4e2d\u6587",
         "\U0001f600\U0001f468\u200d\U0001f469", "aaaaaaaaaaaaaaaaaaaaaaaa", "\u2581\u2581a",
         "ABc don't I'LL /x//\r\n", "\ud55c\uad6d \u0661\u0662 \u3000\u3002"]


def vocabulary(model, pre, tokens, merges=None, scores=None, types=None, extra=()):
    kvs = [(T + "model", STR, model), (T + "pre", STR, pre), (T + "tokens", ARR, (STR, tokens))]
    kvs.append((T + "token_type", ARR, (I32, types or [1] * len(tokens))))
    if merges is not None:
        kvs.append((T + "merges", ARR, (STR, merges)))
    if scores is not None:
        kvs.append((T + "scores", ARR, (F32, scores)))
    return gguf(kvs + list(extra))


def seeds():
    for i, text in enumerate(TEXTS):
        for kind in range(4):
            yield f"text-{i}-{kind}", bytes([kind << 2 | i % 4]) + text.encode()
    ids = [(T + "bos_token_id", U32, 0), (T + "eos_token_id", U32, 1), (T + "add_bos_token", BOOL, True)]
    bpe = ["<s>", "</s>", "h", "e", "l", "o", "\u0120", "he", "ll", "hell", "<tool>"]
    for pre in ("gpt-2", "llama-bpe", "qwen2", "deepseek-llm", "smollm", "gpt-4o", "tekken",
                "falcon", "default", "kimi-k2", "exaone-moe", "gemma4", "tiny_aya", "bloom"):
        yield "bpe-" + pre, vocabulary("gpt2", pre, bpe, ["h e", "l l", "he ll"],
                                       types=[3, 3] + [1] * 8 + [4], extra=ids)
    spm = ["<unk>", "<s>", "</s>", "<0x0A>", "\u2581", "h", "e", "he", "\u2581he", "<t>"]
    yield "spm", vocabulary("llama", "default", spm, scores=[-float(i) for i in range(10)],
                            types=[2, 3, 3, 6, 1, 1, 1, 1, 1, 4],
                            extra=[(T + "add_space_prefix", BOOL, False)])
    yield "bert", vocabulary("bert", "bert", ["[UNK]", "[CLS]", "\u2581he", "llo", "\u2581,"],
                             types=[3, 3, 1, 1, 1], extra=[(T + "unknown_token_id", U32, 0)])
    rules = b"\x08\0\0\0" + bytes([0, 0, 4, 0, 0x41, 1, 4, 0]) + b"a\0 \0"
    yield "unigram", vocabulary("t5", "default", ["<s>", "</s>", "<unk>", "\u2581", "h", "he", "\u2581he", "<t>"],
                                scores=[-float(i) for i in range(8)], types=[3, 3, 2, 1, 1, 1, 1, 4],
                                extra=[*ids, (T + "unknown_token_id", U32, 2),
                                       (T + "precompiled_charsmap", ARR, (U8, list(rules)))])
    yield "gemma4", vocabulary("gemma4", "", ["<s>", "h", "e", "he", "\n\n", "\u2581"], ["h e"],
                               types=[3, 1, 1, 1, 1, 1])


def main():
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in seeds():
        if not name.startswith("text"):
            data = b"\x83" + data + b"\n=TEXT=\n<s>hello he\nhell<tool> 12"
        (folder / name).write_bytes(data)


if __name__ == "__main__":
    main()
