#!/usr/bin/env python3
"""A long prompt arrives while a stream runs: what becomes of the stream, step by step of the prompt's depth, what memory
the worker takes beside its plan, and how long the prompt takes.

    bench/long_context.py MODEL [--tokens 32768] [--kv-types f16,q8_0] [--band 4096] [--threads N]

Drives one worker over its socket, as the gateway does. The depth of the prompt at a time is taken from the worker's
statistics, which come about once a second.
"""
import argparse
import os
import pathlib
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "e2e"))

from worker_driver import Worker  # noqa: E402

KV_TYPES = ["f16", "q8_0", "q4_0"]
SETTLE_TOKENS = 64
PROMPT_OUT = 4


def ids(n, n_vocab):
    return [(i * i * 7 + i * 13 + 11) % n_vocab for i in range(n)]


def percentile(values, p):
    """Of the nearest rank."""
    v = sorted(values)
    return v[min(len(v) - 1, int(len(v) * p / 100))]


def memory_bytes(pid, key):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(key + ":"):
            return int(line.split()[1]) << 10
    raise KeyError(key)


def depth_at(stats, at):
    """Tokens of the prompt that were computed at a time: between two statistics, in proportion."""
    for (t0, d0, _), (t1, d1, _) in zip(stats, stats[1:]):
        if t0 <= at < t1:
            return d0 + (d1 - d0) * (at - t0) / (t1 - t0)
    return stats[-1][1] if at >= stats[-1][0] else 0


def measure(worker, n_tokens):
    """One stream decodes; the prompt comes; until it has its tokens. Times in seconds from its arrival."""
    info = worker.ready()
    assert info["t"] == "ready", info
    times, stats, first, end = [], [], None, None
    stream = {"t": "generate", "id": 1, "kind": "tokens", "tokens": ids(32, info["n_vocab"]), "ignore_eos": True,
              "max_tokens": info["n_ctx"] - 64, "sampling": {"temperature": 0}}
    prompt = {"t": "generate", "id": 2, "kind": "tokens", "tokens": ids(n_tokens, info["n_vocab"]), "ignore_eos": True,
              "max_tokens": PROMPT_OUT, "sampling": {"temperature": 0}}
    worker.send(stream)
    start = None
    while end is None:
        frame = worker.read()
        assert frame is not None, worker.last_words()
        now = time.perf_counter()
        kind, who = frame["t"], frame.get("id")
        assert kind != "error" and (who, kind) != (1, "done"), frame
        if kind == "delta" and who == 1:
            times += [now] * len(frame["tokens"])
        elif kind == "stats":
            stats.append((now, frame["prompt_tokens"], frame["steps"]))
        elif kind == "delta" and first is None:
            first = now
        elif kind == "done":
            end = now
        if start is None and len(times) == SETTLE_TOKENS:
            start = time.perf_counter()
            stats = [(start, 0, None)]
            before = 32
            worker.send(prompt)
    stats = [(t, max(0, d - before), s) for t, d, s in stats]
    stats.append((first, n_tokens, None))
    peak = memory_bytes(worker.process.pid, "VmHWM")
    worker.send({"t": "cancel", "id": 1})
    worker.read_until(lambda f: f["t"] in ("done", "error") and f["id"] == 1)
    return {"info": info, "times": times, "stats": sorted(s for s in stats if s[0] <= first), "start": start,
            "first": first, "end": end, "peak": peak}


def bands(m, n_tokens, band):
    """Gaps of the stream in seconds, by the prompt's depth at their end."""
    found = [[] for _ in range((n_tokens + band - 1) // band)]
    for a, b in zip(m["times"], m["times"][1:]):
        if b > m["start"] and a < m["first"]:
            at = int(depth_at(m["stats"], b)) // band
            found[min(at, len(found) - 1)].append(b - a)
    return found


def show(m, n_tokens, band):
    before = [b - a for a, b in zip(m["times"], m["times"][1:]) if b <= m["start"]][8:]
    print(f"  before the prompt: a token each {percentile(before, 50) * 1e3:.1f} ms")
    print("  depth of the prompt    gaps  tokens a step      p50      p95      max   (ms between the stream's tokens)")
    for i, gaps in enumerate(bands(m, n_tokens, band)):
        ms = [percentile(gaps, p) * 1e3 for p in (50, 95, 100)] if gaps else [float("nan")] * 3
        n = min(band, n_tokens - i * band)
        print(f"  {i * band:7} to {i * band + n:6} {len(gaps):8} {n / max(1, len(gaps)):14.1f} "
              f"{ms[0]:8.1f} {ms[1]:8.1f} {ms[2]:8.1f}")
    plan = sum(m["info"][k] for k in ("weight_bytes", "kv_bytes", "scratch_bytes"))
    print(f"  the prompt's first token after {m['first'] - m['start']:.1f} s "
          f"({n_tokens / (m['first'] - m['start']):.0f} tokens a second), its last after {m['end'] - m['start']:.1f} s")
    print(f"  peak of resident memory {m['peak'] / 2**20:.0f} MiB, planned {plan / 2**20:.0f} MiB", flush=True)


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("model")
    p.add_argument("--tokens", type=int, default=32768)
    p.add_argument("--kv-types", default="f16,q8_0")
    p.add_argument("--band", type=int, default=4096)
    p.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    args = p.parse_args()
    binary = os.environ.get("HEARTH_BIN", ROOT / "build" / "hearth")
    for name in args.kv_types.split(","):
        print(f"{name} keys and values, {args.threads} threads")
        with Worker(binary, [args.model], ctx=args.tokens + 4096, parallel=2, kv_type=KV_TYPES.index(name),
                    threads=args.threads) as w:
            show(measure(w, args.tokens), args.tokens, args.band)


if __name__ == "__main__":
    main()
