"""Each parameter works or is refused by its name; nothing is dropped silently."""
import json

import pytest

LONG = " ".join(["w"] * 600)
CHAT, TEXT = "/v1/chat/completions", "/v1/completions"
USER = [{"role": "user", "content": "one two three four five"}]

# (field, value): out of range, of the wrong type, or not served, on both endpoints
BAD_BOTH = [
    ("temperature", -0.1), ("temperature", 2.1), ("temperature", "1"), ("temperature", True),
    ("top_p", -1), ("top_p", 1.5), ("top_p", []), ("top_k", 1.5), ("top_k", -2), ("top_k", "40"),
    ("min_p", -0.1), ("min_p", 1.1), ("typical_p", 0), ("typical_p", 1.01),
    ("repeat_penalty", 0), ("repeat_penalty", -1), ("repeat_last_n", -2), ("repeat_last_n", 2**40),
    ("presence_penalty", 2.5), ("frequency_penalty", -3), ("seed", 1.5), ("seed", "7"),
    ("stop", ""), ("stop", ["a", 3]), ("stop", ["x"] * 17), ("stop", {"a": 1}), ("stop", ["a\0b"]),
    ("stop", "x" * 5000), ("logit_bias", {"": 1}), ("logit_bias", {"1": 101}),
    ("logit_bias", {"-1": 1}), ("logit_bias", {"1": "x"}), ("logit_bias", [1]), ("logit_bias", {"1": True}),
    ("logit_bias", [[1, 2, 3]]), ("logit_bias", [[-1, 2]]), ("logit_bias", [[1, "x"]]), ("logit_bias", "x"),
    ("logit_bias", [["", 1]]), ("logit_bias", [[2**40, 1]]),
    ("top_n_sigma", -2), ("top_n_sigma", "1"), ("min_keep", -1), ("xtc_probability", 1.1), ("xtc_threshold", -0.1),
    ("dynatemp_range", -1), ("dynatemp_exponent", 0), ("repetition_penalty", 0), ("penalty_last_n", -3),
    ("dry_multiplier", -1), ("dry_base", 0.5), ("dry_allowed_length", 0), ("dry_penalty_last_n", -2),
    ("dry_sequence_breakers", [1]), ("dry_sequence_breakers", [""]), ("dry_sequence_breakers", ["x"] * 33),
    ("mirostat", 3), ("mirostat", True), ("mirostat_tau", -1), ("mirostat_eta", 2), ("samplers", ["top_q"]),
    ("samplers", ["top_k", "top_k"]), ("samplers", "kq"), ("samplers", 3), ("samplers", [1]),
    ("banned_strings", [""]), ("banned_strings", "x" * 300), ("banned_strings", [1]), ("banned_strings", ["x"] * 129),
    ("bad_words", {}), ("min_tokens", -1), ("min_tokens", 1.5), ("beam_width", 0), ("beam_width", 11),
    ("use_beam_search", 1), ("length_penalty", "x"), ("post_sampling_probs", 1),
    ("logit_bias", {"99999999999": 1}), ("n", 0), ("n", 65), ("n", "2"), ("n", 1.5),
    ("stream", "yes"), ("stream", 1), ("model", 7), ("user", 7), ("ignore_eos", 1),
    ("max_tokens", -1), ("max_tokens", 2**33), ("max_tokens", "9"), ("max_tokens", 1.5),
    ("stream_options", {"include_usage": True}), ("stream_options", 3),
    ("temprature", 1), ("n_predict", 4), ("\u00fcnknown", None),
]
BAD_CHAT = [
    ("max_tokens", 0), ("max_completion_tokens", 0), ("max_completion_tokens", "1"),
    ("logprobs", 3), ("top_logprobs", 21), ("top_logprobs", -1), ("top_logprobs", 2),
    ("tools", {}), ("tools", [1]), ("tools", [{"type": "function"}]), ("tools", [{"type": "web_search"}]),
    ("tools", [{"type": "function", "function": {"name": "a b"}}]),
    ("tools", [{"type": "function", "function": {"name": "f", "parameters": []}}]),
    ("tools", [{"type": "function", "function": {"name": "f", "parameters": {"type": "array"}}}]),
    ("tools", [{"type": "function", "function": {"name": "f", "colour": 1}}]),
    ("tools", [{"type": "function", "function": {"name": "f"}}] * 2),
    ("tools", [{"type": "custom", "custom": {"name": "f", "format": {
        "type": "grammar", "grammar": {"syntax": "lark", "definition": "a"}}}}]),
    ("tool_choice", "required"), ("tool_choice", "sometimes"), ("tool_choice", {"type": "function"}),
    ("tool_choice", {"type": "function", "function": {"name": "g"}}),
    ("tool_choice", {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": []}}),
    ("functions", {}), ("function_call", {"name": "f"}), ("function_call", 1),
    ("response_format", "text"), ("response_format", {"type": "xml"}), ("response_format", {"type": "json_schema"}),
    ("response_format", {"type": "json_schema", "json_schema": {"name": "a", "schema": []}}),
    ("response_format", {"type": "text", "colour": 1}), ("grammar", 1), ("guided_choice", []), ("guided_choice", [1]),
    ("guided_regex", {}), ("json_schema", "x"), ("structured_outputs", {"yaml": 1}),
    ("reasoning_effort", "huge"), ("reasoning", "high"), ("reasoning", {"exclude": True}),
    ("thinking", True), ("thinking", {"type": "maybe"}), ("think", 3), ("enable_thinking", 1), ("thinking_budget", -2),
    ("reasoning_format", "xml"),
    ("modalities", ["text", "audio"]), ("audio", {"voice": "a"}), ("store", True),
    ("service_tier", "flex"), ("web_search_options", {}),
    ("verbosity", "low"), ("metadata", "x"), ("chat_template_kwargs", {"messages": []}),
    ("chat_template_kwargs", 1), ("prompt", "x"), ("parallel_tool_calls", "no"),
]
BAD_TEXT = [
    ("logprobs", True), ("logprobs", 21), ("logprobs", -1), ("echo", "yes"), ("best_of", 2),
    ("suffix", 5), ("prompt", 3), ("prompt", []), ("prompt", [[]]), ("prompt", ["a", 1]),
    ("prompt", [1, "a"]), ("prompt", [[1], "a"]), ("prompt", [-1]), ("prompt", [1.5]),
    ("prompt", [[2**31]]), ("prompt", [None]), ("prompt", {"a": 1}), ("prompt", ["x"] * 300),
    ("max_tokens", 0), ("messages", USER), ("tools", []), ("max_completion_tokens", 3),
]
CASES = ([(CHAT, f, v) for f, v in BAD_BOTH + BAD_CHAT] + [(TEXT, f, v) for f, v in BAD_BOTH + BAD_TEXT])


@pytest.mark.parametrize("path,field,value", CASES, ids=lambda v: str(v)[:24])
def test_refused_by_name(fake_server, path, field, value):
    base = {"messages": USER} if path == CHAT else {"prompt": "one two three"}
    status, headers, answer = fake_server.post(path, {**base, field: value})
    assert status == 400, answer
    error = answer["error"]
    assert error["type"] == "invalid_request_error"
    assert error["param"].split(".")[0].split("[")[0] == field
    assert error["message"] and headers["x-request-id"].startswith("req_")


GOOD_BOTH = {
    "temperature": 0.5, "top_p": 0, "top_k": -1, "min_p": 0.1, "typical_p": 0.9, "repeat_penalty": 1.1,
    "repeat_last_n": -1, "presence_penalty": 1, "frequency_penalty": -0.5, "seed": -3, "stop": ["zz", "yy"],
    "logit_bias": {"5": -100, "6": 3.5}, "n": 1, "max_tokens": 3.0, "user": "me", "stream": False,
    "stream_options": None, "top_n_sigma": -1, "min_keep": 2, "xtc_probability": 0.5, "xtc_threshold": 0.2,
    "dynatemp_range": 0.2, "dynatemp_exponent": 2, "repetition_penalty": 1.1, "penalty_last_n": 64,
    "dry_multiplier": 0.8, "dry_base": 1.75, "dry_allowed_length": 2, "dry_penalty_last_n": -1,
    "dry_sequence_breakers": ["\n", "\u00e9"], "mirostat": 0, "mirostat_tau": 5, "mirostat_eta": 0.1,
    "samplers": ["top_k", "typ_p", "temperature"], "banned_strings": ["foo"], "ignore_eos": False, "min_tokens": 2,
    "use_beam_search": False, "length_penalty": 1, "post_sampling_probs": False,
}


@pytest.mark.parametrize("path,more", [
    (CHAT, {"messages": USER, "logprobs": True, "top_logprobs": 2, "tools": [], "tool_choice": "auto",
            "response_format": {"type": "text"}, "store": False, "service_tier": "auto", "metadata": {"a": "b"},
            "parallel_tool_calls": True, "modalities": ["text"], "max_completion_tokens": 3,
            "chat_template_kwargs": {"enable_thinking": False}, "prediction": {"type": "content", "content": "x"},
            "functions": [], "function_call": "auto", "reasoning_effort": "high", "thinking": {"type": "enabled"},
            "reasoning": {"effort": "low", "max_tokens": 100}, "think": True, "enable_thinking": True,
            "thinking_budget": 50, "thinking_token_budget": -1, "reasoning_budget": 7, "reasoning_format": "auto",
            "guided_json": {"type": "object"}}),
    (CHAT, {"messages": USER, "tools": [
        {"type": "function", "function": {"name": "f", "description": "d", "strict": True, "parameters": None}},
        {"type": "function", "function": {"name": "g.h", "parameters": {"type": "object", "properties": {"a": {}}}}},
        {"type": "custom", "custom": {"name": "c", "description": "d", "format": {"type": "text"}}},
        {"type": "custom", "custom": {"name": "r", "format": {
            "type": "grammar", "grammar": {"syntax": "regex", "definition": "a+"}}}}],
        "tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [
            {"type": "function", "function": {"name": "g.h"}}, {"type": "custom", "custom": {"name": "c"}}]}},
        "response_format": {"type": "json_schema", "json_schema": {"name": "a", "strict": True, "schema": {"type": "object"}}}}),
    (TEXT, {"prompt": "one two three four five", "logprobs": 2, "echo": False, "best_of": 1, "suffix": None}),
])
def test_all_of_them_at_once(fake_server, path, more):
    status, _, answer = fake_server.post(path, {**GOOD_BOTH, **more})
    assert status == 200, answer
    assert answer["choices"][0]["finish_reason"] == "length"
    assert answer["usage"]["completion_tokens"] == 3


def test_a_typing_slip_is_answered_with_the_right_name(fake_server):
    _, _, answer = fake_server.chat(temprature=1)
    assert "did you mean 'temperature'" in answer["error"]["message"]


def test_max_tokens_and_its_new_name_may_not_disagree(fake_server):
    assert fake_server.chat(max_tokens=3, max_completion_tokens=4)[0] == 400
    assert fake_server.chat(max_tokens=3, max_completion_tokens=3)[0] == 200


# ---- messages

BAD_MESSAGES = [
    ("messages", None), ("messages", []), ("messages", "hi"), ("messages[0]", ["hi"]),
    ("messages[0].role", [{"content": "x"}]), ("messages[0].role", [{"role": "robot", "content": "x"}]),
    ("messages[0].role", [{"role": 3, "content": "x"}]),
    ("messages[0].content", [{"role": "user"}]), ("messages[0].content", [{"role": "user", "content": None}]),
    ("messages[0].content", [{"role": "user", "content": 3}]), ("messages[0].content", [{"role": "user", "content": []}]),
    ("messages[0].content[0]", [{"role": "user", "content": ["x"]}]),
    ("messages[0].content[1].type", [{"role": "user", "content": [
        {"type": "text", "text": "x"}, {"type": "image_url", "image_url": {"url": "data:"}}]}]),
    ("messages[0].content[0].type", [{"role": "user", "content": [{"text": "x"}]}]),
    ("messages[0].content[0].text", [{"role": "user", "content": [{"type": "text"}]}]),
    ("messages[0].content[0].colour", [{"role": "user", "content": [{"type": "text", "text": "x", "colour": 1}]}]),
    ("messages[0].mood", [{"role": "user", "content": "x", "mood": "good"}]),
    ("messages[0].audio", [{"role": "assistant", "content": "x", "audio": {"id": "1"}}]),
    ("messages[0].tool_calls", [{"role": "user", "content": "x", "tool_calls": [
        {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]}]),
    ("messages[0].tool_calls[0].function", [{"role": "assistant", "tool_calls": [{"id": "1", "function": {"name": "f"}}]}]),
    ("messages[1].content", [{"role": "user", "content": "x"}, {"role": "assistant"}]),
]


@pytest.mark.parametrize("param,messages", BAD_MESSAGES)
def test_a_bad_message_is_refused_by_its_place(fake_server, param, messages):
    body = {} if messages is None else {"messages": messages}
    status, _, answer = fake_server.post(CHAT, body)
    assert status == 400, answer
    assert answer["error"]["param"] == param


def test_every_form_of_message_is_taken(fake_server):
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{\"a\": 1}"}}
    status, _, answer = fake_server.post(CHAT, {"messages": [
        {"role": "developer", "content": "alpha"},
        {"role": "user", "name": "ann", "content": [{"type": "text", "text": "beta"}, {"type": "text", "text": "gamma"}]},
        {"role": "assistant", "content": None, "tool_calls": [call], "refusal": None, "audio": None},
        {"role": "tool", "tool_call_id": "c1", "content": "delta"},
        {"role": "assistant", "content": "epsilon", "reasoning_content": "thinking", "annotations": []},
        {"role": "assistant", "refusal": "zeta", "function_call": None},
        {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}},
        {"role": "function", "name": "f", "content": "eta"},
        {"role": "assistant", "content": None, "reasoning_content": "thoughts alone"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": None},
        {"role": "assistant", "tool_calls": [{"id": "c2", "type": "custom", "custom": {"name": "c", "input": "x"}}]},
        {"role": "user", "content": "\u00e9\u4e16\U0001f600 \0 end"},
    ]})
    assert status == 200, answer
    text = answer["choices"][0]["message"]["content"]
    for word in ("alpha", "beta\ngamma", "delta", "epsilon", "zeta", "eta", "\u00e9\u4e16\U0001f600 \0 end"):
        assert word in text


# ---- prompts

@pytest.mark.parametrize("prompt,n", [("a b", 1), (["a", "b c"], 2), ([1, 2], 1), ([[1], [2, 3]], 2)])
def test_prompt_forms(fake_server, prompt, n):
    status, _, answer = fake_server.post(TEXT, {"prompt": prompt, "n": 2})
    assert status == 200, answer
    assert [c["index"] for c in answer["choices"]] == list(range(2 * n))


def test_echo_scores_a_prompt(fake_server):
    """What evaluation harnesses do: no new tokens, the prompt's log probabilities."""
    status, _, answer = fake_server.post(TEXT, {"prompt": "one two three", "max_tokens": 0, "echo": True, "logprobs": 1})
    assert status == 200, answer
    logprobs = answer["choices"][0]["logprobs"]
    assert answer["choices"][0]["text"] == "one two three"
    assert logprobs["tokens"] == ["one", " two", " three"]
    assert logprobs["token_logprobs"][0] is None and logprobs["token_logprobs"][1] == -0.5
    assert logprobs["top_logprobs"][0] is None and logprobs["text_offset"] == [0, 3, 7]


def test_the_default_of_completions_is_16_tokens(fake_server):
    _, _, answer = fake_server.post(TEXT, {"prompt": " ".join(str(i) for i in range(40))})
    assert answer["usage"]["completion_tokens"] == 16


def test_a_prompt_too_long_gives_both_counts(fake_server):
    status, _, answer = fake_server.post(TEXT, {"prompt": LONG})
    error = answer["error"]
    assert (status, error["code"], error["param"]) == (400, "context_length_exceeded", "prompt")
    assert error["n_prompt_tokens"] == 600 and error["n_ctx"] == 512
    assert "600" in error["message"] and "512" in error["message"]
    status, _, answer = fake_server.chat(LONG, stream=True)
    assert (status, answer["error"]["param"]) == (400, "messages")


# ---- bodies that are no requests

@pytest.mark.parametrize("body", [
    b"", b"{", b"nul", b"[]", b"3", b"\"x\"", b"{\"a\":1}x", b"\xff\xfe", b"{\"messages\":\"\xc3\x28\"}",
    b"{\"messages\":[],\"messages\":[]}", b"[" * 100000, b"{\"a\":" * 5000 + b"1" + b"}" * 5000,
    b"{\"temperature\":1e999}", b"{\"max_tokens\":99999999999999999999999}", b"{\"\\u0000\":1}", b"{'a':1}",
])
def test_malformed_bodies(fake_server, body):
    status, _, data = fake_server.request("POST", CHAT, body)
    assert status == 400, data
    assert json.loads(data)["error"]["type"] == "invalid_request_error"
    assert fake_server.chat()[0] == 200
