"""Guessed tokens: the same bytes with and without them, and what is counted of a prediction."""

import json

import openai
import pytest
from worker_driver import Worker, chat, text

AUTO, OFF, ALWAYS = 0, 1, 2
GREEDY = {"temperature": 0}
LINES = "".join(f"item_{i} = make_item(name='item_{i}', size={i * 7}, parent=item_{i // 2})\n" for i in range(8))


def copy_prompt(lines=LINES):
    return f"# The file:\n{lines}\n# The file once more:\n{lines[:60]}"


def requests():
    """Texts that repeat something and texts that do not, sampled in all ways."""
    ways = [{}, {"max_tokens": 3}, {"n": 3}, {"logprobs": True, "top_logprobs": 4}, {"ignore_eos": True}]
    sampling = [GREEDY, {"temperature": 0.8, "seed": 5}, {"temperature": 1, "top_p": 0.9, "seed": 6},
                {"temperature": 0, "repeat_penalty": 1.2}, {"temperature": 0.7, "seed": 7, "frequency_penalty": 0.5}]
    prompts = [lambda i, **k: text(i, copy_prompt(), **k),
               lambda i, **k: chat(i, f"Repeat this exactly:\n{LINES[:200]}", **k),
               lambda i, **k: chat(i, "Write about the sea.", **k)]
    out = []
    for i in range(10):
        prediction = {"prediction": LINES[20 * i:]} if i % 2 else {}
        r = prompts[i % 3](i + 1, sampling=sampling[i // 2], **{"max_tokens": 20, **ways[(i + i // 2) % 5], **prediction})
        out.append(r)
    out.append(text(90, copy_prompt(), max_tokens=20, sampling=GREEDY, logprobs=True, echo=True))
    out.append(text(91, copy_prompt(), max_tokens=60, sampling=GREEDY, stop=["item_2"]))
    return out


def outcome(answer):
    done = {k: v for k, v in answer.done.items() if not k.endswith("_ms") and k != "n_cached"}
    return json.dumps([answer.text, answer.tokens, answer.end, done], sort_keys=True)


def stats(worker):
    return worker.read_until(lambda f: f["t"] == "stats")[-1]


def open_worker(binary, path, **options):
    w = Worker(binary, [path], ctx=2048, parallel=4, **options)
    info = w.ready()
    assert info["t"] == "ready", info
    return w


@pytest.fixture(scope="module")
def plain(hearth_bin, smollm2_path):
    with open_worker(hearth_bin, smollm2_path, speculate=OFF) as w:
        answers = {r["id"]: w.answer(r) for r in requests()}
    return {i: outcome(a) for i, a in answers.items()}


@pytest.mark.parametrize("options", [{"speculate": ALWAYS}, {"speculate": AUTO}],
                         ids=["always", "auto"])
def test_same_bytes(hearth_bin, smollm2_path, plain, options):
    """Some alone, then all at once; the guard against allocation is armed in these workers."""
    with open_worker(hearth_bin, smollm2_path, **options) as w:
        few = requests()[::3]
        assert {r["id"]: outcome(w.answer(r)) for r in few} == {r["id"]: plain[r["id"]] for r in few}
        assert {i: outcome(a) for i, a in w.answers(requests()).items()} == plain


def test_same_bytes_with_gemma(hearth_bin, gemma3_path):
    """Another kind of model: sliding windows, large vocabulary."""
    ask = [text(i, copy_prompt(LINES[:300]), max_tokens=16, sampling=s, ignore_eos=True)
           for i, s in enumerate([GREEDY, {"temperature": 1, "seed": 3}])]
    got = []
    for speculate in (OFF, ALWAYS):
        with open_worker(hearth_bin, gemma3_path, speculate=speculate) as w:
            got.append([outcome(w.answer(r)) for r in ask])
    assert got[0] == got[1]


def test_guesses_are_computed_and_hold(hearth_bin, smollm2_path):
    with open_worker(hearth_bin, smollm2_path, speculate=ALWAYS) as w:
        a = w.answer(text(1, copy_prompt(), max_tokens=80, sampling=GREEDY, ignore_eos=True))
        assert a.done["n_completion"] == 80
        s = stats(w)
        while s["output_tokens"] < 80:
            s = stats(w)
        assert s["drafted_tokens"] >= s["accepted_tokens"] > 20


def test_a_prediction_is_counted(hearth_bin, smollm2_path):
    """Whether guesses are used or not; a token counts once, in each choice."""
    ask = {"max_tokens": 40, "sampling": GREEDY}
    counts = []
    for speculate in (OFF, ALWAYS):
        with open_worker(hearth_bin, smollm2_path, speculate=speculate) as w:
            a = w.answer(chat(1, "Write about the sea.", **ask))
            assert (a.done["n_foretold"], a.done["n_not_met"]) == (0, 0)
            whole = a.text[0]
            n = len(w.call({"t": "tokenize", "id": 2, "text": whole})["tokens"])
            for prediction, n_choice in [(whole, 1), (whole, 2), (whole[len(whole) // 2:], 1), ("Ωψ" * 10, 1), ("", 1)]:
                b = w.answer(chat(3, "Write about the sea.", prediction=prediction, n=n_choice, **ask))
                assert b.text[0] == whole
                counts.append((b.done["n_foretold"], b.done["n_not_met"]))
    assert counts[:5] == counts[5:]
    assert sum(counts[0]) == n and counts[0][0] >= 0.9 * a.done["n_completion"]
    assert counts[1] == (2 * counts[0][0], 2 * counts[0][1])  # greedy: both choices are the same
    assert 0.4 * n < counts[2][0] <= sum(counts[2]) < 0.6 * n + 2
    assert counts[3][0] <= 2 and counts[3][1] > 10
    assert counts[4] == (0, 0)


# ---- through the gateway ----


@pytest.fixture(scope="module")
def client(server):
    return openai.OpenAI(base_url=server.url + "/v1", api_key="none", max_retries=0, timeout=120)


def test_prediction_of_a_chat(client, server):
    model = client.models.list().data[0].id
    messages = [{"role": "user", "content": f"Repeat this exactly:\n{LINES[:200]}"}]
    plain = client.chat.completions.create(model=model, messages=messages, temperature=0, max_tokens=30)
    assert plain.usage.completion_tokens_details is None
    said = plain.choices[0].message.content
    for content in (said, [{"type": "text", "text": said[:20]}, {"type": "text", "text": said[20:]}]):
        answer = client.chat.completions.create(model=model, messages=messages, temperature=0, max_tokens=30,
                                                prediction={"type": "content", "content": content})
        assert answer.choices[0].message.content == said
        details = answer.usage.completion_tokens_details
        assert 25 < details.accepted_prediction_tokens <= answer.usage.completion_tokens
        assert details.rejected_prediction_tokens < 5
    stream = client.chat.completions.create(model=model, messages=messages, temperature=0, max_tokens=30, stream=True,
                                            stream_options={"include_usage": True},
                                            prediction={"type": "content", "content": "Something else entirely."})
    usage = [c.usage for c in stream if c.usage][-1]
    assert usage.completion_tokens_details.rejected_prediction_tokens > 0
    for name in ("drafted", "accepted"):
        assert server.metric(f"hearth_worker_{name}_tokens_total") >= 0


def test_a_bad_prediction_is_refused(server):
    status, _, answer = server.chat(prediction={"type": "content", "content": [5]}, max_tokens=1)
    assert (status, answer["error"]["param"]) == (400, "prediction.content"), answer
