"""The two figures of a prompt of 4096 tokens: what it does to streams that run, and what a second one costs."""
import asyncio
import random
import time

import chat_trace
import load

LONG = 4096     # tokens of the prompt, about: words of one token each
STREAMS = 4     # that run meanwhile
STREAM_TOKENS = 3500
SETTLE_TOKENS = 24
SETTLE_S = 2.0
AFTER_S = 120


def text(salt, n):
    return "Text:" + chat_trace.words(random.Random(salt), n) + "\nAnswer:"


def gaps_around(times, begin, end):
    """Between two tokens of a stream, of those that any part of begin to end lies in."""
    return [b - a for a, b in zip(times, times[1:]) if b > begin and a < end]


def gap(port, salt):
    """The greatest gap in STREAMS running streams from the arrival of a long prompt to its first token."""
    return asyncio.run(gap_load(port, salt))


async def tokens_in_all(streams, n, seconds):
    end = time.perf_counter() + seconds
    while any(len(s.record.times) < n(s) for s in streams) and time.perf_counter() < end:
        if any(s.done.done() for s in streams):
            break
        await asyncio.sleep(0.01)


async def gap_load(port, salt):
    streams = [await load.open_call(port, text(f"{salt} stream {i}", 32), STREAM_TOKENS, i) for i in range(STREAMS)]
    await tokens_in_all(streams, lambda s: SETTLE_TOKENS, AFTER_S)
    await asyncio.sleep(SETTLE_S)
    begin = time.perf_counter()
    long_ = await load.open_call(port, text(f"{salt} long", LONG), 1)
    await long_.done
    had = {s: len(s.record.times) for s in streams}
    await tokens_in_all(streams, lambda s: had[s] + 1, AFTER_S)  # what was stalled until now ends here
    end = long_.record.first or long_.record.end
    errors = [c.record.error for c in (*streams, long_) if c.record.error]
    if any(s.done.done() and not s.record.error for s in streams):
        errors.append("a stream was over before the long prompt was read: raise STREAM_TOKENS")
    for s in streams:
        s.cut()
    during = [g for s in streams for g in gaps_around(s.record.times, begin, end)]
    before = [g for s in streams for g in gaps_around(s.record.times, begin - SETTLE_S, begin - 1e-9)]
    return {"gap_max": max(during, default=None), "itl_during": load.percentiles(during),
            "itl_before": load.percentile(before, 50), "ttft": end - begin, "prompt_tokens": long_.record.n_prompt,
            "n_failed": len(errors), "errors": errors}


async def first_token(port, prompt):
    call = await load.open_call(port, prompt, 4)
    await call.done
    r = call.record
    first = r.first or r.end  # an answer may bring no text: half characters alone
    return {"ttft": first - r.start, "n_prompt": r.n_prompt, "n_cached": r.n_cached, "error": r.error}


def prefix(server, salt):
    """Seconds to the first token of a prompt, of a second one with the same 4096 tokens before another question,
    and of a third one after the server was started again."""
    shared = "Text:" + chat_trace.words(random.Random(f"{salt} shared"), LONG)

    def ask(i):
        return asyncio.run(first_token(server.port, shared + text(f"{salt} question {i}", 16)))

    got = [ask(0), ask(1)]
    server.restart()
    got.append(ask(2))
    errors = [g["error"] for g in got if g["error"]]
    return {"first": got[0]["ttft"], "second": got[1]["ttft"], "restarted": got[2]["ttft"],
            "cached": [g["n_cached"] for g in got], "prompt_tokens": got[0]["n_prompt"], "n_failed": len(errors),
            "errors": errors}
