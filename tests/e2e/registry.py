"""A registry, a file server and a package index in one, with faults on request, for test_pull.py.

Faults are set per path: server.faults["/blob"] = ["truncate", "500", ...] takes one from the front
per request; a fault that ends in "!" stays.
"""
import hashlib
import http.server
import json
import threading
import time
import urllib.parse


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def do_GET(self):
        server = self.server.owner
        path, _, query = self.path.partition("?")
        server.requests.append((self.path, dict(self.headers)))
        if path == "/token":
            server.scopes.append(query)
            return self.reply(200, json.dumps({"token": "secret-1"}).encode())
        if server.token and path.startswith("/v2/") and self.headers.get("Authorization") != "Bearer secret-1":
            return self.reply(401, b"{}", {
                "WWW-Authenticate": f'Bearer realm="{server.url}/token",service="reg",scope="repository:x:pull"'})
        fault = self.fault(path)
        if fault and fault.isdigit():
            return self.reply(int(fault), b"an error page")
        if fault == "redirect":
            return self.reply(307, b"", {"Location": f"{server.redirect_to}/elsewhere{path}"})
        if fault == "redirect-loop":
            return self.reply(302, b"", {"Location": path})
        if path.startswith("/elsewhere"):
            path = path[len("/elsewhere"):]
        body = server.files.get(path)
        if body is None:
            return self.reply(404, b"not here")
        return self.send_file(path, body, fault)

    # ---- pushes

    def may(self, path):
        """Asks for a token where the registry wants one; False: that was the answer."""
        server = self.server.owner
        if not server.token or self.headers.get("Authorization") == "Bearer secret-1":
            return True
        self.body()
        self.reply(401, b"{}", {
            "WWW-Authenticate": f'Bearer realm="{server.url}/token",service="reg",scope="repository:x:push"'})
        return False

    def body(self):
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def do_HEAD(self):
        path = self.path.partition("?")[0]
        self.server.owner.requests.append((self.path, dict(self.headers)))
        if self.may(path):
            self.reply(200 if path in self.server.owner.files else 404, b"")

    def do_POST(self):
        server = self.server.owner
        path = self.path.partition("?")[0]
        server.requests.append((self.path, dict(self.headers)))
        if not self.may(path):
            return
        self.body()
        fault = self.fault(path)
        if fault and fault.isdigit():
            return self.reply(int(fault), b"no")
        session = f"{path}{len(server.uploads)}"
        server.uploads[session] = b""
        self.reply(202, b"", {"Location": f"{session}?state=0"})

    def do_PATCH(self):
        server = self.server.owner
        path = self.path.partition("?")[0]
        server.requests.append((self.path, dict(self.headers)))
        if not self.may(path):
            return
        data = self.body()
        fault = self.fault(path)
        if fault and fault.isdigit():
            return self.reply(int(fault), b"no")
        start = len(server.uploads[path])
        if self.headers.get("Content-Range") != f"{start}-{start + len(data) - 1}":
            return self.reply(416, b"")
        server.uploads[path] += data
        self.reply(202, b"", {"Location": f"{server.url}{path}?state=1"})

    def do_PUT(self):
        server = self.server.owner
        path, _, query = self.path.partition("?")
        server.requests.append((self.path, dict(self.headers)))
        if not self.may(path):
            return
        data = self.body()
        if "/manifests/" in path:
            names = json.loads(data)
            blobs = [layer["digest"] for layer in names["layers"] + [names["config"]]]
            base = path.partition("/manifests/")[0]
            if any(f"{base}/blobs/{digest}" not in server.files for digest in blobs):
                return self.reply(400, b"a blob is missing")
            server.files[path] = data
            return self.reply(201, b"")
        digest = urllib.parse.parse_qs(query)["digest"][0]
        data = server.uploads.pop(path) + data
        if "sha256:" + hashlib.sha256(data).hexdigest() != digest:
            return self.reply(400, b"wrong bytes")
        server.files[path.partition("/blobs/")[0] + "/blobs/" + digest] = data
        self.reply(201, b"")

    def fault(self, path):
        waiting = self.server.owner.faults.get(path, [])
        if not waiting:
            return None
        return waiting[0][:-1] if waiting[0].endswith("!") else waiting.pop(0)

    def reply(self, status, body, headers=None):
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def send_file(self, path, body, fault):
        server = self.server.owner
        start, status, headers = 0, 200, {}
        etag = '"' + hashlib.sha256(body).hexdigest()[:16] + '"'
        if fault != "no-validator":
            headers["ETag"] = etag
        wanted = self.headers.get("Range")
        if_range = self.headers.get("If-Range")
        if wanted and fault != "no-range" and (if_range is None or if_range == etag):
            start = int(wanted[len("bytes="):].split("-")[0])
            if start >= len(body):
                return self.reply(416, b"", {"Content-Range": f"bytes */{len(body)}"})
            status = 206
            begin = start + 1 if fault == "wrong-range" else start
            headers["Content-Range"] = f"bytes {begin}-{len(body) - 1}/{len(body)}"
        data = body[start:]
        if fault == "corrupt":
            data = data[:-1] + bytes([data[-1] ^ 1])
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if path.startswith("/simple/"):
            self.send_header("Content-Type", "text/html")
        if fault == "longer":
            data += b"more"
        if fault == "no-length":
            self.send_header("Connection", "close")
        else:
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if fault in ("truncate", "stall"):
            self.wfile.write(data[: len(data) // 2])
            self.wfile.flush()
            if fault == "stall":
                server.release.wait(20)
            self.close_connection = True
            return
        if fault == "slow":
            for i in range(0, len(data), max(1, len(data) // 50)):
                self.wfile.write(data[i:i + max(1, len(data) // 50)])
                self.wfile.flush()
                time.sleep(0.04)
            return
        self.wfile.write(data)
        if fault == "no-length":
            self.close_connection = True


class Registry:
    def __init__(self):
        self.files, self.faults, self.requests, self.scopes = {}, {}, [], []
        self.token, self.redirect_to = False, None
        self.uploads = {}
        self.release = threading.Event()
        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.http.owner = self
        self.host = f"127.0.0.1:{self.http.server_port}"
        self.url = f"http://{self.host}"
        threading.Thread(target=self.http.serve_forever, args=(0.02,), daemon=True).start()

    def close(self):
        self.release.set()
        self.http.shutdown()
        self.http.server_close()

    def count(self, path):
        return sum(1 for requested, _ in self.requests if requested.partition("?")[0] == path)

    def add_model(self, name, tag, model, extra=()):
        """Puts a model into the registry; returns its blob's path and digest."""
        layers = []
        for media, data in [("model", model), *extra]:
            digest = "sha256:" + hashlib.sha256(data).hexdigest()
            self.files[f"/v2/{name}/blobs/{digest}"] = data
            layers.append({"mediaType": f"application/vnd.ollama.image.{media}", "digest": digest, "size": len(data)})
        config = b'{"model_format":"gguf"}'
        digest = "sha256:" + hashlib.sha256(config).hexdigest()
        self.files[f"/v2/{name}/blobs/{digest}"] = config
        manifest = {
            "schemaVersion": 2, "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
            "config": {"mediaType": "application/vnd.docker.container.image.v1+json", "digest": digest,
                       "size": len(config)},
            "layers": layers}
        self.files[f"/v2/{name}/manifests/{tag}"] = json.dumps(manifest).encode()
        return f"/v2/{name}/blobs/{layers[0]['digest']}", layers[0]["digest"]
