#!/usr/bin/env python3
"""Hearth beside llama.cpp on the same weights, interleaved: prefill and single-sequence decode.

    bench/compare.py MODEL.gguf [--rounds 7] [--prompt 512] [--decode 64] [--threads 2] [--level native|avx2]

Each round asks A, then B, then B, then A, so that drift of a shared machine hits both. A figure is the median of its
rounds; the ratio is the median of the rounds' own ratios with their spread. Hearth is measured through its HTTP port
(time to first token is its prefill), llama.cpp inside its process, which favours the peer by an HTTP round trip.
The peer is node-llama-cpp's prebuilt library; --level avx2 leaves it only its AVX2 build.
"""
import argparse
import json
import os
import pathlib
import random
import shutil
import statistics
import subprocess
import sys
import time
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent


class Peer:
    """llama.cpp in a Node process of its own."""

    def __init__(self, model, threads, context, level, flash):
        folder = ROOT / "build" / ("bench-" + level)
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("package.json", "peer_llama.mjs"):
            shutil.copy(HERE / name, folder)
        if not (folder / "node_modules").exists():
            subprocess.run(["npm", "install", "--ignore-scripts", "--no-package-lock", "--no-audit", "--no-fund", "--silent"], cwd=folder, check=True)
        if level == "avx2":
            for lib in folder.glob("node_modules/@node-llama-cpp/linux-x64/bins/linux-x64/libggml-cpu-*.so"):
                if "haswell" not in lib.name:
                    lib.unlink()
        env = dict(os.environ, PEER_FLASH_ATTENTION="1" if flash else "0")
        self.process = subprocess.Popen(
            ["node", "peer_llama.mjs", os.path.abspath(model), str(threads), str(context)],
            cwd=folder, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.system = json.loads(self.process.stdout.readline())["system"]

    def measure(self, prompt, decode):
        self.process.stdin.write(json.dumps({"prompt": prompt, "decode": decode}) + "\n")
        self.process.stdin.flush()
        got = json.loads(self.process.stdout.readline())
        return len(prompt) / got["prefill_s"], got["decoded"] / got["decode_s"]

    def close(self):
        self.process.stdin.close()
        self.process.wait(20)


class Hearth:
    """Our own server on a free port."""

    def __init__(self, model, threads, context, level):
        env = dict(os.environ)
        if level != "native":
            env["HEARTH_CPU"] = level
        self.port = 18000 + os.getpid() % 1000
        self.process = subprocess.Popen(
            [str(ROOT / "build/hearth"), "serve", "--port", str(self.port), "--model", os.path.abspath(model),
             "--threads", str(threads), "--ctx", str(context), "--parallel", "4"],
            env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for _ in range(300):
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health", timeout=2) as answer:
                    if answer.status == 200:
                        return
            except OSError:
                pass
            time.sleep(0.1)
        sys.exit("hearth serve did not become ready")

    def measure(self, prompt, decode):
        body = {"prompt": prompt, "max_tokens": decode, "temperature": 0, "stream": True,
                "stream_options": {"include_usage": True}}
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}/v1/completions", json.dumps(body).encode(),
                                         {"Content-Type": "application/json"})
        start, first, last, n = time.perf_counter(), None, None, 0
        with urllib.request.urlopen(request) as answer:
            for line in answer:
                if not line.startswith(b"data: {"):
                    continue
                event = json.loads(line[6:])
                if event.get("choices"):
                    last = time.perf_counter()
                    first = first or last
                if event.get("usage"):
                    n = event["usage"]["completion_tokens"]
        return len(prompt) / (first - start), (n - 1) / (last - first)

    def close(self):
        self.process.terminate()
        self.process.wait(20)


def spread(values):
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--prompt", type=int, default=512)
    parser.add_argument("--decode", type=int, default=64)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--level", choices=["native", "avx2"], default="avx2")
    parser.add_argument("--peer-flash-attention", action="store_true")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    context = args.prompt + args.decode + 64
    ours = Hearth(args.model, args.threads, context, args.level)
    peer = Peer(args.model, args.threads, context, args.level, args.peer_flash_attention)
    figures = {"prefill": ([], []), "decode": ([], [])}
    random.seed(1)
    for round_ in range(args.rounds + 1):
        prompt = [random.randrange(300, 20000) for _ in range(args.prompt)]
        order = (ours, peer) if round_ % 2 else (peer, ours)
        got = {side: side.measure(prompt, args.decode) for side in order}
        if round_ == 0:
            continue  # warm-up
        for i, name in enumerate(figures):
            figures[name][0].append(got[ours][i])
            figures[name][1].append(got[peer][i])
    ours.close()
    peer.close()
    if args.json:
        print(json.dumps({"model": os.path.basename(args.model), "level": args.level, "peer": peer.system, **figures}))
        return
    print(f"{os.path.basename(args.model)}, {args.threads} threads, {args.level}, {args.rounds} rounds; peer: {peer.system}")
    print("| | Hearth, tokens/s | llama.cpp, tokens/s | ratio, median (range) |\n|---|---|---|---|")
    for name, (a, b) in figures.items():
        label = f"prefill {args.prompt}" if name == "prefill" else f"decode {args.decode}"
        print(f"| {label} | {statistics.median(a):.1f} | {statistics.median(b):.1f} | {spread([x / y for x, y in zip(a, b)])} |")


main()
