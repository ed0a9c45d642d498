"""What the pytest suites (golden, e2e, chaos) share.

HEARTH_BIN          the executable; default build/hearth
HEARTH_TEST_MODELS  the folder of real models that scripts/test-setup.sh fills
HEARTH_SHARED       the folder of vocabularies and templates; default ../shared
Tests that need what is absent are skipped with a message; what is named but broken fails.
"""
import os
import pathlib

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent


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
def shared_dir():
    path = pathlib.Path(os.environ.get("HEARTH_SHARED", ROOT.parent / "shared"))
    if not (path / "data").is_dir():
        pytest.skip(f"{path}/data is absent; set HEARTH_SHARED to the shared folder")
    return path
