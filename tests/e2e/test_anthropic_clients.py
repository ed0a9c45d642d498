"""Anthropic's own clients for Python and JavaScript, unchanged."""
import json
import re

import anthropic
import javascript
import pytest

import serving

MESSAGES = [{"role": "user", "content": "one two three four five"}]
WEATHER = {"name": "weather", "description": "of a city",
           "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}
SCRIPT = "SCRIPT" + json.dumps([{"reasoning": "let me see"}, {"content": "I look it up:"},
                                {"call": "weather", "arguments": '{"city": "New York"}'},
                                {"call": "weather", "arguments": "{}"}])


@pytest.fixture(scope="module")
def server(hearth_bin, tmp_path_factory):
    folder = tmp_path_factory.mktemp("anthropic")
    for name in ("one", "two", "three"):
        serving.library_model(folder, name, n_ctx=512)
    one = serving.Server(hearth_bin, folder, serving.fake_model(folder, n_ctx=512, n_cached=3),
                         worker_exe=serving.fake_exe(folder))
    yield one
    one.close()


@pytest.fixture(scope="module")
def client(server):
    return anthropic.Anthropic(base_url=server.url, api_key="none", max_retries=0)


@pytest.fixture(scope="module")
def model(client):
    return client.models.list().data[0].id


def events_of(server, model, content, **more):
    """The stream's events in their order, as pairs of name and data."""
    body = {"model": model, "max_tokens": 99, "stream": True, "messages": [{"role": "user", "content": content}], **more}
    status, headers, raw = server.request("POST", "/v1/messages", body)
    assert status == 200 and headers["Content-Type"] == "text/event-stream"
    return [(name, json.loads(data)) for name, data in re.findall(r"event: (\S+)\ndata: (.*)\n\n", raw.decode())]


def test_whole(client, model):
    answer = client.messages.create(model=model, max_tokens=5, messages=MESSAGES)
    assert answer.id.startswith("msg_") and answer.type == "message" and answer.role == "assistant"
    assert [b.type for b in answer.content] == ["text"] and answer.content[0].text == "one two three four five"
    assert (answer.stop_reason, answer.stop_sequence, answer.model) == ("end_turn", None, model)
    usage = answer.usage
    assert (usage.input_tokens, usage.cache_read_input_tokens, usage.cache_creation_input_tokens) == (2, 3, 0)
    assert usage.output_tokens == 5 and answer._request_id.startswith("req_")


def test_streamed(client, model):
    with client.messages.stream(model=model, max_tokens=5, messages=MESSAGES) as stream:
        assert "".join(stream.text_stream) == "one two three four five"
        final = stream.get_final_message()
    assert (final.stop_reason, final.usage.output_tokens, final.usage.input_tokens) == ("end_turn", 5, 2)
    assert final.usage.cache_read_input_tokens == 3


def test_the_order_of_events(server, model):
    events = events_of(server, model, "hi " + SCRIPT, thinking={"type": "adaptive"}, tools=[WEATHER])
    names = [name for name, _ in events]
    assert all(name == data["type"] for name, data in events)
    assert names[0] == "message_start" and names[1] == "ping" and names[-2:] == ["message_delta", "message_stop"]
    start = events[0][1]["message"]
    assert start["content"] == [] and start["stop_reason"] is None and start["usage"]["cache_read_input_tokens"] == 3
    blocks, open_index = [], None
    for name, data in events[2:-2]:
        if name == "content_block_start":
            assert open_index is None and data["index"] == len(blocks)
            open_index = data["index"]
            blocks.append({**data["content_block"], "deltas": []})
        elif name == "content_block_delta":
            assert data["index"] == open_index
            blocks[open_index]["deltas"].append(data["delta"])
        else:
            assert name == "content_block_stop" and data["index"] == open_index
            open_index = None
    assert open_index is None
    assert [b["type"] for b in blocks] == ["thinking", "text", "tool_use", "tool_use"]
    assert "".join(d.get("thinking", "") for d in blocks[0]["deltas"]) == "let me see"
    assert blocks[0]["deltas"][-1]["type"] == "signature_delta" and blocks[0]["deltas"][-1]["signature"]
    assert "".join(d["text"] for d in blocks[1]["deltas"]) == "I look it up:"
    assert blocks[2]["input"] == {} and blocks[2]["id"].startswith("toolu_") and blocks[2]["id"] != blocks[3]["id"]
    assert json.loads("".join(d["partial_json"] for d in blocks[2]["deltas"])) == {"city": "New York"}
    assert events[-2][1]["delta"] == {"stop_reason": "tool_use", "stop_sequence": None}
    assert events[-2][1]["usage"]["output_tokens"] > 5
    assert events[-2][1]["usage"]["output_tokens_details"] == {"thinking_tokens": 3}


def test_thinking_that_is_left_out(server, client, model):
    content = "hi " + SCRIPT
    events = events_of(server, model, content, thinking={"type": "adaptive", "display": "omitted"})
    assert not [d for _, d in events if d.get("delta", {}).get("type") == "thinking_delta"]
    whole = client.messages.create(model=model, max_tokens=50, messages=[{"role": "user", "content": content}],
                                   thinking={"type": "enabled", "budget_tokens": 20, "display": "omitted"})
    assert whole.content[0].type == "thinking" and whole.content[0].thinking == "" and whole.content[0].signature


def test_tools_round_trip(client, model):
    ask = [{"role": "user", "content": "how is it? " + SCRIPT}]
    answer = client.messages.create(model=model, max_tokens=99, messages=ask, tools=[WEATHER],
                                    thinking={"type": "enabled", "budget_tokens": 50})
    assert answer.stop_reason == "tool_use"
    assert [b.type for b in answer.content] == ["thinking", "text", "tool_use", "tool_use"]
    assert answer.content[2].input == {"city": "New York"} and answer.content[3].input == {}
    results = [{"type": "tool_result", "tool_use_id": answer.content[2].id, "content": "sunny"},
               {"type": "tool_result", "tool_use_id": answer.content[3].id, "is_error": True,
                "content": [{"type": "text", "text": "no city"}]},
               {"type": "text", "text": "go on"}]
    words = "how is it? I look it up: sunny Error: no city go on"
    with client.messages.stream(model=model, max_tokens=len(words.split()), tools=[WEATHER], messages=[
            {"role": "user", "content": "how is it?"}, {"role": "assistant", "content": answer.content},
            {"role": "user", "content": results}]) as stream:
        final = stream.get_final_message()
    assert final.content[0].text == words
    with client.messages.stream(model=model, max_tokens=99, messages=ask, tools=[WEATHER],
                                tool_choice={"type": "any", "disable_parallel_tool_use": True}) as stream:
        assert stream.get_final_message().content[2].input == {"city": "New York"}


def test_arguments_cut_short(client, model):
    n = 3 + 4 + 1 + 1 # with the first word of the arguments
    answer = client.messages.create(model=model, max_tokens=n, tools=[WEATHER],
                                    messages=[{"role": "user", "content": SCRIPT}])
    assert answer.stop_reason == "max_tokens" and answer.content[-1].input == {"INVALID_JSON": '{"city":'}


def test_stop_reasons(client, model):
    def ask(**more):
        return client.messages.create(model=model, messages=MESSAGES, **{"max_tokens": 5, **more})

    cut = ask(max_tokens=2)
    assert (cut.stop_reason, cut.content[0].text) == ("max_tokens", "one two")
    stopped = ask(stop_sequences=["four", "zz"])
    assert (stopped.stop_reason, stopped.stop_sequence, stopped.content[0].text) == ("stop_sequence", "four", "one two three")


def test_system_and_blocks(client, model):
    answer = client.messages.create(
        model=model, max_tokens=4, metadata={"user_id": "me"}, service_tier="auto", extra_body={"temperature": 0.5, "top_k": 3, "top_p": 0.9},
        system=[{"type": "text", "text": "be brief", "cache_control": {"type": "ephemeral"}}, {"type": "text", "text": "or not"}],
        messages=[{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
                  {"role": "user", "content": "c"},
                  {"role": "user", "content": [{"type": "document", "title": "T", "source": {
                      "type": "text", "media_type": "text/plain", "data": "words"}}]}])
    assert answer.content[0].text == ("be brief\nor not a\nb\nc\n<document>\n<title>T</title>\nwords\n</document>\n")


def test_prefill(server, model):
    body = {"model": model, "max_tokens": 9, "messages": MESSAGES + [{"role": "assistant", "content": "The answer is ("}]}
    status, _, answer = server.post("/v1/messages", body)
    assert status == 200 and answer["content"][0]["text"].startswith("one two")


def test_count_tokens(client, model):
    assert client.messages.count_tokens(model=model, messages=MESSAGES).input_tokens == 5
    assert client.messages.count_tokens(model=model, messages=MESSAGES, system="six seven", tools=[WEATHER]).input_tokens == 7


def test_models(client, model):
    names = [m.id for m in client.models.list()]
    assert len(names) == 4 and names == [m.id for m in client.models.list(limit=1)]
    page = client.models.list(limit=2)
    assert page.has_more and (page.first_id, page.last_id) == (names[0], names[1])
    before = client.models.list(limit=2, before_id=names[3])
    assert [m.id for m in before.data] == names[1:3] and before.has_more
    one = client.models.retrieve(model)
    assert (one.id, one.type, one.display_name, one.max_input_tokens) == (model, "model", model, 512)
    with pytest.raises(anthropic.NotFoundError) as e:
        client.models.retrieve("missing")
    assert e.value.body["error"]["type"] == "not_found_error"


def test_errors(server, client, model):
    def refused(**body):
        status, headers, answer = server.post("/v1/messages", {"model": model, "max_tokens": 5, "messages": MESSAGES, **body})
        assert status == 400 and answer["type"] == "error" and answer["error"]["type"] == "invalid_request_error"
        assert answer["request_id"] == headers["request-id"] == headers["x-request-id"]
        return answer["error"]["message"]

    image = {"type": "image", "source": {"type": "url", "url": "http://x/y.png"}}
    assert "messages[0].content[1]" in refused(messages=[{"role": "user", "content": [{"type": "text", "text": "x"}, image]}])
    result = {"type": "tool_result", "tool_use_id": "t", "content": [image]}
    assert "messages[0].content[0].content[0]" in refused(messages=[{"role": "user", "content": [result]}])
    assert "tools[0].type" in refused(tools=[{"type": "web_search_20250305", "name": "web_search"}])
    assert "input_schema" in refused(tools=[{"name": "x"}])
    assert "tool_choice" in refused(tool_choice={"type": "any"})
    assert "nope" in refused(tools=[WEATHER], tool_choice={"type": "tool", "name": "nope"})
    assert "thinking.budget_tokens" in refused(thinking={"type": "enabled"})
    assert "max_tokens" in refused(max_tokens=None)
    assert "unknown parameter 'max_token'; did you mean 'max_tokens'?" in refused(max_token=4)
    assert "messages[0].content" in refused(messages=[{"role": "user"}])
    assert "messages[0].role" in refused(messages=[{"role": "tool", "content": "x"}])
    assert "context" in refused(messages=[{"role": "user", "content": "w " * 600}])
    with pytest.raises(anthropic.NotFoundError):
        client.messages.create(model="missing", max_tokens=5, messages=MESSAGES)


def test_keys(fake):
    server = fake(api_key="secret")
    body = {"max_tokens": 5, "messages": MESSAGES}
    for headers, status in (({"Authorization": ""}, 401), ({"Authorization": "Bearer secret"}, 200),
                            ({"Authorization": "Bearer other", "x-api-key": "secret"}, 401)):
        assert server.request("POST", "/v1/messages", body, headers=headers)[0] == status
    good = anthropic.Anthropic(base_url=server.url, api_key="secret", max_retries=0)
    assert good.messages.create(model=good.models.list().data[0].id, **body).content[0].text
    with pytest.raises(anthropic.AuthenticationError) as e:
        anthropic.Anthropic(base_url=server.url, api_key="wrong", max_retries=0).models.list()
    assert e.value.body["error"]["type"] == "authentication_error"


def test_overloaded(fake):
    server = fake({"prefill_s": 5, "n_seq_max": 1}, queue=1)
    body = {"max_tokens": 5, "stream": True, "messages": MESSAGES}
    open_ones = [server.stream(body, "/v1/messages") for _ in range(2)]
    server.wait_metric("hearth_model_requests", 2)
    status, headers, answer = server.post("/v1/messages", {**body, "stream": False})
    assert (status, answer["error"]["type"]) == (529, "overloaded_error") and headers["Retry-After"]
    for one in open_ones:
        one.close()


def test_a_worker_that_fails_in_mid_stream(fake):
    server = fake({"say": [{"t": "accepted", "n_prompt": 1}, {"t": "started", "n_cached": 0, "queue_ms": 0},
                           {"t": "delta", "index": 0, "text": "a", "tokens": [1]},
                           {"t": "error", "code": "internal", "message": "it broke", "param": ""}]})
    raw = server.request("POST", "/v1/messages", {"max_tokens": 5, "stream": True,
                                                  "messages": [{"role": "user", "content": "ROGUE"}]})[2].decode()
    last = raw.strip().split("\n\n")[-1]
    assert last.startswith("event: error\n") and json.loads(last.split("data: ")[1])["error"]["type"] == "api_error"


def test_javascript(server, model):
    seen = json.loads(javascript.run_client("anthropic.mjs", server.url, model, SCRIPT))
    assert seen["whole"] == seen["streamed"] == "one two three four five" and seen["stop"] == "end_turn"
    assert seen["tools"] == ["thinking", "text", "tool_use", "tool_use"] and seen["input"] == {"city": "New York"}
    assert seen["count"] == 5 and len(seen["models"]) == 4 and seen["request_id"].startswith("req_")
    assert seen["error"] == {"name": "BadRequestError", "status": 400, "type": "invalid_request_error"}


def test_a_real_model(hearth_bin, tmp_path, smollm2_path):
    one = serving.Server(hearth_bin, tmp_path, smollm2_path, ctx=1024)
    try:
        client = anthropic.Anthropic(base_url=one.url, api_key="none", max_retries=0)
        model = client.models.list().data[0].id
        ask = {"model": model, "extra_body": {"temperature": 0}, "messages": [
            {"role": "user", "content": "What is the capital of France?"}, {"role": "assistant", "content": "The capital of"}]}
        text = client.messages.create(max_tokens=6, **ask).content[0].text
        assert "France" in text and "Paris" in text # it goes on in the middle of its sentence
        chat = {"temperature": 0, "max_tokens": 6, "messages": ask["messages"]}
        status, _, answer = one.post("/v1/chat/completions", {**chat, "continue_final_message": True,
                                                              "add_generation_prompt": False})
        assert status == 200 and answer["choices"][0]["message"]["content"] == text
        for bad in ({"add_generation_prompt": True}, {"messages": ask["messages"][:1]}):
            assert one.post("/v1/chat/completions", {**chat, "continue_final_message": True, **bad})[0] == 400
        count = client.messages.count_tokens(model=model, messages=ask["messages"]).input_tokens
        usage = client.messages.create(max_tokens=1, **ask).usage
        assert usage.input_tokens + usage.cache_read_input_tokens == count
    finally:
        one.close()
