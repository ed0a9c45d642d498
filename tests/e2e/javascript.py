"""Runs a client program of tests/e2e/js with a Node.js that is new enough for current clients."""
import functools
import pathlib
import shutil
import subprocess

import pytest

JS = pathlib.Path(__file__).parent / "js"
OLDEST = 22  # what the openai package and the AI SDK ask for


def version(node):
    said = subprocess.run([node, "--version"], capture_output=True, text=True, timeout=30)
    number = said.stdout.strip().removeprefix("v").split(".")[0]
    return int(number) if said.returncode == 0 and number.isdigit() else 0


@functools.cache
def node():
    """The machine's own where it is new enough, else the one that the packages bring."""
    places = [shutil.which("node"), *JS.glob("node_modules/node-linux-*/bin/node")]
    return next((str(place) for place in places if place and version(place) >= OLDEST), None)


def run_client(script, *words, timeout=60):
    if node() is None or not (JS / "node_modules/openai").is_dir():
        pytest.fail(f"Node.js {OLDEST} or the packages of {JS} are missing; scripts/test-setup.sh brings both")
    done = subprocess.run([node(), script, *words], cwd=JS, capture_output=True, text=True, timeout=timeout)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return done.stdout
