"""Random answers of the grammar of each dialect of tool calls, read by the dialect's own parser: names
are of the tools, arguments are as the schemas have them, and nothing else comes out.

HEARTH_TOOL_SAMPLES  random tools for each dialect; default 6. The full run is 300.
HEARTH_TOOL_SEED     where the random numbers begin; default 1
"""
import json
import os
import random

import jsonschema
import pytest

import random_schema
from test_schema_samples import Walker

N_TOOLS = int(os.environ.get("HEARTH_TOOL_SAMPLES", "6"))
SEED = int(os.environ.get("HEARTH_TOOL_SEED", "1"))
CHECKER = jsonschema.Draft202012Validator.FORMAT_CHECKER
MINI = "{% for m in messages %}{{ m.content }}{% if m.tool_calls %}{{ m.tool_calls | tojson }}{% endif %}{% endfor %}{{ tools | tojson if tools else '' }}"
DEEPSEEK = "<\uff5ctool\u2581%s\uff5c>"

# dialect: a file of shared/data/templates or a template in short, the markers that may be control
# tokens, more pieces that its vocabulary has
DIALECTS = {
    "hermes": ("Qwen-Qwen3-0.6B.jinja", ["<tool_call>", "</tool_call>", "<think>", "</think>"], ['{"name": "', '", "arguments": ']),
    "mistral": ("Mistral-Small-3.2-24B-Instruct-2506.jinja", ["[TOOL_CALLS]", "[ARGS]"], []),
    "mistral-nemo": ("mistralai-Mistral-Nemo-Instruct-2407.jinja", ["[TOOL_CALLS]"], ['[{"name": "', '", "arguments": ']),
    "deepseek-v3.1": (MINI + "{# " + DEEPSEEK % "call\u2581begin" + " #}", [DEEPSEEK % f"{a}\u2581{b}" for a in ("call", "calls") for b in ("begin", "end")] + [DEEPSEEK % "sep"], []),
    "command-r": ("CohereForAI-c4ai-command-r7b-12-2024-tool_use.jinja", ["<|START_ACTION|>", "<|END_ACTION|>", "<|START_RESPONSE|>", "<|END_RESPONSE|>", "<|START_THINKING|>", "<|END_THINKING|>"], []),
    "granite": ("ibm-granite-granite-3.3-2B-Instruct.jinja", ["<|tool_call|>"], ["<think>", "</think>"]),
    "nemotron": ("NVIDIA-Nemotron-Nano-v2.jinja", [], ["<TOOLCALL>", "</TOOLCALL>", "</think>"]),
    "kimi": ("moonshotai-Kimi-K2.jinja", ["<|tool_calls_section_begin|>", "<|tool_calls_section_end|>", "<|tool_call_begin|>", "<|tool_call_argument_begin|>", "<|tool_call_end|>"], []),
    "functionary-v3.1": ("meetkai-functionary-medium-v3.1.jinja", [], ["<function=", "</function>"]),
    "functionary-v3.2": (MINI + "{# >>>all #}", [], [">>>", "all\n"]),
    "harmony": ("openai-gpt-oss-120b.jinja", ["<|start|>", "<|channel|>", "<|message|>", "<|constrain|>", "<|end|>"], ["assistant", "commentary", "analysis", "final", " to=functions.", "json"]),
    "qwen3-coder": ("Qwen3-Coder.jinja", ["<tool_call>", "</tool_call>"], ["<function=", "</function>", "<parameter=", "\n</parameter>\n", "</parameter>", ">\n"]),
    "glm": ("GLM-4.6.jinja", ["<tool_call>", "</tool_call>", "<arg_key>", "</arg_key>", "<arg_value>", "</arg_value>", "<think>", "</think>"], []),
    "lfm2": ("LFM2-8B-A1B.jinja", ["<|tool_call_start|>", "<|tool_call_end|>"], ["[", "(", ")]", ")", "='", "', "]),
    "gemma3": (MINI + "{# ```tool_code #}", [], ["```tool_code\n", "\n```", "(", ")", "='", "', "]),
    "functiongemma": (MINI + "{# <start_function_call> #}", ["<start_function_call>", "<end_function_call>", "<escape>"], ["call:"]),
    "gemma4": ("google-gemma-4-31B-it.jinja", ["<|tool_call>", "<tool_call|>", "<|\"|>", "<|channel>", "<channel|>"], ["call:", "thought"]),
    "llama3": ("meta-llama-Llama-3.1-8B-Instruct.jinja", ["<|python_tag|>"], ['{"name"', '": "', '{"', '"parameters": ', '"type": "function", ']),
}
PIECES = ['{"', '":', '", "', '"}', '"]', "}}", "true", "null", "12", "0.", ".5", "e+", "a", "ab", "the", "\n  ", ", ", "\u00e9", "\U0001f600", "\\n",
          '\\"', "<", "</", "<|", "-01-", "T12:", ":00", "@", "::", "x_", "name"]


@pytest.fixture(scope="module")
def walker(build_dir):
    w = Walker(build_dir / "tests" / "golden" / "tool_walk")
    yield w
    w.process.stdin.close()
    assert w.process.wait(10) == 0


def ask(walker, job):
    return walker.ask(None, **job)


class Jobs:
    def __init__(self, shared_dir, name):
        source, self.control, self.pieces = DIALECTS[name]
        path = shared_dir / "data" / "templates" / source
        self.template = path.read_text() if source.endswith(".jinja") else source
        self.name = name

    def __call__(self, walker, tools, rng, control=True, **more):
        job = {"template": self.template, "tools": tools, "choice": "required", "samples": 3, "seed": rng.randrange(1 << 30),
               "tokens": rng.choice([10, 40, 120]), **more}
        job["control"] = self.control if control else []
        job["pieces"] = PIECES + self.pieces + ([] if control else self.control)
        reply = ask(walker, job)
        assert "error" in reply or reply["dialect"] == self.name
        return reply


def tool(name, parameters, strict=False):
    return {"type": "function", "function": {"name": name, "description": "d", "parameters": parameters, "strict": strict}}


def random_tools(rng):
    tools = []
    for name in ["get", "get_more", "f3"][:rng.choice([1, 2, 3])]:
        schemas = random_schema.Schemas(rng)
        schemas.defs = [f"d{i}" for i in range(rng.choice([0, 0, 2]))]
        bodies = {d: schemas.any(1) for d in schemas.defs}
        properties = {n: schemas.any(rng.choice([0, 1, 2])) for n in rng.sample(random_schema.NAMES, rng.randrange(5))}
        properties |= {n: p for n, p in [("text", {"type": "string"}), ("maybe", {"anyOf": [{"type": "string"}, {"type": "null"}]})] if rng.random() < 0.5}
        parameters = {"type": "object", "properties": properties, "required": [n for n in properties if rng.random() < 0.4]}
        if rng.random() < 0.3:
            parameters["additionalProperties"] = rng.choice([False, True, {"type": "string"}, {"type": "integer"}])
        tools.append(tool(name, parameters | ({"$defs": bodies} if bodies else {})))
    return tools


def no_constant(text):
    raise AssertionError(f"{text} is no JSON")


def check_calls(reply, tools, where):
    validators = {t["function"]["name"]: jsonschema.Draft202012Validator(t["function"]["parameters"], format_checker=CHECKER) for t in tools}
    for sample in reply["samples"]:
        if not sample["ended"]:
            continue
        about = f"{where}\ntools: {json.dumps(tools)}\nsample: {sample['text']!r}\nread as {sample['calls']} {sample['content']!r}"
        for name, arguments in sample["calls"]:
            assert name in validators, about
            try:
                value = json.loads(arguments, parse_constant=no_constant)
            except ValueError as e:
                raise AssertionError(f"{e}\n{about}") from e
            error = next(validators[name].iter_errors(value), None)
            assert error is None, f"{error}\n{about}"
        yield sample, about


@pytest.mark.parametrize("name", DIALECTS)
def test_calls_are_valid(walker, shared_dir, name):
    """Demanded calls: at least one, and nothing beside them."""
    jobs, n_samples, n_refused, n_held = Jobs(shared_dir, name), 0, 0, 0
    for i in range(N_TOOLS * 4):
        rng = random.Random(SEED * 7_000_003 + i)
        tools = random_tools(rng)
        one = rng.random() < 0.3
        reply = jobs(walker, tools, rng, control=rng.random() < 0.7, one=one)
        if "error" in reply:  # schemas that nothing fits, or that cannot be enforced
            assert reply["error"]["code"] in ("unsupported", "invalid", "limit"), reply
            n_refused += 1
            continue
        n_held += 1
        if n_held > N_TOOLS:
            break
        for sample, about in check_calls(reply, tools, f"tools {i}"):
            n_samples += 1
            assert len(sample["calls"]) == 1 if one else len(sample["calls"]) >= 1, about
            assert sample["content"] == "" or name == "harmony", about
    print(f"{name}: {n_samples} samples, {n_refused} refused")
    assert n_held >= N_TOOLS and n_samples > N_TOOLS * 1.5


@pytest.mark.parametrize("name", DIALECTS)
def test_calls_without_schemas_are_calls(walker, shared_dir, name):
    """Where the schemas are too large: the frame, a tool's name, and any object."""
    jobs, n = Jobs(shared_dir, name), 0
    for i in range(N_TOOLS):
        rng = random.Random(SEED * 8_000_003 + i)
        tools = [tool("get", {"type": "object", "properties": {"text": {"type": "string"}, "n": {"type": "integer"}}}), tool("f2", {"type": "object"})]
        reply = jobs(walker, tools, rng, control=rng.random() < 0.7, loose=True)
        assert "error" not in reply, reply
        for sample in reply["samples"]:
            for call in sample["calls"] if sample["ended"] else []:
                assert call[0] in ("get", "f2"), sample
                assert isinstance(json.loads(call[1]), dict), sample
            n += sample["ended"] and len(sample["calls"]) > 0
    assert n > N_TOOLS


SMALL = [tool("get", {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer", "minimum": 1, "maximum": 9},
                                                       "unit": {"enum": ["C", "F"]}, "deep": {"type": "object", "properties": {"on": {"type": "boolean"}}, "required": ["on"]}},
                      "required": ["city", "days", "unit"], "additionalProperties": False}),
         tool("get_time", {"type": "object", "properties": {}})]


@pytest.mark.parametrize("name", DIALECTS)
def test_free_text_and_calls(walker, shared_dir, name):
    """`auto`: whatever is read as a call keeps to a schema; both come up."""
    jobs, n_calls, n_texts = Jobs(shared_dir, name), 0, 0
    for i in range(N_TOOLS * 4):
        rng = random.Random(SEED * 9_000_003 + i)
        reply = jobs(walker, SMALL, rng, choice="auto", control=rng.random() < 0.7)
        for sample, _ in check_calls(reply, SMALL, f"auto {i}"):
            n_calls += len(sample["calls"])
            n_texts += len(sample["content"]) > 0
    assert n_calls > 0 and n_texts > 0, (n_calls, n_texts)


@pytest.mark.parametrize("name", DIALECTS)
def test_cut_calls_look_cut(walker, shared_dir, name):
    """A call that ends in the middle is whole, as the schema has it, or is no JSON at all."""
    jobs, n_whole, n_cut = Jobs(shared_dir, name), 0, 0
    validators = {t["function"]["name"]: jsonschema.Draft202012Validator(t["function"]["parameters"]) for t in SMALL}
    for i in range(N_TOOLS * 4):
        rng = random.Random(SEED * 10_000_003 + i)
        reply = jobs(walker, SMALL, rng, cut=True, tokens=rng.choice([10, 25]))
        for sample in reply["samples"]:
            for at, (called, arguments) in enumerate(sample["calls"]):
                try:
                    value = json.loads(arguments)
                except ValueError:
                    assert at == len(sample["calls"]) - 1, sample
                    n_cut += 1
                    continue
                assert validators[called].is_valid(value), sample
                n_whole += 1
    assert n_whole > 0 and n_cut > 0, (n_whole, n_cut)


FULL = '"city": "K\u00f6ln", "days": 3, "unit": "C"'
TAKEN = {  # what models of the dialect write with `auto`, and what none may
    "llama3": (['{"name": "get", "parameters": {%s}}' % FULL, '{"type": "function", "name": "get_time", "parameters": {}}', '{\n  "name": "get_time",\n  "parameters": {}\n}',
                '<|python_tag|>{"name": "get_time", "parameters": {}}', '{"city": 1, "name": "get"}', 'Look: {"name": "x"}', "", "{}", "[1]", "<b>x</b>",
                '{"name": "get_time", "parameters": {}}; {"name": "get_time", "parameters": {}}'],
               ['{"name": "nope", "parameters": {}}', '{"name": "get", "parameters": {}}', '{"name": 1}', '<|python_tag|>get_time()', ' {"parameters": 1}']),
    "harmony": (["<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>commentary to=functions.get <|constrain|>json<|message|>{%s}" % FULL,
                 " to=functions.get_time<|channel|>commentary json<|message|>{}", "<|channel|>final<|message|>Hello <b>you</b>.",
                 "<|channel|>commentary<|message|>I look.<|end|><|start|>assistant<|channel|>commentary to=functions.get_time<|message|>{}"],
                ["<|channel|>commentary to=functions.nope<|message|>{}", "<|channel|>commentary to=functions.get<|message|>{}", "Hello", "<|channel|>analysis<|message|>Hm.",
                 "<|channel|>commentary to=functions.get_time<|message|>{}<|end|><|start|>assistant<|channel|>final<|message|>x"]),
    "qwen3-coder": (["<tool_call>\n<function=get>\n<parameter=city>\nK\u00f6ln \"<b>\"\n</parameter>\n<parameter=days>\n3\n</parameter>\n<parameter=unit>\nC\n</parameter>\n</function>\n</tool_call>",
                     "<function=get_time>\n</function>\n</tool_call>", "I look.\n<tool_call>\n<function=get_time>\n</function>\n</tool_call>", "a < b"],
                    ["<tool_call>\n<function=get>\n</function>\n</tool_call>", "<tool_call>\n<function=nope>\n</function>\n</tool_call>",
                     "<tool_call>\n<function=get>\n<parameter=x>\n1\n</parameter>\n</function>\n</tool_call>"]),
    "glm": (["<tool_call>get\n<arg_key>city</arg_key>\n<arg_value>K\u00f6ln</arg_value>\n<arg_key>days</arg_key>\n<arg_value>3</arg_value>\n<arg_key>unit</arg_key>\n<arg_value>F</arg_value>\n</tool_call>",
             "<think>a</think>\n<tool_call>get_time\n</tool_call>"], ["<tool_call>get\n</tool_call>"]),
    "lfm2": (["<|tool_call_start|>[get(city='K\u00f6ln', days=3, unit=\"C\", deep={'on': True}), get_time()]<|tool_call_end|>", "no"],
             ["<|tool_call_start|>[get(city='K\u00f6ln', days=3, unit=\"C\", deep={'on': true})]<|tool_call_end|>", "<|tool_call_start|>[get()]<|tool_call_end|>"]),
    "gemma4": (['<|tool_call>call:get{city:<|"|>K"\\{ln<|"|>,days:3,unit:<|"|>C<|"|>,deep:{on:true}}<tool_call|>', "<|tool_call>call:get_time{}<tool_call|><|tool_call>call:get_time{}<tool_call|>"],
               ["<|tool_call>call:get{days:3}<tool_call|>", "<|tool_call>call:x{}<tool_call|>"]),
    "functionary-v3.2": (["all\nHello.", "all\nHello.>>>get_time\n{}", "get\n{%s}>>>get_time\n{}" % FULL], ["Hello", "get\n{}", "all\nx>>>nope\n{}"]),
}


@pytest.mark.parametrize("name", TAKEN)
def test_what_models_write_is_taken(walker, shared_dir, name):
    taken, refused = TAKEN[name]
    reply = Jobs(shared_dir, name)(walker, SMALL, random.Random(1), choice="auto", samples=0, texts=taken + refused)
    assert "error" not in reply, reply
    got = dict(zip(taken + refused, reply["accepted"]))
    assert got == {t: True for t in taken} | {t: False for t in refused}
    plain = [t for t in taken if "get" not in t]
    reply = Jobs(shared_dir, name)(walker, SMALL, random.Random(1), choice="required", samples=0, texts=plain)
    assert not any(reply["accepted"]), "an answer without a call is none where one is demanded"


NULL_ENUMS = {"a": {"type": ["string", "null"], "enum": ["None", "low"]}, "b": {"enum": ["null", "low", None]}, "c": {"enum": ["low", None]}}
NULL_CALLS = {
    "qwen3-coder": "<tool_call>\n<function=get>\n<parameter=a>\nNone\n</parameter>\n<parameter=b>\n\"null\"\n</parameter>\n<parameter=c>\nlow\n</parameter>\n</function>\n</tool_call>",
    "glm": "<tool_call>get\n<arg_key>a</arg_key>\n<arg_value>None</arg_value>\n<arg_key>b</arg_key>\n<arg_value>\"null\"</arg_value>\n<arg_key>c</arg_key>\n<arg_value>low</arg_value>\n</tool_call>",
}


@pytest.mark.parametrize("name", NULL_CALLS)
def test_texts_that_say_null(walker, shared_dir, name):
    """A given text "None" or "null" stays one; where null may be, too, texts have quotation marks."""
    tools = [tool("get", {"type": "object", "properties": NULL_ENUMS, "required": list(NULL_ENUMS), "additionalProperties": False})]
    jobs, seen = Jobs(shared_dir, name), set()
    reply = jobs(walker, tools, random.Random(1), samples=0, texts=[NULL_CALLS[name], NULL_CALLS[name].replace('"null"', "null"), NULL_CALLS[name].replace('"null"', "low")])
    assert reply["accepted"] == [True, True, False]
    for i in range(8):
        for sample, about in check_calls(jobs(walker, tools, random.Random(SEED + i)), tools, f"seed {i}"):
            assert sample["calls"], about
            seen |= {(key, value) for _, arguments in sample["calls"] for key, value in json.loads(arguments).items()}
    assert seen >= {("a", "None"), ("b", "null"), ("b", None), ("c", None)}


@pytest.mark.parametrize("name,text", [("lfm2", "<|tool_call_start|>[get(line2=1, _3='x')]<|tool_call_end|>"), ("gemma3", "```tool_code\nget(line2=1, _3='x')\n```")])
def test_names_with_digits_where_schemas_are_too_large(walker, shared_dir, name, text):
    reply = Jobs(shared_dir, name)(walker, SMALL, random.Random(1), samples=0, loose=True, texts=[text, text.replace("line2", "2line")])
    assert reply["accepted"] == [True, False]


ODD_NAMES = ["print", "default_api.x", "x.call", "x", "srv:2", "srv", "functions.x", "call:x", "functions.srv:0"]


@pytest.mark.parametrize("name", DIALECTS)
def test_odd_names_stay_whole(walker, shared_dir, name):
    """Names that look like what a dialect writes around them: each is called by its own name."""
    jobs = Jobs(shared_dir, name)
    for i, called in enumerate(ODD_NAMES):
        tools = [tool(n, {"type": "object", "properties": {"of": {"const": n}}, "required": ["of"], "additionalProperties": False}) for n in ODD_NAMES]
        reply = jobs(walker, tools, random.Random(SEED + i), name=called, one=True)
        samples = [s for s, _ in check_calls(reply, tools, called)]
        assert samples and all([c[0] for c in s["calls"]] == [called] for s in samples), samples


def test_a_tool_is_not_named_as_the_answer_is(walker, shared_dir):
    jobs, tools = Jobs(shared_dir, "functionary-v3.2"), [tool("all", {"type": "object"}), tool("get", {"type": "object"})]
    for loose in (False, True):
        for choice in ("auto", "required"):
            error = jobs(walker, tools, random.Random(1), choice=choice, loose=loose)["error"]
            assert error["code"] == "invalid" and "'all'" in error["text"]
    assert "error" not in jobs(walker, tools, random.Random(1), name="get")
    assert "error" not in Jobs(shared_dir, "hermes")(walker, tools, random.Random(1))


def test_text_that_ends_as_a_marker_begins(walker, shared_dir):
    reply = Jobs(shared_dir, "functionary-v3.2")(walker, SMALL, random.Random(1), choice="auto", samples=0, texts=["all\na >>>>get_time\n{}"])
    assert reply["accepted"] == [True]  # read back in test_answer_parser
