"""Drives llama.cpp's shared library through ctypes, as a peer to compare with.

LLAMA_CPP_LIB names the folder of its libraries (libllama*.so, libggml*.so). The npm package
`@node-llama-cpp/linux-x64` carries prebuilt ones; releases of llama.cpp do, too. Only the parts of
its interface that have been stable are used: the first three numbers of the context parameters,
and functions. Tests do not need this: they compare with committed figures.
"""

import ctypes as C
import glob
import os

import numpy as np


class Params(C.Structure):
    """A parameter struct of unknown length: the library fills it, few bytes are touched."""

    _fields_ = [("words", C.c_uint32 * 128)]


class Batch(C.Structure):
    _fields_ = [
        ("n_tokens", C.c_int32),
        ("token", C.POINTER(C.c_int32)),
        ("embd", C.POINTER(C.c_float)),
        ("pos", C.POINTER(C.c_int32)),
        ("n_seq_id", C.POINTER(C.c_int32)),
        ("seq_id", C.POINTER(C.POINTER(C.c_int32))),
        ("logits", C.POINTER(C.c_int8)),
    ]


LOG = C.CFUNCTYPE(None, C.c_int, C.c_char_p, C.c_void_p)


def load_library():
    folder = os.environ.get("LLAMA_CPP_LIB", "")
    if not glob.glob(f"{folder}/libllama*.so*"):
        raise SystemExit("set LLAMA_CPP_LIB to the folder that holds llama.cpp's libraries")
    for pattern in ("libggml-base*.so*", "libggml.*so*"):
        for path in sorted(glob.glob(f"{folder}/{pattern}"))[:1]:
            ggml = C.CDLL(path, mode=C.RTLD_GLOBAL)
    named = [p for p in glob.glob(f"{folder}/libllama*.so*") if "common" not in p]
    lib = C.CDLL(sorted(named)[0], mode=C.RTLD_GLOBAL)
    lib.quiet = LOG(lambda level, text, data: None)
    lib.llama_log_set(lib.quiet, None)
    ggml.ggml_backend_load_all_from_path(folder.encode())
    for name, result, args in (
        ("llama_model_default_params", Params, []),
        ("llama_context_default_params", Params, []),
        ("llama_model_load_from_file", C.c_void_p, [C.c_char_p, Params]),
        ("llama_init_from_model", C.c_void_p, [C.c_void_p, Params]),
        ("llama_model_get_vocab", C.c_void_p, [C.c_void_p]),
        ("llama_vocab_n_tokens", C.c_int32, [C.c_void_p]),
        ("llama_tokenize", C.c_int32,
         [C.c_void_p, C.c_char_p, C.c_int32, C.c_void_p, C.c_int32, C.c_bool, C.c_bool]),
        ("llama_set_n_threads", None, [C.c_void_p, C.c_int32, C.c_int32]),
        ("llama_batch_init", Batch, [C.c_int32, C.c_int32, C.c_int32]),
        ("llama_batch_free", None, [Batch]),
        ("llama_decode", C.c_int32, [C.c_void_p, Batch]),
        ("llama_get_logits_ith", C.POINTER(C.c_float), [C.c_void_p, C.c_int32]),
        ("llama_free", None, [C.c_void_p]),
        ("llama_model_free", None, [C.c_void_p]),
    ):
        function = getattr(lib, name)
        function.restype, function.argtypes = result, args
    return lib


class LlamaCpp:
    def __init__(self, path, n_ctx, n_threads=2):
        self.lib = load_library()
        self.model = self.lib.llama_model_load_from_file(
            os.fsencode(path), self.lib.llama_model_default_params())
        if not self.model:
            raise RuntimeError(f"llama.cpp does not load {path}")
        params = self.lib.llama_context_default_params()
        params.words[0], params.words[1], params.words[2] = n_ctx, n_ctx, min(512, n_ctx)
        self.context = self.lib.llama_init_from_model(self.model, params)
        if not self.context:
            raise RuntimeError(f"llama.cpp makes no context for {path}")
        self.lib.llama_set_n_threads(self.context, n_threads, n_threads)
        self.vocab = self.lib.llama_model_get_vocab(self.model)
        self.n_vocab = self.lib.llama_vocab_n_tokens(self.vocab)

    def close(self):
        self.lib.llama_free(self.context)
        self.lib.llama_model_free(self.model)

    def tokenize(self, text):
        raw = text.encode()
        ids = np.empty(len(raw) + 8, np.int32)
        n = self.lib.llama_tokenize(self.vocab, raw, len(raw), ids.ctypes.data, len(ids), True,
                                    False)
        assert n >= 0
        return ids[:n].copy()

    def logits(self, tokens):
        """float32 [n, n_vocab] of one sequence from position 0, whose cache must be fresh."""
        n = len(tokens)
        b = self.lib.llama_batch_init(n, 0, 1)
        b.n_tokens = n
        for i, token in enumerate(tokens):
            b.token[i], b.pos[i], b.n_seq_id[i], b.logits[i] = int(token), i, 1, 1
            b.seq_id[i][0] = 0
        rc = self.lib.llama_decode(self.context, b)
        assert rc == 0, f"llama_decode: {rc}"
        out = np.empty((n, self.n_vocab), np.float32)
        for i in range(n):
            row = self.lib.llama_get_logits_ith(self.context, i)
            out[i] = np.ctypeslib.as_array(row, (self.n_vocab,))
        self.lib.llama_batch_free(b)
        return out
