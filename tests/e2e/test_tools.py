"""Tool calls and thinking: the shapes of OpenAI's API, and a small real model that calls."""
import json

import openai
import pytest

CHAT = "/v1/chat/completions"
USER = [{"role": "user", "content": "ROGUE"}]
TOOLS = [{"type": "function", "function": {"name": "get_weather", "parameters": {
    "type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}},
    {"type": "function", "function": {"name": "get_time", "parameters": {"type": "object", "properties": {}}}}]


def delta(text="", channel=0, **more):
    return {"t": "delta", "index": 0, "channel": channel, "text": text, "tokens": [], **more}


CALLS = [
    {"t": "accepted", "n_prompt": 3, "prompt_hash": 1}, {"t": "started", "n_cached": 0, "queue_ms": 0.0},
    delta("Hm, ", 1), delta("weather.", 1),
    delta("", 2, name="get_weather", call=0), delta('{"city":"B\u00f6', 2), delta('nn \\"x\\""}', 2),
    delta("{}", 2, name="get_time", call=1),
    {"t": "end", "index": 0, "reason": "tool_calls", "stop": None, "n_completion": 9, "n_reasoning": 4},
    {"t": "done", "n_prompt": 3, "n_cached": 0, "n_completion": 9, "n_reasoning": 4, "queue_ms": 0.0,
     "prefill_ms": 1.0, "decode_ms": 2.0},
]


@pytest.fixture
def client(fake):
    server = fake({"say": CALLS})
    return openai.OpenAI(base_url=server.url + "/v1", api_key="none", max_retries=0)


def check(message):
    assert message.content is None
    assert message.reasoning_content == message.reasoning == "Hm, weather."
    first, second = message.tool_calls
    assert (first.type, first.function.name) == ("function", "get_weather")
    assert json.loads(first.function.arguments) == {"city": 'B\u00f6nn "x"'}
    assert (second.function.name, second.function.arguments) == ("get_time", "{}")
    assert first.id.startswith("call_") and first.id != second.id


def test_whole(client):
    answer = client.chat.completions.create(model=client.models.list().data[0].id, messages=USER, tools=TOOLS)
    check(answer.choices[0].message)
    assert answer.choices[0].finish_reason == "tool_calls"
    assert answer.usage.completion_tokens_details.reasoning_tokens == 4


def test_streamed_by_the_helper(client):
    with client.chat.completions.stream(model=client.models.list().data[0].id, messages=USER, tools=TOOLS) as stream:
        events = list(stream)
        final = stream.get_final_completion()
    message = final.choices[0].message
    assert [c.function.name for c in message.tool_calls] == ["get_weather", "get_time"]
    assert json.loads(message.tool_calls[0].function.arguments) == {"city": 'B\u00f6nn "x"'}
    assert final.choices[0].finish_reason == "tool_calls"
    done = [e for e in events if e.type == "tool_calls.function.arguments.done"]
    assert [e.name for e in done] == ["get_weather", "get_time"]


def test_streamed(client):
    chunks = [c.choices[0].delta for c in client.chat.completions.create(
        model=client.models.list().data[0].id, messages=USER, tools=TOOLS, stream=True) if c.choices]
    calls = [c for d in chunks for c in d.tool_calls or []]
    assert [c.index for c in calls] == [0, 0, 0, 1]
    assert [bool(c.id) for c in calls] == [True, False, False, True]
    assert "".join(c.function.arguments for c in calls if c.index == 0) == '{"city":"B\u00f6nn \\"x\\""}'
    assert "".join(getattr(d, "reasoning_content", None) or "" for d in chunks) == "Hm, weather."
    assert all(not d.content for d in chunks)


def test_deprecated_functions_have_their_own_shape(fake):
    frames = [f for f in CALLS if f.get("call") != 1]
    server = fake({"say": frames})
    body = {"messages": USER, "functions": [t["function"] for t in TOOLS]}
    _, _, answer = server.post(CHAT, body)
    choice = answer["choices"][0]
    assert choice["finish_reason"] == "function_call"
    assert choice["message"]["function_call"]["name"] == "get_weather"
    assert json.loads(choice["message"]["function_call"]["arguments"])["city"].startswith("B")


@pytest.mark.parametrize("stream", [False, True])
def test_custom_tools_get_their_text(fake, stream):
    frames = [*CALLS[:2], delta("", 2, name="run", call=0), delta('{"input":"print(', 2), delta('\\"a\\")"}', 2),
              delta('{"input":"b"}', 2, name="run", call=1), *CALLS[-2:]]
    server = fake({"say": frames})
    client = openai.OpenAI(base_url=server.url + "/v1", api_key="none", max_retries=0)
    tools = [{"type": "custom", "custom": {"name": "run"}}]
    if not stream:
        calls = client.chat.completions.create(model=client.models.list().data[0].id, messages=USER, tools=tools).choices[0].message.tool_calls
        assert [(c.type, c.custom.name, c.custom.input) for c in calls] == [
            ("custom", "run", 'print("a")'), ("custom", "run", "b")]
        return
    texts = ["", ""]
    for chunk in client.chat.completions.create(model=client.models.list().data[0].id, messages=USER, tools=tools, stream=True):
        for c in chunk.choices[0].delta.tool_calls or []:
            texts[c.index] += c.custom["input"]
    assert texts == ['print("a")', "b"]


# ---- a real model, whose template knows no tools

def real(server, **more):
    body = {"messages": [{"role": "user", "content": "What is the weather in Bonn?"}], "tools": TOOLS[:1],
            "max_tokens": 60, "temperature": 0, **more}
    status, _, answer = server.post(CHAT, body)
    assert status == 200, answer
    return answer["choices"][0]


def test_a_demanded_call_comes_from_the_smallest_model(server):
    for choice in ("required", {"type": "function", "function": {"name": "get_weather"}}):
        got = real(server, tool_choice=choice, parallel_tool_calls=False)
        call = got["message"]["tool_calls"][0]
        assert call["function"]["name"] == "get_weather"
        assert isinstance(json.loads(call["function"]["arguments"]), dict)
        assert len(got["message"]["tool_calls"]) == 1
        assert got["finish_reason"] in ("tool_calls", "length")


def test_none_means_none_and_results_come_back(server):
    assert "tool_calls" not in real(server, tool_choice="none")["message"]
    call = {"id": "c1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Bonn"}'}}
    got = real(server, tool_choice="none", messages=[
        {"role": "user", "content": "What is the weather in Bonn?"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "sunny, 20 degrees"}])
    assert got["message"]["content"]


def test_a_stream_of_a_call_is_the_whole(server):
    whole = real(server, tool_choice="required", seed=3)
    text = ""
    client = openai.OpenAI(base_url=server.url + "/v1", api_key="none", max_retries=0)
    for chunk in client.chat.completions.create(
            model=client.models.list().data[0].id, messages=[{"role": "user", "content": "What is the weather in Bonn?"}],
            tools=TOOLS[:1], max_tokens=60, temperature=0, seed=3, tool_choice="required", stream=True):
        for call in chunk.choices[0].delta.tool_calls or []:
            text += call.function.arguments if call.index == 0 else ""
    assert text == whole["message"]["tool_calls"][0]["function"]["arguments"]
