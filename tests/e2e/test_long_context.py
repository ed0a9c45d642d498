"""A prompt of 32k tokens beside a stream: what must hold on every machine, however fast. The figures are
bench/long_context.py's."""
import re
import subprocess
import sys
from pathlib import Path

import pytest
from worker_driver import Answer, Worker

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

from make_tiny_models import N_VOCAB, Maker  # noqa: E402

N_PROMPT, N_CTX = 32768, 40960
BATCH_MAX = 256  # src/worker/load_plan.c


@pytest.fixture(scope="module")
def model_path(tmp_path_factory):
    """Rotary factors as Llama 3.1 has them; small enough that 32k tokens take seconds."""
    path = tmp_path_factory.mktemp("long") / "long.gguf"
    maker = Maker("llama-rope-freqs", path)
    maker.n_ctx, maker.n_layer = N_CTX, 1
    maker.make()
    return path


def request(id, tokens, **more):
    return {"t": "generate", "id": id, "kind": "tokens", "tokens": tokens, "ignore_eos": True, "sampling": {"seed": 3}, **more}


def ids(n):
    return [(i * i * 7 + i // 3) % N_VOCAB for i in range(n)]


def beside_a_stream(w):
    """The prompt's and the stream's answers, and the statistics of the time in which both ran."""
    prompt, stream, stats, running = Answer(), Answer(), [], False
    w.send(request(1, ids(40), max_tokens=N_CTX - 64))
    w.read_until(lambda f: f["t"] == "delta")
    w.send(request(2, ids(N_PROMPT), max_tokens=4))
    while prompt.done is None:
        frame = w.read()
        assert frame is not None, w.last_words()
        if frame.get("id") == 2:
            prompt.take(frame)
            assert prompt.error is None, prompt.error
            running = frame["t"] == "started" or (running and frame["t"] != "delta")
        elif frame["t"] == "stats" and running:
            stats.append(frame)
        elif running:
            stream.take(frame)
    return prompt, stream, stats


@pytest.mark.parametrize("kv_type", ["f16", "q8_0"])
def test_32k_tokens_beside_a_stream(hearth_bin, model_path, kv_type):
    """Each step has a token of the stream and at most a batch of the prompt; memory stays within the plan; and the
    answer is the one that the prompt has alone."""
    options = {"ctx": N_CTX, "parallel": 2, "kv_type": ["f16", "q8_0"].index(kv_type), "threads": 2}
    with Worker(hearth_bin, [model_path], **options) as w:
        info = w.ready()
        prompt, stream, stats = beside_a_stream(w)
        assert prompt.done["n_prompt"] == N_PROMPT and prompt.done["n_completion"] == 4
        assert len(stream.tokens[0]) >= N_PROMPT // BATCH_MAX, "it stood still meanwhile"
        for a, b in zip(stats, stats[1:]):
            n_steps = b["steps"] - a["steps"]
            assert b["output_tokens"] - a["output_tokens"] >= n_steps, "a step without the stream's token"
            assert b["prompt_tokens"] - a["prompt_tokens"] <= (BATCH_MAX - 1) * n_steps
        status = Path(f"/proc/{w.process.pid}/status").read_text(encoding="utf-8")
        peak = int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) << 10
        assert peak <= info["weight_bytes"] + info["kv_bytes"] + info["scratch_bytes"]
    with Worker(hearth_bin, [model_path], **options) as w:
        w.ready()
        alone = w.answer(request(2, ids(N_PROMPT), max_tokens=4))
        assert alone.tokens == prompt.tokens and alone.text == prompt.text


def test_step_time_divides_prompts(hearth_bin, smollm2_path):
    """The setting says how much of a prompt a step takes beside a stream, and changes no answer."""
    tokens = [(i * i * 7 + i // 3) % 40000 + 20 for i in range(1000)]
    n_beside, answers = [], []
    for step_ms in (5, 2000):
        with Worker(hearth_bin, [smollm2_path], ctx=2048, parallel=2, threads=2, step_ms=step_ms) as w:
            w.ready()
            stream, prompt, n = Answer(), Answer(), 0
            w.send(request(1, tokens[:40], max_tokens=1500))
            w.read_until(lambda f: f["t"] == "delta")
            w.send(request(2, tokens, max_tokens=4))
            while prompt.done is None:
                frame = w.read()
                assert frame is not None, w.last_words()
                (prompt if frame.get("id") == 2 else stream).take(frame)
                started = any(f["t"] == "started" for f in prompt.frames)
                n += started and not prompt.tokens and frame["t"] == "delta" and frame.get("id") == 1
            n_beside.append(n)
            answers.append(prompt.tokens)
    assert n_beside[0] > 3 * n_beside[1], n_beside
    assert answers[0] == answers[1]


@pytest.mark.parametrize("time", ["1ms", "2m", "fast"])
def test_step_time_is_checked(hearth_bin, time):
    done = subprocess.run([str(hearth_bin), "serve", "--step-time", time], capture_output=True, text=True, timeout=60)
    assert done.returncode != 0 and "--step-time" in done.stderr
