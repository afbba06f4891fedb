"""A session of the `openai` client: chat, streams, choices, scores, tools, schemas, plain completions, responses,
vectors, models, errors.

Argument: the base URL of a server with the tests' tiny model and the key "secret".
"""

import json
import sys

import openai

url = sys.argv[1]
client = openai.OpenAI(base_url=url, api_key="secret", max_retries=0)
messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}]
asked = dict(model="tiny", messages=messages, seed=3, max_completion_tokens=10, temperature=1.2)

models = client.models.list().data
assert [model.id for model in models] == ["tiny", "other"], models
assert client.models.retrieve("tiny").owned_by == "lowbit"

answer = client.chat.completions.create(**asked)
text = answer.choices[0].message.content
assert answer.choices[0].finish_reason in ("stop", "length"), answer
assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens

chunks = list(client.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True}))
assert chunks[0].choices[0].delta.role == "assistant"
streamed = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
assert streamed == text, (streamed, text)
assert chunks[-1].usage.completion_tokens == answer.usage.completion_tokens
assert chunks[-2].choices[0].finish_reason == answer.choices[0].finish_reason

several = client.chat.completions.create(**asked, n=3)
assert [choice.index for choice in several.choices] == [0, 1, 2]
assert several.choices[0].message.content == text

scored = client.chat.completions.create(**asked, logprobs=True, top_logprobs=2)
assert all(len(token.top_logprobs) == 2 and token.logprob <= 0 for token in scored.choices[0].logprobs.content)

parts = [{"role": "user", "content": [{"type": "text", "text": "Hel"}, {"type": "text", "text": "lo"}]}]
joined = client.chat.completions.create(**{**asked, "messages": parts})
plain = client.chat.completions.create(**{**asked, "messages": [{"role": "user", "content": "Hello"}]})
assert joined.choices[0].message.content == plain.choices[0].message.content

completion = client.completions.create(
    model="tiny", prompt=["Once", "Twice"], max_tokens=3, echo=True, logprobs=1, temperature=0
)
assert [choice.text[:4] for choice in completion.choices] == ["Once", "Twic"]
lists = completion.choices[0].logprobs
assert lists.token_logprobs[0] is None and len(lists.tokens) == len(lists.text_offset) == len(lists.top_logprobs)
pieces = client.completions.create(model="tiny", prompt="Once", max_tokens=3, temperature=0, stream=True)
assert "Once" + "".join(piece.choices[0].text for piece in pieces) == completion.choices[0].text


def refused(kind, call, param=None, code=None):
    try:
        call()
    except kind as error:
        assert param is None or error.body["param"] == param, error.body
        assert code is None or error.body["code"] == code, error.body
        return
    raise AssertionError(f"no {kind.__name__}")


create = client.chat.completions.create
tools = [{"type": "function", "function": {"name": "f", "parameters": {"type": "strange"}}}]
refused(openai.BadRequestError, lambda: create(**asked, tools=tools), param="tools[0].function")
refused(openai.BadRequestError, lambda: create(**asked, response_format={"type": "xml"}), param="response_format.type")
refused(openai.BadRequestError, lambda: create(**asked, extra_body={"made_up": 1}), param="made_up")
long = [{"role": "user", "content": "long " * 500}]
refused(openai.BadRequestError, lambda: create(**{**asked, "messages": long}), code="context_length_exceeded")
refused(openai.NotFoundError, lambda: create(**{**asked, "model": "none"}), code="model_not_found")
stranger = openai.OpenAI(base_url=url, api_key="guess", max_retries=0)
refused(openai.AuthenticationError, stranger.models.list)

# A stream that is given up, and a question right after.
with create(**{**asked, "max_completion_tokens": 400}, stream=True) as stream:
    next(iter(stream))
assert create(**asked).choices[0].message.content == text
schema = {
    "type": "object",
    "properties": {"good": {"type": "boolean"}},
    "required": ["good"],
    "additionalProperties": False,
}
shaped = client.chat.completions.create(
    **{**asked, "max_completion_tokens": 60},
    response_format={"type": "json_schema", "json_schema": {"name": "verdict", "schema": schema, "strict": True}},
)
assert isinstance(json.loads(shaped.choices[0].message.content)["good"], bool), shaped

tools = [{"type": "function", "function": {"name": "judge", "parameters": schema}}]
calling = dict(**{**asked, "max_completion_tokens": 90}, tools=tools, tool_choice="required", parallel_tool_calls=False)
called = client.chat.completions.create(**calling)
call = called.choices[0].message.tool_calls[0]
assert called.choices[0].finish_reason == "tool_calls" and call.function.name == "judge", called
assert isinstance(json.loads(call.function.arguments)["good"], bool), call
pieces = [chunk.choices[0].delta.tool_calls for chunk in client.chat.completions.create(**calling, stream=True)]
pieces = [piece for some in pieces if some for piece in some]
assert pieces[0].function.name == "judge" and pieces[0].id
assert "".join(piece.function.arguments or "" for piece in pieces) == call.function.arguments
result = {"role": "tool", "tool_call_id": call.id, "content": "done"}
after = messages + [called.choices[0].message.model_dump(exclude_none=True), result]
assert client.chat.completions.create(**{**asked, "messages": after}).choices[0].message.content is not None

vectors = client.embeddings.create(model="tiny", input=["one", "two"]).data
assert len(vectors) == 2 and abs(sum(x * x for x in vectors[0].embedding) - 1) < 1e-4

said = client.responses.create(model="tiny", input="Hello", max_output_tokens=10, temperature=0)
assert said.status == "incomplete" and said.output_text, said
events = list(client.responses.create(model="tiny", input="Hello", max_output_tokens=10, temperature=0, stream=True))
assert "".join(event.delta for event in events if event.type == "response.output_text.delta") == said.output_text
function = {"type": "function", "name": "judge", "parameters": schema, "strict": True}
used = client.responses.create(model="tiny", input="Hello", tools=[function], tool_choice="required", max_output_tokens=90, parallel_tool_calls=False)
assert used.output[0].type == "function_call" and used.output[0].name == "judge", used

print("all well")
