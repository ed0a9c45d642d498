"""Keys that share a model's queue: who is refused, who goes first, and a worker that is full."""
import http.client
import json
import threading
import time

import pytest

import serving
from test_keys import Keys, bearer, chat


@pytest.fixture
def keys(hearth_bin, tmp_path):
    return Keys(hearth_bin, tmp_path)


def open_chat(server, key, content="SILENT", **more):
    """A request that is under way; closing the connection cancels it."""
    c = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    body = {"messages": [{"role": "user", "content": content}], **more}
    c.request("POST", "/v1/chat/completions", json.dumps(body), bearer(key))
    return c


def test_a_flood_of_one_key_leaves_room_for_another(fake, keys):
    ann, ben, cid = (keys.create(name) for name in ("ann", "ben", "cid"))
    server = fake({"n_seq_max": 2}, queue=9)
    server.key = keys.create("boss", "--admin")
    flood = []
    for i in range(8):  # two run, six of nine wait
        flood.append(open_chat(server, ann))
        server.wait_metric("hearth_key_running", i + 1, key="ann")
    status, headers, answer = chat(server, ann)
    assert (status, answer["error"]["code"], answer["error"]["type"]) == (429, "rate_limit_exceeded", "rate_limit_error")
    assert int(headers["Retry-After"]) >= 1 and "'ann'" in answer["error"]["message"]
    assert server.metric("hearth_key_refused_total", key="ann") == 1
    assert server.metric("hearth_requests_refused_total", reason="share") == 1
    others = [open_chat(server, ben), open_chat(server, cid)]
    server.wait_metric("hearth_model_requests", 10)
    assert chat(server, ben)[0] == 429  # the last place is for who has none
    others.append(open_chat(server, server.key))
    server.wait_metric("hearth_model_requests", 11)
    status, _, answer = chat(server, server.key)
    assert (status, answer["error"]["code"]) == (503, "overloaded")
    assert server.metric("hearth_requests_refused_total", reason="full") == 1
    for c in [*flood, *others]:
        c.close()
    server.wait_metric("hearth_model_requests", 0)
    assert chat(server, ann)[0] == 200


def test_one_request_brings_no_more_than_its_share(fake, keys):
    """200 prompts of 64 choices are refused with the parameter's name, and take nobody's place."""
    ann = keys.create("ann")
    server = fake({"n_seq_max": 4}, queue=296)
    server.key = ann

    def complete(key, n_prompt, **more):
        return server.post("/v1/completions", {"prompt": ["a"] * n_prompt, **more}, headers=bearer(key))

    status, _, answer = complete(ann, 200, n=64)
    assert (status, answer["error"]["param"], answer["error"]["code"]) == (400, "n", "limit_exceeded")
    assert "12800 answers" in answer["error"]["message"] and "at most 300" in answer["error"]["message"]
    assert complete(ann, 151, n=2)[0] == 400
    status, _, answer = complete(ann, 150, n=2)
    assert status == 200 and len(answer["choices"]) == 300
    ben = keys.create("ben")  # from now on a third of the queue is for others
    status, _, answer = complete(ben, 201)
    assert (status, answer["error"]["param"]) == (400, "prompt") and "at most 200" in answer["error"]["message"]
    assert complete(ben, 200)[0] == 200


def test_a_key_by_itself_may_have_the_whole_queue(fake, keys):
    ann = keys.create("ann")
    server = fake({"n_seq_max": 1}, queue=4)
    server.key = ann
    held = [open_chat(server, ann) for _ in range(5)]
    server.wait_metric("hearth_model_requests", 5)
    assert chat(server, ann)[0] == 503
    for c in held:
        c.close()


def test_a_flood_that_waits_for_its_model_does_not_go_first(launch, keys, tmp_path):
    """What waits while a model loads goes to the worker key by key, not as it came."""
    ann, ben, cid = (keys.create(name) for name in ("ann", "ben", "cid"))
    serving.library_model(tmp_path, "slow", load_s=1.5, n_seq_max=1, token_s=0.01)
    server = launch(worker_exe=serving.fake_exe(tmp_path), load_wait="20s")
    server.key = keys.create("boss", "--admin")
    ended, threads = [], []

    def ask(key, who):
        assert chat(server, key, "a b", model="slow")[0] == 200
        ended.append(who)

    def start(key, who, n):
        threads.append(threading.Thread(target=ask, args=(key, who)))
        threads[-1].start()
        server.wait_metric("hearth_model_requests", n)

    for i in range(8):
        start(ann, "ann", i + 1)
    start(ben, "ben", 9)
    start(cid, "cid", 10)
    assert server.metric("hearth_model_ready") == 0  # all of them wait for it
    for t in threads:
        t.join()
    assert ended[0] == "ann" and sorted(ended[:3]) == ["ann", "ben", "cid"], ended


def test_what_a_worker_cannot_take_waits(fake):
    """Five times 256 prompts are more than a worker has at once: none of them is refused."""
    server = fake({"n_seq_max": 64, "token_s": 0.001}, queue=2000)
    status, answers = [], []

    def ask():
        code, _, answer = server.post("/v1/completions", {"prompt": ["one two"] * 256, "max_tokens": 2}, timeout=120)
        status.append(code)
        answers.append([c["text"] for c in answer.get("choices", [])])

    threads = [threading.Thread(target=ask) for _ in range(5)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert status == [200] * 5 and answers == [["one two"] * 256] * 5


def test_what_a_worker_refuses_for_now_waits(fake):
    """Its requests may be so long that it takes fewer than it has places for."""
    server = fake({"n_seq_max": 2, "answers_max": 3, "token_s": 0.02})
    results = []
    threads = [threading.Thread(target=lambda: results.append(server.chat("a b c")[0])) for _ in range(12)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert results == [200] * 12
    assert server.metric("hearth_requests_failed_total") == 0
    held = server.stream({"stream": True, "messages": [{"role": "user", "content": "SILENT"}]})
    waiting = [server.stream({"stream": True, "messages": [{"role": "user", "content": "SILENT"}]}) for _ in range(5)]
    server.wait_metric("hearth_model_requests", 6)
    for s in [held, *waiting]:
        s.close()
    server.wait_metric("hearth_model_requests", 0)
    assert server.chat()[0] == 200


def test_a_death_with_more_than_the_worker_takes(fake, tmp_path):
    """Put back, then sent to the next worker: each has its whole answer."""
    log = tmp_path / "starts"
    server = fake({"n_seq_max": 2, "answers_max": 3, "token_s": 0.02, "die": "KILLER", "log": str(log)})
    results = []

    def ask(content):
        results.append((content, server.chat(content)[::2]))

    threads = [threading.Thread(target=ask, args=(content,)) for content in ["a b c"] * 8 + ["a KILLER b"]]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    for content, (status, answer) in results:
        if content == "a b c":
            assert status == 200 and answer["choices"][0]["message"]["content"] == "a b c"
        else:
            assert status == 500
    assert len(log.read_text().splitlines()) > 1
    time.sleep(0.1)
    assert server.chat()[0] == 200
