"""What people type: the curl commands of transcripts/*.txt, run as they stand, and what they print.

A transcript is prose ("# ..."), commands ("$ ...", to the end of their quotes and of their lines' backslashes), and
under each command what it prints. The commands of a file share one shell. What differs from run to run stands as
<id>, <n>, <time>, <text> (what a model wrote, inside a JSON string) or <...> (anything); where a line is broken, there
may be any white space, so that JSON may be broken into lines that people can read.

TRANSCRIPTS=write puts what is printed now in the place of what does not match.
"""
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys

import pytest

import serving

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "golden"))

from encoder_reference import tiny  # noqa: E402

FOLDER = pathlib.Path(__file__).resolve().parent / "transcripts"
URL = "http://127.0.0.1:11434"
PLACEHOLDERS = {
    "id": r"[A-Za-z0-9._-]+",
    "n": r"-?[0-9]+(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?",
    "time": r"[-0-9T:.Z+]+",
    "text": r'(?:[^"\\]|\\.)*',
    "...": r".*?",
}
# What is volatile, for TRANSCRIPTS=write.
VOLATILE = [
    (r"\b(chatcmpl-|cmpl-|resp_|msg_|rs_|fc_|file-|batch_|batch_req_|call_|toolu_|req_|embd-|rerank-)[0-9A-Za-z]{8,}", r"\1<id>"),
    (r'("request_id":)"[0-9a-zA-Z_-]+"', r'\1"<id>"'),
    (r'("(?:created|created_at|completed_at|in_progress_at|finalizing_at|expires_at|seed|cached_tokens|[a-z_]*_duration|[a-z_]*_ms|uptime_s|'
     r'[a-z_]*_per_second|prompt_eval_count|size|size_vram|bytes|planned_bytes|resident_bytes|logprob|relevance_score|score)":)-?[0-9][-+.0-9e]*', r"\1<n>"),
    (r'"2[0-9]{3}-[0-9]{2}-[0-9]{2}T[^"]*"', r'"<time>"'),
    (r'("(?:system_fingerprint|digest)":)"(sha256:)?[^"]*"', r'\1"\2<id>"'),
    (r'("(?:content|text|response|thinking|delta)":)"(?:[^"\\]|\\.)+"', r'\1"<text>"'),
    (r'("token_logprobs":\[)[^\]]*(\],"top_logprobs":\[)\{[^}]*\}', r"\1<n>\2{<...>}"),
    (r'("chat_template":)"(?:[^"\\]|\\.)+"', r'\1"<text>"'),
    (r'("context":\[)[^\]]*\]', r"\1<...>]"),
    (r'("embedding":\[)[^\]]*\]', r"\1<...>]"),
]
WIDTH = 110


class Step:
    def __init__(self, command):
        self.before, self.command, self.expected = [], command, ""


def complete(text):
    """Whether a shell would not ask for more."""
    if text.endswith("\\"):
        return False
    try:
        shlex.split(text)
    except ValueError:
        return False
    return True


def parse(text):
    steps, prose, printed = [], [], []
    lines = text.split("\n")

    def end_step():
        if steps:
            steps[-1].expected = "\n".join(printed).strip("\n")
        printed.clear()

    while lines:
        line = lines.pop(0)
        if line.startswith("$ "):
            end_step()
            command = line[2:]
            while not complete(command):
                command += "\n" + lines.pop(0)
            steps.append(Step(command))
            steps[-1].before, prose = prose, []
        elif line.startswith("# ") or line == "#":
            prose.append(line)
        else:
            printed.append(line)
    end_step()
    return steps


def pattern(expected):
    out = []
    for part in re.split(r"(<(?:id|n|time|text|\.\.\.)>|\s*\n\s*)", expected):
        if part.startswith("<") and part[1:-1] in PLACEHOLDERS:
            out.append(PLACEHOLDERS[part[1:-1]])
        else:
            out.append(r"\s*" if part and not part.strip() and "\n" in part else re.escape(part))
    return re.compile("".join(out), re.S)


def wrap(line):
    """Breaks JSON between its members, outside of strings."""
    out, quoted, start = [], False, 0
    for i, c in enumerate(line):
        if c == '"' and (i == 0 or line[i - 1] != "\\"):
            quoted = not quoted
        elif c == "," and not quoted and i - start > WIDTH - 30 and i + 1 < len(line):
            out.append(line[start:i + 1])
            start = i + 1
    return "\n  ".join(out + [line[start:]])


def record(printed):
    for volatile, instead in VOLATILE:
        printed = re.sub(volatile, instead, printed)
    return "\n".join(wrap(line) for line in printed.strip("\n").split("\n"))


def run(steps, url, folder):
    """What each command of a file printed; all in one shell, as in a terminal."""
    end = "\n--- end of command ---\n"
    script = "".join(s.command.replace(URL, url) + f"\nprintf '%s' '{end}'\n" for s in steps)
    done = subprocess.run(["bash", "-c", script], cwd=folder, capture_output=True, text=True, timeout=120,
                          stdin=subprocess.DEVNULL)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    return [part.replace(url, URL) for part in done.stdout.split(end)[:-1]]


@pytest.fixture(scope="module")
def server(hearth_bin, tmp_path_factory, smollm2_path):
    folder = tmp_path_factory.mktemp("transcripts")
    env = dict(os.environ, HEARTH_MODELS=str(folder / "library"), HEARTH_CACHE_DIR=str(folder / "cache"))
    tiny(folder / "encoder.gguf", pooling=1)
    tiny(folder / "ranker.gguf", pooling=4, n_label=1)
    for path, name in ((smollm2_path, "smollm2:135m"), (folder / "encoder.gguf", "encoder"), (folder / "ranker.gguf", "ranker")):
        subprocess.run([hearth_bin, "pull", path, "--name", name], env=env, check=True, capture_output=True)
    one = serving.Server(hearth_bin, folder, "smollm2:135m", parallel=2)
    yield one
    one.close()


@pytest.mark.parametrize("name", sorted(p.stem for p in FOLDER.glob("*.txt")))
def test_transcript(server, name, tmp_path):
    assert shutil.which("curl"), "curl is missing: apt-get install curl"
    path = FOLDER / f"{name}.txt"
    steps = parse(path.read_text())
    assert steps
    printed = run(steps, server.url, tmp_path)
    assert len(printed) == len(steps)
    wrong = [(s, got) for s, got in zip(steps, printed) if not pattern(s.expected).fullmatch(got.strip())]
    if os.environ.get("TRANSCRIPTS") == "write":
        for step, got in wrong:
            step.expected = record(got)
        path.write_text("\n".join(
            "".join(line + "\n" for line in s.before) + f"$ {s.command}\n" + (s.expected + "\n" if s.expected else "")
            for s in steps))
        wrong = [(s, got) for s, got in zip(steps, printed) if not pattern(s.expected).fullmatch(got.strip())]
    assert not wrong, "\n\n".join(f"$ {s.command}\nprinted:\n{got}\ninstead of:\n{s.expected}" for s, got in wrong)


def test_patterns_can_fail():
    """What the transcripts are compared with is no pattern for everything."""
    assert pattern('{"a":<n>,\n  "b":"<text>"}').fullmatch('{"a":1.5,"b":"x \\" y"}')
    assert not pattern('{"a":<n>}').fullmatch('{"a":null}')
    assert not pattern('{"b":"<text>"}').fullmatch('{"b":"x","c":"y"}')
    assert not pattern('{"a":1}').fullmatch('{"a":1}{"a":1}')
