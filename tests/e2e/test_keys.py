"""Keys with names: made, listed, revoked, their limits, and what each may see."""
import http.client
import json
import os
import resource
import stat
import subprocess
import threading
import time

import openai
import pytest

import serving


class Keys:
    def __init__(self, hearth_bin, folder):
        self.bin, self.path = str(hearth_bin), folder / "keys.json"

    def run(self, *args):
        env = {k: v for k, v in os.environ.items() if not k.startswith("HEARTH_")}
        return subprocess.run([self.bin, "key", *args], env=env | {"HEARTH_KEYS": str(self.path), "HEARTH_CONFIG": "/dev/null"},
                              capture_output=True, text=True, timeout=30)

    def create(self, *args):
        done = self.run("create", *args)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()


@pytest.fixture
def keys(hearth_bin, tmp_path):
    return Keys(hearth_bin, tmp_path)


def bearer(key):
    return {"Authorization": f"Bearer {key}"}


def chat(server, key, content="hello there", **more):
    return server.post("/v1/chat/completions", {"messages": [{"role": "user", "content": content}], **more},
                       headers=bearer(key))


def test_batches_are_their_keys_own(hearth_bin, keys, fake, tmp_path):
    """Files and batches of one key are not there for another; what they took is on the key's account."""
    ann, bob = keys.create("ann"), keys.create("bob")
    server = fake({}, keys=keys.path)
    clients = [openai.OpenAI(base_url=server.url + "/v1", api_key=k, max_retries=0, timeout=30) for k in (ann, bob)]
    line = {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions",
            "body": {"messages": [{"role": "user", "content": "hello there"}]}}
    upload = clients[0].files.create(file=("in.jsonl", json.dumps(line).encode()), purpose="batch")
    with pytest.raises(openai.NotFoundError):
        clients[1].files.retrieve(upload.id)
    batch = clients[0].batches.create(input_file_id=upload.id, endpoint="/v1/chat/completions", completion_window="24h")
    for _ in range(400):
        batch = clients[0].batches.retrieve(batch.id)
        if batch.status == "completed":
            break
        time.sleep(0.05)
    assert batch.status == "completed" and batch.request_counts.completed == 1, batch
    with pytest.raises(openai.NotFoundError):
        clients[1].batches.retrieve(batch.id)
    assert list(clients[1].batches.list()) == []
    assert chat(server, bob)[0] == 200
    time.sleep(1.5)
    usage = subprocess.run([str(hearth_bin), "usage", "--by", "key", "--json", "--state-dir",
                            str(server.folder / "state")], capture_output=True, text=True, timeout=20)
    assert usage.returncode == 0, usage.stderr
    assert "ann" in usage.stdout and "bob" in usage.stdout, usage.stdout


def test_a_key_is_shown_once_and_kept_hashed(keys):
    key = keys.create("ann", "--priority", "batch", "--requests-max", "3")
    assert key.startswith("hearth-") and len(key) == 55
    text = keys.path.read_text()
    assert key not in text and key[7:] not in text and "sha256:" in text
    assert stat.S_IMODE(keys.path.stat().st_mode) == 0o600
    (listed,) = json.loads(keys.run("list", "--json").stdout)
    assert (listed["name"], listed["priority"], listed["requests_max"], listed["tenant"]) == ("ann", "batch", 3, 1)
    again = keys.run("create", "ann")
    assert again.returncode == 1 and "already" in again.stderr
    assert keys.run("revoke", "ann").returncode == 0
    assert json.loads(keys.run("list", "--json").stdout) == []
    assert keys.run("revoke", "ann").returncode == 1
    keys.create("ben")  # a tenant is never given twice
    assert json.loads(keys.run("list", "--json").stdout)[0]["tenant"] == 2


@pytest.mark.parametrize("name", ["", "-x", "a b", "a/b", "ä", "x" * 64, 'a"b'])
def test_names_that_are_none(keys, name):
    done = keys.run("create", "--", name)
    assert done.returncode == 1 and "name" in done.stderr and not keys.path.exists()


def test_writers_at_once_lose_no_key(keys):
    threads = [threading.Thread(target=keys.create, args=(f"k{i}",)) for i in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    listed = json.loads(keys.run("list", "--json").stdout)
    assert sorted(k["name"] for k in listed) == [f"k{i}" for i in range(8)]
    assert len({k["tenant"] for k in listed}) == 8


def test_a_running_server_notices_keys(fake, keys):
    server = fake()
    assert server.chat()[0] == 200  # on loopback nobody needs one
    ann = keys.create("ann")
    status, headers, answer = server.chat()
    assert (status, answer["error"]["code"], headers["WWW-Authenticate"]) == (401, "invalid_api_key", "Bearer")
    assert chat(server, ann)[0] == 200
    ben = keys.create("ben")
    assert chat(server, ben)[0] == 200 and chat(server, ann)[0] == 200
    assert chat(server, ann[:-1])[0] == 401 and chat(server, "")[0] == 401
    keys.run("revoke", "ann")
    assert chat(server, ann)[0] == 401 and chat(server, ben)[0] == 200
    keys.run("revoke", "ben")  # the last one: that opens nothing
    assert chat(server, ben)[0] == 401 and server.chat()[0] == 401
    keys.path.unlink()
    assert server.chat()[0] == 401


def test_the_unnamed_key_goes_on_working(fake, keys):
    ann = keys.create("ann")
    server = fake(api_key="s3cret")
    assert server.chat()[0] == 200 and chat(server, ann)[0] == 200 and chat(server, "other")[0] == 401


def test_a_damaged_file_changes_nothing_while_running_and_stops_a_start(fake, keys, launch, tmp_path):
    ann = keys.create("ann")
    server = fake()
    good = keys.path.read_text()
    for bad in ("{", '{"keys": 5}', good.replace("sha256:", "md5:"), good.replace('"tenant": 1', '"tenant": 0')):
        keys.path.write_text(bad)
        assert chat(server, ann)[0] == 200 and server.chat()[0] == 401
    assert "keys stay as they were" in server.log()
    second = launch(serving.fake_model(tmp_path), worker_exe=serving.fake_exe(tmp_path), wait=False)
    assert second.process.wait(20) == 1 and "keys.json" in second.log()
    keys.path.write_text(good)
    keys.path.chmod(0o622)
    third = launch(serving.fake_model(tmp_path), worker_exe=serving.fake_exe(tmp_path), wait=False)
    assert third.process.wait(20) == 1 and "chmod 600" in third.log()


def test_requests_at_once(fake, keys):
    ann, ben = keys.create("ann", "--requests-max", "1"), keys.create("ben")
    server = fake()
    server.key = ann
    held = threading.Thread(target=lambda: chat(server, ann, "SILENT", stream=False))
    sock_headers = bearer(ann)
    import http.client
    c = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    c.request("POST", "/v1/chat/completions", json.dumps({"messages": [{"role": "user", "content": "SILENT"}]}), sock_headers)
    server.wait_metric("hearth_key_running", 1, key="ann")
    status, headers, answer = chat(server, ann)
    assert (status, answer["error"]["code"]) == (429, "rate_limit_exceeded")
    assert int(headers["Retry-After"]) >= 1 and "1 requests at once" in answer["error"]["message"]
    assert chat(server, ben)[0] == 200
    c.close()
    server.wait_metric("hearth_key_running", 0, key="ann")
    assert chat(server, ann)[0] == 200
    assert server.metric("hearth_key_refused_total", key="ann") == 1
    del held


def test_tokens_per_minute(fake, keys):
    ann = keys.create("ann", "--tokens-per-minute", "10")
    server = fake()
    assert chat(server, ann, "one two three four five six")[0] == 200  # 6 + 6 tokens: two too many
    status, headers, answer = chat(server, ann, "x")
    assert status == 429 and 10 <= int(headers["Retry-After"]) <= 13, headers["Retry-After"]
    assert "10 tokens a minute" in answer["error"]["message"]


MESSAGES = [{"role": "user", "content": "one two"}]
# Every route that puts a question to a worker, or starts one to look into a file.
QUESTIONS = [
    ("POST", "/tokenize", {"content": "one two"}),
    ("POST", "/detokenize", {"tokens": [1, 2]}),
    ("POST", "/apply-template", {"messages": MESSAGES}),
    ("GET", "/props", None),
    ("GET", "/props?model=one", None),
    ("GET", "/slots", None),
    ("POST", "/v1/chat/completions/input_tokens", {"messages": MESSAGES}),
    ("POST", "/chat/completions/input_tokens", {"messages": MESSAGES}),
    ("POST", "/v1/responses/input_tokens", {"input": "one two"}),
    ("POST", "/v1/messages/count_tokens", {"model": "one", "messages": MESSAGES}),
    ("POST", "/api/generate", {"model": "one"}),
    ("POST", "/api/generate", {"model": "one", "prompt": ""}),
    ("POST", "/api/chat", {"model": "one", "messages": []}),
    ("POST", "/api/chat", {"model": "one", "messages": MESSAGES, "_debug_render_only": True}),
    ("POST", "/api/show", {"model": "one"}),
]


def ask(server, key, question):
    method, path, body = question
    status, headers, data = server.request(method, path, body, headers=bearer(key))
    return status, headers, json.loads(data)


def assert_refused(question, status, headers, answer, text):
    """429 in the form of the route's dialect."""
    assert status == 429 and 1 <= int(headers["Retry-After"]) <= 60, (question, status, answer)
    path = question[1]
    if path.startswith("/api/"):
        assert list(answer) == ["error"] and text in answer["error"], question
    elif path.startswith("/v1/messages"):
        assert (answer["type"], answer["error"]["type"]) == ("error", "rate_limit_error"), question
        assert text in answer["error"]["message"] and answer["request_id"]
    else:
        assert (answer["error"]["type"], answer["error"]["code"]) == ("rate_limit_error", "rate_limit_exceeded"), question
        assert text in answer["error"]["message"]


def test_questions_are_requests(launch, keys, tmp_path):
    """What is asked beside answers has the key's limits, too: at once, and when its tokens are used up."""
    ann, ben = keys.create("ann", "--requests-max", "1"), keys.create("ben", "--tokens-per-minute", "10")
    serving.library_model(tmp_path, "one", n_ctx=64)
    server = launch("one", worker_exe=serving.fake_exe(tmp_path))
    server.key = keys.create("boss", "--admin")
    for question in QUESTIONS:  # one after the other they are all answered
        status, _, answer = ask(server, ann, question)
        assert status == 200, (question, answer)
    assert server.metric("hearth_key_requests_total", key="ann") == len(QUESTIONS)
    assert server.metric("hearth_key_running", key="ann") == 0
    assert server.metric("hearth_key_prompt_tokens_total", key="ann") == 0  # nothing was computed
    held = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    held.request("POST", "/v1/chat/completions", json.dumps({"messages": [{"role": "user", "content": "SILENT"}]}), bearer(ann))
    server.wait_metric("hearth_key_running", 1, key="ann")
    for question in QUESTIONS:
        assert_refused(question, *ask(server, ann, question), "1 requests at once")
    assert server.metric("hearth_key_refused_total", key="ann") == len(QUESTIONS)
    held.close()
    server.wait_metric("hearth_key_running", 0, key="ann")
    assert chat(server, ben, "one two three four five six")[0] == 200
    for question in QUESTIONS:
        assert_refused(question, *ask(server, ben, question), "10 tokens a minute")
    assert ask(server, ann, QUESTIONS[0])[0] == 200


def test_a_question_takes_its_place_until_it_is_answered(fake, keys):
    """Also when its client leaves; and a refused one does not load the model it names."""
    ann = keys.create("ann", "--requests-max", "1")
    server = fake({"say_asked": []})  # it never answers
    server.key = keys.create("boss", "--admin")
    held = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    held.request("POST", "/tokenize", json.dumps({"content": "one two"}), bearer(ann))
    server.wait_metric("hearth_key_running", 1, key="ann")
    serving.library_model(server.folder, "two")
    for question in (("POST", "/api/generate", {"model": "two"}), ("POST", "/tokenize", {"model": "two", "content": "a"}),
                     ("GET", "/props?model=two", None)):
        assert_refused(question, *ask(server, ann, question), "1 requests at once")
    assert chat(server, ann)[0] == 429
    assert server.metric("hearth_worker_starts_total") == 1
    held.close()
    server.wait_metric("hearth_key_running", 0, key="ann")
    assert chat(server, ann)[0] == 200


def test_a_rendering_is_a_question(fake, keys):
    """A prompt that is rendered again for its key, too."""
    ann = keys.create("ann", "--requests-max", "1")
    server = fake(env={"HEARTH_KEEP_PROMPTS": "yes"})
    path = f"/v1/requests/{chat(server, ann, 'one two')[1]['x-request-id']}"
    assert server.get(path + "?prompt=1", headers=bearer(ann))[0] == 200
    held = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    held.request("POST", "/v1/chat/completions", json.dumps({"messages": [{"role": "user", "content": "SILENT"}]}), bearer(ann))
    server.key = keys.create("boss", "--admin")
    server.wait_metric("hearth_key_running", 1, key="ann")
    assert server.get(path + "?prompt=1", headers=bearer(ann))[0] == 429
    assert server.get(path, headers=bearer(ann))[0] == 200
    held.close()


def test_counts_per_key(fake, keys):
    ann, ben = keys.create("ann"), keys.create("ben")
    server = fake()
    server.key = keys.create("boss", "--admin")
    chat(server, ann, "one two three")
    chat(server, ben, "one two")
    assert server.metric("hearth_key_prompt_tokens_total", key="ann") == 3
    assert server.metric("hearth_key_completion_tokens_total", key="ben") == 2
    assert server.metric("hearth_key_requests_total", key="ben") == 1


def test_a_new_file_of_keys_inherits_nothing(fake, keys):
    """Tenants are numbered anew in it: the first key must not see what another first key did."""
    ann = keys.create("ann")
    server = fake(env={"HEARTH_KEEP_PROMPTS": "yes"})
    _, headers, _ = chat(server, ann, "a secret")
    path = f"/v1/requests/{headers['x-request-id']}"
    assert server.get(path, headers=bearer(ann))[0] == 200
    keys.path.unlink()
    ben = keys.create("ben")
    assert json.loads(keys.run("list", "--json").stdout)[0]["tenant"] == 1
    assert server.get(path, headers=bearer(ben))[0] == 404
    assert server.get(path + "?prompt=1", headers=bearer(ben))[0] == 404
    assert json.loads(server.get("/v1/requests", headers=bearer(ben))[2])["data"] == []


def test_a_revoked_key_closes_although_the_file_could_not_be_read_once(fake, keys):
    """Out of descriptors is no reason to trust a key for ever."""
    ann, _ = keys.create("ann"), keys.create("ben")
    server = fake()
    c = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)

    def ask():
        c.request("GET", "/v1/requests", headers=bearer(ann))
        answer = c.getresponse()
        answer.read()
        return answer.status

    assert ask() == 200
    limit = resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (3, limit[1]))
    assert keys.run("revoke", "ann").returncode == 0
    assert ask() == 200 and "the keys stay as they were" in server.log()
    resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, limit)
    assert ask() == 401
    c.close()


# ---- rights

def test_a_key_sees_its_own_counts_and_no_other_name(fake, keys):
    names = {name: keys.create(name) for name in ("ann", "benedict", "cid")}
    boss = keys.create("boss", "--admin")
    server = fake(api_key="s3cret")
    for i, key in enumerate(names.values()):
        chat(server, key, "one two three"[:3 + 4 * i] if i < 2 else "one two three")
    server.key = names["ann"]
    text = server.get("/metrics")[2].decode()
    assert "benedict" not in text and "cid" not in text
    assert server.metric("hearth_key_prompt_tokens_total", key="ann") == 1
    assert server.metric("hearth_key_prompt_tokens_total", key="+other") == 5
    for server.key in (boss, "s3cret"):  # the command line's key is the operator's
        text = server.get("/metrics")[2].decode()
        assert all(f'hearth_key_requests_total{{key="{name}"}} 1' in text for name in names), text
        assert "+other" not in text
    for path in ("/v1/requests", "/api/ps", "/health", "/v1/models", "/api/tags"):
        text = server.get(path, headers=bearer(names["ann"]))[2].decode()
        assert "benedict" not in text and "cid" not in text, path
    server.key = keys.create("newcomer")  # it has no series yet
    assert server.metric("hearth_key_requests_total", key="+other") == 3
    assert server.metric("hearth_key_requests_total", key="newcomer") == 0


def expiry(server, model):
    """When it goes, as /api/ps says; None: it is not loaded, "": never."""
    found = [m for m in json.loads(server.get("/api/ps")[2])["models"] if m["name"] == model]
    return None if not found else "" if found[0]["expires_at"].startswith("9999") else found[0]["expires_at"]


def wait_unloaded(server, model):
    end = time.monotonic() + 10
    while expiry(server, model) is not None and time.monotonic() < end:
        time.sleep(0.01)
    assert expiry(server, model) is None


def test_who_may_unload_and_keep(launch, keys, tmp_path, hearth_bin):
    """A keep_alive of a key that may not fails nothing and changes nothing."""
    ann, boss = keys.create("ann"), keys.create("boss", "--admin")
    serving.library_model(tmp_path, "one")
    server = launch(worker_exe=serving.fake_exe(tmp_path), keep_alive="1h", api_key="s3cret")
    for value in (0, "0s", "1ms", -1, "5m"):
        assert chat(server, ann, model="one", keep_alive=value)[0] == 200
        time.sleep(0.05)
        assert expiry(server, "one:latest"), value  # in an hour, as the server says
    status, _, answer = server.post("/api/generate", {"model": "one", "keep_alive": -1}, headers=bearer(ann))
    assert (status, answer["done_reason"]) == (200, "load") and expiry(server, "one:latest")
    status, _, answer = server.post("/api/generate", {"model": "one", "keep_alive": 0}, headers=bearer(ann))
    assert status == 403 and "'ann' may not unload" in answer["error"] and expiry(server, "one:latest")
    stop = subprocess.run([str(hearth_bin), "stop", "one", "--port", str(server.port)], capture_output=True, text=True,
                          env=os.environ | {"HEARTH_API_KEY": ann, "HEARTH_CONFIG": "/dev/null"}, timeout=30)
    assert stop.returncode == 1 and "may not unload" in stop.stderr, stop
    assert chat(server, boss, model="one", keep_alive=-1)[0] == 200
    assert expiry(server, "one:latest") == ""
    assert chat(server, ann, model="one")[0] == 200 and chat(server, ann, model="one", keep_alive="1s")[0] == 200
    assert expiry(server, "one:latest") == ""  # pinned it stays, whoever else uses it
    assert chat(server, boss, model="one", keep_alive=0)[0] == 200
    wait_unloaded(server, "one:latest")
    assert chat(server, ann, model="one")[0] == 200 and expiry(server, "one:latest")  # the server's own time again
    assert server.post("/api/generate", {"model": "one", "keep_alive": 0})[0] == 200  # the command line's key
    wait_unloaded(server, "one:latest")
    assert server.metric("hearth_worker_starts_total") == 2


def test_rights_are_listed_and_old_files_have_none(keys):
    keys.create("ann")
    keys.create("boss", "--admin")
    assert [k["admin"] for k in json.loads(keys.run("list", "--json").stdout)] == [False, True]
    assert [line.split()[2] for line in keys.run("list").stdout.splitlines()] == ["RIGHTS", "-", "admin"]
    keys.path.write_text(keys.path.read_text().replace(', "admin": false', "").replace(', "admin": true', ""))
    assert [k["admin"] for k in json.loads(keys.run("list", "--json").stdout)] == [False, False]
