#!/usr/bin/env python3
"""Writes the seed files of the model fuzz target: make_model_corpus.py FOLDER

One tiny model per architecture and per form of its tensors; bytes come from the GGUF seeds' writer.
"""
import pathlib
import sys

from make_gguf_corpus import F32, STR, U32, gguf

F32_ID, F16_ID, Q4_1_ID, Q8_0_ID = 0, 1, 3, 8
EMBD, HEAD, HEAD_KV, FF, VOCAB = 32, 2, 1, 32, 3


def model(arch, kind, fused=False, qk_norm=False, post_norm=False, bias=False, output=False,
          extra=(), more=()):
    dim = EMBD // HEAD
    n_kv = HEAD_KV * dim
    kvs = [("general.architecture", STR, arch)]
    kvs += [(f"{arch}.{key}", U32, value) for key, value in (
        ("block_count", 1), ("embedding_length", EMBD), ("attention.head_count", HEAD),
        ("attention.head_count_kv", HEAD_KV), ("feed_forward_length", FF), ("context_length", 64))]
    kvs.append((f"{arch}.attention.layer_norm_rms_epsilon", F32, 1e-6))
    kvs += [(f"{arch}.{key}", t, value) for key, t, value in extra]
    t = [("token_embd.weight", kind, [EMBD, VOCAB]), ("output_norm.weight", F32_ID, [EMBD])]
    b = "blk.0."
    t += [(b + "attn_norm.weight", F32_ID, [EMBD]), (b + "ffn_norm.weight", F32_ID, [EMBD])]
    if fused:
        t += [(b + "attn_qkv.weight", kind, [EMBD, EMBD + 2 * n_kv]),
              (b + "ffn_up.weight", kind, [EMBD, 2 * FF])]
    else:
        t += [(b + "attn_q.weight", kind, [EMBD, EMBD]), (b + "attn_k.weight", kind, [EMBD, n_kv]),
              (b + "attn_v.weight", kind, [EMBD, n_kv]), (b + "ffn_gate.weight", kind, [EMBD, FF]),
              (b + "ffn_up.weight", kind, [EMBD, FF])]
    t += [(b + "attn_output.weight", kind, [EMBD, EMBD]), (b + "ffn_down.weight", kind, [FF, EMBD])]
    if bias:
        t += [(f"{b}attn_{p}.bias", F32_ID, [n]) for p, n in (("q", EMBD), ("k", n_kv), ("v", n_kv))]
    if qk_norm:
        t += [(f"{b}attn_{p}_norm.weight", F32_ID, [dim]) for p in "qk"]
    if post_norm:
        t += [(b + f"post_{p}.weight", F32_ID, [EMBD]) for p in ("attention_norm", "ffw_norm")]
    if output:
        t.append(("output.weight", kind, [EMBD, VOCAB]))
    return gguf(kvs, t + list(more))


def main(folder):
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    window = [("attention.sliding_window", U32, 1), ("attention.sliding_window_pattern", U32, 0)]
    yarn = [("rope.scaling.type", STR, "yarn"), ("rope.scaling.factor", F32, 4.0)]
    factors = [("rope_factors_short.weight", F32_ID, [8]), ("rope_factors_long.weight", F32_ID, [8])]
    seeds = {
        "llama": model("llama", Q8_0_ID, output=True),
        "llama-freqs": model("llama", Q4_1_ID, more=[("rope_freqs.weight", F32_ID, [8])]),
        "qwen2": model("qwen2", Q8_0_ID, bias=True, extra=yarn),
        "qwen3": model("qwen3", F16_ID, qk_norm=True),
        "gemma2": model("gemma2", Q8_0_ID, post_norm=True, extra=window),
        "gemma3": model("gemma3", Q8_0_ID, post_norm=True, qk_norm=True, extra=window),
        "phi3": model("phi3", F32_ID, fused=True, more=factors),
    }
    for name, data in seeds.items():
        (folder / f"{name}.gguf").write_bytes(data)


if __name__ == "__main__":
    main(sys.argv[1])
