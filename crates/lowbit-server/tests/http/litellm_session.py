"""A session of `litellm`: the server by three of its providers, a stream, tools.

Argument: the address of a server with the tests' tiny model and the key "secret".
"""

import os
import sys

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
import litellm

litellm.telemetry = False
address = sys.argv[1]
messages = [{"role": "user", "content": "Hello"}]
asked = dict(messages=messages, api_key="secret", max_tokens=10, temperature=0, num_retries=0)

by_openai = dict(model="openai/tiny", api_base=address + "/v1", **asked)
answer = litellm.completion(**by_openai)
text = answer.choices[0].message.content
assert text and answer.usage.completion_tokens == 10, answer
pieces = litellm.completion(**by_openai, stream=True)
assert "".join(piece.choices[0].delta.content or "" for piece in pieces) == text
by_anthropic = litellm.completion(model="anthropic/tiny", api_base=address, **asked)
assert by_anthropic.choices[0].message.content == text, by_anthropic

schema = {"type": "object", "properties": {"good": {"type": "boolean"}}, "required": ["good"], "additionalProperties": False}
tools = [{"type": "function", "function": {"name": "judge", "parameters": schema}}]
called = litellm.completion(**{**by_openai, "max_tokens": 90}, tools=tools, tool_choice="required", parallel_tool_calls=False)
assert called.choices[0].message.tool_calls[0].function.name == "judge", called

vectors = litellm.embedding(model="openai/tiny", api_base=address + "/v1", api_key="secret", input=["one"])
assert len(vectors.data[0]["embedding"]) == 32
try:
    litellm.completion(**{**by_openai, "model": "openai/none"})
    raise AssertionError("a model that there is not")
except litellm.NotFoundError:
    pass
print("all well")
