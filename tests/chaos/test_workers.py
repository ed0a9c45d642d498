"""Workers that die, fail to load, or must make room; and the server's own end."""
import json
import os
import pathlib
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

def test_kill_9_in_mid_stream(fake):
    server = fake({"repeat": "on ", "token_s": 0.01})
    sock = server.stream(body("go", stream=True))
    read_until(sock, b"on")
    (worker,) = server.workers()
    os.kill(worker, signal.SIGKILL)
    found, raw = serving.events(sock)
    error = found[-1]["error"]
    assert "killed by signal 9" in error["message"] and error["type"] == "server_error"
    assert b"[DONE]" not in raw
    assert server.chat(max_tokens=3)[0] == 200
    assert server.metric("hearth_worker_restarts_total") == 1
    assert server.workers() != [worker]


def test_kill_9_before_the_answer(fake):
    server = fake()
    answers = []
    thread = threading.Thread(target=lambda: answers.append(server.chat("SILENT")))
    thread.start()
    server.wait_metric("hearth_worker_running", 1)
    os.kill(server.workers()[0], signal.SIGKILL)
    thread.join(10)
    status, headers, answer = answers[0]
    assert status == 503 and headers["Retry-After"] and "signal 9" in answer["error"]["message"]
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


def test_a_crash_loop_ends_with_its_reason_kept(fake):
    server = fake({"die": "poison"})
    for _ in range(5):
        status, _, answer = server.chat("poison")
        assert status == 503
    server.wait_metric("hearth_model_ready", 0)
    health = server.get("/health")
    assert health[0] == 503
    model = json.loads(health[2])["models"][0]
    assert model["state"] == "failed" and "died 5 times" in model["reason"]
    status, _, answer = server.chat("innocent")
    assert status == 503 and "died 5 times" in answer["error"]["message"]
    assert server.metric("hearth_worker_deaths_total") == 5
    # stopping it clears the state: the next request starts afresh
    assert server.post("/api/generate", {"model": model["name"], "keep_alive": 0})[0] == 200
    assert server.chat("innocent")[0] == 200


def test_an_idle_worker_that_dies_is_replaced(fake):
    server = fake()
    os.kill(server.workers()[0], signal.SIGKILL)
    server.wait_metric("hearth_worker_starts_total", 2)
    server.wait_metric("hearth_model_ready", 1)
    assert server.chat()[0] == 200


def test_a_worker_that_speaks_nonsense_is_stopped(launch, tmp_path):
    exe = tmp_path / "babbler"
    exe.write_text("#!/bin/sh\nprintf '\\377\\377\\377\\377xxxxxxxxxxxx' >&3\nsleep 20\n")
    exe.chmod(0o755)
    server = launch(serving.fake_model(tmp_path), worker_exe=exe, wait=False)
    assert server.process.wait(30) == 1
    assert "broken frame" in server.log()


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
    assert server.stop() == 0
    assert 0.3 < time.monotonic() - start < 3


def test_kept_connections_do_not_hold_the_end_up(fake):
    import http.client
    server = fake()
    c = http.client.HTTPConnection("127.0.0.1", server.port)
    c.request("GET", "/health")
    c.getresponse().read()
    start = time.monotonic()
    assert server.stop() == 0
    assert time.monotonic() - start < 2
