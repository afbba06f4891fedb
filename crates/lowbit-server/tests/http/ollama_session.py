"""A session of the `ollama` client: chat, generate, streams, tools, schemas, vectors, models, errors.

Argument: the address of a server with the tests' tiny model and the key "secret".
"""

import json
import sys

import ollama

client = ollama.Client(host=sys.argv[1], headers={"Authorization": "Bearer secret"})
messages = [{"role": "user", "content": "Hello"}]
options = {"num_predict": 10, "temperature": 0, "seed": 1}

answer = client.chat(model="tiny", messages=messages, options=options)
assert answer.done and answer.done_reason == "length" and answer.eval_count == 10, answer
pieces = list(client.chat(model="tiny", messages=messages, options=options, stream=True))
assert "".join(piece.message.content or "" for piece in pieces) == answer.message.content
text = client.generate(model="tiny", prompt="Hello", options=options)
assert text.response == answer.message.content

schema = {"type": "object", "properties": {"good": {"type": "boolean"}}, "required": ["good"], "additionalProperties": False}
shaped = client.chat(model="tiny", messages=messages, options={**options, "num_predict": 60}, format=schema)
assert isinstance(json.loads(shaped.message.content)["good"], bool), shaped

tool = {"type": "function", "function": {"name": "judge", "description": "", "parameters": schema}}
offered = client.chat(model="tiny", messages=messages, options=options, tools=[tool])
assert offered.message.content or offered.message.tool_calls
history = messages + [
    {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "judge", "arguments": {"good": True}}}]},
    {"role": "tool", "content": "fine", "tool_name": "judge"},
]
assert client.chat(model="tiny", messages=history, options=options).message.content

vectors = client.embed(model="tiny", input=["one", "two"]).embeddings
assert len(vectors) == 2 and abs(sum(x * x for x in vectors[0]) - 1) < 1e-4
assert [model.model for model in client.list().models] == ["tiny", "other"]
assert "completion" in client.show("tiny").capabilities
assert client.ps().models

for bad, status in [(dict(model="none"), 404), (dict(options={"mirostat": 2}), 400)]:
    try:
        client.chat(**{**dict(model="tiny", messages=messages, options=options), **bad})
        raise AssertionError(bad)
    except ollama.ResponseError as refused:
        assert refused.status_code == status, refused
print("all well")
