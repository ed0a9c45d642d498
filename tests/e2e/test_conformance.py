"""Hearth against the conformance checks, on the real small model."""
import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "conformance"))
import checks  # noqa: E402
from client import Client  # noqa: E402

import serving  # noqa: E402


@pytest.fixture(scope="module")
def client(hearth_bin, smollm2_path, tmp_path_factory):
    server = serving.Server(hearth_bin, tmp_path_factory.mktemp("conformance"), smollm2_path)
    yield Client(server.url, str(smollm2_path))
    server.close()


@pytest.mark.parametrize("check", [f for _, f in checks.CHECKS], ids=lambda f: f.__name__)
def test_conforms(client, check):
    check(client)
