"""Packed weights on the disk: made once, mapped after, never trusted, gone with the model."""
import mmap
import os
import pathlib
import re
import subprocess
import time

import pytest

import serving

PROMPT = {"prompt": "The sea is", "max_tokens": 6, "temperature": 0, "logprobs": 5}
MODEL = "smollm2:135m"


@pytest.fixture
def env(tmp_path, hearth_bin, smollm2_path):
    """A library with the model in it."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("HEARTH_")}
    env |= {"HEARTH_MODELS": str(tmp_path / "library"), "HEARTH_CACHE_DIR": str(tmp_path / "cache"),
            "HEARTH_CONFIG": "/dev/null", "HEARTH_CALIBRATE": "off"}
    subprocess.run([str(hearth_bin), "pull", str(smollm2_path), "--name", MODEL], env=env, check=True,
                   capture_output=True)
    return env


@pytest.fixture
def start(hearth_bin, tmp_path, env):
    """start(flags) -> (answer, log): one life of a server, from its start over an answer to its end."""
    def run(model=MODEL, env=None, **flags):
        server = serving.Server(hearth_bin, tmp_path, model=model, env=env,
                                ctx=256, parallel=1, threads=2, **flags)
        try:
            status, _, answer = server.post("/v1/completions", PROMPT, timeout=120)
            assert status == 200, answer
            end = time.monotonic() + 30
            while "packed weights written" in server.log() and "kept" not in server.log() and time.monotonic() < end:
                time.sleep(0.02)
            choice = answer["choices"][0]
            return (choice["text"], choice["logprobs"]), server.log()
        finally:
            server.close()
    return run


def files(env):
    return sorted(pathlib.Path(env["HEARTH_CACHE_DIR"], "packed").glob("*"))


def test_second_start_maps_what_the_first_one_made(env, start):
    first, log = start()
    assert "packed weights written" in log and "packed weights are kept in" in log
    (file,) = files(env)
    assert file.suffix == ".packed" and file.stat().st_mode & 0o777 == 0o600
    made = file.stat().st_mtime_ns, file.stat().st_ino
    second, log = start()
    assert "packed weights mapped from the cache" in log and "written" not in log and "warn" not in log
    assert file.stat().st_ino == made[1] and file.stat().st_mtime_ns > made[0]  # used, not made again
    third, log = start(env={"HEARTH_PACK_CACHE": "no"})
    assert "packed weights made in memory" in log and "warn" not in log
    assert first == second == third


@pytest.mark.parametrize("damage", ["header", "panel", "end", "empty", "version"])
def test_a_damaged_file_is_made_again(env, start, damage):
    first, _ = start()
    (file,) = files(env)
    with open(file, "r+b") as f:
        if damage == "end":
            f.truncate(file.stat().st_size - 64)
        elif damage == "empty":
            f.truncate(0)
        else:
            f.seek({"header": 200, "panel": file.stat().st_size // 2, "version": 8}[damage])
            byte = f.read(1)
            f.seek(-1, 1)
            f.write(bytes([byte[0] ^ 4]))
    second, log = start()
    assert "the file of packed weights is not used" in log and "packed weights written" in log
    assert "packed weights are kept in" in log
    third, log = start()
    assert "packed weights mapped from the cache" in log
    assert first == second == third


def test_where_it_cannot_be_kept_it_is_made_in_memory(env, start):
    first, log = start(pack_cache_max="1m")
    assert "packed weights are not kept" in log and "may hold" in log and "packed weights made in memory" in log
    assert files(env) == []
    cache = pathlib.Path(env["HEARTH_CACHE_DIR"])
    cache.rename(cache.with_name("was"))
    cache.write_text("not a folder")
    second, log = start()
    assert "packed weights are not kept" in log and "packed weights made in memory" in log
    assert first == second


def test_the_file_goes_with_the_model(env, start, hearth_bin):
    def hearth(*args):
        done = subprocess.run([str(hearth_bin), *args], env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    start()
    assert len(files(env)) == 1
    assert MODEL in hearth("cache")
    hearth("cp", MODEL, "other:name")
    hearth("rm", MODEL)
    assert len(files(env)) == 1  # the other name still needs it
    hearth("rm", "other:name")
    assert files(env) == []
    assert MODEL not in hearth("cache")


def test_a_file_that_is_given_by_its_path(env, start, hearth_bin, tmp_path, smollm2_path):
    """Written into, it is another model, even when its time is set back."""
    path = tmp_path / "model.gguf"
    path.write_bytes(smollm2_path.read_bytes())
    start(model=path)
    assert "mapped from the cache" in start(model=path)[1]
    before = path.stat()
    time.sleep(0.05)
    with open(path, "r+b") as f:
        f.seek(before.st_size // 2)
        byte = f.read(1)
        f.seek(-1, 1)
        f.write(bytes([byte[0] ^ 1]))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert "packed weights written" in start(model=path)[1]
    assert len(files(env)) == 2
    done = subprocess.run([str(hearth_bin), "cache", "--clear"], env=env, capture_output=True, text=True)
    assert done.returncode == 0 and files(env) == []


def test_two_servers_at_once(hearth_bin, tmp_path, env):
    """One makes the file, the other does without or finds it; both answer alike."""
    servers = []
    try:
        for i in range(2):
            folder = tmp_path / f"server{i}"
            folder.mkdir()
            servers.append(serving.Server(hearth_bin, folder, model=MODEL, env=env, ctx=256, parallel=1, threads=1,
                                          wait=False))
        answers = []
        for server in servers:
            server.wait_ready()
            answers.append(server.post("/v1/completions", PROMPT, timeout=120)[2]["choices"][0])
        assert answers[0] == answers[1]
        assert any("packed weights written" in s.log() for s in servers)
    finally:
        for server in servers:
            server.close()
    assert [f.suffix for f in files(env)] == [".packed"]


def forget(file):
    """The file's pages leave memory, as they do when the machine starts again."""
    with open(file, "rb") as f:
        os.fsync(f.fileno())
        os.posix_fadvise(f.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def huge_part(pid, file):
    """What part of a process's mapping of the file is in huge pages."""
    blocks = re.split(r"^(?=[0-9a-f]+-[0-9a-f]+ )", pathlib.Path(f"/proc/{pid}/smaps").read_text(), flags=re.M)
    block = next(b for b in blocks if b.split("\n")[0].endswith(str(file)))
    size, huge = (int(re.search(rf"^{name}: +(\d+) kB", block, re.M)[1]) for name in ("Size", "FilePmdMapped"))
    return huge / size


def test_pages_that_come_back_are_huge(hearth_bin, tmp_path, env, start):
    """From 4 KiB pages weights are read a fifth slower (docs/performance.md)."""
    start()
    (file,) = files(env)
    forget(file)
    with open(file, "rb") as f, mmap.mmap(f.fileno(), 0, mmap.MAP_SHARED, mmap.PROT_READ) as probe:
        probe.madvise(mmap.MADV_HUGEPAGE)
        assert len(probe[::4096]) > 0
        if huge_part("self", file) < 0.9:
            pytest.skip("this file system keeps no files in huge pages")
    forget(file)
    server = serving.Server(hearth_bin, tmp_path, model=MODEL, env=env, ctx=256, parallel=1, threads=2)
    try:
        assert server.post("/v1/completions", PROMPT, timeout=120)[0] == 200
        assert huge_part(server.workers()[0], file) >= 0.9
    finally:
        server.close()
