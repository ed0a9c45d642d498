"""The Responses API with OpenAI's own client, unchanged; and what is left of it after kill -9."""
import json
import os
import signal
import subprocess
import time

import javascript
import openai
import pydantic
import pytest

TEXT = "one two three four five"


def client_of(server, **more):
    return openai.OpenAI(base_url=server.url + "/v1", api_key=server.key or "none", max_retries=0, timeout=30, **more)


def script(*pieces):
    """What the fake worker answers: ["reasoning", text], ["content", text], ["call", name, arguments]."""
    return "SCRIPT " + json.dumps([{kind: rest[0]} | ({"arguments": rest[1]} if kind == "call" else {}) for kind, *rest in pieces])


@pytest.fixture(scope="module")
def client(fake_server):
    return client_of(fake_server)


def kinds(events):
    """The types of events, runs of the same one as one."""
    out = []
    for e in events:
        if not out or out[-1] != e.type:
            out.append(e.type)
    return [k.removeprefix("response.") for k in out]


# ---- one call


def test_whole(client):
    r = client.responses.create(model="", input=TEXT, instructions="Be brief.", temperature=0, max_output_tokens=7,
                                metadata={"a": "b"}, user="u", text={"verbosity": "low"}, include=["reasoning.encrypted_content"])
    assert r.output_text == "Be brief. " + TEXT and r.status == "completed" and r.error is None
    assert r.id.startswith("resp_") and r.object == "response" and abs(r.created_at - time.time()) < 20
    assert [o.type for o in r.output] == ["message"] and r.output[0].id.startswith("msg_")
    assert (r.output[0].status, r.output[0].role) == ("completed", "assistant")
    assert (r.usage.input_tokens, r.usage.output_tokens, r.usage.total_tokens) == (7, 7, 14)
    assert (r.usage.input_tokens_details.cached_tokens, r.usage.output_tokens_details.reasoning_tokens) == (0, 0)
    assert (r.instructions, r.temperature, r.max_output_tokens, r.metadata, r.user) == ("Be brief.", 0, 7, {"a": "b"}, "u")
    assert r.text.verbosity == "low" and r.tools == [] and r.tool_choice == "auto" and r.incomplete_details is None
    assert r.completed_at >= r.created_at and r.background is False and r.truncation == "disabled"


def test_cut_by_its_length(client):
    r = client.responses.create(model="", input=TEXT, max_output_tokens=2)
    assert (r.status, r.incomplete_details.reason, r.output_text) == ("incomplete", "max_output_tokens", "one two")
    assert r.output[0].status == "incomplete"
    events = list(client.responses.create(model="", input=TEXT, max_output_tokens=2, stream=True))
    assert events[-1].type == "response.incomplete" and events[-1].response.status == "incomplete"


def test_the_order_of_events(client):
    events = list(client.responses.create(model="", input=TEXT, stream=True))
    assert [e.sequence_number for e in events] == list(range(len(events)))
    assert kinds(events) == ["created", "in_progress", "output_item.added", "content_part.added", "output_text.delta",
                             "output_text.done", "content_part.done", "output_item.done", "completed"]
    assert "".join(e.delta for e in events if e.type == "response.output_text.delta") == TEXT
    assert events[0].response.status == "in_progress" and events[0].response.output == []
    assert next(e for e in events if e.type == "response.output_text.done").text == TEXT
    ids = {e.item_id for e in events if hasattr(e, "item_id")} | {e.item.id for e in events if hasattr(e, "item")}
    assert len(ids) == 1 and events[-1].response.output_text == TEXT


def test_the_wire(fake_server):
    status, headers, data = fake_server.request("POST", "/v1/responses", {"input": "a b", "stream": True})
    assert status == 200 and headers["Content-Type"].startswith("text/event-stream") and b"[DONE]" not in data
    for frame in data.decode().strip().split("\n\n"):
        if not frame.startswith(":"):
            event, body = frame.split("\n")
            assert event == "event: " + json.loads(body.removeprefix("data: "))["type"]


def test_the_stream_helper(client):
    with client.responses.stream(model="", input=TEXT) as stream:
        seen = [e for e in stream]
        final = stream.get_final_response()
    assert final.output_text == TEXT and seen[-1].type == "response.completed"


def test_reasoning_and_text(client):
    said = script(["reasoning", "let me think"], ["content", "it is so"])
    r = client.responses.create(model="", input=said, include=["reasoning.encrypted_content"])
    assert [o.type for o in r.output] == ["reasoning", "message"]
    assert r.output[0].content[0].text == "let me think" and r.output[0].summary == [] and r.output_text == "it is so"
    assert r.output[0].id.startswith("rs_") and r.usage.output_tokens_details.reasoning_tokens == 3
    events = list(client.responses.create(model="", input=said, stream=True))
    assert kinds(events) == ["created", "in_progress", "output_item.added", "content_part.added", "reasoning_text.delta",
                             "reasoning_text.done", "content_part.done", "output_item.done", "output_item.added",
                             "content_part.added", "output_text.delta", "output_text.done", "content_part.done",
                             "output_item.done", "completed"]
    with client.responses.stream(model="", input=said) as stream:
        assert stream.get_final_response().output_text == "it is so"
    # Stateless, as agents do it: all of it comes back, the reasoning in its opaque form only.
    back = [{"role": "user", "content": "q"}] + [o.model_dump(exclude_none=True) for o in r.output]
    back[1].pop("content")
    assert client.responses.create(model="", input=back + [{"role": "user", "content": "next"}], store=False).output_text == "q it is so next"


def test_log_probabilities(client):
    r = client.responses.create(model="", input=TEXT, include=["message.output_text.logprobs"], top_logprobs=2)
    got = r.output[0].content[0].logprobs
    assert [t.token for t in got] == ["one", " two", " three", " four", " five"] and len(got[0].top_logprobs) == 2
    events = list(client.responses.create(model="", input=TEXT, top_logprobs=2, stream=True))
    deltas = [e for e in events if e.type == "response.output_text.delta"]
    assert [t.token for e in deltas for t in e.logprobs] == [t.token for t in got]
    assert client.responses.create(model="", input=TEXT).output[0].content[0].logprobs == []


TOOL = {"type": "function", "name": "weather", "description": "d", "strict": True, "parameters": {
    "type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"], "additionalProperties": False}}
CALLS = script(["content", "let me look"], ["call", "weather", '{"city": "Rome"}'], ["call", "weather", '{"city": "Oslo"}'])


def test_calls_of_tools(client):
    r = client.responses.create(model="", input=CALLS, tools=[TOOL])
    assert [o.type for o in r.output] == ["message", "function_call", "function_call"] and r.status == "completed"
    calls = r.output[1:]
    assert [(c.name, c.arguments, c.status) for c in calls] == [("weather", '{"city": "Rome"}', "completed"), ("weather", '{"city": "Oslo"}', "completed")]
    assert all(c.id.startswith("fc_") and c.call_id.startswith("call_") for c in calls) and calls[0].call_id != calls[1].call_id
    assert r.tools[0].name == "weather" and r.parallel_tool_calls is True
    said = [{"type": "function_call_output", "call_id": c.call_id, "output": f"sun {i}"} for i, c in enumerate(calls)]
    next_one = client.responses.create(model="", input=[*said, {"role": "user", "content": "well?"}], previous_response_id=r.id, store=False,
                                       tools=[TOOL])
    assert next_one.output_text.endswith("let me look sun 0 sun 1 well?")


def test_what_was_said_can_be_sent_back(client):
    """In each of the ways that programs do it: nulls of fields that others have are not given."""
    r = client.responses.parse(model="", input=CALLS, tools=[TOOL])
    results = [{"type": "function_call_output", "call_id": c.call_id, "output": "sun"} for c in r.output[1:]]
    for said in (r.output, [o.model_dump() for o in r.output], [o.to_dict() for o in r.output]):
        again = client.responses.create(model="", input=[{"role": "user", "content": "q"}, *said, *results], store=False)
        assert again.output_text == "q let me look sun sun"


def test_streamed_calls(client):
    events = list(client.responses.create(model="", input=CALLS, tools=[TOOL], stream=True))
    call = ["output_item.added", "function_call_arguments.delta", "function_call_arguments.done", "output_item.done"]
    assert kinds(events)[8:] == [*call, *call, "completed"]
    for index in (1, 2):
        own = [e for e in events if getattr(e, "output_index", None) == index]
        args = "".join(e.delta for e in own if e.type == "response.function_call_arguments.delta")
        assert args == own[-2].arguments == own[-1].item.arguments and own[0].item.arguments == ""
        assert {e.item_id for e in own if hasattr(e, "item_id")} == {own[0].item.id}
    with client.responses.stream(model="", input=CALLS, tools=[TOOL]) as stream:
        final = stream.get_final_response()
    assert final.output[1].arguments == '{"city": "Rome"}' and final.output[1].parsed_arguments == {"city": "Rome"}


def test_custom_tools(client):
    tool = {"type": "custom", "name": "shell", "description": "runs"}
    said = script(["call", "shell", '{"input": "ls -l \\"a b\\""}'])
    r = client.responses.create(model="", input=said, tools=[tool])
    call = r.output[0]
    assert (call.type, call.name, call.input) == ("custom_tool_call", "shell", 'ls -l "a b"') and call.id.startswith("ctc_")
    events = list(client.responses.create(model="", input=said, tools=[tool], stream=True))
    assert kinds(events) == ["created", "in_progress", "output_item.added", "custom_tool_call_input.delta", "custom_tool_call_input.done",
                             "output_item.done", "completed"]
    assert next(e for e in events if e.type.endswith("input.delta")).delta == 'ls -l "a b"'
    # back as it came, without a store
    back = [{"role": "user", "content": "go"}, call.to_dict(), {"type": "custom_tool_call_output", "call_id": call.call_id, "output": "listed"}]
    assert client.responses.create(model="", input=back, tools=[tool], store=False).output_text == "go  listed"


@pytest.mark.parametrize("body, param, code", [
    ({"tools": [{"type": "web_search"}]}, "tools[0].type", "unsupported_parameter"),
    ({"tools": [{"type": "mcp", "server_label": "x"}]}, "tools[0].type", "unsupported_parameter"),
    ({"tools": [{"type": "function"}]}, "tools[0].name", "invalid_value"),
    ({"tools": [TOOL | {"colour": 1}]}, "tools[0].colour", "invalid_value"),
    ({"tools": [TOOL], "tool_choice": {"type": "function", "name": "none such"}}, "tool_choice", "invalid_value"),
    ({"tools": [TOOL], "tool_choice": {"type": "file_search"}}, "tool_choice", "invalid_value"),
    ({"tools": [TOOL], "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "no"}]}}, "tool_choice", "invalid_value"),
    ({"tool_choice": "required"}, "tool_choice", "invalid_value"),
    ({"tools": "all"}, "tools", "invalid_value"),
])
def test_tools_that_are_refused(fake_server, body, param, code):
    status, _, got = fake_server.post("/v1/responses", {"input": "x", **body})
    assert status == 400 and (got["error"]["param"], got["error"]["code"]) == (param, code), got


def test_choices_of_tools(client):
    for choice in ("none", "auto", "required", {"type": "function", "name": "weather"},
                   {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "weather"}]}):
        r = client.responses.create(model="", input="x", tools=[TOOL], tool_choice=choice, parallel_tool_calls=False)
        got = r.tool_choice if isinstance(r.tool_choice, str) else r.tool_choice.to_dict()
        assert got == choice and r.parallel_tool_calls is False


class Answer(pydantic.BaseModel):
    n: int


def test_parse_with_a_model(client):
    r = client.responses.parse(model="", input=script(["content", '{"n": 7}']), text_format=Answer)
    assert r.output_parsed == Answer(n=7) and r.text.format.type == "json_schema"
    assert client.responses.create(model="", input="x", text={"format": {"type": "json_object"}}).text.format.type == "json_object"


def test_input_items_of_every_kind(client):
    items = [
        {"role": "developer", "content": "rules"},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "ask"}], "status": "completed"},
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}], "id": "rs_1"},
        {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": "result"},
        {"type": "custom_tool_call", "call_id": "c2", "name": "g", "input": "free"},
        {"type": "custom_tool_call_output", "call_id": "c2", "output": [{"type": "input_text", "text": "more"}]},
        {"role": "assistant", "content": [{"type": "output_text", "text": "said", "annotations": []}], "phase": "final_answer"},
        {"role": "user", "content": "again"},
    ]
    assert client.responses.create(model="", input=items).output_text == "rules ask  result  more said again"


def test_input_tokens(client):
    one = client.responses.create(model="", input=TEXT)
    assert client.responses.input_tokens.count(model="", input=TEXT).input_tokens == 5
    got = client.responses.input_tokens.count(model="", input="a b", instructions="c", previous_response_id=one.id)
    assert (got.object, got.input_tokens) == ("response.input_tokens", 13)


@pytest.mark.parametrize("body, param, code", [
    ({"input": "x", "temperature": 3}, "temperature", "invalid_value"),
    ({}, "input", "invalid_value"),
    ({"input": []}, "input", "invalid_value"),
    ({"input": [1]}, "input[0]", "invalid_value"),
    ({"input": 5}, "input", "invalid_value"),
    ({"input": [{"role": "wizard", "content": "x"}]}, "input[0].role", "invalid_value"),
    ({"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "x"}]}]}, "input[0].content[0].type", "unsupported_parameter"),
    ({"input": [{"type": "web_search_call", "id": "ws"}]}, "input[0].type", "unsupported_parameter"),
    ({"input": [{"type": "function_call_output", "call_id": "no", "output": "x"}]}, "input[0].call_id", "invalid_value"),
    ({"input": [{"role": "user", "content": "x", "colour": 1}]}, "input[0].colour", "invalid_value"),
    ({"input": "x", "include": ["secrets"]}, "include", "invalid_value"),
    ({"input": "x", "conversation": ""}, "conversation", "invalid_value"),
    ({"input": "x", "truncation": "some"}, "truncation", "invalid_value"),
    ({"input": "x", "prompt": {"id": "p"}}, "prompt", "unsupported_parameter"),
    ({"input": "x", "background": True, "store": False}, "background", "invalid_value"),
    ({"input": "x", "stream_options": {"include_obfuscation": False}}, "stream_options", "invalid_value"),
    ({"input": "x", "text": {"format": {"type": "json_schema", "name": "a"}}}, "text.format.schema", "invalid_value"),
    ({"input": "x", "reasoning": {"effort": "vast"}}, "reasoning.effort", "invalid_value"),
    ({"input": "x", "metadata": {"a": 1}}, "metadata", "invalid_value"),
    ({"input": "x", "messages": []}, "messages", "invalid_value"),
    ({"input": "x", "previous_response_id": "resp_none"}, "previous_response_id", "previous_response_not_found"),
    ({"input": "x", "previous_response_id": 5}, "previous_response_id", "invalid_value"),
])
def test_what_is_refused(fake_server, body, param, code):
    status, _, got = fake_server.post("/v1/responses", body)
    assert status == 400 and (got["error"]["param"], got["error"]["code"]) == (param, code), got


# ---- stored


def test_conversations(client):
    one = client.responses.create(model="", input="alpha", instructions="rule")
    two = client.responses.create(model="", input="beta", previous_response_id=one.id)
    # all of it but the instructions, which belong to one turn
    assert two.output_text == "alpha rule alpha beta" and two.previous_response_id == one.id
    three = client.responses.create(model="", input=[{"role": "user", "content": "gamma"}], previous_response_id=two.id, stream=True)
    last = list(three)[-1].response
    assert last.output_text == "alpha rule alpha beta alpha rule alpha beta gamma"
    got = client.responses.retrieve(two.id)
    assert got.to_dict() == two.to_dict()
    items = client.responses.input_items.list(last.id, order="asc").data
    assert [i.content[0].text for i in items] == ["alpha", "rule alpha", "beta", "alpha rule alpha beta", "gamma"]
    assert [i.id for i in client.responses.input_items.list(last.id, limit=2)] == [i.id for i in reversed(items)]  # pages
    client.responses.delete(two.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(two.id)
    with pytest.raises(openai.BadRequestError, match="lost its turn"):
        client.responses.create(model="", input="x", previous_response_id=last.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.delete(two.id)


def test_references(client):
    one = client.responses.create(model="", input="alpha")
    asked = client.responses.input_items.list(one.id).data[0].id
    two = client.responses.create(model="", input=[{"type": "item_reference", "id": asked}, {"id": one.output[0].id}, {"role": "user", "content": "b"}])
    assert two.output_text == "alpha alpha b"
    assert [i.id for i in client.responses.input_items.list(two.id, order="asc")][:2] == [asked, one.output[0].id]
    alone = client.responses.create(model="", input=[{"type": "item_reference", "id": asked}])
    assert alone.output_text == "alpha"
    with pytest.raises(openai.NotFoundError) as e:
        client.responses.create(model="", input=[{"role": "user", "content": "b"}, {"type": "item_reference", "id": "msg_0"}])
    assert e.value.param == "input[1].id"
    with pytest.raises(openai.NotFoundError) as e:
        client.responses.create(model="", input=[{"type": "item_reference", "id": "msg_0"}])
    assert e.value.param == "input[0].id"


def test_what_is_not_stored(client):
    r = client.responses.create(model="", input="x", store=False)
    assert r.store is False
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(r.id)
    with pytest.raises(openai.BadRequestError) as e:
        client.responses.create(model="", input="x", previous_response_id=r.id)
    assert e.value.code == "previous_response_not_found" and e.value.param == "previous_response_id"


def test_without_a_state_folder(fake):
    server = fake({}, state="off")
    client = client_of(server)
    r = client.responses.create(model="", input=TEXT)
    assert r.output_text == TEXT and r.store is False
    for more in ({"store": True}, {"background": True}, {"previous_response_id": "resp_x"}):
        with pytest.raises(openai.BadRequestError, match="--state off") as e:
            client.responses.create(model="", input=TEXT, **more)
        assert e.value.param == next(iter(more))
    with pytest.raises(openai.APIStatusError, match="off"):
        client.responses.retrieve(r.id)


def test_others_do_not_see_them(hearth_bin, fake, tmp_path):

    made = [subprocess.run([hearth_bin, "key", "create", name], env={**os.environ, "HEARTH_KEYS": str(tmp_path / "keys.json")},
                           capture_output=True, text=True, check=True).stdout for name in ("ann", "bob")]
    keys = [next(w for w in out.split() if w.startswith("hearth")) for out in made]
    server = fake({})
    ann, bob = (openai.OpenAI(base_url=server.url + "/v1", api_key=k, max_retries=0) for k in keys)
    r = ann.responses.create(model="", input="x")
    assert ann.responses.retrieve(r.id).id == r.id
    for attempt in (lambda: bob.responses.retrieve(r.id), lambda: bob.responses.delete(r.id),
                    lambda: bob.responses.input_items.list(r.id)):
        with pytest.raises(openai.NotFoundError):
            attempt()
    with pytest.raises(openai.BadRequestError):
        bob.responses.create(model="", input="x", previous_response_id=r.id)


def test_they_outlive_the_server(fake):
    server = fake({})
    client = client_of(server)
    r = client.responses.create(model="", input=TEXT)
    last = list(client.responses.create(model="", input="more", previous_response_id=r.id, stream=True))[-1].response
    os.kill(server.process.pid, signal.SIGKILL)  # the moment the end was told
    server.process.wait(10)
    client = client_of(fake({}))
    assert client.responses.retrieve(last.id).output_text == f"{TEXT} {TEXT} more"
    assert client.responses.create(model="", input="x", previous_response_id=last.id).output_text.endswith("more x")


def test_a_client_that_leaves_cancels(fake):
    server = fake({"repeat": "a b c d ", "token_s": 0.05})
    client = client_of(server)
    stream = client.responses.create(model="", input="x", stream=True)
    rid = next(iter(stream)).response.id
    for event in stream:
        if event.type == "response.output_text.delta":
            break
    stream.close()
    end = time.monotonic() + 10
    while True:
        try:
            r = client.responses.retrieve(rid)
            break
        except openai.NotFoundError:
            assert time.monotonic() < end
            time.sleep(0.05)
    assert r.status == "cancelled" and r.output[0].status == "incomplete" and r.output_text.startswith("a")


def test_a_worker_that_dies_in_the_middle(fake, tmp_path):
    server = fake({"token_s": 0.05})
    client = client_of(server)
    seen = []
    for event in client.responses.create(model="", input=TEXT, stream=True):
        seen.append(event)
        if event.type == "response.output_text.delta" and [e.type for e in seen].count(event.type) == 1:
            os.kill(server.workers()[0], signal.SIGKILL)
    assert [e.sequence_number for e in seen] == list(range(len(seen))) and seen[-1].response.output_text == TEXT


def test_retention(fake):
    server = fake({}, responses_keep=2)
    client = client_of(server)
    r = client.responses.create(model="", input="x")
    end = time.monotonic() + 15
    while time.monotonic() < end:
        try:
            client.responses.retrieve(r.id)
            time.sleep(0.2)
        except openai.NotFoundError:
            return
    raise AssertionError("it is still there")


# ---- in the background


def wait_over(client, rid, seconds=20):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        r = client.responses.retrieve(rid)
        if r.status not in ("queued", "in_progress"):
            return r
        time.sleep(0.05)
    raise AssertionError(f"{rid} is {r.status} after {seconds} s")


def test_background_polling(fake):
    client = client_of(fake({"token_s": 0.1}))
    r = client.responses.create(model="", input=TEXT, background=True)
    assert r.status == "queued" and r.background and r.output == []
    seen = []
    while not seen or seen[-1].status in ("queued", "in_progress"):
        seen.append(client.responses.retrieve(r.id))
        time.sleep(0.03)
    assert "in_progress" in [s.status for s in seen] and seen[-1].status == "completed"
    assert seen[-1].output_text == TEXT and seen[-1].created_at == r.created_at and seen[-1].usage.output_tokens == 5
    time.sleep(0.2)
    assert client.responses.retrieve(r.id).to_dict() == seen[-1].to_dict()
    assert client.responses.create(model="", input="b", previous_response_id=r.id).output_text == f"{TEXT} {TEXT} b"


def test_a_background_stream_is_resumed(fake):
    server = fake({"token_s": 0.1})
    client = client_of(server)
    first = []
    stream = client.responses.create(model="", input=TEXT, background=True, stream=True)
    for event in stream:
        first.append(event)
        if event.type == "response.output_text.delta":
            break
    stream.close()  # it goes on without us
    assert kinds(first) == ["created", "queued", "in_progress", "output_item.added", "content_part.added", "output_text.delta"]
    rid = first[0].response.id
    rest = list(client.responses.retrieve(rid, stream=True, starting_after=first[-1].sequence_number))
    events = first + rest
    assert [e.sequence_number for e in events] == list(range(len(events)))
    assert events[-1].type == "response.completed" and events[-1].response.output_text == TEXT
    assert "".join(e.delta for e in events if e.type == "response.output_text.delta") == TEXT
    again = list(client.responses.retrieve(rid, stream=True))  # it is over, and kept
    assert [e.to_dict() for e in again] == [e.to_dict() for e in events]
    assert list(client.responses.retrieve(rid, stream=True, starting_after=len(events) - 1)) == []
    with client.responses.stream(response_id=rid) as helper:
        assert helper.get_final_response().output_text == TEXT
    for bad in ("-1", "x", "99999999999999999999"):
        assert server.get(f"/v1/responses/{rid}?stream=true&starting_after={bad}")[0] == 400
    plain = client.responses.create(model="", input="x")
    with pytest.raises(openai.BadRequestError, match="background"):
        client.responses.retrieve(plain.id, stream=True)


def test_cancel(fake):
    server = fake({"repeat": "a b c d ", "token_s": 0.02, "n_seq_max": 1}, parallel=1)
    client = client_of(server)
    runs = client.responses.create(model="", input="x", background=True)
    waits = client.responses.create(model="", input="y", background=True)
    while not (r := client.responses.retrieve(runs.id)).output:
        time.sleep(0.02)
    assert r.status == "in_progress" and r.output[0].status == "in_progress"
    stream = client.responses.retrieve(runs.id, stream=True)
    with pytest.raises(openai.BadRequestError, match="is in_progress"):
        client.responses.create(model="", input="z", previous_response_id=runs.id)
    done = client.responses.cancel(runs.id)
    assert done.status == "cancelled" and done.output[0].status == "incomplete" and done.output_text.startswith("a")
    assert list(stream)[-1].type == "response.cancelled"
    assert client.responses.cancel(runs.id).to_dict() == done.to_dict()  # twice is once
    assert client.responses.retrieve(runs.id).to_dict() == done.to_dict()
    assert client.responses.cancel(waits.id).status == "cancelled"
    server.wait_metric("hearth_model_requests", 0)
    plain = client.responses.create(model="", input="x", max_output_tokens=2)
    with pytest.raises(openai.BadRequestError, match="synchronous"):
        client.responses.cancel(plain.id)
    over = client.responses.create(model="", input="x", max_output_tokens=2, background=True)
    wait_over(client, over.id)
    with pytest.raises(openai.BadRequestError, match="Cannot cancel a response that is incomplete"):
        client.responses.cancel(over.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.cancel("resp_none")
    gone = client.responses.create(model="", input="x", background=True)
    client.responses.delete(gone.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(gone.id)
    server.wait_metric("hearth_model_requests", 0)


def test_background_failures(fake):
    server = fake({"n_ctx": 20, "die": "poison"})
    client = client_of(server)
    r = wait_over(client, client.responses.create(model="", input=" ".join(["w"] * 30), background=True).id)
    assert r.status == "failed" and r.error.code == "invalid_prompt" and "20" in r.error.message
    r = client.responses.create(model="", input="poison and more", background=True, stream=True)
    events = list(r)
    assert events[-1].type == "response.failed" and events[-1].response.error.code == "server_error"
    assert "signal 9" in events[-1].response.error.message
    with pytest.raises(openai.NotFoundError):
        client.responses.create(model="none such", input="x", background=True)


def test_background_goes_on_after_kill(fake):
    server = fake({"token_s": 0.2, "n_seq_max": 1}, parallel=1)
    client = client_of(server)
    ids = [client.responses.create(model="", input=f"{TEXT} {i}", background=True).id for i in range(3)]
    while client.responses.retrieve(ids[0]).status != "in_progress":
        time.sleep(0.02)
    time.sleep(0.3)
    os.kill(server.process.pid, signal.SIGKILL)
    server.process.wait(10)
    server = fake({"token_s": 0.01})
    client = client_of(server)
    for i, rid in enumerate(ids):
        r = wait_over(client, rid)
        assert (r.status, r.output_text) == ("completed", f"{TEXT} {i}")
        events = list(client.responses.retrieve(rid, stream=True))
        assert [e.sequence_number for e in events] == list(range(len(events))) and events[0].type == "response.created"
    # An orderly end leaves them to the next server, too.
    rid = client.responses.create(model="", input="SILENT", background=True).id
    while client.responses.retrieve(rid).status != "in_progress":
        time.sleep(0.02)
    server.stop()
    client = client_of(fake({}))
    assert client.responses.retrieve(rid).status in ("queued", "in_progress")
    assert client.responses.cancel(rid).status == "cancelled"


def test_what_ends_servers_fails(fake):
    for n in range(4):
        server = fake({})
        client = client_of(server)
        if n == 0:
            rid = client.responses.create(model="", input="SILENT", background=True).id
        if n < 3:
            while client.responses.retrieve(rid).status != "in_progress":
                time.sleep(0.02)
            time.sleep(0.1)  # that it began is in the database
            os.kill(server.process.pid, signal.SIGKILL)
            server.process.wait(10)
    r = wait_over(client, rid)
    assert r.status == "failed" and "ended 3 times" in r.error.message


def run_batch(client, *bodies):
    lines = [{"custom_id": f"l{i}", "method": "POST", "url": "/v1/responses", "body": body} for i, body in enumerate(bodies)]
    data = "".join(json.dumps(one) + "\n" for one in lines).encode()
    file = client.files.create(file=("in.jsonl", data), purpose="batch")
    batch = client.batches.create(input_file_id=file.id, endpoint="/v1/responses", completion_window="24h")
    end = time.monotonic() + 20
    while batch.status not in ("completed", "failed") and time.monotonic() < end:
        time.sleep(0.05)
        batch = client.batches.retrieve(batch.id)
    return batch


def test_batches_take_responses(fake):
    client = client_of(fake({}))
    batch = run_batch(client, {"input": "number 0"}, {"input": script(["reasoning", "hm"], ["content", "so"])})
    assert batch.status == "completed" and batch.request_counts.completed == 2, batch
    bodies = [json.loads(one)["response"]["body"] for one in client.files.content(batch.output_file_id).text.splitlines()]
    assert [b["object"] for b in bodies] == ["response"] * 2 and bodies[0]["store"] is False
    assert bodies[0]["output"][0]["content"][0]["text"] == "number 0" and [o["type"] for o in bodies[1]["output"]] == ["reasoning", "message"]
    for needs in ({"previous_response_id": "resp_x"}, {"conversation": "conv_x"}, {"background": True}, {"store": True}, {"input": [{"type": "item_reference", "id": "msg_1"}]}):
        batch = run_batch(client, {"input": "x", **needs})
        assert batch.status == "failed" and batch.errors.data[0].param == next(iter(needs)), batch


def test_javascript(fake):
    seen = json.loads(javascript.run_client("responses.mjs", fake({"token_s": 0.02}).url, ""))
    assert (seen["whole"], seen["helper"], seen["kept"], seen["next"]) == (TEXT, TEXT, TEXT, f"{TEXT} {TEXT} six")
    assert seen["items"] == [TEXT, TEXT, "six"] and seen["numbers"] == list(range(len(seen["numbers"])))
    assert seen["types"][0] == "response.created" and seen["types"][-1] == "response.completed"
    assert seen["resumed"] == list(range(seen["last"] + 1, seen["last"] + 1 + len(seen["resumed"]))) and seen["resumed"]
    assert seen["gone"] == {"name": "NotFoundError", "status": 404}
