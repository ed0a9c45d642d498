"""`hearth plan` says what a worker then holds, byte by byte; and a worker's memory stays within it."""

import json
import re
import subprocess

import pytest
from worker_driver import Worker

KV_TYPES = ["f16", "q8_0", "q4_0"]


def plan(hearth_bin, model, *args, code=0):
    run = subprocess.run([str(hearth_bin), "plan", str(model), "--json", *map(str, args)], capture_output=True,
                         text=True, timeout=120)
    assert run.returncode == code, run.stderr
    return json.loads(run.stdout)


@pytest.fixture(scope="module")
def synth_path(hearth_bin, tmp_path_factory):
    path = tmp_path_factory.mktemp("synth") / "qwen.gguf"
    subprocess.run([str(hearth_bin), "synth", "qwen2.5-0.5b", "-o", str(path), "--type", "Q4_K_M", "--layers", "2"], check=True,
                   capture_output=True, timeout=300)
    return path


@pytest.fixture(params=["smollm2", "gemma3", "synth"])
def model(request):
    return request.getfixturevalue(f"{request.param}_path")


@pytest.mark.parametrize("ctx, users, kv_type, memory", [
    (0, 0, "f16", "8g"), (1024, 1, "q8_0", "2g"), (512, 7, "q4_0", "2g"), (2000, 200, "f16", "3g"), (0, 4, "q4_0", "600m"),
])
def test_the_worker_holds_what_was_planned(hearth_bin, model, ctx, users, kv_type, memory):
    said = plan(hearth_bin, model, "--context", ctx, "--users", users, "--kv-type", kv_type, "--memory", memory,
                "--threads", 2)
    number = int(memory[:-1]) << {"g": 30, "m": 20}[memory[-1]]
    with Worker(hearth_bin, [model], ctx=ctx, parallel=users, kv_type=KV_TYPES.index(kv_type), threads=2,
                memory_max=number) as w:
        info = w.ready()
        assert info["t"] == "ready", info
        for key in ("weight_bytes", "kv_bytes", "scratch_bytes"):
            assert said[key] == info[key], key
        assert said["context"] == info["n_ctx"] and said["users"] == info["n_seq_max"]
        assert said["fits"] and said["memory_bytes"] == number
        assert w.close() == 0
    assert said["total_bytes"] == said["weight_bytes"] + said["kv_bytes"] + said["scratch_bytes"] <= number
    assert said["kv_bytes"] == said["kv"]["blocks"] * said["kv"]["block_bytes"]
    assert said["scratch_bytes"] == sum(said["scratch"].values())


def test_what_does_not_fit(hearth_bin, smollm2_path):
    """The arithmetic, as the worker refuses it, and what would fit instead."""
    said = plan(hearth_bin, smollm2_path, "--context", 8192, "--users", 2, "--memory", "300m", code=1)
    assert not said["fits"] and "keys and values for a context of 8192 tokens" in said["error"]
    assert said["total_bytes"] > 300 << 20
    with Worker(hearth_bin, [smollm2_path], ctx=8192, parallel=2, memory_max=300 << 20) as w:
        assert w.ready()["message"] == said["error"]
    two = next(r["context"] for r in said["room"] if r["users"] == 2)
    assert 256 <= two["f16"] < two["q8_0"] < two["q4_0"] <= 8192
    # What it says fits does, and not a block more.
    for kv_type, n_ctx in two.items():
        args = ("--users", 2, "--memory", "300m", "--kv-type", kv_type)
        fits = plan(hearth_bin, smollm2_path, "--context", n_ctx, *args)
        assert fits["whole_contexts"] >= 2, kv_type
        if n_ctx < 8192:
            assert plan(hearth_bin, smollm2_path, "--context", n_ctx + 32, *args)["whole_contexts"] < 2, kv_type


def test_for_people(hearth_bin, smollm2_path):
    run = subprocess.run([str(hearth_bin), "plan", str(smollm2_path), "--context", "1024", "--users", "3"],
                         capture_output=True, text=True, timeout=120)
    assert run.returncode == 0 and run.stderr == ""
    said = plan(hearth_bin, smollm2_path, "--context", 1024, "--users", 3)
    for key in ("weight_bytes", "kv_bytes", "total_bytes"):
        assert re.search(rf"\b{said[key]}\b", run.stdout), key
    missing = subprocess.run([str(hearth_bin), "plan", "/nowhere.gguf"], capture_output=True, text=True, timeout=120)
    assert missing.returncode == 1 and "/nowhere.gguf" in missing.stderr and missing.stdout == ""


# ---- resident memory ----


def status_kib(pid, key):
    return int(re.search(rf"{key}:\s+(\d+) kB", open(f"/proc/{pid}/status", encoding="utf-8").read())[1])


def resident_of(pid, path):
    """Of the mappings of one file."""
    total, ours = 0, False
    for line in open(f"/proc/{pid}/smaps", encoding="utf-8"):
        if re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
            ours = line.rstrip().endswith(str(path))
        elif ours and line.startswith("Rss:"):
            total += int(line.split()[1]) << 10
    return total


@pytest.mark.parametrize("kv_type", KV_TYPES)
def test_memory_stays_within_the_plan(hearth_bin, smollm2_path, kv_type):
    """The most that was ever resident, pages of files and shared libraries included, while weights are packed and
    while all blocks are in use: at most the plan's total, without any allowance. What the plan gives to requests and
    the program (its reserve) is all there is beside what is counted; weights stand in memory once."""
    with Worker(hearth_bin, [smollm2_path], ctx=512, parallel=4, kv_type=KV_TYPES.index(kv_type), threads=2) as w:
        info = w.ready()
        total = info["weight_bytes"] + info["kv_bytes"] + info["scratch_bytes"]
        assert status_kib(w.process.pid, "VmHWM") << 10 <= total - info["kv_bytes"]
        # Many different tokens: rows of the table are read from all over it.
        prompts = [[(i * 10007 + j * 7919) % 49000 for j in range(450)] for i in range(4)]
        answers = w.answers([{"t": "generate", "id": i, "kind": "tokens", "tokens": prompts[i], "max_tokens": 40,
                              "ignore_eos": True, "sampling": {"seed": i}} for i in range(4)])
        for a in answers.values():
            assert a.error is None and a.done["n_prompt"] + a.done["n_completion"] > 440, a.done
        peak = status_kib(w.process.pid, "VmHWM") << 10
        print(kv_type, peak, total, peak / (info["weight_bytes"] + info["kv_bytes"]))
        assert peak <= total, (peak, total)
        assert peak >= info["weight_bytes"] + 0.85 * info["kv_bytes"], "the blocks were not filled"
        assert resident_of(w.process.pid, smollm2_path.resolve()) < 1 << 20
        assert w.close() == 0
