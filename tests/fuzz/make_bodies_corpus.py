"""Seeds for fuzz_bodies: the bodies of the curl transcripts, and a few with what those leave out.

make_bodies_corpus.py FOLDER
"""
import hashlib
import json
import pathlib
import re
import sys

HERE = pathlib.Path(__file__).resolve().parent
# The order of `endpoints` in fuzz_bodies.c; the last is for what is no generation.
PATHS = ["/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/messages", "/v1/messages/count_tokens", "/api/generate",
         "/api/chat", "/completion", "/infill", "/v1/embeddings", "/api/embed", "/api/embeddings", "/embedding", "/v1/rerank",
         "/v1/responses", "other"]
TOOL = {"type": "object", "properties": {"city": {"type": "string"}}}
MORE = [
    ("/v1/responses", {"instructions": "x", "input": [
        {"role": "user", "content": [{"type": "input_text", "text": "a"}]},
        {"type": "reasoning", "id": "rs_1", "summary": [], "content": [{"type": "reasoning_text", "text": "r"}]},
        {"type": "function_call", "call_id": "c", "name": "get", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c", "output": "x"},
        {"type": "custom_tool_call", "call_id": "d", "name": "raw", "input": "x"},
        {"type": "custom_tool_call_output", "call_id": "d", "output": [{"type": "input_text", "text": "y"}]}],
        "tools": [{"type": "function", "name": "get", "parameters": TOOL, "strict": True}, {"type": "custom", "name": "raw"}],
        "text": {"format": {"type": "json_schema", "name": "n", "schema": TOOL}}, "reasoning": {"effort": "low"},
        "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "get"}]},
        "include": ["message.output_text.logprobs"], "top_logprobs": 2, "metadata": {"a": "b"}, "stream": True}),
    ("/v1/messages", {"max_tokens": 9, "system": [{"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}],
                      "messages": [{"role": "user", "content": "a"},
                                   {"role": "assistant", "content": [{"type": "thinking", "thinking": "t", "signature": ""},
                                                                     {"type": "text", "text": "x"},
                                                                     {"type": "tool_use", "id": "t1", "name": "get", "input": {}}]},
                                   {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "is_error": True,
                                                                 "content": [{"type": "text", "text": "y"}]}]}],
                      "tools": [{"name": "get", "description": "d", "input_schema": TOOL}], "tool_choice": {"type": "tool", "name": "get"},
                      "stop_sequences": ["x"], "thinking": {"type": "enabled", "budget_tokens": 1024}, "metadata": {"user_id": "u"},
                      "stream": True}),
    ("/api/chat", {"messages": [{"role": "user", "content": "a"},
                                {"role": "assistant", "content": "", "thinking": "t",
                                 "tool_calls": [{"function": {"name": "get", "arguments": {"city": "x"}}}]},
                                {"role": "tool", "tool_name": "get", "content": "y"}],
                   "tools": [{"type": "function", "function": {"name": "get", "parameters": TOOL}}], "think": "high",
                   "format": "json", "options": {"stop": ["a"], "mirostat": 2, "num_ctx": 9}, "keep_alive": "5m", "logprobs": True}),
    ("/api/generate", {"prompt": "a", "suffix": "b", "system": "s", "template": "{{ .Prompt }}", "raw": False, "context": [1, 2],
                       "format": TOOL, "options": {"num_predict": 2}}),
    ("/v1/chat/completions", {"messages": [{"role": "developer", "content": "x"}, {"role": "user", "content": "a"}], "n": 2,
                              "logprobs": True, "top_logprobs": 2, "logit_bias": {"5": 1}, "stop": ["x"], "seed": 1, "stream": True,
                              "stream_options": {"include_usage": True}, "reasoning_effort": "low"}),
    ("/infill", {"input_prefix": "a", "input_suffix": "b", "input_extra": [{"text": "x", "filename": "f"}], "prompt": "p"}),
    ("/completion", {"prompt": [1, "a"], "n_probs": 3, "samplers": ["top_k"], "logit_bias": [[1, False]], "return_tokens": True}),
    ("/api/embeddings", {"prompt": "x"}), ("/embedding", {"content": ["a"], "embd_normalize": -1}),
    ("/v1/rerank", {"query": "a", "documents": [{"text": "b"}, "c"], "return_documents": True, "top_n": 1}),
    ("other", {"model": "x", "from": "y", "files": {"a": "sha256:" + "0" * 64}, "messages": [{"role": "user", "content": "a"}],
               "parameters": {"stop": ["x"]}, "license": ["l"], "system": "s", "template": "t"}),
    ("other", {"source": "a", "destination": "b"}), ("other", {"content": "x", "with_pieces": True}), ("other", {"tokens": [1, 2]}),
    ("other", {"model": "x", "keep_alive": 0}),
]


def from_transcripts():
    for path in sorted((HERE.parent / "e2e" / "transcripts").glob("*.txt")):
        for command in re.split(r"^\$ ", path.read_text(), flags=re.M):
            url, body = re.search(r"http://127.0.0.1:11434(/\S*)", command), re.search(r"-d '(\{.*?\})'(?:\n| \|)", command, re.S)
            try:
                if url and body:
                    yield url[1], json.loads(body[1])
            except json.JSONDecodeError:
                pass  # a part of the command


def main(folder):
    folder.mkdir(parents=True, exist_ok=True)
    for path, body in [*from_transcripts(), *MORE]:
        for i in [i for i, p in enumerate(PATHS) if p == path] or [len(PATHS) - 1]:
            text = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
            data = bytes([i, len(text) % 251, len(text) % 7]) + text
            (folder / hashlib.sha1(data).hexdigest()).write_bytes(data)


main(pathlib.Path(sys.argv[1]))
