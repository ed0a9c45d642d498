#!/usr/bin/env python3
"""Makes small random-weight models, one for every branch of the architecture table.

    scripts/make_tiny_models.py FOLDER             writes FOLDER/<name>.gguf, the same bytes each time
    LLAMA_CPP_LIB=folder scripts/make_tiny_models.py --golden
                                                   writes tests/golden/tiny.npz: llama.cpp's logits

The vocabulary is 256 bytes and three control tokens, in SentencePiece form, so that every tool
loads the files. Windows are smaller than a text of N tokens, and N passes a block of keys.
"""
import pathlib
import sys
import tempfile

import gguf
import numpy as np

ROOT = pathlib.Path(__file__).resolve().parent.parent
N = 80           # tokens of the text that goldens are made of
ROWS = [0, 1, 15, 16, 17, 31, 32, 33, 47, 64, 79]  # positions whose logits are kept
N_VOCAB = 259

# Llama 3.1's divisors for a head of 32: high frequencies stay, low ones slow down eightfold.
LLAMA3 = np.array([1, 1, 1, 1, 1, 1, 1.2, 1.7, 2.5, 4, 6, 8, 8, 8, 8, 8], np.float32)
SHORT = np.linspace(1.0, 1.6, 16, dtype=np.float32)
LONG = np.linspace(1.0, 40.0, 16, dtype=np.float32)

# name: (architecture, sizes, further keys, flags). peer: llama.cpp means the same by the file.
MODELS = {
    "llama-rope-freqs": ("llama", dict(n_head=4, n_head_kv=2, n_embd=128), {}, dict(freqs=LLAMA3)),
    "llama-tied-q8": ("llama", dict(n_head=6, n_head_kv=2, n_embd=96), {},
                      dict(tied=True, types=("Q8_0", "F16"))),
    "llama-linear": ("llama", dict(n_head=4, n_head_kv=4, n_embd=128),
                     {"rope.scaling.type": "linear", "rope.scaling.factor": 4.0}, {}),
    "qwen2": ("qwen2", dict(n_head=4, n_head_kv=2, n_embd=128), {}, dict(bias=True)),
    "qwen2-yarn": ("qwen2", dict(n_head=4, n_head_kv=1, n_embd=128, n_ctx=256),
                   {"rope.scaling.type": "yarn", "rope.scaling.factor": 4.0,
                    "rope.scaling.original_context_length": 64}, dict(bias=True, tied=True)),
    "qwen3": ("qwen3", dict(n_head=5, n_head_kv=1, n_embd=96, head_dim=32), {},
              dict(qk_norm=True)),
    "gemma2": ("gemma2", dict(n_head=4, n_head_kv=2, n_embd=96, head_dim=32, n_layer=4),
               {"attention.sliding_window": 16, "attn_logit_softcapping": 2.0,
                "final_logit_softcapping": 3.0}, dict(post_norm=True, tied=True)),
    "gemma3": ("gemma3", dict(n_head=4, n_head_kv=1, n_embd=96, head_dim=32, n_layer=7),
               {"attention.sliding_window": 16, "rope.scaling.type": "linear",
                "rope.scaling.factor": 8.0}, dict(post_norm=True, qk_norm=True, tied=True,
                                                  base=1e6)),
    "phi3-short": ("phi3", dict(n_head=4, n_head_kv=2, n_embd=128, n_ctx=256),
                   {"rope.scaling.original_context_length": 128,
                    "rope.scaling.attn_factor": 1.1}, dict(fused=True, longrope=True)),
    "phi3-long": ("phi3", dict(n_head=4, n_head_kv=2, n_embd=128, n_ctx=256),
                  {"rope.scaling.original_context_length": 64,
                   "rope.scaling.attn_factor": 1.2}, dict(fused=True, longrope=True)),
    # llama.cpp leaves Phi-3's window out; the model's own code has it in every layer.
    "phi3-window": ("phi3", dict(n_head=4, n_head_kv=4, n_embd=128),
                    {"attention.sliding_window": 24}, dict(fused=True, peer=False)),
}


def text_ids():
    """The ids of a text, as bytes."""
    raw = (ROOT / "tests/golden/text.txt").read_bytes()[:N - 1]
    return np.array([1] + [3 + b for b in raw], np.int32)


def add_vocabulary(w):
    tokens = [b"<unk>", b"<s>", b"</s>"] + [f"<0x{i:02X}>".encode() for i in range(256)]
    kinds = [gguf.TokenType.UNKNOWN, gguf.TokenType.CONTROL, gguf.TokenType.CONTROL]
    w.add_tokenizer_model("llama")
    w.add_token_list(tokens)
    w.add_token_scores([0.0] * N_VOCAB)
    w.add_token_types(kinds + [gguf.TokenType.BYTE] * 256)
    w.add_bos_token_id(1)
    w.add_eos_token_id(2)
    w.add_unk_token_id(0)


class Maker:
    def __init__(self, name, path):
        self.arch, sizes, self.keys, self.flags = MODELS[name]
        self.rng = np.random.default_rng(list(name.encode()))
        self.n_embd, self.n_head, self.n_head_kv = (
            sizes[k] for k in ("n_embd", "n_head", "n_head_kv"))
        self.n_layer, self.n_ctx = sizes.get("n_layer", 3), sizes.get("n_ctx", 128)
        self.head_dim = sizes.get("head_dim")
        self.n_ff = 160 if self.flags.get("types") is None else 192
        self.w = gguf.GGUFWriter(path, self.arch)
        self.n_matrix = 0

    def matrix(self, name, n_out, n_in, gain=1.0):
        types = self.flags.get("types", ("F32",))
        kind = gguf.GGMLQuantizationType[types[self.n_matrix % len(types)]]
        self.n_matrix += 1
        data = self.rng.standard_normal((n_out, n_in)).astype(np.float32) * np.float32(
            gain / np.sqrt(n_in))
        self.w.add_tensor(name, gguf.quantize(data, kind), raw_dtype=kind)

    def vector(self, name, n, around=1.0):
        data = around + 0.2 * self.rng.standard_normal(n)
        self.w.add_tensor(name, data.astype(np.float32))

    def header(self):
        w, head = self.w, self.head_dim or self.n_embd // self.n_head
        w.add_context_length(self.n_ctx)
        w.add_embedding_length(self.n_embd)
        w.add_block_count(self.n_layer)
        w.add_feed_forward_length(self.n_ff)
        w.add_head_count(self.n_head)
        w.add_head_count_kv(self.n_head_kv)
        w.add_layer_norm_rms_eps(1e-6)
        w.add_rope_freq_base(self.flags.get("base", 10000.0))
        w.add_rope_dimension_count(head)
        w.add_vocab_size(N_VOCAB)
        if self.head_dim:
            w.add_key_length(head)
            w.add_value_length(head)
        for key, value in self.keys.items():
            add = {str: w.add_string, int: w.add_uint32, float: w.add_float32}[type(value)]
            add(f"{self.arch}.{key}", value)
        add_vocabulary(w)
        return head

    def attention(self, b, head):
        n_q, n_kv = self.n_head * head, self.n_head_kv * head
        if self.flags.get("fused"):
            self.matrix(b + "attn_qkv.weight", n_q + 2 * n_kv, self.n_embd, 1.5)
        else:
            for part, n in (("q", n_q), ("k", n_kv), ("v", n_kv)):
                self.matrix(f"{b}attn_{part}.weight", n, self.n_embd, 1.5)
                if self.flags.get("bias"):
                    self.vector(f"{b}attn_{part}.bias", n, 0.0)
        if self.flags.get("qk_norm"):
            self.vector(b + "attn_q_norm.weight", head)
            self.vector(b + "attn_k_norm.weight", head)
        self.matrix(b + "attn_output.weight", self.n_embd, n_q)

    def layer(self, i, head):
        b = f"blk.{i}."
        self.vector(b + "attn_norm.weight", self.n_embd)
        self.attention(b, head)
        self.vector(b + "ffn_norm.weight", self.n_embd)
        if self.flags.get("post_norm"):
            self.vector(b + "post_attention_norm.weight", self.n_embd)
            self.vector(b + "post_ffw_norm.weight", self.n_embd)
        if self.flags.get("fused"):
            self.matrix(b + "ffn_up.weight", 2 * self.n_ff, self.n_embd)
        else:
            self.matrix(b + "ffn_gate.weight", self.n_ff, self.n_embd)
            self.matrix(b + "ffn_up.weight", self.n_ff, self.n_embd)
        self.matrix(b + "ffn_down.weight", self.n_embd, self.n_ff)

    def make(self):
        head = self.header()
        # Small against what the layers add, or their errors would not show in the logits.
        self.matrix("token_embd.weight", N_VOCAB, self.n_embd, 1.0)
        if "freqs" in self.flags:
            self.w.add_tensor("rope_freqs.weight", self.flags["freqs"])
        if self.flags.get("longrope"):
            self.w.add_tensor("rope_factors_long.weight", LONG)
            self.w.add_tensor("rope_factors_short.weight", SHORT)
        for i in range(self.n_layer):
            self.layer(i, head)
        self.vector("output_norm.weight", self.n_embd)
        if not self.flags.get("tied"):
            self.matrix("output.weight", N_VOCAB, self.n_embd, 2.0)
        self.w.write_header_to_file()
        self.w.write_kv_data_to_file()
        self.w.write_tensors_to_file()
        self.w.close()


def make_all(folder):
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for name in MODELS:
        Maker(name, folder / f"{name}.gguf").make()
    return folder


def make_golden():
    from llama_cpp import LlamaCpp

    kept = {}
    with tempfile.TemporaryDirectory() as folder:
        make_all(folder)
        for name, model in MODELS.items():
            if not model[3].get("peer", True):
                continue
            peer = LlamaCpp(f"{folder}/{name}.gguf", model[1].get("n_ctx", 128))
            kept[name] = peer.logits(text_ids())[ROWS]
            peer.close()
    np.savez_compressed(ROOT / "tests/golden/tiny.npz", **kept)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    make_golden() if sys.argv[1] == "--golden" else make_all(sys.argv[1])
