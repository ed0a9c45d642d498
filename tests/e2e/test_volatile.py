"""What coding agents put into every prompt anew is taken out of it, on every chat dialect."""
import json

import pytest

HEADER = "x-anthropic-billing-header: cc_version=2.1.177.01c; cc_entrypoint=cli; cch=%s;\n"
BUDGET = "<total_tokens>%d tokens left</total_tokens>"


def chat(server, nonce, left):
    body = {"messages": [{"role": "system", "content": HEADER % nonce + "be brief"}, {"role": "user", "content": "hi"},
                         {"role": "system", "content": BUDGET % left}, {"role": "user", "content": "go on"}], "max_tokens": 5}
    status, headers, answer = server.post("/v1/chat/completions", body)
    assert status == 200
    return answer["choices"][0]["message"]["content"], headers["x-request-id"]


def messages(server, nonce, left):
    body = {"system": [{"type": "text", "text": (HEADER % nonce).strip()}, {"type": "text", "text": "be brief"}],
            "messages": [{"role": "user", "content": "hi"}, {"role": "system", "content": BUDGET % left},
                         {"role": "user", "content": "go on"}], "max_tokens": 5}
    assert server.post("/v1/messages/count_tokens", body)[2]["input_tokens"] == 5
    status, headers, answer = server.post("/v1/messages", body)
    assert status == 200
    return answer["content"][0]["text"], headers["request-id"]


@pytest.mark.parametrize("dialect", [chat, messages])
def test_it_is_taken_out_and_told(fake_server, dialect):
    before = fake_server.metric("hearth_volatile_removed_total")
    first, request = dialect(fake_server, "0aaa9", 5000)
    second, _ = dialect(fake_server, "36ee5", 4000)
    assert first == second == "be brief hi go on"
    shown = json.loads(fake_server.get(f"/v1/requests/{request}")[2])
    assert shown["cache"]["volatile_removed"] == 2
    counted = 1 if dialect is chat else 2 # a count of tokens cleans its prompt, too
    assert fake_server.metric("hearth_volatile_removed_total") == before + 4 * counted


def test_what_a_user_writes_stays(fake_server):
    text = BUDGET % 5
    answer = fake_server.chat(text, max_tokens=3)[2]
    assert answer["choices"][0]["message"]["content"] == text


def test_it_can_be_kept(fake):
    server = fake({"n_ctx": 64}, env={"HEARTH_KEEP_VOLATILE": "yes"})
    body = {"messages": [{"role": "system", "content": HEADER % "36ee5" + "x"}, {"role": "user", "content": "hi"}], "max_tokens": 9}
    answer = server.post("/v1/chat/completions", body)[2]
    assert "cch=36ee5" in answer["choices"][0]["message"]["content"]
    assert server.metric("hearth_volatile_removed_total") == 0
