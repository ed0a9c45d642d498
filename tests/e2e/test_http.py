"""HTTP itself: methods, connections, limits, who may ask, what is where."""
import json
import os
import re
import socket
import urllib.parse

import pytest

import serving


def raw(server, data, timeout=5):
    """Everything the server answers to these bytes until it closes."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=timeout) as s:
        s.sendall(data)
        out = b""
        while piece := s.recv(65536):
            out += piece
        return out


# ---- routes and methods

def test_what_is_where(fake_server):
    for path in ("/health", "/v1/models", "/v1/requests", "/api/version", "/api/tags", "/api/ps"):
        status, headers, body = fake_server.get(path)
        assert (status, headers["Content-Type"]) == (200, "application/json"), path
        assert json.loads(body) and headers["x-request-id"].startswith("req_")
    html = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
    page = fake_server.get("/", headers=html)[1]
    assert "connect-src 'self'" in page["Content-Security-Policy"] and page["Content-Type"].startswith("text/html")
    assert fake_server.get("/", headers={**html, "If-None-Match": page["ETag"]})[0] == 304


def test_request_ids_differ(fake_server):
    ids = {fake_server.get("/health")[1]["x-request-id"] for _ in range(50)}
    assert len(ids) == 50


@pytest.mark.parametrize("path", ["/nothing", "/v1", "/v1/chat", "/assets/", "/assets/../etc/passwd", "/v2/models",
                                  "//health", "/v1/chat/completions/", "/%00", "/v1/models/%2e%2e%2f%2e%2e"])
def test_nothing_there(fake_server, path):
    status, _, body = fake_server.get(path)
    assert status == 404 and "error" in json.loads(body)


@pytest.mark.parametrize("method,path,allow", [
    ("GET", "/v1/chat/completions", "POST, OPTIONS"), ("PUT", "/v1/completions", "POST, OPTIONS"),
    ("POST", "/health", "GET, HEAD, OPTIONS"), ("DELETE", "/v1/models", "GET, HEAD, OPTIONS"),
    ("BREW", "/", "GET, HEAD, OPTIONS"), ("PATCH", "/metrics", "GET, HEAD, OPTIONS"),
])
def test_wrong_method(fake_server, method, path, allow):
    status, headers, body = fake_server.request(method, path)
    assert (status, headers["Allow"]) == (405, allow) and "error" in json.loads(body)


def test_head_and_options(fake_server):
    status, headers, body = fake_server.request("HEAD", "/health")
    assert (status, body) == (200, b"") and int(headers["Content-Length"]) > 0
    status, headers, body = fake_server.request("OPTIONS", "/v1/chat/completions")
    assert (status, headers["Allow"], body) == (204, "POST, OPTIONS", b"")
    assert headers["Access-Control-Allow-Origin"] is None


def test_models_by_name(fake_server):
    listed = json.loads(fake_server.get("/v1/models")[2])
    name = listed["data"][0]["id"]
    assert listed["object"] == "list" and listed["data"][0]["object"] == "model"
    status, _, body = fake_server.get("/v1/models/" + urllib.parse.quote(name, safe=""))
    assert status == 200 and json.loads(body)["id"] == name
    status, _, body = fake_server.get("/v1/models/hf.co/OWNER/REPO:Q4_K_M")
    assert status == 404 and json.loads(body)["error"]["code"] == "model_not_found"


@pytest.mark.parametrize("model", ["no-such-model", "/etc/passwd", "../x", "./fake.gguf2", "https://example.org/x.gguf",
                                   "a" * 3000, "a\0b", "hf.co/a/b:c", "pypi:x", "~/x", " "])
def test_unknown_models(fake_server, model):
    status, _, answer = fake_server.chat(model=model)
    assert (status, answer["error"]["code"], answer["error"]["param"]) == (404, "model_not_found", "model")


def test_ollama_lists(fake_server):
    tags = json.loads(fake_server.get("/api/tags")[2])["models"]
    loaded = json.loads(fake_server.get("/api/ps")[2])["models"]
    assert tags[0]["name"] == loaded[0]["name"] and tags[0]["details"]["family"] == "fake"
    assert loaded[0]["context_length"] == 512 and loaded[0]["state"] == "ready"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", tags[0]["modified_at"])


def test_unload(fake):
    server = fake()
    name = json.loads(server.get("/api/ps")[2])["models"][0]["name"]
    status, _, answer = server.post("/api/generate", {"model": name, "keep_alive": 0})
    assert (status, answer["done_reason"], answer["done"]) == (200, "unload", True)
    server.wait_metric("hearth_worker_starts_total", 1)
    assert server.post("/api/generate", {"model": "other", "keep_alive": 0})[0] == 404
    for bad in ({"model": name, "keep_alive": "5 minutes"}, {"model": name, "keep_alive": [5]}, {"keep_alive": 0},
                {"model": name, "keep_alive": 0, "nonsense": True}):
        status, _, answer = server.post("/api/generate", bad)
        assert status == 400 and isinstance(answer["error"], str)
    assert server.chat()[0] == 200  # loads it again
    assert server.metric("hearth_worker_starts_total") == 2


# ---- connections

def test_keep_alive_and_pipelining(fake_server):
    one = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
    body = b'{"messages":[{"role":"user","content":"pipelined words"}]}'
    post = (b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
    last = b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    out = raw(fake_server, one + post + one + post + last)
    assert out.count(b"HTTP/1.1 200") == 5 and out.count(b"pipelined words") == 2


def test_http_1_0(fake_server):
    body = b'{"stream":true,"messages":[{"role":"user","content":"old client"}]}'
    out = raw(fake_server, b"POST /v1/chat/completions HTTP/1.0\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
    assert b" 200 " in out.split(b"\r\n")[0] and b"chunked" not in out and out.endswith(b"data: [DONE]\n\n")


def test_chunked_request(fake_server):
    parts = b"".join(b"%x\r\n%s\r\n" % (len(p), p) for p in (b'{"messages":[{"role":"us', b'er","content":"in parts"}]}'))
    out = raw(fake_server, b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
              b"Transfer-Encoding: chunked\r\n\r\n" + parts + b"0\r\n\r\n")
    assert b"HTTP/1.1 200" in out and b"in parts" in out


@pytest.mark.parametrize("data", [
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n",
    b"GET / HTTP/1.1\r\n\r\n", b"GET / HTTP/1.1\r\nHost: localhost\r\nBad Header\r\n\r\n",
    b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n\r\n",
    b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999999999999999\r\n\r\n",
    b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"GET /" + b"a" * 70000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"".join(b"X-%d: %s\r\n" % (i, b"v" * 100) for i in range(900)) + b"\r\n",
])
def test_broken_requests_are_refused_and_harm_nobody(fake, data):
    server = fake(header_timeout="500ms", body_timeout="500ms")
    try:
        out = raw(server, data)
    except ConnectionResetError:
        out = b""
    assert out == b"" or re.match(rb"HTTP/1\.[01] [45]\d\d", out), out[:200]
    assert server.chat()[0] == 200


def test_encoded_bodies_are_refused(fake_server):
    assert fake_server.request("POST", "/v1/completions", b"x", {"Content-Encoding": "gzip"})[0] == 415


# ---- sizes

def test_a_body_over_the_limit(fake):
    server = fake(body_max="64k")
    for headers in ({}, {"Expect": "100-continue"}):
        status, _, body = server.request("POST", "/v1/completions", b"x" * 100000, headers)
        assert status == 413 and json.loads(body)["error"]["code"] == "request_too_large"
    chunk = b"10000\r\n" + b"x" * 65536 + b"\r\n"
    out = raw(server, b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
              b"Transfer-Encoding: chunked\r\n\r\n" + chunk * 2 + b"0\r\n\r\n")
    assert out.startswith(b"HTTP/1.1 413") and b"request_too_large" in out
    assert server.chat()[0] == 200


def test_many_megabytes_of_prompt(fake):
    server = fake({"n_ctx": 1 << 30})
    text = "\u0001" * (2 << 20)  # six bytes each as JSON
    status, _, answer = server.chat(text, max_tokens=1)
    assert status == 200 and answer["choices"][0]["message"]["content"] == text


# ---- who may ask

@pytest.mark.parametrize("host,status", [
    ("localhost", 200), ("127.0.0.1:11434", 200), ("127.9.8.7", 200), ("[::1]:80", 200), ("LOCALHOST:1", 200),
    ("app.localhost", 200), ("evil.example", 403), ("127.0.0.1.evil.example", 403), ("localhost.evil.example", 403),
    ("127.evil.example", 403), ("evil.example:11434", 403), ("192.168.1.5", 403), ("", 403), ("127.0.0.256", 403),
])
def test_foreign_hosts(fake_server, host, status):
    out = raw(fake_server, f"GET /v1/models HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
    assert int(out.split()[1]) == status


@pytest.mark.parametrize("origin,status", [
    ("http://localhost:1234", 403), ("https://evil.example", 403), ("null", 403), ("same", 200), (None, 200),
])
def test_foreign_origins(fake_server, origin, status):
    headers = {"Origin": fake_server.url if origin == "same" else origin} if origin else {}
    got = fake_server.request("POST", "/v1/chat/completions",
                              '{"messages":[{"role":"user","content":"x"}]}', {**headers, "Content-Type": "text/plain"})
    assert got[0] == status and got[1]["Access-Control-Allow-Origin"] is None


def test_api_key(fake):
    server = fake(api_key="s3cret")
    assert server.chat()[0] == 200
    for value in (None, "", "Bearer", "Bearer ", "Bearer s3cre", "Bearer s3cret0", "Basic s3cret", "s3cret"):
        headers = {"Authorization": value or ""}
        for path in ("/v1/models", "/metrics", "/api/tags"):
            status, answer_headers, body = server.request("GET", path, headers=headers)
            assert status == 401 and answer_headers["WWW-Authenticate"] == "Bearer"
        status, _, answer = server.post("/v1/chat/completions", {}, headers=headers)
        assert (status, answer["error"]["code"]) == (401, "invalid_api_key")
    for path in ("/", "/health", "/api/version"):
        assert server.request("GET", path, headers={"Authorization": ""})[0] == 200
    assert json.loads(server.request("GET", "/health", headers={"Authorization": ""})[2]) == {"status": "ok"}


def test_every_metric_is_in_the_documents(fake_server):
    """docs/metrics.md lists what /metrics has, no more and no less; METRICS_DOC=write makes it so."""
    fake_server.chat()
    text = fake_server.get("/metrics")[2].decode()
    what = dict(re.findall(r"^# HELP (\S+) (.*)$", text, re.M))
    kind = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.M))
    assert what and set(what) == set(kind)

    def labels(name):
        series = re.findall(rf"^{name}(?:_bucket|_sum|_count)?({{.*}}) ", text, re.M)
        return ", ".join(sorted(set(re.findall(r'(\w+)="', " ".join(series))) - {"le"}))
    rows = "".join(f"| `{n}` | {kind[n]} | {labels(n)} | {what[n]} |\n" for n in sorted(what))
    path = serving.HERE.parent / "docs" / "metrics.md"
    before, mark, _ = path.read_text().partition("| Name | Type | Labels | What |\n|---|---|---|---|\n")
    if os.environ.get("METRICS_DOC") == "write":
        path.write_text(before + mark + rows)
    assert mark and path.read_text() == before + mark + rows


def test_metrics_are_prometheus(fake_server):
    fake_server.chat()
    status, headers, body = fake_server.get("/metrics")
    assert status == 200 and headers["Content-Type"].startswith("text/plain; version=0.0.4")
    typed = set()
    for line in body.decode().splitlines():
        if line.startswith("# TYPE "):
            typed.add(line.split()[2])
        elif not line.startswith("#"):
            name = re.fullmatch(r"([a-z_]+)(\{[^{}]*\})? [-+.0-9eInf]+", line).group(1)
            assert name in typed or re.sub(r"_(bucket|sum|count)$", "", name) in typed
    assert fake_server.metric("hearth_http_requests_total", route="/v1/chat/completions", status="200") >= 1
    assert fake_server.metric("hearth_time_to_first_token_seconds_count") >= 1
    assert fake_server.metric("hearth_completion_tokens_total") >= 1
