"""Every architecture against llama.cpp (committed logits of small random models) and against the
float32 reference; and that logits do not depend on threads, chunks or neighbours."""

import pathlib
import random
import subprocess
import sys

import numpy as np
import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent.parent / "scripts"))
sys.path.insert(0, str(HERE))

from compare import hearth_logits, relative_error  # noqa: E402
from make_tiny_models import MODELS, N_VOCAB, ROWS, Maker, make_all, text_ids  # noqa: E402
from reference import Reference  # noqa: E402


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_all(tmp_path_factory.mktemp("tiny"))


def n_ctx(name):
    return MODELS[name][1].get("n_ctx", 128)


def hearth(hearth_bin, folder, name, sequences, chunk, *options):
    return hearth_logits(hearth_bin, folder / f"{name}.gguf", sequences, N_VOCAB, chunk, "--ctx",
                         n_ctx(name), *options)


@pytest.mark.parametrize("name", MODELS)
def test_reference(hearth_bin, folder, name):
    ids = text_ids()
    ours, = hearth(hearth_bin, folder, name, [ids], 64)
    reference = Reference(folder / f"{name}.gguf", n_ctx=n_ctx(name), kv_f16=True)
    error = relative_error(reference.logits(ids), ours)
    # What is left is float32 against float64 in norms and angles, and 16-bit activations.
    print(name, error)
    assert error < 1e-3, error


@pytest.mark.parametrize("name", [n for n in MODELS if MODELS[n][3].get("peer", True)])
def test_llama_cpp(hearth_bin, folder, name):
    ours, = hearth(hearth_bin, folder, name, [text_ids()], 64)
    theirs = np.load(HERE / "tiny.npz")[name]
    error = relative_error(theirs, ours[ROWS])
    # llama.cpp rounds activations to 8 or 16 bits before products with such weights.
    print(name, error)
    assert error < (0.05 if MODELS[name][3].get("types") else 3e-3), error


@pytest.mark.parametrize("name", ["llama-tied-q8", "qwen2", "gemma3", "phi3-window"])
def test_same_bits(hearth_bin, folder, name):
    """Alone or beside others, in chunks or whole, with any number of threads."""
    ids = text_ids()
    others = [ids[:50], ids[::-1][:33], ids[7:8]]
    whole, = hearth(hearth_bin, folder, name, [ids], 80, "--threads", 1)
    for chunk, threads in ((1, 1), (7, 2), (32, 3), (80, 2)):
        got, = hearth(hearth_bin, folder, name, [ids], chunk, "--threads", threads)
        assert got.tobytes() == whole.tobytes(), (chunk, threads)
    together = hearth(hearth_bin, folder, name, [others[0], ids, *others[1:]], 11, "--threads", 2)
    assert together[1].tobytes() == whole.tobytes()
    assert together[0].tobytes() == whole[:50].tobytes()
    for other, got in zip(others[1:], together[2:]):
        alone, = hearth(hearth_bin, folder, name, [other], 80, "--threads", 1)
        assert got.tobytes() == alone.tobytes()


@pytest.mark.parametrize("kv_type", ["f16", "q8_0", "q4_0"])
@pytest.mark.parametrize("name, window", [("llama-tied-q8", None), ("gemma3", 270),
                                          ("phi3-window", 24)])
def test_pieces(hearth_bin, tmp_path, name, window, kv_type):
    """Several pieces of attention (256 positions each): read in chunks of any size or token by
    token, as when text is written, by one thread or by more than there are heads."""
    maker = Maker(name, tmp_path / f"{name}.gguf")
    maker.n_ctx = 1024
    if window:
        maker.keys = {**maker.keys, "attention.sliding_window": window}
    maker.make()
    ids = [(i * i * 7 + i // 3) % N_VOCAB for i in range(600)]

    def run(sequences, chunk, threads):
        return hearth_logits(hearth_bin, tmp_path / f"{name}.gguf", sequences, N_VOCAB, chunk,
                             "--ctx", maker.n_ctx, "--threads", threads, "--kv-type", kv_type)

    whole, = run([ids], 600, 1)
    reference = Reference(tmp_path / f"{name}.gguf", n_ctx=maker.n_ctx, kv_f16=True)
    # The worst of 600 positions; what is left is the rounding of keys and values.
    error = relative_error(reference.logits(ids), whole)
    print(name, error)
    # A step of 4 bits is 16 of 8; rows without anything in common would be at 1.4.
    assert error < {"f16": 4e-3, "q8_0": 0.1, "q4_0": 1.0}[kv_type], error
    for chunk, threads in ((1, 1), (1, 7), (100, 2), (256, 3), (600, 5)):
        got, = run([ids], chunk, threads)
        assert got.tobytes() == whole.tobytes(), (chunk, threads)
    together = run([ids[:290], ids, ids[::-1]], 37, 3)
    assert together[1].tobytes() == whole.tobytes()
    assert together[0].tobytes() == whole[:290].tobytes()


@pytest.mark.parametrize("name, keys", [
    ("llama-rope-freqs", {}),
    ("qwen2-yarn", {"rope.scaling.original_context_length": 2304}),
    ("phi3-long", {"rope.scaling.original_context_length": 4096}),
])
def test_far_positions(hearth_bin, tmp_path, name, keys):
    """The model's own scaling of rotary angles, where a context is longer than what it began with."""
    maker = Maker(name, tmp_path / f"{name}.gguf")
    maker.n_ctx, maker.n_layer = 9216, 1
    maker.keys = {**maker.keys, **keys}
    maker.make()
    ids = [(i * i * 7 + i // 3) % N_VOCAB for i in range(8700)]
    rows = [100, 4095, 4096, *range(8192, 8700, 23), 8699]
    ours, = hearth_logits(hearth_bin, tmp_path / f"{name}.gguf", [ids], N_VOCAB, 256, "--ctx", maker.n_ctx)
    reference = Reference(tmp_path / f"{name}.gguf", kv_f16=True)
    error = relative_error(reference.logits(ids, rows), ours[rows])
    frequency, magnitude = reference.rope_global
    reference.rope_global = frequency * (1 + 1e-3), magnitude
    other = relative_error(reference.logits(ids, rows), ours[rows])
    print(name, error, other)
    assert error < 4e-3, error
    assert other > 0.05, "far positions are not seen in these logits"


def levels(hearth_bin, folder, monkeypatch):
    """The kernel levels of this build that this machine runs."""
    for level in ("generic", "avx2", "avxvnni", "avx512", "avx512vnni", "neon"):
        monkeypatch.setenv("HEARTH_CPU", level)
        if subprocess.run([str(hearth_bin), "eval", "logits", str(folder / "qwen2.gguf"), "--tokens", "1"],
                          capture_output=True).returncode == 0:
            yield level


@pytest.mark.parametrize("kv_type", ["f16", "q8_0", "q4_0"])
@pytest.mark.parametrize("name", ["llama-tied-q8", "gemma3", "phi3-window"])
def test_random_mixes(hearth_bin, folder, monkeypatch, name, kv_type):
    """Random sequences in random company, chunks and threads, at every level: the bits that each has
    alone. Residuals in some blocks (fast) make a column's work depend on its neighbours; its bits
    must not."""
    rng = random.Random(f"{name} {kv_type}")
    for level in levels(hearth_bin, folder, monkeypatch):
        for activations in ("full", "fast"):
            more = ("--kv-type", kv_type, "--activations", activations)
            sequences = [[rng.randrange(N_VOCAB) for _ in range(rng.choice((1, 2, 5, 17, 33, 80)))]
                         for _ in range(rng.randint(5, 9))]
            alone = [hearth(hearth_bin, folder, name, [s], 80, "--threads", 1, *more)[0] for s in sequences]
            for _ in range(3):
                pick = rng.sample(range(len(sequences)), rng.randint(1, len(sequences)))
                chunk, threads = rng.choice((1, 2, 3, 5, 16, 31, 80)), rng.randint(1, 3)
                got = hearth(hearth_bin, folder, name, [sequences[i] for i in pick], chunk, "--threads", threads, *more)
                for i, rows in zip(pick, got):
                    assert rows.tobytes() == alone[i].tobytes(), (level, activations, pick, i, chunk, threads)
