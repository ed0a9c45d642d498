"""The official clients for Ollama (Python, JavaScript), unchanged, against the fake worker and a real model."""
import json
import pathlib
import subprocess
import time

import javascript
import ollama
import pytest
import serving
from registry import Registry

HERE = pathlib.Path(__file__).resolve().parent


def wait_for(true, seconds=10):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


HELLO = [{"role": "user", "content": "one two three four"}]


@pytest.fixture(scope="module")
def site(hearth_bin, tmp_path_factory):
    """A server with the fake worker whose library has the model "toy"."""
    folder = tmp_path_factory.mktemp("ollama")
    serving.library_model(folder, "toy", n_ctx=64)
    serving.library_model(folder, "slow", token_s=0.05, repeat="word ")
    said = [("t", "accepted", dict(n_prompt=1, prompt_hash=1)), ("t", "started", dict(n_cached=0, queue_ms=0.0)),
            (1, "hm, the", {}), (1, " weather", {}), (0, "I look.", {}),
            (2, '{"city":', dict(call=0, name="weather")), (2, ' "Paris"}', dict(call=0)),
            (2, '{"city": "Rome"}', dict(call=1, name="weather")),
            ("t", "end", dict(index=0, reason="tool_calls", n_completion=9)),
            ("t", "done", dict(n_prompt=1, n_cached=0, n_completion=9, queue_ms=0.0, prefill_ms=1.0, decode_ms=1.0))]
    serving.library_model(folder, "caller", say=[
        {"t": text, **more} if channel == "t" else
        {"t": "delta", "index": 0, "channel": channel, "text": text, "tokens": [], **more}
        for channel, text, more in said])
    one = serving.Server(hearth_bin, folder, worker_exe=serving.fake_exe(folder))
    yield one
    one.close()


@pytest.fixture(scope="module")
def client(site):
    return ollama.Client(host=site.url)


@pytest.fixture
def registry():
    one = Registry()
    yield one
    one.close()


def test_chat(client):
    whole = client.chat("toy", HELLO)
    assert whole.message.content == "one two three four" and whole.message.role == "assistant"
    assert whole.done and whole.done_reason == "stop" and whole.model == "toy"
    assert whole.prompt_eval_count == 4 and whole.eval_count == 4
    assert whole.prompt_eval_duration == 1_000_000 and whole.eval_duration == 2_000_000
    assert whole.total_duration > 0
    parts = list(client.chat("toy", HELLO, stream=True))
    assert "".join(p.message.content for p in parts) == "one two three four"
    assert [p.done for p in parts] == [False] * 4 + [True]
    assert parts[-1].done_reason == "stop" and parts[-1].eval_count == 4
    cut = client.chat("toy", HELLO, options={"num_predict": 2, "stop": ["zzz"], "seed": 3, "num_ctx": 64})
    assert cut.message.content == "one two" and cut.done_reason == "length"


def test_generate_and_its_context(client):
    first = client.generate("toy", "alpha beta", system="be brief")
    assert first.response == "be brief alpha beta" and first.context
    again = client.generate("toy", "gamma", context=first.context)
    # the system text, the prompt and the answer of before come first
    assert again.response == "be brief alpha beta be brief alpha beta gamma"
    with pytest.raises(ollama.ResponseError, match="context"):
        client.generate("toy", "gamma", context=[1, 2, 3])
    raw = client.generate("toy", "as it stands", raw=True)
    assert raw.response == "as it stands" and raw.context is None
    with pytest.raises(ollama.ResponseError, match="raw"):
        client.generate("toy", "x", raw=True, system="no")
    parts = list(client.generate("toy", "x y z", stream=True))
    assert "".join(p.response for p in parts) == "x y z" and parts[-1].context


def test_load_and_unload(client):
    assert client.generate("toy").done_reason == "load"
    assert "toy:latest" in [m.name for m in client.ps().models]
    assert client.chat("toy", []).done_reason == "load"
    assert client.chat("toy", [], keep_alive=0).done_reason == "unload"
    wait_for(lambda: client.ps().models == [])
    with pytest.raises(ollama.ResponseError, match="not loaded"):
        client.generate("toy", keep_alive=0)


def test_logprobs(client):
    whole = client.chat("toy", HELLO, logprobs=True, top_logprobs=2)
    assert [t.token for t in whole.logprobs] == ["one", " two", " three", " four"]
    assert whole.logprobs[0].logprob == -0.5 and len(whole.logprobs[0].top_logprobs) == 2
    parts = list(client.chat("toy", HELLO, logprobs=True, stream=True))
    assert [p.logprobs[0].token for p in parts if p.logprobs] == ["one", " two", " three", " four"]


def weather(city: str) -> str:
    """The weather in a city.

    Args:
      city: its name
    """
    return city


def test_tools_and_thinking(client):
    """A Python function as a tool, as the client describes it; what the worker says in channels."""
    asked = [{"role": "user", "content": "ROGUE"}]
    whole = client.chat("caller", asked, tools=[weather], think=True)
    assert whole.message.thinking == "hm, the weather" and whole.message.content == "I look."
    assert [(c.function.name, dict(c.function.arguments)) for c in whole.message.tool_calls] == \
        [("weather", {"city": "Paris"}), ("weather", {"city": "Rome"})]
    assert whole.done_reason == "stop" and whole.eval_count == 9
    parts = list(client.chat("caller", asked, tools=[weather], think="low", stream=True))
    assert [c.function.arguments["city"] for p in parts for c in p.message.tool_calls or []] == ["Paris", "Rome"]
    assert "".join(p.message.thinking or "" for p in parts) == "hm, the weather"
    # what came of it goes back: calls with objects, results with the tool's name
    back = [{"role": "user", "content": "hi"}, whole.message,
            {"role": "tool", "tool_name": "weather", "content": "sunny"}]
    assert "sunny" in client.chat("toy", back).message.content


def test_what_the_worker_is_asked(site):
    """The frame, as the worker says it."""
    def render(path, **body):
        return site.post(path, {"model": "toy", "_debug_render_only": True, **body})[2]["_debug_info"]

    assert render("/api/chat", messages=HELLO)["rendered_template"] == "<fake>one two three four</fake>"
    assert render("/api/generate", prompt="hi", system="sys")["rendered_template"] == "<fake>sys hi</fake>"
    assert render("/api/generate", prompt="hi", raw=True)["rendered_template"] == "hi"


@pytest.mark.parametrize("path, body, status, words", [
    ("/api/chat", {"messages": HELLO, "options": {"temprature": 1}}, 400, "'options.temprature'; did you mean 'temperature'"),
    ("/api/chat", {"messages": HELLO, "options": {"top_p": 3}}, 400, "options.top_p"),
    ("/api/chat", {"messages": [{"role": "user", "content": "x", "images": ["aa"]}]}, 400, "images"),
    ("/api/chat", {"messages": [{"role": "robot", "content": "x"}]}, 400, "messages[0].role"),
    ("/api/chat", {"messages": [{"content": "x"}]}, 400, "messages[0].role"),
    ("/api/chat", {"messages": HELLO, "format": 7}, 400, "format"),
    ("/api/chat", {"messages": HELLO, "think": "much"}, 400, "think"),
    ("/api/chat", {"messages": HELLO, "top_logprobs": 2}, 400, "top_logprobs"),
    ("/api/chat", {"messages": HELLO, "tools": [{"type": "function"}]}, 400, "tools[0].function"),
    ("/api/generate", {"prompt": "x", "template": "{{ .Prompt }}"}, 400, "template"),
    ("/api/generate", {"prompt": "x", "suffix": "y", "system": "z"}, 400, "suffix"),
    ("/api/generate", {"prompt": "x", "nonsense": 1}, 400, "nonsense"),
    ("/api/generate", {"prompt": "x", "stream": "yes"}, 400, "stream"),
    ("/api/show", {"model": "missing"}, 404, "model 'missing' not found"),
    ("/api/show", {"model": "/etc/passwd"}, 404, "not found"),
    ("/api/show", {}, 400, "model"),
    ("/api/copy", {"source": "missing", "destination": "x"}, 404, "model 'missing' not found"),
    ("/api/create", {"model": "x"}, 400, "from"),
    ("/api/create", {"model": "x", "from": "toy", "quantize": "q4_K_M"}, 400, "quantize"),
    ("/api/create", {"model": "x", "from": "toy", "parameters": {"nonsense": 1}}, 400, "nonsense"),
    ("/api/create", {"model": "x", "from": "/etc/passwd"}, 400, "from"),
    ("/api/create", {"model": "x", "files": {"a": "sha256:12"}}, 400, "digest"),
    ("/api/pull", {"model": "./x.gguf"}, 400, "hearth pull"),
    ("/api/me", {}, 404, "ollama.com"),
])
def test_refusals(site, path, body, status, words):
    got, _, answer = site.post(path, {**({"model": "toy"} if path in ("/api/chat", "/api/generate") else {}), **body})
    assert got == status and words in answer["error"], (got, answer)


def test_odd_requests(site):
    assert site.request("POST", "/api/chat")[0] == 400
    assert json.loads(site.request("POST", "/api/chat")[2])["error"] == "missing request body"
    assert site.post("/api/chat", [1])[0] == 400
    assert site.post("/api/chat", {"model": "missing", "messages": HELLO})[0] == 404
    assert site.request("GET", "/api/chat")[0] == 405
    # an error of the worker's, before the first line of a stream
    status, _, answer = site.post("/api/chat", {"model": "toy", "messages": [{"role": "user", "content": "w " * 90}]})
    assert status == 400 and "context" in answer["error"]


def test_accepted_without_effect(client):
    options = {"num_batch": 16, "num_gpu": 0, "num_thread": 3, "low_vram": True, "mirostat": 1, "num_keep": 4,
               "use_mmap": True, "penalize_newline": False, "num_predict": -2, "seed": -1}
    assert client.chat("toy", HELLO, options=options, think=False).message.content == "one two three four"


def test_the_root_says_who_it_is(site):
    status, headers, body = site.get("/")
    assert status == 200 and body == b"Ollama is running" and headers["Content-Type"].startswith("text/plain")
    assert site.request("HEAD", "/")[0] == 200
    assert site.get("/", headers={"Accept": "text/html,*/*"})[2].startswith(b"<!")
    version = json.loads(site.get("/api/version")[2])
    assert [int(x) for x in version["version"].split(".")] >= [0, 9, 0] and version["hearth"]


def test_show(client, site):
    shown = client.show("toy")
    assert shown.details.family == "fake" and shown.details.parameter_size == "1.00M"
    assert shown.details.quantization_level == "F32" and shown.details.format == "gguf"
    assert shown.modelinfo["general.architecture"] == "fake" and shown.template == "{{ messages }}"
    assert shown.modelinfo["tokenizer.ggml.tokens"] is None and shown.capabilities == ["completion", "tools"]
    assert "FROM toy:latest" in shown.modelfile and shown.modified_at
    verbose = site.post("/api/show", {"name": "toy", "verbose": True})[2]
    assert verbose["model_info"]["tokenizer.ggml.tokens"] == ["a", "b"]
    assert verbose["tensors"] == [{"name": "t", "type": "F32", "shape": [2, 3]}]


def test_create_copy_delete(client, site):
    made = client.create(
        "made", from_="toy", system="be brief", parameters={"temperature": 0, "num_predict": 3, "stop": ["ZZ"]},
        license=["one", "two"], messages=[{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}])
    assert made.status == "success"
    steps = [s.status for s in client.create("made", from_="made", template="{{ messages }}", stream=True)]
    assert steps[-2:] == ["writing manifest", "success"] and "creating template layer" in steps
    shown = client.show("made")
    assert shown.template == "{{ messages }}" and shown.license.split() == ["one", "two"]
    raw = site.post("/api/show", {"model": "made"})[2]
    assert raw["system"] == "be brief" and len(raw["messages"]) == 2
    assert raw["parameters"].split() == ["num_predict", "3", "stop", '"ZZ"', "temperature", "0"] or \
        sorted(raw["parameters"].splitlines())[0].startswith("num_predict")
    # what the model says of itself holds for its requests: a system text, a conversation before, a length
    assert client.chat("made", HELLO).message.content == "be brief q"
    assert client.generate("made", "more", options={"num_predict": 5}).response == "be brief q a more"
    client.copy("made", "other")
    listed = {m.model: m for m in client.list().models}
    assert {"made:latest", "other:latest", "toy:latest"} <= set(listed)
    assert listed["made:latest"].digest == listed["other:latest"].digest
    client.delete("made")
    gone = json.loads(site.request("DELETE", "/v1/models/other")[2])  # as OpenAI's clients do it
    assert gone == {"object": "model", "deleted": True, "id": "other"}
    assert site.request("DELETE", "/v1/models/other")[0] == 404
    assert "made:latest" not in [m.model for m in client.list().models]
    with pytest.raises(ollama.ResponseError) as gone:
        client.delete("made")
    assert gone.value.status_code == 404 and "not found" in str(gone.value)
    with pytest.raises(ollama.ResponseError, match="Go's template"):
        client.create("bad", from_="toy", template="{{ .System }} {{ .Prompt }}")


def test_blobs(client, site, tmp_path):
    path = tmp_path / "model.gguf"
    path.write_text(json.dumps({"n_ctx": 64, "pad": "x" * 3_000_000}))
    digest = client.create_blob(path)
    assert site.request("HEAD", f"/api/blobs/{digest}")[0] == 200
    assert site.request("POST", f"/api/blobs/{digest}", b"again")[0] == 200
    other = "sha256:" + "0" * 64
    assert site.request("HEAD", f"/api/blobs/{other}")[0] == 404
    status, _, answer = site.request("POST", f"/api/blobs/{other}", b"some bytes")
    assert status == 400 and "digest mismatch" in json.loads(answer)["error"]
    assert site.request("HEAD", f"/api/blobs/{other}")[0] == 404
    assert site.request("POST", "/api/blobs/nonsense", b"x")[0] == 400
    assert site.request("HEAD", "/api/blobs/nonsense")[0] == 400
    assert client.create("sent", files={"model.gguf": digest}).status == "success"
    assert client.chat("sent", HELLO).message.content == "one two three four"
    sent = [m for m in client.list().models if m.model == "sent:latest"][0]
    assert sent.details.family == "fake" and sent.details.parameter_size == "1.00M"
    # a file that is no model gets no name
    path.write_text(json.dumps({"fail": {"code": "corrupt", "message": "this is no GGUF file"}}))
    with pytest.raises(ollama.ResponseError, match="no GGUF file"):
        client.create("bad", files={"x": client.create_blob(path)})
    assert not list((pathlib.Path(site.folder) / "library" / "blobs").glob("*.partial"))


def test_pull_and_push(client, registry):
    registry.token = True
    model = json.dumps({"n_ctx": 64, "pad": "y" * 200_000}).encode()
    registry.add_model("library/far", "latest", model, [("system", b"from afar")])
    name = f"{registry.host}/library/far"
    steps = list(client.pull(name, stream=True))
    words = [s.status for s in steps]
    assert words[0] == "pulling manifest" and words[-1] == "success"
    assert words.index("verifying sha256 digest") < words.index("writing manifest")
    assert any(s.total == len(model) and s.completed == len(model) and s.digest for s in steps)
    assert client.chat(name, HELLO).message.content == "from afar one two three four"
    target = f"{registry.host}/some/copy:v1"
    client.copy(name, target)
    words = [s.status for s in client.push(target, stream=True)]
    assert words[0] == "retrieving manifest" and words[-2:] == ["pushing manifest", "success"]
    assert any(w.startswith("pushing ") for w in words)
    assert model in registry.files.values() and "/v2/some/copy/manifests/v1" in registry.files
    assert client.push(target).status == "success"  # all of it is there already
    client.delete(target)
    assert client.pull(target).status == "success"
    with pytest.raises(ollama.ResponseError) as missing:
        client.pull(f"{registry.host}/library/nothing")
    assert missing.value.status_code == 404
    with pytest.raises(ollama.ResponseError, match="no model"):
        list(client.pull(f"{registry.host}/library/nothing", stream=True))
    with pytest.raises(ollama.ResponseError, match="not found"):
        client.push("missing")
    registry.faults["/v2/no/way/blobs/uploads/"] = ["403!"]
    client.copy(name, f"{registry.host}/no/way")
    with pytest.raises(ollama.ResponseError, match="refuses"):
        client.push(f"{registry.host}/no/way")


def test_a_client_that_leaves_stops_its_pull(client, site, registry):
    blob, _ = registry.add_model("library/slow", "latest", b"z" * 500_000)
    registry.faults[blob] = ["slow!"]
    for step in client.pull(f"{registry.host}/library/slow", stream=True):
        if (step.completed or 0) > 0:
            break
    # the loop never waited for it, and the next pull may write the same file at once
    assert client.list().models
    registry.faults.clear()
    for _ in range(50):
        try:
            assert client.pull(f"{registry.host}/library/slow").status == "success"
            break
        except ollama.ResponseError as e:
            assert "another process is writing" in str(e)


def test_only_admins_change_the_library(hearth_bin, tmp_path):
    serving.library_model(tmp_path, "toy")
    env = {"HEARTH_KEYS": str(tmp_path / "keys.json"), "HEARTH_CONFIG": "/dev/null", "PATH": "/usr/bin:/bin"}
    keys = [subprocess.run([str(hearth_bin), "key", "create", name, *more], env=env, capture_output=True, text=True,
                           check=True).stdout.split()[-1] for name, more in [("plain", []), ("boss", ["--admin"])]]
    one = serving.Server(hearth_bin, tmp_path, worker_exe=serving.fake_exe(tmp_path), wait=False)
    one.key = keys[1]
    one.wait_ready()
    try:
        plain, boss = ({"Authorization": f"Bearer {key}"} for key in keys)
        asks = [("POST", "/api/create", {"model": "x", "from": "toy"}), ("POST", "/api/pull", {"model": "x"}),
                ("POST", "/api/copy", {"source": "toy", "destination": "x"}), ("POST", "/api/push", {"model": "toy"}),
                ("DELETE", "/api/delete", {"model": "toy"}), ("POST", "/api/blobs/sha256:" + "0" * 64, {})]
        for method, path, body in asks:
            assert one.request(method, path, body, headers=plain)[0] == 403, path
        assert one.request("POST", "/api/show", {"model": "toy"}, headers=plain)[0] == 200
        assert one.request("POST", "/api/copy", {"source": "toy", "destination": "x"}, headers=boss)[0] == 200
    finally:
        one.close()


def test_create_at_the_command_line(hearth_bin, site, client, tmp_path):
    def create(name, text):
        (tmp_path / "Modelfile").write_text(text)
        return subprocess.run([str(hearth_bin), "create", name, "-f", str(tmp_path / "Modelfile")], text=True,
                              capture_output=True, timeout=20, env={"HEARTH_MODELS": str(site.folder / "library"),
                                                                    "HEARTH_CONFIG": "/dev/null"})

    done = create("cli-made", 'FROM toy\nPARAMETER num_predict 2\nSYSTEM """be\nbrief"""\nMESSAGE user q\n')
    assert done.returncode == 0 and "cli-made is in the library" in done.stdout, done.stderr
    assert client.chat("cli-made", HELLO).message.content == "be\nbrief q"
    for text, words in [("FROM toy\nNONSENSE x\n", "(line 2) there is no command NONSENSE"),
                        ("FROM missing\n", "'missing' not found"),
                        ("FROM toy\nPARAMETER nonsense 1\n", "unknown parameter 'options.nonsense'"),
                        ("FROM toy\nTEMPLATE {{ .Prompt }}\n", "Go's template language"),
                        ("FROM ./Modelfile\n", "Modelfile"), ("SYSTEM x\n", "no FROM")]:
        refused = create("bad", text)
        assert refused.returncode == 1 and words in refused.stderr, refused.stderr
    assert "bad:latest" not in [m.model for m in client.list().models]


def test_the_javascript_client(site):
    seen = json.loads(javascript.run_client("ollama.mjs", site.url, "toy"))
    assert seen["whole"] == {"content": "one two three", "done": True, "reason": "stop", "n": 3}
    assert seen["streamed"] == "one two three" and seen["last"] == {"reason": "stop", "total": True}
    assert seen["text"] == {"response": "a b", "reason": "length", "context": True}
    assert "toy:latest" in seen["models"] and "toy:latest" in seen["running"] and seen["family"] == "fake"
    assert seen["created"][-1] == "success" and seen["system"] == "be brief"
    assert seen["missing"]["status"] == 404 and seen["aborted"] == "AbortError"


def test_a_real_model(server, smollm2_path):
    client = ollama.Client(host=server.url)
    name = str(smollm2_path)
    asked = [{"role": "user", "content": "Say hello."}]
    whole = client.chat(name, asked, options={"temperature": 0, "num_predict": 8})
    parts = list(client.chat(name, asked, options={"temperature": 0, "num_predict": 8}, stream=True))
    assert whole.message.content == "".join(p.message.content for p in parts) != ""
    assert whole.prompt_eval_count > 5 and 0 < whole.eval_count <= 8
    form = {"type": "object", "properties": {"color": {"enum": ["red", "blue"]}}, "required": ["color"],
            "additionalProperties": False}
    formed = client.chat(name, asked, format=form, options={"temperature": 0, "num_predict": 60})
    assert json.loads(formed.message.content)["color"] in ("red", "blue") and formed.done_reason == "stop"
    shown = client.show(name)
    assert shown.details.family == "llama" and "completion" in shown.capabilities
    assert shown.modelinfo["general.parameter_count"] > 100_000_000 and "im_start" in shown.template
    with pytest.raises(ollama.ResponseError, match="suffix"):
        client.generate(name, "def f(", suffix="return 1")
    rendered = server.post("/api/chat", {"model": name, "messages": asked, "_debug_render_only": True})[2]
    assert "Say hello." in rendered["_debug_info"]["rendered_template"]


def test_a_context_that_is_too_small(launch, smollm2_path):
    one = launch(smollm2_path, ctx=96)
    name = str(smollm2_path)
    system = [{"role": "system", "content": "You are brief."}]
    last = [{"role": "user", "content": "What was the last number?"}]
    turns = [{"role": "user" if i % 2 == 0 else "assistant", "content": f"number {i}"} for i in range(16)]

    def ask(messages, **more):
        return one.post("/api/chat", {"model": name, "messages": messages, "stream": False,
                                      "options": {"temperature": 0, "num_predict": 1, **more.pop("options", {})}, **more})

    # as many of the latest turns as there is room for, with the system text: as if only they had been sent
    status, _, short = ask(system + turns + last)
    assert status == 200
    by_hand = [ask(system + turns[n:] + last, truncate=False) for n in range(16, 0, -1)]
    fits = [answer for status, _, answer in by_hand if status == 200]
    assert 0 < len(fits) < 16 and short["prompt_eval_count"] == max(f["prompt_eval_count"] for f in fits) < 96
    status, _, answer = ask(system + turns + last, truncate=False)
    assert status == 400 and "context" in answer["error"]
    status, _, answer = ask(last, options={"num_ctx": 4096})
    assert status == 400 and "--ctx 4096" in answer["error"]
    assert ask(last, options={"num_ctx": 64})[0] == 200
