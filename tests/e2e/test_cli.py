"""The commands as people type them: exit codes, one-line errors, a chat in a real terminal."""
import http.server
import json
import os
import pty
import re
import select
import signal
import subprocess
import threading
import time

import pytest

import serving

ONE = ["--temperature", "0", "--max-tokens", "24"]


@pytest.fixture(scope="module")
def env(tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    keep = {k: v for k, v in os.environ.items() if not k.startswith("HEARTH_")}
    return keep | {"HOME": str(home), "HEARTH_MODELS": str(home / "models"), "HEARTH_CALIBRATE": "off", "LC_ALL": "C.UTF-8",
                   "TERM": "xterm", "HEARTH_PORT": str(serving.free_port()), "XDG_CONFIG_HOME": str(home / "config"), "HEARTH_CACHE_DIR": str(home / "cache")}


@pytest.fixture(scope="module")
def cli(hearth_bin, env, smollm2_path):
    def run(*args, stdin=None, timeout=120, **more):
        return subprocess.run([str(hearth_bin), *args], env=env | more, capture_output=True, text=True,
                              timeout=timeout, input=stdin, stdin=subprocess.DEVNULL if stdin is None else None)

    done = run("pull", str(smollm2_path), "--name", "smollm2:135m")
    assert done.returncode == 0, done.stderr
    return run


@pytest.fixture(scope="module")
def server(hearth_bin, env, cli):
    process = subprocess.Popen([str(hearth_bin), "serve", "--ctx", "2048", "--parallel", "2", "smollm2:135m"],
                               env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    for line in process.stdout:
        if "serves at" in line:
            break
    yield process
    process.send_signal(signal.SIGTERM)
    process.stdout.read()
    assert process.wait(20) == 0


class Terminal:
    """The program behind a pseudo-terminal."""

    def __init__(self, bin_, args, env):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execve(bin_, ["hearth", *args], env)
        self.text, self.mark = "", 0

    def read(self, seconds):
        ready, _, _ = select.select([self.fd], [], [], seconds)
        if not ready:
            return False
        try:
            chunk = os.read(self.fd, 65536)
        except OSError:
            return False
        self.text += chunk.decode(errors="replace")
        return bool(chunk)

    def __del__(self):
        try:
            os.kill(self.pid, signal.SIGKILL)  # a test that failed leaves it running
        except OSError:
            pass

    def expect(self, pattern, seconds=60):
        """Waits for the pattern in what came since the last expect; returns the match."""
        end = time.monotonic() + seconds
        while True:
            found = re.compile(pattern, re.S).search(self.text, self.mark)
            if found:
                self.mark = found.end()
                return found
            left = end - time.monotonic()
            assert left > 0 and self.read(left), f"no {pattern!r} in {self.text[self.mark:]!r}"

    def send(self, text):
        os.write(self.fd, text.encode())

    def code(self, seconds=20):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.read(0.1)
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                os.close(self.fd)
                return os.waitstatus_to_exitcode(status)
        raise AssertionError(f"still running after {self.text[self.mark - 200:]!r}")


# ---- usage and errors ----

def test_usage(cli):
    assert cli().returncode == 2
    assert cli("--help").returncode == 0
    assert "did you mean 'serve'" in cli("sevre").stderr
    assert cli("sevre").returncode == 2
    for line in cli("--help").stdout.splitlines():
        found = re.match(r"  (\w+)  +\w", line)
        if not found:
            continue
        words = ["eval", "perplexity"] if found[1] == "eval" else [found[1]]
        done = cli(*words, "--help")
        assert done.returncode == 0 and "Usage: hearth " + found[1] in done.stdout
        done = cli(*words, "--no-such-option")
        assert (done.returncode, done.stdout) == (2, "")
        assert len(done.stderr.splitlines()) == 1 and "--no-such-option" in done.stderr


def test_configuration(cli, env):
    config = os.path.join(env["XDG_CONFIG_HOME"], "hearth")
    os.makedirs(config)
    path = os.path.join(config, "hearth.conf")
    try:
        with open(path, "w", encoding="utf-8") as f:
            f.write("[list]\nmodels = /proc/from-file\n")
        assert "/proc/from-file" in cli("list", HEARTH_MODELS="").stderr
        assert cli("list").returncode == 0  # the environment wins over the file
        assert "/proc/from-flag" in cli("list", "--models", "/proc/from-flag").stderr  # flags win over both
        with open(path, "w", encoding="utf-8") as f:
            f.write("[list]\nmodles = x\n")
        done = cli("list")
        assert done.returncode == 2 and "did you mean" in done.stderr and path in done.stderr
    finally:
        os.remove(path)


def test_one_line_errors(cli):
    for args in (["run", "nothing:here", "hi"], ["show", "nothing:here"], ["rm", "nothing:here"], ["ps"],
                 ["stop", "smollm2:135m"], ["cp", "nothing:here", "x"], ["run", "/nonexistent.gguf", "hi"]):
        done = cli(*args)
        assert (done.returncode, done.stdout) == (1, ""), args
        assert len(done.stderr.splitlines()) == 1 and done.stderr.startswith("hearth: "), done.stderr
    assert "hearth pull nothing:here" in cli("run", "nothing:here", "hi").stderr
    assert "hearth serve" in cli("ps").stderr


def test_another_program_that_answers_is_told_apart(cli):
    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<html>a router</html>")

        def log_message(self, *args):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Page) as other:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        for args in (["ps"], ["ps", "--json"]):
            done = cli(*args, "--port", str(other.server_port))
            assert (done.returncode, done.stdout) == (1, ""), done
            assert "no such server" in done.stderr
        other.shutdown()


def test_closed_output(cli, hearth_bin, env):
    done = subprocess.run(f"{hearth_bin} list >/dev/full", shell=True, env=env, capture_output=True, text=True)
    assert done.returncode == 1 and "No space left" in done.stderr


def test_library(cli):
    assert "smollm2:135m" in cli("list").stdout
    assert cli("cp", "smollm2:135m", "second").returncode == 0
    names = [m["name"] for m in json.loads(cli("list", "--json").stdout)]
    assert names == ["second:latest", "smollm2:135m"]
    assert cli("rm", "second").returncode == 0
    assert [m["name"] for m in json.loads(cli("list", "--json").stdout)] == ["smollm2:135m"]
    assert "llama" in cli("show", "smollm2:135m").stdout


# ---- run ----

def test_run_starts_a_server_of_its_own(cli):
    done = cli("run", *ONE, "smollm2:135m", "What is the capital of France?")
    assert done.returncode == 0, done.stderr
    assert "Paris" in done.stdout and done.stdout.endswith("\n")
    assert ">>>" not in done.stdout and "tokens" not in done.stdout
    assert done.stderr == ""


def test_run_asks_its_own_server_with_its_own_key(cli, tmp_path):
    """Keys that the user made for another server are not needed here."""
    here = {"XDG_CONFIG_HOME": str(tmp_path)}
    assert cli("key", "create", "ann", **here).returncode == 0
    done = cli("run", *ONE, "smollm2:135m", "What is the capital of France?", **here)
    assert done.returncode == 0, done.stderr
    assert "Paris" in done.stdout and done.stderr == ""


def test_run_with_a_file_and_standard_input(cli, smollm2_path):
    done = cli("run", *ONE, str(smollm2_path), stdin="What is the capital\nof France?\n")
    assert done.returncode == 0 and "Paris" in done.stdout
    assert cli("run", "smollm2:135m", stdin=" \n").returncode == 1


def test_run_leaves_no_process_behind(hearth_bin, env, cli):
    process = subprocess.Popen([str(hearth_bin), "run", "smollm2:135m", "Count to a thousand."], env=env,
                               stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)
    assert process.stdout.read(1)
    children = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True).stdout.split()
    assert len(children) == 1
    process.kill()
    process.wait()
    for _ in range(100):
        if not os.path.exists(f"/proc/{children[0]}"):
            return
        time.sleep(0.1)
    pytest.fail("the private server outlived its owner")


def test_server_commands(cli, server):
    done = cli("run", *ONE, "--verbose", "smollm2:135m", "What is the capital of France?")
    assert "Paris" in done.stdout and re.search(r"\d+ tokens", done.stderr)
    assert "not in the library" in cli("run", "nothing:here", "hi").stderr
    assert "smollm2:135m" in cli("ps").stdout
    assert json.loads(cli("ps", "--json").stdout)["models"][0]["name"] == "smollm2:135m"
    assert cli("stop", "smollm2:135m").returncode == 0
    assert "smollm2:135m" not in cli("ps").stdout
    assert cli("stop", "nothing:here").returncode == 1


def test_chat(hearth_bin, env, server):
    t = Terminal(hearth_bin, ["run", *ONE, "smollm2:135m"], env)
    t.expect(r"/help.*>>> ")
    t.send("/help\r")
    t.expect(r"/clear.*/bye.*>>> ")
    t.send("What is the capital of France?\r")
    t.expect(r"Paris.*\d+ tokens.*first after.*>>> ")
    # several lines
    t.send('"""\r')
    t.expect(r"\.\.\. ")
    t.send("Say\r")
    t.send('hello."""\r')
    t.expect(r"\d+ tokens.*>>> ")
    # parameters and state
    t.send("/set parameter temperature 0.25\r")
    t.expect(r"temperature: 0\.25.*>>> ")
    t.send("/set parameter nonsense 1\r")
    t.expect(r"no parameter 'nonsense'.*>>> ")
    t.send("/set parameter seed x\r")
    t.expect(r"no value for seed.*>>> ")
    t.send("/set system You are a pirate.\r")
    t.expect(r"system message set.*>>> ")
    t.send("/show\r")
    t.expect(r"smollm2:135m.*pirate.*messages +4.*temperature +0\.25.*>>> ")
    t.send("/clear\r")
    t.expect(r">>> ")
    t.send("/show\r")
    t.expect(r"messages +0.*>>> ")
    t.send("/nonsense\r")
    t.expect(r"no command /nonsense.*>>> ")
    # a refused parameter is one line, and the chat goes on
    t.send("/set parameter temperature -3\r")
    t.expect(r">>> ")
    t.send("hello\r")
    t.expect(r"hearth: [^\n]*temperature[^\n]*\n.*>>> ")
    t.send("/bye\r")
    assert t.code() == 0


def test_interrupt_stops_the_answer_not_the_program(hearth_bin, env, server):
    t = Terminal(hearth_bin, ["run", "--temperature", "0", "--max-tokens", "1500", "smollm2:135m"], env)
    t.expect(r">>> ")
    t.send("half a line")
    t.expect("half a line")
    t.send("\x03")  # at the prompt: the line is dropped
    t.expect(r"/bye or Ctrl-D ends.*>>> ")
    t.send("Write a very long story about a ship, its crew and the sea.\r")
    t.expect(r"sea\.\r\n.{300}")  # more than the terminal's and the editor's echo of the line
    t.send("\x03")
    t.expect(r"\[stopped\].*>>> ")
    t.send("/set parameter max_tokens 16\r")
    t.expect(r">>> ")
    t.send("What is the capital of France?\r")
    t.expect(r"\d+ tokens.*>>> ")
    time.sleep(0.5)  # until the line editor has the terminal: before that, Ctrl-D is the terminal's own
    t.send("\x04")
    assert t.code() == 0


def test_history(hearth_bin, env, server):
    for _ in range(2):
        t = Terminal(hearth_bin, ["run", *ONE, "smollm2:135m"], env)
        t.expect(r">>> ")
        t.send("/set parameter seed 4711\r")
        t.expect(r"seed: 4711.*>>> ")
        t.send("/bye\r")
        assert t.code() == 0
    t = Terminal(hearth_bin, ["run", *ONE, "smollm2:135m"], env)
    t.expect(r">>> ")
    t.send("\x1b[A\x1b[A\r")  # up, up: past /bye to the line before
    t.expect(r"seed 4711.*seed: 4711.*>>> ")
    t.send("/bye\r")
    assert t.code() == 0
