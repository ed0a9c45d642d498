"""Starting and asking a real `hearth serve` from tests."""
import hashlib
import http.client
import json
import os
import pathlib
import random
import re
import signal
import socket
import stat
import subprocess
import sys
import time
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
# What a server's memory may differ by and nothing be lost; a sanitizer keeps freed memory for a while.
SLACK_BYTES = (96 if "san" in os.environ.get("HEARTH_BIN", "") else 8) << 20
FAKE_WORKER = HERE / "e2e" / "fake_worker.py"


# Below what connections that go out take, and apart for each process of pytest-xdist: nobody else takes a port
# between its choice and the server's start.
_PORTS_EACH = 2500
_first_port = 10000 + _PORTS_EACH * (int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:]) % 8)
_next_port = random.randrange(_PORTS_EACH)
_NO_FETCH = {10080}  # the one of ours that fetch, so Node and browsers, refuses


def free_port():
    global _next_port
    for _ in range(_PORTS_EACH):
        port = _first_port + _next_port % _PORTS_EACH
        _next_port += 1
        if port in _NO_FETCH:
            continue
        with socket.socket() as s:
            try:
                s.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue
    raise AssertionError(f"no port is free from {_first_port} on")


class Server:
    """One process; stopped by close(). Flags: api_key="k" becomes --api-key k."""

    def __init__(self, binary, folder, model=None, env=None, wait=True, **flags):
        self.folder = pathlib.Path(folder)
        self.port = flags.pop("port", None) or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.key = flags.get("api_key")
        self.log_path = self.folder / f"serve-{self.port}.log"
        args = [str(binary), "serve", "--port", str(self.port)]
        for name, value in flags.items():
            args += ["--" + name.replace("_", "-"), str(value)]
        if model is not None:
            args += ["--model", str(model)]
        clean = {k: v for k, v in os.environ.items() if not k.startswith("HEARTH_")}
        clean |= {"HEARTH_KEYS": str(self.folder / "keys.json"), "HEARTH_STATE_DIR": str(self.folder / "state"),
                  "HEARTH_MODELS": str(self.folder / "library"), "HEARTH_CACHE_DIR": str(self.folder / "cache"),
                  "HEARTH_CONFIG": "/dev/null", "HEARTH_CALIBRATE": "off"} | (env or {})
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(args, stdout=log, stderr=subprocess.STDOUT, env=clean,
                                            stdin=subprocess.DEVNULL, start_new_session=True)
        if wait:
            self.wait_ready()

    def log(self):
        return self.log_path.read_text(errors="replace")

    def wait_ready(self, seconds=60):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self.process.poll() is not None:
                raise AssertionError(f"the server ended with {self.process.returncode}: {self.log()}")
            try:
                if self.get("/health")[0] == 200:
                    return
            except OSError:
                pass
            time.sleep(0.02)
        raise AssertionError(f"the server is not ready after {seconds} s: {self.log()}")

    def request(self, method, path, body=None, headers=None, timeout=30):
        """(status, headers, bytes)"""
        c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        all_headers = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        all_headers.update(headers or {})
        if isinstance(body, (dict, list)):
            body = json.dumps(body)
            all_headers.setdefault("Content-Type", "application/json")
        try:
            c.request(method, path, body, all_headers)
            r = c.getresponse()
            return r.status, r.headers, r.read()
        finally:
            c.close()

    def get(self, path, **kw):
        return self.request("GET", path, **kw)

    def post(self, path, body, **kw):
        status, headers, data = self.request("POST", path, body, **kw)
        return status, headers, json.loads(data)

    def chat(self, content="hello there", **more):
        return self.post("/v1/chat/completions", {"messages": [{"role": "user", "content": content}], **more})

    def stream(self, body, path="/v1/chat/completions"):
        """An open socket on which a streamed request was sent."""
        s = socket.create_connection(("127.0.0.1", self.port), timeout=20)
        data = json.dumps(body).encode()
        s.sendall(b"POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                  b"Content-Length: %d\r\n\r\n%s" % (path.encode(), len(data), data))
        return s

    def metrics(self):
        """{'name{labels}': value}"""
        text = self.get("/metrics")[2].decode()
        return {k: float(v) for k, v in re.findall(r"^([^#\s]+(?:\{.*\})?) (\S+)$", text, re.M)}

    def metric(self, name, **labels):
        """The sum over the series of a name that bear these labels."""
        total = 0.0
        for key, value in self.metrics().items():
            if key.split("{")[0] == name and all(f'{k}="{v}"' in key for k, v in labels.items()):
                total += value
        return total

    def wait_metric(self, name, value, seconds=10, **labels):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            got = self.metric(name, **labels)
            if got == value:
                return
            time.sleep(0.01)
        raise AssertionError(f"{name} {labels} is {got}, not {value}, after {seconds} s")

    def workers(self):
        """Process ids of the children."""
        path = f"/proc/{self.process.pid}/task/{self.process.pid}/children"
        return [int(pid) for pid in pathlib.Path(path).read_text().split()]

    def resident_bytes(self):
        pages = int(pathlib.Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGESIZE")

    def stop(self, signal_number=signal.SIGTERM, seconds=20):
        self.process.send_signal(signal_number)
        return self.process.wait(seconds)

    def close(self):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(0.5)
            except subprocess.TimeoutExpired:
                self.process.terminate()
                try:
                    self.process.wait(5)
                except subprocess.TimeoutExpired:
                    self.process.kill()
        code = self.process.wait(10)
        assert code in (0, 1, -9), f"the server ended with {code}: {self.log()}"
        assert "AddressSanitizer" not in self.log() and "runtime error" not in self.log(), self.log()


def fake_exe(folder):
    """An executable that starts the fake worker with this Python."""
    path = pathlib.Path(folder) / "fake-worker"
    path.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{FAKE_WORKER}" "$@"\n')
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def fake_model(folder, name="fake", **cfg):
    path = pathlib.Path(folder) / f"{name}.gguf"
    path.write_text(json.dumps(cfg))
    return path


def library_model(folder, name, **cfg):
    """Puts a fake model into the library of a server that runs in this folder."""
    library = pathlib.Path(folder) / "library"
    blobs = library / "blobs"
    blobs.mkdir(parents=True, exist_ok=True)

    def blob(content):
        digest = hashlib.sha256(content).hexdigest()
        (blobs / f"sha256-{digest}").write_bytes(content)
        return {"digest": f"sha256:{digest}", "size": len(content)}

    pad = cfg.pop("file_bytes", 0)
    data = cfg.pop("data", None) or json.dumps({**cfg, "name": name}).encode()
    layers = [{"mediaType": "application/vnd.ollama.image.model", **blob(data + b" " * pad)}]
    for kind in ("system", "params"):
        if kind in cfg:
            layers.append({"mediaType": f"application/vnd.ollama.image.{kind}", **blob(cfg[kind].encode())})
    manifest = {"schemaVersion": 2, "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
                "config": {"mediaType": "application/vnd.docker.container.image.v1+json", **blob(b"{}")},
                "layers": layers}
    at = library / "manifests" / "registry.ollama.ai" / "library" / name
    at.mkdir(parents=True, exist_ok=True)
    (at / "latest").write_text(json.dumps(manifest))


def events(sock, until=b"data: [DONE]\n\n"):
    """Reads a stream to its end; the list of its JSON events, and the raw bytes."""
    raw = b""
    while until not in raw and not raw.endswith(b"\r\n0\r\n\r\n"):
        piece = sock.recv(65536)
        if not piece:
            break
        raw += piece
    return [json.loads(m) for m in re.findall(rb"data: (\{.*\})\n", raw)], raw
