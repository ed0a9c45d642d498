"""An independent float32 forward pass for every architecture Hearth knows, in plain numpy.

It owns: what the right answer is. It must not know Hearth's code: hyperparameters and weights are
read with the Python package `gguf`, whose dequantization defines the weights' float values.
Invariants: weights are float32, matrix products are float32 (BLAS), norms, softmax and rotary
angles are float64; one sequence from position 0; no cache, no quantized activations.

Sources: the models' papers and reference code in Hugging Face transformers; key and tensor names
from the GGUF specification. Where llama.cpp and transformers differ, transformers is followed and
the difference is written down beside the line.
"""

import numpy as np
from gguf import GGUFReader, dequantize

# What an architecture does that a plain Llama does not. neox: rotary pairs are (i, i + n_rot/2)
# (else (2i, 2i + 1)); swa_period: every swa_period-th layer is global, the others see a window
# (0: every layer sees the window, 1: none does).
ARCHS = {
    "llama": dict(neox=False, swa_period=1),
    "qwen2": dict(neox=True, swa_period=1),
    "qwen3": dict(neox=True, swa_period=1),
    "gemma2": dict(neox=True, gelu=True, embd_scale=True, swa_period=2, window=4096,
                   attn_cap=50.0, final_cap=30.0, layers_27b=46),
    "gemma3": dict(neox=True, gelu=True, embd_scale=True, swa_period=6, base_swa=10000.0,
                   layers_27b=62),
    "phi3": dict(neox=True, swa_period=0),
}

QUERIES = 1024  # that attention computes at once: a long text's scores would not fit in memory


def quantize_a8(x):
    """One plane of activations: int8 in blocks of 32, one f32 scale a block."""
    b = x.reshape(-1, 32).astype(np.float32)
    d = np.abs(b).max(axis=1, keepdims=True) / np.float32(127)
    q = np.rint(b / np.where(d > 0, d, 1))
    return (q * d).reshape(x.shape).astype(np.float32)


class Reference:
    """Reference(path).logits(tokens, rows) -> float32 [len(rows), n_vocab]."""

    def __init__(self, path, n_ctx=0, a8=False, kv_f16=False):
        """n_ctx: the context the model is opened with (phi3 picks its rotary factors by it);
        a8: round activations to one plane of 8 bits before each product with a quantized matrix;
        kv_f16: round keys and values to 16 bits, as Hearth keeps them."""
        self.reader = GGUFReader(path)
        self.tensors = {t.name: t for t in self.reader.tensors}
        self.a8, self.kv_f16 = a8, kv_f16
        self.cache = {}
        arch = self.arch = self.reader.fields["general.architecture"].contents()
        row = self.row = ARCHS[arch]
        self.n_layer = self.key("block_count")
        self.n_embd = self.key("embedding_length")
        self.n_head = self.key("attention.head_count")
        self.n_head_kv = self.key("attention.head_count_kv", self.n_head)
        self.head_dim = self.key("attention.key_length", self.n_embd // self.n_head)
        self.head_dim_v = self.key("attention.value_length", self.n_embd // self.n_head)
        self.n_rot = self.key("rope.dimension_count", self.head_dim)
        self.eps = self.key("attention.layer_norm_rms_epsilon")
        self.n_ctx_train = self.key("context_length")
        self.n_ctx = n_ctx or self.n_ctx_train
        self.window = self.key("attention.sliding_window", row.get("window", 0))
        self.swa_period = self.key("attention.sliding_window_pattern", row["swa_period"])
        self.attn_cap = self.key("attn_logit_softcapping", row.get("attn_cap", 0.0))
        self.final_cap = self.key("final_logit_softcapping", row.get("final_cap", 0.0))
        # Gemma's 27B models scale queries by the model's width per head, not by the head's.
        per_head = self.head_dim
        if self.n_layer == row.get("layers_27b"):
            per_head = self.n_embd // self.n_head
        self.attn_scale = 1.0 / np.sqrt(per_head)
        self.rope_global = self.rope_frequencies(self.key("rope.freq_base", 10000.0), True)
        base_swa = self.key("rope.freq_base_swa",
                            row.get("base_swa", self.key("rope.freq_base", 10000.0)))
        # Gemma 3 scales only its global layers.
        self.rope_local = self.rope_frequencies(base_swa, "base_swa" not in row)

    def key(self, name, default=None):
        field = self.reader.fields.get(f"{self.arch}.{name}")
        if field is None:
            assert default is not None, f"missing key {name}"
            return default
        return field.contents()

    def weight(self, name, optional=False):
        """float32, numpy order: a matrix is [n_out, n_in]."""
        if name not in self.tensors:
            assert optional, f"missing tensor {name}"
            return None
        if name not in self.cache:
            t = self.tensors[name]
            w = dequantize(t.data, t.tensor_type).astype(np.float32)
            self.cache[name] = w.reshape([int(n) for n in reversed(t.shape)])
        return self.cache[name]

    def multiply(self, x, name, rows=slice(None)):
        """x [n, n_in] times the matrix's rows, plus the bias if there is one: [n, n_out]."""
        kind = self.tensors[name].tensor_type.name
        if self.a8 and kind not in ("F32", "F16", "BF16"):
            x = quantize_a8(x)
        y = x @ self.weight(name)[rows].T
        bias = self.weight(name.replace(".weight", ".bias"), optional=True)
        return y if bias is None else y + bias[rows]

    def rope_frequencies(self, base, scaled):
        """(angle per position [n_rot/2], magnitude of cos and sin)."""
        n = self.n_rot
        freq = float(base) ** (-np.arange(0, n, 2, dtype=np.float64) / n)
        kind = self.key("rope.scaling.type", "linear")
        scale = self.key("rope.scaling.factor", self.key("rope.scale_linear", 0.0))
        scale = 1.0 if not scale or not scaled or kind in ("none", "longrope") else scale
        n_orig = self.key("rope.scaling.original_context_length", self.n_ctx_train)
        magnitude = self.key("rope.scaling.attn_factor", 1.0) if scaled else 1.0
        factors = self.weight("rope_freqs.weight", optional=True)
        if factors is None:
            which = "long" if self.n_ctx > n_orig else "short"
            factors = self.weight(f"rope_factors_{which}.weight", optional=True)
        if factors is not None and scaled:
            freq = freq / factors.astype(np.float64)
        if kind == "yarn" and scale > 1.0:
            # YaRN (Peng et al. 2023): fast dimensions keep their frequency, slow ones are
            # stretched, a ramp between; dimension d turns n times over n_orig positions at
            # d(n) = n_rot * ln(n_orig / (2 pi n)) / (2 ln base).
            fast = self.key("rope.scaling.yarn_beta_fast", 32.0)
            slow = self.key("rope.scaling.yarn_beta_slow", 1.0)
            at = [n * np.log(n_orig / (2 * np.pi * turns)) / (2 * np.log(base))
                  for turns in (fast, slow)]
            low, high = max(0, np.floor(at[0])), min(n - 1, np.ceil(at[1]))
            ramp = np.clip((np.arange(n // 2) - low) / max(0.001, high - low), 0, 1)
            freq = freq / scale * ramp + freq * (1 - ramp)
            magnitude *= 1.0 + 0.1 * np.log(scale)
        else:
            freq = freq / scale
        return freq, magnitude

    def rotate(self, x, rope):
        """x [n, heads, head_dim], positions 0..n-1."""
        freq, magnitude = rope
        angle = np.arange(x.shape[0], dtype=np.float64)[:, None] * freq
        cos, sin = np.cos(angle)[:, None] * magnitude, np.sin(angle)[:, None] * magnitude
        half = self.n_rot // 2
        a, b = (slice(0, half), slice(half, self.n_rot)) if self.row["neox"] else \
            (slice(0, self.n_rot, 2), slice(1, self.n_rot, 2))
        y = x.copy()
        y[..., a] = x[..., a] * cos - x[..., b] * sin
        y[..., b] = x[..., a] * sin + x[..., b] * cos
        return y

    def norm(self, x, name, optional=False):
        w = self.weight(name, optional)
        if w is None:
            return x
        x64 = x.astype(np.float64)
        inv = 1.0 / np.sqrt((x64 * x64).mean(axis=-1, keepdims=True) + self.eps)
        return (x64 * inv).astype(np.float32) * w

    def attention(self, q, k, v, window):
        """q [n, n_head, head_dim], k and v [n, n_head_kv, head_dim]: [n, n_head * head_dim_v]."""
        n, group = q.shape[0], self.n_head // self.n_head_kv
        out = np.empty((n, self.n_head, self.head_dim_v), np.float32)
        for lo in range(0, n, QUERIES):
            rows, last = slice(lo, min(lo + QUERIES, n)), min(lo + QUERIES, n)
            at = np.arange(lo, last)[:, None] - np.arange(last)[None, :]
            seen = (at >= 0) & (at < window) if window else at >= 0
            for h in range(self.n_head):
                score = (q[rows, h] @ k[:last, h // group].T) * np.float32(self.attn_scale)
                score = score.astype(np.float64)
                if self.attn_cap:
                    score = self.attn_cap * np.tanh(score / self.attn_cap)
                score = np.where(seen, score, -np.inf)
                p = np.exp(score - score.max(axis=1, keepdims=True))
                p /= p.sum(axis=1, keepdims=True)
                out[rows, h] = p.astype(np.float32) @ v[:last, h // group]
        return out.reshape(n, -1)

    def qkv(self, x, b):
        dims = [self.n_head * self.head_dim, self.n_head_kv * self.head_dim,
                self.n_head_kv * self.head_dim_v]
        if b + "attn_qkv.weight" in self.tensors:
            parts = np.split(self.multiply(x, b + "attn_qkv.weight"), np.cumsum(dims)[:2], axis=1)
        else:
            parts = [self.multiply(x, f"{b}attn_{p}.weight") for p in "qkv"]
        n = x.shape[0]
        return (parts[0].reshape(n, self.n_head, -1), parts[1].reshape(n, self.n_head_kv, -1),
                parts[2].reshape(n, self.n_head_kv, -1))

    def feed_forward(self, x, b):
        if b + "ffn_gate.weight" in self.tensors:
            gate, up = (self.multiply(x, f"{b}ffn_{p}.weight") for p in ("gate", "up"))
        else:
            gate, up = np.split(self.multiply(x, b + "ffn_up.weight"), 2, axis=1)
        g = gate.astype(np.float64)
        if self.row.get("gelu"):
            g = 0.5 * g * (1 + np.tanh(np.sqrt(2 / np.pi) * (g + 0.044715 * g ** 3)))
        else:
            g = g / (1 + np.exp(-g))
        return self.multiply((g * up).astype(np.float32), b + "ffn_down.weight")

    def hidden(self, tokens):
        """The last layer's output after the final norm: [n, n_embd]."""
        t = self.tensors["token_embd.weight"]
        x = dequantize(np.ascontiguousarray(t.data[np.asarray(tokens)]), t.tensor_type)
        x = x.astype(np.float32)
        if self.row.get("embd_scale"):
            x = x * np.float32(np.sqrt(self.n_embd))
        for i in range(self.n_layer):
            b = f"blk.{i}."
            period = self.swa_period
            local = self.window > 0 and (period == 0 or i % period < period - 1)
            q, k, v = self.qkv(self.norm(x, b + "attn_norm.weight"), b)
            q = self.norm(q, b + "attn_q_norm.weight", optional=True)
            k = self.norm(k, b + "attn_k_norm.weight", optional=True)
            rope = self.rope_local if local else self.rope_global
            q, k = self.rotate(q, rope), self.rotate(k, rope)
            if self.kv_f16:
                k, v = (a.astype(np.float16).astype(np.float32) for a in (k, v))
            y = self.attention(q, k, v, self.window if local else 0)
            y = self.multiply(y, b + "attn_output.weight")
            x = x + self.norm(y, b + "post_attention_norm.weight", optional=True)
            y = self.feed_forward(self.norm(x, b + "ffn_norm.weight"), b)
            x = x + self.norm(y, b + "post_ffw_norm.weight", optional=True)
        return self.norm(x, "output_norm.weight")

    def logits(self, tokens, rows=None):
        x = self.hidden(tokens)
        x = x if rows is None else x[rows]
        name = "output.weight" if "output.weight" in self.tensors else "token_embd.weight"
        y = self.multiply(x, name)
        if self.final_cap:
            y = (self.final_cap * np.tanh(y.astype(np.float64) / self.final_cap)).astype(np.float32)
        return y


def log_softmax(logits):
    x = logits.astype(np.float64)
    x = x - x.max(axis=-1, keepdims=True)
    return x - np.log(np.exp(x).sum(axis=-1, keepdims=True))
