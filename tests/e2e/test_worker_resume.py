"""A request that goes on in another worker: what its client has, and what comes then, is the whole answer."""

import pytest
from worker_driver import Answer, Worker, chat, text

LONG = "Once upon a time there was a fox. " * 3
CUTS = 12  # of one answer, evenly spread
TOOLS = [{"type": "function", "function": {"name": name, "parameters": {
    "type": "object", "properties": {"city": {"type": "string", "maxLength": 12}, "n": {"type": "integer"}},
    "required": ["city"]}}} for name in ("look", "tell")]
ODD = {"temperature": 100, "seed": 11}  # half characters, control tokens


@pytest.fixture(scope="module")
def worker(hearth_bin, smollm2_path):
    with Worker(hearth_bin, [smollm2_path], ctx=1024, parallel=6) as w:
        w.info = w.ready()
        yield w


def called(request):
    """The same with tools, of which one must be called."""
    return {**request, "chat": {**request["chat"], "tools": TOOLS}, "parse": True, "tool_choice": 2}


def requests(worker):
    count = {"max_tokens": 16, "sampling": {"temperature": 0}}
    full = worker.answer(text(1, "Count: one, two, three, four,", **count)).text[0]
    return {
        "chat": chat(1, "Tell me a story about a river.", max_tokens=12, sampling={"seed": 7}),
        "to its own end": chat(1, "Say only: yes.", max_tokens=40, sampling={"temperature": 0}),
        "choices": chat(1, "Write a poem.", max_tokens=6, n=3, sampling={"seed": 8, "top_p": 0.9}),
        "log probabilities": text(1, "The", max_tokens=10, logprobs=True, top_logprobs=2,
                                  sampling={"seed": 1, "typical_p": 0.8, "repeat_penalty": 1.2}),
        "echo": text(1, "Paris is\u00a0the", max_tokens=4, n=2, echo=True, sampling={"seed": 3}),
        "scored echo": text(1, LONG, max_tokens=4, n=2, echo=True, logprobs=True, top_logprobs=1,
                            sampling={"seed": 9, "presence_penalty": 1.5}),
        "only the echo": text(1, LONG * 3, max_tokens=0, n=2, echo=True, logprobs=True),
        "nothing": text(1, "The", max_tokens=0, n=2),
        "stop": text(1, "Count: one, two, three, four,", stop=["@", full[9:17]], **count),
        "almost stops": text(1, "Count: one, two, three, four,", stop=[full[2:9] + "@", full + "@"], **count),
        "half characters": text(1, "🦊漢字é", max_tokens=12, ignore_eos=True, n=2, sampling=ODD),
        "half characters, stop": text(1, "🦊漢字é", max_tokens=16, stop=["\ufffd"], sampling=ODD),
        "calls": called(chat(1, "What is the weather in Bonn?", max_tokens=40, n=2, sampling={"seed": 4})),
        "a named call": {**called(chat(1, "Bonn?", max_tokens=30, sampling={"seed": 5})), "tool_name": "tell",
                         "one_tool_call": True},
        "perhaps a call": {**called(chat(1, "Bonn?", max_tokens=20, sampling={"seed": 6})), "tool_choice": 0},
        "penalties": text(1, "la la la", max_tokens=12, ignore_eos=True,
                          sampling={"seed": 2, "frequency_penalty": 1.5, "repeat_penalty": 1.3, "repeat_last_n": 4}),
        "mirostat": text(1, "🦊漢字é", max_tokens=14, n=2,
                         sampling={"seed": 4, "mirostat": 2, "mirostat_tau": 3.3, "mirostat_eta": 0.9}),
        "mirostat 1, log probabilities": text(1, "The", max_tokens=12, logprobs=True, top_logprobs=1,
                                              sampling={"seed": 5, "mirostat": 1, "temperature": 1.3, "post_probs": True}),
        "of the text": text(1, "a b a b a b a", max_tokens=14, ignore_eos=True,
                            sampling={"seed": 5, "dry_multiplier": 1.5, "dry_allowed_length": 1, "xtc_probability": 0.5,
                                      "dynatemp_range": 0.5, "banned": [" b", "a a"], "min_tokens": 4}),
        "beams": text(1, "The capital of France is", max_tokens=8, n=2, sampling={"beam_width": 3}),
    }


def resumed(worker, request, frames):
    """The request as the gateway sends it when only these frames of the first worker arrived."""
    had = Answer()
    for f in frames:
        had.take(f)
    prior = []
    for i in range(request.get("n", 1)):
        if i in had.end:
            prior.append({"ended": True, "tokens": [], "n_completion": had.end[i]["n_completion"]})
        else:
            tokens = had.tokens.get(i, [])
            prior.append({"tokens": [t[0] for t in tokens], "text_len": len(had.text.get(i, "").encode()),
                          "n_calls": sum("name" in f for f in frames if f["t"] == "delta" and f["index"] == i)})
            if "mirostat" in request.get("sampling", {}) and tokens:
                prior[-1].update(has_mu=True, mu=tokens[-1][-1])
    return {**request, "resume": {"n_ctx": worker.info["n_ctx"], "n_prompt": frames[0]["n_prompt"],
                                  "prompt_hash": frames[0]["prompt_hash"], "prior": prior}}


def outcome(frames):
    a = Answer()
    for f in frames:
        a.take(f)
    assert a.error is None, a.error
    ends = {i: (e["reason"], e["stop"], e["n_completion"]) for i, e in a.end.items()}
    names = [(f["index"], f["call"], f["name"]) for f in frames if f["t"] == "delta" and "name" in f]
    return a.text, a.tokens, ends, a.done["n_prompt"], a.done["n_completion"], sorted(names)


NAMES = ["chat", "to its own end", "choices", "log probabilities", "echo", "scored echo", "only the echo", "nothing",
         "stop", "almost stops", "half characters", "half characters, stop", "calls", "a named call",
         "perhaps a call", "penalties", "mirostat", "mirostat 1, log probabilities", "of the text", "beams"]


def trim(o):
    """Choices without text or tokens may be absent."""
    return ({i: t for i, t in o[0].items() if t}, {i: t for i, t in o[1].items() if t}) + o[2:]


@pytest.mark.parametrize("name", NAMES)
def test_cut_anywhere(worker, name):
    """The worker died after one of its frames; all these requests then run beside one another."""
    request = requests(worker)[name]
    whole = [f for f in worker.answer(request).frames]
    want = trim(outcome(whole))
    cuts = [k for k in range(1, len(whole)) if whole[k - 1]["t"] != "started"]
    if len(cuts) > CUTS:  # with the first and the last
        cuts = sorted({cuts[i * (len(cuts) - 1) // (CUTS - 1)] for i in range(CUTS)})
    again = {100 + k: {**resumed(worker, request, whole[:k]), "id": 100 + k} for k in cuts}
    got = worker.answers(list(again.values()))
    for k in cuts:
        rest = got[100 + k]
        assert rest.error is None, (k, rest.error)
        twice = [i for i in rest.end if any(f["t"] == "end" and f["index"] == i for f in whole[:k])]
        assert not twice, "an end was told twice"
        assert trim(outcome(whole[:k] + rest.frames)) == want, f"cut after frame {k} of {len(whole)}: {whole[k - 1]}"


def test_twice(worker):
    """It may die again: what came of the second life counts too."""
    request = requests(worker)["choices"]
    whole = worker.answer(request).frames
    want = trim(outcome(whole))
    first = whole[:7]
    second = worker.answer(resumed(worker, request, first)).frames
    both = first + second[:6]
    third = worker.answer(resumed(worker, request, both)).frames
    assert trim(outcome(both + third)) == want


def test_what_does_not_fit_is_refused(worker):
    request = text(1, "The", max_tokens=4)
    frames = worker.answer(request).frames
    good = resumed(worker, request, frames[:3])
    def change(**more):
        return {**good, "resume": {**good["resume"], **more}}
    assert worker.answer(change(n_prompt=7)).error["code"] == "unavailable"
    assert "reads differently" in worker.answer(change(prompt_hash=1)).error["message"]
    assert worker.answer(change(prior=[])).error["param"] == "prior"
    assert worker.answer(change(prior=[{"tokens": [1] * 5}])).error["param"] == "prior"
    assert worker.answer(change(prior=[{"tokens": [49152]}])).error["param"] == "prior"
    assert "too few" in worker.answer({**change(n_ctx=1 << 20), "max_tokens": -1}).error["message"]
    assert worker.answer(good).done
