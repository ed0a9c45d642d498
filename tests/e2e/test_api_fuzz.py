"""Every endpoint of /openapi.json under generated requests, good and bad: no 5xx, no hang, no leak, and the server
lives. HEARTH_FUZZ_EXAMPLES sets how many per endpoint (a hundred times more than CI's found nothing new)."""
import os
import pathlib
import subprocess

import pytest

import serving

ROOT = pathlib.Path(__file__).resolve().parents[2]
TOOL = ROOT / ".venv-clients/bin/schemathesis"
EXAMPLES = os.environ.get("HEARTH_FUZZ_EXAMPLES", "12")


def rss_bytes(pid):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) << 10
    return 0


def test_no_request_is_a_server_error(fake, tmp_path):
    if not TOOL.exists():
        pytest.skip(".venv-clients is missing; scripts/test-setup.sh makes it")
    server = fake({"n_ctx": 64})
    run = [str(TOOL), "run", f"{server.url}/openapi.json", "--checks", "not_a_server_error", "--max-examples", EXAMPLES,
           "--seed", "1", "--request-timeout", "20", "--no-color", "--phases", "examples,coverage,fuzzing"]
    before = rss_bytes(server.process.pid)
    done = subprocess.run(run, capture_output=True, text=True, timeout=1800, cwd=tmp_path)
    assert server.process.poll() is None, server.log()[-3000:]
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert server.get("/health")[0] == 200
    assert rss_bytes(server.process.pid) - before < serving.SLACK_BYTES + (64 << 20)
