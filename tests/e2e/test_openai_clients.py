"""OpenAI's own clients for Python and JavaScript, unchanged."""
import json

import javascript
import openai
import pytest

MESSAGES = [{"role": "user", "content": "one two three four five"}]


@pytest.fixture(scope="module")
def client(fake_server):
    return openai.OpenAI(base_url=fake_server.url + "/v1", api_key="none", max_retries=0)


@pytest.fixture(scope="module")
def model(client):
    return client.models.list().data[0].id


def test_whole(client, model):
    answer = client.chat.completions.create(model=model, messages=MESSAGES, seed=1, temperature=0)
    assert answer.choices[0].message.content == "one two three four five"
    assert answer.choices[0].finish_reason == "stop" and answer.choices[0].logprobs is None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens) == (5, 5, 10)
    assert answer.usage.prompt_tokens_details.cached_tokens == 0
    assert answer.id.startswith("chatcmpl-") and answer._request_id.startswith("req_")
    assert answer.system_fingerprint == "fp_fake" and answer.model == model


def test_streamed(client, model):
    chunks = list(client.chat.completions.create(model=model, messages=MESSAGES, stream=True,
                                                 stream_options={"include_usage": True}))
    assert chunks[0].choices[0].delta.role == "assistant"
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == "one two three four five"
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "stop"
    assert chunks[-1].choices == [] and chunks[-1].usage.completion_tokens == 5
    assert all(c.usage is None for c in chunks[:-1])
    assert len({c.id for c in chunks}) == 1


def test_streamed_without_usage(client, model):
    chunks = list(client.chat.completions.create(model=model, messages=MESSAGES, stream=True))
    assert all(c.choices and c.usage is None for c in chunks)


def test_the_stream_helper(client, model):
    with client.chat.completions.stream(model=model, messages=MESSAGES, logprobs=True, top_logprobs=3) as stream:
        final = stream.get_final_completion()
    assert final.choices[0].message.content == "one two three four five"
    assert len(final.choices[0].logprobs.content) == 5


def test_several_choices(client, model):
    answer = client.chat.completions.create(model=model, messages=MESSAGES, n=3, max_completion_tokens=2)
    assert [c.index for c in answer.choices] == [0, 1, 2]
    assert all(c.message.content == "one two" and c.finish_reason == "length" for c in answer.choices)
    parts = {0: "", 1: "", 2: ""}
    for chunk in client.chat.completions.create(model=model, messages=MESSAGES, n=3, stream=True):
        parts[chunk.choices[0].index] += chunk.choices[0].delta.content or ""
    assert set(parts.values()) == {"one two three four five"}


def test_log_probabilities(client, model):
    answer = client.chat.completions.create(model=model, messages=MESSAGES, logprobs=True, top_logprobs=3)
    first = answer.choices[0].logprobs.content[0]
    assert (first.token, first.logprob, first.bytes) == ("one", -0.5, list(b"one"))
    assert [t.logprob for t in first.top_logprobs] == [-0.25, -1.5, -9999]
    assert first.top_logprobs[1].bytes == [0xE2, 0x82] and first.top_logprobs[1].token == "\ufffd" * 2
    bare = client.chat.completions.create(model=model, messages=MESSAGES, logprobs=True)
    assert bare.choices[0].logprobs.content[0].top_logprobs == []


def test_moderations_are_not_supported(client):
    with pytest.raises(openai.BadRequestError, match="moderations are not supported"):
        client.moderations.create(input="x")


def test_stop(client, model):
    answer = client.chat.completions.create(model=model, messages=MESSAGES, stop=["four", "zz"])
    assert (answer.choices[0].message.content, answer.choices[0].finish_reason) == ("one two three", "stop")


def test_completions(client, model):
    answer = client.completions.create(model=model, prompt=["a b", "c d"], echo=True, logprobs=2)
    assert [c.index for c in answer.choices] == [0, 1]
    logprobs = answer.choices[0].logprobs
    assert logprobs.tokens[:2] == ["a", " b"] and logprobs.token_logprobs[0] is None
    assert logprobs.top_logprobs[1]["bytes:\\xe2\\x82"] == -1.5 and " b" in logprobs.top_logprobs[1]
    text = "".join(c.choices[0].text for c in client.completions.create(model=model, prompt="x y z", stream=True, max_tokens=3))
    assert text == "x y z"


def test_errors(client, model):
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model=model, messages=MESSAGES, temperature=9)
    assert (caught.value.param, caught.value.code, caught.value.type) == ("temperature", "invalid_value", "invalid_request_error")
    assert caught.value.request_id.startswith("req_")
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model=model, messages=[{"role": "user", "content": " ".join(["w"] * 1000)}])
    assert caught.value.code == "context_length_exceeded"
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(model="missing", messages=MESSAGES)
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model=model, messages=MESSAGES, extra_body={"mirostat": 3})
    assert caught.value.param == "mirostat"


def test_extra_body(client, model):
    answer = client.chat.completions.create(model=model, messages=MESSAGES, extra_body={
        "top_k": 20, "min_p": 0.05, "typical_p": 0.9, "repeat_penalty": 1.1, "repeat_last_n": 32})
    assert answer.choices[0].message.content


def test_an_error_in_a_running_stream(fake):
    server = fake({"die": "poison"})
    client = openai.OpenAI(base_url=server.url + "/v1", api_key="none", max_retries=0)
    with pytest.raises(openai.APIError) as caught:
        list(client.chat.completions.create(model="", messages=[{"role": "user", "content": "poison and more"}], stream=True))
    assert "signal 9" in caught.value.message


def test_retries_of_the_client_ride_out_a_full_queue(fake):
    server = fake({"n_seq_max": 1}, queue=1)
    held = [server.stream({"messages": [{"role": "user", "content": "SILENT"}], "stream": True}) for _ in range(2)]
    server.wait_metric("hearth_model_requests", 2)
    client = openai.OpenAI(base_url=server.url + "/v1", api_key="none", max_retries=5)
    import threading
    threading.Timer(1.0, lambda: [s.close() for s in held]).start()
    assert client.chat.completions.create(model="", messages=MESSAGES).choices[0].message.content


def test_javascript(fake_server, model):
    seen = json.loads(javascript.run_client("client.mjs", fake_server.url, model))
    text = "one two three four five"
    assert (seen["whole"], seen["streamed"], seen["runner"], seen["finish"]) == (text, text, text, "stop")
    assert seen["usage"]["total_tokens"] == 10 and seen["stream_usage"]["completion_tokens"] == 5
    assert seen["logprobs"] == 5 and seen["n"] == ["one two"] * 3 and seen["request_id"].startswith("req_")
    assert seen["texts"][0].startswith("a b") and seen["model"] == model and model in seen["models"]
    assert seen["error"] == {"name": "BadRequestError", "status": 400, "param": "temperature",
                             "code": "invalid_value", "type": "invalid_request_error"}
    assert seen["missing"] == {"name": "NotFoundError", "status": 404, "code": "model_not_found"}
