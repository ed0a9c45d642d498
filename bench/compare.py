#!/usr/bin/env python3
"""Hearth beside llama.cpp, and ik_llama.cpp where there is one, on the same weights in the same run.

    bench/compare.py [ROW or TABLE]... [--rounds 7] [--threads N] [--ik FOLDER] [--level LEVEL]
    bench/compare.py --list

A round takes one sample of every side, in an order that turns round every time (A B, B A), so that drift of
a shared machine hits all alike; a row's ratio is the median of its rounds' own ratios. Results are kept in
build/bench/results.json, row by row; the tables in docs/performance.md are written anew from all that
are there. Models are made by `hearth synth` when they are missing, in --models.

--ik names the folder of ik_llama.cpp's programs (llama-bench, llama-batched-bench). It is measured
beside Hearth in a second pass over the row, so that never more than two programs hold the weights.
"""
import argparse
import datetime
import json
import os
import pathlib
import random
import subprocess
import sys
import time

import report
import rows
import sides

ROOT = pathlib.Path(__file__).resolve().parent.parent
RESULTS = ROOT / "build/bench/results.json"
REST_S = 0.5  # between two sides: ggml's threads still spin for a while, then sleep


def say(text):
    print(text, file=sys.stderr, flush=True)


def need_model(args, row):
    path = args.models / row.model.file_name()
    if row.model.real:
        for folder in (args.models, args.test_models):
            if (folder / row.model.real).exists():
                return folder / row.model.real
        sides.fail(f"{row.model.real} is not in {args.models} or {args.test_models}: scripts/test-setup.sh fetches it")
    if not path.exists():
        args.models.mkdir(parents=True, exist_ok=True)
        say(f"making {path}")
        tokenizer = args.test_models / "SmolLM2-135M-Instruct.Q4_1.gguf"
        subprocess.run([str(args.hearth), "synth", *row.model.synth_words(), "-o", str(path)] +
                       (["--tokenizer", str(tokenizer)] if tokenizer.exists() else []), check=True,
                       stdout=subprocess.DEVNULL)
    return path


def fill_page_cache(path):
    """Both sides read a warm file, whatever was measured before."""
    with open(path, "rb", buffering=0) as file:
        while file.read(1 << 24):
            pass


def speed(sample):
    return sample["tokens"] / sample["seconds"]


def measure_pair(args, path, group, results, peer_class):
    """All rows of a model, Hearth and one peer, for all rounds."""
    cells = [row.cell for row in group]
    peer = peer_class(args, path, cells, group[0].kv_type)
    # A few layers of a large shape are multiplied as all of them would be, not as a small model.
    activations = "fast" if group[0].model.layers else "auto"
    ours = sides.Hearth(args, path, cells, group[0].kv_type, activations)
    got = {row.name: {"ours": [], "peer": []} for row in group}
    rounds = args.ik_rounds if peer_class is sides.IkLlama else args.rounds
    try:
        for n in range(rounds):
            for i, row in enumerate(group):
                if peer_class is sides.IkLlama and not peer.can(row.cell):
                    continue
                for side, key in ((ours, "ours"), (peer, "peer")) if n % 2 == 0 else ((peer, "peer"), (ours, "ours")):
                    time.sleep(REST_S)
                    got[row.name][key].append(side.sample(i))
                a, b = got[row.name]["ours"][-1], got[row.name]["peer"][-1]
                say(f"  round {n + 1} of {rounds}, {row.name}: Hearth {speed(a):.2f}, {peer.name} {speed(b):.2f} "
                    f"tokens/s, {speed(a) / speed(b):.2f}")
    finally:
        ours.close()
        peer.close()
    for row in group:
        if got[row.name]["peer"]:
            result = results.setdefault(row.name, {})
            result[peer.name] = dict(got[row.name], about=peer.about)
            result["hearth"] = ours.about
            stamp(args, result)


def stamp(args, result):
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    result.update(date=datetime.date.today().isoformat(), threads=args.threads, machine=report.machine(),
                  commit=commit.stdout.strip(), load=os.getloadavg()[0])


def measure_start(args, path, row, results):
    """From the start of the process to a first token of a prompt of 8, everything warm on disk. llama.cpp's
    seconds begin in its process, after Python is up, when it loads its libraries."""
    rng = random.Random(2)
    tokens = [rng.randrange(300, 20000) for _ in range(8)]
    got = {"ours": [], "peer": []}

    def ours():
        server = sides.Server(args, path, 1024)
        try:
            return server.complete(tokens, 1)
        finally:
            server.close()

    def peer():
        side = sides.LlamaCpp(args, path, [{"test": "prefill", "prompt": 8}], "f16")
        seconds = side.ready["first_s"]
        side.close()
        return seconds

    ours()  # packs the weights, if they are not packed yet
    for n in range(args.rounds):
        fill_page_cache(path)
        order = ((ours, "ours"), (peer, "peer")) if n % 2 == 0 else ((peer, "peer"), (ours, "ours"))
        for run, key in order:
            got[key].append({"seconds": run()})
        say(f"  round {n + 1} of {args.rounds}, {row.name}: Hearth {got['ours'][-1]['seconds']:.2f} s, llama.cpp "
            f"{got['peer'][-1]['seconds']:.2f} s")
    results[row.name] = {"llama.cpp": got}
    stamp(args, results[row.name])


def measure_memory(args, path, row, results):
    """Peak resident memory after a prompt that fills most of the context, over weights + planned keys
    and values (for llama.cpp: the file and the same keys and values)."""
    rng = random.Random(3)
    server = sides.Server(args, path, row.cell["ctx"])
    try:
        server.complete([rng.randrange(300, 20000) for _ in range(row.cell["ctx"] - 64)], 32)
        peak, planned = server.peak(), server.planned_bytes()
    finally:
        server.close()
    side = sides.LlamaCpp(args, path, [{"test": "prefill", "prompt": row.cell["ctx"] - 64}], "f16")
    side.sample(0)
    theirs = side.peak()
    side.close()
    say(f"  {row.name}: Hearth {peak / 1e9:.2f} GB over {planned / 1e9:.2f} GB planned: {peak / planned:.3f}; llama.cpp "
        f"{theirs / 1e9:.2f} GB")
    results[row.name] = {"ours": peak, "planned": planned, "peer": theirs}
    stamp(args, results[row.name])


def groups_of(chosen):
    """Rows that share a model and what a process is opened with."""
    found = {}
    for row in chosen:
        key = (row.model, row.kv_type, bool(row.cell.get("depth")), row.kind)
        found.setdefault(key, []).append(row)
    return list(found.values())


def list_rows(args):
    print(f"{'ROW':24}{'TABLE':10}{'MINUTES':>8}  (about, for {args.rounds} rounds on two cores, without ik_llama.cpp)")
    for row in rows.ROWS:
        print(f"{row.name:24}{row.table:10}{row.seconds * args.rounds / 60:8.1f}  {row.label}")
    print(f"{'all':34}{sum(r.seconds for r in rows.ROWS) * args.rounds / 60:8.1f}")


def choose(args):
    words = [w for word in args.rows for w in word.replace(",", " ").split()]
    known = {r.name for r in rows.ROWS} | {r.table for r in rows.ROWS}
    for word in words:
        if word not in known:
            sides.fail(f"there is no row or table {word}; --list shows them")
    return [r for r in rows.ROWS if not words or r.name in words or r.table in words]


def parse():
    cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "hearth"
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", metavar="ROW", help="rows or tables; none: all")
    parser.add_argument("--list", action="store_true", help="the rows and how long they take")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--level", default=os.environ.get("HEARTH_CPU", ""),
                        help="instruction level of both sides; the best of the machine if not given")
    parser.add_argument("--flash", choices=["auto", "on", "off"], default="auto", help="llama.cpp's flash attention")
    parser.add_argument("--ik", help="folder of ik_llama.cpp's programs")
    parser.add_argument("--ik-rounds", type=int, default=7)
    parser.add_argument("--ik-only", action="store_true", help="leave llama.cpp's part as it is in the results")
    parser.add_argument("--models", type=pathlib.Path,
                        default=pathlib.Path(os.environ.get("HEARTH_BENCH_MODELS") or cache / "bench-models"))
    parser.add_argument("--hearth", type=pathlib.Path, default=ROOT / "build/hearth")
    parser.add_argument("--no-docs", action="store_true", help="leave docs/performance.md as it is")
    parser.add_argument("--docs-only", action="store_true", help="measure nothing, write the tables")
    args = parser.parse_args()
    args.test_models = pathlib.Path(os.environ.get("HEARTH_TEST_MODELS") or cache / "test-models")
    if args.level:
        os.environ["HEARTH_CPU"] = args.level
    return args


def measure(args, group, results):
    path = need_model(args, group[0])
    say(f"{', '.join(row.name for row in group)}: {path.name}")
    fill_page_cache(path)
    if group[0].kind == "start":
        measure_start(args, path, group[0], results)
    elif group[0].kind == "memory":
        measure_memory(args, path, group[0], results)
    else:
        if not args.ik_only:
            measure_pair(args, path, group, results, sides.LlamaCpp)
        if args.ik:
            measure_pair(args, path, group, results, sides.IkLlama)


def main():
    args = parse()
    if args.list:
        return list_rows(args)
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    chosen = [] if args.docs_only else choose(args)
    if chosen:
        args.llama_lib = sides.npm_install()
    try:
        for group in groups_of(chosen):
            measure(args, group, results)
            RESULTS.parent.mkdir(parents=True, exist_ok=True)
            RESULTS.write_text(json.dumps(results, indent=1))
    except KeyboardInterrupt:
        say("interrupted; what was measured is kept")
    for row in chosen or rows.ROWS:
        if row.name in results:
            print(report.line(row, results[row.name]))
    if not args.no_docs:
        report.write_docs(ROOT / "docs/performance.md", results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
