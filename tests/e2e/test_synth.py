"""hearth synth: the files it writes, read with the Python package gguf and with Hearth itself.

Shapes are checked by their makers' exact parameter counts; a few layers of each are written.
"""
import json
import os
import re
import signal
import struct
import subprocess
import time

import gguf
import numpy as np
import pytest

# The exact counts that the makers' own files have (Gemma 3 from 4B up: the text model).
PARAMS = {
    "llama-3.1-8b": 8030261248,
    "llama-3.1-70b": 70553706496,
    "llama-3.2-1b": 1235814400,
    "llama-3.2-3b": 3212749824,
    "qwen2.5-0.5b": 494032768,
    "qwen2.5-1.5b": 1543714304,
    "qwen2.5-3b": 3085938688,
    "qwen2.5-7b": 7615616512,
    "qwen2.5-14b": 14770033664,
    "qwen2.5-32b": 32763876352,
    "qwen2.5-72b": 72706203648,
    "mistral-7b": 7248023552,
    "gemma-3-270m": 268098176,
    "gemma-3-1b": 999885952,
    "gemma-3-4b": 3880099328,
    "gemma-3-12b": 11765788416,
    "gemma-3-27b": 27009002240,
    "mixtral-8x7b": 46702792704,
    "deepseek-v2-lite": 15706484224,
}
TYPES = """F32 F16 BF16 Q8_0 Q6_K Q5_K_M Q5_K_S Q5_1 Q5_0 Q4_K_M Q4_K_S Q4_1 Q4_0 IQ4_NL IQ4_XS MXFP4
MXFP4_MOE Q3_K_L Q3_K_M Q3_K_S IQ3_M IQ3_S IQ3_XS IQ3_XXS Q2_K Q2_K_S IQ2_M IQ2_S IQ2_XS IQ2_XXS TQ2_0
TQ1_0 IQ1_M IQ1_S""".split()


@pytest.fixture(scope="module")
def env(tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    keep = {k: v for k, v in os.environ.items() if not k.startswith("HEARTH_")}
    return keep | {"HOME": str(home), "LC_ALL": "C.UTF-8"}


@pytest.fixture
def hearth(hearth_bin, env):
    def run(*args, text=True, input=None, **more):
        return subprocess.run([hearth_bin, *map(str, args)], capture_output=True, text=text, timeout=300,
                              input=input, env=env | more)
    return run


@pytest.fixture
def synth(hearth, tmp_path):
    """A model of few layers and few tokens; the file is gone after the test."""
    made = []

    def run(shape, type_, *args, layers=1):
        path = tmp_path / f"{len(made)}.gguf"
        made.append(path)
        done = hearth("synth", shape, "-t", type_, "-o", path, "--layers", layers, *args)
        assert done.returncode == 0, done.stderr
        return path
    yield run
    for path in made:
        path.unlink(missing_ok=True)


def logits(hearth, path, ids="1 2 3 250 9"):
    done = hearth("eval", "logits", path, "-t", ids, "--ctx", 64, text=False)
    assert done.returncode == 0, done.stderr
    return np.frombuffer(done.stdout, np.float32).reshape(len(ids.split()), -1)


def value(reader, key):
    return reader.fields[key].contents()


def test_shapes_have_the_makers_parameter_counts(hearth):
    names = re.findall(r"^([a-z][\w.-]+) ", hearth("synth", "--list").stdout, re.M)
    assert names == list(PARAMS)
    for name, count in PARAMS.items():
        assert f" {count} parameters" in hearth("synth", name, "--list").stdout


@pytest.mark.parametrize("type_", ["Q4_K_M", "IQ2_XS"])
@pytest.mark.parametrize("shape", list(PARAMS))
def test_each_shape(shape, type_, hearth, synth):
    layers = 2 if shape.startswith("deepseek") else 1  # its first layer has no experts
    path = synth(shape, type_, "--resize-vocab", layers=layers)
    reader = gguf.GGUFReader(path)
    arch = value(reader, "general.architecture")
    assert value(reader, f"{arch}.block_count") == layers
    tensors = {t.name: t for t in reader.tensors}
    n_vocab = len(reader.fields["tokenizer.ggml.tokens"].data)
    assert list(tensors["token_embd.weight"].shape) == [value(reader, f"{arch}.embedding_length"), n_vocab]
    for t in reader.tensors:
        rows = gguf.dequantize(t.data[..., :1, :] if t.data.ndim > 1 else t.data, t.tensor_type)
        assert np.isfinite(rows).all(), t.name
        if "norm" in t.name:
            assert abs(rows - 1).max() < 0.1, t.name
        elif t.name.endswith(".weight") and t.name != "rope_freqs.weight":
            assert rows.std() == pytest.approx(t.shape[0] ** -0.5, rel=0.35), t.name
    if shape in ("mixtral-8x7b", "deepseek-v2-lite"):
        assert "blk.%d.ffn_down_exps.weight" % (layers - 1) in tensors
        return  # Hearth does not run these yet
    x = logits(hearth, path)
    assert x.shape[1] == n_vocab and np.isfinite(x).all()
    assert 0.5 < x.std() < 5  # one layer: of tied embeddings a token's own logit stands out


def test_what_each_family_has(synth):
    names = {}
    for shape in ("llama-3.2-1b", "qwen2.5-0.5b", "gemma-3-1b", "mistral-7b", "deepseek-v2-lite"):
        reader = gguf.GGUFReader(synth(shape, "IQ1_S", "--resize-vocab", layers=2))
        names[shape] = {t.name for t in reader.tensors}
        if shape == "llama-3.2-1b":
            factors = next(t.data for t in reader.tensors if t.name == "rope_freqs.weight")
            assert factors.shape == (32,) and factors[0] == 1 and factors[-1] == 32
            assert (np.diff(factors) >= 0).all()
        if shape == "gemma-3-1b":
            assert value(reader, "gemma3.attention.sliding_window") == 512
    assert {"blk.1.attn_k.bias", "blk.1.attn_v.bias"} <= names["qwen2.5-0.5b"]
    assert {"blk.0.attn_q_norm.weight", "blk.0.post_ffw_norm.weight"} <= names["gemma-3-1b"]
    assert "output.weight" in names["mistral-7b"] and "rope_freqs.weight" not in names["mistral-7b"]
    assert "output.weight" not in names["llama-3.2-1b"]
    assert {"blk.0.ffn_gate.weight", "blk.1.ffn_gate_inp.weight", "blk.1.attn_k_b.weight",
            "blk.1.ffn_up_shexp.weight"} <= names["deepseek-v2-lite"]


@pytest.mark.parametrize("type_", TYPES)
def test_each_type(type_, hearth, synth):
    # 2048 columns, which every block divides; then 896, which blocks of 256 do not.
    x = logits(hearth, synth("llama-3.2-1b", type_, "--resize-vocab", layers=1))
    assert np.isfinite(x).all() and 0.5 < x.std() < 2
    path = synth("qwen2.5-0.5b", type_, "--pure", "--resize-vocab", layers=1)
    assert np.isfinite(logits(hearth, path)).all()
    reader = gguf.GGUFReader(path)
    assert {t.tensor_type.name for t in reader.tensors if "norm" in t.name} == {"F32"}


def test_all_types_are_listed(hearth):
    listed = hearth("synth", "--list").stdout.split("Types:")[1].split("'")[0].split()
    assert listed == TYPES


def test_the_bytes_depend_on_the_seed_alone(synth):
    one = synth("qwen2.5-0.5b", "Q4_K_M", "--threads", "1").read_bytes()
    assert synth("qwen2.5-0.5b", "Q4_K_M", "--threads", "3").read_bytes() == one
    two = synth("qwen2.5-0.5b", "Q4_K_M", "--seed", "2").read_bytes()
    assert len(two) == len(one) and two != one


def test_fewer_layers_have_the_same_weights(synth):
    a, b = ({t.name: t.data for t in gguf.GGUFReader(synth("qwen2.5-0.5b", "Q8_0", "--resize-vocab", layers=n)).tensors}
            for n in (1, 2))
    assert set(a) < set(b) and all((a[name] == b[name]).all() for name in a)


def test_the_mixture_is_the_published_one(hearth, synth, gemma3_path):
    """The type and shape of every tensor of a published Q4_K_M file that llama.cpp made."""
    made, real = (json.loads(hearth("show", "--json", path).stdout)
                  for path in (synth("gemma-3-270m", "Q4_K_M", layers=18), gemma3_path))
    types = [{t["name"]: (t["type"], t["shape"]) for t in file["tensors"]} for file in (made, real)]
    assert types[0] == types[1]
    for key in ("context_length", "embedding_length", "feed_forward_length", "attention.head_count",
                "attention.head_count_kv", "attention.key_length", "attention.sliding_window",
                "rope.freq_base", "attention.layer_norm_rms_epsilon"):
        assert made["metadata"]["gemma3." + key] == real["metadata"]["gemma3." + key], key


def test_tokenizer_is_copied_and_filled_up(hearth, synth, smollm2_path):
    path = synth("llama-3.2-1b", "IQ1_S", "--tokenizer", smollm2_path)
    made, real = gguf.GGUFReader(path), gguf.GGUFReader(smollm2_path)
    keys = {k for k in real.fields if k.startswith("tokenizer.")}
    assert {k for k in made.fields if k.startswith("tokenizer.")} == keys
    long = {"tokenizer.ggml.tokens", "tokenizer.ggml.token_type"}
    assert all(value(made, k) == value(real, k) for k in keys - long)
    for key in long:
        n = len(value(real, key))
        assert len(value(made, key)) == 128256 and value(made, key)[:n] == value(real, key)
    assert set(value(made, "tokenizer.ggml.token_type")[49152:]) == {5}
    assert len(set(value(made, "tokenizer.ggml.tokens"))) == 128256
    ids = [hearth("tokenize", p, input="Hello, world: 42 times").stdout for p in (path, smollm2_path)]
    assert ids[0] == ids[1] and len(ids[0].split()) > 4


def test_a_tokenizer_that_does_not_fit(hearth, tmp_path, gemma3_path):
    out = tmp_path / "m.gguf"
    ask = ("synth", "qwen2.5-0.5b", "-t", "IQ1_S", "--layers", 1, "-o", out, "--tokenizer", gemma3_path)
    done = hearth(*ask)
    assert done.returncode == 1 and "262144 tokens, qwen2.5-0.5b only 151936" in done.stderr
    assert not list(tmp_path.iterdir())
    assert hearth(*ask, "--resize-vocab").returncode == 0
    assert json.loads(hearth("show", "--json", out).stdout)["tensors"][0]["shape"] == [896, 262144]


def test_a_tokenizer_from_the_library(hearth, tmp_path, smollm2_path):
    library = {"HEARTH_MODELS": str(tmp_path / "library")}
    assert hearth("pull", smollm2_path, **library).returncode == 0
    out = tmp_path / "m.gguf"
    done = hearth("synth", "gemma-3-270m", "-t", "IQ1_S", "--layers", 1, "-o", out, **library)
    assert done.returncode == 0 and "tokenizer smollm2" in done.stdout.lower(), done
    file = json.loads(hearth("show", "--json", out).stdout)
    assert file["metadata"]["tokenizer.ggml.pre"] == "smollm"
    assert file["tensors"][0]["shape"] == [640, 262144]


def test_the_plain_tokenizer(hearth, synth):
    path = synth("gemma-3-270m", "Q4_0")
    text = "Grüße, 世界 🙂\tthe end"
    ids = hearth("tokenize", path, input=text).stdout
    assert len(ids.split()) == len(text.encode()) - 3  # "the" and "en" are merged
    assert hearth("tokenize", path, "--decode", input=ids).stdout == text + "\n"
    assert "<|im_start|>" in hearth("show", path, "--template").stdout


def test_errors(hearth, tmp_path):
    out = tmp_path / "m.gguf"
    for args, text in [
        (["llama-3.1-8c", "-t", "Q4_0", "-o", out], "did you mean 'llama-3.1-8b'"),
        (["llama-3.1-8b", "-o", out], "--type is missing"),
        (["llama-3.1-8b", "-t", "Q9", "-o", out], "unknown type 'Q9'"),
        (["llama-3.1-8b", "-t", "Q4_0"], "-o is missing"),
        (["-t", "Q4_0", "-o", out], "a shape is missing"),
        (["llama-3.1-8b", "-t", "Q4_0", "-o", tmp_path], "is there already"),
        (["llama-3.1-8b", "-t", "Q4_0", "-o", tmp_path, "-f"], "is a folder"),
        (["gemma-3-270m", "-t", "Q4_0", "-o", tmp_path / "no" / "m.gguf"], "cannot create"),
        (["qwen2.5-72b", "-t", "F32", "--layers", "1024", "-o", out], "free some"),
        (["gemma-3-270m", "-t", "Q4_0", "-o", out, "--tokenizer", __file__], "not a GGUF file"),
    ]:
        done = hearth("synth", *args)
        assert done.returncode == 1 and text in done.stderr, (args, done.stderr)
        assert len(done.stderr.splitlines()) == 1
        assert not list(tmp_path.iterdir())
    out.write_bytes(b"mine")
    assert "--force" in hearth("synth", "gemma-3-270m", "-t", "Q4_0", "-o", out).stderr
    assert out.read_bytes() == b"mine"


def test_a_file_without_a_tokenizer(hearth, tmp_path):
    head = b"GGUF" + struct.pack("<IQQ", 3, 0, 0)
    (tmp_path / "bare.gguf").write_bytes(head + bytes(32))
    done = hearth("synth", "gemma-3-270m", "-t", "Q4_0", "-o", tmp_path / "m.gguf", "--tokenizer",
                  tmp_path / "bare.gguf")
    assert done.returncode == 1 and "holds no tokenizer" in done.stderr


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_leaves_nothing(sign, hearth_bin, env, tmp_path):
    p = subprocess.Popen([hearth_bin, "synth", "llama-3.2-1b", "-t", "F32", "-o", tmp_path / "m.gguf"],
                         env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    end = time.monotonic() + 60
    while not list(tmp_path.iterdir()) and time.monotonic() < end:
        time.sleep(0.002)
    assert list(tmp_path.iterdir())
    p.send_signal(sign)
    out, err = p.communicate(timeout=60)
    assert p.returncode == 1 and "interrupted" in err
    assert not list(tmp_path.iterdir())
