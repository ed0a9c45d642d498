"""How many threads a server uses: what it was told, what was measured once, what the machine has."""

import json
import os
import re
import time

import pytest

CPUS = len(os.sched_getaffinity(0))


def cpu_name():
    with open("/proc/cpuinfo") as f:
        for key in ("model name", "Model", "CPU part"):
            f.seek(0)
            for line in f:
                name, _, value = line.partition(":")
                if name.strip() == key:
                    return value.strip()[:127]
    return "unknown"


def threads_of(server):
    """As the banner says once the model is loaded."""
    end = time.monotonic() + 60
    while not (found := re.search(r"(\d+) threads \(", server.log())):
        assert time.monotonic() < end, server.log()
        time.sleep(0.02)
    return int(found.group(1))


@pytest.fixture
def remembered(hearth_bin, launch, tmp_path, smollm2_path):
    """Starts a server with this text in place of what was measured; says what it uses."""

    def start(change=None, text=None, **flags):
        folder = tmp_path / "cache" / "hearth"
        folder.mkdir(parents=True, exist_ok=True)
        kept = {"version": os.popen(f"{hearth_bin} version").read().split()[1], "cpu": cpu_name(), "prefill": 1,
                "decode": 1} | (change or {})
        for path in folder.glob("threads-*"):
            path.unlink()
        for n in range(1, CPUS + 1):
            for level in ("generic", "avx2", "avxvnni", "avx512", "avx512vnni", "neon"):
                (folder / f"threads-{level}-{n}.json").write_text(json.dumps(kept) if text is None else text)
        server = launch(smollm2_path, env={"HEARTH_CACHE_DIR": str(tmp_path / "cache" / "hearth")}, ctx=256, **flags)
        n = threads_of(server)
        server.close()
        return n

    return start


def test_what_was_measured_counts(remembered):
    default = remembered(text="")
    if default == 1:
        pytest.skip("one core: there is nothing to choose")
    assert remembered() == 1
    assert remembered(threads=2) == 2, "a flag is stronger"
    for text in ("{", "[]", "\0" * 100, "{}" * 4000, '{"prefill": 1}'):
        assert remembered(text=text) == default, text
    for change in ({"cpu": "another"}, {"version": "0"}, {"prefill": 0}, {"decode": -1}, {"prefill": 9999},
                   {"decode": "1"}, {"prefill": 1e99}):
        assert remembered(change) == default, change


def test_the_first_start_measures(launch, tmp_path, smollm2_path):
    """Kept only when the machine was not busy; it answers either way."""
    cache = tmp_path / "cache"
    server = launch(smollm2_path, env={"HEARTH_CACHE_DIR": str(cache / "hearth"), "HEARTH_CALIBRATE": "on"}, ctx=256)
    assert threads_of(server) >= 1
    if CPUS > 1 and "measured in" in server.log():
        files = list(cache.glob("hearth/threads-*.json"))
        assert len(files) == (0 if "not kept" in server.log() else 1)
        for path in files:
            kept = json.loads(path.read_text())
            assert kept["cpu"] == cpu_name() and 1 <= kept["decode"] <= kept["prefill"] <= CPUS
            assert path.stat().st_mode & 0o777 == 0o600


def test_one_cpu_is_one_thread(launch, smollm2_path):
    """As under taskset: a server that may use one cpu starts one thread, and answers."""
    mine = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(mine)})
    try:
        server = launch(smollm2_path, ctx=256)
    finally:
        os.sched_setaffinity(0, mine)
    assert threads_of(server) == 1
    assert server.chat(max_tokens=2)[0] == 200
