"""A small real model behind the chat templates of others: every call that is demanded of it, in every
dialect, names a tool and has arguments as its schema has them.

HEARTH_TOOL_DIALECTS  "all": every template; default: those that write calls in ways of their own
"""
import json
import os
import subprocess

import jsonschema
import pytest

import serving

CHAT = "/v1/chat/completions"
OWN_WAYS = {"harmony": "openai-gpt-oss-120b", "qwen3-coder": "Qwen3-Coder", "lfm2": "LFM2-8B-A1B", "gemma4": "google-gemma-4-31B-it"}
OTHERS = {"glm": "GLM-4.6", "llama3": "meta-llama-Llama-3.1-8B-Instruct",
          "hermes": "Qwen-Qwen3-0.6B", "mistral": "Mistral-Small-3.2-24B-Instruct-2506", "mistral-nemo": "mistralai-Mistral-Nemo-Instruct-2407",
          "command-r": "CohereForAI-c4ai-command-r7b-12-2024-tool_use", "granite": "ibm-granite-granite-3.3-2B-Instruct",
          "nemotron": "NVIDIA-Nemotron-Nano-v2", "kimi": "moonshotai-Kimi-K2", "functionary": "meetkai-functionary-medium-v3.1",
          "qwen35": "Qwen3.5-4B", "ministral": "mistralai-Ministral-3-14B-Reasoning-2512"}
TEMPLATES = OWN_WAYS | (OTHERS if os.environ.get("HEARTH_TOOL_DIALECTS") == "all" else {})
USER = [{"role": "user", "content": "What is the weather in Bonn in the next days? Call a tool."}]


def tool(name, properties, required, **more):
    return {"type": "function", "function": {"name": name, "description": "d", "parameters": {
        "type": "object", "properties": properties, "required": required, "additionalProperties": False}, **more}}


WORD = {"type": "string", "minLength": 1, "maxLength": 12}
TOOLS = [tool("get_weather", {"city": WORD, "days": {"type": "integer", "minimum": 1, "maximum": 9},
                              "unit": {"enum": ["C", "F"]}, "wind": {"type": "boolean"}}, ["city", "days", "unit"]),
         tool("find_city", {"name": WORD, "near": {"type": "array", "items": {"enum": ["Bonn", "Ulm"]}, "minItems": 1, "maxItems": 2},
                            "at": {"anyOf": [{"type": "object", "properties": {"zip": {"type": "integer", "minimum": 1, "maximum": 99999}},
                                              "required": ["zip"], "additionalProperties": False}, {"type": "null"}]}}, ["name", "near", "at"])]
VALID = {t["function"]["name"]: jsonschema.Draft202012Validator(t["function"]["parameters"]) for t in TOOLS}


@pytest.fixture(scope="module")
def house(hearth_bin, tmp_path_factory, smollm2_path, shared_dir):
    """A server whose library has the model once for each template."""
    folder = tmp_path_factory.mktemp("dialects")
    env = {"HEARTH_MODELS": str(folder / "library"), "HEARTH_CONFIG": "/dev/null"}
    for name, file in TEMPLATES.items():
        text = (shared_dir / "data" / "templates" / f"{file}.jinja").read_text()
        modelfile = folder / "Modelfile"
        modelfile.write_text(f'FROM {smollm2_path}\nTEMPLATE """{text}"""\n')
        subprocess.run([hearth_bin, "create", name, "-f", modelfile], check=True, env=env, timeout=60, capture_output=True)
    one = serving.Server(hearth_bin, folder, ctx=4096)
    yield one
    one.close()


def ask(house, name, **more):
    body = {"model": name, "messages": USER, "tools": TOOLS, "temperature": 1, "max_tokens": 200, "seed": 1, "reasoning_effort": "none", **more}
    status, _, answer = house.post(CHAT, body, timeout=300)
    assert status == 200, answer
    return answer["choices"]


def check(choices):
    """Valid calls; how many."""
    n = 0
    for choice in choices:
        for call in choice["message"].get("tool_calls") or []:
            value = json.loads(call["function"]["arguments"])
            error = next(VALID[call["function"]["name"]].iter_errors(value), None)
            assert error is None, (error, choice)
            n += 1
    return n


@pytest.mark.parametrize("name", TEMPLATES)
def test_calls_of_a_small_model_are_valid(house, name):
    for choice in ask(house, name, tool_choice="required", n=2, parallel_tool_calls=False):
        assert choice["finish_reason"] == "tool_calls" and not choice["message"]["content"], choice
        assert check([choice]) == 1
    named = {"type": "function", "function": {"name": "find_city"}}
    one, = ask(house, name, tool_choice=named, parallel_tool_calls=False)
    assert [c["function"]["name"] for c in one["message"]["tool_calls"]] == ["find_city"] and check([one]) == 1
    check(c for c in ask(house, name, max_tokens=40) if c["finish_reason"] != "length")


@pytest.mark.parametrize("name", [n for n in ("gemma4", "glm", "hermes", "qwen35") if n in TEMPLATES])
def test_thoughts_come_before_a_demanded_call(house, name):
    """Within their budget; and then the call comes."""
    more = {"reasoning_effort": "low", "thinking_budget": 12, "tool_choice": "required", "parallel_tool_calls": False, "n": 2}
    choices = ask(house, name, **more)
    assert check(choices) == 2 and all(c["finish_reason"] == "tool_calls" for c in choices), choices
    if name == "glm":  # its template opens the thoughts
        assert any(c["message"].get("reasoning_content") for c in choices), choices


def test_harmony_thinks_before_a_demanded_call(house):
    """In the channel for it, or says what it will do; the answer does not end without a call."""
    for choice in ask(house, "harmony", reasoning_effort="low", tool_choice="required", parallel_tool_calls=False, n=3, max_tokens=120):
        assert choice["finish_reason"] in ("tool_calls", "length"), choice
        if choice["finish_reason"] == "tool_calls":
            assert check([choice]) == 1


def test_harmony_answers_in_a_given_form(house):
    """The form is that of the final channel: its header comes first, and thoughts may."""
    form = {"type": "json_schema", "json_schema": {"name": "x", "strict": True, "schema": {
        "type": "object", "properties": {"unit": {"enum": ["C", "F"]}}, "required": ["unit"], "additionalProperties": False}}}
    for effort in ("none", "low"):
        for choice in ask(house, "harmony", tools=None, reasoning_effort=effort, response_format=form, n=2, max_tokens=60):
            if choice["finish_reason"] == "stop":
                assert json.loads(choice["message"]["content"])["unit"] in ("C", "F")
            assert effort == "low" or choice["finish_reason"] == "stop", choice


def test_cut_calls_are_no_whole_ones(house):
    name = "qwen3-coder" if "qwen3-coder" in TEMPLATES else "hermes"
    seen = set()
    for n in (3, 9, 14):
        choice, = ask(house, name, tool_choice={"type": "function", "function": {"name": "get_weather"}}, max_tokens=n, parallel_tool_calls=False)
        assert choice["finish_reason"] == "length"
        arguments = choice["message"]["tool_calls"][0]["function"]["arguments"]
        seen.add(arguments)
        with pytest.raises(ValueError):
            json.loads(arguments)
    assert len(seen) > 1
    # where arguments are an object: none that looks whole
    body = {"model": name, "messages": USER, "max_tokens": 9, "tool_choice": {"type": "tool", "name": "get_weather"},
            "tools": [{"name": t["function"]["name"], "input_schema": t["function"]["parameters"]} for t in TOOLS]}
    answer = house.post("/v1/messages", body, timeout=60)[2]
    block = answer["content"][-1]
    assert answer["stop_reason"] == "max_tokens" and list(block["input"]) == ["INVALID_JSON"], answer


def test_tools_too_large_for_a_grammar(house):
    """Their names and their frame hold, and a strict one is refused by its parameter."""
    name = next(iter(TEMPLATES))
    big = {f"k{i}": {"type": "string", "pattern": "^(a|b)*a(a|b){14}$"} for i in range(40)}
    tools = [tool("huge", big, [])]
    choices = ask(house, name, tools=tools, tool_choice="required", parallel_tool_calls=False, max_tokens=60)
    assert choices[0]["message"]["tool_calls"][0]["function"]["name"] == "huge"
    tools[0]["function"]["strict"] = True
    status, _, answer = house.post(CHAT, {"model": name, "messages": USER, "tools": tools, "tool_choice": "required"}, timeout=60)
    assert status == 400 and answer["error"]["param"].startswith("tools"), answer
