"""Prefixes on the disk: computed once, there for the next process, never trusted, gone when they should be."""
import concurrent.futures
import json
import os
import pathlib
import random
import signal
import stat
import subprocess
import time

import pytest

import serving

MIB = 1 << 20
N_BLOCKS = 5
N_PREFIX = N_BLOCKS * 32  # tokens


def prompt(seed, n=N_PREFIX, own=20, suffix=0):
    """Token ids: a long beginning that depends on seed, and an end of its own."""
    return random.Random(seed).choices(range(100, 20000), k=n) + random.Random(1000 + suffix).choices(range(100, 20000), k=own)


def ask(server, tokens, n=8):
    """(text and log probabilities, cached tokens)"""
    body = {"prompt": tokens, "max_tokens": n, "temperature": 0, "logprobs": 2}
    status, _, answer = server.post("/v1/completions", body, timeout=120)
    assert status == 200, answer
    choice = answer["choices"][0]
    return (choice["text"], choice["logprobs"]), answer["usage"]["prompt_tokens_details"]["cached_tokens"]


def wait_written(server, n_blocks):
    server.wait_metric("hearth_worker_prefix_disk_blocks", n_blocks, seconds=20)


@pytest.fixture
def start(launch, smollm2_path):
    def run(**flags):
        flags = {"ctx": 1024, "parallel": 4, "threads": 2} | flags
        return launch(flags.pop("model", smollm2_path), **flags)
    return run


@pytest.fixture
def files(tmp_path):
    return lambda: sorted((tmp_path / "cache" / "prefix").glob("*"))


@pytest.fixture
def alone(start, tmp_path):
    """What the model answers when nothing is cached anywhere."""
    def run(*prompts):
        server = start(env={"HEARTH_PREFIX_DISK": "no"}, cache_dir=tmp_path / "other")
        answers = []
        for tokens in prompts:
            answer, cached = ask(server, tokens)
            assert cached == 0
            answers.append(answer)
        server.close()
        assert not (tmp_path / "other" / "prefix").exists()
        return answers
    return run


def worker_of(server):
    children = pathlib.Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text().split()
    assert len(children) == 1
    return int(children[0])


def test_a_prefix_outlives_the_server(start, files, alone):
    first, second = prompt(1), prompt(1, suffix=1)
    wanted = alone(first, prompt(2)) + alone(second)
    server = start()
    assert ask(server, first) == (wanted[0], 0)
    assert ask(server, second) == (wanted[2], N_PREFIX)  # from memory
    wait_written(server, N_BLOCKS)
    assert server.metric("hearth_worker_prefix_disk_hits_total") == 0
    server.close()
    (file,) = files()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600 and stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    server = start()
    assert "the prefix cache on the disk has room for" in server.log()
    assert ask(server, second) == (wanted[2], N_PREFIX)
    assert ask(server, first) == (wanted[0], N_PREFIX)
    assert ask(server, prompt(2)) == (wanted[1], 0)
    server.wait_metric("hearth_worker_prefix_disk_hits_total", 1)
    server.wait_metric("hearth_worker_prefix_disk_tokens_total", N_PREFIX)
    server.close()


def test_answers_are_kept_too(start):
    server = start()
    assert ask(server, prompt(3, own=0), n=80)[1] == 0
    wait_written(server, N_BLOCKS + 2)  # 240 tokens, the last of which was never computed
    server.close()


@pytest.mark.parametrize("who", ["worker", "server"])
def test_kill_minus_nine(start, who):
    server = start()
    answer, cached = ask(server, prompt(4))
    assert cached == 0
    time.sleep(0.3)
    if who == "worker":
        os.kill(worker_of(server), signal.SIGKILL)
        server.wait_metric("hearth_worker_deaths_total", 1)
    else:
        server.process.kill()
        server.process.wait()
        server = start()  # at once: the old worker may still hold the file
    assert ask(server, prompt(4)) == (answer, N_PREFIX)
    server.wait_metric("hearth_worker_prefix_disk_tokens_total", N_PREFIX)


DATA_AT = 4096 + 65536 * 256


@pytest.mark.parametrize("damage,n_kept", [("head", 0), ("identity", 0), ("entry", 4), ("data", 4), ("end", 2), ("empty", 0),
                                           ("noise", 0)])
def test_a_damaged_file_costs_time_only(start, files, damage, n_kept):
    server = start()
    answer, _ = ask(server, prompt(5))
    wait_written(server, N_BLOCKS)
    server.close()
    (file,) = files()
    slot = (file.stat().st_size - DATA_AT) // N_BLOCKS // 4096 * 4096
    with open(file, "r+b") as f:
        if damage == "end":
            f.truncate(DATA_AT + 2 * slot + 4096)
        elif damage == "empty":
            f.truncate(0)
        elif damage == "noise":
            f.write(random.Random(1).randbytes(1 << 20))
        else:
            f.seek({"head": 9, "identity": 40, "entry": 4096 + 2 * 256 + 70, "data": DATA_AT + 2 * slot + 999}[damage])
            byte = f.read(1)
            f.seek(-1, os.SEEK_CUR)
            f.write(bytes([byte[0] ^ 1]))
    for expected in (n_kept * 32, N_PREFIX):  # a lost block is computed, those after it are read; then it is whole again
        server = start()
        assert ask(server, prompt(5)) == (answer, expected)
        wait_written(server, N_BLOCKS)
        server.close()


def test_two_servers(start):
    one = start()
    answer, _ = ask(one, prompt(6))
    wait_written(one, N_BLOCKS)
    two = start()
    assert "not kept on the disk: another server uses the file" in two.log()
    assert ask(two, prompt(6)) == (answer, 0)
    assert ask(one, prompt(6)) == (answer, N_PREFIX)
    one.close()
    two.close()
    three = start()
    assert ask(three, prompt(6)) == (answer, N_PREFIX)


def test_another_way_of_computing_has_its_own_file(start, files, hearth_bin, tmp_path):
    answers = []
    for _ in range(2):
        for kv_type in ("f16", "q8_0"):
            server = start(kv_type=kv_type)
            answer, cached = ask(server, prompt(7))
            answers.append((answer, cached))
            wait_written(server, N_BLOCKS)
            server.close()
    assert [cached for _, cached in answers] == [0, 0, N_PREFIX, N_PREFIX]
    assert answers[0][0] == answers[2][0] and answers[1][0] == answers[3][0]
    assert len(files()) == 2
    # another instruction set sums in another order: the file begins anew
    server = start(env={"HEARTH_CPU": "generic"})
    assert ask(server, prompt(7, n=64))[1] == 0
    server.close()
    # and so does another build of the program
    copy = tmp_path / "hearth"
    copy.write_bytes(pathlib.Path(hearth_bin).read_bytes())
    copy.chmod(0o755)
    server = start(kv_type="q8_0", worker_exe=copy)
    assert ask(server, prompt(7)) == (answers[1][0], 0)
    server.close()


def test_the_bound_holds(start, files, tmp_path):
    server = start(prefix_disk_max="48m")
    answers = [ask(server, prompt(100 + i))[0] for i in range(4)]  # 20 blocks of 720 KiB; there is room for 11
    time.sleep(1.5)
    assert server.metric("hearth_worker_prefix_disk_blocks") <= 11
    server.close()
    (file,) = files()
    assert file.stat().st_size <= 24 * MIB
    server = start(prefix_disk_max="48m")
    cached = 0
    for i in reversed(range(4)):
        answer, n = ask(server, prompt(100 + i))
        assert answer == answers[i]
        cached += n
    assert 10 * 32 <= cached <= 11 * 32  # those that were used last
    server.close()
    server = start(prefix_disk_max="10m")
    assert "computed prefixes are not kept on the disk" in server.log() and "--prefix-disk-max" in server.log()
    assert ask(server, prompt(100))[0] == answers[0]
    server.close()


def test_where_it_cannot_be_kept(start, hearth_bin, launch, tmp_path, smollm2_path):
    blocker = tmp_path / "cache" / "prefix"
    blocker.parent.mkdir()
    blocker.write_text("not a folder")
    server = start()
    assert "computed prefixes are not kept on the disk" in server.log()
    answer, _ = ask(server, prompt(8))
    server.close()
    blocker.unlink()
    # a disk that is full after some blocks
    full = tmp_path / "hearth-full"
    full.write_text(f'#!/bin/sh\nulimit -f {(DATA_AT + 5 * MIB) // 1024}\nexec {hearth_bin} "$@"\n')
    full.chmod(0o755)
    server = start(worker_exe=full, env={"HEARTH_PACK_CACHE": "no"})
    assert ask(server, prompt(8)) == (answer, 0)
    assert ask(server, prompt(9))[1] == 0
    assert ask(server, prompt(8)) == (answer, N_PREFIX)
    assert "the prefix cache on the disk cannot be written" in server.log()
    server.close()
    server = start()
    again, cached = ask(server, prompt(8))
    assert again == answer and 0 <= cached <= 7 * 32  # the program's name differs, or some blocks fit
    server.close()


def test_cache_and_rm(hearth_bin, tmp_path, launch, smollm2_path, files):
    env = {k: v for k, v in os.environ.items() if not k.startswith("HEARTH_")}
    env |= {"HEARTH_MODELS": str(tmp_path / "library"), "HEARTH_CACHE_DIR": str(tmp_path / "cache"), "HEARTH_CONFIG": "/dev/null"}

    def hearth(*args):
        done = subprocess.run([str(hearth_bin), *args], env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    hearth("pull", str(smollm2_path), "--name", "small:one")
    for after in ("clear", "rm"):
        server = launch("small:one", ctx=1024, threads=2)
        ask(server, prompt(10))
        wait_written(server, N_BLOCKS)
        rows = [row for row in json.loads(hearth("cache", "--json")) if row["kind"] == "prefixes"]
        assert [(row["name"], row["in_use"]) for row in rows] == [("small:one", True)] and rows[0]["size"] > 3 * MIB
        hearth("cache", "--clear")
        assert len(files()) == 1  # in use
        server.close()
        assert "of computed prefixes in" in hearth("cache")
        hearth(*(["cache", "--clear"] if after == "clear" else ["rm", "small:one"]))
        assert files() == []


def test_a_crowd_after_a_restart(start):
    """Many with the same prefix at once, some of whom leave while it is being read: one reads, all get their bytes."""
    server = start()
    wanted = [ask(server, prompt(11, suffix=i))[0] for i in range(6)]
    server.close()
    server = start()
    body = {"prompt": prompt(11, suffix=9), "max_tokens": 8, "temperature": 0, "stream": True}
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        leavers = [server.stream(body, "/v1/completions") for _ in range(3)]
        answers = [pool.submit(ask, server, prompt(11, suffix=i)) for i in range(6)]
        for s in leavers:
            s.close()
        got = [a.result() for a in answers]
    assert [answer for answer, _ in got] == wanted
    assert all(cached == N_PREFIX for _, cached in got)
    assert server.metric("hearth_worker_prefix_disk_tokens_total") <= 2 * N_PREFIX
    server.close()
