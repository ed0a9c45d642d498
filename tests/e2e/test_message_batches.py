"""Anthropic's Message Batches with its own clients, unchanged; and what is left of them after kill -9."""
import json
import os
import signal
import subprocess
import time

import anthropic
import openai
import pytest

import javascript

TEXT = "one two three four five"


def client_of(server, key=None):
    return anthropic.Anthropic(base_url=server.url, api_key=key or server.key or "none", max_retries=0, timeout=30)


def asked(custom_id, text=TEXT, **more):
    return {"custom_id": custom_id, "params": {"model": "fake", "max_tokens": len(text.split()), "messages": [{"role": "user", "content": text}], **more}}


@pytest.fixture(scope="module")
def client(fake_server):
    return client_of(fake_server)


@pytest.fixture(scope="module")
def model(client):
    return client.models.list().data[0].id


def requests_of(model, *many):
    for one in many:
        one["params"]["model"] = model
    return list(many)


def ended(client, bid, seconds=30):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        b = client.messages.batches.retrieve(bid)
        if b.processing_status == "ended":
            return b
        assert (b.request_counts.succeeded, b.results_url, b.ended_at) == (0, None, None)
        time.sleep(0.05)
    raise AssertionError(f"{bid} is {b.processing_status} after {seconds} s")


def test_round_trip(fake_server, client, model):
    b = client.messages.batches.create(requests=requests_of(model, asked("a"), asked("b", "x y"), asked("c", max_tokens=1)))
    assert b.id.startswith("msgbatch_") and (b.type, b.processing_status, b.request_counts.processing) == ("message_batch", "in_progress", 3)
    assert (b.expires_at - b.created_at).total_seconds() == 86400 and b.cancel_initiated_at is None and b.archived_at is None
    b = ended(client, b.id)
    counts = b.request_counts
    assert (counts.processing, counts.succeeded, counts.errored, counts.canceled, counts.expired) == (0, 3, 0, 0, 0)
    assert b.ended_at >= b.created_at and b.results_url == f"{fake_server.url}/v1/messages/batches/{b.id}/results"
    got = list(client.messages.batches.results(b.id))
    assert [(r.custom_id, r.result.type) for r in got] == [("a", "succeeded"), ("b", "succeeded"), ("c", "succeeded")]
    said = [r.result.message for r in got]
    assert [m.content[0].text for m in said] == [TEXT, "x y", "one"] and said[2].stop_reason == "max_tokens"
    assert said[0].id.startswith("msg_") and said[0].usage.output_tokens == 5 and said[0].model == model
    # OpenAI's routes know nothing of it
    other = openai.OpenAI(base_url=fake_server.url + "/v1", api_key="none", max_retries=0)
    assert b.id not in [o.id for o in other.batches.list()]
    for attempt in (lambda: other.batches.retrieve(b.id), lambda: other.batches.cancel(b.id)):
        with pytest.raises(openai.NotFoundError):
            attempt()
    gone = client.messages.batches.delete(b.id)
    assert (gone.id, gone.type) == (b.id, "message_batch_deleted")
    for attempt in (lambda: client.messages.batches.retrieve(b.id), lambda: client.messages.batches.delete(b.id),
                    lambda: client.messages.batches.cancel(b.id), lambda: client.messages.batches.results(b.id)):
        with pytest.raises(anthropic.NotFoundError):
            attempt()
    assert b.id not in fake_server.request("GET", "/v1/files")[2].decode()


def test_errors_are_results(client, model):
    rows = requests_of(model, asked("good"), asked("bad", max_tokens=0), asked("stream", stream=True), asked("odd", nonsense=1))
    rows.append({"custom_id": "none", "params": {"max_tokens": 5, "messages": [{"role": "user", "content": "x"}], "model": "no/such:model"}})
    rows.append({"custom_id": "empty", "params": {}})
    b = ended(client, client.messages.batches.create(requests=rows).id)
    assert (b.request_counts.succeeded, b.request_counts.errored) == (1, 5)
    got = {r.custom_id: r.result for r in client.messages.batches.results(b.id)}
    assert list(got) == [r["custom_id"] for r in rows] and got["good"].type == "succeeded"
    for name, kind, text in (("bad", "invalid_request_error", "max_tokens"), ("stream", "invalid_request_error", "stream"),
                             ("odd", "invalid_request_error", "nonsense"), ("none", "not_found_error", "no/such:model"),
                             ("empty", "invalid_request_error", "messages")):
        assert got[name].type == "errored" and got[name].error.type == "error", name
        assert got[name].error.error.type == kind and text in got[name].error.error.message, got[name]


@pytest.mark.parametrize("body,text", [
    ({}, "requests"), ({"requests": []}, "requests"), ({"requests": {}}, "requests"), ({"requests": [5]}, "requests[0]"),
    ({"requests": [{"custom_id": "a"}]}, "requests[0].params"), ({"requests": [{"params": {}}]}, "requests[0].custom_id"),
    ({"requests": [asked("a b")]}, "requests[0].custom_id"), ({"requests": [asked("x" * 65)]}, "requests[0].custom_id"),
    ({"requests": [asked("a"), asked("a")]}, "twice"), ({"requests": [{**asked("a"), "more": 1}]}, "requests[0].more"),
    ({"requests": [{"custom_id": "a", "params": "x"}]}, "requests[0].params"), ({"requests": [asked("a")], "more": 1}, "more"),
])
def test_what_is_refused(fake_server, body, text):
    status, _, got = fake_server.post("/v1/messages/batches", body)
    assert status == 400 and got["error"]["type"] == "invalid_request_error" and text in got["error"]["message"], got


def test_lists(fake):
    client = client_of(fake({}))
    model = client.models.list().data[0].id
    ids = [client.messages.batches.create(requests=requests_of(model, asked("a"))).id for _ in range(5)][::-1]
    assert [b.id for b in client.messages.batches.list(limit=2)] == ids  # pages
    page = client.messages.batches.list(limit=2, after_id=ids[1])
    assert [b.id for b in page.data] == ids[2:4] and page.has_more and (page.first_id, page.last_id) == (ids[2], ids[3])
    page = client.messages.batches.list(limit=2, before_id=ids[3])
    assert [b.id for b in page.data] == ids[1:3] and page.has_more
    assert [b.id for b in client.messages.batches.list(limit=2, before_id=ids[1]).data] == ids[:1]
    for bad in ({"limit": 0}, {"limit": 1001}, {"after_id": "msgbatch_0"}, {"after_id": ids[0], "before_id": ids[1]}):
        with pytest.raises(anthropic.BadRequestError):
            client.messages.batches.list(**bad)


def test_cancel(fake):
    client = client_of(fake({"token_s": 0.05}, parallel=2))
    model = client.models.list().data[0].id
    b = client.messages.batches.create(requests=requests_of(model, *[asked(f"r{i}", "SILENT" if i > 0 else "x") for i in range(4)]))
    with pytest.raises(anthropic.BadRequestError, match="not ended"):
        client.messages.batches.delete(b.id)
    with pytest.raises(anthropic.AnthropicError):
        client.messages.batches.results(b.id)
    time.sleep(1)
    c = client.messages.batches.cancel(b.id)
    assert c.processing_status in ("canceling", "ended") and c.cancel_initiated_at is not None
    b = ended(client, b.id)
    assert b.request_counts.canceled >= 3 and b.request_counts.succeeded + b.request_counts.canceled == 4
    kinds = [r.result.type for r in client.messages.batches.results(b.id)]
    assert kinds.count("canceled") == b.request_counts.canceled and len(kinds) == 4
    with pytest.raises(anthropic.BadRequestError, match="ended"):
        client.messages.batches.cancel(b.id)


def test_it_goes_on_after_kill(fake):
    server = fake({"token_s": 0.1}, parallel=1)
    client = client_of(server)
    model = client.models.list().data[0].id
    b = client.messages.batches.create(requests=requests_of(model, *[asked(f"r{i}", f"{TEXT} {i}") for i in range(4)]))
    time.sleep(1)
    os.kill(server.process.pid, signal.SIGKILL)
    server.process.wait(10)
    client = client_of(fake({}))
    assert ended(client, b.id).request_counts.succeeded == 4
    got = list(client.messages.batches.results(b.id))
    assert [(r.custom_id, r.result.message.content[0].text) for r in got] == [(f"r{i}", f"{TEXT} {i}") for i in range(4)]


def test_whose_they_are(hearth_bin, fake, tmp_path):
    made = [subprocess.run([hearth_bin, "key", "create", name], env={**os.environ, "HEARTH_KEYS": str(tmp_path / "keys.json")},
                           capture_output=True, text=True, check=True).stdout for name in ("ann", "bob")]
    keys = [next(w for w in out.split() if w.startswith("hearth")) for out in made]
    server = fake({})
    ann, bob = (client_of(server, k) for k in keys)
    b = ann.messages.batches.create(requests=requests_of(ann.models.list().data[0].id, asked("a")))
    assert ended(ann, b.id).request_counts.succeeded == 1
    assert bob.messages.batches.list().data == []
    for attempt in (lambda: bob.messages.batches.retrieve(b.id), lambda: bob.messages.batches.delete(b.id),
                    lambda: bob.messages.batches.cancel(b.id), lambda: bob.get(f"/v1/messages/batches/{b.id}/results", cast_to=object)):
        with pytest.raises(anthropic.NotFoundError):
            attempt()


def test_javascript(fake):
    server = fake({})
    model = client_of(server).models.list().data[0].id
    seen = json.loads(javascript.run_client("message_batches.mjs", server.url, model))
    assert seen["listed"] == seen["id"] and seen["counts"]["succeeded"] == 1 and seen["counts"]["errored"] == 1
    assert seen["results"] == [["a", "succeeded", TEXT], ["b", "errored", "invalid_request_error"]]
    assert seen["deleted"] == "message_batch_deleted" and seen["gone"] == {"name": "NotFoundError", "status": 404}
