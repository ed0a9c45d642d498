#!/usr/bin/env python3
"""What docs/clients.md promises of Python frameworks, run in an environment of their own (.venv-clients).

    frameworks.py NAME BASE_URL MODEL       one of the functions below; ends with 0 when it holds

Called by tests/e2e/test_frameworks.py. A process each: they import half of PyPI.
"""
import json
import sys

WEATHER = {"title": "Person", "type": "object", "properties": {"name": {"type": "string", "maxLength": 20},
                                                               "age": {"type": "integer", "minimum": 0, "maximum": 150}},
           "required": ["name", "age"], "additionalProperties": False}


def langchain(url, model):
    from langchain_openai import ChatOpenAI
    llm = ChatOpenAI(base_url=url + "/v1", api_key="none", model=model, temperature=0, max_tokens=8)
    answer = llm.invoke("Say hello.")
    assert answer.content and answer.usage_metadata["output_tokens"] > 0
    assert "".join(chunk.content for chunk in llm.stream("Say hello.")) == answer.content
    return llm


def langchain_structured(url, model):
    from langchain_openai import ChatOpenAI
    llm = ChatOpenAI(base_url=url + "/v1", api_key="none", model=model, temperature=0.7, seed=3, max_tokens=120)
    person = llm.with_structured_output(WEATHER, method="json_schema", strict=True).invoke("Ada is 36.")
    assert isinstance(person["age"], int) and isinstance(person["name"], str)


def langchain_tools(url, model):
    from langchain_core.tools import tool
    from langchain_openai import ChatOpenAI

    @tool
    def weather(city: str) -> str:
        """The weather of a city."""
        return city

    llm = ChatOpenAI(base_url=url + "/v1", api_key="none", model=model, temperature=0, max_tokens=120)
    answer = llm.bind_tools([weather], tool_choice="weather").invoke("The weather in Paris?")
    assert answer.tool_calls[0]["name"] == "weather" and isinstance(answer.tool_calls[0]["args"]["city"], str)


def langchain_ollama(url, model):
    from langchain_ollama import ChatOllama
    answer = ChatOllama(base_url=url, model=model, temperature=0, num_predict=8).invoke("Say hello.")
    assert answer.content and answer.response_metadata["eval_count"] == 8


def langchain_anthropic(url, model):
    from langchain_anthropic import ChatAnthropic
    answer = ChatAnthropic(base_url=url, api_key="none", model=model, max_tokens=8).invoke("Say hello.")
    assert answer.content and answer.usage_metadata["output_tokens"] > 0


def llamaindex(url, model):
    from llama_index.core.llms import ChatMessage
    from llama_index.llms.openai_like import OpenAILike
    llm = OpenAILike(api_base=url + "/v1", api_key="none", model=model, is_chat_model=True, max_tokens=8, temperature=0)
    text = llm.complete("Say hello.").text
    assert text
    streamed = [part.delta for part in llm.stream_chat([ChatMessage(role="user", content="Say hello.")])]
    assert "".join(part or "" for part in streamed) == text


def litellm(url, model):
    import litellm as lite
    lite.suppress_debug_info = True
    messages = [{"role": "user", "content": "Say hello."}]
    for name, base in ((f"openai/{model}", url + "/v1"), (f"ollama_chat/{model}", url), (f"anthropic/{model}", url)):
        answer = lite.completion(name, messages, api_base=base, api_key="none", max_tokens=8, temperature=0)
        assert answer.choices[0].message.content, name
        parts = lite.completion(name, messages, api_base=base, api_key="none", max_tokens=8, temperature=0, stream=True)
        assert "".join(p.choices[0].delta.content or "" for p in parts) == answer.choices[0].message.content, name


def instructor(url, model):
    import instructor as inst
    import openai
    import pydantic

    class Person(pydantic.BaseModel):
        name: str = pydantic.Field(max_length=20)
        age: int = pydantic.Field(ge=0, le=150)

    for mode in (inst.Mode.JSON_SCHEMA, inst.Mode.TOOLS):
        client = inst.from_openai(openai.OpenAI(base_url=url + "/v1", api_key="none"), mode=mode)
        person = client.chat.completions.create(model=model, response_model=Person, max_tokens=120, max_retries=0,
                                                messages=[{"role": "user", "content": "Ada is 36."}])
        assert isinstance(person.age, int), mode


NAMES = {f.__name__: f for f in (langchain, langchain_structured, langchain_tools, langchain_ollama, langchain_anthropic,
                                 llamaindex, litellm, instructor)}

if __name__ == "__main__":
    NAMES[sys.argv[1]](*sys.argv[2:])
    print(json.dumps({"ok": sys.argv[1]}))
