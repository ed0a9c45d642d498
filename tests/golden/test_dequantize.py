"""Dequantization and half floats equal the Python packages gguf and numpy bit for bit.

Random blocks: every bit pattern of scales and quants may come, infinite and NaN scales too. Where
the reference says NaN ours must say NaN; everywhere else the bits are the same.
"""
import ctypes

import gguf
import numpy as np
import pytest
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType as T

TYPES = [T.F32, T.F16, T.BF16, T.Q4_0, T.Q4_1, T.Q5_0, T.Q5_1, T.Q8_0, T.Q2_K, T.Q3_K, T.Q4_K,
         T.Q5_K, T.Q6_K, T.IQ1_S, T.IQ1_M, T.IQ2_XXS, T.IQ2_XS, T.IQ2_S, T.IQ3_XXS, T.IQ3_S,
         T.IQ4_NL, T.IQ4_XS, T.TQ1_0, T.TQ2_0, T.MXFP4]
N_BLOCKS = 8192
# Where the half floats of a block lie: (byte offset of each).
HALVES = {T.F16: [0], T.Q4_0: [0], T.Q4_1: [0, 2], T.Q5_0: [0], T.Q5_1: [0, 2], T.Q8_0: [0],
          T.Q2_K: [80, 82], T.Q3_K: [108], T.Q4_K: [0, 2], T.Q5_K: [0, 2], T.Q6_K: [208],
          T.IQ1_S: [0], T.IQ2_XXS: [0], T.IQ2_XS: [0], T.IQ2_S: [0], T.IQ3_XXS: [0],
          T.IQ3_S: [0], T.IQ4_NL: [0], T.IQ4_XS: [0], T.TQ1_0: [52], T.TQ2_0: [64]}


@pytest.fixture(scope="session")
def lib(build_dir):
    path = build_dir / "tests" / "golden" / "libtensor_test.so"
    if not path.is_file():
        pytest.fail(f"{path} is missing: build first (make)")
    lib = ctypes.CDLL(str(path))
    lib.dequantize_row.restype = ctypes.c_bool
    lib.dequantize_row.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t]
    for name in ("f32_to_f16", "f32_to_bf16"):
        getattr(lib, name).restype = ctypes.c_uint16
        getattr(lib, name).argtypes = [ctypes.c_float]
    return lib


def ours(lib, raw, kind):
    elems = GGML_QUANT_SIZES[kind][0]
    out = np.full(raw.shape[0] * elems, 12345, np.float32)
    assert lib.dequantize_row(int(kind), raw.ctypes.data, out.ctypes.data, out.size)
    return out.reshape(raw.shape[0], elems)


def theirs(raw, kind):
    with np.errstate(all="ignore"):
        return np.ascontiguousarray(gguf.dequantize(raw, kind)).reshape(raw.shape[0], -1)


def assert_same_bits(got, want):
    nan = np.isnan(want)
    assert np.array_equal(np.isnan(got), nan)
    differs = (got.view(np.uint32) != want.view(np.uint32)) & ~nan
    if differs.any():
        block, elem = np.argwhere(differs)[0]
        pytest.fail(f"{differs.sum()} values differ; the first in block {block}, element {elem}: "
                    f"{got[block, elem]!r}, not {want[block, elem]!r}")


@pytest.mark.parametrize("kind", TYPES, ids=lambda t: t.name)
def test_random_blocks(lib, kind):
    rng = np.random.default_rng(int(kind) + 1)
    raw = rng.integers(0, 256, (N_BLOCKS, GGML_QUANT_SIZES[kind][1]), dtype=np.uint8)
    assert_same_bits(ours(lib, raw, kind), theirs(raw, kind))


@pytest.mark.parametrize("kind", HALVES, ids=lambda t: t.name)
def test_every_half_float_scale(lib, kind):
    """All 65536 scales: subnormals, both zeros, infinities, NaNs."""
    rng = np.random.default_rng(int(kind) + 100)
    raw = rng.integers(0, 256, (65536, GGML_QUANT_SIZES[kind][1]), dtype=np.uint8)
    scale = np.arange(65536, dtype="<u2")
    for at in HALVES[kind]:
        raw[:, at:at + 2] = scale.view(np.uint8).reshape(-1, 2)
        rng.shuffle(scale)
    for part in np.array_split(raw, 8):
        part = np.ascontiguousarray(part)
        assert_same_bits(ours(lib, part, kind), theirs(part, kind))


def test_every_e8m0_scale(lib):
    raw = np.random.default_rng(1).integers(0, 256, (256 * 8, 17), dtype=np.uint8)
    raw[:, 0] = np.arange(256 * 8) % 256
    assert_same_bits(ours(lib, raw, T.MXFP4), theirs(raw, T.MXFP4))


def test_unaligned_source(lib):
    for kind in TYPES:
        elems, size = GGML_QUANT_SIZES[kind]
        raw = np.random.default_rng(5).integers(0, 256, 8 * size + 1, dtype=np.uint8)
        want = theirs(raw[1:].copy().reshape(8, size), kind)
        out = np.empty(8 * elems, np.float32)
        assert lib.dequantize_row(int(kind), raw.ctypes.data + 1, out.ctypes.data, out.size)
        assert_same_bits(out.reshape(8, elems), want)


def test_refused_types_and_lengths(lib):
    buffer = np.zeros(256, np.float32)
    for kind in (T.I8, T.I16, T.I32, T.I64):
        assert not lib.dequantize_row(int(kind), buffer.ctypes.data, buffer.ctypes.data, 32)
    for kind in (4, 5, 9, 15, 31, 40, 41, 1000, -1):
        assert not lib.dequantize_row(kind, buffer.ctypes.data, buffer.ctypes.data, 0)
    assert not lib.dequantize_row(int(T.Q4_K), buffer.ctypes.data, buffer.ctypes.data, 128)


class Grids(ctypes.Structure):
    """struct iq_grids of tensor/iq_grid.h."""
    _fields_ = [("iq2_xxs", ctypes.c_uint8 * 8 * 256), ("iq2_xs", ctypes.c_uint8 * 8 * 512),
                ("iq2_s", ctypes.c_uint8 * 8 * 1024), ("iq1", ctypes.c_int8 * 8 * 2048),
                ("iq3_xxs", ctypes.c_uint8 * 4 * 256), ("iq3_s", ctypes.c_uint8 * 4 * 512)]


@pytest.mark.parametrize("name", [f[0] for f in Grids._fields_])
def test_codebooks(lib, name):
    lib.iq_grids.restype = ctypes.POINTER(Grids)
    got = np.array(getattr(lib.iq_grids().contents, name))
    reference = getattr(gguf.quants, "IQ1_S" if name == "iq1" else name.upper())
    reference.init_grid()
    assert np.array_equal(got, reference.grid[0, 0])


def test_float_to_half(lib):
    """Every half float, the ties between neighbours, their neighbours, and random floats."""
    half = np.arange(65536, dtype=np.uint16).view(np.float16).astype(np.float32)
    half = half[np.isfinite(half)]
    ordered = np.unique(half)
    ties = (ordered[:-1] + ordered[1:]) / 2
    rng = np.random.default_rng(2)
    any_float = rng.integers(0, 2**32, 100_000, dtype=np.uint32).view(np.float32)
    big = np.float32([65504, 65519.996, 65520, 65536, np.inf, -65520, -np.inf])
    x = np.concatenate([half, ties, np.nextafter(ties, np.float32(np.inf)),
                        np.nextafter(ties, np.float32(-np.inf)), any_float, big])
    x = x[~np.isnan(x)]
    with np.errstate(over="ignore"):
        want = x.astype(np.float16).view(np.uint16)
    got = np.fromiter((lib.f32_to_f16(float(v)) for v in x), np.uint16, x.size)
    assert np.array_equal(got, want)
    with np.errstate(all="ignore"):
        want = gguf.quantize(x, T.BF16).view(np.uint16)
    got = np.fromiter((lib.f32_to_bf16(float(v)) for v in x), np.uint16, x.size)
    assert np.array_equal(got, want)


def test_real_model_rows(lib, smollm2_path, gemma3_path):
    """The first rows of every tensor of the two real models."""
    for path in (smollm2_path, gemma3_path):
        for t in gguf.GGUFReader(path).tensors:
            kind = t.tensor_type
            size = GGML_QUANT_SIZES[kind][1]
            raw = t.data.reshape(-1).view(np.uint8)[:16 * size].copy().reshape(-1, size)
            assert_same_bits(ours(lib, raw, kind), theirs(raw, kind))
