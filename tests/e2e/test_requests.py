"""What the server tells of requests afterwards and meanwhile: /v1/requests, the request log."""
import json
import threading
import time

import pytest

import serving


def one(server, request_id, query="", headers=None):
    status, _, body = server.get(f"/v1/requests/{request_id}{query}", headers=headers)
    return status, json.loads(body)


def listed(server, query=""):
    return json.loads(server.get("/v1/requests" + query)[2])["data"]


def wait_state(server, state, n=1):
    end = time.monotonic() + 10
    while time.monotonic() < end:
        found = listed(server, f"?state={state}")
        if len(found) == n:
            return found
        time.sleep(0.02)
    raise AssertionError(listed(server))


def test_a_finished_request(fake):
    server = fake()
    _, headers, _ = server.chat("one two three")
    status, r = one(server, headers["x-request-id"])
    assert status == 200 and r["state"] == "done" and r["status"] == 200 and r["finish_reason"] == "stop"
    assert r["usage"] == {"prompt_tokens": 3, "cached_tokens": 0, "completion_tokens": 3}
    assert r["route"] == "/v1/chat/completions" and r["error"] is None and r["cache"] == {"left_at": 0, "volatile_removed": 0}
    t = r["timeline_ms"]
    assert 0 == t["received"] <= t["accepted"] <= t["started"] <= t["first_token"] <= t["last_token"] <= t["end"]
    assert r["queue_position"] is None and r["client_gone"] is False and "prompt" not in r
    assert one(server, "req_nothing")[0] == 404


def test_states_and_places_in_the_queue(fake):
    server = fake({"n_seq_max": 1, "repeat": "on ", "token_s": 0.01})
    running = server.stream({"messages": [{"role": "user", "content": "go"}], "stream": True})
    wait_state(server, "decode")
    waiting = [server.stream({"messages": [{"role": "user", "content": f"w{i}"}], "stream": True}) for i in range(2)]
    found = wait_state(server, "queued", 2)
    assert sorted(r["queue_position"] for r in found) == [1, 2]  # as the stream says
    assert found[0]["queue_position"] == 2  # newest first
    running.close()
    (gone,) = wait_state(server, "cancelled")
    assert gone["client_gone"] and gone["usage"]["completion_tokens"] > 0
    for sock in waiting:
        sock.close()
    wait_state(server, "cancelled", 3)


def test_failures_are_there_with_their_reason(fake):
    server = fake({"n_ctx": 4})
    status, headers, _ = server.chat("one two three four five six")
    assert status == 400
    r = one(server, headers["x-request-id"])[1]
    assert (r["state"], r["status"], r["error"]["code"]) == ("failed", 400, "context_length")
    _, headers, _ = server.post("/v1/chat/completions", {"messages": 5})
    assert one(server, headers["x-request-id"])[1]["error"]["code"] == "invalid"


def test_the_number_of_records_is_bounded(fake):
    server = fake()
    first = server.chat("one")[1]["x-request-id"]
    for _ in range(1000):
        server.request("POST", "/v1/completions", "{")
    assert one(server, first)[0] == 404
    assert len(listed(server, "?limit=1000")) == 1000
    assert len(listed(server)) == 100 and len(listed(server, "?limit=3")) == 3
    for bad in ("0", "1001", "x"):
        assert server.get(f"/v1/requests?limit={bad}")[0] == 400


def test_prompts_are_not_kept_unless_asked_for(fake):
    server = fake()
    request = server.chat("a secret")[1]["x-request-id"]
    status, answer = one(server, request, "?prompt=1")
    assert status == 403 and "--keep-prompts" in answer["error"]["message"]


def test_the_rendered_prompt_on_demand(fake):
    server = fake(env={"HEARTH_KEEP_PROMPTS": "yes"})
    chat = server.chat("one two")[1]["x-request-id"]
    status, r = one(server, chat, "?prompt=1")
    assert status == 200 and r["prompt"] == "<fake>one two</fake>"
    assert "prompt" not in one(server, chat)[1] and "prompt" not in one(server, chat, "?prompt=0")[1]
    text = server.post("/v1/completions", {"prompt": "as it is"})[1]["x-request-id"]
    assert one(server, text, "?prompt=1")[1]["prompt"] == "as it is"
    ids = server.post("/v1/completions", {"prompt": [5, 6]})[1]["x-request-id"]
    assert one(server, ids, "?prompt=1")[1]["prompt"] == " t0 t1" or one(server, ids, "?prompt=1")[1]["prompt"] == " t5 t6"
    name = json.loads(server.get("/api/ps")[2])["models"][0]["name"]
    server.post("/api/generate", {"model": name, "keep_alive": 0})
    end = time.monotonic() + 10
    while json.loads(server.get("/api/ps")[2])["models"] and time.monotonic() < end:
        time.sleep(0.02)
    assert one(server, chat, "?prompt=1")[0] == 503


def test_a_caller_sees_its_own_requests_only(fake, hearth_bin, tmp_path):
    from test_keys import Keys, bearer, chat
    keys = Keys(hearth_bin, tmp_path)
    ann, ben = keys.create("ann"), keys.create("ben")
    server = fake()
    mine = chat(server, ann)[1]["x-request-id"]
    status, r = one(server, mine, headers=bearer(ann))
    assert status == 200 and r["key"] == "ann"
    assert one(server, mine, headers=bearer(ben))[0] == 404
    assert json.loads(server.get("/v1/requests", headers=bearer(ben))[2])["data"] == []
    assert server.get("/v1/requests")[0] == 401


# ---- the log

def lines(path, n):
    end = time.monotonic() + 10
    while time.monotonic() < end:
        found = path.read_text().splitlines() if path.exists() else []
        if len(found) >= n:
            return [json.loads(line) for line in found]
        time.sleep(0.02)
    raise AssertionError(found)


def test_the_request_log(fake, tmp_path):
    path = tmp_path / "requests.jsonl"
    server = fake({"n_ctx": 16}, request_log=path)
    first = server.chat("a secret word")[1]["x-request-id"]
    server.chat("x " * 100)
    sock = server.stream({"messages": [{"role": "user", "content": "SILENT"}], "stream": True})
    server.wait_metric("hearth_worker_running", 1)
    sock.close()
    found = lines(path, 3)
    assert found[0]["id"] == first and found[0]["status"] == 200 and found[0]["prompt_tokens"] == 3
    assert found[0]["completion_tokens"] == 3 and found[0]["finish_reason"] == "stop" and found[0]["ttft_ms"] > 0
    assert found[0]["prefill_ms"] == 1.0 and found[0]["decode_ms"] == 2.0 and found[0]["key"] is None
    assert (found[1]["status"], found[1]["error"]) == (400, "context_length")
    assert found[2]["client_gone"] is True
    assert "secret" not in path.read_text() and path.stat().st_mode & 0o777 == 0o600
    server.get("/health")
    assert server.stop() == 0 and len(path.read_text().splitlines()) == 3


def test_the_request_log_is_rotated(fake, tmp_path):
    path = tmp_path / "log"
    server = fake(request_log=path, request_log_max="64k")

    def some():
        for _ in range(250):
            server.request("POST", "/v1/completions", "{")
    threads = [threading.Thread(target=some) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    server.stop()
    files = sorted(p.name for p in tmp_path.glob("log*"))
    assert files == ["log", "log.1", "log.2", "log.3"]
    for name in files:
        assert (tmp_path / name).stat().st_size <= 64 << 10
        for line in (tmp_path / name).read_text().splitlines():
            assert json.loads(line)["status"] == 400


def test_a_log_that_cannot_be_opened_stops_the_start(launch, tmp_path):
    server = launch(serving.fake_model(tmp_path), worker_exe=serving.fake_exe(tmp_path), wait=False,
                    request_log="/no/such/folder/log")
    assert server.process.wait(20) == 1 and "/no/such/folder/log" in server.log()


@pytest.mark.parametrize("path", ["/v1/requests/", "/v1/requests/a/b"])
def test_no_such_thing(fake_server, path):
    assert fake_server.get(path)[0] == 404
