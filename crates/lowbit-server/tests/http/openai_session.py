"""A session of the `openai` client: chat, streams, choices, scores, plain completions, models, errors.

Argument: the base URL of a server with the tests' tiny model and the key "secret".
"""

import sys

import openai

url = sys.argv[1]
client = openai.OpenAI(base_url=url, api_key="secret", max_retries=0)
messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}]
asked = dict(model="tiny", messages=messages, seed=3, max_completion_tokens=10, temperature=1.2)

models = client.models.list().data
assert [model.id for model in models] == ["tiny"], models
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
tools = [{"type": "function", "function": {"name": "f", "parameters": {}}}]
refused(openai.BadRequestError, lambda: create(**asked, tools=tools), param="tools")
refused(openai.BadRequestError, lambda: create(**asked, response_format={"type": "json_object"}), param="response_format")
refused(openai.BadRequestError, lambda: create(**asked, extra_body={"made_up": 1}), param="made_up")
long = [{"role": "user", "content": "long " * 500}]
refused(openai.BadRequestError, lambda: create(**{**asked, "messages": long}), code="context_length_exceeded")
refused(openai.NotFoundError, lambda: create(**{**asked, "model": "other"}), code="model_not_found")
stranger = openai.OpenAI(base_url=url, api_key="guess", max_retries=0)
refused(openai.AuthenticationError, stranger.models.list)

# A stream that is given up, and a question right after.
with create(**{**asked, "max_completion_tokens": 400}, stream=True) as stream:
    next(iter(stream))
assert create(**asked).choices[0].message.content == text
print("all well")
