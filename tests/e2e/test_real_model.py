"""The whole way with a real model: gateway, worker, engine."""
import json
import math
import os
import signal
import subprocess
import threading
import time

import openai
import pytest

import serving

SEA = [{"role": "user", "content": "Write three sentences about the sea."}]


@pytest.fixture(scope="module")
def client(server):
    return openai.OpenAI(base_url=server.url + "/v1", api_key="none", max_retries=0, timeout=120)


@pytest.fixture(scope="module")
def model(client):
    return client.models.list().data[0].id


def ask(client, model, messages=SEA, **more):
    more.setdefault("max_tokens", 24)
    return client.chat.completions.create(model=model, messages=messages, **more).choices[0].message.content


def test_it_knows_paris(client, model):
    text = ask(client, model, [{"role": "user", "content": "What is the capital of France?"}], temperature=0)
    assert "Paris" in text


def test_streamed_and_whole_are_the_same_bytes(client, model):
    for settings in ({"temperature": 0}, {"temperature": 1, "seed": 7}):
        whole = ask(client, model, **settings)
        stream = client.chat.completions.create(model=model, messages=SEA, max_tokens=24, stream=True, **settings)
        assert "".join(c.choices[0].delta.content or "" for c in stream) == whole


def test_a_request_that_says_nothing_of_sampling_gets_the_servers_way(client, model):
    """Full-width sampling makes small models babble; whoever sets one of the five gets just what it says."""
    plain = ask(client, model, seed=11)
    assert plain == ask(client, model, seed=11, temperature=0.7, extra_body={"min_p": 0.05})
    wide = [ask(client, model, seed=11, temperature=1), ask(client, model, seed=11, top_p=1)]
    assert wide[0] == wide[1] != plain


def test_a_model_that_is_loaded_by_the_request_has_a_fingerprint(hearth_bin, launch, tmp_path, smollm2_path):
    """It was empty once: the answer's head was written before the worker was ready."""
    env = dict(os.environ, HEARTH_MODELS=str(tmp_path / "library"), HEARTH_CACHE_DIR=str(tmp_path / "cache"))
    subprocess.run([hearth_bin, "pull", smollm2_path], env=env, check=True, capture_output=True)
    server = launch()
    name = json.loads(server.get("/v1/models")[2])["data"][0]["id"]
    status, _, answer = server.post("/v1/completions", {"model": name, "prompt": "a", "max_tokens": 1}, timeout=120)
    assert status == 200 and answer["system_fingerprint"].startswith("hearth-")


def test_alone_and_beside_others_the_same_bytes(client, model):
    """Determinism: a request's bytes do not depend on what runs beside it."""
    settings = [{"temperature": 0}] + [{"temperature": 1, "seed": seed} for seed in range(5)]
    alone = [ask(client, model, **s) for s in settings]
    beside = [None] * len(settings)

    def one(i):
        beside[i] = ask(client, model, **settings[i])

    threads = [threading.Thread(target=one, args=(i,)) for i in range(len(settings))]
    for t in threads:
        t.start()
    for t in threads:
        t.join(120)
    assert beside == alone
    assert len(set(alone[1:])) > 1, "seeds make no difference"


def test_one_thread_and_two_the_same_bytes(client, model, launch, smollm2_path):
    other = launch(smollm2_path, threads=1, ctx=2048, parallel=1)
    single = openai.OpenAI(base_url=other.url + "/v1", api_key="none", timeout=120)
    for settings in ({"temperature": 0}, {"temperature": 1, "seed": 3}):
        assert ask(single, model, **settings) == ask(client, model, **settings)


def test_choices_draw_with_consecutive_seeds(client, model):
    answer = client.chat.completions.create(model=model, messages=SEA, n=3, seed=10, max_tokens=12)
    texts = [c.message.content for c in answer.choices]
    assert texts == [ask(client, model, seed=10 + i, max_tokens=12) for i in range(3)]


def test_log_probabilities_add_up(client, model):
    answer = client.chat.completions.create(model=model, messages=SEA, temperature=0, max_tokens=12, logprobs=True,
                                            top_logprobs=20)
    content = answer.choices[0].logprobs.content
    assert len(content) == answer.usage.completion_tokens
    joined = b"".join(bytes(t.bytes) for t in content).decode()
    assert joined.startswith(answer.choices[0].message.content)
    for t in content:
        assert t.logprob <= 0 and math.fsum(math.exp(o.logprob) for o in t.top_logprobs) <= 1.0001
        assert t.top_logprobs[0].logprob == max(o.logprob for o in t.top_logprobs)
        assert t.token == t.top_logprobs[0].token  # greedy takes the likeliest


def test_stop_strings_do_not_show(client, model):
    text = ask(client, model, temperature=0, max_tokens=60)
    stop = text[10:16]
    cut = ask(client, model, temperature=0, max_tokens=60, stop=[stop])
    assert cut == text[:text.index(stop)]


def test_bias_forbids_and_forces(client, model):
    def first(**more):
        answer = client.completions.create(model=model, prompt="The sky is", max_tokens=1, temperature=0, logprobs=5, **more)
        return answer.choices[0].text

    likely = first()
    # The alternatives' ids are not in the answer: the prompt of the likeliest word's own ids is found by trying.
    forced = {first(logit_bias={str(i): 100}) for i in (300, 301, 302)}
    assert len(forced) == 3 and likely not in forced


def test_a_prompt_too_long_is_never_cut(server):
    status, _, answer = server.post("/v1/completions", {"prompt": "word " * 9000, "max_tokens": 1}, timeout=60)
    error = answer["error"]
    assert (status, error["code"]) == (400, "context_length_exceeded")
    assert error["n_prompt_tokens"] > error["n_ctx"] == 8192
    assert str(error["n_prompt_tokens"]) in error["message"] and "8192" in error["message"]


def test_token_ids_beyond_the_vocabulary_are_refused(server):
    status, _, answer = server.post("/v1/completions", {"prompt": [1, 10**9]})
    assert status == 400 and answer["error"]["message"]
    status, _, answer = server.chat(logit_bias={"99999999": 5})
    assert status == 400 and answer["error"]["param"] == "logit_bias"


def test_a_template_that_objects_is_a_400_not_a_crash(server):
    status, _, answer = server.post("/v1/chat/completions", {"max_tokens": 1, "messages": [
        {"role": "assistant", "content": "first"}, {"role": "tool", "content": "odd", "tool_call_id": "x"}]})
    assert status in (200, 400), answer
    assert server.chat(max_tokens=1)[0] == 200


def test_echo_gives_the_prompt_its_probabilities(client, model):
    answer = client.completions.create(model=model, prompt="The capital of France is Paris", max_tokens=0, echo=True, logprobs=1)
    logprobs = answer.choices[0].logprobs
    assert "".join(logprobs.tokens) == answer.choices[0].text == "The capital of France is Paris"
    assert logprobs.token_logprobs[0] is None and logprobs.token_logprobs[-1] > -3
    assert logprobs.text_offset == [sum(map(len, logprobs.tokens[:i])) for i in range(len(logprobs.tokens))]


def test_characters_are_never_halved(client, model):
    stream = client.chat.completions.create(model=model, max_tokens=60, temperature=1, seed=5, stream=True, messages=[
        {"role": "user", "content": "Repeat exactly: \U0001f600\U0001f680\u4e16\u754c\u00e9\u00fc \U0001f600\U0001f680"}])
    for chunk in stream:
        (chunk.choices[0].delta.content or "").encode("utf-8")


def test_leaving_in_prefill_stops_the_work(launch, smollm2_path):
    server = launch(smollm2_path)
    start = time.monotonic()
    assert server.post("/v1/completions", {"prompt": "word " * 1500, "max_tokens": 1}, timeout=120)[0] == 200
    full_s = time.monotonic() - start
    before = server.metric("hearth_worker_cancelled_total")
    sock = server.stream({"prompt": "other " * 6000, "max_tokens": 1, "stream": True}, "/v1/completions")
    server.wait_metric("hearth_worker_running", 1)
    time.sleep(0.2)
    sock.close()
    server.wait_metric("hearth_worker_cancelled_total", before + 1, seconds=max(2, full_s))
    server.wait_metric("hearth_worker_running", 0, seconds=2)
    assert server.metric("hearth_requests_cancelled_total", stage="prefill") == 1
    assert server.metric("hearth_worker_prompt_tokens_total") < 1500 + 6000
    # 50 ms and one step: a step on a busy test machine is given plenty
    assert server.metric("hearth_cancel_seconds_sum") < max(1, full_s)


def test_leaving_in_mid_stream_stops_the_work(server):
    before = server.metric("hearth_worker_cancelled_total")
    sock = server.stream({"messages": SEA, "stream": True, "ignore_eos": True})
    got = b""
    while got.count(b"data:") < 4:
        got += sock.recv(4096)
    sock.close()
    server.wait_metric("hearth_worker_cancelled_total", before + 1, seconds=3)
    server.wait_metric("hearth_worker_kv_blocks_used", 0, seconds=3)


def test_a_killed_worker_is_replaced(launch, smollm2_path):
    server = launch(smollm2_path)
    (worker,) = server.workers()
    sock = server.stream({"messages": SEA, "stream": True, "ignore_eos": True, "max_tokens": 40, "logprobs": True})
    sock.settimeout(120)
    got = b""
    while got.count(b"data:") < 4:
        got += sock.recv(4096)
    os.kill(worker, signal.SIGKILL)
    raw = got + serving.events(sock)[1]  # it goes on where it was
    assert b"[DONE]" in raw and raw.count(b'"token":') == 40 and server.workers() != [worker]
    status, _, answer = server.chat("Say hello.", max_tokens=4)
    assert status == 200 and answer["choices"][0]["message"]["content"]


def test_many_streams_on_a_real_model(server):
    results = []

    def one(i):
        body = {"messages": [{"role": "user", "content": f"Say the number {i}."}], "stream": True, "max_tokens": 4,
                "stream_options": {"include_usage": True}}
        with server.stream(body) as sock:
            sock.settimeout(120)
            found, raw = serving.events(sock)
            results.append(b"[DONE]" in raw and found[-1]["usage"]["completion_tokens"] <= 4)

    threads = [threading.Thread(target=one, args=(i,)) for i in range(32)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(180)
    assert results == [True] * 32


def test_a_file_that_is_no_model_is_refused(hearth_bin, tmp_path):
    path = tmp_path / "broken.gguf"
    path.write_bytes(b"GGUF\x03\0\0\0" + b"\xff" * 64)
    server = serving.Server(hearth_bin, tmp_path, path, wait=False)
    assert server.process.wait(30) == 1
    assert "broken.gguf" in server.log() and "died" not in server.log(), server.log()


def test_the_second_model_speaks_too(launch, gemma3_path):
    server = launch(gemma3_path, ctx=2048)
    status, _, answer = server.post("/v1/completions", {"prompt": "1, 2, 3, 4, 5,", "max_tokens": 6, "temperature": 0}, timeout=120)
    assert status == 200 and answer["choices"][0]["text"].startswith(" 6")
