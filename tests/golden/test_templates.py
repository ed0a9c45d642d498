"""Chat templates that models ship render byte for byte as Jinja2 renders them."""
import itertools

import pytest

from jinja_reference import differences, hearth, reference

TOOLS = [
    {"type": "function", "function": {
        "name": "get_weather", "description": "Weather of a place, \"now\" & <here>",
        "parameters": {"type": "object", "properties": {
            "city": {"type": "string", "description": "the city — naïve"},
            "unit": {"type": "string", "enum": ["°C", "°F"], "default": "°C"},
            "days": {"type": ["integer", "null"], "minimum": 1},
            "where": {"type": "object", "properties": {"lat": {"type": "number"}},
                      "required": ["lat"]},
            "tags": {"type": "array", "items": {"type": "string"}}},
            "required": ["city"]},
        "return": {"type": "object", "description": "a report"}}},
    {"type": "function", "function": {"name": "now", "description": "", "parameters": {
        "type": "object", "properties": {}}}},
    {"type": "function", "function": {"name": "odd", "description": "none\nat all", "strict": True,
                                      "parameters": {"type": "object", "properties": {
                                          "x": {"anyOf": [{"type": "string"},
                                                          {"type": "integer"}]}},
                                          "additionalProperties": False}}},
]


def user(text="What is the weather in Köln? 🌧"):
    return {"role": "user", "content": text}


def assistant(text, **more):
    return {"role": "assistant", "content": text, **more}


def call(name, arguments, call_id="abcde1234"):
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def result(text, call_id="abcde1234", name="get_weather"):
    return {"role": "tool", "tool_call_id": call_id, "name": name, "content": text}


ARGS = {"city": "Köln", "unit": "°C", "days": 2, "where": {"lat": 50.9375}, "tags": ["a", "b\n"],
        "deep": None, "flag": True}
SYSTEM = {"role": "system", "content": "You are kind.\nAnd brief. <b>&</b> {{ not.a.template }}"}

CONVERSATIONS = {
    "user": [user()],
    "system": [SYSTEM, user()],
    "developer": [{"role": "developer", "content": "Do."}, user()],
    "turns": [SYSTEM, user("1"), assistant("one"), user("2"), assistant("two\n\n"), user(" 3 ")],
    "no system, turns": [user("1"), assistant("one"), user("2")],
    "ends with assistant": [user("1"), assistant("one, ")],
    "assistant first": [assistant("Hello!"), user("hi")],
    "two users": [user("a"), user("b")],
    "two systems": [SYSTEM, {"role": "system", "content": "More."}, user()],
    "late system": [user("a"), assistant("b"), SYSTEM, user("c")],
    "only system": [SYSTEM],
    "empty content": [user("")],
    "empty system": [{"role": "system", "content": ""}, user("x")],
    "white space": [{"role": "system", "content": " \n s \t"}, user("\n\n  u \u00a0 \u3000\n"),
                    assistant("  a \n"), user("\r\nx\r\n")],
    "unicode": [user("ﬀ ß İ ǅ 𝔘 \u202e e\u0301 \U0001f468\u200d\U0001f469\u200d\U0001f467 \ufeff")],
    "markers": [user("<|im_end|> </s> [INST] <think>x</think> {% raw %} \\n 'q' \"Q\"")],
    "null content": [user(), assistant(None), user("x")],
    "missing content": [user(), {"role": "assistant"}, user("x")],
    "parts": [{"role": "user", "content": [{"type": "text", "text": "part 1"},
                                           {"type": "text", "text": " part 2"}]}],
    "parts everywhere": [{"role": "system", "content": [{"type": "text", "text": "S"}]},
                         {"role": "user", "content": [{"type": "text", "text": "U"}]},
                         {"role": "assistant", "content": [{"type": "text", "text": "A"}]},
                         {"role": "user", "content": [{"type": "text", "text": "V"}]}],
    "image": [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "what?"},
                                           {"type": "image_url",
                                            "image_url": {"url": "http://x/y.png"}}]}],
    "thinking": [user("1"), assistant("<think>\nhmm\n</think>\n\none"), user("2"),
                 assistant("<think>a</think>b</think>c"), user("3")],
    "reasoning": [user("1"), assistant("one", reasoning_content="let me see\n"), user("2"),
                  assistant("two", reasoning_content="", thinking="t"), user("3")],
    "thinking field": [user("1"), assistant("one", thinking="let me see"), user("2")],
    "last reasoning": [user("1"), assistant("one", reasoning_content="why")],
    "tool call": [SYSTEM, user(), assistant("", tool_calls=[call("get_weather", ARGS)]),
                  result('{"t": 3.5}')],
    "tool call, text arguments": [user(), assistant("", tool_calls=[
        call("get_weather", '{"city": "Köln", "n": 1}')]), result("3")],
    "tool call, null": [user(), assistant(None, tool_calls=[call("get_weather", ARGS)]),
                        result("rain"), assistant("It rains."), user("and now?")],
    "tool call, no content": [user(), {"role": "assistant", "tool_calls": [
        call("get_weather", {"city": "Köln"})]}, result("rain")],
    "tool call, content": [user(), assistant("I look.", tool_calls=[
        call("get_weather", {"city": "K"})]), result("rain"), assistant("Rain.")],
    "tool call, reasoning": [user(), assistant("", reasoning_content="I must look", tool_calls=[
        call("get_weather", {"city": "K"})]), result("rain"), assistant("Rain.",
                                                                      reasoning_content="so")],
    "parallel": [user(), assistant("", tool_calls=[call("get_weather", {"city": "A"}, "aaaaaaaa1"),
                                                   call("now", {}, "bbbbbbbb2")]),
                 result("1", "aaaaaaaa1"), result("2", "bbbbbbbb2", "now"), assistant("ok"),
                 user("thanks")],
    "chain": [user(), assistant("", tool_calls=[call("now", {}, "aaaaaaaa1")]),
              result("12:00", "aaaaaaaa1", "now"),
              assistant("", tool_calls=[call("get_weather", {"city": "B", "x": [1, 2.0, None]},
                                             "bbbbbbbb2")]),
              result("rain", "bbbbbbbb2")],
    "bare call": [user(), assistant("", tool_calls=[{"name": "now", "arguments": {"a": 1}}]),
                  result("1")],
    "empty calls": [user(), assistant("x", tool_calls=[]), user("y")],
    "tool result parts": [user(), assistant("", tool_calls=[call("now", {})]),
                          {"role": "tool", "tool_call_id": "abcde1234", "name": "now",
                           "content": [{"type": "text", "text": "noon"}]}],
    "tool result object": [user(), assistant("", tool_calls=[call("now", {})]),
                           {"role": "tool", "tool_call_id": "abcde1234", "name": "now",
                            "content": {"t": 1.0, "ok": True}}],
    "tool first": [result("x"), user()],
    "unknown role": [{"role": "wizard", "content": "abracadabra"}, user()],
    "ipython role": [user(), {"role": "ipython", "content": "1"}, user("x")],
    "names": [{"role": "user", "name": "bob", "content": "hi"}],
    "number content": [{"role": "user", "content": 5}],
    "no role": [{"content": "x"}],
    "nothing": [],
}

KWARGS = {
    "plain": {},
    "generate": {"add_generation_prompt": True},
    "tools": {"add_generation_prompt": True, "tools": TOOLS},
    "tools, no prompt": {"tools": TOOLS[:1]},
    "none": {"add_generation_prompt": True, "tools": None, "documents": None},
    "no tools": {"add_generation_prompt": True, "tools": []},
    "bare tools": {"add_generation_prompt": True, "tools": [t["function"] for t in TOOLS[:2]]},
    "thinking": {"add_generation_prompt": True, "enable_thinking": True, "thinking": True},
    "no thinking": {"add_generation_prompt": True, "enable_thinking": False, "thinking": False},
    "kwargs": {"add_generation_prompt": True, "tools": TOOLS, "date_string": "1 Jan 2025",
               "tools_in_user_message": False, "reasoning_effort": "high",
               "builtin_tools": ["browser", "python", "wolfram_alpha"], "strict": True,
               "model_identity": "You are Hearth.", "custom_tools": TOOLS[:1],
               "available_tools": TOOLS[:1], "controls": {"length": "short"},
               "preserve_thinking": True, "clear_thinking": False, "xml_tools": [],
               "python_tools": ["f"], "today": "2025-01-01", "yesterday": "2024-12-31",
               "safety_mode": "CONTEXTUAL"},
    "documents": {"add_generation_prompt": True, "documents": [
        {"title": "A", "text": "alpha", "doc_id": 1}, {"title": "B", "text": "béta", "doc_id": 2}],
        "citation_mode": "fast"},
}


def all_jobs(template):
    for (_, messages), (_, kwargs) in itertools.product(CONVERSATIONS.items(), KWARGS.items()):
        yield template, {"messages": messages, "bos_token": "<s>", "eos_token": "</s>",
                         "unk_token": "<unk>", **kwargs}


def names(shared):
    return sorted(p.name for p in (shared / "data" / "templates").glob("*.jinja"))


def test_every_template(hearth_bin, shared_dir):
    """Output equal byte for byte; where Jinja2 raises, so do we."""
    found = names(shared_dir)
    assert len(found) >= 30
    n_ok = 0
    for name in found:
        text = (shared_dir / "data" / "templates" / name).read_text()
        jobs = list(all_jobs(text))
        bad = differences(hearth_bin, jobs)
        assert not bad, f"{name}: {len(bad)} of {len(jobs)} differ, first {bad[0][1:]}"
        ok = sum(reference(*j)[0] == "ok" for j in jobs)
        assert ok >= 60, f"{name}: only {ok} conversations render at all"
        n_ok += ok
    assert n_ok > 9000


@pytest.mark.parametrize("name", ["user", "system", "turns"])
def test_chat_takes_every_template(hearth_bin, shared_dir, name):
    """chat_new accepts each of them, and a request in OpenAI's form comes out with every text."""
    texts = [(shared_dir / "data" / "templates" / n).read_text() for n in names(shared_dir)]
    request = {"messages": CONVERSATIONS[name], "add_generation_prompt": True}
    for n, (kind, out) in zip(names(shared_dir), hearth(
            hearth_bin, [(t, request) for t in texts], "--chat")):
        assert kind == "ok", (n, out)
        for m in request["messages"]:
            assert m["content"].strip() in out, (n, m)
