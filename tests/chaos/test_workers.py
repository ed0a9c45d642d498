"""Workers that die, fail to load, or must make room; and the server's own end."""
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import threading
import time

import pytest

import serving


def body(text, **more):
    return {"messages": [{"role": "user", "content": text}], **more}


def read_until(sock, what):
    out = b""
    while what not in out:
        piece = sock.recv(4096)
        assert piece, out
        out += piece
    return out


def state(server):
    return json.loads(server.get("/health")[2])


# ---- death

def text_of(found):
    return "".join(c["delta"].get("content", "") for e in found for c in e.get("choices", []))


WORDS = " ".join(f"w{i}" for i in range(40))


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGABRT, signal.SIGBUS, signal.SIGSEGV])
def test_a_death_in_mid_stream(fake, how):
    """The client notices nothing but a pause: kill -9 or the OOM killer, a failed allocation, a bus error, a bug."""
    server = fake({"token_s": 0.01})
    sock = server.stream(body(WORDS, stream=True, stream_options={"include_usage": True}))
    read = read_until(sock, b"w5")
    (worker,) = server.workers()
    os.kill(worker, how)
    raw = read + serving.events(sock)[1]
    found = [json.loads(line[6:]) for line in raw.split(b"\n") if line.startswith(b"data: {")]
    assert text_of(found) == WORDS and b"[DONE]" in raw and b'"error"' not in raw
    assert found[-1]["usage"]["completion_tokens"] == 40 and found[-1]["usage"]["prompt_tokens"] == 40
    assert sum(c["delta"].get("role") is not None for e in found for c in e["choices"]) == 1
    assert server.metric("hearth_worker_restarts_total") == 1
    assert server.metric("hearth_requests_resumed_total") == 1
    assert server.metric("hearth_requests_failed_total") == 0
    assert server.workers() != [worker]


def test_kill_9_before_the_answer(fake):
    server = fake({"prefill_s": 0.4})
    answers = []
    thread = threading.Thread(target=lambda: answers.append(server.chat("one two three")))
    thread.start()
    server.wait_metric("hearth_worker_running", 1)
    os.kill(server.workers()[0], signal.SIGKILL)
    thread.join(10)
    status, _, answer = answers[0]
    assert status == 200 and answer["choices"][0]["message"]["content"] == "one two three"
    assert answer["usage"]["completion_tokens"] == 3
    assert server.metric("hearth_queue_seconds_count") == 1  # its start was told once


def test_a_client_that_leaves_while_the_worker_is_dead(fake):
    server = fake({"token_s": 0.01, "load_s": 0.5})
    sock = server.stream(body(WORDS, stream=True))
    read_until(sock, b"w2")
    os.kill(server.workers()[0], signal.SIGKILL)
    server.wait_metric("hearth_model_ready", 0)
    sock.close()
    server.wait_metric("hearth_model_requests", 0)
    server.wait_metric("hearth_model_ready", 1)
    assert server.chat()[0] == 200


def test_waiting_requests_survive_a_death(fake):
    """What was not sent yet goes to the next worker."""
    server = fake({"load_s": 0.5}, wait=False)
    for _ in range(200):
        try:
            sock = server.stream(body("patient words", stream=True))
            break
        except OSError:
            time.sleep(0.02)
    while not server.workers():
        time.sleep(0.01)
    os.kill(server.workers()[0], signal.SIGKILL)
    assert b"patient" in serving.events(sock)[1]


def test_a_crash_loop_ends_with_its_reason_kept(fake, tmp_path):
    """A worker that dies by itself, again and again: what waits gets one clear error, what comes then the reason."""
    server = fake({"die_ready_s": 0.2})
    sock = server.stream(body("SILENT", stream=True))
    found, raw = serving.events(sock)
    assert raw.count(b'"error"') == 1
    server.wait_metric("hearth_model_ready", 0)
    # the request that was there at each death was on trial alone, and not blamed before its second death
    message = json.loads(raw[raw.index(b"{"):raw.rindex(b"}") + 1])["error"]["message"] if not found else \
        found[-1]["error"]["message"]
    assert "2 deaths" in message
    for _ in range(500):
        health = server.get("/health")
        model = json.loads(health[2])["models"][0]
        if model["state"] == "failed":
            break
        time.sleep(0.02)
    assert health[0] == 503
    assert model["state"] == "failed" and "died 5 times" in model["reason"]
    status, _, answer = server.chat("innocent")
    assert status == 503 and "died 5 times" in answer["error"]["message"]
    # stopping it clears the state: the next request starts afresh
    (tmp_path / "fake.gguf").write_text("{}")
    assert server.post("/api/generate", {"model": model["name"], "keep_alive": 0})[0] == 200
    assert server.chat("innocent")[0] == 200


def test_a_model_that_was_ready_and_died_at_once_five_times_does_not_end_the_server(fake):
    """The server took a model that was ready and dead before the next look for one that could not be loaded."""
    server = fake({"die_ready_s": 0}, wait=False)
    for _ in range(500):
        try:
            health = server.get("/health")
            if json.loads(health[2])["models"][0]["state"] == "failed":
                break
        except OSError:
            pass
        time.sleep(0.01)
    assert health[0] == 503 and "died 5 times" in json.loads(health[2])["models"][0]["reason"]
    time.sleep(0.2)  # some of its looks
    assert server.process.poll() is None
    assert server.chat()[0] == 503


def start_many(server, texts, **more):
    """Streams, all begun; for finish_many."""
    return [server.stream(body(t, stream=True, **more)) for t in texts]


def finish_many(socks):
    out = []
    for sock in socks:
        sock.settimeout(60)
        found, raw = serving.events(sock, until=b"\r\n0\r\n\r\n")
        error = [e["error"]["message"] for e in found if "error" in e]
        out.append((text_of(found), error[0] if error else None, b"[DONE]" in raw))
    return out


@pytest.mark.parametrize("die_at", [1, 7])
def test_a_request_that_kills_the_worker_fails_alone(fake, die_at):
    server = fake({"die": "poison", "die_at": die_at, "token_s": 0.01, "n_seq_max": 8})
    texts = [f"t{i} " + WORDS for i in range(7)]
    socks = start_many(server, texts[:4])
    server.wait_metric("hearth_worker_running", 4)
    poison = start_many(server, ["poison " + WORDS])[0]
    socks += start_many(server, texts[4:])
    for i, (text, error, done) in enumerate(finish_many(socks)):
        assert text == texts[i] and error is None and done, i
    (text, error, done), = finish_many([poison])
    assert "this request was running at" in error and "alone" in error and not done
    assert server.metric("hearth_requests_failed_total") == 1
    assert 2 <= server.metric("hearth_worker_deaths_total") <= 4
    server.wait_metric("hearth_model_requests", 0)
    # asked for a whole answer, it is told not to try again; and the worker is not given up for its sake
    for _ in range(3):
        status, headers, answer = server.chat("poison " + WORDS)
        assert status == 500 and headers["X-Should-Retry"] == "false" and "2 deaths" in answer["error"]["message"]
    assert server.chat("innocent")[0] == 200


def test_two_that_kill_the_worker(fake):
    server = fake({"die": "poison", "token_s": 0.005, "n_seq_max": 8})
    texts = [f"t{i} " + WORDS for i in range(5)]
    socks = start_many(server, texts[:3] + ["poison 1 " + WORDS, "poison 2 " + WORDS] + texts[3:])
    ends = finish_many(socks)
    assert [e[1] is not None for e in ends] == [False] * 3 + [True] * 2 + [False] * 2
    for want, (text, _, done) in zip(texts, ends[:3] + ends[5:]):
        assert text == want and done


def test_a_stalled_worker_is_killed_and_its_requests_go_on(fake):
    server = fake({"stall_at": 5, "token_s": 0.01}, stall_timeout="400ms")
    (worker,) = server.workers()
    socks = start_many(server, [WORDS, "t1 " + WORDS])
    read_until(socks[0], b"w5")
    os.kill(worker, signal.SIGSTOP)
    ends = finish_many(socks)
    assert ends[1] == ("t1 " + WORDS, None, True) and ends[0][1:] == (None, True)
    assert server.metric("hearth_worker_stalls_total") == 1
    assert not pathlib.Path(f"/proc/{worker}").exists()


def test_a_request_that_stalls_the_worker_fails_alone(fake):
    server = fake({"stall_at": 5, "token_s": 0.01}, stall_timeout="300ms")
    texts = [f"t{i} " + WORDS for i in range(3)]
    socks = start_many(server, texts + ["STALL " + WORDS])
    ends = finish_many(socks)
    assert [e[0] for e in ends[:3]] == texts and all(e[2] for e in ends[:3])
    assert "made no progress" in ends[3][1]


def test_a_sign_of_life_is_no_progress(fake):
    """An engine that stands still while the worker's other thread still speaks."""
    server = fake(stall_timeout="1500ms")
    status, _, answer = server.chat("SILENT")
    assert status == 500 and "made no progress for 1500 ms" in answer["error"]["message"]
    assert server.metric("hearth_worker_stalls_total") == 2
    assert server.chat()[0] == 200


def test_an_idle_worker_is_not_taken_for_a_stalled_one(fake):
    server = fake({"token_s": 0.3}, stall_timeout="700ms")  # a token is a sign of life
    assert server.chat(" ".join("abcde"))[0] == 200
    time.sleep(1.5)
    assert server.metric("hearth_worker_deaths_total") == 0


def test_a_worker_that_stalls_while_loading(fake):
    server = fake({"load_s": 0.8}, stall_timeout="100ms", wait=False)
    server.wait_ready()  # loading has ten times as long between two signs
    assert server.metric("hearth_worker_deaths_total") == 0


def test_what_began_in_one_model_does_not_go_on_in_another(fake, tmp_path):
    server = fake({"token_s": 0.02})
    sock = server.stream(body(WORDS, stream=True))
    read_until(sock, b"w3")
    serving.fake_model(tmp_path, token_s=0.02, other=True)
    os.kill(server.workers()[0], signal.SIGKILL)
    found, raw = serving.events(sock, until=b"\r\n0\r\n\r\n")
    assert "is not the same any more" in found[-1]["error"]["message"] and b"[DONE]" not in raw
    assert server.chat()[0] == 200


def test_a_model_file_that_is_gone_after_a_death_fails_what_waits(fake, tmp_path):
    server = fake({"token_s": 0.02})
    socks = start_many(server, [WORDS, WORDS])
    read_until(socks[0], b"w3")
    (tmp_path / "fake.gguf").unlink()
    os.kill(server.workers()[0], signal.SIGKILL)
    for text, error, done in finish_many(socks):
        assert "cannot be opened" in error and not done


# ---- the queue

def test_a_stream_that_waits_hears_of_its_place(fake):
    server = fake({"token_s": 0.05, "n_seq_max": 1})
    assert server.chat("one two three four five six")[0] == 200  # something to measure
    first = server.stream(body(WORDS, stream=True))
    read_until(first, b"w1")
    second = server.stream(body(" ".join(["second"] * 55), stream=True))
    third = server.stream(body("third", stream=True))
    assert b"X-Hearth-Queue-Position: 1" in read_until(second, b"queued")
    raw = serving.events(third)[1]
    assert b"X-Hearth-Queue-Position: 2" in raw
    seconds = [float(s) for s in re.findall(rb": queued, position 2, about (\d+) s\n\n", raw)]
    assert seconds and 0 < seconds[0] < 60, raw
    assert b": queued, position 1" in raw and b"[DONE]" in raw and b"third" in raw
    assert b"X-Hearth" not in server.chat()[1].as_bytes()


def test_a_full_queue_says_when_to_come_again(fake):
    """From what was measured: two answers of 50 tokens, 50 ms each, half of it."""
    server = fake({"token_s": 0.05, "n_seq_max": 1}, queue=1)
    words = " ".join(f"w{i}" for i in range(50))
    assert server.chat(words)[0] == 200
    assert server.chat(words)[0] == 200
    socks = start_many(server, [words, words])
    read_until(socks[0], b"w1")
    server.wait_metric("hearth_model_requests", 2)
    status, headers, answer = server.chat("no room")
    assert status == 503 and answer["error"]["code"] == "overloaded"
    assert 2 <= int(headers["Retry-After"]) <= 5 and headers["Retry-After"] in answer["error"]["message"]
    assert all(end[2] for end in finish_many(socks))


def test_urgent_requests_are_counted_first(fake):
    server = fake({"token_s": 0.05, "n_seq_max": 1})
    first = server.stream(body(WORDS, stream=True))
    read_until(first, b"w1")
    answers = {}

    def ask(name):
        answers[name] = server.post("/v1/chat/completions", body("x"), headers={"X-Hearth-Priority": name})

    threads = []
    for i, name in enumerate(["batch", "Agent", "interactive"]):
        threads.append(threading.Thread(target=ask, args=(name,)))
        threads[-1].start()
        server.wait_metric("hearth_model_requests", 2 + i)
    for t in threads:
        t.join(20)
    position = {name: int(answer[1]["X-Hearth-Queue-Position"]) for name, answer in answers.items()}
    assert position["interactive"] == 1 and position["Agent"] <= 2 and position["batch"] <= 3
    status, _, answer = server.post("/v1/chat/completions", body("x"), headers={"X-Hearth-Priority": "urgent"})
    assert status == 400 and answer["error"]["param"] == "X-Hearth-Priority" and "urgent" in answer["error"]["message"]


def test_an_idle_worker_that_dies_is_replaced(fake):
    server = fake()
    os.kill(server.workers()[0], signal.SIGKILL)
    server.wait_metric("hearth_worker_starts_total", 2)
    server.wait_metric("hearth_model_ready", 1)
    assert server.chat()[0] == 200


def test_what_a_worker_mutters_passes_for_no_line_of_the_server(fake):
    """Its own lines come out as they are; anything else, lines like the gateway's among it, as a line that says so."""
    own = "2026-01-31T12:00:00.123Z warn worker: it is \x1b[31mwarm\x7f"
    forged = "2026-01-31T12:00:00.123Z info gateway: all is well"
    server = fake({"mutter": f"{own}\n{forged}\r\nfree(): invalid pointer\n" + "x" * 5000 + "\nno end"})
    server.stop()
    lines = server.log().split("\n")
    assert own.replace("\x1b", "?").replace("\x7f", "?") in lines
    assert not any(line.startswith(forged) for line in lines)
    for text in (forged + "?", "free(): invalid pointer", "no end"):
        assert any(line.endswith(" error gateway: a worker wrote: " + text) for line in lines), text
    assert all(re.match(r"\d{4}-\d\d-\d\dT[0-9:.]{12}Z ", line) for line in lines if "x" * 50 in line)


def test_a_worker_that_speaks_nonsense_is_stopped(launch, tmp_path):
    exe = tmp_path / "babbler"
    exe.write_text("#!/bin/sh\nprintf '\\377\\377\\377\\377xxxxxxxxxxxx' >&3\nsleep 20\n")
    exe.chmod(0o755)
    server = launch(serving.fake_model(tmp_path), worker_exe=exe, wait=False)
    assert server.process.wait(30) == 1
    assert "broken frame" in server.log()


def test_a_worker_that_cannot_be_started_for_a_moment(launch, tmp_path):
    """No processes or descriptors left just when it died: those that wait are not lost for that."""
    exe = serving.fake_exe(tmp_path)
    server = launch(serving.fake_model(tmp_path, token_s=0.01), worker_exe=exe)
    sock = server.stream(body(WORDS, stream=True))
    read = read_until(sock, b"w5")
    exe.rename(tmp_path / "away")
    os.kill(server.workers()[0], signal.SIGKILL)
    while "cannot be started" not in server.log():
        time.sleep(0.01)
    (tmp_path / "away").rename(exe)
    raw = read + serving.events(sock)[1]
    found = [json.loads(line[6:]) for line in raw.split(b"\n") if line.startswith(b"data: {")]
    assert text_of(found) == WORDS and b"[DONE]" in raw


ACCEPTED = {"t": "accepted", "n_prompt": 1, "prompt_hash": 1}
DELTA = {"t": "delta", "index": 0, "text": "a", "tokens": [[1]]}
END = {"t": "end", "index": 0, "reason": "stop", "stop": None, "n_completion": 1}
DONE = {"t": "done", "n_prompt": 1, "n_cached": 0, "n_completion": 1, "queue_ms": 0.0, "prefill_ms": 0.0, "decode_ms": 0.0}
ROGUE = {
    "the answer to a question": [{"t": "text", "text": "x"}],
    "tokens of a question": [ACCEPTED, {"t": "tokens", "tokens": [1]}],
    "done, not accepted": [DONE],
    "done, not ended": [ACCEPTED, DELTA, DONE],
    "text, not accepted": [DELTA],
    "text after the end": [ACCEPTED, DELTA, END, DELTA],
    "two ends": [ACCEPTED, DELTA, END, END],
    "done twice": [ACCEPTED, DELTA, END, {**DONE, "id": 10**9}],
    "a choice too many": [ACCEPTED, {**DELTA, "index": 1}],
    "a choice below": [ACCEPTED, {**DELTA, "index": -1}],
    "no reason": [ACCEPTED, {**END, "reason": None}],
    "no id": [ACCEPTED, {**DELTA, "id": None}],
    "an id that is text": [{**ACCEPTED, "id": "1"}],
    "counts that are too large": [{**ACCEPTED, "n_prompt": 2**63 - 1}],
    "counts below zero": [{"t": "started", "n_cached": -1, "queue_ms": 0.0}],
    "tokens that are none": [ACCEPTED, {**DELTA, "tokens": [[2**40]]}],
    "tokens of any shape": [ACCEPTED, {**DELTA, "tokens": [[1, {}, [], 3]]}],
    "an unknown type": [{"t": "x" * 1000}],
    "a load that fails when it is over": [ACCEPTED, {"t": "failed", "code": "out_of_memory", "message": "no"}],
    "ready twice": [ACCEPTED, {"t": "ready"}],
}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("what", ROGUE)
def test_a_worker_that_is_not_itself_any_more(fake, what, stream):
    """It parses untrusted files. Whatever it says, its request has one clear error, and others their answers."""
    server = fake({"say": [dict(f) for f in ROGUE[what]]})
    began = time.monotonic()
    sock = server.stream(body("ROGUE", stream=stream))
    raw = b""
    while b"server_error" not in raw:  # before or in the stream
        piece = sock.recv(4096)
        assert piece, raw
        raw += piece
    assert time.monotonic() - began < 10 and b"2 deaths" in raw and b"broke the frame protocol" in raw, raw
    sock.close()
    assert server.chat("one two")[2]["choices"][0]["message"]["content"] == "one two"
    assert server.metric("hearth_worker_deaths_total") == 2 and server.metric("hearth_key_running") == 0


@pytest.mark.parametrize("frame", [DONE, ACCEPTED, DELTA, END, {"t": "started", "n_cached": 0}])
def test_questions_are_not_answered_like_generations(fake, frame):
    server = fake({"say_asked": [frame]})
    status, _, answer = server.post("/api/generate", {"model": json.loads(server.get("/api/ps")[2])["models"][0]["name"]})
    assert status == 500 and "broke the frame protocol" in answer["error"], answer
    assert server.chat("one two")[0] == 200


def test_what_a_worker_says_cannot_steer_a_terminal(launch, tmp_path):
    model = serving.fake_model(tmp_path, fail={"code": "corrupt", "message": "it is \x1b[2J\r\nbad \x07"})
    server = launch(model, worker_exe=serving.fake_exe(tmp_path), wait=False)
    assert server.process.wait(30) == 1
    assert "it is ?[2J??bad ?" in server.log() and "\x1b" not in server.log() and "\x07" not in server.log()


def test_the_worker_ends_with_the_gateway(fake):
    server = fake()
    (worker,) = server.workers()
    server.process.kill()
    server.process.wait()
    for _ in range(100):
        if not pathlib.Path(f"/proc/{worker}").exists() or "zombie" in pathlib.Path(f"/proc/{worker}/status").read_text():
            return
        time.sleep(0.05)
    raise AssertionError("the worker lives on")


# ---- several models and their memory

@pytest.fixture
def library(hearth_bin, tmp_path):
    """Puts fake models into the library: library("a", weight_bytes=...)."""

    def put(name, **cfg):
        serving.library_model(tmp_path, name, **cfg)

    return put


def test_models_are_loaded_as_requests_name_them(launch, library, tmp_path):
    for name in ("one", "two"):
        library(name)
    server = launch(worker_exe=serving.fake_exe(tmp_path))
    assert server.workers() == []
    assert server.chat()[0] == 400  # names none, and none was given at start
    assert server.chat(model="one")[2]["model"].startswith("one")
    assert server.chat(model="two:latest")[0] == 200
    assert server.chat(model="one")[0] == 200
    assert len(server.workers()) == 2
    ids = [m["id"] for m in json.loads(server.get("/v1/models")[2])["data"]]
    assert [i.split(":")[0] for i in ids] == ["one", "two"]


def test_the_idle_model_used_longest_ago_makes_room(launch, library, tmp_path):
    for name in ("one", "two", "three"):
        library(name, weight_bytes=40 << 20, file_bytes=40 << 20)
    server = launch(worker_exe=serving.fake_exe(tmp_path), memory_max="100m")
    for name in ("one", "two", "one"):
        assert server.chat(model=name)[0] == 200
    time.sleep(1.1)  # nobody is in the middle of its turn any more
    assert server.chat(model="three")[0] == 200
    loaded = [m["name"].split(":")[0] for m in json.loads(server.get("/api/ps")[2])["models"]]
    assert sorted(loaded) == ["one", "three"]
    assert server.metric("hearth_model_evictions_total") == 1


def test_a_busy_model_is_never_unloaded(launch, library, tmp_path):
    for name in ("one", "two"):
        library(name, weight_bytes=60 << 20, file_bytes=60 << 20)
    server = launch(worker_exe=serving.fake_exe(tmp_path), memory_max="100m", load_wait="300ms")
    sock = server.stream(body("SILENT", stream=True, model="one"))
    server.wait_metric("hearth_worker_running", 1)
    status, _, answer = server.chat(model="two")
    assert "waited 0." in answer["error"]["message"]
    assert status == 503 and "60 MiB" in answer["error"]["message"] and "100 MiB" in answer["error"]["message"]
    sock.close()
    server.wait_metric("hearth_worker_running", 0)
    time.sleep(3.1)  # a failed load is tried again after three seconds
    assert server.chat(model="two")[0] == 200


def test_a_model_brings_its_own_defaults(launch, library, tmp_path):
    library("own", system="be brief", params='{"stop": ["three"], "temperature": 0.1, "num_ctx": 9}')
    server = launch(worker_exe=serving.fake_exe(tmp_path))
    answer = server.chat("one two three four", model="own")[2]
    assert answer["choices"][0]["message"]["content"] == "be brief one two"
    answer = server.chat("one two three four", model="own", stop=["four"])[2]
    assert answer["choices"][0]["message"]["content"].endswith("three")


def test_a_name_that_was_pulled_anew_is_loaded_anew(launch, library, tmp_path):
    library("one", repeat="old ")
    server = launch(worker_exe=serving.fake_exe(tmp_path))
    assert "old" in server.chat(model="one", max_tokens=2)[2]["choices"][0]["message"]["content"]
    library("one", repeat="new ")
    assert "new" in server.chat(model="one", max_tokens=2)[2]["choices"][0]["message"]["content"]
    server.wait_metric("hearth_worker_starts_total", 2)


# ---- the start and the end

def serve(hearth_bin, tmp_path, *args, env=None):
    clean = {k: v for k, v in os.environ.items() if not k.startswith("HEARTH_")}
    clean.update(HEARTH_MODELS=str(tmp_path / "library"), HEARTH_CACHE_DIR=str(tmp_path / "cache"),
                 HEARTH_CONFIG="/dev/null", HEARTH_LOG="error", HEARTH_CALIBRATE="off", **(env or {}))
    return subprocess.run([str(hearth_bin), "serve", *map(str, args)], capture_output=True, text=True, env=clean,
                          timeout=30, stdin=subprocess.DEVNULL)


@pytest.mark.parametrize("args,words", [
    (["--host", "192.0.2.7"], ["192.0.2.7", "not an address of this machine", "--host"]),
    (["--host", "no.such.host.invalid"], ["no.such.host.invalid", "--host"]),
    (["--host", "0.0.0.0", "--port", "0"], ["API key", "--api-key"]),
    (["--port", "0", "--model", "missing-model"], ["missing-model"]),
    (["--port", "0", "--model", "./missing.gguf"], ["missing.gguf"]),
    (["--port", "0", "--models", "/proc/nowhere"], ["/proc/nowhere"]),
])
def test_what_cannot_start_says_why_in_one_line(hearth_bin, tmp_path, args, words):
    done = serve(hearth_bin, tmp_path, *args)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith("hearth: ") and done.stderr.count("\n") == 1, done.stderr
    for word in words:
        assert word in done.stderr


def test_a_taken_port_says_so(fake, hearth_bin, tmp_path):
    server = fake()
    done = serve(hearth_bin, tmp_path, "--port", server.port)
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert str(server.port) in done.stderr and "taken" in done.stderr and "--port" in done.stderr


def test_a_model_that_cannot_be_loaded_says_why(hearth_bin, tmp_path):
    model = serving.fake_model(tmp_path, fail={"code": "corrupt", "message": "the tensor blk.0 is cut off"})
    done = serve(hearth_bin, tmp_path, "--port", 0, "--worker-exe", serving.fake_exe(tmp_path), "--model", model)
    assert done.returncode == 1 and "the tensor blk.0 is cut off" in done.stderr
    done = serve(hearth_bin, tmp_path, "--port", 0, "--worker-exe", "/bin/false", "--model", model)
    assert done.returncode == 1 and "exited with status 1" in done.stderr
    done = serve(hearth_bin, tmp_path, "--port", 0, "--worker-exe", "/no/such/program", "--model", model)
    assert done.returncode == 1 and "/no/such/program" in done.stderr


def test_a_load_failure_of_a_named_model_is_an_answer(launch, library, tmp_path):
    library("bad", fail={"code": "corrupt", "message": "the tensor blk.0 is cut off"})
    server = launch(worker_exe=serving.fake_exe(tmp_path))
    for _ in range(3):
        status, _, answer = server.chat(model="bad")
        assert status == 503 and "blk.0 is cut off" in answer["error"]["message"]
    assert server.metric("hearth_worker_starts_total") == 1


def test_the_banner(fake):
    server = fake()
    for _ in range(100):
        if "stop" in server.log():
            break
        time.sleep(0.02)
    text = server.log()
    for word in (server.url, "fake.gguf", "weights 1.0 MiB", "Ctrl-C", "/v1"):
        assert word in text


@pytest.mark.parametrize("signal_number", [signal.SIGTERM, signal.SIGINT])
def test_running_answers_are_finished_at_the_end(fake, signal_number):
    server = fake({"token_s": 0.05})
    words = " ".join(f"w{i}" for i in range(20))
    sock = server.stream(body(words, stream=True))
    read_until(sock, b"w1")
    server.process.send_signal(signal_number)
    found, raw = serving.events(sock)
    assert b"w19" in raw and b"[DONE]" in raw
    assert server.process.wait(5) == 0


def test_nothing_new_is_taken_at_the_end(fake):
    server = fake({"repeat": "on ", "token_s": 0.02})
    sock = server.stream(body("go", stream=True))
    read_until(sock, b"on")
    server.process.send_signal(signal.SIGTERM)
    time.sleep(0.2)
    with pytest.raises(OSError):
        server.get("/health")
    start = time.monotonic()
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(5) == 0 and time.monotonic() - start < 2


def test_the_drain_has_a_deadline(fake):
    server = fake({"repeat": "on ", "token_s": 0.02}, drain_timeout="500ms")
    sock = server.stream(body("go", stream=True))
    read_until(sock, b"on")
    start = time.monotonic()
    server.process.send_signal(signal.SIGTERM)
    found, raw = serving.events(sock, until=b"\r\n0\r\n\r\n")
    assert "shutting down" in found[-1]["error"]["message"] and b"[DONE]" not in raw  # not merely cut off
    assert server.process.wait(5) == 0
    assert 0.3 < time.monotonic() - start < 3


def test_what_waits_is_finished_at_the_end(fake):
    """In the worker's queue, and through its death; a whole answer too."""
    server = fake({"token_s": 0.01, "n_seq_max": 1})
    socks = start_many(server, [WORDS, "second " + WORDS, "third"])
    read_until(socks[0], b"w3")
    answers = []
    thread = threading.Thread(target=lambda: answers.append(server.chat("whole answer")))
    thread.start()
    server.wait_metric("hearth_model_requests", 4)
    server.process.send_signal(signal.SIGTERM)
    time.sleep(0.2)
    os.kill(server.workers()[0], signal.SIGKILL)
    ends = finish_many(socks)
    assert [e[0] for e in ends[1:]] == ["second " + WORDS, "third"] and all(e[2] for e in ends)
    thread.join(10)
    assert answers[0][0] == 200 and answers[0][2]["choices"][0]["message"]["content"] == "whole answer"
    assert server.process.wait(5) == 0


def test_a_request_for_a_model_that_is_loading_is_finished_at_the_end(fake):
    server = fake({"load_s": 0.8}, wait=False)
    for _ in range(200):
        try:
            sock = server.stream(body("patient words", stream=True))
            break
        except OSError:
            time.sleep(0.02)
    time.sleep(0.1)
    server.process.send_signal(signal.SIGTERM)
    assert b"[DONE]" in serving.events(sock)[1]
    assert server.process.wait(5) == 0


def test_kept_connections_do_not_hold_the_end_up(fake):
    import http.client
    server = fake()
    c = http.client.HTTPConnection("127.0.0.1", server.port)
    c.request("GET", "/health")
    c.getresponse().read()
    start = time.monotonic()
    assert server.stop() == 0
    assert time.monotonic() - start < 2


def test_a_server_outlives_its_own_file(hearth_bin, tmp_path, smollm2_path):
    """An upgrade puts another version in its place: workers are still started of the one that runs."""
    own = tmp_path / "hearth"
    shutil.copy2(hearth_bin, own)
    server = serving.Server(own, tmp_path, smollm2_path, ctx=512)
    try:
        own.unlink()
        own.write_text("#!/bin/sh\necho the next version\n")
        own.chmod(0o755)
        worker, = server.workers()
        os.kill(worker, signal.SIGKILL)
        status, _, body = server.chat("What is the capital of France?", temperature=0, max_tokens=8)
        assert status == 200, body
        worker, = server.workers()
        assert pathlib.Path(f"/proc/{worker}/comm").read_text() == "hearth\n"
    finally:
        server.close()
