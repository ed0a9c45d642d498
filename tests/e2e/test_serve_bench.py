"""bench/serve.py: the trace, the load generator against a server that is made up, and the tables."""
import asyncio
import contextlib
import json
import pathlib
import sys
import threading

import pytest

BENCH = pathlib.Path(__file__).resolve().parents[2] / "bench"
sys.path.insert(0, str(BENCH))

import chat_trace  # noqa: E402
import load  # noqa: E402
import long_prompts  # noqa: E402
import serve  # noqa: E402
import serve_report  # noqa: E402

OBJECTIVE = (2.0, 0.2)


# ---- a server that streams as it is told ----

class FakeServer:
    """Each call takes the next behaviour of a list, the last one for ever."""

    def __init__(self, *behaviours, token_s=0.002, first_s=0.0, piece=0):
        self.behaviours, self.token_s, self.first_s, self.piece = list(behaviours), token_s, first_s, piece
        self.bodies, self.live, self.live_max = [], 0, 0

    async def answer(self, reader, writer):
        head = await reader.readuntil(b"\r\n\r\n")
        length = int([x for x in head.lower().split(b"\r\n") if x.startswith(b"content-length")][0].split(b":")[1])
        body = json.loads(await reader.readexactly(length))
        self.bodies.append(body)
        what = self.behaviours.pop(0) if len(self.behaviours) > 1 else self.behaviours[0]
        self.live += 1
        self.live_max = max(self.live, self.live_max)
        with contextlib.suppress(ConnectionError):
            await self.stream(writer, what, body["max_tokens"])
        self.live -= 1
        writer.close()

    async def stream(self, writer, what, n):
        if what == "refuse":
            writer.write(b"HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nfull")
            return
        if what == "garble":
            writer.write(b"no HTTP at all\r\n\r\n")
            return
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        await asyncio.sleep(self.first_s)
        if what == "silent":
            await asyncio.sleep(60)
        for i in range(n):
            if what == "break" and i == 2:
                return
            if what == "error" and i == 2:
                await self.event(writer, {"error": {"message": "worker died"}})
                return
            text = f' "text":"{i}' if what == "quoting" else f" w{i}"
            await self.event(writer, {"id": "x", "choices": [{"index": 0, "text": text, "finish_reason": None}]})
            if self.token_s:
                await asyncio.sleep(self.token_s)
        await self.event(writer, {"choices": [{"index": 0, "text": "", "finish_reason": "length"}]})
        usage = {"prompt_tokens": 7, "completion_tokens": n - (what == "short"),
                 "prompt_tokens_details": {"cached_tokens": 3}}
        await self.event(writer, {"choices": [], "usage": usage})
        await self.raw(writer, b"data: [DONE]\n\n", last=True)

    async def event(self, writer, value):
        await self.raw(writer, b"data: " + json.dumps(value, separators=(",", ":")).encode() + b"\n\n")

    async def raw(self, writer, data, last=False):
        data = b"%x\r\n%s\r\n" % (len(data), data) + (b"0\r\n\r\n" if last else b"")
        for at in range(0, len(data), self.piece or len(data)):
            writer.write(data[at:at + (self.piece or len(data))])
            if self.piece:
                await writer.drain()
                await asyncio.sleep(0)


@contextlib.contextmanager
def serving_fake(fake):
    loop, ready = asyncio.new_event_loop(), threading.Event()

    async def main():
        fake.server = await asyncio.start_server(fake.answer, "127.0.0.1", 0)
        fake.port = fake.server.sockets[0].getsockname()[1]
        fake.stop = asyncio.Event()
        ready.set()
        await fake.stop.wait()
        fake.server.close()
        for task in asyncio.all_tasks(loop) - {asyncio.current_task(loop)}:
            task.cancel()

    thread = threading.Thread(target=loop.run_until_complete, args=(main(),))
    thread.start()
    assert ready.wait(10)
    try:
        yield fake
    finally:
        loop.call_soon_threadsafe(fake.stop.set)
        thread.join(10)
        loop.close()


def one_call(fake, n=8):
    async def main():
        call = await load.open_call(fake.port, "hello", n)
        await call.done
        return call.record

    with serving_fake(fake):
        return asyncio.run(main())


def asks(n=8):
    while True:
        yield [chat_trace.Request("hello", n, 0, 0)]


# ---- the load generator ----

@pytest.mark.parametrize("piece", [0, 1, 7])
@pytest.mark.parametrize("what", ["", "quoting"])
def test_a_stream_is_counted_however_it_is_cut(what, piece):
    r = one_call(FakeServer(what, piece=piece, token_s=0 if piece else 0.002))
    assert (r.error, len(r.times), r.n_output, r.n_prompt, r.n_cached) == ("", 8, 8, 7, 3)
    assert r.start < r.first <= r.times[-1] <= r.end
    assert r.times == sorted(r.times)


def test_waiting_counts_into_the_first_token():
    r = one_call(FakeServer("", first_s=0.15, token_s=0.03), n=4)
    assert r.first - r.start >= 0.15
    assert r.times[-1] - r.times[0] >= 3 * 0.03 - 0.01


@pytest.mark.parametrize("what, error", [("refuse", "status 503: full"), ("break", "the stream broke"),
                                         ("error", "error event"), ("short", "7 tokens, not 8"),
                                         ("garble", "no HTTP")])
def test_failures_are_named(what, error):
    r = one_call(FakeServer(what))
    assert r.error.startswith(error) and not r.cut and r.end > 0


def test_nobody_listens():
    async def main():
        call = await load.open_call(port, "hello", 8)
        await call.done
        return call.record

    port = serve.servers.free_port()
    r = asyncio.run(main())
    assert r.error.startswith("no connection") and r.end >= r.start


def test_users_of_a_closed_loop():
    fake = FakeServer("", "refuse", "break", "", first_s=0.05)
    with serving_fake(fake):
        got = load.run(load.closed(fake.port, asks(), 5, 0.4, 1.5), OBJECTIVE)
    assert 1 < fake.live_max <= 5  # each user has one call at a time
    assert got["n_failed"] == 2 and len(got["errors"]) == 2
    assert got["n_done"] > 0 and got["n_started"] == len(fake.bodies)
    assert got["n_started"] >= got["n_done"] + got["n_failed"] + got["n_cut"]
    assert got["good_per_s"] <= got["done_per_s"] == got["n_done"] / got["seconds"]
    # A token takes 2 ms and more: 5 users cannot have more than 2500 a second.
    assert 0 < got["tokens"] / got["seconds"] < 2500
    assert got["itl"][0] >= 0.0015 and got["gap_max"] >= got["itl"][2] >= got["itl"][1] >= got["itl"][0]
    assert fake.bodies[0]["ignore_eos"] is True and fake.bodies[0]["max_tokens"] == 8
    assert 0 < got["client_cpu"] < 2


def test_arrivals_do_not_wait_for_answers():
    fake = FakeServer("", first_s=0.3)
    with serving_fake(fake):
        got = load.run(load.open_loop(fake.port, (r[0] for r in asks()), 40, 0.3, 1.0, "seed"), OBJECTIVE)
    assert fake.live_max > 4  # 40 a second for 0.3 s and more each: about 12 at a time
    assert 20 < got["n_started"] < 100 and got["n_failed"] == 0
    assert got["ttft"][0] >= 0.3


def test_a_call_that_is_cut_is_no_failure_and_its_wait_counts():
    fake = FakeServer("silent")
    with serving_fake(fake):
        load_drain, load.DRAIN_S = load.DRAIN_S, 0.2
        try:
            got = load.run(load.closed(fake.port, asks(), 2, 0, 0.3), OBJECTIVE)
        finally:
            load.DRAIN_S = load_drain
    assert (got["n_cut"], got["n_failed"], got["n_done"], got["tokens"]) == (2, 0, 0, 0)
    assert got["ttft"][0] >= 0.3 and got["itl"] == [None, None, None]


# ---- figures ----

def record(start, times, end=0.0, wanted=None, error="", cut=False):
    n = len(times) if wanted is None else wanted
    return load.Record(wanted=n, start=start, times=times, end=end, error=error, cut=cut, n_output=0 if cut else n)


def test_percentiles_are_of_the_nearest_rank():
    values = list(range(100, 0, -1))
    assert load.percentiles(values) == [50, 95, 99]
    assert [load.percentile([3, 1, 2], p) for p in (0, 50, 95, 100)] == [1, 2, 3, 3]
    assert load.percentile([], 50) is None
    assert load.percentile([7], 99) == 7


def test_figures_of_a_window():
    records = [
        record(0.5, [0.9, 1.1, 1.3], 1.3),              # two tokens inside; it began before
        record(1.0, [1.5, 1.6, 3.0], 3.0),              # two inside, done after the window
        record(1.2, [1.9], 1.9, error="status 500: x"),
        record(1.5, [], 2.5, wanted=9, cut=True),       # waited a second, at least
    ]
    got = load.figures(records, 1.0, 2.0, OBJECTIVE)
    assert got["tokens"] == 5 and got["seconds"] == 1.0
    assert got["ttft"] == pytest.approx([0.7, 1.0, 1.0])  # of 0.5, 0.7 and 1.0
    assert got["itl"] == pytest.approx([0.2, 0.2, 0.2]) and got["gap_max"] == pytest.approx(0.2)  # 0.1, 0.2, 0.2
    assert (got["n_done"], got["n_failed"], got["n_cut"], got["errors"]) == (1, 1, 1, ["status 500: x"])


def test_events_that_hold_more_than_one_token():
    whole = record(0, [0.1, 0.2], 0.2, wanted=6)
    whole.n_output = 6
    assert load.figures([whole], 0, 1, OBJECTIVE)["tokens"] == 6


@pytest.mark.parametrize("first, last, good", [(1.9, 3.9, True), (2.1, 2.2, False), (1.0, 3.1, False)])
def test_goodput_wants_both(first, last, good):
    r = record(0, [first, *[first + (last - first) * i / 10 for i in range(1, 11)]], last)
    assert load.is_good(r, OBJECTIVE) is good
    assert load.figures([r], 0, 4, OBJECTIVE)["good_per_s"] == (0.25 if good else 0)
    r.error = "the stream broke"
    assert not load.is_good(r, OBJECTIVE)


def test_the_gap_that_a_long_prompt_makes():
    times = [0.0, 0.1, 0.2, 2.0, 2.1, 2.2]
    assert long_prompts.gaps_around(times, 0.25, 1.9) == pytest.approx([1.8])
    assert long_prompts.gaps_around(times, 0.15, 2.05) == pytest.approx([0.1, 1.8, 0.1])
    fake = FakeServer("", token_s=0.004)
    settle, long_prompts.SETTLE_S = long_prompts.SETTLE_S, 0.1
    try:
        with serving_fake(fake):
            got = long_prompts.gap(fake.port, "salt")
    finally:
        long_prompts.SETTLE_S = settle
    assert got["errors"] == [] and got["ttft"] > 0
    assert got["gap_max"] >= 0.004 and got["itl_before"] >= 0.003
    assert len(fake.bodies) == long_prompts.STREAMS + 1 and len(fake.bodies[-1]["prompt"].split()) > 4096


# ---- the trace ----

def test_the_committed_trace_is_what_the_generator_makes():
    assert chat_trace.load() == chat_trace.generate()
    means = chat_trace.means(chat_trace.load())
    assert means["new"] == pytest.approx(chat_trace.MEAN_PROMPT, rel=0.05)
    assert means["output"] == pytest.approx(chat_trace.MEAN_OUTPUT, rel=0.05)
    assert means["turns"] == pytest.approx(chat_trace.MEAN_TURNS, rel=0.1)


def test_a_turn_repeats_the_turns_before_it():
    source = chat_trace.conversations("salt")
    seen, systems = set(), 0
    for _ in range(500):  # more than the trace has: it begins again with other words
        calls = next(source)
        assert calls[0].prompt not in seen
        seen.add(calls[0].prompt)
        systems += calls[0].prompt.startswith("System:")
        for before, after in zip(calls, calls[1:]):
            assert after.prompt.startswith(before.prompt) and len(after.prompt) > len(before.prompt)
        assert all(len(c.prompt.split()) + c.output <= chat_trace.CONTEXT_MAX for c in calls)
    assert 50 < systems < 250


def test_the_same_salt_gives_the_same_bytes():
    def first(salt):
        source = chat_trace.interleaved(salt)
        return [next(source).prompt for _ in range(50)]

    assert first("a") == first("a") != first("b")
    assert not set(first("a")) & set(first("b"))


# ---- rows and tables ----

def loaded(tokens, p95, failed=0):
    return {"tokens": tokens, "seconds": 10, "ttft": [0.1, p95, p95], "itl": [0.01, 0.02, None], "gap_max": 0.5,
            "good_per_s": 2.0, "n_failed": failed, "n_started": 40, "errors": [], "client_cpu": 0.031,
            "idle_cpu_s": 0.2}


def result(kind, ours, peer):
    return {"ours": ours, "peer": peer, "about": {"ours": "h", "peer": "l"}, "kind": kind, "quick": False, "machine": "m",
            "threads": 2, "date": "d", "commit": "c", "load": 0.5}


def results():
    gap = {"gap_max": 0.1, "ttft": 4.0}
    return {"small-users-32": result("closed", [loaded(3000, 1.0), loaded(1000, 1.0)], [loaded(1000, 2.0, 1), loaded(500, 4.0)]),
            "small-gap": result("gap", [gap], [{"gap_max": 2.0, "ttft": 8.0}]),
            "1b-prefix": result("prefix", [{"first": 10.0, "second": 0.2, "restarted": 0.4}],
                                [{"first": 20.0, "second": 0.4, "restarted": 20.0}])}


def test_tables_are_written_between_their_markers(tmp_path):
    path = tmp_path / "performance.md"
    path.write_text("a\n" + "".join(f"<!-- table {n} -->\nold\n<!-- end {n} -->\n" for n in serve_report.HEAD) + "z\n")
    for _ in range(2):
        serve_report.write_docs(path, serve.ROWS, results())
        text = path.read_text()
        assert "old" not in text and text.startswith("a\n") and text.endswith("z\n")
    serve_line = [x for x in text.splitlines() if x.startswith("| SmolLM2 135M, 32 users")]
    assert "**2.50** (2.00 to 3.00) | 2.5 |" in serve_line[0] and "| 0 of 80 | 1 of 80 |" in serve_line[0]
    assert "| 100 / 1000 / 1000 | 100 / 3000 / 3000 | **0.38** (0.25 to 0.50) | 10.0 / 20.0 / - |" in serve_line[1]
    assert "100 (100 to 100) | 2000 (2000 to 2000) | **0.05** (0.05 to 0.05); goal 0.1" in text
    assert "| **0.02** (0.02 to 0.02) | **0.02** (0.02 to 0.02) | goal 0.05 |" in text
    assert "| **0.04** (0.04 to 0.04) | **1.00** (1.00 to 1.00) | goal 0.05 |" in text
    assert "at most 3 % of a core, the idle server at most 2 % of one" in text and "quick run" not in text
    for name, head in serve_report.HEAD.items():
        lines = serve_report.table(name, serve.ROWS, results()).splitlines()
        assert {x.count("|") for x in lines if x.startswith("|")} == {len(head) + 1}


def test_a_quick_run_says_so():
    got = results()
    got["small-gap"]["quick"] = True
    assert "quick run" in serve_report.table("long", serve.ROWS, got)
    assert serve_report.table("serve", serve.ROWS, {}) == "Not measured yet.\n"


def test_the_documented_tables_have_markers():
    text = (BENCH.parent / "docs/performance.md").read_text()
    for name in serve_report.HEAD:
        assert text.count(f"<!-- table {name} -->\n") == 1 and text.count(f"<!-- end {name} -->") == 1


def test_rows():
    names = [r.name for r in serve.ROWS]
    assert len(set(names)) == len(names)
    for prefix in ("small", "1b"):
        assert {r.users for r in serve.ROWS if r.name.startswith(prefix) and r.kind == "closed"} == {1, 8, 32, 100}
        assert {r.part for r in serve.ROWS if r.name.startswith(prefix) and r.kind == "open"} == {0.5, 0.8}
    assert {r.kind for r in serve.choose(["long"])} == {"gap", "prefix"}
    assert [r.name for r in serve.choose(["1b-gap,small-users-8"])] == ["small-users-8", "1b-gap"]
    assert len(serve.choose([])) == len(serve.ROWS)
    with pytest.raises(SystemExit):
        serve.choose(["smal"])
    assert chat_trace.CONTEXT_MAX < serve.N_CTX


def test_capacity_is_the_slower_ones():
    row = serve.choose(["small-open-50"])[0]
    mean = chat_trace.means(chat_trace.load())["output"]
    assert serve.capacity(row, results()) == pytest.approx(75 / mean)  # the medians: 200 and 75 tokens a second
    silent = {"small-users-32": result("closed", [loaded(10, 1)], [loaded(0, None)])}
    for wrong in ({}, silent):
        with pytest.raises(SystemExit):
            serve.capacity(row, wrong)
