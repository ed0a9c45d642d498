"""Files, batches and the ledger, with OpenAI's own client; and what is left of them after kill -9."""
import datetime
import io
import json
import os
import pathlib
import signal
import sqlite3
import subprocess
import time

import openai
import pytest

import serving

CHAT = "/v1/chat/completions"


def client_of(server, key="none"):
    return openai.OpenAI(base_url=server.url + "/v1", api_key=server.key or key, max_retries=0, timeout=30)


def line(i, content=None, **more):
    body = {"messages": [{"role": "user", "content": content or f"number {i} please"}], **more}
    return {"custom_id": f"line-{i}", "method": "POST", "url": CHAT, "body": body}


def jsonl(lines):
    return "".join((one if isinstance(one, str) else json.dumps(one)) + "\n" for one in lines).encode()


def upload(client, data, name="in.jsonl", **more):
    return client.files.create(file=(name, data), purpose="batch", **more)


def start(client, lines, **more):
    data = lines if isinstance(lines, bytes) else jsonl(lines)
    more = {"endpoint": CHAT, "completion_window": "24h"} | more
    return client.batches.create(input_file_id=upload(client, data).id, **more)


def wait_for(client, batch, *statuses, seconds=40):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        batch = client.batches.retrieve(batch.id)
        if batch.status in (statuses or ("completed", "failed", "expired", "cancelled")):
            return batch
        time.sleep(0.03)
    raise AssertionError(f"the batch is {batch.status} after {seconds} s: {batch}")


def results(client, file_id):
    if file_id is None:
        return []
    return [json.loads(one) for one in client.files.content(file_id).text.splitlines()]


def usage(hearth_bin, server, *args):
    got = subprocess.run([hearth_bin, "usage", "--json", "--state-dir", server.folder / "state", *args],
                         capture_output=True, text=True, timeout=20)
    assert got.returncode == 0, got.stderr
    return json.loads(got.stdout)


def state_files(server):
    return sorted(p.name for p in (server.folder / "state" / "files").iterdir())


# ---- files


def test_files_with_the_official_client(fake):
    client = client_of(fake({}))
    data = jsonl([line(1)]) + bytes(range(256)) * 9000  # any bytes, over several pieces
    one = upload(client, data, name="é \"x\".jsonl")
    two = upload(client, b"{}\n", expires_after={"anchor": "created_at", "seconds": 3600})
    assert (one.bytes, one.purpose, one.filename, one.status) == (len(data), "batch", 'é "x".jsonl', "processed") \
        or one.filename == "é %22x%22.jsonl"
    assert abs(one.created_at - time.time()) < 20 and one.expires_at == one.created_at + 30 * 86400
    assert two.expires_at == two.created_at + 3600
    assert client.files.retrieve(one.id) == one
    assert client.files.content(one.id).content == data
    assert [f.id for f in client.files.list()] == [two.id, one.id]
    assert [f.id for f in client.files.list(order="asc", limit=1)] == [one.id, two.id]  # pages
    assert [f.id for f in client.files.list(purpose="batch_output")] == []
    assert client.files.delete(one.id).deleted
    with pytest.raises(openai.NotFoundError):
        client.files.retrieve(one.id)
    with pytest.raises(openai.NotFoundError):
        client.files.content(one.id)
    with pytest.raises(openai.NotFoundError):
        client.files.delete("file-no-such")


def test_files_are_private_on_the_disk_and_bounded(fake):
    server = fake({}, file_max=1000, files_total=2500)
    client = client_of(server)
    with pytest.raises(openai.APIStatusError) as e:
        upload(client, b"x" * 1001)
    assert e.value.status_code == 413 and "1000" in e.value.message
    with pytest.raises(openai.APIStatusError) as e:
        upload(client, b"x" * 200000)  # more than the whole form may have
    assert e.value.status_code == 413
    kept = [upload(client, b"x" * 1000).id for _ in range(2)]
    with pytest.raises(openai.BadRequestError, match="--files-total"):
        upload(client, b"x" * 501)
    client.files.delete(kept[0])
    kept[0] = upload(client, b"x" * 501).id
    assert state_files(server) == sorted(kept)
    assert list((server.folder / "state" / "tmp").iterdir()) == []
    state = server.folder / "state"
    for path in [state, state / "files", state / "tmp"]:
        assert path.stat().st_mode & 0o777 == 0o700, path
    for path in [*state.glob("hearth.db*"), state / "files" / kept[0]]:
        assert path.stat().st_mode & 0o777 == 0o600, path


@pytest.mark.parametrize("body, kind, status, text", [
    (b"--b\r\n", "multipart/form-data; boundary=b", 400, "closing boundary"),
    (b"x--b--\r\n", "multipart/form-data; boundary=b", 400, "begin"),
    (b"--b\r\n\r\nx\r\n--b--\r\n", "multipart/form-data; boundary=b", 400, "Content-Disposition"),
    (b"", "multipart/form-data", 400, "boundary"),
    (b"{}", "application/json", 400, "multipart/form-data"),
    (b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nassistants\r\n--b--\r\n',
     "multipart/form-data; boundary=b", 400, "purpose"),
    (b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n--b--\r\n',
     "multipart/form-data; boundary=b", 400, "'file' is missing"),
    (b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n\r\n--b--\r\n',
     "multipart/form-data; boundary=b", 400, "purpose"),
    (b'--b\r\nContent-Disposition: form-data; name="other"\r\n\r\nx\r\n--b--\r\n',
     "multipart/form-data; boundary=b", 400, "other"),
])
def test_broken_forms_are_told_why(fake_server, body, kind, status, text):
    got, _, data = fake_server.request("POST", "/v1/files", body, {"Content-Type": kind})
    assert got == status and text in json.loads(data)["error"]["message"]


def test_a_client_that_leaves_in_an_upload_leaves_nothing(fake):
    server = fake({})
    for _ in range(3):
        s = serving.socket.create_connection(("127.0.0.1", server.port))
        s.sendall(b"POST /v1/files HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9000000\r\n"
                  b"Content-Type: multipart/form-data; boundary=b\r\n\r\n"
                  b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n' + b"x" * 3000000)
        time.sleep(0.1)
        s.close()
    end = time.monotonic() + 20  # not the body's deadline, which is a minute
    while list((server.folder / "state" / "tmp").iterdir()) and time.monotonic() < end:
        time.sleep(0.02)
    assert list((server.folder / "state" / "tmp").iterdir()) == [] and state_files(server) == []
    assert upload(client_of(server), b"x").bytes == 1


# ---- batches


def test_a_batch_with_the_official_client(fake, hearth_bin):
    server = fake({})
    client = client_of(server)
    lines = [line(i) for i in range(7)]
    lines[3]["body"]["messages"][0]["content"] = "word " * 200  # does not fit the context of 64
    lines[5]["body"]["model"] = "no-such-model"
    batch = start(client, lines, metadata={"who": "me"})
    assert (batch.status, batch.object, batch.metadata) == ("validating", "batch", {"who": "me"})
    assert batch.expires_at == batch.created_at + 86400
    done = wait_for(client, batch)
    assert (done.status, done.errors) == ("completed", None)
    assert done.created_at <= done.in_progress_at <= done.finalizing_at <= done.completed_at
    counts = done.request_counts
    assert (counts.total, counts.completed, counts.failed) == (7, 5, 2)
    good, bad = results(client, done.output_file_id), results(client, done.error_file_id)
    assert [r["custom_id"] for r in good] == [f"line-{i}" for i in (0, 1, 2, 4, 6)]
    for r in good:
        assert r["error"] is None and r["response"]["status_code"] == 200 and r["id"] and r["response"]["request_id"]
        answer = openai.types.chat.ChatCompletion.model_validate(r["response"]["body"])
        assert answer.choices[0].message.content == f"number {r['custom_id'][5:]} please"
        assert answer.system_fingerprint == "fp_fake"
    assert [(r["custom_id"], r["response"]["status_code"], r["response"]["body"]["error"]["code"]) for r in bad] == [
        ("line-3", 400, "context_length_exceeded"), ("line-5", 404, "model_not_found")]
    assert done.usage.input_tokens == 15 and done.usage.output_tokens == 15
    outputs = client.files.retrieve(done.output_file_id)
    assert outputs.purpose == "batch_output" and outputs.filename.endswith("_output.jsonl")
    server.chat()
    time.sleep(1.2)
    assert [(r["requests"], r["prompt_tokens"], r["completion_tokens"]) for r in usage(hearth_bin, server)] == [(6, 17, 17)]


def test_completions_with_several_prompts(fake):
    client = client_of(fake({}))
    one = {"custom_id": "a", "method": "POST", "url": "/v1/completions",
           "body": {"prompt": ["one", "three"], "n": 2, "max_tokens": 1}}
    done = wait_for(client, start(client, [one], endpoint="/v1/completions"))
    body = results(client, done.output_file_id)[0]["response"]["body"]
    assert [c["text"] for c in body["choices"]] == ["one", "one", "three", "three"]


def test_bad_lines_fail_the_batch_before_anything_runs(fake):
    server = fake({})
    client = client_of(server)
    lines = [line(1), "{not json", line(1), {**line(4), "url": "/v1/completions"}, {**line(5), "method": "GET"},
             line(6, temperature=9), line(7, stream=True), {"method": "POST", "url": CHAT, "body": {}}, "",
             line(9, no_such_field=1), "[1]"]
    batch = wait_for(client, start(client, lines))
    assert batch.status == "failed" and batch.failed_at and batch.output_file_id is None
    told = {e.line: e for e in batch.errors.data}
    assert sorted(told) == [2, 3, 4, 5, 6, 7, 8, 10, 11]
    assert (told[2].code, told[3].code, told[4].code) == ("invalid_json_line", "duplicate_custom_id", "mismatched_endpoint")
    assert (told[6].param, told[7].param, told[10].param) == ("temperature", "stream", "no_such_field")
    assert server.metric("hearth_completion_tokens_total") == 0
    empty = wait_for(client, start(client, b"\n\n"))
    assert (empty.status, empty.errors.data[0].code) == ("failed", "empty_file")


def test_what_a_batch_cannot_be(fake):
    client = client_of(fake({}))
    file_id = upload(client, jsonl([line(1)])).id
    good = {"input_file_id": file_id, "endpoint": CHAT, "completion_window": "24h"}
    for wrong, param in [({"input_file_id": "file-x"}, "input_file_id"), ({"endpoint": "/v1/moderations"}, "endpoint"),
                         ({"completion_window": "soon"}, "completion_window"), ({"metadata": {"a": 1}}, "metadata")]:
        with pytest.raises(openai.APIStatusError) as e:
            client.batches.create(**(good | wrong))
        assert e.value.param == param and e.value.status_code in (400, 404)
    with pytest.raises(openai.NotFoundError):
        client.batches.retrieve("batch_none")
    with pytest.raises(openai.NotFoundError):
        client.batches.cancel("batch_none")


def test_listing_batches_by_pages(fake):
    client = client_of(fake({}))
    ids = [start(client, [line(i)]).id for i in range(5)]
    page = client.batches.list(limit=2)
    assert [b.id for b in page.data] == ids[:2:-1] and page.has_more
    assert [b.id for b in client.batches.list(limit=2)] == ids[::-1]


def test_cancel_keeps_what_is_done_and_names_the_rest(fake):
    client = client_of(fake({"token_s": 0.05, "n_seq_max": 2}, parallel=2))
    batch = start(client, [line(i, content="a b c d") for i in range(12)])
    end = time.monotonic() + 20
    while client.batches.retrieve(batch.id).request_counts.completed < 2 and time.monotonic() < end:
        time.sleep(0.02)
    with pytest.raises(openai.ConflictError, match="input of a batch"):
        client.files.delete(batch.input_file_id)
    assert client.batches.cancel(batch.id).status in ("cancelling", "cancelled")
    done = wait_for(client, batch)
    assert done.status == "cancelled" and done.cancelling_at <= done.cancelled_at
    good, bad = results(client, done.output_file_id), results(client, done.error_file_id)
    assert len(good) == done.request_counts.completed >= 2 and len(bad) > 0
    assert {r["error"]["code"] for r in bad} == {"batch_cancelled"}
    assert sorted(r["custom_id"] for r in good + bad) == sorted(f"line-{i}" for i in range(12))
    assert client.batches.cancel(batch.id).status == "cancelled"
    assert client.files.delete(batch.input_file_id).deleted
    over = wait_for(client, start(client, [line(1)]))
    with pytest.raises(openai.ConflictError):
        client.batches.cancel(over.id)


def test_a_window_that_ends(fake):
    client = client_of(fake({"token_s": 0.1, "n_seq_max": 2}, parallel=2))
    batch = start(client, [line(i, content="a b c d e") for i in range(20)], completion_window="2s")
    done = wait_for(client, batch)
    assert done.status == "expired" and done.expired_at >= done.expires_at
    good, bad = results(client, done.output_file_id), results(client, done.error_file_id)
    assert 0 < len(good) == done.request_counts.completed
    assert {r["error"]["code"] for r in bad} == {"batch_expired"}
    assert sorted(r["custom_id"] for r in good + bad) == sorted(f"line-{i}" for i in range(20))


def test_interactive_requests_find_a_place(fake):
    """A batch takes half of the places, and only those that are free."""
    server = fake({"token_s": 0.05, "n_seq_max": 4}, parallel=4)
    client = client_of(server)
    batch = start(client, [line(i, content="a b c d e f") for i in range(40)])
    wait_for(client, batch, "in_progress")
    most = 0
    for _ in range(10):
        began = time.monotonic()
        assert server.chat("x")[0] == 200
        assert time.monotonic() - began < 0.5
        most = max(most, server.metric("hearth_worker_running"))
    assert 1 <= most <= 3
    client.batches.cancel(batch.id)


def test_a_line_that_waits_for_a_place_is_not_read_over_and_over(fake):
    """The loop serves everybody: a long line is parsed when there is a place for it, not each time that there is none."""
    def spent_s():
        fields = pathlib.Path(f"/proc/{server.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    server = fake({"n_seq_max": 2}, parallel=2)
    client = client_of(server)
    ask = {"stream": True, "messages": [{"role": "user", "content": "SILENT"}]}
    busy = [server.stream(ask) for _ in range(2)]
    server.wait_metric("hearth_worker_running", 2)
    batch = start(client, [line(1, content="x" * (12 << 20))])
    wait_for(client, batch, "in_progress")
    time.sleep(0.5)
    before = spent_s()
    time.sleep(3)
    assert spent_s() - before < 0.4
    for one in busy:
        one.close()
    assert wait_for(client, batch).request_counts.completed == 1  # and it is not forgotten


def test_a_worker_that_dies_costs_no_line(fake):
    client = client_of(fake({"die": "KILLER", "token_s": 0.02, "n_seq_max": 4}, parallel=4))
    lines = [line(i, content="a b c") for i in range(8)]
    lines[4]["body"]["messages"][0]["content"] = "a KILLER b"
    done = wait_for(client, start(client, lines), seconds=60)
    assert done.status == "completed"
    good, bad = results(client, done.output_file_id), results(client, done.error_file_id)
    assert sorted(r["custom_id"] for r in good) == sorted(f"line-{i}" for i in range(8) if i != 4)
    assert [(r["custom_id"], r["response"]["status_code"] >= 500) for r in bad] == [("line-4", True)]


# ---- what is forgotten


def wait_gone(fetch, seconds=20):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            fetch()
        except openai.NotFoundError:
            return
        time.sleep(0.05)
    raise AssertionError(f"it is still there after {seconds} s")


def test_files_and_batches_go_when_their_time_has_come(fake):
    server = fake({"token_s": 0.1, "n_seq_max": 1}, files_keep="4s", parallel=1)
    client = client_of(server)
    idle = upload(client, b"x")
    kept = upload(client, b"y", expires_after={"anchor": "created_at", "seconds": 3600})
    assert idle.expires_at == idle.created_at + 4
    batch = start(client, [line(i, content="a b c d e f") for i in range(14)])  # takes longer than files are kept
    wait_gone(lambda: client.files.retrieve(idle.id))
    assert time.time() >= idle.expires_at
    time.sleep(max(0, client.files.retrieve(batch.input_file_id).expires_at + 1 - time.time()))
    assert client.batches.retrieve(batch.id).status == "in_progress"
    assert client.files.retrieve(batch.input_file_id).expires_at < time.time()  # it is needed
    done = wait_for(client, batch)
    assert done.request_counts.completed == 14
    output = client.files.retrieve(done.output_file_id)
    assert output.expires_at == output.created_at + 4 and len(results(client, output.id)) == 14
    assert client.batches.retrieve(batch.id).status == "completed"
    for fetch in (lambda: client.files.retrieve(batch.input_file_id), lambda: client.files.content(output.id),
                  lambda: client.batches.retrieve(batch.id)):
        wait_gone(fetch)
    assert [f.id for f in client.files.list()] == [kept.id] == state_files(server)
    assert list(client.batches.list()) == []
    server.wait_metric("hearth_batches_over", 0)
    assert (server.metric("hearth_files"), server.metric("hearth_files_bytes")) == (1, 1)


@pytest.mark.parametrize("value, keep_s", [("0", None), ("36h", 129600), ("7d", 604800)])
def test_how_long_files_are_kept(fake, value, keep_s):
    one = upload(client_of(fake({}, files_keep=value)), b"x")
    assert one.expires_at == (keep_s and one.created_at + keep_s)


@pytest.mark.parametrize("value", ["-1", "soon", "d", "-3d", "99999d"])
def test_a_time_that_is_none(hearth_bin, value):
    done = subprocess.run([hearth_bin, "serve", f"--files-keep={value}", "--port", "0"], capture_output=True, text=True, timeout=20)
    assert done.returncode == 2 and "--files-keep" in done.stderr


def test_all_keys_together_have_a_limit(fake):
    server = fake({}, files_disk=1000)
    client = client_of(server)
    first = upload(client, b"x" * 600)
    with pytest.raises(openai.InternalServerError, match="--files-disk"):
        upload(client, b"x" * 401)
    upload(client, b"x" * 400)
    client.files.delete(first.id)
    assert upload(client, b"x" * 600).bytes == 600
    assert len(state_files(server)) == 2


def test_batches_in_the_metrics(fake):
    server = fake({"token_s": 0.1, "n_seq_max": 2}, parallel=2, batch_parallel=2)
    client = client_of(server)
    lines = [line(i, content="a b c d") for i in range(6)]
    lines[5]["body"]["model"] = "no-such-model"
    batch = start(client, lines)
    wait_for(client, batch, "in_progress")
    server.wait_metric("hearth_batch_lines", 2, state="running")
    assert server.metric("hearth_batches", status="in_progress") == 1
    assert server.metric("hearth_batch_lines", state="waiting") in (2, 4)
    wait_for(client, batch)
    server.wait_metric("hearth_batches", 0)
    assert server.metric("hearth_batches_over") == 1 and server.metric("hearth_batch_lines") == 0
    assert server.metric("hearth_batch_lines_total", outcome="completed") == 5
    assert server.metric("hearth_batch_lines_total", outcome="failed") == 1


# ---- what survives


def kill(server):
    """kill -9 of the gateway; its workers end by themselves."""
    os.kill(server.process.pid, signal.SIGKILL)
    server.process.wait(10)


@pytest.mark.parametrize("moment", [0.0, 0.02, 0.3, 0.8])
def test_kill_9_in_a_batch_loses_no_line_and_doubles_none(launch, tmp_path, hearth_bin, moment):
    model = serving.fake_model(tmp_path, token_s=0.05, n_seq_max=4)
    exe = serving.fake_exe(tmp_path)
    server = launch(model, worker_exe=exe, parallel=4)
    client = client_of(server)
    batch = start(client, [line(i, content=f"the answer {i}") for i in range(30)])
    time.sleep(moment)
    done = before = 0
    for _ in range(3):  # and again, wherever it is then
        kill(server)
        server = launch(model, worker_exe=exe, parallel=4)
        client = client_of(server)
        done = client.batches.retrieve(batch.id).request_counts.completed
        assert done >= before
        before = done
        time.sleep(0.1)
    done = wait_for(client, batch)
    assert done.status == "completed" and done.request_counts.completed == 30 and done.error_file_id is None
    got = results(client, done.output_file_id)
    assert [r["custom_id"] for r in got] == [f"line-{i}" for i in range(30)]
    assert [r["response"]["body"]["choices"][0]["message"]["content"] for r in got] == [f"the answer {i}" for i in range(30)]
    assert sorted(state_files(server)) == sorted(f.id for f in client.files.list())
    assert list((server.folder / "state" / "tmp").iterdir()) == []
    rows = usage(hearth_bin, server, "--by", "model")  # each line once, whichever server computed it last
    assert [(r["requests"], r["completion_tokens"]) for r in rows] == [(30, done.usage.output_tokens)], rows


def test_a_stopped_server_goes_on_with_its_batch(launch, tmp_path):
    model = serving.fake_model(tmp_path, token_s=0.05, n_seq_max=2)
    exe = serving.fake_exe(tmp_path)
    server = launch(model, worker_exe=exe, parallel=2)
    batch = start(client_of(server), [line(i) for i in range(10)])
    wait_for(client_of(server), batch, "in_progress")
    assert server.stop() == 0
    server = launch(model, worker_exe=exe, parallel=2)
    done = wait_for(client_of(server), batch)
    assert [r["custom_id"] for r in results(client_of(server), done.output_file_id)] == [f"line-{i}" for i in range(10)]


def test_the_ledger_survives_kill_9_within_its_second(launch, tmp_path, hearth_bin):
    model, exe = serving.fake_model(tmp_path), serving.fake_exe(tmp_path)
    server = launch(model, worker_exe=exe)
    for _ in range(5):
        server.chat("one two three")
    time.sleep(1.3)
    kill(server)
    rows = usage(hearth_bin, server, "--by", "model")
    assert [(r["requests"], r["prompt_tokens"], r["completion_tokens"]) for r in rows] == [(5, 15, 15)]
    server = launch(model, worker_exe=exe)
    server.chat("one two three")
    assert server.stop() == 0  # an orderly end writes at once
    today = datetime.datetime.now(datetime.timezone.utc).date()
    rows = usage(hearth_bin, server, "--by", "day", "--since", str(today - datetime.timedelta(1)))
    assert sum(r["requests"] for r in rows) == 6
    assert usage(hearth_bin, server, "--until", "2020-01-01") == []
    got = subprocess.run([hearth_bin, "usage", "--since", "2026-02-30", "--state-dir", tmp_path / "state"],
                         capture_output=True, text=True)
    assert got.returncode == 1 and "--since" in got.stderr


# ---- a folder that cannot be used


def refused(server, text):
    status, _, body = server.post("/v1/batches", {})
    assert status == 503 and text in body["error"]["message"], body
    assert server.get("/v1/files")[0] == 503
    assert server.chat()[0] == 200


def test_two_servers_do_not_share_a_folder(launch, tmp_path, hearth_bin):
    model, exe = serving.fake_model(tmp_path), serving.fake_exe(tmp_path)
    launch(model, worker_exe=exe)
    refused(launch(model, worker_exe=exe), "used by another server")
    strict = launch(model, worker_exe=exe, state="needed", wait=False)
    assert strict.process.wait(20) == 1 and "used by another server" in strict.log()
    refused(launch(model, worker_exe=exe, state="off"), "--state off")


@pytest.mark.parametrize("make, text", [
    (lambda d: (d / "hearth.db").write_bytes(b"this is no database, whatever its name says" * 100), "damaged"),
    (lambda d: sqlite3.connect(d / "hearth.db").executescript("CREATE TABLE x (y);"), "not one of Hearth's"),
    (lambda d: sqlite3.connect(d / "hearth.db").executescript("PRAGMA user_version = 99;"), "newer"),
])
def test_a_database_that_is_not_ours(launch, tmp_path, make, text):
    (tmp_path / "state").mkdir()
    make(tmp_path / "state")
    refused(launch(serving.fake_model(tmp_path), worker_exe=serving.fake_exe(tmp_path)), text)


@pytest.fixture
def small_disk(hearth_bin, tmp_path):
    """A server whose state folder is a file system of 4 MiB of its own; and that folder."""
    state, wrapper = tmp_path / "state", tmp_path / "hearth-small"
    state.mkdir()
    mount = f"mount -t tmpfs -o size=4m,mode=700 none {state}"
    if subprocess.run(["unshare", "-Urm", "sh", "-c", mount], capture_output=True).returncode != 0:
        pytest.skip("no mounts of our own here: unshare -Urm is not allowed")
    wrapper.write_text(f"#!/bin/sh\nexec unshare -Urm sh -c '{mount} && exec \"$@\"' sh {hearth_bin} \"$@\"\n")
    wrapper.chmod(0o755)
    model = serving.fake_model(tmp_path, token_s=0.02, n_seq_max=4, n_ctx=512)
    server = serving.Server(wrapper, tmp_path, model, worker_exe=serving.fake_exe(tmp_path), parallel=4)
    yield server, pathlib.Path(f"/proc/{server.process.pid}/root{state}")
    server.close()


def fill(path):
    with open(path, "wb", buffering=0) as f:
        try:
            while True:
                f.write(b"x" * 4096)
        except OSError:
            pass


def test_a_full_disk_stops_a_batch_until_there_is_room(small_disk):
    server, state = small_disk
    client = client_of(server)
    batch = start(client, [line(i, content=f"a b c d {i} " + "word " * 10) for i in range(60)])
    end = time.monotonic() + 20
    while client.batches.retrieve(batch.id).request_counts.completed < 5 and time.monotonic() < end:
        time.sleep(0.02)
    fill(state / "filler")
    while not getattr(now := client.batches.retrieve(batch.id), "paused", None) and time.monotonic() < end:
        time.sleep(0.05)
    assert now.status == "in_progress" and "disk is full" in now.paused
    assert server.chat()[0] == 200
    with pytest.raises(openai.InternalServerError, match="disk is full"):
        upload(client, b"x" * 100000)
    stuck = now.request_counts.completed
    (state / "filler").unlink()
    done = wait_for(client, batch, seconds=90)
    assert done.status == "completed" and done.request_counts.completed == 60 > stuck
    assert [r["custom_id"] for r in results(client, done.output_file_id)] == [f"line-{i}" for i in range(60)]
    assert done.model_extra.get("paused") is None


def test_a_batch_on_a_real_model(server):
    client = client_of(server)
    lines = [line(i, content=f"Count from {i}.", temperature=0, max_tokens=12) for i in range(6)]
    done = wait_for(client, start(client, lines), seconds=120)
    assert (done.status, done.request_counts.completed) == ("completed", 6)
    for r in results(client, done.output_file_id):
        i = int(r["custom_id"][5:])
        alone = client.chat.completions.create(model="", **lines[i]["body"])
        assert r["response"]["body"]["choices"][0]["message"]["content"] == alone.choices[0].message.content
