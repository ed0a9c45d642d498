"""Answers of a given form on a real model: every one matches, whatever the sampling, and is the same bytes with or
without guesses, beside others, and after its worker died."""

import json
import os
import re
import signal

import pytest
import serving
from test_worker_resume import outcome, resumed, trim
from worker_driver import Worker, chat, text

OFF, AUTO, ALWAYS = 1, 0, 2
DATE = r"(Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day, \d{1,2} [A-Z][a-z]{2,8} \d{4}(, at noon)?"
CHOICES = ["sunny", "rainy", "sunny, later rainy", "bewölkt", "晴れ"]
CITY = ('root ::= "{\\"city\\": \\"" name "\\", \\"temperature_in_degrees_celsius\\": " [0-9]{1,2} '
        '", \\"wind\\": " ("true" | "false") "}"\nname ::= [^"\\\\\\x00-\\x1f]{1,12}')
CITY_RE = r'\{"city": "[^"\\\x00-\x1f]{1,12}", "temperature_in_degrees_celsius": [0-9]{1,2}, "wind": (true|false)\}'
NESTED = 'root ::= "(" (root | [a-z])* ")"'
FORMS = {
    "regex": ({"type": "regex", "pattern": DATE}, lambda s: re.fullmatch(DATE, s)),
    "choice": ({"type": "choice", "choices": CHOICES}, lambda s: s in CHOICES),
    "gbnf": ({"type": "gbnf", "grammar": CITY}, lambda s: re.fullmatch(CITY_RE, s)),
}
WILD = {"temperature": 100}  # any token that may come is as likely


def open_worker(binary, path, **options):
    w = Worker(binary, [path], **{"ctx": 1024, "parallel": 6, **options})
    w.info = w.ready()
    assert w.info["t"] == "ready", w.info
    return w


@pytest.fixture(scope="module")
def worker(hearth_bin, smollm2_path):
    with open_worker(hearth_bin, smollm2_path) as w:
        yield w


def requests():
    ask = "What is the weather in Paris today?"
    out = {}
    for k, (name, (form, _)) in enumerate(FORMS.items()):
        for s in range(2 if name == "gbnf" else 1):
            sampling = {"temperature": s, "seed": 20 + s}
            out[f"{name} {s}"] = chat(10 * k + s, ask, constraint=form, max_tokens=60, sampling=sampling)
    gbnf = FORMS["gbnf"][0]
    out["choices"] = chat(50, ask, constraint=gbnf, n=2, max_tokens=60, sampling={"seed": 3})
    out["log probabilities"] = text(51, "Weather:", constraint=gbnf, logprobs=True, top_logprobs=2, max_tokens=60,
                                    sampling={"seed": 4})
    out["wild"] = text(52, "Weather:", constraint=gbnf, max_tokens=70, sampling={**WILD, "seed": 5})
    out["no end token"] = text(53, "Weather:", constraint=gbnf, ignore_eos=True, max_tokens=80, sampling={"seed": 6})
    out["cut by length"] = text(54, "Weather:", constraint=gbnf, max_tokens=7, sampling={"seed": 7})
    return out


@pytest.mark.parametrize("name", FORMS)
def test_every_answer_matches(worker, name):
    form, is_right = FORMS[name]
    ask = [chat(i, "What is the weather in Paris today?", constraint=form, n=2, max_tokens=80,
                sampling={"seed": i, "temperature": 1} if i < 4 else {**WILD, "seed": i}) for i in range(6)]
    for i, a in worker.answers(ask).items():
        assert a.error is None, a.error
        for k in range(2):
            assert a.end[k]["reason"] == "stop"
            assert is_right(a.text[k]), a.text[k]


def test_log_probabilities_are_those_of_the_model(worker):
    """The mask changes what is drawn, not what the model thinks of it."""
    free = text(1, "The capital of France is", max_tokens=1, logprobs=True, top_logprobs=1, sampling={"temperature": 0})
    best = worker.answer(free).tokens[0][0]
    form = {"type": "regex", "pattern": " Zebra"}
    got = worker.answer({**free, "constraint": form, "max_tokens": 8})
    assert got.text[0] == " Zebra"
    first = got.tokens[0][0]
    assert first[1] < best[1] and first[2][0][:2] == best[2][0][:2]


def essence(answer):
    return {k: v for k, v in answer.done.items() if not k.endswith("_ms") and k != "n_cached"}, answer.essence()


def test_cut_by_length_is_said(worker):
    a = worker.answer(requests()["cut by length"])
    assert a.end[0]["reason"] == "length" and a.text[0].startswith('{"city')


def test_same_bytes_with_and_without_guesses(hearth_bin, smollm2_path, worker):
    """Forced text is skipped ahead with guesses only; alone and beside one another."""
    ask = list(requests().values())
    with open_worker(hearth_bin, smollm2_path, speculate=OFF) as w:
        want = {r["id"]: essence(w.answer(r)) for r in ask}
    assert {i: essence(a) for i, a in worker.answers(ask).items()} == want
    with open_worker(hearth_bin, smollm2_path, speculate=ALWAYS) as w:
        assert {i: essence(a) for i, a in w.answers(ask).items()} == want
        stats = w.read_until(lambda f: f["t"] == "stats")[-1]
        assert stats["accepted_tokens"] > 30, "what is forced was taken several tokens at once"


def test_preempted(hearth_bin, smollm2_path, worker):
    """Too little room for keys and values: some give theirs back and go on later."""
    ask = [text(i, "Once upon a time " * 12, constraint=FORMS["gbnf"][0], max_tokens=60,
                sampling={**WILD, "seed": i}) for i in range(4)]
    want = {i: a.essence() for i, a in worker.answers(ask).items()}
    with open_worker(hearth_bin, smollm2_path, ctx=256, kv_bytes=12 << 20) as w:
        got = w.answers(ask)
    assert {i: a.essence() for i, a in got.items()} == want


@pytest.mark.parametrize("name", ["gbnf 1", "choices", "log probabilities", "wild"])
def test_goes_on_after_a_death(worker, name):
    request = requests()[name]
    whole = worker.answer(request).frames
    want = trim(outcome(whole))
    cuts = [k for k in range(1, len(whole)) if whole[k - 1]["t"] != "started"][::16]
    again = {100 + k: {**resumed(worker, request, whole[:k]), "id": 100 + k} for k in cuts}
    got = worker.answers(list(again.values()))
    for k in cuts:
        assert got[100 + k].error is None, (k, got[100 + k].error)
        assert trim(outcome(whole[:k] + got[100 + k].frames)) == want, f"cut after frame {k}"


def test_nesting_is_bounded_and_ends(worker):
    form = {"type": "gbnf", "grammar": NESTED}
    a = worker.answer(text(1, "(((", constraint=form, max_tokens=60, sampling={**WILD, "seed": 1}))
    assert a.error is None and a.end[0]["reason"] in ("stop", "length")
    depth = 0
    for c in a.text[0]:
        depth += {"(": 1, ")": -1}.get(c, 0)
        assert depth >= 0
    assert depth == 0 or a.end[0]["reason"] == "length"


def test_bad_forms_are_refused(worker):
    def refused(form):
        return worker.answer(text(1, "x", constraint=form)).error
    e = refused({"type": "gbnf", "grammar": "root ::= x", "param": "guided_grammar"})
    assert e["code"] == "invalid" and e["param"] == "guided_grammar" and "column 10" in e["message"]
    e = refused({"type": "regex", "pattern": "(a"})
    assert e["code"] == "invalid" and e["param"] == "response_format"
    assert refused({"type": "choice", "choices": []})["code"] == "invalid"
    assert refused({"type": "pear"})["code"] == "unsupported"
    assert refused({"type": "gbnf", "grammar": 'root ::= root "a" | "b"'})["code"] == "invalid"
    e = refused({"type": "schema", "schema": {"type": "pear"}, "strict": True})
    assert e["code"] == "invalid" and e["param"] == "response_format", e


def test_schema(worker):
    schema = {"type": "object", "properties": {"name": {"type": "string", "maxLength": 12}, "age": {"type": "integer"}},
              "required": ["name", "age"], "additionalProperties": False}
    for form in ({"type": "schema", "schema": schema, "strict": True}, {"type": "json"}):
        a = worker.answer(chat(1, "Who are you?", constraint=form, max_tokens=120, sampling={"temperature": 0}))
        assert a.error is None, a.error
        if a.end[0]["reason"] == "stop":
            got = json.loads(a.text[0])
            assert isinstance(got, dict)
            assert form["type"] == "json" or set(got) == {"name", "age"}
        else:
            assert a.text[0].lstrip().startswith("{")


def test_a_stream_goes_on_after_its_worker_was_killed(launch, smollm2_path):
    server = launch(smollm2_path, ctx=1024)
    ask = {"messages": [{"role": "user", "content": "What is the weather?"}], "grammar": CITY, "seed": 5,
           "temperature": 1, "max_tokens": 60}
    want = server.chat(**ask)[2]["choices"][0]["message"]["content"]
    assert re.fullmatch(CITY_RE, want)
    sock = server.stream({**ask, "stream": True})
    sock.settimeout(120)
    got = b""
    while got.count(b"data:") < 4:
        got += sock.recv(4096)
    os.kill(server.workers()[0], signal.SIGKILL)
    raw = (got + serving.events(sock)[1]).decode()
    parts = [json.loads(line[6:]) for line in raw.splitlines() if line.startswith("data: {")]
    assert "".join(p["choices"][0]["delta"].get("content") or "" for p in parts if p["choices"]) == want
    for field, bad in (("guided_regex", "(a"), ("grammar", "root ::= x"), ("guided_choice", [])):
        status, _, answer = server.chat("x", **{field: bad})
        assert status == 400 and answer["error"]["param"] == field, answer
