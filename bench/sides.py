"""The programs that bench/compare.py measures, each behind the same two calls.

A side is opened for one model and a list of cells, and then asked for samples, one at a time, so that
samples of several sides can alternate. A cell is {"test": "prefill", "prompt": N, "depth": D} or {"test":
"decode", "batch": B, "steps": N, "depth": D}. A sample is a dict with "seconds" and "tokens"; Hearth's
also has the bytes and multiply-adds of the cell and the limits measured right after it.
"""
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent


def fail(text):
    sys.exit(f"bench: {text}")


def ask(process, line, who):
    """One line to a process, one line of JSON back."""
    if line is not None:
        process.stdin.write(f"{line}\n")
        process.stdin.flush()
    answer = process.stdout.readline()
    if not answer:
        fail(f"{who} ended with {process.wait()}")
    answer = json.loads(answer)
    if "error" in answer:
        fail(f"{who}: {answer['error']}")
    return answer


def stop(process):
    try:
        process.stdin.close()
        process.wait(30)
    except (OSError, subprocess.TimeoutExpired):
        process.kill()
        process.wait()


def peak_bytes(pid):
    """The most resident memory a process has had so far."""
    for line in open(f"/proc/{pid}/status", encoding="utf-8"):
        if line.startswith("VmHWM"):
            return int(line.split()[1]) * 1024
    return 0


class Hearth:
    name = "Hearth"

    def __init__(self, setup, model, cells, kv_type, activations="auto"):
        self.cells, self.index = cells, {}
        prompts = sorted({c["prompt"] for c in cells if c["test"] == "prefill"})
        batches = sorted({c["batch"] for c in cells if c["test"] == "decode"})
        depths = sorted({c.get("depth", 0) for c in cells})
        steps = {c["steps"] for c in cells if c["test"] == "decode"}
        if len(steps) > 1:
            fail("cells of one model must have the same number of steps")
        self.process = subprocess.Popen(
            [str(setup.hearth), "bench", str(model), "--ask", "--prompt", ",".join(map(str, prompts)) or "none",
             "--batch", ",".join(map(str, batches)) or "none", "--depth", ",".join(map(str, depths)), "--steps",
             str(max(steps, default=1)), "--threads", str(setup.threads), "--kv-type", kv_type,
             "--activations", activations],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        names = {}
        while True:
            answer = ask(self.process, None, self.name)
            if answer.get("ready"):
                break
            names[answer["name"]] = answer
        self.about = f"{answer['level']}, {answer['activations']} activations"
        self.level = answer["level"]
        for i, c in enumerate(cells):
            what = f"prefill {c['prompt']}" if c["test"] == "prefill" else f"decode x{c['batch']}"
            found = names[what + (f" at depth {c['depth']}" if c.get("depth") else "")]
            if found["left_out"]:
                fail(f"{what}: {found['left_out']}")
            self.index[i] = found["cell"]

    def sample(self, i):
        return ask(self.process, self.index[i], self.name)

    def close(self):
        stop(self.process)


def npm_install():
    """llama.cpp's prebuilt libraries; LLAMA_CPP_LIB names a folder that has them already."""
    if os.environ.get("LLAMA_CPP_LIB"):
        return pathlib.Path(os.environ["LLAMA_CPP_LIB"])
    arch = {"x86_64": "x64", "aarch64": "arm64"}.get(os.uname().machine, "")
    folder = HERE / f"node_modules/@node-llama-cpp/linux-{arch}/bins/linux-{arch}"
    if not list(folder.glob("libllama.*")):
        subprocess.run(["npm", "install", "--ignore-scripts", "--no-package-lock", "--no-audit", "--no-fund",
                        "--silent"], cwd=HERE, check=True)
    if not list(folder.glob("libllama.*")):
        fail(f"npm brought no llama.cpp for {os.uname().machine}; LLAMA_CPP_LIB may name a folder of its libraries")
    return folder


class LlamaCpp:
    name = "llama.cpp"

    def __init__(self, setup, model, cells, kv_type):
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / "peer_llama.py"), str(model), json.dumps(cells), "--threads",
             str(setup.threads), "--kv-type", kv_type, "--level", setup.level, "--flash", setup.flash, "--lib",
             str(setup.llama_lib)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        self.ready = ask(self.process, None, self.name)
        self.about = self.ready["cpu"] + (", repacked" if self.ready["repacked"] else "")

    def sample(self, i):
        return ask(self.process, i, self.name)

    def peak(self):
        return peak_bytes(self.process.pid)

    def close(self):
        stop(self.process)


class IkLlama:
    """ik_llama.cpp's own benchmark programs, started for every sample; they load and warm up first."""

    name = "ik_llama.cpp"

    def __init__(self, setup, model, cells, kv_type):
        self.setup, self.model, self.cells, self.kv_type = setup, model, cells, kv_type
        self.about = "its own build, repacked at load, flash attention"

    def can(self, cell):
        return not cell.get("depth")

    def run(self, program, *arguments):
        path = pathlib.Path(self.setup.ik).resolve() / program
        (ROOT / "build/bench").mkdir(parents=True, exist_ok=True)  # it leaves a log where it runs
        done = subprocess.run([str(path), "-m", str(self.model.resolve()), "-t", str(self.setup.threads), *arguments],
                              capture_output=True, text=True, cwd=ROOT / "build/bench")
        if done.returncode != 0:
            fail(f"{path}: {done.stderr[-400:]}")
        return done.stdout + done.stderr  # llama-batched-bench prints its table with its log

    def sample(self, i):
        cell = self.cells[i]
        if cell["test"] == "decode" and cell["batch"] > 1:
            n_ctx = cell["batch"] * (cell["steps"] + 8)
            text = self.run("llama-batched-bench", "-c", str(max(512, n_ctx)), "-b", "2048", "-ub", "512", "-npp", "1",
                            "-ntg", str(cell["steps"]), "-npl", str(cell["batch"]), "-rtr", "-fa", "on", "-ctk",
                            self.kv_type, "-ctv", self.kv_type)
            row = [line for line in text.splitlines() if re.match(r"\| +\d", line)]
            if not row:
                fail("llama-batched-bench printed no row")
            return {"seconds": float(row[-1].split("|")[7]), "tokens": cell["batch"] * cell["steps"]}
        n = cell["prompt"] if cell["test"] == "prefill" else cell["steps"]
        which = ["-p", str(n), "-n", "0"] if cell["test"] == "prefill" else ["-p", "0", "-n", str(n)]
        text = self.run("llama-bench", *which, "-r", "1", "-rtr", "1", "-fa", "1", "-ctk", self.kv_type, "-ctv",
                        self.kv_type, "-o", "json")
        seconds = json.JSONDecoder().raw_decode(text, text.index("[\n"))[0][0]["samples_ns"][0] * 1e-9
        return {"seconds": seconds, "tokens": n}

    def close(self):
        pass


class Server:
    """`hearth serve`, for what is measured of whole processes: time to a first token, memory."""

    def __init__(self, setup, model, n_ctx):
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.port = s.getsockname()[1]
        self.began = time.perf_counter()
        env = {k: v for k, v in os.environ.items() if not k.startswith("HEARTH_") or k == "HEARTH_CPU"}
        self.process = subprocess.Popen(
            [str(setup.hearth), "serve", "--port", str(self.port), "--model", str(model), "--threads",
             str(setup.threads), "--ctx", str(n_ctx), "--parallel", "1"], env=env | {"HEARTH_CONFIG": "/dev/null"},
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                break
            except OSError:
                if self.process.poll() is not None or time.perf_counter() - self.began > 120:
                    fail("hearth serve does not start")
                time.sleep(0.002)

    def complete(self, tokens, n):
        """Seconds from the start of the process to the answer."""
        body = json.dumps({"prompt": tokens, "max_tokens": n, "temperature": 0}).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}/v1/completions", body,
                                         {"Content-Type": "application/json"})
        for _ in range(600):
            try:
                with urllib.request.urlopen(request, timeout=600) as answer:
                    json.load(answer)
                return time.perf_counter() - self.began
            except urllib.error.HTTPError as error:
                if error.code != 503:
                    fail(f"hearth serve answers {error.code}: {error.read()[:300]}")
                time.sleep(0.01)  # it is loading
        fail("hearth serve did not load the model")

    def planned_bytes(self):
        """Weights, and keys and values, as the banner says."""
        unit = {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
        for line in self.process.stdout:
            found = re.findall(r"(?:weights|keys and values)(?: \(\w+\))? ([\d.]+) ([KMG]iB)", line)
            if len(found) == 2:
                return sum(float(number) * unit[u] for number, u in found)
            if line.startswith("  stop"):
                break
        return fail("hearth serve says nothing of memory")

    def peak(self):
        """Of the worker, its one child."""
        pids = []
        for path in pathlib.Path("/proc").glob("[0-9]*/stat"):
            try:
                if int(path.read_text().rsplit(")", 1)[1].split()[1]) == self.process.pid:
                    pids.append(int(path.parent.name))
            except (OSError, ValueError):
                pass  # it ended meanwhile
        return max(map(peak_bytes, pids), default=0)

    def close(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()
