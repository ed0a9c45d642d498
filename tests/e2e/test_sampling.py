"""Sampling from the outside: every parameter does something, or is refused by its name."""
import math
import os
import signal
import threading
import time

import pytest
from worker_driver import Worker, text

PROMPT = "Once upon a time there was a fox who lived in a"
BASE = {"prompt": PROMPT, "max_tokens": 12, "seed": 5, "temperature": 1.2, "ignore_eos": True}
LAST = {"temperature": 0, "prompt": "one two three, one two three, one two three, one two three, one two", "max_tokens": 6}
# Each changes the answer of BASE with the fields before the comma.
EFFECTS = [
    ({}, {"seed": 6}), ({}, {"temperature": 0.5}), ({}, {"top_k": 3}), ({}, {"top_p": 0.3}), ({}, {"min_p": 0.4}),
    ({}, {"typical_p": 0.2}), ({}, {"top_n_sigma": 0.5}), ({"top_p": 0.01}, {"min_keep": 40}),
    ({}, {"xtc_probability": 1, "xtc_threshold": 0.02}), ({"xtc_probability": 1}, {"xtc_threshold": 0.01}),
    ({}, {"dynatemp_range": 1.1}), ({"dynatemp_range": 1.1}, {"dynatemp_exponent": 5}),
    ({"temperature": 0}, {"repeat_penalty": 1.8}), ({"temperature": 0}, {"repetition_penalty": 1.8}),
    ({"temperature": 0, "repeat_penalty": 1.8}, {"repeat_last_n": 2}), ({"temperature": 0}, {"presence_penalty": 2}),
    ({"temperature": 0}, {"frequency_penalty": 2}), ({"temperature": 0, "presence_penalty": 2}, {"penalty_last_n": -1}),
    (LAST, {"dry_multiplier": 5}), ({**LAST, "dry_multiplier": 5}, {"dry_allowed_length": 40}),
    ({**LAST, "dry_multiplier": 1e-6}, {"dry_base": 50}), ({**LAST, "dry_multiplier": 5}, {"dry_penalty_last_n": 2}),
    ({**LAST, "dry_multiplier": 5}, {"dry_sequence_breakers": ["two", "three"]}),
    ({}, {"mirostat": 1, "mirostat_tau": 1}), ({}, {"mirostat": 2, "mirostat_tau": 1}),
    ({"mirostat": 2}, {"mirostat_tau": 0.5}), ({"mirostat": 2, "mirostat_tau": 1}, {"mirostat_eta": 1}),
    ({"top_p": 0.5}, {"samplers": ["temperature"]}),
    ({"temperature": 0}, {"use_beam_search": True, "beam_width": 4}),
]
PLAIN = {}  # answers that several are compared with


def answer(server, **more):
    status, _, got = server.post("/v1/completions", {**BASE, **more}, timeout=120)
    assert status == 200, got
    return got["choices"][0]["text"]


@pytest.mark.parametrize("before,more", EFFECTS, ids=lambda v: "-".join(v))
def test_it_has_an_effect(server, before, more):
    key = repr(before)
    if key not in PLAIN:
        PLAIN[key] = answer(server, **before)
    assert answer(server, **{**before, **more}) != PLAIN[key]


def test_samplers_are_applied_in_the_order_given(server):
    """Hot before the cut is not hot after it; a stage that is not named is not there."""
    hot = {"temperature": 5, "top_p": 0.6, "max_tokens": 40}
    first = answer(server, **hot, samplers=["temperature", "top_p"])
    last = answer(server, **hot, samplers=["top_p", "temperature"])
    assert first != last == answer(server, **hot) == answer(server, **hot, samplers="pt")
    assert answer(server, samplers=["temperature"], top_k=1) == answer(server)


def test_banned_strings_never_appear(server):
    free = answer(server, temperature=0, max_tokens=30)
    words = [w for w in free.split() if w.isalpha()]
    banned = sorted(set(words[:6])) + [free[10:14], "e t"]
    for more in ({"temperature": 0}, {"temperature": 1.2}, {"top_k": 5}):
        for seed in range(2):
            got = answer(server, max_tokens=30, **{**more, "seed": seed, "banned_strings": banned})
            assert not any(b in got for b in banned), (banned, got)
    assert answer(server, temperature=0, bad_words=["zzzzqq"]) == answer(server, temperature=0)
    status, _, error = server.post("/v1/completions", {**BASE, "banned_strings": ["a\ufffd"]})
    assert status == 400 and error["error"]["param"] == "banned_strings"


def test_bias_by_text_and_in_pairs(server):
    assert answer(server, logit_bias={" dog": 100}, max_tokens=3) == " dog dog dog"
    assert answer(server, logit_bias=[[" dog", 200]], max_tokens=2) == " dog dog"
    first = answer(server, temperature=0, max_tokens=1)
    assert answer(server, temperature=0, max_tokens=1, logit_bias=[[first, False]]) != first
    assert answer(server, temperature=0, max_tokens=1, logit_bias={first: False}) != first
    status, _, error = server.post("/v1/completions", {**BASE, "logit_bias": {" incomprehensibilities": 1}})
    assert status == 400 and error["error"]["param"] == "logit_bias" and "tokens" in error["error"]["message"]


def test_min_tokens(server):
    ask = {"prompt": "Question: 1 + 1?\nAnswer: 2", "temperature": 1.5, "ignore_eos": False, "max_tokens": 30, "top_k": 0}

    def n(**more):
        got = [server.post("/v1/completions", {**BASE, **ask, "seed": s, **more}, timeout=120)[2] for s in range(4)]
        return [g["usage"]["completion_tokens"] for g in got]

    eos = {"logit_bias": {"2": 12, "0": 12}}
    assert min(n(**eos)) < 20 <= min(n(min_tokens=20, **eos))


def test_probabilities_after_sampling(server):

    def logprobs(**more):
        got = server.post("/v1/completions", {**BASE, "max_tokens": 6, "logprobs": 5, **more}, timeout=120)[2]
        return got["choices"][0]["logprobs"]

    cut = logprobs(top_k=2, post_sampling_probs=True)
    for top in cut["top_logprobs"]:
        assert len(top) == 2 and math.isclose(sum(math.exp(v) for v in top.values()), 1, abs_tol=1e-4)
    assert len(logprobs(top_k=2)["top_logprobs"][0]) == 5


@pytest.mark.parametrize("more", [{"mirostat": 2, "mirostat_tau": 2, "mirostat_eta": 0.7},
                                  {"use_beam_search": True, "n": 2, "max_tokens": 30}], ids=["mirostat", "beams"])
def test_the_worker_is_killed(server, more):
    ask = {**BASE, "max_tokens": 80, **more}
    want = server.post("/v1/completions", ask, timeout=120)[2]["choices"]
    got = {}
    thread = threading.Thread(target=lambda: got.update(a=server.post("/v1/completions", ask, timeout=120)[2]))
    before = server.workers()
    thread.start()
    time.sleep(0.4)
    os.kill(before[0], signal.SIGKILL)
    thread.join()
    assert got["a"]["choices"] == want
    assert server.workers() != before


# ---- beam search, against one written down here

@pytest.fixture(scope="module")
def worker(hearth_bin, smollm2_path):
    with Worker(hearth_bin, [smollm2_path], ctx=512, parallel=8) as w:
        w.ready()
        yield w


def beams(worker, prompt, width, n, length, penalty, end):
    """Hypotheses as (score, tokens, ended); log probabilities come from plain requests."""
    live, done, ask = [(0.0, [])], [], 100
    for step in range(1, length + 1):
        requests = [text(ask + i, prompt, kind="tokens", tokens=prompt + t, max_tokens=1, logprobs=True,
                         top_logprobs=2 * width, ignore_eos=False, sampling={"temperature": 1, "seed": 1})
                    for i, (_, t) in enumerate(live)]
        for r in requests:
            del r["text"]
        answers = worker.answers(requests)
        ranked = []
        for i, (total, tokens) in enumerate(live):
            for t in answers[ask + i].tokens[0][0][3]:
                ranked.append((total + t[1], tokens + [t[0]]))
        ask += len(live)
        ranked.sort(key=lambda c: -c[0])
        done += [(s / step ** penalty, t[:-1], True) for s, t in ranked[:width] if t[-1] in end]
        live = [c for c in ranked[:2 * width] if c[1][-1] not in end][:width]
        done = sorted(done, key=lambda d: -d[0])[:width]
        if len(done) == width and live[0][0] / step ** penalty <= done[-1][0]:
            break
    done += [(s / len(t) ** penalty, t, False) for s, t in live]
    return sorted(done, key=lambda d: -d[0])[:n]


@pytest.mark.parametrize("width,n,penalty", [(1, 1, 1), (2, 1, 1), (4, 3, 0), (5, 5, 2)])
def test_beam_search(worker, width, n, penalty):
    prompt = worker.call({"t": "tokenize", "id": 7, "text": "The three primary colours are red,"})["tokens"]
    request = text(8, "", kind="tokens", tokens=prompt, max_tokens=7, n=n,
                   sampling={"beam_width": width, "length_penalty": penalty})
    del request["text"]
    got = worker.answer(request)
    assert got.error is None, got.error
    want = beams(worker, prompt, width, n, 7, penalty, {0, 2})
    assert [[t[0] for t in got.tokens.get(i, [])] for i in range(n)] == [t for _, t, _ in want]
    assert [got.end[i]["reason"] for i in range(n)] == ["stop" if e else "length" for _, _, e in want]


@pytest.mark.parametrize("more,param", [
    ({"sampling": {"beam_width": 2, "mirostat": 1}}, "mirostat"), ({"sampling": {"beam_width": 2}, "logprobs": True}, "logprobs"),
    ({"sampling": {"beam_width": 2}, "echo": True}, "echo"), ({"sampling": {"beam_width": 2}, "n": 3}, "n")])
def test_what_beam_search_is_not_for(worker, more, param):
    got = worker.answer(text(9, "a", max_tokens=4, **more))
    assert got.error["param"] == param
