"""A session of the `anthropic` client: messages, streams, tools, counting, errors.

Argument: the address of a server with the tests' tiny model and the key "secret".
"""

import sys

import anthropic

client = anthropic.Anthropic(base_url=sys.argv[1], api_key="secret", max_retries=0)
asked = dict(model="tiny", max_tokens=10, extra_body={"temperature": 0}, messages=[{"role": "user", "content": "Hello"}])

answer = client.messages.create(**asked, system="Be brief.")
text = answer.content[0].text
assert answer.stop_reason == "max_tokens" and answer.usage.output_tokens == 10, answer
with client.messages.stream(**asked, system="Be brief.") as stream:
    assert "".join(stream.text_stream) == text
    assert stream.get_final_message().usage.output_tokens == 10

schema = {"type": "object", "properties": {"good": {"type": "boolean"}}, "required": ["good"], "additionalProperties": False}
tool = {"name": "judge", "description": "Says whether it is good.", "input_schema": schema}
calling = dict(**{**asked, "max_tokens": 90}, tools=[tool], tool_choice={"type": "tool", "name": "judge"})
called = client.messages.create(**calling)
assert called.stop_reason in ("tool_use", "max_tokens"), called
use = called.content[0]
assert use.type == "tool_use" and isinstance(use.input["good"], bool), called
with client.messages.stream(**calling) as stream:
    assert stream.get_final_message().content[0].input == use.input
history = asked["messages"] + [
    {"role": "assistant", "content": [use.model_dump()]},
    {"role": "user", "content": [{"type": "tool_result", "tool_use_id": use.id, "content": "fine"}]},
]
assert client.messages.create(**{**asked, "messages": history}).content

assert client.messages.count_tokens(model="tiny", messages=asked["messages"]).input_tokens > 5
assert [model.id for model in client.models.list().data] == ["tiny", "other"]

for bad, error in [
    (dict(model="none"), anthropic.NotFoundError),
    (dict(max_tokens=1_000), anthropic.BadRequestError),
    (dict(messages=[]), anthropic.BadRequestError),
]:
    try:
        client.messages.create(**{**asked, **bad})
        raise AssertionError(bad)
    except error as refused:
        assert refused.body["type"] == "error", refused
try:
    anthropic.Anthropic(base_url=sys.argv[1], api_key="wrong", max_retries=0).messages.create(**asked)
    raise AssertionError("a wrong key")
except anthropic.AuthenticationError:
    pass
print("all well")
