"""llama-server's own routes: the native completion, and questions about texts, tokens and the model."""
import json

import pytest

import serving


def ask(server, path, **body):
    status, _, answer = server.post(path, body)
    return status, answer


def stream(server, path, **body):
    raw = server.request("POST", path, {**body, "stream": True})[2].decode()
    return [json.loads(line[6:]) for line in raw.split("\n") if line.startswith("data: ")]


def test_tokenize_and_back(server):
    text = "Hello <|im_end|> caf\u00e9 \U0001f600"
    ids = ask(server, "/tokenize", content=text)[1]["tokens"]
    plain = ask(server, "/tokenize", content=text, parse_special=False)[1]["tokens"]
    assert len(plain) > len(ids) # the control token is spelled out
    assert ask(server, "/detokenize", tokens=ids) == (200, {"content": text})
    assert ask(server, "/detokenize", tokens=plain) == (200, {"content": text})
    pieces = ask(server, "/tokenize", content=text, with_pieces=True)[1]["tokens"]
    assert [p["id"] for p in pieces] == ids
    joined = b"".join(p["piece"].encode() if isinstance(p["piece"], str) else bytes(p["piece"]) for p in pieces)
    assert joined.decode() == text and any(isinstance(p["piece"], list) for p in pieces)
    assert ask(server, "/tokenize", content="")[1] == {"tokens": []}
    assert ask(server, "/detokenize", tokens=[])[1] == {"content": ""}


@pytest.mark.parametrize("path, body, param", [
    ("/tokenize", {}, "content"), ("/tokenize", {"content": 5}, "content"), ("/tokenize", {"content": "x", "foo": 1}, "foo"),
    ("/tokenize", {"content": "x", "add_special": 1}, "add_special"), ("/detokenize", {}, "tokens"),
    ("/detokenize", {"tokens": ["x"]}, "tokens"), ("/detokenize", {"tokens": [-1]}, "tokens"),
    ("/detokenize", {"tokens": [10**8]}, "tokens"), ("/apply-template", {}, "messages"),
    ("/completion", {}, "prompt"), ("/completion", {"prompt": []}, "prompt"), ("/completion", {"prompt": ["a", "b"]}, "prompt"),
    ("/completion", {"prompt": [1, "b"]}, "prompt"), ("/completion", {"prompt": "x", "n_predict": "1"}, "n_predict"),
    ("/completion", {"prompt": "x", "lora": [{"id": 0}]}, "lora"), ("/completion", {"prompt": "x", "n_probs": 99}, "n_probs"),
    ("/completion", {"prompt": {"prompt_string": "x", "multimodal_data": ["a"]}}, "prompt"),
])
def test_what_is_refused(server, path, body, param):
    status, answer = ask(server, path, **body)
    assert status == 400 and answer["error"]["param"] == param, answer


@pytest.mark.parametrize("path", ["/completion", "/v1/completions"])
def test_a_grammar_that_is_too_large(server, path):
    """It is the request's fault, not the server's memory; what only has a long comment is read."""
    body = {"prompt": "x", "max_tokens": 2}
    status, answer = ask(server, path, **body, grammar='root ::= "a"\n# ' + "x" * (2 << 20))
    assert (status, answer["error"]["code"], answer["error"]["param"]) == (400, "limit_exceeded", "grammar"), answer
    status, answer = ask(server, path, **body, grammar='root ::= "ab"\n# ' + "\x01" * (300 << 10))  # 1.8 MiB as JSON
    assert status == 200, answer


def test_apply_template(server):
    messages = [{"role": "user", "content": "Hi <|im_end|>"}]
    prompt = ask(server, "/apply-template", messages=messages)[1]["prompt"]
    assert prompt.endswith("<|im_start|>user\nHi <|im_end|><|im_end|>\n<|im_start|>assistant\n")
    count = ask(server, "/v1/chat/completions/input_tokens", messages=messages)[1]["input_tokens"]
    used = server.chat("Hi <|im_end|>", max_tokens=1)[2]["usage"]["prompt_tokens"]
    assert count == used == ask(server, "/chat/completions/input_tokens", messages=messages)[1]["input_tokens"]


def test_completion(server):
    body = {"prompt": "The capital of France is", "temperature": 0, "n_predict": 8, "stop": ["@@"]}
    status, whole = ask(server, "/completion", **body, return_tokens=True, n_probs=2)
    assert status == 200 and "Paris" in whole["content"] and whole["stop"] is True and whole["prompt"] == body["prompt"]
    assert whole["stop_type"] == "limit" and whole["tokens_predicted"] == 8 == len(whole["tokens"])
    assert whole["truncated"] is False and whole["has_new_line"] == ("\n" in whole["content"]) and whole["stopping_word"] == ""
    assert whole["generation_settings"]["n_predict"] == 8 and whole["generation_settings"]["stop"] == ["@@"]
    assert whole["timings"]["predicted_n"] == 8 and whole["timings"]["cache_n"] + whole["timings"]["prompt_n"] == whole["tokens_evaluated"]
    probs = whole["completion_probabilities"]
    assert [p["id"] for p in probs] == whole["tokens"] and all(len(p["top_logprobs"]) == 2 for p in probs)
    events = stream(server, "/completions", **body)
    assert "".join(e["content"] for e in events) == whole["content"] and not any(e["stop"] for e in events[:-1]) and events[-1]["stop"]
    assert sum((e["tokens"] for e in events), []) == whole["tokens"] and events[-1]["timings"]["predicted_n"] == 8
    same = ask(server, "/completion", **{**body, "prompt": ask(server, "/tokenize", content=body["prompt"], add_special=True)[1]["tokens"]})[1]
    assert same["content"] == whole["content"]
    word = ask(server, "/completion", **{**body, "stop": [" Paris"]})[1]
    assert (word["stop_type"], word["stopping_word"]) == ("word", " Paris") and "Paris" not in word["content"]
    nothing = ask(server, "/completion", **{**body, "n_predict": 0})
    assert nothing[0] == 200 and nothing[1]["content"] == ""


def test_infill(server, fake):
    """A model without tokens for it says so; what is asked of one that has them is seen at the fake worker's."""
    gap = {"input_prefix": "def f(x):\n", "input_suffix": "\n    return y", "prompt": "    y", "n_predict": 9,
           "input_extra": [{"filename": "a.py", "text": "x = 1"}]}
    status, answer = ask(server, "/infill", **gap)
    assert status == 400 and answer["error"]["param"] == "suffix"
    status, answer = ask(server, "/v1/completions", prompt="a", suffix="b")
    assert status == 400 and answer["error"]["param"] == "suffix"
    assert ask(server, "/v1/completions", prompt="a", suffix="b", echo=True)[1]["error"]["param"] == "suffix"
    assert ask(server, "/infill", input_extra=[{"text": 5}])[1]["error"]["param"] == "input_extra[0].text"
    assert ask(server, "/completion", prompt="a", input_suffix="b")[1]["error"]["param"] == "input_suffix"
    whole = fake({"n_ctx": 64}).post("/infill", gap)[2]
    assert whole["prompt"] == "--- a.py\nx = 1\n\ndef f(x):\n    y" and whole["stop"] is True


def test_props_slots_and_aliases(server):
    props = json.loads(server.get("/props")[2])
    assert props["total_slots"] >= 1 and "im_start" in props["chat_template"] and props["eos_token"] == "<|im_end|>"
    assert props["default_generation_settings"]["n_ctx"] > 0 and props["default_generation_settings"]["params"]["top_k"] == 40
    assert props["chat_template_caps"]["supports_system_role"] is True
    slots = json.loads(server.get("/slots")[2])
    assert len(slots) == props["total_slots"] and not any(s["is_processing"] for s in slots)
    assert server.get("/slots?fail_on_no_slot=1")[0] == 200
    assert server.get("/props?model=missing")[0] == 404
    assert json.loads(server.get("/models")[2]) == json.loads(server.get("/v1/models")[2])
    assert json.loads(server.get("/v1/health")[2])["status"] == "ok"
    status, answer = ask(server, "/chat/completions", messages=[{"role": "user", "content": "Hi"}], max_tokens=1)
    assert status == 200 and answer["object"] == "chat.completion"


def test_slots_that_are_taken(fake):
    server = fake({"n_seq_max": 2, "token_s": 0.2, "repeat": "again and "})
    open_ones = [server.stream({"prompt": "x", "stream": True}, "/completion") for _ in range(2)]
    server.wait_metric("hearth_worker_running", 2)
    assert [s["is_processing"] for s in json.loads(server.get("/slots")[2])] == [True, True]
    assert server.get("/slots?fail_on_no_slot=1")[0] == 503
    for one in open_ones:
        one.close()


def test_a_worker_that_answers_questions_badly(fake):
    server = fake({"say_asked": [{"t": "error", "code": "internal", "param": "", "message": "no"}]})
    for path, body in (("/tokenize", {"content": "x"}), ("/detokenize", {"tokens": [1]}),
                       ("/apply-template", {"messages": [{"role": "user", "content": "x"}]}),
                       ("/v1/messages/count_tokens", {"messages": [{"role": "user", "content": "x"}]})):
        assert server.post(path, body)[0] == 500
    assert server.get("/props")[0] == 500
