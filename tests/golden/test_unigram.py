"""Unigram tokenizers (T5, XLM-RoBERTa) against SentencePiece itself: the same ids, whatever the text is."""

import math
import subprocess

import numpy as np
import pytest

from encoder_reference import Encoder, tiny
from random_text import texts
from test_tokenizer import encode
from unigram_model import SENTENCES, T5, XLMR, Unigram, train

N_TEXTS = 3000
CASES = ["", " ", "  \u3000 ", "\u200b", "a", " a  b ", "\u2581", "\u2581\u2581 x", "Ⅷ ﷺ ﬁ ½ ｶﾞ ① ㌔", "e\u0301 ü", "x\u200by",
         "\t\n a \r\n", "🦊🦊 🦊", "\ufdfa" * 40, "a\u0000b"[:1], "<mask> </s> <unk>", "x" * 3000, " " * 3000 + "x",
         "자유" * 500, "\u0301\u0301", "ﾊﾟ", "Ａ　Ｂ"]


@pytest.fixture(scope="module", params=[("nmt_nfkc", T5), ("nmt_nfkc", XLMR), ("nmt_nfkc_cf", XLMR), ("identity", T5)],
                ids=lambda p: "-".join(p))
def unigram(request, tmp_path_factory):
    rules, layout = request.param
    one = Unigram(train(rules=rules), layout)
    return one, one.write(tmp_path_factory.mktemp("unigram") / "vocab.gguf")


def check(hearth_bin, one, path, many):
    got = encode(hearth_bin, path, [t.encode() for t in many])
    wrong = [i for i, t in enumerate(many) if got[i] != one.ids(t)]
    if wrong:
        i = min(wrong, key=lambda i: len(many[i]))
        pytest.fail(f"{len(wrong)} of {len(many)} texts differ; the shortest is {many[i]!a}:\n"
                    f"got  {got[i]}\nwant {one.ids(many[i])}\n{[one.pieces[x][0] for x in one.ids(many[i])]}")


def test_equals_sentencepiece(hearth_bin, unigram):
    one, path = unigram
    check(hearth_bin, one, path, CASES + SENTENCES + [s.replace(" ", "  ") for s in SENTENCES])
    words = [p[0].replace("\u2581", " ") for p in one.pieces[4:]]
    check(hearth_bin, one, path, [t.replace("\0", "") for t in texts(7, N_TEXTS, words)])


def test_bytes_that_are_no_text(hearth_bin, unigram):
    """What is no UTF-8 counts as U+FFFD, a byte each."""
    one, path = unigram
    many = [b"a\xffb", b"\xe3\x81", b"\xf0\x9f\xa6 x", b"\xed\xa0\x80", b"\xc0\xafz"]
    assert encode(hearth_bin, path, many) == [one.ids(m) for m in many]


def test_back_to_text(hearth_bin, unigram):
    one, path = unigram
    unknown = one.ids("\U0001f98a")[-1]
    known = [s for s in SENTENCES if unknown not in one.ids(s)]
    lines = "".join(" ".join(map(str, one.ids(s))) + "\n" for s in known)
    done = subprocess.run([hearth_bin, "tokenize", "--decode", "-0", path], input=lines.encode(), capture_output=True,
                          check=True)
    shift = 1 if one.layout == XLMR else 0
    want = [one.sp.decode([i - shift for i in one.ids(s)]) for s in known]
    assert len(want) > 5
    assert done.stdout.decode().split("\0")[:-1] == want


@pytest.mark.parametrize("cut", [b"", b"\1", b"\4\0\0\0", b"\4\0\0\0\0\0\0\0x", b"\xfc\xff\xff\xff" + b"\0" * 60,
                                 b"\5\0\0\0" + b"\0" * 60])
def test_rules_that_are_none(hearth_bin, tmp_path, unigram, cut):
    one, _ = unigram
    if cut == b"" or not one.charsmap:
        pytest.skip("no rules are fine")
    broken = Unigram.__new__(Unigram)
    broken.__dict__ = {**one.__dict__, "charsmap": cut}
    path = broken.write(tmp_path / "bad.gguf")
    done = subprocess.run([hearth_bin, "tokenize", path], input=b"a", capture_output=True)
    assert done.returncode == 1 and b"precompiled_charsmap" in done.stderr


def test_rules_that_lead_nowhere(hearth_bin, tmp_path):
    """Every unit of the trie replaced: answers may be any, but there is one."""
    one = Unigram(train(), XLMR)
    rng = np.random.default_rng(3)
    for n in range(6):
        bad = bytearray(one.charsmap)
        n_trie = int.from_bytes(bad[:4], "little")
        for at in rng.integers(4, 4 + n_trie, n_trie >> n):
            bad[at] = int(rng.integers(0, 256))
        broken = Unigram.__new__(Unigram)
        broken.__dict__ = {**one.__dict__, "charsmap": bytes(bad)}
        assert all(encode(hearth_bin, broken.write(tmp_path / "bad.gguf"), [s.encode() for s in SENTENCES]))


def test_encoder_and_reranker(launch, tmp_path):
    """BERT with XLM-RoBERTa's tokenizer, as BGE-M3 and bge-reranker-v2-m3 are: <s> a </s></s> b </s>."""
    one = Unigram(train(), XLMR)
    path = tiny(tmp_path / "m3.gguf", pooling=2, unigram=one)
    reference, server = Encoder.of_gguf(path), launch(path)
    inputs = ["", "Все люди", "人人生而自由 and equal"]
    ids = [[0, *one.ids(s), 2] for s in inputs]
    status, _, answer = server.post("/v1/embeddings", {"input": inputs[1:]})
    assert status == 200 and answer["usage"]["prompt_tokens"] == sum(map(len, ids[1:]))
    for x, d in zip(ids[1:], answer["data"]):
        want = reference.rows(x)[0].astype(np.float64)
        assert np.dot(want, d["embedding"]) / np.linalg.norm(want) > 0.99999
    path = tiny(tmp_path / "ranker.gguf", pooling=4, n_label=1, unigram=one)
    reference, server = Encoder.of_gguf(path), launch(path)
    pairs = [[0, *one.ids("free people"), 2, 2, *one.ids(d), 2] for d in inputs]
    status, _, answer = server.post("/v1/rerank", {"query": "free people", "documents": inputs})
    assert status == 200 and answer["usage"]["prompt_tokens"] == sum(map(len, pairs))
    for r in answer["results"]:
        pair = pairs[r["index"]]
        score = float(reference.score(pair, 0)[0])
        assert r["relevance_score"] == pytest.approx(1 / (1 + math.exp(-score)), abs=1e-3)
