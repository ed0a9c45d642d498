"""Conversations that are too long for the context, with a real model: what goes, what stays, what is told of it."""
import json

import openai
import pytest

import serving

FILLER = "word " * 25


@pytest.fixture(scope="module")
def server(hearth_bin, tmp_path_factory, smollm2_path):
    one = serving.Server(hearth_bin, tmp_path_factory.mktemp("short"), smollm2_path, ctx=256)
    yield one
    one.close()


@pytest.fixture(scope="module")
def client(server):
    return openai.OpenAI(base_url=server.url + "/v1", api_key=server.key or "none", max_retries=0, timeout=120)


def turns(n):
    return [{"role": "user" if i % 2 == 0 else "assistant", "content": f"turn {i}: {FILLER}"} for i in range(n)]


def count(client, **body):
    return client.responses.input_tokens.count(model="", **body).input_tokens


def test_disabled_is_an_error(client):
    for more in ({}, {"truncation": "disabled"}):
        with pytest.raises(openai.BadRequestError) as e:
            client.responses.create(model="", input=turns(13), max_output_tokens=4, **more)
        assert e.value.code == "context_length_exceeded"
    with pytest.raises(openai.BadRequestError) as e:
        client.responses.create(model="", input="x", truncation="none")
    assert e.value.param == "truncation"


def test_the_oldest_go(client):
    whole = turns(13)
    raw = client.responses.with_raw_response.create(model="", input=whole, instructions="Rule.", truncation="auto", temperature=0, max_output_tokens=4)
    r = raw.parse()
    dropped = r.hearth["dropped_messages"]
    assert r.truncation == "auto" and 0 < dropped < 13 and raw.headers["x-hearth-dropped-messages"] == str(dropped)
    # the same as without them, and no more than it takes: one more would not fit
    rest = client.responses.create(model="", input=whole[dropped:], instructions="Rule.", temperature=0, max_output_tokens=4)
    assert (rest.output_text, rest.usage.input_tokens) == (r.output_text, r.usage.input_tokens) and not hasattr(rest, "hearth")
    assert r.usage.input_tokens < 256 - 4 <= count(client, input=whole[dropped - 1:], instructions="Rule.")
    events = list(client.responses.create(model="", input=whole, instructions="Rule.", truncation="auto", temperature=0, max_output_tokens=4, stream=True))
    assert events[-1].response.hearth == r.hearth and events[-1].response.output_text == r.output_text
    # what fits is left as it is; what can never fit is refused
    assert not hasattr(client.responses.create(model="", input="hi", truncation="auto", max_output_tokens=1), "hearth")
    with pytest.raises(openai.BadRequestError) as e:
        client.responses.create(model="", input="word " * 900, truncation="auto")
    assert e.value.code == "context_length_exceeded"


def test_calls_and_results_stay_together(client):
    call = {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"}
    result = {"type": "function_call_output", "call_id": "c1", "output": "sun " * 20}
    said = {"role": "user", "content": "and now?"}
    # at the end: the call stays with its result, whatever else goes
    whole = [*turns(12), call, result]
    r = client.responses.create(model="", input=whole, truncation="auto", temperature=0, max_output_tokens=4)
    dropped = r.hearth["dropped_messages"]
    assert 0 < dropped <= 12 and r.usage.input_tokens == count(client, input=whole[dropped:])
    # at the beginning: they go together, also with something between them
    for first in ([call, result], [call, {"role": "user", "content": "wait"}, result]):
        whole = [*first, *turns(10), said]
        r = client.responses.create(model="", input=whole, truncation="auto", temperature=0, max_output_tokens=4)
        left = len(whole) - r.hearth["dropped_messages"]
        assert left <= 11 and r.usage.input_tokens == count(client, input=whole[-left:])


def test_in_a_conversation(client):
    c = client.conversations.create(items=turns(12))
    r = client.responses.create(model="", input="and now?", conversation=c.id, truncation="auto", max_output_tokens=4)
    assert r.hearth["dropped_messages"] > 0 and client.responses.retrieve(r.id).hearth == r.hearth
    assert len(list(client.conversations.items.list(c.id))) == 14  # they are left out of the prompt, not of what is kept


def test_ollama_tells(server):
    name = json.loads(server.request("GET", "/v1/models")[2])["data"][0]["id"]
    body = {"model": name, "messages": turns(13), "options": {"temperature": 0, "num_predict": 4}}
    status, headers, data = server.request("POST", "/api/chat", body)
    last = json.loads(data.decode().strip().splitlines()[-1])
    assert status == 200 and last["done"] and last["hearth"]["dropped_messages"] == int(headers["X-Hearth-Dropped-Messages"]) > 0
    status, _, data = server.request("POST", "/api/chat", {**body, "messages": turns(1), "stream": False})
    assert status == 200 and "hearth" not in json.loads(data)
    assert server.request("POST", "/api/chat", {**body, "truncate": False})[0] == 400


def test_template_variables(client):
    with pytest.raises(openai.BadRequestError) as e:
        client.responses.create(model="", input="x", extra_body={"chat_template_kwargs": {"messages": []}})
    assert e.value.param == "chat_template_kwargs"
    assert client.responses.create(model="", input="x", max_output_tokens=1, extra_body={"chat_template_kwargs": {"enable_thinking": False}}).usage
