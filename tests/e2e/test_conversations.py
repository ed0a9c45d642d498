"""OpenAI's conversations and the responses that run in them, with its own clients, unchanged."""
import json
import os
import signal
import sqlite3
import subprocess
import threading
import time

import openai
import pytest

import javascript

TEXT = "one two three four five"


def client_of(server, key=None):
    return openai.OpenAI(base_url=server.url + "/v1", api_key=key or server.key or "none", max_retries=0, timeout=30)


@pytest.fixture(scope="module")
def client(fake_server):
    return client_of(fake_server)


def said(text, role="user"):
    return {"type": "message", "role": role, "content": text}


def texts(client, cid):
    return [i.content[0].text for i in client.conversations.items.list(cid, order="asc", limit=100)]


def wait_over(client, rid, seconds=20):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        r = client.responses.retrieve(rid)
        if r.status not in ("queued", "in_progress"):
            return r
        time.sleep(0.05)
    raise AssertionError(f"{rid} is {r.status} after {seconds} s")


def test_the_object(client):
    c = client.conversations.create(metadata={"topic": "tea"}, items=[said("alpha"), said("beta", "assistant")])
    assert c.id.startswith("conv_") and c.object == "conversation" and c.metadata == {"topic": "tea"}
    assert abs(c.created_at - time.time()) < 20
    assert client.conversations.retrieve(c.id) == c and texts(client, c.id) == ["alpha", "beta"]
    changed = client.conversations.update(c.id, metadata={"topic": "rum"})
    assert changed.metadata == {"topic": "rum"} and client.conversations.retrieve(c.id) == changed
    gone = client.conversations.delete(c.id)
    assert (gone.id, gone.object, gone.deleted) == (c.id, "conversation.deleted", True)
    for attempt in (lambda: client.conversations.retrieve(c.id), lambda: client.conversations.delete(c.id),
                    lambda: client.conversations.items.list(c.id), lambda: client.conversations.update(c.id, metadata={}),
                    lambda: client.conversations.items.create(c.id, items=[said("x")]),
                    lambda: client.responses.create(model="", input="x", conversation=c.id)):
        with pytest.raises(openai.NotFoundError, match=c.id):
            attempt()
    assert client.conversations.create().metadata == {}


def test_items(client):
    c = client.conversations.create()
    made = client.conversations.items.create(c.id, items=[said(f"t{i}") for i in range(7)])
    ids = [i.id for i in made.data]
    assert len(set(ids)) == 7 and (made.first_id, made.last_id, made.has_more) == (ids[0], ids[-1], False)
    assert [i.id for i in client.conversations.items.list(c.id, limit=3)] == ids[::-1]  # pages; the newest first
    assert [i.id for i in client.conversations.items.list(c.id, limit=2, order="asc")] == ids
    page = client.conversations.items.list(c.id, order="asc", after=ids[2], limit=2)
    assert [i.id for i in page.data] == ids[3:5] and page.has_more and page.last_id == ids[4]
    got = client.conversations.items.retrieve(ids[3], conversation_id=c.id)
    assert got.id == ids[3] and got.content[0].text == "t3" and got.role == "user" and got.status == "completed"
    assert client.conversations.items.delete(ids[3], conversation_id=c.id).id == c.id
    assert texts(client, c.id) == ["t0", "t1", "t2", "t4", "t5", "t6"]
    other = client.conversations.create()
    for attempt in (lambda: client.conversations.items.retrieve(ids[3], conversation_id=c.id),
                    lambda: client.conversations.items.delete(ids[3], conversation_id=c.id),
                    lambda: client.conversations.items.retrieve(ids[0], conversation_id=other.id),
                    lambda: client.conversations.items.list(c.id, after=ids[3])):
        with pytest.raises(openai.NotFoundError):
            attempt()
    # what a conversation holds can be named
    r = client.responses.create(model="", input=[{"type": "item_reference", "id": ids[1]}, said("end")])
    assert r.output_text == "t1 end"


@pytest.mark.parametrize("path,body,param,code", [
    ("", {"items": [{"type": "image_generation_call"}]}, "items[0].type", "unsupported_parameter"),
    ("", {"items": [said("x")] * 21}, "items", "limit_exceeded"),
    ("", {"items": [said("x"), {"type": "item_reference", "id": "msg_1"}]}, "items[1]", "unsupported_parameter"),
    ("", {"items": [{**said("x"), "id": "a/b"}]}, "items[0].id", "invalid_value"),
    ("", {"items": [{**said("x"), "id": "a"}] * 2}, None, "invalid_value"),
    ("", {"items": "x"}, "items", "invalid_value"),
    ("", {"metadata": {"a": 1}}, "metadata", "invalid_value"),
    ("", {"title": "x"}, "title", "invalid_value"),
    ("/{id}", {}, "metadata", "invalid_value"),
    ("/{id}/items", {"items": []}, "items", "invalid_value"),
    ("/{id}/items?limit=101", None, "limit", "invalid_value"),
    ("/{id}/items?order=up", None, "order", "invalid_value"),
])
def test_what_is_refused(fake_server, client, path, body, param, code):
    path = "/v1/conversations" + path.format(id=client.conversations.create().id)
    status, _, got = fake_server.request("GET" if body is None else "POST", path, body)
    got = json.loads(got)
    assert status == 400 and (got["error"]["param"], got["error"]["code"]) == (param, code), got


def test_paths_that_are_not_there(fake_server, client):
    cid = client.conversations.create().id
    for method, path in (("GET", ""), ("GET", f"/{cid}/x"), ("POST", f"/{cid}/items/x"), ("DELETE", f"/{cid}/items"), ("GET", f"/{'x' * 99}")):
        assert fake_server.request(method, "/v1/conversations" + path)[0] in (404, 405), path


def test_responses_in_one(client):
    c = client.conversations.create(items=[said("alpha")])
    one = client.responses.create(model="", input="beta", conversation=c.id, instructions="rule")
    assert one.output_text == "rule alpha beta" and one.conversation.id == c.id and one.previous_response_id is None
    assert texts(client, c.id) == ["alpha", "beta", "rule alpha beta"]
    assert client.responses.retrieve(one.id).to_dict() == one.to_dict()
    events = list(client.responses.create(model="", input=[said("gamma")], conversation={"id": c.id}, stream=True, store=False))
    last = events[-1].response
    assert last.output_text == "alpha beta rule alpha beta gamma" and last.conversation.id == c.id and last.store is False
    assert texts(client, c.id)[3:] == ["gamma", last.output_text]
    ids = [i.id for i in client.conversations.items.list(c.id, order="asc")]
    assert last.output[0].id == ids[-1] and one.output[0].id == ids[2]
    # what it was computed from, and going on from it as from any other
    assert [i.id for i in client.responses.input_items.list(one.id, order="asc")] == ids[:2]
    fork = client.responses.create(model="", input="z", previous_response_id=one.id)
    assert fork.output_text == "alpha beta rule alpha beta z" and len(texts(client, c.id)) == 5
    # nothing new need be said
    bare = client.conversations.create(items=[said("just this")])
    assert client.responses.create(model="", conversation=bare.id).output_text == "just this"
    assert client.responses.input_tokens.count(model="", conversation=bare.id, input="more").input_tokens == 5
    assert texts(client, bare.id) == ["just this", "just this"]


def test_calls_in_one(client):
    c = client.conversations.create()
    script = "SCRIPT " + json.dumps([{"call": "look", "arguments": "{}"}])
    tool = {"type": "function", "name": "look", "parameters": {"type": "object", "properties": {}}}
    r = client.responses.create(model="", input=script, tools=[tool], conversation=c.id)
    out = {"type": "function_call_output", "call_id": r.output[0].call_id, "output": "sun"}
    assert client.responses.create(model="", input=[out, said("well?")], tools=[tool], conversation=c.id).output_text.endswith("sun well?")
    with pytest.raises(openai.BadRequestError) as e:
        client.responses.create(model="", input=[{**out, "call_id": "none"}], conversation=c.id)
    assert e.value.param == "input[0].call_id"
    assert [i.type for i in client.conversations.items.list(c.id, order="asc")] == [
        "message", "function_call", "function_call_output", "message", "message"]


def test_responses_that_are_refused(client):
    c = client.conversations.create()
    first = client.responses.create(model="", input="x", conversation=c.id)
    for body, param in (({"input": "x", "previous_response_id": first.id, "conversation": c.id}, "conversation"),
                        ({"input": "x", "conversation": 5}, "conversation"), ({"input": "x", "conversation": {"id": c.id, "a": 1}}, "conversation.a"),
                        ({"input": [first.output[0].to_dict()], "conversation": c.id}, "input[0].id"),
                        ({"input": [], "conversation": client.conversations.create().id}, "input")):
        with pytest.raises(openai.BadRequestError) as e:
            client.post("/responses", body=body, cast_to=object)
        assert e.value.param == param, body
    assert len(texts(client, c.id)) == 2
    assert client.responses.create(model="", input="y", conversation=c.id).output_text == "x x y"  # no lock was left


def test_one_at_a_time(fake):
    client = client_of(fake({"token_s": 0.1}))
    c = client.conversations.create()
    stream = client.responses.create(model="", input=TEXT, conversation=c.id, stream=True)
    first = next(iter(stream)).response
    for attempt in (lambda: client.responses.create(model="", input="b", conversation=c.id), lambda: client.conversations.delete(c.id),
                    lambda: client.responses.create(model="", input="b", conversation=c.id, background=True),
                    lambda: client.conversations.items.create(c.id, items=[said("b")])):
        with pytest.raises(openai.BadRequestError, match=first.id) as e:
            attempt()
        assert (e.value.code, e.value.param, e.value.status_code) == ("conversation_locked", "conversation", 400)
    assert texts(client, c.id) == [] and client.conversations.update(c.id, metadata={"a": "b"}).metadata == {"a": "b"}
    other = client.conversations.create()
    assert client.responses.create(model="", input="b", conversation=other.id).output_text == "b"
    list(stream)
    assert client.responses.create(model="", input="b", conversation=c.id).output_text == f"{TEXT} {TEXT} b"
    # one whose client leaves leaves nothing behind, and no lock
    stream = client.responses.create(model="", input=TEXT, conversation=c.id, stream=True)
    next(iter(stream))
    stream.close()
    end = time.monotonic() + 10
    while time.monotonic() < end:
        try:
            assert client.responses.create(model="", input="c", conversation=c.id).output_text.endswith("b c")
            break
        except openai.BadRequestError:
            time.sleep(0.05)
    assert texts(client, c.id)[-2] == "c" and len(texts(client, c.id)) == 6


def test_in_the_background(fake):
    server = fake({"token_s": 0.1}, parallel=1)
    client = client_of(server)
    c = client.conversations.create()
    r = client.responses.create(model="", input=TEXT, conversation=c.id, background=True)
    with pytest.raises(openai.BadRequestError) as e:
        client.responses.create(model="", input="b", conversation=c.id)
    assert e.value.code == "conversation_locked"
    os.kill(server.process.pid, signal.SIGKILL)
    server.process.wait(10)
    client = client_of(fake({}))
    done = wait_over(client, r.id)
    assert done.output_text == TEXT and done.conversation.id == c.id
    assert texts(client, c.id) == [TEXT, TEXT]
    assert client.responses.create(model="", input="b", conversation=c.id).output_text == f"{TEXT} {TEXT} b"
    # one that is cancelled leaves nothing
    r = client.responses.create(model="", input="SILENT", conversation=c.id, background=True)
    assert client.responses.cancel(r.id).status == "cancelled"
    wait_over(client, r.id)
    assert client.responses.create(model="", input="c", conversation=c.id).output_text.endswith("b c")
    assert len(texts(client, c.id)) == 6


def test_one_that_is_over_has_let_go(fake):
    """Who sees that a response is over may go on in its conversation."""
    client = client_of(fake({}))
    for i in range(12):
        i %= 4  # each turn says all that came before
        c = c if i > 0 else client.conversations.create()
        r = client.responses.create(model="", input=f"w{i}", conversation=c.id, background=True)
        while (r := client.responses.retrieve(r.id)).status in ("queued", "in_progress"):
            pass
        assert r.status == "completed" and len(texts(client, c.id)) == 2 * i + 2


def test_after_its_conversation(fake, tmp_path):
    """What a response is outlives the conversation, and one that grew too long after it; but nobody goes on from a part."""
    server = fake({})
    client = client_of(server)
    c, long = client.conversations.create(items=[said("alpha")]), client.conversations.create(items=[said("alpha")])
    one = client.responses.create(model="", input="beta", conversation=c.id)
    before = client.responses.create(model="", input="beta", conversation=long.id)
    for size in [1 << 20] * 15 + [3 << 20]:
        client.conversations.items.create(long.id, items=[said("x" * size)])
    with pytest.raises(openai.BadRequestError, match="too long"):
        client.responses.create(model="", input="y", conversation=long.id)
    assert [i.content[0].text for i in client.responses.input_items.list(before.id, order="asc")] == ["alpha", "beta"]
    assert client.responses.create(model="", input="y", previous_response_id=before.id).output_text == "alpha beta alpha beta y"
    client.conversations.delete(c.id)
    assert [i.content[0].text for i in client.responses.input_items.list(one.id, order="asc")] == ["beta"]
    with pytest.raises(openai.BadRequestError, match=c.id) as e:
        client.responses.create(model="", input="y", previous_response_id=one.id)
    assert (e.value.code, e.value.param) == ("previous_response_not_found", "previous_response_id")


def test_whose_they_are(hearth_bin, fake, tmp_path):
    made = [subprocess.run([hearth_bin, "key", "create", name], env={**os.environ, "HEARTH_KEYS": str(tmp_path / "keys.json")},
                           capture_output=True, text=True, check=True).stdout for name in ("ann", "bob")]
    keys = [next(w for w in out.split() if w.startswith("hearth")) for out in made]
    server = fake({})
    ann, bob = (client_of(server, k) for k in keys)
    c = ann.conversations.create(items=[said("secret")])
    item = ann.conversations.items.list(c.id).data[0].id
    for attempt in (lambda: bob.conversations.retrieve(c.id), lambda: bob.conversations.delete(c.id), lambda: bob.conversations.items.list(c.id),
                    lambda: bob.conversations.items.retrieve(item, conversation_id=c.id),
                    lambda: bob.responses.create(model="", input="x", conversation=c.id),
                    lambda: bob.responses.create(model="", input=[{"type": "item_reference", "id": item}])):
        with pytest.raises(openai.NotFoundError):
            attempt()
    assert texts(ann, c.id) == ["secret"]


def test_they_are_forgotten(fake):
    server = fake({}, responses_keep="2s")
    client = client_of(server)
    c = client.conversations.create(items=[said("x")])
    end = time.monotonic() + 10
    with pytest.raises(openai.NotFoundError):
        while time.monotonic() < end:
            client.conversations.retrieve(c.id)
            time.sleep(0.1)


def test_without_a_state_folder(fake):
    client = client_of(fake({}, state="off"))
    with pytest.raises(openai.BadRequestError, match="--state off") as e:
        client.responses.create(model="", input="x", conversation="conv_x")
    assert e.value.param == "conversation"
    with pytest.raises(openai.APIStatusError, match="off"):
        client.conversations.create()


def test_a_busy_state_stops_no_one_else(fake, tmp_path):
    """Regression: what needs no store was refused while the store had too much to do."""
    server = fake({})
    client = client_of(server)
    database = next(tmp_path.rglob("hearth.db"))
    lock = sqlite3.connect(database, isolation_level=None)
    lock.execute("BEGIN IMMEDIATE")  # what writes waits for us
    threads = [threading.Thread(target=lambda: server.post("/v1/conversations", {})) for _ in range(300)]
    try:
        for t in threads:
            t.start()
        end = time.monotonic() + 10
        refused = None
        while refused is None and time.monotonic() < end:
            try:
                client.with_options(timeout=0.5).responses.create(model="", input="x", store=True)
            except openai.InternalServerError as e:
                refused = e
            except openai.APITimeoutError:
                pass
        assert refused is not None and refused.status_code == 503
        assert client.responses.create(model="", input="x", store=False).output_text == "x"
        assert client.responses.input_tokens.count(model="", input="x").input_tokens == 1
    finally:
        lock.execute("ROLLBACK")
        for t in threads:
            t.join()
    assert client.responses.create(model="", input="x").store is True


def test_javascript(fake):
    seen = json.loads(javascript.run_client("conversations.mjs", fake({}).url, ""))
    assert seen["metadata"] == {"a": "c"} and seen["text"] == "alpha beta" and seen["items"] == ["alpha", "beta", "alpha beta"]
    assert seen["one"] == "beta" and seen["left"] == 2 and seen["gone"] == {"name": "NotFoundError", "status": 404}
