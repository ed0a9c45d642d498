"""A bare HTTP client for the conformance checks: any server, no library in between."""
import http.client
import json
import urllib.parse


class Reply:
    def __init__(self, status, headers, data):
        self.status, self.headers, self.data = status, headers, data

    @property
    def json(self):
        return json.loads(self.data)

    @property
    def events(self):
        """Server-sent events as (name, object); the object of [DONE] is the string."""
        out = []
        for block in self.data.decode().replace("\r\n", "\n").split("\n\n"):
            name, lines = None, []
            for line in block.split("\n"):
                if line.startswith("event:"):
                    name = line[6:].strip()
                elif line.startswith("data:"):
                    lines.append(line[5:].strip())
            if lines:
                text = "\n".join(lines)
                out.append((name, text if text == "[DONE]" else json.loads(text)))
        return out

    @property
    def lines(self):
        """NDJSON."""
        return [json.loads(line) for line in self.data.decode().splitlines() if line.strip()]


class Client:
    """model, embedder: the names that the server knows them by; None: it has none."""

    def __init__(self, base_url, model, embedder=None, key=None, timeout=120):
        self.url = urllib.parse.urlsplit(base_url)
        self.model, self.embedder, self.key, self.timeout = model, embedder, key, timeout

    def request(self, method, path, body=None, headers=None):
        connection = http.client.HTTPConnection(self.url.hostname, self.url.port, timeout=self.timeout)
        sent = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        if body is not None and not isinstance(body, (str, bytes)):
            body = json.dumps(body)
            sent["Content-Type"] = "application/json"
        try:
            connection.request(method, self.url.path.rstrip("/") + path, body, sent | (headers or {}))
            r = connection.getresponse()
            return Reply(r.status, r.headers, r.read())
        finally:
            connection.close()

    def get(self, path, **more):
        return self.request("GET", path, **more)

    def post(self, path, body, **more):
        return self.request("POST", path, body, **more)

    def ok(self, path, body, **more):
        """The JSON of a call that must be answered."""
        r = self.post(path, body, **more)
        assert r.status == 200, f"{r.status}: {r.data[:300]!r}"
        return r.json

    # ---- the calls that checks make most

    def chat(self, content="Say hello.", **more):
        body = {"model": self.model, "messages": [{"role": "user", "content": content}], "max_tokens": 16,
                "temperature": 0, **more}
        return self.post("/v1/chat/completions", body)

    def chat_ok(self, content="Say hello.", **more):
        r = self.chat(content, **more)
        assert r.status == 200, f"{r.status}: {r.data[:300]!r}"
        return r.json

    def complete(self, prompt="Once upon a time", **more):
        return self.post("/v1/completions", {"model": self.model, "prompt": prompt, "max_tokens": 8, "temperature": 0,
                                             **more})

    def complete_ok(self, prompt="Once upon a time", **more):
        r = self.complete(prompt, **more)
        assert r.status == 200, f"{r.status}: {r.data[:300]!r}"
        return r.json
