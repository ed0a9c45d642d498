"""Guessed tokens: the same bytes with and without them, with a draft model, and what is counted of a prediction."""

import json
import os
import signal
import subprocess

import openai
import pytest
from gguf_cut import cut_layers
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


def open_worker(binary, paths, **options):
    w = Worker(binary, paths if isinstance(paths, list) else [paths], **{"ctx": 2048, "parallel": 4, **options})
    w.info = w.ready()
    assert w.info["t"] == "ready", w.info
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


# ---- a draft model ----


def open_drafted(binary, path, draft, **options):
    return open_worker(binary, [path, draft], **{"fds": 1, "draft_fds": 1, **options})


def final_stats(worker, n_tokens):
    s = stats(worker)
    while s["output_tokens"] < n_tokens or s["running"] > 0:
        s = stats(worker)
    return s


@pytest.fixture(scope="module")
def other_draft(smollm2_path, tmp_path_factory):
    """Most of the model's own layers: guesses that hold now and then."""
    path = tmp_path_factory.mktemp("draft") / "cut.gguf"
    cut_layers(smollm2_path, path, [*range(14), *range(16, 30)])
    return path


@pytest.mark.parametrize("speculate", [ALWAYS, AUTO], ids=["always", "auto"])
def test_same_bytes_with_a_draft_model(hearth_bin, smollm2_path, other_draft, plain, speculate):
    with open_drafted(hearth_bin, smollm2_path, other_draft, speculate=speculate) as w:
        few = requests()[1::3]
        assert {r["id"]: outcome(w.answer(r)) for r in few} == {r["id"]: plain[r["id"]] for r in few}
        assert {i: outcome(a) for i, a in w.answers(requests()).items()} == plain
        if speculate == ALWAYS:
            s = stats(w)
            assert s["draft_model_tokens"] > s["draft_model_accepted"] > 0 and s["draft_s"] > 0


def test_a_model_foretells_itself(hearth_bin, smollm2_path):
    """Its own draft model: nearly each guess holds, and steps give several tokens."""
    n = 60
    ask = text(1, "Once upon a time there was", max_tokens=n, sampling=GREEDY, ignore_eos=True)
    with open_worker(hearth_bin, smollm2_path, speculate=OFF) as w:
        alone = w.answer(ask)
    with open_drafted(hearth_bin, smollm2_path, smollm2_path, speculate=ALWAYS) as w:
        a = w.answer(ask)
        s = final_stats(w, n)
    assert a.text == alone.text and a.tokens == alone.tokens
    assert s["draft_model_tokens"] > 20
    assert s["draft_model_accepted"] >= 0.9 * s["draft_model_tokens"], s
    assert s["steps"] < 0.7 * n  # the text repeats itself, and what is guessed from it holds less often


def test_a_cancelled_request_leaves_no_drafts(hearth_bin, smollm2_path):
    """The next request is drafted for after others were cancelled, in decode and in the queue."""
    with open_drafted(hearth_bin, smollm2_path, smollm2_path, speculate=ALWAYS, ctx=512, parallel=3) as w:
        for i in range(1, 7):
            w.send(text(i, f"{i} Once upon a time", max_tokens=400, sampling=GREEDY, ignore_eos=True))
        w.read_until(lambda f: f["t"] == "delta" and f["id"] == 3)
        for i in range(1, 7):
            w.send({"t": "cancel", "id": i})
        left = set(range(1, 7))
        w.read_until(lambda f: f["t"] == "error" and left.discard(f["id"]) is None and not left)
        before = w.read_until(lambda f: f["t"] == "stats" and f["running"] == 0)[-1]
        a = w.answer(text(9, "Once upon a time there was", max_tokens=40, sampling=GREEDY, ignore_eos=True))
        assert a.done["n_completion"] == 40
        after = final_stats(w, before["output_tokens"] + 40)
        assert after["draft_model_accepted"] > before["draft_model_accepted"]


@pytest.mark.parametrize("speculate", [AUTO, ALWAYS], ids=["auto", "always"])
def test_another_vocabulary_is_refused(hearth_bin, smollm2_path, gemma3_path, speculate):
    with Worker(hearth_bin, [smollm2_path, gemma3_path], fds=1, draft_fds=1, speculate=speculate) as w:
        said = w.ready()
    assert (said["t"], said["code"]) == ("failed", "invalid"), said
    assert "another vocabulary: 262144 tokens, and the model has 49152" in said["message"]


def test_another_token_is_refused(hearth_bin, smollm2_path, tmp_path):
    """As many tokens, but one of them is another."""
    data = smollm2_path.read_bytes()
    word = b"<file_sep>"
    word = len(word).to_bytes(8, "little") + word
    assert data.count(word) == 1
    other = tmp_path / "other.gguf"
    other.write_bytes(data.replace(word, word[:-2] + b"k>"))
    with Worker(hearth_bin, [smollm2_path, other], fds=1, draft_fds=1) as w:
        said = w.ready()
    assert said["t"] == "failed", said
    assert "is '<file_sek>' in it and '<file_sep>' in the model" in said["message"]


def test_a_draft_model_is_planned(hearth_bin, smollm2_path, gemma3_path):
    """`hearth plan` says what the worker says, with the draft model's share; what does not fit is refused with it."""
    args = [str(hearth_bin), "plan", str(smollm2_path), "--json", "--context", "1024", "--users", "3", "--threads", "2"]
    run = subprocess.run([*args, "--draft-model", str(smollm2_path), "--memory", "2g"], capture_output=True, text=True,
                         timeout=120)
    said = json.loads(run.stdout)
    with open_drafted(hearth_bin, smollm2_path, smollm2_path, ctx=1024, parallel=3, threads=2, memory_max=2 << 30) as w:
        info = w.info
    for key in ("weight_bytes", "kv_bytes", "scratch_bytes"):
        assert said[key] == info[key], key
    draft = said["draft"]
    assert draft["weight_bytes"] * 2 == said["weight_bytes"] and draft["kv_bytes"] * 2 == said["kv_bytes"]
    assert draft["kv_bytes"] == said["kv"]["blocks"] * draft["block_bytes"]
    assert said["total_bytes"] == said["weight_bytes"] + said["kv_bytes"] + said["scratch_bytes"]
    assert said["scratch_bytes"] == sum(said["scratch"].values())
    run = subprocess.run([*args, "--draft-model", str(smollm2_path), "--memory", "300m"], capture_output=True, text=True,
                         timeout=120)
    assert run.returncode == 1
    why = json.loads(run.stdout)["error"]
    assert "the model and its draft model need" in why and "+ the draft model's 92.1 MiB" in why
    with Worker(hearth_bin, [smollm2_path, smollm2_path], fds=1, draft_fds=1, ctx=1024, parallel=3, threads=2,
                memory_max=300 << 20) as w:
        assert w.ready()["message"] == why
    run = subprocess.run([*args, "--draft-model", str(gemma3_path)], capture_output=True, text=True, timeout=120)
    assert run.returncode == 1 and "another vocabulary" in run.stderr


def test_a_server_with_a_draft_model(launch, smollm2_path):
    """By its option; after a crash, too."""
    server = launch(smollm2_path, draft_model=smollm2_path, draft_max=3, ctx=1024)
    ask = {"messages": [{"role": "user", "content": "Write about the sea."}], "temperature": 0, "max_tokens": 40}
    first = server.chat(**ask)[2]["choices"][0]["message"]["content"]
    os.kill(server.workers()[0], signal.SIGKILL)
    assert server.metric("hearth_worker_draft_model_tokens_total") >= server.metric(
        "hearth_worker_draft_model_accepted_tokens_total")
    again = server.chat(**ask)[2]["choices"][0]["message"]["content"]
    assert again == first
    assert server.metric("hearth_worker_deaths_total") == 1


def test_options_that_lack_something(hearth_bin, smollm2_path, tmp_path):
    def serve(*args):
        return subprocess.run([str(hearth_bin), "serve", "--port", "0", "--state", "off", *map(str, args)],
                              capture_output=True, text=True, timeout=60,
                              env={"HEARTH_CONFIG": "/dev/null", "HEARTH_MODELS": str(tmp_path), "HOME": str(tmp_path)})
    run = serve("--draft-model", smollm2_path)
    assert run.returncode == 2 and "--draft-model needs a MODEL to guess for" in run.stderr
    run = serve(smollm2_path, "--draft-model", smollm2_path, "--speculate", "off")
    assert run.returncode == 2 and "--draft-model needs --speculate auto" in run.stderr
    run = serve(smollm2_path, "--draft-model", tmp_path / "none.gguf")
    assert run.returncode == 1 and "the draft model" in run.stderr and "none.gguf" in run.stderr


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
    assert plain.usage.completion_tokens_details.accepted_prediction_tokens is None
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
