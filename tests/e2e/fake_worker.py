#!/usr/bin/env python3
"""A worker that speaks the frame protocol (src/ipc/message.h) and computes nothing.

The gateway starts it in place of the real one (--worker-exe). The "model" is a JSON file passed as
descriptor 4; its members, all optional, say how to behave:
    n_ctx, n_seq_max, load_s, prefill_s, token_s     sizes and latencies
    fail          {code, message}: could not load
    die           a prompt that holds this text kills the worker (SIGKILL) after its first token
    die_at        with `die`: once the answer is so long, not after the first token of each life
    die_ready_s   it dies by itself so long after it was ready
    stall_at      a prompt that holds "STALL" stops the whole process (SIGSTOP) once its answer is so long
    log           a file to which each start adds a line
    mutter        what each start writes on standard error
    weight_bytes  of the plan
    linger_s      it takes so long to end when the gateway closes the connection
    needs         with less memory it does not load
    say           frames that a prompt with "ROGUE" is answered with, and nothing else; their id is filled in
    answers_max   requests it has at once; one more is refused as busy (default: as the real one, 1024)
    say_asked     the same for questions (render, tokenize, detokenize)
    n_cached      of each prompt, what was computed before
    repeat        the answer: this text over and over, a word a token (default: the prompt's words)
A prompt whose last message holds "SCRIPT" and then, to its end, JSON, is answered with that: a list of
{"reasoning": text} or ["reasoning", text], {"content": text} or ["content", text], {"call": name, "arguments": text} or
["call", name, arguments], a word a token; without `parse` with their texts alone.
A prompt of N words has N tokens; N beyond n_ctx is a context_length error. "SILENT" never answers.
"""
import heapq
import json
import os
import select
import signal
import socket
import struct
import sys
import time
import zlib

KNOWN = {"t", "id", "kind", "chat", "text", "tokens", "max_tokens", "n", "stop", "logprobs", "constraint", "parse",
         "tool_choice", "tool_name", "one_tool_call", "think", "think_max",
         "suffix", "n_ctx_min", "truncate", "raw", "dimensions", "inputs", "top_logprobs", "echo", "ignore_eos",
         "sampling", "prediction", "priority", "tenant", "salt", "resume"}


CHANNELS = {"content": 0, "reasoning": 1, "call": 2}


def script_of(prompt):
    """[(text, members of the delta)], a token each; None: the prompt has no script."""
    if "SCRIPT" not in prompt:
        return None
    tokens, n_calls = [], 0
    for piece in json.loads(prompt.split("SCRIPT", 1)[1]):
        kind, *rest = [next(iter(piece)), *piece.values()] if isinstance(piece, dict) else piece
        more = {"channel": CHANNELS[kind]}
        if kind == "call":
            tokens.append(("", more | {"call": n_calls, "name": rest[0]}))
            more["call"] = n_calls
            n_calls += 1
        tokens += [(word, more) for word in words(rest[-1])]
    return tokens


def words(text):
    """Splits so that joining gives the text again; each piece is a token."""
    pieces, start = [], 0
    for i in range(1, len(text)):
        if text[i] == " " and text[i - 1] != " ":
            pieces.append(text[start:i])
            start = i
    return pieces + ([text[start:]] if text else [])


class Choice:
    def __init__(self, request, index):
        self.request, self.index = request, index
        prior = request["resume"]["prior"][index] if "resume" in request else {}
        n_echo = len(words(request["prompt"])) if request.get("echo") else 0
        self.ended = prior.get("ended", False)
        self.echoed = n_echo > 0 and len(prior.get("tokens", [])) >= n_echo
        self.n = prior["n_completion"] if self.ended else max(0, len(prior.get("tokens", [])) - n_echo)


class Worker:
    def __init__(self):
        self.sock = socket.socket(fileno=3)
        self.sock.setblocking(False)
        with os.fdopen(4, "rb") as model:
            self.cfg = json.loads(model.read())
        self.out, self.inp = bytearray(), bytearray()
        self.requests, self.queue, self.due = {}, [], []
        self.running = 0
        self.cancelled = self.n_prompt = self.n_output = self.steps = 0
        self.counter = 0

    def send(self, t, **fields):
        body = json.dumps({"t": t, **fields}).encode()
        self.out += struct.pack("<I", len(body)) + body

    def at(self, delay, fn, *args):
        self.counter += 1
        heapq.heappush(self.due, (time.monotonic() + delay, self.counter, fn, args))

    def stats(self):
        self.send("stats", running=self.running, waiting=len(self.queue), kv_blocks_used=0,
                  kv_blocks=1, steps=self.steps, prompt_tokens=self.n_prompt,
                  output_tokens=self.n_output, preemptions=0, cancelled=self.cancelled,
                  prefill_s=self.n_prompt * 0.001, decode_s=self.n_output * self.cfg.get("token_s", 0))

    def ready(self):
        c = self.cfg
        given = int(sys.argv[sys.argv.index("--memory-max") + 1]) if "--memory-max" in sys.argv else 0
        if 0 < given < c.get("needs", 0):
            c["fail"] = {"code": "out_of_memory", "message": f"it needs {c['needs']} bytes, not {given}"}
        if "fail" in c:
            self.send("failed", **c["fail"])
            self.flush()
            sys.exit(1)
        self.send("ready", arch="fake", name="Fake", file_type="F32", kernel="none", kv_type="f16",
                  fingerprint="fp_fake", n_params=1000000, n_ctx_train=c.get("n_ctx", 64),
                  n_ctx=c.get("n_ctx", 64), n_vocab=1000, n_threads=1,
                  n_seq_max=c.get("n_seq_max", 4), weight_bytes=c.get("weight_bytes", 1 << 20),
                  kv_bytes=1 << 20, scratch_bytes=1 << 16, has_template=True, sandboxed=False,
                  load_ms=1.0)
        self.stats()
        if "die_ready_s" in c:
            self.at(c["die_ready_s"], self.die)
        self.at(1, self.beat)

    def die(self):
        self.flush()
        os.kill(os.getpid(), signal.SIGKILL)

    def beat(self):
        """A sign of life while there are requests."""
        if self.requests:
            self.stats()
        self.at(1, self.beat)

    # ---- requests

    def say(self, request_id, frames):
        for frame in frames:
            self.send(**{"id": request_id, **frame})

    def prompt_of(self, r):
        if r.get("kind") == "tokens":
            return "".join(f" t{i}" for i in r["tokens"])
        if r.get("kind") == "text":
            return r["text"]
        parts = []
        for m in r["chat"]["messages"]:
            content = m.get("content") or ""
            if isinstance(content, list):
                content = "\n".join(p["text"] for p in content)
            parts.append(content)
        return " ".join(parts)

    def generate(self, r):
        assert set(r) <= KNOWN, set(r) - KNOWN
        r["prompt"] = self.prompt_of(r)
        if "ROGUE" in r["prompt"]:
            self.say(r["id"], self.cfg["say"])
            return
        r["n_prompt"] = max(1, len(words(r["prompt"])))
        n_ctx = self.cfg.get("n_ctx", 64)
        if len(self.requests) >= self.cfg.get("answers_max", 1024):
            self.send("error", id=r["id"], code="busy", param="", message=f"{len(self.requests)} are queued already")
            return
        if r["n_prompt"] > n_ctx:
            self.send("error", id=r["id"], code="context_length", param="",
                      message=f"the prompt has {r['n_prompt']} tokens, the context {n_ctx}",
                      n_prompt=r["n_prompt"], n_ctx=n_ctx)
            return
        self.requests[r["id"]] = r
        self.send("accepted", id=r["id"], n_prompt=r["n_prompt"], prompt_hash=zlib.crc32(r["prompt"].encode()))
        if "resume" in r:
            assert r["resume"]["prompt_hash"] == zlib.crc32(r["prompt"].encode())
            assert r["resume"]["n_prompt"] == r["n_prompt"] and r["resume"]["n_ctx"] == n_ctx
        self.queue.append(r)
        self.admit()

    def tokenize(self, frame):
        text = self.prompt_of(frame["request"]) if "request" in frame else frame["text"]
        if "request" in frame:
            assert set(frame["request"]) <= KNOWN, set(frame["request"]) - KNOWN
        pieces = words(text)
        answer = {"n": len(pieces)}
        if not frame.get("count"):
            answer["tokens"] = [sum(p.encode()) % 1000 for p in pieces]
        if frame.get("pieces"):
            answer["pieces"] = [p.encode().decode("latin-1") for p in pieces]
        self.send("tokens", id=frame["id"], **answer)

    def admit(self):
        while self.queue and self.running < self.cfg.get("n_seq_max", 4):
            r = self.queue.pop(0)
            self.running += 1
            r["running"] = True
            self.send("started", id=r["id"], n_cached=self.cfg.get("n_cached", 0), queue_ms=0.0)
            if "SILENT" not in r["prompt"]:
                self.at(self.cfg.get("prefill_s", 0), self.first, r)
        self.stats()

    def first(self, r):
        if r["id"] not in self.requests:
            return
        self.n_prompt += r["n_prompt"]
        text = self.cfg.get("repeat") or r["prompt"]
        last = {"chat": {"messages": r["chat"]["messages"][-1:]}} if r.get("chat") else r
        script = script_of(self.prompt_of(last))
        r["answer"] = [text for text, _ in script] if script is not None else words(text) or ["ok"]
        r["more"] = [more for _, more in script] if script is not None and r.get("parse") else None
        choices = [Choice(r, i) for i in range(r.get("n", 1))]
        r["left"] = sum(not c.ended for c in choices)
        r["n_completion"] = sum(c.n for c in choices if c.ended)
        if r["left"] == 0:
            self.done(r)
        for choice in choices:
            if r.get("echo") and not choice.echoed and not choice.ended:
                self.delta(choice, r["prompt"], words(r["prompt"]), first=True)
            if not choice.ended:
                self.at(0, self.step, choice)

    def token(self, piece, r, none):
        """[id], or [id, logprob, bytes, top] with bytes as the characters U+0000 to U+00FF."""
        data = piece.encode()
        if not r.get("logprobs"):
            return [sum(data) % 1000]
        top = [[1, -0.25, "a"], [2, -1.5, "\xe2\x82"], [3, None, "b"]][: r.get("top_logprobs", 0)]
        return [sum(data) % 1000, None if none else -0.5, data.decode("latin-1"), top]

    def delta(self, choice, text, pieces, first=False, **more):
        r = choice.request
        self.send("delta", id=r["id"], index=choice.index, text=text, **more,
                  tokens=[self.token(p, r, first and i == 0) for i, p in enumerate(pieces)])

    def end(self, choice, reason, stop=None):
        r = choice.request
        said = [more["channel"] for more in (r["more"] or [])[: choice.n]]
        n_reasoning = said.count(CHANNELS["reasoning"])
        if reason == "stop" and CHANNELS["call"] in said:
            reason = "tool_calls"
        self.send("end", id=r["id"], index=choice.index, reason=reason, stop=stop,
                  n_completion=choice.n, n_reasoning=n_reasoning)
        r["n_reasoning"] = r.get("n_reasoning", 0) + n_reasoning
        r["left"] -= 1
        r["n_completion"] += choice.n
        if r["left"] == 0:
            self.done(r)

    def done(self, r):
        self.send("done", id=r["id"], n_prompt=r["n_prompt"], n_cached=self.cfg.get("n_cached", 0),
                  n_completion=r["n_completion"], n_reasoning=r.get("n_reasoning", 0), queue_ms=0.0, prefill_ms=1.0,
                  decode_ms=2.0)
        self.over(r)

    def step(self, choice):
        r = choice.request
        if r["id"] not in self.requests:
            return
        self.steps += 1
        limit = r.get("max_tokens", -1)
        if limit < 0:
            limit = 10**9 if self.cfg.get("repeat") else len(r["answer"])
        if r["more"]:
            limit = min(limit, len(r["answer"]))
        if choice.n >= limit:
            called = any("call" in more for more in r["more"] or [])
            self.end(choice, "length" if r.get("max_tokens", -1) >= 0 and
                     choice.n < len(r["answer"]) else "tool_calls" if called else "stop")
            return
        piece = r["answer"][choice.n % len(r["answer"])]
        more = r["more"][choice.n] if r["more"] else {}
        for stop in r.get("stop", []):
            if stop in piece:
                choice.n += 1
                self.end(choice, "stop", stop)
                return
        more = r["more"][choice.n % len(r["answer"])] if r["more"] else {}
        choice.n += 1
        self.n_output += 1
        self.delta(choice, piece, [piece], **more)
        if self.cfg.get("die") and self.cfg["die"] in r["prompt"] and choice.n >= self.cfg.get("die_at", 0):
            self.die()
        if "STALL" in r["prompt"] and choice.n >= self.cfg.get("stall_at", 1):
            self.flush()
            os.kill(os.getpid(), signal.SIGSTOP)
        self.at(self.cfg.get("token_s", 0), self.step, choice)

    def over(self, r):
        self.requests.pop(r["id"], None)
        if r in self.queue:
            self.queue.remove(r)
        elif r.pop("running", False):
            self.running -= 1
        self.admit()

    def cancel(self, r):
        found = self.requests.get(r["id"])
        if found is None:
            return
        self.cancelled += 1
        self.send("error", id=r["id"], code="cancelled", message="cancelled", param="")
        self.over(found)

    # ---- the socket

    def flush(self):
        self.sock.setblocking(True)
        self.sock.sendall(self.out)
        self.out.clear()
        self.sock.setblocking(False)

    def read(self):
        try:
            data = self.sock.recv(1 << 20)
        except BlockingIOError:
            return
        if not data:
            time.sleep(self.cfg.get("linger_s", 0))
            sys.exit(0)
        self.inp += data
        while len(self.inp) >= 4:
            size = struct.unpack("<I", self.inp[:4])[0]
            if len(self.inp) < 4 + size:
                return
            frame = json.loads(bytes(self.inp[4:4 + size]))
            del self.inp[:4 + size]
            if frame["t"] == "generate":
                self.generate(frame)
            elif frame["t"] in ("render", "tokenize", "detokenize", "describe") and "say_asked" in self.cfg:
                self.say(frame["id"], self.cfg["say_asked"])
            elif frame["t"] == "cancel":
                self.cancel(frame)
            elif frame["t"] == "tokenize":
                self.tokenize(frame)
            elif frame["t"] == "describe":
                self.send("described", id=frame["id"], template="{{ messages }}", bos="<s>", eos="</s>", system=True, tools=False)
            elif frame["t"] == "detokenize":
                self.send("text", id=frame["id"], text=self.prompt_of({"kind": "tokens", **frame}))
            elif frame["t"] == "render":
                self.send("text", id=frame["id"], text=f"<fake>{self.prompt_of(frame.get('generate') or {'chat': frame['request']})}</fake>")

    def inspect(self):
        """What a worker with --inspect says of the model's file."""
        c, all_of_it = self.cfg, sys.argv[sys.argv.index("--inspect") + 1] == "2"
        if "fail" in c:
            self.send("failed", **c["fail"])
        else:
            tensors = {"tensors": [{"name": "t", "type": "F32", "shape": [2, 3]}]} if all_of_it else {}
            self.send("inspected", arch="fake", file_type="F32", n_params=1000000, n_ctx=c.get("n_ctx", 64),
                      n_embd=8, template="{{ messages }}", capabilities=["completion", "tools"],
                      metadata={"general.architecture": "fake", "general.parameter_count": 1000000,
                                "tokenizer.ggml.tokens": ["a", "b"] if all_of_it else None}, **tensors)
        self.flush()

    def run(self):
        if "--inspect" in sys.argv:
            self.inspect()
            return
        os.write(2, self.cfg.get("mutter", "").encode())
        if "log" in self.cfg:
            with open(self.cfg["log"], "a") as log:
                log.write(f"{os.getpid()}\n")
        self.send("progress", stage="load", fraction=0.5)
        self.at(self.cfg.get("load_s", 0), self.ready)
        while True:
            now = time.monotonic()
            for _ in range(200):
                if not self.due or self.due[0][0] > now:
                    break
                _, _, fn, args = heapq.heappop(self.due)
                fn(*args)
            wait = max(0, self.due[0][0] - time.monotonic()) if self.due else None
            if self.out:
                try:
                    del self.out[:self.sock.send(self.out)]
                except BlockingIOError:
                    pass
            readable, _, _ = select.select([self.sock], [self.sock] if self.out else [], [], wait)
            if readable:
                self.read()


if __name__ == "__main__":
    Worker().run()
