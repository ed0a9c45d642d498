#!/usr/bin/env python3
"""llama.cpp in a process of its own, driven over standard input: the peer of bench/compare.py.

    bench/peer_llama.py MODEL CELLS [--threads N] [--kv-type f16|q8_0] [--level LEVEL] [--flash auto|on|off]

CELLS is a JSON list of {"test": "prefill", "prompt": N, "depth": D} and {"test": "decode", "batch": B,
"steps": N, "depth": D}. Every line on standard input is the index of a cell and asks for one sample;
every answer is a line of JSON. The first answer says {"ready": true, ...}. As in `hearth bench`, tokens
are random, nothing is sampled, logits of a prefill are wanted of its last token only.

The library is called through its public C interface. Its parameter structs change between releases,
so their layout is checked against the defaults that the library itself returns, and the parameters
against what the context then reports; a release with another layout is refused, not misread. All other
settings are the library's defaults: weights are repacked, flash attention is its own choice. It gets a
thread pool that lives as long as the process, as llama.cpp's own benchmark gives it.
"""
import argparse
import ctypes as C
import glob
import json
import os
import pathlib
import random
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
FILL = 512  # tokens of the prefill that a depth is copied from
KV_TYPES = {"f16": 1, "q8_0": 8}  # enum ggml_type
FLASH = {"auto": -1, "off": 0, "on": 1}  # enum llama_flash_attn_type
# The build of the CPU library that has a level's instructions and no others that matter.
LIBRARIES = {"avx2": "haswell", "avxvnni": "alderlake", "avx512": "skylakex"}
LOG = C.CFUNCTYPE(None, C.c_int, C.c_char_p, C.c_void_p)


class ModelParams(C.Structure):
    """Passed back as it came: only the defaults are used."""

    _fields_ = [("bytes", C.c_uint8 * 512)]


class ContextParams(C.Structure):
    _fields_ = [
        ("n_ctx", C.c_uint32), ("n_batch", C.c_uint32), ("n_ubatch", C.c_uint32),
        ("n_seq_max", C.c_uint32), ("n_rs_seq", C.c_uint32), ("n_outputs_max", C.c_uint32),
        ("other_1", C.c_uint32), ("n_threads", C.c_int32), ("n_threads_batch", C.c_int32),
        ("ctx_type", C.c_int32), ("rope_scaling_type", C.c_int32), ("pooling_type", C.c_int32),
        ("attention_type", C.c_int32), ("flash_attn_type", C.c_int32),
        ("rope_freq_base", C.c_float), ("rope_freq_scale", C.c_float),
        ("yarn_ext_factor", C.c_float), ("yarn_attn_factor", C.c_float),
        ("yarn_beta_fast", C.c_float), ("yarn_beta_slow", C.c_float),
        ("yarn_orig_ctx", C.c_uint32), ("defrag_thold", C.c_float),
        ("cb_eval", C.c_void_p), ("cb_eval_user_data", C.c_void_p),
        ("type_k", C.c_int32), ("type_v", C.c_int32),
        ("abort_callback", C.c_void_p), ("abort_callback_data", C.c_void_p),
        ("embeddings", C.c_bool), ("offload_kqv", C.c_bool), ("no_perf", C.c_bool),
        ("op_offload", C.c_bool), ("swa_full", C.c_bool), ("kv_unified", C.c_bool),
        ("rest", C.c_uint8 * 368),  # room for what a release adds at the end
    ]


# What v0.5.0 returns for them: any other value means another layout.
DEFAULTS = dict(
    n_ctx=512, n_batch=2048, n_ubatch=512, n_seq_max=1, n_rs_seq=0, n_outputs_max=0, other_1=1,
    n_threads=4, n_threads_batch=4, ctx_type=0, rope_scaling_type=-1, pooling_type=-1,
    attention_type=-1, flash_attn_type=-1, yarn_ext_factor=-1.0, yarn_orig_ctx=0, defrag_thold=-1.0,
    cb_eval=None, type_k=1, type_v=1, abort_callback=None, embeddings=False, offload_kqv=True,
    no_perf=True, op_offload=True, swa_full=True, kv_unified=False)


class Batch(C.Structure):
    _fields_ = [
        ("n_tokens", C.c_int32), ("token", C.POINTER(C.c_int32)), ("embd", C.POINTER(C.c_float)),
        ("pos", C.POINTER(C.c_int32)), ("n_seq_id", C.POINTER(C.c_int32)),
        ("seq_id", C.POINTER(C.POINTER(C.c_int32))), ("logits", C.POINTER(C.c_int8)),
    ]


class PoolParams(C.Structure):
    _fields_ = [("cpumask", C.c_bool * 512), ("n_threads", C.c_int), ("prio", C.c_int),
                ("poll", C.c_uint32), ("strict_cpu", C.c_bool), ("paused", C.c_bool)]


FUNCTIONS = (
    ("llama_model_default_params", ModelParams, []),
    ("llama_context_default_params", ContextParams, []),
    ("llama_model_load_from_file", C.c_void_p, [C.c_char_p, ModelParams]),
    ("llama_init_from_model", C.c_void_p, [C.c_void_p, ContextParams]),
    ("llama_model_get_vocab", C.c_void_p, [C.c_void_p]),
    ("llama_vocab_n_tokens", C.c_int32, [C.c_void_p]),
    ("llama_n_ctx", C.c_uint32, [C.c_void_p]),
    ("llama_n_batch", C.c_uint32, [C.c_void_p]),
    ("llama_n_ubatch", C.c_uint32, [C.c_void_p]),
    ("llama_n_seq_max", C.c_uint32, [C.c_void_p]),
    ("llama_n_threads", C.c_int32, [C.c_void_p]),
    ("llama_get_memory", C.c_void_p, [C.c_void_p]),
    ("llama_memory_clear", None, [C.c_void_p, C.c_bool]),
    ("llama_memory_can_shift", C.c_bool, [C.c_void_p]),
    ("llama_memory_seq_rm", C.c_bool, [C.c_void_p, C.c_int32, C.c_int32, C.c_int32]),
    ("llama_memory_seq_cp", None, [C.c_void_p] + [C.c_int32] * 4),
    ("llama_memory_seq_add", None, [C.c_void_p] + [C.c_int32] * 4),
    ("llama_memory_seq_pos_max", C.c_int32, [C.c_void_p, C.c_int32]),
    ("llama_state_seq_get_size", C.c_size_t, [C.c_void_p, C.c_int32]),
    ("llama_state_seq_get_data", C.c_size_t, [C.c_void_p, C.c_void_p, C.c_size_t, C.c_int32]),
    ("llama_state_seq_set_data", C.c_size_t, [C.c_void_p, C.c_void_p, C.c_size_t, C.c_int32]),
    ("llama_attach_threadpool", None, [C.c_void_p] * 3),
    ("llama_batch_init", Batch, [C.c_int32] * 3),
    ("llama_decode", C.c_int32, [C.c_void_p, Batch]),
    ("llama_synchronize", None, [C.c_void_p]),
    ("llama_get_logits_ith", C.POINTER(C.c_float), [C.c_void_p, C.c_int32]),
    ("llama_print_system_info", C.c_char_p, []),
)


def fail(text):
    print(json.dumps({"error": text}), flush=True)
    sys.exit(1)


def default_folder():
    arch = {"x86_64": "x64", "aarch64": "arm64"}.get(os.uname().machine, "?")
    return HERE / f"node_modules/@node-llama-cpp/linux-{arch}/bins/linux-{arch}"


class Library:
    """The shared libraries of one folder, with the CPU code of one instruction level."""

    def __init__(self, folder, level):
        self.log = []
        found = {}
        for name in ("libggml-base", "libggml", "libllama"):
            paths = [p for p in sorted(glob.glob(f"{folder}/{name}.*so*"))]
            if not paths:
                fail(f"no {name} in {folder}: run npm install in bench/")
            found[name] = C.CDLL(paths[0], mode=C.RTLD_GLOBAL)
        self.ggml, self.base, self.lib = found["libggml"], found["libggml-base"], found["libllama"]
        for name, result, arguments in FUNCTIONS:
            function = getattr(self.lib, name)
            function.restype, function.argtypes = result, arguments
        self.log_callback = LOG(lambda level, text, data: self.log.append(text.decode(errors="replace")))
        self.lib.llama_log_set(self.log_callback, None)
        self.load_cpu(folder, level)

    def load_cpu(self, folder, level):
        """The CPU library of the level, or the best for this machine."""
        self.ggml.ggml_backend_load.restype = C.c_void_p
        path = f"{folder}/libggml-cpu-{LIBRARIES.get(level)}.so"
        if level in LIBRARIES and os.path.exists(path):
            if not self.ggml.ggml_backend_load(path.encode()):
                fail(f"{path} does not load here")
            self.cpu = os.path.basename(path)
        else:
            self.ggml.ggml_backend_load_all_from_path(str(folder).encode())
            loaded = {line.split()[-1] for line in open("/proc/self/maps") if "libggml-cpu" in line}
            self.cpu = os.path.basename(sorted(loaded)[0]) if loaded else "?"

    def pool(self, n_threads):
        for name in ("ggml_backend_dev_by_type", "ggml_backend_dev_backend_reg", "ggml_backend_reg_get_proc_address"):
            for library in (self.base, self.ggml):
                if hasattr(library, name):
                    setattr(self, name, getattr(library, name))
                    getattr(self, name).restype = C.c_void_p
                    break
        registry = self.ggml_backend_dev_backend_reg(C.c_void_p(self.ggml_backend_dev_by_type(0)))
        address = self.ggml_backend_reg_get_proc_address(C.c_void_p(registry), b"ggml_threadpool_new")
        if not address:
            return None
        self.base.ggml_threadpool_params_default.restype = PoolParams
        params = self.base.ggml_threadpool_params_default(n_threads)
        if params.n_threads != n_threads or not 0 <= params.poll <= 100:
            return None
        return C.CFUNCTYPE(C.c_void_p, C.POINTER(PoolParams))(address)(C.byref(params))


class Peer:
    def __init__(self, args):
        self.args = args
        self.llama = Library(args.lib, args.level)
        self.lib = self.llama.lib
        self.model = self.lib.llama_model_load_from_file(os.fsencode(args.model), self.lib.llama_model_default_params())
        if not self.model:
            fail(f"llama.cpp does not load {args.model}: {''.join(self.llama.log)[-400:]}")
        self.n_vocab = self.lib.llama_vocab_n_tokens(self.lib.llama_model_get_vocab(self.model))
        self.pool = self.llama.pool(args.threads)
        self.batch = self.lib.llama_batch_init(2048, 0, 1)
        rng = random.Random(1)
        self.tokens = [rng.randrange(self.n_vocab) for _ in range(2048)]

    def context(self, n_ctx, n_seq, unified):
        p = self.lib.llama_context_default_params()
        for name, value in DEFAULTS.items():
            if getattr(p, name) != value:
                fail(f"this llama.cpp has other parameters: {name} is {getattr(p, name)}, not {value}")
        p.n_ctx, p.n_seq_max, p.kv_unified = n_ctx, n_seq, unified
        p.n_threads = p.n_threads_batch = self.args.threads
        p.flash_attn_type = FLASH[self.args.flash]
        p.type_k = p.type_v = KV_TYPES[self.args.kv_type]
        del self.llama.log[:]
        ctx = self.lib.llama_init_from_model(self.model, p)
        log = "".join(self.llama.log)
        if not ctx:
            fail(f"llama.cpp makes no context: {log[-400:]}")
        if self.lib.llama_n_seq_max(ctx) != n_seq or self.lib.llama_n_ctx(ctx) < n_ctx:
            fail("the context is not what was asked for: another layout of parameters")
        if self.lib.llama_n_threads(ctx) != self.args.threads or f"K ({self.args.kv_type})" not in log:
            fail("threads or the type of keys are not what was asked for: another layout of parameters")
        if self.pool:
            self.lib.llama_attach_threadpool(ctx, self.pool, self.pool)
        return ctx

    def decode(self, ctx, rows, wanted):
        """rows: (token, position, sequence)."""
        b = self.batch
        b.n_tokens = len(rows)
        for i, (token, pos, seq) in enumerate(rows):
            b.token[i], b.pos[i], b.n_seq_id[i], b.seq_id[i][0] = token, pos, 1, seq
            b.logits[i] = wanted == "all" or i == len(rows) - 1
        start = time.perf_counter()
        rc = self.lib.llama_decode(ctx, b)
        self.lib.llama_synchronize(ctx)
        self.lib.llama_get_logits_ith(ctx, len(rows) - 1)
        if rc != 0:
            fail(f"llama_decode: {rc}")
        return time.perf_counter() - start

    def prefill(self, ctx, n, depth):
        seconds = 0
        for at in range(0, n, 2048):
            here = range(at, min(n, at + 2048))
            seconds += self.decode(ctx, [(self.tokens[i % 2048], depth + i, 0) for i in here], "last")
        return seconds

    def fill(self, ctx, depth):
        """Keys and values of real tokens in all positions below depth: those of the first are
        copied, each copy moved to its place by the library (into sequence 1, then on to 0)."""
        memory = self.lib.llama_get_memory(ctx)
        self.prefill(ctx, min(depth, FILL), 0)
        if depth <= FILL:
            return
        if not self.lib.llama_memory_can_shift(memory):
            fail("llama.cpp cannot move this model's keys: depths cannot be filled")
        size = self.lib.llama_state_seq_get_size(ctx, 0)
        state = C.create_string_buffer(size)
        if self.lib.llama_state_seq_get_data(ctx, state, size, 0) != size:
            fail("llama.cpp does not give the state of a sequence")
        for at in range(FILL, depth, FILL):
            if self.lib.llama_state_seq_set_data(ctx, state, size, 1) == 0:
                fail("llama.cpp does not take the state of a sequence")
            self.lib.llama_memory_seq_add(memory, 1, 0, -1, at)
            self.lib.llama_memory_seq_cp(memory, 1, 0, 0, -1)
            self.lib.llama_memory_seq_rm(memory, 1, -1, -1)
        self.lib.llama_memory_seq_rm(memory, 0, depth, -1)
        if self.lib.llama_memory_seq_pos_max(memory, 0) != depth - 1:
            fail("the depth is not what was asked for")

    def open(self, cell):
        depth, batch = cell.get("depth", 0), cell.get("batch", 1)
        length = depth + (cell["prompt"] if cell["test"] == "prefill" else cell["steps"])
        if depth > 0 and batch > 1:
            fail("several sequences are measured at depth 0 only")
        length = (length + 511) // 256 * 256
        extra = FILL if depth > FILL else 0
        cell["ctx"] = self.context(length * batch + extra, 2 if depth > FILL else batch, depth > FILL)
        if depth > 0:
            self.fill(cell["ctx"], depth)

    def sample(self, cell, part=False):
        ctx, depth = cell["ctx"], cell.get("depth", 0)
        memory = self.lib.llama_get_memory(ctx)
        for seq in range(cell.get("batch", 1)):
            self.lib.llama_memory_seq_rm(memory, seq, depth, -1)
        if cell["test"] == "prefill":
            n = min(cell["prompt"], 64) if part else cell["prompt"]
            return self.prefill(ctx, n, depth), n
        n, batch = 2 if part else cell["steps"], cell["batch"]
        seconds = sum(self.decode(ctx, [(self.tokens[i], depth + step, i) for i in range(batch)], "all")
                      for step in range(n))
        return seconds, n * batch


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("cells", type=json.loads)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--kv-type", choices=KV_TYPES, default="f16")
    parser.add_argument("--flash", choices=FLASH, default="auto")
    parser.add_argument("--level", default="", help="of `hearth bench`: the library that has no more")
    parser.add_argument("--lib", default=default_folder())
    args = parser.parse_args()
    began = time.perf_counter()
    peer = Peer(args)
    load_s = time.perf_counter() - began
    repacked = "CPU_REPACK" in "".join(peer.llama.log)
    for cell in args.cells:
        peer.open(cell)
        peer.sample(cell, part=True)
    print(json.dumps({"ready": True, "cpu": peer.llama.cpu, "repacked": repacked, "load_s": load_s,
                      "first_s": time.perf_counter() - began,
                      "system": peer.lib.llama_print_system_info().decode()}), flush=True)
    for line in sys.stdin:
        seconds, tokens = peer.sample(args.cells[int(line)])
        print(json.dumps({"cell": int(line), "seconds": seconds, "tokens": tokens}), flush=True)


if __name__ == "__main__":
    main()
