"""`hearth show` says of a file what the Python package gguf says, and never steers a terminal."""
import json
import subprocess

import gguf
import numpy as np


def show(hearth_bin, *args, **kw):
    return subprocess.run([hearth_bin, "show", *args], capture_output=True, timeout=60, **kw)


def values(field, n_max):
    if field.types[0] == gguf.GGUFValueType.ARRAY:
        return field.contents(slice(0, n_max)) if field.data else []
    return [field.contents()]


def same(ours, theirs, field):
    if field.types[-1] == gguf.GGUFValueType.FLOAT32:
        return np.float32(ours) == np.float32(theirs)
    return ours == theirs


def compare(hearth_bin, path):
    out = show(hearth_bin, "--json", path)
    assert out.returncode == 0, out.stderr.decode()
    ours = json.loads(out.stdout)
    reader = gguf.GGUFReader(path)
    fields = {k: v for k, v in reader.fields.items() if not k.startswith("GGUF.")}
    assert list(ours["metadata"]) == list(fields)
    for key, field in fields.items():
        want, got = values(field, 6), ours["metadata"][key]
        if isinstance(got, dict):
            assert got["n"] == len(field.data)
        got = got["first"] if isinstance(got, dict) else [got]
        assert len(got) == len(want) and all(same(g, w, field) for g, w in zip(got, want)), key
    assert len(ours["tensors"]) == len(reader.tensors)
    for got, want in zip(ours["tensors"], reader.tensors):
        assert (got["name"], got["type"], got["shape"], got["bytes"], got["offset"]) == (
            want.name, want.tensor_type.name, want.shape.tolist(), want.n_bytes, want.data_offset)


def test_real_models(hearth_bin, smollm2_path, gemma3_path):
    compare(hearth_bin, smollm2_path)  # the reference takes too long over the other's vocabulary
    for path in (smollm2_path, gemma3_path):
        summary = show(hearth_bin, path).stdout.decode()
        assert "context length" in summary and "cannot be run" not in summary


def test_vocabularies(hearth_bin, shared_dir):
    paths = sorted((shared_dir / "data" / "vocab").glob("*.gguf"))
    assert paths
    for path in paths:
        assert show(hearth_bin, path).returncode == 0
        if "bert" in path.name or "spm" in path.name:
            compare(hearth_bin, path)


def test_written_by_the_package(hearth_bin, tmp_path):
    path = tmp_path / "made.gguf"
    w = gguf.GGUFWriter(path, "llama")
    w.add_uint8("a.u8", 255)
    w.add_int16("a.i16", -32768)
    w.add_uint64("a.u64", 2**64 - 1)
    w.add_int64("a.i64", -2**63)
    w.add_float32("a.f32", 0.1)
    w.add_float64("a.f64", 0.1)
    w.add_bool("a.bool", False)
    w.add_string("a.str", "zażółć \U0001f525")
    w.add_array("a.list", ["x", "y" * 200])
    w.add_array("a.floats", [0.5, 1.5])
    rng = np.random.default_rng(1)
    for kind in (gguf.GGMLQuantizationType.Q8_0, gguf.GGMLQuantizationType.Q4_0):
        rows = rng.standard_normal((4, 64)).astype(np.float32)
        w.add_tensor(f"t.{kind.name}", gguf.quantize(rows, kind), raw_dtype=kind)
    w.add_tensor("t.f16", rng.standard_normal((2, 3, 5)).astype(np.float16))
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()
    compare(hearth_bin, path)


def test_split_model(hearth_bin, tmp_path):
    w = gguf.GGUFWriter(tmp_path / "big.gguf", "llama", split_max_tensors=2)
    for i in range(5):
        w.add_tensor(f"t{i}", np.full((2, 8), i, np.float32))
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()
    parts = sorted(tmp_path.glob("big-*.gguf"))
    assert len(parts) == 3
    ours = json.loads(show(hearth_bin, "--json", parts[0]).stdout)
    assert ours["parts"] == 3 and [t["name"] for t in ours["tensors"]] == [f"t{i}" for i in range(5)]
    wrong = show(hearth_bin, parts[1])
    assert wrong.returncode == 1 and b"give its first part" in wrong.stderr
    parts[2].unlink()
    missing = show(hearth_bin, parts[0])
    assert missing.returncode == 1 and b"part 3 of 3" in missing.stderr


def test_hostile_texts(hearth_bin, tmp_path):
    path = tmp_path / "evil.gguf"
    w = gguf.GGUFWriter(path, "llama")
    evil = "\x1b]0;owned\x07\x1b[2J\x9b31m\x7f\r\n"
    w.add_name(evil)
    w.add_string("general.license", evil)
    w.add_chat_template(evil)
    w.add_array("list", [evil])
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.close()
    for option in ([], ["--metadata"], ["--json"], ["--tensors"]):
        out = show(hearth_bin, *option, path)
        assert out.returncode == 0
        text = out.stdout.decode()
        assert not [c for c in text if (ord(c) < 32 and c != "\n") or 0x7F <= ord(c) < 0xA0]
    assert show(hearth_bin, "--template", path).stdout.decode() == evil  # a pipe gets it all


def test_refusals(hearth_bin, tmp_path):
    path = tmp_path / "cut.gguf"
    path.write_bytes(b"GGUF\3\0\0\0")
    for args, code, text in [((path,), 1, b"header: truncated"), ((), 2, b"show"),
                             ((tmp_path,), 1, b"folder"),
                             ((tmp_path / "absent.gguf",), 1, b"no such file")]:
        out = show(hearth_bin, *args)
        assert (out.returncode, out.stdout) == (code, b"") and text in out.stderr
        assert out.stderr.count(b"\n") <= 2
