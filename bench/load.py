"""The load that bench/serve.py puts on a server: streamed completions over HTTP, each timed.

One process and one thread, the standard library alone. A connection is a protocol object; what arrives is
scanned, not parsed: how many events bear text, and when. Only an event that bears the usage is read as JSON.
Events that one read brings share its time, as they do for any client. `measure` runs a load and says what came
of it; percentiles are of the nearest rank.
"""
import asyncio
import dataclasses
import json
import math
import random
import resource
import time

CONNECT_S = 10
FIRST_S = 900  # a call without a first token after that has failed
DRAIN_S = 60   # or a window's length: so long first tokens are waited for when the load is over
EMPTY_TEXTS = (b'"text":""', b'"content":""')
TEXTS = (b'"text":"', b'"content":"')


@dataclasses.dataclass
class Record:
    """One call. Times are of the monotonic clock, in seconds; 0 for what did not happen."""

    wanted: int  # tokens
    start: float = 0
    times: list = dataclasses.field(default_factory=list)  # of every event with text
    end: float = 0
    error: str = ""
    cut: bool = False  # by us, when the load was over
    n_prompt: int = 0
    n_cached: int = 0
    n_output: int = 0

    @property
    def first(self):
        return self.times[0] if self.times else 0


class Dechunker:
    """The bytes of a chunked body."""

    def __init__(self):
        self.held, self.left, self.over = b"", 0, False

    def feed(self, data):
        data, out = self.held + data, []
        while data and not self.over:
            if self.left > 2:  # of a chunk, with the line end behind it
                piece = data[:self.left - 2]
                out.append(piece)
                self.left -= len(piece)
                data = data[len(piece):]
            elif self.left > 0:
                n = min(self.left, len(data))
                self.left -= n
                data = data[n:]
            else:
                line, newline, rest = data.partition(b"\n")
                if not newline:
                    break
                size = int(line.split(b";")[0], 16)
                self.over = size == 0
                self.left, data = size + 2, rest
        self.held = data
        return out[0] if len(out) == 1 else b"".join(out)


class Call(asyncio.Protocol):
    """Sends one request when it is connected; `done` is set when the call is over."""

    def __init__(self, request, record):
        self.request, self.record = request, record
        loop = asyncio.get_running_loop()
        self.done, self.begun = loop.create_future(), loop.create_future()
        self.head, self.body, self.chunks = b"", b"", None
        self.status, self.finished = 0, False

    def connection_made(self, transport):
        self.transport = transport
        transport.write(self.request)

    def data_received(self, data):
        now = time.perf_counter()
        if self.status == 0:
            data = self.take_head(data)
        if data and self.chunks:
            try:
                data = self.chunks.feed(data)
            except ValueError:
                return self.over("broken chunks")
        if not data:
            return None
        self.body += data
        if self.status != 200:
            return None
        end = self.body.rfind(b"\n\n")
        if end >= 0:
            events, self.body = self.body[:end + 2], self.body[end + 2:]
            self.take_events(events, now)
        return None

    def take_head(self, data):
        self.head += data
        head, found, rest = self.head.partition(b"\r\n\r\n")
        if not found:
            return b""
        try:
            self.status = int(head.split(b" ", 2)[1])
        except (IndexError, ValueError):
            self.over("no HTTP")
            return b""
        if b"transfer-encoding: chunked" in head.lower():
            self.chunks = Dechunker()
        return rest

    def take_events(self, events, now):
        n = sum(map(events.count, TEXTS)) - sum(map(events.count, EMPTY_TEXTS))
        if n > 0:
            self.record.times.extend([now] * n)
            if not self.begun.done():
                self.begun.set_result(None)
        if b'"usage":{' in events:
            self.take_usage(events)
        if b'data: {"error"' in events or b"\nevent: error" in events:
            return self.over("error event: " + events.decode(errors="replace").strip()[:200])
        if b"data: [DONE]" in events:
            self.finished = True
            self.record.end = now
            self.over("")
        return None

    def take_usage(self, events):
        for event in events.split(b"\n\n"):
            if b'"usage":{' not in event:
                continue
            try:
                usage = json.loads(event[event.index(b"{"):])["usage"]
            except (ValueError, KeyError):
                return self.over("an event that is no JSON")
            self.record.n_prompt = usage.get("prompt_tokens", 0)
            self.record.n_output = usage.get("completion_tokens", 0)
            self.record.n_cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
        return None

    def over(self, error):
        if self.done.done():
            return
        if not error and self.record.n_output not in (0, self.record.wanted):
            error = f"{self.record.n_output} tokens, not {self.record.wanted}"
        self.record.error = error
        if not self.record.end:
            self.record.end = time.perf_counter()
        self.done.set_result(None)
        if not self.begun.done():
            self.begun.set_result(None)
        self.transport.abort()

    def connection_lost(self, why):
        if self.finished or self.done.done():
            return
        text = self.body.decode(errors="replace").strip()[:200]
        if self.record.cut:
            self.over("cut")
        elif self.status not in (0, 200):
            self.over(f"status {self.status}: {text}")
        else:
            self.over(f"the stream broke: {why or 'closed'}")

    def eof_received(self):
        return False

    def cut(self):
        if not self.done.done():
            self.record.cut = True
            self.over("cut")


def http_request(port, body, path="/v1/completions"):
    data = json.dumps(body).encode()
    return (b"POST %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nContent-Type: application/json\r\nConnection: close\r\n"
            b"Content-Length: %d\r\n\r\n" % (path.encode(), port, len(data))) + data


def completion(port, prompt, output, seed=1):
    """The bytes of a call, the same for every server: sampled as llama-server does by default."""
    return http_request(port, {
        "prompt": prompt, "max_tokens": output, "stream": True, "stream_options": {"include_usage": True},
        "ignore_eos": True, "temperature": 0.8, "top_k": 40, "top_p": 0.95, "min_p": 0.05, "seed": seed})


async def open_call(port, prompt, output, seed=1, records=None):
    """A call that is under way. One that cannot connect is over, with its error."""
    record = Record(wanted=output, start=time.perf_counter())
    if records is not None:
        records.append(record)
    call = Call(completion(port, prompt, output, seed), record)
    try:
        loop = asyncio.get_running_loop()
        await asyncio.wait_for(loop.create_connection(lambda: call, "127.0.0.1", port), CONNECT_S)
        loop.call_later(FIRST_S, lambda: record.times or call.over(f"no token in {FIRST_S} s"))
    except (OSError, asyncio.TimeoutError) as error:
        record.error, record.end = f"no connection: {error}", time.perf_counter()
        call.begun.set_result(None)
        call.done.set_result(None)
    return call


class Load:
    """What runs: who arrives, until when; the records of all calls."""

    def __init__(self, port, calls):
        self.port, self.calls = port, calls  # calls: iterator of chat_trace.Request lists or single ones
        self.records, self.live = [], set()
        self.stop_at = math.inf
        self.is_cut = False
        self.n = 0

    async def one(self, request):
        if self.is_cut:
            return Record(wanted=request.output, cut=True)
        self.n += 1
        call = await open_call(self.port, request.prompt, request.output, self.n, self.records)
        self.live.add(call)
        if self.is_cut:
            call.cut()
        await call.done
        self.live.discard(call)
        return call.record

    async def user(self, delay_s):
        """A closed loop: the next call when the one before is over; a conversation's turns in order."""
        await asyncio.sleep(delay_s)
        while True:
            for request in next(self.calls):
                if time.perf_counter() >= self.stop_at:
                    return
                if (await self.one(request)).error:
                    await asyncio.sleep(0.05)  # a server that refuses is not stormed

    async def arrivals(self, rate, rng):
        """An open loop: Poisson arrivals, whatever the server does."""
        at, tasks = time.perf_counter(), []
        while True:
            at += rng.expovariate(rate)
            if at >= self.stop_at:
                break
            await asyncio.sleep(max(0, at - time.perf_counter()))
            tasks.append(asyncio.ensure_future(self.one(next(self.calls))))
        await asyncio.gather(*tasks)

    async def wait_first_tokens(self, begin, timeout_s):
        """Of the calls that began in the window: without them the slow ones would not count."""
        waiting = [c.begun for c in self.live if c.record.start >= begin]
        if waiting:
            await asyncio.wait(waiting, timeout=timeout_s)

    def cut(self):
        self.is_cut = True
        for call in list(self.live):
            call.cut()


async def run_load(load, tasks, warm_s, window_s):
    """(records, begin, end of the window). The calls that are open at the end are cut."""
    began = time.perf_counter()
    begin, end = began + warm_s, began + warm_s + window_s
    load.stop_at = end
    running = [asyncio.ensure_future(t) for t in tasks]
    await asyncio.wait(running, timeout=max(0, end - time.perf_counter()))
    await asyncio.sleep(max(0, end - time.perf_counter()))
    await load.wait_first_tokens(begin, max(window_s, DRAIN_S))
    load.cut()
    await asyncio.gather(*running)
    return load.records, begin, end


def closed(port, conversations, users, warm_s, window_s):
    async def main():
        load = Load(port, conversations)
        ramp_s = warm_s / 2 if users > 1 else 0
        return await run_load(load, [load.user(ramp_s * i / users) for i in range(users)], warm_s, window_s)

    return main()


def open_loop(port, requests, rate, warm_s, window_s, seed):
    async def main():
        load = Load(port, requests)
        return await run_load(load, [load.arrivals(rate, random.Random(seed))], warm_s, window_s)

    return main()


# ---- figures ----

def percentile(values, p):
    """Of the nearest rank; None without values."""
    if not values:
        return None
    values = sorted(values)
    return values[max(0, math.ceil(p / 100 * len(values)) - 1)]


def percentiles(values):
    return [percentile(values, p) for p in (50, 95, 99)]


def is_good(record, objective):
    """Meets the objective: (seconds to the first token, mean seconds between tokens)."""
    if record.error or not record.times:
        return False
    between = (record.times[-1] - record.times[0]) / max(1, record.wanted - 1)
    return record.first - record.start <= objective[0] and between <= objective[1]


def figures(records, begin, end, objective):
    """What a window says. Tokens are those that arrived in it; times to a first token are of the calls that
    began in it, gaps those that ended in it, done and good the calls that ended in it."""
    def inside(t):
        return begin <= t < end

    # A call cut without a first token counts with the time that it waited: it would be longer.
    ttft = [(r.first or r.end) - r.start for r in records if inside(r.start) and (r.times or r.cut)]
    gaps, n_tokens = [], 0
    for r in records:
        # Events may hold more than one token: those of a whole answer are known from its usage.
        scale = r.n_output / len(r.times) if r.n_output and r.times else 1
        n_tokens += scale * sum(map(inside, r.times))
        gaps += [b - a for a, b in zip(r.times, r.times[1:]) if inside(b)]
    done = [r for r in records if not r.error and inside(r.end)]
    failed = [r for r in records if r.error and not r.cut]
    seconds = end - begin
    return {
        "seconds": seconds, "tokens": n_tokens, "n_started": len(records), "n_done": len(done),
        "n_cut": sum(r.cut for r in records), "n_failed": len(failed),
        "errors": sorted({r.error for r in failed})[:5],
        "good_per_s": sum(is_good(r, objective) for r in done) / seconds, "done_per_s": len(done) / seconds,
        "ttft": percentiles(ttft), "itl": percentiles(gaps), "gap_max": max(gaps, default=None),
        "prompt_tokens": sum(r.n_prompt for r in done), "cached_tokens": sum(r.n_cached for r in done)}


def run(load, objective):
    """Runs a load to its end. Its figures, and what part of a core this process took."""
    def cpu_s():
        use = resource.getrusage(resource.RUSAGE_SELF)
        return use.ru_utime + use.ru_stime

    cpu, wall = cpu_s(), time.perf_counter()
    records, begin, end = asyncio.run(load)
    share = (cpu_s() - cpu) / (time.perf_counter() - wall)
    return figures(records, begin, end, objective) | {"client_cpu": share}
