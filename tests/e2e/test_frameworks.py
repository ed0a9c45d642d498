"""The frameworks of docs/clients.md, unchanged, against the real small model: each in a process of its own."""
import os
import pathlib
import subprocess

import javascript
import pytest

import serving

ROOT = pathlib.Path(__file__).resolve().parents[2]
PYTHON = ROOT / ".venv-clients/bin/python"


@pytest.fixture(scope="module")
def server(hearth_bin, smollm2_path, tmp_path_factory):
    one = serving.Server(hearth_bin, tmp_path_factory.mktemp("frameworks"), smollm2_path)
    yield one
    one.close()


def run(command, **more):
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, **more)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]


@pytest.mark.parametrize("name", ["langchain", "langchain_structured", "langchain_tools", "langchain_ollama",
                                  "langchain_anthropic", "llamaindex", "litellm", "instructor"])
def test_python(server, smollm2_path, name):
    if not PYTHON.exists():
        pytest.skip(".venv-clients is missing; scripts/test-setup.sh makes it")
    quiet = {**os.environ, "DO_NOT_TRACK": "1", "LITELLM_LOCAL_MODEL_COST_MAP": "True", "LANGCHAIN_TRACING_V2": "false"}
    run([str(PYTHON), str(pathlib.Path(__file__).parent / "clients/frameworks.py"), name, server.url, str(smollm2_path)],
        env=quiet)


@pytest.mark.parametrize("name", ["text", "object", "tool"])
def test_vercel_ai(server, smollm2_path, name):
    javascript.run_client("vercel.mjs", name, server.url, str(smollm2_path), timeout=240)
