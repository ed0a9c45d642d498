"""A worker that others keep from the processor is slow, not stalled."""
import contextlib
import os
import pathlib
import signal
import subprocess
import sys
import time


@contextlib.contextmanager
def hogs(cpu, n):
    """n processes that never rest on one processor."""
    running = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(n)]
    try:
        for p in running:
            os.sched_setaffinity(p.pid, {cpu})
        yield
    finally:
        for p in running:
            p.kill()
            p.wait()


def put_last(pid, cpu, nice):
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        os.sched_setaffinity(int(task.name), {cpu})
        os.setpriority(os.PRIO_PROCESS, int(task.name), nice)


def test_a_starved_worker_is_not_taken_for_a_stalled_one(launch, smollm2_path):
    server = launch(smollm2_path, stall_timeout="1500ms", threads=1, ctx=512)
    cpu = min(os.sched_getaffinity(0))
    want = server.chat("Count from one to twenty, please, in words.", max_tokens=3, temperature=0)[2]
    (worker,) = server.workers()
    put_last(worker, cpu, 10)
    with hogs(cpu, 6):
        start = time.monotonic()
        status, _, have = server.request("POST", "/v1/chat/completions", {
            "messages": [{"role": "user", "content": "Count from one to twenty, please, in words. Then stop at once."}],
            "max_tokens": 3, "temperature": 0}, timeout=120)
        took = time.monotonic() - start
    assert status == 200 and want["choices"], have
    assert server.metric("hearth_worker_stalls_total") == 0, f"it was killed; the answer took {took:.1f} s"
    assert server.workers() == [worker]
    # One that really stands still is found, as before.
    os.kill(worker, signal.SIGSTOP)
    assert server.chat("Hello there", max_tokens=2)[0] == 200
    assert server.metric("hearth_worker_stalls_total") == 1
