"""The dialect of each real chat template: how it is named, and that a call it renders is read back."""
import json
import subprocess

import pytest

# template: dialect, does it know thoughts
KNOWN = {
    "CohereForAI-c4ai-command-r7b-12-2024-tool_use": "command-r", "GLM-4.6": "glm", "HuggingFaceTB-SmolLM3-3B": "hermes (added)",
    "LFM2-8B-A1B": "lfm2", "Mistral-Small-3.2-24B-Instruct-2506": "mistral", "NVIDIA-Nemotron-Nano-v2": "nemotron",
    "NousResearch-Hermes-2-Pro-Llama-3-8B-tool_use": "hermes", "NousResearch-Hermes-3-Llama-3.1-8B-tool_use": "hermes",
    "Qwen-QwQ-32B": "hermes", "Qwen-Qwen2.5-7B-Instruct": "hermes", "Qwen-Qwen3-0.6B": "hermes",
    "Qwen3-Coder": "qwen3-coder", "Qwen3.5-4B": "qwen3-coder", "google-gemma-4-31B-it": "gemma4",
    "ibm-granite-granite-3.3-2B-Instruct": "granite", "ibm-granite-granite-4.0": "hermes",
    "meetkai-functionary-medium-v3.1": "functionary-v3.1", "meta-llama-Llama-3.1-8B-Instruct": "llama3",
    "meta-llama-Llama-3.2-3B-Instruct": "llama3", "meta-llama-Llama-3.3-70B-Instruct": "llama3",
    "mistralai-Ministral-3-14B-Reasoning-2512": "mistral", "mistralai-Mistral-Nemo-Instruct-2407": "mistral-nemo",
    "moonshotai-Kimi-K2": "kimi", "openai-gpt-oss-120b": "harmony", "unsloth-mistral-Devstral-Small-2507": "mistral",
    "deepseek-ai-DeepSeek-V3.1": "hermes (added)", "deepseek-ai-DeepSeek-R1-Distill-Qwen-32B": "hermes (added)",
    "deepseek-ai-DeepSeek-R1-Distill-Llama-8B": "hermes (added)", "google-gemma-2-2b-it": "hermes (added)",
    "microsoft-Phi-3.5-mini-instruct": "hermes (added)",
}

# They leave it to the model's text how its own calls are written into a conversation.
SILENT = {"LFM2-8B-A1B", "ibm-granite-granite-3.3-2B-Instruct"}


@pytest.mark.parametrize("name", KNOWN)
def test_a_template_and_its_dialect(build_dir, shared_dir, name):
    program = build_dir / "tests" / "golden" / "read_back"
    if not program.is_file():
        pytest.skip(f"{program} is not built")
    path = shared_dir / "data" / "templates" / f"{name}.jinja"
    out = subprocess.run([program, path], capture_output=True, text=True, timeout=60)
    assert out.returncode == 0, out.stderr
    got = json.loads(out.stdout)
    assert got["dialect"] == KNOWN[name]
    if name in SILENT:
        assert got["calls"] == []
        return
    assert got["calls"] == [["get_weather", {"city": "K\u00f6ln \"x\"", "days": 3}]], got
