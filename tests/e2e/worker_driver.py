"""Drives one `hearth worker` process over its socket, as the gateway does."""

import contextlib
import json
import os
import socket
import struct
import subprocess


class Worker:
    """A worker on the files `paths`; options are its flags without dashes (ctx=512, ...)."""

    def __init__(self, binary, paths, env=None, **options):
        ours, theirs = socket.socketpair()
        self.sock = ours
        self.buffer = b""
        self.seen = []  # frames read while waiting for others
        files = [os.open(p, os.O_RDONLY) for p in paths]
        args = [str(binary), "worker", "--fds", str(len(files))]
        for key, value in options.items():
            args += ["--" + key.replace("_", "-"), str(value)]
        # Moved up first, so that no dup2 below overwrites one that is still needed.
        high = [os.dup(theirs.fileno())] + files
        base = 100
        for i, fd in enumerate(high):
            os.dup2(fd, base + i, inheritable=True)

        def arrange():
            for i in range(len(high)):
                os.dup2(base + i, 3 + i)
                os.set_inheritable(3 + i, True)

        keep = [base + i for i in range(len(high))] + [3 + i for i in range(len(high))]
        self.process = subprocess.Popen(
            args, env=env or {"HEARTH_LOG": "info", "HEARTH_ALLOC_GUARD": "1"}, preexec_fn=arrange, pass_fds=keep,
            stderr=subprocess.PIPE, stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL)
        for fd in [base + i for i in range(len(high))] + files + [high[0]]:
            with contextlib.suppress(OSError):
                os.close(fd)
        theirs.close()
        self.sock.settimeout(120)

    def send(self, frame):
        data = json.dumps(frame).encode()
        self.sock.sendall(struct.pack("<I", len(data)) + data)

    def send_raw(self, data):
        self.sock.sendall(data)

    def read(self):
        """The next frame, or None at the end of the stream."""
        while True:
            if len(self.buffer) >= 4:
                (n,) = struct.unpack("<I", self.buffer[:4])
                if len(self.buffer) >= 4 + n:
                    frame = json.loads(self.buffer[4:4 + n])
                    self.buffer = self.buffer[4 + n:]
                    return frame
            try:
                data = self.sock.recv(1 << 16)
            except ConnectionError:
                data = b""
            if not data:
                return None
            self.buffer += data

    def read_until(self, want):
        """Frames up to and with the first for which want(frame) holds."""
        frames = []
        while True:
            frame = self.read()
            assert frame is not None, "the worker left: " + self.last_words()
            frames.append(frame)
            if want(frame):
                return frames

    def ready(self):
        return self.read_until(lambda f: f["t"] in ("ready", "failed"))[-1]

    def answers(self, requests):
        """Sends all requests at once; {id: Answer} when all are over."""
        answers = {r["id"]: Answer() for r in requests}
        for r in requests:
            self.send(r)
        left = set(answers)
        while left:
            frame = self.read()
            assert frame is not None, "the worker left: " + self.last_words()
            if "id" in frame:
                answers[frame["id"]].take(frame)
                if frame["t"] in ("done", "error"):
                    left.discard(frame["id"])
        return answers

    def answer(self, request):
        return self.answers([request])[request["id"]]

    def call(self, frame):
        """One frame, one reply with the same id."""
        self.send(frame)
        return self.read_until(lambda f: f.get("id") == frame["id"])[-1]

    def last_words(self):
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(5)
        if self.process.poll() is None:
            return "(still running)"
        return f"exit {self.process.returncode}: {self.process.stderr.read().decode()}"

    def close(self):
        self.sock.close()
        try:
            return self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        finally:
            self.process.stderr.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.close()


class Answer:
    """What came of one request."""

    def __init__(self):
        self.frames = []
        self.text = {}
        self.tokens = {}
        self.end = {}
        self.done = None
        self.error = None

    def take(self, frame):
        self.frames.append(frame)
        kind = frame["t"]
        if kind == "delta":
            i = frame["index"]
            self.text[i] = self.text.get(i, "") + frame["text"]
            self.tokens.setdefault(i, []).extend(frame["tokens"])
        elif kind == "end":
            self.end[frame["index"]] = frame
        elif kind == "done":
            self.done = frame
        elif kind == "error":
            self.error = frame

    def essence(self):
        """All that must not depend on load, threads or preemption."""
        return self.text, self.tokens, {i: (e["reason"], e["stop"]) for i, e in self.end.items()}


def chat(id, *contents, system=None, **fields):
    """A `generate` frame of a conversation that begins with the user."""
    messages = [{"role": "system", "content": system}] if system is not None else []
    for i, content in enumerate(contents):
        messages.append({"role": "assistant" if i % 2 else "user", "content": content})
    chat = {"messages": messages, "add_generation_prompt": True}
    return {"t": "generate", "id": id, "kind": "chat", "chat": chat, **fields}


def text(id, prompt, **fields):
    return {"t": "generate", "id": id, "kind": "text", "text": prompt, **fields}
