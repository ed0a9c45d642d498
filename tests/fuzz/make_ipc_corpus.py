#!/usr/bin/env python3
"""Writes the seed files of the frame fuzz target: make_ipc_corpus.py FOLDER

A conversation of each kind between gateway and worker, one frame a line; and the same as bytes.
"""
import json
import pathlib
import struct
import sys

SAMPLING = {"temperature": 0.8, "top_p": 0.9, "top_k": 40, "min_p": 0.05, "typical_p": 1, "repeat_penalty": 1.1,
            "repeat_last_n": 64, "presence_penalty": 0.5, "frequency_penalty": -0.5, "seed": -5,
            "bias": [[3, -100.0], [7, 1.5]]}


def generate(**more):
    return {"t": "generate", "id": 7, "max_tokens": 9, "n": 1, "stop": ["a", "\u00e9nd"], "sampling": SAMPLING, **more}


ACCEPTED = {"t": "accepted", "id": 7, "n_prompt": 4, "prompt_hash": -81}
DELTA = {"t": "delta", "id": 7, "index": 0, "text": "h\u00e9", "tokens": [[5], [6, None, "\u0001\u00ff", []]]}
SCORED = {"t": "delta", "id": 7, "index": 1, "text": "", "tokens": [[8, -0.5, "x", [[8, -0.5, "x"], [9, -2, "\u00c3"]]]]}
END = {"t": "end", "id": 7, "index": 0, "reason": "stop", "stop": "a", "n_completion": 2}
DONE = {"t": "done", "id": 7, "n_prompt": 4, "n_cached": 1, "n_completion": 2, "queue_ms": 0.5, "prefill_ms": 1, "decode_ms": 2}
ERROR = {"t": "error", "id": 7, "n_prompt": 9, "n_ctx": 8, "code": "context_length", "message": "too \u00e9", "param": None}
RESUME = {"n_ctx": 64, "n_prompt": 4, "prompt_hash": 1 << 62, "prior": [
    {"tokens": [1, 2], "text_len": 3}, {"tokens": [], "ended": True, "n_completion": 5}]}
READY = {"t": "ready", "arch": "llama", "name": "n", "file_type": "Q4_1", "kernel": "avx2", "kv_type": "f16",
         "fingerprint": "fp", "n_params": 1, "n_ctx_train": 2, "n_ctx": 3, "n_vocab": 4, "n_threads": 5, "n_seq_max": 6,
         "weight_bytes": 7, "kv_bytes": 8, "scratch_bytes": 9, "has_template": True, "sandboxed": False, "load_ms": 1.5}
STATS = {"t": "stats", "running": 1, "waiting": 2, "kv_blocks_used": 3, "kv_blocks": 4, "steps": 5, "prompt_tokens": 6,
         "output_tokens": 7, "preemptions": 8, "cancelled": 9, "prefill_s": 1, "decode_s": 2.5, "cached_blocks": 1,
         "cache_lookup_tokens": 2, "cached_tokens": 3}
TALKS = {
    "text": [generate(kind="text", text="Hi\u0000"), ACCEPTED, DELTA, END, DONE],
    "tokens": [generate(kind="tokens", tokens=[1, 2, 3, 4], n=2, logprobs=True, top_logprobs=2), ACCEPTED, SCORED, DELTA, END],
    "chat": [generate(kind="chat", chat={"messages": [{"role": "user", "content": "x"}]}, priority=3, tenant=9, salt=-1), ACCEPTED],
    "echo": [generate(kind="text", text="a", echo=True, ignore_eos=True), ACCEPTED, SCORED, ERROR],
    "resume": [generate(kind="text", text="a", n=2, resume=RESUME), ACCEPTED, DELTA],
    "loading": [{"t": "progress", "stage": "map", "fraction": 0.5}, READY, STATS],
    "questions": [{"t": "tokenize", "id": 1, "text": "x", "special": True, "bos": False}, {"t": "detokenize", "id": 2, "tokens": [1]},
                  {"t": "cancel", "id": 3}, {"t": "tokens", "id": 1, "tokens": [4, 5]}, {"t": "text", "id": 2, "text": "y"}],
}

folder = pathlib.Path(sys.argv[1])
for name, talk in TALKS.items():
    lines = [json.dumps(frame).encode() for frame in talk]
    (folder / f"{name}-lines").write_bytes(b"\n".join(lines))
    (folder / f"{name}-bytes").write_bytes(b"\0" + b"".join(struct.pack("<I", len(x)) + x for x in lines))
