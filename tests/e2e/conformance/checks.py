"""What a server must do to be spoken to by the clients of OpenAI, Ollama, Anthropic and llama-server.

A check is a function of a Client; its docstring is the row of the table. It passes when it returns. Nothing here
knows Hearth: a check asserts what the API's own reference says, or that a parameter is not dropped silently.
"""
import base64
import json
import math
import struct

CHECKS = []  # (group, function)
TOOL = {"type": "function", "function": {
    "name": "get_weather", "description": "The weather of a city",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"],
                   "additionalProperties": False}}}
SCHEMA = {"type": "object", "properties": {"name": {"type": "string", "maxLength": 12},
                                           "age": {"type": "integer", "minimum": 0, "maximum": 120},
                                           "kind": {"enum": ["cat", "dog"]}},
          "required": ["name", "age", "kind"], "additionalProperties": False}


def check(group):
    def add(function):
        CHECKS.append((group, function))
        return function
    return add


def conforms(value):
    assert set(value) == {"name", "age", "kind"}
    assert isinstance(value["name"], str) and len(value["name"]) <= 12
    assert isinstance(value["age"], int) and 0 <= value["age"] <= 120 and value["kind"] in ("cat", "dog")


def refused(reply):
    """Said no, as a client's mistake, with words."""
    assert 400 <= reply.status < 500, f"{reply.status}: {reply.data[:200]!r}"
    error = reply.json["error"]
    assert (error if isinstance(error, str) else error["message"])
    return error


# ---- OpenAI: chat completions

@check("OpenAI chat")
def chat_shape(c):
    """the whole answer has every member that clients read"""
    a = c.chat_ok()
    assert a["id"] and a["object"] == "chat.completion" and a["created"] > 1e9 and a["model"]
    (choice,) = a["choices"]
    assert choice["index"] == 0 and choice["message"]["role"] == "assistant"
    assert isinstance(choice["message"]["content"], str) and choice["finish_reason"] in ("stop", "length")
    u = a["usage"]
    assert u["prompt_tokens"] > 0 and u["total_tokens"] == u["prompt_tokens"] + u["completion_tokens"]


@check("OpenAI chat")
def chat_stream(c):
    """streams: a role first, a finish_reason last, [DONE]"""
    events = [e for _, e in c.chat(stream=True).events]
    assert events[-1] == "[DONE]"
    chunks = events[:-1]
    assert all(e["object"] == "chat.completion.chunk" for e in chunks) and len({e["id"] for e in chunks}) == 1
    assert chunks[0]["choices"][0]["delta"]["role"] == "assistant"
    assert [e["choices"][0]["finish_reason"] for e in chunks if e["choices"]][-1] in ("stop", "length")


@check("OpenAI chat")
def chat_stream_is_the_whole(c):
    """a stream brings the text that the whole answer has"""
    whole = c.chat_ok()["choices"][0]["message"]["content"]
    parts = [e["choices"][0]["delta"].get("content") or "" for _, e in c.chat(stream=True).events
             if e != "[DONE]" and e["choices"]]
    assert "".join(parts) == whole


@check("OpenAI chat")
def chat_stream_usage(c):
    """stream_options.include_usage: one last chunk without choices"""
    chunks = [e for _, e in c.chat(stream=True, stream_options={"include_usage": True}).events if e != "[DONE]"]
    assert chunks[-1]["choices"] == [] and chunks[-1]["usage"]["completion_tokens"] > 0


@check("OpenAI chat")
def chat_max_completion_tokens(c):
    """max_completion_tokens is honoured"""
    a = c.post("/v1/chat/completions", {"model": c.model, "max_completion_tokens": 3, "temperature": 0,
                                        "messages": [{"role": "user", "content": "Count to one hundred."}]}).json
    assert a["usage"]["completion_tokens"] == 3 and a["choices"][0]["finish_reason"] == "length"


@check("OpenAI chat")
def chat_n(c):
    """n: as many choices, numbered"""
    a = c.chat_ok(n=3, temperature=1, seed=7)
    assert [x["index"] for x in a["choices"]] == [0, 1, 2]


@check("OpenAI chat")
def chat_seed(c):
    """seed: the same answer again"""
    texts = [c.chat_ok("Tell me a story.", temperature=1.2, seed=s)["choices"][0]["message"]["content"]
             for s in (11, 11, 12)]
    assert texts[0] == texts[1] and texts[0] != texts[2]


@check("OpenAI chat")
def chat_stop(c):
    """stop: the text ends before the string, in a list or alone"""
    text = c.complete_ok("1 2 3 4 5 6 7", max_tokens=24)["choices"][0]["text"]
    needle = text.strip().split()[2]
    a = c.complete_ok("1 2 3 4 5 6 7", max_tokens=24, stop=[needle])["choices"][0]
    assert needle not in a["text"] and a["finish_reason"] == "stop" and text.startswith(a["text"])


@check("OpenAI chat")
def chat_logprobs(c):
    """logprobs and top_logprobs, with bytes"""
    content = c.chat_ok(logprobs=True, top_logprobs=3)["choices"][0]["logprobs"]["content"]
    assert content
    for t in content:
        assert t["logprob"] <= 0 and isinstance(t["bytes"], list) and len(t["top_logprobs"]) == 3
        assert t["top_logprobs"][0]["logprob"] >= t["top_logprobs"][1]["logprob"]


@check("OpenAI chat")
def chat_logit_bias(c):
    """logit_bias: -100 forbids a token"""
    words = c.complete_ok(max_tokens=1, logprobs=1)["choices"][0]["text"]
    top = c.post("/tokenize", {"content": words})
    token = str(top.json["tokens"][0]) if top.status == 200 else "1"
    assert c.complete_ok(max_tokens=1, logit_bias={token: -100})["choices"][0]["text"] != words or token == "1"


@check("OpenAI chat")
def chat_parts(c):
    """content as text parts is the content as a string"""
    a = c.chat_ok([{"type": "text", "text": "Say hello."}])["choices"][0]["message"]["content"]
    assert a == c.chat_ok("Say hello.")["choices"][0]["message"]["content"]


@check("OpenAI chat")
def chat_developer(c):
    """the role developer is understood"""
    messages = [{"role": "developer", "content": "Answer in French."}, {"role": "user", "content": "Hello"}]
    assert c.chat(messages=messages).status == 200


@check("OpenAI chat")
def chat_image_refused(c):
    """an image for a model that sees none is refused, not dropped"""
    part = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    refused(c.chat([{"type": "text", "text": "What is it?"}, part]))


@check("OpenAI chat")
def chat_cached_tokens(c):
    """usage tells cached tokens of a repeated prompt"""
    long = "All work and no play makes Jack a dull boy. " * 30
    c.chat_ok(long)
    assert c.chat_ok(long)["usage"]["prompt_tokens_details"]["cached_tokens"] > 100


@check("OpenAI chat")
def chat_unknown_field(c):
    """an unknown field is not dropped silently"""
    refused(c.chat(no_such_parameter=1))


@check("OpenAI chat")
def chat_bad_values(c):
    """values out of range or of the wrong type are refused by name"""
    for field, value in (("temperature", 9), ("top_p", 3), ("n", 0), ("stop", 5), ("logit_bias", [1]),
                         ("max_tokens", "many"), ("messages", []), ("messages", "hi")):
        error = refused(c.chat(**{field: value}))
        assert field in (error.get("param") or "") or field in error["message"], (field, error)


@check("OpenAI chat")
def chat_no_model(c):
    """a model that is not there: 404, code model_not_found"""
    r = c.chat(model="no-such-model-anywhere")
    assert r.status == 404 and r.json["error"]["code"] == "model_not_found"


@check("OpenAI chat")
def chat_too_long(c):
    """a prompt beyond the context: 400, code context_length_exceeded"""
    r = c.chat("word " * 300000)
    assert r.status == 400 and "context" in json.dumps(r.json)


@check("OpenAI chat")
def chat_malformed(c):
    """malformed JSON: a 400 with the error object"""
    r = c.post("/v1/chat/completions", '{"model": ', headers={"Content-Type": "application/json"})
    assert r.status == 400 and r.json["error"]["message"]


# ---- OpenAI: structured output

@check("Structured output")
def json_schema(c):
    """response_format json_schema: valid at temperature 1, ten seeds"""
    form = {"type": "json_schema", "json_schema": {"name": "pet", "strict": True, "schema": SCHEMA}}
    for seed in range(10):
        a = c.chat_ok("Describe a pet.", response_format=form, temperature=1, seed=seed, max_tokens=100)
        conforms(json.loads(a["choices"][0]["message"]["content"]))


@check("Structured output")
def json_object(c):
    """response_format json_object gives an object"""
    a = c.chat_ok("A pet, as JSON.", response_format={"type": "json_object"}, temperature=0.5, seed=1, max_tokens=300)
    choice = a["choices"][0]
    assert choice["finish_reason"] == "length" or isinstance(json.loads(choice["message"]["content"]), dict)


@check("Structured output")
def json_schema_impossible(c):
    """a schema that nothing fits, or that is none, is refused at once"""
    for schema in ({"type": "string", "minLength": 5, "maxLength": 2}, {"type": "no-such-type"}):
        form = {"type": "json_schema", "json_schema": {"name": "x", "strict": True, "schema": schema}}
        refused(c.chat(response_format=form))


@check("Structured output")
def grammar(c):
    """a GBNF grammar is kept to"""
    a = c.complete_ok(grammar='root ::= "yes" | "no"', max_tokens=10, temperature=1)
    assert a["choices"][0]["text"] in ("yes", "no")


# ---- OpenAI: tools

@check("Tools")
def tools_required(c):
    """tool_choice required: a call with valid arguments"""
    a = c.chat_ok("The weather in Paris?", tools=[TOOL], tool_choice="required", max_tokens=120, seed=3,
                  parallel_tool_calls=False)
    choice = a["choices"][0]
    (call,) = choice["message"]["tool_calls"][:1]
    assert choice["finish_reason"] == "tool_calls" and call["type"] == "function" and call["id"]
    assert call["function"]["name"] == "get_weather"
    assert isinstance(json.loads(call["function"]["arguments"])["city"], str)


@check("Tools")
def tools_named(c):
    """tool_choice by name, streamed in fragments"""
    r = c.chat("The weather in Paris?", tools=[TOOL], max_tokens=120, stream=True, parallel_tool_calls=False,
               tool_choice={"type": "function", "function": {"name": "get_weather"}})
    calls = [t for _, e in r.events if e != "[DONE]" and e["choices"]
             for t in e["choices"][0]["delta"].get("tool_calls") or []]
    assert calls[0]["function"]["name"] == "get_weather" and calls[0]["id"] and calls[0]["index"] == 0
    assert isinstance(json.loads("".join(t["function"].get("arguments") or "" for t in calls if t["index"] == 0)), dict)


@check("Tools")
def tools_none(c):
    """tool_choice none: no call"""
    a = c.chat_ok("The weather in Paris?", tools=[TOOL], tool_choice="none")
    assert not a["choices"][0]["message"].get("tool_calls")


@check("Tools")
def tools_results(c):
    """a conversation with a call and its result is taken"""
    messages = [{"role": "user", "content": "The weather in Paris?"},
                {"role": "assistant", "content": None, "tool_calls": [
                    {"id": "call_1", "type": "function",
                     "function": {"name": "get_weather", "arguments": '{"city": "Paris"}'}}]},
                {"role": "tool", "tool_call_id": "call_1", "content": "18 degrees"}]
    assert c.chat(messages=messages, tools=[TOOL]).status == 200


@check("Tools")
def tools_bad(c):
    """a malformed tool, and a choice that names none of them, are refused"""
    refused(c.chat(tools=[{"type": "function"}]))
    refused(c.chat(tools=[TOOL], tool_choice={"type": "function", "function": {"name": "other"}}))


# ---- OpenAI: completions

@check("OpenAI completions")
def complete_shape(c):
    """text_completion with its members"""
    a = c.complete_ok()
    assert a["object"] == "text_completion" and isinstance(a["choices"][0]["text"], str)
    assert a["usage"]["completion_tokens"] > 0


@check("OpenAI completions")
def complete_echo(c):
    """echo with max_tokens 0 and logprobs: the prompt's own, as harnesses need it"""
    choice = c.complete_ok("The capital of France is Paris", echo=True, max_tokens=0, logprobs=1)["choices"][0]
    logprobs = choice["logprobs"]["token_logprobs"]
    assert choice["text"] == "The capital of France is Paris" and logprobs[0] is None
    assert all(x <= 0 for x in logprobs[1:]) and "".join(choice["logprobs"]["tokens"]) == choice["text"]


@check("OpenAI completions")
def complete_many(c):
    """several prompts in one call, in order"""
    a = c.complete_ok(["one two", "a b c"], max_tokens=2)
    assert [x["index"] for x in a["choices"]] == [0, 1]


@check("OpenAI completions")
def complete_ids(c):
    """a prompt of token ids"""
    assert c.complete_ok([1, 2, 3, 4])["usage"]["prompt_tokens"] in (4, 5)


# ---- OpenAI: responses

@check("OpenAI responses")
def responses_shape(c):
    """an answer with its output items"""
    a = c.ok("/v1/responses", {"model": c.model, "input": "Say hello.", "max_output_tokens": 16})
    assert a["object"] == "response" and a["id"].startswith("resp") and a["status"] in ("completed", "incomplete")
    message = [item for item in a["output"] if item["type"] == "message"][0]
    assert message["content"][0]["type"] == "output_text" and a["usage"]["output_tokens"] > 0


@check("OpenAI responses")
def responses_stream(c):
    """the order of the stream's events, with sequence numbers"""
    r = c.post("/v1/responses", {"model": c.model, "input": "Say hello.", "max_output_tokens": 8, "stream": True})
    names = [name for name, _ in r.events]
    assert names[:2] == ["response.created", "response.in_progress"]
    assert names[-1] in ("response.completed", "response.incomplete")
    order = ["response.output_item.added", "response.content_part.added", "response.output_text.delta",
             "response.output_text.done", "response.content_part.done", "response.output_item.done"]
    at = [names.index(n) for n in order]
    assert at == sorted(at)
    numbers = [e["sequence_number"] for _, e in r.events]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))


@check("OpenAI responses")
def responses_state(c):
    """stored: retrieved, continued by previous_response_id, deleted"""
    first = c.ok("/v1/responses", {"model": c.model, "input": "My name is Ada.", "max_output_tokens": 8})
    got = c.get(f"/v1/responses/{first['id']}")
    assert got.status == 200 and got.json["output"] == first["output"]
    second = c.ok("/v1/responses", {"model": c.model, "input": "What is my name?", "max_output_tokens": 8,
                                    "previous_response_id": first["id"]})
    assert second["previous_response_id"] == first["id"]
    assert second["usage"]["input_tokens"] > first["usage"]["input_tokens"]
    assert c.request("DELETE", f"/v1/responses/{first['id']}").status == 200
    assert c.get(f"/v1/responses/{first['id']}").status == 404


# ---- OpenAI: the rest

@check("OpenAI models")
def models(c):
    """the list, and one of it by id"""
    a = c.get("/v1/models").json
    assert a["object"] == "list" and any(m["id"] for m in a["data"])
    one = c.get(f"/v1/models/{a['data'][0]['id']}")
    assert one.status == 200 and one.json["object"] == "model"


@check("OpenAI embeddings")
def embeddings(c):
    """floats and base64 are the same vector"""
    a = c.ok("/v1/embeddings", {"model": c.embedder, "input": ["a cat", "a dog"]})
    b = c.ok("/v1/embeddings", {"model": c.embedder, "input": "a cat", "encoding_format": "base64"})
    vector = a["data"][0]["embedding"]
    raw = base64.b64decode(b["data"][0]["embedding"])
    same = struct.unpack(f"<{len(raw) // 4}f", raw)
    assert [d["index"] for d in a["data"]] == [0, 1] and len(same) == len(vector)
    assert max(abs(x - y) for x, y in zip(vector, same)) < 1e-5
    assert math.isclose(sum(x * x for x in vector), 1, rel_tol=1e-3) and a["usage"]["prompt_tokens"] > 0


@check("OpenAI embeddings")
def embeddings_meaning(c):
    """what is alike is near"""
    data = c.ok("/v1/embeddings", {"model": c.embedder, "input": ["A cat sat on the mat.", "A kitten on a rug.",
                                                                  "The stock market fell."]})["data"]
    cat, kitten, stock = (d["embedding"] for d in data)
    assert sum(map(lambda x, y: x * y, cat, kitten)) > sum(map(lambda x, y: x * y, cat, stock)) + 0.1


# ---- Ollama

@check("Ollama")
def ollama_version(c):
    """/api/version, and / says that it runs"""
    assert c.get("/api/version").json["version"]
    assert b"running" in c.get("/", headers={"Accept": "*/*"}).data


@check("Ollama")
def ollama_tags_show(c):
    """/api/tags and /api/show"""
    assert "models" in c.get("/api/tags").json
    shown = c.ok("/api/show", {"model": c.model})
    assert shown["details"]["family"] and "completion" in shown["capabilities"] and shown["model_info"]


@check("Ollama")
def ollama_chat(c):
    """/api/chat streams NDJSON with durations in nanoseconds"""
    r = c.post("/api/chat", {"model": c.model, "messages": [{"role": "user", "content": "Hello"}],
                             "options": {"num_predict": 5, "temperature": 0}})
    lines = r.lines
    assert all(not x["done"] for x in lines[:-1]) and lines[-1]["done"] and lines[-1]["done_reason"] in ("stop", "length")
    assert lines[-1]["eval_count"] == 5 and lines[-1]["total_duration"] > 1000
    assert "".join(x["message"]["content"] for x in lines)


@check("Ollama")
def ollama_generate(c):
    """/api/generate whole"""
    a = c.ok("/api/generate", {"model": c.model, "prompt": "Hello", "stream": False, "options": {"num_predict": 4}})
    assert a["done"] is True and isinstance(a["response"], str) and a["prompt_eval_count"] > 0


@check("Ollama")
def ollama_format(c):
    """format with a schema"""
    for seed in range(3):
        a = c.ok("/api/chat", {"model": c.model, "stream": False, "format": SCHEMA,
                               "messages": [{"role": "user", "content": "A pet."}],
                               "options": {"seed": seed, "temperature": 1, "num_predict": 100}})
        conforms(json.loads(a["message"]["content"]))


@check("Ollama")
def ollama_tools(c):
    """tools: arguments are an object"""
    a = c.ok("/api/chat", {"model": c.model, "stream": False, "tools": [TOOL],
                           "messages": [{"role": "user", "content": "The weather in Paris?"}],
                           "options": {"num_predict": 60, "temperature": 0}})
    for call in a["message"].get("tool_calls") or []:
        assert isinstance(call["function"]["arguments"], dict)


@check("Ollama")
def ollama_errors(c):
    """errors are {"error": text}; a missing model is a 404"""
    r = c.post("/api/chat", {"model": "no-such-model-anywhere", "messages": [{"role": "user", "content": "x"}]})
    assert r.status == 404 and isinstance(r.json["error"], str)


@check("Ollama")
def ollama_embed(c):
    """/api/embed"""
    a = c.ok("/api/embed", {"model": c.embedder, "input": ["a cat", "a dog"]})
    assert len(a["embeddings"]) == 2 and a["prompt_eval_count"] > 0


# ---- Anthropic

ANTHROPIC = {"anthropic-version": "2023-06-01", "x-api-key": "none"}


def message(c, content="Say hello.", **more):
    return c.post("/v1/messages", {"model": c.model, "max_tokens": 16, "temperature": 0,
                                   "messages": [{"role": "user", "content": content}], **more}, headers=ANTHROPIC)


@check("Anthropic")
def anthropic_shape(c):
    """a message with its blocks and usage"""
    a = message(c).json
    assert a["type"] == "message" and a["role"] == "assistant" and a["content"][0]["type"] == "text"
    assert a["stop_reason"] in ("end_turn", "max_tokens") and a["usage"]["output_tokens"] > 0


@check("Anthropic")
def anthropic_stream(c):
    """the events of a stream, in order"""
    names = [name for name, _ in message(c, stream=True).events if name != "ping"]
    assert names[:2] == ["message_start", "content_block_start"]
    assert names[-3:] == ["content_block_stop", "message_delta", "message_stop"]
    assert set(names[2:-3]) == {"content_block_delta"}


@check("Anthropic")
def anthropic_system(c):
    """system as blocks with cache_control"""
    blocks = [{"type": "text", "text": "You are brief.", "cache_control": {"type": "ephemeral"}}]
    assert message(c, system=blocks).status == 200


@check("Anthropic")
def anthropic_tools(c):
    """tool_choice tool: a tool_use block, and its result is taken"""
    tool = {"name": "get_weather", "description": "Weather", "input_schema": TOOL["function"]["parameters"]}
    a = message(c, "The weather in Paris?", tools=[tool], tool_choice={"type": "tool", "name": "get_weather",
                                                                             "disable_parallel_tool_use": True},
                max_tokens=120).json
    use = [b for b in a["content"] if b["type"] == "tool_use"][0]
    assert a["stop_reason"] == "tool_use" and isinstance(use["input"]["city"], str)
    turns = [{"role": "user", "content": "The weather in Paris?"}, {"role": "assistant", "content": a["content"]},
             {"role": "user", "content": [{"type": "tool_result", "tool_use_id": use["id"], "content": "18 degrees"}]}]
    assert message(c, messages=turns, tools=[tool]).status == 200


@check("Anthropic")
def anthropic_count(c):
    """count_tokens is what the message takes"""
    body = {"model": c.model, "messages": [{"role": "user", "content": "Say hello."}]}
    n = c.ok("/v1/messages/count_tokens", body, headers=ANTHROPIC)["input_tokens"]
    u = message(c).json["usage"]
    assert n == u["input_tokens"] + (u.get("cache_read_input_tokens") or 0)


@check("Anthropic")
def anthropic_errors(c):
    """errors in Anthropic's shape; max_tokens is required"""
    r = c.post("/v1/messages", {"model": c.model, "messages": [{"role": "user", "content": "x"}]}, headers=ANTHROPIC)
    assert r.status == 400 and r.json["type"] == "error" and r.json["error"]["type"] == "invalid_request_error"


# ---- llama-server

@check("llama-server")
def llama_tokenize(c):
    """/tokenize and /detokenize are each other's inverse"""
    tokens = c.ok("/tokenize", {"content": "Hello, world"})["tokens"]
    assert tokens and c.ok("/detokenize", {"tokens": tokens})["content"].strip() == "Hello, world"


@check("llama-server")
def llama_template(c):
    """/apply-template"""
    assert "Hi there" in c.ok("/apply-template", {"messages": [{"role": "user", "content": "Hi there"}]})["prompt"]


@check("llama-server")
def llama_completion(c):
    """/completion in its own shape"""
    a = c.ok("/completion", {"prompt": "Once upon a time", "n_predict": 4, "temperature": 0})
    assert isinstance(a["content"], str) and a["stop"] is True and a["tokens_predicted"] == 4 and a["timings"]


@check("llama-server")
def llama_state(c):
    """/props and /slots"""
    assert c.get("/props").json["total_slots"] >= 1
    assert isinstance(c.get("/slots").json, list)


@check("llama-server")
def llama_health(c):
    """/health"""
    assert c.get("/health").json["status"] in ("ok", "ready")
