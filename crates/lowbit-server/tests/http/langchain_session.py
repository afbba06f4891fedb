"""A session of `langchain-openai`: chat, a stream, tools, an answer of a given shape, vectors.

Argument: the address of a server with the tests' tiny model and the key "secret".
"""

import sys

from langchain_core.messages import HumanMessage, ToolMessage
from langchain_openai import ChatOpenAI, OpenAIEmbeddings

url = sys.argv[1] + "/v1"
chat = ChatOpenAI(base_url=url, api_key="secret", model="tiny", max_tokens=10, temperature=0, max_retries=0)
answer = chat.invoke("Hello")
assert answer.content and answer.response_metadata["finish_reason"] == "length", answer
assert "".join(piece.content for piece in chat.stream("Hello")) == answer.content
assert len(chat.batch(["Hello", "again"])) == 2

schema = {
    "title": "verdict",
    "description": "A verdict.",
    "type": "object",
    "properties": {"good": {"type": "boolean"}},
    "required": ["good"],
    "additionalProperties": False,
}
longer = ChatOpenAI(base_url=url, api_key="secret", model="tiny", max_tokens=80, temperature=0, max_retries=0)
assert isinstance(longer.with_structured_output(schema, method="json_schema").invoke("Hello")["good"], bool)
tool = {"type": "function", "function": {"name": "judge", "parameters": schema}}
called = longer.bind_tools([tool], tool_choice="judge", parallel_tool_calls=False).invoke("Hello")
call = called.tool_calls[0]
assert call["name"] == "judge" and isinstance(call["args"]["good"], bool), called
assert chat.invoke([HumanMessage("Hello"), called, ToolMessage("fine", tool_call_id=call["id"])]).content is not None

vectors = OpenAIEmbeddings(base_url=url, api_key="secret", model="tiny", check_embedding_ctx_length=False)
assert len(vectors.embed_query("Hello")) == 32
print("all well")
