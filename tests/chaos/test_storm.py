"""The storm: a thousand requests from a hundred clients at once, on a real model with too little
memory for keys and values, while clients leave, stall and read slowly and the worker is killed and
stopped. Every answer has the bytes that it has when it is asked alone on a quiet server; nothing is
lost, nothing is left behind.

HEARTH_STORM_SECONDS=3600 goes on for an hour, with other seeds each time, and prints what happened.
"""
import collections
import json
import os
import pathlib
import random
import re
import signal
import socket
import threading
import time


import serving

N_CLIENTS = 100
N_DIFFERENT = 120
N_REQUESTS = 1000
LEAVES, STALLS = 0.12, 0.05  # of the clients, in the midst of an answer
DEATHS, WITHIN_S = 4, 70  # one more within a minute, and the server takes the model for broken (slot.h)
PREFIX = "You are the assistant of a small law firm. Answer in one short sentence, politely. " * 3
TOPICS = ["rain", "a contract", "bread", "Latin", "the moon", "taxes", "dogs", "a bridge", "salt", "chess"]
CLASSES = ["interactive", "agent", "background", "batch"]


def request_of(seed):
    """(path, body), always the same for a seed."""
    r = random.Random(seed)
    more = {"seed": seed, "temperature": r.choice([0, 0.7, 1.0, 1.5]), "max_tokens": r.choice([1, 2, 4, 8, 8, 12]),
            "stream": r.random() < 0.7}
    if r.random() < 0.15:
        more["n"] = 2
    if r.random() < 0.1:
        more["presence_penalty"] = 1
    topic = r.choice(TOPICS)
    if r.random() < 0.6:
        system = [{"role": "system", "content": PREFIX}] if r.random() < 0.5 else []
        if r.random() < 0.15:
            more |= {"logprobs": True, "top_logprobs": 2}
        turns = system + [{"role": "user", "content": f"Question {seed % 7}: what of {topic}?"}]
        return "/v1/chat/completions", {"messages": turns, **more}
    if r.random() < 0.2:
        more["logprobs"] = 1
    return "/v1/completions", {"prompt": f"{topic} " * r.choice([1, 3, 40, 120]) + str(seed), **more}


def essence(raw, streamed):
    """What an answer says: text, ends and log probabilities of each choice, and the counts."""
    if not streamed:
        answer = json.loads(raw)
        usage = answer["usage"]
        return {c["index"]: (c.get("text", c.get("message", {}).get("content")), c["finish_reason"],
                             json.dumps(c["logprobs"])) for c in answer["choices"]} | {
            "usage": (usage["prompt_tokens"], usage["completion_tokens"])}
    assert raw.endswith(b"data: [DONE]\n\n"), raw[-300:]
    text, end = collections.defaultdict(str), {}
    for piece in re.findall(rb"^data: (\{.*\})$", raw, re.M):
        for c in json.loads(piece)["choices"]:
            text[c["index"]] += c.get("delta", {}).get("content") or c.get("text") or ""
            if c["finish_reason"]:
                assert c["index"] not in end
                end[c["index"]] = c["finish_reason"]
    return {i: (text[i], end[i]) for i in sorted(end)}


class Client(threading.Thread):
    """Asks one request after the other until the storm is over."""

    def __init__(self, storm, number):
        super().__init__(daemon=True)
        self.storm, self.rng, self.n_asked = storm, random.Random(f"{storm.seed} {number}"), 0

    def run(self):
        while (seed := self.storm.next()) is not None:
            self.n_asked += 1
            try:
                self.one(seed)
            except Exception as e:  # noqa: BLE001: whatever it is, the test must tell it
                self.storm.fault(seed, repr(e))

    def one(self, seed):
        path, body = request_of(seed)
        fate = self.rng.random()
        headers = {"X-Hearth-Priority": self.rng.choice(CLASSES)}
        if fate < LEAVES:
            self.leave(path, body)
            return
        if fate < LEAVES + STALLS and body["stream"]:
            raw = self.read_slowly(path, body)
        else:
            status, _, raw = self.ask(path, body, headers)
            if status != 200:
                self.storm.fault(seed, f"{status} {raw[:300]}")
                return
        self.storm.compare(seed, body, raw)

    def ask(self, path, body, headers):
        """Asks again as long as the server says that it is full and when to come back."""
        while True:
            status, got, raw = self.storm.server.request("POST", path, body, headers=headers, timeout=600)
            if status not in (429, 503) or "Retry-After" not in got:
                return status, got, raw
            self.storm.count["told to come back"] += 1
            time.sleep(min(float(got["Retry-After"]), 2) * self.rng.random())

    def leave(self, path, body):
        sock = self.storm.server.stream({**body, "max_tokens": 200}, path)
        sock.settimeout(20)
        time.sleep(self.rng.random() * 0.5)
        if self.rng.random() < 0.3:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        sock.close()
        self.storm.count["left"] += 1

    def read_slowly(self, path, body):
        sock = self.storm.server.stream(body, path)
        sock.settimeout(600)
        raw = b""
        while not raw.endswith(b"\r\n0\r\n\r\n"):
            piece = sock.recv(self.rng.randrange(1, 200))
            assert piece, raw[-300:]
            raw += piece
            time.sleep(self.rng.random() * 0.01)
        sock.close()
        head, _, rest = raw.partition(b"\r\n\r\n")
        assert b" 200 " in head.split(b"\r\n")[0], raw[:300]
        self.storm.count["read slowly"] += 1
        out = b""
        while rest:  # chunks
            size, _, rest = rest.partition(b"\r\n")
            out += rest[: int(size, 16)]
            rest = rest[int(size, 16) + 2 :]
        return out


class Storm:
    def __init__(self, server, want, seed, n_requests):
        self.server, self.want, self.seed = server, want, seed
        self.lock = threading.Lock()
        rng = random.Random(seed)
        self.left = [rng.choice(list(want)) for _ in range(n_requests)]
        self.faults, self.count = [], collections.Counter()

    def next(self):
        with self.lock:
            return self.left.pop() if self.left else None

    def fault(self, seed, what):
        with self.lock:
            self.faults.append((seed, request_of(seed), what))

    def compare(self, seed, body, raw):
        have = essence(raw, body["stream"])
        with self.lock:
            self.count["answered"] += 1
        if have != self.want[seed]:
            self.fault(seed, f"{have} instead of {self.want[seed]}")

    def harm(self):
        """
        Kills the worker or makes it stand still, twice in a row, then no more until the requests
        that saw it are over: one that was there at two deaths and alone at a third would be
        blamed, rightly.
        """
        rng = random.Random(self.seed + 1)
        while any(c.is_alive() for c in self.clients):
            for _ in range(2):
                time.sleep(2 + 4 * rng.random())
                self.hurt(rng.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGABRT, signal.SIGSTOP]))
            time.sleep(5)  # until it is noticed
            asking = [(c, c.n_asked) for c in self.clients]
            while any(c.is_alive() and c.n_asked == n for c, n in asking):
                time.sleep(0.1)

    def hurt(self, how):
        """Of the server's whole life, not only of this storm's."""
        hurt_at = self.server.__dict__.setdefault("hurt_at", [])
        while len(hurt_at) >= DEATHS and time.monotonic() - hurt_at[-DEATHS] < WITHIN_S:
            if not any(c.is_alive() for c in self.clients):
                return
            time.sleep(0.1)
        for _ in range(300):
            workers = self.server.workers()
            if workers and self.server.metric("hearth_model_ready") == 1:
                os.kill(workers[0], how)
                hurt_at.append(time.monotonic())
                self.count[how.name] += 1
                return
            time.sleep(0.1)

    def run(self, seconds):
        self.clients = [Client(self, i) for i in range(N_CLIENTS)]
        harm = threading.Thread(target=self.harm, daemon=True)
        for c in self.clients:
            c.start()
        harm.start()
        end = time.monotonic() + seconds
        for c in self.clients:
            c.join(max(end - time.monotonic(), 1))
        hanging = sum(c.is_alive() for c in self.clients)
        assert not hanging, f"{hanging} clients still wait; {self.server.log()[-3000:]}"
        harm.join(30)


def alone(server, seeds):
    want = {}
    for seed in seeds:
        path, body = request_of(seed)
        status, _, raw = server.request("POST", path, body, timeout=120)
        assert status == 200, raw
        want[seed] = essence(raw, body["stream"])
    return want


def descriptors(pid):
    return len(list(pathlib.Path(f"/proc/{pid}/fd").iterdir()))


def check_nothing_left(server, before):
    server.wait_metric("hearth_model_ready", 1, seconds=60)
    for name in ("hearth_model_requests", "hearth_worker_running", "hearth_worker_waiting"):
        server.wait_metric(name, 0, seconds=20)
    server.wait_metric("hearth_worker_kv_blocks_used", 0, seconds=10)
    assert server.chat(max_tokens=1)[0] == 200
    time.sleep(1)
    assert descriptors(server.process.pid) <= before["descriptors"] + 4
    grown = server.resident_bytes() - before["resident"]
    assert grown < 64 << 20, f"the gateway grew by {grown >> 20} MiB"


def test_a_thousand_requests_in_the_storm(hearth_bin, tmp_path, smollm2_path):
    long = int(os.environ.get("HEARTH_STORM_SECONDS", 0))
    quiet = serving.Server(hearth_bin, tmp_path, smollm2_path, parallel=1, ctx=1024)
    want = alone(quiet, range(N_DIFFERENT))
    quiet.close()
    # Blocks for about eight of the longest requests; twelve places: some must give theirs back.
    server = serving.Server(hearth_bin, tmp_path, smollm2_path, parallel=12, ctx=1024, queue=300,
                            stall_timeout="4s", connections=400, memory_max="330M")
    try:
        before = {"descriptors": descriptors(server.process.pid), "resident": server.resident_bytes()}
        start, turn = time.monotonic(), 0
        while turn == 0 or time.monotonic() - start < long:
            storm = Storm(server, want, turn, N_REQUESTS)
            storm.run(900)
            print(f"storm {turn}: {dict(storm.count)}, {time.monotonic() - start:.0f} s")
            assert not storm.faults, storm.faults[:5]
            assert storm.count["answered"] > N_REQUESTS / 2
            assert server.metric("hearth_worker_deaths_total") > 0
            turn += 1
        check_nothing_left(server, before)
    finally:
        server.close()
