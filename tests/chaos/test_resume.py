"""The real model under kill -9: every byte of every answer is what it would have been without."""
import json
import os
import random
import re
import shutil
import signal
import threading
import time

import pytest

import serving

LONG = "Once upon a time there was a fox. " * 6


def requests():
    """(path, body): streams and whole answers of every kind, each with its own seed."""
    chat, text = "/v1/chat/completions", "/v1/completions"
    found = []
    for i in range(7):
        found += [
            (chat, {"messages": [{"role": "user", "content": f"Tell me story number {i}."}], "max_tokens": 28,
                    "seed": i, "temperature": 1}),
            (text, {"prompt": f"{i}: the sea", "max_tokens": 20, "n": 2, "seed": 50 + i, "logprobs": 2,
                    "temperature": 0.9, "presence_penalty": 1, "repeat_penalty": 1.2}),
            (text, {"prompt": LONG + str(i), "max_tokens": 12, "echo": True, "logprobs": 1 if i % 2 else None,
                    "seed": i, "temperature": 1}),
        ]
    count = {"prompt": "Count: one, two, three, four,", "temperature": 0}
    found += [(text, {**count, "max_tokens": 24, "stop": [" ten", "eleven"]}),
              (text, {"prompt": ["a", "The fox", "漢字"], "max_tokens": 16, "temperature": 2, "seed": 3,
                      "ignore_eos": True}),
              (text, {"prompt": LONG, "max_tokens": 0, "echo": True, "logprobs": 1}),
              (chat, {"messages": [{"role": "user", "content": "Say yes."}], "max_completion_tokens": 30,
                      "logprobs": True, "top_logprobs": 3, "n": 3, "seed": 9, "temperature": 1})]
    out = []
    for i, (path, body) in enumerate(found):
        more = {"stream": True, "stream_options": {"include_usage": True}} if i % 3 else {}
        out.append((path, {**body, **more}))
    return out


def essence(raw_body, streamed):
    """All that must be the same: text, log probabilities and ends of each choice, usage."""
    if not streamed:
        answer = json.loads(raw_body)
        assert "error" not in answer, answer
        choices = [(c["index"], c.get("text", c.get("message", {}).get("content")), c["logprobs"], c["finish_reason"])
                   for c in answer["choices"]]
        return choices, answer["usage"]
    assert raw_body.endswith(b"data: [DONE]\n\n"), raw_body[-500:]
    chunks = [json.loads(line) for line in re.findall(rb"^data: (\{.*\})$", raw_body, re.M)]
    choices, usage = {}, None
    for chunk in chunks:
        assert "error" not in chunk, chunk
        usage = chunk.get("usage") or usage
        for c in chunk["choices"]:
            mine = choices.setdefault(c["index"], {"text": "", "logprobs": [], "finish": [], "roles": 0})
            delta = c.get("delta", {"content": c.get("text")})
            mine["text"] += delta.get("content") or ""
            mine["roles"] += "role" in delta
            if c["finish_reason"]:
                mine["finish"].append(c["finish_reason"])
            p = c["logprobs"] or {}
            mine["logprobs"] += p.get("content") or list(zip(p.get("tokens", []), p.get("token_logprobs", []),
                                                             p.get("text_offset", [])))
    return choices, usage


def ask_all(server, asked, on_start=lambda: None):
    out = [None] * len(asked)

    def one(i):
        path, body = asked[i]
        status, _, raw = server.request("POST", path, body, timeout=600)
        assert status == 200, raw
        out[i] = essence(raw, body.get("stream", False))

    threads = [threading.Thread(target=one, args=(i,)) for i in range(len(asked))]
    for t in threads:
        t.start()
    on_start()
    for t in threads:
        t.join(600)
    assert None not in out
    return out


@pytest.fixture(scope="module")
def real(hearth_bin, tmp_path_factory, smollm2_path):
    server = serving.Server(hearth_bin, tmp_path_factory.mktemp("resume"), smollm2_path, parallel=6, ctx=1024)
    yield server
    server.close()


@pytest.fixture(scope="module")
def undisturbed(real):
    return ask_all(real, requests())


@pytest.mark.parametrize("seed", [1, 2])
def test_kill_9_at_any_moment_changes_no_byte(real, undisturbed, seed):
    """Two kills: at a third one, a request that runs alone would rightly be blamed."""
    rng = random.Random(seed)
    deaths = real.metric("hearth_worker_deaths_total")
    failed = real.metric("hearth_requests_failed_total")

    def kill_twice():
        for i in range(2):
            real.wait_metric("hearth_model_ready", 1, seconds=60)
            start = real.metric("hearth_worker_output_tokens_total")
            wanted = start + rng.randrange(1, 120)
            for _ in range(600):  # so that it is in the midst of something, however slow the machine is
                if real.metric("hearth_worker_output_tokens_total") >= wanted:
                    break
                time.sleep(0.02)
            time.sleep(rng.random() * 0.05)
            os.kill(real.workers()[0], signal.SIGKILL)
            for _ in range(600):
                if real.metric("hearth_worker_deaths_total") > deaths + i:
                    break
                time.sleep(0.01)

    got = ask_all(real, requests(), kill_twice)
    assert real.metric("hearth_worker_deaths_total") == deaths + 2
    assert real.metric("hearth_requests_failed_total") == failed
    assert real.metric("hearth_requests_resumed_total") > 0, "nothing was running: the test shows nothing"
    for i, (want, have) in enumerate(zip(undisturbed, got)):
        assert have == want, (i, requests()[i])


def test_kill_9_while_the_prompt_is_read(real):
    body = {"prompt": "fox " * 700, "max_tokens": 4, "temperature": 0, "logprobs": 1}
    want = essence(real.request("POST", "/v1/completions", body, timeout=300)[2], False)
    started = real.metric("hearth_queue_seconds_count")

    def kill():
        for _ in range(1000):
            if real.metric("hearth_queue_seconds_count") > started:
                break
            time.sleep(0.01)
        os.kill(real.workers()[0], signal.SIGKILL)

    (have,) = ask_all(real, [("/v1/completions", body)], kill)
    assert have == want


def test_a_stopped_worker_is_noticed(hearth_bin, launch, smollm2_path):
    server = launch(smollm2_path, parallel=4, ctx=512, stall_timeout="3s")
    asked = requests()[:5]
    want = ask_all(server, asked)

    def stop():
        start = server.metric("hearth_completion_tokens_total")
        for _ in range(1000):
            if server.metric("hearth_worker_running") > 0 or server.metric("hearth_completion_tokens_total") > start:
                break
            time.sleep(0.01)
        os.kill(server.workers()[0], signal.SIGSTOP)

    assert ask_all(server, asked, stop) == want
    assert server.metric("hearth_worker_stalls_total") == 1


def test_a_model_file_that_is_cut_off_while_in_use(hearth_bin, launch, smollm2_path, tmp_path):
    """A bus error, then a load that fails with its reason: each request has its one clear error."""
    path = tmp_path / "model.gguf"
    shutil.copyfile(smollm2_path, path)
    server = launch(path, ctx=512, env={"HEARTH_PACK_CACHE": "no"})
    socks = [server.stream({"messages": [{"role": "user", "content": f"Tell me story {i}."}], "stream": True,
                            "max_tokens": 400, "ignore_eos": True}) for i in range(3)]
    first = b""
    while b"delta" not in first:
        first += socks[0].recv(4096)
    os.truncate(path, 4096)
    for sock in socks:
        sock.settimeout(60)
        raw = serving.events(sock, until=b"\r\n0\r\n\r\n")[1]
        if b"[DONE]" in raw:
            pytest.skip("no byte of the file was needed any more")
        assert raw.count(b'"error"') == 1 and b"cannot be served" in raw
    health = json.loads(server.get("/health")[2])["models"][0]
    assert health["state"] == "failed" and health["reason"]
