"""The clients that kill LLM servers: they leave in the queue, in prefill and in mid-stream, they do
not read, they trickle. The others must not notice."""
import http.client
import json
import socket
import threading
import time

import pytest

import serving


def body(text, **more):
    return {"messages": [{"role": "user", "content": text}], **more}


def read_until(sock, what):
    out = b""
    while what not in out:
        piece = sock.recv(4096)
        assert piece, out
        out += piece
    return out


# ---- leaving

@pytest.mark.parametrize("stream", [True, False])
def test_leaving_in_the_queue(fake, stream):
    server = fake({"n_seq_max": 1})
    holder = server.stream(body("SILENT", stream=True))
    server.wait_metric("hearth_worker_running", 1)
    waiting = server.stream(body("waits", stream=stream))
    server.wait_metric("hearth_worker_waiting", 1)
    waiting.close()
    server.wait_metric("hearth_worker_waiting", 0, seconds=1)
    assert server.metric("hearth_requests_cancelled_total", stage="queue") == 1
    assert server.metric("hearth_worker_running") == 1
    holder.close()
    server.wait_metric("hearth_worker_running", 0, seconds=1)
    assert server.chat()[0] == 200


@pytest.mark.parametrize("stream", [True, False])
def test_leaving_in_prefill(fake, stream):
    server = fake()
    sock = server.stream(body("SILENT", stream=stream))
    server.wait_metric("hearth_worker_running", 1)
    sock.close()
    server.wait_metric("hearth_worker_cancelled_total", 1, seconds=1)
    assert server.metric("hearth_requests_cancelled_total", stage="prefill") == 1
    assert server.metric("hearth_cancel_seconds_sum") < 0.5
    assert server.metric("hearth_cancel_seconds_count") == 1
    status = "200" if stream else "499"
    assert server.metric("hearth_http_requests_total", route="/v1/chat/completions", status=status) == 1


@pytest.mark.parametrize("stream", [True, False])
def test_leaving_in_mid_stream(fake, stream):
    server = fake({"repeat": "on and on ", "token_s": 0.005})
    sock = server.stream(body("go", stream=stream))
    if stream:
        read_until(sock, b"and")
    else:
        time.sleep(0.1)
    sock.close()
    server.wait_metric("hearth_worker_running", 0, seconds=1)
    done = server.metric("hearth_worker_output_tokens_total")
    time.sleep(0.2)
    assert server.metric("hearth_worker_output_tokens_total") == done, "work went on"
    assert server.metric("hearth_requests_cancelled_total", stage="decode") == 1


def test_leaving_while_the_model_loads(fake):
    server = fake({"load_s": 1}, wait=False)
    for _ in range(100):
        try:
            sock = server.stream(body("early", stream=True))
            break
        except OSError:
            time.sleep(0.02)
    time.sleep(0.1)
    sock.close()
    server.wait_ready()
    assert server.metric("hearth_requests_cancelled_total", stage="queue") == 1
    assert server.metric("hearth_worker_prompt_tokens_total") == 0


def test_leaving_with_several_choices_and_prompts(fake):
    server = fake({"repeat": "on ", "token_s": 0.01, "n_seq_max": 2})
    sock = server.stream({"prompt": ["a", "b", "c"], "n": 2, "stream": True, "max_tokens": 10000}, "/v1/completions")
    read_until(sock, b"on")
    sock.close()
    server.wait_metric("hearth_worker_running", 0, seconds=2)
    server.wait_metric("hearth_model_requests", 0, seconds=2)
    assert server.metric("hearth_requests_cancelled_total") == 3


def test_resetting_instead_of_closing(fake):
    server = fake({"repeat": "on ", "token_s": 0.01})
    for text in ("SILENT", "go"):
        sock = server.stream(body(text, stream=True))
        time.sleep(0.1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        sock.close()
    server.wait_metric("hearth_worker_running", 0, seconds=1)
    assert server.metric("hearth_requests_cancelled_total") == 2


# ---- not reading

def slow_client(server):
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    s.settimeout(30)
    s.connect(("127.0.0.1", server.port))
    data = json.dumps(body("go", stream=True)).encode()
    s.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s" % (len(data), data))
    return s


def test_a_slow_reader_is_dropped_and_others_are_not_slowed(fake):
    server = fake({"repeat": "word " * 200 + " ", "token_s": 0}, client_buffer="64k", write_timeout="60s")
    before = server.resident_bytes()
    slow = slow_client(server)
    server.wait_metric("hearth_http_slow_readers_dropped_total", 1, seconds=20)
    server.wait_metric("hearth_worker_running", 0, seconds=2)
    assert server.resident_bytes() - before < 2 * serving.SLACK_BYTES
    assert server.chat(max_tokens=3)[0] == 200
    slow.close()


def test_a_reader_that_stalls_is_dropped_after_the_write_timeout(fake):
    server = fake({"repeat": "word " * 50, "token_s": 0.001}, client_buffer="512m", write_timeout="700ms")
    slow = slow_client(server)
    server.wait_metric("hearth_http_slow_readers_dropped_total", 1, seconds=20)
    server.wait_metric("hearth_worker_running", 0, seconds=2)
    slow.close()


def test_silence_of_the_model_is_not_a_stalled_reader(fake):
    server = fake({"prefill_s": 1.2}, write_timeout="300ms", idle_timeout="300ms", body_timeout="300ms",
                  header_timeout="300ms")
    assert server.chat("patience")[0] == 200
    with server.stream(body("patience", stream=True)) as sock:
        assert b"data: [DONE]" in serving.events(sock)[1]
    assert server.metric("hearth_http_slow_readers_dropped_total") == 0


def test_a_slow_whole_answer_is_dropped_too(fake):
    server = fake({"n_ctx": 1 << 30}, write_timeout="700ms")
    big = "x" * (8 << 20)
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    s.settimeout(30)
    s.connect(("127.0.0.1", server.port))
    data = json.dumps(body(big)).encode()
    s.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s" % (len(data), data))
    server.wait_metric("hearth_http_slow_readers_dropped_total", 1, seconds=20)
    s.close()


# ---- trickling

def trickle(server, data, piece, pause, seconds=10):
    """What is answered to bytes that come a few at a time, and after how long."""
    out, start = b"", time.monotonic()
    with socket.create_connection(("127.0.0.1", server.port), timeout=seconds) as s:
        for i in range(0, len(data), piece):
            try:
                s.sendall(data[i:i + piece])
            except OSError:
                break
            s.settimeout(pause)
            try:
                got = s.recv(65536)
                out += got
                if not got:
                    break
            except (TimeoutError, socket.timeout):
                pass
            except OSError:
                break
        s.settimeout(seconds)
        try:
            while got := s.recv(65536):
                out += got
        except OSError:
            pass
    return out, time.monotonic() - start


def test_trickled_head(fake):
    server = fake(header_timeout="600ms")
    out, seconds = trickle(server, b"GET /health HTTP/1.1\r\nHost: localhost\r\nX-Long: " + b"a" * 1000, 1, 0.02)
    assert out.startswith(b"HTTP/1.1 408") and 0.5 < seconds < 2
    assert server.metric("hearth_http_head_timeouts_total") == 1
    out, seconds = trickle(server, b"GET /heal", 1, 0.1)
    assert out.startswith(b"HTTP/1.1 408") and seconds < 2
    out, seconds = trickle(server, b"", 1, 0.1)
    assert out.startswith(b"HTTP/1.1 408") and seconds < 2


def test_trickled_head_of_a_second_request(fake):
    server = fake(header_timeout="600ms", idle_timeout="800ms")
    first = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
    out, seconds = trickle(server, first + b"GET /health HTTP/1.1\r\nX: " + b"a" * 1000, 60, 0.05)
    assert out.startswith(b"HTTP/1.1 200") and b"HTTP/1.1 408" in out and seconds < 3
    out, seconds = trickle(server, first + b"GE", len(first), 0.01)
    assert out.count(b"HTTP/1.1") == 1 and seconds < 3


def test_trickled_body(fake):
    server = fake(body_timeout="600ms")
    head = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5000\r\n\r\n"
    out, seconds = trickle(server, head + b"x" * 100, 10, 0.05)
    assert out.startswith(b"HTTP/1.1 408") and 0.5 < seconds < 2
    assert server.metric("hearth_http_body_timeouts_total") == 1
    chunked = head.replace(b"Content-Length: 5000", b"Transfer-Encoding: chunked")
    out, seconds = trickle(server, chunked + b"1\r\nx\r\n" * 500, 8, 0.05)
    assert b"HTTP/1.1 408" in out and seconds < 8


def test_a_flood_of_tricklers_does_not_keep_others_out(fake):
    server = fake(header_timeout="1s", connections=64)
    crowd = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(60)]
    for s in crowd:
        s.sendall(b"GET / HT")
    assert server.chat()[0] == 200
    end = time.monotonic() + 5
    while server.metric("hearth_http_connections") > 5 and time.monotonic() < end:
        time.sleep(0.05)
    assert server.metric("hearth_http_connections") < 5
    for s in crowd:
        s.close()


def test_more_connections_than_allowed_wait_their_turn(fake):
    server = fake(connections=8, header_timeout="500ms")
    crowd = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(30)]
    assert server.chat()[0] == 200  # as soon as the idle ones were closed
    for s in crowd:
        s.close()


# ---- many

def test_a_hundred_streams_at_once(fake):
    server = fake({"token_s": 0.01, "n_seq_max": 100, "n_ctx": 4096})
    words = " ".join(f"w{i}" for i in range(40))
    results = []

    def one(i):
        with server.stream(body(f"number{i} {words}", stream=True, stream_options={"include_usage": True})) as sock:
            found, raw = serving.events(sock)
            text = "".join(c["choices"][0]["delta"].get("content", "") for c in found if c["choices"])
            results.append((text == f"number{i} {words}", found[-1]["usage"]["completion_tokens"]))

    threads = [threading.Thread(target=one, args=(i,)) for i in range(100)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(60)
    assert results == [(True, 41)] * 100
    assert server.metric("hearth_http_in_flight") == 1  # the one that asks
    assert server.metric("hearth_model_requests") == 0


def test_a_full_queue_says_when_to_come_back(fake):
    server = fake({"n_seq_max": 1}, queue=2)
    held = [server.stream(body("SILENT", stream=True)) for _ in range(3)]
    server.wait_metric("hearth_model_requests", 3)
    status, headers, answer = server.chat()
    assert status == 503 and int(headers["Retry-After"]) >= 1
    assert answer["error"]["code"] == "overloaded"
    assert server.metric("hearth_requests_refused_total") == 1
    for s in held:
        s.close()
    server.wait_metric("hearth_model_requests", 0)
    assert server.chat()[0] == 200


def test_clients_that_come_and_go(fake):
    """A few hundred clients that leave at any moment; nothing is left behind."""
    server = fake({"token_s": 0.002, "prefill_s": 0.005, "n_seq_max": 4, "repeat": "la "}, queue=500)
    pid, before = server.workers(), None
    for round_ in range(3):
        socks = []
        for i in range(100):
            s = server.stream(body("go", stream=i % 2 == 0, max_tokens=50, n=1 + i % 3))
            if i % 5 == 0:
                s.close()
            socks.append(s)
        time.sleep(0.05 * round_)
        for s in socks:
            s.close()
        server.wait_metric("hearth_model_requests", 0)
        server.wait_metric("hearth_http_connections", 1)
        before = before or server.resident_bytes()
    assert server.resident_bytes() - before < serving.SLACK_BYTES
    assert server.workers() == pid and server.chat(max_tokens=2)[0] == 200
