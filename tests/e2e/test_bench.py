"""`hearth bench`: what it writes is whole and adds up. Speed is not asserted."""
import json
import os
import pty
import re
import signal
import subprocess
import time
import xml.etree.ElementTree as ElementTree

import pytest

SHORT = ["--prompt", "16", "--batch", "1,2", "--depth", "0,64", "--steps", "2", "--reps", "3"]


@pytest.fixture(scope="module")
def env(tmp_path_factory):
    return os.environ | {"XDG_CACHE_HOME": str(tmp_path_factory.mktemp("cache")), "TERM": "xterm"}


@pytest.fixture(scope="module")
def bench(hearth_bin, smollm2_path, env):
    def run(*args):
        return subprocess.run([str(hearth_bin), "bench", str(smollm2_path), *args], capture_output=True,
                              text=True, timeout=120, env=env)

    return run


@pytest.fixture(scope="module")
def report(bench, tmp_path_factory):
    folder = tmp_path_factory.mktemp("bench")
    done = bench(*SHORT, "--json", str(folder / "b.json"), "--svg", str(folder / "b.svg"))
    assert done.returncode == 0, done.stderr
    return done.stdout, json.loads((folder / "b.json").read_text()), (folder / "b.svg").read_text()


def test_json_adds_up(report):
    _, got, _ = report
    assert got["rounds"] == 3 and not got["interrupted"] and got["skipped"] == []
    tests = {(r["test"], r.get("prompt"), r.get("batch"), r["depth"]) for r in got["results"]}
    assert tests == {("prefill", 16, None, 0), ("prefill", 16, None, 64), ("decode", None, 1, 0),
                     ("decode", None, 2, 0), ("decode", None, 1, 64), ("decode", None, 2, 64)}
    for r in got["results"]:
        assert len(r["seconds"]) == 3 and min(r["seconds"]) > 0
        speeds = sorted(r["tokens"] / s for s in r["seconds"])
        t = r["tokens_per_s"]
        assert [t["min"], t["median"], t["max"]] == pytest.approx(speeds)
        assert t["min"] <= t["q1"] <= t["median"] <= t["q3"] <= t["max"]
        assert r["of_read_limit"]["median"] > 0 and r["of_multiply_add_limit"]["median"] > 0
    assert len(got["limits"]) == 1
    assert got["limits"][0]["read_bytes_per_s"]["min"] > 0
    assert got["one_thread_multiply_adds_per_s"]["min"] > 0
    # two sequences read the weights once, so they cost less than twice the bytes of one
    per_step = {r["batch"]: r["bytes"] / r["tokens"] * r["batch"] for r in got["results"]
                if r["test"] == "decode" and r["depth"] == 64}
    assert per_step[1] < per_step[2] < 2 * per_step[1]


def test_table_has_every_measurement(report):
    table, got, _ = report
    for name in ("prefill 16", "prefill 16 at depth 64", "decode x1", "decode x2 at depth 64"):
        assert re.search(rf"^{name} +\d", table, re.M), table
    assert "GB/s" in table and "multiply-adds/s" in table


def test_plot_is_xml(report):
    root = ElementTree.fromstring(report[2])
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert len(root.findall(".//{*}circle")) == 2 + 4 + 4


def test_shared_prefix(bench):
    done = bench("--prompt", "none", "--batch", "1,3", "--depth", "64", "--shared", "40", "--steps", "2", "--reps", "1",
                 "--json", "-")
    assert done.returncode == 0, done.stderr
    alone, three = json.loads(done.stdout)["results"]
    assert "shared" not in alone and three["shared"] == 32  # whole blocks
    assert bench("--shared", "-1").returncode != 0


def test_json_to_standard_output_is_alone(bench):
    done = bench("--prompt", "8", "--batch", "none", "--depth", "0", "--reps", "1", "--json", "-")
    assert done.returncode == 0, done.stderr
    assert [r["test"] for r in json.loads(done.stdout)["results"]] == ["prefill"]


def test_options_of_the_model_reach_it(bench):
    done = bench("--prompt", "8", "--batch", "1", "--depth", "64", "--reps", "1", "--steps", "1", "--json", "-",
                 "--kv-type", "q8_0", "--activations", "fast", "--threads", "1,2")
    assert done.returncode == 0, done.stderr
    got = json.loads(done.stdout)
    assert got["model"]["kv_type"] == "q8_0" and got["model"]["activations"] == "fast"
    assert [(r["test"], r["threads"]) for r in got["results"]] == [("prefill", 1), ("decode", 1), ("prefill", 2),
                                                                    ("decode", 2)]


def test_what_the_context_is_too_small_for_is_left_out(bench):
    done = bench("--prompt", "8", "--batch", "none", "--depth", "0,100k", "--reps", "1")
    assert done.returncode == 0, done.stderr
    assert re.search(r"^prefill 8 at depth 102400 +left out: .*context", done.stdout, re.M), done.stdout
    done = bench("--prompt", "8", "--batch", "none", "--depth", "100k")
    assert done.returncode == 1 and "nothing can be measured" in done.stderr


@pytest.mark.parametrize("args", [["--depth", "x"], ["--prompt", "0"], ["--batch", "1,1"], ["--threads", "0"],
                                  ["--prompt", "none", "--batch", "none"], ["--json", "-", "--svg", "-"]])
def test_wrong_options(bench, args):
    done = bench(*args)
    assert done.returncode == 2 and done.stdout == "" and len(done.stderr.splitlines()) == 1, done.stderr


def test_a_script_asks_for_samples(hearth_bin, smollm2_path, env):
    with subprocess.Popen([str(hearth_bin), "bench", str(smollm2_path), *SHORT, "--ask"], text=True, env=env,
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as p:
        cells = []
        for line in p.stdout:
            cells.append(json.loads(line))
            if "ready" in cells[-1]:
                break
        names = [c["name"] for c in cells[:-1]]
        assert names[0] == "prefill 16" and "decode x2 at depth 64" in names
        for ask in (names.index("decode x2"), 0):
            p.stdin.write(f"{ask}\n")
            p.stdin.flush()
            got = json.loads(p.stdout.readline())
            assert got["cell"] == ask and got["seconds"] > 0 and got["read_bytes_per_s"] > 0
        for wrong in ("x", "99", "-1", ""):
            p.stdin.write(wrong + "\n")
            p.stdin.flush()
            assert "error" in json.loads(p.stdout.readline())
        p.stdin.close()
        assert p.wait(20) == 0


def test_ctrl_c_shows_what_is_there(hearth_bin, smollm2_path, env):
    """On a terminal; the progress line says when the second round has begun."""
    args = ["hearth", "bench", str(smollm2_path), "--prompt", "16", "--batch", "1", "--depth", "0", "--steps",
            "2", "--reps", "1000"]
    pid, fd = pty.fork()
    if pid == 0:
        os.execve(str(hearth_bin), args, env)
    text, sent, end = "", False, time.monotonic() + 60
    while time.monotonic() < end:
        try:
            chunk = os.read(fd, 65536)
        except OSError:
            break
        text += chunk.decode(errors="replace")
        if not sent and "round 3 of 1000" in text:
            os.kill(pid, signal.SIGINT)
            sent = True
    assert sent and os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert re.search(r"^prefill 16 +\d", text, re.M) and re.search(r"^decode x1 +\d", text, re.M), text
