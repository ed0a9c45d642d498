#!/usr/bin/env python3
"""What holding answers to a form costs: tokens of the same number with and without a constraint, taken in turns.

    bench/structured.py MODEL [--streams 1,8] [--tokens 128] [--rounds 15] [--cases schema,gbnf,...]

Drives one worker over its socket, as the gateway does, without speculation: with it, forced text makes a constrained
answer faster. A round is, for each case, a free answer and a constrained one (streams of them at once), the order
changing from round to round. `later`: the form was used before; `first`: it is new in each round. The overhead is that of
the two medians; its range the middle half of the rounds' own. `cpu` is the same of the worker's processor time,
which other programs disturb less; `waited` is how much of the constrained answers' time the engine waited for masks.
"""
import argparse
import os
import pathlib
import statistics
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "e2e"))

from worker_driver import Worker  # noqa: E402

TICK = 1 / os.sysconf("SC_CLK_TCK")
PERSON = {
    "type": "object", "additionalProperties": False,
    "properties": {
        "name": {"type": "string", "minLength": 1, "maxLength": 40},
        "age": {"type": "integer", "minimum": 0, "maximum": 130},
        "email": {"type": "string", "format": "email"},
        "status": {"enum": ["active", "inactive", "banned"]},
        "tags": {"type": "array", "items": {"type": "string"}, "maxItems": 8},
        "address": {"type": "object", "additionalProperties": False, "properties": {
            "street": {"type": "string"}, "city": {"type": "string"}, "zip": {"type": "string", "pattern": "^[0-9]{5}$"}},
            "required": ["street", "city", "zip"]},
        "score": {"type": "number"}},
    "required": ["name", "age", "email", "status", "tags", "address", "score"]}
ENUM = {"enum": [f"{a}-{b}-{c}" for a in ("north", "south", "east", "west") for b in ("red", "green", "blue", "black")
                 for c in range(125)]}
JSON_GRAMMAR = r'''root ::= "[" ws value ("," ws value)* "]"
value ::= (object | array | string | number | "true" | "false" | "null") ws
object ::= "{" ws (string ":" ws value ("," ws string ":" ws value)*)? "}"
array ::= "[" ws (value ("," ws value)*)? "]"
string ::= "\"" ([^"\\\x00-\x1f] | "\\" (["\\/bfnrt] | "u" [0-9a-fA-F]{4}))* "\"" ws
number ::= "-"? ("0" | [1-9] [0-9]{0,15}) ("." [0-9]+)? ([eE] [-+]? [0-9]+)? ws
ws ::= [ \n]?
'''


def many(items, mark):
    """A list that does not end before the tokens do."""
    return {"type": "schema", "strict": True, "schema": {"type": "array", "items": items, "minItems": 1000, "title": mark}}


CASES = {
    "schema": lambda mark: many(PERSON, mark),
    "enum of 2000": lambda mark: many(ENUM, mark),
    "string": lambda mark: {"type": "schema", "strict": True,
                            "schema": {"type": "string", "minLength": 20000, "title": mark}},
    "any value": lambda mark: many({}, mark),
    "regex": lambda mark: {"type": "regex", "pattern": "([A-Z][a-z]+( [a-z]+){2,9}[.?!] ){500,}" + f"({mark})?"},
    "gbnf": lambda mark: {"type": "gbnf", "grammar": f"{JSON_GRAMMAR}# {mark}\n"},
}


def cpu_s(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) * TICK


class Bench:
    def __init__(self, worker, tokens):
        self.worker, self.tokens, self.id = worker, tokens, 0
        self.waited = 0.0

    def ask(self, seed, constraint):
        self.id += 1
        r = {"t": "generate", "id": self.id, "kind": "text", "text": f"List number {seed} of our customers, as JSON:\n",
             "max_tokens": self.tokens, "ignore_eos": True, "sampling": {"temperature": 0.8, "seed": seed}}
        return {**r, "constraint": constraint} if constraint else r

    def answers(self, seeds, constraint):
        """Milliseconds a token, wall and processor, from the first token of the last stream to begin to the first end."""
        asked = [self.ask(s, constraint) for s in seeds]
        for r in asked:
            self.worker.send(r)
        left = {r["id"] for r in asked}
        silent, n, start = set(left), 0, None
        while left:
            frame = self.worker.read()
            assert frame is not None, self.worker.last_words()
            if frame["t"] == "stats":
                self.waited = frame.get("mask_wait_s", 0)
            if frame.get("id") not in left:
                continue
            assert frame["t"] != "error", frame
            if frame["t"] == "delta":
                n += len(frame["tokens"]) if not silent else 0
                silent.discard(frame["id"])
                if not silent and start is None:
                    start = (time.perf_counter(), cpu_s(self.worker.process.pid))
            elif frame["t"] == "done":
                end = end if len(left) < len(asked) else (time.perf_counter(), cpu_s(self.worker.process.pid), n)
                left.discard(frame["id"])
        assert end[2] > self.tokens * len(seeds) // 2, "the answers ended early: %d tokens" % end[2]
        return [(end[k] - start[k]) / end[2] * 1e3 * len(seeds) for k in (0, 1)]

    def settle(self):
        """Seconds that the engine has waited for masks so far: statistics come once a second."""
        time.sleep(1.1)
        self.answers([1], None)
        time.sleep(1.1)
        self.answers([1], None)
        return self.waited


def spread(pairs, k):
    """Overhead in percent: of the medians, and the quartiles of the rounds' own."""
    free, held = (statistics.median(p[i][k] for p in pairs) for i in (0, 1))
    own = [(p[1][k] / p[0][k] - 1) * 100 for p in pairs]
    q = statistics.quantiles(own, n=4)
    return free, held, (held / free - 1) * 100, q[0], q[2]


def show(name, kind, n_streams, pairs, waited):
    free, held, over, low, high = spread(pairs, 0)
    _, _, cpu, _, _ = spread(pairs, 1)
    print(f"{name:14} {kind:6} {n_streams:7} {free:9.2f} {held:9.2f} {over:+7.1f} % ({low:+5.1f} to {high:+5.1f}) {cpu:+7.1f} %"
          f" {waited * 100:8.2f} %", flush=True)


def measure(bench, name, n_streams, rounds, is_first, number):
    make, pairs, spent, before = CASES[name], [], 0, bench.settle()
    for i in range(rounds + (not is_first)):
        seeds = [number * 10000 + i * 10 + s for s in range(n_streams)]
        constraint = make(f"n{number}x{i}" if is_first else f"n{number}")
        got = {}
        for held in ((False, True) if i % 2 else (True, False)):
            got[held] = bench.answers(seeds, constraint if held else None)
        spent += got[True][0] * bench.tokens / 1e3
        if i > 0 or is_first:
            pairs.append((got[False], got[True]))
    show(name, "first" if is_first else "later", n_streams, pairs, (bench.settle() - before) / spent)


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("model")
    p.add_argument("--streams", default="1,8")
    p.add_argument("--tokens", type=int, default=128)
    p.add_argument("--rounds", type=int, default=15)
    p.add_argument("--cases", default=",".join(CASES))
    p.add_argument("--kinds", default="first,later")
    p.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    args = p.parse_args()
    binary = os.environ.get("HEARTH_BIN", ROOT / "build" / "hearth")
    print(f"{pathlib.Path(args.model).name}, {args.threads} threads, answers of {args.tokens} tokens, {args.rounds} rounds")
    print("form           used   streams  free, ms  held, ms  overhead (middle half)        cpu    waited")
    with Worker(binary, [args.model], ctx=8192, parallel=8, threads=args.threads, speculate=0,
                env={"HEARTH_LOG": "warn"}) as w:
        w.sock.settimeout(3600)
        info = w.ready()
        assert info["t"] == "ready", info
        bench, number = Bench(w, args.tokens), 0
        for streams in (int(s) for s in args.streams.split(",")):
            for kind in args.kinds.split(","):
                for name in args.cases.split(","):
                    number += 1
                    measure(bench, name, streams, args.rounds, kind == "first", number)


if __name__ == "__main__":
    main()
