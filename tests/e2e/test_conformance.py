"""Hearth against the conformance checks, on real small models: one that writes, one that gives vectors."""
import os
import pathlib
import subprocess
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "conformance"))
import checks  # noqa: E402
from client import Client  # noqa: E402

import serving  # noqa: E402


@pytest.fixture(scope="module")
def client(hearth_bin, smollm2_path, minilm_path, tmp_path_factory):
    folder = tmp_path_factory.mktemp("conformance")
    library = os.environ | {"HEARTH_MODELS": str(folder / "library")}
    for name, path in (("smollm2", smollm2_path), ("minilm", minilm_path)):
        (folder / "Modelfile").write_text(f"FROM {path}\n")
        subprocess.run([hearth_bin, "create", name, "-f", folder / "Modelfile"], check=True, env=library)
    server = serving.Server(hearth_bin, folder, "smollm2")
    yield Client(server.url, "smollm2", "minilm")
    server.close()


@pytest.mark.parametrize("check", [f for _, f in checks.CHECKS], ids=lambda f: f.__name__)
def test_conforms(client, check):
    check(client)
